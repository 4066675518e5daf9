#include "store/compaction.h"

#include <fmt/core.h>

#include "protocol/table_file.h"

namespace apogee::store {

std::string CompactionPositions::key_of(std::string_view topic, std::int32_t queue_id) {
  return fmt::format("{}_{}", topic, queue_id);
}

Compaction::Compaction(Env& env, const Live<StoreConfig>& config, const CommitLog& log,
                       ConsumeQueues& queues, Damages& damages)
    : env_{env},
      config_{config},
      log_{log},
      queues_{queues},
      damages_{damages},
      place_{CompactionPlace::of(config.now().root, config.now())},
      positions_path_{CompactionPlace::positions_path(config.now().root)} {}

// ---- The logs ----------------------------------------------------------------------------------

Result<Ok> Compaction::load(const Truth& truth) {
  auto positions = protocol::load_table<CompactionPositions>(env_, positions_path_);
  // Without it, all is compacted anew.
  if (!positions)
    env_.log.warn("compaction begins anew: {}", positions.error().detail);
  else if (*positions)
    positions_ = **std::move(positions);
  // A queue whose messages have all left the log is known from its compaction log alone.
  auto topics = env_.files.list(place_.log_directory);
  if (!topics && topics.error().code != Errc::kNotFound) return topics.error();
  for (const DirectoryEntry& topic : topics ? *topics : std::vector<DirectoryEntry>{}) {
    if (!topic.is_directory || !truth.is_compacted(topic.name)) continue;
    auto ids = list_queues(env_.files, place_.log_directory + "/" + topic.name);
    if (!ids) return ids.error();
    for (const std::int32_t id : *ids) queues_.find_or_create(topic.name, id);
  }
  for (const auto& queue : queues_.all())
    if (queue->is_compacted)
      if (auto loaded = load(*queue, truth); !loaded) return loaded;
  return Ok{};
}

Result<Ok> Compaction::load(ConsumeQueue& queue, const Truth& truth) {
  const auto log = find_or_create(queue.topic(), queue.queue_id());
  auto loaded = log->load({.clean = truth.clean,
                           .queue_min = queue.min_offset(),
                           .queue_max = queue.max_offset(),
                           .last_timestamp = truth.last_timestamp});
  if (!loaded) return set_aside(queue, *log, loaded.error());
  if (log->next_offset() > queue.max_offset()) {
    if (auto emptied = queue.remove_all(); !emptied) return emptied;
    queue.next_offset = log->next_offset();
  }
  // The messages behind the last one may have been compacted away; the queue may have them still.
  // They come again, and so does their compaction.
  if (position_of({queue.topic(), queue.queue_id()}) >= log->next_offset())
    if (auto noted = note_position({queue.topic(), queue.queue_id()}, log->next_offset() - 1);
        !noted)
      return noted;
  follow(queue);
  return Ok{};
}

/// One bad log is no reason not to serve all other queues. Whoever asks for what it alone has gets
/// an error and not the next message, so that nobody passes over what may be mended; and nothing
/// new gets an offset that it has. So there is no start with a log that has what a power cut took
/// from the commit log and cannot be cut: the next messages get those offsets.
Result<Ok> Compaction::set_aside(ConsumeQueue& queue, CompactionLog& log, const Error& why) {
  const auto told = log.told_end();
  std::int64_t end = queue.max_offset();
  if (end == 0) {  // what it had has left the commit log: the log alone knows where it ended
    if (!told) return told.error();
    end = *told;
    queue.next_offset = end;
  } else if (told && *told > end) {
    return why;
  }
  log.set_aside(end);
  env_.log.error(
      "a compaction log is set aside, what has left the commit log cannot be read until it is "
      "mended: topic={} queue={} reason={}",
      queue.topic(), queue.queue_id(), why.detail);
  return Ok{};
}

std::shared_ptr<CompactionLog> Compaction::find(std::string_view topic,
                                                std::int32_t queue_id) const {
  std::shared_lock lock{mutex_};
  const auto found = logs_.find(Key{topic, queue_id});
  return found == logs_.end() ? nullptr : found->second;
}

std::shared_ptr<CompactionLog> Compaction::find_or_create(const std::string& topic,
                                                          std::int32_t queue_id) {
  if (auto log = find(topic, queue_id)) return log;
  std::unique_lock lock{mutex_};
  auto& log = logs_[{topic, queue_id}];
  if (!log)
    log = std::make_shared<CompactionLog>(
        env_, damages_, place_.inside(topic).inside(std::to_string(queue_id)), topic, queue_id);
  return log;
}

std::map<Compaction::Key, std::shared_ptr<CompactionLog>> Compaction::all() const {
  std::shared_lock lock{mutex_};
  return {logs_.begin(), logs_.end()};
}

void Compaction::follow(const ConsumeQueue& queue) {
  const auto log = find_or_create(queue.topic(), queue.queue_id());
  if (auto done = log->follow(queue, log_); !done)
    env_.log.error("a compaction log cannot be written, trying again: topic={} queue={} reason={}",
                   queue.topic(), queue.queue_id(), done.error().detail);
}

bool Compaction::sync() {
  bool good = true;
  for (const auto& [key, log] : all()) {
    const auto queue = queues_.find(key.first, key.second);
    if (queue && queue->max_offset() > log->next_offset()) follow(*queue);
    good = log->sync() && good;  // it tells itself, once
  }
  return good;
}

void Compaction::remove_topic(std::string_view topic) {
  std::map<Key, std::shared_ptr<CompactionLog>> gone;
  {
    std::unique_lock lock{mutex_};
    std::erase_if(logs_, [&](const auto& each) {
      return each.first.first == topic && gone.insert(each).second;
    });
  }
  for (const auto& [key, log] : gone) {
    auto removed = log->remove();
    if (removed) removed = note_position(key, std::nullopt);
    if (!removed)
      env_.log.error("a compaction log cannot be removed: topic={} queue={} reason={}", key.first,
                     key.second, removed.error().detail);
  }
}

// ---- Compacting --------------------------------------------------------------------------------

void Compaction::start(std::function<std::int64_t()> flushed) {
  flushed_ = std::move(flushed);
  steps_ = std::make_unique<Periodic>(
      env_.clock, env_.workers, std::chrono::milliseconds{config_.now().compaction_interval_ms},
      [this] { return step(); });
}

void Compaction::stop() {
  for (const auto& [key, log] : all()) log->stop_compacting();
  steps_.reset();
}

/// One log. Says when the next is due: half of the time is for others.
Clock::Duration Compaction::step() {
  const auto logs = all();
  const auto log = logs.lower_bound(next_);
  if (log == logs.end()) {
    next_ = {};
    return std::chrono::milliseconds{config_.now().compaction_interval_ms};
  }
  next_ = {log->first.first, log->first.second + 1};
  const auto began = env_.clock.now();
  compact(log->first, *log->second);
  return env_.clock.now() - began;
}

void Compaction::compact(const Key& key, CompactionLog& log) {
  if (log.is_set_aside())
    env_.log.warn("a compaction log is still set aside: topic={} queue={}", key.first, key.second);
  // A message that a power cut takes out of the commit log must not have replaced another.
  const auto may_compact = [&](std::int64_t queue_offset) {
    const auto queue = queues_.find(key.first, key.second);
    const auto entry = queue ? queue->read(queue_offset, 1) : std::vector<QueueEntry>{};
    return queue && entry &&
           (entry->empty() || entry->front().physical_offset + entry->front().size <= flushed_());
  };
  auto compacted = log.compact(
      position_of(key), static_cast<std::size_t>(config_.now().compaction_map_bytes), may_compact);
  if (compacted && !*compacted) return;
  Result<Ok> done = compacted ? note_position(key, *compacted) : compacted.error();
  if (!done)
    env_.log.error("a compaction failed, it is tried again: topic={} queue={} reason={}", key.first,
                   key.second, done.error().detail);
}

std::int64_t Compaction::position_of(const Key& key) {
  std::lock_guard lock{positions_mutex_};
  const auto found =
      positions_.queue_offsets.find(CompactionPositions::key_of(key.first, key.second));
  return found == positions_.queue_offsets.end() ? -1 : found->second;
}

/// nullopt: the queue has gone.
Result<Ok> Compaction::note_position(const Key& key, std::optional<std::int64_t> position) {
  std::lock_guard lock{positions_mutex_};
  const std::string name = CompactionPositions::key_of(key.first, key.second);
  if (position)
    positions_.queue_offsets[name] = *position;
  else if (positions_.queue_offsets.erase(name) == 0)
    return Ok{};
  positions_.empty = positions_.queue_offsets.empty();
  return protocol::save_table(env_, positions_path_, positions_);
}

}  // namespace apogee::store
