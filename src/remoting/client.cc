#include "remoting/client.h"

#include <limits>

#include "base/in_flight.h"
#include "protocol/codes.h"
#include "remoting/connection.h"

namespace apogee::remoting {
namespace {

/// A server ends a connection that is not read from. Here that would end every call on it: what is
/// too much is refused by itself. A frame stays until it is sent, though its call's time is over,
/// and a oneway has no time.
constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();
constexpr std::size_t kUnsentCallsMax = 256 << 20, kUnsentOnewaysMax = 64 << 20;

Error too_much_for(const std::string& address) {
  return Error{Errc::kBusy, address + " does not read what is sent to it: too much waits already"};
}

/// Answers what nobody serves here.
class Unsupported final : public RequestHandler {
 public:
  void on_requests(std::span<const Request> requests) override {
    for (const Request& request : requests) {
      request.responder.reply(
          protocol::response_code::kRequestCodeNotSupported,
          " request type " + std::to_string(request.command.code) + " not supported");
    }
  }
};

class ConnectingClient final : public Client {
 public:
  ConnectingClient(Env& env, const ClientConfig& config, RequestHandler* handler)
      : Client{env.clock},
        env_{env},
        config_{config},
        shared_{std::make_shared<Shared>(env, handler)},
        sweep_{std::make_unique<Periodic>(env.clock, on_clock_thread_, 100ms, 100ms,
                                          [env = &env, idle = config.idle, shared = shared_] {
                                            const auto now = env->clock.now();
                                            shared->expire(now);
                                            for (const auto& connection : shared->connections.all())
                                              connection->sweep(now, idle);
                                          })} {}

  ~ConnectingClient() override { stop(); }

  void stop() override {
    std::unordered_map<std::string, Target> targets;
    {
      std::lock_guard lock{shared_->mutex};
      if (std::exchange(shared_->stopped, true)) return;
      targets.swap(shared_->targets);
    }
    sweep_.reset();
    for (auto& [address, target] : targets) {
      for (Waiting& each : target.waiting)
        if (each.done) each.done(Error{Errc::kStopped, "the client stops"});
    }
    shared_->starting.wait();
    for (const auto& connection : shared_->connections.all()) connection->close("the client stops");
    shared_->connections.wait_until_empty(5s);
  }

  void call_in_place(const std::string& address,
                     std::function<void(Buffer&, std::int32_t)>&& encode, Clock::Instant deadline,
                     AnsweredInPlace&& done) override {
    if (const auto connection = connection_to(address)) {
      if (connection->unsent_bytes() > kUnsentCallsMax) return done(too_much_for(address));
      return connection->call_in_place(encode, deadline, std::move(done));
    }
    submit(address, {std::move(encode), deadline, std::move(done)});
  }
  void oneway_frame(const std::string& address,
                    std::function<void(Buffer&, std::int32_t)> encode) override {
    submit(address, {std::move(encode), env_.clock.now() + config_.connect_timeout, nullptr});
  }
  void close(const std::string& address) override {
    std::shared_ptr<Connection> connection;
    {
      std::lock_guard lock{shared_->mutex};
      if (const auto found = shared_->targets.find(address); found != shared_->targets.end()) {
        connection = found->second.connection;
        if (!found->second.connecting) shared_->targets.erase(found);
      }
    }
    if (connection) connection->close("closed by the caller");
  }

 private:
  struct Waiting {
    std::function<void(Buffer&, std::int32_t)> encode;
    Clock::Instant deadline;
    AnsweredInPlace done;  // null: oneway
  };
  struct Target {
    std::shared_ptr<Connection> connection;
    bool connecting = false;
    std::vector<Waiting> waiting;  // for the connection
  };
  /// Outlives the client while a connect is under way.
  struct Shared {
    Shared(Env& env_in, RequestHandler* handler_in)
        : env{env_in},
          handler{handler_in != nullptr ? *handler_in : static_cast<RequestHandler&>(unsupported)} {
    }
    Env& env;
    Unsupported unsupported;
    RequestHandler& handler;
    ConnectionSet connections;
    std::mutex mutex;
    std::unordered_map<std::string, Target> targets;
    bool stopped = false;
    std::atomic<bool> dropping{false};  // so that it is said once
    InFlight starting;  // connections between their making and their place in `connections`

    /// A call's time runs while its connection is being made, too.
    void expire(Clock::Instant now) {
      std::vector<std::pair<std::string, Waiting>> late;
      {
        std::lock_guard lock{mutex};
        for (auto& [address, target] : targets) {
          const auto begin =
              std::stable_partition(target.waiting.begin(), target.waiting.end(),
                                    [&](const Waiting& each) { return each.deadline > now; });
          for (auto each = begin; each != target.waiting.end(); ++each)
            late.emplace_back(address, std::move(*each));
          target.waiting.erase(begin, target.waiting.end());
        }
      }
      for (auto& [address, each] : late) {
        if (each.done)
          each.done(Error{Errc::kTimeout, "connect to " + address + ": no answer in time"});
      }
    }

