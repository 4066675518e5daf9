#include "client/consumer_config.h"

#include <fmt/format.h>

#include "client/validation.h"

namespace apogee::client {
namespace {

Error invalid(std::string text) {
  return Error{Errc::kInvalidArgument, std::move(text)};
}

struct Range {
  const char* name;
  std::int64_t value, low, high;
  bool or_none = false;  // -1 is good, too
};

Result<Ok> check_ranges(const PushConsumerConfig& config) {
  const Range ranges[] = {
      {"consumeThreadMin", config.consume_thread_min, 1, 1'000},
      {"consumeThreadMax", config.consume_thread_max, 1, 1'000},
      {"consumeConcurrentlyMaxSpan", config.consume_concurrently_max_span, 1, 65'535},
      {"pullThresholdForQueue", config.pull_threshold_for_queue, 1, 65'535},
      {"pullThresholdForTopic", config.pull_threshold_for_topic, 1, 6'553'500, true},
      {"pullThresholdSizeForQueue", config.pull_threshold_size_for_queue, 1, 1'024},
      {"pullThresholdSizeForTopic", config.pull_threshold_size_for_topic, 1, 102'400, true},
      {"pullInterval", config.pull_interval.count(), 0, 65'535},
      {"consumeMessageBatchMaxSize", config.consume_message_batch_max_size, 1, 1'024},
      {"pullBatchSize", config.pull_batch_size, 1, 1'024},
      {"popInvisibleTime", config.pop_invisible_time.count(), 5'000, 300'000},
      {"popBatchNums", config.pop_batch_nums, 1, 32},
  };
  for (const Range& each : ranges) {
    if (each.or_none && each.value == -1) continue;
    if (each.value < each.low || each.value > each.high)
      return invalid(fmt::format("{} Out of range [{}, {}]", each.name, each.low, each.high));
  }
  if (config.consume_thread_min > config.consume_thread_max)
    return invalid(fmt::format("consumeThreadMin ({}) is larger than consumeThreadMax ({})",
                               config.consume_thread_min, config.consume_thread_max));
  return Ok{};
}

}  // namespace

Result<Ok> check_config(const PushConsumerConfig& config) {
  if (auto checked = check_group(config.group); !checked) return checked;
  if (!config.allocation.divide) return invalid("allocateMessageQueueStrategy is null");
  if (!config.on_messages && !config.on_messages_orderly)
    return invalid("messageListener is null: set on_messages or on_messages_orderly");
  if (config.on_messages && config.on_messages_orderly)
    return invalid("set either on_messages or on_messages_orderly, not both");
  if (config.pull_batch_size_in_bytes < 1 || config.consume_timeout <= std::chrono::minutes{0} ||
      config.pop_threshold_for_queue < 1 || config.max_reconsume_times < -1)
    return invalid(
        "pull_batch_size_in_bytes, consume_timeout and pop_threshold_for_queue must be above zero, "
        "max_reconsume_times not below -1");
  return check_ranges(config);
}

Result<protocol::SubscriptionData> subscription_of(const std::string& topic, const Filter& filter,
                                                   std::int64_t version) {
  if (topic.empty()) return invalid("Topic can not be null or empty.");
  auto made = protocol::subscription_from(topic, filter.expression, filter.type, version);
  if (!made)
    return invalid(fmt::format("subscription exception: {}: {}", topic, made.error().detail));
  return made;
}

protocol::ConsumeFromWhere wire(StartFrom from) {
  switch (from) {
    case StartFrom::kLast:
      return protocol::ConsumeFromWhere::kLastOffset;
    case StartFrom::kFirst:
      return protocol::ConsumeFromWhere::kFirstOffset;
    case StartFrom::kTimestamp:
      return protocol::ConsumeFromWhere::kTimestamp;
  }
  return protocol::ConsumeFromWhere::kLastOffset;
}

protocol::MessageModel wire(MessageModel model) {
  return model == MessageModel::kBroadcasting ? protocol::MessageModel::kBroadcasting
                                              : protocol::MessageModel::kClustering;
}

}  // namespace apogee::client
