#include "broker/pulling.h"

#include "broker/clients.h"
#include "protocol/codes.h"
#include "protocol/headers.h"
#include "protocol/message.h"
#include "protocol/names.h"

namespace apogee::broker {
namespace {

namespace code = protocol::response_code;
using protocol::PullMessageRequest;
using remoting::Responder;
using store::GetResult;
using store::GetStatus;

/// A wait no client asks for; Java's ask for 15 s.
constexpr std::int64_t kSuspendMsMax = 600'000;

/// ForbiddenType: why code 16 was given.
enum Forbidden : std::int32_t {
  kByBroker = 1,
  kByGroup = 2,
  kByTopic = 3,
  kBroadcasting = 4,
  kBySubscription = 5
};

struct Refusal {
  std::int32_t code;
  std::string remark;
  protocol::OptInt forbidden_type;
  using Self = Refusal;
  static constexpr auto kFields =
      MemberList{protocol::Field{"forbiddenType", &Self::forbidden_type}};
};

/// One pull on its way through the checks, the store and, perhaps, a wait.
struct Pull {
  PullMessageRequest header;
  Responder responder;
  bool lite;
  bool first_pass;      ///< False: it has waited and is answered whatever it finds.
  bool slowed = false;  ///< It has waited because its group reads too much from disk.
  Clock::Instant begun;
};

/// A pull that outlives its request: the header's texts point into this.
struct KeptPull {
  explicit KeptPull(const Pull& from) : pull{from} {
    keep(pull.header.consumer_group);
    keep(pull.header.topic);
    keep(pull.header.subscription);
    keep(pull.header.expression_type);
    pull.header.proxy_forward_client_id.reset();
  }
  KeptPull(const KeptPull&) = delete;
  Pull pull;

