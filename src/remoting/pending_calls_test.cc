#include "remoting/pending_calls.h"

#include <algorithm>
#include <map>
#include <random>

#include <gtest/gtest.h>

namespace apogee::remoting {
namespace {

/// Beside a plain map: what is asked of both must be the same.
TEST(PendingCalls, AreWhatAMapOfThemWouldBe) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random{seed};
    PendingCalls calls;
    std::map<std::int32_t, Clock::Instant> expected;
    std::int32_t told = 0;
    auto next = static_cast<std::uint32_t>(0x7FFF'FFFF - seed);  // over the end of int32
    for (int step = 0; step < 2'000; ++step) {
      const auto kind = random() % 100;
      if (kind < 52 || expected.empty()) {
        const Clock::Instant deadline{std::chrono::milliseconds{random() % 1'000}};
        const auto number = static_cast<std::int32_t>(next++);
        expected[number] = deadline;
        calls.insert({number, deadline, [&told, number](const auto&) { told = number; }});
      } else if (kind < 98) {
        // Mostly the oldest, as a broker answers; some wait long.
        auto at = expected.begin();
        std::advance(
            at, static_cast<std::ptrdiff_t>(random() % std::min<std::size_t>(expected.size(), 8)));
        auto done = calls.take(at->first);
        ASSERT_TRUE(done);
        done(Error{Errc::kTimeout, {}});
        ASSERT_EQ(told, at->first);
        EXPECT_FALSE(calls.take(at->first));
        expected.erase(at);
      } else {
        const Clock::Instant now{std::chrono::milliseconds{random() % 40}};
        EXPECT_EQ(calls.take_late(now).size(),
                  std::erase_if(expected, [&](const auto& each) { return each.second <= now; }));
      }
      ASSERT_EQ(calls.size(), expected.size());
    }
    EXPECT_EQ(calls.take_all().size(), expected.size());
    EXPECT_EQ(calls.size(), 0U);
  }
}

TEST(PendingCalls, FindACallThatTenThousandLaterOnesHavePassed) {
  PendingCalls calls;
  const auto call = [](std::int32_t opaque) {
    return Call{opaque, Clock::Instant{}, [](const auto&) {}};
  };
  calls.insert(call(7));
  for (std::int32_t opaque = 8; opaque < 10'000; ++opaque) {
    calls.insert(call(opaque));
    EXPECT_TRUE(calls.take(opaque));
  }
  EXPECT_TRUE(calls.take(7));
  EXPECT_EQ(calls.size(), 0U);
}

}  // namespace
}  // namespace apogee::remoting
