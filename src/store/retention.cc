#include "store/retention.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <ctime>
#include <mutex>
#include <optional>

#include <fmt/core.h>

namespace apogee::store {
namespace {

/// Runs that clean after one manual trigger (CleanCommitLogService.MAX_MANUAL_DELETE_FILE_TIMES).
constexpr int kManualRuns = 20;

constexpr std::int64_t kHourMs = 3'600'000;

std::string percent(double ratio) {
  return fmt::format("{:.1f} %", ratio * 100);
}

int local_hour(std::int64_t wall_ms) {
  const std::time_t seconds = wall_ms / 1'000;
  std::tm local{};
  ::localtime_r(&seconds, &local);
  return local.tm_hour;
}

}  // namespace

bool is_delete_hour(std::string_view delete_hours, int hour) {
  while (!delete_hours.empty()) {
    const std::size_t end = std::min(delete_hours.find(';'), delete_hours.size());
    std::string_view text = delete_hours.substr(0, end);
    delete_hours.remove_prefix(std::min(end + 1, delete_hours.size()));
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
    int each = -1;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), each);
    if (error == std::errc{} && stop == text.data() + text.size() && each == hour) return true;
  }
  return false;
}

RetentionDecision decide_retention(const RetentionRules& rules, const RetentionInput& input) {
  using DiskFull = RetentionDecision::DiskFull;
  const double warning = std::clamp(rules.warning_percent, 35, 90) / 100.0;
  const double forcibly = std::clamp(rules.forcibly_percent, 30, 85) / 100.0;
  const double most = std::clamp(rules.max_used_percent, 10, 95) / 100.0;
  // Java looks at the commit log's partition first and lets the consume queues' overrule the flag
  // the moment it has set it; the fuller of the two is what it means.
  const bool log_is_fuller = input.commit_log_used >= input.consume_queue_used;
  const double used = std::max(input.commit_log_used, input.consume_queue_used);
  const std::string where =
      fmt::format("the disk of the {} is {} full", log_is_fuller ? "commit log" : "consume queues",
                  percent(used));

  RetentionDecision decision;
  if (used > warning)
    decision = {.clean = true,
                .whatever_age = rules.forcibly_enabled,
                .disk_full = DiskFull::kSet,
                .why = where};
  else if (used > forcibly)
    decision = {.clean = true,
                .whatever_age = rules.forcibly_enabled,
                .disk_full = DiskFull::kKeep,
                .why = where};
  else if (used > most)
    decision = {.clean = true, .whatever_age = false, .disk_full = DiskFull::kClear, .why = where};
  else
    decision = {.clean = false,
                .whatever_age = false,
                // Unknown space: no reason to stop, none to go on after one.
                .disk_full = used < 0 ? DiskFull::kKeep : DiskFull::kClear,
                .why = where};
  if (decision.clean) return decision;
  if (input.asked) {
    decision.clean = true;
    decision.why = "asked to";
  } else if (is_delete_hour(rules.delete_hours, input.local_hour)) {
    decision.clean = true;
    decision.why = fmt::format("hour {} is in deleteWhen={}", input.local_hour, rules.delete_hours);
  }
  return decision;
}

std::size_t count_removable(const RetentionRules& rules, const RetentionDecision& decision,
                            const std::vector<SegmentAge>& segments, std::int64_t now_ms) {
  if (!decision.clean || segments.empty()) return 0;
  const std::size_t most =
      std::min(segments.size() - 1, static_cast<std::size_t>(std::max(rules.batch_max, 0)));
  std::size_t count = 0;
  while (count < most && (decision.whatever_age ||
                          segments[count].modified_ms + rules.reserved_hours * kHourMs <= now_ms))
    ++count;
  return count;
}

struct Retention::State : std::enable_shared_from_this<State> {
  State(Env& env_, RetentionTarget& target_, std::vector<std::string> commit_log_directories_,
        std::string consume_queue_directory_)
      : env{env_},
        target{target_},
        commit_log_directories{std::move(commit_log_directories_)},
        consume_queue_directory{std::move(consume_queue_directory_)} {}

  double used(const std::string& directory);
  DiskUse disk_use();
  RetentionDecision look(const RetentionRules& rules);
  void begin_run(const RetentionRules& rules);
  void remove_next();
  Clock::Duration step();
  void schedule(Clock::Duration after);
  void run_step();

  Env& env;
  RetentionTarget& target;
  const std::vector<std::string> commit_log_directories;
  const std::string consume_queue_directory;

  std::atomic<int> manual_runs{0};

  // The stepping thread's.
  std::size_t left_in_run = 0;    ///< Segments still to be removed in this run.
  std::optional<bool> disk_full;  ///< As last told to the target.
  bool space_error_logged = false;

  std::mutex mutex;
  std::condition_variable idle;
  bool running = false;   ///< start()ed and not stopped.
  bool stepping = false;  ///< A step is posted to or at work on env.workers.
  bool hurry = false;     ///< trigger() came while a step was at work.
  Clock::TimerId timer = 0;
};

double Retention::State::used(const std::string& directory) {
  auto space = env.files.space(directory);
  if (!space || space->total == 0) return -1;
  return 1.0 - static_cast<double>(std::min(space->available, space->total)) /
                   static_cast<double>(space->total);
}

