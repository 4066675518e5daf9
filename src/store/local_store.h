#pragma once

#include <functional>
#include <list>

#include "store/checkpoint.h"
#include "store/commit_log.h"
#include "store/compaction.h"
#include "store/damages.h"
#include "store/deleted_topics.h"
#include "store/dispatcher.h"
#include "store/flusher.h"
#include "store/index.h"
#include "store/message_store.h"
#include "store/refusals.h"
#include "store/retention.h"
#include "store/scrub.h"

namespace apogee::store {

/// The store in a directory: puts its parts together. It is opened in recovery.cc, read in
/// reading.cc; the rest is in local_store.cc. Threads: see MessageStore; each part says its own.
class LocalStore final : public MessageStore, private RetentionTarget {
 public:
  LocalStore(Env& env, const StoreConfig& config, StoreEvents& events);
  ~LocalStore() override { stop(); }

  Result<Ok> load();
  void start() override;
  void stop() override;

  void append(std::span<Append* const> batch) override;
  void when_durable(std::int64_t physical_offset, std::function<void(PutStatus)> done) override {
    flusher_->when_durable(physical_offset, std::move(done));
  }
  GetResult get(const GetRequest& request) override;
  RecordBytes record_at(std::int64_t physical_offset) override;
  RecordBytes record_at(std::string_view topic, std::int32_t queue_id,
                        std::int64_t queue_offset) override;
  std::vector<RecordBytes> query_by_key(std::string_view topic, std::string_view key,
                                        std::int32_t max, std::int64_t begin_ms,
                                        std::int64_t end_ms) override;
  std::vector<RecordBytes> query_by_tag(std::string_view topic, std::string_view tag,
                                        std::int32_t max, std::int64_t begin_ms,
                                        std::int64_t end_ms) override;
  std::vector<QueueUnit> queue_units(std::string_view topic, std::int32_t queue_id,
                                     std::int64_t queue_offset, std::int32_t count) override;
  std::int64_t min_offset(std::string_view topic, std::int32_t queue_id) override;
  std::int64_t max_offset(std::string_view topic, std::int32_t queue_id) override;
  std::int64_t offset_by_time(std::string_view topic, std::int32_t queue_id, std::int64_t timestamp,
                              Boundary boundary) override;
  std::int64_t store_time(std::string_view topic, std::int32_t queue_id,
                          std::int64_t queue_offset) override;
  std::int64_t earliest_store_time(std::string_view topic, std::int32_t queue_id) override;
  std::int64_t earliest_store_time() override;
  bool in_memory(std::string_view topic, std::int32_t queue_id, std::int64_t queue_offset) override;
  std::vector<QueueInfo> queues() override { return infos(queues_.all()); }
  std::vector<QueueInfo> queues(std::string_view topic) override {
    return infos(queues_.of_topic(topic));
  }
  Result<Ok> delete_topic(std::string_view topic) override;
  std::int32_t clean_expired_queues() override;
  void delete_expired_segments() override { retention_.trigger(); }
  StoreStatus status() override;
  const StoreConfig& config() const override { return config_.now(); }
  void change_config(StoreConfig next) override {
    const bool ahead = next.read_ahead, changed = ahead != config_.now().read_ahead;
    config_.change(std::move(next));
    if (changed) log_.read_ahead(ahead);
  }

 private:
  // Recovery.
  std::optional<std::int64_t> drop_deleted_queues();
  std::int64_t first_segment_to_scan(const std::vector<std::shared_ptr<Segment>>& segments,
                                     bool clean, std::optional<std::int64_t> dropped_from) const;
  Result<std::optional<std::int64_t>> durable_behind(std::int64_t offset, bool nothing_there);
  Result<Ok> recover(bool clean);
  Result<Ok> begin_empty();
  Result<Ok> sync_removed_queues();
  Result<Ok> lower_checkpoint(const Segment& from, bool all);
  Result<Ok> distrust_entries(const Segment& from, bool all);
  Result<Ok> write_again(std::int64_t from, bool clean);
  struct Stretch {
    std::int64_t begin, end;
  };
  /// What stands in the log, and what of that the checkpoint does not vouch for.
  struct ReadAgain {
    std::int64_t end;
    std::size_t records = 0;
    std::vector<Stretch> unsure = {};  ///< In order. Each in one segment.
  };
  Result<ReadAgain> read_again(std::int64_t at, bool clean);
  Result<Ok> make_durable(const ReadAgain& read, std::int64_t from);
  Result<std::optional<std::int64_t>> behind_damage(const Segment& segment, std::int64_t at);
  Result<Ok> fit_queues(std::int64_t begin, std::int64_t end);
  Result<Ok> mark_open();

