#include "base/executor.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/thread_name.h"

namespace apogee {
namespace {

class ThreadPool final : public Executor {
 public:
  ThreadPool(std::size_t threads, const char* name) {
    for (std::size_t i = 0; i < threads; ++i) {
      threads_.emplace_back([this, name = std::string{name}] {
        name_this_thread(name.c_str());
        run();
      });
    }
  }
  ~ThreadPool() override {
    {
      std::lock_guard lock{mutex_};
      stopping_ = true;
    }
    work_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  void post(std::function<void()> task) override {
    // Told under the lock: the task may run and let its owner end this pool before an unlocked
    // notice is out.
    std::lock_guard lock{mutex_};
    tasks_.push_back(std::move(task));
    work_.notify_one();
  }

 private:
  void run() {
    std::unique_lock lock{mutex_};
    for (;;) {
      work_.wait(lock, [&] { return stopping_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      auto task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      task = nullptr;
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<Executor> make_thread_pool(std::size_t threads, const char* name) {
  return std::make_unique<ThreadPool>(threads, name);
}

}  // namespace apogee