DiskUse Retention::State::disk_use() {
  DiskUse use;
  for (const std::string& directory : commit_log_directories) {
    const double each = used(directory);
    if (each >= 0 && (use.commit_log < 0 || each < use.commit_log)) use.commit_log = each;
  }
  use.consume_queue = used(consume_queue_directory);
  return use;
}

/// Decides, and passes on what became of the disk full flag.
RetentionDecision Retention::State::look(const RetentionRules& rules) {
  const DiskUse use = disk_use();
  if (use.commit_log < 0 && !std::exchange(space_error_logged, true))
    env.log.warn("retention cannot see how full the disk is: directory={}",
                 commit_log_directories.empty() ? "" : commit_log_directories.front());
  RetentionDecision decision =
      decide_retention(rules, {.local_hour = local_hour(env.clock.wall_ms()),
                               .commit_log_used = use.commit_log,
                               .consume_queue_used = use.consume_queue,
                               .asked = manual_runs.load() > 0});
  if (decision.disk_full != RetentionDecision::DiskFull::kKeep) {
    const bool full = decision.disk_full == RetentionDecision::DiskFull::kSet;
    if (disk_full != full) {
      if (full)
        env.log.error("appends are refused: {}", decision.why);
      else if (disk_full)
        env.log.info("appends are accepted again: commit_log_used={} consume_queue_used={}",
                     percent(use.commit_log), percent(use.consume_queue));
      disk_full = full;
      target.set_disk_full(full, decision.why);
    }
  }
  return decision;
}

void Retention::State::begin_run(const RetentionRules& rules) {
  const RetentionDecision decision = look(rules);
  if (decision.clean && manual_runs.load() > 0) manual_runs.fetch_sub(1);
  const auto segments = target.segments();
  left_in_run = count_removable(rules, decision, segments, env.clock.wall_ms());
  if (left_in_run > 0)
    env.log.info("removing commit log segments: count={} of={} because={}", left_in_run,
                 segments.size(), decision.why);
  else if (decision.whatever_age)
    env.log.warn("{}, and no commit log segment can be removed", decision.why);
}

void Retention::State::remove_next() {
  const auto segments = target.segments();
  if (segments.size() < 2) {  // the log was cut meanwhile
    left_in_run = 0;
    return;
  }
  const std::int64_t base = segments.front().base_offset;
  if (auto done = target.remove_first_segment(base); !done) {
    env.log.warn("commit log segment not removed: base_offset={} {}", base, done.error().detail);
    left_in_run = 0;
    return;
  }
  env.log.info("commit log segment removed: base_offset={}", base);
  --left_in_run;
}

Clock::Duration Retention::State::step() {
  const RetentionRules rules = target.rules();
  const std::chrono::milliseconds pause{std::max<std::int64_t>(rules.pause_ms, 0)};
  if (target.release_some()) return pause;
  if (left_in_run == 0) begin_run(rules);
  if (left_in_run > 0) remove_next();
  if (left_in_run > 0) return pause;
  if (const auto segments = target.segments(); !segments.empty())
    target.log_begins_at(segments.front().base_offset);
  return std::chrono::milliseconds{std::max<std::int64_t>(rules.period_ms, 1)};
}

/// Under the mutex.
void Retention::State::schedule(Clock::Duration after) {
  timer = env.clock.run_after(after, [self = shared_from_this()] {
    {
      std::lock_guard lock{self->mutex};
      if (!self->running || self->stepping) return;
      self->stepping = true;
      self->timer = 0;
    }
    self->env.workers.post([self] { self->run_step(); });
  });
}

void Retention::State::run_step() {
  const Clock::Duration next = step();
  std::lock_guard lock{mutex};
  stepping = false;
  if (running) schedule(std::exchange(hurry, false) ? Clock::Duration{0} : next);
  idle.notify_all();
}

Retention::Retention(Env& env, RetentionTarget& target,
                     std::vector<std::string> commit_log_directories,
                     std::string consume_queue_directory)
    : state_{std::make_shared<State>(env, target, std::move(commit_log_directories),
                                     std::move(consume_queue_directory))} {}

Retention::~Retention() {
  stop();
}

void Retention::start(Clock::Duration first) {
  std::lock_guard lock{state_->mutex};
  if (std::exchange(state_->running, true)) return;
  state_->schedule(first);
}

void Retention::stop() {
  Clock::TimerId timer = 0;
  {
    std::lock_guard lock{state_->mutex};
    state_->running = false;
    timer = std::exchange(state_->timer, 0);
  }
  if (timer != 0) state_->env.clock.cancel(timer);  // waits for the task, which takes the mutex
  std::unique_lock lock{state_->mutex};
  state_->idle.wait(lock, [&] { return !state_->stepping; });
}

void Retention::trigger() {
  state_->manual_runs.store(kManualRuns);
  Clock::TimerId timer = 0;
  {
    std::lock_guard lock{state_->mutex};
    if (!state_->running) return;
    if (state_->stepping) {
      state_->hurry = true;
      return;
    }
    timer = std::exchange(state_->timer, 0);
  }
  if (timer != 0) state_->env.clock.cancel(timer);
  std::lock_guard lock{state_->mutex};
  if (state_->stepping)
    state_->hurry = true;
  else if (state_->running && state_->timer == 0)
    state_->schedule(Clock::Duration{0});
}

void Retention::check_space() {
  (void)state_->look(state_->target.rules());
}

DiskUse Retention::disk_use() const {
  return state_->disk_use();
}

Clock::Duration Retention::step() {
  return state_->step();
}

}  // namespace apogee::store
