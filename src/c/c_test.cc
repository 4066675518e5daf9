#include "apogee/c.h"

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apogee/testing/broker.h"

namespace {

using ::testing::HasSubstr;

apogee_message message(const char* topic, const char* body) {
  apogee_message m = APOGEE_MESSAGE_INIT;
  m.topic = topic;
  m.body = body;
  m.body_length = std::strlen(body);
  return m;
}

/// A C program beside a whole broker.
class FromC : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = apogee::testing::Broker::start(
        {.settings = {{"transactionTimeOut", "1000"}, {"transactionCheckInterval", "1000"}},
         .topics = {{"orders", 4}}});
    ASSERT_TRUE(started) << started.error().detail;
    broker_.emplace(*std::move(started));
    name_server_ = broker_->name_server();
    const apogee_setting settings[] = {{"name_servers", name_server_.c_str()}};
    ASSERT_EQ(apogee_client_start(settings, 1, nullptr, nullptr, &client_, &error_), APOGEE_OK)
        << error_.detail;
    const apogee_setting group[] = {{"group", "checkout"}};
    ASSERT_EQ(apogee_producer_start(client_, group, 1, &producer_, &error_), APOGEE_OK)
        << error_.detail;
  }
  void TearDown() override {
    apogee_producer_free(producer_);
    apogee_client_free(client_);
  }

  std::optional<apogee::testing::Broker> broker_;
  std::string name_server_;
  apogee_client* client_ = nullptr;
  apogee_producer* producer_ = nullptr;
  apogee_error error_{};
};

