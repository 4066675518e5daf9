#include <limits>

#include <fmt/core.h>

#include "protocol/message.h"
#include "protocol/names.h"
#include "store/local_store.h"
#include "store/log_reader.h"

/// How a store is read.
namespace apogee::store {
namespace {

using protocol::RecordKind;

constexpr std::size_t kFetchedAhead = 6;  // records
constexpr std::int64_t kSurelyResidentBytes =
    64 << 20;  // behind the end of the log: just written, not asked for page by page

std::int64_t tags_code_of(Bytes record) {
  const auto message = protocol::decode_message(record);
  return protocol::tags_code(message ? message->property(protocol::property::kTags) : std::nullopt);
}

/// Does a record stand where the queue entry says? Costs one look at its beginning.
bool stands_there(const QueueEntry& entry, Bytes record) {
  namespace at = protocol::record_at;
  return record.size() >= at::kSysFlag && read_big<std::int32_t>(record, at::kSize) == entry.size &&
         read_big<std::int64_t>(record, at::kPhysicalOffset) == entry.physical_offset;
}

bool is_in(const Segment* segment, const QueueEntry& entry) {
  return segment && entry.physical_offset >= segment->base() &&
         entry.physical_offset < segment->end();
}

/// Into the processor's caches, if it is in this segment.
void fetch_ahead(const Segment* segment, const QueueEntry& entry) {
  if (is_in(segment, entry))
    segment->fetch_ahead(static_cast<std::size_t>(entry.physical_offset - segment->base()),
                         static_cast<std::size_t>(entry.size));
}

/// Empty: it is not there whole.
Bytes record_in(const Segment& segment, const QueueEntry& entry) {
  const Bytes record =
      segment.read(static_cast<std::size_t>(entry.physical_offset - segment.base()),
                   static_cast<std::size_t>(entry.size));
  return record.size() == static_cast<std::size_t>(entry.size) ? record : Bytes{};
}

/// The disk refused, which says nothing of what is there.
bool is_refused(const Result<std::vector<QueueEntry>>& entries) {
  return !entries && entries.error().code != Errc::kNotFound;
}

/// The answer for an offset at which the queue has no message; nullopt: it has.
std::optional<std::pair<GetStatus, std::int64_t>> outside(const GetResult& queue,
                                                          std::int64_t offset) {
  if (queue.max_offset == 0) return {{GetStatus::kNoMessageInQueue, 0}};
  if (offset < queue.min_offset) return {{GetStatus::kOffsetTooSmall, queue.min_offset}};
  if (offset == queue.max_offset) return {{GetStatus::kOffsetOverflowOne, offset}};
  if (offset > queue.max_offset) return {{GetStatus::kOffsetOverflowBadly, queue.max_offset}};
  return std::nullopt;
}

/// What a filter has to say of an entry's tags and bits, which stand in it, in what it leads to, or
/// else in the record only.
struct Verdict {
  bool refused = false, by_record = false;
};
Verdict verdict(const MessageFilter* filter, const ConsumeQueue& queue, const QueueEntry& entry) {
  if (!filter) return {};
  if (!entry.tags_elsewhere()) return {.refused = !filter->matches_tags_code(entry.tags_code)};
  const auto extended = queue.extended(entry);
  if (!extended) return {.by_record = true};
  return {.refused = !filter->matches_bit_map(extended->bit_map, extended->store_timestamp) ||
                     !filter->matches_tags_code(extended->tags_code)};
}
bool refuses(const MessageFilter& filter, Bytes record, bool tags_by_record) {
  return (tags_by_record && !filter.matches_tags_code(tags_code_of(record))) ||
         (filter.needs_record() && !filter.matches_record(record));
}

}  // namespace

/// Is a record looked at before it is given out? What this process has just written is read from
/// the memory it was written to; what is older, or was written before, may come from the disk.
bool LocalStore::is_checked(std::int64_t physical_offset) const {
  switch (config_.now().check_crc_on_read) {
    case CheckOnRead::kNone:
      return false;
    case CheckOnRead::kCold:
      return physical_offset < written_from_ ||
             log_.end_offset() - physical_offset > kSurelyResidentBytes;
    case CheckOnRead::kAll:
      return true;
  }
  return true;
}

/// Is it the message this entry was made for, and its body what was sent?
bool LocalStore::is_as_written(const ConsumeQueue& queue, const QueueEntry& entry,
                               Bytes record) const {
  if (!stands_there(entry, record)) return false;
  if (!is_checked(entry.physical_offset)) return true;
  const auto check = protocol::check_record(record, false);
  // The messages of an LMQ are another topic's.
  return check.kind == RecordKind::kRecord &&
         crc_matches(record, check.message, checked_with_bodies(config_.now())) &&
         (queue.topic().starts_with(protocol::kLmqPrefix) ||
          (check.message.topic == queue.topic() && check.message.queue_id == queue.queue_id() &&
           check.message.queue_offset == entry.queue_offset));
}

void LocalStore::tell_unreadable(const ConsumeQueue& queue, const Error& error) {
  if (const auto times = refused_reads_.count(env_.clock.now()))
    env_.log.error(
        "a consume queue cannot be read, its messages wait: topic={} queue={} {} times={}",
        queue.topic(), queue.queue_id(), error.detail, *times);
}

GetResult LocalStore::get(const GetRequest& request) {
  const StoreConfig& config = config_.now();
  GetResult result;
  const auto queue = queues_.find(request.topic, request.queue_id);
  if (!queue) return result;
  if (const auto log = compacted(*queue); log && !log->leaves_to(*queue, request.offset))
    return log->get(request, config, memory_bytes_ / 100 * config.memory_percent);
  result.min_offset = queue->min_offset();
  result.max_offset = queue->max_offset();
  const auto end_with = [&](GetStatus status, std::int64_t next) {
    result.status = status;
    result.next_offset = next;
    return result;
  };
  if (const auto answer = outside(result, request.offset))
    return end_with(answer->first, answer->second);

  // Without a filter nothing behind the wanted messages is looked at.
  std::int64_t count = std::max(request.max_messages, 1);
  if (request.filter)
    count = std::max<std::int64_t>(count, config.filter_bytes_max / QueueEntry::kBytes);
  const auto entries = queue->read(request.offset, static_cast<std::size_t>(count));
  if (is_refused(entries)) {
    tell_unreadable(*queue, entries.error());
    return end_with(GetStatus::kUnreadable, request.offset);
  }
  if (!entries || entries->empty()) {
    if (queue->kind() == QueueKind::kBatch)  // whose files do not end at certain offsets
      return end_with(GetStatus::kOffsetFoundNull,
                      std::max(request.offset + 1, queue->min_offset()));
    const std::int64_t per_file = std::max<std::int64_t>(config.consume_queue_file_bytes / 20, 1);
    return end_with(GetStatus::kOffsetFoundNull,
                    std::min((request.offset / per_file + 1) * per_file, result.max_offset));
  }
  result.status = GetStatus::kNoMatchedMessage;
  result.next_offset = request.offset;
  if (gather(*queue, *entries, request, result)) return result;
  GetResult cold;
  cold.resident = false;
  return cold;
}

/// Adds what is wanted of the entries, as far as it fits. False: that would wait for the disk.
bool LocalStore::gather(const ConsumeQueue& queue, std::span<const QueueEntry> entries,
                        const GetRequest& request, GetResult& result) {
  const StoreConfig& config = config_.now();
  if (!request.filter) result.records.reserve(entries.size());
  std::shared_ptr<Segment> segment = log_.segment_of(entries.front().physical_offset);
  std::int64_t skip_before = -1;
  std::size_t fetched = 0;
  const auto now = env_.clock.now();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const QueueEntry& entry = entries[i];
    for (; fetched < std::min(i + kFetchedAhead, entries.size()); ++fetched)
      fetch_ahead(segment.get(), entries[fetched]);
    const bool in_memory = in_memory_reach(entry.physical_offset);
    result.suggest_slave = !in_memory;
    if (result.is_full_for(entry.messages, entry.size, request, config, in_memory)) break;
    result.next_offset = entry.queue_offset + entry.messages;
    if (entry.is_blank() || entry.physical_offset < skip_before) continue;
    const auto [refused, by_record] = verdict(request.filter, queue, entry);
    if (refused) continue;
    if (!is_in(segment.get(), entry)) segment = log_.segment_of(entry.physical_offset);
    const Bytes record = segment ? record_in(*segment, entry) : Bytes{};
    if (record.empty()) {
      if (result.message_count == 0) result.status = GetStatus::kMessageWasRemoving;
      skip_before = log_.min_offset();
      if (entry.physical_offset >= skip_before)  // else it has expired
        env_.log.error(
            "a queue entry leads out of the log: topic={} queue={} queue_offset={} "
            "physical_offset={} log={}..{}",
            request.topic, request.queue_id, entry.queue_offset, entry.physical_offset, skip_before,
            log_.end_offset());
      continue;
    }
    if (request.filter && refuses(*request.filter, record, by_record)) continue;
    const std::int64_t position = entry.physical_offset - segment->base();
    if (log_.end_offset() - entry.physical_offset > kSurelyResidentBytes && result.resident) {
      result.resident = segment->resident(static_cast<std::size_t>(position), record.size(), now);
      if (!result.resident && request.only_resident) return false;
    }
    if (is_as_written(queue, entry, record))
      result.add(record, segment, entry.messages);
    else
      damages_.tell(segment->path(), position,
                    fmt::format("topic={} queue={} queue_offset={}", request.topic,
                                request.queue_id, entry.queue_offset));
  }
  return true;
}

