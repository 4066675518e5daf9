#include <algorithm>
#include <optional>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/send_back.h"
#include "client/signing.h"
#include "protocol/message.h"
#include "protocol/properties.h"
#include "testing/sending_fixture.h"

/// What is tried again when, and for how long.
namespace apogee::client {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// ---- What is in flight
// --------------------------------------------------------------------------

TEST_F(SendingRules, ALargeMessageThatIsAnsweredMakesRoomForAllThatFitIn) {
  start_brokers();
  ProducerCore& by = producer({.max_in_flight_bytes = 100});
  std::vector<remoting::Responder> open;
  a_->answer = b_->answer = [&](const Request& request) {
    if (request.command.code != request::kSendMessageV2) return request.responder.reply(0);
    open.push_back(request.responder);
  };
  int done = 0;
  const auto send_bytes = [&](std::size_t bytes) {
    by.send({.topic = "orders", .body = std::string(bytes, 'x')}, {}, Mode::kAsync, 3s,
            [&](const Result<SendReceipt>& sent) { done += sent.has_value(); });
    network_.run();
  };
  send_bytes(100);
  for (const std::size_t bytes : {60u, 30u, 20u, 10u}) send_bytes(bytes);
  ASSERT_EQ(open.size(), 1u);
  send_bytes(1);
  EXPECT_EQ(open.size(), 1u) << "nobody overtakes who waits";
  const auto answer = [&](std::size_t which) {
    open[which].reply(0, {}, protocol::SendMessageResponse{.message_id = "0A000002"});
    network_.run();
  };
  answer(0);
  EXPECT_EQ(open.size(), 3u) << "60 and 30 bytes, not the 20 that follow";
  answer(1);
  EXPECT_EQ(open.size(), 6u);
  for (std::size_t i = 2; i < open.size(); ++i) answer(i);
  EXPECT_EQ(done, 6);
}

/// So many that a stack would not hold one inside the other.
constexpr int kVeryMany = 200'000;

TEST_F(SendingRules, SendsThatWaitForRoomEndWithTheirClientHoweverManyTheyAre) {
  for (const char* broker : {"10.0.0.2", "10.0.0.3"}) network_.part(kClient, broker);
  ProducerCore& by = producer({.max_in_flight = 1});
  int stopped = 0;
  for (int i = 0; i < kVeryMany; ++i)
    by.send({.topic = "orders", .body = "x"}, {}, Mode::kAsync, 1h,
            [&](const Result<SendReceipt>& sent) {
              stopped += !sent && sent.error().code == Errc::kStopped;
            });
  network_.run();
  EXPECT_EQ(by.statistics().in_flight, 1u) << "it waits for its connection";
  EXPECT_EQ(stopped, 0);
  end_client({kNameServer});
  EXPECT_EQ(stopped, kVeryMany);
  EXPECT_EQ(by.statistics().in_flight, 0u);
}

TEST_F(SendingRules, OnewaysThatWaitForRoomGoOutHoweverManyTheyAre) {
  start_brokers();
  std::vector<remoting::Responder> open;
  a_->answer = b_->answer = [&](const Request& request) {
    if (request.command.code != request::kSendMessageV2) return request.responder.reply(0);
    if (!request.command.is_oneway()) open.push_back(request.responder);
  };
  ProducerCore& by = producer({.max_in_flight = 1});
  const Sent first = send(by, Mode::kAsync, 1h);
  ASSERT_EQ(open.size(), 1u);
  std::vector<int> order;
  for (int i = 0; i < kVeryMany; ++i)
    by.send({.topic = "orders", .body = "x"}, {}, Mode::kOneway, 1h,
            [&order, i](const Result<SendReceipt>& sent) {
              if (sent) order.push_back(i);
            });
  EXPECT_TRUE(order.empty());
  open.front().reply(0, {}, protocol::SendMessageResponse{.message_id = "0A000002"});
  network_.run();
  EXPECT_TRUE(*first && **first);
  EXPECT_EQ(order.size(), static_cast<std::size_t>(kVeryMany));
  EXPECT_TRUE(std::ranges::is_sorted(order)) << "each in its turn";
  open.clear();
  EXPECT_EQ(by.statistics().in_flight, 0u);
}

TEST_F(SendingRules, SendsThatWaitForRoomAreForbiddenHoweverManyTheyAre) {
  start_brokers();
  std::vector<remoting::Responder> open;
  a_->answer = b_->answer = [&](const Request& request) {
    if (request.command.code != request::kSendMessageV2) return request.responder.reply(0);
    open.push_back(request.responder);
  };
  bool forbidden = false;
  ProducerCore& by =
      producer({.max_in_flight = 1, .check_forbidden = [&](const SendEvent&) -> Result<Ok> {
                  if (forbidden) return Error{Errc::kRefused, "not today"};
                  return Ok{};
                }});
  int refused = 0;
  for (int i = 0; i < kVeryMany; ++i)
    by.send({.topic = "orders", .body = "x"}, {}, Mode::kAsync, 1h,
            [&](const Result<SendReceipt>& sent) { refused += !sent; });
  network_.run();
  ASSERT_EQ(open.size(), 1u);
  forbidden = true;
  open.front().reply(0, {}, protocol::SendMessageResponse{.message_id = "0A000002"});
  network_.run();
  EXPECT_EQ(refused, kVeryMany - 1);
  open.clear();
}

// ---- Batches
// ------------------------------------------------------------------------------------

TEST_F(SendingRules, RoutesOfAProducersTopicsAreThereBeforeItsFirstSend) {
  start_brokers();
  producer({.topics = {"orders"}});
  network_.run();
  EXPECT_TRUE(client().routes().publish("orders"));
  EXPECT_FALSE(
      ProducerCore::start(instance_, {.producer = {.group = "other", .topics = {"not a topic"}}}));
}

TEST_F(SendingRules, AvoidStepsThatMakeNoSenseAreRefused) {
  client();
  const auto refused = [&](ProducerConfig config) {
    config.group = "other";
    const auto started = ProducerCore::start(instance_, {.producer = std::move(config)});
    return !started && started.error().code == Errc::kInvalidArgument;
  };
  EXPECT_TRUE(refused({.avoid_steps = {{100ms, 1s}, {50ms, 0ms}}}));
  EXPECT_TRUE(refused({.detect_interval = 0ms}));
  EXPECT_TRUE(refused({.detect_timeout = 0ms}));
}

TEST_F(SendingRules, ABatchIsAsLargeAsItIsOnceEncoded) {
  start_brokers();
  std::size_t bytes = 0;
  a_->answer = b_->answer = [&](const Request& request) {
    if (request.command.code == request::kSendBatchMessage) bytes = request.command.body.size();
    request.responder.reply(0, {}, protocol::SendMessageResponse{.message_id = "0A000002"});
  };
  const std::vector<Message> batch(
      3, {.topic = "orders", .body = "x", .keys = {"o-17"}, .properties = {{"a", "b"}}});
  const auto send_batch = [&](std::size_t max_bytes) {
    std::optional<Result<SendReceipt>> sent;
    producer({.max_message_bytes = max_bytes})
        .send_batch(batch, {}, Mode::kAsync, 3s,
                    [&](Result<SendReceipt> result) { sent.emplace(std::move(result)); });
    network_.run();
    return *std::move(sent);
  };
  ASSERT_TRUE(send_batch(4 << 20));
  const std::size_t exactly = bytes;
  EXPECT_TRUE(send_batch(exactly));
  const auto refused = send_batch(exactly - 1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kInvalidArgument);
  EXPECT_EQ(refused.error().response_code, response::kMessageIllegal);
  EXPECT_EQ(refused.error().detail,
            "the message body size over max value, MAX: " + std::to_string(exactly - 1));
  const auto statistics = producers_.back()->statistics();
  EXPECT_EQ(statistics.failed, 1u);
  EXPECT_EQ(statistics.in_flight, 0u);
  a_->answer = b_->answer = store;
}

TEST_F(SendingRules, AMessageThatMayGoAloneIsNotRefusedForThoseItIsGatheredWith) {
  start_brokers();
  constexpr std::size_t kMax = 1'000;
  std::vector<std::size_t> sizes;
  a_->answer = b_->answer = [&](const Request& request) {
    const std::int32_t code = request.command.code;
    if (code != request::kSendMessageV2 && code != request::kSendBatchMessage)
      return request.responder.reply(0);
    sizes.push_back(request.command.body.size());
    request.responder.reply(0, {}, protocol::SendMessageResponse{.message_id = "0A000002"});
  };
  ProducerCore& by = producer({.max_message_bytes = kMax, .batch_delay = 10ms});
  int stored = 0;
  for (const std::size_t bytes : {1u, 1'000u, 400u, 400u, 1u, 999u})
    by.send({.topic = "orders", .body = std::string(bytes, 'x')}, {}, Mode::kAsync, 3s,
            [&](const Result<SendReceipt>& sent) { stored += sent.has_value(); });
  network_.advance(10ms);
  EXPECT_EQ(stored, 6);
  EXPECT_LE(*std::ranges::max_element(sizes), kMax);
  EXPECT_LT(sizes.size(), 6u) << "what fits together goes together";
  a_->answer = b_->answer = store;
}

// ---- What is used again
// ------------------------------------------------------------------------------

TEST_F(SendingRules, AProducerThatHasEndedIsNotHeldByWhatItKeptToUseAgain) {
  start_brokers();
  std::vector<remoting::Responder> open;
  ProducerCore& by = producer();
  EXPECT_TRUE(send(by, Mode::kAsync)->has_value());
  a_->answer = b_->answer = [&](const Request& request) {
    if (request.command.code != request::kSendMessageV2) return request.responder.reply(0);
    open.push_back(request.responder);
  };
  const auto late = send(by, Mode::kAsync);
  const std::weak_ptr<ProducerCore> gone = producers_.back();
  {
    const CallbackScope scope{CallbackScope::Where::kOwnThread};
    by.shutdown();
  }
  network_.run();
  producers_.clear();
  EXPECT_FALSE(gone.expired()) << "a send is under way";
  open.front().reply(0, {}, protocol::SendMessageResponse{.message_id = "0A000002"});
  network_.run();
  EXPECT_TRUE(late->has_value() && **late);
  EXPECT_TRUE(gone.expired());
}

TEST_F(SendingRules, SaysWhenAMessageWasBornHoweverSoonItFollows) {
  start_brokers();
  std::int64_t born = 0;
  a_->answer = b_->answer = [&](const Request& request) {
    if (request.command.code == request::kSendMessageV2)
      born = protocol::read_header<protocol::SendMessageV2>(request.command)->born_timestamp;
    store(request);
  };
  ProducerCore& by = producer();
  for (const auto pause : {0ms, 1ms, 8ms, 1ms, 10ms, 500ms, 9ms}) {
    clock_.advance(pause);
    send(by, Mode::kAsync);
    EXPECT_EQ(born, clock_.wall_ms());
  }
}

TEST_F(SendingRules, NothingOfOneMessageIsLeftInTheNextOneThatUsesItsMemory) {
  start_brokers();
  std::map<std::string, std::string> asked;  // of the last send: all but what differs each time
  a_->answer = b_->answer = [&](const Request& request) {
    asked = {{"code", std::to_string(request.command.code)},
             {"body", std::string{as_text(request.command.body)}}};
    for (const auto& [name, value] : request.command.ext) asked.emplace(name, value);
    protocol::Properties properties{asked["i"]};
    properties.remove(protocol::property::kUniqueKey);
    asked["i"] = properties.encode();
    asked.erase("g");
    request.responder.reply(
        0, {}, protocol::SendMessageResponse{.message_id = "0A000002", .queue_offset = 7});
  };
  ProducerCore& by = producer();
  int answers = 0;
  Result<SendReceipt> last{std::in_place};
  const ProducerCore::Done done = [&](Result<SendReceipt> sent) {
    ++answers;
    last = std::move(sent);
  };
  const auto send_plain = [&] {
    asked.clear();
    by.send({.topic = "orders", .body = "x"}, {}, Mode::kAsync, 3s, ProducerCore::Done{done});
    network_.run();
    EXPECT_TRUE(last) << last.error().detail;
    EXPECT_EQ(last->message_id.size(), 32u);
    EXPECT_EQ(last->transaction_id, "");
    return asked;
  };
  const auto plain = send_plain();
  EXPECT_EQ(plain.at("body"), "x");

  const std::vector<std::function<void()>> others{
      [&] {
        by.send({.topic = "orders",
                 .body = std::string(10'000, 'y'),
                 .tag = "t",
                 .keys = {"k"},
                 .properties = {{"a", "b"}},
                 .deliver = after(1s),
                 .flag = 3,
                 .wait_store = false},
                {.select = by_random(), .queue = {}}, Mode::kSync, 3s, ProducerCore::Done{done});
      },
      [&] {
        by.send({.topic = "orders", .body = "y"},
                {.select = {}, .queue = MessageQueue{"orders", "b", 0}}, Mode::kAsync, 3s,
                ProducerCore::Done{done});
      },
      [&] {
        by.send({.topic = "orders", .body = "y", .tag = "t"}, {}, Mode::kOneway, 3s,
                ProducerCore::Done{done});
      },
      [&] {
        const std::vector<Message> batch(2, {.topic = "orders", .body = "y", .tag = "t"});
        by.send_batch(batch, {}, Mode::kAsync, 3s, done);
      },
      [&] { by.send_half({.topic = "orders", .body = "y"}, 3s, done); },
      [&] {
        Message again{.topic = "%RETRY%g", .body = "y"};
        again.properties = {{"RECONSUME_TIME", "5"},
                            {"MAX_RECONSUME_TIMES", "9"},
                            {"MSG_TYPE", "reply"},
                            {"UNIQ_KEY", "mine"}};
        by.send_as_is(std::move(again), 3s, done);
      }};
  for (const auto& other : others) {
    asked.clear();
    other();
    network_.run();
    EXPECT_NE(asked, plain);
    EXPECT_EQ(send_plain(), plain);
  }
  EXPECT_EQ(answers, 1 + 2 * static_cast<int>(others.size()));
  const auto statistics = by.statistics();
  EXPECT_EQ(statistics.in_flight, 0u);
  EXPECT_EQ(statistics.in_flight_bytes, 0u);
  a_->answer = b_->answer = [](const Request&) {};  // `asked` ends before the brokers do
}

// ---- Ends
// -----------------------------------------------------------------------------------------

TEST_F(SendingRules, WhatWasGatheredForABatchEndsWithItsClient) {
  ProducerCore& by = producer({.batch_delay = 5s});
  int stopped = 0;
  for (const char* topic : {"orders", "orders", "audit"})
    by.send({.topic = topic, .body = "x"}, {}, Mode::kAsync, 10s,
            [&](const Result<SendReceipt>& sent) {
              stopped += !sent && sent.error().code == Errc::kStopped && !sent.error().perhaps_done;
            });
  instance_->shutdown();
  EXPECT_EQ(stopped, 3);
  EXPECT_EQ(by.statistics().in_flight, 0u);
}

// ---- Heartbeats
// ---------------------------------------------------------------------------------

TEST_F(SendingRules, ABrokerKnowsAProducerOnceItHasSentNotHalfAMinuteLater) {
  start_brokers();
  ProducerCore& by = producer();
  network_.advance(5s);  // the first heartbeat, to nobody
  const Sent sent = send(by, Mode::kSync);
  ASSERT_TRUE(*sent && **sent);
  EXPECT_EQ(a_->asked[request::kHeartBeat], 1);
  EXPECT_EQ(b_->asked[request::kHeartBeat], 1);
  send(by, Mode::kSync);
  network_.advance(5s);
  EXPECT_EQ(a_->asked[request::kHeartBeat], 1) << "once is enough";
}

// ---- Look-ups of routes
// ------------------------------------------------------------------------------

TEST_F(SendingRules, ASendThatSharesALookUpEndsInItsOwnTime) {
  start_brokers();
  ProducerCore& by = producer();
  name_server_->answer = hang;
  const Sent patient = send(by, Mode::kAsync, 3s);
  const Sent hasty = send(by, Mode::kSync, 200ms);
  network_.advance(199ms);
  EXPECT_FALSE(*hasty);
  network_.advance(1ms);
  ASSERT_TRUE(*hasty);
  EXPECT_EQ((**hasty).error().code, Errc::kTimeout);
  EXPECT_FALSE((**hasty).error().perhaps_done);
  network_.advance(2'700ms);
  EXPECT_FALSE(*patient);
  network_.advance(100ms);
  ASSERT_TRUE(*patient);
  EXPECT_EQ((**patient).error().code, Errc::kTimeout);
}

TEST_F(SendingRules, ALookUpThatWasNotAnsweredIsRepeatedForWhoStillHasTime) {
  start_brokers();
  ProducerCore& by = producer();
  const auto answer = std::exchange(name_server_->answer, hang);
  const Sent hasty = send(by, Mode::kAsync, 100ms);
  network_.advance(2s);
  EXPECT_TRUE(*hasty);
  const Sent patient = send(by, Mode::kSync, 2s);
  name_server_->answer = answer;  // to what it is asked from now on
  EXPECT_FALSE(*patient);
  network_.advance(1'100ms);
  ASSERT_TRUE(*patient);
  EXPECT_TRUE(**patient) << (**patient).error().detail;
}

TEST_F(SendingRules, ASendThatJoinsTheLookUpOfAHastyOneHasItsOwnTimeToo) {
  start_brokers();
  ProducerCore& by = producer();
  std::vector<remoting::Responder> open;
  name_server_->answer = [&](const Request& request) { open.push_back(request.responder); };
  const Sent hasty = send(by, Mode::kAsync, 100ms);
  const Sent patient = send(by, Mode::kSync, 3s);
  network_.advance(500ms);
  ASSERT_TRUE(*hasty);
  EXPECT_EQ((**hasty).error().code, Errc::kTimeout);
  EXPECT_FALSE(*patient);
  ASSERT_EQ(open.size(), 1u) << "they share one question";
  tell_route(open.front());
  network_.run();
  ASSERT_TRUE(*patient);
  EXPECT_TRUE(**patient) << (**patient).error().detail;
  name_server_->answer = hang;  // `open` ends first
}

// ---- Hooks of requests
// ---------------------------------------------------------------------------

TEST_F(SendingRules, AHookAddsFieldsToEveryRequestUnderItsSignature) {
  start_brokers();
  std::vector<std::pair<std::string, std::string>> fields;
  a_->answer = b_->answer = [&](const Request& request) {
    if (request.command.code == request::kSendMessageV2)
      for (const auto& [name, value] : request.command.ext) fields.emplace_back(name, value);
    store(request);
  };
  // The client says goodbye when the test is over.
  const auto asked = std::make_shared<std::set<std::pair<std::string, std::int32_t>>>();
  ClientConfig config;
  config.credentials = {.access_key = "reader", .secret_key = "12345678"};
  config.before_request = [asked](const RpcEvent& event) {
    asked->emplace(event.address, event.code);
    return ExtFields{{"zone", "north"}};
  };
  client(std::move(config));
  const Sent sent = send(producer(), Mode::kSync);
  ASSERT_TRUE(*sent && **sent);
  EXPECT_THAT(fields, ::testing::Contains(::testing::Pair("zone", "north")));
  const auto signature_at =
      std::ranges::find(fields, "Signature", [](const auto& each) { return each.first; });
  ASSERT_NE(signature_at, fields.end());
  const std::string given = signature_at->second;
  fields.erase(signature_at);
  EXPECT_EQ(given, signature("12345678", fields, as_bytes("x")));
  EXPECT_TRUE(asked->contains({"10.0.0.1:9876", request::kGetRouteInfoByTopic}));
  EXPECT_TRUE(asked->contains({(**sent)->queue.broker == "a" ? "10.0.0.2:10911" : "10.0.0.3:10911",
                               request::kSendMessageV2}));
}

TEST_F(SendingRules, AHookIsToldOfEveryAnswerAndFailure) {
  start_brokers();
  struct Told {
    std::vector<std::int32_t> answers;
    std::vector<Errc> failures;
  };
  const auto told = std::make_shared<Told>();
  ClientConfig config;
  config.after_response = [told](const RpcEvent& event) {
    if (event.code != request::kSendMessageV2) return;
    if (event.response) told->answers.push_back(*event.response);
    if (event.error != nullptr) told->failures.push_back(event.error->code);
  };
  client(std::move(config));
  ProducerCore& by = producer();
  send(by, Mode::kSync);
  a_->answer = b_->answer = refuse(response::kMessageIllegal);
  send(by, Mode::kSync);
  a_->answer = b_->answer = hang;
  send(by, Mode::kSync, 2s);
  network_.advance(2s);
  EXPECT_EQ(told->answers, (std::vector<std::int32_t>{0, response::kMessageIllegal}));
  EXPECT_EQ(told->failures, std::vector<Errc>{Errc::kTimeout});
}

TEST_F(SendingRules, HooksStandAroundWhatABrokerAsks) {
  start_brokers();
  remoting::PeerPtr broker;
  a_->answer = b_->answer = [&](const Request& request) {
    broker = request.peer();
    store(request);
  };
  const auto told = std::make_shared<std::vector<std::string>>();
  ClientConfig config;
  config.before_request = [told](const RpcEvent& event) {
    if (event.inbound) told->push_back(fmt::format("{} asks {}", event.address, event.code));
    return ExtFields{};
  };
  config.after_response = [told](const RpcEvent& event) {
    if (event.inbound) told->push_back(fmt::format("{}: {}", event.code, *event.response));
  };
  client(std::move(config));
  const Sent sent = send(producer(), Mode::kSync);
  ASSERT_TRUE(*sent && **sent);
  a_->answer = b_->answer = store;  // the client's farewell comes when `broker` is gone
  const auto ask = [&](std::int32_t code, const auto& header) {
    broker->call(code, header, {}, 3s, [](const Result<remoting::OwnedCommand>&) {});
    network_.run();
    return std::exchange(*told, {});
  };
  const std::string from = brokers_.at((**sent)->queue.broker);
  protocol::ConsumerGroupRequest changed;
  changed.consumer_group = "billing";
  EXPECT_THAT(ask(request::kNotifyConsumerIdsChanged, changed),
              ::testing::ElementsAre(from + " asks 40", "40: 0"));
  protocol::ConsumerRunningInfoRequest info;
  info.consumer_group = "billing";
  info.client_id = "somebody";
  EXPECT_THAT(ask(request::kGetConsumerRunningInfo, info),
              ::testing::ElementsAre(from + " asks 307", "307: 1"));
  protocol::PushReplyMessageRequest reply;
  EXPECT_THAT(ask(request::kPushReplyMessageToClient, reply),
              ::testing::ElementsAre(from + " asks 326", "326: 0"));
  EXPECT_THAT(ask(4'711, changed), ::testing::IsEmpty()) << "nobody works on it";
}

TEST_F(SendingRules, NamespaceV2AndTheKindOfClientStandInEveryRequest) {
  start_brokers();
  std::set<std::int32_t> codes, told;
  const auto look = [&](const Request& request) {
    codes.insert(request.command.code);
    const auto field = [&](std::string_view name) {
      const auto found =
          std::ranges::find(request.command.ext, name, [](const auto& each) { return each.name; });
      return found == request.command.ext.end() ? "" : found->value;
    };
    if (field("nsd") == "true" && field("ns") == "shop" && field("ReqT") == "0")
      told.insert(request.command.code);
  };
  a_->answer = b_->answer = [&](const Request& request) {
    look(request);
    store(request);
  };
  name_server_->answer = [&, answer = name_server_->answer](const Request& request) {
    look(request);
    answer(request);
  };
  client({.name_space_v2 = "shop", .stream_requests = true});
  EXPECT_TRUE(instance_->id().ends_with("@STREAM")) << instance_->id();
  const Sent sent = send(producer(), Mode::kSync);
  ASSERT_TRUE(*sent && **sent);
  EXPECT_EQ((**sent)->queue.topic, "orders") << "names stay as they are";
  EXPECT_TRUE(codes.contains(request::kGetRouteInfoByTopic));
  EXPECT_TRUE(codes.contains(request::kSendMessageV2));
  EXPECT_EQ(told, codes);
  a_->answer = b_->answer = store;
}

TEST_F(SendingRules, ABlockingSendGoesToAnotherBrokerAfterACodeOfTheList) {
  start_brokers();
  a_->answer = refuse(response::kSystemBusy);
  ProducerCore& by = producer();
  for (int i = 0; i < 4; ++i) {
    const Sent sent = send(by, Mode::kSync);
    ASSERT_TRUE(*sent);
    ASSERT_TRUE(**sent) << (**sent).error().detail;
    EXPECT_EQ((**sent)->queue.broker, "b");
  }
  EXPECT_EQ(b_->sends(), 4);
  EXPECT_EQ(by.statistics().retried, static_cast<std::uint64_t>(a_->sends()));
  EXPECT_GE(a_->sends(), 1) << "brokers take turns";
}

TEST_F(SendingRules, ABlockingSendIsTriedThreeTimesAndSaysSo) {
  start_brokers();
  a_->answer = b_->answer = refuse(response::kSystemBusy);
  const Sent sent = send(producer(), Mode::kSync);
  ASSERT_TRUE(*sent);
  ASSERT_FALSE(**sent);
  EXPECT_EQ(a_->sends() + b_->sends(), 3);
  EXPECT_EQ((**sent).error().response_code, response::kSystemBusy);
  EXPECT_FALSE((**sent).error().perhaps_done) << "every broker said no";
  EXPECT_THAT((**sent).error().detail, AllOf(HasSubstr("Send [3] times, still failed, cost [0]ms"),
                                             HasSubstr("BrokersSent: [")));
}

TEST_F(SendingRules, ACodeThatIsNotOfTheListEndsASend) {
  start_brokers();
  a_->answer = b_->answer = refuse(response::kMessageIllegal);
  const Sent sent = send(producer(), Mode::kSync);
  ASSERT_TRUE(*sent);
  EXPECT_EQ((**sent).error().response_code, response::kMessageIllegal);
  EXPECT_EQ(a_->sends() + b_->sends(), 1);
}

TEST_F(SendingRules, AnAsyncSendTakesARefusalForItsAnswer) {
  start_brokers();
  a_->answer = b_->answer = refuse(response::kSystemBusy);
  const Sent sent = send(producer(), Mode::kAsync);
  ASSERT_TRUE(*sent);
  EXPECT_EQ((**sent).error().code, Errc::kRefused);
  EXPECT_EQ(a_->sends() + b_->sends(), 1);
}

TEST_F(SendingRules, AnAsyncSendIsTriedAgainWhenTheTransportFails) {
  b_ = serve("10.0.0.3", 10'911);  // nobody listens at a
  b_->answer = store;
  ProducerCore& by = producer();
  for (int i = 0; i < 4; ++i) {
    const Sent sent = send(by, Mode::kAsync);
    ASSERT_TRUE(*sent);
    EXPECT_TRUE(**sent) << (**sent).error().detail;
  }
  EXPECT_GE(by.statistics().retried, 1u);
}

TEST_F(SendingRules, ASendToAQueueOfABrokerThatNobodyKnowsEndsWithThat) {
  start_brokers();
  ProducerCore& by = producer();
  send(by, Mode::kAsync);
  const int before = name_server_->asked[request::kGetRouteInfoByTopic];
  int asked = 0;
  for (const Mode mode : {Mode::kSync, Mode::kAsync, Mode::kOneway}) {
    std::optional<Result<SendReceipt>> sent;
    by.send({.topic = "orders", .body = "x"},
            {.select = {}, .queue = MessageQueue{"orders", "nobody", 0}}, mode, 3s,
            [&](Result<SendReceipt> result) { sent.emplace(std::move(result)); });
    network_.run();
    ASSERT_TRUE(sent);
    ASSERT_FALSE(*sent);
    EXPECT_EQ(sent->error().code, Errc::kNotFound);
    EXPECT_THAT(sent->error().detail, HasSubstr("The broker[nobody] not exist"));
    EXPECT_FALSE(sent->error().perhaps_done);
    EXPECT_EQ(name_server_->asked[request::kGetRouteInfoByTopic] - before, ++asked);
  }
}

TEST_F(SendingRules, QueuesOfBrokersWithoutAMasterArePassedOver) {
  start_brokers();
  std::string order = "gone:1;lost:1;a:1;missing:1";
  name_server_->answer = [&](const Request& request) {
    protocol::TopicRouteData route;
    route.order_topic_conf = order;
    route.broker_datas.push_back(
        {.broker_addresses = {{0, brokers_.at("a")}}, .broker_name = "a", .cluster = "c"});
    request.responder.reply(0, {}, protocol::NoFields{}, as_bytes(protocol::encode_body(route)));
  };
  ProducerCore& by = producer({.retries = 1'000'000, .retries_async = 1'000'000});
  for (const Mode mode : {Mode::kSync, Mode::kAsync}) {
    for (int i = 0; i < 4; ++i) {
      const Sent sent = send(by, mode);
      ASSERT_TRUE(*sent);
      ASSERT_TRUE(**sent) << (**sent).error().detail;
      EXPECT_EQ((**sent)->queue.broker, "a");
    }
  }
  order = "gone:1;lost:1";
  network_.advance(30s);  // the client hears of it
  for (const Mode mode : {Mode::kSync, Mode::kAsync}) {
    const Sent sent = send(by, mode);
    ASSERT_TRUE(*sent) << "nothing is left to wait for";
    EXPECT_EQ((**sent).error().code, Errc::kNotFound);
  }
  name_server_->answer = hang;  // `order` ends first
}

TEST_F(SendingRules, ARefusalSaysNothingOfWhatAnEarlierAttemptMayHaveStored) {
  start_brokers();
  const auto take_and_close = [](const Request& request) {
    if (request.command.code != request::kSendMessageV2) return request.responder.reply(0);
    request.peer()->close("the test says so");
  };
  ProducerCore& by = producer({.retries = 1});
  for (const auto last : {response::kSystemBusy, response::kMessageIllegal}) {
    int sends = 0;
    a_->answer = b_->answer = [&, last](const Request& request) {
      if (request.command.code == request::kSendMessageV2 && sends++ == 0)
        return take_and_close(request);
      refuse(last)(request);
    };
    const Sent sent = send(by, Mode::kSync);
    ASSERT_TRUE(*sent);
    ASSERT_FALSE(**sent);
    EXPECT_EQ(sends, 2);
    EXPECT_EQ((**sent).error().response_code, last);
    EXPECT_TRUE((**sent).error().perhaps_done);
  }
  a_->answer = b_->answer = store;
}

TEST_F(SendingRules, AnAttemptThatIsForbiddenSaysNothingOfTheOneBefore) {
  start_brokers();
  a_->answer = b_->answer = hang;
  int asked = 0;
  const Sent sent = send(producer({.attempt_timeout = 500ms,
                                   .check_forbidden = [&](const SendEvent&) -> Result<Ok> {
                                     if (++asked == 1) return Ok{};
                                     return Error{Errc::kRefused, "not today"};
                                   }}),
                         Mode::kSync);
  network_.advance(1s);
  ASSERT_TRUE(*sent);
  ASSERT_FALSE(**sent);
  EXPECT_EQ((**sent).error().detail, "not today");
  EXPECT_TRUE((**sent).error().perhaps_done);
}

TEST_F(SendingRules, AReceiptOfAMessageStoredLessSafelyIsKeptWhateverTheLastAttemptComesTo) {
  start_brokers();
  bool forbid = false;
  ProducerCore& by = producer(
      {.retry_when_not_stored_ok = true, .check_forbidden = [&](const SendEvent&) -> Result<Ok> {
         if (forbid) return Error{Errc::kRefused, "not today"};
         return Ok{};
       }});
  const auto receipt_when = [&](const std::function<void()>& then) {
    int sends = 0;
    a_->answer = b_->answer = [&](const Request& request) {
      if (request.command.code != request::kSendMessageV2) return request.responder.reply(0);
      if (sends++ > 0) return;
      then();
      request.responder.reply(response::kFlushSlaveTimeout, {},
                              protocol::SendMessageResponse{.message_id = "0A000002"});
    };
    const Sent sent = send(by, Mode::kSync);
    network_.advance(4s);
    a_->answer = b_->answer = store;
    forbid = false;
    EXPECT_TRUE(*sent);
    ASSERT_TRUE(**sent) << (**sent).error().detail;
    EXPECT_EQ((**sent)->status, SendStatus::kFlushReplicaTimeout);
  };
  receipt_when([] {});  // the next attempt hangs
  receipt_when([&] { forbid = true; });
}

TEST_F(SendingRules, OneTimeoutCoversAllAttempts) {
  start_brokers();
  a_->answer = b_->answer = hang;
  const Sent sent = send(producer({.attempt_timeout = 500ms}), Mode::kSync);
  EXPECT_EQ(a_->sends() + b_->sends(), 1);
  network_.advance(700ms);
  EXPECT_EQ(a_->sends() + b_->sends(), 2);
  network_.advance(600ms);
  EXPECT_EQ(a_->sends() + b_->sends(), 3) << "the last one gets all that is left";
  network_.advance(1'600ms);
  EXPECT_FALSE(*sent);
  network_.advance(300ms);
  ASSERT_TRUE(*sent);
  EXPECT_EQ((**sent).error().code, Errc::kTimeout);
  EXPECT_TRUE((**sent).error().perhaps_done);
  EXPECT_EQ(a_->sends() + b_->sends(), 3);
}

TEST_F(SendingRules, TheFastChannelIsTwoPortsBelow) {
  a_ = serve("10.0.0.2", 10'909);
  b_ = serve("10.0.0.3", 10'909);
  a_->answer = b_->answer = store;
  client({.vip_channel = true});
  const Sent sent = send(producer(), Mode::kSync);
  ASSERT_TRUE(*sent);
  EXPECT_TRUE(**sent) << (**sent).error().detail;
}

TEST_F(SendingRules, ABrokerThatFailedIsLeftAloneForTenSecondsWhateverAProbeFinds) {
  start_brokers();
  a_->answer = hang;
  ProducerCore& by =
      producer({.retries = 2, .avoid_slow_brokers = true, .detect_slow_brokers = true});
  while (a_->sends() == 0) {  // its turn comes
    const Sent sent = send(by, Mode::kSync, 1s);
    network_.advance(2s);
  }
  const int before = a_->sends();
  for (int i = 0; i < 4; ++i) send(by, Mode::kSync);
  EXPECT_EQ(a_->sends(), before);
  a_->answer = store;
  network_.advance(4s);  // a probe is due every two
  EXPECT_GE(a_->asked[request::kGetMaxOffset], 1);
  for (int i = 0; i < 4; ++i) send(by, Mode::kSync);
  EXPECT_EQ(a_->sends(), before) << "it can be reached, but b is available";

  b_->answer = hang;  // now neither is available, and only one answers probes
  send(by, Mode::kSync, 1s);
  network_.advance(1s);
  for (int i = 0; i < 4; ++i) {
    const Sent sent = send(by, Mode::kSync);
    ASSERT_TRUE(*sent);
    ASSERT_TRUE(**sent) << (**sent).error().detail;
    EXPECT_EQ((**sent)->queue.broker, "a");
  }
}

TEST_F(SendingRules, WhatABrokerDoesNotTakeBackIsSentToTheRetryTopic) {
  start_brokers();
  std::optional<std::string> topic, properties;
  a_->answer = b_->answer = [&](const Request& request) {
    if (request.command.code == request::kConsumerSendMessageBack)
      return request.responder.reply(response::kRequestCodeNotSupported, "what?");
    if (request.command.code == request::kSendMessageV2) {
      topic = request.command.find("b");
      properties = request.command.find("i");
    }
    store(request);
  };
  client();
  const SendBack back{instance_, {.group = "billing", .max_reconsume_times = 16}};
  auto message = std::make_shared<ReceivedMessage>();
  message->topic = "orders";
  message->body = "again";
  message->message_id = "0A000009";
  message->store_host = "10.0.0.2:10911";
  message->reconsume_times = 1;
  std::optional<Result<Ok>> done;
  back.send(message, 0, [&](Result<Ok> result) { done.emplace(std::move(result)); });
  network_.run();
  ASSERT_TRUE(done);
  EXPECT_TRUE(*done) << done->error().detail;
  EXPECT_EQ(topic, "%RETRY%billing");
  EXPECT_THAT(*properties, AllOf(HasSubstr("RETRY_TOPIC\x01orders\x02"),
                                 HasSubstr("ORIGIN_MESSAGE_ID\x01"
                                           "0A000009\x02"),
                                 HasSubstr("DELAY\x01"
                                           "4\x02")));
}

}  // namespace
}  // namespace apogee::client
