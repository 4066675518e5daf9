// Records of each kind as the published broker stores them (tests/golden/kinds-java-5.5.0.txt,
// recorded by record-kinds): they are read and written to the same bytes, and this broker's of the
// same requests carry the same properties.
#include <map>
#include <set>

#include "broker/broker_fixture.h"
#include "broker/request_reply.h"
#include "broker/timer_messages.h"
#include "broker/transactions.h"
#include "protocol/names.h"
#include "protocol/pop.h"
#include "testing/golden.h"

namespace apogee::broker {
namespace {

const std::map<std::string, Buffer>& golden() {
  static const auto all =
      testing::read_golden(APOGEE_SOURCE_DIR "/tests/golden/kinds-java-5.5.0.txt");
  return all;
}
protocol::Message message_of(const std::string& kind) {
  const auto found = golden().find(kind);
  EXPECT_NE(found, golden().end()) << kind;
  if (found == golden().end()) return {};
  const auto message = protocol::decode_message(as_bytes(found->second));
  EXPECT_TRUE(message) << kind;
  return message ? *message : protocol::Message{};
}
std::set<std::string> names_of(std::string_view properties) {
  std::set<std::string> names;
  protocol::for_each_property(
      properties, [&](std::string_view name, std::string_view) { names.emplace(name); });
  return names;
}

TEST(GoldenKinds, AreReadAndWrittenByteForByte) {
  EXPECT_EQ(golden().size(), 16U);
  for (const auto& [kind, bytes] : golden()) {
    const protocol::Message message = message_of(kind);
    EXPECT_EQ(message.size, static_cast<std::int32_t>(bytes.size())) << kind;
    EXPECT_EQ(protocol::check_record(as_bytes(bytes), true).kind, protocol::RecordKind::kRecord)
        << kind;
    Buffer again;
    ASSERT_TRUE(protocol::encode_message(again, message)) << kind;
    EXPECT_EQ(again, bytes) << kind;
  }
}

TEST(GoldenKinds, CheckPointsAndAcksAreWrittenByteForByte) {
  for (const char* kind : {"check_point", "check_point_in_timer"}) {
    const protocol::Message message = message_of(kind);
    const auto point = protocol::parse_check_point(as_text(message.body));
    ASSERT_TRUE(point) << kind;
    EXPECT_EQ(encode_body(*point), as_text(message.body)) << kind;
    EXPECT_EQ(unique_key(*point), message.property("UNIQ_KEY")) << kind;
    EXPECT_EQ(point->revive_time, point->due()) << kind;
  }
  for (const char* kind : {"ack", "ack_in_timer"}) {
    const protocol::Message message = message_of(kind);
    const auto ack = protocol::parse_ack(as_text(message.body));
    ASSERT_TRUE(ack) << kind;
    EXPECT_EQ(encode_body(*ack), as_text(message.body)) << kind;
    EXPECT_EQ(unique_key(*ack), message.property("UNIQ_KEY")) << kind;
  }
}

/// This broker's records of the requests that record-kinds sends.
class KindsAsStored : public BrokerFixture {
 protected:
  KindsAsStored() {
    EXPECT_TRUE(timer_.load());
    send_settings_.timer = &timer_;
    add_request_reply(processors_, context_, send_settings_);
  }
  protocol::SendMessageV1 header(const std::string& more_properties) {
    protocol::SendMessageV1 header{};
    header.producer_group = "p";
    header.topic = "t";
    header.default_topic = "TBW102";
    header.flag = 7;
    header.born_timestamp = disk_.clock.wall_ms();
    properties_ =
        "TAGS\x01"
        "A\x02UNIQ_KEY\x01"
        "0A000001000000000000000000000001\x02" +
        more_properties;
    header.properties = properties_;
    return header;
  }
  void put(const std::string& more_properties) {
    const auto answer = ask(peer_, protocol::request_code::kSendMessage, header(more_properties),
                            as_bytes("hello"));
    EXPECT_EQ(answer.code, 0) << answer.remark;
  }
  void expect_same(const std::string& kind, std::string_view topic) {
    const auto record = store_.record_at(topic, 0, store_.max_offset(topic, 0) - 1);
    const auto ours = protocol::decode_message(record.bytes);
    ASSERT_TRUE(ours) << kind;
    const protocol::Message theirs = message_of(kind);
    EXPECT_EQ(names_of(ours->properties), names_of(theirs.properties)) << kind;
    EXPECT_EQ(ours->sys_flag, theirs.sys_flag) << kind;
    EXPECT_EQ(ours->flag, theirs.flag) << kind;
    EXPECT_EQ(as_text(ours->body), as_text(theirs.body)) << kind;
    EXPECT_EQ(ours->queue_id, theirs.queue_id) << kind;
  }

  TimerMessages timer_{env_, store_, "/store"};
  std::shared_ptr<testing::FakePeer> peer_ = connect();
  std::string properties_;  // the header aliases it
};

TEST_F(KindsAsStored, CarryTheSamePropertiesAsThePublishedBrokers) {
  put("");
  expect_same("plain", "t");
  put("DELAY\x01"
      "1\x02");
  expect_same("delayed", protocol::kScheduleTopic);
  put("TIMER_DELIVER_MS\x01" + std::to_string(disk_.clock.wall_ms() + 2'000) + "\x02");
  expect_same("timer", protocol::kTimerTopic);
  disk_.clock.advance(5s);
  timer_.run(), timer_.run();
  expect_same("timer_delivered", "t");
  ScheduledMessages delayed{env_, store_, stats_, send_settings_.levels, "/store/config/delay.json",
                            500,  10'000};
  ASSERT_TRUE(delayed.load());
  EXPECT_EQ(delayed.deliver_due(), 1U);
  expect_same("delayed_delivered", "t");
}

TEST_F(KindsAsStored, TransactionsCarryTheSameProperties) {
  put("TRAN_MSG\x01true\x02PGROUP\x01p\x02");
  expect_same("half", protocol::kHalfTopic);
  const auto record = store_.record_at(protocol::kHalfTopic, 0, 0);
  const auto half = protocol::decode_message(record.bytes);
  Transactions transactions{context_, send_settings_, "/store/config/transactionMetrics"};
  const auto ended = transactions.end({.producer_group = "p",
                                       .tran_state_table_offset = 0,
                                       .commit_log_offset = half->physical_offset,
                                       .commit_or_rollback = protocol::sys_flag::kCommit});
  EXPECT_EQ(ended.code, 0) << ended.remark.value_or("");
  expect_same("committed", "t");
  const auto end = store_.record_at(protocol::kOpHalfTopic, 0, 0);
  const auto op = protocol::decode_message(end.bytes);
  const protocol::Message theirs = message_of("op");
  EXPECT_EQ(op->property("TAGS"), theirs.property("TAGS"));
  EXPECT_EQ(as_text(op->body), as_text(theirs.body));
}

TEST_F(KindsAsStored, RepliesCarryTheSameProperties) {
  auto reply = header("");
  properties_ =
      "UNIQ_KEY\x01"
      "0A000001000000000000000000000005\x02"
      "CORRELATION_ID\x01"
      "c-1\x02REPLY_TO_CLIENT\x01nobody\x02MSG_TYPE\x01reply\x02";
  reply.flag = 0;
  reply.properties = properties_;
  send(peer_, protocol::request_code::kSendReplyMessage, reply, as_bytes("answer"));
  expect_same("reply", "t");
}

}  // namespace
}  // namespace apogee::broker
