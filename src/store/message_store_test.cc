#include "store/message_store.h"

#include <atomic>
#include <future>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "testing/eventually.h"
#include "testing/manual_clock.h"
#include "testing/store_on_disk.h"
#include "testing/wrapped_files.h"

namespace apogee::store {
namespace {

class Store : public testing::StoreOnDisk<StoreEvents> {
 protected:
  Store() {
    config_.consume_queue_file_bytes = 400;
    config_.index_slots = 100;
    config_.index_units = 500;
  }
  MessageStore& store() { return *store_; }

  Append send(std::string_view topic, std::int32_t queue, std::string_view body,
              std::string_view keys = "", std::string_view tags = "") {
    const Properties properties{{protocol::property::kKeys, std::string{keys}},
                                {protocol::property::kTags, std::string{tags}}};
    return append(topic, encoded(topic, body, properties, 0, queue), queue);
  }
  /// And the next start.
  void power_cut() {
    outside_.disk.crash();
    close();
    open();
  }
  void delete_topic(std::string_view topic) {
    const auto deleted = store().delete_topic(topic);
    ASSERT_TRUE(deleted) << deleted.error().detail;
  }
  /// With SYNC_FLUSH readers see what is on disk.
  void flush() {
    std::promise<PutStatus> done;
    store().when_durable(store().status().commit_log_max_offset,
                         [&](PutStatus status) { done.set_value(status); });
    EXPECT_EQ(done.get_future().get(), PutStatus::kOk);
    wait_dispatched();
  }
  std::vector<std::string> read_all(std::string_view topic, std::int32_t queue,
                                    const MessageFilter* filter = nullptr) {
    std::vector<std::string> bodies;
    std::int64_t offset = std::max<std::int64_t>(store().min_offset(topic, queue), 0);
    for (;;) {
      const GetResult got =
          store().get({.topic = topic, .queue_id = queue, .offset = offset, .filter = filter});
      if (got.next_offset <= offset) return bodies;
      offset = got.next_offset;
      for (const Bytes each : got.records) {
        Bytes rest = each;
        while (!rest.empty()) {
          const auto message = protocol::decode_message(rest);
          if (!message) {
            ADD_FAILURE() << "a record that does not decode";
            return bodies;
          }
          bodies.emplace_back(as_text(message->body));
          rest = rest.subspan(static_cast<std::size_t>(message->size));
        }
      }
    }
  }
};

TEST_F(Store, IsThereAfterAPowerCutHoweverManyDirectoriesWereMadeForIt) {
  config_.root = "/some/where/store";
  config_.commit_log_path = "/other/disk/log";
  open();
  send("T", 0, "body");
  flush();
  power_cut();
  EXPECT_EQ(read_all("T", 0), std::vector<std::string>{"body"});
}

TEST_F(Store, DoesNotStartWhileTheNameOfItsDirectoryMayBeLost) {
  config_.root = "/some/store";
  outside_.disk.inject({.operation = testing::ForgetfulDisk::Operation::kSyncDirectory});
  EXPECT_FALSE(try_open()) << "a power cut would take all of it";
  open();
  send("T", 0, "body");
  flush();
  power_cut();
  EXPECT_EQ(read_all("T", 0), std::vector<std::string>{"body"});
}

TEST_F(Store, WhatAFailedSyncLeftInMemoryIsOnDiskAfterTheNextStart) {
  config_.flush_disk_type = FlushDiskType::kAsyncFlush;
  config_.flush_interval_ms = 1'000'000;
  open();
  send("T", 0, "body");
  kill();
  outside_.disk.inject(
      {.operation = testing::ForgetfulDisk::Operation::kSync, .path_part = "/commitlog/"});
  EXPECT_FALSE(try_open()) << "and its pages count as written from now on";
  open();
  power_cut();
  EXPECT_EQ(read_all("T", 0), std::vector<std::string>{"body"});
}

TEST_F(Store, NothingIsWrittenOverWhatAFailedWriteMayHaveLeft) {
  open();
  send("T", 0, "before");
  outside_.disk.inject({.operation = testing::ForgetfulDisk::Operation::kWrite,
                        .path_part = "/commitlog/",
                        .written = 8});
  EXPECT_EQ(send("T", 0, "refused").status, PutStatus::kServiceNotAvailable);
  const Append after = send("T", 0, "after");
  EXPECT_EQ(after.status, PutStatus::kOk);
  EXPECT_EQ(after.queue_offset, 1);
  EXPECT_EQ(after.physical_offset, config_.commit_log_file_bytes) << "in the next file";
  flush();
  power_cut();
  EXPECT_EQ(read_all("T", 0), (std::vector<std::string>{"before", "after"}));
}

TEST_F(Store, AQueueOfWhichAPowerCutLeftTheLastFileAloneBeginsAtZero) {
  open();
  for (int i = 0; i < 50; ++i) send("T", 0, "body");
  wait_dispatched();
  kill();
  FileSystem& files = outside_.disk.files();
  const auto queue_files = names("/store/consumequeue/T/0");
  ASSERT_GT(queue_files.size(), 1u);
  for (std::size_t i = 0; i + 1 < queue_files.size(); ++i)
    ASSERT_TRUE(files.remove("/store/consumequeue/T/0/" + queue_files[i]));
  for (const std::string& each : names("/store/commitlog"))
    ASSERT_TRUE(files.remove("/store/commitlog/" + each));
  ASSERT_TRUE(files.open("/store/commitlog/00000000000000000000", FileSystem::Open::kCreate));
  open();
  EXPECT_EQ(store().max_offset("T", 0), 0);
  EXPECT_EQ(send("T", 0, "new").queue_offset, 0);
  wait_dispatched();
  EXPECT_EQ(read_all("T", 0), std::vector<std::string>{"new"});
}

TEST_F(Store, ADeletedTopicThatComesAgainCanBeRead) {
  open();
  send("T", 0, "before");
  wait_dispatched();
  delete_topic("T");
  EXPECT_EQ(send("T", 0, "after").queue_offset, 0);
  wait_dispatched();
  EXPECT_EQ(read_all("T", 0), std::vector<std::string>{"after"});
}

TEST_F(Store, ATopicThatComesAgainKeepsItsMessagesAndNoneOfTheDeletedOnes) {
  open();
  for (int i = 0; i < 10; ++i) send("T", 0, "before");
  wait_dispatched();
  delete_topic("T");
  send("T", 0, "after");
  wait_dispatched();
  kill();
  open();
  EXPECT_EQ(read_all("T", 0), std::vector<std::string>{"after"});
  EXPECT_EQ(send("T", 0, "one more").queue_offset, 1);
  wait_dispatched();
  EXPECT_EQ(read_all("T", 0), (std::vector<std::string>{"after", "one more"}));
}

TEST_F(Store, ADeletedTopicDoesNotComeBackWithAStart) {
  open();
  for (int queue = 0; queue < 4; ++queue) send("T", queue, "before");
  send("other", 0, "stays");
  wait_dispatched();
  delete_topic("T");
  close();
  ASSERT_TRUE(outside_.disk.files().create_directories("/store/consumequeue/T/7"));
  open();
  EXPECT_TRUE(store().queues("T").empty());
  send("T", 1, "after");
  wait_dispatched();
  kill();
  open();
  EXPECT_EQ(store().queues("T").size(), 1);
  EXPECT_EQ(read_all("T", 1), std::vector<std::string>{"after"});
  EXPECT_EQ(read_all("other", 0), std::vector<std::string>{"stays"});
}

TEST_F(Store, MessagesThatAreNotInTheirQueuesYetGoWithTheirTopic) {
  config_.flush_disk_type = FlushDiskType::kSyncFlush;
  config_.flush_interval_ms = config_.flush_thorough_interval_ms = 1'000'000;  // when asked only
  open();
  for (int i = 0; i < 3; ++i) send("T", 0, "before");
  EXPECT_EQ(store().max_offset("T", 0), 0);
  delete_topic("T");
  flush();
  EXPECT_EQ(send("T", 0, "after").queue_offset, 0);
  flush();
  EXPECT_EQ(read_all("T", 0), std::vector<std::string>{"after"});
}

TEST_F(Store, ATopicStaysAsItIsWhenItsDeletionCannotBeWritten) {
  open();
  send("T", 0, "first");
  wait_dispatched();
  using Operation = testing::ForgetfulDisk::Operation;
  for (const auto operation : {Operation::kOpen, Operation::kWrite, Operation::kSync,
                               Operation::kRename, Operation::kSyncDirectory}) {
    outside_.disk.inject(
        {.operation = operation,
         .path_part = operation == Operation::kSyncDirectory ? "config" : "deletedTopics"});
    EXPECT_FALSE(store().delete_topic("T"));
    outside_.disk.clear_faults();
  }
  EXPECT_EQ(send("T", 0, "second").queue_offset, 1);
  wait_dispatched();
  kill();
  open();
  EXPECT_EQ(read_all("T", 0), (std::vector<std::string>{"first", "second"}));
}

TEST_F(Store, WhatIsStoredWhereAPowerCutTookADeletedTopicsMessagesIsNotTakenForThem) {
  config_.flush_interval_ms = config_.flush_thorough_interval_ms = 1'000'000;
  open();
  for (int i = 0; i < 10; ++i) send("T", 0, "before");
  wait_dispatched();
  delete_topic("T");
  power_cut();
  ASSERT_EQ(store().status().commit_log_max_offset, 0);
  send("T", 0, "after");
  wait_dispatched();
  kill();
  open();
  EXPECT_EQ(read_all("T", 0), std::vector<std::string>{"after"});
}

TEST_F(Store, QueueFilesOfADeletedTopicThatAreStillThereHideNoMessage) {
  open();
  for (int i = 0; i < 10; ++i) send("T", 0, "before");
  send("other", 0, "stays");
  wait_dispatched();
  outside_.disk.inject({.operation = testing::ForgetfulDisk::Operation::kRemove,
                        .times = testing::ForgetfulDisk::kForever,
                        .path_part = "/consumequeue/T"});
  delete_topic("T");
  outside_.disk.clear_faults();
  for (int i = 0; i < 3; ++i) send("T", 0, "after");
  wait_dispatched();
  for (const bool clean : {true, false}) {
    clean ? close() : kill();
    open();
    EXPECT_EQ(read_all("T", 0), (std::vector<std::string>{"after", "after", "after"}));
    EXPECT_EQ(read_all("other", 0), std::vector<std::string>{"stays"});
  }
}

TEST_F(Store, APowerCutBringsNoDeletedTopicBack) {
  open();
  for (int i = 0; i < 10; ++i) send("T", 0, "before");
  close();
  open();
  delete_topic("T");
  send("T", 0, "after");
  flush();
  power_cut();
  EXPECT_EQ(read_all("T", 0), std::vector<std::string>{"after"});
}

TEST_F(Store, WhatIsSentWhileItsTopicIsDeletedGoesWithItOrStays) {
  open();
  std::atomic<bool> enough{false};
  std::vector<std::string> stays;  // the sender, then the test
  std::thread sender{[&] {
    for (int i = 0; !enough; ++i) {
      const std::string body = std::to_string(i);
      const Append sent = send("T", 0, body);
      if (sent.status != PutStatus::kOk) continue;
      if (sent.queue_offset == 0) stays.clear();
      stays.push_back(body);
    }
  }};
  for (int i = 0; i < 30; ++i) {
    delete_topic("T");
    EXPECT_TRUE(testing::eventually([&] { return store().max_offset("T", 0) > 3; }));
  }
  enough = true;
  sender.join();
  wait_dispatched();
  EXPECT_EQ(read_all("T", 0), stays);
  kill();
  open();
  EXPECT_EQ(read_all("T", 0), stays);
}

class DoesSomethingMeanwhile final : public testing::WrappedFiles {
 public:
  using WrappedFiles::WrappedFiles;
  Result<Ok> rename(const std::string& from, const std::string& to) override {
    if (to.ends_with("deletedTopics.json")) something();
    return WrappedFiles::rename(from, to);
  }
  std::function<void()> something;
};

TEST_F(Store, ATopicTakesNoMessagesWhileItsDeletionIsWritten) {
  DoesSomethingMeanwhile files{outside_.disk.files()};
  env_ = std::make_unique<Env>(
      Env{*clock_, files, outside_.network, *workers_, outside_.random, outside_.log});
  auto opened = MessageStore::open(*env_, config_, events_);
  ASSERT_TRUE(opened) << opened.error().detail;
  store_ = *std::move(opened);
  store().start();
  for (int i = 0; i < 3; ++i) send("T", 0, "before");
  files.something = [&] {
    EXPECT_EQ(send("T", 0, "too late").status, PutStatus::kServiceNotAvailable);
    EXPECT_EQ(send("T", 1, "early").queue_offset, 0) << "the deleted topic had no such queue";
  };
  delete_topic("T");
  EXPECT_EQ(send("T", 0, "after").queue_offset, 0);
  EXPECT_EQ(send("T", 1, "after").queue_offset, 1);
  wait_dispatched();
  for (const bool again : {false, true}) {
    EXPECT_EQ(read_all("T", 0), std::vector<std::string>{"after"});
    EXPECT_EQ(read_all("T", 1), (std::vector<std::string>{"early", "after"}));
    if (again) break;
    kill();
    open();
  }
  close();
}

TEST_F(Store, AnExpiredQueueStaysWhileAMessageIsOnItsWayToIt) {
  config_.flush_disk_type = FlushDiskType::kSyncFlush;
  config_.flush_interval_ms = config_.flush_thorough_interval_ms = 1'000'000;  // when asked only
  config_.reserved_hours = 1;
  open();
  send("T", 0, "expires");
  while (store().status().commit_log_max_offset < 2 * config_.commit_log_file_bytes)
    send("other", 0, std::string(1'000, 'x'));
  flush();
  outside_.disk.set_modified_ms("/store/commitlog/00000000000000000000", 1);
  store().delete_expired_segments();
  ASSERT_TRUE(testing::eventually([&] { return store().status().commit_log_min_offset > 0; }));
  send("T", 0, "on its way");
  EXPECT_EQ(store().clean_expired_queues(), 0);
  flush();
  send("T", 0, "next");
  flush();
  EXPECT_EQ(read_all("T", 0), (std::vector<std::string>{"on its way", "next"}));
}

/// A queue of three messages, which have expired.
class ExpiredQueue : public Store {
 protected:
  void expire() {
    config_.reserved_hours = 1;
    open();
    for (int i = 0; i < 3; ++i) send("T", 0, "expires");
    while (store().status().commit_log_max_offset < 2 * config_.commit_log_file_bytes)
      send("other", 0, std::string(1'000, 'x'));
    wait_dispatched();
    close();  // its files are on disk
    open();
    outside_.disk.set_modified_ms("/store/commitlog/00000000000000000000", 1);
    store().delete_expired_segments();
    ASSERT_TRUE(testing::eventually([&] { return store().status().commit_log_min_offset > 0; }));
  }
};

TEST_F(ExpiredQueue, GoesOnWithItsNumbersWhenItIsCleaned) {
  expire();
  EXPECT_EQ(store().clean_expired_queues(), 1);
  EXPECT_EQ(send("T", 0, "new").queue_offset, 3) << "where its consumers stand";
  flush();
  kill();
  open();
  EXPECT_EQ(read_all("T", 0), std::vector<std::string>{"new"});
  EXPECT_EQ(send("T", 0, "next").queue_offset, 4);
}

TEST_F(ExpiredQueue, IsNotBroughtBackOverNewMessagesByAPowerCut) {
  expire();
  EXPECT_EQ(store().clean_expired_queues(), 1);
  kill();
  open();
  EXPECT_EQ(send("T", 0, "new").queue_offset, 0) << "nothing is known of it any more";
  flush();
  power_cut();
  EXPECT_EQ(read_all("T", 0), std::vector<std::string>{"new"});
}

TEST_F(Store, AStartDoesNotReadTheLogOfATopicThatIsDeleted) {
  open();
  send("other", 0, "stays");
  while (store().status().commit_log_max_offset < 3 * config_.commit_log_file_bytes)
    send("T", 0, std::string(1'000, 'x'));
  wait_dispatched();
  delete_topic("T");
  close();
  open();
  EXPECT_THAT(outside_.log.lines(LogLevel::kInfo),
              ::testing::Contains(::testing::HasSubstr("records_read=1 ")));
}

TEST_F(Store, ADamagedTableOfDeletedTopicsIsToldAndTheStoreOpens) {
  open();
  send("T", 0, "before");
  wait_dispatched();
  delete_topic("T");
  send("T", 0, "after");
  close();
  const std::string path = "/store/config/deletedTopics.json";
  const auto text = read_file(outside_.disk.files(), path);
  ASSERT_TRUE(text);
  for (std::size_t byte = 0; byte < text->size(); ++byte) {
    ASSERT_TRUE(outside_.disk.flip_bit(path, byte * 8 + 1));
    open();
    EXPECT_THAT(read_all("T", 0), ::testing::Contains("after")) << "byte " << byte;
    close();
    ASSERT_TRUE(outside_.disk.flip_bit(path, byte * 8 + 1));
  }
  ASSERT_TRUE(outside_.disk.flip_bit(path, 1));
  open();
  EXPECT_THAT(outside_.log.lines(LogLevel::kError),
              ::testing::Contains(::testing::HasSubstr("deleted topics may come back")));
  EXPECT_EQ(send("T", 0, "more").status, PutStatus::kOk);
  wait_dispatched();
  delete_topic("T");
  close();
  open();
  EXPECT_TRUE(store().queues("T").empty());
}

TEST_F(Store, AQueueThatTheDiskDoesNotGiveNowIsNotPassedOver) {
  for (const auto operation :
       {testing::ForgetfulDisk::Operation::kOpen, testing::ForgetfulDisk::Operation::kRead}) {
    open();
    send("T", 0, "first");
    send("T", 0, "second");
    wait_dispatched();
    close();
    open();
    outside_.disk.inject({.operation = operation,
                          .times = testing::ForgetfulDisk::kForever,
                          .path_part = "/consumequeue/"});
    const GetResult got = store().get({.topic = "T", .queue_id = 0, .offset = 1});
    EXPECT_EQ(got.status, GetStatus::kUnreadable);
    EXPECT_EQ(got.next_offset, 1);
    const RecordBytes record = store().record_at("T", 0, 1);
    EXPECT_TRUE(record.unreadable && !record);
    EXPECT_FALSE(store().record_at("T", 0, 99).unreadable);
    EXPECT_EQ(store().offset_by_time("T", 0, clock_->wall_ms() + 1, Boundary::kLower), 0);
    EXPECT_THAT(outside_.log.lines(LogLevel::kError),
                ::testing::Contains(::testing::HasSubstr("cannot be read, its messages wait")));
    outside_.disk.clear_faults();
    EXPECT_EQ(store().get({.topic = "T", .queue_id = 0, .offset = 1}).status, GetStatus::kFound);
    EXPECT_TRUE(store().record_at("T", 0, 1));
    close();
  }
}

TEST_F(Store, GivesBackWhatWasAppendedInOrder) {
  open();
  std::vector<std::string> sent;
  for (int i = 0; i < 500; ++i) {
    sent.push_back("body " + std::to_string(i));
    const Append append = send("t", 0, sent.back());
    ASSERT_EQ(append.status, PutStatus::kOk);
    ASSERT_EQ(append.queue_offset, i);
  }
  wait_dispatched();
  EXPECT_EQ(read_all("t", 0), sent);
  EXPECT_EQ(store().max_offset("t", 0), 500);
}

TEST_F(Store, GoesOnWhereACleanStopLeftIt) {
  std::vector<std::string> sent;
  for (int round = 0; round < 4; ++round) {
    open();
    for (int i = 0; i < 100; ++i) {
      sent.push_back(std::to_string(round) + "." + std::to_string(i));
      ASSERT_EQ(send("t", 0, sent.back()).queue_offset, static_cast<std::int64_t>(sent.size()) - 1);
    }
    close();
  }
  open();
  EXPECT_EQ(read_all("t", 0), sent);
}

TEST_F(Store, KeepsEverythingWrittenWhenTheProcessIsKilled) {
  std::vector<std::string> sent;
  for (int round = 0; round < 4; ++round) {
    open();
    for (int i = 0; i < 150; ++i) {
      sent.push_back(std::to_string(round) + "." + std::to_string(i));
      ASSERT_EQ(send("t", i % 2, sent.back()).status, PutStatus::kOk);
    }
    kill();
  }
  open();
  auto all = read_all("t", 0);
  const auto odd = read_all("t", 1);
  all.insert(all.end(), odd.begin(), odd.end());
  std::sort(all.begin(), all.end());
  std::sort(sent.begin(), sent.end());
  EXPECT_EQ(all, sent);
}

/// Durable messages are there once, in order; queues are dense; nothing was made up.
TEST_F(Store, KeepsDurableMessagesThroughPowerCuts) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937_64 random{seed};
    config_.root = "/store" + std::to_string(seed);
    config_.flush_disk_type = FlushDiskType::kSyncFlush;
    std::map<std::string, std::pair<std::int32_t, std::int64_t>> durable;
    std::set<std::string> sent;
    for (int round = 0; round < 3; ++round) {
      open();
      const int count = static_cast<int>(random() % 120);
      std::int64_t end = 0;
      std::vector<std::pair<std::string, Append>> unsure;
      for (int i = 0; i < count; ++i) {
        const auto queue = static_cast<std::int32_t>(random() % 3);
        const std::string body =
            std::to_string(round) + ":" + std::to_string(i) + std::string(random() % 300, 'x');
        sent.insert(body);
        Append append = send("t", queue, body);
        ASSERT_EQ(append.status, PutStatus::kOk);
        append.queue_id = queue;
        end = store().status().commit_log_max_offset;
        unsure.emplace_back(body, std::move(append));
        if (random() % 10 == 0) {
          std::promise<PutStatus> done;
          store().when_durable(end, [&](PutStatus status) { done.set_value(status); });
          ASSERT_EQ(done.get_future().get(), PutStatus::kOk);
          for (auto& [text, each] : unsure) durable[text] = {each.queue_id, each.queue_offset};
          unsure.clear();
        }
      }
      outside_.disk.crash(random());
      close();
      open();
      for (std::int32_t queue = 0; queue < 3; ++queue) {
        std::int64_t offset = 0;
        for (const std::string& body : read_all("t", queue)) {
          EXPECT_TRUE(sent.contains(body)) << body.substr(0, 8);
          if (const auto found = durable.find(body); found != durable.end()) {
            EXPECT_EQ(found->second, (std::pair{queue, offset})) << body.substr(0, 8);
          }
          ++offset;
        }
        EXPECT_EQ(offset, store().max_offset("t", queue));
      }
      std::size_t found = 0;
      for (std::int32_t queue = 0; queue < 3; ++queue) {
        for (const std::string& body : read_all("t", queue)) found += durable.contains(body);
      }
      EXPECT_EQ(found, durable.size());
      close();
      if (HasFailure()) return;
    }
  }
}

/// Time stands still but for the test, so that flushes come when it says.
class StoreByHand : public Store {
 protected:
  StoreByHand() {
    auto clock = std::make_unique<testing::ManualClock>();
    time_ = clock.get();
    clock_ = std::move(clock);
    workers_ = std::make_unique<InlineExecutor>();
  }
  void fill(std::string_view topic, int count) {
    for (int i = 0; i < count; ++i)
      ASSERT_EQ(send(topic, 0, std::string(300, 'x')).status, PutStatus::kOk);
    wait_dispatched();
  }
  void flush_all() {
    std::promise<PutStatus> done;
    store().when_durable(store().status().commit_log_max_offset,
                         [&](PutStatus status) { done.set_value(status); });
    ASSERT_EQ(done.get_future().get(), PutStatus::kOk);
    time_->advance(70s);
  }
  testing::ManualClock* time_;
};

TEST_F(StoreByHand, TellsOfADiskThatRefusesNowAndThenNotForEveryMessage) {
  const auto lines = [&](std::string_view part) {
    const auto all = outside_.log.lines();
    return std::count_if(all.begin(), all.end(),
                         [&](const std::string& line) { return line.find(part) != line.npos; });
  };
  open();
  outside_.disk.inject({.operation = testing::ForgetfulDisk::Operation::kWrite,
                        .times = testing::ForgetfulDisk::kForever,
                        .error = Errc::kNoSpace,
                        .path_part = "/commitlog/"});
  for (int i = 0; i < 100; ++i)
    EXPECT_EQ(send("t", 0, "body").status, PutStatus::kServiceNotAvailable);
  EXPECT_EQ(lines("append failed"), 1);
  time_->advance(10s);
  EXPECT_EQ(send("t", 0, "body").status, PutStatus::kServiceNotAvailable);
  EXPECT_EQ(lines("append failed"), 2);
  EXPECT_EQ(lines("times=101"), 1);
  outside_.disk.clear_faults();
  EXPECT_EQ(send("t", 0, "body").status, PutStatus::kOk);
  EXPECT_EQ(lines("appending again: refused_before=101"), 1);
}

TEST_F(StoreByHand, QueueFilesThatAKilledProcessMadeSurviveALaterPowerCut) {
  open();
  fill("t", 5);
  kill();
  open();
  for (int i = 0; i < 3; ++i) {  // until the checkpoint has passed those of the first life
    fill("u", 60);
    flush_all();
  }
  power_cut();
  EXPECT_EQ(store().min_offset("t", 0), 0);
  EXPECT_EQ(read_all("t", 0).size(), 5U);
  EXPECT_EQ(read_all("u", 0).size(), 180U);
}

/// The disk had kept the entry of a record that it lost.
TEST_F(StoreByHand, WhatRecoveryTakesFromAQueueDoesNotComeBackWithTheNextPowerCut) {
  for (const bool log_is_empty : {false, true}) {
    for (const bool stops : {false, true}) {
      SCOPED_TRACE(::testing::Message() << "empty " << log_is_empty << ", stops " << stops);
      config_.root = "/store" + std::to_string(log_is_empty) + std::to_string(stops);
      open();
      if (!log_is_empty) {
        fill("u", 1);
        flush_all();
      }
      fill("lost", 1);
      ASSERT_TRUE(outside_.disk.files().sync_tree(config_.root + "/consumequeue"));
      power_cut();
      EXPECT_EQ(store().max_offset("lost", 0), 0);
      for (int i = 0; i < 3; ++i) {  // until the checkpoint has passed where that record stood
        fill("u", 60);
        flush_all();
      }
      if (stops) {
        close();
        open();
        fill("u", 1);
      }
      power_cut();
      EXPECT_EQ(store().max_offset("lost", 0), 0);
      EXPECT_TRUE(read_all("lost", 0).empty());
      EXPECT_EQ(read_all("u", 0).size(), log_is_empty ? 180U : 181U);
      close();
    }
  }
}

/// Recovery begins farther back than the checkpoint says, because a queue is gone, and is cut off
/// itself when it has made some queues again and others not.
TEST_F(StoreByHand, APowerCutInRecoveryLosesNothingOfOlderQueues) {
  for (std::uint64_t operations = 1; operations <= 30; ++operations) {
    SCOPED_TRACE(::testing::Message() << "cut after " << operations);
    config_.root = "/store" + std::to_string(operations);
    open();
    fill("u", 1);  // the queue that recovery writes first
    fill("t", 5);
    for (int i = 0; i < 3; ++i) {
      fill("u", 60);
      flush_all();
    }
    outside_.disk.crash();
    close();
    ASSERT_TRUE(remove_tree(outside_.disk.files(), config_.root + "/consumequeue/u"));
    ASSERT_TRUE(outside_.disk.files().sync_directory(config_.root + "/consumequeue"));
    outside_.disk.lose_power_after(operations);
    (void)try_open();
    kill();  // write-back had been fast: all that was written is there
    open();
    EXPECT_EQ(store().min_offset("t", 0), 0);
    EXPECT_EQ(read_all("t", 0).size(), 5U);
    EXPECT_EQ(read_all("u", 0).size(), 181U);
    close();
  }
}

TEST_F(Store, FindsMessagesByKeyAndByTime) {
  open();
  send("t", 0, "one", "k1 k2");
  const Append two = send("t", 0, "two", "k2");
  wait_dispatched();
  EXPECT_EQ(store().query_by_key("t", "k2", 10, 0, clock_->wall_ms() + 1'000).size(), 2U);
  EXPECT_EQ(store().query_by_key("t", "k1", 10, 0, clock_->wall_ms() + 1'000).size(), 1U);
  EXPECT_TRUE(store().query_by_key("other", "k1", 10, 0, clock_->wall_ms() + 1'000).empty());
  EXPECT_EQ(store().offset_by_time("t", 0, 0, Boundary::kLower), 0);
  EXPECT_EQ(store().offset_by_time("t", 0, two.store_timestamp + 10'000, Boundary::kLower), 2);
  EXPECT_EQ(store().offset_by_time("t", 0, two.store_timestamp + 10'000, Boundary::kUpper), 1);
  EXPECT_EQ(as_text(protocol::decode_message(store().record_at(two.physical_offset).bytes)->body),
            "two");
}

TEST_F(Store, FindsMessagesByTagWhateverTheirKeys) {
  open();
  send("t", 0, "one", "red", "blue");
  send("t", 0, "two", "blue T#blue", "red");
  send("t", 0, "three", "", "blue");
  wait_dispatched();
  std::string bodies;
  for (const RecordBytes& each :
       store().query_by_tag("t", "blue", 10, 0, clock_->wall_ms() + 1'000))
    bodies += std::string{as_text(protocol::decode_message(each.bytes)->body)} + " ";
  EXPECT_EQ(bodies, "three one ");
  EXPECT_TRUE(store().query_by_tag("other", "blue", 10, 0, clock_->wall_ms() + 1'000).empty());
}

TEST_F(Store, RefusesADirectoryInUse) {
  open();
  const auto second = MessageStore::open(*env_, config_, events_);
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().detail.find("/store is in use by another process"), std::string::npos)
      << second.error().detail;
}

TEST_F(Store, AnswersOffsetsOutsideTheQueueAsJavaDoes) {
  open();
  EXPECT_EQ(store().get({.topic = "t", .queue_id = 0}).status, GetStatus::kNoMatchedLogicQueue);
  send("t", 0, "one");
  wait_dispatched();
  EXPECT_EQ(store().get({.topic = "t", .queue_id = 0, .offset = 1}).status,
            GetStatus::kOffsetOverflowOne);
  const GetResult far = store().get({.topic = "t", .queue_id = 0, .offset = 9});
  EXPECT_EQ(far.status, GetStatus::kOffsetOverflowBadly);
  EXPECT_EQ(far.next_offset, 1);
}

TEST_F(Store, RefusesMessagesUntilARestartWhenItsAbortMarkIsNotOnDisk) {
  outside_.disk.inject(
      {.operation = testing::ForgetfulDisk::Operation::kSync, .path_part = "/abort"});
  open();
  EXPECT_EQ(send("t", 0, "one").status, PutStatus::kServiceNotAvailable);
  EXPECT_NE(store().status().not_writable_because.find("abort mark"), std::string::npos);
  close();
  open();
  EXPECT_EQ(send("t", 0, "one").status, PutStatus::kOk);
}

TEST_F(StoreByHand, TimeInTheLogGoesOnWhereItWasAfterARestart) {
  open();
  const std::int64_t before = send("t", 0, "one").store_timestamp;
  close();
  auto earlier = std::make_unique<testing::ManualClock>(1'000'000);  // the clock was set back
  clock_ = std::move(earlier);
  open();
  EXPECT_GE(send("t", 0, "two").store_timestamp, before);
  close();
}

TEST_F(StoreByHand, ADelayBeginsAtTheClockWhateverTimeTheLogHas) {
  const auto delayed = [&] {
    append("SCHEDULE_TOPIC_XXXX",
           encoded("SCHEDULE_TOPIC_XXXX", "x", {{protocol::property::kDelay, "1"}}));
    wait_dispatched();
  };
  constexpr std::int64_t kNow = 1'700'000'000'000, kHourMs = 3'600'000;
  clock_ = std::make_unique<testing::ManualClock>(kNow + kHourMs);  // ahead of what it should be
  open();
  delayed();
  close();
  clock_ = std::make_unique<testing::ManualClock>(kNow);  // put right
  open();
  delayed();
  EXPECT_EQ(store().record_at("SCHEDULE_TOPIC_XXXX", 0, 0).tags_code, kNow + kHourMs + 1'000);
  const RecordBytes second = store().record_at("SCHEDULE_TOPIC_XXXX", 0, 1);
  EXPECT_EQ(protocol::decode_message(second.bytes)->store_timestamp, kNow + kHourMs);
  EXPECT_EQ(second.tags_code, kNow + 1'000);
  close();
}

TEST_F(StoreByHand, AnEntryThatLeadsBesideItsRecordIsNotServedAndTheNextOneIs) {
  open();
  for (const char* body : {"one", "two", "three"}) send("t", 0, body);
  wait_dispatched();
  constexpr std::uint64_t kLowByteOfSecondOffset = 20 + 7;
  ASSERT_TRUE(outside_.disk.flip_bit("/store/consumequeue/t/0/00000000000000000000",
                                     kLowByteOfSecondOffset * 8));
  EXPECT_EQ(read_all("t", 0), (std::vector<std::string>{"one", "three"}));
}

/// Takes one tag, by its code alone.
class OnlyTag final : public MessageFilter {
 public:
  explicit OnlyTag(std::string_view tag) : code_{protocol::tags_code(tag)} {}
  bool matches_tags_code(std::int64_t code) const override { return code == code_; }

 private:
  const std::int64_t code_;
};

TEST_F(StoreByHand, AnEntryWhoseTagsAreInConsumequeueExtIsFilteredByItsRecord) {
  open();
  send("t", 0, "one", "", "A");
  send("t", 0, "two", "", "B");
  send("t", 0, "three", "", "A");
  wait_dispatched();
  constexpr std::uint64_t kSignOfTagsCode = 12 * 8 + 7;
  for (const std::uint64_t entry : {0, 1, 2})
    ASSERT_TRUE(outside_.disk.flip_bit("/store/consumequeue/t/0/00000000000000000000",
                                       entry * 20 * 8 + kSignOfTagsCode));
  const OnlyTag filter{"A"};
  EXPECT_EQ(read_all("t", 0, &filter), (std::vector<std::string>{"one", "three"}));
}

TEST_F(Store, SyncsManyQueuesByOneCall) {
  using Operation = testing::ForgetfulDisk::Operation;
  constexpr std::int32_t kMany = 40;
  open();
  for (std::int32_t queue = 0; queue < kMany; ++queue) send("t", queue, "one");
  wait_dispatched();
  const auto directories = outside_.disk.count(Operation::kSyncDirectory);
  close();
  EXPECT_EQ(outside_.disk.count(Operation::kSyncTree), 1u);
  EXPECT_LT(outside_.disk.count(Operation::kSyncDirectory) - directories, 10u);
  EXPECT_FALSE(outside_.disk.files().stat("/store/abort"));
  outside_.disk.crash();
  open();
  for (std::int32_t queue = 0; queue < kMany; ++queue)
    EXPECT_EQ(read_all("t", queue), std::vector<std::string>{"one"});
}

TEST_F(Store, MakesTheQueuesAgainWhoseSyncFailed) {
  constexpr std::int32_t kMany = 40;
  open();
  for (std::int32_t queue = 0; queue < kMany; ++queue) send("t", queue, "one");
  wait_dispatched();
  outside_.disk.inject({.operation = testing::ForgetfulDisk::Operation::kSyncTree});
  close();
  EXPECT_TRUE(outside_.disk.files().stat("/store/abort")) << "the next start recovers";
  outside_.disk.crash();
  open();
  for (std::int32_t queue = 0; queue < kMany; ++queue)
    EXPECT_EQ(read_all("t", queue), std::vector<std::string>{"one"});
}

TEST_F(Store, RefusesMessagesAfterAFailedSync) {
  config_.flush_disk_type = FlushDiskType::kSyncFlush;
  open();
  ASSERT_EQ(send("t", 0, "one").status, PutStatus::kOk);
  outside_.disk.inject(
      {.operation = testing::ForgetfulDisk::Operation::kSync, .path_part = "/commitlog/"});
  std::promise<PutStatus> done;
  store().when_durable(store().status().commit_log_max_offset,
                       [&](PutStatus status) { done.set_value(status); });
  EXPECT_EQ(done.get_future().get(), PutStatus::kServiceNotAvailable);
  EXPECT_EQ(send("t", 0, "two").status, PutStatus::kServiceNotAvailable);
  EXPECT_NE(store().status().not_writable_because.find("sync"), std::string::npos);
}

}  // namespace
}  // namespace apogee::store
