#include <algorithm>
#include <map>
#include <set>

#include <fmt/core.h>

#include "protocol/json.h"
#include "protocol/names.h"
#include "store/deleted_topics.h"
#include "store/inspect.h"
#include "store/inspect_state.h"

namespace apogee::store {
namespace {

namespace property = protocol::property;
namespace sys_flag = protocol::sys_flag;
using protocol::Message;

/// Findings told of one file; more are only counted. A lost segment would make millions.
constexpr std::uint64_t kFindingsPerFile = 20;

/// Units of topics with several queues in one message, written by LMQ.
constexpr std::string_view kMultiDispatch = "INNER_MULTI_DISPATCH";

/// What the log has for one queue.
struct SeenQueue {
  std::int64_t first = 0;
  std::int64_t next = 0;  ///< Behind the last record's queue offset.
  std::int64_t last_physical_offset = 0;
};

class Checker {
 public:
  Checker(Inspection::State& state, const std::function<void(const Finding&)>& found);
  Result<CheckReport> run();

 private:
  Result<Ok> check_log();
  void check_segments();
  void check_item(const LogItem& item);
  void check_record(const LogItem& item);
  void follow_queue(const LogItem& item);
  Result<Ok> check_queue(QueueFiles& queue);
  void check_queue_files(const QueueFiles& queue);
  Result<Ok> check_entry(QueueFiles& queue, std::int64_t unit, const InspectedEntry& entry,
                         std::int64_t& previous);
  void check_queue_end(const QueueFiles& queue, std::int64_t first, std::int64_t max);
  Result<Ok> check_index(const std::string& path);
  Result<Ok> check_unit(const IndexFile& file, std::int32_t unit);
  Result<Ok> check_config();
  Result<Ok> check_marks();

  void damage(const std::string& file, std::uint64_t position, std::string what,
              std::string meaning) {
    tell({Finding::Weight::kDamage, file, position, std::move(what), std::move(meaning)});
  }
  void note(const std::string& file, std::uint64_t position, std::string what,
            std::string meaning) {
    tell({Finding::Weight::kNote, file, position, std::move(what), std::move(meaning)});
  }
  void tell(Finding finding);

