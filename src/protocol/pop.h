#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/codes.h"
#include "protocol/headers.h"
#include "protocol/json.h"

/// What POP consumption puts on the wire and into the revive topic: its headers, the text fields of
/// its answer, receipt handles (ExtraInfoUtil), check points and acks (PopCheckPoint, AckMsg,
/// BatchAckMsg). Pure functions over text; decoders check everything.
namespace apogee::protocol {

/// The revive queue a handle names when the pop was orderly: there is no such queue.
inline constexpr std::int32_t kOrderReviveQueue = 999;
/// Messages one check point can count: bits of PopCheckPoint.bitMap.
inline constexpr std::int32_t kPopMessagesMax = 32;
inline constexpr std::string_view kReviveGroup = "CID_RMQ_SYS_REVIVE_GROUP";
inline constexpr std::string_view kCheckPointTag = "ck", kAckTag = "ack", kBatchAckTag = "bAck";

// ---- Names -------------------------------------------------------------------------------------

std::string pop_retry_topic_v1(std::string_view group, std::string_view topic);
std::string pop_retry_topic_v2(std::string_view group, std::string_view topic);
/// The topic behind `topic` if that is a pop retry topic of the group, else `topic` itself.
std::string_view normal_topic(std::string_view topic, std::string_view group);
/// As handles and answers tell topics apart: '0' the topic itself, '1' and '2' its pop retry topic,
/// v1 and v2.
char retry_kind(std::string_view topic);
/// The topic meant by a name and a kind; nullopt: no such kind.
std::optional<std::string> topic_of_kind(std::string_view topic, std::string_view group,
                                         std::string_view kind);

// ---- Receipt handles and the fields of an answer -----------------------------------------------

/// Which delivery of which message is meant. `start_offset`, `pop_time` and what the request says
/// name the check point.
struct ReceiptHandle {
  std::int64_t start_offset = 0, pop_time = 0, invisible_ms = 0;
  std::int32_t revive_queue = 0;
  char kind = '0';
  std::string broker_name;
  std::int32_t queue_id = 0;
  std::int64_t queue_offset = 0;
  bool is_orderly() const { return revive_queue == kOrderReviveQueue; }
  bool operator==(const ReceiptHandle&) const = default;
};
std::string to_text(const ReceiptHandle& handle);
/// The last two parts may be missing, as in handles of RocketMQ 5.0.
Result<ReceiptHandle> parse_handle(std::string_view text);

/// One more entry of startOffsetInfo, msgOffsetInfo and orderCountInfo.
void add_start_offset(std::string& text, std::string_view topic, std::int32_t queue_id,
                      std::int64_t offset);
void add_message_offsets(std::string& text, std::string_view topic, std::int32_t queue_id,
                         const std::vector<std::int64_t>& offsets);
void add_queue_order_count(std::string& text, std::string_view topic, std::int32_t queue_id,
                           std::int32_t count);
void add_message_order_count(std::string& text, std::string_view topic, std::int32_t queue_id,
                             std::int64_t offset, std::int32_t count);

/// When a message popped at `pop_time` is to be seen again. In bounds for any input.
std::int64_t visible_again(std::int64_t pop_time, std::int64_t invisible_ms);

// ---- Records of the revive topic ---------------------------------------------------------------

/// A batch that was popped from one queue and is invisible until pop_time + invisible_ms.
struct CheckPoint {
  std::int32_t acked_bits = 0;  ///< Bit i: message i needs no further delivery.
  std::string broker_name, group;
  std::vector<std::int32_t> differences;  ///< Of each message's offset to start_offset; RocketMQ
                                          ///< 5.0 left it empty: then they follow each other.
  std::int64_t invisible_ms = 0;
  std::int32_t count = 0;
  std::int64_t pop_time = 0;
  std::int32_t queue_id = 0;
  std::int64_t revive_time = 0;  ///< Java writes it and does not read it.
  std::int64_t revive_offset = 0;
  std::optional<std::string> times_put_again;
  std::int64_t start_offset = 0;
  bool suspend = false;  ///< Comes again without counting as a failure.
  std::string topic;

  std::int64_t due() const;  ///< pop_time + invisible_ms, whatever they are.
  std::int64_t offset_of(std::int32_t index) const;
  std::optional<std::int32_t> index_of(std::int64_t offset) const;
  bool operator==(const CheckPoint&) const = default;

