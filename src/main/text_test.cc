#include "main/text.h"

#include <gtest/gtest.h>

namespace apogee {
namespace {

TEST(Text, IsWhatAReaderOfUtf8Takes) {
  for (const char* text : {"", "plain\n", "\xC3\xA9", "\xE6\xB6\x88\xE6\x81\xAF", "\xED\x9F\xBF",
                           "\xF0\x9F\x98\x80", "\xF4\x8F\xBF\xBF"})
    EXPECT_TRUE(is_text(text)) << hex(text);
  for (const char* bytes : {"\xFF\xFE", "\x80", "\xC3", "\xC0\xAF", "\xE0\x9F\xBF", "\xED\xA0\x80",
                            "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xE6\xB6", "\xE6x\xB6"})
    EXPECT_FALSE(is_text(bytes)) << hex(bytes);
}

TEST(Text, IsCutBetweenCharacters) {
  const std::string text = "a\xE6\xB6\x88\xE6\x81\xAF";
  EXPECT_EQ(beginning(text, 100), text);
  EXPECT_EQ(beginning(text, 7), text);
  EXPECT_EQ(beginning(text, 6), text.substr(0, 4));
  EXPECT_EQ(beginning(text, 3), "a");
  EXPECT_EQ(beginning(text, 0), "");
}

}  // namespace
}  // namespace apogee
