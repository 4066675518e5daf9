#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "broker/context.h"
#include "broker/pop_order.h"
#include "broker/pop_polling.h"
#include "broker/revive.h"
#include "broker/revive_log.h"
#include "remoting/processors.h"

/// POP consumption: the broker gives messages out one by one, to whoever of a group asks, and takes
/// them back when they are not acked in time.
///
/// THE INVARIANT. From the moment a message is popped it is, at any time and across any crash, at
/// least one of: acked; invisible, which means that a check point in the revive topic speaks of it
/// whose time is not over; or to be popped again. Nothing else may happen to it but that retention
/// removes it. What keeps it so, in the order in which it happens:
///
///  1. A pop writes its check point to the log, then moves the group's offset, then answers. Should
///     it fail in between, the message is popped again.
///  2. The file of offsets is written only when everything the log held when the offsets were
///     copied is on disk (ConsumerOffsets::write_behind): an offset never outlives its check point.
///  3. An ack is answered when it is in the log. Until it is read there, the message may come
///     again; it is never both unacked and forgotten.
///  4. More (or less) invisible time is a new check point first and an ack of the old one then,
///     under a new pop time: no later ack can be taken for one of both.
///  5. A message whose time is over is first stored in the group's retry topic and acked in the
///     revive topic then. Only then may the reviver's own offset pass its check point.
///  6. In orderly consumption there is no check point: the group's offset stays until the message
///     is acked.
///
/// popping_model_test.cc tries to break it.
///
/// Threads: requests run on io threads; what has to wait (a filter that reads records, records that
/// are not in memory, a queue another pop is at, acks of what is consumed in order) goes on on a
/// reader. One mutex of a fixed number stands for each queue of a group; it is held while messages
/// are read and their check point is written. Revive runs on the workers, one run at a time.
namespace apogee::broker {

class Popping {
 public:
  Popping(Context& context, const SendSettings& sending, std::string order_path);
  Popping(const Popping&) = delete;

  Result<Ok> load() { return order.load(); }
  void start() { revive.start(); }
  void stop() { revive.stop(); }
  Result<Ok> persist() { return order.persist(context.topics, context.groups); }
  void on_arrivals(std::span<const store::Arrival> arrivals) {
    polling.on_arrivals(arrivals);
    notifications.on_arrivals(arrivals);
  }
  /// Something in the queue can be popped (again).
  void wake(std::string_view topic, std::string_view group, std::int32_t queue_id);

  /// Of a queue of a group, held while its offset is looked at and moved.
  std::mutex& queue_mutex(std::string_view topic, std::string_view group, std::int32_t queue_id);
  /// The next revive queue, in turn.
  std::int32_t next_revive_queue();
  /// Where a group stands in a queue; nullopt: it has never been there.
  std::optional<std::int64_t> offset(std::string_view topic, std::string_view group,
                                     std::int32_t queue_id) const {
    return context.offsets.find(group, topic, queue_id);
  }
  /// Retry topics a pop may read, those it should read first in front.
  std::vector<std::string> retry_topics(std::string_view topic, std::string_view group,
                                        bool v1_first) const;

  Context& context;
  ReviveLog log;
  OrderedPops order;
  PopPolling polling, notifications;
  Revive revive;

 private:
  static constexpr std::size_t kQueueMutexes = 256;
  std::array<std::mutex, kQueueMutexes> queue_mutexes_;
  std::atomic<std::uint32_t> pops_{0};
};

/// Code and remark of a refused request about POP; the checks every one of them begins with.
struct PopRefusal {
  std::int32_t code;
  std::string remark;
};
struct PopTarget {
  TopicPtr topic;
  GroupPtr group;
};
std::variant<PopTarget, PopRefusal> check_pop(Context& context, const std::string& topic,
                                              const std::string& group, std::int32_t queue_id,
                                              const remoting::Peer& peer, const char* verb);

/// The messages a pop of `topic` asks for; nullptr: its expression says nothing.
SubscriptionPtr wanted_by_pop(const std::string& topic, const protocol::OptText& expression,
                              const protocol::OptText& type);

/// POP_MESSAGE (PopMessageProcessor).
void add_popping(remoting::Processors& processors, Popping& popping);
/// ACK_MESSAGE, BATCH_ACK_MESSAGE, CHANGE_MESSAGE_INVISIBLETIME (AckMessageProcessor,
/// ChangeInvisibleTimeProcessor).
void add_pop_acks(remoting::Processors& processors, Popping& popping);
/// PEEK_MESSAGE, NOTIFICATION, POLLING_INFO.
void add_pop_queries(remoting::Processors& processors, Popping& popping);

}  // namespace apogee::broker
