#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/executor.h"

namespace apogee {

using namespace std::chrono_literals;

/// The only door to time. main() makes a SystemClock, tests a ManualClock moved by advance().
/// Threads: every member may be called from any thread. Timed tasks run on the clock's own thread
/// (SystemClock) or inside advance() (ManualClock) and must not block: slow work is handed to an
/// Executor.
class Clock {
 public:
  using Instant = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::steady_clock::duration;
  using TimerId = std::uint64_t;  ///< 0 is no timer.

  virtual ~Clock() = default;
  virtual Instant now() const = 0;  ///< Never goes back: timeouts, intervals, expiry.
  virtual std::int64_t wall_ms()
      const = 0;  ///< Unix time in ms, may jump: for what is stored or sent.
  virtual TimerId run_at(Instant when, std::function<void()> task) = 0;
  /// After return the task neither runs nor will run (unless cancel() is called from inside that
  /// very task).
  virtual void cancel(TimerId timer) = 0;

  TimerId run_after(Duration delay, std::function<void()> task) {
    return run_at(now() + delay, std::move(task));
  }
};

/// The machine's clock, with one thread for timed tasks.
std::unique_ptr<Clock> make_system_clock();

/// Runs `work` first after `first` and then every `period`, counted from the end of a run: runs
/// never overlap and a slow one delays the next. `work` runs on `executor`. The destructor waits
/// for a run in progress.
class Periodic {
 public:
  Periodic(Clock& clock, Executor& executor, Clock::Duration first, Clock::Duration period,
           std::function<void()> work);
  /// The same for work that says after each run how long to wait for the next.
  Periodic(Clock& clock, Executor& executor, Clock::Duration first,
           std::function<Clock::Duration()> work);
  ~Periodic();
  Periodic(const Periodic&) = delete;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace apogee
