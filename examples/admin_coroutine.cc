// Administration without waiting for it, from a coroutine.
#include <future>

#include <apogee/admin.h>
#include <apogee/client.h>

#include "example.h"
#include "task.h"

using namespace std::chrono_literals;

Task look(apogee::Admin admin, std::promise<std::size_t>& found) {
  auto names = [](apogee::Admin& ask) { return ask.topics(3s); };
  auto topics = co_await admin.call_async(names);
  found.set_value(must(std::move(topics)).size());
}

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  std::promise<std::size_t> found;
  look(client.admin(), found);
  std::printf("%zu topics\n", found.get_future().get());
}
