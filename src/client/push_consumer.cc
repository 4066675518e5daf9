#include "client/push_consumer.h"

#include <exception>
#include <future>

#include <fmt/format.h>

#include "client/consumer_config.h"
#include "client/namespaces.h"
#include "client/thrown.h"
#include "protocol/codes.h"
#include "protocol/message.h"
#include "protocol/names.h"

namespace apogee::client {
namespace {

namespace request_code = protocol::request_code;
namespace response = protocol::response_code;

constexpr auto kRebalanceAgain = 1s;         // after a round that could not do all it should
constexpr auto kLockAgain = 500ms;           // the same, for want of locks
constexpr auto kMissingRoutesFirst = 250ms;  // asked for again in double the time, and so on
constexpr auto kMissingRoutesMost = 16s;
constexpr auto kFirstPullDelay = 500ms;  // whoever had the queue stores its offset meanwhile
constexpr auto kResetDelay = 10s;        // batches under way end meanwhile
constexpr auto kBrokerSuspend = 15'000ms;
constexpr auto kPullTimeout = 30'000ms;
constexpr std::int32_t kReconsumeTimesMax = 16;
constexpr std::int64_t kMiB = 1 << 20;

std::int32_t most_reconsume_times(const PushConsumerConfig& config) {
  if (config.max_reconsume_times >= 0) return config.max_reconsume_times;
  return config.on_messages_orderly ? std::numeric_limits<std::int32_t>::max() : kReconsumeTimesMax;
}

bool is_good(Consumed result) {
  return result == Consumed::kDone;
}
bool is_good(ConsumedOrderly result) {
  return result == ConsumedOrderly::kDone || result == ConsumedOrderly::kCommit;
}

}  // namespace

// ---- Life
// ----------------------------------------------------------------------------------------

Result<std::shared_ptr<PushConsumerCore>> PushConsumerCore::start(
    std::shared_ptr<Instance> instance, PushConsumerConfig config) {
  if (CallbackScope::on_io_thread())
    return Error{
        Errc::kInvalidArgument,
        "a consumer waits for brokers when it starts: not from a callback on an io thread"};
  if (auto checked = check_config(config); !checked) return checked.error();
  std::shared_ptr<PushConsumerCore> core{
      new PushConsumerCore{std::move(instance), std::move(config)}};
  for (const Subscription& each : core->config_.subscriptions)
    if (auto added = core->subscriptions_.add(
            wrapped(each.topic, core->instance_->config().name_space), each.filter);
        !added)
      return added.error();
  if (core->clustering()) {
    if (auto added = core->subscriptions_.add(core->retry_topic_, all()); !added)
      return added.error();
  }
  if (auto loaded = core->store_->load(); !loaded) return loaded.error();
  if (auto added = core->instance_->add(core); !added) return added.error();
  if (auto begun = core->begin_work(); !begun) {
    core->shutdown();
    return begun.error();
  }
  return core;
}

GroupMember::Settings PushConsumerCore::member_of(const Instance& instance,
                                                  const PushConsumerConfig& config) {
  const bool orderly = static_cast<bool>(config.on_messages_orderly);
  return {.division = {.group = wrapped(config.group, instance.config().name_space),
                       .model = config.model,
                       .allocation = config.allocation,
                       .client_side = config.client_rebalance || orderly},
          .divide_again = orderly ? Clock::Duration{kLockAgain} : Clock::Duration{kRebalanceAgain},
          .end_wait = config.shutdown_wait,
          .from = config.from,
          .from_time = config.from_time,
          .offset_directory = config.offset_directory,
          .trace_topic = config.trace ? config.trace_topic : "",
          .accept = config.accept};
}

PushConsumerCore::PushConsumerCore(std::shared_ptr<Instance> instance, PushConsumerConfig config)
    : GroupMember{instance, member_of(*instance, config)},
      config_{std::move(config)},
      retry_topic_{protocol::retry_topic(group_)},
      consume_threads_{
          own_threads(static_cast<std::size_t>(config_.consume_thread_min), "consume")},
      send_back_{instance_,
                 {.group = group_,
                  .max_reconsume_times = most_reconsume_times(config_),
                  .unit_mode = config_.unit_mode}},
      locks_{instance_, *this},
      statistics_{instance_->env().clock},
      consumption_{orderly() ? make_orderly(*this) : make_concurrent(*this)} {
  count_thresholds(1);
}

PushConsumerCore::~PushConsumerCore() = default;

Result<Ok> PushConsumerCore::begin_work() {
  learn_routes(topics());
  if (auto checked = check_filters(); !checked) return checked;
  if (ended()) return Error{Errc::kStopped, "the client was shut down while the consumer started"};
  instance_->forget_heartbeats();
  instance_->heartbeat_to_all();
  consumption_->begin();
  rebalance_soon();
  learn_missing_routes(kMissingRoutesFirst);
  return Ok{};
}

/// Unknown topics are no error: they may come.
void PushConsumerCore::learn_routes(const std::vector<std::string>& topics) {
  const auto timeout = instance_->config().api_timeout;
  std::vector<std::future<void>> answers;
  for (const std::string& topic : topics) {
    auto answered = std::make_shared<std::promise<void>>();
    answers.push_back(answered->get_future());
    instance_->refresh_route(topic, timeout,
                             [answered](const Result<PublishInfoPtr>&) { answered->set_value(); });
  }
  for (auto& each : answers) each.wait_for(timeout);
}

/// The retry topic comes into being with the group's first heartbeat, a moment after the start: its
/// route is not waited for until the next poll. A route that arrives begins a rebalance.
void PushConsumerCore::learn_missing_routes(Clock::Duration delay) {
  if (delay > kMissingRoutesMost) return;
  after(delay, [this, delay] {
    bool missing = false;
    for (const std::string& topic : topics()) {
      if (instance_->routes().subscribe(topic)) continue;
      missing = true;
      instance_->refresh_route(topic, instance_->config().api_timeout,
                               [](const Result<PublishInfoPtr>&) {});
    }
    if (missing) learn_missing_routes(delay * 2);
  });
}

/// Tags need no check. One broker is asked about each other filter.
Result<Ok> PushConsumerCore::check_filters() {
  for (const std::string& topic : topics()) {
    protocol::CheckClientBody body;
    body.client_id = instance_->id();
    body.group = group_;
    body.subscription_data = *subscription(topic);
    if (body.subscription_data.expression_type == "TAG") continue;
    const std::string address =
        instance_->routes().any_broker(topic, instance_->env().random.next());
    if (address.empty()) continue;
    const Buffer text = protocol::encode_body(body);
    const auto answer =
        instance_->call_and_wait(address, request_code::kCheckClientConfig, protocol::NoFields{},
                                 as_bytes(text), instance_->config().api_timeout);
    if (!answer) return answer.error();
    if (answer->code != response::kSuccess)
      return Error{Errc::kInvalidArgument,
                   fmt::format("Check client in broker error, maybe because you use {} to filter "
                               "message, but server has not been upgraded to support! CODE: {}  "
                               "DESC: {} BROKER: {}",
                               body.subscription_data.expression_type, answer->code, answer->remark,
                               address),
                   answer->code};
  }
  return Ok{};
}

void PushConsumerCore::stop() {
  end();
}

void PushConsumerCore::hand_over() {
  const auto queues = rebalance_.names();
  if (!queues.empty()) store_->persist_finally(queues);
  locks_.give_back();
}

void PushConsumerCore::finish() {
  leave_queues();
  rebalance_.drop_all();
}

void PushConsumerCore::resume() {
  paused_ = false;
  rebalance_soon();
}

// ---- Subscriptions
// -------------------------------------------------------------------------------

Result<Ok> PushConsumerCore::subscribe(const std::string& topic, const Filter& filter) {
  const std::string name = wrapped(topic, instance_->config().name_space);
  if (auto added = subscriptions_.add(name, filter); !added) return added;
  introduce(name);
  return Ok{};
}

std::shared_ptr<const protocol::SubscriptionData> PushConsumerCore::subscription(
    const std::string& topic) const {
  const auto found = subscriptions_.find(topic);
  return found ? found->data : nullptr;
}

protocol::ConsumerData PushConsumerCore::heartbeat() const {
  protocol::ConsumerData data;
  data.group_name = group_;
  data.consume_from_where = wire(config_.from);
  data.consume_type = protocol::ConsumeType::kPassively;
  data.message_model = wire(config_.model);
  data.unit_mode = config_.unit_mode;
  data.subscription_data_set = subscriptions_.all();
  return data;
}

// ---- Rebalancing
// ---------------------------------------------------------------------------------

void PushConsumerCore::queues_changed(const std::string&, const std::vector<MessageQueue>&) {
  rebalance_soon();
}

std::set<MessageQueue> PushConsumerCore::may_take_on(const std::set<MessageQueue>& queues) {
  if (!orderly() || !clustering()) return queues;
  return locks_.lock(queues).locked;
}

void PushConsumerCore::begin(const MessageQueue& queue, const ProcessQueuePtr& messages,
                             std::int64_t offset) {
  if (orderly() && clustering()) messages->lock_renewed();
  pull_after(kFirstPullDelay, std::make_shared<QueuePull>(QueuePull{queue, messages, offset}));
}

bool PushConsumerCore::let_go(const MessageQueue& queue, ProcessQueue& messages) {
  store_->persist(queue);
  if (!consumption_->let_go(queue, messages)) return false;
  store_->persist(queue);
  if (clustering()) store_->forget(queue);
  if (orderly() && clustering()) locks_.unlock({queue});
  puller_.forget(queue);
  return true;
}

void PushConsumerCore::pop_from(const std::string& topic, const std::set<MessageQueue>& queues) {
  if (!queues.empty()) {
    // Brokers give out what comes again along with the topic.
    subscriptions_.remove(protocol::pop_retry_topic_v1(group_, topic));
  }
  popping_.pop_from(topic, queues);
}

/// What was popped before, and failed, comes again in a topic of its own.
void PushConsumerCore::pull_from(const std::string& topic) {
  if (protocol::is_retry_topic(topic)) return;
  const std::string again = protocol::pop_retry_topic_v1(group_, topic);
  if (subscription(again)) return;
  if (auto added = subscriptions_.add(again, all()); !added) return;
  rebalance_soon();
}

void PushConsumerCore::divided(const std::string& topic, const Division& division, bool changed) {
  if (!changed) return;
  count_thresholds(rebalance_.names().size());
  subscriptions_.renew(topic);
  instance_->forget_heartbeats();
  instance_->heartbeat_to_all();
  tell(config_.queues_changed, topic, division);
}

void PushConsumerCore::count_thresholds(std::size_t queues) {
  const auto share = [&](std::int64_t of_topic, std::int64_t of_queue) {
    if (of_topic == -1 || queues == 0) return of_queue;
    return std::max<std::int64_t>(1, of_topic / static_cast<std::int64_t>(queues));
  };
  threshold_count_ = share(config_.pull_threshold_for_topic, config_.pull_threshold_for_queue);
  threshold_bytes_ =
      share(config_.pull_threshold_size_for_topic, config_.pull_threshold_size_for_queue) * kMiB;
}

// ---- Pulling
// -------------------------------------------------------------------------------------

void PushConsumerCore::pull_after(Clock::Duration delay, const QueuePullPtr& next) {
  after(delay, [this, next] { pull(next); });
}

/// Too much is here already.
bool PushConsumerCore::must_wait(QueuePull& next) {
  const auto level = next.messages->level();
  const bool full = level.count > threshold_count_ || level.bytes > threshold_bytes_;
  const bool wide = !orderly() && level.span() > config_.consume_concurrently_max_span;
  if (!full && !wide) return false;
  constexpr std::uint64_t kWarnEvery = 1'000;
  if (next.held_up++ % kWarnEvery == 0)
    instance_->env().log.warn(
        "the program is slower than its queue: queue={} messages={} bytes={} span={}",
        to_string(next.queue), level.count, level.bytes, level.span());
  return true;
}

void PushConsumerCore::pull(const QueuePullPtr& next) {
  if (next->messages->dropped) return;
  const auto pass = gate_.enter();
  if (!pass) return;
  next->messages->pulled_now();
  if (paused_) return pull_after(kPausedDelay, next);
  if (must_wait(*next)) return pull_after(kFlowControlDelay, next);
  if (orderly() && clustering() && !next->messages->locked)
    return pull_after(config_.pull_delay_when_exception, next);
  const auto subscribed = subscriptions_.find(next->queue.topic);
  if (!subscribed) return pull_after(config_.pull_delay_when_exception, next);
  PullRequest request;
  request.subscription = subscribed->data;
  request.sub_version = subscribed->version;
  request.queue = next->queue;
  request.group = group_;
  request.offset = next->next_offset;
  request.max_messages = config_.pull_batch_size;
  request.max_bytes = config_.pull_batch_size_in_bytes;
  request.send_subscription = config_.post_subscription_when_pull;
  if (clustering()) request.commit_offset = store_->in_memory(next->queue).value_or(0);
  request.suspend = kBrokerSuspend;
  request.timeout = kPullTimeout;
  puller_.pull(request, [this, weak = weak_from_this(), next,
                         began = instance_->env().clock.now()](Result<PullAnswer> answer) {
    if (const auto self = weak.lock()) pulled(next, began, std::move(answer));
  });
}

void PushConsumerCore::pulled(const QueuePullPtr& next, Clock::Instant began,
                              Result<PullAnswer> answer) {
  const auto pass = gate_.enter();
  if (!pass || next->messages->dropped) return;
  if (!answer) {
    // The broker does not know the group: it was started anew, or took this client for dead. Java
    // waits for the next heartbeat, up to half a minute.
    if (answer.error().response_code == response::kSubscriptionNotExist) subscriptions_.tell();
    return pull_after(
        puller_.delay_after(next->queue, answer.error(), config_.pull_delay_when_exception), next);
  }
  const auto took =
      std::chrono::duration_cast<std::chrono::milliseconds>(instance_->env().clock.now() - began);
  if (answer->status == PullStatus::kOffsetIllegal)
    return offset_illegal(next, answer->next_offset);
  next->next_offset = answer->next_offset;
  if (answer->status == PullStatus::kFound) {
    found(next, *answer);
    statistics_.pulled(next->queue.topic, answer->messages->size(), took);
  }
  // What nobody wants needs no consumption: the group is past it, if nothing else is here.
  if (answer->messages->empty() && next->messages->empty())
    store_->update(next->queue, next->next_offset, true);
  if (config_.pull_interval > 0ms && !answer->messages->empty())
    return pull_after(config_.pull_interval, next);
  pull(next);
}

void PushConsumerCore::found(const QueuePullPtr& next, PullAnswer& answer) {
  std::erase_if(*answer.messages, [&](const ReceivedMessage& each) { return !accepts(each); });
  if (answer.messages->empty()) return;
  for (ReceivedMessage& each : *answer.messages) prepare(each);
  const bool idle = next->messages->put(answer.messages);
  consumption_->submit(next->queue, next->messages, answer.messages, idle);
}

/// Java's resetRetryAndNamespace: a retry shows the topic it comes from.
void PushConsumerCore::prepare(ReceivedMessage& message) const {
  if (!protocol::is_retry_topic(message.topic)) return;
  if (const auto topic = message.property(protocol::property::kRetryTopic))
    message.topic = unwrapped(*topic, instance_->config().name_space);
}

/// The broker has no such offset (any more) and says where to go on.
void PushConsumerCore::offset_illegal(const QueuePullPtr& next, std::int64_t next_offset) {
  instance_->env().log.warn("offset out of range: queue={} offset={} goes on at={}",
                            to_string(next->queue), next->next_offset, next_offset);
  next->messages->dropped = true;
  on_waiting_thread([this, self = shared_from_this(), next, next_offset] {
    if (ended()) return;
    store_->freeze_at(next->queue, next_offset);
    store_->persist(next->queue);
    rebalance_.drop(next->queue);
    let_go(next->queue, *next->messages);
    store_->forget(next->queue);  // what is begun anew is heard again
    rebalance_soon();
  });
}

// ---- The program's function
// ---------------------------------------------------------------------

/// The hooks around it, and the trace.
template <class Outcome, class Call>
Outcome PushConsumerCore::observed(std::span<const ReceivedMessage> messages,
                                   const MessageQueue& queue, Outcome failure, const Call& call) {
  const CallbackScope scope{CallbackScope::Where::kOwnThread};
  ConsumeEvent event{.group = config_.group, .queue = queue, .messages = messages};
  const std::string trace = trace_ ? trace_->before(group_, messages) : std::string{};
  run_hook("before_consume", config_.before_consume, event);
  Clock& clock = instance_->env().clock;
  const auto began = clock.now();
  Outcome result = failure;
  auto outcome = ConsumeOutcome::kException;
  const auto thrown = thrown_by([&] {
    result = call();
    outcome = is_good(result) ? ConsumeOutcome::kSuccess : ConsumeOutcome::kFailed;
  });
  if (thrown)
    instance_->env().log.warn("the consuming function threw: group={} queue={} what=\"{}\"",
                              config_.group, to_string(queue), *thrown);
  event.took = std::chrono::duration_cast<std::chrono::milliseconds>(clock.now() - began);
  if (outcome != ConsumeOutcome::kException && event.took >= config_.consume_timeout)
    outcome = ConsumeOutcome::kTimeOut;
  event.outcome = outcome;
  run_hook("after_consume", config_.after_consume, event);
  if (trace_) trace_->after(group_, trace, messages, event.took, outcome);
  return result;
}

Consumed PushConsumerCore::call_program(std::span<const ReceivedMessage> messages,
                                        ConsumeContext& context) {
  return observed(messages, context.queue, Consumed::kRetryLater,
                  [&] { return config_.on_messages(messages, context); });
}

ConsumedOrderly PushConsumerCore::call_program(std::span<const ReceivedMessage> messages,
                                               OrderlyContext& context) {
  return observed(messages, context.queue, ConsumedOrderly::kSuspend,
                  [&] { return config_.on_messages_orderly(messages, context); });
}

// ---- What brokers ask
// ----------------------------------------------------------------------------

void PushConsumerCore::persist_offsets() {
  const auto pass = gate_.enter();
  if (!pass) return;
  const auto queues = rebalance_.names();
  if (!queues.empty()) store_->persist(queues);
}

void PushConsumerCore::reset_offsets(const std::string& topic,
                                     const std::map<MessageQueue, std::int64_t>& offsets) {
  paused_ = true;
  std::map<MessageQueue, std::int64_t> ours;
  for (const auto& [queue, messages] : rebalance_.queues()) {
    const auto found = offsets.find(queue);
    if (queue.topic != topic || found == offsets.end()) continue;
    messages->dropped = true;
    messages->clear();
    ours.insert(*found);
  }
  after(kResetDelay, [this, ours] {
    on_waiting_thread([this, self = shared_from_this(), ours] {
      for (const auto& [queue, offset] : ours) {
        store_->update(queue, offset, false);
        if (const auto messages = rebalance_.drop(queue)) let_go(queue, *messages);
      }
      resume();
    });
  });
}

protocol::Json PushConsumerCore::consume_directly(ReceivedMessage message,
                                                  const std::string& broker_name) {
  if (!broker_name.empty()) message.queue.broker = broker_name;
  prepare(message);
  const auto pass = gate_.enter();
  if (!pass) return direct_result(orderly(), true, "CR_LATER", "the consumer is shut down", 0ms);
  return consumption_->consume_directly(message);
}

// ---- What its owner asks
// -------------------------------------------------------------------------

std::vector<MessageQueue> PushConsumerCore::queues() const {
  std::vector<MessageQueue> all;
  for (const MessageQueue& each : rebalance_.names()) all.push_back(instance_->visible(each));
  for (const MessageQueue& each : popping_.queues()) all.push_back(instance_->visible(each));
  return all;
}

PushConsumerStatistics PushConsumerCore::statistics() const {
  const auto totals = statistics_.totals();
  PushConsumerStatistics out{
      .pulled = totals.pulled, .consumed = totals.consumed, .failed = totals.failed};
  for (const auto& [queue, messages] : rebalance_.queues())
    out.held += static_cast<std::uint64_t>(messages->level().count);
  out.queues = rebalance_.queues().size() + popping_.queues().size();
  return out;
}

}  // namespace apogee::client
