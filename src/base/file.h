#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "apogee/result.h"
#include "base/bytes.h"

/// The only door to the disk. Production uses make_posix_files(); tests a disk that forgets what
/// was not synced.
namespace apogee {

/// A view of a file's bytes that follows later writes to the file. Unmapped when destroyed.
class Mapping {
 public:
  virtual ~Mapping() = default;
  virtual MutableBytes bytes() = 0;  ///< Writable only if mapped with Access::kWrite.
  Bytes bytes() const { return const_cast<Mapping*>(this)->bytes(); }
  /// Makes [offset, offset+length) of the view durable (msync). After an error the state on disk is
  /// unknown.
  virtual Result<Ok> sync(std::size_t offset, std::size_t length) = 0;
  /// Are all pages of the range in memory, so that reading them will not wait for the disk?
  virtual bool resident(std::size_t offset, std::size_t length) const = 0;
  /// Should the system read more around what it has to read from disk? It does at first.
  virtual void read_ahead(bool ahead) = 0;
  /// The range will not be needed soon; its pages may go.
  virtual void forget(std::size_t offset, std::size_t length) = 0;
};

enum class Access { kRead, kWrite };

/// What the disk cannot read of a mapping ends a process (SIGBUS). From now on it is a page of
/// zeros, if the mapping is one with Access::kRead: no record, which whoever reads it finds and
/// tells. It stays so until the file is mapped anew. For main() alone: sets a signal handler.
void read_bad_pages_as_zeros();

/// One open file. Threads: any member from any thread; writes to overlapping ranges are the
/// caller's to order.
class File {
 public:
  virtual ~File() = default;
  virtual Result<std::uint64_t> size() const = 0;
  /// Fills `out` from `offset`; returns fewer bytes only at the end of the file.
  virtual Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) const = 0;
  /// Writes all of `pieces` one after the other from `offset`, or fails; after a failure any part
  /// may be written.
  virtual Result<Ok> write_at(std::uint64_t offset, std::span<const Bytes> pieces) = 0;
  Result<Ok> write_at(std::uint64_t offset, Bytes bytes) {
    return write_at(offset, std::span<const Bytes>{&bytes, 1});
  }
  /// Makes everything written so far durable. After an error the state on disk is unknown: never
  /// retry into success.
  virtual Result<Ok> sync() = 0;
  /// Asks the system to begin writing the range back; does not wait and promises nothing.
  virtual void start_writeback(std::uint64_t offset, std::uint64_t length) = 0;
  /// Cuts or extends (sparse, zero) the file.
  virtual Result<Ok> resize(std::uint64_t size) = 0;
  /// Reserves disk blocks for the range so that writing it cannot fail for want of space. kNoSpace
  /// if there is none.
  virtual Result<Ok> allocate(std::uint64_t offset, std::uint64_t length) = 0;
  virtual Result<std::unique_ptr<Mapping>> map(std::uint64_t offset, std::size_t length,
                                               Access access) = 0;
};

struct DirectoryEntry {
  std::string name;  ///< Last part only.
  bool is_directory = false;
  std::uint64_t size = 0;        ///< Of a file.
  std::int64_t modified_ms = 0;  ///< Of a file: Unix time.
};

struct DiskSpace {
  std::uint64_t total = 0, available = 0;  ///< Bytes; available to this process.
};

/// Held for as long as this lives; another process that asks for the same lock is refused.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

/// Threads: any member from any thread.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  enum class Open { kExisting, kCreate, kReadOnly };
  virtual Result<std::unique_ptr<File>> open(const std::string& path, Open mode) = 0;
  /// Creates `path`, which is to take the place of `old`: on a disk that knows of owners and modes,
  /// whoever cannot read that one cannot read this one.
  virtual Result<std::unique_ptr<File>> open_successor(const std::string& path,
                                                       const std::string& old) {
    (void)old;
    return open(path, Open::kCreate);
  }
  virtual Result<Ok> remove(const std::string& path) = 0;  ///< A file, or an empty directory.
  virtual Result<Ok> rename(const std::string& from,
                            const std::string& to) = 0;  ///< Atomic; replaces `to`.
  virtual Result<Ok> create_directories(const std::string& path) = 0;
  virtual Result<Ok> sync_directory(
      const std::string& path) = 0;  ///< Makes creations, renames, removals in it durable.
  /// What a sync of each file and directory below `path` would do, in one wait for however many
  /// there are. kUnsupported where the system has no such call: sync them one by one.
  virtual Result<Ok> sync_tree(const std::string& path) = 0;
  virtual Result<std::vector<DirectoryEntry>> list(
      const std::string& path) = 0;                                  ///< Sorted by name. kNotFound.
  virtual Result<DirectoryEntry> stat(const std::string& path) = 0;  ///< kNotFound.
  virtual Result<DiskSpace> space(const std::string& path) = 0;
  /// fcntl write lock on byte 0, as Java's FileChannel.tryLock(0, 1) takes it, on a file that then
  /// holds the word "lock" as Java's does. kExists when another process holds it. Nobody may open()
  /// this file: a close would drop the lock.
  virtual Result<std::unique_ptr<FileLock>> lock(const std::string& path) = 0;
  /// Would lock() be refused? Takes nothing and creates nothing; false when there is no such file.
  virtual Result<bool> is_locked(const std::string& path) = 0;
};

std::unique_ptr<FileSystem> make_posix_files();

/// Reads a whole file of at most `limit` bytes. kNotFound, kIo, kMalformed (larger than the limit).
Result<Buffer> read_file(FileSystem& files, const std::string& path,
                         std::uint64_t limit = 1u << 30);

/// Replaces `path` by `content`, durably, and leaves the old content at `path`.bak: at every moment
/// of a crash a complete file is at `path` or at `path`.bak (RocketMQ's ConfigManager.persist;
/// readers fall back to .bak).
Result<Ok> replace_file(FileSystem& files, const std::string& path, std::string_view content);

/// Removes `path` and everything below it.
Result<Ok> remove_tree(FileSystem& files, const std::string& path);

}  // namespace apogee
