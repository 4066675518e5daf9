#pragma once

#include <functional>
#include <map>
#include <memory>
#include <shared_mutex>
#include <string>

#include "base/live.h"
#include "protocol/json.h"
#include "store/compaction_log.h"

namespace apogee::store {

/// `compaction/position-checkpoint`, Java's CompactionPositionMgr.
struct CompactionPositions {
  bool empty = true;
  std::map<std::string, std::int64_t> queue_offsets;  ///< By key_of(): compacted up to there.
  static std::string key_of(std::string_view topic, std::int32_t queue_id);  ///< "topic_queueId".
  using Self = CompactionPositions;
  static constexpr auto kFields =
      MemberList{protocol::Field{"empty", &Self::empty},
                 protocol::Field{"queueOffsetMap", &Self::queue_offsets}};
};

/// The compaction logs of all queues that have one, and their compaction, one after the other
/// (CompactionStore). All begins with the consume queues: those with `is_compacted` are followed.
///
/// Threads: follow() by the dispatch thread, and by others when that could not; find() and
/// min_offset() any; compaction runs on env.workers, one step at a time.
class Compaction {
 public:
  Compaction(Env& env, const Live<StoreConfig>& config, const CommitLog& log, ConsumeQueues& queues,
             Damages& damages);

  struct Truth {
    bool clean;                   ///< The last exit was.
    std::int64_t last_timestamp;  ///< Of the commit log's last message.
    std::function<bool(std::string_view topic)> is_compacted;
  };
  /// Once the queues are as the log says. Where the log has lost a queue's messages and the
  /// compaction log has them, the queue goes on behind them. A log that cannot be opened is set
  /// aside.
  Result<Ok> load(const Truth& truth);

  /// `flushed`: up to where the commit log is on disk.
  void start(std::function<std::int64_t()> flushed);
  void stop();  ///< After return nothing is compacted.

  void follow(const ConsumeQueue& queue);
  std::shared_ptr<CompactionLog> find(std::string_view topic, std::int32_t queue_id) const;
  /// Follows queues that could not be followed when they grew, and makes all durable. False: the
  /// disk refused.
  bool sync();
  void remove_topic(std::string_view topic);

 private:
  using Key = std::pair<std::string, std::int32_t>;

  std::shared_ptr<CompactionLog> find_or_create(const std::string& topic, std::int32_t queue_id);
  std::map<Key, std::shared_ptr<CompactionLog>> all() const;
  Result<Ok> load(ConsumeQueue& queue, const Truth& truth);
  Result<Ok> set_aside(ConsumeQueue& queue, CompactionLog& log, const Error& why);
  Clock::Duration step();
  void compact(const Key& key, CompactionLog& log);
  std::int64_t position_of(const Key& key);
  Result<Ok> note_position(const Key& key, std::optional<std::int64_t> position);

  Env& env_;
  const Live<StoreConfig>& config_;
  const CommitLog& log_;
  ConsumeQueues& queues_;
  Damages& damages_;
  const CompactionPlace place_;
  const std::string positions_path_;
  std::function<std::int64_t()> flushed_;
  mutable std::shared_mutex mutex_;
  std::map<Key, std::shared_ptr<CompactionLog>> logs_;  // guarded by mutex_
  std::mutex positions_mutex_;
  CompactionPositions positions_;  // guarded by positions_mutex_
  Key next_;                       // of the step: what comes first
  std::unique_ptr<Periodic> steps_;
};

}  // namespace apogee::store
