#include "broker/scheduled_messages.h"

#include <gtest/gtest.h>

#include "protocol/names.h"
#include "protocol/table_file.h"
#include "testing/disk_env.h"
#include "testing/memory_store.h"

namespace apogee::broker {
namespace {

constexpr std::string_view kPath = "/config/delayOffset.json";

class Scheduled : public ::testing::Test {
 protected:
  Scheduled() {
    EXPECT_TRUE(disk_.env->files.create_directories("/config"));
    EXPECT_TRUE(disk_.env->files.sync_directory("/"));
    begin();
  }
  ~Scheduled() override { messages_.reset(); }

  void begin() {
    messages_ = std::make_unique<ScheduledMessages>(*disk_.env, store_, stats_, levels_,
                                                    std::string{kPath}, 3, 10'000);
    auto loaded = messages_->load();
    ASSERT_TRUE(loaded) << loaded.error().detail;
  }
  void put(std::int32_t level, std::string_view body, const std::string& topic = "t",
           const std::string& queue = "1") {
    store_.put({.topic = protocol::kScheduleTopic,
                .queue_id = level - 1,
                .body = body,
                .tags = "a",
                .properties = {
                    {"DELAY", std::to_string(level)}, {"REAL_TOPIC", topic}, {"REAL_QID", queue}}});
  }
  std::vector<std::string> delivered(std::string_view topic = "t", std::int32_t queue = 1) {
    std::vector<std::string> bodies;
    for (std::int64_t i = 0; i < store_.max_offset(topic, queue); ++i) {
      const auto record = store_.record_at(topic, queue, i);
      bodies.emplace_back(as_text(protocol::decode_message(record.bytes)->body));
    }
    return bodies;
  }
  std::map<std::int32_t, std::int64_t> on_disk() {
    const auto table =
        protocol::load_table<protocol::DelayOffsetTable>(*disk_.env, std::string{kPath});
    if (!table || !*table) return {};
    return {(**table).offset_table.begin(), (**table).offset_table.end()};
  }

  using Bodies = std::vector<std::string>;
  testing::DiskEnv disk_;
  testing::MemoryStore store_{disk_.clock};
  Stats stats_{disk_.clock, "Cluster"};
  DelayLevels levels_ = *DelayLevels::parse("1s 5s 10s");
  std::unique_ptr<ScheduledMessages> messages_;
};

TEST_F(Scheduled, CountWhatLeavesTheirQueueForItsTopic) {
  put(2, "x");
  disk_.clock.advance(5s);
  EXPECT_EQ(messages_->deliver_due(), 1);
  stats_.sample();
  EXPECT_EQ(stats_.view("QUEUE_GET_NUMS", "SCHEDULE_TOPIC_XXXX@1@SCHEDULE_CONSUMER")->minute.sum,
            1);
  EXPECT_GT(stats_.view("QUEUE_GET_SIZE", "SCHEDULE_TOPIC_XXXX@1@SCHEDULE_CONSUMER")->minute.sum,
            0);
  EXPECT_EQ(stats_.view("GROUP_GET_NUMS", "SCHEDULE_TOPIC_XXXX@SCHEDULE_CONSUMER")->minute.sum, 1);
  EXPECT_EQ(stats_.view("TOPIC_PUT_NUMS", "t")->minute.sum, 1);
}

TEST(DelayLevels, AreReadWithTheirUnits) {
  const auto levels = DelayLevels::parse(" 1s 5m  2h 1d ");
  ASSERT_TRUE(levels);
  EXPECT_EQ(levels->highest(), 4);
  EXPECT_EQ(levels->delay_ms(2), 300'000);
  EXPECT_EQ(levels->delay_ms(4), 86'400'000);
  EXPECT_EQ(levels->delay_ms(5), 86'400'000) << "one beyond the last is the last";
  EXPECT_EQ(levels->delay_ms(0), 1'000) << "what is no level waits a second";
  EXPECT_EQ(levels->deliver_time(1, 50), 1'050);
}

TEST(DelayLevels, AreRefusedWhenTheyCannotBeRead) {
  for (const char* bad : {"", "   ", "5", "s", "1s 5x", "1s -5m", "99999999999999999999s"})
    EXPECT_FALSE(DelayLevels::parse(bad)) << bad;
}

TEST_F(Scheduled, DeliversAfterTheDelayOfTheLevelAndNotBefore) {
  messages_->start();
  put(2, "five");
  put(1, "one");
  disk_.clock.advance(900ms);
  EXPECT_EQ(delivered(), Bodies{});
  disk_.clock.advance(200ms);
  EXPECT_EQ(delivered(), Bodies{"one"});
  disk_.clock.advance(3'700ms);
  EXPECT_EQ(delivered(), Bodies{"one"});
  disk_.clock.advance(300ms);
  EXPECT_EQ(delivered(), (Bodies{"one", "five"}));
}

TEST_F(Scheduled, WhatCannotBeReadNowIsDeliveredOnceItCan) {
  put(1, "one");
  put(1, "two");
  disk_.clock.advance(1s);
  store_.unreadable = true;
  EXPECT_EQ(messages_->deliver_due(), 0U);
  store_.unreadable = false;
  EXPECT_EQ(messages_->deliver_due(), 2U);
  EXPECT_EQ(delivered(), (Bodies{"one", "two"}));
}

TEST_F(Scheduled, WhatIsReadWrongOnceIsReadAgain) {
  put(1, "one");
  put(1, "two");
  disk_.clock.advance(1s);
  store_.misreads = 2;
  EXPECT_EQ(messages_->deliver_due(), 2U);
  EXPECT_EQ(delivered(), (Bodies{"one", "two"}));
}

TEST_F(Scheduled, KeepsTheMessageAsItIsButForItsPlace) {
  put(1, "body");
  disk_.clock.advance(1s);
  EXPECT_EQ(messages_->deliver_due(), 1U);
  const auto record = store_.record_at("t", 1, 0);
  const auto message = protocol::decode_message(record.bytes);
  ASSERT_TRUE(message);
  EXPECT_EQ(message->topic, "t");
  EXPECT_EQ(message->queue_id, 1);
  EXPECT_EQ(message->property("TAGS"), "a");
  EXPECT_EQ(message->property("DELAY"), "1");
  EXPECT_EQ(message->property("REAL_TOPIC"), "t");
  EXPECT_EQ(message->property("REAL_QID"), "1");
}

TEST_F(Scheduled, CatchesUpWithManyAtOnceInTheirOrder) {
  Bodies sent;
  for (int i = 0; i < 1'000; ++i) put(1, sent.emplace_back(std::to_string(i)));
  messages_->start();
  disk_.clock.advance(1'100ms);
  EXPECT_EQ(delivered(), sent);
}

TEST_F(Scheduled, DoesNotHoldMessagesForAClockThatWentBack) {
  put(1, "from the future");
  testing::ManualClock earlier{disk_.clock.wall_ms() - 3'600'000};
  Env env{earlier, disk_.env->files, disk_.network, disk_.workers, disk_.random, disk_.log};
  ScheduledMessages messages{env, store_, stats_, levels_, "/config/other.json", 3, 10'000};
  EXPECT_EQ(messages.deliver_due(), 1U);
}

TEST_F(Scheduled, DropsWhatHasNoPlaceToGo) {
  store_.put({.topic = protocol::kScheduleTopic, .body = "homeless"});
  put(1, "bad queue", "t", "one");
  put(1, "half", std::string{protocol::kHalfTopic}, "0");
  put(1, "good");
  disk_.clock.advance(1s);
  EXPECT_EQ(messages_->deliver_due(), 4U);
  EXPECT_EQ(delivered(), Bodies{"good"});
  EXPECT_EQ(disk_.log.lines(LogLevel::kError).size(), 3U);
}

TEST_F(Scheduled, TriesAgainWhenTheStoreRefuses) {
  put(1, "patient");
  disk_.clock.advance(1s);
  store_.next_status = store::PutStatus::kServiceNotAvailable;
  EXPECT_EQ(messages_->deliver_due(), 0U);
  EXPECT_EQ(messages_->deliver_due(), 0U);
  EXPECT_EQ(disk_.log.lines(LogLevel::kWarn).size(), 1U) << "said once";
  store_.next_status = store::PutStatus::kOk;
  EXPECT_EQ(messages_->deliver_due(), 1U);
  EXPECT_EQ(delivered(), Bodies{"patient"});
  put(1, "never");
  disk_.clock.advance(1s);
  store_.next_status = store::PutStatus::kMessageIllegal;
  EXPECT_EQ(messages_->deliver_due(), 1U) << "it would hold up the others for ever";
}

TEST_F(Scheduled, WhatIsBehindARefusedMessageIsDeliveredOnceAllTheSame) {
  put(1, "a");
  put(1, "refused", "full");
  put(1, "b");
  disk_.clock.advance(1s);
  store_.next_status = store::PutStatus::kLmqNumberExceeded;
  store_.refused_topic = "full";
  for (int round = 0; round < 3; ++round) messages_->deliver_due();
  EXPECT_EQ(delivered(), (Bodies{"a", "b"}));
  EXPECT_EQ(messages_->offsets().offset_table.at(1), 1);
  store_.next_status = store::PutStatus::kOk;
  messages_->deliver_due();
  EXPECT_EQ(delivered(), (Bodies{"a", "b"}));
  EXPECT_EQ(delivered("full"), Bodies{"refused"});
  EXPECT_EQ(messages_->offsets().offset_table.at(1), 3);
}

TEST_F(Scheduled, GoesOnWhereItWasAfterARestart) {
  messages_->start();
  put(1, "first");
  disk_.clock.advance(1'100ms);
  messages_->stop();
  EXPECT_EQ(on_disk(), (std::map<std::int32_t, std::int64_t>{{1, 1}}));
  begin();
  put(1, "second");
  disk_.clock.advance(1s);
  messages_->deliver_due();
  EXPECT_EQ(delivered(), (Bodies{"first", "second"}));
}

TEST_F(Scheduled, BeginsAtTheQueuesStartWhenTheLogWasCut) {
  put(1, "gone");
  put(1, "there");
  store_.cut(protocol::kScheduleTopic, 0, 1);
  disk_.clock.advance(1s);
  messages_->deliver_due();
  EXPECT_EQ(delivered(), Bodies{"there"});
}

TEST_F(Scheduled, CallsNothingDeliveredOnDiskThatIsNotOnDisk) {
  store_.hold_durable = true;
  messages_->start();
  put(1, "first");
  disk_.clock.advance(10'100ms);
  EXPECT_EQ(delivered(), Bodies{"first"});
  EXPECT_EQ(on_disk(), (std::map<std::int32_t, std::int64_t>{})) << "it could be delivered twice";
  store_.sync(store::PutStatus::kFlushDiskTimeout);
  EXPECT_EQ(on_disk(), (std::map<std::int32_t, std::int64_t>{}));
  disk_.clock.advance(10s);
  store_.sync(store::PutStatus::kOk);
  EXPECT_EQ(on_disk(), (std::map<std::int32_t, std::int64_t>{{1, 1}}));
  store_.hold_durable = false;
}

TEST_F(Scheduled, WritesTheOffsetsEachThousandDeliveriesSoThatABrokerThatDiesOftenGetsOn) {
  for (int i = 0; i < 1'100; ++i) put(1, "x");
  messages_->start();
  disk_.clock.advance(1'100ms);
  const auto offsets = on_disk();
  ASSERT_TRUE(offsets.contains(1)) << "flushDelayOffsetInterval is 10 s";
  EXPECT_GE(offsets.at(1), 1'000);
  disk_.clock.advance(10s);
  EXPECT_EQ(on_disk(), (std::map<std::int32_t, std::int64_t>{{1, 1'100}}));
}

TEST_F(Scheduled, WritesTheOffsetsAgainAfterAFailure) {
  messages_->start();
  put(1, "first");
  disk_.disk.inject(
      {.operation = testing::ForgetfulDisk::Operation::kWrite, .path_part = "delayOffset.json"});
  disk_.clock.advance(10'100ms);
  EXPECT_EQ(on_disk(), (std::map<std::int32_t, std::int64_t>{}));
  disk_.clock.advance(10s);
  EXPECT_EQ(on_disk(), (std::map<std::int32_t, std::int64_t>{{1, 1}}));
}

TEST_F(Scheduled, AdvancesTheDataVersionEverySoManyDeliveries) {
  for (int i = 0; i < 2; ++i) put(1, "x");
  disk_.clock.advance(1s);
  messages_->deliver_due();
  EXPECT_EQ(messages_->offsets().data_version.counter, 0);
  put(2, "x");
  disk_.clock.advance(5s);
  messages_->deliver_due();
  EXPECT_EQ(messages_->offsets().data_version.counter, 1);
}

TEST_F(Scheduled, ReadsTheOffsetsJavaWrote) {
  auto file = disk_.env->files.open(std::string{kPath}, FileSystem::Open::kCreate);
  ASSERT_TRUE(file);
  ASSERT_TRUE((*file)->write_at(
      0, as_bytes("{\n\t\"dataVersion\":{\n\t\t\"counter\":0,\n\t\t\"stateVersion\":0,"
                  "\n\t\t\"timestamp\":1700000000000\n\t},\n\t\"offsetTable\":{1:1,3:2"
                  "\n\t}\n}")));
  begin();
  EXPECT_EQ(messages_->offsets().offset_table.at(1), 1);
  EXPECT_EQ(messages_->offsets().offset_table.at(3), 2);
}

}  // namespace
}  // namespace apogee::broker
