#include "apogee/testing/broker.h"

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <mutex>

#include <unistd.h>

#include "base/env.h"
#include "broker/broker.h"
#include "broker/config_file.h"
#include "embedded/faulty_network.h"
#include "embedded/movable_clock.h"
#include "namesrv/name_server.h"
#include "protocol/headers.h"
#include "remoting/client.h"

namespace apogee::testing {
namespace {

constexpr const char* kLoopback = "127.0.0.1";
constexpr auto kTopicLimit = std::chrono::milliseconds{5'000};
constexpr int kPortAttempts = 10;

// Sparse files of a size that a temporary file system takes without a thought. Whoever serves a
// directory of another broker's sets mappedFileSizeCommitLog to that broker's.
constexpr std::pair<const char*, const char*> kSmall[] = {{"mappedFileSizeCommitLog", "67108864"},
                                                          {"mappedFileSizeConsumeQueue", "120000"},
                                                          {"maxHashSlotNum", "100000"},
                                                          {"maxIndexNum", "400000"},
                                                          {"brokerName", "broker-a"},
                                                          {"enablePropertyFilter", "true"},
                                                          {"diskMaxUsedSpaceRatio", "95"},
                                                          {"shutdownWaitTimeMs", "500"},
                                                          {"metricsExporterType", "DISABLE"}};

/// The application's function as a log.
class FunctionLog final : public Logger {
 public:
  explicit FunctionLog(std::function<void(std::string_view)> write) : write_{std::move(write)} {}
  bool enabled(LogLevel level) const override {
    return write_ != nullptr && level >= LogLevel::kWarn;
  }
  void write(LogLevel level, std::string_view line) override {
    if (enabled(level)) write_(line);
  }

 private:
  const std::function<void(std::string_view)> write_;
};

/// A directory of its own for each broker of this machine.
std::string temporary_directory(Random& random) {
  std::error_code failed;
  auto parent = std::filesystem::temp_directory_path(failed);
  if (failed) parent = "/tmp";
  return (parent / fmt::format("apogee-{}-{:016x}", ::getpid(), random.next())).string();
}

std::uint64_t seed(const Clock& clock) {
  static std::atomic<std::uint64_t> started{0};  // two in one microsecond are still two
  return static_cast<std::uint64_t>(clock.now().time_since_epoch().count()) ^
         (static_cast<std::uint64_t>(::getpid()) << 40) ^ (++started << 20);
}

}  // namespace

/// Members stand in the order they come into being; the last is gone first.
struct Broker::State {
  explicit State(BrokerOptions given)
      : options{std::move(given)}, log{options.log}, random{seed(clock)} {}
  ~State() {
    broker.reset();
    name_server.reset();
    if (temporary) (void)remove_tree(*files, directory);
  }

  Result<Ok> start();
  Result<Ok> start_name_server();
  Result<Ok> start_broker();
  Result<broker::BrokerSetup> setup() const;
  Result<std::uint16_t> free_port();
  Result<Ok> create_topic(const Topic& topic);
  bool wait_for_route(const Topic& topic);

  const BrokerOptions options;
  FunctionLog log;
  embedded::MovableClock clock{make_system_clock()};
  Random random;
  std::unique_ptr<FileSystem> files = make_posix_files();
  std::unique_ptr<Executor> workers = make_thread_pool(2, "embedded");
  std::unique_ptr<Transport> transport = remoting::make_transport(1);
  embedded::FaultyNetwork network{*transport};
  Env env{clock, *files, network, *workers, random, log};