TEST_F(FromC, SendsAndIsToldWhereTheMessageLies) {
  apogee_message m = message("orders", "hello");
  const char* keys[] = {"o-17"};
  const apogee_setting properties[] = {{"region", "eu"}};
  m.tag = "paid";
  m.keys = keys;
  m.key_count = 1;
  m.properties = properties;
  m.property_count = 1;
  apogee_receipt* receipt = nullptr;
  ASSERT_EQ(apogee_producer_send(producer_, &m, 3'000, &receipt, &error_), APOGEE_OK)
      << error_.detail;
  EXPECT_EQ(apogee_receipt_status(receipt), APOGEE_SEND_OK);
  EXPECT_EQ(std::strlen(apogee_receipt_message_id(receipt)), 32u);
  EXPECT_STREQ(apogee_receipt_broker(receipt), "broker-a");
  EXPECT_EQ(apogee_receipt_queue_offset(receipt), 0);
  apogee_receipt_free(receipt);
  EXPECT_EQ(apogee_producer_send(producer_, &m, 3'000, nullptr, nullptr), APOGEE_OK)
      << "receipt and error are optional";
}

TEST_F(FromC, ChoosesTheQueueByKeyAndByNumber) {
  const apogee_message m = message("orders", "x");
  apogee_receipt *one = nullptr, *other = nullptr, *third = nullptr;
  ASSERT_EQ(apogee_producer_send_by_key(producer_, &m, "customer-42", 3'000, &one, &error_), 0);
  ASSERT_EQ(apogee_producer_send_by_key(producer_, &m, "customer-42", 3'000, &other, &error_), 0);
  EXPECT_EQ(apogee_receipt_queue_id(one), apogee_receipt_queue_id(other));
  ASSERT_EQ(apogee_producer_send_to(producer_, &m, "broker-a", 3, 3'000, &third, &error_), 0);
  EXPECT_EQ(apogee_receipt_queue_id(third), 3);
  for (apogee_receipt* each : {one, other, third}) apogee_receipt_free(each);
  std::size_t queues = 0;
  ASSERT_EQ(apogee_producer_queue_count(producer_, "orders", 3'000, &queues, &error_), 0);
  EXPECT_EQ(queues, 4u);
}

TEST_F(FromC, SendsABatchAndOneway) {
  const apogee_message batch[] = {message("orders", "a"), message("orders", "b")};
  apogee_receipt* receipt = nullptr;
  ASSERT_EQ(apogee_producer_send_batch(producer_, batch, 2, 3'000, &receipt, &error_), APOGEE_OK)
      << error_.detail;
  EXPECT_THAT(apogee_receipt_message_id(receipt), HasSubstr(","));
  apogee_receipt_free(receipt);
  EXPECT_EQ(apogee_producer_send_oneway(producer_, &batch[0], &error_), APOGEE_OK);
}

TEST_F(FromC, CallsBackOncePerMessage) {
  struct Counts {
    std::mutex mutex;
    std::condition_variable changed;
    int good = 0, bad = 0;
  } counts;
  const auto done = [](void* context, const apogee_receipt* receipt, const apogee_error* error) {
    auto& all = *static_cast<Counts*>(context);
    const std::lock_guard lock{all.mutex};
    (receipt && !error ? all.good : all.bad)++;
    all.changed.notify_one();
  };
  const apogee_message m = message("orders", "x");
  for (int i = 0; i < 100; ++i)
    ASSERT_EQ(apogee_producer_send_async(producer_, &m, 3'000, done, &counts, &error_), 0);
  const apogee_message empty = message("orders", "");
  ASSERT_EQ(apogee_producer_send_async(producer_, &empty, 3'000, done, &counts, &error_), 0);
  std::unique_lock lock{counts.mutex};
  counts.changed.wait(lock, [&] { return counts.good + counts.bad == 101; });
  EXPECT_EQ(counts.good, 100);
}

/// What a consuming function in C keeps.
struct Kept {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<apogee_received*> messages;
  int refuse = 0;  // so many calls come to APOGEE_RETRY_LATER
  ~Kept() {
    for (apogee_received* each : messages) apogee_received_free(each);
  }
  static int32_t consume(void* context, const apogee_received* const* messages, size_t count) {
    auto& kept = *static_cast<Kept*>(context);
    const std::lock_guard lock{kept.mutex};
    if (kept.refuse-- > 0) return APOGEE_RETRY_LATER;
    for (size_t i = 0; i < count; ++i) kept.messages.push_back(apogee_received_copy(messages[i]));
    kept.changed.notify_all();
    return APOGEE_CONSUMED;
  }
  bool wait(size_t count) {
    std::unique_lock lock{mutex};
    return changed.wait_for(lock, std::chrono::seconds{30},
                            [&] { return messages.size() >= count; });
  }
};

TEST_F(FromC, ConsumesWhatItSent) {
  Kept kept;
  const apogee_setting settings[] = {{"group", "billing"}, {"from", "first"}};
  const apogee_subscription topics[] = {{"orders", nullptr, "paid"}};
  apogee_push_consumer* consumer = nullptr;
  ASSERT_EQ(apogee_push_consumer_start(client_, settings, 2, topics, 1, &Kept::consume, &kept,
                                       &consumer, &error_),
            APOGEE_OK)
      << error_.detail;
  apogee_message m = message("orders", "hello");
  const char* keys[] = {"o-17", "c-42"};
  const apogee_setting properties[] = {{"region", "eu"}};
  m.tag = "paid";
  m.keys = keys;
  m.key_count = 2;
  m.properties = properties;
  m.property_count = 1;
  apogee_receipt* receipt = nullptr;
  ASSERT_EQ(apogee_producer_send(producer_, &m, 3'000, &receipt, &error_), APOGEE_OK);
  ASSERT_TRUE(kept.wait(1));
  EXPECT_GT(apogee_push_consumer_queue_count(consumer), 0u);
  apogee_push_consumer_suspend(consumer);
  apogee_push_consumer_resume(consumer);
  apogee_push_consumer_free(consumer);
  const apogee_received* got = kept.messages.front();
  size_t length = 0;
  const auto* body = static_cast<const char*>(apogee_received_body(got, &length));
  EXPECT_EQ(std::string(body, length), "hello");
  EXPECT_STREQ(apogee_received_topic(got), "orders");
  EXPECT_STREQ(apogee_received_tag(got), "paid");
  EXPECT_EQ(apogee_received_key_count(got), 2u);
  EXPECT_STREQ(apogee_received_key(got, 1), "c-42");
  EXPECT_EQ(apogee_received_key(got, 2), nullptr);
  EXPECT_STREQ(apogee_received_property(got, "region"), "eu");
  EXPECT_EQ(apogee_received_property(got, "none"), nullptr);
  EXPECT_STREQ(apogee_received_message_id(got), apogee_receipt_message_id(receipt));
  EXPECT_EQ(apogee_received_queue_offset(got), apogee_receipt_queue_offset(receipt));
  EXPECT_GT(apogee_received_stored_ms(got), 0);
  apogee_receipt_free(receipt);
}

TEST_F(FromC, ConsumesInOrderAndTriesAgain) {
  Kept kept;
  kept.refuse = 1;
  const apogee_setting settings[] = {{"group", "billing"},
                                     {"from", "first"},
                                     {"orderly", "true"},
                                     {"suspend_current_queue", "50"}};
  const apogee_subscription topics[] = {{"orders", nullptr, nullptr}};
  for (const char* body : {"1", "2", "3"}) {
    const apogee_message m = message("orders", body);
    ASSERT_EQ(apogee_producer_send_to(producer_, &m, "broker-a", 0, 3'000, nullptr, &error_), 0);
  }
  apogee_push_consumer* consumer = nullptr;
  ASSERT_EQ(apogee_push_consumer_start(client_, settings, 4, topics, 1, &Kept::consume, &kept,
                                       &consumer, &error_),
            APOGEE_OK)
      << error_.detail;
  ASSERT_TRUE(kept.wait(3));
  apogee_push_consumer_free(consumer);
  std::string bodies;
  for (const apogee_received* each : kept.messages)
    bodies += *static_cast<const char*>(apogee_received_body(each, nullptr));
  EXPECT_EQ(bodies, "123");
}

TEST_F(FromC, PollsWhatItSubscribesTo) {
  for (const char* body : {"1", "2", "3"}) {
    const apogee_message m = message("orders", body);
    ASSERT_EQ(apogee_producer_send_to(producer_, &m, "broker-a", 1, 3'000, nullptr, &error_), 0);
  }
  const apogee_setting settings[] = {
      {"group", "replay"}, {"from", "first"}, {"auto_commit", "false"}};
  apogee_lite_pull_consumer* consumer = nullptr;
  ASSERT_EQ(apogee_lite_pull_consumer_start(client_, settings, 3, &consumer, &error_), APOGEE_OK)
      << error_.detail;
  const apogee_subscription topic{"orders", nullptr, nullptr};
  ASSERT_EQ(apogee_lite_pull_consumer_subscribe(consumer, &topic, &error_), APOGEE_OK);
  const auto take = [&](std::size_t count) {
    std::string bodies;
    for (int i = 0; i < 30 && bodies.size() < count; ++i) {
      apogee_batch* batch = nullptr;
      EXPECT_EQ(apogee_lite_pull_consumer_poll(consumer, 1'000, &batch, &error_), APOGEE_OK);
      for (std::size_t at = 0; at < apogee_batch_size(batch); ++at)
        bodies += *static_cast<const char*>(
            apogee_received_body(apogee_batch_message(batch, at), nullptr));
      EXPECT_EQ(apogee_batch_message(batch, apogee_batch_size(batch)), nullptr);
      apogee_batch_free(batch);
    }
    return bodies;
  };
  EXPECT_EQ(take(3), "123");
  EXPECT_GE(apogee_lite_pull_consumer_queue_count(consumer), 1u) << "the others are coming";
  apogee_lite_pull_consumer_commit(consumer);
  const apogee_queue queue{"orders", "broker-a", 1};
  std::int64_t offset = 0;
  ASSERT_EQ(apogee_lite_pull_consumer_committed(consumer, &queue, &offset, &error_), APOGEE_OK);
  EXPECT_EQ(offset, 3);
  ASSERT_EQ(apogee_lite_pull_consumer_seek(consumer, &queue, 1, &error_), APOGEE_OK)
      << error_.detail;
  EXPECT_EQ(take(2), "23");
  ASSERT_EQ(apogee_lite_pull_consumer_seek(consumer, &queue, APOGEE_SEEK_BEGIN, &error_), 0);
  EXPECT_EQ(take(3), "123");
  EXPECT_EQ(apogee_lite_pull_consumer_assign(consumer, &queue, 1, &error_), APOGEE_INVALID_ARGUMENT)
      << "not beside subscribe";
  apogee_lite_pull_consumer_free(consumer);
}

TEST_F(FromC, MakesAndDeletesTopicsAndCountsWhatWaits) {
  ASSERT_EQ(apogee_create_topic(client_, "invoices", 6, nullptr, 5'000, &error_), APOGEE_OK)
      << error_.detail;
  std::size_t queues = 0;
  for (int i = 0; i < 100 && queues != 6; ++i)  // the broker tells the name server soon
    (void)apogee_producer_queue_count(producer_, "invoices", 3'000, &queues, &error_);
  EXPECT_EQ(queues, 6u);
  std::int64_t lag = -1;
  EXPECT_EQ(apogee_group_lag(client_, "billing", "invoices", 3'000, &lag, &error_), APOGEE_OK)
      << error_.detail;
  EXPECT_EQ(lag, 0) << "nothing was sent";
  EXPECT_EQ(apogee_delete_topic(client_, "invoices", "DefaultCluster", 5'000, &error_), APOGEE_OK)
      << error_.detail;
  EXPECT_EQ(apogee_delete_topic(client_, nullptr, nullptr, 5'000, &error_),
            APOGEE_INVALID_ARGUMENT);
}

TEST_F(FromC, NamesWhatIsWrong) {
  const apogee_message empty = message("orders", "");
  EXPECT_EQ(apogee_producer_send(producer_, &empty, 3'000, nullptr, &error_),
            APOGEE_INVALID_ARGUMENT);
  EXPECT_THAT(error_.detail, HasSubstr("body"));
  apogee_message raw{};
  raw.topic = "orders";
  EXPECT_EQ(apogee_producer_send(producer_, &raw, 3'000, nullptr, &error_),
            APOGEE_INVALID_ARGUMENT);
  EXPECT_THAT(error_.detail, HasSubstr("struct_size"));

  apogee_producer* second = nullptr;
  const apogee_setting same[] = {{"group", "checkout"}};
  EXPECT_EQ(apogee_producer_start(client_, same, 1, &second, &error_), APOGEE_EXISTS);
  const apogee_setting unknown[] = {{"group", "g"}, {"send_timeot", "1"}};
  EXPECT_EQ(apogee_producer_start(client_, unknown, 2, &second, &error_), APOGEE_INVALID_ARGUMENT);
  EXPECT_THAT(error_.detail, HasSubstr("send_timeout"));
  const apogee_setting malformed[] = {{"group", "g"}, {"compression", "rar"}};
  EXPECT_EQ(apogee_producer_start(client_, malformed, 2, &second, &error_),
            APOGEE_INVALID_ARGUMENT);
  EXPECT_THAT(error_.detail, HasSubstr("zlib | lz4 | zstd"));
  EXPECT_EQ(second, nullptr);
  EXPECT_STREQ(apogee_code_name(APOGEE_EXISTS), "exists");
  EXPECT_STREQ(apogee_code_name(999), "?");
}

TEST_F(FromC, IsToldOfEveryNullThatMayNotBeOne) {
  apogee_message m = message("orders", "x");
  const std::int32_t wrong = APOGEE_INVALID_ARGUMENT;
  EXPECT_EQ(apogee_producer_send_by_key(producer_, &m, nullptr, 1'000, nullptr, &error_), wrong);
  EXPECT_THAT(error_.detail, HasSubstr("key is NULL"));
  EXPECT_EQ(apogee_producer_send_to(producer_, &m, nullptr, 0, 1'000, nullptr, &error_), wrong);
  EXPECT_EQ(apogee_producer_recall(producer_, nullptr, "h", 1'000, &error_), wrong);
  EXPECT_EQ(apogee_producer_recall(producer_, "orders", nullptr, 1'000, &error_), wrong);
  EXPECT_EQ(apogee_producer_queue_count(producer_, nullptr, 1'000, nullptr, &error_), wrong);
  apogee_producer* none = nullptr;
  EXPECT_EQ(apogee_producer_start(nullptr, nullptr, 0, &none, &error_), wrong);
  const char* keys[] = {"o-17", nullptr};
  m.keys = keys;
  m.key_count = 2;
  EXPECT_EQ(apogee_producer_send(producer_, &m, 1'000, nullptr, &error_), wrong);
  EXPECT_THAT(error_.detail, HasSubstr("a key is NULL"));
  const apogee_setting properties[] = {{"region", nullptr}};
  m.key_count = 0;
  m.properties = properties;
  m.property_count = 1;
  EXPECT_EQ(apogee_producer_send(producer_, &m, 1'000, nullptr, &error_), wrong);
}

TEST_F(FromC, APollOfWhatHasEndedSaysSo) {
  apogee_lite_pull_consumer* puller = nullptr;
  const apogee_setting group[] = {{"group", "ended"}};
  ASSERT_EQ(apogee_lite_pull_consumer_start(client_, group, 1, &puller, &error_), APOGEE_OK);
  apogee_client_shutdown(client_);
  apogee_batch* batch = nullptr;
  EXPECT_EQ(apogee_lite_pull_consumer_poll(puller, 1'000, &batch, &error_), APOGEE_STOPPED);
  EXPECT_EQ(batch, nullptr);
  apogee_lite_pull_consumer_free(puller);
}

TEST_F(FromC, ReadsNoFurtherThanAnOlderProgramsStruct) {
  apogee_message m = message("orders", "old");
  m.struct_size = offsetof(apogee_message, tag);
  m.tag = reinterpret_cast<const char*>(1);  // beyond what that program knows of
  EXPECT_EQ(apogee_producer_send(producer_, &m, 3'000, nullptr, &error_), APOGEE_OK)
      << error_.detail;
}

TEST_F(FromC, KeepsTheNumbersOfTheFirstRelease) {
  EXPECT_EQ(sizeof(apogee_error), 12 + APOGEE_DETAIL_BYTES);
  EXPECT_EQ(offsetof(apogee_message, no_wait_store), sizeof(void*) * 11 + 4)
      << "fields are added at the end only";
  EXPECT_EQ(APOGEE_REFUSED, 10);
  EXPECT_EQ(APOGEE_NO_MEMORY, 12);
}

}  // namespace
