#pragma once

#include <algorithm>
#include <chrono>

namespace apogee::client {

/// No wait that a program means is longer, and a deadline that far away can be counted in the
/// clock's nanoseconds; milliseconds::max() cannot.
inline constexpr std::chrono::milliseconds kTimeoutMost = std::chrono::hours{24 * 365};

/// As a program gave it: what is longer waits for a year, what is negative not at all.
constexpr std::chrono::milliseconds countable(std::chrono::milliseconds timeout) {
  return std::clamp(timeout, std::chrono::milliseconds{0}, kTimeoutMost);
}

}  // namespace apogee::client
