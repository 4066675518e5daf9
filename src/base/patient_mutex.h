#pragma once

#include <condition_variable>
#include <mutex>

#include "base/clock.h"

namespace apogee {

/// A mutex one may wait for only so long: for what may be held while a disk stands, or a program's
/// function runs. (The thread sanitizer of GCC 12 does not know the waits of std::timed_mutex.)
class PatientMutex {
 public:
  void lock() {
    std::unique_lock lock{mutex_};
    free_.wait(lock, [&] { return !held_; });
    held_ = true;
  }
  /// False: still held by another thread after `limit`.
  bool lock_within(Clock::Duration limit) {
    std::unique_lock lock{mutex_};
    if (!free_.wait_for(lock, limit, [&] { return !held_; })) return false;
    held_ = true;
    return true;
  }
  void unlock() {
    {
      std::lock_guard lock{mutex_};
      held_ = false;
    }
    free_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable free_;
  bool held_ = false;  // guarded by mutex_
};

}  // namespace apogee
