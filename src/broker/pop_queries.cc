#include "broker/popping.h"
#include "protocol/codes.h"
#include "protocol/names.h"

namespace apogee::broker {
namespace {

namespace code = protocol::response_code;
using protocol::NotificationRequest;
using protocol::NotificationResponse;
using protocol::PeekMessageRequest;
using protocol::PollingInfoRequest;
using protocol::PollingInfoResponse;
using protocol::PopMessageResponse;
using remoting::Answer;
using remoting::Responder;

constexpr std::int64_t kShortestWaitMs = 50;
constexpr std::int64_t kPollMsMax = 600'000;
constexpr std::int64_t kAnswerBytesMax = 8 << 20;

struct QueueRef {
  std::string topic;
  std::int32_t queue_id;
  bool retry;
};

/// The topic's queues (one, or all from a random one on) and those of its retry topics, which come
/// first one time in five.
std::vector<QueueRef> queues_of(Popping& popping, const protocol::TopicConfig& topic,
                                const std::string& group, std::int32_t queue_id, bool with_retry) {
  Context& context = popping.context;
  const auto dice = static_cast<std::int32_t>(context.env.random.below(100));
  std::vector<QueueRef> queues;
  const auto add = [&](const std::string& name, std::int32_t count, bool retry) {
    for (std::int32_t i = 0; i < count; ++i) queues.push_back({name, (dice + i) % count, retry});
  };
  const auto add_retry = [&] {
    if (!with_retry) return;
    for (const std::string& name : popping.retry_topics(topic.topic_name, group, false))
      if (const TopicPtr retry = context.topics.find(name)) add(name, retry->read_queue_nums, true);
  };
  if (dice % 5 == 0) add_retry();
  if (queue_id >= 0)
    queues.push_back({topic.topic_name, queue_id, false});
  else
    add(topic.topic_name, topic.read_queue_nums, false);
  if (dice % 5 != 0) add_retry();
  return queues;
}

/// Where the group would go on, without moving it there.
std::int64_t next_offset(Popping& popping, const QueueRef& queue, const std::string& group) {
  if (const auto known = popping.offset(queue.topic, group, queue.queue_id)) return *known;
  return std::max<std::int64_t>(popping.context.store.min_offset(queue.topic, queue.queue_id), 0);
}

// ---- PEEK_MESSAGE ------------------------------------------------------------------------------

/// What a pop would give, left where it is (PeekMessageProcessor). On a worker: it reads.
Answer peek(Popping& popping, const PeekMessageRequest& header, const remoting::Peer& peer) {
  Context& context = popping.context;
  auto checked =
      check_pop(context, header.topic, header.consumer_group, header.queue_id, peer, "peeking");
  if (const auto* refusal = std::get_if<PopRefusal>(&checked)) {
    Answer answer = Answer::with(PopMessageResponse{});
    answer.code = refusal->code;
    answer.remark = refusal->remark;
    return answer;
  }
  const TopicPtr& topic = std::get<PopTarget>(checked).topic;
  const auto begun = context.env.clock.now();
  PopMessageResponse response;
  Buffer body;
  std::int32_t count = 0;
  for (const QueueRef& queue :
       queues_of(popping, *topic, header.consumer_group, header.queue_id, true)) {
    std::int64_t offset = next_offset(popping, queue, header.consumer_group);
    response.rest +=
        std::max<std::int64_t>(context.store.max_offset(queue.topic, queue.queue_id) - offset, 0);
    if (count >= header.max_messages || static_cast<std::int64_t>(body.size()) >= kAnswerBytesMax)
      continue;
    const auto get = [&] {
      return context.store.get({.topic = queue.topic,
                                .queue_id = queue.queue_id,
                                .offset = offset,
                                .max_messages = header.max_messages - count});
    };
    store::GetResult result = get();
    if (result.status == store::GetStatus::kOffsetTooSmall ||
        result.status == store::GetStatus::kOffsetOverflowBadly) {
      offset = result.next_offset;
      result = get();
    }
    for (const Bytes each : result.records) append(body, each);
    count += result.message_count;
  }
  Answer answer = Answer::with(response, std::move(body));
  answer.code = count > 0 ? code::kSuccess : code::kPullNotFound;
  answer.remark =
      name_of(count > 0 ? store::GetStatus::kFound : store::GetStatus::kNoMessageInQueue);
  if (count > 0) {
    const auto took =
        std::chrono::duration_cast<std::chrono::milliseconds>(context.env.clock.now() - begun);
    context.stats.count_get(header.topic, header.consumer_group, header.queue_id, count,
                            static_cast<std::int64_t>(answer.body.size()), took.count());
  }
  return answer;
}

// ---- NOTIFICATION ------------------------------------------------------------------------------

/// Is there something to pop? Waits for it if asked to (NotificationProcessor).
class Notice : public std::enable_shared_from_this<Notice> {
 public:
  Notice(Popping& popping, NotificationRequest header, Responder responder)
      : popping_{popping}, header_{std::move(header)}, responder_{std::move(responder)} {
    header_.queue_id = std::max(header_.queue_id, -1);
    const std::int64_t now = popping_.context.env.clock.wall_ms();
    if (header_.born_time.value_or(0) == 0) header_.born_time = now;
    header_.born_time = std::clamp<std::int64_t>(*header_.born_time, 0, now + kPollMsMax);
  }

