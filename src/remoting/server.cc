#include "remoting/server.h"

#include "remoting/connection.h"

namespace apogee::remoting {
namespace {

class ListeningServer final : public Server {
 public:
  ListeningServer(Env& env, const ServerConfig& config, RequestHandler& handler)
      : env_{env}, config_{config}, handler_{handler} {}
  ~ListeningServer() override { close_all(std::chrono::milliseconds{0}); }

  Result<Ok> listen() {
    auto listener =
        env_.network.listen({config_.bind_address, static_cast<std::uint16_t>(config_.listen_port)},
                            [this](std::unique_ptr<Stream> stream) { accept(std::move(stream)); });
    if (!listener) return listener.error();
    listener_ = *std::move(listener);
    local_ = listener_->local();
    sweep_ = std::make_unique<Periodic>(env_.clock, env_.workers, 200ms, 200ms, [this] {
      const auto now = env_.clock.now();
      for (const auto& connection : connections_.all())
        connection->sweep(now, std::chrono::seconds{config_.idle_seconds});
    });
    return Ok{};
  }

  Endpoint local() const override { return local_; }
  void stop_accepting() override { listener_.reset(); }
  std::size_t connections() const override { return connections_.size(); }
  void close_all(std::chrono::milliseconds grace) override {
    stop_accepting();
    for (const auto& connection : connections_.all())
      connection->close_when_sent("the server stops");
    if (!connections_.wait_until_empty(grace)) {
      for (const auto& connection : connections_.all()) connection->close("the server stops");
      connections_.wait_until_empty(10s);
    }
    sweep_.reset();
  }

 private:
  void accept(std::unique_ptr<Stream> stream) {
    if (connections_.size() >= static_cast<std::size_t>(config_.max_connections)) {
      env_.log.warn(
          "connection refused: peer={} reason=\"{} connections are open, the most allowed "
          "(serverMaxConnections)\"",
          to_string(stream->remote()), config_.max_connections);
      return;
    }
    const ConnectionLimits limits{
        .max_frame_bytes = static_cast<std::uint32_t>(config_.max_frame_bytes),
        .max_header_bytes = static_cast<std::uint32_t>(config_.max_header_bytes),
        .max_unsent_bytes = static_cast<std::size_t>(config_.max_unsent_bytes)};
    std::make_shared<Connection>(env_, std::move(stream), limits, handler_, connections_)->start();
  }

  Env& env_;
  const ServerConfig config_;
  RequestHandler& handler_;
  Endpoint local_;
  ConnectionSet connections_;
  std::unique_ptr<Periodic> sweep_;
  std::unique_ptr<Listener>
      listener_;  // first to go: nothing is accepted while the rest is torn down
};

}  // namespace

Result<std::unique_ptr<Server>> start_server(Env& env, const ServerConfig& config,
                                             RequestHandler& handler) {
  auto server = std::make_unique<ListeningServer>(env, config, handler);
  if (auto listening = server->listen(); !listening) return listening.error();
  return std::unique_ptr<Server>{std::move(server)};
}

}  // namespace apogee::remoting
