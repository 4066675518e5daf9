#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/env.h"

/// A small HTTP server for machines that look after this one: GET and HEAD, one request a
/// connection, bodies of its own making. Built on the network seam, so it has no socket, no thread
/// and no library of its own.
///
/// Threads: pages are made by one worker at a time, each for all who wait for it; connections live
/// on their loops.
/// Hostile peers: a request has kRequestBytesMax, a connection kTimeMax, and there are
/// kConnectionsMax of them.
namespace apogee::broker {

struct HttpPage {
  int status = 200;
  std::string type = "text/plain; charset=utf-8";
  Buffer body;
};

class MetricsServer {
 public:
  static constexpr std::size_t kRequestBytesMax = 8 << 10;
  static constexpr std::size_t kConnectionsMax = 16;
  static constexpr Clock::Duration kTimeMax = 10s;

  /// The page behind a path; nothing: there is none.
  using Pages = std::function<std::optional<HttpPage>(std::string_view path)>;

  /// Listens. kExists: the address is in use.
  static Result<std::unique_ptr<MetricsServer>> start(Env& env, const Endpoint& at, Pages pages);
  ~MetricsServer();  ///< No further page is asked for; connections are closed. Not on a loop.
  MetricsServer(const MetricsServer&) = delete;

  Endpoint local() const;

 private:
  struct State;
  explicit MetricsServer(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace apogee::broker
