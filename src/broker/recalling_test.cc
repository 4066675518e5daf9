#include "broker/recalling.h"

#include "broker/broker_fixture.h"
#include "broker/timer_messages.h"
#include "broker/timing.h"
#include "protocol/names.h"
#include "protocol/recall_handle.h"

namespace apogee::broker {
namespace {

namespace request = protocol::request_code;

class RecallingTest : public BrokerFixture {
 protected:
  RecallingTest() {
    timer_ = std::make_unique<TimerMessages>(env_, store_, "/store");
    EXPECT_TRUE(timer_->load());
    timer_->start();
    send_settings_.timer = timer_.get();
    add_recalling(processors_, context_, send_settings_);
    configure([](BrokerConfig& config) { config.recall_message = true; });
  }
  ~RecallingTest() override { timer_.reset(); }

  testing::FakePeer::Sent put(std::vector<std::pair<std::string, std::string>> properties,
                              const std::string& topic = "t") {
    Buffer text;
    protocol::append_property(text, "UNIQ_KEY", "K1");
    for (const auto& [name, value] : properties) protocol::append_property(text, name, value);
    protocol::SendMessageV2 header;
    header.producer_group = "p";
    header.topic = topic;
    header.default_topic = "TBW102";
    header.queue_id = 1;
    header.properties = text;
    return ask(peer_, request::kSendMessageV2, header, as_bytes("body"));
  }
  testing::FakePeer::Sent recall(const std::string& handle, const std::string& topic = "t") {
    return ask(peer_, request::kRecallMessage, protocol::RecallMessageRequest{"p", topic, handle});
  }
  std::string handle(std::int64_t time, const std::string& topic = "t",
                     const std::string& broker = "broker-a") {
    return protocol::encode_recall_handle({topic, broker, std::to_string(time), "K1"});
  }
  std::int64_t now() const { return disk_.clock.wall_ms(); }

