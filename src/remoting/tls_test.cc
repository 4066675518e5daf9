#include "remoting/tls.h"

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "remoting/client.h"
#include "remoting/processors.h"
#include "remoting/server.h"
#include "testing/certificates.h"
#include "testing/echo.h"
#include "testing/forgetful_disk.h"
#include "testing/network.h"
#include "testing/recording_logger.h"

namespace apogee::remoting {
namespace {

using testing::EchoRequest;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr const char* kServer = "10.0.0.1";
constexpr const char* kClient = "10.0.0.2";

std::string text_of(const Result<Buffer>& result) {
  return result ? *result : result.error().detail;
}

/// A server and clients in one thread, certificates in a directory.
class Tls : public ::testing::Test {
 protected:
  Tls() {
    testing::serve_echo(processors_);
    (void)files().create_directories("/tls");
    write("ca.pem", authority_.certificate);
    const auto server = testing::issue(authority_, kServer, "secret");
    write("server.pem", server.certificate);
    write("server.key", server.key);
    const auto client = testing::issue(authority_, "orders-service");
    write("client.pem", client.certificate);
    write("client.key", client.key);
    write("other-ca.pem", testing::make_authority("somebody else").certificate);
  }
  ~Tls() override {
    network_.cut(kServer, kClient);
    network_.run();
  }

  FileSystem& files() { return disk_.files(); }
  void write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(replace_file(files(), "/tls/" + name, text));
  }
  Result<Ok> serve(ServerConfig config) {
    config.listen_port = 9'000;
    auto started = start_server(server_env_, config, processors_);
    if (!started) return started.error();
    server_ = *std::move(started);
    return Ok{};
  }
  static ServerConfig certified() {
    ServerConfig config;
    config.tls_certificate = "/tls/server.pem";
    config.tls_key = "/tls/server.key";
    config.tls_key_password = "secret";
    return config;
  }
  std::shared_ptr<const TlsContext> trusting(const TlsFiles& files, bool check = true) {
    auto made = make_client_tls(client_env_, files, check);
    EXPECT_TRUE(made) << made.error().detail;
    return made ? *made : nullptr;
  }
  /// The body comes back, or what went wrong.
  Result<Buffer> echo(std::shared_ptr<const TlsContext> tls, Buffer body = "hello") {
    auto client = make_client(client_env_, {.tls = std::move(tls)});
    std::optional<Result<OwnedCommand>> answer;
    client->call(std::string{kServer} + ":9000", EchoRequest::kCode, EchoRequest{"x"},
                 std::move(body), 3s,
                 [&](Result<OwnedCommand> result) { answer = std::move(result); });
    network_.advance(4s);
    network_.cut(kServer, kClient);
    network_.run();
    if (!answer) return Error{Errc::kTimeout, "no answer"};
    if (!*answer) return answer->error();
    return std::move((*answer)->body);
  }

