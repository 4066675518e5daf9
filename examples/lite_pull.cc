// Asks for messages when it wants some; the client has pulled ahead.
#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  auto producer = must(client.producer({.group = "checkout"}));
  for (int i = 0; i < 8; ++i) must(producer.send({.topic = "orders", .body = "hello"}, 3s));

  auto consumer = must(client.lite_pull_consumer(
      {.group = "reports", .from = apogee::StartFrom::kFirst, .auto_commit = false}));
  must(consumer.subscribe("orders"));
  for (int seen = 0; seen < 8;) {
    for (const auto& message : consumer.poll(1s)) {  // of one queue; none: nothing came in time
      std::printf("%s: %s\n", to_string(message.queue).c_str(), message.body.c_str());
      ++seen;
    }
    consumer.commit();  // what was polled is done
  }
}
