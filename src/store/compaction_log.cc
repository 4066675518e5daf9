#include "store/compaction_log.h"

#include <algorithm>
#include <unordered_map>

#include <fmt/format.h>

#include "protocol/message.h"
#include "store/batch_consume_queue.h"
#include "store/torn_record.h"

namespace apogee::store {
namespace {

namespace at = protocol::record_at;
using protocol::RecordKind;

constexpr std::size_t kUnitBytes = BatchConsumeQueue::kUnitBytes;
constexpr std::size_t kReadUnits = 256;
constexpr std::size_t kUnitsBehind = 128;  // looked at for more: a page of zeros is fewer
constexpr std::size_t kKeyBytes = 64;      // of an entry in the map of keys

std::string parent_of(const std::string& path) {
  return path.substr(0, path.find_last_of('/'));
}

Result<Ok> remove_if_there(FileSystem& files, const std::string& path) {
  auto removed = files.remove(path);
  return !removed && removed.error().code == Errc::kNotFound ? Result<Ok>{Ok{}} : removed;
}

/// No directory is an empty one.
Result<std::vector<DirectoryEntry>> list(FileSystem& files, const std::string& directory) {
  auto entries = files.list(directory);
  if (!entries && entries.error().code == Errc::kNotFound) return std::vector<DirectoryEntry>{};
  return entries;
}

Result<Ok> empty_directory(FileSystem& files, const std::string& directory) {
  if (auto made = files.create_directories(directory); !made) return made;
  auto entries = files.list(directory);
  if (!entries) return entries.error();
  for (const DirectoryEntry& each : *entries)
    if (auto gone = remove_tree(files, directory + "/" + each.name); !gone) return gone;
  return files.sync_directory(directory);
}

}  // namespace

bool is_key(std::string_view keys) {
  return keys.find_first_not_of(" \t\n\v\f\r\x1c\x1d\x1e\x1f") != std::string_view::npos;
}

bool is_compaction_unit(const QueueEntry& unit, std::int64_t base, std::int64_t end) {
  return unit.size >= static_cast<std::int32_t>(at::kBornHost) && unit.messages > 0 &&
         unit.queue_offset >= 0 && unit.queue_offset < QueueEntry::kOffsetMax &&
         unit.physical_offset >= base && unit.physical_offset <= end - unit.size;
}

// ---- CompactionPlace ---------------------------------------------------------------------------

/// CompactionLog's constructor and getCompactionLogSize.
CompactionPlace CompactionPlace::of(std::string root, const StoreConfig& config) {
  const std::size_t queue =
      static_cast<std::size_t>(config.compaction_queue_file_bytes) / kUnitBytes * kUnitBytes;
  const auto wanted = static_cast<std::size_t>(config.compaction_log_file_bytes);
  const std::size_t whole = wanted / queue, rest = wanted % queue;
  const std::size_t times = whole < 5 ? 5 : rest > 0 && rest < queue / 2 ? whole : whole + 1;
  return {root + "/compaction/compactionLog", root + "/compaction/compactionCq", times * queue,
          queue};
}

std::string CompactionPlace::positions_path(std::string_view root) {
  return fmt::format("{}/compaction/position-checkpoint", root);
}

CompactionPlace CompactionPlace::inside(std::string_view name) const {
  return {fmt::format("{}/{}", log_directory, name), fmt::format("{}/{}", queue_directory, name),
          log_bytes, queue_bytes};
}

std::string CompactionPlace::log_path(std::int64_t base) const {
  return log_directory + "/" + segment_name(base);
}
std::string CompactionPlace::queue_path(std::int64_t base) const {
  return queue_directory + "/" + segment_name(base);
}

// ---- CompactionFile ----------------------------------------------------------------------------

Result<std::shared_ptr<CompactionFile>> CompactionFile::open(FileSystem& files,
                                                             const CompactionPlace& place,
                                                             std::int64_t base) {
  auto log = Segment::open(files, place.log_path(base), base, place.log_bytes);
  if (!log) return log.error();
  auto queue = Segment::open(files, place.queue_path(base), base, place.queue_bytes);
  if (!queue) return queue.error();
  return std::shared_ptr<CompactionFile>{new CompactionFile{*std::move(log), *std::move(queue)}};
}

QueueEntry CompactionFile::unit(std::size_t number) const {
  return BatchConsumeQueue::decode_unit(queue_->whole().subspan(number * kUnitBytes, kUnitBytes));
}

void CompactionFile::publish(std::size_t count) {
  first_offset_ = count > 0 ? unit(0).queue_offset : -1;
  last_offset_ = count > 0 ? unit(count - 1).queue_offset : -1;
  count_.store(count, std::memory_order_release);
}

std::size_t CompactionFile::find(std::int64_t queue_offset) const {
  std::size_t low = 0, high = count();
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (unit(middle).queue_offset < queue_offset)
      low = middle + 1;
    else
      high = middle;
  }
  // A damaged unit may have led astray.
  while (low > 0 && (!is_in_order(low - 1) || unit(low - 1).queue_offset >= queue_offset)) --low;
  return low;
}

