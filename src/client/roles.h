#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "apogee/message.h"
#include "protocol/bodies.h"
#include "protocol/json.h"
#include "remoting/peer.h"

/// What an instance asks of the producers and consumers registered with it. Groups and topics are
/// named as on the wire, with their namespace.
///
/// Threads: called on workers, one call at a time for each task, and on io threads where said.
namespace apogee::client {

class ProducerRole {
 public:
  virtual ~ProducerRole() = default;
  virtual const std::string& group() const = 0;
  virtual std::vector<std::string> topics() const = 0;  ///< Whose routes are kept fresh.
  /// A broker asks what became of this half message; the answer goes to `broker`. On a worker.
  virtual void check_transaction(const std::string& broker, ReceivedMessage message,
                                 std::int64_t tran_state_table_offset,
                                 std::int64_t commit_log_offset) = 0;
  virtual void last_words() = 0;  ///< The client shuts down, what waits here goes out. May block.
  virtual void stop() = 0;        ///< ... and now nothing is sent any more.
};

class ConsumerRole {
 public:
  virtual ~ConsumerRole() = default;
  virtual const std::string& group() const = 0;
  virtual protocol::ConsumerData heartbeat() const = 0;
  virtual std::vector<std::string> topics() const = 0;
  /// The readable queues of one of its topics are others than before.
  virtual void queues_changed(const std::string& topic,
                              const std::vector<MessageQueue>& queues) = 0;
  virtual void members_changed() = 0;  ///< Request 40: divide the queues again, soon.
  virtual void persist_offsets() = 0;  ///< Every persist_consumer_offset_interval.
  /// Request 220: go on from these offsets.
  virtual void reset_offsets(const std::string& topic,
                             const std::map<MessageQueue, std::int64_t>& offsets) = 0;
  /// Request 221: what the consumer has committed, by queue.
  virtual std::map<MessageQueue, std::int64_t> offsets(const std::string& topic) const = 0;
  virtual protocol::Json running_info() const = 0;  ///< Request 307: Java's ConsumerRunningInfo.
  /// Request 309: consume this one message now, outside all queues; Java's
  /// ConsumeMessageDirectlyResult.
  virtual protocol::Json consume_directly(ReceivedMessage message,
                                          const std::string& broker_name) = 0;
  virtual void stop() = 0;
};

}  // namespace apogee::client
