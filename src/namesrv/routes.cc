#include "namesrv/routes.h"

#include <algorithm>

#include "protocol/names.h"

namespace apogee::namesrv {
namespace {

constexpr std::chrono::milliseconds kTimeout{
    120'000};  // RouteInfoManager.DEFAULT_BROKER_CHANNEL_EXPIRED_TIME
/// Longest timeout a registration may ask for: a hostile one must not overflow the clock.
constexpr std::int64_t kTimeoutMaxMs = 365LL * 24 * 60 * 60 * 1000;
constexpr std::int32_t kSysUnit = 1, kSysUnitSub = 2;

std::int64_t least_id(const protocol::BrokerData& data) {
  return data.broker_addresses.empty() ? 0 : data.broker_addresses.begin()->first;
}

}  // namespace

// ---- Registration ------------------------------------------------------------------------------

std::optional<Routes::Registered> Routes::register_broker(
    const protocol::RegisterBrokerRequest& header, const protocol::RegisterBrokerBody& body,
    const remoting::PeerPtr& peer) {
  std::unique_lock lock{mutex_};
  Registered result;
  const BrokerAddress self{header.cluster_name, header.broker_address};
  const auto& table = body.topics;
  clusters_[header.cluster_name].insert(header.broker_name);
  auto [at, first] = groups_.try_emplace(header.broker_name);
  Group& group = at->second;
  const protocol::BrokerData before = group.data;
  if (first) {
    group.data.cluster = header.cluster_name;
    group.data.broker_name = header.broker_name;
  }
  group.new_style = header.enable_acting_master.has_value();
  group.data.enable_acting_master = header.enable_acting_master.value_or(false);
  group.data.zone_name = header.zone_name;
  auto& addresses = group.data.broker_addresses;
  const auto note_change = [&] {
    if (!(before == group.data)) group.version = next_version();
  };
  const std::int64_t least_before = least_id(group.data);
  const bool had_members = !addresses.empty();

  // A slave that became master registers its address under another id.
  std::erase_if(addresses, [&](const auto& entry) {
    return entry.second == header.broker_address && entry.first != header.broker_id;
  });

  const auto same_id = addresses.find(header.broker_id);
  if (same_id != addresses.end() && same_id->second != header.broker_address) {
    const auto other = live_.find({header.cluster_name, same_id->second});
    if (other != live_.end() &&
        other->second.data_version.state_version > table.data_version.state_version) {
      // Two brokers claim one id: the one with the older state loses (stale master coming back).
      live_.erase(self);
      note_change();
      return result;
    }
  }
  // A broker nobody knows must begin with its whole table: one topic alone would hide the others.
  if (same_id == addresses.end() && table.topic_config_table.size() == 1) {
    note_change();
    return std::nullopt;
  }

  const bool register_first = first || same_id == addresses.end() || same_id->second.empty();
  addresses[header.broker_id] = header.broker_address;

  const bool prime_slave =
      group.new_style && header.broker_id != 0 && header.broker_id == least_id(group.data);
  const auto known = live_.find(self);
  const bool version_changed =
      known == live_.end() || !(known->second.data_version == table.data_version);
  if (header.broker_id == 0 || prime_slave)
    take_topics(header, body, register_first, version_changed, prime_slave);

  Live& live = live_[self];
  live = {.last_update = clock_.now(),
          .timeout = header.heartbeat_timeout_ms
                         ? std::chrono::milliseconds{std::clamp<std::int64_t>(
                               *header.heartbeat_timeout_ms, 0, kTimeoutMaxMs)}
                         : kTimeout,
          .data_version = table.data_version,
          .peer = peer,
          .ha_server_address = header.ha_server_address.value_or("")};
  const auto servers = filter_servers_.find(self);
  const bool same_servers = servers == filter_servers_.end()
                                ? body.filter_server_list.empty()
                                : servers->second == body.filter_server_list;
  if (body.filter_server_list.empty())
    filter_servers_.erase(self);
  else
    filter_servers_[self] = body.filter_server_list;

  if (header.broker_id != 0) {
    if (const auto master = addresses.find(0); master != addresses.end()) {
      result.master_address = master->second;
      if (const auto alive = live_.find({header.cluster_name, master->second});
          alive != live_.end())
        result.ha_server_address = alive->second.ha_server_address;
    }
  }
  if (rules_.notify_min_broker_id_changed && had_members && least_id(group.data) < least_before) {
    Notice notice;
    for (const auto& [id, address] : addresses)
      if (address != header.broker_address) notice.addresses.push_back(address);
    notice.request = {.min_broker_id = least_id(group.data),
                      .broker_name = header.broker_name,
                      .min_broker_address = addresses.begin()->second,
                      .offline_broker_address = std::nullopt,
                      .ha_broker_address = live.ha_server_address};
    result.notices.push_back(std::move(notice));
  }
  note_change();
  if (!same_servers) group.version = next_version();
  return result;
}

void Routes::take_topics(const protocol::RegisterBrokerRequest& header,
                         const protocol::RegisterBrokerBody& body, bool first, bool version_changed,
                         bool prime_slave) {
  const auto& table = body.topics;
  // One topic is a change of it, and says nothing of the others.
  if (rules_.delete_topic_with_registration && version_changed && !first &&
      table.topic_config_table.size() > 1)
    remove_from_topics(header.broker_name, [&](const std::string& name) {
      return !table.topic_config_table.contains(name);
    });
  for (const auto& [name, config] : table.topic_config_table) {
    Topic& topic = topics_[name];
    if (!first && !version_changed && topic.brokers.contains(header.broker_name)) continue;
    std::int32_t permission = config.perm;
    if (prime_slave && header.enable_acting_master.value_or(false))
      permission &= ~protocol::perm::kWrite;
    put_queues(topic, {.broker_name = header.broker_name,
                       .perm = permission,
                       .read_queue_nums = config.read_queue_nums,
                       .topic_sys_flag = config.topic_sys_flag,
                       .write_queue_nums = config.write_queue_nums});
  }
  if (table.topic_queue_mapping_info_map && table.topic_queue_mapping_info_map->members()) {
    for (const auto& member : *table.topic_queue_mapping_info_map->members()) {
      mappings_[member.key][header.broker_name] = member.value.front();
      if (const auto topic = topics_.find(member.key); topic != topics_.end())
        topic->second.version = next_version();
    }
  }
}

void Routes::put_queues(Topic& topic, const protocol::QueueData& queues) {
  const auto present = topic.brokers.find(queues.broker_name);
  if (present != topic.brokers.end() && present->second == queues) return;
  topic.brokers[queues.broker_name] = queues;
  topic.version = next_version();
}

/// Takes a broker out of the topics that `only(name)` is true for; a topic without brokers is gone.
void Routes::remove_from_topics(const std::string& broker_name, auto&& only) {
  for (auto at = topics_.begin(); at != topics_.end();) {
    Topic& topic = at->second;
    if (only(at->first) && topic.brokers.erase(broker_name) > 0) topic.version = next_version();
    at = topic.brokers.empty() ? topics_.erase(at) : std::next(at);
  }
}

// ---- Removal -----------------------------------------------------------------------------------

std::vector<Notice> Routes::unregister(
    const std::vector<protocol::BrokerIdentityRequest>& brokers) {
  std::unique_lock lock{mutex_};
  std::vector<Notice> notices;
  for (const auto& broker : brokers)
    remove({broker.cluster_name, broker.broker_address}, broker.broker_name, notices);
  return notices;
}

std::vector<Notice> Routes::drop_peer(const remoting::Peer& peer) {
  std::unique_lock lock{mutex_};
  std::vector<BrokerAddress> gone;
  for (const auto& [broker, live] : live_) {
    if (live.peer && live.peer->id() == peer.id()) gone.push_back(broker);
  }
  std::vector<Notice> notices;
  for (const BrokerAddress& broker : gone) remove(broker, group_of(broker), notices);
  return notices;
}

Routes::Silent Routes::drop_silent() {
  std::unique_lock lock{mutex_};
  Silent silent;
  std::vector<BrokerAddress> gone;
  const auto now = clock_.now();
  for (const auto& [broker, live] : live_) {
    if (live.last_update + live.timeout >= now) continue;
    if (live.peer) silent.peers.push_back(live.peer);
    gone.push_back(broker);
  }
  for (const BrokerAddress& broker : gone) remove(broker, group_of(broker), silent.notices);
  return silent;
}

/// Empty: no group has this address.
std::string Routes::group_of(const BrokerAddress& broker) const {
  for (const auto& [name, group] : groups_) {
    if (group.data.cluster != broker.cluster) continue;
    for (const auto& [id, address] : group.data.broker_addresses) {
      if (address == broker.address) return name;
    }
  }
  return {};
}

void Routes::remove(const BrokerAddress& broker, const std::string& broker_name,
                    std::vector<Notice>& notices) {
  live_.erase(broker);
  filter_servers_.erase(broker);
  const auto at = groups_.find(broker_name);
  if (at == groups_.end()) return;
  Group& group = at->second;
  group.version = next_version();
  auto& addresses = group.data.broker_addresses;
  const bool was_least = !addresses.empty() && addresses.begin()->second == broker.address;
  // By address, not by id: another broker may have taken the id since, and one that leaves under a
  // stale id must not stay in routes (unRegisterBroker).
  std::erase_if(addresses, [&](const auto& member) { return member.second == broker.address; });
  if (addresses.empty()) {
    remove_group_topics(broker_name);
    const std::string cluster = group.data.cluster;
    groups_.erase(at);
    if (const auto names = clusters_.find(cluster); names != clusters_.end()) {
      names->second.erase(broker_name);
      if (names->second.empty()) clusters_.erase(names);
    }
    return;
  }
  if (was_least && rules_.notify_min_broker_id_changed && group.data.enable_acting_master) {
    Notice notice;
    for (const auto& [id, address] : addresses) notice.addresses.push_back(address);
    notice.request = {.min_broker_id = addresses.begin()->first,
                      .broker_name = broker_name,
                      .min_broker_address = addresses.begin()->second,
                      .offline_broker_address = broker.address,
                      .ha_broker_address = std::nullopt};
    notices.push_back(std::move(notice));
  }
  if (rules_.support_acting_master && group.data.enable_acting_master && !addresses.contains(0))
    wipe_write(broker_name);
}

void Routes::remove_group_topics(const std::string& broker_name) {
  remove_from_topics(broker_name, [](const std::string&) { return true; });
  for (auto topic = mappings_.begin(); topic != mappings_.end();) {
    topic->second.erase(broker_name);
    topic = topic->second.empty() ? mappings_.erase(topic) : std::next(topic);
  }
}

void Routes::wipe_write(const std::string& broker_name) {
  for (auto& [name, topic] : topics_) {
    const auto found = topic.brokers.find(broker_name);
    if (found == topic.brokers.end()) continue;
    protocol::QueueData queues = found->second;
    queues.perm &= ~protocol::perm::kWrite;
    put_queues(topic, queues);
  }
}

// ---- Liveness ----------------------------------------------------------------------------------

void Routes::heartbeat(const BrokerAddress& broker) {
  std::unique_lock lock{mutex_};
  if (const auto live = live_.find(broker); live != live_.end())
    live->second.last_update = clock_.now();
}

Routes::VersionAnswer Routes::compare_version(const BrokerAddress& broker,
                                              const protocol::DataVersion& version) {
  std::unique_lock lock{mutex_};
  const auto live = live_.find(broker);
  if (live == live_.end()) return {};
  live->second.last_update = clock_.now();
  return {.changed = !(live->second.data_version == version), .known = live->second.data_version};
}

// ---- Answers -----------------------------------------------------------------------------------

/// Without a master the smallest id acts for it, read only (pickupTopicRouteData).
void Routes::present_acting_master(protocol::BrokerData& data, const std::string& topic,
                                   const protocol::QueueData& queue) const {
  if (!rules_.support_acting_master || !data.enable_acting_master ||
      data.broker_addresses.empty() || data.broker_addresses.contains(0))
    return;
  if ((queue.perm & protocol::perm::kWrite) != 0 ||
      topic.starts_with(protocol::sync_member_topic("")))
    return;
  const auto least = data.broker_addresses.begin();
  const std::string address = least->second;
  data.broker_addresses.erase(least);
  data.broker_addresses[0] = address;
}

std::optional<protocol::TopicRouteData> Routes::route(const std::string& topic) const {
  std::shared_lock lock{mutex_};
  const auto found = topics_.find(topic);
  if (found == topics_.end()) return std::nullopt;
  protocol::TopicRouteData route;
  for (const auto& [broker_name, queue] : found->second.brokers) {
    route.queue_datas.push_back(queue);
    const auto group = groups_.find(broker_name);
    if (group == groups_.end()) continue;
    protocol::BrokerData data = group->second.data;
    present_acting_master(data, topic, queue);
    for (const auto& [id, address] : data.broker_addresses) {
      const auto servers = filter_servers_.find({data.cluster, address});
      if (servers != filter_servers_.end()) route.filter_server_table[address] = servers->second;
    }
    route.broker_datas.push_back(std::move(data));
  }
  if (route.broker_datas.empty()) return std::nullopt;
  if (const auto mapping = mappings_.find(topic); mapping != mappings_.end()) {
    protocol::Json by_broker = protocol::Json::object();
    for (const auto& [broker_name, json] : mapping->second) by_broker.set(broker_name, json);
    route.topic_queue_mapping_by_broker = std::move(by_broker);
  }
  return route;
}

protocol::ClusterInfo Routes::clusters() const {
  std::shared_lock lock{mutex_};
  protocol::ClusterInfo info;
  for (const auto& [name, group] : groups_) info.broker_address_table.emplace(name, group.data);
  info.cluster_address_table = clusters_;
  return info;
}

protocol::BrokerMemberGroupBody Routes::members(const std::string& cluster,
                                                const std::string& broker_name) const {
  std::shared_lock lock{mutex_};
  protocol::BrokerMemberGroupBody body;
  body.group.cluster = cluster;
  body.group.broker_name = broker_name;
  if (const auto group = groups_.find(broker_name); group != groups_.end())
    body.group.broker_addresses = group->second.data.broker_addresses;
  return body;
}

std::set<std::string> Routes::topics() const {
  std::shared_lock lock{mutex_};
  std::set<std::string> names;
  for (const auto& [name, topic] : topics_) names.insert(name);
  return names;
}

std::set<std::string> Routes::topics_of_cluster(const std::string& cluster) const {
  std::shared_lock lock{mutex_};
  std::set<std::string> names;
  const auto brokers = clusters_.find(cluster);
  if (brokers == clusters_.end()) return names;
  for (const auto& [name, topic] : topics_) {
    for (const std::string& broker : brokers->second) {
      if (topic.brokers.contains(broker)) names.insert(name);
    }
  }
  return names;
}

/// Cluster and broker names: each is a topic as well; and one broker's address, to ask for its own
/// list.
protocol::TopicList Routes::system_topics() const {
  std::shared_lock lock{mutex_};
  protocol::TopicList list;
  for (const auto& [cluster, brokers] : clusters_) {
    list.topic_list.insert(cluster);
    list.topic_list.insert(brokers.begin(), brokers.end());
  }
  for (const auto& [name, group] : groups_) {
    if (!group.data.broker_addresses.empty())
      list.broker_address = group.data.broker_addresses.begin()->second;
  }
  return list;
}

std::set<std::string> Routes::unit_topics(Units which) const {
  std::shared_lock lock{mutex_};
  std::set<std::string> names;
  for (const auto& [name, topic] : topics_) {
    if (topic.brokers.empty()) continue;
    const std::int32_t flag = topic.brokers.begin()->second.topic_sys_flag;
    const bool unit = (flag & kSysUnit) != 0, sub = (flag & kSysUnitSub) != 0;
    if (which == Units::kUnit ? unit : which == Units::kHasUnitSub ? sub : sub && !unit)
      names.insert(name);
  }
  return names;
}

std::int32_t Routes::set_write_permission(const std::string& broker_name, bool writable) {
  std::unique_lock lock{mutex_};
  std::int32_t count = 0;
  for (auto& [name, topic] : topics_) {
    const auto found = topic.brokers.find(broker_name);
    if (found == topic.brokers.end()) continue;
    protocol::QueueData queues = found->second;
    queues.perm = writable ? protocol::perm::kRead | protocol::perm::kWrite
                           : queues.perm & ~protocol::perm::kWrite;
    put_queues(topic, queues);
    ++count;
  }
  return count;
}

void Routes::delete_topic(const std::string& name, const std::optional<std::string>& cluster) {
  std::unique_lock lock{mutex_};
  const auto found = topics_.find(name);
  if (found == topics_.end()) return;
  auto& [brokers, version] = found->second;
  if (cluster && !cluster->empty()) {
    const auto members = clusters_.find(*cluster);
    if (members == clusters_.end()) return;
    for (const std::string& broker : members->second) brokers.erase(broker);
    version = next_version();
    if (brokers.empty()) topics_.erase(found);
  } else {
    topics_.erase(found);
  }
}

void Routes::register_topic(const std::string& name,
                            const std::vector<protocol::QueueData>& queues) {
  std::unique_lock lock{mutex_};
  for (const auto& each : queues) {
    if (groups_.contains(each.broker_name)) put_queues(topics_[name], each);
  }
}

std::size_t Routes::broker_count() const {
  std::shared_lock lock{mutex_};
  return live_.size();
}

std::size_t Routes::topic_count() const {
  std::shared_lock lock{mutex_};
  return topics_.size();
}

std::uint64_t Routes::version(const std::string& name) const {
  std::shared_lock lock{mutex_};
  const auto topic = topics_.find(name);
  if (topic == topics_.end()) return 0;
  // Versions are given out in order: whatever changed last is the largest of them.
  std::uint64_t version = topic->second.version;
  for (const auto& [broker_name, queues] : topic->second.brokers)
    if (const auto group = groups_.find(broker_name); group != groups_.end())
      version = std::max(version, group->second.version);
  return version;
}

}  // namespace apogee::namesrv
