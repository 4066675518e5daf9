#pragma once

#include <coroutine>
#include <exception>

/// The smallest coroutine there is: it begins at once, and nobody waits for it. Any other type will
/// do.
struct Task {
  struct promise_type {
    Task get_return_object() { return {}; }
    std::suspend_never initial_suspend() { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};
