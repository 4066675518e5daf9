#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "store/segment.h"

/// What waits in the timer, in the order it came: `timerlog/`, files of 52-byte units in Java's
/// layout (TimerLog). The units of one slot are chained from the last to the first.
///
/// Threads: all under the owner's lock; what unsynced() gives may be synced beside it.
namespace apogee::store {

struct TimerUnit {
  static constexpr std::int32_t kDefault = 1, kRoll = 2, kDelete = 4;  // bits of magic

  std::int64_t previous = -1;  ///< Of the same slot; -1: none.
  std::int32_t magic = kDefault;
  std::int64_t written_ms = 0;       ///< When it came, aligned to the precision.
  std::int32_t delay_ms = 0;         ///< From then to its slot.
  std::int64_t physical_offset = 0;  ///< Of the message in the commit log.
  std::int32_t size = 0;
  std::int32_t topic_hash = 0;  ///< java_hash() of its real topic.

  std::int64_t time_ms() const { return written_ms + delay_ms; }
  bool rolls() const { return (magic & kRoll) != 0; }
  /// It takes another message away. One that is to roll first does so later.
  bool deletes() const { return (magic & kDelete) != 0 && !rolls(); }
  /// What it adds to the number of messages that wait: a recall takes one away.
  std::int32_t weight() const { return (magic & kDelete) != 0 ? -1 : 1; }
};

class TimerLog {
 public:
  static constexpr std::size_t kUnitBytes = 52, kBlankBytes = 16;

  TimerLog(FileSystem& files, std::string directory, std::int32_t file_bytes);

  /// Opens the files; all of them count as full until set_end(). kMalformed: a file of another
  /// size. A short one is filled up and ends the log; one that is missing before takes all with it.
  Result<Ok> load();
  /// What is behind becomes zeros, later files go.
  Result<Ok> set_end(std::int64_t position);

  std::int64_t begin() const { return files_.empty() ? 0 : files_.front()->base(); }
  std::int64_t end() const;
  Result<std::int64_t> append(const TimerUnit& unit);  ///< Its position.
  /// nullopt: there is no such unit.
  std::optional<TimerUnit> at(std::int64_t position) const;
  /// Where the unit behind the one at `position`, or behind the end of its file, begins.
  std::int64_t behind(std::int64_t position) const;
  /// The place of a unit at `position`, or the start of the next file if none fits there.
  std::int64_t place_at(std::int64_t position) const;

  /// Files with units that are not known to be on disk.
  std::vector<std::shared_ptr<Segment>> unsynced() const;
  void synced(std::int64_t end) { synced_ = std::max(synced_, end); }
  std::int64_t synced_end() const { return synced_; }

  /// Removes files all of whose messages have left the commit log, which begins there. Returns how
  /// many.
  std::size_t remove_expired(std::int64_t commit_log_begin);

 private:
  using Found = std::pair<std::int64_t, std::uint64_t>;  // base, size
  Result<Ok> remove(std::span<const Found> files);
  Result<Ok> roll();
  Segment* segment_of(std::int64_t position) const;

  FileSystem& file_system_;
  const std::string directory_;
  const std::size_t file_bytes_;
  std::deque<std::shared_ptr<Segment>> files_;
  std::int64_t synced_ = 0;
};

}  // namespace apogee::store
