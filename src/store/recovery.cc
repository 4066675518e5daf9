#include <fmt/core.h>

#include "protocol/message.h"
#include "store/local_store.h"
#include "store/log_reader.h"
#include "store/torn_record.h"

/// How a store is opened, and what an unclean exit left is put right.
namespace apogee::store {

using protocol::RecordKind;

Result<Ok> LocalStore::load() {
  if (auto made = env_.files.create_directories(config_.now().root); !made) return made;
  // The names of the directories are as important as what is in them.
  if (auto named = sync_names_above(env_.files, config_.now().root); !named) return named;
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
  if (auto loaded = deleted_.load(); !loaded) return loaded;
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

/// Queues without a message behind their topic's mark: their files could not be removed, or a power
/// cut brought them back, in place of those of a topic of that name. From where on such a topic may
/// have messages; nullopt: there were none.
std::optional<std::int64_t> LocalStore::drop_deleted_queues() {
  std::optional<std::int64_t> from;
  for (const auto& queue : queues_.all()) {
    const std::int64_t mark = deleted_.mark_of(queue->topic());
    if (mark == 0 || queue->physical_end() > mark) continue;
    env_.log.warn("a deleted topic's consume queue was still there: topic={} queue={}",
                  queue->topic(), queue->queue_id());
    queues_.remove(*queue);
    from = std::min(mark, from.value_or(mark));
  }
  return from;
}

/// Index of the segment from which the log is read again: the last one whose first record is
/// certainly in queues and index.
std::int64_t LocalStore::first_segment_to_scan(
    const std::vector<std::shared_ptr<Segment>>& segments, bool clean,
    std::optional<std::int64_t> dropped_from) const {
  std::int64_t dispatched = -1;
  for (const auto& queue : queues_.all()) dispatched = std::max(dispatched, queue->physical_end());
  // All was dispatched, the last files perhaps into queues that are deleted. Without any queue
  // they were lost.
  if (clean && dispatched >= 0) dispatched = std::max(dispatched, deleted_.last());
  for (const auto& queue : queues_.all())
    if (queue->entries_lost_from() >= 0)
      dispatched = std::min(dispatched, queue->entries_lost_from());
  if (dropped_from) dispatched = std::min(dispatched, *dropped_from);
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
                                                               bool nothing_there) {
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
  for (const Unreadable& each : reader.unreadable())
    damages_.tell(each.path, static_cast<std::int64_t>(each.position),
                  fmt::format("the disk cannot read {} bytes", each.bytes));
  return found;
}

Result<Ok> LocalStore::recover(bool clean) {
  const auto began = env_.clock.now();
  recovered_ = !clean;
  const auto segments = log_.segments();
  if (segments.empty()) return begin_empty();
  const auto dropped_from = drop_deleted_queues();
  const auto from = static_cast<std::size_t>(first_segment_to_scan(segments, clean, dropped_from));
  if (!clean || dropped_from)
    if (auto done = distrust_entries(*segments[from], from == 0); !done) return done;
  const auto read = read_again(segments[from]->base(), clean);
  if (!read) return read.error();
  const std::int64_t end = read->end;
  if (auto cut = log_.set_end(end); !cut) return cut;
  if (auto kept = deleted_.log_ends_at(end); !kept) return kept;
  log_.set_last_store_timestamp(dispatcher_.last_timestamp());
  written_from_ = end;
  if (!clean)
    if (auto durable = make_durable(*read, segments[from]->base()); !durable) return durable;
  if (auto named = env_.files.sync_directory(commit_log_directory_); !named) return named;
  index_.log_ends_at(end);
  if (auto fitted = fit_queues(log_.min_offset(), end); !fitted) return fitted;
  if (!clean || read->records > 0) {
    const auto took =
        std::chrono::duration_cast<std::chrono::milliseconds>(env_.clock.now() - began).count();
    env_.log.info("recovered: last_exit={} log={}..{} records_read={} ms={}",
                  clean ? "clean" : "unclean", log_.min_offset(), end, read->records, took);
  }
  return Ok{};
}

/// After a kill the log may stand in memory only, and after a sync that failed no other would write
/// it. What readers are shown now, and what the flusher takes for flushed, has to be on disk.
Result<Ok> LocalStore::make_durable(const ReadAgain& read, std::int64_t from) {
  for (const Stretch& each : read.unsure) {
    const auto segment = log_.segment_of(each.begin);
    const auto at = [&](std::int64_t offset) {
      return static_cast<std::size_t>(offset - segment->base());
    };
    if (auto done = segment->write_again(at(each.begin), at(each.end)); !done) return done;
  }
  for (const auto& segment : log_.segments()) {
    if (segment->end() <= from) continue;
    if (auto synced = segment->sync(); !synced) return synced;
  }
  // Crashes in a row do not add up.
  if (read.unsure.empty()) return Ok{};
  checkpoint_->physical_timestamp.store(dispatcher_.last_timestamp());
  return checkpoint_->write();
}

/// Queues without a log point nowhere.
Result<Ok> LocalStore::begin_empty() {
  const auto queues = queues_.all();
  for (const auto& queue : queues) {
    if (queue->max_offset() > 0)
      env_.log.warn("the commit log is empty: consume queue dropped: topic={} queue={}",
                    queue->topic(), queue->queue_id());
    queues_.remove(*queue);
  }
  if (!queues.empty())
    if (auto gone = sync_removed_queues(); !gone) return gone;
  if (config_.now().index_enable) index_.remove_all();
  if (auto none = deleted_.log_ends_at(0); !none) return none;
  return log_.set_end(0);
}

/// None may come back after the next power cut, when there is another log.
Result<Ok> LocalStore::sync_removed_queues() {
  auto gone = env_.files.sync_tree(queue_directory_);
  return !gone && gone.error().code == Errc::kUnsupported ? Ok{} : gone;
}

/// Entries of records from this segment on are made again. Until they are on disk nothing vouches
/// for them: a power cut may keep some queues' new entries and not others'.
Result<Ok> LocalStore::lower_checkpoint(const Segment& from, bool all) {
  const auto first = protocol::check_record(from.whole(), false);
  const std::int64_t known_until =
      !all && first.kind == RecordKind::kRecord ? first.message.store_timestamp : 0;
  if (checkpoint_->queue_timestamp.load() > known_until) {
    checkpoint_->queue_timestamp.store(known_until);
    if (auto lowered = checkpoint_->write(); !lowered) return lowered;
  }
  return Ok{};
}

/// A power cut keeps any part of what was not synced: entries of the records that are read again,
/// from this segment on, are made again, not trusted.
Result<Ok> LocalStore::distrust_entries(const Segment& from, bool all) {
  if (auto lowered = lower_checkpoint(from, all); !lowered) return lowered;
  for (const auto& queue : queues_.all())
    if (auto cut = queue->truncate_behind(from.base()); !cut) return cut;
  return Ok{};
}

/// Writes the entries of what was read again. After a clean stop there are none but in the place of
/// lost ones, for which the checkpoint vouches; and a power cut from now on is no clean stop.
Result<Ok> LocalStore::write_again(std::int64_t from, bool clean) {
  if (clean && !entries_made_again_ && dispatcher_.has_pending()) {
    entries_made_again_ = true;
    if (auto marked = mark_open(); !marked) return marked;
    if (auto lowered = lower_checkpoint(*log_.segment_of(from), from == log_.min_offset());
        !lowered)
      return lowered;
  }
  return dispatcher_.write_pending();
}

/// Dispatches the log from `at` on.
Result<LocalStore::ReadAgain> LocalStore::read_again(std::int64_t at, bool clean) {
  const CheckCrc check_crc =
      config_.now().check_crc_on_recover ? checked_with_bodies(config_.now()) : CheckCrc::kNone;
  const std::int64_t from = at, on_disk_before = checkpoint_->physical_timestamp.load();
  ReadAgain read{.end = at};
  const auto note_unsure = [&](const Segment& segment, std::int64_t begin, std::int64_t bytes) {
    if (!read.unsure.empty() && read.unsure.back().end == begin && begin != segment.base())
      read.unsure.back().end += bytes;
    else
      read.unsure.push_back({begin, begin + bytes});
  };
  while (at < log_.end_offset()) {
    const auto segment = log_.segment_of(at);
    const auto position = static_cast<std::size_t>(at - segment->base());
    if (position + protocol::kBlankRecordBytes > segment->size()) {
      at = segment->end();
      continue;
    }
    const Bytes rest = segment->whole().subspan(position);
    const auto check = protocol::check_record(rest, false);
    if (check.kind == RecordKind::kBlank) {
      note_unsure(*segment, at, protocol::kBlankRecordBytes);
      at = read.end = segment->end();
      continue;
    }
    // A record that knows another place was left here by something else (a reused file).
    if (check.kind == RecordKind::kBad || check.message.physical_offset != at ||
        !crc_matches(rest.first(static_cast<std::size_t>(check.size)), check.message, check_crc) ||
        (!clean && is_torn(segment->whole(), position, check.message))) {
      const auto next = behind_damage(*segment, at);
      if (!next) return next.error();
      if (!*next) break;
      at = **next;
      continue;
    }
    dispatcher_.redispatch(check.message);
    if (check.message.store_timestamp < on_disk_before)
      read.unsure.clear();
    else
      note_unsure(*segment, at, check.size);
    ++read.records;
    read.end = at += check.size;
    if (read.records % 8'192 == 0)
      if (auto written = write_again(from, clean); !written) return written.error();
  }
  if (auto written = write_again(from, clean); !written) return written.error();
  return read;
}

/// No whole record stands at `at`: where the log goes on, and what there is to say of that.
Result<std::optional<std::int64_t>> LocalStore::behind_damage(const Segment& segment,
                                                              std::int64_t at) {
  const std::int64_t position = at - segment.base();
  const bool nothing_there =
      read_big<std::int64_t>(segment.whole(), static_cast<std::size_t>(position)) == 0;
  const auto next = durable_behind(at, nothing_there);
  if (!next) return next;
  if (*next)
    damages_.tell(segment.path(), position,
                  fmt::format("no whole record, the log goes on at offset {}", **next));
  else if (!nothing_there)
    env_.log.warn("the log ends at a damaged record: file={} offset={}; what follows is cut off",
                  segment.path(), at);
  return next;
}

/// The log is there from `begin` to `end`, and no queue leads out of it.
Result<Ok> LocalStore::fit_queues(std::int64_t begin, std::int64_t end) {
  std::vector<std::shared_ptr<ConsumeQueue>> cut_ones;
  bool removed = false;
  for (const auto& queue : queues_.all()) {
    const std::int64_t before = queue->max_offset();
    if (auto cut = queue->truncate_behind(end); !cut) return cut;
    // No message has expired and none is left: a power cut took them. What comes next would begin
    // at the number in the name of a file that is left.
    if (begin == 0 && queue->physical_end() < 0 && queue->max_offset() > 0) {
      env_.log.warn("a consume queue has no message in the log, it begins anew: topic={} queue={}",
                    queue->topic(), queue->queue_id());
      queues_.remove(*queue);
      removed = true;
      continue;
    }
    if (queue->max_offset() != before) {
      env_.log.warn("a consume queue was ahead of the log: topic={} queue={} dropped={}..{}",
                    queue->topic(), queue->queue_id(), queue->max_offset(), before - 1);
    }
    if (auto corrected = queue->correct_min_offset(begin); !corrected) return corrected;
    queue->next_offset = queue->max_offset();
    if (queue->needs_sync()) cut_ones.push_back(queue);
  }
  if (removed)
    if (auto gone = sync_removed_queues(); !gone) return gone;
  queues_.note_unsynced(cut_ones);
  queues_begin_at_ = begin;
  return Ok{};
}

}  // namespace apogee::store
