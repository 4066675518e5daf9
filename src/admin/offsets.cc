#include <algorithm>

#include "admin/asking.h"
#include "protocol/codes.h"

namespace apogee {
namespace {

namespace request = protocol::request_code;
namespace response = protocol::response_code;
using admin::Asking;
using remoting::OwnedCommand;

/// A Java consumer reads the form of the new offsets that a Java tool makes brokers send; so do
/// this library's.
constexpr auto kAs = protocol::Language::kJava;

Result<std::int64_t> offset_in(const Result<OwnedCommand>& answer) {
  if (!answer) return answer.error();
  auto header = remoting::read_header<protocol::OffsetResponse>(*answer);
  if (!header) return header.error();
  return header->offset;
}

Result<std::int64_t> offset_for(Asking& ask, const std::string& broker, const MessageQueue& queue,
                                std::int64_t timestamp) {
  if (timestamp == -1)
    return offset_in(ask.server(broker, request::kGetMaxOffset,
                                protocol::QueueRequest{queue.topic, queue.queue_id}));
  protocol::SearchOffsetRequest header;
  header.topic = queue.topic;
  header.queue_id = queue.queue_id;
  header.timestamp = timestamp;
  return offset_in(ask.server(broker, request::kSearchOffsetByTimestamp, header));
}

Result<Ok> write_offset(Asking& ask, const std::string& broker, const std::string& group,
                        const MessageQueue& queue, std::int64_t offset) {
  protocol::UpdateConsumerOffsetRequest header;
  header.consumer_group = group;
  header.topic = queue.topic;
  header.queue_id = queue.queue_id;
  header.commit_offset = offset;
  return ask.done_by(broker, request::kUpdateConsumerOffset, header);
}

Result<std::int64_t> queue_offset(client::Instance& instance, const MessageQueue& queue,
                                  std::int32_t code, std::chrono::milliseconds timeout) {
  Asking ask{instance, timeout};
  auto address = ask.address_of(queue);
  if (!address) return address.error();
  return offset_in(ask.server(*address, code, protocol::QueueRequest{queue.topic, queue.queue_id}));
}

// ---- For a group without members: mqadmin writes each queue's offset itself

Result<Ok> rewrite_queue(Asking& ask, const std::string& broker, const admin::OffsetReset& reset,
                         admin::QueueReset each, admin::ResetResult& result) {
  auto wanted = offset_for(ask, broker, each.queue, reset.timestamp);
  if (!wanted) return wanted.error();
  each.offset_of_time = *wanted;
  each.offset = each.consumer_offset;
  if (reset.force || *wanted <= each.consumer_offset) {
    if (auto done = write_offset(ask, broker, reset.group, each.queue, *wanted); !done) return done;
    each.offset = *wanted;
  }
  result.queues.push_back(std::move(each));
  return Ok{};
}

Result<Ok> rewrite_offsets(Asking& ask, const std::string& broker, const admin::OffsetReset& reset,
                           admin::ResetResult& result) {
  protocol::ConsumeStatsRequest header;
  header.consumer_group = reset.group;
  auto stats = ask.body_of<protocol::ConsumeStats>(broker, request::kGetConsumeStats, header);
  if (!stats) return stats.error();
  bool consumed = false;
  for (const auto& [queue, offsets] : stats->offset_table) {
    if (queue.topic != reset.topic) continue;
    consumed = true;
    if (auto done = rewrite_queue(ask, broker, reset,
                                  {.queue = admin::queue_of(queue),
                                   .broker_offset = offsets.broker_offset,
                                   .consumer_offset = offsets.consumer_offset},
                                  result);
        !done)
      return done;
  }
  if (consumed) return Ok{};
  // It never consumed here: it stands at the beginning.
  auto table = ask.body_of<protocol::TopicStatsTable>(broker, request::kGetTopicStatsInfo,
                                                      protocol::TopicRequest{reset.topic});
  if (!table) return table.error();
  for (const auto& [queue, offset] : table->offset_table)
    if (auto done = rewrite_queue(ask, broker, reset,
                                  {.queue = admin::queue_of(queue),
                                   .broker_offset = offset.max_offset,
                                   .consumer_offset = offset.min_offset},
                                  result);
        !done)
      return done;
  return Ok{};
}

/// The offsets a broker has reset; kNotFound with 206: nobody of the group is online.
Result<std::vector<admin::QueueReset>> reset_at(Asking& ask, const std::string& broker,
                                                const protocol::ResetOffsetRequest& header) {
  auto answer = ask.server(broker, request::kInvokeBrokerToResetOffset, header, {}, kAs);
  if (!answer) return answer.error();
  auto body = protocol::decode_body<protocol::ResetOffsetBody>(std::string_view{answer->body});
  if (!body) return body.error();
  std::vector<admin::QueueReset> queues;
  for (const auto& [queue, offset] : body->offset_table)
    queues.push_back({.queue = admin::queue_of(queue), .offset = offset});
  return queues;
}

}  // namespace

Result<admin::ResetResult> Admin::reset_offsets(const admin::OffsetReset& reset,
                                                Milliseconds timeout) {
  Asking ask{*instance_, timeout};
  auto brokers = ask.brokers_of(reset.topic);
  if (!brokers) return brokers.error();
  protocol::ResetOffsetRequest header;
  header.topic = reset.topic;
  header.group = reset.group;
  header.timestamp = reset.timestamp;
  header.is_force = reset.force;
  header.offset = -1;  // Java's "none": absent is malformed to it
  admin::ResetResult result;
  for (const auto& [name, address] : *brokers) {
    auto queues = reset_at(ask, address, header);
    if (queues) {
      result.online = true;
      std::ranges::move(*queues, std::back_inserter(result.queues));
      continue;
    }
    if (queues.error().response_code != response::kConsumerNotOnline) return queues.error();
    if (auto done = rewrite_offsets(ask, address, reset, result); !done) return done.error();
  }
  std::ranges::sort(result.queues, {}, &admin::QueueReset::queue);
  return result;
}

Result<std::int64_t> Admin::reset_queue_offset(const admin::OffsetReset& reset,
                                               const std::string& broker, std::int32_t queue_id,
                                               std::int64_t offset, Milliseconds timeout) {
  Asking ask{*instance_, timeout};
  const MessageQueue queue{reset.topic, {}, queue_id};
  if (offset < 0) {
    auto found = offset_for(ask, broker, queue, reset.timestamp);
    if (!found) return found.error();
    offset = *found;
  }
  // Both, as mqadmin: the first for a group without members, the second for those that are online.
  if (auto written = write_offset(ask, broker, reset.group, queue, offset); !written)
    return written.error();
  protocol::ResetOffsetRequest header;
  header.topic = reset.topic;
  header.group = reset.group;
  header.queue_id = queue_id;
  header.timestamp = reset.timestamp;
  header.offset = offset;
  auto told = reset_at(ask, broker, header);
  if (!told && told.error().response_code != response::kConsumerNotOnline) return told.error();
  return offset;
}

Result<Ok> Admin::update_offset(const std::string& broker, const std::string& group,
                                const MessageQueue& queue, std::int64_t offset,
                                Milliseconds timeout) {
  Asking ask{*instance_, timeout};
  return write_offset(ask, broker, group, queue, offset);
}

Result<std::int64_t> Admin::min_offset(const MessageQueue& queue, Milliseconds timeout) {
  return queue_offset(*instance_, queue, request::kGetMinOffset, timeout);
}
Result<std::int64_t> Admin::max_offset(const MessageQueue& queue, Milliseconds timeout) {
  return queue_offset(*instance_, queue, request::kGetMaxOffset, timeout);
}
Result<std::int64_t> Admin::offset_of_time(const MessageQueue& queue, std::int64_t timestamp,
                                           Milliseconds timeout) {
  Asking ask{*instance_, timeout};
  auto address = ask.address_of(queue);
  if (!address) return address.error();
  return offset_for(ask, *address, queue, timestamp);
}

}  // namespace apogee
