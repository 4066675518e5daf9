#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "base/in_flight.h"
#include "base/text_map.h"
#include "broker/config.h"
#include "protocol/bodies.h"

/// The consumer groups' settings: config/subscriptionGroup.json and the built-in groups
/// (SubscriptionGroupManager).
///
/// Threads: every member from any thread; one shared mutex for the table, held for map operations
/// only. A group is immutable once in the table. persist() and load() block on the disk; automatic
/// creation posts persist() to the workers.
namespace apogee::broker {

using GroupPtr = std::shared_ptr<const protocol::SubscriptionGroupConfig>;

class SubscriptionGroups {
 public:
  /// `lmq` (enableLmq): any name that begins with %LMQ% is a group, in no list.
  SubscriptionGroups(Env& env, const LiveConfig& config, std::string path, bool lmq = false);
  SubscriptionGroups(const SubscriptionGroups&) = delete;

  Result<Ok> load();
  Result<Ok> persist();  ///< Writes the file if anything changed since the last time.

  GroupPtr find(std::string_view name) const;
  bool contains(std::string_view name) const { return find(name) != nullptr; }
  /// Creates an unknown group where that is allowed and its name is legal
  /// (findSubscriptionGroupConfig); nullptr: it is not.
  GroupPtr find_or_create(std::string_view name);
  /// `config.attributes` are taken as given.
  void update(protocol::SubscriptionGroupConfig config);
  bool remove(std::string_view name);  ///< With its forbidden topics. False: no such group.

  /// Bits a group may not do with a topic: bit 0 is reading.
  static constexpr int kForbiddenRead = 0;
  bool forbidden(std::string_view group, std::string_view topic, int bit) const;
  void set_forbidden(std::string_view group, std::string_view topic, int bit, bool forbidden);

  std::vector<GroupPtr> all() const;  ///< Sorted by name.
  protocol::SubscriptionGroupTable table() const;
  protocol::DataVersion version() const;

 private:
  using Forbidden = std::map<std::string, std::map<std::string, std::int32_t>>;
  void changed();  // mutex_ is held exclusively
  void persist_soon();

  Env& env_;
  const LiveConfig& config_;
  const std::string path_;
  const bool lmq_;
  mutable std::shared_mutex mutex_;
  TextMap<GroupPtr> groups_;       // guarded by mutex_
  Forbidden forbidden_;            // guarded by mutex_
  protocol::DataVersion version_;  // guarded by mutex_
  std::atomic<bool> dirty_{false};
  std::mutex persist_mutex_;  // one writer of the file
  InFlight in_flight_;        // posted writes; waited for first of all
};

}  // namespace apogee::broker
