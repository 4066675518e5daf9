#include "broker/broker.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <unistd.h>

#include "broker/clients.h"
#include "broker/context.h"
#include "broker/offsets.h"
#include "broker/pulling.h"
#include "broker/queries.h"
#include "broker/statistics.h"
#include "remoting/processors.h"

namespace apogee::broker {
namespace {

constexpr std::uint16_t kDefaultPort = 10'911;

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 && name[0] != 0 ? name : "DEFAULT_BROKER";
}

/// The first IPv4 address of this host that others can reach; 127.0.0.1 when there is none.
std::string host_address() {
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return "127.0.0.1";
  std::string found = "127.0.0.1";
  for (const ifaddrs* each = all; each; each = each->ifa_next) {
    if (!each->ifa_addr || each->ifa_addr->sa_family != AF_INET ||
        (each->ifa_flags & IFF_LOOPBACK) != 0 || (each->ifa_flags & IFF_UP) == 0)
      continue;
    char text[INET_ADDRSTRLEN];
    const auto* address = reinterpret_cast<const sockaddr_in*>(each->ifa_addr);
    if (::inet_ntop(AF_INET, &address->sin_addr, text, sizeof text)) {
      found = text;
      break;
    }
  }
  ::freeifaddrs(all);
  return found;
}

BrokerConfig completed(BrokerConfig config) {
  if (config.broker_name.empty()) config.broker_name = host_name();
  if (config.broker_ip1.empty()) config.broker_ip1 = host_address();
  if (config.broker_ip2.empty()) config.broker_ip2 = config.broker_ip1;
  return config;
}

}  // namespace

/// Members stand in the order they come into being; the last is gone first.
struct Broker::State final : store::StoreEvents {
  State(Env& environment, BrokerSetup setup)
      : env{environment},
        store_config{std::move(setup.store)},
        server_config{std::move(setup.server)},
        config{completed(std::move(setup.broker))},
        topics{env, config, config_path("topics.json")},
        groups{env, config, config_path("subscriptionGroup.json")},
        offsets{env, config_path("consumerOffset.json"), config.now().consumer_offset_version_step},
        stats{env.clock, config.now().cluster_name},
        consumers{env.clock, notify_members(config)},
        producers{env.clock},
        queue_locks{env.clock},
        long_polling{env.clock, [this](std::string_view topic, std::int32_t queue_id) {
                       return store->max_offset(topic, queue_id);
                     }} {}

  std::string config_path(const char* name) const { return store_config.root + "/config/" + name; }

  // StoreEvents, on the dispatch thread.
  void on_arrivals(std::span<const store::Arrival> arrivals) override {
    long_polling.on_arrivals(arrivals);
  }

  Result<Ok> load();
  Result<Ok> listen();
  void begin_upkeep();
  void persist();
  void stop();

  /// Processors that hear of lost connections.
  struct Handler final : remoting::Processors {
    explicit Handler(State& of) : Processors{of.env}, state{of} {}
    void on_disconnected(const remoting::PeerPtr& peer, const Error&) override {
      forget_peer(*state.context, *peer);
    }
    State& state;
  };

  Env& env;
  const store::StoreConfig store_config;
  remoting::ServerConfig server_config;
  LiveConfig config;
  Topics topics;
  SubscriptionGroups groups;
  ConsumerOffsets offsets;
  Stats stats;
  Consumers consumers;
  Producers producers;
  QueueLocks queue_locks;
  std::unique_ptr<store::MessageStore> store;
  LongPolling long_polling;
  InFlight in_flight;
  std::unique_ptr<Context> context;
  std::unique_ptr<Handler> processors;
  std::unique_ptr<remoting::Server> server;
  std::vector<std::unique_ptr<Periodic>> upkeep;
  bool stopped = false;
};

Result<Ok> Broker::State::load() {
  if (auto made = env.files.create_directories(store_config.root + "/config"); !made) return made;
  if (auto loaded = topics.load(); !loaded) return loaded;
  if (auto loaded = groups.load(); !loaded) return loaded;
  if (auto loaded = offsets.load(); !loaded) return loaded;
  auto opened = store::MessageStore::open(env, store_config, *this);
  if (!opened) return opened.error();
  store = *std::move(opened);
  return Ok{};
}

Result<Ok> Broker::State::listen() {
  if (server_config.listen_port == 0) server_config.listen_port = kDefaultPort;
  if (server_config.listen_port < 0) server_config.listen_port = 0;  // tests: any port
  context = std::make_unique<Context>(Context{
      env, config, *store, topics, groups, consumers, producers, offsets, queue_locks, long_polling,
      stats, config.now().broker_ip1 + ":" + std::to_string(server_config.listen_port), in_flight});
  processors = std::make_unique<Handler>(*this);
  add_pulling(*processors, *context);
  add_clients(*processors, *context);
  add_offsets(*processors, *context);
  add_queries(*processors, *context);
  add_statistics(*processors, *context, {});
  store->start();
  auto started = remoting::start_server(env, server_config, *processors);
  if (!started) return started.error();
  server = *std::move(started);
  return Ok{};
}

void Broker::State::begin_upkeep() {
  const auto every = [&](Clock::Duration first, Clock::Duration period,
                         std::function<void()> work) {
    upkeep.push_back(
        std::make_unique<Periodic>(env.clock, env.workers, first, period, std::move(work)));
  };
  every(1s, 1s, [this] { stats.sample(); });
  every(10s, std::chrono::milliseconds{config.now().flush_consumer_offset_interval_ms},
        [this] { persist(); });
  every(Consumers::kScanPeriod, Consumers::kScanPeriod, [this] { drop_silent_clients(*context); });
  every(LongPolling::kCheckPeriod, LongPolling::kCheckPeriod, [this] { long_polling.check(); });
}

void Broker::State::persist() {
  const auto report = [&](const char* what, const Result<Ok>& saved) {
    if (!saved) env.log.error("table not written: which={} why={}", what, saved.error().detail);
  };
  report("consumer offsets", offsets.persist());
  report("topics", topics.persist());
  report("consumer groups", groups.persist());
}

void Broker::State::stop() {
  if (std::exchange(stopped, true)) return;
  if (server) server->stop_accepting();
  upkeep.clear();
  if (server) server->close_all(std::chrono::milliseconds{config.now().shutdown_grace_ms});
  if (processors) processors->finish_workers();
  in_flight.wait();
  server.reset();
  if (store) store->stop();
  persist();
}

Broker::Broker(std::unique_ptr<State> state) : state_{std::move(state)} {}
Broker::~Broker() {
  stop();
}

Result<std::unique_ptr<Broker>> Broker::start(Env& env, BrokerSetup setup) {
  std::unique_ptr<Broker> broker{
      new Broker{std::make_unique<State>(env, std::move(setup))}};  // NOLINT: private constructor
  State& state = *broker->state_;
  if (auto loaded = state.load(); !loaded) return loaded.error();
  if (auto listening = state.listen(); !listening) return listening.error();
  state.begin_upkeep();
  env.log.info("broker started: name={} address={}", state.config.now().broker_name,
               state.context->address);
  return broker;
}

void Broker::stop() {
  state_->stop();
}

Endpoint Broker::local() const {
  return state_->server->local();
}

}  // namespace apogee::broker
