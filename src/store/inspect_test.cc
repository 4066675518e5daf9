#include "store/inspect.h"

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/index.h"
#include "testing/disk_env.h"
#include "testing/store_builder.h"

namespace apogee::store {
namespace {

using apogee::testing::DiskEnv;
using apogee::testing::StoreBuilder;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::int64_t kNow = 1'700'000'000'000;
constexpr std::int64_t kEver = std::numeric_limits<std::int64_t>::max();
constexpr IndexFormat kIndexFormat{7, 100};

class InspectTest : public ::testing::Test {
 protected:
  /// Three queues, 60 messages, several segments and queue files, all of them indexed.
  void fill() {
    for (int i = 0; i < 60; ++i) {
      const std::string id = "U" + std::to_string(i), keys = "even" + std::to_string(i % 2) + " x";
      builder.put(
          {.topic = i % 3 == 0 ? "Other" : "T",
           .queue_id = i % 3 == 2 ? 1 : 0,
           .body = std::string_view{"a body of some length, but not of much"}.substr(i % 30),
           .tags = i % 2 == 0 ? "A" : "",
           .unique_key = id,
           .keys = keys,
           .store_timestamp = kNow + i});
    }
  }
  void write() {
    builder.write(env.disk.files());
    std::string config = R"({"dataVersion":{"counter":1},"offsetTable":{"T@G":{0:10}}})";
    ASSERT_TRUE(env.disk.files().create_directories("store/config"));
    put_file("store/config/consumerOffset.json", config);
  }
  void write_index() {
    Index index{*env.env,
                {.directory = "store/index",
                 .slot_count = kIndexFormat.slot_count,
                 .unit_count = kIndexFormat.unit_count}};
    auto inspection = open();
    ASSERT_TRUE(inspection.for_each_record({}, [&](const InspectedRecord& record) {
      index.put({.topic = record.message.topic,
                 .unique_key = record.message.property("UNIQ_KEY").value_or(""),
                 .keys = record.message.property("KEYS").value_or(""),
                 .physical_offset = record.physical_offset,
                 .store_timestamp = record.message.store_timestamp});
      return true;
    }));
    ASSERT_TRUE(index.close());
  }
  void put_file(const std::string& path, std::string_view content) {
    auto file = env.disk.files().open(path, FileSystem::Open::kCreate);
    ASSERT_TRUE((*file)->write_at(0, as_bytes(content)));
  }
  Inspection open() {
    auto inspection =
        Inspection::open(env.disk.files(), {.root = "store", .index_format = kIndexFormat});
    EXPECT_TRUE(inspection) << inspection.error().detail;
    return *std::move(inspection);
  }
  CheckReport check() {
    findings.clear();
    auto report = open().check([&](const Finding& finding) { findings.push_back(finding); });
    EXPECT_TRUE(report) << report.error().detail;
    return *report;
  }
  std::vector<std::int64_t> records(const RecordFilter& filter) {
    std::vector<std::int64_t> found;
    auto inspection = open();
    EXPECT_TRUE(inspection.for_each_record(filter, [&](const InspectedRecord& record) {
      found.push_back(record.physical_offset);
      return true;
    }));
    return found;
  }
  void flip(const std::string& path, std::uint64_t byte) {
    ASSERT_TRUE(env.disk.flip_bit(path, byte * 8));
  }

