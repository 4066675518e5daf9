// Receives messages: the client pulls ahead and calls a function, on several threads at once.
#include <latch>

#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  std::latch paid{3};

  auto consumer = must(client.push_consumer(
      {.group = "billing",
       .subscriptions = {{"orders", apogee::tags("paid || refunded")}},
       .from = apogee::StartFrom::kFirst,  // of a group that is new; else it goes on where it was
       .on_messages = [&](std::span<const apogee::ReceivedMessage> batch) {
         for (const auto& message : batch) {
           std::printf("%s: %s\n", message.message_id.c_str(), message.body.c_str());
           paid.count_down();
         }
         return apogee::Consumed::kDone;  // or kRetryLater
       }}));

  auto producer = must(client.producer({.group = "checkout"}));
  for (const char* tag : {"paid", "cancelled", "refunded", "paid"})
    must(producer.send({.topic = "orders", .body = tag, .tag = tag}, 3s));
  paid.wait();
}
