#include <coroutine>
#include <future>

#include <gmock/gmock.h>

#include "apogee/admin.h"
#include "testing/consumer_fixture.h"

/// What can be waited for can be had with a callback and from a coroutine, too.
namespace apogee {
namespace {

using ::testing::Contains;
using ::testing::SizeIs;

constexpr auto kLong = 15s;

/// Runs by itself; the test waits for what it promises.
struct Task {
  struct promise_type {
    Task get_return_object() { return {}; }
    std::suspend_never initial_suspend() { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

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
Task await(Awaitable<T> begun, std::function<void(Result<T>)> done) {
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
  TransactionalProducer producer = *client_->transactional_producer(
      {.producer = {.group = "transfers"},
       .on_check = [](const ReceivedMessage&) { return Outcome::kUnknown; }});
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
  PushConsumer c = consumer({.from = StartFrom::kFirst, .on_messages = received_.keep()});
  ASSERT_TRUE(received_.wait_for(1));
  EXPECT_THAT(received_.bodies(), ::testing::ElementsAre("good"));
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
