#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

#include "base/clock.h"

namespace apogee::store {

/// What a disk refuses again and again is told of at once, then every ten seconds: the log is often
/// on the same disk. Threads: any.
class Refusals {
 public:
  /// Another one. How many there have been, if it is time to tell.
  std::optional<std::int64_t> count(Clock::Instant now) {
    std::lock_guard lock{mutex_};
    if (count_++ > 0 && now - told_ < kPeriod) return std::nullopt;
    told_ = now;
    return count_;
  }
  /// It went well. How many there have been before.
  std::int64_t end() {
    std::lock_guard lock{mutex_};
    return std::exchange(count_, 0);
  }

 private:
  static constexpr std::chrono::seconds kPeriod{10};
  std::mutex mutex_;
  std::int64_t count_ = 0;  // mutex_
  Clock::Instant told_{};   // mutex_
};

}  // namespace apogee::store
