#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <set>

#include "apogee/admin.h"
#include "testing/consumer_fixture.h"

namespace apogee {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

using Consuming = ConsumerFixture;

TEST_F(Consuming, GetsEachMessageOnce) {
  send_bodies(100);
  PushConsumer c = consumer({.from = StartFrom::kFirst, .on_messages = received_.keep()});
  ASSERT_TRUE(received_.wait_for(100));
  send_bodies(100);
  ASSERT_TRUE(received_.wait_for(200));
  std::map<std::string, int> times;
  for (const auto& body : received_.bodies()) ++times[body];
  EXPECT_EQ(times.size(), 100u);
  for (const auto& [body, count] : times) EXPECT_EQ(count, 2) << body;
  const auto message = received_.all().front();
  EXPECT_EQ(message.topic, "orders");
  EXPECT_EQ(message.queue.broker, "broker-a");
  EXPECT_TRUE(message.property("MAX_OFFSET"));
  EXPECT_TRUE(eventually([&] { return c.queues().size() == 5; }))
      << "four of the topic, one of the retry topic";
  EXPECT_TRUE(eventually([&] { return c.statistics().consumed == 200; }));
  EXPECT_EQ(c.statistics().held, 0u);
}

TEST_F(Consuming, GoesOnWhereItStopped) {
  send_bodies(20);
  consumer({.from = StartFrom::kFirst, .on_messages = received_.keep()});  // gone at once
  {
    PushConsumer c = consumer({.from = StartFrom::kFirst, .on_messages = received_.keep()});
    ASSERT_TRUE(received_.wait_for(20));
    ASSERT_TRUE(eventually([&] { return c.statistics().consumed == 20; }));
  }
  Received later;
  PushConsumer c = consumer({.from = StartFrom::kFirst, .on_messages = later.keep()});
  send({.body = "new"});
  ASSERT_TRUE(later.wait_for(1));
  EXPECT_THAT(later.bodies(), ElementsAre("new"));
}

TEST_F(Consuming, ChoosesByTag) {
  PushConsumer c = consumer({.subscriptions = {{"orders", tags("paid || refunded")}},
                             .from = StartFrom::kFirst,
                             .on_messages = received_.keep()});
  // AaAa and BBBB have the same hash: the broker lets both through, the client does not.
  for (const char* tag : {"paid", "sent", "refunded", "paid"}) send({.body = tag, .tag = tag});
  ASSERT_TRUE(received_.wait_for(3));
  EXPECT_THAT(received_.bodies(), UnorderedElementsAre("paid", "refunded", "paid"));
}

TEST_F(Consuming, TellsTagsOfEqualHashApart) {
  PushConsumer c = consumer({.subscriptions = {{"orders", tags("AaAa")}},
                             .from = StartFrom::kFirst,
                             .on_messages = received_.keep()});
  for (const char* tag : {"BBBB", "AaAa", "BBBB", "AaAa"}) send({.body = tag, .tag = tag});
  ASSERT_TRUE(received_.wait_for(2));
  EXPECT_THAT(received_.bodies(), ElementsAre("AaAa", "AaAa"));
}

TEST_F(Consuming, ChoosesByProperties) {
  PushConsumer c = consumer({.subscriptions = {{"orders", sql("amount > 100")}},
                             .from = StartFrom::kFirst,
                             .on_messages = received_.keep()});
  for (const char* amount : {"50", "150", "100", "200"})
    send({.body = amount, .properties = {{"amount", amount}}});
  ASSERT_TRUE(received_.wait_for(2));
  EXPECT_THAT(received_.bodies(), UnorderedElementsAre("150", "200"));
}

TEST_F(Consuming, RefusesAFilterTheBrokerCanNotRead) {
  const auto made = client_->push_consumer({.group = "billing",
                                            .subscriptions = {{"orders", sql("amount > > 1")}},
                                            .on_messages = received_.keep()});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Errc::kInvalidArgument);
  EXPECT_NE(made.error().response_code, 0);
  EXPECT_TRUE(client_->push_consumer({.group = "billing", .on_messages = received_.keep()}))
      << "the failed one is gone";
}

