#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/env.h"
#include "broker/config.h"
#include "broker/subscription.h"
#include "protocol/bodies.h"

/// Which groups subscribe to which topics by SQL92, and since when: config/consumerFilter.json,
/// kept as Apache's broker keeps it, so that either finds what the other wrote
/// (ConsumerFilterManager). What a pull is filtered with is the group's subscription (consumers.h);
/// this tells which messages it may pass over because they did not match when they came.
///
/// Threads: every member from any thread; one mutex for the table. load() and persist() block on
/// the disk.
namespace apogee::broker {

/// The bits that stand for a group and topic in a message's bit map, as many for all of a broker.
class BloomShape {
 public:
  BloomShape(std::int32_t error_percent, std::int32_t consumers);
  protocol::BloomPattern pattern(const std::string& group, const std::string& topic) const;
  bool fits(const protocol::BloomPattern& pattern) const;
  std::string no_bits() const { return std::string(static_cast<std::size_t>(bits_) / 8, '\0'); }

 private:
  std::int32_t hashes_, bits_;
};

class FilterData {
 public:
  FilterData(Env& env, const LiveConfig& config, std::string path);

  /// Bits of another shape: everything there is dropped, as Apache's broker does. Groups are taken
  /// to have left.
  Result<Ok> load();
  /// Notes which groups are gone, forgets those that have been for filterDataCleanTimeSpan, and
  /// writes the file if anything changed.
  Result<Ok> persist(const std::function<bool(const std::string& group)>& online);

  /// A heartbeat of the group brought these.
  void registered(const std::string& group, const std::vector<protocol::SubscriptionData>& all);

  /// The bits of the groups whose expression these properties match
  /// (CommitLogDispatcherCalcBitMap); empty: nobody subscribes to the topic so.
  std::string bit_map(std::string_view topic, std::string_view properties);
  std::optional<protocol::ConsumerFilterData> find(const std::string& group,
                                                   const std::string& topic) const;
  /// nullopt: the group is not known to want the topic by this expression.
  std::optional<FilterBits> bits_of(std::string_view group, std::string_view topic,
                                    std::string_view expression) const;

  protocol::ConsumerFilterTable table() const;

 private:
  const Sql92* compiled(const std::string& expression);
  bool take(const std::string& group, const protocol::SubscriptionData& subscription);
  void mark_dead(protocol::ConsumerFilterData& data);
  void forget(const std::set<std::string>& gone);

  Env& env_;
  const LiveConfig& config_;
  const std::string path_;
  const BloomShape bloom_;
  mutable std::mutex mutex_;
  protocol::ConsumerFilterTable table_;  // guarded by mutex_
  std::atomic<bool> dirty_{false};
  std::map<std::string, std::optional<Sql92>> compiled_;  // guarded by mutex_: by expression
  std::mutex persist_mutex_;                              // one writer of the file
};

}  // namespace apogee::broker
