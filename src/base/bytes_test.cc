#include "base/bytes.h"

#include <gtest/gtest.h>

namespace apogee {
namespace {

TEST(Bytes, KeepsBigEndianIntegersInNetworkOrder) {
  Buffer out;
  append_big<std::int32_t>(out, 0x01020304);
  EXPECT_EQ(out, std::string("\x01\x02\x03\x04", 4));
  EXPECT_EQ(read_big<std::int32_t>(as_bytes(out)), 0x01020304);
}

}  // namespace
}  // namespace apogee
