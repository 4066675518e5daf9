#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "apogee/message.h"
#include "apogee/producer.h"
#include "base/clock.h"

/// Which brokers to leave alone for a while, and which queue to take. Java's MQFaultStrategy and
/// LatencyFaultToleranceImpl of 5.x.
///
/// Threads: any.
namespace apogee::client {

class FaultTolerance {
 public:
  struct Settings {
    bool avoid_slow_brokers = false;
    bool detect = false;
    std::vector<AvoidStep> steps = AvoidStep::defaults();
  };
  FaultTolerance(Clock& clock, Settings settings) : clock_{clock}, settings_{std::move(settings)} {}

  /// One send to `broker` took `latency`. `isolate`: it failed, and counts as 10 s.
  void update(const std::string& broker, std::chrono::milliseconds latency, bool isolate,
              bool reachable);
  /// A probe was answered. How long it is left alone does not change: who has failed may do so
  /// again under load.
  void answered_a_probe(const std::string& broker);
  bool available(const std::string& broker) const;  ///< Not slow of late; unknown: yes.
  bool reachable(const std::string& broker) const;
  bool enabled() const { return settings_.avoid_slow_brokers; }

  /// The queue for one attempt: `at` is the caller's running index, moved on. `last_broker`: where
  /// the attempt before failed, empty if there was none. `queues` is not empty.
  const MessageQueue& choose(std::span<const MessageQueue> queues, std::uint32_t& at,
                             const std::string& last_broker) const;

  /// Brokers whose probe is due; each is put off by `interval` from now.
  std::vector<std::string> due_for_probe(std::chrono::milliseconds interval);
  void forget(const std::string& broker);

  /// How long a broker is left alone after a send that took this long.
  std::chrono::milliseconds pause_after(std::chrono::milliseconds latency) const;

 private:
  struct Item {
    std::chrono::milliseconds latency{0};
    Clock::Instant available_from{}, probe_from{};
    bool reachable = true;
  };

  Clock& clock_;
  const Settings settings_;
  mutable std::mutex mutex_;
  std::unordered_map<std::string, Item> items_;
};

}  // namespace apogee::client
