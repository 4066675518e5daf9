#pragma once

#include <atomic>
#include <list>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/env.h"

namespace apogee::store {

/// One unit of a consume queue: 20 bytes on disk.
struct QueueEntry {
  std::int64_t physical_offset = 0;
  std::int32_t size = 0;
  std::int64_t tags_code = 0;
  static constexpr std::size_t kBytes = 20;
  /// Filler before the first message of a queue that does not begin at 0: (0, 2^31-1, 0).
  bool is_blank() const { return physical_offset == 0 && size == 0x7FFF'FFFF; }
};

/// Open files, at most so many: a store may have a million queues. Any thread; a file in use stays
/// open until its user is done.
class FileCache {
 public:
  FileCache(FileSystem& files, std::size_t most) : files_{files}, most_{most} {}
  Result<std::shared_ptr<File>> open(const std::string& path, FileSystem::Open mode);
  void forget(const std::string& path_prefix);

 private:
  FileSystem& files_;
  const std::size_t most_;
  std::mutex mutex_;
  std::list<std::pair<std::string, std::shared_ptr<File>>> recent_;  // front: used last
  std::unordered_map<std::string, decltype(recent_)::iterator> by_path_;
};

/// The messages of one queue of a topic, in order: where in the log each is.
/// Threads: put() and write_pending() by the dispatch thread (or recovery); `next_offset` under the
/// append lock; reads by any thread, which see entries once write_pending() has published them.
class ConsumeQueue {
 public:
  ConsumeQueue(Env& env, FileCache& cache, std::string directory, std::string topic,
               std::int32_t queue_id, std::int64_t file_bytes);

  /// Finds the files and the last valid entry; what is behind it is cut off. Unless the last exit
  /// was clean, the names of the files may stand in memory only.
  Result<Ok> load(bool clean);

  const std::string& topic() const { return topic_; }
  std::int32_t queue_id() const { return queue_id_; }
  std::int64_t min_offset() const { return min_.load(std::memory_order_acquire); }
  std::int64_t max_offset() const { return max_.load(std::memory_order_acquire); }
  std::int64_t physical_end() const {
    return physical_end_.load(std::memory_order_relaxed);
  }  ///< Where the last entry's record ends; -1: no entry.

  /// Takes an entry for `queue_offset`; entries that are there already are ignored, a gap is filled
  /// with blanks.
  void put(std::int64_t queue_offset, const QueueEntry& entry);
  bool has_pending() const { return !pending_.empty(); }
  Result<Ok> write_pending();

  /// Reads up to `count` entries from `offset`, fewer at the end of the queue or of a file.
  Result<std::vector<QueueEntry>> read(std::int64_t offset, std::size_t count) const;

  /// Entries of records at or behind `physical_offset` go: the log ends there.
  Result<Ok> truncate_behind(std::int64_t physical_offset);
  /// The log begins at `physical_offset`: moves min_offset() and removes files that are wholly
  /// before it.
  Result<Ok> correct_min_offset(std::int64_t physical_offset);
  Result<Ok> remove_all();
  /// Makes written entries durable when at least `least_bytes` of them are not.
  Result<Ok> sync(std::int64_t least_bytes);

  std::int64_t next_offset = 0;  ///< Append lock: the queue offset the next message gets.

 private:
  std::string path_of(std::int64_t base) const;
  Result<std::shared_ptr<File>> file_at(std::int64_t position, bool create);
  Result<Ok> write(std::int64_t position, std::string_view bytes);
  Result<Ok> cut_to(std::int64_t end);
  void begin_anew();
  void refuse(std::int64_t queue_offset);
  static void encode(std::string& out, const QueueEntry& entry);

  Env& env_;
  FileCache& cache_;
  const std::string directory_, topic_;
  const std::int32_t queue_id_;
  const std::int64_t file_bytes_;

  mutable std::mutex files_mutex_;
  std::vector<std::int64_t> bases_;  // files mutex: first byte of each file, ascending

  std::string pending_;                // dispatch thread: encoded entries from pending_position_
  std::int64_t pending_position_ = 0;  // dispatch thread: in bytes
  std::int64_t pending_physical_end_ = -1;
  std::atomic<std::int64_t> min_{0}, max_{0}, physical_end_{-1};
  std::atomic<std::int64_t> synced_bytes_{0};
  std::atomic<bool> names_synced_{
      true};  // false: a file was made whose name may not survive a power cut
};

/// All queues of the store. Threads: any.
class ConsumeQueues {
 public:
  ConsumeQueues(Env& env, FileCache& cache, std::string directory, std::int64_t file_bytes);
  Result<Ok> load(bool clean);
  std::shared_ptr<ConsumeQueue> find(std::string_view topic, std::int32_t queue_id) const;
  std::shared_ptr<ConsumeQueue> find_or_create(std::string_view topic, std::int32_t queue_id);
  std::vector<std::shared_ptr<ConsumeQueue>> all() const;
  std::vector<std::shared_ptr<ConsumeQueue>> of_topic(std::string_view topic) const;
  /// Takes the topic's queues out of the table and removes their files.
  void remove_topic(std::string_view topic);
  void remove(const ConsumeQueue& queue);

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>{}(text);
    }
  };
  Env& env_;
  FileCache& cache_;
  const std::string directory_;
  const std::int64_t file_bytes_;
  mutable std::shared_mutex mutex_;
  std::unordered_map<std::string, std::map<std::int32_t, std::shared_ptr<ConsumeQueue>>, Hash,
                     std::equal_to<>>
      topics_;
};

}  // namespace apogee::store
