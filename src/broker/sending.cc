#include "broker/sending.h"

#include <deque>

#include "protocol/headers.h"
#include "protocol/names.h"
#include "protocol/properties.h"

namespace apogee::broker {
namespace {

namespace code = protocol::response_code;
namespace property = protocol::property;
using protocol::SendMessageRequest;
using remoting::Request;

constexpr std::int32_t kVersion3_4_9 = 121;  // from here a client says its own maxReconsumeTimes
constexpr std::int32_t kTopicSysUnit = 1, kTopicSysUnitSub = 2;

std::string_view trace_text(const Context& context) {
  return context.settings().trace_on ? "true" : "false";
}

/// One send on its way: what was asked, what is stored, how to answer. Reused from batch to batch,
/// buffers keep their capacity.
struct Send {
  const Request* request = nullptr;
  SendMessageRequest header;
  std::string topic;  // where it goes: may differ from the header's
  std::int32_t queue_id = 0;
  std::int32_t reply_queue_id = 0;
  std::string unique_key;
  Buffer properties, records;
  bool wait_durable = true;
  store::Append append;
};

/// Answers a send that was not stored. Java clients read extFields of every answer.
void refuse(const Context& context, const remoting::Responder& responder, std::int32_t response,
            std::string_view remark) {
  responder.reply(response, remark,
                  protocol::SendMessageRefusal{.region = context.settings().region_id,
                                               .trace_on = trace_text(context)});
}

/// A stored send whose answer waits for the disk; owns what the answer needs.
struct Stored {
  remoting::Responder responder;
  std::string message_ids, unique_key;
  std::int32_t queue_id;
  std::int64_t queue_offset;
  void answer(const Context& context, std::int32_t response,
              std::optional<std::string_view> remark = {}) const {
    protocol::SendMessageResponse header{
        .message_id = message_ids, .queue_id = queue_id, .queue_offset = queue_offset};
    header.region = context.settings().region_id;
    header.trace_on = trace_text(context);
    if (!unique_key.empty()) header.transaction_id = unique_key;
    responder.reply(response, remark, header);
  }
};

class Sending {
 public:
  Sending(Context& context, const SendSettings& settings)
      : context_{context}, settings_{settings} {}

  void process(std::span<const Request> requests) {
    // Per thread, so that a steady load allocates nothing: each io thread has its own batch under
    // way at a time.
    static thread_local std::deque<Send> sends;
    static thread_local std::vector<store::Append*> appends;
    static thread_local std::vector<Send*> accepted;
    if (sends.size() < requests.size()) sends.resize(requests.size());
    appends.clear();
    accepted.clear();
    for (std::size_t i = 0; i < requests.size(); ++i) {
      Send& send = sends[i];
      send.request = &requests[i];
      if (!prepare(send)) continue;
      accepted.push_back(&send);
      appends.push_back(&send.append);
    }
    if (appends.empty()) return;
    const auto began = context_.env.clock.now();
    context_.store.append(appends);
    const auto took =
        std::chrono::duration_cast<std::chrono::milliseconds>(context_.env.clock.now() - began)
            .count();
    finish(accepted, took);
  }

 private:
  bool refuse(const Send& send, std::int32_t response, std::string_view remark) {
    broker::refuse(context_, send.request->responder, response, remark);
    return false;
  }

  /// Checks and encodes. False: answered already.
  bool prepare(Send& send) {
    if (!read(send)) return false;
    TopicPtr topic;
    if (!check(send, topic)) return false;
    send.topic = send.header.topic;
    send.queue_id = send.header.queue_id;
    if (send.queue_id < 0)
      send.queue_id = topic->write_queue_nums > 0
                          ? static_cast<std::int32_t>(context_.env.random.below(
                                static_cast<std::uint64_t>(topic->write_queue_nums)))
                          : 0;
    send.reply_queue_id = send.queue_id;
    send.wait_durable = true;
    send.unique_key.clear();
    send.records.clear();
    if (send.header.batch.value_or(false)) return prepare_batch(send, *topic);
    return prepare_single(send, *topic);
  }

