#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "apogee/message.h"
#include "client/instance.h"
#include "protocol/bodies.h"
#include "protocol/pop.h"

/// Consumption from queues that nobody owns: brokers give messages out, hide them for a while and
/// take them back when they are not acked in time (Java's ConsumeMessagePopConcurrentlyService).
///
/// Threads: any; one mutex. One never-ending pop for each queue, continued on io threads and on the
/// clock's. Owned by its consumer, which lives as long as what is posted.
namespace apogee::client {

class PushConsumerCore;

/// The handle of a message that was popped, its answer telling of it.
struct PopAnswer {
  std::int64_t pop_time = 0, invisible_ms = 0;
  std::int32_t revive_queue = 0;
  /// First offset of each queue in the answer, by kind of topic and queue id.
  std::map<std::pair<char, std::int32_t>, std::int64_t> first_offsets;
};
PopAnswer pop_answer(const protocol::PopMessageResponse& header);
/// What brokers of all versions make of it: the message's own POP_CK, else from the answer.
Result<protocol::ReceiptHandle> handle_of(const ReceivedMessage& message, const PopAnswer& answer);

/// For how long a message stays hidden after a failure, by how often it has failed (or by the
/// level its consumer asked for).
std::chrono::seconds hidden_after_failure(std::int32_t failures, std::int32_t delay_level);
/// The same for one that has failed too often: longer the older it is. Zero: it is so old that it
/// is given up.
std::chrono::seconds hidden_when_exhausted(std::chrono::milliseconds age);

class PopConsumption {
 public:
  explicit PopConsumption(PushConsumerCore& consumer) : consumer_{consumer} {}

  /// From these queues, and no others of the topic.
  void pop_from(const std::string& topic, const std::set<MessageQueue>& queues);
  std::set<MessageQueue> queues() const;
  /// As consoles show them.
  std::map<protocol::MessageQueue, protocol::PopProcessQueueInfo> running_info() const;

 private:
  struct Queue {
    MessageQueue name;  // queue id -1: any of that broker
    std::atomic<bool> dropped{false};
    std::atomic<std::int64_t> waiting{0};  // messages without an ack
    std::atomic<std::int64_t> last_pop_ms{0};
  };
  using QueuePtr = std::shared_ptr<Queue>;
  struct Popped {
    QueuePtr queue;
    std::shared_ptr<std::vector<ReceivedMessage>> all;
    std::vector<protocol::ReceiptHandle> handles;
    std::int64_t pop_time = 0, invisible_ms = 0;
  };
  using PoppedPtr = std::shared_ptr<Popped>;
  struct Batch {
    PoppedPtr popped;
    std::size_t first = 0, count = 0;
  };

  void pop(const QueuePtr& queue);
  void pop_after(Clock::Duration delay, const QueuePtr& queue);
  void answered(const QueuePtr& queue, Result<remoting::OwnedCommand> answer);
  Result<PoppedPtr> decode(const QueuePtr& queue, const remoting::OwnedCommand& answer) const;
  void submit(const PoppedPtr& popped);
  void run(const Batch& batch);
  template <class Header>
  void settle(const Popped& popped, std::size_t index, Header header, const char* what_if_not);
  void ack(const Popped& popped, std::size_t index);
  void fail(const Popped& popped, std::size_t index, std::int32_t delay_level);
  void change_invisible(const Popped& popped, std::size_t index, std::chrono::seconds hidden);
  std::int32_t most_reconsume_times() const;
  /// The topic a message really lies in, and its broker's address; empty: unknown.
  std::pair<std::string, std::string> place_of(const Popped& popped, std::size_t index) const;

  PushConsumerCore& consumer_;
  mutable std::mutex mutex_;
  std::map<MessageQueue, QueuePtr> queues_;
};

}  // namespace apogee::client
