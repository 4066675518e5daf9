#include "broker/pop_polling.h"

#include <algorithm>
#include <limits>

#include "broker/arrivals.h"
#include "protocol/pop.h"

namespace apogee::broker {
namespace {

/// Waiting pops of one group that are asked whether their filter takes a message, before the round
/// is given up: a group's filters are the same nearly always.
constexpr int kFiltersAskedMax = 16;

bool takes_any(const store::MessageFilter* filter, std::span<const store::Arrival> arrivals) {
  return arrivals.empty() || std::ranges::any_of(arrivals, [&](const store::Arrival& arrival) {
           return takes(filter, arrival);
         });
}

}  // namespace

PopPolling::PopPolling(Clock& clock, const LiveConfig& config, Order order)
    : clock_{clock}, config_{config}, order_{order} {}

PopPolling::~PopPolling() {
  std::map<Clock::Instant, Clock::TimerId> timers;
  {
    std::lock_guard lock{mutex_};
    stopped_ = true;
    timers.swap(timers_);
  }
  // Not under the mutex: cancel() waits for a sweep that waits for it.
  for (const auto& [when, timer] : timers) clock_.cancel(timer);
}

bool PopPolling::anyone(std::string_view topic, std::string_view group) const {
  const auto first = waiting_.lower_bound(
      Key{std::string{topic}, std::string{group}, std::numeric_limits<std::int32_t>::min()});
  return first != waiting_.end() && first->first.topic == topic && first->first.group == group;
}

void PopPolling::listen(const Key& key) {
  for (const std::string& name : {key.topic, protocol::pop_retry_topic_v1(key.group, key.topic),
                                  protocol::pop_retry_topic_v2(key.group, key.topic)})
    listeners_[name].emplace(key.topic, key.group);
}

void PopPolling::stop_listening(const Key& key) {
  for (const std::string& name : {key.topic, protocol::pop_retry_topic_v1(key.group, key.topic),
                                  protocol::pop_retry_topic_v2(key.group, key.topic)}) {
    const auto listeners = listeners_.find(name);
    if (listeners == listeners_.end()) continue;
    listeners->second.erase({key.topic, key.group});
    if (listeners->second.empty()) listeners_.erase(listeners);
  }
}

void PopPolling::take(Place place, Woken& woken) {
  deadlines_.erase(place.at->deadline);
  woken.push_back(std::move(place.at->pop));
  place.of->second.erase(place.at);
  size_.fetch_sub(1, std::memory_order_relaxed);
  if (!place.of->second.empty()) return;
  const Key key = place.of->first;
  waiting_.erase(place.of);
  if (!anyone(key.topic, key.group)) stop_listening(key);
}

/// The first that is still connected and wants one of these messages (any, if none is named).
void PopPolling::take_one(const Key& key, std::span<const store::Arrival> arrivals, Woken& woken) {
  for (int asked = 0; asked < kFiltersAskedMax; ++asked) {
    const auto of = waiting_.find(key);
    if (of == waiting_.end()) return;
    HeldList& list = of->second;
    auto at = order_ == Order::kOldestFirst ? list.begin() : std::prev(list.end());
    if (!at->pop.peer->connected()) {
      Woken gone;
      take({of, at}, gone);
      continue;
    }
    if (takes_any(at->pop.filter.get(), arrivals)) return take({of, at}, woken);
    // Behind the others: the next round begins with somebody else.
    list.splice(order_ == Order::kOldestFirst ? list.end() : list.begin(), list, at);
  }
}

bool PopPolling::hold(HeldPop pop) {
  const BrokerConfig& config = config_.now();
  const Key key{pop.topic, pop.group, pop.queue_id};
  std::lock_guard lock{mutex_};
  if (stopped_ || static_cast<std::int64_t>(size()) >= config.pop_polling_size_max) return false;
  const auto of = waiting_.try_emplace(key).first;
  // Java compares with >, so one more than popPollingSize may wait.
  if (static_cast<std::int64_t>(of->second.size()) > config.pop_polling_size) return false;
  if (of->second.empty()) listen(key);
  const Clock::Instant deadline = pop.deadline;
  of->second.push_back({std::move(pop), {}});
  const Place place{of, std::prev(of->second.end())};
  place.at->deadline = deadlines_.emplace(deadline, place);
  size_.fetch_add(1, std::memory_order_relaxed);
  arm();
  return true;
}

void PopPolling::arrived(std::span<const store::Arrival> run, Woken& woken) {
  const store::Arrival& first = run.front();
  const auto listeners = listeners_.find(first.topic);
  if (listeners == listeners_.end()) return;
  const auto waiting = listeners->second;  // a copy: taking changes the set
  for (const auto& [topic, group] : waiting) {
    const std::size_t before = woken.size();
    take_one({topic, group, -1}, run, woken);
    if (first.topic == topic) {
      take_one({topic, group, first.queue_id}, run, woken);
      continue;
    }
    // A retry topic is read by pops of every queue.
    if (woken.size() > before || !anyone(topic, group)) continue;
    take_one(waiting_.lower_bound({topic, group, -1})->first, run, woken);
  }
}

void PopPolling::on_arrivals(std::span<const store::Arrival> arrivals) {
  if (size() == 0) return;
  Woken woken;
  {
    std::lock_guard lock{mutex_};
    while (!arrivals.empty()) {
      const std::span<const store::Arrival> run = of_one_queue(arrivals);
      arrived(run, woken);
      arrivals = arrivals.subspan(run.size());
    }
  }
  resume(std::move(woken));
}

void PopPolling::wake(std::string_view topic, std::string_view group, std::int32_t queue_id) {
  if (size() == 0) return;
  Woken woken;
  {
    std::lock_guard lock{mutex_};
    take_one({std::string{topic}, std::string{group}, queue_id}, {}, woken);
  }
  resume(std::move(woken));
}

std::size_t PopPolling::count(std::string_view topic, std::string_view group,
                              std::int32_t queue_id) const {
  std::lock_guard lock{mutex_};
  const auto of = waiting_.find({std::string{topic}, std::string{group}, queue_id});
  return of == waiting_.end() ? 0 : of->second.size();
}

void PopPolling::arm() {
  if (deadlines_.empty() || stopped_) return;
  const Clock::Instant due = deadlines_.begin()->first + kDeadlineGrain;
  if (!timers_.empty() && timers_.begin()->first <= due) return;
  timers_.emplace(due, clock_.run_at(due, [this] { sweep(); }));
}

void PopPolling::sweep() {
  Woken woken;
  {
    std::lock_guard lock{mutex_};
    const Clock::Instant now = clock_.now();
    timers_.erase(timers_.begin(), timers_.upper_bound(now));
    while (!deadlines_.empty() && deadlines_.begin()->first <= now)
      take(deadlines_.begin()->second, woken);
    arm();
  }
  resume(std::move(woken));
}

void PopPolling::resume(Woken woken) {
  for (HeldPop& pop : woken) {
    auto run = std::make_shared<HeldPop>(std::move(pop));
    run->peer->loop().post([run] { run->resume(); });
  }
}

}  // namespace apogee::broker
