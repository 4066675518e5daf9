#include "store/flusher.h"

#include <future>

#include <gtest/gtest.h>

#include "store/message_store.h"
#include "testing/disk_env.h"

namespace apogee::store {
namespace {

/// Workers that all wait for something, until they are let go. Threads: any.
class BusyWorkers final : public Executor {
 public:
  void post(std::function<void()> task) override {
    {
      std::lock_guard lock{mutex_};
      if (busy_) return tasks_.push_back(std::move(task));
    }
    task();
  }
  void let_go() {
    std::vector<std::function<void()>> tasks;
    {
      std::lock_guard lock{mutex_};
      busy_ = false;
      tasks.swap(tasks_);
    }
    for (const auto& task : tasks) task();
  }

 private:
  std::mutex mutex_;
  bool busy_ = true;                          // guarded by mutex_
  std::vector<std::function<void()>> tasks_;  // guarded by mutex_
};

TEST(Flusher, EndsAWaitAfterSyncFlushTimeoutThoughNoWorkerIsFree) {
  constexpr std::int64_t kNeverWritten = 1'000'000;
  testing::DiskEnv world;
  BusyWorkers workers;
  Env env{world.clock, world.env->files, world.network, workers, world.random, world.log};
  StoreEvents events;
  StoreConfig config;
  config.root = "/store";
  config.commit_log_file_bytes = 1 << 20;
  config.flush_disk_type = FlushDiskType::kSyncFlush;
  config.sync_flush_timeout_ms = 700;
  auto store = MessageStore::open(env, config, events);
  ASSERT_TRUE(store) << store.error().detail;
  (*store)->start();
  std::promise<PutStatus> told;
  auto answer = told.get_future();
  (*store)->when_durable(kNeverWritten, [&](PutStatus status) { told.set_value(status); });
  world.clock.advance(500ms);
  EXPECT_EQ(answer.wait_for(0s), std::future_status::timeout) << "there is time left";
  world.clock.advance(500ms);
  const bool ended = answer.wait_for(0s) == std::future_status::ready;
  workers.let_go();
  ASSERT_TRUE(ended);
  EXPECT_EQ(answer.get(), PutStatus::kFlushDiskTimeout);
}

}  // namespace
}  // namespace apogee::store
