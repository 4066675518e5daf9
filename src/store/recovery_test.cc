#include <functional>

#include <gtest/gtest.h>

#include "protocol/message.h"
#include "store/message_store.h"
#include "testing/disk_env.h"
#include "testing/small_store.h"
#include "testing/store_builder.h"
#include "testing/wrapped_files.h"

/// Queues that are made again from the log.
namespace apogee::store {
namespace {

using apogee::testing::DiskEnv;
using apogee::testing::small_store;
using apogee::testing::StoreBuilder;

constexpr std::int64_t kNow = 1'700'000'000'000;
constexpr std::int64_t kSegment = apogee::testing::kSmallSegment,
                       kQueueFile = apogee::testing::kSmallQueueFile;

class Recovery : public ::testing::Test {
 protected:
  FileSystem& files() { return world_.disk.files(); }
  void open(Env& env, const StoreConfig& config) {
    auto opened = MessageStore::open(env, config, events_);
    ASSERT_TRUE(opened) << opened.error().detail;
    store_ = *std::move(opened);
  }
  std::int64_t readable(std::string_view topic = "T") {
    return apogee::testing::readable(*store_, topic);
  }

  DiskEnv world_;
  StoreEvents events_;
  std::unique_ptr<MessageStore> store_;
};

/// Queues that are taken away after a clean stop, to have them made again: until the new ones are
/// on disk the checkpoint must not vouch for them. One is so large that it is flushed soon.
class QueuesMadeAgain : public Recovery {
 protected:
  static constexpr int kMessages = 500, kOfSmall = 5;

