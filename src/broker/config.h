#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/live.h"
#include "base/options.h"

namespace apogee::broker {
/// How a client that leaves the division of queues to the broker is to consume.
enum class MessageRequestMode { kPull, kPop };
/// PROM: an HTTP endpoint for Prometheus.
enum class MetricsExporter { kDisable, kProm };
}  // namespace apogee::broker

namespace apogee {
template <>
struct OptionNames<broker::MessageRequestMode> {
  static constexpr std::array<std::pair<std::string_view, broker::MessageRequestMode>, 2> kNames{
      {{"PULL", broker::MessageRequestMode::kPull}, {"POP", broker::MessageRequestMode::kPop}}};
};
template <>
struct OptionNames<broker::MetricsExporter> {
  static constexpr std::array<std::pair<std::string_view, broker::MetricsExporter>, 2> kNames{
      {{"DISABLE", broker::MetricsExporter::kDisable}, {"PROM", broker::MetricsExporter::kProm}}};
};
}  // namespace apogee

namespace apogee::broker {

/// Keys of Apache's BrokerConfig; defaults are Apache's.
struct BrokerConfig {
  std::string broker_name;  ///< Empty: the host's name.
  std::string cluster_name = "DefaultCluster";
  std::int64_t broker_id = 0;
  std::string broker_ip1;  ///< Empty: an address of this host.
  std::string broker_ip2;
  std::string name_servers;
  std::int32_t permission = 6;
  std::int32_t default_topic_queue_nums = 8;
  bool auto_create_topic = true;
  bool cluster_topic = true;
  bool broker_topic = true;
  bool auto_create_group = true;
  bool create_system_group = true;
  bool trace_topic_enable = false;
  bool trace_on = true;
  std::string region_id = "DefaultRegion";
  std::int32_t flush_consumer_offset_interval_ms = 5'000;
  std::int64_t consumer_offset_version_step = 500;
  std::int64_t delay_offset_version_step = 200;
  bool reject_transaction_message = false;
  std::int64_t transaction_timeout_ms = 6'000;
  std::int32_t transaction_check_max = 15;
  std::int64_t transaction_check_interval_ms = 30'000;
  bool long_polling = true;
  std::int64_t short_polling_ms = 1'000;
  bool notify_consumer_ids_changed = true;
  std::int32_t register_timeout_ms = 24'000;
  std::int32_t register_period_ms = 30'000;
  bool slave_read = false;
  bool property_filter = false;
  bool filter_support_retry = false;
  bool reject_pull_consumer = false;
  bool lite_pull_message = true;
  bool server_side_reset_offset = true;
  bool validate_system_topic = true;
  std::int64_t start_accept_send_ms = 0;
  std::int32_t revive_queue_num = 8;
  std::int32_t revive_interval_ms = 1'000;
  std::int32_t pop_polling_size = 1'024;
  std::int64_t pop_polling_size_max = 100'000;
  bool filter_notifications = true;
  std::int32_t filter_notifications_below = 64;
  bool retry_topic_v2 = false;
  bool retry_topic_v1_too = true;
  std::int32_t pop_from_retry_percent = 20;
  bool pop_actual_retry_topic = false;
  bool pop_init_offset_by_memory = true;
  MessageRequestMode default_request_mode = MessageRequestMode::kPull;
  std::int32_t default_pop_share_queues = -1;
  bool server_load_balancer = true;
  bool store_reply_message = true;
  bool mixed_message_type = false;
  bool recall_message = false;
  bool recall_when_not_writable = true;
  std::int64_t shutdown_grace_ms = 5'000;
  std::int32_t bloom_error_percent = 20;
  std::int32_t bloom_consumers = 32;
  bool filter_bit_maps = false;
  bool cold_flow_control = false;
  std::int64_t cold_group_bytes = 3 << 20, cold_all_bytes = 100 << 20;
  std::int64_t filter_data_kept_ms = std::int64_t{24} * 3'600 * 1'000;
  MetricsExporter metrics_exporter = MetricsExporter::kProm;
  std::string metrics_host = "127.0.0.1";
  std::int32_t metrics_port = 5'557;
  std::string metrics_labels;
  std::int32_t metrics_series_max = 10'000;
  std::int32_t worker_threads = 4;

