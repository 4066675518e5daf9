#include "client/received.h"

#include <gtest/gtest.h>

#include "client/compression.h"

namespace apogee::client {
namespace {

struct Record {
  protocol::Host born = protocol::host_from("10.0.0.7", 50'000);
  protocol::Host stored = protocol::host_from("10.0.0.1", 10'911);
  protocol::Message message;

  explicit Record(std::string_view body, std::string_view properties = "") {
    message.topic = "ns%orders";
    message.queue_id = 3;
    message.queue_offset = 7;
    message.physical_offset = 4'096;
    message.born_timestamp = 1'700'000'000'123;
    message.store_timestamp = 1'700'000'000'456;
    message.reconsume_times = 2;
    message.flag = 9;
    message.born_host = as_bytes(born.address);
    message.born_port = born.port;
    message.store_host = as_bytes(stored.address);
    message.store_port = stored.port;
    message.body = as_bytes(body);
    message.properties = properties;
  }
  void append_to(Buffer& out) const { ASSERT_TRUE(protocol::encode_message(out, message)); }
};

ReceivedMessage only(const Buffer& records) {
  std::vector<ReceivedMessage> messages;
  auto appended = append_received(as_bytes(records), "ns", "broker-a", messages);
  EXPECT_TRUE(appended) << appended.error().detail;
  EXPECT_EQ(messages.size(), 1U);
  return messages.empty() ? ReceivedMessage{} : messages.front();
}

TEST(Received, CarriesEverythingTheRecordSays) {
  Buffer records;
  Record{"hello",
         "UNIQ_KEY\x01"
         "0A00\x02TAGS\x01paid\x02KEYS\x01o-17 c-42\x02region\x01"
         "eu\x02"}
      .append_to(records);
  const ReceivedMessage message = only(records);
  EXPECT_EQ(message.topic, "orders");
  EXPECT_EQ(message.body, "hello");
  EXPECT_EQ(message.tag, "paid");
  EXPECT_EQ(message.keys, (std::vector<std::string>{"o-17", "c-42"}));
  EXPECT_EQ(message.property("region"), "eu");
  EXPECT_EQ(message.message_id, "0A00");
  EXPECT_EQ(message.offset_message_id, "0A00000100002A9F0000000000001000");
  EXPECT_EQ(message.queue, (MessageQueue{"orders", "broker-a", 3}));
  EXPECT_EQ(message.queue_offset, 7);
  EXPECT_EQ(message.commit_log_offset, 4'096);
  EXPECT_EQ(message.reconsume_times, 2);
  EXPECT_EQ(message.flag, 9);
  EXPECT_EQ(message.stored_bytes, static_cast<std::int32_t>(records.size()));
  EXPECT_EQ(message.born_host, "10.0.0.7:50000");
  EXPECT_EQ(message.store_host, "10.0.0.1:10911");
  EXPECT_EQ(message.stored - message.born, std::chrono::milliseconds{333});
}

TEST(Received, IsMadeOfAPushedReply) {
  protocol::PushReplyMessageRequest header;
  header.topic = "ns%answers";
  header.queue_id = 1;
  header.properties =
      "CORRELATION_ID\x01"
      "c-1\x02UNIQ_KEY\x01"
      "0A01\x02";
  header.born_host = "10.0.0.7:50000";
  header.born_timestamp = 1'700'000'000'123;
  header.sys_flag = sys_flag_of(Compression::kZlib);
  const Buffer small = *compressed(as_bytes("an answer"), Compression::kZlib, 5);
  const ReceivedMessage message = received(header, as_bytes(small), "ns");
  EXPECT_EQ(message.topic, "answers");
  EXPECT_EQ(message.body, "an answer");
  EXPECT_EQ(message.message_id, "0A01");
  EXPECT_EQ(message.property("CORRELATION_ID"), "c-1");
  EXPECT_EQ(message.born_host, "10.0.0.7:50000");
}

TEST(Received, IsNamedByItsPlaceWhenTheSenderGaveItNoId) {
  Buffer records;
  Record{"hello"}.append_to(records);
  const ReceivedMessage message = only(records);
  EXPECT_EQ(message.message_id, message.offset_message_id);
}

TEST(Received, HasItsBodyDecompressed) {
  const Buffer body(10'000, 'x');
  const Buffer small = *compressed(as_bytes(body), Compression::kZstd, 3);
  Record record{small};
  record.message.sys_flag = sys_flag_of(Compression::kZstd);
  Buffer records;
  record.append_to(records);
  const ReceivedMessage message = only(records);
  EXPECT_TRUE(message.body == body);
  EXPECT_EQ(message.sys_flag & protocol::sys_flag::kCompressed, 0);
}

TEST(Received, KeepsABodyThatCannotBeDecompressedAsItIs) {
  Record record{"this is not zlib"};
  record.message.sys_flag = sys_flag_of(Compression::kZlib);
  Buffer records;
  record.append_to(records);
  const ReceivedMessage message = only(records);
  EXPECT_EQ(message.body, "this is not zlib");
  EXPECT_NE(message.sys_flag & protocol::sys_flag::kCompressed, 0);
}

TEST(Received, GivesTheMembersOfABatchInOneRecord) {
  Buffer inner;
  protocol::append_batch_member(inner, {1, as_bytes("one"),
                                        "TAGS\x01"
                                        "a\x02"});
  protocol::append_batch_member(inner, {2, as_bytes("two"),
                                        "TAGS\x01"
                                        "b\x02"});
  Record record{inner};
  record.message.sys_flag = protocol::sys_flag::kInnerBatch | protocol::sys_flag::kNeedUnwrap;
  Buffer records;
  record.append_to(records);
  std::vector<ReceivedMessage> messages;
  ASSERT_TRUE(append_received(as_bytes(records), "ns", "broker-a", messages));
  ASSERT_EQ(messages.size(), 2U);
  EXPECT_EQ(messages[0].body, "one");
  EXPECT_EQ(messages[1].body, "two");
  EXPECT_EQ(messages[1].tag, "b");
  EXPECT_EQ(messages[1].flag, 2);
  EXPECT_EQ(messages[1].queue_offset, 8);
}

TEST(Received, GivesWhatStandsBeforeTheDamage) {
  Buffer records;
  Record{"one"}.append_to(records);
  const std::size_t whole = records.size();
  Record{"two"}.append_to(records);
  for (std::size_t cut = whole + 1; cut < records.size(); ++cut) {
    std::vector<ReceivedMessage> messages;
    auto appended = append_received(as_bytes(records).first(cut), "ns", "broker-a", messages);
    ASSERT_FALSE(appended);
    EXPECT_EQ(appended.error().code, Errc::kMalformed);
    ASSERT_EQ(messages.size(), 1U);
    EXPECT_EQ(messages[0].body, "one");
  }
}

}  // namespace
}  // namespace apogee::client
