#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <tuple>

#include "base/clock.h"

/// Which client of a consumer group holds which queue: orderly consumption (LOCK_BATCH_MQ).
///
/// Threads: every member from any thread; one mutex, held for a few map operations. Nothing blocks.
/// In memory only: after a restart clients lock again (RebalanceLockManager).
namespace apogee::broker {

class QueueLocks {
 public:
  /// Older than this without a renewal, a lock is free (rocketmq.broker.rebalance.lockMaxLiveTime).
  static constexpr Clock::Duration kLifetime = 60s;
  /// A client may not make the table grow without bound: queues one group may hold.
  static constexpr std::size_t kQueuesPerGroupMax = 100'000;

  explicit QueueLocks(const Clock& clock) : clock_{clock} {}

  /// Takes or renews the lock; false: another client holds it.
  bool try_lock(std::string_view group, std::string_view client_id, std::string_view topic,
                std::string_view broker_name, std::int32_t queue_id);
  /// Only the holder's unlock has an effect.
  void unlock(std::string_view group, std::string_view client_id, std::string_view topic,
              std::string_view broker_name, std::int32_t queue_id);
  /// Does any client of the group hold an unexpired lock, i.e. does the group consume orderly?
  bool any_held(std::string_view group) const;
  /// Forgets expired locks and empty groups.
  void drop_expired();
  std::size_t size() const;

 private:
  struct Queue {
    std::string topic, broker_name;
    std::int32_t queue_id = 0;
    auto operator<=>(const Queue&) const = default;
  };
  struct Lock {
    std::string client_id;
    Clock::Instant renewed;
  };
  bool expired(const Lock& lock) const { return clock_.now() - lock.renewed > kLifetime; }

  const Clock& clock_;
  mutable std::mutex mutex_;
  std::map<std::string, std::map<Queue, Lock>, std::less<>> groups_;  // guarded by mutex_
};

}  // namespace apogee::broker
