#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "base/clock.h"

namespace apogee::embedded {

/// The real time plus what it was moved on by. Timed tasks run on the real clock's thread.
/// Threads: any.
class MovableClock final : public Clock {
 public:
  explicit MovableClock(std::unique_ptr<Clock> real) : real_{std::move(real)} {}
  Instant now() const override;
  std::int64_t wall_ms() const override;
  TimerId run_at(Instant when, std::function<void()> task) override;
  void cancel(TimerId timer) override;

  void advance(Duration by);

 private:
  struct Task {
    Instant when;
    std::function<void()> run;
  };
  void ring_at(Instant when, TimerId timer);  // mutex_ is held
  void fire(TimerId timer);

  mutable std::mutex mutex_;
  std::condition_variable done_;
  Duration moved_{0};                  // guarded by mutex_
  std::map<TimerId, Task> tasks_;      // guarded by mutex_
  TimerId last_id_ = 0;                // guarded by mutex_
  TimerId running_ = 0;                // guarded by mutex_; one at a time: the real clock's thread
  std::thread::id runner_;             // guarded by mutex_
  const std::unique_ptr<Clock> real_;  // last, so that its thread has ended before the rest goes
};

}  // namespace apogee::embedded
