// Order within a key: the same key goes to the same queue, and a queue is consumed one message
// after the other.
#include <latch>

#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  auto producer = must(client.producer({.group = "checkout"}));
  for (const char* step : {"created", "paid", "shipped"})
    must(producer.send({.topic = "orders", .body = step, .keys = {"o-17"}}, apogee::by_key("o-17"),
                       3s));

  std::latch all{3};
  auto consumer = must(client.push_consumer(
      {.group = "shipping",
       .subscriptions = {{"orders"}},
       .from = apogee::StartFrom::kFirst,
       .on_messages_orderly = [&](std::span<const apogee::ReceivedMessage> batch) {
         for (const auto& message : batch) {
           std::printf("%s\n", message.body.c_str());
           all.count_down();
         }
         return apogee::ConsumedOrderly::kDone;  // kSuspend: the same again soon
       }}));
  all.wait();
}
