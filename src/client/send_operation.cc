#include "client/send_operation.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "client/compression.h"
#include "client/namespaces.h"
#include "client/thrown.h"
#include "client/timeouts.h"
#include "protocol/codes.h"
#include "protocol/names.h"
#include "protocol/properties.h"

namespace apogee::client {
namespace {

namespace request = protocol::request_code;
namespace response = protocol::response_code;
namespace property = protocol::property;

constexpr std::uint16_t kVipPortStep = 2;
constexpr std::size_t kPropertiesKept = 32 << 10;  // memory of a thread that sends
constexpr std::size_t kBodyKept = 4 << 10;         // memory of an operation that has ended

std::string joined(const std::vector<std::string>& keys) {
  return fmt::format("{}", fmt::join(keys, " "));
}

void append_delivery(Buffer& out, const Delivery& deliver) {
  std::string_view name;
  switch (deliver.kind) {
    case Delivery::Kind::kNow:
      return;
    case Delivery::Kind::kLevel:
      name = property::kDelay;
      break;
    case Delivery::Kind::kAfter:
      name = property::kTimerDelayMs;
      break;
    case Delivery::Kind::kAt:
      name = property::kTimerDeliverMs;
      break;
  }
  protocol::append_property(out, name, std::to_string(deliver.value));
}

void append_properties(Buffer& out, const Message& message, const std::string& id,
                       const std::string& name_space) {
  for (const auto& [name, value] : message.properties) protocol::append_property(out, name, value);
  if (!message.tag.empty()) protocol::append_property(out, property::kTags, message.tag);
  if (!message.keys.empty()) protocol::append_property(out, property::kKeys, joined(message.keys));
  append_delivery(out, message.deliver);
  if (!name_space.empty()) protocol::append_property(out, "INSTANCE_ID", name_space);
  protocol::append_properties(
      out, {{property::kUniqueKey, id}, {property::kWait, message.wait_store ? "true" : "false"}});
}

void append_properties(Buffer& properties, const Outgoing& out, const std::string& name_space) {
  if (out.batch) {  // each of its messages has its own
    return protocol::append_property(properties, property::kWait,
                                     out.message.wait_store ? "true" : "false");
  }
  append_properties(properties, out.message, out.message_id, name_space);
  if (!out.transaction_group.empty()) {
    protocol::append_property(properties, property::kTransactionPrepared, "true");
    protocol::append_property(properties, property::kProducerGroup, out.transaction_group);
  }
}

std::string vip(const std::string& address) {
  auto endpoint = parse_endpoint(address);
  if (!endpoint || endpoint->port <= kVipPortStep) return address;
  endpoint->port = static_cast<std::uint16_t>(endpoint->port - kVipPortStep);
  return to_string(*endpoint);
}

/// What a message to a retry topic says of its deliveries stands in the request, not in the
/// message.
void take_retry_counts(Message& message, Outgoing& out) {
  const auto take = [&](std::string_view name) {
    std::int32_t value = 0;
    const auto found = message.properties.extract(std::string{name});
    if (found.empty() || !protocol::from_text(found.mapped(), value))
      return std::optional<std::int32_t>{};
    return std::optional{value};
  };
  out.reconsume_times = take(property::kReconsumeTime).value_or(0);
  out.max_reconsume_times = take(property::kMaxReconsumeTimes);
}

// The two hottest walks over a header's fields: with the names in the code, not in a table.
[[gnu::flatten]] void encode(Buffer& out, const protocol::CommandHead& head,
                             const protocol::SendMessageV2& header, Bytes body) {
  protocol::encode_command(out, head, header, body);
}
[[gnu::flatten]] Result<protocol::SendMessageResponse> header_of(
    const protocol::CommandView& answer) {
  return protocol::read_header<protocol::SendMessageResponse>(answer);
}

}  // namespace

void set_message(Outgoing& out, Instance& instance, const ProducerConfig& config, Message&& message,
                 std::string_view transaction_group, std::int64_t now) {
  out.message = std::move(message);
  Message& given = out.message;
  out.code = request::kSendMessageV2;
  if (given.properties.empty()) {
    instance.unique_ids().next(out.message_id, now);
  } else {
    const auto id = given.properties.extract(std::string{property::kUniqueKey});
    if (id.empty())
      instance.unique_ids().next(out.message_id, now);
    else
      out.message_id = id.mapped();
    if (protocol::is_retry_topic(out.topic)) take_retry_counts(given, out);
    if (given.properties.contains("MSG_TYPE")) out.code = request::kSendReplyMessageV2;
  }
  out.transaction_group = transaction_group;
  if (!transaction_group.empty()) out.sys_flag |= protocol::sys_flag::kPrepared;
  if (given.body.size() < config.compress_over_bytes) return;
  if (auto smaller =
          compressed(as_bytes(given.body), config.compression, config.compression_level)) {
    out.made = *std::move(smaller);
    out.sys_flag |= sys_flag_of(config.compression);
  } else {
    instance.env().log.warn("message sent uncompressed: topic={} reason=\"{}\"", given.topic,
                            smaller.error().detail);
  }
}

void set_batch(Outgoing& out, Instance& instance, std::span<const Message> batch,
               std::int64_t now) {
  out.code = request::kSendBatchMessage;
  out.batch = true;
  out.message_id.clear();
  std::string id;
  Buffer properties;
  for (const Message& each : batch) {
    instance.unique_ids().next(id, now);
    out.message_id += (out.message_id.empty() ? "" : ",") + id;
    properties.clear();
    append_properties(properties, each, id, instance.config().name_space);
    protocol::append_batch_member(
        out.made, {.flag = each.flag, .body = as_bytes(each.body), .properties = properties});
  }
  out.message = batch.front();
}

std::size_t bytes_in_batch(const Message& message, const std::string& name_space) {
  constexpr std::size_t kNumbers = 22;           // MessageDecoder.encodeMessage's
  static const std::string kLongestId(56, '0');  // of a machine with an IPv6 address
  static thread_local Buffer properties;         // its memory is used again
  properties.clear();
  append_properties(properties, message, kLongestId, name_space);
  return kNumbers + message.body.size() + properties.size();
}

// ---- One send ----------------------------------------------------------------------------------

void SendOperation::fetch() const {
  const auto* const begin = reinterpret_cast<const char*>(this);
  for (std::size_t at = 0; at < sizeof *this; at += kCacheLine) {
#if defined(__x86_64__)
    asm volatile("prefetchw %0" : : "m"(begin[at]));  // to be written, which __builtin_ leaves out
#else
    __builtin_prefetch(begin + at, 1);
#endif
  }
}

Outgoing& SendOperation::prepare(std::string&& topic, SendRequest&& wanted, Clock::Instant now,
                                 std::int64_t wall_ms) {
  request_ = std::move(wanted);
  began_ = now;
  deadline_ = now + countable(request_.timeout);
  born_ms_ = wall_ms;
  attempts_ = 0;
  admitted_ = light_ = refreshed_ = perhaps_stored_ = perhaps_stored_before_ = false;
  last_broker_.clear();
  brokers_sent_.clear();
  unsafe_.reset();
  // Of a message that was sent before only the memory is left, and where its topic leads.
  if (out_.topic != topic) {
    out_.topic = std::move(topic);
    route_ = nullptr;
  }
  out_.made.clear();
  out_.transaction_group.clear();
  out_.sys_flag = out_.reconsume_times = 0;
  out_.max_reconsume_times.reset();
  out_.batch = false;
  return out_;
}

void SendOperation::let_go() {
  if (light_) return;
  for (std::string* const body : {&out_.message.body, &out_.made}) {
    if (body->capacity() <= kBodyKept) continue;
    body->clear();
    body->shrink_to_fit();
  }
  if (request_.target.select) request_.target.select = nullptr;
}

std::chrono::milliseconds SendOperation::left(Clock::Instant now) const {
  return std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - now);
}

