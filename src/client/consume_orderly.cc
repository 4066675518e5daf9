#include <exception>
#include <future>

#include "base/patient_mutex.h"
#include "client/consumption.h"
#include "client/push_consumer.h"
#include "client/thrown.h"

namespace apogee::client {
namespace {

constexpr auto kFirstLockAll = 1s;
constexpr auto kLockAllInterval = 20s;
constexpr auto kContinuousMost = 60s;  // then other queues get the thread
constexpr auto kYield = 10ms;
constexpr auto kWithoutLock = 100ms;  // until the lock is asked for
constexpr auto kAfterLock = 10ms;
constexpr auto kWithoutLockAgain = 3'000ms;
constexpr auto kLetGoWait = 500ms;  // for a call that runs
constexpr auto kLetGoForced = 20s;  // since the last lock
constexpr auto kSuspendLeast = 10ms, kSuspendMost = 30'000ms;
constexpr auto kRetrySendLimit = 5s;

std::chrono::milliseconds since(Clock& clock, Clock::Instant began) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(clock.now() - began);
}

/// One call at a time for each queue, in the order of its messages (ConsumeMessageOrderlyService).
/// With clustering the broker's lock of the queue is needed, too.
class Orderly final : public Consumption {
 public:
  explicit Orderly(PushConsumerCore& consumer) : consumer_{consumer} {}

  void begin() override {
    if (consumer_.clustering()) lock_all_after(kFirstLockAll);
  }
  void submit(const MessageQueue& queue, const ProcessQueuePtr& messages, const Pulled&,
              bool idle) override {
    if (idle) post(queue, messages);
  }
  bool let_go(const MessageQueue& queue, ProcessQueue& messages) override;
  protocol::Json consume_directly(const ReceivedMessage& message) override;

 private:
  enum class Next { kGoOn, kEnd };
  using Batch = std::vector<MessagePtr>;

  Clock& clock() { return consumer_.instance().env().clock; }
  /// Held while a batch of the queue is consumed: also when the queue was given away and came back.
  std::shared_ptr<PatientMutex> call_lock(const MessageQueue& queue);
  void post(const MessageQueue& queue, const ProcessQueuePtr& messages);
  void post_after(Clock::Duration delay, const MessageQueue& queue,
                  const ProcessQueuePtr& messages);
  void run(const MessageQueue& queue, const ProcessQueuePtr& messages);
  Next consume_some(const MessageQueue& queue, const ProcessQueuePtr& messages);
  Next settle(const MessageQueue& queue, const ProcessQueuePtr& messages, const Batch& batch,
              const OrderlyContext& context, ConsumedOrderly result);
  Next suspend(const MessageQueue& queue, const ProcessQueuePtr& messages, const Batch& batch,
               const OrderlyContext& context);
  Next again_after_pause(const MessageQueue& queue, const ProcessQueuePtr& messages,
                         const OrderlyContext& context);
  bool made_dead(const ReceivedMessage& message);
  void commit(const MessageQueue& queue, ProcessQueue& messages);
  bool has_lock(const ProcessQueue& messages) const {
    return !consumer_.clustering() || (messages.locked && !messages.lock_expired());
  }
  void lock_later(Clock::Duration delay, const MessageQueue& queue,
                  const ProcessQueuePtr& messages);
  void lock_all_after(Clock::Duration delay);
  void lock_all();

