#include "apogee/client.h"
#include "apogee/pull_consumer.h"
#include "client/lite_pull.h"

namespace apogee {

using client::LitePullCore;

Result<LitePullConsumer> Client::lite_pull_consumer(LitePullConsumerConfig config) {
  auto core = LitePullCore::start(instance_, std::move(config));
  if (!core) return core.error();
  return LitePullConsumer{*std::move(core)};
}

LitePullConsumer::LitePullConsumer(std::shared_ptr<LitePullCore> core) : core_{std::move(core)} {}
LitePullConsumer::LitePullConsumer(LitePullConsumer&&) noexcept = default;
LitePullConsumer& LitePullConsumer::operator=(LitePullConsumer&& other) noexcept {
  if (this != &other) {
    shutdown();
    core_ = std::move(other.core_);
  }
  return *this;
}
LitePullConsumer::~LitePullConsumer() {
  shutdown();
}
void LitePullConsumer::shutdown() {
  if (core_) core_->shutdown();
}

Result<Ok> LitePullConsumer::subscribe(const std::string& topic, Filter filter) {
  return core_->subscribe(topic, filter);
}
void LitePullConsumer::unsubscribe(const std::string& topic) {
  core_->unsubscribe(topic);
}
Result<Ok> LitePullConsumer::assign(const std::vector<MessageQueue>& queues, Filter filter) {
  return core_->assign(queues, filter);
}
std::vector<MessageQueue> LitePullConsumer::assignment() const {
  return core_->assignment();
}

LitePullConsumer::Messages LitePullConsumer::poll() {
  return core_->poll(core_->config().poll_timeout);
}
LitePullConsumer::Messages LitePullConsumer::poll(Milliseconds timeout) {
  return core_->poll(timeout);
}

Result<Ok> LitePullConsumer::seek(const MessageQueue& queue, std::int64_t offset) {
  return core_->seek(queue, offset);
}
Result<Ok> LitePullConsumer::seek_to_begin(const MessageQueue& queue) {
  return core_->seek_to(queue, LitePullCore::End::kBegin);
}
Result<Ok> LitePullConsumer::seek_to_end(const MessageQueue& queue) {
  return core_->seek_to(queue, LitePullCore::End::kEnd);
}
void LitePullConsumer::pause(const std::vector<MessageQueue>& queues) {
  core_->set_paused(queues, true);
}
void LitePullConsumer::resume(const std::vector<MessageQueue>& queues) {
  core_->set_paused(queues, false);
}
bool LitePullConsumer::is_paused(const MessageQueue& queue) const {
  return core_->is_paused(queue);
}

void LitePullConsumer::commit() {
  core_->commit();
}
void LitePullConsumer::commit(const std::set<MessageQueue>& queues, bool persist) {
  core_->commit(queues, persist);
}
void LitePullConsumer::commit(const std::map<MessageQueue, std::int64_t>& offsets, bool persist) {
  core_->commit(offsets, persist);
}
Result<std::optional<std::int64_t>> LitePullConsumer::committed(const MessageQueue& queue) {
  return core_->committed(queue);
}

Result<std::int64_t> LitePullConsumer::offset_for_time(const MessageQueue& queue,
                                                       std::chrono::system_clock::time_point time) {
  return core_->offset_for_time(
      queue,
      std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count());
}
Result<std::vector<MessageQueue>> LitePullConsumer::queues(const std::string& topic) {
  return core_->queues(topic);
}
void LitePullConsumer::on_queues_changed(
    const std::string& topic, std::function<void(const std::set<MessageQueue>& queues)> listener) {
  core_->on_queues_changed(topic, std::move(listener));
}

}  // namespace apogee
