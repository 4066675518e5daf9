#include "store/commit_log.h"

#include <algorithm>

#include "base/thread_name.h"
#include "protocol/message.h"
#include "protocol/record_crc.h"

namespace apogee::store {
namespace {

namespace at = protocol::record_at;

constexpr std::int64_t kGapMax = 64;  // missing files that are made up for

std::int64_t steady_ms(Clock::Instant at) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(at.time_since_epoch()).count();
}

/// Prepared and rolled-back halves of old logs take no place in a queue (CommitLog.doAppend).
bool takes_queue_offset(std::int32_t flags) {
  const std::int32_t type = flags & protocol::sys_flag::kTransactionMask;
  return type == 0 || type == protocol::sys_flag::kCommit;
}

}  // namespace

CommitLog::CommitLog(Env& env, const StoreConfig& config, std::string directory,
                     StoreEvents& events)
    : env_{env},
      config_{config},
      directory_{std::move(directory)},
      segment_bytes_{static_cast<std::size_t>(config.commit_log_file_bytes)},
      events_{events},
      read_ahead_{config.read_ahead} {}

CommitLog::~CommitLog() {
  stop();
}

Result<Ok> CommitLog::load() {
  if (auto made = env_.files.create_directories(directory_); !made) return made;
  // It may be elsewhere, or deep below the root, whose own name is synced already.
  if (directory_.substr(0, directory_.rfind('/')) != config_.root)
    if (auto named = sync_names_above(env_.files, directory_); !named) return named;
  if (auto named = env_.files.sync_directory(config_.root); !named) return named;
  auto entries = env_.files.list(directory_);
  if (!entries) return entries.error();
  std::vector<DirectoryEntry> found;
  for (DirectoryEntry& entry : *entries) {
    if (!entry.is_directory && base_of_segment_name(entry.name) >= 0)
      found.push_back(std::move(entry));
  }
  const auto bytes = static_cast<std::int64_t>(segment_bytes_);
  for (const DirectoryEntry& entry : found) {
    const std::string path = directory_ + "/" + entry.name;
    const std::int64_t base = base_of_segment_name(entry.name);
    if (entry.size > segment_bytes_ || base % bytes != 0) {
      return Error{Errc::kMalformed,
                   path + " has " + std::to_string(entry.size) +
                       " bytes, mappedFileSizeCommitLog says " + std::to_string(segment_bytes_) +
                       "; set mappedFileSizeCommitLog to the size this store was made with"};
    }
    if (auto filled = fill_gap(base); !filled) return filled;
    // A power cut, or damage: recovery finds out by what stands behind it.
    if (entry.size < segment_bytes_)
      env_.log.warn("a commit log file is too short, extended with zeros: file={} bytes={} to={}",
                    path, entry.size, segment_bytes_);
    if (auto opened = open_last(base); !opened) return opened;
  }
  if (!segments_.empty()) end_ = segments_.back()->end();
  return Ok{};
}

Result<std::shared_ptr<Segment>> CommitLog::open_segment(std::int64_t base) {
  auto segment = Segment::open(env_.files, path_of(base), base, segment_bytes_);
  if (segment && !read_ahead_.load()) (*segment)->read_ahead(false);
  return segment;
}

void CommitLog::read_ahead(bool ahead) {
  read_ahead_ = ahead;
  for (const auto& segment : segments()) segment->read_ahead(ahead);
  std::lock_guard lock{prepare_mutex_};
  if (prepared_) prepared_->read_ahead(ahead);
}

Result<Ok> CommitLog::open_last(std::int64_t base) {
  auto segment = open_segment(base);
  if (!segment) return segment.error();
  (*segment)->set_written(segment_bytes_);  // recovery finds the true end
  segments_.push_back(*std::move(segment));
  return Ok{};
}

/// Files that are missing before `base` become zeros: what is before and behind them is served.
Result<Ok> CommitLog::fill_gap(std::int64_t base) {
  if (segments_.empty()) return Ok{};
  const std::int64_t missing =
      (base - segments_.back()->end()) / static_cast<std::int64_t>(segment_bytes_);
  if (missing > kGapMax) {
    return Error{
        Errc::kMalformed,
        path_of(base) + ": the " + std::to_string(missing) +
            " commit log files before it are missing, the last one that is there ends at " +
            std::to_string(segments_.back()->end()) +
            "; bring them back, or move what is before or behind the gap away"};
  }
  while (segments_.back()->end() < base) {
    const std::int64_t gap = segments_.back()->end();
    env_.log.error("a commit log file is missing, zeros take its place: file={}", path_of(gap));
    if (auto opened = open_last(gap); !opened) return opened;
  }
  return Ok{};
}

