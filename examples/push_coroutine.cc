// A push consumer started and ended from a coroutine: no thread waits for brokers.
#include <latch>

#include <apogee/client.h>

#include "example.h"
#include "task.h"

using namespace std::chrono_literals;

Task consume_one(apogee::Client& client, std::latch& done) {
  std::latch received{1};
  apogee::PushConsumerConfig config{
      .group = "billing",
      .subscriptions = {{"orders"}},
      .from = apogee::StartFrom::kFirst,
      .on_messages = [&](std::span<const apogee::ReceivedMessage> batch) {
        std::printf("%s\n", batch.front().body.c_str());
        received.count_down();
        return apogee::Consumed::kDone;
      }};
  auto started = co_await client.push_consumer_async(std::move(config));
  auto consumer = must(std::move(started));
  received.wait();  // a thread of its own: it may block
  auto ended = co_await consumer.shutdown_async();
  must(std::move(ended));
  done.count_down();
}

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  auto producer = must(client.producer({.group = "checkout"}));
  must(producer.send({.topic = "orders", .body = "hello"}, 3s));

  std::latch done{1};
  consume_one(client, done);
  done.wait();
}
