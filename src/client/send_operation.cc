#include "client/send_operation.h"

#include <fmt/format.h>

#include "client/compression.h"
#include "client/namespaces.h"
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
  protocol::append_property(out, property::kUniqueKey, id);
  protocol::append_property(out, property::kWait, message.wait_store ? "true" : "false");
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

}  // namespace

Outgoing outgoing(Instance& instance, const ProducerConfig& config, Message message,
                  const std::string& transaction_group) {
  Outgoing out;
  out.code = request::kSendMessageV2;
  out.topic = wrapped(message.topic, instance.config().name_space);
  const auto id = message.properties.extract(std::string{property::kUniqueKey});
  out.message_id = id.empty() ? instance.unique_ids().next() : id.mapped();
  if (protocol::is_retry_topic(out.topic)) take_retry_counts(message, out);
  out.transaction_group = transaction_group;
  if (!transaction_group.empty()) out.sys_flag |= protocol::sys_flag::kPrepared;
  if (message.properties.contains("MSG_TYPE")) out.code = request::kSendReplyMessageV2;
  const bool plain_hooks = !config.before_send && !config.after_send && !config.check_forbidden;
  if (message.body.size() >= config.compress_over_bytes) {
    if (auto smaller =
            compressed(as_bytes(message.body), config.compression, config.compression_level)) {
      out.body = *std::move(smaller);
      out.sys_flag |= sys_flag_of(config.compression);
    } else {
      instance.env().log.warn("message sent uncompressed: topic={} reason=\"{}\"", message.topic,
                              smaller.error().detail);
    }
  }
  if (out.body.empty()) {
    if (plain_hooks)
      out.body = std::move(message.body);  // nobody looks at it any more
    else
      out.body = message.body;
  }
  out.message = std::move(message);
  return out;
}

Outgoing outgoing_batch(Instance& instance, std::span<const Message> batch) {
  Outgoing out;
  out.code = request::kSendBatchMessage;
  out.batch = true;
  out.topic = wrapped(batch.front().topic, instance.config().name_space);
  Buffer body, properties;
  for (const Message& each : batch) {
    const std::string id = instance.unique_ids().next();
    out.message_id += (out.message_id.empty() ? "" : ",") + id;
    properties.clear();
    append_properties(properties, each, id, instance.config().name_space);
    protocol::append_batch_member(
        body, {.flag = each.flag, .body = as_bytes(each.body), .properties = properties});
  }
  out.body = std::move(body);
  out.message = batch.front();
  return out;
}

SendOperation::SendOperation(std::shared_ptr<ProducerCore> producer, Outgoing outgoing,
                             Target target, Mode mode, std::chrono::milliseconds timeout,
                             ProducerCore::Done done)
    : producer_{std::move(producer)},
      out_{std::move(outgoing)},
      target_{std::move(target)},
      mode_{mode},
      timeout_{timeout},
      bytes_{out_.body.size()},
      began_{producer_->instance_->env().clock.now()},
      deadline_{began_ + timeout},
      done_{std::move(done)} {}

std::chrono::milliseconds SendOperation::left() const {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
      deadline_ - producer_->instance_->env().clock.now());
}

Error SendOperation::out_of_time() const {
  return Error{
      .code = Errc::kTimeout,
      .detail = fmt::format("sendDefaultImpl call timeout: topic {}, {} ms, brokers tried: [{}]",
                            out_.message.topic, timeout_.count(), brokers_sent_),
      .perhaps_done = perhaps_stored_};
}

void SendOperation::start() {
  admitted_ = true;
  Instance& instance = *producer_->instance_;
  if (const auto known = instance.routes().publish(out_.topic); known && !known->queues.empty())
    return attempt(*known);
  instance.find_route(out_.topic, producer_->config_.default_topic_queues, deadline_,
                      [self = shared_from_this()](Result<PublishInfoPtr> route) {
                        if (!route) return self->finish(route.error());
                        self->attempt(**route);
                      });
}

