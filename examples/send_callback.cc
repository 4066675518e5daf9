// Sends a thousand messages without waiting for each.
#include <atomic>
#include <latch>

#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  auto producer = must(client.producer({.group = "checkout"}));

  constexpr int kMessages = 1'000;
  std::atomic<int> stored{0};
  std::latch answered{kMessages};
  for (int i = 0; i < kMessages; ++i)
    producer.send({.topic = "orders", .body = std::to_string(i)}, 5s,
                  [&](apogee::Result<apogee::SendReceipt> sent) {
                    if (sent) ++stored;  // an io thread: don't block here
                    answered.count_down();
                  });
  answered.wait();

  std::printf("%d of %d stored\n", stored.load(), kMessages);
  return stored == kMessages ? 0 : 1;
}
