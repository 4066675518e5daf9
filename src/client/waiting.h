#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <semaphore>
#include <thread>
#include <utility>

#include <semaphore.h>

#include "apogee/awaitable.h"
#include "apogee/result.h"
#include "client/runtime.h"

namespace apogee::client {

/// What one thread waits for and another tells it. A std::promise calls the system once more for
/// each value, and the semaphore of GCC 12's library turns in circles before it sleeps.
class Told {
 public:
#ifdef __APPLE__  // which has no semaphores without a name
  void tell() { told_.release(); }
  void wait() { told_.acquire(); }

 private:
  std::binary_semaphore told_{0};
#else
  Told() { ::sem_init(&told_, 0, 0); }
  ~Told() { ::sem_destroy(&told_); }
  Told(const Told&) = delete;
  void tell() { ::sem_post(&told_); }
  void wait() {
    while (::sem_wait(&told_) != 0) {  // a signal came first
    }
  }

 private:
  ::sem_t told_;
#endif
};

/// Waits for what `start` promises with the function it is given. Every promise of this library is
/// kept by its deadline, so this ends too. kInvalidArgument: on an io thread, which would wait for
/// itself.
template <class T, class Start>
Result<T> wait_for(const Start& start) {
  if (CallbackScope::on_io_thread())
    return Error{Errc::kInvalidArgument,
                 "a blocking call inside a callback on an io thread would wait for itself; use the "
                 "form with a callback"};
  std::optional<Result<T>> answer;
  Told told;
  start([&](Result<T> result) {
    answer.emplace(std::move(result));
    told.tell();
  });
  told.wait();
  return *std::move(answer);
}

/// The same promise, kept with a program's callback, which may not wait for an io thread.
template <class T>
std::function<void(Result<T>)> called_back(std::function<void(Result<T>)> done) {
  return [done = std::move(done)](Result<T> result) {
    const CallbackScope scope{CallbackScope::Where::kIoThread};
    done(std::move(result));
  };
}
/// And from a coroutine: `start` is given what keeps it, once it is awaited.
template <class T, class Start>
Awaitable<T> awaitable(Start start) {
  return Awaitable<T>{[start = std::move(start)](std::function<void(Result<T>)> done) mutable {
    start(called_back<T>(std::move(done)));
  }};
}

/// Answers to last words: somebody acts on what they say, so an end waits until they are heard, but
/// for no broker long. Threads: any; nothing here blocks but `wait`.
class Farewells {
 public:
  static constexpr std::chrono::seconds kWait{1};

  /// To be called with the answer, or with its failure; may outlive this object.
  std::function<void()> expect() {
    {
      std::lock_guard lock{state_->mutex};
      ++state_->unheard;
    }
    return [state = state_] {
      std::lock_guard lock{state->mutex};
      if (--state->unheard == 0) state->changed.notify_all();
    };
  }
  /// Until all are heard, for kWait at most. Inside a callback, which may hold up the thread that
  /// hears them, not at all.
  void wait() {
    if (CallbackScope::inside()) return;
    std::unique_lock lock{state_->mutex};
    state_->changed.wait_for(lock, kWait, [&] { return state_->unheard == 0; });
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    std::size_t unheard = 0;
  };
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

/// A start or an end that nobody waits for: both are rare, and may take long, so each has a thread
/// of its own. `done` runs there; it may block, and destroy anything: what `wait` held is let go of
/// by then.
template <class T>
void without_waiting(std::function<Result<T>()> wait, std::function<void(Result<T>)> done) {
  std::thread{[wait = std::move(wait), done = std::move(done)]() mutable {
    Result<T> result = std::exchange(wait, nullptr)();
    done(std::move(result));
  }}.detach();
}

/// `core` is what stands behind a handle; null: it has been moved from.
template <class Core>
void shut_down(std::shared_ptr<Core> core, std::function<void(Result<Ok>)> done) {
  without_waiting<Ok>(
      [core = std::move(core)]() -> Result<Ok> {
        if (core) core->shutdown();
        return Ok{};
      },
      std::move(done));
}
template <class Core>
Awaitable<Ok> shut_down(std::shared_ptr<Core> core) {
  return Awaitable<Ok>{[core = std::move(core)](std::function<void(Result<Ok>)> done) mutable {
    shut_down(std::move(core), std::move(done));
  }};
}

}  // namespace apogee::client
