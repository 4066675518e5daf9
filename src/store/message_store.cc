#include "store/message_store.h"

#include <list>

#include <fmt/core.h>
#include <unistd.h>

#include "protocol/message.h"
#include "protocol/names.h"
#include "protocol/record_crc.h"
#include "store/checkpoint.h"
#include "store/commit_log.h"
#include "store/compaction.h"
#include "store/damages.h"
#include "store/dispatcher.h"
#include "store/flusher.h"
#include "store/index.h"
#include "store/log_reader.h"
#include "store/offset_texts.h"
#include "store/retention.h"
#include "store/scrub.h"
#include "store/torn_record.h"

namespace apogee::store {
namespace {

using protocol::RecordKind;

constexpr std::size_t kFetchedAhead = 6;  // records
constexpr std::int64_t kSurelyResidentBytes =
    64 << 20;  // behind the end of the log: just written, not asked for page by page

std::int64_t machine_memory_bytes() {
  return static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
}

std::int64_t tags_code_of(Bytes record) {
  const auto message = protocol::decode_message(record);
  return protocol::tags_code(message ? message->property(protocol::property::kTags) : std::nullopt);
}

std::optional<FileChain::Place> extension_place(const StoreConfig& config) {
  if (!config.queue_extension) return std::nullopt;
  return FileChain::Place{config.root + "/consumequeue_ext", config.queue_extension_file_bytes,
                          "mappedFileSizeConsumeQueueExt"};
}

class LocalStore final : public MessageStore, private RetentionTarget {
 public:
  LocalStore(Env& env, const StoreConfig& config, StoreEvents& events)
      : env_{env},
        events_{events},
        config_{config},
        commit_log_directory_{config.commit_log_path.empty() ? config.root + "/commitlog"
                                                             : config.commit_log_path},
        queue_directory_{config.root + "/consumequeue"},
        cache_{env.files, static_cast<std::size_t>(config.open_queue_files_max)},
        log_{env, config_.now(), commit_log_directory_, events},
        queues_{env,
                cache_,
                {.simple = {queue_directory_, config.consume_queue_file_bytes,
                            "mappedFileSizeConsumeQueue"},
                 .batch = {config.root + "/batchconsumequeue", config.batch_queue_file_bytes,
                           "mapperFileSizeBatchConsumeQueue"},
                 .extension = extension_place(config),
                 .synced_together_from = config.queues_synced_together_from,
                 .kind_of =
                     [&events](std::string_view topic) {
                       return events.is_batch_topic(topic) ? QueueKind::kBatch : QueueKind::kSimple;
                     },
                 .is_compacted = [this](std::string_view topic) { return is_compacted(topic); }}},
        damages_{env.log},
        compaction_{env, config_, log_, queues_, damages_},
        index_{env,
               {.directory = config.root + "/index",
                .slot_count = config.index_slots,
                .unit_count = config.index_units,
                .on_file_durable =
                    [this](std::int64_t timestamp) {
                      checkpoint_->index_timestamp.store(timestamp);
                    }}},
        dispatcher_{env, config_.now(), log_, queues_, compaction_, index_, events},
        retention_{env, *this, {commit_log_directory_}, queue_directory_},
        scrub_{env, config_, log_, damages_},
        memory_bytes_{machine_memory_bytes()} {}
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
  void delete_topic(std::string_view topic) override {
    queues_.remove_topic(topic);
    compaction_.remove_topic(topic);
  }
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
  std::int64_t first_segment_to_scan(const std::vector<std::shared_ptr<Segment>>& segments,
                                     bool clean) const;
  Result<std::optional<std::int64_t>> durable_behind(std::int64_t offset, bool nothing_there) const;
  Result<Ok> recover(bool clean);
  Result<Ok> mark_open();

  // RetentionTarget.
  RetentionRules rules() const override;
  std::vector<SegmentAge> segments() const override;
  Result<Ok> remove_first_segment(std::int64_t base_offset) override;
  bool release_some() override { return log_.release_some(); }
  void log_begins_at(std::int64_t min_physical_offset) override;
  void set_disk_full(bool full, std::string_view why) override;

