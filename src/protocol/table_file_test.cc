#include "protocol/table_file.h"

#include <gtest/gtest.h>

#include "protocol/bodies.h"
#include "testing/disk_env.h"

namespace apogee::protocol {
namespace {

constexpr const char* kPath = "/config/table.json";
constexpr std::string_view kTorn = R"({"configTable":{"n":{"k)";

KvConfigTable table(const std::string& value) {
  return {.config_table = {{"n", {{"k", value}}}}};
}

/// A table on a disk that forgets; what is written here directly is durable.
struct TableOnDisk {
  TableOnDisk() {
    EXPECT_TRUE(disk.env->files.create_directories("/config"));
    EXPECT_TRUE(disk.env->files.sync_directory("/"));
  }
  void write(const std::string& suffix, std::string_view content) {
    auto file = disk.env->files.open(kPath + suffix, FileSystem::Open::kCreate);
    ASSERT_TRUE(file && (*file)->resize(0) && (*file)->write_at(0, as_bytes(content)));
    ASSERT_TRUE((*file)->sync() && disk.env->files.sync_directory("/config"));
  }
  Result<Ok> save(const std::string& value) { return save_table(*disk.env, kPath, table(value)); }
  /// The value; "none": there is no table.
  std::string load() {
    auto loaded = load_table<KvConfigTable>(*disk.env, kPath);
    if (!loaded) return loaded.error().detail;
    return *loaded ? (*loaded)->config_table["n"]["k"] : "none";
  }
  testing::DiskEnv disk;
};

TEST(TableFile, IsReadFromTheOneThatWasToReplaceItOnlyWhenNothingElseIsWhole) {
  TableOnDisk one;
  one.write(".tmp", encode_body(table("next")));
  one.write(".bak", encode_body(table("before")));
  EXPECT_EQ(one.load(), "before");
  one.write("", encode_body(table("now")));
  EXPECT_EQ(one.load(), "now");
  one.write("", kTorn);
  one.write(".bak", kTorn);
  EXPECT_EQ(one.load(), "next");
  EXPECT_FALSE(one.disk.env->files.stat(std::string{kPath} + ".tmp"))
      << "the next save would empty it";
  one.disk.disk.crash();
  one.disk.restart();
  EXPECT_EQ(one.load(), "next");
}

TEST(TableFile, ThatWasNeverWrittenWholeIsNone) {
  TableOnDisk one;
  one.write(".tmp", kTorn);
  EXPECT_EQ(one.load(), "none");
  EXPECT_TRUE(one.save("first"));
  EXPECT_EQ(one.load(), "first");
}

TEST(TableFile, SurvivesAPowerCutInASaveAfterItWasReadFromItsBackup) {
  constexpr std::uint64_t kSeeds = 40;
  bool saved = false;
  for (std::uint64_t operations = 0; !saved; ++operations) {
    ASSERT_LT(operations, 100u);
    for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
      TableOnDisk one;
      one.write(".bak", encode_body(table("before")));
      one.write("", kTorn);
      ASSERT_EQ(one.load(), "before");
      one.disk.disk.lose_power_after(operations);
      saved = one.save("after").has_value();
      one.disk.disk.crash(seed);
      one.disk.restart();
      const std::string found = one.load();
      EXPECT_TRUE(found == "after" || (!saved && found == "before"))
          << found << ", cut after " << operations << ", seed " << seed;
      // Nor does the save that follows lose what was found.
      one.disk.disk.lose_power_after(operations);
      const bool again = one.save("at last").has_value();
      one.disk.disk.crash(seed + 1);
      one.disk.restart();
      const std::string then = one.load();
      EXPECT_TRUE(then == "at last" || (!again && then == found))
          << then << ", was " << found << ", cut after " << operations << ", seed " << seed;
    }
  }
}

}  // namespace
}  // namespace apogee::protocol