  using Self = CheckPoint;
  static constexpr auto kFields = MemberList{Field{"bm", &Self::acked_bits},
                                             Field{"bn", &Self::broker_name},
                                             Field{"c", &Self::group},
                                             Field{"d", &Self::differences},
                                             Field{"it", &Self::invisible_ms},
                                             Field{"n", &Self::count},
                                             Field{"pt", &Self::pop_time},
                                             Field{"q", &Self::queue_id},
                                             Field{"reviveTime", &Self::revive_time},
                                             Field{"ro", &Self::revive_offset},
                                             Field{"rp", &Self::times_put_again},
                                             Field{"so", &Self::start_offset},
                                             Field{"sp", &Self::suspend},
                                             Field{"t", &Self::topic}};
};
/// kMalformed: not JSON, without topic or group, more messages than it can count.
Result<CheckPoint> parse_check_point(std::string_view json);

/// Messages of a check point that need no further delivery: one (tag ack), or those of `offsets`
/// (tag bAck).
struct Ack {
  std::int64_t offset = 0;
  std::optional<std::vector<std::int64_t>> offsets;
  std::string broker_name, group;
  std::int64_t pop_time = 0;
  std::int32_t queue_id = 0;
  std::int64_t start_offset = 0;
  std::string topic;
  bool operator==(const Ack&) const = default;

