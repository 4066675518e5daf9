#include "remoting/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

namespace apogee::remoting {
namespace {

template <auto free>
struct Free {
  template <class T>
  void operator()(T* each) const {
    free(each);
  }
};
using Context = std::unique_ptr<SSL_CTX, Free<SSL_CTX_free>>;
using Session = std::unique_ptr<SSL, Free<SSL_free>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Bio = std::unique_ptr<BIO, Free<BIO_free>>;

constexpr std::size_t kPemBytesMax = 1 << 20;
constexpr long kSelfSignedSeconds = 10L * 365 * 24 * 3'600;

/// OpenSSL's own words for the last error of this thread; clears the rest.
std::string last_error() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "unknown error";
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "error " + std::to_string(code);
}

class MemorySession final : public TlsSession {
 public:
  MemorySession(Session ssl, BIO* in, BIO* out) : ssl_{std::move(ssl)}, in_{in}, out_{out} {
    (void)step();  // a client's first words; a server waits
  }

  Result<Ok> receive(Bytes cipher) override {
    for (Bytes rest = cipher; !rest.empty();) {
      const int n = BIO_write(in_, rest.data(), static_cast<int>(rest.size()));
      if (n <= 0) return Error{Errc::kIo, "TLS: " + last_error()};
      rest = rest.subspan(static_cast<std::size_t>(n));
    }
    return step();
  }
  Result<std::size_t> read(MutableBytes plain) override {
    if (!ready()) return std::size_t{0};
    const int n = SSL_read(ssl_.get(), plain.data(), static_cast<int>(plain.size()));
    if (n > 0) return static_cast<std::size_t>(n);
    return outcome<std::size_t>(n);
  }
  bool ready() const override { return SSL_is_init_finished(ssl_.get()) != 0; }
  Result<Ok> write(Bytes plain) override {
    if (plain.empty()) return Ok{};
    const int n = SSL_write(ssl_.get(), plain.data(), static_cast<int>(plain.size()));
    // Into memory it goes whole or not at all.
    if (n <= 0) return Error{Errc::kDisconnected, "TLS: " + last_error()};
    return Ok{};
  }
  bool has_output() const override { return BIO_pending(out_) > 0; }
  Buffer take_output() override {
    Buffer bytes(static_cast<std::size_t>(BIO_pending(out_)), '\0');
    if (!bytes.empty()) BIO_read(out_, bytes.data(), static_cast<int>(bytes.size()));
    return bytes;
  }

 private:
  Result<Ok> step() {
    if (ready()) return Ok{};
    const int done = SSL_do_handshake(ssl_.get());
    if (done == 1) return Ok{};
    auto result = outcome<std::size_t>(done);
    if (!result) return result.error();
    return Ok{};
  }
  template <class T>
  Result<T> outcome(int returned) {
    switch (SSL_get_error(ssl_.get(), returned)) {
      case SSL_ERROR_WANT_READ:
      case SSL_ERROR_WANT_WRITE:
        return T{};
      case SSL_ERROR_ZERO_RETURN:
        return Error{Errc::kDisconnected, "TLS: closed by the peer"};
      default: {
        std::string why = last_error();
        if (const long verified = SSL_get_verify_result(ssl_.get()); verified != X509_V_OK)
          why += std::string{" ("} + X509_verify_cert_error_string(verified) + ")";
        return Error{Errc::kDisconnected, "TLS: " + why};
      }
    }
  }

