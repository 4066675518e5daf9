#include "admin/admin.h"

#include "protocol/names.h"

namespace apogee::admin {
namespace {
namespace request = protocol::request_code;
constexpr auto kAdminGroup = "apogee_admin";
}  // namespace

Admin::Admin(Env& env, std::vector<std::string> name_servers, std::chrono::milliseconds timeout)
    : env_{env},
      name_servers_{std::move(name_servers)},
      timeout_{timeout},
      client_{remoting::make_client(env, {})} {}

template <class Header>
Result<remoting::OwnedCommand> Admin::call(const std::string& address, std::int32_t code,
                                           const Header& header, Buffer body) {
  auto answer = client_->call_and_wait(address, code, header, std::move(body), timeout_);
  if (!answer) return answer;
  if (answer->code != protocol::response_code::kSuccess)
    return Error{Errc::kRefused,
                 address + " answers " + std::to_string(answer->code) + ": " + answer->remark,
                 answer->code};
  return answer;
}

/// The first name server that answers; what it refuses is final.
template <class Header>
Result<remoting::OwnedCommand> Admin::ask_name_server(std::int32_t code, const Header& header) {
  Error last{Errc::kInvalidArgument, "no name server is given: -n HOST:PORT or NAMESRV_ADDR"};
  for (const std::string& server : name_servers_) {
    auto answer = call(server, code, header);
    if (answer || answer.error().code == Errc::kRefused) return answer;
    last = answer.error();
  }
  return last;
}

Result<protocol::ClusterInfo> Admin::clusters() {
  auto answer = ask_name_server(request::kGetBrokerClusterInfo, protocol::NoFields{});
  if (!answer) return answer.error();
  return protocol::decode_body<protocol::ClusterInfo>(std::string_view{answer->body});
}

Result<std::map<std::string, std::string>> Admin::runtime_info(const std::string& broker) {
  auto answer = call(broker, request::kGetBrokerRuntimeInfo, protocol::NoFields{});
  if (!answer) return answer.error();
  auto table = protocol::decode_body<protocol::KvTable>(std::string_view{answer->body});
  if (!table) return table.error();
  return std::move(table->table);
}

Result<protocol::TopicRouteData> Admin::route(const std::string& topic) {
  auto answer =
      ask_name_server(request::kGetRouteInfoByTopic,
                      protocol::RouteRequest{.topic = topic, .accept_standard_json_only = true});
  if (!answer) return answer.error();
  return protocol::decode_body<protocol::TopicRouteData>(std::string_view{answer->body});
}

Result<std::set<std::string>> Admin::topics() {
  auto answer = ask_name_server(request::kGetAllTopicListFromNameServer, protocol::NoFields{});
  if (!answer) return answer.error();
  auto list = protocol::decode_body<protocol::TopicList>(std::string_view{answer->body});
  if (!list) return list.error();
  return std::move(list->topic_list);
}

Result<std::vector<std::string>> Admin::masters(const std::string& cluster) {
  auto info = clusters();
  if (!info) return info.error();
  std::vector<std::string> addresses;
  for (const auto& [name, data] : info->broker_address_table) {
    if (!cluster.empty() && data.cluster != cluster) continue;
    if (const auto master = data.broker_addresses.find(0); master != data.broker_addresses.end())
      addresses.push_back(master->second);
  }
  if (addresses.empty())
    return Error{Errc::kNotFound,
                 cluster.empty() ? "the name server knows no broker"
                                 : "no broker of a cluster named " + cluster + " is registered"};
  return addresses;
}

Result<std::string> Admin::master_of(const std::string& broker_name) {
  auto info = clusters();
  if (!info) return info.error();
  const auto found = info->broker_address_table.find(broker_name);
  if (found == info->broker_address_table.end() || !found->second.broker_addresses.contains(0))
    return Error{Errc::kNotFound, "no master of a broker named " + broker_name + " is registered"};
  return found->second.broker_addresses.at(0);
}

Result<protocol::TopicStatsTable> Admin::topic_stats(const std::string& topic) {
  auto where = route(topic);
  if (!where) return where.error();
  protocol::TopicStatsTable all;
  for (const auto& broker : where->broker_datas) {
    if (!broker.broker_addresses.contains(0)) continue;
    auto answer = call(broker.broker_addresses.at(0), request::kGetTopicStatsInfo,
                       protocol::TopicRequest{topic});
    if (!answer) return answer.error();
    auto table = protocol::decode_body<protocol::TopicStatsTable>(std::string_view{answer->body});
    if (!table) return table.error();
    all.offset_table.merge(table->offset_table);
    all.topic_put_tps += table->topic_put_tps;
  }
  return all;
}

Result<Ok> Admin::create_topic(const std::string& broker, const protocol::TopicConfig& topic) {
  auto answer =
      call(broker, request::kUpdateAndCreateTopic,
           protocol::CreateTopicRequest{.topic = topic.topic_name,
                                        .default_topic = std::string{protocol::kDefaultTopic},
                                        .read_queue_nums = topic.read_queue_nums,
                                        .write_queue_nums = topic.write_queue_nums,
                                        .perm = topic.perm,
                                        .topic_filter_type = topic.topic_filter_type,
                                        .topic_sys_flag = topic.topic_sys_flag,
                                        .order = topic.order});
  if (!answer) return answer.error();
  return Ok{};
}

Result<Ok> Admin::delete_topic(const std::string& cluster, const std::string& topic) {
  auto brokers = masters(cluster);
  if (!brokers) return brokers.error();
  for (const std::string& broker : *brokers) {
    if (auto answer = call(broker, request::kDeleteTopicInBroker, protocol::TopicRequest{topic});
        !answer)
      return answer.error();
  }
  for (const std::string& server : name_servers_) {
    if (auto answer = call(server, request::kDeleteTopicInNameServer,
                           protocol::DeleteTopicInNameServerRequest{.topic = topic});
        !answer)
      return answer.error();
  }
  return Ok{};
}

Result<std::vector<QueueProgress>> Admin::progress(const std::string& group) {
  // A group is known where its retry topic is, and where it has offsets.
  auto brokers = masters("");
  if (!brokers) return brokers.error();
  std::vector<QueueProgress> all;
  for (const std::string& broker : *brokers) {
    auto answer = call(broker, request::kGetConsumeStats,
                       protocol::ConsumeStatsRequest{.consumer_group = group});
    if (!answer) return answer.error();
    auto stats = protocol::decode_body<protocol::ConsumeStats>(std::string_view{answer->body});
    if (!stats) return stats.error();
    for (const auto& [queue, offsets] : stats->offset_table) all.push_back({queue, offsets});
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.queue < b.queue; });
  return all;
}

