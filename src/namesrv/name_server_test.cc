#include "namesrv/name_server.h"

#include <atomic>
#include <future>
#include <thread>

#include <gtest/gtest.h>

#include "remoting/client.h"
#include "testing/forgetful_disk.h"
#include "testing/manual_clock.h"

namespace apogee::namesrv {
namespace {

namespace code = protocol::response_code;
namespace request = protocol::request_code;
using namespace std::chrono_literals;

/// A name server on loopback with a disk in memory and a clock by hand, and a client of it.
class NameServerOnLoopback : public ::testing::Test {
 protected:
  NameServerOnLoopback() {
    config_.path = "/ns/namesrv.conf";
    config_.name_server.kv_config_path = "/ns/kvConfig.json";
    config_.server.listen_port = 0;
    config_.server.bind_address = "127.0.0.1";
    EXPECT_TRUE(disk_.files().create_directories("/ns"));
    EXPECT_TRUE(replace_file(disk_.files(), config_.path, "orderMessageEnable=false\n"));
  }
  void start() {
    server_.reset();
    auto started = NameServer::start(env_, config_);
    ASSERT_TRUE(started) << started.error().detail;
    server_ = *std::move(started);
    address_ = to_string(server_->local());
  }
  template <class Header>
  Result<remoting::OwnedCommand> ask(std::int32_t request_code, const Header& header,
                                     Buffer body = {}) {
    return client_->call_and_wait(address_, request_code, header, std::move(body), 5s);
  }
  std::int32_t code_of(const Result<remoting::OwnedCommand>& answer) {
    return answer ? answer->code : -1;
  }
  std::int32_t update(std::string text) {
    return code_of(
        ask(request::kUpdateNameServerConfig, protocol::NoFields{}, Buffer{std::move(text)}));
  }
  void register_broker(std::initializer_list<std::string> topics, std::int64_t counter = 1) {
    protocol::RegisterBrokerRequest header;
    header.broker_name = "broker-a";
    header.broker_address = "127.0.0.1:10911";
    header.cluster_name = "c";
    header.ha_server_address = "127.0.0.1:10912";
    protocol::RegisterBrokerBody body;
    body.topics.data_version.counter = counter;
    for (const std::string& name : topics) body.topics.topic_config_table[name].topic_name = name;
    ASSERT_EQ(code_of(ask(request::kRegisterBroker, header, protocol::encode_body(body))), 0);
  }
  /// The route as a client of this version gets it; empty: there is none.
  std::string route(const std::string& topic, std::int32_t version) {
    std::promise<std::string> text;
    client_->call_frame(
        address_,
        [&](Buffer& out, std::int32_t opaque) {
          protocol::encode_command(
              out, {.code = request::kGetRouteInfoByTopic, .opaque = opaque, .version = version},
              protocol::RouteRequest{.topic = topic}, {});
        },
        5s,
        [&](Result<remoting::OwnedCommand> answer) {
          text.set_value(answer && answer->code == 0 ? std::string{answer->body} : "");
        });
    return text.get_future().get();
  }
  std::string file(const std::string& path) {
    auto text = read_file(disk_.files(), path);
    return text ? std::string{*text} : "";
  }

