#include "broker/offsets.h"

#include "broker/broker_fixture.h"

namespace apogee::broker {
namespace {

namespace request_code = protocol::request_code;
using protocol::MessageQueue;
using protocol::NoFields;

class OffsetRequests : public BrokerFixture {
 protected:
  OffsetRequests() { join(peer_); }
  testing::FakePeer::Sent query(const std::string& group, std::int32_t queue = 0,
                                protocol::OptBool zero = {}) {
    return ask(peer_, request_code::kQueryConsumerOffset,
               protocol::QueryConsumerOffsetRequest{group, "t", queue, zero});
  }
  testing::FakePeer::Sent update(const std::string& group, const std::string& topic,
                                 protocol::OptInt queue, protocol::OptLong offset) {
    return ask(peer_, request_code::kUpdateConsumerOffset,
               protocol::UpdateConsumerOffsetRequest{group, topic, queue, offset});
  }
  testing::FakePeer::Sent reset(protocol::OptInt queue, protocol::OptLong offset,
                                std::int64_t timestamp, bool force = true) {
    return ask(peer_, request_code::kInvokeBrokerToResetOffset,
               protocol::ResetOffsetRequest{"t", "g", queue, offset, timestamp, force});
  }
  std::shared_ptr<testing::FakePeer> peer_ = connect();
};

TEST_F(OffsetRequests, GiveWhatWasCommitted) {
  EXPECT_EQ(update("g", "t", 0, 7).code, 0);
  const auto answer = query("g");
  EXPECT_EQ(answer.code, 0);
  EXPECT_EQ(answer.field("offset"), "7");
}

TEST_F(OffsetRequests, StartANewGroupAtZeroOnlyOnAYoungQueue) {
  EXPECT_EQ(query("g").code, 22) << "an empty queue";
  store_.put({});
  EXPECT_EQ(query("g").code, 0);
  EXPECT_EQ(query("g").field("offset"), "0");
  EXPECT_EQ(query("g", 0, false).code, 22);
  store_.resident = false;
  EXPECT_EQ(query("g").code, 22) << "its first message is no longer in memory";
  store_.resident = true;
  store_.put({});
  store_.cut("t", 0, 1);
  EXPECT_EQ(query("g").code, 22) << "its first message is gone";
}

TEST_F(OffsetRequests, AreRefusedForTheUnknown) {
  const auto unknown = update("unknown", "t", 0, 7);
  EXPECT_EQ(unknown.code, 26);
  EXPECT_EQ(unknown.remark, "Group unknown not exist!");
  EXPECT_EQ(update("g", "unknown", 0, 7).code, 17);
  EXPECT_EQ(update("g", "t", {}, 7).code, 29);
  EXPECT_EQ(update("g", "t", 0, {}).code, 29);
  EXPECT_EQ(update("g", "t", -1, 7).code, 29);
}

TEST_F(OffsetRequests, GiveTheEndsOfAQueue) {
  using protocol::QueueRequest;
  const auto end = [&](std::int32_t code, const char* topic) {
    return ask(peer_, code, QueueRequest{topic, 0});
  };
  EXPECT_EQ(end(request_code::kGetMaxOffset, "unknown").field("offset"), "0");
  EXPECT_EQ(end(request_code::kGetMinOffset, "unknown").field("offset"), "0");
  EXPECT_EQ(end(request_code::kGetEarliestMessageStoreTime, "unknown").field("timestamp"), "-1");
  const std::int64_t stored_ms = disk_.clock.wall_ms();
  store_.put({});
  store_.put({});
  EXPECT_EQ(end(request_code::kGetMaxOffset, "t").field("offset"), "2");
  EXPECT_EQ(end(request_code::kGetMinOffset, "t").field("offset"), "0");
  EXPECT_EQ(end(request_code::kGetEarliestMessageStoreTime, "t").field("timestamp"),
            std::to_string(stored_ms));
}

TEST_F(OffsetRequests, FindAnOffsetByTime) {
  const std::int64_t start = disk_.clock.wall_ms();
  for (int i = 0; i < 3; ++i) {
    store_.put({});
    disk_.clock.advance(10ms);
  }
  const auto search = [&](std::int64_t time, protocol::OptText boundary) {
    return ask(peer_, request_code::kSearchOffsetByTimestamp,
               protocol::SearchOffsetRequest{"t", 0, time, boundary})
        .field("offset");
  };
  EXPECT_EQ(search(start + 5, {}), "1");
  EXPECT_EQ(search(start + 5, "LOWER"), "1");
  EXPECT_EQ(search(start + 5, "Upper"), "0");
}

TEST_F(OffsetRequests, ResetAtTheBroker) {
  for (int i = 0; i < 4; ++i) store_.put({});
  update("g", "t", 0, 4);
  const auto answer = reset(0, 1, -1);
  ASSERT_EQ(answer.code, 0) << answer.remark;
  const auto body = protocol::decode_body<protocol::ResetOffsetBody>(answer.body);
  ASSERT_TRUE(body);
  EXPECT_EQ(body->offset_table.at(MessageQueue{"broker-a", 0, "t"}), 1);
  EXPECT_EQ(query("g").field("offset"), "1");
  const auto late = update("g", "t", 0, 4);
  EXPECT_EQ(late.code, 0);
  EXPECT_EQ(late.remark, "Offset has been previously reset");
  EXPECT_EQ(query("g").field("offset"), "1");
}

TEST_F(OffsetRequests, ResetEveryQueueByTime) {
  store_.put({});
  disk_.clock.advance(1s);
  const std::int64_t middle = disk_.clock.wall_ms();
  store_.put({});
  store_.put({.queue_id = 1});
  ASSERT_EQ(reset(-1, {}, middle).code, 0);
  EXPECT_EQ(offsets_.find("g", "t", 0), 1);
  EXPECT_EQ(offsets_.find("g", "t", 1), 0);
  ASSERT_EQ(reset({}, {}, -1).code, 0);
  EXPECT_EQ(offsets_.find("g", "t", 0), 2);
  EXPECT_EQ(offsets_.find("g", "t", 1), 1);
}

TEST_F(OffsetRequests, RefuseAResetOutsideTheQueue) {
  store_.put({});
  EXPECT_EQ(reset(0, 2, -1).code, 0) << "one beyond the end is allowed";
  EXPECT_EQ(reset(0, 3, -1).code, 1);
  store_.put({});
  store_.cut("t", 0, 1);
  EXPECT_EQ(reset(0, 0, -1).code, 1);
}

TEST_F(OffsetRequests, ResetByTellingTheConsumers) {
  configure([](BrokerConfig& config) { config.server_side_reset_offset = false; });
  store_.put({});
  store_.put({.queue_id = 1});
  EXPECT_EQ(reset({}, {}, -1).code, 1) << "a group without offsets";
  update("g", "t", 0, 0);
  update("g", "t", 1, 1);
  const auto answer = reset({}, {}, -1, /*force=*/false);
  ASSERT_EQ(answer.code, 0) << answer.remark;
  const auto told = taken(peer_, request_code::kResetConsumerClientOffset);
  ASSERT_EQ(told.size(), 1u);
  const auto body = protocol::decode_body<protocol::ResetOffsetBody>(told.front().body);
  ASSERT_TRUE(body);
  EXPECT_EQ(body->offset_table.at(MessageQueue{"broker-a", 0, "t"}), 0) << "not forward by force";
  EXPECT_EQ(body->offset_table.at(MessageQueue{"broker-a", 1, "t"}), 1);
  EXPECT_EQ(offsets_.find("g", "t", 0), 0) << "the consumer moves itself";
}

TEST_F(OffsetRequests, TellTheOldCppLibraryInItsOwnForm) {
  configure([](BrokerConfig& config) { config.server_side_reset_offset = false; });
  update("g", "t", 0, 0);
  update("g", "t", 1, 0);
  send(peer_, request_code::kInvokeBrokerToResetOffset,
       protocol::ResetOffsetRequest{"t", "g", {}, {}, -1, true}, {}, protocol::Language::kCpp);
  const auto told = taken(peer_, request_code::kResetConsumerClientOffset);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told.front().body,
            R"({"offsetTable":[{"brokerName":"broker-a","offset":0,"queueId":0,"topic":"t"},)"
            R"({"brokerName":"broker-a","offset":0,"queueId":1,"topic":"t"}]})");
}

TEST_F(OffsetRequests, NeedSomebodyToTell) {
  configure([](BrokerConfig& config) { config.server_side_reset_offset = false; });
  update("g", "t", 0, 0);
  update("g", "t", 1, 0);
  disconnect(peer_);
  peer_ = connect();
  EXPECT_EQ(reset({}, {}, -1).code, 206);
}

TEST_F(OffsetRequests, CloneAGroup) {
  update("g", "t", 0, 5);
  groups_.find_or_create("h");
  EXPECT_EQ(ask(peer_, request_code::kCloneGroupOffset,
                protocol::CloneGroupOffsetRequest{"g", "h", {}, true})
                .code,
            0);
  EXPECT_EQ(offsets_.find("h", "t", 0), 5);
}

TEST_F(OffsetRequests, CorrectAgainstTheSlowestGroup) {
  for (int i = 0; i < 20; ++i) store_.put({});
  for (const char* group : {"a", "b", "c"}) groups_.find_or_create(group);
  update("a", "t", 0, 10);
  update("b", "t", 0, 3);
  update("c", "t", 0, 5);
  const auto correct = [&](protocol::OptText filtered, const char* compared) {
    const auto body = protocol::decode_body<protocol::CorrectionOffsetBody>(
        ask(peer_, request_code::kQueryCorrectionOffset,
            protocol::CorrectionOffsetRequest{std::move(filtered), compared, "t"})
            .body);
    return body ? body->correction_offsets.at(0) : -1;
  };
  EXPECT_EQ(correct({}, "a"), 3);
  EXPECT_EQ(correct("b,x", "a"), 5);
  EXPECT_EQ(correct("b", "b"), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(offsets_.find("b", "t", 0), 3) << "asking must not delete";
}

TEST_F(OffsetRequests, GiveTheWholeTable) {
  update("g", "t", 0, 5);
  const auto table = protocol::decode_body<protocol::ConsumerOffsetTable>(
      ask(peer_, request_code::kGetAllConsumerOffset).body);
  ASSERT_TRUE(table);
  EXPECT_EQ(table->offset_table.at("t@g").at(0), 5);
}

}  // namespace
}  // namespace apogee::broker
