#include "client/accumulator.h"

#include <gtest/gtest.h>

#include "testing/manual_clock.h"

namespace apogee::client {
namespace {

struct AccumulatorTest : ::testing::Test {
  testing::ManualClock clock;
  Accumulator accumulator{
      clock, {.delay = 10ms, .batch_bytes = 100, .encoded_bytes = 1'000, .total_bytes = 1'000}};

  Accumulator::Member member(std::size_t bytes, const std::string& topic = "orders",
                             const std::string& tag = "") {
    Message message;
    message.topic = topic;
    message.tag = tag;
    message.body = std::string(bytes, 'x');
    return {message, [](auto) {}, clock.now() + 3s, bytes + 100};
  }
};

TEST_F(AccumulatorTest, GathersMessagesUntilTheirTimeHasCome) {
  EXPECT_EQ(accumulator.add(member(10))->due, clock.now() + 10ms);
  clock.advance(4ms);
  EXPECT_FALSE(accumulator.add(member(10))->due);
  clock.advance(5ms);
  EXPECT_TRUE(accumulator.due().empty());
  clock.advance(1ms);
  const auto batches = accumulator.due();
  ASSERT_EQ(batches.size(), 1U);
  EXPECT_EQ(batches[0].members.size(), 2U);
  EXPECT_EQ(accumulator.waiting_bytes(), 0U);
}

TEST_F(AccumulatorTest, GivesABatchOutOnceItIsFull) {
  EXPECT_TRUE(accumulator.add(member(99))->full.empty());
  auto added = accumulator.add(member(1));
  ASSERT_EQ(added->full.size(), 1U);
  EXPECT_EQ(added->full[0].members.size(), 2U);
  EXPECT_FALSE(added->due);
  EXPECT_TRUE(accumulator.take_all().empty());
}

TEST_F(AccumulatorTest, GivesOutWhatIsGatheredRatherThanAddTooMuch) {
  ASSERT_TRUE(accumulator.add(member(60)));
  clock.advance(1ms);
  const auto joined_not = accumulator.add(member(41));
  ASSERT_EQ(joined_not->full.size(), 1U);
  EXPECT_EQ(joined_not->full[0].members[0].message.body.size(), 60U);
  EXPECT_EQ(joined_not->due, clock.now() + 10ms) << "it has begun a batch of its own";
  EXPECT_EQ(accumulator.waiting_bytes(), 41U);

  const auto large = accumulator.add(member(101));
  ASSERT_EQ(large->full.size(), 2U) << "what is too large goes alone, behind what was first";
  EXPECT_EQ(large->full[0].members[0].message.body.size(), 41U);
  EXPECT_EQ(large->full[1].members.size(), 1U);
  EXPECT_FALSE(large->due);
  EXPECT_EQ(accumulator.waiting_bytes(), 0U);
}

TEST_F(AccumulatorTest, GivesOutWhatWouldBeTooMuchOnceEncoded) {
  for (int i = 0; i < 9; ++i) EXPECT_TRUE(accumulator.add(member(1))->full.empty());
  const auto added = accumulator.add(member(1));  // of 101 bytes each
  ASSERT_EQ(added->full.size(), 1U);
  EXPECT_EQ(added->full[0].members.size(), 9U);
  EXPECT_EQ(accumulator.waiting_bytes(), 1U);
}

TEST_F(AccumulatorTest, DoesNotMixTopicsTagsQueuesOrWaits) {
  ASSERT_TRUE(accumulator.add(member(1)));
  ASSERT_TRUE(accumulator.add(member(1, "audit")));
  ASSERT_TRUE(accumulator.add(member(1, "orders", "paid")));
  ASSERT_TRUE(accumulator.add(member(1), MessageQueue{"orders", "broker-a", 1}));
  auto careless = member(1);
  careless.message.wait_store = false;
  ASSERT_TRUE(accumulator.add(std::move(careless)));
  ASSERT_TRUE(accumulator.add(member(1)));
  const auto batches = accumulator.take_all();
  EXPECT_EQ(batches.size(), 5U);
  std::size_t with_queue = 0;
  for (const auto& batch : batches) with_queue += batch.queue ? 1 : 0;
  EXPECT_EQ(with_queue, 1U);
}

TEST_F(AccumulatorTest, TakesNoMoreThanItsBoundAndGivesTheRoomBack) {
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(accumulator.add(member(99, "t" + std::to_string(i))));
  auto refused = member(11);
  auto added = accumulator.add(std::move(refused));
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code, Errc::kBusy);
  EXPECT_EQ(refused.message.body.size(), 11U);  // NOLINT: untouched, as promised
  clock.advance(10ms);
  EXPECT_EQ(accumulator.due().size(), 10U);
  EXPECT_TRUE(accumulator.add(member(1)));
}

TEST_F(AccumulatorTest, LetsMessagesGoAloneOnceTheProducerStops) {
  ASSERT_TRUE(accumulator.add(member(1)));
  EXPECT_EQ(accumulator.take_all().size(), 1U);
  auto late = member(1);
  EXPECT_FALSE(accumulator.add(std::move(late)));
  EXPECT_EQ(late.message.body, "x");  // NOLINT: untouched, as promised
  EXPECT_TRUE(accumulator.take_all().empty());
}

TEST_F(AccumulatorTest, LeavesTimeForTheSending) {
  auto hurried = member(1);
  hurried.deadline = clock.now() + 8ms;
  EXPECT_EQ(accumulator.add(member(1))->due, clock.now() + 10ms);
  EXPECT_EQ(accumulator.add(std::move(hurried))->due, clock.now() + 4ms) << "sooner than was said";
  clock.advance(4ms);
  EXPECT_EQ(accumulator.due().size(), 1U);
}

TEST(Accumulator, LetsDelayedMessagesAndRetriesGoAlone) {
  Message message;
  message.topic = "orders";
  EXPECT_TRUE(Accumulator::fits(message));
  message.deliver = level(3);
  EXPECT_FALSE(Accumulator::fits(message));
  message.deliver = {};
  message.topic = "%RETRY%g";
  EXPECT_FALSE(Accumulator::fits(message));
}

TEST(Accumulator, ChecksItsSettingsWithJavasTexts) {
  EXPECT_TRUE(Accumulator::check({}));
  EXPECT_EQ(Accumulator::check({.delay = 0ms}).error().detail,
            "batchMaxDelayMs expect between 1ms and 30s, but get 0!");
  EXPECT_EQ(Accumulator::check({.batch_bytes = (2 << 20) + 1}).error().detail,
            "batchMaxBytes expect between 1B and 2MB, but get 2097153!");
}

TEST(SplitReceipt, GivesEachMemberItsOffsetAndIds) {
  SendReceipt whole;
  whole.message_id = "A,B,C";
  whole.offset_message_id = "1,2,3";
  whole.queue_offset = 40;
  const auto receipts = split_receipt(whole, 3);
  ASSERT_EQ(receipts.size(), 3U);
  EXPECT_EQ(receipts[2].message_id, "C");
  EXPECT_EQ(receipts[1].offset_message_id, "2");
  EXPECT_EQ(receipts[2].queue_offset, 42);
}

}  // namespace
}  // namespace apogee::client
