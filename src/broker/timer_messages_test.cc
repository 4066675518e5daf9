#include "broker/timer_messages.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "protocol/names.h"
#include "testing/disk_env.h"
#include "testing/memory_store.h"

namespace apogee::broker {
namespace {

class TimerMessagesTest : public ::testing::Test {
 protected:
  TimerMessagesTest() {
    EXPECT_TRUE(disk_.env->files.create_directories("/store/config"));
    for (const char* made : {"/", "/store"}) EXPECT_TRUE(disk_.env->files.sync_directory(made));
    store_.mutable_config().timer_log_file_bytes = 1'024;
    begin();
  }

  void begin() {
    timer_ = std::make_unique<TimerMessages>(*disk_.env, store_, "/store");
    auto loaded = timer_->load();
    ASSERT_TRUE(loaded) << loaded.error().detail;
    timer_->start();
  }
  void restart() {
    timer_->stop();
    begin();
  }
  void kill() {
    disk_.disk.kill_process();
    timer_.reset();
    disk_.restart();
    begin();
  }
  std::int64_t now() const { return disk_.clock.wall_ms(); }
  /// TIMER_OUT_MS as the send path makes it.
  std::int64_t slot_of(std::int64_t deliver_ms) const { return (deliver_ms - 1) / 1'000 * 1'000; }
  void put(std::string_view body, std::int64_t delay_ms,
           std::vector<std::pair<std::string, std::string>> more = {}) {
    std::vector<std::pair<std::string, std::string>> properties{
        {"TIMER_OUT_MS", std::to_string(slot_of(now() + delay_ms))},
        {"REAL_TOPIC", "t"},
        {"REAL_QID", "1"}};
    properties.insert(properties.end(), more.begin(), more.end());
    store_.put({.topic = protocol::kTimerTopic,
                .body = body,
                .tags = "a",
                .unique_key = body,
                .properties = properties});
  }
  void recall(std::string_view body, std::int64_t delay_ms) {
    put("recall of " + std::string{body}, delay_ms, {{"TIMER_DEL_UNIQKEY", std::string{body}}});
  }
  using Bodies = std::vector<std::string>;
  Bodies delivered(std::string_view topic = "t", std::int32_t queue = 1) {
    Bodies bodies;
    for (std::int64_t i = 0; i < store_.max_offset(topic, queue); ++i)
      bodies.emplace_back(
          as_text(protocol::decode_message(store_.record_at(topic, queue, i).bytes)->body));
    return bodies;
  }
  std::string property(std::int64_t at, std::string_view name) {
    const auto record = store_.record_at("t", 1, at);
    return std::string{protocol::decode_message(record.bytes)->property(name).value_or("(absent)")};
  }