  Inspection::State& s_;
  const std::function<void(const Finding&)>& found_;
  CheckReport report_;
  std::map<std::string, std::uint64_t> told_;
  std::map<std::pair<std::string, std::int32_t>, SeenQueue> seen_;
  DeletedTopics::Marks deleted_;  // as far as they can be read
  std::int64_t log_end_ = 0;
  std::int64_t last_store_timestamp_ = 0;
  bool unclean_ = false;
};

Checker::Checker(Inspection::State& state, const std::function<void(const Finding&)>& found)
    : s_{state}, found_{found}, unclean_{state.files.stat(state.path("abort")).has_value()} {
  if (auto marks = DeletedTopics::read(s_.files, s_.options.root)) deleted_ = *std::move(marks);
}

void Checker::tell(Finding finding) {
  ++(finding.weight == Finding::Weight::kDamage ? report_.damages : report_.notes);
  const std::uint64_t told = ++told_[finding.file];
  if (told > kFindingsPerFile + 1) return;
  if (told == kFindingsPerFile + 1) {
    finding.what = "there is more like this";
    finding.meaning = "further findings in this file are counted, not shown";
  }
  found_(finding);
}

// ---- the commit log ----

void Checker::check_segments() {
  const auto& segments = s_.log.segments();
  for (std::size_t i = 1; i < segments.size(); ++i) {
    const SegmentFile &before = segments[i - 1], &here = segments[i];
    if (here.base > before.end())
      damage(here.path, 0,
             fmt::format("{} bytes are missing between {} and this file", here.base - before.end(),
                         before.path),
             "their messages are lost; a broker ends the log at the hole");
    if (here.base < before.end())
      damage(here.path, 0, fmt::format("begins inside {}", before.path),
             "one of the two files does not belong here");
    if (here.bytes != segments[0].bytes)
      damage(here.path, 0,
             fmt::format("has {} bytes, the first file has {}", here.bytes, segments[0].bytes),
             "Apache's broker refuses to start with files of different lengths");
  }
}

void Checker::check_record(const LogItem& item) {
  const Message& message = item.message;
  ++report_.records;
  last_store_timestamp_ = std::max(last_store_timestamp_, message.store_timestamp);
  if (message.physical_offset != item.offset())
    damage(item.segment->path, item.position,
           fmt::format("the record calls itself physical offset {}, it stands at {}",
                       message.physical_offset, item.offset()),
           "its queue and its keys will lead to the wrong place");
  follow_queue(item);
}

/// Queue offsets of a queue's records follow each other; only a topic that was deleted and made
/// again starts over.
void Checker::follow_queue(const LogItem& item) {
  const Message& message = item.message;
  const std::int32_t transaction = message.sys_flag & sys_flag::kTransactionMask;
  if (transaction == sys_flag::kPrepared || transaction == sys_flag::kRollback) return;
  const auto deleted = deleted_.find(message.topic);
  if (deleted != deleted_.end() && item.offset() < deleted->second) return;
  std::int64_t step = 1;
  if ((message.sys_flag & sys_flag::kInnerBatch) != 0) {
    std::int64_t count = 1;
    if (protocol::from_text(message.property(property::kInnerNum).value_or("1"), count))
      step = std::max<std::int64_t>(count, 1);
  }
  const auto [at, first] =
      seen_.try_emplace(std::pair{std::string{message.topic}, message.queue_id});
  SeenQueue& queue = at->second;
  if (!first && message.queue_offset != queue.next && message.queue_offset != 0)
    damage(item.segment->path, item.position,
           fmt::format("topic {} queue {}: queue offset {} follows {}", message.topic,
                       message.queue_id, message.queue_offset, queue.next - 1),
           message.queue_offset < queue.next
               ? "two messages share a queue offset; one of them cannot be consumed"
               : "messages in between are missing from the log");
  if (first) queue.first = message.queue_offset;
  queue.next = message.queue_offset + step;
  queue.last_physical_offset = item.offset();
}

void Checker::check_item(const LogItem& item) {
  const std::string& path = item.segment->path;
  if (item.kind != LogItem::Kind::kTail)
    log_end_ = item.offset() + static_cast<std::int64_t>(item.bytes);
  switch (item.kind) {
    case LogItem::Kind::kRecord:
      check_record(item);
      return;
    case LogItem::Kind::kWrongCrc:
      damage(path, item.position,
             fmt::format("topic {} queue {} offset {}: the CRC is wrong", item.message.topic,
                         item.message.queue_id, item.message.queue_offset),
             "it is not given out; when Apache's broker recovers this file, it ends the log here "
             "and drops what follows");
      follow_queue(item);
      return;
    case LogItem::Kind::kBlank:
      return;
    case LogItem::Kind::kGarbage:
      damage(path, item.position, fmt::format("{} bytes are not a record", item.bytes),
             "it is not given out; when Apache's broker recovers this file, it ends the log here "
             "and drops what follows");
      return;
    case LogItem::Kind::kTail:
      log_end_ = item.offset();
      if (item.bytes > 0)
        note(path, item.position,
             fmt::format("{} bytes behind the end of the log are not zero", item.bytes),
             "left over from a write that was cut short or from before a recovery; the next "
             "start ends the log here");
      return;
  }
}

Result<Ok> Checker::check_log() {
  check_segments();
  auto done = s_.log.walk(s_.log.begin(), CheckCrc::kRecord, [&](const LogItem& item) {
    check_item(item);
    return true;
  });
  if (!done) return done;
  for (const Unreadable& each : s_.log.unreadable())
    damage(each.path, each.position, fmt::format("the disk cannot read {} bytes", each.bytes),
           "the messages in them are not given out; when Apache's broker reads there, it ends");
  for (const SegmentFile& segment : s_.prepared)
    note(segment.path, 0, "is empty", "made ahead of use; a clean stop would have removed it");
  return Ok{};
}

// ---- consume queues ----

void Checker::check_queue_files(const QueueFiles& queue) {
  const auto& segments = queue.segments();
  for (std::size_t i = 0; i < segments.size(); ++i) {
    if (segments[i].bytes % static_cast<std::uint64_t>(queue.unit_bytes()) != 0 ||
        segments[i].bytes != segments[0].bytes)
      damage(segments[i].path, 0, fmt::format("has {} bytes", segments[i].bytes),
             "Apache's broker refuses to start with files of other lengths than configured");
    if (i > 0 && segments[i].base != segments[i - 1].end())
      damage(segments[i].path, 0, fmt::format("does not continue {}", segments[i - 1].path),
             "offsets in between cannot be consumed");
  }
}

Result<Ok> Checker::check_queue(QueueFiles& queue) {
  ++report_.queues;
  check_queue_files(queue);
  auto max = queue.find_max();
  if (!max) return max.error();
  auto min = queue.find_min(s_.log.begin(), *max);
  if (!min) return min.error();
  std::int64_t previous = -1;
  for (std::int64_t at = *min; at < *max; ++at) {
    auto entry = queue.entry(at);
    if (!entry) return entry.error();
    if (!*entry) continue;  // a missing file, told already
    ++report_.entries;
    if (auto done = check_entry(queue, at, **entry, previous); !done) return done;
  }
  auto first = queue.offset_at(queue.begin(), *max), next = queue.offset_at(*max, *max);
  if (!first) return first.error();
  if (!next) return next.error();
  check_queue_end(queue, *first, *next);
  return Ok{};
}

Result<Ok> Checker::check_entry(QueueFiles& queue, std::int64_t unit, const InspectedEntry& entry,
                                std::int64_t& previous) {
  std::uint64_t position = 0;
  const std::string& path = queue.file_of(unit, position)->path;
  const std::string name = fmt::format("queue offset {}", entry.queue_offset);
  if (entry.blank()) return Ok{};
  if (entry.size <= 0 || entry.physical_offset < 0) {
    damage(path, position, name + " is empty", "this message cannot be consumed");
    return Ok{};
  }
  if (entry.physical_offset >= log_end_) {
    note(path, position,
         fmt::format("{} points to physical offset {}, the log ends at {}", name,
                     entry.physical_offset, log_end_),
         "left over from before the log was cut; the next start drops it");
    return Ok{};
  }
  if (entry.physical_offset <= previous)
    damage(path, position,
           fmt::format("{} points to physical offset {}, the one before to {}", name,
                       entry.physical_offset, previous),
           "messages are consumed twice or out of order");
  previous = entry.physical_offset;
  auto record = s_.log.record_at(entry.physical_offset);
  if (!record) return record.error();
  if (!*record) {
    damage(path, position,
           fmt::format("{} points to physical offset {}, where no record is", name,
                       entry.physical_offset),
           "this message cannot be consumed");
    return Ok{};
  }
  const Message& message = **record;
  const bool multi_dispatched = message.property(kMultiDispatch).has_value();
  if (!multi_dispatched &&
      (message.topic != queue.topic() || message.queue_id != queue.queue_id() ||
       message.queue_offset != entry.queue_offset))
    damage(path, position,
           fmt::format("{} points to physical offset {}, a record of topic {} queue {} offset {}",
                       name, entry.physical_offset, message.topic, message.queue_id,
                       message.queue_offset),
           "consumers get another message than they ask for");
  else if (message.size != entry.size)
    damage(path, position,
           fmt::format("{} says {} bytes, the record has {}", name, entry.size, message.size),
           "consumers get a cut message or more than one");
  // Delivery times stand in the schedule topic's units, addresses (below the least integer) in
  // those with an extension.
  const bool is_tags_code = queue.topic() != protocol::kScheduleTopic &&
                            entry.tags_code >= std::numeric_limits<std::int32_t>::min();
  const std::int64_t tags_code = protocol::tags_code(message.property(property::kTags));
  if (is_tags_code && entry.tags_code != tags_code)
    damage(path, position,
           fmt::format("{} has tags code {}, its record's is {}", name, entry.tags_code, tags_code),
           "consumers that filter by tag do not get this message");
  return Ok{};
}

/// Did every record get its unit?
void Checker::check_queue_end(const QueueFiles& queue, std::int64_t first, std::int64_t max) {
  const auto seen = seen_.find({queue.topic(), queue.queue_id()});
  if (seen == seen_.end()) return;
  if (first > seen->second.first && first < seen->second.next)
    damage(queue.segments().front().path, 0,
           fmt::format("begins at queue offset {}, the log has records from {}", first,
                       seen->second.first),
           "a file before it is missing: its messages cannot be consumed");
  if (seen->second.next <= max) return;
  const std::string& path = queue.segments().empty() ? s_.path("consumequeue/" + queue.topic())
                                                     : queue.segments().back().path;
  const std::string what = fmt::format("ends at queue offset {}, the log has records up to {}", max,
                                       seen->second.next - 1);
  if (unclean_)
    note(path, 0, what, "normal after an unclean exit; the next start catches up");
  else
    damage(path, 0, what,
           "after a clean stop a broker does not catch up on what it thinks is done: these "
           "messages cannot be consumed. Creating the file `abort` makes it look again");
}

// ---- index files ----

Result<Ok> Checker::check_index(const std::string& path) {
  auto opened = IndexFile::open(s_.files, path, s_.options.index_format, Access::kRead);
  if (!opened) {
    if (opened.error().code != Errc::kMalformed) return opened.error();
    note(path, 0, "was not checked: " + opened.error().detail,
         "give --index-slots and --index-units if the broker's differ from the defaults");
    return Ok{};
  }
  const IndexFile& file = **opened;
  const IndexFileHeader header = file.header();
  for (std::int32_t unit = 1; unit < header.next_unit; ++unit) {
    ++report_.index_units;
    if (auto done = check_unit(file, unit); !done) return done;
  }
  std::int32_t used = 0;
  for (std::int32_t slot = 0; slot < s_.options.index_format.slot_count; ++slot) {
    const std::int32_t unit = file.slot(slot);
    if (unit != 0) ++used;
    if (unit < 0 || unit >= header.next_unit ||
        (unit > 0 && file.unit(unit).hash % s_.options.index_format.slot_count != slot))
      damage(path, IndexFormat::kHeaderBytes + IndexFormat::kSlotBytes * std::uint64_t(slot),
             fmt::format("slot {} leads to unit {}, which is not its own", slot, unit),
             "messages with these keys are not found");
  }
  if (used != header.used_slots)
    note(path, 32, fmt::format("{} slots are in use, the header says {}", used, header.used_slots),
         "nothing depends on it");
  return Ok{};
}

Result<Ok> Checker::check_unit(const IndexFile& file, std::int32_t number) {
  const IndexUnit unit = file.unit(number);
  const std::uint64_t position =
      s_.options.index_format.units_at() + IndexFormat::kUnitBytes * std::uint64_t(number);
  if (unit.previous < 0 || unit.previous >= number || unit.seconds < 0 || unit.hash < 0) {
    damage(file.path(), position, fmt::format("unit {} is damaged", number),
           "older messages with its keys are not found");
    return Ok{};
  }
  if (unit.physical_offset < s_.log.begin()) return Ok{};  // its record has expired
  if (unit.physical_offset >= log_end_) {
    note(file.path(), position,
         fmt::format("unit {} points to physical offset {}, the log ends at {}", number,
                     unit.physical_offset, log_end_),
         "left over from before the log was cut; queries skip it");
    return Ok{};
  }
  auto record = s_.log.record_at(unit.physical_offset);
  if (!record) return record.error();
  // A power cut may take the end of the log back behind a full file that is on disk already; the
  // offsets are then given out again.
  constexpr const char* kLeadsAstray =
      "left over from before a power cut, or damaged; queries skip it";
  if (!*record) {
    note(file.path(), position,
         fmt::format("unit {} points to physical offset {}, where no record is", number,
                     unit.physical_offset),
         kLeadsAstray);
    return Ok{};
  }
  const Message& message = **record;
  bool matches = false;
  const auto try_key = [&](std::string_view key) {
    matches |= index_hash(message.topic, key) == unit.hash;
  };
  try_key(message.property(property::kUniqueKey).value_or(""));
  matches |=
      tag_index_hash(message.topic, message.property(property::kTags).value_or("")) == unit.hash;
  protocol::for_each_key(message.property(property::kKeys).value_or(""), try_key);
  if (!matches)
    note(file.path(), position,
         fmt::format("unit {} has a hash that is none of its record's keys", number), kLeadsAstray);
  return Ok{};
}

// ---- the rest ----

Result<Ok> Checker::check_config() {
  auto entries = s_.list(s_.path("config"));
  if (!entries) return entries.error();
  for (const DirectoryEntry& entry : *entries) {
    if (entry.is_directory || !entry.name.ends_with(".json")) continue;
    const std::string path = s_.path("config/") + entry.name;
    if (entry.name == DeletedTopics::kFile) {
      if (auto marks = DeletedTopics::read(s_.files, s_.options.root); !marks)
        damage(path, 0, marks.error().detail, "messages of deleted topics may come back");
      continue;
    }
    auto text = read_file(s_.files, path);
    if (!text) return text.error();
    auto json = protocol::parse_json(*text);
    const bool has_backup = s_.files.stat(path + ".bak").has_value();
    const std::string meaning = has_backup ? "a broker reads the older .bak instead"
                                           : "there is no .bak: a broker does not start";
    if (text->empty())
      damage(path, 0, "is empty", meaning);
    else if (!json)
      damage(path, 0, "is not JSON: " + json.error().detail, meaning);
  }
  return Ok{};
}

Result<Ok> Checker::check_marks() {
  if (unclean_)
    note(s_.path("abort"), 0, "is there",
         "the store is open or was not shut down cleanly; the next start recovers it");
  const std::string path = s_.path("checkpoint");
  auto status = s_.files.stat(path);
  if (!status) {
    note(path, 0, "is missing", "after an unclean exit a broker reads the whole log again");
    return Ok{};
  }
  auto content = read_file(s_.files, path, 1 << 20);
  if (!content) return content.error();
  if (content->size() < 40) {
    damage(path, 0, fmt::format("has {} bytes instead of 4096", content->size()),
           "its times count as 0: a broker reads the whole log again");
    return Ok{};
  }
  const auto commit_log = read_big<std::int64_t>(as_bytes(*content), 0);
  if (report_.records > 0 && commit_log > last_store_timestamp_)
    note(path, 0,
         fmt::format("says the log is on disk up to {}, its last record is of {}", commit_log,
                     last_store_timestamp_),
         "the log was cut after that; a recovery may begin too late to fill the queues");
  return Ok{};
}

Result<CheckReport> Checker::run() {
  if (auto done = check_log(); !done) return done.error();
  auto queues = s_.queues();
  if (!queues) return queues.error();
  for (QueueFiles& queue : *queues)
    if (auto done = check_queue(queue); !done) return done.error();
  auto compacted =
      s_.check_compacted(unclean_, [this](Finding finding) { tell(std::move(finding)); });
  if (!compacted) return compacted.error();
  report_.compacted = *compacted;
  auto index_files = s_.list(s_.path("index"));
  if (!index_files) return index_files.error();
  for (const DirectoryEntry& entry : *index_files) {
    if (entry.is_directory) continue;
    if (auto done = check_index(s_.path("index/") + entry.name); !done) return done.error();
  }
  if (auto done = check_config(); !done) return done.error();
  if (auto done = check_marks(); !done) return done.error();
  return report_;
}

}  // namespace

Result<CheckReport> Inspection::check(const std::function<void(const Finding&)>& found) {
  return Checker{*state_, found}.run();
}

}  // namespace apogee::store
