#pragma once

// For tests only: a whole broker in this process, and clients that consume from it.

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apogee/client.h"
#include "apogee/consumer.h"
#include "apogee/testing/broker.h"
#include "client/instance.h"
#include "embedded/movable_clock.h"
#include "testing/eventually.h"

namespace apogee {

using namespace std::chrono_literals;
using testing::eventually;

/// What a consumer's function was given, to be waited for.
class Received {
 public:
  void add(const ReceivedMessage& message) {
    std::lock_guard lock{mutex_};
    messages_.push_back(message);
    changed_.notify_all();
  }
  /// False: not within the limit.
  bool wait_for(std::size_t count, std::chrono::milliseconds limit = 15s) {
    std::unique_lock lock{mutex_};
    return changed_.wait_for(lock, limit, [&] { return messages_.size() >= count; });
  }
  std::vector<ReceivedMessage> all() const {
    std::lock_guard lock{mutex_};
    return messages_;
  }
  std::vector<std::string> bodies() const {
    std::vector<std::string> out;
    for (const auto& each : all()) out.push_back(each.body);
    return out;
  }
  OnMessages keep() {
    return [this](std::span<const ReceivedMessage> batch) {
      for (const auto& each : batch) add(each);
      return Consumed::kDone;
    };
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<ReceivedMessage> messages_;
};

/// To standard error, if APOGEE_TEST_LOG is set.
inline std::function<void(std::string_view)> test_log() {
  if (std::getenv("APOGEE_TEST_LOG") == nullptr) return nullptr;
  return [](std::string_view line) {
    std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
  };
}

class ConsumerFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = testing::Broker::start({.topics = {{"orders", 4}}, .log = test_log()});
    ASSERT_TRUE(started) << started.error().detail;
    broker_.emplace(*std::move(started));
    client_.emplace(client());
    producer_.emplace(*client_->producer({.group = "checkout"}));
  }
  Client client(ClientConfig config = {}) {
    config.name_servers = {broker_->name_server()};
    if (auto log = test_log(); log && !config.log)
      config.log = [log](Severity, std::string_view line) { log(line); };
    auto made = Client::start(std::move(config));
    EXPECT_TRUE(made) << made.error().detail;
    return *std::move(made);
  }
  PushConsumer consumer(PushConsumerConfig config) {
    return consumer_of(*client_, std::move(config));
  }
  PushConsumer consumer_of(Client& of, PushConsumerConfig config) {
    if (config.group.empty()) config.group = "billing";
    if (config.subscriptions.empty()) config.subscriptions = {{"orders", all()}};
    auto made = of.push_consumer(std::move(config));
    EXPECT_TRUE(made) << made.error().detail;
    return *std::move(made);
  }
  void send(Message message) {
    if (message.topic.empty()) message.topic = "orders";
    const auto sent = producer_->send(message, 5s);
    ASSERT_TRUE(sent) << sent.error().detail;
  }
  void send_to(std::int32_t queue, const std::string& body) {
    const auto sent = producer_->send({.topic = "orders", .body = body},
                                      MessageQueue{"orders", "broker-a", queue}, 5s);
    ASSERT_TRUE(sent) << sent.error().detail;
  }
  void send_bodies(int count) {
    for (int i = 0; i < count; ++i) send({.body = std::to_string(i)});
  }
  /// As an operator's tool asks the broker.
  template <class Header>
  Result<remoting::OwnedCommand> ask_broker(std::int32_t code, const Header& header,
                                            const std::string& body = {}) {
    return client_->instance()->call_and_wait(broker_->address(), code, header, as_bytes(body), 5s);
  }

  std::optional<testing::Broker> broker_;
  std::optional<Client> client_;
  std::optional<Producer> producer_;
  Received received_;
};

/// A client whose time can be moved on.
class MovableClient {
 public:
  explicit MovableClient(ClientConfig config) {
    auto started = client::Instance::start(env_, nullptr, std::move(config));
    EXPECT_TRUE(started) << started.error().detail;
    client_.emplace(*std::move(started));
    watch_ = client_->instance();
  }
  ~MovableClient() {
    client_.reset();
    EXPECT_TRUE(eventually([&] { return watch_.expired(); })) << "somebody still uses the client";
  }
  Client& operator*() { return *client_; }
  void advance(std::chrono::milliseconds by) { clock_.advance(by); }

 private:
  std::unique_ptr<Logger> log_ = std::getenv("APOGEE_TEST_LOG") != nullptr
                                     ? make_logger("", LogLevel::kInfo)
                                     : make_silent_logger();
  embedded::MovableClock clock_{make_system_clock()};
  std::unique_ptr<FileSystem> files_ = make_posix_files();
  std::unique_ptr<Executor> workers_ = make_thread_pool(2, "test");
  std::unique_ptr<Transport> network_ = remoting::make_transport(1);
  Random random_{1};
  Env env_{clock_, *files_, *network_, *workers_, random_, *log_};
  std::optional<Client> client_;
  std::weak_ptr<client::Instance> watch_;
};

}  // namespace apogee
