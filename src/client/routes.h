#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "apogee/message.h"
#include "protocol/bodies.h"

/// What a client knows of topics and brokers. Java's topicRouteTable, brokerAddrTable and the
/// publish and subscribe info made from them.
///
/// Threads: any; nothing blocks.
namespace apogee::client {

/// Where a topic can be written.
struct PublishInfo {
  bool ordered = false;  ///< The topic has an order configuration: these queues, in this order.
  std::vector<MessageQueue> queues;
  std::vector<std::string> masters;  ///< Of each queue its broker's address; empty: none is known.
  mutable std::atomic<std::uint32_t> next{0};  ///< Running index of senders.
  mutable std::atomic<bool> replaced{false};   ///< There is a newer one.
};
using PublishInfoPtr = std::shared_ptr<const PublishInfo>;

std::vector<MessageQueue> readable_queues(const std::string& topic,
                                          const protocol::TopicRouteData& route);
/// Of a static topic, whose queues stay when they move to another broker: the name of the broker
/// each is kept by now. Empty: the topic is none.
std::map<MessageQueue, std::string> hosts_of(const std::string& topic,
                                             const protocol::TopicRouteData& route);
/// Does the queue's broker stand for whichever keeps it?
bool is_of_static_topic(const MessageQueue& queue);
/// The default topic's route, as the route of a topic that will be made on its first send.
protocol::TopicRouteData capped(protocol::TopicRouteData route, std::int32_t queues);

struct BrokerAddress {
  std::string name, address;
  std::int64_t id = 0;  ///< 0 is the master.
};

class Routes {
 public:
  /// Takes a route over. `first`: where senders begin.
  struct Change {
    bool route = false;    ///< It is another than before.
    bool brokers = false;  ///< It leads to one that no route led to.
  };
  Change update(const std::string& topic, const protocol::TopicRouteData& route,
                std::uint32_t first);

  PublishInfoPtr publish(const std::string& topic) const;  ///< Null: no route is known.
  std::optional<std::vector<MessageQueue>> subscribe(const std::string& topic) const;
  std::optional<protocol::TopicRouteData> route(const std::string& topic) const;

  std::string master(const std::string& broker) const;  ///< Empty: none is known.
  /// Of the broker that keeps the queue, whose topic stands as it does on the wire.
  std::string master(const MessageQueue& queue) const;
  /// The name of that broker: the queue's own, but of a static topic's.
  std::string host(const MessageQueue& queue) const;
  /// For reading: that id, or the next, or any; `only_this`: that id or nothing.
  std::optional<BrokerAddress> reader(const MessageQueue& queue, std::int64_t id,
                                      bool only_this) const;
  /// Of one of the topic's brokers, the master first; empty: none is known.
  std::string any_broker(const std::string& topic, std::uint64_t random) const;
  std::vector<BrokerAddress> brokers() const;
  std::string name_of(const std::string& address) const;
  /// Forgets addresses that stand in no route.
  void drop_offline();

 private:
  const std::string& master_of(const std::string& broker) const;
  const std::string& host_of(const MessageQueue& queue) const;
  struct Topic;
  void publish(Topic& topic, std::shared_ptr<PublishInfo> info);
  void find_masters_again();
  struct Topic {
    protocol::TopicRouteData route;
    PublishInfoPtr publish;  // its masters are those of brokers_
    std::vector<MessageQueue> subscribe;
    std::map<MessageQueue, std::string> hosts;  // of a static topic
  };

  mutable std::mutex mutex_;
  std::unordered_map<std::string, Topic> topics_;
  std::map<std::string, std::map<std::int64_t, std::string>> brokers_;  // name -> id -> address
};

}  // namespace apogee::client
