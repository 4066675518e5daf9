#include "broker/request_reply.h"

#include <atomic>

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
constexpr std::int32_t kWaitingForTopicMax = 1'024;
constexpr std::int32_t kNotOfReplies = protocol::sys_flag::kTransactionMask |
                                       protocol::sys_flag::kInnerBatch |
                                       protocol::sys_flag::kNeedUnwrap;

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

  /// What makes a topic goes on on a worker, with a copy of the request.
  template <class Header>
  void take(const Header& header, const Request& request) {
    if (process(header, request, /*may_create=*/false)) return;
    if (waiting_for_topic_.fetch_add(1) >= kWaitingForTopicMax) {
      waiting_for_topic_.fetch_sub(1);
      return refuse(request.responder, code::kSystemBusy,
                    fmt::format("[OVERLOAD]system busy, start flow control for a while: {} replies "
                                "wait for their topic; the slow stage is the write of topics.json "
                                "to the disk",
                                kWaitingForTopicMax));
    }
    context_.on_worker([this, owned = std::make_shared<remoting::OwnedCommand>(request.command),
                        responder = request.responder] {
      std::vector<protocol::ExtField> scratch;
      const protocol::CommandView view = owned->view(scratch);
      if (const auto again = protocol::read_header<Header>(view))
        process(*again, Request{view, responder}, /*may_create=*/true);
      waiting_for_topic_.fetch_sub(1);
    });
  }

 private:
  /// False: its topic has to be made first.
  bool process(const SendMessageRequest& header, const Request& request, bool may_create) {
    TopicPtr topic;
    if (const auto refusal = check_target(context_, header, *request.peer(), may_create, topic)) {
      refuse(request.responder, refusal->code, refusal->remark);
      return true;
    }
    if (!topic) return false;
    push(header, request, queue_for(header, *topic));
    return true;
  }

  void push(const SendMessageRequest& header, const Request& request, std::int32_t queue_id) {
    protocol::Properties properties{header.properties.value_or("")};
    properties.set(property::kRegion, context_.settings().region_id);
    properties.set(property::kTraceOn, context_.settings().trace_on ? "true" : "false");
    const auto asker = properties.find(property::kReplyToClient);
    auto reply = std::make_shared<Reply>(Reply{.responder = request.responder,
                                               .topic = std::string{header.topic},
                                               .asker = std::string{asker.value_or("")},
                                               .queue_id = queue_id,
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

  std::int32_t queue_for(const SendMessageRequest& header,
                         const protocol::TopicConfig& topic) const {
    if (header.queue_id >= 0) return header.queue_id;
    if (topic.write_queue_nums < 1) return 0;
    return static_cast<std::int32_t>(
        context_.env.random.below(static_cast<std::uint64_t>(topic.write_queue_nums)));
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
    auto encoded = protocol::encode_message(reply.record,
                                            {.queue_id = reply.queue_id,
                                             .flag = header.flag,
                                             .sys_flag = header.sys_flag & ~kNotOfReplies,
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
  std::atomic<std::int32_t> waiting_for_topic_{0};
};

}  // namespace

void add_request_reply(remoting::Processors& processors, Context& context,
                       const SendSettings& settings) {
  const auto work = std::make_shared<RequestReply>(context, settings);
  processors.on_async_code<protocol::SendMessageV1>(
      protocol::request_code::kSendReplyMessage,
      [work](const protocol::SendMessageV1& header, const Request& request) {
        work->take(header, request);
      });
  processors.on_async_code<protocol::SendMessageV2>(
      protocol::request_code::kSendReplyMessageV2,
      [work](const protocol::SendMessageV2& header, const Request& request) {
        work->take(header, request);
      });
}

}  // namespace apogee::broker
