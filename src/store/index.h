#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "apogee/result.h"
#include "base/env.h"

/// Where are the messages with this key? A directory of index files, byte-compatible with Apache's
/// IndexService; made from the commit log and never more than a hint: a hash may lie, and keys are
/// missing after a crash or while the disk was full. Callers check the records themselves.
///
/// Threads. put(): the dispatch thread only. query(), last(), remove_before(): any thread, beside
/// put(). load() before any of these, close() after the last put(). put() writes to mapped memory
/// and creates a file when one is full; it never waits for a sync: full files are synced one after
/// the other on env.workers.
namespace apogee::store {

/// What the index wants to know of a record.
struct IndexEntry {
  std::string_view topic = {};
  std::string_view unique_key = {};  ///< UNIQ_KEY; empty: none.
  std::string_view keys = {};        ///< KEYS: tokens separated by spaces.
  std::string_view tags = {};        ///< TAGS; empty: none.
  std::int64_t physical_offset = 0;
  std::int64_t store_timestamp = 0;
  std::int32_t sys_flag = 0;  ///< Rollback records are not indexed.
};

struct IndexPosition {
  std::int64_t timestamp = 0;        ///< Store time of the last indexed message; 0: none.
  std::int64_t physical_offset = 0;  ///< Its physical offset.
};

struct IndexAnswer {
  std::vector<std::int64_t> physical_offsets;  ///< Candidates, newest first.
  IndexPosition last;
};

struct IndexOptions {
  std::string directory;        ///< <root>/index; created with the first file.
  std::int32_t slot_count = 0;  ///< maxHashSlotNum; part of the file format.
  std::int32_t unit_count = 0;  ///< maxIndexNum; part of the file format.
  /// A full file is on disk: everything up to this store time will survive a crash. Belongs into
  /// the checkpoint's indexMsgTimestamp. Runs on env.workers, in order of time, never twice at
  /// once.
  std::function<void(std::int64_t end_timestamp)> on_file_durable = {};
};

class Index {
 public:
  /// `env` outlives the index.
  Index(Env& env, IndexOptions options);
  ~Index();  ///< Calls close().
  Index(const Index&) = delete;

  /// Opens the files of the directory. After an unclean exit those with messages newer than the
  /// checkpoint's indexMsgTimestamp are deleted: their pages may be from different moments
  /// (IndexService.load). Files that cannot be index files of this configuration are left alone.
  Result<Ok> load(bool last_exit_ok, std::int64_t checkpoint_index_timestamp);

  /// Indexes one record under its unique key, each of its keys and its tag; ignores what is already
  /// indexed (physical offset below the last one). Without room on the disk records go by
  /// unindexed: logged once, tried again every few seconds.
  void put(const IndexEntry& entry);

  /// Recovery found the end of the log here: the index may know of records behind it that are lost
  /// now and whose offsets will be given out again. Before the first put() after recovery.
  void log_ends_at(std::int64_t max_physical_offset);

  /// Candidates for `topic` and `key` stored in [begin_ms, end_ms], at most `max`.
  IndexAnswer query(std::string_view topic, std::string_view key, std::int32_t max,
                    std::int64_t begin_ms, std::int64_t end_ms) const;
  /// The same for a tag. Messages that RocketMQ before 5.5.0, or this store before it had this,
  /// indexed are not found by it.
  IndexAnswer query_tag(std::string_view topic, std::string_view tag, std::int32_t max,
                        std::int64_t begin_ms, std::int64_t end_ms) const;

  IndexPosition last() const;
  std::size_t file_count() const;

  /// Removes the files, except the last, all of whose messages are before `min_physical_offset`.
  void remove_before(std::int64_t min_physical_offset);

  /// Removes all files: the commit log is empty or starts anew. Not beside put().
  void remove_all();

  /// Waits for full files being synced and syncs the last one. Idempotent.
  Result<Ok> close();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace apogee::store
