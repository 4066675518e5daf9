#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "apogee/result.h"
#include "base/file.h"

/// One file of the index: a hash table from keys to physical offsets, Apache's IndexFile to the
/// byte. Big-endian throughout:
///
///   header, 40 bytes: begin time i64, end time i64, begin offset i64, end offset i64,
///                     slots in use i32, next unit i32 (starts at 1; unit 0 is never used)
///   slots, 4 bytes:   number of the newest unit of the chain; 0: none
///   units, 20 bytes:  hash i32, physical offset i64, seconds since begin time i32, previous unit
///                     of the chain i32
///
/// Threads. One writer calls put(). Any number of readers call find() beside it, without a lock: a
/// unit is written once, then the count of units goes up, then the slot is stored with release
/// order. A reader that loads the slot with acquire order therefore sees that unit, every older one
/// and a count that includes them. Units behind the count are never read. sync() may run beside
/// readers and, for a file that is not full, beside the writer (what it saves then is not a whole).
namespace apogee::store {

/// Both numbers are part of the format and cannot be told from the file, only from its length.
struct IndexFormat {
  std::int32_t slot_count = 0, unit_count = 0;
  static constexpr std::uint64_t kHeaderBytes = 40, kSlotBytes = 4, kUnitBytes = 20;
  std::uint64_t units_at() const {
    return kHeaderBytes + kSlotBytes * static_cast<std::uint64_t>(slot_count);
  }
  std::uint64_t file_bytes() const {
    return units_at() + kUnitBytes * static_cast<std::uint64_t>(unit_count);
  }
};

/// Java's indexKeyHashMethod of "topic#key": never negative.
std::int32_t index_hash(std::string_view topic, std::string_view key);
/// The same of "topic#T#tag".
std::int32_t tag_index_hash(std::string_view topic, std::string_view tag);

struct IndexFileHeader {
  std::int64_t begin_timestamp = 0, end_timestamp = 0;
  std::int64_t begin_physical_offset = 0, end_physical_offset = 0;
  std::int32_t used_slots = 0, next_unit = 1;
};

/// The header as it stands in the file. kEndOfFile: shorter than that.
Result<IndexFileHeader> read_index_header(const File& file);

struct IndexUnit {
  std::int32_t hash = 0;
  std::int64_t physical_offset = 0;
  std::int32_t seconds = 0;
  std::int32_t previous = 0;
};

class IndexFile {
 public:
  /// A new file of its full length whose slots have blocks on the disk. Begin and end are seeded
  /// with the previous file's end, as Java does. kNoSpace, kIo; then there is no file.
  static Result<std::unique_ptr<IndexFile>> create(FileSystem& files, const std::string& path,
                                                   IndexFormat format,
                                                   const IndexFileHeader& previous);
  /// kMalformed: not a file of this format. What stands inside may be anything. A full file is
  /// mapped for reading only, so that a page the disk cannot read does not end the process.
  static Result<std::unique_ptr<IndexFile>> open(FileSystem& files, const std::string& path,
                                                 IndexFormat format, Access access);

  const std::string& path() const { return path_; }
  IndexFileHeader header() const;
  bool full() const { return next_unit_.load(std::memory_order_acquire) >= format_.unit_count; }

  /// The writer; not when full(). kNoSpace, kIo: no room on the disk, nothing happened; may be
  /// tried again.
  Result<Ok> put(std::int32_t hash, std::int64_t physical_offset, std::int64_t timestamp);

  /// Appends offsets of units with this hash and a time in [begin_ms, end_ms], newest first, until
  /// `offsets` has `max` elements.
  void find(std::int32_t hash, std::size_t max, std::int64_t begin_ms, std::int64_t end_ms,
            std::vector<std::int64_t>& offsets) const;

  /// For tools: a slot's unit number as it stands there, and a unit below header().next_unit.
  std::int32_t slot(std::int32_t slot) const;
  IndexUnit unit(std::int32_t unit) const;

  Result<Ok> sync();

 private:
  IndexFile(std::string path, IndexFormat format, std::unique_ptr<File> file,
            std::unique_ptr<Mapping> mapping);
  void load_header();
  Result<Ok> reserve_for(std::int32_t unit);
  void store_header(std::size_t at, std::int64_t value);
  std::atomic_ref<std::int32_t> slot_ref(std::int32_t slot) const;

  const std::string path_;
  const IndexFormat format_;
  const std::unique_ptr<File> file_;
  const std::unique_ptr<Mapping> mapping_;
  const MutableBytes bytes_;  ///< Of mapping_.
  std::atomic<std::int64_t> begin_timestamp_{0}, end_timestamp_{0};
  std::atomic<std::int64_t> begin_physical_offset_{0}, end_physical_offset_{0};
  std::atomic<std::int32_t> used_slots_{0}, next_unit_{1};
  std::uint64_t reserved_bytes_ = 0;  ///< The writer's: blocks known to exist from the start.
};

}  // namespace apogee::store