  // RetentionTarget.
  RetentionRules rules() const override;
  std::vector<SegmentAge> segments() const override;
  Result<Ok> remove_first_segment(std::int64_t base_offset) override;
  bool release_some() override { return log_.release_some(); }
  void log_begins_at(std::int64_t min_physical_offset) override;
  void set_disk_full(bool full, std::string_view why) override;
  Result<Ok> remove_for_good(ConsumeQueue& queue);
  void go_on_behind(const ConsumeQueue& removed, std::int64_t end);

  bool is_compacted(std::string_view topic) const {
    return config_.now().compaction_enable && events_.is_compaction_topic(topic);
  }
  RecordBytes compacted_at(const ConsumeQueue& queue, std::int64_t queue_offset);
  std::shared_ptr<CompactionLog> compacted(const ConsumeQueue& queue) const {
    return queue.is_compacted ? compaction_.find(queue.topic(), queue.queue_id()) : nullptr;
  }

  // Writing.
  PutStatus refuse_all() const;
  ConsumeQueue* queue_of(const Append& append, std::vector<std::shared_ptr<ConsumeQueue>>& keep);
  PutStatus prepare(CommitLog::Slot& slot, std::list<Buffer>& rewritten);
  PutStatus leave_crc_room(Append& append, std::list<Buffer>& rewritten);
  PutStatus leave_offset_room(CommitLog::Slot& slot, std::list<Buffer>& rewritten);
  void flush_queues(bool thorough);
  std::chrono::milliseconds patience() const {
    return std::chrono::milliseconds{config_.now().page_cache_busy_ms};
  }
  static std::vector<QueueInfo> infos(const std::vector<std::shared_ptr<ConsumeQueue>>& queues);

  // Reading.
  std::vector<RecordBytes> found(const IndexAnswer& answer, std::string_view topic,
                                 const std::function<bool(const protocol::Message&)>& wanted);
  bool gather(const ConsumeQueue& queue, std::span<const QueueEntry> entries,
              const GetRequest& request, GetResult& result);
  std::int64_t store_time_of(const QueueEntry& entry);
  bool is_checked(std::int64_t physical_offset) const;
  bool is_as_written(const ConsumeQueue& queue, const QueueEntry& entry, Bytes record) const;
  void tell_unreadable(const ConsumeQueue& queue, const Error& error);
  bool in_memory_reach(std::int64_t physical_offset) const {
    // A damaged entry's offset may be any number.
    return physical_offset >=
           log_.end_offset() - memory_bytes_ / 100 * config_.now().memory_percent;
  }

  Env& env_;
  StoreEvents& events_;
  Live<StoreConfig> config_;  // what cannot change at run time is the same in every version
  const std::string commit_log_directory_, queue_directory_;
  FileCache cache_;
  std::unique_ptr<FileLock> lock_;
  std::unique_ptr<Checkpoint> checkpoint_;
  CommitLog log_;
  ConsumeQueues queues_;
  DeletedTopics deleted_;
  Damages damages_;
  Compaction compaction_;
  Index index_;
  Dispatcher dispatcher_;
  std::unique_ptr<Flusher> flusher_;
  Retention retention_;
  Scrub scrub_;
  std::unique_ptr<Periodic> housekeeping_;
  Clock::Instant last_thorough_{};
  std::int64_t queues_begin_at_ = -1;  // retention: the log's beginning all queues are corrected to
  const std::int64_t memory_bytes_;
  std::int64_t written_from_ = 0;  // what is before it in the log was written by an earlier process
  std::atomic<bool> accepting_{false}, disk_full_{false}, queues_broken_{false},
      queues_behind_{false};
  std::mutex removing_mutex_;  // held by who takes queues away
  mutable std::mutex why_mutex_;
  Refusals refused_reads_;  // of queues
  std::string disk_full_because_;
  std::string closed_because_ = "the store is stopped";  // set before the threads start
  bool recovered_ = false;                               // the last exit was not clean
  bool entries_made_again_ = false;                      // it was, and some were lost since
  bool started_ = false, stopped_ = false;
};

}  // namespace apogee::store
