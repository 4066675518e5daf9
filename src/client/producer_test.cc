#include "apogee/producer.h"

#include <atomic>
#include <future>
#include <latch>
#include <limits>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apogee/client.h"
#include "apogee/testing/broker.h"
#include "testing/detached.h"
#include "testing/eventually.h"

namespace apogee {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

/// A client and a whole broker, in this process.
class Producing : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = testing::Broker::start({.topics = {{"orders", 4}}});
    ASSERT_TRUE(started) << started.error().detail;
    broker_.emplace(*std::move(started));
    auto client = Client::start({.name_servers = {broker_->name_server()}});
    ASSERT_TRUE(client) << client.error().detail;
    client_.emplace(*std::move(client));
  }
  Producer producer(ProducerConfig config = {}) {
    if (config.group.empty()) config.group = "checkout";
    auto made = client_->producer(std::move(config));
    EXPECT_TRUE(made) << made.error().detail;
    return *std::move(made);
  }

  /// Of what stands in a topic, read by another client.
  std::string first_body(const std::string& topic) {
    auto client = Client::start({.name_servers = {broker_->name_server()}});
    std::promise<std::string> body;
    std::atomic<bool> first{true};
    auto consumer =
        client->push_consumer({.group = "reader",
                               .subscriptions = {{topic}},
                               .from = StartFrom::kFirst,
                               .on_messages = [&](std::span<const ReceivedMessage> got) {
                                 if (first.exchange(false)) body.set_value(got.front().body);
                                 return Consumed::kDone;
                               }});
    EXPECT_TRUE(consumer) << consumer.error().detail;
    auto read = body.get_future();
    const bool in_time = read.wait_for(30s) == std::future_status::ready;
    EXPECT_TRUE(in_time);
    return in_time ? read.get() : std::string{};
  }

  std::optional<testing::Broker> broker_;
  std::optional<Client> client_;
};

TEST_F(Producing, SendsAndIsToldWhereTheMessageLies) {
  Producer p = producer();
  for (int i = 0; i < 8; ++i) {
    const auto sent =
        p.send({.topic = "orders", .body = "hello", .tag = "paid", .keys = {"o-17"}}, 3s);
    ASSERT_TRUE(sent) << sent.error().detail;
    EXPECT_EQ(sent->status, SendStatus::kOk);
    EXPECT_EQ(sent->message_id.size(), 32u);
    EXPECT_EQ(sent->offset_message_id.size(), 32u);
    EXPECT_EQ(sent->queue.topic, "orders");
    EXPECT_EQ(sent->queue_offset, i / 4) << "the four queues take turns";
  }
  EXPECT_EQ(p.statistics().sent, 8u);
  EXPECT_EQ(p.statistics().in_flight, 0u);
}

TEST_F(Producing, MakesATopicWithItsFirstMessage) {
  Producer p = producer();
  const auto sent = p.send({.topic = "new_topic", .body = "first"}, 3s);
  ASSERT_TRUE(sent) << sent.error().detail;
  // The broker tells its name server of the topic beside its answer.
  const auto end = std::chrono::steady_clock::now() + 10s;
  auto queues = p.queues("new_topic", 3s);
  while (!queues && std::chrono::steady_clock::now() < end) {
    std::this_thread::yield();
    queues = p.queues("new_topic", 3s);
  }
  ASSERT_TRUE(queues) << queues.error().detail;
  EXPECT_EQ(queues->size(), 4u);
}

TEST_F(Producing, CallsBackOncePerMessage) {
  Producer p = producer();
  constexpr int kMessages = 2'000;
  std::atomic<int> good{0};
  std::latch all{kMessages};
  for (int i = 0; i < kMessages; ++i)
    p.send({.topic = "orders", .body = std::to_string(i)}, 10s, [&](Result<SendReceipt> sent) {
      if (sent) ++good;
      all.count_down();
    });
  all.wait();
  EXPECT_EQ(good, kMessages);
}

