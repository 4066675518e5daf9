// A program's own test: a name server and a broker in the same process, with faults at will.
#include <apogee/client.h>
#include <apogee/testing/broker.h>

#include "example.h"

using namespace std::chrono_literals;

int main() {
  auto broker = must(apogee::testing::Broker::start({.topics = {{"orders", 4}}}));
  auto client = must(apogee::Client::start({.name_servers = {broker.name_server()}}));
  auto producer = must(client.producer({.group = "checkout"}));

  must(producer.send({.topic = "orders", .body = "hello"}, 3s));
  broker.cut_connections();
  must(producer.send({.topic = "orders", .body = "over a new connection"}, 3s));

  broker.freeze(true);
  auto sent = producer.send({.topic = "orders", .body = "to a broker that hangs"}, 200ms);
  if (sent || sent.error().code != apogee::Errc::kTimeout) return 1;
  broker.freeze(false);
}
