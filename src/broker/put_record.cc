#include "broker/put_record.h"

#include "broker/sending.h"

namespace apogee::broker {

RecordPut::operator bool() const {
  return is_stored(status);
}

store::Append append_of(std::string_view topic, std::int32_t queue_id, Buffer& record) {
  return {.topic = topic,
          .queue_id = queue_id,
          .records = std::as_writable_bytes(std::span{record.data(), record.size()}),
          .accepted = true};
}

RecordPut put_record(store::MessageStore& store, std::string_view topic, std::int32_t queue_id,
                     Buffer& record) {
  store::Append append = append_of(topic, queue_id, record);
  store::Append* batch[] = {&append};
  store.append(batch);
  return {.status = append.status,
          .physical_offset = append.physical_offset,
          .queue_offset = append.queue_offset,
          .size = static_cast<std::int64_t>(record.size())};
}

RecordPut put_record(store::MessageStore& store, const protocol::Message& message) {
  Buffer record;
  if (!protocol::encode_message(record, message))
    return {.status = store::PutStatus::kMessageIllegal};
  return put_record(store, message.topic, message.queue_id, record);
}

}  // namespace apogee::broker
