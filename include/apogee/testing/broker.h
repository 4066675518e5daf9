#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "apogee/export.h"
#include "apogee/result.h"

/// A name server and a broker inside the program that tests against them. Link the component
/// `apogee::testing`; a shipped program does not need it.
///
///   auto broker = apogee::testing::Broker::start({.topics = {{"orders", 4}}});
///   auto client = apogee::Client::start({.name_servers = {broker->name_server()}});
namespace apogee::testing {

struct Topic {
  std::string name;
  int queues = 4;  ///< 1..65536, readable and writable.
};

struct BrokerOptions {
  /// Of the store. Empty: a temporary one, removed with the broker. One that exists is served as
  /// it is, whoever wrote it, and is left there.
  std::string directory;
  /// Keys of broker.conf, over small sizes fit for tests.
  std::vector<std::pair<std::string, std::string>> settings;
  std::vector<Topic> topics;  ///< Made before start() returns.
  /// Lines of the broker's log, warnings and errors; from any thread. Empty: nobody wants them.
  std::function<void(std::string_view line)> log;
};

/// Listens on ports of 127.0.0.1 that the system chose; nothing of it survives the object.
/// Threads:  any member from any thread except the broker's own (the log function's); they take
///           turns. All but the addresses may block.
/// Lifetime: the destructor stops both servers. Movable; a moved-from one may only be destroyed
///           or assigned to.
class APOGEE_API Broker {
 public:
  /// Up in some milliseconds. kInvalidArgument names an unknown or malformed setting.
  static Result<Broker> start(BrokerOptions options = {});
  Broker(Broker&&) noexcept;
  Broker& operator=(Broker&&) noexcept;
  ~Broker();

  std::string name_server() const;  ///< "127.0.0.1:port": what a client is told.
  std::string address() const;      ///< The broker's own.
  std::string directory() const;

  /// Known to name server and broker when this returns. A topic that exists gets the new number.
  Result<Ok> create_topic(const Topic& topic);

  /// Moves the servers' clocks on, and with them everything that waits for time: delayed messages,
  /// transaction checks, invisible times, heartbeats (a client counts as dead after 120 s) and
  /// idle connections. The client's own clock is not touched. Time never goes back.
  void advance(std::chrono::milliseconds by);

  /// Stops the broker (its name server stays): the store is closed, connections end.
  void stop();
  /// The broker again, on the same port and the same store. A running one is stopped first.
  Result<Ok> restart();
  bool running() const;

  // Faults.

  /// Ends every connection to broker and name server now; new ones are taken.
  void cut_connections();
  /// While true, connections are taken and nothing on them is read or answered: a broker that
  /// hangs.
  void freeze(bool frozen);
  /// While true, new connections are closed at once.
  void refuse_connections(bool refused);

 private:
  struct State;
  explicit Broker(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace apogee::testing
