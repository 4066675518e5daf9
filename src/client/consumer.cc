#include "apogee/consumer.h"

#include "apogee/client.h"
#include "client/push_consumer.h"
#include "client/waiting.h"

namespace apogee {
namespace {

using InstancePtr = std::shared_ptr<client::Instance>;

Result<PushConsumer> start_push(InstancePtr instance, PushConsumerConfig config) {
  auto core = client::PushConsumerCore::start(std::move(instance), std::move(config));
  if (!core) return core.error();
  return PushConsumer{*std::move(core)};
}

void start_push(InstancePtr instance, PushConsumerConfig config,
                std::function<void(Result<PushConsumer>)> done) {
  client::without_waiting<PushConsumer>(
      [instance = std::move(instance), config = std::move(config)]() mutable {
        return start_push(std::move(instance), std::move(config));
      },
      std::move(done));
}

}  // namespace

Result<PushConsumer> Client::push_consumer(PushConsumerConfig config) {
  return start_push(instance_, std::move(config));
}
void Client::push_consumer(PushConsumerConfig config,
                           std::function<void(Result<PushConsumer>)> done) {
  start_push(instance_, std::move(config), std::move(done));
}
Awaitable<PushConsumer> Client::push_consumer_async(PushConsumerConfig config) {
  return Awaitable<PushConsumer>{
      [instance = instance_, config = std::move(config)](auto done) mutable {
        start_push(std::move(instance), std::move(config), std::move(done));
      }};
}

PushConsumer::PushConsumer(std::shared_ptr<client::PushConsumerCore> core)
    : core_{std::move(core)} {}
PushConsumer::PushConsumer(PushConsumer&&) noexcept = default;
PushConsumer& PushConsumer::operator=(PushConsumer&& other) noexcept {
  if (this != &other) {
    shutdown();
    core_ = std::move(other.core_);
  }
  return *this;
}
PushConsumer::~PushConsumer() {
  shutdown();
}
void PushConsumer::shutdown() {
  if (core_) core_->shutdown();
}
void PushConsumer::shutdown(std::function<void(Result<Ok>)> done) {
  client::shut_down(core_, std::move(done));
}
Awaitable<Ok> PushConsumer::shutdown_async() {
  return client::shut_down(core_);
}
void PushConsumer::suspend() {
  core_->suspend();
}
void PushConsumer::resume() {
  core_->resume();
}
Result<Ok> PushConsumer::subscribe(const std::string& topic, Filter filter) {
  return core_->subscribe(topic, filter);
}
void PushConsumer::unsubscribe(const std::string& topic) {
  core_->unsubscribe(topic);
}
std::vector<MessageQueue> PushConsumer::queues() const {
  return core_->queues();
}
PushConsumerStatistics PushConsumer::statistics() const {
  return core_->statistics();
}

}  // namespace apogee
