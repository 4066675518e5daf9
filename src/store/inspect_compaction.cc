#include <algorithm>
#include <map>
#include <set>

#include <fmt/core.h>

#include "store/batch_consume_queue.h"
#include "store/compaction.h"
#include "store/inspect_state.h"
#include "store/segment.h"

namespace apogee::store {
namespace {

namespace property = protocol::property;

constexpr std::size_t kUnitBytes = BatchConsumeQueue::kUnitBytes;

/// One compaction log on disk. CompactionLog itself mends what it opens.
struct CompactedQueue {
  std::string topic;
  std::int32_t queue_id = 0;
  CompactionPlace place;
  std::vector<SegmentFile> logs;              ///< Files of records.
  std::map<std::int64_t, SegmentFile> units;  ///< By first offset of the records.
  bool cut_off = false;                       ///< A compaction was: the next start mends it.

  std::string key() const { return CompactionPositions::key_of(topic, queue_id); }
};

/// The units of a file of records.
class UnitFile {
 public:
  static Result<UnitFile> open(FileSystem& files, const SegmentFile& log,
                               const SegmentFile& units) {
    auto file = files.open(units.path, FileSystem::Open::kReadOnly);
    if (!file) return file.error();
    return UnitFile{log, FileWindow{*std::move(file), units.bytes}};
  }
  /// How many there is room for.
  std::uint64_t room() const { return window_.size() / kUnitBytes; }
  Result<QueueEntry> at(std::uint64_t number) {
    auto unit = window_.at(number * kUnitBytes, kUnitBytes);
    if (!unit) return unit.error();
    return unit->size() < kUnitBytes ? QueueEntry{.messages = 0}  // the file was cut meanwhile
                                     : BatchConsumeQueue::decode_unit(*unit);
  }
  bool is_legal(const QueueEntry& unit) const {
    return is_compaction_unit(unit, log_.base, log_.end());
  }
  /// Those before the first that leads nowhere, as a start counts them.
  Result<std::uint64_t> count() {
    std::uint64_t low = 0, high = room();
    while (low < high) {
      const std::uint64_t middle = low + (high - low) / 2;
      auto unit = at(middle);
      if (!unit) return unit.error();
      if (is_legal(*unit))
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }

 private:
  UnitFile(SegmentFile log, FileWindow window) : log_{std::move(log)}, window_{std::move(window)} {}
  SegmentFile log_;
  FileWindow window_;
};

/// A queue whose files of records have all gone may have units.
Result<std::vector<CompactedQueue>> compacted_queues(const Inspection::State& s) {
  const CompactionPlace root = CompactionPlace::of(s.options.root, {});
  std::set<std::pair<std::string, std::int32_t>> names;
  for (const std::string& directory : {root.log_directory, root.queue_directory}) {
    auto topics = s.list(directory);
    if (!topics) return topics.error();
    for (const DirectoryEntry& topic : *topics) {
      if (!topic.is_directory) continue;
      auto ids = list_queues(s.files, directory + "/" + topic.name);
      if (!ids) return ids.error();
      for (const std::int32_t id : *ids) names.emplace(topic.name, id);
    }
  }
  std::vector<CompactedQueue> queues;
  for (const auto& [topic, id] : names) {
    CompactedQueue queue{
        .topic = topic, .queue_id = id, .place = root.inside(topic).inside(std::to_string(id))};
    for (const std::string& directory : {queue.place.log_directory, queue.place.queue_directory}) {
      auto entries = s.list(directory);
      if (!entries) return entries.error();
      for (const DirectoryEntry& each : *entries) {
        const std::string path = directory + "/" + each.name;
        const std::int64_t base = each.is_directory ? -1 : base_of_segment_name(each.name);
        queue.cut_off = queue.cut_off || each.name == kCompacting || each.name.ends_with(kRenamed);
        if (base < 0) continue;
        if (directory == queue.place.log_directory)
          queue.logs.push_back({path, base, each.size});
        else
          queue.units[base] = {path, base, each.size};
      }
    }
    queues.push_back(std::move(queue));
  }
  return queues;
}

Result<CompactedSummary> summarize(FileSystem& files, const CompactedQueue& queue) {
  CompactedSummary summary{
      .topic = queue.topic, .queue_id = queue.queue_id, .files = queue.logs.size()};
  for (const SegmentFile& log : queue.logs) {
    summary.bytes += log.bytes;
    const auto units = queue.units.find(log.base);
    if (units == queue.units.end()) continue;
    auto file = UnitFile::open(files, log, units->second);
    if (!file) return file.error();
    auto count = file->count();
    if (!count) return count.error();
    if (*count == 0) continue;
    auto first = file->at(0), last = file->at(*count - 1);
    if (!first) return first.error();
    if (!last) return last.error();
    if (summary.messages == 0) summary.first_offset = first->queue_offset;
    summary.last_offset = last->queue_offset;
    summary.messages += *count;
  }
  return summary;
}

/// Walks the files of one queue, units beside records.
class Comparison {
 public:
  Comparison(FileSystem& files, const CompactedQueue& queue, bool unclean,
             const std::function<void(Finding)>& tell)
      : files_{files}, queue_{queue}, unclean_{unclean}, tell_{tell} {}

