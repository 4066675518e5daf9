#include "client/subscriptions.h"

#include "client/consumer_config.h"

namespace apogee::client {

Result<Ok> Subscriptions::add(const std::string& topic, const Filter& filter) {
  const std::int64_t version = instance_->env().clock.wall_ms();
  auto made = subscription_of(topic, filter, version);
  if (!made) return made.error();
  std::lock_guard lock{mutex_};
  topics_[topic] = {std::make_shared<const protocol::SubscriptionData>(*std::move(made)), version};
  return Ok{};
}

void Subscriptions::remove(const std::string& topic) {
  std::lock_guard lock{mutex_};
  topics_.erase(topic);
}

Result<Ok> Subscriptions::replace(const std::vector<std::string>& topics, const Filter& filter) {
  const std::int64_t version = instance_->env().clock.wall_ms();
  std::map<std::string, Subscribed> fresh;
  for (const std::string& topic : topics) {
    auto made = subscription_of(topic, filter, version);
    if (!made) return made.error();
    fresh[topic] = {std::make_shared<const protocol::SubscriptionData>(*std::move(made)), version};
  }
  std::lock_guard lock{mutex_};
  topics_ = std::move(fresh);
  return Ok{};
}

void Subscriptions::renew(const std::string& topic) {
  std::lock_guard lock{mutex_};
  const auto found = topics_.find(topic);
  if (found == topics_.end()) return;
  auto data = *found->second.data;
  data.sub_version = instance_->env().clock.wall_ms();
  found->second.data = std::make_shared<const protocol::SubscriptionData>(std::move(data));
}

std::optional<Subscriptions::Subscribed> Subscriptions::find(const std::string& topic) const {
  std::lock_guard lock{mutex_};
  const auto found = topics_.find(topic);
  if (found == topics_.end()) return std::nullopt;
  return found->second;
}

std::vector<std::string> Subscriptions::topics() const {
  std::lock_guard lock{mutex_};
  std::vector<std::string> names;
  for (const auto& [topic, subscribed] : topics_) names.push_back(topic);
  return names;
}

std::vector<protocol::SubscriptionData> Subscriptions::all() const {
  std::lock_guard lock{mutex_};
  std::vector<protocol::SubscriptionData> all;
  for (const auto& [topic, subscribed] : topics_) all.push_back(*subscribed.data);
  return all;
}

/// Brokers know the group once they have heard of it; only then can queues be divided.
void Subscriptions::introduce(const std::string& topic, std::function<void()> then) const {
  instance_->refresh_route(
      topic, instance_->config().api_timeout,
      [instance = std::weak_ptr{instance_}, then = std::move(then)](const Result<PublishInfoPtr>&) {
        const auto here = instance.lock();
        if (!here || here->stopped()) return;
        here->forget_heartbeats();
        here->heartbeat_to_all();
        then();
      });
}

void Subscriptions::tell() const {
  instance_->forget_heartbeats();
  instance_->heartbeat_soon();
}

}  // namespace apogee::client
