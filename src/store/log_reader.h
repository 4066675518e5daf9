#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "apogee/result.h"
#include "base/file.h"
#include "protocol/message.h"
#include "store/config.h"

/// Reads commit log files that may be damaged, for tools: without mapping them and without trusting
/// a byte. Unlike recovery it goes on behind damage, at the next thing that is certainly a record.
///
/// Threads: one reader belongs to one thread. Every call may block on the disk.
namespace apogee::store {

/// A file named by its start offset in 20 digits.
struct SegmentFile {
  std::string path;
  std::int64_t base = 0;
  std::uint64_t bytes = 0;
  std::int64_t end() const { return base + static_cast<std::int64_t>(bytes); }
};
/// The files of a directory that are named so, in order. kNotFound: no such directory.
Result<std::vector<SegmentFile>> list_segments(FileSystem& files, const std::string& directory);

/// Pages of a file, by number.
using BadPages = std::set<std::uint64_t>;

/// A file read through a buffer, so that walking it takes few calls. A page that the disk cannot
/// read is one of zeros, as it is in a mapping: damage, and no reason not to read on.
class FileWindow {
 public:
  static constexpr std::size_t kPage = 4'096;

  FileWindow(std::unique_ptr<File> file, std::uint64_t size)
      : file_{std::move(file)}, size_{size} {}
  std::uint64_t size() const { return size_; }
  /// `length` bytes at `position`, fewer at the end of the file. Valid until the next call.
  Result<Bytes> at(std::uint64_t position, std::size_t length);
  /// Those of which this is known so far.
  const BadPages& bad_pages() const { return bad_pages_; }

 private:
  std::unique_ptr<File> file_;
  std::uint64_t size_;
  BadPages bad_pages_;
  Buffer buffer_;
  std::uint64_t start_ = 0;  ///< Of buffer_ in the file.
};

/// What stands at a position of the log.
struct LogItem {
  enum class Kind {
    kRecord,
    kWrongCrc,  ///< A whole record at its place that is not what it was.
    kBlank,     ///< The closing record of a segment.
    kGarbage,   ///< Not a record; ends at a record, at a closing blank or at the segment's end.
    kTail,      ///< Last segment: from here on no record follows. `bytes` up to the last non-zero.
  } kind = Kind::kTail;
  const SegmentFile* segment = nullptr;
  std::uint64_t position = 0;  ///< In the segment.
  std::uint64_t bytes = 0;
  protocol::Message message;  ///< kRecord, kWrongCrc; valid during the visit.

  std::int64_t offset() const { return segment->base + static_cast<std::int64_t>(position); }
};

/// A stretch of a file that the disk cannot read.
struct Unreadable {
  std::string path;
  std::uint64_t position = 0, bytes = 0;
};

/// What of a record is checked besides its structure.
enum class CheckCrc {
  kNone,
  kBody,
  kRecord,  ///< The body, and all of it if it ends with the property __CRC32#.
};

/// What is checked wherever bodies are.
CheckCrc checked_with_bodies(const StoreConfig& config);
/// Is `record`, whose message is `message`, what was written, as far as CRCs tell?
bool crc_matches(Bytes record, const protocol::Message& message, CheckCrc check_crc);

class LogReader {
 public:
  LogReader(FileSystem& files, std::vector<SegmentFile> segments)
      : files_{files}, segments_{std::move(segments)} {}

  const std::vector<SegmentFile>& segments() const { return segments_; }
  std::int64_t begin() const { return segments_.empty() ? 0 : segments_.front().base; }

  /// Visits everything from the start of the segment that contains `from`, until `visit` returns
  /// false.
  Result<Ok> walk(std::int64_t from, CheckCrc check_crc,
                  const std::function<bool(const LogItem&)>& visit);
  /// The same from `from` itself, where an earlier walk was ended.
  Result<Ok> walk_on(std::int64_t from, CheckCrc check_crc,
                     const std::function<bool(const LogItem&)>& visit);

  /// What the last walk could not read, as far as it went; no record is in it.
  const std::vector<Unreadable>& unreadable() const { return unreadable_; }

  /// The record at an offset; nullopt: there is none. Valid until the next call.
  Result<std::optional<protocol::Message>> record_at(std::int64_t offset);

 private:
  struct Walk;
  FileSystem& files_;
  std::vector<SegmentFile> segments_;
  std::vector<Unreadable> unreadable_;
  std::optional<std::size_t> open_segment_;  ///< Of record_at().
  std::unique_ptr<File> open_file_;
  Buffer record_;
};

}  // namespace apogee::store
