#include "broker/consumer_offsets.h"
#include "broker/table_file.h"
#include "fuzz/law.h"
#include "protocol/bodies.h"
#include "testing/disk_env.h"

/// The broker's tables as a crash or somebody's editor may leave them: what is read is written as
/// something that reads the same, what cannot be read is refused by the name of its file, and the
/// backup is read instead when there is one.
namespace {

using apogee::fuzz::require;

using namespace apogee;
using namespace apogee::protocol;

constexpr const char* kPath = "/config/table.json";

void write(FileSystem& files, const std::string& path, std::string_view content) {
  auto file = files.open(path, FileSystem::Open::kCreate);
  require(file && (*file)->resize(content.size()) && (*file)->write_at(0, as_bytes(content)));
}

template <class Table>
void check(testing::DiskEnv& world) {
  const auto read = broker::load_table<Table>(*world.env, kPath);
  if (!read) {
    require(read.error().detail.find(kPath) != std::string::npos);
    return;
  }
  if (!*read) return;
  const Buffer once = encode_body(**read, JsonStyle::kPretty);
  const auto again = decode_body<Table>(once);
  require(again.has_value());
  require(encode_body(*again, JsonStyle::kPretty) == once);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  testing::DiskEnv world;
  FileSystem& files = world.disk.files();
  require(files.create_directories("/config").has_value());
  write(files, kPath, text);
  check<TopicConfigTable>(world);
  check<SubscriptionGroupTable>(world);
  check<ConsumerOffsetTable>(world);
  check<DelayOffsetTable>(world);
  broker::ConsumerOffsets offsets{*world.env, kPath};
  (void)offsets.load();
  write(files, std::string{kPath} + ".bak", "{}");
  require(broker::load_table<ConsumerOffsetTable>(*world.env, kPath).has_value());
  return 0;
}
