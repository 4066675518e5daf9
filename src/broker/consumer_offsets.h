#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "apogee/result.h"
#include "base/env.h"
#include "protocol/bodies.h"

/// Where does each consumer group stand in each queue? The table behind config/consumerOffset.json
/// (ConsumerOffsetManager).
///
/// Threads: every member from any thread. The table is cut into shards by group, each with its own
/// mutex, so that commits do not wait for a listing or for persist(), which copies shard by shard
/// and writes without a lock. load() before anything else. persist() and load() block on the disk.
namespace apogee::broker {

using QueueOffsets = std::map<std::int32_t, std::int64_t>;  ///< Queue id to the next offset.

class ConsumerOffsets {
 public:
  /// `path`: <root>/config/consumerOffset.json. `version_step`: commits per step of the data
  /// version (consumerOffsetUpdateVersionStep). `lmq_path` (enableLmq): lmqConsumerOffset.json,
  /// written instead; while it is not there, what the other one holds is taken over.
  ConsumerOffsets(Env& env, std::string path, std::int64_t version_step = 500,
                  std::string lmq_path = {});
  ConsumerOffsets(const ConsumerOffsets&) = delete;

  /// `durable()` is asked before the file is written, when its content is already copied: it waits
  /// until all that the log holds now is on disk. False: the file stays as it is. Without it a
  /// power cut could forget what offsets speak of (a pop's check point) and remember the offsets.
  /// Before anything else.
  void write_behind(std::function<bool()> durable) { durable_ = std::move(durable); }

  /// Reads the file, or its .bak when it is missing, empty or damaged. Neither there: empty table.
  /// kMalformed when what is there cannot be read: starting would throw the groups' progress away.
  Result<Ok> load();
  /// Writes the file if anything changed since the last time.
  Result<Ok> persist();

  /// The offset a group committed, or that a pending reset has set (queryOffset).
  std::optional<std::int64_t> find(std::string_view group, std::string_view topic,
                                   std::int32_t queue_id) const;
  /// Committed offsets only, by queue.
  QueueOffsets find_all(std::string_view group, std::string_view topic) const;
  /// Stores the offset even when it is smaller than the present one.
  void commit(std::string_view group, std::string_view topic, std::int32_t queue_id,
              std::int64_t offset);
  /// As an update request does it: ignored (false) while a reset waits for its pull.
  bool commit_unless_reset(std::string_view group, std::string_view topic, std::int32_t queue_id,
                           std::int64_t offset);

  /// How far a group has pulled; in memory only, for the progress display. Falls back to find().
  std::optional<std::int64_t> find_pulled(std::string_view group, std::string_view topic,
                                          std::int32_t queue_id) const;
  void note_pulled(std::string_view group, std::string_view topic, std::int32_t queue_id,
                   std::int64_t next_offset);
  /// note_pulled() and, with a value, commit(): one look-up for the pull's way out.
  void note_pull(std::string_view group, std::string_view topic, std::int32_t queue_id,
                 std::int64_t next_offset, std::optional<std::int64_t> commit_offset);
  /// A new route of pulling begins: forget how far it went (clearPullOffset).
  void forget_pulled(std::string_view group, std::string_view topic);

  /// Server-side reset (useServerSideResetOffset): the next pull of the queue is sent to `offset`;
  /// until then commits by clients are ignored.
  void reset(std::string_view group, std::string_view topic, std::int32_t queue_id,
             std::int64_t offset);
  /// The pending reset, which is thereby done: the offset becomes the committed one.
  std::optional<std::int64_t> take_reset(std::string_view group, std::string_view topic,
                                         std::int32_t queue_id);
  bool reset_pending(std::string_view group, std::string_view topic, std::int32_t queue_id) const;

  /// destination's offsets in `topic` become source's.
  void clone(std::string_view source_group, std::string_view destination_group,
             std::string_view topic);
  void remove_group(std::string_view group);
  /// What the groups had committed there, for whoever wants it back by put_back().
  std::map<std::string, QueueOffsets> remove_topic(std::string_view topic);
  void put_back(std::string_view topic, const std::map<std::string, QueueOffsets>& removed);
  void remove(std::string_view group, std::string_view topic);

  std::set<std::string> topics_of(std::string_view group) const;
  std::set<std::string> groups_of(std::string_view topic) const;
  std::set<std::string> groups() const;
  void for_each(const std::function<void(const std::string& group, const std::string& topic,
                                         const QueueOffsets&)>& visit) const;

  protocol::DataVersion version() const;
  /// The file's content, also the body of GET_ALL_CONSUMER_OFFSET.
  std::string to_json() const;

 private:
  struct Entry {
    QueueOffsets committed, pulled, resets;
  };
  using Topics = std::map<std::string, Entry, std::less<>>;
  struct Shard {
    mutable std::mutex mutex;
    std::map<std::string, Topics, std::less<>> groups;  // guarded by mutex
  };
  static constexpr std::size_t kShards = 16;

  Shard& shard_of(std::string_view group);
  const Shard& shard_of(std::string_view group) const;
  static Entry& entry(Shard& shard, std::string_view group, std::string_view topic);
  template <class AnyShard>
  static auto find_entry(AnyShard& shard, std::string_view group, std::string_view topic)
      -> decltype(&shard.groups.begin()->second.begin()->second);
  void committed_once();

  Env& env_;
  const std::string path_, lmq_path_;  // lmq_path_ empty: enableLmq is off
  const std::int64_t version_step_;
  std::function<bool()> durable_;
  std::array<Shard, kShards> shards_;
  std::atomic<std::int64_t> changes_{0};         // commits and removals since start
  std::atomic<std::int64_t> commits_{0};         // since start
  std::atomic<std::int64_t> resets_pending_{0};  // 0: no reset was ever asked for
  std::mutex persist_mutex_;                     // one writer of the file
  std::int64_t persisted_changes_ = 0;           // guarded by persist_mutex_
  mutable std::mutex version_mutex_;
  protocol::DataVersion version_;  // guarded by version_mutex_
};

}  // namespace apogee::broker
