#pragma once

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>

namespace apogee {

/// Work under way on other threads that its owner must outlive. Who starts it takes a token along;
/// the owner's wait() returns when all tokens are gone.
/// Threads: enter() any; wait() one, not one that holds a token.
class InFlight {
 public:
  using Token = std::shared_ptr<const void>;
  ~InFlight() { wait(); }

  /// Keep the token for as long as the work lasts. Empty after wait(): do not begin.
  Token enter() {
    {
      std::lock_guard lock{state_->mutex};
      if (state_->closed) return nullptr;
      ++state_->count;
    }
    return {state_.get(), [state = state_](const void*) {
              std::lock_guard lock{state->mutex};
              if (--state->count == 0) state->none.notify_all();
            }};
  }
  void wait() {
    std::unique_lock lock{state_->mutex};
    state_->closed = true;
    state_->none.wait(lock, [&] { return state_->count == 0; });
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable none;
    std::size_t count = 0;  // guarded by mutex
    bool closed = false;    // guarded by mutex
  };
  std::shared_ptr<State> state_ =
      std::make_shared<State>();  // the last token may outlive the owner
};

}  // namespace apogee
