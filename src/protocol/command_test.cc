#include "protocol/command.h"

#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "protocol/headers.h"

namespace apogee::protocol {
namespace {

Buffer json_frame(std::string_view header) {
  Buffer out;
  append_big<std::uint32_t>(out, static_cast<std::uint32_t>(4 + header.size()));
  append_big<std::uint32_t>(out, static_cast<std::uint32_t>(header.size()));
  return out.append(header);
}

std::optional<std::string> value_of(std::string_view json_text) {
  CommandDecoder decoder;
  const Buffer bytes =
      json_frame("{\"code\":1,\"extFields\":{\"a\":" + std::string{json_text} + "}}");
  auto command = decoder.decode(**decode_frame(as_bytes(bytes)));
  if (!command) return std::nullopt;
  const auto value = command->find("a");
  return value ? std::optional{std::string{*value}} : std::nullopt;
}

TEST(JsonHeader, UnderstandsEveryEscape) {
  EXPECT_EQ(value_of(R"("\u0001\u0002")"), "\x01\x02");
  EXPECT_EQ(value_of(R"("tag\u0001x\u0002")"), "tag\x01x\x02");
  EXPECT_EQ(value_of(R"("\"\\\/\n\t\r\b\f")"), "\"\\/\n\t\r\b\f");
  EXPECT_EQ(value_of(R"("\u00e9\u00E9\u20AC")"), "\u00e9\u00e9\u20ac");
  EXPECT_EQ(value_of(R"("\u0001\u007f\u0080\u001F")"), "\x01\x7f\u0080\x1f");
  EXPECT_EQ(value_of(R"("\ud83d\ude00!")"), "\U0001F600!");
  EXPECT_EQ(value_of(R"("\x41\0")"), std::string("A\0", 2));
  EXPECT_EQ(value_of("12"), "12");
  EXPECT_EQ(value_of("true"), "true");
}

TEST(JsonHeader, RefusesBrokenEscapesAndOpenTexts) {
  for (const char* const text : {R"("\u12")", R"("\u12g4")", R"("\u00")", R"("\u000g")", R"("\x4")",
                                 R"("\)", R"("abc)", R"("\u)"})
    EXPECT_EQ(value_of(text), std::nullopt) << text;
}

/// Texts with every kind of character that must be escaped, and without.
std::string random_text(std::mt19937_64& random) {
  std::string text;
  const std::size_t length = random() % 60;
  const bool plain = random() % 3 == 0;
  while (text.size() < length) {
    static constexpr std::string_view kSpecial{"\"\\\n\r\t\b\f\x01\x02\x1f/ {}[],:\0", 19};
    if (plain || random() % 4 != 0)
      text += static_cast<char>('a' + random() % 26);
    else if (random() % 8 == 0)
      text += "\u00e4\U0001F600";
    else
      text += kSpecial[random() % kSpecial.size()];
  }
  return text;
}

TEST(Command, GivesBackWhatWasWrittenInBothEncodings) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random{seed};
    const auto serialization = random() % 2 == 0 ? Serialization::kJson : Serialization::kBinary;
    std::vector<std::pair<std::string, std::string>> fields;
    for (std::size_t i = random() % 20; i > 0; --i)
      fields.emplace_back("f" + std::to_string(i) + random_text(random), "v" + random_text(random));
    const std::string remark = "r" + random_text(random), ahead = random_text(random);
    Buffer bytes = ahead;
    CommandWriter writer{bytes,
                         {.code = static_cast<std::int32_t>(seed),
                          .opaque = static_cast<std::int32_t>(random()),
                          .flag = 1,
                          .remark = remark,
                          .serialization = serialization}};
    for (const auto& [name, value] : fields) writer.field(name, value);
    writer.finish(0);
    ASSERT_TRUE(bytes.starts_with(ahead)) << "nothing ahead of the frame is touched";
    const auto frame = decode_frame(as_bytes(bytes).subspan(ahead.size()));
    ASSERT_TRUE(frame && *frame);
    ASSERT_EQ((*frame)->size, bytes.size() - ahead.size());
    CommandDecoder decoder;
    const auto command = decoder.decode(**frame);
    ASSERT_TRUE(command) << command.error().detail;
    EXPECT_EQ(command->code, static_cast<std::int32_t>(seed));
    EXPECT_EQ(command->remark, remark);
    ASSERT_EQ(command->ext.size(), fields.size());
    for (std::size_t i = 0; i < fields.size(); ++i) {
      EXPECT_EQ(command->ext[i].name, fields[i].first);
      EXPECT_EQ(command->ext[i].value, fields[i].second);
    }
  }
}

TEST(Field, WritesIntegersAsTheStandardLibraryDoes) {
  const auto expect = [](auto value) {
    with_text(value, [&](std::string_view text) { EXPECT_EQ(text, std::to_string(value)); });
  };
  for (std::int32_t i = -1'100; i <= 1'100; ++i) expect(i);
  expect(std::numeric_limits<std::int32_t>::min());
  expect(std::numeric_limits<std::int32_t>::max());
  expect(std::numeric_limits<std::int64_t>::min());
  expect(std::numeric_limits<std::int64_t>::max());
  std::mt19937_64 random{1};
  for (int i = 0; i < 10'000; ++i) {
    const std::uint64_t value = random() >> (random() % 64);
    expect(static_cast<std::int64_t>(value));
    expect(static_cast<std::int32_t>(value));
  }
}

TEST(ReadHeader, FindsFieldsInAnyOrder) {
  CommandView command;
  const std::vector<ExtField> fields{{"queueId", "3"}, {"", "x"}, {"topic", "orders"}};
  command.ext = fields;
  const auto header = read_header<QueueRequest>(command);
  ASSERT_TRUE(header) << header.error().detail;
  EXPECT_EQ(header->topic, "orders");
  EXPECT_EQ(header->queue_id, 3);
}

}  // namespace
}  // namespace apogee::protocol
