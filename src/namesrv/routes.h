#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <shared_mutex>
#include <string>
#include <vector>

#include "base/env.h"
#include "protocol/bodies.h"
#include "protocol/headers.h"
#include "remoting/peer.h"

/// Which broker serves which topic: all that a name server knows, in memory (RouteInfoManager).
///
/// Threads: every member from any thread; one shared mutex, held for map operations only. Nothing
/// blocks. Peers are closed by the caller.
namespace apogee::namesrv {

struct RouteRules {
  bool delete_topic_with_registration = false;
  bool notify_min_broker_id_changed = false;
  bool support_acting_master = false;
};

/// A live broker, as its registrations and heartbeats show it.
struct BrokerAddress {
  std::string cluster, address;
  auto operator<=>(const BrokerAddress&) const = default;
};

class Routes {
 public:
  Routes(const Clock& clock, RouteRules rules) : clock_{clock}, rules_{rules} {}

  struct Registered {
    std::optional<std::string> master_address, ha_server_address;
    /// Members of the group to be told that its smallest id changed (notifyMinBrokerIdChanged).
    std::vector<remoting::PeerPtr> notify;
    protocol::NotifyMinBrokerIdChangeRequest notice;
  };
  /// nullopt: refused, one topic from a broker that is not known yet.
  std::optional<Registered> register_broker(const protocol::RegisterBrokerRequest& header,
                                            const protocol::RegisterBrokerBody& body,
                                            const remoting::PeerPtr& peer);
  void unregister(const std::vector<protocol::BrokerIdentityRequest>& brokers);
  /// A connection ended: the brokers that registered over it last are gone. One that has registered
  /// over another since is not.
  void drop_peer(const remoting::Peer& peer);
  /// Brokers silent for longer than their timeout (default 120 s) are gone; returns their
  /// connections.
  std::vector<remoting::PeerPtr> drop_silent();
  void heartbeat(const BrokerAddress& broker);
  /// QUERY_DATA_VERSION: does the broker's table differ from what is known? Refreshes its life.
  struct VersionAnswer {
    bool changed = true;
    std::optional<protocol::DataVersion> known;
  };
  VersionAnswer compare_version(const BrokerAddress& broker, const protocol::DataVersion& version);

  std::optional<protocol::TopicRouteData> route(const std::string& topic) const;
  protocol::ClusterInfo clusters() const;
  protocol::BrokerMemberGroupBody members(const std::string& cluster,
                                          const std::string& broker_name) const;
  std::set<std::string> topics() const;
  std::set<std::string> topics_of_cluster(const std::string& cluster) const;
  protocol::TopicList system_topics() const;
  enum class Units { kUnit, kHasUnitSub, kHasUnitSubNotUnit };
  std::set<std::string> unit_topics(Units which) const;
  std::int32_t set_write_permission(const std::string& broker_name, bool writable);
  void delete_topic(const std::string& topic, const std::optional<std::string>& cluster);
  void register_topic(const std::string& topic, const std::vector<protocol::QueueData>& queues);
  std::size_t broker_count() const;
  /// Moves with every change that a route answer could show.
  std::uint64_t version() const { return version_.load(std::memory_order_acquire); }

 private:
  struct Live {
    Clock::Instant last_update;
    Clock::Duration timeout;
    protocol::DataVersion data_version;
    remoting::PeerPtr peer;
    std::string ha_server_address;
  };
  struct Group {
    protocol::BrokerData data;
    bool new_style = false;  // the broker sends enableActingMaster: its replicas may act
  };

  void take_topics(const protocol::RegisterBrokerRequest& header,
                   const protocol::RegisterBrokerBody& body, bool first, bool changed,
                   bool prime_slave);
  void remove(const BrokerAddress& broker, const std::string& broker_name);
  void remove_group_topics(const std::string& broker_name);
  void wipe_write(const std::string& broker_name);
  std::string group_of(const BrokerAddress& broker) const;
  void present_acting_master(protocol::BrokerData& data, const std::string& topic,
                             const protocol::QueueData& queue) const;
  void changed() { version_.fetch_add(1, std::memory_order_release); }

  const Clock& clock_;
  const RouteRules rules_;
  mutable std::shared_mutex mutex_;
  std::map<std::string, std::map<std::string, protocol::QueueData>>
      topics_;                           // guarded by mutex_: topic -> broker name -> queues
  std::map<std::string, Group> groups_;  // guarded by mutex_: by broker name
  std::map<std::string, std::set<std::string>> clusters_;             // guarded by mutex_
  std::map<BrokerAddress, Live> live_;                                // guarded by mutex_
  std::map<BrokerAddress, std::vector<std::string>> filter_servers_;  // guarded by mutex_
  std::map<std::string, std::map<std::string, protocol::Json>>
      mappings_;  // guarded by mutex_: topic -> broker name -> static topic mapping
  std::atomic<std::uint64_t> version_{0};
};

}  // namespace apogee::namesrv