TEST_F(Consuming, ComesAgainAfterAFailure) {
  std::atomic<int> calls{0};
  PushConsumer c = consumer(
      {.from = StartFrom::kFirst,
       .on_messages = [&](std::span<const ReceivedMessage> batch, ConsumeContext& context) {
         for (const auto& each : batch) received_.add(each);
         context.delay_level = 1;
         return ++calls < 3 ? Consumed::kRetryLater : Consumed::kDone;
       }});
  send({.body = "again", .keys = {"k"}});
  ASSERT_TRUE(received_.wait_for(1));
  for (std::size_t times = 2; times <= 3; ++times)
    ASSERT_TRUE(eventually([&] {
      broker_->advance(1s);
      return received_.wait_for(times, 50ms);
    }));
  const auto all = received_.all();
  EXPECT_EQ(all[2].reconsume_times, 2);
  EXPECT_EQ(all[2].topic, "orders") << "not the retry topic";
  EXPECT_EQ(all[2].queue.topic, "%RETRY%billing");
  EXPECT_EQ(all[2].message_id, all[0].message_id);
  EXPECT_EQ(all[2].body, "again");
}

TEST_F(Consuming, TakesWhatThrowsForAFailure) {
  std::atomic<int> calls{0};
  std::optional<ConsumeOutcome> outcome;
  PushConsumer c = consumer({.from = StartFrom::kFirst,
                             .on_messages =
                                 [&](std::span<const ReceivedMessage> batch) {
                                   received_.add(batch.front());
                                   if (++calls == 1) throw std::runtime_error{"no"};
                                   return Consumed::kDone;
                                 },
                             .after_consume =
                                 [&](const ConsumeEvent& event) {
                                   if (!outcome) outcome = event.outcome;
                                 }});
  send({.body = "thrown"});
  ASSERT_TRUE(received_.wait_for(1));
  ASSERT_TRUE(eventually([&] {
    broker_->advance(10s);
    return received_.wait_for(2, 50ms);
  }));
  EXPECT_EQ(outcome, ConsumeOutcome::kException);
}

