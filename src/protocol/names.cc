#include "protocol/names.h"

#include <algorithm>
#include <array>

namespace apogee::protocol {
namespace {

constexpr auto kLegal = [] {
  std::array<bool, 256> legal{};
  for (const std::string_view each :
       {"abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", "%|_-"})
    for (const char c : each) legal[static_cast<unsigned char>(c)] = true;
  return legal;
}();
bool has_illegal_character(std::string_view name) {
  return !std::ranges::all_of(name, [](char c) { return kLegal[static_cast<unsigned char>(c)]; });
}
bool is_blank(std::string_view name) {
  return name.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

template <std::size_t N>
bool contains(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

// The remarks below are those of Apache's TopicValidator.
Result<Ok> check_topic(std::string_view topic) {
  const auto refused = [](std::string why) {
    return Error{Errc::kInvalidArgument, std::move(why)};
  };
  if (topic.empty() || has_illegal_character(topic)) {
    if (is_blank(topic)) return refused("The specified topic is blank.");
    return refused("The specified topic: " + std::string{topic} +
                   ", contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$");
  }
  if (is_retry_topic(topic) || is_dlq_topic(topic)) {
    if (topic.size() > kRetryTopicLengthMax)
      return refused(
          "The specified topic is DLQ or Retry topic: " + std::string{topic} +
          ", and it's longer than topic max length:" + std::to_string(kRetryTopicLengthMax));
  } else if (topic.size() > kTopicLengthMax) {
    return refused("The specified topic: " + std::string{topic} +
                   ", is longer than topic max length:" + std::to_string(kTopicLengthMax));
  }
  return Ok{};
}

Result<Ok> check_group(std::string_view group) {
  const auto refused = [](std::string why) {
    return Error{Errc::kInvalidArgument, std::move(why)};
  };
  if (is_blank(group)) return refused("The specified group is blank.");
  if (has_illegal_character(group))
    return refused("The specified group: " + std::string{group} +
                   ", contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$");
  if (group.size() > kGroupLengthMax)
    return refused("The specified group: " + std::string{group} +
                   ", is longer than group max length:" + std::to_string(kGroupLengthMax));
  return Ok{};
}

bool is_system_topic(std::string_view topic) {
  static constexpr std::array kTopics{kDefaultTopic,       kScheduleTopic,
                                      kBenchmarkTopic,     kHalfTopic,
                                      kTraceTopic,         kOpHalfTopic,
                                      kTransCheckMaxTopic, kSelfTestTopic,
                                      kOffsetMovedTopic,   std::string_view{"CHECKPOINT_TOPIC"}};
  return contains(kTopics, topic) || topic.starts_with(kSystemTopicPrefix);
}

bool is_system_group(std::string_view group) {
  static constexpr std::array<std::string_view, 14> kGroups{
      "DEFAULT_CONSUMER",   "DEFAULT_PRODUCER",   "TOOLS_CONSUMER",        "SCHEDULE_CONSUMER",
      "FILTERSRV_CONSUMER", "__MONITOR_CONSUMER", "CLIENT_INNER_PRODUCER", "SELF_TEST_P_GROUP",
      "SELF_TEST_C_GROUP",  "CID_ONS-HTTP-PROXY", "CID_ONSAPI_PERMISSION", "CID_ONSAPI_OWNER",
      "CID_ONSAPI_PULL",    "CID_RMQ_SYS_TRANS"};
  return contains(kGroups, group) || group.starts_with(kSystemGroupPrefix);
}

bool is_forbidden_to_send(std::string_view topic) {
  static constexpr std::array kTopics{kScheduleTopic,      kHalfTopic,     kOpHalfTopic,
                                      kTransCheckMaxTopic, kSelfTestTopic, kOffsetMovedTopic};
  return contains(kTopics, topic);
}

}  // namespace apogee::protocol