  bool is_compacted(std::string_view topic) const {
    return config_.now().compaction_enable && events_.is_compaction_topic(topic);
  }
  std::shared_ptr<CompactionLog> compacted(const ConsumeQueue& queue) const {
    return queue.is_compacted ? compaction_.find(queue.topic(), queue.queue_id()) : nullptr;
  }
  PutStatus refuse_all() const;
  ConsumeQueue* queue_of(const Append& append, std::vector<std::shared_ptr<ConsumeQueue>>& keep);
  PutStatus prepare(CommitLog::Slot& slot, std::list<Buffer>& rewritten);
  PutStatus leave_crc_room(Append& append, std::list<Buffer>& rewritten);
  PutStatus leave_offset_room(CommitLog::Slot& slot, std::list<Buffer>& rewritten);
  void flush_queues(bool thorough);
  static std::vector<QueueInfo> infos(const std::vector<std::shared_ptr<ConsumeQueue>>& queues);
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
  std::atomic<bool> accepting_{false}, disk_full_{false}, queues_broken_{false};
  mutable std::mutex why_mutex_;
  Refusals refused_reads_;  // of queues
  std::string disk_full_because_;
  std::string closed_because_ = "the store is stopped";  // set before the threads start
  bool recovered_ = false;                               // the last exit was not clean
  bool started_ = false, stopped_ = false;
};

// ---- Opening and recovery ----------------------------------------------------------------------

Result<Ok> LocalStore::load() {
  if (auto made = env_.files.create_directories(config_.now().root); !made) return made;
  // The names of the directories are as important as what is in them; the parent may belong to
  // somebody else.
  if (const auto slash = config_.now().root.rfind('/'); slash != std::string::npos)
    (void)env_.files.sync_directory(slash == 0 ? "/" : config_.now().root.substr(0, slash));
  auto lock = env_.files.lock(config_.now().root + "/lock");
  if (!lock) {
    if (lock.error().code != Errc::kExists) return lock.error();
    return Error{Errc::kExists,
                 "the store directory " + config_.now().root +
                     " is in use by another process; stop that broker or set storePathRootDir"};
  }
  lock_ = *std::move(lock);
  const bool clean = !env_.files.stat(config_.now().root + "/abort");
  if (auto made = env_.files.create_directories(queue_directory_); !made) return made;
  if (auto loaded = log_.load(); !loaded) return loaded;  // syncs the root's names, too
  if (auto loaded = queues_.load(clean); !loaded) return loaded;
  auto checkpoint = Checkpoint::open(env_.files, config_.now().root + "/checkpoint");
  if (!checkpoint) return checkpoint.error();
  checkpoint_ = *std::move(checkpoint);
  if (config_.now().index_enable) {
    if (auto loaded = index_.load(clean, checkpoint_->index_timestamp.load()); !loaded)
      return loaded;
  }
  flusher_ = std::make_unique<Flusher>(env_, config_, log_, *checkpoint_, events_);
  if (auto recovered = recover(clean); !recovered) return recovered;
  return compaction_.load({.clean = clean,
                           .last_timestamp = dispatcher_.last_timestamp(),
                           .is_compacted = [this](auto topic) { return is_compacted(topic); }});
}

/// Index of the segment from which the log is read again: the last one whose first record is
/// certainly in queues and index.
std::int64_t LocalStore::first_segment_to_scan(
    const std::vector<std::shared_ptr<Segment>>& segments, bool clean) const {
  std::int64_t dispatched = -1;
  for (const auto& queue : queues_.all()) dispatched = std::max(dispatched, queue->physical_end());
  for (const auto& queue : queues_.all())
    if (queue->entries_lost_from() >= 0)
      dispatched = std::min(dispatched, queue->entries_lost_from());
  for (std::size_t i = segments.size(); i-- > 0;) {
    const auto first = protocol::check_record(segments[i]->whole(), false);
    if (first.kind != RecordKind::kRecord || first.message.store_timestamp == 0) continue;
    const bool known = clean ? segments[i]->base() <= dispatched
                             : first.message.store_timestamp <= checkpoint_->min_timestamp() &&
                                   segments[i]->base() <= dispatched;
    if (known) return static_cast<std::int64_t>(i);
  }
  return 0;
}

/// The log holds no whole record at `offset`, or nothing at all: where does it go on? nullopt:
/// nowhere, a power cut took what follows, which nobody was promised. What the checkpoint vouches
/// for was on disk, so behind it there is damage, which takes no more than itself.
Result<std::optional<std::int64_t>> LocalStore::durable_behind(std::int64_t offset,
                                                               bool nothing_there) const {
  std::optional<std::int64_t> found;
  // Of one millisecond some may be flushed and some not, unless all were. The log's end looks like
  // one of the last millisecond's records that is gone whole: to tell them apart, each start would
  // read the empty rest of the last file.
  const bool all_of_the_last = !recovered_ && !nothing_there;
  const std::int64_t on_disk_before =
      checkpoint_->physical_timestamp.load() + (all_of_the_last ? 1 : 0);
  if (dispatcher_.last_taken() >= on_disk_before) return found;
  std::vector<SegmentFile> files;
  for (const auto& segment : log_.segments())
    files.push_back({segment->path(), segment->base(), segment->size()});
  LogReader reader{env_.files, std::move(files)};
  auto done = reader.walk_on(offset, checked_with_bodies(config_.now()), [&](const LogItem& item) {
    if (item.kind != LogItem::Kind::kRecord || item.offset() == offset ||
        item.message.physical_offset != item.offset())
      return true;
    if (item.message.store_timestamp < on_disk_before) found = item.offset();
    return false;
  });
  if (!done) return done.error();
  return found;
}

Result<Ok> LocalStore::recover(bool clean) {
  const auto began = env_.clock.now();
  recovered_ = !clean;
  const auto segments = log_.segments();
  if (segments.empty()) {
    // Queues without a log point nowhere.
    const auto queues = queues_.all();
    for (const auto& queue : queues) {
      if (queue->max_offset() > 0)
        env_.log.warn("the commit log is empty: consume queue dropped: topic={} queue={}",
                      queue->topic(), queue->queue_id());
      queues_.remove(*queue);
    }
    // None may come back after the next power cut, when there is a log again.
    auto gone = queues.empty() ? Result<Ok>{Ok{}} : env_.files.sync_tree(queue_directory_);
    if (!gone && gone.error().code != Errc::kUnsupported) return gone;
    if (config_.now().index_enable) index_.remove_all();
    return log_.set_end(0);
  }
  std::int64_t end = -1;
  std::size_t records = 0;
  const auto from = static_cast<std::size_t>(first_segment_to_scan(segments, clean));
  end = segments[from]->base();
  if (!clean) {
    // A power cut keeps any part of what was not synced: entries of the records read again are made
    // again, not trusted. Until they are on disk nothing vouches for them: a power cut during this
    // recovery may keep some queues' new entries and not others'.
    const auto first = protocol::check_record(segments[from]->whole(), false);
    const std::int64_t known_until =
        from > 0 && first.kind == RecordKind::kRecord ? first.message.store_timestamp : 0;
    if (checkpoint_->queue_timestamp.load() > known_until) {
      checkpoint_->queue_timestamp.store(known_until);
      if (auto lowered = checkpoint_->write(); !lowered) return lowered;
    }
    for (const auto& queue : queues_.all()) {
      if (auto cut = queue->truncate_behind(end); !cut) return cut;
    }
  }
  const CheckCrc check_crc =
      config_.now().check_crc_on_recover ? checked_with_bodies(config_.now()) : CheckCrc::kNone;
  for (std::int64_t at = end; at < log_.end_offset();) {
    const auto segment = log_.segment_of(at);
    const auto position = static_cast<std::size_t>(at - segment->base());
    if (position + protocol::kBlankRecordBytes > segment->size()) {
      at = segment->end();
      continue;
    }
    const Bytes rest = segment->whole().subspan(position);
    const auto check = protocol::check_record(rest, false);
    if (check.kind == RecordKind::kBlank) {
      at = end = segment->end();
      continue;
    }
    // A record that knows another place was left here by something else (a reused file).
    if (check.kind == RecordKind::kBad || check.message.physical_offset != at ||
        !crc_matches(rest.first(static_cast<std::size_t>(check.size)), check.message, check_crc) ||
        (!clean && is_torn(segment->whole(), position, check.message))) {
      const bool nothing_there = read_big<std::int64_t>(segment->whole(), position) == 0;
      const auto next = durable_behind(at, nothing_there);
      if (!next) return next.error();
      if (!*next) {
        if (!nothing_there)
          env_.log.warn(
              "the log ends at a damaged record: file={} offset={}; what follows is cut off",
              segment->path(), at);
        break;
      }
      damages_.tell(segment->path(), static_cast<std::int64_t>(position),
                    fmt::format("no whole record, the log goes on at offset {}", **next));
      at = **next;
      continue;
    }
    dispatcher_.redispatch(check.message);
    ++records;
    end = at += check.size;
    if (records % 8'192 == 0) {
      if (auto written = dispatcher_.write_pending(); !written) return written;
    }
  }
  if (auto written = dispatcher_.write_pending(); !written) return written;
  if (auto cut = log_.set_end(end); !cut) return cut;
  log_.set_last_store_timestamp(dispatcher_.last_timestamp());
  written_from_ = end;
  // After a kill the log may stand in memory only. What readers are shown now, and what the flusher
  // takes for flushed, has to be on disk, the names of the files too.
  for (const auto& segment : log_.segments()) {
    if (clean || segment->end() <= segments[from]->base()) continue;
    if (auto synced = segment->sync(); !synced) return synced;
  }
  if (auto named = env_.files.sync_directory(commit_log_directory_); !named) return named;
  index_.log_ends_at(end);
  const std::int64_t begin = log_.min_offset();
  std::vector<std::shared_ptr<ConsumeQueue>> cut_ones;
  for (const auto& queue : queues_.all()) {
    const std::int64_t before = queue->max_offset();
    if (auto cut = queue->truncate_behind(end); !cut) return cut;
    if (queue->max_offset() != before) {
      env_.log.warn("a consume queue was ahead of the log: topic={} queue={} dropped={}..{}",
                    queue->topic(), queue->queue_id(), queue->max_offset(), before - 1);
    }
    if (auto corrected = queue->correct_min_offset(begin); !corrected) return corrected;
    queue->next_offset = queue->max_offset();
    if (queue->needs_sync()) cut_ones.push_back(queue);
  }
  queues_.note_unsynced(cut_ones);
  queues_begin_at_ = begin;
  if (!clean || records > 0) {
    const auto took =
        std::chrono::duration_cast<std::chrono::milliseconds>(env_.clock.now() - began).count();
    env_.log.info("recovered: last_exit={} log={}..{} records_read={} ms={}",
                  clean ? "clean" : "unclean", begin, end, records, took);
  }
  return Ok{};
}

/// Without the mark on disk the next start would take a power cut for a clean stop.
Result<Ok> LocalStore::mark_open() {
  auto file = env_.files.open(config_.now().root + "/abort", FileSystem::Open::kCreate);
  if (!file) return file.error();
  if (auto done = (*file)->write_at(0, as_bytes(std::to_string(::getpid()))); !done) return done;
  if (auto done = (*file)->sync(); !done) return done;
  return env_.files.sync_directory(config_.now().root);
}

void LocalStore::start() {
  const auto marked = mark_open();
  if (!marked) {
    env_.log.error("messages are refused until a restart, the abort mark cannot be written: {}",
                   marked.error().detail);
    closed_because_ = "the abort mark cannot be written: " + marked.error().detail;
  }
  retention_.check_space();
  flusher_->set_advanced([this] {
    if (config_.now().flush_disk_type == FlushDiskType::kSyncFlush) dispatcher_.wake();
  });
  flusher_->start(log_.end_offset());
  // With SYNC_FLUSH a message is seen once it is on disk, so that no reader knows of one that a
  // power cut takes back.
  const bool sync = config_.now().flush_disk_type == FlushDiskType::kSyncFlush;
  dispatcher_.start(log_.end_offset(),
                    [this, sync] { return sync ? flusher_->flushed_offset() : log_.end_offset(); });
  scrub_.start();
  compaction_.start([this] { return flusher_->flushed_offset(); });
  log_.start();
  // What recovery has read again is made durable soon, so that the next one begins behind it.
  last_thorough_ =
      env_.clock.now() -
      (recovered_ ? std::chrono::milliseconds{config_.now().queue_flush_thorough_interval_ms}
                  : 0ms);
  housekeeping_ = std::make_unique<Periodic>(
      env_.clock, env_.workers, std::chrono::milliseconds{config_.now().queue_flush_interval_ms},
      std::chrono::milliseconds{config_.now().queue_flush_interval_ms}, [this] {
        const bool thorough =
            env_.clock.now() - last_thorough_ >=
            std::chrono::milliseconds{config_.now().queue_flush_thorough_interval_ms};
        if (thorough) last_thorough_ = env_.clock.now();
        flush_queues(thorough);
      });
  retention_.start();
  started_ = true;
  accepting_.store(marked.has_value(), std::memory_order_release);
}

void LocalStore::stop() {
  if (stopped_) return;
  stopped_ = true;
  accepting_.store(false, std::memory_order_release);
  if (!started_) return;
  retention_.stop();
  scrub_.stop();
  compaction_.stop();
  housekeeping_.reset();
  flusher_->stop();  // flushes all: with SYNC_FLUSH the dispatcher may now see everything
  dispatcher_.stop();
  flush_queues(true);
  log_.stop();
  const bool nothing_behind = dispatcher_.position() >= log_.end_offset() &&
                              flusher_->flushed_offset() >= log_.end_offset() &&
                              !flusher_->broken() && !queues_broken_;
  if (auto closed = index_.close(); !closed)
    env_.log.error("the index was not closed cleanly: {}", closed.error().detail);
  if (auto written = checkpoint_->write(); !written)
    env_.log.error("the checkpoint was not written: {}", written.error().detail);
  if (nothing_behind) {
    if (auto removed = env_.files.remove(config_.now().root + "/abort"); !removed)
      env_.log.error("cannot remove the abort mark: {}", removed.error().detail);
  } else {
    env_.log.warn("stopped with {} bytes not dispatched: the next start recovers from the log",
                  log_.end_offset() - dispatcher_.position());
  }
  lock_.reset();
}

/// Queue flushes; the checkpoint's queue time moves only when everything that was there is on disk.
void LocalStore::flush_queues(bool thorough) {
  const std::int64_t timestamp = dispatcher_.last_timestamp();
  // After a failed sync what is on disk is unknown, and the next sync would not tell: from then on
  // the checkpoint stays, so that the next start makes the entries again from the log.
  if (!queues_.sync(thorough ? 0 : 2 * 4'096)) queues_broken_ = true;
  if (!compaction_.sync()) queues_broken_ = true;
  if (thorough && !queues_broken_) checkpoint_->queue_timestamp.store(timestamp);
  if (auto written = checkpoint_->write(); !written)
    env_.log.error("the checkpoint was not written: {}", written.error().detail);
}

// ---- Writing -----------------------------------------------------------------------------------

PutStatus LocalStore::refuse_all() const {
  if (!accepting_.load(std::memory_order_acquire) || disk_full_.load(std::memory_order_relaxed) ||
      flusher_->broken())
    return PutStatus::kServiceNotAvailable;
  if (log_.lock_held_ms() > config_.now().page_cache_busy_ms) return PutStatus::kPageCacheBusy;
  return PutStatus::kOk;
}

void LocalStore::append(std::span<Append* const> batch) {
  if (const PutStatus refused = refuse_all(); refused != PutStatus::kOk) {
    for (Append* each : batch) each->status = refused;
    return;
  }
  // Reused by the thread: a batch on the hot path allocates nothing.
  static thread_local std::vector<CommitLog::Slot> slots;
  static thread_local std::vector<std::shared_ptr<ConsumeQueue>> keep;
  slots.clear();
  keep.clear();
  std::list<Buffer> rewritten;
  for (Append* each : batch) {
    const bool retry = protocol::is_retry_topic(each->topic) || protocol::is_dlq_topic(each->topic);
    if (each->topic.size() > (retry ? protocol::kRetryTopicLengthMax : protocol::kTopicLengthMax) ||
        each->records.size() >
            static_cast<std::size_t>(config_.now().max_message_bytes) + (64 << 10)) {
      each->status = PutStatus::kMessageIllegal;
      continue;
    }
    CommitLog::Slot slot{each, queue_of(*each, keep), {}};
    if (const PutStatus refused = prepare(slot, rewritten); refused != PutStatus::kOk)
      each->status = refused;
    else
      slots.push_back(std::move(slot));
  }
  if (slots.empty()) return;
  log_.append(slots, std::chrono::milliseconds{config_.now().page_cache_busy_ms});
  // With SYNC_FLUSH there is nothing to see before the next sync, which wakes the dispatcher.
  if (config_.now().flush_disk_type == FlushDiskType::kAsyncFlush) {
    dispatcher_.wake();
    flusher_->log_has_grown();
  }
}

/// Kept by `keep`. A producer goes round a few queues: they are mostly among those of the last
/// ones.
ConsumeQueue* LocalStore::queue_of(const Append& append,
                                   std::vector<std::shared_ptr<ConsumeQueue>>& keep) {
  constexpr std::size_t kLooked = 16;
  for (std::size_t back = 1; back <= std::min(kLooked, keep.size()); ++back) {
    ConsumeQueue& queue = *keep[keep.size() - back];
    if (queue.queue_id() == append.queue_id && queue.topic() == append.topic) return &queue;
  }
  return keep.emplace_back(queues_.find_or_create(append.topic, append.queue_id)).get();
}

/// Makes room in records for what is filled in under the append lock.
PutStatus LocalStore::prepare(CommitLog::Slot& slot, std::list<Buffer>& rewritten) {
  slot.append->queue_offset_step = 1;
  if (slot.append->count == 1)
    if (const PutStatus refused = leave_offset_room(slot, rewritten); refused != PutStatus::kOk)
      return refused;
  return config_.now().append_record_crc ? leave_crc_room(*slot.append, rewritten) : PutStatus::kOk;
}

PutStatus LocalStore::leave_crc_room(Append& append, std::list<Buffer>& rewritten) {
  Buffer& kept = rewritten.emplace_back();
  for (Bytes rest = append.records; !rest.empty();) {
    const auto size = static_cast<std::size_t>(read_big<std::int32_t>(rest));
    if (auto done = protocol::append_with_crc_room(kept, rest.first(size)); !done)
      return PutStatus::kMessageIllegal;
    rest = rest.subspan(size);
  }
  append.records = std::as_writable_bytes(std::span{kept.data(), kept.size()});
  return PutStatus::kOk;
}

/// Of a record that tells its queue offsets.
PutStatus LocalStore::leave_offset_room(CommitLog::Slot& slot, std::list<Buffer>& rewritten) {
  Append& append = *slot.append;
  const StoreConfig& config = config_.now();
  Buffer record;
  const auto room = make_room(append.records, config.lmq && config.multi_dispatch, record);
  if (!room) return PutStatus::kMessageIllegal;
  if (record.empty()) return PutStatus::kOk;
  if (room->messages > 1 && slot.queue->kind() != QueueKind::kBatch)
    return PutStatus::kMessageIllegal;
  append.queue_offset_step = room->messages;
  for (const std::size_t at : room->own) slot.texts.push_back({at, nullptr});
  for (std::size_t i = 0; i < room->lmq.size(); ++i) {
    const std::string& name = room->lmq_names[i];
    if (!queues_.find(name, 0) &&
        queues_.topic_count(protocol::kLmqPrefix) >= static_cast<std::size_t>(config.lmq_max))
      return PutStatus::kLmqNumberExceeded;
    slot.texts.push_back({room->lmq[i], queues_.find_or_create(name, 0)});
  }
  Buffer& kept = rewritten.emplace_back(std::move(record));
  append.records = std::as_writable_bytes(std::span{kept.data(), kept.size()});
  return PutStatus::kOk;
}

// ---- Reading -----------------------------------------------------------------------------------

/// Does a record stand where the queue entry says? Costs one look at its beginning.
bool stands_there(const QueueEntry& entry, Bytes record) {
  namespace at = protocol::record_at;
  return record.size() >= at::kSysFlag && read_big<std::int32_t>(record, at::kSize) == entry.size &&
         read_big<std::int64_t>(record, at::kPhysicalOffset) == entry.physical_offset;
}

/// Into the processor's caches, if it is in this segment.
void fetch_ahead(const Segment* segment, const QueueEntry& entry) {
  if (!segment || entry.physical_offset < segment->base() ||
      entry.physical_offset >= segment->end())
    return;
  segment->fetch_ahead(static_cast<std::size_t>(entry.physical_offset - segment->base()),
                       static_cast<std::size_t>(entry.size));
}

/// Is a record looked at before it is given out? What this process has just written is read from
/// the memory it was written to; what is older, or was written before, may come from the disk.
bool LocalStore::is_checked(std::int64_t physical_offset) const {
  switch (config_.now().check_crc_on_read) {
    case CheckOnRead::kNone:
      return false;
    case CheckOnRead::kCold:
      return physical_offset < written_from_ ||
             log_.end_offset() - physical_offset > kSurelyResidentBytes;
    case CheckOnRead::kAll:
      return true;
  }
  return true;
}

/// Is it the message this entry was made for, and its body what was sent?
bool LocalStore::is_as_written(const ConsumeQueue& queue, const QueueEntry& entry,
                               Bytes record) const {
  if (!stands_there(entry, record)) return false;
  if (!is_checked(entry.physical_offset)) return true;
  const auto check = protocol::check_record(record, false);
  // The messages of an LMQ are another topic's.
  return check.kind == RecordKind::kRecord &&
         crc_matches(record, check.message, checked_with_bodies(config_.now())) &&
         (queue.topic().starts_with(protocol::kLmqPrefix) ||
          (check.message.topic == queue.topic() && check.message.queue_id == queue.queue_id() &&
           check.message.queue_offset == entry.queue_offset));
}

void LocalStore::tell_unreadable(const ConsumeQueue& queue, const Error& error) {
  if (const auto times = refused_reads_.count(env_.clock.now()))
    env_.log.error(
        "a consume queue cannot be read, its messages wait: topic={} queue={} {} times={}",
        queue.topic(), queue.queue_id(), error.detail, *times);
}

GetResult LocalStore::get(const GetRequest& request) {
  const StoreConfig& config = config_.now();
  GetResult result;
  const auto queue = queues_.find(request.topic, request.queue_id);
  if (!queue) return result;
  if (const auto log = compacted(*queue))
    return log->get(request, config, memory_bytes_ / 100 * config.memory_percent);
  result.min_offset = queue->min_offset();
  result.max_offset = queue->max_offset();
  const auto end_with = [&](GetStatus status, std::int64_t next) {
    result.status = status;
    result.next_offset = next;
    return result;
  };
  if (result.max_offset == 0) return end_with(GetStatus::kNoMessageInQueue, 0);
  if (request.offset < result.min_offset)
    return end_with(GetStatus::kOffsetTooSmall, result.min_offset);
  if (request.offset == result.max_offset)
    return end_with(GetStatus::kOffsetOverflowOne, request.offset);
  if (request.offset > result.max_offset)
    return end_with(GetStatus::kOffsetOverflowBadly, result.max_offset);

  const auto entries_max =
      std::max<std::size_t>(static_cast<std::size_t>(config.filter_bytes_max / QueueEntry::kBytes),
                            static_cast<std::size_t>(std::max(request.max_messages, 1)));
  // Without a filter nothing behind the wanted messages is looked at.
  auto entries = queue->read(
      request.offset,
      request.filter ? entries_max : static_cast<std::size_t>(std::max(request.max_messages, 1)));
  if (!entries && entries.error().code != Errc::kNotFound) {
    tell_unreadable(*queue, entries.error());
    return end_with(GetStatus::kUnreadable, request.offset);
  }
  if (!entries || entries->empty()) {
    const std::int64_t per_file = std::max<std::int64_t>(config.consume_queue_file_bytes / 20, 1);
    return end_with(GetStatus::kOffsetFoundNull,
                    std::min((request.offset / per_file + 1) * per_file, result.max_offset));
  }
  result.status = GetStatus::kNoMatchedMessage;
  result.next_offset = request.offset;
  if (!request.filter) result.records.reserve(entries->size());
  std::int64_t skip_before = -1, last_physical = 0;
  std::shared_ptr<Segment> segment = log_.segment_of(entries->front().physical_offset);
  std::size_t fetched = 0;
  const auto now = env_.clock.now();
  for (std::size_t i = 0; i < entries->size(); ++i) {
    const QueueEntry& entry = (*entries)[i];
    for (; fetched < std::min(i + kFetchedAhead, entries->size()); ++fetched)
      fetch_ahead(segment.get(), (*entries)[fetched]);
    last_physical = entry.physical_offset;
    if (result.is_full_for(entry.messages, entry.size, request, config,
                           in_memory_reach(entry.physical_offset)))
      break;
    result.next_offset = entry.queue_offset + entry.messages;
    if (entry.is_blank() || entry.physical_offset < skip_before) continue;
    // Tags and bits are told by the entry, by what it leads to, or else by the record.
    const bool elsewhere = request.filter && entry.tags_elsewhere();
    const auto extended = elsewhere ? queue->extended(entry) : std::nullopt;
    if (extended && !request.filter->matches_bit_map(extended->bit_map, extended->store_timestamp))
      continue;
    if (request.filter && (!elsewhere || extended) &&
        !request.filter->matches_tags_code(extended ? extended->tags_code : entry.tags_code))
      continue;
    if (!segment || entry.physical_offset < segment->base() ||
        entry.physical_offset >= segment->end())
      segment = log_.segment_of(entry.physical_offset);
    const Bytes record =
        segment ? segment->read(static_cast<std::size_t>(entry.physical_offset - segment->base()),
                                static_cast<std::size_t>(entry.size))
                : Bytes{};
    if (record.size() != static_cast<std::size_t>(entry.size)) {
      if (result.message_count == 0) result.status = GetStatus::kMessageWasRemoving;
      skip_before = log_.min_offset();
      if (entry.physical_offset >= skip_before) {  // else it has expired
        env_.log.error(
            "a queue entry leads out of the log: topic={} queue={} queue_offset={} "
            "physical_offset={} log={}..{}",
            request.topic, request.queue_id, result.next_offset - 1, entry.physical_offset,
            skip_before, log_.end_offset());
      }
      continue;
    }
    if (elsewhere && !extended && !request.filter->matches_tags_code(tags_code_of(record)))
      continue;
    if (request.filter && request.filter->needs_record() && !request.filter->matches_record(record))
      continue;
    const std::int64_t position = entry.physical_offset - segment->base();
    if (log_.end_offset() - entry.physical_offset > kSurelyResidentBytes && result.resident) {
      result.resident = segment->resident(static_cast<std::size_t>(position), record.size(), now);
      if (!result.resident && request.only_resident) {
        GetResult cold;
        cold.resident = false;
        return cold;
      }
    }
    if (!is_as_written(*queue, entry, record)) {
      damages_.tell(segment->path(), position,
                    fmt::format("topic={} queue={} queue_offset={}", request.topic,
                                request.queue_id, entry.queue_offset));
      continue;
    }
    result.add(record, segment, entry.messages);
  }
  result.suggest_slave = !in_memory_reach(last_physical);
  return result;
}

RecordBytes LocalStore::record_at(std::int64_t physical_offset) {
  const auto segment = log_.segment_of(physical_offset);
  if (!segment) return {};
  const auto position = static_cast<std::size_t>(physical_offset - segment->base());
  const Bytes rest = segment->read(position, segment->size() - position);
  const auto check = protocol::check_record(rest, false);
  if (check.kind != RecordKind::kRecord || check.message.physical_offset != physical_offset)
    return {};
  const Bytes record = rest.first(static_cast<std::size_t>(check.size));
  if (is_checked(physical_offset) &&
      !crc_matches(record, check.message, checked_with_bodies(config_.now()))) {
    damages_.tell(segment->path(), static_cast<std::int64_t>(position),
                  fmt::format("topic={} queue={} queue_offset={}", check.message.topic,
                              check.message.queue_id, check.message.queue_offset));
    return {};
  }
  return {record, segment};
}

RecordBytes LocalStore::record_at(std::string_view topic, std::int32_t queue_id,
                                  std::int64_t queue_offset) {
  const auto queue = queues_.find(topic, queue_id);
  if (!queue || queue_offset < queue->min_offset()) return {};
  const auto entry = queue->read(queue_offset, 1);
  if (!entry && entry.error().code != Errc::kNotFound) {
    tell_unreadable(*queue, entry.error());
    return {.bytes = {}, .owner = {}, .unreadable = true};
  }
  if (!entry || entry->empty() || entry->front().is_blank()) return {};
  return record_at(entry->front().physical_offset);
}

std::vector<RecordBytes> LocalStore::query_by_key(std::string_view topic, std::string_view key,
                                                  std::int32_t max, std::int64_t begin_ms,
                                                  std::int64_t end_ms) {
  std::vector<RecordBytes> found;
  const IndexAnswer answer =
      index_.query(topic, key, std::min(max, config_.now().query_messages_max), begin_ms, end_ms);
  for (const std::int64_t offset : answer.physical_offsets) {
    RecordBytes record = record_at(offset);
    if (!record) continue;
    const auto check = protocol::check_record(record.bytes, false);
    if (check.message.topic != topic) continue;
    if (protocol::has_key(check.message, key)) found.push_back(std::move(record));
  }
  return found;
}

std::int64_t LocalStore::min_offset(std::string_view topic, std::int32_t queue_id) {
  const auto queue = queues_.find(topic, queue_id);
  if (!queue) return -1;
  const auto log = compacted(*queue);  // has messages that have expired in the commit log
  return log ? std::min(log->min_offset(), queue->min_offset()) : queue->min_offset();
}
std::int64_t LocalStore::max_offset(std::string_view topic, std::int32_t queue_id) {
  const auto queue = queues_.find(topic, queue_id);
  if (!queue) return 0;
  const auto log = compacted(*queue);
  return std::max(log ? log->next_offset() : 0, queue->max_offset());
}

std::int64_t LocalStore::store_time_of(const QueueEntry& entry) {
  if (entry.is_blank()) return -1;
  if (entry.store_timestamp > 0) return entry.store_timestamp;
  const RecordBytes record = record_at(entry.physical_offset);
  return record ? protocol::check_record(record.bytes, false).message.store_timestamp : -1;
}

/// ConsumeQueue.binarySearchInQueueByTime: LOWER the first message at or after `timestamp` (one
/// behind the last if there is none), UPPER the last at or before it. In a batch queue the offset
/// is that of a batch's first message, of the last batch's if there is nothing at or after.
std::int64_t LocalStore::offset_by_time(std::string_view topic, std::int32_t queue_id,
                                        std::int64_t timestamp, Boundary boundary) {
  const auto queue = queues_.find(topic, queue_id);
  if (!queue || queue->max_offset() == 0) return 0;
  const std::int64_t first = queue->min_offset(), end = queue->max_offset();
  // What cannot be read may be as late as any: who begins too early loses nothing.
  const auto time_at = [&](std::int64_t offset) {
    const auto entry = queue->read(offset, 1);
    if (!entry && entry.error().code != Errc::kNotFound)
      return std::numeric_limits<std::int64_t>::max();
    return entry && !entry->empty() ? store_time_of(entry->front()) : -1;
  };
  const auto found = [&](std::int64_t offset) {
    if (queue->kind() == QueueKind::kSimple) return offset;
    const auto entry = queue->read(std::min(offset, end - 1), 1);
    return entry && !entry->empty() ? entry->front().queue_offset : offset;
  };
  if (first >= end) return end;
  if (time_at(end - 1) < timestamp) return found(boundary == Boundary::kLower ? end : end - 1);
  if (time_at(first) > timestamp) return boundary == Boundary::kLower ? first : 0;
  // The first whose time is (LOWER) not before, or (UPPER) after the time asked for.
  std::int64_t low = first, high = end;
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    const std::int64_t time = time_at(middle);
    const bool before = boundary == Boundary::kLower ? time < timestamp : time <= timestamp;
    if (before)
      low = middle + 1;
    else
      high = middle;
  }
  return found(std::clamp(boundary == Boundary::kLower ? low : low - 1, first, end));
}

std::int64_t LocalStore::store_time(std::string_view topic, std::int32_t queue_id,
                                    std::int64_t queue_offset) {
  const auto queue = queues_.find(topic, queue_id);
  if (!queue || queue_offset < queue->min_offset()) return -1;
  const auto entry = queue->read(queue_offset, 1);
  return entry && !entry->empty() ? store_time_of(entry->front()) : -1;
}
std::int64_t LocalStore::earliest_store_time(std::string_view topic, std::int32_t queue_id) {
  const auto queue = queues_.find(topic, queue_id);
  return queue ? store_time(topic, queue_id, queue->min_offset()) : -1;
}
std::int64_t LocalStore::earliest_store_time() {
  const std::int64_t begin = log_.min_offset();
  const RecordBytes record = begin < 0 ? RecordBytes{} : record_at(begin);
  return record ? protocol::check_record(record.bytes, false).message.store_timestamp : -1;
}

bool LocalStore::in_memory(std::string_view topic, std::int32_t queue_id,
                           std::int64_t queue_offset) {
  const RecordBytes record = record_at(topic, queue_id, queue_offset);
  return record && in_memory_reach(
                       read_big<std::int64_t>(record.bytes, protocol::record_at::kPhysicalOffset));
}

std::vector<QueueInfo> LocalStore::infos(const std::vector<std::shared_ptr<ConsumeQueue>>& queues) {
  std::vector<QueueInfo> infos;
  infos.reserve(queues.size());
  for (const auto& queue : queues)
    infos.push_back({queue->topic(), queue->queue_id(), queue->min_offset(), queue->max_offset()});
  return infos;
}

// ---- Retention ---------------------------------------------------------------------------------

RetentionRules LocalStore::rules() const {
  const StoreConfig& config = config_.now();
  return {.reserved_hours = config.reserved_hours,
          .delete_hours = config.delete_hours,
          .max_used_percent = config.disk_max_used_percent,
          .forcibly_percent = config.disk_clean_forcibly_percent,
          .warning_percent = config.disk_warning_percent,
          .forcibly_enabled = config.clean_forcibly_enable,
          .batch_max = config.delete_batch_max,
          .pause_ms = config.delete_pause_ms,
          .period_ms = config.clean_interval_ms};
}

std::vector<SegmentAge> LocalStore::segments() const {
  std::vector<SegmentAge> ages;
  for (const auto& segment : log_.segments()) {
    if (auto status = env_.files.stat(segment->path()))
      ages.push_back({segment->base(), status->modified_ms});
  }
  return ages;
}

Result<Ok> LocalStore::remove_first_segment(std::int64_t base_offset) {
  auto removed = log_.remove_first(base_offset);
  if (removed) env_.log.info("removed the oldest segment: base={}", base_offset);
  return removed;
}

void LocalStore::log_begins_at(std::int64_t min_physical_offset) {
  // Each queue's files are looked at: not again and again while the log begins where it did.
  bool good = min_physical_offset != queues_begin_at_;
  if (good) {
    for (const auto& queue : queues_.all()) {
      auto corrected = queue->correct_min_offset(min_physical_offset);
      if (corrected) continue;
      good = false;
      env_.log.error("a consume queue's beginning was not corrected: {}", corrected.error().detail);
    }
  }
  if (good) queues_begin_at_ = min_physical_offset;
  if (config_.now().index_enable) index_.remove_before(min_physical_offset);
}

void LocalStore::set_disk_full(bool full, std::string_view why) {
  if (disk_full_.exchange(full) == full) return;
  {
    std::lock_guard lock{why_mutex_};
    disk_full_because_ = why;
  }
  if (full)
    env_.log.error("sends are refused: {}", why);
  else
    env_.log.info("sends are accepted again: {}", why);
}

std::int32_t LocalStore::clean_expired_queues() {
  const std::int64_t begin = log_.min_offset();
  std::int32_t count = 0;
  for (const auto& queue : queues_.all()) {
    if (protocol::is_system_topic(queue->topic()) || queue->max_offset() == 0 ||
        queue->is_compacted)  // it numbers the messages of its compaction log
      continue;
    if (queue->physical_end() >= 0 && queue->physical_end() <= begin) {
      queues_.remove(*queue);
      ++count;
    }
  }
  return count;
}

StoreStatus LocalStore::status() {
  StoreStatus status;
  status.commit_log_min_offset = log_.min_offset();
  status.commit_log_max_offset = log_.end_offset();
  status.flushed_offset = flusher_->flushed_offset();
  status.dispatched_offset = dispatcher_.position();
  status.writable = accepting_ && !disk_full_ && !flusher_->broken();
  if (flusher_->broken())
    status.not_writable_because = flusher_->broken_because();
  else if (disk_full_) {
    std::lock_guard lock{why_mutex_};
    status.not_writable_because = disk_full_because_;
  } else if (!accepting_)
    status.not_writable_because = closed_because_;
  status.append_lock_held_ms = log_.lock_held_ms();
  const DiskUse use = retention_.disk_use();
  status.commit_log_disk_ratio = use.commit_log;
  status.consume_queue_disk_ratio = use.consume_queue;
  const IndexPosition last = index_.last();
  status.damages = damages_.count();
  status.scrubbed_bytes = scrub_.bytes();
  status.scrub_rounds = scrub_.rounds();
  status.index_last_timestamp = last.timestamp;
  status.index_last_physical_offset = last.physical_offset;
  return status;
}

}  // namespace

Result<std::unique_ptr<MessageStore>> MessageStore::open(Env& env, const StoreConfig& config,
                                                         StoreEvents& events) {
  if (config.broker_role == BrokerRole::kSlave)
    return Error{Errc::kUnsupported,
                 "brokerRole=SLAVE: replication is not supported yet; set brokerRole=ASYNC_MASTER"};
  auto store = std::make_unique<LocalStore>(env, config, events);
  if (auto loaded = store->load(); !loaded) return loaded.error();
  return std::unique_ptr<MessageStore>{std::move(store)};
}

}  // namespace apogee::store
