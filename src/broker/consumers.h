#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "broker/subscription.h"
#include "remoting/peer.h"

/// Who consumes in which group, over which connection, and what do they subscribe to
/// (ConsumerManager, ConsumerGroupInfo).
///
/// Threads: every member from any thread; one shared mutex, never held while a peer is called or a
/// notice is sent. Nothing blocks. `changed` runs on the calling thread, after the mutex is free.
namespace apogee::broker {

/// A client as its heartbeats describe it.
struct ClientInfo {
  std::string client_id;
  protocol::Language language = protocol::Language::kJava;
  std::int32_t version = 0;
};

/// One member of a group: one connection.
struct Member {
  remoting::PeerPtr peer;
  ClientInfo client;
  Clock::Instant last_heartbeat;
  std::int64_t last_heartbeat_ms = 0;        ///< Unix time, for listings.
  std::optional<Clock::Instant> last_asked;  ///< What it subscribes to.
};

/// How a group consumes; the newest heartbeat of any member wins, as in Java.
struct ConsumeMode {
  protocol::ConsumeType type = protocol::ConsumeType::kPassively;
  protocol::MessageModel model = protocol::MessageModel::kClustering;
  protocol::ConsumeFromWhere from_where = protocol::ConsumeFromWhere::kLastOffset;
};

/// A group as a heartbeat describes it.
struct ConsumerRegistration {
  std::string_view group;
  ConsumeMode mode;
  std::vector<protocol::SubscriptionData> subscriptions;
  /// Heartbeat V2 without subscriptions: they stay as they are.
  bool without_subscriptions = false;
  std::int32_t fingerprint = 0;  ///< 0: heartbeat V1.
  bool notify = true;            ///< The group's notifyConsumerIdsChangedEnable.
};

/// A copy of a group's state, for administration.
struct GroupSnapshot {
  ConsumeMode mode;
  std::vector<Member> members;
  std::vector<SubscriptionPtr> subscriptions;
};

class Consumers {
 public:
  static constexpr Clock::Duration kExpiry = 120s;     // channelExpiredTimeout
  static constexpr Clock::Duration kScanPeriod = 10s;  // ClientHousekeepingService
  static constexpr Clock::Duration kAskPeriod = 1s;    // a refused pull of Java's comes again then
  static constexpr std::size_t kGroupsPerPeerMax = 10'000;

  /// `changed(group, members)`: the membership or the subscription of a clustering group that wants
  /// to be told has changed; the members are those to be notified.
  using Changed = std::function<void(const std::string& group, const std::vector<Member>& members)>;
  Consumers(const Clock& clock, Changed changed);
  Consumers(const Consumers&) = delete;

  struct Registered {
    bool changed = false;  ///< A new member, or another set of topics.
    /// Heartbeat V2: what this broker knows differs; the client must send its subscriptions.
    bool subscription_changed = false;
  };
  Registered register_consumer(const remoting::PeerPtr& peer, const ClientInfo& client,
                               ConsumerRegistration registration);
  /// A member's client id, when it is time to ask it what it subscribes to: once in kAskPeriod.
  std::optional<std::string> begin_asking(std::string_view group, std::uint64_t peer);
  /// What a member of the group has answered: newer versions of known subscriptions are taken over.
  void refresh_subscriptions(std::string_view group, std::uint64_t peer,
                             std::vector<protocol::SubscriptionData> subscriptions);
  void unregister_consumer(const remoting::PeerPtr& peer, std::string_view group, bool notify);
  /// The connection is gone: so is the membership in all its groups.
  void drop_peer(const remoting::Peer& peer);
  /// Members silent for longer than kExpiry leave their groups; returns their peers, to be closed.
  std::vector<remoting::PeerPtr> drop_silent();

  /// What a pull without its own subscription needs to know, in one look-up.
  struct PullView {
    bool group_online = false;
    ConsumeMode mode;
    SubscriptionPtr subscription;  ///< nullptr: the topic is not subscribed.
  };
  PullView find_for_pull(std::string_view group, std::string_view topic) const;

  bool online(std::string_view group) const;
  std::vector<std::string> client_ids(std::string_view group) const;
  std::optional<GroupSnapshot> snapshot(std::string_view group) const;
  SubscriptionPtr subscription(std::string_view group, std::string_view topic) const;
  std::size_t subscription_count(std::string_view group) const;
  remoting::PeerPtr find_peer(std::string_view group, std::string_view client_id) const;
  bool has_member(std::string_view group, const remoting::Peer& peer) const;
  std::set<std::string> groups_of(std::string_view topic) const;  ///< Online groups.
  std::set<std::string> topics_of(std::string_view group) const;
  std::vector<std::string> groups() const;

 private:
  struct Group {
    ConsumeMode mode;
    bool notify = true;
    std::int32_t fingerprint = 0;
    std::map<std::uint64_t, Member> members;  // by peer id
    std::map<std::string, SubscriptionPtr, std::less<>> subscriptions;
  };
  struct Notice {
    std::string group;
    std::vector<Member> members;
  };
  using Groups = std::map<std::string, Group, std::less<>>;

  static void take_newer(SubscriptionPtr& known, protocol::SubscriptionData&& data);
  static bool update_subscriptions(Group& group,
                                   std::vector<protocol::SubscriptionData> subscriptions);
  static void note(std::vector<Notice>& notices, const std::string& name, const Group& group);
  Groups::iterator erase_if_empty(Groups::iterator at);
  void send(const std::vector<Notice>& notices) const;

  const Clock& clock_;
  const Changed changed_;
  mutable std::shared_mutex mutex_;
  Groups groups_;                                                         // guarded by mutex_
  std::unordered_map<std::uint64_t, std::set<std::string>> peer_groups_;  // guarded by mutex_
};

}  // namespace apogee::broker