 private:
  void keep(std::string_view& text) { text = texts_.emplace_back(text); }
  void keep(std::optional<std::string_view>& text) {
    if (text) keep(*text);
  }
  std::deque<std::string> texts_;  // its elements stay where they are
};

/// What the checks have found.
struct Accepted {
  TopicPtr topic;
  GroupPtr group;
  SubscriptionPtr subscription;
};

bool flag(const PullMessageRequest& header, std::int32_t bit) {
  return (header.sys_flag & bit) != 0;
}

/// The subscription a pull brings along, or why it is refused.
std::variant<SubscriptionPtr, Refusal> own_subscription(const PullMessageRequest& header) {
  auto data = protocol::subscription_from(header.topic, header.subscription.value_or(""),
                                          header.expression_type.value_or(""),
                                          header.sub_version.value_or(0));
  if (!data)
    return Refusal{code::kSubscriptionParseFailed, "parse the consumer's subscription failed", {}};
  return make_subscription(*std::move(data));
}

/// The subscription the group's heartbeats brought, or why the pull is refused.
std::variant<SubscriptionPtr, Refusal> group_subscription(Context& context, const Pull& pull,
                                                          const GroupPtr& group) {
  const PullMessageRequest& header = pull.header;
  const std::string name{header.consumer_group};
  const Consumers::PullView view = context.consumers.find_for_pull(name, header.topic);
  if (!view.group_online)
    return Refusal{code::kSubscriptionNotExist, "the consumer's group info not exist", {}};
  if (!group->consume_broadcast_enable && view.mode.model == protocol::MessageModel::kBroadcasting)
    return Refusal{code::kNoPermission,
                   "the consumer group[" + name + "] can not consume by broadcast way",
                   kBroadcasting};
  if (context.groups.forbidden(name, header.topic, SubscriptionGroups::kForbiddenRead))
    return Refusal{code::kNoPermission,
                   "the consumer group[" + name + "] is forbidden for topic[" +
                       std::string{header.topic} + "]",
                   kBySubscription};
  if (!view.subscription)
    return Refusal{code::kSubscriptionNotExist, "the consumer's subscription not exist", {}};
  if (view.subscription->data.sub_version < header.sub_version.value_or(0))
    return Refusal{code::kSubscriptionNotLatest, "the consumer's subscription not latest", {}};
  if (!view.subscription->by_tag() && !view.subscription->sql)
    return Refusal{code::kFilterDataNotExist,
                   "The broker's consumer filter data is not exist!Your expression may be wrong!",
                   {}};
  return view.subscription;
}

/// In Java's order; the first that fails is the answer.
std::variant<Accepted, Refusal> check(Context& context, const Pull& pull) {
  const PullMessageRequest& header = pull.header;
  const BrokerConfig& settings = context.settings();
  const std::string topic_name{header.topic}, group_name{header.consumer_group};
  if ((settings.permission & protocol::perm::kRead) == 0)
    return Refusal{code::kNoPermission,
                   "the broker[" + settings.broker_ip1 + "] pulling message is forbidden",
                   kByBroker};
  if (pull.lite && !settings.lite_pull_message)
    return Refusal{code::kNoPermission,
                   "the broker[" + settings.broker_ip1 + "] for lite pull consumer is forbidden",
                   kByBroker};
  const GroupPtr group = context.groups.find_or_create(group_name);
  if (!group)
    return Refusal{code::kSubscriptionGroupNotExist,
                   "subscription group [" + group_name + "] does not exist",
                   {}};
  if (!group->consume_enable)
    return Refusal{code::kNoPermission, "subscription group no permission, " + group_name,
                   kByGroup};
  const TopicPtr topic = context.topics.find(topic_name);
  if (!topic)
    return Refusal{
        code::kTopicNotExist, "topic[" + topic_name + "] not exist, apply first please!", {}};
  if ((topic->perm & protocol::perm::kRead) == 0)
    return Refusal{code::kNoPermission,
                   "the topic[" + topic_name + "] pulling message is forbidden", kByTopic};
  if (header.queue_id < 0 || header.queue_id >= topic->read_queue_nums)
    return Refusal{
        code::kInvalidParameter,
        fmt::format(
            "queueId[{}] is illegal, topic:[{}] topicConfig.readQueueNums:[{}] consumer:[{}]",
            header.queue_id, topic_name, topic->read_queue_nums,
            pull.responder.peer()->remote_text()),
        {}};

  auto subscription = flag(header, protocol::pull_flag::kSubscription)
                          ? own_subscription(header)
                          : group_subscription(context, pull, group);
  if (auto* refusal = std::get_if<Refusal>(&subscription)) return std::move(*refusal);
  auto& found = std::get<SubscriptionPtr>(subscription);
  if (!found->by_tag() && !settings.property_filter)
    return Refusal{
        code::kSystemError,
        "The broker does not support consumer to filter message by " + found->data.expression_type,
        {}};
  if (settings.reject_pull_consumer && !protocol::is_system_group(group_name)) {
    const auto view = context.consumers.find_for_pull(group_name, topic_name);
    const bool actively = !view.group_online || view.mode.type == protocol::ConsumeType::kActively;
    if (actively && !context.consumers.has_member(group_name, *pull.responder.peer()))
      return Refusal{code::kSubscriptionNotExist,
                     "the consumer's group info not exist, or the pull consumer is rejected by "
                     "server.",
                     {}};
  }
  return Accepted{topic, group, std::move(found)};
}

/// Sends the messages, copied when they are few, from the log itself when they are many.
void send(const Responder& responder, std::int32_t answer_code, std::string_view remark,
          const protocol::PullMessageResponse& header, GetResult& result, bool copy) {
  if (result.records.empty()) return responder.reply(answer_code, remark, header);
  const auto bytes = static_cast<std::size_t>(result.total_bytes);
  if (!copy && bytes > kCopiedBytesMax && bytes > result.records.size() * kCopiedPieceBytesMax) {
    std::vector<remoting::SharedBytes> body;
    body.reserve(result.records.size());
    const auto owner = result.take_owners();
    for (const Bytes each : result.records) body.push_back({each, owner});
    return responder.reply_shared(answer_code, remark, header, std::move(body));
  }
  responder.reply_pieces(answer_code, remark, header, result.records);
}

bool is_slave(const Context& context) {
  return context.store.config().broker_role == store::BrokerRole::kSlave;
}

void run(Context& context, const Pull& pull);

/// Keeps the pull until a message arrives, its time is over or its connection ends.
void hold(Context& context, const Pull& pull, const SubscriptionPtr& subscription) {
  const BrokerConfig& settings = context.settings();
  const std::int64_t asked = pull.header.suspend_timeout_ms.value_or(0);
  const std::int64_t wait_ms = settings.long_polling ? asked : settings.short_polling_ms;
  auto filter = std::make_shared<const SubscriptionFilter>(subscription);
  auto kept = std::make_shared<KeptPull>(pull);
  kept->pull.first_pass = false;
  context.long_polling.hold(
      {.topic = std::string{pull.header.topic},
       .queue_id = pull.header.queue_id,
       .offset = pull.header.queue_offset,
       .filter = filter->takes_all() ? nullptr : std::move(filter),
       .deadline = context.env.clock.now() +
                   std::chrono::milliseconds{std::clamp<std::int64_t>(wait_ms, 0, kSuspendMsMax)},
       .peer = pull.responder.peer(),
       .resume = [&context, kept] {
         const auto token = context.in_flight.enter();
         if (!token) return;
         kept->pull.begun = context.env.clock.now();  // waiting is no latency
         run(context, kept->pull);
       }});
}

/// Which replica the consumer should ask next time.
std::int64_t suggested_broker(const Context& context,
                              const protocol::SubscriptionGroupConfig& group,
                              const GetResult& result) {
  if (!context.settings().slave_read) return 0;
  return result.suggest_slave ? group.which_broker_when_consume_slowly : group.broker_id;
}

void count(Context& context, const Pull& pull, const GetResult& result, std::int32_t answer_code) {
  if (answer_code != code::kSuccess) {
    context.stats.count_get_miss();
    return;
  }
  const auto took =
      std::chrono::duration_cast<std::chrono::milliseconds>(context.env.clock.now() - pull.begun);
  context.stats.count_get(pull.header.topic, pull.header.consumer_group, pull.header.queue_id,
                          result.message_count, result.total_bytes, took.count());
}

void commit(Context& context, const Pull& pull, const GetResult& result) {
  const PullMessageRequest& header = pull.header;
  // Only the first pass commits: what the client said then may be old by now (tryCommitOffset).
  // Nor may it undo the reset it is just being told about.
  const bool commits = pull.first_pass && flag(header, protocol::pull_flag::kCommitOffset) &&
                       result.status != GetStatus::kOffsetReset;
  context.offsets.note_pull(header.consumer_group, header.topic, header.queue_id,
                            result.next_offset, commits ? header.commit_offset : std::nullopt);
}

void answer(Context& context, const Pull& pull, const Accepted& accepted, GetResult& result,
            bool copy) {
  protocol::PullMessageResponse header{
      .suggest_which_broker_id = suggested_broker(context, *accepted.group, result),
      .next_begin_offset = result.next_offset,
      .min_offset = result.min_offset,
      .max_offset = result.max_offset,
      .offset_delta = {},
      .topic_sys_flag = accepted.topic->topic_sys_flag,
      .group_sys_flag = accepted.group->group_sys_flag,
      .forbidden_type = {}};
  std::int32_t answer_code = pull_code(result.status, pull.header.queue_offset);
  if (answer_code == code::kPullOffsetMoved && is_slave(context)) {
    // A slave may be behind: do not let it move consumers (DefaultPullMessageResultHandler).
    header.suggest_which_broker_id = accepted.group->broker_id;
    answer_code = code::kPullRetryImmediately;
  }
  commit(context, pull, result);
  count(context, pull, result, answer_code);
  if (answer_code == code::kPullNotFound && pull.first_pass &&
      flag(pull.header, protocol::pull_flag::kSuspend))
    return hold(context, pull, accepted.subscription);
  send(pull.responder, answer_code, name_of(result.status), header, result, copy);
}

/// Of a retry topic: each message is asked what the group wants of the topic it came from first
/// (ExpressionForRetryMessageFilter).
class RetryFilter final : public store::MessageFilter {
 public:
  RetryFilter(const Consumers& consumers, std::string_view group)
      : consumers_{consumers}, group_{group} {}

