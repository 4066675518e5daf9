#pragma once

#include <memory>

#include "base/env.h"
#include "testing/forgetful_disk.h"
#include "testing/manual_clock.h"
#include "testing/recording_logger.h"

namespace apogee::testing {

/// A network nobody answers on.
class NoTransport final : public Transport {
 public:
  Result<std::unique_ptr<Listener>> listen(const Endpoint&,
                                           std::function<void(std::unique_ptr<Stream>)>) override {
    return Error{Errc::kUnsupported, "there is no network"};
  }
  void connect(const Endpoint&, std::chrono::milliseconds,
               std::function<void(Result<std::unique_ptr<Stream>>)> done) override {
    done(Error{Errc::kUnsupported, "there is no network"});
  }
};

/// The outside world of a store under test: a manual clock, a forgetful disk, and workers that run
/// inside post(). `env` sees the disk as the process started last.
struct DiskEnv {
  ManualClock clock;
  ForgetfulDisk disk{[this] { return clock.wall_ms(); }};
  NoTransport network;
  InlineExecutor workers;
  Random random{1};
  RecordingLogger log;
  std::unique_ptr<Env> env = std::make_unique<Env>(now());

  /// After a crash or a kill: the next process. What still uses the old `env` must be gone.
  Env& restart() {
    env = std::make_unique<Env>(now());
    return *env;
  }

 private:
  Env now() { return {clock, disk.files(), network, workers, random, log}; }
};

}  // namespace apogee::testing
