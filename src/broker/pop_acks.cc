#include "broker/popping.h"
#include "protocol/codes.h"
#include "protocol/names.h"

namespace apogee::broker {
namespace {

namespace code = protocol::response_code;
using protocol::AckMessageRequest;
using protocol::ChangeInvisibleTimeRequest;
using protocol::ChangeInvisibleTimeResponse;
using remoting::Responder;

/// Longer than anybody waits; keeps sums of times away from their limits.
constexpr std::int64_t kInvisibleMsMax = std::int64_t{366} * 24 * 3'600 * 1'000;
/// A pop time may be so far ahead of the clock, by changes within the same millisecond.
constexpr std::int64_t kAheadMsMax = 1'000;

std::int64_t invisible_of(const ChangeInvisibleTimeRequest& header) {
  return std::clamp<std::int64_t>(header.invisible_ms, 0, kInvisibleMsMax);
}

/// Of the check point that replaces one of `old`: another, or the ack of the old one would be of
/// both (in Java two changes in the same millisecond lose the message). One beyond what changes
/// make, as a clock set back leaves it, is not followed.
std::int64_t next_pop_time(std::int64_t old, std::int64_t now_ms) {
  return old >= now_ms && old - now_ms < kAheadMsMax ? old + 1 : now_ms;
}

std::string illegal_offset(const std::string& topic, std::int32_t queue_id, std::int64_t offset,
                           std::int64_t least, std::int64_t end) {
  return fmt::format("offset is illegal, key:{}@{}, commit:{}, store:{}~{}", topic, queue_id,
                     offset, least, end);
}

/// Topic and queue of a single ack; what is wrong with them.
std::optional<PopRefusal> check_queue(Context& context, const std::string& topic_name,
                                      std::int32_t queue_id, const remoting::Peer& peer) {
  const TopicPtr topic = context.topics.find(topic_name);
  if (!topic)
    return PopRefusal{code::kTopicNotExist,
                      "topic[" + topic_name + "] not exist, apply first please!"};
  if (queue_id < 0 || queue_id >= topic->read_queue_nums)
    return PopRefusal{
        code::kMessageIllegal,
        fmt::format("queueId[{}] is illegal, topic:[{}] topicConfig.readQueueNums:[{}] "
                    "consumer:[{}]",
                    queue_id, topic_name, topic->read_queue_nums, peer.remote_text())};
  return std::nullopt;
}

/// Answers once the record is where flushDiskType wants it.
template <class Header = protocol::NoFields>
void answer_when_safe(Context& context, const Responder& responder, std::int64_t end,
                      const Header& header = {}) {
  if (context.store.config().flush_disk_type != store::FlushDiskType::kSyncFlush)
    return responder.reply(code::kSuccess, {}, header);
  context.store.when_durable(end, [responder, header](store::PutStatus status) {
    // Not on disk in time: stored all the same, and an ack that is lost makes the message come
    // again.
    responder.reply(is_stored(status) ? code::kSuccess : code::kSystemError, {}, header);
  });
}

/// Of what is consumed in order. It waits for a pop that is at the queue, which may wait for the
/// disk: no io thread does that. Where too many wait it is refused, and the message comes again.
struct OrderedAck {
  std::string topic, group;
  std::int32_t queue_id;
  std::int64_t offset, pop_time, invisible_ms;
};

/// nullopt: fine, or of no more interest (AckMessageProcessor.ackOrderly). May block.
std::optional<PopRefusal> ack_in_order(Popping& popping, const OrderedAck& ack) {
  Context& context = popping.context;
  std::lock_guard lock{popping.queue_mutex(ack.topic, ack.group, ack.queue_id)};
  // A group that stands nowhere begins, at the earliest, with the first message there is.
  const std::int64_t before =
      popping.offset(ack.topic, ack.group, ack.queue_id)
          .value_or(std::max<std::int64_t>(context.store.min_offset(ack.topic, ack.queue_id), 0));
  if (ack.offset < before) return std::nullopt;
  const OrderedPops::Queue queue{ack.topic, ack.group, ack.queue_id};
  const auto acked = popping.order.ack(queue, ack.offset, ack.pop_time, before);
  if (acked.result == OrderedPops::AckResult::kIllegal)
    return PopRefusal{code::kMessageIllegal,
                      fmt::format("offset is illegal, key:{}@{}@{}, old:{}, commit:{}, next:-1",
                                  ack.topic, ack.group, ack.queue_id, before, ack.offset)};
  if (acked.result == OrderedPops::AckResult::kNothing) return std::nullopt;
  context.offsets.commit_unless_reset(ack.group, ack.topic, ack.queue_id, acked.next_offset);
  if (!popping.order.blocked_until(queue, std::nullopt, ack.invisible_ms))
    popping.wake(ack.topic, ack.group, ack.queue_id);
  return std::nullopt;
}

/// Of one message, for whoever brings back what was popped.
RecordPut put_ack(Popping& popping, const auto& header, const protocol::ReceiptHandle& handle) {
  protocol::Ack ack;
  ack.offset = header.offset;
  ack.broker_name = handle.broker_name;
  ack.group = header.consumer_group;
  ack.pop_time = handle.pop_time;
  ack.queue_id = header.queue_id;
  ack.start_offset = handle.start_offset;
  ack.topic = header.topic;
  return popping.log.put(handle.revive_queue, ack,
                         protocol::visible_again(handle.pop_time, handle.invisible_ms));
}

void ack_one(Popping& popping, const AckMessageRequest& header, const Responder& responder) {
  Context& context = popping.context;
  if (const auto wrong = check_queue(context, header.topic, header.queue_id, *responder.peer()))
    return responder.reply(wrong->code, wrong->remark);
  const std::int64_t least = context.store.min_offset(header.topic, header.queue_id),
                     end = context.store.max_offset(header.topic, header.queue_id);
  if (header.offset < least || header.offset > end)
    return responder.reply(
        code::kNoMessage, illegal_offset(header.topic, header.queue_id, header.offset, least, end));
  const auto handle = protocol::parse_handle(header.extra_info);
  if (!handle) return responder.reply(code::kSystemError, handle.error().detail);
  if (handle->is_orderly())
    return context.readers.post(
        responder, [&popping, responder,
                    ack = OrderedAck{header.topic, header.consumer_group, header.queue_id,
                                     header.offset, handle->pop_time, handle->invisible_ms}] {
          if (const auto refusal = ack_in_order(popping, ack))
            return responder.reply(refusal->code, refusal->remark);
          popping.context.stats.count_acks(ack.topic, ack.group, 1);
          responder.reply(code::kSuccess);
        });
  if (!popping.log.has(handle->revive_queue))
    return responder.reply(code::kMessageIllegal,
                           fmt::format("there is no revive queue {}", handle->revive_queue));
  const auto put = put_ack(popping, header, *handle);
  if (!put) {
    const PutAnswer why = put_answer(put.status, context);
    return responder.reply(code::kSystemError, why.remark);
  }
  context.stats.count_acks(header.topic, header.consumer_group, 1);
  answer_when_safe(context, responder, put.end());
}

/// One entry of a batch; where its record ends, 0 if there is none. An entry that fits nothing is
/// passed over, as in Java.
Result<std::int64_t> ack_several(Popping& popping, const std::string& broker_name,
                                 const protocol::BatchAckEntry& entry,
                                 std::optional<PopRefusal>& refusal) {
  Context& context = popping.context;
  const auto topic = protocol::topic_of_kind(entry.topic, entry.group, entry.kind);
  if (!topic) return Error{Errc::kMalformed, "the retry kind '" + entry.kind + "' is wrong"};
  const std::int64_t least = context.store.min_offset(*topic, entry.queue_id),
                     end = context.store.max_offset(*topic, entry.queue_id);
  if (least < 0) return 0;
  protocol::Ack ack;
  ack.offsets.emplace();
  for (const std::int64_t offset : entry.offsets) {
    if (offset < least || offset > end) continue;
    if (entry.revive_queue != protocol::kOrderReviveQueue) {
      ack.offsets->push_back(offset);
    } else if (auto wrong = ack_in_order(popping, {*topic, entry.group, entry.queue_id, offset,
                                                   entry.pop_time, entry.invisible_ms})) {
      refusal = std::move(wrong);
    } else {
      context.stats.count_acks(*topic, entry.group, 1);
    }
  }
  if (ack.offsets->empty() || !popping.log.has(entry.revive_queue)) return 0;
  ack.offset = -1;
  ack.broker_name = broker_name;
  ack.group = entry.group;
  ack.pop_time = entry.pop_time;
  ack.queue_id = entry.queue_id;
  ack.start_offset = entry.start_offset;
  ack.topic = *topic;
  const auto put = popping.log.put(entry.revive_queue, ack,
                                   protocol::visible_again(entry.pop_time, entry.invisible_ms));
  if (!put) return Error{Errc::kIo, put_answer(put.status, context).remark};
  context.stats.count_acks(*topic, entry.group, static_cast<std::int64_t>(ack.offsets->size()));
  return put.end();
}

void ack_all(Popping& popping, const protocol::BatchAckBody& body, const Responder& responder) {
  std::int64_t end = 0;
  std::optional<PopRefusal> refusal;
  for (const protocol::BatchAckEntry& each : body.entries) {
    const auto put = ack_several(popping, body.broker_name, each, refusal);
    if (!put) return responder.reply(code::kSystemError, put.error().detail);
    end = std::max(end, *put);
  }
  if (refusal) return responder.reply(refusal->code, refusal->remark);
  answer_when_safe(popping.context, responder, end);
}

void ack_batch(Popping& popping, const remoting::Request& request) {
  const Responder& responder = request.responder;
  if (request.command.body.empty()) return responder.reply(code::kNoMessage);
  auto body = protocol::parse_batch_ack(as_text(request.command.body));
  if (!body) return responder.reply(code::kSystemError, body.error().detail);
  if (body->entries.empty()) return responder.reply(code::kNoMessage);
  const bool orderly = std::ranges::any_of(body->entries, [](const auto& each) {
    return each.revive_queue == protocol::kOrderReviveQueue;
  });
  if (!orderly) return ack_all(popping, *body, responder);
  popping.context.readers.post(responder, [&popping, responder, body = *std::move(body)] {
    ack_all(popping, body, responder);
  });
}

/// An orderly batch keeps its pop time: the answer's invisible time is counted from it. May block.
ChangeInvisibleTimeResponse change_in_order(Popping& popping,
                                            const ChangeInvisibleTimeRequest& header,
                                            const protocol::ReceiptHandle& handle) {
  Context& context = popping.context;
  std::lock_guard lock{popping.queue_mutex(header.topic, header.consumer_group, header.queue_id)};
  const auto at = popping.offset(header.topic, header.consumer_group, header.queue_id);
  if (header.offset < at.value_or(-1)) return {};
  const std::int64_t visible =
      protocol::visible_again(context.env.clock.wall_ms(), invisible_of(header));
  popping.order.show_at({header.topic, header.consumer_group, header.queue_id}, header.offset,
                        handle.pop_time, visible);
  return {.pop_time = handle.pop_time,
          .invisible_ms = visible - handle.pop_time,
          .revive_queue = handle.revive_queue};
}

void change_invisible_time(Popping& popping, const ChangeInvisibleTimeRequest& header,
                           const Responder& responder) {
  Context& context = popping.context;
  const auto refuse = [&](std::int32_t why, std::string_view remark) {
    responder.reply(why, remark, ChangeInvisibleTimeResponse{});
  };
  if (const auto wrong = check_queue(context, header.topic, header.queue_id, *responder.peer()))
    return refuse(wrong->code, wrong->remark);
  const std::int64_t least = context.store.min_offset(header.topic, header.queue_id),
                     end = context.store.max_offset(header.topic, header.queue_id);
  if (header.offset < least || header.offset >= end)
    return refuse(code::kNoMessage,
                  illegal_offset(header.topic, header.queue_id, header.offset, least, end));
  const auto handle = protocol::parse_handle(header.extra_info);
  if (!handle) return refuse(code::kSystemError, handle.error().detail);
  if (handle->is_orderly())
    return context.readers.post(responder, [&popping, header, handle = *handle, responder] {
      responder.reply(code::kSuccess, {}, change_in_order(popping, header, handle));
    });
  if (!popping.log.has(handle->revive_queue))
    return refuse(code::kMessageIllegal,
                  fmt::format("there is no revive queue {}", handle->revive_queue));

  protocol::CheckPoint point;
  point.broker_name = handle->broker_name;
  point.group = header.consumer_group;
  point.differences = {0};
  point.count = 1;
  point.invisible_ms = invisible_of(header);
  point.pop_time = next_pop_time(handle->pop_time, context.env.clock.wall_ms());
  point.queue_id = header.queue_id;
  point.start_offset = header.offset;
  point.suspend = header.suspend.value_or(false);
  point.topic = header.topic;
  point.revive_time = point.due();
  if (const auto put = popping.log.put(handle->revive_queue, point); !put)
    return refuse(code::kSystemError, put_answer(put.status, context).remark);
  context.stats.count_check_point(header.topic, header.consumer_group);

  const auto put = put_ack(popping, header, *handle);
  if (!put) return refuse(code::kSystemError, put_answer(put.status, context).remark);
  context.stats.count_acks(header.topic, header.consumer_group, 1);
  answer_when_safe(context, responder, put.end(),
                   ChangeInvisibleTimeResponse{.pop_time = point.pop_time,
                                               .invisible_ms = header.invisible_ms,
                                               .revive_queue = handle->revive_queue});
}

}  // namespace

void add_pop_acks(remoting::Processors& processors, Popping& popping) {
  processors.on_async<AckMessageRequest>(
      [&popping](const AckMessageRequest& header, const remoting::Request& request) {
        ack_one(popping, header, request.responder);
      });
  processors.on_async_code<protocol::NoFields>(
      protocol::request_code::kBatchAckMessage,
      [&popping](const protocol::NoFields&, const remoting::Request& request) {
        ack_batch(popping, request);
      });
  processors.on_async<ChangeInvisibleTimeRequest>(
      [&popping](const ChangeInvisibleTimeRequest& header, const remoting::Request& request) {
        change_invisible_time(popping, header, request.responder);
      });
}

}  // namespace apogee::broker
