#pragma once

#include "store/consume_queue.h"

namespace apogee::store {

/// A queue of topics with queue.type=BatchCQ: 46 bytes an entry, an entry a record of one or more
/// messages. Entries stand one behind the other, so the entry of a message is searched for: queue
/// offsets only grow. Threads as ConsumeQueue.
class BatchConsumeQueue final : public ConsumeQueue {
 public:
  static constexpr std::int64_t kUnitBytes = 46;
  static constexpr std::size_t kQueueOffsetAt = 28, kMessagesAt = 36;  ///< In a unit.

  static QueueEntry decode_unit(Bytes unit);
  static void append_unit(std::string& out, const QueueEntry& entry);

  BatchConsumeQueue(Env& env, FileCache& cache, Place place, std::string topic,
                    std::int32_t queue_id);
  QueueKind kind() const override { return QueueKind::kBatch; }
  /// A gap stays a gap: the messages before it are gone, those behind it can be read.
  void put(std::int64_t queue_offset, const QueueEntry& entry) override;
  Result<std::vector<QueueEntry>> read(std::int64_t offset, std::size_t count) const override;

 protected:
  QueueEntry decode(std::int64_t, Bytes unit) const override { return decode_unit(unit); }
  bool is_valid(const QueueEntry& entry) const override {
    return entry.physical_offset >= 0 && entry.size > 0 && entry.queue_offset >= 0 &&
           entry.messages > 0;
  }
  /// Nothing says where an empty queue would go on: as with Apache's, at 0.
  std::int64_t first_offset(std::int64_t) const override { return 0; }

 private:
  Result<std::int64_t> find(std::int64_t offset) const;

  /// Where the last read ended: a consumer goes on there.
  struct Hint {
    std::int64_t offset = -1, index = -1;
  };
  mutable std::mutex hint_mutex_;
  mutable Hint hint_;  // hint mutex
};

}  // namespace apogee::store