  bool read(Send& send) {
    const protocol::CommandView& command = send.request->command;
    if (command.code == protocol::request_code::kSendMessage) {
      auto header = protocol::read_header<protocol::SendMessageV1>(command);
      if (!header) return refuse(send, code::kSystemError, header.error().detail);
      send.header = *header;
    } else {
      auto header = protocol::read_header<protocol::SendMessageV2>(command);
      if (!header) return refuse(send, code::kSystemError, header.error().detail);
      send.header = *header;
    }
    return true;
  }

  /// AbstractSendMessageProcessor.msgCheck, in its order.
  bool check(Send& send, TopicPtr& topic) {
    const BrokerConfig& config = context_.settings();
    const SendMessageRequest& header = send.header;
    if (config.start_accept_send_ms > 0 &&
        context_.env.clock.wall_ms() < config.start_accept_send_ms) {
      return refuse(
          send, code::kSystemError,
          "broker unable to service, until " + std::to_string(config.start_accept_send_ms));
    }
    topic = context_.topics.find(header.topic);
    if ((config.permission & protocol::perm::kWrite) == 0 && topic && topic->order) {
      return refuse(send, code::kNoPermission,
                    "the broker[" + context_.address + "] sending message is forbidden");
    }
    if (!topic) {
      if (auto legal = protocol::check_topic(header.topic); !legal)
        return refuse(send, code::kInvalidParameter, legal.error().detail);
    }
    if (protocol::is_forbidden_to_send(header.topic)) {
      return refuse(send, code::kNoPermission,
                    "Sending message to topic[" + std::string{header.topic} + "] is forbidden.");
    }
    if (!topic) {
      const bool retry = protocol::is_retry_topic(header.topic);
      const std::int32_t flags = !header.unit_mode.value_or(false) ? 0
                                 : retry                           ? kTopicSysUnitSub
                                                                   : kTopicSysUnit;
      topic = context_.topics.create_on_send(header.topic, header.default_topic,
                                             header.default_topic_queue_nums, flags);
      if (!topic && retry)
        topic = context_.topics.create_if_absent(
            header.topic, 1, protocol::perm::kRead | protocol::perm::kWrite, flags);
      if (!topic) {
        return refuse(
            send, code::kTopicNotExist,
            "topic[" + std::string{header.topic} +
                "] not exist, apply first please!\nSee "
                "https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.");
      }
    }
    if (header.queue_id >= std::max(topic->write_queue_nums, topic->read_queue_nums)) {
      return refuse(send, code::kInvalidParameter,
                    fmt::format("request queueId[{}] is illegal, topic[{}] has {} write and {} "
                                "read queues Producer: {}",
                                header.queue_id, header.topic, topic->write_queue_nums,
                                topic->read_queue_nums, send.request->peer()->remote_text()));
    }
    const auto type = topic->attributes.find("queue.type");
    if (type != topic->attributes.end() && type->second == "BatchCQ")
      return refuse(send, code::kMessageIllegal,
                    "topics with queue.type=BatchCQ are not supported by this broker");
    if (send.request->command.body.empty())
      return refuse(send, code::kSystemError, "the message has no body");
    if (send.request->command.body.size() >
        static_cast<std::size_t>(context_.store.config().max_message_bytes))
      return refuse_put(send, store::PutStatus::kMessageIllegal);
    return true;
  }

  bool refuse_put(const Send& send, store::PutStatus status) {
    const PutAnswer answer = put_answer(status, context_);
    return refuse(send, answer.code, answer.remark);
  }