  testing::ManualClock clock_;
  testing::ForgetfulDisk disk_;
  testing::Network network_{clock_};
  InlineExecutor workers_;
  Random random_{1};
  testing::RecordingLogger log_;
  Env server_env_{clock_, disk_.files(), network_.machine(kServer), workers_, random_, log_};
  Env client_env_{clock_, disk_.files(), network_.machine(kClient), workers_, random_, log_};
  Processors processors_{server_env_};
  const testing::Identity authority_ = testing::make_authority("test authority");
  std::unique_ptr<Server> server_;
};

TEST_F(Tls, AServerOutOfTheBoxTakesBothKindsOfConnection) {
  ASSERT_TRUE(serve({}));
  EXPECT_EQ(text_of(echo(nullptr)), "hello");
  EXPECT_EQ(text_of(echo(trusting({}, false))), "hello");
}

TEST_F(Tls, CarriesEveryByteHoweverTheStreamIsCut) {
  ASSERT_TRUE(serve(certified()));
  const auto tls = trusting({.trust = "/tls/ca.pem"});
  for (std::uint64_t seed = 1; seed <= 25; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937_64 random{seed};
    network_.conditions() = {.read_bytes_max = 1 + random() % 3'000,
                             .window_bytes = 1 + random() % 50'000};
    Buffer body(random() % 200'000, '\0');
    for (char& each : body) each = static_cast<char>(random());
    const auto back = echo(tls, body);
    ASSERT_TRUE(back) << back.error().detail;
    EXPECT_TRUE(*back == body);
  }
}

TEST_F(Tls, ClientsRefuseAServerTheyHaveNoReasonToTrust) {
  ASSERT_TRUE(serve(certified()));
  EXPECT_TRUE(echo(trusting({.trust = "/tls/ca.pem"})));
  const auto stranger = echo(trusting({.trust = "/tls/other-ca.pem"}));
  ASSERT_FALSE(stranger);
  EXPECT_THAT(stranger.error().detail, HasSubstr("certificate"));
  EXPECT_EQ(stranger.error().code, Errc::kDisconnected);
}

TEST_F(Tls, ClientsRefuseACertificateForAnotherHost) {
  const auto other = testing::issue(authority_, "10.0.0.77");
  write("server.pem", other.certificate);
  write("server.key", other.key);
  ASSERT_TRUE(serve(certified()));
  const auto answer = echo(trusting({.trust = "/tls/ca.pem"}));
  ASSERT_FALSE(answer);
  EXPECT_THAT(answer.error().detail, HasSubstr("IP address mismatch"));
}

TEST_F(Tls, AnEnforcingServerRefusesPlainConnectionsAndSaysWhy) {
  ServerConfig config = certified();
  config.tls_mode = TlsMode::kEnforcing;
  ASSERT_TRUE(serve(config));
  EXPECT_FALSE(echo(nullptr));
  EXPECT_THAT(log_.lines(LogLevel::kWarn), ElementsAre(HasSubstr("tls.server.mode")));
  EXPECT_TRUE(echo(trusting({.trust = "/tls/ca.pem"})));
}

TEST_F(Tls, AServerWithTlsSwitchedOffRefusesItAndServesOthers) {
  ServerConfig config;
  config.tls_mode = TlsMode::kDisabled;
  ASSERT_TRUE(serve(config));
  EXPECT_FALSE(echo(trusting({}, false)));
  EXPECT_THAT(log_.lines(LogLevel::kWarn), ElementsAre(HasSubstr("tls.server.mode")));
  EXPECT_TRUE(echo(nullptr));
}

TEST_F(Tls, AServerThatRequiresCertificatesTakesOnlyThoseItTrusts) {
  ServerConfig config = certified();
  config.tls_client_auth = ClientAuth::kRequire;
  config.tls_check_client = true;
  config.tls_trust = "/tls/ca.pem";
  ASSERT_TRUE(serve(config));
  EXPECT_TRUE(echo(trusting(
      {.certificate = "/tls/client.pem", .key = "/tls/client.key", .trust = "/tls/ca.pem"})));
  EXPECT_FALSE(echo(trusting({.trust = "/tls/ca.pem"})));
  const auto outsider = testing::issue(testing::make_authority("nobody"), "intruder");
  write("client.pem", outsider.certificate);
  write("client.key", outsider.key);
  EXPECT_FALSE(echo(trusting(
      {.certificate = "/tls/client.pem", .key = "/tls/client.key", .trust = "/tls/ca.pem"})));
  EXPECT_THAT(log_.lines(LogLevel::kWarn), SizeIs(2));
}

/// A client that goes on with the session it had, as those of other libraries do.
class ResumingClient {
 public:
  explicit ResumingClient(const testing::Identity& identity) {
    const auto read = [](const std::string& pem) {
      return std::unique_ptr<BIO, decltype(&BIO_free)>{
          BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), &BIO_free};
    };
    X509* const own =
        PEM_read_bio_X509(read(identity.certificate).get(), nullptr, nullptr, nullptr);
    EVP_PKEY* const key =
        PEM_read_bio_PrivateKey(read(identity.key).get(), nullptr, nullptr, nullptr);
    EXPECT_EQ(SSL_CTX_use_certificate(context_.get(), own), 1);
    EXPECT_EQ(SSL_CTX_use_PrivateKey(context_.get(), key), 1);
    X509_free(own);
    EVP_PKEY_free(key);
  }
  /// Whether the session was resumed; what went wrong.
  Result<bool> connect(const TlsContext& server, int version) {
    const std::unique_ptr<SSL, decltype(&SSL_free)> ssl{SSL_new(context_.get()), &SSL_free};
    SSL_set_max_proto_version(ssl.get(), version);
    BIO *const in = BIO_new(BIO_s_mem()), *const out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl.get(), in, out);
    SSL_set_connect_state(ssl.get());
    if (session_) SSL_set_session(ssl.get(), session_.get());
    const auto peer = *server.session();
    char plain[16];
    for (int turn = 0; turn < 10; ++turn) {
      SSL_read(ssl.get(), plain, sizeof plain);
      std::string sent(static_cast<std::size_t>(BIO_pending(out)), '\0');
      BIO_read(out, sent.data(), static_cast<int>(sent.size()));
      if (auto received = peer->receive(as_bytes(sent)); !received) return received.error();
      const Buffer answer = peer->take_output();
      BIO_write(in, answer.data(), static_cast<int>(answer.size()));
    }
    if (!peer->ready() || SSL_is_init_finished(ssl.get()) != 1)
      return Error{Errc::kTimeout, "the handshake does not come to an end"};
    session_.reset(SSL_get1_session(ssl.get()));
    SSL_set_shutdown(ssl.get(), SSL_SENT_SHUTDOWN);  // else it is not good for another time
    return SSL_session_reused(ssl.get()) == 1;
  }

 private:
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_{SSL_CTX_new(TLS_client_method()),
                                                                   &SSL_CTX_free};
  std::unique_ptr<SSL_SESSION, decltype(&SSL_SESSION_free)> session_{nullptr, &SSL_SESSION_free};
};

TEST_F(Tls, AServerThatAsksForCertificatesResumesSessions) {
  const auto server =
      make_server_tls(server_env_, {"/tls/server.pem", "/tls/server.key", "secret", "/tls/ca.pem"},
                      ClientAuth::kRequire, true);
  ASSERT_TRUE(server) << server.error().detail;
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    ResumingClient client{testing::issue(authority_, "orders-service")};
    for (const bool again : {false, true, true}) {
      const auto resumed = client.connect(**server, version);
      ASSERT_TRUE(resumed) << resumed.error().detail;
      EXPECT_EQ(*resumed, again);
    }
  }
}

