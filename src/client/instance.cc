#include "client/instance.h"

#include <algorithm>
#include <cstdlib>
#include <thread>

#include <fmt/format.h>

#include "client/address_server.h"
#include "client/received.h"
#include "client/signing.h"
#include "client/thrown.h"
#include "client/timeouts.h"
#include "client/waiting.h"
#include "protocol/codes.h"
#include "protocol/names.h"
#include "remoting/addresses.h"

namespace apogee::client {
namespace {

namespace request = protocol::request_code;
namespace response = protocol::response_code;
using remoting::Answer;
using remoting::OwnedCommand;

/// A question that has less time ends before it was asked.
constexpr std::chrono::milliseconds kLeastAsked = 100ms;
/// To connect and to be answered: each takes 3 s at most.
constexpr std::chrono::seconds kAddressServerWaitMax{6};

/// As Java's tools have brokers send it, or as those of the old C++ client do.
Result<std::map<MessageQueue, std::int64_t>> reset_offsets_of(std::string_view body) {
  std::map<MessageQueue, std::int64_t> offsets;
  if (const auto list = protocol::decode_body<protocol::ResetOffsetList>(body)) {
    for (const auto& each : list->offset_table)
      offsets[{each.topic, each.broker_name, each.queue_id}] = each.offset;
    return offsets;
  }
  const auto table = protocol::decode_body<protocol::ResetOffsetBody>(body);
  if (!table) return table.error();
  for (const auto& [queue, offset] : table->offset_table)
    offsets[{queue.topic, queue.broker_name, queue.queue_id}] = offset;
  return offsets;
}

Error no_route(const std::string& topic) {
  return {Errc::kNotFound, "No route info of this topic: " + topic, 10'005};
}

Error no_route_in_time(const std::string& topic) {
  return Error{Errc::kTimeout, "no name server told the route of " + topic + " in time"};
}

Error gone() {
  return Error{Errc::kStopped, "the client is shut down"};
}

Error no_name_server() {
  return Error{Errc::kInvalidArgument, "No name server address, please set it.", 10'004};
}

Result<Ok> check_addresses(const std::vector<std::string>& addresses) {
  for (const std::string& each : addresses)
    if (auto parsed = parse_endpoint(each); !parsed) return parsed.error();
  return Ok{};
}

/// A task that is due at once, again and again, would flood the servers.
Result<Ok> check_times(const ClientConfig& config) {
  const std::pair<const char*, std::chrono::milliseconds> times[] = {
      {"poll_name_server_interval", config.poll_name_server_interval},
      {"heartbeat_broker_interval", config.heartbeat_broker_interval},
      {"persist_consumer_offset_interval", config.persist_consumer_offset_interval},
      {"api_timeout", config.api_timeout}};
  for (const auto& [name, time] : times)
    if (time <= 0ms || time > kTimeoutMost)
      return Error{Errc::kInvalidArgument, fmt::format("{} is {} ms; give 1 up to {}", name,
                                                       time.count(), kTimeoutMost.count())};
  return Ok{};
}

/// Java's DynamicalExtFieldRPCHook, and what a name server makes of it.
std::string zone_of_environment() {
  const char* const mode = std::getenv("ROCKETMQ_ZONE_MODE");
  const char* const zone = std::getenv("ROCKETMQ_ZONE");
  return mode != nullptr && zone != nullptr && std::string_view{mode} == "true" ? zone : "";
}

}  // namespace

Result<std::shared_ptr<Instance>> Instance::start(Env& env, std::shared_ptr<Runtime> runtime,
                                                  ClientConfig config) {
  if (const auto usable = check_times(config); !usable) return usable.error();
  const char* const environment = std::getenv("NAMESRV_ADDR");
  const std::string named = !config.name_servers.empty()
                                ? fmt::format("{}", fmt::join(config.name_servers, ";"))
                            : environment != nullptr ? environment
                                                     : "";
  if (config.name_space.empty()) config.name_space = instance_of_endpoint(named);
  if (config.zone.empty()) config.zone = zone_of_environment();
  std::vector<std::string> servers = parse_name_servers(named);
  if (const auto usable = check_addresses(servers); !usable) return usable.error();
  remoting::OutgoingTls tls;
  tls.enable = config.tls.enable;
  tls.check_server = config.tls.check_server;
  tls.trust = config.tls.trust;
  tls.certificate = config.tls.certificate;
  tls.key = config.tls.key;
  tls.key_password = config.tls.key_password;
  auto context = remoting::make_outgoing_tls(env, tls);
  if (!context) return context.error();
  std::string ip = config.client_ip.empty() ? remoting::advertised_address() : config.client_ip;
  auto id = ClientId::take(config, ip, env.clock.now().time_since_epoch().count());
  if (!id) return id.error();
  std::shared_ptr<Instance> instance{new Instance{env, std::move(runtime), std::move(config),
                                                  std::move(ip), *std::move(id),
                                                  std::move(servers)}};
  instance->connections_ = remoting::make_client(
      env,
      {.tls = *std::move(context),
       .connected =
           [weak = std::weak_ptr<Instance>{instance}](const std::string& address) {
             if (const auto self = weak.lock()) self->greet(address);
           }},
      &instance->processors_);
  instance->begin();
  return instance;
}

Instance::Instance(Env& env, std::shared_ptr<Runtime> runtime, ClientConfig config, std::string ip,
                   ClientId id, std::vector<std::string> name_servers)
    : runtime_{std::move(runtime)},
      env_{env},
      config_{std::move(config)},
      ip_{std::move(ip)},
      id_{std::move(id)},
      asks_address_server_{name_servers.empty() && !config_.name_server_domain.empty()},
      name_servers_{std::move(name_servers), env.random.below(1'000)},
      unique_ids_{env, ip_},
      processors_{env} {}

Instance::~Instance() = default;

/// The tasks of Java's MQClientInstance, with its first delays and periods.
void Instance::begin() {
  add_processors();
  if (asks_address_server_) {
    const auto told = std::make_shared<std::promise<void>>();
    first_fetch_ = told->get_future();
    fetch_name_servers_then([told] { told->set_value(); });
  }
  const auto every = [&](Executor& on, Clock::Duration first, Clock::Duration period,
                         void (Instance::*work)()) {
    tasks_.push_back(
        std::make_unique<Periodic>(env_.clock, on, first, period, [weak = weak_from_this(), work] {
          if (const auto self = weak.lock(); self && !self->ending()) ((*self).*work)();
        }));
  };
  every(env_.workers, 10s, 120s, &Instance::fetch_name_servers);
  every(env_.workers, 10ms, config_.poll_name_server_interval, &Instance::update_routes);
  every(env_.workers, 1s, config_.heartbeat_broker_interval, &Instance::heartbeat_to_all);
  tasks_.push_back(std::make_unique<Periodic>(env_.clock, env_.workers, 10s,
                                              config_.persist_consumer_offset_interval,
                                              [weak = weak_from_this()] {
                                                const auto self = weak.lock();
                                                if (!self || self->ending()) return;
                                                for (const auto& consumer : self->consumers())
                                                  consumer->persist_offsets();
                                              }));
}

void Instance::on_asking_thread(std::function<void()> work) {
  std::shared_ptr<Executor> thread;
  {
    std::lock_guard lock{mutex_};
    if (!asking_thread_) asking_thread_ = own_threads(1, "admin");
    thread = asking_thread_;
  }
  thread->post(std::move(work));
}

void Instance::shutdown() {
  if (ending_.exchange(true)) {
    // Somebody else ends it: be sure that it has ended, unless that somebody waits for us.
    if (!CallbackScope::inside()) std::lock_guard lock{end_mutex_};
    return;
  }
  if (CallbackScope::inside()) {
    // Its own threads cannot wait for themselves.
    std::thread{[self = shared_from_this()] { self->teardown(); }}.detach();
    return;
  }
  teardown();
}

void Instance::teardown() {
  std::lock_guard lock{end_mutex_};
  if (std::exchange(ended_, true)) return;
  for (const auto& consumer : consumers()) {
    consumer->stop();
    unregister({}, consumer->group());
  }
  for (const auto& producer : producers()) producer->last_words();
  stopped_ = true;
  for (const auto& producer : producers()) {
    producer->stop();
    unregister(producer->group(), {});
  }
  tasks_.clear();
  connections_->stop();  // calls under way end with kStopped
  processors_.finish_workers();
  decltype(producers_) producers;
  decltype(consumers_) consumers;
  decltype(replies_) unanswered;
  {
    std::lock_guard state{mutex_};
    producers.swap(producers_);
    consumers.swap(consumers_);
    unanswered.swap(replies_);
  }
  for (auto& [id, expected] : unanswered) {
    env_.clock.cancel(expected.timer);
    run_callback(expected.done, gone());
  }
  id_.give_back();
}

// ---- Groups
// --------------------------------------------------------------------------------------

Result<Ok> Instance::add(const std::shared_ptr<ProducerRole>& producer) {
  if (ending()) return gone();
  {
    std::lock_guard lock{mutex_};
    if (!producers_.try_emplace(producer->group(), producer).second)
      return Error{Errc::kExists, "The producer group[" + producer->group() +
                                      "] has been created before, specify another name please."};
  }
  heartbeat_soon();
  return Ok{};
}

Result<Ok> Instance::add(const std::shared_ptr<ConsumerRole>& consumer) {
  if (ending()) return gone();
  {
    std::lock_guard lock{mutex_};
    if (!consumers_.try_emplace(consumer->group(), consumer).second)
      return Error{Errc::kExists, "The consumer group[" + consumer->group() +
                                      "] has been created before, specify another name please."};
    told_.clear();
  }
  return Ok{};
}

void Instance::remove_producer(const std::string& group) {
  {
    std::lock_guard lock{mutex_};
    if (producers_.erase(group) == 0) return;
  }
  if (!ending()) unregister(group, {});
}

void Instance::remove(const ConsumerRole& consumer) {
  {
    std::lock_guard lock{mutex_};
    const auto found = consumers_.find(consumer.group());
    if (found == consumers_.end() || found->second.get() != &consumer) return;
    consumers_.erase(found);
    told_.clear();
  }
  if (!ending()) unregister({}, consumer.group());
}

std::shared_ptr<ProducerRole> Instance::producer(const std::string& group) const {
  std::lock_guard lock{mutex_};
  const auto found = producers_.find(group);
  return found == producers_.end() ? nullptr : found->second;
}

std::shared_ptr<ConsumerRole> Instance::consumer(const std::string& group) const {
  std::lock_guard lock{mutex_};
  const auto found = consumers_.find(group);
  return found == consumers_.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<ConsumerRole>> Instance::consumers() const {
  std::lock_guard lock{mutex_};
  std::vector<std::shared_ptr<ConsumerRole>> all;
  for (const auto& [group, each] : consumers_) all.push_back(each);
  return all;
}

std::vector<std::shared_ptr<ProducerRole>> Instance::producers() const {
  std::lock_guard lock{mutex_};
  std::vector<std::shared_ptr<ProducerRole>> all;
  for (const auto& [group, each] : producers_) all.push_back(each);
  return all;
}

/// A farewell: nobody waits for its answer, but it should leave before the connections do.
void Instance::unregister(const std::string& producer_group, const std::string& consumer_group) {
  protocol::UnregisterClientRequest header;
  header.client_id = id_.text();
  if (!producer_group.empty()) header.producer_group = producer_group;
  if (!consumer_group.empty()) header.consumer_group = consumer_group;
  Farewells farewells;
  for (const BrokerAddress& each : routes_.brokers())
    after_heartbeats(each.address, [weak = weak_from_this(), address = each.address, header,
                                    heard = farewells.expect()] {
      const auto self = weak.lock();
      if (!self) return heard();
      self->call(address, request::kUnregisterClient, header, {}, Farewells::kWait,
                 [heard](const Result<OwnedCommand>&) { heard(); });
    });
  farewells.wait();
}

/// A broker may work on a heartbeat after what was sent behind it, and take who has left for there.
void Instance::after_heartbeats(const std::string& address, std::function<void()> work) {
  {
    std::lock_guard lock{mutex_};
    const auto under_way = heartbeats_under_way_.find(address);
    if (under_way != heartbeats_under_way_.end()) {
      under_way->second.then.push_back(std::move(work));
      return;
    }
  }
  work();
}

// ---- Requests
// ------------------------------------------------------------------------------------

Instance::Prepared Instance::completed(const std::string& address, Prepared prepared) const {
  // Java's NamespaceRpcHook and StreamTypeRPCHook, in this order ahead of the program's.
  if (!config_.name_space_v2.empty()) {
    prepared.fields.emplace_back("nsd", "true");
    prepared.fields.emplace_back("ns", config_.name_space_v2);
  }
  if (config_.stream_requests) prepared.fields.emplace_back("ReqT", "0");
  std::ranges::move(ask_hook({.address = address, .code = prepared.code}),
                    std::back_inserter(prepared.fields));
  const Credentials& credentials = config_.credentials;
  if (credentials.access_key.empty()) return prepared;
  prepared.fields.emplace_back(acl::kAccessKey, credentials.access_key);
  if (!credentials.security_token.empty())
    prepared.fields.emplace_back(acl::kSecurityToken, credentials.security_token);
  prepared.fields.emplace_back(
      acl::kSignature, signature(credentials.secret_key, prepared.fields, as_bytes(prepared.body)));
  return prepared;
}

ExtFields Instance::ask_hook(const RpcEvent& event) const {
  ExtFields fields;
  if (!config_.before_request) return fields;
  if (const auto thrown = thrown_by([&] { fields = run_callback(config_.before_request, event); }))
    env_.log.warn("before_request threw: code={} what=\"{}\"", event.code, *thrown);
  return fields;
}

void Instance::tell_hook(const RpcEvent& event) const {
  if (!config_.after_response) return;
  if (const auto thrown = thrown_by([&] { run_callback(config_.after_response, event); }))
    env_.log.warn("after_response threw: code={} what=\"{}\"", event.code, *thrown);
}

std::shared_ptr<const Instance::Prepared> Instance::completed(
    const std::string& address, std::shared_ptr<const Prepared> prepared) const {
  if (adds_no_fields()) return prepared;
  return std::make_shared<const Prepared>(completed(address, *prepared));
}

void Instance::encode(const Prepared& prepared, Buffer& out, std::int32_t opaque, bool oneway) {
  protocol::CommandHead head{.code = prepared.code, .opaque = opaque};
  if (oneway) head.flag = protocol::kOnewayFlag;
  if (!prepared.remark.empty()) head.remark = prepared.remark;
  head.language = prepared.language;
  protocol::CommandWriter writer{out, head};
  for (const auto& [name, text] : prepared.fields) writer.field(name, text);
  writer.finish(prepared.body.size());
  out += prepared.body;
}

/// Once more, over the new connection, to a server that has said GO_AWAY.
void Instance::send_prepared(const std::string& address, std::shared_ptr<const Prepared> prepared,
                             std::chrono::milliseconds timeout, Answered done) {
  timeout = countable(timeout);
  send_prepared_once(
      address, prepared, timeout,
      [weak = weak_from_this(), address, prepared, deadline = env_.clock.now() + timeout,
       done = std::move(done)](Result<OwnedCommand> answer) mutable {
        if (!answer || answer->code != response::kGoAway) return done(std::move(answer));
        const auto self = weak.lock();
        if (!self || self->stopped()) return done(gone());
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            deadline - self->env_.clock.now());
        self->send_prepared_once(address, prepared, left,
                                 [address, done = std::move(done)](Result<OwnedCommand> again) {
                                   if (again && again->code == response::kGoAway)
                                     again = twice_sent_away(address);
                                   done(std::move(again));
                                 });
      });
}

void Instance::send_prepared_once(const std::string& address,
                                  std::shared_ptr<const Prepared> prepared,
                                  std::chrono::milliseconds timeout, Answered done) {
  done = observed(address, prepared->code, std::move(done));
  connections_->call_frame(
      address,
      [prepared = completed(address, std::move(prepared))](Buffer& out, std::int32_t opaque) {
        encode(*prepared, out, opaque, false);
      },
      timeout, std::move(done));
}

void Instance::send_prepared_oneway(const std::string& address,
                                    std::shared_ptr<const Prepared> prepared) {
  connections_->oneway_frame(
      address, [prepared = completed(address, std::move(prepared))](
                   Buffer& out, std::int32_t opaque) { encode(*prepared, out, opaque, true); });
}

void Instance::ask_prepared(std::shared_ptr<const Prepared> prepared, Clock::Instant deadline,
                            std::size_t attempts, Answered done) {
  const std::string address = name_servers_.current();
  if (address.empty()) return done(no_name_server());
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(deadline - env_.clock.now());
  if (left <= 0ms)
    return done(
        Error{Errc::kTimeout, "no name server answered in time, the last asked was " + address});
  send_prepared(address, prepared, left,
                [weak = weak_from_this(), prepared, deadline, attempts, address,
                 done = std::move(done)](Result<OwnedCommand> answer) mutable {
                  const auto self = weak.lock();
                  if (answer || !self || self->stopped()) return done(std::move(answer));
                  self->env_.log.warn("name server does not answer: address={} reason=\"{}\"",
                                      address, answer.error().detail);
                  self->name_servers_.failed(address);
                  if (attempts <= 1) return done(std::move(answer));
                  self->ask_prepared(std::move(prepared), deadline, attempts - 1, std::move(done));
                });
}

// ---- Routes
// --------------------------------------------------------------------------------------

void Instance::find_route(const std::string& topic, std::int32_t default_queues,
                          Clock::Instant deadline, RouteFound found) {
  if (auto known = routes_.publish(topic); known && !known->queues.empty())
    return found(std::move(known));
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(deadline - env_.clock.now());
  refresh_route(topic, std::min(left, config_.api_timeout),
                [weak = weak_from_this(), topic, default_queues, deadline,
                 found = std::move(found)](Result<PublishInfoPtr> route) mutable {
                  const auto self = weak.lock();
                  if (!self) return found(gone());
                  // A topic that is there and may not be written is not one to be made.
                  if (route && (*route)->queues.empty()) return found(no_route(topic));
                  if (route || route.error().response_code != response::kTopicNotExist)
                    return found(std::move(route));
                  self->find_default_route(topic, default_queues, deadline, std::move(found));
                });
}

protocol::RouteRequest Instance::route_request(const std::string& topic) const {
  protocol::RouteRequest header;
  header.topic = topic;
  header.accept_standard_json_only = true;
  if (!config_.zone.empty()) {
    header.zone_mode = "true";
    header.zone_name = config_.zone;
  }
  return header;
}

/// As TBW102 stands, a broker will make the topic on its first send.
void Instance::find_default_route(const std::string& topic, std::int32_t default_queues,
                                  Clock::Instant deadline, RouteFound found) {
  const protocol::RouteRequest header = route_request(std::string{protocol::kDefaultTopic});
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(deadline - env_.clock.now());
  ask_name_server(request::kGetRouteInfoByTopic, header, std::min(left, config_.api_timeout),
                  [weak = weak_from_this(), topic, default_queues,
                   found = std::move(found)](Result<OwnedCommand> answer) {
                    const auto self = weak.lock();
                    if (!self) return found(gone());
                    if (!answer) return found(answer.error());
                    if (answer->code != response::kSuccess) return found(no_route(topic));
                    auto route = protocol::decode_body<protocol::TopicRouteData>(
                        std::string_view{answer->body});
                    if (!route) return found(route.error());
                    self->install(topic, capped(*std::move(route), default_queues));
                    auto known = self->routes_.publish(topic);
                    if (!known || known->queues.empty()) return found(no_route(topic));
                    found(std::move(known));
                  });
}

void Instance::refresh_route(const std::string& topic, std::chrono::milliseconds timeout,
                             RouteFound found) {
  if (timeout <= 0ms) return found(no_route_in_time(topic));
  bool is_first = false;
  {
    std::lock_guard lock{mutex_};
    const auto [at, is_new] = route_waiters_.try_emplace(topic);
    const std::uint64_t number = ++last_waiter_;
    const auto timer = env_.clock.run_after(timeout, [weak = weak_from_this(), topic, number] {
      if (const auto self = weak.lock()) self->end_waiter(topic, number);
    });
    at->second.push_back({number, timer, std::move(found)});
    is_first = is_new;
  }
  if (is_first) ask_for_route(topic);
}

/// For all who wait, and who may yet come: with none's limit in particular.
void Instance::ask_for_route(const std::string& topic) {
  const protocol::RouteRequest header = route_request(topic);
  ask_name_server(request::kGetRouteInfoByTopic, header, std::max(config_.api_timeout, kLeastAsked),
                  [weak = weak_from_this(), topic](Result<OwnedCommand> answer) {
                    if (const auto self = weak.lock())
                      self->route_answered(topic, std::move(answer));
                  });
}

void Instance::end_waiter(const std::string& topic, std::uint64_t number) {
  RouteFound found;
  {
    std::lock_guard lock{mutex_};
    const auto at = route_waiters_.find(topic);
    if (at == route_waiters_.end()) return;
    const auto waiter = std::ranges::find(at->second, number, &RouteWaiter::number);
    if (waiter == at->second.end()) return;
    found = std::move(waiter->found);
    at->second.erase(waiter);
  }
  found(no_route_in_time(topic));
}

void Instance::route_answered(const std::string& topic, Result<OwnedCommand> answer) {
  Result<PublishInfoPtr> result = Error{Errc::kNotFound, {}};
  if (!answer) {
    result = answer.error();
  } else if (answer->code != response::kSuccess) {
    result = Error{Errc::kRefused, "route of " + topic + ": " + answer->remark, answer->code};
  } else if (auto route =
                 protocol::decode_body<protocol::TopicRouteData>(std::string_view{answer->body});
             !route) {
    result = route.error();
  } else {
    install(topic, *route);
    result = routes_.publish(topic);
  }
  std::vector<RouteWaiter> waiters;
  // Who has joined the question later still has time.
  bool again = !result && result.error().code == Errc::kTimeout && !stopped();
  {
    std::lock_guard lock{mutex_};
    const auto found = route_waiters_.find(topic);
    if (found == route_waiters_.end()) return;
    again = again && !found->second.empty();
    if (!again) {
      waiters = std::move(found->second);
      route_waiters_.erase(found);
    }
  }
  if (again) return ask_for_route(topic);
  for (RouteWaiter& each : waiters) {
    env_.clock.cancel(each.timer);
    each.found(result);
  }
}

void Instance::install(const std::string& topic, const protocol::TopicRouteData& route) {
  const auto first = static_cast<std::uint32_t>(env_.random.below(1 << 16));
  const Routes::Change change = routes_.update(topic, route, first);
  // A broker asks the members of a producer's group that it knows about a transaction: the next
  // regular heartbeat may be half a minute away.
  if (change.brokers && !producers().empty()) heartbeat_soon();
  if (!change.route) return;
  env_.log.info("route changed: topic={} brokers={}", topic, route.broker_datas.size());
  on_worker([topic](Instance& self) {
    const auto queues = self.routes_.subscribe(topic);
    if (!queues) return;
    for (const auto& consumer : self.consumers()) {
      const auto topics = consumer->topics();
      if (std::ranges::find(topics, topic) != topics.end())
        consumer->queues_changed(topic, *queues);
    }
  });
}

void Instance::update_routes() {
  std::set<std::string> topics;
  for (const auto& each : consumers())
    for (std::string& topic : each->topics()) topics.insert(std::move(topic));
  for (const auto& each : producers())
    for (std::string& topic : each->topics()) topics.insert(std::move(topic));
  if (name_servers_.empty()) return;
  for (const std::string& topic : topics) {
    refresh_route(topic, config_.api_timeout, [](const Result<PublishInfoPtr>&) {});
  }
}

void Instance::fetch_name_servers() {
  if (asks_address_server_) fetch_name_servers_then([] {});
}

void Instance::fetch_name_servers_then(std::function<void()> then) {
  std::string path = config_.name_server_path;
  if (!config_.unit_name.empty()) path += "-" + config_.unit_name + "?nofix=1";
  fetch_from_address_server(env_, config_.name_server_domain, path,
                            [weak = weak_from_this(), then = std::move(then)](
                                const Result<std::vector<std::string>>& addresses) {
                              if (const auto self = weak.lock()) self->take_fetched(addresses);
                              then();
                            });
}

void Instance::wait_for_name_servers() {
  if (first_fetch_.valid()) first_fetch_.wait_for(kAddressServerWaitMax);
}

void Instance::take_fetched(const Result<std::vector<std::string>>& addresses) {
  if (!addresses)
    return env_.log.warn("address server does not answer: reason=\"{}\"", addresses.error().detail);
  if (addresses->empty())
    return env_.log.warn("the address server names no name server: domain={}",
                         config_.name_server_domain);
  if (asks_address_server_) install_name_servers(*addresses);  // else the program knows better
}

Result<Ok> Instance::use_name_servers(const std::vector<std::string>& addresses) {
  const auto servers = parse_name_servers(fmt::format("{}", fmt::join(addresses, ";")));
  if (servers.empty()) return no_name_server();
  if (const auto usable = check_addresses(servers); !usable) return usable.error();
  asks_address_server_ = false;
  install_name_servers(servers);
  return Ok{};
}

void Instance::install_name_servers(const std::vector<std::string>& addresses) {
  const auto before = name_servers_.all();
  if (!name_servers_.replace(addresses)) return;
  env_.log.info("name servers changed: now={}", fmt::join(addresses, ";"));
  for (const std::string& each : before)
    if (std::ranges::find(addresses, each) == addresses.end()) connections_->close(each);
}

// ---- Heartbeats
// ----------------------------------------------------------------------------------

protocol::HeartbeatData Instance::heartbeat_data(bool& has_consumers) const {
  protocol::HeartbeatData data;
  data.client_id = id_.text();
  for (const auto& each : producers()) {
    protocol::ProducerData producer;
    producer.group_name = each->group();
    data.producer_data_set.push_back(std::move(producer));
  }
  for (const auto& each : consumers()) data.consumer_data_set.push_back(each->heartbeat());
  has_consumers = !data.consumer_data_set.empty();
  return data;
}

void Instance::heartbeat_soon() {
  on_worker([](Instance& self) { self.heartbeat_to_all(); });
}

void Instance::forget_heartbeats() {
  std::lock_guard lock{mutex_};
  told_.clear();
}

void Instance::heartbeat_to_all() {
  routes_.drop_offline();
  heartbeat_to(routes_.brokers(), false);
}

void Instance::heartbeat_to(const std::vector<BrokerAddress>& brokers, bool over_new_connection) {
  bool has_consumers = false;
  protocol::HeartbeatData data = heartbeat_data(has_consumers);
  if (data.producer_data_set.empty() && !has_consumers) return;
  if (config_.heartbeat_v2) {
    // Java's fingerprint: the JSON without client id and versions, as its String.hashCode.
    protocol::HeartbeatData stable = data;
    stable.client_id.clear();
    for (auto& consumer : stable.consumer_data_set)
      for (auto& subscription : consumer.subscription_data_set) subscription.sub_version = 0;
    data.heartbeat_fingerprint = protocol::java_hash(protocol::encode_body(stable));
  }
  for (const BrokerAddress& each : brokers) {
    if (each.id == 0 || has_consumers)  // replicas serve readers only
      send_heartbeat(each, data, over_new_connection);
  }
}

/// A broker knows whom it may push to (checks, replies, changes of a group) by the connection, and
/// has shared the queues of a group among those that were connected.
void Instance::greet(const std::string& address) {
  const auto is_greeted = [address](Instance& self) {
    std::lock_guard lock{self.mutex_};
    const auto under_way = self.heartbeats_under_way_.find(address);
    if (under_way == self.heartbeats_under_way_.end()) return false;
    under_way->second.over_new_connection = true;
    return under_way->second.full;
  };
  if (is_greeted(*this)) return;
  on_worker([address, is_greeted](Instance& self) {
    if (is_greeted(self)) return;
    const auto brokers = self.routes_.brokers();
    const auto broker = std::ranges::find(brokers, address, &BrokerAddress::address);
    if (broker == brokers.end()) return;
    {
      std::lock_guard lock{self.mutex_};
      self.told_.erase(address);
    }
    self.heartbeat_to({*broker}, true);
  });
}

void Instance::send_heartbeat(const BrokerAddress& to, const protocol::HeartbeatData& data,
                              bool over_new_connection) {
  const std::int32_t fingerprint = data.heartbeat_fingerprint;
  bool known = false;
  {
    std::lock_guard lock{mutex_};
    const auto told = told_.find(to.address);
    known = fingerprint != 0 && told != told_.end() && told->second == fingerprint;
    HeartbeatsUnderWay& under_way = heartbeats_under_way_[to.address];
    ++under_way.count;
    under_way.full = !known;
    under_way.over_new_connection |= over_new_connection;
  }
  Buffer body;
  if (known) {
    protocol::HeartbeatData brief = data;
    brief.without_sub = true;
    for (auto& consumer : brief.consumer_data_set) consumer.subscription_data_set.clear();
    body = protocol::encode_body(brief);
  } else {
    body = protocol::encode_body(data);
  }
  call(to.address, request::kHeartBeat, protocol::NoFields{}, as_bytes(body), config_.api_timeout,
       [weak = weak_from_this(), to, fingerprint](const Result<OwnedCommand>& answer) {
         if (const auto self = weak.lock()) self->heartbeat_answered(to, fingerprint, answer);
       });
}

void Instance::heartbeat_answered(const BrokerAddress& from, std::int32_t fingerprint,
                                  const Result<OwnedCommand>& answer) {
  bool over_new_connection = false;
  std::vector<std::function<void()>> then;
  {
    std::lock_guard lock{mutex_};
    const auto under_way = heartbeats_under_way_.find(from.address);
    over_new_connection = std::exchange(under_way->second.over_new_connection, false);
    if (--under_way->second.count == 0) {
      then = std::move(under_way->second.then);
      heartbeats_under_way_.erase(under_way);
    }
  }
  for (const auto& work : then) work();
  if (stopped()) return;
  if (!answer)
    return env_.log.warn("heartbeat failed: broker={} address={} reason=\"{}\"", from.name,
                         from.address, answer.error().detail);
  if (over_new_connection)
    for (const auto& each : consumers()) each->members_changed();
  if (fingerprint == 0) return;
  const auto header = remoting::read_header<protocol::HeartbeatResponse>(*answer);
  std::lock_guard lock{mutex_};
  if (!header || !header->supports_v2.value_or(false) ||
      header->subscription_changed.value_or(false))
    told_.erase(from.address);
  else
    told_[from.address] = fingerprint;
}

// ---- Replies
// -------------------------------------------------------------------------------------

void Instance::expect_reply(const std::string& correlation_id, const std::string& topic,
                            std::chrono::milliseconds timeout, Replied done) {
  std::lock_guard lock{mutex_};
  const auto timer = env_.clock.run_after(timeout, [weak = weak_from_this(), correlation_id] {
    if (const auto self = weak.lock()) self->reply_is_late(correlation_id);
  });
  replies_[correlation_id] = {topic, timeout, timer, false, std::move(done)};
}

void Instance::question_sent(const std::string& correlation_id) {
  std::lock_guard lock{mutex_};
  if (const auto found = replies_.find(correlation_id); found != replies_.end())
    found->second.sent = true;
}

void Instance::question_failed(const std::string& correlation_id, const Error& error) {
  const auto expected = no_longer_expected(correlation_id);
  if (!expected) return;
  Error told = error;
  told.detail = "send request message to <" + expected->topic + "> fail: " + error.detail;
  run_callback(expected->done, Result<ReceivedMessage>{std::move(told)});
}

/// None: somebody else has ended it.
std::optional<Instance::Expected> Instance::no_longer_expected(const std::string& correlation_id) {
  std::optional<Expected> expected;
  {
    std::lock_guard lock{mutex_};
    const auto found = replies_.find(correlation_id);
    if (found == replies_.end()) return std::nullopt;
    expected = std::move(found->second);
    replies_.erase(found);
  }
  env_.clock.cancel(expected->timer);
  return expected;
}

void Instance::reply_is_late(const std::string& correlation_id) {
  const auto expected = no_longer_expected(correlation_id);
  if (!expected) return;
  Error error{.code = Errc::kTimeout,
              .detail = "send request message to <" + expected->topic + "> fail",
              .perhaps_done = true};  // by a send that is still under way
  if (expected->sent) {
    error.detail =
        fmt::format("send request message to <{}> OK, but wait reply message timeout, {} ms.",
                    expected->topic, expected->timeout.count());
    error.response_code = 10'006;
  }
  run_callback(expected->done, Result<ReceivedMessage>{std::move(error)});
}

// ---- Requests of brokers
// -------------------------------------------------------------------------

void Instance::on_worker(std::function<void(Instance&)> work) {
  env_.workers.post([weak = weak_from_this(), work = std::move(work)] {
    if (const auto self = weak.lock(); self && !self->ending()) work(*self);
  });
}

/// `process` between the program's hooks, where Java's RPCHook stands.
template <class Process>
auto Instance::hooked(std::int32_t code, Process process) const {
  return [this, code, process = std::move(process)](const auto& header, const auto& request,
                                                    const remoting::PeerPtr& peer) {
    RpcEvent event{.address = peer->remote_text(), .code = code, .inbound = true};
    (void)ask_hook(event);
    Answer answer = process(header, request, peer);
    event.response = answer.code;
    tell_hook(event);
    return answer;
  };
}

template <class Header, class Process>
void Instance::serve(std::int32_t code, Process process) {
  processors_.on_worker_code<Header>(code, hooked(code, std::move(process)));
}

void Instance::add_processors() {
  serve<protocol::CheckTransactionStateRequest>(
      request::kCheckTransactionState,
      [this](const protocol::CheckTransactionStateRequest& header, const OwnedCommand& command,
             const remoting::PeerPtr& peer) {
        const auto message = protocol::decode_message(as_bytes(command.body));
        if (!message) return Answer::error(response::kSystemError, message.error().detail);
        const auto group = message->property(protocol::property::kProducerGroup);
        const auto role = group ? producer(std::string{*group}) : nullptr;
        if (role) {
          role->check_transaction(
              peer->remote_text(),
              received(*message, config_.name_space, routes_.name_of(peer->remote_text())),
              header.tran_state_table_offset, header.commit_log_offset);
        } else {
          env_.log.warn("transaction check for a group that is not here: group={}",
                        group.value_or("?"));
        }
        return Answer{};
      });
  serve<protocol::ConsumerGroupRequest>(request::kNotifyConsumerIdsChanged,
                                        [this](const protocol::ConsumerGroupRequest& header,
                                               const OwnedCommand&, const remoting::PeerPtr&) {
                                          if (const auto role = consumer(header.consumer_group))
                                            role->members_changed();
                                          return Answer{};
                                        });
  serve<protocol::ResetOffsetRequest>(
      request::kResetConsumerClientOffset,
      [this](const protocol::ResetOffsetRequest& header, const OwnedCommand& command,
             const remoting::PeerPtr&) {
        const auto offsets = reset_offsets_of(command.body);
        if (!offsets) return Answer::error(response::kSystemError, offsets.error().detail);
        if (const auto role = consumer(header.group)) role->reset_offsets(header.topic, *offsets);
        return Answer{};
      });
  serve<protocol::ConsumerStatusRequest>(
      request::kGetConsumerStatusFromClient, [this](const protocol::ConsumerStatusRequest& header,
                                                    const OwnedCommand&, const remoting::PeerPtr&) {
        protocol::ConsumerStatusBody body;
        if (const auto role = consumer(header.group)) {
          for (const auto& [queue, offset] : role->offsets(header.topic))
            body.message_queue_table[{queue.broker, queue.queue_id, queue.topic}] = offset;
        }
        return Answer::with_body(protocol::encode_body(body));
      });
  serve<protocol::ConsumerRunningInfoRequest>(
      request::kGetConsumerRunningInfo, [this](const protocol::ConsumerRunningInfoRequest& header,
                                               const OwnedCommand&, const remoting::PeerPtr&) {
        const auto role = consumer(header.consumer_group);
        if (!role)
          return Answer::error(response::kSystemError,
                               fmt::format("The Consumer Group <{}> not exist in this consumer",
                                           header.consumer_group));
        return Answer::with_body(protocol::write_json(role->running_info()));
      });
  serve<protocol::ConsumeMessageDirectlyRequest>(
      request::kConsumeMessageDirectly,
      [this](const protocol::ConsumeMessageDirectlyRequest& header, const OwnedCommand& command,
             const remoting::PeerPtr& peer) {
        const auto message = protocol::decode_message(as_bytes(command.body));
        const auto role = consumer(header.consumer_group);
        if (!message || !role)
          return Answer::error(response::kSystemError,
                               fmt::format("The Consumer Group <{}> not exist in this consumer",
                                           header.consumer_group));
        return Answer::with_body(protocol::write_json(role->consume_directly(
            received(*message, config_.name_space, routes_.name_of(peer->remote_text())),
            header.broker_name.value_or(""))));
      });
  add_reply_processor();
}

void Instance::add_reply_processor() {
  const auto take = hooked(request::kPushReplyMessageToClient,
                           [this](const protocol::PushReplyMessageRequest& header,
                                  const remoting::Request& asked, const remoting::PeerPtr&) {
                             take_reply(received(header, asked.command.body, config_.name_space));
                             return Answer{};
                           });
  processors_.on<protocol::PushReplyMessageRequest>(
      [take](const protocol::PushReplyMessageRequest& header, const remoting::Request& asked) {
        return take(header, asked, asked.peer());
      });
}

void Instance::take_reply(ReceivedMessage reply) {
  const auto id = reply.property("CORRELATION_ID");
  const auto expected = id ? no_longer_expected(std::string{*id}) : std::nullopt;
  if (!expected) return env_.log.warn("a reply nobody waits for: topic={}", reply.topic);
  reply.properties["ARRIVE_TIME"] = std::to_string(env_.clock.wall_ms());
  run_callback(expected->done, Result<ReceivedMessage>{std::move(reply)});
}

}  // namespace apogee::client
