#pragma once

#include <mutex>

namespace apogee {

/// A mutex for what is held for some dozens of instructions by threads that meet often. Who finds
/// it taken looks again for a moment before it sleeps: to sleep and to be woken costs both sides a
/// hundred times what is waited for.
class BriefMutex {
 public:
  void lock() {
    constexpr int kLooks = 100;
    for (int i = 0; i < kLooks; ++i) {
      if (mutex_.try_lock()) return;
      relax();
    }
    mutex_.lock();
  }
  void unlock() { mutex_.unlock(); }

 private:
  static void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }
  std::mutex mutex_;
};

}  // namespace apogee
