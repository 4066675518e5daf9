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
/// all who do. Threads: one flush thread; every member from any thread. A failed sync is never
/// retried into success: from then on waiters are refused and broken() says why.
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
  std::int64_t flushed_offset() const { return flushed_.load(std::memory_order_acquire); }
  bool broken() const { return broken_.load(std::memory_order_acquire); }
  std::string broken_because() const;

 private:
  struct Waiter {
    std::int64_t offset;
    Clock::Instant deadline;
    std::function<void(PutStatus)> done;
  };
  void run();
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
  mutable std::mutex mutex_;
  std::condition_variable wanted_;
  std::vector<Waiter> waiters_;  // mutex
  std::string broken_because_;   // mutex
  bool stopping_ = false;        // mutex
  Clock::Instant last_flush_{};  // flush thread
  std::unique_ptr<Periodic> expiry_;
  std::thread thread_;
};

}  // namespace apogee::store
