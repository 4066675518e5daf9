#include "store/index.h"

#include <algorithm>
#include <condition_variable>
#include <ctime>
#include <deque>
#include <mutex>

#include <fmt/core.h>

#include "protocol/message.h"
#include "store/index_file.h"

namespace apogee::store {
namespace {

/// After the disk had no room: how long to let records go by before the next try.
constexpr std::chrono::seconds kRetryAfter{5};

/// Java opens every file whose name is a number.
bool is_index_name(std::string_view name) {
  return !name.empty() && name.size() <= 18 &&
         std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; });
}

/// Local time as Java's UtilAll.timeMillisToHumanString: yyyyMMddHHmmssSSS.
std::string name_for(std::int64_t wall_ms) {
  const std::time_t seconds = wall_ms / 1'000;
  std::tm local{};
  ::localtime_r(&seconds, &local);
  return fmt::format("{:04}{:02}{:02}{:02}{:02}{:02}{:03}", local.tm_year + 1900, local.tm_mon + 1,
                     local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec, wall_ms % 1'000);
}

IndexPosition end_of(const IndexFileHeader& header) {
  return {.timestamp = header.end_timestamp, .physical_offset = header.end_physical_offset};
}

}  // namespace

struct Index::State {
  using Files = std::vector<std::shared_ptr<IndexFile>>;

  State(Env& env_, IndexOptions options_) : env{env_}, options{std::move(options_)} {
    options.slot_count = std::max(options.slot_count, 1);
    options.unit_count = std::max(options.unit_count, 2);  // unit 0 is never used
  }

  IndexFormat format() const { return {options.slot_count, options.unit_count}; }
  Files snapshot() const {
    std::lock_guard lock{mutex};
    return files;
  }
  void open_file(const DirectoryEntry& entry, bool last_exit_ok, std::int64_t checkpoint_timestamp);
  bool was_durable(const std::string& path, std::int64_t checkpoint_timestamp) const;
  bool is_vouched_for(const IndexFile& file, std::int64_t checkpoint_timestamp) const;
  void put_hash(const IndexEntry& entry, std::int32_t hash);
  IndexAnswer query(std::int32_t hash, std::int32_t max, std::int64_t begin_ms,
                    std::int64_t end_ms) const;
  Result<Ok> begin_file();
  void stop_writing(const Error& error);
  void sync_later(std::shared_ptr<IndexFile> file);
  void sync_full_files();
  void map_for_reading(const std::shared_ptr<IndexFile>& file);
  Result<Ok> sync_names();
  void remove_from_disk(const Files& gone);

  Env& env;
  IndexOptions options;

  mutable std::mutex mutex;
  Files files;  ///< Oldest first. Only put() adds.
  std::deque<std::shared_ptr<IndexFile>> to_sync;
  bool syncing = false;      ///< A task on env.workers is at work on to_sync.
  bool sync_failed = false;  ///< What is on disk is unknown: the checkpoint stays where it is.
  std::condition_variable synced;
  bool closed = false;

  // The dispatch thread's.
  std::shared_ptr<IndexFile> writer;  ///< The last of `files` unless that is full.
  std::int64_t indexed_until = 0;     ///< Records before this physical offset are indexed already.
  bool stopped = false;               ///< No room; see retry_at.
  Clock::Instant retry_at{};
  std::uint64_t unindexed = 0;  ///< Keys that went by since it stopped.
};

Index::Index(Env& env, IndexOptions options)
    : state_{std::make_unique<State>(env, std::move(options))} {}

Index::~Index() {
  (void)close();
}

/// Does the checkpoint vouch for a file of whatever length?
bool Index::State::was_durable(const std::string& path, std::int64_t checkpoint_timestamp) const {
  auto file = env.files.open(path, FileSystem::Open::kReadOnly);
  if (!file) return true;
  auto header = read_index_header(**file);
  return header && header->next_unit > 1 && header->end_timestamp <= checkpoint_timestamp;
}

/// Does the checkpoint vouch for `file`, which comes after `files`? It names the last file that was
/// full and synced by its last millisecond, in which the next file may have begun.
bool Index::State::is_vouched_for(const IndexFile& file, std::int64_t checkpoint_timestamp) const {
  const IndexFileHeader header = file.header();
  // A file without units has nothing to lose, and slots that reached the disk without the header
  // lead nowhere.
  if (header.next_unit <= 1) return false;
  if (header.end_timestamp != checkpoint_timestamp)
    return header.end_timestamp < checkpoint_timestamp;
  return file.full() &&
         (files.empty() || files.back()->header().end_timestamp < checkpoint_timestamp);
}

