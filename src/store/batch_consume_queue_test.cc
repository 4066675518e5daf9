#include "store/batch_consume_queue.h"

#include <algorithm>
#include <map>
#include <random>

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "store/inspect.h"
#include "store/offset_texts.h"
#include "testing/eventually.h"
#include "testing/store_on_disk.h"

/// Batches in batch queues and messages for LMQs: what the store makes of a record that stands at
/// more than one queue offset.
namespace apogee::store {
namespace {

/// Topics named B... are of queue.type=BatchCQ.
struct BatchTopics final : StoreEvents {
  bool is_batch_topic(std::string_view topic) override { return topic.starts_with('B'); }
  void on_arrivals(std::span<const Arrival> arrivals) override {
    std::lock_guard lock{mutex};
    for (const Arrival& each : arrivals) ends[std::string{each.topic}] = each.queue_offset + 1;
  }
  std::mutex mutex;
  std::map<std::string, std::int64_t> ends;  // guarded by mutex: as readers are told
};

class ManyOffsets : public testing::StoreOnDisk<BatchTopics> {
 protected:
  ManyOffsets() {
    config_.batch_queue_file_bytes = 46 * 4;
    config_.lmq = config_.multi_dispatch = true;
  }

  Append send(std::string_view topic, std::string_view body, const Properties& properties = {},
              std::int32_t flags = 0) {
    return append(topic, encoded(topic, body, properties, flags));
  }
  Append send_batch(std::string_view topic, std::string_view body, int messages) {
    return send(topic, body, {{"INNER_NUM", std::to_string(messages)}, {"TAGS", "t"}},
                protocol::sys_flag::kInnerBatch | protocol::sys_flag::kNeedUnwrap);
  }
  protocol::Message at(std::string_view topic, std::int64_t offset) {
    record_ = store_->record_at(topic, 0, offset);
    const auto message = protocol::decode_message(record_.bytes);
    return message ? *message : protocol::Message{};
  }
  std::string body_at(std::string_view topic, std::int64_t offset) {
    return std::string{as_text(at(topic, offset).body)};
  }