TEST_F(Producing, KeepsMuchForABrokerThatPauses) {
  Producer p = producer({.compress_over_bytes = std::numeric_limits<std::size_t>::max()});
  const MessageQueue queue{"orders", "broker-a", 0};
  ASSERT_TRUE(p.send({.topic = "orders", .body = "first"}, queue, 5s));
  broker_->freeze(true);
  constexpr int kMessages = 20;
  const std::string large(4'000'000, 'x');
  std::atomic<int> good{0}, answered{0};
  for (int i = 0; i < kMessages; ++i)
    p.send({.topic = "orders", .body = large}, queue, 20s, [&](const Result<SendReceipt>& sent) {
      if (sent) ++good;
      ++answered;
    });
  EXPECT_FALSE(testing::eventually([&] { return answered > 0; }, 500ms));
  broker_->freeze(false);
  ASSERT_TRUE(testing::eventually([&] { return answered == kMessages; }, 25s));
  EXPECT_EQ(good, kMessages);
  const auto last = p.send({.topic = "orders", .body = "last"}, queue, 5s);
  ASSERT_TRUE(last) << last.error().detail;
  EXPECT_EQ(last->queue_offset, 1 + kMessages) << "each is stored once";
}

TEST_F(Producing, DropsOnewaysRatherThanFillUpForABrokerThatPauses) {
  Producer p = producer({.compress_over_bytes = std::numeric_limits<std::size_t>::max()});
  const MessageQueue queue{"orders", "broker-a", 0};
  ASSERT_TRUE(p.send({.topic = "orders", .body = "first"}, queue, 5s));
  broker_->freeze(true);
  constexpr int kMessages = 40;  // 160 MB
  const std::string large(4'000'000, 'x');
  for (int i = 0; i < kMessages; ++i)
    ASSERT_TRUE(p.send_oneway({.topic = "orders", .body = large}, queue));
  broker_->freeze(false);
  const auto last = p.send({.topic = "orders", .body = "last"}, queue, 20s);
  ASSERT_TRUE(last) << last.error().detail;
  EXPECT_LT(last->queue_offset, 30);
  EXPECT_GT(last->queue_offset, 10) << "only what is too much goes";
}

TEST_F(Producing, SendsFromACoroutine) {
  Producer p = producer();
  std::promise<Result<SendReceipt>> done;
  const auto coroutine = [](Producer& with,
                            std::promise<Result<SendReceipt>>& out) -> testing::Detached {
    Message message{.topic = "orders", .body = "awaited"};
    auto sent = co_await with.send_async(std::move(message), 3s);
    out.set_value(std::move(sent));
  };
  coroutine(p, done);
  const auto sent = done.get_future().get();
  ASSERT_TRUE(sent) << sent.error().detail;
}

