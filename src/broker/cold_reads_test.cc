#include "broker/cold_reads.h"

#include "broker/broker_fixture.h"

namespace apogee::broker {
namespace {

namespace request = protocol::request_code;
using Sent = testing::FakePeer::Sent;

/// Messages of about a kilobyte, none of them in memory, and limits of some kilobytes.
class ReadingCold : public BrokerFixture {
 protected:
  ReadingCold() {
    configure([](BrokerConfig& config) {
      config.cold_flow_control = true;
      config.cold_group_bytes = 2'000;
      config.cold_all_bytes = 10'000;
    });
    for (int i = 0; i < 40; ++i) store_.put({.body = std::string(900, 'x')});
    store_.resident = false;
    join(push_);
    join_pulling();
  }

  void join_pulling() {
    protocol::HeartbeatData heartbeat;
    heartbeat.client_id = "puller";
    protocol::ConsumerData data;
    data.group_name = "pulling";
    data.consume_type = protocol::ConsumeType::kActively;
    data.subscription_data_set.push_back(*protocol::subscription_from("t", "*", "TAG", 1));
    heartbeat.consumer_data_set.push_back(std::move(data));
    ask(pull_, request::kHeartBeat, protocol::NoFields{}, as_bytes(encode_body(heartbeat)));
  }
  static protocol::PullMessageRequest at(std::int64_t offset, std::string_view group = "g") {
    return {.consumer_group = group,
            .topic = "t",
            .queue_id = 0,
            .queue_offset = offset,
            .max_messages = 2,
            .sys_flag = 0,
            .commit_offset = 0,
            .suspend_timeout_ms = 15'000,
            .sub_version = 0};
  }
  Sent pull(std::int64_t offset, std::string_view group = "g") {
    return ask(push_, request::kPullMessage, at(offset, group));
  }
  protocol::ColdDataFlow table() {
    return *protocol::decode_body<protocol::ColdDataFlow>(
        ask(push_, request::kGetColdDataFlowCtrInfo).body);
  }
  Sent set_limits(std::string_view text) {
    return ask(push_, request::kUpdateColdDataFlowCtrConfig, protocol::NoFields{}, as_bytes(text));
  }

  std::shared_ptr<testing::FakePeer> push_ = connect(), pull_ = connect();
};

TEST_F(ReadingCold, IsCountedByGroup) {
  EXPECT_TRUE(table().runtime_table.empty());
  EXPECT_EQ(pull(0).code, 0);
  const auto counted = table();
  EXPECT_GT(counted.runtime_table.at("g").bytes, 1'800);
  EXPECT_EQ(counted.runtime_table.at("g").last_ms, disk_.clock.wall_ms());
  EXPECT_EQ(counted.global_accumulated, counted.runtime_table.at("g").bytes);
  EXPECT_EQ(counted.group_threshold, 2'000);
  EXPECT_EQ(counted.global_threshold, 10'000);
}

TEST_F(ReadingCold, APushConsumerOverTheLimitIsToldToComeLater) {
  pull(0);
  pull(2);
  const Sent slowed = pull(4);
  EXPECT_EQ(slowed.code, 2);
  EXPECT_EQ(slowed.remark, "This consumer group is reading cold data. It has been flow control");
  cold_reads_.end_period();
  EXPECT_EQ(pull(4).code, 0);
}

TEST_F(ReadingCold, WhatIsInMemoryIsServedAllTheSame) {
  pull(0);
  pull(2);
  store_.resident = true;
  EXPECT_EQ(pull(4).code, 0);
  EXPECT_EQ(pull(6).code, 0);
}

TEST_F(ReadingCold, APullConsumerOverTheLimitWaitsAndGetsOneMessage) {
  pull(0, "pulling");
  pull(2, "pulling");
  const std::int32_t waiting = send(pull_, request::kPullMessage, at(4, "pulling"));
  cold_reads_.end_period();
  EXPECT_FALSE(answer_to(pull_, waiting)) << "it has waited for no three seconds";
  disk_.clock.advance(5s);
  cold_reads_.end_period();
  const auto answered = answer_to(pull_, waiting);
  ASSERT_TRUE(answered);
  EXPECT_EQ(answered->code, 0);
  EXPECT_EQ(answered->field("nextBeginOffset"), "5");
}

TEST_F(ReadingCold, AllGroupsTogetherHaveALimit) {
  set_limits("g=100000\nother=100000\n");
  for (int i = 0; i < 6; ++i) pull(2 * i);
  join(push_, "other");
  EXPECT_EQ(pull(0, "other").code, 0) << "one that has read nothing yet";
  EXPECT_EQ(pull(2, "other").code, 2);
  EXPECT_EQ(pull(12).code, 2);
}

TEST_F(ReadingCold, OperatorsGiveGroupsLimitsOfTheirOwn) {
  EXPECT_EQ(set_limits("g=5000\n").code, 0);
  EXPECT_EQ(table().config_table.at("g"), 5'000);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(pull(2 * i).code, 0);
  EXPECT_EQ(pull(6).code, 2);
  EXPECT_EQ(ask(push_, request::kRemoveColdDataFlowCtrConfig, protocol::NoFields{},
                as_bytes(std::string_view{"g"}))
                .code,
            0);
  EXPECT_TRUE(table().config_table.empty());
  const Sent refused = set_limits("g=1\nother=many\n");
  EXPECT_EQ(refused.code, 29);
  EXPECT_EQ(refused.remark, "the threshold of other is not a number of bytes: many");
  EXPECT_TRUE(table().config_table.empty());
}

TEST_F(ReadingCold, GroupsThatDoSoNoMoreAreForgotten) {
  pull(0);
  disk_.clock.advance(59s);
  cold_reads_.end_period();
  EXPECT_EQ(table().runtime_table.at("g").bytes, 0);
  disk_.clock.advance(1s);
  cold_reads_.end_period();
  EXPECT_TRUE(table().runtime_table.empty());
}

TEST_F(ReadingCold, NobodyIsSlowedDownUnlessToldTo) {
  configure([](BrokerConfig& config) { config.cold_flow_control = false; });
  for (int i = 0; i < 8; ++i) EXPECT_EQ(pull(2 * i).code, 0);
  EXPECT_TRUE(table().runtime_table.empty());
}

TEST_F(ReadingCold, TheLogIsReadAheadOrNot) {
  const auto set = [&](std::int32_t mode) {
    return ask(push_, request::kSetCommitLogReadMode, protocol::ReadAheadRequest{mode});
  };
  EXPECT_EQ(set(1).remark, "set commitlog readahead mode success, mode: 1");
  EXPECT_FALSE(store_.config().read_ahead);
  EXPECT_EQ(set(0).code, 0);
  EXPECT_TRUE(store_.config().read_ahead);
  EXPECT_EQ(set(7).code, 29);
}

}  // namespace
}  // namespace apogee::broker