  std::shared_ptr<testing::FakePeer> peer_ = connect();
  std::unique_ptr<TimerMessages> timer_;
};

TEST_F(RecallingTest, ASendToTheTimerIsAnsweredWithAHandle) {
  const auto answer = put({{"TIMER_DELAY_SEC", "10"}});
  ASSERT_EQ(answer.code, 0) << answer.remark;
  const auto parsed = protocol::parse_recall_handle(answer.field("recallHandle"));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->topic, "t");
  EXPECT_EQ(parsed->broker_name, "broker-a");
  EXPECT_EQ(parsed->message_id, "K1");
  EXPECT_EQ(parsed->timestamp, std::to_string(now() + 9'001)) << "one more than its slot";
  EXPECT_EQ(answer.field("queueId"), "1") << "the one it was sent to";
  const auto record = store_.record_at(protocol::kTimerTopic, 0, 0);
  const auto message = protocol::decode_message(record.bytes);
  EXPECT_EQ(message->property("TIMER_OUT_MS"), std::to_string(now() + 9'000));
  EXPECT_EQ(message->property("REAL_TOPIC"), "t");
  EXPECT_EQ(message->property("REAL_QID"), "1");
}

TEST_F(RecallingTest, TheFirstOfSecondsMillisecondsAndAbsoluteTimeDecides) {
  const std::string at = std::to_string(now() + 3'000);
  put({{"TIMER_DELIVER_MS", at}, {"TIMER_DELAY_MS", "1000"}, {"TIMER_DELAY_SEC", "5"}});
  put({{"TIMER_DELIVER_MS", at}, {"TIMER_DELAY_MS", "1000"}});
  put({{"TIMER_DELIVER_MS", at}});
  for (const auto& [offset, out] : {std::pair{0, 4'000}, {1, 0}, {2, 2'000}}) {
    const auto record = store_.record_at(protocol::kTimerTopic, 0, offset);
    EXPECT_EQ(protocol::decode_message(record.bytes)->property("TIMER_OUT_MS"),
              std::to_string(now() + out));
  }
}

TEST_F(RecallingTest, RefusesTimesItCannotKeep) {
  for (const auto& [name, value] : {std::pair{"TIMER_DELAY_SEC", "259201"},
                                    {"TIMER_DELAY_SEC", "9223372036854775807"},
                                    {"TIMER_DELAY_MS", "soon"},
                                    {"TIMER_DELIVER_MS", "9223372036854775807"}}) {
    const auto answer = put({{name, value}});
    EXPECT_EQ(answer.code, 13) << name << "=" << value;
    EXPECT_TRUE(answer.remark.starts_with(
        "timer message illegal, the delay time should not be bigger than the max delay "
        "259200000ms; "))
        << answer.remark;
  }
  EXPECT_EQ(put({{"TIMER_DELAY_SEC", "259200"}}).code, 0);
}

TEST_F(RecallingTest, ATimeThatIsOverIsNow) {
  const auto answer = put({{"TIMER_DELAY_SEC", "-5"}});
  EXPECT_EQ(answer.code, 0);
  EXPECT_EQ(answer.field("recallHandle"), "");
  EXPECT_EQ(store_.max_offset("t", 1), 1);
  EXPECT_EQ(put({{"TIMER_DELAY_SEC", "0"}, {"TIMER_DEL_UNIQKEY", "x"}}).code, 13)
      << "a recall that is too late";
}

TEST_F(RecallingTest, RefusesSendsToACrowdedSlot) {
  store_.mutable_config().timer_slot_messages_max = 10;
  const std::string at = std::to_string(now() + 10'000);
  int refused = 0;
  for (int i = 0; i < 40; ++i) {
    const auto answer = put({{"TIMER_DELIVER_MS", at}});
    refused += answer.code == 1 ? 1 : 0;
    disk_.clock.advance(100ms);
  }
  EXPECT_GE(refused, 20) << "never more than twice the limit";
  EXPECT_LE(refused, 30) << "not below the limit";
}

TEST_F(RecallingTest, TakesAMessageBack) {
  const auto sent = put({{"TIMER_DELAY_SEC", "10"}});
  const auto answer = recall(sent.field("recallHandle"));
  ASSERT_EQ(answer.code, 0) << answer.remark;
  EXPECT_EQ(answer.field("msgId"), "K1");
  disk_.clock.advance(20s);
  EXPECT_EQ(store_.max_offset("t", 1), 0);
  EXPECT_EQ(timer_->metrics().timing_count.at("t").count, 0);
}

TEST_F(RecallingTest, TakesAMessageBackForAProxyThatNamesNoGroup) {
  const auto sent = put({{"TIMER_DELAY_SEC", "10"}});
  const auto answer = ask(
      peer_, request::kRecallMessage,
      protocol::RecallMessageRequest{.topic = "t", .recall_handle = sent.field("recallHandle")});
  ASSERT_EQ(answer.code, 0) << answer.remark;
  disk_.clock.advance(20s);
  EXPECT_EQ(store_.max_offset("t", 1), 0);
}

TEST_F(RecallingTest, RefusesWithTheWordsOfThePublishedBroker) {
  const std::int64_t later = now() + 10'000;
  make_topic("other", 1);
  const struct {
    std::string handle, topic;
    int code;
    const char* remark;
  } cases[] = {
      {"%%%", "t", 604, "recall handle is invalid"},
      {"", "t", 604, "recall handle is invalid"},
      {"djEg", "t", 604, "recall handle is invalid"},
      {handle(later), "other", 604, "recall failed, topic not match"},
      {handle(later), "none", 17, "recall failed, the topic[none] not exist"},
      {handle(later, "t", "broker-b"), "t", 604, "recall failed, broker service not available"},
      {handle(now()), "t", 604, "recall failed, timestamp invalid"},
      {handle(now() + 259'200'000), "t", 604, "recall failed, timestamp invalid"}};
  for (const auto& each : cases) {
    const auto answer = recall(each.handle, each.topic);
    EXPECT_EQ(answer.code, each.code) << each.remark;
    EXPECT_EQ(answer.remark, each.remark);
  }
  configure([](BrokerConfig& config) { config.recall_message = false; });
  EXPECT_EQ(recall(handle(later)).code, 16);
  EXPECT_EQ(recall(handle(later)).remark, "recall failed, operation is forbidden");
}

TEST_F(RecallingTest, PutsOffWhatTheBrokerPutsItself) {
  const auto properties = [](std::string_view name, const std::string& value) {
    Buffer made;
    protocol::append_property(made, name, value);
    return made;
  };
  const auto find = [](std::string_view text, std::string_view name) {
    return protocol::find_property(text, name);
  };
  std::string topic = "t";
  std::int32_t queue = 1;
  Buffer plain = properties("KEYS", "k");
  EXPECT_FALSE(put_off(topic, queue, plain, context_, send_settings_));
  EXPECT_EQ(topic, "t");
  Buffer timed = properties("TIMER_DELAY_SEC", "10");
  EXPECT_FALSE(put_off(topic, queue, timed, context_, send_settings_));
  EXPECT_EQ(topic, protocol::kTimerTopic);
  EXPECT_EQ(queue, 0);
  EXPECT_EQ(find(timed, "REAL_TOPIC"), "t");
  EXPECT_EQ(find(timed, "REAL_QID"), "1");
  topic = "t";
  Buffer level = properties("DELAY", "99") + properties("TIMER_DELAY_SEC", "10");
  EXPECT_FALSE(put_off(topic, queue, level, context_, send_settings_));
  EXPECT_EQ(topic, protocol::kScheduleTopic);
  EXPECT_EQ(queue, 17);
  EXPECT_FALSE(find(level, "TIMER_DELAY_SEC"));
  Buffer illegal = properties("TIMER_DELAY_SEC", "999999999");
  EXPECT_EQ(put_off(topic, queue, illegal, context_, send_settings_)->code, 13);
}

TEST_F(RecallingTest, TellsHowFarTheTimerIs) {
  put({{"TIMER_DELAY_SEC", "10"}});
  disk_.clock.advance(1s);
  const auto point = ask(peer_, request::kGetTimerCheckPoint);
  ASSERT_EQ(point.body.size(), 56U);
  EXPECT_EQ(read_big<std::int64_t>(as_bytes(point.body)), now());
  EXPECT_EQ(read_big<std::int64_t>(as_bytes(point.body), 16), 1);
  const auto metrics = ask(peer_, request::kGetTimerMetrics);
  EXPECT_NE(metrics.body.find(R"("timingCount":{"t":{"count":1,)"), std::string::npos)
      << metrics.body;
  send_settings_.timer = nullptr;
  EXPECT_EQ(ask(peer_, request::kGetTimerCheckPoint).remark, "The checkpoint is null");
}

}  // namespace
}  // namespace apogee::broker
