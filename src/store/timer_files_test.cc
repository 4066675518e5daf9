#include <array>
#include <limits>

#include <gtest/gtest.h>

#include "store/timer_checkpoint.h"
#include "store/timer_log.h"
#include "store/timer_wheel.h"
#include "testing/disk_env.h"

namespace apogee::store {
namespace {

constexpr std::int64_t kNow = 1'700'000'000'000;

class TimerFiles : public ::testing::Test {
 protected:
  TimerFiles() {
    EXPECT_TRUE(files().create_directories("/store/config"));
    for (const char* made : {"/", "/store"}) EXPECT_TRUE(files().sync_directory(made));
  }
  FileSystem& files() { return disk_.env->files; }
  std::unique_ptr<TimerWheel> wheel(std::int64_t precision = 1'000) {
    auto opened = TimerWheel::open(files(), "/store/timerwheel", precision);
    EXPECT_TRUE(opened) << opened.error().detail;
    return *std::move(opened);
  }
  std::string hex(const std::string& path, std::size_t at, std::size_t length) {
    const auto content = read_file(files(), path);
    EXPECT_TRUE(content);
    std::string out;
    for (const char each : std::string_view{*content}.substr(at, length))
      out += fmt::format("{:02x}", static_cast<unsigned char>(each));
    return out;
  }
  static void flush(TimerWheel& wheel) {
    wheel.begin_flush();
    const auto written = wheel.write_flush();
    EXPECT_TRUE(written) << written.error().detail;
    wheel.end_flush(written.has_value());
  }
  static TimerUnit unit(std::int64_t offset, std::int64_t previous = -1) {
    return {.previous = previous,
            .written_ms = kNow,
            .delay_ms = 5'000,
            .physical_offset = offset,
            .size = 200,
            .topic_hash = 116};
  }

