#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "apogee/consumer.h"
#include "client/consume_statistics.h"
#include "client/consumption.h"
#include "client/gate.h"
#include "client/instance.h"
#include "client/offset_store.h"
#include "client/pop_consumption.h"
#include "client/puller.h"
#include "client/queue_locks.h"
#include "client/rebalance.h"
#include "client/send_back.h"
#include "client/subscriptions.h"
#include "client/trace_sender.h"

/// What stands behind a PushConsumer (Java's DefaultMQPushConsumerImpl): which queues it has, and
/// one never-ending pull for each of them. What becomes of the messages is a Consumption's.
///
/// Threads: a pool of its own for the program's function; one thread of its own for what waits for
/// brokers (rebalancing, locks). Pulls continue on io threads and on the clock's. Members: any.
/// Everything that is begun holds a pass of `gate_`; nothing is begun once that is closed.
namespace apogee::client {

class PushConsumerCore final : public ConsumerRole,
                               public QueueOwner,
                               public std::enable_shared_from_this<PushConsumerCore> {
 public:
  /// Blocks: waits for routes and for the check of SQL filters.
  static Result<std::shared_ptr<PushConsumerCore>> start(std::shared_ptr<Instance> instance,
                                                         PushConsumerConfig config);
  ~PushConsumerCore() override;

  void shutdown();  ///< By its owner: leaves the instance too.
  void suspend() { paused_ = true; }
  void resume();
  Result<Ok> subscribe(const std::string& topic, const Filter& filter);
  void unsubscribe(const std::string& topic);
  std::vector<MessageQueue> queues() const;
  PushConsumerStatistics statistics() const;

  // ConsumerRole
  const std::string& group() const override { return group_; }
  protocol::ConsumerData heartbeat() const override;
  std::vector<std::string> topics() const override { return subscriptions_.topics(); }
  void queues_changed(const std::string& topic, const std::vector<MessageQueue>& queues) override;
  void members_changed() override { rebalance_soon(); }
  void persist_offsets() override;
  void reset_offsets(const std::string& topic,
                     const std::map<MessageQueue, std::int64_t>& offsets) override;
  std::map<MessageQueue, std::int64_t> offsets(const std::string& topic) const override;
  protocol::Json running_info() const override;
  protocol::Json consume_directly(ReceivedMessage message, const std::string& broker_name) override;
  void stop() override;

  // QueueOwner, on the thread for waiting
  bool ended() const override { return gate_.closed() || instance_->stopped(); }
  std::set<MessageQueue> may_take_on(const std::set<MessageQueue>& queues) override;
  Result<std::int64_t> first_offset_of(const MessageQueue& queue) override;
  void begin(const MessageQueue& queue, const ProcessQueuePtr& messages,
             std::int64_t offset) override;
  bool let_go(const MessageQueue& queue, ProcessQueue& messages) override;
  void pop_from(const std::string& topic, const std::set<MessageQueue>& queues) override;
  void pull_from(const std::string& topic) override;
  void divided(const std::string& topic, const Division& division, bool changed) override;

  // ---- For its Consumption
  const PushConsumerConfig& config() const { return config_; }
  Instance& instance() { return *instance_; }
  Gate& gate() { return gate_; }
  OffsetStore& offset_store() { return *store_; }
  const SendBack& send_back() const { return send_back_; }
  const QueueLocks& locks() const { return locks_; }
  ConsumeStatistics& consume_statistics() { return statistics_; }
  const Rebalance& table() const { return rebalance_; }
  bool clustering() const { return config_.model == MessageModel::kClustering; }
  bool orderly() const { return static_cast<bool>(config_.on_messages_orderly); }
  bool paused() const { return paused_; }
  /// Calls the program's function with its hooks; what it throws is a failure. The caller holds a
  /// pass.
  Consumed call_program(std::span<const ReceivedMessage> messages, ConsumeContext& context);
  ConsumedOrderly call_program(std::span<const ReceivedMessage> messages, OrderlyContext& context);
  bool accepts(const ReceivedMessage& message) const;
  /// On one of the threads that call the program's function.
  void on_consume_thread(std::function<void()> work) { consume_threads_->post(std::move(work)); }
  /// On the thread for waiting.
  void on_waiting_thread(std::function<void()> work) { waiting_thread_->post(std::move(work)); }
  /// On the clock's thread, if there is still something to do then. Must not block.
  void after(Clock::Duration delay, std::function<void()> work);
  std::shared_ptr<const protocol::SubscriptionData> subscription(const std::string& topic) const;

 private:
  struct QueuePull {
    MessageQueue queue;
    ProcessQueuePtr messages;
    std::int64_t next_offset = 0;
    std::uint64_t held_up = 0;  // by flow control, how often
  };
  using QueuePullPtr = std::shared_ptr<QueuePull>;

  PushConsumerCore(std::shared_ptr<Instance> instance, PushConsumerConfig config);
  Result<Ok> begin_work();
  void learn_routes(const std::vector<std::string>& topics);
  void learn_missing_routes(Clock::Duration delay);
  Result<Ok> check_filters();
  void finish();
  template <class Outcome, class Call>
  Outcome observed(std::span<const ReceivedMessage> messages, const MessageQueue& queue,
                   Outcome failure, const Call& call);

  void rebalance_soon();
  void rebalance_after(Clock::Duration delay);
  void rebalance_round();

  void pull(const QueuePullPtr& pull);
  void pull_after(Clock::Duration delay, const QueuePullPtr& pull);
  void pulled(const QueuePullPtr& pull, Clock::Instant began, Result<PullAnswer> answer);
  void found(const QueuePullPtr& pull, PullAnswer& answer);
  void offset_illegal(const QueuePullPtr& pull, std::int64_t next_offset);
  bool must_wait(QueuePull& pull);
  void prepare(ReceivedMessage& message) const;
  void count_thresholds(std::size_t queues);

  const std::shared_ptr<Instance> instance_;
  const PushConsumerConfig config_;
  const std::string group_;  // with the namespace
  const std::string retry_topic_;
  Subscriptions subscriptions_;
  const std::shared_ptr<Executor> consume_threads_, waiting_thread_;
  const std::unique_ptr<OffsetStore> store_;
  const SendBack send_back_;
  const QueueLocks locks_;
  Rebalance rebalance_;
  Puller puller_;
  ConsumeStatistics statistics_;
  std::unique_ptr<Consumption> consumption_;
  PopConsumption popping_{*this};
  std::unique_ptr<TraceSender> trace_;  // null: nothing is traced
  const std::int64_t started_ms_;
  Gate gate_;
  std::atomic<bool> paused_{false};
  std::atomic<std::uint64_t> round_{0};  // of rebalancing: what was planned before is void
  std::atomic<bool> round_planned_{false};
  std::atomic<std::int64_t> threshold_count_, threshold_bytes_;
};

}  // namespace apogee::client
