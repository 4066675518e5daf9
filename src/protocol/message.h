#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "apogee/result.h"
#include "base/bytes.h"

/// Message records as they stand in the commit log and in the body of a pull's answer, their
/// properties, batches and ids. Pure functions over bytes; decoders check every length.
namespace apogee::protocol {

inline constexpr std::int32_t kMagicV1 = -626843481;     // 0xDAA320A7: one byte of topic length
inline constexpr std::int32_t kMagicV2 = -626843477;     // 0xDAA320AB: two bytes of topic length
inline constexpr std::int32_t kMagicBlank = -875286124;  // 0xCBD43194: the rest of a segment
inline constexpr std::size_t kBlankRecordBytes = 8;  // size and magic; what follows is undefined

namespace sys_flag {
inline constexpr std::int32_t kCompressed = 0x1, kMultiTags = 0x2, kPrepared = 0x4, kCommit = 0x8,
                              kRollback = 0xC, kTransactionMask = 0xC, kBornHostV6 = 0x10,
                              kStoreHostV6 = 0x20, kNeedUnwrap = 0x40, kInnerBatch = 0x80;
}  // namespace sys_flag

/// Names of properties the servers read or write.
namespace property {
inline constexpr std::string_view kKeys = "KEYS", kTags = "TAGS", kWait = "WAIT", kDelay = "DELAY",
                                  kRetryTopic = "RETRY_TOPIC", kRealTopic = "REAL_TOPIC",
                                  kRealQueueId = "REAL_QID", kTransactionPrepared = "TRAN_MSG",
                                  kShardingKey = "__SHARDINGKEY", kProducerGroup = "PGROUP",
                                  kOriginMessageId = "ORIGIN_MESSAGE_ID", kRegion = "MSG_REGION",
                                  kTraceOn = "TRACE_ON", kUniqueKey = "UNIQ_KEY",
                                  kInnerNum = "INNER_NUM", kInnerBase = "INNER_BASE",
                                  kTransactionId = "__transactionId__", kCluster = "CLUSTER",
                                  kPopCheckpoint = "POP_CK", kTimerDelaySec = "TIMER_DELAY_SEC",
                                  kTimerDelayMs = "TIMER_DELAY_MS",
                                  kTimerDeliverMs = "TIMER_DELIVER_MS",
                                  kTimerOutMs = "TIMER_OUT_MS",
                                  kTimerEnqueueMs = "TIMER_ENQUEUE_MS",
                                  kTimerDequeueMs = "TIMER_DEQUEUE_MS",
                                  kTimerRollTimes = "TIMER_ROLL_TIMES",
                                  kTimerDeleteKey = "TIMER_DEL_UNIQKEY",
                                  kReplyToClient = "REPLY_TO_CLIENT",
                                  kMaxReconsumeTimes = "MAX_RECONSUME_TIMES",
                                  kReconsumeTime = "RECONSUME_TIME", kCrc32 = "__CRC32#",
                                  kInnerMultiDispatch = "INNER_MULTI_DISPATCH",
                                  kInnerMultiQueueOffset = "INNER_MULTI_QUEUE_OFFSET",
                                  kCheckTimes = "TRANSACTION_CHECK_TIMES",
                                  kCheckImmunity = "CHECK_IMMUNITY_TIME_IN_SECONDS",
                                  kPreparedQueueOffset = "TRAN_PREPARED_QUEUE_OFFSET",
                                  kPushReplyTime = "PUSH_REPLY_TIME";
}  // namespace property

/// An address inside a record: 4 or 16 bytes and a port.
struct Host {
  std::string address;  ///< 4 or 16 raw bytes.
  std::int32_t port = 0;
  bool is_v6() const { return address.size() == 16; }
};
/// From a numeric address; anything else becomes 0.0.0.0 with the port.
Host host_from(std::string_view numeric_address, std::int32_t port);
std::string to_string(const Host& host);

/// Positions inside a record with a 4-byte born host; +12 behind an IPv6 born host.
namespace record_at {
inline constexpr std::size_t kSize = 0, kMagic = 4, kBodyCrc = 8, kQueueId = 12, kFlag = 16,
                             kQueueOffset = 20, kPhysicalOffset = 28, kSysFlag = 36,
                             kBornTimestamp = 40, kBornHost = 48;
inline std::size_t store_timestamp(std::int32_t flags) {
  return kBornHost + ((flags & sys_flag::kBornHostV6) != 0 ? 20 : 8);
}
}  // namespace record_at

/// One record with its strings and body aliasing the bytes it was read from (or the caller's, for
/// encoding).
struct Message {
  std::int32_t size = 0;  ///< Filled by decode_message.
  std::int32_t magic = kMagicV1;
  std::int32_t body_crc = 0;
  std::int32_t queue_id = 0;
  std::int32_t flag = 0;
  std::int64_t queue_offset = 0;
  std::int64_t physical_offset = 0;
  std::int32_t sys_flag = 0;
  std::int64_t born_timestamp = 0;
  Bytes born_host;  ///< Address bytes, 4 or 16.
  std::int32_t born_port = 0;
  std::int64_t store_timestamp = 0;
  Bytes store_host;
  std::int32_t store_port = 0;
  std::int32_t reconsume_times = 0;
  std::int64_t prepared_transaction_offset = 0;
  Bytes body;
  std::string_view topic;
  std::string_view properties;  ///< name 0x01 value 0x02 ...

