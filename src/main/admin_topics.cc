#include <algorithm>

#include <fmt/format.h>

#include "main/admin_command.h"
#include "protocol/names.h"

namespace apogee {
namespace {

using Kind = AdminOption::Kind;
using protocol::Json;

const AdminOption kTopic{"-t,--topic", "TOPIC", "Topic", Kind::kText, true};

Json strings(const std::set<std::string>& values) {
  return protocol::to_json(values);
}

Result<Ok> topic_list(AdminCall& call) {
  auto topics = call.admin.topics(call.timeout);
  if (!topics) return topics.error();
  if (!call.has("clusterModel")) {
    for (const std::string& each : *topics) call.report.line(printable(each));
    call.report.member("topics", strings(*topics));
    return Ok{};
  }
  Report::Table& table = call.report.table(
      "topics", {{"#Cluster Name", "cluster"}, {"#Topic", "topic"}, {"#Consumer Group", "group"}});
  Unanswered unanswered;
  std::size_t done = 0;
  for (const std::string& topic : *topics) {
    call.working(done++, topics->size(), "topics");
    if (protocol::is_retry_topic(topic) || protocol::is_dlq_topic(topic)) continue;
    const auto clusters = call.admin.clusters_of_topic(topic, call.timeout);
    const Cell cluster = !unanswered.has(clusters)        ? Unanswered::cell()
                         : clusters && !clusters->empty() ? Cell{*clusters->begin()}
                                                          : Cell{""};
    const auto groups = call.admin.groups_of_topic(topic, call.timeout);
    if (!unanswered.has(groups))
      table.add({cluster, topic, Unanswered::cell()});
    else if (!groups || groups->empty())
      table.add({cluster, topic, Cell{"", Json{}}});
    else
      for (const std::string& group : *groups) table.add({cluster, topic, group});
  }
  return unanswered.end();
}

Result<Ok> topic_cluster_list(AdminCall& call) {
  auto clusters = call.admin.clusters_of_topic(call.text("topic"), call.timeout);
  if (!clusters) return clusters.error();
  for (const std::string& each : *clusters) call.report.line(printable(each));
  call.report.member("clusters", strings(*clusters));
  return Ok{};
}

Result<Ok> topic_route(AdminCall& call) {
  auto route = call.admin.topic_route(call.text("topic"), call.timeout);
  if (!route) return route.error();
  Report::Table& table = call.report.table("brokers", {{"#ClusterName", "cluster"},
                                                       {"#BrokerName", "broker"},
                                                       {"#BrokerAddrs", "addresses"},
                                                       {"#ReadQueue", "readQueues"},
                                                       {"#WriteQueue", "writeQueues"},
                                                       {"#Perm", "perm"}});
  std::int32_t readable = 0, writable = 0;
  for (const auto& each : route->brokers) {
    std::string addresses;
    Json by_id = Json::object();
    for (const auto& [id, address] : each.addresses) {
      addresses += fmt::format("{}{}={}", addresses.empty() ? "" : ", ", id, address);
      by_id.set(std::to_string(id), protocol::to_json(address));
    }
    table.add({each.cluster, each.broker, Cell{"{" + printable(addresses) + "}", std::move(by_id)},
               each.read_queues, each.write_queues, each.perm});
    readable += each.read_queues;
    writable += each.write_queues;
  }
  call.report.line("");
  call.report.fact("Total brokers", "", static_cast<std::int64_t>(route->brokers.size()));
  call.report.fact("Total read queues", "readQueues", readable);
  call.report.fact("Total write queues", "writeQueues", writable);
  if (!route->order.empty()) call.report.fact("Order", "order", route->order);
  return Ok{};
}

Result<Ok> topic_status(AdminCall& call) {
  const std::string topic = call.text("topic");
  auto status = Result<admin::TopicStatus>{admin::TopicStatus{}};
  if (call.has("cluster")) {
    auto brokers = call.admin.masters(call.text("cluster"), call.timeout);
    if (!brokers) return brokers.error();
    for (const std::string& each : *brokers) {
      auto part = call.admin.topic_status(topic, each, call.timeout);
      if (!part) return part.error();
      std::ranges::move(part->queues, std::back_inserter(status->queues));
      status->put_per_second += part->put_per_second;
    }
  } else {
    status = call.admin.topic_status(topic, call.timeout);
  }
  if (!status) return status.error();
  Report::Table& table = call.report.table("queues", {{"#Broker Name", "broker"},
                                                      {"#QID", "queueId"},
                                                      {"#Min Offset", "minOffset"},
                                                      {"#Max Offset", "maxOffset"},
                                                      {"#Last Updated", "lastUpdated"}});
  for (const auto& each : status->queues)
    table.add({each.queue.broker, each.queue.queue_id, each.min_offset, each.max_offset,
               Cell{each.last_stored}});
  call.report.line("");
  call.report.fact("Topic Put TPS", "putTps", Cell{status->put_per_second, 2});
  return Ok{};
}

/// Keeps the other brokers' part of a topic's order.
Result<std::string> order_with(AdminCall& call, const std::string& topic,
                               const std::vector<std::string>& brokers, std::int32_t queues,
                               bool whole_cluster) {
  auto known = call.admin.brokers(call.timeout);
  if (!known) return known.error();
  std::map<std::string, std::string> parts;
  if (!whole_cluster) {
    if (const auto old = call.admin.order_of_topic(topic, call.timeout)) {
      for (std::size_t at = 0; at < old->size();) {
        const std::size_t end = std::min(old->find(';', at), old->size());
        const std::string part = old->substr(at, end - at);
        parts[part.substr(0, part.find(':'))] = part;
        at = end + 1;
      }
    }
  }
  for (const admin::Broker& each : *known)
    if (each.id == 0 && std::ranges::find(brokers, each.address) != brokers.end())
      parts[each.name] = fmt::format("{}:{}", each.name, queues);
  std::string order;
  for (const auto& [name, part] : parts) order += (order.empty() ? "" : ";") + part;
  return order;
}

Result<Ok> update_topic(AdminCall& call) {
  admin::TopicConfig topic;
  topic.name = call.text("topic");
  topic.read_queues = static_cast<std::int32_t>(call.number("readQueueNums", 8));
  topic.write_queues = static_cast<std::int32_t>(call.number("writeQueueNums", 8));
  topic.perm = static_cast<std::int32_t>(call.number("perm", 6));
  topic.ordered = call.boolean("order", false);
  topic.unit = call.boolean("unit", false);
  topic.has_unit_subscription = call.boolean("hasUnitSub", false);
  auto attributes = attributes_from(call.text("attributes"));
  if (!attributes) return attributes.error();
  topic.attributes = *std::move(attributes);
  auto brokers = brokers_meant(call);
  if (!brokers) return brokers.error();
  auto done = at_each(call, *brokers, "create topic to", [&](const std::string& broker) {
    return call.admin.create_topic(broker, topic, call.timeout);
  });
  if (done && topic.ordered) {
    auto order =
        order_with(call, topic.name, *brokers, topic.write_queues, !call.has("brokerAddr"));
    if (!order) return order.error();
    if (auto set = call.admin.set_order_of_topic(topic.name, *order, call.timeout); !set)
      return set;
    call.report.fact("Order", "order", *order);
  }
  call.report.fact("Topic", "topic", topic.name);
  call.report.fact("Read queues", "readQueues", topic.read_queues);
  call.report.fact("Write queues", "writeQueues", topic.write_queues);
  call.report.fact("Perm", "perm", topic.perm);
  return done;
}

Result<Ok> delete_topic(AdminCall& call) {
  const std::string topic = call.text("topic"), cluster = call.text("clusterName");
  if (auto gone = call.admin.delete_topic(topic, cluster, call.timeout); !gone) return gone;
  call.report.line(
      fmt::format("delete topic [{}] from cluster [{}] success.", printable(topic), cluster));
  call.report.line(fmt::format("delete topic [{}] from NameServer success.", printable(topic)));
  call.report.member("topic", protocol::to_json(topic));
  call.report.member("cluster", protocol::to_json(cluster));
  return Ok{};
}

Result<Ok> update_topic_perm(AdminCall& call) {
  const std::string name = call.text("topic");
  auto route = call.admin.topic_route(name, call.timeout);
  if (!route) return route.error();
  auto meant = brokers_meant(call);
  if (!meant) return meant.error();
  const auto perm = static_cast<std::int32_t>(call.number("perm", 6));
  std::vector<std::string> brokers;
  std::map<std::string, admin::TopicConfig> topics;
  bool found = false;
  for (const auto& each : route->brokers) {
    const auto master = each.addresses.find(0);
    if (master == each.addresses.end() || std::ranges::find(*meant, master->second) == meant->end())
      continue;
    found = true;
    if (each.perm == perm) {
      call.report.line("new perm equals to the old one on " + master->second);
      continue;
    }
    brokers.push_back(master->second);
    topics[master->second] = {.name = name,
                              .read_queues = each.read_queues,
                              .write_queues = each.write_queues,
                              .perm = perm,
                              .unit = (each.sys_flag & 1) != 0,
                              .has_unit_subscription = (each.sys_flag & 2) != 0,
                              .attributes = {}};
    topics[master->second].ordered = !route->order.empty();
  }
  if (!found)
    return Error{Errc::kNotFound, fmt::format("topic {} is not on a master that was named; "
                                              "`topicRoute -t {}` shows those that have it",
                                              name, name)};
  call.report.member("perm", protocol::to_json(perm));
  return at_each(call, brokers, "update topic perm in", [&](const std::string& broker) {
    return call.admin.create_topic(broker, topics[broker], call.timeout);
  });
}

Result<Ok> update_order_conf(AdminCall& call) {
  const std::string topic = call.text("topic"), method = call.text("method");
  call.report.member("topic", protocol::to_json(topic));
  if (method == "get") {
    auto order = call.admin.order_of_topic(topic, call.timeout);
    if (!order) return order.error();
    call.report.line(
        fmt::format("get orderConf success. topic=[{}], orderConf=[{}]", topic, *order));
    call.report.member("orderConf", protocol::to_json(*order));
    return Ok{};
  }
  if (method == "delete") {
    if (auto gone = call.admin.remove_order_of_topic(topic, call.timeout); !gone) return gone;
    call.report.line(fmt::format("delete orderConf success. topic=[{}]", topic));
    return Ok{};
  }
  if (method != "put" || !call.has("orderConf"))
    return Error{Errc::kInvalidArgument,
                 "-m is get, delete, or put with -v brokerName1:num;brokerName2:num"};
  const std::string order = call.text("orderConf");
  if (auto set = call.admin.set_order_of_topic(topic, order, call.timeout); !set) return set;
  call.report.line(
      fmt::format("update orderConf success. topic=[{}], orderConf=[{}]", topic, order));
  call.report.member("orderConf", protocol::to_json(order));
  return Ok{};
}

}  // namespace

AdminArea topic_commands() {
  return {
      "Topics",
      {{"topicList",
        "topic list",
        "All topics",
        "",
        {{"-c,--clusterModel", "", "With the cluster and the consumer groups of each",
          Kind::kSwitch}},
        {"topicList -n 127.0.0.1:9876", "topicList -n 127.0.0.1:9876 -c"},
        topic_list},
       {"updateTopic",
        "topic create",
        "Create or change a topic",
        "Without -b and -c: on the masters of all clusters.",
        {kTopic,
         kBrokerOption,
         kClusterOption,
         {"-r,--readQueueNums", "N", "Queues to read (8)", Kind::kNumber},
         {"-w,--writeQueueNums", "N", "Queues to write (8)", Kind::kNumber},
         {"-p,--perm", "N", "2 write, 4 read, 6 both (6)", Kind::kNumber},
         {"-o,--order", "BOOL", "Its queues have a fixed order, kept at the name servers",
          Kind::kBoolean},
         {"-u,--unit", "BOOL", "A topic of one unit", Kind::kBoolean},
         {"-s,--hasUnitSub", "BOOL", "Units subscribe to it", Kind::kBoolean},
         {"-a,--attributes", "CHANGES", "Attributes: +message.type=DELAY,-cleanup.policy"}},
        {"updateTopic -n 127.0.0.1:9876 -c DefaultCluster -t orders -r 16 -w 16",
         "topic create -n 127.0.0.1:9876 -t later -a +message.type=DELAY"},
        update_topic},
       {"updateTopicPerm",
        "topic perm",
        "Change who may use a topic",
        "",
        {kTopic,
         {"-p,--perm", "N", "2 write, 4 read, 6 both", Kind::kNumber, true},
         kBrokerOption,
         kClusterOption},
        {"updateTopicPerm -n 127.0.0.1:9876 -t orders -p 4 -c DefaultCluster"},
        update_topic_perm},
       {"deleteTopic",
        "topic delete",
        "Delete a topic and its messages",
        "",
        {kTopic,
         {"-c,--clusterName", "CLUSTER", "On all masters of this cluster", Kind::kText, true}},
        {"deleteTopic -n 127.0.0.1:9876 -t orders -c DefaultCluster"},
        delete_topic},
       {"topicRoute",
        "topic route",
        "Which brokers serve a topic",
        "",
        {kTopic, {"-l,--list", "", "As a list: what it always is here", Kind::kSwitch}},
        {"topicRoute -n 127.0.0.1:9876 -t orders"},
        topic_route},
       {"topicStatus",
        "topic status",
        "Offsets of a topic's queues",
        "",
        {kTopic, {"-c,--cluster", "CLUSTER", "On the masters of this cluster, whatever the route"}},
        {"topicStatus -n 127.0.0.1:9876 -t orders"},
        topic_status},
       {"topicClusterList",
        "topic clusters",
        "Clusters that have a topic",
        "",
        {kTopic},
        {"topicClusterList -n 127.0.0.1:9876 -t orders"},
        topic_cluster_list},
       {"updateOrderConf",
        "topic order",
        "Read or set the fixed order of a topic's queues",
        "",
        {kTopic,
         {"-m,--method", "METHOD", "put, get or delete", Kind::kText, true},
         {"-v,--orderConf", "ORDER", "brokerName1:num;brokerName2:num, for put"}},
        {"updateOrderConf -n 127.0.0.1:9876 -t orders -m put -v broker-a:8;broker-b:8"},
        update_order_conf}}};
}

}  // namespace apogee