const MessageQueue* SendOperation::choose(const PublishInfo& info, Error& why) {
  if (target_.queue) return &*target_.queue;
  if (target_.select) {
    std::vector<MessageQueue> shown = info.queues;
    for (MessageQueue& each : shown) each.topic = out_.message.topic;
    const std::size_t index = target_.select(shown, out_.message);
    if (index < info.queues.size()) return &info.queues[index];
    why = Error{Errc::kInvalidArgument,
                fmt::format("the selector chose queue {} of {}", index, info.queues.size())};
    return nullptr;
  }
  std::uint32_t at = info.next.fetch_add(1, std::memory_order_relaxed);
  const std::uint32_t begin = at;
  const MessageQueue* queue = &producer_->faults_.choose(info.queues, at, queue_.broker);
  if (at - begin > 1) info.next.fetch_add(at - begin - 1, std::memory_order_relaxed);
  return queue;
}

void SendOperation::attempt(const PublishInfo& info) {
  if (producer_->instance_->stopped())
    return finish(Error{.code = Errc::kStopped,
                        .detail = "the client is shut down",
                        .perhaps_done = perhaps_stored_});
  if (left() <= 0ms) return finish(out_of_time());
  Error why{Errc::kNotFound, {}};
  const MessageQueue* queue = choose(info, why);
  if (queue == nullptr) return finish(std::move(why));
  queue_ = *queue;
  const std::string master = producer_->instance_->routes().master(queue_.broker);
  if (master.empty()) return find_broker_again();
  transmit(master);
}

/// A broker without a master's address may have one by now.
void SendOperation::find_broker_again() {
  const auto missing = [this] {
    return Error{Errc::kNotFound, "The broker[" + queue_.broker + "] not exist"};
  };
  if (std::exchange(refreshed_, true)) return retry_or_finish(missing());
  producer_->instance_->refresh_route(
      out_.topic, std::min(left(), producer_->instance_->config().api_timeout),
      [self = shared_from_this(), missing](const Result<PublishInfoPtr>&) {
        const std::string master = self->producer_->instance_->routes().master(self->queue_.broker);
        if (master.empty()) return self->retry_or_finish(missing());
        self->transmit(master);
      });
}

void SendOperation::transmit(const std::string& master) {
  Instance& instance = *producer_->instance_;
  const ProducerConfig& config = producer_->config_;
  address_ = instance.config().vip_channel ? vip(master) : master;
  brokers_sent_ += (attempts_ == 0 ? "" : ", ") + queue_.broker;
  ++attempts_;
  if (config.check_forbidden || config.before_send) {
    const SendEvent event{out_.message, config.group, address_, queue_};
    if (config.check_forbidden) {
      if (auto allowed = Instance::run_callback(config.check_forbidden, event); !allowed)
        return finish(allowed.error());
    }
    if (config.before_send) Instance::run_callback(config.before_send, event);
  }
  if (mode_ == Mode::kOneway) {
    instance.connections().oneway_frame(
        address_, [self = shared_from_this()](Buffer& out, std::int32_t opaque) {
          self->write(out, opaque);
        });
    return finish(SendReceipt{.message_id = out_.message_id, .queue = queue_});
  }
  auto limit = left();
  const bool more =
      mode_ == Mode::kSync && attempts_ <= config.retries && !target_.queue && !target_.select;
  if (config.attempt_timeout > 0ms && more) limit = std::min(limit, config.attempt_timeout);
  attempt_began_ = instance.env().clock.now();
  perhaps_stored_ = true;
  instance.connections().call_in_place(
      address_, [this](Buffer& out, std::int32_t opaque) { write(out, opaque); },  // see below
      limit,
      // Who has this has the other function, too: it keeps the operation for both.
      instance.observed(address_, out_.code,
                        remoting::AnsweredInPlace{[self = shared_from_this()](
                                                      const Result<protocol::CommandView>& answer) {
                          self->answered(answer);
                        }}));
}

