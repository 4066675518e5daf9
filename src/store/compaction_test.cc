#include "store/compaction.h"

#include <map>
#include <random>
#include <set>
#include <thread>

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "protocol/table_file.h"
#include "store/inspect.h"
#include "testing/eventually.h"
#include "testing/seeds.h"
#include "testing/store_on_disk.h"

namespace apogee::store {
namespace {

using apogee::testing::eventually;
using ::testing::ElementsAre;

struct Read {
  std::int64_t offset;
  std::string key, body;
  bool operator==(const Read&) const = default;
  friend std::ostream& operator<<(std::ostream& out, const Read& read) {
    return out << read.offset << ":" << read.key << "=" << read.body;
  }
};

struct CompactionTopics final : StoreEvents {
  bool is_compaction_topic(std::string_view topic) override { return topic.starts_with('C'); }
};

/// Topics C... are compacted. A file of a compaction log has room for six entries, or two messages
/// with a body of 1000 bytes.
class Compacting : public apogee::testing::StoreOnDisk<CompactionTopics> {
 protected:
  Compacting() {
    config_.consume_queue_file_bytes = 400;
    config_.flush_interval_ms = 2;
    config_.flush_least_pages = 0;
    config_.compaction_queue_file_bytes = 7 * 46;
    config_.compaction_log_file_bytes = 2'600;
    config_.compaction_interval_ms = 1'000'000'000;
  }

  static Buffer encoded(std::string_view topic, std::string_view key, std::string_view body,
                        std::string_view tags = {}) {
    return StoreOnDisk::encoded(topic, body,
                                {{protocol::property::kKeys, std::string{key}},
                                 {protocol::property::kTags, std::string{tags}}});
  }

  Append send(std::string_view topic, std::string_view key, std::string_view body,
              std::string_view tags = {}) {
    const Append sent = append(topic, encoded(topic, key, body, tags));
    EXPECT_EQ(sent.status, PutStatus::kOk);
    return sent;
  }

  /// Once all that was sent can be read.
  void settle() {
    ASSERT_TRUE(eventually([&] {
      const StoreStatus status = store_->status();
      return status.dispatched_offset == status.commit_log_max_offset &&
             status.flushed_offset == status.commit_log_max_offset;
    }));
  }

  /// As a consumer reads.
  std::vector<Read> read(std::string_view topic, std::int32_t at_once = 3) {
    std::vector<Read> all;
    for (std::int64_t offset = 0;;) {
      const GetResult got =
          store_->get({.topic = topic, .offset = offset, .max_messages = at_once});
      for (const Bytes each : got.records) {
        for (Bytes rest = each; !rest.empty();) {
          const auto message = protocol::decode_message(rest);
          EXPECT_TRUE(message);
          if (!message) return all;
          all.push_back({message->queue_offset,
                         std::string{message->property(protocol::property::kKeys).value_or("")},
                         std::string{as_text(message->body)}});
          rest = rest.subspan(static_cast<std::size_t>(message->size));
        }
      }
      if (got.status != GetStatus::kFound && got.status != GetStatus::kNoMatchedMessage) return all;
      EXPECT_GT(got.next_offset, offset);
      if (got.next_offset <= offset) return all;
      offset = got.next_offset;
    }
  }

  /// Stops, and runs the compaction the store would run some time later.
  void compact_until(std::int64_t until) {
    settle();
    close();
    config_.compaction_interval_ms = 2;
    open();
    ASSERT_TRUE(eventually([&] { return position() >= until; }));
    close();
    config_.compaction_interval_ms = 1'000'000'000;
    open();
  }

  bool told(std::string_view what) {
    return std::ranges::any_of(outside_.log.lines(), [&](const std::string& line) {
      return line.find(what) != line.npos;
    });
  }

  /// Up to where all is compacted.
  std::int64_t position() {
    auto positions = protocol::load_table<CompactionPositions>(*env_, kPositions);
    if (!positions || !*positions || !(*positions)->queue_offsets.contains("C_0")) return -1;
    return (*positions)->queue_offsets["C_0"];
  }

