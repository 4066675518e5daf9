// Queues of the program's own choice, read from where it likes: a replay.
#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  auto producer = must(client.producer({.group = "checkout"}));
  const auto sent = must(producer.send({.topic = "orders", .body = "hello"}, 3s));

  auto consumer = must(client.lite_pull_consumer({.group = "replay"}));
  must(consumer.assign({sent.queue}));
  const auto an_hour_ago = std::chrono::system_clock::now() - 1h;
  must(consumer.seek(sent.queue, must(consumer.offset_for_time(sent.queue, an_hour_ago))));
  auto messages = consumer.poll(5s);
  consumer.pause({sent.queue});  // no more of it, until resume()
  if (messages.empty()) return 1;
  std::printf("%s\n", messages.front().body.c_str());
}