/// In the binary encoding: a fraction of the work of JSON for either side. Apache's brokers read
/// both, and answer in the one they are configured for; Apogee's in that of the request.
void SendOperation::write(Buffer& out, std::int32_t opaque) const {
  const Instance& instance = *producer_->instance_;
  static thread_local Buffer properties;  // its memory is used again
  if (properties.capacity() > kPropertiesKept) properties = {};
  properties.clear();
  append_properties(properties, out_, instance.config().name_space);
  protocol::SendMessageV2 header;
  header.producer_group = producer_->group_;
  header.topic = out_.topic;
  header.default_topic = producer_->config_.create_topic_key;
  header.default_topic_queue_nums = producer_->config_.default_topic_queues;
  header.queue_id = queue_.queue_id;
  header.sys_flag = out_.sys_flag;
  header.born_timestamp = instance.env().clock.wall_ms();
  header.flag = out_.message.flag;
  header.properties = properties;
  header.reconsume_times = out_.reconsume_times;
  header.max_reconsume_times = out_.max_reconsume_times;
  header.batch = out_.batch;
  const protocol::CommandHead head{.code = out_.code,
                                   .opaque = opaque,
                                   .flag = mode_ == Mode::kOneway ? protocol::kOnewayFlag : 0,
                                   .serialization = protocol::Serialization::kBinary};
  constexpr std::size_t kFieldsBytes = 768;  // without the properties, with the writer's room ahead
  out.reserve(out.size() + kFieldsBytes + properties.size() + out_.body.size());
  if (instance.adds_no_fields())
    return protocol::encode_command(out, head, header, as_bytes(out_.body));
  protocol::CommandWriter writer{out, head};
  instance.for_each_field(
      address_, out_.code, header, as_bytes(out_.body),
      [&](std::string_view name, std::string_view text) { writer.field(name, text); });
  writer.finish(out_.body.size());
  out += out_.body;
}

Result<SendReceipt> SendOperation::receipt_of(const protocol::CommandView& answer) {
  SendReceipt receipt;
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
      return Error{Errc::kRefused,
                   fmt::format("CODE: {}  DESC: {} BROKER: {}", answer.code,
                               answer.remark.value_or(""), address_),
                   answer.code};
  }
  if (receipt.status == SendStatus::kOk)
    receipt.message_id = std::move(out_.message_id);  // nothing is sent again after that
  else
    receipt.message_id = out_.message_id;
  receipt.queue = queue_;
  receipt.queue.topic = out_.message.topic;
  receipt.region = "DefaultRegion";
  // The broker has the last word on the queue. An answer without a header has nothing to say.
  if (const auto header = protocol::read_header<protocol::SendMessageResponse>(answer)) {
    receipt.offset_message_id = header->message_id;
    receipt.queue.queue_id = header->queue_id;
    receipt.queue_offset = header->queue_offset;
    if (!out_.transaction_group.empty())
      receipt.transaction_id = header->transaction_id.value_or("");
    receipt.recall_handle = header->recall_handle.value_or("");
    if (out_.batch && header->batch_unique_id) receipt.message_id = *header->batch_unique_id;
    if (!header->region.empty()) receipt.region = header->region;
  }
  return receipt;
}