TEST_F(Producing, ACoroutineThatIsRefusedAHundredThousandTimesNeedsNoMoreStack) {
  Producer p = producer();
  p.shutdown();
  int refused = 0;
  const auto coroutine = [](Producer& with, int& count) -> testing::Detached {
    for (int i = 0; i < 100'000; ++i) {
      Message message{.topic = "orders", .body = "late"};
      const auto sent = co_await with.send_async(std::move(message), 3s);
      if (!sent && sent.error().code == Errc::kStopped) ++count;
    }
  };
  coroutine(p, refused);
  EXPECT_EQ(refused, 100'000);
}

TEST_F(Producing, TheLongestTimeoutIsNoneAtAll) {
  Producer p = producer();
  const auto sent =
      p.send({.topic = "orders", .body = "patient"}, std::chrono::milliseconds::max());
  EXPECT_TRUE(sent) << sent.error().detail;
  EXPECT_TRUE(p.queues("orders", std::chrono::milliseconds::max()));
  EXPECT_EQ(
      p.send({.topic = "orders", .body = "late"}, std::chrono::milliseconds::min()).error().code,
      Errc::kTimeout);
}

TEST_F(Producing, ATransactionalOneIsGoneInsideItsOwnLocalPart) {
  std::optional<TransactionalProducer> p{*client_->transactional_producer(
      {.producer = {.group = "transfers"},
       .on_check = [](const ReceivedMessage&) { return Outcome::kUnknown; }})};
  const auto sent = p->send(
      {.topic = "orders", .body = "x"},
      [&p] {
        p.reset();
        return Outcome::kCommit;
      },
      3s);
  ASSERT_TRUE(sent) << sent.error().detail;
  EXPECT_EQ(sent->outcome, Outcome::kCommit);
}

TEST_F(Producing, KeepsAKeyInItsQueue) {
  Producer p = producer();
  std::set<std::int32_t> queues;
  for (int i = 0; i < 10; ++i)
    queues.insert(
        p.send({.topic = "orders", .body = "x"}, by_key("customer-42"), 3s)->queue.queue_id);
  EXPECT_EQ(queues.size(), 1u);
  const auto there =
      p.send({.topic = "orders", .body = "x"}, MessageQueue{"orders", "broker-a", 3}, 3s);
  ASSERT_TRUE(there) << there.error().detail;
  EXPECT_EQ(there->queue.queue_id, 3);
}

TEST_F(Producing, SendsABatchInOneRequest) {
  Producer p = producer();
  std::vector<Message> batch;
  for (int i = 0; i < 10; ++i) batch.push_back({.topic = "orders", .body = std::to_string(i)});
  const auto sent = p.send(std::span<const Message>{batch}, 3s);
  ASSERT_TRUE(sent) << sent.error().detail;
  EXPECT_EQ(std::ranges::count(sent->message_id, ','), 9);
  EXPECT_EQ(p.statistics().sent, 1u);
}

TEST_F(Producing, SendsABatchToTheQueueThatWasChosen) {
  Producer p = producer();
  const std::vector<Message> batch{{.topic = "orders", .body = "a"},
                                   {.topic = "orders", .body = "b"}};
  const MessageQueue queue{"orders", "broker-a", 2};
  const auto sent = p.send(std::span<const Message>{batch}, queue, 3s);
  ASSERT_TRUE(sent) << sent.error().detail;
  EXPECT_EQ(sent->queue.queue_id, 2);
  const auto wrong =
      p.send(std::span<const Message>{batch}, MessageQueue{"bills", "broker-a", 2}, 3s);
  EXPECT_EQ(wrong.error().code, Errc::kInvalidArgument);
}

TEST_F(Producing, GathersMessagesSentOneByOne) {
  Producer p = producer({.group = "gathering", .batch_delay = 5ms});
  constexpr int kMessages = 100;
  std::latch all{kMessages};
  std::mutex mutex;
  std::set<std::string> ids;
  for (int i = 0; i < kMessages; ++i)
    p.send({.topic = "orders", .body = std::to_string(i)}, 5s, [&](Result<SendReceipt> sent) {
      EXPECT_TRUE(sent) << sent.error().detail;
      {
        std::lock_guard lock{mutex};
        if (sent) ids.insert(sent->message_id);
      }
      all.count_down();
    });
  all.wait();
  EXPECT_EQ(ids.size(), static_cast<std::size_t>(kMessages));
  EXPECT_LT(p.statistics().sent, 20u) << "batches, not messages";
}

TEST_F(Producing, RefusesWhatCanNotBeSent) {
  Producer p = producer();
  EXPECT_EQ(p.send({.topic = "", .body = "x"}, 1s).error().code, Errc::kInvalidArgument);
  EXPECT_THAT(p.send({.topic = "orders", .body = ""}, 1s).error().detail,
              HasSubstr("length is zero"));
  EXPECT_EQ(p.send({.topic = "orders", .body = std::string((4 << 20) + 1, 'x')}, 1s)
                .error()
                .response_code,
            13);
  EXPECT_THAT(p.send({.topic = "SCHEDULE_TOPIC_XXXX", .body = "x"}, 1s).error().detail,
              HasSubstr("forbidden"));
}

TEST_F(Producing, KnowsAGroupOnce) {
  Producer p = producer();
  const auto second = client_->producer({.group = "checkout"});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kExists);
  EXPECT_THAT(second.error().detail, HasSubstr("has been created before"));
  p.shutdown();
  EXPECT_TRUE(client_->producer({.group = "checkout"}));
  EXPECT_EQ(client_->producer({.group = "DEFAULT_PRODUCER"}).error().code, Errc::kInvalidArgument);
}

TEST_F(Producing, EndsASendAtItsDeadlineWhenABrokerHangs) {
  Producer p = producer();
  ASSERT_TRUE(p.send({.topic = "orders", .body = "x"}, 3s));
  broker_->freeze(true);
  const auto began = std::chrono::steady_clock::now();
  const auto sent = p.send({.topic = "orders", .body = "x"}, 300ms);
  const auto took = std::chrono::steady_clock::now() - began;
  broker_->freeze(false);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, Errc::kTimeout);
  EXPECT_TRUE(sent.error().perhaps_done);
  EXPECT_LT(took, 2s);
}

