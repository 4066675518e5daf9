#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace apogee::protocol {

/// Names a message that waits for its time, so that it can be recalled (RecallMessageHandle). On
/// the wire: base64url of "v1 <topic> <broker> <time stamp> <message id>".
struct RecallHandle {
  std::string topic, broker_name;
  std::string timestamp;   ///< When it is due at the earliest, in ms.
  std::string message_id;  ///< Its unique key.
};
std::string encode_recall_handle(const RecallHandle& handle);
std::optional<RecallHandle> parse_recall_handle(std::string_view text);

}  // namespace apogee::protocol
