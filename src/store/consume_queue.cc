#include "store/consume_queue.h"

#include <algorithm>
#include <set>
#include <thread>

#include "store/batch_consume_queue.h"
#include "store/segment.h"

namespace apogee::store {
namespace {

constexpr std::size_t kFirstUnits = 64, kScanUnits = 4'096;
constexpr std::size_t kTopicsOfALoader = 500;   // fewer are not worth a thread
constexpr std::size_t kLoadersMax = 16;         // they wait for the disk, not for a core
constexpr std::int64_t kRecordBytesMin = 91;    // in the log: no body, topic and properties
constexpr std::int64_t kGapBelieved = 1 << 16;  // entries: 1.3 MB of blanks
constexpr std::int64_t kBlanksAtOnce = 4'096;

void append_unit(std::string& out, const QueueEntry& entry) {
  append_big<std::int64_t>(out, entry.physical_offset);
  append_big<std::int32_t>(out, entry.size);
  append_big<std::int64_t>(out, entry.tags_code);
}

/// Of a simple queue.
std::string blanks(std::int64_t bytes) {
  std::string out;
  while (std::ssize(out) < bytes) append_unit(out, {.size = 0x7FFF'FFFF});
  return out;
}

}  // namespace

// ---- ConsumeQueue ------------------------------------------------------------------------------

ConsumeQueue::ConsumeQueue(Env& env, FileCache& cache, Place place, std::string topic,
                           std::int32_t queue_id, std::int64_t unit_bytes)
    : env_{env},
      topic_{std::move(topic)},
      queue_id_{queue_id},
      unit_bytes_{unit_bytes},
      files_{env,
             cache,
             {.directory = std::move(place.directory),
              .file_bytes = (place.file_bytes + unit_bytes - 1) / unit_bytes * unit_bytes,
              .size_key = place.size_key}} {}

std::int64_t ConsumeQueue::first_unit() const {
  const auto bases = files_.bases();
  return bases.empty() ? 0 : bases.front() / unit_bytes_;
}

Result<Ok> ConsumeQueue::load(bool clean) {
  auto lost = files_.load(clean);
  if (!lost) return lost.error();
  if (extension_)
    if (auto loaded = extension_->load(clean); !loaded) return loaded;
  const auto bases = files_.bases();
  // The end is behind the last valid entry; files behind an invalid one are cut off with it.
  std::int64_t end = bases.empty() ? 0 : bases.front(), physical_end = -1;
  std::optional<QueueEntry> first, last;
  bool lost_entries = *lost;
  for (std::size_t f = bases.size(); f-- > 0;) {
    std::int64_t position = bases[f];
    const std::int64_t file_end = bases[f] + files_.file_bytes();
    written_bytes_.store(file_end);  // read_units() looks no farther than this
    const auto file = files_.open_apart(bases[f]);
    if (!file) return file.error();
    // Most queues of a store with many are short: one read tells all of them.
    std::vector<QueueEntry> behind;  // the end
    std::size_t some = 2 * kFirstUnits;
    for (bool ended = false; position < file_end && !ended; some = std::min(some * 8, kScanUnits)) {
      auto units = read_units(position / unit_bytes_, some, file->get());
      if (!units) return units.error();
      const auto invalid =
          std::ranges::find_if_not(*units, [&](const QueueEntry& unit) { return is_valid(unit); });
      for (auto unit = units->begin(); unit != invalid; ++unit) {
        if (position == bases.front()) first = *unit;
        position += unit_bytes_;
        last = *unit;
        if (!unit->is_blank()) physical_end = unit->physical_offset + unit->size;
      }
      ended = units->empty() || invalid != units->end();
      if (invalid != units->end()) behind.assign(invalid + 1, units->end());
    }
    if (behind.size() < kFirstUnits) {
      auto more = read_units(position / unit_bytes_ + 1, kFirstUnits, file->get());
      if (!more) return more.error();
      behind = *std::move(more);
    }
    lost_entries = lost_entries || std::ranges::any_of(behind, [&](const QueueEntry& unit) {
                     return is_valid(unit);
                   });
    if (position > bases[f] || f == 0) {
      end = position;
      break;
    }
  }
  if (lost_entries) {
    entries_lost_from_ = std::max<std::int64_t>(physical_end, 0);
    env_.log.warn("entries of a consume queue are lost, made again from the log: topic={} queue={}",
                  topic_, queue_id_);
  }
  take_end(end, last, physical_end);
  // After a clean stop there is nothing behind it, and a store may have a million queues.
  cut_ = !clean || lost_entries;
  if (cut_)
    if (auto cut = files_.cut_to(end); !cut) return cut;
  if (auto ended = end_extension(); !ended) return ended;
  if (!first) {
    auto units = read_units(first_unit(), 1);
    if (!units) return units.error();
    if (!units->empty()) first = units->front();
  }
  min_ = first ? first->queue_offset : max_offset();
  if (first && !first->is_blank()) first_physical_ = first->physical_offset;
  synced_bytes_ = end;
  return Ok{};
}

/// The queue ends at byte `end`, behind `last` if there is any.
void ConsumeQueue::take_end(std::int64_t end, const std::optional<QueueEntry>& last,
                            std::int64_t physical_end) {
  const std::int64_t max =
      last ? last->queue_offset + last->messages : first_offset(end / unit_bytes_);
  written_bytes_ = end;
  max_ = max;
  min_ = std::min(min_.load(), max);
  physical_end_ = physical_end;
  next_offset = max;
  pending_position_ = end;
  pending_physical_end_ = physical_end;
  pending_max_ = max;
  synced_bytes_ = std::min(synced_bytes_.load(), end);
  first_physical_ = -1;
}

/// It ends where the queue does.
Result<Ok> ConsumeQueue::end_extension() {
  if (!extension_) return Ok{};
  const auto address = last_address();
  if (!address) return address.error();
  const auto there = extension_->end_behind(*address);
  if (!there) return there.error();
  if (!*there)
    env_.log.warn(
        "what entries of a consume queue lead to in consumequeue_ext is lost, their records tell "
        "their tags: topic={} queue={}",
        topic_, queue_id_);
  return Ok{};
}

/// Where the last entry that leads to the extension leads. Entries of a time when it was switched
/// off may follow.
Result<std::optional<std::int64_t>> ConsumeQueue::last_address() const {
  std::int64_t count = 1;
  for (std::int64_t end = end_unit(); end > first_unit(); count = kScanUnits) {
    const auto units = read_before(end, count);
    if (!units) return units.error();
    if (units->empty()) break;
    const auto leads = std::find_if(units->rbegin(), units->rend(),
                                    [](const QueueEntry& each) { return each.tags_elsewhere(); });
    if (leads != units->rend()) return std::optional{leads->tags_code};
    end -= static_cast<std::int64_t>(units->size());
  }
  return std::optional<std::int64_t>{};
}

/// No CRC covers a record's queue offset. Believing any number would fill the disk, or hide the
/// messages that follow.
void ConsumeQueue::refuse(std::int64_t queue_offset, std::int64_t end) const {
  env_.log.error(
      "a record claims a queue offset far from its queue's end, it cannot be consumed: topic={} "
      "queue={} offset={} end={}",
      topic_, queue_id_, queue_offset, end);
}

void ConsumeQueue::begin_anew() {
  if (auto removed = remove_all(); !removed)
    env_.log.error("a consume queue file stays: {}", removed.error().detail);
  clear_pending();
  pending_position_ = pending_max_ = 0;
  synced_bytes_ = 0;
}

void ConsumeQueue::clear_pending() {
  pending_.clear();
  if (pending_.capacity() > 64 << 10) pending_.shrink_to_fit();
  pending_gaps_.clear();
  pending_gap_bytes_ = 0;
}

/// After an error all of it is written again.
Result<Ok> ConsumeQueue::write_all_pending() {
  std::string_view rest = pending_;
  std::int64_t position = pending_position_;
  const auto write = [&](std::string_view bytes) {
    auto written = files_.write(position, bytes);
    position += static_cast<std::int64_t>(bytes.size());
    return written;
  };
  for (const Gap& gap : pending_gaps_) {
    const std::size_t before = gap.before - (pending_.size() - rest.size());
    if (auto written = write(rest.substr(0, before)); !written) return written;
    rest.remove_prefix(before);
    const std::string some = blanks(std::min(gap.bytes, kBlanksAtOnce * QueueEntry::kBytes));
    for (std::int64_t left = gap.bytes; left > 0; left -= std::ssize(some))
      if (auto written = write(std::string_view{some}.substr(0, static_cast<std::size_t>(left)));
          !written)
        return written;
  }
  return write(rest);
}

Result<Ok> ConsumeQueue::write_pending() {
  if (pending_.empty()) return Ok{};
  if (extension_)
    if (auto written = extension_->write_pending(); !written) return written;
  if (auto written = write_all_pending(); !written) return written;
  pending_position_ = pending_end();
  clear_pending();
  physical_end_.store(pending_physical_end_, std::memory_order_relaxed);
  written_bytes_.store(pending_position_, std::memory_order_release);
  max_.store(pending_max_, std::memory_order_release);
  return Ok{};
}

Result<std::vector<QueueEntry>> ConsumeQueue::read_units(std::int64_t index, std::size_t count,
                                                         const File* apart) const {
  std::vector<QueueEntry> entries;
  const std::int64_t end = end_unit();
  if (index < 0 || index >= end) return entries;
  const auto unit = static_cast<std::size_t>(unit_bytes_);
  count = std::min(count, static_cast<std::size_t>(end - index));
  const std::int64_t position = index * unit_bytes_;
  const auto bytes = apart ? files_.read(*apart, position, count * unit)
                           : files_.read_on(position, count * unit, end * unit_bytes_);
  if (!bytes) return bytes.error();
  entries.reserve(count);
  for (std::size_t at = 0; at + unit <= bytes->size(); at += unit)
    entries.push_back(decode(index++, as_bytes(*bytes).subspan(at, unit)));
  return entries;
}

/// Units that end with number `end`, at most to the beginning of its file.
Result<std::vector<QueueEntry>> ConsumeQueue::read_before(std::int64_t end,
                                                          std::int64_t count) const {
  const std::int64_t file_first =
      (end - 1) * unit_bytes_ / files_.file_bytes() * files_.file_bytes() / unit_bytes_;
  const std::int64_t from = std::max({first_unit(), file_first, end - count});
  return read_units(from, static_cast<std::size_t>(end - from));
}

Result<Ok> ConsumeQueue::truncate_behind(std::int64_t physical_offset) {
  // Offsets only grow, so that the last entry answers for all: a store may have a million queues.
  const bool ends_before = physical_end() >= 0 && physical_end() <= physical_offset;
  if (ends_before || !has_files()) return Ok{};
  std::int64_t end = end_unit(), physical_end = -1;
  const std::int64_t first = first_unit();
  std::optional<QueueEntry> last;
  while (end > first && !last) {
    const auto units = read_before(end, kScanUnits);
    if (!units) return units.error();
    const std::int64_t from = end - static_cast<std::int64_t>(units->size());
    std::size_t keep = units->size();
    // A hole left by a power cut goes with what surrounds it.
    const auto stays = [&](const QueueEntry& entry) {
      return entry.is_blank() ||
             (is_valid(entry) && entry.physical_offset + entry.size <= physical_offset);
    };
    while (keep > 0 && !stays((*units)[keep - 1])) --keep;
    end = from + static_cast<std::int64_t>(keep);
    if (keep > 0) {
      last = (*units)[keep - 1];
      physical_end = last->is_blank() ? -1 : last->physical_offset + last->size;
    }
  }
  const std::int64_t old_end = end_unit();
  if (end == old_end) return Ok{};
  cut_ = true;
  take_end(end * unit_bytes_, last, physical_end);
  if (auto cut = files_.cut_to(end * unit_bytes_, old_end * unit_bytes_); !cut) return cut;
  return end_extension();
}

Result<Ok> ConsumeQueue::correct_min_offset(std::int64_t physical_offset) {
  if (!extension_ && first_physical_ >= physical_offset && min_offset() < max_offset()) return Ok{};
  // Asked for first: what arrives from now on is behind the entries looked at, and stays.
  const std::int64_t max = max_offset();
  // Whole files first: a file goes when its last entry's record has left the log. The last file
  // stays.
  auto bases = files_.bases();
  for (; bases.size() > 1; bases.erase(bases.begin())) {
    auto last = read_units((bases.front() + files_.file_bytes()) / unit_bytes_ - 1, 1);
    if (!last || last->empty() || last->front().physical_offset >= physical_offset) break;
    if (auto done = files_.remove_first(); !done) return done;
  }
  if (bases.empty()) return Ok{};
  // Then the first entry inside the first file, by halving: offsets only grow.
  std::int64_t low = bases.front() / unit_bytes_;
  std::int64_t high = std::min((bases.front() + files_.file_bytes()) / unit_bytes_, end_unit());
  const std::int64_t end = high;
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    auto real = first_real(middle, high);
    if (!real) return real.error();
    if (real->second && real->second->physical_offset < physical_offset)
      low = real->first + 1;
    else
      high = middle;
  }
  auto real = first_real(low, end);
  if (!real) return real.error();
  min_.store(real->second ? real->second->queue_offset : max, std::memory_order_release);
  if (extension_ && real->second && real->second->tags_elsewhere())
    return extension_->remove_before(real->second->tags_code);
  return Ok{};
}

/// The first unit in [from, to) that is not a filler, and its number; `to` if there is none.
Result<std::pair<std::int64_t, std::optional<QueueEntry>>> ConsumeQueue::first_real(
    std::int64_t from, std::int64_t to) const {
  std::size_t wanted = 1;  // fillers are rare
  while (from < to) {
    auto entries = read_units(from, std::min(wanted, static_cast<std::size_t>(to - from)));
    if (!entries) return entries.error();
    if (entries->empty()) break;
    for (const QueueEntry& each : *entries) {
      if (!each.is_blank()) return std::pair{from, std::optional{each}};
      ++from;
    }
    wanted = kScanUnits;
  }
  return std::pair{to, std::optional<QueueEntry>{}};
}

Result<Ok> ConsumeQueue::remove_all() {
  written_bytes_ = 0;
  max_ = 0;
  min_ = 0;
  first_physical_ = -1;
  if (extension_)
    if (auto removed = extension_->remove_all(); !removed) return removed;
  return files_.remove_all();
}

Result<Ok> ConsumeQueue::sync() {
  const std::int64_t end = written_bytes_.load(std::memory_order_acquire),
                     from = synced_bytes_.load(std::memory_order_relaxed);
  const bool cut = cut_.exchange(false);
  if (end <= from && !cut) return Ok{};
  Result<Ok> done = extension_ ? extension_->sync(cut) : Ok{};
  if (done) done = cut ? files_.sync_all() : files_.sync(from, end);
  if (!done) {
    if (cut) cut_ = true;
    return done;
  }
  synced_bytes_.store(end, std::memory_order_relaxed);
  return Ok{};
}

void ConsumeQueue::sync_begins() {
  syncing_to_ = written_bytes_.load(std::memory_order_acquire);
  syncing_cut_ = cut_.exchange(false);
  files_.sync_begins();
  if (extension_) extension_->sync_begins();
}

void ConsumeQueue::sync_ended(bool good) {
  if (extension_) extension_->sync_ended(good);
  if (!good) {
    if (syncing_cut_) cut_ = true;
    return files_.sync_failed();
  }
  synced_bytes_.store(syncing_to_, std::memory_order_relaxed);
}

// ---- SimpleConsumeQueue ------------------------------------------------------------------------

SimpleConsumeQueue::SimpleConsumeQueue(Env& env, FileCache& cache, Place place, std::string topic,
                                       std::int32_t queue_id,
                                       std::unique_ptr<QueueExtension> extension)
    : ConsumeQueue{env, cache, std::move(place), std::move(topic), queue_id, QueueEntry::kBytes} {
  extension_ = std::move(extension);
}

QueueEntry SimpleConsumeQueue::decode(std::int64_t index, Bytes unit) const {
  return {.physical_offset = read_big<std::int64_t>(unit, 0),
          .size = read_big<std::int32_t>(unit, 8),
          .tags_code = read_big<std::int64_t>(unit, 12),
          .queue_offset = index};
}

void SimpleConsumeQueue::put(std::int64_t queue_offset, const QueueEntry& entry) {
  if (queue_offset < 0 || queue_offset > QueueEntry::kOffsetMax)
    return refuse(queue_offset, pending_end() / unit_bytes_);
  const std::int64_t position = queue_offset * unit_bytes_;
  std::int64_t end = pending_end();
  if (position < end && pending_physical_end_ < 0) {
    // No entry is left and the log has older ones: a power cut took the files before this one.
    begin_anew();
    end = 0;
  }
  if (entry.physical_offset + entry.size <= pending_physical_end_) return;  // dispatched before
  if (position < end) {
    if (!std::exchange(overlap_told_, true))
      env_.log.error(
          "two records claim one queue offset, the later one cannot be consumed: topic={} queue={} "
          "offset={} physical_offset={}; more of this queue are not told",
          topic_, queue_id_, queue_offset, entry.physical_offset);
    return;
  }
  if (position > end && !leave_gap(queue_offset, entry)) return;
  add(entry);
}

/// False: the record is none of this queue's, or not yet.
bool SimpleConsumeQueue::leave_gap(std::int64_t queue_offset, const QueueEntry& entry) {
  const std::int64_t position = queue_offset * unit_bytes_;
  if (!has_files() && pending_.empty()) {
    // A queue that begins late: its first file is filled up to the first message.
    pending_position_ = position / files_.file_bytes() * files_.file_bytes();
    min_.store(queue_offset, std::memory_order_release);
  } else if (!is_believed(queue_offset, entry)) {
    return false;
  }
  if (position > pending_end()) add_gap(position - pending_end());
  return true;
}

/// Are entries missing before this one, or is its queue offset damaged? The log has to have room
/// for what would be missing: else blanks would take the places of those that follow. A queue of
/// few messages in a large log has room for millions, and they would stand on the disk and hide as
/// many messages; but a hole is followed by more than one record, and of two that follow each other
/// only both tell of one. So where it would be wide, the first waits for the second. Where that
/// never comes, one message cannot be consumed.
bool SimpleConsumeQueue::is_believed(std::int64_t queue_offset, const QueueEntry& entry) {
  const std::int64_t end = pending_end() / unit_bytes_;
  if (queue_offset - end > (entry.physical_offset - pending_physical_end_) / kRecordBytesMin) {
    refuse(queue_offset, end);
    return false;
  }
  const bool confirms = doubted_ && doubted_->queue_offset + 1 == queue_offset;
  if (queue_offset - end > kGapBelieved && !confirms) {
    doubted_ = entry;
    doubted_->bit_map = {};  // of the record, which goes
    env_.log.warn(
        "a record claims a queue offset far from its queue's end, it cannot be consumed unless the "
        "next one follows it: topic={} queue={} offset={} end={}",
        topic_, queue_id_, queue_offset, end);
    return false;
  }
  const std::int64_t first = confirms ? doubted_->queue_offset : queue_offset;
  env_.log.error(
      "entries missing in a consume queue, filled with blanks: topic={} queue={} from={} to={}",
      topic_, queue_id_, end, first);
  if (confirms) {
    if (first > end) add_gap((first - end) * unit_bytes_);
    add(*doubted_);
  }
  return true;
}

void SimpleConsumeQueue::add(const QueueEntry& entry) {
  QueueEntry written = entry;
  if (extension_)
    written.tags_code = extension_
                            ->put({.tags_code = entry.tags_code,
                                   .store_timestamp = entry.store_timestamp,
                                   .bit_map = entry.bit_map})
                            .value_or(entry.tags_code);
  append_unit(pending_, written);
  pending_physical_end_ = entry.physical_offset + entry.size;
  pending_max_ = entry.queue_offset + 1;
  doubted_.reset();
}

// ---- ConsumeQueues -----------------------------------------------------------------------------

ConsumeQueues::ConsumeQueues(Env& env, FileCache& cache, Layout layout)
    : env_{env}, cache_{cache}, layout_{std::move(layout)} {}

Result<Ok> ConsumeQueues::load(bool clean) {
  for (const QueueKind kind : {QueueKind::kSimple, QueueKind::kBatch})
    if (auto loaded = load(directory_of(kind), kind, clean); !loaded) return loaded;
  return Ok{};
}

Result<Ok> ConsumeQueues::load(const std::string& directory, QueueKind kind, bool clean) {
  auto topics = env_.files.list(directory);
  if (!topics) return topics.error().code == Errc::kNotFound ? Result<Ok>{Ok{}} : topics.error();
  std::erase_if(*topics, [](const DirectoryEntry& topic) { return !topic.is_directory; });
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  Result<Ok> failed = Ok{};  // mutex
  const auto load_some = [&] {
    for (std::size_t i = next++; i < topics->size(); i = next++) {
      auto loaded = load_topic(directory, (*topics)[i].name, kind, clean);
      if (loaded) continue;
      next = topics->size();
      std::lock_guard lock{mutex};
      failed = std::move(loaded);
    }
  };
  std::vector<std::thread> more{std::min(kLoadersMax - 1, topics->size() / kTopicsOfALoader)};
  for (std::thread& each : more) each = std::thread{load_some};
  load_some();
  for (std::thread& each : more) each.join();
  return failed;
}

Result<Ok> ConsumeQueues::load_topic(const std::string& directory, const std::string& topic,
                                     QueueKind kind, bool clean) {
  auto ids = list_queues(env_.files, directory + "/" + topic);
  if (!ids) return ids.error();
  for (const std::int32_t id : *ids) {
    const auto made = find_or_create(topic, id, kind);
    if (made->kind() != kind) {
      env_.log.warn("a queue of two kinds, this one is not read: directory={}/{}/{}", directory,
                    topic, id);
      continue;
    }
    if (auto loaded = made->load(clean); !loaded) return loaded;
  }
  return Ok{};
}

std::shared_ptr<ConsumeQueue> ConsumeQueues::find(std::string_view topic,
                                                  std::int32_t queue_id) const {
  std::shared_lock lock{mutex_};
  const auto queues = topics_.find(topic);
  if (queues == topics_.end()) return nullptr;
  const auto queue = queues->second.find(queue_id);
  return queue == queues->second.end() ? nullptr : queue->second;
}

std::shared_ptr<ConsumeQueue> ConsumeQueues::find_or_create(std::string_view topic,
                                                            std::int32_t queue_id) {
  if (auto queue = find(topic, queue_id)) return queue;
  return find_or_create(topic, queue_id, layout_.kind_of(topic));
}

std::shared_ptr<ConsumeQueue> ConsumeQueues::find_or_create(std::string_view topic,
                                                            std::int32_t queue_id, QueueKind kind) {
  const bool is_compacted = kind == QueueKind::kSimple && layout_.is_compacted(topic);
  std::unique_lock lock{mutex_};
  auto& queue = topics_[std::string{topic}][queue_id];
  if (!queue) {
    const std::string inside = std::string{topic} + "/" + std::to_string(queue_id);
    if (kind == QueueKind::kBatch) {
      queue = std::make_shared<BatchConsumeQueue>(env_, cache_, layout_.batch.inside(inside),
                                                  std::string{topic}, queue_id);
    } else {
      std::unique_ptr<QueueExtension> extension;
      if (layout_.extension)
        extension =
            std::make_unique<QueueExtension>(env_, cache_, layout_.extension->inside(inside));
      queue =
          std::make_shared<SimpleConsumeQueue>(env_, cache_, layout_.simple.inside(inside),
                                               std::string{topic}, queue_id, std::move(extension));
      queue->is_compacted = is_compacted;
    }
  }
  return queue;
}

void ConsumeQueues::note_unsynced(std::span<const std::shared_ptr<ConsumeQueue>> queues) {
  std::lock_guard lock{unsynced_mutex_};
  for (const auto& queue : queues)
    if (!std::exchange(queue->noted_unsynced, true)) unsynced_.push_back(queue);
}

std::vector<std::shared_ptr<ConsumeQueue>> ConsumeQueues::take_unsynced() {
  std::lock_guard lock{unsynced_mutex_};
  for (const auto& queue : unsynced_) queue->noted_unsynced = false;
  return std::exchange(unsynced_, {});
}

Result<Ok> ConsumeQueues::sync(std::int64_t least_bytes) {
  std::vector<std::shared_ptr<ConsumeQueue>> due, later;
  for (auto& queue : take_unsynced()) {
    if (find(queue->topic(), queue->queue_id()) != queue) continue;  // deleted meanwhile
    (queue->unsynced_bytes() >= least_bytes ? due : later).push_back(std::move(queue));
  }
  auto done = due.size() < layout_.synced_together_from ? sync_one_by_one(due) : sync_together(due);
  std::ranges::copy_if(due, std::back_inserter(later),
                       [](const auto& queue) { return queue->needs_sync(); });
  note_unsynced(later);
  return done;
}

Result<Ok> ConsumeQueues::sync_one_by_one(std::span<const std::shared_ptr<ConsumeQueue>> queues) {
  Result<Ok> all = Ok{};
  for (const auto& queue : queues) {
    auto done = queue->sync();
    if (done) continue;
    env_.log.error("a consume queue was not flushed: topic={} queue={} reason={}", queue->topic(),
                   queue->queue_id(), done.error().detail);
    if (all || all.error().code == Errc::kBusy) all = done.error();
  }
  return all;
}

/// One commit of the file system's journal instead of one a queue.
Result<Ok> ConsumeQueues::sync_together(std::span<const std::shared_ptr<ConsumeQueue>> queues) {
  std::set<std::string> directories;
  for (const auto& queue : queues) {
    queue->sync_begins();
    directories.insert(directory_of(queue->kind()));
  }
  if (layout_.extension && env_.files.stat(layout_.extension->directory))
    directories.insert(layout_.extension->directory);
  Result<Ok> done = Ok{};
  for (const std::string& directory : directories)
    if (done) done = env_.files.sync_tree(directory);
  const std::string& one = layout_.simple.directory;  // their own names stand beside each other
  if (done) done = env_.files.sync_directory(one.substr(0, one.rfind('/')));
  for (const auto& queue : queues) queue->sync_ended(done.has_value());
  if (done) return done;
  if (done.error().code == Errc::kUnsupported) return sync_one_by_one(queues);
  env_.log.error("{} consume queues were not flushed: {}", queues.size(), done.error().detail);
  return done;
}

std::size_t ConsumeQueues::topic_count(std::string_view prefix) const {
  std::shared_lock lock{mutex_};
  return static_cast<std::size_t>(std::ranges::count_if(
      topics_, [&](const auto& each) { return each.first.starts_with(prefix); }));
}

std::vector<std::shared_ptr<ConsumeQueue>> ConsumeQueues::all() const {
  std::shared_lock lock{mutex_};
  std::vector<std::shared_ptr<ConsumeQueue>> all;
  for (const auto& [topic, queues] : topics_) {
    for (const auto& [id, queue] : queues) all.push_back(queue);
  }
  return all;
}

std::vector<std::shared_ptr<ConsumeQueue>> ConsumeQueues::of_topic(std::string_view topic) const {
  std::shared_lock lock{mutex_};
  std::vector<std::shared_ptr<ConsumeQueue>> all;
  if (const auto queues = topics_.find(topic); queues != topics_.end()) {
    for (const auto& [id, queue] : queues->second) all.push_back(queue);
  }
  return all;
}

void ConsumeQueues::remove_closed(std::string_view topic) {
  std::vector<std::shared_ptr<ConsumeQueue>> closed;
  bool all = false;
  {
    std::unique_lock lock{mutex_};
    const auto found = topics_.find(topic);
    if (found == topics_.end()) return;
    std::erase_if(found->second, [&](const auto& each) {
      if (each.second->is_closed) closed.push_back(each.second);
      return each.second->is_closed.load();
    });
    all = found->second.empty();
    if (all) topics_.erase(found);
  }
  for (const auto& queue : closed) {
    queue->is_removed = true;
    if (auto removed = queue->remove_all(); !removed)
      env_.log.error("cannot remove a consume queue: {}", removed.error().detail);
  }
  if (all) remove_topic_directories(std::string{topic});
}

void ConsumeQueues::remove_topic_directories(const std::string& topic) {
  std::vector<std::string> directories{layout_.simple.directory, layout_.batch.directory};
  if (layout_.extension) directories.push_back(layout_.extension->directory);
  for (const std::string& directory : directories) {
    if (auto removed = remove_tree(env_.files, directory + "/" + topic); !removed)
      env_.log.error("cannot remove a topic's directory: {}", removed.error().detail);
  }
}

void ConsumeQueues::remove(const ConsumeQueue& queue) {
  std::shared_ptr<ConsumeQueue> taken;
  {
    std::unique_lock lock{mutex_};
    const auto queues = topics_.find(queue.topic());
    if (queues == topics_.end()) return;
    const auto found = queues->second.find(queue.queue_id());
    if (found == queues->second.end()) return;
    taken = found->second;
    queues->second.erase(found);
    if (queues->second.empty()) topics_.erase(queues);
  }
  taken->is_removed = true;
  if (auto removed = taken->remove_all(); !removed)
    env_.log.error("cannot remove a consume queue: {}", removed.error().detail);
}

}  // namespace apogee::store
