// Poll from a coroutine: no thread waits while nothing comes.
#include <latch>

#include <apogee/client.h>

#include "example.h"
#include "task.h"

using namespace std::chrono_literals;

Task read_eight(apogee::LitePullConsumer& consumer, std::latch& done) {
  for (int seen = 0; seen < 8;) {
    auto polled = co_await consumer.poll_async(1s);  // goes on on a worker, which may block
    auto messages = must(std::move(polled));
    for (const auto& message : messages) std::printf("%s\n", message.body.c_str());
    seen += static_cast<int>(messages.size());
  }
  done.count_down();
}

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  auto producer = must(client.producer({.group = "checkout"}));
  for (int i = 0; i < 8; ++i)
    must(producer.send({.topic = "orders", .body = "order " + std::to_string(i)}, 3s));

  auto consumer =
      must(client.lite_pull_consumer({.group = "reports", .from = apogee::StartFrom::kFirst}));
  must(consumer.subscribe("orders"));
  std::latch done{1};
  read_eight(consumer, done);
  done.wait();
}