/// The last file first, and each for good before the next: a power cut leaves no hole.
Result<Ok> CommitLog::remove_last(const std::string& path) {
  if (auto removed = env_.files.remove(path); !removed) return removed;
  return env_.files.sync_directory(directory_);
}

Result<Ok> CommitLog::set_end(std::int64_t offset) {
  std::unique_lock lock{segments_mutex_};
  while (!segments_.empty() && segments_.back()->base() >= offset && segments_.size() > 1) {
    if (auto removed = remove_last(segments_.back()->path()); !removed) return removed;
    segments_.pop_back();
  }
  if (!segments_.empty()) {
    Segment& last = *segments_.back();
    const auto position = static_cast<std::size_t>(
        std::clamp<std::int64_t>(offset - last.base(), 0, static_cast<std::int64_t>(last.size())));
    if (position < last.size()) {
      if (auto cut = last.truncate(position); !cut) return cut;
      // Mapped anew: a page behind the end that could not be read is one of zeros in the old
      // mapping, whatever is written there from now on.
      auto anew = open_segment(last.base());
      if (!anew) return anew.error();
      (*anew)->set_written(position);
      segments_.back() = *std::move(anew);
    } else {
      last.set_written(position);
    }
  }
  end_ = offset;
  return Ok{};
}

void CommitLog::start() {
  {
    std::lock_guard lock{prepare_mutex_};
    prepare_base_ = segments_.empty() ? 0 : segments_.back()->end();
  }
  prepare_thread_ = std::thread{[this] {
    name_this_thread("prepare");
    prepare();
  }};
}

void CommitLog::stop() {
  {
    std::lock_guard lock{prepare_mutex_};
    stopping_ = true;
  }
  prepare_wanted_.notify_all();
  if (prepare_thread_.joinable()) prepare_thread_.join();
  if (prepared_) {
    const std::string path = prepared_->path();
    prepared_.reset();
    if (auto removed = env_.files.remove(path); !removed)
      env_.log.warn("an unused segment stays: {}", removed.error().detail);
  }
}

/// The prepare thread: makes the segment that will be needed next.
void CommitLog::prepare() {
  std::unique_lock lock{prepare_mutex_};
  for (;;) {
    prepare_wanted_.wait(lock, [&] { return stopping_ || (prepare_base_ >= 0 && !prepared_); });
    if (stopping_) return;
    const std::int64_t base = prepare_base_;
    lock.unlock();
    auto segment = open_segment(base);
    Result<Ok> named = segment ? env_.files.sync_directory(directory_) : segment.error();
    lock.lock();
    if (!named) {
      env_.log.error("cannot prepare the next segment: {}", named.error().detail);
      prepare_wanted_.wait_for(lock, 1s, [&] { return stopping_; });
      continue;
    }
    if (prepare_base_ == base) {
      prepared_ = *std::move(segment);
      prepare_base_ = -1;
    }
  }
}

/// Append lock. The next segment becomes the last one; made here if the prepare thread was too
/// slow.
Result<Ok> CommitLog::roll(std::shared_ptr<Segment>& current) {
  const std::int64_t base = current ? current->end()
                                    : end_.load(std::memory_order_relaxed) /
                                          static_cast<std::int64_t>(segment_bytes_) *
                                          static_cast<std::int64_t>(segment_bytes_);
  std::shared_ptr<Segment> next;
  {
    std::lock_guard lock{prepare_mutex_};
    if (prepared_ && prepared_->base() == base) next = std::move(prepared_);
    prepared_.reset();
    prepare_base_ = base + static_cast<std::int64_t>(segment_bytes_);
  }
  prepare_wanted_.notify_one();
  if (!next) {
    auto made = open_segment(base);
    if (!made) return made.error();
    // Slow under the lock, but a message in a file without a durable name would not survive a power
    // cut.
    if (auto named = env_.files.sync_directory(directory_); !named) return named;
    next = *std::move(made);
  }
  std::unique_lock lock{segments_mutex_};
  segments_.push_back(next);
  current = std::move(next);
  return Ok{};
}

