#include "broker/broker.h"

#include "base/properties_file.h"
#include "broker/assignment.h"
#include "broker/clients.h"
#include "broker/config_file.h"
#include "broker/context.h"
#include "broker/filter_data.h"
#include "broker/metrics.h"
#include "broker/metrics_server.h"
#include "broker/offsets.h"
#include "broker/popping.h"
#include "broker/pulling.h"
#include "broker/queries.h"
#include "broker/recalling.h"
#include "broker/refusals.h"
#include "broker/registration.h"
#include "broker/request_reply.h"
#include "broker/scheduled_messages.h"
#include "broker/send_back.h"
#include "broker/sending.h"
#include "broker/statistics.h"
#include "broker/timer_messages.h"
#include "broker/topic_admin.h"
#include "broker/transactions.h"
#include "protocol/codes.h"
#include "protocol/names.h"
#include "remoting/addresses.h"
#include "remoting/processors.h"

namespace apogee::broker {
namespace {

constexpr std::int32_t kDefaultPort = 10'911;
constexpr std::int32_t kFastPortDistance = 2;  // clients with vipChannelEnabled send there
constexpr auto kFirstRegistrationLimit = 3s;

BrokerConfig completed(BrokerConfig config) {
  if (config.broker_name.empty()) config.broker_name = remoting::host_name();
  if (config.broker_ip1.empty()) config.broker_ip1 = remoting::advertised_address();
  if (config.broker_ip2.empty()) config.broker_ip2 = config.broker_ip1;
  config.broker_id = 0;  // a master's, whatever the file says, as with Java's
  return config;
}

}  // namespace

/// Members stand in the order they come into being; the last is gone first.
struct Broker::State final : store::StoreEvents {
  State(Env& environment, BrokerSetup setup)
      : env{environment},
        config_file{std::move(setup.path)},
        store_config{std::move(setup.store)},
        server_config{std::move(setup.server)},
        outgoing_tls{std::move(setup.outgoing_tls)},
        open_store{std::move(setup.open_store)},
        config{completed(std::move(setup.broker))},
        topics{env, config, config_path("topics.json"), store_config.lmq},
        groups{env, config, config_path("subscriptionGroup.json"), store_config.lmq},
        offsets{env, config_path("consumerOffset.json"), config.now().consumer_offset_version_step,
                store_config.lmq ? config_path("lmqConsumerOffset.json") : ""},
        filter_data{env, config, config_path("consumerFilter.json")},
        stats{env.clock, config.now().cluster_name},
        consumers{env.clock, notify_members(config)},
        producers{env.clock},
        queue_locks{env.clock},
        request_modes{env, config_path("messageRequestMode.json")},
        long_polling{env.clock,
                     [this](std::string_view topic, std::int32_t queue_id) {
                       return store->max_offset(topic, queue_id);
                     }},
        readers{env.clock, setup.readers ? *setup.readers : env.workers, in_flight, stats.stages} {}

  std::string config_path(const char* name) const { return store_config.root + "/config/" + name; }

  // StoreEvents, on the dispatch thread.
  void on_arrivals(std::span<const store::Arrival> arrivals) override {
    long_polling.on_arrivals(arrivals);
    if (popping) popping->on_arrivals(arrivals);
  }
  bool is_batch_topic(std::string_view name) override {
    const TopicPtr topic = topics.find(name);
    return topic && broker::is_batch_topic(*topic);
  }
  bool is_compaction_topic(std::string_view name) override {
    const TopicPtr topic = topics.find(name);
    return topic && broker::is_compaction_topic(*topic);
  }
  std::string filter_bit_map(std::string_view topic, std::string_view properties) override {
    return config.now().filter_bit_maps ? filter_data.bit_map(topic, properties) : std::string{};
  }
  void on_appended(const Appended& times) override {
    stats.stages.record(Stage::kLockWait, times.lock_wait);
    stats.stages.record(Stage::kLockHeld, times.lock_held);
    stats.stages.record(Stage::kWrite, times.write);
  }
  void on_synced(Clock::Duration took) override { stats.stages.record(Stage::kFlush, took); }
  std::int64_t deliver_time(std::int32_t level, std::int64_t store_timestamp) override {
    return sending.levels.deliver_time(level, store_timestamp);
  }

  Result<Ok> load();
  Result<Ok> listen();
  void add_processors();
  void add_runtime_info(std::map<std::string, std::string>& table);
  BrokerSetup current_setup() const;
  Result<Ok> update_configuration(std::string_view text);
  void open_fast_port();
  Result<Ok> open_metrics();
  std::optional<HttpPage> page(std::string_view path);
  void begin_upkeep();
  bool log_is_durable();
  void persist();
  void stop();

