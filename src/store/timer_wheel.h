#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/file.h"

/// The slots of the timer, one a step of time: which units of the timer log are due in it. The file
/// `timerwheel` is Java's (TimerWheel, Slot): 1 209 600 slots of 32 bytes, and a slot's place is
/// its time modulo that. Slots are never cleared; one belongs to a time only if it says so.
///
/// What was put is kept in memory until a flush has written it, so that the file says nothing which
/// the timer log does not hold on disk.
///
/// Threads: all under the owner's lock, but write_flush(), which may run beside slot(), each() and
/// put().
namespace apogee::store {

struct TimerSlot {
  std::int64_t time_ms = -1;           ///< -1: nothing is due.
  std::int64_t first = -1, last = -1;  ///< Of its units, positions in the timer log.
  std::int32_t count = 0;              ///< Messages less recalls.
  std::int32_t magic = 0;              ///< No meaning; kept.
};

class TimerWheel {
 public:
  static constexpr std::int64_t kSlots = std::int64_t{7} * 86'400 * 2;
  static constexpr std::size_t kSlotBytes = 32;

  /// The file is made by the first flush, and again if a crash left it short. kMalformed: it is
  /// longer than a wheel.
  static Result<std::unique_ptr<TimerWheel>> open(FileSystem& files, std::string path,
                                                  std::int64_t precision_ms);

  bool has_file() const { return file_ != nullptr; }
  Result<TimerSlot> slot(std::int64_t time_ms) const;
  void put(const TimerSlot& slot);
  /// Visits the slots in use from `from_ms` on and before `end_ms` until `visit` returns false.
  Result<Ok> each(std::int64_t from_ms, std::int64_t end_ms,
                  const std::function<bool(const TimerSlot&)>& visit) const;
  void clear();  ///< Forgets everything; the next flush replaces the file.

  /// Only write_flush() may run beside the other members: it blocks on the disk.
  void begin_flush();
  Result<Ok> write_flush();
  void end_flush(bool written);

 private:
  using Slots = std::map<std::int64_t, TimerSlot>;  // by index
  TimerWheel(FileSystem& files, std::string path, std::int64_t precision_ms)
      : files_{files}, path_{std::move(path)}, precision_ms_{precision_ms} {}
  std::int64_t index_of(std::int64_t time_ms) const { return time_ms / precision_ms_ % kSlots; }
  TimerSlot decode(Bytes bytes) const;
  void encode(Buffer& out, const TimerSlot& slot) const;
  const TimerSlot* unwritten(std::int64_t index) const;
  Result<Ok> write_fresh();
  Result<Ok> write_slots(File& file) const;

  FileSystem& files_;
  const std::string path_;
  const std::int64_t precision_ms_;
  std::unique_ptr<File> file_;
  std::unique_ptr<File> fresh_;  // written, becomes file_ when the flush ends
  bool stale_ = false;           // what stands under the name is not this wheel
  Slots changed_;                // since the last flush began
  Slots flushing_;               // being written
};

}  // namespace apogee::store
