#include "broker/popping.h"

#include <future>

#include "broker/broker_fixture.h"

namespace apogee::broker {
namespace {

namespace code = protocol::response_code;

class PoppingTest : public BrokerFixture {
 protected:
  protocol::PopMessageRequest pop(bool orderly = false) const {
    protocol::PopMessageRequest header{.consumer_group = "g",
                                       .topic = "t",
                                       .queue_id = 0,
                                       .max_messages = 32,
                                       .invisible_ms = 60'000,
                                       .born_time = disk_.clock.wall_ms(),
                                       .expression_type = "TAG",
                                       .expression = "*"};
    if (orderly) header.order = true;
    return header;
  }
  static std::string first_body(const testing::FakePeer::Sent& answer) {
    const auto message = protocol::decode_message(as_bytes(answer.body));
    return message ? std::string{as_text(message->body)} : std::string{};
  }

  protocol::AckMessageRequest ordered_ack(const testing::FakePeer::Sent& popped,
                                          std::int64_t offset) const {
    std::int64_t pop_time = 0;
    EXPECT_TRUE(protocol::from_text(popped.field("popTime"), pop_time));
    const protocol::ReceiptHandle handle{.start_offset = 0,
                                         .pop_time = pop_time,
                                         .invisible_ms = 60'000,
                                         .revive_queue = protocol::kOrderReviveQueue,
                                         .broker_name = "broker-a",
                                         .queue_id = 0,
                                         .queue_offset = offset};
    return {.consumer_group = "g",
            .topic = "t",
            .queue_id = 0,
            .extra_info = to_text(handle),
            .offset = offset};
  }

  testing::ManualLoop workers_;  // runs what waits when the test says so
  Env busy_{disk_.clock, env_.files, disk_.network, workers_, disk_.random, disk_.log};
  Readers busy_readers_{disk_.clock, workers_, in_flight_, stats_.stages};
  Context busy_context_{busy_,        config_,       store_,     topics_,
                        groups_,      consumers_,    producers_, offsets_,
                        queue_locks_, long_polling_, stats_,     "10.0.0.1:10911",
                        in_flight_,   busy_readers_, nullptr,    &cold_reads_};
  Popping popping_{busy_context_, send_settings_, "/store/config/consumerOrderInfo.json"};
  std::shared_ptr<testing::FakePeer> peer_ = connect();

  void SetUp() override {
    add_popping(processors_, popping_);
    add_pop_acks(processors_, popping_);
  }
};

TEST_F(PoppingTest, BeginsWhereItsOffsetWasResetThoughAnotherPopHasCommittedSince) {
  for (const char* body : {"a", "b", "c", "d", "e", "f"}) store_.put({.body = body});
  offsets_.reset("g", "t", 0, 1);
  offsets_.commit("g", "t", 0, 5);  // by a pop that had begun before
  const auto answer = ask(peer_, protocol::PopMessageRequest::kCode, pop());
  EXPECT_EQ(answer.code, code::kSuccess) << answer.remark;
  EXPECT_EQ(first_body(answer), "b");
}

TEST_F(PoppingTest, AnOrderedAckWaitsForAPopAtTheQueueOnAReader) {
  store_.put({.body = "a"});
  const auto popped = ask(peer_, protocol::PopMessageRequest::kCode, pop(/*orderly=*/true));
  ASSERT_EQ(popped.code, code::kSuccess) << popped.remark;
  const protocol::AckMessageRequest ack = ordered_ack(popped, 0);
  std::unique_lock another_pop{popping_.queue_mutex("t", "g", 0)};
  auto io_thread = std::async(std::launch::async,
                              [&] { return send(peer_, protocol::AckMessageRequest::kCode, ack); });
  EXPECT_EQ(io_thread.wait_for(10s), std::future_status::ready);
  another_pop.unlock();
  workers_.run();
  const auto answer = answer_to(peer_, io_thread.get());
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->code, code::kSuccess) << answer->remark;
  EXPECT_EQ(offsets_.find("g", "t", 0), 1);
}

TEST_F(PoppingTest, ThatHasTakenNothingIsRefusedWhenItHasWaitedTooLong) {
  store_.put({.body = "a"});
  store_.resident = false;
  const auto opaque = send(peer_, protocol::PopMessageRequest::kCode, pop());
  disk_.clock.advance(Readers::kWaitMax);
  workers_.run();
  const auto answer = answer_to(peer_, opaque);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->code, code::kSystemBusy);
  EXPECT_TRUE(answer->remark.starts_with("[TIMEOUT_CLEAN_QUEUE]")) << answer->remark;
  store_.resident = true;
  EXPECT_EQ(first_body(ask(peer_, protocol::PopMessageRequest::kCode, pop())), "a");
}

