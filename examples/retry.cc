// What could not be consumed comes again, later each time; after max_reconsume_times it is a dead
// letter.
#include <latch>

#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  std::latch done{1};

  auto consumer = must(client.push_consumer(
      {.group = "billing",
       .subscriptions = {{"orders", apogee::tags("hard")}},
       .from = apogee::StartFrom::kFirst,
       .on_messages =
           [&](std::span<const apogee::ReceivedMessage> batch, apogee::ConsumeContext& context) {
             if (batch.front().reconsume_times == 0) {
               context.delay_level = 1;  // 0: as the broker decides; -1: a dead letter at once
               return apogee::Consumed::kRetryLater;
             }
             std::printf("done at attempt %d\n", batch.front().reconsume_times + 1);
             done.count_down();
             return apogee::Consumed::kDone;
           },
       .max_reconsume_times = 5}));

  auto producer = must(client.producer({.group = "checkout"}));
  must(producer.send({.topic = "orders", .body = "x", .tag = "hard"}, 3s));
  done.wait();
}
