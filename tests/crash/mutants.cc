#include "tests/crash/mutants.h"

#include <thread>

#include "testing/wrapped_files.h"
#include "testing/wrapped_store.h"

namespace apogee::crash {
namespace {

using apogee::testing::ChangedFiles;
using apogee::testing::WrappedFile;
using apogee::testing::WrappedFiles;
using apogee::testing::WrappedStore;

bool of_log(const std::string& path) {
  return path.find("/commitlog/") != std::string::npos;
}

/// `Mutated` in place of the files the predicate picks.
template <class Mutated>
std::function<std::unique_ptr<FileSystem>(FileSystem&)> files_where(
    std::function<bool(const std::string&)> picked) {
  return [picked](FileSystem& real) -> std::unique_ptr<FileSystem> {
    return std::make_unique<ChangedFiles>(
        real, [picked](const std::string& path, std::unique_ptr<File> file) {
          if (picked(path)) return std::unique_ptr<File>{new Mutated{std::move(file)}};
          return file;
        });
  };
}

template <class Mutated>
std::unique_ptr<FileSystem> files_as(FileSystem& real) {
  return std::make_unique<Mutated>(real);
}

struct NeverSyncs final : WrappedFile {
  using WrappedFile::WrappedFile;
  Result<Ok> sync() override { return Ok{}; }
};

struct RetriesSync final : WrappedFile {
  using WrappedFile::WrappedFile;
  Result<Ok> sync() override {
    for (int attempt = 0; attempt < 10; ++attempt)
      if (WrappedFile::sync()) return Ok{};
    return WrappedFile::sync();
  }
};

/// Not a bug: a slow disk shows what a fast one hides.
struct SyncsSlowly final : WrappedFile {
  using WrappedFile::WrappedFile;
  Result<Ok> sync() override {
    std::this_thread::sleep_for(5ms);
    return WrappedFile::sync();
  }
};

/// The checkpoint says that all is on disk long before it is.
struct RunsAhead final : WrappedFile {
  using WrappedFile::WrappedFile;
  using WrappedFile::write_at;
  Result<Ok> write_at(std::uint64_t offset, std::span<const Bytes> pieces) override {
    Buffer all;
    for (const Bytes piece : pieces) append(all, piece);
    for (std::size_t at = 0; at + 8 <= std::min<std::size_t>(all.size(), 24); at += 8) {
      const auto bytes = std::as_writable_bytes(std::span{all});
      write_big<std::int64_t>(bytes, at, read_big<std::int64_t>(as_bytes(all), at) + 3'600'000);
    }
    const Bytes ahead = as_bytes(all);
    return WrappedFile::write_at(offset, std::span{&ahead, 1});
  }
};

/// Nobody sees that the last exit was not clean.
struct HidesAbort final : WrappedFiles {
  using WrappedFiles::WrappedFiles;
  Result<DirectoryEntry> stat(const std::string& path) override {
    if (path.ends_with("/abort")) return Error{Errc::kNotFound, path};
    return WrappedFiles::stat(path);
  }
};

struct ForgetsNames final : WrappedFiles {
  using WrappedFiles::WrappedFiles;
  Result<Ok> sync_directory(const std::string& path) override {
    return path.ends_with("/commitlog") ? Result<Ok>{Ok{}} : WrappedFiles::sync_directory(path);
  }
};

/// Says at once that everything is on disk.
struct PromisesAtOnce final : WrappedStore {
  using WrappedStore::WrappedStore;
  void when_durable(std::int64_t, std::function<void(store::PutStatus)> done) override {
    done(store::PutStatus::kOk);
  }
};
Result<std::unique_ptr<store::MessageStore>> open_hasty(Env& env, const store::StoreConfig& config,
                                                        store::StoreEvents& events) {
  auto real = store::MessageStore::open(env, config, events);
  if (!real) return real.error();
  return std::unique_ptr<store::MessageStore>{new PromisesAtOnce{*std::move(real)}};
}

/// Answers wait for the disk, but readers do not.
struct ShowsAtOnce final : WrappedStore {
  ShowsAtOnce(std::unique_ptr<MessageStore> real, const store::StoreConfig& told)
      : WrappedStore{std::move(real)}, told_{told} {}
  const store::StoreConfig& config() const override { return told_; }
  const store::StoreConfig told_;
};
Result<std::unique_ptr<store::MessageStore>> open_shown_early(Env& env,
                                                              const store::StoreConfig& config,
                                                              store::StoreEvents& events) {
  store::StoreConfig early = config;
  early.flush_disk_type = store::FlushDiskType::kAsyncFlush;
  auto real = store::MessageStore::open(env, early, events);
  if (!real) return real.error();
  return std::unique_ptr<store::MessageStore>{new ShowsAtOnce{*std::move(real), config}};
}

}  // namespace

const std::vector<Mutant>& mutants() {
  using Only = Mutant::Only;
  static const std::vector<Mutant> all{
      {.name = "acknowledges-before-sync",
       .what = "a send is answered before its sync",
       .seeds = 20,
       .only = Only::kSyncFlush,
       .open_store = &open_hasty},
      {.name = "offsets-ahead-of-log",
       .what = "consumer offsets are written before the log they speak of is on disk",
       .seeds = 20,
       .only = Only::kAsyncFlush,
       .open_store = &open_hasty},
      {.name = "dispatches-before-sync",
       .what = "a queue shows a message that is not on disk",
       .seeds = 40,
       .only = Only::kSyncFlush,
       .end = End::kCutWhenQuiet,
       .files = files_where<SyncsSlowly>(&of_log),
       .open_store = &open_shown_early},
      {.name = "sync-does-nothing",
       .what = "the log is never synced",
       .seeds = 20,
       .files = files_where<NeverSyncs>(&of_log)},
      {.name = "sync-is-retried",
       .what = "a failed sync is tried again until it says yes",
       .seeds = 60,
       .only = Only::kSyncFlush,
       .end = End::kFailingSyncs,
       .files = files_where<RetriesSync>(&of_log)},
      {.name = "checkpoint-runs-ahead",
       .what = "the checkpoint vouches for queues that are not on disk",
       .seeds = 60,
       .files = files_where<RunsAhead>(
           [](const std::string& path) { return path.ends_with("/checkpoint"); })},
      {.name = "every-exit-is-clean",
       .what = "recovery trusts queues and log as after a clean stop",
       .seeds = 60,
       .files = files_as<HidesAbort>},
      {.name = "segment-name-is-forgotten",
       .what = "the directory is not synced when the log grows",
       .seeds = 20,
       .files = files_as<ForgetsNames>},
      {.name = "tables-are-not-synced",
       .what = "a table is replaced by a file that is not on disk",
       .seeds = 20,
       .files = files_where<NeverSyncs>(
           [](const std::string& path) { return path.find("/config/") != std::string::npos; })},
  };
  return all;
}

}  // namespace apogee::crash
