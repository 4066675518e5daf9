// Delivery later: by one of the broker's levels, after a time, at a time.
#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  auto producer = must(client.producer({.group = "checkout"}));

  must(producer.send({.topic = "orders", .body = "in 10 s", .deliver = apogee::level(3)},
                     3s));  // any broker

  // Brokers of version 5 know any time.
  auto later =
      producer.send({.topic = "orders", .body = "in 90 s", .deliver = apogee::after(90s)}, 3s);
  auto at_noon = producer.send({.topic = "orders",
                                .body = "tomorrow",
                                .deliver = apogee::at(std::chrono::system_clock::now() + 24h)},
                               3s);

  for (const auto& sent : {later, at_noon})
    if (!sent)
      std::printf("this broker keeps no timer messages: %s\n", sent.error().detail.c_str());
}
