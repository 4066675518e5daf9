// Many messages in one request: all are stored or none.
#include <vector>

#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  auto producer = must(client.producer({.group = "checkout"}));

  std::vector<apogee::Message> batch;
  for (int i = 0; i < 50; ++i) batch.push_back({.topic = "orders", .body = std::to_string(i)});
  auto sent = producer.send(std::span<const apogee::Message>{batch}, 3s);
  if (!sent) fail(sent.error());

  std::printf("50 messages from offset %lld of %s\n", static_cast<long long>(sent->queue_offset),
              to_string(sent->queue).c_str());
}
