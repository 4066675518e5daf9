#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apogee/result.h"
#include "base/env.h"
#include "store/config.h"

/// What is on disk: the commit log, the consume queues and the index made from it, and their
/// recovery. Byte-compatible with Apache RocketMQ 5.x store directories.
///
/// Threads. append(): any, serialised by the append lock. One flush thread syncs and completes
/// when_durable(). One dispatch thread follows the log, owns consume queue and index writes and
/// calls StoreEvents. One prepare thread makes the next segment. Reads: any thread; records come
/// from mapped segments.
namespace apogee::store {

/// Outcome of an append; the broker maps it to a response code in one place.
enum class PutStatus {
  kOk,
  kFlushDiskTimeout,     ///< Stored, not yet known to be on disk.
  kServiceNotAvailable,  ///< Not writable: shut down, read-only, disk full, slave, a failed sync.
                         ///< Not stored.
  kMessageIllegal,       ///< Too large, too long a topic, bad batch. Not stored.
  kPageCacheBusy,        ///< The append lock has been held for too long. Not stored.
  kCreateFileFailed,     ///< No next segment. Not stored.
  kLmqNumberExceeded,    ///< It names an LMQ more than maxLmqConsumeQueueNum. Not stored.
  kUnknownError,
};
std::string_view name_of(PutStatus status);

/// One append: one or several encoded records (protocol/message.h) of the same topic and queue,
/// stored back to back in one segment with consecutive queue offsets. append() patches queue
/// offset, physical offset and store timestamp in place and, with several records, each of them. A
/// record of an inner batch or of a message for LMQs is stored with one more property, and
/// `records` says nothing any more.
struct Append {
  std::string_view topic;
  std::int32_t queue_id = 0;
  MutableBytes records;
  std::int32_t count = 1;
  /// It was accepted before, and waited elsewhere: no limit on what is new refuses it.
  bool accepted = false;
  // Filled in:
  PutStatus status = PutStatus::kUnknownError;
  std::int64_t physical_offset = -1;  ///< Of the first record.
  std::int64_t queue_offset = -1;     ///< Of the first record.
  std::int64_t store_timestamp = 0;
  std::vector<std::int64_t> physical_offsets;  ///< Of each record when count > 1.
  std::int32_t queue_offset_step = 1;          ///< Queue offsets one record takes: 1, or INNER_NUM.
};

/// A record (or several contiguous ones) in a mapped segment; `owner` keeps the mapping.
struct RecordBytes {
  Bytes bytes;
  std::shared_ptr<const void> owner;
  bool unreadable = false;     ///< Empty because the disk refused: there may be one all the same.
  std::int64_t tags_code = 0;  ///< Of its queue entry, if it was found by one.
  explicit operator bool() const { return !bytes.empty(); }
};

/// What a consume queue says of a message, or of a batch of them, whether its record is there or
/// not.
struct QueueUnit {
  struct Extended {
    std::int64_t store_timestamp = 0;
    std::string bit_map;
  };
  std::int64_t queue_offset = 0, physical_offset = 0;
  std::int32_t size = 0;
  std::int32_t messages = 1;
  std::int64_t tags_code = 0;
  bool tags_known = true;            ///< False: the code is an address where nothing stands.
  std::optional<Extended> extended;  ///< With enableConsumeQueueExt.
};

enum class GetStatus {
  kFound,
  kNoMatchedMessage,
  kMessageWasRemoving,
  kOffsetFoundNull,
  kOffsetOverflowBadly,
  kOffsetOverflowOne,
  kOffsetTooSmall,
  kNoMatchedLogicQueue,
  kNoMessageInQueue,
  kOffsetReset,
  kUnreadable,  ///< The disk refused: the same again later may be found.
};
std::string_view name_of(
    GetStatus status);  ///< Java's names, e.g. "NO_MATCHED_MESSAGE": the remark of a pull's answer.

/// Decides which messages of a queue a reader gets. Called on the reading thread.
class MessageFilter {
 public:
  virtual ~MessageFilter() = default;
  virtual bool matches_tags_code(std::int64_t tags_code) const = 0;
  /// What was known about the message when it came, with enableConsumeQueueExt; may only refuse
  /// what matches_record() refuses, too.
  virtual bool matches_bit_map(std::string_view, std::int64_t /*store_timestamp*/) const {
    return true;
  }
  /// Second stage, with the record; only asked when needs_record().
  virtual bool needs_record() const { return false; }
  virtual bool matches_record(Bytes) const { return true; }
};

struct GetRequest {
  std::string_view topic;
  std::int32_t queue_id = 0;
  std::int64_t offset = 0;
  std::int32_t max_messages = 32;
  std::int32_t max_bytes = 128 << 20;
  const MessageFilter* filter = nullptr;  ///< nullptr: all.
  bool only_resident = false;  ///< Rather than wait for the disk, end with resident = false.
};
struct GetResult {
  GetStatus status = GetStatus::kNoMatchedLogicQueue;
  std::int64_t next_offset = 0, min_offset = 0, max_offset = 0;
  std::vector<Bytes> records;  ///< Neighbours in the log come merged: several records in one.
  std::vector<std::shared_ptr<const void>> owners;  ///< What keeps all of them.
  std::int32_t message_count = 0;
  std::int64_t total_bytes = 0;
  bool suggest_slave = false;  ///< The reader is farther behind than memory reaches.
  bool resident = true;  ///< False: reading the records may wait for the disk. With only_resident
                         ///< there are none: ask again on a thread that may block.