RecordBytes LocalStore::record_at(std::int64_t physical_offset) {
  const auto segment = log_.segment_of(physical_offset);
  if (!segment) return {};
  const auto position = static_cast<std::size_t>(physical_offset - segment->base());
  const Bytes rest = segment->read(position, segment->size() - position);
  const auto check = protocol::check_record(rest, false);
  if (check.kind != RecordKind::kRecord || check.message.physical_offset != physical_offset)
    return {};
  const Bytes record = rest.first(static_cast<std::size_t>(check.size));
  if (is_checked(physical_offset) &&
      !crc_matches(record, check.message, checked_with_bodies(config_.now()))) {
    damages_.tell(segment->path(), static_cast<std::int64_t>(position),
                  fmt::format("topic={} queue={} queue_offset={}", check.message.topic,
                              check.message.queue_id, check.message.queue_offset));
    return {};
  }
  return {record, segment};
}

/// Of a topic that keeps messages longer than the commit log does.
RecordBytes LocalStore::compacted_at(const ConsumeQueue& queue, std::int64_t queue_offset) {
  const auto log = compacted(queue);
  if (!log) return {};
  GetResult got = log->get({.topic = queue.topic(),
                            .queue_id = queue.queue_id(),
                            .offset = queue_offset,
                            .max_messages = 1},
                           config_.now(), 0);
  if (got.status == GetStatus::kUnreadable) return {.bytes = {}, .owner = {}, .unreadable = true};
  if (got.records.empty()) return {};
  const auto check = protocol::check_record(got.records.front(), false);
  if (check.kind != RecordKind::kRecord || check.message.queue_offset != queue_offset) return {};
  return {got.records.front().first(static_cast<std::size_t>(check.size)), got.take_owners()};
}