  std::optional<std::string_view> property(std::string_view name) const;
};

inline constexpr std::size_t kPropertiesBytesMax = 32'767;  // int16 on the wire
inline constexpr std::size_t kTopicBytesMaxV1 = 127;

/// Appends one record: size, magic (by topic length), CRC of the body and IPv6 flags are set here;
/// queue offset, physical offset and store timestamp are taken as given (the log patches them).
/// kInvalidArgument: properties or topic too long.
Result<Ok> encode_message(Buffer& out, const Message& message);

/// kMalformed: not a whole record at the start of `in`.
Result<Message> decode_message(Bytes in);

/// What CommitLog.checkMessageAndReturnSize says about the bytes at a position of the log.
enum class RecordKind { kRecord, kBlank, kBad };
struct RecordCheck {
  RecordKind kind = RecordKind::kBad;
  std::int32_t size = 0;  ///< Of the record; of the blank rest of the segment; kBad: 0, or the size
                          ///< claimed if the inside does not fit it.
  Message message;        ///< kRecord only.
};
RecordCheck check_record(Bytes in, bool check_crc);
/// An empty body has no CRC.
bool body_crc_matches(const Message& message);

/// Calls `each(name, value)` for every property. Java's leniency: pieces under 3 characters,
/// without 0x01 or with an empty side are skipped.
template <class Each>
void for_each_property(std::string_view text, Each each) {
  while (!text.empty()) {
    const std::size_t end = text.find('\x02');
    const std::string_view piece = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    if (piece.size() < 3) continue;
    const std::size_t separator = piece.find('\x01');
    if (separator == std::string_view::npos || separator == 0 || separator + 1 == piece.size())
      continue;
    each(piece.substr(0, separator), piece.substr(separator + 1));
  }
}
/// The last one of that name wins, as in Java's map.
std::optional<std::string_view> find_property(std::string_view text, std::string_view name);
void append_properties(
    Buffer& out, std::initializer_list<std::pair<std::string_view, std::string_view>> properties);
inline void append_property(Buffer& out, std::string_view name, std::string_view value) {
  append_properties(out, {{name, value}});
}

/// Calls `each` with every key of a KEYS property; blanks stand between them.
template <class Each>
void for_each_key(std::string_view keys, Each each) {
  while (!keys.empty()) {
    const std::size_t end = std::min(keys.find(' '), keys.size());
    if (end > 0) each(keys.substr(0, end));
    keys.remove_prefix(std::min(end + 1, keys.size()));
  }
}
/// Is it the message's unique key or one of its keys?
bool has_key(const Message& message, std::string_view key);

/// Java's String.hashCode: over UTF-16 code units. Of a text in pieces: each with the hash of what
/// is ahead of it.
std::int32_t java_hash(std::string_view utf8, std::int32_t of_what_is_ahead = 0);
/// Tag code of a consume queue entry: hash of the tag, 0 without one.
std::int64_t tags_code(std::optional<std::string_view> tags);

/// One message of a batch body: size i32, magic i32, crc i32, flag i32, body length i32, body,
/// properties length i16, properties.
struct BatchMember {
  std::int32_t flag = 0;
  Bytes body;
  std::string_view properties;
};
Result<std::vector<BatchMember>> split_batch(Bytes body);
void append_batch_member(Buffer& out, const BatchMember& member);

/// Upper-case hex of store host and commit log offset: 32 characters, 56 with IPv6.
void append_offset_message_id(std::string& out, Bytes host, std::int32_t port,
                              std::int64_t physical_offset);
std::string offset_message_id(Bytes host, std::int32_t port, std::int64_t physical_offset);
struct OffsetMessageId {
  Host host;
  std::int64_t physical_offset = 0;
};
Result<OffsetMessageId> parse_offset_message_id(std::string_view id);

}  // namespace apogee::protocol
