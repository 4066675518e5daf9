#pragma once

#include <memory>

#include "client/process_queue.h"
#include "protocol/json.h"

/// What becomes of messages once they were pulled: concurrent or in order. Owned by its consumer,
/// which it may use for as long as it lives; what it posts elsewhere keeps the consumer alive.
namespace apogee::client {

class PushConsumerCore;

class Consumption {
 public:
  virtual ~Consumption() = default;
  virtual void begin() {}  ///< The consumer has started.
  /// They are in `messages` by now. `idle`: nobody consumes that queue at the moment. Any thread.
  virtual void submit(const MessageQueue& queue, const ProcessQueuePtr& messages,
                      const Pulled& pulled, bool idle) = 0;
  /// The queue is given to another member. False: not now. On the thread for waiting.
  virtual bool let_go(const MessageQueue& queue, ProcessQueue& messages) = 0;
  /// Request 309, Java's ConsumeMessageDirectlyResult. Blocks for as long as the function does.
  virtual protocol::Json consume_directly(const ReceivedMessage& message) = 0;
};

std::unique_ptr<Consumption> make_concurrent(PushConsumerCore& consumer);
std::unique_ptr<Consumption> make_orderly(PushConsumerCore& consumer);

/// ConsumeMessageDirectlyResult. `result`: CR_SUCCESS, CR_LATER, ...
protocol::Json direct_result(bool order, bool auto_commit, const std::string& result,
                             const std::string& remark, std::chrono::milliseconds took);

}  // namespace apogee::client
