#include "main/bench.h"

#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <map>
#include <thread>

#include <CLI/CLI.hpp>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/histogram.h"
#include "base/transport.h"
#include "protocol/bodies.h"
#include "protocol/command.h"
#include "protocol/headers.h"
#include "protocol/message.h"

/// Each connection is one thread with a blocking socket, frames made ahead and only their opaque
/// patched, many of them in one write: the load must cost little beside the broker it measures.
namespace apogee {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string name_server, broker, topic = "apogee_bench";
  int connections = 4, in_flight = 64, queues = 16, size = 128, batch = 1, seconds = 10, count = 32;
  double rate = 0;  // messages a second over all connections; 0: as fast as answers come
  int broker_pid = 0;
  bool json = false, quiet = false;
};

/// A blocking connection that speaks frames.
class Wire {
 public:
  ~Wire() {
    if (socket_ >= 0) ::close(socket_);
  }
  Result<Ok> connect(const std::string& address) {
    auto endpoint = parse_endpoint(address);
    if (!endpoint) return endpoint.error();
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (::getaddrinfo(endpoint->host.c_str(), std::to_string(endpoint->port).c_str(), &hints,
                      &found) != 0)
      return Error{Errc::kNotFound, endpoint->host + " does not resolve"};
    socket_ = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool connected =
        socket_ >= 0 && ::connect(socket_, found->ai_addr, found->ai_addrlen) == 0;
    ::freeaddrinfo(found);
    if (!connected)
      return Error{Errc::kDisconnected,
                   "no connection to " + address + ": " + std::generic_category().message(errno)};
    const int on = 1;
    ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    timeval limit{.tv_sec = 10, .tv_usec = 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return Ok{};
  }
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  /// Reads once and hands every whole frame to `each`. False: the connection ended or nothing came
  /// in 10 s. With `wait` false returns true at once if nothing is there.
  template <class Each>
  bool receive(bool wait, Each each) {
    if (buffer_.size() - end_ < (64U << 10))
      buffer_.resize(std::max<std::size_t>(buffer_.size() * 2, 1 << 20));
    const ssize_t n =
        ::recv(socket_, buffer_.data() + end_, buffer_.size() - end_, wait ? 0 : MSG_DONTWAIT);
    if (n < 0 && !wait && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
    if (n <= 0) return false;
    end_ += static_cast<std::size_t>(n);
    std::size_t at = 0;
    for (;;) {
      auto frame = protocol::decode_frame(as_bytes(std::string_view{buffer_}.substr(at, end_ - at)),
                                          64 << 20);
      if (!frame) return false;
      if (!*frame) break;
      auto command = decoder_.decode(**frame);
      if (!command) return false;
      at += (*frame)->size;
      each(*command);
    }
    std::memmove(buffer_.data(), buffer_.data() + at, end_ - at);
    end_ -= at;
    return true;
  }
  /// One request, one answer: code and body.
  Result<std::pair<int, std::string>> call(const Buffer& frame) {
    if (!send(frame)) return Error{Errc::kDisconnected, "the connection ended"};
    std::optional<std::pair<int, std::string>> answer;
    while (!answer) {
      if (!receive(true, [&](const protocol::CommandView& command) {
            answer = {command.code, command.code == 0 ? std::string{as_text(command.body)}
                                                      : std::string{command.remark.value_or("")}};
          })) {
        return Error{Errc::kDisconnected, "no answer"};
      }
    }
    return *answer;
  }

 private:
  int socket_ = -1;
  std::string buffer_;
  std::size_t end_ = 0;
  protocol::CommandDecoder decoder_;
};

struct Outcome {
  Histogram latency_us;
  std::uint64_t messages = 0, requests = 0;
  std::map<int, std::uint64_t> errors;  // by response code; -1: connection lost
  void merge(const Outcome& other) {
    latency_us.merge(other.latency_us);
    messages += other.messages;
    requests += other.requests;
    for (const auto& [code, count] : other.errors) errors[code] += count;
  }
};

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

template <class Header>
Buffer frame_of(std::int32_t code, const Header& header, Bytes body = {}) {
  Buffer out;
  // Binary headers have the opaque at a fixed place: frame head 8, code 2, language 1, version 2.
  protocol::encode_command(
      out, {.code = code, .opaque = 0, .serialization = protocol::Serialization::kBinary}, header,
      body);
  return out;
}
constexpr std::size_t kOpaqueAt = 8 + 2 + 1 + 2;
void set_opaque(Buffer& frame, std::int32_t opaque, std::size_t at = 0) {
  write_big<std::int32_t>(std::as_writable_bytes(std::span{frame.data(), frame.size()}),
                          at + kOpaqueAt, opaque);
}

Result<std::string> find_broker(const Options& options) {
  if (!options.broker.empty()) return options.broker;
  Wire wire;
  if (auto connected = wire.connect(options.name_server); !connected) return connected.error();
  Buffer frame;
  protocol::encode_command(frame,
                           {.code = protocol::request_code::kGetBrokerClusterInfo, .opaque = 1},
                           protocol::NoFields{});
  auto answer = wire.call(frame);
  if (!answer) return answer.error();
  auto info = protocol::decode_body<protocol::ClusterInfo>(std::string_view{answer->second});
  if (!info) return info.error();
  for (const auto& [name, data] : info->broker_address_table) {
    if (const auto master = data.broker_addresses.find(0); master != data.broker_addresses.end())
      return master->second;
  }
  return Error{Errc::kNotFound, "the name server " + options.name_server + " knows no broker"};
}

Result<Ok> create_topic(const Options& options, const std::string& broker) {
  Wire wire;
  if (auto connected = wire.connect(broker); !connected) return connected.error();
  const protocol::CreateTopicRequest header{.topic = options.topic,
                                            .default_topic = std::string{protocol::kDefaultTopic},
                                            .read_queue_nums = options.queues,
                                            .write_queue_nums = options.queues,
                                            .perm = 6,
                                            .topic_filter_type = "SINGLE_TAG",
                                            .topic_sys_flag = 0,
                                            .order = false};
  Buffer frame;
  protocol::encode_command(frame, {.code = protocol::CreateTopicRequest::kCode, .opaque = 1},
                           header);
  auto answer = wire.call(frame);
  if (!answer) return answer.error();
  if (answer->first != 0)
    return Error{
        Errc::kRefused,
        "the topic was not created: code " + std::to_string(answer->first) + " " + answer->second,
        answer->first};
  return Ok{};
}

std::vector<Buffer> send_frames(const Options& options) {
  const std::string body(static_cast<std::size_t>(options.size), 'x');
  std::vector<Buffer> frames;
  for (int queue = 0; queue < options.queues; ++queue) {
    Buffer properties;
    protocol::append_property(properties, protocol::property::kUniqueKey,
                              "7F0000010B5A18B4AAC2000000000000");
    protocol::append_property(properties, protocol::property::kWait, "true");
    protocol::SendMessageV2 header{};
    header.producer_group = "apogee_bench";
    header.topic = options.topic;
    header.default_topic = protocol::kDefaultTopic;
    header.queue_id = queue;
    header.born_timestamp = std::chrono::duration_cast<std::chrono::milliseconds>(
                                std::chrono::system_clock::now().time_since_epoch())
                                .count();
    header.properties = properties;
    header.reconsume_times = 0;
    header.unit_mode = false;
    header.batch = options.batch > 1;
    if (options.batch == 1) {
      frames.push_back(frame_of(protocol::request_code::kSendMessageV2, header, as_bytes(body)));
      continue;
    }
    Buffer members;
    for (int i = 0; i < options.batch; ++i)
      protocol::append_batch_member(members,
                                    {.flag = 0, .body = as_bytes(body), .properties = properties});
    frames.push_back(
        frame_of(protocol::request_code::kSendBatchMessage, header, as_bytes(members)));
  }
  return frames;
}

/// One connection's share of the load. `progress` counts answered messages for the live line.
void send_load(const Options& options, const std::string& broker, int number, Clock::time_point end,
               Outcome& outcome, std::atomic<std::uint64_t>& progress) {
  Wire wire;
  if (auto connected = wire.connect(broker); !connected) {
    outcome.errors[-1]++;
    return;
  }
  std::vector<Buffer> frames = send_frames(options);
  const auto window = static_cast<std::size_t>(options.in_flight);
  std::vector<Clock::time_point> due(window);  // when the request in this slot should have left
  std::vector<std::int32_t> free_slots;
  for (std::size_t i = 0; i < window; ++i) free_slots.push_back(static_cast<std::int32_t>(i));
  const bool paced = options.rate > 0;
  const auto period =
      paced ? std::chrono::duration_cast<Clock::duration>(
                  std::chrono::duration<double>(options.connections * options.batch / options.rate))
            : Clock::duration{};
  auto next_due = Clock::now() + period * number / std::max(options.connections, 1);
  std::size_t next_frame = static_cast<std::size_t>(number);
  Buffer out;
  while (true) {
    auto now = Clock::now();
    if (now >= end && free_slots.size() == window) break;
    out.clear();
    while (now < end && !free_slots.empty() && (!paced || next_due <= now)) {
      const std::int32_t slot = free_slots.back();
      free_slots.pop_back();
      // Open loop: waiting for a free slot counts as latency too, from the moment the request was
      // due.
      due[static_cast<std::size_t>(slot)] = paced ? next_due : now;
      if (paced) next_due += period;
      const Buffer& frame = frames[next_frame++ % frames.size()];
      const std::size_t at = out.size();
      out += frame;
      set_opaque(out, slot, at);
    }
    if (!out.empty() && !wire.send(out)) break;
    const bool nothing_out = free_slots.size() == window;
    if (nothing_out) {
      if (paced && next_due > now) std::this_thread::sleep_until(std::min(next_due, end));
      continue;
    }
    // Paced senders look without waiting when the next request is due soon.
    const bool wait = !paced || free_slots.empty() || now >= end ||
                      next_due - now > std::chrono::microseconds{300};
    if (paced && !wait && next_due > now) std::this_thread::yield();
    const bool good = wire.receive(
        paced && next_due - now < std::chrono::milliseconds{50} && now < end && !free_slots.empty()
            ? false
            : wait,
        [&](const protocol::CommandView& answer) {
          const auto slot = static_cast<std::size_t>(answer.opaque);
          if (slot >= window) return;
          const auto took =
              std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - due[slot])
                  .count();
          ++outcome.requests;
          if (answer.code == 0) {
            outcome.latency_us.record(static_cast<std::uint64_t>(std::max<std::int64_t>(took, 0)));
            outcome.messages += static_cast<std::uint64_t>(options.batch);
            progress.fetch_add(static_cast<std::uint64_t>(options.batch),
                               std::memory_order_relaxed);
          } else {
            ++outcome.errors[answer.code];
          }
          free_slots.push_back(answer.opaque);
        });
    if (!good) {
      ++outcome.errors[-1];
      break;
    }
  }
}

/// Pulls queues round and round from their beginning: each connection has its own share of them.
void pull_load(const Options& options, const std::string& broker, int number, Clock::time_point end,
               Outcome& outcome, std::atomic<std::uint64_t>& progress) {
  Wire wire;
  if (auto connected = wire.connect(broker); !connected) {
    outcome.errors[-1]++;
    return;
  }
  std::vector<int> queues;
  for (int queue = number; queue < options.queues; queue += options.connections)
    queues.push_back(queue);
  if (queues.empty()) queues.push_back(number % options.queues);
  std::map<int, std::int64_t> offsets;
  for (std::size_t turn = 0; Clock::now() < end; ++turn) {
    const int queue = queues[turn % queues.size()];
    protocol::PullMessageRequest header{};
    header.consumer_group = "apogee_bench";
    header.topic = options.topic;
    header.queue_id = queue;
    header.queue_offset = offsets[queue];
    header.max_messages = options.count;
    header.sys_flag = protocol::pull_flag::kSubscription;
    header.commit_offset = 0;
    header.suspend_timeout_ms = 0;
    header.subscription = "*";
    header.sub_version = 0;
    header.expression_type = "TAG";
    const Buffer frame = frame_of(protocol::request_code::kPullMessage, header);
    const auto began = Clock::now();
    if (!wire.send(frame)) break;
    bool answered = false;
    while (!answered) {
      const bool good = wire.receive(true, [&](const protocol::CommandView& answer) {
        answered = true;
        ++outcome.requests;
        if (answer.code == 0) {
          auto response = protocol::read_header<protocol::PullMessageResponse>(answer);
          std::uint64_t count = 0;
          for (Bytes rest = answer.body; rest.size() >= 4; ++count) {
            const auto size = static_cast<std::size_t>(read_big<std::uint32_t>(rest));
            if (size == 0 || size > rest.size()) break;
            rest = rest.subspan(size);
          }
          outcome.messages += count;
          progress.fetch_add(count, std::memory_order_relaxed);
          if (response) offsets[queue] = response->next_begin_offset;
          outcome.latency_us.record(static_cast<std::uint64_t>(
              std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - began).count()));
        } else if (answer.code == protocol::response_code::kPullNotFound ||
                   answer.code == protocol::response_code::kPullOffsetMoved) {
          offsets[queue] = 0;  // once more from the beginning
        } else {
          ++outcome.errors[answer.code];
        }
      });
      if (!good) {
        ++outcome.errors[-1];
        return;
      }
    }
  }
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

}  // namespace

