#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "broker/config.h"
#include "protocol/bodies.h"
#include "remoting/processors.h"

/// How much the consumer groups read from the disk, and, with coldDataFlowControlEnable, how much
/// they may in five seconds (ColdDataCgCtrService, ColdDataPullRequestHoldService). What is in
/// memory costs nobody anything and is not counted.
///
/// Threads: every member from any thread; one mutex, held for a few map operations. end_period() on
/// a worker.
namespace apogee::broker {

struct Context;

class ColdReads {
 public:
  static constexpr Clock::Duration kPeriod = 5s;

  ColdReads(Env& env, const LiveConfig& config) : env_{env}, config_{config} {}

  /// The group has just read so much that was not in memory.
  void count(std::string_view group, std::int64_t bytes);
  /// Has it, or have all together, read as much as this period allows?
  bool is_over_limit(std::string_view group) const;

  /// False: there are too many limits.
  bool set_limit(const std::string& group, std::int64_t bytes);
  void remove_limit(const std::string& group);

  /// `resume` runs on a worker at the end of a period, three seconds from now or later. False: too
  /// many wait.
  bool hold(std::function<void()> resume);
  /// Every kPeriod: counts begin at 0, and groups without cold reads for a minute are forgotten.
  void end_period();

  protocol::ColdDataFlow table() const;

 private:
  struct Held {
    Clock::Instant since;
    std::function<void()> resume;
  };

  Env& env_;
  const LiveConfig& config_;
  mutable std::mutex mutex_;
  std::map<std::string, protocol::ColdReadsOfGroup, std::less<>> groups_;  // guarded by mutex_
  std::map<std::string, std::int64_t, std::less<>> limits_;                // guarded by mutex_
  std::int64_t all_ = 0;                                                   // guarded by mutex_
  std::vector<Held> held_;                                                 // guarded by mutex_
};

/// The limits, by group, of operators; how the log is read ahead.
void add_cold_reads(remoting::Processors& processors, Context& context);

}  // namespace apogee::broker
