#include "testing/forgetful_disk.h"

#include <atomic>
#include <set>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace apogee::testing {
namespace {

using Operation = ForgetfulDisk::Operation;
using Open = FileSystem::Open;

/// A file at `path` whose name is durable, with `content` that is synced.
std::unique_ptr<File> durable_file(FileSystem& files, const std::string& path,
                                   std::string_view content) {
  auto file = files.open(path, Open::kCreate);
  EXPECT_TRUE(file) << file.error().detail;
  EXPECT_TRUE((*file)->write_at(0, as_bytes(content)));
  EXPECT_TRUE((*file)->sync());
  const std::size_t slash = path.rfind('/');
  EXPECT_TRUE(files.sync_directory(slash == std::string::npos ? "" : path.substr(0, slash)));
  return *std::move(file);
}

/// Content of `path` or "-" when there is none.
std::string content_of(FileSystem& files, const std::string& path) {
  auto file = files.open(path, Open::kReadOnly);
  if (!file) return "-";
  std::string content(*(*file)->size(), '?');
  auto n = (*file)->read_at(0, std::as_writable_bytes(std::span{content}));
  EXPECT_TRUE(n);
  EXPECT_EQ(*n, content.size());
  return content;
}

TEST(ForgetfulDisk, ReadsBackWhatWasWritten) {
  ForgetfulDisk disk;
  auto file = disk.files().open("a", Open::kCreate);
  ASSERT_TRUE(file);
  const std::array pieces{as_bytes("one"), as_bytes("two")};
  ASSERT_TRUE((*file)->write_at(5, pieces));
  EXPECT_EQ(content_of(disk.files(), "a"), std::string(5, '\0') + "onetwo");
  EXPECT_EQ(disk.files().stat("a")->size, 11u);
}

TEST(ForgetfulDisk, FindsNamesAsAFileSystemDoes) {
  ForgetfulDisk disk{[] { return 42; }};
  FileSystem& files = disk.files();
  EXPECT_EQ(files.open("x/a", Open::kCreate).error().code, Errc::kNotFound);
  ASSERT_TRUE(files.create_directories("x/y/z"));
  EXPECT_EQ(files.open("x/a", Open::kExisting).error().code, Errc::kNotFound);
  ASSERT_TRUE(files.open("/x//b", Open::kCreate));
  ASSERT_TRUE(files.rename("x/b", "x/a"));
  auto entries = files.list("./x");
  ASSERT_TRUE(entries);
  ASSERT_EQ(entries->size(), 2u);
  EXPECT_EQ((*entries)[0].name, "a");
  EXPECT_EQ((*entries)[0].modified_ms, 42);
  EXPECT_TRUE((*entries)[1].is_directory);
  EXPECT_EQ(files.remove("x/y").error().code, Errc::kIo) << "not empty";
  ASSERT_TRUE(files.remove("x/y/z"));
  ASSERT_TRUE(files.remove("x/y"));
  EXPECT_EQ(files.remove("x/y").error().code, Errc::kNotFound);
  EXPECT_EQ(files.list("nowhere").error().code, Errc::kNotFound);
}

TEST(ForgetfulDisk, ACrashDropsBytesThatWereNotSynced) {
  ForgetfulDisk disk;
  auto file = durable_file(disk.files(), "a", "old");
  ASSERT_TRUE(file->write_at(0, as_bytes("new and longer")));
  EXPECT_EQ(content_of(disk.files(), "a"), "new and longer");
  EXPECT_EQ(*disk.durable_content("a"), "old");
  disk.crash();
  EXPECT_EQ(content_of(disk.files(), "a"), "old");
}

TEST(ForgetfulDisk, ACrashDropsNamesThatWereNotSynced) {
  ForgetfulDisk disk;
  durable_file(disk.files(), "a", "A");
  durable_file(disk.files(), "b", "B");
  auto c = disk.files().open("c", Open::kCreate);
  ASSERT_TRUE((*c)->sync());  // saves the bytes, not the name
  ASSERT_TRUE(disk.files().remove("a"));
  ASSERT_TRUE(disk.files().rename("b", "d"));
  disk.crash();
  EXPECT_EQ(content_of(disk.files(), "a"), "A");
  EXPECT_EQ(content_of(disk.files(), "b"), "B");
  EXPECT_EQ(content_of(disk.files(), "c"), "-");
  EXPECT_EQ(content_of(disk.files(), "d"), "-");
}

TEST(ForgetfulDisk, ADirectoryIsLostWithAllInItUnlessItsParentIsSynced) {
  ForgetfulDisk disk;
  ASSERT_TRUE(disk.files().create_directories("x/y"));
  durable_file(disk.files(), "x/y/a", "A");
  ASSERT_TRUE(disk.files().sync_directory("x"));
  EXPECT_FALSE(disk.durable_content("x/y/a"));
  ASSERT_TRUE(disk.files().sync_directory(""));
  EXPECT_EQ(*disk.durable_content("x/y/a"), "A");
  ASSERT_TRUE(disk.files().create_directories("x/z"));
  durable_file(disk.files(), "x/z/b", "B");
  disk.crash();
  EXPECT_EQ(content_of(disk.files(), "x/y/a"), "A");
  EXPECT_EQ(disk.files().list("x/z").error().code, Errc::kNotFound);
}

TEST(ForgetfulDisk, KeepsAllBelowATreeThatWasSyncedAndNothingBesideIt) {
  ForgetfulDisk disk;
  ASSERT_TRUE(disk.files().create_directories("x/y"));
  ASSERT_TRUE(disk.files().create_directories("z"));
  ASSERT_TRUE(disk.files().sync_directory(""));
  for (const char* path : {"x/y/a", "x/b", "z/c"}) {
    auto file = disk.files().open(path, Open::kCreate);
    ASSERT_TRUE((*file)->write_at(0, as_bytes("content")));
  }
  disk.inject({.operation = Operation::kSyncTree, .times = 1});
  EXPECT_FALSE(disk.files().sync_tree("z"));
  ASSERT_TRUE(disk.files().sync_tree("x"));
  EXPECT_EQ(disk.files().sync_tree("nowhere").error().code, Errc::kNotFound);
  disk.crash();
  EXPECT_EQ(content_of(disk.files(), "x/y/a"), "content");
  EXPECT_EQ(content_of(disk.files(), "x/b"), "content");
  EXPECT_EQ(content_of(disk.files(), "z/c"), "-");
}

TEST(ForgetfulDisk, ReplacingByRenameWithoutSyncingTheNewFileLosesBoth) {
  ForgetfulDisk disk;
  durable_file(disk.files(), "a", "old");
  auto fresh = disk.files().open("a.new", Open::kCreate);
  ASSERT_TRUE((*fresh)->write_at(0, as_bytes("new")));
  ASSERT_TRUE(disk.files().rename("a.new", "a"));
  ASSERT_TRUE(disk.files().sync_directory(""));
  disk.crash();
  EXPECT_EQ(content_of(disk.files(), "a"), "");
}

TEST(ForgetfulDisk, AKillForgetsNothingThatWasWrittenButACrashAfterItDoes) {
  ForgetfulDisk disk;
  auto file = durable_file(disk.files(), "a", "old");
  ASSERT_TRUE(file->write_at(0, as_bytes("new")));
  ASSERT_TRUE(disk.files().open("b", Open::kCreate));
  disk.kill_process();
  EXPECT_EQ(content_of(disk.files(), "a"), "new");
  EXPECT_EQ(content_of(disk.files(), "b"), "");
  disk.crash();
  EXPECT_EQ(content_of(disk.files(), "a"), "old");
  EXPECT_EQ(content_of(disk.files(), "b"), "-");
}

TEST(ForgetfulDisk, WhoeverWasThereBeforeACrashIsCutOff) {
  ForgetfulDisk disk;
  FileSystem& before = disk.files();
  auto file = durable_file(before, "a", std::string(4096, 'a'));
  auto mapping = file->map(0, 4096, Access::kWrite);
  ASSERT_TRUE(mapping);
  auto lock = before.lock("lock");
  ASSERT_TRUE(lock);
  disk.crash();
  EXPECT_EQ(file->write_at(0, as_bytes("x")).error().code, Errc::kIo);
  EXPECT_EQ(file->sync().error().code, Errc::kIo);
  EXPECT_EQ(before.remove("a").error().code, Errc::kIo);
  EXPECT_EQ(before.open("b", Open::kCreate).error().code, Errc::kIo);
  (*mapping)->bytes()[0] = std::byte{'!'};  // its memory is still there, the disk is another
  EXPECT_EQ((*mapping)->sync(0, 4096).error().code, Errc::kIo);
  EXPECT_EQ(content_of(disk.files(), "a"), std::string(4096, 'a'));
  EXPECT_TRUE(disk.files().lock("lock")) << "a dead process holds no locks";
}

TEST(ForgetfulDisk, PowerCanFailInTheMiddleOfThings) {
  ForgetfulDisk disk;
  auto file = durable_file(disk.files(), "a", "old");
  disk.lose_power_after(2);
  EXPECT_TRUE(file->write_at(0, as_bytes("new")));
  EXPECT_TRUE(file->sync());
  EXPECT_TRUE(file->size()) << "looking changes nothing";
  EXPECT_FALSE(file->write_at(0, as_bytes("xxx")));
  EXPECT_FALSE(disk.files().open("a", Open::kExisting));
  disk.crash();
  EXPECT_EQ(content_of(disk.files(), "a"), "new");
  EXPECT_TRUE(disk.files().remove("a"));
}

TEST(ForgetfulDisk, ALockIsRefusedToASecond) {
  ForgetfulDisk disk;
  {
    auto held = disk.files().lock("lock");
    ASSERT_TRUE(held);
    EXPECT_TRUE(*disk.files().is_locked("lock"));
    EXPECT_EQ(disk.files().lock("lock").error().code, Errc::kExists);
  }
  EXPECT_FALSE(*disk.files().is_locked("lock"));
  EXPECT_FALSE(*disk.files().is_locked("nowhere"));
  EXPECT_TRUE(disk.files().lock("lock"));
}

TEST(ForgetfulDisk, AMappingSeesLaterWritesAndIsSyncedByRange) {
  ForgetfulDisk disk;
  auto file = durable_file(disk.files(), "a", std::string(3 * 4096, '.'));
  auto view = file->map(0, 3 * 4096, Access::kRead);
  auto writable = file->map(0, 3 * 4096, Access::kWrite);
  ASSERT_TRUE(view && writable);
  ASSERT_TRUE(file->write_at(4096, as_bytes("w")));
  EXPECT_EQ((*view)->bytes()[4096], std::byte{'w'});
  (*writable)->bytes()[0] = std::byte{'m'};
  (*writable)->bytes()[8192] = std::byte{'n'};
  EXPECT_EQ((*view)->bytes()[0], std::byte{'m'});
  ASSERT_TRUE((*writable)->sync(0, 1));
  disk.crash();
  const std::string left = content_of(disk.files(), "a");
  EXPECT_EQ(left[0], 'm');
  EXPECT_EQ(left[4096], '.');
  EXPECT_EQ(left[8192], '.');
}

TEST(ForgetfulDisk, AFilesSyncSavesWhatWasWrittenThroughAMapping) {
  ForgetfulDisk disk;
  auto file = durable_file(disk.files(), "a", std::string(4096, '.'));
  {
    auto writable = file->map(0, 4096, Access::kWrite);
    (*writable)->bytes()[7] = std::byte{'m'};
  }
  ASSERT_TRUE(file->sync());
  disk.crash();
  EXPECT_EQ(content_of(disk.files(), "a")[7], 'm');
}

TEST(ForgetfulDisk, RefusesAMappingBehindTheEnd) {
  ForgetfulDisk disk;
  auto file = durable_file(disk.files(), "a", "short");
  EXPECT_EQ(file->map(0, 4096, Access::kRead).error().code, Errc::kInvalidArgument);
}

TEST(ForgetfulDisk, ASparseGibibyteIsCheap) {
  ForgetfulDisk disk;
  for (int i = 0; i < 50; ++i) {
    auto file = disk.files().open(std::to_string(i), Open::kCreate);
    ASSERT_TRUE((*file)->resize(1u << 30));
    auto view = (*file)->map(0, 1u << 30, Access::kWrite);
    ASSERT_TRUE(view);
    (*view)->bytes()[(1u << 30) - 1] = std::byte{'z'};
    ASSERT_TRUE((*file)->sync());
  }
  ASSERT_TRUE(disk.files().sync_directory(""));
  disk.crash();
  auto file = disk.files().open("49", Open::kReadOnly);
  std::byte last{};
  ASSERT_TRUE((*file)->read_at((1u << 30) - 1, {&last, 1}));
  EXPECT_EQ(last, std::byte{'z'});
}

TEST(ForgetfulDisk, ShrinkingIsForgottenTooAndLeavesZerosBehindOnceSynced) {
  ForgetfulDisk disk;
  auto file = durable_file(disk.files(), "a", std::string(10'000, 'a'));
  ASSERT_TRUE(file->resize(100));
  ASSERT_TRUE(file->resize(10'000));
  EXPECT_EQ(content_of(disk.files(), "a")[9'000], '\0');
  {
    auto other = disk.clone();
    other->crash();
    EXPECT_EQ(content_of(other->files(), "a"), std::string(10'000, 'a'));
  }
  ASSERT_TRUE(file->sync());
  disk.crash();
  EXPECT_EQ(content_of(disk.files(), "a"), std::string(100, 'a') + std::string(9'900, '\0'));
}

TEST(ForgetfulDisk, ASeededCrashKeepsTearsAndReordersButNeverTouchesWhatWasSynced) {
  std::set<std::string> outcomes;
  std::set<bool> fresh_name, removed_name;
  bool torn = false, reordered = false;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    ForgetfulDisk disk;
    auto file = durable_file(disk.files(), "a", std::string(4 * 4096, 's'));
    durable_file(disk.files(), "b", "B");
    ASSERT_TRUE(file->write_at(4096, as_bytes(std::string(2 * 4096, 'u'))));
    ASSERT_TRUE(disk.files().open("c", Open::kCreate));
    ASSERT_TRUE(disk.files().remove("b"));
    disk.crash(seed);
    const std::string left = content_of(disk.files(), "a");
    ASSERT_EQ(left.substr(0, 4096), std::string(4096, 's'));
    ASSERT_EQ(left.substr(3 * 4096), std::string(4096, 's'));
    ASSERT_EQ(left.find_first_not_of("su"), std::string::npos);
    const std::string first = left.substr(4096, 4096), second = left.substr(2 * 4096, 4096);
    torn |= first.find('s') != std::string::npos && first.find('u') != std::string::npos;
    reordered |= first == std::string(4096, 's') && second == std::string(4096, 'u');
    outcomes.insert(left);
    fresh_name.insert(content_of(disk.files(), "c") != "-");
    removed_name.insert(content_of(disk.files(), "b") == "-");
  }
  EXPECT_TRUE(torn);
  EXPECT_TRUE(reordered);
  EXPECT_GT(outcomes.size(), 20u);
  EXPECT_EQ(fresh_name.size(), 2u) << "an unsynced creation both survives and not";
  EXPECT_EQ(removed_name.size(), 2u);
}

TEST(ForgetfulDisk, TheSameSeedLosesTheSame) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    ForgetfulDisk disk;
    auto file = durable_file(disk.files(), "a", "start");
    for (int i = 0; i < 20; ++i)
      ASSERT_TRUE(file->write_at(i * 1'000, as_bytes(std::string(1'000, char('a' + i)))));
    auto other = disk.clone();
    disk.crash(seed);
    other->crash(seed);
    EXPECT_EQ(content_of(disk.files(), "a"), content_of(other->files(), "a"));
  }
}

TEST(ForgetfulDisk, FailsTheOperationThatIsAskedForAndOnlyThat) {
  ForgetfulDisk disk;
  auto a = durable_file(disk.files(), "a", "start");
  auto b = durable_file(disk.files(), "b", "start");
  disk.inject({.operation = Operation::kWrite,
               .after = 1,
               .times = 2,
               .error = Errc::kNoSpace,
               .path_part = "a",
               .written = 2});
  EXPECT_TRUE(b->write_at(0, as_bytes("BBBBB")));
  EXPECT_TRUE(a->write_at(0, as_bytes("AAAAA")));
  EXPECT_EQ(a->write_at(0, as_bytes("xxxxx")).error().code, Errc::kNoSpace);
  EXPECT_EQ(content_of(disk.files(), "a"), "xxAAA") << "a short write";
  EXPECT_FALSE(a->write_at(0, as_bytes("yyyyy")));
  EXPECT_TRUE(a->write_at(0, as_bytes("zzzzz")));
  disk.inject({.operation = Operation::kOpen, .times = ForgetfulDisk::kForever});
  EXPECT_FALSE(disk.files().open("b", Open::kExisting));
  EXPECT_FALSE(disk.files().open("b", Open::kExisting));
  disk.clear_faults();
  EXPECT_TRUE(disk.files().open("b", Open::kExisting));
  EXPECT_GE(disk.count(Operation::kWrite), 6u);
}

TEST(ForgetfulDisk, EveryOperationCanFail) {
  ForgetfulDisk disk;
  FileSystem& files = disk.files();
  auto file = durable_file(files, "a", std::string(4096, 'a'));
  auto mapping = file->map(0, 4096, Access::kWrite);
  for (int i = 0; i < static_cast<int>(Operation::kCount); ++i)
    disk.inject({.operation = static_cast<Operation>(i)});
  std::byte one{};
  EXPECT_FALSE(files.open("a", Open::kExisting));
  EXPECT_FALSE(file->read_at(0, {&one, 1}));
  EXPECT_FALSE(file->write_at(0, as_bytes("x")));
  EXPECT_FALSE(file->sync());
  EXPECT_FALSE(file->resize(1));
  EXPECT_FALSE(file->allocate(0, 1));
  EXPECT_FALSE(file->map(0, 4096, Access::kRead));
  EXPECT_FALSE((*mapping)->sync(0, 1));
  EXPECT_FALSE(files.rename("a", "b"));
  EXPECT_FALSE(files.remove("a"));
  EXPECT_FALSE(files.create_directories("d"));
  EXPECT_FALSE(files.sync_directory(""));
  EXPECT_FALSE(files.sync_tree(""));
  EXPECT_FALSE(files.list(""));
  EXPECT_FALSE(files.space(""));
  EXPECT_EQ(content_of(files, "a"), std::string(4096, 'a'));
}

TEST(ForgetfulDisk, RetryingAFailedSyncDoesNotBringTheBytesBack) {
  ForgetfulDisk disk;
  auto file = durable_file(disk.files(), "a", "old");
  ASSERT_TRUE(file->write_at(0, as_bytes("new")));
  disk.inject({.operation = Operation::kSync});
  EXPECT_FALSE(file->sync());
  EXPECT_TRUE(file->sync()) << "as on Linux: the pages are clean now";
  EXPECT_EQ(*disk.durable_content("a"), "old");
  ASSERT_TRUE(file->write_at(0, as_bytes("newer")));
  EXPECT_TRUE(file->sync());
  EXPECT_EQ(*disk.durable_content("a"), "newer");
}

TEST(ForgetfulDisk, FillsUp) {
  ForgetfulDisk disk;
  disk.limit_space(10 * 4096);
  auto file = durable_file(disk.files(), "a", std::string(4 * 4096, 'a'));
  EXPECT_EQ(disk.files().space("")->available, 6u * 4096);
  ASSERT_TRUE(file->resize(1 << 20)) << "sparse";
  EXPECT_EQ(disk.files().space("")->available, 6u * 4096);
  ASSERT_TRUE(file->allocate(4 * 4096, 4 * 4096));
  EXPECT_EQ(file->allocate(8 * 4096, 3 * 4096).error().code, Errc::kNoSpace);
  EXPECT_EQ(file->write_at(8 * 4096 - 1, as_bytes(std::string(4 * 4096, 'b'))).error().code,
            Errc::kNoSpace);
  EXPECT_EQ(disk.used_space(), 10u * 4096);
  EXPECT_EQ(content_of(disk.files(), "a")[10 * 4096 - 1], 'b') << "what fitted was written";
  EXPECT_EQ(content_of(disk.files(), "a")[10 * 4096], '\0');
  ASSERT_TRUE(file->write_at(0, as_bytes("reserved pages can still be written")));
  file.reset();
  ASSERT_TRUE(disk.files().remove("a"));
  EXPECT_EQ(disk.files().space("")->available, 10u * 4096);
}

TEST(ForgetfulDisk, KnowsWhoWroteThroughAMappingWithoutReserving) {
  ForgetfulDisk disk;
  auto file = disk.files().open("a", Open::kCreate);
  ASSERT_TRUE((*file)->resize(4 * 4096));
  ASSERT_TRUE((*file)->allocate(0, 4096));
  auto mapping = (*file)->map(0, 4 * 4096, Access::kWrite);
  (*mapping)->bytes()[5] = std::byte{1};
  EXPECT_EQ((*mapping)->bytes()[3 * 4096], std::byte{0}) << "reading needs no block";
  EXPECT_THAT(disk.written_without_reservation(), ::testing::IsEmpty());
  (*mapping)->bytes()[4096] = std::byte{1};
  EXPECT_THAT(disk.written_without_reservation(), ::testing::ElementsAre("/a"));
}

TEST(ForgetfulDisk, FlipsABitForGood) {
  ForgetfulDisk disk;
  durable_file(disk.files(), "a", "abc");
  ASSERT_TRUE(disk.flip_bit("a", 8 + 5));
  EXPECT_EQ(content_of(disk.files(), "a"), "aBc");
  disk.crash();
  EXPECT_EQ(content_of(disk.files(), "a"), "aBc");
  EXPECT_FALSE(disk.flip_bit("a", 24));
}

TEST(ForgetfulDisk, ACloneGoesItsOwnWay) {
  ForgetfulDisk disk;
  auto file = durable_file(disk.files(), "a", "both");
  ASSERT_TRUE(file->write_at(0, as_bytes("BOTH")));
  auto other = disk.clone();
  ASSERT_TRUE(file->write_at(0, as_bytes("mine")));
  EXPECT_EQ(content_of(other->files(), "a"), "BOTH");
  other->crash();
  EXPECT_EQ(content_of(other->files(), "a"), "both");
  EXPECT_EQ(content_of(disk.files(), "a"), "mine");
}

TEST(ForgetfulDisk, ManyThreadsWorkWhileItCrashes) {
  ForgetfulDisk disk;
  FileSystem& files = disk.files();
  std::atomic<int> cut_off{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const std::string name = "f" + std::to_string(t);
      auto file = files.open(name, Open::kCreate);
      for (std::uint64_t i = 0; file; ++i) {
        if (!(*file)->write_at(i % 1'000 * 100, as_bytes(std::string(100, 'x')))) break;
        if (i % 10 == 0 && !(*file)->sync()) break;
        std::byte one{};
        if (!(*file)->read_at(0, {&one, 1})) break;
        if (!files.rename(name, name) || !files.sync_directory("")) break;
      }
      ++cut_off;
    });
  }
  while (disk.count(Operation::kSync) < 50) std::this_thread::yield();
  disk.crash(1);
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(cut_off, 4);
  EXPECT_TRUE(disk.files().open("new", Open::kCreate));
}

}  // namespace
}  // namespace apogee::testing
