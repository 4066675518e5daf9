#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "apogee/awaitable.h"
#include "apogee/consumer.h"
#include "apogee/export.h"
#include "apogee/message.h"
#include "apogee/result.h"

/// Consuming at the program's own pace: it asks for messages when it wants some.
namespace apogee {

namespace client {
class LitePullCore;
class PullCore;
}  // namespace client

// ---- Lite pull: the client pulls ahead, the program polls
// ----------------------------------------

/// Defaults, ranges and names are those of Java's DefaultLitePullConsumer.
struct LitePullConsumerConfig {
  std::string group;  ///< 1..120 characters of letters, digits, %, |, _ and -.
  /// Of subscribe(); broadcasting: every member gets all queues, and keeps its offsets itself.
  MessageModel model = MessageModel::kClustering;
  StartFrom from = StartFrom::kLast;
  /// For StartFrom::kTimestamp. None: half an hour before the start.
  std::optional<std::chrono::system_clock::time_point> from_time;
  /// Of subscribe(); assign() takes what it is given.
  Allocation allocation = average();
  /// poll() commits what earlier polls have returned, this often.
  bool auto_commit = true;
  std::chrono::milliseconds auto_commit_interval{5'000};  ///< At least a second.
  std::int32_t pull_batch_size = 10;                      ///< 1..1024 messages a pull.
  std::int64_t pull_threshold_for_all = 10'000;           ///< Messages ahead of the program.
  std::int64_t pull_threshold_for_queue = 1'000;
  std::int64_t pull_threshold_size_for_queue = 100;  ///< MiB.
  std::int64_t consume_max_span = 2'000;             ///< Between first and last offset of a queue.
  std::chrono::milliseconds poll_timeout{5'000};     ///< Of poll() without one.
  std::chrono::milliseconds broker_suspend_max_time{20'000};
  /// At least broker_suspend_max_time.
  std::chrono::milliseconds consumer_timeout_when_suspend{30'000};
  bool unit_mode = false;
  /// Broadcasting: offsets go to <directory>/<client id>/<group>/offsets.json. Empty:
  /// ".rocketmq_offsets" in the home directory.
  std::string offset_directory;
  bool trace = false;  ///< Write what poll() gives out to the trace topic.
  std::string trace_topic = "RMQ_SYS_TRACE_TOPIC";
  /// One after the other, when poll() gives messages out, which count as consumed by that. On the
  /// thread that does: no blocking there. What one throws is told in the log.
  std::function<void(const ConsumeEvent&)> before_consume, after_consume;
  /// Asked for each message pulled; false: it is passed over, as if by the subscription. One that
  /// throws has not said no.
  std::function<bool(const ReceivedMessage&)> accept;
  /// subscribe(): the queues of a topic were divided anew. What it throws is told in the log.
  std::function<void(const std::string& topic, std::span<const MessageQueue> all,
                     std::span<const MessageQueue> mine)>
      queues_divided;
};

/// Movable; ends its work when destroyed: offsets are stored, the group is left. No thread of its
/// own waits for a queue: pulls continue on io threads, however many queues there are.
///
/// Threads: every member from any thread. What waits can be had three ways: it blocks, but not from
/// inside this client's callbacks on io threads (kInvalidArgument); it calls back; or it is
/// awaited. Callbacks run on an io thread, or inside the call where nobody has to be asked. Without
/// a deadline of its own, a question ends as Java's: that for an offset within 5 s for each server
/// asked, that for queues within ClientConfig::api_timeout.
class APOGEE_API LitePullConsumer {
 public:
  using Milliseconds = std::chrono::milliseconds;
  using Messages = std::vector<ReceivedMessage>;
  template <class T>
  using Callback = std::function<void(Result<T>)>;

  LitePullConsumer(LitePullConsumer&&) noexcept;
  LitePullConsumer& operator=(LitePullConsumer&&) noexcept;
  ~LitePullConsumer();
  void shutdown();  ///< Idempotent, from anywhere.
  /// The same without waiting, as Client's.
  void shutdown(Callback<Ok> done);
  Awaitable<Ok> shutdown_async();
  /// Until its end, or its client's, begins: the condition of a loop that polls.
  bool is_running() const;

  /// Queues are divided among the members of the group. kInvalidArgument: not beside assign().
  Result<Ok> subscribe(const std::string& topic, Filter filter = all());
  void unsubscribe(const std::string& topic);
  /// These queues, whoever else has them; instead of those assigned before. `filter` is that of
  /// all of them. kInvalidArgument: not beside subscribe(); no queues.
  Result<Ok> assign(const std::vector<MessageQueue>& queues, Filter filter = all());
  std::vector<MessageQueue> assignment() const;  ///< What it has now.

  /// Messages of one queue; none if there are none within the time. None at once if it has ended
  /// (is_running()), and inside a callback on an io thread, which must not wait.
  Messages poll();
  Messages poll(Milliseconds timeout);
  /// The same without waiting: `done` runs on a worker (worker_threads), where it may block and
  /// poll again; shutdown() waits for it. Who asked first gets the first. kStopped: shut down.
  void poll(Milliseconds timeout, Callback<Messages> done);
  Awaitable<Messages> poll_async(Milliseconds timeout);

  /// Where poll() goes on in a queue it has. kInvalidArgument: the queue is not one of ours; an
  /// offset the queue does not have.
  Result<Ok> seek(const MessageQueue& queue, std::int64_t offset);
  void seek(const MessageQueue& queue, std::int64_t offset, Callback<Ok> done);
  Awaitable<Ok> seek_async(MessageQueue queue, std::int64_t offset);
  Result<Ok> seek_to_begin(const MessageQueue& queue);
  void seek_to_begin(const MessageQueue& queue, Callback<Ok> done);
  Awaitable<Ok> seek_to_begin_async(MessageQueue queue);
  Result<Ok> seek_to_end(const MessageQueue& queue);
  void seek_to_end(const MessageQueue& queue, Callback<Ok> done);
  Awaitable<Ok> seek_to_end_async(MessageQueue queue);
  void pause(const std::vector<MessageQueue>& queues);
  void resume(const std::vector<MessageQueue>& queues);
  bool is_paused(const MessageQueue& queue) const;  ///< Also true: it is not one of ours.

  /// What was polled is done. Kept here first; stored at the brokers every
  /// persist_consumer_offset_interval, or at once with `persist`.
  void commit();
  void commit(const std::set<MessageQueue>& queues, bool persist);
  void commit(const std::map<MessageQueue, std::int64_t>& offsets, bool persist);
  /// Where the group stands. nullopt: nowhere yet.
  Result<std::optional<std::int64_t>> committed(const MessageQueue& queue);
  void committed(const MessageQueue& queue, Callback<std::optional<std::int64_t>> done);
  Awaitable<std::optional<std::int64_t>> committed_async(MessageQueue queue);

  /// The offset of the first message stored at or after a time.
  Result<std::int64_t> offset_for_time(const MessageQueue& queue,
                                       std::chrono::system_clock::time_point time);
  void offset_for_time(const MessageQueue& queue, std::chrono::system_clock::time_point time,
                       Callback<std::int64_t> done);
  Awaitable<std::int64_t> offset_for_time_async(MessageQueue queue,
                                                std::chrono::system_clock::time_point time);
  /// All readable queues of a topic.
  Result<std::vector<MessageQueue>> queues(const std::string& topic);
  void queues(const std::string& topic, Callback<std::vector<MessageQueue>> done);
  Awaitable<std::vector<MessageQueue>> queues_async(std::string topic);
  /// Called on a worker with the first queues of a topic that are known, and then whenever they are
  /// others than before; name servers are asked every poll_name_server_interval. What it throws is
  /// told in the log.
  void on_queues_changed(const std::string& topic,
                         std::function<void(const std::set<MessageQueue>& queues)> listener);

  explicit LitePullConsumer(std::shared_ptr<client::LitePullCore> core);

 private:
  std::shared_ptr<client::LitePullCore> core_;
};

// ---- Pull: every request is the program's
// --------------------------------------------------------

/// Defaults and names are those of Java's DefaultMQPullConsumer.
struct PullConsumerConfig {
  std::string group;  ///< 1..120 characters of letters, digits, %, |, _ and -.
  std::chrono::milliseconds pull_timeout{10'000};  ///< Of pull().
  /// Of pull_block_if_not_found(): a broker holds it so long, and the client waits so long.
  std::chrono::milliseconds broker_suspend_max_time{20'000};
  std::chrono::milliseconds timeout_when_suspend{30'000};  ///< At least broker_suspend_max_time.
  std::int32_t max_reconsume_times = 16;  ///< What is sent back more often is a dead letter.
  bool unit_mode = false;
};

struct PullResult {
  enum class Status {
    kFound,
    kNoNewMessage,      ///< The queue ends there.
    kNoMatchedMessage,  ///< Nothing the filter wants up to next_offset.
    kOffsetIllegal,     ///< The queue has no such offset; next_offset is one it has.
  } status = Status::kNoNewMessage;
  std::vector<ReceivedMessage> messages;
  std::int64_t next_offset = 0, min_offset = 0, max_offset = 0;
};

/// Movable; ends its work when destroyed. Threads: every member from any thread. What waits can be
/// had three ways, as a LitePullConsumer's.
class APOGEE_API PullConsumer {
 public:
  template <class T>
  using Callback = std::function<void(Result<T>)>;
  using Done = Callback<PullResult>;

  PullConsumer(PullConsumer&&) noexcept;
  PullConsumer& operator=(PullConsumer&&) noexcept;
  ~PullConsumer();
  void shutdown();  ///< Offsets are stored. Idempotent, from anywhere.
  /// The same without waiting, as Client's.
  void shutdown(Callback<Ok> done);
  Awaitable<Ok> shutdown_async();

  /// At most `max` messages from `offset` on.
  Result<PullResult> pull(const MessageQueue& queue, const Filter& filter, std::int64_t offset,
                          std::int32_t max);
  void pull(const MessageQueue& queue, const Filter& filter, std::int64_t offset, std::int32_t max,
            Done done);
  Awaitable<PullResult> pull_async(MessageQueue queue, Filter filter, std::int64_t offset,
                                   std::int32_t max);
  /// Waits at the broker for new messages, broker_suspend_max_time at the longest.
  Result<PullResult> pull_block_if_not_found(const MessageQueue& queue, const Filter& filter,
                                             std::int64_t offset, std::int32_t max);
  void pull_block_if_not_found(const MessageQueue& queue, const Filter& filter, std::int64_t offset,
                               std::int32_t max, Done done);
  Awaitable<PullResult> pull_block_if_not_found_async(MessageQueue queue, Filter filter,
                                                      std::int64_t offset, std::int32_t max);

  /// How far the group is, kept here and stored every persist_consumer_offset_interval.
  void update_offset(const MessageQueue& queue, std::int64_t offset);
  /// `from_store`: as the broker has it, else as it is here first. nullopt: nowhere
  /// yet.
  Result<std::optional<std::int64_t>> fetch_offset(const MessageQueue& queue, bool from_store);
  void fetch_offset(const MessageQueue& queue, bool from_store,
                    Callback<std::optional<std::int64_t>> done);
  Awaitable<std::optional<std::int64_t>> fetch_offset_async(MessageQueue queue, bool from_store);

  Result<std::int64_t> min_offset(const MessageQueue& queue);
  void min_offset(const MessageQueue& queue, Callback<std::int64_t> done);
  Awaitable<std::int64_t> min_offset_async(MessageQueue queue);
  Result<std::int64_t> max_offset(const MessageQueue& queue);
  void max_offset(const MessageQueue& queue, Callback<std::int64_t> done);
  Awaitable<std::int64_t> max_offset_async(MessageQueue queue);
  Result<std::int64_t> offset_for_time(const MessageQueue& queue,
                                       std::chrono::system_clock::time_point time);
  void offset_for_time(const MessageQueue& queue, std::chrono::system_clock::time_point time,
                       Callback<std::int64_t> done);
  Awaitable<std::int64_t> offset_for_time_async(MessageQueue queue,
                                                std::chrono::system_clock::time_point time);
  Result<std::vector<MessageQueue>> queues(const std::string& topic);
  void queues(const std::string& topic, Callback<std::vector<MessageQueue>> done);
  Awaitable<std::vector<MessageQueue>> queues_async(std::string topic);

  /// The message comes again later, to members of the group that subscribe.
  Result<Ok> send_back(const ReceivedMessage& message, std::int32_t delay_level);
  void send_back(const ReceivedMessage& message, std::int32_t delay_level, Callback<Ok> done);
  Awaitable<Ok> send_back_async(ReceivedMessage message, std::int32_t delay_level);

  explicit PullConsumer(std::shared_ptr<client::PullCore> core);

 private:
  std::shared_ptr<client::PullCore> core_;
};

}  // namespace apogee
