#include "broker/clients.h"

#include "broker/broker_fixture.h"

namespace apogee::broker {
namespace {

namespace request_code = protocol::request_code;
using protocol::NoFields;
using testing::FakePeer;

class Clients : public BrokerFixture {
 protected:
  FakePeer::Sent heartbeat(const std::shared_ptr<FakePeer>& peer, std::string_view json) {
    return ask(peer, request_code::kHeartBeat, NoFields{}, as_bytes(json));
  }
  std::vector<FakePeer::Sent> notices(const std::shared_ptr<FakePeer>& peer) {
    loop_.run();
    return taken(peer, request_code::kNotifyConsumerIdsChanged);
  }
  std::shared_ptr<FakePeer> a_ = connect(), b_ = connect();
};

constexpr std::string_view kJavaHeartbeat =
    R"({"clientID":"10.0.0.9@1#2","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_FIRST_OFFSET",)"
    R"("consumeType":"CONSUME_PASSIVELY","groupName":"g","messageModel":"CLUSTERING",)"
    R"("subscriptionDataSet":[{"classFilterMode":false,"codeSet":[2598919],"expressionType":"TAG",)"
    R"("subString":"TagA","subVersion":1700000000000,"tagsSet":["TagA"],"topic":"t"}],"unitMode":false}],)"
    R"("heartbeatFingerprint":0,"producerDataSet":[{"groupName":"p"}],"withoutSub":false})";

TEST_F(Clients, AreKnownFromTheirHeartbeats) {
  const auto answer = heartbeat(a_, kJavaHeartbeat);
  EXPECT_EQ(answer.code, 0);
  EXPECT_EQ(answer.field("IS_SUPPORT_HEART_BEAT_V2"), "true");
  EXPECT_EQ(answer.field("IS_SUB_CHANGE"), "true");
  EXPECT_EQ(consumers_.client_ids("g"), std::vector<std::string>{"10.0.0.9@1#2"});
  EXPECT_EQ(consumers_.subscription("g", "t")->data.sub_string, "TagA");
  EXPECT_TRUE(producers_.online("p"));
  EXPECT_EQ(producers_.find_client("10.0.0.9@1#2"), a_);
}

TEST_F(Clients, CreateTheirGroupAndItsRetryTopic) {
  heartbeat(a_, kJavaHeartbeat);
  EXPECT_TRUE(groups_.contains("g"));
  const TopicPtr retry = topics_.find("%RETRY%g");
  ASSERT_TRUE(retry);
  EXPECT_EQ(retry->read_queue_nums, 1);
  EXPECT_EQ(retry->perm, 6);
}

TEST_F(Clients, OfTheOldCppLibraryWriteEnumsAsNumbers) {
  heartbeat(a_,
            R"({"clientID":"c","consumerDataSet":[{"consumeFromWhere":4,"consumeType":1,)"
            R"("groupName":"g","messageModel":0,"subscriptionDataSet":[]}],"producerDataSet":[]})");
  const auto group = consumers_.snapshot("g");
  ASSERT_TRUE(group);
  EXPECT_EQ(group->mode.model, protocol::MessageModel::kBroadcasting);
  EXPECT_EQ(group->mode.from_where, protocol::ConsumeFromWhere::kFirstOffset);
}

TEST_F(Clients, MayWriteTheNamesOfMembersInAnotherCase) {
  heartbeat(a_,
            R"({"ClientID":"c","ConsumerDataSet":[{"ConsumeFromWhere":"CONSUME_FROM_FIRST_OFFSET",)"
            R"("ConsumeType":"CONSUME_ACTIVELY","GroupName":"g","MessageModel":"CLUSTERING",)"
            R"("SubscriptionDataSet":[{"ExpressionType":"TAG","SubString":"*","SubVersion":7,)"
            R"("Topic":"t"}]}],"ProducerDataSet":[{"GroupName":"p"}]})");
  EXPECT_EQ(consumers_.client_ids("g"), std::vector<std::string>{"c"});
  EXPECT_TRUE(consumers_.subscription("g", "t"));
  EXPECT_EQ(producers_.find_client("c"), a_);
}

TEST_F(Clients, AreRefusedWithGarbage) {
  EXPECT_EQ(heartbeat(a_, "{not json").code, 1);
  EXPECT_EQ(heartbeat(a_, "").code, 1);
}

TEST_F(Clients, AreToldOfEachOther) {
  join(a_);
  EXPECT_EQ(notices(a_).size(), 1u);
  join(b_);
  const auto told = notices(a_);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told.front().field("consumerGroup"), "g");
  EXPECT_EQ(told.front().flag & protocol::kOnewayFlag, protocol::kOnewayFlag);
  EXPECT_EQ(notices(b_).size(), 1u);
  disconnect(b_);
  EXPECT_EQ(notices(a_).size(), 1u);
}

TEST_F(Clients, HaveTheirAnswerBeforeTheyAreTold) {
  const std::int32_t opaque =
      send(a_, request_code::kHeartBeat, NoFields{}, as_bytes(kJavaHeartbeat));
  loop_.run();
  ASSERT_EQ(a_->sent.size(), 2u);
  EXPECT_EQ(a_->sent.front().opaque, opaque);
  EXPECT_EQ(a_->sent.back().code, request_code::kNotifyConsumerIdsChanged);
}

TEST_F(Clients, AreNotToldWhereThatIsSwitchedOff) {
  configure([](BrokerConfig& config) { config.notify_consumer_ids_changed = false; });
  join(a_);
  join(b_);
  EXPECT_TRUE(notices(a_).empty());
}

TEST_F(Clients, SayGoodbye) {
  heartbeat(a_, kJavaHeartbeat);
  const auto answer =
      ask(a_, request_code::kUnregisterClient,
          protocol::UnregisterClientRequest{
              .client_id = "10.0.0.9@1#2", .producer_group = "p", .consumer_group = "g"});
  EXPECT_EQ(answer.code, 0);
  EXPECT_FALSE(consumers_.online("g"));
  EXPECT_FALSE(producers_.online("p"));
}

TEST_F(Clients, AreClosedAfterTwoMinutesOfSilence) {
  heartbeat(a_, kJavaHeartbeat);
  disk_.clock.advance(119s);
  drop_silent_clients(context_);
  EXPECT_TRUE(a_->connected());
  disk_.clock.advance(2s);
  drop_silent_clients(context_);
  EXPECT_FALSE(a_->connected());
  EXPECT_FALSE(consumers_.online("g"));
}

TEST_F(Clients, AreListedByGroup) {
  const protocol::ConsumerGroupRequest of_group{"g"};
  auto nobody = ask(a_, request_code::kGetConsumerListByGroup, of_group);
  EXPECT_EQ(nobody.code, 1);
  EXPECT_EQ(nobody.remark, "no consumer for this group, g");
  EXPECT_EQ(ask(a_, request_code::kGetConsumerConnectionList, of_group).code, 206);
  join(a_);
  join(b_);
  EXPECT_EQ(ask(a_, request_code::kGetConsumerListByGroup, of_group).body,
            R"({"consumerIdList":["client-1","client-2"]})");
  const auto connections = protocol::decode_body<protocol::ConsumerConnection>(
      ask(a_, request_code::kGetConsumerConnectionList, of_group).body);
  ASSERT_TRUE(connections);
  EXPECT_EQ(connections->connection_set.size(), 2u);
  EXPECT_EQ(connections->connection_set.begin()->language, "JAVA");
  EXPECT_EQ(connections->subscription_table.at("t").sub_string, "*");
}

TEST_F(Clients, ThatProduceAreListed) {
  EXPECT_EQ(
      ask(a_, request_code::kGetProducerConnectionList, protocol::ProducerGroupRequest{"p"}).code,
      1);
  heartbeat(a_, kJavaHeartbeat);
  const auto connections = protocol::decode_body<protocol::ProducerConnection>(
      ask(a_, request_code::kGetProducerConnectionList, protocol::ProducerGroupRequest{"p"}).body);
  ASSERT_TRUE(connections);
  EXPECT_EQ(connections->connection_set.begin()->client_address, a_->remote_text());
  const auto all = protocol::decode_body<protocol::ProducerTable>(
      ask(a_, request_code::kGetAllProducerInfo).body);
  ASSERT_TRUE(all);
  EXPECT_EQ(all->data.at("p").front().client_id, "10.0.0.9@1#2");
}

TEST_F(Clients, AskWhetherTheirExpressionWillDo) {
  const auto check = [&](const char* type, const char* expression) {
    protocol::CheckClientBody body{.client_id = "c", .group = "g", .subscription_data = {}};
    body.subscription_data.expression_type = type;
    body.subscription_data.sub_string = expression;
    body.subscription_data.topic = "t";
    return ask(a_, request_code::kCheckClientConfig, NoFields{}, as_bytes(encode_body(body))).code;
  };
  EXPECT_EQ(check("TAG", "A"), 0);
  EXPECT_EQ(check("SQL92", "a > 1"), 1) << "not switched on";
  configure([](BrokerConfig& config) { config.property_filter = true; });
  EXPECT_EQ(check("SQL92", "a > 1"), 0);
  EXPECT_EQ(check("SQL92", "a >"), 23);
}

TEST_F(Clients, LockQueuesAgainstEachOther) {
  const auto lock = [&](std::int32_t code, const char* client, std::set<std::int32_t> queues) {
    protocol::LockBatchBody body{
        .client_id = client, .consumer_group = "g", .mq_set = {}, .only_this_broker = false};
    for (const std::int32_t queue : queues) body.mq_set.insert({"broker-a", queue, "t"});
    const auto answer = ask(a_, code, NoFields{}, as_bytes(encode_body(body)));
    EXPECT_EQ(answer.code, 0);
    std::set<std::int32_t> locked;
    if (!answer.body.empty()) {
      const auto decoded = protocol::decode_body<protocol::LockBatchAnswer>(answer.body);
      for (const auto& each : decoded->lock_ok_mq_set) locked.insert(each.queue_id);
    }
    return locked;
  };
  using Queues = std::set<std::int32_t>;
  EXPECT_EQ(lock(41, "a", {0, 1}), (Queues{0, 1}));
  EXPECT_EQ(lock(41, "b", {1, 2}), Queues{2});
  lock(42, "a", {1});
  EXPECT_EQ(lock(41, "b", {0, 1, 2}), (Queues{1, 2}));
  EXPECT_TRUE(queue_locks_.any_held("g"));
}

// ---- Calls to consumers ------------------------------------------------------------------------

TEST_F(Clients, AnswerOperatorsThroughTheBroker) {
  join(a_);
  const protocol::ConsumerRunningInfoRequest question{
      .consumer_group = "g", .client_id = "client-1", .jstack_enable = true};
  const auto opaque = send(b_, request_code::kGetConsumerRunningInfo, question);
  ASSERT_EQ(a_->calls.size(), 1u);
  EXPECT_EQ(a_->calls[0].request.field("jstackEnable"), "true");
  EXPECT_EQ(a_->calls[0].timeout, 10s);
  Buffer bytes;
  protocol::encode_command(bytes, {.code = 0, .flag = protocol::kResponseFlag}, NoFields{},
                           as_bytes("{\"properties\":{}}"));
  const auto frame = protocol::decode_frame(as_bytes(bytes));
  protocol::CommandDecoder decoder;
  a_->calls[0].done(remoting::OwnedCommand{*decoder.decode(**frame)});
  const auto answer = answer_to(b_, opaque);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->code, 0);
  EXPECT_EQ(answer->body, "{\"properties\":{}}");
}

