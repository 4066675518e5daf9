#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "apogee/consumer.h"
#include "client/instance.h"

/// What a consumer subscribes to, and how brokers hear of it. Topics are named as on the wire.
///
/// Threads: any; one mutex. Nothing blocks.
namespace apogee::client {

class Subscriptions {
 public:
  using Data = std::shared_ptr<const protocol::SubscriptionData>;
  struct Subscribed {
    Data data;                 // its version changes with the queues
    std::int64_t version = 0;  // and this one with the filter only
  };

  explicit Subscriptions(std::shared_ptr<Instance> instance) : instance_{std::move(instance)} {}

  /// kInvalidArgument: the filter makes no sense.
  Result<Ok> add(const std::string& topic, const Filter& filter);
  void remove(const std::string& topic);
  /// These topics with this filter, instead of all others.
  Result<Ok> replace(const std::vector<std::string>& topics, const Filter& filter);
  /// Its queues were divided anew: brokers take a subscription with a newer version for another.
  void renew(const std::string& topic);

  std::optional<Subscribed> find(const std::string& topic) const;
  std::vector<std::string> topics() const;
  std::vector<protocol::SubscriptionData> all() const;

  /// Learns the route of a topic that is new and tells all brokers; then `then`, on an io thread.
  void introduce(const std::string& topic, std::function<void()> then) const;
  /// Tells all brokers, soon.
  void tell() const;

 private:
  const std::shared_ptr<Instance> instance_;
  mutable std::mutex mutex_;
  std::map<std::string, Subscribed> topics_;  // guarded by mutex_
};

}  // namespace apogee::client
