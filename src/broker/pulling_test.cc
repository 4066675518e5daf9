#include "broker/pulling.h"

#include <random>

#include "broker/broker_fixture.h"

namespace apogee::broker {
namespace {

namespace flag = protocol::pull_flag;
using protocol::PullMessageRequest;
using Sent = testing::FakePeer::Sent;

class Pulling : public BrokerFixture {
 protected:
  Pulling() { join(peer_); }

  static PullMessageRequest at(std::int64_t offset, std::int32_t flags = 0) {
    return {.consumer_group = "g",
            .topic = "t",
            .queue_id = 0,
            .queue_offset = offset,
            .max_messages = 32,
            .sys_flag = flags,
            .commit_offset = 0,
            .suspend_timeout_ms = 15'000,
            .sub_version = 0};
  }
  Sent pull(const PullMessageRequest& request) {
    return ask(peer_, protocol::request_code::kPullMessage, request);
  }
  /// Sends a pull that may wait; its answer is looked for later.
  std::int32_t wait_at(std::int64_t offset) {
    return send(peer_, protocol::request_code::kPullMessage, at(offset, flag::kSuspend));
  }
  std::optional<Sent> answer(std::int32_t opaque) {
    loop_.run();
    return answer_to(peer_, opaque);
  }
  static std::vector<std::string> bodies(const Buffer& records) {
    std::vector<std::string> result;
    for (Bytes rest = as_bytes(records); !rest.empty();) {
      const auto message = protocol::decode_message(rest);
      if (!message) {
        ADD_FAILURE() << message.error().detail;
        break;
      }
      result.emplace_back(as_text(message->body));
      rest = rest.subspan(static_cast<std::size_t>(message->size));
    }
    return result;
  }
  using Texts = std::vector<std::string>;

