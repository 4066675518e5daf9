#include "apogee/consumer.h"

#include "apogee/client.h"
#include "client/push_consumer.h"

namespace apogee {

Result<PushConsumer> Client::push_consumer(PushConsumerConfig config) {
  auto core = client::PushConsumerCore::start(instance_, std::move(config));
  if (!core) return core.error();
  return PushConsumer{*std::move(core)};
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
