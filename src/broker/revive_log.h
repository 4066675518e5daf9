#pragma once

#include "broker/context.h"
#include "broker/put_record.h"
#include "broker/revive_counts.h"
#include "broker/sending.h"
#include "protocol/pop.h"

/// Writes check points and acks into the revive topic, in Java's format
/// (PopMessageProcessor.buildCkMsg, AckMessageProcessor.appendAck).
///
/// Java sends each of them through the timer first, so that it arrives when it is due. Here they
/// are appended at once: half the writes, nothing waits for the timer, and the revive topic alone
/// says what is invisible. They keep TIMER_DELIVER_MS, from which Java's reviver tells their time.
///
/// Threads: any. put() returns once the record is in the page cache.
namespace apogee::broker {

class ReviveLog {
 public:
  ReviveLog(Context& context, const SendSettings& sending);

  const std::string& topic() const { return topic_; }
  /// Revive queues there are: what is configured, and what the store still has from a time when
  /// more were.
  std::int32_t queues() const;
  bool has(std::int32_t revive_queue) const;

  RecordPut put(std::int32_t revive_queue, const protocol::CheckPoint& point);
  RecordPut put(std::int32_t revive_queue, const protocol::Ack& ack, std::int64_t due);

  ReviveCounts counts;  ///< Those in; whoever reads the topic adds those out.

 private:
  RecordPut append(std::int32_t revive_queue, std::string_view tag, std::string_view key,
                   std::int64_t deliver_ms, std::string_view body);

  Context& context_;
  const SendSettings& sending_;
  const std::string topic_;
};

}  // namespace apogee::broker