  RecordBytes record_;
};

TEST_F(ManyOffsets, ABatchTakesAsManyOffsetsAsItHasMessages) {
  open();
  EXPECT_EQ(send_batch("B", "three", 3).queue_offset, 0);
  EXPECT_EQ(send_batch("B", "two", 2).queue_offset, 3);
  EXPECT_EQ(send("B", "alone").queue_offset, 5);
  wait_dispatched();
  EXPECT_EQ(store_->max_offset("B", 0), 6);
  EXPECT_EQ(store_->min_offset("B", 0), 0);
  const char* const wanted[] = {"three", "three", "three", "two", "two", "alone"};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(body_at("B", i), wanted[i]) << i;
  EXPECT_EQ(at("B", 4).property("INNER_BASE"), "0000000000000000003");
  EXPECT_EQ(at("B", 4).queue_offset, 3);

  const GetResult all = store_->get({.topic = "B", .queue_id = 0, .offset = 0});
  EXPECT_EQ(all.message_count, 6);
  EXPECT_EQ(all.next_offset, 6);
  const GetResult inside = store_->get({.topic = "B", .queue_id = 0, .offset = 4});
  EXPECT_EQ(inside.message_count, 3) << "a batch is never cut";
  EXPECT_EQ(inside.next_offset, 6);
  const GetResult few = store_->get({.topic = "B", .queue_id = 0, .offset = 0, .max_messages = 4});
  EXPECT_EQ(few.message_count, 3);
  EXPECT_EQ(few.next_offset, 3);
  const GetResult over = store_->get({.topic = "B", .queue_id = 0, .offset = 0, .max_messages = 1});
  EXPECT_EQ(over.message_count, 3) << "the first batch comes whole";
  EXPECT_EQ(store_->get({.topic = "B", .queue_id = 0, .offset = 6}).status,
            GetStatus::kOffsetOverflowOne);
  std::lock_guard lock{events_.mutex};
  EXPECT_EQ(events_.ends["B"], 6);
}

TEST_F(ManyOffsets, TheEntriesOfABatchQueueStandInTheFileAsApachesDo) {
  open();
  const Append first = send_batch("B", "three", 3);
  const Append second = send_batch("B", "two", 2);
  close();
  const std::string path = "/store/batchconsumequeue/B/0/00000000000000000000";
  EXPECT_EQ(outside_.disk.files().stat(path)->size, 46U * 4);
  std::string unit;
  append_big<std::int64_t>(unit, second.physical_offset);
  append_big<std::int32_t>(
      unit, static_cast<std::int32_t>(second.physical_offset - first.physical_offset - 2));
  append_big<std::int64_t>(unit, protocol::java_hash("t"));
  append_big<std::int64_t>(unit, second.store_timestamp);
  append_big<std::int64_t>(unit, 3);
  append_big<std::int16_t>(unit, 2);
  append_big<std::int32_t>(unit, -1);
  append_big<std::int32_t>(unit, 0);
  EXPECT_EQ(bytes_of(path, 46, 46), unit);
  EXPECT_FALSE(outside_.disk.files().stat("/store/consumequeue/B"));
}

TEST_F(ManyOffsets, OfBatchQueuesTheNameOfTheirDirectoryIsDurableToo) {
  config_.index_enable = false;  // its files' names stand beside that one
  for (const std::size_t synced_together_from : {1, 32}) {
    config_.root = "/store" + std::to_string(synced_together_from);
    config_.queues_synced_together_from = synced_together_from;
    open();
    send_batch("B", "three", 3);
    close();
    const auto durable =
        outside_.disk.durable_content(config_.root + "/batchconsumequeue/B/0/00000000000000000000");
    EXPECT_TRUE(durable) << durable.error().detail;
  }
}

TEST_F(ManyOffsets, BatchQueuesAreInspectedByTheirMessages) {
  open();
  send_batch("B", "three", 3);
  const Append second = send_batch("B", "two", 2);
  send("B", "alone");
  send("plain", "x");
  close();
  auto inspection = Inspection::open(
      outside_.disk.files(),
      {.root = "/store", .index_format = {config_.index_slots, config_.index_units}});
  ASSERT_TRUE(inspection) << inspection.error().detail;
  const auto summary = inspection->summary();
  ASSERT_TRUE(summary) << summary.error().detail;
  const auto queue = std::ranges::find(summary->queues, "B", &QueueSummary::topic);
  ASSERT_NE(queue, summary->queues.end());
  EXPECT_EQ(queue->min_offset, 0);
  EXPECT_EQ(queue->max_offset, 6);
  std::vector<InspectedEntry> entries;
  ASSERT_TRUE(inspection->for_each_entry("B", 0, 4, 5, [&](const InspectedEntry& entry) {
    entries.push_back(entry);
    return true;
  }));
  ASSERT_EQ(entries.size(), 1U) << "the batch that message 4 is in";
  EXPECT_EQ(entries[0].queue_offset, 3);
  EXPECT_EQ(entries[0].messages, 2);
  EXPECT_EQ(entries[0].physical_offset, second.physical_offset);
  std::vector<std::string> damages;
  const auto sound = inspection->check(
      [&](const Finding& finding) { damages.push_back(finding.file + ": " + finding.what); });
  ASSERT_TRUE(sound);
  EXPECT_EQ(damages, std::vector<std::string>{});
  EXPECT_EQ(sound->entries, 4U);

  ASSERT_TRUE(outside_.disk.flip_bit("/store/batchconsumequeue/B/0/00000000000000000000",
                                     (46 + 35) * 8));  // the second's queue offset
  const auto report = inspection->check([](const Finding&) {});
  ASSERT_TRUE(report);
  EXPECT_EQ(report->damages, 1U);
}

TEST_F(ManyOffsets, WhatIsNoBatchIsRefusedAsOne) {
  open();
  EXPECT_EQ(send_batch("T", "x", 3).status, PutStatus::kMessageIllegal) << "not a batch topic";
  EXPECT_EQ(send_batch("B", "x", 0).status, PutStatus::kMessageIllegal);
  EXPECT_EQ(send_batch("B", "x", 40'000).status, PutStatus::kMessageIllegal);
  EXPECT_EQ(send("B", "x", {{"INNER_NUM", "many"}}, protocol::sys_flag::kInnerBatch).status,
            PutStatus::kMessageIllegal);
  EXPECT_EQ(store_->status().commit_log_max_offset, 0);
}

TEST_F(ManyOffsets, TimeFindsTheFirstMessageOfABatch) {
  open();
  std::vector<Append> sent;
  for (int i = 0; i < 12; ++i) {
    sent.push_back(send_batch("B", "b", 1 + i % 3));
    // The next one gets another time.
    ASSERT_TRUE(
        testing::eventually([&] { return clock_->wall_ms() > sent.back().store_timestamp; }));
  }
  wait_dispatched();
  for (const Append& each : sent) {
    for (const Boundary boundary : {Boundary::kLower, Boundary::kUpper})
      EXPECT_EQ(store_->offset_by_time("B", 0, each.store_timestamp, boundary), each.queue_offset);
    EXPECT_EQ(store_->store_time("B", 0, each.queue_offset), each.store_timestamp);
  }
  EXPECT_EQ(store_->offset_by_time("B", 0, 0, Boundary::kLower), 0);
  EXPECT_EQ(store_->offset_by_time("B", 0, sent.back().store_timestamp + 1, Boundary::kLower),
            sent.back().queue_offset)
      << "behind everything: the last batch, as with Apache's";
}

TEST_F(ManyOffsets, OneRecordStandsInEveryLmqItNames) {
  open();
  EXPECT_EQ(send("T", "one", {{"INNER_MULTI_DISPATCH", "%LMQ%a,%LMQ%b"}}).status, PutStatus::kOk);
  EXPECT_EQ(send("T", "two", {{"INNER_MULTI_DISPATCH", "%LMQ%b"}}).queue_offset, 1);
  EXPECT_EQ(send("T", "three",
                 {{"INNER_MULTI_DISPATCH", "%LMQ%b,%LMQ%a"}, {"INNER_MULTI_QUEUE_OFFSET", "77,88"}})
                .status,
            PutStatus::kOk);
  wait_dispatched();
  EXPECT_EQ(store_->max_offset("T", 0), 3);
  EXPECT_EQ(store_->max_offset("%LMQ%a", 0), 2);
  EXPECT_EQ(store_->max_offset("%LMQ%b", 0), 3);
  EXPECT_EQ(body_at("%LMQ%a", 1), "three");
  EXPECT_EQ(body_at("%LMQ%b", 1), "two");
  EXPECT_EQ(at("T", 2).property("INNER_MULTI_QUEUE_OFFSET"),
            "0000000000000000002,0000000000000000001");
  for (const char* bad : {"%LMQ%a,other", "%LMQ%", "%LMQ%a/../x", "%LMQ%a,%LMQ%a", "%LMQ%a,", ","})
    EXPECT_EQ(send("T", "x", {{"INNER_MULTI_DISPATCH", bad}}).status, PutStatus::kMessageIllegal)
        << bad;
  EXPECT_EQ(send("%RETRY%g", "x", {{"INNER_MULTI_DISPATCH", "%LMQ%a"}}).status, PutStatus::kOk);
  wait_dispatched();
  EXPECT_EQ(store_->max_offset("%LMQ%a", 0), 2) << "a retry goes to its group alone";
}

TEST_F(ManyOffsets, LmqsAreLimited) {
  config_.lmq_max = 2;
  open();
  EXPECT_EQ(send("T", "1", {{"INNER_MULTI_DISPATCH", "%LMQ%a,%LMQ%b"}}).status, PutStatus::kOk);
  EXPECT_EQ(send("T", "2", {{"INNER_MULTI_DISPATCH", "%LMQ%c"}}).status,
            PutStatus::kLmqNumberExceeded);
  EXPECT_EQ(send("T", "3", {{"INNER_MULTI_DISPATCH", "%LMQ%b"}}).status, PutStatus::kOk);
  Buffer record = encoded("T", "4", {{"INNER_MULTI_DISPATCH", "%LMQ%c"}});
  Append accepted{.topic = "T",
                  .records = std::as_writable_bytes(std::span{record.data(), record.size()}),
                  .accepted = true};
  Append* batch[] = {&accepted};
  store_->append(batch);
  EXPECT_EQ(accepted.status, PutStatus::kOk) << "it was promised before it waited elsewhere";
}

TEST(LmqNames, AreCheckedWhileAMessageCanStillBeRefused) {
  const auto check = [](const std::string& names, std::size_t other = 0) {
    Buffer properties;
    if (other > 0) protocol::append_property(properties, "x", std::string(other, 'y'));
    protocol::append_property(properties, "INNER_MULTI_DISPATCH", names);
    return check_lmqs(properties).has_value();
  };
  EXPECT_TRUE(check_lmqs("") && check("%LMQ%a,%LMQ%b"));
  EXPECT_FALSE(check("other") || check("%LMQ%a,%LMQ%a"));
  EXPECT_FALSE(check("%LMQ%a", 32'700)) << "no room for its offset";
}

TEST_F(ManyOffsets, WithoutLmqTheNamesOfQueuesAreAPropertyLikeAnyOther) {
  config_.lmq = false;
  open();
  EXPECT_EQ(send("T", "1", {{"INNER_MULTI_DISPATCH", "anything"}}).status, PutStatus::kOk);
  wait_dispatched();
  EXPECT_EQ(at("T", 0).property("INNER_MULTI_DISPATCH"), "anything");
  EXPECT_FALSE(at("T", 0).property("INNER_MULTI_QUEUE_OFFSET"));
}

/// Property: whatever is sent, however the process ends, every message stands at every offset it
/// was given, and nothing else stands there.
TEST_F(ManyOffsets, EveryOffsetLeadsToItsMessageAfterEveryRestart) {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937_64 random{seed};
    config_.root = fmt::format("/store{}", seed);
    config_.batch_queue_file_bytes = static_cast<std::int32_t>(46 * (1 + random() % 6));
    std::map<std::string, std::vector<std::string>> model;  // topic: body at each offset
    int number = 0;
    for (int round = 0; round < 5; ++round) {
      open();
      for (const auto& [topic, bodies] : model) {
        ASSERT_EQ(store_->max_offset(topic, 0), static_cast<std::int64_t>(bodies.size())) << topic;
        for (std::size_t i = 0; i < bodies.size(); ++i)
          ASSERT_EQ(body_at(topic, static_cast<std::int64_t>(i)), bodies[i]) << topic << " " << i;
      }
      for (auto sends = random() % 60; sends > 0; --sends) {
        const std::string body = fmt::format("{}{}", ++number, std::string(random() % 300, 'x'));
        const std::string topic = random() % 2 == 0 ? "B" : "T";
        if (topic == "B" && random() % 3 != 0) {
          const int messages = 1 + static_cast<int>(random() % 5);
          const Append sent = send_batch(topic, body, messages);
          ASSERT_EQ(sent.queue_offset, static_cast<std::int64_t>(model[topic].size()));
          model[topic].insert(model[topic].end(), static_cast<std::size_t>(messages), body);
          continue;
        }
        Properties properties;
        std::string names;
        for (const char* lmq : {"%LMQ%a", "%LMQ%b", "%LMQ%c"}) {
          if (random() % 3 != 0) continue;
          names += names.empty() ? lmq : std::string{","} + lmq;
          model[lmq].push_back(body);
        }
        if (!names.empty()) properties.emplace_back("INNER_MULTI_DISPATCH", names);
        ASSERT_EQ(send(topic, body, properties).queue_offset,
                  static_cast<std::int64_t>(model[topic].size()));
        model[topic].push_back(body);
      }
      if (random() % 2 == 0) wait_dispatched();
      if (random() % 2 == 0)
        close();
      else
        kill();
    }
  }
}

}  // namespace
}  // namespace apogee::store
