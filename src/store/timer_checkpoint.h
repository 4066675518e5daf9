#pragma once

#include <cstdint>
#include <string>

#include "base/file.h"

namespace apogee::store {

/// How far the timer is: `config/timercheck`, 4096 bytes in Java's layout (TimerCheckpoint). It may
/// lag behind the timer's other files but never run ahead of them.
struct TimerCheckpoint {
  std::int64_t read_time_ms = 0;  ///< The slot to be delivered next.
  std::int64_t log_position = 0;  ///< What the wheel knows of the timer log is on disk.
  std::int64_t queue_offset = 0;  ///< Of the timer topic: the message to be taken in next.
  std::int64_t master_queue_offset = 0;
  std::int64_t state_version = 0, timestamp = 0, counter = 0;

  Buffer encode() const;  ///< 56 bytes; also the body of GET_TIMER_CHECK_POINT.
};

/// Threads: one at a time.
class TimerCheckpointFile {
 public:
  explicit TimerCheckpointFile(FileSystem& files, std::string path)
      : files_{files}, path_{std::move(path)} {}
  Result<TimerCheckpoint> read() const;  ///< All 0 when there is none.
  /// Replaces it, durably: at every moment the old one or the new one is there. kIo: which of them
  /// is not known.
  Result<Ok> write(const TimerCheckpoint& checkpoint) const;

 private:
  FileSystem& files_;
  const std::string path_;
};

}  // namespace apogee::store
