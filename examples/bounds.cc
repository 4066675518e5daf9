// Bounds on what is in flight: a send beyond them waits until its deadline, then fails with kBusy.
#include <atomic>
#include <latch>

#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  auto producer = must(
      client.producer({.group = "checkout", .max_in_flight = 64, .max_in_flight_bytes = 8 << 20}));

  std::atomic<int> busy{0};
  std::latch answered{5'000};
  for (int i = 0; i < 5'000; ++i)
    producer.send({.topic = "orders", .body = "x"}, 10s,
                  [&](apogee::Result<apogee::SendReceipt> sent) {
                    if (!sent && sent.error().code == apogee::Errc::kBusy) ++busy;
                    answered.count_down();
                  });
  answered.wait();
  std::printf("%d found no room in time\n", busy.load());
}
