#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "apogee/message.h"
#include "base/clock.h"

/// The messages of one queue that were pulled and are not done yet (Java's ProcessQueue). What is
/// done may be committed up to the first that is not.
///
/// Threads: any; one mutex. Owned by the table of its consumer and by whatever is under way with
/// its messages: `dropped` tells those that the queue is somebody else's by now.
namespace apogee::client {

using MessagePtr = std::shared_ptr<ReceivedMessage>;
/// What one pull brought. Messages keep all of it alive.
using Pulled = std::shared_ptr<std::vector<ReceivedMessage>>;

class ProcessQueue {
 public:
  static constexpr Clock::Duration kLockLasts = 30s;     // rebalance.lockMaxLiveTime
  static constexpr Clock::Duration kPullExpires = 120s;  // client.pull.pullMaxIdleTime
  static constexpr std::int64_t kNothing = -1;

  explicit ProcessQueue(Clock& clock) : clock_{clock}, last_pull_{clock.now()} {}

  /// True: nobody consumes this queue at the moment and the caller should begin (orderly).
  bool put(const Pulled& pulled);
  /// These are done. The offset that may be committed now; kNothing: there were no messages.
  std::int64_t remove(std::span<const ReceivedMessage> done);
  bool contains(std::int64_t offset) const;
  void clear();

  // ---- Orderly: one consumer at a time takes from the front
  /// The next messages, in order; none: the consumer ends, and put() will want a new one.
  std::vector<MessagePtr> take(std::size_t count);
  /// What was taken is done. The offset to commit; kNothing: there was nothing.
  std::int64_t commit();
  void rollback();  ///< What was taken comes again.
  void consume_again(std::span<const MessagePtr> messages);

  // ---- How much is here
  struct Level {
    std::int64_t count = 0;
    std::int64_t bytes = 0;  ///< Of bodies.
    std::int64_t min_offset = 0, max_offset = 0;
    std::int64_t span() const { return count == 0 ? 0 : max_offset - min_offset; }
    std::int64_t taken_count = 0, taken_min_offset = 0, taken_max_offset = 0;
  };
  Level level() const;
  bool empty() const;

  // ---- Messages whose consumption takes too long (concurrent)
  void begin_consuming(std::span<const ReceivedMessage> messages);
  void end_consuming(std::span<const ReceivedMessage> messages);
  /// The first message, if its consumption began longer ago than that.
  MessagePtr first_older_than(Clock::Duration limit) const;

  // ---- State
  std::atomic<bool> dropped{false};
  std::atomic<bool> locked{false};  ///< By this client on the broker (orderly).
  void lock_renewed();
  bool lock_expired() const { return clock_.now() - last_lock_.load() > kLockLasts; }
  Clock::Duration since_lock() const { return clock_.now() - last_lock_.load(); }
  void pulled_now() { last_pull_ = clock_.now(); }
  bool pull_expired() const { return clock_.now() - last_pull_.load() > kPullExpires; }
  void consumed_now() { last_consume_ = clock_.now(); }
  Clock::Instant last_pull() const { return last_pull_; }
  Clock::Instant last_lock() const { return last_lock_; }
  Clock::Instant last_consume() const { return last_consume_; }
  std::atomic<std::int64_t> unlock_tries{0};

 private:
  struct Entry {
    MessagePtr message;
    std::optional<Clock::Instant> consuming_since;
  };

  Clock& clock_;
  std::atomic<Clock::Instant> last_pull_, last_lock_{Clock::Instant{}},
      last_consume_{Clock::Instant{}};

  mutable std::mutex mutex_;
  std::map<std::int64_t, Entry> messages_;
  std::map<std::int64_t, MessagePtr> taken_;
  std::int64_t bytes_ = 0;  // of both
  std::int64_t max_offset_ = 0;
  bool consuming_ = false;
};
using ProcessQueuePtr = std::shared_ptr<ProcessQueue>;

}  // namespace apogee::client
