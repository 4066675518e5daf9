#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/log.h"

namespace apogee::store {

/// The damaged places of the log that were met since the start, by readers and by the scrub: each
/// is told once and counted once, however often it is met. Threads: any.
class Damages {
 public:
  explicit Damages(Logger& log) : log_{log} {}

  /// `file`, `position`: where it stands. `what`: what is wrong, and whose message it was.
  void tell(const std::string& file, std::int64_t position, std::string_view what);
  std::int64_t count() const { return count_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::size_t kToldMax = 10'000;
  Logger& log_;
  std::atomic<std::int64_t> count_{0};
  std::mutex mutex_;
  std::set<std::pair<std::string, std::int64_t>> told_;  // guarded by mutex_
};

}  // namespace apogee::store
