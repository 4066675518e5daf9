#include "embedded/movable_clock.h"

#include <gtest/gtest.h>

#include "testing/manual_clock.h"

namespace apogee::embedded {
namespace {

struct MovableClockTest : ::testing::Test {
  std::unique_ptr<testing::ManualClock> owned = std::make_unique<testing::ManualClock>();
  testing::ManualClock& real = *owned;
  MovableClock clock{std::move(owned)};
  int runs = 0;
};

TEST_F(MovableClockTest, IsAheadOfTheRealOneByWhatItWasMoved) {
  clock.advance(1h);
  clock.advance(1ms);
  EXPECT_EQ(clock.now() - real.now(), 1h + 1ms);
  EXPECT_EQ(clock.wall_ms() - real.wall_ms(), 3'600'001);
}

TEST_F(MovableClockTest, RunsATaskOnceWhenTimeComesByItself) {
  clock.run_after(10s, [&] { ++runs; });
  real.advance(9s);
  EXPECT_EQ(runs, 0);
  real.advance(1s);
  EXPECT_EQ(runs, 1);
}

TEST_F(MovableClockTest, RunsATaskOnceWhenTimeIsMovedPastIt) {
  clock.run_after(10s, [&] { ++runs; });
  clock.advance(11s);
  real.advance(0s);
  EXPECT_EQ(runs, 1);
  real.advance(1min);  // where the task was before
  EXPECT_EQ(runs, 1);
}

TEST_F(MovableClockTest, BringsATaskNearerByTheDistanceItMoved) {
  clock.run_after(10s, [&] { ++runs; });
  clock.advance(4s);
  real.advance(5s);
  EXPECT_EQ(runs, 0);
  real.advance(1s);
  EXPECT_EQ(runs, 1);
}

TEST_F(MovableClockTest, DoesNotRunWhatWasCancelled) {
  const auto timer = clock.run_after(10s, [&] { ++runs; });
  clock.advance(1s);
  clock.cancel(timer);
  real.advance(1min);
  EXPECT_EQ(runs, 0);
}

TEST_F(MovableClockTest, LetsATaskCancelItself) {
  Clock::TimerId timer = 0;
  timer = clock.run_after(1s, [&] {
    clock.cancel(timer);
    ++runs;
  });
  real.advance(1s);
  EXPECT_EQ(runs, 1);
}

}  // namespace
}  // namespace apogee::embedded
