#include "client/validation.h"

#include <algorithm>
#include <array>

#include "protocol/codes.h"
#include "protocol/names.h"

namespace apogee::client {
namespace {

Error invalid(std::string detail, int code = 0) {
  return Error{Errc::kInvalidArgument, std::move(detail), code};
}

constexpr int kMessageIllegal = protocol::response_code::kMessageIllegal;

constexpr const char* kAllowed = "^[%|a-zA-Z0-9_-]+$";

bool is_blank(const std::string& text) {
  return text.find_first_not_of(" \t\r\n") == std::string::npos;
}

/// MessageConst.STRING_HASH_SET, sorted.
constexpr auto kReserved = std::to_array<std::string_view>({
    "1ST_POP_TIME",
    "BORN_TIMESTAMP",
    "BUYER_ID",
    "CLUSTER",
    "CONSUME_START_TIME",
    "CORRELATION_ID",
    "DELAY",
    "DLQ_ORIGIN_MESSAGE_ID",
    "DLQ_ORIGIN_TOPIC",
    "DUP_INFO",
    "EXTEND_UNIQ_INFO",
    "INNER_BASE",
    "INNER_NUM",
    "INSTANCE_ID",
    "KEYS",
    "MAX_OFFSET",
    "MAX_RECONSUME_TIMES",
    "MIN_OFFSET",
    "MSG_REGION",
    "MSG_TYPE",
    "ORIGIN_MESSAGE_ID",
    "PGROUP",
    "POP_CK",
    "POP_CK_OFFSET",
    "REAL_QID",
    "REAL_TOPIC",
    "RECONSUME_TIME",
    "REPLY_TO_CLIENT",
    "RETRY_TOPIC",
    "TAGS",
    "TIMER_DELAY_LEVEL",
    "TIMER_DELAY_MS",
    "TIMER_DELAY_SEC",
    "TIMER_DELIVER_MS",
    "TIMER_DEL_UNIQKEY",
    "TIMER_DEQUEUE_MS",
    "TIMER_ENQUEUE_MS",
    "TIMER_OUT_MS",
    "TIMER_ROLL_TIMES",
    "TRACE_CONTEXT",
    "TRACE_ON",
    "TRANSACTION_CHECK_TIMES",
    "TRAN_MSG",
    "TRAN_PREPARED_QUEUE_OFFSET",
    "TTL",
    "UNIQ_KEY",
    "WAIT",
    "__BORNHOST",
    "__CRC32#",
});

Result<Ok> check_properties(const Message& message) {
  constexpr std::string_view kSeparators{"\x01\x02", 2};
  const auto broken = [&](std::string_view text) {
    return text.find_first_of(kSeparators) != std::string_view::npos;
  };
  for (const auto& [name, value] : message.properties) {
    if (name.empty() || value.empty())
      return invalid("The name or value of property can not be null or blank string!");
    if (is_reserved_property(name))
      return invalid("The Property<" + name + "> is used by system, input another please");
    if (name == "INNER_MULTI_DISPATCH" && value.find('/') != std::string::npos)
      return invalid("INNER_MULTI_DISPATCH " + value + " can not contains / character",
                     kMessageIllegal);
    if (broken(name) || broken(value))
      return invalid("the property " + name + " holds a byte 1 or 2, which separates properties");
  }
  if (broken(message.tag)) return invalid("the tag holds a byte 1 or 2");
  for (const std::string& key : message.keys)
    if (key.empty() || broken(key) || key.find(' ') != std::string::npos)
      return invalid("a key may not be empty nor hold blanks: '" + key + "'");
  return Ok{};
}

}  // namespace

bool is_reserved_property(std::string_view name) {
  return std::ranges::binary_search(kReserved, name);
}

Result<Ok> check_group(const std::string& group) {
  if (is_blank(group)) return invalid("the specified group is blank");
  if (group == "DEFAULT_PRODUCER" || group == "DEFAULT_CONSUMER")
    return invalid((group == "DEFAULT_PRODUCER" ? "producerGroup" : "consumerGroup") +
                   std::string{" can not equal "} + group + ", please specify another one.");
  if (group.size() > protocol::kGroupLengthMax)
    return invalid("the specified group[" + group + "] is longer than group max length: " +
                   std::to_string(protocol::kGroupLengthMax) + ".");
  if (!protocol::check_group(group))
    return invalid("the specified group[" + group +
                   "] contains illegal characters, allowing only " + kAllowed);
  return Ok{};
}

Result<Ok> check_send_topic(const std::string& topic) {
  const bool too_long = topic.size() > protocol::kTopicLengthMax;
  if (too_long || !protocol::check_topic(topic)) {
    if (is_blank(topic)) return invalid("The specified topic is blank");
    if (too_long)
      return invalid("The specified topic is longer than topic max length " +
                     std::to_string(protocol::kTopicLengthMax) + ".");
    return invalid("The specified topic[" + topic +
                   "] contains illegal characters, allowing only " + kAllowed);
  }
  if (protocol::is_forbidden_to_send(topic))
    return invalid("Sending message to topic[" + topic + "] is forbidden.");
  return Ok{};
}

Result<Ok> check_size(std::size_t bytes, std::size_t max_bytes) {
  if (bytes <= max_bytes) return Ok{};
  return invalid("the message body size over max value, MAX: " + std::to_string(max_bytes),
                 kMessageIllegal);
}

Result<Ok> check_message(const Message& message, std::size_t max_bytes) {
  if (auto checked = check_send_topic(message.topic); !checked) return checked;
  if (message.body.empty()) return invalid("the message body length is zero", kMessageIllegal);
  if (auto checked = check_size(message.body.size(), max_bytes); !checked) return checked;
  if (message.deliver.kind != Delivery::Kind::kNow && message.deliver.value < 0)
    return invalid("a delivery in the past of all times: " + std::to_string(message.deliver.value));
  return check_properties(message);
}

Result<Ok> check_batch(std::span<const Message> batch, std::size_t max_bytes) {
  if (batch.empty()) return invalid("a batch without messages");
  for (const Message& each : batch) {
    if (auto checked = check_message(each, max_bytes); !checked) return checked;
    if (each.deliver.kind != Delivery::Kind::kNow)
      return invalid("TimeDelayLevel is not supported for batching");
    if (protocol::is_retry_topic(each.topic))
      return invalid("Retry Group is not supported for batching");
    if (each.topic != batch.front().topic)
      return invalid("The topic of the messages in one batch should be the same");
    if (each.wait_store != batch.front().wait_store)
      return invalid("The waitStoreMsgOK of the messages in one batch should the same");
  }
  return Ok{};
}

}  // namespace apogee::client
