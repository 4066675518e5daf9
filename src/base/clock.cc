#include "base/clock.h"

#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "base/thread_name.h"

namespace apogee {
namespace {

/// Timers in one ordered map under one mutex; the clock's thread sleeps until the first is due.
class SystemClock final : public Clock {
 public:
  SystemClock()
      : thread_{[this] {
          name_this_thread("clock");
          run();
        }} {}
  ~SystemClock() override {
    {
      std::lock_guard lock{mutex_};
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  Instant now() const override { return std::chrono::steady_clock::now(); }
  std::int64_t wall_ms() const override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  }

  TimerId run_at(Instant when, std::function<void()> task) override {
    std::lock_guard lock{mutex_};
    const TimerId id = ++last_id_;
    const auto at = timers_.emplace(std::pair{when, id}, std::move(task)).first;
    when_[id] = when;
    if (at == timers_.begin()) changed_.notify_all();
    return id;
  }

  void cancel(TimerId timer) override {
    std::unique_lock lock{mutex_};
    if (const auto found = when_.find(timer); found != when_.end()) {
      timers_.erase({found->second, timer});
      when_.erase(found);
      return;
    }
    if (std::this_thread::get_id() == thread_.get_id())
      return;  // from inside a task: it may be this very one
    done_.wait(lock, [&] { return running_ != timer; });
  }

 private:
  void run() {
    std::unique_lock lock{mutex_};
    while (!stopping_) {
      if (timers_.empty()) {
        changed_.wait(lock);
        continue;
      }
      const auto first = timers_.begin();
      if (first->first.first > now()) {
        changed_.wait_until(lock, Instant{first->first.first});
        continue;
      }
      running_ = first->first.second;
      auto task = std::move(first->second);
      when_.erase(running_);
      timers_.erase(first);
      lock.unlock();
      task();
      task = nullptr;  // what it captured dies before cancel() returns
      lock.lock();
      running_ = 0;
      done_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_, done_;
  std::map<std::pair<Instant, TimerId>, std::function<void()>> timers_;
  std::unordered_map<TimerId, Instant> when_;
  TimerId last_id_ = 0, running_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Clock> make_system_clock() {
  return std::make_unique<SystemClock>();
}

struct Periodic::State : std::enable_shared_from_this<State> {
  State(Clock& clock_in, Executor& executor_in, std::function<Clock::Duration()> work_in)
      : clock{clock_in}, executor{executor_in}, work{std::move(work_in)} {}

  void arm(Clock::Duration delay) {
    std::lock_guard lock{mutex};
    if (stopped) return;
    timer = clock.run_after(delay, [self = weak_from_this()] {
      if (auto state = self.lock()) state->executor.post([state] { state->run(); });
    });
  }
  void run() {
    {
      std::lock_guard lock{mutex};
      if (stopped) return;
      running = std::this_thread::get_id();
    }
    const Clock::Duration pause = work();
    {
      std::lock_guard lock{mutex};
      running = {};
    }
    idle.notify_all();
    arm(pause);
  }
  void stop() {
    Clock::TimerId pending;
    {
      std::lock_guard lock{mutex};
      stopped = true;
      pending = timer;
    }
    clock.cancel(pending);
    std::unique_lock lock{mutex};
    idle.wait(lock, [&] {
      return running == std::thread::id{} || running == std::this_thread::get_id();
    });
  }

  Clock& clock;
  Executor& executor;
  const std::function<Clock::Duration()> work;
  std::mutex mutex;
  std::condition_variable idle;
  Clock::TimerId timer = 0;
  std::thread::id running;
  bool stopped = false;
};

Periodic::Periodic(Clock& clock, Executor& executor, Clock::Duration first, Clock::Duration period,
                   std::function<void()> work)
    : Periodic{clock, executor, first, [period, work = std::move(work)] {
                 work();
                 return period;
               }} {}
Periodic::Periodic(Clock& clock, Executor& executor, Clock::Duration first,
                   std::function<Clock::Duration()> work)
    : state_{std::make_shared<State>(clock, executor, std::move(work))} {
  state_->arm(first);
}
Periodic::~Periodic() {
  state_->stop();
}

}  // namespace apogee
