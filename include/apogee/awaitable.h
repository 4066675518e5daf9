#pragma once

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
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> caller) {
    start_([this, caller](Result<T> result) {
      result_ = std::move(result);
      caller.resume();
    });
  }
  Result<T> await_resume() { return *std::move(result_); }

  /// Instead of co_await, for adapters to what is no coroutine. This must live until `done`.
  void start(std::function<void(Result<T>)> done) { start_(std::move(done)); }

 private:
  Start start_;
  std::optional<Result<T>> result_;
};

}  // namespace apogee
