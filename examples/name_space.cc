// Two tenants on one cluster: names are the program's own on this side, "<name_space>%<name>" on
// the other.
#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto client = must(
      apogee::Client::start({.name_servers = {name_server(argc, argv)}, .name_space = "tenant-a"}));
  auto producer = must(client.producer({.group = "checkout"}));
  auto sent = must(producer.send({.topic = "orders", .body = "hello"}, 3s));
  std::printf("%s\n", to_string(sent.queue).c_str());  // orders/..., not tenant-a%orders/...
}
