#include "client/routes.h"

#include <algorithm>
#include <set>

#include "protocol/field.h"
#include "protocol/names.h"

namespace apogee::client {
namespace {

/// More queues than any broker makes; a route may come from anywhere.
constexpr std::int32_t kQueuesMax = 65'536;

void add_queues(std::vector<MessageQueue>& queues, const std::string& topic,
                const std::string& broker, std::int32_t count) {
  for (std::int32_t id = 0; id < std::min(count, kQueuesMax); ++id)
    queues.push_back({topic, broker, id});
}

/// "broker-a:8;broker-b:8"
std::vector<MessageQueue> ordered_queues(const std::string& topic, std::string_view text) {
  std::vector<MessageQueue> queues;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(';'), text.size());
    const std::string_view entry = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t colon = entry.find(':');
    std::int32_t count = 0;
    if (colon == std::string_view::npos || !protocol::from_text(entry.substr(colon + 1), count))
      continue;
    add_queues(queues, topic, std::string{entry.substr(0, colon)}, count);
  }
  return queues;
}

std::vector<protocol::QueueData> by_broker(const protocol::TopicRouteData& route) {
  auto sorted = route.queue_datas;
  std::ranges::sort(sorted, {}, &protocol::QueueData::broker_name);
  return sorted;
}

bool has_master(const protocol::TopicRouteData& route, const std::string& broker) {
  return std::ranges::any_of(route.broker_datas, [&](const protocol::BrokerData& each) {
    return each.broker_name == broker && each.broker_addresses.contains(0);
  });
}

/// What a static topic's queues have for a broker: one for each scope, whoever keeps them.
constexpr std::string_view kStandsForABroker = "__syslo__", kGlobalScope = "__global__";
/// A queue of a static topic that no broker says it keeps: as of a broker that is not there.
constexpr std::string_view kNobody = "__syslo__none__";

std::string stands_for(std::string_view scope) {
  return std::string{kStandsForABroker} +
         std::string{scope == kGlobalScope ? scope.substr(2) : scope};
}

std::vector<MessageQueue> queues_of(const std::map<MessageQueue, std::string>& hosts) {
  std::vector<MessageQueue> queues;
  for (const auto& [queue, host] : hosts) queues.push_back(queue);
  return queues;
}

/// But for the masters.
std::shared_ptr<PublishInfo> publish_info(const std::string& topic,
                                          const protocol::TopicRouteData& route,
                                          const std::map<MessageQueue, std::string>& hosts,
                                          std::uint32_t first) {
  auto info = std::make_shared<PublishInfo>();
  info->next.store(first, std::memory_order_relaxed);
  if (route.order_topic_conf && !route.order_topic_conf->empty()) {
    info->ordered = true;
    info->queues = ordered_queues(topic, *route.order_topic_conf);
    return info;
  }
  if (!hosts.empty()) {
    info->queues = queues_of(hosts);
    return info;
  }
  for (const protocol::QueueData& each : by_broker(route)) {
    if ((each.perm & protocol::perm::kWrite) != 0 && has_master(route, each.broker_name))
      add_queues(info->queues, topic, each.broker_name, each.write_queue_nums);
  }
  return info;
}

std::vector<MessageQueue> readable_queues(const std::string& topic,
                                          const protocol::TopicRouteData& route,
                                          const std::map<MessageQueue, std::string>& hosts) {
  if (!hosts.empty()) return queues_of(hosts);
  std::vector<MessageQueue> queues;
  for (const protocol::QueueData& each : by_broker(route)) {
    if ((each.perm & protocol::perm::kRead) != 0)
      add_queues(queues, topic, each.broker_name, each.read_queue_nums);
  }
  return queues;
}

}  // namespace

bool is_of_static_topic(const MessageQueue& queue) {
  return queue.broker.starts_with(kStandsForABroker);
}