Error SendOperation::out_of_time() const {
  return Error{Errc::kTimeout,
               fmt::format("sendDefaultImpl call timeout: topic {}, {} ms, brokers tried: [{}]",
                           out_.message.topic, request_.timeout.count(), brokers_sent_)};
}

void SendOperation::start(Ptr self, Clock::Instant now) {
  admitted_ = true;
  bytes_ = bytes();
  light_ = !request_.target.select && out_.message.body.capacity() <= kBodyKept &&
           out_.made.capacity() <= kBodyKept;
  Instance& instance = *producer_->instance_;
  if (!route_ || route_->replaced.load(std::memory_order_relaxed))
    route_ = instance.routes().publish(out_.topic);
  if (route_ && !route_->queues.empty()) return attempt(std::move(self), now);
  instance.find_route(
      std::string{out_.topic}, producer_->config_.default_topic_queues, deadline_,
      [kept = std::make_shared<Ptr>(std::move(self))](Result<PublishInfoPtr> route) {
        SendOperation& operation = **kept;
        const auto producer = operation.producer_;  // to the end of this call
        if (!route) return operation.finish(std::move(*kept), route.error());
        operation.route_ = *std::move(route);
        operation.attempt(std::move(*kept), producer->instance_->env().clock.now());
      });
}

