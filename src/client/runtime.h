#pragma once

#include <future>
#include <memory>

#include "base/env.h"

/// The real clock, disk, network and threads behind one client.
namespace apogee::client {

/// Threads started by the constructor, joined by the destructor, which must not run on any of them:
/// that is what make_runtime's deleter sees to.
class Runtime {
 public:
  Runtime(std::size_t io_threads, std::size_t workers, std::unique_ptr<Logger> log);
  Env& env() { return env_; }
  /// Ready once the last owner has let go and every thread has ended.
  std::shared_future<void> gone() const { return gone_; }

 private:
  friend struct EndRuntime;
  std::promise<void> end_;
  std::shared_future<void> gone_ = end_.get_future().share();
  std::unique_ptr<Logger> log_;
  std::unique_ptr<Clock> clock_;
  std::unique_ptr<FileSystem> files_;
  std::unique_ptr<Executor> workers_;
  std::unique_ptr<Transport> network_;
  Random random_;
  Env env_;
};

/// Ended by a thread of its own, whoever lets go last: that may be one of its threads.
std::shared_ptr<Runtime> make_runtime(std::size_t io_threads, std::size_t workers,
                                      std::unique_ptr<Logger> log);

/// A pool that may be let go of on one of its own threads.
std::shared_ptr<Executor> own_threads(std::size_t count, const char* name);

/// Marks the calling thread as being inside a program's callback, for as long as it lives.
class CallbackScope {
 public:
  enum class Where { kIoThread, kOwnThread };
  explicit CallbackScope(Where where);
  ~CallbackScope();
  CallbackScope(const CallbackScope&) = delete;
  static bool inside();        ///< Any callback: do not wait for it to end.
  static bool on_io_thread();  ///< Waiting here would wait for itself.

 private:
  const int before_;
};

}  // namespace apogee::client
