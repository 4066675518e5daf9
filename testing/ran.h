#pragma once

#include <cstdio>
#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "protocol/json.h"

namespace apogee::testing {

/// What a subcommand of `apogee` came to.
struct Ran {
  int code = 0;
  std::string out, err;
  protocol::Json json() const {
    auto parsed = protocol::parse_json(out);
    EXPECT_TRUE(parsed) << out;
    return parsed ? *std::move(parsed) : protocol::Json{};
  }
};

/// Runs it with its output kept. One at a time: standard output is the process's.
inline Ran run_kept(const std::function<int()>& command) {
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  Ran ran;
  ran.code = command();
  std::fflush(stdout);
  ran.out = ::testing::internal::GetCapturedStdout();
  ran.err = ::testing::internal::GetCapturedStderr();
  return ran;
}

}  // namespace apogee::testing
