#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "broker/revive_log.h"

/// Follows the revive topic, knows from it what is invisible, and stores what was not acked in time
/// in its group's retry topic (PopReviveService). popping.h states the invariant this is part of.
///
/// What is in memory is a fold over the revive topic from the committed offset of
/// CID_RMQ_SYS_REVIVE_GROUP on (which, as in Java, is the last record that is settled), so a
/// restart needs nothing else. The committed offset stays before the oldest check point that is not
/// settled; one that stays long is carried over, as an equal record, to the end of its queue.
///
/// Threads: run() on a worker (or the test's thread), one at a time; lag(), is_full() and
/// outstanding() any.
namespace apogee::broker {

class Revive {
 public:
  /// An ack that was sent in time but is read late still counts for so long.
  static constexpr std::int64_t kGraceMs = 500;
  /// The same for check points that came through the timer: so do their acks, a second later.
  static constexpr std::int64_t kTimerGraceMs = 3'000;
  /// Check points kept in memory; beyond it pops find nothing.
  static constexpr std::size_t kOutstandingMax = 1'000'000;
  /// Acks kept of what the broker before this one gave out and the timer still has; oldest go
  /// first.
  static constexpr std::size_t kEarlyMax = 16'384;
  /// Records a queue may have behind its oldest check point, beside four a check point.
  static constexpr std::int64_t kSpanMax = 65'536;

  Revive(Context& context, const SendSettings& sending, ReviveLog& log);
  Revive(const Revive&) = delete;

  void start();
  void stop();  ///< After return nothing comes back any more.
  /// Reads what is new and brings back what is due; returns how many messages came back.
  std::size_t run();

  /// How far a revive queue is behind: records from the oldest that is not settled on, and for how
  /// long that should have been.
  struct Lag {
    std::int64_t records = 0, ms = 0;
  };
  std::map<std::int32_t, Lag> lag() const;
  bool is_full() const { return outstanding() >= kOutstandingMax; }
  std::size_t outstanding() const { return outstanding_.load(std::memory_order_relaxed); }

 private:
  struct Point {
    protocol::CheckPoint what;
    std::uint32_t open = 0;  // bit i: message i is neither acked nor back
    std::int64_t due = 0;    // with grace; pushed back when the store refuses
    bool copied = false;     // carried over, by a record that is not read yet
  };
  using Points = std::map<std::int64_t, Point>;  // by offset in the revive queue
  struct Queue {
    std::int64_t next = -1;  // of the next record to read; -1: not begun
    Points points;
    std::unordered_multimap<std::string, std::int64_t> by_key;
    std::set<std::pair<std::int64_t, std::int64_t>> by_due;  // due, offset
    std::deque<protocol::Ack> early;              // of check points that may still be in the timer
    std::map<std::int64_t, std::int64_t> copies;  // not read yet, and what each is a copy of
  };
  /// One message on its way back.
  struct Return {
    std::int64_t point;  // its check point's offset in the revive queue
    std::int32_t index;
    std::string topic;
    Buffer record;
    store::Append append;
  };
  /// What became of the open messages of the points that are due.
  struct Round {
    std::deque<Return> returns;                        // entries are pointed at
    std::map<std::int64_t, std::uint32_t> settled;     // by point: bits that are done
    std::map<std::int64_t, std::uint32_t> unreadable;  // by point: to be tried much later
    std::size_t bytes = 0;
  };

  void begin(std::int32_t id, Queue& queue);
  bool read(std::int32_t id, Queue& queue);
  void apply(std::int32_t id, Queue& queue, const protocol::Message& record);
  void add(Queue& queue, std::int64_t offset, protocol::CheckPoint what, std::int64_t grace_ms);
  void acked(Queue& queue, protocol::Ack ack, std::int64_t offset);
  static std::uint32_t bits_of(const protocol::CheckPoint& what, const protocol::Ack& ack);
  void settle(Queue& queue, Points::iterator point, std::uint32_t bits);
  void erase(Queue& queue, Points::iterator point);
  std::size_t bring_back(std::int32_t id, Queue& queue, std::int64_t now_ms);
  void collect(Point& point, std::int64_t offset, Round& round);
  bool is_wanted(const protocol::CheckPoint& what) const;
  std::optional<Return> return_of(const protocol::CheckPoint& what,
                                  const protocol::Message& original);
  bool store_returns(Round& round);
  void put_again(std::int32_t id, Queue& queue, Round& round);
  void record_settled(std::int32_t id, Queue& queue, const Round& round);
  void carry_over(std::int32_t id, Queue& queue);
  void commit(std::int32_t id, Queue& queue);

  Context& context_;
  const SendSettings& sending_;
  ReviveLog& log_;
  const std::int64_t began_ms_;
  std::mutex run_mutex_;
  std::map<std::int32_t, Queue> queues_;  // guarded by run_mutex_
  bool refused_ = false;                  // guarded by run_mutex_: so that it is said once
  std::atomic<std::size_t> outstanding_{0};
  mutable std::mutex oldest_mutex_;
  std::map<std::int32_t, std::int64_t> oldest_due_;  // guarded by oldest_mutex_; by revive queue
  std::atomic<bool> stopping_{false};
  std::unique_ptr<Periodic> periodic_;
};

}  // namespace apogee::broker
