#include "broker/topics.h"

#include <gtest/gtest.h>

#include "broker/subscription_groups.h"
#include "testing/disk_env.h"

namespace apogee::broker {
namespace {

constexpr const char* kTopicsPath = "/store/config/topics.json";
constexpr const char* kGroupsPath = "/store/config/subscriptionGroup.json";

class Tables : public ::testing::Test {
 protected:
  Tables() { EXPECT_TRUE(disk_.env->files.create_directories("/store/config")); }
  static BrokerConfig named() {
    BrokerConfig config;
    config.broker_name = "broker-a";
    config.cluster_name = "Cluster";
    return config;
  }
  void write(const std::string& path, std::string_view content) {
    ASSERT_TRUE(replace_file(disk_.env->files, path, content));
  }
  testing::DiskEnv disk_;
  LiveConfig config_{named()};
  Topics topics_{*disk_.env, config_, kTopicsPath};
  SubscriptionGroups groups_{*disk_.env, config_, kGroupsPath};
};

TEST_F(Tables, HoldTheBuiltInTopics) {
  const auto expect = [&](const char* name, std::int32_t queues, std::int32_t perm) {
    const TopicPtr topic = topics_.find(name);
    ASSERT_TRUE(topic) << name;
    EXPECT_EQ(topic->topic_name, name);
    EXPECT_EQ(topic->read_queue_nums, queues) << name;
    EXPECT_EQ(topic->write_queue_nums, queues) << name;
    EXPECT_EQ(topic->perm, perm) << name;
    EXPECT_TRUE(topics_.is_system(name)) << name;
  };
  expect("TBW102", 8, 7);
  expect("SELF_TEST_TOPIC", 1, 6);
  expect("BenchmarkTest", 1'024, 6);
  expect("Cluster", 16, 7);
  expect("broker-a", 1, 7);
  expect("OFFSET_MOVED_EVENT", 1, 6);
  expect("SCHEDULE_TOPIC_XXXX", 18, 6);
  expect("Cluster_REPLY_TOPIC", 1, 6);
  expect("rmq_sys_REVIVE_LOG_Cluster", 8, 6);
  expect("rmq_sys_SYNC_BROKER_MEMBER_broker-a", 1, 1);
  expect("RMQ_SYS_TRANS_HALF_TOPIC", 1, 6);
  expect("RMQ_SYS_TRANS_OP_HALF_TOPIC", 1, 6);
  expect("rmq_sys_wheel_timer", 1, 6);
  EXPECT_FALSE(topics_.is_system("orders"));
  EXPECT_FALSE(disk_.env->files.stat(kTopicsPath)) << "written with the first change only";
}

TEST_F(Tables, KnowAnyLmqAndListNone) {
  Topics topics{*disk_.env, config_, kTopicsPath, true};
  SubscriptionGroups groups{*disk_.env, config_, kGroupsPath, true};
  ASSERT_TRUE(topics.find("%LMQ%any"));
  EXPECT_EQ(topics.find("%LMQ%any")->read_queue_nums, 1);
  EXPECT_EQ(topics.find("%LMQ%any")->perm, 6);
  ASSERT_TRUE(groups.find("%LMQ%any"));
  protocol::TopicConfig config;
  config.topic_name = "%LMQ%any";
  config.perm = 2;
  topics.update(config);
  EXPECT_EQ(topics.find("%LMQ%any")->perm, 6);
  EXPECT_FALSE(topics.table().topic_config_table.contains("%LMQ%any"));
  EXPECT_FALSE(topics_.find("%LMQ%any")) << "without enableLmq";
  EXPECT_FALSE(groups_.find("%LMQ%any"));
}

TEST_F(Tables, CreateATopicLikeItsTemplate) {
  std::vector<std::string> told;
  topics_.on_change([&](const std::vector<TopicPtr>& topics, const protocol::DataVersion&) {
    for (const TopicPtr& each : topics) told.push_back(each->topic_name);
  });
  const TopicPtr topic = topics_.create_on_send("orders", "TBW102", 4, 0);
  ASSERT_TRUE(topic);
  EXPECT_EQ(topic->write_queue_nums, 4);
  EXPECT_EQ(topic->perm, 6);
  EXPECT_EQ(topics_.create_on_send("orders", "TBW102", 8, 0), topic);
  EXPECT_EQ(topics_.create_on_send("many", "TBW102", 100, 0)->write_queue_nums, 8);
  EXPECT_FALSE(topics_.create_on_send("x", "orders", 4, 0)) << "orders is not to be inherited";
  EXPECT_FALSE(topics_.create_on_send("x", "unknown", 4, 0));
  EXPECT_EQ(told, (std::vector<std::string>{"orders", "many"}));
}

TEST_F(Tables, CreateNothingWhereThatIsSwitchedOff) {
  BrokerConfig off = config_.now();
  off.auto_create_topic = false;
  off.auto_create_group = false;
  config_.change(off);
  EXPECT_FALSE(topics_.create_on_send("orders", "TBW102", 4, 0));
  EXPECT_FALSE(groups_.find_or_create("g"));
  EXPECT_TRUE(groups_.find_or_create("CID_RMQ_SYS_x")) << "system groups all the same";
}

TEST_F(Tables, SurviveARestart) {
  topics_.create_on_send("orders", "TBW102", 4, 0);
  topics_.create_if_absent("%RETRY%g", 1, 6, 0);
  topics_.create_on_send("gone", "TBW102", 4, 0);
  topics_.remove("gone");
  groups_.find_or_create("g");
  groups_.set_forbidden("g", "orders", SubscriptionGroups::kForbiddenRead, true);

  Topics topics{*disk_.env, config_, kTopicsPath};
  ASSERT_TRUE(topics.load());
  EXPECT_EQ(*topics.find("orders"), *topics_.find("orders"));
  EXPECT_TRUE(topics.contains("%RETRY%g"));
  EXPECT_FALSE(topics.contains("gone"));
  EXPECT_EQ(topics.version(), topics_.version());
  SubscriptionGroups groups{*disk_.env, config_, kGroupsPath};
  ASSERT_TRUE(groups.load());
  EXPECT_TRUE(groups.contains("g"));
  EXPECT_TRUE(groups.forbidden("g", "orders", SubscriptionGroups::kForbiddenRead));
}

TEST_F(Tables, KnowWhichTopicsAreNotOnDisk) {
  EXPECT_TRUE(topics_.is_on_disk("TBW102")) << "each start makes it again";
  disk_.disk.inject({.operation = testing::ForgetfulDisk::Operation::kWrite,
                     .times = 2,
                     .path_part = "topics.json"});
  topics_.create_if_absent("first", 1, 6, 0);
  EXPECT_FALSE(topics_.is_on_disk("first"));
  EXPECT_FALSE(topics_.persist());
  EXPECT_FALSE(topics_.is_on_disk("first"));
  EXPECT_TRUE(topics_.ensure_on_disk("first"));
  EXPECT_TRUE(topics_.is_on_disk("first"));
  topics_.create_if_absent("first", 1, 6, 0, true);
  EXPECT_TRUE(topics_.is_on_disk("first")) << "written by the worker";
}

TEST_F(Tables, GroupsTheDiskRefusedAreWrittenNextTime) {
  disk_.disk.inject({.operation = testing::ForgetfulDisk::Operation::kWrite,
                     .times = 2,
                     .path_part = "subscriptionGroup.json"});
  ASSERT_TRUE(groups_.find_or_create("g"));
  EXPECT_FALSE(groups_.persist()) << "nor could the worker";
  EXPECT_TRUE(groups_.persist());
  SubscriptionGroups groups{*disk_.env, config_, kGroupsPath};
  ASSERT_TRUE(groups.load());
  EXPECT_TRUE(groups.contains("g"));
}

TEST_F(Tables, NeededTopicsAreThereAndOnDisk) {
  disk_.disk.inject({.operation = testing::ForgetfulDisk::Operation::kWrite,
                     .times = 2,
                     .path_part = "topics.json"});
  const auto unwritten = topics_.need("%DLQ%g", 1);
  ASSERT_FALSE(unwritten);
  EXPECT_TRUE(unwritten.error().detail.starts_with("topics.json cannot be written: "))
      << unwritten.error().detail;
  const auto needed = topics_.need("%DLQ%g", 1);
  ASSERT_TRUE(needed) << needed.error().detail;
  EXPECT_EQ((*needed)->perm, 6);
  EXPECT_TRUE(topics_.is_on_disk("%DLQ%g"));

  topics_.create_if_absent("%RETRY%g", 4, 6, 2, true);
  const auto there = topics_.need("%RETRY%g", 1);
  ASSERT_TRUE(there);
  EXPECT_EQ((*there)->write_queue_nums, 4) << "as it was";
  EXPECT_TRUE((*there)->order);
}

TEST_F(Tables, ReadWhatJavaWrote) {
  write(kTopicsPath,
        "{\n\t\"dataVersion\":{\"counter\":3,\"stateVersion\":0,\"timestamp\":1},\n\t"
        "\"topicConfigTable\":{\"T1\":{\"attributes\":{\"message.type\":\"FIFO\"},\"order\":false,"
        "\"perm\":6,\"readQueueNums\":4,\"topicFilterType\":\"SINGLE_TAG\",\"topicName\":\"T1\","
        "\"topicSysFlag\":0,\"writeQueueNums\":4}}}");
  write(
      kGroupsPath,
      "{\"dataVersion\":{\"counter\":1,\"stateVersion\":0,\"timestamp\":1},\"forbiddenTable\":"
      "{\"G\":{\"T\":3}},\"subscriptionGroupTable\":{\"G\":{\"attributes\":{},\"brokerId\":0,"
      "\"consumeEnable\":false,\"groupName\":\"G\",\"groupRetryPolicy\":{\"type\":\"CUSTOMIZED\"},"
      "\"retryMaxTimes\":3,\"retryQueueNums\":2}}}");
  ASSERT_TRUE(topics_.load());
  ASSERT_TRUE(groups_.load());
  EXPECT_EQ(topics_.find("T1")->attributes.at("message.type"), "FIFO");
  EXPECT_EQ(topics_.version().counter, 3);
  EXPECT_EQ(groups_.find("G")->retry_max_times, 3);
  EXPECT_FALSE(groups_.find("G")->consume_enable);
  EXPECT_TRUE(groups_.forbidden("G", "T", SubscriptionGroups::kForbiddenRead));
}

TEST_F(Tables, RefuseIllegalGroupNames) {
  EXPECT_FALSE(groups_.find_or_create("not a name"));
  EXPECT_FALSE(groups_.find_or_create(std::string(121, 'g')));
  EXPECT_FALSE(groups_.find_or_create(""));
  EXPECT_TRUE(groups_.find_or_create(std::string(120, 'g')));
}

TEST_F(Tables, ReorderARetryTopicWithItsSubscription) {
  topics_.create_if_absent("%RETRY%g", 1, 6, 0, false);
  const std::int64_t version = topics_.version().counter;
  EXPECT_TRUE(topics_.create_if_absent("%RETRY%g", 1, 6, 0, true)->order);
  EXPECT_EQ(topics_.version().counter, version + 1);
  topics_.create_if_absent("%RETRY%g", 1, 6, 0, true);
  EXPECT_EQ(topics_.version().counter, version + 1);
}

}  // namespace
}  // namespace apogee::broker