  using Self = Ack;
  static constexpr auto kFields =
      MemberList{Field{"ao", &Self::offset},       Field{"aol", &Self::offsets},
                 Field{"bn", &Self::broker_name},  Field{"c", &Self::group},
                 Field{"pt", &Self::pop_time},     Field{"q", &Self::queue_id},
                 Field{"so", &Self::start_offset}, Field{"t", &Self::topic}};
};
/// Takes the long names older brokers wrote as well.
Result<Ack> parse_ack(std::string_view json);

/// What a check point and its acks have in common: only with all of it equal they belong together.
std::string merge_key(const CheckPoint& point);
std::string merge_key(const Ack& ack);
/// UNIQ_KEY of the records (PopMessageProcessor.genCkUniqueId, genAckUniqueId).
std::string unique_key(const CheckPoint& point);
std::string unique_key(const Ack& ack);

// ---- Batch ack body ----------------------------------------------------------------------------

/// Acks for one check point in BATCH_ACK_MESSAGE.
struct BatchAckEntry {
  std::vector<std::int64_t> offsets;  ///< Ascending; at most kPopMessagesMax of them are kept.
  std::string group, kind, topic;
  std::int64_t invisible_ms = 0, pop_time = 0, start_offset = 0;
  std::int32_t queue_id = 0, revive_queue = 0;
};
struct BatchAckBody {
  std::string broker_name;
  std::vector<BatchAckEntry> entries;
};
/// Far above what anybody acknowledges at once: an entry stands for up to kPopMessagesMax messages,
/// and Java's proxy sends what one gRPC request names. An entry takes 400 bytes of memory, its text
/// may be as short as 3.
inline constexpr std::size_t kBatchAckEntriesMax = 100'000;
Result<BatchAckBody> parse_batch_ack(std::string_view json);

// ---- Headers -----------------------------------------------------------------------------------

struct PopMessageRequest {
  static constexpr std::int32_t kCode = request_code::kPopMessage;
  std::string consumer_group, topic;
  std::int32_t queue_id = 0, max_messages = 0;
  std::int64_t invisible_ms = 0, poll_ms = 0;
  OptLong born_time;
  std::int32_t init_mode = 0;  ///< 0: from the queue's first message, 1: from its last.
  OptText expression_type, expression;
  OptBool order;
  OptText attempt_id;
  using Self = PopMessageRequest;
  static constexpr auto kFields = MemberList{Field{"consumerGroup", &Self::consumer_group},
                                             Field{"topic", &Self::topic},
                                             Field{"queueId", &Self::queue_id},
                                             Field{"maxMsgNums", &Self::max_messages},
                                             Field{"invisibleTime", &Self::invisible_ms},
                                             Field{"pollTime", &Self::poll_ms},
                                             Field{"bornTime", &Self::born_time},
                                             Field{"initMode", &Self::init_mode},
                                             Field{"expType", &Self::expression_type},
                                             Field{"exp", &Self::expression},
                                             Field{"order", &Self::order},
                                             Field{"attemptId", &Self::attempt_id}};
};
struct PopMessageResponse {
  std::int64_t pop_time = 0, invisible_ms = 0;
  std::int32_t revive_queue = 0;
  std::int64_t rest = 0;
  OptText start_offset_info, message_offset_info, order_count_info;
  using Self = PopMessageResponse;
  static constexpr auto kFields = MemberList{Field{"popTime", &Self::pop_time},
                                             Field{"invisibleTime", &Self::invisible_ms},
                                             Field{"reviveQid", &Self::revive_queue},
                                             Field{"restNum", &Self::rest},
                                             Field{"startOffsetInfo", &Self::start_offset_info},
                                             Field{"msgOffsetInfo", &Self::message_offset_info},
                                             Field{"orderCountInfo", &Self::order_count_info}};
};
struct PeekMessageRequest {
  static constexpr std::int32_t kCode = request_code::kPeekMessage;
  std::string topic;
  std::int32_t queue_id = 0, max_messages = 0;
  std::string consumer_group;
  using Self = PeekMessageRequest;
  static constexpr auto kFields = MemberList{
      Field{"topic", &Self::topic}, Field{"queueId", &Self::queue_id},
      Field{"maxMsgNums", &Self::max_messages}, Field{"consumerGroup", &Self::consumer_group}};
};
struct AckMessageRequest {
  static constexpr std::int32_t kCode = request_code::kAckMessage;
  std::string consumer_group, topic;
  std::int32_t queue_id = 0;
  std::string extra_info;
  std::int64_t offset = 0;
  using Self = AckMessageRequest;
  static constexpr auto kFields =
      MemberList{Field{"consumerGroup", &Self::consumer_group}, Field{"topic", &Self::topic},
                 Field{"queueId", &Self::queue_id}, Field{"extraInfo", &Self::extra_info},
                 Field{"offset", &Self::offset}};
};
struct ChangeInvisibleTimeRequest {
  static constexpr std::int32_t kCode = request_code::kChangeMessageInvisibleTime;
  std::string consumer_group, topic;
  std::int32_t queue_id = 0;
  std::string extra_info;
  std::int64_t offset = 0, invisible_ms = 0;
  OptBool suspend;
  using Self = ChangeInvisibleTimeRequest;
  static constexpr auto kFields = MemberList{Field{"consumerGroup", &Self::consumer_group},
                                             Field{"topic", &Self::topic},
                                             Field{"queueId", &Self::queue_id},
                                             Field{"extraInfo", &Self::extra_info},
                                             Field{"offset", &Self::offset},
                                             Field{"invisibleTime", &Self::invisible_ms},
                                             Field{"suspend", &Self::suspend}};
};
struct ChangeInvisibleTimeResponse {
  std::int64_t pop_time = 0, invisible_ms = 0;
  std::int32_t revive_queue = 0;
  using Self = ChangeInvisibleTimeResponse;
  static constexpr auto kFields =
      MemberList{Field{"popTime", &Self::pop_time}, Field{"invisibleTime", &Self::invisible_ms},
                 Field{"reviveQid", &Self::revive_queue}};
};
struct NotificationRequest {
  static constexpr std::int32_t kCode = request_code::kNotification;
  std::string consumer_group, topic;
  std::int32_t queue_id = 0;
  std::int64_t poll_ms = 0;
  OptLong born_time;
  OptBool order;
  OptText attempt_id, expression_type, expression;
  using Self = NotificationRequest;
  static constexpr auto kFields = MemberList{Field{"consumerGroup", &Self::consumer_group},
                                             Field{"topic", &Self::topic},
                                             Field{"queueId", &Self::queue_id},
                                             Field{"pollTime", &Self::poll_ms},
                                             Field{"bornTime", &Self::born_time},
                                             Field{"order", &Self::order},
                                             Field{"attemptId", &Self::attempt_id},
                                             Field{"expType", &Self::expression_type},
                                             Field{"exp", &Self::expression}};
};
struct NotificationResponse {
  bool has_message = false, polling_full = false;
  using Self = NotificationResponse;
  static constexpr auto kFields =
      MemberList{Field{"hasMsg", &Self::has_message}, Field{"pollingFull", &Self::polling_full}};
};
struct PollingInfoRequest {
  static constexpr std::int32_t kCode = request_code::kPollingInfo;
  std::string consumer_group, topic;
  std::int32_t queue_id = 0;
  using Self = PollingInfoRequest;
  static constexpr auto kFields =
      MemberList{Field{"consumerGroup", &Self::consumer_group}, Field{"topic", &Self::topic},
                 Field{"queueId", &Self::queue_id}};
};
struct PollingInfoResponse {
  std::int32_t waiting = 0;
  using Self = PollingInfoResponse;
  static constexpr auto kFields = MemberList{Field{"pollingNum", &Self::waiting}};
};

}  // namespace apogee::protocol
