#include "fuzz/law.h"
#include "protocol/pop.h"
#include "protocol/recall_handle.h"

/// What clients hand back: receipt handles, recall handles, batches of acks; and what stands in the
/// revive topic. Laws: what is read is written as something that reads the same; nothing is
/// counted beyond what a check point can count.
namespace {

using apogee::fuzz::require;

using namespace apogee;
using namespace apogee::protocol;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text(std::as_bytes(std::span{data, size}));
  if (const auto handle = parse_handle(text)) {
    const auto again = parse_handle(to_text(*handle));
    require(again && *again == *handle);
    (void)visible_again(handle->pop_time, handle->invisible_ms);
  }
  // One that names nobody is no handle of ours: an empty last word is not written.
  if (const auto handle = parse_recall_handle(text); handle && !handle->message_id.empty()) {
    const auto again = parse_recall_handle(encode_recall_handle(*handle));
    require(again && again->topic == handle->topic && again->broker_name == handle->broker_name &&
            again->timestamp == handle->timestamp && again->message_id == handle->message_id);
  }
  if (const auto point = parse_check_point(text)) {
    require(point->count >= 0 && point->count <= kPopMessagesMax);
    for (std::int32_t i = 0; i < point->count; ++i) {
      const auto index = point->index_of(point->offset_of(i));
      require(index && point->offset_of(*index) == point->offset_of(i));
    }
    (void)point->due();
    (void)unique_key(*point);
    (void)merge_key(*point);
  }
  if (const auto ack = parse_ack(text)) {
    (void)unique_key(*ack);
    (void)merge_key(*ack);
  }
  if (const auto batch = parse_batch_ack(text)) {
    for (const BatchAckEntry& entry : batch->entries)
      require(entry.offsets.size() <= static_cast<std::size_t>(kPopMessagesMax));
  }
  (void)topic_of_kind(text, "group", text.substr(0, 1));
  (void)normal_topic(text, "group");
  return 0;
}
