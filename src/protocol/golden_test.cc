// What the published Java classes write (tests/golden, recorded by Golden.java) is read to the same
// meaning, and written to the same bytes where Java's own order allows it: its header fields and
// sets come in hash order.
#include "testing/golden.h"

#include <map>

#include <gtest/gtest.h>

#include "base/crc.h"
#include "protocol/bodies.h"
#include "protocol/command.h"
#include "protocol/headers.h"
#include "protocol/message.h"

namespace apogee::protocol {
namespace {

const std::map<std::string, Buffer>& golden() {
  static const auto all = testing::read_golden(APOGEE_SOURCE_DIR "/tests/golden/java-5.5.0.txt");
  return all;
}
const Buffer& bytes_of(const std::string& name) {
  const auto found = golden().find(name);
  EXPECT_NE(found, golden().end()) << name;
  static const Buffer none;
  return found == golden().end() ? none : found->second;
}

class GoldenFrames : public ::testing::TestWithParam<Serialization> {
 protected:
  CommandView decode(const std::string& name) {
    const Buffer& bytes =
        bytes_of(name + (GetParam() == Serialization::kJson ? ".JSON" : ".ROCKETMQ"));
    auto frame = decode_frame(as_bytes(bytes));
    EXPECT_TRUE(frame && *frame) << name;
    EXPECT_EQ((*frame)->size, bytes.size());
    auto command = decoder_.decode(**frame);
    EXPECT_TRUE(command) << name;
    return *command;
  }
  CommandDecoder decoder_;
};
INSTANTIATE_TEST_SUITE_P(BothEncodings, GoldenFrames,
                         ::testing::Values(Serialization::kJson, Serialization::kBinary));

TEST_P(GoldenFrames, ReadsAnOffsetQuery) {
  const CommandView command = decode("frame.query_offset");
  EXPECT_EQ(command.code, 14);
  EXPECT_EQ(command.opaque, 7);
  EXPECT_EQ(command.version, 479);
  EXPECT_EQ(command.language, Language::kJava);
  EXPECT_EQ(as_text(command.body), std::string_view("\x01\x02", 2));
  const auto header = read_header<QueryConsumerOffsetRequest>(command);
  ASSERT_TRUE(header) << header.error().detail;
  EXPECT_EQ(header->consumer_group, "g");
  EXPECT_EQ(header->topic, "t");
  EXPECT_EQ(header->queue_id, 1);
  EXPECT_FALSE(header->set_zero_if_not_found);
}

TEST_P(GoldenFrames, ReadsASendWithItsProperties) {
  const CommandView command = decode("frame.send");
  const auto header = read_header<SendMessageV2>(command);
  ASSERT_TRUE(header) << header.error().detail;
  EXPECT_EQ(header->topic, "orders");
  EXPECT_EQ(header->queue_id, 3);
  EXPECT_EQ(header->born_timestamp, 1'700'000'000'000);
  EXPECT_EQ(header->flag, 17);
  EXPECT_EQ(header->max_reconsume_times, 16);
  EXPECT_EQ(header->batch, false);
  EXPECT_EQ(find_property(*header->properties, "KEYS"), "k1 k2");
  EXPECT_EQ(find_property(*header->properties, "TAGS"), "grün");
  EXPECT_EQ(as_text(command.body), "hello");
}

TEST_P(GoldenFrames, ReadsAPull) {
  const auto header = read_header<PullMessageRequest>(decode("frame.pull"));
  ASSERT_TRUE(header) << header.error().detail;
  EXPECT_EQ(header->queue_offset, std::int64_t{1} << 40);
  EXPECT_EQ(header->sys_flag, 6);
  EXPECT_EQ(header->subscription, "A || B");
  EXPECT_EQ(header->expression_type, "TAG");
}

TEST_P(GoldenFrames, ReadsARemarkWithQuotesAndLines) {
  const CommandView command = decode("frame.remark");
  EXPECT_TRUE(command.is_response());
  EXPECT_EQ(command.code, 17);
  EXPECT_EQ(command.remark, "topic \"x\"\nnot\\there");
}

TEST_P(GoldenFrames, WritesWhatItReads) {
  for (const char* name : {"frame.query_offset", "frame.send", "frame.pull", "frame.remark"}) {
    const CommandView read = decode(name);
    Buffer out;
    CommandWriter writer{out,
                         {.code = read.code,
                          .opaque = read.opaque,
                          .flag = read.flag,
                          .remark = read.remark,
                          .serialization = GetParam(),
                          .language = read.language,
                          .version = read.version}};
    for (const ExtField& field : read.ext) writer.field(field.name, field.value);
    writer.finish(read.body.size());
    append(out, read.body);
    // In the order Java wrote its fields the bytes are Java's, but for the empty extFields that we
    // always write.
    if (!read.ext.empty() || GetParam() == Serialization::kBinary) {
      EXPECT_EQ(out, bytes_of(std::string{name} +
                              (GetParam() == Serialization::kJson ? ".JSON" : ".ROCKETMQ")))
          << name;
    }
  }
}

TEST(Golden, RecordsAreReadAndWrittenByteForByte) {
  for (const char* name : {"record.v4", "record.v6_born"}) {
    const Buffer& bytes = bytes_of(name);
    const auto message = decode_message(as_bytes(bytes));
    ASSERT_TRUE(message) << name;
    EXPECT_EQ(message->topic, "orders");
    EXPECT_EQ(as_text(message->body), "hello");
    EXPECT_EQ(message->queue_offset, 42);
    EXPECT_EQ(message->physical_offset, 123'456'789'012);
    EXPECT_EQ(message->reconsume_times, 2);
    EXPECT_EQ(message->property("TAGS"), "grün");
    EXPECT_EQ(to_string({Buffer{as_text(message->store_host)}, message->store_port}),
              "10.0.0.1:10911");
    EXPECT_EQ(check_record(as_bytes(bytes), true).kind, RecordKind::kRecord) << "the CRC is Java's";
    Buffer again;
    ASSERT_TRUE(encode_message(again, *message));
    EXPECT_EQ(again, bytes) << name;
  }
}

TEST(Golden, EveryCutAndEveryFlippedLengthOfARecordIsNoticed) {
  const Buffer& bytes = bytes_of("record.v4");
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_message(as_bytes(std::string_view{bytes}.substr(0, size)))) << size;
  // The body's length stands at 84, the topic's behind the body, the properties' behind the topic.
  for (const std::size_t at :
       {std::size_t{0}, std::size_t{84}, std::size_t{88 + 5}, std::size_t{88 + 5 + 1 + 6}}) {
    Buffer damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x40);
    EXPECT_FALSE(decode_message(as_bytes(damaged))) << at;
  }
}

TEST(Golden, BatchesAreSplitAndWrittenByteForByte) {
  const Buffer& bytes = bytes_of("batch");
  const auto members = split_batch(as_bytes(bytes));
  ASSERT_TRUE(members);
  ASSERT_EQ(members->size(), 3U);
  Buffer again;
  for (int i = 0; i < 3; ++i) {
    const BatchMember& member = (*members)[static_cast<std::size_t>(i)];
    EXPECT_EQ(as_text(member.body), "body " + std::to_string(i));
    EXPECT_EQ(member.flag, i);
    EXPECT_EQ(find_property(member.properties, "TAGS"), "tag" + std::to_string(i));
    append_batch_member(again, member);
  }
  EXPECT_EQ(again, bytes);
}

TEST(Golden, HashesAndChecksumsAreJavas) {
  int seen = 0;
  for (const auto& [name, value] : golden()) {
    if (!name.starts_with("hash.")) continue;
    const Buffer text = testing::from_hex(std::string_view{name}.substr(5));
    EXPECT_EQ(tags_code(text), read_big<std::int64_t>(as_bytes(value))) << text;
    ++seen;
  }
  EXPECT_EQ(seen, 5);
  EXPECT_EQ(crc32_positive(as_bytes("123456789")),
            read_big<std::int64_t>(as_bytes(bytes_of("crc.123456789"))));
}

TEST(Golden, OffsetMessageIdsAreJavas) {
  const Host host = host_from("10.0.0.1", 10'911);
  EXPECT_EQ(offset_message_id(as_bytes(host.address), host.port, 12'345), bytes_of("message_id"));
  const auto parsed = parse_offset_message_id(bytes_of("message_id"));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(to_string(parsed->host), "10.0.0.1:10911");
  EXPECT_EQ(parsed->physical_offset, 12'345);
}

/// Reads a body, writes it, reads it again: the second reading must say the same.
template <class Body>
Body read_twice(const std::string& name) {
  auto body = decode_body<Body>(std::string_view{bytes_of(name)});
  EXPECT_TRUE(body) << name << ": " << body.error().detail;
  const Buffer written = encode_body(*body);
  auto again = decode_body<Body>(std::string_view{written});
  EXPECT_TRUE(again) << written;
  EXPECT_EQ(encode_body(*again), written);
  return *std::move(body);
}

TEST(Golden, BodiesAreReadToTheSameMeaning) {
  const auto heartbeat = read_twice<HeartbeatData>("body.heartbeat");
  EXPECT_EQ(heartbeat.client_id, "10.0.0.9@1#2");
  EXPECT_EQ(heartbeat.producer_data_set.at(0).group_name, "p");
  const ConsumerData& consumer = heartbeat.consumer_data_set.at(0);
  EXPECT_EQ(consumer.consume_from_where, ConsumeFromWhere::kFirstOffset);
  const auto subscription = subscription_from("t", "TagA || TagB", "TAG", 1'700'000'000'000);
  ASSERT_TRUE(subscription);
  EXPECT_EQ(consumer.subscription_data_set.at(0), *subscription)
      << "codes and tags as Java's FilterAPI makes them";

  const auto lock = read_twice<LockBatchBody>("body.lock");
  EXPECT_EQ(lock.mq_set.size(), 2U);
  const auto stats = read_twice<ConsumeStats>("body.consume_stats");
  EXPECT_EQ(stats.offset_table.at({"broker-a", 0, "t"}).pull_offset, 8);
  EXPECT_EQ(stats.consume_tps, 1.5);
  EXPECT_EQ(read_twice<TopicStatsTable>("body.topic_stats")
                .offset_table.at({"broker-a", 0, "t"})
                .max_offset,
            10);
  EXPECT_EQ(read_twice<ResetOffsetBody>("body.reset").offset_table.at({"broker-a", 0, "t"}), 100);
}

TEST(Golden, RoutesAndStatisticsAreWrittenByteForByte) {
  EXPECT_EQ(encode_body(read_twice<TopicRouteData>("body.route")), bytes_of("body.route"));
  EXPECT_EQ(encode_body(read_twice<ConsumeStats>("body.consume_stats")),
            bytes_of("body.consume_stats"));
  EXPECT_EQ(encode_body(read_twice<TopicStatsTable>("body.topic_stats")),
            bytes_of("body.topic_stats"));
  EXPECT_EQ(encode_body(read_twice<ResetOffsetBody>("body.reset")), bytes_of("body.reset"));
}

TEST(Golden, RegistrationsAreReadInBothForms) {
  const auto plain = read_twice<RegisterBrokerBody>("body.register");
  const auto packed = decode_compressed_registration(as_bytes(bytes_of("body.register_compressed")),
                                                     kProtocolVersion);
  ASSERT_TRUE(packed) << packed.error().detail;
  for (const RegisterBrokerBody* body : {&plain, &*packed}) {
    EXPECT_EQ(body->topics.data_version, (DataVersion{3, 0, 1'700'000'000'000}));
    const TopicConfig& topic = body->topics.topic_config_table.at("t");
    EXPECT_EQ(topic.read_queue_nums, 8);
    EXPECT_EQ(topic.write_queue_nums, 4);
    EXPECT_EQ(topic.attributes.at("message.type"), "FIFO");
    EXPECT_EQ(body->filter_server_list, std::vector<std::string>{"f:1"});
  }
}

TEST(Json, ReadsAndWritesBareKeys) {
  const auto table = decode_body<ConsumerOffsetTable>(
      std::string_view{R"({"offsetTable":{"t@g":{0:5,"1":6}},"groupTopicMap":{"g":["t"]}})"});
  ASSERT_TRUE(table) << table.error().detail;
  EXPECT_EQ(table->offset_table.at("t@g").at(1), 6);
  EXPECT_NE(encode_body(*table).find("{0:5,1:6}"), std::string::npos);
}

TEST(Json, RefusesWhatIsNotJsonAndNamesThePlace) {
  for (const char* bad :
       {"", "{", "{\"a\":}", "[1,", "{\"a\" 1}", "nul", "{\"a\":1}}", "\"\\u12\"", "{{}:1"}) {
    const auto json = parse_json(bad);
    ASSERT_FALSE(json) << bad;
    EXPECT_EQ(json.error().code, Errc::kMalformed);
  }
  EXPECT_FALSE(parse_json(std::string(100'000, '['))) << "depth is bounded";
}

TEST(Names, FollowTheRulesOfTheWire) {
  EXPECT_TRUE(check_topic("%RETRY%group-1_a|b"));
  EXPECT_FALSE(check_topic("with blank"));
  EXPECT_FALSE(check_topic("ümlaut"));
  EXPECT_TRUE(check_topic(std::string(127, 'a')));
  EXPECT_FALSE(check_topic(std::string(128, 'a')));
  EXPECT_TRUE(check_topic(retry_topic(std::string(120, 'a'))));
  EXPECT_FALSE(check_group(std::string(121, 'a')));
  EXPECT_TRUE(is_system_topic("rmq_sys_anything"));
}

}  // namespace
}  // namespace apogee::protocol
