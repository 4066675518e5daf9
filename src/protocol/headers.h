#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "protocol/codes.h"
#include "protocol/field.h"

/// Every request and response header, declared once; wire names are the contract, odd spellings
/// included. Optional on the wire means optional here: Go and the old C++ client leave out fields
/// Java calls not-null.
namespace apogee::protocol {

using OptText = std::optional<std::string>;
using OptInt = std::optional<std::int32_t>;
using OptLong = std::optional<std::int64_t>;
using OptBool = std::optional<bool>;

// ---- Sending -----------------------------------------------------------------------------------

/// SEND_MESSAGE (V1 names) and SEND_MESSAGE_V2, SEND_BATCH_MESSAGE (one letter each): one struct,
/// two tables. Views alias the request.
struct SendMessageRequest {
  std::string_view producer_group, topic, default_topic;
  std::int32_t default_topic_queue_nums = 4;
  std::int32_t queue_id = 0;
  std::int32_t sys_flag = 0;
  std::int64_t born_timestamp = 0;
  std::int32_t flag = 0;
  std::optional<std::string_view> properties;
  OptInt reconsume_times;
  OptBool unit_mode;
  OptInt max_reconsume_times;
  OptBool batch;
};
struct SendMessageV1 : SendMessageRequest {
  using Self = SendMessageRequest;
  static constexpr auto kFields =
      MemberList{Field{"producerGroup", &Self::producer_group},
                 Field{"topic", &Self::topic},
                 Field{"defaultTopic", &Self::default_topic},
                 Field{"defaultTopicQueueNums", &Self::default_topic_queue_nums},
                 Field{"queueId", &Self::queue_id},
                 Field{"sysFlag", &Self::sys_flag},
                 Field{"bornTimestamp", &Self::born_timestamp},
                 Field{"flag", &Self::flag},
                 Field{"properties", &Self::properties},
                 Field{"reconsumeTimes", &Self::reconsume_times},
                 Field{"unitMode", &Self::unit_mode},
                 Field{"maxReconsumeTimes", &Self::max_reconsume_times},
                 Field{"batch", &Self::batch}};
};
struct SendMessageV2 : SendMessageRequest {
  using Self = SendMessageRequest;
  static constexpr auto kFields =
      MemberList{Field{"a", &Self::producer_group}, Field{"b", &Self::topic},
                 Field{"c", &Self::default_topic},  Field{"d", &Self::default_topic_queue_nums},
                 Field{"e", &Self::queue_id},       Field{"f", &Self::sys_flag},
                 Field{"g", &Self::born_timestamp}, Field{"h", &Self::flag},
                 Field{"i", &Self::properties},     Field{"j", &Self::reconsume_times},
                 Field{"k", &Self::unit_mode},      Field{"l", &Self::max_reconsume_times},
                 Field{"m", &Self::batch}};
};
struct SendMessageResponse {
  std::string_view message_id;
  std::int32_t queue_id = 0;
  std::int64_t queue_offset = 0;
  std::optional<std::string_view> transaction_id, batch_unique_id, recall_handle;
  std::optional<std::string_view> region, trace_on;  ///< Always there, of RocketMQ's brokers.
  using Self = SendMessageResponse;
  static constexpr auto kFields = MemberList{Field{"MSG_REGION", &Self::region},
                                             Field{"TRACE_ON", &Self::trace_on},
                                             Field{"msgId", &Self::message_id},
                                             Field{"queueId", &Self::queue_id},
                                             Field{"queueOffset", &Self::queue_offset},
                                             Field{"transactionId", &Self::transaction_id},
                                             Field{"batchUniqId", &Self::batch_unique_id},
                                             Field{"recallHandle", &Self::recall_handle}};
};
/// What every refused send carries: Java clients read extFields of any send reply.
struct SendMessageRefusal {
  std::string_view region, trace_on;
  using Self = SendMessageRefusal;
  static constexpr auto kFields =
      MemberList{Field{"MSG_REGION", &Self::region}, Field{"TRACE_ON", &Self::trace_on}};
};
struct ConsumerSendMessageBackRequest {
  static constexpr std::int32_t kCode = request_code::kConsumerSendMessageBack;
  std::int64_t offset = 0;
  std::string group;
  std::int32_t delay_level = 0;
  OptText origin_message_id, origin_topic;
  OptBool unit_mode;
  OptInt max_reconsume_times;
  using Self = ConsumerSendMessageBackRequest;
  static constexpr auto kFields =
      MemberList{Field{"offset", &Self::offset},
                 Field{"group", &Self::group},
                 Field{"delayLevel", &Self::delay_level},
                 Field{"originMsgId", &Self::origin_message_id},
                 Field{"originTopic", &Self::origin_topic},
                 Field{"unitMode", &Self::unit_mode},
                 Field{"maxReconsumeTimes", &Self::max_reconsume_times}};
};
struct EndTransactionRequest {
  static constexpr std::int32_t kCode = request_code::kEndTransaction;
  OptText topic;
  std::string producer_group;
  std::int64_t tran_state_table_offset = 0, commit_log_offset = 0;
  std::int32_t commit_or_rollback = 0;
  OptBool from_transaction_check;
  OptText message_id, transaction_id;
  using Self = EndTransactionRequest;
  static constexpr auto kFields =
      MemberList{Field{"topic", &Self::topic},
                 Field{"producerGroup", &Self::producer_group},
                 Field{"tranStateTableOffset", &Self::tran_state_table_offset},
                 Field{"commitLogOffset", &Self::commit_log_offset},
                 Field{"commitOrRollback", &Self::commit_or_rollback},
                 Field{"fromTransactionCheck", &Self::from_transaction_check},
                 Field{"msgId", &Self::message_id},
                 Field{"transactionId", &Self::transaction_id}};
};
/// Answered with the message's id (msgId).
struct RecallMessageRequest {
  static constexpr std::int32_t kCode = request_code::kRecallMessage;
  OptText producer_group;
  std::string topic, recall_handle;
  using Self = RecallMessageRequest;
  static constexpr auto kFields =
      MemberList{Field{"producerGroup", &Self::producer_group}, Field{"topic", &Self::topic},
                 Field{"recallHandle", &Self::recall_handle}};
};
struct RecallMessageResponse {
  std::string region, message_id;
  using Self = RecallMessageResponse;
  static constexpr auto kFields =
      MemberList{Field{"MSG_REGION", &Self::region}, Field{"msgId", &Self::message_id}};
};
/// A reply on its way to the client that asked.
struct PushReplyMessageRequest {
  static constexpr std::int32_t kCode = request_code::kPushReplyMessageToClient;
  std::string producer_group, topic, default_topic;
  std::int32_t default_topic_queue_nums = 0, queue_id = 0, sys_flag = 0;
  std::int64_t born_timestamp = 0;
  std::int32_t flag = 0;
  OptText properties;
  OptInt reconsume_times;
  OptBool unit_mode;
  std::string born_host, store_host;
  std::int64_t store_timestamp = 0;
  using Self = PushReplyMessageRequest;
  static constexpr auto kFields =
      MemberList{Field{"producerGroup", &Self::producer_group},
                 Field{"topic", &Self::topic},
                 Field{"defaultTopic", &Self::default_topic},
                 Field{"defaultTopicQueueNums", &Self::default_topic_queue_nums},
                 Field{"queueId", &Self::queue_id},
                 Field{"sysFlag", &Self::sys_flag},
                 Field{"bornTimestamp", &Self::born_timestamp},
                 Field{"flag", &Self::flag},
                 Field{"properties", &Self::properties},
                 Field{"reconsumeTimes", &Self::reconsume_times},
                 Field{"unitMode", &Self::unit_mode},
                 Field{"bornHost", &Self::born_host},
                 Field{"storeHost", &Self::store_host},
                 Field{"storeTimestamp", &Self::store_timestamp}};
};
struct CheckTransactionStateRequest {
  static constexpr std::int32_t kCode = request_code::kCheckTransactionState;
  OptText topic;
  std::int64_t tran_state_table_offset = 0, commit_log_offset = 0;
  OptText message_id, transaction_id, offset_message_id, broker_name;
  using Self = CheckTransactionStateRequest;
  static constexpr auto kFields =
      MemberList{Field{"topic", &Self::topic},
                 Field{"tranStateTableOffset", &Self::tran_state_table_offset},
                 Field{"commitLogOffset", &Self::commit_log_offset},
                 Field{"msgId", &Self::message_id},
                 Field{"transactionId", &Self::transaction_id},
                 Field{"offsetMsgId", &Self::offset_message_id},
                 Field{"bname", &Self::broker_name}};
};
/// A message of TRANS_CHECK_MAX_TIME_TOPIC, by its offset message id, is to be a half again.
struct ResumeCheckHalfMessageRequest {
  static constexpr std::int32_t kCode = request_code::kResumeCheckHalfMessage;
  OptText topic;
  std::string message_id;
  using Self = ResumeCheckHalfMessageRequest;
  static constexpr auto kFields =
      MemberList{Field{"topic", &Self::topic}, Field{"msgId", &Self::message_id}};
};

// ---- Pulling -----------------------------------------------------------------------------------

struct PullMessageRequest {
  std::string_view consumer_group, topic;
  std::int32_t queue_id = 0;
  std::int64_t queue_offset = 0;
  std::int32_t max_messages = 32;
  std::int32_t sys_flag = 0;
  OptLong commit_offset, suspend_timeout_ms;
  std::optional<std::string_view> subscription;
  OptLong sub_version;
  std::optional<std::string_view> expression_type;
  OptInt max_message_bytes, request_source;
  std::optional<std::string_view> proxy_forward_client_id;
  using Self = PullMessageRequest;
  static constexpr auto kFields =
      MemberList{Field{"consumerGroup", &Self::consumer_group},
                 Field{"topic", &Self::topic},
                 Field{"queueId", &Self::queue_id},
                 Field{"queueOffset", &Self::queue_offset},
                 Field{"maxMsgNums", &Self::max_messages},
                 Field{"sysFlag", &Self::sys_flag},
                 Field{"commitOffset", &Self::commit_offset},
                 Field{"suspendTimeoutMillis", &Self::suspend_timeout_ms},
                 Field{"subscription", &Self::subscription},
                 Field{"subVersion", &Self::sub_version},
                 Field{"expressionType", &Self::expression_type},
                 Field{"maxMsgBytes", &Self::max_message_bytes},
                 Field{"requestSource", &Self::request_source},
                 Field{"proxyFrowardClientId", &Self::proxy_forward_client_id}};
};
struct PullMessageResponse {
  std::int64_t suggest_which_broker_id = 0, next_begin_offset = 0, min_offset = 0, max_offset = 0;
  OptLong offset_delta;
  OptInt topic_sys_flag, group_sys_flag, forbidden_type;
  using Self = PullMessageResponse;
  static constexpr auto kFields =
      MemberList{Field{"suggestWhichBrokerId", &Self::suggest_which_broker_id},
                 Field{"nextBeginOffset", &Self::next_begin_offset},
                 Field{"minOffset", &Self::min_offset},
                 Field{"maxOffset", &Self::max_offset},
                 Field{"offsetDelta", &Self::offset_delta},
                 Field{"topicSysFlag", &Self::topic_sys_flag},
                 Field{"groupSysFlag", &Self::group_sys_flag},
                 Field{"forbiddenType", &Self::forbidden_type}};
};

// ---- Offsets and queries -----------------------------------------------------------------------

struct QueryConsumerOffsetRequest {
  static constexpr std::int32_t kCode = request_code::kQueryConsumerOffset;
  std::string consumer_group, topic;
  std::int32_t queue_id = 0;
  OptBool set_zero_if_not_found;  ///< Absent means true.
  using Self = QueryConsumerOffsetRequest;
  static constexpr auto kFields = MemberList{
      Field{"consumerGroup", &Self::consumer_group}, Field{"topic", &Self::topic},
      Field{"queueId", &Self::queue_id}, Field{"setZeroIfNotFound", &Self::set_zero_if_not_found}};
};
struct OffsetResponse {
  std::int64_t offset = 0;
  using Self = OffsetResponse;
  static constexpr auto kFields = MemberList{Field{"offset", &Self::offset}};
};
struct TimestampResponse {
  std::int64_t timestamp = 0;
  using Self = TimestampResponse;
  static constexpr auto kFields = MemberList{Field{"timestamp", &Self::timestamp}};
};
struct UpdateConsumerOffsetRequest {
  static constexpr std::int32_t kCode = request_code::kUpdateConsumerOffset;
  std::string consumer_group, topic;
  OptInt queue_id;
  OptLong commit_offset;
  using Self = UpdateConsumerOffsetRequest;
  static constexpr auto kFields =
      MemberList{Field{"consumerGroup", &Self::consumer_group}, Field{"topic", &Self::topic},
                 Field{"queueId", &Self::queue_id}, Field{"commitOffset", &Self::commit_offset}};
};
struct SearchOffsetRequest {
  static constexpr std::int32_t kCode = request_code::kSearchOffsetByTimestamp;
  std::string topic;
  std::int32_t queue_id = 0;
  std::int64_t timestamp = 0;
  OptText boundary_type;
  using Self = SearchOffsetRequest;
  static constexpr auto kFields =
      MemberList{Field{"topic", &Self::topic}, Field{"queueId", &Self::queue_id},
                 Field{"timestamp", &Self::timestamp}, Field{"boundaryType", &Self::boundary_type}};
};
/// GET_MAX_OFFSET, GET_MIN_OFFSET, GET_EARLIEST_MSG_STORETIME.
struct QueueRequest {
  std::string topic;
  std::int32_t queue_id = 0;
  using Self = QueueRequest;
  static constexpr auto kFields =
      MemberList{Field{"topic", &Self::topic}, Field{"queueId", &Self::queue_id}};
};
struct ViewMessageRequest {
  static constexpr std::int32_t kCode = request_code::kViewMessageById;
  std::int64_t offset = 0;
  OptText topic;
  using Self = ViewMessageRequest;
  static constexpr auto kFields =
      MemberList{Field{"offset", &Self::offset}, Field{"topic", &Self::topic}};
};
struct QueryMessageRequest {
  static constexpr std::int32_t kCode = request_code::kQueryMessage;
  std::string topic, key;
  std::int32_t max_num = 32;
  std::int64_t begin_timestamp = 0, end_timestamp = 0;
  OptText unique_key_query;
  OptText index_type;  ///< "T": by tag. Anything else: by key.
  using Self = QueryMessageRequest;
  static constexpr auto kFields = MemberList{Field{"topic", &Self::topic},
                                             Field{"key", &Self::key},
                                             Field{"maxNum", &Self::max_num},
                                             Field{"beginTimestamp", &Self::begin_timestamp},
                                             Field{"endTimestamp", &Self::end_timestamp},
                                             Field{"_UNIQUE_KEY_QUERY", &Self::unique_key_query},
                                             Field{"indexType", &Self::index_type}};
};
struct QueryMessageResponse {
  std::int64_t index_last_update_timestamp = 0, index_last_update_physical_offset = 0;
  using Self = QueryMessageResponse;
  static constexpr auto kFields =
      MemberList{Field{"indexLastUpdateTimestamp", &Self::index_last_update_timestamp},
                 Field{"indexLastUpdatePhyoffset", &Self::index_last_update_physical_offset}};
};
/// Is the commit log read ahead? madvise()'s numbers.
struct ReadAheadRequest {
  static constexpr std::int32_t kCode = request_code::kSetCommitLogReadMode;
  std::int32_t mode = 0;
  using Self = ReadAheadRequest;
  static constexpr auto kFields = MemberList{Field{"READ_AHEAD_MODE", &Self::mode}};
};
struct QueryConsumeQueueRequest {
  static constexpr std::int32_t kCode = request_code::kQueryConsumeQueue;
  std::string topic;
  std::int32_t queue_id = 0;
  std::int64_t index = 0;
  std::int32_t count = 0;
  OptText consumer_group;
  using Self = QueryConsumeQueueRequest;
  static constexpr auto kFields = MemberList{
      Field{"topic", &Self::topic}, Field{"queueId", &Self::queue_id}, Field{"index", &Self::index},
      Field{"count", &Self::count}, Field{"consumerGroup", &Self::consumer_group}};
};

// ---- Clients -----------------------------------------------------------------------------------

struct HeartbeatResponse {
  OptBool supports_v2, subscription_changed;
  using Self = HeartbeatResponse;
  static constexpr auto kFields = MemberList{Field{"IS_SUPPORT_HEART_BEAT_V2", &Self::supports_v2},
                                             Field{"IS_SUB_CHANGE", &Self::subscription_changed}};
};
struct UnregisterClientRequest {
  static constexpr std::int32_t kCode = request_code::kUnregisterClient;
  std::string client_id;
  OptText producer_group, consumer_group;
  using Self = UnregisterClientRequest;
  static constexpr auto kFields =
      MemberList{Field{"clientID", &Self::client_id}, Field{"producerGroup", &Self::producer_group},
                 Field{"consumerGroup", &Self::consumer_group}};
};
/// GET_CONSUMER_LIST_BY_GROUP, NOTIFY_CONSUMER_IDS_CHANGED, GET_CONSUMER_CONNECTION_LIST.
struct ConsumerGroupRequest {
  std::string consumer_group;
  using Self = ConsumerGroupRequest;
  static constexpr auto kFields = MemberList{Field{"consumerGroup", &Self::consumer_group}};
};
struct ProducerGroupRequest {
  static constexpr std::int32_t kCode = request_code::kGetProducerConnectionList;
  std::string producer_group;
  using Self = ProducerGroupRequest;
  static constexpr auto kFields = MemberList{Field{"producerGroup", &Self::producer_group}};
};
struct ConsumerRunningInfoRequest {
  static constexpr std::int32_t kCode = request_code::kGetConsumerRunningInfo;
  std::string consumer_group, client_id;
  OptBool jstack_enable;
  using Self = ConsumerRunningInfoRequest;
  static constexpr auto kFields =
      MemberList{Field{"consumerGroup", &Self::consumer_group}, Field{"clientId", &Self::client_id},
                 Field{"jstackEnable", &Self::jstack_enable}};
};
struct ConsumeMessageDirectlyRequest {
  static constexpr std::int32_t kCode = request_code::kConsumeMessageDirectly;
  std::string consumer_group;
  OptText client_id, message_id, broker_name, topic;
  OptInt topic_sys_flag, group_sys_flag;
  using Self = ConsumeMessageDirectlyRequest;
  static constexpr auto kFields = MemberList{Field{"consumerGroup", &Self::consumer_group},
                                             Field{"clientId", &Self::client_id},
                                             Field{"msgId", &Self::message_id},
                                             Field{"brokerName", &Self::broker_name},
                                             Field{"topic", &Self::topic},
                                             Field{"topicSysFlag", &Self::topic_sys_flag},
                                             Field{"groupSysFlag", &Self::group_sys_flag}};
};
/// INVOKE_BROKER_TO_RESET_OFFSET and RESET_CONSUMER_CLIENT_OFFSET.
struct ResetOffsetRequest {
  static constexpr std::int32_t kCode = request_code::kInvokeBrokerToResetOffset;
  std::string topic, group;
  OptInt queue_id;
  OptLong offset;
  std::int64_t timestamp = -1;
  bool is_force = false;
  using Self = ResetOffsetRequest;
  static constexpr auto kFields =
      MemberList{Field{"topic", &Self::topic},         Field{"group", &Self::group},
                 Field{"queueId", &Self::queue_id},    Field{"offset", &Self::offset},
                 Field{"timestamp", &Self::timestamp}, Field{"isForce", &Self::is_force}};
};
struct ConsumerStatusRequest {
  static constexpr std::int32_t kCode = request_code::kInvokeBrokerToGetConsumerStatus;
  std::string topic, group;
  OptText client_address;
  using Self = ConsumerStatusRequest;
  static constexpr auto kFields =
      MemberList{Field{"topic", &Self::topic}, Field{"group", &Self::group},
                 Field{"clientAddr", &Self::client_address}};
};

// ---- Administration of a broker ----------------------------------------------------------------

struct CreateTopicRequest {
  static constexpr std::int32_t kCode = request_code::kUpdateAndCreateTopic;
  std::string topic;
  OptText default_topic;
  std::int32_t read_queue_nums = 0, write_queue_nums = 0, perm = 6;
  OptText topic_filter_type;
  OptInt topic_sys_flag;
  OptBool order;
  OptText attributes;
  OptBool force;
  using Self = CreateTopicRequest;
  static constexpr auto kFields = MemberList{Field{"topic", &Self::topic},
                                             Field{"defaultTopic", &Self::default_topic},
                                             Field{"readQueueNums", &Self::read_queue_nums},
                                             Field{"writeQueueNums", &Self::write_queue_nums},
                                             Field{"perm", &Self::perm},
                                             Field{"topicFilterType", &Self::topic_filter_type},
                                             Field{"topicSysFlag", &Self::topic_sys_flag},
                                             Field{"order", &Self::order},
                                             Field{"attributes", &Self::attributes},
                                             Field{"force", &Self::force}};
};
/// DELETE_TOPIC_IN_BROKER, GET_TOPIC_CONFIG, GET_TOPIC_STATS_INFO, QUERY_TOPIC_CONSUME_BY_WHO,
/// REGISTER_TOPIC_IN_NAMESRV, ...
struct TopicRequest {
  std::string topic;
  using Self = TopicRequest;
  static constexpr auto kFields = MemberList{Field{"topic", &Self::topic}};
};
struct GroupRequest {
  std::string group;
  using Self = GroupRequest;
  static constexpr auto kFields = MemberList{Field{"group", &Self::group}};
};
/// GET_ALL_TOPIC_CONFIG; all absent: everything in one answer.
struct AllTopicConfigRequest {
  static constexpr std::int32_t kCode = request_code::kGetAllTopicConfig;
  OptInt topic_seq;
  OptText data_version;
  OptInt max_topic_num;
  using Self = AllTopicConfigRequest;
  static constexpr auto kFields =
      MemberList{Field{"topicSeq", &Self::topic_seq}, Field{"dataVersion", &Self::data_version},
                 Field{"maxTopicNum", &Self::max_topic_num}};
};
struct AllTopicConfigResponse {
  OptInt total_topic_num;
  using Self = AllTopicConfigResponse;
  static constexpr auto kFields = MemberList{Field{"totalTopicNum", &Self::total_topic_num}};
};
struct AllGroupConfigRequest {
  static constexpr std::int32_t kCode = request_code::kGetAllSubscriptionGroupConfig;
  OptInt group_seq;
  OptText data_version;
  OptInt max_group_num;
  using Self = AllGroupConfigRequest;
  static constexpr auto kFields =
      MemberList{Field{"groupSeq", &Self::group_seq}, Field{"dataVersion", &Self::data_version},
                 Field{"maxGroupNum", &Self::max_group_num}};
};
struct AllGroupConfigResponse {
  OptInt total_group_num;
  using Self = AllGroupConfigResponse;
  static constexpr auto kFields = MemberList{Field{"totalGroupNum", &Self::total_group_num}};
};
struct DeleteGroupRequest {
  static constexpr std::int32_t kCode = request_code::kDeleteSubscriptionGroup;
  std::string group_name;
  OptBool clean_offset;
  using Self = DeleteGroupRequest;
  static constexpr auto kFields =
      MemberList{Field{"groupName", &Self::group_name}, Field{"cleanOffset", &Self::clean_offset}};
};
struct GroupForbiddenRequest {
  static constexpr std::int32_t kCode = request_code::kUpdateAndGetGroupForbidden;
  std::string group, topic;
  OptBool readable;
  using Self = GroupForbiddenRequest;
  static constexpr auto kFields =
      MemberList{Field{"group", &Self::group}, Field{"topic", &Self::topic},
                 Field{"readable", &Self::readable}};
};
struct BrokerConfigResponse {
  std::string version;
  using Self = BrokerConfigResponse;
  static constexpr auto kFields = MemberList{Field{"version", &Self::version}};
};
struct ConsumeStatsRequest {
  static constexpr std::int32_t kCode = request_code::kGetConsumeStats;
  std::string consumer_group;
  OptText topic, topic_list;
  using Self = ConsumeStatsRequest;
  static constexpr auto kFields =
      MemberList{Field{"consumerGroup", &Self::consumer_group}, Field{"topic", &Self::topic},
                 Field{"topicList", &Self::topic_list}};
};
struct BrokerConsumeStatsRequest {
  static constexpr std::int32_t kCode = request_code::kGetBrokerConsumeStats;
  bool is_order = false;
  using Self = BrokerConsumeStatsRequest;
  static constexpr auto kFields = MemberList{Field{"isOrder", &Self::is_order}};
};
struct GroupTopicRequest {
  std::string group;
  OptText topic;
  using Self = GroupTopicRequest;
  static constexpr auto kFields =
      MemberList{Field{"group", &Self::group}, Field{"topic", &Self::topic}};
};
struct CorrectionOffsetRequest {
  static constexpr std::int32_t kCode = request_code::kQueryCorrectionOffset;
  OptText filter_groups;
  std::string compare_group, topic;
  using Self = CorrectionOffsetRequest;
  static constexpr auto kFields =
      MemberList{Field{"filterGroups", &Self::filter_groups},
                 Field{"compareGroup", &Self::compare_group}, Field{"topic", &Self::topic}};
};
struct CloneGroupOffsetRequest {
  static constexpr std::int32_t kCode = request_code::kCloneGroupOffset;
  std::string source_group, destination_group;
  OptText topic;
  OptBool offline;
  using Self = CloneGroupOffsetRequest;
  static constexpr auto kFields = MemberList{
      Field{"srcGroup", &Self::source_group}, Field{"destGroup", &Self::destination_group},
      Field{"topic", &Self::topic}, Field{"offline", &Self::offline}};
};
struct ViewStatsRequest {
  static constexpr std::int32_t kCode = request_code::kViewBrokerStatsData;
  std::string stats_name, stats_key;
  using Self = ViewStatsRequest;
  static constexpr auto kFields =
      MemberList{Field{"statsName", &Self::stats_name}, Field{"statsKey", &Self::stats_key}};
};

// ---- Name server -------------------------------------------------------------------------------

struct RegisterBrokerRequest {
  static constexpr std::int32_t kCode = request_code::kRegisterBroker;
  std::string broker_name, broker_address, cluster_name;
  OptText ha_server_address;
  std::int64_t broker_id = 0;
  OptLong heartbeat_timeout_ms;
  OptBool enable_acting_master, compressed;
  OptInt body_crc32;
  OptText zone_name;
  using Self = RegisterBrokerRequest;
  static constexpr auto kFields =
      MemberList{Field{"brokerName", &Self::broker_name},
                 Field{"brokerAddr", &Self::broker_address},
                 Field{"clusterName", &Self::cluster_name},
                 Field{"haServerAddr", &Self::ha_server_address},
                 Field{"brokerId", &Self::broker_id},
                 Field{"heartbeatTimeoutMillis", &Self::heartbeat_timeout_ms},
                 Field{"enableActingMaster", &Self::enable_acting_master},
                 Field{"compressed", &Self::compressed},
                 Field{"bodyCrc32", &Self::body_crc32},
                 Field{"__ZONE_NAME", &Self::zone_name}};
};
struct RegisterBrokerResponse {
  OptText ha_server_address, master_address;
  using Self = RegisterBrokerResponse;
  static constexpr auto kFields = MemberList{Field{"haServerAddr", &Self::ha_server_address},
                                             Field{"masterAddr", &Self::master_address}};
};
/// UNREGISTER_BROKER and QUERY_DATA_VERSION.
struct BrokerIdentityRequest {
  std::string broker_name, broker_address, cluster_name;
  std::int64_t broker_id = 0;
  using Self = BrokerIdentityRequest;
  static constexpr auto kFields = MemberList{
      Field{"brokerName", &Self::broker_name}, Field{"brokerAddr", &Self::broker_address},
      Field{"clusterName", &Self::cluster_name}, Field{"brokerId", &Self::broker_id}};
};
struct QueryDataVersionResponse {
  bool changed = false;
  using Self = QueryDataVersionResponse;
  static constexpr auto kFields = MemberList{Field{"changed", &Self::changed}};
};
struct BrokerHeartbeatRequest {
  static constexpr std::int32_t kCode = request_code::kBrokerHeartbeat;
  std::string cluster_name, broker_address, broker_name;
  OptLong broker_id;
  using Self = BrokerHeartbeatRequest;
  static constexpr auto kFields = MemberList{
      Field{"clusterName", &Self::cluster_name}, Field{"brokerAddr", &Self::broker_address},
      Field{"brokerName", &Self::broker_name}, Field{"brokerId", &Self::broker_id}};
};
struct MemberGroupRequest {
  static constexpr std::int32_t kCode = request_code::kGetBrokerMemberGroup;
  std::string cluster_name, broker_name;
  using Self = MemberGroupRequest;
  static constexpr auto kFields = MemberList{Field{"clusterName", &Self::cluster_name},
                                             Field{"brokerName", &Self::broker_name}};
};
struct NotifyMinBrokerIdChangeRequest {
  static constexpr std::int32_t kCode = request_code::kNotifyMinBrokerIdChange;
  OptLong min_broker_id;
  OptText broker_name, min_broker_address, offline_broker_address, ha_broker_address;
  using Self = NotifyMinBrokerIdChangeRequest;
  static constexpr auto kFields = MemberList{
      Field{"minBrokerId", &Self::min_broker_id}, Field{"brokerName", &Self::broker_name},
      Field{"minBrokerAddr", &Self::min_broker_address},
      Field{"offlineBrokerAddr", &Self::offline_broker_address},
      Field{"haBrokerAddr", &Self::ha_broker_address}};
};
struct RouteRequest {
  static constexpr std::int32_t kCode = request_code::kGetRouteInfoByTopic;
  std::string topic;
  OptBool accept_standard_json_only;
  OptText zone_mode, zone_name;
  using Self = RouteRequest;
  static constexpr auto kFields =
      MemberList{Field{"topic", &Self::topic},
                 Field{"acceptStandardJsonOnly", &Self::accept_standard_json_only},
                 Field{"__ZONE_MODE", &Self::zone_mode}, Field{"__ZONE_NAME", &Self::zone_name}};
};
struct KvRequest {
  std::string config_namespace, key;
  OptText value;
  using Self = KvRequest;
  static constexpr auto kFields =
      MemberList{Field{"namespace", &Self::config_namespace}, Field{"key", &Self::key},
                 Field{"value", &Self::value}};
};
struct KvValueResponse {
  OptText value;
  using Self = KvValueResponse;
  static constexpr auto kFields = MemberList{Field{"value", &Self::value}};
};
struct NamespaceRequest {
  static constexpr std::int32_t kCode = request_code::kGetKvListByNamespace;
  std::string config_namespace;
  using Self = NamespaceRequest;
  static constexpr auto kFields = MemberList{Field{"namespace", &Self::config_namespace}};
};
struct BrokerNameRequest {
  std::string broker_name;
  using Self = BrokerNameRequest;
  static constexpr auto kFields = MemberList{Field{"brokerName", &Self::broker_name}};
};
struct WipeWritePermResponse {
  std::int32_t wipe_topic_count = 0;
  using Self = WipeWritePermResponse;
  static constexpr auto kFields = MemberList{Field{"wipeTopicCount", &Self::wipe_topic_count}};
};
struct AddWritePermResponse {
  std::int32_t add_topic_count = 0;
  using Self = AddWritePermResponse;
  static constexpr auto kFields = MemberList{Field{"addTopicCount", &Self::add_topic_count}};
};
struct DeleteTopicInNameServerRequest {
  static constexpr std::int32_t kCode = request_code::kDeleteTopicInNameServer;
  std::string topic;
  OptText cluster_name;
  using Self = DeleteTopicInNameServerRequest;
  static constexpr auto kFields =
      MemberList{Field{"topic", &Self::topic}, Field{"clusterName", &Self::cluster_name}};
};
struct ClusterRequest {
  static constexpr std::int32_t kCode = request_code::kGetTopicsByCluster;
  std::string cluster;
  using Self = ClusterRequest;
  static constexpr auto kFields = MemberList{Field{"cluster", &Self::cluster}};
};

}  // namespace apogee::protocol
