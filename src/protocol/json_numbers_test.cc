#include <gtest/gtest.h>

#include "protocol/pop.h"

namespace apogee::protocol {
namespace {

std::string ack_at(std::string_view offset) {
  return R"({"ao":)" + std::string{offset} + R"(,"c":"g","pt":1,"q":1,"so":7,"t":"T"})";
}

TEST(JsonNumbers, OneThatDoesNotFitItsFieldIsMalformed) {
  for (const char* offset : {"17000000088888880000", "9223372036854775808", "-1e19", "1e300"})
    EXPECT_FALSE(parse_ack(ack_at(offset))) << offset;
}

TEST(JsonNumbers, RealOnesThatFitAreCutToWholeOnes) {
  const auto ack = parse_ack(ack_at("7.9"));
  ASSERT_TRUE(ack);
  EXPECT_EQ(ack->offset, 7);
}

}  // namespace
}  // namespace apogee::protocol
