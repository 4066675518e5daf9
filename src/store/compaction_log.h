#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/env.h"
#include "store/commit_log.h"
#include "store/consume_queue.h"
#include "store/damages.h"
#include "store/segment.h"

/// What is kept of one queue of a topic with cleanup.policy=COMPACTION: the newest message of each
/// key, in the order and with the queue offsets they were sent with. In Java's layout
/// (CompactionLog): a file of records and a file of 46-byte units (BatchConsumeQueue) bear one
/// name, the offset of the first record; between the files of records there may be gaps.
///
/// The log follows its consume queue: it copies what the queue has and it has not, whenever it is
/// told to, so that nothing but its files says how far it is. Compaction writes the files but the
/// last anew, beside them, and then puts the new in their place.
///
/// Threads: follow() and compact() any, each one at a time; get() and sync() any, meanwhile.
namespace apogee::store {

/// Are these KEYS a key? A message without one is not kept (StringUtils.isNotBlank).
bool is_key(std::string_view keys);

/// Can `unit` be one of a file of records that holds [base, end)?
bool is_compaction_unit(const QueueEntry& unit, std::int64_t base, std::int64_t end);

/// Names beside those of a queue's files: where a compaction writes, and what ends the name of a
/// file that Java's broker is about to remove.
inline constexpr std::string_view kCompacting = "compacting", kRenamed = ".delete";

/// Where the files of a queue are, and their lengths.
struct CompactionPlace {
  std::string log_directory, queue_directory;
  std::size_t log_bytes = 0, queue_bytes = 0;

  static std::string positions_path(std::string_view root);
  /// `log_bytes` and `queue_bytes` as configured become those of the files.
  static CompactionPlace of(std::string root, const StoreConfig& config);
  CompactionPlace inside(std::string_view name) const;
  std::string log_path(std::int64_t base) const;
  std::string queue_path(std::int64_t base) const;
};

/// A file of records and the file of its units.
/// Threads: append(), finish(), load(), rebuild(), keep() one at a time; everything else any,
/// meanwhile.
class CompactionFile {
 public:
  /// Makes what is not there. A file that was there has no units until load() or rebuild().
  static Result<std::shared_ptr<CompactionFile>> open(FileSystem& files,
                                                      const CompactionPlace& place,
                                                      std::int64_t base);
  std::int64_t base() const { return log_->base(); }
  std::size_t count() const { return count_.load(std::memory_order_acquire); }
  QueueEntry unit(std::size_t number) const;
  /// Is it between its neighbours, and so most likely as it was written? No: ask its record.
  bool is_in_order(std::size_t number) const;
  /// A number from which on, and not before, there are messages at `queue_offset` or behind.
  std::size_t find(std::int64_t queue_offset) const;
  std::int64_t first_offset() const { return first_offset_.load(std::memory_order_relaxed); }
  std::int64_t last_offset() const { return last_offset_.load(std::memory_order_relaxed); }
  /// Empty: the unit leads nowhere, or its record knows of another place.
  RecordBytes record(const QueueEntry& unit) const;
  bool resident(const QueueEntry& unit, Clock::Instant now) const;
  bool units_resident(Clock::Instant now) const;

  /// Takes the units that are there. False: they are not those of the records.
  bool load();
  /// Makes the units anew from the records that `is_own` and come behind queue offset `last`.
  /// `goes_on`: behind bytes that are no record, where a unit that is there tells of one.
  Result<Ok> rebuild(std::int64_t last, const std::function<bool(const protocol::Message&)>& is_own,
                     const std::function<bool(std::int64_t last)>& goes_on);
  Result<Ok> keep(std::size_t count);  ///< Cuts off the messages behind.

  bool has_room(std::size_t record_bytes) const;
  /// `entry.physical_offset` does not matter.
  Result<Ok> append(Bytes record, QueueEntry entry);
  /// Nothing is appended any more, and all is on disk. A write that failed may be tried again.
  Result<Ok> finish();
  Result<Ok> sync();
  /// A sync has failed: what is on disk is unknown, and no later one says otherwise.
  bool is_broken() const;

 private:
  CompactionFile(std::shared_ptr<Segment> log, std::shared_ptr<Segment> queue)
      : log_{std::move(log)}, queue_{std::move(queue)} {}
  bool is_legal(const QueueEntry& unit) const {
    return is_compaction_unit(unit, log_->base(), log_->end());
  }
  void publish(std::size_t count);
  bool is_finished() const { return log_->written() == log_->size(); }
  Result<Ok> write_ends();
  Result<Ok> write_units(std::span<const QueueEntry> units);

