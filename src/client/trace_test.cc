#include "client/trace.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace apogee::client {
namespace {

const TraceContext kContext{1'700'000'000'000, "DefaultRegion", "checkout"};

TracedMessage message() {
  TracedMessage message;
  message.topic = "orders";
  message.message_id = "0A01";
  message.offset_message_id = "0B02";
  message.tag = "paid";
  message.keys = {"o-17", "c-42"};
  message.store_host = "10.0.0.1:10911";
  message.body_bytes = 5;
  return message;
}

/// Separators made visible.
std::string shown(std::string text) {
  std::ranges::replace(text, '\x01', '|');
  std::ranges::replace(text, '\x02', '\n');
  return text;
}

TEST(Trace, OfASendHasFourteenFields) {
  const TraceRecord record = publish_record(kContext, message(), 12, true);
  EXPECT_EQ(shown(record.text),
            "Pub|1700000000000|DefaultRegion|checkout|orders|0A01|paid|o-17 c-42|10.0.0.1:10911|5|"
            "12|0|0B02|true\n");
  EXPECT_EQ(record.keys, (std::vector<std::string>{"0A01", "o-17", "c-42"}));
}

TEST(Trace, WritesNullForWhatIsNotThere) {
  TracedMessage bare;
  bare.topic = "orders";
  bare.message_id = "0A01";
  bare.type = TraceType::kDelayed;
  EXPECT_EQ(
      shown(publish_record(kContext, bare, 0, false).text),
      "Pub|1700000000000|DefaultRegion|checkout|orders|0A01|null|null|null|0|0|3|null|false\n");
}

TEST(Trace, OfAConsumptionHasOneRecordForEachMessage) {
  const TracedMessage two[] = {message(), message()};
  EXPECT_EQ(shown(before_consume_record(kContext, "r-1", two).text),
            "SubBefore|1700000000000|DefaultRegion|checkout|r-1|0A01|0|o-17 c-42\n"
            "SubBefore|1700000000000|DefaultRegion|checkout|r-1|0A01|0|o-17 c-42\n");
  EXPECT_EQ(shown(after_consume_record(kContext, "r-1", {two, 1}, 7, ConsumeCode::kFailed).text),
            "SubAfter|r-1|0A01|7|false|o-17 c-42|4|1700000000000|checkout\n");
}

TEST(Trace, OfATransactionsEndNamesItsState) {
  TracedMessage half = message();
  half.type = TraceType::kCommit;
  EXPECT_EQ(shown(end_transaction_record(kContext, half, "0A01", "COMMIT_MESSAGE", true).text),
            "EndTransaction|1700000000000|DefaultRegion|checkout|orders|0A01|paid|o-17 c-42|"
            "10.0.0.1:10911|2|0A01|COMMIT_MESSAGE|true\n");
}

TEST(Trace, OfARecallHasSevenFields) {
  EXPECT_EQ(shown(recall_record(kContext, "orders", "0A01", true).text),
            "Recall|1700000000000|DefaultRegion|checkout|orders|0A01|true\n");
}

TEST(Trace, LosesSeparatorsInsideAField) {
  TracedMessage bent = message();
  bent.tag =
      "a\x01"
      "b\x02"
      "c";
  const std::string text = publish_record(kContext, bent, 1, true).text;
  EXPECT_EQ(std::ranges::count(text, '\x01'), 13);
  EXPECT_NE(text.find("abc"), std::string::npos);
}

TEST(TraceBuffer, MakesMessagesOfTwentyRecords) {
  TraceBuffer buffer;
  for (int i = 0; i < 45; ++i) ASSERT_TRUE(buffer.add({"r\x02", {"id-" + std::to_string(i), "k"}}));
  const auto messages = buffer.take("RMQ_SYS_TRACE_TOPIC");
  ASSERT_EQ(messages.size(), 3U);
  EXPECT_EQ(messages[0].topic, "RMQ_SYS_TRACE_TOPIC");
  EXPECT_EQ(messages[0].body.size(), 40U);
  EXPECT_EQ(messages[0].keys.size(), 21U);  // 20 ids, and one key they share
  EXPECT_EQ(messages[2].body.size(), 10U);
  EXPECT_EQ(buffer.size(), 0U);
}

TEST(TraceBuffer, KeepsMessagesSmallEnough) {
  TraceBuffer buffer;
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(buffer.add({std::string(50'000, 'x'), {}}));
  for (const Message& each : buffer.take("t"))
    EXPECT_LE(each.body.size(), TraceBuffer::kMessageBytesMax);
}

TEST(TraceBuffer, DropsWhatDoesNotFit) {
  TraceBuffer buffer;
  for (std::size_t i = 0; i < TraceBuffer::kRecordsMax; ++i) ASSERT_TRUE(buffer.add({"r", {}}));
  EXPECT_FALSE(buffer.add({"r", {}}));
}

}  // namespace
}  // namespace apogee::client