TEST_F(Clients, ThatDoNotAnswerInTimeAreReported) {
  join(a_);
  const protocol::ConsumerRunningInfoRequest question{
      .consumer_group = "g", .client_id = "client-1", .jstack_enable = {}};
  const auto opaque = send(b_, request_code::kGetConsumerRunningInfo, question);
  ASSERT_EQ(a_->calls.size(), 1u);
  a_->calls[0].done(Error{Errc::kTimeout, "no answer in 10 s"});
  EXPECT_EQ(answer_to(b_, opaque)->code, 207);
  EXPECT_EQ(ask(b_, request_code::kGetConsumerRunningInfo,
                protocol::ConsumerRunningInfoRequest{
                    .consumer_group = "g", .client_id = "nobody", .jstack_enable = {}})
                .code,
            1);
}

TEST_F(Clients, ConsumeOneMessageOnRequest) {
  join(a_);
  store_.put({.body = "first"});
  store_.put({.body = "this one"});
  const auto record = store_.record_at("t", 0, 1);
  const auto stored = protocol::decode_message(record.bytes);
  ASSERT_TRUE(stored);
  const std::string id =
      protocol::offset_message_id(stored->store_host, stored->store_port, stored->physical_offset);
  send(b_, request_code::kConsumeMessageDirectly,
       protocol::ConsumeMessageDirectlyRequest{.consumer_group = "g",
                                               .client_id = "client-1",
                                               .message_id = id,
                                               .broker_name = {},
                                               .topic = "t",
                                               .topic_sys_flag = {},
                                               .group_sys_flag = {}});
  ASSERT_EQ(a_->calls.size(), 1u);
  EXPECT_EQ(a_->calls[0].request.field("brokerName"), "broker-a");
  EXPECT_EQ(a_->calls[0].request.field("topicSysFlag"), "0");
  EXPECT_EQ(as_text(protocol::decode_message(as_bytes(a_->calls[0].request.body))->body),
            "this one");
}

TEST_F(Clients, TellWhereTheyStandAllTogether) {
  join(a_);
  join(b_);
  const auto opaque =
      send(connect(), request_code::kInvokeBrokerToGetConsumerStatus,
           protocol::ConsumerStatusRequest{.topic = "t", .group = "g", .client_address = {}});
  (void)opaque;
  ASSERT_EQ(a_->calls.size(), 1u);
  ASSERT_EQ(b_->calls.size(), 1u);
  EXPECT_EQ(a_->calls[0].request.code, request_code::kGetConsumerStatusFromClient);
  b_->calls[0].done(Error{Errc::kTimeout, {}});
  a_->calls[0].done(Error{Errc::kDisconnected, {}});
}

}  // namespace
}  // namespace apogee::broker
