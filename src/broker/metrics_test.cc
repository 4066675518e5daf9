#include "broker/metrics.h"

#include "broker/broker_fixture.h"
#include "broker/popping.h"
#include "broker/timer_messages.h"
#include "broker/transactions.h"
#include "protocol/names.h"

namespace apogee::broker {
namespace {

class Metrics : public BrokerFixture {
 protected:
  std::string page() {
    return metrics_page(context_, {.timer = &timer_,
                                   .transactions = &transactions_,
                                   .popping = &popping_,
                                   .waiting_for_workers = [] { return 3; }});
  }
  /// The value of the series with these labels besides the common ones; -1: not there.
  double value_of(const std::string& name, const std::string& labels) {
    const std::string text = page();
    const std::string start = name + R"({cluster="Cluster",node_id="broker-a",node_type="broker")" +
                              (labels.empty() ? "" : "," + labels) + "} ";
    const std::size_t at = text.find("\n" + start);
    if (at == std::string::npos) return -1;
    return std::stod(text.substr(at + 1 + start.size()));
  }

  TimerMessages timer_{env_, store_, "/store"};
  Transactions transactions_{context_, send_settings_, "/store/config/transactionMetrics"};
  Popping popping_{context_, send_settings_, "/store/config/consumerOrderInfo.json"};
};

TEST_F(Metrics, CountMessagesInByTopicAndType) {
  stats_.count_put("t", 2, 200);
  stats_.count_put("t", 1, 5'000, MessageType::kDelay);
  EXPECT_EQ(value_of("rocketmq_messages_in_total",
                     R"(is_system="false",message_type="normal",topic="t")"),
            2);
  EXPECT_EQ(value_of("rocketmq_throughput_in_total",
                     R"(is_system="false",message_type="delay",topic="t")"),
            5'000);
  EXPECT_EQ(value_of("rocketmq_message_size_bucket",
                     R"(is_system="false",message_type="delay",topic="t",le="4096.0")"),
            0);
  EXPECT_EQ(value_of("rocketmq_message_size_bucket",
                     R"(is_system="false",message_type="delay",topic="t",le="524288.0")"),
            1);
}

TEST_F(Metrics, CountMessagesOutAndDeadLettersByGroup) {
  stats_.count_get("t", "g", 0, 4, 400, 1);
  stats_.count_dead_letter("t", "g");
  const std::string labels = R"(consumer_group="g",is_system="false",topic="t")";
  EXPECT_EQ(value_of("rocketmq_messages_out_total", labels), 4);
  EXPECT_EQ(value_of("rocketmq_throughput_out_total", labels), 400);
  EXPECT_EQ(value_of("rocketmq_send_to_dlq_messages_total", labels), 1);
}

TEST_F(Metrics, AddUpUnderOtherWhatIsBeyondTheLimitAndSaySo) {
  configure([](BrokerConfig& config) { config.metrics_series_max = 2; });
  for (const char* topic : {"a", "b", "c", "d", "e"}) stats_.count_put(topic, 1, 10);
  const std::string text = page();
  double sum = 0;
  std::size_t series = 0;
  for (std::size_t at = text.find("\nrocketmq_messages_in_total{"); at != std::string::npos;
       at = text.find("\nrocketmq_messages_in_total{", at + 1)) {
    ++series;
    sum += std::stod(text.substr(text.find("} ", at) + 2));
  }
  EXPECT_EQ(series, 3) << "two topics and the rest";
  EXPECT_EQ(sum, 5) << "nothing is lost";
  EXPECT_EQ(value_of("apogee_metrics_series_folded", R"(metric="rocketmq_messages_in_total")"), 3);
}

TEST_F(Metrics, SayHowFarOnlineGroupsAreBehindAndAllByQueue) {
  join(connect());
  for (int i = 0; i < 5; ++i) store_.put({});
  offsets_.commit("g", "t", 0, 2);
  offsets_.note_pulled("g", "t", 0, 4);
  disk_.clock.advance(3s);
  const std::string labels = R"(consumer_group="g",is_retry="false",is_system="false",topic="t")";
  EXPECT_EQ(value_of("rocketmq_consumer_lag_messages", labels), 3);
  EXPECT_EQ(value_of("rocketmq_consumer_inflight_messages", labels), 2);
  EXPECT_EQ(value_of("rocketmq_consumer_ready_messages", labels), 1);
  EXPECT_GE(value_of("rocketmq_consumer_lag_latency_milliseconds", labels), 3'000);
  EXPECT_EQ(value_of("apogee_consumer_queue_lag_messages",
                     R"(consumer_group="g",queue_id="0",topic="t")"),
            3);
}

TEST_F(Metrics, TellHowManyTimerMessagesWaitAndForHowLong) {
  ASSERT_TRUE(timer_.load());
  const std::int64_t due = disk_.clock.wall_ms() + 90'000;
  store_.put({.topic = "rmq_sys_wheel_timer",
              .body = "later",
              .properties = {
                  {"TIMER_OUT_MS", std::to_string(due)}, {"REAL_TOPIC", "t"}, {"REAL_QID", "0"}}});
  const std::string storage = R"(storage_medium="disk",storage_type="local")";
  EXPECT_EQ(value_of("rocketmq_timer_enqueue_lag", storage), 1);
  timer_.run();
  EXPECT_EQ(value_of("rocketmq_timer_enqueue_lag", storage), 0);
  EXPECT_EQ(value_of("rocketmq_timer_dequeue_lag", storage), 1);
  const std::string of_topic = storage + R"(,topic="t")";
  EXPECT_EQ(value_of("rocketmq_timing_messages", of_topic), 1);
  EXPECT_EQ(value_of("rocketmq_timer_enqueue_total", of_topic), 1);
  EXPECT_EQ(value_of("rocketmq_timer_message_snapshot", storage + R"(,timer_bound_s="300")"), 1);
  EXPECT_EQ(value_of("rocketmq_delay_message_latency_seconds_bucket", of_topic + R"(,le="60.0")"),
            0);
  EXPECT_EQ(value_of("rocketmq_delay_message_latency_seconds_bucket", of_topic + R"(,le="600.0")"),
            1);
  disk_.clock.advance(95s);
  timer_.run();
  EXPECT_EQ(value_of("rocketmq_timing_messages", of_topic), 0);
  EXPECT_EQ(value_of("rocketmq_timer_dequeue_total", of_topic), 1);
}

TEST_F(Metrics, CountTransactionsByTheTopicTheirMessageIsFor) {
  store_.put({.topic = protocol::kHalfTopic,
              .properties = {{"REAL_TOPIC", "t"}, {"REAL_QID", "0"}, {"PGROUP", "p"}}});
  transactions_.follow();
  EXPECT_EQ(value_of("rocketmq_half_messages", R"(topic="t")"), 1);
  disk_.clock.advance(30s);
  const auto record = store_.record_at(protocol::kHalfTopic, 0, 0);
  const auto half = protocol::decode_message(record.bytes);
  const auto ended = transactions_.end({.producer_group = "p",
                                        .tran_state_table_offset = 0,
                                        .commit_log_offset = half->physical_offset,
                                        .commit_or_rollback = protocol::sys_flag::kCommit});
  EXPECT_EQ(ended.code, 0) << ended.remark.value_or("");
  EXPECT_EQ(value_of("rocketmq_half_messages", R"(topic="t")"), 0);
  EXPECT_EQ(value_of("rocketmq_commit_messages_total", R"(topic="t")"), 1);
  EXPECT_EQ(value_of("rocketmq_rollback_messages_total", R"(topic="t")"), 0);
  EXPECT_EQ(
      value_of("rocketmq_finish_message_latency_milliseconds_bucket", R"(topic="t",le="5.0")"), 0);
  EXPECT_EQ(
      value_of("rocketmq_finish_message_latency_milliseconds_bucket", R"(topic="t",le="60.0")"), 1);
}

TEST_F(Metrics, TellWhatWaitsInTheReviveTopic) {
  groups_.find_or_create("g");
  store_.put({.body = "popped"});
  protocol::CheckPoint point;
  point.broker_name = "broker-a";
  point.group = "g";
  point.topic = "t";
  point.differences = {0};
  point.count = 1;
  point.invisible_ms = 10'000;
  point.pop_time = disk_.clock.wall_ms();
  EXPECT_TRUE(popping_.log.put(2, point));
  popping_.revive.run();
  EXPECT_EQ(value_of("rocketmq_pop_checkpoint_buffer_size", ""), 1);
  EXPECT_EQ(value_of("rocketmq_pop_revive_lag_milliseconds", R"(queue_id="2")"), 1);
  EXPECT_EQ(value_of("rocketmq_pop_revive_latency_milliseconds", R"(queue_id="2")"), 0);
  EXPECT_EQ(
      value_of("rocketmq_pop_revive_in_message_total",
               R"(consumer_group="g",put_status="PUT_OK",revive_message_type="CK",topic="t")"),
      1);
  EXPECT_EQ(value_of("rocketmq_pop_revive_out_message_total",
                     R"(consumer_group="g",queue_id="2",revive_message_type="CK",topic="t")"),
            1);
  disk_.clock.advance(15s);
  EXPECT_EQ(value_of("rocketmq_pop_revive_latency_milliseconds", R"(queue_id="2")"), 5'000);
  popping_.revive.run();
  EXPECT_EQ(value_of("rocketmq_pop_revive_retry_messages_total",
                     R"(consumer_group="g",put_status="PUT_OK",topic="t")"),
            1);
  EXPECT_EQ(value_of("rocketmq_pop_checkpoint_buffer_size", ""), 0);
}

TEST_F(Metrics, CountConnectionsByLanguageAndVersion) {
  join(connect());
  join(connect());
  EXPECT_EQ(value_of("rocketmq_consumer_connections",
                     R"(consume_mode="push",consumer_group="g",is_system="false",)"
                     R"(language="java",protocol_type="remoting",version="v5_4_0")"),
            2)
      << page();
}

TEST_F(Metrics, KeepAnswersByRequestInTheClassesOfThePublishedBroker) {
  stats_.requests.record({.request = 310, .response = 0}, 4ms, 2);
  stats_.requests.record({.request = 11, .response = 19, .long_polling = true}, 15s, 1);
  EXPECT_EQ(value_of("rocketmq_rpc_latency_milliseconds_bucket",
                     R"(is_long_polling="false",protocol_type="remoting",)"
                     R"(request_code="send_message_v2",response_code="success",)"
                     R"(result="success",le="5.0")"),
            2);
  EXPECT_EQ(value_of("rocketmq_rpc_latency_milliseconds_sum",
                     R"(is_long_polling="true",protocol_type="remoting",)"
                     R"(request_code="pull_message",response_code="pull_not_found",)"
                     R"(result="success")"),
            15'000);
}

TEST_F(Metrics, BoundTheKindsOfAnswersAPeerCanMakeUp) {
  for (std::int32_t code = 0; code < 1'500; ++code) {
    stats_.requests.record({.request = 50'000 + code, .response = 3}, 1ms, 1);
    stats_.requests.record({.request = 310, .response = 50'000 + code}, 1ms, 1);
  }
  std::size_t kinds = 0;
  std::uint64_t answers = 0;
  stats_.requests.for_each([&](const auto&, const auto& times) {
    ++kinds;
    for (const auto& count : times.counts) answers += count;
  });
  EXPECT_LE(kinds, RequestTimes::kKindsMax + 1);
  EXPECT_EQ(answers, 3'000U);
}

TEST_F(Metrics, TimeTheStagesOfASend) {
  stats_.stages.record(Stage::kLockHeld, 100us);
  stats_.stages.record(Stage::kLockHeld, 300ns);
  EXPECT_EQ(value_of("apogee_stage_duration_seconds_count", R"(stage="append_lock_held")"), 2);
  EXPECT_EQ(
      value_of("apogee_stage_duration_seconds_bucket", R"(stage="append_lock_held",le="5.12e-07")"),
      1);
  const auto total = stats_.stages.of(static_cast<std::size_t>(Stage::kLockHeld)).total();
  EXPECT_EQ(total.sum_ns, 100'300U);
}

TEST_F(Metrics, EscapeWhatNamesMayContainAndCarryTheLabelsAsked) {
  Exposition out{{{"site", "a\"b\\c\nd"}}, 10};
  out.family("x", "gauge", "y");
  out.value({}, 1.5);
  EXPECT_EQ(out.take(), "# HELP x y\n# TYPE x gauge\nx{site=\"a\\\"b\\\\c\\nd\"} 1.5\n");
  EXPECT_EQ(parse_labels("site:a,rack:7")->size(), 2U);
  EXPECT_FALSE(parse_labels("site"));
  EXPECT_FALSE(parse_labels("7:a"));
}

}  // namespace
}  // namespace apogee::broker
