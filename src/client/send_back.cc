#include "client/send_back.h"

#include <fmt/format.h>

#include "client/namespaces.h"
#include "protocol/codes.h"
#include "protocol/message.h"
#include "protocol/names.h"

namespace apogee::client {
namespace {

namespace property = protocol::property;
constexpr auto kSendBackTimeout = 5'000ms;
constexpr auto kRetrySendTimeout = 3'000ms;
constexpr std::int32_t kFirstRetryLevel = 3;

std::string text_of(std::string_view name) {
  return std::string{name};
}

}  // namespace

void SendBack::send(const std::shared_ptr<const ReceivedMessage>& message, std::int32_t delay_level,
                    Done done) const {
  // Its place in the log is that of a broker the queue may have left since: it is a new message.
  if (is_of_static_topic(message->queue))
    return send_to_retry_topic(*message, message->reconsume_times + 1, std::move(done));
  std::string address = instance_->routes().master(message->queue.broker);
  if (address.empty()) address = message->store_host;
  protocol::ConsumerSendMessageBackRequest header;
  header.offset = message->commit_log_offset;
  header.group = settings_.group;
  header.delay_level = delay_level;
  header.origin_message_id = message->message_id;
  header.origin_topic = wrapped(message->topic, instance_->config().name_space);
  header.unit_mode = settings_.unit_mode;
  header.max_reconsume_times = settings_.max_reconsume_times;
  instance_->call(
      address, protocol::ConsumerSendMessageBackRequest::kCode, header, {}, kSendBackTimeout,
      [self = *this, message,
       done = std::move(done)](const Result<remoting::OwnedCommand>& answer) mutable {
        if (answer && answer->code == protocol::response_code::kSuccess) return done(Ok{});
        if (self.instance_->stopped())
          return done(Error{Errc::kStopped, "the client is shut down"});
        self.instance_->env().log.warn(
            "message not sent back, it is sent to the retry topic: message={} reason=\"{}\"",
            message->message_id, answer ? answer->remark : answer.error().detail);
        self.send_to_retry_topic(*message, message->reconsume_times + 1, std::move(done));
      });
}

void SendBack::send_to_retry_topic(const ReceivedMessage& message, std::int32_t reconsume_times,
                                   Done done) const {
  Message retry;
  retry.topic = protocol::retry_topic(settings_.group);
  retry.body = message.body;
  retry.flag = message.flag;
  retry.properties = message.properties;
  for (const std::string_view each :
       {property::kTransactionPrepared, property::kWait, property::kDelay})
    retry.properties.erase(text_of(each));
  retry.properties.try_emplace(text_of(property::kOriginMessageId), message.message_id);
  retry.properties[text_of(property::kRetryTopic)] =
      wrapped(message.topic, instance_->config().name_space);
  retry.properties[text_of(property::kReconsumeTime)] = std::to_string(reconsume_times);
  retry.properties[text_of(property::kMaxReconsumeTimes)] =
      std::to_string(settings_.max_reconsume_times);
  retry.deliver = level(kFirstRetryLevel + message.reconsume_times);
  auto producer = inner_producer(instance_);
  if (!producer) return done(producer.error());
  (*producer)->send_as_is(std::move(retry), kRetrySendTimeout,
                          [done = std::move(done)](const Result<SendReceipt>& sent) {
                            if (sent) return done(Ok{});
                            done(sent.error());
                          });
}

}  // namespace apogee::client
