#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <fmt/core.h>

namespace apogee {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

/// Where a component says what it does. Constructors receive it; there is no global one. Any
/// thread. One line per event, `what happened: key=value key=value`, no secrets.
class Logger {
 public:
  virtual ~Logger() = default;
  virtual bool enabled(LogLevel level) const = 0;
  virtual void write(LogLevel level, std::string_view line) = 0;

  template <class... Args>
  void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(level)) write(level, fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void debug(fmt::format_string<Args...> format, Args&&... args) {
    log(LogLevel::kDebug, format, std::forward<Args>(args)...);
  }
  template <class... Args>
  void info(fmt::format_string<Args...> format, Args&&... args) {
    log(LogLevel::kInfo, format, std::forward<Args>(args)...);
  }
  template <class... Args>
  void warn(fmt::format_string<Args...> format, Args&&... args) {
    log(LogLevel::kWarn, format, std::forward<Args>(args)...);
  }
  template <class... Args>
  void error(fmt::format_string<Args...> format, Args&&... args) {
    log(LogLevel::kError, format, std::forward<Args>(args)...);
  }
};

/// To a rotating file (empty path: standard error), at `level` and above.
std::unique_ptr<Logger> make_logger(const std::string& path, LogLevel level);
/// Drops everything: tests, tools.
std::unique_ptr<Logger> make_silent_logger();

}  // namespace apogee
