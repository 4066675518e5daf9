#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/env.h"
#include "broker/config.h"
#include "remoting/server.h"
#include "remoting/tls.h"
#include "store/config.h"
#include "store/message_store.h"

/// A broker: a store, tables, and a server that answers for them.
///
/// Threads: start() and stop() by the owner, who must not be on a loop or a worker; both block.
/// Everything else happens on the threads of Env, of the readers and of the store.
namespace apogee::broker {

struct BrokerSetup {
  BrokerConfig broker;
  store::StoreConfig store;
  remoting::ServerConfig server;
  remoting::OutgoingTls outgoing_tls;
  std::string path;  ///< Of the configuration file it came from; empty: none.
  /// Borrowed: where requests wait for the disk, so that nothing else waits behind them. Null: on
  /// Env's workers.
  Executor* readers = nullptr;
  /// Makes the store. Tests put another one in its place.
  std::function<Result<std::unique_ptr<store::MessageStore>>(Env&, const store::StoreConfig&,
                                                             store::StoreEvents&)>
      open_store = &store::MessageStore::open;
};

class Broker {
 public:
  /// Loads the tables, opens the store (recovering it), listens. An error names what failed; then
  /// nothing is left running.
  static Result<std::unique_ptr<Broker>> start(Env& env, BrokerSetup setup);
  ~Broker();  ///< Calls stop().
  Broker(const Broker&) = delete;

  /// No new connections, answers under way leave, tables and store go to disk. Idempotent.
  void stop();

  Endpoint local() const;
  /// The request codes it has an answer to, with why one is refused; empty: it is served.
  std::map<std::int32_t, std::string> codes() const;

 private:
  struct State;
  explicit Broker(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace apogee::broker
