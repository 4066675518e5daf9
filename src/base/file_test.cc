#include "base/file.h"

#include <cstdlib>
#include <filesystem>
#include <utility>

#include <gtest/gtest.h>

namespace apogee {
namespace {

/// A directory of its own on the real disk.
class PosixFileSystem : public ::testing::Test {
 protected:
  PosixFileSystem() {
    std::filesystem::remove_all(root_);
    EXPECT_TRUE(files_->create_directories(root_));
  }
  ~PosixFileSystem() override { std::filesystem::remove_all(root_); }
  void make(const std::string& name, std::string_view content) {
    auto file = files_->open(root_ + "/" + name, FileSystem::Open::kCreate);
    ASSERT_TRUE(file) << file.error().detail;
    ASSERT_TRUE((*file)->write_at(0, as_bytes(content)));
  }

  const std::string root_ =
      (std::filesystem::path{::testing::TempDir()} /
       ("files-" + std::string{::testing::UnitTest::GetInstance()->current_test_info()->name()}))
          .string();
  std::unique_ptr<FileSystem> files_ = make_posix_files();
};

TEST_F(PosixFileSystem, ListsFilesAndDirectoriesByName) {
  make("b", "four");
  make("a", "");
  ASSERT_TRUE(files_->create_directories(root_ + "/c/inside"));
  std::filesystem::create_symlink("c", root_ + "/d");
  std::filesystem::create_symlink("nowhere", root_ + "/e");
  const auto entries = files_->list(root_);
  ASSERT_TRUE(entries) << entries.error().detail;
  ASSERT_EQ(entries->size(), 4u) << "what leads nowhere is not there";
  EXPECT_EQ((*entries)[0].name, "a");
  EXPECT_EQ((*entries)[0].size, 0u);
  EXPECT_EQ((*entries)[1].name, "b");
  EXPECT_EQ((*entries)[1].size, 4u);
  EXPECT_FALSE((*entries)[1].is_directory);
  EXPECT_GT((*entries)[1].modified_ms, 0);
  EXPECT_TRUE((*entries)[2].is_directory);
  EXPECT_TRUE((*entries)[3].is_directory) << "as what it leads to";
}

TEST_F(PosixFileSystem, ListsMoreThanOneCallOfTheSystemTells) {
  constexpr int kFiles = 1'000;
  const std::string long_name(200, 'x');  // 200 KB of names
  for (int i = 0; i < kFiles; ++i) make(long_name + std::to_string(1'000 + i), "");
  const auto entries = files_->list(root_);
  ASSERT_TRUE(entries);
  ASSERT_EQ(entries->size(), static_cast<std::size_t>(kFiles));
  for (int i = 0; i < kFiles; ++i)
    EXPECT_EQ((*entries)[static_cast<std::size_t>(i)].name, long_name + std::to_string(1'000 + i));
}

TEST_F(PosixFileSystem, APageThatCannotBeReadIsZerosAndNotTheEndOfTheProcess) {
  read_bad_pages_as_zeros();
  constexpr std::size_t kPage = 64 << 10;  // of any system
  make("log", std::string(3 * kPage, 'x'));
  auto file = files_->open(root_ + "/log", FileSystem::Open::kExisting);
  ASSERT_TRUE(file);
  const auto mapping = (*file)->map(0, 3 * kPage, Access::kRead);
  ASSERT_TRUE(mapping);
  // What lies behind a file's end fails as a bad sector does.
  ASSERT_TRUE((*file)->resize(kPage));
  const Bytes bytes = std::as_const(**mapping).bytes();
  EXPECT_EQ(bytes[2 * kPage + 5], std::byte{0});
  EXPECT_EQ(bytes[5], std::byte{'x'});
  const auto writable = (*file)->map(0, 3 * kPage, Access::kWrite);
  ASSERT_TRUE(writable);
  EXPECT_DEATH(std::exit(std::to_integer<int>((*writable)->bytes()[2 * kPage])), "")
      << "what would be written there is not lost without a word";
}

TEST_F(PosixFileSystem, AReplacedFileKeepsItsModeAndANewOneHasTheUsualOne) {
  const auto mode = [&](const std::string& name) {
    return std::filesystem::status(root_ + "/" + name).permissions();
  };
  make("usual", "");
  ASSERT_TRUE(replace_file(*files_, root_ + "/new", "one"));
  EXPECT_EQ(mode("new"), mode("usual"));
  std::filesystem::permissions(
      root_ + "/new", std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  ASSERT_TRUE(replace_file(*files_, root_ + "/new", "two"));
  EXPECT_EQ(mode("new"), mode("new.bak"));
  EXPECT_NE(mode("new"), mode("usual"));
}

TEST_F(PosixFileSystem, SaysWhyItCannotList) {
  EXPECT_EQ(files_->list(root_ + "/none").error().code, Errc::kNotFound);
  make("file", "");
  const auto entries = files_->list(root_ + "/file");
  ASSERT_FALSE(entries);
  EXPECT_EQ(entries.error().detail, "list " + root_ + "/file: Not a directory");
}

}  // namespace
}  // namespace apogee
