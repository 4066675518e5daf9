// latency NAME_SERVER TOPIC BYTES SECONDS RATE: a producer sends so many messages a second, a push
// consumer of the same process says how long after its moment each message was there. Sends are
// due by the clock, not by the answers: a message that had to wait for others counts from when it
// was due. Latency.java does the same.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include <apogee/client.h>

using namespace std::chrono_literals;
using Time = std::chrono::steady_clock;

namespace {

constexpr auto kWarmUp = 3s;

struct Latencies {
  std::mutex mutex;
  std::vector<double> us;

  double at(double part) {
    std::lock_guard lock{mutex};
    if (us.empty()) return 0;
    std::ranges::sort(us);
    return us[static_cast<std::size_t>(part * static_cast<double>(us.size() - 1))];
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6)
    return std::fprintf(stderr, "usage: %s NAME_SERVER TOPIC BYTES SECONDS RATE\n", argv[0]), 2;
  const std::string topic = argv[2];
  const auto bytes = static_cast<std::size_t>(std::atoi(argv[3]));
  const auto period = std::chrono::duration_cast<Time::duration>(1s) / std::atoi(argv[5]);
  auto client = apogee::Client::start({.name_servers = {argv[1]}});
  if (!client) return std::fprintf(stderr, "%s\n", client.error().detail.c_str()), 1;
  auto producer = client->producer({.group = "latency"});
  if (!producer) return std::fprintf(stderr, "%s\n", producer.error().detail.c_str()), 1;
  (void)producer->send({.topic = topic, .body = "0 "}, 3s);  // makes the topic

  Latencies latencies;
  std::atomic<long> seen{0}, failed{0};
  const auto measured_from = Time::now() + kWarmUp;
  auto consumer = client->push_consumer(
      {.group = "latency",
       .subscriptions = {{topic}},
       .on_messages = [&](std::span<const apogee::ReceivedMessage> batch) {
         const auto now = Time::now();
         for (const auto& each : batch) {
           const Time::time_point due{Time::duration{std::atoll(each.body.c_str())}};
           if (due < measured_from) continue;
           std::lock_guard lock{latencies.mutex};
           latencies.us.push_back(std::chrono::duration<double, std::micro>(now - due).count());
           ++seen;
         }
         return apogee::Consumed::kDone;
       }});
  if (!consumer) return std::fprintf(stderr, "%s\n", consumer.error().detail.c_str()), 1;

  const auto end = measured_from + std::chrono::duration_cast<Time::duration>(
                                       std::chrono::duration<double>{std::atof(argv[4])});
  long sent = 0;
  for (auto due = Time::now(); due < end; due += period) {
    std::this_thread::sleep_until(due);
    std::string body = std::to_string(due.time_since_epoch().count()) + ' ';
    body.resize(std::max(bytes, body.size()), 'x');
    producer->send({.topic = topic, .body = std::move(body)}, 3s,
                   [&](const apogee::Result<apogee::SendReceipt>& result) {
                     if (!result) ++failed;
                   });
    if (due >= measured_from) ++sent;
  }
  for (int i = 0; i < 50 && seen < sent; ++i) std::this_thread::sleep_for(100ms);
  consumer->shutdown();
  std::printf(
      "{\"messages\": %ld, \"failed\": %ld, \"p50_us\": %.0f, \"p99_us\": %.0f, \"p999_us\": "
      "%.0f}\n",
      seen.load(), failed.load() + (sent - seen.load()), latencies.at(0.5), latencies.at(0.99),
      latencies.at(0.999));
}
