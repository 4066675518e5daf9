#include "base/log.h"

#include <algorithm>

#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace apogee {
namespace {

constexpr std::size_t kFileBytes =
    64 << 20;  // ten of them: what an operator of Apache's broker is used to
constexpr std::size_t kFiles = 10;

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

/// What would end a line or steer a terminal: names that others choose are logged.
bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && c != '\t') || byte == 0x7f;
}

std::string escaped(std::string_view line) {
  std::string text;
  for (const char each : line) {
    if (each == '\n')
      text += "\\n";
    else if (is_control(each))
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(each));
    else
      text += each;
  }
  return text;
}

class SpdLogger final : public Logger {
 public:
  SpdLogger(const std::string& path, LogLevel level) {
    spdlog::sink_ptr sink;
    if (path.empty())
      sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    else
      sink = std::make_shared<spdlog::sinks::rotating_file_sink_mt>(path, kFileBytes, kFiles);
    logger_ = std::make_unique<spdlog::logger>("apogee", std::move(sink));
    logger_->set_pattern("%Y-%m-%d %H:%M:%S.%e %-5l %v");
    logger_->set_level(level_of(level));
    logger_->flush_on(spdlog::level::info);
  }
  bool enabled(LogLevel level) const override { return logger_->should_log(level_of(level)); }
  void write(LogLevel level, std::string_view line) override {
    std::string clean;
    if (std::any_of(line.begin(), line.end(), is_control)) line = clean = escaped(line);
    logger_->log(level_of(level), spdlog::string_view_t{line.data(), line.size()});
  }

 private:
  std::unique_ptr<spdlog::logger> logger_;
};

class SilentLogger final : public Logger {
 public:
  bool enabled(LogLevel) const override { return false; }
  void write(LogLevel, std::string_view) override {}
};

}  // namespace

std::unique_ptr<Logger> make_logger(const std::string& path, LogLevel level) {
  return std::make_unique<SpdLogger>(path, level);
}
std::unique_ptr<Logger> make_silent_logger() {
  return std::make_unique<SilentLogger>();
}

}  // namespace apogee