bool CompactionFile::is_in_order(std::size_t number) const {
  const std::int64_t offset = unit(number).queue_offset;
  return number > 0 && number + 1 < count() && unit(number - 1).queue_offset < offset &&
         offset < unit(number + 1).queue_offset;
}

RecordBytes CompactionFile::record(const QueueEntry& unit) const {
  if (!is_legal(unit)) return {};
  const auto position = static_cast<std::size_t>(unit.physical_offset - log_->base());
  const Bytes record = log_->whole().subspan(position, static_cast<std::size_t>(unit.size));
  if (read_big<std::int32_t>(record, at::kSize) != unit.size ||
      read_big<std::int64_t>(record, at::kPhysicalOffset) != unit.physical_offset ||
      read_big<std::int64_t>(record, at::kQueueOffset) != unit.queue_offset)
    return {};
  return {record, log_};
}

bool CompactionFile::units_resident(Clock::Instant now) const {
  return queue_->resident(0, queue_->written(), now);
}

bool CompactionFile::resident(const QueueEntry& unit, Clock::Instant now) const {
  return !is_legal(unit) ||
         log_->resident(static_cast<std::size_t>(unit.physical_offset - log_->base()),
                        static_cast<std::size_t>(unit.size), now);
}

bool CompactionFile::load() {
  // Units stand one behind the other; what follows is the end's mark or zeros.
  std::size_t low = 0, high = queue_->size() / kUnitBytes;
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (is_legal(unit(middle)))
      low = middle + 1;
    else
      high = middle;
  }
  const QueueEntry last = low == 0 ? QueueEntry{} : unit(low - 1);
  log_->set_written(
      low == 0 ? 0 : static_cast<std::size_t>(last.physical_offset + last.size - log_->base()));
  queue_->set_written(low * kUnitBytes);
  {
    std::lock_guard lock{sync_mutex_};
    synced_count_ = low;
  }
  publish(low);
  // All that is asked of it at a start rests on its ends.
  for (std::size_t i = low + 1; i < queue_->size() / kUnitBytes && i <= low + kUnitsBehind; ++i)
    if (is_legal(unit(i))) return false;
  const auto next = protocol::check_record(log_->whole().subspan(log_->written()), false);
  if (next.kind == RecordKind::kRecord &&
      next.message.physical_offset == log_->base() + static_cast<std::int64_t>(log_->written()))
    return false;
  return low == 0 || (!record(unit(0)).bytes.empty() && !record(last).bytes.empty());
}

Result<Ok> CompactionFile::rebuild(std::int64_t last,
                                   const std::function<bool(const protocol::Message&)>& is_own,
                                   const std::function<bool(std::int64_t last)>& goes_on) {
  std::map<std::int64_t, std::int64_t> told;  // queue offsets by place, as the units have it
  for (std::size_t i = 0; i < queue_->size() / kUnitBytes; ++i)
    if (is_legal(unit(i))) told.try_emplace(unit(i).physical_offset, unit(i).queue_offset);
  std::vector<QueueEntry> units;
  const Bytes all = log_->whole();
  std::size_t position = 0, end = 0;
  while (position + protocol::kBlankRecordBytes <= all.size()) {
    const auto check = protocol::check_record(all.subspan(position), true);
    if (check.kind == RecordKind::kBlank) break;
    const std::int64_t place = log_->base() + static_cast<std::int64_t>(position);
    const auto here = told.find(place), next = told.upper_bound(place);
    // Of a record and a unit that do not agree the one that fits in is right, if the other does
    // not.
    const auto fits = [&](std::int64_t offset) {
      return offset > last && offset < (next == told.end() ? QueueEntry::kOffsetMax : next->second);
    };
    const std::int64_t offset = check.message.queue_offset;
    const bool agrees =
        here == told.end() || here->second == offset || (fits(offset) && !fits(here->second));
    if (check.kind == RecordKind::kRecord && check.message.physical_offset == place && agrees &&
        offset < QueueEntry::kOffsetMax && is_own(check.message) &&
        !is_torn(all, position, check.message)) {
      position += static_cast<std::size_t>(check.size);
      end = position;
      // What a compaction that was cut off had written anew into the file before.
      if (offset <= last) continue;
      last = offset;
      units.push_back(
          {.physical_offset = place,
           .size = check.size,
           .tags_code = protocol::tags_code(check.message.property(protocol::property::kTags)),
           .queue_offset = last,
           .store_timestamp = check.message.store_timestamp});
      continue;
    }
    // Where the units tell of no record the file ends.
    if ((here == told.end() && next == told.end()) || !goes_on(last) || next == told.end()) break;
    position = static_cast<std::size_t>(next->first - log_->base());
  }
  log_->set_written(end);
  return write_units(units);
}

