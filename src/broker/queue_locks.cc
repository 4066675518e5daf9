#include "broker/queue_locks.h"

namespace apogee::broker {

bool QueueLocks::try_lock(std::string_view group, std::string_view client_id,
                          std::string_view topic, std::string_view broker_name,
                          std::int32_t queue_id) {
  std::lock_guard lock{mutex_};
  auto at = groups_.find(group);
  if (at == groups_.end()) at = groups_.try_emplace(std::string{group}).first;
  auto& queues = at->second;
  const Queue queue{std::string{topic}, std::string{broker_name}, queue_id};
  const auto held = queues.find(queue);
  if (held == queues.end()) {
    if (queues.size() >= kQueuesPerGroupMax) return false;
    queues.emplace(queue, Lock{std::string{client_id}, clock_.now()});
    return true;
  }
  if (held->second.client_id != client_id && !expired(held->second)) return false;
  held->second = {std::string{client_id}, clock_.now()};
  return true;
}

void QueueLocks::unlock(std::string_view group, std::string_view client_id, std::string_view topic,
                        std::string_view broker_name, std::int32_t queue_id) {
  std::lock_guard lock{mutex_};
  const auto at = groups_.find(group);
  if (at == groups_.end()) return;
  const auto held = at->second.find({std::string{topic}, std::string{broker_name}, queue_id});
  if (held == at->second.end() || held->second.client_id != client_id) return;
  at->second.erase(held);
  if (at->second.empty()) groups_.erase(at);
}

bool QueueLocks::any_held(std::string_view group) const {
  std::lock_guard lock{mutex_};
  const auto at = groups_.find(group);
  if (at == groups_.end()) return false;
  for (const auto& [queue, held] : at->second)
    if (!expired(held)) return true;
  return false;
}

void QueueLocks::drop_expired() {
  std::lock_guard lock{mutex_};
  for (auto& [group, queues] : groups_)
    std::erase_if(queues, [&](const auto& each) { return expired(each.second); });
  std::erase_if(groups_, [](const auto& each) { return each.second.empty(); });
}

std::size_t QueueLocks::size() const {
  std::lock_guard lock{mutex_};
  std::size_t total = 0;
  for (const auto& [group, queues] : groups_) total += queues.size();
  return total;
}

}  // namespace apogee::broker
