#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apogee/export.h"

/// Messages as programs send and receive them. Plain values: copy, move and keep them as you like.
namespace apogee {

/// One queue of a topic on one broker.
struct MessageQueue {
  std::string topic;
  std::string broker;  ///< Broker name, not its address.
  std::int32_t queue_id = 0;
  /// By topic, broker and queue id: the order all clients of a group divide queues in.
  auto operator<=>(const MessageQueue&) const = default;
};
APOGEE_API std::string to_string(const MessageQueue& queue);  ///< "topic/broker/0".

/// When a message is to be delivered. Made by after(), at() and level(); default: at once.
struct Delivery {
  enum class Kind { kNow, kLevel, kAfter, kAt } kind = Kind::kNow;
  std::int64_t value = 0;  ///< Level; milliseconds; Unix time in milliseconds.
};
/// Once `delay` has passed on the broker's clock. Needs a broker of version 5 (timer messages).
inline Delivery after(std::chrono::milliseconds delay) {
  return {Delivery::Kind::kAfter, delay.count()};
}
/// At a point in time by the broker's clock. Needs a broker of version 5.
inline Delivery at(std::chrono::system_clock::time_point when) {
  return {Delivery::Kind::kAt,
          std::chrono::duration_cast<std::chrono::milliseconds>(when.time_since_epoch()).count()};
}
/// By one of the broker's delay levels: 1 = 1 s, 2 = 5 s, 3 = 10 s ... 18 = 2 h unless its
/// messageDelayLevel says otherwise. Any broker.
inline Delivery level(int delay_level) {
  return {Delivery::Kind::kLevel, delay_level};
}

/// A message to be sent.
struct Message {
  std::string topic;              ///< 1..127 characters of letters, digits, %, |, _ and -.
  std::string body;               ///< 1 byte .. ProducerConfig::max_message_bytes; any bytes.
  std::string tag;                ///< What subscriptions by tag choose by; at most one.
  std::vector<std::string> keys;  ///< What the message can be found by; no blanks inside a key.
  std::map<std::string, std::string> properties;  ///< The application's; names of RocketMQ's own
                                                  ///< are refused.
  Delivery deliver;
  std::int32_t flag = 0;  ///< Passed through; RocketMQ gives it no meaning.
  bool wait_store =
      true;  ///< false: a broker with SYNC_FLUSH answers without waiting for the disk.
};

/// How safely a message was stored. All but kOk: it is stored, but not (yet) as the broker is
/// configured to.
enum class SendStatus { kOk, kFlushDiskTimeout, kFlushReplicaTimeout, kReplicaNotAvailable };
APOGEE_API const char* name_of(SendStatus status);

/// What the broker says of a message it has stored.
struct SendReceipt {
  SendStatus status = SendStatus::kOk;
  std::string message_id;         ///< Unique id, made by the client. Of a batch: all, with commas.
  std::string offset_message_id;  ///< Where it lies: broker address and log offset.
  MessageQueue queue;
  std::int64_t queue_offset = 0;  ///< Of a batch: of its first message.
  std::string transaction_id;     ///< Transactions only.
  std::string recall_handle;      ///< Timer messages only: for Producer::recall().
  std::string region;
  bool trace_on = true;  ///< false: the broker wants no trace of it.
};

/// A message that was received. Owns its bytes.
struct ReceivedMessage {
  std::string topic, body, tag;
  std::vector<std::string> keys;
  std::map<std::string, std::string> properties;  ///< All of them, RocketMQ's own too.
  std::string message_id;  ///< The unique id if the sender gave one, else the offset id.
  std::string offset_message_id;
  MessageQueue queue;
  std::int64_t queue_offset = 0;
  std::int64_t commit_log_offset = 0;
  std::int32_t reconsume_times = 0;  ///< How often it was delivered before without success.
  std::int32_t flag = 0;
  std::int32_t sys_flag = 0;
  std::int32_t stored_bytes = 0;
  std::chrono::system_clock::time_point born{}, stored{};
  std::string born_host, store_host;  ///< "address:port".

  std::optional<std::string_view> property(std::string_view name) const {
    const auto found = properties.find(std::string{name});
    if (found == properties.end()) return std::nullopt;
    return found->second;
  }
};

}  // namespace apogee