Result<Ok> CompactionFile::write_units(std::span<const QueueEntry> units) {
  const std::size_t room = queue_->size() / kUnitBytes - 1;
  std::string bytes;
  for (const QueueEntry& each : units.first(std::min(units.size(), room)))
    BatchConsumeQueue::append_unit(bytes, each);
  publish(0);
  if (auto emptied = queue_->truncate(0); !emptied) return emptied;
  const Bytes pieces[] = {as_bytes(bytes)};
  if (auto written = queue_->append(pieces, bytes.size()); !written) return written;
  // What follows was never vouched for; the next record comes there.
  if (auto cut = log_->truncate(log_->written()); !cut) return cut;
  if (auto synced = queue_->sync(); !synced) return synced;
  const std::size_t count = bytes.size() / kUnitBytes;
  {
    std::lock_guard lock{sync_mutex_};
    synced_count_ = count;
  }
  publish(count);
  return Ok{};
}

Result<Ok> CompactionFile::keep(std::size_t kept) {
  if (kept >= count()) return Ok{};
  std::vector<QueueEntry> units;
  for (std::size_t i = 0; i < kept; ++i) units.push_back(unit(i));
  if (const QueueEntry next = unit(kept); is_legal(next))
    log_->set_written(static_cast<std::size_t>(next.physical_offset - log_->base()));
  return write_units(units);
}

/// As much as Java's wants behind it: the mark of the end, in each of the two.
bool CompactionFile::has_room(std::size_t record_bytes) const {
  return log_->written() + record_bytes + protocol::kBlankRecordBytes <= log_->size() &&
         queue_->written() + kUnitBytes < queue_->size();
}

Result<Ok> CompactionFile::append(Bytes record, QueueEntry entry) {
  const std::size_t position = log_->written();
  entry.physical_offset = log_->base() + static_cast<std::int64_t>(position);
  std::array<std::byte, sizeof(std::int64_t)> place{};
  write_big(place, 0, entry.physical_offset);
  const Bytes pieces[] = {record.first(at::kPhysicalOffset), place,
                          record.subspan(at::kPhysicalOffset + place.size())};
  if (auto written = log_->append(pieces, record.size()); !written) return written;
  std::string unit;
  BatchConsumeQueue::append_unit(unit, entry);
  const Bytes units[] = {as_bytes(unit)};
  if (auto written = queue_->append(units, unit.size()); !written) {
    log_->set_written(position);
    return written;
  }
  publish(count() + 1);
  return Ok{};
}

Result<Ok> CompactionFile::finish() {
  if (!is_finished()) {
    if (auto ended = write_ends(); !ended) return ended;
    log_->set_written(log_->size());
  }
  return sync();
}

/// Both or, as far as anybody will see, neither.
Result<Ok> CompactionFile::write_ends() {
  const std::size_t end = log_->written();
  std::string blank, unit;
  append_big<std::int32_t>(blank, static_cast<std::int32_t>(log_->size() - end));
  append_big<std::int32_t>(blank, protocol::kMagicBlank);
  BatchConsumeQueue::append_unit(unit, {.physical_offset = -1, .messages = 0});
  const Bytes blanks[] = {as_bytes(blank)}, units[] = {as_bytes(unit)};
  if (end + blank.size() <= log_->size())
    if (auto written = log_->append(blanks, blank.size()); !written) return written;
  if (queue_->written() + unit.size() <= queue_->size())
    if (auto written = queue_->append(units, unit.size()); !written) {
      log_->set_written(end);
      return written;
    }
  return Ok{};
}

Result<Ok> CompactionFile::sync() {
  std::lock_guard lock{sync_mutex_};
  if (broken_) return *broken_;
  const std::size_t written = count();
  const bool finished = is_finished();
  if (written == synced_count_ && finished == synced_finished_) return Ok{};
  auto synced = log_->sync();
  if (synced) synced = queue_->sync();
  if (!synced) {
    broken_ = synced.error();
    return synced;
  }
  synced_count_ = written;
  synced_finished_ = finished;
  return Ok{};
}

bool CompactionFile::is_broken() const {
  std::lock_guard lock{sync_mutex_};
  return broken_.has_value();
}

// ---- CompactionLog: opening --------------------------------------------------------------------

CompactionLog::CompactionLog(Env& env, Damages& damages, CompactionPlace place, std::string topic,
                             std::int32_t queue_id)
    : env_{env},
      damages_{damages},
      place_{std::move(place)},
      topic_{std::move(topic)},
      queue_id_{queue_id} {}

std::shared_ptr<const CompactionLog::Files> CompactionLog::files() const {
  std::lock_guard lock{files_mutex_};
  return files_;
}

template <class Change>
void CompactionLog::change_files(Change change) {
  std::lock_guard lock{files_mutex_};
  Files next = *files_;
  change(next);
  files_ = std::make_shared<const Files>(std::move(next));
}

/// The names of the files, and those of the directories they are in up to the store's.
Result<Ok> CompactionLog::sync_names() const {
  for (const std::string& each : {place_.log_directory, place_.queue_directory}) {
    std::string directory = each;
    for (int level = 0; level < 5; ++level, directory = parent_of(directory))
      if (auto done = env_.files.sync_directory(directory); !done) return done;
  }
  return Ok{};
}