  /// One record of the send's topic and queue with these properties.
  Result<Ok> encode(Send& send, const protocol::TopicConfig& topic, std::int32_t flag, Bytes body,
                    std::string_view properties) {
    const protocol::Host born = protocol::host_from(send.request->peer()->remote().host,
                                                    send.request->peer()->remote().port);
    std::int32_t flags = send.header.sys_flag & ~protocol::sys_flag::kTransactionMask;
    if (topic.topic_filter_type == "MULTI_TAG") flags |= protocol::sys_flag::kMultiTags;
    return protocol::encode_message(send.records,
                                    {.queue_id = send.queue_id,
                                     .flag = flag,
                                     .sys_flag = flags,
                                     .born_timestamp = send.header.born_timestamp,
                                     .born_host = as_bytes(born.address),
                                     .born_port = born.port,
                                     .store_host = as_bytes(settings_.store_host.address),
                                     .store_port = settings_.store_host.port,
                                     .reconsume_times = send.header.reconsume_times.value_or(0),
                                     .body = body,
                                     .topic = send.topic,
                                     .properties = properties});
  }

  bool prepare_single(Send& send, const protocol::TopicConfig& topic) {
    bool dead = false;
    if (protocol::is_retry_topic(send.topic) && !redirect_exhausted_retry(send, dead)) return false;
    std::int32_t delay_level = 0;
    bool prepared = false, timed = false;
    Buffer& out = send.properties;
    out.clear();
    protocol::for_each_property(
        send.header.properties.value_or(""), [&](std::string_view name, std::string_view value) {
          // The broker's own words replace what a client (or an earlier store) has put there.
          if (name == property::kPopCheckpoint || name == property::kRegion ||
              name == property::kTraceOn || name == property::kCluster)
            return;
          if (name == property::kUniqueKey)
            send.unique_key = value;
          else if (name == property::kDelay) {
            protocol::from_text(value, delay_level);
            if (dead) return;
          } else if (name == property::kTransactionPrepared)
            prepared = value == "true";
          else if (name == property::kWait)
            send.wait_durable = value != "false";
          else if (name == property::kTimerDelaySec || name == property::kTimerDelayMs ||
                   name == property::kTimerDeliverMs)
            timed = true;
          protocol::append_property(out, name, value);
        });
    if (dead) {
      delay_level = 0;
      protocol::append_property(out, property::kDelay, "-1");
    }
    if (send.unique_key.empty()) {
      send.unique_key = make_unique_key();
      protocol::append_property(out, property::kUniqueKey, send.unique_key);
    }
    protocol::append_property(out, property::kRegion, context_.settings().region_id);
    protocol::append_property(out, property::kTraceOn, trace_text(context_));
    protocol::append_property(out, property::kCluster, context_.settings().cluster_name);
    if (prepared && !(send.header.reconsume_times.value_or(0) > 0 && delay_level > 0)) {
      if (context_.settings().reject_transaction_message) {
        return refuse(
            send, code::kNoPermission,
            "the broker[" + context_.address + "] sending transaction message is forbidden");
      }
      return refuse(send, code::kMessageIllegal,
                    "transactional messages are not supported by this broker");
    }
    if (timed && delay_level <= 0)
      return refuse(send, code::kMessageIllegal,
                    "messages timed by TIMER_* properties are not supported by this broker; use "
                    "delay levels");
    if (delay_level > 0) {
      delay_level = std::min(delay_level, settings_.levels.highest());
      protocol::append_property(out, property::kRealTopic, send.topic);
      protocol::append_property(out, property::kRealQueueId, std::to_string(send.queue_id));
      send.topic = protocol::kScheduleTopic;
      send.queue_id = delay_level - 1;
    }
    if (auto encoded = encode(send, topic, send.header.flag, send.request->command.body, out);
        !encoded)
      return refuse_put(send, store::PutStatus::kMessageIllegal);
    place(send, 1);
    return true;
  }

