#include "base/histogram.h"

#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace apogee {
namespace {

TEST(Histogram, FindsQuantilesToOnePartIn64) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937_64 random{seed};
    Histogram histogram;
    std::vector<std::uint64_t> values;
    for (int i = 0; i < 5'000; ++i) {
      values.push_back(random() >> (24 + random() % 39));
      histogram.record(values.back());
    }
    std::sort(values.begin(), values.end());
    for (const double part : {0.01, 0.5, 0.9, 0.99, 0.999}) {
      const auto exact =
          static_cast<double>(values[static_cast<std::size_t>(part * 5'000 + 0.5) - 1]);
      EXPECT_NEAR(static_cast<double>(histogram.quantile(part)), exact, exact / 60 + 1) << part;
    }
    EXPECT_EQ(histogram.quantile(1), values.back());
    EXPECT_EQ(histogram.max(), values.back());
  }
}

TEST(Histogram, IsEmptyAtFirst) {
  const Histogram histogram;
  EXPECT_EQ(histogram.count(), 0U);
  EXPECT_EQ(histogram.quantile(0.99), 0U);
}

}  // namespace
}  // namespace apogee