/// Patches the records of one entry for their place in the log and gives out the queue offsets.
void CommitLog::place(const Slot& slot, std::int64_t offset) {
  Append& append = *slot.append;
  ConsumeQueue& queue = *slot.queue;
  const std::int64_t now = last_timestamp_.load(std::memory_order_relaxed);
  append.physical_offset = offset;
  append.store_timestamp = now;
  append.queue_offset = queue.next_offset;
  append.physical_offsets.clear();
  for (const OffsetText& text : slot.texts) fill_in(text, append.records, append.queue_offset);
  MutableBytes rest = append.records;
  for (std::int32_t i = 0; i < append.count; ++i) {
    const auto size = static_cast<std::size_t>(read_big<std::int32_t>(rest, at::kSize));
    const auto flags = read_big<std::int32_t>(rest, at::kSysFlag);
    const bool takes = takes_queue_offset(flags);
    write_big<std::int64_t>(rest, at::kQueueOffset, takes ? queue.next_offset : 0);
    write_big<std::int64_t>(rest, at::kPhysicalOffset, offset);
    write_big<std::int64_t>(rest, at::store_timestamp(flags), now);
    if (takes) queue.next_offset += append.queue_offset_step;
    if (config_.append_record_crc) protocol::fill_in_record_crc(rest.first(size));
    if (append.count > 1) append.physical_offsets.push_back(offset);
    offset += static_cast<std::int64_t>(size);
    rest = rest.subspan(size);
  }
}

/// Nothing of it is in the log: the next one gets its offsets.
void CommitLog::take_back(const Slot& slot) {
  slot.queue->next_offset = slot.append->queue_offset;
  for (const OffsetText& text : slot.texts)
    if (text.lmq) --text.lmq->next_offset;
}

void CommitLog::append(std::span<Slot> batch, Clock::Duration patience) {
  StoreEvents::Appended times;
  const auto asked = env_.clock.now();
  // A disk that stands holds up one thread, and not all that serve others.
  if (!append_mutex_.lock_within(patience)) {
    for (const Slot& slot : batch) slot.append->status = PutStatus::kPageCacheBusy;
    return;
  }
  {
    std::lock_guard lock{append_mutex_, std::adopt_lock};
    const auto began = env_.clock.now();
    lock_since_ms_.store(steady_ms(began), std::memory_order_relaxed);
    append_locked(batch, times.write);
    lock_since_ms_.store(0, std::memory_order_relaxed);
    times.lock_wait = began - asked;
    times.lock_held = env_.clock.now() - began;
  }
  events_.on_appended(times);
}

bool CommitLog::between_appends(Clock::Duration patience, const std::function<void()>& act) {
  if (!append_mutex_.lock_within(patience)) return false;
  std::lock_guard lock{append_mutex_, std::adopt_lock};
  act();
  return true;
}

/// One of its queues was taken away since it was looked up. The next one of that name begins anew.
bool CommitLog::is_closed(const Slot& slot) {
  return slot.queue->is_closed || std::ranges::any_of(slot.texts, [](const OffsetText& text) {
           return text.lmq && text.lmq->is_closed;
         });
}

void CommitLog::tell(const Result<Ok>& done) {
  if (done) {
    if (const auto before = refusals_.end(); before > 0)
      env_.log.info("appending again: refused_before={}", before);
  } else if (const auto times = refusals_.count(env_.clock.now())) {
    env_.log.error("append failed, sends are refused: {} times={}", done.error().detail, *times);
  }
}