  QueuesMadeAgain() {
    for (int i = 0; i < kOfSmall; ++i)
      builder_.put({.topic = "Small", .body = "some body", .store_timestamp = kNow});
    for (int i = 1; i <= kMessages; ++i)
      builder_.put({.body = "some body", .store_timestamp = kNow + i * 1'000});
  }

  /// A store whose queues are gone for good after a clean stop.
  void write_and_lose() {
    store_.reset();
    ASSERT_TRUE(remove_tree(files(), "store"));
    builder_.write(files());
    ASSERT_TRUE(remove_tree(files(), "store/consumequeue"));
    ASSERT_TRUE(files().sync_directory("store"));
  }
  void start() { open(*world_.env, small_store()); }
  void expect_all_after(const std::function<void()>& power_cut) {
    power_cut();
    store_.reset();
    world_.restart();
    ASSERT_NO_FATAL_FAILURE(start());
    EXPECT_EQ(readable(), kMessages);
    EXPECT_EQ(readable("Small"), kOfSmall);
  }

  StoreBuilder builder_{"store", kSegment, kQueueFile};
};

TEST_F(QueuesMadeAgain, SurviveAPowerCutSoonAfterwards) {
  write_and_lose();
  ASSERT_NO_FATAL_FAILURE(start());
  ASSERT_EQ(readable("Small"), kOfSmall);
  store_->start();
  world_.clock.advance(2s);  // the large one is on disk
  expect_all_after([&] { world_.disk.crash(); });
}

TEST_F(QueuesMadeAgain, SurviveAPowerCutThatKeepsAnyPart) {
  for (std::uint64_t seed = 1; seed <= 20 && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    write_and_lose();
    ASSERT_NO_FATAL_FAILURE(start());
    store_->start();
    expect_all_after([&] { world_.disk.crash(seed); });
  }
}

TEST_F(QueuesMadeAgain, SurviveAPowerCutMeanwhile) {
  for (std::uint64_t operations = 1; operations < 180 && !HasFailure(); operations += 3) {
    SCOPED_TRACE(operations);
    write_and_lose();
    world_.disk.lose_power_after(operations);
    if (auto opened = MessageStore::open(*world_.env, small_store(), events_))
      store_ = *std::move(opened);
    expect_all_after([&] { world_.disk.crash(operations); });
  }
}

TEST_F(QueuesMadeAgain, NoneIsWhereNoneWasLost) {
  builder_.write(files());
  const auto before = read_file(files(), "store/checkpoint");
  ASSERT_NO_FATAL_FAILURE(start());
  EXPECT_FALSE(files().stat("store/abort"));
  EXPECT_EQ(*before, *read_file(files(), "store/checkpoint"));
}

/// A queue of few messages in a log with room for many: 8 MiB between its first and its last ones.
class WideGap : public Recovery {
 protected:
  static constexpr std::int64_t kLogFile = 1 << 20, kQueueBytes = 20 << 20, kAhead = 80'000;

  ~WideGap() override { store_.reset(); }
  void put_more(std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i)
      last_ = builder_.put({.body = "some body", .store_timestamp = now_ += 1'000});
  }
  void put_others() {
    const std::string large(100'000, 'x');
    for (int i = 0; i < 84; ++i)
      builder_.put({.topic = "Other", .body = large, .store_timestamp = now_ += 1'000});
  }
  /// Of the last record: is `more` higher than it was.
  void raise_queue_offset(std::int64_t more) {
    const auto at = static_cast<std::size_t>(last_) + protocol::record_at::kQueueOffset;
    const auto log = std::as_writable_bytes(std::span{builder_.log()});
    write_big(log, at, read_big<std::int64_t>(log, at) + more);
  }
  /// Queues are made from the log.
  void start_without_queues() {
    builder_.write(files());
    ASSERT_TRUE(remove_tree(files(), "store/consumequeue"));
    ASSERT_TRUE(files().open("store/abort", FileSystem::Open::kCreate));
    StoreConfig config = small_store();
    config.commit_log_file_bytes = kLogFile;
    config.consume_queue_file_bytes = kQueueBytes;
    env_.emplace(
        Env{world_.clock, changed_, world_.network, world_.workers, world_.random, world_.log});
    open(*env_, config);
  }

  /// Remembers the largest write to a queue.
  class Watched final : public apogee::testing::WrappedFile {
   public:
    Watched(std::unique_ptr<File> file, std::size_t& largest)
        : WrappedFile{std::move(file)}, largest_{largest} {}
    using File::write_at;
    Result<Ok> write_at(std::uint64_t offset, std::span<const Bytes> pieces) override {
      for (const Bytes each : pieces) largest_ = std::max(largest_, each.size());
      return WrappedFile::write_at(offset, pieces);
    }

   private:
    std::size_t& largest_;
  };

  StoreBuilder builder_{"store", kLogFile, kQueueBytes};
  std::int64_t now_ = kNow, last_ = 0;
  std::size_t largest_write_ = 0;
  apogee::testing::ChangedFiles changed_{
      world_.disk.files(),
      [this](const std::string& path, std::unique_ptr<File> file) -> std::unique_ptr<File> {
        if (path.find("consumequeue") == std::string::npos) return file;
        return std::make_unique<Watched>(std::move(file), largest_write_);
      }};
  std::optional<Env> env_;
};

TEST_F(WideGap, ADamagedOffsetIsNotTakenForOne) {
  put_more(10);
  put_others();
  put_more(1);
  raise_queue_offset(kAhead);
  put_more(10);
  ASSERT_NO_FATAL_FAILURE(start_without_queues());
  EXPECT_EQ(store_->max_offset("T", 0), 21);
  EXPECT_EQ(readable(), 20);
  EXPECT_FALSE(world_.log.lines(LogLevel::kWarn).empty());
}

TEST_F(WideGap, IsFilledALittleAtATimeWhereTwoMessagesTellOfIt) {
  put_more(10);
  put_others();
  for (int i = 0; i < 10; ++i) {
    put_more(1);
    raise_queue_offset(kAhead);
  }
  ASSERT_NO_FATAL_FAILURE(start_without_queues());
  EXPECT_EQ(store_->max_offset("T", 0), kAhead + 20);
  EXPECT_EQ(readable(), 20);
  EXPECT_LT(largest_write_, 100U << 10) << "1.6 MB of blanks in all";
}

}  // namespace
}  // namespace apogee::store
