#include "broker/request_reply.h"

#include "broker/put_record.h"
#include "protocol/codes.h"
#include "protocol/headers.h"
#include "protocol/names.h"
#include "protocol/properties.h"

namespace apogee::broker {
namespace {

namespace code = protocol::response_code;
namespace property = protocol::property;
using protocol::SendMessageRequest;
using remoting::Request;

constexpr auto kPushTimeout = 10s;  // Broker2Client.callClient

/// An answer that outlives its request: what is left to do once the push is acknowledged.
struct Reply {
  remoting::Responder responder;
  std::string topic, asker;
  std::int32_t queue_id;
  Buffer record;  // to be stored; empty: it is not
  InFlight::Token token;
};

class RequestReply {
 public:
  RequestReply(Context& context, const SendSettings& settings)
      : context_{context}, settings_{settings} {}

  void process(const SendMessageRequest& header, const Request& request) {
    if (auto refusal = check(header, request))
      return refuse(request.responder, refusal->code, refusal->remark);
    protocol::Properties properties{header.properties.value_or("")};
    properties.set(property::kRegion, context_.settings().region_id);
    properties.set(property::kTraceOn, context_.settings().trace_on ? "true" : "false");
    const auto asker = properties.find(property::kReplyToClient);
    auto reply = std::make_shared<Reply>(Reply{.responder = request.responder,
                                               .topic = std::string{header.topic},
                                               .asker = std::string{asker.value_or("")},
                                               .queue_id = queue_for(header),
                                               .record = {},
                                               .token = context_.in_flight.enter()});
    if (!reply->token) return refuse(request.responder, code::kServiceNotAvailable, "stopping");
    if (context_.settings().store_reply_message) encode(header, request, properties, *reply);
    if (!asker)
      return finish(*reply, "reply message properties[" + std::string{property::kReplyToClient} +
                                "] is null");
    const auto peer = context_.producers.find_client(*asker);
    if (!peer)
      return finish(*reply,
                    "push reply message fail, channel of <" + reply->asker + "> not found.");
    properties.set(property::kPushReplyTime, std::to_string(context_.env.clock.wall_ms()));
    peer->call(protocol::PushReplyMessageRequest::kCode, push_header(header, request, properties),
               request.command.body, kPushTimeout,
               [this, reply](const Result<remoting::OwnedCommand>& answer) {
                 const bool arrived = answer && answer->code == code::kSuccess;
                 finish(*reply, arrived ? "" : "push reply message to " + reply->asker + "fail.");
               });
  }

 private:
  struct Refusal {
    std::int32_t code;
    std::string remark;
  };

  std::optional<Refusal> check(const SendMessageRequest& header, const Request& request) const {
    const BrokerConfig& config = context_.settings();
    if (config.start_accept_send_ms > context_.env.clock.wall_ms())
      return Refusal{code::kSystemError, "broker unable to service, until " +
                                             std::to_string(config.start_accept_send_ms)};
    const TopicPtr topic = context_.topics.find(header.topic);
    if (!topic)
      return Refusal{code::kTopicNotExist,
                     "topic[" + std::string{header.topic} + "] not exist, apply first please!"};
    if ((config.permission & topic->perm & protocol::perm::kWrite) == 0)
      return Refusal{code::kNoPermission,
                     "the broker[" + context_.address + "] sending message is forbidden"};
    if (header.queue_id >= std::max(topic->write_queue_nums, topic->read_queue_nums))
      return Refusal{code::kInvalidParameter,
                     fmt::format("request queueId[{}] is illegal, topic[{}] has {} write and {} "
                                 "read queues Producer: {}",
                                 header.queue_id, header.topic, topic->write_queue_nums,
                                 topic->read_queue_nums, request.peer()->remote_text())};
    return std::nullopt;
  }

  std::int32_t queue_for(const SendMessageRequest& header) const {
    if (header.queue_id >= 0) return header.queue_id;
    const TopicPtr topic = context_.topics.find(header.topic);
    if (!topic || topic->write_queue_nums < 1) return 0;
    return static_cast<std::int32_t>(
        context_.env.random.below(static_cast<std::uint64_t>(topic->write_queue_nums)));
  }

