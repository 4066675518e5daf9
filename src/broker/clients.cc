#include "broker/clients.h"

#include <algorithm>

#include "protocol/codes.h"
#include "protocol/headers.h"
#include "protocol/message.h"

namespace apogee::broker {
namespace {

namespace code = protocol::response_code;
namespace request_code = protocol::request_code;
using remoting::Answer;
using remoting::Request;

constexpr std::chrono::milliseconds kCallTimeout{10'000};   // Broker2Client.callClient
constexpr std::chrono::milliseconds kStatusTimeout{5'000};  // Broker2Client.getConsumeStatus
constexpr std::int32_t kVersion3_1_8 = 62;                  // from here clients can be called
constexpr std::int32_t kUnitSubFlag = 2;                    // topicSysFlag: subscribed as a unit

// ---- Heartbeats --------------------------------------------------------------------------------

/// Registers one consumer group of a heartbeat; true: the broker's view of it differs.
bool register_group(Context& context, const Request& request, const ClientInfo& client,
                    const protocol::HeartbeatData& heartbeat, protocol::ConsumerData& data) {
  if (context.settings().reject_pull_consumer &&
      data.consume_type == protocol::ConsumeType::kActively)
    return false;
  const GroupPtr group = context.groups.find_or_create(data.group_name);
  if (!group) return false;
  const bool orderly = std::ranges::any_of(data.subscription_data_set, [&](const auto& each) {
    const TopicPtr topic = context.topics.find(each.topic);
    return topic && topic->order;
  });
  context.topics.create_if_absent(protocol::retry_topic(data.group_name), group->retry_queue_nums,
                                  protocol::perm::kRead | protocol::perm::kWrite,
                                  data.unit_mode ? kUnitSubFlag : 0, orderly);
  const bool without_subscriptions = heartbeat.heartbeat_fingerprint != 0 && heartbeat.without_sub;
  if (context.filter_data && !without_subscriptions)
    context.filter_data->registered(data.group_name, data.subscription_data_set);
  const auto registered = context.consumers.register_consumer(
      request.peer(), client,
      {.group = data.group_name,
       .mode = {data.consume_type, data.message_model, data.consume_from_where},
       .subscriptions = std::move(data.subscription_data_set),
       .without_subscriptions = without_subscriptions,
       .fingerprint = heartbeat.heartbeat_fingerprint,
       .notify = group->notify_consumer_ids_changed_enable});
  if (registered.changed)
    context.env.log.info("consumer group changed: group={} client={} address={}", data.group_name,
                         client.client_id, request.peer()->remote_text());
  return registered.subscription_changed;
}

Answer heartbeat(Context& context, const Request& request) {
  auto heartbeat = protocol::decode_body<protocol::HeartbeatData>(request.command.body);
  if (!heartbeat) return Answer::error(code::kSystemError, heartbeat.error().detail);
  const ClientInfo client{heartbeat->client_id, request.command.language, request.command.version};
  bool changed = false;
  const auto timed = [&](auto&& registration) {
    const Clock::Instant begun = context.env.clock.now();
    registration();
    return std::chrono::duration_cast<std::chrono::milliseconds>(context.env.clock.now() - begun)
        .count();
  };
  for (protocol::ConsumerData& each : heartbeat->consumer_data_set)
    context.stats.count_consumer_register(timed(
        [&] { changed = register_group(context, request, client, *heartbeat, each) || changed; }));
  for (const protocol::ProducerData& each : heartbeat->producer_data_set)
    context.stats.count_producer_register(timed(
        [&] { context.producers.register_producer(request.peer(), client, each.group_name); }));
  const bool v1 = heartbeat->heartbeat_fingerprint == 0;
  return Answer::with(
      protocol::HeartbeatResponse{.supports_v2 = true, .subscription_changed = v1 || changed});
}

Answer unregister(Context& context, const protocol::UnregisterClientRequest& header,
                  const Request& request) {
  if (header.producer_group)
    context.producers.unregister_producer(*request.peer(), *header.producer_group);
  if (header.consumer_group) {
    const GroupPtr group = context.groups.find(*header.consumer_group);
    context.consumers.unregister_consumer(request.peer(), *header.consumer_group,
                                          !group || group->notify_consumer_ids_changed_enable);
  }
  return {};
}

Answer check_client(Context& context, const Request& request) {
  auto body = protocol::decode_body<protocol::CheckClientBody>(request.command.body);
  if (!body) return Answer::error(code::kSystemError, body.error().detail);
  const std::string& type = body->subscription_data.expression_type;
  if (type.empty() || type == "TAG") return {};
  if (!context.settings().property_filter)
    return Answer::error(code::kSystemError,
                         "The broker does not support consumer to filter message by " + type);
  auto compiled = Sql92::compile(body->subscription_data.sub_string);
  if (!compiled) return Answer::error(code::kSubscriptionParseFailed, compiled.error().detail);
  return {};
}

// ---- Members -----------------------------------------------------------------------------------

Answer consumer_list(Context& context, const protocol::ConsumerGroupRequest& header) {
  protocol::ConsumerIdList list{context.consumers.client_ids(header.consumer_group)};
  if (list.consumer_id_list.empty())
    return Answer::error(code::kSystemError,
                         "no consumer for this group, " + header.consumer_group);
  return Answer::with_body(encode_body(list));
}

protocol::ConnectionInfo connection_of(const Member& member) {
  return {.client_address = member.peer->remote_text(),
          .client_id = member.client.client_id,
          .language = std::string{name_of(member.client.language)},
          .version = member.client.version};
}

Answer consumer_connections(Context& context, const protocol::ConsumerGroupRequest& header) {
  const auto group = context.consumers.snapshot(header.consumer_group);
  if (!group)
    return Answer::error(code::kConsumerNotOnline,
                         "the consumer group[" + header.consumer_group + "] not online");
  protocol::ConsumerConnection body;
  body.consume_from_where = group->mode.from_where;
  body.consume_type = group->mode.type;
  body.message_model = group->mode.model;
  for (const Member& each : group->members) body.connection_set.insert(connection_of(each));
  for (const SubscriptionPtr& each : group->subscriptions)
    body.subscription_table.emplace(each->data.topic, each->data);
  return Answer::with_body(encode_body(body));
}

Answer producer_connections(Context& context, const protocol::ProducerGroupRequest& header) {
  const auto members = context.producers.members(header.producer_group);
  if (members.empty())
    return Answer::error(code::kSystemError,
                         "the producer group[" + header.producer_group + "] not exist");
  protocol::ProducerConnection body;
  for (const Member& each : members) body.connection_set.insert(connection_of(each));
  return Answer::with_body(encode_body(body));
}

Answer all_producers(Context& context) {
  protocol::ProducerTable body;
  for (const auto& [group, members] : context.producers.all()) {
    for (const Member& each : members) {
      const protocol::ConnectionInfo connection = connection_of(each);
      // Java writes SocketAddress.toString() here: with a slash in front.
      body.data[group].push_back({.client_id = connection.client_id,
                                  .language = connection.language,
                                  .last_update_timestamp = each.last_heartbeat_ms,
                                  .remote_ip = '/' + connection.client_address,
                                  .version = connection.version});
    }
  }
  return Answer::with_body(encode_body(body));
}

// ---- Queue locks -------------------------------------------------------------------------------

Answer lock_queues(Context& context, const Request& request) {
  auto body = protocol::decode_body<protocol::LockBatchBody>(request.command.body);
  if (!body) return Answer::error(code::kSystemError, body.error().detail);
  protocol::LockBatchAnswer answer;
  for (const protocol::MessageQueue& each : body->mq_set)
    if (context.queue_locks.try_lock(body->consumer_group, body->client_id, each.topic,
                                     each.broker_name, each.queue_id))
      answer.lock_ok_mq_set.insert(each);
  return Answer::with_body(encode_body(answer));
}

Answer unlock_queues(Context& context, const Request& request) {
  auto body = protocol::decode_body<protocol::LockBatchBody>(request.command.body);
  if (!body) return Answer::error(code::kSystemError, body.error().detail);
  for (const protocol::MessageQueue& each : body->mq_set)
    context.queue_locks.unlock(body->consumer_group, body->client_id, each.topic, each.broker_name,
                               each.queue_id);
  return {};
}

// ---- Calls to consumers ------------------------------------------------------------------------

using Ext = std::vector<std::pair<std::string, std::string>>;

/// Passes a request on to one consumer and its answer back.
void call_consumer(Context& context, std::int32_t request, const std::string& group,
                   const std::string& client_id, Ext ext, Buffer body,
                   const remoting::Responder& responder) {
  const auto members = context.consumers.snapshot(group).value_or(GroupSnapshot{}).members;
  const auto member = std::ranges::find(members, client_id,
                                        [](const Member& each) { return each.client.client_id; });
  if (member == members.end())
    return responder.reply(code::kSystemError,
                           fmt::format("The Consumer <{}> <{}> not online", group, client_id));
  if (member->client.version < kVersion3_1_8)
    return responder.reply(
        code::kSystemError,
        fmt::format("The Consumer <{}> Version <{}> too low to finish, please upgrade it to "
                    "V3_1_8_SNAPSHOT",
                    client_id, member->client.version));
  const auto encode = [request, &ext, &body](Buffer& out, std::int32_t opaque) {
    protocol::CommandWriter writer{out, {.code = request, .opaque = opaque}};
    for (const auto& [name, value] : ext) writer.field(name, value);
    writer.finish(body.size());
    out += body;
  };
  member->peer->call_frame(encode, kCallTimeout, [=](Result<remoting::OwnedCommand> result) {
    Answer answer;
    if (result) {
      answer.code = result->code;
      if (!result->remark.empty()) answer.remark = result->remark;
      answer.ext = std::move(result->ext);
      answer.body = std::move(result->body);
    } else if (result.error().code == Errc::kTimeout) {
      answer = Answer::error(
          code::kConsumeMessageTimeout,
          fmt::format("consumer <{}> <{}> Timeout: {}", group, client_id, result.error().detail));
    } else {
      answer =
          Answer::error(code::kSystemError, fmt::format("invoke consumer <{}> <{}> Exception: {}",
                                                        group, client_id, result.error().detail));
    }
    remoting::reply(responder, answer);
  });
}

Ext ext_of(const protocol::CommandView& command) {
  Ext ext;
  for (const protocol::ExtField& each : command.ext) ext.emplace_back(each.name, each.value);
  return ext;
}

void set(Ext& ext, std::string_view name, std::string value) {
  std::erase_if(ext, [&](const auto& each) { return each.first == name; });
  ext.emplace_back(name, std::move(value));
}

void running_info(Context& context, const protocol::ConsumerRunningInfoRequest& header,
                  const Request& request) {
  call_consumer(context, request_code::kGetConsumerRunningInfo, header.consumer_group,
                header.client_id, ext_of(request.command), {}, request.responder);
}

/// Hands one stored message to one consumer, now.
void consume_directly(Context& context, const protocol::ConsumeMessageDirectlyRequest& header,
                      const Request& request) {
  Ext ext = ext_of(request.command);
  set(ext, "brokerName", context.settings().broker_name);
  if (const TopicPtr topic = context.topics.find(header.topic.value_or("")))
    set(ext, "topicSysFlag", std::to_string(topic->topic_sys_flag));
  if (const GroupPtr group = context.groups.find(header.consumer_group))
    set(ext, "groupSysFlag", std::to_string(group->group_sys_flag));
  const auto id = protocol::parse_offset_message_id(header.message_id.value_or(""));
  if (!id) return request.responder.reply(code::kSystemError, id.error().detail);
  context.readers.post(
      request.responder, [&context, header, ext = std::move(ext), offset = id->physical_offset,
                          responder = request.responder] {
        const store::RecordBytes record = context.store.record_at(offset);
        if (!record)
          return responder.reply(code::kSystemError,
                                 fmt::format("can not find message by the offset, {}", offset));
        call_consumer(context, request_code::kConsumeMessageDirectly, header.consumer_group,
                      header.client_id.value_or(""), ext, Buffer{as_text(record.bytes)}, responder);
      });
}

/// Collects the answers of several consumers; the last one sends the whole.
struct StatusCollection {
  explicit StatusCollection(remoting::Responder to) : responder{std::move(to)} {}
  std::mutex mutex;
  protocol::ConsumerStatusBody body;  // guarded by mutex
  std::size_t waiting = 0;            // guarded by mutex
  const remoting::Responder responder;
};

void consumer_status(Context& context, const protocol::ConsumerStatusRequest& header,
                     const Request& request) {
  auto members = context.consumers.snapshot(header.group).value_or(GroupSnapshot{}).members;
  if (members.empty())
    return request.responder.reply(
        code::kSystemError,
        fmt::format("No Any Consumer online in the consumer group: [{}]", header.group));
  const std::string& only = header.client_address.value_or("");
  if (!only.empty())
    std::erase_if(members, [&](const Member& each) { return each.client.client_id != only; });
  auto collection = std::make_shared<StatusCollection>(request.responder);
  collection->waiting = members.size();
  if (members.empty())
    return request.responder.reply(code::kSuccess, {}, protocol::NoFields{},
                                   as_bytes(encode_body(collection->body)));
  const protocol::ConsumerStatusRequest question{
      .topic = header.topic, .group = header.group, .client_address = {}};
  for (const Member& member : members) {
    member.peer->call(
        request_code::kGetConsumerStatusFromClient, question, {}, kStatusTimeout,
        [collection, id = member.client.client_id](Result<remoting::OwnedCommand> result) {
          std::lock_guard lock{collection->mutex};
          if (result && result->code == code::kSuccess) {
            auto body = protocol::decode_body<protocol::ConsumerStatusBody>(result->body);
            if (body) collection->body.consumer_table[id] = std::move(body->message_queue_table);
          }
          if (--collection->waiting == 0)
            collection->responder.reply(code::kSuccess, {}, protocol::NoFields{},
                                        as_bytes(encode_body(collection->body)));
        });
  }
}

}  // namespace

void add_clients(remoting::Processors& processors, Context& context) {
  using protocol::NoFields;
  processors.on_code<NoFields>(
      request_code::kHeartBeat,
      [&](const NoFields&, const Request& request) { return heartbeat(context, request); });
  processors.on<protocol::UnregisterClientRequest>(
      [&](const protocol::UnregisterClientRequest& header, const Request& request) {
        return unregister(context, header, request);
      });
  processors.on_code<NoFields>(
      request_code::kCheckClientConfig,
      [&](const NoFields&, const Request& request) { return check_client(context, request); });
  processors.on_code<protocol::ConsumerGroupRequest>(
      request_code::kGetConsumerListByGroup,
      [&](const protocol::ConsumerGroupRequest& header, const Request&) {
        return consumer_list(context, header);
      });
  processors.on_code<protocol::ConsumerGroupRequest>(
      request_code::kGetConsumerConnectionList,
      [&](const protocol::ConsumerGroupRequest& header, const Request&) {
        return consumer_connections(context, header);
      });
  processors.on<protocol::ProducerGroupRequest>(
      [&](const protocol::ProducerGroupRequest& header, const Request&) {
        return producer_connections(context, header);
      });
  processors.on_code<NoFields>(
      request_code::kGetAllProducerInfo,
      [&](const NoFields&, const Request&) { return all_producers(context); });
  processors.on_code<NoFields>(
      request_code::kLockBatchMq,
      [&](const NoFields&, const Request& request) { return lock_queues(context, request); });
  processors.on_code<NoFields>(
      request_code::kUnlockBatchMq,
      [&](const NoFields&, const Request& request) { return unlock_queues(context, request); });
  processors.on_async<protocol::ConsumerRunningInfoRequest>(
      [&](const protocol::ConsumerRunningInfoRequest& header, const Request& request) {
        running_info(context, header, request);
      });
  processors.on_async<protocol::ConsumeMessageDirectlyRequest>(
      [&](const protocol::ConsumeMessageDirectlyRequest& header, const Request& request) {
        consume_directly(context, header, request);
      });
  processors.on_async<protocol::ConsumerStatusRequest>(
      [&](const protocol::ConsumerStatusRequest& header, const Request& request) {
        consumer_status(context, header, request);
      });
}

Consumers::Changed notify_members(const LiveConfig& config) {
  return [&config](const std::string& group, const std::vector<Member>& members) {
    if (!config.now().notify_consumer_ids_changed) return;
    // After the answer to the request that is the reason: a Java client that rebalances while it
    // waits for its heartbeat's answer leaves out the one with its newer subscription.
    for (const Member& each : members)
      each.peer->loop().post([peer = each.peer, group] {
        peer->send_oneway(request_code::kNotifyConsumerIdsChanged,
                          protocol::ConsumerGroupRequest{group});
      });
  };
}

void ask_subscriptions(Context& context, const std::string& group, remoting::Peer& peer) {
  auto client_id = context.consumers.begin_asking(group, peer.id());
  if (!client_id) return;
  peer.call(
      request_code::kGetConsumerRunningInfo,
      protocol::ConsumerRunningInfoRequest{
          .consumer_group = group, .client_id = *std::move(client_id), .jstack_enable = false},
      {}, kCallTimeout,
      [&context, group, id = peer.id(),
       token = context.in_flight.enter()](const Result<remoting::OwnedCommand>& answer) {
        if (!token || !answer || answer->code != code::kSuccess) return;
        auto info = protocol::decode_body<protocol::ConsumerSubscriptions>(answer->body);
        if (!info) return;
        context.consumers.refresh_subscriptions(group, id, std::move(info->subscription_set));
      });
}

void forget_peer(Context& context, const remoting::Peer& peer) {
  context.long_polling.drop_peer(peer);
  context.consumers.drop_peer(peer);
  context.producers.drop_peer(peer);
}

void drop_silent_clients(Context& context) {
  auto silent = context.consumers.drop_silent();
  std::ranges::move(context.producers.drop_silent(), std::back_inserter(silent));
  for (const remoting::PeerPtr& peer : silent) {
    context.env.log.warn("client silent for two minutes: address={}", peer->remote_text());
    peer->close("no heartbeat");
  }
  context.queue_locks.drop_expired();
}

}  // namespace apogee::broker
