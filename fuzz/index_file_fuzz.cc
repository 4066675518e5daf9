#include <limits>

#include "fuzz/law.h"
#include "store/index.h"
#include "store/index_file.h"
#include "testing/disk_env.h"

/// The index opens any file of the right length, finds in it, goes on writing to it. Laws: nothing
/// crashes or runs forever, and what is put can be found.
namespace {

using apogee::fuzz::require;

using namespace apogee;
using namespace apogee::store;

constexpr IndexFormat kFormat{5, 20};
constexpr std::int64_t kNow = 1'700'000'000'000;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  apogee::testing::DiskEnv env;
  require(env.disk.files().create_directories("index").has_value());
  {
    auto file = env.disk.files().open("index/20200101000000000", FileSystem::Open::kCreate);
    require(file && (*file)->resize(kFormat.file_bytes()));
    const std::size_t length = std::min<std::size_t>(size, kFormat.file_bytes());
    require((*file)->write_at(0, std::as_bytes(std::span{data, length})).has_value());
  }
  Index index{
      *env.env,
      {.directory = "index", .slot_count = kFormat.slot_count, .unit_count = kFormat.unit_count}};
  const bool clean = size % 2 == 0;
  require(index.load(clean, kNow).has_value());
  constexpr auto kLeast = std::numeric_limits<std::int64_t>::min();
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  for (const char* key : {"a", "b", "c", "d"}) {
    const auto answer = index.query("T", key, 64, kLeast, kMost);
    require(answer.physical_offsets.size() <= 64);
  }
  index.log_ends_at(0);
  for (int i = 0; i < 45; ++i) {
    const std::string key(1, static_cast<char>('a' + i % 4));
    index.put(
        {.topic = "T", .unique_key = key, .physical_offset = 100 + i, .store_timestamp = kNow + i});
  }
  // The last two files at least are ours alone.
  for (const char* key : {"a", "b", "c", "d"})
    require(!index.query("T", key, 64, kNow, kNow + 1'000).physical_offsets.empty());
  index.remove_before(140);
  require(index.close().has_value());
  return 0;
}