  using Self = BrokerConfig;
  static constexpr auto kOptions = MemberList{
      PlainOption{"brokerName", &Self::broker_name,
                  "Name a master and its slaves share; empty: the host's name."},
      PlainOption{"brokerClusterName", &Self::cluster_name, "Cluster the broker belongs to."},
      Option{"brokerId", &Self::broker_id, 0, std::int64_t{1} << 40,
             "Accepted; a master's is 0 whatever it says."},
      PlainOption{"brokerIP1", &Self::broker_ip1,
                  "Address clients are told to use; empty: an address of this host."},
      PlainOption{"brokerIP2", &Self::broker_ip2,
                  "Address slaves replicate from; empty: brokerIP1."},
      PlainOption{"namesrvAddr", &Self::name_servers,
                  "Name servers, host:port, separated by semicolons."},
      Option{"brokerPermission", &Self::permission, 0, 7,
             "4 read, 2 write; limits every topic's permission.", Change::kAtRunTime},
      Option{"defaultTopicQueueNums", &Self::default_topic_queue_nums, 1, 65'536,
             "Queues of the template topic TBW102, the most an automatic topic gets."},
      PlainOption{"autoCreateTopicEnable", &Self::auto_create_topic,
                  "Sending to an unknown topic creates it.", Change::kAtRunTime},
      PlainOption{"clusterTopicEnable", &Self::cluster_topic,
                  "The topic named like the cluster can be read and written."},
      PlainOption{"brokerTopicEnable", &Self::broker_topic,
                  "The topic named like the broker can be read and written."},
      PlainOption{"autoCreateSubscriptionGroup", &Self::auto_create_group,
                  "Using an unknown consumer group creates it.", Change::kAtRunTime},
      PlainOption{"enableCreateSysGroup", &Self::create_system_group,
                  "System groups are created even when autoCreateSubscriptionGroup is off.",
                  Change::kAtRunTime},
      PlainOption{"traceTopicEnable", &Self::trace_topic_enable,
                  "Create the message trace topic at start."},
      PlainOption{"traceOn", &Self::trace_on, "TRACE_ON property of messages and answers.",
                  Change::kAtRunTime},
      PlainOption{"regionId", &Self::region_id, "MSG_REGION property of messages and answers."},
      Option{"flushConsumerOffsetInterval", &Self::flush_consumer_offset_interval_ms, 100, 600'000,
             "Time between two writes of consumerOffset.json, in ms."},
      Option{"consumerOffsetUpdateVersionStep", &Self::consumer_offset_version_step, 1, 1'000'000,
             "Commits after which the offset table's data version advances."},
      Option{"delayOffsetUpdateVersionStep", &Self::delay_offset_version_step, 1, 1'000'000,
             "Deliveries after which the delay offset table's data version advances."},
      PlainOption{"rejectTransactionMessage", &Self::reject_transaction_message,
                  "Refuse transactional messages.", Change::kAtRunTime},
      Option{"transactionTimeOut", &Self::transaction_timeout_ms, 0, 86'400'000,
             "Age from which on a producer is asked about an open transaction, in ms, unless the "
             "message says CHECK_IMMUNITY_TIME_IN_SECONDS.",
             Change::kAtRunTime},
      Option{"transactionCheckMax", &Self::transaction_check_max, 1, 1'000'000,
             "Questions about one transaction before it is given up.", Change::kAtRunTime},
      Option{"transactionCheckInterval", &Self::transaction_check_interval_ms, 100, 86'400'000,
             "Time between two questions about the same transaction, in ms.", Change::kAtRunTime},
      PlainOption{"longPollingEnable", &Self::long_polling,
                  "Hold a pull that finds nothing for as long as it asks; false: for "
                  "shortPollingTimeMills.",
                  Change::kAtRunTime},
      Option{"shortPollingTimeMills", &Self::short_polling_ms, 1, 60'000,
             "Hold time without long polling, in ms.", Change::kAtRunTime},
      PlainOption{"notifyConsumerIdsChangedEnable", &Self::notify_consumer_ids_changed,
                  "Tell a group's members when one joins or leaves.", Change::kAtRunTime},
      Option{"registerBrokerTimeoutMills", &Self::register_timeout_ms, 1, 600'000,
             "Longest wait for a name server's answer to a registration, in ms."},
      Option{"registerNameServerPeriod", &Self::register_period_ms, 10'000, 60'000,
             "Time between two registrations, in ms."},
      PlainOption{"slaveReadEnable", &Self::slave_read,
                  "Suggest reading from a slave to consumers that are far behind.",
                  Change::kAtRunTime},
      PlainOption{"enablePropertyFilter", &Self::property_filter, "Serve SQL92 subscriptions.",
                  Change::kAtRunTime},
      PlainOption{"filterSupportRetry", &Self::filter_support_retry,
                  "Apply SQL92 subscriptions to retry topics as well.", Change::kAtRunTime},
      PlainOption{"rejectPullConsumerEnable", &Self::reject_pull_consumer,
                  "Refuse consumers that pull actively and do not send heartbeats.",
                  Change::kAtRunTime},
      PlainOption{"litePullMessageEnable", &Self::lite_pull_message, "Serve LITE_PULL_MESSAGE.",
                  Change::kAtRunTime},
      PlainOption{"useServerSideResetOffset", &Self::server_side_reset_offset,
                  "Reset offsets at the broker; false: by telling the consumers.",
                  Change::kAtRunTime},
      PlainOption{"validateSystemTopicWhenUpdateTopic", &Self::validate_system_topic,
                  "Refuse changes of system topics.", Change::kAtRunTime},
      Option{"startAcceptSendRequestTimeStamp", &Self::start_accept_send_ms, 0,
             std::int64_t{1} << 50, "Refuse messages before this Unix time in ms."},
      Option{"reviveQueueNum", &Self::revive_queue_num, 1, 1'024, "Queues of the revive topic."},
      Option{"reviveInterval", &Self::revive_interval_ms, 10, 60'000,
             "Time between two looks for popped messages whose invisible time is over, in ms."},
      Option{"popPollingSize", &Self::pop_polling_size, 0, 1'000'000,
             "Pops of one group that may wait for messages of one topic and queue.",
             Change::kAtRunTime},
      Option{"maxPopPollingSize", &Self::pop_polling_size_max, 0, 10'000'000,
             "Pops that may wait altogether.", Change::kAtRunTime},
      PlainOption{"useMessageFilterForNotification", &Self::filter_notifications,
                  "Is there something to pop? is answered for the subscription it names; false: "
                  "for any message.",
                  Change::kAtRunTime},
      Option{"maxMessageFilterNumForNotification", &Self::filter_notifications_below, 0, 4'096,
             "So many messages behind, a group is told that there is something to pop whatever "
             "their tags are.",
             Change::kAtRunTime},
      PlainOption{"enableRetryTopicV2", &Self::retry_topic_v2,
                  "Messages popped and not acked come again through %RETRY%group+topic; false: "
                  "through %RETRY%group_topic.",
                  Change::kAtRunTime},
      PlainOption{"retrieveMessageFromPopRetryTopicV1", &Self::retry_topic_v1_too,
                  "With enableRetryTopicV2: pops read the older retry topic as well.",
                  Change::kAtRunTime},
      Option{"popFromRetryProbability", &Self::pop_from_retry_percent, 0, 100,
             "Percentage of pops that look at the retry topic first.", Change::kAtRunTime},
      PlainOption{"popResponseReturnActualRetryTopic", &Self::pop_actual_retry_topic,
                  "Messages that come again keep the retry topic as their topic.",
                  Change::kAtRunTime},
      PlainOption{"initPopOffsetByCheckMsgInMem", &Self::pop_init_offset_by_memory,
                  "A new group that pops from the end begins at 0 while the queue is young.",
                  Change::kAtRunTime},
      PlainOption{"defaultMessageRequestMode", &Self::default_request_mode,
                  "PULL or POP: how groups consume for which no mode was set."},
      Option{"defaultPopShareQueueNum", &Self::default_pop_share_queues, -1, 65'536,
             "Clients a queue is shared with when groups pop by default; -1: all."},
      PlainOption{"serverLoadBalancerEnable", &Self::server_load_balancer,
                  "Divide queues among the clients that ask for an assignment; false: everybody "
                  "gets all.",
                  Change::kAtRunTime},
      PlainOption{"storeReplyMessageEnable", &Self::store_reply_message,
                  "Store replies of request-reply besides pushing them.", Change::kAtRunTime},
      PlainOption{"enableMixedMessageType", &Self::mixed_message_type,
                  "Allow topics of message type MIXED.", Change::kAtRunTime},
      PlainOption{"recallMessageEnable", &Self::recall_message,
                  "Producers may recall timer messages that are not delivered yet.",
                  Change::kAtRunTime},
      PlainOption{"allowRecallWhenBrokerNotWriteable", &Self::recall_when_not_writable,
                  "Recalls are taken although brokerPermission forbids writing.",
                  Change::kAtRunTime},
      Option{"shutdownWaitTimeMs", &Self::shutdown_grace_ms, 0, 600'000,
             "Longest wait for answers in flight when stopping, in ms."},
      Option{"maxErrorRateOfBloomFilter", &Self::bloom_error_percent, 1, 49,
             "With expectConsumerNumUseFilter: how long the bit patterns in consumerFilter.json "
             "are. A file of other values is dropped at start."},
      Option{"expectConsumerNumUseFilter", &Self::bloom_consumers, 1, 1'000'000,
             "Groups with SQL92 subscriptions expected; see maxErrorRateOfBloomFilter."},
      PlainOption{
          "enableCalcFilterBitMap", &Self::filter_bit_maps,
          "Evaluate the SQL92 filters of all groups when a message comes, and keep the bits "
          "of those that match in consumequeue_ext (enableConsumeQueueExt): pulls then "
          "leave records alone that do not match."},
      PlainOption{"coldDataFlowControlEnable", &Self::cold_flow_control,
                  "Slow groups down that read too much from disk: push consumers are answered "
                  "SYSTEM_BUSY, pull consumers wait some seconds and get one message.",
                  Change::kAtRunTime},
      Option{"cgColdReadThreshold", &Self::cold_group_bytes, 0, std::int64_t{1} << 50,
             "Bytes one group may read from disk in 5 s, unless it has a threshold of its own.",
             Change::kAtRunTime},
      Option{"globalColdReadThreshold", &Self::cold_all_bytes, 0, std::int64_t{1} << 50,
             "Bytes all groups together may read from disk in 5 s.", Change::kAtRunTime},
      Option{"filterDataCleanTimeSpan", &Self::filter_data_kept_ms, 0, std::int64_t{1} << 40,
             "How long the SQL92 subscription of a group that has left is kept in "
             "consumerFilter.json, in ms.",
             Change::kAtRunTime},
      PlainOption{"metricsExporterType", &Self::metrics_exporter,
                  "PROM: /metrics, /healthz and /readyz over HTTP; DISABLE: none of them."},
      PlainOption{"metricsPromExporterHost", &Self::metrics_host,
                  "Address the metrics are served at; nobody is asked for a name there. Empty: "
                  "brokerIP1."},
      Option{"metricsPromExporterPort", &Self::metrics_port, 0, 65'535,
             "Port the metrics are served at. Taken already: the broker runs without metrics, with "
             "a warning. 0: any free one, see the log."},
      PlainOption{"metricsLabel", &Self::metrics_labels,
                  "Labels every metric gets besides: name:value,name:value."},
      Option{"metricsOtelCardinalityLimit", &Self::metrics_series_max, 1, 1'000'000,
             "Series of one metric; topics, groups and queues beyond are added up in one called "
             "other.",
             Change::kAtRunTime},
      Option{"workerThreads", &Self::worker_threads, 1, 256,
             "Threads for what may block: administration, configuration files. As many again read "
             "what consumers want and is not in memory."}};
};

using LiveConfig = Live<BrokerConfig>;

}  // namespace apogee::broker