  testing::DiskEnv disk_;
};

TEST_F(TimerFiles, ASlotIsThereBeforeAndAfterItIsWritten) {
  auto first = wheel();
  first->put({.time_ms = kNow, .first = 52, .last = 104, .count = 2});
  EXPECT_EQ(first->slot(kNow + 999)->last, 104) << "any time within it";
  EXPECT_EQ(first->slot(kNow + 1'000)->last, -1);
  flush(*first);
  EXPECT_EQ(first->slot(kNow)->count, 2);
  auto second = wheel();
  EXPECT_EQ(second->slot(kNow)->first, 52);
  EXPECT_EQ(second->slot(kNow + TimerWheel::kSlots * 1'000)->last, -1)
      << "the same place at another time";
}

TEST_F(TimerFiles, TheWheelHasTheLayoutOfThePublishedBroker) {
  auto one = wheel();
  one->put({.time_ms = kNow, .first = 52, .last = 104, .count = 2});
  flush(*one);
  EXPECT_EQ(files().stat("/store/timerwheel")->size, 38'707'200U);
  const std::size_t index = 1'700'000'000 % 1'209'600;
  EXPECT_EQ(hex("/store/timerwheel", index * 32, 32),
            "000000006553f100"
            "0000000000000034"
            "0000000000000068"
            "00000002"
            "00000000");
}

TEST_F(TimerFiles, AWheelThatIsLongerThanOneIsRefused) {
  auto file = files().open("/store/timerwheel", FileSystem::Open::kCreate);
  ASSERT_TRUE((*file)->resize(38'707'201));
  const auto opened = TimerWheel::open(files(), "/store/timerwheel", 1'000);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::kMalformed);
}

TEST_F(TimerFiles, AWheelThatACrashLeftShortIsReplaced) {
  {
    auto one = wheel();
    one->put({.time_ms = kNow, .first = 0, .last = 0, .count = 1});
    flush(*one);
    auto file = files().open("/store/timerwheel", FileSystem::Open::kExisting);
    ASSERT_TRUE((*file)->resize(38'707'200 - 1));
  }
  auto torn = wheel();
  EXPECT_FALSE(torn->has_file());
  EXPECT_EQ(torn->slot(kNow)->last, -1);
  torn->put({.time_ms = kNow + 1'000, .first = 52, .last = 52, .count = 1});
  flush(*torn);
  auto again = wheel();
  EXPECT_EQ(again->slot(kNow)->last, -1) << "nothing is left of the torn one";
  EXPECT_EQ(again->slot(kNow + 1'000)->last, 52);
}

TEST_F(TimerFiles, AWheelIsThereAsAWholeOrNotAtAll) {
  using Operation = testing::ForgetfulDisk::Operation;
  for (const Operation operation :
       {Operation::kResize, Operation::kWrite, Operation::kSync, Operation::kRename}) {
    auto one = wheel();
    one->put({.time_ms = kNow, .first = 0, .last = 0, .count = 1});
    disk_.disk.inject({.operation = operation, .times = 1, .error = Errc::kNoSpace});
    one->begin_flush();
    EXPECT_FALSE(one->write_flush());
    one->end_flush(false);
    EXPECT_FALSE(wheel()->has_file());
    EXPECT_EQ(one->slot(kNow)->last, 0) << "it is written by the next flush";
  }
}

TEST_F(TimerFiles, TimesThatCannotBeAreNone) {
  auto one = wheel();
  one->put({.time_ms = kNow, .first = 0, .last = 0, .count = 1});
  flush(*one);
  auto file = files().open("/store/timerwheel", FileSystem::Open::kExisting);
  std::array<std::byte, 8> time{};
  for (const std::int64_t steps :
       {std::int64_t{-1}, std::int64_t{1} << 62, std::int64_t{-1} << 62}) {
    write_big(time, 0, steps);
    ASSERT_TRUE(
        (*file)->write_at(kNow / 1'000 % TimerWheel::kSlots * TimerWheel::kSlotBytes, Bytes{time}));
    EXPECT_EQ(wheel()->slot(kNow)->last, -1) << steps;
  }
  TimerLog log{files(), "/store/timerlog", 4'096};
  TimerUnit late = unit(1);
  late.written_ms = std::numeric_limits<std::int64_t>::max();
  EXPECT_FALSE(log.at(*log.append(late)));
}

TEST_F(TimerFiles, SlotsAreVisitedInOrderAroundTheWheelsEnd) {
  auto one = wheel();
  const std::int64_t turn = (kNow / 1'000 / TimerWheel::kSlots + 1) * TimerWheel::kSlots * 1'000;
  for (const std::int64_t at : {turn + 3'000, turn - 2'000, turn, turn + 9'000'000})
    one->put({.time_ms = at, .first = 0, .last = 0, .count = 1});
  flush(*one);
  one->put({.time_ms = turn - 1'000, .first = 52, .last = 52, .count = 1});
  std::vector<std::int64_t> seen;
  ASSERT_TRUE(one->each(turn - 5'000'000, turn + 9'000'000, [&](const TimerSlot& slot) {
    seen.push_back(slot.time_ms - turn);
    return true;
  }));
  EXPECT_EQ(seen, (std::vector<std::int64_t>{-2'000, -1'000, 0, 3'000}));
}

TEST_F(TimerFiles, AUnitHasTheLayoutOfThePublishedBroker) {
  TimerLog log{files(), "/store/timerlog", 4'096};
  ASSERT_TRUE(log.load());
  EXPECT_EQ(*log.append(unit(0x1234)), 0);
  EXPECT_EQ(*log.append(unit(0x5678, 0)), 52);
  EXPECT_EQ(hex("/store/timerlog/00000000000000000000", 52, 52),
            "00000034"
            "0000000000000000"
            "00000001"
            "0000018bcfe56800"
            "00001388"
            "0000000000005678"
            "000000c8"
            "00000074"
            "0000000000000000");
}

TEST_F(TimerFiles, AFullTimerLogFileEndsWithABlank) {
  TimerLog log{files(), "/store/timerlog", 1'024};
  ASSERT_TRUE(log.load());
  std::vector<std::int64_t> positions;
  for (int i = 0; i < 25; ++i) positions.push_back(*log.append(unit(i)));
  EXPECT_EQ(positions[18], 18 * 52);
  EXPECT_EQ(positions[19], 1'024) << "19 units and 16 bytes fit";
  EXPECT_EQ(hex("/store/timerlog/00000000000000000000", 19 * 52, 16),
            "00000024"
            "0000000000000000"
            "cbd43194");
  for (std::int64_t at = 0, i = 0; i < 25; ++i, at = log.behind(at)) {
    const auto found = log.at(at);
    ASSERT_TRUE(found) << at;
    EXPECT_EQ(found->physical_offset, i);
  }
  EXPECT_FALSE(log.at(19 * 52)) << "the blank is no unit";
}

TEST_F(TimerFiles, TheTimerLogIsCutAndGoesOn) {
  {
    TimerLog log{files(), "/store/timerlog", 1'024};
    ASSERT_TRUE(log.load());
    for (int i = 0; i < 25; ++i) ASSERT_TRUE(log.append(unit(i)));
  }
  TimerLog log{files(), "/store/timerlog", 1'024};
  ASSERT_TRUE(log.load());
  ASSERT_TRUE(log.set_end(10 * 52));
  EXPECT_FALSE(log.at(10 * 52));
  EXPECT_FALSE(files().stat("/store/timerlog/00000000000000001024"));
  EXPECT_EQ(*log.append(unit(77)), 10 * 52);
  EXPECT_EQ(log.at(10 * 52)->physical_offset, 77);
}

// A power cut keeps sectors in any order.
TEST_F(TimerFiles, WhatStandsBehindZerosIsCutAsWell) {
  const std::string path = "/store/timerlog/" + segment_name(0);
  {
    TimerLog log{files(), "/store/timerlog", 1'024};
    ASSERT_TRUE(log.load());
    for (int i = 0; i < 15; ++i) ASSERT_TRUE(log.append(unit(i)));
    auto file = files().open(path, FileSystem::Open::kExisting);
    const Buffer lost(52, '\0');
    ASSERT_TRUE(file && (*file)->write_at(5 * 52, as_bytes(lost)));
  }
  TimerLog log{files(), "/store/timerlog", 1'024};
  ASSERT_TRUE(log.load());
  ASSERT_TRUE(log.set_end(5 * 52));
  EXPECT_EQ(*log.append(unit(77)), 5 * 52);
  TimerLog again{files(), "/store/timerlog", 1'024};
  ASSERT_TRUE(again.load());
  EXPECT_EQ(again.at(5 * 52)->physical_offset, 77);
  EXPECT_FALSE(again.at(6 * 52)) << "a unit of an earlier life";
}

TEST_F(TimerFiles, AFileThatAPowerCutToreIsFilledUpAndThoseBehindItGo) {
  constexpr std::int64_t kFile = 1'024, kUnits = 19;  // as many units as a file has room for
  const auto path = [](std::int64_t base) { return "/store/timerlog/" + segment_name(base); };
  for (const std::int64_t torn : {std::int64_t{0}, kFile}) {
    SCOPED_TRACE(torn);
    {
      TimerLog log{files(), "/store/timerlog", kFile};
      ASSERT_TRUE(log.load());
      ASSERT_TRUE(log.set_end(0));
      for (int i = 0; i < 3 * kUnits; ++i) ASSERT_TRUE(log.append(unit(i)));
    }
    auto file = files().open(path(torn), FileSystem::Open::kExisting);
    ASSERT_TRUE(file && (*file)->resize(520));
    TimerLog log{files(), "/store/timerlog", kFile};
    ASSERT_TRUE(log.load());
    EXPECT_EQ(files().stat(path(torn))->size, static_cast<std::uint64_t>(kFile));
    EXPECT_FALSE(files().stat(path(torn + kFile)));
    EXPECT_EQ(log.end(), torn + kFile);
    ASSERT_TRUE(log.set_end(torn + 9 * 52));
    EXPECT_EQ(log.at(torn + 8 * 52)->physical_offset, torn / kFile * kUnits + 8) << "is kept";
    EXPECT_EQ(*log.append(unit(77)), torn + 9 * 52);
  }
}

TEST_F(TimerFiles, AFirstFileThatAPowerCutToreIsFilledUp) {
  {
    TimerLog log{files(), "/store/timerlog", 1'024};
    ASSERT_TRUE(log.load());
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(log.append(unit(i)));
  }
  const std::string path = "/store/timerlog/00000000000000000000";
  auto torn = files().open(path, FileSystem::Open::kExisting);
  ASSERT_TRUE(torn && (*torn)->resize(512));
  TimerLog log{files(), "/store/timerlog", 1'024};
  ASSERT_TRUE(log.load());
  EXPECT_EQ(files().stat(path)->size, 1'024u);
  ASSERT_TRUE(log.set_end(5 * 52));
  EXPECT_EQ(log.at(4 * 52)->physical_offset, 4);
  EXPECT_EQ(*log.append(unit(77)), 5 * 52);
  EXPECT_EQ(log.at(5 * 52)->physical_offset, 77);
}

TEST_F(TimerFiles, ATimerLogWithAFileMissingInItsMiddleBeginsAnew) {
  for (const std::uint64_t bytes_of_last : {1'024, 512}) {
    SCOPED_TRACE(bytes_of_last);
    {
      TimerLog log{files(), "/store/timerlog", 1'024};
      ASSERT_TRUE(log.load());
      ASSERT_TRUE(log.set_end(0));
      for (int i = 0; i < 60; ++i) ASSERT_TRUE(log.append(unit(i)));
    }
    ASSERT_TRUE(files().remove("/store/timerlog/" + segment_name(1'024)));
    auto last = files().open("/store/timerlog/" + segment_name(3'072), FileSystem::Open::kExisting);
    ASSERT_TRUE(last && (*last)->resize(bytes_of_last));
    TimerLog log{files(), "/store/timerlog", 1'024};
    ASSERT_TRUE(log.load());
    EXPECT_EQ(log.end(), 0);
    EXPECT_TRUE(files().list("/store/timerlog")->empty());
    EXPECT_EQ(*log.append(unit(77)), 0);
  }
}

TEST_F(TimerFiles, AFileMissingBehindATornOneIsNoLoss) {
  {
    TimerLog log{files(), "/store/timerlog", 1'024};
    ASSERT_TRUE(log.load());
    for (int i = 0; i < 60; ++i) ASSERT_TRUE(log.append(unit(i)));
  }
  ASSERT_TRUE(files().remove("/store/timerlog/" + segment_name(1'024)));
  auto first = files().open("/store/timerlog/" + segment_name(0), FileSystem::Open::kExisting);
  ASSERT_TRUE(first && (*first)->resize(512));
  TimerLog log{files(), "/store/timerlog", 1'024};
  ASSERT_TRUE(log.load());
  EXPECT_EQ(log.end(), 1'024);
  EXPECT_EQ(files().list("/store/timerlog")->size(), 1U);
}

TEST_F(TimerFiles, ATimerLogOfAnotherFileSizeIsRefused) {
  {
    TimerLog log{files(), "/store/timerlog", 1'024};
    ASSERT_TRUE(log.load());
    for (int i = 0; i < 25; ++i) ASSERT_TRUE(log.append(unit(i)));
  }
  TimerLog other{files(), "/store/timerlog", 4'096};
  const auto loaded = other.load();
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, Errc::kMalformed);
}

TEST_F(TimerFiles, TimerLogFilesGoWithTheMessagesTheyNamed) {
  TimerLog log{files(), "/store/timerlog", 1'024};
  ASSERT_TRUE(log.load());
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(log.append(unit(i * 100)));
  EXPECT_EQ(log.remove_expired(18 * 100), 0U) << "its last message is still there";
  EXPECT_EQ(log.remove_expired(18 * 100 + 1), 1U);
  EXPECT_EQ(log.begin(), 1'024);
  EXPECT_FALSE(log.at(0));
  EXPECT_EQ(log.remove_expired(1'000'000), 2U) << "the last file stays";
}

TEST_F(TimerFiles, TheCheckPointHasTheLayoutOfThePublishedBroker) {
  TimerCheckpointFile file{files(), "/store/config/timercheck"};
  EXPECT_EQ(file.read()->queue_offset, 0) << "none yet";
  ASSERT_TRUE(file.write({.read_time_ms = 1,
                          .log_position = 2,
                          .queue_offset = 3,
                          .master_queue_offset = 4,
                          .state_version = 5,
                          .timestamp = 6,
                          .counter = 7}));
  EXPECT_EQ(files().stat("/store/config/timercheck")->size, 4'096U);
  EXPECT_EQ(hex("/store/config/timercheck", 0, 56),
            "0000000000000001000000000000000200000000000000030000000000000004"
            "000000000000000500000000000000060000000000000007");
  EXPECT_EQ(file.read()->counter, 7);
}

// Its fields belong together: a new offset in part beside an old time and messages would be lost.
TEST_F(TimerFiles, ACheckPointIsTheOldOneOrTheNewOneWhateverFails) {
  const TimerCheckpoint one{.read_time_ms = 0x111, .log_position = 0x1111, .queue_offset = 0x1111};
  const TimerCheckpoint two{.read_time_ms = 0x222, .log_position = 0x2222, .queue_offset = 0x2222};
  TimerCheckpointFile file{files(), "/store/config/timercheck"};
  for (const std::size_t written : {0, 7, 12, 23, 24, 56, 4'095}) {
    SCOPED_TRACE(written);
    ASSERT_TRUE(file.write(one));
    disk_.disk.inject({.operation = testing::ForgetfulDisk::Operation::kWrite,
                       .path_part = "timercheck",
                       .written = written});
    EXPECT_FALSE(file.write(two));
    EXPECT_EQ(file.read()->encode(), one.encode());
    ASSERT_TRUE(file.write(two));
    EXPECT_EQ(file.read()->encode(), two.encode());
  }
}

}  // namespace
}  // namespace apogee::store
