#include "client/process_queue.h"

namespace apogee::client {
namespace {

std::int64_t size_of(const ReceivedMessage& message) {
  return static_cast<std::int64_t>(message.body.size());
}

}  // namespace

bool ProcessQueue::put(const Pulled& pulled) {
  std::lock_guard lock{mutex_};
  for (ReceivedMessage& each : *pulled) {
    // The element keeps the whole of what was pulled alive: batches are spans of it.
    const auto [at, added] =
        messages_.try_emplace(each.queue_offset, Entry{MessagePtr{pulled, &each}, std::nullopt});
    if (!added) continue;
    bytes_ += size_of(each);
    max_offset_ = each.queue_offset;
  }
  if (messages_.empty() || consuming_) return false;
  consuming_ = true;
  return true;
}

std::int64_t ProcessQueue::remove(std::span<const ReceivedMessage> done) {
  std::lock_guard lock{mutex_};
  last_consume_ = clock_.now();
  if (messages_.empty()) return kNothing;
  for (const ReceivedMessage& each : done) {
    const auto found = messages_.find(each.queue_offset);
    if (found == messages_.end()) continue;
    bytes_ -= size_of(*found->second.message);
    messages_.erase(found);
  }
  return messages_.empty() ? max_offset_ + 1 : messages_.begin()->first;
}

bool ProcessQueue::contains(std::int64_t offset) const {
  std::lock_guard lock{mutex_};
  return messages_.contains(offset);
}

void ProcessQueue::clear() {
  std::lock_guard lock{mutex_};
  messages_.clear();
  taken_.clear();
  bytes_ = 0;
  max_offset_ = 0;
}

std::vector<MessagePtr> ProcessQueue::take(std::size_t count) {
  std::lock_guard lock{mutex_};
  last_consume_ = clock_.now();
  std::vector<MessagePtr> out;
  while (out.size() < count && !messages_.empty()) {
    auto first = messages_.begin();
    out.push_back(first->second.message);
    taken_.emplace(first->first, std::move(first->second.message));
    messages_.erase(first);
  }
  if (out.empty()) consuming_ = false;
  return out;
}

std::int64_t ProcessQueue::commit() {
  std::lock_guard lock{mutex_};
  if (taken_.empty()) return kNothing;  // cleared meanwhile
  const std::int64_t next = taken_.rbegin()->first + 1;
  for (const auto& [offset, message] : taken_) bytes_ -= size_of(*message);
  taken_.clear();
  return next;
}

void ProcessQueue::rollback() {
  std::lock_guard lock{mutex_};
  for (auto& [offset, message] : taken_) messages_[offset] = {std::move(message), std::nullopt};
  taken_.clear();
}

void ProcessQueue::consume_again(std::span<const MessagePtr> messages) {
  std::lock_guard lock{mutex_};
  for (const MessagePtr& each : messages) {
    if (taken_.erase(each->queue_offset) == 1) messages_[each->queue_offset] = {each, std::nullopt};
  }
}

ProcessQueue::Level ProcessQueue::level() const {
  std::lock_guard lock{mutex_};
  Level level{.count = static_cast<std::int64_t>(messages_.size() + taken_.size()),
              .bytes = bytes_,
              .taken_count = static_cast<std::int64_t>(taken_.size())};
  if (!messages_.empty()) {
    level.min_offset = messages_.begin()->first;
    level.max_offset = messages_.rbegin()->first;
  }
  if (!taken_.empty()) {
    level.taken_min_offset = taken_.begin()->first;
    level.taken_max_offset = taken_.rbegin()->first;
  }
  return level;
}

bool ProcessQueue::empty() const {
  std::lock_guard lock{mutex_};
  return messages_.empty() && taken_.empty();
}

void ProcessQueue::begin_consuming(std::span<const ReceivedMessage> messages) {
  std::lock_guard lock{mutex_};
  for (const ReceivedMessage& each : messages)
    if (const auto found = messages_.find(each.queue_offset); found != messages_.end())
      found->second.consuming_since = clock_.now();
}

void ProcessQueue::end_consuming(std::span<const ReceivedMessage> messages) {
  std::lock_guard lock{mutex_};
  for (const ReceivedMessage& each : messages)
    if (const auto found = messages_.find(each.queue_offset); found != messages_.end())
      found->second.consuming_since.reset();
}

MessagePtr ProcessQueue::first_older_than(Clock::Duration limit) const {
  std::lock_guard lock{mutex_};
  if (messages_.empty()) return nullptr;
  const Entry& first = messages_.begin()->second;
  if (!first.consuming_since || clock_.now() - *first.consuming_since <= limit) return nullptr;
  return first.message;
}

void ProcessQueue::lock_renewed() {
  last_lock_ = clock_.now();
  locked = true;
}

}  // namespace apogee::client
