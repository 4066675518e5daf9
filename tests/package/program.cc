// Sends to a broker inside the same program, with what was installed alone.
#include <cstdio>

#include <apogee/client.h>
#include <apogee/testing/broker.h>

using namespace std::chrono_literals;

int main() {
  auto broker = apogee::testing::Broker::start({.topics = {{"orders", 4}}});
  if (!broker) return std::fprintf(stderr, "%s\n", broker.error().detail.c_str()), 1;
  auto client = apogee::Client::start({.name_servers = {broker->name_server()}});
  if (!client) return std::fprintf(stderr, "%s\n", client.error().detail.c_str()), 1;
  auto producer = client->producer({.group = "checkout"});
  if (!producer) return std::fprintf(stderr, "%s\n", producer.error().detail.c_str()), 1;
  const auto sent = producer->send({.topic = "orders", .body = "hello"}, 3s);
  if (!sent) return std::fprintf(stderr, "%s\n", sent.error().detail.c_str()), 1;
  const auto keyed =
      producer->send({.topic = "orders", .body = "x"}, apogee::by_key("customer-42"), 3s);
  if (!keyed) return std::fprintf(stderr, "%s\n", keyed.error().detail.c_str()), 1;
  std::printf("%s lies in %s: %s\n", sent->message_id.c_str(), to_string(sent->queue).c_str(),
              name_of(sent->status));
}
