#include <limits>

#include "fuzz/input.h"
#include "fuzz/law.h"
#include "protocol/message.h"
#include "store/inspect.h"
#include "store/message_store.h"
#include "store/segment.h"
#include "testing/disk_env.h"

/// A small sound store with a plain topic, one of batch queues and one whose entries lead into
/// consumequeue_ext, then damage as the input says, then opening it. Laws:
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

constexpr std::int64_t kNow = 1'700'000'000'000;

StoreConfig small() {
  StoreConfig config;
  config.root = "store";
  config.commit_log_file_bytes = 2'048;
  config.consume_queue_file_bytes = 200;
  config.batch_queue_file_bytes = 46 * 4;
  config.index_slots = 5;
  config.index_units = 20;
  return config;
}

struct Kinds final : StoreEvents {
  bool is_batch_topic(std::string_view topic) override { return topic == "B"; }
};

void append(MessageStore& store, std::string_view topic, std::int32_t queue, int number) {
  const bool batch = topic == "B";
  Buffer properties, record;
  protocol::append_property(properties, "UNIQ_KEY", "K" + std::to_string(number));
  if (number % 3 == 0) protocol::append_property(properties, "TAGS", "A");
  if (batch) protocol::append_property(properties, "INNER_NUM", std::to_string(1 + number % 4));
  static constexpr std::array<std::byte, 4> kHost{};
  const std::string_view body = "a body to be damaged, of some length";
  const std::int32_t flags =
      batch ? protocol::sys_flag::kInnerBatch | protocol::sys_flag::kNeedUnwrap : 0;
  require(protocol::encode_message(
              record, {.queue_id = queue,
                       .sys_flag = flags,
                       .born_host = kHost,
                       .store_host = kHost,
                       .body = as_bytes(body.substr(static_cast<std::size_t>(number % 20))),
                       .topic = topic,
                       .properties = properties})
              .has_value());
  Append append{
      .topic = topic, .queue_id = queue, .records = std::as_writable_bytes(std::span{record})};
  Append* all[] = {&append};
  store.append(all);
  require(append.status == PutStatus::kOk);
}

/// The tags of X stand in consumequeue_ext, as an older broker may have left them.
void lead_elsewhere(FileSystem& files) {
  auto file = files.open("store/consumequeue/X/0/" + segment_name(0), FileSystem::Open::kExisting);
  require(file.has_value());
  std::array<std::byte, 8> address{};
  for (std::uint64_t i = 0; i < 4; ++i) {
    write_big<std::int64_t>(
        address, 0, std::numeric_limits<std::int64_t>::min() + static_cast<std::int64_t>(i));
    require((*file)->write_at(i * 20 + 12, Bytes{address}).has_value());
  }
}

/// Made once; every input damages a copy.
const ForgetfulDisk& sound_store() {
  static const auto world = [] {
    auto made = std::make_unique<DiskEnv>();
    made->clock.advance(1s);
    Kinds events;
    auto store = MessageStore::open(*made->env, small(), events);
    require(store.has_value());
    (*store)->start();
    for (int i = 0; i < 35; ++i) append(**store, "T", i % 2, i);
    for (int i = 0; i < 10; ++i) append(**store, "B", 0, i);
    for (int i = 0; i < 4; ++i) append(**store, "X", 0, i);
    (*store)->stop();
    lead_elsewhere(made->env->files);
    return made;
  }();
  return world->disk;
}

const std::vector<std::string>& paths() {
  static const std::vector<std::string> all = [] {
    std::vector<std::string> found{"store/checkpoint"};
    auto disk = sound_store().clone();
    for (const char* directory :
         {"store/commitlog", "store/consumequeue/T/0", "store/consumequeue/T/1",
          "store/consumequeue/X/0", "store/batchconsumequeue/B/0", "store/index"}) {
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
      for (const Bytes each : got.records) {
        for (Bytes rest = each; !rest.empty();) {
          const auto check = protocol::check_record(rest, true);
          require(check.kind == protocol::RecordKind::kRecord);
          require(check.message.topic == queue.topic && check.message.queue_id == queue.queue_id);
          require(check.message.queue_offset < offset);
          // The batch that the first offset lies in comes whole.
          require(check.message.queue_offset >= next || queue.topic == "B");
          next = check.message.queue_offset + 1;
          rest = rest.subspan(static_cast<std::size_t>(check.size));
        }
      }
    }
  }
}

/// Without laws about what comes: only that it comes. At both ends of each queue, which a unit of a
/// batch queue that was struck may put billions of offsets apart.
void look_around(MessageStore& store) {
  constexpr std::int64_t kOffsets = 64;
  for (const QueueInfo& queue : store.queues()) {
    const auto ask = [&](std::int64_t from, std::int64_t to) {
      for (; from <= to; ++from)
        (void)store.get({.topic = queue.topic, .queue_id = queue.queue_id, .offset = from});
    };
    const std::int64_t before = queue.min_offset - 1, half = before + kOffsets;
    ask(before, std::min(half, queue.max_offset));
    ask(std::max(half + 1, queue.max_offset - kOffsets), queue.max_offset);
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
  Kinds events;
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
