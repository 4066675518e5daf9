#pragma once

#include <cstdint>
#include <string_view>

#include "protocol/message.h"
#include "store/message_store.h"

/// Records the broker stores by itself: check points, ends of transactions, messages that come
/// again.
///
/// Threads: any that may append. Nothing is kept.
namespace apogee::broker {

/// An append of one encoded record, which nobody waits for any more who could be told that it is
/// one too many; `topic` and `record` outlive it.
store::Append append_of(std::string_view topic, std::int32_t queue_id, Buffer& record);

/// How the append of one record went.
struct RecordPut {
  store::PutStatus status = store::PutStatus::kUnknownError;
  std::int64_t physical_offset = -1, queue_offset = -1;
  std::int64_t size = 0;
  explicit operator bool() const;  ///< The record is in the log, whatever else is not.
  std::int64_t end() const { return physical_offset + size; }
};
RecordPut put_record(store::MessageStore& store, std::string_view topic, std::int32_t queue_id,
                     Buffer& record);
/// Encodes it first; kMessageIllegal: it cannot be.
RecordPut put_record(store::MessageStore& store, const protocol::Message& message);

}  // namespace apogee::broker
