#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apogee/client.h"
#include "apogee/testing/broker.h"
#include "testing/eventually.h"

/// Clients that end at bad moments: under load, with the broker gone, from anywhere. Few rounds by
/// default; APOGEE_SHUTDOWN_ROUNDS and APOGEE_SOAK_SECONDS make it as long as wanted, under the
/// sanitizers for instance.
namespace apogee {
namespace {

using namespace std::chrono_literals;
using testing::eventually;

int from_environment(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text ? std::atoi(text) : otherwise;
}

/// Something that goes on until it is told to end.
class Ender {
 public:
  void end() {
    const std::lock_guard lock{mutex_};
    ended_ = true;
    changed_.notify_all();
  }
  /// False: it is to end.
  bool goes_on_after(std::chrono::milliseconds time) {
    std::unique_lock lock{mutex_};
    return !changed_.wait_for(lock, time, [&] { return ended_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;  // guarded by mutex_
};

class Ending : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = testing::Broker::start({.topics = {{"orders", 4}}});
    ASSERT_TRUE(started) << started.error().detail;
    broker_.emplace(*std::move(started));
  }
  std::optional<testing::Broker> broker_;
};

/// One program: a client, a producer under load, a consumer.
struct Program {
  explicit Program(const testing::Broker& broker, int round) {
    client = std::make_unique<Client>(
        *Client::start({.name_servers = {broker.name_server()}, .api_timeout = 500ms}));
    producer = std::make_unique<Producer>(*client->producer({.group = "loaded"}));
    auto made = client->push_consumer({.group = "round-" + std::to_string(round % 8),
                                       .subscriptions = {{"orders"}},
                                       .on_messages =
                                           [this](std::span<const ReceivedMessage>) {
                                             const std::lock_guard lock{acting};
                                             if (inside_consumer.exchange(false))
                                               consumer->shutdown();
                                             return Consumed::kDone;
                                           },
                                       .shutdown_wait = 2'000ms});
    // Without a broker there is nothing to consume from, and a consumer may say so.
    if (made) consumer = std::make_unique<PushConsumer>(*std::move(made));
  }

  void send(int count) {
    for (int i = 0; i < count; ++i) {
      ++begun;
      producer->send({.topic = "orders", .body = std::to_string(i)}, 1'000ms,
                     [this](Result<SendReceipt>) {
                       if (inside_callback.exchange(false)) producer->shutdown();
                       ++answered;
                     });
    }
  }

  std::atomic<int> begun{0}, answered{0};
  std::atomic<bool> inside_callback{false}, inside_consumer{false};
  std::mutex acting;  // the consuming function uses `consumer`
  std::unique_ptr<Client> client;
  std::unique_ptr<Producer> producer;
  std::unique_ptr<PushConsumer> consumer;
};

void harm(testing::Broker& broker, std::mt19937& random) {
  switch (random() % 6) {
    case 0:
      return broker.stop();
    case 1:
      return broker.cut_connections();
    case 2:
      return broker.freeze(true);
    case 3:
      return broker.refuse_connections(true);
    default:
      return;  // a broker that is well
  }
}

void heal(testing::Broker& broker) {
  broker.freeze(false);
  broker.refuse_connections(false);
  const bool well = broker.running() || broker.restart();
  ASSERT_TRUE(well);
}

TEST_F(Ending, EndsFromAnywhereUnderLoadWhateverTheBrokerDoes) {
  const int rounds = from_environment("APOGEE_SHUTDOWN_ROUNDS", 24);
  for (int round = 0; round < rounds; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    std::mt19937 random{static_cast<unsigned>(round)};
    Program program{*broker_, round};
    std::thread sender{[&] { program.send(100); }};
    if (random() % 2) sender.join();
    harm(*broker_, random);
    switch (random() % 6) {
      case 0:
        program.client->shutdown();
        break;
      case 1:
        program.producer->shutdown();
        break;
      case 2:
        program.inside_callback = true;
        break;
      case 3:
        program.inside_consumer = true;
        break;
      case 4:
        std::thread{[&] { program.client->shutdown(); }}.join();
        break;
      default:
        break;  // the destructors do it
    }
    if (sender.joinable()) sender.join();
    {
      const std::lock_guard lock{program.acting};
      program.inside_consumer = false;
    }
    if (random() % 2) program.consumer.reset();
    if (random() % 2) program.client.reset();  // before what was made from it
    program.producer->shutdown();
    EXPECT_TRUE(eventually([&] { return program.answered == program.begun; }))
        << program.answered << " of " << program.begun << " sends were answered";
    program.consumer.reset();
    heal(*broker_);
  }
}

TEST_F(Ending, DestroysItselfInsideItsCallback) {
  const int rounds = from_environment("APOGEE_SHUTDOWN_ROUNDS", 24);
  for (int round = 0; round < rounds; ++round) {
    auto client = std::make_unique<Client>(
        *Client::start({.name_servers = {broker_->name_server()}, .api_timeout = 500ms}));
    auto producer = std::make_unique<Producer>(*client->producer({.group = "inside"}));
    std::promise<void> done;
    Producer* const sender = producer.get();
    if (round % 3 == 0) broker_->cut_connections();
    sender->send({.topic = "orders", .body = "last"}, 2s, [&](Result<SendReceipt>) {
      if (round % 2) producer.reset();
      client.reset();
      producer.reset();
      done.set_value();
    });
    ASSERT_EQ(done.get_future().wait_for(10s), std::future_status::ready);
  }
}

TEST_F(Ending, LosesNothingAcknowledgedOnANetworkThatFlaps) {
  const auto until = std::chrono::steady_clock::now() +
                     std::chrono::seconds{from_environment("APOGEE_SOAK_SECONDS", 4)};
  auto client = Client::start({.name_servers = {broker_->name_server()}, .api_timeout = 500ms});
  ASSERT_TRUE(client);
  auto producer = client->producer({.group = "soak"});
  ASSERT_TRUE(producer);
  std::mutex mutex;
  std::set<std::string> stored, seen;
  auto consumer =
      client->push_consumer({.group = "soak",
                             .subscriptions = {{"orders"}},
                             .from = StartFrom::kFirst,
                             .on_messages = [&](std::span<const ReceivedMessage> batch) {
                               const std::lock_guard lock{mutex};
                               for (const auto& each : batch) seen.insert(each.body);
                               return Consumed::kDone;
                             }});
  ASSERT_TRUE(consumer) << consumer.error().detail;
  std::atomic<int> begun{0}, answered{0};
  Ender flapping;
  std::thread faults{[&] {
    std::mt19937 random{7};
    do {
      switch (random() % 3) {
        case 0:
          broker_->cut_connections();
          break;
        case 1:
          broker_->freeze(true);
          (void)flapping.goes_on_after(100ms);
          broker_->freeze(false);
          break;
        default:
          broker_->refuse_connections(true);
          broker_->cut_connections();
          (void)flapping.goes_on_after(50ms);
          broker_->refuse_connections(false);
      }
    } while (flapping.goes_on_after(150ms));
  }};
  for (int i = 0; std::chrono::steady_clock::now() < until; ++i) {
    ++begun;
    std::string body = std::to_string(i);
    producer->send({.topic = "orders", .body = body}, 2s, [&, body](Result<SendReceipt> sent) {
      const std::lock_guard lock{mutex};
      if (sent) stored.insert(body);
      ++answered;
    });
    if (i % 50 == 0) (void)flapping.goes_on_after(10ms);
  }
  EXPECT_TRUE(eventually([&] { return answered == begun; })) << answered << " of " << begun;
  flapping.end();
  faults.join();
  EXPECT_TRUE(eventually(
      [&] {
        const std::lock_guard lock{mutex};
        return std::ranges::includes(seen, stored);
      },
      60s))
      << "stored " << stored.size() << ", seen " << seen.size();
  EXPECT_GT(stored.size(), 0u);
}

}  // namespace
}  // namespace apogee
