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

std::shared_ptr<const void> GetResult::take_owners() {
  if (owners.size() == 1) return std::move(owners.front());
  return std::make_shared<const std::vector<std::shared_ptr<const void>>>(std::move(owners));
}

/// The count of an owner is other readers', too: touched for each record it would be most of the
/// cost of a pull.
void GetResult::add(Bytes record, const std::shared_ptr<const void>& owner, std::int32_t messages) {
  message_count += messages;
  total_bytes += static_cast<std::int64_t>(record.size());
  status = GetStatus::kFound;
  if (owners.empty() || owners.back() != owner) owners.push_back(owner);
  Bytes* const last = records.empty() ? nullptr : &records.back();
  if (last && last->data() + last->size() == record.data())
    *last = {last->data(), last->size() + record.size()};
  else
    records.push_back(record);
}

}  // namespace apogee::store