/// ClientMetadata.topicRouteData2EndpointsForStaticTopic. What a broker says comes from far away:
/// queues it has no right to have are none.
std::map<MessageQueue, std::string> hosts_of(const std::string& topic,
                                             const protocol::TopicRouteData& route) {
  const auto& by_broker = route.topic_queue_mapping_by_broker;
  if (!by_broker || !by_broker->members()) return {};
  std::vector<protocol::TopicQueueMappingInfo> mappings;
  std::map<std::string, std::int32_t> counts;  // scope -> queues
  for (const protocol::Json::Member& member : *by_broker->members()) {
    protocol::TopicQueueMappingInfo info;
    if (!protocol::from_json(member.value.front(), info)) continue;
    std::int32_t& count = counts[info.scope];
    count = std::max(count, std::min(info.total_queues, kQueuesMax));
    mappings.push_back(std::move(info));
  }
  std::map<MessageQueue, std::string> hosts;
  for (const auto& [scope, count] : counts)
    for (std::int32_t id = 0; id < count && hosts.size() < kQueuesMax; ++id)
      hosts.emplace(MessageQueue{topic, stands_for(scope), id}, kNobody);
  std::ranges::stable_sort(mappings, {}, &protocol::TopicQueueMappingInfo::epoch);
  for (const auto& info : mappings)
    for (const auto& [id, own_id] : info.own_ids)
      if (const auto at = hosts.find({topic, stands_for(info.scope), id}); at != hosts.end())
        at->second = info.broker_name;
  return hosts;
}

std::vector<MessageQueue> readable_queues(const std::string& topic,
                                          const protocol::TopicRouteData& route) {
  return readable_queues(topic, route, hosts_of(topic, route));
}

protocol::TopicRouteData capped(protocol::TopicRouteData route, std::int32_t queues) {
  for (protocol::QueueData& each : route.queue_datas) {
    const std::int32_t most = std::min(queues, each.read_queue_nums);
    each.read_queue_nums = each.write_queue_nums = most;
  }
  return route;
}

Routes::Change Routes::update(const std::string& topic, const protocol::TopicRouteData& route,
                              std::uint32_t first) {
  Change change;
  std::lock_guard lock{mutex_};
  bool moved = false;
  for (const protocol::BrokerData& each : route.broker_datas) {
    auto& known = brokers_[each.broker_name];
    change.brokers = change.brokers || !std::ranges::includes(known, each.broker_addresses);
    moved = moved || known != each.broker_addresses;
    known = each.broker_addresses;
  }
  if (moved) find_masters_again();
  const auto [at, is_new] = topics_.try_emplace(topic);
  Topic& known = at->second;
  const auto sorted = [](const protocol::TopicRouteData& of) {
    auto queues = of.queue_datas;
    auto brokers = of.broker_datas;
    std::ranges::sort(queues, {}, &protocol::QueueData::broker_name);
    std::ranges::sort(brokers, {}, &protocol::BrokerData::broker_name);
    return std::tuple{std::move(queues), std::move(brokers), of.order_topic_conf};
  };
  auto hosts = hosts_of(topic, route);
  change.route = is_new || sorted(known.route) != sorted(route) || known.hosts != hosts;
  if (!change.route) return change;
  known.route = route;
  known.hosts = std::move(hosts);
  publish(known, publish_info(topic, route, known.hosts, first));
  known.subscribe = readable_queues(topic, route, known.hosts);
  return change;
}

PublishInfoPtr Routes::publish(const std::string& topic) const {
  std::lock_guard lock{mutex_};
  const auto found = topics_.find(topic);
  return found == topics_.end() ? nullptr : found->second.publish;
}

std::optional<std::vector<MessageQueue>> Routes::subscribe(const std::string& topic) const {
  std::lock_guard lock{mutex_};
  const auto found = topics_.find(topic);
  if (found == topics_.end()) return std::nullopt;
  return found->second.subscribe;
}

std::optional<protocol::TopicRouteData> Routes::route(const std::string& topic) const {
  std::lock_guard lock{mutex_};
  const auto found = topics_.find(topic);
  if (found == topics_.end()) return std::nullopt;
  return found->second.route;
}

std::string Routes::master(const std::string& broker) const {
  std::lock_guard lock{mutex_};
  return master_of(broker);
}