  /// Would a record of so many messages and bytes be too much for one answer?
  bool is_full_for(std::int32_t messages, std::int32_t size, const GetRequest& request,
                   const StoreConfig& config, bool in_memory) const;
  std::shared_ptr<const void> take_owners();  ///< One that keeps all records.
  void add(Bytes record, const std::shared_ptr<const void>& owner, std::int32_t messages);
};

/// Told by the dispatch thread once a message can be read from its queue; must not block.
struct Arrival {
  std::string_view topic;
  std::int32_t queue_id;
  std::int64_t queue_offset;  ///< Its own, of a batch the last; + 1 is the queue's new maximum.
  std::int64_t tags_code;
  std::int64_t store_timestamp;
  std::int64_t physical_offset;
  std::int32_t size;
  Bytes record;
};
class StoreEvents {
 public:
  virtual ~StoreEvents() = default;
  virtual void on_arrivals(std::span<const Arrival>) {}  ///< One dispatch round.
  /// queue.type=BatchCQ? Asked by any thread, and while the store is opened, when a queue of the
  /// topic comes into being.
  virtual bool is_batch_topic(std::string_view) { return false; }
  /// cleanup.policy=COMPACTION? Asked as is_batch_topic() is.
  virtual bool is_compaction_topic(std::string_view) { return false; }
  /// The bits of those who want such a message, kept with enableConsumeQueueExt; empty: none are
  /// kept. Dispatch thread, and while the store is opened.
  virtual std::string filter_bit_map(std::string_view /*topic*/, std::string_view /*properties*/) {
    return {};
  }
  /// One batch has been appended, told by the thread that did it, without the lock.
  struct Appended {
    Clock::Duration lock_wait{}, lock_held{}, write{};
  };
  virtual void on_appended(const Appended&) {}
  virtual void on_synced(Clock::Duration) {}  ///< One sync of the log, on the flush thread.
  /// Delivery time of a SCHEDULE_TOPIC_XXXX record of this delay level, stored in its queue entry's
  /// tag code.
  virtual std::int64_t deliver_time(std::int32_t delay_level, std::int64_t store_timestamp) {
    return store_timestamp + (delay_level > 0 ? 1'000 : 0);
  }
};

enum class Boundary { kLower, kUpper };

struct QueueInfo {
  std::string topic;
  std::int32_t queue_id;
  std::int64_t min_offset, max_offset;
};

struct StoreStatus {
  std::int64_t commit_log_min_offset = 0, commit_log_max_offset = 0, flushed_offset = 0,
               dispatched_offset = 0;
  bool writable = false;
  std::string not_writable_because;
  std::int64_t append_lock_held_ms = 0;                            ///< 0: free.
  double commit_log_disk_ratio = 0, consume_queue_disk_ratio = 0;  ///< Used / total.
  std::int64_t index_last_timestamp = 0, index_last_physical_offset = 0;
  std::int64_t damages = 0;  ///< Damaged places of the log that were met since the start.
  std::int64_t scrubbed_bytes = 0, scrub_rounds = 0;  ///< Since the start.
};

class MessageStore {
 public:
  virtual ~MessageStore() = default;  ///< Calls stop().

