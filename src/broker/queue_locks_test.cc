#include "broker/queue_locks.h"

#include <random>

#include <gtest/gtest.h>

#include "testing/manual_clock.h"

namespace apogee::broker {
namespace {

class QueueLocksOfAGroup : public ::testing::Test {
 protected:
  bool lock(std::string_view client, std::int32_t queue = 0) {
    return locks_.try_lock("g", client, "t", "broker-a", queue);
  }
  void unlock(std::string_view client, std::int32_t queue = 0) {
    locks_.unlock("g", client, "t", "broker-a", queue);
  }
  testing::ManualClock clock_;
  QueueLocks locks_{clock_};
};

TEST_F(QueueLocksOfAGroup, BelongToTheFirstClientThatAsks) {
  EXPECT_TRUE(lock("a"));
  EXPECT_FALSE(lock("b"));
  EXPECT_TRUE(lock("a"));
  EXPECT_TRUE(lock("b", 1));
  EXPECT_TRUE(locks_.try_lock("other group", "b", "t", "broker-a", 0));
}

TEST_F(QueueLocksOfAGroup, ExpireAfterAMinuteWithoutRenewal) {
  ASSERT_TRUE(lock("a"));
  clock_.advance(59s);
  ASSERT_TRUE(lock("a"));
  clock_.advance(60s);
  EXPECT_FALSE(lock("b"));
  EXPECT_TRUE(locks_.any_held("g"));
  clock_.advance(1ms);
  EXPECT_FALSE(locks_.any_held("g"));
  EXPECT_TRUE(lock("b"));
  EXPECT_FALSE(lock("a"));
}

TEST_F(QueueLocksOfAGroup, AreGivenBackByTheirHolderOnly) {
  ASSERT_TRUE(lock("a"));
  unlock("b");
  EXPECT_FALSE(lock("b"));
  unlock("a");
  EXPECT_FALSE(locks_.any_held("g"));
  EXPECT_TRUE(lock("b"));
}

TEST_F(QueueLocksOfAGroup, LeaveNothingBehindOnceExpired) {
  for (int queue = 0; queue < 10; ++queue) lock("a", queue);
  clock_.advance(61s);
  lock("a", 3);
  locks_.drop_expired();
  EXPECT_EQ(locks_.size(), 1u);
  unlock("a", 3);
  EXPECT_EQ(locks_.size(), 0u);
}

TEST_F(QueueLocksOfAGroup, NeverHaveTwoHolders) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937_64 random{seed};
    testing::ManualClock clock;
    QueueLocks locks{clock};
    std::map<int, std::pair<std::string, Clock::Instant>> holders;
    for (int step = 0; step < 2'000; ++step) {
      const int queue = static_cast<int>(random() % 3);
      const std::string client(1, static_cast<char>('a' + random() % 3));
      const auto holder = holders.find(queue);
      const bool free = holder == holders.end() || holder->second.first == client ||
                        clock.now() - holder->second.second > 60s;
      if (random() % 5 == 0) {
        locks.unlock("g", client, "t", "b", queue);
        if (holder != holders.end() && holder->second.first == client) holders.erase(holder);
      } else {
        ASSERT_EQ(locks.try_lock("g", client, "t", "b", queue), free);
        if (free) holders[queue] = {client, clock.now()};
      }
      clock.advance(std::chrono::seconds{random() % 30});
    }
  }
}

}  // namespace
}  // namespace apogee::broker
