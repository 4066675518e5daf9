#include "broker/subscription_groups.h"

#include <algorithm>

#include "protocol/names.h"
#include "protocol/table_file.h"

namespace apogee::broker {

SubscriptionGroups::SubscriptionGroups(Env& env, const LiveConfig& config, std::string path,
                                       bool lmq)
    : env_{env}, config_{config}, path_{std::move(path)}, lmq_{lmq} {
  for (const char* name :
       {"TOOLS_CONSUMER", "FILTERSRV_CONSUMER", "SELF_TEST_C_GROUP", "CID_ONS-HTTP-PROXY",
        "CID_ONSAPI_PULL", "CID_ONSAPI_PERMISSION", "CID_ONSAPI_OWNER", "CID_RMQ_SYS_TRANS"}) {
    protocol::SubscriptionGroupConfig group;
    group.group_name = name;
    groups_[name] = std::make_shared<const protocol::SubscriptionGroupConfig>(std::move(group));
  }
}

Result<Ok> SubscriptionGroups::load() {
  auto table = protocol::load_table<protocol::SubscriptionGroupTable>(env_, path_);
  if (!table) return table.error();
  if (!*table) return Ok{};
  std::unique_lock lock{mutex_};
  for (auto& [name, group] : (*table)->subscription_group_table) {
    group.group_name = name;
    groups_[name] = std::make_shared<const protocol::SubscriptionGroupConfig>(std::move(group));
  }
  forbidden_ = std::move((*table)->forbidden_table);
  version_ = (*table)->data_version;
  return Ok{};
}

Result<Ok> SubscriptionGroups::persist() {
  std::lock_guard one_writer{persist_mutex_};
  return protocol::save_if_dirty(env_, path_, dirty_, [&] { return table(); });
}

void SubscriptionGroups::changed() {
  version_.next(env_.clock.wall_ms());
  dirty_ = true;
}

void SubscriptionGroups::persist_soon() {
  auto token = in_flight_.enter();
  if (!token) return;
  env_.workers.post([this, token] {
    if (auto saved = persist(); !saved)
      env_.log.error("consumer groups not written: path={} why={}", path_, saved.error().detail);
  });
}

GroupPtr SubscriptionGroups::find(std::string_view name) const {
  if (lmq_ && name.starts_with(protocol::kLmqPrefix)) {
    protocol::SubscriptionGroupConfig group;
    group.group_name = name;
    return std::make_shared<const protocol::SubscriptionGroupConfig>(std::move(group));
  }
  std::shared_lock lock{mutex_};
  const auto found = groups_.find(name);
  return found == groups_.end() ? nullptr : found->second;
}

GroupPtr SubscriptionGroups::find_or_create(std::string_view name) {
  if (GroupPtr there = find(name)) return there;
  const BrokerConfig& config = config_.now();
  const bool allowed =
      config.auto_create_group || (config.create_system_group && protocol::is_system_group(name));
  if (!allowed || !protocol::check_group(name)) return nullptr;
  GroupPtr group;
  {
    std::unique_lock lock{mutex_};
    GroupPtr& place = groups_[std::string{name}];
    if (place) return place;
    protocol::SubscriptionGroupConfig fresh;
    fresh.group_name = name;
    place = group = std::make_shared<const protocol::SubscriptionGroupConfig>(std::move(fresh));
    changed();
  }
  env_.log.info("consumer group created by its use: group={}", name);
  persist_soon();
  return group;
}

void SubscriptionGroups::update(protocol::SubscriptionGroupConfig config) {
  if (lmq_ && config.group_name.starts_with(protocol::kLmqPrefix)) return;
  {
    std::unique_lock lock{mutex_};
    const std::string name = config.group_name;
    groups_[name] = std::make_shared<const protocol::SubscriptionGroupConfig>(std::move(config));
    changed();
  }
  persist_soon();
}

bool SubscriptionGroups::remove(std::string_view name) {
  {
    std::unique_lock lock{mutex_};
    const auto found = groups_.find(name);
    if (found == groups_.end()) return false;
    forbidden_.erase(found->first);
    groups_.erase(found);
    changed();
  }
  persist_soon();
  return true;
}

bool SubscriptionGroups::forbidden(std::string_view group, std::string_view topic, int bit) const {
  std::shared_lock lock{mutex_};
  if (forbidden_.empty()) return false;
  const auto topics = forbidden_.find(std::string{group});
  if (topics == forbidden_.end()) return false;
  const auto bits = topics->second.find(std::string{topic});
  return bits != topics->second.end() && (bits->second >> bit & 1) != 0;
}

void SubscriptionGroups::set_forbidden(std::string_view group, std::string_view topic, int bit,
                                       bool forbidden) {
  {
    std::unique_lock lock{mutex_};
    auto& topics = forbidden_[std::string{group}];
    std::int32_t& bits = topics[std::string{topic}];
    bits = forbidden ? bits | 1 << bit : bits & ~(1 << bit);
    if (bits == 0) topics.erase(std::string{topic});
    if (topics.empty()) forbidden_.erase(std::string{group});
    changed();
  }
  persist_soon();
}

std::vector<GroupPtr> SubscriptionGroups::all() const {
  std::vector<GroupPtr> groups;
  {
    std::shared_lock lock{mutex_};
    for (const auto& [name, group] : groups_) groups.push_back(group);
  }
  std::ranges::sort(groups, {}, [](const GroupPtr& each) { return each->group_name; });
  return groups;
}

protocol::SubscriptionGroupTable SubscriptionGroups::table() const {
  std::shared_lock lock{mutex_};
  protocol::SubscriptionGroupTable table;
  for (const auto& [name, group] : groups_) table.subscription_group_table.emplace(name, *group);
  table.forbidden_table = forbidden_;
  table.data_version = version_;
  return table;
}

protocol::DataVersion SubscriptionGroups::version() const {
  std::shared_lock lock{mutex_};
  return version_;
}

}  // namespace apogee::broker