TEST_F(Tls, FilesThatDoNotFitAreNamedAtStart) {
  struct Case {
    const char* what;
    std::function<void(ServerConfig&)> spoil;
    const char* words;
  };
  const std::vector<Case> cases{
      {"no such file", [](auto& c) { c.tls_certificate = "/tls/none.pem"; }, "/tls/none.pem"},
      {"not PEM", [this](auto&) { write("server.pem", "hello"); }, "no certificate in PEM form"},
      {"wrong password", [](auto& c) { c.tls_key_password = "guess"; }, "wrong password"},
      {"another key", [](auto& c) { c.tls_key = "/tls/client.key"; }, "does not fit"},
      {"no key", [](auto& c) { c.tls_key.clear(); }, "needs its private key"},
      {"nobody to trust",
       [](auto& c) {
         c.tls_client_auth = ClientAuth::kRequire;
         c.tls_check_client = true;
       },
       "tls.server.trustCertPath"},
  };
  const auto pem = *read_file(files(), "/tls/server.pem");
  for (const Case& each : cases) {
    SCOPED_TRACE(each.what);
    write("server.pem", pem);
    ServerConfig config = certified();
    each.spoil(config);
    const auto started = serve(config);
    ASSERT_FALSE(started);
    EXPECT_THAT(started.error().detail, HasSubstr(each.words));
    EXPECT_THAT(started.error().detail, ::testing::Not(HasSubstr("secret")));
  }
}

TEST_F(Tls, ReadsTheFileOfApachesServers) {
  write(
      "tls.properties",
      "tls.test.mode.enable=false\ntls.server.mode=enforcing\ntls.server.keyPath=/tls/server.key\n"
      "tls.server.keyPassword=secret\ntls.server.certPath=/tls/"
      "server.pem\ntls.client.authServer=true\n");
  ServerConfig config;
  config.tls_config_file = "/tls/tls.properties";
  ASSERT_TRUE(serve(config));
  EXPECT_FALSE(echo(nullptr));
  EXPECT_TRUE(echo(trusting({.trust = "/tls/ca.pem"})));
}

TEST_F(Tls, GarbageAfterTheFirstByteCostsOnlyItsConnection) {
  struct Garbage final : StreamHandler {
    MutableBytes read_space() override { return space; }
    void on_read(std::size_t) override {}
    void on_written() override {}
    void on_closed(const Error&) override { closed = true; }
    std::vector<std::byte> space = std::vector<std::byte>(1'000);
    bool closed = false;
  };
  ASSERT_TRUE(serve({}));
  std::mt19937_64 random{7};
  for (int round = 0; round < 200; ++round) {
    Garbage peer;
    std::unique_ptr<Stream> stream;
    std::string bytes(1 + random() % 500, '\0');
    for (char& each : bytes) each = static_cast<char>(random());
    bytes[0] = 0x16;
    if (round % 2 == 0)
      bytes.replace(0, std::min<std::size_t>(5, bytes.size()), "\x16\x03\x01\x00\x20",
                    std::min<std::size_t>(5, bytes.size()));
    network_.machine(kClient).connect({kServer, 9'000}, 1s, [&](auto made) {
      stream = *std::move(made);
      stream->start(peer);
      const Bytes piece = as_bytes(bytes);
      stream->write({&piece, 1});
    });
    network_.run();
    stream.reset();
    network_.run();
  }
  EXPECT_EQ(server_->connections(), 0u);
  EXPECT_TRUE(echo(trusting({}, false)));
}

}  // namespace
}  // namespace apogee::remoting
