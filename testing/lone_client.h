#pragma once

// For tests only: a client on a network inside this thread, under a clock that is moved by hand.

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "client/instance.h"
#include "testing/manual_clock.h"
#include "testing/network.h"
#include "testing/recording_logger.h"

namespace apogee::client {

class LoneClient : public ::testing::Test {
 protected:
  static constexpr const char* kClient = "10.0.0.9";

  /// Nothing runs while something waits here: the streams to `machines` end first.
  void end_client(const std::vector<std::string>& machines) {
    for (const std::string& each : machines) network_.cut(kClient, each);
    network_.run();
    if (instance_) instance_->shutdown();
  }
  Instance& start_client(ClientConfig config) {
    instance_ = *Instance::start(env_, nullptr, std::move(config));
    network_.run();
    return *instance_;
  }

  testing::ManualClock clock_;
  testing::Network network_{clock_};
  InlineExecutor workers_;
  Random random_{1};
  std::unique_ptr<FileSystem> files_ = make_posix_files();
  testing::RecordingLogger log_;
  Env env_{clock_, *files_, network_.machine(kClient), workers_, random_, log_};
  std::shared_ptr<Instance> instance_;
};

}  // namespace apogee::client
