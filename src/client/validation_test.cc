#include "client/validation.h"

#include <gtest/gtest.h>

namespace apogee::client {
namespace {

constexpr std::size_t kMax = 4 << 20;

Message good() {
  Message message;
  message.topic = "orders";
  message.body = "hello";
  return message;
}

std::string why(const Result<Ok>& result) {
  return result ? "" : result.error().detail;
}

TEST(Validation, TakesAnOrdinaryMessage) {
  Message message = good();
  message.tag = "paid";
  message.keys = {"o-17", "c-42"};
  message.properties = {{"region", "eu"}, {"__SHARDINGKEY", "7"}};
  message.deliver = after(std::chrono::seconds{90});
  EXPECT_EQ(why(check_message(message, kMax)), "");
}

TEST(Validation, RefusesTopicsWithJavasTexts) {
  EXPECT_EQ(why(check_send_topic("")), "The specified topic is blank");
  EXPECT_EQ(why(check_send_topic(std::string(128, 'a'))),
            "The specified topic is longer than topic max length 127.");
  EXPECT_EQ(why(check_send_topic("a b")),
            "The specified topic[a b] contains illegal characters, allowing only "
            "^[%|a-zA-Z0-9_-]+$");
  for (const char* forbidden :
       {"SCHEDULE_TOPIC_XXXX", "RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC",
        "TRANS_CHECK_MAX_TIME_TOPIC", "SELF_TEST_TOPIC", "OFFSET_MOVED_EVENT"})
    EXPECT_EQ(why(check_send_topic(forbidden)),
              "Sending message to topic[" + std::string{forbidden} + "] is forbidden.");
  EXPECT_TRUE(check_send_topic(std::string(127, 'a')));
}

TEST(Validation, RefusesBodiesWithCodeThirteen) {
  Message message = good();
  message.body.clear();
  auto empty = check_message(message, kMax);
  EXPECT_EQ(why(empty), "the message body length is zero");
  EXPECT_EQ(empty.error().response_code, 13);
  message.body = std::string(101, 'x');
  auto large = check_message(message, 100);
  EXPECT_EQ(why(large), "the message body size over max value, MAX: 100");
  EXPECT_EQ(large.error().response_code, 13);
  message.body.pop_back();
  EXPECT_TRUE(check_message(message, 100));
}

TEST(Validation, RefusesPropertiesOfRocketMqsOwn) {
  for (const char* name : {"KEYS", "TAGS", "DELAY", "TRAN_MSG", "UNIQ_KEY", "POP_CK", "__CRC32#",
                           "1ST_POP_TIME", "WAIT", "TIMER_DELIVER_MS", "PGROUP"}) {
    Message message = good();
    message.properties[name] = "x";
    EXPECT_EQ(why(check_message(message, kMax)),
              "The Property<" + std::string{name} + "> is used by system, input another please");
  }
  for (const char* name :
       {"INNER_MULTI_DISPATCH", "__SHARDINGKEY", "CHECK_IMMUNITY_TIME_IN_SECONDS"})
    EXPECT_FALSE(is_reserved_property(name)) << name;
}

TEST(Validation, RefusesSlashesInTheListOfLightQueues) {
  Message message = good();
  message.properties["INNER_MULTI_DISPATCH"] = "%LMQ%a/b";
  auto refused = check_message(message, kMax);
  EXPECT_EQ(why(refused), "INNER_MULTI_DISPATCH %LMQ%a/b can not contains / character");
  EXPECT_EQ(refused.error().response_code, 13);
}

TEST(Validation, RefusesWhatWouldBreakThePropertiesText) {
  Message message = good();
  message.properties["a"] = "x\x01y";
  EXPECT_FALSE(check_message(message, kMax));
  message = good();
  message.properties["a"] = "";
  EXPECT_EQ(why(check_message(message, kMax)),
            "The name or value of property can not be null or blank string!");
  message = good();
  message.tag = "a\x02";
  EXPECT_FALSE(check_message(message, kMax));
  for (const char* key : {"", "two words", "x\x02"}) {
    message = good();
    message.keys = {key};
    EXPECT_FALSE(check_message(message, kMax)) << key;
  }
}

TEST(Validation, ChecksGroups) {
  EXPECT_TRUE(check_group("checkout"));
  EXPECT_EQ(why(check_group(" ")), "the specified group is blank");
  EXPECT_EQ(why(check_group("DEFAULT_PRODUCER")),
            "producerGroup can not equal DEFAULT_PRODUCER, please specify another one.");
  EXPECT_EQ(why(check_group("DEFAULT_CONSUMER")),
            "consumerGroup can not equal DEFAULT_CONSUMER, please specify another one.");
  EXPECT_TRUE(check_group(std::string(120, 'g')));
  EXPECT_EQ(
      why(check_group(std::string(121, 'g'))),
      "the specified group[" + std::string(121, 'g') + "] is longer than group max length: 120.");
  EXPECT_EQ(why(check_group("a/b")),
            "the specified group[a/b] contains illegal characters, allowing only "
            "^[%|a-zA-Z0-9_-]+$");
}

TEST(Validation, RefusesBatchesThatMix) {
  std::vector<Message> batch{good(), good()};
  EXPECT_TRUE(check_batch(batch, kMax));
  EXPECT_FALSE(check_batch({}, kMax));
  batch[1].deliver = level(1);
  EXPECT_EQ(why(check_batch(batch, kMax)), "TimeDelayLevel is not supported for batching");
  batch[1] = good();
  batch[1].topic = "audit";
  EXPECT_EQ(why(check_batch(batch, kMax)),
            "The topic of the messages in one batch should be the same");
  batch[1] = good();
  batch[1].wait_store = false;
  EXPECT_EQ(why(check_batch(batch, kMax)),
            "The waitStoreMsgOK of the messages in one batch should the same");
  batch[0].topic = batch[1].topic = "%RETRY%g";
  batch[1].wait_store = true;
  EXPECT_EQ(why(check_batch(batch, kMax)), "Retry Group is not supported for batching");
}

}  // namespace
}  // namespace apogee::client
