#include "main/admin.h"

#include <condition_variable>
#include <cstdlib>
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "admin/asking.h"
#include "apogee/client.h"
#include "apogee/testing/broker.h"
#include "client/instance.h"
#include "client/roles.h"
#include "main/admin_command.h"
#include "main/admin_help.h"
#include "testing/ran.h"

namespace apogee {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::Ran;

Ran run_words(const std::vector<std::string>& words, bool terminal = false) {
  return testing::run_kept([&] { return run_admin(words, stdout, stderr, terminal); });
}

/// A member of a group that says what it is told to, and remembers what it was told.
class Member final : public client::ConsumerRole {
 public:
  const std::string& group() const override { return group_; }
  protocol::ConsumerData heartbeat() const override {
    protocol::ConsumerData data;
    data.group_name = group_;
    data.subscription_data_set = {*protocol::subscription_from("orders", "paid", "TAG", 1)};
    return data;
  }
  std::vector<std::string> topics() const override { return {"orders"}; }
  void queues_changed(const std::string&, const std::vector<MessageQueue>&) override {}
  void members_changed() override {}
  void persist_offsets() override {}
  void reset_offsets(const std::string&,
                     const std::map<MessageQueue, std::int64_t>& offsets) override {
    std::lock_guard lock{mutex_};
    told_ = offsets;
    changed_.notify_all();
  }
  std::map<MessageQueue, std::int64_t> offsets(const std::string&) const override { return {}; }
  protocol::Json running_info() const override {
    return *protocol::parse_json(
        R"({"properties":{"PROP_CONSUME_TYPE":"CONSUME_PASSIVELY","PROP_CONSUMEORDERLY":"false"},
        "subscriptionSet":[{"topic":"orders","subString":"paid","expressionType":"TAG"}],
        "mqTable":{{"brokerName":"broker-a","queueId":0,"topic":"orders"}:{"commitOffset":7,
        "cachedMsgCount":3,"lastConsumeTimestamp":1}},
        "statusTable":{"orders":{"consumeOKTPS":1.5}},"jstack":"stack of a thread"})");
  }
  protocol::Json consume_directly(ReceivedMessage message, const std::string&) override {
    return *protocol::parse_json(
        R"({"order":false,"autoCommit":true,"consumeResult":"CR_SUCCESS","spentTimeMills":5,"remark":")" +
        message.body + "\"}");
  }
  void stop() override {}

  std::map<MessageQueue, std::int64_t> told() {
    std::unique_lock lock{mutex_};
    changed_.wait_for(lock, 5s, [&] { return !told_.empty(); });
    return told_;
  }

 private:
  const std::string group_ = "billing";
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<MessageQueue, std::int64_t> told_;
};

