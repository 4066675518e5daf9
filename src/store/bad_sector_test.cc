#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "store/message_store.h"
#include "store/repair.h"
#include "testing/disk_env.h"
#include "testing/eventually.h"
#include "testing/small_store.h"
#include "testing/store_builder.h"
#include "testing/wrapped_files.h"

/// Sectors that the disk cannot read any more.
namespace apogee::store {
namespace {

using apogee::testing::WrappedFile;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;

constexpr std::int64_t kNow = 1'700'000'000'000;
constexpr std::size_t kPage = 4'096;

/// A file one page of which cannot be read, and is zeros in its mappings. Once it is cut off or
/// written as a whole, so that it need not be read for that, the disk gives it another sector.
class FileWithABadPage final : public WrappedFile {
 public:
  FileWithABadPage(std::unique_ptr<File> real, std::uint64_t page, bool& bad)
      : WrappedFile{std::move(real)}, begin_{page * kPage}, bad_{bad} {}
  using File::write_at;
  Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) const override {
    if (bad_ && meets(offset, out.size())) return failed();
    return WrappedFile::read_at(offset, out);
  }
  Result<Ok> write_at(std::uint64_t offset, std::span<const Bytes> pieces) override {
    std::size_t bytes = 0;
    for (const Bytes each : pieces) bytes += each.size();
    if (bad_ && meets(offset, bytes)) {
      if (offset > begin_ || offset + bytes < begin_ + kPage) return failed();
      bad_ = false;
    }
    return WrappedFile::write_at(offset, pieces);
  }
  Result<Ok> resize(std::uint64_t size) override {
    if (size <= begin_) bad_ = false;
    return WrappedFile::resize(size);
  }
  /// As read_bad_pages_as_zeros() does it.
  Result<std::unique_ptr<Mapping>> map(std::uint64_t offset, std::size_t length,
                                       Access access) override {
    auto mapping = WrappedFile::map(offset, length, access);
    if (mapping && bad_) {
      void* const page = (*mapping)->bytes().data() + (begin_ - offset);
      EXPECT_NE(::mmap(page, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                MAP_FAILED);
    }
    return mapping;
  }

 private:
  bool meets(std::uint64_t offset, std::size_t bytes) const {
    return offset < begin_ + kPage && offset + bytes > begin_;
  }
  static Error failed() { return {Errc::kIo, "read: Input/output error"}; }

  const std::uint64_t begin_;
  bool& bad_;
};

/// A store whose first log file has a bad page. Its messages are a second apart.
class BadSector : public ::testing::Test {
 protected:
  static constexpr std::int64_t kSegment = 16 << 10;
  static constexpr std::size_t kBadPage = 2, kBegin = kBadPage * kPage, kEnd = kBegin + kPage;

  BadSector() {
    config_.root = "store";
    config_.commit_log_file_bytes = kSegment;
    config_.consume_queue_file_bytes = 200;
    config_.index_slots = 10;
    config_.index_units = 500;
  }
  ~BadSector() override { store_.reset(); }

