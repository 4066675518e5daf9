#include <algorithm>

#include "store/message_store.h"

namespace apogee::store {

/// DefaultMessageStore.isTheBatchFull.
bool GetResult::is_full_for(std::int32_t messages, std::int32_t size, const GetRequest& request,
                            const StoreConfig& config, bool in_memory) const {
  if (message_count == 0) return false;
  const std::int64_t asked = std::clamp<std::int64_t>(request.max_bytes, 100, 128 << 20);
  const std::int64_t bytes =
      in_memory ? config.transfer_bytes_in_memory : config.transfer_bytes_on_disk;
  const std::int32_t count =
      in_memory ? config.transfer_count_in_memory : config.transfer_count_on_disk;
  return message_count + messages > std::min(request.max_messages, count) ||
         total_bytes + size > std::min(bytes, asked);
}

void GetResult::add(RecordBytes record, std::int32_t messages) {
  message_count += messages;
  total_bytes += static_cast<std::int64_t>(record.bytes.size());
  status = GetStatus::kFound;
  RecordBytes* const last = records.empty() ? nullptr : &records.back();
  if (last && last->owner == record.owner &&
      last->bytes.data() + last->bytes.size() == record.bytes.data())
    last->bytes = {last->bytes.data(), last->bytes.size() + record.bytes.size()};
  else
    records.push_back(std::move(record));
}

}  // namespace apogee::store
