#include "fuzz/law.h"
#include "protocol/pop.h"

/// Receipt handles, check points and acks as clients and the revive topic may hold them. Law: what
/// is taken is written as something that is taken for the same; no number leads out of bounds.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using apogee::fuzz::require;
  using namespace apogee::protocol;
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  if (const auto handle = parse_handle(text)) {
    const auto again = parse_handle(to_text(*handle));
    require(again.has_value() && *again == *handle);
    (void)visible_again(handle->pop_time, handle->invisible_ms);
  }
  if (const auto point = parse_check_point(text)) {
    const auto again = parse_check_point(encode_body(*point));
    require(again.has_value() && *again == *point);
    for (std::int32_t index = -1; index <= point->count && index < 64; ++index)
      (void)point->offset_of(index);
    (void)point->index_of(point->start_offset);
    (void)point->due();
    (void)merge_key(*point);
    (void)unique_key(*point);
  }
  if (const auto ack = parse_ack(text)) {
    const auto again = parse_ack(encode_body(*ack));
    require(again.has_value() && *again == *ack);
    (void)merge_key(*ack);
    (void)unique_key(*ack);
  }
  if (const auto batch = parse_batch_ack(text))
    for (const BatchAckEntry& each : batch->entries)
      require(each.offsets.size() <= static_cast<std::size_t>(kPopMessagesMax));
  return 0;
}
