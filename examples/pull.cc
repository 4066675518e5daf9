// Every request is the program's: this queue, from this offset.
#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  auto producer = must(client.producer({.group = "checkout"}));
  for (int i = 0; i < 8; ++i) must(producer.send({.topic = "orders", .body = "hello"}, 3s));

  auto consumer = must(client.pull_consumer({.group = "audit"}));
  for (const auto& queue : must(consumer.queues("orders"))) {
    const auto known = must(consumer.fetch_offset(queue, true));
    auto pulled = must(consumer.pull(queue, apogee::all(), known.value_or(0), 32));
    for (const auto& message : pulled.messages) std::printf("%s\n", message.body.c_str());
    consumer.update_offset(queue, pulled.next_offset);  // stored at the broker soon
  }
}
