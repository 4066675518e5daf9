#pragma once

#include <memory>
#include <string>

#include "base/env.h"
#include "base/options.h"
#include "remoting/peer.h"
#include "remoting/tls.h"

namespace apogee::remoting {

/// Keys of Apache's NettyServerConfig that mean something here, and our limits.
struct ServerConfig {
  std::int32_t listen_port = 0;
  std::string bind_address = "0.0.0.0";
  std::int32_t idle_seconds = 120;
  std::int32_t max_connections = 20'000;
  std::int32_t max_frame_bytes = static_cast<std::int32_t>(protocol::kMaxFrameBytes);
  std::int32_t max_header_bytes = 1 << 20;
  std::int64_t max_unsent_bytes = 64 << 20;
  std::int64_t max_unsent_bytes_of_all = 256 << 20;
  std::int64_t max_unfinished_bytes_of_all = 256 << 20;
  std::int32_t io_threads = 0, io_spin_us = 50;
  TlsMode tls_mode = TlsMode::kPermissive;
  ClientAuth tls_client_auth = ClientAuth::kNone;
  bool tls_check_client = false;
  std::string tls_certificate, tls_key, tls_key_password, tls_trust, tls_config_file;
  using Self = ServerConfig;
  static constexpr auto kOptions = MemberList{
      Option{"listenPort", &Self::listen_port, 0, 65'535,
             "TCP port. 0: the role's own (broker 10911, name server 9876)."},
      PlainOption{"bindAddress", &Self::bind_address, "Address to listen on."},
      Option{"serverChannelMaxIdleTimeSeconds", &Self::idle_seconds, 1, 86'400,
             "A connection without traffic for this long is closed, in seconds."},
      Option{"serverMaxConnections", &Self::max_connections, 1, 1'000'000,
             "Further connections are closed at once, with a line in the log."},
      Option{"serverMaxFrameBytes", &Self::max_frame_bytes, 4'096, 1 << 30,
             "Largest frame, length word included; a larger one costs its connection."},
      Option{"serverMaxHeaderBytes", &Self::max_header_bytes, 1'024, 1 << 24,
             "Largest header of a frame; a larger one costs its connection."},
      Option{"serverMaxUnsentBytes", &Self::max_unsent_bytes, std::int64_t{1} << 16,
             std::int64_t{1} << 34,
             "Answers waiting for a slow reader, in bytes: above half of it no more requests are "
             "read, above it the connection is closed."},
      Option{"serverMaxUnsentBytesOfAll", &Self::max_unsent_bytes_of_all, std::int64_t{1} << 16,
             std::int64_t{1} << 40,
             "Answers waiting for all slow readers together, in bytes: above it each gets one "
             "answer at a time."},
      Option{"serverMaxUnfinishedBytesOfAll", &Self::max_unfinished_bytes_of_all,
             std::int64_t{1} << 16, std::int64_t{1} << 40,
             "Memory of all frames of which the rest has not come yet, in bytes: above it large "
             "frames are not read on, and the connections with the most of it are closed."},
      Option{"ioThreads", &Self::io_threads, 0, 256,
             "Threads that own connections; 0: one a processor."},
      Option{
          "ioSpinMicros", &Self::io_spin_us, 0, 10'000,
          "How long an io thread without work looks for more before it sleeps, in us, as long as "
          "that finds something every other time: who sends one request at a time then gets its "
          "answer without a sleeping thread being woken for it. 0: never."},
      // The names of Apache's TlsSystemConfig, which reads them from tls.config.file alone.
      PlainOption{"tls.server.mode", &Self::tls_mode,
                  "TLS: disabled, permissive (plain connections too) or enforcing."},
      PlainOption{"tls.server.certPath", &Self::tls_certificate,
                  "PEM file with the certificate and its chain. Empty: a self-signed certificate, "
                  "made anew in each process."},
      PlainOption{"tls.server.keyPath", &Self::tls_key, "PEM file with the private key."},
      PlainOption{"tls.server.keyPassword", &Self::tls_key_password,
                  "Password of the private key."},
      PlainOption{"tls.server.need.client.auth", &Self::tls_client_auth,
                  "Are clients asked for a certificate?"},
      PlainOption{"tls.server.authClient", &Self::tls_check_client,
                  "Client certificates are checked against tls.server.trustCertPath."},
      PlainOption{"tls.server.trustCertPath", &Self::tls_trust,
                  "PEM file with the authorities that sign client certificates."},
      PlainOption{
          "tls.config.file", &Self::tls_config_file,
          "A properties file with the tls.server keys, as Apache's servers read it; what it "
          "says wins."}};
};

/// Accepts connections and hands their requests to one handler. Start: constructed listening.
/// Destructor: closes everything.
class Server {
 public:
  virtual ~Server() = default;
  virtual Endpoint local() const = 0;
  virtual void stop_accepting() = 0;  ///< Drain, step 1: no new connections.
  virtual std::size_t connections() const = 0;
  /// Closes every connection once its answers are written or `grace` is over; returns when all are
  /// closed. Not on a loop.
  virtual void close_all(std::chrono::milliseconds grace) = 0;
};

/// `handler` outlives the server. kExists names the port in use.
Result<std::unique_ptr<Server>> start_server(Env& env, const ServerConfig& config,
                                             RequestHandler& handler);

}  // namespace apogee::remoting