/// A compaction of Java's that was cut off has renamed files whose successors are not there yet.
/// Theirs and those of ours that were cut off are of one kind: some files are new, and the old ones
/// behind them have messages that the new have, too. True: there may be such.
Result<bool> CompactionLog::restore_renamed() {
  bool cut_off = false;
  for (const std::string& directory : {place_.log_directory, place_.queue_directory}) {
    auto entries = list(env_.files, directory);
    if (!entries) return entries.error();
    for (const DirectoryEntry& each : *entries) {
      cut_off = cut_off || (each.is_directory && each.name == kCompacting);
      if (each.is_directory || !each.name.ends_with(kRenamed)) continue;
      cut_off = true;
      const std::string path = directory + "/" + each.name;
      const std::string name = path.substr(0, path.size() - kRenamed.size());
      // The units are made again from the records.
      const bool restored = directory == place_.log_directory && !env_.files.stat(name);
      auto done = restored ? env_.files.rename(path, name) : env_.files.remove(path);
      if (!done) return done.error();
    }
  }
  return cut_off;
}

/// Files by their first offset, and their lengths.
Result<std::map<std::int64_t, std::uint64_t>> CompactionLog::lengths(
    const std::string& directory) const {
  auto entries = list(env_.files, directory);
  if (!entries) return entries.error();
  std::map<std::int64_t, std::uint64_t> lengths;
  for (const DirectoryEntry& each : *entries)
    if (const std::int64_t base = base_of_segment_name(each.name); base >= 0)
      lengths[base] = each.size;
  return lengths;
}

Result<Ok> CompactionLog::load(const Truth& truth) {
  const auto cut_off = restore_renamed();
  if (!cut_off) return cut_off.error();
  const auto logs = lengths(place_.log_directory), queues = lengths(place_.queue_directory);
  if (!logs) return logs.error();
  if (!queues) return queues.error();
  for (const auto& [base, bytes] : *queues)
    if (!logs->contains(base))
      if (auto gone = remove_lonely_units(base, bytes, *cut_off); !gone) return gone;

  if (!logs->empty())
    if (auto made = env_.files.create_directories(place_.queue_directory); !made) return made;
  Files files;
  std::int64_t last = -1;
  for (const auto& [base, bytes] : *logs) {
    const auto units = queues->find(base);
    const std::uint64_t unit_bytes = units == queues->end() ? 0 : units->second;
    // A power cut may leave any that was just made or cut short. Units are made again from whole
    // records, whatever their length, as long as there is room for all of them.
    const bool whole = bytes == place_.log_bytes && unit_bytes == place_.queue_bytes;
    const auto units_fit = unit_bytes > place_.queue_bytes ? can_be_cut(base) : true;
    if (!units_fit) return units_fit.error();
    const bool fits = bytes <= place_.log_bytes && *units_fit && base < QueueEntry::kOffsetMax &&
                      base % static_cast<std::int64_t>(place_.log_bytes) == 0;
    if (!fits || (truth.clean && bytes != place_.log_bytes && unit_bytes > 0))
      return Error{Errc::kMalformed,
                   fmt::format("{} and its units do not have the {} and {} bytes that "
                               "compactionMappedFileSize and compactionCqMappedFileSize say; set "
                               "them to the sizes this store was made with",
                               place_.log_path(base), place_.log_bytes, place_.queue_bytes)};
    const bool is_last = base == logs->rbegin()->first;
    auto file = CompactionFile::open(env_.files, place_, base);
    if (!file) return file.error();
    const bool taken = whole && !*cut_off && (truth.clean || !is_last) && (*file)->load();
    if (!taken)
      if (auto made = rebuild(**file, last, is_last, truth); !made) return made;
    last = std::max(last, (*file)->last_offset());
    files.push_back(*std::move(file));
  }
  if (auto cut = cut_behind(files, truth); !cut) return cut;
  // Left over from a compaction, or new and never written to.
  for (auto file = files.begin(); file != files.end();) {
    if ((*file)->count() > 0) {
      ++file;
      continue;
    }
    if (auto gone = remove_file((*file)->base()); !gone) return gone;
    file = files.erase(file);
  }
  if (!files.empty()) next_ = files.back()->last_offset() + 1;
  if (!files.empty() && (!truth.clean || *cut_off))
    if (auto named = sync_names(); !named) return named;
  if (*cut_off)
    if (auto gone = remove_anew(); !gone) return gone;
  change_files([&](Files& now) { now = std::move(files); });
  return Ok{};
}

/// Their records have been lost: nothing but a compaction that was cut off removes those and leaves
/// the units.
Result<Ok> CompactionLog::remove_lonely_units(std::int64_t base, std::uint64_t bytes,
                                              bool cut_off) {
  if (bytes >= kUnitBytes && !cut_off) {
    auto file = env_.files.open(place_.queue_path(base), FileSystem::Open::kReadOnly);
    if (!file) return file.error();
    std::array<std::byte, kUnitBytes> first{};
    if (auto read = (*file)->read_at(0, first); !read) return read.error();
    const QueueEntry unit = BatchConsumeQueue::decode_unit(first);
    if (is_compaction_unit(unit, base, base + static_cast<std::int64_t>(place_.log_bytes)))
      damages_.tell(place_.log_path(base), 0,
                    fmt::format("the file has gone: topic={} queue={} from queue_offset={}", topic_,
                                queue_id_, unit.queue_offset));
  }
  return env_.files.remove(place_.queue_path(base));
}

