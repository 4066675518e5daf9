// Writes and forgets: the fastest, and nobody tells whether it was stored.
#include <apogee/client.h>

#include "example.h"

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  auto producer = must(client.producer({.group = "metrics"}));

  for (int i = 0; i < 100; ++i)
    if (auto written = producer.send_oneway({.topic = "orders", .body = "sample"}); !written)
      fail(written.error());
}
