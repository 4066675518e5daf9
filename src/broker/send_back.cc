#include "broker/send_back.h"

#include <algorithm>
#include <limits>

#include "broker/put_record.h"
#include "protocol/names.h"
#include "protocol/properties.h"

namespace apogee::broker {
namespace {

namespace code = protocol::response_code;
namespace property = protocol::property;
using protocol::ConsumerSendMessageBackRequest;
using protocol::perm::kRead;
using protocol::perm::kWrite;
using remoting::Answer;

constexpr std::int32_t kVersion3_4_9 = 121;  // from here a client says its own maximum
constexpr std::int32_t kTopicSysUnitSub = 2;
constexpr std::int32_t kFirstRetryLevel = 3;  // 10 s; one level later each time

class SendBack {
 public:
  SendBack(Context& context, const SendSettings& settings)
      : context_{context}, settings_{settings} {}

  Answer process(const ConsumerSendMessageBackRequest& header,
                 const remoting::OwnedCommand& command) {
    const GroupPtr group = context_.groups.find_or_create(header.group);
    if (!group)
      return Answer::error(code::kSubscriptionGroupNotExist,
                           "subscription group not exist, " + header.group);
    if ((context_.settings().permission & kWrite) == 0)
      return Answer::error(code::kNoPermission,
                           "the broker[" + context_.address + "] sending message is forbidden");
    if (group->retry_queue_nums <= 0) return {};  // the group wants no retries: dropped
    const std::string retry = protocol::retry_topic(header.group);
    if (const TopicPtr there = context_.topics.find(retry); there && (there->perm & kWrite) == 0)
      return Answer::error(code::kNoPermission,
                           "the topic[" + retry + "] sending message is forbidden");
    if (const auto needed =
            context_.topics.need(retry, group->retry_queue_nums,
                                 header.unit_mode.value_or(false) ? kTopicSysUnitSub : 0);
        !needed)
      return Answer::error(code::kSystemError, needed.error().detail);
    const store::RecordBytes record = context_.store.record_at(header.offset);
    const auto message = protocol::decode_message(record.bytes);
    if (!message)
      return Answer::error(code::kSystemError,
                           "look message by offset failed, " + std::to_string(header.offset));
    const std::int32_t most =
        most_reconsume_times(*group, command.version, header.max_reconsume_times);
    if (message->reconsume_times >= most || header.delay_level < 0)
      return put_among_dead(header, command, *message);
    return put_for_later(header, *group, *message);
  }

 private:
  static protocol::Properties properties_of(const protocol::Message& message) {
    protocol::Properties properties{message.properties};
    if (!properties.find(property::kRetryTopic))
      properties.set(property::kRetryTopic, message.topic);
    properties.set(property::kWait, "false");
    if (!properties.find(property::kOriginMessageId))
      properties.set(property::kOriginMessageId,
                     protocol::offset_message_id(message.store_host, message.store_port,
                                                 message.physical_offset));
    return properties;
  }

  Answer put_among_dead(const ConsumerSendMessageBackRequest& header,
                        const remoting::OwnedCommand& command, const protocol::Message& message) {
    const std::string target = protocol::dlq_topic(header.group);
    // Whatever its permission: an operator who keeps clients off the dead loses none.
    if (const auto needed = context_.topics.need(target, 1); !needed)
      return Answer::error(code::kSystemError, needed.error().detail);
    protocol::Properties properties = properties_of(message);
    properties.set(property::kDelay, "0");
    context_.stats.count_dead_letter(message.topic, header.group);
    const auto owner =
        std::ranges::find(command.ext, "Owner", &decltype(command.ext)::value_type::first);
    context_.stats.count_sent_back_dead(header.origin_topic.value_or("null"), header.group,
                                        owner == command.ext.end() ? "null" : owner->second);
    return put(header.group, message, target, 0, properties);
  }

  Answer put_for_later(const ConsumerSendMessageBackRequest& header,
                       const protocol::SubscriptionGroupConfig& group,
                       const protocol::Message& message) {
    const std::int64_t wanted = header.delay_level == 0
                                    ? std::int64_t{kFirstRetryLevel} + message.reconsume_times
                                    : header.delay_level;
    const std::int64_t level = std::clamp<std::int64_t>(wanted, 1, settings_.levels.highest());
    const auto queue =
        context_.env.random.below(static_cast<std::uint64_t>(group.retry_queue_nums));
    protocol::Properties properties = properties_of(message);
    properties.set(property::kDelay, std::to_string(level));
    properties.set(property::kRealTopic, protocol::retry_topic(header.group));
    properties.set(property::kRealQueueId, std::to_string(queue));
    return put(header.group, message, std::string{protocol::kScheduleTopic},
               static_cast<std::int32_t>(level - 1), properties);
  }

  /// The same message under another name, once more consumed.
  Answer put(const std::string& group, const protocol::Message& original, const std::string& topic,
             std::int32_t queue_id, const protocol::Properties& properties) {
    const Buffer text = properties.encode();
    protocol::Message message = original;
    message.topic = topic;
    message.queue_id = queue_id;
    message.properties = text;
    if (message.reconsume_times < std::numeric_limits<std::int32_t>::max())
      ++message.reconsume_times;
    message.prepared_transaction_offset = 0;
    message.store_host = as_bytes(settings_.store_host.address);
    message.store_port = settings_.store_host.port;
    const RecordPut put = put_record(context_.store, message);
    if (put.status != store::PutStatus::kOk)
      return Answer::error(code::kSystemError, std::string{name_of(put.status)});
    if (topic == protocol::kScheduleTopic) {
      context_.stats.count_put(topic, 1, put.size);
      context_.stats.count_delayed(queue_id, 1, put.size);
    }
    context_.stats.count_send_back(original.topic, group);
    return {};
  }

  Context& context_;
  const SendSettings& settings_;
};

}  // namespace

std::int32_t most_reconsume_times(const protocol::SubscriptionGroupConfig& group,
                                  std::int32_t client_version, protocol::OptInt said) {
  return client_version >= kVersion3_4_9 && said ? *said : group.retry_max_times;
}

void add_send_back(remoting::Processors& processors, Context& context,
                   const SendSettings& settings) {
  processors.on_worker<ConsumerSendMessageBackRequest>(
      [work = std::make_shared<SendBack>(context, settings)](
          const ConsumerSendMessageBackRequest& header, const remoting::OwnedCommand& command,
          const remoting::PeerPtr&) { return work->process(header, command); });
}

}  // namespace apogee::broker
