#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "base/env.h"
#include "base/live.h"
#include "store/commit_log.h"
#include "store/config.h"
#include "store/damages.h"

namespace apogee::store {

/// Reads the log from its beginning to its end, again and again, and checks every record: damage is
/// found before somebody needs what it took. Slowly: scrubBytesPerSecond, and never more than a
/// twentieth of the time, so that it slows down with a disk that others keep busy. Remembers
/// nothing on disk: a restart begins anew.
///
/// Threads: the work runs on env.workers, one step at a time; start() and stop() by the store's
/// owner; the figures from any thread.
class Scrub {
 public:
  Scrub(Env& env, const Live<StoreConfig>& config, CommitLog& log, Damages& damages)
      : env_{env}, config_{config}, log_{log}, damages_{damages} {}

  void start();
  void stop() { steps_.reset(); }  ///< After return no step runs.

  std::int64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  std::int64_t rounds() const { return rounds_.load(std::memory_order_relaxed); }

 private:
  Clock::Duration step();
  std::int64_t read(std::int64_t most);

  Env& env_;
  const Live<StoreConfig>& config_;
  CommitLog& log_;
  Damages& damages_;
  std::int64_t position_ = 0;  // of the step: physical offset
  std::atomic<std::int64_t> bytes_{0}, rounds_{0};
  std::unique_ptr<Periodic> steps_;
};

}  // namespace apogee::store
