#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "apogee/client.h"
#include "base/env.h"
#include "client/client_id.h"
#include "client/name_servers.h"
#include "client/namespaces.h"
#include "client/roles.h"
#include "client/routes.h"
#include "client/runtime.h"
#include "client/unique_id.h"
#include "protocol/headers.h"
#include "remoting/client.h"
#include "remoting/processors.h"

/// What the producers and consumers of one Client share: connections, routes, heartbeats and the
/// scheduled tasks (Java's MQClientInstance).
///
/// Threads: every member from any thread; nothing blocks unless it says so. Roles are called on
/// workers. Callbacks run on io threads.
namespace apogee::client {

class Instance final : public std::enable_shared_from_this<Instance> {
 public:
  using Answered = std::function<void(Result<remoting::OwnedCommand>)>;
  using RouteFound = std::function<void(Result<PublishInfoPtr>)>;

  /// `runtime` may be null: then `env` outlives the instance (tests, embedded use).
  static Result<std::shared_ptr<Instance>> start(Env& env, std::shared_ptr<Runtime> runtime,
                                                 ClientConfig config);
  ~Instance();

  /// Stops the roles and everything else; blocks unless called from inside a callback.
  void shutdown();
  /// The program has shut it down: nothing new begins.
  bool ending() const { return ending_.load(std::memory_order_acquire); }
  /// Nor is anything sent any more: what has been said last is out.
  bool stopped() const { return stopped_.load(std::memory_order_acquire); }
  /// When its threads have ended; not valid without a runtime.
  std::shared_future<void> runtime_gone() const {
    return runtime_ ? runtime_->gone() : std::shared_future<void>{};
  }

  Env& env() const { return env_; }
  const ClientConfig& config() const { return config_; }
  const std::string& id() const { return id_.text(); }
  /// A queue as it travels, and as the program knows it: without the namespace.
  MessageQueue wire(const MessageQueue& queue) const {
    return {wrapped(queue.topic, config_.name_space), queue.broker, queue.queue_id};
  }
  MessageQueue visible(const MessageQueue& queue) const {
    return {unwrapped(queue.topic, config_.name_space), queue.broker, queue.queue_id};
  }
  Routes& routes() { return routes_; }
  NameServers& name_servers() { return name_servers_; }
  /// Until an address server has been asked, if one is, for the first send wants to know; it may
  /// not answer, and the client goes on without, as Java's does. Blocks for 6 s at most.
  void wait_for_name_servers();
  /// From now on, whatever was asked before; the address server is not asked any more.
  Result<Ok> use_name_servers(const std::vector<std::string>& addresses);
  UniqueIds& unique_ids() { return unique_ids_; }

  // ---- Groups
  // ------------------------------------------------------------------------------------
  /// kExists: this client has a producer (consumer) of that group.
  Result<Ok> add(const std::shared_ptr<ProducerRole>& producer);
  Result<Ok> add(const std::shared_ptr<ConsumerRole>& consumer);
  /// Tells the brokers, too.
  void remove_producer(const std::string& group);
  /// Once; its group may be another consumer's by then.
  void remove(const ConsumerRole& consumer);
  std::shared_ptr<ProducerRole> producer(const std::string& group) const;
  std::shared_ptr<ConsumerRole> consumer(const std::string& group) const;

