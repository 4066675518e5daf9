#include <map>
#include <mutex>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apogee/admin.h"
#include "apogee/client.h"
#include "protocol/bodies.h"
#include "protocol/codes.h"
#include "protocol/headers.h"
#include "protocol/message.h"
#include "remoting/client.h"
#include "remoting/server.h"
#include "testing/eventually.h"

/// What a client does when servers do not know what it asks for: they are older than it is, or
/// somebody else's.
namespace apogee {
namespace {

using namespace std::chrono_literals;
using remoting::Request;
using ::testing::AllOf;
using ::testing::Contains;
using testing::eventually;
using ::testing::HasSubstr;
namespace request = protocol::request_code;
namespace response = protocol::response_code;

constexpr auto kLong = 15s;
const MessageQueue kQueue{"orders", "broker-a", 0};

/// A name server and a broker in one, as much of them as a client cannot do without; each topic has
/// one queue, "orders" has messages. Anything else, and what the test says, it does not know.
class OldServer final : public remoting::RequestHandler {
 public:
  OldServer() : server_{*remoting::start_server(env_, {.bind_address = "127.0.0.1"}, *this)} {}
  ~OldServer() override {
    server_->close_all(0ms);
    server_.reset();
    clock_.reset();  // pulls it still holds end here, while there is a network
  }

  std::string address() const { return to_string(server_->local()); }
  void hold(const std::string& body, const std::string& topic = "orders",
            const std::string& key = {}) {
    const std::string properties = key.empty() ? "" : "KEYS\x01" + key + "\x02";
    protocol::Message message;
    message.topic = topic;
    message.properties = properties;
    message.queue_offset = end_;
    message.born_host = message.store_host = kHost;
    message.body = as_bytes(body);
    ASSERT_TRUE(protocol::encode_message(records_, message));
    ++end_;
  }
  /// Routes lead to that broker, too.
  void tells_of(const std::string& broker, const std::string& address) {
    std::lock_guard lock{mutex_};
    others_.emplace_back(broker, address);
  }
  void does_not_know(std::int32_t code) {
    std::lock_guard lock{mutex_};
    unknown_.insert(code);
  }
  void knows(std::int32_t code) {
    std::lock_guard lock{mutex_};
    unknown_.erase(code);
  }
  /// Ends the connection that pulls come over.
  void cut() {
    std::lock_guard lock{mutex_};
    puller_->close("cut");
  }
  void does_not_answer(std::int32_t code) {
    std::lock_guard lock{mutex_};
    silent_.insert(code);
  }
  /// Commits take so long, and nothing behind them waits.
  void commits_slowly(Clock::Duration delay) {
    std::lock_guard lock{mutex_};
    commit_delay_ = delay;
  }
  std::optional<std::int64_t> committed() const {
    std::lock_guard lock{mutex_};
    return committed_;
  }
  int asked(std::int32_t code) const {
    std::lock_guard lock{mutex_};
    const auto found = asked_.find(code);
    return found == asked_.end() ? 0 : found->second;
  }
  /// What came with requests of this code.
  std::vector<std::string> bodies(std::int32_t code) const {
    std::lock_guard lock{mutex_};
    const auto found = bodies_.find(code);
    return found == bodies_.end() ? std::vector<std::string>{} : found->second;
  }
  std::vector<std::string> sent_to() const {
    std::lock_guard lock{mutex_};
    return sent_to_;
  }

 private:
  static constexpr std::array<std::byte, 4> kHost{};

