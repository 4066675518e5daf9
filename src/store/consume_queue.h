#pragma once

#include <atomic>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <vector>

#include "base/text_map.h"
#include "store/file_chain.h"
#include "store/queue_extension.h"

namespace apogee::store {

/// How the entries of a queue stand on disk.
enum class QueueKind {
  kSimple,  ///< consumequeue: an entry a message, found by its place.
  kBatch,   ///< batchconsumequeue: an entry a batch of messages, found by searching.
};

/// One unit of a consume queue.
struct QueueEntry {
  std::int64_t physical_offset = 0;
  std::int32_t size = 0;
  std::int64_t tags_code = 0;
  std::int64_t queue_offset = 0;              ///< Of its first message.
  std::int32_t messages = 1;                  ///< Queue offsets it stands for.
  std::int64_t store_timestamp = 0;           ///< Read from batch queues only.
  std::string_view bit_map;                   ///< For put(): of the filters that match.
  static constexpr std::int64_t kBytes = 20;  ///< Of an entry of a simple queue.
  /// Beyond it lies damage, not messages.
  static constexpr std::int64_t kOffsetMax = std::int64_t{1} << 48;
  /// Filler before the first message of a queue that does not begin at 0: (0, 2^31-1, 0).
  bool is_blank() const { return physical_offset == 0 && size == 0x7FFF'FFFF; }
  /// With enableConsumeQueueExt an address in consumequeue_ext stands instead of the tags' code,
  /// below all codes (ConsumeQueueExt.isExtAddr).
  bool tags_elsewhere() const { return tags_code < std::numeric_limits<std::int32_t>::min(); }
};

/// The messages of one queue of a topic, in order: where in the log each is. Files of one length
/// hold units of one length; SimpleConsumeQueue and BatchConsumeQueue know what is in a unit.
/// Threads: put() and write_pending() by the dispatch thread (or recovery); `next_offset` under the
/// append lock; reads by any thread, which see entries once write_pending() has published them.
class ConsumeQueue {
 public:
  using Place = FileChain::Place;  ///< file_bytes is rounded up to whole units.
  ConsumeQueue(Env& env, FileCache& cache, Place place, std::string topic, std::int32_t queue_id,
               std::int64_t unit_bytes);
  virtual ~ConsumeQueue() = default;
  ConsumeQueue(const ConsumeQueue&) = delete;

  /// Finds the files and the last valid entry; what is behind it is cut off. Unless the last exit
  /// was clean, the names of the files may stand in memory only.
  Result<Ok> load(bool clean);
  /// Where the log has to be read again because load() found entries gone; -1: none are.
  std::int64_t entries_lost_from() const { return entries_lost_from_; }

  virtual QueueKind kind() const = 0;
  const std::string& topic() const { return topic_; }
  std::int32_t queue_id() const { return queue_id_; }
  std::int64_t min_offset() const { return min_.load(std::memory_order_acquire); }
  std::int64_t max_offset() const { return max_.load(std::memory_order_acquire); }
  std::int64_t physical_end() const {
    return physical_end_.load(std::memory_order_relaxed);
  }  ///< Where the last entry's record ends; -1: no entry.

  /// Takes an entry for `queue_offset`; entries that are there already are ignored.
  virtual void put(std::int64_t queue_offset, const QueueEntry& entry) = 0;
  bool has_pending() const { return !pending_.empty(); }
  Result<Ok> write_pending();

  /// Reads up to `count` entries, the first one that with the message at `offset`; fewer at the end
  /// of the queue or of a file.
  virtual Result<std::vector<QueueEntry>> read(std::int64_t offset, std::size_t count) const = 0;
  /// What an entry with tags_elsewhere() leads to, if that is there.
  std::optional<QueueExtension::Found> extended(const QueueEntry& entry) const {
    return extension_ ? extension_->find(entry.tags_code) : std::nullopt;
  }

  /// Entries of records at or behind `physical_offset` go: the log ends there.
  Result<Ok> truncate_behind(std::int64_t physical_offset);
  /// The log begins at `physical_offset`: moves min_offset() and removes files that are wholly
  /// before it.
  Result<Ok> correct_min_offset(std::int64_t physical_offset);
  Result<Ok> remove_all();
  Result<Ok> sync();  ///< Makes written entries durable.
  /// Around a sync of many queues at once, which covers the entries there are now.
  void sync_begins();
  void sync_ended(bool good);
  std::int64_t unsynced_bytes() const { return written_bytes_.load() - synced_bytes_.load(); }
  bool needs_sync() const { return unsynced_bytes() > 0 || cut_; }

