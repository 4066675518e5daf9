#include "store/inspect.h"

#include <algorithm>
#include <array>
#include <set>

#include <fmt/core.h>

#include "store/inspect_state.h"
#include "store/segment.h"

namespace apogee::store {
namespace {

constexpr std::size_t kCheckpointFieldsBytes = 40;

bool in_range(std::int64_t value, std::optional<std::int64_t> from,
              std::optional<std::int64_t> to) {
  return (!from || value >= *from) && (!to || value < *to);
}

/// Does nothing but zeros stand at the start of the file?
Result<bool> starts_with_zeros(FileSystem& files, const SegmentFile& segment) {
  auto file = files.open(segment.path, FileSystem::Open::kReadOnly);
  if (!file) return file.error();
  std::array<std::byte, protocol::kBlankRecordBytes> head{};
  auto read = (*file)->read_at(0, head);
  if (!read && read.error().code == Errc::kIo) return false;  // nobody knows: a damage to be told
  if (!read) return read.error();
  return std::ranges::all_of(head, [](std::byte b) { return b == std::byte{0}; });
}

Result<std::optional<CheckpointSummary>> read_checkpoint(FileSystem& files,
                                                         const std::string& path) {
  auto file = files.open(path, FileSystem::Open::kReadOnly);
  if (!file) {
    if (file.error().code == Errc::kNotFound) return std::optional<CheckpointSummary>{};
    return file.error();
  }
  std::array<std::byte, kCheckpointFieldsBytes> bytes{};
  if (auto read = (*file)->read_at(0, bytes); !read) return read.error();
  return std::optional{
      CheckpointSummary{.commit_log_timestamp = read_big<std::int64_t>(bytes, 0),
                        .consume_queue_timestamp = read_big<std::int64_t>(bytes, 8),
                        .index_timestamp = read_big<std::int64_t>(bytes, 16),
                        .master_flushed_offset = read_big<std::int64_t>(bytes, 24),
                        .confirmed_offset = read_big<std::int64_t>(bytes, 32)}};
}

}  // namespace

bool RecordFilter::matches(const protocol::Message& message) const {
  return (topic.empty() || message.topic == topic) &&
         (!queue_id || message.queue_id == *queue_id) &&
         in_range(message.queue_offset, from_queue_offset, to_queue_offset) &&
         in_range(message.store_timestamp, from_ms, to_ms) &&
         (key.empty() || protocol::has_key(message, key));
}

// ---- QueueFiles ----

const SegmentFile* QueueFiles::file_of(std::int64_t unit, std::uint64_t& position) const {
  if (unit < 0 || unit >= end()) return nullptr;
  const std::int64_t at = unit * unit_bytes_;
  for (const SegmentFile& segment : segments_) {
    if (at < segment.base || at + unit_bytes_ > segment.end()) continue;
    position = static_cast<std::uint64_t>(at - segment.base);
    return &segment;
  }
  return nullptr;
}

Result<std::optional<InspectedEntry>> QueueFiles::entry(std::int64_t number) {
  std::uint64_t position = 0;
  const SegmentFile* const segment = file_of(number, position);
  if (!segment) return std::optional<InspectedEntry>{};
  if (open_segment_ != segment) {
    auto file = files_.open(segment->path, FileSystem::Open::kReadOnly);
    if (!file) return file.error();
    window_.emplace(*std::move(file), segment->bytes);
    open_segment_ = segment;
  }
  auto unit = window_->at(position, static_cast<std::size_t>(unit_bytes_));
  if (!unit) return unit.error();
  if (unit->size() < static_cast<std::size_t>(unit_bytes_)) return std::optional<InspectedEntry>{};
  InspectedEntry entry{.queue_offset = number,
                       .physical_offset = read_big<std::int64_t>(*unit, 0),
                       .size = read_big<std::int32_t>(*unit, 8),
                       .tags_code = read_big<std::int64_t>(*unit, 12)};
  if (kind_ == QueueKind::kBatch) {
    entry.queue_offset = read_big<std::int64_t>(*unit, BatchConsumeQueue::kQueueOffsetAt);
    entry.messages = read_big<std::int16_t>(*unit, BatchConsumeQueue::kMessagesAt);
  }
  return std::optional{entry};
}

Result<std::int64_t> QueueFiles::offset_at(std::int64_t unit, std::int64_t max) {
  if (kind_ == QueueKind::kSimple) return unit;
  const bool behind = unit >= max;
  if (behind && max == begin()) return 0;
  auto found = entry(behind ? max - 1 : unit);
  if (!found) return found.error();
  if (!*found) return 0;
  return (*found)->queue_offset + (behind ? (*found)->messages : 0);
}

Result<std::int64_t> QueueFiles::find_max() {
  if (segments_.empty()) return 0;
  std::int64_t low = (segments_.back().base + unit_bytes_ - 1) / unit_bytes_, high = end();
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    auto found = entry(middle);
    if (!found) return found.error();
    if (*found && (*found)->size > 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

Result<std::int64_t> QueueFiles::find_min(std::int64_t log_begin, std::int64_t max) {
  std::int64_t low = begin(), high = std::max(begin(), max);
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    auto found = entry(middle);
    if (!found) return found.error();
    if (*found && ((*found)->blank() || (*found)->physical_offset < log_begin))
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

// ---- Inspection ----

Result<std::vector<DirectoryEntry>> Inspection::State::list(const std::string& directory) const {
  auto entries = files.list(directory);
  if (!entries && entries.error().code == Errc::kNotFound) return std::vector<DirectoryEntry>{};
  return entries;
}

Result<std::vector<QueueFiles>> Inspection::State::queues() {
  std::vector<QueueFiles> found;
  for (const QueueKind kind : {QueueKind::kSimple, QueueKind::kBatch})
    if (auto added = add_queues(kind, found); !added) return added.error();
  return found;
}

Result<Ok> Inspection::State::add_queues(QueueKind kind, std::vector<QueueFiles>& found) {
  const std::string queues =
      path(kind == QueueKind::kBatch ? "batchconsumequeue" : "consumequeue") + "/";
  auto topics = list(queues);
  if (!topics) return topics.error();
  for (const DirectoryEntry& topic : *topics) {
    if (!topic.is_directory) continue;
    const std::string directory = queues + topic.name;
    auto ids = list_queues(files, directory);
    if (!ids) return ids.error();
    for (const std::int32_t id : *ids) {
      auto segments = list_segments(files, fmt::format("{}/{}", directory, id));
      if (!segments) return segments.error();
      std::erase_if(*segments, [](const SegmentFile& file) { return file.bytes == 0; });
      found.emplace_back(files, kind, topic.name, id, *std::move(segments));
    }
  }
  return Ok{};
}

Result<Inspection> Inspection::open(FileSystem& files, InspectOptions options) {
  auto entries = files.list(options.root);
  if (!entries) return entries.error();
  const bool is_store = std::ranges::any_of(*entries, [](const DirectoryEntry& entry) {
    static const std::set<std::string_view> kNames{"commitlog", "consumequeue", "checkpoint",
                                                   "config", "index"};
    return kNames.contains(entry.name);
  });
  if (!is_store)
    return Error{Errc::kNotFound,
                 options.root + " is not a store: no commitlog, consumequeue, checkpoint in it"};

  std::string directories =
      options.commit_log_path.empty() ? options.root + "/commitlog" : options.commit_log_path;
  std::vector<SegmentFile> segments;
  for (std::string_view rest = directories; !rest.empty();) {  // storePathCommitLog may be a list
    const std::size_t end = std::min(rest.find(','), rest.size());
    auto some = list_segments(files, std::string{rest.substr(0, end)});
    if (!some && (some.error().code != Errc::kNotFound || !options.commit_log_path.empty()))
      return some.error();
    if (some) segments.insert(segments.end(), some->begin(), some->end());
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  std::ranges::sort(segments, {}, &SegmentFile::base);

  std::vector<SegmentFile> prepared;
  while (!segments.empty()) {
    auto empty =
        segments.back().bytes == 0 ? Result<bool>{true} : starts_with_zeros(files, segments.back());
    if (!empty) return empty.error();
    if (!*empty || (segments.size() == 1 && segments.back().bytes > 0)) break;
    prepared.insert(prepared.begin(), segments.back());
    segments.pop_back();
  }
  auto state =
      std::make_unique<State>(files, std::move(options), LogReader{files, std::move(segments)});
  state->prepared = std::move(prepared);
  return Inspection{std::move(state)};
}

Inspection::Inspection(std::unique_ptr<State> state) : state_{std::move(state)} {}
Inspection::~Inspection() = default;

const std::vector<SegmentFile>& Inspection::segments() const {
  return state_->log.segments();
}
Inspection::Inspection(Inspection&&) noexcept = default;

namespace {

Result<Ok> summarize_log(LogReader& log, const std::vector<SegmentFile>& prepared,
                         StoreSummary& summary) {
  for (const SegmentFile& segment : log.segments()) {
    SegmentSummary one{.path = segment.path,
                       .base_offset = segment.base,
                       .bytes = segment.bytes,
                       .used_bytes = segment.bytes};
    auto first = log.record_at(segment.base);
    if (!first) return first.error();
    if (*first) one.first_store_timestamp = (*first)->store_timestamp;
    if (!summary.segments.empty())
      summary.segments.back().last_store_timestamp = one.first_store_timestamp;
    summary.segments.push_back(std::move(one));
  }
  summary.log_begin = log.begin();
  if (summary.segments.empty()) return Ok{};
  SegmentSummary& last = summary.segments.back();
  auto done = log.walk(last.base_offset, CheckCrc::kNone, [&](const LogItem& item) {
    if (item.kind == LogItem::Kind::kRecord)
      last.last_store_timestamp = item.message.store_timestamp;
    if (item.kind == LogItem::Kind::kTail) last.used_bytes = item.position;
    return true;
  });
  if (!done) return done;
  summary.log_end = last.base_offset + static_cast<std::int64_t>(last.used_bytes);
  for (const SegmentFile& segment : prepared)
    summary.segments.push_back(
        {.path = segment.path, .base_offset = segment.base, .bytes = segment.bytes});
  return Ok{};
}

Result<QueueSummary> summarize_queue(QueueFiles& queue, std::int64_t log_begin,
                                     std::int64_t log_end) {
  auto max = queue.find_max();
  if (!max) return max.error();
  // Units that point behind the log are left over from before it was cut.
  while (*max > queue.begin()) {
    auto last = queue.entry(*max - 1);
    if (!last) return last.error();
    if (!*last || (*last)->blank() || (*last)->physical_offset < log_end) break;
    --*max;
  }
  auto min = queue.find_min(log_begin, *max);
  if (!min) return min.error();
  auto first = queue.offset_at(*min, *max), next = queue.offset_at(*max, *max);
  if (!first) return first.error();
  if (!next) return next.error();
  return QueueSummary{.topic = queue.topic(),
                      .queue_id = queue.queue_id(),
                      .min_offset = *first,
                      .max_offset = *next,
                      .files = queue.segments().size()};
}

}  // namespace

Result<StoreSummary> Inspection::summary() {
  State& s = *state_;
  StoreSummary summary;
  if (auto done = summarize_log(s.log, s.prepared, summary); !done) return done.error();
  auto queues = s.queues();
  if (!queues) return queues.error();
  for (QueueFiles& queue : *queues) {
    auto one = summarize_queue(queue, summary.log_begin, summary.log_end);
    if (!one) return one.error();
    summary.queues.push_back(*std::move(one));
  }
  auto compacted = s.summarize_compacted();
  if (!compacted) return compacted.error();
  summary.compacted = *std::move(compacted);
  auto index_files = s.list(s.path("index"));
  if (!index_files) return index_files.error();
  for (const DirectoryEntry& entry : *index_files) {
    if (entry.is_directory) continue;
    IndexSummary one{.path = s.path("index/") + entry.name, .bytes = entry.size};
    if (auto file = IndexFile::open(s.files, one.path, s.options.index_format, Access::kRead)) {
      one.readable = true;
      one.header = (*file)->header();
    }
    summary.index_files.push_back(std::move(one));
  }
  auto config = s.list(s.path("config"));
  if (!config) return config.error();
  summary.config_files = *std::move(config);
  auto checkpoint = read_checkpoint(s.files, s.path("checkpoint"));
  if (!checkpoint) return checkpoint.error();
  summary.checkpoint = *checkpoint;
  summary.abort_present = s.files.stat(s.path("abort")).has_value();
  auto locked = s.files.is_locked(s.path("lock"));
  if (!locked) return locked.error();
  summary.locked = *locked;
  auto root = s.list(s.options.root);
  if (!root) return root.error();
  for (const DirectoryEntry& entry : *root) {
    static const std::set<std::string_view> kKnown{
        "commitlog",  "consumequeue", "batchconsumequeue", "index", "config",
        "checkpoint", "abort",        "abort.bak",         "lock",  "compaction"};
    if (!kKnown.contains(entry.name)) summary.others.push_back(entry.name);
  }
  return summary;
}

Result<Ok> Inspection::for_each_record(const RecordFilter& filter,
                                       const std::function<bool(const InspectedRecord&)>& each) {
  bool ended = false;  // by `each`
  const auto walk = [&](LogReader& log, CheckCrc check_crc) {
    return log.walk(filter.from_offset.value_or(log.begin()), check_crc, [&](const LogItem& item) {
      if (filter.to_offset && item.offset() >= *filter.to_offset) return false;
      if (item.kind != LogItem::Kind::kRecord && item.kind != LogItem::Kind::kWrongCrc) return true;
      if (!in_range(item.offset(), filter.from_offset, filter.to_offset) ||
          !filter.matches(item.message))
        return true;
      ended = !each({.physical_offset = item.offset(),
                     .crc_ok = item.kind == LogItem::Kind::kRecord,
                     .message = item.message});
      return !ended;
    });
  };
  if (!filter.compacted) return walk(state_->log, CheckCrc::kRecord);
  auto logs = state_->compacted_logs(filter);
  if (!logs) return logs.error();
  for (LogReader& log : *logs)
    if (auto done = walk(log, CheckCrc::kBody); !done || ended) return done;
  return Ok{};
}

Result<Ok> Inspection::for_each_entry(std::string_view topic, std::int32_t queue_id,
                                      std::int64_t from, std::int64_t to,
                                      const std::function<bool(const InspectedEntry&)>& each) {
  auto queues = state_->queues();
  if (!queues) return queues.error();
  const auto queue = std::ranges::find_if(*queues, [&](const QueueFiles& one) {
    return one.topic() == topic && one.queue_id() == queue_id;
  });
  if (queue == queues->end())
    return Error{Errc::kNotFound,
                 "no queue " + std::to_string(queue_id) + " of topic " + std::string{topic}};
  auto max = queue->find_max();
  if (!max) return max.error();
  const bool numbered = queue->kind() == QueueKind::kSimple;  // by queue offset
  for (std::int64_t at = numbered ? std::max(from, queue->begin()) : queue->begin();
       at < (numbered ? std::min(to, *max) : *max); ++at) {
    auto entry = queue->entry(at);
    if (!entry) return entry.error();
    if (!*entry || (*entry)->queue_offset + (*entry)->messages <= from) continue;
    if ((*entry)->queue_offset >= to || !each(**entry)) break;
  }
  return Ok{};
}

Result<InspectedRecord> Inspection::record_at(std::int64_t physical_offset) {
  auto record = state_->log.record_at(physical_offset);
  if (!record) return record.error();
  if (!*record)
    return Error{Errc::kNotFound,
                 "no record at physical offset " + std::to_string(physical_offset)};
  return InspectedRecord{.physical_offset = physical_offset, .crc_ok = true, .message = **record};
}

}  // namespace apogee::store
