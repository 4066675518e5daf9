#include "main/process.h"

#include <cstdlib>
#include <random>
#include <thread>

#include <unistd.h>

#include "remoting/client.h"

namespace apogee {

Process::Process(const Options& options)
    : log_{make_logger(options.log_path, options.log_level)},
      clock_{make_system_clock()},
      files_{make_posix_files()},
      workers_{make_thread_pool(options.workers, "work")},
      network_{remoting::make_transport(options.io_threads != 0
                                            ? options.io_threads
                                            : std::max(1U, std::thread::hardware_concurrency()),
                                        options.io_spin)},
      random_{(std::uint64_t{std::random_device{}()} << 32) | std::random_device{}()},
      env_{*clock_, *files_, *network_, *workers_, random_, *log_} {}

Signals::Signals() {
  ::sigemptyset(&set_);
  ::sigaddset(&set_, SIGINT);
  ::sigaddset(&set_, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  std::signal(SIGPIPE,
              SIG_IGN);  // a peer that is gone is an error value, not the end of the process
  read_bad_pages_as_zeros();
}

void Signals::wait() {
  int signal = 0;
  while (::sigwait(&set_, &signal) != 0) {
  }
  // The operator asked twice: no more waiting for anything.
  std::thread{[set = set_] {
    int second = 0;
    if (::sigwait(&set, &second) == 0) ::_exit(128 + second);
  }}.detach();
}

}  // namespace apogee
