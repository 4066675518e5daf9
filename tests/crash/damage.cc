#include "tests/crash/damage.h"

#include <cstdlib>

#include <gtest/gtest.h>

#include "protocol/message.h"

namespace apogee::crash {
namespace {

bool is_unseen(std::string_view record, std::size_t at) {
  const auto message = protocol::decode_message(as_bytes(record));
  const bool flag = at >= 16 && at < 20;
  const bool from_system_flag_to_prepared_offset = at >= 36 && at < 84;
  return flag || from_system_flag_to_prepared_offset ||
         at >= record.size() - message->properties.size();
}

}  // namespace

void expect_unseen_damage_only(std::string_view is, std::string_view was) {
  ASSERT_EQ(is.size(), was.size());
  for (std::size_t at = 0; at < is.size(); ++at)
    if (is[at] != was[at]) {
      EXPECT_TRUE(is_unseen(was, at)) << "served as good: byte " << at << " of a record";
    }
}

std::map<std::string, std::uint64_t> files_below(FileSystem& files, const std::string& directory) {
  std::map<std::string, std::uint64_t> found;
  const auto entries = files.list(directory);
  for (const DirectoryEntry& entry : *entries) {
    const std::string path = directory + "/" + entry.name;
    if (entry.is_directory)
      found.merge(files_below(files, path));
    else if (entry.size > 0 && entry.name != "lock")
      found[path] = entry.size;
  }
  return found;
}

std::uint64_t step() {
  const char* const wanted = std::getenv("APOGEE_DAMAGE");
  return wanted && std::string_view{wanted} == "full" ? 1 : 23;
}

}  // namespace apogee::crash
