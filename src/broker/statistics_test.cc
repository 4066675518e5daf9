#include "broker/statistics.h"

#include "broker/broker_fixture.h"

namespace apogee::broker {
namespace {

namespace request_code = protocol::request_code;
using protocol::MessageQueue;

class Shown : public BrokerFixture {
 protected:
  template <class Body, class Header = protocol::NoFields>
  Body show(std::int32_t code, const Header& header = {}) {
    const auto answer = ask(peer_, code, header);
    EXPECT_EQ(answer.code, 0) << answer.remark;
    auto body = protocol::decode_body<Body>(answer.body);
    EXPECT_TRUE(body) << answer.body;
    return body ? *body : Body{};
  }
  std::shared_ptr<testing::FakePeer> peer_ = connect();
};

TEST_F(Shown, RuntimeInfoHasTheKeysTheToolsRead) {
  store_.put({});
  stats_.count_put("t", 1, 100);
  const auto table = show<protocol::KvTable>(request_code::kGetBrokerRuntimeInfo).table;
  for (const char* key : {"brokerVersionDesc",
                          "brokerActive",
                          "bootTimestamp",
                          "runtime",
                          "putTps",
                          "getFoundTps",
                          "getMissTps",
                          "getTotalTps",
                          "getTransferredTps",
                          "msgPutTotalYesterdayMorning",
                          "msgPutTotalTodayMorning",
                          "msgPutTotalTodayNow",
                          "msgGetTotalYesterdayMorning",
                          "msgGetTotalTodayMorning",
                          "msgGetTotalTodayNow",
                          "putMessageTimesTotal",
                          "putMessageFailedTimes",
                          "putMessageSizeTotal",
                          "putMessageAverageSize",
                          "putMessageDistributeTime",
                          "putMessageEntireTimeMax",
                          "getMessageEntireTimeMax",
                          "putLatency99",
                          "putLatency999",
                          "dispatchMaxBuffer",
                          "dispatchBehindBytes",
                          "pageCacheLockTimeMills",
                          "commitLogDiskRatio",
                          "consumeQueueDiskRatio",
                          "commitLogMinOffset",
                          "commitLogMaxOffset",
                          "earliestMessageTimeStamp",
                          "startAcceptSendRequestTimeStamp",
                          "remainTransientStoreBufferNumbs",
                          "remainHowManyDataToFlush",
                          "sendThreadPoolQueueSize",
                          "sendThreadPoolQueueCapacity",
                          "pullThreadPoolQueueHeadWaitTimeMills",
                          "EndTransactionQueueSize",
                          "timerReadBehind"})
    EXPECT_TRUE(table.contains(key)) << key;
  EXPECT_EQ(table.at("putMessageAverageSize"), "100.0");
  EXPECT_EQ(table.at("runtime"), "[ 0 days, 0 hours, 0 minutes, 0 seconds ]");
  EXPECT_FALSE(table.contains("brokerVersion")) << "as the published broker";
}

TEST_F(Shown, TopicsQueueByQueue) {
  const std::int64_t stored_ms = disk_.clock.wall_ms();
  store_.put({});
  store_.put({});
  const auto stats = show<protocol::TopicStatsTable>(request_code::kGetTopicStatsInfo,
                                                     protocol::TopicRequest{"t"});
  ASSERT_EQ(stats.offset_table.size(), 2u);
  const auto& first = stats.offset_table.at(MessageQueue{"broker-a", 0, "t"});
  EXPECT_EQ(first.max_offset, 2);
  EXPECT_EQ(first.last_update_timestamp, stored_ms);
  EXPECT_EQ(stats.offset_table.at(MessageQueue{"broker-a", 1, "t"}).max_offset, 0);
  EXPECT_EQ(ask(peer_, request_code::kGetTopicStatsInfo, protocol::TopicRequest{"unknown"}).code,
            17);
}

TEST_F(Shown, ProgressOfAGroup) {
  join(peer_);
  for (int i = 0; i < 5; ++i) store_.put({});
  offsets_.note_pull("g", "t", 0, 4, 2);
  const auto stats = show<protocol::ConsumeStats>(request_code::kGetConsumeStats,
                                                  protocol::ConsumeStatsRequest{"g", {}, {}});
  const auto& queue = stats.offset_table.at(MessageQueue{"broker-a", 0, "t"});
  EXPECT_EQ(queue.broker_offset, 5);
  EXPECT_EQ(queue.consumer_offset, 2);
  EXPECT_EQ(queue.pull_offset, 4);
  EXPECT_EQ(queue.last_timestamp, disk_.clock.wall_ms());

  offsets_.commit("g", "left behind", 0, 1);
  make_topic("left behind", 1);
  EXPECT_EQ(show<protocol::ConsumeStats>(request_code::kGetConsumeStats,
                                         protocol::ConsumeStatsRequest{"g", {}, {}})
                .offset_table.size(),
            2u)
      << "an online group shows what it subscribes to";
  EXPECT_EQ(show<protocol::ConsumeStats>(request_code::kGetConsumeStats,
                                         protocol::ConsumeStatsRequest{"g", {}, "left behind;t"})
                .offset_table.size(),
            3u);
}

TEST_F(Shown, ProgressOfAllGroups) {
  join(peer_);
  for (int i = 0; i < 5; ++i) store_.put({});
  offsets_.note_pull("g", "t", 0, 4, 2);
  const auto list = show<protocol::ConsumeStatsList>(request_code::kGetBrokerConsumeStats,
                                                     protocol::BrokerConsumeStatsRequest{false});
  EXPECT_EQ(list.broker_address, "10.0.0.1:10911");
  EXPECT_EQ(list.total_diff, 3);
  EXPECT_EQ(list.total_inflight_diff, 2);
}

TEST_F(Shown, WhoConsumesWhat) {
  join(peer_, "online", "t");
  offsets_.commit("offline", "t", 0, 1);
  EXPECT_EQ(
      show<protocol::GroupList>(request_code::kQueryTopicConsumeByWho, protocol::TopicRequest{"t"})
          .group_list,
      (std::set<std::string>{"offline", "online"}));
  EXPECT_EQ(show<protocol::TopicList>(request_code::kQueryTopicsByConsumer,
                                      protocol::GroupRequest{"offline"})
                .topic_list,
            std::set<std::string>{"t"});
  const auto subscription = show<protocol::QuerySubscriptionBody>(
      request_code::kQuerySubscriptionByConsumer, protocol::GroupTopicRequest{"online", "t"});
  ASSERT_TRUE(subscription.subscription_data);
  EXPECT_EQ(subscription.subscription_data->sub_string, "*");
}

TEST_F(Shown, HowFarBehindInTime) {
  const std::int64_t start = disk_.clock.wall_ms();
  store_.put({});
  disk_.clock.advance(1s);
  store_.put({});
  disk_.clock.advance(1s);
  offsets_.commit("g", "t", 0, 1);
  const auto spans = show<protocol::ConsumeTimeSpanBody>(request_code::kQueryConsumeTimeSpan,
                                                         protocol::GroupTopicRequest{"g", "t"})
                         .consume_time_span_set;
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0].min_timestamp, start);
  EXPECT_EQ(spans[0].max_timestamp, start + 1'000);
  EXPECT_EQ(spans[0].consume_timestamp, start);
  EXPECT_EQ(spans[0].delay_time, 1'000);
}

TEST_F(Shown, StatisticsByName) {
  stats_.count_put("t", 6, 60);
  stats_.sample();
  const auto data = show<protocol::BrokerStatsData>(
      request_code::kViewBrokerStatsData, protocol::ViewStatsRequest{"TOPIC_PUT_NUMS", "t"});
  EXPECT_EQ(data.minute.sum, 6);
  const auto unknown = ask(peer_, request_code::kViewBrokerStatsData,
                           protocol::ViewStatsRequest{"TOPIC_PUT_NUMS", "u"});
  EXPECT_EQ(unknown.code, 1);
  EXPECT_EQ(unknown.remark, "The stats <TOPIC_PUT_NUMS> <u> not exist");
}

TEST_F(Shown, UnusedTopicsGoButNotSystemOnes) {
  store_.put({.topic = "gone"});
  store_.put({.topic = "t"});
  store_.put({.topic = "SCHEDULE_TOPIC_XXXX"});
  EXPECT_EQ(ask(peer_, request_code::kCleanUnusedTopic).code, 0);
  EXPECT_TRUE(store_.queues("gone").empty());
  EXPECT_FALSE(store_.queues("t").empty());
  EXPECT_FALSE(store_.queues("SCHEDULE_TOPIC_XXXX").empty());
}

TEST_F(Shown, SystemTopicsAndReplication) {
  EXPECT_TRUE(show<protocol::TopicList>(request_code::kGetSystemTopicListFromBroker)
                  .topic_list.contains("SCHEDULE_TOPIC_XXXX"));
  EXPECT_TRUE(show<protocol::HaRuntimeInfo>(request_code::kGetBrokerHaStatus).master);
  EXPECT_EQ(ask(peer_, 999'999).code, 3);
}

// ---- Single messages ---------------------------------------------------------------------------

TEST_F(Shown, MessagesByKey) {
  store_.put({.body = "1", .keys = "order-1"});
  store_.put({.body = "2", .unique_key = "UNIQUE"});
  const auto query = [&](const char* key, protocol::OptText unique) {
    return ask(peer_, request_code::kQueryMessage,
               protocol::QueryMessageRequest{"t", key, 10, 0, disk_.clock.wall_ms() + 1,
                                             std::move(unique)});
  };
  const auto by_key = query("order-1", {});
  EXPECT_EQ(by_key.code, 0);
  EXPECT_EQ(as_text(protocol::decode_message(as_bytes(by_key.body))->body), "1");
  EXPECT_EQ(by_key.field("indexLastUpdatePhyoffset"), "0");
  EXPECT_EQ(as_text(protocol::decode_message(as_bytes(query("UNIQUE", "true").body))->body), "2");
  EXPECT_EQ(query("nothing", {}).code, 22);
}

TEST_F(Shown, MessagesByTag) {
  store_.put({.body = "1", .tags = "red", .keys = "blue"});
  store_.put({.body = "2", .tags = "blue"});
  const auto query = [&](const char* key, protocol::OptText type) {
    return ask(peer_, request_code::kQueryMessage,
               protocol::QueryMessageRequest{"t", key, 10, 0, disk_.clock.wall_ms() + 1,
                                             std::nullopt, std::move(type)});
  };
  const auto by_tag = query("blue", "T");
  ASSERT_EQ(by_tag.code, 0);
  EXPECT_EQ(as_text(protocol::decode_message(as_bytes(by_tag.body))->body), "2");
  for (const protocol::OptText& type : {protocol::OptText{}, protocol::OptText{"K"}})
    EXPECT_EQ(as_text(protocol::decode_message(as_bytes(query("blue", type).body))->body), "1");
  EXPECT_EQ(query("green", "T").code, 22);
}

TEST_F(Shown, AMessageByItsOffset) {
  store_.put({.body = "first"});
  store_.put({.body = "second"});
  const auto record = store_.record_at("t", 0, 1);
  const auto second = protocol::decode_message(record.bytes)->physical_offset;
  const auto answer =
      ask(peer_, request_code::kViewMessageById, protocol::ViewMessageRequest{second, {}});
  EXPECT_EQ(as_text(protocol::decode_message(as_bytes(answer.body))->body), "second");
  EXPECT_EQ(
      ask(peer_, request_code::kViewMessageById, protocol::ViewMessageRequest{second + 1, {}}).code,
      1);
}

TEST_F(Shown, EntriesOfAQueue) {
  for (const char* tag : {"A", "B", "A"}) store_.put({.tags = tag});
  const auto body = show<protocol::QueryConsumeQueueBody>(
      request_code::kQueryConsumeQueue, protocol::QueryConsumeQueueRequest{"t", 0, 1, 10, {}});
  EXPECT_EQ(body.max_queue_index, 3);
  ASSERT_EQ(body.queue_data.size(), 2u);
  EXPECT_EQ(body.queue_data[0].tags_code, 'B');
  EXPECT_GT(body.queue_data[0].physical_size, 0);
  EXPECT_EQ(ask(peer_, request_code::kQueryConsumeQueue,
                protocol::QueryConsumeQueueRequest{"unknown", 0, 0, 10, {}})
                .code,
            1);
}

TEST_F(Shown, EntriesOfAQueueAsTheyStandInItWhetherOrNotTheirRecordsAreThere) {
  for (const char* tag : {"A", "B", "A"}) store_.put({.tags = tag});
  store_.gone = {.topic = "t", .queue_id = 0, .offset = 1};
  store_.on_unit = [](store::QueueUnit& unit) {
    if (unit.queue_offset == 0) unit.tags_code = 1'700'000'000'000;  // as of a delayed message
    if (unit.queue_offset != 2) return;
    unit.tags_code = std::numeric_limits<std::int64_t>::min();
    unit.tags_known = false;
  };
  const auto body = show<protocol::QueryConsumeQueueBody>(
      request_code::kQueryConsumeQueue, protocol::QueryConsumeQueueRequest{"t", 0, 0, 10, {}});
  ASSERT_EQ(body.queue_data.size(), 3u);
  EXPECT_EQ(body.queue_data[0].tags_code, 1'700'000'000'000);
  EXPECT_EQ(body.queue_data[0].message, std::nullopt);
  EXPECT_EQ(body.queue_data[1].tags_code, 'B');
  EXPECT_EQ(body.queue_data[1].physical_offset, body.queue_data[0].physical_size);
  EXPECT_EQ(body.queue_data[2].message, "Cq extend not exist!addr: -9223372036854775808");
}

/// The texts are those of RocketMQ 5.5.0's own classes, but for line ends inside of bitPos.
TEST_F(Shown, EntriesOfAQueueForAGroupThatSubscribesBySql92) {
  FilterData filters{env_, config_, "/store/config/consumerFilter.json"};
  context_.filter_data = &filters;
  configure([](BrokerConfig& config) { config.property_filter = true; });
  join(peer_, "g", "t", "a > 3", "SQL92", 7);
  filters.registered("g", {*protocol::subscription_from("t", "a > 3", "SQL92", 7)});
  const std::int64_t now = disk_.clock.wall_ms();
  store_.put({});
  store_.put({});
  store_.on_unit = [&](store::QueueUnit& unit) {
    std::string bits = "\x81\x02\xff";
    if (unit.queue_offset == 1) bits.assign(14, '\0');  // as many as the broker's: none is set
    unit.tags_code = 3'552'231;
    unit.extended.emplace(now + 1, bits);
  };
  const auto body = show<protocol::QueryConsumeQueueBody>(
      request_code::kQueryConsumeQueue, protocol::QueryConsumeQueueRequest{"t", 0, 0, 10, "g"});
  context_.filter_data = nullptr;
  EXPECT_EQ(body.filter_data,
            fmt::format("{{\n"
                        "\t\"bloomFilterData\":{{\n"
                        "\t\t\"bitNum\":112,\n"
                        "\t\t\"bitPos\":[\n\t\t\t22,\n\t\t\t87,\n\t\t\t58\n\t\t]\n"
                        "\t}},\n"
                        "\t\"bornTime\":{},\n"
                        "\t\"clientVersion\":7,\n"
                        "\t\"consumerGroup\":\"g\",\n"
                        "\t\"dead\":false,\n"
                        "\t\"deadTime\":0,\n"
                        "\t\"expression\":\"a > 3\",\n"
                        "\t\"expressionType\":\"SQL92\",\n"
                        "\t\"topic\":\"t\"\n"
                        "}}",
                        now));
  ASSERT_EQ(body.queue_data.size(), 2u);
  EXPECT_EQ(body.queue_data[0].bit_map, "111111110000001010000001");
  EXPECT_EQ(body.queue_data[0].extend_data_json,
            fmt::format(
                R"({{"filterBitMap":[-127,2,-1],"msgStoreTime":{},"size":23,"tagsCode":3552231}})",
                now + 1));
  EXPECT_TRUE(body.queue_data[0].eval) << "bits of another length say nothing";
  EXPECT_FALSE(body.queue_data[1].eval);
}

}  // namespace
}  // namespace apogee::broker
