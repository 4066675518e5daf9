#pragma once

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

/// The smallest id of a group has changed: who is to be told, by address, and what
/// (notifyMinBrokerIdChanged). The caller sends it.
struct Notice {
  std::vector<std::string> addresses;
  protocol::NotifyMinBrokerIdChangeRequest request;
};

class Routes {
 public:
  Routes(const Clock& clock, RouteRules rules) : clock_{clock}, rules_{rules} {}

  struct Registered {
    std::optional<std::string> master_address, ha_server_address;
    std::vector<Notice> notices;
  };
  /// nullopt: refused, one topic from a broker that is not known yet.
  std::optional<Registered> register_broker(const protocol::RegisterBrokerRequest& header,
                                            const protocol::RegisterBrokerBody& body,
                                            const remoting::PeerPtr& peer);
  std::vector<Notice> unregister(const std::vector<protocol::BrokerIdentityRequest>& brokers);
  /// A connection ended: the brokers that registered over it last are gone. One that has registered
  /// over another since is not.
  std::vector<Notice> drop_peer(const remoting::Peer& peer);
  /// Brokers silent for longer than their timeout (default 120 s) are gone.
  struct Silent {
    std::vector<remoting::PeerPtr> peers;  ///< To be closed.
    std::vector<Notice> notices;
  };
  Silent drop_silent();
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
  std::size_t topic_count() const;
  /// Moves with every change that this topic's route could show, and with no other; 0: no such
  /// topic.
  std::uint64_t version(const std::string& topic) const;

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
    std::uint64_t version = 0;
  };
  struct Topic {
    std::map<std::string, protocol::QueueData> brokers;  // by broker name
    std::uint64_t version = 0;
  };

  void take_topics(const protocol::RegisterBrokerRequest& header,
                   const protocol::RegisterBrokerBody& body, bool first, bool changed,
                   bool prime_slave);
  void put_queues(Topic& topic, const protocol::QueueData& queues);
  void remove_from_topics(const std::string& broker_name, auto&& only);
  void remove(const BrokerAddress& broker, const std::string& broker_name,
              std::vector<Notice>& notices);
  void remove_group_topics(const std::string& broker_name);
  void wipe_write(const std::string& broker_name);
  std::string group_of(const BrokerAddress& broker) const;
  void present_acting_master(protocol::BrokerData& data, const std::string& topic,
                             const protocol::QueueData& queue) const;
  std::uint64_t next_version() { return ++version_; }  // mutex_ is held exclusively

  const Clock& clock_;
  const RouteRules rules_;
  mutable std::shared_mutex mutex_;
  std::map<std::string, Topic> topics_;                    // guarded by mutex_
  std::map<std::string, Group> groups_;                    // guarded by mutex_: by broker name
  std::map<std::string, std::set<std::string>> clusters_;  // guarded by mutex_
  std::map<BrokerAddress, Live> live_;                     // guarded by mutex_
  std::map<BrokerAddress, std::vector<std::string>> filter_servers_;  // guarded by mutex_
  std::map<std::string, std::map<std::string, protocol::Json>>
      mappings_;               // guarded by mutex_: topic -> broker name -> static topic mapping
  std::uint64_t version_ = 0;  // guarded by mutex_: the last one given out
};

}  // namespace apogee::namesrv