  testing::DiskEnv disk_;
  testing::MemoryStore store_{disk_.clock};
  std::unique_ptr<TimerMessages> timer_;
};

std::unique_ptr<store::TimerWheel> wheel_on_disk(FileSystem& files) {
  auto wheel = store::TimerWheel::open(files, "/store/timerwheel", 1'000);
  EXPECT_TRUE(wheel);
  return *std::move(wheel);
}

/// Into the file, past the timer.
void write_slot(FileSystem& files, const store::TimerSlot& slot) {
  const auto wheel = wheel_on_disk(files);
  wheel->put(slot);
  wheel->begin_flush();
  ASSERT_TRUE(wheel->write_flush());
}

/// The slot of "five" leads to the unit of "twenty".
void damage_a_slot(FileSystem& files, std::int64_t five) {
  auto slot = wheel_on_disk(files)->slot(five);
  ASSERT_TRUE(slot && slot->last == 0);
  slot->last = 52;
  write_slot(files, *slot);
}

TEST_F(TimerMessagesTest, ASlotThatWasDamagedBeforeTheStartIsMadeAgain) {
  put("five", 5'000);
  put("twenty", 20'000);
  disk_.clock.advance(1s);
  const std::int64_t five = slot_of(now() + 4'000);
  timer_->stop();
  damage_a_slot(disk_.env->files, five);
  begin();
  disk_.clock.advance(15s);
  EXPECT_EQ(delivered(), Bodies{"five"});
  disk_.clock.advance(10s);
  EXPECT_EQ(delivered(), (Bodies{"five", "twenty"}));
}

// Found by a seed: a write of the wheel got as far as the slot's time, and its message was the
// first there ever was, whose recall had the slot of its own time.
TEST_F(TimerMessagesTest, ASlotWrittenInPartBringsNothingBackThatWasRecalled) {
  put("five", 5'000);
  recall("five", 5'000);
  put("twenty", 20'000);
  disk_.clock.advance(1s);
  timer_->stop();
  write_slot(disk_.env->files,
             {.time_ms = slot_of(now() + 7'000), .first = 0, .last = 0, .count = 0});
  begin();
  disk_.clock.advance(30s);
  EXPECT_EQ(delivered(), Bodies{"twenty"});
}

TEST_F(TimerMessagesTest, ADamagedSlotDeliversNothingBeforeItsTime) {
  put("five", 5'000);
  put("twenty", 20'000);
  disk_.clock.advance(1s);
  const std::int64_t five = slot_of(now() + 4'000);
  restart();
  damage_a_slot(disk_.env->files, five);
  disk_.clock.advance(15s);
  EXPECT_EQ(delivered(), Bodies{});
  disk_.clock.advance(10s);
  EXPECT_THAT(delivered(), ::testing::Contains("twenty"));
}

TEST_F(TimerMessagesTest, DeliversOnTheDotAndNotBefore) {
  put("five", 5'000);
  put("two and a half", 2'500);
  disk_.clock.advance(2'900ms);
  EXPECT_EQ(delivered(), Bodies{});
  disk_.clock.advance(100ms);
  EXPECT_EQ(delivered(), Bodies{"two and a half"}) << "when the second it falls in is over";
  disk_.clock.advance(1'999ms);
  EXPECT_EQ(delivered().size(), 1U);
  disk_.clock.advance(1ms);
  EXPECT_EQ(delivered(), (Bodies{"two and a half", "five"}));
  EXPECT_EQ(timer_->snapshot().lateness_ms.max(), 0U);
}

TEST_F(TimerMessagesTest, WhatIsReadWrongOnceIsReadAgain) {
  put("m", 5'000);
  disk_.clock.advance(4s);
  store_.misreads = 2;
  disk_.clock.advance(1s);
  EXPECT_EQ(delivered(), Bodies{"m"});
}

TEST_F(TimerMessagesTest, SaysOnTheMessageWhenItCameAndWent) {
  put("m", 3'000);
  const std::string came = std::to_string(now());
  disk_.clock.advance(3s);
  EXPECT_EQ(property(0, "TAGS"), "a");
  EXPECT_EQ(property(0, "REAL_TOPIC"), "t");
  EXPECT_EQ(property(0, "REAL_QID"), "1");
  EXPECT_EQ(property(0, "TIMER_ENQUEUE_MS"), came);
  EXPECT_EQ(property(0, "TIMER_DEQUEUE_MS"), std::to_string(now()));
  EXPECT_EQ(property(0, "TIMER_ROLL_TIMES"), "(absent)");
}

TEST_F(TimerMessagesTest, KeepsTheOrderWithinASlot) {
  Bodies sent;
  for (int i = 0; i < 1'000; ++i) put(sent.emplace_back(std::to_string(i)), 2'000);
  EXPECT_EQ(timer_->snapshot().enqueue_lag, 1'000);
  disk_.clock.advance(100ms);
  EXPECT_EQ(timer_->snapshot().dequeue_lag, 1'000);
  EXPECT_EQ(timer_->waiting_at(now() + 900), 1'000);
  EXPECT_EQ(timer_->metrics().timing_count.at("t").count, 1'000);
  disk_.clock.advance(1'900ms);
  EXPECT_EQ(delivered(), sent);
  EXPECT_EQ(timer_->snapshot().dequeue_lag, 0);
  EXPECT_EQ(timer_->metrics().timing_count.at("t").count, 0);
}

TEST_F(TimerMessagesTest, DeliversAtOnceWhatCameTooLate) {
  put("late", -5'000);
  disk_.clock.advance(100ms);
  EXPECT_EQ(delivered(), Bodies{"late"});
  EXPECT_EQ(property(0, "TIMER_ENQUEUE_MS"), "9223372036854775807") << "as Java marks it";
}

TEST_F(TimerMessagesTest, GoesAroundWithWhatIsDueBeyondTheWindow) {
  timer_->stop();
  store_.mutable_config().timer_roll_window_slots = 10;
  begin();
  put("far", 25'000);
  disk_.clock.advance(24'999ms);
  EXPECT_EQ(delivered(), Bodies{});
  disk_.clock.advance(1ms);
  EXPECT_EQ(delivered(), Bodies{"far"});
  EXPECT_EQ(property(0, "TIMER_ROLL_TIMES"), "2");
  EXPECT_EQ(timer_->metrics().timing_count.at("t").count, 0);
}

TEST_F(TimerMessagesTest, DoesNotDeliverWhatWasRecalled) {
  put("unwanted", 5'000);
  put("wanted", 5'000);
  disk_.clock.advance(1s);
  recall("unwanted", 4'000);
  disk_.clock.advance(1s);
  EXPECT_EQ(timer_->metrics().timing_count.at("t").count, 1);
  disk_.clock.advance(5s);
  EXPECT_EQ(delivered(), Bodies{"wanted"});
  EXPECT_EQ(timer_->metrics().timing_count.at("t").count, 0);
  EXPECT_EQ(timer_->snapshot().dequeue_lag, 0);
}

TEST_F(TimerMessagesTest, UnderstandsRecallsOfOlderBrokers) {
  put("unwanted", 2'000);
  put("recall", 2'000, {{"TIMER_DEL_UNIQKEY", "t+unwanted"}});
  disk_.clock.advance(5s);
  EXPECT_EQ(delivered(), Bodies{});
}

TEST_F(TimerMessagesTest, RecallsWhatGoesAround) {
  timer_->stop();
  store_.mutable_config().timer_roll_window_slots = 10;
  begin();
  put("far", 25'000);
  disk_.clock.advance(3s);
  recall("far", 22'000);
  disk_.clock.advance(40s);
  EXPECT_EQ(delivered(), Bodies{});
  EXPECT_EQ(timer_->snapshot().dequeue_lag, 0);
}

TEST_F(TimerMessagesTest, ARecallHoldsAlthoughTheTimerStoodStill) {
  timer_->stop();
  store_.mutable_config().timer_roll_window_slots = 10;
  begin();
  put("far", 12'000);
  recall("far", 12'000);
  disk_.clock.advance(1s);
  timer_->stop();
  disk_.clock.advance(60s);
  begin();
  disk_.clock.advance(1s);
  EXPECT_EQ(delivered(), Bodies{});
}

TEST_F(TimerMessagesTest, ARecallHoldsAlthoughItCouldNotBeReadForAWhile) {
  put("unwanted", 5'000);
  put("wanted", 5'000);
  disk_.clock.advance(1s);
  store_.unreadable = true;
  recall("unwanted", 4'000);
  disk_.clock.advance(10s);
  store_.unreadable = false;
  disk_.clock.advance(1s);
  EXPECT_EQ(delivered(), Bodies{"wanted"});
}

TEST_F(TimerMessagesTest, ARecallHoldsAlthoughTheTimersFilesAreGone) {
  timer_->stop();
  put("unwanted", 5'000);
  put("wanted", 5'000);
  recall("unwanted", 5'000);
  for (const char* file : {"/store/timerwheel", "/store/config/timercheck"})
    (void)disk_.env->files.remove(file);
  disk_.clock.advance(60s);
  begin();
  disk_.clock.advance(1s);
  EXPECT_EQ(delivered(), Bodies{"wanted"});
}

TEST_F(TimerMessagesTest, ARecallHoldsThatComesWhileAnEarlierSlotIsDelivered) {
  struct DuringDelivery : store::StoreEvents {
    std::function<void()> then;
    void on_arrivals(std::span<const store::Arrival> arrivals) override {
      if (arrivals.front().topic == "t" && then) std::exchange(then, nullptr)();
    }
  } events;
  store_.set_events(&events);
  const std::int64_t due = now() + 7'000;
  put("first", 2'000);
  put("unwanted", 7'000);
  events.then = [&] {
    recall("unwanted", due - now());
    disk_.clock.set_wall_ms(now() + 10'000);  // so long does the slot take
  };
  disk_.clock.advance(15s);
  EXPECT_EQ(delivered(), Bodies{"first"});
  store_.set_events(nullptr);
}

TEST_F(TimerMessagesTest, CountsThatCannotBeWrittenMakeNothingComeTwice) {
  put("one", 2'000);
  disk_.disk.inject({.operation = testing::ForgetfulDisk::Operation::kOpen,
                     .times = testing::ForgetfulDisk::kForever,
                     .path_part = "timermetrics"});
  disk_.clock.advance(10s);
  disk_.disk.clear_faults();
  put("two", 2'000);
  disk_.clock.advance(10s);
  restart();
  disk_.clock.advance(10s);
  EXPECT_EQ(delivered(), (Bodies{"one", "two"}));
}

TEST_F(TimerMessagesTest, ARecallThatComesTooLateDoesNothing) {
  put("m", 2'000);
  disk_.clock.advance(3s);
  recall("m", -1'000);
  disk_.clock.advance(3s);
  EXPECT_EQ(delivered(), Bodies{"m"});
}

TEST_F(TimerMessagesTest, GoesOnAfterACleanRestart) {
  put("one", 2'000);
  put("two", 60'000);
  disk_.clock.advance(3s);
  restart();
  EXPECT_EQ(timer_->snapshot().dequeue_lag, 1);
  EXPECT_EQ(timer_->metrics().timing_count.at("t").count, 1);
  disk_.clock.advance(60s);
  EXPECT_EQ(delivered(), (Bodies{"one", "two"})) << "each once";
}

TEST_F(TimerMessagesTest, DeliversWhatCameDueWhileItWasDown) {
  put("m", 10'000);
  disk_.clock.advance(1s);
  timer_->stop();
  disk_.clock.advance(3'600s);
  begin();
  disk_.clock.advance(100ms);
  EXPECT_EQ(delivered(), Bodies{"m"});
}

TEST_F(TimerMessagesTest, LosesNothingToAKill) {
  for (int i = 0; i < 50; ++i) put(std::to_string(i), 30'000);
  disk_.clock.advance(2s);
  for (int i = 50; i < 100; ++i) put(std::to_string(i), 28'000);
  disk_.clock.advance(150ms);  // taken in, not flushed
  kill();
  disk_.clock.advance(30s);
  EXPECT_EQ(delivered().size(), 100U) << "each once: what is behind the check point is made again";
}

TEST_F(TimerMessagesTest, ASyncThatFailsForWantOfRoomIsNotTriedAgain) {
  std::size_t sent = 0;
  for (const char* file : {"/timerlog/", "/timerlog/", "/timerwheel", "/timercheck"}) {
    SCOPED_TRACE(::testing::Message() << file << ", messages sent: " << sent);
    disk_.disk.inject({.operation = testing::ForgetfulDisk::Operation::kSync,
                       .error = Errc::kNoSpace,
                       .path_part = file});  // first of all, of a file of the log that is made
    put(std::to_string(++sent), 20'000);
    disk_.clock.advance(5s);  // several flushes, of the same bytes
    disk_.disk.crash();
    timer_.reset();
    disk_.disk.clear_faults();
    disk_.restart();
    begin();
    disk_.clock.advance(30s);
    EXPECT_EQ(delivered().size(), sent);
  }
}

TEST_F(TimerMessagesTest, MakesTheWheelAgainFromTheLog) {
  for (int i = 0; i < 50; ++i) put(std::to_string(i), 5'000 + i * 1'000);
  disk_.clock.advance(10s);
  const std::size_t before = delivered().size();
  timer_->stop();
  ASSERT_TRUE(disk_.env->files.remove("/store/timerwheel"));
  begin();
  EXPECT_EQ(timer_->snapshot().dequeue_lag, static_cast<std::int64_t>(50 - before));
  disk_.clock.advance(60s);
  EXPECT_EQ(delivered().size(), 50U);
}

TEST_F(TimerMessagesTest, APowerCutWhileTheWheelIsMadeAgainHidesNothing) {
  put("far", 100'000);
  put("near", 1'000);  // the last unit of the log is past, and asks no more for the wheel
  disk_.clock.advance(5s);
  EXPECT_EQ(delivered(), Bodies{"near"});
  timer_->stop();
  for (std::uint64_t operations = 0; operations < 16; ++operations) {
    (void)disk_.env->files.remove("/store/timerwheel");
    ASSERT_TRUE(disk_.env->files.sync_directory("/store"));
    begin();
    disk_.disk.lose_power_after(operations);
    disk_.clock.advance(2s);
    disk_.disk.crash(operations);
    timer_.reset();
    disk_.restart();
    begin();
    EXPECT_EQ(timer_->snapshot().dequeue_lag, 1) << "after " << operations << " operations";
    timer_->stop();
  }
  begin();
  disk_.clock.advance(100s);
  EXPECT_EQ(delivered(), (Bodies{"near", "far"}));
}

TEST_F(TimerMessagesTest, ASlotDoesNotGoOnInAnotherWhoseUnitsTookItsPlaces) {
  using Operation = testing::ForgetfulDisk::Operation;
  const auto refuse_writes = [&](const char* file) {
    disk_.disk.inject({.operation = Operation::kWrite,
                       .times = testing::ForgetfulDisk::kForever,
                       .path_part = file});
  };
  put("unwanted", 20'000);
  disk_.clock.advance(2s);  // the check point ends behind its unit
  refuse_writes("timercheck");
  disk_.clock.advance(8s);
  put("late", -4'000);  // goes at once, without a unit
  recall("unwanted", 10'000);
  put("other", 50'000);
  disk_.clock.advance(2s);
  refuse_writes("timerwheel");
  kill();  // late has a unit now, and those behind it are one farther
  disk_.clock.advance(2s);
  disk_.disk.clear_faults();
  kill();  // the wheel is the first life's, the log the second's
  disk_.clock.advance(5s);
  EXPECT_EQ(timer_->snapshot().dequeue_lag, 1) << "other, and what was recalled with its recall";
  disk_.clock.advance(60s);
  EXPECT_THAT(delivered(), ::testing::Not(::testing::Contains("unwanted")));
  EXPECT_THAT(delivered(), ::testing::Contains("other"));
}

TEST_F(TimerMessagesTest, MakesTheLogAgainFromTheTimerTopic) {
  for (int i = 0; i < 50; ++i) put(std::to_string(i), 5'000 + i * 1'000);
  disk_.clock.advance(10s);
  timer_->stop();
  ASSERT_TRUE(remove_tree(disk_.env->files, "/store/timerlog"));
  begin();
  disk_.clock.advance(60s);
  EXPECT_EQ(delivered().size(), 50U) << "what was delivered is known from the check point";
}

TEST_F(TimerMessagesTest, MakesALogWithAHoleAgain) {
  for (int i = 0; i < 300; ++i) put(std::to_string(i), 5'000 + i * 100);
  disk_.clock.advance(10s);
  timer_->stop();
  ASSERT_TRUE(disk_.env->files.remove("/store/timerlog/00000000000000001024"));
  begin();
  disk_.clock.advance(60s);
  const Bodies all = delivered();
  EXPECT_EQ(std::set(all.begin(), all.end()).size(), 300U);
  EXPECT_EQ(all.size(), 300U) << "what was delivered is known from the check point";
}

TEST_F(TimerMessagesTest, WaitsForAStoreThatRefuses) {
  put("m", 2'000);
  disk_.clock.advance(1s);
  store_.next_status = store::PutStatus::kServiceNotAvailable;
  disk_.clock.advance(5s);
  EXPECT_EQ(disk_.log.lines(LogLevel::kWarn).size(), 1U) << "said once";
  store_.next_status = store::PutStatus::kOk;
  disk_.clock.advance(1s);
  EXPECT_EQ(delivered(), Bodies{"m"});
  EXPECT_GE(timer_->snapshot().lateness_ms.max(), 3'000U);
}

TEST_F(TimerMessagesTest, CallsNothingDeliveredThatIsNotOnDisk) {
  put("m", 2'000);
  disk_.clock.advance(1'500ms);
  store_.hold_durable = true;
  disk_.clock.advance(5s);
  EXPECT_EQ(delivered(), Bodies{"m"});
  store_.sync(store::PutStatus::kServiceNotAvailable);
  store_.hold_durable = false;
  kill();
  disk_.clock.advance(1s);
  EXPECT_EQ(delivered(), (Bodies{"m", "m"})) << "the first might have been lost";
}

TEST_F(TimerMessagesTest, DropsWhatHasNoPlaceToGo) {
  store_.put({.topic = protocol::kTimerTopic, .body = "homeless"});
  put("good", 1'000);
  disk_.clock.advance(3s);
  EXPECT_EQ(delivered(), Bodies{"good"});
  EXPECT_EQ(disk_.log.lines(LogLevel::kError).size(), 1U);
}

TEST_F(TimerMessagesTest, StopsTakingInAndGivingOutWhenToldTo) {
  store_.mutable_config().timer_stop_dequeue = true;
  put("m", 2'000);
  disk_.clock.advance(5s);
  EXPECT_EQ(delivered(), Bodies{});
  EXPECT_EQ(timer_->snapshot().dequeue_latency_ms, 5'000);
  store_.mutable_config().timer_stop_dequeue = false;
  disk_.clock.advance(1s);
  EXPECT_EQ(delivered(), Bodies{"m"});
}

TEST_F(TimerMessagesTest, AnIdleTimerLeavesTheDiskAlone) {
  disk_.clock.advance(5s);
  const auto syncs = disk_.disk.count(testing::ForgetfulDisk::Operation::kSync);
  disk_.clock.advance(50s);
  EXPECT_EQ(disk_.disk.count(testing::ForgetfulDisk::Operation::kSync), syncs);
}

}  // namespace
}  // namespace apogee::broker
