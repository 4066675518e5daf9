#include "broker/topics.h"

#include <algorithm>

#include "protocol/table_file.h"

namespace apogee::broker {

using protocol::perm::kInherit;
using protocol::perm::kRead;
using protocol::perm::kWrite;

namespace {

bool has_attribute(const protocol::TopicConfig& topic, const char* name, std::string_view value) {
  const auto found = topic.attributes.find(name);
  return found != topic.attributes.end() && found->second == value;
}

}  // namespace

bool is_batch_topic(const protocol::TopicConfig& topic) {
  return has_attribute(topic, "queue.type", "BatchCQ");
}

bool is_compaction_topic(const protocol::TopicConfig& topic) {
  return has_attribute(topic, "cleanup.policy", "COMPACTION");
}

Topics::Topics(Env& env, const LiveConfig& config, std::string path, bool lmq)
    : env_{env}, config_{config}, path_{std::move(path)}, lmq_{lmq} {
  const BrokerConfig& now = config_.now();
  constexpr std::int32_t kReadWrite = kRead | kWrite;
  add_built_in(std::string{protocol::kSelfTestTopic}, 1, kReadWrite);
  if (now.auto_create_topic)
    add_built_in(std::string{protocol::kDefaultTopic}, now.default_topic_queue_nums,
                 kReadWrite | kInherit);
  add_built_in(std::string{protocol::kBenchmarkTopic}, 1'024, kReadWrite);
  add_built_in(now.cluster_name, 16, kInherit | (now.cluster_topic ? kReadWrite : 0));
  add_built_in(now.broker_name, 1, kInherit | (now.broker_topic ? kReadWrite : 0));
  add_built_in(std::string{protocol::kOffsetMovedTopic}, 1, kReadWrite);
  add_built_in(std::string{protocol::kScheduleTopic}, 18, kReadWrite);
  if (now.trace_topic_enable) add_built_in(std::string{protocol::kTraceTopic}, 1, kReadWrite);
  add_built_in(protocol::reply_topic(now.cluster_name), 1, kReadWrite);
  add_built_in(protocol::revive_topic(now.cluster_name), now.revive_queue_num, kReadWrite);
  add_built_in(protocol::sync_member_topic(now.broker_name), 1, kInherit);
  add_built_in(std::string{protocol::kHalfTopic}, 1, kReadWrite);
  add_built_in(std::string{protocol::kOpHalfTopic}, 1, kReadWrite);
  add_built_in(std::string{protocol::kTimerTopic}, 1, kReadWrite);
}

void Topics::add_built_in(const std::string& name, std::int32_t queues, std::int32_t perm) {
  built_in_.insert(name);
  protocol::TopicConfig config;
  config.topic_name = name;
  config.read_queue_nums = config.write_queue_nums = queues;
  config.perm = perm;
  topics_[name] = std::make_shared<const protocol::TopicConfig>(std::move(config));
}

Result<Ok> Topics::load() {
  auto table = protocol::load_table<protocol::TopicConfigTable>(env_, path_);
  if (!table) return table.error();
  if (!*table) return Ok{};
  std::unique_lock lock{mutex_};
  for (auto& [name, config] : (*table)->topic_config_table) {
    config.topic_name = name;
    topics_[name] = std::make_shared<const protocol::TopicConfig>(std::move(config));
  }
  version_ = (*table)->data_version;
  return Ok{};
}

Result<Ok> Topics::persist() {
  std::lock_guard one_writer{persist_mutex_};
  std::uint64_t changes;
  {
    std::shared_lock lock{mutex_};
    changes = changes_;
    if (changes == saved_) return Ok{};
  }
  if (auto saved = protocol::save_table(env_, path_, table()); !saved) return saved;
  std::unique_lock lock{mutex_};
  saved_ = changes;
  std::erase_if(unsaved_, [&](const auto& each) { return each.second <= changes; });
  some_unsaved_ = !unsaved_.empty();
  return Ok{};
}

bool Topics::is_on_disk(std::string_view name) const {
  if (!some_unsaved_) return true;
  std::shared_lock lock{mutex_};
  return !unsaved_.contains(name);
}

Result<Ok> Topics::ensure_on_disk(std::string_view name) {
  if (is_on_disk(name)) return Ok{};
  if (auto written = persist(); !written)
    return Error{written.error().code, "topics.json cannot be written: " + written.error().detail};
  return Ok{};
}

TopicPtr Topics::find(std::string_view name) const {
  if (lmq_ && name.starts_with(protocol::kLmqPrefix)) {
    protocol::TopicConfig config;
    config.topic_name = name;
    config.read_queue_nums = config.write_queue_nums = 1;
    config.perm = kRead | kWrite;
    return std::make_shared<const protocol::TopicConfig>(std::move(config));
  }
  std::shared_lock lock{mutex_};
  const auto found = topics_.find(name);
  return found == topics_.end() ? nullptr : found->second;
}

bool Topics::is_system(std::string_view name) const {
  return protocol::is_system_topic(name) || built_in_.contains(name);
}

std::set<std::string> Topics::system_topics() const {
  std::set<std::string> names{built_in_.begin(), built_in_.end()};
  for (const std::string_view each :
       {protocol::kTraceTopic, protocol::kTransCheckMaxTopic, protocol::kDefaultTopic})
    names.emplace(each);
  return names;
}

TopicPtr Topics::put(protocol::TopicConfig config) {
  const std::string name = config.topic_name;
  auto topic = std::make_shared<const protocol::TopicConfig>(std::move(config));
  topics_[name] = topic;
  version_.next(env_.clock.wall_ms());
  unsaved_[name] = ++changes_;
  some_unsaved_ = true;
  return topic;
}

void Topics::after_change(const std::vector<TopicPtr>& topics,
                          const protocol::DataVersion& version) {
  auto token = in_flight_.enter();
  if (!token) return;
  // A write that has not begun will write this change too.
  if (!write_posted_.exchange(true))
    env_.workers.post([this, token] {
      write_posted_ = false;
      if (auto saved = persist(); !saved)
        env_.log.error("topics not written: path={} why={}", path_, saved.error().detail);
    });
  if (changed_) changed_(topics, version);
}

TopicPtr Topics::create_on_send(std::string_view name, std::string_view default_topic,
                                std::int32_t queue_nums, std::int32_t topic_sys_flag) {
  if (TopicPtr there = find(name)) return there;
  TopicPtr topic;
  protocol::DataVersion version;
  {
    std::unique_lock lock{mutex_};
    if (const auto there = topics_.find(name); there != topics_.end()) return there->second;
    const auto model = topics_.find(default_topic);
    if (model == topics_.end()) return nullptr;
    std::int32_t perm = model->second->perm;
    if (default_topic == protocol::kDefaultTopic && !config_.now().auto_create_topic)
      perm = kRead | kWrite;
    if ((perm & kInherit) == 0) return nullptr;
    protocol::TopicConfig config;
    config.topic_name = name;
    config.read_queue_nums = config.write_queue_nums =
        std::max(0, std::min(queue_nums, model->second->write_queue_nums));
    config.perm = perm & ~kInherit;
    config.topic_sys_flag = topic_sys_flag;
    config.topic_filter_type = model->second->topic_filter_type;
    topic = put(std::move(config));
    version = version_;
  }
  env_.log.info("topic created by a send: topic={} queues={}", name, topic->write_queue_nums);
  after_change({topic}, version);
  return topic;
}

TopicPtr Topics::create_if_absent(std::string_view name, std::int32_t queue_nums, std::int32_t perm,
                                  std::int32_t topic_sys_flag, bool order) {
  if (TopicPtr there = find(name); there && there->order == order) return there;
  TopicPtr topic;
  protocol::DataVersion version;
  {
    std::unique_lock lock{mutex_};
    protocol::TopicConfig config;
    if (const auto there = topics_.find(name); there != topics_.end()) {
      if (there->second->order == order) return there->second;
      config = *there->second;
    } else {
      config.topic_name = name;
      config.read_queue_nums = config.write_queue_nums = queue_nums;
      config.perm = perm;
      config.topic_sys_flag = topic_sys_flag;
    }
    config.order = order;
    topic = put(std::move(config));
    version = version_;
  }
  env_.log.info("topic created or reordered: topic={} queues={} order={}", name,
                topic->write_queue_nums, order);
  after_change({topic}, version);
  return topic;
}

Result<TopicPtr> Topics::need(std::string_view name, std::int32_t queue_nums,
                              std::int32_t topic_sys_flag) {
  TopicPtr topic = find(name);
  if (!topic) topic = create_if_absent(name, queue_nums, kRead | kWrite, topic_sys_flag);
  if (auto written = ensure_on_disk(name); !written) return written.error();
  return topic;
}

void Topics::update(std::vector<protocol::TopicConfig> configs) {
  if (lmq_)
    std::erase_if(configs, [](const protocol::TopicConfig& each) {
      return each.topic_name.starts_with(protocol::kLmqPrefix);
    });
  std::vector<TopicPtr> topics;
  protocol::DataVersion version;
  {
    std::unique_lock lock{mutex_};
    for (auto& config : configs) topics.push_back(put(std::move(config)));
    version = version_;
  }
  if (!topics.empty()) after_change(topics, version);
}

void Topics::update(protocol::TopicConfig config) {
  std::vector<protocol::TopicConfig> configs;
  configs.push_back(std::move(config));
  update(std::move(configs));
}

void Topics::remove(std::string_view name) {
  protocol::DataVersion version;
  {
    std::unique_lock lock{mutex_};
    const auto found = topics_.find(name);
    if (found == topics_.end()) return;
    topics_.erase(found);
    version_.next(env_.clock.wall_ms());
    version = version_;
    ++changes_;
  }
  after_change({}, version);
}

void Topics::renew_version() {
  protocol::DataVersion version;
  {
    std::unique_lock lock{mutex_};
    version_.next(env_.clock.wall_ms());
    version = version_;
    ++changes_;
  }
  after_change({}, version);
}

std::vector<TopicPtr> Topics::all() const {
  std::vector<TopicPtr> topics;
  {
    std::shared_lock lock{mutex_};
    topics.reserve(topics_.size());
    for (const auto& [name, topic] : topics_) topics.push_back(topic);
  }
  std::ranges::sort(topics, {}, [](const TopicPtr& each) { return each->topic_name; });
  return topics;
}

protocol::TopicConfigTable Topics::table() const {
  std::shared_lock lock{mutex_};
  protocol::TopicConfigTable table;
  for (const auto& [name, topic] : topics_) table.topic_config_table.emplace(name, *topic);
  table.data_version = version_;
  return table;
}

protocol::DataVersion Topics::version() const {
  std::shared_lock lock{mutex_};
  return version_;
}

}  // namespace apogee::broker
