#include "remoting/server.h"

#include "base/file.h"
#include "remoting/connection.h"

namespace apogee::remoting {
namespace {

class ListeningServer final : public Server {
 public:
  ListeningServer(Env& env, const ServerConfig& config, RequestHandler& handler)
      : env_{env}, config_{config}, handler_{handler} {}
  ~ListeningServer() override { close_all(std::chrono::milliseconds{0}); }

  Result<Ok> listen() {
    if (config_.tls_mode != TlsMode::kDisabled) {
      auto tls = make_server_tls(env_,
                                 {.certificate = config_.tls_certificate,
                                  .key = config_.tls_key,
                                  .key_password = config_.tls_key_password,
                                  .trust = config_.tls_trust},
                                 config_.tls_client_auth, config_.tls_check_client);
      if (!tls) return tls.error();
      tls_ = *std::move(tls);
    }
    auto listener =
        env_.network.listen({config_.bind_address, static_cast<std::uint16_t>(config_.listen_port)},
                            [this](std::unique_ptr<Stream> stream) { accept(std::move(stream)); });
    if (!listener) return listener.error();
    listener_ = *std::move(listener);
    local_ = listener_->local();
    sweep_ = std::make_unique<Periodic>(env_.clock, env_.workers, 200ms, 200ms, [this] {
      const auto now = env_.clock.now();
      connections_.limit_unfinished(static_cast<std::size_t>(config_.max_unfinished_bytes_of_all));
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
        .max_unsent_bytes = static_cast<std::size_t>(config_.max_unsent_bytes),
        .max_unsent_bytes_of_all = static_cast<std::size_t>(config_.max_unsent_bytes_of_all),
        .max_unfinished_bytes_of_all =
            static_cast<std::size_t>(config_.max_unfinished_bytes_of_all),
        .max_silence =
            Clock::Duration::max(),  // clients may take their time over what they are asked
        // Java waits for ever. Slow lines are served: the largest frame, of 16 MiB, may take 18
        // minutes.
        .max_frame_time = 60s};
    auto connection =
        std::make_shared<Connection>(env_, std::move(stream), limits, handler_, connections_);
    connection->serve_tls(config_.tls_mode, tls_);
    connection->start();
  }

  Env& env_;
  const ServerConfig config_;
  RequestHandler& handler_;
  std::shared_ptr<const TlsContext> tls_;  // null: disabled
  Endpoint local_;
  ConnectionSet connections_;
  std::unique_ptr<Periodic> sweep_;
  std::unique_ptr<Listener>
      listener_;  // first to go: nothing is accepted while the rest is torn down
};

/// What tls.config.file says about servers; the keys for clients in it are not ours to judge.
Result<Ok> read_tls_file(Env& env, ServerConfig& config) {
  constexpr std::size_t kBytesMax = 64 << 10;
  const std::string path = config.tls_config_file;
  auto text = read_file(env.files, path, kBytesMax);
  if (!text)
    return Error{Errc::kInvalidArgument, "tls.config.file: " + path + ": " + text.error().detail};
  auto properties = parse_properties(*text);
  if (!properties) return properties.error();
  std::erase_if(*properties,
                [](const Property& each) { return !each.key.starts_with("tls.server."); });
  auto options = option_views(config);
  std::vector<std::string> warnings;
  return apply_properties(*properties, options, path, false, warnings);
}

}  // namespace

Result<std::unique_ptr<Server>> start_server(Env& env, const ServerConfig& given,
                                             RequestHandler& handler) {
  ServerConfig config = given;
  if (!config.tls_config_file.empty()) {
    if (auto read = read_tls_file(env, config); !read) return read.error();
  }
  auto server = std::make_unique<ListeningServer>(env, config, handler);
  if (auto listening = server->listen(); !listening) return listening.error();
  return std::unique_ptr<Server>{std::move(server)};
}

}  // namespace apogee::remoting
