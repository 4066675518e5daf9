#include "client/offset_store.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "testing/disk_env.h"

namespace apogee::client {
namespace {

using ::testing::HasSubstr;

const MessageQueue kFirst{"orders", "b", 0}, kSecond{"orders", "b", 1};

class LocalOffsetFiles : public ::testing::Test {
 protected:
  std::unique_ptr<OffsetStore> open() {
    auto store = make_local_offsets(env_(), "/offsets", "10.0.0.1@DEFAULT", "g");
    return store;
  }
  static std::optional<std::int64_t> stored(OffsetStore& store, const MessageQueue& queue) {
    std::optional<std::int64_t> offset;
    store.stored(queue, [&](const Result<std::optional<std::int64_t>>& found) {
      EXPECT_TRUE(found) << found.error().detail;
      if (found) offset = *found;
    });
    return offset;
  }
  Buffer file(const std::string& name = "offsets.json") {
    return *read_file(env_().files, "/offsets/10.0.0.1@DEFAULT/g/" + name);
  }
  testing::DiskEnv disk_;
  Env& env_() { return *disk_.env; }
};

TEST_F(LocalOffsetFiles, SurviveARestart) {
  {
    auto store = open();
    ASSERT_TRUE(store->load());
    EXPECT_FALSE(store->in_memory(kFirst));
    store->update(kFirst, 7, true);
    store->update(kSecond, 9, true);
    store->persist({kFirst, kSecond});
  }
  auto store = open();
  ASSERT_TRUE(store->load());
  EXPECT_EQ(store->in_memory(kFirst), 7);
  EXPECT_EQ(stored(*store, kSecond), 9);
}

TEST_F(LocalOffsetFiles, AreWrittenAsJavaReadsThem) {
  auto store = open();
  store->update(kFirst, 7, true);
  store->persist(std::set{kFirst});
  EXPECT_EQ(file(),
            "{\n\t\"offsetTable\":{\n\t\t"
            "{\"brokerName\":\"b\",\"queueId\":0,\"topic\":\"orders\"}:7\n\t}\n}");
}

TEST_F(LocalOffsetFiles, KeepWhatOthersWrote) {
  auto one = open(), two = open();
  one->update(kFirst, 7, true);
  one->persist(std::set{kFirst});
  two->update(kSecond, 9, true);
  two->persist(std::set{kSecond});
  EXPECT_EQ(stored(*open(), kFirst), 7);
}

TEST_F(LocalOffsetFiles, FallBackToWhatWasThereBefore) {
  auto store = open();
  store->update(kFirst, 7, true);
  store->persist(std::set{kFirst});
  store->update(kFirst, 8, true);
  store->persist(std::set{kFirst});
  ASSERT_TRUE(replace_file(env_().files, "/elsewhere", "{broken"));
  ASSERT_TRUE(env_().files.rename("/elsewhere", "/offsets/10.0.0.1@DEFAULT/g/offsets.json"));
  EXPECT_EQ(stored(*open(), kFirst), 7) << "from the .bak";
  ASSERT_TRUE(env_().files.remove("/offsets/10.0.0.1@DEFAULT/g/offsets.json.bak"));
  const auto lost = open()->load();
  ASSERT_FALSE(lost);
  EXPECT_THAT(lost.error().detail, HasSubstr("readLocalOffset Exception"));
}

TEST_F(LocalOffsetFiles, OnlyGoForwardUnlessTold) {
  auto store = open();
  store->update(kFirst, 7, true);
  store->update(kFirst, 5, true);
  EXPECT_EQ(store->in_memory(kFirst), 7);
  store->update(kFirst, 5, false);
  EXPECT_EQ(store->in_memory(kFirst), 5);
}

TEST_F(LocalOffsetFiles, AreDeafWhileFrozen) {
  auto store = open();
  store->update(kFirst, 7, true);
  store->freeze_at(kFirst, 3);
  store->update(kFirst, 9, true);
  store->update(kFirst, 9, false);
  EXPECT_EQ(store->in_memory(kFirst), 3);
  store->forget(kFirst);
  store->update(kFirst, 9, true);
  EXPECT_EQ(store->in_memory(kFirst), 9);
}

TEST_F(LocalOffsetFiles, ForgetQueuesThatAreNotConsumedAnyMore) {
  auto store = open();
  store->update(kFirst, 7, true);
  store->update(kSecond, 9, true);
  store->persist(std::set{kFirst});
  EXPECT_FALSE(store->in_memory(kSecond));
  EXPECT_EQ(store->of_topic("orders").size(), 1u);
}

}  // namespace
}  // namespace apogee::client