  testing::ManualClock clock_;
  testing::ForgetfulDisk disk_;
  std::unique_ptr<Clock> real_clock_ = make_system_clock();
  std::unique_ptr<Transport> network_ = remoting::make_transport(1);
  std::unique_ptr<Executor> workers_ = make_thread_pool(1, "work");
  Random random_{1};
  std::unique_ptr<Logger> log_ = make_silent_logger();
  Env env_{clock_, disk_.files(), *network_, *workers_, random_, *log_};
  Env client_env_{*real_clock_, disk_.files(), *network_, *workers_, random_, *log_};
  Config config_;
  std::unique_ptr<NameServer> server_;
  std::string address_;
  std::unique_ptr<remoting::Client> client_ = remoting::make_client(client_env_, {});
};

TEST_F(NameServerOnLoopback, AnswersRoutesInTheJsonTheClientReads) {
  start();
  EXPECT_EQ(route("t", 0), "");
  register_broker({"t", "u"});
  for (int asked = 0; asked < 2; ++asked) {  // made, then from the cache
    EXPECT_NE(route("t", 401).find(R"({"0":"127.0.0.1:10911"})"), std::string::npos);
    EXPECT_NE(route("t", 400).find(R"({0:"127.0.0.1:10911"})"), std::string::npos);
  }
}

TEST_F(NameServerOnLoopback, ShowsAChangeInTheNextRoute) {
  start();
  register_broker({"t", "u"});
  EXPECT_NE(route("t", 0).find("\"perm\":6"), std::string::npos);
  ASSERT_EQ(code_of(ask(request::kWipeWritePermOfBroker, protocol::BrokerNameRequest{"broker-a"})),
            0);
  EXPECT_NE(route("t", 0).find("\"perm\":4"), std::string::npos);
  register_broker({"t", "u"}, 2);
  EXPECT_NE(route("t", 0).find("\"perm\":6"), std::string::npos);
}

/// Queries on one io thread meet the registration on another: a route made of a topic that was not
/// there when its version was read.
TEST_F(NameServerOnLoopback, ForgetsATopicThatCameWhileItWasAskedFor) {
  const auto network = remoting::make_transport(2);
  Env env{clock_, disk_.files(), *network, *workers_, random_, *log_};
  auto started = NameServer::start(env, config_);
  ASSERT_TRUE(started) << started.error().detail;
  address_ = to_string((*started)->local());
  const auto asking = remoting::make_client(client_env_, {});
  for (std::int64_t round = 1; round <= 100; ++round) {
    constexpr int kQueries = 50;
    std::atomic<int> left{kQueries};
    std::promise<void> answered;
    for (int i = 0; i < kQueries; ++i)
      asking->call(address_, request::kGetRouteInfoByTopic, protocol::RouteRequest{.topic = "t"},
                   {}, 5s, [&](const Result<remoting::OwnedCommand>&) {
                     if (--left == 0) answered.set_value();
                   });
    register_broker({"t", "u"}, round);
    answered.get_future().wait();
    ASSERT_NE(route("t", 0), "");
    ASSERT_EQ(code_of(ask(request::kUnregisterBroker,
                          protocol::BrokerIdentityRequest{.broker_name = "broker-a",
                                                          .broker_address = "127.0.0.1:10911",
                                                          .cluster_name = "c"})),
              0);
    ASSERT_EQ(route("t", 0), "") << "round " << round;
  }
}

TEST_F(NameServerOnLoopback, FinishesAWriteUnderWayBeforeItEnds) {
  const auto worker = make_thread_pool(1, "work");
  Env env{clock_, disk_.files(), *network_, *worker, random_, *log_};
  auto started = NameServer::start(env, config_);
  ASSERT_TRUE(started) << started.error().detail;
  address_ = to_string((*started)->local());
  std::promise<void> go_on;
  worker->post([gone_on = go_on.get_future().share()] { gone_on.wait(); });
  const protocol::KvRequest pair{.config_namespace = "n", .key = "k", .value = "v"};
  client_->call(address_, request::kPutKvConfig, pair, {}, 5s,
                [](const Result<remoting::OwnedCommand>&) {});
  // Answered on the io thread, behind the one that waits for the worker.
  ASSERT_EQ(code_of(ask(request::kGetKvConfig, pair)), code::kQueryNotFound);
  std::thread later{[&] {
    std::this_thread::sleep_for(20ms);
    go_on.set_value();
  }};
  started->reset();
  later.join();
  EXPECT_NE(file("/ns/kvConfig.json").find("\"k\":\"v\""), std::string::npos);
}

TEST_F(NameServerOnLoopback, WaitsForBrokersToComeBackIfAskedTo) {
  config_.name_server.need_wait_for_service = true;
  start();
  register_broker({"t", "u"});
  clock_.advance(44s);
  EXPECT_EQ(route("t", 0), "");
  clock_.advance(1s);
  EXPECT_NE(route("t", 0), "");
}

TEST_F(NameServerOnLoopback, KeepsKeysAndValuesOverARestart) {
  start();
  const protocol::KvRequest key{.config_namespace = "ORDER_TOPIC_CONFIG", .key = "t"};
  auto pair = key;
  pair.value = "broker-a:4";
  ASSERT_EQ(code_of(ask(request::kPutKvConfig, pair)), 0);
  start();
  auto found = ask(request::kGetKvConfig, key);
  ASSERT_EQ(code_of(found), 0);
  EXPECT_EQ(remoting::read_header<protocol::KvValueResponse>(*found)->value, "broker-a:4");
  ASSERT_EQ(code_of(ask(request::kDeleteKvConfig, key)), 0);
  start();
  EXPECT_EQ(code_of(ask(request::kGetKvConfig, key)), code::kQueryNotFound);
}

TEST_F(NameServerOnLoopback, ReadsKeysAndValuesFromTheBackupOfADamagedFile) {
  ASSERT_TRUE(replace_file(disk_.files(), "/ns/kvConfig.json.bak",
                           R"({"configTable":{"ORDER_TOPIC_CONFIG":{"t":"broker-a:4"}}})"));
  auto torn = disk_.files().open("/ns/kvConfig.json", FileSystem::Open::kCreate);
  ASSERT_TRUE(torn && (*torn)->write_at(0, as_bytes(std::string_view{R"({"configTable":{"OR)"})));
  start();
  auto found = ask(request::kGetKvConfig,
                   protocol::KvRequest{.config_namespace = "ORDER_TOPIC_CONFIG", .key = "t"});
  ASSERT_EQ(code_of(found), 0);
  EXPECT_EQ(remoting::read_header<protocol::KvValueResponse>(*found)->value, "broker-a:4");
}

TEST_F(NameServerOnLoopback, PutsTheOrderOfATopicIntoItsRouteIfAskedTo) {
  start();
  register_broker({"t", "u"});
  ASSERT_EQ(code_of(ask(
                request::kPutKvConfig,
                protocol::KvRequest{
                    .config_namespace = "ORDER_TOPIC_CONFIG", .key = "t", .value = "broker-a:4"})),
            0);
  EXPECT_EQ(route("t", 0).find("broker-a:4"), std::string::npos);
  ASSERT_EQ(update("orderMessageEnable=true"), 0);
  EXPECT_NE(route("t", 0).find(R"("orderTopicConf":"broker-a:4")"), std::string::npos);
}

TEST_F(NameServerOnLoopback, RewritesItsFileWithABackupWhenUpdated) {
  start();
  ASSERT_EQ(update("orderMessageEnable=true\nwaitSecondsForService=7\n"), 0);
  EXPECT_NE(file("/ns/namesrv.conf").find("waitSecondsForService=7"), std::string::npos);
  EXPECT_EQ(file("/ns/namesrv.conf.bak"), "orderMessageEnable=false\n");
}

TEST_F(NameServerOnLoopback, KeepsTheLinesOfItsFileThatMeanNothingToIt) {
  ASSERT_TRUE(replace_file(disk_.files(), config_.path, "somebodyElses=C:\\\\x\n"));
  start();
  ASSERT_EQ(update("waitSecondsForService=7\n"), 0);
  EXPECT_NE(file("/ns/namesrv.conf").find("somebodyElses=C:\\\\x\n"), std::string::npos);
}

/// CVE-2023-37582: an update chose the file that the next one was written to.
TEST_F(NameServerOnLoopback, LetsNoUpdateReachAPath) {
  start();
  for (const std::string key :
       {"configStorePath", "kvConfigPath", "rocketmqHome", "logDir", "configBlackList"}) {
    EXPECT_EQ(update(key + "=/ns/owned"), code::kNoPermission) << key;
    EXPECT_EQ(update("orderMessageEnable=true\n" + key + "=/ns/owned"), code::kNoPermission) << key;
  }
  EXPECT_EQ(update("config\\u0053torePath=/ns/owned"), code::kNoPermission);  // an S, escaped
  EXPECT_EQ(update("configStorePathName=/ns/owned"), code::kSystemError);
  EXPECT_EQ(update("waitSecondsForService=7\\nconfigStorePath=/ns/owned"), code::kSystemError);
  EXPECT_EQ(file("/ns/namesrv.conf"), "orderMessageEnable=false\n");  // nothing came through
  auto now = ask(request::kGetNameServerConfig, protocol::NoFields{});
  ASSERT_EQ(code_of(now), 0);
  EXPECT_NE(now->body.find("orderMessageEnable=false\n"), std::string::npos);
  EXPECT_EQ(now->body.find("owned"), std::string::npos);
}

}  // namespace
}  // namespace apogee::namesrv