/// Nothing here keeps a store from starting: the index is a hint.
void Index::State::open_file(const DirectoryEntry& entry, bool last_exit_ok,
                             std::int64_t checkpoint_timestamp) {
  const std::string path = options.directory + "/" + entry.name;
  if (entry.is_directory || !is_index_name(entry.name)) return;
  const auto remove = [&](std::string_view why) {
    if (auto done = env.files.remove(path); done)
      env.log.info("index file removed, {}: {}", why, path);
    else
      env.log.warn("index file not removed, {}: {}", why, done.error().detail);
  };
  if (entry.size == 0) return remove("its creation did not get far");
  auto file = IndexFile::open(env.files, path, format(), Access::kWrite);
  if (!file) {
    // A short one after an unclean exit never was synced, unless it is of another configuration.
    if (!last_exit_ok && file.error().code == Errc::kMalformed &&
        entry.size < format().file_bytes() && !was_durable(path, checkpoint_timestamp))
      return remove("half of it was lost at an unclean exit");
    env.log.warn("index file left alone: {}", file.error().detail);
    return;
  }
  if (!last_exit_ok && !is_vouched_for(**file, checkpoint_timestamp))
    return remove("newer than the checkpoint after an unclean exit");
  files.push_back(*std::move(file));
}

Result<Ok> Index::load(bool last_exit_ok, std::int64_t checkpoint_index_timestamp) {
  State& s = *state_;
  auto entries = s.env.files.list(s.options.directory);
  if (!entries) {
    if (entries.error().code == Errc::kNotFound) return Ok{};
    return entries.error();
  }
  for (const DirectoryEntry& entry : *entries)
    s.open_file(entry, last_exit_ok, checkpoint_index_timestamp);
  if (s.files.empty()) return Ok{};
  const IndexFileHeader last = s.files.back()->header();
  s.indexed_until = last.end_physical_offset;
  // After a clean exit the last record has all of its keys: it is not to come twice when the
  // dispatcher begins with it. After another exit some of its keys may have been in a file that is
  // gone now.
  if (last_exit_ok && last.next_unit > 1) ++s.indexed_until;
  if (!s.files.back()->full()) s.writer = s.files.back();
  // Java syncs the last file at its end without telling the checkpoint.
  for (const auto& file : s.files)
    if (file->full() && file->header().end_timestamp > checkpoint_index_timestamp)
      s.sync_later(file);
  return Ok{};
}

void Index::log_ends_at(std::int64_t max_physical_offset) {
  state_->indexed_until = std::min(state_->indexed_until, max_physical_offset);
}

void Index::put(const IndexEntry& entry) {
  State& s = *state_;
  if (entry.physical_offset < s.indexed_until) return;
  if ((entry.sys_flag & protocol::sys_flag::kTransactionMask) == protocol::sys_flag::kRollback)
    return;
  if (!entry.unique_key.empty()) s.put_hash(entry, index_hash(entry.topic, entry.unique_key));
  protocol::for_each_key(
      entry.keys, [&](std::string_view key) { s.put_hash(entry, index_hash(entry.topic, key)); });
  if (!entry.tags.empty()) s.put_hash(entry, tag_index_hash(entry.topic, entry.tags));
}

void Index::State::put_hash(const IndexEntry& entry, std::int32_t hash) {
  if (stopped && env.clock.now() < retry_at) {
    ++unindexed;
    return;
  }
  auto done = writer ? Result<Ok>{Ok{}} : begin_file();
  if (done) done = writer->put(hash, entry.physical_offset, entry.store_timestamp);
  if (!done) return stop_writing(done.error());
  indexed_until = std::max(indexed_until, entry.physical_offset);
  if (std::exchange(stopped, false))
    env.log.info("index is written again: keys left out={}", std::exchange(unindexed, 0));
  if (writer->full()) sync_later(std::exchange(writer, nullptr));
}

/// Makes a new file the one to write.
Result<Ok> Index::State::begin_file() {
  const Files known = snapshot();
  const auto path_of = [&](const std::string& name) { return options.directory + "/" + name; };
  // Names have to grow, even when the clock is set back or two files are made in a millisecond.
  std::string name = name_for(env.clock.wall_ms());
  if (!known.empty()) {
    const std::string& path = known.back()->path();
    const std::string previous = path.substr(path.rfind('/') + 1);
    if (name <= previous) name = fmt::format("{:017}", std::stoll(previous) + 1);
  }
  while (env.files.stat(path_of(name))) name = fmt::format("{:017}", std::stoll(name) + 1);
  if (auto done = env.files.create_directories(options.directory); !done) return done;
  auto created = IndexFile::create(env.files, path_of(name), format(),
                                   known.empty() ? IndexFileHeader{} : known.back()->header());
  if (!created) return created.error();
  std::lock_guard lock{mutex};
  writer = files.emplace_back(*std::move(created));
  return Ok{};
}

void Index::State::stop_writing(const Error& error) {
  if (!stopped)
    env.log.error("index stops, messages cannot be found by key: {}; next try every {} s",
                  error.detail, kRetryAfter.count());
  stopped = true;
  ++unindexed;
  retry_at = env.clock.now() + kRetryAfter;
}

