#pragma once

#include <atomic>
#include <coroutine>
#include <functional>
#include <optional>
#include <utility>

#include "apogee/result.h"

namespace apogee {

/// What a call ending in _async returns: co_await it once, in any coroutine type; nothing is begun
/// before. Resumes where the form with a callback calls back: on an io thread, unless that says
/// otherwise. The coroutine's frame must live until then.
template <class T>
class Awaitable {
 public:
  using Start = std::function<void(std::function<void(Result<T>)>)>;
  explicit Awaitable(Start start) : start_{std::move(start)} {}
  Awaitable(Awaitable&& other) noexcept : start_{std::move(other.start_)} {}  // before it is begun
  bool await_ready() const noexcept { return false; }
  /// Whoever comes second goes on with the coroutine: what ends within the call, such as a send
  /// that is refused, returns to it instead of calling it, however often.
  bool await_suspend(std::coroutine_handle<> caller) {
    start_([this, caller](Result<T> result) {
      result_ = std::move(result);
      if (one_has_come_.exchange(true)) caller.resume();
    });
    return !one_has_come_.exchange(true);
  }
  Result<T> await_resume() { return *std::move(result_); }

  /// Instead of co_await, for adapters to what is no coroutine. This must live until `done`.
  void start(std::function<void(Result<T>)> done) { start_(std::move(done)); }

 private:
  Start start_;
  std::optional<Result<T>> result_;
  std::atomic<bool> one_has_come_{false};  ///< The result, or the end of await_suspend().
};

}  // namespace apogee
