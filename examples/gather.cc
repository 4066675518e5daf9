// Batches without making them: what is sent within a few milliseconds travels together.
#include <latch>

#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  auto producer =
      must(client.producer({.group = "checkout", .batch_delay = 10ms, .batch_bytes = 32 << 10}));

  std::latch answered{500};
  for (int i = 0; i < 500; ++i)
    producer.send({.topic = "orders", .body = std::to_string(i)}, 5s,
                  [&](auto) { answered.count_down(); });
  answered.wait();

  std::printf("500 messages in %llu requests\n",
              static_cast<unsigned long long>(producer.statistics().sent));
}
