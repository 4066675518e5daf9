#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>

#include "base/transport.h"
#include "testing/manual_clock.h"

namespace apogee::testing {

/// A network inside one process and one thread, without sockets: machines with addresses, streams
/// between them, and a hand that delays, holds back, cuts and splits. The same seed and the same
/// calls give the same reads.
///
/// Threads: one, the one that made it; everything runs inside its run(), run_until() and advance().
/// Others may post tasks to the loop. Streams and listeners may outlive it.
class Network {
 public:
  explicit Network(ManualClock& clock, std::uint64_t seed = 1);
  ~Network();

  /// The network as the machine with this address sees it: it listens there ("0.0.0.0" too) and
  /// its connections come from there. Lives as long as the network.
  Transport& machine(const std::string& address);
  Loop& loop();

  /// Of all streams, from now on.
  struct Conditions {
    Clock::Duration delay{0};  ///< From one end to the other.
    /// A read gets between one byte and this many, drawn for each read.
    std::size_t read_bytes_max = std::numeric_limits<std::size_t>::max();
    std::size_t window_bytes = 64 << 10;  ///< Written, not read yet; beyond it a write waits.
  };
  Conditions& conditions();

  /// Runs what can run without time passing; returns how many tasks that were.
  std::size_t run();
  /// Runs what can run, also what other threads still post, until `done()`. False: `real_limit` of
  /// real time has passed.
  bool run_until(const std::function<bool()>& done, std::chrono::milliseconds real_limit);
  /// Lets time pass, and runs everything in the order in which it comes due.
  void advance(Clock::Duration by);

  /// Ends every stream between two machines at once; bytes under way are lost.
  void cut(const std::string& one, const std::string& other);
  /// Nothing gets through between two machines, nobody is told. What was sent arrives after heal();
  /// attempts to connect end at their timeout.
  void part(const std::string& one, const std::string& other);
  void heal();

  struct State;

 private:
  const std::shared_ptr<State> state_;
};

}  // namespace apogee::testing
