#include "client/unique_id.h"

#include <set>
#include <thread>

#include <gtest/gtest.h>
#include <unistd.h>

#include "testing/disk_env.h"

namespace apogee::client {
namespace {

std::uint64_t hex(const std::string& id, std::size_t at, std::size_t digits) {
  return std::stoull(id.substr(at, digits), nullptr, 16);
}

TEST(UniqueIds, CarryAddressProcessTimeAndCounter) {
  testing::DiskEnv disk;
  UniqueIds ids{*disk.env, "10.1.2.3"};
  const std::string id = ids.next();
  ASSERT_EQ(id.size(), 32U);
  EXPECT_EQ(id.substr(0, 8), "0A010203");
  EXPECT_EQ(hex(id, 8, 4), static_cast<std::uint64_t>(::getpid()) & 0xFFFF);
  EXPECT_EQ(hex(id, 20, 8), static_cast<std::uint64_t>(disk.clock.wall_ms() -
                                                       month_of(disk.clock.wall_ms()).begins_ms));
  EXPECT_EQ(hex(id, 28, 4), 0U);
  EXPECT_EQ(hex(ids.next(), 28, 4), 1U);
}

TEST(UniqueIds, AreLongerWithAnAddressOfVersionSix) {
  testing::DiskEnv disk;
  EXPECT_EQ(UniqueIds(*disk.env, "fe80::1").next().size(), 56U);
}

TEST(UniqueIds, BeginAgainWithTheMonth) {
  testing::DiskEnv disk;
  UniqueIds ids{*disk.env, "10.1.2.3"};
  ids.next();
  const Month month = month_of(disk.clock.wall_ms());
  disk.clock.advance(std::chrono::milliseconds{month.ends_ms - disk.clock.wall_ms() + 5});
  EXPECT_EQ(hex(ids.next(), 20, 8), 5U);
}

TEST(UniqueIds, DifferWithinOneMillisecondAndBetweenMakers) {
  testing::DiskEnv disk;
  UniqueIds one{*disk.env, "10.1.2.3"}, other{*disk.env, "10.1.2.3"};
  std::set<std::string> seen;
  for (int i = 0; i < 60'000; ++i) {
    EXPECT_TRUE(seen.insert(one.next()).second);
    EXPECT_TRUE(seen.insert(other.next()).second);
  }
}

TEST(UniqueIds, DifferBetweenThreads) {
  testing::DiskEnv disk;
  UniqueIds ids{*disk.env, "10.1.2.3"};
  std::vector<std::vector<std::string>> made(4);
  {
    std::vector<std::jthread> threads;
    for (auto& mine : made)
      threads.emplace_back([&ids, &mine] {
        for (int i = 0; i < 10'000; ++i) mine.push_back(ids.next());
      });
  }
  std::set<std::string> seen;
  for (const auto& each : made) seen.insert(each.begin(), each.end());
  EXPECT_EQ(seen.size(), 40'000U);
}

}  // namespace
}  // namespace apogee::client
