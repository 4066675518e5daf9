#include "base/log.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "base/file.h"

namespace apogee {
namespace {

/// What follows the time and the level in the file, with its end of line.
std::string logged(std::string_view text) {
  const std::string path =
      (std::filesystem::path{::testing::TempDir()} /
       ("log-" + std::string{::testing::UnitTest::GetInstance()->current_test_info()->name()}))
          .string();
  std::filesystem::remove(path);
  make_logger(path, LogLevel::kInfo)->info("client={}", text);
  auto all = read_file(*make_posix_files(), path);
  std::filesystem::remove(path);
  const auto at = all ? all->find("client=") : std::string::npos;
  return at == std::string::npos ? "nothing" : std::string{all->substr(at)};
}

TEST(Log, ANameCannotMakeALine) {
  EXPECT_EQ(logged("a\n2026-01-01 00:00:00.000 error all is lost"),
            "client=a\\n2026-01-01 00:00:00.000 error all is lost\n");
}

TEST(Log, ANameCannotSteerATerminal) {
  using namespace std::string_view_literals;
  EXPECT_EQ(logged("\r\x1b[2J\x7f\0"sv), "client=\\x0d\\x1b[2J\\x7f\\x00\n");
}

TEST(Log, WhatIsNoControlCharacterStays) {
  EXPECT_EQ(logged("tab\there, \\, \xc3\xa4, \xe4\xb8\xad"),
            "client=tab\there, \\, \xc3\xa4, \xe4\xb8\xad\n");
}

}  // namespace
}  // namespace apogee
