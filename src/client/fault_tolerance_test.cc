#include "client/fault_tolerance.h"

#include <set>

#include <gtest/gtest.h>

#include "testing/manual_clock.h"

namespace apogee::client {
namespace {

struct FaultToleranceTest : ::testing::Test {
  testing::ManualClock clock;
  FaultTolerance on{clock, {.avoid_slow_brokers = true, .detect = true}};
  FaultTolerance off{clock, {}};
  const std::vector<MessageQueue> queues{
      {"t", "a", 0}, {"t", "a", 1}, {"t", "b", 0}, {"t", "b", 1}};
  std::uint32_t at = 0;
};

TEST_F(FaultToleranceTest, LeavesABrokerAloneByHowSlowItWas) {
  const std::pair<int, int> table[] = {{49, 0},          {50, 0},          {100, 0},
                                       {549, 0},         {550, 2'000},     {1'799, 2'000},
                                       {1'800, 5'000},   {3'000, 6'000},   {5'000, 10'000},
                                       {14'999, 10'000}, {15'000, 30'000}, {600'000, 30'000}};
  for (const auto& [latency, pause] : table)
    EXPECT_EQ(on.pause_after(std::chrono::milliseconds{latency}).count(), pause) << latency;
}

TEST_F(FaultToleranceTest, TheStepsAreTheProgramsIfItGivesSome) {
  FaultTolerance own{clock,
                     {.avoid_slow_brokers = true, .steps = {{10ms, 100ms}, {20ms, 1'000ms}}}};
  EXPECT_EQ(own.pause_after(9ms), 0ms);
  EXPECT_EQ(own.pause_after(10ms), 100ms);
  EXPECT_EQ(own.pause_after(10s), 1'000ms);
}

TEST_F(FaultToleranceTest, TakesABrokerBackWhenItsTimeIsOver) {
  on.update("a", 600ms, false, true);
  EXPECT_FALSE(on.available("a"));
  EXPECT_TRUE(on.reachable("a"));
  clock.advance(1'999ms);
  EXPECT_FALSE(on.available("a"));
  clock.advance(1ms);
  EXPECT_TRUE(on.available("a"));
}

TEST_F(FaultToleranceTest, CountsAFailureAsTenSeconds) {
  on.update("a", 1ms, true, false);
  EXPECT_FALSE(on.reachable("a"));
  clock.advance(9'999ms);
  EXPECT_FALSE(on.available("a"));
  clock.advance(1ms);
  EXPECT_TRUE(on.available("a"));
}

TEST_F(FaultToleranceTest, TrustsABrokerItNeverHeardOf) {
  EXPECT_TRUE(on.available("new"));
  EXPECT_TRUE(on.reachable("new"));
}

TEST_F(FaultToleranceTest, GoesRoundTheQueues) {
  for (int round = 0; round < 2; ++round)
    for (const MessageQueue& expected : queues) EXPECT_EQ(off.choose(queues, at, ""), expected);
}

TEST_F(FaultToleranceTest, AvoidsTheBrokerThatFailedLastEvenWhileOff) {
  for (int i = 0; i < 10; ++i) EXPECT_EQ(off.choose(queues, at, "a").broker, "b");
  const std::vector<MessageQueue> alone{{"t", "a", 0}};
  EXPECT_EQ(off.choose(alone, at, "a").broker, "a");
}

TEST_F(FaultToleranceTest, PrefersAvailableThenReachableThenAny) {
  on.update("a", 600ms, false, true);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(on.choose(queues, at, "").broker, "b");
  on.update("b", 1ms, true, false);  // b is worse now: not even reachable
  for (int i = 0; i < 6; ++i) EXPECT_EQ(on.choose(queues, at, "").broker, "a");
  on.update("a", 1ms, true, false);
  std::set<std::string> seen;
  for (int i = 0; i < 8; ++i) seen.insert(on.choose(queues, at, "").broker);
  EXPECT_EQ(seen.size(), 2U);  // all are bad: round robin
}

TEST_F(FaultToleranceTest, KeepsNoTableWhileOff) {
  off.update("a", 1min, true, false);
  EXPECT_TRUE(off.available("a"));
  EXPECT_TRUE(off.due_for_probe(2s).empty());
}

TEST_F(FaultToleranceTest, ABrokerThatAnswersAProbeIsReachableButLeftAloneForItsTime) {
  on.update("a", 1ms, true, false);
  on.answered_a_probe("a");
  EXPECT_TRUE(on.reachable("a"));
  EXPECT_FALSE(on.available("a"));
  for (int i = 0; i < 6; ++i) EXPECT_EQ(on.choose(queues, at, "").broker, "b");
  on.update("b", 1ms, true, false);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(on.choose(queues, at, "").broker, "a");
  clock.advance(10s);
  EXPECT_TRUE(on.available("a"));
  on.answered_a_probe("c");
  on.forget("a");
  EXPECT_TRUE(on.reachable("c"));
}

TEST_F(FaultToleranceTest, ProbesEachBrokerOnceAnInterval) {
  on.update("a", 1ms, true, false);
  EXPECT_EQ(on.due_for_probe(2s), (std::vector<std::string>{"a"}));
  EXPECT_TRUE(on.due_for_probe(2s).empty());
  clock.advance(2s);
  EXPECT_EQ(on.due_for_probe(2s).size(), 1U);
  on.forget("a");
  clock.advance(2s);
  EXPECT_TRUE(on.due_for_probe(2s).empty());
  EXPECT_TRUE(on.available("a"));
}

}  // namespace
}  // namespace apogee::client