int run_bench(std::span<const std::string> args) {
  CLI::App app{"Load for a broker: how much it takes, how fast it answers.", "apogee bench"};
  Options options;
  app.require_subcommand(1);
  CLI::App* const send = app.add_subcommand("send", "Send messages");
  CLI::App* const pull = app.add_subcommand(
      "pull", "Pull what `bench send` has stored, again and again from the beginning");
  for (CLI::App* each : {send, pull}) {
    each->add_option("-n,--namesrvAddr", options.name_server, "Name server to find the broker by")
        ->type_name("HOST:PORT");
    each->add_option("-b,--broker", options.broker, "Broker, instead of asking a name server")
        ->type_name("HOST:PORT");
    each->add_option("-t,--topic", options.topic, "Topic; created when sending")
        ->capture_default_str();
    each->add_option("-c,--connections", options.connections, "Connections, each with a thread")
        ->check(CLI::Range(1, 1'000))
        ->capture_default_str();
    each->add_option("-q,--queues", options.queues, "Queues of the topic")
        ->check(CLI::Range(1, 10'000))
        ->capture_default_str();
    each->add_option("-d,--duration", options.seconds, "Seconds")
        ->check(CLI::Range(1, 86'400))
        ->capture_default_str();
    each->add_option("--broker-pid", options.broker_pid,
                     "Process of the broker on this machine: its CPU and memory are shown");
    each->add_flag("--json", options.json, "One JSON object instead of text");
    each->add_flag("--quiet", options.quiet, "No progress line");
  }
  send->add_option("-f,--in-flight", options.in_flight,
                   "Requests waiting for an answer, per connection")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  send->add_option("-s,--size", options.size, "Bytes of a body")
      ->check(CLI::Range(1, 4 << 20))
      ->capture_default_str();
  send->add_option("--batch", options.batch, "Messages of one request")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  send->add_option("-r,--rate", options.rate,
                   "Messages a second over all connections; latency then counts from when a "
                   "request was due. 0: as fast as answers come")
      ->capture_default_str();
  pull->add_option("--count", options.count, "Messages asked for by one pull")
      ->check(CLI::Range(1, 1'024))
      ->capture_default_str();
  app.footer(
      "Examples:\n  apogee bench send -n 127.0.0.1:9876\n  apogee bench send -b 127.0.0.1:10911 -c "
      "1 -f 1 -d 5      one request at a time\n"
      "  apogee bench send -n 127.0.0.1:9876 -r 10000 -s 1024      steady, latency free of "
      "coordinated omission\n  apogee bench pull -n 127.0.0.1:9876");
  try {
    app.parse(std::vector<std::string>{args.rbegin(), args.rend()});
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (options.name_server.empty() && options.broker.empty()) {
    std::fprintf(stderr, "apogee bench: say where the broker is: -n NAME_SERVER or -b BROKER\n");
    return 2;
  }
  const auto fail = [](const Error& error) {
    std::fprintf(stderr, "apogee bench: %s\n", error.detail.c_str());
    return 1;
  };
  auto broker = find_broker(options);
  if (!broker) return fail(broker.error());
  const bool sending = send->parsed();
  if (sending) {
    if (auto created = create_topic(options, *broker); !created) return fail(created.error());
  }
  std::vector<Outcome> outcomes(static_cast<std::size_t>(options.connections));
  std::vector<std::thread> threads;
  std::atomic<std::uint64_t> progress{0};
  std::atomic<int> running{options.connections};
  const Usage before = usage_of(options.broker_pid);
  const auto began = Clock::now();
  const auto end = began + std::chrono::seconds{options.seconds};
  for (int i = 0; i < options.connections; ++i) {
    threads.emplace_back([&, i] {
      (sending ? send_load : pull_load)(options, *broker, i, end,
                                        outcomes[static_cast<std::size_t>(i)], progress);
      running.fetch_sub(1);
    });
  }
  const bool live = !options.quiet && !options.json && ::isatty(STDERR_FILENO) != 0;
  for (std::uint64_t last = 0; live && running.load() > 0;) {
    std::this_thread::sleep_for(std::chrono::seconds{1});
    const std::uint64_t now = progress.load();
    std::fprintf(stderr, "\r  %4.0f s  %10" PRIu64 " messages  %9" PRIu64 " a second ",
                 std::chrono::duration<double>(Clock::now() - began).count(), now, now - last);
    last = now;
  }
  if (live) std::fprintf(stderr, "\r%60s\r", "");
  for (std::thread& thread : threads) thread.join();
  const double seconds = std::chrono::duration<double>(std::min(Clock::now(), end) - began).count();
  Usage used = usage_of(options.broker_pid);
  used.cpu_seconds -= before.cpu_seconds;
  Outcome all;
  for (const Outcome& each : outcomes) all.merge(each);
  (options.json ? print_json : print_text)(options, sending ? "send" : "pull", all, seconds, used);
  return all.errors.empty() && all.messages > 0 ? 0 : 1;
}

}  // namespace apogee