/// `queue_` may be the old route's: it is not looked at any more.
bool SendOperation::follow_route() {
  route_ = producer_->instance_->routes().publish(out_.topic);
  return route_ && !route_->queues.empty();
}

const MessageQueue* SendOperation::choose(const PublishInfo& info, Error& why) {
  const Target& target = request_.target;
  if (target.queue) return &*target.queue;
  if (target.select) {
    std::vector<MessageQueue> shown = info.queues;
    for (MessageQueue& each : shown) each.topic = out_.message.topic;
    std::size_t index = 0;
    if (const auto thrown = thrown_by([&] { index = target.select(shown, out_.message); }))
      why = Error{Errc::kInvalidArgument, "select message queue threw exception. " + *thrown};
    else if (index < info.queues.size())
      return &info.queues[index];
    else
      why = Error{Errc::kInvalidArgument,
                  fmt::format("the selector chose queue {} of {}", index, info.queues.size())};
    return nullptr;
  }
  // Two threads may take the same turn: that costs less than to keep them from it.
  std::uint32_t at = info.next.load(std::memory_order_relaxed);
  const MessageQueue* queue = &producer_->faults_.choose(info.queues, at, last_broker_);
  info.next.store(at, std::memory_order_relaxed);
  return queue;
}

/// As the route says.
void SendOperation::attempt(Ptr self, Clock::Instant now) {
  Instance& instance = *producer_->instance_;
  if (instance.stopped())
    return give_up(std::move(self), {Errc::kStopped, "the client is shut down"});
  if (left(now) <= 0ms) return give_up(std::move(self), out_of_time());
  Error why{Errc::kNotFound, {}};
  queue_ = choose(*route_, why);
  if (queue_ == nullptr) return give_up(std::move(self), std::move(why));
  address_ = &address_of(*queue_);
  if (address_->empty() && refreshed_) pass_over_brokers_without_a_master();
  if (address_->empty()) return find_broker_again(std::move(self));
  transmit(std::move(self), now);
}

/// Whom no master stands for cannot be asked, so that is no attempt. Only where any queue will do.
void SendOperation::pass_over_brokers_without_a_master() {
  if (named_by_the_program()) return;
  const auto begin = route_->queues.data();
  const std::size_t chosen = static_cast<std::size_t>(queue_ - begin), all = route_->queues.size();
  for (std::size_t i = 1; i < all && address_->empty(); ++i) {
    queue_ = begin + (chosen + i) % all;
    address_ = &address_of(*queue_);
  }
}

/// It stands beside a queue of the route; the target's may be another.
const std::string& SendOperation::address_of(const MessageQueue& queue) {
  if (!request_.target.queue)
    return route_->masters[static_cast<std::size_t>(&queue - route_->queues.data())];
  return own_address_ = producer_->instance_->routes().master(queue);
}

/// A broker without a master's address may have one by now; asked once, as each answer is as good
/// as the next.
void SendOperation::find_broker_again(Ptr self) {
  const auto missing = [](const MessageQueue& queue) {
    return Error{Errc::kNotFound, "The broker[" + queue.broker + "] not exist"};
  };
  if (std::exchange(refreshed_, true)) return give_up(std::move(self), missing(*queue_));
  Instance& instance = *producer_->instance_;
  instance.refresh_route(
      std::string{out_.topic},
      std::min(left(instance.env().clock.now()), instance.config().api_timeout),
      [kept = std::make_shared<Ptr>(std::move(self)), missing](const Result<PublishInfoPtr>&) {
        SendOperation& operation = **kept;
        const auto producer = operation.producer_;  // to the end of this call
        Instance& after = *producer->instance_;
        const MessageQueue& queue = *operation.queue_;
        operation.own_address_ = after.routes().master(queue);
        operation.address_ = &operation.own_address_;
        if (!operation.own_address_.empty())
          return operation.transmit(std::move(*kept), after.env().clock.now());
        Error gone = missing(queue);
        if (operation.named_by_the_program() || !operation.follow_route())
          return operation.give_up(std::move(*kept), std::move(gone));
        operation.attempt(std::move(*kept), after.env().clock.now());
      });
}

