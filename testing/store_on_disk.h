#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/clock.h"
#include "store/message_store.h"
#include "testing/disk_env.h"
#include "testing/eventually.h"
#include "testing/small_store.h"

namespace apogee::testing {

/// For tests of a store: one with real threads and the real clock, small files, on a disk in
/// memory. What it tells goes to `events_`, which lives longer than it.
template <class Events>
class StoreOnDisk : public ::testing::Test {
 protected:
  using Properties = testing::Properties;

  StoreOnDisk() {
    config_.root = "/store";
    config_.commit_log_file_bytes = 16 << 10;
    config_.consume_queue_file_bytes = 200;
    config_.index_slots = 50;
    config_.index_units = 200;
  }
  ~StoreOnDisk() override { close(); }

  void open() {
    const auto opened = try_open();
    ASSERT_TRUE(opened) << opened.error().detail;
  }
  Result<Ok> try_open() {
    env_ = std::make_unique<Env>(Env{*clock_, outside_.disk.files(), outside_.network, *workers_,
                                     outside_.random, outside_.log});
    auto opened = store::MessageStore::open(*env_, config_, events_);
    if (!opened) return opened.error();
    store_ = *std::move(opened);
    store_->start();
    return Ok{};
  }
  void close() { store_.reset(); }
  void kill() {
    outside_.disk.kill_process();
    close();
  }

  static Buffer encoded(std::string_view topic, std::string_view body,
                        const Properties& properties = {}, std::int32_t flags = 0,
                        std::int32_t queue_id = 0) {
    return testing::encoded(topic, body, properties, flags, queue_id);
  }
  store::Append append(std::string_view topic, Buffer record, std::int32_t queue_id = 0) {
    return append_to(*store_, topic, std::move(record), queue_id);
  }
  void wait_dispatched() {
    ASSERT_TRUE(eventually([&] {
      const store::StoreStatus status = store_->status();
      return status.dispatched_offset >= status.commit_log_max_offset;
    }));
  }

  /// Of what is in a directory, sorted; none: there is no such directory.
  std::vector<std::string> names(const std::string& directory) {
    std::vector<std::string> names;
    if (const auto entries = outside_.disk.files().list(directory))
      for (const DirectoryEntry& each : *entries) names.push_back(each.name);
    return names;
  }
  std::string bytes_of(const std::string& path, std::size_t from, std::size_t count) {
    const auto all = read_file(outside_.disk.files(), path);
    return all && all->size() > from ? all->substr(from, count) : "no such bytes";
  }

  DiskEnv outside_;
  std::unique_ptr<Clock> clock_ = make_system_clock();
  std::unique_ptr<Executor> workers_ = make_thread_pool(2, "work");
  store::StoreConfig config_;
  Events events_;
  std::unique_ptr<Env> env_;
  std::unique_ptr<store::MessageStore> store_;
};

}  // namespace apogee::testing
