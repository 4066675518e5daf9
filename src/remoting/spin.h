#pragma once

#include <algorithm>

namespace apogee::remoting {

/// Whether a thread that has nothing to do looks for more before it sleeps: yes, as long as that
/// finds something about every other time; else it is tried now and then.
///
/// Threads: one. Looking itself is its owner's.
class Spin {
 public:
  bool is_worth_it() { return score_ >= 0 || ++skipped_ % kTriedOnceIn == 0; }
  void tell(bool found) { score_ = std::clamp(score_ + (found ? 1 : -1), -kMost, kMost); }

 private:
  /// Enough that a pause in a fast exchange does not end it, few enough that it is not paid for
  /// long once it is over.
  static constexpr int kMost = 8;
  static constexpr unsigned kTriedOnceIn = 64;  // sleeps: 50 us each are then 1 us a sleep
  int score_ = 0;
  unsigned skipped_ = 0;
};

}  // namespace apogee::remoting
