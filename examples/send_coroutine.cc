// co_await a send. Any coroutine type will do; this one is the smallest there is.
#include <coroutine>
#include <exception>
#include <latch>

#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

struct Task {
  struct promise_type {
    Task get_return_object() { return {}; }
    std::suspend_never initial_suspend() { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

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