    void pass_on(const std::string& address, Connection& connection, Waiting& waiting) {
      const std::size_t unsent = connection.unsent_bytes();
      if (waiting.done && unsent > kUnsentCallsMax) return waiting.done(too_much_for(address));
      if (!waiting.done) {
        const bool drop = unsent > kUnsentOnewaysMax;
        if (drop && !dropping.exchange(true))
          env.log.warn("oneway requests are dropped: reason=\"{}\"", too_much_for(address).detail);
        if (drop) return;
        dropping.store(false, std::memory_order_relaxed);
        OutFrame frame;
        waiting.encode(frame.bytes, connection.next_opaque());
        connection.send(std::move(frame));
        return;
      }
      connection.call_in_place(waiting.encode, waiting.deadline, std::move(waiting.done));
    }
  };

  /// Null: there is none (any more).
  std::shared_ptr<Connection> connection_to(const std::string& address) {
    std::lock_guard lock{shared_->mutex};
    const auto found = shared_->targets.find(address);
    if (found == shared_->targets.end()) return nullptr;
    const auto& connection = found->second.connection;
    return connection && connection->takes_calls() ? connection : nullptr;
  }

  /// Connects first if need be.
  void submit(const std::string& address, Waiting&& waiting) {
    std::shared_ptr<Connection> connection;
    std::string to_connect;  // `address` may be gone with what waits
    {
      std::unique_lock lock{shared_->mutex};
      if (shared_->stopped) {
        lock.unlock();
        if (waiting.done) waiting.done(Error{Errc::kStopped, "the client stops"});
        return;
      }
      Target& target = shared_->targets[address];
      if (target.connection && target.connection->takes_calls()) {
        connection = target.connection;
      } else {
        target.connection.reset();
        to_connect = address;
        target.waiting.push_back(std::move(waiting));
        if (std::exchange(target.connecting, true)) return;
      }
    }
    if (connection) return shared_->pass_on(address, *connection, waiting);
    connect(to_connect);
  }

  void connect(const std::string& address) {
    auto endpoint = parse_endpoint(address);
    if (!endpoint) return connected(*shared_, config_, address, endpoint.error());
    env_.network.connect(
        *endpoint, config_.connect_timeout,
        [shared = shared_, config = config_, address](Result<std::unique_ptr<Stream>> stream) {
          connected(*shared, config, address, std::move(stream));
        });
  }

  static void connected(Shared& shared, const ClientConfig& config, const std::string& address,
                        Result<std::unique_ptr<Stream>> stream) {
    std::unique_ptr<TlsSession> tls;
    if (stream && config.tls) {
      auto session = config.tls->session(parse_endpoint(address)->host);
      if (session)
        tls = *std::move(session);
      else
        stream = session.error();
    }
    std::shared_ptr<Connection> connection;
    std::optional<Error> failed;
    std::vector<Waiting> waiting;
    InFlight::Token starting;
    {
      std::lock_guard lock{shared.mutex};
      const auto found = shared.targets.find(address);
      if (shared.stopped || found == shared.targets.end()) return;
      starting = shared.starting.enter();
      waiting.swap(found->second.waiting);
      found->second.connecting = false;
      if (stream) {
        connection =
            std::make_shared<Connection>(shared.env, *std::move(stream),
                                         ConnectionLimits{.max_frame_bytes = config.max_frame_bytes,
                                                          .max_unsent_bytes = kNoLimit},
                                         shared.handler, shared.connections);
        if (tls) connection->begin_tls(std::move(tls));
        found->second.connection = connection;
      } else {
        failed = stream.error();
        shared.targets.erase(found);
      }
    }
    if (failed) {
      for (Waiting& each : waiting) {
        if (each.done) each.done(*failed);
      }
      return;
    }
    connection->start();
    config.connected(address);
    for (Waiting& each : waiting) shared.pass_on(address, *connection, each);
  }

  Env& env_;
  const ClientConfig config_;
  const std::shared_ptr<Shared> shared_;
  InlineExecutor on_clock_thread_;  // workers may all wait for what only a deadline ends
  std::unique_ptr<Periodic> sweep_;
};

}  // namespace

std::unique_ptr<Client> make_client(Env& env, const ClientConfig& config, RequestHandler* handler) {
  return std::make_unique<ConnectingClient>(env, config, handler);
}

}  // namespace apogee::remoting