  void on_requests(std::span<const Request> requests) override {
    for (const Request& each : requests) {
      std::lock_guard lock{mutex_};
      const std::int32_t code = each.command.code;
      ++asked_[code];
      bodies_[code].emplace_back(as_text(each.command.body));
      if (silent_.contains(code)) continue;
      if (unknown_.contains(code))
        each.responder.reply(response::kRequestCodeNotSupported, "what?");
      else
        answer(each);
    }
  }
  void answer(const Request& request) {
    const auto& responder = request.responder;
    switch (request.command.code) {
      case request::kGetRouteInfoByTopic: {
        protocol::TopicRouteData route;
        route.broker_datas = {
            {.broker_addresses = {{0, address()}}, .broker_name = "broker-a", .cluster = "c"}};
        route.queue_datas = {
            {.broker_name = "broker-a", .read_queue_nums = 1, .write_queue_nums = 1}};
        for (const auto& [name, where] : others_)
          route.broker_datas.push_back(
              {.broker_addresses = {{0, where}}, .broker_name = name, .cluster = "c"});
        return responder.reply(0, {}, protocol::NoFields{}, as_bytes(protocol::encode_body(route)));
      }
      case request::kHeartBeat:
        client_ = protocol::decode_body<protocol::HeartbeatData>(as_text(request.command.body))
                      ->client_id;
        return responder.reply(0);
      case request::kGetConsumerListByGroup: {
        const protocol::ConsumerIdList ids{.consumer_id_list = {client_}};
        return responder.reply(0, {}, protocol::NoFields{}, as_bytes(protocol::encode_body(ids)));
      }
      case request::kQueryConsumerOffset:
        return responder.reply(0, {}, protocol::OffsetResponse{0});
      case request::kLitePullMessage:
      case request::kPullMessage:
        return pull(request);
      case request::kSendMessageV2:
        sent_to_.emplace_back(*request.command.find("b"));
        return responder.reply(
            0, {}, protocol::SendMessageResponse{.message_id = "0A000002", .queue_id = 0});
      case request::kUpdateConsumerOffset:
        return commit(request);
      case request::kQueryMessage:
        return responder.reply(0, {}, protocol::QueryMessageResponse{}, as_bytes(records_));
      case request::kUnregisterClient:
        return responder.reply(0);
      default:
        return responder.reply(response::kRequestCodeNotSupported, "what?");
    }
  }
  void pull(const Request& request) {
    puller_ = request.peer();
    const auto header = protocol::read_header<protocol::PullMessageRequest>(request.command);
    if (header->topic == "orders" && header->queue_offset < end_)
      return request.responder.reply(
          0, {}, protocol::PullMessageResponse{.next_begin_offset = end_, .max_offset = end_},
          as_bytes(records_));
    clock_->run_after(50ms, [responder = request.responder, at = header->queue_offset] {
      responder.reply(response::kPullNotFound, "nothing",
                      protocol::PullMessageResponse{.next_begin_offset = at, .max_offset = at});
    });
  }

  void commit(const Request& request) {
    const auto header =
        protocol::read_header<protocol::UpdateConsumerOffsetRequest>(request.command);
    clock_->run_after(commit_delay_,
                      [this, responder = request.responder, offset = header->commit_offset] {
                        std::lock_guard lock{mutex_};
                        committed_ = offset;
                        responder.reply(0);
                      });
  }

  mutable std::mutex mutex_;
  std::set<std::int32_t> unknown_, silent_;
  std::map<std::int32_t, int> asked_;
  std::map<std::int32_t, std::vector<std::string>> bodies_;
  std::vector<std::string> sent_to_;
  std::vector<std::pair<std::string, std::string>> others_;
  std::string client_, records_;
  remoting::PeerPtr puller_;
  std::int64_t end_ = 0;
  Clock::Duration commit_delay_{};
  std::optional<std::int64_t> committed_;

