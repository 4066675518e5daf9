// Sends one message and waits until the broker has stored it.
#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto client = apogee::Client::start({.name_servers = {name_server(argc, argv)}});
  if (!client) fail(client.error());

  auto producer = client->producer({.group = "checkout"});
  if (!producer) fail(producer.error());

  auto sent =
      producer->send({.topic = "orders", .body = "hello", .tag = "paid", .keys = {"o-17"}}, 3s);
  if (!sent) fail(sent.error());  // what happened, and whether it may be stored all the same

  std::printf("%s lies in %s at %lld\n", sent->message_id.c_str(), to_string(sent->queue).c_str(),
              static_cast<long long>(sent->queue_offset));
}
