#include "client/runtime.h"

#include <random>
#include <thread>

#include "remoting/client.h"

namespace apogee::client {
namespace {
thread_local int depth_of_callbacks = 0;
thread_local int depth_on_io = 0;
}  // namespace

Runtime::Runtime(std::size_t io_threads, std::size_t workers, std::unique_ptr<Logger> log)
    : log_{std::move(log)},
      clock_{make_system_clock()},
      files_{make_posix_files()},
      workers_{make_thread_pool(std::max<std::size_t>(workers, 1), "client")},
      network_{remoting::make_transport(std::max<std::size_t>(io_threads, 1))},
      random_{std::random_device{}() * 0x1'0000'0001ULL},
      env_{*clock_, *files_, *network_, *workers_, random_, *log_} {}

struct EndRuntime {
  void operator()(Runtime* runtime) const {
    std::thread{[runtime] {
      std::promise<void> end = std::move(runtime->end_);
      delete runtime;
      end.set_value();
    }}.detach();
  }
};

std::shared_ptr<Runtime> make_runtime(std::size_t io_threads, std::size_t workers,
                                      std::unique_ptr<Logger> log) {
  return std::shared_ptr<Runtime>{new Runtime{io_threads, workers, std::move(log)}, EndRuntime{}};
}

std::shared_ptr<Executor> own_threads(std::size_t count, const char* name) {
  return {make_thread_pool(count, name).release(),
          [](Executor* pool) { std::thread{[pool] { delete pool; }}.detach(); }};
}

CallbackScope::CallbackScope(Where where) : before_{depth_on_io} {
  ++depth_of_callbacks;
  if (where == Where::kIoThread) ++depth_on_io;
}
CallbackScope::~CallbackScope() {
  --depth_of_callbacks;
  depth_on_io = before_;
}
bool CallbackScope::inside() {
  return depth_of_callbacks > 0;
}
bool CallbackScope::on_io_thread() {
  return depth_on_io > 0;
}

}  // namespace apogee::client