Result<std::vector<StoredMessage>> Admin::split(Buffer body) {
  std::vector<StoredMessage> messages;
  for (Bytes rest = as_bytes(body); !rest.empty();) {
    const auto message = protocol::decode_message(rest);
    if (!message) return message.error();
    messages.push_back({Buffer{as_text(rest.first(static_cast<std::size_t>(message->size)))}});
    rest = rest.subspan(static_cast<std::size_t>(message->size));
  }
  return messages;
}

Result<StoredMessage> Admin::message_by_offset_id(const std::string& id) {
  auto parsed = protocol::parse_offset_message_id(id);
  if (!parsed) return parsed.error();
  auto answer = call(protocol::to_string(parsed->host), request::kViewMessageById,
                     protocol::ViewMessageRequest{.offset = parsed->physical_offset});
  if (!answer) return answer.error();
  auto messages = split(std::move(answer->body));
  if (!messages) return messages.error();
  if (messages->empty()) return Error{Errc::kNotFound, "there is no message " + id};
  return std::move(messages->front());
}

Result<std::vector<StoredMessage>> Admin::pull(const std::string& group, const std::string& topic,
                                               const protocol::MessageQueue& queue,
                                               std::int64_t& offset, std::int32_t count) {
  auto address = master_of(queue.broker_name);
  if (!address) return address.error();
  protocol::PullMessageRequest header{};
  header.consumer_group = group;
  header.topic = topic;
  header.queue_id = queue.queue_id;
  header.queue_offset = offset;
  header.max_messages = count;
  header.sys_flag = protocol::pull_flag::kSubscription;
  header.commit_offset = 0;
  header.suspend_timeout_ms = 0;
  header.subscription = "*";
  header.sub_version = 0;
  header.expression_type = "TAG";
  Buffer frame;
  std::promise<Result<remoting::OwnedCommand>> promise;
  client_->call_frame(
      *address,
      [&](Buffer& out, std::int32_t opaque) {
        protocol::encode_command(out, {.code = request::kPullMessage, .opaque = opaque}, header);
      },
      timeout_,
      [&](Result<remoting::OwnedCommand> answer) { promise.set_value(std::move(answer)); });
  auto answer = promise.get_future().get();
  if (!answer) return answer.error();
  namespace code = protocol::response_code;
  if (answer->code != code::kSuccess && answer->code != code::kPullNotFound &&
      answer->code != code::kPullRetryImmediately && answer->code != code::kPullOffsetMoved) {
    return Error{Errc::kRefused,
                 *address + " answers " + std::to_string(answer->code) + ": " + answer->remark,
                 answer->code};
  }
  auto response = remoting::read_header<protocol::PullMessageResponse>(*answer);
  if (!response) return response.error();
  offset = response->next_begin_offset;
  if (answer->code != code::kSuccess) return std::vector<StoredMessage>{};
  return split(std::move(answer->body));
}

Result<StoredMessage> Admin::message_by_offset(const std::string& topic,
                                               const std::string& broker_name,
                                               std::int32_t queue_id, std::int64_t offset) {
  std::int64_t next = offset;
  auto messages =
      pull(std::string{protocol::kToolsGroup}, topic, {broker_name, queue_id, topic}, next, 1);
  if (!messages) return messages.error();
  if (messages->empty())
    return Error{Errc::kNotFound, "there is no message at offset " + std::to_string(offset) +
                                      " of queue " + std::to_string(queue_id)};
  return std::move(messages->front());
}

