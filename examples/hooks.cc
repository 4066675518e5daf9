// Functions that see every send, and one that may forbid it.
#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto client =
      must(apogee::Client::start({.name_servers = {name_server(argc, argv)},
                                  .log = [](apogee::Severity severity, std::string_view line) {
                                    if (severity >= apogee::Severity::kWarning)
                                      std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()),
                                                   line.data());
                                  }}));
  auto producer = must(client.producer(
      {.group = "checkout",
       .trace = false,  // true: each send is written to the trace topic, for the console
       .check_forbidden = [](const apogee::SendEvent& event) -> apogee::Result<apogee::Ok> {
         if (event.message.body.find("secret") != std::string::npos)
           return apogee::Error{apogee::Errc::kRefused, "no secrets on this topic"};
         return apogee::Ok{};
       },
       .after_send =
           [](const apogee::SendEvent& event) {
             std::printf("%s: %s\n", event.broker_address.c_str(),
                         event.error ? event.error->detail.c_str() : "stored");
           }}));

  must(producer.send({.topic = "orders", .body = "hello"}, 3s));
  auto forbidden = producer.send({.topic = "orders", .body = "a secret"}, 3s);
  return forbidden ? 1 : 0;
}