  DiskEnv env;
  StoreBuilder builder;
  std::vector<Finding> findings;
};

auto is_damage(const std::string& file, const std::string& what) {
  return AllOf(Field(&Finding::weight, Finding::Weight::kDamage), Field(&Finding::file, file),
               Field(&Finding::what, HasSubstr(what)));
}

auto is_note(const std::string& file, const std::string& what) {
  return AllOf(Field(&Finding::weight, Finding::Weight::kNote), Field(&Finding::file, file),
               Field(&Finding::what, HasSubstr(what)));
}

TEST_F(InspectTest, RefusesWhatIsNotAStore) {
  EXPECT_EQ(Inspection::open(env.disk.files(), {.root = "store"}).error().code, Errc::kNotFound);
  ASSERT_TRUE(env.disk.files().create_directories("store/photos"));
  EXPECT_EQ(Inspection::open(env.disk.files(), {.root = "store"}).error().code, Errc::kNotFound);
}

TEST_F(InspectTest, SummarizesAStore) {
  fill();
  write();
  write_index();
  ASSERT_TRUE(env.disk.files().open("store/abort", FileSystem::Open::kCreate));
  auto lock = env.disk.files().lock("store/lock");
  auto summary = open().summary();
  ASSERT_TRUE(summary) << summary.error().detail;
  EXPECT_EQ(summary->log_begin, 0);
  EXPECT_EQ(summary->log_end, builder.log_end());
  ASSERT_THAT(summary->segments, SizeIs(3));
  EXPECT_EQ(summary->segments[0].first_store_timestamp, kNow);
  EXPECT_EQ(summary->segments[0].used_bytes, 4'096u);
  EXPECT_EQ(summary->segments[2].last_store_timestamp, kNow + 59);
  EXPECT_EQ(summary->segments[2].used_bytes, builder.log_end() - 8'192);
  ASSERT_THAT(summary->queues, SizeIs(3));
  EXPECT_EQ(summary->queues[0].topic, "Other");
  EXPECT_EQ(summary->queues[0].max_offset, 20);
  EXPECT_EQ(summary->queues[0].files, 2u);
  EXPECT_EQ(summary->queues[2].queue_id, 1);
  ASSERT_THAT(summary->index_files, SizeIs(2));
  EXPECT_TRUE(summary->index_files[0].readable);
  EXPECT_EQ(summary->index_files[0].header.next_unit, 100);
  EXPECT_THAT(summary->config_files, SizeIs(1));
  EXPECT_EQ(summary->checkpoint->commit_log_timestamp, kNow + 59);
  EXPECT_TRUE(summary->abort_present);
  EXPECT_TRUE(summary->locked);
}

TEST_F(InspectTest, ChangesNothing) {
  fill();
  write();
  write_index();
  env.disk.kill_process();
  using Operation = apogee::testing::ForgetfulDisk::Operation;
  for (const auto operation :
       {Operation::kWrite, Operation::kResize, Operation::kAllocate, Operation::kRename,
        Operation::kRemove, Operation::kCreateDirectories, Operation::kSync})
    env.disk.inject({.operation = operation, .times = apogee::testing::ForgetfulDisk::kForever});
  ASSERT_TRUE(open().summary());
  EXPECT_EQ(check().damages, 0u);
  EXPECT_EQ(records({}).size(), 60u);
}

TEST_F(InspectTest, FiltersRecords) {
  fill();
  write();
  EXPECT_THAT(records({}), SizeIs(60));
  EXPECT_THAT(records({.topic = "Other"}), SizeIs(20));
  EXPECT_THAT(records({.topic = "T", .queue_id = 1}), SizeIs(20));
  EXPECT_THAT(records({.topic = "T", .queue_id = 1, .from_queue_offset = 5, .to_queue_offset = 7}),
              SizeIs(2));
  EXPECT_THAT(records({.key = "even1"}), SizeIs(30));
  EXPECT_THAT(records({.key = "U17"}), SizeIs(1));
  EXPECT_THAT(records({.key = "even"}), IsEmpty());
  EXPECT_THAT(records({.from_ms = kNow + 10, .to_ms = kNow + 13}), SizeIs(3));
  const auto all = records({});
  EXPECT_THAT(records({.from_offset = all[40], .to_offset = all[42]}),
              ElementsAre(all[40], all[41]));
}

TEST_F(InspectTest, ListsAQueue) {
  fill();
  write();
  auto inspection = open();
  std::vector<std::int64_t> physical;
  ASSERT_TRUE(inspection.for_each_entry("T", 1, 9, 11, [&](const InspectedEntry& entry) {
    physical.push_back(entry.physical_offset);
    return true;
  }));
  ASSERT_THAT(physical, SizeIs(2)) << "from two files";
  auto record = inspection.record_at(physical[1]);
  ASSERT_TRUE(record);
  EXPECT_EQ(record->message.queue_offset, 10);
  EXPECT_EQ(inspection.for_each_entry("T", 7, 0, kEver, [](const InspectedEntry&) { return true; })
                .error()
                .code,
            Errc::kNotFound);
}

TEST_F(InspectTest, FindsNoDamageInASoundStore) {
  fill();
  write();
  write_index();
  const CheckReport report = check();
  EXPECT_THAT(findings, IsEmpty()) << findings[0].file << " " << findings[0].what;
  EXPECT_EQ(report.records, 60u);
  EXPECT_EQ(report.entries, 60u);
  EXPECT_EQ(report.queues, 3u);
  EXPECT_EQ(report.index_units, 180u);
}

TEST_F(InspectTest, AStoreWithoutMessagesIsSound) {
  ASSERT_TRUE(env.disk.files().create_directories("store/commitlog"));
  EXPECT_EQ(check().damages, 0u);
  EXPECT_EQ(open().summary()->log_end, 0);
}

TEST_F(InspectTest, FindsAFlippedBitInABodyAndGoesOnBehindIt) {
  fill();
  write();
  const std::int64_t victim = records({})[30];
  flip(builder.segment_path(victim / 4'096 * 4'096), victim % 4'096 + 90);
  EXPECT_EQ(check().damages, 1u);
  EXPECT_THAT(findings, ElementsAre(is_damage("store/commitlog/00000000000000004096", "CRC")));
  EXPECT_EQ(findings[0].position, static_cast<std::uint64_t>(victim % 4'096));
  EXPECT_THAT(records({}), SizeIs(60)) << "shown, with a mark";
}

TEST_F(InspectTest, FindsAHoleInTheLogAndWhatBecomesOfItsMessages) {
  fill();
  write();
  const auto all = records({});
  auto segment =
      env.disk.files().open("store/commitlog/00000000000000000000", FileSystem::Open::kExisting);
  ASSERT_TRUE((*segment)->write_at(all[5], as_bytes(std::string(all[7] - all[5], '\0'))));
  check();
  EXPECT_THAT(findings, ::testing::Contains(is_damage("store/commitlog/00000000000000000000",
                                                      "bytes are not a record")));
  EXPECT_THAT(findings,
              ::testing::Contains(AllOf(Field(&Finding::what, HasSubstr("where no record is")),
                                        Field(&Finding::file, builder.queue_path("T", 1, 0)))));
  EXPECT_THAT(records({}), SizeIs(58));
}

TEST_F(InspectTest, TakesATornTailForTheEndAndNotForDamage) {
  fill();
  builder.log().resize(builder.log().size() - 45);  // the last record came only in part
  builder.queue("T", 1).resize(19 * 20);
  write();
  EXPECT_EQ(check().damages, 0u);
  ASSERT_THAT(findings, SizeIs(::testing::Ge(1u)));
  EXPECT_THAT(findings[0].what, HasSubstr("behind the end of the log are not zero"));
  EXPECT_EQ(records({}).size(), 59u);
}

TEST_F(InspectTest, FindsAMissingSegmentAndOneOfAnotherLength) {
  fill();
  write();
  ASSERT_TRUE(env.disk.files().remove("store/commitlog/00000000000000004096"));
  auto last =
      env.disk.files().open("store/commitlog/00000000000000008192", FileSystem::Open::kExisting);
  ASSERT_TRUE((*last)->resize(5'000));
  EXPECT_GT(check().damages, 2u);
  EXPECT_THAT(findings, ::testing::Contains(is_damage("store/commitlog/00000000000000008192",
                                                      "4096 bytes are missing")));
  EXPECT_THAT(findings, ::testing::Contains(is_damage("store/commitlog/00000000000000008192",
                                                      "has 5000 bytes, the first file has 4096")));
}

TEST_F(InspectTest, ASegmentMadeAheadIsNotedOnly) {
  fill();
  write();
  auto next =
      env.disk.files().open("store/commitlog/00000000000000012288", FileSystem::Open::kCreate);
  ASSERT_TRUE((*next)->resize(4'096));
  EXPECT_EQ(check().damages, 0u);
  EXPECT_THAT(findings, ElementsAre(Field(&Finding::what, "is empty")));
  EXPECT_EQ(open().summary()->log_end, builder.log_end());
}

TEST_F(InspectTest, ComparesEveryQueueEntryWithItsRecord) {
  fill();
  auto units = [&] { return std::as_writable_bytes(std::span{builder.queue("T", 0)}); };
  const auto other = read_big<std::int64_t>(as_bytes(builder.queue("Other", 0)), 20);
  write_big<std::int64_t>(units(), 20, other);           // another topic's record
  write_big<std::int32_t>(units(), 3 * 20 + 8, 17);      // a wrong size
  write_big<std::int64_t>(units(), 5 * 20 + 12, 4'711);  // a wrong tags code
  write_big<std::int32_t>(units(), 7 * 20 + 8, 0);       // no unit at all
  write();
  check();
  const std::string path = builder.queue_path("T", 0, 0);
  EXPECT_THAT(findings, ::testing::IsSupersetOf(
                            {is_damage(path, "a record of topic Other queue 0 offset 1"),
                             is_damage(path, "says 17 bytes"), is_damage(path, "tags code 4711"),
                             is_damage(path, "queue offset 7 is empty")}));
}

TEST_F(InspectTest, MessagesWithoutAnEntryAreDamageOnlyAfterACleanStop) {
  fill();
  builder.queue("T", 0).resize(18 * 20);
  write();
  EXPECT_EQ(check().damages, 1u);
  EXPECT_THAT(findings, ElementsAre(is_damage(builder.queue_path("T", 0, 200),
                                              "ends at queue offset 18, the log has records up to "
                                              "19")));
  ASSERT_TRUE(env.disk.files().open("store/abort", FileSystem::Open::kCreate));
  EXPECT_EQ(check().damages, 0u);
  EXPECT_THAT(findings, SizeIs(2)) << "the queue's end and abort";
}

TEST_F(InspectTest, EntriesBehindTheEndOfTheLogAreNotCounted) {
  fill();
  std::string& units = builder.queue("T", 0);
  append_big<std::int64_t>(units, builder.log_end() + 500);
  append_big<std::int32_t>(units, 100);
  append_big<std::int64_t>(units, 0);
  write();
  EXPECT_EQ(check().damages, 0u);
  EXPECT_THAT(findings, SizeIs(1));
  EXPECT_EQ(open().summary()->queues[1].max_offset, 20);
}

TEST_F(InspectTest, KnowsWhereAQueueBeginsAfterTheLogLostItsHead) {
  fill();
  write();
  ASSERT_TRUE(env.disk.files().remove("store/commitlog/00000000000000000000"));
  EXPECT_EQ(check().damages, 0u) << findings[0].what;
  auto summary = open().summary();
  EXPECT_EQ(summary->log_begin, 4'096);
  EXPECT_GT(summary->queues[0].min_offset, 0);
}

TEST_F(InspectTest, FindsTwoRecordsWithOneQueueOffset) {
  fill();
  const std::int64_t last = builder.put({.topic = "T", .queue_id = 0});
  write_big<std::int64_t>(std::as_writable_bytes(std::span{builder.log()}),
                          last + protocol::record_at::kQueueOffset, 19);
  write();
  check();
  EXPECT_THAT(findings,
              ::testing::Contains(Field(&Finding::what, HasSubstr("queue offset 19 follows 19"))));
}

TEST_F(InspectTest, ChecksTheIndexAgainstTheRecordsKeys) {
  fill();
  write();
  write_index();
  const std::string path = open().summary()->index_files[0].path;
  flip(path, kIndexFormat.units_at() + 20 * 3 + 3);      // hash of unit 3
  flip(path, kIndexFormat.units_at() + 20 * 5 + 4 + 7);  // physical offset of unit 5
  flip(path, kIndexFormat.units_at() + 20 * 50 + 16);    // link of unit 50
  check();
  EXPECT_THAT(findings, ::testing::IsSupersetOf({
                            is_note(path, "unit 3 has a hash that is none of its record's keys"),
                            is_note(path, "where no record is"),
                            is_damage(path, "unit 50 is damaged"),
                        }));
}

TEST_F(InspectTest, ReadsTheConfigurationAndTheMarks) {
  fill();
  write();
  put_file("store/config/topics.json", "{\"dataVersion\":");
  put_file("store/config/delayOffset.json", "");
  put_file("store/config/delayOffset.json.bak", "{}");
  auto checkpoint = env.disk.files().open("store/checkpoint", FileSystem::Open::kExisting);
  Buffer later;
  append_big<std::int64_t>(later, kNow + 1'000'000);
  ASSERT_TRUE((*checkpoint)->write_at(0, as_bytes(later)));
  EXPECT_EQ(check().damages, 2u);
  EXPECT_THAT(findings, ::testing::IsSupersetOf({
                            is_damage("store/config/topics.json", "is not JSON"),
                            is_damage("store/config/delayOffset.json", "is empty"),
                        }));
  EXPECT_EQ(findings.back().file, "store/checkpoint");
  EXPECT_THAT(findings.back().what, HasSubstr("says the log is on disk up to"));
}

TEST_F(InspectTest, ALostSegmentDoesNotTellOfEveryMessage) {
  fill();
  builder.log().replace(0, 3'000, 3'000, '\0');
  write();
  const CheckReport report = check();
  EXPECT_GT(report.damages, 20u);
  std::map<std::string, int> by_file;
  for (const Finding& finding : findings) ++by_file[finding.file];
  for (const auto& [file, count] : by_file) EXPECT_LE(count, 21) << file;
}

TEST_F(InspectTest, SurvivesAnyDamage) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937_64 random{seed};
    DiskEnv world;
    StoreBuilder small;
    for (int i = 0; i < 40; ++i)
      small.put({.queue_id = i % 2, .unique_key = "U", .store_timestamp = kNow + i});
    for (int i = 0; i < 3; ++i) {
      auto& victim =
          random() % 2 == 0 ? small.log() : small.queue("T", static_cast<int>(random() % 2));
      switch (random() % 3) {
        case 0:
          victim[random() % victim.size()] ^= static_cast<char>(1 << random() % 8);
          break;
        case 1:
          victim.resize(random() % victim.size() + 1);
          break;
        default: {
          const std::size_t at = random() % victim.size();
          for (std::size_t k = at; k < std::min(victim.size(), at + 64); ++k)
            victim[k] = static_cast<char>(random());
        }
      }
    }
    small.write(world.disk.files());
    auto inspection = Inspection::open(world.disk.files(), {.root = "store"});
    ASSERT_TRUE(inspection);
    ASSERT_TRUE(inspection->summary());
    ASSERT_TRUE(inspection->check([](const Finding&) {}));
    ASSERT_TRUE(inspection->for_each_record({}, [](const InspectedRecord&) { return true; }));
  }
}

}  // namespace
}  // namespace apogee::store
