#include "protocol/message.h"

#include <random>

#include <gtest/gtest.h>

namespace apogee::protocol {
namespace {

Buffer record_of(const Host& born, const Host& store, std::string_view topic, std::string_view body,
                 std::string_view properties) {
  Buffer out;
  EXPECT_TRUE(encode_message(out, {.queue_id = 7,
                                   .flag = 3,
                                   .queue_offset = 11,
                                   .physical_offset = 1'234'567'890'123,
                                   .sys_flag = sys_flag::kMultiTags,
                                   .born_timestamp = 42,
                                   .born_host = as_bytes(born.address),
                                   .born_port = born.port,
                                   .store_timestamp = 43,
                                   .store_host = as_bytes(store.address),
                                   .store_port = store.port,
                                   .reconsume_times = 2,
                                   .prepared_transaction_offset = 99,
                                   .body = as_bytes(body),
                                   .topic = topic,
                                   .properties = properties}));
  return out;
}

TEST(Record, IsReadAsItWasWrittenAndNeverWhenCutShort) {
  const Host v4 = host_from("10.1.2.3", 4'000), v6 = host_from("2001:db8::7", 5'000);
  const std::string long_topic(200, 't');
  for (const Host& born : {v4, v6})
    for (const Host& store : {v4, v6})
      for (const std::string_view topic :
           {std::string_view{"orders"}, std::string_view{long_topic}}) {
        const Buffer bytes = record_of(born, store, topic, "the body", "KEYS\x01k\x02");
        const RecordCheck check = check_record(as_bytes(bytes), true);
        ASSERT_EQ(check.kind, RecordKind::kRecord);
        const Message& message = check.message;
        EXPECT_EQ(static_cast<std::size_t>(message.size), bytes.size());
        EXPECT_EQ(message.queue_id, 7);
        EXPECT_EQ(message.flag, 3);
        EXPECT_EQ(message.queue_offset, 11);
        EXPECT_EQ(message.physical_offset, 1'234'567'890'123);
        EXPECT_EQ(message.born_timestamp, 42);
        EXPECT_EQ(as_text(message.born_host), born.address);
        EXPECT_EQ(message.born_port, born.port);
        EXPECT_EQ(message.store_timestamp, 43);
        EXPECT_EQ(as_text(message.store_host), store.address);
        EXPECT_EQ(message.store_port, store.port);
        EXPECT_EQ(message.reconsume_times, 2);
        EXPECT_EQ(message.prepared_transaction_offset, 99);
        EXPECT_EQ(as_text(message.body), "the body");
        EXPECT_EQ(message.topic, topic);
        EXPECT_EQ(message.property("KEYS"), "k");
        for (std::size_t length = 0; length < bytes.size(); ++length) {
          // Also when it claims to be no longer than what is there.
          Buffer cut = bytes.substr(0, length);
          EXPECT_NE(check_record(as_bytes(cut), false).kind, RecordKind::kRecord) << length;
          if (length < 8) continue;
          write_big<std::int32_t>(std::as_writable_bytes(std::span{cut.data(), cut.size()}), 0,
                                  static_cast<std::int32_t>(length));
          EXPECT_NE(check_record(as_bytes(cut), false).kind, RecordKind::kRecord) << length;
        }
      }
}

TEST(JavaHash, IsJavasOfAnyTextAlsoInPieces) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random{seed};
    std::string text;
    std::uint32_t expected = 0;
    for (std::size_t i = random() % 50; i > 0; --i) {
      const bool wide = seed % 2 == 1 && random() % 6 == 0;
      const auto unit = wide ? 0xE4U : static_cast<std::uint32_t>('!' + random() % 90);
      text += wide ? "\u00e4" : std::string(1, static_cast<char>(unit));
      expected = expected * 31 + unit;
    }
    EXPECT_EQ(java_hash(text), static_cast<std::int32_t>(expected));
    std::size_t cut = text.empty() ? 0 : random() % text.size();
    while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;
    const std::string_view whole = text;
    EXPECT_EQ(java_hash(whole.substr(cut), java_hash(whole.substr(0, cut))),
              static_cast<std::int32_t>(expected));
  }
}

TEST(OffsetMessageId, IsHexadecimalInCapitals) {
  const Host host = host_from("127.0.0.1", 10'911);
  std::string ids = "before,";
  append_offset_message_id(ids, as_bytes(host.address), host.port, 0xABCDEF);
  EXPECT_EQ(ids, "before,7F00000100002A9F0000000000ABCDEF");
}

TEST(Keys, StandBetweenBlanksHoweverMany) {
  std::vector<std::string> keys;
  for_each_key("  red green   blue ", [&](std::string_view key) { keys.emplace_back(key); });
  EXPECT_EQ(keys, (std::vector<std::string>{"red", "green", "blue"}));
  for_each_key("", [](std::string_view) { FAIL(); });
}

TEST(Keys, AreTheUniqueOneAndTheOthers) {
  Buffer properties;
  append_property(properties, property::kUniqueKey, "U1");
  append_property(properties, property::kKeys, "red green");
  const Message message{.properties = properties};
  for (const char* key : {"U1", "red", "green"}) EXPECT_TRUE(has_key(message, key)) << key;
  for (const char* key : {"", "re", "red green", "blue"})
    EXPECT_FALSE(has_key(message, key)) << key;
}

}  // namespace
}  // namespace apogee::protocol