  const Session ssl_;
  BIO* const in_;   // ssl_'s
  BIO* const out_;  // ssl_'s
};

/// A key and a certificate for nobody in particular: encryption without identity, as Apache's test
/// mode has it. P-256: made in less than a millisecond.
Result<Ok> use_self_signed(SSL_CTX* context) {
  const Key key{EVP_EC_gen("P-256")};
  const Certificate certificate{X509_new()};
  if (!key || !certificate) return Error{Errc::kIo, "TLS: " + last_error()};
  X509* const x = certificate.get();
  X509_set_version(x, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
  X509_gmtime_adj(X509_getm_notBefore(x), -3'600);
  X509_gmtime_adj(X509_getm_notAfter(x), kSelfSignedSeconds);
  X509_set_pubkey(x, key.get());
  X509_NAME* const name = X509_get_subject_name(x);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("apogee"), -1, -1, 0);
  X509_set_issuer_name(x, name);
  if (X509_sign(x, key.get(), EVP_sha256()) == 0 || SSL_CTX_use_certificate(context, x) != 1 ||
      SSL_CTX_use_PrivateKey(context, key.get()) != 1)
    return Error{Errc::kIo, "TLS: no self-signed certificate: " + last_error()};
  return Ok{};
}

int give_password(char* to, int size, int, void* password) {
  const auto& text = *static_cast<const std::string*>(password);
  if (text.size() > static_cast<std::size_t>(size)) return -1;
  std::copy(text.begin(), text.end(), to);
  return static_cast<int>(text.size());
}

Error bad_file(const std::string& path, const std::string& what) {
  return Error{Errc::kInvalidArgument, "TLS: " + path + ": " + what};
}

Result<Buffer> read_pem(Env& env, const std::string& path) {
  auto text = read_file(env.files, path, kPemBytesMax);
  if (!text) return bad_file(path, text.error().detail);
  return text;
}

Bio bio_of(const Buffer& text) {
  return Bio{BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))};
}

Result<Ok> use_certificate(Env& env, SSL_CTX* context, const std::string& path) {
  auto text = read_pem(env, path);
  if (!text) return text.error();
  const Bio bio = bio_of(*text);
  const Certificate own{PEM_read_bio_X509_AUX(bio.get(), nullptr, nullptr, nullptr)};
  if (!own || SSL_CTX_use_certificate(context, own.get()) != 1)
    return bad_file(path, "no certificate in PEM form: " + last_error());
  while (X509* const link = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    if (SSL_CTX_add0_chain_cert(context, link) == 1) continue;
    X509_free(link);
    return bad_file(path, last_error());
  }
  ERR_clear_error();  // the end of the file counts as one
  return Ok{};
}

Result<Ok> use_key(Env& env, SSL_CTX* context, const std::string& path, std::string password) {
  auto text = read_pem(env, path);
  if (!text) return text.error();
  const Bio bio = bio_of(*text);
  const Key key{PEM_read_bio_PrivateKey(bio.get(), nullptr, give_password, &password)};
  OPENSSL_cleanse(text->data(), text->size());
  OPENSSL_cleanse(password.data(), password.size());
  if (!key)
    return bad_file(path, "no private key in PEM form, or a wrong password: " + last_error());
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1 || SSL_CTX_check_private_key(context) != 1)
    return bad_file(path, "does not fit the certificate: " + last_error());
  return Ok{};
}

Result<Ok> trust(Env& env, SSL_CTX* context, const std::string& path) {
  auto text = read_pem(env, path);
  if (!text) return text.error();
  const Bio bio = bio_of(*text);
  int authorities = 0;
  while (X509* const link = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    const Certificate authority{link};
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context), link) == 1) ++authorities;
  }
  ERR_clear_error();
  if (authorities == 0) return bad_file(path, "no certificate in PEM form");
  return Ok{};
}

class OpensslContext final : public TlsContext {
 public:
  OpensslContext(Context context, bool server, bool self_signed, bool check_name)
      : context_{std::move(context)},
        server_{server},
        self_signed_{self_signed},
        check_name_{check_name} {}

