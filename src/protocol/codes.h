#pragma once

#include <cstdint>

/// Request and response codes; the numbers are on the wire.
namespace apogee::protocol {

namespace request_code {
inline constexpr std::int32_t
    kSendMessage = 10,
    kPullMessage = 11, kQueryMessage = 12, kQueryConsumerOffset = 14, kUpdateConsumerOffset = 15,
    kUpdateAndCreateTopic = 17, kUpdateAndCreateTopicList = 18, kGetAllTopicConfig = 21,
    kUpdateBrokerConfig = 25, kGetBrokerConfig = 26, kGetBrokerRuntimeInfo = 28,
    kSearchOffsetByTimestamp = 29, kGetMaxOffset = 30, kGetMinOffset = 31,
    kGetEarliestMessageStoreTime = 32, kViewMessageById = 33, kHeartBeat = 34,
    kUnregisterClient = 35, kConsumerSendMessageBack = 36, kEndTransaction = 37,
    kGetConsumerListByGroup = 38, kCheckTransactionState = 39, kNotifyConsumerIdsChanged = 40,
    kLockBatchMq = 41, kUnlockBatchMq = 42, kGetAllConsumerOffset = 43, kGetAllDelayOffset = 45,
    kCheckClientConfig = 46, kGetTimerCheckPoint = 60, kGetTimerMetrics = 61, kPutKvConfig = 100,
    kGetKvConfig = 101, kDeleteKvConfig = 102, kRegisterBroker = 103, kUnregisterBroker = 104,
    kGetRouteInfoByTopic = 105, kGetBrokerClusterInfo = 106,
    kUpdateAndCreateSubscriptionGroup = 200, kGetAllSubscriptionGroupConfig = 201,
    kGetTopicStatsInfo = 202, kGetConsumerConnectionList = 203, kGetProducerConnectionList = 204,
    kWipeWritePermOfBroker = 205, kGetAllTopicListFromNameServer = 206,
    kDeleteSubscriptionGroup = 207, kGetConsumeStats = 208, kDeleteTopicInBroker = 215,
    kDeleteTopicInNameServer = 216, kRegisterTopicInNameServer = 217, kGetKvListByNamespace = 219,
    kResetConsumerClientOffset = 220, kGetConsumerStatusFromClient = 221,
    kInvokeBrokerToResetOffset = 222, kInvokeBrokerToGetConsumerStatus = 223,
    kGetTopicsByCluster = 224, kUpdateAndCreateSubscriptionGroupList = 225,
    kQueryTopicConsumeByWho = 300, kQueryConsumeTimeSpan = 303,
    kGetSystemTopicListFromNameServer = 304, kGetSystemTopicListFromBroker = 305,
    kCleanExpiredConsumeQueue = 306, kGetConsumerRunningInfo = 307, kQueryCorrectionOffset = 308,
    kConsumeMessageDirectly = 309, kSendMessageV2 = 310, kGetUnitTopicList = 311,
    kGetHasUnitSubTopicList = 312, kGetHasUnitSubUnunitTopicList = 313, kCloneGroupOffset = 314,
    kViewBrokerStatsData = 315, kCleanUnusedTopic = 316, kGetBrokerConsumeStats = 317,
    kUpdateNameServerConfig = 318, kGetNameServerConfig = 319, kSendBatchMessage = 320,
    kQueryConsumeQueue = 321, kQueryDataVersion = 322, kResumeCheckHalfMessage = 323,
    kSendReplyMessage = 324, kSendReplyMessageV2 = 325, kPushReplyMessageToClient = 326,
    kAddWritePermOfBroker = 327, kGetAllProducerInfo = 328, kDeleteExpiredCommitLog = 329,
    kQueryTopicsByConsumer = 343, kQuerySubscriptionByConsumer = 345, kGetTopicConfig = 351,
    kGetSubscriptionGroupConfig = 352, kUpdateAndGetGroupForbidden = 353, kLitePullMessage = 361,
    kRecallMessage = 370, kQueryAssignment = 400, kSetMessageRequestMode = 401,
    kGetAllMessageRequestMode = 402, kGetBrokerMemberGroup = 901, kBrokerHeartbeat = 904,
    kNotifyMinBrokerIdChange = 905, kGetBrokerHaStatus = 907, kResetMasterFlushOffset = 908,
    kUpdateColdDataFlowCtrConfig = 2001, kRemoveColdDataFlowCtrConfig = 2002,
    kGetColdDataFlowCtrInfo = 2003, kSetCommitLogReadMode = 2004, kPopMessage = 200050,
    kAckMessage = 200051, kPeekMessage = 200052, kChangeMessageInvisibleTime = 200053,
    kNotification = 200054, kPollingInfo = 200055, kPopRollback = 200056, kBatchAckMessage = 200151;
}  // namespace request_code

namespace response_code {
inline constexpr std::int32_t kSuccess = 0, kSystemError = 1, kSystemBusy = 2,
                              kRequestCodeNotSupported = 3, kFlushDiskTimeout = 10,
                              kSlaveNotAvailable = 11, kFlushSlaveTimeout = 12,
                              kMessageIllegal = 13, kServiceNotAvailable = 14,
                              kVersionNotSupported = 15, kNoPermission = 16, kTopicNotExist = 17,
                              kPullNotFound = 19, kPullRetryImmediately = 20, kPullOffsetMoved = 21,
                              kQueryNotFound = 22, kSubscriptionParseFailed = 23,
                              kSubscriptionNotExist = 24, kSubscriptionNotLatest = 25,
                              kSubscriptionGroupNotExist = 26, kFilterDataNotExist = 27,
                              kFilterDataNotLatest = 28, kInvalidParameter = 29,
                              kConsumerNotOnline = 206, kConsumeMessageTimeout = 207,
                              kNoMessage = 208, kPollingFull = 209, kPollingTimeout = 210,
                              kNotLeaderForQueue = 501, kIllegalOperation = 604, kGoAway = 1500;
}  // namespace response_code

}  // namespace apogee::protocol