TEST_F(Producing, TriesAgainOverANewConnection) {
  Producer p = producer();
  ASSERT_TRUE(p.send({.topic = "orders", .body = "x"}, 3s));
  for (int i = 0; i < 10; ++i) {
    broker_->cut_connections();
    const auto sent = p.send({.topic = "orders", .body = "x"}, 3s);
    EXPECT_TRUE(sent) << sent.error().detail;
  }
}

TEST_F(Producing, BoundsWhatIsInFlight) {
  Producer p = producer({.group = "bounded", .max_in_flight = 10});
  ASSERT_TRUE(p.send({.topic = "orders", .body = "x"}, 3s));
  broker_->freeze(true);
  std::latch all{30};
  std::atomic<int> busy{0};
  for (int i = 0; i < 30; ++i)
    p.send({.topic = "orders", .body = "x"}, i < 10 ? 1'000ms : 200ms,
           [&](Result<SendReceipt> sent) {
             if (!sent && sent.error().code == Errc::kBusy) ++busy;
             all.count_down();
           });
  EXPECT_LE(p.statistics().in_flight, 10u);
  all.wait();
  broker_->freeze(false);
  EXPECT_EQ(busy, 20);
}

TEST_F(Producing, AnswersNoMoreOnceTheClientIsGone) {
  Producer p = producer();
  client_.reset();
  const auto sent = p.send({.topic = "orders", .body = "x"}, 1s);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, Errc::kStopped);
}

TEST_F(Producing, WritesItsSendsToTheTraceTopic) {
  ASSERT_TRUE(broker_->create_topic({"traces", 1}));
  Producer p = producer({.group = "traced", .trace = true, .trace_topic = "traces"});
  const auto sent = p.send({.topic = "orders", .body = "x", .tag = "paid", .keys = {"o-17"}}, 3s);
  ASSERT_TRUE(sent) << sent.error().detail;
  p.shutdown();  // what waits is sent now, not after five seconds
  const std::string text = first_body("traces");
  EXPECT_TRUE(text.starts_with("Pub\x01")) << text;
  EXPECT_THAT(text, HasSubstr(sent->message_id));
  EXPECT_THAT(text, HasSubstr("o-17"));
  EXPECT_THAT(text, HasSubstr("traced"));
}

TEST_F(Producing, WritesWhatItSentLastToTheTraceTopicWhenItsClientEnds) {
  ASSERT_TRUE(broker_->create_topic({"traces", 1}));
  Producer p = producer({.group = "traced", .trace = true, .trace_topic = "traces"});
  const auto sent = p.send({.topic = "orders", .body = "x"}, 3s);
  ASSERT_TRUE(sent) << sent.error().detail;
  client_->shutdown();
  EXPECT_THAT(first_body("traces"), HasSubstr(sent->message_id));
}

TEST_F(Producing, EndsFromInsideItsOwnCallback) {
  for (int round = 0; round < 20; ++round) {
    auto client =
        std::make_unique<Client>(*Client::start({.name_servers = {broker_->name_server()}}));
    auto p = std::make_unique<Producer>(*client->producer({.group = "inside"}));
    std::promise<void> done;
    Producer* const sender = p.get();
    sender->send({.topic = "orders", .body = "last"}, 3s, [&](Result<SendReceipt>) {
      p.reset();
      client.reset();
      done.set_value();
    });
    done.get_future().wait();
  }
}

TEST_F(Producing, StopsWithLoadAndABrokerThatComesAndGoes) {
  for (int round = 0; round < 15; ++round) {
    auto client = Client::start({.name_servers = {broker_->name_server()}});
    ASSERT_TRUE(client);
    auto p = client->producer({.group = "loaded"});
    ASSERT_TRUE(p);
    std::atomic<int> answered{0};
    constexpr int kMessages = 200;
    std::thread sender{[&] {
      for (int i = 0; i < kMessages; ++i)
        p->send({.topic = "orders", .body = "x"}, 2s, [&](Result<SendReceipt>) { ++answered; });
    }};
    if (round % 3 == 0) broker_->cut_connections();
    sender.join();
    if (round % 2 == 0) client->shutdown();
    p->shutdown();
    *client = *Client::start({.name_servers = {broker_->name_server()}});  // the first is gone
    EXPECT_TRUE(testing::eventually([&] { return answered == kMessages; }))
        << answered << " in round " << round;
  }
}

}  // namespace
}  // namespace apogee
