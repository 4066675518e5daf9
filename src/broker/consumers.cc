#include "broker/consumers.h"

namespace apogee::broker {
namespace {

/// A hostile heartbeat may not make a group's subscription endless.
constexpr std::size_t kTopicsPerGroupMax = 10'000;

}  // namespace

Consumers::Consumers(const Clock& clock, Changed changed)
    : clock_{clock}, changed_{std::move(changed)} {}

void Consumers::take_newer(SubscriptionPtr& known, protocol::SubscriptionData&& data) {
  if (data.sub_version > known->data.sub_version) known = make_subscription(std::move(data));
}

/// True when the set of topics changed; a newer expression for a known topic is taken over silently
/// (ConsumerGroupInfo.updateSubscription).
bool Consumers::update_subscriptions(Group& group,
                                     std::vector<protocol::SubscriptionData> subscriptions) {
  bool changed = false;
  std::set<std::string_view> wanted;
  for (const protocol::SubscriptionData& each : subscriptions) wanted.insert(each.topic);
  changed = std::erase_if(group.subscriptions,
                          [&](const auto& each) { return !wanted.contains(each.first); }) > 0;
  for (protocol::SubscriptionData& each : subscriptions) {
    const auto old = group.subscriptions.find(each.topic);
    if (old == group.subscriptions.end()) {
      if (group.subscriptions.size() >= kTopicsPerGroupMax) continue;
      std::string topic = each.topic;
      group.subscriptions.emplace(std::move(topic), make_subscription(std::move(each)));
      changed = true;
    } else {
      take_newer(old->second, std::move(each));
    }
  }
  return changed;
}

void Consumers::note(std::vector<Notice>& notices, const std::string& name, const Group& group) {
  if (!group.notify || group.mode.model == protocol::MessageModel::kBroadcasting ||
      group.members.empty())
    return;
  Notice notice{name, {}};
  for (const auto& [id, member] : group.members) notice.members.push_back(member);
  notices.push_back(std::move(notice));
}

void Consumers::send(const std::vector<Notice>& notices) const {
  for (const Notice& notice : notices) changed_(notice.group, notice.members);
}

Consumers::Groups::iterator Consumers::erase_if_empty(Groups::iterator at) {
  return at->second.members.empty() ? groups_.erase(at) : std::next(at);
}

Consumers::Registered Consumers::register_consumer(const remoting::PeerPtr& peer,
                                                   const ClientInfo& client,
                                                   ConsumerRegistration registration) {
  Registered result;
  std::vector<Notice> notices;
  {
    std::unique_lock lock{mutex_};
    // A connection that ended while its heartbeat was on the way must not become a member that
    // nobody will remove: drop_peer() runs once, after connected() has become false.
    if (!peer->connected()) return result;
    auto& groups_of_peer = peer_groups_[peer->id()];
    if (!groups_of_peer.contains(std::string{registration.group}) &&
        groups_of_peer.size() >= kGroupsPerPeerMax)
      return result;
    auto at = groups_.find(registration.group);
    const bool new_group = at == groups_.end();
    if (new_group) at = groups_.try_emplace(std::string{registration.group}).first;
    Group& group = at->second;
    groups_of_peer.insert(at->first);
    group.mode = registration.mode;
    group.notify = registration.notify;
    if (registration.fingerprint != 0) {
      // ClientManageProcessor.heartBeatV2 says "unchanged" to a group it has never heard of, which
      // leaves the broker without subscriptions after a restart: then we ask for them.
      const bool differs = !new_group && group.fingerprint != registration.fingerprint;
      result.subscription_changed =
          differs || (registration.without_subscriptions && group.subscriptions.empty());
    }
    group.fingerprint = registration.fingerprint;

    const auto [member, added] = group.members.try_emplace(peer->id());
    member->second = {peer, client, clock_.now(), clock_.wall_ms(), member->second.last_asked};
    result.changed = added;
    if (!registration.without_subscriptions)
      result.changed =
          update_subscriptions(group, std::move(registration.subscriptions)) || result.changed;
    if (result.changed) note(notices, at->first, group);
  }
  send(notices);
  return result;
}

std::optional<std::string> Consumers::begin_asking(std::string_view name, std::uint64_t peer) {
  std::unique_lock lock{mutex_};
  const auto at = groups_.find(name);
  if (at == groups_.end()) return std::nullopt;
  const auto member = at->second.members.find(peer);
  if (member == at->second.members.end()) return std::nullopt;
  auto& last = member->second.last_asked;
  if (last && clock_.now() - *last < kAskPeriod) return std::nullopt;
  last = clock_.now();
  return member->second.client.client_id;
}

void Consumers::refresh_subscriptions(std::string_view name, std::uint64_t peer,
                                      std::vector<protocol::SubscriptionData> subscriptions) {
  std::unique_lock lock{mutex_};
  const auto at = groups_.find(name);
  if (at == groups_.end() || !at->second.members.contains(peer)) return;
  for (protocol::SubscriptionData& each : subscriptions)
    if (const auto known = at->second.subscriptions.find(each.topic);
        known != at->second.subscriptions.end())
      take_newer(known->second, std::move(each));
}

void Consumers::unregister_consumer(const remoting::PeerPtr& peer, std::string_view name,
                                    bool notify) {
  std::vector<Notice> notices;
  {
    std::unique_lock lock{mutex_};
    const auto at = groups_.find(name);
    if (at == groups_.end()) return;
    at->second.members.erase(peer->id());
    if (const auto of_peer = peer_groups_.find(peer->id()); of_peer != peer_groups_.end()) {
      of_peer->second.erase(at->first);
      if (of_peer->second.empty()) peer_groups_.erase(of_peer);
    }
    at->second.notify = notify;
    note(notices, at->first, at->second);
    erase_if_empty(at);
  }
  send(notices);
}

void Consumers::drop_peer(const remoting::Peer& peer) {
  std::vector<Notice> notices;
  {
    std::unique_lock lock{mutex_};
    const auto of_peer = peer_groups_.find(peer.id());
    if (of_peer == peer_groups_.end()) return;
    for (const std::string& name : of_peer->second) {
      const auto at = groups_.find(name);
      if (at == groups_.end()) continue;
      at->second.members.erase(peer.id());
      note(notices, at->first, at->second);
      erase_if_empty(at);
    }
    peer_groups_.erase(of_peer);
  }
  send(notices);
}

std::vector<remoting::PeerPtr> Consumers::drop_silent() {
  std::vector<remoting::PeerPtr> silent;
  std::vector<Notice> notices;
  {
    std::unique_lock lock{mutex_};
    const Clock::Instant now = clock_.now();
    for (auto at = groups_.begin(); at != groups_.end(); at = erase_if_empty(at)) {
      auto& [name, group] = *at;
      const auto dropped = std::erase_if(group.members, [&](const auto& each) {
        if (now - each.second.last_heartbeat <= kExpiry) return false;
        silent.push_back(each.second.peer);
        if (const auto of_peer = peer_groups_.find(each.first); of_peer != peer_groups_.end()) {
          of_peer->second.erase(name);
          if (of_peer->second.empty()) peer_groups_.erase(of_peer);
        }
        return true;
      });
      if (dropped > 0) note(notices, name, group);
    }
  }
  send(notices);
  return silent;
}

Consumers::PullView Consumers::find_for_pull(std::string_view group, std::string_view topic) const {
  std::shared_lock lock{mutex_};
  PullView view;
  const auto at = groups_.find(group);
  if (at == groups_.end()) return view;
  view.group_online = true;
  view.mode = at->second.mode;
  if (const auto found = at->second.subscriptions.find(topic);
      found != at->second.subscriptions.end())
    view.subscription = found->second;
  return view;
}

bool Consumers::online(std::string_view group) const {
  std::shared_lock lock{mutex_};
  return groups_.contains(group);
}

std::vector<std::string> Consumers::client_ids(std::string_view group) const {
  std::shared_lock lock{mutex_};
  std::vector<std::string> ids;
  if (const auto at = groups_.find(group); at != groups_.end())
    for (const auto& [id, member] : at->second.members) ids.push_back(member.client.client_id);
  return ids;
}

std::optional<GroupSnapshot> Consumers::snapshot(std::string_view group) const {
  std::shared_lock lock{mutex_};
  const auto at = groups_.find(group);
  if (at == groups_.end()) return std::nullopt;
  GroupSnapshot snapshot{.mode = at->second.mode, .members = {}, .subscriptions = {}};
  for (const auto& [id, member] : at->second.members) snapshot.members.push_back(member);
  for (const auto& [topic, each] : at->second.subscriptions) snapshot.subscriptions.push_back(each);
  return snapshot;
}

SubscriptionPtr Consumers::subscription(std::string_view group, std::string_view topic) const {
  return find_for_pull(group, topic).subscription;
}

std::size_t Consumers::subscription_count(std::string_view group) const {
  std::shared_lock lock{mutex_};
  const auto at = groups_.find(group);
  return at == groups_.end() ? 0 : at->second.subscriptions.size();
}

remoting::PeerPtr Consumers::find_peer(std::string_view group, std::string_view client_id) const {
  std::shared_lock lock{mutex_};
  if (const auto at = groups_.find(group); at != groups_.end())
    for (const auto& [id, member] : at->second.members)
      if (member.client.client_id == client_id) return member.peer;
  return nullptr;
}

bool Consumers::has_member(std::string_view group, const remoting::Peer& peer) const {
  std::shared_lock lock{mutex_};
  const auto at = groups_.find(group);
  return at != groups_.end() && at->second.members.contains(peer.id());
}

std::set<std::string> Consumers::groups_of(std::string_view topic) const {
  std::shared_lock lock{mutex_};
  std::set<std::string> names;
  for (const auto& [name, group] : groups_)
    if (group.subscriptions.contains(topic)) names.insert(name);
  return names;
}

std::set<std::string> Consumers::topics_of(std::string_view group) const {
  std::shared_lock lock{mutex_};
  std::set<std::string> topics;
  if (const auto at = groups_.find(group); at != groups_.end())
    for (const auto& [topic, each] : at->second.subscriptions) topics.insert(topic);
  return topics;
}

std::vector<std::string> Consumers::groups() const {
  std::shared_lock lock{mutex_};
  std::vector<std::string> names;
  for (const auto& [name, group] : groups_) names.push_back(name);
  return names;
}

}  // namespace apogee::broker