  std::int64_t next_offset = 0;         ///< Append lock: the queue offset the next message gets.
  bool noted_unsynced = false;          ///< ConsumeQueues' unsynced mutex.
  std::atomic<bool> is_closed{false};   ///< Set under the append lock: takes no more messages.
  std::atomic<bool> is_removed{false};  ///< Taken out of ConsumeQueues.
  bool is_compacted = false;            ///< Set when it comes into being: Compaction follows it.

 protected:
  /// The unit with this number, counted from position 0 of all files.
  virtual QueueEntry decode(std::int64_t index, Bytes unit) const = 0;
  virtual bool is_valid(const QueueEntry& entry) const = 0;
  /// The queue offset the first message gets in a queue without entries whose files begin there.
  virtual std::int64_t first_offset(std::int64_t index) const = 0;

  /// Units from number `index` on, fewer at the end of the queue or of a file. `apart`: their file,
  /// where it is not to be kept open.
  Result<std::vector<QueueEntry>> read_units(std::int64_t index, std::size_t count,
                                             const File* apart = nullptr) const;
  std::int64_t first_unit() const;
  std::int64_t end_unit() const {
    return written_bytes_.load(std::memory_order_acquire) / unit_bytes_;
  }
  bool has_files() const { return !files_.bases().empty(); }
  void begin_anew();
  void refuse(std::int64_t queue_offset, std::int64_t end) const;
  std::int64_t pending_end() const {
    return pending_position_ + static_cast<std::int64_t>(pending_.size()) + pending_gap_bytes_;
  }
  /// Blanks follow what is pending. Then an entry has to.
  void add_gap(std::int64_t bytes) {
    pending_gaps_.push_back({pending_.size(), bytes});
    pending_gap_bytes_ += bytes;
  }
  Result<std::pair<std::int64_t, std::optional<QueueEntry>>> first_real(std::int64_t from,
                                                                        std::int64_t to) const;

  Env& env_;
  const std::string topic_;
  const std::int32_t queue_id_;
  const std::int64_t unit_bytes_;
  FileChain files_;
  std::unique_ptr<QueueExtension> extension_;  // simple queues, with enableConsumeQueueExt

  std::string pending_;  // dispatch thread: encoded entries from pending_position_
  /// Blanks in front of a byte of pending_: they may be many, and are made when they are written.
  struct Gap {
    std::size_t before = 0;
    std::int64_t bytes = 0;
  };
  std::vector<Gap> pending_gaps_;           // dispatch thread: ascending
  std::int64_t pending_gap_bytes_ = 0;      // dispatch thread: of all of them
  std::int64_t pending_position_ = 0;       // dispatch thread: in bytes
  std::int64_t pending_physical_end_ = -1;  // dispatch thread
  bool overlap_told_ = false;               // dispatch thread
  std::int64_t pending_max_ = 0;            // dispatch thread: max_offset() with what is pending
  std::atomic<std::int64_t> min_{0};

 private:
  Result<Ok> write_all_pending();
  void clear_pending();
  Result<Ok> end_extension();
  Result<std::optional<std::int64_t>> last_address() const;
  Result<std::vector<QueueEntry>> read_before(std::int64_t end, std::int64_t count) const;
  void take_end(std::int64_t end, const std::optional<QueueEntry>& last, std::int64_t physical_end);

  std::atomic<std::int64_t> max_{0}, physical_end_{-1};
  std::atomic<std::int64_t> written_bytes_{0};  // published before max_
  std::atomic<std::int64_t> synced_bytes_{0};
  std::int64_t syncing_to_ = 0;  // whoever syncs
  // Entries were taken away. A power cut must not bring them back once the checkpoint vouches for
  // the queue: they lead to other records by then.
  std::atomic<bool> cut_{false};
  bool syncing_cut_ = false;                      // whoever syncs
  std::atomic<std::int64_t> first_physical_{-1};  // of the first unit; -1: not known
  std::int64_t entries_lost_from_ = -1;           // set by load()
};

/// 20 bytes a message; a message's place is its queue offset.
class SimpleConsumeQueue final : public ConsumeQueue {
 public:
  /// `extension`: nullptr: entries hold their tags' codes.
  SimpleConsumeQueue(Env& env, FileCache& cache, Place place, std::string topic,
                     std::int32_t queue_id, std::unique_ptr<QueueExtension> extension = nullptr);
  QueueKind kind() const override { return QueueKind::kSimple; }
  /// A gap is filled with blanks.
  void put(std::int64_t queue_offset, const QueueEntry& entry) override;
  Result<std::vector<QueueEntry>> read(std::int64_t offset, std::size_t count) const override {
    return read_units(offset, count);
  }

