#pragma once

#include <cstdint>
#include <mutex>
#include <random>

namespace apogee {

/// A seeded source of random numbers; the same seed gives the same numbers. Any thread.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_{seed} {}
  std::uint64_t next() {
    std::lock_guard lock{mutex_};
    return engine_();
  }
  /// 0 <= result < bound; bound > 0. The modulo's bias is below 2^-32 for bounds that fit 32 bits.
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }

 private:
  std::mutex mutex_;
  std::mt19937_64 engine_;
};

}  // namespace apogee