  /// Which of the messages do not touch the bad page stands in sound_.
  void fill(std::int64_t messages) {
    for (std::int64_t i = 0; i < messages; ++i) {
      const auto begin = static_cast<std::size_t>(
          builder_.put({.body = "some body", .store_timestamp = kNow + i * 1'000}));
      if (builder_.log().size() <= kBegin || begin >= kEnd) sound_.push_back(i);
    }
    // What stood there nobody will know.
    auto& log = builder_.log();
    std::fill(log.begin() + kBegin, log.begin() + std::min(kEnd, log.size()), '\0');
    builder_.write(world_.disk.files());
    ASSERT_TRUE(world_.disk.files().open("store/abort", FileSystem::Open::kCreate));
  }
  void open() {
    auto opened = MessageStore::open(env_, config_, events_);
    ASSERT_TRUE(opened) << opened.error().detail;
    store_ = *std::move(opened);
  }
  void send() {
    const Append append =
        apogee::testing::append_to(*store_, "T", apogee::testing::encoded("T", "some body"));
    ASSERT_EQ(append.status, PutStatus::kOk);
    sound_.push_back(append.queue_offset);
  }
  /// Queue offsets.
  std::vector<std::int64_t> given_out() {
    std::vector<std::int64_t> offsets;
    for (std::int64_t at = 0; at < store_->max_offset("T", 0);) {
      const GetResult got = store_->get({.topic = "T", .queue_id = 0, .offset = at});
      if (got.next_offset <= at) break;
      for (const Bytes each : got.records)
        for (Bytes rest = each; !rest.empty();) {
          const auto message = protocol::decode_message(rest);
          if (!message) return offsets;
          offsets.push_back(message->queue_offset);
          rest = rest.subspan(static_cast<std::size_t>(message->size));
        }
      at = got.next_offset;
    }
    return offsets;
  }

  apogee::testing::DiskEnv world_;
  apogee::testing::StoreBuilder builder_{"store", kSegment};
  bool bad_ = true;
  apogee::testing::ChangedFiles files_{
      world_.disk.files(),
      [this](const std::string& path, std::unique_ptr<File> file) -> std::unique_ptr<File> {
        if (path != builder_.segment_path(0)) return file;
        return std::make_unique<FileWithABadPage>(std::move(file), kBadPage, bad_);
      }};
  Env env_{world_.clock, files_, world_.network, world_.workers, world_.random, world_.log};
  StoreConfig config_;
  StoreEvents events_;
  std::vector<std::int64_t> sound_;
  std::unique_ptr<MessageStore> store_;
};

TEST_F(BadSector, OfTheLogTakesNoMoreThanItselfInARecovery) {
  fill(150);
  ASSERT_LT(sound_.size(), 150U);
  ASSERT_NO_FATAL_FAILURE(open());
  EXPECT_EQ(given_out(), sound_);
  EXPECT_THAT(world_.log.lines(LogLevel::kError),
              Contains(AllOf(HasSubstr(builder_.segment_path(0)), HasSubstr("position=8192"),
                             HasSubstr("cannot read 4096 bytes"))));
}

TEST_F(BadSector, IsNamedAndMendedOffline) {
  fill(150);
  const InspectOptions options{.root = "store",
                               .index_format = {.slot_count = 10, .unit_count = 500}};
  auto inspection = Inspection::open(files_, options);
  ASSERT_TRUE(inspection) << inspection.error().detail;
  std::vector<std::string> findings;
  const auto report = inspection->check([&](const Finding& finding) {
    findings.push_back(fmt::format("{} {} {}", finding.file, finding.position, finding.what));
  });
  ASSERT_TRUE(report) << report.error().detail;
  EXPECT_THAT(findings,
              Contains(builder_.segment_path(0) + " 8192 the disk cannot read 4096 bytes"));

  const auto remedies = plan_repair(files_, options);
  ASSERT_TRUE(remedies) << remedies.error().detail;
  for (const Remedy& each : *remedies) {
    ASSERT_TRUE(each.apply) << each.loses;
    const auto done = each.apply();
    ASSERT_TRUE(done) << done.error().detail;
  }
  EXPECT_FALSE(bad_);
  ASSERT_NO_FATAL_FAILURE(open());
  EXPECT_EQ(given_out(), sound_);
}

TEST_F(BadSector, WhatIsWrittenInItsPlaceIsRead) {
  fill(100);  // the last of them in the bad page
  ASSERT_NO_FATAL_FAILURE(open());
  EXPECT_FALSE(bad_);
  EXPECT_EQ(given_out(), sound_);
  store_->start();
  for (int i = 0; i < 30; ++i) send();
  EXPECT_TRUE(
      apogee::testing::eventually([&] { return store_->max_offset("T", 0) == sound_.back() + 1; }));
  EXPECT_EQ(given_out(), sound_);
}

}  // namespace
}  // namespace apogee::store