  /// Locks the directory, loads, recovers. kExists: the directory is in use by another process.
  /// `events` outlives the store.
  static Result<std::unique_ptr<MessageStore>> open(Env& env, const StoreConfig& config,
                                                    StoreEvents& events);
  virtual void start() = 0;  ///< Starts the threads; writes `abort`.
  /// Refuses appends, dispatches and flushes the rest, leaves clean marks (`abort` removed only if
  /// nothing is behind).
  virtual void stop() = 0;

  /// Writes a batch under one hold of the append lock; each entry gets its own status. Returns once
  /// the bytes are in the page cache (they survive a kill of the process).
  virtual void append(std::span<Append* const> batch) = 0;
  /// `done` runs once, on the flush thread (or at once when already durable): kOk when everything
  /// below `physical_offset` is on disk, kFlushDiskTimeout after syncFlushTimeout,
  /// kServiceNotAvailable when a sync failed.
  virtual void when_durable(std::int64_t physical_offset, std::function<void(PutStatus)> done) = 0;

  virtual GetResult get(const GetRequest& request) = 0;
  /// The record at a physical offset; empty when there is none.
  virtual RecordBytes record_at(std::int64_t physical_offset) = 0;
  virtual RecordBytes record_at(std::string_view topic, std::int32_t queue_id,
                                std::int64_t queue_offset) = 0;
  /// From that with the message at `queue_offset` on; fewer than `count` at the end of the queue or
  /// of a file, none where it cannot be read.
  virtual std::vector<QueueUnit> queue_units(std::string_view topic, std::int32_t queue_id,
                                             std::int64_t queue_offset, std::int32_t count) = 0;
  /// Physical offsets of messages with this key, newest file first; candidates are checked for
  /// topic and key.
  virtual std::vector<RecordBytes> query_by_key(std::string_view topic, std::string_view key,
                                                std::int32_t max, std::int64_t begin_ms,
                                                std::int64_t end_ms) = 0;
  /// The same for messages with this tag.
  virtual std::vector<RecordBytes> query_by_tag(std::string_view topic, std::string_view tag,
                                                std::int32_t max, std::int64_t begin_ms,
                                                std::int64_t end_ms) = 0;

  virtual std::int64_t min_offset(std::string_view topic,
                                  std::int32_t queue_id) = 0;  ///< -1: no such queue.
  virtual std::int64_t max_offset(std::string_view topic,
                                  std::int32_t queue_id) = 0;  ///< 0: no such queue.
  virtual std::int64_t offset_by_time(std::string_view topic, std::int32_t queue_id,
                                      std::int64_t timestamp, Boundary boundary) = 0;
  virtual std::int64_t store_time(std::string_view topic, std::int32_t queue_id,
                                  std::int64_t queue_offset) = 0;  ///< -1: unknown.
  virtual std::int64_t earliest_store_time(std::string_view topic,
                                           std::int32_t queue_id) = 0;  ///< -1: unknown.
  virtual std::int64_t earliest_store_time() = 0;
  /// Is the message at this queue offset still in memory (page cache)? For the rule about a new
  /// group's first offset.
  virtual bool in_memory(std::string_view topic, std::int32_t queue_id,
                         std::int64_t queue_offset) = 0;
  virtual std::vector<QueueInfo> queues() = 0;
  virtual std::vector<QueueInfo> queues(std::string_view topic) = 0;

  /// Its consume queues; the log keeps the records. Those of a topic of that name that is made
  /// later are told from them, also by a recovery. After an error the topic is as before.
  virtual Result<Ok> delete_topic(std::string_view topic) = 0;
  virtual std::int32_t
  clean_expired_queues() = 0;  ///< Queues whose last message left the log. Returns how many.
  virtual void delete_expired_segments() = 0;  ///< Manual trigger of retention.
  virtual StoreStatus status() = 0;
  /// As it stands now: what is taken from it by one expression fits together.
  virtual const StoreConfig& config() const = 0;
  virtual void change_config(StoreConfig next) = 0;  ///< Run-time keys only may differ.
};

}  // namespace apogee::store
