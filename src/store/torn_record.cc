#include "store/torn_record.h"

#include <algorithm>

namespace apogee::store {
namespace {

/// Is part of [from, to) in some sector of the file all zeros?
bool misses_sector(Bytes file, std::size_t from, std::size_t to) {
  constexpr std::size_t kSector = 512;  // the least a disk writes at once
  while (from < to) {
    const std::size_t end = std::min(to, (from / kSector + 1) * kSector);
    if (std::ranges::all_of(file.subspan(from, end - from),
                            [](std::byte each) { return each == std::byte{0}; }))
      return true;
    from = end;
  }
  return false;
}

}  // namespace

bool is_torn(Bytes file, std::size_t record_at, const protocol::Message& message) {
  const std::size_t end = record_at + static_cast<std::size_t>(message.size);
  const std::size_t properties_at = end - message.properties.size();
  const std::size_t topic_end = properties_at - 2;  // the length of the properties is between them
  return misses_sector(file, topic_end - message.topic.size(), topic_end) ||
         misses_sector(file, properties_at, end);
}

}  // namespace apogee::store
