#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace apogee {

/// A configuration in force. Readers take one pointer and never wait; a change publishes a new
/// copy. Old copies live as long as this: changes are made by hand and small.
/// Threads: now() any; change() any, one at a time inside.
template <class Config>
class Live {
 public:
  explicit Live(Config initial) {
    versions_.push_back(std::make_unique<const Config>(std::move(initial)));
    now_.store(versions_.back().get(), std::memory_order_release);
  }
  const Config& now() const { return *now_.load(std::memory_order_acquire); }
  void change(Config next) {
    std::lock_guard lock{mutex_};
    versions_.push_back(std::make_unique<const Config>(std::move(next)));
    now_.store(versions_.back().get(), std::memory_order_release);
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<const Config>> versions_;  // guarded by mutex_
  std::atomic<const Config*> now_{nullptr};
};

}  // namespace apogee
