#include "broker/revive_log.h"

#include "protocol/names.h"
#include "protocol/properties.h"

namespace apogee::broker {
namespace {

/// A check point is delivered so much before its acks (PopAckConstants.ackTimeInterval).
constexpr std::int64_t kAckIntervalMs = 1'000;

}  // namespace

ReviveLog::ReviveLog(Context& context, const SendSettings& sending)
    : context_{context},
      sending_{sending},
      topic_{protocol::revive_topic(context.settings().cluster_name)} {}

std::int32_t ReviveLog::queues() const {
  std::int32_t count = context_.settings().revive_queue_num;
  for (const store::QueueInfo& each : context_.store.queues(topic_))
    count = std::max(count, each.queue_id + 1);
  return count;
}

bool ReviveLog::has(std::int32_t revive_queue) const {
  if (revive_queue < 0) return false;
  return revive_queue < context_.settings().revive_queue_num || revive_queue < queues();
}

RecordPut ReviveLog::append(std::int32_t revive_queue, std::string_view tag, std::string_view key,
                            std::int64_t deliver_ms, std::string_view body) {
  namespace property = protocol::property;
  Buffer properties;
  protocol::append_property(properties, property::kTags, tag);
  protocol::append_property(properties, property::kUniqueKey, key);
  protocol::append_property(properties, property::kTimerDeliverMs, std::to_string(deliver_ms));
  const Bytes host = as_bytes(sending_.store_host.address);
  protocol::Message message;
  message.queue_id = revive_queue;
  message.born_timestamp = context_.env.clock.wall_ms();
  message.born_host = message.store_host = host;
  message.born_port = message.store_port = sending_.store_host.port;
  message.body = as_bytes(body);
  message.topic = topic_;
  message.properties = properties;
  return put_record(context_.store, message);
}

RecordPut ReviveLog::put(std::int32_t revive_queue, const protocol::CheckPoint& point) {
  const RecordPut put = append(revive_queue, protocol::kCheckPointTag, unique_key(point),
                               point.due() - kAckIntervalMs, encode_body(point));
  counts.count_in(point.group, point.topic, ReviveCounts::kCheckPoint, put.status);
  return put;
}

RecordPut ReviveLog::put(std::int32_t revive_queue, const protocol::Ack& ack, std::int64_t due) {
  const RecordPut put =
      append(revive_queue, ack.offsets ? protocol::kBatchAckTag : protocol::kAckTag,
             unique_key(ack), due, encode_body(ack));
  counts.count_in(ack.group, ack.topic, ReviveCounts::kAck, put.status);
  return put;
}

}  // namespace apogee::broker
