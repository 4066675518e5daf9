#include "embedded/movable_clock.h"

namespace apogee::embedded {

Clock::Instant MovableClock::now() const {
  std::lock_guard lock{mutex_};
  return real_->now() + moved_;
}

std::int64_t MovableClock::wall_ms() const {
  std::lock_guard lock{mutex_};
  return real_->wall_ms() + std::chrono::duration_cast<std::chrono::milliseconds>(moved_).count();
}

void MovableClock::ring_at(Instant when, TimerId timer) {
  real_->run_at(when - moved_, [this, timer] { fire(timer); });
}

Clock::TimerId MovableClock::run_at(Instant when, std::function<void()> task) {
  std::lock_guard lock{mutex_};
  const TimerId timer = ++last_id_;
  tasks_.emplace(timer, Task{when, std::move(task)});
  ring_at(when, timer);
  return timer;
}

// The real clock's timer stays: it rings for a task that is gone, or that rang earlier.
void MovableClock::cancel(TimerId timer) {
  std::unique_lock lock{mutex_};
  if (const auto found = tasks_.find(timer); found != tasks_.end()) {
    Task dropped = std::move(found->second);
    tasks_.erase(found);
    lock.unlock();  // what the task captured may come back here as it dies
    return;
  }
  if (running_ == timer && runner_ == std::this_thread::get_id()) return;
  done_.wait(lock, [&] { return running_ != timer; });
}

void MovableClock::advance(Duration by) {
  std::lock_guard lock{mutex_};
  moved_ += by;
  for (const auto& [timer, task] : tasks_) ring_at(task.when, timer);
}

void MovableClock::fire(TimerId timer) {
  std::unique_lock lock{mutex_};
  const auto found = tasks_.find(timer);
  if (found == tasks_.end()) return;
  auto run = std::move(found->second.run);
  tasks_.erase(found);
  running_ = timer;
  runner_ = std::this_thread::get_id();
  lock.unlock();
  run();
  run = nullptr;  // what it captured dies before cancel() returns
  lock.lock();
  running_ = 0;
  done_.notify_all();
}

}  // namespace apogee::embedded
