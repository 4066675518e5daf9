#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "protocol/message.h"
#include "store/commit_log.h"
#include "store/compaction.h"
#include "store/deleted_topics.h"
#include "store/index.h"

namespace apogee::store {

/// Follows the log and makes from it what can be read: consume queue entries, index entries,
/// notices of arrival. Threads: one dispatch thread owns the position and all queue and index
/// writes; wake() and the offsets from any thread.
class Dispatcher {
 public:
  Dispatcher(Env& env, const StoreConfig& config, CommitLog& log, ConsumeQueues& queues,
             const DeletedTopics& deleted, Compaction& compaction, Index& index,
             StoreEvents& events);
  ~Dispatcher();

  /// Recovery: one record into queue and index, without telling anybody.
  void redispatch(const protocol::Message& message);
  /// Store time of the last record redispatch() took.
  std::int64_t last_taken() const { return taken_timestamp_; }
  bool has_pending() const;  ///< Entries that write_pending() would write.
  Result<Ok> write_pending();

  /// `limit`: up to where the log may be seen.
  void start(std::int64_t position, std::function<std::int64_t()> limit);
  void stop();  ///< Ends the thread after what is in the log now, at most five seconds.
  void wake() {
    signal_.fetch_add(1, std::memory_order_release);
    signal_.notify_one();
  }
  std::int64_t position() const { return position_.load(std::memory_order_acquire); }
  /// Store time up to which all entries are written.
  std::int64_t last_timestamp() const { return last_timestamp_.load(std::memory_order_acquire); }

 private:
  void run();
  bool round();
  Result<Ok> write_touched();
  void write_patiently(std::unique_lock<std::mutex>& still);
  void take(const protocol::Message& message);
  void take_into_own(std::int64_t tags_code, const protocol::Message& message);
  void take_into(ConsumeQueue& queue, std::int64_t queue_offset, std::int32_t messages,
                 std::int64_t tags_code, const protocol::Message& message);
  void take_into_lmqs(std::int64_t tags_code, const protocol::Message& message);
  struct Wanted;
  std::int64_t tags_code(const protocol::Message& message, const Wanted& wanted) const;

  Env& env_;
  const StoreConfig& config_;
  CommitLog& log_;
  ConsumeQueues& queues_;
  const DeletedTopics& deleted_;
  Compaction& compaction_;
  Index& index_;
  StoreEvents& events_;
  std::function<std::int64_t()> limit_;
  std::vector<std::shared_ptr<ConsumeQueue>> touched_;  // dispatch thread
  std::vector<Arrival> arrivals_;                       // dispatch thread
  std::shared_ptr<ConsumeQueue>
      last_queue_;       // dispatch thread: neighbours in the log are often of one queue
  std::string bit_map_;  // dispatch thread: of the record being taken
  std::int64_t taken_timestamp_ =
      0;  // dispatch thread: of the last record, its entry maybe pending
  std::atomic<std::int64_t> position_{0}, last_timestamp_{0};
  std::atomic<std::uint32_t> signal_{0};
  std::atomic<bool> stopping_{false}, stuck_{false};  // stuck: queues cannot be written
  std::mutex retry_mutex_;
  std::condition_variable retry_;
  std::thread thread_;
};

}  // namespace apogee::store
