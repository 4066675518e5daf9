#include "protocol/record_crc.h"

#include <gtest/gtest.h>

#include "protocol/message.h"

namespace apogee::protocol {
namespace {

Buffer record_with(std::string_view properties) {
  static constexpr std::array<std::byte, 4> kHost{};
  Buffer record;
  EXPECT_TRUE(encode_message(record, {.queue_id = 3,
                                      .born_timestamp = 1,
                                      .born_host = kHost,
                                      .store_host = kHost,
                                      .body = as_bytes("a body"),
                                      .topic = "T",
                                      .properties = properties}));
  return record;
}

Buffer with_crc(std::string_view properties) {
  Buffer out;
  EXPECT_TRUE(append_with_crc_room(out, as_bytes(record_with(properties))));
  fill_in_record_crc(std::as_writable_bytes(std::span{out}));
  return out;
}

TEST(RecordCrc, StandsAsThePropertyARecordEndsWith) {
  const Buffer record = with_crc("KEYS\x01k");
  const auto message = decode_message(as_bytes(record));
  ASSERT_TRUE(message);
  EXPECT_EQ(message->property("KEYS"), "k");
  EXPECT_EQ(as_text(message->body), "a body");
  ASSERT_TRUE(message->property("__CRC32#"));
  EXPECT_EQ(message->property("__CRC32#")->size(), 10U);
  EXPECT_TRUE(message->properties.starts_with("KEYS\x01k\x02__CRC32#\x01"));
  EXPECT_EQ(record_crc_matches(as_bytes(record)), true);
}

TEST(RecordCrc, AnyFlippedBitShows) {
  const Buffer sound = with_crc("KEYS\x01k\x02");
  for (std::size_t bit = 0; bit < sound.size() * 8; ++bit) {
    Buffer record = sound;
    record[bit / 8] ^= static_cast<char>(1 << bit % 8);
    EXPECT_EQ(record_crc_matches(as_bytes(record)), false) << bit;
  }
}

TEST(RecordCrc, ARecordWithoutOneSaysNothing) {
  EXPECT_EQ(record_crc_matches(as_bytes(record_with("KEYS\x01k\x02"))), std::nullopt);
  EXPECT_EQ(record_crc_matches({}), std::nullopt);
}

TEST(RecordCrc, OneThatCameWithTheMessageIsReplaced) {
  const Buffer record = with_crc(
      "__CRC32#\x01"
      "0000000000\x02KEYS\x01k\x02");
  EXPECT_EQ(record_crc_matches(as_bytes(record)), true);
  const auto message = decode_message(as_bytes(record));
  EXPECT_EQ(message->properties.find("__CRC32#"), message->properties.rfind("__CRC32#"));
}

}  // namespace
}  // namespace apogee::protocol
