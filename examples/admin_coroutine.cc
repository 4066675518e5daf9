// Administration without waiting for it, from a coroutine.
#include <coroutine>
#include <future>

#include <apogee/admin.h>
#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

/// The smallest coroutine there is; any other type will do.
struct Task {
  struct promise_type {
    Task get_return_object() { return {}; }
    std::suspend_never initial_suspend() { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

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
