#pragma once

#include <coroutine>
#include <exception>

namespace apogee::testing {

/// A coroutine that runs by itself; the test waits for what it promises.
struct Detached {
  struct promise_type {
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

}  // namespace apogee::testing
