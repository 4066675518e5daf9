#include "broker/popping.h"

#include "protocol/codes.h"
#include "protocol/names.h"
#include "protocol/properties.h"

namespace apogee::broker {
namespace {

namespace code = protocol::response_code;
using protocol::PopMessageRequest;
using protocol::PopMessageResponse;
using remoting::Responder;
using store::GetResult;
using store::GetStatus;

/// Later than born + poll by so much: whoever asked has given up (isTimeoutTooMuch).
constexpr std::int64_t kTooLateMs = 500;
/// A wait that would end within this is not begun (PopRequest.isTimeout).
constexpr std::int64_t kShortestWaitMs = 50;
/// A wait no client asks for; Java's ask for 15 s.
constexpr std::int64_t kPollMsMax = 600'000;
/// Longer than anybody needs a message; keeps sums of times away from their limits.
constexpr std::int64_t kInvisibleMsMax = std::int64_t{366} * 24 * 3'600 * 1'000;
/// An answer grows no further; Java clients refuse frames above 16 MiB.
constexpr std::int64_t kAnswerBytesMax = 8 << 20;

struct QueueRef {
  std::string topic;
  std::int32_t queue_id;
  bool retry;
};

/// Differs before and after if anything arrived in between.
std::int64_t sum_of_ends(const Context& context, const std::vector<QueueRef>& queues) {
  std::int64_t sum = 0;
  for (const QueueRef& each : queues) sum += context.store.max_offset(each.topic, each.queue_id);
  return sum;
}

/// One pop on its way through its queues and, perhaps, waits.
class Pop : public std::enable_shared_from_this<Pop> {
 public:
  Pop(Popping& popping, PopMessageRequest header, Responder responder)
      : popping_{popping},
        context_{popping.context},
        header_{std::move(header)},
        responder_{std::move(responder)} {
    const std::int64_t now = context_.env.clock.wall_ms();
    if (header_.born_time.value_or(0) == 0) header_.born_time = now;
    header_.born_time = std::clamp<std::int64_t>(*header_.born_time, 0, now + kPollMsMax);
    header_.poll_ms = std::clamp<std::int64_t>(header_.poll_ms, -kPollMsMax, kPollMsMax);
    header_.invisible_ms = std::clamp<std::int64_t>(header_.invisible_ms, 0, kInvisibleMsMax);
    header_.queue_id = std::max(header_.queue_id, -1);
  }

  void begin();

 private:
  enum class Step { kDone, kNeedsReader };

  bool orderly() const { return header_.order.value_or(false); }
  std::int64_t deadline_ms() const {
    return *header_.born_time + std::max<std::int64_t>(header_.poll_ms, 0);
  }
  void refuse(std::int32_t code, std::string_view remark) {
    responder_.reply(code, remark, PopMessageResponse{});
  }
  bool check();
  bool make_filter();
  void run(bool on_reader);
  void on_reader();
  void give_up(const std::string& why);
  void plan();
  void go_on(bool on_reader);
  Step visit(const QueueRef& queue, bool on_reader);
  std::int64_t start_offset(const QueueRef& queue);
  bool blocked(const QueueRef& queue);
  GetResult get(const QueueRef& queue, std::int64_t offset, bool only_resident);
  void take(const QueueRef& queue, std::int64_t offset, GetResult& result);
  bool write_check_point(const QueueRef& queue, std::int64_t offset,
                         const std::vector<std::int64_t>& offsets);
  void add_again(const QueueRef& queue, std::int64_t offset, const protocol::Message& message);
  void finish();
  void answer(std::int32_t code, std::string_view remark);
  void wait();

  Popping& popping_;
  Context& context_;
  PopMessageRequest header_;
  Responder responder_;
  TopicPtr topic_;
  SubscriptionPtr subscription_;
  std::shared_ptr<const SubscriptionFilter> filter_;  // null: all