void SendOperation::transmit(Ptr self, Clock::Instant now) {
  Instance& instance = *producer_->instance_;
  const ProducerConfig& config = producer_->config_;
  if (instance.config().vip_channel) address_ = &(own_address_ = vip(*address_));
  if (++attempts_ > 1) born_ms_ = instance.env().clock.wall_ms();
  if (config.check_forbidden || config.before_send) {
    const SendEvent event{out_.message, config.group, *address_, *queue_};
    if (auto allowed = ask_whether_forbidden(event); !allowed)
      return give_up(std::move(self), std::move(allowed.error()));
    tell(config.before_send, event);
  }
  sent_away_ = false;
  put_out(std::move(self), now);
}

/// May be called twice for one attempt.
void SendOperation::put_out(Ptr self, Clock::Instant now) {
  Instance& instance = *producer_->instance_;
  const ProducerConfig& config = producer_->config_;
  if (request_.mode == Mode::kOneway) {
    // It may have to wait for its connection, longer than the program does.
    const auto kept = std::make_shared<Ptr>(std::move(self));
    instance.connections().oneway_frame(
        *address_, [kept](Buffer& out, std::int32_t opaque) { (*kept)->write(out, opaque); });
    return finish_oneway();
  }
  auto limit = deadline_;
  const bool more =
      request_.mode == Mode::kSync && attempts_ <= config.retries && !named_by_the_program();
  if (config.attempt_timeout > 0ms && more)
    limit = std::min(limit, now + countable(config.attempt_timeout));
  attempt_began_ = now;
  perhaps_stored_before_ = perhaps_stored_;
  instance.connections().call_in_place(
      *address_,
      [this](Buffer& out, std::int32_t opaque) {  // see below
        write(out, opaque);
        perhaps_stored_ = true;  // there is a connection
      },
      limit,
      // Who has this has the other function, too: it keeps the operation for both.
      instance.observed(
          *address_, out_.code,
          remoting::AnsweredInPlace{
              [kept = std::move(self)](const Result<protocol::CommandView>& answer) mutable {
                SendOperation& operation = *kept;
                operation.answered(std::move(kept), answer);
              }}));
}

/// To throw is to forbid, as in Java.
Result<Ok> SendOperation::ask_whether_forbidden(const SendEvent& event) const {
  Result<Ok> allowed = Ok{};
  const auto& ask = producer_->config_.check_forbidden;
  if (!ask) return allowed;
  if (auto thrown = thrown_by([&] { allowed = Instance::run_callback(ask, event); }))
    return Error{Errc::kRefused, *std::move(thrown)};
  return allowed;
}

/// What it throws is its own affair.
void SendOperation::tell(const std::function<void(const SendEvent&)>& hook,
                         const SendEvent& event) const {
  if (!hook) return;
  guarded(producer_->instance_->env().log, "a hook of sends", producer_->config_.group,
          [&] { Instance::run_callback(hook, event); });
}

/// In the binary encoding: a fraction of the work of JSON for either side. Apache's brokers read
/// both, and answer in the one they are configured for; Apogee's in that of the request.
void SendOperation::write(Buffer& out, std::int32_t opaque) const {
  const Instance& instance = *producer_->instance_;
  static thread_local Buffer properties;  // its memory is used again
  properties.clear();
  if (properties.capacity() > kPropertiesKept) properties.shrink_to_fit();
  append_properties(properties, out_, instance.config().name_space);
  protocol::SendMessageV2 header;
  header.producer_group = producer_->group_;
  header.topic = out_.topic;
  header.default_topic = producer_->config_.create_topic_key;
  header.default_topic_queue_nums = producer_->config_.default_topic_queues;
  header.queue_id = queue_->queue_id;
  header.sys_flag = out_.sys_flag;
  header.born_timestamp = born_ms_;
  header.flag = out_.message.flag;
  header.properties = properties;
  header.reconsume_times = out_.reconsume_times;
  header.max_reconsume_times = out_.max_reconsume_times;
  header.batch = out_.batch;
  const protocol::CommandHead head{
      .code = out_.code,
      .opaque = opaque,
      .flag = request_.mode == Mode::kOneway ? protocol::kOnewayFlag : 0,
      .serialization = protocol::Serialization::kBinary};
  constexpr std::size_t kFieldsBytes = 768;  // without the properties, with the writer's room ahead
  const Bytes body = as_bytes(out_.body());
  out.reserve(out.size() + kFieldsBytes + properties.size() + body.size());
  if (instance.adds_no_fields()) return encode(out, head, header, body);
  protocol::CommandWriter writer{out, head};
  instance.for_each_field(
      *address_, out_.code, header, body,
      [&](std::string_view name, std::string_view text) { writer.field(name, text); });
  writer.finish(body.size());
  append(out, body);
}

