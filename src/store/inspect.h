#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apogee/result.h"
#include "base/file.h"
#include "protocol/message.h"
#include "store/index_file.h"

/// Looks into a store directory, Apache's or ours, without changing a byte of it. Meant for a store
/// nobody writes to; on a live one the end may move while we look. Log and
/// queues are read, not mapped: a file that is cut meanwhile is an error value.
///
/// Threads: one inspection belongs to one thread. Every call may block on the disk.
namespace apogee::store {

struct InspectOptions {
  std::string root;
  std::string commit_log_path = {};  ///< Empty: <root>/commitlog.
  IndexFormat index_format{5'000'000, 20'000'000};
};

struct SegmentSummary {
  std::string path;
  std::int64_t base_offset = 0;
  std::uint64_t bytes = 0, used_bytes = 0;
  std::int64_t first_store_timestamp = 0;  ///< 0: no record.
  /// Of the last record; for a closed segment the next one's first, which is read instead of it.
  std::int64_t last_store_timestamp = 0;
};

struct QueueSummary {
  std::string topic;
  std::int32_t queue_id = 0;
  std::int64_t min_offset = 0, max_offset = 0;
  std::size_t files = 0;
};

/// What is kept of a queue with cleanup.policy=COMPACTION.
struct CompactedSummary {
  std::string topic;
  std::int32_t queue_id = 0;
  std::int64_t first_offset = -1, last_offset = -1;  ///< -1: no message.
  std::uint64_t messages = 0, bytes = 0;             ///< Bytes of its files.
  std::size_t files = 0;
  std::int64_t compacted_until = -1;  ///< A queue offset.
};

struct IndexSummary {
  std::string path;
  std::uint64_t bytes = 0;
  bool readable = false;  ///< Of the expected length, and `header` is filled.
  IndexFileHeader header;
};

struct CheckpointSummary {
  std::int64_t commit_log_timestamp = 0, consume_queue_timestamp = 0, index_timestamp = 0;
  std::int64_t master_flushed_offset = 0, confirmed_offset = 0;
};

struct StoreSummary {
  std::vector<SegmentSummary> segments;
  std::int64_t log_begin = 0, log_end = 0;
  std::vector<QueueSummary> queues;
  std::vector<CompactedSummary> compacted;
  std::vector<IndexSummary> index_files;
  std::vector<DirectoryEntry> config_files;
  std::optional<CheckpointSummary> checkpoint;
  bool abort_present = false;       ///< Not shut down cleanly, or running.
  bool locked = false;              ///< A process has the store open.
  std::vector<std::string> others;  ///< Entries of the root that this does not look into.
};

struct RecordFilter {
  std::string topic = {};  ///< Empty: all.
  std::optional<std::int32_t> queue_id = {};
  std::optional<std::int64_t> from_offset = {}, to_offset = {};  ///< Physical; [from, to).
  std::optional<std::int64_t> from_queue_offset = {}, to_queue_offset = {};  ///< [from, to).
  std::optional<std::int64_t> from_ms = {}, to_ms = {};  ///< Store time; [from, to).
  std::string key = {};                                  ///< UNIQ_KEY or one of KEYS.
  /// What compaction logs hold, one queue after the other, instead of the commit log. Each has
  /// physical offsets of its own.
  bool compacted = false;
  bool matches(const protocol::Message& message) const;
};

struct InspectedRecord {
  std::int64_t physical_offset = 0;  ///< Where it stands; the record's own field may differ.
  bool crc_ok = true;
  protocol::Message message;  ///< Valid during the call.
};

struct InspectedEntry {
  std::int64_t queue_offset = 0;  ///< Of its first message.
  std::int64_t physical_offset = 0;
  std::int32_t size = 0;
  std::int64_t tags_code = 0;
  std::int32_t messages = 1;  ///< More in batch queues.
  bool blank() const { return physical_offset == 0 && size == 0x7FFFFFFF && tags_code == 0; }
};

/// Something that is not as it should be.
struct Finding {
  enum class Weight { kNote, kDamage } weight = Weight::kDamage;
  std::string file;
  std::uint64_t position = 0;  ///< In the file.
  std::string what;            ///< What is there.
  std::string meaning;         ///< What follows from it.
};

struct CheckReport {
  std::uint64_t records = 0, queues = 0, entries = 0, index_units = 0, compacted = 0;
  std::uint64_t damages = 0, notes = 0;
};

struct SegmentFile;

class Inspection {
 public:
  struct State;
  /// kNotFound: no such directory, or nothing in it that belongs to a store.
  static Result<Inspection> open(FileSystem& files, InspectOptions options);
  ~Inspection();
  Inspection(Inspection&&) noexcept;

  Result<StoreSummary> summary();
  /// Files of the log in their order, without those a broker had only made ahead of use.
  const std::vector<SegmentFile>& segments() const;
  /// In the order of the log or logs; `each` returns false to end. Damaged stretches are skipped.
  Result<Ok> for_each_record(const RecordFilter& filter,
                             const std::function<bool(const InspectedRecord&)>& each);
  /// Entries with queue offsets in [from, to); `each` returns false to end. kNotFound: no such
  /// queue.
  Result<Ok> for_each_entry(std::string_view topic, std::int32_t queue_id, std::int64_t from,
                            std::int64_t to,
                            const std::function<bool(const InspectedEntry&)>& each);
  /// The record at a physical offset.
  Result<InspectedRecord> record_at(std::int64_t physical_offset);
  /// Walks everything and compares it with each other.
  Result<CheckReport> check(const std::function<void(const Finding&)>& found);

 private:
  explicit Inspection(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace apogee::store
