#include "broker/offsets.h"

#include <limits>

#include "protocol/codes.h"
#include "protocol/headers.h"

namespace apogee::broker {
namespace {

namespace code = protocol::response_code;
namespace request_code = protocol::request_code;
using protocol::OffsetResponse;
using remoting::Answer;
using remoting::OwnedCommand;
using remoting::PeerPtr;
using remoting::Request;

// ---- Consumer offsets --------------------------------------------------------------------------

Answer query_offset(Context& context, const protocol::QueryConsumerOffsetRequest& header) {
  if (const auto offset =
          context.offsets.find(header.consumer_group, header.topic, header.queue_id))
    return Answer::with(OffsetResponse{*offset});
  if (!header.set_zero_if_not_found.value_or(true))
    return Answer::error(code::kQueryNotFound,
                         "Not found, do not set to zero, maybe this group boot first");
  // A new group on a young queue starts at 0, whatever its ConsumeFromWhere; an older or an empty
  // queue lets the client decide. Clients count on both.
  if (context.store.min_offset(header.topic, header.queue_id) <= 0 &&
      context.store.in_memory(header.topic, header.queue_id, 0))
    return Answer::with(OffsetResponse{0});
  return Answer::error(code::kQueryNotFound,
                       "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first");
}

Answer update_offset(Context& context, const protocol::UpdateConsumerOffsetRequest& header) {
  if (!context.groups.contains(header.consumer_group))
    return Answer::error(code::kSubscriptionGroupNotExist,
                         "Group " + header.consumer_group + " not exist!");
  if (!context.topics.contains(header.topic))
    return Answer::error(code::kTopicNotExist, "Topic " + header.topic + " not exist!");
  if (!header.queue_id || *header.queue_id < 0)
    return Answer::error(code::kInvalidParameter, "QueueId is null, topic is " + header.topic);
  if (!header.commit_offset)
    return Answer::error(code::kInvalidParameter, "Offset is null, topic is " + header.topic);
  Answer answer;
  if (!context.settings().server_side_reset_offset)
    context.offsets.commit(header.consumer_group, header.topic, *header.queue_id,
                           *header.commit_offset);
  else if (!context.offsets.commit_unless_reset(header.consumer_group, header.topic,
                                                *header.queue_id, *header.commit_offset))
    answer.remark = "Offset has been previously reset";
  return answer;
}

Answer all_offsets(Context& context) {
  return Answer::with_body(context.offsets.to_json());
}

Answer clone_offsets(Context& context, const protocol::CloneGroupOffsetRequest& header) {
  std::set<std::string> topics;
  if (header.topic && !header.topic->empty())
    topics.insert(*header.topic);
  else
    topics = context.offsets.topics_of(header.source_group);
  const bool online = context.consumers.subscription_count(header.source_group) > 0;
  for (const std::string& topic : topics) {
    if (!context.topics.contains(topic)) continue;
    if (!header.offline.value_or(false) && online &&
        !context.consumers.subscription(header.source_group, topic))
      continue;
    context.offsets.clone(header.source_group, header.destination_group, topic);
  }
  return {};
}

/// The smallest offset of all groups but the filtered ones, queue by queue; the maximum where the
/// compared group is behind it (AdminBrokerProcessor.queryCorrectionOffset). Java deletes the
/// filtered groups' offsets while asking: we only ask.
Answer correction_offsets(Context& context, const protocol::CorrectionOffsetRequest& header) {
  std::set<std::string_view> filtered;
  std::string_view names = header.filter_groups ? std::string_view{*header.filter_groups} : "";
  while (!names.empty()) {
    const std::size_t comma = names.find(',');
    filtered.insert(names.substr(0, comma));
    names = comma == std::string_view::npos ? std::string_view{} : names.substr(comma + 1);
  }
  protocol::CorrectionOffsetBody body;
  auto& offsets = body.correction_offsets;
  context.offsets.for_each(
      [&](const std::string& group, const std::string& topic, const QueueOffsets& queues) {
        if (topic != header.topic || filtered.contains(group)) return;
        for (const auto& [queue, offset] : queues) {
          if (offset < context.store.min_offset(topic, queue)) continue;
          const auto [at, fresh] = offsets.emplace(queue, offset);
          if (!fresh) at->second = std::min(at->second, offset);
        }
      });
  for (const auto& [queue, offset] : context.offsets.find_all(header.compare_group, header.topic)) {
    const auto at = offsets.find(queue);
    if (at != offsets.end() && at->second > offset)
      at->second = std::numeric_limits<std::int64_t>::max();
  }
  return Answer::with_body(encode_body(body));
}

// ---- Queue offsets -----------------------------------------------------------------------------

Answer search_offset(Context& context, const protocol::SearchOffsetRequest& header) {
  std::string boundary = header.boundary_type.value_or("lower");
  std::ranges::transform(boundary, boundary.begin(),
                         [](char each) { return each >= 'A' && each <= 'Z' ? each + 32 : each; });
  return Answer::with(OffsetResponse{context.store.offset_by_time(
      header.topic, header.queue_id, header.timestamp,
      boundary == "upper" ? store::Boundary::kUpper : store::Boundary::kLower)});
}

// ---- Resetting ---------------------------------------------------------------------------------

std::int64_t offset_at(Context& context, const std::string& topic, std::int32_t queue_id,
                       std::int64_t timestamp) {
  if (timestamp < 0) return context.store.max_offset(topic, queue_id);
  return context.store.offset_by_time(topic, queue_id, timestamp, store::Boundary::kLower);
}

/// At the broker: the next pull of each queue is sent to the new offset
/// (AdminBrokerProcessor.resetOffsetInner).
Answer reset_here(Context& context, const protocol::ResetOffsetRequest& header) {
  if (context.store.config().broker_role == store::BrokerRole::kSlave)
    return Answer::error(code::kSystemError, "Can not reset offset in slave broker");
  const TopicPtr topic = context.topics.find(header.topic);
  if (!topic)
    return Answer::error(code::kTopicNotExist, "Topic " + header.topic + " does not exist");
  if (!context.groups.contains(header.group))
    return Answer::error(code::kSubscriptionGroupNotExist,
                         "Group " + header.group + " does not exist");
  const std::int32_t queue_id = header.queue_id.value_or(-1);
  QueueOffsets offsets;
  if (queue_id >= 0) {
    std::int64_t offset = header.offset.value_or(-1);
    if (offset != -1) {
      const std::int64_t least = context.store.min_offset(header.topic, queue_id);
      const std::int64_t most = context.store.max_offset(header.topic, queue_id);
      if ((least >= 0 && offset < least) || offset > most + 1 || offset < 0)
        return Answer::error(code::kSystemError,
                             fmt::format("Target offset {} not in consume queue range [{}-{}]",
                                         offset, least, most));
    } else {
      offset = offset_at(context, header.topic, queue_id, header.timestamp);
    }
    offsets[queue_id] = offset;
  } else {
    for (std::int32_t queue = 0; queue < topic->read_queue_nums; ++queue)
      offsets[queue] = offset_at(context, header.topic, queue, header.timestamp);
  }
  if (offsets.empty()) return Answer::error(code::kSystemError, "No queues to reset.");
  protocol::ResetOffsetBody body;
  for (const auto& [queue, offset] : offsets) {
    context.offsets.reset(header.group, header.topic, queue, offset);
    body.offset_table[{context.settings().broker_name, queue, header.topic}] = offset;
  }
  context.env.log.info("offsets reset: group={} topic={} queues={} timestamp={}", header.group,
                       header.topic, offsets.size(), header.timestamp);
  return Answer::with_body(encode_body(body));
}

/// By telling the consumers (Broker2Client.resetOffset); the old C++ client reads a list.
Answer reset_at_consumers(Context& context, const protocol::ResetOffsetRequest& header,
                          protocol::Language asker) {
  const TopicPtr topic = context.topics.find(header.topic);
  if (!topic)
    return Answer::error(
        code::kTopicNotExist,
        "[reset-offset] reset offset failed, no topic in this broker. topic=" + header.topic);
  protocol::ResetOffsetBody body;
  protocol::ResetOffsetList list;
  for (std::int32_t queue = 0; queue < topic->write_queue_nums; ++queue) {
    const auto consumed = context.offsets.find(header.group, header.topic, queue);
    if (!consumed)
      return Answer::error(code::kSystemError,
                           fmt::format("THe consumer group <{}> not exist", header.group));
    const std::int64_t wanted =
        std::max<std::int64_t>(offset_at(context, header.topic, queue, header.timestamp), 0);
    const std::int64_t offset = header.is_force ? wanted : std::min(wanted, *consumed);
    const std::string& broker = context.settings().broker_name;
    body.offset_table[{broker, queue, header.topic}] = offset;
    list.offset_table.push_back({broker, offset, queue, header.topic});
  }
  const auto group = context.consumers.snapshot(header.group);
  if (!group)
    return Answer::error(
        code::kConsumerNotOnline,
        fmt::format("Consumer not online, so can not reset offset, Group: {} Topic: {} "
                    "Timestamp: {}",
                    header.group, header.topic, header.timestamp));
  protocol::ResetOffsetRequest told = header;
  told.queue_id.reset();
  told.offset.reset();
  told.is_force = false;
  const Buffer for_clients =
      asker == protocol::Language::kCpp ? encode_body(list) : encode_body(body);
  for (const Member& each : group->members)
    each.peer->send_oneway(request_code::kResetConsumerClientOffset, told, as_bytes(for_clients));
  return Answer::with_body(encode_body(body));
}

}  // namespace

void add_offsets(remoting::Processors& processors, Context& context) {
  using protocol::NoFields;
  using protocol::QueueRequest;
  processors.on<protocol::QueryConsumerOffsetRequest>(
      [&](const protocol::QueryConsumerOffsetRequest& header, const Request&) {
        return query_offset(context, header);
      });
  processors.on<protocol::UpdateConsumerOffsetRequest>(
      [&](const protocol::UpdateConsumerOffsetRequest& header, const Request&) {
        return update_offset(context, header);
      });
  processors.on_code<QueueRequest>(request_code::kGetMaxOffset, [&](const QueueRequest& header,
                                                                    const Request&) {
    return Answer::with(OffsetResponse{context.store.max_offset(header.topic, header.queue_id)});
  });
  processors.on_code<QueueRequest>(
      request_code::kGetMinOffset, [&](const QueueRequest& header, const Request&) {
        // Of a queue without messages, and of one that does not exist, too: 0 (ConsumeQueueStore
        // makes one when asked).
        return Answer::with(OffsetResponse{
            std::max<std::int64_t>(context.store.min_offset(header.topic, header.queue_id), 0)});
      });
  processors.on_worker_code<QueueRequest>(
      request_code::kGetEarliestMessageStoreTime,
      [&](const QueueRequest& header, const OwnedCommand&, const PeerPtr&) {
        return Answer::with(protocol::TimestampResponse{
            context.store.earliest_store_time(header.topic, header.queue_id)});
      });
  processors.on_worker<protocol::SearchOffsetRequest>(
      [&](const protocol::SearchOffsetRequest& header, const OwnedCommand&, const PeerPtr&) {
        return search_offset(context, header);
      });
  processors.on_worker_code<NoFields>(
      request_code::kGetAllConsumerOffset,
      [&](const NoFields&, const OwnedCommand&, const PeerPtr&) { return all_offsets(context); });
  processors.on_worker<protocol::CloneGroupOffsetRequest>(
      [&](const protocol::CloneGroupOffsetRequest& header, const OwnedCommand&, const PeerPtr&) {
        return clone_offsets(context, header);
      });
  processors.on_worker<protocol::CorrectionOffsetRequest>(
      [&](const protocol::CorrectionOffsetRequest& header, const OwnedCommand&, const PeerPtr&) {
        return correction_offsets(context, header);
      });
  processors.on_worker<protocol::ResetOffsetRequest>(
      [&](const protocol::ResetOffsetRequest& header, const OwnedCommand& request, const PeerPtr&) {
        return context.settings().server_side_reset_offset
                   ? reset_here(context, header)
                   : reset_at_consumers(context, header, request.language);
      });
}

}  // namespace apogee::broker
