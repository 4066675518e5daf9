#include "broker/send_back.h"

#include "broker/broker_fixture.h"

namespace apogee::broker {
namespace {

using testing::FakePeer;

class SendBackTest : public BrokerFixture {
 protected:
  static protocol::ConsumerSendMessageBackRequest of(std::int64_t offset,
                                                     std::int32_t delay_level = 0) {
    return {.offset = offset, .group = "g", .delay_level = delay_level};
  }
  FakePeer::Sent send_back(const protocol::ConsumerSendMessageBackRequest& header) {
    return ask(peer_, header.kCode, header);
  }
  /// The newest message of a queue; a failure when there is none.
  protocol::Message newest(std::string_view topic, std::int32_t queue_id = 0) {
    kept_.push_back(store_.record_at(topic, queue_id, store_.max_offset(topic, queue_id) - 1));
    const auto message = protocol::decode_message(kept_.back().bytes);
    if (message) return *message;
    ADD_FAILURE() << "no message in " << topic << " queue " << queue_id;
    return {};
  }

  std::shared_ptr<FakePeer> peer_ = connect();

 private:
  std::vector<store::RecordBytes> kept_;
};

TEST_F(SendBackTest, BringsAMessageBackAfterTenSecondsFirst) {
  store_.put({.topic = "t", .body = "work", .tags = "a", .unique_key = "u"});
  EXPECT_EQ(send_back(of(0)).code, 0);
  const protocol::Message message = newest("SCHEDULE_TOPIC_XXXX", 2);
  EXPECT_EQ(as_text(message.body), "work");
  EXPECT_EQ(message.reconsume_times, 1);
  EXPECT_EQ(message.property("REAL_TOPIC"), "%RETRY%g");
  EXPECT_EQ(message.property("REAL_QID"), "0");
  EXPECT_EQ(message.property("RETRY_TOPIC"), "t");
  EXPECT_EQ(message.property("DELAY"), "3");
  EXPECT_EQ(message.property("WAIT"), "false");
  EXPECT_EQ(message.property("TAGS"), "a");
  EXPECT_EQ(message.property("UNIQ_KEY"), "u");
  static constexpr std::array<std::byte, 4> kHost{};
  EXPECT_EQ(message.property("ORIGIN_MESSAGE_ID"), protocol::offset_message_id(kHost, 0, 0));
  EXPECT_EQ(message.store_port, 10'911);
  EXPECT_EQ(topics_.find("%RETRY%g")->perm, 6);
}

TEST_F(SendBackTest, WaitsLongerEachTimeAndKeepsTheFirstOrigin) {
  store_.put({.topic = "t"});
  send_back(of(0));
  const protocol::Message once = newest("SCHEDULE_TOPIC_XXXX", 2);
  send_back(of(once.physical_offset));
  const protocol::Message twice = newest("SCHEDULE_TOPIC_XXXX", 3);
  EXPECT_EQ(twice.reconsume_times, 2);
  EXPECT_EQ(twice.property("RETRY_TOPIC"), "t");
  EXPECT_EQ(twice.property("ORIGIN_MESSAGE_ID"), once.property("ORIGIN_MESSAGE_ID"));
}

TEST_F(SendBackTest, WaitsAsLongAsTheConsumerSays) {
  store_.put({.topic = "t"});
  send_back(of(0, 5));
  EXPECT_EQ(newest("SCHEDULE_TOPIC_XXXX", 4).property("DELAY"), "5");
  send_back(of(0, 500));
  EXPECT_EQ(newest("SCHEDULE_TOPIC_XXXX", 17).property("DELAY"), "18");
}

TEST_F(SendBackTest, BuriesWhatWasTriedOftenEnough) {
  store_.put({.topic = "t"});
  protocol::SubscriptionGroupConfig group;
  group.group_name = "g";
  group.retry_max_times = 1;
  groups_.update(group);
  send_back(of(0));
  send_back(of(newest("SCHEDULE_TOPIC_XXXX", 2).physical_offset));
  const protocol::Message dead = newest("%DLQ%g");
  EXPECT_EQ(dead.reconsume_times, 2) << "one more than the most";
  EXPECT_EQ(dead.property("RETRY_TOPIC"), "t");
  EXPECT_TRUE(dead.property("ORIGIN_MESSAGE_ID"));
  EXPECT_EQ(topics_.find("%DLQ%g")->perm, 6);
  EXPECT_EQ(topics_.find("%DLQ%g")->read_queue_nums, 1);
}

TEST_F(SendBackTest, BuriesAtOnceWhenAskedTo) {
  store_.put({.topic = "t"});
  send_back(of(0, -1));
  EXPECT_EQ(newest("%DLQ%g").reconsume_times, 1);
  auto none = of(0);
  none.max_reconsume_times = 0;
  send_back(none);
  EXPECT_EQ(store_.max_offset("%DLQ%g", 0), 2);
}

TEST_F(SendBackTest, BuriesInATopicThatClientsMayNotWriteTo) {
  store_.put({.topic = "t"});
  make_topic("%DLQ%g", 1, protocol::perm::kRead);
  const auto answer = send_back(of(0, -1));
  EXPECT_EQ(answer.code, 0) << answer.remark;
  EXPECT_EQ(store_.max_offset("%DLQ%g", 0), 1);
  EXPECT_EQ(topics_.find("%DLQ%g")->perm, protocol::perm::kRead) << "and it stays so";
}

TEST_F(SendBackTest, DropsForGroupsThatWantNoRetries) {
  store_.put({.topic = "t"});
  protocol::SubscriptionGroupConfig group;
  group.group_name = "g";
  group.retry_queue_nums = 0;
  groups_.update(group);
  EXPECT_EQ(send_back(of(0)).code, 0);
  EXPECT_FALSE(topics_.contains("%RETRY%g"));
  EXPECT_EQ(store_.queues("SCHEDULE_TOPIC_XXXX").size(), 0U);
}

TEST_F(SendBackTest, RefusesWithTheCodesOfThePublishedBroker) {
  EXPECT_EQ(send_back(of(12'345)).code, 1) << "nothing stands there";
  store_.put({.topic = "t"});
  make_topic("%RETRY%g", 1, protocol::perm::kRead);
  EXPECT_EQ(send_back(of(0)).code, 16) << "the retry topic is read-only";
  make_topic("%RETRY%g", 1);
  store_.next_status = store::PutStatus::kServiceNotAvailable;
  const auto unavailable = send_back(of(0));
  EXPECT_EQ(unavailable.code, 1);
  EXPECT_EQ(unavailable.remark, "SERVICE_NOT_AVAILABLE");
  configure([](BrokerConfig& config) { config.permission = protocol::perm::kRead; });
  EXPECT_EQ(send_back(of(0)).code, 16) << "the broker is read-only";
  configure([](BrokerConfig& config) { config.auto_create_group = false; });
  groups_.remove("g");
  EXPECT_EQ(send_back(of(0)).code, 26);
}

TEST_F(SendBackTest, HasTheRetryTopicOnDiskBeforeItAnswers) {
  store_.put({.topic = "t"});
  EXPECT_EQ(send_back(of(0)).code, 0);
  disk_.disk.crash();
  Topics again{disk_.restart(), config_, "/store/config/topics.json"};
  ASSERT_TRUE(again.load());
  EXPECT_TRUE(again.contains("%RETRY%g"));
}

TEST_F(SendBackTest, HasARetryTopicThatAHeartbeatMadeOnDiskBeforeItAnswers) {
  store_.put({.topic = "t"});
  disk_.disk.inject(
      {.operation = testing::ForgetfulDisk::Operation::kWrite, .path_part = "topics.json"});
  topics_.create_if_absent("%RETRY%g", 1, 6, 0);
  EXPECT_FALSE(topics_.is_on_disk("%RETRY%g"));
  EXPECT_EQ(send_back(of(0)).code, 0);
  disk_.disk.crash();
  Topics again{disk_.restart(), config_, "/store/config/topics.json"};
  ASSERT_TRUE(again.load());
  EXPECT_TRUE(again.contains("%RETRY%g"));
}

}  // namespace
}  // namespace apogee::broker
