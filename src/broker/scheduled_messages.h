#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/in_flight.h"
#include "broker/stats.h"
#include "protocol/bodies.h"
#include "protocol/message.h"
#include "store/message_store.h"

namespace apogee::broker {

/// The delays behind DELAY levels 1, 2, ...: messageDelayLevel.
class DelayLevels {
 public:
  /// kInvalidArgument names the part that is not a number with a unit s, m, h or d.
  static Result<DelayLevels> parse(std::string_view text);
  std::int32_t highest() const { return static_cast<std::int32_t>(delays_ms_.size()); }
  /// One beyond the last is the last.
  std::int32_t cut(std::int32_t level) const { return std::min(level, highest()); }
  /// When a message stored at `store_timestamp` is due. What is no level waits a second, as in
  /// Java.
  std::int64_t deliver_time(std::int32_t level, std::int64_t store_timestamp) const {
    const std::int64_t delay =
        level >= 1 ? delays_ms_[static_cast<std::size_t>(cut(level) - 1)] : 1'000;
    return store_timestamp + delay;
  }
  std::int64_t delay_ms(std::int32_t level) const { return deliver_time(level, 0); }

 private:
  std::vector<std::int64_t> delays_ms_;
};

/// Messages that wait a fixed time in SCHEDULE_TOPIC_XXXX, one queue a level, and then go to their
/// real topic (ScheduleMessageService). Progress is config/delayOffset.json, written only when the
/// messages it calls delivered are on disk: after a crash some are delivered again, none is lost.
/// It is written each flushDelayOffsetInterval, as by Java, and besides after each thousand
/// deliveries, so that a broker that dies again and again gets on.
///
/// Threads: delivery runs on the workers, one run at a time; offsets() any. start() and stop() by
/// the owner, who is not on a loop or a worker; stop() waits for the disk.
class ScheduledMessages {
 public:
  ScheduledMessages(Env& env, store::MessageStore& store, Stats& stats, const DelayLevels& levels,
                    std::string path, std::int64_t version_step, std::int32_t flush_interval_ms);
  ~ScheduledMessages();

  Result<Ok> load();
  void start();
  void stop();  ///< After return nothing is delivered; offsets are on disk.
  /// Delivers what is due now; returns how many.
  std::size_t deliver_due();
  protocol::DelayOffsetTable offsets() const;

 private:
  struct Delivery;
  using Deliveries = std::deque<Delivery>;  // entries are pointed at
  std::size_t deliver_level(std::int32_t level);
  std::int64_t collect(std::int32_t level, std::int64_t offset, std::int64_t end, Deliveries& due);
  std::optional<Delivery> delivery_of(const protocol::Message& message);
  std::int64_t append(std::int32_t level, Deliveries& due, std::int64_t next);
  void settle(std::int32_t level, std::int64_t next, std::int64_t settled, const Deliveries& due);
  void persist();
  bool save(const protocol::DelayOffsetTable& table);
  void saved(std::int64_t deliveries);

  Env& env_;
  store::MessageStore& store_;
  Stats& stats_;
  const DelayLevels& levels_;
  const std::string path_;
  const std::int64_t version_step_;
  const std::int32_t flush_interval_ms_;
  std::atomic<bool> stopping_{false};
  std::mutex deliver_mutex_;
  bool failing_ = false;  // guarded by deliver_mutex_: so that it is said once
  // By level, delivered though one before them was refused. Guarded by deliver_mutex_.
  std::map<std::int32_t, std::set<std::int64_t>> ahead_;
  mutable std::mutex mutex_;
  protocol::DelayOffsetTable table_;  // guarded by mutex_
  std::int64_t deliveries_ = 0;       // guarded by mutex_: since the last data version
  std::int64_t delivered_end_ = 0;    // guarded by mutex_: physical end of what was delivered
  std::int64_t unsaved_ = 0;          // guarded by mutex_: deliveries the file does not know of
  bool saving_ = false;               // guarded by mutex_: one write of the file at a time
  std::condition_variable saving_ended_;
  std::unique_ptr<Periodic> delivery_, flush_;
  InFlight in_flight_;  // the write of the file; waited for first of all
};

}  // namespace apogee::broker