  protocol::PushReplyMessageRequest push_header(const SendMessageRequest& header,
                                                const Request& request,
                                                const protocol::Properties& properties) const {
    return {.producer_group = std::string{header.producer_group},
            .topic = std::string{header.topic},
            .default_topic = std::string{header.default_topic},
            .default_topic_queue_nums = header.default_topic_queue_nums,
            .queue_id = header.queue_id,
            .sys_flag = header.sys_flag,
            .born_timestamp = header.born_timestamp,
            .flag = header.flag,
            .properties = properties.encode(),
            .reconsume_times = header.reconsume_times,
            .unit_mode = header.unit_mode,
            .born_host = to_string(request.peer()->remote()),
            .store_host = to_string(settings_.store_host),
            .store_timestamp = context_.env.clock.wall_ms()};
  }

  /// A reply that cannot be encoded is pushed all the same, and not stored.
  void encode(const SendMessageRequest& header, const Request& request,
              const protocol::Properties& properties, Reply& reply) const {
    const Buffer text = properties.encode();
    const Endpoint& peer = request.peer()->remote();
    const protocol::Host born = protocol::host_from(peer.host, peer.port);
    auto encoded = protocol::encode_message(
        reply.record, {.queue_id = reply.queue_id,
                       .flag = header.flag,
                       .sys_flag = header.sys_flag & ~protocol::sys_flag::kTransactionMask,
                       .born_timestamp = header.born_timestamp,
                       .born_host = as_bytes(born.address),
                       .born_port = born.port,
                       .store_host = as_bytes(settings_.store_host.address),
                       .store_port = settings_.store_host.port,
                       .reconsume_times = header.reconsume_times.value_or(0),
                       .body = request.command.body,
                       .topic = reply.topic,
                       .properties = text});
    if (!encoded) {
      context_.env.log.warn("a reply is not stored: {}", encoded.error().detail);
      reply.record.clear();
    }
  }

  /// `failure`: why the push did not arrive; empty: it did.
  void finish(Reply& reply, const std::string& failure) const {
    protocol::SendMessageResponse answer{.message_id = "0", .queue_id = reply.queue_id};
    std::string id;
    if (!reply.record.empty()) {
      const RecordPut put = put_record(context_.store, reply.topic, reply.queue_id, reply.record);
      if (put) {
        context_.stats.count_put(reply.topic, 1, put.size);
        id = protocol::offset_message_id(as_bytes(settings_.store_host.address),
                                         settings_.store_host.port, put.physical_offset);
        answer.message_id = id;
        answer.queue_offset = put.queue_offset;
      } else {
        context_.env.log.warn("a reply is not stored: status={}", name_of(put.status));
      }
    }
    answer.region = context_.settings().region_id;
    answer.trace_on = context_.settings().trace_on ? "true" : "false";
    if (failure.empty()) return reply.responder.reply(code::kSuccess, {}, answer);
    context_.env.log.warn("{}", failure);
    reply.responder.reply(code::kSystemError, failure, answer);
  }

  void refuse(const remoting::Responder& responder, std::int32_t answer,
              std::string_view remark) const {
    responder.reply(
        answer, remark,
        protocol::SendMessageRefusal{.region = context_.settings().region_id,
                                     .trace_on = context_.settings().trace_on ? "true" : "false"});
  }

  Context& context_;
  const SendSettings& settings_;
};

}  // namespace

void add_request_reply(remoting::Processors& processors, Context& context,
                       const SendSettings& settings) {
  const auto work = std::make_shared<RequestReply>(context, settings);
  processors.on_async_code<protocol::SendMessageV1>(
      protocol::request_code::kSendReplyMessage,
      [work](const protocol::SendMessageV1& header, const Request& request) {
        work->process(header, request);
      });
  processors.on_async_code<protocol::SendMessageV2>(
      protocol::request_code::kSendReplyMessageV2,
      [work](const protocol::SendMessageV2& header, const Request& request) {
        work->process(header, request);
      });
}

}  // namespace apogee::broker
