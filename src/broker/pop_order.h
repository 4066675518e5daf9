#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "broker/subscription_groups.h"
#include "broker/topics.h"
#include "protocol/json.h"

/// What is being consumed in order: of each group and queue the last popped batch, which blocks the
/// queue until it is acked or visible again (ConsumerOrderInfoManager). Behind it stands
/// config/consumerOrderInfo.json in Java's format.
///
/// Invariant: a group's offset in a queue moves past a message only when all before it are acked;
/// losing this table makes messages come again and loses none.
///
/// Threads: every member from any thread; one mutex, held for map operations only. load() and
/// persist() block on the disk.
namespace apogee::broker {

/// The batch popped last from one queue.
struct OrderedBatch {
  std::optional<std::string> attempt_id;  ///< Whoever asks with it again is not blocked.
  std::int64_t acked_bits = 0;
  std::optional<std::int64_t> invisible_ms;
  std::int64_t last_consume_ms = 0;
  std::vector<std::int64_t> offsets;  ///< The first, then differences to it.
  std::optional<std::map<std::int64_t, std::int32_t>> times_consumed;  ///< By offset; none: 0.
  std::optional<std::map<std::int64_t, std::int64_t>> next_visible;    ///< By offset.
  std::int64_t pop_time = 0;
  using Self = OrderedBatch;
  static constexpr auto kFields = MemberList{
      protocol::Field{"a", &Self::attempt_id},    protocol::Field{"cm", &Self::acked_bits},
      protocol::Field{"i", &Self::invisible_ms},  protocol::Field{"l", &Self::last_consume_ms},
      protocol::Field{"o", &Self::offsets},       protocol::Field{"oc", &Self::times_consumed},
      protocol::Field{"ot", &Self::next_visible}, protocol::Field{"popTime", &Self::pop_time}};

  std::int64_t offset_of(std::size_t index) const {
    return index == 0 ? offsets.front() : offsets.front() + offsets[index];
  }
  bool acked(std::size_t index) const { return (acked_bits >> index & 1) != 0; }
};

class OrderedPops {
 public:
  OrderedPops(Env& env, std::string path) : env_{env}, path_{std::move(path)} {}
  OrderedPops(const OrderedPops&) = delete;

  Result<Ok> load();
  /// Forgets what nobody can consume any more, then writes the file if anything changed.
  Result<Ok> persist(const Topics& topics, const SubscriptionGroups& groups);

  struct Queue {
    std::string_view topic, group;
    std::int32_t queue_id;
  };
  /// A batch was popped; appends to orderCountInfo how often each of it was consumed before.
  void popped(const Queue& queue, const std::optional<std::string>& attempt_id,
              std::int64_t pop_time, std::int64_t invisible_ms,
              const std::vector<std::int64_t>& offsets, std::string& order_count_info);
  /// Until when (Unix ms) the queue is blocked for this attempt; nullopt: it is not.
  /// `invisible_ms` stands in for a batch that does not know its own.
  std::optional<std::int64_t> blocked_until(const Queue& queue,
                                            const std::optional<std::string>& attempt_id,
                                            std::int64_t invisible_ms);

  enum class AckResult { kCommit, kNothing, kIllegal };
  struct Acked {
    AckResult result;
    std::int64_t next_offset = 0;  ///< kCommit: where the group stands now.
  };
  /// `committed`: where the group stands. Without a batch, which a crash may take, an ack says
  /// nothing of the messages before its own: it counts if there are none.
  Acked ack(const Queue& queue, std::int64_t offset, std::int64_t pop_time, std::int64_t committed);
  void show_at(const Queue& queue, std::int64_t offset, std::int64_t pop_time,
               std::int64_t visible_ms);
  void clear(const Queue& queue);

 private:
  using Batches = std::map<std::int32_t, OrderedBatch>;
  struct Table {
    std::map<std::string, Batches> table;  // topic@group
    using Self = Table;
    static constexpr auto kFields = MemberList{protocol::Field{"table", &Self::table}};
  };
  OrderedBatch* find(const Queue& queue);  // mutex_ is held
  void forget_unused(const Topics& topics, const SubscriptionGroups& groups);

  Env& env_;
  const std::string path_;
  std::mutex mutex_;
  Table table_;  // guarded by mutex_
  std::atomic<bool> dirty_{false};
  std::mutex file_mutex_;  // one writer of the file
};

}  // namespace apogee::broker