  void run() {
    Context& context = popping_.context;
    auto checked = check_pop(context, header_.topic, header_.consumer_group, header_.queue_id,
                             *responder_.peer(), "peeking");
    if (const auto* refusal = std::get_if<PopRefusal>(&checked))
      return responder_.reply(refusal->code, refusal->remark, NotificationResponse{});
    if (!make_filter())
      return responder_.reply(code::kSubscriptionParseFailed,
                              "parse the consumer's subscription failed", NotificationResponse{});
    const TopicPtr topic = std::get<PopTarget>(checked).topic;
    if (anything(*topic)) return answer({.has_message = true});
    const std::int64_t now = context.env.clock.wall_ms();
    const std::int64_t end =
        *header_.born_time + std::clamp<std::int64_t>(header_.poll_ms, 0, kPollMsMax);
    if (header_.poll_ms <= 0 || end - now <= kShortestWaitMs) return answer({});
    wait(topic, std::min(end, unblocked_ms_.value_or(end)) - now);
  }

 private:
  void answer(const NotificationResponse& response) {
    responder_.reply(code::kSuccess, {}, response);
  }
  bool anything(const protocol::TopicConfig& topic) {
    unblocked_ms_.reset();
    const bool orderly = header_.order.value_or(false);
    for (const QueueRef& each :
         queues_of(popping_, topic, header_.consumer_group, header_.queue_id, true)) {
      if (orderly) {
        const auto until = popping_.order.blocked_until(
            {each.topic, header_.consumer_group, each.queue_id}, header_.attempt_id, 0);
        if (until) {
          unblocked_ms_ = std::min(unblocked_ms_.value_or(*until), *until);
          continue;
        }
      }
      if (anything_in(each)) return true;
    }
    return false;
  }
  /// Few messages that do not have its tags are none: it would pop in vain, again and again. Of
  /// many it is told, so that a pop passes them over.
  bool anything_in(const QueueRef& queue) const {
    store::MessageStore& store = popping_.context.store;
    std::int64_t at = next_offset(popping_, queue, header_.consumer_group);
    const std::int64_t end = store.max_offset(queue.topic, queue.queue_id);
    if (!filter_ || filter_->needs_record() ||
        end - at >= popping_.context.settings().filter_notifications_below)
      return at < end;
    while (at < end) {
      const auto units =
          store.queue_units(queue.topic, queue.queue_id, at, static_cast<std::int32_t>(end - at));
      if (units.empty()) return true;  // who knows
      for (const store::QueueUnit& each : units)
        if (!each.tags_known || filter_->matches_tags_code(each.tags_code)) return true;
      at = units.back().queue_offset + units.back().messages;
    }
    return false;
  }
  /// False: what it asks for cannot be read.
  bool make_filter() {
    if (filter_ || !popping_.context.settings().filter_notifications ||
        header_.expression_type.value_or("").empty() || header_.expression.value_or("").empty())
      return true;
    auto wanted = wanted_by_pop(header_.topic, header_.expression, header_.expression_type);
    if (!wanted) return false;
    auto filter = std::make_shared<const SubscriptionFilter>(std::move(wanted));
    if (!filter->takes_all()) filter_ = std::move(filter);
    return true;
  }
  void wait(const TopicPtr& topic, std::int64_t for_ms) {
    const auto self = shared_from_this();
    const auto filter = filter_;
    const bool held = popping_.notifications.hold(
        {.topic = header_.topic,
         .group = header_.consumer_group,
         .queue_id = header_.queue_id,
         .filter = filter_,
         .deadline = popping_.context.env.clock.now() +
                     std::chrono::milliseconds{std::max<std::int64_t>(for_ms, 1)},
         .peer = responder_.peer(),
         .resume = [self] {
           const auto token = self->popping_.context.in_flight.enter();
           if (token && self->responder_.peer()->connected()) self->run();
         }});
    if (!held) return answer({.has_message = false, .polling_full = true});
    // From here on it may be resumed elsewhere. What arrived meanwhile has perhaps woken nobody.
    Notice again{popping_, header_, responder_};
    again.filter_ = filter;
    if (again.anything(*topic))
      popping_.notifications.wake(again.header_.topic, again.header_.consumer_group,
                                  again.header_.queue_id);
  }

  Popping& popping_;
  NotificationRequest header_;  // not changed after the constructor
  const Responder responder_;
  std::shared_ptr<const SubscriptionFilter> filter_;  // null: any message
  std::optional<std::int64_t> unblocked_ms_;
};

// ---- POLLING_INFO ------------------------------------------------------------------------------

Answer polling_info(Popping& popping, const PollingInfoRequest& header,
                    const remoting::Peer& peer) {
  auto checked = check_pop(popping.context, header.topic, header.consumer_group, header.queue_id,
                           peer, "peeking");
  PollingInfoResponse response;
  if (const auto* refusal = std::get_if<PopRefusal>(&checked)) {
    Answer answer = Answer::with(response);
    answer.code = refusal->code;
    answer.remark = refusal->remark;
    return answer;
  }
  response.waiting = static_cast<std::int32_t>(
      popping.polling.count(header.topic, header.consumer_group, std::max(header.queue_id, -1)));
  return Answer::with(response);
}

}  // namespace

void add_pop_queries(remoting::Processors& processors, Popping& popping) {
  processors.on_worker<PeekMessageRequest>(
      [&popping](const PeekMessageRequest& header, const remoting::OwnedCommand&,
                 const remoting::PeerPtr& peer) { return peek(popping, header, *peer); });
  processors.on_async<NotificationRequest>(
      [&popping](const NotificationRequest& header, const remoting::Request& request) {
        std::make_shared<Notice>(popping, header, request.responder)->run();
      });
  processors.on<PollingInfoRequest>(
      [&popping](const PollingInfoRequest& header, const remoting::Request& request) {
        return polling_info(popping, header, *request.peer());
      });
}

}  // namespace apogee::broker
