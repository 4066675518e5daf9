// Takes a timer message back before it is delivered.
#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  auto producer = must(client.producer({.group = "checkout"}));

  auto sent = producer.send(
      {.topic = "orders", .body = "cancel the order", .deliver = apogee::after(30min)}, 3s);
  if (sent && !sent->recall_handle.empty()) {
    auto recalled = producer.recall("orders", sent->recall_handle, 3s);  // the customer has paid
    if (!recalled) fail(recalled.error());
    std::printf("%s will not come\n", recalled->c_str());
  } else {
    std::printf("this broker keeps no timer messages\n");
  }
}