/// Fills the receipt, or puts the broker's refusal in its place.
void SendOperation::read(const protocol::CommandView& answer, Result<SendReceipt>& result) {
  SendReceipt& receipt = *result;
  switch (answer.code) {
    case response::kSuccess:
      break;
    case response::kFlushDiskTimeout:
      receipt.status = SendStatus::kFlushDiskTimeout;
      break;
    case response::kFlushSlaveTimeout:
      receipt.status = SendStatus::kFlushReplicaTimeout;
      break;
    case response::kSlaveNotAvailable:
      receipt.status = SendStatus::kReplicaNotAvailable;
      break;
    default:
      result = Error{Errc::kRefused,
                     fmt::format("CODE: {}  DESC: {} BROKER: {}", answer.code,
                                 answer.remark.value_or(""), *address_),
                     answer.code};
      return;
  }
  receipt.queue.topic = out_.message.topic;
  receipt.queue.broker = queue_->broker;
  receipt.queue.queue_id = queue_->queue_id;
  // The broker has the last word on the queue. An answer without a header has nothing to say.
  const auto header = header_of(answer);
  if (header) {
    receipt.offset_message_id = header->message_id;
    receipt.queue.queue_id = header->queue_id;
    receipt.queue_offset = header->queue_offset;
    if ((out_.sys_flag & protocol::sys_flag::kPrepared) != 0 && header->transaction_id)
      receipt.transaction_id = *header->transaction_id;
    if (header->recall_handle) receipt.recall_handle = *header->recall_handle;
  }
  receipt.trace_on = !header || header->trace_on != "false";
  receipt.region = header ? header->region.value_or("") : "";
  if (receipt.region.empty()) receipt.region = "DefaultRegion";
  receipt.message_id = header && out_.batch && header->batch_unique_id
                           ? *header->batch_unique_id
                           : std::string_view{out_.message_id};
}

void SendOperation::answered(Ptr self, const Result<protocol::CommandView>& answer) {
  const auto producer = producer_.get();
  // By far the most: nobody but the program wants to see the receipt, and it is made for its hands.
  if (answer && answer->code == response::kSuccess && !producer->config_.after_send &&
      !producer->faults_.enabled() && !producer->trace_)
    return finish_with(std::move(self), [&] {
      Result<SendReceipt> result{std::in_place};
      read(*answer, result);
      return result;
    });
  const bool goes_away = answer && answer->code == response::kGoAway;
  if (goes_away) {
    perhaps_stored_ = perhaps_stored_before_;
    if (!std::exchange(sent_away_, true))  // the same again, over a new connection
      return put_out(std::move(self), attempt_began_);
  }
  const auto took = [&] {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
        producer->instance_->env().clock.now() - attempt_began_);
  };
  Result<SendReceipt> result{std::in_place};
  if (goes_away)
    result = Instance::twice_sent_away(*address_);
  else if (answer)
    read(*answer, result);
  else
    result = answer.error();
  if (producer->config_.after_send)
    tell(producer->config_.after_send,
         {out_.message, producer->config_.group, *address_, *queue_, result ? &*result : nullptr,
          result ? nullptr : &result.error()});
  const auto go_on = [&](Error error) {
    brokers_sent_ += (attempts_ == 1 ? "" : ", ") + queue_->broker;
    retry_or_finish(std::move(self), std::move(error));
  };
  if (result) {
    if (producer->faults_.enabled()) producer->faults_.update(queue_->broker, took(), false, true);
    if (producer->trace_) trace(took(), *result);
    if (result->status == SendStatus::kOk || request_.mode != Mode::kSync ||
        named_by_the_program() || !producer->config_.retry_when_not_stored_ok)
      return finish(std::move(self), std::move(result));
    unsafe_ = *result;
    return go_on(Error{Errc::kRefused, std::string{"stored as "} + name_of(result->status)});
  }
  const bool by_broker = result.error().code == Errc::kRefused;
  if (by_broker) perhaps_stored_ = perhaps_stored_before_;  // it said no: for itself
  const bool reachable = !by_broker && !producer->config_.detect_slow_brokers;
  producer->faults_.update(queue_->broker, took(), true, reachable);
  go_on(std::move(result.error()));
}

