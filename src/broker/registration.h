#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "broker/context.h"
#include "protocol/headers.h"
#include "remoting/client.h"

/// Tells the name servers which topics are here (BrokerOuterAPI,
/// BrokerController.registerBrokerAll).
///
/// Threads: every member from any thread; nothing blocks but start(), which waits for the first
/// answers, and stop(). Registrations go out one after the other: while one is under way, a change
/// is remembered and sent as a whole table afterwards, so that an older table can never overtake a
/// newer one.
namespace apogee::broker {

class Registration {
 public:
  Registration(Context& context, std::string name_servers, std::string ha_address);
  ~Registration();

  /// Registers with every name server and goes on doing so. Waits up to `limit` for the first
  /// answers: a broker that says it is ready can be found.
  void start(std::chrono::milliseconds limit);
  void stop();           ///< Unregisters everywhere; waits at most a second for each answer.
  void register_soon();  ///< Something changed.
  const std::vector<std::string>& name_servers() const { return name_servers_; }

 private:
  void run();
  void finished_one(const std::string& server, const Result<remoting::OwnedCommand>& answer);

  Context& context_;
  const std::vector<std::string> name_servers_;
  const std::string ha_address_;
  std::mutex calls_mutex_;  // keeps client_ while calls are begun; taken before mutex_
  std::unique_ptr<remoting::Client> client_;
  std::mutex mutex_;
  std::condition_variable idle_;
  std::size_t under_way_ = 0;              // mutex: answers that are missing
  bool again_ = false, stopped_ = false;   // mutex
  bool any_round_ended_ = false;           // mutex
  std::map<std::string, bool> reachable_;  // mutex: so that a change is said once
  std::unique_ptr<Periodic> period_;
};

}  // namespace apogee::broker