/// Append lock. Adds the time of its writes to `write`.
void CommitLog::append_locked(std::span<Slot> batch, Clock::Duration& write) {
  // Never lower than the last one: recovery and search by time rely on the order (Java lets a
  // stepping clock break it).
  last_timestamp_.store(
      std::max(env_.clock.wall_ms(), last_timestamp_.load(std::memory_order_relaxed)),
      std::memory_order_relaxed);

  std::shared_ptr<Segment> current;
  {
    std::shared_lock segments_lock{segments_mutex_};
    if (!segments_.empty()) current = segments_.back();
  }
  pieces_.clear();
  std::size_t pending = 0;          // bytes in pieces_
  std::size_t first_unwritten = 0;  // entries [first_unwritten, i) are in pieces_
  const auto write_out = [&](std::size_t end) {
    if (pending == 0) return;
    const auto began = env_.clock.now();
    auto done = current->append(pieces_, pending);
    write += env_.clock.now() - began;
    for (std::size_t i = end; i-- > first_unwritten;) {
      Append& append = *batch[i].append;
      if (append.physical_offset < 0) continue;
      append.status = done ? PutStatus::kOk : PutStatus::kServiceNotAvailable;
      if (!done) take_back(batch[i]);
    }
    if (!done && current->written() > 0) spoiled_ = true;
    tell(done);
    if (done)
      end_.store(current->base() + static_cast<std::int64_t>(current->written()),
                 std::memory_order_release);
    pieces_.clear();
    pending = 0;
    first_unwritten = end;
  };

  for (std::size_t i = 0; i < batch.size(); ++i) {
    Append& append = *batch[i].append;
    append.physical_offset = -1;
    const std::size_t size = append.records.size();
    if (size + protocol::kBlankRecordBytes > segment_bytes_) {
      append.status = PutStatus::kMessageIllegal;
      continue;
    }
    if (is_closed(batch[i])) {
      append.status = PutStatus::kServiceNotAvailable;
      continue;
    }
    std::size_t position = current ? current->written() + pending : segment_bytes_;
    if (!current || spoiled_ || position + size + protocol::kBlankRecordBytes > segment_bytes_) {
      if (current && position < segment_bytes_) {
        blank_.clear();
        append_big<std::int32_t>(blank_, static_cast<std::int32_t>(segment_bytes_ - position));
        append_big<std::int32_t>(blank_, protocol::kMagicBlank);
        pieces_.push_back(as_bytes(blank_));
        pending += blank_.size();
        write_out(i);
        if (current->written() == position + blank_.size()) {
          current->set_written(segment_bytes_);  // the whole rest belongs to the blank record
          end_.store(current->end(), std::memory_order_release);
        }
      }
      if (current && current->written() < segment_bytes_) {  // the disk refused the blank record
        append.status = PutStatus::kServiceNotAvailable;
        continue;
      }
      if (auto rolled = roll(current); !rolled) {
        tell(rolled);
        append.status = PutStatus::kCreateFileFailed;
        continue;
      }
      spoiled_ = false;
      position = 0;
      first_unwritten = i;
    }
    place(batch[i], current->base() + static_cast<std::int64_t>(position));
    pieces_.push_back(append.records);
    pending += size;
  }
  write_out(batch.size());
}

std::int64_t CommitLog::lock_held_ms() const {
  const std::int64_t since = lock_since_ms_.load(std::memory_order_relaxed);
  return since == 0 ? 0 : std::max<std::int64_t>(steady_ms(env_.clock.now()) - since, 0);
}

std::int64_t CommitLog::min_offset() const {
  std::shared_lock lock{segments_mutex_};
  return segments_.empty() ? -1 : segments_.front()->base();
}

std::shared_ptr<Segment> CommitLog::segment_of(std::int64_t offset) const {
  std::shared_lock lock{segments_mutex_};
  if (segments_.empty() || offset < segments_.front()->base() || offset >= segments_.back()->end())
    return nullptr;
  return segments_[static_cast<std::size_t>((offset - segments_.front()->base()) /
                                            static_cast<std::int64_t>(segment_bytes_))];
}

std::vector<std::shared_ptr<Segment>> CommitLog::segments() const {
  std::shared_lock lock{segments_mutex_};
  return {segments_.begin(), segments_.end()};
}

Result<Ok> CommitLog::remove_first(std::int64_t base_offset) {
  std::shared_ptr<Segment> first;
  {
    std::unique_lock lock{segments_mutex_};
    if (segments_.size() < 2 || segments_.front()->base() != base_offset)
      return Error{Errc::kNotFound, "segment " + std::to_string(base_offset) + " is not the first"};
    first = segments_.front();
    segments_.pop_front();
  }
  // Readers that hold it keep their mapping; the name goes now.
  if (auto removed = env_.files.remove(first->path()); !removed) return removed;
  if (segment_bytes_ > kReleaseBytes) removed_.push_back({std::move(first), segment_bytes_});
  return Ok{};
}

bool CommitLog::release_some() {
  const auto unread = std::ranges::find_if(
      removed_, [](const Removed& each) { return each.segment.use_count() == 1; });
  if (unread == removed_.end()) return false;
  unread->bytes -= std::min(unread->bytes, kReleaseBytes);
  if (unread->bytes == 0 || !unread->segment->cut(unread->bytes)) removed_.erase(unread);
  return true;
}

}  // namespace apogee::store
