#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "apogee/consumer.h"
#include "client/instance.h"
#include "client/process_queue.h"

/// Which queues this member of a group has, and the table of what was pulled from them (Java's
/// RebalanceImpl). Topics and groups are named as on the wire.
///
/// Threads: run() and divide() block on the network and belong to one thread, the consumer's own
/// for rebalancing; everything else any thread.
namespace apogee::client {

/// The queues of a topic, sorted, and those among them that are this member's.
struct Division {
  std::vector<MessageQueue> all, mine;
};

/// What a kind of consumer does with queues that come and go. Called by run().
class QueueOwner {
 public:
  virtual ~QueueOwner() = default;
  virtual bool ended() const = 0;  ///< Begin nothing any more.
  /// Queues that may be taken on now, of those that are new; orderly consumers lock them. A queue
  /// left out is asked for again soon.
  virtual std::set<MessageQueue> may_take_on(const std::set<MessageQueue>& queues) {
    return queues;
  }
  /// Where to begin with a new queue. An error: not now.
  virtual Result<std::int64_t> first_offset_of(const MessageQueue& queue) = 0;
  /// It is in the table by now.
  virtual void begin(const MessageQueue& queue, const ProcessQueuePtr& messages,
                     std::int64_t offset) = 0;
  /// It is not this member's any more, and dropped. False: keep it until the next round, soon;
  /// also if it is this member's again by then: what was pulled of it is void.
  virtual bool let_go(const MessageQueue& queue, ProcessQueue& messages) = 0;
  /// These queues are to be popped from, and no others of this topic.
  virtual void pop_from(const std::string& /*topic*/, const std::set<MessageQueue>& /*queues*/) {}
  /// Brokers divide, and this topic is to be pulled.
  virtual void pull_from(const std::string& /*topic*/) {}
  /// After each round of a topic. `changed`: a queue came or went.
  virtual void divided(const std::string& topic, const Division& division, bool changed) = 0;
};

class Rebalance {
 public:
  struct Settings {
    std::string group;
    MessageModel model = MessageModel::kClustering;
    Allocation allocation = average();
    bool client_side = true;  ///< false: ask the brokers (QUERY_ASSIGNMENT) first.
    /// A queue nobody has pulled from for two minutes is taken on anew. Not for consumers whose
    /// program decides when to pull.
    bool drop_idle = true;
  };
  Rebalance(std::shared_ptr<Instance> instance, Settings settings, QueueOwner& owner);

  /// One round for these topics; queues of other topics are dropped. False: something could not be
  /// done, try again in a second. Blocks.
  bool run(const std::set<std::string>& topics);
  /// What a round would divide. An error: too little is known for it. Blocks.
  Result<Division> divide(const std::string& topic) const;

  ProcessQueuePtr find(const MessageQueue& queue) const;
  std::map<MessageQueue, ProcessQueuePtr> queues() const;
  std::set<MessageQueue> names() const;
  /// Out of the table, dropped. Null: it was not there.
  ProcessQueuePtr drop(const MessageQueue& queue);
  void drop_all();

 private:
  struct Assigned {
    std::set<MessageQueue> pull, pop;
  };
  Result<std::vector<std::string>> members(const std::string& topic) const;
  Result<Assigned> ask_broker(const std::string& topic);
  bool by_client(const std::string& topic);
  bool by_broker(const std::string& topic);
  /// True if a queue came or went; `balanced` becomes false if one should have and could not.
  bool take(const std::string& topic, const std::set<MessageQueue>& mine, bool& balanced);
  bool let_go_of_others(const std::string& topic, const std::set<MessageQueue>& mine,
                        bool& balanced);

  const std::shared_ptr<Instance> instance_;
  const Settings settings_;
  QueueOwner& owner_;
  bool ask_brokers_;                       // run()'s thread: until they prove too old
  bool answered_ = false;                  // run()'s thread: a broker knows the question
  std::map<std::string, int> unanswered_;  // run()'s thread: topic -> questions in vain
  std::map<std::string, std::set<MessageQueue>> popped_;  // run()'s thread: by topic

  mutable std::mutex mutex_;
  std::map<MessageQueue, ProcessQueuePtr> queues_;
};

}  // namespace apogee::client
