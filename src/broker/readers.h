#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "base/clock.h"
#include "base/executor.h"
#include "base/in_flight.h"
#include "broker/stage_times.h"
#include "remoting/peer.h"

namespace apogee::broker {

/// Requests that may have to wait for the disk, on threads that do nothing else: however many
/// consumers catch up, and however long the disk takes, registration, delayed messages and
/// administration are not behind them. So many wait so long and no more; the rest is refused with
/// SYSTEM_BUSY, after which clients ask again in 3 s (Java's pullTimeDelayMillsWhenException; after
/// FLOW_CONTROL they would in 20 ms, which a disk that is behind does not need).
///
/// Threads: post() and waiting() any.
class Readers {
 public:
  /// Requests waiting at most; further ones are refused at once.
  static constexpr std::int32_t kWaitingMax = 10'000;
  /// One that has waited this long is refused when its turn comes (waitTimeMillsInPullQueue).
  static constexpr std::chrono::milliseconds kWaitMax{5'000};

  Readers(Clock& clock, Executor& threads, InFlight& in_flight, StageTimes& times)
      : clock_{clock}, threads_{threads}, in_flight_{in_flight}, times_{times} {}
  Readers(const Readers&) = delete;

  /// Exactly one of the two runs: `read` on a thread that may wait, `refuse` there or before post()
  /// returns. Neither once the broker stops.
  void post(std::function<void()> read, std::function<void(const std::string& why)> refuse);
  /// The same for a request that has nothing to lose by a refusal.
  void post(const remoting::Responder& responder, std::function<void()> read);

  /// Requests that wait for a thread now.
  std::int32_t waiting() const { return waiting_.load(std::memory_order_relaxed); }

 private:
  Clock& clock_;
  Executor& threads_;
  InFlight& in_flight_;
  StageTimes& times_;
  std::atomic<std::int32_t> waiting_{0};
};

}  // namespace apogee::broker
