#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "client/instance.h"

/// A group's locks on queues, kept by their brokers: orderly consumption needs the lock of a queue
/// before it consumes from it (requests 41 and 42). Brokers know them by the client's id: a
/// consumer made anew in the same client has those of the one it follows.
///
/// Threads: any; one mutex. lock() blocks for a second at most for each broker.
namespace apogee::client {

class QueueLocks {
 public:
  QueueLocks(std::shared_ptr<Instance> instance, const ConsumerRole& owner)
      : instance_{std::move(instance)}, owner_{owner} {}

  struct Answer {
    std::set<MessageQueue> locked;
    std::set<MessageQueue> refused;  ///< Asked for and not given. In neither: nobody answered.
  };
  /// Asks for the locks of all of them, or renews them.
  Answer lock(const std::set<MessageQueue>& queues);
  /// Nobody waits for the answer.
  void unlock(const std::set<MessageQueue>& queues);
  /// All of them, and whatever an answer under way still brings; none is asked for any more.
  void give_back();

 private:
  /// By broker, as a request names them.
  std::map<std::string, protocol::LockBatchBody> by_broker(
      const std::set<MessageQueue>& queues) const;

  Answer ask(const std::set<MessageQueue>& queues) const;
  bool followed() const;  ///< By another consumer of this client.

  const std::shared_ptr<Instance> instance_;
  const ConsumerRole& owner_;
  std::mutex mutex_;
  std::set<MessageQueue> asked_;  // for their locks; not all of them are ours
  bool given_back_ = false;
};

}  // namespace apogee::client