  Inspection inspection() {
    auto opened = Inspection::open(
        outside_.disk.files(),
        {.root = "/store",
         .index_format = {.slot_count = config_.index_slots, .unit_count = config_.index_units}});
    EXPECT_TRUE(opened) << opened.error().detail;
    return *std::move(opened);
  }

  static constexpr const char* kPositions = "/store/compaction/position-checkpoint";
  static constexpr const char* kRecords =
      "/store/compaction/compactionLog/C/0/00000000000000000000";
  static constexpr const char* kUnits = "/store/compaction/compactionCq/C/0/00000000000000000000";
};

TEST_F(Compacting, KeepsTheNewestOfEachKeyInTheFilesThatAreFull) {
  open();
  for (int i = 0; i < 14; ++i) send("C", i % 2 == 0 ? "even" : "odd", std::to_string(i));
  settle();
  EXPECT_EQ(read("C").size(), 14u) << "nothing is compacted yet";
  compact_until(11);
  EXPECT_THAT(read("C"), ElementsAre(Read{10, "even", "10"}, Read{11, "odd", "11"},
                                     Read{12, "even", "12"}, Read{13, "odd", "13"}));
  EXPECT_THAT(names("/store/compaction/compactionLog/C/0"),
              ElementsAre("00000000000000000000", "00000000000000005152"));
  EXPECT_EQ(names("/store/compaction/compactionLog/C/0"),
            names("/store/compaction/compactionCq/C/0"));
}

TEST_F(Compacting, ReadsGoOnBehindWhatIsGone) {
  open();
  for (int i = 0; i < 13; ++i) send("C", i == 4 ? "rare" : "often", std::to_string(i));
  compact_until(11);
  EXPECT_THAT(read("C"),
              ElementsAre(Read{4, "rare", "4"}, Read{11, "often", "11"}, Read{12, "often", "12"}));
  const GetResult got = store_->get({.topic = "C", .offset = 5});
  EXPECT_EQ(got.status, GetStatus::kFound);
  EXPECT_EQ(got.next_offset, 13);
  EXPECT_EQ(got.min_offset, 4);
  EXPECT_EQ(got.max_offset, 13);
  EXPECT_EQ(store_->get({.topic = "C", .offset = 13}).status, GetStatus::kOffsetOverflowOne);
  const GetResult beyond = store_->get({.topic = "C", .offset = 20});
  EXPECT_EQ(beyond.status, GetStatus::kOffsetOverflowBadly);
  EXPECT_EQ(beyond.next_offset, 13);
  EXPECT_EQ(store_->min_offset("C", 0), 0);
  EXPECT_EQ(store_->max_offset("C", 0), 13);
}

TEST_F(Compacting, AMessageWithoutABodyTakesItsKeyAway) {
  open();
  send("C", "a", "1");
  send("C", "b", "2");
  send("C", "a", "");
  settle();
  EXPECT_EQ(read("C").size(), 3u) << "readers are told of it";
  for (int i = 3; i < 13; ++i) send("C", "c", std::to_string(i));
  compact_until(11);
  EXPECT_THAT(read("C"), ElementsAre(Read{1, "b", "2"}, Read{11, "c", "11"}, Read{12, "c", "12"}));
}

TEST_F(Compacting, AFileOfWhichNothingIsLeftGoes) {
  open();
  for (int i = 0; i < 6; ++i) send("C", std::to_string(i), "body");
  for (int i = 0; i < 6; ++i) send("C", std::to_string(i), "");
  send("C", "last", "x");
  compact_until(11);
  EXPECT_THAT(read("C"), ElementsAre(Read{12, "last", "x"}));
  EXPECT_THAT(names("/store/compaction/compactionCq/C/0"), ElementsAre("00000000000000005152"));
  for (int i = 13; i < 26; ++i) send("C", "more", std::to_string(i));
  compact_until(23);
  EXPECT_THAT(read("C"), ElementsAre(Read{12, "last", "x"}, Read{23, "more", "23"},
                                     Read{24, "more", "24"}, Read{25, "more", "25"}));
}

TEST_F(Compacting, AMapThatIsFullLeavesTheRestToTheNextTime) {
  config_.compaction_map_bytes = 0;  // a hundred keys
  open();
  for (int i = 0; i < 301; ++i) send("C", std::to_string(i % 150), std::to_string(i));
  settle();
  compact_until(299);
  const auto left = read("C");
  ASSERT_EQ(left.size(), 151u);
  for (const Read& each : left) EXPECT_GE(each.offset, 150);
}

TEST_F(Compacting, OtherTopicsAndAStoreWithoutCompactionAreAsEver) {
  config_.compaction_enable = false;
  open();
  for (int i = 0; i < 14; ++i) send("C", "same", std::to_string(i));
  send("other", "same", "body");
  settle();
  close();
  open();
  EXPECT_EQ(read("C").size(), 14u);
  EXPECT_FALSE(outside_.disk.files().stat("/store/compaction"));
  config_.compaction_enable = true;
  close();
  open();
  EXPECT_EQ(read("C").size(), 14u) << "it follows what the queue has";
  EXPECT_THAT(names("/store/compaction/compactionLog"), ElementsAre("C"));
}

TEST_F(Compacting, TagsAreLookedAt) {
  struct OneTag final : MessageFilter {
    bool matches_tags_code(std::int64_t code) const override {
      return code == protocol::tags_code("blue");
    }
  } const filter;
  open();
  for (int i = 0; i < 9; ++i)
    send("C", std::to_string(i), std::to_string(i), i % 4 == 1 ? "blue" : "red");
  settle();
  const GetResult got = store_->get({.topic = "C", .offset = 0, .filter = &filter});
  EXPECT_EQ(got.message_count, 2);
  EXPECT_EQ(got.next_offset, 9);
}

TEST_F(Compacting, WhatHasNoKeyIsPassedOver) {
  open();
  send("C", "a", "1");
  send("C", "", "no key");
  send("C", " ", "a blank");
  settle();
  EXPECT_THAT(read("C"), ElementsAre(Read{0, "a", "1"}));
  EXPECT_EQ(store_->get({.topic = "C", .offset = 1}).next_offset, 3);
  EXPECT_EQ(store_->get({.topic = "C", .offset = 3}).status, GetStatus::kOffsetOverflowOne);
}

TEST_F(Compacting, ADeletedTopicBeginsAnew) {
  open();
  for (const bool power_cut : {false, true}) {
    for (int i = 0; i < 14; ++i) send("C", "same", std::to_string(i));
    compact_until(11);
    ASSERT_TRUE(store_->delete_topic("C"));
    EXPECT_FALSE(outside_.disk.files().stat("/store/compaction/compactionLog/C/0"));
    if (power_cut) {
      outside_.disk.crash();
      EXPECT_FALSE(outside_.disk.files().stat("/store/compaction/compactionLog/C/0"));
      close();
      open();
    }
    EXPECT_EQ(send("C", "same", "again").queue_offset, 0);
    settle();
    EXPECT_THAT(read("C"), ElementsAre(Read{0, "same", "again"}));
    ASSERT_TRUE(store_->delete_topic("C"));
  }
}

TEST_F(Compacting, WhatHasLeftTheCommitLogStays) {
  config_.compaction_interval_ms = 2;
  config_.reserved_hours = 1;
  open();
  for (int i = 0; i < 200; ++i) send("C", std::to_string(i % 5), std::string(200, 'x'));
  settle();
  const auto before = read("C");
  for (const std::string& each : names("/store/commitlog"))
    outside_.disk.set_modified_ms("/store/commitlog/" + each, 1);
  store_->delete_expired_segments();
  ASSERT_TRUE(eventually([&] { return store_->status().commit_log_min_offset > 0; }));
  ASSERT_TRUE(eventually([&] { return !read("C").empty() && read("C").size() < 30; }));
  EXPECT_LT(store_->min_offset("C", 0), 200 - 5);
  std::map<std::string, std::int64_t> newest;
  for (const Read& each : read("C")) newest[each.key] = each.offset;
  EXPECT_EQ(newest, (std::map<std::string, std::int64_t>{
                        {"0", 195}, {"1", 196}, {"2", 197}, {"3", 198}, {"4", 199}}));
}

TEST_F(Compacting, AMessageIsGivenBackAfterAKill) {
  open();
  for (int i = 0; i < 8; ++i) send("C", std::to_string(i), "body");
  settle();
  kill();
  open();
  EXPECT_EQ(read("C").size(), 8u);
  send("C", "next", "body");
  settle();
  EXPECT_EQ(read("C").back(), (Read{8, "next", "body"}));
}

TEST_F(Compacting, DamageTakesNoMoreThanItself) {
  open();
  for (int i = 0; i < 14; ++i) send("C", std::to_string(i), "body");
  settle();
  close();
  const std::string path = "/store/compaction/compactionLog/C/0/00000000000000000000";
  const auto size = static_cast<std::uint64_t>(
      read_big<std::int32_t>(as_bytes(*read_file(outside_.disk.files(), path))));
  ASSERT_TRUE(outside_.disk.flip_bit(path, (2 * size + 90) * 8));  // in the third message
  open();
  EXPECT_EQ(read("C").size(), 13u);
  EXPECT_EQ(store_->status().damages, 1);
  compact_until(11);
  EXPECT_EQ(read("C").size(), 13u);
}

TEST_F(Compacting, InspectLooksIntoIt) {
  open();
  for (int i = 0; i < 14; ++i) send("C", i % 2 == 0 ? "even" : "odd", std::to_string(i), "blue");
  compact_until(11);
  close();
  const auto summary = inspection().summary();
  ASSERT_TRUE(summary);
  ASSERT_EQ(summary->compacted.size(), 1u);
  const CompactedSummary& one = summary->compacted.front();
  EXPECT_EQ(one.topic, "C");
  EXPECT_EQ(one.first_offset, 10);
  EXPECT_EQ(one.last_offset, 13);
  EXPECT_EQ(one.messages, 4u);
  EXPECT_EQ(one.compacted_until, 11);
  EXPECT_THAT(summary->others, ::testing::IsEmpty());
  EXPECT_EQ(inspection().check([](const Finding&) {})->compacted, 4u);

  const std::string units = "/store/compaction/compactionCq/C/0/00000000000000000000";
  ASSERT_TRUE(outside_.disk.flip_bit(units, (46 + 15) * 8));
  ASSERT_TRUE(outside_.disk.files().remove(kPositions));
  std::vector<std::string> findings;
  const auto report = inspection().check([&](const Finding& finding) {
    findings.push_back(fmt::format("{} {}: {}", finding.file, finding.position, finding.what));
  });
  EXPECT_EQ(report->damages, 1u);
  EXPECT_THAT(findings,
              ElementsAre(::testing::StartsWith(units + " 46: queue offset 11 has tags code")));
}

TEST_F(Compacting, InspectListsTheRecordsThatAreKept) {
  open();
  for (int i = 0; i < 14; ++i) send("C", i % 2 == 0 ? "even" : "odd", std::to_string(i));
  send("C2", "even", "of another");
  compact_until(11);
  close();
  using Listed = std::vector<std::string>;
  const auto listed = [&](RecordFilter filter, std::size_t most = 100) {
    Listed all;
    filter.compacted = true;
    auto looked_into = inspection();
    EXPECT_TRUE(looked_into.for_each_record(filter, [&](const InspectedRecord& record) {
      all.push_back(fmt::format("{} {} {}{}", record.message.topic, record.message.queue_offset,
                                as_text(record.message.body), record.crc_ok ? "" : " wrong"));
      return all.size() < most;
    }));
    return all;
  };
  EXPECT_EQ(listed({}), (Listed{"C 10 10", "C 11 11", "C 12 12", "C 13 13", "C2 0 of another"}));
  EXPECT_EQ(listed({}, 3), (Listed{"C 10 10", "C 11 11", "C 12 12"}));
  EXPECT_EQ(listed({.topic = "C2"}), Listed{"C2 0 of another"});
  EXPECT_EQ(listed({.key = "odd"}), (Listed{"C 11 11", "C 13 13"}));
  EXPECT_EQ(listed({.queue_id = 1}), Listed{});
  EXPECT_EQ(listed({.topic = "C", .from_queue_offset = 12}), (Listed{"C 12 12", "C 13 13"}));

  const std::string log = "/store/compaction/compactionLog/C/0/00000000000000000000";
  ASSERT_TRUE(outside_.disk.flip_bit(log, std::uint64_t{88} * 8));  // its body
  EXPECT_EQ(listed({.topic = "C", .to_queue_offset = 11}), Listed{"C 10 00 wrong"});
}

TEST_F(Compacting, WhatAKillLeavesIsNoDamage) {
  open();
  for (int i = 0; i < 14; ++i) send("C", std::to_string(i), "body");
  settle();
  kill();
  std::string damage;
  const auto report = inspection().check([&](const Finding& finding) {
    if (finding.weight == Finding::Weight::kDamage) damage += finding.file + finding.what;
  });
  ASSERT_TRUE(report);
  EXPECT_EQ(damage, "");
  EXPECT_EQ(report->compacted, 14u);
}

TEST_F(Compacting, ASyncThatFailedIsNotTriedAgainAndTheFileIsEndedOnce) {
  using apogee::testing::ForgetfulDisk;
  for (const char* part : {"/compactionLog/", "/compactionCq/"})
    for (const Errc error : {Errc::kIo, Errc::kNoSpace})
      for (const bool power_cut : {false, true}) {
        SCOPED_TRACE(::testing::Message() << part << (power_cut ? ", a power cut" : ", a kill"));
        open();
        for (int i = 0; i < 6; ++i) send("C", std::to_string(i), "body");  // the file is full
        settle();
        outside_.disk.inject(
            {.operation = ForgetfulDisk::Operation::kSync, .error = error, .path_part = part});
        for (int i = 6; i < 10; ++i) {
          send("C", std::to_string(i), "body");
          settle();
        }
        EXPECT_EQ(read("C").size(), 10u) << "what is not copied is in the commit log";
        EXPECT_EQ(names("/store/compaction/compactionLog/C/0").size(), 1u)
            << "the file that may not be on disk is the last one";
        EXPECT_TRUE(told("a compaction log's sync failed"));
        EXPECT_EQ(outside_.disk.files().stat(kUnits)->size, 7u * 46);
        if (power_cut) outside_.disk.crash();
        kill();
        outside_.disk.clear_faults();
        open();
        ASSERT_TRUE(store_);
        EXPECT_EQ(read("C").size(), 10u);
        EXPECT_EQ(names("/store/compaction/compactionLog/C/0").size(), 2u);
        ASSERT_TRUE(store_->delete_topic("C"));
        close();
      }
}

TEST_F(Compacting, AWriteThatFailedIsTriedAgain) {
  open();
  for (int i = 0; i < 6; ++i) send("C", std::to_string(i), "body");
  settle();
  outside_.disk.inject({.operation = apogee::testing::ForgetfulDisk::Operation::kWrite,
                        .after = 1,
                        .error = Errc::kNoSpace,
                        .path_part = "/compaction"});  // the mark of the end, among the units
  for (int i = 6; i < 10; ++i) {
    send("C", std::to_string(i), "body");
    settle();
  }
  EXPECT_EQ(names("/store/compaction/compactionLog/C/0").size(), 2u);
  close();
  open();
  EXPECT_EQ(read("C").size(), 10u);
}

/// As a broker left them that ended a file again after each sync that failed.
TEST_F(Compacting, WhatCouldNotBeCopiedYetIsReadFromTheCommitLog) {
  open();
  for (int i = 0; i < 3; ++i) send("C", std::to_string(i), "body");
  settle();
  outside_.disk.inject({.operation = apogee::testing::ForgetfulDisk::Operation::kWrite,
                        .times = apogee::testing::ForgetfulDisk::kForever,
                        .error = Errc::kNoSpace,
                        .path_part = "/compaction/"});
  for (int i = 3; i < 5; ++i) send("C", std::to_string(i), "body");
  settle();
  ASSERT_TRUE(told("a compaction log cannot be written, trying again"));
  EXPECT_EQ(read("C").size(), 5u);
  EXPECT_EQ(store_->get({.topic = "C", .offset = 5}).status, GetStatus::kOffsetOverflowOne)
      << "who has read all is not sent back";
  outside_.disk.clear_faults();
  send("C", "5", "body");
  settle();
  EXPECT_EQ(read("C").size(), 6u);
}

TEST_F(Compacting, AFileThatWasMadeAndNotWrittenToYetHidesNothing) {
  open();
  for (int i = 0; i < 6; ++i) send("C", std::to_string(i), "body");  // a file is full
  settle();
  outside_.disk.inject({.operation = apogee::testing::ForgetfulDisk::Operation::kWrite,
                        .times = apogee::testing::ForgetfulDisk::kForever,
                        .error = Errc::kNoSpace,
                        .path_part = "/compactionLog/C/0/00000000000000002576"});
  send("C", "6", "body");
  settle();
  ASSERT_TRUE(told("a compaction log cannot be written, trying again"));
  EXPECT_EQ(read("C").size(), 7u) << "the last from the commit log";
}

TEST_F(Compacting, UnitsWithMoreThanOneEndAreMadeAgain) {
  open();
  for (int i = 0; i < 8; ++i) send("C", std::to_string(i), "body");
  settle();
  close();
  auto file = outside_.disk.files().open(kUnits, FileSystem::Open::kExisting);
  ASSERT_TRUE(file && (*file)->write_at(7 * 46, as_bytes(std::string(92, '\xFF'))));
  file->reset();
  open();
  ASSERT_TRUE(store_);
  EXPECT_EQ(read("C").size(), 8u);
  EXPECT_EQ(outside_.disk.files().stat(kUnits)->size, 7u * 46);
}

TEST_F(Compacting, ABadLogIsSetAsideAndAllElseIsServed) {
  config_.reserved_hours = 1;
  open();
  for (int i = 0; i < 200; ++i) send("C", std::to_string(i % 5), std::string(200, 'x'));
  send("C2", "key", "body");
  settle();
  for (const std::string& each : names("/store/commitlog"))
    outside_.disk.set_modified_ms("/store/commitlog/" + each, 1);
  store_->delete_expired_segments();
  ASSERT_TRUE(eventually([&] { return store_->status().commit_log_min_offset > 0; }));
  close();
  const auto make_records = [&](std::uint64_t bytes) {
    auto file = outside_.disk.files().open(kRecords, FileSystem::Open::kExisting);
    ASSERT_TRUE(file && (*file)->resize(bytes));
  };
  const std::uint64_t right = outside_.disk.files().stat(kRecords)->size;
  make_records(right + 8);
  open();
  ASSERT_TRUE(store_) << "a broker starts with it";
  EXPECT_TRUE(told("a compaction log is set aside"));
  EXPECT_EQ(read("C2").size(), 1u);
  const GetResult first = store_->get({.topic = "C", .offset = 0});
  EXPECT_EQ(first.status, GetStatus::kUnreadable) << "nobody is led past what may be mended";
  EXPECT_EQ(first.next_offset, 0);
  EXPECT_TRUE(store_->record_at("C", 0, 0).unreadable);
  const GetResult last = store_->get({.topic = "C", .offset = 199});
  EXPECT_EQ(last.status, GetStatus::kFound) << "the commit log has it";
  EXPECT_EQ(send("C", "0", "new").queue_offset, 200);
  settle();
  EXPECT_EQ(store_->get({.topic = "C", .offset = 200}).message_count, 1);
  EXPECT_EQ(outside_.disk.files().stat(kRecords)->size, right + 8) << "left as it is";
  close();
  make_records(right);
  open();
  EXPECT_EQ(read("C").size(), 201u);
  EXPECT_EQ(read("C").back(), (Read{200, "0", "new"}));
}

TEST_F(Compacting, NothingGetsAnOffsetThatALogThatIsSetAsideHas) {
  open();
  for (int i = 0; i < 14; ++i) send("C", std::to_string(i), "body");
  settle();
  close();
  FileSystem& files = outside_.disk.files();
  for (const char* lost : {"/store/consumequeue/C", "/store/commitlog"})
    ASSERT_TRUE(remove_tree(files, lost));
  {
    auto file = files.open(kRecords, FileSystem::Open::kExisting);
    ASSERT_TRUE(file && (*file)->resize(100'000));
  }
  open();
  ASSERT_TRUE(store_);
  EXPECT_EQ(store_->max_offset("C", 0), 14);
  EXPECT_EQ(store_->get({.topic = "C", .offset = 3}).status, GetStatus::kUnreadable);
  EXPECT_EQ(send("C", "new", "body").queue_offset, 14);
}

TEST_F(Compacting, NorOneThatTheCommitLogHasLostAndItHasNot) {
  open();
  std::int64_t lost_from = 0;
  for (int i = 0; i < 14; ++i) {
    const Append sent = send("C", std::to_string(i), "body");
    if (i == 12) lost_from = sent.physical_offset;
  }
  settle();
  kill();
  {
    auto file = outside_.disk.files().open("/store/commitlog/00000000000000000000",
                                           FileSystem::Open::kExisting);
    const std::string zeros(1'000, '\0');
    ASSERT_TRUE(file && (*file)->write_at(static_cast<std::uint64_t>(lost_from), as_bytes(zeros)));
  }
  outside_.disk.inject({.operation = apogee::testing::ForgetfulDisk::Operation::kWrite,
                        .path_part = "/compactionCq/"});
  EXPECT_FALSE(try_open()) << "cannot be cut: new messages would get its offsets";
  open();
  EXPECT_EQ(send("C", "new", "body").queue_offset, 12);
  settle();
  EXPECT_EQ(read("C").back(), (Read{12, "new", "body"}));
}

TEST_F(Compacting, FilesOfAnotherLengthAreSetAsideUntilTheSizesAreRight) {
  open();
  for (int i = 0; i < 14; ++i) send("C", std::to_string(i), "body");
  settle();
  close();
  const std::int32_t right = std::exchange(config_.compaction_queue_file_bytes, 92);
  open();
  ASSERT_TRUE(store_);
  EXPECT_TRUE(told("compactionMappedFileSize"));
  EXPECT_EQ(read("C").size(), 14u) << "from the commit log";
  send("C", "new", "body");
  settle();
  close();
  config_.compaction_queue_file_bytes = right;
  open();
  EXPECT_EQ(read("C").size(), 15u);
}

/// Sends, crashes, failing writes and syncs, and compactions in a random order told by a seed. What
/// must hold after every restart, beside the commit log:
///   - what is read was sent with that offset, in order and none twice;
///   - the newest message of each key is there; if it has no body, perhaps none of the key is;
///   - up to where all is compacted, a key is there once.
class CompactingModel : public Compacting {
 protected:
  void run(std::uint64_t seed) {
    random_.seed(seed);
    config_.compaction_interval_ms = 1;
    config_.queue_flush_interval_ms = 3;
    config_.queue_flush_thorough_interval_ms = 10;
    config_.compaction_map_bytes = random_() % 2 == 0 ? 0 : 1 << 20;
    config_.transfer_count_in_memory = config_.filter_bytes_max = kAll;
    config_.transfer_bytes_in_memory = kAll;
    for (int round = 0; round < 5 && !HasFailure(); ++round) {
      open();
      ASSERT_TRUE(store_);
      check();
      const bool cut_midway = random_() % 3 == 0;
      if (cut_midway) outside_.disk.lose_power_after(random_() % 300);
      const bool faulty = !cut_midway && random_() % 3 == 0;
      if (faulty) let_the_disk_fail();
      send_some();
      if (faulty) {
        settle();
        ASSERT_TRUE(eventually([&] { return all_can_be_read(); }));
        check();
      }
      end_somehow(cut_midway || faulty);
      outside_.disk.clear_faults();
    }
  }

  /// Once. Power fails at the end: what a failed sync has not saved is seen by that alone.
  void let_the_disk_fail() {
    using apogee::testing::ForgetfulDisk;
    outside_.disk.inject({.operation = random_() % 2 == 0 ? ForgetfulDisk::Operation::kSync
                                                          : ForgetfulDisk::Operation::kWrite,
                          .after = random_() % 30,
                          .error = random_() % 2 == 0 ? Errc::kIo : Errc::kNoSpace,
                          .path_part = "/compaction/"});
  }

  /// A write that failed is tried again some time later.
  bool all_can_be_read() {
    const std::int64_t end = store_->max_offset("C", 0);
    const GetStatus behind = store_->get({.topic = "C", .offset = end}).status;
    return end == 0 || behind == GetStatus::kOffsetOverflowOne;
  }

  void send_some() {
    const int keys = 1 + static_cast<int>(random_() % 12);
    for (auto left = random_() % 120; left > 0; --left) {
      const std::string key = std::to_string(random_() % static_cast<unsigned>(keys));
      const std::string body =
          random_() % 5 == 0 ? "" : fmt::format("{:0{}}", ++sent_, 1 + random_() % 400);
      Buffer record = encoded("C", key, body);
      Append append{.topic = "C",
                    .records = std::as_writable_bytes(std::span{record.data(), record.size()})};
      Append* batch[] = {&append};
      store_->append(batch);
      if (append.status != PutStatus::kOk) return;
      if (random_() % 10 == 0) std::this_thread::yield();
    }
  }

  void end_somehow(bool cut_midway) {
    const std::uint64_t kind = cut_midway ? 1 : random_() % 4;
    if (kind == 0) {
      outside_.disk.kill_process();
    } else if (kind < 3) {
      if (random_() % 2 == 0) eventually([&] { return seen_compacted(); }, 20ms);
      outside_.disk.crash(random_());
    }
    close();
    for (std::uint64_t times = kind < 3 ? random_() % 3 : 0; times > 0; --times) {
      outside_.disk.lose_power_after(random_() % 60);
      // Until power fails or, at some step of it, there is a compaction.
      if (try_open() && random_() % 2 == 0) eventually([&] { return seen_compacted(); }, 8ms);
      outside_.disk.crash(random_());
      close();
    }
  }

  bool seen_compacted() { return !names("/store/compaction/compactionLog/C/0/compacting").empty(); }

  void check() {
    settle();
    std::map<std::int64_t, Read> sent;
    std::map<std::string, Read> newest;
    for (std::int64_t i = 0; i < store_->max_offset("C", 0); ++i) {
      const RecordBytes record = store_->record_at("C", 0, i);
      const auto message = protocol::decode_message(record.bytes);
      ASSERT_TRUE(message) << "no message at " << i;
      const Read one{i, std::string{*message->property(protocol::property::kKeys)},
                     std::string{as_text(message->body)}};
      sent[i] = one;
      newest[one.key] = one;
    }
    const std::int64_t compacted = position();
    // At once: who reads on while there is a compaction may have read what a message took away that
    // is not there any more.
    const std::vector<Read> got = read("C", kAll);
    std::map<std::string, Read> left;
    std::set<std::string> once;
    for (const Read& each : got) {
      EXPECT_TRUE(sent.contains(each.offset) && sent[each.offset] == each) << each;
      left[each.key] = each;
      if (each.offset <= compacted) {
        EXPECT_TRUE(once.insert(each.key).second) << each;
      }
    }
    EXPECT_TRUE(std::ranges::is_sorted(got, std::ranges::less_equal{}, &Read::offset));
    for (const auto& [key, last] : newest) {
      if (left.contains(key)) {
        EXPECT_EQ(left[key], last);
      } else {
        EXPECT_EQ(last.body, "") << last;
      }
    }
  }

  static constexpr std::int32_t kAll = 1 << 30;
  std::mt19937_64 random_;
  int sent_ = 0;
};

TEST(CompactionModel, HoldsWhateverHappens) {
  const apogee::testing::Seeds seeds{40};
  for (std::uint64_t seed = seeds.first; seed <= seeds.last && !::testing::Test::HasFailure();
       ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    struct Run final : CompactingModel {
      using CompactingModel::run;
      void TestBody() override {}
      ~Run() override {
        close();
        if (!HasFailure()) return;
        for (const std::string& line : outside_.log.lines()) fmt::print("  {}\n", line);
      }
    } model;
    model.run(seed);
  }
}

}  // namespace
}  // namespace apogee::store
