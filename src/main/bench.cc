#include "main/bench.h"

#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <thread>

#include <CLI/CLI.hpp>
#include <sys/prctl.h>
#include <unistd.h>

#include "main/bench_loads.h"
#include "protocol/json.h"

namespace apogee {
namespace {

using bench::Options;
using bench::Outcome;

/// CPU seconds and resident memory of a process, from /proc.
struct Usage {
  double cpu_seconds = 0;
  std::int64_t resident_kib = 0, anonymous_kib = 0;
};
Usage usage_of(int pid) {
  Usage usage;
  if (pid <= 0) return usage;
  std::ifstream stat{"/proc/" + std::to_string(pid) + "/stat"};
  std::string text((std::istreambuf_iterator<char>(stat)), {});
  const auto close = text.rfind(')');
  if (close == std::string::npos) return usage;
  std::istringstream fields{text.substr(close + 2)};
  std::string skipped;
  double user = 0, system = 0;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  fields >> user >> system;
  usage.cpu_seconds = (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  std::ifstream status{"/proc/" + std::to_string(pid) + "/status"};
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) usage.resident_kib = std::stoll(line.substr(6));
    if (line.starts_with("RssAnon:")) usage.anonymous_kib = std::stoll(line.substr(8));
  }
  return usage;
}

void print_text(const Options& options, const char* mode, const Outcome& all, double seconds,
                const Usage& used) {
  const auto ms = [](std::uint64_t us) { return static_cast<double>(us) / 1000.0; };
  std::printf("%s: %" PRIu64 " messages in %.1f s: %.0f a second", mode, all.messages, seconds,
              static_cast<double>(all.messages) / seconds);
  std::printf(" (%d connections x %d in flight, %d B%s%s)\n", options.connections,
              options.in_flight, options.size, options.batch > 1 ? ", batches of " : "",
              options.batch > 1 ? std::to_string(options.batch).c_str() : "");
  std::printf(
      "  latency of a request, ms:  p50 %.3f  p90 %.3f  p99 %.3f  p99.9 %.3f  p99.99 %.3f  max "
      "%.3f\n",
      ms(all.latency_us.quantile(.5)), ms(all.latency_us.quantile(.9)),
      ms(all.latency_us.quantile(.99)), ms(all.latency_us.quantile(.999)),
      ms(all.latency_us.quantile(.9999)), ms(all.latency_us.max()));
  if (options.broker_pid > 0 && all.messages > 0) {
    std::printf("  broker: %.2f us CPU a message, %.1f MiB resident, %.1f MiB of it anonymous\n",
                used.cpu_seconds * 1e6 / static_cast<double>(all.messages),
                static_cast<double>(used.resident_kib) / 1024,
                static_cast<double>(used.anonymous_kib) / 1024);
  }
  for (const auto& [code, count] : all.errors)
    std::printf("  errors: %" PRIu64 " x %s\n", count,
                code < 0 ? "connection lost" : ("code " + std::to_string(code)).c_str());
}

void print_json(const Options& options, const char* mode, const Outcome& all, double seconds,
                const Usage& used) {
  using protocol::Json;
  const auto number = [](double value) { return Json{Json::Value{value}}; };
  Json json = Json::object();
  json.set("mode", Json{Json::Value{std::string{mode}}});
  json.set("connections", number(options.connections));
  json.set("inFlight", number(options.in_flight));
  json.set("size", number(options.size));
  json.set("batch", number(options.batch));
  json.set("rate", number(options.rate));
  json.set("seconds", number(seconds));
  json.set("messages", number(static_cast<double>(all.messages)));
  json.set("perSecond", number(static_cast<double>(all.messages) / seconds));
  Json latency = Json::object();
  for (const auto& [name, part] : {std::pair{"p50", .5},
                                   {"p90", .9},
                                   {"p99", .99},
                                   {"p99.9", .999},
                                   {"p99.99", .9999},
                                   {"max", 1.0}})
    latency.set(name, number(static_cast<double>(all.latency_us.quantile(part))));
  json.set("latencyUs", std::move(latency));
  if (options.broker_pid > 0) {
    json.set(
        "brokerCpuUsPerMessage",
        number(all.messages == 0 ? 0 : used.cpu_seconds * 1e6 / static_cast<double>(all.messages)));
    json.set("brokerResidentKiB", number(static_cast<double>(used.resident_kib)));
    json.set("brokerAnonymousKiB", number(static_cast<double>(used.anonymous_kib)));
  }
  Json errors = Json::object();
  for (const auto& [code, count] : all.errors)
    errors.set(std::to_string(code), number(static_cast<double>(count)));
  json.set("errors", std::move(errors));
  std::printf("%s\n", write_json(json, protocol::JsonStyle::kStandard).c_str());
}

/// What can be measured.
struct Load {
  const char* name;
  const char* summary;
  void (*run)(const bench::Share&);
  int in_flight;  // per connection, unless -f says otherwise
  double rate;  // messages a second, unless -r says otherwise; 0: as fast as answers come, else it
                // needs one
  bool makes_topic;  // else it must be there
};
constexpr Load kLoads[] = {
    {"send", "Send messages", bench::send_load, 64, 0, true},
    {"pull", "Pull what `bench send` has stored, again and again from the beginning",
     bench::pull_load, 1, 0, false},
    {"e2e", "From producer to consumer: send at a rate, receive by long polling",
     bench::end_to_end_load, 1, 1'000, true},
    {"route", "Ask the name server for the topic's route", bench::route_load, 1, 0, false},
};

constexpr const char* kExamples =
    "Examples:\n"
    "  apogee bench send -n 127.0.0.1:9876\n"
    "  apogee bench send -b 127.0.0.1:10911 -c 1 -f 1 -d 5      one request at a time\n"
    "  apogee bench send -n 127.0.0.1:9876 -r 10000 -s 1024     steady, latency free of "
    "coordinated "
    "omission\n"
    "  apogee bench pull -n 127.0.0.1:9876 -c 4 -f 4\n"
    "  apogee bench e2e -n 127.0.0.1:9876 -r 2000               from producer to consumer\n"
    "  apogee bench route -n 127.0.0.1:9876";

void add_options(CLI::App& command, Options& options) {
  command.add_option("-n,--namesrvAddr", options.name_server, "Name server to find the broker by")
      ->type_name("HOST:PORT");
  command.add_option("-b,--broker", options.broker, "Broker, instead of asking a name server")
      ->type_name("HOST:PORT");
  command.add_option("-t,--topic", options.topic, "Topic; created when sending")
      ->capture_default_str();
  command.add_option("-c,--connections", options.connections, "Connections, each with a thread")
      ->check(CLI::Range(1, 1'000))
      ->capture_default_str();
  command
      .add_option("-f,--in-flight", options.in_flight,
                  "Requests waiting for an answer, per connection (send: 64, else 1)")
      ->check(CLI::Range(1, 100'000));
  command.add_option("-q,--queues", options.queues, "Queues of the topic")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  command.add_option("-s,--size", options.size, "Bytes of a body")
      ->check(CLI::Range(8, 4 << 20))
      ->capture_default_str();
  command.add_option("--batch", options.batch, "send: messages of one request")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  command.add_option("--count", options.count, "pull: messages asked for by one pull")
      ->check(CLI::Range(1, 1'024))
      ->capture_default_str();
  command
      .add_option("-r,--rate", options.rate,
                  "Messages a second over all connections; latency then counts from when a request "
                  "was due (e2e: 1000, else as fast as answers come)")
      ->check(CLI::Range(0.0, 1e8));
  command.add_option("-d,--duration", options.seconds, "Seconds")
      ->check(CLI::Range(1, 86'400))
      ->capture_default_str();
  command.add_option("--broker-pid", options.broker_pid,
                     "Process of the server on this machine: its CPU and memory are shown");
  command.add_flag("--json", options.json, "One JSON object instead of text");
  command.add_flag("--quiet", options.quiet, "No progress line");
}

void show_progress(std::chrono::steady_clock::time_point began,
                   const std::atomic<std::uint64_t>& progress, const std::atomic<int>& running) {
  for (std::uint64_t last = 0; running.load() > 0;) {
    std::this_thread::sleep_for(std::chrono::seconds{1});
    const std::uint64_t now = progress.load();
    std::fprintf(stderr, "\r  %4.0f s  %10" PRIu64 " messages  %9" PRIu64 " a second ",
                 std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count(),
                 now, now - last);
    last = now;
  }
  std::fprintf(stderr, "\r%60s\r", "");
}

int measure(const Load& load, const Options& options, const std::string& to) {
  std::vector<Outcome> outcomes(static_cast<std::size_t>(options.connections));
  std::vector<std::thread> threads;
  std::atomic<std::uint64_t> progress{0};
  std::atomic<int> running{options.connections};
  // A request must leave when it is due, not up to the usual 50 us later. Threads inherit it.
  ::prctl(PR_SET_TIMERSLACK, 1UL);
  const Usage before = usage_of(options.broker_pid);
  const auto began = std::chrono::steady_clock::now();
  const auto end = began + std::chrono::seconds{options.seconds};
  for (int i = 0; i < options.connections; ++i) {
    threads.emplace_back([&, i] {
      load.run({options, to, i, end, outcomes[static_cast<std::size_t>(i)], progress});
      running.fetch_sub(1);
    });
  }
  if (!options.quiet && !options.json && ::isatty(STDERR_FILENO) != 0)
    show_progress(began, progress, running);
  for (std::thread& thread : threads) thread.join();
  const double seconds =
      std::chrono::duration<double>(std::min(std::chrono::steady_clock::now(), end) - began)
          .count();
  Usage used = usage_of(options.broker_pid);
  used.cpu_seconds -= before.cpu_seconds;
  Outcome all;
  for (const Outcome& each : outcomes) all.merge(each);
  (options.json ? print_json : print_text)(options, load.name, all, seconds, used);
  return all.errors.empty() && all.messages > 0 ? 0 : 1;
}

}  // namespace

std::string bench_names() {
  std::string names;
  for (const Load& each : kLoads) names += (names.empty() ? "" : " ") + std::string{each.name};
  return names;
}

int run_bench(std::span<const std::string> args) {
  CLI::App app{"Load for a broker: how much it takes, how fast it answers.", "apogee bench"};
  Options options;
  options.in_flight = 0;
  options.rate = -1;
  app.require_subcommand(1);
  for (const Load& load : kLoads)
    add_options(*app.add_subcommand(load.name, load.summary), options);
  app.footer(kExamples);
  try {
    app.parse(std::vector<std::string>{args.rbegin(), args.rend()});
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const auto load = std::ranges::find_if(
      kLoads, [&](const Load& each) { return app.get_subcommand(each.name)->parsed(); });
  if (options.in_flight == 0) options.in_flight = load->in_flight;
  if (options.rate < 0) options.rate = load->rate;
  if (options.rate == 0 && load->rate > 0) {
    std::fprintf(stderr, "apogee bench %s: -r 0: it needs a rate\n", load->name);
    return 2;
  }
  const bool asks_name_server = load->run == bench::route_load;
  if (options.name_server.empty() && (options.broker.empty() || asks_name_server)) {
    std::fprintf(stderr,
                 asks_name_server
                     ? "apogee bench: say where the name server is: -n NAME_SERVER\n"
                     : "apogee bench: say where the broker is: -n NAME_SERVER or -b BROKER\n");
    return 2;
  }
  const auto fail = [](const Error& error) {
    std::fprintf(stderr, "apogee bench: %s\n", error.detail.c_str());
    return 1;
  };
  if (asks_name_server) return measure(*load, options, options.name_server);
  auto broker = find_broker(options);
  if (!broker) return fail(broker.error());
  if (load->makes_topic) {
    if (auto created = create_topic(options, *broker); !created) return fail(created.error());
  }
  return measure(*load, options, *broker);
}

}  // namespace apogee
