#include "store/batch_consume_queue.h"

namespace apogee::store {
namespace {

constexpr std::int32_t kNotCompacted = -1;
/// A batch further ahead than this is damage, not a gap.
constexpr std::int64_t kGapMax = std::int64_t{1} << 32;

/// Physical offset i64, size i32, tag code i64, store time i64, first queue offset i64, messages
/// i16, compacted offset i32, reserved i32 (BatchConsumeQueue.putBatchMessagePositionInfo).
namespace unit_at {
constexpr std::size_t kSize = 8, kTagsCode = 12, kStoreTime = 20;
}

}  // namespace

BatchConsumeQueue::BatchConsumeQueue(Env& env, FileCache& cache, Place place, std::string topic,
                                     std::int32_t queue_id)
    : ConsumeQueue{env, cache, std::move(place), std::move(topic), queue_id, kUnitBytes} {}

QueueEntry BatchConsumeQueue::decode_unit(Bytes unit) {
  return {.physical_offset = read_big<std::int64_t>(unit, 0),
          .size = read_big<std::int32_t>(unit, unit_at::kSize),
          .tags_code = read_big<std::int64_t>(unit, unit_at::kTagsCode),
          .queue_offset = read_big<std::int64_t>(unit, kQueueOffsetAt),
          .messages = read_big<std::int16_t>(unit, kMessagesAt),
          .store_timestamp = read_big<std::int64_t>(unit, unit_at::kStoreTime)};
}

void BatchConsumeQueue::append_unit(std::string& out, const QueueEntry& entry) {
  append_big<std::int64_t>(out, entry.physical_offset);
  append_big<std::int32_t>(out, entry.size);
  append_big<std::int64_t>(out, entry.tags_code);
  append_big<std::int64_t>(out, entry.store_timestamp);
  append_big<std::int64_t>(out, entry.queue_offset);
  append_big<std::int16_t>(out, static_cast<std::int16_t>(entry.messages));
  append_big<std::int32_t>(out, kNotCompacted);
  append_big<std::int32_t>(out, 0);
}

void BatchConsumeQueue::put(std::int64_t queue_offset, const QueueEntry& entry) {
  if (entry.physical_offset + entry.size <= pending_physical_end_) return;  // dispatched before
  const bool empty = pending_end() == first_unit() * unit_bytes_;
  if (queue_offset < 0 || queue_offset > QueueEntry::kOffsetMax || queue_offset < pending_max_ ||
      (!empty && queue_offset - pending_max_ > kGapMax))
    return refuse(queue_offset, pending_max_);
  if (empty) min_.store(queue_offset, std::memory_order_release);
  append_unit(pending_, entry);
  pending_physical_end_ = entry.physical_offset + entry.size;
  pending_max_ = queue_offset + entry.messages;
}

Result<std::vector<QueueEntry>> BatchConsumeQueue::read(std::int64_t offset,
                                                        std::size_t count) const {
  if (offset < min_offset() || offset >= max_offset()) return std::vector<QueueEntry>{};
  Hint hint;
  {
    std::lock_guard lock{hint_mutex_};
    hint = hint_;
  }
  std::int64_t index = hint.index;
  auto entries = hint.offset == offset && index >= first_unit()
                     ? read_units(index, count)
                     : Result<std::vector<QueueEntry>>{std::vector<QueueEntry>{}};
  if (!entries || entries->empty() || entries->front().queue_offset != offset) {
    const auto found = find(offset);
    if (!found) return found.error();
    index = *found;
    entries = read_units(index, count);
  }
  if (entries && !entries->empty()) {
    const QueueEntry& last = entries->back();
    std::lock_guard lock{hint_mutex_};
    hint_ = {last.queue_offset + last.messages, index + static_cast<std::int64_t>(entries->size())};
  }
  return entries;
}

/// The number of the first entry that ends behind `offset`.
Result<std::int64_t> BatchConsumeQueue::find(std::int64_t offset) const {
  std::int64_t first = first_unit(), low = first, high = end_unit();
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    const auto entry = read_units(middle, 1);
    const bool gone = entry ? entry->empty() : entry.error().code == Errc::kNotFound;
    if (gone && first_unit() > first) {  // its file has expired since, not what is looked for
      low = first = first_unit();
      high = end_unit();
      continue;
    }
    if (!entry) return entry.error();
    if (gone) return Error{Errc::kNotFound, topic() + ": a queue file has gone"};
    if (entry->front().queue_offset + entry->front().messages <= offset)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

}  // namespace apogee::store
