#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/env.h"

namespace apogee::store {

/// A file that is kept open, and what was read of it last for whoever reads on.
struct OpenFile {
  const std::unique_ptr<File> file;
  std::mutex mutex;
  std::int64_t ahead_from = 0;  // mutex: in the file
  std::string ahead;            // mutex
};

/// Open files, at most so many: a store may have a million queues. Any thread; a file in use stays
/// open until its user is done.
class FileCache {
 public:
  FileCache(FileSystem& files, std::size_t most) : files_{files}, most_{most} {}
  Result<std::shared_ptr<OpenFile>> open(const std::string& path, FileSystem::Open mode);
  void forget(const std::string& path_prefix);

 private:
  FileSystem& files_;
  const std::size_t most_;
  std::mutex mutex_;
  std::list<std::pair<std::string, std::shared_ptr<OpenFile>>> recent_;  // front: used last
  std::unordered_map<std::string, decltype(recent_)::iterator> by_path_;
};

/// Files of one length that hold one run of bytes, each named after the position of its first; the
/// directory is that of one queue of a topic.
/// Threads: one writes, cuts and removes at a time; read() and sync() any.
class FileChain {
 public:
  struct Place {
    std::string directory;
    std::int64_t file_bytes = 0;
    std::string_view size_key;  ///< The configuration's name for file_bytes.
    Place inside(std::string_view name) const {
      return {directory + "/" + std::string{name}, file_bytes, size_key};
    }
  };
  FileChain(Env& env, FileCache& cache, Place place)
      : env_{env}, cache_{cache}, place_{std::move(place)} {}

  /// Takes stock of the files; what was not on disk when the power went is dropped. True: something
  /// was. Unless the last exit was clean, the names of the files may stand in memory only.
  Result<bool> load(bool clean);

  std::int64_t file_bytes() const { return place_.file_bytes; }
  std::vector<std::int64_t> bases() const;  ///< First byte of each file, ascending.

  /// Makes files as they are needed.
  Result<Ok> write(std::int64_t position, std::string_view bytes);
  /// From `position` on, at most to the end of its file. kNotFound: there is no such file.
  Result<std::string> read(std::int64_t position, std::size_t bytes) const;
  /// The same for who reads forward, a little at a time: more than asked for is read, up to `end`,
  /// and kept with the open file. What stands before `end` does not change until it is cut off.
  Result<std::string> read_on(std::int64_t position, std::size_t bytes, std::int64_t end) const;
  /// As read(), of the file that was opened apart from those that are kept open: a start looks at
  /// each of a million once.
  Result<std::string> read(const File& file, std::int64_t position, std::size_t bytes) const;
  Result<std::unique_ptr<File>> open_apart(std::int64_t base) const {
    return env_.files.open(path_of(base), FileSystem::Open::kReadOnly);
  }
  /// Removes files behind `end` and zeroes what follows it in its file, up to `old_end` if one
  /// knows that there are zeros behind.
  Result<Ok> cut_to(std::int64_t end, std::optional<std::int64_t> old_end = {});
  Result<Ok> remove_first();
  Result<Ok> remove_all();
  /// Makes [from, end) and the files' names durable.
  Result<Ok> sync(std::int64_t from, std::int64_t end);
  Result<Ok> sync_all();  ///< Whatever was written, cut off or removed.
  /// Around a sync of many at once, which covers the names of the files there are now.
  void sync_begins() { names_synced_.store(true, std::memory_order_relaxed); }
  void sync_failed() { names_synced_.store(false, std::memory_order_relaxed); }

 private:
  std::string path_of(std::int64_t base) const;
  bool has(std::int64_t base) const;
  /// kNotFound: there is no such file.
  Result<std::shared_ptr<OpenFile>> open(std::int64_t base) const;
  Result<std::shared_ptr<OpenFile>> make_file(std::int64_t base);
  Result<Ok> remove_file(std::int64_t base);
  void forget_last();

  Env& env_;
  FileCache& cache_;
  const Place place_;
  mutable std::mutex mutex_;
  std::vector<std::int64_t> bases_;  // mutex: first byte of each file, ascending
  // mutex: the file used last, as long as the cache has it open. Most reads and writes of a queue
  // are in one file, and to find that by its path costs more than to read it.
  mutable std::weak_ptr<OpenFile> last_;
  mutable std::int64_t last_base_ = -1;
  std::uint32_t removals_ = 0;  // mutex: a file opened before one of them is not kept as last_
  std::atomic<bool> names_synced_{
      true};  // false: a file was made whose name may not survive a power cut
};

}  // namespace apogee::store
