#include "client/process_queue.h"

#include <random>
#include <set>

#include <gtest/gtest.h>

#include "testing/manual_clock.h"

namespace apogee::client {
namespace {

Pulled pulled(std::initializer_list<std::int64_t> offsets, std::size_t bytes = 10) {
  auto all = std::make_shared<std::vector<ReceivedMessage>>();
  for (const std::int64_t each : offsets) {
    ReceivedMessage message;
    message.queue_offset = each;
    message.body = std::string(bytes, 'x');
    all->push_back(std::move(message));
  }
  return all;
}

class ProcessQueues : public ::testing::Test {
 protected:
  std::int64_t done(std::initializer_list<std::int64_t> offsets) {
    return queue_.remove(*pulled(offsets));
  }
  std::vector<std::int64_t> take(std::size_t count) {
    std::vector<std::int64_t> offsets;
    for (const MessagePtr& each : taken_ = queue_.take(count))
      offsets.push_back(each->queue_offset);
    return offsets;
  }
  testing::ManualClock clock_;
  ProcessQueue queue_{clock_};
  std::vector<MessagePtr> taken_;
};

TEST_F(ProcessQueues, CommitUpToTheFirstThatIsNotDone) {
  EXPECT_EQ(done({1}), ProcessQueue::kNothing) << "there was nothing";
  queue_.put(pulled({10, 11, 12, 13}));
  EXPECT_EQ(done({11}), 10);
  EXPECT_EQ(done({10}), 12);
  EXPECT_EQ(done({12, 13}), 14) << "behind the last";
  EXPECT_EQ(done({12, 13}), ProcessQueue::kNothing);
}

TEST_F(ProcessQueues, NeverCommitWhatIsNotDone) {
  std::mt19937_64 random{3};
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE(round);
    ProcessQueue queue{clock_};
    std::set<std::int64_t> open;
    std::int64_t next = 0, committed = 0;
    for (int step = 0; step < 100; ++step) {
      if (random() % 2 == 0) {
        next += static_cast<std::int64_t>(random() % 3);  // tags passed over leave gaps
        queue.put(pulled({next}));
        open.insert(next++);
      } else if (!open.empty()) {
        const auto which =
            std::next(open.begin(), static_cast<std::ptrdiff_t>(random() % open.size()));
        const std::int64_t offset = queue.remove(*pulled({*which}));
        open.erase(which);
        committed = std::max(committed, offset);
      }
      ASSERT_LE(committed, open.empty() ? next : *open.begin());
      ASSERT_LE(committed, next);
    }
    EXPECT_EQ(queue.level().count, static_cast<std::int64_t>(open.size()));
    EXPECT_EQ(queue.level().bytes, static_cast<std::int64_t>(open.size()) * 10);
  }
}

TEST_F(ProcessQueues, SayHowMuchTheyHold) {
  queue_.put(pulled({5, 6, 9}, 100));
  queue_.put(pulled({6}, 100));  // again: counted once
  EXPECT_EQ(queue_.level().count, 3);
  EXPECT_EQ(queue_.level().bytes, 300);
  EXPECT_EQ(queue_.level().span(), 4);
  queue_.clear();
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(queue_.level().bytes, 0);
}

TEST_F(ProcessQueues, WantOneConsumerAtATime) {
  EXPECT_TRUE(queue_.put(pulled({0, 1, 2})));
  EXPECT_FALSE(queue_.put(pulled({3}))) << "it runs already";
  EXPECT_EQ(take(2), (std::vector<std::int64_t>{0, 1}));
  EXPECT_EQ(queue_.level().taken_count, 2);
  EXPECT_EQ(queue_.commit(), 2);
  EXPECT_EQ(take(9), (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(queue_.commit(), 4);
  EXPECT_TRUE(take(9).empty());
  EXPECT_TRUE(queue_.put(pulled({4}))) << "it ended";
  EXPECT_EQ(queue_.level().bytes, 10);
}

TEST_F(ProcessQueues, GiveMessagesAgain) {
  queue_.put(pulled({0, 1, 2}));
  take(2);
  queue_.consume_again(taken_);
  EXPECT_EQ(take(3), (std::vector<std::int64_t>{0, 1, 2}));
  queue_.rollback();
  EXPECT_EQ(take(1), (std::vector<std::int64_t>{0}));
  EXPECT_EQ(queue_.level().count, 3);
}

TEST_F(ProcessQueues, HaveNothingToCommitOnceCleared) {
  queue_.put(pulled({0}));
  take(1);
  queue_.clear();
  EXPECT_EQ(queue_.commit(), ProcessQueue::kNothing);
  queue_.consume_again(taken_);
  EXPECT_TRUE(queue_.empty()) << "what was cleared stays so";
}

TEST_F(ProcessQueues, NoticeConsumptionThatTakesTooLong) {
  const auto messages = pulled({7, 8});
  queue_.put(messages);
  clock_.advance(20min);
  EXPECT_EQ(queue_.first_older_than(15min), nullptr) << "nobody has begun";
  queue_.begin_consuming(*messages);
  clock_.advance(15min);
  EXPECT_EQ(queue_.first_older_than(15min), nullptr);
  clock_.advance(1ms);
  ASSERT_NE(queue_.first_older_than(15min), nullptr);
  EXPECT_EQ(queue_.first_older_than(15min)->queue_offset, 7);
  queue_.end_consuming(*messages);
  EXPECT_EQ(queue_.first_older_than(15min), nullptr);
}

TEST_F(ProcessQueues, ForgetTheirLockAfterThirtySeconds) {
  queue_.lock_renewed();
  EXPECT_TRUE(queue_.locked);
  clock_.advance(30s);
  EXPECT_FALSE(queue_.lock_expired());
  clock_.advance(1ms);
  EXPECT_TRUE(queue_.lock_expired());
}

TEST_F(ProcessQueues, AreIdleAfterTwoMinutesWithoutAPull) {
  queue_.pulled_now();
  clock_.advance(120s);
  EXPECT_FALSE(queue_.pull_expired());
  clock_.advance(1ms);
  EXPECT_TRUE(queue_.pull_expired());
}

}  // namespace
}  // namespace apogee::client
