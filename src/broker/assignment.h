#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "broker/context.h"
#include "protocol/assignment.h"
#include "remoting/client.h"
#include "remoting/processors.h"

/// The division of queues among a group's clients, for clients that leave it to the broker, and
/// whether they shall pull or pop (QueryAssignmentProcessor).
namespace apogee::broker {

/// How each group consumes each topic, as an operator has set it: config/messageRequestMode.json.
/// Threads: any; one mutex for the table. set() and load() block on the disk.
class MessageRequestModes {
 public:
  MessageRequestModes(Env& env, std::string path) : env_{env}, path_{std::move(path)} {}
  Result<Ok> load();
  Result<Ok> set(protocol::MessageRequestModeBody mode);  ///< On disk when it returns.
  std::optional<protocol::MessageRequestModeBody> find(const std::string& topic,
                                                       const std::string& group) const;
  protocol::MessageRequestModeTable table() const;

 private:
  Env& env_;
  const std::string path_;
  std::mutex file_mutex_;
  mutable std::mutex mutex_;
  protocol::MessageRequestModeTable table_;  // guarded by mutex_
};

/// The readable queues of a topic on all brokers, as name servers know them
/// (TopicRouteInfoManager); this broker's own as it knows itself. Threads: any. find() answers at
/// once from what was asked for less than kFreshFor ago, else on a loop when a name server has
/// answered.
class TopicRoutes {
 public:
  static constexpr Clock::Duration kFreshFor = 30s;  // pollNameServerInterval
  static constexpr std::size_t kTopicsMax = 100'000;

  TopicRoutes(Context& context, std::string_view name_servers,
              std::unique_ptr<remoting::Client> client);
  void stop();  ///< Calls under way end with what is known.

  using Queues = std::vector<protocol::MessageQueue>;  ///< Sorted.
  /// nullopt: nobody knows the topic.
  void find(const std::string& topic, std::function<void(std::optional<Queues>)> done);

 private:
  struct Known {
    Clock::Instant asked;
    std::optional<Queues> queues;  // of other brokers; nullopt: name servers do not know the topic
  };
  std::optional<Queues> with_own(const std::string& topic, std::optional<Queues> others) const;
  void answered(const std::string& topic, Result<remoting::OwnedCommand> answer,
                const std::function<void(std::optional<Queues>)>& done);

  Context& context_;
  std::vector<std::string> name_servers_;
  std::mutex mutex_;
  std::map<std::string, Known, std::less<>> known_;  // guarded by mutex_
  std::size_t turn_ = 0;                             // guarded by mutex_: who is asked
  std::mutex calls_mutex_;                           // keeps client_ while a call is begun
  std::unique_ptr<remoting::Client> client_;
};

/// What one client of a group gets. `queues` and `clients` are sorted. nullopt: the strategy is
/// unknown, or there is nothing to divide. A client that is not among `clients` gets nothing.
std::optional<TopicRoutes::Queues> allocate(const std::string& strategy, const std::string& client,
                                            const TopicRoutes::Queues& queues,
                                            const std::vector<std::string>& clients);
/// The same for clients that pop: all of them every broker (queue -1), unless a queue is to be
/// shared by `share` clients beside its own only.
std::optional<TopicRoutes::Queues> allocate_to_pop(const std::string& strategy,
                                                   const std::string& client,
                                                   const TopicRoutes::Queues& queues,
                                                   const std::vector<std::string>& clients,
                                                   std::int32_t share);

void add_assignment(remoting::Processors& processors, Context& context, MessageRequestModes& modes,
                    TopicRoutes& routes);

}  // namespace apogee::broker
