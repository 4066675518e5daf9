#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/clock.h"

/// Work that calls the program's functions, or is not to be begun after the end. Whoever does it
/// holds a pass.
///
/// Threads: any. Passes may outlive the gate.
namespace apogee::client {

class Gate {
 public:
  using Pass = std::shared_ptr<const void>;

  /// Null: closed, do not begin.
  Pass enter() {
    std::lock_guard lock{state_->mutex};
    if (state_->closed) return nullptr;
    ++state_->inside;
    return {state_.get(), [state = state_](const void*) { state->leave(); }};
  }

  /// No more passes. `last` runs once, when the last one is given back: here if there is none.
  /// Later calls do nothing.
  void close(std::function<void()> last) {
    {
      std::lock_guard lock{state_->mutex};
      if (state_->closed) return;
      state_->closed = true;
      state_->last.push_back(std::move(last));
      ++state_->inside;  // ours, so that `last` runs outside the lock in any case
    }
    state_->leave();
  }
  /// Behind what close() was given; here if that has run.
  void when_over(std::function<void()> work) {
    {
      std::lock_guard lock{state_->mutex};
      if (!state_->over) {
        state_->last.push_back(std::move(work));
        return;
      }
    }
    work();
  }
  bool closed() const {
    std::lock_guard lock{state_->mutex};
    return state_->closed;
  }

  /// Until `last` has run; false: not within the limit.
  bool wait(Clock::Duration limit) {
    std::unique_lock lock{state_->mutex};
    return state_->changed.wait_for(lock, limit, [&] { return state_->over; });
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    std::size_t inside = 0;
    bool closed = false, over = false;
    std::vector<std::function<void()>> last;

    void leave() {
      std::unique_lock lock{mutex};
      if (--inside > 0 || !closed) return;
      while (!last.empty()) {
        auto run = std::exchange(last, {});
        lock.unlock();
        for (const auto& each : run) each();
        run.clear();
        lock.lock();
      }
      over = true;
      changed.notify_all();
    }
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace apogee::client
