#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "apogee/result.h"
#include "base/histogram.h"

/// The loads of `apogee bench`. Each connection is one thread with a blocking socket, frames made
/// ahead and only their opaque patched, many of them in one write: the load must cost little beside
/// the broker it measures.
namespace apogee::bench {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string name_server, broker, topic = "apogee_bench";
  int connections = 4, in_flight = 64, queues = 16, size = 128, batch = 1, seconds = 10, count = 32;
  double rate = 0;  // messages a second over all connections; 0: as fast as answers come
  int broker_pid = 0;
  bool json = false, quiet = false;
};

struct Outcome {
  Histogram latency_us;
  std::uint64_t messages = 0, requests = 0;
  std::map<int, std::uint64_t> errors;  // by response code; -1: connection lost
  void merge(const Outcome& other);
};

/// One connection's share of a load, until `end`. `to`: the broker, or the name server for routes.
/// `progress` counts messages (or answers) for the live line.
struct Share {
  const Options& options;
  const std::string& to;
  int number;
  Clock::time_point end;
  Outcome& outcome;
  std::atomic<std::uint64_t>& progress;
};

void send_load(const Share& share);
/// Pulls from the beginning of the queues to their end and again; each request in flight has a
/// queue of its own as long as there are enough.
void pull_load(const Share& share);
/// Asks a name server for the topic's route.
void route_load(const Share& share);
/// Sends at the rate and receives what it sent by long polling, each connection through a queue of
/// its own: latency from the moment a message was due to the moment it was there.
void end_to_end_load(const Share& share);

Result<std::string> find_broker(const Options& options);
Result<Ok> create_topic(const Options& options, const std::string& broker);

}  // namespace apogee::bench
