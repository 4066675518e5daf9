#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "broker/broker.h"
#include "protocol/bodies.h"
#include "protocol/message.h"
#include "store/message_store.h"
#include "testing/disk_env.h"
#include "testing/small_store.h"
#include "testing/store_builder.h"

/// States in which RocketMQ's own broker is known not to start, or to lose what is there: rebuilt
/// on disk and opened. Each test says which report of Apache's tracker it is.
namespace apogee::crash {
namespace {

using namespace apogee::store;
using apogee::testing::DiskEnv;
using apogee::testing::small_store;
using apogee::testing::StoreBuilder;

constexpr std::int64_t kNow = 1'700'000'000'000;
constexpr std::int64_t kSegment = apogee::testing::kSmallSegment,
                       kQueueFile = apogee::testing::kSmallQueueFile;

class KnownFailures : public ::testing::Test {
 protected:
  void put(int count, std::string_view topic = "T") {
    for (int i = 0; i < count; ++i)
      builder_.put({.topic = topic, .body = "some body", .store_timestamp = kNow + i});
  }
  /// One a second; where each begins in the log.
  std::vector<std::int64_t> put_seconds(int count) {
    std::vector<std::int64_t> offsets;
    for (int i = 0; i < count; ++i)
      offsets.push_back(
          builder_.put({.topic = "T", .body = "some body", .store_timestamp = kNow + i * 1'000}));
    return offsets;
  }
  /// In its magic code.
  void damage_the_eleventh(const std::vector<std::int64_t>& offsets) {
    builder_.log()[static_cast<std::size_t>(offsets[10]) + 5] ^= 1;
  }
  void write(bool unclean = true) {
    builder_.write(files());
    if (unclean) {
      ASSERT_TRUE(files().open("store/abort", FileSystem::Open::kCreate));
    }
  }
  FileSystem& files() { return world_.disk.files(); }
  void make_file(const std::string& path, std::string_view content, std::uint64_t bytes) {
    ASSERT_TRUE(files().create_directories(path.substr(0, path.rfind('/'))));
    auto file = files().open(path, FileSystem::Open::kCreate);
    ASSERT_TRUE(file && (*file)->resize(bytes) && (*file)->write_at(0, as_bytes(content)));
  }
  void start() {
    auto opened = MessageStore::open(*world_.env, small_store(), events_);
    ASSERT_TRUE(opened) << opened.error().detail;
    store_ = *std::move(opened);
  }
  std::uint64_t reads_of_a_start() {
    const auto reads = [this] {
      return world_.disk.count(apogee::testing::ForgetfulDisk::Operation::kRead);
    };
    const std::uint64_t before = reads();
    start();
    return reads() - before;
  }
  std::int64_t readable(std::string_view topic = "T") {
    return apogee::testing::readable(*store_, topic);
  }

  DiskEnv world_;
  StoreBuilder builder_{"store", kSegment, kQueueFile};
  StoreEvents events_;
  std::unique_ptr<MessageStore> store_;
};

/// #9728, #10108: the queue's last file is empty, because its messages were lost with the log's
/// tail; the search for the first offset runs out of the file and the broker does not start.
TEST_F(KnownFailures, AnEmptyLastQueueFileIsNoReasonNotToStart) {
  put(10);  // fills one queue file
  write();
  make_file(builder_.queue_path("T", 0, kQueueFile), "", kQueueFile);
  make_file(builder_.queue_path("Lost", 0, 0), "", kQueueFile);
  start();
  EXPECT_EQ(store_->min_offset("T", 0), 0);
  EXPECT_EQ(store_->max_offset("T", 0), 10);
  EXPECT_EQ(readable(), 10);
  EXPECT_EQ(store_->max_offset("Lost", 0), 0);
}

/// #9728, the other half: entries of messages that the log lost.
TEST_F(KnownFailures, AQueueThatIsWhollyAheadOfTheLogBecomesEmpty) {
  put(10);
  std::string units;
  for (int i = 0; i < 5; ++i) {
    append_big<std::int64_t>(units, 1'000'000 + i * 100);
    append_big<std::int32_t>(units, 100);
    append_big<std::int64_t>(units, 0);
  }
  builder_.queue("Ahead", 0) = units;
  write();
  start();
  EXPECT_EQ(store_->max_offset("Ahead", 0), 0);
  EXPECT_LE(store_->min_offset("Ahead", 0), 0);
  EXPECT_EQ(readable(), 10);
}

/// #7355: the last file of a queue is gone after the machine went down; new entries then stand at
/// the wrong offsets ("logic queue order maybe wrong").
TEST_F(KnownFailures, ALostLastQueueFileIsMadeAgain) {
  put(25);
  write();
  ASSERT_TRUE(files().remove(builder_.queue_path("T", 0, 2 * kQueueFile)));
  start();
  EXPECT_EQ(store_->max_offset("T", 0), 25);
  EXPECT_EQ(readable(), 25);
}

/// #7355 with a file in the middle gone.
TEST_F(KnownFailures, ALostQueueFileInTheMiddleIsMadeAgain) {
  put(25);
  write();
  ASSERT_TRUE(files().remove(builder_.queue_path("T", 0, kQueueFile)));
  start();
  EXPECT_EQ(store_->max_offset("T", 0), 25);
  EXPECT_EQ(readable(), 25);
}

/// #6904 and others: a file that was made and never sized ("0 length not matched").
TEST_F(KnownFailures, AFileOfNoLengthIsNoReasonNotToStart) {
  put(10);
  write();
  make_file(builder_.segment_path(kSegment), "", 0);
  make_file(builder_.queue_path("T", 0, kQueueFile), "", 0);
  start();
  EXPECT_EQ(readable(), 10);
}

/// #472: thousands of queue files, all of whose entries were read, one queue after another, kept a
/// broker from starting for minutes. What a start asks of the disk grows with the queues, by a few
/// reads each, and not with their files.
TEST_F(KnownFailures, AStartReadsNoMoreOfAQueueThatHasManyFiles) {
  constexpr int kQueues = 20;
  std::int64_t now = kNow;  // 100 a second: the check point vouches for all but the last ones
  const auto start_with = [&](int entries, bool unclean) {
    for (int i = 0; i < entries * kQueues; ++i)
      builder_.put({.topic = "T" + std::to_string(i % kQueues),
                    .body = "some body",
                    .store_timestamp = now += 10});
    write(false);
    start();
    store_->start();
    store_.reset();  // cleanly: leaves a check point
    if (unclean) make_file("store/abort", "", 0);
    const std::uint64_t reads = reads_of_a_start();
    EXPECT_EQ(readable("T0"), std::ssize(builder_.queue("T0", 0)) / 20);
    store_->start();
    store_.reset();
    return reads;
  };
  const std::uint64_t clean = start_with(20, false), unclean = start_with(0, true);
  EXPECT_LE(clean, kQueues * 4);
  EXPECT_LE(unclean, kQueues * 10) << "what the last seconds wrote is made again";
  EXPECT_LE(start_with(380, false), clean + 4) << "40 files a queue instead of two";
  EXPECT_LE(start_with(0, true), unclean + 4) << "40 files a queue instead of two";
}

/// A file in the middle of the log is cut short, empty or gone: what was acknowledged and is still
/// there, on both sides, is served, and the damage is told. Whether or not the last exit was clean.
class DamagedLogFile : public KnownFailures,
                       public ::testing::WithParamInterface<std::tuple<const char*, bool>> {
 protected:
  static constexpr int kMessages = 150;
  /// Messages that stand, wholly or in part, in [from, to) of the log.
  int standing_in(std::int64_t from, std::int64_t to) const {
    int count = 0;
    for (std::size_t i = 0; i < offsets_.size(); ++i) {
      const std::int64_t end = i + 1 < offsets_.size() ? offsets_[i + 1] : builder_.log_end();
      count += offsets_[i] < to && end > from && offsets_[i] / kSegment == from / kSegment;
    }
    return count;
  }
  void put_all() {
    offsets_ = put_seconds(kMessages);
    ASSERT_GT(builder_.log_end(), 3 * kSegment);
  }
  std::vector<std::int64_t> offsets_;
};

TEST_P(DamagedLogFile, TakesOnlyWhatStoodInIt) {
  const auto [damage, unclean] = GetParam();
  const std::string_view kind = damage;
  put_all();
  write(unclean);
  const std::string path = builder_.segment_path(kSegment);
  std::int64_t kept = 0;
  if (kind == "gone") {
    ASSERT_TRUE(files().remove(path));
  } else {
    kept = kind == "empty" ? 0 : kind == "cut" ? 1'700 : 2 * 4;
    auto file = files().open(path, FileSystem::Open::kExisting);
    ASSERT_TRUE(file && (*file)->resize(static_cast<std::uint64_t>(kept)));
  }
  start();
  EXPECT_EQ(store_->max_offset("T", 0), kMessages);
  EXPECT_EQ(readable(), kMessages - standing_in(kSegment + kept, 2 * kSegment));
  EXPECT_FALSE(world_.log.lines(LogLevel::kWarn).empty());
  // Once more, after what it has left behind.
  store_.reset();
  world_.disk.kill_process();
  world_.restart();
  start();
  EXPECT_EQ(store_->max_offset("T", 0), kMessages);
  EXPECT_EQ(readable(), kMessages - standing_in(kSegment + kept, 2 * kSegment));
}

INSTANTIATE_TEST_SUITE_P(Kinds, DamagedLogFile,
                         ::testing::Combine(::testing::Values("gone", "empty", "cut", "beheaded"),
                                            ::testing::Bool()),
                         [](const auto& tested) {
                           return std::string{std::get<0>(tested.param)} +
                                  (std::get<1>(tested.param) ? "_unclean" : "_clean");
                         });

/// A record in the last file that the checkpoint vouches for: what is behind it stays.
TEST_F(KnownFailures, ADamagedRecordThatWasOnDiskDoesNotEndTheLog) {
  damage_the_eleventh(put_seconds(25));
  write();
  start();
  EXPECT_EQ(store_->max_offset("T", 0), 25);
  EXPECT_EQ(readable(), 24);
  EXPECT_EQ(store_->status().damages, 1);
}

/// The same record when nothing says that what is behind it was ever on disk: a power cut may leave
/// later sectors and not earlier ones.
TEST_F(KnownFailures, ATornRecordThatNothingVouchesForEndsTheLog) {
  damage_the_eleventh(put_seconds(25));
  write();
  std::string vouches;
  append_big<std::int64_t>(vouches, kNow + 9'000);
  append_big<std::int64_t>(vouches, kNow + 9'000);
  make_file("store/checkpoint", vouches, 4'096);
  start();
  EXPECT_EQ(store_->max_offset("T", 0), 10);
  EXPECT_EQ(readable(), 10);
}

/// #405, #467: messages whose entries were never made, after an exit that was not clean, are there
/// after the next start.
TEST_F(KnownFailures, AQueueBehindTheLogCatchesUp) {
  put(25);
  builder_.queue("T", 0).resize(20 * 4);
  write();
  start();
  EXPECT_EQ(store_->max_offset("T", 0), 25);
  EXPECT_EQ(readable(), 25);
}

/// #2398: once a disk was full, queues stay unwritable until a restart.
TEST_F(KnownFailures, QueuesAreWrittenAgainOnceADiskHasRoom) {
  using Operation = apogee::testing::ForgetfulDisk::Operation;
  put(10);
  write(false);
  world_.disk.inject({.operation = Operation::kWrite,
                      .times = 3,
                      .error = Errc::kNoSpace,
                      .path_part = "/consumequeue/"});
  start();
  store_->start();
  const Append append =
      apogee::testing::append_to(*store_, "T", apogee::testing::encoded("T", "after the flood"));
  ASSERT_EQ(append.status, PutStatus::kOk);
  for (const auto end = std::chrono::steady_clock::now() + 20s;
       store_->max_offset("T", 0) < 11 && std::chrono::steady_clock::now() < end;)
    std::this_thread::yield();
  EXPECT_EQ(readable(), 11);
}

/// #3401, #6096: a table was torn by a crash of the machine.
class TornTable : public KnownFailures, public ::testing::WithParamInterface<const char*> {
 protected:
  Result<std::unique_ptr<broker::Broker>> start_broker() {
    broker::BrokerSetup setup;
    setup.broker.broker_ip1 = "10.0.0.1";
    setup.store = small_store();
    setup.server.listen_port = 10'911;
    setup.open_store = [this](Env&, const StoreConfig&,
                              StoreEvents&) -> Result<std::unique_ptr<MessageStore>> {
      reached_store_ = true;
      return Error{Errc::kUnsupported, "the tables were read"};
    };
    return broker::Broker::start(*world_.env, std::move(setup));
  }
  bool reached_store_ = false;
};

TEST_P(TornTable, IsReadFromItsBackup) {
  ASSERT_TRUE(files().create_directories("store/config"));
  const std::string path = std::string{"store/config/"} + GetParam();
  for (const std::string& torn :
       {std::string{}, std::string{"{\"offsetTable\":{\"t@g\":{0:"}, std::string(64, '\0')}) {
    make_file(path, torn, torn.size());
    make_file(path + ".bak", "{}", 2);
    const auto started = start_broker();
    ASSERT_FALSE(started);
    EXPECT_EQ(started.error().detail, "the tables were read");
  }
}

TEST_P(TornTable, WithoutABackupIsNamed) {
  ASSERT_TRUE(files().create_directories("store/config"));
  const std::string path = std::string{"store/config/"} + GetParam();
  make_file(path, "{\"offsetTable\":{\"t@g\":{0:", 25);
  const auto started = start_broker();
  ASSERT_FALSE(started);
  EXPECT_THAT(started.error().detail, ::testing::HasSubstr(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Tables, TornTable,
                         ::testing::Values("consumerOffset.json", "topics.json",
                                           "subscriptionGroup.json"),
                         [](const auto& tested) {
                           std::string name = tested.param;
                           return name.substr(0, name.find('.'));
                         });

}  // namespace
}  // namespace apogee::crash
