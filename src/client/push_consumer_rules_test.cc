#include <algorithm>
#include <atomic>
#include <future>
#include <set>

#include "client/push_consumer.h"
#include "protocol/assignment.h"
#include "protocol/codes.h"
#include "testing/consumer_fixture.h"

/// Rules with a number, and what brokers ask of a consumer.
namespace apogee {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;
namespace request = protocol::request_code;

class ConsumerRules : public ConsumerFixture {
 protected:
  void SetUp() override {
    ConsumerFixture::SetUp();
    ClientConfig config;
    config.name_servers = {broker_->name_server()};
    movable_.emplace(std::move(config));
  }
  /// The group gets "orders" by POP.
  void pop() {
    protocol::MessageRequestModeBody mode;
    mode.topic = "orders";
    mode.consumer_group = "billing";
    mode.mode = "POP";
    const auto set = ask_broker(request::kSetMessageRequestMode, protocol::NoFields{},
                                protocol::encode_body(mode));
    ASSERT_TRUE(set && set->code == 0);
  }
  std::optional<MovableClient> movable_;
};

/// Holds the program's function until it is let go.
struct Barrier {
  std::promise<void> opened;
  std::shared_future<void> open = opened.get_future().share();
  void wait() const { open.wait_for(30s); }
};

TEST_F(ConsumerRules, SendsBackWhatIsHeldLongerThanItsTime) {
  Barrier barrier;
  std::atomic<int> calls{0};
  PushConsumer c = consumer_of(**movable_, {.from = StartFrom::kFirst,
                                            .on_messages =
                                                [&](auto batch) {
                                                  received_.add(batch.front());
                                                  if (++calls == 1) barrier.wait();
                                                  return Consumed::kDone;
                                                },
                                            .consume_timeout = 1min});
  ASSERT_TRUE(eventually([&] { return c.queues().size() == 5; }));
  send_to(0, "held");
  ASSERT_TRUE(received_.wait_for(1));
  movable_->advance(50s);
  EXPECT_FALSE(received_.wait_for(2, 200ms));
  movable_->advance(12s);
  ASSERT_TRUE(eventually([&] {
    broker_->advance(1s);  // level 3: ten of them
    return received_.wait_for(2, 50ms);
  }));
  EXPECT_EQ(received_.all()[1].reconsume_times, 1);
  EXPECT_EQ(received_.all()[1].queue.topic, "%RETRY%billing");
  barrier.opened.set_value();
}

TEST_F(ConsumerRules, PullsNoFurtherAheadThanItsThreshold) {
  Barrier barrier;
  PushConsumer c = consumer({.from = StartFrom::kFirst,
                             .on_messages =
                                 [&](auto batch) {
                                   barrier.wait();
                                   received_.add(batch.front());
                                   return Consumed::kDone;
                                 },
                             .pull_batch_size = 8,
                             .pull_threshold_for_queue = 20});
  for (int i = 0; i < 100; ++i) send_to(0, std::to_string(i));
  ASSERT_TRUE(eventually([&] { return c.statistics().held > 20; }));
  EXPECT_FALSE(eventually([&] { return c.statistics().held > 28; }, 300ms))
      << "one pull beyond it at most";
  barrier.opened.set_value();
  EXPECT_TRUE(received_.wait_for(100));
}

TEST_F(ConsumerRules, PullsNoFurtherAheadThanItsSpan) {
  Barrier barrier;
  PushConsumer c = consumer({.from = StartFrom::kFirst,
                             .on_messages =
                                 [&](auto batch) {
                                   barrier.wait();
                                   received_.add(batch.front());
                                   return Consumed::kDone;
                                 },
                             .pull_batch_size = 4,
                             .consume_concurrently_max_span = 10});
  for (int i = 0; i < 60; ++i) send_to(0, std::to_string(i));
  ASSERT_TRUE(eventually([&] { return c.statistics().held == 12; }));
  EXPECT_FALSE(eventually([&] { return c.statistics().held > 12; }, 300ms));
  barrier.opened.set_value();
  EXPECT_TRUE(received_.wait_for(60));
}

TEST_F(ConsumerRules, DividesATopicsThresholdAmongItsQueues) {
  Barrier barrier;
  PushConsumer c = consumer({.from = StartFrom::kFirst,
                             .on_messages =
                                 [&](auto) {
                                   barrier.wait();
                                   return Consumed::kDone;
                                 },
                             .pull_batch_size = 1,
                             .pull_threshold_for_topic = 50});  // 5 queues: 10 each
  ASSERT_TRUE(eventually([&] { return c.queues().size() == 5; }));
  for (int i = 0; i < 40; ++i) send_to(0, std::to_string(i));
  ASSERT_TRUE(eventually([&] { return c.statistics().held > 9; }));
  EXPECT_FALSE(eventually([&] { return c.statistics().held > 11; }, 300ms));
  barrier.opened.set_value();
}

class ResetRules : public ConsumerRules,
                   public ::testing::WithParamInterface<protocol::Language> {};
INSTANTIATE_TEST_SUITE_P(AskedBy, ResetRules,
                         ::testing::Values(protocol::Language::kJava, protocol::Language::kCpp));

TEST_P(ResetRules, GoesOnWhereAnOperatorSaysTo) {
  for (int i = 0; i < 5; ++i) send_to(0, std::to_string(i));
  PushConsumer c =
      consumer_of(**movable_, {.from = StartFrom::kFirst, .on_messages = received_.keep()});
  ASSERT_TRUE(received_.wait_for(5));
  protocol::ResetOffsetRequest reset;
  reset.topic = "orders";
  reset.group = "billing";
  reset.timestamp = 0;  // the oldest there is
  reset.is_force = true;
  // Brokers write to consumers in the form of whom they take the asker for: Java's tools, or those
  // of the old C++ client.
  std::promise<Result<remoting::OwnedCommand>> answer;
  client_->instance()->call(
      broker_->address(), request::kInvokeBrokerToResetOffset, reset, {}, 5s,
      [&](Result<remoting::OwnedCommand> result) { answer.set_value(std::move(result)); },
      GetParam());
  const auto answered = answer.get_future().get();
  ASSERT_TRUE(answered) << answered.error().detail;
  ASSERT_EQ(answered->code, 0) << answered->remark;
  EXPECT_FALSE(received_.wait_for(6, 300ms)) << "not before ten seconds";
  ASSERT_TRUE(eventually([&] {
    movable_->advance(5s);
    return received_.wait_for(10, 100ms);
  }));
  EXPECT_THAT(received_.bodies(),
              UnorderedElementsAre("0", "1", "2", "3", "4", "0", "1", "2", "3", "4"));
}

TEST_F(ConsumerRules, TellsOperatorsHowItStands) {
  PushConsumer c = consumer({.from = StartFrom::kFirst, .on_messages = received_.keep()});
  send_bodies(8);
  ASSERT_TRUE(received_.wait_for(8));
  ASSERT_TRUE(eventually([&] { return c.statistics().consumed == 8; }));
  protocol::ConsumerRunningInfoRequest ask;
  ask.consumer_group = "billing";
  ask.client_id = client_->id();
  const auto answer = ask_broker(request::kGetConsumerRunningInfo, ask);
  ASSERT_TRUE(answer) << answer.error().detail;
  ASSERT_EQ(answer->code, 0) << answer->remark;
  const auto info = protocol::parse_json(answer->body);
  ASSERT_TRUE(info) << answer->body;
  EXPECT_EQ(info->find("mqTable")->members()->size(), 5u);
  EXPECT_EQ(*info->find("properties")->find("PROP_CONSUME_TYPE")->text(), "CONSUME_PASSIVELY");
  EXPECT_EQ(info->find("subscriptionSet")->array()->size(), 2u);
  EXPECT_TRUE(info->find("statusTable")->find("orders"));
  ask.consumer_group = "unknown";
  EXPECT_NE(ask_broker(request::kGetConsumerRunningInfo, ask)->code, 0);
}

TEST_F(ConsumerRules, TellsWhatItHasCommitted) {
  PushConsumer c = consumer({.from = StartFrom::kFirst, .on_messages = received_.keep()});
  for (int i = 0; i < 3; ++i) send_to(2, "x");
  ASSERT_TRUE(received_.wait_for(3));
  ASSERT_TRUE(eventually([&] { return c.statistics().held == 0; }));
  protocol::ConsumerStatusRequest ask;
  ask.topic = "orders";
  ask.group = "billing";
  const auto answer = ask_broker(request::kInvokeBrokerToGetConsumerStatus, ask);
  ASSERT_TRUE(answer) << answer.error().detail;
  ASSERT_EQ(answer->code, 0) << answer->remark;
  EXPECT_THAT(answer->body, HasSubstr("\"queueId\":2,\"topic\":\"orders\"}:3"));
}

TEST_F(ConsumerRules, ConsumesOneMessageWhenAskedTo) {
  std::atomic<bool> fail{false};
  PushConsumer c = consumer({.from = StartFrom::kFirst, .on_messages = [&](auto batch) {
                               received_.add(batch.front());
                               if (fail) throw std::runtime_error{"not now"};
                               return Consumed::kDone;
                             }});
  const auto sent = producer_->send({.topic = "orders", .body = "direct"}, 5s);
  ASSERT_TRUE(sent);
  ASSERT_TRUE(received_.wait_for(1));
  protocol::ConsumeMessageDirectlyRequest ask;
  ask.consumer_group = "billing";
  ask.client_id = client_->id();
  ask.message_id = sent->offset_message_id;
  ask.broker_name = "broker-a";
  ask.topic = "orders";
  auto answer = ask_broker(request::kConsumeMessageDirectly, ask);
  ASSERT_TRUE(answer) << answer.error().detail;
  EXPECT_THAT(answer->body, HasSubstr("\"consumeResult\":\"CR_SUCCESS\"")) << answer->remark;
  EXPECT_THAT(received_.bodies(), ElementsAre("direct", "direct"));
  fail = true;
  answer = ask_broker(request::kConsumeMessageDirectly, ask);
  ASSERT_TRUE(answer);
  EXPECT_THAT(answer->body, HasSubstr("\"consumeResult\":\"CR_THROW_EXCEPTION\""));
  EXPECT_THAT(answer->body, HasSubstr("not now"));
}

TEST_F(ConsumerRules, PassesAQueueOnInOrder) {
  // While one member's call runs, no other member gets messages of that queue.
  std::atomic<int> running{0}, most{0}, count{0};
  std::mutex mutex;
  std::vector<int> order;
  const auto function = [&](std::span<const ReceivedMessage> batch) {
    most = std::max(most.load(), ++running);
    std::this_thread::yield();  // time for another member, if it were one too early
    {
      std::lock_guard lock{mutex};
      order.push_back(std::stoi(batch.front().body));
    }
    --running;
    ++count;
    return ConsumedOrderly::kDone;
  };
  Client other = client();
  std::optional<PushConsumer> first =
      consumer({.from = StartFrom::kFirst, .on_messages_orderly = function});
  for (int i = 0; i < 300; ++i) send_to(0, std::to_string(i));
  ASSERT_TRUE(eventually([&] { return count > 50; }));
  PushConsumer second =
      consumer_of(other, {.from = StartFrom::kFirst, .on_messages_orderly = function});
  first.reset();
  ASSERT_TRUE(eventually([&] { return count >= 300; }, 30s));
  EXPECT_EQ(most, 1);
  std::lock_guard lock{mutex};
  EXPECT_TRUE(std::ranges::is_sorted(order)) << "what was committed did not come again";
}

TEST_F(ConsumerRules, GoesOnWithAQueueThatWentAndCameBackWhileACallRan) {
  Barrier barrier;
  std::atomic<int> rounds_alone{0};
  Allocation counted = average();
  counted.divide = [&, divide = counted.divide](const auto& group, const auto& me, const auto& all,
                                                const auto& members) {
    if (members.size() == 1) ++rounds_alone;
    return divide(group, me, all, members);
  };
  PushConsumer c = consumer({.from = StartFrom::kFirst,
                             .on_messages_orderly =
                                 [&](auto batch) {
                                   received_.add(batch.front());
                                   barrier.wait();
                                   return ConsumedOrderly::kDone;
                                 },
                             .allocation = counted});
  send_to(0, "held");
  send_to(3, "held");
  ASSERT_TRUE(received_.wait_for(2));  // one of the two will be given away
  {
    Client other = client();
    const PushConsumer second =
        consumer_of(other, {.from = StartFrom::kFirst,
                            .on_messages_orderly = [](auto) { return ConsumedOrderly::kSuspend; }});
    const auto role = client_->instance()->consumer("billing");
    const auto& core = dynamic_cast<client::PushConsumerCore&>(*role);
    ASSERT_TRUE(eventually([&] {
      return std::ranges::any_of(core.table().queues(),
                                 [](const auto& each) { return each.second->dropped.load(); });
    }));
  }
  rounds_alone = 0;
  ASSERT_TRUE(eventually([&] {
    c.resume();               // divides anew
    return rounds_alone > 4;  // of two topics: two rounds have ended
  }));
  barrier.opened.set_value();
  send_to(0, "next");
  send_to(3, "next");
  const auto next = [&] { return std::ranges::count(received_.bodies(), "next"); };
  EXPECT_TRUE(eventually([&] { return next() == 2; })) << next();
}

TEST_F(ConsumerRules,
       ALitePullConsumerDividesQueuesAgainOnceEveryTwentySecondsHoweverOftenItHadReasonTo) {
  std::atomic<int> rounds{0};
  Allocation counted = average();
  counted.divide = [&, divide = counted.divide](const auto&... given) {
    ++rounds;
    return divide(given...);
  };
  MovableClient movable{{.name_servers = {broker_->name_server()}}};
  LitePullConsumer consumer =
      *(*movable).lite_pull_consumer({.group = "replay", .allocation = counted});
  ASSERT_TRUE(consumer.subscribe("orders"));
  ASSERT_TRUE(eventually([&] { return !consumer.assignment().empty(); }));
  for (int i = 0; i < 5; ++i) {
    const int before = rounds;
    consumer.unsubscribe("nothing");  // a reason
    ASSERT_TRUE(eventually([&] { return rounds > before; }));
    movable.advance(3s);
  }
  const int before = rounds;
  for (int i = 0; i < 18; ++i) {
    movable.advance(1s);
    eventually([&] { return rounds > before + 1; }, 5ms);  // there is time for one too many
  }
  ASSERT_TRUE(eventually([&] { return rounds > before; }));
  EXPECT_EQ(rounds, before + 1);
}

TEST_F(ConsumerRules, LeavesTheDivisionToTheBroker) {
  PushConsumer c = consumer(
      {.from = StartFrom::kFirst, .on_messages = received_.keep(), .client_rebalance = false});
  send_bodies(20);
  ASSERT_TRUE(received_.wait_for(20));
}

TEST_F(ConsumerRules, PopsWhenTheBrokerSaysSo) {
  pop();
  std::atomic<bool> fail{true};
  PushConsumer c =
      consumer_of(**movable_, {.from = StartFrom::kFirst,
                               .on_messages =
                                   [&](auto batch) {
                                     received_.add(batch.front());
                                     if (batch.front().body == "again" && fail.exchange(false))
                                       return Consumed::kRetryLater;
                                     return Consumed::kDone;
                                   },
                               .client_rebalance = false});
  send({.body = "once"});
  send({.body = "again"});
  ASSERT_TRUE(received_.wait_for(2));
  EXPECT_TRUE(received_.all().front().property("POP_CK"));
  // A pop is refused once it is older than its poll time: both clocks are moved.
  const auto advance = [&] {
    movable_->advance(1s);
    broker_->advance(1s);
  };
  ASSERT_TRUE(eventually([&] {
    advance();
    return received_.wait_for(3, 100ms);
  })) << "ten seconds and the reviver's interval";
  const auto last = received_.all()[2];
  EXPECT_EQ(last.body, "again");
  EXPECT_EQ(last.topic, "orders");
  EXPECT_EQ(last.reconsume_times, 1);
  for (int second = 0; second < 65; ++second) {
    advance();
    EXPECT_FALSE(received_.wait_for(4, 10ms)) << "the rest is acked";
  }
}

TEST_F(ConsumerRules, TellsOfQueuesItPopsFrom) {
  pop();
  std::atomic<std::size_t> mine{0};
  PushConsumer c =
      consumer({.from = StartFrom::kFirst,
                .on_messages = received_.keep(),
                .client_rebalance = false,
                .queues_changed = [&](const std::string& topic, std::span<const MessageQueue>,
                                      std::span<const MessageQueue> now) {
                  if (topic == "orders") mine = now.size();
                }});
  EXPECT_TRUE(eventually([&] { return mine > 0; }));
}

TEST_F(ConsumerRules, TellsOperatorsHowItsPopsStand) {
  pop();
  Barrier barrier;
  const auto hold = [&](auto batch) {
    received_.add(batch.front());
    barrier.wait();
    return Consumed::kDone;
  };
  const PushConsumer c =
      consumer({.from = StartFrom::kFirst, .on_messages = hold, .client_rebalance = false});
  send({.body = "not acked yet"});
  ASSERT_TRUE(received_.wait_for(1));
  protocol::ConsumerRunningInfoRequest ask;
  ask.consumer_group = "billing";
  ask.client_id = client_->id();
  const auto answer = ask_broker(request::kGetConsumerRunningInfo, ask);
  barrier.opened.set_value();
  ASSERT_TRUE(answer) << answer.error().detail;
  const auto info = protocol::parse_json(answer->body);
  ASSERT_TRUE(info) << answer->body;
  std::map<protocol::MessageQueue, protocol::PopProcessQueueInfo> table;
  ASSERT_TRUE(protocol::from_json(*info->find("mqPopTable"), table)) << answer->body;
  ASSERT_EQ(std::ranges::count_if(table,
                                  [](const auto& each) { return each.second.wait_ack_count == 1; }),
            1)
      << answer->body;
  for (const auto& [queue, state] : table) {
    EXPECT_FALSE(state.dropped);
    EXPECT_GT(state.last_pop_timestamp, 0);
    EXPECT_EQ(queue.broker_name, "broker-a");
  }
}

TEST_F(ConsumerRules, GoesOnPoppingWhenTheBrokerHangsForSomeQuestions) {
  pop();
  std::atomic<int> unanswered{0};
  ClientConfig config;
  config.api_timeout = 300ms;
  config.after_response = [&](const RpcEvent& event) {
    if (event.code == request::kQueryAssignment && !event.response) ++unanswered;
  };
  Client hasty = client(config);
  PushConsumer c = consumer_of(
      hasty,
      {.from = StartFrom::kFirst, .on_messages = received_.keep(), .client_rebalance = false});
  send({.body = "first"});
  ASSERT_TRUE(received_.wait_for(1));
  broker_->freeze(true);
  ASSERT_TRUE(eventually([&] {
    c.resume();  // divides anew
    return unanswered >= 5;
  }));
  broker_->freeze(false);
  ASSERT_TRUE(eventually([&] {
    c.resume();
    return !c.queues().empty();
  }));
  eventually([] { return false; }, 1s);  // for queues that are pulled from to begin
  for (int i = 0; i < 20; ++i) send({.body = std::to_string(i)});
  ASSERT_TRUE(received_.wait_for(21));
  EXPECT_FALSE(received_.wait_for(22, 1s)) << "twice";
}

TEST_F(ConsumerRules, HidesNothingAnewThatIsVisibleAgain) {
  pop();
  std::atomic<int> acked{0}, hidden{0}, calls{0};
  ClientConfig config;
  config.name_servers = {broker_->name_server()};
  config.after_response = [&](const RpcEvent& event) {
    if (event.code == request::kAckMessage) ++acked;
    if (event.code == request::kChangeMessageInvisibleTime) ++hidden;
  };
  MovableClient movable{std::move(config)};
  const auto advance = [&](std::chrono::seconds by) {
    movable.advance(by);
    broker_->advance(by);
  };
  const auto consume = [&](auto batch) {
    received_.add(batch.front());
    const int call = ++calls;
    if (call == 1) advance(50s);
    if (call != 2) return Consumed::kDone;
    eventually([&] { return acked > 0; });
    advance(15s);
    return Consumed::kRetryLater;
  };
  send_to(0, "first");
  send_to(0, "second");
  PullConsumer puller = *client_->pull_consumer({.group = "audit"});
  ASSERT_TRUE(eventually([&] {  // so that one pop takes both
    const auto end = puller.max_offset({"orders", "broker-a", 0});
    return end && *end == 2;
  }));
  PushConsumer c = consumer_of(*movable, {.from = StartFrom::kFirst,
                                          .on_messages = consume,
                                          .client_rebalance = false,
                                          .consume_thread_min = 1,
                                          .consume_thread_max = 1});
  ASSERT_TRUE(received_.wait_for(2));
  for (int second = 0; second < 150; ++second) {
    advance(1s);
    received_.wait_for(4, 10ms);
  }
  EXPECT_THAT(received_.bodies(), ElementsAre("first", "second", "second"));
  EXPECT_EQ(hidden, 0);
}

TEST_F(ConsumerRules, WritesTraces) {
  ASSERT_TRUE(broker_->create_topic({"traces", 1}));
  Received traces;
  PushConsumer reader = consumer({.group = "auditor",
                                  .subscriptions = {{"traces", all()}},
                                  .from = StartFrom::kFirst,
                                  .on_messages = traces.keep()});
  PushConsumer c = consumer_of(**movable_, {.from = StartFrom::kFirst,
                                            .on_messages = received_.keep(),
                                            .trace = true,
                                            .trace_topic = "traces"});
  send({.body = "traced", .keys = {"o-17"}});
  ASSERT_TRUE(received_.wait_for(1));
  ASSERT_TRUE(eventually([&] {
    movable_->advance(5s);
    return traces.wait_for(1, 200ms);
  }));
  EXPECT_THAT(traces.bodies().front(), HasSubstr("SubBefore"));
  EXPECT_THAT(traces.bodies().front(), HasSubstr(received_.all().front().message_id));
}

TEST_F(ConsumerRules, WearsItsNamespace) {
  Client spaced = client({.name_space = "MQ_INST_1"});
  auto sender = spaced.producer({.group = "checkout"});
  ASSERT_TRUE(sender);
  ASSERT_TRUE(sender->send({.topic = "orders", .body = "inside"}, 5s));
  std::vector<MessageQueue> mine;
  std::mutex mutex;
  PushConsumer c = consumer_of(
      spaced, {.from = StartFrom::kFirst,
               .on_messages = received_.keep(),
               .queues_changed = [&](const std::string& topic, std::span<const MessageQueue>,
                                     std::span<const MessageQueue> queues) {
                 std::lock_guard lock{mutex};
                 if (topic == "orders") mine.assign(queues.begin(), queues.end());
               }});
  ASSERT_TRUE(received_.wait_for(1));
  EXPECT_EQ(received_.all().front().topic, "orders");
  std::lock_guard lock{mutex};
  ASSERT_FALSE(mine.empty());
  EXPECT_EQ(mine.front().topic, "orders");
}

TEST(PopConsumption, HidesAFailedMessageLongerEachTime) {
  using client::hidden_after_failure;
  EXPECT_EQ(hidden_after_failure(0, 0), 10s);
  EXPECT_EQ(hidden_after_failure(3, 0), 120s);
  EXPECT_EQ(hidden_after_failure(99, 0), 7'200s);
  EXPECT_EQ(hidden_after_failure(3, 1), 30s) << "the level asked for";
  EXPECT_EQ(hidden_after_failure(3, -1), 10s) << "no level is below the first";
  using client::hidden_when_exhausted;
  EXPECT_EQ(hidden_when_exhausted(5s), 10s);
  EXPECT_EQ(hidden_when_exhausted(3h), 7'200s);
  EXPECT_EQ(hidden_when_exhausted(5h), 0s);
}

}  // namespace
}  // namespace apogee
