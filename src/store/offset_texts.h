#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "apogee/result.h"
#include "protocol/message.h"
#include "store/consume_queue.h"
#include "store/message_store.h"

/// Properties that tell a record's queue offsets: INNER_BASE of an inner batch and
/// INNER_MULTI_QUEUE_OFFSET of a message that goes into LMQs as well. Offsets are given out under
/// the append lock, so the record is written before with zeros where they belong, as many as any
/// offset has digits, and the numbers are filled in there.
namespace apogee::store {

/// One number inside a record.
struct OffsetText {
  static constexpr std::size_t kDigits = 19;
  std::size_t at;
  std::shared_ptr<ConsumeQueue> lmq;  ///< Its next offset is given out; nullptr: the record's own.
};
/// Append lock. Writes the number that a record gets there and advances the LMQ.
void fill_in(const OffsetText& text, MutableBytes record, std::int64_t own_offset);

/// A message for one LMQ besides its topic's queue.
struct LmqPlace {
  std::string_view name;
  std::int64_t offset;
};
/// May messages of this topic name LMQs? Those that are on their way to another topic do so there.
bool may_name_lmqs(std::string_view topic);
/// Can a message with these properties be in the LMQs they name? Asked of one that waits elsewhere
/// first, while it can still be refused. kInvalidArgument: a name is wrong, or there is no room.
Result<Ok> check_lmqs(std::string_view properties);
/// Where the record stands in LMQs; empty: nowhere, or what it says is not understood.
std::vector<LmqPlace> lmq_places(const protocol::Message& message);

/// The record of `append` with room for its offsets, in `record`; untouched when it names none.
/// kInvalidArgument: it claims what cannot be.
struct OffsetRoom {
  std::vector<std::size_t> own, lmq;  ///< Positions of the numbers.
  std::vector<std::string> lmq_names;
  std::int32_t messages = 1;  ///< Of an inner batch.
};
Result<OffsetRoom> make_room(Bytes original, bool lmq, Buffer& record);

}  // namespace apogee::store
