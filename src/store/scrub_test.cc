#include "store/scrub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/message_store.h"
#include "testing/disk_env.h"
#include "testing/store_builder.h"

namespace apogee::store {
namespace {

using apogee::testing::ForgetfulDisk;

constexpr std::int64_t kNow = 1'700'000'000'000;
constexpr int kMessages = 100;

class Scrubbing : public ::testing::Test {
 protected:
  Scrubbing() {
    for (int i = 0; i < kMessages; ++i)
      offsets_.push_back(builder_.put({.body = "some body", .store_timestamp = kNow + i}));
    builder_.write(world_.disk.files());
    config_.root = "store";
    config_.commit_log_file_bytes = 4'096;
    config_.consume_queue_file_bytes = 200;
    config_.index_slots = 10;
    config_.index_units = 500;
    config_.scrub_bytes_per_second = 2'000;
  }
  void start() {
    auto opened = MessageStore::open(*world_.env, config_, events_);
    ASSERT_TRUE(opened) << opened.error().detail;
    store_ = *std::move(opened);
    store_->start();
  }
  void flip(std::size_t message, std::int64_t byte) {
    const std::int64_t at = offsets_[message] + byte;
    ASSERT_TRUE(world_.disk.flip_bit(builder_.segment_path(at / 4'096 * 4'096),
                                     static_cast<std::uint64_t>(at % 4'096 * 8)));
  }
  void pass(std::chrono::seconds time) {
    for (; time > 0s; time -= 1s) world_.clock.advance(1s);
  }

  apogee::testing::DiskEnv world_;
  apogee::testing::StoreBuilder builder_;
  StoreConfig config_;
  StoreEvents events_;
  std::vector<std::int64_t> offsets_;
  std::unique_ptr<MessageStore> store_;
};

TEST_F(Scrubbing, FindsDamageNobodyHasReadAndTellsItOnce) {
  flip(3, 90);   // a body
  flip(50, 30);  // a place in the log
  start();
  pass(120s);
  const StoreStatus status = store_->status();
  EXPECT_GE(status.scrub_rounds, 2);
  EXPECT_EQ(status.damages, 2);
  EXPECT_THAT(
      world_.log.lines(LogLevel::kError),
      ::testing::UnorderedElementsAre(::testing::HasSubstr("queue_offset=3"),
                                      ::testing::AllOf(::testing::HasSubstr("position="),
                                                       ::testing::HasSubstr("another place"))));
}

TEST_F(Scrubbing, KeepsToItsRate) {
  start();
  pass(10s);
  const std::int64_t before = store_->status().scrubbed_bytes;
  pass(4s);
  const std::int64_t read = store_->status().scrubbed_bytes - before;
  EXPECT_GE(read, 2'000);
  EXPECT_LE(read, 4 * 2'000 + 2 * 4'096);
}

TEST_F(Scrubbing, IsOffAtZeroAndComesBackAtRunTime) {
  config_.scrub_bytes_per_second = 0;
  start();
  pass(60s);
  EXPECT_EQ(store_->status().scrubbed_bytes, 0);
  config_.scrub_bytes_per_second = 1 << 20;
  store_->change_config(config_);
  pass(60s);
  EXPECT_GE(store_->status().scrub_rounds, 1);
  EXPECT_EQ(store_->status().damages, 0);
}

TEST_F(Scrubbing, TellsWhatTheDiskCannotReadAndGoesOn) {
  start();
  world_.disk.inject({.operation = ForgetfulDisk::Operation::kRead,
                      .times = ForgetfulDisk::kForever,
                      .path_part = "/commitlog/00000000000000004096"});
  pass(120s);
  EXPECT_GE(store_->status().scrub_rounds, 1);
  EXPECT_EQ(store_->status().damages, 1);
  EXPECT_THAT(world_.log.lines(LogLevel::kError),
              ::testing::ElementsAre(::testing::HasSubstr("00000000000000004096")));
}

TEST_F(Scrubbing, WhatIsFlippedOnTheDiskIsNotGivenOut) {
  start();
  flip(7, 90);
  std::int64_t served = 0;
  for (std::int64_t at = 0; at < kMessages;) {
    const GetResult got = store_->get({.topic = "T", .queue_id = 0, .offset = at});
    ASSERT_GT(got.next_offset, at);
    at = got.next_offset;
    served += got.message_count;
  }
  EXPECT_EQ(served, kMessages - 1);
  EXPECT_FALSE(store_->record_at("T", 0, 7));
  EXPECT_TRUE(store_->record_at("T", 0, 8));
  EXPECT_EQ(store_->status().damages, 1);
}

}  // namespace
}  // namespace apogee::store
