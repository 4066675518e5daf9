#include "store/local_store.h"

#include <fmt/core.h>
#include <unistd.h>

#include "protocol/message.h"
#include "protocol/names.h"
#include "protocol/record_crc.h"
#include "store/offset_texts.h"

namespace apogee::store {
namespace {

std::int64_t machine_memory_bytes() {
  return static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
}

std::optional<FileChain::Place> extension_place(const StoreConfig& config) {
  if (!config.queue_extension) return std::nullopt;
  return FileChain::Place{config.root + "/consumequeue_ext", config.queue_extension_file_bytes,
                          "mappedFileSizeConsumeQueueExt"};
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

LocalStore::LocalStore(Env& env, const StoreConfig& config, StoreEvents& events)
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
      deleted_{env, config.root},
      damages_{env.log},
      compaction_{env, config_, log_, queues_, damages_},
      index_{
          env,
          {.directory = config.root + "/index",
           .slot_count = config.index_slots,
           .unit_count = config.index_units,
           .on_file_durable =
               [this](std::int64_t timestamp) { checkpoint_->index_timestamp.store(timestamp); }}},
      dispatcher_{env, config_.now(), log_, queues_, deleted_, compaction_, index_, events},
      retention_{env, *this, {commit_log_directory_}, queue_directory_},
      scrub_{env, config_, log_, damages_},
      memory_bytes_{machine_memory_bytes()} {}

// ---- Running -----------------------------------------------------------------------------------

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
  last_thorough_ = env_.clock.now() -
                   (recovered_ || entries_made_again_
                        ? std::chrono::milliseconds{config_.now().queue_flush_thorough_interval_ms}
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
                              !flusher_->broken() && !queues_broken_ && !queues_behind_;
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
  // What could not be begun, for want of a descriptor, is unsynced as before.
  const auto synced = queues_.sync(thorough ? 0 : 2 * 4'096);
  if (!synced && synced.error().code != Errc::kBusy) queues_broken_ = true;
  if (!compaction_.sync()) queues_broken_ = true;
  queues_behind_ = !synced;
  if (thorough && synced && !queues_broken_) checkpoint_->queue_timestamp.store(timestamp);
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
  log_.append(slots, patience());
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
    if (!append.accepted && !queues_.find(name, 0) &&
        queues_.topic_count(protocol::kLmqPrefix) >= static_cast<std::size_t>(config.lmq_max))
      return PutStatus::kLmqNumberExceeded;
    slot.texts.push_back({room->lmq[i], queues_.find_or_create(name, 0)});
  }
  Buffer& kept = rewritten.emplace_back(std::move(record));
  append.records = std::as_writable_bytes(std::span{kept.data(), kept.size()});
  return PutStatus::kOk;
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

/// Its queues are closed first, so that all of their messages are before the mark and none is
/// behind it.
Result<Ok> LocalStore::delete_topic(std::string_view topic) {
  std::lock_guard removing{removing_mutex_};
  std::vector<std::shared_ptr<ConsumeQueue>> gone;
  std::int64_t end = 0;
  const bool closed = log_.between_appends(patience(), [&] {
    gone = queues_.of_topic(topic);
    for (const auto& queue : gone) queue->is_closed = true;
    end = log_.end_offset();
  });
  if (!closed)
    return Error{Errc::kTimeout, "messages are being stored, and the disk does not answer"};
  if (!gone.empty()) {
    if (auto marked = deleted_.mark(topic, end, log_.min_offset()); !marked) {
      for (const auto& queue : gone) queue->is_closed = false;
      return marked;
    }
  }
  const auto still = queues_.hold_still();
  queues_.remove_closed(topic);
  compaction_.remove_topic(topic);
  return Ok{};
}

std::int32_t LocalStore::clean_expired_queues() {
  std::lock_guard removing{removing_mutex_};
  const std::int64_t begin = log_.min_offset();
  std::int32_t count = 0;
  for (const auto& queue : queues_.all()) {
    if (protocol::is_system_topic(queue->topic()) || queue->max_offset() == 0 ||
        queue->is_compacted)  // it numbers the messages of its compaction log
      continue;
    if (queue->physical_end() < 0 || queue->physical_end() > begin) continue;
    // Not while a message is on its way to it.
    const bool closed = log_.between_appends(patience(), [&] {
      queue->is_closed =
          queue->next_offset == queue->max_offset() && queue->physical_end() <= begin;
    });
    if (!closed || !queue->is_closed) continue;
    const std::int64_t end = queue->max_offset();
    if (auto gone = remove_for_good(*queue); !gone) {
      env_.log.error(
          "an expired queue takes no messages before a restart, its files cannot be removed: "
          "topic={} queue={} reason={}",
          queue->topic(), queue->queue_id(), gone.error().detail);
      continue;
    }
    if (!queue->topic().starts_with(protocol::kLmqPrefix)) go_on_behind(*queue, end);
    ++count;
  }
  return count;
}

/// Of a queue that is closed and expired. After a restart the one that comes in its place begins at
/// 0: files that a power cut brings back would hide its messages.
Result<Ok> LocalStore::remove_for_good(ConsumeQueue& queue) {
  const auto still = queues_.hold_still();
  if (auto removed = queue.remove_all(); !removed) return removed;
  for (const char* each : {"/consumequeue/", "/batchconsumequeue/", "/consumequeue_ext/"}) {
    const std::string directory = config_.now().root + each + queue.topic();
    if (!env_.files.stat(directory)) continue;
    if (auto synced = env_.files.sync_directory(directory); !synced) return synced;
  }
  queues_.remove(queue);
  return Ok{};
}

/// Consumers stand at the end of the queue that was removed: from 0 on new messages would be behind
/// them.
void LocalStore::go_on_behind(const ConsumeQueue& removed, std::int64_t end) {
  const bool done = log_.between_appends(patience(), [&] {
    const auto queue = queues_.find_or_create(removed.topic(), removed.queue_id());
    if (queue->next_offset == 0) queue->next_offset = end;
  });
  if (!done)
    env_.log.warn("an expired queue begins at 0 again: topic={} queue={}", removed.topic(),
                  removed.queue_id());
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

}  // namespace apogee::store
