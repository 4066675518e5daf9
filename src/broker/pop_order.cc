#include "broker/pop_order.h"

#include <limits>
#include <set>

#include "protocol/names.h"
#include "protocol/pop.h"
#include "protocol/table_file.h"

namespace apogee::broker {
namespace {

constexpr std::int64_t kForgetAfterMs = std::int64_t{24} * 3'600 * 1'000;  // CLEAN_SPAN_FROM_LAST
constexpr std::size_t kBitsMax = 63;

std::vector<std::int64_t> as_differences(const std::vector<std::int64_t>& offsets) {
  std::vector<std::int64_t> differences = offsets;
  for (std::size_t i = 1; i < offsets.size(); ++i) differences[i] -= offsets.front();
  return differences;
}

/// How often the messages of a new batch were consumed before: once more than the batch before it
/// said, if they were in it (OrderInfo.mergeOffsetConsumedCount).
std::map<std::int64_t, std::int32_t> counts_after(const OrderedBatch& before,
                                                  const OrderedBatch& now) {
  std::map<std::int64_t, std::int32_t> counted =
      before.times_consumed.value_or(std::map<std::int64_t, std::int32_t>{});
  if (before.attempt_id && before.attempt_id == now.attempt_id) return counted;
  std::set<std::int64_t> seen;
  for (std::size_t i = 0; i < before.offsets.size(); ++i) seen.insert(before.offset_of(i));
  std::map<std::int64_t, std::int32_t> counts;
  for (std::size_t i = 0; i < now.offsets.size(); ++i) {
    const std::int64_t offset = now.offset_of(i);
    if (!seen.contains(offset)) continue;
    const auto count = counted.find(offset);
    counts[offset] = count == counted.end() ? 1 : count->second + 1;
  }
  return counts;
}

}  // namespace

Result<Ok> OrderedPops::load() {
  auto table = protocol::load_table<Table>(env_, path_);
  if (!table) return table.error();
  std::lock_guard lock{mutex_};
  if (*table) table_ = std::move(**table);
  for (auto& [key, batches] : table_.table)
    std::erase_if(batches, [](const auto& each) { return each.second.offsets.size() > kBitsMax; });
  return Ok{};
}

Result<Ok> OrderedPops::persist(const Topics& topics, const SubscriptionGroups& groups) {
  std::lock_guard one_writer{file_mutex_};
  forget_unused(topics, groups);
  return protocol::save_if_dirty(env_, path_, dirty_, [&] {
    std::lock_guard lock{mutex_};
    return table_;
  });
}

void OrderedPops::forget_unused(const Topics& topics, const SubscriptionGroups& groups) {
  const std::int64_t now = env_.clock.wall_ms();
  std::lock_guard lock{mutex_};
  for (auto entry = table_.table.begin(); entry != table_.table.end();) {
    const std::string& key = entry->first;
    const std::size_t at = key.find('@');
    const TopicPtr topic = at == std::string::npos ? nullptr : topics.find(key.substr(0, at));
    const bool known = topic && groups.contains(key.substr(at + 1));
    std::erase_if(entry->second, [&](const auto& batch) {
      return !known || batch.first >= topic->read_queue_nums ||
             now - batch.second.last_consume_ms > kForgetAfterMs;
    });
    if (entry->second.empty()) dirty_ = true;
    entry = entry->second.empty() ? table_.table.erase(entry) : std::next(entry);
  }
}

OrderedBatch* OrderedPops::find(const Queue& queue) {
  const auto batches = table_.table.find(protocol::topic_at_group(queue.topic, queue.group));
  if (batches == table_.table.end()) return nullptr;
  const auto batch = batches->second.find(queue.queue_id);
  return batch == batches->second.end() ? nullptr : &batch->second;
}

void OrderedPops::popped(const Queue& queue, const std::optional<std::string>& attempt_id,
                         std::int64_t pop_time, std::int64_t invisible_ms,
                         const std::vector<std::int64_t>& offsets, std::string& order_count_info) {
  OrderedBatch batch{.attempt_id = attempt_id,
                     .acked_bits = 0,
                     .invisible_ms = invisible_ms,
                     .last_consume_ms = env_.clock.wall_ms(),
                     .offsets = as_differences(offsets),
                     .times_consumed = {},
                     .next_visible = {},
                     .pop_time = pop_time};
  std::lock_guard lock{mutex_};
  if (const OrderedBatch* before = find(queue)) batch.times_consumed = counts_after(*before, batch);
  std::int32_t least = std::numeric_limits<std::int32_t>::max();
  std::size_t counted = 0;
  if (batch.times_consumed) {
    counted = batch.times_consumed->size();
    for (const auto& [offset, times] : *batch.times_consumed) {
      protocol::add_message_order_count(order_count_info, queue.topic, queue.queue_id, offset,
                                        times);
      least = std::min(least, times);
    }
  }
  // Old clients know one count a queue.
  protocol::add_queue_order_count(order_count_info, queue.topic, queue.queue_id,
                                  counted == offsets.size() ? least : 0);
  table_.table[protocol::topic_at_group(queue.topic, queue.group)][queue.queue_id] =
      std::move(batch);
  dirty_ = true;
}

std::optional<std::int64_t> OrderedPops::blocked_until(const Queue& queue,
                                                       const std::optional<std::string>& attempt_id,
                                                       std::int64_t invisible_ms) {
  const std::int64_t now = env_.clock.wall_ms();
  std::lock_guard lock{mutex_};
  OrderedBatch* batch = find(queue);
  if (!batch || (attempt_id && batch->attempt_id == attempt_id)) return std::nullopt;
  if (batch->invisible_ms.value_or(0) <= 0) batch->invisible_ms = invisible_ms;
  // The first that is still invisible blocks; when it is over, the next one may.
  for (std::size_t i = 0; i < batch->offsets.size(); ++i) {
    if (batch->acked(i)) continue;
    std::int64_t visible = batch->pop_time + *batch->invisible_ms;
    if (batch->next_visible) {
      const auto said = batch->next_visible->find(batch->offset_of(i));
      if (said != batch->next_visible->end()) visible = said->second;
    }
    if (now < visible) return visible;
  }
  return std::nullopt;
}

OrderedPops::Acked OrderedPops::ack(const Queue& queue, std::int64_t offset, std::int64_t pop_time,
                                    std::int64_t committed) {
  std::lock_guard lock{mutex_};
  OrderedBatch* batch = find(queue);
  if (!batch)
    return offset == committed ? Acked{AckResult::kCommit, offset + 1} : Acked{AckResult::kNothing};
  if (batch->offsets.empty()) return {AckResult::kIllegal};
  if (batch->pop_time != pop_time) return {AckResult::kNothing};
  std::size_t at = 0;
  while (at < batch->offsets.size() && batch->offset_of(at) != offset) ++at;
  if (at == batch->offsets.size()) return {AckResult::kIllegal};
  batch->acked_bits |= std::int64_t{1} << at;
  dirty_ = true;
  std::size_t first_open = 0;
  while (first_open < batch->offsets.size() && batch->acked(first_open)) ++first_open;
  if (first_open == batch->offsets.size())
    return {AckResult::kCommit, batch->offset_of(first_open - 1) + 1};
  return {AckResult::kCommit, batch->offset_of(first_open)};
}

void OrderedPops::show_at(const Queue& queue, std::int64_t offset, std::int64_t pop_time,
                          std::int64_t visible_ms) {
  std::lock_guard lock{mutex_};
  OrderedBatch* batch = find(queue);
  if (!batch || batch->pop_time != pop_time) return;
  bool in_batch = false;
  for (std::size_t i = 0; i < batch->offsets.size(); ++i)
    in_batch = in_batch || batch->offset_of(i) == offset;
  if (!in_batch) return;
  if (!batch->next_visible) batch->next_visible.emplace();
  (*batch->next_visible)[offset] = visible_ms;
  dirty_ = true;
}

void OrderedPops::clear(const Queue& queue) {
  std::lock_guard lock{mutex_};
  const auto batches = table_.table.find(protocol::topic_at_group(queue.topic, queue.group));
  if (batches != table_.table.end() && batches->second.erase(queue.queue_id) > 0) dirty_ = true;
}

}  // namespace apogee::broker
