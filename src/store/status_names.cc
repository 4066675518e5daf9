#include "store/message_store.h"

namespace apogee::store {

std::string_view name_of(PutStatus status) {
  switch (status) {
    case PutStatus::kOk:
      return "PUT_OK";
    case PutStatus::kFlushDiskTimeout:
      return "FLUSH_DISK_TIMEOUT";
    case PutStatus::kServiceNotAvailable:
      return "SERVICE_NOT_AVAILABLE";
    case PutStatus::kMessageIllegal:
      return "MESSAGE_ILLEGAL";
    case PutStatus::kPageCacheBusy:
      return "OS_PAGE_CACHE_BUSY";
    case PutStatus::kCreateFileFailed:
      return "CREATE_MAPPED_FILE_FAILED";
    case PutStatus::kLmqNumberExceeded:
      return "LMQ_CONSUME_QUEUE_NUM_EXCEEDED";
    case PutStatus::kUnknownError:
      return "UNKNOWN_ERROR";
  }
  return "?";
}

std::string_view name_of(GetStatus status) {
  switch (status) {
    case GetStatus::kFound:
      return "FOUND";
    case GetStatus::kNoMatchedMessage:
      return "NO_MATCHED_MESSAGE";
    case GetStatus::kMessageWasRemoving:
      return "MESSAGE_WAS_REMOVING";
    case GetStatus::kOffsetFoundNull:
      return "OFFSET_FOUND_NULL";
    case GetStatus::kOffsetOverflowBadly:
      return "OFFSET_OVERFLOW_BADLY";
    case GetStatus::kOffsetOverflowOne:
      return "OFFSET_OVERFLOW_ONE";
    case GetStatus::kOffsetTooSmall:
      return "OFFSET_TOO_SMALL";
    case GetStatus::kNoMatchedLogicQueue:
      return "NO_MATCHED_LOGIC_QUEUE";
    case GetStatus::kNoMessageInQueue:
      return "NO_MESSAGE_IN_QUEUE";
    case GetStatus::kOffsetReset:
      return "OFFSET_RESET";
    case GetStatus::kUnreadable:
      return "CONSUME_QUEUE_UNREADABLE";
  }
  return "?";
}

}  // namespace apogee::store
