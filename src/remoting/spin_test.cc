#include "remoting/spin.h"

#include <gtest/gtest.h>

namespace apogee::remoting {
namespace {

/// How often of `times` it was tried, if trying finds something whenever `there` says so.
template <class There>
int tried(Spin& spin, int times, There there) {
  int count = 0;
  for (int i = 0; i < times; ++i) {
    if (!spin.is_worth_it()) continue;
    ++count;
    spin.tell(there(i));
  }
  return count;
}

TEST(Spin, GoesOnAsLongAsItFindsSomethingEveryOtherTime) {
  Spin spin;
  EXPECT_EQ(tried(spin, 1'000, [](int) { return true; }), 1'000);
  EXPECT_EQ(tried(spin, 1'000, [](int i) { return i % 2 == 0; }), 1'000);
  EXPECT_EQ(tried(spin, 7, [](int) { return false; }), 7) << "a pause does not end it";
  EXPECT_EQ(tried(spin, 1'000, [](int i) { return i % 2 == 0; }), 1'000);
}

TEST(Spin, IsGivenUpWhereItFindsNothing) {
  Spin spin;
  EXPECT_LE(tried(spin, 6'400, [](int) { return false; }), 1 + 8 + 100);
  EXPECT_LE(tried(spin, 6'400, [](int i) { return i % 4 == 0; }), 200) << "nor every fourth time";
}

TEST(Spin, IsFoundOutToBeWorthItAgain) {
  Spin spin;
  tried(spin, 10'000, [](int) { return false; });
  EXPECT_GE(tried(spin, 2'000, [](int) { return true; }), 1'000);
}

}  // namespace
}  // namespace apogee::remoting
