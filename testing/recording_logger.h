#pragma once

#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"

namespace apogee::testing {

/// Keeps what is logged. Threads: any.
class RecordingLogger final : public Logger {
 public:
  bool enabled(LogLevel) const override { return true; }
  void write(LogLevel level, std::string_view line) override {
    std::lock_guard lock{mutex_};
    lines_.emplace_back(level, line);
  }
  /// Lines of at least this level.
  std::vector<std::string> lines(LogLevel level = LogLevel::kDebug) const {
    std::lock_guard lock{mutex_};
    std::vector<std::string> found;
    for (const auto& [each, line] : lines_)
      if (each >= level) found.push_back(line);
    return found;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::pair<LogLevel, std::string>> lines_;
};

}  // namespace apogee::testing
