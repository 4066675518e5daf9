#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

namespace apogee {

/// Counts of values in few classes: up to each bound, and beyond the last. The bounds are the
/// owner's, the same at every call.
/// Threads: one.
template <std::size_t kBounds>
struct ClassCounts {
  std::array<std::uint64_t, kBounds + 1> counts{};
  double sum = 0;

  void add(std::int64_t value, const std::array<std::int64_t, kBounds>& bounds) {
    const auto at = std::ranges::lower_bound(bounds, value) - bounds.begin();
    ++counts[static_cast<std::size_t>(at)];
    sum += static_cast<double>(value);
  }
};

/// Counts of values from 0 to 2^40, exact to one part in 64: 64 steps to every power of two.
/// Threads: one; merge() those of several.
class Histogram {
 public:
  void record(std::uint64_t value, std::uint64_t times = 1) {
    counts_[index_of(value)] += times;
    count_ += times;
    sum_ += value * times;
    max_ = std::max(max_, value);
  }
  void merge(const Histogram& other) {
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    count_ += other.count_;
    sum_ += other.sum_;
    max_ = std::max(max_, other.max_);
  }
  std::uint64_t count() const { return count_; }
  std::uint64_t max() const { return max_; }
  double mean() const {
    return count_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(count_);
  }
  /// The smallest value that `part` (0..1) of all values do not exceed; 0 without values.
  std::uint64_t quantile(double part) const {
    const auto wanted =
        static_cast<std::uint64_t>(std::llround(static_cast<double>(count_) * part));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen >= std::max<std::uint64_t>(wanted, 1)) return std::min(highest_of(i), max_);
    }
    return max_;
  }

 private:
  static constexpr unsigned kStepBits = 6, kPowers = 35;
  static std::size_t index_of(std::uint64_t value) {
    if (value < (1U << kStepBits)) return static_cast<std::size_t>(value);
    const unsigned power = static_cast<unsigned>(std::bit_width(value)) - kStepBits -
                           1;  // value >> power has kStepBits + 1 bits
    const std::size_t index =
        (std::size_t{power} + 1) * (1U << kStepBits) + ((value >> power) & ((1U << kStepBits) - 1));
    return std::min(index, kBuckets - 1);
  }
  static std::uint64_t highest_of(std::size_t index) {
    if (index < (1U << kStepBits)) return index;
    const unsigned power = static_cast<unsigned>(index >> kStepBits) - 1;
    const std::uint64_t step = (index & ((1U << kStepBits) - 1)) | (1U << kStepBits);
    return ((step + 1) << power) - 1;
  }
  static constexpr std::size_t kBuckets = (kPowers + 1) << kStepBits;

  std::array<std::uint64_t, kBuckets> counts_{};
  std::uint64_t count_ = 0, sum_ = 0, max_ = 0;
};

}  // namespace apogee