/// Lines that a client logs, from a function that throws each time.
class ThrowingLog {
 public:
  ClientConfig config() {
    return {.log = [this](Severity, std::string_view line) {
      std::lock_guard lock{mutex_};
      lines_.emplace_back(line);
      throw std::runtime_error{"the log function"};
    }};
  }
  bool has(const std::string& words) const {
    std::lock_guard lock{mutex_};
    return std::ranges::any_of(
        lines_, [&](const std::string& line) { return line.find(words) != std::string::npos; });
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

TEST_F(Consuming, GoesOnWhateverItsHooksThrow) {
  ThrowingLog log;
  Client logging = client(log.config());
  const auto hook = [](const ConsumeEvent&) { throw std::runtime_error{"a hook"}; };
  const PushConsumer c = consumer_of(
      logging,
      {.from = StartFrom::kFirst,
       .on_messages = received_.keep(),
       .before_consume = hook,
       .after_consume = hook,
       .accept = [](const ReceivedMessage&) -> bool { throw 17; },
       .queues_changed = [](const auto&, auto, auto) { throw std::runtime_error{"a hook"}; }});
  send({.body = "consumed all the same"});
  EXPECT_TRUE(received_.wait_for(1));
  EXPECT_TRUE(eventually([&] { return c.statistics().consumed == 1; }));
  for (const char* words : {"before_consume threw: group=billing what=\"a hook\"",
                            "after_consume threw: group=billing what=\"a hook\"",
                            "accept threw: group=billing", "listener of divided queues threw"})
    EXPECT_TRUE(eventually([&] { return log.has(words); })) << words;
}

TEST_F(Consuming, DividesAgainAfterAnAllocationThatThrew) {
  std::atomic<int> calls{0};
  Allocation allocation = average();
  allocation.divide = [&, divide = allocation.divide](const auto&... given) {
    if (++calls == 1) throw std::runtime_error{"not yet"};
    return divide(given...);
  };
  const PushConsumer c = consumer(
      {.from = StartFrom::kFirst, .on_messages = received_.keep(), .allocation = allocation});
  EXPECT_TRUE(eventually([&] { return c.queues().size() == 5; }));
}

TEST_F(Consuming, MakesADeadLetterWhenAskedTo) {
  PushConsumer c = consumer(
      {.from = StartFrom::kFirst,
       .on_messages = [&](std::span<const ReceivedMessage> batch, ConsumeContext& context) {
         received_.add(batch.front());
         context.delay_level = -1;
         return Consumed::kRetryLater;
       }});
  send({.body = "hopeless"});
  ASSERT_TRUE(received_.wait_for(1));
  Received dead;
  ASSERT_TRUE(eventually([&] { return static_cast<bool>(producer_->queues("%DLQ%billing", 3s)); }));
  PushConsumer undertaker = consumer({.group = "undertaker",
                                      .subscriptions = {{"%DLQ%billing", all()}},
                                      .from = StartFrom::kFirst,
                                      .on_messages = dead.keep()});
  ASSERT_TRUE(dead.wait_for(1));
  EXPECT_EQ(dead.bodies().front(), "hopeless");
}

TEST_F(Consuming, AcksAPartOfABatch) {
  std::atomic<bool> first{true};
  PushConsumer c =
      consumer({.from = StartFrom::kFirst,
                .on_messages =
                    [&](std::span<const ReceivedMessage> batch, ConsumeContext& context) {
                      for (const auto& each : batch) received_.add(each);
                      if (batch.size() > 1 && first.exchange(false)) {
                        context.ack_index = 0;
                        context.delay_level = 1;
                      }
                      return Consumed::kDone;
                    },
                .consume_message_batch_max_size = 8});
  std::vector<Message> batch;
  for (int i = 0; i < 3; ++i) batch.push_back({.topic = "orders", .body = std::to_string(i)});
  ASSERT_TRUE(producer_->send(std::span<const Message>{batch}, 5s));
  ASSERT_TRUE(received_.wait_for(3));
  ASSERT_TRUE(eventually([&] {
    broker_->advance(1s);
    return received_.wait_for(5, 50ms);
  }));
  EXPECT_THAT(received_.bodies(), UnorderedElementsAre("0", "1", "2", "1", "2"));
}

TEST_F(Consuming, DividesTheQueuesAmongTheMembers) {
  Client other = client();
  PushConsumer first = consumer({.from = StartFrom::kFirst, .on_messages = received_.keep()});
  ASSERT_TRUE(eventually([&] { return first.queues().size() == 5; }));
  std::optional<PushConsumer> second =
      consumer_of(other, {.from = StartFrom::kFirst, .on_messages = received_.keep()});
  EXPECT_TRUE(eventually([&] {
    return first.queues().size() + second->queues().size() == 5 && second->queues().size() >= 2;
  }));
  send_bodies(40);
  ASSERT_TRUE(received_.wait_for(40));
  second.reset();
  EXPECT_TRUE(eventually([&] { return first.queues().size() == 5; })) << "the rest comes back";
}

TEST_F(Consuming, KnowsAGroupOnce) {
  PushConsumer c = consumer({.on_messages = received_.keep()});
  const auto second = client_->push_consumer({.group = "billing", .on_messages = received_.keep()});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kExists);
  EXPECT_THAT(second.error().detail, HasSubstr("has been created before"));
}

TEST_F(Consuming, RefusesSettingsOutOfRange) {
  const auto why = [&](PushConsumerConfig config) {
    if (config.group.empty()) config.group = "billing";
    if (!config.on_messages && !config.on_messages_orderly) config.on_messages = received_.keep();
    const auto made = client_->push_consumer(std::move(config));
    return made ? std::string{} : made.error().detail;
  };
  EXPECT_THAT(why({.group = "DEFAULT_CONSUMER"}), HasSubstr("can not equal DEFAULT_CONSUMER"));
  EXPECT_THAT(why({.consume_thread_min = 0}), HasSubstr("consumeThreadMin Out of range [1, 1000]"));
  EXPECT_THAT(why({.consume_thread_min = 30}),
              HasSubstr("consumeThreadMin (30) is larger than consumeThreadMax (20)"));
  EXPECT_THAT(why({.pull_batch_size = 1'025}), HasSubstr("pullBatchSize Out of range [1, 1024]"));
  EXPECT_THAT(why({.pull_threshold_for_topic = 0}),
              HasSubstr("pullThresholdForTopic Out of range [1, 6553500]"));
  EXPECT_THAT(why({.pop_invisible_time = 1s}),
              HasSubstr("popInvisibleTime Out of range [5000, 300000]"));
  EXPECT_THAT(why({.subscriptions = {{"orders", tags("||")}}}),
              HasSubstr("subscription exception"));
  EXPECT_THAT(client_->push_consumer({.group = "billing"}).error().detail,
              HasSubstr("messageListener is null"));
}

TEST_F(Consuming, BeginsWithTheOldestOrWithWhatComes) {
  send_bodies(5);
  // An offset somewhere, or a young topic's "last" is its beginning.
  Received from_last;
  {
    PushConsumer c = consumer({.from = StartFrom::kFirst, .on_messages = received_.keep()});
    ASSERT_TRUE(received_.wait_for(5));
    ASSERT_TRUE(eventually([&] { return c.statistics().consumed == 5; }));
  }
  PushConsumer c = consumer({.on_messages = from_last.keep()});
  send({.body = "new"});
  ASSERT_TRUE(from_last.wait_for(1));
  EXPECT_THAT(from_last.bodies(), ElementsAre("new"));
}

TEST_F(Consuming, GoesOnWhereTheBrokerSaysWhenItsOffsetIsNone) {
  const MessageQueue queue{"orders", "broker-a", 0};
  for (int i = 0; i < 3; ++i) send_to(0, std::to_string(i));
  Admin admin = client_->admin();
  ASSERT_TRUE(admin.create_group(broker_->address(), {.name = "billing"}, 5s));
  ASSERT_TRUE(admin.update_offset(broker_->address(), "billing", queue, 99, 5s));
  PushConsumer c = consumer({.on_messages = received_.keep()});
  ASSERT_TRUE(eventually([&] {
    const auto progress = admin.progress("billing", "orders", 5s);
    return progress && std::ranges::any_of(progress->queues, [&](const auto& each) {
             return each.queue == queue && each.consumer_offset == 3;
           });
  })) << "OFFSET_ILLEGAL names the end of the queue";
  send_to(0, "3");
  ASSERT_TRUE(received_.wait_for(1));
  EXPECT_THAT(received_.bodies(), ElementsAre("3"));
}

TEST_F(Consuming, PausesAndGoesOn) {
  PushConsumer c = consumer({.from = StartFrom::kFirst, .on_messages = received_.keep()});
  send({.body = "before"});
  ASSERT_TRUE(received_.wait_for(1));
  c.suspend();
  broker_->cut_connections();  // the pulls that are held end, and none follows
  send({.body = "meanwhile"});
  EXPECT_FALSE(received_.wait_for(2, 300ms));
  c.resume();
  EXPECT_TRUE(received_.wait_for(2));
}

TEST_F(Consuming, FollowsItsSubscriptions) {
  ASSERT_TRUE(broker_->create_topic({"audit", 2}));
  PushConsumer c = consumer({.from = StartFrom::kFirst, .on_messages = received_.keep()});
  ASSERT_TRUE(eventually([&] { return c.queues().size() == 5; }));
  ASSERT_TRUE(c.subscribe("audit", all()));
  EXPECT_TRUE(eventually([&] { return c.queues().size() == 7; }));
  send({.topic = "audit", .body = "x"});
  EXPECT_TRUE(received_.wait_for(1));
  c.unsubscribe("audit");
  EXPECT_TRUE(eventually([&] { return c.queues().size() == 5; }));
  EXPECT_FALSE(c.subscribe("audit", tags("||")));
}

// ---- In order
// ------------------------------------------------------------------------------------

TEST_F(Consuming, KeepsTheOrderOfAQueue) {
  std::mutex mutex;
  std::map<int, std::vector<int>> seen;
  std::atomic<int> count{0};
  PushConsumer c = consumer({.from = StartFrom::kFirst,
                             .on_messages_orderly = [&](std::span<const ReceivedMessage> batch) {
                               std::lock_guard lock{mutex};
                               for (const auto& each : batch)
                                 seen[each.queue.queue_id].push_back(std::stoi(each.body));
                               count += static_cast<int>(batch.size());
                               return ConsumedOrderly::kDone;
                             }});
  send_bodies(200);
  ASSERT_TRUE(eventually([&] { return count == 200; }));
  std::lock_guard lock{mutex};
  EXPECT_EQ(seen.size(), 4u);
  for (const auto& [queue, numbers] : seen) EXPECT_TRUE(std::ranges::is_sorted(numbers));
}

TEST_F(Consuming, TriesAMessageAgainBeforeTheNext) {
  std::atomic<int> calls{0};
  PushConsumer c = consumer(
      {.from = StartFrom::kFirst,
       .on_messages_orderly = [&](std::span<const ReceivedMessage> batch, OrderlyContext& context) {
         received_.add(batch.front());
         context.suspend = 10ms;
         return ++calls < 3 ? ConsumedOrderly::kSuspend : ConsumedOrderly::kDone;
       }});
  const MessageQueue queue{"orders", "broker-a", 1};
  for (const char* body : {"first", "second"})
    ASSERT_TRUE(producer_->send({.topic = "orders", .body = body}, queue, 5s));
  ASSERT_TRUE(received_.wait_for(4));
  EXPECT_THAT(received_.bodies(), ElementsAre("first", "first", "first", "second"));
  EXPECT_EQ(received_.all()[2].reconsume_times, 2);
}

TEST_F(Consuming, GivesUpOnAMessageThatFailsTooOften) {
  PushConsumer c =
      consumer({.from = StartFrom::kFirst,
                .on_messages_orderly =
                    [&](std::span<const ReceivedMessage> batch, OrderlyContext& context) {
                      received_.add(batch.front());
                      context.suspend = 10ms;
                      return batch.front().body == "bad" ? ConsumedOrderly::kSuspend
                                                         : ConsumedOrderly::kDone;
                    },
                .max_reconsume_times = 2});
  const MessageQueue queue{"orders", "broker-a", 1};
  for (const char* body : {"bad", "good"})
    ASSERT_TRUE(producer_->send({.topic = "orders", .body = body}, queue, 5s));
  ASSERT_TRUE(received_.wait_for(4));
  EXPECT_THAT(received_.bodies(), ElementsAre("bad", "bad", "bad", "good"));
  EXPECT_TRUE(eventually([&] { return static_cast<bool>(producer_->queues("%DLQ%billing", 3s)); }))
      << "a dead letter";
}

TEST_F(Consuming, CommitsWhenToldTo) {
  std::atomic<int> calls{0};
  PushConsumer c =
      consumer({.from = StartFrom::kFirst,
                .on_messages_orderly =
                    [&](std::span<const ReceivedMessage> batch, OrderlyContext& context) {
                      context.auto_commit = false;
                      received_.add(batch.front());
                      switch (++calls) {
                        case 1:
                          return ConsumedOrderly::kDone;
                        case 2:
                          return ConsumedOrderly::kRollback;
                        default:
                          return calls % 2 == 0 ? ConsumedOrderly::kCommit : ConsumedOrderly::kDone;
                      }
                    },
                .suspend_current_queue = 10ms});
  const MessageQueue queue{"orders", "broker-a", 1};
  for (const char* body : {"1", "2"})
    ASSERT_TRUE(producer_->send({.topic = "orders", .body = body}, queue, 5s));
  ASSERT_TRUE(received_.wait_for(4));
  EXPECT_THAT(received_.bodies(), ElementsAre("1", "2", "1", "2"));
  EXPECT_TRUE(eventually([&] { return c.statistics().held == 0; }));
}

TEST_F(Consuming, RollsBackForAsLongAsItSays) {
  MovableClient movable{{.name_servers = {broker_->name_server()}}};
  const auto roll_back = [&](std::span<const ReceivedMessage> batch, OrderlyContext& context) {
    context.auto_commit = false;
    context.suspend = 30s;
    received_.add(batch.front());
    return ConsumedOrderly::kRollback;
  };
  const PushConsumer c = consumer_of(
      *movable,
      {.from = StartFrom::kFirst, .on_messages_orderly = roll_back, .suspend_current_queue = 10ms});
  send_to(1, "again");
  ASSERT_TRUE(received_.wait_for(1));
  EXPECT_FALSE(received_.wait_for(2, 300ms)) << "after the consumer's time";
  EXPECT_TRUE(eventually([&] {
    movable.advance(10s);
    return received_.wait_for(2, 100ms);
  }));
}

// ---- Broadcasting
// --------------------------------------------------------------------------------

class Broadcasting : public ConsumerFixture {
 protected:
  void SetUp() override {
    ConsumerFixture::SetUp();
    directory_ = broker_->directory() + "-offsets";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  /// The only one there is.
  std::string offset_file() const {
    for (const auto& each : std::filesystem::recursive_directory_iterator{directory_})
      if (each.path().filename() == "offsets.json") return each.path();
    return {};
  }
  static std::string content(const std::string& file) {
    std::ifstream in{file};
    return {std::istreambuf_iterator<char>{in}, {}};
  }
  std::string directory_;
};

TEST_F(Broadcasting, GivesEverythingToEverybody) {
  Client other = client();
  Received second;
  const auto config = [&](Received& to, const char* directory) {
    return PushConsumerConfig{.model = MessageModel::kBroadcasting,
                              .from = StartFrom::kFirst,
                              .on_messages = to.keep(),
                              .offset_directory = directory_ + directory};
  };
  PushConsumer a = consumer(config(received_, "/a"));
  PushConsumer b = consumer_of(other, config(second, "/b"));
  send_bodies(20);
  EXPECT_TRUE(received_.wait_for(20));
  EXPECT_TRUE(second.wait_for(20));
}

TEST_F(Broadcasting, KeepsItsOffsetsInAFile) {
  const auto config = [&](Received& to) {
    return PushConsumerConfig{.model = MessageModel::kBroadcasting,
                              .from = StartFrom::kFirst,
                              .on_messages = to.keep(),
                              .offset_directory = directory_};
  };
  {
    PushConsumer c = consumer(config(received_));
    send_bodies(20);
    ASSERT_TRUE(received_.wait_for(20));
    ASSERT_TRUE(eventually([&] { return c.statistics().consumed == 20; }));
  }
  Client after_restart = client();
  Received later;
  PushConsumer c = consumer_of(after_restart, config(later));
  send({.body = "new"});
  ASSERT_TRUE(later.wait_for(1));
  EXPECT_THAT(later.bodies(), ElementsAre("new"));
}

TEST_F(Broadcasting, KeepsItsOffsetsAfterOneThatTheBrokerDoesNotHave) {
  const auto consume = [&](Received& to) {
    return consumer({.model = MessageModel::kBroadcasting,
                     .from = StartFrom::kFirst,
                     .on_messages = to.keep(),
                     .offset_directory = directory_});
  };
  const auto send_and_consume = [&](std::size_t count) {
    Received got;
    const PushConsumer c = consume(got);
    for (std::size_t i = 0; i < count; ++i) send_to(0, std::to_string(i));
    ASSERT_TRUE(got.wait_for(count));
    ASSERT_TRUE(eventually([&] { return c.statistics().consumed == count; }));
  };
  send_and_consume(3);
  const std::string file = offset_file();
  std::string text = content(file);
  ASSERT_THAT(text, HasSubstr(":3"));
  std::ofstream{file} << text.replace(text.find(":3"), 2, ":99");
  {
    const PushConsumer c = consume(received_);
    ASSERT_TRUE(eventually([&] { return content(file).find(":3") != std::string::npos; }));
    for (int i = 0; i < 5; ++i) send_to(0, "later");
    ASSERT_TRUE(received_.wait_for(5));
    ASSERT_TRUE(eventually([&] { return c.statistics().consumed == 5; }));
  }
  EXPECT_THAT(content(file), HasSubstr(":8"));
}

// ---- The end, from everywhere
// --------------------------------------------------------------------

TEST_F(Consuming, EndsFromInsideItsOwnFunction) {
  send_bodies(10);
  for (int round = 0; round < 20; ++round) {
    auto client = std::make_unique<Client>(this->client());
    std::optional<PushConsumer> c;
    std::mutex mutex;
    std::promise<void> done;
    std::atomic<bool> once{false};
    {
      std::lock_guard lock{mutex};
      c = consumer_of(*client, {.group = "inside" + std::to_string(round),
                                .from = StartFrom::kFirst,
                                .on_messages = [&](std::span<const ReceivedMessage>) {
                                  if (once.exchange(true)) return Consumed::kDone;
                                  {
                                    std::lock_guard inner{mutex};
                                    c.reset();
                                    if (round % 2 == 0) client.reset();
                                  }
                                  done.set_value();
                                  return Consumed::kDone;
                                }});
    }
    ASSERT_EQ(done.get_future().wait_for(10s), std::future_status::ready);
    client.reset();
  }
}

TEST_F(Consuming, CallsNobodyOnceItIsShutDown) {
  send_bodies(200);
  for (int round = 0; round < 10; ++round) {
    std::atomic<bool> ending{false}, over{false};
    std::atomic<int> late{0}, calls{0};
    PushConsumer c = consumer({.group = "late" + std::to_string(round),
                               .from = StartFrom::kFirst,
                               .on_messages = [&](std::span<const ReceivedMessage>) {
                                 ++calls;
                                 while (!ending) std::this_thread::yield();
                                 if (over) ++late;
                                 return Consumed::kDone;
                               }});
    ASSERT_TRUE(eventually([&] { return calls > 10; }));
    std::thread ends{[&] {
      c.shutdown();
      over = true;
    }};
    ending = true;  // calls end while it waits for them
    ends.join();
    EXPECT_EQ(late, 0);
  }
}

TEST_F(Consuming, AnEndTakesNothingFromItsSuccessor) {
  const auto begin = [&](Received& to) {
    return consumer({.from = StartFrom::kFirst, .on_messages = to.keep()});
  };
  Received second, third;
  PushConsumer c = begin(received_);
  c.shutdown();
  c = begin(second);  // ends the first once more
  send({.body = "to the second"});
  EXPECT_TRUE(second.wait_for(1));
  c.shutdown();
  const PushConsumer successor = begin(third);
  {
    const PushConsumer destroyed = std::move(c);
  }
  send({.body = "to the third"});
  EXPECT_TRUE(eventually([&] {
    const auto got = third.bodies();
    return !got.empty() && got.back() == "to the third";
  }));
}

TEST_F(Consuming, EndsWhileTheBrokerHangs) {
  PushConsumer c = consumer({.on_messages = received_.keep()});
  ASSERT_TRUE(eventually([&] { return c.queues().size() == 5; }));
  broker_->freeze(true);
  const auto began = std::chrono::steady_clock::now();
  c.shutdown();
  client_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - began, 10s);
  broker_->freeze(false);
}

TEST_F(Consuming, AFunctionThatOutlivesTheEndTakesNoCommitBack) {
  std::promise<void> release;
  const auto released = release.get_future().share();
  PushConsumer c = consumer({.from = StartFrom::kFirst,
                             .on_messages =
                                 [&](auto batch) {
                                   received_.add(batch.front());
                                   released.wait_for(30s);
                                   return Consumed::kDone;
                                 },
                             .shutdown_wait = 100ms});
  send_to(0, "held");
  ASSERT_TRUE(received_.wait_for(1));
  const std::weak_ptr<client::ConsumerRole> ended = client_->instance()->consumer("billing");
  c.shutdown();
  {
    Client other = client();
    Received second;
    const PushConsumer next =
        consumer_of(other, {.from = StartFrom::kFirst, .on_messages = second.keep()});
    send_to(0, "more");
    ASSERT_TRUE(second.wait_for(2));
    ASSERT_TRUE(eventually([&] { return next.statistics().consumed == 2; }));
  }
  release.set_value();
  {
    const PushConsumer destroyed = std::move(c);
  }
  ASSERT_TRUE(eventually([&] { return ended.expired(); }));
  PullConsumer reader = *client_->pull_consumer({.group = "billing"});
  EXPECT_FALSE(eventually(
      [&] { return *reader.fetch_offset({"orders", "broker-a", 0}, true) != 2; }, 200ms));
}

TEST_F(Consuming, LosesNothingWhileTheBrokerComesAndGoes) {
  PushConsumer c = consumer({.from = StartFrom::kFirst,
                             .on_messages = received_.keep(),
                             .pull_delay_when_exception = 20ms});
  constexpr int kRounds = 100;
  for (int round = 0; round < kRounds; ++round) {
    if (round % 10 == 5)
      ASSERT_TRUE(broker_->restart());
    else if (round % 2 == 0)
      broker_->cut_connections();
    send({.body = std::to_string(round)});
  }
  ASSERT_TRUE(eventually(
      [&] {
        const auto bodies = received_.bodies();
        return std::set<std::string>{bodies.begin(), bodies.end()}.size() == kRounds;
      },
      60s));
}

}  // namespace
}  // namespace apogee
