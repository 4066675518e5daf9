#include <map>
#include <random>

#include <gtest/gtest.h>

#include "broker/timer_messages.h"
#include "protocol/names.h"
#include "testing/disk_env.h"
#include "testing/memory_store.h"
#include "testing/seeds.h"

/// The timer against a model of two lines: a message is delivered when its second is over and not
/// before, unless it was recalled before that. Random sends, recalls, waits, restarts, kills and
/// power cuts of the timer's files (also in the middle of a flush), told by a seed. The commit log
/// is one that loses nothing, as with SYNC_FLUSH. Without kills and power cuts each message comes
/// once.
namespace apogee::broker {
namespace {

class TimerModel {
 public:
  explicit TimerModel(std::uint64_t seed) : random_{seed} {
    EXPECT_TRUE(disk_.env->files.create_directories("/store/config"));
    for (const char* made : {"/", "/store"}) EXPECT_TRUE(disk_.env->files.sync_directory(made));
    store_.mutable_config().timer_log_file_bytes = below(2) == 0 ? 1'024 : 16'384;
    store_.mutable_config().timer_roll_window_slots = 10 + static_cast<std::int32_t>(below(60));
    store_.mutable_config().timer_flush_interval_ms = below(2) == 0 ? 1'000 : 10'000;
    // Any place of the wheel, its end too.
    disk_.clock.advance(std::chrono::seconds{below(1'300'000)});
    begin();
  }
  ~TimerModel() {
    if (!::testing::Test::HasFailure()) return;
    ADD_FAILURE() << "it went" << history_;
    for (const std::string& line : disk_.log.lines()) fmt::print("  {}\n", line);
  }

  void run() {
    for (int step = 0; step < 100 && !::testing::Test::HasFailure(); ++step) {
      switch (below(12)) {
        case 0:
          history_ += " restart";
          timer_->stop();
          stand_still();
          begin();
          break;
        case 1:
          if (below(2) == 0) refuse();
          end_abruptly();
          break;
        case 2:
        case 3:
          recall();
          break;
        case 4:
        case 5:
        case 6:
          disk_.clock.advance(std::chrono::milliseconds{below(4'000)});
          break;
        default:
          for (std::uint64_t i = below(8) + 1; i-- > 0;) send();
      }
    }
    disk_.clock.advance(400s);
    check();
  }

 private:
  struct Sent {
    std::int64_t deliver_ms = 0, out_ms = 0;
    bool recalled = false;
    int times = 0;
  };

  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  std::int64_t now() const { return disk_.clock.wall_ms(); }
  void begin() {
    timer_ = std::make_unique<TimerMessages>(*disk_.env, store_, "/store");
    auto loaded = timer_->load();
    ASSERT_TRUE(loaded) << loaded.error().detail;
    timer_->start();
  }
  void stand_still() {
    if (below(3) == 0) disk_.clock.advance(std::chrono::milliseconds{below(90'000)});
  }
  /// The disk refuses something of a flush, after which the timer's files stay as they are.
  void refuse() {
    using Operation = testing::ForgetfulDisk::Operation;
    static constexpr std::array kPaths{"timerwheel", "timercheck", "timerlog", "timer"};
    history_ += " refused";
    disk_.disk.inject({.operation = below(2) == 0 ? Operation::kWrite : Operation::kSync,
                       .after = below(4),
                       .path_part = kPaths[below(kPaths.size())],
                       .written = below(100)});
    disk_.clock.advance(std::chrono::milliseconds{below(12'000)});
    for (std::uint64_t i = below(8); i-- > 0;) send();
    if (below(2) == 0) recall();
  }
  void end_abruptly() {
    calm_ = false;
    switch (below(3)) {
      case 0:
        history_ += " kill";
        disk_.disk.kill_process();
        break;
      case 1:
        history_ += " cut";
        disk_.disk.crash(random_());
        break;
      default:
        history_ += " cut midway";
        disk_.disk.lose_power_after(below(40));
        disk_.clock.advance(std::chrono::milliseconds{below(3'000)});
        disk_.disk.crash(random_());
    }
    timer_.reset();
    disk_.disk.clear_faults();
    disk_.restart();
    stand_still();
    begin();
  }

  void send() {
    static constexpr std::array<std::uint64_t, 4> kDelays{1'500, 10'000, 60'000, 300'000};
    Sent sent;
    sent.deliver_ms = now() + 1 + static_cast<std::int64_t>(below(kDelays[below(4)]));
    sent.out_ms = (sent.deliver_ms - 1) / 1'000 * 1'000;
    const std::string key = "m" + std::to_string(sent_.size());
    put(key, sent.out_ms, {});
    sent_[key] = sent;
  }
  void recall() {
    if (sent_.empty()) return;
    auto each = std::next(sent_.begin(), static_cast<std::ptrdiff_t>(below(sent_.size())));
    // As a broker takes it: before its time. Later than this the timer may not hear of it in time.
    if (each->second.out_ms + 1 <= now() + 200) return;
    put("recall of " + each->first, each->second.out_ms, {{"TIMER_DEL_UNIQKEY", each->first}});
    each->second.recalled = true;
  }
  void put(const std::string& key, std::int64_t out_ms,
           std::vector<std::pair<std::string, std::string>> properties) {
    properties.insert(
        properties.end(),
        {{"TIMER_OUT_MS", std::to_string(out_ms)}, {"REAL_TOPIC", "t"}, {"REAL_QID", "0"}});
    store_.put(
        {.topic = protocol::kTimerTopic, .body = key, .unique_key = key, .properties = properties});
  }

  void check() {
    for (std::int64_t i = 0; i < store_.max_offset("t", 0); ++i) {
      const auto record = store_.record_at("t", 0, i);
      const auto message = protocol::decode_message(record.bytes);
      const auto known = sent_.find(std::string{as_text(message->body)});
      ASSERT_NE(known, sent_.end()) << as_text(message->body);
      Sent& sent = known->second;
      ++sent.times;
      EXPECT_GE(message->store_timestamp, sent.deliver_ms) << known->first << " is early";
    }
    for (const auto& [key, sent] : sent_) {
      if (sent.recalled) {
        EXPECT_EQ(sent.times, 0) << key << " was recalled";
      } else {
        EXPECT_GE(sent.times, 1) << key << " is lost";
      }
      EXPECT_LE(sent.times, calm_ ? 1 : sent.times) << key << " came again";
    }
    EXPECT_EQ(timer_->snapshot().enqueue_lag, 0);
    EXPECT_EQ(timer_->snapshot().dequeue_lag, 0);
    if (!calm_) return;
    for (const auto& [topic, count] : timer_->snapshot().timing) EXPECT_EQ(count, 0) << topic;
  }

  std::mt19937_64 random_;
  testing::DiskEnv disk_;
  testing::MemoryStore store_{disk_.clock};
  std::unique_ptr<TimerMessages> timer_;
  std::map<std::string, Sent> sent_;
  std::string history_;
  bool calm_ = true;  // no kill and no power cut so far
};

TEST(TimerModel, DeliversEverythingOnTimeThroughRestartsKillsAndPowerCuts) {
  const testing::Seeds seeds{6};
  for (std::uint64_t seed = seeds.first; seed <= seeds.last; ++seed) {
    SCOPED_TRACE(::testing::Message()
                 << "seed " << seed << " (APOGEE_SEED=" << seed << " repeats it)");
    TimerModel{seed}.run();
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace apogee::broker
