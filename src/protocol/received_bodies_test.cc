// What a peer sends may not become many times as large in memory; what a real one sends passes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "protocol/bodies.h"
#include "protocol/pop.h"

namespace apogee::protocol {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

/// "[first,each,each,...]" of `count` elements.
std::string list_of(std::string_view each, std::size_t count) {
  std::string text = "[";
  for (std::size_t i = 0; i < count; ++i) text.append(i > 0 ? "," : "").append(each);
  return text + "]";
}

// ---- JSON --------------------------------------------------------------------------------------

TEST(ReceivedJson, MayNotBeMadeOfEmptyValues) {
  const std::string body = R"({"acks":)" + list_of("{}", 300'000) + "}";
  const auto batch = parse_batch_ack(body);
  ASSERT_FALSE(batch);
  EXPECT_EQ(batch.error().code, Errc::kMalformed);
  EXPECT_THAT(batch.error().detail, HasSubstr("values"));
  EXPECT_FALSE(decode_body<std::vector<Json>>(as_bytes(list_of("0", 300'000))));
  EXPECT_TRUE(decode_body<std::vector<Json>>(list_of("0", 300'000))) << "a file may";
}

TEST(ReceivedJson, OfSmallBodiesMayBeAsDenseAsItLikes) {
  EXPECT_TRUE(decode_body<std::vector<Json>>(as_bytes(list_of("0", 60'000))));
}

TEST(ReceivedJson, OfAHundredThousandTopicsPasses) {
  RegisterBrokerBody body;
  for (int i = 0; i < 100'000; ++i) {
    TopicConfig topic{.topic_name = "topic-" + std::to_string(i)};
    topic.attributes["message.type"] = "NORMAL";
    body.topics.topic_config_table[topic.topic_name] = topic;
  }
  const auto read = decode_body<RegisterBrokerBody>(as_bytes(encode_body(body)));
  ASSERT_TRUE(read) << read.error().detail;
  EXPECT_THAT(read->topics.topic_config_table, SizeIs(100'000));
}

TEST(ReceivedJson, OfAFileWithAMillionOffsetsPasses) {
  std::string queues = "{";
  for (int i = 0; i < 10'000; ++i) queues += std::to_string(i) + ":5,";
  queues += "}";
  std::string text = R"({"offsetTable":{)";
  for (int i = 0; i < 100; ++i) text += "\"t@g" + std::to_string(i) + "\":" + queues + ",";
  const auto table = decode_body<ConsumerOffsetTable>(text + "}}");
  ASSERT_TRUE(table) << table.error().detail;
  EXPECT_THAT(table->offset_table, SizeIs(100));
}

TEST(ReceivedJson, HoldsNoMoreAcksThanAnybodySends) {
  const std::string_view entry = R"({"c":"consumer-group","t":"topic"})";
  const auto body_of_acks = [&](std::size_t count) {
    return R"({"acks":)" + list_of(entry, count) + "}";
  };
  const auto most = parse_batch_ack(body_of_acks(kBatchAckEntriesMax));
  ASSERT_TRUE(most) << most.error().detail;
  EXPECT_THAT(most->entries, SizeIs(kBatchAckEntriesMax));
  const auto more = parse_batch_ack(body_of_acks(kBatchAckEntriesMax + 1));
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().detail, "a batch of 100001 acks, the most taken is 100000");
}

// ---- Compressed registrations ------------------------------------------------------------------

constexpr std::int32_t kVersion = 479;  // of 5.x: with mappings

void append_text(Buffer& out, std::string_view text) {
  append_big(out, static_cast<std::int32_t>(text.size()));
  out += text;
}
Buffer parts_of(const std::vector<std::string>& topics, const std::vector<std::string>& mappings) {
  Buffer parts;
  append_text(parts, R"({"counter":1,"stateVersion":0,"timestamp":2})");
  append_big(parts, static_cast<std::int32_t>(topics.size()));
  for (const auto& each : topics) append_text(parts, each);
  append_text(parts, "[]");
  append_big(parts, static_cast<std::int32_t>(mappings.size()));
  for (const auto& each : mappings) append_text(parts, each);
  return parts;
}
Buffer compressed(const Buffer& parts) {
  uLongf size = ::compressBound(parts.size());
  Buffer out(size, '\0');
  ::compress2(reinterpret_cast<Bytef*>(out.data()), &size,
              reinterpret_cast<const Bytef*>(parts.data()), parts.size(), 6);
  out.resize(size);
  return out;
}
Result<RegisterBrokerBody> read(const Buffer& parts) {
  return decode_compressed_registration(as_bytes(compressed(parts)), kVersion);
}
std::string why_refused(const Buffer& parts) {
  const auto body = read(parts);
  if (body) return "taken";
  EXPECT_EQ(body.error().code, Errc::kMalformed);
  return body.error().detail;
}

TEST(CompressedRegistration, OfAHundredThousandTopicsIsTaken) {
  std::vector<std::string> topics, mappings;
  for (int i = 0; i < 100'000; ++i)
    topics.push_back("topic-" + std::to_string(i) +
                     R"( 8 8 6 SINGLE_TAG {"message.type":"NORMAL"})");
  for (int i = 0; i < 10'000; ++i)
    mappings.push_back(R"({"bname":"b","currIdMap":{0:0,1:1,2:2,3:3},"dirty":false,"epoch":1,)"
                       R"("scope":"__global__","topic":"topic-)" +
                       std::to_string(i) + R"(","totalQueues":4})");
  const auto body = read(parts_of(topics, mappings));
  ASSERT_TRUE(body) << body.error().detail;
  EXPECT_THAT(body->topics.topic_config_table, SizeIs(100'000));
  ASSERT_TRUE(body->topics.topic_queue_mapping_info_map);
  EXPECT_THAT(*body->topics.topic_queue_mapping_info_map->members(), SizeIs(10'000));
}

TEST(CompressedRegistration, ThatInflatesFarBeyondItsSizeIsRefused) {
  const std::vector<std::string> same(500'000, R"({"topic":"t"})");
  EXPECT_THAT(why_refused(parts_of({}, same)), HasSubstr("the most taken for its size"));
}

TEST(CompressedRegistration, MayNotBeMadeOfEmptyValues) {
  EXPECT_THAT(why_refused(parts_of({}, {list_of("0", 300'000)})), HasSubstr("values"));
  EXPECT_THAT(why_refused(parts_of({}, std::vector<std::string>(4, list_of("0", 60'000)))),
              HasSubstr("values"))
      << "its parts have one budget";
}

TEST(CompressedRegistration, CountsWhatIsNamedTwiceOnce) {
  const auto body = read(parts_of({"t 1 1 6 SINGLE_TAG {}", "t 2 2 6 SINGLE_TAG {}"},
                                  {R"({"topic":"t","epoch":1})", R"({"topic":"t","epoch":2})"}));
  ASSERT_TRUE(body) << body.error().detail;
  EXPECT_THAT(body->topics.topic_config_table, SizeIs(1));
  EXPECT_EQ(body->topics.topic_config_table.at("t").read_queue_nums, 2);
  EXPECT_EQ(write_json(*body->topics.topic_queue_mapping_info_map),
            R"({"t":{"topic":"t","epoch":2}})");
}

TEST(CompressedRegistration, MayNotCountMoreThanItsBytesHold) {
  for (const std::int32_t count : {1'000'000, std::numeric_limits<std::int32_t>::max(), -1}) {
    Buffer parts;
    append_text(parts, "{}");
    append_big(parts, count);
    EXPECT_THAT(why_refused(parts), HasSubstr("cut short")) << count;
  }
}

}  // namespace
}  // namespace apogee::protocol
