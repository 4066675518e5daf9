#include "client/push_consumer.h"
#include "client/version.h"
#include "protocol/json.h"

/// Request 307: what consoles show of a running consumer (Java's ConsumerRunningInfo).
namespace apogee::client {
namespace {

using protocol::Json;

Json number(std::int64_t value) {
  return Json{Json::Value{value}};
}
Json text(std::string value) {
  return Json{Json::Value{std::move(value)}};
}
Json flag(bool value) {
  return Json{Json::Value{value}};
}

/// ProcessQueueInfo.
Json queue_info(const ProcessQueue& messages, std::int64_t commit_offset, Clock::Instant now,
                std::int64_t now_ms) {
  const auto level = messages.level();
  const auto unix_ms = [&](Clock::Instant when) {
    if (when == Clock::Instant{}) return std::int64_t{0};
    return now_ms - std::chrono::duration_cast<std::chrono::milliseconds>(now - when).count();
  };
  Json info = Json::object();
  info.set("cachedMsgCount", number(level.count - level.taken_count));
  info.set("cachedMsgMaxOffset", number(level.max_offset));
  info.set("cachedMsgMinOffset", number(level.min_offset));
  info.set("cachedMsgSizeInMiB", number(level.bytes >> 20));
  info.set("commitOffset", number(commit_offset));
  info.set("droped", flag(messages.dropped));  // so spelled on the wire
  info.set("lastConsumeTimestamp", number(unix_ms(messages.last_consume())));
  info.set("lastLockTimestamp", number(unix_ms(messages.last_lock())));
  info.set("lastPullTimestamp", number(unix_ms(messages.last_pull())));
  info.set("locked", flag(messages.locked));
  info.set("transactionMsgCount", number(level.taken_count));
  info.set("transactionMsgMaxOffset", number(level.taken_max_offset));
  info.set("transactionMsgMinOffset", number(level.taken_min_offset));
  info.set("tryUnlockTimes", number(messages.unlock_tries));
  return info;
}

}  // namespace

protocol::Json PushConsumerCore::running_info() const {
  Json properties = Json::object();
  const auto property = [&](const char* name, std::string value) {
    properties.set(name, text(std::move(value)));
  };
  std::string name_servers;
  for (const std::string& each : instance_->name_servers().all()) name_servers += each + ";";
  property("PROP_CLIENT_VERSION", kVersion);
  property("PROP_CONSUMEORDERLY", orderly() ? "true" : "false");
  property("PROP_CONSUMER_START_TIMESTAMP", std::to_string(started_ms_));
  property("PROP_CONSUME_TYPE", "CONSUME_PASSIVELY");
  property("PROP_NAMESERVER_ADDR", name_servers);
  property("PROP_THREADPOOL_CORE_SIZE", std::to_string(config_.consume_thread_min));
  property("allocateMessageQueueStrategy", config_.allocation.name);
  property("consumeMessageBatchMaxSize", std::to_string(config_.consume_message_batch_max_size));
  property("consumeThreadMax", std::to_string(config_.consume_thread_max));
  property("consumeThreadMin", std::to_string(config_.consume_thread_min));
  property("consumeTimeout", std::to_string(config_.consume_timeout.count()));
  property("consumerGroup", group_);
  property("maxReconsumeTimes", std::to_string(config_.max_reconsume_times));
  property("messageModel", clustering() ? "CLUSTERING" : "BROADCASTING");
  property("pullBatchSize", std::to_string(config_.pull_batch_size));
  property("pullThresholdForQueue", std::to_string(config_.pull_threshold_for_queue));

  Json subscriptions{Json::Array{}}, statuses = Json::object();
  for (const std::string& topic : topics()) {
    if (const auto data = subscription(topic)) subscriptions.push(protocol::to_json(*data));
    statuses.set(topic, protocol::to_json(statistics_.of(topic)));
  }
  const auto now = instance_->env().clock.now();
  const std::int64_t now_ms = instance_->env().clock.wall_ms();
  Json queues = Json::object();
  for (const auto& [queue, messages] : rebalance_.queues()) {
    const protocol::MessageQueue name{queue.broker, queue.queue_id, queue.topic};
    queues.set_bare(protocol::write_json(protocol::to_json(name)),
                    queue_info(*messages, store_->in_memory(queue).value_or(0), now, now_ms));
  }
  Json info = Json::object();
  info.set("mqPopTable", protocol::to_json(popping_.running_info()));
  info.set("mqTable", std::move(queues));
  info.set("properties", std::move(properties));
  info.set("statusTable", std::move(statuses));
  info.set("subscriptionSet", std::move(subscriptions));
  info.set("userConsumerInfo", Json::object());
  return info;
}

}  // namespace apogee::client