  /// Processors that hear of lost connections.
  struct Handler final : remoting::Processors {
    explicit Handler(State& of) : Processors{of.env}, state{of} {
      set_gate([this](const remoting::Request& request) {
        if (!state.draining.load(std::memory_order_relaxed)) return true;
        request.responder.reply(protocol::response_code::kServiceNotAvailable,
                                "the broker is stopping");
        return false;
      });
    }
    void on_connected(const remoting::PeerPtr&) override {
      state.stats.count_channel(Stats::Channel::kConnect);
    }
    void on_disconnected(const remoting::PeerPtr& peer, const Error& why) override {
      state.stats.count_channel(why.code == Errc::kDisconnected ? Stats::Channel::kClose
                                                                : Stats::Channel::kException);
      forget_peer(*state.context, *peer);
    }
    void on_decoded(Clock::Duration took) override {
      state.stats.stages.record(Stage::kDecode, took);
    }
    void on_waited(Clock::Duration took) override {
      state.stats.stages.record(Stage::kQueue, took);
    }
    void on_sent(Clock::Duration took) override { state.stats.stages.record(Stage::kSend, took); }
    void on_answered(const remoting::Peer::Answered& answered) override {
      state.stats.requests.record({.request = answered.request,
                                   .response = answered.response,
                                   .oneway = answered.oneway,
                                   .long_polling = answered.later && polls(answered.request)},
                                  answered.took, answered.times);
    }
    static bool polls(std::int32_t request) {
      namespace code = protocol::request_code;
      return request == code::kPullMessage || request == code::kLitePullMessage ||
             request == code::kPopMessage || request == code::kNotification;
    }
    State& state;
  };

