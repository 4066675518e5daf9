#include <future>

#include <gmock/gmock.h>

#include "apogee/admin.h"
#include "testing/consumer_fixture.h"
#include "testing/detached.h"

/// What can be waited for can be had with a callback and from a coroutine, too.
namespace apogee {
namespace {

using ::testing::Contains;
using ::testing::SizeIs;

constexpr auto kLong = 15s;

/// A callback that keeps a promise.
template <class T>
struct Kept {
  std::promise<Result<T>> promise;
  std::function<void(Result<T>)> done() {
    return [this](Result<T> result) { promise.set_value(std::move(result)); };
  }
  Result<T> get() {
    auto future = promise.get_future();
    if (future.wait_for(kLong) != std::future_status::ready)
      return Error{Errc::kTimeout, "nothing was promised in time"};
    return future.get();
  }
};

template <class T>
testing::Detached await(Awaitable<T> begun, std::function<void(Result<T>)> done) {
  auto result = co_await begun;
  done(std::move(result));
}
template <class T>
Result<T> awaited(Awaitable<T> begun) {
  Kept<T> kept;
  await(std::move(begun), kept.done());
  return kept.get();
}

using ThreeWays = ConsumerFixture;

TEST_F(ThreeWays, QueuesOfATopic) {
  Kept<std::vector<MessageQueue>> kept;
  producer_->queues("orders", 3s, kept.done());
  EXPECT_THAT(*kept.get(), SizeIs(4));
  EXPECT_THAT(*awaited(producer_->queues_async("orders", 3s)), SizeIs(4));
  EXPECT_EQ(awaited(producer_->queues_async("none", 3s)).error().response_code, 17);
}

TEST_F(ThreeWays, Pulls) {
  send_to(0, "x");
  const MessageQueue queue{"orders", "broker-a", 0};
  PullConsumer consumer = *client_->pull_consumer({.group = "puller"});
  const auto pulled = awaited(consumer.pull_block_if_not_found_async(queue, all(), 0, 32));
  ASSERT_TRUE(pulled) << pulled.error().detail;
  EXPECT_EQ(pulled->messages.front().body, "x");
  EXPECT_EQ(awaited(consumer.pull_async(queue, all(), 0, 32))->next_offset, 1);
}

TEST_F(ThreeWays, OffsetsOfAPullConsumer) {
  for (const char* body : {"a", "b", "c"}) send_to(0, body);
  const MessageQueue queue{"orders", "broker-a", 0};
  PullConsumer consumer = *client_->pull_consumer({.group = "puller"});
  ASSERT_TRUE(eventually([&] { return *awaited(consumer.max_offset_async(queue)) == 3; }));
  EXPECT_EQ(*awaited(consumer.min_offset_async(queue)), 0);
  EXPECT_EQ(*awaited(consumer.offset_for_time_async(queue, std::chrono::system_clock::now() - 1h)),
            0);
  EXPECT_THAT(*awaited(consumer.queues_async("orders")), SizeIs(4));
  EXPECT_EQ(awaited(consumer.queues_async("none")).error().response_code, 17);
  EXPECT_EQ(awaited(consumer.max_offset_async({"orders", "nobody", 0})).error().code,
            Errc::kNotFound);

  EXPECT_EQ(*awaited(consumer.fetch_offset_async(queue, false)), 0) << "where a young queue begins";
  consumer.update_offset(queue, 2);
  Kept<std::optional<std::int64_t>> here, stored;
  consumer.fetch_offset(queue, false, here.done());
  EXPECT_EQ(*here.get(), 2);
  consumer.fetch_offset(queue, true, stored.done());
  EXPECT_EQ(*stored.get(), 0) << "not there yet";

  Kept<std::int64_t> least, most, early;
  consumer.min_offset(queue, least.done());
  consumer.max_offset(queue, most.done());
  consumer.offset_for_time(queue, std::chrono::system_clock::now() - 1h, early.done());
  EXPECT_EQ(*least.get(), 0);
  EXPECT_EQ(*most.get(), 3);
  EXPECT_EQ(*early.get(), 0);
  Kept<std::vector<MessageQueue>> queues;
  consumer.queues("orders", queues.done());
  EXPECT_THAT(*queues.get(), SizeIs(4));
}

TEST_F(ThreeWays, WaitingInsideACallbackIsRefused) {
  const MessageQueue queue{"orders", "broker-a", 0};
  PullConsumer consumer = *client_->pull_consumer({.group = "puller"});
  Kept<std::int64_t> kept;
  consumer.max_offset(queue,
                      [&](Result<std::int64_t>) { kept.done()(consumer.min_offset(queue)); });
  EXPECT_EQ(kept.get().error().code, Errc::kInvalidArgument);
}

TEST_F(ThreeWays, SendingBack) {
  send_to(0, "again");
  const MessageQueue queue{"orders", "broker-a", 0};
  ASSERT_TRUE(eventually([&] { return *client_->admin().max_offset(queue, 3s) == 1; }));
  ASSERT_TRUE(client_->admin().create_group(broker_->address(), {.name = "puller"}, 3s));
  PullConsumer consumer = *client_->pull_consumer({.group = "puller"});
  const auto found = consumer.pull(queue, all(), 0, 1);
  ASSERT_TRUE(found && found->messages.size() == 1);
  Kept<Ok> kept;
  consumer.send_back(found->messages.front(), 1, kept.done());
  const auto back = kept.get();
  EXPECT_TRUE(back) << back.error().detail;
  EXPECT_TRUE(awaited(consumer.send_back_async(found->messages.front(), 1)));
}

TEST_F(ThreeWays, LitePullOffsets) {
  for (const char* body : {"a", "b", "c"}) send_to(0, body);
  const MessageQueue queue{"orders", "broker-a", 0}, other{"orders", "broker-a", 1};
  ASSERT_TRUE(eventually([&] { return *client_->admin().max_offset(queue, 3s) == 3; }));
  LitePullConsumer consumer = *client_->lite_pull_consumer({.group = "replay"});
  EXPECT_THAT(*awaited(consumer.queues_async("orders")), SizeIs(4));
  EXPECT_EQ(*awaited(consumer.offset_for_time_async(queue, std::chrono::system_clock::now() - 1h)),
            0);
  EXPECT_EQ(*awaited(consumer.committed_async(queue)), 0) << "where a young queue begins";
  ASSERT_TRUE(consumer.assign({queue}));

  EXPECT_EQ(awaited(consumer.seek_async(other, 0)).error().code, Errc::kInvalidArgument);
  EXPECT_EQ(awaited(consumer.seek_async(queue, 9)).error().detail,
            "Seek offset illegal, seek offset = 9, min offset = 0, max offset = 3");
  ASSERT_TRUE(awaited(consumer.seek_async(queue, 1)));
  EXPECT_EQ(awaited(consumer.poll_async(kLong))->front().body, "b");
  Kept<Ok> begin, end, first;
  consumer.seek_to_begin(queue, begin.done());
  ASSERT_TRUE(begin.get());
  EXPECT_EQ(awaited(consumer.poll_async(kLong))->front().body, "a");
  consumer.seek_to_end(queue, end.done());
  ASSERT_TRUE(end.get());
  EXPECT_THAT(*awaited(consumer.poll_async(100ms)), ::testing::IsEmpty());
  consumer.seek(queue, 0, first.done());
  ASSERT_TRUE(first.get());
  ASSERT_TRUE(awaited(consumer.seek_to_end_async(queue)));
  ASSERT_TRUE(awaited(consumer.seek_to_begin_async(queue)));

  consumer.commit({{queue, 2}}, true);
  Kept<std::optional<std::int64_t>> committed;
  consumer.committed(queue, committed.done());
  EXPECT_EQ(*committed.get(), 2);
  Kept<std::int64_t> early;
  consumer.offset_for_time(queue, std::chrono::system_clock::now() - 1h, early.done());
  EXPECT_EQ(*early.get(), 0);
  Kept<std::vector<MessageQueue>> queues;
  consumer.queues("orders", queues.done());
  EXPECT_THAT(*queues.get(), SizeIs(4));
}

TEST_F(ThreeWays, PollsAreAnsweredInTheOrderTheyCame) {
  LitePullConsumer consumer = *client_->lite_pull_consumer({.group = "replay"});
  ASSERT_TRUE(consumer.assign({{"orders", "broker-a", 0}, {"orders", "broker-a", 1}}));
  Kept<LitePullConsumer::Messages> soon, first, second;
  consumer.poll(50ms, soon.done());
  EXPECT_THAT(*soon.get(), ::testing::IsEmpty()) << "nothing came in time";
  const auto here = std::this_thread::get_id();
  consumer.poll(kLong, [&, done = first.done()](Result<LitePullConsumer::Messages> polled) {
    EXPECT_NE(std::this_thread::get_id(), here);
    EXPECT_TRUE(consumer.queues("orders")) << "it may block there";
    done(std::move(polled));
  });
  consumer.poll(kLong, second.done());
  send_to(0, "one");
  EXPECT_EQ(first.get()->front().body, "one");
  send_to(1, "two");
  EXPECT_EQ(second.get()->front().body, "two");
}

TEST_F(ThreeWays, APollMayAskForTheNext) {
  constexpr int kMessages = 2'000;
  std::vector<Message> batch;
  for (int i = 0; i < kMessages; ++i) batch.push_back({.topic = "orders", .body = "x"});
  const MessageQueue queue{"orders", "broker-a", 0};
  ASSERT_TRUE(producer_->send(std::span<const Message>{batch}, 5s));
  LitePullConsumer consumer =
      *client_->lite_pull_consumer({.group = "replay", .from = StartFrom::kFirst});
  ASSERT_TRUE(consumer.subscribe("orders"));
  std::size_t seen = 0;
  std::promise<void> all_seen;
  std::function<void(Result<LitePullConsumer::Messages>)> next = [&](auto polled) {
    if (!polled) return;
    seen += polled->size();
    if (seen == kMessages) return all_seen.set_value();
    consumer.poll(kLong, next);
  };
  consumer.poll(kLong, next);
  EXPECT_EQ(all_seen.get_future().wait_for(kLong), std::future_status::ready) << seen;
}

TEST_F(ThreeWays, APollEndsWithItsConsumer) {
  std::atomic<bool> told{false};
  {
    LitePullConsumer consumer = *client_->lite_pull_consumer({.group = "replay"});
    ASSERT_TRUE(consumer.assign({{"orders", "broker-a", 0}}));
    consumer.poll(1h, [&](Result<LitePullConsumer::Messages> polled) {
      EXPECT_EQ(polled.error().code, Errc::kStopped);
      told = true;
    });
  }
  EXPECT_TRUE(told) << "shutdown() waits for it";
  LitePullConsumer consumer = *client_->lite_pull_consumer({.group = "replay"});
  consumer.shutdown();
  EXPECT_EQ(awaited(consumer.poll_async(1h)).error().code, Errc::kStopped);
}

TEST_F(ThreeWays, RepliesAndRecalls) {
  // Neither has anything to answer here: the same errors come each way.
  const ReceivedMessage no_question;
  Kept<SendReceipt> replied;
  producer_->reply(no_question, "x", 3s, replied.done());
  EXPECT_EQ(replied.get().error().code, Errc::kInvalidArgument);
  EXPECT_EQ(awaited(producer_->reply_async(no_question, "x", 3s)).error().response_code, 10'007);
  Kept<std::string> recalled;
  producer_->recall("orders", "no handle", 3s, recalled.done());
  EXPECT_EQ(recalled.get().error().code, Errc::kInvalidArgument);
  EXPECT_EQ(awaited(producer_->recall_async("orders", "no handle", 3s)).error().detail,
            "recall handle is invalid");
}

TEST_F(ThreeWays, Transactions) {
  std::mutex mutex;
  std::vector<std::pair<std::string, Outcome>> ends;
  TransactionalProducer producer = *client_->transactional_producer(
      {.producer = {.group = "transfers"},
       .on_check = [](const ReceivedMessage&) { return Outcome::kUnknown; },
       .before_end =
           [&](const EndTransactionEvent& event) {
             EXPECT_EQ(event.group, "transfers");
             EXPECT_FALSE(event.broker_asked);
             std::lock_guard lock{mutex};
             ends.emplace_back(event.message_id, event.outcome);
           }});
  const auto here = std::this_thread::get_id();
  std::atomic<bool> elsewhere{false};
  const auto local = [&](const Message& message, const SendReceipt&) {
    elsewhere = std::this_thread::get_id() != here;
    return message.body == "good" ? Outcome::kCommit : Outcome::kRollback;
  };
  Kept<TransactionReceipt> kept;
  producer.send({.topic = "orders", .body = "good"}, local, 3s, kept.done());
  const auto receipt = kept.get();
  ASSERT_TRUE(receipt) << receipt.error().detail;
  EXPECT_EQ(receipt->outcome, Outcome::kCommit);
  EXPECT_TRUE(elsewhere) << "it may block there";
  Message bad{.topic = "orders", .body = "bad"};
  EXPECT_EQ(awaited(producer.send_async(bad, local, 3s))->outcome, Outcome::kRollback);
  Message none{.topic = "orders"};
  EXPECT_EQ(awaited(producer.send_async(none, local, 3s)).error().code, Errc::kInvalidArgument);
  {
    std::lock_guard lock{mutex};
    ASSERT_EQ(ends.size(), 2u) << "a hook sees each end";
    EXPECT_EQ(ends[0], (std::pair{receipt->sent.message_id, Outcome::kCommit}));
    EXPECT_EQ(ends[1].second, Outcome::kRollback);
  }
  PushConsumer c = consumer({.from = StartFrom::kFirst, .on_messages = received_.keep()});
  ASSERT_TRUE(received_.wait_for(1));
  EXPECT_THAT(received_.bodies(), ::testing::ElementsAre("good"));
}

TEST_F(ThreeWays, ALocalPartThatNeedsNothing) {
  TransactionalProducer producer = *client_->transactional_producer(
      {.producer = {.group = "transfers"},
       .on_check = [](const ReceivedMessage&) { return Outcome::kUnknown; }});
  const auto local = [] { return Outcome::kRollback; };
  const Message message{.topic = "orders", .body = "x"};
  EXPECT_EQ(producer.send(message, local, 3s)->outcome, Outcome::kRollback);
  Kept<TransactionReceipt> kept;
  producer.send(message, local, 3s, kept.done());
  EXPECT_EQ(kept.get()->outcome, Outcome::kRollback);
  EXPECT_EQ(awaited(producer.send_async(message, local, 3s))->outcome, Outcome::kRollback);
}

TEST_F(ThreeWays, AOnewaySendThatCannotBeWrittenSaysSo) {
  EXPECT_EQ(producer_->send_oneway({.topic = "orders"}).error().code, Errc::kInvalidArgument);
  EXPECT_TRUE(producer_->send_oneway({.topic = "orders", .body = "x"}));
  producer_->shutdown();
  EXPECT_EQ(producer_->send_oneway({.topic = "orders", .body = "x"}).error().code, Errc::kStopped);
}

TEST_F(ThreeWays, StartsOfAPushConsumer) {
  send({.body = "x"});
  const auto config = [&](const std::string& group) {
    return PushConsumerConfig{.group = group,
                              .subscriptions = {{"orders"}},
                              .from = StartFrom::kFirst,
                              .on_messages = received_.keep()};
  };
  Kept<PushConsumer> kept;
  client_->push_consumer(config("by-callback"), kept.done());
  auto first = kept.get();
  ASSERT_TRUE(first) << first.error().detail;
  ASSERT_TRUE(received_.wait_for(1));
  auto second = awaited(client_->push_consumer_async(config("awaited")));
  ASSERT_TRUE(second) << second.error().detail;
  ASSERT_TRUE(received_.wait_for(2));
  Kept<PushConsumer> again;
  client_->push_consumer(config("awaited"), again.done());
  EXPECT_EQ(again.get().error().code, Errc::kExists);
  EXPECT_EQ(awaited(client_->push_consumer_async({.group = "none"})).error().code,
            Errc::kInvalidArgument);
}

TEST_F(ThreeWays, AConsumerIsStartedFromACallbackOnAnIoThread) {
  Kept<PushConsumer> kept;
  producer_->send({.topic = "orders", .body = "x"}, 3s, [&](const Result<SendReceipt>&) {
    client_->push_consumer({.group = "late",
                            .subscriptions = {{"orders"}},
                            .from = StartFrom::kFirst,
                            .on_messages = received_.keep()},
                           kept.done());
  });
  const auto late = kept.get();
  ASSERT_TRUE(late) << late.error().detail;
  EXPECT_TRUE(received_.wait_for(1));
}

TEST_F(ThreeWays, AStartEndsWithItsClient) {
  broker_->freeze(true);  // nobody answers for a route
  Client short_lived = client();
  Kept<PushConsumer> kept;
  short_lived.push_consumer(
      {.group = "late", .subscriptions = {{"orders"}}, .on_messages = received_.keep()},
      kept.done());
  short_lived.shutdown();
  EXPECT_EQ(kept.get().error().code, Errc::kStopped);
}

TEST_F(ThreeWays, EndsOfWhateverHasOne) {
  const auto ends = [](auto& handle) {
    Kept<Ok> kept;
    handle.shutdown(kept.done());
    EXPECT_TRUE(kept.get());
    EXPECT_TRUE(awaited(handle.shutdown_async())) << "once more does no harm";
  };
  TransactionalProducer transactional = *client_->transactional_producer(
      {.producer = {.group = "transfers"},
       .on_check = [](const ReceivedMessage&) { return Outcome::kUnknown; }});
  LitePullConsumer lite = *client_->lite_pull_consumer({.group = "replay"});
  PullConsumer pull = *client_->pull_consumer({.group = "puller"});
  PushConsumer push = consumer({.on_messages = received_.keep()});
  ends(push);
  ends(lite);
  ends(pull);
  ends(transactional);
  ends(*producer_);
  EXPECT_EQ(producer_->send({.topic = "orders", .body = "x"}, 3s).error().code, Errc::kStopped);
  ends(*client_);
  EXPECT_EQ(client_->producer({.group = "late"}).error().code, Errc::kStopped);
}

/// What blocks there does not wait for the function it is called from; this waits for all.
TEST_F(ThreeWays, AnEndFromInsideTheConsumingFunctionIsToldAfterIt) {
  send({.body = "last"});
  std::atomic<bool> over{false};
  Kept<Ok> kept;
  std::promise<PushConsumer*> known;
  PushConsumer consuming = consumer(
      {.from = StartFrom::kFirst,
       .on_messages = [&, me = known.get_future().share()](std::span<const ReceivedMessage>) {
         me.get()->shutdown([&, done = kept.done()](Result<Ok> ended) {
           EXPECT_TRUE(over);
           done(std::move(ended));
         });
         std::this_thread::yield();
         over = true;
         return Consumed::kDone;
       }});
  known.set_value(&consuming);
  EXPECT_TRUE(kept.get());
}

TEST_F(ThreeWays, Administration) {
  const Admin admin = client_->admin();
  Kept<std::set<std::string>> kept;
  admin.call([](Admin& ask) { return ask.topics(3s); }, kept.done());
  EXPECT_THAT(*kept.get(), Contains("orders"));
  // Several requests as one call.
  const auto made = awaited(admin.call_async([](Admin& ask) -> Result<admin::TopicStatus> {
    const auto brokers = ask.brokers(3s);
    if (!brokers) return brokers.error();
    if (auto topic = ask.create_topic(brokers->front().address, {.name = "invoices"}, 3s); !topic)
      return topic.error();
    return ask.topic_status("invoices", brokers->front().address, 3s);
  }));
  ASSERT_TRUE(made) << made.error().detail;
  EXPECT_THAT(made->queues, SizeIs(8));
}

TEST_F(ThreeWays, AdministrationEndsWithItsClient) {
  Kept<std::set<std::string>> inside, after;
  {
    Client short_lived = client();
    const Admin admin = short_lived.admin();
    admin.call(
        [&](Admin& ask) {
          auto topics = ask.topics(3s);
          short_lived.shutdown();  // from inside
          return topics;
        },
        inside.done());
    EXPECT_TRUE(inside.get());
    admin.call([](Admin& ask) { return ask.topics(3s); }, after.done());
    EXPECT_EQ(after.get().error().code, Errc::kStopped);
  }
}

}  // namespace
}  // namespace apogee
