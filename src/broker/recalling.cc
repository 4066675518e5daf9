#include "broker/recalling.h"

#include "broker/put_record.h"
#include "broker/timer_messages.h"
#include "broker/timing.h"
#include "protocol/headers.h"
#include "protocol/names.h"
#include "protocol/recall_handle.h"

namespace apogee::broker {
namespace {

namespace code = protocol::response_code;
namespace property = protocol::property;
using protocol::RecallHandle;
using protocol::RecallMessageRequest;
using protocol::RecallMessageResponse;
using remoting::Answer;
using remoting::OwnedCommand;
using remoting::PeerPtr;

constexpr std::string_view kRecallTag = "_RECALL_TAG_";

class Recalling {
 public:
  Recalling(Context& context, const SendSettings& settings)
      : context_{context}, settings_{settings} {}

  void process(const RecallMessageRequest& header, const remoting::Request& request) {
    RecallHandle handle;
    if (auto refused = check(header, handle)) return answer(request.responder, *refused, {});
    std::string topic = handle.topic;
    std::int32_t queue_id = 0;
    Buffer properties = properties_of(header, handle);
    // It must get into the timer: its time is not over, and checked.
    const auto refused = put_off(topic, queue_id, properties, context_, settings_);
    if (refused || topic != protocol::kTimerTopic)
      return answer(request.responder, {code::kSystemError, "recall failed, execute error"}, {});
    const RecordPut put = this->put(topic, queue_id, properties, *request.peer());
    if (put.status != store::PutStatus::kOk)
      return answer(request.responder, {code::kSystemError, "recall failed, execute error"}, {});
    context_.stats.count_put(handle.topic, 1, put.size);
    if (context_.store.config().flush_disk_type == store::FlushDiskType::kAsyncFlush)
      return answer(request.responder, {code::kSuccess, {}}, handle.message_id);
    context_.store.when_durable(
        put.end(), [this, responder = request.responder, id = handle.message_id,
                    token = settings_.waiting_answers.enter()](store::PutStatus status) {
          if (is_stored(status)) return answer(responder, {code::kSuccess, {}}, id);
          answer(responder, {code::kSystemError, "recall failed, execute error"}, {});
        });
  }

 private:
  /// In the published broker's order.
  std::optional<PutAnswer> check(const RecallMessageRequest& header, RecallHandle& handle) const {
    const BrokerConfig& config = context_.settings();
    const std::int64_t now = context_.env.clock.wall_ms();
    if (!config.recall_message)
      return PutAnswer{code::kNoPermission, "recall failed, operation is forbidden"};
    const bool writable = (config.permission & protocol::perm::kWrite) != 0;
    if (now < config.start_accept_send_ms || (!writable && !config.recall_when_not_writable))
      return PutAnswer{code::kServiceNotAvailable, "recall failed, broker service not available"};
    if (!context_.topics.contains(header.topic))
      return PutAnswer{code::kTopicNotExist,
                       "recall failed, the topic[" + header.topic + "] not exist"};
    const auto illegal = [](const char* why) { return PutAnswer{code::kIllegalOperation, why}; };
    auto parsed = protocol::parse_recall_handle(header.recall_handle);
    if (!parsed) return illegal("recall handle is invalid");
    handle = *std::move(parsed);
    if (handle.topic != header.topic) return illegal("recall failed, topic not match");
    if (handle.broker_name != config.broker_name)
      return illegal("recall failed, broker service not available");
    std::int64_t time = -1;
    if (!protocol::from_text(handle.timestamp, time) || time <= now ||
        time - now >= std::int64_t{context_.store.config().timer_delay_sec_max} * 1'000)
      return illegal("recall failed, timestamp invalid");
    return std::nullopt;
  }

  Buffer properties_of(const RecallMessageRequest& header, const RecallHandle& handle) const {
    Buffer properties;
    const auto add = [&](std::string_view name, std::string_view value) {
      protocol::append_property(properties, name, value);
    };
    add(property::kTags, kRecallTag);
    add(property::kTimerDeleteKey, context_.store.config().timer_delete_key_with_topic
                                       ? handle.topic + "+" + handle.message_id
                                       : handle.message_id);
    add(property::kUniqueKey, handle.message_id);
    add(property::kTimerDeliverMs, handle.timestamp);
    if (header.producer_group && !header.producer_group->empty())
      add(property::kProducerGroup, *header.producer_group);
    return properties;
  }

  RecordPut put(std::string_view topic, std::int32_t queue_id, std::string_view properties,
                const remoting::Peer& peer) {
    const protocol::Host born = protocol::host_from(peer.remote().host, peer.remote().port);
    return put_record(context_.store, {.queue_id = queue_id,
                                       .born_timestamp = context_.env.clock.wall_ms(),
                                       .born_host = as_bytes(born.address),
                                       .born_port = born.port,
                                       .store_host = as_bytes(settings_.store_host.address),
                                       .store_port = settings_.store_host.port,
                                       .body = as_bytes("0"),
                                       .topic = topic,
                                       .properties = properties});
  }

  void answer(const remoting::Responder& responder, const PutAnswer& said,
              const std::string& id) const {
    responder.reply(said.code, said.remark,
                    RecallMessageResponse{context_.settings().region_id, id});
  }

  Context& context_;
  const SendSettings& settings_;
};

}  // namespace

void add_recalling(remoting::Processors& processors, Context& context,
                   const SendSettings& settings) {
  processors.on_async<RecallMessageRequest>(
      [recalling = std::make_shared<Recalling>(context, settings)](
          const RecallMessageRequest& header, const remoting::Request& request) {
        recalling->process(header, request);
      });
  const auto on_timer = [&](std::int32_t number, std::string absent, auto tell) {
    processors.on_worker_code<protocol::NoFields>(
        number, [&settings, absent = std::move(absent), tell](const protocol::NoFields&,
                                                              const OwnedCommand&, const PeerPtr&) {
          if (!settings.timer) return Answer::error(code::kSystemError, absent);
          return Answer::with_body(tell(*settings.timer));
        });
  };
  on_timer(protocol::request_code::kGetTimerCheckPoint, "The checkpoint is null",
           [](const TimerMessages& timer) { return timer.checkpoint().encode(); });
  on_timer(protocol::request_code::kGetTimerMetrics, "The timer message store is null",
           [](const TimerMessages& timer) { return encode_body(timer.metrics()); });
}

}  // namespace apogee::broker
