#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "base/transport.h"

namespace apogee::testing {

/// An io thread that runs what was posted when it is told to; who calls else is another thread.
class Turns final : public Loop {
 public:
  void post(std::function<void()> task) override { tasks_.push_back(std::move(task)); }
  bool on_this_thread() const override { return running_; }
  void run() {
    running_ = true;
    while (!tasks_.empty()) {
      const auto now = std::exchange(tasks_, {});
      for (const auto& task : now) task();
    }
    running_ = false;
  }

 private:
  std::vector<std::function<void()>> tasks_;
  bool running_ = false;
};

}  // namespace apogee::testing
