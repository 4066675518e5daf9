#include "client/pull_consumer.h"

#include "apogee/client.h"
#include "client/consumer_config.h"
#include "client/consumption.h"
#include "client/namespaces.h"
#include "client/validation.h"
#include "client/version.h"
#include "client/waiting.h"

namespace apogee::client {
namespace {

Error invalid(const char* text) {
  return Error{Errc::kInvalidArgument, text};
}

PullResult::Status status_of(PullStatus status) {
  switch (status) {
    case PullStatus::kFound:
      return PullResult::Status::kFound;
    case PullStatus::kNoNewMessage:
      return PullResult::Status::kNoNewMessage;
    case PullStatus::kNoMatchedMessage:
      return PullResult::Status::kNoMatchedMessage;
    case PullStatus::kOffsetIllegal:
      return PullResult::Status::kOffsetIllegal;
  }
  return PullResult::Status::kNoNewMessage;
}

/// Until the route is known, if it is not; what comes of it, the pull finds out.
void with_route(Instance& instance, const std::string& topic, std::function<void()> then) {
  if (instance.routes().subscribe(topic)) return then();
  instance.refresh_route(topic, instance.config().api_timeout,
                         [then = std::move(then)](const Result<PublishInfoPtr>&) { then(); });
}

}  // namespace

Result<std::shared_ptr<PullCore>> PullCore::start(std::shared_ptr<Instance> instance,
                                                  PullConsumerConfig config) {
  if (auto checked = check_group(config.group); !checked) return checked.error();
  if (config.timeout_when_suspend < config.broker_suspend_max_time)
    return invalid(
        "Long polling mode, the consumer consumerTimeoutMillisWhenSuspend must greater than "
        "brokerSuspendMaxTimeMillis");
  std::shared_ptr<PullCore> core{new PullCore{std::move(instance), std::move(config)}};
  if (auto added = core->instance_->add(core); !added) return added.error();
  core->instance_->heartbeat_soon();
  return core;
}

PullCore::PullCore(std::shared_ptr<Instance> instance, PullConsumerConfig config)
    : instance_{std::move(instance)},
      config_{std::move(config)},
      group_{wrapped(config_.group, instance_->config().name_space)},
      started_ms_{instance_->env().clock.wall_ms()},
      store_{make_remote_offsets(instance_, group_)},
      send_back_{instance_,
                 {.group = group_,
                  .max_reconsume_times = config_.max_reconsume_times,
                  .unit_mode = config_.unit_mode}},
      puller_{instance_} {}

void PullCore::stop() {
  if (stopped_.exchange(true)) return;
  store_->persist_finally(store_->queues());
  store_->settle();
}

void PullCore::shutdown() {
  stop();
  instance_->remove(*this);
}

void PullCore::pull(const MessageQueue& queue, const Filter& filter, std::int64_t offset,
                    std::int32_t max, Suspend suspend, PullConsumer::Done done) {
  const auto finish = called_back(std::move(done));
  if (stopped_ || instance_->ending())
    return finish(Error{Errc::kStopped, "The consumer is not in running status"});
  if (offset < 0) return finish(invalid("offset < 0"));
  if (max <= 0) return finish(invalid("maxNums <= 0"));
  PullRequest request;
  request.queue = instance_->wire(queue);
  auto data = subscription_of(request.queue.topic, filter, 0);
  if (!data) return finish(data.error());
  request.subscription = std::make_shared<protocol::SubscriptionData>(*std::move(data));
  request.group = group_;
  request.offset = offset;
  request.max_messages = max;
  request.timeout = config_.pull_timeout;
  if (suspend == Suspend::kYes) {
    request.suspend = config_.broker_suspend_max_time;
    request.timeout = config_.timeout_when_suspend;
  }
  with_route(*instance_, request.queue.topic, [self = shared_from_this(), request, finish] {
    self->puller_.pull(request, [finish](Result<PullAnswer> answer) {
      if (!answer) return finish(answer.error());
      finish(PullResult{.status = status_of(answer->status),
                        .messages = std::move(*answer->messages),
                        .next_offset = answer->next_offset,
                        .min_offset = answer->min_offset,
                        .max_offset = answer->max_offset});
    });
  });
}

void PullCore::fetch_offset(const MessageQueue& queue, bool from_store, OffsetStore::Found found) {
  const MessageQueue name = instance_->wire(queue);
  if (!from_store)
    if (const auto here = store_->in_memory(name)) return found(here);
  store_->stored(name, std::move(found));
}

void PullCore::update_offset(const MessageQueue& queue, std::int64_t offset) {
  const MessageQueue name = instance_->wire(queue);
  store_->update(name, offset, false);
  with_route(*instance_, name.topic, [] {});  // so that it can be stored
}

void PullCore::persist_offsets() {
  // One by one: an offset that comes meanwhile is for the next time, not to be forgotten.
  for (const MessageQueue& each : store_->queues()) store_->persist(each);
}

protocol::ConsumerData PullCore::heartbeat() const {
  protocol::ConsumerData data;
  data.group_name = group_;
  data.consume_type = protocol::ConsumeType::kActively;
  data.unit_mode = config_.unit_mode;
  return data;
}

std::map<MessageQueue, std::int64_t> PullCore::offsets(const std::string& topic) const {
  return store_->of_topic(topic);
}

protocol::Json PullCore::running_info() const {
  protocol::Json info = protocol::Json::object();
  info.set("mqTable", protocol::Json::object());
  info.set("properties", protocol::to_json(running_properties(*instance_, group_, started_ms_)));
  info.set("statusTable", protocol::Json::object());
  info.set("subscriptionSet", protocol::Json{protocol::Json::Value{protocol::Json::Array{}}});
  return info;
}

protocol::Json PullCore::consume_directly(ReceivedMessage, const std::string&) {
  return direct_result(false, true, "CR_RETURN_NULL", "a consumer that pulls is not pushed to",
                       0ms);
}

void readable_queues_of(Instance& instance, const std::string& topic,
                        std::function<void(Result<std::vector<MessageQueue>>)> found) {
  const std::string name = wrapped(topic, instance.config().name_space);
  instance.refresh_route(
      name, instance.config().api_timeout,
      [self = instance.shared_from_this(), name, topic,
       found = std::move(found)](const Result<PublishInfoPtr>& route) {
        if (!route) return found(route.error());
        auto queues = self->routes().subscribe(name);
        if (!queues) return found(Error{Errc::kNotFound, "No route info of this topic: " + topic});
        for (MessageQueue& each : *queues) each.topic = topic;
        found(*std::move(queues));
      });
}

std::int64_t unix_ms(std::chrono::system_clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

std::map<std::string, std::string> running_properties(Instance& instance, const std::string& group,
                                                      std::int64_t started_ms) {
  std::string name_servers;
  for (const std::string& each : instance.name_servers().all()) name_servers += each + ";";
  return {{"PROP_CLIENT_VERSION", kVersion},
          {"PROP_CONSUMEORDERLY", "false"},
          {"PROP_CONSUMER_START_TIMESTAMP", std::to_string(started_ms)},
          {"PROP_CONSUME_TYPE", "CONSUME_ACTIVELY"},
          {"PROP_NAMESERVER_ADDR", name_servers},
          {"consumerGroup", group}};
}

}  // namespace apogee::client

// ---- The handles
// ---------------------------------------------------------------------------------

namespace apogee {

using client::awaitable;
using client::called_back;
using client::PullCore;
using client::wait_for;

Result<PullConsumer> Client::pull_consumer(PullConsumerConfig config) {
  auto core = PullCore::start(instance_, std::move(config));
  if (!core) return core.error();
  return PullConsumer{*std::move(core)};
}

PullConsumer::PullConsumer(std::shared_ptr<PullCore> core) : core_{std::move(core)} {}
PullConsumer::PullConsumer(PullConsumer&&) noexcept = default;
PullConsumer& PullConsumer::operator=(PullConsumer&& other) noexcept {
  if (this != &other) {
    shutdown();
    core_ = std::move(other.core_);
  }
  return *this;
}
PullConsumer::~PullConsumer() {
  shutdown();
}
void PullConsumer::shutdown() {
  if (core_) core_->shutdown();
}
void PullConsumer::shutdown(std::function<void(Result<Ok>)> done) {
  client::shut_down(core_, std::move(done));
}
Awaitable<Ok> PullConsumer::shutdown_async() {
  return client::shut_down(core_);
}

Result<PullResult> PullConsumer::pull(const MessageQueue& queue, const Filter& filter,
                                      std::int64_t offset, std::int32_t max) {
  return wait_for<PullResult>(
      [&](Done done) { pull(queue, filter, offset, max, std::move(done)); });
}
void PullConsumer::pull(const MessageQueue& queue, const Filter& filter, std::int64_t offset,
                        std::int32_t max, Done done) {
  core_->pull(queue, filter, offset, max, PullCore::Suspend::kNo, std::move(done));
}
Result<PullResult> PullConsumer::pull_block_if_not_found(const MessageQueue& queue,
                                                         const Filter& filter, std::int64_t offset,
                                                         std::int32_t max) {
  return wait_for<PullResult>(
      [&](Done done) { pull_block_if_not_found(queue, filter, offset, max, std::move(done)); });
}
void PullConsumer::pull_block_if_not_found(const MessageQueue& queue, const Filter& filter,
                                           std::int64_t offset, std::int32_t max, Done done) {
  core_->pull(queue, filter, offset, max, PullCore::Suspend::kYes, std::move(done));
}

Awaitable<PullResult> PullConsumer::pull_async(MessageQueue queue, Filter filter,
                                               std::int64_t offset, std::int32_t max) {
  return Awaitable<PullResult>{
      [core = core_, queue = std::move(queue), filter = std::move(filter), offset, max](Done done) {
        core->pull(queue, filter, offset, max, PullCore::Suspend::kNo, std::move(done));
      }};
}
Awaitable<PullResult> PullConsumer::pull_block_if_not_found_async(MessageQueue queue, Filter filter,
                                                                  std::int64_t offset,
                                                                  std::int32_t max) {
  return Awaitable<PullResult>{
      [core = core_, queue = std::move(queue), filter = std::move(filter), offset, max](Done done) {
        core->pull(queue, filter, offset, max, PullCore::Suspend::kYes, std::move(done));
      }};
}

void PullConsumer::update_offset(const MessageQueue& queue, std::int64_t offset) {
  core_->update_offset(queue, offset);
}
Result<std::optional<std::int64_t>> PullConsumer::fetch_offset(const MessageQueue& queue,
                                                               bool from_store) {
  return wait_for<std::optional<std::int64_t>>(
      [&](auto done) { core_->fetch_offset(queue, from_store, std::move(done)); });
}
void PullConsumer::fetch_offset(const MessageQueue& queue, bool from_store,
                                Callback<std::optional<std::int64_t>> done) {
  core_->fetch_offset(queue, from_store, called_back(std::move(done)));
}
Awaitable<std::optional<std::int64_t>> PullConsumer::fetch_offset_async(MessageQueue queue,
                                                                        bool from_store) {
  return awaitable<std::optional<std::int64_t>>(
      [core = core_, queue = std::move(queue), from_store](auto done) {
        core->fetch_offset(queue, from_store, std::move(done));
      });
}

Result<std::int64_t> PullConsumer::min_offset(const MessageQueue& queue) {
  return wait_for<std::int64_t>([&](auto done) {
    client::min_offset(core_->instance(), core_->instance().wire(queue), std::move(done));
  });
}
void PullConsumer::min_offset(const MessageQueue& queue, Callback<std::int64_t> done) {
  client::min_offset(core_->instance(), core_->instance().wire(queue),
                     called_back(std::move(done)));
}
Awaitable<std::int64_t> PullConsumer::min_offset_async(MessageQueue queue) {
  return awaitable<std::int64_t>([core = core_, queue = std::move(queue)](auto done) {
    client::min_offset(core->instance(), core->instance().wire(queue), std::move(done));
  });
}

Result<std::int64_t> PullConsumer::max_offset(const MessageQueue& queue) {
  return wait_for<std::int64_t>([&](auto done) {
    client::max_offset(core_->instance(), core_->instance().wire(queue), std::move(done));
  });
}
void PullConsumer::max_offset(const MessageQueue& queue, Callback<std::int64_t> done) {
  client::max_offset(core_->instance(), core_->instance().wire(queue),
                     called_back(std::move(done)));
}
Awaitable<std::int64_t> PullConsumer::max_offset_async(MessageQueue queue) {
  return awaitable<std::int64_t>([core = core_, queue = std::move(queue)](auto done) {
    client::max_offset(core->instance(), core->instance().wire(queue), std::move(done));
  });
}

Result<std::int64_t> PullConsumer::offset_for_time(const MessageQueue& queue,
                                                   std::chrono::system_clock::time_point time) {
  return wait_for<std::int64_t>([&](auto done) {
    client::offset_at(core_->instance(), core_->instance().wire(queue), client::unix_ms(time),
                      std::move(done));
  });
}
void PullConsumer::offset_for_time(const MessageQueue& queue,
                                   std::chrono::system_clock::time_point time,
                                   Callback<std::int64_t> done) {
  client::offset_at(core_->instance(), core_->instance().wire(queue), client::unix_ms(time),
                    called_back(std::move(done)));
}
Awaitable<std::int64_t> PullConsumer::offset_for_time_async(
    MessageQueue queue, std::chrono::system_clock::time_point time) {
  return awaitable<std::int64_t>([core = core_, queue = std::move(queue), time](auto done) {
    client::offset_at(core->instance(), core->instance().wire(queue), client::unix_ms(time),
                      std::move(done));
  });
}

Result<std::vector<MessageQueue>> PullConsumer::queues(const std::string& topic) {
  return wait_for<std::vector<MessageQueue>>(
      [&](auto done) { client::readable_queues_of(core_->instance(), topic, std::move(done)); });
}
void PullConsumer::queues(const std::string& topic, Callback<std::vector<MessageQueue>> done) {
  client::readable_queues_of(core_->instance(), topic, called_back(std::move(done)));
}
Awaitable<std::vector<MessageQueue>> PullConsumer::queues_async(std::string topic) {
  return awaitable<std::vector<MessageQueue>>([core = core_, topic = std::move(topic)](auto done) {
    client::readable_queues_of(core->instance(), topic, std::move(done));
  });
}

Result<Ok> PullConsumer::send_back(const ReceivedMessage& message, std::int32_t delay_level) {
  return wait_for<Ok>([&](auto done) {
    core_->send_back().send(std::make_shared<ReceivedMessage>(message), delay_level,
                            std::move(done));
  });
}
void PullConsumer::send_back(const ReceivedMessage& message, std::int32_t delay_level,
                             Callback<Ok> done) {
  core_->send_back().send(std::make_shared<ReceivedMessage>(message), delay_level,
                          called_back(std::move(done)));
}
Awaitable<Ok> PullConsumer::send_back_async(ReceivedMessage message, std::int32_t delay_level) {
  return awaitable<Ok>([core = core_, message = std::move(message), delay_level](auto done) {
    core->send_back().send(std::make_shared<ReceivedMessage>(message), delay_level,
                           std::move(done));
  });
}

}  // namespace apogee
