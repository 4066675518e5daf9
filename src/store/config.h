#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/live.h"
#include "base/options.h"

namespace apogee::store {
enum class FlushDiskType { kAsyncFlush, kSyncFlush };
enum class BrokerRole { kAsyncMaster, kSyncMaster, kSlave };
enum class CheckOnRead { kNone, kCold, kAll };
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
template <>
struct OptionNames<store::CheckOnRead> {
  static constexpr std::array<std::pair<std::string_view, store::CheckOnRead>, 3> kNames{
      {{"NONE", store::CheckOnRead::kNone},
       {"COLD", store::CheckOnRead::kCold},
       {"ALL", store::CheckOnRead::kAll}}};
};
}  // namespace apogee

namespace apogee::store {

/// Keys of Apache's MessageStoreConfig. Defaults are Apache's.
struct StoreConfig {
  std::string root;
  std::string commit_log_path;
  std::int32_t commit_log_file_bytes = 1 << 30;
  std::int32_t consume_queue_file_bytes = 6'000'000;
  FlushDiskType flush_disk_type = FlushDiskType::kAsyncFlush;
  BrokerRole broker_role = BrokerRole::kAsyncMaster;
  std::int32_t flush_interval_ms = 500;
  std::int32_t flush_least_pages = 4;
  std::int32_t flush_thorough_interval_ms = 10'000;
  std::int32_t queue_flush_interval_ms = 1'000;
  std::int32_t queue_flush_thorough_interval_ms = 60'000;
  std::int32_t sync_flush_timeout_ms = 5'000;
  std::int64_t page_cache_busy_ms = 1'000;
  std::int32_t max_message_bytes = 4 << 20;
  bool check_crc_on_recover = true;
  bool append_record_crc = false, force_verify_record_crc = false;
  CheckOnRead check_crc_on_read = CheckOnRead::kCold;
  std::int32_t scrub_bytes_per_second = 4 << 20;
  bool index_enable = true;
  std::int32_t index_slots = 5'000'000;
  std::int32_t index_units = 20'000'000;
  std::int32_t query_messages_max = 64;
  std::int32_t default_query_messages = 32;
  std::int32_t transfer_bytes_in_memory = 256 << 10;
  std::int32_t transfer_count_in_memory = 32;
  std::int32_t transfer_bytes_on_disk = 64 << 10;
  std::int32_t transfer_count_on_disk = 8;
  std::int32_t memory_percent = 40;
  std::int32_t filter_bytes_max = 16'000;
  std::int32_t reserved_hours = 72;
  std::string delete_hours = "04";
  std::int32_t disk_max_used_percent = 75;
  std::int32_t disk_clean_forcibly_percent = 85;
  std::int32_t disk_warning_percent = 90;
  bool clean_forcibly_enable = true;
  std::int32_t clean_interval_ms = 10'000;
  std::int32_t delete_batch_max = 10;
  std::int32_t delete_pause_ms = 100;
  std::int32_t open_queue_files_max = 512;
  std::string delay_levels = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";
  std::int32_t delay_offset_flush_interval_ms = 10'000;
  std::int32_t batch_queue_file_bytes = 13'800'000;
  bool read_ahead = true;
  bool queue_extension = false;
  std::int32_t queue_extension_file_bytes = 48 << 20;
  bool lmq = false;
  bool multi_dispatch = false;
  std::int32_t lmq_max = 20'000;
  bool timer_enable = true;
  std::int32_t timer_precision_ms = 1'000;
  std::int32_t timer_log_file_bytes = 100 << 20;
  std::int32_t timer_roll_window_slots = 172'800;
  std::int32_t timer_delay_sec_max = 259'200;
  std::int32_t timer_flush_interval_ms = 1'000;
  std::int32_t timer_slot_messages_max = 2'147'483'647;
  bool timer_stop_enqueue = false, timer_stop_dequeue = false;
  bool timer_delete_key_with_topic = false;
  bool compaction_enable = true;
  std::int32_t compaction_log_file_bytes = 100 << 20;
  std::int32_t compaction_queue_file_bytes = 10 << 20;
  std::int32_t compaction_interval_ms = 900'000;
  std::int32_t compaction_map_bytes = 100 << 20;
  std::size_t queues_synced_together_from = 32;  // no key: tests set it
  using Self = StoreConfig;
  static constexpr auto kOptions = MemberList{
      PlainOption{"storePathRootDir", &Self::root, "Directory of the store; empty: ~/store."},
      PlainOption{"storePathCommitLog", &Self::commit_log_path,
                  "Directory of the commit log; empty: <root>/commitlog."},
      Option{"mappedFileSizeCommitLog", &Self::commit_log_file_bytes, 4'096, 2'147'483'647,
             "Bytes per commit log file. Cannot change once the store has files."},
      Option{"mappedFileSizeConsumeQueue", &Self::consume_queue_file_bytes, 20, 2'147'483'640,
             "Bytes per consume queue file, rounded up to a multiple of 20. Cannot change once the "
             "store has files."},
      PlainOption{
          "flushDiskType", &Self::flush_disk_type,
          "When a send is acknowledged: once written (ASYNC_FLUSH) or once on disk (SYNC_FLUSH)."},
      PlainOption{"brokerRole", &Self::broker_role,
                  "Role in the replica group. Without replication SYNC_MASTER acts as "
                  "ASYNC_MASTER; SLAVE is refused at start."},
      Option{"flushIntervalCommitLog", &Self::flush_interval_ms, 1, 60'000,
             "ASYNC_FLUSH: how often the log is flushed, in ms.", Change::kAtRunTime},
      Option{"flushCommitLogLeastPages", &Self::flush_least_pages, 0, 1'000'000,
             "ASYNC_FLUSH: fewer dirty pages of 4096 bytes wait for the thorough flush.",
             Change::kAtRunTime},
      Option{"flushCommitLogThoroughInterval", &Self::flush_thorough_interval_ms, 1, 600'000,
             "ASYNC_FLUSH: longest wait of any written byte for a flush, in ms, and so what a "
             "power cut may lose.",
             Change::kAtRunTime},
      Option{"flushIntervalConsumeQueue", &Self::queue_flush_interval_ms, 1, 60'000,
             "How often full pages of consume queues are flushed, in ms."},
      Option{"flushConsumeQueueThoroughInterval", &Self::queue_flush_thorough_interval_ms, 1,
             600'000,
             "How often all consume queues are flushed, in ms; recovery after a crash reads the "
             "log from there."},
      Option{"syncFlushTimeout", &Self::sync_flush_timeout_ms, 1, 600'000,
             "SYNC_FLUSH: longest wait of a send for the disk in ms; then the answer is "
             "FLUSH_DISK_TIMEOUT.",
             Change::kAtRunTime},
      Option{"osPageCacheBusyTimeOutMills", &Self::page_cache_busy_ms, 1, 600'000,
             "Sends are refused with SYSTEM_BUSY while one append takes longer than this, in ms.",
             Change::kAtRunTime},
      Option{"maxMessageSize", &Self::max_message_bytes, 1'024, 64 << 20,
             "Largest body of a message in bytes.", Change::kAtRunTime},
      PlainOption{"checkCRCOnRecover", &Self::check_crc_on_recover,
                  "Check every body read during recovery."},
      PlainOption{"enabledAppendPropCRC", &Self::append_record_crc,
                  "Let every record end with the property __CRC32#, the CRC of all of it."},
      PlainOption{"forceVerifyPropCRC", &Self::force_verify_record_crc,
                  "Wherever bodies are checked, check records that end with __CRC32# as a whole. "
                  "Senders can make up that property unless enabledAppendPropCRC is on."},
      PlainOption{"checkCRCOnRead", &Self::check_crc_on_read,
                  "Which messages are checked before they are given out, body and place: ALL, COLD "
                  "(those that may come from the disk, not from the memory they were just written "
                  "to) or NONE.",
                  Change::kAtRunTime},
      Option{"scrubBytesPerSecond", &Self::scrub_bytes_per_second, 0, 1 << 30,
             "How much of the log the background check reads in a second, at most; it gives way to "
             "a busy disk. 0: none.",
             Change::kAtRunTime},
      PlainOption{"messageIndexEnable", &Self::index_enable,
                  "Index messages by key, unique key and tag."},
      Option{"maxHashSlotNum", &Self::index_slots, 1, 500'000'000,
             "Slots of an index file; part of its format."},
      Option{"maxIndexNum", &Self::index_units, 2, 500'000'000,
             "Entries of an index file; part of its format."},
      Option{"maxMsgsNumBatch", &Self::query_messages_max, 1, 1'024,
             "Most messages one query by key returns.", Change::kAtRunTime},
      Option{"defaultQueryMaxNum", &Self::default_query_messages, 1, 1'024,
             "Messages a query by unique key looks at.", Change::kAtRunTime},
      Option{"maxTransferBytesOnMessageInMemory", &Self::transfer_bytes_in_memory, 1, 64 << 20,
             "Most bytes of one pull's answer read from memory.", Change::kAtRunTime},
      Option{"maxTransferCountOnMessageInMemory", &Self::transfer_count_in_memory, 1, 4'096,
             "Most messages of one pull's answer read from memory.", Change::kAtRunTime},
      Option{"maxTransferBytesOnMessageInDisk", &Self::transfer_bytes_on_disk, 1, 64 << 20,
             "Most bytes of one pull's answer read from disk.", Change::kAtRunTime},
      Option{"maxTransferCountOnMessageInDisk", &Self::transfer_count_on_disk, 1, 4'096,
             "Most messages of one pull's answer read from disk.", Change::kAtRunTime},
      Option{"accessMessageInMemoryMaxRatio", &Self::memory_percent, 1, 95,
             "Part of the machine's memory, in percent, that the newest messages are taken to stay "
             "in.",
             Change::kAtRunTime},
      Option{"maxFilterMessageSize", &Self::filter_bytes_max, 20, 64 << 20,
             "Most bytes of consume queue one pull looks at.", Change::kAtRunTime},
      Option{"fileReservedTime", &Self::reserved_hours, 1, 1'000'000,
             "Age in hours at which a commit log file may be deleted.", Change::kAtRunTime},
      PlainOption{"deleteWhen", &Self::delete_hours,
                  "Hours of the local day when old files are deleted: 04 or 04;16."},
      Option{"diskMaxUsedSpaceRatio", &Self::disk_max_used_percent, 10, 95,
             "Above this use of the disk, in percent, old files are deleted at any hour.",
             Change::kAtRunTime},
      Option{"diskSpaceCleanForciblyRatio", &Self::disk_clean_forcibly_percent, 1, 100,
             "Above this use, in percent, files are deleted whatever their age.",
             Change::kAtRunTime},
      Option{"diskSpaceWarningLevelRatio", &Self::disk_warning_percent, 1, 100,
             "Above this use, in percent, sends are refused.", Change::kAtRunTime},
      PlainOption{"cleanFileForciblyEnable", &Self::clean_forcibly_enable,
                  "May a full disk overrule the age of files?", Change::kAtRunTime},
      Option{"cleanResourceInterval", &Self::clean_interval_ms, 100, 3'600'000,
             "How often old files are looked for, in ms."},
      Option{"deleteFileBatchMax", &Self::delete_batch_max, 1, 10'000,
             "Most files deleted in one run.", Change::kAtRunTime},
      Option{"deleteCommitLogFilesInterval", &Self::delete_pause_ms, 0, 60'000,
             "Pause between two deletions, in ms.", Change::kAtRunTime},
      Option{"openConsumeQueueFilesMax", &Self::open_queue_files_max, 8, 1'000'000,
             "Consume queue files kept open."},
      PlainOption{"messageDelayLevel", &Self::delay_levels,
                  "Delays of the levels 1, 2, ...; units s, m, h, d."},
      Option{"flushDelayOffsetInterval", &Self::delay_offset_flush_interval_ms, 100, 600'000,
             "How often delayOffset.json is written, in ms."},
      Option{"mapperFileSizeBatchConsumeQueue", &Self::batch_queue_file_bytes, 46, 2'147'483'600,
             "Bytes per file of a topic with queue.type=BatchCQ, rounded up to a multiple of 46. "
             "Cannot change once the store has files."},
      PlainOption{"dataReadAheadEnable", &Self::read_ahead,
                  "Let the system read more of the log than is asked for when it reads from disk.",
                  Change::kAtRunTime},
      PlainOption{"enableConsumeQueueExt", &Self::queue_extension,
                  "Write the tags' code, store time and filter bit map of each message into "
                  "consumequeue_ext; entries of consume queues lead there."},
      Option{"mappedFileSizeConsumeQueueExt", &Self::queue_extension_file_bytes, 64, 2'147'483'647,
             "Bytes per file of consumequeue_ext. Cannot change once the store has such files."},
      PlainOption{"enableLmq", &Self::lmq,
                  "Serve light message queues, topics named %LMQ%...; their groups' offsets are in "
                  "lmqConsumerOffset.json, which replaces consumerOffset.json."},
      PlainOption{"enableMultiDispatch", &Self::multi_dispatch,
                  "With enableLmq: put a message into the LMQs its property INNER_MULTI_DISPATCH "
                  "names as well."},
      Option{"maxLmqConsumeQueueNum", &Self::lmq_max, 1, 10'000'000,
             "Most LMQs; a message that would make one more is refused.", Change::kAtRunTime},
      PlainOption{"timerWheelEnable", &Self::timer_enable,
                  "Deliver messages at the time their TIMER_* properties say; false: refuse them."},
      Option{"timerPrecisionMs", &Self::timer_precision_ms, 1, 60'000,
             "Width of a timer slot in ms: 100, 200, 500 or 1000; others count as the next lower "
             "one. Part of the format of the timer's files."},
      Option{"mappedFileSizeTimerLog", &Self::timer_log_file_bytes, 1'024, 2'147'483'647,
             "Bytes per timer log file. Cannot change once the store has such files."},
      Option{"timerRollWindowSlot", &Self::timer_roll_window_slots, 0, 2'147'483'647,
             "Slots a timer message waits at most before it is written to the log anew. Below 2 or "
             "above a week: a week."},
      Option{"timerMaxDelaySec", &Self::timer_delay_sec_max, 1, 2'147'483'647,
             "Longest delay of a timer message in s; a later one is refused.", Change::kAtRunTime},
      Option{"timerFlushIntervalMs", &Self::timer_flush_interval_ms, 1, 600'000,
             "How often the timer's files are written, in ms."},
      Option{"timerCongestNumEachSlot", &Self::timer_slot_messages_max, 1, 2'147'483'647,
             "From so many messages in one slot on, sends to it are refused now and then, and from "
             "twice as many always.",
             Change::kAtRunTime},
      PlainOption{"timerStopEnqueue", &Self::timer_stop_enqueue,
                  "Let new timer messages wait outside the timer.", Change::kAtRunTime},
      PlainOption{"timerStopDequeue", &Self::timer_stop_dequeue,
                  "Hold back timer messages that are due.", Change::kAtRunTime},
      PlainOption{"appendTopicForTimerDeleteKey", &Self::timer_delete_key_with_topic,
                  "A recall names its message by topic and unique key, as brokers before 5.4 do; "
                  "false: by unique key.",
                  Change::kAtRunTime},
      PlainOption{
          "enableCompaction", &Self::compaction_enable,
          "Serve topics with cleanup.policy=COMPACTION from a log of their own, which keeps "
          "the newest message of each key; false: as other topics."},
      Option{
          "compactionMappedFileSize", &Self::compaction_log_file_bytes, 460, 2'147'483'647,
          "Bytes per file of a compaction log, made a multiple of compactionCqMappedFileSize and "
          "at least five times that. Cannot change once the store has such files."},
      Option{"compactionCqMappedFileSize", &Self::compaction_queue_file_bytes, 92, 429'496'729,
             "Bytes per file of a compaction log's entries, of 46 bytes. Cannot change once the "
             "store has such files."},
      Option{"compactionScheduleInternal", &Self::compaction_interval_ms, 100, 2'147'483'647,
             "Pause between two compactions of all topics, in ms."},
      Option{"maxOffsetMapSize", &Self::compaction_map_bytes, 6'400, 2'147'483'647,
             "Most memory for the keys of one compaction, in bytes; what is behind them waits for "
             "the next.",
             Change::kAtRunTime}};
};

}  // namespace apogee::store
