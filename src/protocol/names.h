#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "apogee/result.h"

/// Names of topics and groups: what is legal, what is reserved, what is derived from what.
namespace apogee::protocol {

namespace perm {
inline constexpr std::int32_t kPriority = 8, kRead = 4, kWrite = 2, kInherit = 1;
}
namespace pull_flag {
inline constexpr std::int32_t kCommitOffset = 1, kSuspend = 2, kSubscription = 4, kClassFilter = 8,
                              kLitePull = 16;
}

inline constexpr std::string_view kDefaultTopic = "TBW102", kScheduleTopic = "SCHEDULE_TOPIC_XXXX",
                                  kBenchmarkTopic = "BenchmarkTest",
                                  kHalfTopic = "RMQ_SYS_TRANS_HALF_TOPIC",
                                  kOpHalfTopic = "RMQ_SYS_TRANS_OP_HALF_TOPIC",
                                  kTraceTopic = "RMQ_SYS_TRACE_TOPIC",
                                  kTransCheckMaxTopic = "TRANS_CHECK_MAX_TIME_TOPIC",
                                  kSelfTestTopic = "SELF_TEST_TOPIC",
                                  kOffsetMovedTopic = "OFFSET_MOVED_EVENT",
                                  kTimerTopic = "rmq_sys_wheel_timer",
                                  kSystemTopicPrefix = "rmq_sys_", kRetryPrefix = "%RETRY%",
                                  kDlqPrefix = "%DLQ%", kLmqPrefix = "%LMQ%",
                                  kSystemGroupPrefix = "CID_RMQ_SYS_",
                                  kTransactionGroup = "CID_RMQ_SYS_TRANS",
                                  kOrderTopicNamespace = "ORDER_TOPIC_CONFIG",
                                  kToolsGroup = "TOOLS_CONSUMER";

inline constexpr std::size_t kTopicLengthMax = 127, kRetryTopicLengthMax = 255,
                             kGroupLengthMax = 120;

inline bool is_retry_topic(std::string_view topic) {
  return topic.starts_with(kRetryPrefix);
}
inline bool is_dlq_topic(std::string_view topic) {
  return topic.starts_with(kDlqPrefix);
}
inline std::string retry_topic(std::string_view group) {
  return std::string{kRetryPrefix} + std::string{group};
}
inline std::string dlq_topic(std::string_view group) {
  return std::string{kDlqPrefix} + std::string{group};
}
inline std::string reply_topic(std::string_view cluster) {
  return std::string{cluster} + "_REPLY_TOPIC";
}
inline std::string revive_topic(std::string_view cluster) {
  return "rmq_sys_REVIVE_LOG_" + std::string{cluster};
}
inline std::string sync_member_topic(std::string_view broker) {
  return "rmq_sys_SYNC_BROKER_MEMBER_" + std::string{broker};
}

/// Characters %|a-zA-Z0-9_-, 1..127 characters (retry and dead-letter topics 255). The detail is
/// Java's remark.
Result<Ok> check_topic(std::string_view topic);
Result<Ok> check_group(std::string_view group);
/// Built in everywhere, or named like one; a broker adds its own (cluster, broker name, reply
/// topic).
bool is_system_topic(std::string_view topic);
bool is_system_group(std::string_view group);
/// Topics no client may send to.
bool is_forbidden_to_send(std::string_view topic);

/// "a:b" key of tables: topic@group.
inline std::string topic_at_group(std::string_view topic, std::string_view group) {
  std::string key;
  key.reserve(topic.size() + 1 + group.size());
  return key.append(topic).append("@").append(group);
}

}  // namespace apogee::protocol
