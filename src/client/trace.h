#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "apogee/message.h"

/// Message trace: the records that consoles and `mqadmin queryMsgTraceById` read, as Java's
/// TraceDataEncoder writes them. Pure but for TraceBuffer.
namespace apogee::client {

/// MessageType; the numbers are on the wire.
enum class TraceType { kNormal = 0, kHalf = 1, kCommit = 2, kDelayed = 3, kOrdered = 4 };

/// A record and what it can be found by.
struct TraceRecord {
  std::string text;
  std::vector<std::string> keys;  ///< Message ids, and the messages' own keys.
};

/// One message, as the records name it. Empty texts are written as "null".
struct TracedMessage {
  std::string topic, message_id, offset_message_id, tag;
  std::vector<std::string> keys;
  std::string store_host;  ///< The broker's address.
  std::size_t body_bytes = 0;
  TraceType type = TraceType::kNormal;
  std::int32_t retry_times = 0;
};

/// What the records of one happening share.
struct TraceContext {
  std::int64_t time_ms = 0;  ///< Unix time.
  std::string region, group;
};

TraceRecord publish_record(const TraceContext& context, const TracedMessage& message,
                           std::int64_t cost_ms, bool success);

/// A batch before its listener ran, and after it; `request_id` ties them together.
TraceRecord before_consume_record(const TraceContext& context, const std::string& request_id,
                                  std::span<const TracedMessage> messages);
enum class ConsumeCode {
  kSuccess = 0,
  kTimeOut = 1,
  kException = 2,
  kReturnedNull = 3,
  kFailed = 4
};
TraceRecord after_consume_record(const TraceContext& context, const std::string& request_id,
                                 std::span<const TracedMessage> messages, std::int64_t cost_ms,
                                 ConsumeCode code);

/// `state`: COMMIT_MESSAGE, ROLLBACK_MESSAGE or UNKNOW.
TraceRecord end_transaction_record(const TraceContext& context, const TracedMessage& message,
                                   const std::string& transaction_id, const std::string& state,
                                   bool from_check);
TraceRecord recall_record(const TraceContext& context, const std::string& topic,
                          const std::string& message_id, bool success);

/// Records that wait to be sent. Threads: any.
class TraceBuffer {
 public:
  static constexpr std::size_t kRecordsMax = 2'048;     // Java's traceContextQueue
  static constexpr std::size_t kRecordsInMessage = 20;  // AsyncTraceDispatcher.MAX_BATCH_NUM
  static constexpr std::size_t kMessageBytesMax = 128'000;

  bool add(TraceRecord record);  ///< False: full, the record is dropped.
  std::size_t size() const;
  /// All that waits, as messages to `topic`, each small enough to be sent.
  std::vector<Message> take(const std::string& topic);

 private:
  mutable std::mutex mutex_;
  std::deque<TraceRecord> records_;  // guarded by mutex_
};

}  // namespace apogee::client
