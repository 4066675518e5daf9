#include "store/repair.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/message_store.h"
#include "testing/disk_env.h"
#include "testing/store_builder.h"

namespace apogee::store {
namespace {

constexpr std::int64_t kNow = 1'700'000'000'000;

class Repair : public ::testing::Test {
 protected:
  Repair() {
    apogee::testing::StoreBuilder builder;
    for (int i = 0; i < 20; ++i) {
      bodies_.push_back("body " + std::to_string(i));
      offsets_.push_back(builder.put({.body = bodies_.back(), .store_timestamp = kNow + i}));
    }
    builder.write(world_.disk.files());
    log_ = builder.segment_path(0);
    queue_ = builder.queue_path("T", 0, 0);
    EXPECT_TRUE(files().create_directories("store/config"));
  }
  FileSystem& files() { return world_.disk.files(); }
  std::vector<Remedy> plan() {
    auto planned = plan_repair(files(), options_);
    EXPECT_TRUE(planned) << planned.error().detail;
    return planned ? *std::move(planned) : std::vector<Remedy>{};
  }
  void apply_all() {
    for (const Remedy& each : plan()) {
      ASSERT_TRUE(each.apply) << each.loses;
      const auto done = each.apply();
      ASSERT_TRUE(done) << done.error().detail;
    }
  }
  /// What a broker gives out afterwards.
  std::vector<std::string> consumed() {
    StoreConfig config;
    config.root = "store";
    config.commit_log_file_bytes = 4'096;
    config.consume_queue_file_bytes = 200;
    config.index_slots = 10;
    config.index_units = 50;
    StoreEvents events;
    std::vector<std::string> bodies;
    auto store = MessageStore::open(world_.restart(), config, events);
    EXPECT_TRUE(store) << store.error().detail;
    if (!store) return bodies;
    for (std::int64_t at = 0; at < (*store)->max_offset("T", 0);) {
      const GetResult got = (*store)->get({.topic = "T", .queue_id = 0, .offset = at});
      if (got.next_offset <= at) break;
      at = got.next_offset;
      for (const Bytes each : got.records)
        for (Bytes rest = each; !rest.empty();) {
          const auto message = protocol::decode_message(rest);
          if (!message) return bodies;
          bodies.emplace_back(as_text(message->body));
          rest = rest.subspan(static_cast<std::size_t>(message->size));
        }
    }
    return bodies;
  }
  std::vector<std::string> all_but(std::size_t lost) const {
    auto left = bodies_;
    left.erase(left.begin() + static_cast<std::ptrdiff_t>(lost));
    return left;
  }
  void write(const std::string& path, std::string_view content) {
    auto file = files().open(path, FileSystem::Open::kCreate);
    ASSERT_TRUE(file && (*file)->resize(content.size()) && (*file)->write_at(0, as_bytes(content)));
  }

  apogee::testing::DiskEnv world_;
  const InspectOptions options_{.root = "store",
                                .index_format = {.slot_count = 10, .unit_count = 50}};
  std::vector<std::string> bodies_;
  std::vector<std::int64_t> offsets_;
  std::string log_, queue_;
};

TEST_F(Repair, PlansNothingForASoundStore) {
  EXPECT_TRUE(plan().empty());
}

TEST_F(Repair, AFileMadeAheadOfUseIsNoEndOfTheLogAfterAKill) {
  write(apogee::testing::StoreBuilder{}.segment_path(4'096), std::string(4'096, '\0'));
  write("store/abort", "");
  EXPECT_TRUE(plan().empty());
}

TEST_F(Repair, PlanningChangesNothing) {
  ASSERT_TRUE(world_.disk.flip_bit(log_, static_cast<std::uint64_t>(offsets_[5] + 90) * 8));
  const auto before = read_file(files(), log_);
  const auto remedies = plan();
  ASSERT_FALSE(remedies.empty());
  EXPECT_EQ(remedies.front().file, log_);
  EXPECT_EQ(remedies.front().position, static_cast<std::uint64_t>(offsets_[5]));
  EXPECT_EQ(*before, *read_file(files(), log_));
  EXPECT_FALSE(files().stat("store/abort"));
}

TEST_F(Repair, ADamagedBodyCostsThatMessageAndNoOther) {
  ASSERT_TRUE(world_.disk.flip_bit(log_, static_cast<std::uint64_t>(offsets_[5] + 90) * 8));
  apply_all();
  EXPECT_EQ(consumed(), all_but(5));
}

TEST_F(Repair, ADestroyedHeaderCostsThatMessageAndNoOther) {
  ASSERT_TRUE(world_.disk.flip_bit(log_, static_cast<std::uint64_t>(offsets_[7] + 5) * 8));
  apply_all();
  EXPECT_EQ(consumed(), all_but(7));
}

TEST_F(Repair, ADamagedQueueIsMadeAgainFromTheLog) {
  ASSERT_TRUE(world_.disk.flip_bit(queue_, 20 * 3 * 8 + 6 * 8));
  const auto remedies = plan();
  ASSERT_EQ(remedies.size(), 1U);
  EXPECT_THAT(remedies[0].action, ::testing::HasSubstr("make it again"));
  apply_all();
  EXPECT_EQ(consumed(), bodies_);
}

TEST_F(Repair, ADamagedTableIsReplacedByItsBackup) {
  write("store/config/topics.json", "{\"topicConfig");
  write("store/config/topics.json.bak", "{}");
  apply_all();
  EXPECT_EQ(*read_file(files(), "store/config/topics.json"), "{}");
}

TEST_F(Repair, ADamagedTableWithoutABackupIsSetAside) {
  write("store/config/topics.json", "{\"topicConfig");
  apply_all();
  EXPECT_FALSE(files().stat("store/config/topics.json"));
  EXPECT_TRUE(files().stat("store/config/topics.json.damaged"));
}

TEST_F(Repair, DamagedMarksOfDeletedTopicsAreNotReplacedByOlderOnes) {
  write("store/config/deletedTopics.json", "{\"marks");
  write("store/config/deletedTopics.json.bak", "{}");
  apply_all();
  EXPECT_FALSE(files().stat("store/config/deletedTopics.json"));
  EXPECT_FALSE(files().stat("store/config/deletedTopics.json.bak"));
}

TEST_F(Repair, RefusesAStoreThatIsOpen) {
  auto lock = files().lock("store/lock");
  ASSERT_TRUE(lock);
  const auto planned = plan_repair(files(), options_);
  ASSERT_FALSE(planned);
  EXPECT_EQ(planned.error().code, Errc::kExists);
}

}  // namespace
}  // namespace apogee::store