RecordBytes LocalStore::record_at(std::string_view topic, std::int32_t queue_id,
                                  std::int64_t queue_offset) {
  const auto queue = queues_.find(topic, queue_id);
  if (!queue) return {};
  if (queue_offset < queue->min_offset()) return compacted_at(*queue, queue_offset);
  const auto entry = queue->read(queue_offset, 1);
  if (is_refused(entry)) {
    tell_unreadable(*queue, entry.error());
    return {.bytes = {}, .owner = {}, .unreadable = true};
  }
  if (!entry || entry->empty() || entry->front().is_blank()) return {};
  RecordBytes record = record_at(entry->front().physical_offset);
  record.tags_code = entry->front().tags_code;
  return record;
}

std::vector<RecordBytes> LocalStore::query_by_key(std::string_view topic, std::string_view key,
                                                  std::int32_t max, std::int64_t begin_ms,
                                                  std::int64_t end_ms) {
  return found(
      index_.query(topic, key, std::min(max, config_.now().query_messages_max), begin_ms, end_ms),
      topic, [&](const protocol::Message& message) { return protocol::has_key(message, key); });
}

std::vector<RecordBytes> LocalStore::query_by_tag(std::string_view topic, std::string_view tag,
                                                  std::int32_t max, std::int64_t begin_ms,
                                                  std::int64_t end_ms) {
  return found(index_.query_tag(topic, tag, std::min(max, config_.now().query_messages_max),
                                begin_ms, end_ms),
               topic, [&](const protocol::Message& message) {
                 return message.property(protocol::property::kTags) == tag;
               });
}

