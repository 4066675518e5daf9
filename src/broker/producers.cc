#include "broker/producers.h"

namespace apogee::broker {

void Producers::register_producer(const remoting::PeerPtr& peer, const ClientInfo& client,
                                  std::string_view group) {
  std::lock_guard lock{mutex_};
  if (!peer->connected()) return;  // drop_peer() has run or will run: nobody else would remove it
  Connection& connection = connections_[peer->id()];
  auto at = groups_.find(group);
  if (at == groups_.end() || !at->second.contains(peer->id())) {
    if (connection.groups.size() >= kGroupsPerPeerMax) return;
    if (at == groups_.end()) at = groups_.try_emplace(std::string{group}).first;
    connection.groups.insert(at->first);
  }
  at->second[peer->id()] = {peer, client, clock_.now(), clock_.wall_ms()};
  connection.peer = peer;
  connection.client_id = client.client_id;
  clients_[client.client_id] = peer;
}

void Producers::leave(std::uint64_t peer_id, const std::string& group) {
  const auto at = groups_.find(group);
  if (at == groups_.end()) return;
  at->second.erase(peer_id);
  if (at->second.empty()) groups_.erase(at);
}

void Producers::forget_if_idle(std::uint64_t peer_id) {
  const auto connection = connections_.find(peer_id);
  if (connection == connections_.end() || !connection->second.groups.empty()) return;
  const auto client = clients_.find(connection->second.client_id);
  if (client != clients_.end() && client->second == connection->second.peer) clients_.erase(client);
  connections_.erase(connection);
}

void Producers::unregister_producer(const remoting::Peer& peer, std::string_view group) {
  std::lock_guard lock{mutex_};
  const auto connection = connections_.find(peer.id());
  if (connection == connections_.end()) return;
  const std::string name{group};
  leave(peer.id(), name);
  connection->second.groups.erase(name);
  forget_if_idle(peer.id());
}

void Producers::drop_peer(const remoting::Peer& peer) {
  std::lock_guard lock{mutex_};
  const auto connection = connections_.find(peer.id());
  if (connection == connections_.end()) return;
  for (const std::string& group : connection->second.groups) leave(peer.id(), group);
  connection->second.groups.clear();
  forget_if_idle(peer.id());
}

std::vector<remoting::PeerPtr> Producers::drop_silent() {
  std::lock_guard lock{mutex_};
  std::vector<remoting::PeerPtr> silent;
  const Clock::Instant now = clock_.now();
  for (auto& entry : groups_) {
    const std::string& group = entry.first;
    std::erase_if(entry.second, [&](const auto& each) {
      if (now - each.second.last_heartbeat <= kExpiry) return false;
      silent.push_back(each.second.peer);
      connections_[each.first].groups.erase(group);
      forget_if_idle(each.first);
      return true;
    });
  }
  std::erase_if(groups_, [](const auto& each) { return each.second.empty(); });
  return silent;
}

remoting::PeerPtr Producers::any_of(std::string_view group) {
  std::lock_guard lock{mutex_};
  const auto at = groups_.find(group);
  if (at == groups_.end()) return nullptr;
  const Members& members = at->second;
  auto next = std::next(members.begin(), static_cast<std::ptrdiff_t>(turn_++ % members.size()));
  for (std::size_t tried = 0; tried < members.size(); ++tried) {
    if (next->second.peer->connected()) return next->second.peer;
    if (++next == members.end()) next = members.begin();
  }
  return nullptr;
}

remoting::PeerPtr Producers::find_client(std::string_view client_id) const {
  std::lock_guard lock{mutex_};
  const auto at = clients_.find(client_id);
  return at == clients_.end() ? nullptr : at->second;
}

bool Producers::online(std::string_view group) const {
  std::lock_guard lock{mutex_};
  return groups_.contains(group);
}

std::vector<Member> Producers::members(std::string_view group) const {
  std::lock_guard lock{mutex_};
  std::vector<Member> result;
  if (const auto at = groups_.find(group); at != groups_.end())
    for (const auto& [id, member] : at->second) result.push_back(member);
  return result;
}

std::map<std::string, std::vector<Member>> Producers::all() const {
  std::lock_guard lock{mutex_};
  std::map<std::string, std::vector<Member>> result;
  for (const auto& [group, members] : groups_)
    for (const auto& [id, member] : members) result[group].push_back(member);
  return result;
}

}  // namespace apogee::broker