Result<std::vector<StoredMessage>> Admin::messages_by_key(const std::string& topic,
                                                          const std::string& key, bool unique,
                                                          std::int32_t max) {
  auto where = route(topic);
  if (!where) return where.error();
  std::vector<StoredMessage> all;
  for (const auto& broker : where->broker_datas) {
    if (!broker.broker_addresses.contains(0)) continue;
    protocol::QueryMessageRequest header{.topic = topic,
                                         .key = key,
                                         .max_num = max,
                                         .begin_timestamp = 0,
                                         .end_timestamp = env_.clock.wall_ms() + 3'600'000};
    if (unique) header.unique_key_query = "true";
    auto answer = call(broker.broker_addresses.at(0), request::kQueryMessage, header);
    if (!answer && answer.error().response_code == protocol::response_code::kQueryNotFound)
      continue;
    if (!answer) return answer.error();
    auto messages = split(std::move(answer->body));
    if (!messages) return messages.error();
    for (StoredMessage& each : *messages) all.push_back(std::move(each));
  }
  return all;
}

Result<SentMessage> Admin::send(const NewMessage& message) {
  auto where = route(message.topic);
  // An unknown topic is made like TBW102, as every client does.
  if (!where && where.error().response_code == protocol::response_code::kTopicNotExist)
    where = route(std::string{protocol::kDefaultTopic});
  if (!where) return where.error();
  for (const auto& queue : where->queue_datas) {
    if (!message.broker_name.empty() && queue.broker_name != message.broker_name) continue;
    const auto broker =
        std::find_if(where->broker_datas.begin(), where->broker_datas.end(),
                     [&](const auto& each) { return each.broker_name == queue.broker_name; });
    if ((queue.perm & protocol::perm::kWrite) == 0 || broker == where->broker_datas.end() ||
        !broker->broker_addresses.contains(0))
      continue;
    const std::string unique_key =
        fmt::format("{:016X}{:016X}", env_.random.next(), env_.random.next());
    Buffer properties;
    if (!message.tags.empty())
      protocol::append_property(properties, protocol::property::kTags, message.tags);
    if (!message.keys.empty())
      protocol::append_property(properties, protocol::property::kKeys, message.keys);
    protocol::append_property(properties, protocol::property::kUniqueKey, unique_key);
    protocol::append_property(properties, protocol::property::kWait, "true");
    protocol::SendMessageV2 header{};
    header.producer_group = kAdminGroup;
    header.topic = message.topic;
    header.default_topic = protocol::kDefaultTopic;
    header.queue_id = message.queue_id;
    header.born_timestamp = env_.clock.wall_ms();
    header.properties = properties;
    header.reconsume_times = 0;
    const std::string& address = broker->broker_addresses.at(0);
    std::promise<Result<remoting::OwnedCommand>> promise;
    client_->call_frame(
        address,
        [&](Buffer& out, std::int32_t opaque) {
          protocol::encode_command(out, {.code = request::kSendMessageV2, .opaque = opaque}, header,
                                   as_bytes(message.body));
        },
        timeout_,
        [&](Result<remoting::OwnedCommand> answer) { promise.set_value(std::move(answer)); });
    auto answer = promise.get_future().get();
    if (!answer) return answer.error();
    if (answer->code != 0)
      return Error{Errc::kRefused,
                   address + " answers " + std::to_string(answer->code) + ": " + answer->remark,
                   answer->code};
    SentMessage sent{.broker_name = queue.broker_name, .message_id = {}, .unique_key = unique_key};
    for (const auto& [name, value] : answer->ext) {
      if (name == "msgId")
        sent.message_id = value;
      else if (name == "queueId")
        protocol::from_text(value, sent.queue_id);
      else if (name == "queueOffset")
        protocol::from_text(value, sent.queue_offset);
    }
    return sent;
  }
  return Error{Errc::kNotFound, "no broker takes messages for topic " + message.topic};
}

Result<std::vector<protocol::MessageQueue>> Admin::queues(const std::string& topic) {
  auto where = route(topic);
  if (!where) return where.error();
  std::vector<protocol::MessageQueue> queues;
  for (const auto& data : where->queue_datas) {
    if ((data.perm & protocol::perm::kRead) == 0) continue;
    for (std::int32_t id = 0; id < data.read_queue_nums; ++id)
      queues.push_back({data.broker_name, id, topic});
  }
  return queues;
}

Result<std::int64_t> Admin::queue_offset(const protocol::MessageQueue& queue, bool max) {
  auto address = master_of(queue.broker_name);
  if (!address) return address.error();
  auto answer = call(*address, max ? request::kGetMaxOffset : request::kGetMinOffset,
                     protocol::QueueRequest{queue.topic, queue.queue_id});
  if (!answer) return answer.error();
  auto response = remoting::read_header<protocol::OffsetResponse>(*answer);
  if (!response) return response.error();
  return response->offset;
}

}  // namespace apogee::admin