 protected:
  QueueEntry decode(std::int64_t index, Bytes unit) const override;
  bool is_valid(const QueueEntry& entry) const override {
    return entry.physical_offset >= 0 && entry.size > 0;
  }
  std::int64_t first_offset(std::int64_t index) const override { return index; }

 private:
  bool leave_gap(std::int64_t queue_offset, const QueueEntry& entry);
  bool is_believed(std::int64_t queue_offset, const QueueEntry& entry);
  void add(const QueueEntry& entry);

  std::optional<QueueEntry> doubted_;  // dispatch thread: see is_believed()
};

/// All queues of the store. Threads: any.
class ConsumeQueues {
 public:
  struct Layout {
    ConsumeQueue::Place simple, batch;
    std::optional<ConsumeQueue::Place> extension;  ///< Of simple queues.
    std::size_t synced_together_from = 32;         ///< That many queues are synced by one call.
    /// Asked when a queue comes into being; any thread.
    std::function<QueueKind(std::string_view topic)> kind_of;
    /// The same, for simple queues.
    std::function<bool(std::string_view topic)> is_compacted;
  };
  ConsumeQueues(Env& env, FileCache& cache, Layout layout);
  Result<Ok> load(bool clean);
  std::shared_ptr<ConsumeQueue> find(std::string_view topic, std::int32_t queue_id) const;
  std::shared_ptr<ConsumeQueue> find_or_create(std::string_view topic, std::int32_t queue_id);
  std::vector<std::shared_ptr<ConsumeQueue>> all() const;
  std::vector<std::shared_ptr<ConsumeQueue>> of_topic(std::string_view topic) const;
  /// Those written to: of a million queues the few to sync.
  void note_unsynced(std::span<const std::shared_ptr<ConsumeQueue>> queues);
  /// Makes the entries of each queue durable that has at least `least_bytes` of them that are not.
  /// An error: not all are, the log says why. kBusy: what is not could not be begun, and is later.
  /// One thread at a time.
  Result<Ok> sync(std::int64_t least_bytes);
  std::size_t topic_count(std::string_view prefix) const;  ///< Topics whose name begins so.
  /// While it is held no entry is written and no queue is taken away, so that a queue's files are
  /// gone before another of its name writes its own.
  [[nodiscard]] std::unique_lock<std::mutex> hold_still() { return std::unique_lock{still_mutex_}; }
  /// Takes the topic's closed queues out of the table and removes their files. Under hold_still(),
  /// but in recovery, and so is remove().
  void remove_closed(std::string_view topic);
  void remove(const ConsumeQueue& queue);

 private:
  Result<Ok> load(const std::string& directory, QueueKind kind, bool clean);
  Result<Ok> load_topic(const std::string& directory, const std::string& topic, QueueKind kind,
                        bool clean);
  std::shared_ptr<ConsumeQueue> find_or_create(std::string_view topic, std::int32_t queue_id,
                                               QueueKind kind);
  std::vector<std::shared_ptr<ConsumeQueue>> take_unsynced();
  Result<Ok> sync_one_by_one(std::span<const std::shared_ptr<ConsumeQueue>> queues);
  void remove_topic_directories(const std::string& topic);
  Result<Ok> sync_together(std::span<const std::shared_ptr<ConsumeQueue>> queues);
  const std::string& directory_of(QueueKind kind) const {
    return kind == QueueKind::kBatch ? layout_.batch.directory : layout_.simple.directory;
  }

  Env& env_;
  FileCache& cache_;
  const Layout layout_;
  std::mutex still_mutex_;
  mutable std::shared_mutex mutex_;
  TextMap<std::map<std::int32_t, std::shared_ptr<ConsumeQueue>>> topics_;
  std::mutex unsynced_mutex_;
  std::vector<std::shared_ptr<ConsumeQueue>> unsynced_;
};

}  // namespace apogee::store
