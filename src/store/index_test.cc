#include "store/index.h"

#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "protocol/message.h"
#include "store/index_file.h"
#include "testing/disk_env.h"

namespace apogee::store {
namespace {

using apogee::testing::DiskEnv;
using apogee::testing::ForgetfulDisk;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::int64_t kNow = 1'700'000'000'000;
constexpr std::int64_t kEver = std::numeric_limits<std::int64_t>::max();

/// An index of small files: 7 slots, so that chains form, and 10 units.
class IndexTest : public ::testing::Test {
 protected:
  IndexTest() {
    EXPECT_TRUE(env.disk.files().create_directories("store"));
    EXPECT_TRUE(env.disk.files().sync_directory(""));
    open(true, 0);
  }

  void open(bool last_exit_ok, std::int64_t checkpoint) {
    index.reset();
    index = std::make_unique<Index>(env.restart(),
                                    IndexOptions{.directory = "store/index",
                                                 .slot_count = slots,
                                                 .unit_count = units,
                                                 .on_file_durable = [this](std::int64_t timestamp) {
                                                   durable.push_back(timestamp);
                                                 }});
    const auto loaded = index->load(last_exit_ok, checkpoint);
    ASSERT_TRUE(loaded) << loaded.error().detail;
  }
  void put(std::int64_t offset, std::string_view unique_key, std::string_view keys = {},
           std::int64_t timestamp = kNow, std::int32_t sys_flag = 0) {
    index->put({.topic = "T",
                .unique_key = unique_key,
                .keys = keys,
                .physical_offset = offset,
                .store_timestamp = timestamp,
                .sys_flag = sys_flag});
  }
  std::vector<std::int64_t> find(std::string_view key, std::int32_t max = 64,
                                 std::int64_t begin = 0, std::int64_t end = kEver) {
    return index->query("T", key, max, begin, end).physical_offsets;
  }
  std::vector<std::string> names() {
    std::vector<std::string> found;
    if (auto entries = env.disk.files().list("store/index"))
      for (const auto& entry : *entries) found.push_back(entry.name);
    return found;
  }
  Buffer content(const std::string& name) {
    return *read_file(env.disk.files(), "store/index/" + name);
  }
  void overwrite(const std::string& name, std::uint64_t at, Bytes bytes) {
    auto file = env.disk.files().open("store/index/" + name, FileSystem::Open::kExisting);
    ASSERT_TRUE((*file)->write_at(at, bytes));
  }