/// As SendMessageTraceHookImpl: what a broker has stored, unless it wants no trace of that, and
/// nothing of the trace itself.
void SendOperation::trace(std::chrono::milliseconds took, const SendReceipt& receipt) {
  const ProducerConfig& config = producer_->config_;
  if (!receipt.trace_on || out_.message.topic == config.trace_topic) return;
  const bool half = (out_.sys_flag & protocol::sys_flag::kPrepared) != 0;
  const bool delayed = out_.message.deliver.kind != Delivery::Kind::kNow;
  producer_->trace_->add(publish_record(
      {producer_->instance_->env().clock.wall_ms() - took.count(), receipt.region, config.group},
      {.topic = out_.message.topic,
       .message_id = receipt.message_id,
       .offset_message_id = receipt.offset_message_id,
       .tag = out_.message.tag,
       .keys = out_.message.keys,
       .store_host = *address_,
       .body_bytes = bytes(),
       .type = half      ? TraceType::kHalf
               : delayed ? TraceType::kDelayed
                         : TraceType::kNormal},
      took.count(), receipt.status == SendStatus::kOk));
}

bool SendOperation::may_retry(const Error& error) const {
  const ProducerConfig& config = producer_->config_;
  if (error.code == Errc::kStopped || producer_->instance_->stopped()) return false;
  if (request_.mode == Mode::kOneway) return false;
  if (request_.mode == Mode::kSync) {
    if (named_by_the_program() || attempts_ > config.retries) return false;
    return error.code != Errc::kRefused || unsafe_.has_value() ||
           std::ranges::find(config.retry_response_codes, error.response_code) !=
               config.retry_response_codes.end();
  }
  return attempts_ <= config.retries_async && error.code != Errc::kRefused;
}

void SendOperation::retry_or_finish(Ptr self, Error error) {
  const auto producer = producer_;  // to the end of this call, wherever the operation goes
  const Clock::Instant now = producer->instance_->env().clock.now();
  last_broker_ = queue_->broker;
  if (may_retry(error)) {
    if (left(now) <= 0ms) return give_up(std::move(self), out_of_time());
    producer->retried_.fetch_add(1, std::memory_order_relaxed);
    if (follow_route()) return attempt(std::move(self), now);
  }
  if (attempts_ > 1)
    error.detail = fmt::format(
        "Send [{}] times, still failed, cost [{}]ms, Topic: {}, BrokersSent: "
        "[{}]: {}",
        attempts_, std::chrono::duration_cast<std::chrono::milliseconds>(now - began_).count(),
        out_.message.topic, brokers_sent_, error.detail);
  give_up(std::move(self), std::move(error));
}

/// Nothing is tried any more: what is told includes what came of the attempts before.
void SendOperation::give_up(Ptr self, Error error) {
  if (unsafe_) return finish(std::move(self), *std::move(unsafe_));
  error.perhaps_done = perhaps_stored_;
  finish(std::move(self), std::move(error));
}

void SendOperation::finish(Ptr self, Result<SendReceipt>&& result) {
  // Whichever comes first when a client ends, the call's end or its connection's.
  if (!result && result.error().code == Errc::kDisconnected && producer_->instance_->stopped())
    result = Error{.code = Errc::kStopped,
                   .detail = "the client is shut down",
                   .perhaps_done = result.error().perhaps_done};
  finish_with(std::move(self), [&] { return std::move(result); });
}

/// `make` gives the result; the program is told of it last, when there is room for another.
template <class Make>
void SendOperation::finish_with(Ptr self, const Make& make) {
  const ProducerCore::Done done = std::move(request_.done);
  const CallbackScope scope{CallbackScope::Where::kIoThread};
  done([&] {
    Result<SendReceipt> result = make();
    const ProducerCore::End end{
        .bytes = bytes_, .admitted = admitted_, .stored = result.has_value()};
    let_go();
    producer_->ended(end, self);
    return result;
  }());
}

/// The frame may be written later: nobody waits for that.
void SendOperation::finish_oneway() {
  const ProducerCore::Done done = std::move(request_.done);
  SendReceipt receipt{.message_id = out_.message_id, .queue = *queue_};
  SendOperationPtr kept_by_the_frame;
  producer_->ended({.bytes = bytes(), .admitted = true, .stored = true}, kept_by_the_frame);
  Instance::run_callback(done, std::move(receipt));
}

}  // namespace apogee::client
