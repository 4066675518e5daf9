#include "store/flusher.h"

#include "base/thread_name.h"

namespace apogee::store {
namespace {
constexpr std::int64_t kPageBytes = 4'096;
}  // namespace

Flusher::Flusher(Env& env, const Live<StoreConfig>& config, CommitLog& log, Checkpoint& checkpoint,
                 StoreEvents& events)
    : env_{env}, config_{config}, log_{log}, checkpoint_{checkpoint}, events_{events} {}
Flusher::~Flusher() {
  stop();
}

void Flusher::start(std::int64_t flushed_offset) {
  flushed_ = flushed_offset;
  written_back_ = flushed_offset;
  last_flush_ = env_.clock.now();
  thread_ = std::thread{[this] {
    name_this_thread("flush");
    run();
  }};
  expiry_ = std::make_unique<Periodic>(env_.clock, on_clock_, 100ms, 100ms, [this] { expire(); });
}

void Flusher::stop() {
  expiry_.reset();
  {
    std::lock_guard lock{mutex_};
    stopping_ = true;
  }
  wanted_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Flusher::when_durable(std::int64_t offset, std::function<void(PutStatus)> done) {
  if (broken()) return done(PutStatus::kServiceNotAvailable);
  if (flushed_offset() >= offset) return done(PutStatus::kOk);
  std::unique_lock lock{mutex_};
  if (stopping_) {
    lock.unlock();
    return done(flushed_offset() >= offset ? PutStatus::kOk : PutStatus::kServiceNotAvailable);
  }
  const bool first = waiters_.empty();
  waiters_.push_back(
      {offset, env_.clock.now() + std::chrono::milliseconds{config_.now().sync_flush_timeout_ms},
       std::move(done)});
  lock.unlock();  // the flush thread would have to wait for it at once
  if (first) wanted_.notify_one();
}

std::string Flusher::broken_because() const {
  std::lock_guard lock{mutex_};
  return broken_because_;
}

bool Flusher::is_due(Clock::Instant now) const {
  const std::int64_t dirty = log_.end_offset() - flushed_offset();
  if (dirty <= 0) return false;
  return dirty >= config_.now().flush_least_pages * kPageBytes ||
         now - last_flush_ >= std::chrono::milliseconds{config_.now().flush_thorough_interval_ms};
}

void Flusher::run() {
  std::unique_lock lock{mutex_};
  for (;;) {
    // Real time on purpose: tests reach durability through when_durable(), which wakes this at
    // once.
    const std::chrono::milliseconds interval{config_.now().flush_interval_ms};
    const bool asked = wanted_.wait_for(lock, interval, [&] {
      return stopping_ || !waiters_.empty() || write_back_wanted_.load(std::memory_order_relaxed);
    });
    const bool stopping = stopping_;
    const bool waited_for = !waiters_.empty();
    lock.unlock();
    const std::int64_t flushed_before = flushed_offset();
    if (write_back_wanted_.exchange(false, std::memory_order_relaxed)) start_writeback();
    const auto now = env_.clock.now();
    const bool its_time = (!asked || now - last_flush_ >= interval) && is_due(now);
    if (!broken() && (waited_for || stopping || its_time)) {
      if (auto done = flush(); !done) {
        env_.log.error(
            "a sync of the commit log failed, the broker refuses messages until it is restarted: "
            "{}",
            done.error().detail);
        std::lock_guard guard{mutex_};
        broken_because_ = "a sync of the commit log failed: " + done.error().detail;
        broken_.store(true, std::memory_order_release);
      }
    }
    complete();
    if (advanced_ && flushed_offset() != flushed_before) advanced_();
    lock.lock();
    if (stopping && waiters_.empty()) return;
  }
}

Result<Ok> Flusher::flush() {
  // In this order: all that is older than the time has to be before the end.
  const std::int64_t timestamp = log_.last_store_timestamp();
  const std::int64_t end = log_.end_offset();
  const auto began = env_.clock.now();
  for (std::int64_t at = flushed_offset(); at < end;) {
    const auto segment = log_.segment_of(at);
    if (!segment && log_.min_offset() <= at) break;
    if (segment) {
      if (auto done = segment->sync(); !done) return done;
    }
    at = segment ? segment->end() : log_.min_offset();  // retention was faster
  }
  last_flush_ = env_.clock.now();
  events_.on_synced(last_flush_ - began);
  flushed_.store(end, std::memory_order_release);
  written_back_.store(end, std::memory_order_relaxed);
  checkpoint_.physical_timestamp.store(timestamp);
  return Ok{};
}

/// Of whole pages only: the last one will be written to again.
void Flusher::start_writeback() {
  const std::int64_t end = log_.end_offset() / kPageBytes * kPageBytes;
  for (std::int64_t at = std::max(written_back_.load(std::memory_order_relaxed), flushed_offset());
       at < end;) {
    const auto segment = log_.segment_of(at);
    if (!segment) break;  // retention was faster
    const std::int64_t until = std::min(end, segment->end());
    segment->start_writeback(static_cast<std::size_t>(at - segment->base()),
                             static_cast<std::size_t>(until - at));
    at = until;
  }
  written_back_.store(end, std::memory_order_relaxed);
}

void Flusher::ask() {
  {
    std::lock_guard lock{mutex_};  // else the flush thread may be between its look and its sleep
  }
  wanted_.notify_one();
}

/// Tells the waiters what the last flush has settled.
void Flusher::complete() {
  std::vector<Waiter> settled;
  {
    std::lock_guard lock{mutex_};
    const auto open = std::partition(waiters_.begin(), waiters_.end(), [&](const Waiter& waiter) {
      return !broken() && waiter.offset > flushed_offset();
    });
    settled.assign(std::make_move_iterator(open), std::make_move_iterator(waiters_.end()));
    waiters_.erase(open, waiters_.end());
  }
  for (Waiter& waiter : settled)
    waiter.done(waiter.offset <= flushed_offset() ? PutStatus::kOk
                                                  : PutStatus::kServiceNotAvailable);
}

/// On the clock's thread: nothing here blocks, nor do the waiters, as on the flush thread.
void Flusher::expire() {
  std::vector<Waiter> late;
  const auto now = env_.clock.now();
  {
    std::lock_guard lock{mutex_};
    const auto open = std::partition(waiters_.begin(), waiters_.end(),
                                     [&](const Waiter& waiter) { return waiter.deadline > now; });
    late.assign(std::make_move_iterator(open), std::make_move_iterator(waiters_.end()));
    waiters_.erase(open, waiters_.end());
  }
  for (Waiter& waiter : late) waiter.done(PutStatus::kFlushDiskTimeout);
}

}  // namespace apogee::store
