#include <limits>

#include "fuzz/input.h"
#include "fuzz/law.h"
#include "protocol/message.h"
#include "store/inspect.h"
#include "store/message_store.h"
#include "testing/disk_env.h"
#include "testing/store_builder.h"

/// A small sound store, then damage as the input says, then opening it. Laws:
///   - nothing crashes or runs forever;
///   - the store opens or says why not;
///   - after an unclean exit with nothing the checkpoint vouches for, all of the log is read again,
///     and then every message served is whole, in its queue, in the order of its queue's offsets;
///   - the inspector looks at anything.
namespace {

using apogee::fuzz::Input;
using apogee::fuzz::require;

using namespace apogee;
using namespace apogee::store;
using apogee::testing::DiskEnv;
using apogee::testing::ForgetfulDisk;
using apogee::testing::StoreBuilder;

constexpr std::int64_t kNow = 1'700'000'000'000;

StoreConfig small() {
  StoreConfig config;
  config.root = "store";
  config.commit_log_file_bytes = 2'048;
  config.consume_queue_file_bytes = 200;
  config.index_slots = 5;
  config.index_units = 20;
  return config;
}

/// Made once; every input damages a copy.
const ForgetfulDisk& sound_store() {
  static const auto disk = [] {
    auto made = std::make_unique<ForgetfulDisk>();
    StoreBuilder builder{"store", 2'048, 200};
    for (int i = 0; i < 35; ++i) {
      const std::string key = "K" + std::to_string(i);
      builder.put({.queue_id = i % 2,
                   .body = std::string_view{"a body to be damaged, of some length"}.substr(i % 20),
                   .tags = i % 3 == 0 ? "A" : "",
                   .unique_key = key,
                   .store_timestamp = kNow + i});
    }
    builder.write(made->files());
    return made;
  }();
  return *disk;
}

const std::vector<std::string>& paths() {
  static const std::vector<std::string> all = [] {
    std::vector<std::string> found{"store/checkpoint"};
    auto disk = sound_store().clone();
    for (const char* directory :
         {"store/commitlog", "store/consumequeue/T/0", "store/consumequeue/T/1"}) {
      const auto entries = disk->files().list(directory);
      for (const auto& entry : *entries) found.push_back(std::string{directory} + "/" + entry.name);
    }
    return found;
  }();
  return all;
}

void damage_once(FileSystem& files, Input& input) {
  const std::string& path = paths()[input.next(static_cast<std::uint32_t>(paths().size()))];
  const std::uint32_t kind = input.next(7);
  auto file = files.open(path, FileSystem::Open::kExisting);
  if (!file) return;  // removed by an earlier blow
  const std::uint32_t at = input.next(2'048);
  std::array<std::byte, 64> bytes{};
  switch (kind) {
    case 0:
      (void)files.remove(path);
      return;
    case 1:
      (void)(*file)->resize(at);
      return;
    case 2:
      (void)files.rename(path, paths()[input.next(static_cast<std::uint32_t>(paths().size()))]);
      return;
    case 3:  // zeros
      (void)(*file)->write_at(at, Bytes{bytes}.first(1 + input.next(64)));
      return;
    case 4:  // a number at a field's place
      write_big<std::uint32_t>(bytes, 0, input.next(std::numeric_limits<std::uint32_t>::max()));
      (void)(*file)->write_at(at, Bytes{bytes}.first(4));
      return;
    case 5: {  // a piece of another place of the file
      auto got = (*file)->read_at(input.next(2'048), bytes);
      if (got) (void)(*file)->write_at(at, Bytes{bytes}.first(*got));
      return;
    }
    default:
      bytes[0] = static_cast<std::byte>(input.next(256));
      (void)(*file)->write_at(at, Bytes{bytes}.first(1));
  }
}

void check_served(MessageStore& store) {
  for (const QueueInfo& queue : store.queues()) {
    require(queue.min_offset >= 0 && queue.min_offset <= queue.max_offset);
    std::int64_t next = queue.min_offset;  // the least queue offset that may come
    for (std::int64_t offset = next; offset < queue.max_offset;) {
      const GetResult got =
          store.get({.topic = queue.topic, .queue_id = queue.queue_id, .offset = offset});
      // Nothing may be found there: no CRC covers a record's header, so that its queue offset may
      // leave a gap, and an exchanged queue file points to what the log has no more.
      require(got.next_offset > offset);
      offset = got.next_offset;
      for (const RecordBytes& each : got.records) {
        for (Bytes rest = each.bytes; !rest.empty();) {
          const auto check = protocol::check_record(rest, true);
          require(check.kind == protocol::RecordKind::kRecord);
          require(check.message.topic == queue.topic && check.message.queue_id == queue.queue_id);
          require(check.message.queue_offset >= next && check.message.queue_offset < offset);
          next = check.message.queue_offset + 1;
          rest = rest.subspan(static_cast<std::size_t>(check.size));
        }
      }
    }
  }
}

/// Without laws about what comes: only that it comes.
void look_around(MessageStore& store) {
  for (const QueueInfo& queue : store.queues()) {
    for (std::int64_t offset = queue.min_offset - 1; offset <= queue.max_offset; ++offset)
      (void)store.get({.topic = queue.topic, .queue_id = queue.queue_id, .offset = offset});
    (void)store.offset_by_time(queue.topic, queue.queue_id, kNow + 10, Boundary::kLower);
    (void)store.earliest_store_time(queue.topic, queue.queue_id);
  }
  (void)store.query_by_key("T", "K7", 32, 0, std::numeric_limits<std::int64_t>::max());
  (void)store.status();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input{std::as_bytes(std::span{data, size})};
  const auto disk = sound_store().clone();
  FileSystem& files = disk->files();
  const std::uint32_t mode = input.next(4);
  const bool unclean = mode != 0, read_all = mode >= 2;
  for (int blows = 0; blows < 8 && !input.rest.empty(); ++blows) damage_once(files, input);
  if (unclean) require(files.open("store/abort", FileSystem::Open::kCreate).has_value());
  if (read_all) (void)files.remove("store/checkpoint");

  if (auto inspection = Inspection::open(
          files, {.root = "store", .index_format = {.slot_count = 5, .unit_count = 20}})) {
    (void)inspection->summary();
    (void)inspection->check([](const Finding&) {});
  }
  DiskEnv world;
  StoreEvents events;
  Env env{world.clock, files, world.network, world.workers, world.random, world.log};
  auto opened = MessageStore::open(env, small(), events);
  if (!opened) {
    require(!opened.error().detail.empty());
    return 0;
  }
  if (read_all) check_served(**opened);
  look_around(**opened);
  return 0;
}
