#include "apogee/client.h"
#include "apogee/pull_consumer.h"
#include "client/lite_pull.h"
#include "client/pull_consumer.h"
#include "client/waiting.h"

namespace apogee {

using client::awaitable;
using client::called_back;
using client::LitePullCore;
using client::wait_for;

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
void LitePullConsumer::shutdown(std::function<void(Result<Ok>)> done) {
  client::shut_down(core_, std::move(done));
}
Awaitable<Ok> LitePullConsumer::shutdown_async() {
  return client::shut_down(core_);
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

bool LitePullConsumer::is_running() const {
  return !core_->ended();
}

LitePullConsumer::Messages LitePullConsumer::poll() {
  return poll(core_->config().poll_timeout);
}
LitePullConsumer::Messages LitePullConsumer::poll(Milliseconds timeout) {
  auto polled = wait_for<Messages>([&](auto done) { core_->poll(timeout, std::move(done)); });
  return polled ? *std::move(polled) : Messages{};
}
void LitePullConsumer::poll(Milliseconds timeout, Callback<Messages> done) {
  core_->poll(timeout, core_->on_worker(std::move(done)));
}
Awaitable<LitePullConsumer::Messages> LitePullConsumer::poll_async(Milliseconds timeout) {
  return Awaitable<Messages>{[core = core_, timeout](Callback<Messages> done) {
    core->poll(timeout, core->on_worker(std::move(done)));
  }};
}

Result<Ok> LitePullConsumer::seek(const MessageQueue& queue, std::int64_t offset) {
  return wait_for<Ok>([&](auto done) { core_->seek(queue, offset, std::move(done)); });
}
void LitePullConsumer::seek(const MessageQueue& queue, std::int64_t offset, Callback<Ok> done) {
  core_->seek(queue, offset, called_back(std::move(done)));
}
Awaitable<Ok> LitePullConsumer::seek_async(MessageQueue queue, std::int64_t offset) {
  return awaitable<Ok>([core = core_, queue = std::move(queue), offset](auto done) {
    core->seek(queue, offset, std::move(done));
  });
}

Result<Ok> LitePullConsumer::seek_to_begin(const MessageQueue& queue) {
  return wait_for<Ok>(
      [&](auto done) { core_->seek_to(queue, LitePullCore::End::kBegin, std::move(done)); });
}
void LitePullConsumer::seek_to_begin(const MessageQueue& queue, Callback<Ok> done) {
  core_->seek_to(queue, LitePullCore::End::kBegin, called_back(std::move(done)));
}
Awaitable<Ok> LitePullConsumer::seek_to_begin_async(MessageQueue queue) {
  return awaitable<Ok>([core = core_, queue = std::move(queue)](auto done) {
    core->seek_to(queue, LitePullCore::End::kBegin, std::move(done));
  });
}

Result<Ok> LitePullConsumer::seek_to_end(const MessageQueue& queue) {
  return wait_for<Ok>(
      [&](auto done) { core_->seek_to(queue, LitePullCore::End::kEnd, std::move(done)); });
}
void LitePullConsumer::seek_to_end(const MessageQueue& queue, Callback<Ok> done) {
  core_->seek_to(queue, LitePullCore::End::kEnd, called_back(std::move(done)));
}
Awaitable<Ok> LitePullConsumer::seek_to_end_async(MessageQueue queue) {
  return awaitable<Ok>([core = core_, queue = std::move(queue)](auto done) {
    core->seek_to(queue, LitePullCore::End::kEnd, std::move(done));
  });
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
  return wait_for<std::optional<std::int64_t>>(
      [&](auto done) { core_->committed(queue, std::move(done)); });
}
void LitePullConsumer::committed(const MessageQueue& queue,
                                 Callback<std::optional<std::int64_t>> done) {
  core_->committed(queue, called_back(std::move(done)));
}
Awaitable<std::optional<std::int64_t>> LitePullConsumer::committed_async(MessageQueue queue) {
  return awaitable<std::optional<std::int64_t>>(
      [core = core_, queue = std::move(queue)](auto done) {
        core->committed(queue, std::move(done));
      });
}

Result<std::int64_t> LitePullConsumer::offset_for_time(const MessageQueue& queue,
                                                       std::chrono::system_clock::time_point time) {
  return wait_for<std::int64_t>([&](auto done) {
    client::offset_at(core_->instance(), core_->instance().wire(queue), client::unix_ms(time),
                      std::move(done));
  });
}
void LitePullConsumer::offset_for_time(const MessageQueue& queue,
                                       std::chrono::system_clock::time_point time,
                                       Callback<std::int64_t> done) {
  client::offset_at(core_->instance(), core_->instance().wire(queue), client::unix_ms(time),
                    called_back(std::move(done)));
}
Awaitable<std::int64_t> LitePullConsumer::offset_for_time_async(
    MessageQueue queue, std::chrono::system_clock::time_point time) {
  return awaitable<std::int64_t>([core = core_, queue = std::move(queue), time](auto done) {
    client::offset_at(core->instance(), core->instance().wire(queue), client::unix_ms(time),
                      std::move(done));
  });
}

Result<std::vector<MessageQueue>> LitePullConsumer::queues(const std::string& topic) {
  return wait_for<std::vector<MessageQueue>>(
      [&](auto done) { client::readable_queues_of(core_->instance(), topic, std::move(done)); });
}
void LitePullConsumer::queues(const std::string& topic, Callback<std::vector<MessageQueue>> done) {
  client::readable_queues_of(core_->instance(), topic, called_back(std::move(done)));
}
Awaitable<std::vector<MessageQueue>> LitePullConsumer::queues_async(std::string topic) {
  return awaitable<std::vector<MessageQueue>>([core = core_, topic = std::move(topic)](auto done) {
    client::readable_queues_of(core->instance(), topic, std::move(done));
  });
}

void LitePullConsumer::on_queues_changed(
    const std::string& topic, std::function<void(const std::set<MessageQueue>& queues)> listener) {
  core_->on_queues_changed(topic, std::move(listener));
}

}  // namespace apogee