  Env& env;
  const std::string config_file;  // empty: none
  const store::StoreConfig store_config;
  remoting::ServerConfig server_config;
  const remoting::OutgoingTls outgoing_tls;
  const decltype(BrokerSetup::open_store) open_store;
  LiveConfig config;
  SendSettings sending;
  Topics topics;
  SubscriptionGroups groups;
  ConsumerOffsets offsets;
  FilterData filter_data;
  ColdReads cold_reads{env, config};
  Stats stats;
  Consumers consumers;
  Producers producers;
  QueueLocks queue_locks;
  MessageRequestModes request_modes;
  std::unique_ptr<store::MessageStore> store;
  LongPolling long_polling;
  std::unique_ptr<ScheduledMessages> scheduled;
  std::unique_ptr<TimerMessages> timer;  // absent: timerWheelEnable=false
  InFlight in_flight;
  Readers readers;
  std::unique_ptr<Context> context;
  std::unique_ptr<Popping> popping;
  std::unique_ptr<Transactions> transactions;
  std::unique_ptr<TopicRoutes> routes;
  std::unique_ptr<Handler> processors;
  std::unique_ptr<Registration> registration;
  std::unique_ptr<remoting::Server> server, fast_server;
  std::unique_ptr<MetricsServer> metrics;
  std::vector<std::unique_ptr<Periodic>> upkeep;
  std::mutex update_mutex;  // one change of the configuration at a time
  protocol::DataVersion config_version{.timestamp = env.clock.wall_ms()};  // by update_mutex
  std::atomic<bool> draining{false};                                       // requests are refused
  bool stopped = false;
};

Result<Ok> Broker::State::load() {
  auto levels = DelayLevels::parse(store_config.delay_levels);
  if (!levels) return levels.error();
  sending.levels = *std::move(levels);
  if (auto made = env.files.create_directories(store_config.root + "/config"); !made) return made;
  if (auto loaded = topics.load(); !loaded) return loaded;
  if (auto loaded = groups.load(); !loaded) return loaded;
  if (auto loaded = offsets.load(); !loaded) return loaded;
  if (auto loaded = filter_data.load(); !loaded) return loaded;
  if (auto loaded = request_modes.load(); !loaded) return loaded;
  auto opened = open_store(env, store_config, *this);
  if (!opened) return opened.error();
  store = *std::move(opened);
  offsets.write_behind([this] { return log_is_durable(); });
  scheduled = std::make_unique<ScheduledMessages>(
      env, *store, stats, sending.levels, config_path("delayOffset.json"),
      config.now().delay_offset_version_step, store_config.delay_offset_flush_interval_ms);
  if (auto loaded = scheduled->load(); !loaded) return loaded;
  if (!store_config.timer_enable) return Ok{};
  timer = std::make_unique<TimerMessages>(env, *store, store_config.root);
  sending.timer = timer.get();
  return timer->load();
}

void Broker::State::add_runtime_info(std::map<std::string, std::string>& table) {
  for (const auto& [level, offset] : scheduled->offsets().offset_table)
    table[fmt::format("scheduleMessageOffset_{}", level)] =
        fmt::format("{},{}", offset, store->max_offset(protocol::kScheduleTopic, level - 1));
  if (timer) add_timer_info(timer->snapshot(), table);
}

/// All this broker can be asked.
void Broker::State::add_processors() {
  add_refusals(*processors);
  add_sending(*processors, *context, sending);
  add_send_back(*processors, *context, sending);
  add_recalling(*processors, *context, sending);
  add_pulling(*processors, *context);
  add_popping(*processors, *popping);
  add_pop_acks(*processors, *popping);
  add_pop_queries(*processors, *popping);
  add_transactions(*processors, *transactions);
  add_request_reply(*processors, *context, sending);
  add_assignment(*processors, *context, request_modes, *routes);
  add_clients(*processors, *context);
  add_cold_reads(*processors, *context);
  add_offsets(*processors, *context);
  add_queries(*processors, *context);
  add_statistics(*processors, *context, [this](auto& table) { add_runtime_info(table); });
  add_topic_admin(*processors, *context,
                  {.configuration_text =
                       [this] {
                         BrokerSetup setup = current_setup();
                         return broker::configuration_text(options_of(setup));
                       },
                   .configuration_version =
                       [this] {
                         std::lock_guard lock{update_mutex};
                         return config_version;
                       },
                   .update_configuration =
                       [this](std::string_view text) { return update_configuration(text); }});
  processors->on_worker_code<protocol::NoFields>(
      protocol::request_code::kGetAllDelayOffset,
      [this](const protocol::NoFields&, const remoting::OwnedCommand&, const remoting::PeerPtr&) {
        return remoting::Answer::with_body(encode_body(scheduled->offsets()));
      });
}

BrokerSetup Broker::State::current_setup() const {
  return {.broker = config.now(),
          .store = store->config(),
          .server = server_config,
          .outgoing_tls = outgoing_tls,
          .path = config_file};
}

/// Takes the new values over and writes the whole file, as the published broker does: with the
/// lines that mean nothing to it.
Result<Ok> Broker::State::update_configuration(std::string_view text) {
  auto properties = parse_properties(text);
  if (!properties) return properties.error();
  std::lock_guard lock{update_mutex};
  BrokerSetup next = current_setup();
  // A file that cannot be read says nothing; the end of this tells why.
  std::vector<Property> said;
  if (!config_file.empty())
    if (auto file = read_properties(env.files, config_file)) said = *std::move(file);
  if (auto applied = apply_at_run_time(*properties, options_of(next), said); !applied)
    return applied;
  const bool permission_changed = next.broker.permission != config.now().permission;
  store->change_config(next.store);
  config.change(next.broker);
  config_version.next(env.clock.wall_ms());
  if (permission_changed) topics.renew_version();  // which has it registered
  if (config_file.empty()) return Ok{};
  if (auto written = write_options(env.files, config_file, options_of(next)); !written)
    return Error{written.error().code, "in force, but not written: " + written.error().detail +
                                           "; it is lost at the next restart"};
  return Ok{};
}

/// A second door to the same processors. Nobody needs it but clients that were told to use it.
void Broker::State::open_fast_port() {
  if (server_config.listen_port <= kFastPortDistance) return;
  remoting::ServerConfig fast = server_config;
  fast.listen_port -= kFastPortDistance;
  auto started = remoting::start_server(env, fast, *processors);
  if (started)
    fast_server = *std::move(started);
  else
    env.log.warn("fast port not open: port={} why={}", fast.listen_port, started.error().detail);
}

/// For Prometheus and whoever looks after processes. Another broker may have the port: that is no
/// reason not to serve messages.
Result<Ok> Broker::State::open_metrics() {
  const BrokerConfig& now = config.now();
  if (auto labels = parse_labels(now.metrics_labels); !labels) return labels.error();
  if (now.metrics_exporter == MetricsExporter::kDisable) return Ok{};
  const std::string& host = now.metrics_host.empty() ? now.broker_ip1 : now.metrics_host;
  auto started = MetricsServer::start(env, {host, static_cast<std::uint16_t>(now.metrics_port)},
                                      [this](std::string_view path) { return page(path); });
  if (!started) {
    env.log.warn("no metrics: port={} why={}", now.metrics_port, started.error().detail);
    return Ok{};
  }
  metrics = *std::move(started);
  env.log.info("metrics: http://{}/metrics", to_string(metrics->local()));
  return Ok{};
}

std::optional<HttpPage> Broker::State::page(std::string_view path) {
  if (path == "/metrics") {
    const MetricsSources sources{.timer = timer.get(),
                                 .transactions = transactions.get(),
                                 .popping = popping.get(),
                                 .waiting_for_workers = [this] { return processors->waiting(); },
                                 .connections =
                                     [this] {
                                       return server->connections() +
                                              (fast_server ? fast_server->connections() : 0);
                                     }};
    return HttpPage{.type = "text/plain; version=0.0.4; charset=utf-8",
                    .body = metrics_page(*context, sources)};
  }
  if (path == "/healthz") return HttpPage{.body = "ok\n"};
  if (path != "/readyz") return std::nullopt;
  if (draining) return HttpPage{.status = 503, .body = "the broker is stopping\n"};
  const store::StoreStatus status = store->status();
  if (!status.writable) return HttpPage{.status = 503, .body = status.not_writable_because + '\n'};
  return HttpPage{.body = "ready\n"};
}

Result<Ok> Broker::State::listen() {
  if (server_config.listen_port == 0) server_config.listen_port = kDefaultPort;
  if (server_config.listen_port < 0) server_config.listen_port = 0;  // any free one
  auto address = remoting::resolve(config.now().broker_ip1);
  if (!address) return address.error();
  sending.store_host = protocol::host_from(*address, server_config.listen_port);
  context = std::make_unique<Context>(Context{
      env, config, *store, topics, groups, consumers, producers, offsets, queue_locks, long_polling,
      stats, config.now().broker_ip1 + ":" + std::to_string(server_config.listen_port), in_flight,
      readers, &filter_data, &cold_reads});
  popping = std::make_unique<Popping>(*context, sending, config_path("consumerOrderInfo.json"));
  if (auto loaded = popping->load(); !loaded) return loaded;
  transactions =
      std::make_unique<Transactions>(*context, sending, config_path("transactionMetrics"));
  if (auto loaded = transactions->load(); !loaded) return loaded;
  auto tls = make_outgoing_tls(env, outgoing_tls);
  if (!tls) return tls.error();
  routes = std::make_unique<TopicRoutes>(*context, config.now().name_servers,
                                         remoting::make_client(env, {.tls = *tls}));
  processors = std::make_unique<Handler>(*this);
  registration = std::make_unique<Registration>(
      *context, config.now().name_servers,
      config.now().broker_ip2 + ":" + std::to_string(server_config.listen_port + 1),
      remoting::make_client(env, {.tls = *std::move(tls)}));
  topics.on_change([this](const auto& changed, const auto& version) {
    registration->topics_changed(changed, version);
  });
  add_processors();
  store->start();
  auto started = remoting::start_server(env, server_config, *processors);
  if (!started) return started.error();
  server = *std::move(started);
  open_fast_port();
  if (auto opened = open_metrics(); !opened) return opened;
  scheduled->start();
  if (timer) timer->start();
  popping->start();
  transactions->start();
  registration->start(kFirstRegistrationLimit);
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
  every(ColdReads::kPeriod, ColdReads::kPeriod, [this] { cold_reads.end_period(); });
  every(LongPolling::kCheckPeriod, LongPolling::kCheckPeriod, [this] { long_polling.check(); });
}

/// Waits until all that the log holds now is on disk. False: it is not in time.
bool Broker::State::log_is_durable() {
  auto done = std::make_shared<std::promise<store::PutStatus>>();
  store->when_durable(store->status().commit_log_max_offset,
                      [done](store::PutStatus status) { done->set_value(status); });
  return done->get_future().get() == store::PutStatus::kOk;
}

void Broker::State::persist() {
  const auto report = [&](const char* what, const Result<Ok>& saved) {
    if (!saved) env.log.error("table not written: which={} why={}", what, saved.error().detail);
  };
  report("consumer offsets", offsets.persist());
  if (popping) report("consumption in order", popping->persist());
  report("filter data",
         filter_data.persist([this](const std::string& group) { return consumers.online(group); }));
  report("topics", topics.persist());
  report("consumer groups", groups.persist());
}

void Broker::State::stop() {
  if (std::exchange(stopped, true)) return;
  for (const auto& each : {server.get(), fast_server.get()})
    if (each) each->stop_accepting();
  upkeep.clear();
  if (registration) registration->stop();  // clients look elsewhere before they are refused
  draining = true;
  sending.waiting_answers.wait();
  for (const auto& each : {server.get(), fast_server.get()})
    if (each) each->close_all(std::chrono::milliseconds{config.now().shutdown_grace_ms});
  if (processors) processors->finish_workers();
  if (routes) routes->stop();
  in_flight.wait();
  metrics.reset();
  server.reset();
  fast_server.reset();
  if (scheduled) scheduled->stop();
  if (timer) timer->stop();
  if (popping) popping->stop();
  if (transactions) transactions->stop();
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

std::map<std::int32_t, std::string> Broker::codes() const {
  return state_->processors->codes();
}

}  // namespace apogee::broker
