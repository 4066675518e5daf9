#include "client/instance.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "testing/sending_fixture.h"

/// What all producers and consumers of a client share, with a name server and a broker that do as
/// they are told.
namespace apogee::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class InstanceTest : public LoneClient {
 protected:
  InstanceTest() {
    name_server_.answer = [this](const Request& request) {
      const auto header = protocol::read_header<protocol::RouteRequest>(request.command);
      const std::string topic = header ? header->topic : "";
      topics_asked_.push_back(topic);
      if (header && header->zone_mode == "true")
        zones_asked_.insert(header->zone_name.value_or(""));
      if (topic == "orders" && !is_known_) return request.responder.reply(response::kTopicNotExist);
      protocol::TopicRouteData route;
      route.broker_datas.push_back(
          {.broker_addresses = {{0, kBroker}}, .broker_name = "a", .cluster = "c"});
      route.queue_datas.push_back({.broker_name = "a",
                                   .perm = topic == "orders" ? perm_ : 7,
                                   .read_queue_nums = 1,
                                   .write_queue_nums = 1});
      request.responder.reply(0, {}, protocol::NoFields{}, as_bytes(protocol::encode_body(route)));
    };
    broker_.answer = store;
  }
  ~InstanceTest() override {
    if (producer_) {
      // Inside a callback nobody waits for the broker's answers, which cannot come here.
      const CallbackScope scope{CallbackScope::Where::kOwnThread};
      producer_->shutdown();
    }
    network_.run();
    producer_.reset();
    end_client({"10.0.0.1", "10.0.0.2", "10.0.0.3"});
  }

  Result<SendReceipt> send(ProducerConfig config = {}) {
    if (!producer_) {
      if (!instance_) start_client({.name_servers = {kNamed}});
      config.group = "g";
      producer_ = *ProducerCore::start(instance_, {.producer = std::move(config)});
    }
    const auto sent = std::make_shared<std::optional<Result<SendReceipt>>>();
    producer_->send({.topic = "orders", .body = "x"}, {}, Mode::kAsync, 3s,
                    [sent](Result<SendReceipt> result) { *sent = std::move(result); });
    network_.run();
    return *sent ? **sent : Error{Errc::kTimeout, "not answered"};
  }

