#include "broker/timer_messages.h"
#include "fuzz/input.h"
#include "fuzz/law.h"
#include "protocol/names.h"
#include "testing/disk_env.h"
#include "testing/memory_store.h"

/// The timer's files, damaged as the input says, and a timer that starts on them. Laws: it starts
/// or says why not; no message comes before its time; nothing comes that nobody sent.
namespace {

using apogee::fuzz::Input;
using apogee::fuzz::require;

using namespace apogee;
using namespace apogee::broker;

constexpr std::string_view kLog = "/store/timerlog/", kWheel = "/store/timerwheel",
                           kCheckPoint = "/store/config/timercheck",
                           kMetrics = "/store/config/timermetrics";
constexpr int kMessages = 30;

/// A timer topic with messages, always the same.
struct World {
  testing::DiskEnv outside;
  testing::MemoryStore store{outside.clock};

  World() {
    store.mutable_config().timer_log_file_bytes = 1'024;
    store.mutable_config().timer_roll_window_slots = 40;
    for (int i = 0; i < kMessages; ++i) {
      const std::int64_t due = (outside.clock.wall_ms() / 1'000 + 2 + i * 7 % 50) * 1'000;
      std::vector<std::pair<std::string, std::string>> properties{
          {"TIMER_OUT_MS", std::to_string(due)}, {"REAL_TOPIC", "t"}, {"REAL_QID", "0"}};
      if (i % 9 == 8) properties.emplace_back("TIMER_DEL_UNIQKEY", "K" + std::to_string(i - 1));
      store.put({.topic = protocol::kTimerTopic,
                 .body = "body",
                 .unique_key = "K" + std::to_string(i),
                 .properties = properties});
    }
  }
};

/// With the files of a timer that took in those messages and is gone; every input damages a copy.
const testing::ForgetfulDisk& sound_files() {
  static const auto world = [] {
    auto made = std::make_unique<World>();
    Env& env = *made->outside.env;
    require(env.files.create_directories("/store/config").has_value());
    TimerMessages timer{env, made->store, "/store"};
    require(timer.load().has_value());
    timer.run();
    timer.flush([] {});
    return made;
  }();
  return world->outside.disk;
}

std::string log_file(Input& input) {
  return std::string{kLog} + store::segment_name(1'024 * input.next(3));
}

void damage_once(FileSystem& files, Input& input) {
  const std::uint32_t which = input.next(8), how = input.next(8);
  const std::string path = which < 4   ? log_file(input)
                           : which < 6 ? std::string{kWheel}
                           : which < 7 ? std::string{kCheckPoint}
                                       : std::string{kMetrics};
  if (how == 0) {
    (void)files.remove(path);
    return;
  }
  auto file = files.open(path, FileSystem::Open::kCreate);
  if (!file) return;
  if (how == 1) {
    (void)(*file)->resize(input.next(1'100));
    return;
  }
  if (path == kMetrics) {
    (void)(*file)->write_at(input.next(64), input.take(64));
    return;
  }
  // A field of a unit, a slot near the time of the messages, or of the check point.
  static constexpr std::array<std::uint64_t, 8> kUnit{0, 4, 12, 16, 24, 28, 36, 40};
  static constexpr std::array<std::uint64_t, 5> kSlot{0, 8, 16, 24, 28};
  std::uint64_t at = 0;
  if (path == kWheel) {
    const std::uint64_t second = 1'700'000'000 - 10 + input.next(128);
    at = second % store::TimerWheel::kSlots * store::TimerWheel::kSlotBytes +
         kSlot[input.next(kSlot.size())];
  } else if (path == kCheckPoint) {
    at = 8 * input.next(7);
  } else {
    at = store::TimerLog::kUnitBytes * input.next(20) + kUnit[input.next(kUnit.size())];
  }
  const bool wide = how % 2 == 0;
  std::array<std::byte, 8> bytes{};
  const std::int64_t value = how < 5 ? input.next(4'096) : input.number();
  if (wide)
    write_big<std::int64_t>(bytes, 0, value);
  else
    write_big<std::int32_t>(bytes, 0, static_cast<std::int32_t>(value));
  (void)(*file)->write_at(at, Bytes{bytes}.first(wide ? 8 : 4));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input{std::as_bytes(std::span{data, size})};
  World world;
  const auto disk = sound_files().clone();
  for (int blows = 0; blows < 8 && !input.rest.empty(); ++blows) damage_once(disk->files(), input);
  testing::DiskEnv& outside = world.outside;
  Env env{outside.clock,   disk->files(),  outside.network,
          outside.workers, outside.random, outside.log};
  TimerMessages timer{env, world.store, "/store"};
  if (const auto loaded = timer.load(); !loaded) {
    require(!loaded.error().detail.empty());
    return 0;
  }
  std::int64_t seen = 0;
  for (const auto step : {1s, 20s, 40s, 100s}) {
    outside.clock.advance(step);
    timer.run();
    (void)timer.snapshot();
    for (; seen < world.store.max_offset("t", 0); ++seen) {
      const auto record = world.store.record_at("t", 0, seen);
      const auto message = protocol::decode_message(record.bytes);
      require(message && message->body.size() == 4);
      const std::string out{message->property("TIMER_OUT_MS").value_or("")};
      require(std::stoll(out) < outside.clock.wall_ms());
    }
    timer.flush([] {});
  }
  return 0;
}
