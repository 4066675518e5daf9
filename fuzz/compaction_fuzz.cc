#include <limits>

#include "fuzz/input.h"
#include "fuzz/law.h"
#include "protocol/message.h"
#include "store/compaction_log.h"
#include "store/message_store.h"
#include "testing/disk_env.h"

/// The files of a compaction log, damaged as the input says, opened, read, compacted and read
/// again. Laws: it opens or says why not; what it gives out is whole, its own and in order; what it
/// opened once it opens again.
namespace {

using apogee::fuzz::Input;
using apogee::fuzz::require;

using namespace apogee;
using namespace apogee::store;

StoreConfig small() {
  StoreConfig config;
  config.root = "store";
  config.compaction_queue_file_bytes = 46 * 7;
  config.compaction_log_file_bytes = 46 * 7 * 5;
  return config;
}

CompactionPlace place() {
  return CompactionPlace::of("store", small()).inside("C").inside("0");
}

struct Compacted final : StoreEvents {
  bool is_compaction_topic(std::string_view) override { return true; }
};

void append(MessageStore& store, int number) {
  Buffer properties, record;
  protocol::append_property(properties, "KEYS", std::to_string(number % 4));
  static constexpr std::array<std::byte, 4> kHost{};
  const std::string_view body = "a body to be damaged, of some length";
  require(protocol::encode_message(
              record, {.born_host = kHost,
                       .store_host = kHost,
                       .body = number % 7 == 0
                                   ? Bytes{}
                                   : as_bytes(body.substr(static_cast<std::size_t>(number % 20))),
                       .topic = "C",
                       .properties = properties})
              .has_value());
  Append append{.topic = "C", .records = std::as_writable_bytes(std::span{record})};
  Append* all[] = {&append};
  store.append(all);
  require(append.status == PutStatus::kOk);
}

/// Made once; every input damages a copy.
const apogee::testing::ForgetfulDisk& sound_files() {
  static const auto world = [] {
    auto made = std::make_unique<apogee::testing::DiskEnv>();
    made->clock.advance(1s);
    Compacted events;
    auto store = MessageStore::open(*made->env, small(), events);
    require(store.has_value());
    (*store)->start();
    for (int i = 0; i < 20; ++i) append(**store, i);
    (*store)->stop();
    return made;
  }();
  return world->disk;
}

std::string path(Input& input) {
  const std::int64_t base = static_cast<std::int64_t>(place().log_bytes) * input.next(4);
  const CompactionPlace where = input.next(4) == 0 ? place().inside("compacting") : place();
  std::string path = input.next(2) == 0 ? where.log_path(base) : where.queue_path(base);
  if (input.next(8) == 0) path += ".delete";
  return path;
}

void damage_once(FileSystem& files, Input& input) {
  const std::string from = path(input);
  const std::uint32_t kind = input.next(6);
  if (kind == 0) return (void)files.remove(from);
  if (kind == 1) {
    const std::string to = path(input);
    (void)files.create_directories(to.substr(0, to.rfind('/')));
    return (void)files.rename(from, to);
  }
  auto file = files.open(from, FileSystem::Open::kExisting);
  if (!file) return;
  const std::uint32_t at = input.next(2'000);
  std::array<std::byte, 64> bytes{};
  if (kind == 2) return (void)(*file)->resize(at);
  if (kind == 3) return (void)(*file)->write_at(at, Bytes{bytes}.first(1 + input.next(64)));
  if (kind == 4) {
    write_big<std::uint32_t>(bytes, 0, input.next(std::numeric_limits<std::uint32_t>::max()));
    return (void)(*file)->write_at(at, Bytes{bytes}.first(4));
  }
  (void)(*file)->write_at(at, as_bytes(input.take(16)));
}

void read_all(const CompactionLog& log) {
  std::int64_t offset = 0, last = -1;
  for (int pulls = 0;; ++pulls) {
    require(pulls < 100);
    const GetResult got = log.get({.topic = "C", .offset = offset, .max_messages = 3}, small(), 0);
    for (const Bytes each : got.records) {
      for (Bytes rest = each; !rest.empty();) {
        const auto check = protocol::check_record(rest, true);
        require(check.kind == protocol::RecordKind::kRecord);
        require(check.message.topic == "C" && check.message.queue_offset > last);
        last = check.message.queue_offset;
        rest = rest.subspan(static_cast<std::size_t>(check.size));
      }
    }
    if (got.status != GetStatus::kFound && got.status != GetStatus::kNoMatchedMessage) return;
    require(got.next_offset > offset);
    offset = got.next_offset;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input{std::as_bytes(std::span{data, size})};
  const auto disk = sound_files().clone();
  apogee::testing::DiskEnv outside;
  Env env{outside.clock,   disk->files(),  outside.network,
          outside.workers, outside.random, outside.log};
  const bool clean = input.next(2) == 0;
  const std::int64_t done_until = static_cast<std::int64_t>(input.next(24)) - 2;
  for (std::uint32_t blows = 1 + input.next(4); blows > 0; --blows)
    damage_once(disk->files(), input);
  Damages damages{env.log};
  const CompactionLog::Truth truth{.clean = clean,
                                   .queue_min = input.next(20),
                                   .queue_max = 1 + input.next(24),
                                   .last_timestamp = 0};
  {
    CompactionLog log{env, damages, place(), "C", 0};
    if (auto opened = log.load(truth); !opened) {
      require(!opened.error().detail.empty());
      return 0;
    }
    read_all(log);
    (void)log.compact(done_until, 1'000, [](std::int64_t) { return true; });
    read_all(log);
    require(log.sync().has_value());
  }
  CompactionLog again{env, damages, place(), "C", 0};
  require(again.load({.clean = true, .queue_min = 0, .queue_max = 100, .last_timestamp = 0})
              .has_value());
  read_all(again);
  return 0;
}
