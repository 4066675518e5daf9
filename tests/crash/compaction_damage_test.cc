#include <gtest/gtest.h>

#include "protocol/message.h"
#include "store/compaction.h"
#include "store/inspect.h"
#include "store/message_store.h"
#include "store/repair.h"
#include "store/segment.h"
#include "testing/disk_env.h"
#include "testing/eventually.h"
#include "tests/crash/damage.h"

/// Every byte of a small store's compaction logs flipped, each file cut at every length, and gone:
/// what comes out is what was sent, or it does not come and somebody says so; and no more is
/// missing than the damage touched.
namespace apogee::crash {
namespace {

using namespace apogee::store;
using apogee::testing::DiskEnv;
using apogee::testing::ForgetfulDisk;

constexpr int kMessages = 26;
constexpr std::size_t kOfAFile = 6;
constexpr const char* kPositions = "/store/compaction/position-checkpoint";

StoreConfig small() {
  StoreConfig config;
  config.root = "/store";
  config.commit_log_file_bytes = 5'000;
  config.consume_queue_file_bytes = 1'000;
  config.index_enable = false;
  config.compaction_queue_file_bytes = 7 * 46;
  config.compaction_log_file_bytes = 5 * 7 * 46;
  config.compaction_interval_ms = 100;
  return config;
}

struct Compacted final : StoreEvents {
  bool is_compaction_topic(std::string_view topic) override { return topic == "C"; }
};

/// By queue offset.
using Records = std::map<std::int64_t, std::string>;

Records given_out(MessageStore& store) {
  Records records;
  for (std::int64_t at = 0;;) {
    const GetResult got = store.get({.topic = "C", .offset = at});
    for (const Bytes each : got.records)
      for (Bytes rest = each; !rest.empty();) {
        const auto found = protocol::check_record(rest, true);
        EXPECT_EQ(found.kind, protocol::RecordKind::kRecord) << "damage is served";
        if (found.kind != protocol::RecordKind::kRecord) return records;
        const auto size = static_cast<std::size_t>(found.size);
        std::string record{as_text(rest.first(size))};
        // Where it stands in the compaction log; another one when it was copied again.
        record.replace(protocol::record_at::kPhysicalOffset, 8, 8, '\0');
        EXPECT_TRUE(records.emplace(found.message.queue_offset, std::move(record)).second)
            << "queue offset " << found.message.queue_offset << " comes twice";
        rest = rest.subspan(size);
      }
    if (got.next_offset <= at) return records;
    at = got.next_offset;
  }
}

void send(DiskEnv& world, MessageStore& store, std::string_view topic, int number) {
  // The last of each key and what comes behind the last compaction stays.
  const std::string key = std::to_string(number % 20), body = "body " + std::to_string(number);
  Buffer properties, record;
  protocol::append_property(properties, "KEYS", key);
  protocol::append_property(properties, "TAGS", "T" + key);
  static constexpr std::array<std::byte, 4> kHost{};
  EXPECT_TRUE(protocol::encode_message(record, {.born_timestamp = 1,
                                                .born_host = kHost,
                                                .store_host = kHost,
                                                .body = as_bytes(body),
                                                .topic = topic,
                                                .properties = properties}));
  Append append{.topic = topic, .records = std::as_writable_bytes(std::span{record})};
  Append* batch[] = {&append};
  store.append(batch);
  EXPECT_EQ(append.status, PutStatus::kOk);
  world.clock.advance(1s);
}

/// Compacted once, with some messages behind, and stopped cleanly; the second file of the commit
/// log has none of them.
struct Sound {
  DiskEnv world;
  Records truth;
};
const Sound& sound() {
  static const auto made = [] {
    auto sound = std::make_unique<Sound>();
    Compacted events;
    auto store = MessageStore::open(*sound->world.env, small(), events);
    EXPECT_TRUE(store) << store.error().detail;
    (*store)->start();
    for (int i = 0; i < kMessages; ++i) send(sound->world, **store, "C", i);
    for (int i = 0; i < kMessages; ++i) send(sound->world, **store, "other", i);
    EXPECT_TRUE(apogee::testing::eventually([&] {
      sound->world.clock.advance(1s);
      return sound->world.disk.files().stat(kPositions).has_value() &&
             (*store)->status().dispatched_offset == (*store)->status().commit_log_max_offset;
    }));
    sound->truth = given_out(**store);
    (*store)->stop();
    EXPECT_LT(sound->truth.size(), std::size_t{kMessages}) << "nothing was compacted";
    return sound;
  }();
  return *made;
}

/// A copy; `expired`: the messages have left the commit log.
std::unique_ptr<ForgetfulDisk> copy(bool expired) {
  auto disk = sound().world.disk.clone();
  if (expired) {
    EXPECT_TRUE(disk->files().remove("/store/commitlog/" + segment_name(0)));
  }
  return disk;
}

/// `touched`: so many messages may be missing.
void expect_the_truth_or_a_word(ForgetfulDisk& disk, bool unclean, std::size_t touched) {
  DiskEnv world;
  Env env{world.clock, disk.files(), world.network, world.workers, world.random, world.log};
  if (unclean) {
    ASSERT_TRUE(disk.files().open("/store/abort", FileSystem::Open::kCreate));
  }
  std::uint64_t damages = 0;
  if (auto inspection = Inspection::open(disk.files(), {.root = "/store"}))
    if (auto report = inspection->check([](const Finding&) {})) damages = report->damages;
  Compacted events;
  auto store = MessageStore::open(env, small(), events);
  if (!store) {
    EXPECT_NE(store.error().detail, "");
    EXPECT_TRUE(unclean || damages > 0) << "refused, and the check finds nothing";
    return;
  }
  // A log that is set aside: refused, all but what the commit log has.
  if ((*store)->get({.topic = "C", .offset = 0}).status == GetStatus::kUnreadable) {
    EXPECT_FALSE(world.log.lines(LogLevel::kError).empty());
    EXPECT_TRUE(unclean || damages > 0) << "set aside, and the check finds nothing";
    return;
  }
  const Records records = given_out(**store);
  for (const auto& [offset, record] : records) {
    const auto sent = sound().truth.find(offset);
    if (sent != sound().truth.end()) expect_unseen_damage_only(record, sent->second);
  }
  std::size_t missing = 0;
  for (const auto& [offset, record] : sound().truth) missing += records.contains(offset) ? 0 : 1;
  EXPECT_LE(missing, touched) << "more is missing than was damaged";
  if (missing == 0) return;
  EXPECT_TRUE(!world.log.lines(LogLevel::kWarn).empty() || (*store)->status().damages > 0)
      << missing << " messages are missing, and the broker does not say so";
  EXPECT_TRUE(unclean || damages > 0) << missing << " are missing, and the check does not say so";
}

TEST(CompactionDamage, ASoundStoreIsFoundSound) {
  for (const bool expired : {false, true}) {
    const auto disk = copy(expired);
    auto inspection = Inspection::open(disk->files(), {.root = "/store"});
    ASSERT_TRUE(inspection);
    const auto report = inspection->check([](const Finding& finding) {
      ADD_FAILURE() << finding.file << " at " << finding.position << ": " << finding.what;
    });
    ASSERT_TRUE(report);
    EXPECT_EQ(report->compacted, sound().truth.size());
    expect_the_truth_or_a_word(*disk, false, 0);
  }
}

/// Each place that is tried of each file of the compaction logs, in turns clean and not, expired
/// and not.
void for_each_place(const std::function<void(ForgetfulDisk& disk, const std::string& path,
                                             std::uint64_t at, bool unclean)>& damage) {
  auto whole = copy(false);
  std::uint64_t tried = 0;
  for (const auto& [path, bytes] : files_below(whole->files(), "/store/compaction"))
    for (std::uint64_t at = tried % step(); at < bytes; at += step(), ++tried)
      for (const bool expired : {false, true}) {
        SCOPED_TRACE(::testing::Message() << path << " at " << at << (expired ? ", expired" : ""));
        const auto disk = copy(expired);
        ASSERT_NO_FATAL_FAILURE(damage(*disk, path, at, tried % 2 == 0));
        if (::testing::Test::HasFailure()) return;
      }
  std::printf("%d places\n", static_cast<int>(tried));
}

TEST(CompactionDamage, OfAnySingleByteIsHarmlessOrTold) {
  for_each_place([](ForgetfulDisk& disk, const std::string& path, std::uint64_t at, bool unclean) {
    ASSERT_TRUE(disk.flip_bit(path, at * 8 + at % 8));
    expect_the_truth_or_a_word(disk, unclean, 1);
  });
}

TEST(CompactionDamage, OfAFileCutAtAnyLengthIsHarmlessOrTold) {
  for_each_place([](ForgetfulDisk& disk, const std::string& path, std::uint64_t at, bool unclean) {
    auto file = disk.files().open(path, FileSystem::Open::kExisting);
    ASSERT_TRUE(file && (*file)->resize(at));
    file->reset();
    expect_the_truth_or_a_word(disk, unclean, kOfAFile);
  });
}

TEST(CompactionDamage, IsMendedAsFarAsThereIsSomethingToMendItFrom) {
  for_each_place([](ForgetfulDisk& disk, const std::string& path, std::uint64_t at, bool flip) {
    if (flip) {
      ASSERT_TRUE(disk.flip_bit(path, at * 8 + at % 8));
    } else {
      auto file = disk.files().open(path, FileSystem::Open::kExisting);
      ASSERT_TRUE(file && (*file)->resize(at));
    }
    const auto remedies = plan_repair(disk.files(), {.root = "/store"});
    ASSERT_TRUE(remedies) << remedies.error().detail;
    for (const Remedy& each : *remedies)
      if (each.apply) {
        ASSERT_TRUE(each.apply());
      }
    DiskEnv world;
    Env env{world.clock, disk.files(), world.network, world.workers, world.random, world.log};
    Compacted events;
    auto store = MessageStore::open(env, small(), events);
    ASSERT_TRUE(store) << store.error().detail;
    // Where record and entry do not agree on the queue offset, nobody knows which is right.
    const std::size_t lost = flip ? 1 : path.find("/compactionLog/") != path.npos ? kOfAFile : 0;
    EXPECT_GE(given_out(**store).size() + lost, sound().truth.size());
  });
}

TEST(CompactionDamage, OfAMissingFileIsHarmlessOrTold) {
  auto whole = copy(false);
  for (const auto& [path, bytes] : files_below(whole->files(), "/store/compaction"))
    for (const bool unclean : {false, true})
      for (const bool expired : {false, true}) {
        SCOPED_TRACE(::testing::Message() << path << " is gone" << (expired ? ", expired" : ""));
        auto disk = copy(expired);
        ASSERT_TRUE(disk->files().remove(path));
        expect_the_truth_or_a_word(*disk, unclean, kOfAFile);
      }
}

}  // namespace
}  // namespace apogee::crash