  static constexpr const char* kNamed = "10.0.0.1:9876";
  static constexpr const char* kBroker = "10.0.0.2:10911";
  Scripted name_server_{network_, "10.0.0.1", 9'876, clock_, *files_, workers_, random_, log_};
  Scripted broker_{network_, "10.0.0.2", 10'911, clock_, *files_, workers_, random_, log_};
  std::vector<std::string> topics_asked_;
  std::set<std::string> zones_asked_;
  bool is_known_ = true;
  std::int32_t perm_ = 6;
  std::shared_ptr<ProducerCore> producer_;
};

// ---- Routes

TEST_F(InstanceTest, AsksForTheRoutesOfItsZoneAlsoForTheOneOfATopicToBeMade) {
  is_known_ = false;
  start_client({.name_servers = {kNamed}, .zone = "north"});
  ASSERT_TRUE(send());
  EXPECT_THAT(topics_asked_, ElementsAre("orders", "TBW102"));
  EXPECT_THAT(zones_asked_, ElementsAre("north"));
}

TEST_F(InstanceTest, IsInTheZoneOfItsEnvironmentIfThatSaysSo) {
  ::setenv("ROCKETMQ_ZONE", "south", 1);
  start_client({.name_servers = {kNamed}});
  EXPECT_EQ(instance_->config().zone, "") << "without ROCKETMQ_ZONE_MODE it is a name and no more";
  end_client({"10.0.0.1", "10.0.0.2", "10.0.0.3"});
  ::setenv("ROCKETMQ_ZONE_MODE", "true", 1);
  start_client({.name_servers = {kNamed}});
  ::unsetenv("ROCKETMQ_ZONE");
  ::unsetenv("ROCKETMQ_ZONE_MODE");
  EXPECT_EQ(instance_->config().zone, "south");
}

TEST_F(InstanceTest, ATopicThatNobodyKnowsIsSentToAsTheDefaultTopicIs) {
  is_known_ = false;
  EXPECT_TRUE(send());
  EXPECT_THAT(topics_asked_, ElementsAre("orders", "TBW102"));
}

TEST_F(InstanceTest, ATopicThatMayNotBeWrittenIsNotSentTo) {
  perm_ = protocol::perm::kRead;
  const auto sent = send();
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().response_code, 10'005);
  EXPECT_EQ(broker_.sends(), 0);
  EXPECT_THAT(topics_asked_, ElementsAre("orders")) << "not to be made, either";
}

// ---- Answers

TEST_F(InstanceTest, AReceiptNeedsNeitherARegionNorATraceSwitch) {
  broker_.answer = [](const Request& request) {
    if (request.command.code != request::kSendMessageV2) return request.responder.reply(0);
    request.responder.reply(
        0, {}, protocol::SendMessageResponse{.message_id = "0A000002", .queue_offset = 7});
  };
  const auto sent = send();
  ASSERT_TRUE(sent);
  EXPECT_EQ(sent->offset_message_id, "0A000002");
  EXPECT_EQ(sent->queue_offset, 7);
  EXPECT_EQ(sent->region, "DefaultRegion");
}

// ---- GO_AWAY

TEST_F(InstanceTest, WhatABrokerSendsAwayGoesToItOnceMoreOverANewConnection) {
  std::vector<std::uint64_t> connections;
  broker_.answer = [&](const Request& request) {
    if (request.command.code != request::kSendMessageV2) return request.responder.reply(0);
    connections.push_back(request.responder.peer()->id());
    if (connections.size() == 1) return request.responder.reply(response::kGoAway, "going away");
    store(request);
  };
  EXPECT_TRUE(send({.retries_async = 0}));
  ASSERT_EQ(connections.size(), 2u);
  EXPECT_NE(connections[0], connections[1]);
  EXPECT_TRUE(send());
  EXPECT_EQ(connections[1], connections[2]) << "which is kept";
}

TEST_F(InstanceTest, GoingAwayLetsTheOtherCallsOfAConnectionEnd) {
  std::vector<remoting::Responder> open;
  broker_.answer = [&](const Request& request) {
    if (request.command.code != request::kSendMessageV2) return request.responder.reply(0);
    open.push_back(request.responder);
  };
  int stored = 0;
  (void)send();  // is answered later
  for (int i = 0; i < 2; ++i)
    producer_->send({.topic = "orders", .body = "x"}, {}, Mode::kAsync, 3s,
                    [&](const Result<SendReceipt>& sent) { stored += sent.has_value(); });
  network_.run();
  ASSERT_EQ(open.size(), 3u);
  open[1].reply(response::kGoAway, "going away");
  network_.run();
  ASSERT_EQ(open.size(), 4u) << "again";
  for (const std::size_t each : {0u, 2u, 3u})
    open[each].reply(0, {}, protocol::SendMessageResponse{.message_id = "0A000002"});
  network_.run();
  EXPECT_EQ(stored, 2);
}

TEST_F(InstanceTest, ASecondGoAwayIsTheEndOfAnAttempt) {
  broker_.answer = refuse(response::kGoAway);
  const auto sent = send({.retries_async = 0});
  ASSERT_FALSE(sent);
  EXPECT_THAT(sent.error().detail, HasSubstr("Receive GO_AWAY twice"));
  EXPECT_FALSE(sent.error().perhaps_done);
  EXPECT_EQ(broker_.sends(), 2);
}

TEST_F(InstanceTest, EveryOtherRequestIsSentOnceMoreToo) {
  start_client({.name_servers = {kNamed}});
  int asked = 0;
  broker_.answer = [&](const Request& request) {
    request.responder.reply(++asked == 1 ? response::kGoAway : 0);
  };
  std::vector<std::int32_t> answers;
  const auto ask = [&] {
    instance_->call(kBroker, request::kGetBrokerConfig, protocol::NoFields{}, {}, 3s,
                    [&](const Result<remoting::OwnedCommand>& answer) {
                      answers.push_back(answer ? answer->code : answer.error().response_code);
                    });
    network_.run();
  };
  ask();
  EXPECT_THAT(answers, ElementsAre(0));
  broker_.answer = [](const Request& request) { request.responder.reply(response::kGoAway); };
  ask();
  EXPECT_THAT(answers, ElementsAre(0, response::kGoAway)) << "twice";
}

// ---- Hooks

TEST_F(InstanceTest, GoesOnWhateverItsHooksThrow) {
  start_client({.name_servers = {kNamed},
                .before_request = [](const RpcEvent&) -> ExtFields { throw 17; },
                .after_response = [](const RpcEvent&) { throw std::runtime_error{"not today"}; }});
  EXPECT_TRUE(send());
  EXPECT_THAT(
      log_.lines(LogLevel::kWarn),
      ::testing::AllOf(
          ::testing::Contains(HasSubstr("before_request threw: code=310")),
          ::testing::Contains(HasSubstr("after_response threw: code=310 what=\"not today\""))));
}

// ---- Heartbeats

TEST_F(InstanceTest, ABrokerHearsWhoIsThereAsSoonAsThereIsANewConnection) {
  ASSERT_TRUE(send());
  network_.advance(1s);
  const int before = broker_.asked[request::kHeartBeat];
  network_.cut(kClient, "10.0.0.2");
  network_.run();
  ASSERT_TRUE(send());
  EXPECT_EQ(broker_.asked[request::kHeartBeat], before + 1) << "half a minute before the next";
  ASSERT_TRUE(send());
  EXPECT_EQ(broker_.asked[request::kHeartBeat], before + 1) << "once is enough";
}

TEST_F(InstanceTest, WhoLeavesSaysSoBehindTheLastHeartbeatsAnswer) {
  ASSERT_TRUE(send());
  std::vector<remoting::Responder> open;
  broker_.answer = [&](const Request& request) {
    if (request.command.code != request::kHeartBeat) return request.responder.reply(0);
    open.push_back(request.responder);
  };
  for (int i = 0; i < 40 && open.empty(); ++i) network_.advance(1s);
  ASSERT_EQ(open.size(), 1u);
  {
    const CallbackScope scope{CallbackScope::Where::kOwnThread};
    producer_->shutdown();
  }
  network_.run();
  EXPECT_EQ(broker_.asked[request::kUnregisterClient], 0);
  open.front().reply(0);
  network_.run();
  EXPECT_EQ(broker_.asked[request::kUnregisterClient], 1);
}

TEST_F(InstanceTest, AHeartbeatThatHasToConnectIsEnough) {
  ASSERT_TRUE(send());
  network_.advance(1s);
  const int before = broker_.asked[request::kHeartBeat];
  network_.cut(kClient, "10.0.0.2");
  network_.run();
  network_.advance(30s);
  EXPECT_EQ(broker_.asked[request::kHeartBeat], before + 1);
}

// ---- Name servers

TEST_F(InstanceTest, WithoutANameServerASendSaysSo) {
  start_client({});
  const auto sent = send();
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().response_code, 10'004);
}

TEST_F(InstanceTest, OtherNameServersAreAskedFromThenOnAndTheOldOnesLeft) {
  ASSERT_TRUE(send());
  Scripted other{network_, "10.0.0.3", 9'876, clock_, *files_, workers_, random_, log_};
  other.answer = [](const Request& request) { request.responder.reply(response::kTopicNotExist); };
  EXPECT_FALSE(instance_->use_name_servers({})) << "nobody";
  EXPECT_FALSE(instance_->use_name_servers({"no port"}));
  ASSERT_TRUE(instance_->use_name_servers({"10.0.0.3:9876"}));
  network_.run();
  topics_asked_.clear();
  network_.advance(30s);
  EXPECT_THAT(topics_asked_, IsEmpty());
  EXPECT_GT(other.asked[request::kGetRouteInfoByTopic], 0);
  network_.cut(kClient, "10.0.0.3");
  network_.run();
}

TEST(NameServerNames, OfAHostedInstanceAreItsNamespaceToo) {
  for (const char* each :
       {"http://MQ_INST_1234_abc.mq.example.com:80", "MQ_INST_1234_abc.mq.example.com:80"})
    EXPECT_EQ(instance_of_endpoint(each), "MQ_INST_1234_abc") << each;
  for (const char* each : {"", "10.0.0.1:9876", "MQ_INST_1234.mq.example.com:80",
                           "MQ_INST_1234_.mq.example.com:80", "MQ_INST_1-2_abc.example.com:80",
                           "MQ_INST_1234_abc:80", "http://x.MQ_INST_1234_abc.example.com:80"})
    EXPECT_EQ(instance_of_endpoint(each), "") << each;
}

TEST_F(InstanceTest, AnEndpointOfAHostedInstanceIsCutToItsAddress) {
  Instance& client = start_client({.name_servers = {"http://MQ_INST_1234_abc.mq.example.com:80"}});
  EXPECT_THAT(client.name_servers().all(), ElementsAre("MQ_INST_1234_abc.mq.example.com:80"));
  EXPECT_EQ(client.config().name_space, "MQ_INST_1234_abc");
}

}  // namespace
}  // namespace apogee::client
