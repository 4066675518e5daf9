#include "broker/config_file.h"

#include <algorithm>
#include <array>

#include "base/properties_file.h"

namespace apogee::broker {
namespace {

/// Keys of Apache's broker that are accepted, so that an existing file is, and have no effect here.
struct IgnoredKeys {
  std::string_view reason;
  std::vector<std::string_view> names;
};

const std::vector<IgnoredKeys>& ignored_keys() {
  static const std::vector<IgnoredKeys> keys{
      {"Access control is not supported yet.",
       {"aclCacheExpiredSecond",
        "aclCacheMaxNum",
        "aclCacheRefreshSecond",
        "authConfigPath",
        "authenticationMetadataProvider",
        "authenticationProvider",
        "authenticationStrategy",
        "authenticationWhitelist",
        "authorizationMetadataProvider",
        "authorizationProvider",
        "authorizationStrategy",
        "authorizationWhitelist",
        "initAuthenticationUser",
        "innerClientAuthenticationCredentials",
        "statefulAuthenticationCacheExpiredSecond",
        "statefulAuthenticationCacheMaxNum",
        "statefulAuthorizationCacheExpiredSecond",
        "statefulAuthorizationCacheMaxNum",
        "userCacheExpiredSecond",
        "userCacheMaxNum",
        "userCacheRefreshSecond"}},
      {"There are no lite topics here.",
       {"enableLiteEventMode", "enableLitePopLog", "liteEventCheckInterval",
        "liteEventFullDispatchDelayTime", "liteEventFullDispatchDelayTimeForWildcardGroup",
        "liteLagCountMetricsEnable", "liteLagLatencyCollectEnable", "liteLagLatencyMetricsEnable",
        "liteLagLatencyTopK", "liteSubscriptionCheckInterval", "liteSubscriptionCheckTimeoutMills",
        "liteTtlCheckInterval", "maxClientEventCount", "maxLiteSubscriptionCount", "minLiteTTl"}},
      {"Messages have no priorities here.",
       {"popFromRetryProbabilityForPriority", "priorityOrderAsc"}},
      {"LMQs are always limited to maxLmqConsumeQueueNum.", {"enableLmqQuota"}},
      {"The limits of cold reads stay as they are set.",
       {"coldCtrStrategyEnable", "usePIDColdCtrStrategy"}},
      {"What is in memory is asked of the system when it is read.",
       {"coldDataScanEnable", "timerColdDataCheckIntervalMs"}},
      {"Compaction logs are compacted one after the other.", {"compactionThreadNum"}},
      {"Follows from maxErrorRateOfBloomFilter and expectConsumerNumUseFilter.",
       {"bitMapLengthConsumeQueueExt"}},
      {"Has no counterpart here.",
       {"accessMessageInMemoryHotRatio",
        "autoMessageVersionOnTopicLen",
        "broadcastOffsetExpireMaxSecond",
        "broadcastOffsetExpireSecond",
        "brokerConfigPath",
        "channelExpiredTimeout",
        "checkCommitLogOffsetOnRecover",
        "cleanOfflineBrokerInterval",
        "clearRetryTopicWhenDeleteTopic",
        "commitLogRecoverMaxNum",
        "compatibleWithOldNameSrv",
        "compressedRegister",
        "configBlackList",
        "consumerFallbehindThreshold",
        "correctLogicMinOffsetForceInterval",
        "correctLogicMinOffsetSleepInterval",
        "deleteConsumeQueueFilesInterval",
        "destroyMapedFileIntervalForcibly",
        "disableConsumeIfConsumerReadSlowly",
        "disappearTimeAfterStart",
        "diskFallRecorded",
        "dispatchFromSenderThread",
        "enableAcceleratedRecovery",
        "enableAsyncReput",
        "enableBroadcastOffsetStore",
        "enableBuildConsumeQueueConcurrently",
        "enableCleanExpiredOffset",
        "enableFastChannelEventProcess",
        "enableLogConsumeQueueRepeatedlyBuildWhenRecover",
        "enableNetWorkFlowControl",
        "enableRegisterProducer",
        "enableRunningFlagsInFlush",
        "enableScheduleAsyncDeliver",
        "enableSingleTopicRegister",
        "enableSplitMetadata",
        "enableSplitRegistration",
        "estimateAccumulation",
        "fetchNamesrvAddrInterval",
        "flushCommitLogTimed",
        "flushConsumeQueueLeastPages",
        "flushConsumerOffsetHistoryInterval",
        "forceRegister",
        "highSpeedMode",
        "isolateLogEnable",
        "loadBalancePollNameServerInterval",
        "logicalDiskSpaceCleanForciblyThreshold",
        "maxAsyncPutMessageRequests",
        "maxBatchDeleteFilesNum",
        "maxChecksumRange",
        "maxConsumeQueueScan",
        "maxRecoveryCommitlogFiles",
        "maxTopicLength",
        "messageIndexSafe",
        "msgTraceTopicName",
        "pullBatchMaxMessageCount",
        "putMessageTimeout",
        "putMsgIndexHightWater",
        "realTimeNotifyConsumerChange",
        "recheckReputOffsetFromCq",
        "recordGetMessageResult",
        "recoverConcurrently",
        "redeleteHangedFileInterval",
        "rocketmqHome",
        "scheduleAsyncDeliverMaxPendingLimit",
        "scheduleAsyncDeliverMaxResendNum2Blocked",
        "sharedByteBufferNum",
        "splitMetadataSize",
        "splitRegistrationSize",
        "storePathDLedgerCommitLog",
        "subscriptionExpiredTimeout",
        "travelCqFileNumWhenGetMessage",
        "updateNameServerAddrPeriod"}},
      {"Check points and acks of POP go to the log at once, and nothing else holds them.",
       {"appendAckAsync",
        "appendCkAsync",
        "enableBatchPush",
        "enableNotifyAfterPopOrderLockRelease",
        "enableNotifyBeforePopCalculateLag",
        "enablePopBatchAck",
        "enablePopBufferMerge",
        "enablePopLog",
        "enablePopMessageThreshold",
        "enablePopMetrics",
        "enableSkipLongAwaitingAck",
        "popCkMaxBufferSize",
        "popCkOffsetMaxQueueSize",
        "popCkStayBufferTime",
        "popCkStayBufferTimeOut",
        "popConsumerFSServiceInit",
        "popConsumerKVServiceInit",
        "popConsumerKVServiceLog",
        "popInflightMessageThreshold",
        "popLongPollingForceNotifyInterval",
        "popPollingMapExpireTimeSeconds",
        "popPollingMapSize",
        "popReviveConcurrency",
        "popReviveMaxAttemptTimes",
        "popReviveMaxReturnSizePerRead",
        "popReviveSkipIfGroupAbsent",
        "reviveAckWaitMs",
        "reviveMaxSlow",
        "reviveScanTime",
        "skipWhenCKRePutReachMaxTimes"}},
      {"Requests are served by the io threads and the workers: ioThreads, workerThreads.",
       {"ackMessageThreadPoolNums",
        "ackThreadPoolQueueCapacity",
        "adminBrokerThreadPoolNums",
        "adminBrokerThreadPoolQueueCapacity",
        "asyncSendEnable",
        "batchDispatchRequestThreadPoolNums",
        "brokerFastFailureEnable",
        "clientCallbackExecutorThreads",
        "clientManageThreadPoolNums",
        "clientManagerThreadPoolQueueCapacity",
        "clientWorkerThreads",
        "consumerManageThreadPoolNums",
        "consumerManagerThreadPoolQueueCapacity",
        "disableCallbackExecutor",
        "disableNettyWorkerGroup",
        "dispatchCqCacheNum",
        "dispatchCqThreads",
        "heartbeatThreadPoolNums",
        "heartbeatThreadPoolQueueCapacity",
        "litePullMessageThreadPoolNums",
        "litePullThreadPoolQueueCapacity",
        "loadBalanceProcessorThreadPoolNums",
        "loadBalanceThreadPoolQueueCapacity",
        "endTransactionPoolQueueCapacity",
        "endTransactionThreadPoolNums",
        "processReplyMessageThreadPoolNums",
        "pullMessageThreadPoolNums",
        "pullThreadPoolQueueCapacity",
        "putMessageFutureThreadPoolNums",
        "putThreadPoolQueueCapacity",
        "queryMessageThreadPoolNums",
        "queryThreadPoolQueueCapacity",
        "recoverThreadPoolNums",
        "replyThreadPoolQueueCapacity",
        "sendMessageThreadPoolNums",
        "sendThreadPoolQueueCapacity",
        "serverCallbackExecutorThreads",
        "serverSelectorThreads",
        "serverWorkerThreads",
        "waitTimeMillsInAckQueue",
        "waitTimeMillsInAdminBrokerQueue",
        "waitTimeMillsInHeartbeatQueue",
        "waitTimeMillsInLitePullQueue",
        "waitTimeMillsInPullQueue",
        "waitTimeMillsInSendQueue",
        "waitTimeMillsInTransactionQueue"}},
      {"Statistics are always kept.",
       {"accountStatsEnable",
        "accountStatsPrintZeroValues",
        "autoDeleteUnusedStats",
        "commercialBaseCount",
        "commercialSizePerMsg",
        "enableConnectionMetrics",
        "enableDetailStat",
        "enableLagAndDlqMetrics",
        "enableLmqStats",
        "enableMessageStoreMetrics",
        "enableRemotingMetrics",
        "enableRequestMetrics",
        "enableScheduleMessageStats",
        "enableStatsMetrics",
        "maxStatsIdleTimeInMinutes",
        "metricGrpcExporterIntervalInMills",
        "metricGrpcExporterTimeOutInMills",
        "metricLoggingExporterIntervalInMills",
        "metricsExportBatchMaxDataPoints",
        "metricsGrpcExporterHeader",
        "metricsGrpcExporterTarget",
        "metricsInDelta",
        "printChannelGroups",
        "printChannelGroupsMinNum",
        "sampleCountThreshold",
        "sampleSteps",
        "useStaticSubscription"}},
      {"The log is written and read in another way.",
       {"cleanSwapedMapInterval",
        "commitCommitLogLeastPages",
        "commitCommitLogThoroughInterval",
        "commitIntervalCommitLog",
        "commitLogForceSwapMapInterval",
        "commitLogSwapMapInterval",
        "commitLogSwapMapReserveFileNum",
        "debugLockEnable",
        "fastFailIfNoBufferInStorePool",
        "flushLeastPagesWhenWarmMapedFile",
        "logicQueueForceSwapMapInterval",
        "logicQueueSwapMapInterval",
        "logicQueueSwapMapReserveFileNum",
        "mappedFileSwapEnable",
        "putConsumeQueueDataByFileChannel",
        "readUnCommitted",
        "spinLockCollisionRetreatOptimalDegree",
        "topicQueueLockNum",
        "transferMsgByHeap",
        "transientStorePoolEnable",
        "transientStorePoolSize",
        "useABSLock",
        "useReentrantLockWhenPutMessage",
        "wakeCommitWhenPutMessage",
        "wakeFlushWhenPutMessage",
        "warmMapedFileEnable",
        "writeWithoutMmap"}},
      {"There is no RocksDB here.",
       {"bottomMostCompressionTypeForConsumeQueueStore",
        "cleanRocksDBDirtyCQIntervalMin",
        "combineAssignOffsetCQType",
        "combineCQEnableCheckSelf",
        "combineCQLoadingCQTypes",
        "combineCQMaxExtraSearchCommitLogFiles",
        "combineCQPreferCQType",
        "combineCQUseRocksdbForLmq",
        "enableRocksDBLog",
        "iteratorWhenUseRocksdbConsumeQueue",
        "maxRocksDBIndexQueryDays",
        "persistConsumerOffsetIncrementally",
        "transWriteOriginTransHalfEnable",
        "transactionCheckRocksdbCoreThreads",
        "transactionCheckRocksdbMaxThreads",
        "transactionCheckRocksdbQueueCapacity",
        "useSeparateStorePathForRocksdbCQ",
        "useSingleRocksDBForAllConfigs",
        "memTableFlushIntervalMs",
        "realTimePersistRocksDBConfig",
        "rocksdbCompressionType",
        "rocksdbFlushWalFrequency",
        "rocksdbWalFileRollingThreshold",
        "searchBcqByCacheEnable",
        "statRocksDBCQIntervalSec"}},
      {"There is no replication yet.",
       {"allAckInSyncStateSet",
        "asyncLearner",
        "brokerElectionPriority",
        "brokerHeartbeatInterval",
        "brokerNotActiveTimeoutMillis",
        "checkSyncStateSetPeriod",
        "controllerAddr",
        "controllerHeartBeatTimeoutMills",
        "dLegerGroup",
        "dLegerPeers",
        "dLegerSelfId",
        "enableAutoInSyncReplicas",
        "fetchControllerAddrByDnsLookup",
        "forwardTimeout",
        "haFlowControlEnable",
        "haHousekeepingInterval",
        "haListenPort",
        "haMasterAddress",
        "haMaxGapNotInSync",
        "haMaxTimeSlaveNotCatchup",
        "haSendHeartbeatInterval",
        "haTransferBatchSize",
        "inSyncReplicas",
        "lockInStrictMode",
        "maxHaTransferByteInSecond",
        "maxSlaveResendLength",
        "minInSyncReplicas",
        "offsetCheckInSlave",
        "preferredLeaderId",
        "replicasPerDiskPartition",
        "sendHeartbeatTimeoutMillis",
        "skipPreOnline",
        "slaveTimeout",
        "storePathBrokerIdentity",
        "storePathEpochFile",
        "syncBrokerMemberGroupPeriod",
        "syncBrokerMetadataPeriod",
        "syncControllerMetadataPeriod",
        "syncFromLastFile",
        "syncMasterFlushOffsetWhenStartup",
        "totalReplicas"}},
      {"There is no tiered store.",
       {"commitLogRollingInterval",
        "commitLogRollingMinimumSize",
        "objectStoreAccessKey",
        "objectStoreBucket",
        "objectStoreEndpoint",
        "objectStoreSecretKey",
        "readAheadCacheEnable",
        "readAheadCacheExpireDuration",
        "readAheadCacheSizeThresholdRate",
        "readAheadMessageCountThreshold",
        "readAheadMessageSizeThreshold",
        "tieredBackendServiceProvider",
        "tieredMetadataServiceProvider",
        "tieredStorageLevel",
        "tieredStoreCommitLogMaxSize",
        "tieredStoreConsumeQueueMaxSize",
        "tieredStoreCrcCheckEnable",
        "tieredStoreDeleteFileEnable",
        "tieredStoreDeleteFileInterval",
        "tieredStoreFilePath",
        "tieredStoreFileReservedTime",
        "tieredStoreGroupCommit",
        "tieredStoreGroupCommitCount",
        "tieredStoreGroupCommitSize",
        "tieredStoreGroupCommitTimeout",
        "tieredStoreIndexFileMaxHashSlotNum",
        "tieredStoreIndexFileMaxIndexNum",
        "tieredStoreMaxGroupCommitCount",
        "tieredStoreMaxPendingLimit"}},
      {"The timer has one way to work: it counts as it goes and tries until a message is stored.",
       {"timerCheckMetricsWhen",        "timerEnableCheckMetrics",
        "timerEnableDisruptor",         "timerEnableRetryUntilSuccess",
        "timerGetMessageThreadNum",     "timerInterceptDelayLevel",
        "timerMetricSmallThreshold",    "timerProgressLogIntervalMs",
        "timerPutMessageThreadNum",     "timerRecallToTimeWheelEnable",
        "timerRecallToTimelineEnable",  "timerReputServiceCorePoolSize",
        "timerReputServiceMaxPoolSize", "timerReputServiceQueueCapacity",
        "timerRocksDBPrecisionMs",      "timerRocksDBRollIntervalHours",
        "timerRocksDBRollMaxTps",       "timerRocksDBRollRangeHours",
        "timerRocksDBStopScan",         "timerRocksDBTimeExpiredMaxTps",
        "timerSkipUnknownError",        "timerWarmEnable",
        "timerWheelSnapshotIntervalMs"}},
      {"Ends of transactions are stored one by one, with what they bring about, and counted as "
       "they "
       "are.",
       {"enableTransactionMetrics", "transactionMetricFlushInterval", "transactionOpBatchInterval",
        "transactionOpMsgMaxSize"}},
      {"Tunes Netty.",
       {"channelNotActiveInterval",
        "clientAsyncSemaphoreValue",
        "clientChannelMaxIdleTimeSeconds",
        "clientCloseSocketIfTimeout",
        "clientOnewaySemaphoreValue",
        "clientPooledByteBufAllocatorEnable",
        "clientSocketRcvBufSize",
        "clientSocketSndBufSize",
        "connectTimeoutMillis",
        "enableReconnectForGoAway",
        "enableShutdownGracefully",
        "isScanAvailableNameSrv",
        "maxReconnectIntervalTimeSeconds",
        "serverAsyncSemaphoreValue",
        "serverNettyWorkerGroupEnable",
        "serverOnewaySemaphoreValue",
        "serverPooledByteBufAllocatorEnable",
        "serverSocketBacklog",
        "serverSocketRcvBufSize",
        "serverSocketSndBufSize",
        "shutdownWaitTimeSeconds",
        "socksProxyConfig",
        "useEpollNativeSelector",
        "writeBufferHighWaterMark",
        "writeBufferLowWaterMark"}},
  };
  return keys;
}

/// Keys that change what the broker does in a way that does not exist here: ignoring them would be
/// a wrong answer.
constexpr auto kRefusedKeys = std::to_array<std::pair<std::string_view, std::string_view>>({
    {"aclEnable", "false"},
    {"authenticationEnabled", "false"},
    {"authorizationEnabled", "false"},
    {"configManagerVersion", "v1"},
    {"duplicationEnable", "false"},
    {"enableControllerMode", "false"},
    {"enableDLegerCommitLog", "false"},
    {"enableRemoteEscape", "false"},
    {"enableSlaveActingMaster", "false"},
    {"fetchNameSrvAddrByDnsLookup", "false"},
    {"fetchNamesrvAddrByAddressServer", "false"},
    {"indexFileReadEnable", "true"},
    {"indexFileWriteEnable", "true"},
    {"indexRocksDBEnable", "false"},
    {"isBrokerContainer", "false"},
    {"isInBrokerContainer", "false"},
    {"messageStorePlugIn", ""},
    {"migrateAuthFromV1Enabled", "false"},
    {"popConsumerKVServiceEnable", "false"},
    {"readOnlyCommitLogStorePaths", ""},
    {"rocksdbCQDoubleWriteEnable", "false"},
    {"storeType", "default"},
    {"timerRocksDBEnable", "false"},
    {"timerWheelSnapshotFlush", "false"},
    {"transRocksDBEnable", "false"},
    {"useSeparateRetryQueue", "false"},
    {"useTLS", "false"},
});

constexpr std::array<std::string_view, 3> kNeverAtRunTime{"brokerConfigPath", "configBlackList",
                                                          "rocketmqHome"};

bool says(const std::vector<Property>& file, const Property& property) {
  return std::ranges::any_of(file, [&](const Property& each) {
    return each.key == property.key && each.value == property.value;
  });
}

}  // namespace

std::vector<OptionView> options_of(BrokerSetup& setup) {
  std::vector<OptionView> all = option_views(setup.broker);
  for (OptionView& view : option_views(setup.server)) all.push_back(std::move(view));
  for (OptionView& view : option_views(setup.outgoing_tls)) all.push_back(std::move(view));
  for (OptionView& view : option_views(setup.store)) all.push_back(std::move(view));
  for (const IgnoredKeys& group : ignored_keys()) {
    for (const std::string_view name : group.names) {
      all.push_back({.name = name,
                     .doc = group.reason,
                     .ignored = true,
                     .set = [](std::string_view) -> Result<Ok> { return Ok{}; }});
    }
  }
  for (const auto& [name, fine] : kRefusedKeys) {
    all.push_back({.name = name,
                   .range = fine.empty() ? "empty" : std::string{fine},
                   .doc = "Nothing else is supported.",
                   .ignored = true,
                   .set = [name, fine](std::string_view value) -> Result<Ok> {
                     if (value == fine) return Ok{};
                     return Error{Errc::kUnsupported, std::string{name} + "=" + std::string{value} +
                                                          " is not supported; remove the line"};
                   }});
  }
  return all;
}

Buffer configuration_text(const std::vector<OptionView>& options) {
  std::map<std::string_view, const OptionView*> sorted;
  for (const OptionView& each : options)
    if (!each.ignored && !each.secret()) sorted.emplace(each.name, &each);
  Buffer text;
  for (const auto& [name, option] : sorted)
    text.append(name).append("=").append(option->value).append("\n");
  return text;
}

Result<Ok> apply_at_run_time(const std::vector<Property>& properties,
                             const std::vector<OptionView>& options,
                             const std::vector<Property>& file) {
  for (const Property& property : properties) {
    // Java's black list: with these a request could once make the broker write where and run what
    // it wanted (CVE-2023-33246). They mean nothing here, and are refused all the same.
    if (std::ranges::find(kNeverAtRunTime, property.key) != kNeverAtRunTime.end())
      return Error{Errc::kUnsupported, "Can not update config in black list: " + property.key};
    bool known = false;
    for (const OptionView& option : options) {
      if (option.name != property.key) continue;
      known = true;
      // A tool may send the whole file back: what stays as it is needs no permission.
      if (!option.ignored && option.value == property.value) continue;
      if (!option.ignored && !option.at_run_time)
        return Error{Errc::kUnsupported, property.key +
                                             " cannot be changed while the broker runs; change its "
                                             "configuration file and restart it"};
      if (auto set = option.set(property.value); !set) return set;
      if (option.ignored && !option.refused() && !says(file, property))
        return Error{Errc::kUnsupported,
                     property.key + " has no effect here: " + std::string{option.doc}};
    }
    if (!known) return Error{Errc::kInvalidArgument, unknown_key(property.key, options)};
  }
  return Ok{};
}

Result<BrokerSetup> read_config(FileSystem& files, const std::string& path, bool lenient,
                                std::vector<std::string>& warnings) {
  BrokerSetup setup;
  setup.path = path;
  if (path.empty()) return setup;
  auto properties = read_properties(files, path);
  if (!properties) return properties.error();
  auto options = options_of(setup);
  if (auto applied = apply_properties(*properties, options, path, lenient, warnings); !applied)
    return applied.error();
  return setup;
}

}  // namespace apogee::broker