/// Of what the index answered what is meant: its hashes lie now and then.
std::vector<RecordBytes> LocalStore::found(
    const IndexAnswer& answer, std::string_view topic,
    const std::function<bool(const protocol::Message&)>& wanted) {
  std::vector<RecordBytes> records;
  for (const std::int64_t offset : answer.physical_offsets) {
    RecordBytes record = record_at(offset);
    if (!record) continue;
    const auto check = protocol::check_record(record.bytes, false);
    if (check.message.topic == topic && wanted(check.message)) records.push_back(std::move(record));
  }
  return records;
}

std::vector<QueueUnit> LocalStore::queue_units(std::string_view topic, std::int32_t queue_id,
                                               std::int64_t queue_offset, std::int32_t count) {
  const auto queue = queues_.find(topic, queue_id);
  if (!queue || count <= 0) return {};
  const auto entries = queue->read(queue_offset, static_cast<std::size_t>(count));
  if (is_refused(entries)) tell_unreadable(*queue, entries.error());
  if (!entries) return {};
  std::vector<QueueUnit> units;
  for (const QueueEntry& entry : *entries) {
    QueueUnit& unit = units.emplace_back(QueueUnit{.queue_offset = entry.queue_offset,
                                                   .physical_offset = entry.physical_offset,
                                                   .size = entry.size,
                                                   .messages = entry.messages,
                                                   .tags_code = entry.tags_code,
                                                   .tags_known = !entry.tags_elsewhere(),
                                                   .extended = std::nullopt});
    if (unit.tags_known) continue;
    auto extended = queue->extended(entry);
    if (!extended) continue;
    unit.tags_known = true;
    unit.tags_code = extended->tags_code;
    unit.extended.emplace(extended->store_timestamp, std::move(extended->bit_map));
  }
  return units;
}

std::int64_t LocalStore::min_offset(std::string_view topic, std::int32_t queue_id) {
  const auto queue = queues_.find(topic, queue_id);
  if (!queue) return -1;
  const auto log = compacted(*queue);  // has messages that have expired in the commit log
  return log ? std::min(log->min_offset(), queue->min_offset()) : queue->min_offset();
}
std::int64_t LocalStore::max_offset(std::string_view topic, std::int32_t queue_id) {
  const auto queue = queues_.find(topic, queue_id);
  if (!queue) return 0;
  const auto log = compacted(*queue);
  return std::max(log ? log->next_offset() : 0, queue->max_offset());
}

