// What the log asks of the disk beside its writes: write-back ahead of a sync, space given back in
// parts; and what becomes of others while a write stands.
#include <atomic>
#include <filesystem>
#include <future>
#include <mutex>

#include <gtest/gtest.h>
#include <unistd.h>

#include "protocol/message.h"
#include "store/commit_log.h"
#include "store/message_store.h"
#include "testing/disk_env.h"
#include "testing/eventually.h"
#include "testing/wrapped_files.h"

namespace apogee::store {
namespace {

/// Tells of write-back and of every resize. Threads: any.
class ToldFiles : public testing::ChangedFiles {
 public:
  explicit ToldFiles(FileSystem& real)
      : ChangedFiles{real, [this](const std::string&, std::unique_ptr<File> file) {
                       return std::make_unique<ToldFile>(std::move(file), *this);
                     }} {}
  std::vector<std::uint64_t> sizes() {
    std::lock_guard lock{mutex_};
    return std::exchange(sizes_, {});
  }
  /// Offset and length of the first write-back.
  std::future<std::pair<std::uint64_t, std::uint64_t>> write_back() { return first_.get_future(); }

 private:
  struct ToldFile : testing::WrappedFile {
    ToldFile(std::unique_ptr<File> real, ToldFiles& to) : WrappedFile{std::move(real)}, to_{to} {}
    Result<Ok> resize(std::uint64_t size) override {
      std::lock_guard lock{to_.mutex_};
      to_.sizes_.push_back(size);
      return WrappedFile::resize(size);
    }
    void start_writeback(std::uint64_t offset, std::uint64_t length) override {
      std::lock_guard lock{to_.mutex_};
      if (!std::exchange(to_.told_, true)) to_.first_.set_value({offset, length});
      WrappedFile::start_writeback(offset, length);
    }
    ToldFiles& to_;
  };

