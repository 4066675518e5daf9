#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/options.h"

namespace apogee::store {
enum class FlushDiskType { kAsyncFlush, kSyncFlush };
enum class BrokerRole { kAsyncMaster, kSyncMaster, kSlave };
}  // namespace apogee::store

namespace apogee {
template <>
struct OptionNames<store::FlushDiskType> {
  static constexpr std::array<std::pair<std::string_view, store::FlushDiskType>, 2> kNames{
      {{"ASYNC_FLUSH", store::FlushDiskType::kAsyncFlush},
       {"SYNC_FLUSH", store::FlushDiskType::kSyncFlush}}};
};
template <>
struct OptionNames<store::BrokerRole> {
  static constexpr std::array<std::pair<std::string_view, store::BrokerRole>, 3> kNames{
      {{"ASYNC_MASTER", store::BrokerRole::kAsyncMaster},
       {"SYNC_MASTER", store::BrokerRole::kSyncMaster},
       {"SLAVE", store::BrokerRole::kSlave}}};
};
}  // namespace apogee

namespace apogee::store {

/// Keys of Apache's MessageStoreConfig. Defaults are Apache's; the store's owner completes this
/// list.
struct StoreConfig {
  std::string root = "./store";
  std::string commit_log_path;
  std::int32_t commit_log_file_bytes = 1 << 30;
  std::int32_t consume_queue_file_bytes = 6'000'000;
  FlushDiskType flush_disk_type = FlushDiskType::kAsyncFlush;
  BrokerRole broker_role = BrokerRole::kAsyncMaster;
  std::int32_t flush_interval_ms = 500;
  std::int32_t sync_flush_timeout_ms = 5'000;
  std::int32_t max_message_bytes = 4 << 20;
  using Self = StoreConfig;
  static constexpr auto kOptions = std::tuple{
      PlainOption{"storePathRootDir", &Self::root, "Directory of the store."},
      PlainOption{"storePathCommitLog", &Self::commit_log_path,
                  "Directory of the commit log; empty: <root>/commitlog."},
      Option{"mappedFileSizeCommitLog", &Self::commit_log_file_bytes, 4'096, 2'147'483'647,
             "Bytes per commit log file. Cannot change once the store has files."},
      Option{"mappedFileSizeConsumeQueue", &Self::consume_queue_file_bytes, 20, 2'147'483'640,
             "Bytes per consume queue file, rounded up to a multiple of 20."},
      PlainOption{
          "flushDiskType", &Self::flush_disk_type,
          "When a send is acknowledged: once written (ASYNC_FLUSH) or once on disk (SYNC_FLUSH)."},
      PlainOption{"brokerRole", &Self::broker_role, "Role in the replica group."},
      Option{"flushIntervalCommitLog", &Self::flush_interval_ms, 1, 60'000,
             "ASYNC_FLUSH: longest wait for a flush in ms, and so what a power cut may lose."},
      Option{"syncFlushTimeout", &Self::sync_flush_timeout_ms, 1, 600'000,
             "SYNC_FLUSH: longest wait of a send for the disk in ms; then the answer is "
             "FLUSH_DISK_TIMEOUT.",
             Change::kAtRunTime},
      Option{"maxMessageSize", &Self::max_message_bytes, 1'024, 64 << 20,
             "Largest body of a message in bytes.", Change::kAtRunTime}};
};

}  // namespace apogee::store