std::int64_t LocalStore::store_time_of(const QueueEntry& entry) {
  if (entry.is_blank()) return -1;
  if (entry.store_timestamp > 0) return entry.store_timestamp;
  const RecordBytes record = record_at(entry.physical_offset);
  return record ? protocol::check_record(record.bytes, false).message.store_timestamp : -1;
}

/// ConsumeQueue.binarySearchInQueueByTime: LOWER the first message at or after `timestamp` (one
/// behind the last if there is none), UPPER the last at or before it. In a batch queue the offset
/// is that of a batch's first message, of the last batch's if there is nothing at or after.
std::int64_t LocalStore::offset_by_time(std::string_view topic, std::int32_t queue_id,
                                        std::int64_t timestamp, Boundary boundary) {
  const auto queue = queues_.find(topic, queue_id);
  if (!queue || queue->max_offset() == 0) return 0;
  const std::int64_t first = queue->min_offset(), end = queue->max_offset();
  // What cannot be read may be as late as any: who begins too early loses nothing.
  const auto time_at = [&](std::int64_t offset) {
    const auto entry = queue->read(offset, 1);
    if (is_refused(entry)) return std::numeric_limits<std::int64_t>::max();
    return entry && !entry->empty() ? store_time_of(entry->front()) : -1;
  };
  const auto found = [&](std::int64_t offset) {
    if (queue->kind() == QueueKind::kSimple) return offset;
    const auto entry = queue->read(std::min(offset, end - 1), 1);
    return entry && !entry->empty() ? entry->front().queue_offset : offset;
  };
  if (first >= end) return end;
  if (time_at(end - 1) < timestamp) return found(boundary == Boundary::kLower ? end : end - 1);
  if (time_at(first) > timestamp) return boundary == Boundary::kLower ? first : 0;
  // The first whose time is (LOWER) not before, or (UPPER) after the time asked for.
  std::int64_t low = first, high = end;
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    const std::int64_t time = time_at(middle);
    const bool before = boundary == Boundary::kLower ? time < timestamp : time <= timestamp;
    if (before)
      low = middle + 1;
    else
      high = middle;
  }
  return found(std::clamp(boundary == Boundary::kLower ? low : low - 1, first, end));
}

std::int64_t LocalStore::store_time(std::string_view topic, std::int32_t queue_id,
                                    std::int64_t queue_offset) {
  const auto queue = queues_.find(topic, queue_id);
  if (!queue || queue_offset < queue->min_offset()) return -1;
  const auto entry = queue->read(queue_offset, 1);
  return entry && !entry->empty() ? store_time_of(entry->front()) : -1;
}
std::int64_t LocalStore::earliest_store_time(std::string_view topic, std::int32_t queue_id) {
  const auto queue = queues_.find(topic, queue_id);
  return queue ? store_time(topic, queue_id, queue->min_offset()) : -1;
}
std::int64_t LocalStore::earliest_store_time() {
  const std::int64_t begin = log_.min_offset();
  const RecordBytes record = begin < 0 ? RecordBytes{} : record_at(begin);
  return record ? protocol::check_record(record.bytes, false).message.store_timestamp : -1;
}

bool LocalStore::in_memory(std::string_view topic, std::int32_t queue_id,
                           std::int64_t queue_offset) {
  const RecordBytes record = record_at(topic, queue_id, queue_offset);
  return record && in_memory_reach(
                       read_big<std::int64_t>(record.bytes, protocol::record_at::kPhysicalOffset));
}

std::vector<QueueInfo> LocalStore::infos(const std::vector<std::shared_ptr<ConsumeQueue>>& queues) {
  std::vector<QueueInfo> infos;
  infos.reserve(queues.size());
  for (const auto& queue : queues)
    infos.push_back({queue->topic(), queue->queue_id(), queue->min_offset(), queue->max_offset()});
  return infos;
}

}  // namespace apogee::store
