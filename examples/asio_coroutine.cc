// Sends and polls from a program that runs on Asio: one thread, its own.
#include <apogee/asio.h>
#include <apogee/client.h>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>

#include "example.h"

using namespace std::chrono_literals;

asio::awaitable<void> send_and_read(apogee::Producer& producer, apogee::LitePullConsumer& reader) {
  apogee::Message hello{.topic = "orders", .body = "hello"};
  auto sent = co_await apogee::to_asio(producer.send_async(std::move(hello), 3s));
  if (!sent) fail(sent.error());

  must(reader.assign({sent->queue}));
  auto sought = co_await apogee::to_asio(reader.seek_async(sent->queue, sent->queue_offset));
  must(std::move(sought));
  auto polled = co_await apogee::to_asio(reader.poll_async(5s));
  auto messages = must(std::move(polled));
  std::printf("%s\n", messages.at(0).body.c_str());
}

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  auto producer = must(client.producer({.group = "checkout"}));
  auto reader = must(client.lite_pull_consumer({.group = "reports"}));
  asio::io_context io;
  asio::co_spawn(io, send_and_read(producer, reader), asio::detached);
  io.run();  // until the coroutine has ended
}