  const std::shared_ptr<Segment> log_, queue_;
  std::atomic<std::size_t> count_{0};
  mutable std::mutex sync_mutex_;
  std::size_t synced_count_ = 0;                                  // guarded by sync_mutex_
  bool synced_finished_ = false;                                  // guarded by sync_mutex_
  std::optional<Error> broken_;                                   // guarded by sync_mutex_
  std::atomic<std::int64_t> first_offset_{-1}, last_offset_{-1};  // published before count_
};

class CompactionLog {
 public:
  CompactionLog(Env& env, Damages& damages, CompactionPlace place, std::string topic,
                std::int32_t queue_id);

  struct Truth {
    bool clean;                         ///< The last exit was: files say what was written.
    std::int64_t queue_min, queue_max;  ///< What the consume queue has.
    std::int64_t last_timestamp;        ///< Of the commit log's last message.
  };
  /// Finds the files, mends what a crash has left, and cuts off what the commit log has lost.
  /// kMalformed: files of other lengths.
  Result<Ok> load(const Truth& truth);
  /// What load() could not make sense of stays on disk as it is, for whoever mends it. The log
  /// takes nothing and gives nothing; what the consume queue has is given from there.
  void set_aside(std::int64_t end);
  /// As the files tell without load(): behind the last message.
  Result<std::int64_t> told_end() const;

  /// Copies what `queue` has behind next_offset(), until a sync fails.
  Result<Ok> follow(const ConsumeQueue& queue, const CommitLog& log);
  /// All of the queue before it is here, or has no key.
  std::int64_t next_offset() const { return next_.load(std::memory_order_acquire); }
  std::int64_t min_offset() const;  ///< Of the first message that is here, or next_offset().

  /// Is what stands at `offset` to be read from `queue`? All that this log has not got, or not yet.
  bool leaves_to(const ConsumeQueue& queue, std::int64_t offset) const;
  bool is_set_aside() const { return state_ == State::kSetAside; }
  /// `in_memory_bytes`: so much behind the end is taken to be in memory.
  GetResult get(const GetRequest& request, const StoreConfig& config,
                std::int64_t in_memory_bytes) const;

  /// Writes the files but the last anew without the messages whose key comes again, and without
  /// those that have no body. Keys are looked at behind `done_until`, as many as `map_bytes` hold.
  /// Returns the queue offset up to which that is done; nullopt: there is nothing to do.
  /// `may_compact`: is all up to a queue offset sure to stay in the commit log?
  Result<std::optional<std::int64_t>> compact(
      std::int64_t done_until, std::size_t map_bytes,
      const std::function<bool(std::int64_t queue_offset)>& may_compact);
  /// Ends a compaction that is running, and lets none begin.
  void stop_compacting();

  Result<Ok> sync();
  Result<Ok> remove();  ///< After that nothing is written any more.

 private:
  using Files = std::vector<std::shared_ptr<CompactionFile>>;
  enum class State { kFollows, kStopped, kSetAside };
  /// Keys point into the records.
  struct Newest;

  std::shared_ptr<const Files> files() const;
  template <class Change>
  void change_files(Change change);
  Result<bool> restore_renamed();
  Result<std::map<std::int64_t, std::uint64_t>> lengths(const std::string& directory) const;
  Result<Ok> remove_lonely_units(std::int64_t base, std::uint64_t bytes, bool cut_off);
  Result<bool> can_be_cut(std::int64_t base) const;
  Result<Ok> rebuild(CompactionFile& file, std::int64_t last, bool is_last, const Truth& truth);
  Result<Ok> cut_behind(Files& files, const Truth& truth);
  Result<Ok> remove_file(std::int64_t base);
  Result<Ok> sync_names() const;

  Result<Ok> take(const QueueEntry& entry, const CommitLog& log);
  Result<Ok> roll();
  void stop_following(const Error& why);
  Newest newest_of(std::span<const std::shared_ptr<CompactionFile>> files, std::int64_t done_until,
                   std::size_t keys_max) const;
  Result<Files> write_anew(std::span<const std::shared_ptr<CompactionFile>> old,
                           const Newest& newest);
  Result<Ok> replace(std::span<const std::shared_ptr<CompactionFile>> old, const Files& anew);
  Result<Ok> remove_anew();
  std::optional<protocol::Message> checked(const CompactionFile& file, const QueueEntry& unit,
                                           Bytes record, bool check_crc) const;

  Env& env_;
  Damages& damages_;
  const CompactionPlace place_;
  const std::string topic_;
  const std::int32_t queue_id_;
  std::mutex follow_mutex_, compact_mutex_;  // never held together, but by remove()
  bool removed_ = false;                     // guarded by follow_mutex_
  bool half_replaced_ = false;               // guarded by compact_mutex_
  std::atomic<bool> stopping_{false};
  std::atomic<State> state_{State::kFollows};
  mutable std::mutex files_mutex_;                                        // taken last
  std::shared_ptr<const Files> files_ = std::make_shared<const Files>();  // guarded by files_mutex_
  std::atomic<std::int64_t> next_{0};
};

}  // namespace apogee::store
