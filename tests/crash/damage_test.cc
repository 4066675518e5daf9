#include "tests/crash/damage.h"

#include <map>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "protocol/message.h"
#include "store/inspect.h"
#include "store/message_store.h"
#include "store/segment.h"
#include "testing/disk_env.h"

/// Every byte of a small store flipped, and every file of it cut at every length: what comes out is
/// what was sent, or it does not come and somebody says so; and no more is missing than the damage
/// touched. APOGEE_DAMAGE=full tries them all, otherwise every 23rd.
namespace apogee::crash {
namespace {

using namespace apogee::store;
using apogee::testing::DiskEnv;
using apogee::testing::ForgetfulDisk;

constexpr std::int32_t kQueues = 2;
constexpr int kMessages = 30;

StoreConfig small() {
  StoreConfig config;
  config.root = "/store";
  config.commit_log_file_bytes = 4'096;
  config.consume_queue_file_bytes = 200;
  config.index_slots = 10;
  config.index_units = 100;
  return config;
}

std::string body_of(int number) {
  return "body " + std::to_string(number) + std::string(static_cast<std::size_t>(number), 'x');
}

const std::set<std::string>& all_sent() {
  static const auto all = [] {
    std::set<std::string> bodies;
    for (int i = 0; i < kMessages; ++i) bodies.insert(body_of(i));
    return bodies;
  }();
  return all;
}

/// A sound store, stopped cleanly. Its messages are a second apart.
std::unique_ptr<DiskEnv> make_sound(const StoreConfig& config) {
  auto world = std::make_unique<DiskEnv>();
  StoreEvents events;
  auto store = MessageStore::open(*world->env, config, events);
  EXPECT_TRUE(store) << store.error().detail;
  (*store)->start();
  static constexpr std::array<std::byte, 4> kHost{};
  for (int i = 0; i < kMessages; ++i) {
    Buffer properties, record;
    protocol::append_property(properties, "UNIQ_KEY", "K" + std::to_string(i));
    const std::string body = body_of(i);
    EXPECT_TRUE(protocol::encode_message(record, {.queue_id = i % kQueues,
                                                  .born_timestamp = 1,
                                                  .born_host = kHost,
                                                  .store_host = kHost,
                                                  .body = as_bytes(body),
                                                  .topic = "T",
                                                  .properties = properties}));
    Append append{.topic = "T",
                  .queue_id = i % kQueues,
                  .records = std::as_writable_bytes(std::span{record})};
    Append* batch[] = {&append};
    (*store)->append(batch);
    EXPECT_EQ(append.status, PutStatus::kOk);
    world->clock.advance(1s);
  }
  (*store)->stop();
  return world;
}

const DiskEnv& sound() {
  static const auto made = make_sound(small());
  return *made;
}

using Place = std::pair<std::int32_t, std::int64_t>;

/// Every message the store gives out, by queue.
std::map<Place, std::string> given_out(MessageStore& store) {
  std::map<Place, std::string> records;
  for (std::int32_t queue = 0; queue < kQueues; ++queue)
    for (std::int64_t at = 0; at < store.max_offset("T", queue);) {
      const GetResult got = store.get({.topic = "T", .queue_id = queue, .offset = at});
      if (got.next_offset <= at) break;
      for (const Bytes each : got.records)
        for (Bytes rest = each; !rest.empty();) {
          const auto size = static_cast<std::size_t>(read_big<std::int32_t>(rest));
          // Merged neighbours may be of one pull: each has its place.
          const auto message = protocol::decode_message(rest);
          EXPECT_TRUE(message);
          if (!message) return records;
          records[{queue, message->queue_offset}] = as_text(rest.first(size));
          rest = rest.subspan(size);
        }
      at = got.next_offset;
    }
  return records;
}

/// What the sound store gives out.
const std::map<Place, std::string>& truth() {
  static const auto all = [] {
    const auto disk = sound().disk.clone();
    DiskEnv world;
    Env env{world.clock, disk->files(), world.network, world.workers, world.random, world.log};
    StoreEvents events;
    auto store = MessageStore::open(env, small(), events);
    EXPECT_TRUE(store) << store.error().detail;
    return given_out(**store);
  }();
  return all;
}

/// Opens the store and reads everything by queue, by key and offline.
void expect_the_truth_or_a_word(ForgetfulDisk& disk, bool unclean,
                                std::size_t touched = kMessages) {
  DiskEnv world;
  Env env{world.clock, disk.files(), world.network, world.workers, world.random, world.log};
  if (unclean) {
    ASSERT_TRUE(disk.files().open("/store/abort", FileSystem::Open::kCreate));
  }
  std::uint64_t damages = 0;
  if (auto inspection = Inspection::open(
          disk.files(), {.root = "/store", .index_format = {.slot_count = 10, .unit_count = 100}}))
    if (auto report = inspection->check([](const Finding&) {})) damages = report->damages;
  StoreEvents events;
  auto store = MessageStore::open(env, small(), events);
  ASSERT_TRUE(store) << store.error().detail;
  std::size_t served = 0, misplaced = 0;
  for (std::int32_t queue = 0; queue < kQueues; ++queue) {
    const std::int64_t end = (*store)->max_offset("T", queue);
    for (std::int64_t at = std::max<std::int64_t>((*store)->min_offset("T", queue), 0); at < end;) {
      const GetResult got = (*store)->get({.topic = "T", .queue_id = queue, .offset = at});
      ASSERT_GT(got.next_offset, at);
      at = got.next_offset;
      for (const Bytes each : got.records)
        for (Bytes rest = each; !rest.empty();) {
          const auto found = protocol::check_record(rest, true);
          EXPECT_EQ(found.kind, protocol::RecordKind::kRecord) << "damage is served";
          if (found.kind != protocol::RecordKind::kRecord) break;
          const auto number =
              static_cast<int>(found.message.queue_offset * kQueues + found.message.queue_id);
          const std::string body{as_text(found.message.body)};
          EXPECT_TRUE(all_sent().contains(body)) << body;
          // No CRC covers a record's queue and offset: another place must be told, too.
          ++served;
          if (body != body_of(number))
            ++misplaced;
          else
            expect_unseen_damage_only(as_text(rest.first(static_cast<std::size_t>(found.size))),
                                      truth().at({queue, found.message.queue_offset}));
          rest = rest.subspan(static_cast<std::size_t>(found.size));
        }
    }
  }
  for (int i = 0; i < kMessages; i += 7)
    for (const RecordBytes& each :
         (*store)->query_by_key("T", "K" + std::to_string(i), 32, 0, std::int64_t{1} << 60))
      EXPECT_EQ(protocol::decode_message(each.bytes)->property("UNIQ_KEY"),
                "K" + std::to_string(i));
  EXPECT_LE(served, std::size_t{kMessages});
  // Of the newest millisecond nobody knows after an unclean exit whether it was on disk.
  EXPECT_GE(served + touched + (unclean ? 1 : 0), std::size_t{kMessages})
      << "more is missing than was damaged";
  if (served == kMessages && misplaced == 0) return;
  const bool told = !world.log.lines(LogLevel::kWarn).empty() || damages > 0;
  EXPECT_TRUE(told) << kMessages - served << " messages are missing and " << misplaced
                    << " in another's place, and nobody says so";
}

TEST(Damage, OfAnySingleByteIsHarmlessOrTold) {
  auto whole = sound().disk.clone();
  std::uint64_t tried = 0;
  for (const auto& [path, bytes] : files_below(whole->files(), "/store")) {
    for (std::uint64_t at = tried % step(); at < bytes; at += step(), ++tried) {
      SCOPED_TRACE(path + " byte " + std::to_string(at));
      auto disk = sound().disk.clone();
      ASSERT_TRUE(disk->flip_bit(path, at * 8 + at % 8));
      ASSERT_NO_THROW(expect_the_truth_or_a_word(*disk, tried % 2 == 0, 1));
      if (::testing::Test::HasFailure()) return;
    }
  }
  std::printf("%d bytes flipped, one at a time\n", static_cast<int>(tried));
}

TEST(Damage, OfAQueueOffsetHidesNoOtherMessage) {
  const std::string path = "/store/commitlog/" + segment_name(0);
  const auto log = read_file(sound().disk.clone()->files(), path);
  ASSERT_TRUE(log);
  for (Bytes rest = as_bytes(*log); !rest.empty();) {
    const auto record = protocol::check_record(rest, false);
    if (record.kind != protocol::RecordKind::kRecord) break;
    const std::size_t offset = log->size() - rest.size() + 20;
    for (std::uint64_t bit = 0; bit < 64; bit += bit < 8 ? 1 : 11) {
      const std::uint64_t at = (offset + 7 - bit / 8) * 8 + bit % 8;
      SCOPED_TRACE(::testing::Message() << "bit " << bit << " of the offset at " << offset);
      auto disk = sound().disk.clone();
      ASSERT_TRUE(disk->flip_bit(path, at));
      expect_the_truth_or_a_word(*disk, true, 1);
      if (::testing::Test::HasFailure()) return;
    }
    rest = rest.subspan(static_cast<std::size_t>(record.size));
  }
}

TEST(Damage, OfAFileCutAtAnyLengthIsHarmlessOrTold) {
  auto whole = sound().disk.clone();
  std::uint64_t tried = 0;
  for (const auto& [path, bytes] : files_below(whole->files(), "/store")) {
    for (std::uint64_t length = 0; length < bytes; length += step(), ++tried) {
      SCOPED_TRACE(path + " cut to " + std::to_string(length));
      auto disk = sound().disk.clone();
      auto file = disk->files().open(path, FileSystem::Open::kExisting);
      ASSERT_TRUE(file && (*file)->resize(length));
      file->reset();
      expect_the_truth_or_a_word(*disk, tried % 2 == 0);
      if (::testing::Test::HasFailure()) return;
    }
  }
  std::printf("%d cuts\n", static_cast<int>(tried));
}

// ---- Reading wrongly ---------------------------------------------------------------------------

/// Bits flip while the store is open and read, in memory or on the disk as well, in the log and in
/// the queues. `all_of_it`: not a bit of what is given out may differ.
void expect_nothing_wrong_given_out(const StoreConfig& config, bool all_of_it) {
  const auto world = make_sound(config);
  const auto paths = files_below(world->disk.files(), "/store");
  std::map<Place, std::string> truth;
  std::size_t missing = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937_64 random{seed};
    const auto disk = world->disk.clone();
    DiskEnv reader;
    Env env{reader.clock, disk->files(), reader.network, reader.workers, reader.random, reader.log};
    StoreEvents events;
    auto store = MessageStore::open(env, config, events);
    ASSERT_TRUE(store) << store.error().detail;
    if (truth.empty()) truth = given_out(**store);
    ASSERT_EQ(truth.size(), std::size_t{kMessages});
    for (std::uint64_t flips = 1 + random() % 8; flips-- > 0;) {
      auto file = paths.begin();
      std::advance(file, random() % paths.size());
      const std::uint64_t bit = random() % (file->second * 8);
      ASSERT_TRUE(random() % 2 == 0 ? disk->flip_bit(file->first, bit)
                                    : disk->misread_bit(file->first, bit));
    }
    if (random() % 2 == 0)
      disk->inject({.operation = ForgetfulDisk::Operation::kRead,
                    .after = random() % 4,
                    .times = 1,
                    .path_part = "/consumequeue/",
                    .flips = true});
    for (const auto& [place, record] : given_out(**store)) {
      const auto sent = truth.find(place);
      ASSERT_NE(sent, truth.end());
      if (all_of_it) {
        ASSERT_EQ(record, sent->second) << place.second;
      }
      const auto is = protocol::decode_message(as_bytes(record)),
                 was = protocol::decode_message(as_bytes(sent->second));
      ASSERT_EQ(as_text(is->body), as_text(was->body)) << place.second;
      ASSERT_EQ(is->topic, was->topic);
      ASSERT_EQ(is->queue_id, was->queue_id);
    }
    missing += truth.size() - given_out(**store).size();
  }
  EXPECT_GT(missing, 0U) << "no flip met a message: the test tests nothing";
}

TEST(Misread, NoBodyAndNoPlaceIsGivenOutWrong) {
  StoreConfig config = small();
  config.check_crc_on_read = CheckOnRead::kAll;
  expect_nothing_wrong_given_out(config, false);
}

TEST(Misread, NotABitIsGivenOutWrongWithTheCrcOfWholeRecords) {
  StoreConfig config = small();
  config.check_crc_on_read = CheckOnRead::kAll;
  config.append_record_crc = config.force_verify_record_crc = true;
  expect_nothing_wrong_given_out(config, true);
}

TEST(Damage, OfAMissingFileIsHarmlessOrTold) {
  auto whole = sound().disk.clone();
  for (const auto& [path, bytes] : files_below(whole->files(), "/store")) {
    for (const bool unclean : {false, true}) {
      SCOPED_TRACE(path + " is gone");
      auto disk = sound().disk.clone();
      ASSERT_TRUE(disk->files().remove(path));
      expect_the_truth_or_a_word(*disk, unclean);
    }
  }
}

}  // namespace
}  // namespace apogee::crash
