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

TEST(Bytes, CopiesTextsOfEveryLengthAndNothingBeside) {
  for (std::size_t size = 0; size < 40; ++size) {
    std::string text;
    for (std::size_t i = 0; i < size; ++i) text += static_cast<char>('A' + i);
    std::string room(size + 2, '.');
    EXPECT_EQ(copy_text(room.data() + 1, text), room.data() + 1 + size);
    EXPECT_EQ(room, "." + text + ".");
  }
}

}  // namespace
}  // namespace apogee