void SendOperation::answered(const Result<protocol::CommandView>& answer) {
  Instance& instance = *producer_->instance_;
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
      instance.env().clock.now() - attempt_began_);
  Result<SendReceipt> result = answer ? receipt_of(*answer) : Result<SendReceipt>{answer.error()};
  if (producer_->config_.after_send) {
    const SendEvent event{
        out_.message, producer_->config_.group,    address_,
        queue_,       result ? &*result : nullptr, result ? nullptr : &result.error()};
    Instance::run_callback(producer_->config_.after_send, event);
  }
  if (result) {
    producer_->faults_.update(queue_.broker, took, false, true);
    if (producer_->trace_) trace(took, *result);
    const bool plain = !target_.queue && !target_.select;
    if (result->status == SendStatus::kOk || mode_ != Mode::kSync || !plain ||
        !producer_->config_.retry_when_not_stored_ok)
      return finish(std::move(result));
    unsafe_ = *result;
    return retry_or_finish(
        Error{Errc::kRefused, std::string{"stored as "} + name_of(result->status)});
  }
  const bool by_broker = result.error().code == Errc::kRefused;
  if (by_broker) perhaps_stored_ = false;  // it said no
  const bool reachable = !by_broker && !producer_->config_.detect_slow_brokers;
  producer_->faults_.update(queue_.broker, took, true, reachable);
  // A broker that goes away says so: a new connection, please.
  if (result.error().response_code == response::kGoAway) instance.close_connection(address_);
  retry_or_finish(std::move(result.error()));
}

/// As SendMessageTraceHookImpl: what a broker has stored, and nothing of the trace itself.
void SendOperation::trace(std::chrono::milliseconds took, const SendReceipt& receipt) {
  const ProducerConfig& config = producer_->config_;
  if (out_.message.topic == config.trace_topic) return;
  const bool half = (out_.sys_flag & protocol::sys_flag::kPrepared) != 0;
  const bool delayed = out_.message.deliver.kind != Delivery::Kind::kNow;
  producer_->trace_->add(publish_record(
      {producer_->instance_->env().clock.wall_ms() - took.count(), receipt.region, config.group},
      {.topic = out_.message.topic,
       .message_id = receipt.message_id,
       .offset_message_id = receipt.offset_message_id,
       .tag = out_.message.tag,
       .keys = out_.message.keys,
       .store_host = address_,
       .body_bytes = bytes_,
       .type = half      ? TraceType::kHalf
               : delayed ? TraceType::kDelayed
                         : TraceType::kNormal},
      took.count(), receipt.status == SendStatus::kOk));
}

bool SendOperation::may_retry(const Error& error) const {
  const ProducerConfig& config = producer_->config_;
  if (error.code == Errc::kStopped || producer_->instance_->stopped()) return false;
  if (mode_ == Mode::kOneway) return false;
  if (mode_ == Mode::kSync) {
    if (target_.queue || target_.select || attempts_ > config.retries) return false;
    return error.code != Errc::kRefused || unsafe_.has_value() ||
           std::ranges::find(config.retry_response_codes, error.response_code) !=
               config.retry_response_codes.end();
  }
  return attempts_ <= config.retries_async && error.code != Errc::kRefused;
}

void SendOperation::retry_or_finish(Error error) {
  if (may_retry(error)) {
    if (left() <= 0ms) return finish(out_of_time());
    producer_->retried_.fetch_add(1, std::memory_order_relaxed);
    const auto info = producer_->instance_->routes().publish(out_.topic);
    if (info && !info->queues.empty()) return attempt(*info);
  }
  if (unsafe_) return finish(*unsafe_);
  if (attempts_ > 1)
    error.detail = fmt::format(
        "Send [{}] times, still failed, cost [{}]ms, Topic: {}, BrokersSent: "
        "[{}]: {}",
        attempts_,
        std::chrono::duration_cast<std::chrono::milliseconds>(
            producer_->instance_->env().clock.now() - began_)
            .count(),
        out_.message.topic, brokers_sent_, error.detail);
  error.perhaps_done = perhaps_stored_;
  finish(std::move(error));
}

void SendOperation::finish(Result<SendReceipt> result) {
  ProducerCore::Done done = std::exchange(done_, nullptr);
  if (!done) return;
  (result ? producer_->sent_ : producer_->failed_).fetch_add(1, std::memory_order_relaxed);
  if (admitted_) producer_->give_room(bytes_);
  Instance::run_callback(done, std::move(result));
}

}  // namespace apogee::client