  // Of one pass through the queues.
  Clock::Instant begun_{};
  std::vector<QueueRef> queues_;
  std::size_t at_ = 0;
  std::int64_t ends_ = 0;  // sum of the queues' maxima before the pass
  PopMessageResponse response_;
  std::string start_offsets_, message_offsets_, order_counts_;
  std::vector<remoting::SharedBytes> body_;
  std::int64_t bytes_ = 0;
  std::int32_t count_ = 0;
  char retry_found_ = '0';  // an answer cannot hold messages of both retry topics
  std::optional<std::int64_t> unblocked_ms_;
};

bool Pop::check() {
  const BrokerConfig& settings = context_.settings();
  const std::string self = "the broker[" + settings.broker_ip1 + "]";
  if (header_.max_messages > protocol::kPopMessagesMax)
    return refuse(code::kInvalidParameter, self + " pop message's num is greater than 32"), false;
  auto checked = check_pop(context_, header_.topic, header_.consumer_group, header_.queue_id,
                           *responder_.peer(), "pop");
  if (const auto* refusal = std::get_if<PopRefusal>(&checked))
    return refuse(refusal->code, refusal->remark), false;
  topic_ = std::get<PopTarget>(checked).topic;
  return make_filter();
}

bool Pop::make_filter() {
  subscription_ = wanted_by_pop(header_.topic, header_.expression, header_.expression_type);
  if (!subscription_)
    return refuse(code::kSubscriptionParseFailed, "parse the consumer's subscription failed"),
           false;
  auto filter = std::make_shared<const SubscriptionFilter>(subscription_);
  if (!filter->takes_all()) filter_ = std::move(filter);
  return true;
}

void Pop::begin() {
  if (context_.env.clock.wall_ms() - *header_.born_time - header_.poll_ms > kTooLateMs)
    return refuse(code::kPollingTimeout, "the broker[" + context_.settings().broker_ip1 +
                                             "] pop message is timeout too much");
  if (check()) run(false);
}

/// Which queues to visit, in which order.
void Pop::plan() {
  const auto dice = static_cast<std::int32_t>(context_.env.random.below(100));
  const auto add = [&](const std::string& name, std::int32_t queues, bool retry) {
    for (std::int32_t i = 0; i < queues; ++i) queues_.push_back({name, (dice + i) % queues, retry});
  };
  const auto add_retry = [&] {
    if (orderly()) return;
    for (const std::string& name :
         popping_.retry_topics(header_.topic, header_.consumer_group, dice % 2 == 0))
      if (const TopicPtr retry = context_.topics.find(name))
        add(name, retry->read_queue_nums, true);
  };
  const bool retry_first = dice < context_.settings().pop_from_retry_percent;
  if (retry_first) add_retry();
  if (header_.queue_id >= 0)
    queues_.push_back({header_.topic, header_.queue_id, false});
  else
    add(header_.topic, topic_->read_queue_nums, false);
  if (!retry_first) add_retry();
}

void Pop::run(bool on_reader) {
  begun_ = context_.env.clock.now();
  queues_.clear(), body_.clear();
  start_offsets_.clear(), message_offsets_.clear(), order_counts_.clear();
  at_ = 0, bytes_ = 0, count_ = 0, retry_found_ = '0';
  unblocked_ms_.reset();
  response_ = {};
  response_.pop_time = context_.env.clock.wall_ms();
  response_.invisible_ms = header_.invisible_ms;
  response_.revive_queue = orderly() ? protocol::kOrderReviveQueue : popping_.next_revive_queue();
  plan();
  ends_ = sum_of_ends(context_, queues_);
  if (filter_ && filter_->needs_record() && !on_reader) return this->on_reader();
  go_on(on_reader);
}

void Pop::on_reader() {
  const auto self = shared_from_this();
  context_.readers.post([self] { self->go_on(true); },
                        [self](const std::string& why) { self->give_up(why); });
}

/// Nobody can look into the rest of the queues. What has been taken from the others is invisible
/// by now: it goes out, or nobody would have it before its time is over.
void Pop::give_up(const std::string& why) {
  if (count_ == 0) return refuse(code::kSystemBusy, why);
  finish();
}

void Pop::go_on(bool on_reader) {
  for (; at_ < queues_.size(); ++at_)
    if (visit(queues_[at_], on_reader) == Step::kNeedsReader) return this->on_reader();
  finish();
}

/// Where the group goes on in the queue. A group that has never been there begins where its pops
/// say (PopMessageProcessor.getInitOffset).
std::int64_t Pop::start_offset(const QueueRef& queue) {
  const std::string& group = header_.consumer_group;
  if (const auto reset = context_.offsets.take_reset(group, queue.topic, queue.queue_id)) {
    popping_.order.clear({queue.topic, group, queue.queue_id});
    // A pop that was under way when the offset was reset may have committed its own since.
    context_.offsets.commit(group, queue.topic, queue.queue_id, *reset);
    return *reset;
  }
  if (const auto known = popping_.offset(queue.topic, group, queue.queue_id)) return *known;
  const std::int64_t least =
      std::max<std::int64_t>(context_.store.min_offset(queue.topic, queue.queue_id), 0);
  const std::int64_t end = context_.store.max_offset(queue.topic, queue.queue_id);
  std::int64_t offset = least;
  if (header_.init_mode != 0 && !protocol::is_retry_topic(queue.topic)) {
    const bool young = context_.settings().pop_init_offset_by_memory && least == 0 &&
                       context_.store.in_memory(queue.topic, queue.queue_id, 0);
    offset = young ? 0 : std::max<std::int64_t>(end - 1, 0);
  }
  context_.offsets.commit(group, queue.topic, queue.queue_id, offset);
  return offset;
}

bool Pop::blocked(const QueueRef& queue) {
  if (!orderly()) return false;
  const auto until =
      popping_.order.blocked_until({queue.topic, header_.consumer_group, queue.queue_id},
                                   header_.attempt_id, header_.invisible_ms);
  if (!until) return false;
  unblocked_ms_ = std::min(unblocked_ms_.value_or(*until), *until);
  return true;
}

GetResult Pop::get(const QueueRef& queue, std::int64_t offset, bool only_resident) {
  return context_.store.get({.topic = queue.topic,
                             .queue_id = queue.queue_id,
                             .offset = offset,
                             .max_messages = header_.max_messages - count_,
                             .filter = filter_.get(),
                             .only_resident = only_resident});
}

Pop::Step Pop::visit(const QueueRef& queue, bool on_reader) {
  std::unique_lock lock{popping_.queue_mutex(queue.topic, header_.consumer_group, queue.queue_id),
                        std::defer_lock};
  if (on_reader)
    lock.lock();
  else if (!lock.try_lock())
    return Step::kNeedsReader;
  std::int64_t offset = start_offset(queue);
  if (blocked(queue)) return Step::kDone;
  const bool full =
      count_ >= header_.max_messages || bytes_ >= kAnswerBytesMax ||
      (queue.retry && retry_found_ != '0' && retry_found_ != protocol::retry_kind(queue.topic)) ||
      popping_.revive.is_full();
  if (full) {
    response_.rest +=
        std::max<std::int64_t>(context_.store.max_offset(queue.topic, queue.queue_id) - offset, 0);
    return Step::kDone;
  }
  GetResult result = get(queue, offset, !on_reader);
  if (result.status == GetStatus::kOffsetTooSmall ||
      result.status == GetStatus::kOffsetOverflowBadly ||
      result.status == GetStatus::kOffsetFoundNull) {
    offset = result.next_offset;
    context_.offsets.commit(header_.consumer_group, queue.topic, queue.queue_id, offset);
    result = get(queue, offset, !on_reader);
  }
  if (!result.resident && !on_reader) return Step::kNeedsReader;
  if (!result.records.empty()) {
    take(queue, offset, result);
  } else if ((result.status == GetStatus::kNoMatchedMessage ||
              result.status == GetStatus::kOffsetFoundNull ||
              result.status == GetStatus::kMessageWasRemoving) &&
             result.next_offset > offset) {
    context_.offsets.commit(header_.consumer_group, queue.topic, queue.queue_id,
                            result.next_offset);
  }
  response_.rest += std::max<std::int64_t>(result.max_offset - result.next_offset, 0);
  return Step::kDone;
}

bool Pop::write_check_point(const QueueRef& queue, std::int64_t offset,
                            const std::vector<std::int64_t>& offsets) {
  protocol::CheckPoint point;
  point.broker_name = context_.settings().broker_name;
  point.group = header_.consumer_group;
  for (const std::int64_t each : offsets)
    point.differences.push_back(static_cast<std::int32_t>(each - offset));
  point.invisible_ms = header_.invisible_ms;
  point.count = static_cast<std::int32_t>(offsets.size());
  point.pop_time = response_.pop_time;
  point.queue_id = queue.queue_id;
  point.revive_time = point.due();
  point.start_offset = offset;
  point.topic = queue.topic;
  if (!popping_.log.put(response_.revive_queue, point)) return false;
  context_.stats.count_check_point(header_.topic, header_.consumer_group);
  return true;
}

/// A message that comes again, as if it were still in the topic it was first sent to; the handle
/// tells where it really is.
void Pop::add_again(const QueueRef& queue, std::int64_t offset, const protocol::Message& message) {
  Buffer properties{message.properties};
  if (!message.property(protocol::property::kPopCheckpoint)) {
    if (!properties.empty() && properties.back() != '\x02') properties += '\x02';
    protocol::append_property(
        properties, protocol::property::kPopCheckpoint,
        to_text(protocol::ReceiptHandle{.start_offset = offset,
                                        .pop_time = response_.pop_time,
                                        .invisible_ms = header_.invisible_ms,
                                        .revive_queue = response_.revive_queue,
                                        .kind = protocol::retry_kind(queue.topic),
                                        .broker_name = context_.settings().broker_name,
                                        .queue_id = message.queue_id,
                                        .queue_offset = message.queue_offset}));
  }
  protocol::Message again = message;
  again.topic = header_.topic;
  again.properties = properties;
  auto record = std::make_shared<Buffer>();
  if (auto encoded = protocol::encode_message(*record, again); !encoded) {
    // Too long with its handle: as it is, clients make the handle from the answer's fields.
    record->clear();
    again.properties = message.properties;
    if (!protocol::encode_message(*record, again)) return;
  }
  bytes_ += static_cast<std::int64_t>(record->size());
  body_.push_back({as_bytes(*record), record});
}

/// Gives the messages out: check point (or the order's batch), then the group's offset, then they
/// may be in the answer.
void Pop::take(const QueueRef& queue, std::int64_t offset, GetResult& result) {
  std::vector<protocol::Message> messages;
  std::vector<std::int64_t> offsets;
  for (const Bytes each : result.records) {
    for (Bytes rest = each; !rest.empty();) {
      const auto message = protocol::decode_message(rest);
      if (!message) break;
      rest = rest.subspan(static_cast<std::size_t>(message->size));
      offsets.push_back(message->queue_offset);
      messages.push_back(*message);
    }
  }
  if (offsets.empty()) return;
  const std::string& group = header_.consumer_group;
  if (orderly()) {
    popping_.order.popped({queue.topic, group, queue.queue_id}, header_.attempt_id,
                          response_.pop_time, header_.invisible_ms, offsets, order_counts_);
    context_.offsets.commit(group, queue.topic, queue.queue_id, offset);
  } else {
    if (!write_check_point(queue, offset, offsets)) {
      response_.rest += result.message_count;
      return;
    }
    context_.offsets.commit(group, queue.topic, queue.queue_id, result.next_offset);
  }
  protocol::add_start_offset(start_offsets_, queue.topic, queue.queue_id, offset);
  protocol::add_message_offsets(message_offsets_, queue.topic, queue.queue_id, offsets);
  if (queue.retry) retry_found_ = protocol::retry_kind(queue.topic);
  if (queue.retry && !context_.settings().pop_actual_retry_topic) {
    for (const protocol::Message& each : messages) add_again(queue, offset, each);
  } else {
    const auto owner = result.take_owners();
    for (const Bytes each : result.records) body_.push_back({each, owner});
    bytes_ += result.total_bytes;
  }
  count_ += static_cast<std::int32_t>(offsets.size());
  const auto took =
      std::chrono::duration_cast<std::chrono::milliseconds>(context_.env.clock.now() - begun_);
  context_.stats.count_get(queue.topic, group, queue.queue_id,
                           static_cast<std::int64_t>(offsets.size()), result.total_bytes,
                           took.count());
}

void Pop::answer(std::int32_t answer_code, std::string_view remark) {
  response_.start_offset_info = start_offsets_;
  response_.message_offset_info = message_offsets_;
  if (orderly()) response_.order_count_info = order_counts_;
  if (body_.empty()) return responder_.reply(answer_code, remark, response_);
  responder_.reply_shared(answer_code, remark, response_, std::move(body_));
}

void Pop::finish() {
  if (count_ == 0) return wait();
  answer(code::kSuccess, name_of(GetStatus::kFound));
  if (response_.rest > 0)
    popping_.polling.wake(header_.topic, header_.consumer_group, header_.queue_id);
}

void Pop::wait() {
  const std::string_view nothing = name_of(GetStatus::kNoMessageInQueue);
  const std::int64_t now_ms = context_.env.clock.wall_ms();
  if (header_.poll_ms <= 0 || deadline_ms() - now_ms <= kShortestWaitMs) {
    context_.stats.count_get_miss();
    return answer(code::kPollingTimeout, nothing);
  }
  const std::int64_t until = std::min(deadline_ms(), unblocked_ms_.value_or(deadline_ms()));
  // Once held, it may be resumed elsewhere: from then on only what is copied here.
  const std::vector<QueueRef> queues = std::move(queues_);
  const std::int64_t ends = ends_;
  Popping& popping = popping_;
  const bool held = popping_.polling.hold(
      {.topic = header_.topic,
       .group = header_.consumer_group,
       .queue_id = header_.queue_id,
       .filter = filter_,
       .deadline = context_.env.clock.now() +
                   std::chrono::milliseconds{std::max<std::int64_t>(until - now_ms, 1)},
       .peer = responder_.peer(),
       .resume = [self = shared_from_this()] {
         const auto token = self->context_.in_flight.enter();
         // Whoever is gone would only make the messages invisible.
         if (!token || !self->responder_.peer()->connected()) return;
         if (self->check()) self->run(false);
       }});
  if (!held) return answer(code::kPollingFull, nothing);
  // What arrived since this pass began has perhaps woken somebody else, or nobody.
  if (sum_of_ends(popping.context, queues) != ends)
    popping.polling.wake(header_.topic, header_.consumer_group, header_.queue_id);
}

}  // namespace

Popping::Popping(Context& with, const SendSettings& sending, std::string order_path)
    : context{with},
      log{with, sending},
      order{with.env, std::move(order_path)},
      polling{with.env.clock, with.config, PopPolling::Order::kOldestFirst},
      notifications{with.env.clock, with.config, PopPolling::Order::kNewestFirst},
      revive{with, sending, log} {}

std::mutex& Popping::queue_mutex(std::string_view topic, std::string_view group,
                                 std::int32_t queue_id) {
  const std::hash<std::string_view> hash;
  const std::size_t key = hash(topic) * 31 + hash(group) * 7 + static_cast<std::size_t>(queue_id);
  return queue_mutexes_[key % kQueueMutexes];
}

std::int32_t Popping::next_revive_queue() {
  const auto queues = static_cast<std::uint32_t>(context.settings().revive_queue_num);
  return static_cast<std::int32_t>(pops_.fetch_add(1, std::memory_order_relaxed) % queues);
}

void Popping::wake(std::string_view topic, std::string_view group, std::int32_t queue_id) {
  for (PopPolling* each : {&polling, &notifications}) {
    each->wake(topic, group, -1);
    each->wake(topic, group, queue_id);
  }
}

std::vector<std::string> Popping::retry_topics(std::string_view topic, std::string_view group,
                                               bool v1_first) const {
  const BrokerConfig& settings = context.settings();
  if (!settings.retry_topic_v2) return {protocol::pop_retry_topic_v1(group, topic)};
  std::vector<std::string> topics{protocol::pop_retry_topic_v2(group, topic)};
  if (settings.retry_topic_v1_too)
    topics.insert(v1_first ? topics.begin() : topics.end(),
                  protocol::pop_retry_topic_v1(group, topic));
  return topics;
}

std::variant<PopTarget, PopRefusal> check_pop(Context& context, const std::string& topic_name,
                                              const std::string& group_name, std::int32_t queue_id,
                                              const remoting::Peer& peer, const char* verb) {
  const BrokerConfig& settings = context.settings();
  if ((settings.permission & protocol::perm::kRead) == 0)
    return PopRefusal{code::kNoPermission, fmt::format("the broker[{}] {} message is forbidden",
                                                       settings.broker_ip1, verb)};
  const TopicPtr topic = context.topics.find(topic_name);
  if (!topic)
    return PopRefusal{code::kTopicNotExist,
                      "topic[" + topic_name + "] not exist, apply first please!"};
  if ((topic->perm & protocol::perm::kRead) == 0)
    return PopRefusal{code::kNoPermission,
                      "the topic[" + topic_name + "] peeking message is forbidden"};
  if (queue_id >= topic->read_queue_nums)
    return PopRefusal{
        code::kInvalidParameter,
        fmt::format(
            "queueId[{}] is illegal, topic:[{}] topicConfig.readQueueNums:[{}] consumer:[{}]",
            queue_id, topic_name, topic->read_queue_nums, peer.remote_text())};
  const GroupPtr group = context.groups.find_or_create(group_name);
  if (!group)
    return PopRefusal{code::kSubscriptionGroupNotExist,
                      "subscription group [" + group_name + "] does not exist"};
  if (!group->consume_enable)
    return PopRefusal{code::kNoPermission, "subscription group no permission, " + group_name};
  return PopTarget{topic, group};
}

SubscriptionPtr wanted_by_pop(const std::string& topic, const protocol::OptText& expression,
                              const protocol::OptText& type) {
  const std::string text = expression.value_or("");
  auto data =
      protocol::subscription_from(topic, text, text.empty() ? "TAG" : type.value_or("TAG"), 0);
  if (!data) return nullptr;
  auto subscription = make_subscription(*std::move(data));
  return subscription->by_tag() || subscription->sql ? subscription : nullptr;
}

void add_popping(remoting::Processors& processors, Popping& popping) {
  processors.on_async<PopMessageRequest>(
      [&popping](const PopMessageRequest& header, const remoting::Request& request) {
        std::make_shared<Pop>(popping, header, request.responder)->begin();
      });
}

}  // namespace apogee::broker