/// Is there no unit where a file of units is to end? What is behind its end then was written there
/// by mistake: the mark of the end, again and again.
Result<bool> CompactionLog::can_be_cut(std::int64_t base) const {
  auto file = env_.files.open(place_.queue_path(base), FileSystem::Open::kReadOnly);
  if (!file) return file.error();
  std::array<std::byte, kUnitBytes> last{};
  if (auto read = (*file)->read_at(place_.queue_bytes - kUnitBytes, last); !read)
    return read.error();
  return !is_compaction_unit(BatchConsumeQueue::decode_unit(last), base,
                             base + static_cast<std::int64_t>(place_.log_bytes));
}

Result<Ok> CompactionLog::rebuild(CompactionFile& file, std::int64_t last, bool is_last,
                                  const Truth& truth) {
  const auto is_own = [&](const protocol::Message& message) {
    return message.topic == topic_ && message.queue_id == queue_id_;
  };
  // What comes behind damage is taken from the commit log, if it is still there.
  const auto goes_on = [&](std::int64_t last_whole) {
    if (is_last && last_whole + 1 >= truth.queue_min) return false;
    damages_.tell(
        place_.log_path(file.base()), last_whole + 1,
        fmt::format("topic={} queue={} behind queue_offset={}", topic_, queue_id_, last_whole));
    return true;
  };
  return file.rebuild(last, is_own, goes_on);
}

/// The commit log has lost its end in a power cut, and what comes now gets its queue offsets. A
/// queue without entries knows of no end: then what is older than the log's last message has
/// expired there.
Result<Ok> CompactionLog::cut_behind(Files& files, const Truth& truth) {
  for (auto file = files.rbegin(); file != files.rend(); ++file) {
    std::size_t kept = (*file)->count();
    while (kept > 0) {
      const QueueEntry unit = (*file)->unit(kept - 1);
      const bool lost = truth.queue_max > 0 || unit.store_timestamp >= truth.last_timestamp;
      if (unit.queue_offset < truth.queue_max || !lost) break;
      --kept;
    }
    const std::size_t had = (*file)->count();
    if (kept < had)
      env_.log.warn("a compaction log was ahead of the log: topic={} queue={} dropped={}", topic_,
                    queue_id_, had - kept);
    if (auto cut = (*file)->keep(kept); !cut) return cut;
    if (kept > 0) break;
  }
  return Ok{};
}

void CompactionLog::set_aside(std::int64_t end) {
  next_ = end;
  state_ = State::kSetAside;
}