  bool matches_tags_code(std::int64_t) const override { return true; }
  bool needs_record() const override { return true; }
  bool matches_record(Bytes record) const override {
    const auto message = protocol::decode_message(record);
    const auto topic = message ? message->property(protocol::property::kRetryTopic) : std::nullopt;
    const auto wanted = topic ? consumers_.subscription(group_, *topic) : nullptr;
    return !wanted || !wanted->sql || wanted->sql->matches(RecordProperties{message->properties});
  }

 private:
  const Consumers& consumers_;
  const std::string_view group_;
};

bool filters_retries(const Context& context, const Pull& pull) {
  return context.settings().filter_support_retry && protocol::is_retry_topic(pull.header.topic);
}

/// The store's answer, or that of a reset that waited for this pull. No filter: all is wanted.
GetResult read(Context& context, const Pull& pull, const store::MessageFilter* filter,
               bool only_resident) {
  const PullMessageRequest& header = pull.header;
  if (context.settings().server_side_reset_offset) {
    if (const auto reset =
            context.offsets.take_reset(header.consumer_group, header.topic, header.queue_id)) {
      GetResult result;
      result.status = GetStatus::kOffsetReset;
      result.next_offset = *reset;
      result.min_offset = context.store.min_offset(header.topic, header.queue_id);
      result.max_offset = context.store.max_offset(header.topic, header.queue_id);
      return result;
    }
  }
  return context.store.get({.topic = header.topic,
                            .queue_id = header.queue_id,
                            .offset = header.queue_offset,
                            .max_messages = header.max_messages,
                            .filter = filter,
                            .only_resident = only_resident});
}

/// With what is known about messages since the group first came with this expression.
SubscriptionFilter by_expression(const Context& context, const Pull& pull,
                                 const SubscriptionPtr& subscription) {
  if (!context.filter_data) return SubscriptionFilter{subscription};
  return SubscriptionFilter{
      subscription, context.filter_data->bits_of(pull.header.consumer_group, pull.header.topic,
                                                 subscription->data.sub_string)};
}

/// The group reads too much from disk: its push consumers come again later by themselves, a pull
/// consumer is kept waiting and then gets little (PullMessageProcessor.processRequest).
void slow_down(Context& context, const Pull& pull) {
  const auto view =
      context.consumers.find_for_pull(std::string{pull.header.consumer_group}, pull.header.topic);
  if (view.group_online && view.mode.type == protocol::ConsumeType::kPassively)
    return pull.responder.reply(
        code::kSystemBusy, "This consumer group is reading cold data. It has been flow control",
        protocol::NoFields{});
  auto kept = std::make_shared<KeptPull>(pull);
  kept->pull.slowed = true;
  kept->pull.header.max_messages = 1;
  const auto go_on = [&context, kept] {
    const auto token = context.in_flight.enter();
    if (token) run(context, kept->pull);
  };
  if (!context.cold_reads->hold(go_on)) go_on();
}

/// On a thread that may wait for the disk, unless the group is to wait itself.
void read_cold(Context& context, const Pull& pull, const Accepted& accepted) {
  const SubscriptionFilter of_topic = by_expression(context, pull, accepted.subscription);
  const RetryFilter of_first_topic{context.consumers, pull.header.consumer_group};
  const store::MessageFilter* filter = of_topic.takes_all() ? nullptr : &of_topic;
  if (filters_retries(context, pull)) filter = &of_first_topic;
  const bool limited = !pull.slowed && context.cold_reads &&
                       context.cold_reads->is_over_limit(pull.header.consumer_group);
  GetResult result = read(context, pull, filter, /*only_resident=*/limited);
  if (!result.resident && limited) return slow_down(context, pull);
  if (!result.resident && context.cold_reads)
    context.cold_reads->count(pull.header.consumer_group, result.total_bytes);
  answer(context, pull, accepted, result, /*copy=*/!result.resident);
}

void run(Context& context, const Pull& pull) {
  auto checked = check(context, pull);
  if (const auto* refusal = std::get_if<Refusal>(&checked)) {
    if (refusal->code == code::kSubscriptionNotLatest)
      ask_subscriptions(context, std::string{pull.header.consumer_group}, *pull.responder.peer());
    return pull.responder.reply(refusal->code, refusal->remark, *refusal);
  }
  const auto& accepted = std::get<Accepted>(checked);
  const SubscriptionFilter filter{accepted.subscription};
  if (!filter.needs_record() && !filters_retries(context, pull)) {
    GetResult result = read(context, pull, filter.takes_all() ? nullptr : &filter, true);
    if (result.resident) return answer(context, pull, accepted, result, /*copy=*/false);
  }
  // Checking and copying wait for the disk there, so that no io thread does.
  auto kept = std::make_shared<KeptPull>(pull);
  context.readers.post(kept->pull.responder,
                       [&context, kept, accepted] { read_cold(context, kept->pull, accepted); });
}

}  // namespace

std::int32_t pull_code(GetStatus status, std::int64_t requested_offset) {
  switch (status) {
    case GetStatus::kFound:
      return code::kSuccess;
    case GetStatus::kMessageWasRemoving:
    case GetStatus::kNoMatchedMessage:
      return code::kPullRetryImmediately;
    case GetStatus::kNoMatchedLogicQueue:
    case GetStatus::kNoMessageInQueue:
      return requested_offset != 0 ? code::kPullOffsetMoved : code::kPullNotFound;
    case GetStatus::kOffsetFoundNull:
    case GetStatus::kOffsetOverflowOne:
      return code::kPullNotFound;
    case GetStatus::kOffsetOverflowBadly:
    case GetStatus::kOffsetReset:
    case GetStatus::kOffsetTooSmall:
      return code::kPullOffsetMoved;
    case GetStatus::kUnreadable:
      return code::kSystemError;  // a client asks for the same again, some seconds later
  }
  return code::kSystemError;  // a value outside the enum
}

void add_pulling(remoting::Processors& processors, Context& context) {
  for (const std::int32_t request :
       {protocol::request_code::kPullMessage, protocol::request_code::kLitePullMessage}) {
    processors.on_async_code<PullMessageRequest>(
        request, [&context, lite = request == protocol::request_code::kLitePullMessage](
                     const PullMessageRequest& header, const remoting::Request& from) {
          run(context, {.header = header,
                        .responder = from.responder,
                        .lite = lite,
                        .first_pass = true,
                        .begun = context.env.clock.now()});
        });
  }
}

}  // namespace apogee::broker