  std::unique_ptr<Logger> log_ = make_silent_logger();
  std::unique_ptr<FileSystem> files_ = make_posix_files();
  std::unique_ptr<Clock> clock_ = make_system_clock();
  std::unique_ptr<Executor> workers_ = make_thread_pool(1, "old");
  std::unique_ptr<Transport> network_ = remoting::make_transport(1);
  Random random_{1};
  Env env_{*clock_, *files_, *network_, *workers_, random_, *log_};
  std::unique_ptr<remoting::Server> server_;
};

class OldServers : public ::testing::Test {
 protected:
  Client client(ClientConfig config = {}) {
    config.name_servers = {server_.address()};
    return *Client::start(std::move(config));
  }
  /// Counts what it consumes.
  PushConsumerConfig consumer(std::atomic<int>& consumed) {
    return {.group = "billing",
            .subscriptions = {{"orders", all()}},
            .from = StartFrom::kFirst,
            .on_messages = [&](std::span<const ReceivedMessage> batch) {
              consumed += static_cast<int>(batch.size());
              return Consumed::kDone;
            }};
  }
  OldServer server_;
};

TEST_F(OldServers, LitePullsArePlainPullsToABrokerThatDoesNotKnowThem) {
  server_.does_not_know(request::kLitePullMessage);
  server_.hold("hello");
  Client c = client();
  LitePullConsumer consumer = *c.lite_pull_consumer({.group = "replay", .from = StartFrom::kFirst});
  ASSERT_TRUE(consumer.assign({kQueue}));
  const auto polled = consumer.poll(kLong);
  ASSERT_EQ(polled.size(), 1U);
  EXPECT_EQ(polled.front().body, "hello");
  EXPECT_TRUE(eventually([&] { return server_.asked(request::kPullMessage) >= 4; }));
  EXPECT_EQ(server_.asked(request::kLitePullMessage), 1) << "the answer is remembered";

  server_.knows(request::kLitePullMessage);
  server_.cut();
  EXPECT_TRUE(eventually([&] { return server_.asked(request::kLitePullMessage) >= 2; }))
      << "what comes back may be a newer broker";
}

TEST_F(OldServers, QueuesAreDividedByTheClientWhenABrokerCannot) {
  server_.hold("hello");
  std::atomic<int> consumed{0};
  PushConsumerConfig config = consumer(consumed);
  config.client_rebalance = false;
  Client c = client();
  PushConsumer push = *c.push_consumer(std::move(config));
  EXPECT_TRUE(eventually([&] { return consumed == 1; }));
  EXPECT_GE(server_.asked(request::kQueryAssignment), 1);
  EXPECT_GE(server_.asked(request::kGetConsumerListByGroup), 1);
}

TEST_F(OldServers, ABrokerThatIsSilentAboutDivisionIsAskedThreeTimes) {
  server_.does_not_answer(request::kQueryAssignment);
  server_.hold("hello");
  std::atomic<int> consumed{0};
  PushConsumerConfig config = consumer(consumed);
  config.client_rebalance = false;
  Client c = client({.api_timeout = 100ms});
  PushConsumer push = *c.push_consumer(std::move(config));
  EXPECT_TRUE(eventually([&] { return consumed == 1; }));
  EXPECT_GE(server_.asked(request::kQueryAssignment), 3);
}

TEST_F(OldServers, AFilterThatTheBrokerCannotCheckIsRefusedAtTheStart) {
  std::atomic<int> consumed{0};
  PushConsumerConfig config = consumer(consumed);
  config.subscriptions = {{"orders", sql("amount > 100")}};
  Client c = client();
  const auto refused = c.push_consumer(std::move(config));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().response_code, response::kRequestCodeNotSupported);
  EXPECT_THAT(refused.error().detail,
              AllOf(HasSubstr("maybe because you use SQL92 to filter message, but server has not "
                              "been upgraded to support!"),
                    HasSubstr("CODE: 3  DESC: what?")));
  std::atomic<int> later{0};
  EXPECT_TRUE(c.push_consumer(consumer(later))) << "the group is free again";
}

TEST_F(OldServers, HeartbeatsStayWholeForABrokerThatKnowsNoFingerprints) {
  std::atomic<int> consumed{0};
  Client c = client({.heartbeat_broker_interval = 20ms, .heartbeat_v2 = true});
  PushConsumer push = *c.push_consumer(consumer(consumed));
  ASSERT_TRUE(eventually([&] { return server_.asked(request::kHeartBeat) >= 4; }));
  for (const std::string& each : server_.bodies(request::kHeartBeat))
    EXPECT_THAT(each, HasSubstr("\"topic\":\"orders\""));
}

TEST_F(OldServers, AMessageNobodyTakesBackGoesToTheRetryTopic) {
  server_.hold("hard");
  std::atomic<int> consumed{0};
  PushConsumerConfig config = consumer(consumed);
  config.on_messages = [&](std::span<const ReceivedMessage>) {
    ++consumed;
    return Consumed::kRetryLater;
  };
  Client c = client();
  PushConsumer push = *c.push_consumer(std::move(config));
  EXPECT_TRUE(eventually([&] { return !server_.sent_to().empty(); }));
  EXPECT_THAT(server_.sent_to(), Contains("%RETRY%billing"));
  EXPECT_EQ(server_.asked(request::kConsumerSendMessageBack), 1);
  EXPECT_EQ(consumed, 1) << "what comes from the retry topic is another message";
}

TEST_F(OldServers, AMessageThatCannotEvenBeSentAgainIsConsumedHereOnceMore) {
  server_.does_not_know(request::kSendMessageV2);
  server_.hold("hard");
  std::vector<std::int32_t> tries;
  std::mutex mutex;
  std::atomic<int> consumed{0};
  PushConsumerConfig config = consumer(consumed);
  config.on_messages = [&](std::span<const ReceivedMessage> batch) {
    std::lock_guard lock{mutex};
    tries.push_back(batch.front().reconsume_times);
    return ++consumed == 1 ? Consumed::kRetryLater : Consumed::kDone;
  };
  Client c = client();
  PushConsumer push = *c.push_consumer(std::move(config));
  EXPECT_TRUE(eventually([&] { return consumed == 2; }));
  std::lock_guard lock{mutex};
  EXPECT_EQ(tries, (std::vector<std::int32_t>{0, 1}));
}

TEST_F(OldServers, AStoppedConsumersLastCommitIsHeardBeforeItLeaves) {
  server_.commits_slowly(100ms);
  server_.hold("hello");
  Client c = client();
  {
    std::atomic<int> consumed{0};
    PushConsumer push = *c.push_consumer(consumer(consumed));
    ASSERT_TRUE(eventually([&] { return consumed == 1; }));
    push.shutdown();
    EXPECT_EQ(server_.committed(), 1) << "the next member asks at once";
  }
  server_.hold("again");
  {
    LitePullConsumer replay =
        *c.lite_pull_consumer({.group = "replay", .from = StartFrom::kFirst, .auto_commit = false});
    ASSERT_TRUE(replay.assign({kQueue}));
    ASSERT_FALSE(replay.poll(kLong).empty());
    replay.commit();
    replay.shutdown();
    EXPECT_EQ(server_.committed(), 2);
  }
  PullConsumer puller = *c.pull_consumer({.group = "audit"});
  puller.update_offset(kQueue, 0);
  puller.shutdown();
  EXPECT_EQ(server_.committed(), 0);
}

TEST_F(OldServers, AnEndWaitsForASilentBrokerForSecondsAtMost) {
  server_.does_not_answer(request::kUpdateConsumerOffset);
  server_.hold("hello");
  Client c = client();
  std::atomic<int> consumed{0};
  PushConsumer push = *c.push_consumer(consumer(consumed));
  ASSERT_TRUE(eventually([&] { return consumed == 1; }));
  const auto began = std::chrono::steady_clock::now();
  push.shutdown();
  EXPECT_LT(std::chrono::steady_clock::now() - began, 8s) << "a second, on a busy machine";
}

TEST_F(OldServers, WhatHasNoOtherWayIsRefusedWithTheServersWords) {
  Client c = client();
  Producer producer = *c.producer({.group = "checkout"});
  server_.does_not_know(request::kSendMessageV2);
  const auto sent = producer.send({.topic = "orders", .body = "x"}, 3s);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().response_code, response::kRequestCodeNotSupported);
  EXPECT_FALSE(sent.error().perhaps_done);
  PullConsumer puller = *c.pull_consumer({.group = "audit"});
  EXPECT_EQ(puller.max_offset(kQueue).error().response_code, response::kRequestCodeNotSupported);
  EXPECT_THAT(puller.max_offset(kQueue).error().detail, HasSubstr("what?"));
}

