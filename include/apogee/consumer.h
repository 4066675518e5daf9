#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "apogee/awaitable.h"
#include "apogee/export.h"
#include "apogee/message.h"
#include "apogee/result.h"

/// Consuming. The client pulls ahead and hands messages to a function of the program's.
namespace apogee {

namespace client {
class PushConsumerCore;
}

// ---- What is wanted
// ------------------------------------------------------------------------------

/// Which messages of a topic. Made by all(), tags() and sql().
struct Filter {
  std::string type = "TAG";      ///< TAG or SQL92.
  std::string expression = "*";  ///< "*" or empty: all.
};
inline Filter all() {
  return {};
}
/// Tags, one or several: "paid || refunded".
inline Filter tags(std::string expression) {
  return {"TAG", std::move(expression)};
}
/// Over properties: "amount > 100 AND region = 'eu'". The broker needs enablePropertyFilter.
inline Filter sql(std::string expression) {
  return {"SQL92", std::move(expression)};
}

/// Every member of a group must subscribe to the same.
struct Subscription {
  std::string topic;
  Filter filter;
};

enum class MessageModel {
  kClustering,    ///< Each message goes to one member of the group.
  kBroadcasting,  ///< Each message goes to every member; offsets are kept in a file here.
};

/// Where a group begins that has no offset in a queue yet.
enum class StartFrom {
  kLast,       ///< With what is sent from now on.
  kFirst,      ///< With the oldest message there is.
  kTimestamp,  ///< With what was stored at PushConsumerConfig::from_time.
};

// ---- How queues are divided
// ----------------------------------------------------------------------

/// Divides the queues of a topic among the members of a group. All members must use the same one.
/// `divide` gets everything sorted as Java sorts it, topics and groups as they are on the wire.
struct Allocation {
  std::string name;  ///< As brokers and consoles show it.
  std::function<Result<std::vector<MessageQueue>>(
      const std::string& group, const std::string& client_id, std::span<const MessageQueue> queues,
      std::span<const std::string> client_ids)>
      divide;  ///< After an error, or what it throws, it is asked again in a second.
};
APOGEE_API Allocation average();            ///< AVG: contiguous ranges. Java's default, and here.
APOGEE_API Allocation average_by_circle();  ///< AVG_BY_CIRCLE: in turns.
APOGEE_API Allocation
by_config(std::vector<MessageQueue> queues);  ///< CONFIG: these, whoever else there is.
/// MACHINE_ROOM: only brokers named "<room>@<name>" whose room is among these.
APOGEE_API Allocation by_machine_room(std::set<std::string> rooms);
/// CONSISTENT_HASH: few queues move when a member comes or goes.
APOGEE_API Allocation consistent_hash(int virtual_nodes = 10);
/// MACHINE_ROOM_NEARBY-<inner>: queues of a room go to members of that room; those of a room
/// without members to all. An empty room is an error.
struct Rooms {
  std::function<std::string(const MessageQueue&)> of_queue;
  std::function<std::string(const std::string& client_id)> of_client;
};
APOGEE_API Allocation by_nearby_room(Allocation inner, Rooms rooms);

// ---- What becomes of messages
// --------------------------------------------------------------------

enum class Consumed {
  kDone,
  kRetryLater,  ///< Delivered again later; after max_reconsume_times it is a dead letter.
};

/// What a function that consumes may say besides its result.
struct ConsumeContext {
  MessageQueue queue;
  /// When the messages come again: 0 as the broker decides (later each time), above it that delay
  /// level, -1 never: they become dead letters.
  std::int32_t delay_level = 0;
  /// The last message of the batch that is done, if not all are; the others come again.
  std::int32_t ack_index = std::numeric_limits<std::int32_t>::max();
};

enum class ConsumedOrderly {
  kDone,
  kSuspend,   ///< The same messages again after a moment; later ones wait.
  kCommit,    ///< auto_commit = false only: all since the last commit are done.
  kRollback,  ///< auto_commit = false only: all since the last commit again.
};

struct OrderlyContext {
  MessageQueue queue;
  bool auto_commit = true;
  /// Of kSuspend and kRollback. -1: suspend_current_queue; else 10..30000 ms.
  std::chrono::milliseconds suspend{-1};
};

namespace consumer_detail {
/// A function with or without the context.
template <class Outcome, class Context>
class Listener {
 public:
  using Batch = std::span<const ReceivedMessage>;
  Listener() = default;
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, Listener> &&
             (std::is_invocable_r_v<Outcome, F&, Batch, Context&> ||
              std::is_invocable_r_v<Outcome, F&, Batch>))
  Listener(F call) {  // NOLINT: implicit on purpose
    if constexpr (std::is_invocable_r_v<Outcome, F&, Batch, Context&>)
      call_ = std::move(call);
    else
      call_ = [call = std::move(call)](Batch batch, Context&) mutable { return call(batch); };
  }
  explicit operator bool() const { return call_ != nullptr; }
  Outcome operator()(Batch batch, Context& context) const { return call_(batch, context); }

 private:
  std::function<Outcome(Batch, Context&)> call_;
};
}  // namespace consumer_detail

/// Runs on threads of the consumer's own, several at once; may block. An exception counts as
/// kRetryLater (kSuspend).
using OnMessages = consumer_detail::Listener<Consumed, ConsumeContext>;
using OnMessagesOrderly = consumer_detail::Listener<ConsumedOrderly, OrderlyContext>;

enum class ConsumeOutcome { kSuccess, kTimeOut, kException, kFailed };

/// What a hook sees of one batch; valid during the call.
struct ConsumeEvent {
  const std::string& group;
  const MessageQueue& queue;
  std::span<const ReceivedMessage> messages;
  std::optional<ConsumeOutcome> outcome;  ///< Afterwards only.
  std::chrono::milliseconds took{0};
};

