#include <algorithm>

#include "admin/asking.h"
#include "protocol/assignment.h"
#include "protocol/codes.h"
#include "protocol/names.h"

namespace apogee {
namespace admin {
namespace {

namespace response = protocol::response_code;

template <class E>
std::string name_in(E value) {
  const protocol::Json json = protocol::to_json(value);
  return json.text() ? *json.text() : std::string{};
}

Connection connection_of(const protocol::ConnectionInfo& info) {
  return {.client_id = info.client_id,
          .address = info.client_address,
          .language = info.language,
          .version = info.version,
          .version_name = version_name(info.version)};
}

// ---- Running info, as Java's ConsumerRunningInfo writes it

struct ProcessQueueBody {
  std::int64_t commit_offset = 0, cached_min = 0, cached_max = 0, cached_count = 0, cached_mib = 0,
               try_unlock_times = 0, last_lock = 0, last_pull = 0, last_consume = 0;
  bool locked = false, dropped = false;
  using Self = ProcessQueueBody;
  static constexpr auto kFields =
      MemberList{protocol::Field{"commitOffset", &Self::commit_offset},
                 protocol::Field{"cachedMsgMinOffset", &Self::cached_min},
                 protocol::Field{"cachedMsgMaxOffset", &Self::cached_max},
                 protocol::Field{"cachedMsgCount", &Self::cached_count},
                 protocol::Field{"cachedMsgSizeInMiB", &Self::cached_mib},
                 protocol::Field{"tryUnlockTimes", &Self::try_unlock_times},
                 protocol::Field{"locked", &Self::locked},
                 protocol::Field{"droped", &Self::dropped},
                 protocol::Field{"lastLockTimestamp", &Self::last_lock},
                 protocol::Field{"lastPullTimestamp", &Self::last_pull},
                 protocol::Field{"lastConsumeTimestamp", &Self::last_consume}};
};
struct RatesBody {
  double pull_rt = 0, pull_tps = 0, consume_rt = 0, consume_ok_tps = 0, consume_failed_tps = 0;
  std::int64_t failed = 0;
  using Self = RatesBody;
  static constexpr auto kFields =
      MemberList{protocol::Field{"pullRT", &Self::pull_rt},
                 protocol::Field{"pullTPS", &Self::pull_tps},
                 protocol::Field{"consumeRT", &Self::consume_rt},
                 protocol::Field{"consumeOKTPS", &Self::consume_ok_tps},
                 protocol::Field{"consumeFailedTPS", &Self::consume_failed_tps},
                 protocol::Field{"consumeFailedMsgs", &Self::failed}};
};
struct RunningInfoBody {
  std::map<std::string, std::string> properties;
  std::vector<protocol::SubscriptionData> subscriptions;
  std::map<protocol::MessageQueue, ProcessQueueBody> queues;
  std::map<std::string, RatesBody> status;
  std::string jstack;
  using Self = RunningInfoBody;
  static constexpr auto kFields = MemberList{
      protocol::Field{"properties", &Self::properties},
      protocol::Field{"subscriptionSet", &Self::subscriptions},
      protocol::Field{"mqTable", &Self::queues}, protocol::Field{"statusTable", &Self::status},
      protocol::Field{"jstack", &Self::jstack}};
};

RunningInfo info_from(RunningInfoBody body, std::string json) {
  RunningInfo info;
  info.properties = std::move(body.properties);
  info.stacks = std::move(body.jstack);
  info.json = std::move(json);
  for (const auto& each : body.subscriptions)
    info.subscriptions.push_back({each.topic, each.expression_type, each.sub_string});
  for (const auto& [queue, of] : body.queues)
    info.queues.push_back({.queue = queue_of(queue),
                           .commit_offset = of.commit_offset,
                           .cached_min_offset = of.cached_min,
                           .cached_max_offset = of.cached_max,
                           .cached_messages = of.cached_count,
                           .cached_mebibytes = of.cached_mib,
                           .try_unlock_times = of.try_unlock_times,
                           .locked = of.locked,
                           .dropped = of.dropped,
                           .last_locked = time_of(of.last_lock),
                           .last_pulled = time_of(of.last_pull),
                           .last_consumed = time_of(of.last_consume)});
  for (const auto& [topic, of] : body.status)
    info.topics[topic] = {.pull_ms = of.pull_rt,
                          .pulled_per_second = of.pull_tps,
                          .consume_ms = of.consume_rt,
                          .consumed_per_second = of.consume_ok_tps,
                          .failed_per_second = of.consume_failed_tps,
                          .failed_in_hour = of.failed};
  return info;
}

}  // namespace

bool RunningInfo::pushes() const {
  const auto type = properties.find("PROP_CONSUME_TYPE");
  return type != properties.end() && type->second == "CONSUME_PASSIVELY";
}

std::int64_t Progress::lag() const {
  std::int64_t sum = 0;
  for (const QueueProgress& each : queues) sum += each.lag();
  return sum;
}
std::int64_t Progress::in_flight() const {
  std::int64_t sum = 0;
  for (const QueueProgress& each : queues) sum += each.in_flight();
  return sum;
}

QueueProgress progress_of(const protocol::MessageQueue& queue,
                          const protocol::OffsetWrapper& offsets) {
  return {.queue = queue_of(queue),
          .broker_offset = offsets.broker_offset,
          .consumer_offset = offsets.consumer_offset,
          .pull_offset = offsets.pull_offset,
          .last_consumed = time_of(offsets.last_timestamp)};
}

}  // namespace admin

namespace {
namespace request = protocol::request_code;
using admin::Asking;

Result<admin::ConsumerConnections> connections_at(Asking& ask, const std::string& group,
                                                  const std::string& broker) {
  auto body = ask.body_of<protocol::ConsumerConnection>(broker, request::kGetConsumerConnectionList,
                                                        protocol::ConsumerGroupRequest{group});
  if (!body) return body.error();
  if (body->connection_set.empty())
    return Error{Errc::kNotFound, "no member of group " + group + " is online",
                 protocol::response_code::kConsumerNotOnline};
  admin::ConsumerConnections connections;
  for (const auto& each : body->connection_set)
    connections.members.push_back(admin::connection_of(each));
  for (const auto& [topic, each] : body->subscription_table)
    connections.subscriptions.push_back({each.topic, each.expression_type, each.sub_string});
  connections.consume_type = admin::name_in(body->consume_type);
  connections.message_model = admin::name_in(body->message_model);
  connections.consume_from = admin::name_in(body->consume_from_where);
  return connections;
}

/// Where a group can be asked about: the brokers of its retry topic, which comes with its first
/// member; else those of the topic; else all masters, for a group that has offsets and never had a
/// member.
Result<std::map<std::string, std::string>> brokers_of_group(Asking& ask, const std::string& group,
                                                            const std::string& topic) {
  for (const std::string& each : {protocol::retry_topic(group), topic}) {
    if (each.empty()) continue;
    auto found = ask.brokers_of(each);
    if (found || found.error().code != Errc::kNotFound) return found;
  }
  auto all = ask.clusters();
  if (!all) return all.error();
  std::map<std::string, std::string> masters;
  for (const auto& [name, data] : all->broker_address_table)
    if (const auto master = data.broker_addresses.find(0); master != data.broker_addresses.end())
      masters[name] = master->second;
  if (masters.empty()) return Error{Errc::kNotFound, "no broker is registered at the name server"};
  return masters;
}

}  // namespace

Result<Ok> Admin::create_group(const std::string& broker, const admin::GroupConfig& group,
                               Milliseconds timeout) {
  protocol::SubscriptionGroupConfig config;
  config.group_name = group.name;
  config.consume_enable = group.consume_enable;
  config.consume_from_min_enable = group.consume_from_min_enable;
  config.consume_broadcast_enable = group.consume_broadcast_enable;
  config.consume_message_orderly = group.consume_message_orderly;
  config.notify_consumer_ids_changed_enable = group.notify_consumer_ids_changed;
  config.retry_queue_nums = group.retry_queues;
  config.retry_max_times = group.retry_max_times;
  config.consume_timeout_minute = group.consume_timeout_minutes;
  config.broker_id = group.broker_id;
  config.which_broker_when_consume_slowly = group.which_broker_when_slow;
  config.group_sys_flag = group.sys_flag;
  config.attributes = group.attributes;
  if (!group.retry_policy.empty()) {
    auto policy = protocol::decode_body<protocol::GroupRetryPolicy>(group.retry_policy);
    if (!policy)
      return Error{Errc::kInvalidArgument,
                   "the retry policy is not the JSON of one: " + policy.error().detail};
    config.group_retry_policy = *std::move(policy);
  }
  const Buffer body = protocol::encode_body(config);
  return Asking{*instance_, timeout}.done_by(broker, request::kUpdateAndCreateSubscriptionGroup,
                                             protocol::NoFields{}, as_bytes(body));
}

Result<Ok> Admin::delete_group(const std::string& broker, const std::string& group,
                               bool clean_offsets, Milliseconds timeout) {
  protocol::DeleteGroupRequest header;
  header.group_name = group;
  header.clean_offset = clean_offsets;
  return Asking{*instance_, timeout}.done_by(broker, request::kDeleteSubscriptionGroup, header);
}

Result<admin::GroupConfig> Admin::group_config(const std::string& broker, const std::string& group,
                                               Milliseconds timeout) {
  // The whole table, as mqadmin asks for: request 352 is unknown to brokers of 4.9. Newer ones
  // answer page by page if asked to, and in one piece if not.
  auto table = Asking{*instance_, timeout}.body_of<protocol::SubscriptionGroupTable>(
      broker, request::kGetAllSubscriptionGroupConfig, protocol::NoFields{});
  if (!table) return table.error();
  const auto found = table->subscription_group_table.find(group);
  if (found == table->subscription_group_table.end())
    return Error{Errc::kNotFound, "broker " + broker + " has no group " + group};
  const protocol::SubscriptionGroupConfig& config = found->second;
  return admin::GroupConfig{
      .name = config.group_name,
      .consume_enable = config.consume_enable,
      .consume_from_min_enable = config.consume_from_min_enable,
      .consume_broadcast_enable = config.consume_broadcast_enable,
      .consume_message_orderly = config.consume_message_orderly,
      .notify_consumer_ids_changed = config.notify_consumer_ids_changed_enable,
      .retry_queues = config.retry_queue_nums,
      .retry_max_times = config.retry_max_times,
      .consume_timeout_minutes = config.consume_timeout_minute,
      .broker_id = config.broker_id,
      .which_broker_when_slow = config.which_broker_when_consume_slowly,
      .sys_flag = config.group_sys_flag,
      .retry_policy = protocol::encode_body(config.group_retry_policy),
      .attributes = config.attributes};
}

Result<Ok> Admin::set_consume_mode(const std::string& broker, const std::string& topic,
                                   const std::string& group, const std::string& mode,
                                   std::int32_t pop_share_queues, Milliseconds timeout) {
  protocol::MessageRequestModeBody body;
  body.topic = topic;
  body.consumer_group = group;
  body.mode = mode;
  body.pop_share_queues = pop_share_queues;
  const Buffer text = protocol::encode_body(body);
  return Asking{*instance_, timeout}.done_by(broker, request::kSetMessageRequestMode,
                                             protocol::NoFields{}, as_bytes(text));
}

Result<admin::ConsumerConnections> Admin::consumer_connections(const std::string& group,
                                                               Milliseconds timeout) {
  Asking ask{*instance_, timeout};
  auto brokers = brokers_of_group(ask, group, {});
  if (!brokers) return brokers.error();
  // Members register with every broker of their topics: the first that knows some knows all.
  Result<admin::ConsumerConnections> last = Error{Errc::kNotFound, "nobody was asked"};
  for (const auto& [name, address] : *brokers) {
    last = connections_at(ask, group, address);
    if (last || last.error().code != Errc::kNotFound) return last;
  }
  return last;
}

Result<admin::ConsumerConnections> Admin::consumer_connections(const std::string& group,
                                                               const std::string& broker,
                                                               Milliseconds timeout) {
  Asking ask{*instance_, timeout};
  return connections_at(ask, group, broker);
}

Result<std::vector<admin::Connection>> Admin::producer_connections(const std::string& group,
                                                                   const std::string& topic,
                                                                   Milliseconds timeout) {
  Asking ask{*instance_, timeout};
  auto brokers = ask.brokers_of(topic);
  if (!brokers) return brokers.error();
  std::map<std::string, admin::Connection> all;
  for (const auto& [name, address] : *brokers) {
    auto answer = ask.raw(address, request::kGetProducerConnectionList,
                          protocol::ProducerGroupRequest{group});
    if (!answer) return answer.error();
    // A broker that knows no producer of the group says system error.
    if (answer->code != protocol::response_code::kSuccess) continue;
    auto body = protocol::decode_body<protocol::ProducerConnection>(std::string_view{answer->body});
    if (!body) return body.error();
    for (const auto& each : body->connection_set)
      all.try_emplace(each.client_id, admin::connection_of(each));
  }
  if (all.empty())
    return Error{Errc::kNotFound,
                 "no producer of group " + group + " is connected to a broker of topic " + topic};
  std::vector<admin::Connection> connections;
  for (auto& [id, each] : all) connections.push_back(std::move(each));
  return connections;
}

Result<admin::GroupProgress> Admin::progress(const std::string& group, const std::string& topic,
                                             Milliseconds timeout) {
  Asking ask{*instance_, timeout};
  auto brokers = brokers_of_group(ask, group, topic);
  if (!brokers) return brokers.error();
  admin::GroupProgress all;
  all.group = group;
  protocol::ConsumeStatsRequest header;
  header.consumer_group = group;
  if (!topic.empty()) header.topic = topic;
  for (const auto& [name, address] : *brokers) {
    auto stats = ask.body_of<protocol::ConsumeStats>(address, request::kGetConsumeStats, header);
    if (!stats) return stats.error();
    all.consumed_per_second += stats->consume_tps;
    for (const auto& [queue, offsets] : stats->offset_table)
      all.queues.push_back(admin::progress_of(queue, offsets));
  }
  std::ranges::sort(all.queues, {}, &admin::QueueProgress::queue);
  return all;
}

Result<admin::RunningInfo> Admin::running_info(const std::string& group,
                                               const std::string& client_id, bool with_stacks,
                                               Milliseconds timeout) {
  Asking ask{*instance_, timeout};
  auto brokers = brokers_of_group(ask, group, {});
  if (!brokers) return brokers.error();
  protocol::ConsumerRunningInfoRequest header;
  header.consumer_group = group;
  header.client_id = client_id;
  header.jstack_enable = with_stacks;
  auto answer = ask.server(brokers->begin()->second, request::kGetConsumerRunningInfo, header);
  if (!answer) return answer.error();
  auto body = protocol::decode_body<admin::RunningInfoBody>(std::string_view{answer->body});
  if (!body) return body.error();
  return admin::info_from(*std::move(body), std::move(answer->body));
}

}  // namespace apogee
