#include "broker/consumer_offsets.h"

#include <random>

#include <gtest/gtest.h>

#include "testing/disk_env.h"

namespace apogee::broker {
namespace {

constexpr const char* kPath = "/store/config/consumerOffset.json";

class Offsets : public ::testing::Test {
 protected:
  Offsets() { EXPECT_TRUE(disk_.env->files.create_directories("/store/config")); }
  void write(const std::string& path, std::string_view content) {
    auto file = disk_.env->files.open(path, FileSystem::Open::kCreate);
    ASSERT_TRUE(file);
    ASSERT_TRUE((*file)->resize(0));
    ASSERT_TRUE((*file)->write_at(0, as_bytes(content)));
  }
  testing::DiskEnv disk_;
  ConsumerOffsets offsets_{*disk_.env, kPath};
};

TEST_F(Offsets, AreUnknownUntilCommitted) {
  EXPECT_FALSE(offsets_.find("g", "t", 0));
  offsets_.commit("g", "t", 0, 7);
  EXPECT_EQ(offsets_.find("g", "t", 0), 7);
  EXPECT_FALSE(offsets_.find("g", "t", 1));
  offsets_.commit("g", "t", 0, 3);
  EXPECT_EQ(offsets_.find("g", "t", 0), 3) << "a smaller offset is stored as well";
}

TEST_F(Offsets, PulledButNotCommittedIsKnownToTheProgressDisplayOnly) {
  offsets_.note_pull("g", "t", 0, 9, std::nullopt);
  EXPECT_FALSE(offsets_.find("g", "t", 0));
  EXPECT_EQ(offsets_.find_pulled("g", "t", 0), 9);
  EXPECT_TRUE(offsets_.groups_of("t").empty());
  offsets_.note_pull("g", "t", 0, 12, 10);
  EXPECT_EQ(offsets_.find("g", "t", 0), 10);
  offsets_.forget_pulled("g", "t");
  EXPECT_EQ(offsets_.find_pulled("g", "t", 0), 10);
}

TEST_F(Offsets, AResetHoldsAgainstCommitsUntilAPullTookIt) {
  offsets_.commit("g", "t", 0, 50);
  offsets_.reset("g", "t", 0, 5);
  EXPECT_EQ(offsets_.find("g", "t", 0), 5);
  EXPECT_FALSE(offsets_.commit_unless_reset("g", "t", 0, 51));
  EXPECT_EQ(offsets_.find("g", "t", 0), 5);
  EXPECT_FALSE(offsets_.take_reset("g", "t", 1));
  EXPECT_EQ(offsets_.take_reset("g", "t", 0), 5);
  EXPECT_FALSE(offsets_.take_reset("g", "t", 0));
  EXPECT_TRUE(offsets_.commit_unless_reset("g", "t", 0, 6));
  EXPECT_EQ(offsets_.find("g", "t", 0), 6);
}

TEST_F(Offsets, OfLmqGroupsHaveATableAndAFileOfTheirOwn) {
  constexpr const char* kLmqPath = "/store/config/lmqConsumerOffset.json";
  offsets_.commit("g", "t", 1, 7);
  ASSERT_TRUE(offsets_.persist());
  ConsumerOffsets lmq{*disk_.env, kPath, 500, kLmqPath};
  ASSERT_TRUE(lmq.load());
  EXPECT_EQ(lmq.find("g", "t", 1), 7) << "taken over from the other file";
  lmq.commit("%LMQ%x", "%LMQ%x", 0, 5);
  ASSERT_TRUE(lmq.persist());
  const auto text = read_file(disk_.env->files, kLmqPath);
  ASSERT_TRUE(text);
  const auto table = protocol::decode_body<protocol::LmqConsumerOffsetTable>(*text);
  ASSERT_TRUE(table);
  EXPECT_EQ(table->lmq_offset_table, (std::map<std::string, std::int64_t>{{"%LMQ%x@%LMQ%x", 5}}));
  EXPECT_EQ(table->offset_table.size(), 1u);
  ConsumerOffsets again{*disk_.env, kPath, 500, kLmqPath};
  ASSERT_TRUE(again.load());
  EXPECT_EQ(again.find("%LMQ%x", "%LMQ%x", 0), 5);
  EXPECT_EQ(again.find("g", "t", 1), 7);
}

TEST_F(Offsets, SurviveARestart) {
  offsets_.commit("g", "t", 0, 7);
  offsets_.commit("g", "%RETRY%g", 0, 1);
  offsets_.commit("g@broadcast", "t", 3, 9);
  ASSERT_TRUE(offsets_.persist());
  ConsumerOffsets again{*disk_.env, kPath};
  ASSERT_TRUE(again.load());
  EXPECT_EQ(again.find("g", "t", 0), 7);
  EXPECT_EQ(again.find("g", "%RETRY%g", 0), 1);
  EXPECT_EQ(again.find("g@broadcast", "t", 3), 9);
}

TEST_F(Offsets, AreWrittenOnlyWhenSomethingChanged) {
  offsets_.commit("g", "t", 0, 7);
  ASSERT_TRUE(offsets_.persist());
  ASSERT_TRUE(disk_.env->files.remove(kPath));
  ASSERT_TRUE(offsets_.persist());
  EXPECT_FALSE(disk_.env->files.stat(kPath));
  offsets_.commit("g", "t", 0, 7);
  ASSERT_TRUE(offsets_.persist());
  EXPECT_TRUE(disk_.env->files.stat(kPath));
}

TEST_F(Offsets, ReadWhatJavaWrote) {
  write(kPath,
        "{\n\t\"dataVersion\":{\n\t\t\"counter\":3,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":"
        "1700000000000\n\t},\n\t\"groupTopicMap\":{\"g\":[\"t\"]},\n\t\"offsetTable\":{\n\t\t"
        "\"t@g\":{0:10,1:3},\"%RETRY%g@g\":{0:1}\n\t}\n}");
  ASSERT_TRUE(offsets_.load());
  EXPECT_EQ(offsets_.find("g", "t", 0), 10);
  EXPECT_EQ(offsets_.find("g", "t", 1), 3);
  EXPECT_EQ(offsets_.find("g", "%RETRY%g", 0), 1);
  EXPECT_EQ(offsets_.version().counter, 3);
}

TEST_F(Offsets, AreWrittenAsJavaReadsThem) {
  offsets_.commit("g", "t", 0, 10);
  offsets_.commit("g", "t", 1, 3);
  const std::string json = offsets_.to_json();
  EXPECT_NE(json.find("\"t@g\":{"), std::string::npos) << json;
  EXPECT_NE(json.find("0:10"), std::string::npos) << json;
  EXPECT_NE(json.find("1:3"), std::string::npos) << json;
}

TEST_F(Offsets, FallBackToTheBackup) {
  write(std::string{kPath} + ".bak", R"({"offsetTable":{"t@g":{0:4}}})");
  ASSERT_TRUE(offsets_.load());
  EXPECT_EQ(offsets_.find("g", "t", 0), 4);
  for (const char* damaged : {"", "{\"offsetTable\":{\"t@g\":{0"}) {
    write(kPath, damaged);
    ConsumerOffsets again{*disk_.env, kPath};
    ASSERT_TRUE(again.load()) << damaged;
    EXPECT_EQ(again.find("g", "t", 0), 4) << damaged;
  }
}

TEST_F(Offsets, RefuseToStartFromADamagedFileWithoutBackup) {
  write(kPath, "{\"offsetTable\":[1,");
  const auto loaded = offsets_.load();
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, Errc::kMalformed);
}

TEST_F(Offsets, StepTheirVersionEveryFiveHundredCommits) {
  for (int i = 0; i < 499; ++i) offsets_.commit("g", "t", 0, i);
  EXPECT_EQ(offsets_.version().counter, 0);
  offsets_.commit("g", "t", 0, 499);
  EXPECT_EQ(offsets_.version().counter, 1);
  EXPECT_EQ(offsets_.version().timestamp, disk_.clock.wall_ms());
}

TEST_F(Offsets, OfOneGroupBecomeAnothers) {
  offsets_.commit("a", "t", 0, 1);
  offsets_.commit("a", "t", 1, 2);
  offsets_.commit("b", "t", 2, 3);
  offsets_.clone("a", "b", "t");
  EXPECT_EQ(offsets_.find_all("b", "t"), (QueueOffsets{{0, 1}, {1, 2}}));
  offsets_.clone("nobody", "b", "t");
  EXPECT_EQ(offsets_.find_all("b", "t").size(), 2u);
}

TEST_F(Offsets, GoWithTheirTopicAndTheirGroup) {
  for (const char* group : {"a", "b"})
    for (const char* topic : {"s", "t"}) offsets_.commit(group, topic, 0, 1);
  offsets_.remove_topic("s");
  EXPECT_EQ(offsets_.topics_of("a"), std::set<std::string>{"t"});
  offsets_.remove_group("a");
  EXPECT_EQ(offsets_.groups_of("t"), std::set<std::string>{"b"});
  offsets_.remove("b", "t");
  EXPECT_TRUE(offsets_.groups().empty());
}

TEST_F(Offsets, AreBoundedPerTopicHoweverManyQueuesAClientInvents) {
  for (int queue = 0; queue < 70'000; ++queue) offsets_.commit("g", "t", queue, 1);
  EXPECT_EQ(offsets_.find_all("g", "t").size(), 65'536u);
}

TEST_F(Offsets, BehaveLikeAMapThroughRestarts) {
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937_64 random{seed};
    testing::DiskEnv disk;
    ASSERT_TRUE(disk.env->files.create_directories("/store/config"));
    auto table = std::make_unique<ConsumerOffsets>(*disk.env, kPath);
    std::map<std::tuple<std::string, std::string, int>, std::int64_t> model;
    for (int step = 0; step < 400; ++step) {
      const std::string group = "g" + std::to_string(random() % 3);
      const std::string topic = "t" + std::to_string(random() % 3);
      const int queue = static_cast<int>(random() % 3);
      switch (random() % 12) {
        case 0:
          table->remove_topic(topic);
          std::erase_if(model, [&](const auto& each) { return std::get<1>(each.first) == topic; });
          break;
        case 1:
          table->remove_group(group);
          std::erase_if(model, [&](const auto& each) { return std::get<0>(each.first) == group; });
          break;
        case 2:
          ASSERT_TRUE(table->persist());
          table = std::make_unique<ConsumerOffsets>(*disk.env, kPath);
          ASSERT_TRUE(table->load());
          break;
        default: {
          const auto offset = static_cast<std::int64_t>(random() % 1'000);
          table->commit(group, topic, queue, offset);
          model[{group, topic, queue}] = offset;
        }
      }
      for (const auto& [key, offset] : model)
        ASSERT_EQ(table->find(std::get<0>(key), std::get<1>(key), std::get<2>(key)), offset);
      std::size_t rows = 0;
      table->for_each(
          [&](const auto&, const auto&, const QueueOffsets& each) { rows += each.size(); });
      ASSERT_EQ(rows, model.size());
    }
  }
}

}  // namespace
}  // namespace apogee::broker
