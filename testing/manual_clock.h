#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>

#include "base/clock.h"

namespace apogee::testing {

/// A clock the test moves. advance() runs what comes due, in order of time, on the calling thread.
/// Threads: any; tasks run inside advance() only.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(std::int64_t wall_ms = 1'700'000'000'000) : wall_start_{wall_ms} {}

  Instant now() const override {
    std::lock_guard lock{mutex_};
    return now_;
  }
  std::int64_t wall_ms() const override {
    std::lock_guard lock{mutex_};
    return wall_start_ +
           std::chrono::duration_cast<std::chrono::milliseconds>(now_ - kStart).count();
  }
  TimerId run_at(Instant when, std::function<void()> task) override {
    std::lock_guard lock{mutex_};
    timers_.emplace(std::pair{when, ++last_id_}, std::move(task));
    return last_id_;
  }
  void cancel(TimerId timer) override {
    std::lock_guard lock{mutex_};
    for (auto at = timers_.begin(); at != timers_.end(); ++at) {
      if (at->first.second == timer) {
        timers_.erase(at);
        return;
      }
    }
  }

  void advance(Duration by) {
    std::unique_lock lock{mutex_};
    const Instant end = now_ + by;
    while (!timers_.empty() && timers_.begin()->first.first <= end) {
      now_ = std::max(now_, timers_.begin()->first.first);
      auto task = std::move(timers_.begin()->second);
      timers_.erase(timers_.begin());
      lock.unlock();
      task();
      lock.lock();
    }
    now_ = end;
  }
  /// Somebody sets the wall clock; now() goes on.
  void set_wall_ms(std::int64_t wall_ms) {
    std::lock_guard lock{mutex_};
    wall_start_ =
        wall_ms - std::chrono::duration_cast<std::chrono::milliseconds>(now_ - kStart).count();
  }
  std::size_t pending() const {
    std::lock_guard lock{mutex_};
    return timers_.size();
  }
  /// When the next task comes due.
  std::optional<Instant> next_due() const {
    std::lock_guard lock{mutex_};
    if (timers_.empty()) return std::nullopt;
    return timers_.begin()->first.first;
  }

 private:
  static constexpr Instant kStart{std::chrono::hours{1}};
  mutable std::mutex mutex_;
  Instant now_ = kStart;
  std::int64_t wall_start_;  // guarded by mutex_
  std::map<std::pair<Instant, TimerId>, std::function<void()>> timers_;
  TimerId last_id_ = 0;
};

}  // namespace apogee::testing
