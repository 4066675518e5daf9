#include <algorithm>

#include "admin/asking.h"
#include "protocol/codes.h"
#include "protocol/names.h"

namespace apogee {
namespace {

namespace request = protocol::request_code;
using admin::Asking;

/// TopicSysFlag.
constexpr std::int32_t kUnit = 1, kUnitSubscription = 2;

Result<Ok> add_status(Asking& ask, const std::string& topic, const std::string& broker,
                      admin::TopicStatus& all) {
  auto table = ask.body_of<protocol::TopicStatsTable>(broker, request::kGetTopicStatsInfo,
                                                      protocol::TopicRequest{topic});
  if (!table) return table.error();
  all.put_per_second += table->topic_put_tps;
  for (const auto& [queue, offset] : table->offset_table)
    all.queues.push_back({.queue = admin::queue_of(queue),
                          .min_offset = offset.min_offset,
                          .max_offset = offset.max_offset,
                          .last_stored = admin::time_of(offset.last_update_timestamp)});
  std::ranges::sort(all.queues, {}, &admin::QueueStatus::queue);
  return Ok{};
}

protocol::KvRequest order_key(const std::string& topic) {
  protocol::KvRequest header;
  header.config_namespace = protocol::kOrderTopicNamespace;
  header.key = topic;
  return header;
}

/// Name servers share nothing: what is written, is written to each.
template <class Header>
Result<Ok> at_all_name_servers(Asking& ask, std::int32_t code, const Header& header) {
  for (const std::string& each : ask.instance().name_servers().all())
    if (auto done = ask.done_by(each, code, header); !done) return done;
  return Ok{};
}

}  // namespace

Result<std::set<std::string>> Admin::topics(Milliseconds timeout) {
  auto list = Asking{*instance_, timeout}.body_of_name_server<protocol::TopicList>(
      request::kGetAllTopicListFromNameServer, protocol::NoFields{});
  if (!list) return list.error();
  return std::move(list->topic_list);
}

Result<admin::TopicRoute> Admin::topic_route(const std::string& topic, Milliseconds timeout) {
  auto data = Asking{*instance_, timeout}.route(topic);
  if (!data) return data.error();
  admin::TopicRoute route;
  route.order = data->order_topic_conf.value_or("");
  for (const auto& queues : data->queue_datas) {
    admin::TopicRoute::Queues each{.cluster = {},
                                   .broker = queues.broker_name,
                                   .addresses = {},
                                   .read_queues = queues.read_queue_nums,
                                   .write_queues = queues.write_queue_nums,
                                   .perm = queues.perm,
                                   .sys_flag = queues.topic_sys_flag};
    for (const auto& broker : data->broker_datas) {
      if (broker.broker_name != queues.broker_name) continue;
      each.cluster = broker.cluster;
      each.addresses = broker.broker_addresses;
    }
    route.brokers.push_back(std::move(each));
  }
  std::ranges::sort(route.brokers, {}, &admin::TopicRoute::Queues::broker);
  return route;
}

Result<std::set<std::string>> Admin::clusters_of_topic(const std::string& topic,
                                                       Milliseconds timeout) {
  auto route = topic_route(topic, timeout);
  if (!route) return route.error();
  std::set<std::string> clusters;
  for (const auto& each : route->brokers) clusters.insert(each.cluster);
  return clusters;
}

Result<admin::TopicStatus> Admin::topic_status(const std::string& topic, Milliseconds timeout) {
  Asking ask{*instance_, timeout};
  auto brokers = ask.brokers_of(topic);
  if (!brokers) return brokers.error();
  admin::TopicStatus all;
  for (const auto& [name, address] : *brokers)
    if (auto added = add_status(ask, topic, address, all); !added) return added.error();
  return all;
}

Result<admin::TopicStatus> Admin::topic_status(const std::string& topic, const std::string& broker,
                                               Milliseconds timeout) {
  Asking ask{*instance_, timeout};
  admin::TopicStatus status;
  if (auto added = add_status(ask, topic, broker, status); !added) return added.error();
  return status;
}

Result<Ok> Admin::create_topic(const std::string& broker, const admin::TopicConfig& topic,
                               Milliseconds timeout) {
  protocol::CreateTopicRequest header;
  header.topic = topic.name;
  header.default_topic = std::string{protocol::kDefaultTopic};
  header.read_queue_nums = topic.read_queues;
  header.write_queue_nums = topic.write_queues;
  header.perm = topic.perm;
  header.topic_filter_type = "SINGLE_TAG";
  header.topic_sys_flag =
      (topic.unit ? kUnit : 0) | (topic.has_unit_subscription ? kUnitSubscription : 0);
  header.order = topic.ordered;
  if (!topic.attributes.empty()) header.attributes = admin::attributes_text(topic.attributes);
  return Asking{*instance_, timeout}.done_by(broker, request::kUpdateAndCreateTopic, header);
}

Result<Ok> Admin::delete_topic(const std::string& topic, const std::string& cluster,
                               Milliseconds timeout) {
  Asking ask{*instance_, timeout};
  auto brokers = masters(cluster, ask.left());
  if (!brokers) return brokers.error();
  for (const std::string& broker : *brokers)
    if (auto done =
            ask.done_by(broker, request::kDeleteTopicInBroker, protocol::TopicRequest{topic});
        !done)
      return done;
  protocol::DeleteTopicInNameServerRequest header;
  header.topic = topic;
  if (!cluster.empty()) header.cluster_name = cluster;
  return at_all_name_servers(ask, request::kDeleteTopicInNameServer, header);
}

Result<std::string> Admin::order_of_topic(const std::string& topic, Milliseconds timeout) {
  auto answer = Asking{*instance_, timeout}.name_server(request::kGetKvConfig, order_key(topic));
  if (!answer) return answer.error();
  auto header = remoting::read_header<protocol::KvValueResponse>(*answer);
  if (!header) return header.error();
  return header->value.value_or("");
}

Result<Ok> Admin::set_order_of_topic(const std::string& topic, const std::string& order,
                                     Milliseconds timeout) {
  Asking ask{*instance_, timeout};
  protocol::KvRequest header = order_key(topic);
  header.value = order;
  return at_all_name_servers(ask, request::kPutKvConfig, header);
}

Result<Ok> Admin::remove_order_of_topic(const std::string& topic, Milliseconds timeout) {
  Asking ask{*instance_, timeout};
  return at_all_name_servers(ask, request::kDeleteKvConfig, order_key(topic));
}

Result<std::set<std::string>> Admin::groups_of_topic(const std::string& topic,
                                                     Milliseconds timeout) {
  Asking ask{*instance_, timeout};
  auto brokers = ask.brokers_of(topic);
  if (!brokers) return brokers.error();
  std::set<std::string> groups;
  for (const auto& [name, address] : *brokers) {
    auto list = ask.body_of<protocol::GroupList>(address, request::kQueryTopicConsumeByWho,
                                                 protocol::TopicRequest{topic});
    if (!list) return list.error();
    groups.merge(list->group_list);
  }
  return groups;
}

}  // namespace apogee