  /// SendMessageProcessor.handleRetryAndDLQ: a client that retries by itself. False: answered.
  bool redirect_exhausted_retry(Send& send, bool& dead) {
    const std::string group = send.topic.substr(protocol::kRetryPrefix.size());
    const GroupPtr config = context_.groups.find_or_create(group);
    if (!config)
      return refuse(send, code::kSubscriptionGroupNotExist,
                    "subscription group not exist, " + group);
    std::int32_t most = config->retry_max_times;
    if (send.request->command.version >= kVersion3_4_9 && send.header.max_reconsume_times)
      most = *send.header.max_reconsume_times;
    // A group that holds queue locks consumes orderly: its failures do not go round again.
    if (send.header.reconsume_times.value_or(0) <= most && !context_.queue_locks.any_held(group))
      return true;
    dead = true;
    send.topic = protocol::dlq_topic(group);
    send.queue_id = send.reply_queue_id = 0;
    if (!context_.topics.create_if_absent(send.topic, 1,
                                          protocol::perm::kRead | protocol::perm::kWrite, 0)) {
      return refuse(send, code::kSystemError, "topic[" + send.topic + "] not exist");
    }
    context_.stats.count_dead_letter(send.header.topic, group);
    return true;
  }

  bool prepare_batch(Send& send, const protocol::TopicConfig& topic) {
    if (send.topic.size() > protocol::kTopicLengthMax)
      return refuse(send, code::kMessageIllegal,
                    "message topic length too long " + std::to_string(send.topic.size()));
    if (protocol::is_retry_topic(send.topic))
      return refuse(send, code::kMessageIllegal,
                    "batch request does not support retry group " + send.topic);
    auto members = protocol::split_batch(send.request->command.body);
    if (!members) return refuse(send, code::kMessageIllegal, members.error().detail);
    for (const protocol::BatchMember& member : *members) {
      const auto delay = protocol::find_property(member.properties, property::kDelay);
      const bool special =
          (delay && *delay != "0") ||
          protocol::find_property(member.properties, property::kTransactionPrepared) == "true" ||
          protocol::find_property(member.properties, property::kTimerDelaySec) ||
          protocol::find_property(member.properties, property::kTimerDelayMs) ||
          protocol::find_property(member.properties, property::kTimerDeliverMs);
      if (special) return refuse_put(send, store::PutStatus::kMessageIllegal);
      if (auto encoded = encode(send, topic, member.flag, member.body, member.properties); !encoded)
        return refuse_put(send, store::PutStatus::kMessageIllegal);
    }
    if (const auto wait =
            protocol::find_property(send.header.properties.value_or(""), property::kWait))
      send.wait_durable = *wait != "false";
    if (const auto key =
            protocol::find_property(send.header.properties.value_or(""), property::kUniqueKey))
      send.unique_key = *key;
    place(send, static_cast<std::int32_t>(members->size()));
    return true;
  }

  static void place(Send& send, std::int32_t count) {
    send.append.topic = send.topic;
    send.append.queue_id = send.queue_id;
    send.append.records =
        std::as_writable_bytes(std::span{send.records.data(), send.records.size()});
    send.append.count = count;
    send.append.status = store::PutStatus::kUnknownError;
  }

  std::string make_unique_key() {
    // As long as a client's: 32 upper-case hexadecimal digits.
    return fmt::format("{:016X}{:016X}", context_.env.random.next(), context_.env.random.next());
  }

  void finish(const std::vector<Send*>& sends, std::int64_t took_ms) {
    const bool sync = context_.store.config().flush_disk_type == store::FlushDiskType::kSyncFlush;
    std::shared_ptr<std::vector<Stored>> waiting;
    std::int64_t end = 0;
    for (Send* send : sends) {
      const store::Append& append = send->append;
      if (append.status != store::PutStatus::kOk) {
        context_.stats.count_put_failed();
        refuse_put(*send, append.status);
        continue;
      }
      context_.stats.count_put(send->header.topic, append.count,
                               static_cast<std::int64_t>(append.records.size()));
      context_.stats.count_put_latency(send->header.topic, took_ms);
      Stored stored{send->request->responder, message_ids(append), send->unique_key,
                    send->reply_queue_id, append.queue_offset};
      if (!sync || !send->wait_durable) {
        stored.answer(context_, code::kSuccess);
        continue;
      }
      if (!waiting) waiting = std::make_shared<std::vector<Stored>>();
      waiting->push_back(std::move(stored));
      end =
          std::max(end, append.physical_offset + static_cast<std::int64_t>(append.records.size()));
    }
    if (!waiting) return;
    context_.store.when_durable(end, [waiting, &context = context_](store::PutStatus status) {
      for (const Stored& each : *waiting) {
        if (status == store::PutStatus::kOk) {
          each.answer(context, code::kSuccess);
        } else if (status == store::PutStatus::kFlushDiskTimeout) {
          each.answer(context, code::kFlushDiskTimeout);
        } else {
          const PutAnswer answer = put_answer(status, context);
          broker::refuse(context, each.responder, answer.code, answer.remark);
        }
      }
    });
  }