  Result<std::unique_ptr<TlsSession>> session(const std::string& server_name) const override {
    if (self_signed_) {
      std::call_once(made_, [this] { made_well_ = use_self_signed(context_.get()); });
      if (!made_well_) return made_well_.error();
    }
    Session ssl{SSL_new(context_.get())};
    BIO* const in = BIO_new(BIO_s_mem());
    BIO* const out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl.get(), in, out);
    if (server_) {
      SSL_set_accept_state(ssl.get());
    } else {
      SSL_set_connect_state(ssl.get());
      if (!server_name.empty()) name_server(ssl.get(), server_name);
    }
    return std::unique_ptr<TlsSession>{std::make_unique<MemorySession>(std::move(ssl), in, out)};
  }

 private:
  void name_server(SSL* ssl, const std::string& name) const {
    X509_VERIFY_PARAM* const checks = SSL_get0_param(ssl);
    const bool address = X509_VERIFY_PARAM_set1_ip_asc(checks, name.c_str()) == 1;
    if (!address) {
      SSL_set_tlsext_host_name(ssl, name.c_str());
      if (check_name_) SSL_set1_host(ssl, name.c_str());
    } else if (!check_name_) {
      X509_VERIFY_PARAM_set1_ip(checks, nullptr, 0);
    }
    ERR_clear_error();
  }

  const Context context_;
  const bool server_, self_signed_, check_name_;
  mutable std::once_flag made_;
  mutable Result<Ok> made_well_{Ok{}};
};

Context new_context(const SSL_METHOD* method) {
  Context context{SSL_CTX_new(method)};
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  // An idle connection keeps no record buffers.
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);
  return context;
}

Result<Ok> use_identity(Env& env, SSL_CTX* context, const TlsFiles& files) {
  if (files.certificate.empty()) return Ok{};
  if (files.key.empty())
    return Error{Errc::kInvalidArgument,
                 "TLS: a certificate (" + files.certificate + ") needs its private key"};
  if (auto used = use_certificate(env, context, files.certificate); !used) return used;
  return use_key(env, context, files.key, files.key_password);
}

}  // namespace

Result<std::shared_ptr<const TlsContext>> make_server_tls(Env& env, const TlsFiles& files,
                                                          ClientAuth auth, bool check_client) {
  Context context = new_context(TLS_server_method());
  if (auto used = use_identity(env, context.get(), files); !used) return used.error();
  if (auth != ClientAuth::kNone && check_client) {
    if (files.trust.empty())
      return Error{Errc::kInvalidArgument,
                   "TLS: tls.server.authClient checks client certificates against "
                   "tls.server.trustCertPath, which is empty"};
    if (auto trusted = trust(env, context.get(), files.trust); !trusted) return trusted.error();
  }
  int verify = auth == ClientAuth::kNone ? SSL_VERIFY_NONE : SSL_VERIFY_PEER;
  if (auth == ClientAuth::kRequire) verify |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
  // Without it a session that knows its client's certificate is not resumed, but refused.
  constexpr std::string_view kSessions{"apogee"};
  SSL_CTX_set_session_id_context(context.get(),
                                 reinterpret_cast<const unsigned char*>(kSessions.data()),
                                 static_cast<unsigned>(kSessions.size()));
  // Unchecked: any certificate will do, as long as the client holds its key.
  SSL_CTX_set_verify(
      context.get(), verify, check_client ? nullptr : +[](int, X509_STORE_CTX*) { return 1; });
  return std::shared_ptr<const TlsContext>{
      std::make_shared<OpensslContext>(std::move(context), true, files.certificate.empty(), false)};
}

Result<std::shared_ptr<const TlsContext>> make_client_tls(Env& env, const TlsFiles& files,
                                                          bool check_server) {
  Context context = new_context(TLS_client_method());
  if (auto used = use_identity(env, context.get(), files); !used) return used.error();
  if (check_server) {
    if (files.trust.empty())
      SSL_CTX_set_default_verify_paths(context.get());
    else if (auto trusted = trust(env, context.get(), files.trust); !trusted)
      return trusted.error();
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  }
  return std::shared_ptr<const TlsContext>{
      std::make_shared<OpensslContext>(std::move(context), false, false, check_server)};
}

Result<std::shared_ptr<const TlsContext>> make_outgoing_tls(Env& env, const OutgoingTls& config) {
  if (!config.enable) return std::shared_ptr<const TlsContext>{};
  return make_client_tls(env,
                         {.certificate = config.certificate,
                          .key = config.key,
                          .key_password = config.key_password,
                          .trust = config.trust},
                         config.check_server);
}

}  // namespace apogee::remoting
