#include "client/lite_pull.h"

#include <algorithm>

#include <fmt/format.h>

#include "client/consumer_config.h"
#include "client/consumption.h"
#include "client/namespaces.h"
#include "client/pull_consumer.h"
#include "client/thrown.h"
#include "client/timeouts.h"
#include "client/validation.h"
#include "protocol/codes.h"

namespace apogee::client {
namespace {

constexpr auto kRebalanceAgain = 1s;
constexpr auto kExceptionDelay = 1'000ms;
constexpr auto kFirstOffsetAgain = 3'000ms;
constexpr auto kShutdownWait = 5s;
constexpr std::int64_t kMiB = 1 << 20;

Error invalid(std::string text) {
  return Error{Errc::kInvalidArgument, std::move(text)};
}

Error stopped() {
  return Error{Errc::kStopped, "The consumer not running, please start it first."};
}

Result<Ok> check(const LitePullConsumerConfig& config) {
  if (auto checked = check_group(config.group); !checked) return checked;
  if (!config.allocation.divide) return invalid("allocateMessageQueueStrategy is null");
  if (config.consumer_timeout_when_suspend < config.broker_suspend_max_time)
    return invalid(
        "Long polling mode, the consumer consumerTimeoutMillisWhenSuspend must greater than "
        "brokerSuspendMaxTimeMillis");
  if (config.auto_commit_interval < 1s) return invalid("autoCommitIntervalMillis is at least 1000");
  if (config.pull_batch_size < 1 || config.pull_batch_size > 1'024)
    return invalid("pullBatchSize Out of range [1, 1024]");
  if (config.pull_threshold_for_all < 1 || config.pull_threshold_for_queue < 1 ||
      config.pull_threshold_size_for_queue < 1 || config.consume_max_span < 1)
    return invalid("the thresholds of a consumer must be above zero");
  return Ok{};
}

}  // namespace

// ---- Life
// ----------------------------------------------------------------------------------------

Result<std::shared_ptr<LitePullCore>> LitePullCore::start(std::shared_ptr<Instance> instance,
                                                          LitePullConsumerConfig config) {
  if (auto checked = check(config); !checked) return checked.error();
  std::shared_ptr<LitePullCore> core{new LitePullCore{std::move(instance), std::move(config)}};
  if (auto loaded = core->store_->load(); !loaded) return loaded.error();
  if (auto added = core->instance_->add(core); !added) return added.error();
  return core;
}

GroupMember::Settings LitePullCore::member_of(const Instance& instance,
                                              const LitePullConsumerConfig& config) {
  return {.division = {.group = wrapped(config.group, instance.config().name_space),
                       .model = config.model,
                       .allocation = config.allocation,
                       .drop_idle = false},
          .divide_again = kRebalanceAgain,
          .end_wait = kShutdownWait,
          .from = config.from,
          .from_time = config.from_time,
          .offset_directory = config.offset_directory,
          .trace_topic = config.trace ? config.trace_topic : "",
          .accept = config.accept};
}

LitePullCore::LitePullCore(std::shared_ptr<Instance> instance, LitePullConsumerConfig config)
    : GroupMember{instance, member_of(*instance, config)},
      config_{std::move(config)},
      next_commit_{instance_->env().clock.now() + config_.auto_commit_interval} {}

LitePullCore::~LitePullCore() = default;

void LitePullCore::stop() {
  std::list<Waiting> waiting;
  {
    std::lock_guard lock{mutex_};
    over_ = true;
    waiting.swap(waiting_);
  }
  for (const Waiting& each : waiting) each.done(stopped());
  end();
}

void LitePullCore::hand_over() {
  if (config_.auto_commit) commit();
  std::set<MessageQueue> names;
  {
    std::lock_guard lock{mutex_};
    for (const auto& [queue, each] : pulls_) names.insert(queue);
  }
  if (!names.empty()) store_->persist_finally(names);
}

void LitePullCore::finish() {
  {
    std::lock_guard lock{mutex_};
    for (const auto& [queue, each] : pulls_) each->messages->dropped = true;
  }
  leave_queues();
  rebalance_.drop_all();
}

// ---- Subscribing and assigning
// -------------------------------------------------------------------

Result<Ok> LitePullCore::subscribe(const std::string& topic, const Filter& filter) {
  if (ended()) return stopped();
  const std::string name = wrapped(topic, instance_->config().name_space);
  {
    std::lock_guard lock{mutex_};
    if (kind_ == Kind::kAssigned) return invalid("Subscribe and assign are mutually exclusive.");
    if (auto added = subscriptions_.add(name, filter); !added) return added;
    kind_ = Kind::kSubscribed;
  }
  introduce(name);
  return Ok{};
}

Result<Ok> LitePullCore::assign(const std::vector<MessageQueue>& queues, const Filter& filter) {
  if (ended()) return stopped();
  if (queues.empty()) return invalid("Message queues can not be null or empty.");
  std::set<MessageQueue> wanted;
  std::vector<std::string> topics;
  for (const MessageQueue& each : queues) {
    topics.push_back(instance_->wire(each).topic);
    wanted.insert(instance_->wire(each));
  }
  std::vector<QueuePullPtr> fresh;
  std::vector<MessageQueue> gone;
  {
    std::lock_guard lock{mutex_};
    if (kind_ == Kind::kSubscribed) return invalid("Subscribe and assign are mutually exclusive.");
    if (auto replaced = subscriptions_.replace(topics, filter); !replaced) return replaced;
    kind_ = Kind::kAssigned;
    for (const auto& [queue, each] : pulls_)
      if (!wanted.contains(queue)) gone.push_back(queue);
    for (const MessageQueue& each : wanted) {
      if (pulls_.contains(each)) continue;
      // What is in memory is old; what the program commits from now on is not.
      if (clustering()) store_->forget(each);
      auto pull = std::make_shared<QueuePull>();
      pull->queue = each;
      pull->messages = std::make_shared<ProcessQueue>(instance_->env().clock);
      pulls_[each] = pull;
      fresh.push_back(std::move(pull));
    }
  }
  for (const MessageQueue& each : gone) remove(each);
  instance_->heartbeat_soon();
  for (const QueuePullPtr& each : fresh) learn_first_offset(each, 0);
  return Ok{};
}

/// seek() may come first: then its offset holds.
void LitePullCore::learn_first_offset(const QueuePullPtr& next, std::uint64_t round) {
  on_waiting_thread([this, weak = weak_from_this(), next, round] {
    const auto self = weak.lock();
    if (!self || ended() || next->messages->dropped) return;
    const auto offset = beginning_in(next->queue);
    {
      std::lock_guard lock{mutex_};
      if (next->round != round) return;
      if (offset) next->next_offset = *offset;
    }
    if (offset) return pull(next, round);
    instance_->env().log.warn("queue not begun: queue={} reason=\"{}\"", to_string(next->queue),
                              offset.error().detail);
    after(kFirstOffsetAgain, [this, next, round] { learn_first_offset(next, round); });
  });
}

std::vector<MessageQueue> LitePullCore::assignment() const {
  std::lock_guard lock{mutex_};
  std::vector<MessageQueue> all;
  for (const auto& [queue, each] : pulls_) all.push_back(instance_->visible(queue));
  return all;
}

Result<LitePullCore::QueuePullPtr> LitePullCore::find(const MessageQueue& queue) const {
  std::lock_guard lock{mutex_};
  const auto found = pulls_.find(instance_->wire(queue));
  if (found != pulls_.end()) return found->second;
  return invalid(fmt::format("The message queue is not in assigned list, {}message queue: {}",
                             kind_ == Kind::kSubscribed ? "may be rebalancing, " : "",
                             to_string(queue)));
}

void LitePullCore::drop_ready(const QueuePull& of) {
  std::erase_if(ready_, [&](const Ready& each) {
    if (each.from.get() != &of) return false;
    cached_ -= static_cast<std::int64_t>(each.messages->size());
    return true;
  });
}

/// What the program is through with is kept, the rest is for whoever has the queue next: it may
/// still work on what it polled last.
void LitePullCore::remove(const MessageQueue& queue) {
  std::int64_t done = kUnknown;
  {
    std::lock_guard lock{mutex_};
    const auto found = pulls_.find(queue);
    if (found == pulls_.end()) return;
    found->second->messages->dropped = true;
    done = found->second->done_offset;
    drop_ready(*found->second);
    pulls_.erase(found);
  }
  if (config_.auto_commit && done != kUnknown) store_->update(queue, done, false);
  store_->persist(queue);
  if (clustering()) store_->forget(queue);
  puller_.forget(queue);
}

// ---- Dividing queues
// -----------------------------------------------------------------------------

bool LitePullCore::divides() const {
  std::lock_guard lock{mutex_};
  return kind_ == Kind::kSubscribed;
}

void LitePullCore::begin(const MessageQueue& queue, const ProcessQueuePtr& messages,
                         std::int64_t offset) {
  auto next = std::make_shared<QueuePull>();
  next->queue = queue;
  next->messages = messages;
  next->next_offset = offset;
  {
    std::lock_guard lock{mutex_};
    pulls_[queue] = next;
  }
  pull(next, 0);
}

bool LitePullCore::let_go(const MessageQueue& queue, ProcessQueue&) {
  remove(queue);
  return true;
}

void LitePullCore::divided(const std::string& topic, const Division& division, bool changed) {
  if (changed) tell(config_.queues_divided, topic, division);
}

// ---- Pulling
// -------------------------------------------------------------------------------------

void LitePullCore::pull_after(Clock::Duration delay, const QueuePullPtr& next,
                              std::uint64_t round) {
  after(delay, [this, next, round] { pull(next, round); });
}

bool LitePullCore::too_much_is_here(const QueuePull& next) const {
  const auto level = next.messages->level();
  return cached_ >= config_.pull_threshold_for_all ||
         level.count > config_.pull_threshold_for_queue ||
         level.bytes > config_.pull_threshold_size_for_queue * kMiB ||
         level.span() > config_.consume_max_span;
}

void LitePullCore::pull(const QueuePullPtr& next, std::uint64_t round) {
  const auto pass = gate_.enter();
  if (!pass || next->messages->dropped) return;
  const auto subscribed = subscriptions_.find(next->queue.topic);
  PullRequest request;
  bool paused = false, full = false;
  {
    std::lock_guard lock{mutex_};
    if (next->round != round) return;
    request.offset = next->next_offset;
    paused = next->paused;
    full = too_much_is_here(*next);
  }
  if (paused) return pull_after(kPausedDelay, next, round);
  if (full) return pull_after(kFlowControlDelay, next, round);
  if (!subscribed) return pull_after(kExceptionDelay, next, round);
  next->messages->pulled_now();
  request.queue = next->queue;
  request.group = group_;
  request.max_messages = config_.pull_batch_size;
  request.subscription = subscribed->data;
  request.sub_version = subscribed->data->sub_version;
  request.lite = true;
  request.suspend = config_.broker_suspend_max_time;
  request.timeout = config_.consumer_timeout_when_suspend;
  puller_.pull(request, [this, weak = weak_from_this(), next, round](Result<PullAnswer> answer) {
    if (const auto self = weak.lock()) pulled(next, round, std::move(answer));
  });
}

void LitePullCore::pulled(const QueuePullPtr& next, std::uint64_t round,
                          Result<PullAnswer> answer) {
  const auto pass = gate_.enter();
  if (!pass || next->messages->dropped) return;
  if (!answer) {
    return pull_after(puller_.delay_after(next->queue, answer.error(), kExceptionDelay), next,
                      round);
  }
  if (answer->status == PullStatus::kFound)
    std::erase_if(*answer->messages, [&](const ReceivedMessage& each) { return !accepts(each); });
  std::int64_t asked = 0;
  {
    std::lock_guard lock{mutex_};
    if (next->round != round) return;
    asked = std::exchange(next->next_offset, answer->next_offset);
    if (answer->status == PullStatus::kFound && !answer->messages->empty()) {
      next->messages->put(answer->messages);
      cached_ += static_cast<std::int64_t>(answer->messages->size());
      ready_.push_back({next, answer->messages});
    }
  }
  if (answer->status == PullStatus::kOffsetIllegal)
    instance_->env().log.warn("offset out of range: queue={} offset={} goes on at={}",
                              to_string(next->queue), asked, answer->next_offset);
  pull(next, round);
  answer_waiting();
}

// ---- Polling
// -------------------------------------------------------------------------------------

void LitePullCore::poll(std::chrono::milliseconds timeout, Polled done) {
  commit_if_due();
  timeout = countable(timeout);
  const auto until = instance_->env().clock.now() + timeout;
  std::vector<ReceivedMessage> messages;
  bool over = false, plan = false;
  {
    std::lock_guard lock{mutex_};
    for (const auto& [queue, each] : pulls_) each->done_offset = each->consume_offset;
    over = over_;
    if (!over && !ready_.empty()) {
      messages = take_ready();
    } else if (!over && timeout > 0ms) {
      waiting_.push_back({until, std::move(done)});
      done = nullptr;
      plan = plan_expiry(until);
    }
  }
  if (done) {
    tell_given_out(messages);
    return over ? done(stopped()) : done(std::move(messages));
  }
  if (plan) after(timeout, [this, until] { expire_waiting(until); });
}

LitePullCore::Polled LitePullCore::on_worker(Polled done) {
  return [this, self = shared_from_this(), done = std::move(done)](auto polled) {
    instance_->env().workers.post(
        [self, pass = gate_.enter(), done, polled = std::move(polled)]() mutable {
          const CallbackScope scope{CallbackScope::Where::kOwnThread};
          done(std::move(polled));
        });
  };
}

std::vector<ReceivedMessage> LitePullCore::take_ready() {
  const Ready ready = std::move(ready_.front());
  ready_.pop_front();
  cached_ -= static_cast<std::int64_t>(ready.messages->size());
  std::vector<ReceivedMessage> messages{*ready.messages};
  const std::int64_t next = ready.from->messages->remove(messages);
  if (next != ProcessQueue::kNothing) ready.from->consume_offset = next;
  return messages;
}

void LitePullCore::answer_waiting() {
  for (;;) {
    Polled done;
    std::vector<ReceivedMessage> messages;
    {
      std::lock_guard lock{mutex_};
      if (waiting_.empty() || ready_.empty()) return;
      done = std::move(waiting_.front().done);
      waiting_.pop_front();
      messages = take_ready();
    }
    tell_given_out(messages);
    done(std::move(messages));
  }
}

/// As Java's poll(): both hooks at once, since nobody hears what becomes of them.
void LitePullCore::tell_given_out(std::span<const ReceivedMessage> messages) {
  if (messages.empty()) return;
  const CallbackScope scope{CallbackScope::Where::kIoThread};
  ConsumeEvent event{.group = config_.group, .queue = messages.front().queue, .messages = messages};
  const std::string trace = trace_ ? trace_->before(group_, messages) : std::string{};
  run_hook("before_consume", config_.before_consume, event);
  event.outcome = ConsumeOutcome::kSuccess;
  run_hook("after_consume", config_.after_consume, event);
  if (trace_) trace_->after(group_, trace, messages, 0ms, *event.outcome);
}

/// True: the clock is to be told.
bool LitePullCore::plan_expiry(Clock::Instant at) {
  if (!planned_.empty() && *planned_.begin() <= at) return false;
  planned_.insert(at);
  return true;
}

void LitePullCore::expire_waiting(Clock::Instant at) {
  std::list<Waiting> late;
  const auto now = instance_->env().clock.now();
  auto next = Clock::Instant::max();
  bool plan = false;
  {
    std::lock_guard lock{mutex_};
    planned_.erase(at);
    for (auto each = waiting_.begin(); each != waiting_.end();) {
      const auto here = each++;
      if (here->until <= now)
        late.splice(late.end(), waiting_, here);
      else
        next = std::min(next, here->until);
    }
    plan = next != Clock::Instant::max() && plan_expiry(next);
  }
  if (plan) after(next - now, [this, next] { expire_waiting(next); });
  for (const Waiting& each : late) each.done(std::vector<ReceivedMessage>{});
}

// ---- Offsets
// -------------------------------------------------------------------------------------

void LitePullCore::seek(const MessageQueue& queue, std::int64_t offset, Sought done) {
  auto found = find(queue);
  if (!found) return done(found.error());
  const MessageQueue name = instance_->wire(queue);
  min_offset(*instance_, name,
             [this, self = shared_from_this(), name, pull = *found, offset,
              done = std::move(done)](const Result<std::int64_t>& least) {
               if (!least) return done(least.error());
               max_offset(*instance_, name,
                          [this, self, pull, offset, least = *least,
                           done](const Result<std::int64_t>& most) {
                            if (!most) return done(most.error());
                            if (offset < least || offset > *most)
                              return done(invalid(fmt::format(
                                  "Seek offset illegal, seek offset = {}, min offset = {}, max "
                                  "offset = {}",
                                  offset, least, *most)));
                            restart(pull, offset);
                            done(Ok{});
                          });
             });
}

void LitePullCore::seek_to(const MessageQueue& queue, End end, Sought done) {
  auto found = find(queue);
  if (!found) return done(found.error());
  const auto ask = end == End::kBegin ? min_offset : max_offset;
  ask(*instance_, instance_->wire(queue),
      [this, self = shared_from_this(), pull = *found,
       done = std::move(done)](const Result<std::int64_t>& offset) {
        if (!offset) return done(offset.error());
        restart(pull, *offset);
        done(Ok{});
      });
}

/// A pull under way is one of a former round from now on.
void LitePullCore::restart(const QueuePullPtr& next, std::int64_t offset) {
  std::uint64_t round = 0;
  {
    std::lock_guard lock{mutex_};
    round = ++next->round;
    drop_ready(*next);
    next->messages->clear();
    next->next_offset = next->consume_offset = next->done_offset = offset;
  }
  pull(next, round);
}

void LitePullCore::set_paused(const std::vector<MessageQueue>& queues, bool paused) {
  std::lock_guard lock{mutex_};
  for (const MessageQueue& each : queues)
    if (const auto found = pulls_.find(instance_->wire(each)); found != pulls_.end())
      found->second->paused = paused;
}

bool LitePullCore::is_paused(const MessageQueue& queue) const {
  std::lock_guard lock{mutex_};
  const auto found = pulls_.find(instance_->wire(queue));
  return found == pulls_.end() || found->second->paused;
}

void LitePullCore::commit_if_due() {
  if (!config_.auto_commit) return;
  {
    std::lock_guard lock{mutex_};
    const auto now = instance_->env().clock.now();
    if (now < next_commit_) return;
    next_commit_ = now + config_.auto_commit_interval;
  }
  commit();
}

void LitePullCore::commit() {
  std::lock_guard lock{mutex_};
  for (const auto& [queue, each] : pulls_) {
    if (each->consume_offset == kUnknown) continue;
    each->done_offset = each->consume_offset;
    store_->update(queue, each->consume_offset, false);
  }
}

void LitePullCore::commit(const std::set<MessageQueue>& queues, bool persist) {
  std::map<MessageQueue, std::int64_t> offsets;
  {
    std::lock_guard lock{mutex_};
    for (const MessageQueue& each : queues) {
      const auto found = pulls_.find(instance_->wire(each));
      if (found != pulls_.end() && found->second->consume_offset != kUnknown)
        offsets[each] = found->second->consume_offset;
    }
  }
  commit(offsets, persist);
}

void LitePullCore::commit(const std::map<MessageQueue, std::int64_t>& offsets, bool persist) {
  for (const auto& [queue, offset] : offsets) {
    const auto found = find(queue);
    if (!found) {
      instance_->env().log.error("offset not committed: reason=\"{}\"", found.error().detail);
      continue;
    }
    {
      std::lock_guard lock{mutex_};
      (*found)->done_offset = offset;
    }
    store_->update(instance_->wire(queue), offset, false);
    if (persist) store_->persist(instance_->wire(queue));
  }
}

void LitePullCore::committed(const MessageQueue& queue, OffsetStore::Found found) {
  const MessageQueue name = instance_->wire(queue);
  if (const auto here = store_->in_memory(name)) return found(here);
  store_->stored(
      name, [found = std::move(found)](const Result<std::optional<std::int64_t>>& stored) {
        if (stored) return found(stored);
        found(Error{stored.error().code,
                    "Fetch consume offset from broker exception: " + stored.error().detail,
                    stored.error().response_code});
      });
}

void LitePullCore::persist_offsets() {
  const auto pass = gate_.enter();
  if (!pass) return;
  std::set<MessageQueue> names;
  {
    std::lock_guard lock{mutex_};
    for (const auto& [queue, each] : pulls_) names.insert(queue);
  }
  if (!names.empty()) store_->persist(names);
}

// ---- What the instance and brokers ask
// -----------------------------------------------------------

void LitePullCore::on_queues_changed(const std::string& topic,
                                     std::function<void(const std::set<MessageQueue>&)> listener) {
  const std::string name = wrapped(topic, instance_->config().name_space);
  {
    std::lock_guard lock{mutex_};
    watches_[name] = {std::move(listener), {}};
  }
  instance_->refresh_route(name, instance_->config().api_timeout,
                           [weak = weak_from_this(), name](const Result<PublishInfoPtr>&) {
                             const auto self = weak.lock();
                             if (!self) return;
                             if (const auto queues = self->instance().routes().subscribe(name))
                               self->on_waiting_thread([self, name, queues = *queues] {
                                 if (!self->ended()) self->queues_changed(name, queues);
                               });
                           });
}

void LitePullCore::queues_changed(const std::string& topic,
                                  const std::vector<MessageQueue>& queues) {
  rebalance_soon();
  std::set<MessageQueue> now;
  for (const MessageQueue& each : queues) now.insert(instance_->visible(each));
  std::function<void(const std::set<MessageQueue>&)> tell;
  {
    std::lock_guard lock{mutex_};
    const auto found = watches_.find(topic);
    if (found == watches_.end() || found->second.seen == now) return;
    found->second.seen = now;
    tell = found->second.listener;
  }
  const auto pass = gate_.enter();
  if (!pass || !tell) return;
  const CallbackScope scope{CallbackScope::Where::kOwnThread};
  guarded(instance_->env().log, "the listener of a topic's queues", group_, [&] { tell(now); });
}

std::vector<std::string> LitePullCore::topics() const {
  const auto subscribed = subscriptions_.topics();
  std::set<std::string> names{subscribed.begin(), subscribed.end()};
  std::lock_guard lock{mutex_};
  for (const auto& [topic, watch] : watches_) names.insert(topic);
  return {names.begin(), names.end()};
}

protocol::ConsumerData LitePullCore::heartbeat() const {
  protocol::ConsumerData data;
  data.group_name = group_;
  data.consume_type = protocol::ConsumeType::kActively;
  data.message_model = wire(config_.model);
  data.unit_mode = config_.unit_mode;
  std::lock_guard lock{mutex_};
  if (kind_ == Kind::kSubscribed) data.subscription_data_set = subscriptions_.all();
  return data;
}

void LitePullCore::reset_offsets(const std::string& topic,
                                 const std::map<MessageQueue, std::int64_t>& offsets) {
  const auto pass = gate_.enter();
  if (!pass) return;
  std::vector<std::pair<QueuePullPtr, std::int64_t>> ours;
  {
    std::lock_guard lock{mutex_};
    for (const auto& [queue, offset] : offsets)
      if (const auto found = pulls_.find(queue); queue.topic == topic && found != pulls_.end())
        ours.emplace_back(found->second, offset);
  }
  for (const auto& [each, offset] : ours) {
    restart(each, offset);
    store_->update(each->queue, offset, false);
  }
}

protocol::Json LitePullCore::running_info() const {
  using protocol::Json;
  Json subscriptions{Json::Value{Json::Array{}}}, queues = Json::object();
  for (const auto& data : subscriptions_.all()) subscriptions.push(protocol::to_json(data));
  std::lock_guard lock{mutex_};
  for (const auto& [queue, each] : pulls_) {
    Json info = Json::object();
    info.set("cachedMsgCount", protocol::to_json(each->messages->level().count));
    info.set("commitOffset", protocol::to_json(store_->in_memory(queue).value_or(0)));
    info.set("droped", protocol::to_json(each->messages->dropped.load()));  // so on the wire
    const protocol::MessageQueue name{queue.broker, queue.queue_id, queue.topic};
    queues.set_bare(protocol::write_json(protocol::to_json(name)), std::move(info));
  }
  Json info = Json::object();
  info.set("mqTable", std::move(queues));
  info.set("properties", protocol::to_json(running_properties(*instance_, group_, started_ms_)));
  info.set("statusTable", Json::object());
  info.set("subscriptionSet", std::move(subscriptions));
  return info;
}

protocol::Json LitePullCore::consume_directly(ReceivedMessage, const std::string&) {
  return direct_result(false, true, "CR_RETURN_NULL", "a consumer that polls is not pushed to",
                       0ms);
}

}  // namespace apogee::client
