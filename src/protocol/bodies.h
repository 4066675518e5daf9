#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "protocol/json.h"
#include "protocol/names.h"

/// JSON bodies of requests and answers, and the tables of config/*.json, which have the same
/// shapes. Fields stand in alphabetical order of their wire names: the order fastjson writes them
/// in.
namespace apogee::protocol {

struct MessageQueue {
  std::string broker_name;
  std::int32_t queue_id = 0;
  std::string topic;
  auto operator<=>(const MessageQueue&) const = default;
  using Self = MessageQueue;
  static constexpr auto kFields =
      MemberList{Field{"brokerName", &Self::broker_name}, Field{"queueId", &Self::queue_id},
                 Field{"topic", &Self::topic}};
};

struct DataVersion {
  std::int64_t counter = 0, state_version = 0, timestamp = 0;
  bool operator==(const DataVersion&) const = default;
  void next(std::int64_t now_ms) {
    timestamp = now_ms;
    ++counter;
  }
  using Self = DataVersion;
  static constexpr auto kFields =
      MemberList{Field{"counter", &Self::counter}, Field{"stateVersion", &Self::state_version},
                 Field{"timestamp", &Self::timestamp}};
};

// ---- Routes ------------------------------------------------------------------------------------

struct QueueData {
  std::string broker_name;
  std::int32_t perm = 6, read_queue_nums = 0, topic_sys_flag = 0, write_queue_nums = 0;
  bool operator==(const QueueData&) const = default;
  using Self = QueueData;
  static constexpr auto kFields = MemberList{
      Field{"brokerName", &Self::broker_name}, Field{"perm", &Self::perm},
      Field{"readQueueNums", &Self::read_queue_nums}, Field{"topicSysFlag", &Self::topic_sys_flag},
      Field{"writeQueueNums", &Self::write_queue_nums}};
};
struct BrokerData {
  std::map<std::int64_t, std::string> broker_addresses;  ///< id -> host:port; 0 is the master.
  std::string broker_name, cluster;
  bool enable_acting_master = false;
  std::optional<std::string> zone_name;
  bool operator==(const BrokerData&) const = default;
  using Self = BrokerData;
  static constexpr auto kFields = MemberList{
      Field{"brokerAddrs", &Self::broker_addresses}, Field{"brokerName", &Self::broker_name},
      Field{"cluster", &Self::cluster}, Field{"enableActingMaster", &Self::enable_acting_master},
      Field{"zoneName", &Self::zone_name}};
};
/// Of a static topic, as one broker says it: which of the topic's queues it keeps.
struct TopicQueueMappingInfo {
  std::string broker_name;
  std::map<std::int32_t, std::int32_t> own_ids;  ///< The topic's queue id -> the broker's.
  std::int64_t epoch = 0;  ///< Of two brokers with the same queue the higher one has it now.
  std::string scope = "__global__";  ///< Of its name: each has its own queues.
  std::int32_t total_queues = 0;     ///< Of the topic, wherever they are.
  using Self = TopicQueueMappingInfo;
  static constexpr auto kFields =
      MemberList{Field{"bname", &Self::broker_name}, Field{"currIdMap", &Self::own_ids},
                 Field{"epoch", &Self::epoch}, Field{"scope", &Self::scope},
                 Field{"totalQueues", &Self::total_queues}};
};
struct TopicRouteData {
  std::vector<BrokerData> broker_datas;
  std::map<std::string, std::vector<std::string>> filter_server_table;
  std::optional<std::string> order_topic_conf;
  std::vector<QueueData> queue_datas;
  std::optional<Json> topic_queue_mapping_by_broker;
  using Self = TopicRouteData;
  static constexpr auto kFields = MemberList{
      Field{"brokerDatas", &Self::broker_datas},
      Field{"filterServerTable", &Self::filter_server_table},
      Field{"orderTopicConf", &Self::order_topic_conf}, Field{"queueDatas", &Self::queue_datas},
      Field{"topicQueueMappingByBroker", &Self::topic_queue_mapping_by_broker}};
};
struct ClusterInfo {
  std::map<std::string, BrokerData> broker_address_table;
  std::map<std::string, std::set<std::string>> cluster_address_table;
  using Self = ClusterInfo;
  static constexpr auto kFields =
      MemberList{Field{"brokerAddrTable", &Self::broker_address_table},
                 Field{"clusterAddrTable", &Self::cluster_address_table}};
};
struct BrokerMemberGroup {
  std::map<std::int64_t, std::string> broker_addresses;
  std::string broker_name, cluster;
  using Self = BrokerMemberGroup;
  static constexpr auto kFields =
      MemberList{Field{"brokerAddrs", &Self::broker_addresses},
                 Field{"brokerName", &Self::broker_name}, Field{"cluster", &Self::cluster}};
};
struct BrokerMemberGroupBody {
  BrokerMemberGroup group;
  using Self = BrokerMemberGroupBody;
  static constexpr auto kFields = MemberList{Field{"brokerMemberGroup", &Self::group}};
};

// ---- Topics and groups -------------------------------------------------------------------------

struct TopicConfig {
  std::map<std::string, std::string> attributes;
  bool order = false;
  std::int32_t perm = 6, read_queue_nums = 16;
  std::string topic_filter_type = "SINGLE_TAG", topic_name;
  std::int32_t topic_sys_flag = 0, write_queue_nums = 16;
  bool operator==(const TopicConfig&) const = default;
  using Self = TopicConfig;
  static constexpr auto kFields = MemberList{Field{"attributes", &Self::attributes},
                                             Field{"order", &Self::order},
                                             Field{"perm", &Self::perm},
                                             Field{"readQueueNums", &Self::read_queue_nums},
                                             Field{"topicFilterType", &Self::topic_filter_type},
                                             Field{"topicName", &Self::topic_name},
                                             Field{"topicSysFlag", &Self::topic_sys_flag},
                                             Field{"writeQueueNums", &Self::write_queue_nums}};
};
/// topics.json, GET_ALL_TOPIC_CONFIG, and half of a registration. The mapping members are static
/// topics', passed through.
struct TopicConfigTable {
  DataVersion data_version;
  std::optional<DataVersion> mapping_data_version;
  std::map<std::string, TopicConfig> topic_config_table;
  std::optional<Json> topic_queue_mapping_detail_map, topic_queue_mapping_info_map;
  using Self = TopicConfigTable;
  static constexpr auto kFields =
      MemberList{Field{"dataVersion", &Self::data_version},
                 Field{"mappingDataVersion", &Self::mapping_data_version},
                 Field{"topicConfigTable", &Self::topic_config_table},
                 Field{"topicQueueMappingDetailMap", &Self::topic_queue_mapping_detail_map},
                 Field{"topicQueueMappingInfoMap", &Self::topic_queue_mapping_info_map}};
};
struct TopicConfigList {
  std::vector<TopicConfig> topic_config_list;
  using Self = TopicConfigList;
  static constexpr auto kFields = MemberList{Field{"topicConfigList", &Self::topic_config_list}};
};
struct RegisterBrokerBody {
  std::vector<std::string> filter_server_list;
  TopicConfigTable topics;
  using Self = RegisterBrokerBody;
  static constexpr auto kFields = MemberList{Field{"filterServerList", &Self::filter_server_list},
                                             Field{"topicConfigSerializeWrapper", &Self::topics}};
};
/// One zlib stream of length-prefixed parts (compressed=true). `version`: the requester's, which
/// decides about the mapping part.
Result<RegisterBrokerBody> decode_compressed_registration(Bytes body, std::int32_t version);

struct CustomizedRetryPolicy {
  std::vector<std::int64_t> next;
  bool operator==(const CustomizedRetryPolicy&) const = default;
  using Self = CustomizedRetryPolicy;
  static constexpr auto kFields = MemberList{Field{"next", &Self::next}};
};
struct ExponentialRetryPolicy {
  std::int64_t initial = 5'000, max = 7'200'000, multiplier = 2;
  bool operator==(const ExponentialRetryPolicy&) const = default;
  using Self = ExponentialRetryPolicy;
  static constexpr auto kFields =
      MemberList{Field{"initial", &Self::initial}, Field{"max", &Self::max},
                 Field{"multiplier", &Self::multiplier}};
};
struct GroupRetryPolicy {
  std::optional<CustomizedRetryPolicy> customized;
  std::optional<ExponentialRetryPolicy> exponential;
  std::string type = "CUSTOMIZED";
  bool operator==(const GroupRetryPolicy&) const = default;
  using Self = GroupRetryPolicy;
  static constexpr auto kFields =
      MemberList{Field{"customizedRetryPolicy", &Self::customized},
                 Field{"exponentialRetryPolicy", &Self::exponential}, Field{"type", &Self::type}};
};
struct SubscriptionGroupConfig {
  std::map<std::string, std::string> attributes;
  std::int64_t broker_id = 0;
  bool consume_broadcast_enable = true, consume_enable = true, consume_from_min_enable = true,
       consume_message_orderly = false;
  std::int32_t consume_timeout_minute = 15;
  std::string group_name;
  GroupRetryPolicy group_retry_policy;
  std::int32_t group_sys_flag = 0;
  bool notify_consumer_ids_changed_enable = true;
  std::int32_t retry_max_times = 16, retry_queue_nums = 1;
  std::optional<Json> subscription_data_set;
  std::int64_t which_broker_when_consume_slowly = 1;
  using Self = SubscriptionGroupConfig;
  static constexpr auto kFields =
      MemberList{Field{"attributes", &Self::attributes},
                 Field{"brokerId", &Self::broker_id},
                 Field{"consumeBroadcastEnable", &Self::consume_broadcast_enable},
                 Field{"consumeEnable", &Self::consume_enable},
                 Field{"consumeFromMinEnable", &Self::consume_from_min_enable},
                 Field{"consumeMessageOrderly", &Self::consume_message_orderly},
                 Field{"consumeTimeoutMinute", &Self::consume_timeout_minute},
                 Field{"groupName", &Self::group_name},
                 Field{"groupRetryPolicy", &Self::group_retry_policy},
                 Field{"groupSysFlag", &Self::group_sys_flag},
                 Field{"notifyConsumerIdsChangedEnable", &Self::notify_consumer_ids_changed_enable},
                 Field{"retryMaxTimes", &Self::retry_max_times},
                 Field{"retryQueueNums", &Self::retry_queue_nums},
                 Field{"subscriptionDataSet", &Self::subscription_data_set},
                 Field{"whichBrokerWhenConsumeSlowly", &Self::which_broker_when_consume_slowly}};
};
struct SubscriptionGroupTable {
  DataVersion data_version;
  std::map<std::string, std::map<std::string, std::int32_t>> forbidden_table;
  std::map<std::string, SubscriptionGroupConfig> subscription_group_table;
  using Self = SubscriptionGroupTable;
  static constexpr auto kFields = MemberList{
      Field{"dataVersion", &Self::data_version}, Field{"forbiddenTable", &Self::forbidden_table},
      Field{"subscriptionGroupTable", &Self::subscription_group_table}};
};
struct SubscriptionGroupList {
  std::vector<SubscriptionGroupConfig> group_config_list;
  using Self = SubscriptionGroupList;
  static constexpr auto kFields = MemberList{Field{"groupConfigList", &Self::group_config_list}};
};
struct GroupForbidden {
  std::string group;
  bool readable = true;
  std::string topic;
  using Self = GroupForbidden;
  static constexpr auto kFields =
      MemberList{Field{"group", &Self::group}, Field{"readable", &Self::readable},
                 Field{"topic", &Self::topic}};
};

// ---- Heartbeats --------------------------------------------------------------------------------

enum class ConsumeType { kActively = 0, kPassively = 1, kPop = 2 };
enum class MessageModel { kBroadcasting = 0, kClustering = 1 };
enum class ConsumeFromWhere {
  kLastOffset = 0,
  kLastOffsetAndFromMinWhenBootFirst = 1,
  kMinOffset = 2,
  kMaxOffset = 3,
  kFirstOffset = 4,
  kTimestamp = 5
};
template <>
struct JsonNames<ConsumeType> {
  static constexpr std::array<std::pair<std::string_view, ConsumeType>, 3> kNames{
      {{"CONSUME_ACTIVELY", ConsumeType::kActively},
       {"CONSUME_PASSIVELY", ConsumeType::kPassively},
       {"CONSUME_POP", ConsumeType::kPop}}};
};
template <>
struct JsonNames<MessageModel> {
  static constexpr std::array<std::pair<std::string_view, MessageModel>, 2> kNames{
      {{"BROADCASTING", MessageModel::kBroadcasting}, {"CLUSTERING", MessageModel::kClustering}}};
};
template <>
struct JsonNames<ConsumeFromWhere> {
  static constexpr std::array<std::pair<std::string_view, ConsumeFromWhere>, 6> kNames{
      {{"CONSUME_FROM_LAST_OFFSET", ConsumeFromWhere::kLastOffset},
       {"CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        ConsumeFromWhere::kLastOffsetAndFromMinWhenBootFirst},
       {"CONSUME_FROM_MIN_OFFSET", ConsumeFromWhere::kMinOffset},
       {"CONSUME_FROM_MAX_OFFSET", ConsumeFromWhere::kMaxOffset},
       {"CONSUME_FROM_FIRST_OFFSET", ConsumeFromWhere::kFirstOffset},
       {"CONSUME_FROM_TIMESTAMP", ConsumeFromWhere::kTimestamp}}};
};

struct SubscriptionData {
  bool class_filter_mode = false;
  std::set<std::int32_t> code_set;
  std::string expression_type = "TAG", sub_string;
  std::int64_t sub_version = 0;
  std::set<std::string> tags_set;
  std::string topic;
  bool operator==(const SubscriptionData&) const = default;
  using Self = SubscriptionData;
  static constexpr auto kFields = MemberList{Field{"classFilterMode", &Self::class_filter_mode},
                                             Field{"codeSet", &Self::code_set},
                                             Field{"expressionType", &Self::expression_type},
                                             Field{"subString", &Self::sub_string},
                                             Field{"subVersion", &Self::sub_version},
                                             Field{"tagsSet", &Self::tags_set},
                                             Field{"topic", &Self::topic}};
};
/// FilterAPI.build: `*` or empty takes all; "A || B" becomes the tags and their hash codes.
/// kInvalidArgument: nothing between the bars.
Result<SubscriptionData> subscription_from(std::string_view topic, std::string_view expression,
                                           std::string_view type, std::int64_t version);

/// consumerFilter.json: topic -> group -> its subscription by expression (ConsumerFilterManager).
struct BloomPattern {
  std::int32_t bit_num = 0;
  std::vector<std::int32_t> bit_pos;
  bool operator==(const BloomPattern&) const = default;
  using Self = BloomPattern;
  static constexpr auto kFields =
      MemberList{Field{"bitNum", &Self::bit_num}, Field{"bitPos", &Self::bit_pos}};
};
struct ConsumerFilterData {
  BloomPattern bloom_filter_data;
  std::int64_t born_time = 0, client_version = 0;
  std::string consumer_group;
  std::int64_t dead_time = 0;
  std::string expression, expression_type, topic;
  bool operator==(const ConsumerFilterData&) const = default;
  using Self = ConsumerFilterData;
  static constexpr auto kFields = MemberList{Field{"bloomFilterData", &Self::bloom_filter_data},
                                             Field{"bornTime", &Self::born_time},
                                             Field{"clientVersion", &Self::client_version},
                                             Field{"consumerGroup", &Self::consumer_group},
                                             Field{"deadTime", &Self::dead_time},
                                             Field{"expression", &Self::expression},
                                             Field{"expressionType", &Self::expression_type},
                                             Field{"topic", &Self::topic}};
};
struct ConsumerFiltersOfTopic {
  std::map<std::string, ConsumerFilterData> group_filter_data;
  std::string topic;
  using Self = ConsumerFiltersOfTopic;
  static constexpr auto kFields =
      MemberList{Field{"groupFilterData", &Self::group_filter_data}, Field{"topic", &Self::topic}};
};
struct ConsumerFilterTable {
  std::map<std::string, ConsumerFiltersOfTopic> filter_data_by_topic;
  using Self = ConsumerFilterTable;
  static constexpr auto kFields =
      MemberList{Field{"filterDataByTopic", &Self::filter_data_by_topic}};
};

struct ProducerData {
  std::string group_name;
  using Self = ProducerData;
  static constexpr auto kFields = MemberList{Field{"groupName", &Self::group_name}};
};
struct ConsumerData {
  ConsumeFromWhere consume_from_where = ConsumeFromWhere::kLastOffset;
  ConsumeType consume_type = ConsumeType::kPassively;
  std::string group_name;
  MessageModel message_model = MessageModel::kClustering;
  std::vector<SubscriptionData> subscription_data_set;
  bool unit_mode = false;
  using Self = ConsumerData;
  static constexpr auto kFields =
      MemberList{Field{"consumeFromWhere", &Self::consume_from_where},
                 Field{"consumeType", &Self::consume_type},
                 Field{"groupName", &Self::group_name},
                 Field{"messageModel", &Self::message_model},
                 Field{"subscriptionDataSet", &Self::subscription_data_set},
                 Field{"unitMode", &Self::unit_mode}};
};
struct HeartbeatData {
  std::string client_id;
  std::vector<ConsumerData> consumer_data_set;
  std::int32_t heartbeat_fingerprint = 0;
  std::vector<ProducerData> producer_data_set;
  bool without_sub = false;
  using Self = HeartbeatData;
  static constexpr auto kFields = MemberList{
      Field{"clientID", &Self::client_id}, Field{"consumerDataSet", &Self::consumer_data_set},
      Field{"heartbeatFingerprint", &Self::heartbeat_fingerprint},
      Field{"producerDataSet", &Self::producer_data_set}, Field{"withoutSub", &Self::without_sub}};
};
/// What a broker wants of the answer to request 307, Java's ConsumerRunningInfo.
struct ConsumerSubscriptions {
  std::vector<SubscriptionData> subscription_set;
  using Self = ConsumerSubscriptions;
  static constexpr auto kFields = MemberList{Field{"subscriptionSet", &Self::subscription_set}};
};
/// Of a queue that is popped from, in the same answer.
struct PopProcessQueueInfo {
  bool dropped = false;
  std::int64_t last_pop_timestamp = 0;
  std::int64_t wait_ack_count = 0;
  using Self = PopProcessQueueInfo;
  static constexpr auto kFields =
      MemberList{Field{"droped", &Self::dropped},  // so spelled on the wire
                 Field{"lastPopTimestamp", &Self::last_pop_timestamp},
                 Field{"waitAckCount", &Self::wait_ack_count}};
};
struct CheckClientBody {
  std::string client_id, group;
  SubscriptionData subscription_data;
  using Self = CheckClientBody;
  static constexpr auto kFields =
      MemberList{Field{"clientId", &Self::client_id}, Field{"group", &Self::group},
                 Field{"subscriptionData", &Self::subscription_data}};
};

// ---- Lists, locks, offsets ---------------------------------------------------------------------

struct TopicList {
  std::optional<std::string> broker_address;
  std::set<std::string> topic_list;
  using Self = TopicList;
  static constexpr auto kFields =
      MemberList{Field{"brokerAddr", &Self::broker_address}, Field{"topicList", &Self::topic_list}};
};
struct GroupList {
  std::set<std::string> group_list;
  using Self = GroupList;
  static constexpr auto kFields = MemberList{Field{"groupList", &Self::group_list}};
};
struct ConsumerIdList {
  std::vector<std::string> consumer_id_list;
  using Self = ConsumerIdList;
  static constexpr auto kFields = MemberList{Field{"consumerIdList", &Self::consumer_id_list}};
};
struct KvTable {
  std::map<std::string, std::string> table;
  using Self = KvTable;
  static constexpr auto kFields = MemberList{Field{"table", &Self::table}};
};
struct KvConfigTable {
  std::map<std::string, std::map<std::string, std::string>> config_table;
  using Self = KvConfigTable;
  static constexpr auto kFields = MemberList{Field{"configTable", &Self::config_table}};
};
struct LockBatchBody {
  std::string client_id, consumer_group;
  std::set<MessageQueue> mq_set;
  bool only_this_broker = false;
  using Self = LockBatchBody;
  static constexpr auto kFields =
      MemberList{Field{"clientId", &Self::client_id}, Field{"consumerGroup", &Self::consumer_group},
                 Field{"mqSet", &Self::mq_set}, Field{"onlyThisBroker", &Self::only_this_broker}};
};
struct LockBatchAnswer {
  std::set<MessageQueue> lock_ok_mq_set;
  using Self = LockBatchAnswer;
  static constexpr auto kFields = MemberList{Field{"lockOKMQSet", &Self::lock_ok_mq_set}};
};
/// consumerOffset.json and GET_ALL_CONSUMER_OFFSET: topic@group -> queue -> next offset.
struct ConsumerOffsetTable {
  DataVersion data_version;
  std::map<std::string, std::map<std::int32_t, std::int64_t>> offset_table;
  using Self = ConsumerOffsetTable;
  static constexpr auto kFields = MemberList{Field{"dataVersion", &Self::data_version},
                                             Field{"offsetTable", &Self::offset_table}};
};
/// lmqConsumerOffset.json: groups of LMQs have one offset a topic.
struct LmqConsumerOffsetTable {
  DataVersion data_version;
  std::map<std::string, std::int64_t> lmq_offset_table;
  std::map<std::string, std::map<std::int32_t, std::int64_t>> offset_table;
  using Self = LmqConsumerOffsetTable;
  static constexpr auto kFields = MemberList{Field{"dataVersion", &Self::data_version},
                                             Field{"lmqOffsetTable", &Self::lmq_offset_table},
                                             Field{"offsetTable", &Self::offset_table}};
};
/// delayOffset.json and GET_ALL_DELAY_OFFSET: level -> next queue offset.
struct DelayOffsetTable {
  DataVersion data_version;
  std::map<std::int32_t, std::int64_t> offset_table;
  using Self = DelayOffsetTable;
  static constexpr auto kFields = MemberList{Field{"dataVersion", &Self::data_version},
                                             Field{"offsetTable", &Self::offset_table}};
};
/// config/timermetrics and GET_TIMER_METRICS: how many timer messages of each topic wait.
struct TimingCount {
  std::int64_t count = 0, timestamp = 0;
  using Self = TimingCount;
  static constexpr auto kFields =
      MemberList{Field{"count", &Self::count}, Field{"timeStamp", &Self::timestamp}};
};
struct TimerMetrics {
  DataVersion data_version;
  std::map<std::string, TimingCount> timing_count;
  using Self = TimerMetrics;
  static constexpr auto kFields = MemberList{Field{"dataVersion", &Self::data_version},
                                             Field{"timingCount", &Self::timing_count}};
};
struct ResetOffsetBody {
  std::map<MessageQueue, std::int64_t> offset_table;
  using Self = ResetOffsetBody;
  static constexpr auto kFields = MemberList{Field{"offsetTable", &Self::offset_table}};
};
/// The list form that the old C++ client reads.
struct ResetOffsetEntry {
  std::string broker_name;
  std::int64_t offset = 0;
  std::int32_t queue_id = 0;
  std::string topic;
  using Self = ResetOffsetEntry;
  static constexpr auto kFields =
      MemberList{Field{"brokerName", &Self::broker_name}, Field{"offset", &Self::offset},
                 Field{"queueId", &Self::queue_id}, Field{"topic", &Self::topic}};
};
struct ResetOffsetList {
  std::vector<ResetOffsetEntry> offset_table;
  using Self = ResetOffsetList;
  static constexpr auto kFields = MemberList{Field{"offsetTable", &Self::offset_table}};
};
struct ConsumerStatusBody {
  std::map<std::string, std::map<MessageQueue, std::int64_t>> consumer_table;
  std::map<MessageQueue, std::int64_t> message_queue_table;
  using Self = ConsumerStatusBody;
  static constexpr auto kFields =
      MemberList{Field{"consumerTable", &Self::consumer_table},
                 Field{"messageQueueTable", &Self::message_queue_table}};
};
struct CorrectionOffsetBody {
  std::map<std::int32_t, std::int64_t> correction_offsets;
  using Self = CorrectionOffsetBody;
  static constexpr auto kFields = MemberList{Field{"correctionOffsets", &Self::correction_offsets}};
};

// ---- Statistics and connections ----------------------------------------------------------------

struct OffsetWrapper {
  std::int64_t broker_offset = 0, consumer_offset = 0, last_timestamp = 0, pull_offset = 0;
  using Self = OffsetWrapper;
  static constexpr auto kFields = MemberList{
      Field{"brokerOffset", &Self::broker_offset}, Field{"consumerOffset", &Self::consumer_offset},
      Field{"lastTimestamp", &Self::last_timestamp}, Field{"pullOffset", &Self::pull_offset}};
};
struct ConsumeStats {
  double consume_tps = 0;
  std::map<MessageQueue, OffsetWrapper> offset_table;
  using Self = ConsumeStats;
  static constexpr auto kFields = MemberList{Field{"consumeTps", &Self::consume_tps},
                                             Field{"offsetTable", &Self::offset_table}};
};
struct ConsumeStatsList {
  std::string broker_address;
  std::vector<std::map<std::string, std::vector<ConsumeStats>>> consume_stats_list;
  std::int64_t total_diff = 0, total_inflight_diff = 0;
  using Self = ConsumeStatsList;
  static constexpr auto kFields = MemberList{
      Field{"brokerAddr", &Self::broker_address},
      Field{"consumeStatsList", &Self::consume_stats_list}, Field{"totalDiff", &Self::total_diff},
      Field{"totalInflightDiff", &Self::total_inflight_diff}};
};
struct TopicOffset {
  std::int64_t last_update_timestamp = 0, max_offset = 0, min_offset = 0;
  using Self = TopicOffset;
  static constexpr auto kFields =
      MemberList{Field{"lastUpdateTimestamp", &Self::last_update_timestamp},
                 Field{"maxOffset", &Self::max_offset}, Field{"minOffset", &Self::min_offset}};
};
struct TopicStatsTable {
  std::map<MessageQueue, TopicOffset> offset_table;
  double topic_put_tps = 0;
  using Self = TopicStatsTable;
  static constexpr auto kFields = MemberList{Field{"offsetTable", &Self::offset_table},
                                             Field{"topicPutTps", &Self::topic_put_tps}};
};
struct ConnectionInfo {
  std::string client_address, client_id, language;
  std::int32_t version = 0;
  auto operator<=>(const ConnectionInfo&) const = default;
  using Self = ConnectionInfo;
  static constexpr auto kFields =
      MemberList{Field{"clientAddr", &Self::client_address}, Field{"clientId", &Self::client_id},
                 Field{"language", &Self::language}, Field{"version", &Self::version}};
};
struct ConsumerConnection {
  std::set<ConnectionInfo> connection_set;
  ConsumeFromWhere consume_from_where = ConsumeFromWhere::kLastOffset;
  ConsumeType consume_type = ConsumeType::kPassively;
  MessageModel message_model = MessageModel::kClustering;
  std::map<std::string, SubscriptionData> subscription_table;
  using Self = ConsumerConnection;
  static constexpr auto kFields = MemberList{Field{"connectionSet", &Self::connection_set},
                                             Field{"consumeFromWhere", &Self::consume_from_where},
                                             Field{"consumeType", &Self::consume_type},
                                             Field{"messageModel", &Self::message_model},
                                             Field{"subscriptionTable", &Self::subscription_table}};
};
struct ProducerConnection {
  std::set<ConnectionInfo> connection_set;
  using Self = ProducerConnection;
  static constexpr auto kFields = MemberList{Field{"connectionSet", &Self::connection_set}};
};
struct ProducerInfo {
  std::string client_id, language;
  std::int64_t last_update_timestamp = 0;
  std::string remote_ip;
  std::int32_t version = 0;
  using Self = ProducerInfo;
  static constexpr auto kFields =
      MemberList{Field{"clientId", &Self::client_id}, Field{"language", &Self::language},
                 Field{"lastUpdateTimestamp", &Self::last_update_timestamp},
                 Field{"remoteIP", &Self::remote_ip}, Field{"version", &Self::version}};
};
struct ProducerTable {
  std::map<std::string, std::vector<ProducerInfo>> data;
  using Self = ProducerTable;
  static constexpr auto kFields = MemberList{Field{"data", &Self::data}};
};
struct QueueTimeSpan {
  std::int64_t consume_timestamp = 0, delay_time = 0, max_timestamp = 0;
  MessageQueue message_queue;
  std::int64_t min_timestamp = 0;
  using Self = QueueTimeSpan;
  static constexpr auto kFields = MemberList{
      Field{"consumeTimeStamp", &Self::consume_timestamp}, Field{"delayTime", &Self::delay_time},
      Field{"maxTimeStamp", &Self::max_timestamp}, Field{"messageQueue", &Self::message_queue},
      Field{"minTimeStamp", &Self::min_timestamp}};
};
struct ConsumeTimeSpanBody {
  std::vector<QueueTimeSpan> consume_time_span_set;
  using Self = ConsumeTimeSpanBody;
  static constexpr auto kFields =
      MemberList{Field{"consumeTimeSpanSet", &Self::consume_time_span_set}};
};
struct StatsWindow {
  double average_per_time = 0;
  std::int64_t sum = 0;
  double tps = 0;
  using Self = StatsWindow;
  static constexpr auto kFields = MemberList{Field{"avgpt", &Self::average_per_time},
                                             Field{"sum", &Self::sum}, Field{"tps", &Self::tps}};
};
struct BrokerStatsData {
  StatsWindow day, hour, minute;
  using Self = BrokerStatsData;
  static constexpr auto kFields =
      MemberList{Field{"statsDay", &Self::day}, Field{"statsHour", &Self::hour},
                 Field{"statsMinute", &Self::minute}};
};
struct ConsumeQueueEntryBody {
  std::optional<std::string> bit_map;
  bool eval = false;
  std::optional<std::string> extend_data_json, message;
  std::int64_t physical_offset = 0;
  std::int32_t physical_size = 0;
  std::int64_t tags_code = 0;
  using Self = ConsumeQueueEntryBody;
  static constexpr auto kFields = MemberList{Field{"bitMap", &Self::bit_map},
                                             Field{"eval", &Self::eval},
                                             Field{"extendDataJson", &Self::extend_data_json},
                                             Field{"msg", &Self::message},
                                             Field{"physicOffset", &Self::physical_offset},
                                             Field{"physicSize", &Self::physical_size},
                                             Field{"tagsCode", &Self::tags_code}};
};
struct QueryConsumeQueueBody {
  std::optional<std::string> filter_data;
  std::int64_t max_queue_index = 0, min_queue_index = 0;
  std::vector<ConsumeQueueEntryBody> queue_data;
  std::optional<SubscriptionData> subscription_data;
  using Self = QueryConsumeQueueBody;
  static constexpr auto kFields = MemberList{
      Field{"filterData", &Self::filter_data}, Field{"maxQueueIndex", &Self::max_queue_index},
      Field{"minQueueIndex", &Self::min_queue_index}, Field{"queueData", &Self::queue_data},
      Field{"subscriptionData", &Self::subscription_data}};
};
struct QuerySubscriptionBody {
  std::string group;
  std::optional<SubscriptionData> subscription_data;
  std::optional<std::string> topic;
  using Self = QuerySubscriptionBody;
  static constexpr auto kFields =
      MemberList{Field{"group", &Self::group}, Field{"subscriptionData", &Self::subscription_data},
                 Field{"topic", &Self::topic}};
};
struct HaRuntimeInfo {
  std::vector<Json> ha_connection_info;
  std::int32_t in_sync_slave_nums = 0;
  bool master = true;
  std::int64_t master_commit_log_max_offset = 0;
  using Self = HaRuntimeInfo;
  static constexpr auto kFields = MemberList{
      Field{"haConnectionInfo", &Self::ha_connection_info},
      Field{"inSyncSlaveNums", &Self::in_sync_slave_nums}, Field{"master", &Self::master},
      Field{"masterCommitLogMaxOffset", &Self::master_commit_log_max_offset}};
};
/// What one group has read from disk in this period (AccAndTimeStamp).
struct ColdReadsOfGroup {
  std::int64_t bytes = 0, created_ms = 0, last_ms = 0;
  using Self = ColdReadsOfGroup;
  static constexpr auto kFields =
      MemberList{Field{"coldAcc", &Self::bytes}, Field{"createTimeMills", &Self::created_ms},
                 Field{"lastColdReadTimeMills", &Self::last_ms}};
};
/// GET_COLD_DATA_FLOW_CTR_INFO: whose cold reads are throttled.
struct ColdDataFlow {
  std::map<std::string, ColdReadsOfGroup> runtime_table;
  std::map<std::string, std::int64_t> config_table;
  std::int64_t group_threshold = 0, global_threshold = 0, global_accumulated = 0;
  using Self = ColdDataFlow;
  static constexpr auto kFields = MemberList{
      Field{"runtimeTable", &Self::runtime_table}, Field{"configTable", &Self::config_table},
      Field{"cgColdReadThreshold", &Self::group_threshold},
      Field{"globalColdReadThreshold", &Self::global_threshold},
      Field{"globalAcc", &Self::global_accumulated}};
};

}  // namespace apogee::protocol
