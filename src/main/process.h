#pragma once

#include <chrono>
#include <csignal>
#include <functional>
#include <memory>
#include <string>

#include "base/env.h"

namespace apogee {

/// The real sides of the seams, for one process.
class Process {
 public:
  struct Options {
    std::size_t io_threads = 0;            ///< 0: one a processor.
    std::chrono::microseconds io_spin{0};  ///< See ioSpinMicros.
    std::size_t workers = 4;
    std::string log_path;  ///< Empty: standard error.
    LogLevel log_level = LogLevel::kInfo;
  };
  explicit Process(const Options& options);
  Env& env() { return env_; }

 private:
  std::unique_ptr<Logger> log_;
  std::unique_ptr<Clock> clock_;
  std::unique_ptr<FileSystem> files_;
  std::unique_ptr<Executor> workers_;
  std::unique_ptr<Transport> network_;
  Random random_;
  Env env_;
};

/// Blocks SIGINT and SIGTERM for the threads made from now on, so that only Signals::wait() sees
/// them. Call before any thread exists.
class Signals {
 public:
  Signals();
  /// Waits for the first signal. From then on a second one ends the process at once.
  void wait();

 private:
  sigset_t set_;
};

}  // namespace apogee