  // ---- Requests
  // ----------------------------------------------------------------------------------
  /// To a broker or name server, signed if the client has credentials. `header` and `body` are
  /// encoded inside this call. `language`: whom a broker takes us for.
  template <class Header>
  void call(const std::string& address, std::int32_t code, const Header& header, Bytes body,
            std::chrono::milliseconds timeout, Answered done,
            protocol::Language language = protocol::Language::kCpp) {
    auto frame = std::make_shared<Prepared>(prepare(code, header, body));
    frame->language = language;
    send_prepared(address, std::move(frame), timeout, std::move(done));
  }
  template <class Header>
  void oneway(const std::string& address, std::int32_t code, const Header& header, Bytes body = {},
              std::string remark = {}) {
    auto frame = std::make_shared<Prepared>(prepare(code, header, body));
    frame->remark = std::move(remark);
    send_prepared_oneway(address, std::move(frame));
  }
  /// Blocks.
  template <class Header>
  Result<remoting::OwnedCommand> call_and_wait(const std::string& address, std::int32_t code,
                                               const Header& header, Bytes body,
                                               std::chrono::milliseconds timeout) {
    std::promise<Result<remoting::OwnedCommand>> answer;
    call(address, code, header, body, timeout,
         [&](Result<remoting::OwnedCommand> result) { answer.set_value(std::move(result)); });
    return answer.get_future().get();
  }
  /// Asks one name server after the other until one answers; a refusal is an answer.
  template <class Header>
  void ask_name_server(std::int32_t code, const Header& header, std::chrono::milliseconds timeout,
                       Answered done) {
    ask_prepared(std::make_shared<Prepared>(prepare(code, header, {})), env_.clock.now() + timeout,
                 name_servers_.all().size(), std::move(done));
  }
  /// Of a server that has answered GO_AWAY over a new connection, too.
  static Error twice_sent_away(const std::string& address) {
    return Error{Errc::kDisconnected, "Receive GO_AWAY twice in request from " + address,
                 protocol::response_code::kGoAway};
  }
  // The way of messages, which encode themselves.
  remoting::Client& connections() { return *connections_; }
  /// Nothing is added to the fields of a request's header.
  bool adds_no_fields() const {
    return config_.credentials.access_key.empty() && !config_.before_request &&
           config_.name_space_v2.empty() && !config_.stream_requests;
  }
  /// The fields of a header, then those of this client, of the program's hook and of the signature.
  template <class Header, class Sink>
  void for_each_field(const std::string& address, std::int32_t code, const Header& header,
                      Bytes body, Sink sink) const {
    for (const auto& [name, text] : completed(address, prepare(code, header, body)).fields)
      sink(name, text);
  }
  /// Tells the program's hook of the answer first. `Done` is called with a Result of whatever has a
  /// `code`.
  template <class Done>
  Done observed(const std::string& address, std::int32_t code, Done done) const {
    if (!config_.after_response) return done;
    return [weak = weak_from_this(), address, code, done = std::move(done)](auto answer) mutable {
      RpcEvent event{.address = address, .code = code};
      if (answer)
        event.response = answer->code;
      else
        event.error = &answer.error();
      if (const auto self = weak.lock()) self->tell_hook(event);
      done(std::move(answer));
    };
  }

  // ---- Routes
  // ------------------------------------------------------------------------------------
  /// For sending: from the table, else from a name server, else as the default topic's. kNotFound:
  /// nobody knows the topic, and it cannot be made. `default_queues`: most queues of a new topic.
  void find_route(const std::string& topic, std::int32_t default_queues, Clock::Instant deadline,
                  RouteFound found);
  /// Asks a name server whatever the table says. Concurrent calls share one request, and each waits
  /// for as long as it says.
  void refresh_route(const std::string& topic, std::chrono::milliseconds timeout, RouteFound found);
  void update_routes();  ///< Of all topics of all roles.

  // ---- Heartbeats
  // --------------------------------------------------------------------------------
  void heartbeat_soon();
  void heartbeat_to_all();
  /// The subscriptions of a group, or its queues, are others than before: V2 sends them in full.
  void forget_heartbeats();

  // ---- Request and reply
  // -------------------------------------------------------------------------
  using Replied = std::function<void(Result<ReceivedMessage>)>;
  /// Ends after `timeout`, whatever comes. `topic`: the question's, as the program knows it.
  void expect_reply(const std::string& correlation_id, const std::string& topic,
                    std::chrono::milliseconds timeout, Replied done);
  /// The question was sent: a missing answer is now the other side's.
  void question_sent(const std::string& correlation_id);
  /// It could not be sent.
  void question_failed(const std::string& correlation_id, const Error& error);

  /// On a thread of the client's own, one after the other, for work that waits for servers.
  void on_asking_thread(std::function<void()> work);

  /// Runs a program's callback on an io thread, or on one that must not block either.
  template <class Callback, class... Args>
  static decltype(auto) run_callback(const Callback& callback, Args&&... args) {
    const CallbackScope scope{CallbackScope::Where::kIoThread};
    return callback(std::forward<Args>(args)...);
  }

 private:
  struct Prepared {
    std::int32_t code = 0;
    protocol::Language language = protocol::Language::kCpp;
    std::string remark;
    ExtFields fields;
    Buffer body;
  };
  struct RouteWaiter {
    std::uint64_t number;
    Clock::TimerId timer;
    RouteFound found;
  };
  struct Expected {
    std::string topic;
    std::chrono::milliseconds timeout;
    Clock::TimerId timer;
    bool sent;
    Replied done;
  };

  /// To one broker.
  struct HeartbeatsUnderWay {
    int count = 0;
    bool full = false;  // the last one
    bool over_new_connection = false;
    std::vector<std::function<void()>> then;  // when all are answered
  };

