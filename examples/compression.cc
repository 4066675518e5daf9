// Large bodies travel and lie compressed; consumers never notice.
#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  auto producer = must(client.producer({.group = "checkout",
                                        .compress_over_bytes = 1'024,
                                        .compression = apogee::Compression::kZstd}));

  must(producer.send({.topic = "orders", .body = std::string(100'000, 'x')}, 3s));
}
