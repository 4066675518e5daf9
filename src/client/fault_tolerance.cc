#include "client/fault_tolerance.h"

#include <algorithm>

namespace apogee {

std::vector<AvoidStep> AvoidStep::defaults() {
  return {{50ms, 0ms},        {100ms, 0ms},        {550ms, 2'000ms},    {1'800ms, 5'000ms},
          {3'000ms, 6'000ms}, {5'000ms, 10'000ms}, {15'000ms, 30'000ms}};
}

}  // namespace apogee

namespace apogee::client {
namespace {

constexpr auto kIsolation = 10'000ms;

}  // namespace

std::chrono::milliseconds FaultTolerance::pause_after(std::chrono::milliseconds latency) const {
  for (auto step = settings_.steps.rbegin(); step != settings_.steps.rend(); ++step)
    if (latency >= step->latency) return step->pause;
  return 0ms;
}

void FaultTolerance::update(const std::string& broker, std::chrono::milliseconds latency,
                            bool isolate, bool reachable) {
  if (!enabled()) return;
  const auto now = clock_.now();
  std::lock_guard lock{mutex_};
  Item& item = items_[broker];
  item.latency = isolate ? kIsolation : latency;
  item.available_from = now + pause_after(item.latency);
  item.reachable = reachable;
}

void FaultTolerance::answered_a_probe(const std::string& broker) {
  std::lock_guard lock{mutex_};
  if (const auto found = items_.find(broker); found != items_.end()) found->second.reachable = true;
}

bool FaultTolerance::available(const std::string& broker) const {
  std::lock_guard lock{mutex_};
  const auto found = items_.find(broker);
  return found == items_.end() || clock_.now() >= found->second.available_from;
}

bool FaultTolerance::reachable(const std::string& broker) const {
  std::lock_guard lock{mutex_};
  const auto found = items_.find(broker);
  return found == items_.end() || found->second.reachable;
}

const MessageQueue& FaultTolerance::choose(std::span<const MessageQueue> queues, std::uint32_t& at,
                                           const std::string& last_broker) const {
  const auto next = [&]() -> const MessageQueue& { return queues[at++ % queues.size()]; };
  const auto first_that = [&](auto fits) -> const MessageQueue* {
    for (std::size_t i = 0; i < queues.size(); ++i) {
      const MessageQueue& queue = next();
      if (queue.broker != last_broker && fits(queue.broker)) return &queue;
    }
    return nullptr;
  };
  if (enabled()) {
    const auto* found = first_that([&](const std::string& broker) { return available(broker); });
    if (found == nullptr)
      found = first_that([&](const std::string& broker) { return reachable(broker); });
    if (found != nullptr) return *found;
  } else if (!last_broker.empty()) {
    if (const auto* found = first_that([](const std::string&) { return true; })) return *found;
  }
  return next();
}

std::vector<std::string> FaultTolerance::due_for_probe(std::chrono::milliseconds interval) {
  std::vector<std::string> due;
  if (!enabled() || !settings_.detect) return due;
  const auto now = clock_.now();
  std::lock_guard lock{mutex_};
  for (auto& [broker, item] : items_) {
    if (item.probe_from > now) continue;
    item.probe_from = now + interval;
    due.push_back(broker);
  }
  return due;
}

void FaultTolerance::forget(const std::string& broker) {
  std::lock_guard lock{mutex_};
  items_.erase(broker);
}

}  // namespace apogee::client