std::string Routes::master(const MessageQueue& queue) const {
  std::lock_guard lock{mutex_};
  return master_of(host_of(queue));
}

std::string Routes::host(const MessageQueue& queue) const {
  std::lock_guard lock{mutex_};
  return host_of(queue);
}

const std::string& Routes::host_of(const MessageQueue& queue) const {
  if (!is_of_static_topic(queue)) return queue.broker;
  const auto topic = topics_.find(queue.topic);
  if (topic == topics_.end()) return queue.broker;
  const auto host = topic->second.hosts.find(queue);
  return host == topic->second.hosts.end() ? queue.broker : host->second;
}

const std::string& Routes::master_of(const std::string& broker) const {
  static const std::string kNone;
  const auto found = brokers_.find(broker);
  if (found == brokers_.end()) return kNone;
  const auto address = found->second.find(0);
  return address == found->second.end() ? kNone : address->second;
}

void Routes::publish(Topic& topic, std::shared_ptr<PublishInfo> info) {
  for (const MessageQueue& each : info->queues) info->masters.push_back(master_of(host_of(each)));
  if (topic.publish) topic.publish->replaced.store(true, std::memory_order_relaxed);
  topic.publish = std::move(info);
}

/// A broker of any topic has another address now.
void Routes::find_masters_again() {
  for (auto& [name, topic] : topics_) {
    if (!topic.publish) continue;
    auto info = std::make_shared<PublishInfo>();
    info->ordered = topic.publish->ordered;
    info->queues = topic.publish->queues;
    info->next.store(topic.publish->next.load(std::memory_order_relaxed),
                     std::memory_order_relaxed);
    publish(topic, std::move(info));
  }
}

std::optional<BrokerAddress> Routes::reader(const MessageQueue& queue, std::int64_t id,
                                            bool only_this) const {
  std::lock_guard lock{mutex_};
  const std::string& broker = host_of(queue);
  const auto found = brokers_.find(broker);
  if (found == brokers_.end() || found->second.empty()) return std::nullopt;
  auto address = found->second.find(id);
  if (address == found->second.end() && id != 0) address = found->second.find(id + 1);
  if (address == found->second.end() && !only_this) address = found->second.begin();
  if (address == found->second.end()) return std::nullopt;
  return BrokerAddress{broker, address->second, address->first};
}

std::string Routes::any_broker(const std::string& topic, std::uint64_t random) const {
  std::lock_guard lock{mutex_};
  const auto found = topics_.find(topic);
  if (found == topics_.end() || found->second.route.broker_datas.empty()) return {};
  const auto& brokers = found->second.route.broker_datas;
  const auto& addresses = brokers[random % brokers.size()].broker_addresses;
  return addresses.empty() ? std::string{} : addresses.begin()->second;
}

std::vector<BrokerAddress> Routes::brokers() const {
  std::lock_guard lock{mutex_};
  std::vector<BrokerAddress> all;
  for (const auto& [name, addresses] : brokers_)
    for (const auto& [id, address] : addresses) all.push_back({name, address, id});
  return all;
}

std::string Routes::name_of(const std::string& address) const {
  std::lock_guard lock{mutex_};
  for (const auto& [name, addresses] : brokers_)
    for (const auto& [id, each] : addresses)
      if (each == address) return name;
  return {};
}

void Routes::drop_offline() {
  std::lock_guard lock{mutex_};
  std::set<std::string> routed;
  for (const auto& [topic, known] : topics_)
    for (const auto& broker : known.route.broker_datas)
      for (const auto& [id, address] : broker.broker_addresses) routed.insert(address);
  std::size_t dropped = 0;
  for (auto broker = brokers_.begin(); broker != brokers_.end();) {
    dropped += std::erase_if(broker->second,
                             [&](const auto& each) { return !routed.contains(each.second); });
    broker = broker->second.empty() ? brokers_.erase(broker) : std::next(broker);
  }
  if (dropped > 0) find_masters_again();
}

}  // namespace apogee::client