TEST_F(OldServers, WhatABrokerHasOfAKeyIsTakenWhateverTheOthersDo) {
  OldServer refuses, has;
  server_.does_not_answer(request::kQueryMessage);
  refuses.does_not_know(request::kQueryMessage);
  has.hold("meant", "orders", "o-17");
  has.hold("of a topic with the same hash", "others", "o-17");
  server_.tells_of("broker-b", refuses.address());
  server_.tells_of("broker-c", has.address());
  Client c = client();
  const auto found = c.admin().messages_by_key({.topic = "orders", .key = "o-17"}, 2s);
  ASSERT_TRUE(found) << found.error().detail;
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ(found->front().body, "meant");
  EXPECT_EQ(found->front().queue.broker, "broker-c");
}

TEST_F(OldServers, AKeyThatNoBrokerLooksUpIsAnError) {
  server_.does_not_know(request::kQueryMessage);
  Client c = client();
  const auto found = c.admin().messages_by_key({.topic = "orders", .key = "o-17"}, 3s);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().response_code, response::kRequestCodeNotSupported);
}

TEST_F(OldServers, ANameServerThatDoesNotKnowRoutesIsNotTakenForAMissingTopic) {
  server_.does_not_know(request::kGetRouteInfoByTopic);
  Client c = client();
  Producer producer = *c.producer({.group = "checkout"});
  const auto sent = producer.send({.topic = "orders", .body = "x"}, 3s);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().response_code, response::kRequestCodeNotSupported);
  EXPECT_EQ(server_.asked(request::kSendMessageV2), 0);
}

}  // namespace
}  // namespace apogee