  Instance(Env& env, std::shared_ptr<Runtime> runtime, ClientConfig config, std::string ip,
           ClientId id, std::vector<std::string> name_servers);
  void begin();
  void teardown();
  ExtFields ask_hook(const RpcEvent& event) const;
  void tell_hook(const RpcEvent& event) const;
  void add_processors();
  void add_reply_processor();
  void take_reply(ReceivedMessage reply);
  template <class Process>
  auto hooked(std::int32_t code, Process process) const;
  template <class Header, class Process>
  void serve(std::int32_t code, Process process);

  template <class Header>
  Prepared prepare(std::int32_t code, const Header& header, Bytes body) const {
    Prepared prepared{.code = code, .body = Buffer{as_text(body)}};
    protocol::write_fields(header, [&](std::string_view name, std::string_view text) {
      prepared.fields.emplace_back(name, text);
    });
    return prepared;
  }
  Prepared completed(const std::string& address, Prepared prepared) const;
  static void encode(const Prepared& prepared, Buffer& out, std::int32_t opaque, bool oneway);
  void send_prepared(const std::string& address, std::shared_ptr<const Prepared> prepared,
                     std::chrono::milliseconds timeout, Answered done);
  void send_prepared_once(const std::string& address, std::shared_ptr<const Prepared> prepared,
                          std::chrono::milliseconds timeout, Answered done);
  void send_prepared_oneway(const std::string& address, std::shared_ptr<const Prepared> prepared);
  std::shared_ptr<const Prepared> completed(const std::string& address,
                                            std::shared_ptr<const Prepared> prepared) const;
  void ask_prepared(std::shared_ptr<const Prepared> prepared, Clock::Instant deadline,
                    std::size_t attempts, Answered done);
  void ask_for_route(const std::string& topic);
  void end_waiter(const std::string& topic, std::uint64_t number);
  void route_answered(const std::string& topic, Result<remoting::OwnedCommand> answer);
  protocol::RouteRequest route_request(const std::string& topic) const;
  void find_default_route(const std::string& topic, std::int32_t default_queues,
                          Clock::Instant deadline, RouteFound found);
  void install(const std::string& topic, const protocol::TopicRouteData& route);

  protocol::HeartbeatData heartbeat_data(bool& has_consumers) const;
  void greet(const std::string& address);
  void heartbeat_to(const std::vector<BrokerAddress>& brokers, bool over_new_connection);
  void send_heartbeat(const BrokerAddress& to, const protocol::HeartbeatData& data,
                      bool over_new_connection);
  void heartbeat_answered(const BrokerAddress& from, std::int32_t fingerprint,
                          const Result<remoting::OwnedCommand>& answer);
  void unregister(const std::string& producer_group, const std::string& consumer_group);
  void after_heartbeats(const std::string& address, std::function<void()> work);
  void fetch_name_servers();
  void fetch_name_servers_then(std::function<void()> then);
  void take_fetched(const Result<std::vector<std::string>>& addresses);
  void install_name_servers(const std::vector<std::string>& addresses);
  std::optional<Expected> no_longer_expected(const std::string& correlation_id);
  void reply_is_late(const std::string& correlation_id);
  std::vector<std::shared_ptr<ConsumerRole>> consumers() const;
  std::vector<std::shared_ptr<ProducerRole>> producers() const;
  void on_worker(std::function<void(Instance&)> work);

  const std::shared_ptr<Runtime> runtime_;
  Env& env_;
  const ClientConfig config_;
  const std::string ip_;
  ClientId id_;  // given back under end_mutex_
  std::atomic<bool> asks_address_server_;
  std::future<void> first_fetch_;  // set once, in begin()
  NameServers name_servers_;
  Routes routes_;
  UniqueIds unique_ids_;
  remoting::Processors processors_;
  std::unique_ptr<remoting::Client> connections_;

  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<ProducerRole>> producers_;
  std::map<std::string, std::shared_ptr<ConsumerRole>> consumers_;
  std::unordered_map<std::string, std::vector<RouteWaiter>> route_waiters_;  // of all asked for
  std::uint64_t last_waiter_ = 0;
  std::unordered_map<std::string, Expected> replies_;
  std::unordered_map<std::string, std::int32_t> told_;  // heartbeat V2: address -> fingerprint
  std::unordered_map<std::string, HeartbeatsUnderWay> heartbeats_under_way_;  // by address

  std::shared_ptr<Executor> asking_thread_;  // guarded by mutex_; made when first needed

  std::vector<std::unique_ptr<Periodic>> tasks_;
  std::atomic<bool> ending_{false}, stopped_{false};  // in this order
  std::mutex end_mutex_;
  bool ended_ = false;
};

}  // namespace apogee::client
