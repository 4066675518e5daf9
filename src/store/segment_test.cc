#include "store/segment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "testing/disk_env.h"

namespace apogee::store {
namespace {

using ::testing::ElementsAre;

TEST(SegmentNames, AreTwentyDigitsAndNothingElse) {
  EXPECT_EQ(segment_name(4'096), "00000000000000004096");
  EXPECT_EQ(base_of_segment_name("00000000000000004096"), 4'096);
  for (const std::string_view other :
       {"", "4096", "0000000000000004096x", "-0000000000000004096", "99999999999999999999"})
    EXPECT_EQ(base_of_segment_name(other), -1) << other;
}

TEST(QueueDirectories, AreThoseThatAQueueWouldGet) {
  apogee::testing::DiskEnv world;
  for (const char* const name : {"10", "2", "0", "-1", "+3", "04", "5x", "", "99999999999"})
    ASSERT_TRUE(world.disk.files().create_directories(std::string{"/topic/"} + name));
  ASSERT_TRUE(world.disk.files().open("/topic/6", FileSystem::Open::kCreate));
  EXPECT_THAT(*list_queues(world.disk.files(), "/topic"), ElementsAre(0, 2, 10));
  EXPECT_EQ(list_queues(world.disk.files(), "/nowhere").error().code, Errc::kNotFound);
}

}  // namespace
}  // namespace apogee::store
