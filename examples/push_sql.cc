// Chooses by properties: the broker evaluates the expression (enablePropertyFilter=true).
#include <latch>

#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  std::latch large{1};

  auto consumer = must(client.push_consumer(
      {.group = "audit",
       .subscriptions = {{"orders", apogee::sql("amount > 100 AND region = 'eu'")}},
       .from = apogee::StartFrom::kFirst,
       .on_messages = [&](std::span<const apogee::ReceivedMessage> batch) {
         for (const auto& message : batch) std::printf("%s\n", message.body.c_str());
         large.count_down();
         return apogee::Consumed::kDone;
       }}));

  auto producer = must(client.producer({.group = "checkout"}));
  must(producer.send(
      {.topic = "orders", .body = "small", .properties = {{"amount", "5"}, {"region", "eu"}}}, 3s));
  must(producer.send(
      {.topic = "orders", .body = "large", .properties = {{"amount", "500"}, {"region", "eu"}}},
      3s));
  large.wait();
}
