#include "store/retention.h"

#include <ctime>
#include <deque>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "testing/disk_env.h"

namespace apogee::store {
namespace {

using apogee::testing::DiskEnv;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using DiskFull = RetentionDecision::DiskFull;

constexpr std::int64_t kHour = 3'600'000;

/// Apache's defaults.
RetentionRules default_rules() {
  return {.reserved_hours = 72,
          .delete_hours = "04",
          .max_used_percent = 75,
          .forcibly_percent = 85,
          .warning_percent = 90,
          .forcibly_enabled = true,
          .batch_max = 10,
          .pause_ms = 100,
          .period_ms = 10'000};
}

TEST(RetentionRules, KnowTheHoursOfDeleteWhen) {
  EXPECT_TRUE(is_delete_hour("04", 4));
  EXPECT_FALSE(is_delete_hour("04", 5));
  EXPECT_TRUE(is_delete_hour("4; 16;23", 16));
  EXPECT_TRUE(is_delete_hour(";;04;", 4));
  EXPECT_FALSE(is_delete_hour("", 0));
  EXPECT_FALSE(is_delete_hour("four;4x;-4", 4));
}

TEST(RetentionRules, CleanByAgeInTheHourAndWhenAsked) {
  const auto rules = default_rules();
  EXPECT_FALSE(decide_retention(rules, {.local_hour = 3}).clean);
  const auto in_hour = decide_retention(rules, {.local_hour = 4});
  EXPECT_TRUE(in_hour.clean);
  EXPECT_FALSE(in_hour.whatever_age);
  const auto asked = decide_retention(rules, {.local_hour = 3, .asked = true});
  EXPECT_TRUE(asked.clean);
  EXPECT_FALSE(asked.whatever_age);
}

TEST(RetentionRules, FollowTheWatermarks) {
  const auto at = [](double commit_log, double consume_queue) {
    return decide_retention(
        default_rules(),
        {.local_hour = 0, .commit_log_used = commit_log, .consume_queue_used = consume_queue});
  };
  struct Row {
    double used;
    bool clean, whatever_age;
    DiskFull disk_full;
  };
  for (const Row& row :
       {Row{0.74, false, false, DiskFull::kClear}, Row{0.76, true, false, DiskFull::kClear},
        Row{0.86, true, true, DiskFull::kKeep}, Row{0.91, true, true, DiskFull::kSet}}) {
    SCOPED_TRACE(row.used);
    for (const auto& decision : {at(row.used, 0.1), at(0.1, row.used)}) {
      EXPECT_EQ(decision.clean, row.clean);
      EXPECT_EQ(decision.whatever_age, row.whatever_age);
      EXPECT_EQ(decision.disk_full, row.disk_full);
    }
  }
  EXPECT_THAT(at(0.1, 0.91).why, HasSubstr("consume queues is 91.0 % full"));
}

TEST(RetentionRules, ClampTheWatermarks) {
  auto rules = default_rules();
  rules.warning_percent = 99;
  rules.forcibly_percent = 98;
  rules.max_used_percent = 97;
  EXPECT_EQ(decide_retention(rules, {.commit_log_used = 0.905}).disk_full, DiskFull::kSet);
  EXPECT_TRUE(decide_retention(rules, {.commit_log_used = 0.86}).whatever_age);
  rules.warning_percent = 1;
  rules.forcibly_percent = 1;
  rules.max_used_percent = 1;
  EXPECT_EQ(decide_retention(rules, {.commit_log_used = 0.34}).disk_full, DiskFull::kKeep);
  EXPECT_FALSE(decide_retention(rules, {.commit_log_used = 0.29}).whatever_age);
  EXPECT_FALSE(decide_retention(rules, {.commit_log_used = 0.09}).clean);
}

TEST(RetentionRules, DoNotOverruleAgeWhenThatIsSwitchedOff) {
  auto rules = default_rules();
  rules.forcibly_enabled = false;
  const auto decision = decide_retention(rules, {.commit_log_used = 0.95});
  EXPECT_TRUE(decision.clean);
  EXPECT_FALSE(decision.whatever_age);
  EXPECT_EQ(decision.disk_full, DiskFull::kSet);
}

TEST(RetentionRules, KeepTheFlagWhenTheSpaceIsUnknown) {
  const auto decision =
      decide_retention(default_rules(), {.commit_log_used = -1, .consume_queue_used = -1});
  EXPECT_FALSE(decision.clean);
  EXPECT_EQ(decision.disk_full, DiskFull::kKeep);
}

TEST(RetentionRules, CountWhatIsOldEnoughFromTheFrontAndNeverTheLast) {
  auto rules = default_rules();
  const RetentionDecision by_age{.clean = true};
  const RetentionDecision any{.clean = true, .whatever_age = true};
  const std::int64_t now = 1'000 * kHour, old = now - 72 * kHour;
  EXPECT_EQ(count_removable(rules, by_age, {}, now), 0u);
  EXPECT_EQ(count_removable(rules, any, {{0, old}}, now), 0u);
  EXPECT_EQ(count_removable(rules, by_age, {{0, old}, {1, old + 1}, {2, old}}, now), 1u)
      << "none behind one that stays";
  EXPECT_EQ(count_removable(rules, any, {{0, now}, {1, now}, {2, now}}, now), 2u);
  EXPECT_EQ(count_removable(rules, {}, {{0, old}, {1, old}}, now), 0u);
  rules.batch_max = 1;
  EXPECT_EQ(count_removable(rules, any, {{0, now}, {1, now}, {2, now}}, now), 1u);
}

/// A commit log that is only its list of segments.
class FakeLog final : public RetentionTarget {
 public:
  explicit FakeLog(DiskEnv& env_) : env{env_} {}
  RetentionRules rules() const override { return current_rules; }
  std::vector<SegmentAge> segments() const override { return {log.begin(), log.end()}; }
  Result<Ok> remove_first_segment(std::int64_t base_offset) override {
    EXPECT_EQ(base_offset, log.front().base_offset);
    if (fail) return Error{Errc::kIo, "no"};
    log.pop_front();
    removed.emplace_back(base_offset);
    removed_at.push_back(env.clock.wall_ms());
    return Ok{};
  }
  void log_begins_at(std::int64_t min_physical_offset) override {
    begins.push_back(min_physical_offset);
  }
  void set_disk_full(bool full, std::string_view) override { disk_full.push_back(full); }

  /// `count` segments, the newest written now and each other an hour before the next.
  void fill(int count) {
    log.clear();
    for (int i = 0; i < count; ++i)
      log.push_back({i * 1'000, env.clock.wall_ms() - (count - 1 - i) * kHour});
  }

  DiskEnv& env;
  RetentionRules current_rules = default_rules();
  std::deque<SegmentAge> log;
  std::vector<std::int64_t> removed, removed_at, begins;
  std::vector<bool> disk_full;
  bool fail = false;
};

class RetentionTest : public ::testing::Test {
 protected:
  RetentionTest() {
    EXPECT_TRUE(env.disk.files().create_directories("store/commitlog"));
    EXPECT_TRUE(env.disk.files().create_directories("store/consumequeue"));
    env.disk.limit_space(1'000 * 4'096);
    log.current_rules.delete_hours = "";
  }
  /// Makes the disk this full.
  void use_space(int thousandths) {
    (void)env.disk.files().remove("ballast");
    auto ballast = env.disk.files().open("ballast", FileSystem::Open::kCreate);
    if (thousandths > 0) {
      EXPECT_TRUE((*ballast)->allocate(0, static_cast<std::uint64_t>(thousandths) * 4'096));
    }
  }

  DiskEnv env;
  FakeLog log{env};
  Retention retention{*env.env, log, {"store/commitlog"}, "store/consumequeue"};
};

TEST_F(RetentionTest, RemovesOldSegmentsOneAtATimeWithAPauseBetween) {
  log.current_rules.reserved_hours = 2;
  log.fill(6);
  retention.start(60s);
  env.clock.advance(59s);
  EXPECT_THAT(log.begins, IsEmpty());
  retention.trigger();
  const std::int64_t start = env.clock.wall_ms();
  env.clock.advance(1s);
  EXPECT_THAT(log.removed, ElementsAre(0, 1'000, 2'000, 3'000));
  EXPECT_THAT(log.removed_at, ElementsAre(start, start + 100, start + 200, start + 300));
  EXPECT_THAT(log.begins, ElementsAre(4'000)) << "queues and index follow once, at the end";
}

TEST_F(RetentionTest, CleansInTheHourOfDeleteWhenAndNotBefore) {
  log.fill(100);
  const std::time_t now = env.clock.wall_ms() / 1'000;
  std::tm local{};
  localtime_r(&now, &local);
  log.current_rules.delete_hours = std::to_string((local.tm_hour + 1) % 24);
  retention.start(0s);
  env.clock.advance(std::chrono::minutes{60 - local.tm_min} - 2min);
  EXPECT_THAT(log.removed, IsEmpty());
  env.clock.advance(4min);
  EXPECT_THAT(log.removed, ::testing::SizeIs(::testing::Ge(28u)));
  EXPECT_EQ(log.log.front().base_offset, log.removed.back() + 1'000);
}

TEST_F(RetentionTest, AManualTriggerLastsForTwentyRuns) {
  log.current_rules.reserved_hours = 0;
  log.current_rules.batch_max = 1;
  log.fill(100);
  retention.start(60s);
  retention.trigger();
  env.clock.advance(1h);
  EXPECT_EQ(log.removed.size(), 20u);
}

TEST_F(RetentionTest, MakesRoomWhateverTheAgeAndRefusesAppendsWhileItIsFull) {
  log.fill(15);
  use_space(910);
  retention.start(0s);
  env.clock.advance(5s);
  EXPECT_THAT(log.disk_full, ElementsAre(true));
  EXPECT_EQ(log.removed.size(), 10u) << "deleteFileBatchMax";
  use_space(870);
  env.clock.advance(10s);
  EXPECT_THAT(log.disk_full, ElementsAre(true)) << "between the levels the flag stays";
  EXPECT_EQ(log.log.size(), 1u) << "never the last";
  EXPECT_THAT(env.log.lines(LogLevel::kError), ElementsAre(HasSubstr("91.0 % full")));
  env.clock.advance(10s);
  EXPECT_THAT(env.log.lines(LogLevel::kWarn).back(), HasSubstr("can be removed"));
  use_space(840);
  env.clock.advance(10s);
  EXPECT_THAT(log.disk_full, ElementsAre(true, false));
}

TEST_F(RetentionTest, ChecksTheSpaceBeforeTheFirstRunWithoutRemoving) {
  log.fill(5);
  use_space(950);
  retention.check_space();
  EXPECT_THAT(log.disk_full, ElementsAre(true));
  EXPECT_THAT(log.removed, IsEmpty());
  EXPECT_NEAR(retention.disk_use().commit_log, 0.95, 0.001);
}

TEST_F(RetentionTest, CountsTheLeastFullOfSeveralDirectoriesAndSkipsThoseThatAreGone) {
  Retention several{*env.env, log, {"store/nowhere", "store/commitlog"}, "store/nowhere"};
  use_space(100);
  EXPECT_NEAR(several.disk_use().commit_log, 0.1, 0.001);
  EXPECT_EQ(several.disk_use().consume_queue, -1);
}

TEST_F(RetentionTest, ASegmentThatCannotBeRemovedEndsTheRunAndIsTriedInTheNext) {
  log.current_rules.reserved_hours = 0;
  log.fill(5);
  log.fail = true;
  retention.start(0s);
  retention.trigger();
  env.clock.advance(5s);
  EXPECT_EQ(log.log.size(), 5u);
  EXPECT_EQ(env.log.lines(LogLevel::kWarn).size(), 1u);
  log.fail = false;
  env.clock.advance(10s);
  EXPECT_EQ(log.log.size(), 1u);
}

TEST_F(RetentionTest, DoesNothingOnceStopped) {
  log.current_rules.reserved_hours = 0;
  log.fill(5);
  retention.start(0s);
  retention.trigger();
  env.clock.advance(150ms);
  EXPECT_EQ(log.removed.size(), 2u);
  retention.stop();
  retention.trigger();
  env.clock.advance(1h);
  EXPECT_EQ(log.removed.size(), 2u);
  EXPECT_EQ(env.clock.pending(), 0u);
}

TEST(RetentionThreads, CanBeTriggeredAndStoppedWhileItWorks) {
  DiskEnv env;
  auto clock = make_system_clock();
  auto workers = make_thread_pool(2, "work");
  Env threaded{*clock, env.disk.files(), env.network, *workers, env.random, env.log};
  for (int round = 0; round < 20; ++round) {
    FakeLog log{env};
    log.current_rules.reserved_hours = 0;
    log.current_rules.pause_ms = 0;
    log.current_rules.period_ms = 1;
    log.fill(50);
    Retention retention{threaded, log, {""}, ""};
    retention.start(Clock::Duration{0});
    for (int i = 0; i < 100; ++i) retention.trigger();
    if (round % 2 == 0) retention.stop();
  }
}

}  // namespace
}  // namespace apogee::store
