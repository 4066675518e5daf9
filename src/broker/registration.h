#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "broker/context.h"
#include "protocol/headers.h"
#include "remoting/client.h"

/// Tells the name servers which topics are here (BrokerOuterAPI,
/// BrokerController.registerBrokerAll).
///
/// Each name server has at most one registration under way, made from the tables of the moment it
/// is sent: an older one can never overtake a newer one, and a server that hangs holds up nobody
/// but itself. All topics are told every registerNameServerPeriod; in between, each topic that
/// changes is told alone, in order and with the data version of its change. After any failure all
/// topics are told again before anything else, because a name server that has missed a change
/// ignores it once it has seen a later version.
///
/// Threads: every member from any thread; nothing blocks but start(), which waits for the first
/// answers, and stop(). Bodies are made on the workers.
namespace apogee::broker {

class Registration {
 public:
  /// Topics one registration carries; a table that is larger goes out in several, within the frame
  /// a name server accepts.
  static constexpr std::size_t kTopicsMax = 20'000;
  /// Changes remembered for one name server; beyond it all topics are told instead.
  static constexpr std::size_t kChangesMax = 64;

  Registration(Context& context, std::string_view name_servers, std::string ha_address,
               std::unique_ptr<remoting::Client> client);
  ~Registration();

  /// Registers with every name server and goes on doing so. Waits up to `limit` until one of them
  /// knows the broker or all have failed: a broker that says it is ready can be found.
  void start(std::chrono::milliseconds limit);
  void stop();  ///< Unregisters everywhere; waits at most a second for each answer.

  void register_soon();  ///< All topics, to all servers.
  /// Topics::Changed.
  void topics_changed(const std::vector<TopicPtr>& topics, const protocol::DataVersion& version);

 private:
  struct Change {
    std::string topic;
    protocol::DataVersion version;
  };
  struct NameServer {
    std::string address;
    Clock::Instant due{};    // of the next registration of everything
    bool under_way = false;  // a registration is being made or waits for its answer
    bool whole_wanted = true;
    bool settled = false;                             // the first attempt has ended
    std::optional<bool> reachable;                    // nullopt: never tried
    std::optional<protocol::TopicConfigTable> rest;   // of a whole table that goes out in parts
    std::optional<protocol::DataVersion> completing;  // under way is the last part of it
    std::optional<protocol::DataVersion> has_whole;   // it took that table
    std::deque<Change> changes;
    bool sending_change = false;  // under way is changes.front()
  };

  void tick();
  void advance(NameServer& server);  // mutex_ is held
  void send_next(NameServer& server);
  std::optional<protocol::TopicConfigTable> next_topics(NameServer& server);  // mutex_ is held
  void finished(NameServer& server, const Result<remoting::OwnedCommand>& answer);
  void say(NameServer& server, bool good, const Result<remoting::OwnedCommand>& answer);
  bool is_first_reachable(const NameServer& server) const;  // mutex_ is held
  void adopt_order(const remoting::OwnedCommand& answer);

  Context& context_;
  const std::string ha_address_;
  std::mutex calls_mutex_;  // keeps client_ while a call is begun
  std::unique_ptr<remoting::Client> client_;
  mutable std::mutex mutex_;
  std::condition_variable settled_;
  std::deque<NameServer> servers_;  // the list itself never changes; what is in them: mutex_
  bool stopped_ = false;            // mutex_
  std::unique_ptr<Periodic> tick_;
};

}  // namespace apogee::broker
