#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "broker/consumers.h"
#include "remoting/peer.h"

/// Which producers are connected (ProducerManager): for transaction check-backs, replies to
/// requests and listings.
///
/// Threads: every member from any thread; one mutex, never held while a peer is called. Nothing
/// blocks.
namespace apogee::broker {

class Producers {
 public:
  static constexpr Clock::Duration kExpiry = 120s;
  static constexpr std::size_t kGroupsPerPeerMax = 10'000;

  explicit Producers(const Clock& clock) : clock_{clock} {}
  Producers(const Producers&) = delete;

  void register_producer(const remoting::PeerPtr& peer, const ClientInfo& client,
                         std::string_view group);
  void unregister_producer(const remoting::Peer& peer, std::string_view group);
  void drop_peer(const remoting::Peer& peer);
  /// Producers silent for longer than kExpiry; returns their peers, to be closed.
  std::vector<remoting::PeerPtr> drop_silent();

  /// One connected producer of the group, a different one with each call (getAvailableChannel);
  /// nullptr: none.
  remoting::PeerPtr any_of(std::string_view group);
  /// The client's connection, whatever its group (REPLY_TO_CLIENT).
  remoting::PeerPtr find_client(std::string_view client_id) const;
  bool online(std::string_view group) const;
  std::vector<Member> members(std::string_view group) const;
  std::map<std::string, std::vector<Member>> all() const;

 private:
  using Members = std::map<std::uint64_t, Member>;  // by peer id
  struct Connection {
    remoting::PeerPtr peer;
    std::string client_id;
    std::set<std::string> groups;
  };
  using Connections = std::unordered_map<std::uint64_t, Connection>;
  const Clock& clock_;
  mutable std::mutex mutex_;
  std::map<std::string, Members, std::less<>> groups_;  // guarded by mutex_
  Connections connections_;                             // by peer id; guarded by mutex_
  std::map<std::string, remoting::PeerPtr, std::less<>>
      clients_;             // by client id; guarded by mutex_
  std::uint64_t turn_ = 0;  // guarded by mutex_

  void leave(std::uint64_t peer_id, const std::string& group);
  void forget_if_idle(std::uint64_t peer_id);
};

}  // namespace apogee::broker
