#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "apogee/result.h"
#include "base/env.h"

/// Which commit log segments go, and when: by age at certain hours, because the disk fills, or
/// because someone asked (Apache's DefaultMessageStore.CleanCommitLogService).
///
/// The rules are pure functions; Retention does what they say, one segment a step.
/// Threads: step() runs on one thread at a time (a timer's task on env.workers once started);
/// trigger() and stop() from any thread. Segments are removed on the stepping thread, which may
/// block.
namespace apogee::store {

/// A snapshot of the configuration, taken anew for each run so that run-time keys take effect.
struct RetentionRules {
  std::int64_t reserved_hours;    ///< fileReservedTime: age at which a segment may go.
  std::string delete_hours;       ///< deleteWhen: hours of the local day, "04" or "04;16".
  std::int32_t max_used_percent;  ///< diskMaxUsedSpaceRatio, 10..95.
  std::int32_t forcibly_percent;  ///< diskSpaceCleanForciblyRatio, taken as 30..85.
  std::int32_t warning_percent;   ///< diskSpaceWarningLevelRatio, taken as 35..90.
  bool forcibly_enabled;          ///< cleanFileForciblyEnable: may space overrule age?
  std::int32_t batch_max;         ///< deleteFileBatchMax: segments a run.
  std::int64_t pause_ms;          ///< deleteCommitLogFilesInterval: between two of a run.
  std::int64_t period_ms;         ///< cleanResourceInterval: between runs.
};

/// One segment of the commit log that has been written to; not one that is only prepared.
struct SegmentAge {
  std::int64_t base_offset;
  std::int64_t modified_ms;  ///< The file's modification time, as Java takes it.
};

/// What the decision depends on.
struct RetentionInput {
  int local_hour = 0;          ///< 0..23
  double commit_log_used = 0;  ///< Used part of the partition, 0..1; below 0: unknown.
  double consume_queue_used = 0;
  bool asked = false;  ///< A manual run is due.
};

struct RetentionDecision {
  enum class DiskFull { kKeep, kSet, kClear };
  bool clean = false;         ///< Remove what is old enough...
  bool whatever_age = false;  ///< ... or even what is not.
  DiskFull disk_full = DiskFull::kKeep;
  std::string why;  ///< For the log.
};

/// Is `hour` one of `delete_hours`? What is not a number is ignored.
bool is_delete_hour(std::string_view delete_hours, int hour);

/// Between the forcible and the warning level the disk full flag stays as it is: that distance
/// keeps it from flickering.
RetentionDecision decide_retention(const RetentionRules& rules, const RetentionInput& input);

/// How many of `segments` (oldest first) go in this run: never the last one, none behind one that
/// must stay, at most batch_max.
std::size_t count_removable(const RetentionRules& rules, const RetentionDecision& decision,
                            const std::vector<SegmentAge>& segments, std::int64_t now_ms);

/// The owner of what is removed. Called on the stepping thread.
class RetentionTarget {
 public:
  virtual ~RetentionTarget() = default;
  virtual RetentionRules rules() const = 0;
  /// Oldest first, the one being written last.
  virtual std::vector<SegmentAge> segments() const = 0;
  /// Removes the oldest segment, whose base offset this is. An error ends the run.
  virtual Result<Ok> remove_first_segment(std::int64_t base_offset) = 0;
  /// Gives back part of the space of what was removed, so that a large file does not hold up
  /// whoever writes beside. False: nothing to give back now.
  virtual bool release_some() { return false; }
  /// The log now begins here: consume queues and then index files may follow. Also called when
  /// nothing was removed in a run, so that what a crash left behind goes too.
  virtual void log_begins_at(std::int64_t min_physical_offset) = 0;
  /// Appends are refused while the disk is full.
  virtual void set_disk_full(bool full, std::string_view why) = 0;
};

struct DiskUse {
  double commit_log = -1, consume_queue = -1;  ///< Used / total of the partition; -1: unknown.
};

class Retention {
 public:
  /// `env` and `target` outlive this. The directories' partitions are watched; of several commit
  /// log directories the least full one counts.
  Retention(Env& env, RetentionTarget& target, std::vector<std::string> commit_log_directories,
            std::string consume_queue_directory);
  ~Retention();  ///< Calls stop().
  Retention(const Retention&) = delete;

  /// Runs every cleanResourceInterval, first after `first`.
  void start(Clock::Duration first = std::chrono::seconds{60});
  void stop();  ///< After return no step runs. Idempotent.

  /// The next 20 runs clean whatever the hour (Java's executeDeleteFilesManually); the first soon.
  void trigger();

  /// Looks at the disk and sets or clears the disk full flag, without removing anything: for the
  /// moment before the first run. Not beside step().
  void check_space();

  DiskUse disk_use() const;  ///< Asks the file system.

  /// Begins a run or removes the next segment of the current one; returns when to call again.
  Clock::Duration step();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace apogee::store
