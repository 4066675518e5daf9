#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "client/instance.h"

/// A group's locks on queues, kept by their brokers: orderly consumption needs the lock of a queue
/// before it consumes from it (requests 41 and 42). Stateless but for whom it asks.
///
/// Threads: any; lock() blocks for a second at most for each broker.
namespace apogee::client {

class QueueLocks {
 public:
  QueueLocks(std::shared_ptr<Instance> instance, std::string group)
      : instance_{std::move(instance)}, group_{std::move(group)} {}

  struct Answer {
    std::set<MessageQueue> locked;
    std::set<MessageQueue> refused;  ///< Asked for and not given. In neither: nobody answered.
  };
  /// Asks for the locks of all of them, or renews them.
  Answer lock(const std::set<MessageQueue>& queues) const;
  /// Nobody waits for the answer.
  void unlock(const std::set<MessageQueue>& queues) const;

 private:
  /// By broker, as a request names them.
  std::map<std::string, protocol::LockBatchBody> by_broker(
      const std::set<MessageQueue>& queues) const;

  const std::shared_ptr<Instance> instance_;
  const std::string group_;
};

}  // namespace apogee::client