TEST_F(PoppingTest, GivesOutWhatItHasTakenThoughItHasWaitedTooLongForTheRest) {
  configure([](BrokerConfig& config) { config.pop_from_retry_percent = 0; });  // those come last
  const std::string retry = protocol::pop_retry_topic_v1("g", "t");
  make_topic(retry, 1);
  store_.put({.body = "a"});
  std::mutex& last = popping_.queue_mutex(retry, "g", 0);
  ASSERT_NE(&last, &popping_.queue_mutex("t", "g", 0));
  std::unique_lock another_pop{last};
  const auto opaque = std::async(std::launch::async, [&] {
                        return send(peer_, protocol::PopMessageRequest::kCode, pop());
                      }).get();
  EXPECT_FALSE(answer_to(peer_, opaque));
  disk_.clock.advance(Readers::kWaitMax);
  workers_.run();  // would wait for ever if it looked into the queue
  const auto answer = answer_to(peer_, opaque);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->code, code::kSuccess) << answer->remark;
  EXPECT_EQ(first_body(*answer), "a");
}

TEST_F(PoppingTest, AnOrderedAckPassesOverNothingThoughItsBatchIsForgotten) {
  for (const char* body : {"a", "b", "c", "d", "e"}) store_.put({.body = body});
  const auto popped = ask(peer_, protocol::PopMessageRequest::kCode, pop(/*orderly=*/true));
  ASSERT_EQ(popped.code, code::kSuccess) << popped.remark;
  const auto acked = [&](std::int64_t offset) {
    const auto opaque =
        send(peer_, protocol::AckMessageRequest::kCode, ordered_ack(popped, offset));
    workers_.run();
    const auto answer = answer_to(peer_, opaque);
    EXPECT_TRUE(answer && answer->code == code::kSuccess);
    return offsets_.find("g", "t", 0).value_or(-1);
  };
  popping_.order.clear({"t", "g", 0});  // a kill, before the table was written
  EXPECT_EQ(acked(4), 0) << "0 to 3 come again";
  EXPECT_EQ(acked(1), 0);
  EXPECT_EQ(acked(0), 1);
  EXPECT_EQ(acked(1), 2) << "one after the other they count";
  offsets_.remove("g", "t");  // where the group stood is lost as well
  EXPECT_EQ(acked(3), -1);
  EXPECT_EQ(acked(0), 1);
}

// ---- NOTIFICATION ------------------------------------------------------------------------------

class NotifyingTest : public PoppingTest {
 protected:
  void SetUp() override {
    PoppingTest::SetUp();
    add_pop_queries(processors_, popping_);
  }
  void on_arrivals(std::span<const store::Arrival> arrivals) override {
    popping_.on_arrivals(arrivals);
  }
  protocol::NotificationRequest about(const char* expression, const char* type = "TAG") const {
    return {.consumer_group = "g",
            .topic = "t",
            .queue_id = 0,
            .born_time = disk_.clock.wall_ms(),
            .expression_type = type,
            .expression = expression};
  }
  std::string has_message(const protocol::NotificationRequest& header) {
    const auto answer = ask(peer_, protocol::NotificationRequest::kCode, header);
    EXPECT_EQ(answer.code, code::kSuccess) << answer.remark;
    return answer.field("hasMsg");
  }
};

TEST_F(NotifyingTest, RefusesAnExpressionItCannotRead) {
  const auto answer = ask(peer_, protocol::NotificationRequest::kCode, about("a >", "SQL92"));
  EXPECT_EQ(answer.code, code::kSubscriptionParseFailed);
  EXPECT_EQ(answer.remark, "parse the consumer's subscription failed");
}

TEST_F(NotifyingTest, TellsOfFewMessagesOnlyIfTheirTagsAreAskedFor) {
  for (int i = 0; i < 63; ++i) store_.put({.tags = "b"});
  EXPECT_EQ(has_message(about("a")), "false");
  EXPECT_EQ(has_message(about("a || b")), "true");
  EXPECT_EQ(has_message(about("*")), "true");
  EXPECT_EQ(has_message(about("a = 1", "SQL92")), "true") << "its messages are not looked at";
  store_.put({.tags = "b"});
  EXPECT_EQ(has_message(about("a")), "true") << "so many that a pop is to pass them over";
  configure([](BrokerConfig& config) { config.filter_notifications_below = 65; });
  EXPECT_EQ(has_message(about("a")), "false");
  configure([](BrokerConfig& config) { config.filter_notifications = false; });
  EXPECT_EQ(has_message(about("a")), "true");
}

TEST_F(NotifyingTest, FindsTheOneThatIsAskedForBehindManyThatAreNot) {
  for (int i = 0; i < 40; ++i) store_.put({.tags = "b"});
  store_.put({.tags = "a"});
  EXPECT_EQ(has_message(about("a")), "true");
}

TEST_F(NotifyingTest, IsWokenByWhatIsAskedForOnly) {
  auto header = about("a");
  header.poll_ms = 10'000;
  const auto opaque = send(peer_, protocol::NotificationRequest::kCode, header);
  store_.put({.tags = "b"});
  loop_.run();
  EXPECT_FALSE(answer_to(peer_, opaque));
  store_.put({.tags = "a"});
  loop_.run();
  const auto answer = answer_to(peer_, opaque);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->field("hasMsg"), "true");
}

}  // namespace
}  // namespace apogee::broker