/// Defaults, ranges and names are those of Java's DefaultMQPushConsumer. Times in milliseconds.
struct PushConsumerConfig {
  std::string group;  ///< 1..120 characters of letters, digits, %, |, _ and -.
  std::vector<Subscription> subscriptions;
  MessageModel model = MessageModel::kClustering;
  StartFrom from = StartFrom::kLast;
  /// For StartFrom::kTimestamp. None: half an hour before the start.
  std::optional<std::chrono::system_clock::time_point> from_time;
  /// One of the two. Orderly: one queue's messages one after the other, in their order.
  OnMessages on_messages;
  OnMessagesOrderly on_messages_orderly;

  Allocation allocation = average();
  /// false: brokers divide the queues, and decide between pulling and popping; needs version 5.
  bool client_rebalance = true;

  std::int32_t consume_thread_min = 20;  ///< 1..1000: so many threads call the function.
  std::int32_t consume_thread_max = 20;  ///< 1..1000; not below the other. Kept for its name: as in
                                         ///< Java, there are never more than the minimum.
  std::int32_t consume_message_batch_max_size = 1;  ///< 1..1024 messages a call.
  /// -1: 16 times for concurrent, without end for orderly consumption.
  std::int32_t max_reconsume_times = -1;
  std::chrono::minutes consume_timeout{15};  ///< Concurrent: a message held longer is sent back.
  std::chrono::milliseconds suspend_current_queue{1'000};  ///< 10..30000, orderly.

  std::chrono::milliseconds pull_interval{0};          ///< 0..65535 between two pulls of a queue.
  std::int32_t pull_batch_size = 32;                   ///< 1..1024 messages a pull.
  std::int32_t pull_batch_size_in_bytes = 256 << 10;   ///< 1..
  std::int32_t pull_threshold_for_queue = 1'000;       ///< 1..65535 messages ahead of the program.
  std::int32_t pull_threshold_size_for_queue = 100;    ///< 1..1024 MiB ahead.
  std::int32_t pull_threshold_for_topic = -1;          ///< -1: none; else 1..6553500, divided among
                                                       ///< the queues this member has.
  std::int32_t pull_threshold_size_for_topic = -1;     ///< -1: none; else 1..102400 MiB.
  std::int32_t consume_concurrently_max_span = 2'000;  ///< 1..65535 between first and last offset.
  bool post_subscription_when_pull = false;            ///< Send the expression with each pull.
  std::chrono::milliseconds pull_delay_when_exception{1'000};

  std::chrono::milliseconds pop_invisible_time{60'000};  ///< 5000..300000.
  std::int32_t pop_batch_nums = 32;                      ///< 1..32.
  std::int32_t pop_threshold_for_queue = 96;             ///< Messages waiting for their ack.

  /// Longest wait of shutdown() and the destructor for calls of the function that run. Messages
  /// whose calls have not begun are left to others.
  std::chrono::milliseconds shutdown_wait{30'000};
  bool unit_mode = false;
  /// Broadcasting: offsets go to <directory>/<client id>/<group>/offsets.json. Empty:
  /// ".rocketmq_offsets" in the home directory.
  std::string offset_directory;

  bool trace = false;  ///< Write each consumption to the trace topic.
  std::string trace_topic = "RMQ_SYS_TRACE_TOPIC";
  /// These hooks concern nobody else: what one throws is told in the log, and all goes on as if it
  /// had returned.
  std::function<void(const ConsumeEvent&)> before_consume, after_consume;
  /// Asked for each message pulled; false: it is passed over, as if by the subscription. One that
  /// throws has not said no.
  std::function<bool(const ReceivedMessage&)> accept;
  /// The queues of a topic were divided anew. `all` is empty when brokers divide. What it throws is
  /// told in the log.
  std::function<void(const std::string& topic, std::span<const MessageQueue> all,
                     std::span<const MessageQueue> mine)>
      queues_changed;
};

struct PushConsumerStatistics {
  std::uint64_t pulled = 0;    ///< Messages that came and passed the filter.
  std::uint64_t consumed = 0;  ///< Messages done.
  std::uint64_t failed = 0;    ///< Messages to come again.
  std::uint64_t held = 0;      ///< Messages here that are not done yet.
  std::size_t queues = 0;      ///< Queues this member has.
};

/// Movable; ends its work when destroyed. Threads: every member from any thread, also from inside
/// the consuming function (then shutdown() does not wait for it, and the group is left once calls
/// that run have returned, or after shutdown_wait).
class APOGEE_API PushConsumer {
 public:
  PushConsumer(PushConsumer&&) noexcept;
  PushConsumer& operator=(PushConsumer&&) noexcept;
  ~PushConsumer();

  /// Pulls no more, waits for calls that run (shutdown_wait), stores the offsets, leaves the group.
  /// After it returns the program's functions are not called any more. Idempotent.
  void shutdown();
  /// The same without waiting, as Client's.
  void shutdown(std::function<void(Result<Ok>)> done);
  Awaitable<Ok> shutdown_async();

  void suspend();  ///< Pulls no more; what is here is still consumed.
  void resume();

  /// One more topic, or another filter for one. kInvalidArgument: the filter makes no sense.
  Result<Ok> subscribe(const std::string& topic, Filter filter);
  void unsubscribe(const std::string& topic);

  std::vector<MessageQueue> queues() const;  ///< Those this member has now.
  PushConsumerStatistics statistics() const;

  explicit PushConsumer(std::shared_ptr<client::PushConsumerCore> core);

 private:
  std::shared_ptr<client::PushConsumerCore> core_;
};

}  // namespace apogee
