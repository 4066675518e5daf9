#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "protocol/bodies.h"

/// Bodies of QUERY_ASSIGNMENT and SET_MESSAGE_REQUEST_MODE, and config/messageRequestMode.json.
/// Modes are kept as text: PULL or POP.
namespace apogee::protocol {

struct QueryAssignmentBody {
  std::string client_id, consumer_group;
  MessageModel message_model = MessageModel::kClustering;
  std::string strategy_name, topic;
  using Self = QueryAssignmentBody;
  static constexpr auto kFields =
      MemberList{Field{"clientId", &Self::client_id}, Field{"consumerGroup", &Self::consumer_group},
                 Field{"messageModel", &Self::message_model},
                 Field{"strategyName", &Self::strategy_name}, Field{"topic", &Self::topic}};
};
struct QueueAssignment {
  MessageQueue message_queue;
  std::string mode;
  using Self = QueueAssignment;
  static constexpr auto kFields =
      MemberList{Field{"messageQueue", &Self::message_queue}, Field{"mode", &Self::mode}};
};
struct QueryAssignmentAnswer {
  std::optional<std::vector<QueueAssignment>> assignments;  ///< Absent: keep what you have.
  using Self = QueryAssignmentAnswer;
  static constexpr auto kFields = MemberList{Field{"messageQueueAssignments", &Self::assignments}};
};
struct MessageRequestModeBody {
  std::string consumer_group, mode = "PULL";
  std::int32_t pop_share_queues = 0;
  std::string topic;
  using Self = MessageRequestModeBody;
  static constexpr auto kFields =
      MemberList{Field{"consumerGroup", &Self::consumer_group}, Field{"mode", &Self::mode},
                 Field{"popShareQueueNum", &Self::pop_share_queues}, Field{"topic", &Self::topic}};
};
struct MessageRequestModeTable {
  std::map<std::string, std::map<std::string, MessageRequestModeBody>> modes;  ///< Topic, group.
  using Self = MessageRequestModeTable;
  static constexpr auto kFields = MemberList{Field{"messageRequestModeMap", &Self::modes}};
};

}  // namespace apogee::protocol