  std::mutex mutex;  // one change at a time
  std::string directory;
  bool temporary = false;
  std::uint16_t port = 0;  // of the broker, once it has started
  std::unique_ptr<namesrv::NameServer> name_server;
  std::unique_ptr<broker::Broker> broker;  // guarded by mutex
};

Result<Ok> Broker::State::start() {
  temporary = options.directory.empty();
  directory = temporary ? temporary_directory(random)
                        : std::filesystem::absolute(options.directory).lexically_normal().string();
  if (auto made = files->create_directories(directory); !made) return made;
  if (auto started = start_name_server(); !started) return started;
  Result<Ok> started = Ok{};
  for (int attempt = 0; attempt < kPortAttempts; ++attempt) {
    auto free = free_port();
    if (!free) return free.error();
    port = *free;
    started = start_broker();
    if (started || started.error().code != Errc::kExists) break;  // somebody was faster
  }
  if (!started) return started;
  for (const Topic& topic : options.topics)
    if (auto made = create_topic(topic); !made) return made;
  return Ok{};
}

Result<Ok> Broker::State::start_name_server() {
  namesrv::Config names;
  names.server.bind_address = kLoopback;
  names.name_server.kv_config_path = directory + "/namesrv/kvConfig.json";
  auto started = namesrv::NameServer::start(env, names);
  if (!started) return started.error();
  name_server = *std::move(started);
  return Ok{};
}

Result<broker::BrokerSetup> Broker::State::setup() const {
  broker::BrokerSetup setup;
  auto keys = broker::options_of(setup);
  std::vector<Property> properties;
  for (const auto& [key, value] : kSmall) properties.push_back({key, value});
  for (const auto& [key, value] : options.settings) properties.push_back({key, value});
  std::vector<std::string> warnings;
  if (auto applied = apply_properties(properties, keys, "settings", false, warnings); !applied)
    return applied.error();
  setup.store.root = directory;
  setup.broker.broker_ip1 = kLoopback;
  setup.broker.name_servers = to_string(name_server->local());
  setup.server.bind_address = kLoopback;
  setup.server.listen_port = port;
  return setup;
}

Result<Ok> Broker::State::start_broker() {
  auto ready = setup();
  if (!ready) return ready.error();
  auto started = broker::Broker::start(env, *std::move(ready));
  if (!started) return started.error();
  broker = *std::move(started);
  return Ok{};
}

// A broker must know its port before it listens: it tells it to the name server.
Result<std::uint16_t> Broker::State::free_port() {
  auto listener = transport->listen({kLoopback, 0}, [](std::unique_ptr<Stream>) {});
  if (!listener) return listener.error();
  return (*listener)->local().port;
}

Result<Ok> Broker::State::create_topic(const Topic& topic) {
  if (!broker) return Error{Errc::kStopped, "the broker is not running"};
  if (topic.queues < 1 || topic.queues > 65'536)
    return Error{Errc::kInvalidArgument,
                 fmt::format("topic {}: {} queues, not within 1..65536", topic.name, topic.queues)};
  auto client = remoting::make_client(env, {});
  protocol::CreateTopicRequest request;
  request.topic = topic.name;
  request.default_topic = "TBW102";
  request.read_queue_nums = request.write_queue_nums = topic.queues;
  request.topic_filter_type = "SINGLE_TAG";
  auto answer =
      client->call_and_wait(to_string(broker->local()), request.kCode, request, {}, kTopicLimit);
  if (!answer) return answer.error();
  if (answer->code != 0) return Error{Errc::kRefused, answer->remark, answer->code};
  if (!wait_for_route(topic))
    return Error{Errc::kTimeout, "topic " + topic.name + " did not reach the name server"};
  return Ok{};
}

/// The broker tells the name server soon after its answer.
bool Broker::State::wait_for_route(const Topic& topic) {
  std::mutex waiting;
  std::condition_variable never;
  std::unique_lock lock{waiting};
  for (auto waited = 0ms; waited < kTopicLimit; waited += 1ms) {
    const auto route = name_server->routes().route(topic.name);
    if (route && !route->queue_datas.empty() &&
        route->queue_datas.front().write_queue_nums == topic.queues)
      return true;
    never.wait_for(lock, 1ms);
  }
  return false;
}

Broker::Broker(std::unique_ptr<State> state) : state_{std::move(state)} {}
Broker::Broker(Broker&&) noexcept = default;
Broker& Broker::operator=(Broker&&) noexcept = default;
Broker::~Broker() = default;

Result<Broker> Broker::start(BrokerOptions options) {
  auto state = std::make_unique<State>(std::move(options));
  if (auto started = state->start(); !started) return started.error();
  return Broker{std::move(state)};
}

std::string Broker::name_server() const {
  return to_string(state_->name_server->local());
}

std::string Broker::address() const {
  return to_string(Endpoint{kLoopback, state_->port});
}

std::string Broker::directory() const {
  return state_->directory;
}

Result<Ok> Broker::create_topic(const Topic& topic) {
  std::lock_guard lock{state_->mutex};
  return state_->create_topic(topic);
}

void Broker::advance(std::chrono::milliseconds by) {
  if (by > 0ms) state_->clock.advance(by);
}

void Broker::stop() {
  std::lock_guard lock{state_->mutex};
  state_->broker.reset();
}

Result<Ok> Broker::restart() {
  std::lock_guard lock{state_->mutex};
  state_->broker.reset();
  return state_->start_broker();
}

bool Broker::running() const {
  std::lock_guard lock{state_->mutex};
  return state_->broker != nullptr;
}

void Broker::cut_connections() {
  state_->network.cut();
}

void Broker::freeze(bool frozen) {
  state_->network.freeze(frozen);
}

void Broker::refuse_connections(bool refused) {
  state_->network.refuse(refused);
}

}  // namespace apogee::testing
