#include "broker/queries.h"

#include "protocol/codes.h"
#include "protocol/headers.h"
#include "protocol/message.h"

namespace apogee::broker {
namespace {

namespace code = protocol::response_code;
using remoting::Answer;
using remoting::OwnedCommand;
using remoting::PeerPtr;

constexpr std::size_t kAnswerBytesMax = 15 << 20;  // clients refuse frames above 16 MiB
constexpr std::int32_t kQueueEntriesMax = 10'000;  // of one answer

Answer query_message(Context& context, const protocol::QueryMessageRequest& header) {
  const bool by_unique_key = header.unique_key_query == "true";
  const store::StoreConfig& limits = context.store.config();
  const std::int32_t wanted = by_unique_key ? limits.default_query_messages : header.max_num;
  const auto records = context.store.query_by_key(header.topic, header.key,
                                                  std::clamp(wanted, 0, limits.query_messages_max),
                                                  header.begin_timestamp, header.end_timestamp);
  const store::StoreStatus status = context.store.status();
  Answer answer = Answer::with(protocol::QueryMessageResponse{
      .index_last_update_timestamp = status.index_last_timestamp,
      .index_last_update_physical_offset = status.index_last_physical_offset});
  for (const store::RecordBytes& each : records) {
    if (!answer.body.empty() && answer.body.size() + each.bytes.size() > kAnswerBytesMax) break;
    append(answer.body, each.bytes);
  }
  if (answer.body.empty()) {
    answer.code = code::kQueryNotFound;
    answer.remark = "can not find message, maybe time range not correct";
  }
  return answer;
}

Answer view_message(Context& context, const protocol::ViewMessageRequest& header) {
  const store::RecordBytes record = context.store.record_at(header.offset);
  if (!record)
    return Answer::error(code::kSystemError,
                         fmt::format("can not find message by the offset, {}", header.offset));
  return Answer::with_body(Buffer{as_text(record.bytes)});
}

/// One entry as its record shows it. `eval` is about extended entries (enableConsumeQueueExt),
/// which there are none of.
protocol::ConsumeQueueEntryBody entry_of(Bytes record) {
  protocol::ConsumeQueueEntryBody entry;
  entry.eval = false;
  if (const auto message = protocol::decode_message(record)) {
    entry.physical_offset = message->physical_offset;
    entry.physical_size = message->size;
    entry.tags_code = protocol::tags_code(message->property(protocol::property::kTags));
  }
  return entry;
}

Answer query_consume_queue(Context& context, const protocol::QueryConsumeQueueRequest& header) {
  const std::int64_t least = context.store.min_offset(header.topic, header.queue_id);
  if (least < 0)
    return Answer::error(code::kSystemError,
                         fmt::format("{}@{} is not exist!", header.queue_id, header.topic));
  protocol::QueryConsumeQueueBody body;
  body.min_queue_index = least;
  body.max_queue_index = context.store.max_offset(header.topic, header.queue_id);
  if (header.consumer_group) {
    if (const auto subscription =
            context.consumers.subscription(*header.consumer_group, header.topic)) {
      body.subscription_data = subscription->data;
      body.filter_data = "null";  // JSON of the filter data kept for the group: none is
    } else {
      body.filter_data = fmt::format("{}@{} is not online!", *header.consumer_group, header.topic);
    }
  }
  const std::int64_t count = std::clamp(header.count, 0, kQueueEntriesMax);
  Answer answer;
  if (header.index < least || header.index >= body.max_queue_index) {
    answer.remark =
        fmt::format("Index {} of {}@{} is not exist!", header.index, header.queue_id, header.topic);
    return answer;
  }
  const std::int64_t end = std::min(header.index + count, body.max_queue_index);
  for (std::int64_t at = header.index; at < end; ++at) {
    const auto record = context.store.record_at(header.topic, header.queue_id, at);
    if (record) body.queue_data.push_back(entry_of(record.bytes));
  }
  answer.body = encode_body(body);
  return answer;
}

}  // namespace

void add_queries(remoting::Processors& processors, Context& context) {
  processors.on_worker<protocol::QueryMessageRequest>(
      [&](const protocol::QueryMessageRequest& header, const OwnedCommand&, const PeerPtr&) {
        return query_message(context, header);
      });
  processors.on_worker<protocol::ViewMessageRequest>(
      [&](const protocol::ViewMessageRequest& header, const OwnedCommand&, const PeerPtr&) {
        return view_message(context, header);
      });
  processors.on_worker<protocol::QueryConsumeQueueRequest>(
      [&](const protocol::QueryConsumeQueueRequest& header, const OwnedCommand&, const PeerPtr&) {
        return query_consume_queue(context, header);
      });
}

}  // namespace apogee::broker