void Index::State::sync_later(std::shared_ptr<IndexFile> file) {
  {
    std::lock_guard lock{mutex};
    to_sync.push_back(std::move(file));
    if (syncing) return;
    syncing = true;
  }
  env.workers.post([this] { sync_full_files(); });
}

void Index::State::sync_full_files() {
  for (;;) {
    std::shared_ptr<IndexFile> file;
    bool failed_before = false;
    {
      std::lock_guard lock{mutex};
      if (to_sync.empty()) {
        syncing = false;
        synced.notify_all();  // under the lock: close() may destroy this as soon as it is free
        return;
      }
      file = std::move(to_sync.front());
      to_sync.pop_front();
      failed_before = sync_failed;
    }
    auto done = file->sync();
    if (done) done = sync_names();
    if (done) map_for_reading(file);
    if (!done) {
      env.log.error("index file may be lost at a crash: {}", done.error().detail);
      std::lock_guard lock{mutex};
      sync_failed = true;
    } else if (!failed_before && options.on_file_durable) {
      options.on_file_durable(file->header().end_timestamp);
    }
  }
}

/// `file` is full and on disk: from now on a page of it that the disk cannot read is one of zeros,
/// which leads nowhere.
void Index::State::map_for_reading(const std::shared_ptr<IndexFile>& file) {
  auto anew = IndexFile::open(env.files, file->path(), format(), Access::kWrite);
  if (!anew) return;  // it has expired, or stays as it is until the next start
  std::shared_ptr<IndexFile> same = *std::move(anew);
  std::lock_guard lock{mutex};
  std::ranges::replace(files, file, same);
}

/// Makes the files' names durable and the directory's own, which this index may have created.
Result<Ok> Index::State::sync_names() {
  if (auto done = env.files.sync_directory(options.directory); !done) return done;
  const std::size_t slash = options.directory.rfind('/');
  if (slash == std::string::npos) return Ok{};
  return env.files.sync_directory(options.directory.substr(0, slash));
}

IndexAnswer Index::query(std::string_view topic, std::string_view key, std::int32_t max,
                         std::int64_t begin_ms, std::int64_t end_ms) const {
  return state_->query(index_hash(topic, key), max, begin_ms, end_ms);
}

IndexAnswer Index::query_tag(std::string_view topic, std::string_view tag, std::int32_t max,
                             std::int64_t begin_ms, std::int64_t end_ms) const {
  return state_->query(tag_index_hash(topic, tag), max, begin_ms, end_ms);
}

IndexAnswer Index::State::query(std::int32_t hash, std::int32_t max, std::int64_t begin_ms,
                                std::int64_t end_ms) const {
  IndexAnswer answer;
  const Files known = snapshot();
  if (known.empty()) return answer;
  answer.last = end_of(known.back()->header());
  const auto wanted = static_cast<std::size_t>(std::max(max, 0));
  // IndexService.queryOffset: newest file first, back to the one that begins before the range.
  for (auto it = known.rbegin(); it != known.rend(); ++it) {
    const IndexFileHeader header = (*it)->header();
    if (header.begin_timestamp <= end_ms && header.end_timestamp >= begin_ms)
      (*it)->find(hash, wanted, begin_ms, end_ms, answer.physical_offsets);
    if (header.begin_timestamp < begin_ms || answer.physical_offsets.size() >= wanted) break;
  }
  return answer;
}

IndexPosition Index::last() const {
  std::lock_guard lock{state_->mutex};
  return state_->files.empty() ? IndexPosition{} : end_of(state_->files.back()->header());
}

std::size_t Index::file_count() const {
  std::lock_guard lock{state_->mutex};
  return state_->files.size();
}

void Index::State::remove_from_disk(const Files& gone) {
  for (const auto& file : gone) {
    if (auto done = env.files.remove(file->path()); done)
      env.log.info("index file removed: {}", file->path());
    else
      env.log.warn("index file not removed: {}", done.error().detail);
  }
}

void Index::remove_before(std::int64_t min_physical_offset) {
  State::Files gone;
  {
    std::lock_guard lock{state_->mutex};
    auto& files = state_->files;
    while (files.size() > 1 && files.front()->header().end_physical_offset < min_physical_offset) {
      gone.push_back(std::move(files.front()));
      files.erase(files.begin());
    }
  }
  state_->remove_from_disk(gone);
}

void Index::remove_all() {
  State::Files gone;
  {
    std::lock_guard lock{state_->mutex};
    gone.swap(state_->files);
  }
  state_->remove_from_disk(gone);
  state_->writer.reset();
  state_->indexed_until = 0;
}

Result<Ok> Index::close() {
  State& s = *state_;
  std::shared_ptr<IndexFile> last;
  {
    std::unique_lock lock{s.mutex};
    if (std::exchange(s.closed, true)) return Ok{};
    s.synced.wait(lock, [&] { return !s.syncing; });
    if (s.files.empty()) return Ok{};
    last = s.files.back();
  }
  if (!last->full())
    if (auto done = last->sync(); !done) return done;
  return s.sync_names();
}

}  // namespace apogee::store
