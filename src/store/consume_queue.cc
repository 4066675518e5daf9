#include "store/consume_queue.h"

#include <charconv>

#include "store/batch_consume_queue.h"
#include "store/segment.h"

namespace apogee::store {
namespace {

constexpr std::size_t kFirstUnits = 64, kScanUnits = 4'096;
constexpr std::int64_t kRecordBytesMin = 91;  // in the log: no body, topic and properties

}  // namespace

// ---- FileCache ---------------------------------------------------------------------------------

Result<std::shared_ptr<File>> FileCache::open(const std::string& path, FileSystem::Open mode) {
  std::lock_guard lock{mutex_};
  if (const auto found = by_path_.find(path); found != by_path_.end()) {
    recent_.splice(recent_.begin(), recent_, found->second);
    return found->second->second;
  }
  auto file = files_.open(path, mode);
  if (!file) return file.error();
  recent_.emplace_front(path, std::shared_ptr<File>{*std::move(file)});
  by_path_[path] = recent_.begin();
  if (recent_.size() > most_) {
    by_path_.erase(recent_.back().first);
    recent_.pop_back();
  }
  return recent_.front().second;
}

void FileCache::forget(const std::string& path_prefix) {
  std::lock_guard lock{mutex_};
  for (auto at = recent_.begin(); at != recent_.end();) {
    if (at->first.starts_with(path_prefix)) {
      by_path_.erase(at->first);
      at = recent_.erase(at);
    } else {
      ++at;
    }
  }
}

// ---- ConsumeQueue ------------------------------------------------------------------------------

ConsumeQueue::ConsumeQueue(Env& env, FileCache& cache, std::string directory, std::string topic,
                           std::int32_t queue_id, std::int64_t file_bytes, std::int64_t unit_bytes)
    : env_{env},
      directory_{std::move(directory)},
      topic_{std::move(topic)},
      queue_id_{queue_id},
      file_bytes_{(file_bytes + unit_bytes - 1) / unit_bytes * unit_bytes},
      unit_bytes_{unit_bytes},
      cache_{cache} {}

std::string ConsumeQueue::path_of(std::int64_t base) const {
  return directory_ + "/" + segment_name(base);
}

std::int64_t ConsumeQueue::first_unit() const {
  std::lock_guard lock{files_mutex_};
  return bases_.empty() ? 0 : bases_.front() / unit_bytes_;
}
bool ConsumeQueue::has_files() const {
  std::lock_guard lock{files_mutex_};
  return !bases_.empty();
}

/// Takes stock of the files; what was not on disk when the power went is dropped. False: nothing
/// was.
Result<bool> ConsumeQueue::load_files() {
  auto entries = env_.files.list(directory_);
  if (!entries) return entries.error();
  // Files of another configuration stand at other offsets.
  const bool of_this_length = std::ranges::all_of(*entries, [&](const DirectoryEntry& entry) {
    const std::int64_t base = entry.is_directory ? -1 : base_of_segment_name(entry.name);
    return base < 0 || base % file_bytes_ == 0;
  });
  bool lost = false;  // from here on the files were not on disk when the power went; the log has
                      // what they pointed to
  for (const DirectoryEntry& entry : *entries) {
    const std::int64_t base = entry.is_directory ? -1 : base_of_segment_name(entry.name);
    if (base < 0) continue;
    lost = lost || entry.size == 0 || (!bases_.empty() && base != bases_.back() + file_bytes_);
    if (lost) {
      env_.log.warn("consume queue file dropped, made again from the log: file={} bytes={}",
                    path_of(base), entry.size);
      if (auto removed = env_.files.remove(path_of(base)); !removed) return removed.error();
      continue;
    }
    if (entry.size != static_cast<std::uint64_t>(file_bytes_)) {
      // A short file: a power cut, and what follows was not on disk either.
      const bool torn = entry.size < static_cast<std::uint64_t>(file_bytes_) && of_this_length;
      if (!torn) {
        return Error{Errc::kMalformed,
                     path_of(base) + " has " + std::to_string(entry.size) +
                         " bytes, mappedFileSizeConsumeQueue says " + std::to_string(file_bytes_) +
                         "; set mappedFileSizeConsumeQueue to the size this store was made with"};
      }
      lost = true;
      auto file = cache_.open(path_of(base), FileSystem::Open::kExisting);
      if (!file) return file.error();
      if (auto resized = (*file)->resize(static_cast<std::uint64_t>(file_bytes_)); !resized)
        return resized.error();
    }
    bases_.push_back(base);
  }
  return lost;
}

Result<Ok> ConsumeQueue::load(bool clean) {
  names_synced_ = clean;
  auto lost = load_files();
  if (!lost) return lost.error();
  if (bases_.empty()) {
    if (*lost) entries_lost_from_ = 0;
    return Ok{};
  }
  // The end is behind the last valid entry; files behind an invalid one are cut off with it.
  std::int64_t end = bases_.front(), physical_end = -1;
  std::optional<QueueEntry> last;
  bool lost_entries = *lost;
  for (std::size_t f = bases_.size(); f-- > 0;) {
    std::int64_t position = bases_[f];
    const std::int64_t file_end = bases_[f] + file_bytes_;
    written_bytes_.store(file_end);  // read_units() looks no farther than this
    std::size_t some = kFirstUnits;  // most queues of a store with many are short
    for (bool ended = false; position < file_end && !ended; some = std::min(some * 8, kScanUnits)) {
      auto units = read_units(position / unit_bytes_, some);
      if (!units) return units.error();
      ended = units->empty();
      for (const QueueEntry& unit : *units) {
        ended = !is_valid(unit);
        if (ended) break;
        position += unit_bytes_;
        last = unit;
        if (!unit.is_blank()) physical_end = unit.physical_offset + unit.size;
      }
    }
    const auto behind = read_units(position / unit_bytes_ + 1, kFirstUnits);
    if (!behind) return behind.error();
    lost_entries = lost_entries || std::ranges::any_of(*behind, [&](const QueueEntry& unit) {
                     return is_valid(unit);
                   });
    if (position > bases_[f] || f == 0) {
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
  if (!clean || lost_entries)
    if (auto cut = cut_to(end); !cut) return cut;
  const auto first = read_units(first_unit(), 1);
  if (!first) return first.error();
  min_ = first->empty() ? max_offset() : first->front().queue_offset;
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
}

Result<std::shared_ptr<File>> ConsumeQueue::file_at(std::int64_t position, bool create) {
  const std::int64_t base = position / file_bytes_ * file_bytes_;
  {
    std::lock_guard lock{files_mutex_};
    if (std::binary_search(bases_.begin(), bases_.end(), base))
      return cache_.open(path_of(base), FileSystem::Open::kExisting);
  }
  if (!create) return Error{Errc::kNotFound, path_of(base)};
  if (auto made = env_.files.create_directories(directory_); !made) return made.error();
  auto file = cache_.open(path_of(base), FileSystem::Open::kCreate);
  if (!file) return file;
  // A file of another length stops a Java broker at load.
  if (auto sized = (*file)->resize(static_cast<std::uint64_t>(file_bytes_)); !sized)
    return sized.error();
  names_synced_.store(false, std::memory_order_relaxed);
  std::lock_guard lock{files_mutex_};
  bases_.push_back(base);
  return file;
}

Result<Ok> ConsumeQueue::write(std::int64_t position, std::string_view bytes) {
  while (!bytes.empty()) {
    auto file = file_at(position, true);
    if (!file) return file.error();
    const std::int64_t inside = position % file_bytes_;
    const std::string_view part = bytes.substr(0, static_cast<std::size_t>(file_bytes_ - inside));
    if (auto written = (*file)->write_at(static_cast<std::uint64_t>(inside), as_bytes(part));
        !written)
      return written;
    position += static_cast<std::int64_t>(part.size());
    bytes.remove_prefix(part.size());
  }
  return Ok{};
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
  pending_.clear();
  pending_position_ = pending_max_ = 0;
  synced_bytes_ = 0;
}

Result<Ok> ConsumeQueue::write_pending() {
  if (pending_.empty()) return Ok{};
  if (auto written = write(pending_position_, pending_); !written) return written;
  pending_position_ += static_cast<std::int64_t>(pending_.size());
  pending_.clear();
  if (pending_.capacity() > 64 << 10) pending_.shrink_to_fit();
  physical_end_.store(pending_physical_end_, std::memory_order_relaxed);
  written_bytes_.store(pending_position_, std::memory_order_release);
  max_.store(pending_max_, std::memory_order_release);
  return Ok{};
}

Result<std::vector<QueueEntry>> ConsumeQueue::read_units(std::int64_t index,
                                                         std::size_t count) const {
  std::vector<QueueEntry> entries;
  const std::int64_t end = end_unit();
  if (index < 0 || index >= end) return entries;
  const std::int64_t position = index * unit_bytes_;
  const std::int64_t inside = position % file_bytes_;
  count = std::min({count, static_cast<std::size_t>(end - index),
                    static_cast<std::size_t>((file_bytes_ - inside) / unit_bytes_)});
  const std::int64_t base = position - inside;
  {
    std::lock_guard lock{files_mutex_};
    if (!std::binary_search(bases_.begin(), bases_.end(), base))
      return Error{Errc::kNotFound, path_of(base)};
  }
  auto file = cache_.open(path_of(base), FileSystem::Open::kExisting);
  if (!file) return file.error();
  const auto unit = static_cast<std::size_t>(unit_bytes_);
  std::string bytes(count * unit, '\0');
  auto got = (*file)->read_at(static_cast<std::uint64_t>(inside),
                              std::as_writable_bytes(std::span{bytes.data(), bytes.size()}));
  if (!got) return got.error();
  entries.reserve(count);
  for (std::size_t i = 0; i + unit <= *got; i += unit)
    entries.push_back(decode(index++, as_bytes(bytes).subspan(i, unit)));
  return entries;
}

/// Removes files behind `end` and zeroes what follows it in its file.
Result<Ok> ConsumeQueue::cut_to(std::int64_t end) {
  std::vector<std::int64_t> removed;
  bool last_is_partial = false;
  std::int64_t base = 0;
  {
    std::lock_guard lock{files_mutex_};
    while (!bases_.empty() && bases_.back() >= end && (bases_.back() > end || bases_.size() > 1)) {
      removed.push_back(bases_.back());
      bases_.pop_back();
    }
    last_is_partial = !bases_.empty() && end < bases_.back() + file_bytes_;
    if (last_is_partial) base = bases_.back();
  }
  for (const std::int64_t each : removed) {
    cache_.forget(path_of(each));
    if (auto done = env_.files.remove(path_of(each)); !done) return done;
  }
  if (!last_is_partial) return Ok{};
  auto file = cache_.open(path_of(base), FileSystem::Open::kExisting);
  if (!file) return file.error();
  if (auto done = (*file)->resize(static_cast<std::uint64_t>(end - base)); !done) return done;
  return (*file)->resize(static_cast<std::uint64_t>(file_bytes_));
}

Result<Ok> ConsumeQueue::truncate_behind(std::int64_t physical_offset) {
  if (!has_files()) return Ok{};
  std::int64_t end = end_unit(), physical_end = -1;
  const std::int64_t first = first_unit();
  std::optional<QueueEntry> last;
  while (end > first && !last) {
    // Backwards in chunks that do not cross a file.
    const std::int64_t file_first =
        (end - 1) * unit_bytes_ / file_bytes_ * file_bytes_ / unit_bytes_;
    const std::int64_t from =
        std::max({first, file_first, end - static_cast<std::int64_t>(kScanUnits)});
    auto units = read_units(from, static_cast<std::size_t>(end - from));
    if (!units) return units.error();
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
  if (end == end_unit()) return Ok{};
  take_end(end * unit_bytes_, last, physical_end);
  return cut_to(end * unit_bytes_);
}

Result<Ok> ConsumeQueue::correct_min_offset(std::int64_t physical_offset) {
  // Whole files first: a file goes when its last entry's record has left the log. The last file
  // stays.
  for (;;) {
    std::int64_t base;
    {
      std::lock_guard lock{files_mutex_};
      if (bases_.empty()) return Ok{};
      if (bases_.size() == 1) break;
      base = bases_.front();
    }
    auto last = read_units((base + file_bytes_) / unit_bytes_ - 1, 1);
    if (!last || last->empty() || last->front().physical_offset >= physical_offset) break;
    {
      std::lock_guard lock{files_mutex_};
      bases_.erase(bases_.begin());
    }
    cache_.forget(path_of(base));
    if (auto done = env_.files.remove(path_of(base)); !done) return done;
  }
  // Then the first entry inside the first file, by halving: offsets only grow.
  std::int64_t low, high;
  {
    std::lock_guard lock{files_mutex_};
    low = bases_.front() / unit_bytes_;
    high = std::min((bases_.front() + file_bytes_) / unit_bytes_, end_unit());
  }
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
  min_.store(real->second ? real->second->queue_offset : max_offset(), std::memory_order_release);
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
  std::vector<std::int64_t> bases;
  {
    std::lock_guard lock{files_mutex_};
    bases.swap(bases_);
  }
  written_bytes_ = 0;
  max_ = 0;
  min_ = 0;
  cache_.forget(directory_ + "/");
  return remove_tree(env_.files, directory_);
}

Result<Ok> ConsumeQueue::sync(std::int64_t least_bytes) {
  const std::int64_t end = written_bytes_.load(std::memory_order_acquire),
                     from = synced_bytes_.load(std::memory_order_relaxed);
  if (end - from < std::max<std::int64_t>(least_bytes, 1)) return Ok{};
  for (std::int64_t base = from / file_bytes_ * file_bytes_; base < end; base += file_bytes_) {
    auto file = file_at(base, false);
    if (!file) {
      if (file.error().code == Errc::kNotFound) continue;  // removed meanwhile
      return file.error();
    }
    if (auto done = (*file)->sync(); !done) return done;
  }
  if (!names_synced_.exchange(true, std::memory_order_relaxed)) {
    // The file, the queue's and the topic's directory, each in its parent.
    std::string directory = directory_;
    for (int level = 0; level < 3; ++level, directory.resize(directory.rfind('/'))) {
      if (auto done = env_.files.sync_directory(directory); !done) {
        names_synced_.store(false, std::memory_order_relaxed);
        return done;
      }
    }
  }
  synced_bytes_.store(end, std::memory_order_relaxed);
  return Ok{};
}

// ---- SimpleConsumeQueue ------------------------------------------------------------------------

namespace {

void append_unit(std::string& out, const QueueEntry& entry) {
  append_big<std::int64_t>(out, entry.physical_offset);
  append_big<std::int32_t>(out, entry.size);
  append_big<std::int64_t>(out, entry.tags_code);
}

}  // namespace

SimpleConsumeQueue::SimpleConsumeQueue(Env& env, FileCache& cache, std::string directory,
                                       std::string topic, std::int32_t queue_id,
                                       std::int64_t file_bytes)
    : ConsumeQueue{env,      cache,      std::move(directory), std::move(topic),
                   queue_id, file_bytes, QueueEntry::kBytes} {}

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
  if (position > end) {
    if (!has_files() && pending_.empty()) {
      // A queue that begins late: its first file is filled up to the first message.
      pending_position_ = position / file_bytes_ * file_bytes_;
      end = pending_position_;
      min_.store(queue_offset, std::memory_order_release);
    } else if ((position - end) / unit_bytes_ >
               (entry.physical_offset - pending_physical_end_) / kRecordBytesMin) {
      // The log has no room for what would be missing: the offset is damaged, and blanks would take
      // the places of those that follow.
      return refuse(queue_offset, end / unit_bytes_);
    } else {
      env_.log.error(
          "entries missing in a consume queue, filled with blanks: topic={} queue={} from={} to={}",
          topic_, queue_id_, end / unit_bytes_, queue_offset);
    }
    while (end < position) {
      append_unit(pending_, {.size = 0x7FFF'FFFF});
      end += unit_bytes_;
    }
  }
  append_unit(pending_, entry);
  pending_physical_end_ = entry.physical_offset + entry.size;
  pending_max_ = queue_offset + 1;
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
  for (const DirectoryEntry& topic : *topics) {
    if (!topic.is_directory) continue;
    auto queues = env_.files.list(directory + "/" + topic.name);
    if (!queues) return queues.error();
    for (const DirectoryEntry& queue : *queues) {
      std::int32_t id = -1;
      const auto [end, error] =
          std::from_chars(queue.name.data(), queue.name.data() + queue.name.size(), id);
      if (!queue.is_directory || error != std::errc{} ||
          end != queue.name.data() + queue.name.size())
        continue;
      const auto made = find_or_create(topic.name, id, kind);
      if (made->kind() != kind) {
        env_.log.warn("a queue of two kinds, this one is not read: directory={}/{}/{}", directory,
                      topic.name, id);
        continue;
      }
      if (auto loaded = made->load(clean); !loaded) return loaded;
    }
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
  std::unique_lock lock{mutex_};
  auto& queue = topics_[std::string{topic}][queue_id];
  if (!queue) {
    std::string directory =
        directory_of(kind) + "/" + std::string{topic} + "/" + std::to_string(queue_id);
    if (kind == QueueKind::kBatch)
      queue = std::make_shared<BatchConsumeQueue>(env_, cache_, std::move(directory),
                                                  std::string{topic}, queue_id,
                                                  layout_.batch_file_bytes);
    else
      queue = std::make_shared<SimpleConsumeQueue>(env_, cache_, std::move(directory),
                                                   std::string{topic}, queue_id,
                                                   layout_.simple_file_bytes);
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

void ConsumeQueues::remove_topic(std::string_view topic) {
  std::map<std::int32_t, std::shared_ptr<ConsumeQueue>> queues;
  {
    std::unique_lock lock{mutex_};
    const auto found = topics_.find(topic);
    if (found == topics_.end()) return;
    queues.swap(found->second);
    topics_.erase(found);
  }
  for (const auto& [id, queue] : queues) {
    if (auto removed = queue->remove_all(); !removed)
      env_.log.error("cannot remove a consume queue: {}", removed.error().detail);
  }
  for (const QueueKind kind : {QueueKind::kSimple, QueueKind::kBatch}) {
    if (auto removed = remove_tree(env_.files, directory_of(kind) + "/" + std::string{topic});
        !removed)
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
  if (auto removed = taken->remove_all(); !removed)
    env_.log.error("cannot remove a consume queue: {}", removed.error().detail);
}

}  // namespace apogee::store
