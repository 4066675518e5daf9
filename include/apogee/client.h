#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "apogee/awaitable.h"
#include "apogee/consumer.h"
#include "apogee/export.h"
#include "apogee/producer.h"
#include "apogee/pull_consumer.h"
#include "apogee/result.h"

/// The RocketMQ client. One Client owns the threads and connections; producers and consumers made
/// from it share them.
namespace apogee {

class Admin;
namespace client {
class Instance;
}

enum class Severity { kDebug, kInfo, kWarning, kError };

/// TLS to name servers and brokers.
struct TlsConfig {
  bool enable = false;
  bool check_server = true;  ///< The certificate must be valid for the server's address and signed
                             ///< by `trust`.
  std::string trust;         ///< PEM file; empty: the authorities the system trusts.
  std::string certificate, key, key_password;  ///< PEM files; for servers that ask for them.
};

/// Requests are signed with these (ACL of RocketMQ 4 and 5). Empty: unsigned.
struct Credentials {
  std::string access_key, secret_key, security_token;
};

/// What an rpc hook sees of a request to a broker or name server, or of a broker's to this client;
/// valid during the call.
struct RpcEvent {
  std::string_view address;              ///< host:port of the other end.
  std::int32_t code = 0;                 ///< RocketMQ's request code.
  bool inbound = false;                  ///< The other end asks: to check a transaction, for one.
  std::optional<std::int32_t> response;  ///< After an answer: its code.
  const Error* error = nullptr;          ///< After a failure: kTimeout, kDisconnected.
};
/// Extension fields of a request: names and texts.
using ExtFields = std::vector<std::pair<std::string, std::string>>;

/// Defaults and names of settings are the Java client's, where operators know them.
struct ClientConfig {
  /// "host:port" each. Empty: the environment's NAMESRV_ADDR ("a:9876;b:9876"), and without it the
  /// address server below. Of "http://host:port" what stands behind the last slash; a host
  /// MQ_INST_<account>_<name>.… is the endpoint of a namespace, which becomes name_space.
  std::vector<std::string> name_servers;
  /// HTTP address server, asked when no name server is configured: host or host:port; port 8080
  /// if it has none. Asked at the start, after 10 s and every two minutes. Empty: none.
  std::string name_server_domain;
  std::string name_server_path = "/rocketmq/nsaddr";  ///< With a unit: "<path>-<unit>?nofix=1".
  std::string instance_name = "DEFAULT";  ///< Second part of the client id. "DEFAULT": one of its
                                          ///< own for each client. Two clients of one process may
                                          ///< not have the same id (kExists).
  std::string client_ip;                  ///< First part of the client id; empty: this machine's.
  std::string unit_name;                  ///< Third part of the client id, if not empty.
  std::string name_space;  ///< Topics and groups are sent as "<name_space>%<name>"; seen without.
  std::string name_space_v2;  ///< Sent beside names, which stay as they are, with every request:
                              ///< the fields nsd=true and ns. For servers that apply it (proxies).
  bool stream_requests = false;  ///< Says to proxies that this client pulls: its id ends with
                                 ///< "@STREAM", every request has ReqT=0 (enableStreamRequestType).
  /// Availability zone: routes lead to its brokers, and to those whose master is gone. Empty:
  /// ROCKETMQ_ZONE, if ROCKETMQ_ZONE_MODE=true.
  std::string zone;
  /// The four: 1 ms up to a year.
  std::chrono::milliseconds poll_name_server_interval{30'000};
  std::chrono::milliseconds heartbeat_broker_interval{30'000};
  std::chrono::milliseconds persist_consumer_offset_interval{5'000};
  std::chrono::milliseconds api_timeout{
      3'000};                      ///< Of the client's own requests: routes, heartbeats.
  std::size_t io_threads = 1;      ///< 1 is enough for hundreds of thousands of messages a second.
  std::size_t worker_threads = 2;  ///< For what may block: transaction checks, offsets, files.
  bool vip_channel = false;        ///< Send to the brokers' fast port (port - 2).
  bool heartbeat_v2 = false;       ///< Fingerprints instead of subscriptions; brokers of 5.1.4 on.
  TlsConfig tls;
  Credentials credentials;
  /// Before each request of this client leaves, and before each of a broker's is worked on. What it
  /// returns goes along with the request's own fields, under the same signature; of a broker's
  /// request it is ignored. Any thread; must not block.
  std::function<ExtFields(const RpcEvent&)> before_request;
  /// After the answer or the failure of each that has one, and after the work on each of a broker's
  /// with the code it will be answered with. Any thread; must not block. What either throws is told
  /// in the log, and the request goes on without its fields.
  std::function<void(const RpcEvent&)> after_response;
  /// Where the client says what happens to it: one line, valid during the call. Any thread, also
  /// inside a call of the program's; must not block, may end or destroy anything. What clients have
  /// to say about calls it makes itself goes nowhere, and so does what it throws. Empty: nowhere.
  std::function<void(Severity, std::string_view)> log;
};

/// Movable; the owner of everything made from it. Threads: every member from any thread.
class APOGEE_API Client {
 public:
  /// Starts threads; connects to nothing yet, except to an address server, for whose answer it
  /// waits (6 s at most, then it goes on without). kInvalidArgument names the setting that is
  /// wrong. kExists: a client of this process that has not been shut down has the same id.
  static Result<Client> start(ClientConfig config);
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  /// shutdown(), and waits for the threads; not from inside one of the program's functions: then
  /// callbacks of what was under way and lines of the log may still come for a moment.
  ~Client();

  /// Stops what was made from it: consumers finish what they hold and store their offsets, sends
  /// in flight end with their answer or kStopped. Idempotent; may be called from anywhere, also
  /// from inside a callback (then it does not wait for that callback).
  void shutdown();
  /// The same without waiting: `done` is told once all has ended, on a thread of its own, where it
  /// may block and destroy what it likes. Always Ok.
  void shutdown(std::function<void(Result<Ok>)> done);
  Awaitable<Ok> shutdown_async();

  /// kExists: this client has a producer of that group already. kInvalidArgument: a bad group.
  Result<Producer> producer(ProducerConfig config);
  Result<TransactionalProducer> transactional_producer(TransactionalProducerConfig config);
  /// Consumes from here on. Waits for routes and for brokers to check SQL filters. kExists: this
  /// client has a consumer of that group already. kInvalidArgument names the setting that is wrong.
  Result<PushConsumer> push_consumer(PushConsumerConfig config);
  /// The same without waiting: `done` runs on a thread of its own, where it may block. A client
  /// that ends meanwhile: kStopped.
  void push_consumer(PushConsumerConfig config, std::function<void(Result<PushConsumer>)> done);
  Awaitable<PushConsumer> push_consumer_async(PushConsumerConfig config);
  Result<LitePullConsumer> lite_pull_consumer(LitePullConsumerConfig config);
  Result<PullConsumer> pull_consumer(PullConsumerConfig config);

  /// What operators ask: <apogee/admin.h>.
  Admin admin() const;

  /// Other name servers than before, from now on; connections to those that are not among them end.
  /// The address server is not asked any more. kInvalidArgument: none, or one that is no address.
  Result<Ok> use_name_servers(const std::vector<std::string>& addresses);

  const std::string& id() const;  ///< As brokers and consoles show it: ip@instance.

  /// For this library's own parts.
  const std::shared_ptr<client::Instance>& instance() const { return instance_; }
  explicit Client(std::shared_ptr<client::Instance> instance);

 private:
  std::shared_ptr<client::Instance> instance_;
};

}  // namespace apogee