Result<std::int64_t> CompactionLog::told_end() const {
  const auto logs = lengths(place_.log_directory);
  if (!logs) return logs.error();
  for (auto file = logs->rbegin(); file != logs->rend(); ++file) {
    auto units = read_file(env_.files, place_.queue_path(file->first));
    if (!units && units.error().code != Errc::kNotFound) return units.error();
    const auto records = read_file(env_.files, place_.log_path(file->first));
    if (!records) return records.error();
    std::int64_t end = 0;
    const Buffer content = units ? *std::move(units) : Buffer{};
    for (Bytes rest = as_bytes(content); rest.size() >= kUnitBytes; rest = rest.subspan(kUnitBytes))
      if (const QueueEntry unit = BatchConsumeQueue::decode_unit(rest.first(kUnitBytes));
          is_compaction_unit(unit, file->first, file->first + std::int64_t{0x7FFF'FFFF}))
        end = std::max(end, unit.queue_offset + 1);
    // Units may be on their way to be made again.
    Bytes rest = as_bytes(*records);
    for (auto check = protocol::check_record(rest, true); check.kind == RecordKind::kRecord;
         check = protocol::check_record(rest, true)) {
      end = std::max(end, check.message.queue_offset + 1);
      rest = rest.subspan(static_cast<std::size_t>(check.size));
    }
    if (end > 0) return end;
    // A file that was made and never written to says nothing, one that cannot be read too little.
    if (rest.size() >= sizeof(std::int32_t) && read_big<std::int32_t>(rest) != 0)
      return Error{Errc::kMalformed, place_.log_path(file->first) + " has no units"};
  }
  return 0;
}

Result<Ok> CompactionLog::remove_file(std::int64_t base) {
  // Units without records are removed by the next start, records without units get some.
  if (auto gone = remove_if_there(env_.files, place_.queue_path(base)); !gone) return gone;
  if (auto gone = env_.files.remove(place_.log_path(base)); !gone) return gone;
  if (auto done = env_.files.sync_directory(place_.queue_directory); !done) return done;
  return env_.files.sync_directory(place_.log_directory);
}

Result<Ok> CompactionLog::remove() {
  stop_compacting();
  std::scoped_lock lock{follow_mutex_, compact_mutex_};
  removed_ = true;
  for (const std::string& directory : {place_.queue_directory, place_.log_directory}) {
    if (auto gone = remove_tree(env_.files, directory); !gone) return gone;
    // A power cut must not bring it back beside a topic of that name.
    const std::string above = directory.substr(0, directory.rfind('/'));
    if (!env_.files.stat(above)) continue;
    if (auto gone = env_.files.sync_directory(above); !gone) return gone;
  }
  change_files([](Files& files) { files.clear(); });
  return Ok{};
}

// ---- Following the queue -----------------------------------------------------------------------

Result<Ok> CompactionLog::follow(const ConsumeQueue& queue, const CommitLog& log) {
  std::lock_guard lock{follow_mutex_};
  while (!removed_ && state_ == State::kFollows) {
    const std::int64_t next = std::max(next_offset(), queue.min_offset());
    const auto entries = queue.read(next, kReadUnits);
    if (!entries) return entries.error();
    if (entries->empty()) break;
    for (const QueueEntry& each : *entries) {
      if (auto taken = take(each, log); !taken) return taken;
      next_.store(each.queue_offset + 1, std::memory_order_release);
    }
  }
  return Ok{};
}

Result<Ok> CompactionLog::take(const QueueEntry& entry, const CommitLog& log) {
  if (entry.is_blank()) return Ok{};
  const auto segment = log.segment_of(entry.physical_offset);
  if (!segment) return Ok{};  // it has expired
  const Bytes record =
      segment->read(static_cast<std::size_t>(entry.physical_offset - segment->base()),
                    static_cast<std::size_t>(std::max(entry.size, 0)));
  const auto check = protocol::check_record(record, false);
  if (check.kind != RecordKind::kRecord || check.message.physical_offset != entry.physical_offset ||
      check.message.topic != topic_ || check.message.queue_offset != entry.queue_offset) {
    env_.log.error("a queue entry leads to no message: topic={} queue={} queue_offset={}", topic_,
                   queue_id_, entry.queue_offset);
    return Ok{};
  }
  if (!is_key(check.message.property(protocol::property::kKeys).value_or(""))) {
    env_.log.warn("a message without a key is not kept: topic={} queue={} queue_offset={}", topic_,
                  queue_id_, entry.queue_offset);
    return Ok{};
  }
  auto now = files();
  if (now->empty() || !now->back()->has_room(record.size())) {
    if (auto rolled = roll(); !rolled) return rolled;
    now = files();
  }
  if (!now->back()->has_room(record.size())) {
    env_.log.error("a message is longer than a compaction log's file: topic={} queue={} bytes={}",
                   topic_, queue_id_, record.size());
    return Ok{};
  }
  QueueEntry unit = entry;
  unit.store_timestamp = check.message.store_timestamp;
  unit.tags_code = protocol::tags_code(check.message.property(protocol::property::kTags));
  return now->back()->append(record, unit);
}

/// All files but the last are on disk.
Result<Ok> CompactionLog::roll() {
  const auto now = files();
  std::int64_t base = 0;
  if (now->empty()) {
    for (const std::string& each : {place_.log_directory, place_.queue_directory})
      if (auto made = env_.files.create_directories(each); !made) return made;
  } else {
    if (auto finished = now->back()->finish(); !finished) {
      if (now->back()->is_broken()) stop_following(finished.error());
      return finished;
    }
    base = now->back()->base() + static_cast<std::int64_t>(place_.log_bytes);
  }
  auto file = CompactionFile::open(env_.files, place_, base);
  if (!file) return file.error();
  if (auto named = sync_names(); !named) return named;
  change_files([&](Files& next) { next.push_back(*std::move(file)); });
  return Ok{};
}

Result<Ok> CompactionLog::sync() {
  const auto now = files();
  if (now->empty()) return Ok{};
  auto synced = now->back()->sync();
  if (!synced) stop_following(synced.error());
  return synced;
}

/// What is on disk of the last file is unknown. A start that finds the store as after a crash takes
/// from the commit log what is missing there, and of the last file only: it has to stay that.
void CompactionLog::stop_following(const Error& why) {
  State follows = State::kFollows;
  if (!state_.compare_exchange_strong(follows, State::kStopped)) return;
  env_.log.error(
      "a compaction log's sync failed, messages are read from the commit log until a restart: "
      "topic={} queue={} from queue_offset={} reason={}",
      topic_, queue_id_, next_offset(), why.detail);
}

// ---- Reading -----------------------------------------------------------------------------------

bool CompactionLog::leaves_to(const ConsumeQueue& queue, std::int64_t offset) const {
  switch (state_.load()) {
    case State::kFollows:  // a write that failed is tried again some time later
      return offset >= next_offset() && queue.max_offset() > next_offset();
    case State::kStopped:
      return offset >= next_offset();
    case State::kSetAside:
      return queue.max_offset() > 0 && offset >= queue.min_offset();
  }
  return false;
}

std::int64_t CompactionLog::min_offset() const {
  const auto now = files();
  return now->empty() || now->front()->count() == 0 ? next_offset() : now->front()->first_offset();
}

/// The record's message, if it is the one the unit was made for.
std::optional<protocol::Message> CompactionLog::checked(const CompactionFile& file,
                                                        const QueueEntry& unit, Bytes record,
                                                        bool check_crc) const {
  const auto check = protocol::check_record(record, check_crc);
  if (check.kind == RecordKind::kRecord && check.message.topic == topic_ &&
      check.message.queue_id == queue_id_ && check.message.queue_offset == unit.queue_offset)
    return check.message;
  damages_.tell(
      place_.log_path(file.base()), unit.physical_offset - file.base(),
      fmt::format("topic={} queue={} queue_offset={}", topic_, queue_id_, unit.queue_offset));
  return std::nullopt;
}

/// As CompactionLog.getMessage, but that messages are filtered as those of other topics are.
GetResult CompactionLog::get(const GetRequest& request, const StoreConfig& config,
                             std::int64_t in_memory_bytes) const {
  GetResult result;
  result.max_offset = next_offset();  // before the files: what is before it is in them
  const auto now = files();
  result.min_offset = min_offset();
  const auto end_with = [&](GetStatus status, std::int64_t next) {
    result.status = status;
    result.next_offset = next;
    return result;
  };
  if (is_set_aside()) return end_with(GetStatus::kUnreadable, request.offset);
  if (result.max_offset == 0) return end_with(GetStatus::kNoMessageInQueue, 0);
  if (request.offset == result.max_offset)
    return end_with(GetStatus::kOffsetOverflowOne, request.offset);
  if (request.offset > result.max_offset)
    return end_with(GetStatus::kOffsetOverflowBadly, result.max_offset);

  // Without a message behind it there is none before the end.
  end_with(GetStatus::kNoMatchedMessage, result.max_offset);
  const auto instant = env_.clock.now();
  const bool check_crc = config.check_crc_on_read != CheckOnRead::kNone;
  std::int64_t from = std::max<std::int64_t>(request.offset, 0);
  std::int64_t looked = 0;
  // A file that was just made has nothing yet, and comes last.
  const auto is_before = [&](const std::shared_ptr<CompactionFile>& each) {
    return each->count() > 0 && each->last_offset() < from;
  };
  for (auto file = std::ranges::partition_point(*now, is_before); file != now->end(); ++file) {
    result.resident = result.resident && (*file)->units_resident(instant);
    if (!result.resident && request.only_resident) return GetResult{.resident = false};
    const std::size_t count = (*file)->count();
    for (std::size_t i = (*file)->find(from); i < count; ++i) {
      const QueueEntry unit = (*file)->unit(i);
      if (!(*file)->is_in_order(i)) {
        // What a damaged unit says must not lead past others.
        result.resident = result.resident && (*file)->resident(unit, instant);
        if (!result.resident && request.only_resident) return GetResult{.resident = false};
        if (!checked(**file, unit, (*file)->record(unit).bytes, false)) continue;
      }
      if (unit.queue_offset < from) continue;
      if (unit.queue_offset >= result.max_offset) return result;
      const bool in_memory = now->back()->base() - unit.physical_offset < in_memory_bytes;
      if (looked++ >= config.filter_bytes_max / QueueEntry::kBytes ||
          result.is_full_for(1, unit.size, request, config, in_memory))
        return end_with(result.status, from);
      from = unit.queue_offset + 1;
      if (request.filter && !request.filter->matches_tags_code(unit.tags_code)) continue;
      result.resident = result.resident && (*file)->resident(unit, instant);
      if (!result.resident && request.only_resident) return GetResult{.resident = false};
      const RecordBytes record = (*file)->record(unit);
      if (!checked(**file, unit, record.bytes, check_crc)) continue;
      if (request.filter && request.filter->needs_record() &&
          !request.filter->matches_record(record.bytes))
        continue;
      result.add(record.bytes, record.owner, 1);
    }
  }
  return result;
}

// ---- Compaction --------------------------------------------------------------------------------

struct CompactionLog::Newest {
  std::unordered_map<std::string_view, std::int64_t> offsets;  ///< Of each key.
  std::int64_t until = -1;  ///< Queue offset of the last message that was looked at.

  /// CompactionLog.shouldRetainMsg.
  bool keeps(const protocol::Message& message) const {
    if (message.queue_offset > until) return true;
    const auto key = message.property(protocol::property::kKeys);
    if (!key || message.body.empty()) return false;
    const auto found = offsets.find(*key);
    return found == offsets.end() || message.queue_offset >= found->second;
  }
};

void CompactionLog::stop_compacting() {
  stopping_ = true;
}

CompactionLog::Newest CompactionLog::newest_of(
    std::span<const std::shared_ptr<CompactionFile>> files, std::int64_t done_until,
    std::size_t keys_max) const {
  Newest newest;
  for (const auto& file : files) {
    for (std::size_t i = file->find(done_until + 1); i < file->count() && !stopping_; ++i) {
      const QueueEntry unit = file->unit(i);
      const auto message = checked(*file, unit, file->record(unit).bytes, false);
      const auto key = message ? message->property(protocol::property::kKeys) : std::nullopt;
      if (key) {
        const auto found = newest.offsets.find(*key);
        if (found != newest.offsets.end())
          found->second = unit.queue_offset;
        else if (newest.offsets.size() < keys_max)
          newest.offsets.emplace(*key, unit.queue_offset);
        else
          return newest;
      }
      if (message) newest.until = unit.queue_offset;
    }
  }
  return newest;
}

Result<std::optional<std::int64_t>> CompactionLog::compact(
    std::int64_t done_until, std::size_t map_bytes,
    const std::function<bool(std::int64_t)>& may_compact) {
  std::lock_guard lock{compact_mutex_};
  const auto now = files();
  if (now->size() < 2) return std::optional<std::int64_t>{};
  const std::span old = std::span{*now}.first(now->size() - 1);
  const auto fresh =
      std::ranges::find_if(old, [&](const auto& file) { return file->last_offset() > done_until; });
  if (fresh == old.end() || !may_compact(old.back()->last_offset()))
    return std::optional<std::int64_t>{};
  const Newest newest =
      newest_of({fresh, old.end()}, done_until, std::max<std::size_t>(map_bytes / kKeyBytes, 100));
  if (stopping_) return std::optional<std::int64_t>{};
  const auto anew = write_anew(old, newest);
  if (!anew || stopping_) {
    // Some of the files may be replaced already: then what is there tells load() of it.
    if (!half_replaced_) (void)remove_anew();
    return anew ? std::optional<std::int64_t>{} : Result<std::optional<std::int64_t>>{anew.error()};
  }
  half_replaced_ = true;
  if (auto replaced = replace(old, *anew); !replaced) return replaced.error();
  half_replaced_ = false;
  return std::optional{newest.until};
}

/// Into the directory inside, from the first name on.
Result<CompactionLog::Files> CompactionLog::write_anew(
    std::span<const std::shared_ptr<CompactionFile>> old, const Newest& newest) {
  const CompactionPlace place = place_.inside(kCompacting);
  for (const std::string& directory : {place.log_directory, place.queue_directory})
    if (auto emptied = empty_directory(env_.files, directory); !emptied) return emptied.error();
  if (auto named = sync_names(); !named) return named.error();
  Files anew;
  for (const auto& file : old) {
    for (std::size_t i = 0; i < file->count() && !stopping_; ++i) {
      const QueueEntry unit = file->unit(i);
      const RecordBytes record = file->record(unit);
      const auto message = checked(*file, unit, record.bytes, true);
      if (!message || !newest.keeps(*message)) continue;
      if (anew.empty() || !anew.back()->has_room(record.bytes.size())) {
        if (!anew.empty())
          if (auto finished = anew.back()->finish(); !finished) return finished.error();
        const std::int64_t base =
            anew.empty() ? 0 : anew.back()->base() + static_cast<std::int64_t>(place.log_bytes);
        // Fewer messages never need more files; the order of replace() relies on it.
        if (base > file->base())
          return Error{Errc::kMalformed, place_.log_path(file->base()) + " grows by compaction"};
        auto next = CompactionFile::open(env_.files, place, base);
        if (!next) return next.error();
        anew.push_back(*std::move(next));
      }
      if (auto written = anew.back()->append(record.bytes, unit); !written) return written.error();
    }
  }
  if (!anew.empty())
    if (auto finished = anew.back()->finish(); !finished) return finished.error();
  for (const std::string& directory : {place.log_directory, place.queue_directory})
    if (auto named = env_.files.sync_directory(directory); !named) return named.error();
  return anew;
}

/// One file after the other, each step on disk before the next. Cut off anywhere it leaves what
/// load() makes sense of: the new files up to some message, then old ones, whose messages up to
/// that one are there twice. Units never stand beside records they were not made for. Of the old
/// files the first go first, so that a message never outlives the one that replaced it.
Result<Ok> CompactionLog::replace(std::span<const std::shared_ptr<CompactionFile>> old,
                                  const Files& anew) {
  const CompactionPlace from = place_.inside(kCompacting);
  for (const auto& file : anew) {
    const std::int64_t base = file->base();
    if (auto gone = remove_if_there(env_.files, place_.queue_path(base)); !gone) return gone;
    if (auto done = env_.files.sync_directory(place_.queue_directory); !done) return done;
    if (auto done = env_.files.rename(from.log_path(base), place_.log_path(base)); !done)
      return done;
    if (auto done = env_.files.sync_directory(place_.log_directory); !done) return done;
    if (auto done = env_.files.rename(from.queue_path(base), place_.queue_path(base)); !done)
      return done;
    if (auto done = env_.files.sync_directory(place_.queue_directory); !done) return done;
  }
  for (const auto& file : old) {
    const bool replaced =
        std::ranges::any_of(anew, [&](const auto& each) { return each->base() == file->base(); });
    if (replaced) continue;
    if (auto gone = remove_file(file->base()); !gone) return gone;
  }
  change_files([&](Files& files) {
    files.erase(files.begin(), files.begin() + static_cast<std::ptrdiff_t>(old.size()));
    files.insert(files.begin(), anew.begin(), anew.end());
  });
  return remove_anew();
}

Result<Ok> CompactionLog::remove_anew() {
  const CompactionPlace place = place_.inside(kCompacting);
  for (const std::string& directory : {place.log_directory, place.queue_directory})
    if (auto gone = remove_tree(env_.files, directory); !gone) return gone;
  return Ok{};
}

}  // namespace apogee::store
