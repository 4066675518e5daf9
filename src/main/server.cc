#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <CLI/CLI.hpp>

#include "base/properties_file.h"
#include "broker/broker.h"
#include "broker/config_file.h"
#include "main/commands.h"
#include "main/process.h"
#include "namesrv/name_server.h"
#include "remoting/addresses.h"

namespace apogee {
namespace {

constexpr std::int32_t kNameServerPort = 9'876, kBrokerPort = 10'911;

int fail(const Error& error) {
  std::fprintf(stderr, "apogee: %s\n", error.detail.c_str());
  return 1;
}

/// CLI11 wants the words in reverse order. Exit code of a parse that ended the program, else -1.
int parse(CLI::App& app, std::span<const std::string> args) {
  try {
    app.parse(std::vector<std::string>{args.rbegin(), args.rend()});
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return -1;
}

std::string home_directory() {
  const char* const home = std::getenv("HOME");
  return home != nullptr ? home : ".";
}

std::string absolute(const std::string& path) {
  return std::filesystem::absolute(path).lexically_normal().string();
}

void print_options(const std::vector<OptionView>& options) {
  for (const OptionView& option : options) {
    if (!option.ignored && !option.secret())
      std::printf("%s=%s\n", std::string{option.name}.c_str(), option.value.c_str());
  }
}

constexpr const char* kLenient =
    "Warn of unknown keys and bad values instead of refusing them; what is not supported is "
    "refused all the same";

struct Common {
  std::string config, name_servers;
  bool print = false, print_important = false, lenient = false;

  void add_to(CLI::App& app, const char* what) {
    app.add_option("-c,--configFile", config, std::string{"Configuration file ("} + what + ")")
        ->type_name("FILE");
    app.add_flag("-p,--printConfigItem", print, "Print all configuration items and end");
    app.add_flag("-m,--printImportantConfig", print_important,
                 "Print the items that differ from their defaults and end");
    app.add_flag("--lenient", lenient, kLenient);
  }
};

Result<namesrv::Config> read_name_server_config(const Common& common) {
  namesrv::Config config;
  config.path = common.config;
  if (!common.config.empty()) {
    auto files = make_posix_files();
    auto properties = read_properties(*files, common.config);
    if (!properties) return properties.error();
    auto options = config.options();
    std::vector<std::string> warnings;
    if (auto applied =
            apply_properties(*properties, options, common.config, common.lenient, warnings);
        !applied)
      return applied.error();
    for (const std::string& warning : warnings)
      std::fprintf(stderr, "warning: %s\n", warning.c_str());
  }
  if (config.server.listen_port == 0) config.server.listen_port = kNameServerPort;
  if (config.name_server.kv_config_path.empty())
    config.name_server.kv_config_path = home_directory() + "/namesrv/kvConfig.json";
  return config;
}

template <class Options>
void print_config(const Common& common, Options now, Options defaults) {
  if (common.print) return print_options(now);
  for (std::size_t i = 0; i < now.size(); ++i) {
    if (!now[i].ignored && !now[i].secret() && now[i].value != defaults[i].value)
      std::printf("%s=%s\n", std::string{now[i].name}.c_str(), now[i].value.c_str());
  }
}

/// What an operator should know before clients fail: an address they cannot use.
Result<broker::BrokerSetup> read_broker_config(const Common& common) {
  auto files = make_posix_files();
  std::vector<std::string> warnings;
  auto setup = broker::read_config(*files, common.config, common.lenient, warnings);
  for (const std::string& warning : warnings)
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  return setup;
}

void warn_of_address(Env& env, const std::string& host) {
  auto numeric = remoting::resolve(host);
  if (!numeric)
    env.log.warn("brokerIP1={} cannot be used by clients here: {}", host, numeric.error().detail);
  else if (remoting::is_loopback(*numeric))
    env.log.warn(
        "brokerIP1={} is a loopback address: only clients on this machine reach the broker", host);
}

/// The threads a broker.conf asks for.
Process::Options threads_of(const broker::BrokerSetup& setup, LogLevel level) {
  return {.io_threads = static_cast<std::size_t>(setup.server.io_threads),
          .io_spin = std::chrono::microseconds{setup.server.io_spin_us},
          .workers = static_cast<std::size_t>(setup.broker.worker_threads),
          .log_path = {},
          .log_level = level};
}

/// Requests that have to wait for the disk keep nothing else waiting.
std::unique_ptr<Executor> give_readers(broker::BrokerSetup& setup) {
  auto readers = make_thread_pool(static_cast<std::size_t>(setup.broker.worker_threads), "read");
  setup.readers = readers.get();
  return readers;
}

/// What the command line of `apogee server` may say.
struct ServerWords {
  std::string store = "./data", host;
  std::int32_t namesrv_port = kNameServerPort, broker_port = kBrokerPort;

  void add_to(CLI::App& app) {
    app.add_option("--store", store, "Directory of the store; over storePathRootDir of the file")
        ->type_name("DIR")
        ->capture_default_str();
    app.add_option("--namesrv-port", namesrv_port, "Port of the name server")
        ->check(CLI::Range(0, 65'535))
        ->capture_default_str();
    app.add_option("--broker-port", broker_port, "Port of the broker; over listenPort of the file")
        ->check(CLI::Range(0, 65'535))
        ->capture_default_str();
    app.add_option("--host", host,
                   "Address clients are told to use, over brokerIP1 of the file; listened on when "
                   "it is loopback; default: this machine's first address")
        ->type_name("ADDRESS");
  }
  /// A word that was given beats the file, and the file beats a default.
  void settle(const CLI::App& app, broker::BrokerSetup& setup) const {
    if (app.count("--store") > 0 || setup.store.root.empty()) setup.store.root = store;
    setup.store.root = absolute(setup.store.root);
    if (app.count("--broker-port") > 0 || setup.server.listen_port == 0)
      setup.server.listen_port = broker_port;
    std::string& told = setup.broker.broker_ip1;
    if (!host.empty()) told = host;
    if (told.empty()) told = remoting::advertised_address();
    const bool loopback = remoting::is_loopback(told) || told == "localhost";
    std::string& bind = setup.server.bind_address;
    if (loopback && (!host.empty() || bind == remoting::ServerConfig{}.bind_address))
      bind = "127.0.0.1";
    if (setup.broker.broker_name.empty()) setup.broker.broker_name = "broker-a";
  }
};

/// The broker registers at the name server beside it, and nowhere else.
void register_at(Env& env, Endpoint own, broker::BrokerSetup& setup) {
  if (own.host == remoting::ServerConfig{}.bind_address) own.host = "127.0.0.1";
  const std::string before = std::exchange(setup.broker.name_servers, to_string(own));
  if (!before.empty() && before != setup.broker.name_servers)
    env.log.warn("namesrvAddr={} is not used: this command brings its own name server, {}", before,
                 setup.broker.name_servers);
}

}  // namespace

int run_namesrv(std::span<const std::string> args) {
  CLI::App app{"The name server: tells clients which broker serves which topic.", "apogee namesrv"};
  Common common;
  common.add_to(app, "namesrv.conf");
  app.footer("Example:\n  apogee namesrv -c /etc/rocketmq/namesrv.conf");
  if (const int done = parse(app, args); done >= 0) return done;
  auto config = read_name_server_config(common);
  if (!config) return fail(config.error());
  if (common.print || common.print_important) {
    namesrv::Config defaults;
    print_config(common, config->options(), defaults.options());
    return 0;
  }
  Signals signals;
  Process process{{.io_threads = static_cast<std::size_t>(config->server.io_threads),
                   .io_spin = std::chrono::microseconds{config->server.io_spin_us},
                   .workers = 2,
                   .log_path = config->name_server.log_dir.empty()
                                   ? ""
                                   : config->name_server.log_dir + "/namesrv.log"}};
  auto server = namesrv::NameServer::start(process.env(), *config);
  if (!server) return fail(server.error());
  std::printf("ready: name server on port %d\n", (*server)->local().port);
  std::fflush(stdout);
  signals.wait();
  process.env().log.info("stopping");
  return 0;
}

int run_broker(std::span<const std::string> args) {
  CLI::App app{"A broker: stores messages and gives them to consumers.", "apogee broker"};
  Common common;
  common.add_to(app, "broker.conf");
  app.add_option("-n,--namesrvAddr", common.name_servers,
                 "Name servers, host:port separated by ';'")
      ->type_name("LIST");
  app.footer("Example:\n  apogee broker -c /etc/rocketmq/broker.conf -n 'ns1:9876;ns2:9876'");
  if (const int done = parse(app, args); done >= 0) return done;
  auto setup = read_broker_config(common);
  if (!setup) return fail(setup.error());
  if (!common.name_servers.empty()) setup->broker.name_servers = common.name_servers;
  if (const char* const env = std::getenv("NAMESRV_ADDR");
      setup->broker.name_servers.empty() && env != nullptr)
    setup->broker.name_servers = env;
  if (setup->store.root.empty()) setup->store.root = home_directory() + "/store";
  setup->store.root = absolute(setup->store.root);
  if (setup->server.listen_port == 0) setup->server.listen_port = kBrokerPort;
  if (common.print || common.print_important) {
    broker::BrokerSetup defaults;
    print_config(common, broker::options_of(*setup), broker::options_of(defaults));
    return 0;
  }
  Signals signals;
  Process process{threads_of(*setup, LogLevel::kInfo)};
  const auto readers = give_readers(*setup);
  if (!setup->broker.broker_ip1.empty()) warn_of_address(process.env(), setup->broker.broker_ip1);
  auto broker = broker::Broker::start(process.env(), *setup);
  if (!broker) return fail(broker.error());
  std::printf("ready: broker on port %d, store in %s\n", (*broker)->local().port,
              setup->store.root.c_str());
  std::fflush(stdout);
  signals.wait();
  process.env().log.info("stopping");
  (*broker)->stop();
  return 0;
}

int run_server(std::span<const std::string> args) {
  CLI::App app{"Name server and broker in one process.", "apogee server"};
  Common common;
  ServerWords words;
  words.add_to(app);
  app.add_option("-c,--configFile", common.config,
                 "broker.conf with further settings; its namesrvAddr is not used")
      ->type_name("FILE");
  app.add_flag("--lenient", common.lenient, kLenient);
  app.footer(
      "Examples:\n  apogee server\n  apogee server --store /var/lib/rocketmq --host 10.0.0.5");
  if (const int done = parse(app, args); done >= 0) return done;
  auto setup = read_broker_config(common);
  if (!setup) return fail(setup.error());
  words.settle(app, *setup);

  Signals signals;
  Process process{threads_of(*setup, LogLevel::kWarn)};
  const auto readers = give_readers(*setup);
  Env& env = process.env();
  namesrv::Config names;
  names.server.listen_port = words.namesrv_port;
  names.server.bind_address = setup->server.bind_address;
  names.name_server.kv_config_path = setup->store.root + "/namesrv/kvConfig.json";
  auto name_server = namesrv::NameServer::start(env, names);
  if (!name_server) return fail(name_server.error());
  register_at(env, (*name_server)->local(), *setup);
  auto broker = broker::Broker::start(env, *setup);
  if (!broker) return fail(broker.error());
  std::printf("ready: name server %s:%d, broker %s:%d, store %s\n",
              setup->broker.broker_ip1.c_str(), (*name_server)->local().port,
              setup->broker.broker_ip1.c_str(), (*broker)->local().port, setup->store.root.c_str());
  std::fflush(stdout);
  signals.wait();
  std::printf("stopping\n");
  (*broker)->stop();
  return 0;
}

}  // namespace apogee
