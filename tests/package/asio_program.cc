// Sends from a coroutine of Asio's.
#include <cstdio>

#include <apogee/asio.h>
#include <apogee/client.h>
#include <apogee/testing/broker.h>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>

using namespace std::chrono_literals;

asio::awaitable<bool> send(apogee::Producer& producer) {
  apogee::Message hello{.topic = "orders", .body = "hello"};
  auto sent = co_await apogee::to_asio(producer.send_async(std::move(hello), 3s));
  co_return sent.has_value();
}

int main() {
  auto broker = apogee::testing::Broker::start({.topics = {{"orders", 4}}});
  if (!broker) return std::fprintf(stderr, "%s\n", broker.error().detail.c_str()), 1;
  auto client = apogee::Client::start({.name_servers = {broker->name_server()}});
  if (!client) return std::fprintf(stderr, "%s\n", client.error().detail.c_str()), 1;
  auto producer = client->producer({.group = "checkout"});
  if (!producer) return std::fprintf(stderr, "%s\n", producer.error().detail.c_str()), 1;
  asio::io_context io;
  bool sent = false;
  asio::co_spawn(io, send(*producer), [&](std::exception_ptr, bool done) { sent = done; });
  io.run();
  return sent ? 0 : 1;
}
