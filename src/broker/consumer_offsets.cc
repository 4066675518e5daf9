#include "broker/consumer_offsets.h"

#include "protocol/names.h"
#include "protocol/table_file.h"

namespace apogee::broker {
namespace {

/// No topic has more queues; keeps a client that invents queue ids from filling memory.
constexpr std::size_t kQueuesMax = 65'536;

void put(QueueOffsets& offsets, std::int32_t queue_id, std::int64_t offset) {
  if (const auto at = offsets.find(queue_id); at != offsets.end())
    at->second = offset;
  else if (offsets.size() < kQueuesMax)
    offsets.emplace(queue_id, offset);
}

std::optional<std::int64_t> at(const QueueOffsets& offsets, std::int32_t queue_id) {
  const auto found = offsets.find(queue_id);
  if (found == offsets.end()) return std::nullopt;
  return found->second;
}

}  // namespace

template <class AnyShard>
auto ConsumerOffsets::find_entry(AnyShard& shard, std::string_view group, std::string_view topic)
    -> decltype(&shard.groups.begin()->second.begin()->second) {
  const auto topics = shard.groups.find(group);
  if (topics == shard.groups.end()) return nullptr;
  const auto found = topics->second.find(topic);
  return found == topics->second.end() ? nullptr : &found->second;
}

ConsumerOffsets::ConsumerOffsets(Env& env, std::string path, std::int64_t version_step,
                                 std::string lmq_path)
    : env_{env},
      path_{std::move(path)},
      lmq_path_{std::move(lmq_path)},
      version_step_{std::max<std::int64_t>(version_step, 1)} {}

Result<Ok> ConsumerOffsets::load() {
  // What the one file lacks of the other is empty.
  auto table = protocol::load_table<protocol::LmqConsumerOffsetTable>(
      env_, lmq_path_.empty() ? path_ : lmq_path_);
  if (table && !*table && !lmq_path_.empty())
    table = protocol::load_table<protocol::LmqConsumerOffsetTable>(env_, path_);
  if (!table) return table.error();
  if (!*table) return Ok{};
  for (const auto& [key, offset] : (*table)->lmq_offset_table)
    (*table)->offset_table[key].emplace(0, offset);
  for (auto& [key, offsets] : (*table)->offset_table) {
    // A topic has no '@'; a group may (server-side broadcast offsets: T@G@broadcast).
    const std::size_t separator = key.find('@');
    if (separator == std::string::npos) continue;
    const std::string_view topic = std::string_view{key}.substr(0, separator);
    const std::string_view group = std::string_view{key}.substr(separator + 1);
    Shard& shard = shard_of(group);
    std::lock_guard lock{shard.mutex};
    entry(shard, group, topic).committed = std::move(offsets);
  }
  std::lock_guard lock{version_mutex_};
  version_ = (*table)->data_version;
  return Ok{};
}

std::string ConsumerOffsets::to_json() const {
  if (!lmq_path_.empty()) {
    protocol::LmqConsumerOffsetTable file;
    for_each([&](const std::string& group, const std::string& topic, const QueueOffsets& offsets) {
      const std::string key = protocol::topic_at_group(topic, group);
      if (!group.starts_with(protocol::kLmqPrefix))
        file.offset_table.emplace(key, offsets);
      else if (const auto offset = at(offsets, 0))
        file.lmq_offset_table.emplace(key, *offset);
    });
    file.data_version = version();
    return protocol::encode_body(file, protocol::JsonStyle::kPretty);
  }
  protocol::ConsumerOffsetTable file;
  for_each([&](const std::string& group, const std::string& topic, const QueueOffsets& offsets) {
    file.offset_table.emplace(protocol::topic_at_group(topic, group), offsets);
  });
  file.data_version = version();
  return protocol::encode_body(file, protocol::JsonStyle::kPretty);
}

Result<Ok> ConsumerOffsets::persist() {
  std::lock_guard lock{persist_mutex_};
  const std::int64_t changes = changes_.load();
  if (changes == persisted_changes_) return Ok{};
  const std::string content = to_json();
  if (durable_ && !durable_())
    return Error{Errc::kIo, "the log before these offsets is not on disk"};
  auto written = replace_file(env_.files, lmq_path_.empty() ? path_ : lmq_path_, content);
  if (written) persisted_changes_ = changes;
  return written;
}

std::optional<std::int64_t> ConsumerOffsets::find(std::string_view group, std::string_view topic,
                                                  std::int32_t queue_id) const {
  const Shard& shard = shard_of(group);
  std::lock_guard lock{shard.mutex};
  const Entry* found = find_entry(shard, group, topic);
  if (!found) return std::nullopt;
  if (const auto reset = at(found->resets, queue_id)) return reset;
  return at(found->committed, queue_id);
}

QueueOffsets ConsumerOffsets::find_all(std::string_view group, std::string_view topic) const {
  const Shard& shard = shard_of(group);
  std::lock_guard lock{shard.mutex};
  const Entry* found = find_entry(shard, group, topic);
  return found ? found->committed : QueueOffsets{};
}

void ConsumerOffsets::commit(std::string_view group, std::string_view topic, std::int32_t queue_id,
                             std::int64_t offset) {
  Shard& shard = shard_of(group);
  {
    std::lock_guard lock{shard.mutex};
    put(entry(shard, group, topic).committed, queue_id, offset);
  }
  committed_once();
}

bool ConsumerOffsets::commit_unless_reset(std::string_view group, std::string_view topic,
                                          std::int32_t queue_id, std::int64_t offset) {
  Shard& shard = shard_of(group);
  {
    std::lock_guard lock{shard.mutex};
    Entry& to = entry(shard, group, topic);
    if (to.resets.contains(queue_id)) return false;
    put(to.committed, queue_id, offset);
  }
  committed_once();
  return true;
}

std::optional<std::int64_t> ConsumerOffsets::find_pulled(std::string_view group,
                                                         std::string_view topic,
                                                         std::int32_t queue_id) const {
  const Shard& shard = shard_of(group);
  std::lock_guard lock{shard.mutex};
  const Entry* found = find_entry(shard, group, topic);
  if (!found) return std::nullopt;
  if (const auto pulled = at(found->pulled, queue_id)) return pulled;
  if (const auto reset = at(found->resets, queue_id)) return reset;
  return at(found->committed, queue_id);
}

void ConsumerOffsets::note_pulled(std::string_view group, std::string_view topic,
                                  std::int32_t queue_id, std::int64_t next_offset) {
  note_pull(group, topic, queue_id, next_offset, std::nullopt);
}

void ConsumerOffsets::note_pull(std::string_view group, std::string_view topic,
                                std::int32_t queue_id, std::int64_t next_offset,
                                std::optional<std::int64_t> commit_offset) {
  Shard& shard = shard_of(group);
  {
    std::lock_guard lock{shard.mutex};
    Entry& to = entry(shard, group, topic);
    put(to.pulled, queue_id, next_offset);
    if (commit_offset) put(to.committed, queue_id, *commit_offset);
  }
  if (commit_offset) committed_once();
}

void ConsumerOffsets::forget_pulled(std::string_view group, std::string_view topic) {
  Shard& shard = shard_of(group);
  std::lock_guard lock{shard.mutex};
  if (Entry* found = find_entry(shard, group, topic)) found->pulled.clear();
}

void ConsumerOffsets::reset(std::string_view group, std::string_view topic, std::int32_t queue_id,
                            std::int64_t offset) {
  if (queue_id < 0 || offset < 0) return;  // ConsumerOffsetManager.assignResetOffset
  Shard& shard = shard_of(group);
  {
    std::lock_guard lock{shard.mutex};
    Entry& to = entry(shard, group, topic);
    put(to.resets, queue_id, offset);
    put(to.committed, queue_id, offset);
  }
  resets_pending_.fetch_add(1);
  committed_once();
}

std::optional<std::int64_t> ConsumerOffsets::take_reset(std::string_view group,
                                                        std::string_view topic,
                                                        std::int32_t queue_id) {
  if (resets_pending_.load() == 0) return std::nullopt;  // nearly always: spare the lock
  Shard& shard = shard_of(group);
  std::lock_guard lock{shard.mutex};
  Entry* found = find_entry(shard, group, topic);
  if (!found) return std::nullopt;
  const auto offset = at(found->resets, queue_id);
  if (offset) found->resets.erase(queue_id);
  return offset;
}

bool ConsumerOffsets::reset_pending(std::string_view group, std::string_view topic,
                                    std::int32_t queue_id) const {
  const Shard& shard = shard_of(group);
  std::lock_guard lock{shard.mutex};
  const Entry* found = find_entry(shard, group, topic);
  return found && found->resets.contains(queue_id);
}

void ConsumerOffsets::clone(std::string_view source_group, std::string_view destination_group,
                            std::string_view topic) {
  QueueOffsets offsets = find_all(source_group, topic);
  if (offsets.empty()) return;
  Shard& shard = shard_of(destination_group);
  {
    std::lock_guard lock{shard.mutex};
    entry(shard, destination_group, topic).committed = std::move(offsets);
  }
  committed_once();
}

void ConsumerOffsets::remove_group(std::string_view group) {
  Shard& shard = shard_of(group);
  {
    std::lock_guard lock{shard.mutex};
    const auto found = shard.groups.find(group);
    if (found == shard.groups.end()) return;
    shard.groups.erase(found);
  }
  changes_.fetch_add(1);
}

std::map<std::string, QueueOffsets> ConsumerOffsets::remove_topic(std::string_view topic) {
  std::map<std::string, QueueOffsets> removed;
  for (Shard& shard : shards_) {
    std::lock_guard lock{shard.mutex};
    for (auto& [group, topics] : shard.groups) {
      const auto found = topics.find(topic);
      if (found == topics.end()) continue;
      removed.emplace(group, std::move(found->second.committed));
      topics.erase(found);
    }
    std::erase_if(shard.groups, [](const auto& each) { return each.second.empty(); });
  }
  if (!removed.empty()) changes_.fetch_add(1);
  return removed;
}

void ConsumerOffsets::put_back(std::string_view topic,
                               const std::map<std::string, QueueOffsets>& removed) {
  for (const auto& [group, offsets] : removed)
    for (const auto& [queue_id, offset] : offsets) commit(group, topic, queue_id, offset);
}

void ConsumerOffsets::remove(std::string_view group, std::string_view topic) {
  Shard& shard = shard_of(group);
  {
    std::lock_guard lock{shard.mutex};
    const auto topics = shard.groups.find(group);
    if (topics == shard.groups.end()) return;
    const auto found = topics->second.find(topic);
    if (found == topics->second.end()) return;
    topics->second.erase(found);
    if (topics->second.empty()) shard.groups.erase(topics);
  }
  changes_.fetch_add(1);
}

std::set<std::string> ConsumerOffsets::topics_of(std::string_view group) const {
  const Shard& shard = shard_of(group);
  std::lock_guard lock{shard.mutex};
  std::set<std::string> topics;
  if (const auto found = shard.groups.find(group); found != shard.groups.end())
    for (const auto& [topic, each] : found->second)
      if (!each.committed.empty()) topics.insert(topic);
  return topics;
}

std::set<std::string> ConsumerOffsets::groups_of(std::string_view topic) const {
  std::set<std::string> groups;
  for (const Shard& shard : shards_) {
    std::lock_guard lock{shard.mutex};
    for (const auto& [group, topics] : shard.groups)
      if (const auto found = topics.find(topic);
          found != topics.end() && !found->second.committed.empty())
        groups.insert(group);
  }
  return groups;
}

std::set<std::string> ConsumerOffsets::groups() const {
  std::set<std::string> groups;
  for_each([&](const std::string& group, const std::string&, const QueueOffsets&) {
    groups.insert(group);
  });
  return groups;
}

void ConsumerOffsets::for_each(
    const std::function<void(const std::string& group, const std::string& topic,
                             const QueueOffsets&)>& visit) const {
  struct Row {
    std::string group, topic;
    QueueOffsets offsets;
  };
  for (const Shard& shard : shards_) {
    std::vector<Row> rows;  // visited without the lock: `visit` may be slow or come back here
    {
      std::lock_guard lock{shard.mutex};
      for (const auto& [group, topics] : shard.groups)
        for (const auto& [topic, each] : topics)
          if (!each.committed.empty()) rows.push_back({group, topic, each.committed});
    }
    for (const Row& row : rows) visit(row.group, row.topic, row.offsets);
  }
}

protocol::DataVersion ConsumerOffsets::version() const {
  std::lock_guard lock{version_mutex_};
  return version_;
}

ConsumerOffsets::Shard& ConsumerOffsets::shard_of(std::string_view group) {
  return shards_[std::hash<std::string_view>{}(group) % kShards];
}
const ConsumerOffsets::Shard& ConsumerOffsets::shard_of(std::string_view group) const {
  return shards_[std::hash<std::string_view>{}(group) % kShards];
}

ConsumerOffsets::Entry& ConsumerOffsets::entry(Shard& shard, std::string_view group,
                                               std::string_view topic) {
  auto topics = shard.groups.find(group);
  if (topics == shard.groups.end()) topics = shard.groups.try_emplace(std::string{group}).first;
  auto found = topics->second.find(topic);
  if (found == topics->second.end()) found = topics->second.try_emplace(std::string{topic}).first;
  return found->second;
}

void ConsumerOffsets::committed_once() {
  changes_.fetch_add(1);
  if ((commits_.fetch_add(1) + 1) % version_step_ != 0) return;
  std::lock_guard lock{version_mutex_};
  version_.next(env_.clock.wall_ms());
}

}  // namespace apogee::broker
