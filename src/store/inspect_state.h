#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "store/batch_consume_queue.h"
#include "store/inspect.h"
#include "store/log_reader.h"

/// What inspect.cc, inspect_check.cc and inspect_compaction.cc share. Threads: as Inspection.
namespace apogee::store {

/// One consume queue on disk: units of one length, numbered through all its files. In a simple
/// queue a unit's number is its queue offset; those of a batch queue say theirs.
class QueueFiles {
 public:
  QueueFiles(FileSystem& files, QueueKind kind, std::string topic, std::int32_t queue_id,
             std::vector<SegmentFile> segments)
      : files_{files},
        kind_{kind},
        unit_bytes_{kind == QueueKind::kBatch ? BatchConsumeQueue::kUnitBytes : QueueEntry::kBytes},
        topic_{std::move(topic)},
        queue_id_{queue_id},
        segments_{std::move(segments)} {}

  QueueKind kind() const { return kind_; }
  std::int64_t unit_bytes() const { return unit_bytes_; }
  const std::string& topic() const { return topic_; }
  std::int32_t queue_id() const { return queue_id_; }
  const std::vector<SegmentFile>& segments() const { return segments_; }
  std::int64_t begin() const {
    return segments_.empty() ? 0 : segments_.front().base / unit_bytes_;
  }
  std::int64_t end() const { return segments_.empty() ? 0 : segments_.back().end() / unit_bytes_; }
  /// The file that holds a unit, and the position in it; nullptr: none does.
  const SegmentFile* file_of(std::int64_t unit, std::uint64_t& position) const;
  /// nullopt: not in any file.
  Result<std::optional<InspectedEntry>> entry(std::int64_t unit);
  /// The number behind the last entry's: the first unit of the last file that is still zero.
  Result<std::int64_t> find_max();
  /// The first entry whose record is in the log.
  Result<std::int64_t> find_min(std::int64_t log_begin, std::int64_t max);
  /// The queue offset at which the entries from `unit` on begin; `max`: where those end.
  Result<std::int64_t> offset_at(std::int64_t unit, std::int64_t max);

 private:
  FileSystem& files_;
  QueueKind kind_;
  std::int64_t unit_bytes_;
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
  Result<Ok> add_queues(QueueKind kind, std::vector<QueueFiles>& found);
  /// Of a directory that need not exist.
  Result<std::vector<DirectoryEntry>> list(const std::string& directory) const;
  Result<std::vector<CompactedSummary>> summarize_compacted() const;
  /// The records of each queue that is kept compacted, as far as the filter's topic and queue go.
  Result<std::vector<LogReader>> compacted_logs(const RecordFilter& filter) const;
  /// Compaction logs, their units and positions against each other. Returns how many messages there
  /// are. `unclean`: the next start makes again what a crash may have left behind.
  Result<std::uint64_t> check_compacted(bool unclean,
                                        const std::function<void(Finding)>& tell) const;

  FileSystem& files;
  InspectOptions options;
  LogReader log;
  std::vector<SegmentFile> prepared;  ///< Zero-filled files behind the log, made ahead of use.
};

}  // namespace apogee::store
