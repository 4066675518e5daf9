#include "store/file_chain.h"

#include <random>

#include <gtest/gtest.h>

#include "testing/disk_env.h"

namespace apogee::store {
namespace {

struct Chains : ::testing::Test {
  FileChain chain(const std::string& directory, std::int64_t file_bytes = 4) {
    return FileChain{*world.env, cache, {directory, file_bytes, "fileBytes"}};
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
  ASSERT_TRUE((*in_use)->file->read_at(0, std::as_writable_bytes(std::span{old})));
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

TEST_F(Chains, ReadOnWithoutAskingTheDiskForEachPiece) {
  FileChain one = chain("/topic/0", 16);
  ASSERT_TRUE(one.write(0, "0123456789"));
  EXPECT_EQ(*one.read_on(0, 3, 8), "012");
  world.disk.inject({.operation = apogee::testing::ForgetfulDisk::Operation::kRead,
                     .times = apogee::testing::ForgetfulDisk::kForever});
  EXPECT_EQ(*one.read_on(3, 3, 8), "345");
  EXPECT_EQ(*one.read_on(6, 9, 8), "67") << "what is behind the end is nobody's yet";
  EXPECT_FALSE(one.read_on(8, 2, 10)) << "it was not read ahead";
}

TEST_F(Chains, ReadOnSeesWhatPlainReadsSeeWhateverIsWrittenAndCut) {
  std::mt19937_64 random{7};
  FileChain one = chain("/topic/0", 32);
  std::string model;
  for (int step = 0; step < 20'000; ++step) {
    const auto end = static_cast<std::int64_t>(model.size());
    if (random() % 4 == 0) {
      const std::string some(1 + random() % 20, static_cast<char>('a' + random() % 26));
      ASSERT_TRUE(one.write(end, some));
      model += some;
    } else if (random() % 16 == 0) {
      const std::size_t cut = model.size() - random() % (model.size() + 1) / 2;
      ASSERT_TRUE(one.cut_to(static_cast<std::int64_t>(cut), end));
      model.resize(cut);
    } else if (end > 0) {
      const std::size_t at = random() % model.size(), bytes = 1 + random() % 40;
      const std::size_t in_file = std::min(bytes, 32 - at % 32);
      ASSERT_EQ(*one.read_on(static_cast<std::int64_t>(at), bytes, end), model.substr(at, in_file));
    }
  }
}

}  // namespace
}  // namespace apogee::store