  std::shared_ptr<testing::FakePeer> peer_ = connect();
};

TEST_F(Pulling, GivesMessagesAndWhereToGoOn) {
  for (const char* body : {"a", "b", "c"}) store_.put({.body = body});
  const Sent answer = pull(at(1));
  EXPECT_EQ(answer.code, 0);
  EXPECT_EQ(answer.remark, "FOUND");
  EXPECT_EQ(bodies(answer.body), (Texts{"b", "c"}));
  EXPECT_EQ(answer.field("nextBeginOffset"), "3");
  EXPECT_EQ(answer.field("minOffset"), "0");
  EXPECT_EQ(answer.field("maxOffset"), "3");
  EXPECT_EQ(answer.field("suggestWhichBrokerId"), "0");
  EXPECT_EQ(answer.field("topicSysFlag"), "0");
  EXPECT_EQ(answer.field("groupSysFlag"), "0");
}

TEST_F(Pulling, SendsLargeAnswersWhole) {
  const std::string body(100'000, 'x');
  store_.put({.body = body});
  store_.put({.body = "small"});
  EXPECT_EQ(bodies(pull(at(0)).body), (Texts{body, "small"}));
}

TEST_F(Pulling, ServesLitePullsUnlessSwitchedOff) {
  store_.put({.body = "a"});
  EXPECT_EQ(ask(peer_, protocol::request_code::kLitePullMessage, at(0)).code, 0);
  configure([](BrokerConfig& config) { config.lite_pull_message = false; });
  EXPECT_EQ(ask(peer_, protocol::request_code::kLitePullMessage, at(0)).code, 16);
  EXPECT_EQ(pull(at(0)).code, 0);
}

TEST_F(Pulling, NamesTheOffsetAQueueCanOffer) {
  EXPECT_EQ(pull(at(0)).code, 19) << "nothing was ever sent";
  EXPECT_EQ(pull(at(5)).code, 21);
  for (int i = 0; i < 10; ++i) store_.put({});
  EXPECT_EQ(pull(at(10)).code, 19);
  const Sent beyond = pull(at(12));
  EXPECT_EQ(beyond.code, 21);
  EXPECT_EQ(beyond.remark, "OFFSET_OVERFLOW_BADLY");
  EXPECT_EQ(beyond.field("nextBeginOffset"), "10");
  store_.cut("t", 0, 4);
  const Sent before = pull(at(2));
  EXPECT_EQ(before.code, 21);
  EXPECT_EQ(before.field("nextBeginOffset"), "4");
}

TEST(PullCode, FollowsThePublishedTable) {
  using store::GetStatus;
  EXPECT_EQ(pull_code(GetStatus::kFound, 3), 0);
  EXPECT_EQ(pull_code(GetStatus::kNoMatchedMessage, 3), 20);
  EXPECT_EQ(pull_code(GetStatus::kMessageWasRemoving, 3), 20);
  EXPECT_EQ(pull_code(GetStatus::kNoMatchedLogicQueue, 0), 19);
  EXPECT_EQ(pull_code(GetStatus::kNoMatchedLogicQueue, 3), 21);
  EXPECT_EQ(pull_code(GetStatus::kNoMessageInQueue, 0), 19);
  EXPECT_EQ(pull_code(GetStatus::kNoMessageInQueue, 3), 21);
  EXPECT_EQ(pull_code(GetStatus::kOffsetFoundNull, 3), 19);
  EXPECT_EQ(pull_code(GetStatus::kOffsetOverflowOne, 3), 19);
  EXPECT_EQ(pull_code(GetStatus::kOffsetOverflowBadly, 3), 21);
  EXPECT_EQ(pull_code(GetStatus::kOffsetTooSmall, 3), 21);
  EXPECT_EQ(pull_code(GetStatus::kOffsetReset, 3), 21);
  EXPECT_EQ(pull_code(GetStatus::kUnreadable, 3), 1);
}

TEST_F(Pulling, FiltersByTheGroupsTags) {
  join(peer_, "g", "t", "A || B", "TAG", 2);
  store_.put({.body = "1", .tags = "A"});
  store_.put({.body = "2", .tags = "C"});
  store_.put({.body = "3", .tags = "B"});
  store_.put({.body = "4"});
  EXPECT_EQ(bodies(pull(at(0)).body), (Texts{"1", "3"}));
  const Sent none = pull(at(3));
  EXPECT_EQ(none.code, 20);
  EXPECT_EQ(none.remark, "NO_MATCHED_MESSAGE");
  EXPECT_EQ(none.field("nextBeginOffset"), "4");
}

TEST_F(Pulling, TakesTheSubscriptionAPullBringsAlong) {
  store_.put({.body = "1", .tags = "A"});
  store_.put({.body = "2", .tags = "B"});
  auto request = at(0, flag::kSubscription);
  request.consumer_group = "nobody is online here";
  EXPECT_EQ(pull(request).code, 26) << "not a legal group name";
  request.consumer_group = "offline";
  request.subscription = "B";
  EXPECT_EQ(bodies(pull(request).body), Texts{"2"});
  request.subscription = "||";
  EXPECT_EQ(pull(request).code, 23);
}

// ---- Refusals, in the order of the checks ------------------------------------------------------

TEST_F(Pulling, IsRefusedByAnUnreadableBroker) {
  configure([](BrokerConfig& config) { config.permission = 2; });
  const Sent answer = pull(at(0));
  EXPECT_EQ(answer.code, 16);
  EXPECT_EQ(answer.field("forbiddenType"), "1");
}

TEST_F(Pulling, IsRefusedToUnknownGroupsThatAreNotCreated) {
  configure([](BrokerConfig& config) { config.auto_create_group = false; });
  auto request = at(0);
  request.consumer_group = "unknown";
  EXPECT_EQ(pull(request).code, 26);
}

TEST_F(Pulling, IsRefusedToGroupsThatMayNotConsume) {
  protocol::SubscriptionGroupConfig group = *groups_.find("g");
  group.consume_enable = false;
  groups_.update(group);
  const Sent answer = pull(at(0));
  EXPECT_EQ(answer.code, 16);
  EXPECT_EQ(answer.field("forbiddenType"), "2");
  EXPECT_EQ(answer.remark, "subscription group no permission, g");
}

TEST_F(Pulling, IsRefusedForUnknownUnreadableAndMissingQueues) {
  auto request = at(0);
  request.topic = "unknown";
  EXPECT_EQ(pull(request).code, 17);
  make_topic("write-only", 1, 2);
  request.topic = "write-only";
  EXPECT_EQ(pull(request).code, 16);
  EXPECT_EQ(pull(request).field("forbiddenType"), "3");
  request.topic = "t";
  for (const std::int32_t queue : {-1, 2, 1'000'000}) {
    request.queue_id = queue;
    EXPECT_EQ(pull(request).code, 29) << queue;
  }
}

TEST_F(Pulling, IsRefusedUntilTheHeartbeatIsThere) {
  auto request = at(0);
  request.consumer_group = "new-group";
  EXPECT_EQ(pull(request).code, 24) << "but not 26: the group is created by being used";
  join(peer_, "new-group", "another-topic");
  EXPECT_EQ(pull(request).code, 24) << "the topic is not subscribed";
  join(peer_, "new-group", "t", "*", "TAG", 7);
  EXPECT_EQ(pull(request).code, 19);
  request.sub_version = 8;
  EXPECT_EQ(pull(request).code, 25);
  request.sub_version = 7;
  EXPECT_EQ(pull(request).code, 19);
}

TEST_F(Pulling, WithANewerSubscriptionMakesTheBrokerAskForIt) {
  auto request = at(0);
  request.sub_version = 8;
  EXPECT_EQ(pull(request).code, 25);
  EXPECT_EQ(pull(request).code, 25) << "asked once a second, not once a pull";
  ASSERT_EQ(peer_->calls.size(), 1u);
  EXPECT_EQ(peer_->calls[0].request.code, protocol::request_code::kGetConsumerRunningInfo);
  EXPECT_EQ(peer_->calls[0].request.field("consumerGroup"), "g");
  EXPECT_EQ(peer_->calls[0].request.field("clientId"), "client-" + std::to_string(peer_->id()));
  // As Java's client answers: its maps have objects for keys.
  peer_->answer_call(
      0, R"({"mqTable":{{"brokerName":"b","queueId":0,"topic":"t"}:{"commitOffset":0}},)"
         R"("subscriptionSet":[{"classFilterMode":false,"codeSet":[],"expressionType":"TAG",)"
         R"("subString":"*","subVersion":8,"tagsSet":[],"topic":"t"}]})");
  EXPECT_EQ(pull(request).code, 19);
  request.sub_version = 9;
  disk_.clock.advance(Consumers::kAskPeriod);
  EXPECT_EQ(pull(request).code, 25);
  ASSERT_EQ(peer_->calls.size(), 2u);
  peer_->answer_call(1, "not json");
  EXPECT_EQ(pull(request).code, 25);
}

TEST_F(Pulling, IsRefusedToForbiddenAndBroadcastingGroups) {
  groups_.set_forbidden("g", "t", SubscriptionGroups::kForbiddenRead, true);
  EXPECT_EQ(pull(at(0)).code, 16);
  EXPECT_EQ(pull(at(0)).field("forbiddenType"), "5");
  groups_.set_forbidden("g", "t", SubscriptionGroups::kForbiddenRead, false);
  EXPECT_EQ(pull(at(0)).code, 19);

  protocol::SubscriptionGroupConfig group = *groups_.find("g");
  group.consume_broadcast_enable = false;
  groups_.update(group);
  protocol::HeartbeatData heartbeat;
  heartbeat.client_id = "c";
  protocol::ConsumerData data;
  data.group_name = "g";
  data.message_model = protocol::MessageModel::kBroadcasting;
  heartbeat.consumer_data_set.push_back(data);
  ask(peer_, protocol::request_code::kHeartBeat, protocol::NoFields{},
      as_bytes(encode_body(heartbeat)));
  EXPECT_EQ(pull(at(0)).code, 16);
  EXPECT_EQ(pull(at(0)).field("forbiddenType"), "4");
}

TEST_F(Pulling, ServesSqlOnlyWhereItIsSwitchedOn) {
  join(peer_, "g", "t", "price > 10", "SQL92", 2);
  const Sent refused = pull(at(0));
  EXPECT_EQ(refused.code, 1);
  EXPECT_EQ(refused.remark, "The broker does not support consumer to filter message by SQL92");
  configure([](BrokerConfig& config) { config.property_filter = true; });
  store_.put({.body = "cheap", .properties = {{"price", "5"}}});
  store_.put({.body = "dear", .properties = {{"price", "50"}}});
  EXPECT_EQ(bodies(pull(at(0)).body), Texts{"dear"});
  join(peer_, "g", "t", "price >", "SQL92", 3);
  EXPECT_EQ(pull(at(0)).code, 27);
}

TEST_F(Pulling, AsksRetriedMessagesWhatIsWantedOfTheirTopicOnlyWhenToldTo) {
  make_topic("%RETRY%g", 1);
  configure([](BrokerConfig& config) { config.property_filter = true; });
  protocol::HeartbeatData heartbeat{.client_id = "client"};
  protocol::ConsumerData data{.group_name = "g"};
  data.subscription_data_set = {*protocol::subscription_from("t", "price > 10", "SQL92", 2),
                                *protocol::subscription_from("%RETRY%g", "*", "TAG", 2)};
  heartbeat.consumer_data_set.push_back(std::move(data));
  ASSERT_EQ(ask(peer_, protocol::request_code::kHeartBeat, protocol::NoFields{},
                as_bytes(encode_body(heartbeat)))
                .code,
            0);
  for (const char* price : {"5", "50"})
    store_.put({.topic = "%RETRY%g",
                .body = price,
                .properties = {{"RETRY_TOPIC", "t"}, {"price", price}}});
  PullMessageRequest request = at(0);
  request.topic = "%RETRY%g";
  EXPECT_EQ(bodies(pull(request).body), (Texts{"5", "50"}));
  configure([](BrokerConfig& config) { config.filter_support_retry = true; });
  EXPECT_EQ(bodies(pull(request).body), Texts{"50"});
}

// ---- Waiting -----------------------------------------------------------------------------------

TEST_F(Pulling, WaitsForAMessage) {
  const auto request = wait_at(0);
  EXPECT_FALSE(answer(request));
  disk_.clock.advance(5s);
  store_.put({.body = "late"});
  const auto answered = answer(request);
  ASSERT_TRUE(answered);
  EXPECT_EQ(answered->code, 0);
  EXPECT_EQ(bodies(answered->body), Texts{"late"});
  EXPECT_EQ(stats_.get_latency_max(), 0) << "waiting is no latency";
}

TEST_F(Pulling, WaitsNoLongerThanItAsked) {
  const auto request = wait_at(0);
  disk_.clock.advance(14'999ms);
  EXPECT_FALSE(answer(request));
  disk_.clock.advance(1ms + LongPolling::kDeadlineGrain);
  const auto answered = answer(request);
  ASSERT_TRUE(answered);
  EXPECT_EQ(answered->code, 19);
  EXPECT_EQ(long_polling_.size(), 0u);
}

TEST_F(Pulling, WaitsASecondWithoutLongPolling) {
  configure([](BrokerConfig& config) { config.long_polling = false; });
  const auto request = wait_at(0);
  disk_.clock.advance(999ms);
  EXPECT_FALSE(answer(request));
  disk_.clock.advance(1ms + LongPolling::kDeadlineGrain);
  EXPECT_TRUE(answer(request));
}

TEST_F(Pulling, WaitsOnForItsTags) {
  join(peer_, "g", "t", "A", "TAG", 2);
  const auto request = wait_at(0);
  store_.put({.body = "1", .tags = "B"});
  EXPECT_FALSE(answer(request));
  store_.put({.body = "2", .tags = "A"});
  const auto answered = answer(request);
  ASSERT_TRUE(answered);
  EXPECT_EQ(bodies(answered->body), Texts{"2"});
}

TEST_F(Pulling, DoesNotWaitWithoutTheFlagOrForAnOffsetThatMoved) {
  EXPECT_EQ(pull(at(0)).code, 19);
  EXPECT_EQ(pull(at(9, flag::kSuspend)).code, 21);
  EXPECT_EQ(long_polling_.size(), 0u);
}

TEST_F(Pulling, IsForgottenWithItsConnection) {
  wait_at(0);
  EXPECT_EQ(long_polling_.size(), 1u);
  disconnect(peer_);
  EXPECT_EQ(long_polling_.size(), 0u);
  EXPECT_FALSE(consumers_.online("g"));
}

TEST_F(Pulling, KeepsItsOwnCopyWhileItWaits) {
  Buffer group = "g", topic = "t";
  auto request = at(0, flag::kSuspend);
  request.consumer_group = group;
  request.topic = topic;
  const auto opaque = send(peer_, protocol::request_code::kPullMessage, request);
  group = "overwritten";
  topic = "overwritten";
  store_.put({.body = "x"});
  const auto answered = answer(opaque);
  ASSERT_TRUE(answered);
  EXPECT_EQ(answered->code, 0);
}

// ---- Offsets -----------------------------------------------------------------------------------

TEST_F(Pulling, CommitsWhatTheClientHasConsumed) {
  for (int i = 0; i < 5; ++i) store_.put({});
  auto request = at(2);
  request.commit_offset = 2;
  pull(request);
  EXPECT_FALSE(offsets_.find("g", "t", 0)) << "without the flag";
  EXPECT_EQ(offsets_.find_pulled("g", "t", 0), 5);
  request.sys_flag = flag::kCommitOffset;
  pull(request);
  EXPECT_EQ(offsets_.find("g", "t", 0), 2);
}

TEST_F(Pulling, IsSentToAResetOffsetOnce) {
  for (int i = 0; i < 5; ++i) store_.put({});
  offsets_.reset("g", "t", 0, 1);
  auto request = at(4, flag::kCommitOffset);
  request.commit_offset = 4;
  const Sent answer = pull(request);
  EXPECT_EQ(answer.code, 21);
  EXPECT_EQ(answer.remark, "OFFSET_RESET");
  EXPECT_EQ(answer.field("nextBeginOffset"), "1");
  EXPECT_EQ(answer.field("maxOffset"), "5");
  EXPECT_EQ(offsets_.find("g", "t", 0), 1) << "the old commit must not undo the reset";
  EXPECT_EQ(pull(at(1)).code, 0);
}

// ---- Cold reads --------------------------------------------------------------------------------

TEST_F(Pulling, AnswersFromAReaderWhatIsNotInMemory) {
  store_.put({.body = std::string(50'000, 'c')});
  store_.resident = false;
  EXPECT_EQ(bodies(pull(at(0)).body), Texts{std::string(50'000, 'c')});
}

/// Of a disk that takes its time: readers go on when the test says so, workers at once.
class ColdPulling : public Pulling {
 protected:
  ColdPulling() {
    store_.put({.body = "cold"});
    store_.resident = false;
    add_pulling(processors_, slow_context_);
  }

  testing::ManualLoop slow_;
  Readers slow_readers_{disk_.clock, slow_, in_flight_, stats_.stages};
  Context slow_context_{env_,         config_,       store_,     topics_,
                        groups_,      consumers_,    producers_, offsets_,
                        queue_locks_, long_polling_, stats_,     "10.0.0.1:10911",
                        in_flight_,   slow_readers_, nullptr,    &cold_reads_};
};

TEST_F(ColdPulling, WaitsForAReaderAndForNoWorker) {
  const std::int32_t opaque = send(peer_, protocol::request_code::kPullMessage, at(0));
  EXPECT_FALSE(answer(opaque));
  EXPECT_EQ(slow_readers_.waiting(), 1);
  slow_.run();
  const auto late = answer(opaque);
  ASSERT_TRUE(late);
  EXPECT_EQ(bodies(late->body), Texts{"cold"});
  EXPECT_EQ(slow_readers_.waiting(), 0);
}

TEST_F(ColdPulling, IsRefusedAndCommitsNothingWhenItHasWaitedTooLong) {
  auto request = at(0, flag::kCommitOffset);
  request.commit_offset = 7;
  const std::int32_t opaque = send(peer_, protocol::request_code::kPullMessage, request);
  disk_.clock.advance(Readers::kWaitMax);
  slow_.run();
  const auto refused = answer(opaque);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->code, protocol::response_code::kSystemBusy);
  EXPECT_TRUE(refused->remark.starts_with("[TIMEOUT_CLEAN_QUEUE]broker busy")) << refused->remark;
  EXPECT_FALSE(offsets_.find("g", "t", 0));
}

TEST_F(Pulling, IsCounted) {
  store_.put({.body = "a"});
  pull(at(0));
  pull(at(1));
  stats_.sample();
  EXPECT_EQ(stats_.view("GROUP_GET_NUMS", "t@g")->minute.sum, 1);
  EXPECT_EQ(stats_.totals().get_found, 1);
  EXPECT_EQ(stats_.totals().get_miss, 1);
}

/// A consumer that always pulls from where it was told sees every message once, in order, whatever
/// the mixture of waits, filters and sends.
TEST_F(Pulling, LosesAndRepeatsNothing) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937_64 random{seed};
    const std::string topic = "topic-" + std::to_string(seed);
    make_topic(topic, 1);
    join(peer_, "g", topic, seed % 2 == 0 ? "*" : "A");
    Texts expected, seen;
    std::int64_t next = 0;
    std::optional<std::int32_t> waiting;
    for (int step = 0; step < 300; ++step) {
      if (random() % 2 == 0) {
        const bool tagged = random() % 2 == 0;
        const std::string body = std::to_string(step);
        store_.put({.topic = topic, .body = body, .tags = tagged ? "A" : "B"});
        if (seed % 2 == 0 || tagged) expected.push_back(body);
      } else {
        disk_.clock.advance(std::chrono::seconds{random() % 10});
      }
      if (!waiting) {
        auto request = at(next, flag::kSuspend);
        request.topic = topic;
        request.max_messages = 1 + static_cast<std::int32_t>(random() % 3);
        waiting = send(peer_, protocol::request_code::kPullMessage, request);
      }
      if (const auto answered = answer(*waiting)) {
        waiting.reset();
        next = std::stoll(answered->field("nextBeginOffset"));
        for (const std::string& body : bodies(answered->body)) seen.push_back(body);
      }
    }
    if (waiting) disconnect(peer_);
    peer_ = connect();
    join(peer_, "g", topic, seed % 2 == 0 ? "*" : "A", "TAG", 2);
    for (;;) {
      auto request = at(next);
      request.topic = topic;
      const Sent answered = pull(request);
      if (answered.code != 0 && answered.code != 20) break;
      next = std::stoll(answered.field("nextBeginOffset"));
      for (const std::string& body : bodies(answered.body)) seen.push_back(body);
    }
    EXPECT_EQ(seen, expected);
  }
}

}  // namespace
}  // namespace apogee::broker