  PushConsumerCore& consumer_;
  std::mutex mutex_;
  std::map<MessageQueue, std::shared_ptr<PatientMutex>> call_locks_;
};

std::shared_ptr<PatientMutex> Orderly::call_lock(const MessageQueue& queue) {
  std::lock_guard lock{mutex_};
  auto& found = call_locks_[queue];
  if (!found) found = std::make_shared<PatientMutex>();
  return found;
}

void Orderly::post(const MessageQueue& queue, const ProcessQueuePtr& messages) {
  consumer_.on_consume_thread(
      [self = consumer_.shared_from_this(), this, queue, messages] { run(queue, messages); });
}

void Orderly::post_after(Clock::Duration delay, const MessageQueue& queue,
                         const ProcessQueuePtr& messages) {
  consumer_.after(delay, [this, queue, messages] { post(queue, messages); });
}

void Orderly::run(const MessageQueue& queue, const ProcessQueuePtr& messages) {
  const auto began = clock().now();
  bool first = true;
  for (;;) {
    const auto pass = consumer_.gate().enter();
    if (!pass || messages->dropped) return;
    if (!has_lock(*messages))
      return lock_later(first ? Clock::Duration{kWithoutLock} : Clock::Duration{kAfterLock}, queue,
                        messages);
    if (clock().now() - began > kContinuousMost) return post_after(kYield, queue, messages);
    if (consume_some(queue, messages) == Next::kEnd) return;
    first = false;
  }
}

Orderly::Next Orderly::consume_some(const MessageQueue& queue, const ProcessQueuePtr& messages) {
  const auto lock = call_lock(queue);
  std::unique_lock held{*lock};
  if (messages->dropped) return Next::kEnd;
  const auto most = static_cast<std::size_t>(consumer_.config().consume_message_batch_max_size);
  const Batch batch = messages->take(most);
  if (batch.empty()) return Next::kEnd;
  OrderlyContext context{.queue = consumer_.instance().visible(queue)};
  const auto began = clock().now();
  ConsumedOrderly result;
  if (batch.size() == 1) {
    result = consumer_.call_program({batch.front().get(), 1}, context);
  } else {
    std::vector<ReceivedMessage> together;  // they may come from different pulls
    for (const MessagePtr& each : batch) together.push_back(*each);
    result = consumer_.call_program(together, context);
  }
  const bool good = result == ConsumedOrderly::kDone || result == ConsumedOrderly::kCommit;
  consumer_.consume_statistics().consumed(queue.topic, good ? batch.size() : 0,
                                          good ? 0 : batch.size(), since(clock(), began));
  return settle(queue, messages, batch, context, result);
}

Orderly::Next Orderly::settle(const MessageQueue& queue, const ProcessQueuePtr& messages,
                              const Batch& batch, const OrderlyContext& context,
                              ConsumedOrderly result) {
  switch (result) {
    case ConsumedOrderly::kCommit:
    case ConsumedOrderly::kRollback:
      if (!context.auto_commit) {
        if (result == ConsumedOrderly::kCommit) {
          commit(queue, *messages);
          return Next::kGoOn;
        }
        messages->rollback();
        return again_after_pause(queue, messages, context);
      }
      consumer_.instance().env().log.warn(
          "kCommit and kRollback mean kDone unless auto_commit is false: group={}",
          consumer_.group());
      [[fallthrough]];
    case ConsumedOrderly::kDone:
      if (context.auto_commit) commit(queue, *messages);
      return Next::kGoOn;
    case ConsumedOrderly::kSuspend:
      return suspend(queue, messages, batch, context);
  }
  return Next::kEnd;
}

/// The same messages again after a moment, but for those that have failed too often.
Orderly::Next Orderly::suspend(const MessageQueue& queue, const ProcessQueuePtr& messages,
                               const Batch& batch, const OrderlyContext& context) {
  bool again = false;
  for (const MessagePtr& each : batch) {
    if (made_dead(*each)) continue;
    ++each->reconsume_times;
    again = true;
  }
  if (!again) {
    commit(queue, *messages);
    return Next::kGoOn;
  }
  messages->consume_again(batch);
  return again_after_pause(queue, messages, context);
}

/// As long as the function said, or as is configured.
Orderly::Next Orderly::again_after_pause(const MessageQueue& queue, const ProcessQueuePtr& messages,
                                         const OrderlyContext& context) {
  const auto pause =
      context.suspend < 0ms ? consumer_.config().suspend_current_queue : context.suspend;
  post_after(std::clamp<Clock::Duration>(pause, kSuspendLeast, kSuspendMost), queue, messages);
  return Next::kEnd;
}

/// False: it may still be tried, or could not be got rid of.
bool Orderly::made_dead(const ReceivedMessage& message) {
  const std::int32_t most = consumer_.config().max_reconsume_times;
  if (most < 0 || message.reconsume_times < most) return false;
  auto sent = std::make_shared<std::promise<bool>>();
  consumer_.send_back().send_to_retry_topic(
      message, message.reconsume_times,
      [sent](const Result<Ok>& result) { sent->set_value(result.has_value()); });
  auto answer = sent->get_future();
  return answer.wait_for(kRetrySendLimit) == std::future_status::ready && answer.get();
}

void Orderly::commit(const MessageQueue& queue, ProcessQueue& messages) {
  const std::int64_t offset = messages.commit();
  if (offset >= 0 && !messages.dropped) consumer_.offset_store().update(queue, offset, false);
}

/// Waits for a call that runs, so that its messages are not consumed by two members at once. Once
/// the broker gives the lock away anyway, there is nothing to wait for.
bool Orderly::let_go(const MessageQueue& queue, ProcessQueue& messages) {
  if (!consumer_.clustering()) return true;
  const auto lock = call_lock(queue);
  if (lock->lock_within(kLetGoWait)) {
    lock->unlock();
    return true;
  }
  ++messages.unlock_tries;
  return messages.since_lock() > kLetGoForced;
}

// ---- Locks
// ---------------------------------------------------------------------------------------

void Orderly::lock_later(Clock::Duration delay, const MessageQueue& queue,
                         const ProcessQueuePtr& messages) {
  consumer_.after(delay, [this, queue, messages] {
    consumer_.on_waiting_thread([self = consumer_.shared_from_this(), this, queue, messages] {
      if (consumer_.ended() || messages->dropped) return;
      const bool locked = consumer_.locks().lock({queue}).locked.contains(queue);
      if (locked) messages->lock_renewed();
      post_after(locked ? Clock::Duration{kAfterLock} : Clock::Duration{kWithoutLockAgain}, queue,
                 messages);
    });
  });
}

void Orderly::lock_all_after(Clock::Duration delay) {
  consumer_.after(delay, [this] {
    consumer_.on_waiting_thread([self = consumer_.shared_from_this(), this] {
      if (consumer_.ended()) return;
      lock_all();
      lock_all_after(kLockAllInterval);
    });
  });
}

void Orderly::lock_all() {
  const auto queues = consumer_.table().queues();
  std::set<MessageQueue> names;
  for (const auto& [queue, messages] : queues)
    if (!messages->dropped) names.insert(queue);
  if (names.empty()) return;
  const auto answer = consumer_.locks().lock(names);
  for (const auto& [queue, messages] : queues) {
    if (answer.locked.contains(queue)) messages->lock_renewed();
    if (answer.refused.contains(queue)) messages->locked = false;
  }
}

protocol::Json Orderly::consume_directly(const ReceivedMessage& message) {
  const CallbackScope scope{CallbackScope::Where::kOwnThread};
  OrderlyContext context{.queue = consumer_.instance().visible(message.queue)};
  const auto began = clock().now();
  std::string result, remark;
  const auto thrown = thrown_by([&] {
    const auto consumed = consumer_.config().on_messages_orderly(
        std::span<const ReceivedMessage>{&message, 1}, context);
    switch (consumed) {
      case ConsumedOrderly::kDone:
        result = "CR_SUCCESS";
        break;
      case ConsumedOrderly::kSuspend:
        result = "CR_LATER";
        break;
      case ConsumedOrderly::kCommit:
        result = "CR_COMMIT";
        break;
      case ConsumedOrderly::kRollback:
        result = "CR_ROLLBACK";
        break;
    }
  });
  if (thrown) {
    result = "CR_THROW_EXCEPTION";
    remark = *thrown;
  }
  return direct_result(true, context.auto_commit, result, remark, since(clock(), began));
}

}  // namespace

std::unique_ptr<Consumption> make_orderly(PushConsumerCore& consumer) {
  return std::make_unique<Orderly>(consumer);
}

}  // namespace apogee::client
