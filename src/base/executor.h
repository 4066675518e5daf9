#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace apogee {

/// Where a task runs that the caller does not want to wait for.
class Executor {
 public:
  virtual ~Executor() = default;
  /// Any thread. Tasks posted by one thread start in order; a pool may run them side by side.
  virtual void post(std::function<void()> task) = 0;
};

/// Runs each task inside post(): for what does not block, and for tests that want one thread.
class InlineExecutor final : public Executor {
 public:
  void post(std::function<void()> task) override { task(); }
};

/// A fixed pool of threads for work that may block (files, configuration, cold reads). The
/// destructor runs what was posted before it and joins.
std::unique_ptr<Executor> make_thread_pool(std::size_t threads, const char* name);

}  // namespace apogee
