#include "base/properties_file.h"

#include <filesystem>

#include <gtest/gtest.h>

namespace apogee {
namespace {

using std::filesystem::perms;
constexpr perms kOwners = perms::owner_read | perms::owner_write;

/// A directory of its own on the real disk.
class WrittenOptions : public ::testing::Test {
 protected:
  WrittenOptions() {
    std::filesystem::remove_all(root_);
    EXPECT_TRUE(files_->create_directories(root_));
  }
  ~WrittenOptions() override { std::filesystem::remove_all(root_); }
  Result<Ok> write() { return write_options(*files_, path_, options_); }
  perms mode() { return std::filesystem::status(path_).permissions(); }
  std::string text() {
    auto text = read_file(*files_, path_);
    return text ? std::string{*text} : text.error().detail;
  }

  const std::string root_ =
      (std::filesystem::path{::testing::TempDir()} /
       ("options-" + std::string{::testing::UnitTest::GetInstance()->current_test_info()->name()}))
          .string();
  const std::string path_ = root_ + "/namesrv.conf";
  std::unique_ptr<FileSystem> files_ = make_posix_files();
  const std::vector<OptionView> options_{{.name = "tls.server.keyPassword", .value = "hush"}};
};

TEST_F(WrittenOptions, MakeAFileThatNobodyElseCanRead) {
  ASSERT_TRUE(write());
  EXPECT_EQ(mode(), kOwners);
  EXPECT_EQ(text(), "tls.server.keyPassword=hush\n");
  ASSERT_TRUE(write());
  EXPECT_EQ(mode(), kOwners);
}

TEST_F(WrittenOptions, MakeSuchAFileOverWhatACrashLeft) {
  ASSERT_TRUE(files_->open(path_ + ".tmp", FileSystem::Open::kCreate));
  std::filesystem::permissions(path_ + ".tmp", kOwners | perms::others_read);
  ASSERT_TRUE(write());
  EXPECT_EQ(mode(), kOwners);
}

TEST_F(WrittenOptions, KeepTheModeOfAFileThatIsThere) {
  ASSERT_TRUE(replace_file(*files_, path_, "other=1\n"));
  std::filesystem::permissions(path_, kOwners | perms::group_read);
  ASSERT_TRUE(write());
  EXPECT_EQ(mode(), kOwners | perms::group_read);
  EXPECT_EQ(text(), "tls.server.keyPassword=hush\nother=1\n");
}

}  // namespace
}  // namespace apogee
