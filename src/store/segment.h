#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/file.h"

namespace apogee::store {

/// Name of a file of a segmented sequence: its first offset in 20 decimal digits.
std::string segment_name(std::int64_t base_offset);
/// -1: not such a name.
std::int64_t base_of_segment_name(std::string_view name);
/// The ids of the queues that have a directory below a topic's, ascending.
Result<std::vector<std::int32_t>> list_queues(FileSystem& files,
                                              const std::string& topic_directory);
/// Makes the names of `directory` and of all directories above it durable: any of them may be new.
/// Those that this process may not even read belong to others, and are as they were.
Result<Ok> sync_names_above(FileSystem& files, std::string directory);

/// One fixed-size file of the commit log. Written through the file, read through a mapping of it.
/// Invariant: bytes below written() never change.
/// Threads: append() and set_written() by one thread at a time (the append lock, or recovery before
/// the store starts); everything else by any thread, meanwhile.
class Segment {
 public:
  /// Opens `path` and brings it to `size` bytes (sparse). A new one is all zeros.
  static Result<std::shared_ptr<Segment>> open(FileSystem& files, const std::string& path,
                                               std::int64_t base_offset, std::size_t size);

  std::int64_t base() const { return base_; }
  std::int64_t end() const { return base_ + static_cast<std::int64_t>(size_); }
  std::size_t size() const { return size_; }
  const std::string& path() const { return path_; }
  std::size_t written() const { return written_.load(std::memory_order_acquire); }
  void set_written(std::size_t written) { written_.store(written, std::memory_order_release); }

  /// Writes at the end and then lets readers see it. On an error nothing is visible.
  Result<Ok> append(std::span<const Bytes> pieces, std::size_t bytes);
  Bytes read(std::size_t position, std::size_t length) const;  ///< Cut short at written().
  /// Asks for the first cache lines of what read() will give: records of one queue lie scattered
  /// in the log, and their reader would wait for the memory at each.
  void fetch_ahead(std::size_t position, std::size_t length) const;
  Bytes whole() const { return static_cast<const Mapping&>(*mapping_).bytes(); }  ///< For recovery.
  /// In the page cache? What was seen there stays believed for a second: asking the system for each
  /// record costs more than the record. A page that is evicted meanwhile costs its reader one wait.
  bool resident(std::size_t position, std::size_t length, Clock::Instant now) const;
  void read_ahead(bool ahead) { mapping_->read_ahead(ahead); }
  Result<Ok> sync() { return file_->sync(); }
  /// Writes what stands in [from, to) once more: the pages of a sync that failed, perhaps another
  /// process's, count as written, and no later sync would write them.
  Result<Ok> write_again(std::size_t from, std::size_t to);
  void start_writeback(std::size_t position, std::size_t length) {
    file_->start_writeback(position, length);
  }
  /// Gives back blocks at the end of a removed file that nobody reads any more.
  Result<Ok> cut(std::size_t size) { return file_->resize(size); }
  /// Everything from `position` on becomes zeros, and written() `position`.
  Result<Ok> truncate(std::size_t position);

 private:
  Segment(std::string path, std::int64_t base, std::size_t size, std::unique_ptr<File> file,
          std::unique_ptr<Mapping> mapping)
      : path_{std::move(path)},
        base_{base},
        size_{size},
        file_{std::move(file)},
        mapping_{std::move(mapping)},
        seen_resident_(size / kResidentBytes + 1) {}

  const std::string path_;
  const std::int64_t base_;
  const std::size_t size_;
  const std::unique_ptr<File> file_;
  const std::unique_ptr<Mapping> mapping_;
  std::atomic<std::size_t> written_{0};

  static constexpr std::size_t kResidentBytes = 1 << 20;
  /// For each kResidentBytes: the second in which all of it was last seen in the page cache.
  mutable std::vector<std::atomic<std::int32_t>> seen_resident_;
};

}  // namespace apogee::store