  std::mutex mutex_;
  std::vector<std::uint64_t> sizes_;
  std::promise<std::pair<std::uint64_t, std::uint64_t>> first_;
  bool told_ = false;
};

PutStatus send(MessageStore& store, std::string_view body) {
  static constexpr std::array<std::byte, 4> kHost{};
  Buffer record;
  EXPECT_TRUE(protocol::encode_message(
      record,
      {.born_host = kHost, .store_host = kHost, .body = as_bytes(body), .topic = "orders"}));
  Append append{.topic = "orders",
                .records = std::as_writable_bytes(std::span{record.data(), record.size()})};
  Append* batch[] = {&append};
  store.append(batch);
  return append.status;
}

TEST(LogSpace, MuchThatIsNewIsWrittenBackBeforeASyncAsksForIt) {
  testing::DiskEnv world;
  ToldFiles files{world.env->files};
  auto write_back = files.write_back();
  auto clock = make_system_clock();
  Env env{*clock, files, world.network, world.workers, world.random, world.log};
  StoreEvents events;
  StoreConfig config;
  config.root = "/store";
  config.commit_log_file_bytes = 32 << 20;
  config.flush_interval_ms = 60'000;
  auto store = MessageStore::open(env, config, events);
  ASSERT_TRUE(store) << store.error().detail;
  (*store)->start();
  const std::string body(3 << 20, 'x');
  for (int i = 0; i < 3; ++i) ASSERT_EQ(send(**store, body), PutStatus::kOk);
  ASSERT_EQ(write_back.wait_for(10s), std::future_status::ready);
  const auto [offset, length] = write_back.get();
  EXPECT_EQ(offset, 0u);
  EXPECT_GE(length, 8u << 20);
  EXPECT_EQ(length % 4'096, 0u) << "the last page will be written to again";
  EXPECT_EQ((*store)->status().flushed_offset, 0) << "nothing is promised";
}

TEST(LogSpace, OfARemovedSegmentIsGivenBackInPartsOnceNobodyReadsIt) {
  constexpr std::int64_t kSegment = 160 << 20;  // sparse: no space is taken
  const std::string root =
      std::filesystem::temp_directory_path() / ("log_space_test." + std::to_string(::getpid()));
  std::filesystem::create_directories(root + "/commitlog");
  {
    testing::DiskEnv world;
    auto real = make_posix_files();
    for (const std::int64_t base : {std::int64_t{0}, kSegment}) {
      auto file = real->open(root + "/commitlog/" + segment_name(base), FileSystem::Open::kCreate);
      ASSERT_TRUE(file && (*file)->resize(kSegment));
    }
    ToldFiles files{*real};
    Env env{world.clock, files, world.network, world.workers, world.random, world.log};
    StoreEvents events;
    StoreConfig config;
    config.root = root;
    config.commit_log_file_bytes = kSegment;
    CommitLog log{env, config, root + "/commitlog", events};
    ASSERT_TRUE(log.load());
    auto reader = log.segment_of(0);
    ASSERT_TRUE(log.remove_first(0));
    EXPECT_FALSE(std::filesystem::exists(root + "/commitlog/" + segment_name(0)));
    EXPECT_FALSE(log.release_some()) << "its reader would have the ground taken from under it";
    EXPECT_EQ(reader->whole().front(), std::byte{0});
    EXPECT_TRUE(files.sizes().empty());
    reader.reset();
    EXPECT_TRUE(log.release_some());
    EXPECT_TRUE(log.release_some());
    EXPECT_TRUE(log.release_some());
    EXPECT_FALSE(log.release_some());
    EXPECT_EQ(files.sizes(), (std::vector<std::uint64_t>{96 << 20, 32 << 20}));
  }
  std::filesystem::remove_all(root);
}

/// The disk stands still under the first write to the log behind stand(), or under the first sync
/// behind stand_in_sync(), until go_on().
class StandingFiles : public testing::ChangedFiles {
 public:
  explicit StandingFiles(FileSystem& real)
      : ChangedFiles{
            real,
            [this](const std::string& path, std::unique_ptr<File> file) -> std::unique_ptr<File> {
              if (path.find("/commitlog/") == std::string::npos) return file;
              return std::make_unique<StandingFile>(std::move(file), *this);
            }} {}
  void stand() { stands_ = true; }
  void stand_in_sync() { stands_in_sync_ = true; }
  void wait_until_met() { met_.get_future().get(); }
  void go_on() { goes_on_.set_value(); }

 private:
  struct StandingFile : testing::WrappedFile {
    StandingFile(std::unique_ptr<File> real, StandingFiles& of)
        : WrappedFile{std::move(real)}, of_{of} {}
    Result<Ok> write_at(std::uint64_t offset, std::span<const Bytes> pieces) override {
      of_.wait_if(of_.stands_);
      return WrappedFile::write_at(offset, pieces);
    }
    Result<Ok> sync() override {
      of_.wait_if(of_.stands_in_sync_);
      return WrappedFile::sync();
    }
    StandingFiles& of_;
  };

  void wait_if(std::atomic<bool>& stands) {
    if (!stands.exchange(false)) return;
    met_.set_value();
    goes_on_.get_future().get();
  }

  std::atomic<bool> stands_{false}, stands_in_sync_{false};
  std::promise<void> met_, goes_on_;
};

TEST(StandingDisk, HoldsUpOneSenderAndTheOthersAreRefused) {
  testing::DiskEnv world;
  StandingFiles files{world.env->files};
  auto clock = make_system_clock();
  Env env{*clock, files, world.network, world.workers, world.random, world.log};
  StoreEvents events;
  StoreConfig config;
  config.root = "/store";
  config.commit_log_file_bytes = 1 << 20;
  config.page_cache_busy_ms = 20;
  auto store = MessageStore::open(env, config, events);
  ASSERT_TRUE(store) << store.error().detail;
  (*store)->start();
  ASSERT_EQ(send(**store, "before"), PutStatus::kOk);
  files.stand();
  auto held = std::async(std::launch::async, [&] { return send(**store, "held"); });
  files.wait_until_met();
  EXPECT_EQ(send(**store, "waits"), PutStatus::kPageCacheBusy);
  EXPECT_EQ(send(**store, "knows"), PutStatus::kPageCacheBusy);
  files.go_on();
  EXPECT_EQ(held.get(), PutStatus::kOk);
  EXPECT_EQ(send(**store, "after"), PutStatus::kOk);
}

TEST(StandingDisk, InASyncEndsAWaitAfterSyncFlushTimeoutAndTheMessageIsThereLater) {
  testing::DiskEnv world;
  StandingFiles files{world.env->files};
  Env env{world.clock, files, world.network, world.workers, world.random, world.log};
  StoreEvents events;
  StoreConfig config;
  config.root = "/store";
  config.commit_log_file_bytes = 1 << 20;
  config.flush_disk_type = FlushDiskType::kSyncFlush;
  config.sync_flush_timeout_ms = 700;
  auto store = MessageStore::open(env, config, events);
  ASSERT_TRUE(store) << store.error().detail;
  (*store)->start();
  files.stand_in_sync();
  ASSERT_EQ(send(**store, "waits"), PutStatus::kOk);
  std::promise<PutStatus> told;
  auto answer = told.get_future();
  (*store)->when_durable((*store)->status().commit_log_max_offset,
                         [&](PutStatus status) { told.set_value(status); });
  files.wait_until_met();
  world.clock.advance(500ms);
  EXPECT_EQ(answer.wait_for(0s), std::future_status::timeout) << "there is time left";
  world.clock.advance(500ms);
  ASSERT_EQ(answer.wait_for(0s), std::future_status::ready);
  EXPECT_EQ(answer.get(), PutStatus::kFlushDiskTimeout);
  EXPECT_EQ((*store)->max_offset("orders", 0), 0) << "nobody is shown what is not on disk";

  files.go_on();
  EXPECT_TRUE(testing::eventually([&] { return (*store)->max_offset("orders", 0) == 1; }));
  world.disk.crash();
  store->reset();
  store = MessageStore::open(world.restart(), config, events);
  ASSERT_TRUE(store) << store.error().detail;
  const RecordBytes record = (*store)->record_at("orders", 0, 0);
  const auto message = protocol::decode_message(record.bytes);
  ASSERT_TRUE(message);
  EXPECT_EQ(as_text(message->body), "waits");
}

/// Counts what is read.
class CountedFiles : public testing::ChangedFiles {
 public:
  explicit CountedFiles(FileSystem& real)
      : ChangedFiles{real, [this](const std::string&, std::unique_ptr<File> file) {
                       return std::make_unique<CountedFile>(std::move(file), bytes);
                     }} {}
  std::atomic<std::uint64_t> bytes{0};

 private:
  struct CountedFile : testing::WrappedFile {
    CountedFile(std::unique_ptr<File> real, std::atomic<std::uint64_t>& to)
        : WrappedFile{std::move(real)}, to_{to} {}
    Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) const override {
      to_ += out.size();
      return WrappedFile::read_at(offset, out);
    }
    std::atomic<std::uint64_t>& to_;
  };
};

TEST(LogSpace, TheEmptyRestOfALogIsNotReadAtAStart) {
  testing::DiskEnv world;
  CountedFiles files{world.env->files};
  Env env{world.clock, files, world.network, world.workers, world.random, world.log};
  StoreEvents events;
  StoreConfig config;
  config.root = "/store";
  config.commit_log_file_bytes = 32 << 20;
  for (int start = 0; start < 2; ++start) {
    const std::uint64_t before = files.bytes;
    auto store = MessageStore::open(env, config, events);
    ASSERT_TRUE(store) << store.error().detail;
    EXPECT_LT(files.bytes - before, 1u << 20);
    (*store)->start();
    ASSERT_EQ(send(**store, "one"), PutStatus::kOk);
    (*store)->stop();
  }
}

}  // namespace
}  // namespace apogee::store