  std::string message_ids(const store::Append& append) const {
    const Bytes host = as_bytes(settings_.store_host.address);
    if (append.count == 1)
      return protocol::offset_message_id(host, settings_.store_host.port, append.physical_offset);
    std::string ids;
    for (const std::int64_t offset : append.physical_offsets)
      ids += (ids.empty() ? "" : ",") +
             protocol::offset_message_id(host, settings_.store_host.port, offset);
    return ids;
  }

  Context& context_;
  const SendSettings& settings_;
};

/// CONSUMER_SEND_MSG_BACK: a consumer could not handle a message; it comes again after a while, or
/// goes to the dead letters (AbstractSendMessageProcessor.consumerSendMsgBack). On the workers: it
/// reads the log and may make topics.
remoting::Answer send_back(Context& context, const SendSettings& settings,
                           const protocol::ConsumerSendMessageBackRequest& header,
                           const remoting::OwnedCommand& request) {
  using remoting::Answer;
  const GroupPtr group = context.groups.find_or_create(header.group);
  if (!group)
    return Answer::error(code::kSubscriptionGroupNotExist,
                         "subscription group not exist, " + header.group);
  if ((context.settings().permission & protocol::perm::kWrite) == 0)
    return Answer::error(code::kNoPermission,
                         "the broker[" + context.address + "] sending message is forbidden");
  if (group->retry_queue_nums <= 0) return {};
  constexpr std::int32_t kReadWrite = protocol::perm::kRead | protocol::perm::kWrite;
  std::string target = protocol::retry_topic(header.group);
  const auto retry =
      context.topics.create_if_absent(target, group->retry_queue_nums, kReadWrite,
                                      header.unit_mode.value_or(false) ? kTopicSysUnitSub : 0);
  if (!retry) return Answer::error(code::kSystemError, "topic[" + target + "] not exist");
  if ((retry->perm & protocol::perm::kWrite) == 0)
    return Answer::error(code::kNoPermission,
                         "the topic[" + target + "] sending message is forbidden");
  const store::RecordBytes record = context.store.record_at(header.offset);
  if (!record)
    return Answer::error(code::kSystemError,
                         "look message by offset failed, " + std::to_string(header.offset));
  protocol::Message message = *protocol::decode_message(record.bytes);

  protocol::Properties properties{message.properties};
  if (!properties.find(property::kRetryTopic)) properties.set(property::kRetryTopic, message.topic);
  properties.set(property::kWait, "false");
  if (!properties.find(property::kOriginMessageId))
    properties.set(property::kOriginMessageId,
                   protocol::offset_message_id(message.store_host, message.store_port,
                                               message.physical_offset));
  std::int32_t most = group->retry_max_times;
  if (request.version >= kVersion3_4_9 && header.max_reconsume_times)
    most = *header.max_reconsume_times;
  const bool dead = message.reconsume_times >= most || header.delay_level < 0;
  std::int32_t queue = static_cast<std::int32_t>(
      context.env.random.below(static_cast<std::uint64_t>(group->retry_queue_nums)));
  properties.remove(property::kRealTopic);
  properties.remove(property::kRealQueueId);
  properties.remove(property::kDelay);
  if (dead) {
    target = protocol::dlq_topic(header.group);
    queue = 0;
    if (!context.topics.create_if_absent(target, 1, kReadWrite, 0))
      return Answer::error(code::kSystemError, "topic[" + target + "] not exist");
    context.stats.count_dead_letter(message.topic, header.group);
  } else {
    const std::int32_t level =
        std::min(header.delay_level == 0 ? 3 + message.reconsume_times : header.delay_level,
                 settings.levels.highest());
    properties.set(property::kDelay, std::to_string(level));
    properties.set(property::kRealTopic, target);
    properties.set(property::kRealQueueId, std::to_string(queue));
    target = protocol::kScheduleTopic;
    queue = level - 1;
  }
  const std::string topic_before{message.topic};
  const Buffer text = properties.encode();
  message.topic = target;
  message.queue_id = queue;
  message.properties = text;
  ++message.reconsume_times;
  message.prepared_transaction_offset = 0;
  message.store_host = as_bytes(settings.store_host.address);
  message.store_port = settings.store_host.port;
  Buffer bytes;
  if (auto encoded = protocol::encode_message(bytes, message); !encoded)
    return Answer::error(code::kSystemError, encoded.error().detail);
  store::Append append{.topic = target,
                       .queue_id = queue,
                       .records = std::as_writable_bytes(std::span{bytes.data(), bytes.size()})};
  store::Append* batch[] = {&append};
  context.store.append(batch);
  if (append.status != store::PutStatus::kOk)
    return Answer::error(code::kSystemError, std::string{name_of(append.status)});
  context.stats.count_send_back(topic_before, header.group);
  return {};
}

}  // namespace

PutAnswer put_answer(store::PutStatus status, Context& context) {
  using store::PutStatus;
  switch (status) {
    case PutStatus::kOk:
      return {code::kSuccess, {}};
    case PutStatus::kFlushDiskTimeout:
      return {code::kFlushDiskTimeout, {}};
    case PutStatus::kMessageIllegal:
      return {code::kMessageIllegal,
              fmt::format("the message is illegal, maybe msg body or properties length not "
                          "matched. msg body length limit {}B, msg properties length limit 32KB.",
                          context.store.config().max_message_bytes)};
    case PutStatus::kServiceNotAvailable: {
      const store::StoreStatus store = context.store.status();
      return {
          code::kServiceNotAvailable,
          "service not available now. It may be caused by one of the following reasons: the "
          "broker's disk is full [CL: " +
              fmt::format("{:.2f} CQ: {:.2f}", store.commit_log_disk_ratio,
                          store.consume_queue_disk_ratio) +
              "], messages are put to the slave, message store has been shut down, etc." +
              (store.not_writable_because.empty() ? "" : " Here: " + store.not_writable_because)};
    }
    case PutStatus::kPageCacheBusy:
      return {code::kSystemBusy, "[PC_SYNCHRONIZED]broker busy, start flow control for a while"};
    case PutStatus::kCreateFileFailed:
      return {code::kSystemError, "create mapped file failed, server is busy or broken."};
    case PutStatus::kUnknownError:
      return {code::kSystemError, "UNKNOWN_ERROR"};
  }
  return {code::kSystemError, "UNKNOWN_ERROR DEFAULT"};
}

void add_sending(remoting::Processors& processors, Context& context, const SendSettings& settings) {
  namespace request = protocol::request_code;
  processors.on_batch({request::kSendMessage, request::kSendMessageV2, request::kSendBatchMessage},
                      [sending = std::make_shared<Sending>(context, settings)](
                          std::span<const Request> requests) { sending->process(requests); });
  processors.on_worker<protocol::ConsumerSendMessageBackRequest>(
      [&context, &settings](const auto& header, const remoting::OwnedCommand& command,
                            const remoting::PeerPtr&) {
        return send_back(context, settings, header, command);
      });
}

}  // namespace apogee::broker
