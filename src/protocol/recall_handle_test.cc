#include "protocol/recall_handle.h"

#include <gtest/gtest.h>

namespace apogee::protocol {
namespace {

TEST(RecallHandle, IsWhatJavaMakes) {
  // new String(Base64.getUrlEncoder().encode("v1 t broker-a 1700000000001 K1".getBytes()))
  EXPECT_EQ(encode_recall_handle({"t", "broker-a", "1700000000001", "K1"}),
            "djEgdCBicm9rZXItYSAxNzAwMDAwMDAwMDAxIEsx");
  EXPECT_EQ(encode_recall_handle({"t", "b", "1", "K1"}), "djEgdCBiIDEgSzE=");
}

TEST(RecallHandle, IsReadBack) {
  for (const char* id : {"A", "AB", "ABC", "ABCD", "7F00000112"}) {
    const auto parsed = parse_recall_handle(encode_recall_handle({"topic", "broker", "17", id}));
    ASSERT_TRUE(parsed) << id;
    EXPECT_EQ(parsed->topic, "topic");
    EXPECT_EQ(parsed->broker_name, "broker");
    EXPECT_EQ(parsed->timestamp, "17");
    EXPECT_EQ(parsed->message_id, id);
  }
}

TEST(RecallHandle, IsNothingElse) {
  for (const char* bad : {"", "=", "%%%%", "djEg", "djIgdCBiIDEgSzE=", "djEgdCBiIDE="})
    EXPECT_FALSE(parse_recall_handle(bad)) << bad;
}

}  // namespace
}  // namespace apogee::protocol
