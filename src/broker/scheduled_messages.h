#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/env.h"
#include "protocol/bodies.h"
#include "store/message_store.h"

namespace apogee::broker {

/// The delays behind DELAY levels 1, 2, ...: messageDelayLevel.
class DelayLevels {
 public:
  /// kInvalidArgument names the part that is not a number with a unit s, m, h or d.
  static Result<DelayLevels> parse(std::string_view text);
  std::int32_t highest() const { return static_cast<std::int32_t>(delays_ms_.size()); }
  /// When a message stored at `store_timestamp` is due. An unknown level waits a second, as in
  /// Java.
  std::int64_t deliver_time(std::int32_t level, std::int64_t store_timestamp) const {
    const bool known = level >= 1 && level <= highest();
    return store_timestamp + (known ? delays_ms_[static_cast<std::size_t>(level - 1)] : 1'000);
  }
  std::int64_t delay_ms(std::int32_t level) const { return deliver_time(level, 0); }

 private:
  std::vector<std::int64_t> delays_ms_;
};

/// Messages that wait a fixed time in SCHEDULE_TOPIC_XXXX, one queue a level, and then go to their
/// real topic (ScheduleMessageService). Progress is config/delayOffset.json: after a crash some are
/// delivered again, none is lost. Threads: delivery runs on the workers, one run at a time;
/// offsets() and persist() any.
class ScheduledMessages {
 public:
  ScheduledMessages(Env& env, store::MessageStore& store, const DelayLevels& levels,
                    std::string path, std::int64_t version_step, std::int32_t flush_interval_ms);
  ~ScheduledMessages();

  Result<Ok> load();
  void start();
  void stop();  ///< After return nothing is delivered; offsets are on disk.
  /// Delivers what is due now; returns how many.
  std::size_t deliver_due();
  protocol::DelayOffsetTable offsets() const;
  Result<Ok> persist();

 private:
  std::size_t deliver_level(std::int32_t level);
  bool deliver(Bytes record);

  Env& env_;
  store::MessageStore& store_;
  const DelayLevels& levels_;
  const std::string path_;
  const std::int64_t version_step_;
  const std::int32_t flush_interval_ms_;
  std::mutex deliver_mutex_;
  mutable std::mutex mutex_;
  protocol::DelayOffsetTable table_;  // guarded by mutex_
  std::int64_t deliveries_ = 0;       // guarded by mutex_
  bool dirty_ = false;                // guarded by mutex_
  std::unique_ptr<Periodic> delivery_, flush_;
};

}  // namespace apogee::broker