  Result<Ok> run();
  std::uint64_t messages() const { return messages_; }
  std::int64_t last_offset() const { return last_; }

 private:
  using Weight = Finding::Weight;
  void check_lengths();
  Result<Ok> check_file(const SegmentFile& log);
  Result<Ok> check_units(LogReader& records, UnitFile& units, const SegmentFile& file);
  Result<Ok> check_unit(LogReader& records, const QueueEntry& unit, const SegmentFile& file,
                        std::uint64_t position);
  void check_record(const protocol::Message& message, const QueueEntry& unit,
                    const SegmentFile& file, std::uint64_t position);
  Result<Ok> check_between(LogReader& records, std::int64_t end);
  /// What the next start makes again is no damage.
  Weight weight_of_units() const { return made_again_ ? Weight::kNote : Weight::kDamage; }
  bool is_own(const protocol::Message& message) const {
    return message.topic == queue_.topic && message.queue_id == queue_.queue_id;
  }

  FileSystem& files_;
  const CompactedQueue& queue_;
  const bool unclean_;
  const std::function<void(Finding)>& tell_;
  bool made_again_ = false;      // the units of the file that is looked at
  bool has_units_ = false;       // that file
  std::int64_t checked_to_ = 0;  // physical offset; what is before it was looked at
  std::int64_t last_ = -1;       // queue offset of the last message
  std::uint64_t messages_ = 0;
};

void Comparison::check_lengths() {
  constexpr const char* kRefused = "a broker sets a log with files of different lengths aside";
  std::uint64_t log_bytes = 0, unit_bytes = 0;  // a cut made those that differ shorter
  for (const SegmentFile& log : queue_.logs) log_bytes = std::max(log_bytes, log.bytes);
  for (const auto& [base, units] : queue_.units) unit_bytes = std::max(unit_bytes, units.bytes);
  const auto expect = [&](const SegmentFile& file, std::uint64_t bytes) {
    if (file.bytes == bytes) return;
    tell_({unclean_ ? Weight::kNote : Weight::kDamage, file.path, file.bytes,
           fmt::format("has {} bytes, others have {}", file.bytes, bytes),
           unclean_ ? "normal after an unclean exit; the next start mends it" : kRefused});
  };
  for (const SegmentFile& log : queue_.logs) {
    expect(log, log_bytes);
    if (log_bytes > 0 && log.base % static_cast<std::int64_t>(log_bytes) != 0)
      tell_({Weight::kDamage, log.path, 0,
             fmt::format("its name is no multiple of {}, the files' length", log_bytes), kRefused});
  }
  for (const auto& [base, units] : queue_.units) expect(units, unit_bytes);
}

Result<Ok> Comparison::run() {
  if (queue_.cut_off)
    tell_({Weight::kNote, queue_.place.log_directory, 0, "a compaction was cut off",
           "the next start makes sense of its files"});
  check_lengths();
  for (const auto& [base, units] : queue_.units) {
    if (std::ranges::find(queue_.logs, base, &SegmentFile::base) != queue_.logs.end()) continue;
    tell_({queue_.cut_off ? Weight::kNote : Weight::kDamage, queue_.place.log_path(base), 0,
           "is missing, its units are there",
           "messages that have left the commit log are lost; the next start removes the units"});
  }
  for (const SegmentFile& log : queue_.logs)
    if (auto done = check_file(log); !done) return done;
  return Ok{};
}

Result<Ok> Comparison::check_file(const SegmentFile& log) {
  made_again_ = queue_.cut_off || (unclean_ && log.base == queue_.logs.back().base);
  LogReader records{files_, {log}};
  checked_to_ = log.base;
  const auto units = queue_.units.find(log.base);
  has_units_ = units != queue_.units.end() && units->second.bytes > 0;
  if (has_units_) {
    auto file = UnitFile::open(files_, log, units->second);
    if (!file) return file.error();
    if (auto done = check_units(records, *file, units->second); !done) return done;
  } else {
    tell_({Weight::kNote, queue_.place.queue_path(log.base), 0, "is missing",
           "the next start makes the units again from the records"});
  }
  return check_between(records, log.end());
}

Result<Ok> Comparison::check_units(LogReader& records, UnitFile& units, const SegmentFile& file) {
  bool ended = false;  // at the unit before, or further back
  for (std::uint64_t i = 0; i < units.room(); ++i) {
    auto unit = units.at(i);
    if (!unit) return unit.error();
    const std::uint64_t position = i * kUnitBytes;
    const bool legal = units.is_legal(*unit);
    if (!legal && unit->size == 0 && unit->messages == 0) {  // zeros, or the mark of the end
      ended = true;
    } else if (!legal) {
      tell_({weight_of_units(), file.path, position, "an entry leads out of its file",
             "its message is not given out, and perhaps none behind it in this file"});
    } else {
      if (std::exchange(ended, false))
        tell_({weight_of_units(), file.path, position, "entries are missing before this one",
               "the messages behind are not given out"});
      if (auto done = check_unit(records, *unit, file, position); !done) return done;
    }
  }
  return Ok{};
}

Result<Ok> Comparison::check_unit(LogReader& records, const QueueEntry& unit,
                                  const SegmentFile& file, std::uint64_t position) {
  if (unit.queue_offset <= last_) {
    tell_({weight_of_units(), file.path, position,
           fmt::format("queue offset {} follows {}", unit.queue_offset, last_),
           "its message is not given out"});
    return Ok{};
  }
  const bool goes_on = unit.physical_offset >= checked_to_;
  auto record = records.record_at(unit.physical_offset);
  if (!record) return record.error();
  if (!goes_on || !*record || (*record)->physical_offset != unit.physical_offset) {
    tell_({weight_of_units(), file.path, position,
           fmt::format("queue offset {} points to physical offset {}, where no record is",
                       unit.queue_offset, unit.physical_offset),
           "its message is not given out"});
    return Ok{};
  }
  check_record(**record, unit, file, position);
  const std::int64_t end = unit.physical_offset + (*record)->size;
  if (auto done = check_between(records, unit.physical_offset); !done) return done;
  checked_to_ = end;
  if ((*record)->queue_offset != unit.queue_offset) return Ok{};
  ++messages_;
  last_ = unit.queue_offset;
  return Ok{};
}

/// `position`: of the unit, in its file.
void Comparison::check_record(const protocol::Message& message, const QueueEntry& unit,
                              const SegmentFile& file, std::uint64_t position) {
  const std::string name = fmt::format("queue offset {}", unit.queue_offset);
  const std::string log_path = queue_.place.log_path(file.base);
  const auto in_log = static_cast<std::uint64_t>(unit.physical_offset - file.base);
  if (!protocol::body_crc_matches(message))
    tell_({Weight::kDamage, log_path, in_log, name + ": the CRC is wrong",
           "it is not given out, and goes with the next compaction"});
  if (!is_own(message) || message.queue_offset != unit.queue_offset)
    tell_({weight_of_units(), file.path, position,
           fmt::format("{} points to a record of topic {} queue {} offset {}", name, message.topic,
                       message.queue_id, message.queue_offset),
           "its message is not given out"});
  else if (!is_key(message.property(property::kKeys).value_or("")))
    tell_({Weight::kDamage, log_path, in_log, name + " has no key",
           "it goes with the next compaction"});
  if (message.size != unit.size)
    tell_({weight_of_units(), file.path, position,
           fmt::format("{} says {} bytes, the record has {}", name, unit.size, message.size),
           "its message is not given out"});
  const std::int64_t tags_code = protocol::tags_code(message.property(property::kTags));
  if (tags_code != unit.tags_code)
    tell_({weight_of_units(), file.path, position,
           fmt::format("{} has tags code {}, its record's is {}", name, unit.tags_code, tags_code),
           "consumers that filter by tag do not get this message"});
  if (message.store_timestamp != unit.store_timestamp)
    tell_({weight_of_units(), file.path, position,
           fmt::format("{} is of {}, its record of {}", name, unit.store_timestamp,
                       message.store_timestamp),
           "nothing but a search by time depends on it"});
}

/// What no unit leads to, up to `end`. What a compaction that was cut off had written anew before
/// has none, and needs none.
Result<Ok> Comparison::check_between(LogReader& records, std::int64_t end) {
  if (checked_to_ >= end) return Ok{};
  return records.walk_on(checked_to_, CheckCrc::kBody, [&](const LogItem& item) {
    if (item.offset() >= end) return false;
    const bool whole = item.kind == LogItem::Kind::kRecord;
    if (whole && is_own(item.message) && item.message.queue_offset > last_ && has_units_)
      tell_({weight_of_units(), queue_.place.queue_path(item.segment->base), 0,
             fmt::format("no entry leads to queue offset {}, position {} of the records",
                         item.message.queue_offset, item.position),
             "it is not given out"});
    const bool nothing = item.kind == LogItem::Kind::kTail && item.bytes == 0;
    if (!whole && !nothing && item.kind != LogItem::Kind::kBlank)
      tell_({item.kind == LogItem::Kind::kTail ? weight_of_units() : Weight::kDamage,
             item.segment->path, item.position,
             fmt::format("{} bytes are not a record", item.bytes),
             "it is not given out, and goes with the next compaction"});
    return true;
  });
}

Result<CompactionPositions> read_positions(const Inspection::State& s) {
  auto text = read_file(s.files, CompactionPlace::positions_path(s.options.root));
  if (!text && text.error().code == Errc::kNotFound) return CompactionPositions{};
  if (!text) return text.error();
  return protocol::decode_body<CompactionPositions>(*text);
}

}  // namespace

Result<std::vector<CompactedSummary>> Inspection::State::summarize_compacted() const {
  auto queues = compacted_queues(*this);
  if (!queues) return queues.error();
  const auto positions = read_positions(*this);
  std::vector<CompactedSummary> summaries;
  for (const CompactedQueue& queue : *queues) {
    auto one = summarize(files, queue);
    if (!one) return one.error();
    if (positions)
      if (const auto at = positions->queue_offsets.find(queue.key());
          at != positions->queue_offsets.end())
        one->compacted_until = at->second;
    summaries.push_back(*std::move(one));
  }
  return summaries;
}

Result<std::vector<LogReader>> Inspection::State::compacted_logs(const RecordFilter& filter) const {
  auto queues = compacted_queues(*this);
  if (!queues) return queues.error();
  std::vector<LogReader> logs;
  for (CompactedQueue& queue : *queues)
    if ((filter.topic.empty() || filter.topic == queue.topic) &&
        filter.queue_id.value_or(queue.queue_id) == queue.queue_id)
      logs.emplace_back(files, std::move(queue.logs));
  return logs;
}

Result<std::uint64_t> Inspection::State::check_compacted(
    bool unclean, const std::function<void(Finding)>& tell) const {
  using Weight = Finding::Weight;
  auto queues = compacted_queues(*this);
  if (!queues) return queues.error();
  std::uint64_t messages = 0;
  std::map<std::string, std::int64_t> ends;  // by key: the last message's queue offset
  for (const CompactedQueue& queue : *queues) {
    Comparison comparison{files, queue, unclean, tell};
    if (auto done = comparison.run(); !done) return done.error();
    messages += comparison.messages();
    ends[queue.key()] = comparison.last_offset();
  }
  const std::string path = CompactionPlace::positions_path(options.root);
  const auto positions = read_positions(*this);
  if (!positions) {
    if (positions.error().code != Errc::kMalformed) return positions.error();
    tell({Weight::kDamage, path, 0, "is no table: " + positions.error().detail,
          "a broker reads the older .bak instead, or compacts all once more"});
    return messages;
  }
  for (const auto& [key, until] : positions->queue_offsets) {
    const auto end = ends.find(key);
    if (end == ends.end())
      tell({Weight::kNote, path, 0, key + " has no compaction log",
            "unless its topic was deleted, its messages that have left the commit log are lost"});
    else if (until > end->second)
      tell({Weight::kNote, path, 0,
            fmt::format("says {} is compacted up to {}, it ends at {}", key, until, end->second),
            "the next start notices it"});
  }
  return messages;
}

}  // namespace apogee::store
