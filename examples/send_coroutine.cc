// co_await a send, in a coroutine of any type.
#include <latch>

#include <apogee/client.h>

#include "example.h"
#include "task.h"

using namespace std::chrono_literals;

Task send_two(apogee::Producer& producer, std::latch& done) {
  apogee::Message one{.topic = "orders", .body = "first"};
  auto first = co_await producer.send_async(std::move(one), 3s);
  if (!first) fail(first.error());

  apogee::Message two{.topic = "orders", .body = "second"};
  auto second = co_await producer.send_async(std::move(two), 3s);
  if (!second) fail(second.error());

  std::printf("%s, then %s\n", first->message_id.c_str(), second->message_id.c_str());
  done.count_down();
}

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  auto producer = must(client.producer({.group = "checkout"}));
  std::latch done{1};
  send_two(producer, done);
  done.wait();
}
