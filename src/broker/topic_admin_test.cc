#include "broker/topic_admin.h"

#include "broker/attributes.h"
#include "broker/broker_fixture.h"
#include "protocol/table_file.h"

namespace apogee::broker {
namespace {

namespace request = protocol::request_code;
using protocol::SubscriptionGroupConfig;
using protocol::TopicConfig;

class Administered : public BrokerFixture {
 protected:
  Administered() {
    add_topic_admin(processors_, context_,
                    {.configuration_text = [] { return Buffer{"brokerPermission=6\n"}; },
                     .configuration_version = [this] { return version_; },
                     .update_configuration = [this](std::string_view text) -> Result<Ok> {
                       if (text == "brokerConfigPath=/tmp/x\n")
                         return Error{Errc::kUnsupported, "brokerConfigPath may not change"};
                       version_.next(disk_.clock.wall_ms());
                       return Ok{};
                     }});
  }
  void refuse_writes_of_offsets() {
    disk_.disk.inject({.operation = testing::ForgetfulDisk::Operation::kWrite,
                       .times = testing::ForgetfulDisk::kForever,
                       .path_part = "consumerOffset.json"});
  }
  testing::FakePeer::Sent create(const std::string& topic, std::int32_t queues = 4,
                                 std::optional<std::string> attributes = {}) {
    return ask(peer_, request::kUpdateAndCreateTopic,
               protocol::CreateTopicRequest{.topic = topic,
                                            .read_queue_nums = queues,
                                            .write_queue_nums = queues,
                                            .attributes = std::move(attributes)});
  }
  /// What the next process would know if this one were killed now.
  std::unique_ptr<ConsumerOffsets> offsets_after_a_kill() {
    auto offsets = std::make_unique<ConsumerOffsets>(env_, "/store/config/consumerOffset.json");
    EXPECT_TRUE(offsets->load());
    return offsets;
  }
  template <class Body>
  std::int32_t tell(std::int32_t code, const Body& body) {
    return ask(peer_, code, protocol::NoFields{}, as_bytes(encode_body(body))).code;
  }
  template <class Body, class Header = protocol::NoFields>
  Body show(std::int32_t code, const Header& header = {}) {
    const auto answer = ask(peer_, code, header);
    EXPECT_EQ(answer.code, 0) << answer.remark;
    auto body = protocol::decode_body<Body>(answer.body);
    EXPECT_TRUE(body) << answer.body;
    return body ? *body : Body{};
  }
  static TopicConfig topic(const std::string& name, std::int32_t queues,
                           Attributes attributes = {}) {
    TopicConfig config;
    config.topic_name = name;
    config.read_queue_nums = config.write_queue_nums = queues;
    config.attributes = std::move(attributes);
    return config;
  }
  static SubscriptionGroupConfig group(const std::string& name, Attributes attributes = {}) {
    SubscriptionGroupConfig config;
    config.group_name = name;
    config.attributes = std::move(attributes);
    return config;
  }
  /// What a broker started on this disk would know.
  protocol::TopicConfigTable topics_on_disk() {
    auto table =
        protocol::load_table<protocol::TopicConfigTable>(env_, "/store/config/topics.json");
    return table && *table ? **table : protocol::TopicConfigTable{};
  }
  protocol::DataVersion version_;
  std::shared_ptr<testing::FakePeer> peer_ = connect();
};

TEST_F(Administered, CreatesATopicThatIsOnDiskBeforeTheAnswer) {
  EXPECT_EQ(create("orders", 4, "+message.type=FIFO").code, 0);
  const TopicPtr made = topics_.find("orders");
  ASSERT_TRUE(made);
  EXPECT_EQ(made->write_queue_nums, 4);
  EXPECT_EQ(made->attributes.at("message.type"), "FIFO");
  EXPECT_TRUE(topics_on_disk().topic_config_table.contains("orders"));
  EXPECT_EQ(show<TopicConfig>(request::kGetTopicConfig, protocol::TopicRequest{"orders"}), *made);
  EXPECT_EQ(ask(peer_, request::kGetTopicConfig, protocol::TopicRequest{"unknown"}).code, 17);
}

TEST_F(Administered, AChangedTopicKeepsItsAttributes) {
  create("orders", 4, "+message.type=FIFO");
  EXPECT_EQ(create("orders", 8).code, 0);
  EXPECT_EQ(topics_.find("orders")->write_queue_nums, 8);
  EXPECT_EQ(topics_.find("orders")->attributes.at("message.type"), "FIFO");
  const auto before = topics_.version();
  EXPECT_EQ(create("orders", 8).code, 0);
  EXPECT_EQ(topics_.version(), before) << "nothing changed";
}

TEST_F(Administered, RefusesTopicsThatMayNotBe) {
  EXPECT_EQ(create("bad topic").code, 29);
  EXPECT_EQ(create("TBW102").code, 29) << "a system topic";
  EXPECT_EQ(create("orders", 65'537).code, 29);
  EXPECT_EQ(create("orders", -1).code, 29);
  EXPECT_EQ(create("orders", 4, "+message.type=MIXED").code, 29);
  EXPECT_EQ(create("orders", 4, "+no.such=1").code, 1);
  EXPECT_EQ(create("orders", 4, "nonsense").code, 1);
  EXPECT_FALSE(topics_.contains("orders"));
  configure([](BrokerConfig& config) { config.mixed_message_type = true; });
  EXPECT_EQ(create("orders", 4, "+message.type=MIXED").code, 0);
}

TEST_F(Administered, TakesAListOfTopicsWholeOrNotAtAll) {
  std::size_t told = 0;
  topics_.on_change([&](const std::vector<TopicPtr>& changed, const auto&) {
    ++told;
    EXPECT_EQ(changed.size(), 2U);
  });
  const auto list = [](std::vector<TopicConfig> topics) {
    return protocol::TopicConfigList{std::move(topics)};
  };
  EXPECT_EQ(tell(request::kUpdateAndCreateTopicList, list({topic("a", 2), topic("b c", 2)})), 29);
  EXPECT_FALSE(topics_.contains("a"));
  EXPECT_EQ(tell(request::kUpdateAndCreateTopicList,
                 list({topic("a", 2), topic("b", 3, {{"+message.type", "DELAY"}})})),
            0);
  EXPECT_EQ(topics_.find("b")->attributes.at("message.type"), "DELAY");
  EXPECT_EQ(told, 1U) << "name servers hear of both at once";
  EXPECT_EQ(
      ask(peer_, request::kUpdateAndCreateTopicList, protocol::NoFields{}, as_bytes("{")).code, 1);
}

TEST_F(Administered, DeletesATopicWithAllThatHangsOnIt) {
  create("orders");
  make_topic("%RETRY%g_orders", 1);
  make_topic("%RETRY%other_orders", 1);
  offsets_.commit("g", "orders", 0, 5);
  offsets_.commit("g", "%RETRY%g_orders", 0, 1);
  stats_.count_put("orders", 1, 10);
  store_.put({.topic = "orders"});
  EXPECT_EQ(ask(peer_, request::kDeleteTopicInBroker, protocol::TopicRequest{"orders"}).code, 0);
  EXPECT_FALSE(topics_.contains("orders"));
  EXPECT_FALSE(topics_.contains("%RETRY%g_orders")) << "what g retried of it";
  EXPECT_TRUE(topics_.contains("%RETRY%other_orders")) << "that group never consumed it";
  EXPECT_FALSE(offsets_.find("g", "orders", 0));
  EXPECT_FALSE(stats_.view("TOPIC_PUT_NUMS", "orders"));
  EXPECT_TRUE(store_.queues("orders").empty());
  EXPECT_FALSE(topics_on_disk().topic_config_table.contains("orders"));
  EXPECT_EQ(ask(peer_, request::kDeleteTopicInBroker, protocol::TopicRequest{"orders"}).code, 0)
      << "gone is gone";
  EXPECT_EQ(ask(peer_, request::kDeleteTopicInBroker, protocol::TopicRequest{" "}).code, 29);
  EXPECT_EQ(ask(peer_, request::kDeleteTopicInBroker, protocol::TopicRequest{"TBW102"}).code, 29);
}

TEST_F(Administered, KeepsATopicWhoseMessagesCannotBeDeleted) {
  create("orders");
  make_topic("%RETRY%g_orders", 1);
  offsets_.commit("g", "orders", 0, 5);
  store_.put({.topic = "orders"});
  store_.deletes = false;
  EXPECT_EQ(ask(peer_, request::kDeleteTopicInBroker, protocol::TopicRequest{"orders"}).code, 1);
  EXPECT_TRUE(topics_.contains("orders"));
  EXPECT_TRUE(topics_.contains("%RETRY%g_orders"));
  EXPECT_TRUE(offsets_.find("g", "orders", 0));
  store_.put({.topic = "forgotten"});
  EXPECT_EQ(ask(peer_, request::kCleanUnusedTopic).code, 1);
  store_.deletes = true;
  EXPECT_EQ(ask(peer_, request::kDeleteTopicInBroker, protocol::TopicRequest{"orders"}).code, 0);
  EXPECT_FALSE(topics_.contains("%RETRY%g_orders"));
}

TEST_F(Administered, NoOffsetOfADeletedTopicOutlivesAKill) {
  create("orders");
  make_topic("%RETRY%g_orders", 1);
  offsets_.commit("g", "orders", 0, 1'000);
  offsets_.commit("g", "%RETRY%g_orders", 0, 7);
  offsets_.commit("g", "t", 0, 5);
  ASSERT_TRUE(offsets_.persist());
  ASSERT_EQ(ask(peer_, request::kDeleteTopicInBroker, protocol::TopicRequest{"orders"}).code, 0);
  const auto after = offsets_after_a_kill();
  EXPECT_FALSE(after->find("g", "orders", 0)) << "a topic made again would lose its first messages";
  EXPECT_FALSE(after->find("g", "%RETRY%g_orders", 0));
  EXPECT_EQ(after->find("g", "t", 0), 5);
}

TEST_F(Administered, KeepsATopicWhoseOffsetsCannotBeRemovedFromTheDisk) {
  create("orders");
  offsets_.commit("g", "orders", 0, 1'000);
  ASSERT_TRUE(offsets_.persist());
  store_.put({.topic = "orders"});
  refuse_writes_of_offsets();
  EXPECT_EQ(ask(peer_, request::kDeleteTopicInBroker, protocol::TopicRequest{"orders"}).code, 1);
  EXPECT_TRUE(topics_.contains("orders"));
  EXPECT_EQ(offsets_.find("g", "orders", 0), 1'000);
  EXPECT_FALSE(store_.queues("orders").empty()) << "its messages go after the offsets";
  disk_.disk.clear_faults();
  EXPECT_EQ(ask(peer_, request::kDeleteTopicInBroker, protocol::TopicRequest{"orders"}).code, 0);
  EXPECT_FALSE(offsets_after_a_kill()->find("g", "orders", 0));
}

TEST_F(Administered, KeepsATopicWhoseGroupsOffsetsWereNeverWritten) {
  create("orders");
  offsets_.commit("g", "orders", 0, 1'000);
  refuse_writes_of_offsets();
  EXPECT_EQ(ask(peer_, request::kDeleteTopicInBroker, protocol::TopicRequest{"orders"}).code, 1);
  EXPECT_TRUE(topics_.contains("orders"));
  EXPECT_EQ(offsets_.find("g", "orders", 0), 1'000);
}

TEST_F(Administered, AnOffsetIsOnDiskAgainWhenItsTopicCannotBeDeleted) {
  create("orders");
  offsets_.commit("g", "orders", 0, 1'000);
  store_.deletes = false;
  EXPECT_EQ(ask(peer_, request::kDeleteTopicInBroker, protocol::TopicRequest{"orders"}).code, 1);
  EXPECT_EQ(offsets_after_a_kill()->find("g", "orders", 0), 1'000);
}

TEST_F(Administered, CleansTheQueuesOfTopicsNobodyKnows) {
  store_.put({.topic = "forgotten"});
  offsets_.commit("g", "forgotten", 0, 1'000);
  ASSERT_TRUE(offsets_.persist());
  store_.put({.topic = "t"});
  store_.put({.topic = "%LMQ%light"});
  store_.put({.topic = "RMQ_SYS_TRANS_HALF_TOPIC"});
  EXPECT_EQ(ask(peer_, request::kCleanUnusedTopic).code, 0);
  EXPECT_TRUE(store_.queues("forgotten").empty());
  for (const char* kept : {"t", "%LMQ%light", "RMQ_SYS_TRANS_HALF_TOPIC"})
    EXPECT_FALSE(store_.queues(kept).empty()) << kept;
  EXPECT_FALSE(offsets_after_a_kill()->find("g", "forgotten", 0));
}

TEST_F(Administered, ShowsAllTopicsInOnePieceOrInPages) {
  const auto all = show<protocol::TopicConfigTable>(request::kGetAllTopicConfig);
  EXPECT_EQ(all.topic_config_table.size(), topics_.all().size());
  EXPECT_EQ(all.data_version, topics_.version());
  std::set<std::string> seen;
  for (std::int32_t at = 0; at < static_cast<std::int32_t>(all.topic_config_table.size());
       at += 4) {
    const auto page = show<protocol::TopicConfigTable>(
        request::kGetAllTopicConfig,
        protocol::AllTopicConfigRequest{.topic_seq = at, .max_topic_num = 4});
    EXPECT_LE(page.topic_config_table.size(), 4U);
    for (const auto& [name, config] : page.topic_config_table) seen.insert(name);
  }
  EXPECT_EQ(seen.size(), all.topic_config_table.size());
  EXPECT_TRUE(show<protocol::TopicConfigTable>(
                  request::kGetAllTopicConfig,
                  protocol::AllTopicConfigRequest{.topic_seq = 1'000'000, .max_topic_num = 4})
                  .topic_config_table.empty());
}

TEST_F(Administered, ChecksAttributesOfGroupsAsThoseOfTopics) {
  EXPECT_EQ(
      tell(request::kUpdateAndCreateSubscriptionGroup, group("g1", {{"priority.factor", "1"}})), 1)
      << "without a sign";
  EXPECT_FALSE(groups_.contains("g1"));
  EXPECT_EQ(
      tell(request::kUpdateAndCreateSubscriptionGroup, group("g1", {{"+priority.factor", "7"}})),
      0);
  EXPECT_EQ(groups_.find("g1")->attributes, (Attributes{{"priority.factor", "7"}}));
  EXPECT_EQ(tell(request::kUpdateAndCreateSubscriptionGroup, group("g1")), 0);
  EXPECT_EQ(groups_.find("g1")->attributes.size(), 1U) << "kept";
  EXPECT_EQ(
      tell(request::kUpdateAndCreateSubscriptionGroup, group("g1", {{"-priority.factor", ""}})), 0);
  EXPECT_TRUE(groups_.find("g1")->attributes.empty());
  EXPECT_EQ(tell(request::kUpdateAndCreateSubscriptionGroup, group("bad group")), 29);
}

TEST_F(Administered, TakesAListOfGroupsWholeOrNotAtAll) {
  using List = protocol::SubscriptionGroupList;
  EXPECT_EQ(tell(request::kUpdateAndCreateSubscriptionGroupList,
                 List{{group("g1"), group("g2", {{"+no.such", "1"}})}}),
            1);
  EXPECT_FALSE(groups_.contains("g1"));
  EXPECT_EQ(tell(request::kUpdateAndCreateSubscriptionGroupList, List{{group("g1"), group("g2")}}),
            0);
  EXPECT_TRUE(groups_.contains("g2"));
}

TEST_F(Administered, DeletesAGroupAndItsOffsetsIfAskedTo) {
  groups_.update(group("g"));
  offsets_.commit("g", "t", 0, 5);
  ASSERT_TRUE(offsets_.persist());
  EXPECT_EQ(
      ask(peer_, request::kDeleteSubscriptionGroup, protocol::DeleteGroupRequest{"g", {}}).code, 0);
  EXPECT_FALSE(groups_.contains("g"));
  EXPECT_EQ(offsets_.find("g", "t", 0), 5);
  EXPECT_EQ(
      ask(peer_, request::kDeleteSubscriptionGroup, protocol::DeleteGroupRequest{"g", true}).code,
      0);
  EXPECT_FALSE(offsets_.find("g", "t", 0));
  EXPECT_FALSE(offsets_after_a_kill()->find("g", "t", 0));
}

TEST_F(Administered, ShowsAGroupAndWhatItMayNotRead) {
  configure([](BrokerConfig& config) { config.auto_create_group = false; });
  EXPECT_EQ(ask(peer_, request::kGetSubscriptionGroupConfig, protocol::GroupRequest{"g"}).code, 26);
  groups_.update(group("g"));
  EXPECT_EQ(show<SubscriptionGroupConfig>(request::kGetSubscriptionGroupConfig,
                                          protocol::GroupRequest{"g"})
                .group_name,
            "g");
  const auto readable = [&](std::optional<bool> set) {
    return show<protocol::GroupForbidden>(request::kUpdateAndGetGroupForbidden,
                                          protocol::GroupForbiddenRequest{"g", "t", set})
        .readable;
  };
  EXPECT_TRUE(readable({}));
  EXPECT_FALSE(readable(false));
  EXPECT_FALSE(readable({}));
  EXPECT_TRUE(readable(true));
}

TEST_F(Administered, TellsTheVersionOfTheConfiguration) {
  const auto shown = [&] {
    return *protocol::decode_body<protocol::DataVersion>(
        ask(peer_, request::kGetBrokerConfig).field("version"));
  };
  EXPECT_EQ(ask(peer_, request::kGetBrokerConfig).body, "brokerPermission=6\n");
  EXPECT_EQ(shown().counter, 0);
  const auto update = [&](std::string_view text) {
    return ask(peer_, request::kUpdateBrokerConfig, protocol::NoFields{}, as_bytes(text));
  };
  EXPECT_EQ(update("brokerPermission=4\n").code, 0);
  EXPECT_EQ(shown().counter, 1);
  EXPECT_EQ(update("brokerConfigPath=/tmp/x\n").code, 16) << "CVE-2023-33246";
  EXPECT_EQ(shown().counter, 1);
}

}  // namespace
}  // namespace apogee::broker