class AdminCommands : public ::testing::Test {
 protected:
  void SetUp() override {
    ::unsetenv("NAMESRV_ADDR");
    auto started = testing::Broker::start({.topics = {{"orders", 2}}});
    ASSERT_TRUE(started) << started.error().detail;
    broker_.emplace(*std::move(started));
  }
  /// With the name server.
  Ran run(std::vector<std::string> words) {
    words.insert(words.end(), {"-n", broker_->name_server()});
    return run_words(words);
  }
  /// Expected to do it; its text.
  std::string text(std::vector<std::string> words) {
    const Ran ran = run(words);
    EXPECT_EQ(ran.code, 0) << words.front() << ": " << ran.err;
    EXPECT_THAT(ran.err, IsEmpty());
    return ran.out;
  }
  /// Heartbeats are not waited for, and indexes are written a moment after the message.
  void until_done(const std::vector<std::string>& words) {
    const auto end = std::chrono::steady_clock::now() + 5s;
    while (run(words).code != 0 && std::chrono::steady_clock::now() < end)
      std::this_thread::yield();
  }
  void until_there_are(std::size_t messages) {
    const auto end = std::chrono::steady_clock::now() + 5s;
    const auto there = [&] {
      return json({"consumeMessage", "-t", "orders"}).find("messages")->array()->size();
    };
    while (there() != messages && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    EXPECT_EQ(there(), messages);
  }
  /// Expected to do it; its JSON.
  protocol::Json json(std::vector<std::string> words) {
    words.push_back("--json");
    const Ran ran = run(words);
    EXPECT_EQ(ran.code, 0) << words.front() << ": " << ran.err;
    return ran.json();
  }
  /// The text of a member, or of one in the first row of a table: "queues.offset".
  static std::string at(const protocol::Json& json, std::string_view path) {
    const protocol::Json* here = &json;
    while (here && !path.empty()) {
      const std::size_t dot = path.find('.');
      here = here->find(path.substr(0, dot));
      path = dot == std::string_view::npos ? std::string_view{} : path.substr(dot + 1);
      if (here && !path.empty() && here->array())
        here = here->array()->empty() ? nullptr : &here->array()->front();
    }
    if (!here) return "nothing";
    return here->text() ? *here->text() : write_json(*here, protocol::JsonStyle::kStandard);
  }

  Client client() {
    auto client = Client::start({.name_servers = {broker_->name_server()}});
    EXPECT_TRUE(client) << client.error().detail;
    return *std::move(client);
  }
  SendReceipt send(const std::string& body, const std::string& tag = "paid") {
    Client from = client();
    auto producer = from.producer({.group = "checkout"});
    auto sent = producer->send({.topic = "orders", .body = body, .tag = tag, .keys = {"o-17"}},
                               MessageQueue{"orders", "broker-a", 0}, 3s);
    EXPECT_TRUE(sent) << sent.error().detail;
    // Queues and indexes are written a moment after the message.
    until_done({"queryMsgByUniqueKey", "-t", "orders", "-i", sent->message_id});
    until_done({"queryMsgByOffset", "-t", "orders", "-b", "broker-a", "-i", "0", "-o",
                std::to_string(sent->queue_offset)});
    return *std::move(sent);
  }

  std::optional<testing::Broker> broker_;
};

// ---- Usage

TEST(AdminUsage, ListsAllFortyCommandsByArea) {
  std::size_t commands = 0;
  for (const AdminArea& area : admin_areas()) commands += area.commands.size();
  EXPECT_EQ(commands, 40u);
  const Ran ran = run_words({"--help"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_THAT(ran.out, AllOf(HasSubstr("consumerProgress"), HasSubstr("Exit codes")));
  EXPECT_EQ(run_words({}).code, 2) << "nothing asked";
}

TEST(AdminUsage, EveryCommandHasItsOwnHelpWithExamples) {
  for (const AdminArea& area : admin_areas()) {
    for (const AdminCommand& each : area.commands) {
      const Ran ran = run_words({each.name, "--help"});
      EXPECT_EQ(ran.code, 0) << each.name;
      EXPECT_THAT(ran.out, AllOf(HasSubstr(each.summary), HasSubstr("Examples:"),
                                 HasSubstr(std::string{"apogee admin "} + each.examples.front())));
      for (const AdminOption& option : each.options)
        EXPECT_THAT(ran.out, HasSubstr(option.help)) << each.name;
    }
  }
}

TEST(AdminUsage, SaysWhatIsWrongAndEndsWithTwo) {
  const Ran unknown = run_words({"topic"});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_THAT(unknown.err, AllOf(HasSubstr("no command 'topic'"), HasSubstr("topicList")));
  const Ran missing = run_words({"topicRoute"});
  EXPECT_EQ(missing.code, 2);
  EXPECT_THAT(missing.err, HasSubstr("--topic is required"));
  const Ran number = run_words({"updateTopic", "-t", "x", "-r", "many"});
  EXPECT_EQ(number.code, 2);
  EXPECT_THAT(number.err, HasSubstr("whole number"));
  const Ran boolean = run_words({"updateTopic", "-t", "x", "-o", "yes"});
  EXPECT_EQ(boolean.code, 2);
  EXPECT_THAT(boolean.err, HasSubstr("true or false"));
  ::unsetenv("NAMESRV_ADDR");
  const Ran nobody = run_words({"topicList"});
  EXPECT_EQ(nobody.code, 2);
  EXPECT_THAT(nobody.err, HasSubstr("NAMESRV_ADDR"));
}

TEST(AdminUsage, AServerThatIsNotThereEndsWithFour) {
  const Ran ran = run_words({"topicList", "-n", "127.0.0.1:1", "--timeout", "500"});
  EXPECT_EQ(ran.code, 4);
  EXPECT_THAT(ran.out, IsEmpty());
  EXPECT_THAT(ran.err, HasSubstr("127.0.0.1:1"));
}

// ---- Clusters and name servers

TEST_F(AdminCommands, ListTheBrokers) {
  EXPECT_THAT(text({"clusterList"}), ContainsRegex("DefaultCluster +broker-a +0 +127.0.0.1"));
  EXPECT_THAT(text({"cluster", "list", "-m"}), HasSubstr("#InTotalToday"));
  EXPECT_EQ(at(json({"clusterList"}), "brokers.broker"), "broker-a");
  EXPECT_EQ(run({"clusterList", "-c", "NoSuch"}).code, 3);
}

TEST_F(AdminCommands, TakeABrokerOutOfServiceAndBack) {
  EXPECT_THAT(text({"wipeWritePerm", "-b", "broker-a"}), HasSubstr("broker-a"));
  EXPECT_EQ(at(json({"topicRoute", "-t", "orders"}), "brokers.perm"), "4");
  EXPECT_NE(at(json({"addWritePerm", "-b", "broker-a"}), "nameServers.topics"), "0");
  EXPECT_EQ(at(json({"topicRoute", "-t", "orders"}), "brokers.perm"), "6");
}

TEST_F(AdminCommands, ReadAndChangeTheNameServersConfiguration) {
  EXPECT_THAT(text({"getNamesrvConfig"}), HasSubstr("orderMessageEnable"));
  text({"updateNamesrvConfig", "-k", "orderMessageEnable", "-v", "true"});
  EXPECT_THAT(write_json(json({"getNamesrvConfig"}), protocol::JsonStyle::kStandard),
              HasSubstr(R"("orderMessageEnable":"true")"));
  const Ran path = run({"updateNamesrvConfig", "-k", "kvConfigPath", "-v", "/etc/passwd"});
  EXPECT_EQ(path.code, 1);
  EXPECT_THAT(path.err, HasSubstr("kvConfigPath"));
}

// ---- Brokers

TEST_F(AdminCommands, ShowABrokersStatusAndConfiguration) {
  EXPECT_THAT(text({"brokerStatus", "-b", "broker-a"}), HasSubstr("brokerVersionDesc"));
  EXPECT_THAT(text({"getBrokerConfig", "-c", "DefaultCluster"}),
              ContainsRegex("brokerName +=  broker-a"));
  EXPECT_NE(json({"brokerStatus", "-b", broker_->address()}).find("brokers"), nullptr);
  text({"updateBrokerConfig", "-b", "broker-a", "-k", "fileReservedTime", "-v", "48"});
  EXPECT_THAT(
      write_json(json({"getBrokerConfig", "-b", "broker-a"}), protocol::JsonStyle::kStandard),
      HasSubstr(R"("fileReservedTime":"48")"));
  EXPECT_EQ(run({"updateBrokerConfig", "-k", "a", "-v", "b"}).code, 2) << "which broker?";
  EXPECT_EQ(run({"brokerStatus", "-b", "broker-z"}).code, 3);
}

TEST_F(AdminCommands, CleanUpOnBrokers) {
  for (const char* each : {"cleanExpiredCQ", "deleteExpiredCommitLog", "cleanUnusedTopic"}) {
    EXPECT_THAT(text({each, "-b", "broker-a"}), HasSubstr("success")) << each;
    EXPECT_EQ(at(json({each, "-c", "DefaultCluster"}), "failed"), "{}") << each;
  }
}

TEST_F(AdminCommands, SayWhatBecomesOfReplicas) {
  EXPECT_THAT(text({"haStatus", "-b", "broker-a"}), HasSubstr("#MasterCommitLogMaxOffset"));
  EXPECT_EQ(at(json({"haStatus", "-c", "DefaultCluster"}), "brokers.master"), "true");
}

TEST_F(AdminCommands, CountTheTraffic) {
  send("hello");
  EXPECT_THAT(text({"statsAll"}), ContainsRegex("orders .*NO_CONSUMER"));
  EXPECT_EQ(at(json({"statsAll", "-t", "orders"}), "topics.topic"), "orders");
  EXPECT_EQ(run({"statsAll", "-t", "nothing"}).code, 3);
  text({"updateSubGroup", "-g", "billing"});
  text({"resetOffsetByTime", "-g", "billing", "-t", "orders", "-s", "0"});
  EXPECT_THAT(text({"brokerConsumeStats", "-b", "broker-a"}), HasSubstr("Diff Total"));
  EXPECT_NE(at(json({"brokerConsumeStats", "-b", "broker-a"}), "diffTotal"), "nothing");
}

// ---- Topics

TEST_F(AdminCommands, MakeChangeShowAndDeleteATopic) {
  EXPECT_THAT(text({"updateTopic", "-t", "new", "-r", "3", "-w", "3", "-o", "true"}),
              AllOf(HasSubstr("create topic to"), HasSubstr("broker-a:3")));
  EXPECT_THAT(text({"topicList"}), HasSubstr("new\n"));
  EXPECT_THAT(text({"topicList", "-c"}), ContainsRegex("DefaultCluster +new"));
  EXPECT_THAT(text({"topicRoute", "-t", "new"}), HasSubstr("Total read queues:  3"));
  EXPECT_EQ(at(json({"topicRoute", "-t", "new"}), "brokers.addresses.0"), broker_->address());
  text({"updateTopicPerm", "-t", "new", "-p", "4", "-c", "DefaultCluster"});
  EXPECT_EQ(at(json({"topicRoute", "-t", "new"}), "brokers.perm"), "4");
  EXPECT_EQ(at(json({"topicRoute", "-t", "new"}), "brokers.readQueues"), "3");
  EXPECT_EQ(text({"topicClusterList", "-t", "new"}), "DefaultCluster\n");
  const Ran nowhere = run({"updateTopicPerm", "-t", "new", "-p", "6", "-b", "127.0.0.1:1"});
  EXPECT_EQ(nowhere.code, 3) << "not this topic's broker, and nothing was changed";
  EXPECT_THAT(nowhere.err, HasSubstr("topicRoute -t new"));
  text({"deleteTopic", "-t", "new", "-c", "DefaultCluster"});
  const Ran gone = run({"topicRoute", "-t", "new"});
  EXPECT_EQ(gone.code, 3);
  EXPECT_THAT(gone.out, IsEmpty());
  EXPECT_EQ(run({"updateTopic", "-t", "bad name"}).code, 1);
}

TEST_F(AdminCommands, ShowATopicsOffsets) {
  send("one");
  EXPECT_THAT(text({"topicStatus", "-t", "orders"}),
              AllOf(ContainsRegex("broker-a +0 +0 +1 "), HasSubstr("Topic Put TPS")));
  const auto status = json({"topicStatus", "-t", "orders", "-c", "DefaultCluster"});
  EXPECT_EQ(at(status, "queues.maxOffset"), "1");
}

TEST_F(AdminCommands, KeepTheOrderOfATopic) {
  text({"updateOrderConf", "-t", "orders", "-m", "put", "-v", "broker-a:2"});
  EXPECT_EQ(at(json({"updateOrderConf", "-t", "orders", "-m", "get"}), "orderConf"), "broker-a:2");
  text({"updateOrderConf", "-t", "orders", "-m", "delete"});
  EXPECT_EQ(run({"updateOrderConf", "-t", "orders", "-m", "get"}).code, 3);
  EXPECT_EQ(run({"updateOrderConf", "-t", "orders", "-m", "put"}).code, 2);
}

// ---- Groups, offsets

TEST_F(AdminCommands, MakeShowAndDeleteAGroup) {
  EXPECT_THAT(text({"updateSubGroup", "-g", "billing", "-r", "5", "-c", "DefaultCluster"}),
              HasSubstr("Retry max times: 5"));
  EXPECT_THAT(text({"getConsumerConfig", "-g", "billing"}), ContainsRegex("retryMaxTimes +=  5"));
  EXPECT_EQ(at(json({"getConsumerConfig", "-g", "billing"}), "brokers.broker-a.retryMaxTimes"),
            "5");
  text({"setConsumeMode", "-t", "orders", "-g", "billing", "-m", "POP", "-b", "broker-a"});
  EXPECT_EQ(run({"setConsumeMode", "-t", "orders", "-g", "billing", "-m", "PUSH"}).code, 2);
  text({"deleteSubGroup", "-g", "billing", "-c", "DefaultCluster", "-r", "true"});
  EXPECT_EQ(run({"getConsumerConfig", "-g", "billing"}).code, 3);
}

TEST_F(AdminCommands, MoveOffsetsOfAGroupNobodyIsIn) {
  for (const char* body : {"1", "2", "3"}) send(body);
  text({"updateSubGroup", "-g", "billing"});
  text({"updateSubGroup", "-g", "audit"});
  text({"skipAccumulatedMessage", "-g", "billing", "-t", "orders"});
  EXPECT_EQ(at(json({"consumerProgress", "-g", "billing"}), "diffTotal"), "0");
  EXPECT_THAT(text({"resetOffsetByTime", "-g", "billing", "-t", "orders", "-s", "0"}),
              HasSubstr("#offset"));
  EXPECT_EQ(at(json({"consumerProgress", "-g", "billing", "-t", "orders"}), "diffTotal"), "3");
  text({"resetOffsetByTime", "-g", "billing", "-t", "orders", "-s", "now", "-b", "broker-a", "-q",
        "0", "-o", "2"});
  EXPECT_EQ(at(json({"consumerProgress", "-g", "billing"}), "queues.consumerOffset"), "2");
  EXPECT_THAT(text({"cloneGroupOffset", "-s", "billing", "-d", "audit", "-t", "orders"}),
              HasSubstr("clone group offset success"));
  EXPECT_EQ(at(json({"consumerProgress", "-g", "audit"}), "diffTotal"), "1");
  EXPECT_EQ(run({"resetOffsetByTime", "-g", "billing", "-t", "orders", "-s", "soon"}).code, 2);
  EXPECT_EQ(run({"consumerProgress", "-g", "nobody"}).code, 3);
}

TEST_F(AdminCommands, ShowWhoConsumesAndWhoSends) {
  Client there = client();
  const auto member = std::make_shared<Member>();
  ASSERT_TRUE(there.instance()->add(member));
  auto producer = there.producer({.group = "checkout"});
  ASSERT_TRUE(producer->send({.topic = "orders", .body = "hello", .tag = "paid"}, 3s));
  there.instance()->heartbeat_to_all();
  until_done({"consumerConnection", "-g", "billing"});

  EXPECT_THAT(
      text({"consumerConnection", "-g", "billing"}),
      AllOf(HasSubstr(there.id()), ContainsRegex("orders +paid"), HasSubstr("CONSUME_PASSIVELY")));
  EXPECT_EQ(at(json({"consumerConnection", "-g", "billing", "-b", "broker-a"}),
               "subscriptions.expression"),
            "paid");
  EXPECT_THAT(text({"producerConnection", "-g", "checkout", "-t", "orders"}),
              AllOf(HasSubstr(there.id()), HasSubstr("V5_5_0")));
  EXPECT_EQ(
      at(json({"producerConnection", "-g", "checkout", "-t", "orders"}), "connections.language"),
      "CPP");
  EXPECT_EQ(run({"producerConnection", "-g", "nobody", "-t", "orders"}).code, 3);
  EXPECT_THAT(text({"consumerProgress"}), ContainsRegex("billing +1 +V5_5_0 +PUSH +CLUSTERING"));

  EXPECT_THAT(text({"consumerStatus", "-g", "billing"}),
              AllOf(HasSubstr("Same subscription"), HasSubstr("can't consume for a while")));
  EXPECT_THAT(text({"consumerStatus", "-g", "billing", "-i", there.id(), "-s"}),
              AllOf(HasSubstr("#Consumer MQ Detail#"), HasSubstr("stack of a thread")));
  EXPECT_EQ(at(json({"consumerStatus", "-g", "billing"}), "sameSubscription"), "true");
}

TEST_F(AdminCommands, TellMembersThatAreOnlineOfNewOffsets) {
  send("hello");
  Client there = client();
  const auto member = std::make_shared<Member>();
  ASSERT_TRUE(there.instance()->add(member));
  auto producer = there.producer({.group = "checkout"});
  ASSERT_TRUE(producer->queues("orders", 3s));
  there.instance()->heartbeat_to_all();
  until_done({"consumerConnection", "-g", "billing"});
  text({"updateBrokerConfig", "-b", "broker-a", "-k", "useServerSideResetOffset", "-v", "false"});
  // Members are only told of queues the group has an offset in.
  ASSERT_TRUE(
      there.admin().update_offset(broker_->address(), "billing", {"orders", "broker-a", 0}, 1, 3s));
  ASSERT_TRUE(
      there.admin().update_offset(broker_->address(), "billing", {"orders", "broker-a", 1}, 0, 3s));
  const Ran ran = run({"resetOffsetByTime", "-g", "billing", "-t", "orders", "-s", "0", "--json"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(at(ran.json(), "online"), "true");
  EXPECT_EQ(member->told().size(), 2u) << "read in the form that Java's tool asks for";
}

TEST_F(AdminCommands, ShowNoZeroWhereABrokerIsSilent) {
  text({"updateSubGroup", "-g", "billing"});
  text({"updateTopic", "-t", "%RETRY%billing"});
  // Registered, and gone: the name server has not noticed yet.
  Client other = client();
  protocol::RegisterBrokerRequest header;
  header.broker_name = "broker-b";
  header.broker_address = "127.0.0.1:1";
  header.cluster_name = "DefaultCluster";
  protocol::RegisterBrokerBody body;
  body.topics.data_version.counter = 1;
  for (const std::string name : {"orders", "%RETRY%billing"})
    body.topics.topic_config_table[name].topic_name = name;
  const Buffer encoded = protocol::encode_body(body);
  ASSERT_TRUE(admin::Asking(*other.instance(), 5s)
                  .server(broker_->name_server(), protocol::request_code::kRegisterBroker, header,
                          as_bytes(encoded)));

  const Ran progress = run({"consumerProgress", "--json"});
  EXPECT_EQ(progress.code, 4);
  EXPECT_THAT(progress.err, HasSubstr("127.0.0.1:1"));
  EXPECT_EQ(at(progress.json(), "groups.group"), "billing");
  EXPECT_EQ(at(progress.json(), "groups.diffTotal"), "null");
  const Ran statistics = run({"statsAll", "-t", "orders", "--json"});
  EXPECT_EQ(statistics.code, 4);
  EXPECT_EQ(at(statistics.json(), "topics.inDay"), "null");
  const Ran topics = run({"topicList", "-c", "--json"});
  EXPECT_EQ(topics.code, 4);
  EXPECT_THAT(topics.out, HasSubstr("orders"));
  EXPECT_THAT(run({"consumerProgress"}).out, ContainsRegex("billing .* - +-"));
}

// ---- Messages

TEST_F(AdminCommands, FindAMessageEveryWay) {
  const SendReceipt sent = send("a body");
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"queryMsgById", "-i", sent.offset_message_id},
        {"queryMsgById", "-i", sent.message_id, "-t", "orders"},
        {"queryMsgByUniqueKey", "-i", sent.message_id, "-t", "orders"},
        {"queryMsgByOffset", "-t", "orders", "-b", "broker-a", "-i", "0", "-o", "0"}}) {
    EXPECT_THAT(text(words),
                AllOf(HasSubstr("a body"), HasSubstr("[o-17]"), HasSubstr("WARN: No Consumer")));
    const auto found = json(words);
    EXPECT_EQ(at(found, "messages.body"), "a body");
    EXPECT_EQ(at(found, "messages.messageId"), sent.message_id);
    EXPECT_EQ(at(found, "messages.properties.KEYS"), "o-17");
  }
  EXPECT_THAT(text({"queryMsgByKey", "-t", "orders", "-k", "o-17"}), HasSubstr(sent.message_id));
  EXPECT_EQ(at(json({"queryMsgByKey", "-t", "orders", "-k", "o-17"}), "messages.tags"), "paid");
  EXPECT_EQ(run({"queryMsgByKey", "-t", "orders", "-k", "none"}).code, 3);
  EXPECT_EQ(run({"queryMsgById", "-i", "none", "-t", "orders"}).code, 3);
  EXPECT_EQ(run({"queryMsgByOffset", "-t", "orders", "-b", "broker-a", "-i", "0", "-o", "9"}).code,
            3);
}

TEST_F(AdminCommands, SendAndShowMessages) {
  EXPECT_THAT(text({"sendMessage", "-t", "orders", "-p", "first", "-k", "a b", "-c", "paid"}),
              HasSubstr("SEND_OK"));
  const auto sent =
      json({"sendMessage", "-t", "orders", "-p", "second", "-b", "broker-a", "-i", "1"});
  EXPECT_EQ(at(sent, "sent.queueId"), "1");
  EXPECT_EQ(run({"sendMessage", "-t", "orders", "-p", "x", "-i", "1"}).code, 2);
  until_there_are(2);
  EXPECT_THAT(text({"consumeMessage", "-t", "orders"}),
              AllOf(HasSubstr("first"), HasSubstr("second")));
  const std::string one = text({"consumeMessage", "-t", "orders", "-b", "broker-a", "-i", "1", "-o",
                                at(sent, "sent.queueOffset")});
  EXPECT_THAT(one, HasSubstr("second"));
  EXPECT_EQ(run({"consumeMessage", "-t", "orders", "-i", "1"}).code, 2);
  EXPECT_EQ(run({"consumeMessage", "-t", "none"}).code, 3);

  const std::string id = at(sent, "sent.messageId");
  EXPECT_THAT(text({"queryMsgById", "-t", "orders", "-i", id, "-s", "true"}), HasSubstr("SEND_OK"));
  until_there_are(3);
}

TEST_F(AdminCommands, LetAMemberConsumeAMessage) {
  const SendReceipt sent = send("again");
  Client there = client();
  ASSERT_TRUE(there.instance()->add(std::make_shared<Member>()));
  auto producer = there.producer({.group = "checkout"});
  ASSERT_TRUE(producer->queues("orders", 3s));
  there.instance()->heartbeat_to_all();
  until_done({"consumerConnection", "-g", "billing"});
  EXPECT_THAT(text({"queryMsgByUniqueKey", "-t", "orders", "-i", sent.message_id, "-g", "billing",
                    "-d", there.id()}),
              AllOf(HasSubstr("CR_SUCCESS"), HasSubstr("again")));
  EXPECT_THAT(text({"queryMsgById", "-i", sent.offset_message_id}), HasSubstr("NOT_CONSUME_YET"));
}

TEST_F(AdminCommands, ShowWhatWasTraced) {
  text({"updateTopic", "-t", "trace", "-r", "1", "-w", "1"});
  Client from = client();
  auto producer = from.producer({.group = "tracer"});
  const std::string id = "0A0000010000000000000000000000AA";
  const std::string record =
      "Pub\x01"
      "1700000000000\x01region\x01"
      "checkout\x01orders\x01" +
      id +
      "\x01paid\x01o-17\x01"
      "10.0.0.1:10911\x01"
      "5\x01"
      "3\x01"
      "0\x01"
      "offsetid\x01true\x02"
      "SubAfter\x01req\x01" +
      id +
      "\x01"
      "7\x01true\x01o-17\x01"
      "0\x01"
      "1700000000100\x01"
      "billing\x02";
  ASSERT_TRUE(producer->send({.topic = "trace", .body = record, .keys = {id}}, 3s));
  until_done({"queryMsgTraceById", "-i", id, "-t", "trace"});
  EXPECT_THAT(text({"queryMsgTraceById", "-i", id, "-t", "trace"}),
              AllOf(ContainsRegex("Pub +checkout"), ContainsRegex("Sub +billing.*7ms +success")));
  EXPECT_EQ(at(json({"queryMsgTraceById", "-i", id, "-t", "trace"}), "events.costMs"), "3");
  EXPECT_EQ(run({"queryMsgTraceById", "-i", "none", "-t", "trace"}).code, 3);
}

// ---- Looks

TEST_F(AdminCommands, ColourOnlyATerminal) {
  const std::vector<std::string> words{"topicStatus", "-t", "orders", "-n", broker_->name_server()};
  EXPECT_THAT(run_words(words, false).out, Not(HasSubstr("\033")));
  EXPECT_THAT(run_words(words, true).out, HasSubstr("\033[1m#Broker Name"));
}

TEST_F(AdminCommands, NeverPassOnTerminalControlsOfStrangers) {
  send("\033]0;title\a and \x01");
  EXPECT_THAT(text({"consumeMessage", "-t", "orders"}),
              AllOf(Not(HasSubstr("\033")), HasSubstr("\\x1b]0;title\\x07")));
}

}  // namespace
}  // namespace apogee
