#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "store/inspect.h"
#include "store/log_reader.h"

/// What inspect.cc and inspect_check.cc share. Threads: as Inspection.
namespace apogee::store {

/// One consume queue on disk: 20-byte units, numbered through all its files.
class QueueFiles {
 public:
  static constexpr std::int64_t kUnitBytes = 20;

  QueueFiles(FileSystem& files, std::string topic, std::int32_t queue_id,
             std::vector<SegmentFile> segments)
      : files_{files},
        topic_{std::move(topic)},
        queue_id_{queue_id},
        segments_{std::move(segments)} {}

  const std::string& topic() const { return topic_; }
  std::int32_t queue_id() const { return queue_id_; }
  const std::vector<SegmentFile>& segments() const { return segments_; }
  std::int64_t begin() const { return segments_.empty() ? 0 : segments_.front().base / kUnitBytes; }
  std::int64_t end() const { return segments_.empty() ? 0 : segments_.back().end() / kUnitBytes; }
  /// The file that holds a queue offset, and the position in it; nullptr: none does.
  const SegmentFile* file_of(std::int64_t queue_offset, std::uint64_t& position) const;
  /// nullopt: not in any file.
  Result<std::optional<InspectedEntry>> entry(std::int64_t queue_offset);
  /// The offset behind the last entry: the first unit of the last file that is still zero.
  Result<std::int64_t> find_max();
  /// The offset of the first entry whose record is in the log.
  Result<std::int64_t> find_min(std::int64_t log_begin, std::int64_t max);

 private:
  FileSystem& files_;
  std::string topic_;
  std::int32_t queue_id_;
  std::vector<SegmentFile> segments_;
  const SegmentFile* open_segment_ = nullptr;
  std::optional<FileWindow> window_;
};

struct Inspection::State {
  State(FileSystem& files_, InspectOptions options_, LogReader log_)
      : files{files_}, options{std::move(options_)}, log{std::move(log_)} {}

  std::string path(std::string_view name) const { return options.root + "/" + std::string{name}; }
  Result<std::vector<QueueFiles>> queues();
  /// Of a directory that need not exist.
  Result<std::vector<DirectoryEntry>> list(const std::string& directory) const;

  FileSystem& files;
  InspectOptions options;
  LogReader log;
  std::vector<SegmentFile> prepared;  ///< Zero-filled files behind the log, made ahead of use.
};

}  // namespace apogee::store
