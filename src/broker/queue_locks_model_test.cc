#include <map>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "broker/queue_locks.h"
#include "testing/manual_clock.h"

/// Queue locks against a list of leases, over random clients and a clock moved by hand. Above all:
/// at no time do two clients of a group both have reason to believe that a queue is theirs.
namespace apogee::broker {
namespace {

class LockModel {
 public:
  explicit LockModel(std::uint64_t seed) : random_{seed} {}

  void run() {
    for (int step = 0; step < 400 && !::testing::Test::HasFailure(); ++step) {
      switch (below(10)) {
        case 0:
          locks_.drop_expired();
          break;
        case 1:
        case 2:
          unlock();
          break;
        case 3:
        case 4:
          // Often to the very end of a lock's life, or a little beyond.
          clock_.advance(below(3) == 0 ? QueueLocks::kLifetime
                                       : std::chrono::milliseconds{below(30'000) + 1});
          break;
        default:
          lock();
      }
      check();
    }
  }

 private:
  using Queue = std::pair<std::string, std::string>;  // group, topic
  struct Lease {
    std::string client;
    Clock::Instant until;
  };

  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  std::string one_of(const char* what, std::uint64_t count) {
    return what + std::to_string(below(count));
  }
  bool holds(const Lease& lease) const { return clock_.now() <= lease.until; }

  void lock() {
    const Queue queue{one_of("group", 2), one_of("topic", 3)};
    const std::string client = one_of("client", 3);
    const auto lease = leases_.find(queue);
    const bool free =
        lease == leases_.end() || lease->second.client == client || !holds(lease->second);
    EXPECT_EQ(locks_.try_lock(queue.first, client, queue.second, "broker", 0), free);
    if (free) leases_[queue] = {client, clock_.now() + QueueLocks::kLifetime};
  }

  void unlock() {
    const Queue queue{one_of("group", 2), one_of("topic", 3)};
    const std::string client = one_of("client", 3);
    locks_.unlock(queue.first, client, queue.second, "broker", 0);
    const auto lease = leases_.find(queue);
    if (lease != leases_.end() && lease->second.client == client) leases_.erase(lease);
  }

  void check() {
    std::size_t unexpired = 0;
    std::set<std::string> groups;
    for (const auto& [queue, lease] : leases_) {
      if (!holds(lease)) continue;
      ++unexpired;
      groups.insert(queue.first);
    }
    for (const char* group : {"group0", "group1"})
      EXPECT_EQ(locks_.any_held(group), groups.contains(group)) << group;
    EXPECT_GE(locks_.size(), unexpired);
    EXPECT_LE(locks_.size(), leases_.size());
  }

  std::mt19937_64 random_;
  testing::ManualClock clock_;
  QueueLocks locks_{clock_};
  std::map<Queue, Lease> leases_;
};

TEST(QueueLocksModel, GiveAQueueToOneClientAtATime) {
  for (std::uint64_t seed = 0; seed < 500 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    LockModel{seed}.run();
  }
}

}  // namespace
}  // namespace apogee::broker
