#include "store/file_chain.h"

#include <gtest/gtest.h>

#include "testing/disk_env.h"

namespace apogee::store {
namespace {

struct Chains : ::testing::Test {
  FileChain chain(const std::string& directory) {
    return FileChain{*world.env, cache, {directory, /*file_bytes=*/4, "fileBytes"}};
  }
  apogee::testing::DiskEnv world;
  FileCache cache{world.env->files, 1};
};

TEST_F(Chains, ReadTheNewFileOfAPlaceWhoseOldOneIsStillInUse) {
  FileChain one = chain("/topic/0");
  ASSERT_TRUE(one.write(0, "old"));
  EXPECT_EQ(*one.read(0, 3), "old");
  const auto in_use = cache.open("/topic/0/00000000000000000000", FileSystem::Open::kExisting);
  ASSERT_TRUE(in_use);
  for (const auto remove : {&FileChain::remove_all, &FileChain::remove_first}) {
    ASSERT_TRUE((one.*remove)());
    EXPECT_EQ(one.read(0, 3).error().code, Errc::kNotFound);
    ASSERT_TRUE(one.write(0, "new"));
    EXPECT_EQ(*one.read(0, 3), "new");
  }
  std::string old(3, '\0');
  ASSERT_TRUE((*in_use)->read_at(0, std::as_writable_bytes(std::span{old})));
  EXPECT_EQ(old, "old") << "nobody wrote into the file that is gone";
}

TEST_F(Chains, KeepNoFileOpenThatTheCacheHasClosed) {
  FileChain one = chain("/topic/0"), two = chain("/topic/1");
  ASSERT_TRUE(one.write(0, "one"));
  ASSERT_TRUE(two.write(0, "two"));
  world.disk.inject(
      {.operation = apogee::testing::ForgetfulDisk::Operation::kOpen, .path_part = "/topic/0"});
  EXPECT_FALSE(one.read(0, 3)) << "opened again: the cache has room for one";
  EXPECT_EQ(*one.read(0, 3), "one");
}

}  // namespace
}  // namespace apogee::store
