// load NAME_SERVER TOPIC BYTES SECONDS MODE [WARM_UP_SECONDS]: sends with the public API; MODE is
// sync, sync8 (threads) or async (256 in flight). Prints messages, messages a second and CPU of
// this process a message, as one line of JSON. Load.java and go/main.go do the same.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include <apogee/client.h>
#include <semaphore.h>
#include <sys/resource.h>

using namespace std::chrono_literals;
using Time = std::chrono::steady_clock;

namespace {

constexpr int kInFlight = 256;

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// Places for so many; one thread takes them. It is woken once by the first that comes free, not by
/// each until it runs, as a bare semaphore of glibc does (std::counting_semaphore of GCC 12 turns
/// in circles before it sleeps).
class Places {
 public:
  explicit Places(int count) : free_{count} { sem_init(&woken_, 0, 0); }
  ~Places() { sem_destroy(&woken_); }
  Places(const Places&) = delete;
  void take() {
    if (free_.fetch_sub(1) <= 0) sem_wait(&woken_);
  }
  void give() {
    if (free_.fetch_add(1) < 0) sem_post(&woken_);
  }

 private:
  std::atomic<int> free_;
  sem_t woken_;
};

struct Load {
  apogee::Producer& producer;
  const std::string topic, body;
  std::atomic<long> failed{0};

  long one_by_one(Time::time_point end) {
    long sent = 0;
    const apogee::Message message{.topic = topic, .body = body};
    for (; Time::now() < end; ++sent)
      if (!producer.send(message, 3s)) ++failed;
    return sent;
  }

  long eight_threads(Time::time_point end) {
    std::atomic<long> sent{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) threads.emplace_back([&] { sent += one_by_one(end); });
    for (auto& each : threads) each.join();
    return sent;
  }

  long many_in_flight(Time::time_point end) {
    Places room{kInFlight};
    long sent = 0;
    for (; Time::now() < end; ++sent) {
      room.take();
      producer.send({.topic = topic, .body = body}, 3s,
                    [&](const apogee::Result<apogee::SendReceipt>& result) {
                      if (!result) ++failed;
                      room.give();
                    });
    }
    for (int i = 0; i < kInFlight; ++i) room.take();
    return sent;
  }

  long run(const std::string& mode, double seconds) {
    const auto end = Time::now() + std::chrono::duration_cast<Time::duration>(
                                       std::chrono::duration<double>{seconds});
    return mode == "sync"    ? one_by_one(end)
           : mode == "sync8" ? eight_threads(end)
                             : many_in_flight(end);
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6)
    return std::fprintf(stderr,
                        "usage: %s NAME_SERVER TOPIC BYTES SECONDS MODE [WARM_UP_SECONDS]\n",
                        argv[0]),
           2;
  auto client = apogee::Client::start({.name_servers = {argv[1]}});
  if (!client) return std::fprintf(stderr, "%s\n", client.error().detail.c_str()), 1;
  auto producer = client->producer({.group = "load", .compress_over_bytes = 64 << 20});
  if (!producer) return std::fprintf(stderr, "%s\n", producer.error().detail.c_str()), 1;
  Load load{*producer, argv[2], std::string(static_cast<std::size_t>(std::atoi(argv[3])), 'x')};
  const std::string mode = argv[5];
  load.run(mode, argc > 6 ? std::atof(argv[6]) : 1);
  load.failed = 0;
  const double cpu = cpu_seconds();
  const auto began = Time::now();
  const long sent = load.run(mode, std::atof(argv[4]));
  const double took = std::chrono::duration<double>(Time::now() - began).count();
  std::printf("{\"messages\": %ld, \"failed\": %ld, \"a_second\": %.0f, \"cpu_us\": %.3f}\n", sent,
              load.failed.load(), static_cast<double>(sent) / took,
              (cpu_seconds() - cpu) / static_cast<double>(sent) * 1e6);
}
