#pragma once

#include <memory>
#include <string>

#include "base/env.h"
#include "base/options.h"

/// TLS over bytes, without sockets: a connection feeds what it reads and sends what comes out.
namespace apogee::remoting {

/// What a server does about TLS (tls.server.mode).
enum class TlsMode { kDisabled, kPermissive, kEnforcing };
/// What it wants of a client's certificate (tls.server.need.client.auth).
enum class ClientAuth { kNone, kOptional, kRequire };

struct TlsFiles {
  std::string certificate;   ///< PEM, the whole chain. Empty: a server makes one of its own.
  std::string key;           ///< PEM.
  std::string key_password;  ///< Empty: the key is not encrypted.
  std::string trust;         ///< PEM, authorities the other side is checked against.
};

/// One TLS connection. Threads: one at a time, the connection's loop.
class TlsSession {
 public:
  virtual ~TlsSession() = default;
  virtual Result<Ok> receive(Bytes cipher) = 0;  ///< As read from the peer; takes all of it.
  /// Bytes for the application, as many as are there and fit; 0: none until more is received.
  virtual Result<std::size_t> read(MutableBytes plain) = 0;
  virtual bool ready() const = 0;  ///< The handshake is over: write() may be used.
  virtual Result<Ok> write(Bytes plain) = 0;
  virtual bool has_output() const = 0;
  virtual Buffer take_output() = 0;  ///< To be sent to the peer, in order.
};

/// What one side proves and whom it trusts; shared by its connections. Any thread.
class TlsContext {
 public:
  virtual ~TlsContext() = default;
  /// `server_name`: whom a client wants to talk to (checked against the certificate if the context
  /// verifies); servers leave it empty.
  virtual Result<std::unique_ptr<TlsSession>> session(
      const std::string& server_name = {}) const = 0;
};

/// kInvalidArgument names the file and what is wrong with it. Without a certificate a self-signed
/// one is made when the first client wants TLS. `check_client`: a certificate that is shown must be
/// signed by a trusted authority.
Result<std::shared_ptr<const TlsContext>> make_server_tls(Env& env, const TlsFiles& files,
                                                          ClientAuth auth, bool check_client);
/// `check_server`: the server's certificate must be valid for its name and signed by `files.trust`,
/// or, if that is empty, by an authority the system trusts.
Result<std::shared_ptr<const TlsContext>> make_client_tls(Env& env, const TlsFiles& files,
                                                          bool check_server);

/// How a process makes connections of its own. The names of Apache's TlsSystemConfig.
struct OutgoingTls {
  bool enable = false, check_server = false;
  std::string certificate, key, key_password, trust;
  using Self = OutgoingTls;
  static constexpr auto kOptions = MemberList{
      PlainOption{"tls.enable", &Self::enable, "Connections to name servers are made with TLS."},
      PlainOption{"tls.client.authServer", &Self::check_server,
                  "The server's certificate must be valid for its address and signed by "
                  "tls.client.trustCertPath."},
      PlainOption{"tls.client.trustCertPath", &Self::trust,
                  "PEM file with the authorities that sign servers' certificates. Empty: those the "
                  "system trusts."},
      PlainOption{"tls.client.certPath", &Self::certificate,
                  "PEM file with the certificate shown to servers that ask for one."},
      PlainOption{"tls.client.keyPath", &Self::key, "PEM file with its private key."},
      PlainOption{"tls.client.keyPassword", &Self::key_password, "Password of that key."}};
};
/// Null when it is not enabled.
Result<std::shared_ptr<const TlsContext>> make_outgoing_tls(Env& env, const OutgoingTls& config);

}  // namespace apogee::remoting

template <>
struct apogee::OptionNames<apogee::remoting::TlsMode> {
  using Mode = apogee::remoting::TlsMode;
  static constexpr std::array<std::pair<std::string_view, Mode>, 3> kNames{
      {{"disabled", Mode::kDisabled},
       {"permissive", Mode::kPermissive},
       {"enforcing", Mode::kEnforcing}}};
};
template <>
struct apogee::OptionNames<apogee::remoting::ClientAuth> {
  using Auth = apogee::remoting::ClientAuth;
  static constexpr std::array<std::pair<std::string_view, Auth>, 3> kNames{
      {{"none", Auth::kNone}, {"optional", Auth::kOptional}, {"require", Auth::kRequire}}};
};
