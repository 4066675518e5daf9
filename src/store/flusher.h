#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "store/checkpoint.h"
#include "store/commit_log.h"

namespace apogee::store {

/// Brings the log to disk: every so often, or (SYNC_FLUSH) as soon as somebody waits, one sync for
/// all who do. Threads: one flush thread; every member from any thread. What waits is answered on
/// the flush thread or, when it is late, on the clock's. A failed sync is never retried into
/// success: from then on waiters are refused and broken() says why.
class Flusher {
 public:
  Flusher(Env& env, const Live<StoreConfig>& config, CommitLog& log, Checkpoint& checkpoint,
          StoreEvents& events);
  ~Flusher();
  void start(std::int64_t flushed_offset);
  void stop();  ///< Flushes what is there, ends the thread.

  /// `advanced` runs on the flush thread each time more of the log is durable.
  void set_advanced(std::function<void()> advanced) { advanced_ = std::move(advanced); }
  void when_durable(std::int64_t offset, std::function<void(PutStatus)> done);
  /// Each time, from any thread: is it time to write back what is new? The system then never has so
  /// much to write that a sync, or whoever needs a page, waits long.
  void log_has_grown() {
    if (log_.end_offset() - written_back_.load(std::memory_order_relaxed) >= kWriteBackBytes &&
        !write_back_wanted_.exchange(true, std::memory_order_relaxed))
      ask();
  }
  std::int64_t flushed_offset() const { return flushed_.load(std::memory_order_acquire); }
  bool broken() const { return broken_.load(std::memory_order_acquire); }
  std::string broken_because() const;

 private:
  struct Waiter {
    std::int64_t offset;
    Clock::Instant deadline;
    std::function<void(PutStatus)> done;
  };
  static constexpr std::int64_t kWriteBackBytes = 8 << 20;
  void run();
  void ask();
  void start_writeback();
  Result<Ok> flush();
  void complete();
  void expire();
  bool is_due(Clock::Instant now) const;

  Env& env_;
  const Live<StoreConfig>& config_;
  CommitLog& log_;
  Checkpoint& checkpoint_;
  StoreEvents& events_;
  std::function<void()> advanced_;
  std::atomic<std::int64_t> flushed_{0};
  std::atomic<bool> broken_{false};
  std::atomic<std::int64_t> written_back_{0};  // the system was asked to write up to here
  std::atomic<bool> write_back_wanted_{false};
  mutable std::mutex mutex_;
  std::condition_variable wanted_;
  std::vector<Waiter> waiters_;  // mutex
  std::string broken_because_;   // mutex
  bool stopping_ = false;        // mutex
  Clock::Instant last_flush_{};  // flush thread
  InlineExecutor on_clock_;      // waits end in time whatever the workers wait for
  std::unique_ptr<Periodic> expiry_;
  std::thread thread_;
};

}  // namespace apogee::store