  std::int32_t slots = 7, units = 10;
  DiskEnv env;
  std::vector<std::int64_t> durable;
  std::unique_ptr<Index> index;
};

TEST(IndexOnARealDisk, APageThatCannotBeReadOfAFullFileCostsKeysAndNotTheProcess) {
  const std::string directory = ::testing::TempDir() + "/index_test." + std::to_string(::getpid());
  const auto files = make_posix_files();
  ASSERT_TRUE(remove_tree(*files, directory));
  DiskEnv world;
  Env env{world.clock, *files, world.network, world.workers, world.random, world.log};
  constexpr std::int32_t kSlots = 7, kUnits = 20'000;  // 400 KB
  const IndexOptions options{.directory = directory, .slot_count = kSlots, .unit_count = kUnits};
  const auto ask_with_a_bad_page = [&](const Index& index) {
    read_bad_pages_as_zeros();
    const auto names = files->list(directory);
    auto file = files->open(directory + "/" + names->front().name, FileSystem::Open::kExisting);
    // What lies behind a file's end fails as a bad sector does.
    const bool cut = file && (*file)->resize(64 << 10);
    const auto found = index.query("T", "K19999", 64, 0, kEver).physical_offsets;
    std::exit(cut && found.empty() ? 0 : 1);
  };
  auto index = std::make_unique<Index>(env, options);
  for (std::int64_t i = 1; i < kUnits; ++i)
    index->put({.topic = "T",
                .unique_key = "K" + std::to_string(i),
                .physical_offset = i * 100,
                .store_timestamp = kNow});
  ASSERT_THAT(index->query("T", "K19999", 64, 0, kEver).physical_offsets, ElementsAre(1'999'900));
  EXPECT_EXIT(ask_with_a_bad_page(*index), ::testing::ExitedWithCode(0), "") << "just filled";
  index.reset();
  // The child has cut the file.
  index = std::make_unique<Index>(env, options);
  auto file = files->open(directory + "/" + files->list(directory)->front().name,
                          FileSystem::Open::kExisting);
  ASSERT_TRUE(file && (*file)->resize(IndexFormat{kSlots, kUnits}.file_bytes()));
  ASSERT_TRUE(index->load(true, kNow));
  EXPECT_EXIT(ask_with_a_bad_page(*index), ::testing::ExitedWithCode(0), "") << "full at a start";
  index.reset();
  ASSERT_TRUE(remove_tree(*files, directory));
}

TEST_F(IndexTest, FindsAMessageByItsUniqueKeyAndEachOfItsKeys) {
  put(100, "U1", "red  green ");
  put(200, "U2", "green");
  EXPECT_THAT(find("U1"), ElementsAre(100));
  EXPECT_THAT(find("red"), ElementsAre(100));
  EXPECT_THAT(find("green"), ElementsAre(200, 100)) << "newest first";
  EXPECT_THAT(find("green", 1), ElementsAre(200));
  EXPECT_THAT(find("green", 0), IsEmpty());
  EXPECT_THAT(find(""), IsEmpty());
  EXPECT_THAT(index->query("Other", "red", 64, 0, kEver).physical_offsets, IsEmpty());
  EXPECT_EQ(index->last().physical_offset, 200);
  EXPECT_EQ(index->last().timestamp, kNow);
}

TEST_F(IndexTest, FindsAMessageByItsTagWhichIsNoKey) {
  const auto by_tag = [&](std::string_view tag) {
    return index->query_tag("T", tag, 64, 0, kEver).physical_offsets;
  };
  index->put({.topic = "T",
              .unique_key = "U1",
              .keys = "red",
              .tags = "blue",
              .physical_offset = 100,
              .store_timestamp = kNow});
  index->put({.topic = "T", .tags = "red", .physical_offset = 200, .store_timestamp = kNow});
  EXPECT_THAT(by_tag("blue"), ElementsAre(100));
  EXPECT_THAT(by_tag("red"), ElementsAre(200));
  EXPECT_THAT(find("red"), ElementsAre(100));
  EXPECT_THAT(find("blue"), IsEmpty());
  EXPECT_THAT(find("T#blue"), ElementsAre(100)) << "RocketMQ 5.5.0 has it as topic#T#tag";
}

TEST_F(IndexTest, LaysOutItsFileAsJavaDoes) {
  put(4'660, "U", "", kNow);
  put(22'136, "U", "", kNow + 2'500);
  ASSERT_TRUE(index->close());
  ASSERT_THAT(names(), SizeIs(1));
  EXPECT_EQ(names()[0].size(), 17u) << "yyyyMMddHHmmssSSS";
  const Buffer file = content(names()[0]);
  ASSERT_EQ(file.size(), 40u + 4 * 7 + 20 * 10);
  const Bytes bytes = as_bytes(file);
  EXPECT_EQ(read_big<std::int64_t>(bytes, 0), kNow);
  EXPECT_EQ(read_big<std::int64_t>(bytes, 8), kNow + 2'500);
  EXPECT_EQ(read_big<std::int64_t>(bytes, 16), 4'660);
  EXPECT_EQ(read_big<std::int64_t>(bytes, 24), 22'136);
  EXPECT_EQ(read_big<std::int32_t>(bytes, 32), 1) << "slots in use";
  EXPECT_EQ(read_big<std::int32_t>(bytes, 36), 3) << "next unit";
  const std::int32_t hash = ('T' * 31 + '#') * 31 + 'U';
  for (int slot = 0; slot < 7; ++slot)
    EXPECT_EQ(read_big<std::int32_t>(bytes, 40 + 4 * slot), slot == hash % 7 ? 2 : 0);
  const std::size_t units_at = 40 + 4 * 7;
  EXPECT_EQ(as_text(bytes.subspan(units_at, 20)), std::string(20, '\0')) << "unit 0 is unused";
  const auto check = [&](int unit, std::int64_t offset, std::int32_t seconds,
                         std::int32_t previous) {
    SCOPED_TRACE(unit);
    const Bytes at = bytes.subspan(units_at + 20 * unit, 20);
    EXPECT_EQ(read_big<std::int32_t>(at, 0), hash);
    EXPECT_EQ(read_big<std::int64_t>(at, 4), offset);
    EXPECT_EQ(read_big<std::int32_t>(at, 12), seconds);
    EXPECT_EQ(read_big<std::int32_t>(at, 16), previous);
  };
  check(1, 4'660, 0, 0);
  check(2, 22'136, 2, 1);
}

TEST(IndexHash, IsJavasAbsoluteHashAndNeverNegative) {
  EXPECT_EQ(index_hash("TopicTest", "key"), std::abs(protocol::java_hash("TopicTest#key")));
  EXPECT_EQ(tag_index_hash("TopicTest", "TagA"), std::abs(protocol::java_hash("TopicTest#T#TagA")));
  EXPECT_EQ(protocol::java_hash("polygenelubricants"), std::numeric_limits<std::int32_t>::min());
  EXPECT_EQ(protocol::java_hash("t#achssxlk"), std::numeric_limits<std::int32_t>::min());
  EXPECT_EQ(index_hash("t", "achssxlk"), 0) << "Math.abs of the least integer is negative";
}

TEST_F(IndexTest, ADefaultFileHasExactlyJavasLength) {
  EXPECT_EQ((IndexFormat{5'000'000, 20'000'000}).file_bytes(), 420'000'040u);
  slots = 5'000'000;
  units = 20'000'000;
  open(true, 0);
  put(100, "U1");
  EXPECT_EQ(env.disk.files().list("store/index")->at(0).size, 420'000'040u);
  EXPECT_THAT(find("U1"), ElementsAre(100));
  EXPECT_LT(env.disk.used_space(), 40u << 20) << "slots and a few units have blocks";
  EXPECT_THAT(env.disk.written_without_reservation(), IsEmpty());
}

TEST_F(IndexTest, SkipsRollbacksAndWhatItHasAlready) {
  put(100, "U1");
  put(200, "U2", "", kNow, protocol::sys_flag::kRollback);
  put(300, "U3", "", kNow, protocol::sys_flag::kPrepared);
  put(400, "U4", "", kNow, protocol::sys_flag::kCommit);
  put(100, "U1");
  EXPECT_THAT(find("U1"), ElementsAre(100));
  EXPECT_THAT(find("U2"), IsEmpty());
  EXPECT_THAT(find("U3"), ElementsAre(300));
  EXPECT_THAT(find("U4"), ElementsAre(400));
}

TEST_F(IndexTest, LimitsAQueryToATimeRange) {
  for (int i = 0; i < 5; ++i) put(100 + i, "U", "", kNow + i * 10'000);
  EXPECT_THAT(find("U", 64, kNow + 10'000, kNow + 30'000), ElementsAre(103, 102, 101));
  EXPECT_THAT(find("U", 64, kNow + 41'000, kEver), IsEmpty());
  EXPECT_THAT(find("U", 64, 0, kNow - 1), IsEmpty());
}

TEST_F(IndexTest, RollsToANewFileAndTellsWhenTheFullOneIsDurable) {
  for (int i = 0; i < 25; ++i) put(100 + i, "U", "", kNow + i * 1'000);
  EXPECT_EQ(index->file_count(), 3u) << "9 units a file";
  EXPECT_THAT(durable, ElementsAre(kNow + 8'000, kNow + 17'000));
  EXPECT_THAT(find("U"), SizeIs(25));
  EXPECT_EQ(find("U").front(), 124);
  const auto file_names = names();
  ASSERT_THAT(file_names, SizeIs(3));
  EXPECT_LT(file_names[0], file_names[1]) << "although the clock stood still";
  // The new file was seeded with the end of the one before, then took its own first unit's.
  EXPECT_EQ(read_big<std::int64_t>(as_bytes(content(file_names[2])), 0), kNow + 18'000);
  env.disk.crash();
  open(false, durable.back());
  EXPECT_EQ(index->file_count(), 2u);
  EXPECT_THAT(find("U"), SizeIs(18));
}

TEST_F(IndexTest, AMessageMayHaveItsKeysInTwoFiles) {
  for (int i = 0; i < 8; ++i) put(100 + i, "U");
  put(200, "V", "a b c");
  EXPECT_EQ(index->file_count(), 2u);
  for (const char* key : {"V", "a", "b", "c"}) EXPECT_THAT(find(key), ElementsAre(200)) << key;
}

TEST_F(IndexTest, GoesOnWhereItWasAfterACleanExit) {
  put(100, "U1");
  ASSERT_TRUE(index->close());
  env.disk.crash();
  open(true, 0);
  EXPECT_THAT(find("U1"), ElementsAre(100));
  put(100, "U1");  // may be dispatched again
  put(200, "U1");
  EXPECT_THAT(find("U1"), ElementsAre(200, 100))
      << "Java, which compares with 'less' only, says 100 twice";
  EXPECT_EQ(index->file_count(), 1u);
}

TEST_F(IndexTest, DoesNotTakeItsLastMessageTwiceAfterACleanExit) {
  put(0, "first");
  put(100, "last", "k1 k2");
  open(true, 0);
  put(0, "first");
  put(100, "last", "k1 k2");
  put(200, "next");
  for (const char* key : {"first", "last", "k1", "k2", "next"})
    EXPECT_EQ(find(key).size(), 1u) << key;
}

TEST_F(IndexTest, AnUncleanExitDropsWhatIsNewerThanTheCheckpoint) {
  for (int i = 0; i < 25; ++i) put(100 + i, "U", "", kNow + i * 1'000);
  env.disk.kill_process();
  open(false, kNow + 8'000);
  EXPECT_THAT(find("U"), SizeIs(9));
  EXPECT_THAT(names(), SizeIs(1));
  put(109, "U", "", kNow + 9'000);
  EXPECT_THAT(find("U"), SizeIs(10)) << "the log is dispatched again from there";
}

TEST_F(IndexTest, AnUncleanExitDropsAFileThatBeganInTheMillisecondInWhichTheLastDurableOneEnded) {
  put(100, "full", "k1 k2 k3 k4 k5 k6 k7 k8");
  put(200, "two", "red");  // "red" begins the second file
  ASSERT_THAT(durable, ElementsAre(kNow));
  ASSERT_THAT(names(), SizeIs(2));
  env.disk.kill_process();
  open(false, durable.back());
  EXPECT_THAT(names(), SizeIs(1)) << "nothing of the second was synced";
  put(200, "two", "red");
  EXPECT_THAT(find("red"), ElementsAre(200)) << "the log is dispatched again";
}

TEST_F(IndexTest, OffsetsGivenOutAgainAfterTheLogLostItsTailAreIndexed) {
  for (int i = 0; i < 9; ++i) put(100 + i, "old");
  ASSERT_EQ(durable.size(), 1u);
  env.disk.crash();
  open(false, durable.back());
  index->log_ends_at(105);
  put(105, "new");
  EXPECT_THAT(find("new"), ElementsAre(105));
}

TEST_F(IndexTest, TellsOfAFullFileThatJavaSyncedWithoutTellingTheCheckpoint) {
  for (int i = 0; i < 9; ++i) put(100 + i, "U");
  durable.clear();
  open(true, 0);
  EXPECT_THAT(durable, ElementsAre(kNow));
}

TEST_F(IndexTest, WhatItCallsDurableSurvivesEveryCrash) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    DiskEnv world;
    std::int64_t checkpoint = 0;
    const auto make = [&] {
      return std::make_unique<Index>(
          world.restart(),
          IndexOptions{.directory = "index",
                       .slot_count = 5,
                       .unit_count = 40,
                       .on_file_durable = [&](std::int64_t timestamp) { checkpoint = timestamp; }});
    };
    auto before = make();
    const int count = static_cast<int>(seed) + 1;
    for (int i = 0; i < count; ++i)
      before->put({.topic = "T",
                   .unique_key = "U" + std::to_string(i % 13),
                   .physical_offset = i * 100,
                   .store_timestamp = kNow + i});
    ASSERT_TRUE(world.disk.files().sync_directory("")) << "the store's own part";
    world.disk.crash(seed);
    before.reset();
    auto after = make();
    ASSERT_TRUE(after->load(false, checkpoint));
    const int durable_count = count / 39 * 39;
    ASSERT_EQ(after->last().physical_offset, durable_count == 0 ? 0 : (durable_count - 1) * 100);
    for (int key = 0; key < 13; ++key) {
      std::vector<std::int64_t> expected;
      for (int i = durable_count - 1; i >= 0; --i)
        if (i % 13 == key) expected.push_back(i * 100);
      ASSERT_EQ(after->query("T", "U" + std::to_string(key), 64, 0, kEver).physical_offsets,
                expected);
    }
  }
}

TEST_F(IndexTest, AFullDiskStopsItWithOneLineUntilThereIsRoomAgain) {
  units = 1'000'000;
  open(true, 0);
  put(100, "before");
  env.disk.limit_space(env.disk.used_space());
  const std::size_t first_chunk = 4u << 20;
  std::int64_t offset = 200;
  for (; env.log.lines(LogLevel::kError).empty(); ++offset) {
    put(offset, "filler");
    ASSERT_LT(offset * 20, std::int64_t{first_chunk} * 2);
  }
  put(offset++, "lost");
  put(offset++, "lost");
  EXPECT_THAT(env.log.lines(LogLevel::kError), SizeIs(1));
  EXPECT_THAT(find("lost"), IsEmpty());
  EXPECT_THAT(find("before"), ElementsAre(100)) << "what was there can be read";
  env.clock.advance(5s);
  put(offset++, "lost");
  EXPECT_THAT(env.log.lines(LogLevel::kError), SizeIs(1)) << "tried, still full, said already";
  env.disk.limit_space(1u << 30);
  put(offset++, "lost");
  EXPECT_THAT(find("lost"), IsEmpty()) << "not tried before the time";
  env.clock.advance(5s);
  put(offset, "found");
  EXPECT_THAT(find("found"), ElementsAre(offset));
  EXPECT_THAT(env.disk.written_without_reservation(), IsEmpty());
}

TEST_F(IndexTest, AFileThatCannotBeMadeLeavesNothingBehind) {
  env.disk.limit_space(4'096 * 100);
  slots = 1'000'000;
  open(true, 0);
  put(100, "U");
  EXPECT_THAT(names(), IsEmpty());
  EXPECT_THAT(find("U"), IsEmpty());
  ASSERT_THAT(env.log.lines(LogLevel::kError), SizeIs(1));
  EXPECT_THAT(env.log.lines(LogLevel::kError)[0], ::testing::HasSubstr("no space"));
}

TEST_F(IndexTest, AfterAFailedSyncNothingIsCalledDurable) {
  env.disk.inject({.operation = ForgetfulDisk::Operation::kMappingSync});
  for (int i = 0; i < 30; ++i) put(100 + i, "U");
  EXPECT_THAT(durable, IsEmpty());
  EXPECT_THAT(find("U"), SizeIs(30));
}

TEST_F(IndexTest, RemovesFilesWhoseMessagesLeftTheLogButNeverTheLast) {
  for (int i = 0; i < 25; ++i) put(100 + i, "U");
  index->remove_before(108);
  EXPECT_EQ(index->file_count(), 3u) << "the first file ends at 108";
  index->remove_before(109);
  EXPECT_EQ(index->file_count(), 2u);
  EXPECT_THAT(names(), SizeIs(2));
  index->remove_before(kEver);
  EXPECT_EQ(index->file_count(), 1u);
  EXPECT_THAT(find("U"), SizeIs(7));
}

TEST_F(IndexTest, RemovesAllAndStartsAnew) {
  for (int i = 0; i < 25; ++i) put(100 + i, "U");
  index->remove_all();
  EXPECT_THAT(names(), IsEmpty());
  EXPECT_EQ(index->last().physical_offset, 0);
  put(0, "U");
  EXPECT_THAT(find("U"), ElementsAre(0));
}

TEST_F(IndexTest, LeavesAloneWhatIsNotAnIndexFileOfThisFormat) {
  put(100, "U");
  ASSERT_TRUE(index->close());
  auto other = env.disk.files().open("store/index/20200101000000000", FileSystem::Open::kCreate);
  ASSERT_TRUE((*other)->resize(123));
  ASSERT_TRUE(env.disk.files().open("store/index/notes.txt", FileSystem::Open::kCreate));
  ASSERT_TRUE(env.disk.files().open("store/index/20200101000000001", FileSystem::Open::kCreate));
  ASSERT_TRUE(env.disk.files().create_directories("store/index/7"));
  open(true, 0);
  EXPECT_EQ(index->file_count(), 1u);
  EXPECT_THAT(names(), SizeIs(4)) << "only the empty file is removed";
  EXPECT_THAT(env.log.lines(LogLevel::kWarn), ElementsAre(::testing::HasSubstr("maxHashSlotNum")));
}

TEST_F(IndexTest, AnUncleanExitDropsAFileWhoseLengthWasLost) {
  put(100, "U");
  const std::string name = names()[0];
  ASSERT_TRUE(index->close());
  auto file = env.disk.files().open("store/index/" + name, FileSystem::Open::kExisting);
  ASSERT_TRUE((*file)->resize(200));
  open(false, kNow);
  EXPECT_THAT(names(), SizeIs(1)) << "the checkpoint vouches for it: another configuration's";
  open(false, kNow - 1);
  EXPECT_THAT(names(), IsEmpty());
}

TEST_F(IndexTest, EndsInADamagedFileWhateverStandsThere) {
  put(100, "U");
  put(200, "U");
  put(300, "U");
  ASSERT_TRUE(index->close());
  const std::string name = names()[0];
  const std::uint64_t unit1 = 40 + 4 * 7 + 20, previous_of_1 = unit1 + 16;
  Buffer three;
  append_big<std::int32_t>(three, 3);
  overwrite(name, previous_of_1, as_bytes(three));  // 3 -> 2 -> 1 -> 3: a loop
  open(true, 0);
  EXPECT_THAT(find("U"), ElementsAre(300, 200, 100));
}

TEST_F(IndexTest, SurvivesRandomFilesAndGoesOnWriting) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937_64 random{seed};
    std::string noise(40 + 4 * 7 + 20 * 10, '\0');
    const std::uint64_t small = random() % 2;  // small numbers make more plausible links
    for (std::size_t at = 0; at < noise.size(); at += 4)
      write_big<std::uint32_t>(std::as_writable_bytes(std::span{noise}), at,
                               small ? random() % 12 : random());
    index.reset();
    ASSERT_TRUE(env.disk.files().create_directories("store/index"));
    for (const auto& name : names()) ASSERT_TRUE(env.disk.files().remove("store/index/" + name));
    auto file = env.disk.files().open("store/index/20200101000000000", FileSystem::Open::kCreate);
    ASSERT_TRUE((*file)->write_at(0, as_bytes(noise)));
    open(true, 0);
    for (int i = 0; i < 20; ++i) {
      find("U" + std::to_string(i));
      index->log_ends_at(0);
      put(1'000 + i, "U" + std::to_string(i));
      ASSERT_THAT(find("U" + std::to_string(i), 64, std::numeric_limits<std::int64_t>::min()),
                  SizeIs(::testing::Ge(index->file_count() > 1 ? 1u : 0u)));
    }
  }
}

TEST(IndexThreads, ReadersBesideTheWriterSeeEveryKeyThatWasPut) {
  DiskEnv env;
  auto workers = make_thread_pool(2, "work");
  Env threaded{env.clock, env.disk.files(), env.network, *workers, env.random, env.log};
  std::atomic<std::int64_t> durable{0};
  Index index{threaded,
              {.directory = "index",
               .slot_count = 50,
               .unit_count = 500,
               .on_file_durable = [&](std::int64_t timestamp) { durable = timestamp; }}};
  constexpr int kCount = 5'000;
  std::atomic<int> written{0};
  std::vector<std::thread> readers;
  for (int r = 0; r < 3; ++r) {
    readers.emplace_back([&, r] {
      std::mt19937_64 random{static_cast<std::uint64_t>(r)};
      for (int below = written.load(); below < kCount; below = written.load()) {
        if (below == 0) continue;
        const int wanted = std::max(0, below - 1 - static_cast<int>(random() % 400));
        const auto answer = index.query("T", "K" + std::to_string(wanted), 64, 0, kEver);
        // Unless this thread slept until the file was removed.
        if (wanted > written.load() - 2'000) {
          ASSERT_THAT(answer.physical_offsets, ::testing::Contains(wanted));
        }
        if (r == 0) index.remove_before(below - 2'000);
      }
    });
  }
  for (int i = 0; i < kCount; ++i) {
    index.put({.topic = "T",
               .unique_key = "K" + std::to_string(i),
               .physical_offset = i,
               .store_timestamp = kNow + i});
    written.store(i + 1);
  }
  for (auto& reader : readers) reader.join();
  ASSERT_TRUE(index.close());
  EXPECT_EQ(durable.load(), kNow + kCount / 499 * 499 - 1);
}

}  // namespace
}  // namespace apogee::store
