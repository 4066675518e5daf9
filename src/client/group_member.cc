#include "client/group_member.h"

#include "client/namespaces.h"
#include "client/thrown.h"

namespace apogee::client {
namespace {

constexpr auto kRebalanceInterval = 20s;

}  // namespace

GroupMember::GroupMember(std::shared_ptr<Instance> instance, Settings settings)
    : instance_{std::move(instance)},
      settings_{std::move(settings)},
      started_ms_{instance_->env().clock.wall_ms()},
      waiting_thread_{own_threads(1, "rebalance")},
      subscriptions_{instance_},
      store_{make_offsets(instance_, settings_.division.model, settings_.offset_directory, group_)},
      rebalance_{instance_, settings_.division, *this},
      puller_{instance_},
      trace_{settings_.trace_topic.empty()
                 ? nullptr
                 : std::make_unique<TraceSender>(
                       instance_, wrapped(settings_.trace_topic, instance_->config().name_space))} {
}

void GroupMember::end() {
  gate_.close([self = shared_from_this()] { self->finish(); });
  // Inside a callback of its own it would wait for itself.
  if (CallbackScope::inside()) return;
  if (!gate_.wait(settings_.end_wait)) {
    leave_queues();
    // What calls under way have yet to say is said once they have ended, and nobody waits.
    gate_.when_over(
        [self = shared_from_this()] { self->on_waiting_thread([self] { self->settle(); }); });
  }
  settle();
}

/// All is under way before any of it is waited for.
void GroupMember::settle() {
  Farewells traces = trace_ ? trace_->flush() : Farewells{};
  store_->settle();
  traces.wait();
}

void GroupMember::leave_queues() {
  std::call_once(left_, [this] { hand_over(); });
}

void GroupMember::shutdown() {
  const bool inside = CallbackScope::inside();
  if (inside) persist_offsets();  // another member may have a queue before calls under way end
  stop();
  if (!inside) return instance_->remove(*this);
  // Nobody has waited for the calls: the group is left behind what they commit.
  gate_.when_over([self = shared_from_this()] { self->leave_soon(); });
  instance_->env().clock.run_after(settings_.end_wait, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->leave_soon();
  });
}

void GroupMember::leave_soon() {
  on_waiting_thread([self = shared_from_this()] {
    self->leave_queues();
    self->settle();
    self->instance_->remove(*self);
  });
}

void GroupMember::after(Clock::Duration delay, std::function<void()> work) {
  instance_->env().clock.run_after(delay, [weak = weak_from_this(), work = std::move(work)] {
    const auto self = weak.lock();
    if (!self) return;
    if (const auto pass = self->gate_.enter()) work();
  });
}

void GroupMember::introduce(const std::string& topic) {
  subscriptions_.introduce(topic, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self && !self->ended()) self->rebalance_soon();
  });
}

void GroupMember::unsubscribe(const std::string& topic) {
  subscriptions_.remove(wrapped(topic, instance_->config().name_space));
  subscriptions_.tell();
  rebalance_soon();
}

void GroupMember::rebalance_soon() {
  if (!divides() || round_planned_.exchange(true)) return;
  on_waiting_thread([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->rebalance_round();
  });
}

/// Holds no pass: it waits for brokers, and shutdown need not wait for them. So it cleans up after
/// itself if the end came meanwhile, behind the calls that the end waits for.
void GroupMember::rebalance_round() {
  round_planned_ = false;
  const std::uint64_t round = ++round_;
  if (ended()) return;
  const auto names = subscriptions_.topics();
  const bool balanced = rebalance_.run({names.begin(), names.end()});
  if (ended()) return gate_.when_over([self = shared_from_this()] { self->finish(); });
  after(balanced ? Clock::Duration{kRebalanceInterval} : settings_.divide_again, [this, round] {
    if (round == round_) rebalance_soon();
  });
}

void GroupMember::tell(const QueuesDivided& program, const std::string& topic, Division division) {
  if (!program) return;
  const auto pass = gate_.enter();
  if (!pass) return;
  for (MessageQueue& each : division.all) each = instance_->visible(each);
  for (MessageQueue& each : division.mine) each = instance_->visible(each);
  const CallbackScope scope{CallbackScope::Where::kOwnThread};
  guarded(instance_->env().log, "the listener of divided queues", group_, [&] {
    program(unwrapped(topic, instance_->config().name_space), division.all, division.mine);
  });
}

void GroupMember::run_hook(const char* name, const std::function<void(const ConsumeEvent&)>& hook,
                           const ConsumeEvent& event) const {
  if (hook) guarded(instance_->env().log, name, event.group, [&] { hook(event); });
}

bool GroupMember::accepts(const ReceivedMessage& message) const {
  if (!settings_.accept) return true;
  const CallbackScope scope{CallbackScope::Where::kIoThread};
  bool wanted = true;  // what cannot say no has not said it
  guarded(instance_->env().log, "accept", group_, [&] { wanted = settings_.accept(message); });
  return wanted;
}

Result<std::int64_t> GroupMember::first_offset_of(const MessageQueue& queue) {
  if (clustering()) store_->forget(queue);  // what is in memory is old
  return beginning_in(queue);
}

Result<std::int64_t> GroupMember::beginning_in(const MessageQueue& queue) {
  return first_offset(*instance_, *store_,
                      beginning_of(settings_.from, settings_.from_time, started_ms_), queue);
}

}  // namespace apogee::client
