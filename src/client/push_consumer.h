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
#include "client/group_member.h"
#include "client/pop_consumption.h"
#include "client/queue_locks.h"
#include "client/send_back.h"

/// What stands behind a PushConsumer (Java's DefaultMQPushConsumerImpl): which queues it has, and
/// one never-ending pull for each of them. What becomes of the messages is a Consumption's.
///
/// Threads: a pool of its own for the program's function, beside those of each member of a group.
/// Pulls continue on io threads and on the clock's. Members: any.
namespace apogee::client {

class PushConsumerCore final : public GroupMember {
 public:
  /// Blocks: waits for routes and for the check of SQL filters.
  static Result<std::shared_ptr<PushConsumerCore>> start(std::shared_ptr<Instance> instance,
                                                         PushConsumerConfig config);
  ~PushConsumerCore() override;

  void suspend() { paused_ = true; }
  void resume();
  Result<Ok> subscribe(const std::string& topic, const Filter& filter);
  std::vector<MessageQueue> queues() const;
  PushConsumerStatistics statistics() const;

  // ConsumerRole
  protocol::ConsumerData heartbeat() const override;
  std::vector<std::string> topics() const override { return subscriptions_.topics(); }
  void queues_changed(const std::string& topic, const std::vector<MessageQueue>& queues) override;
  void persist_offsets() override;
  void reset_offsets(const std::string& topic,
                     const std::map<MessageQueue, std::int64_t>& offsets) override;
  protocol::Json running_info() const override;
  protocol::Json consume_directly(ReceivedMessage message, const std::string& broker_name) override;
  void stop() override;

  // QueueOwner, on the thread for waiting
  std::set<MessageQueue> may_take_on(const std::set<MessageQueue>& queues) override;
  void begin(const MessageQueue& queue, const ProcessQueuePtr& messages,
             std::int64_t offset) override;
  bool let_go(const MessageQueue& queue, ProcessQueue& messages) override;
  void pop_from(const std::string& topic, const std::set<MessageQueue>& queues) override;
  void pull_from(const std::string& topic) override;
  void divided(const std::string& topic, const Division& division, bool changed) override;

  // ---- For its Consumption
  const PushConsumerConfig& config() const { return config_; }
  Gate& gate() { return gate_; }
  OffsetStore& offset_store() { return *store_; }
  const SendBack& send_back() const { return send_back_; }
  QueueLocks& locks() { return locks_; }
  ConsumeStatistics& consume_statistics() { return statistics_; }
  const Rebalance& table() const { return rebalance_; }
  bool orderly() const { return static_cast<bool>(config_.on_messages_orderly); }
  bool paused() const { return paused_; }
  /// Calls the program's function with its hooks; what it throws is a failure. The caller holds a
  /// pass.
  Consumed call_program(std::span<const ReceivedMessage> messages, ConsumeContext& context);
  ConsumedOrderly call_program(std::span<const ReceivedMessage> messages, OrderlyContext& context);
  /// On one of the threads that call the program's function.
  void on_consume_thread(std::function<void()> work) { consume_threads_->post(std::move(work)); }
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
  static Settings member_of(const Instance& instance, const PushConsumerConfig& config);
  Result<Ok> begin_work();
  void learn_routes(const std::vector<std::string>& topics);
  void learn_missing_routes(Clock::Duration delay);
  Result<Ok> check_filters();
  void finish() override;
  void hand_over() override;
  template <class Outcome, class Call>
  Outcome observed(std::span<const ReceivedMessage> messages, const MessageQueue& queue,
                   Outcome failure, const Call& call);

  void pull(const QueuePullPtr& pull);
  void pull_after(Clock::Duration delay, const QueuePullPtr& pull);
  void pulled(const QueuePullPtr& pull, Clock::Instant began, Result<PullAnswer> answer);
  void found(const QueuePullPtr& pull, PullAnswer& answer);
  void offset_illegal(const QueuePullPtr& pull, std::int64_t next_offset);
  bool must_wait(QueuePull& pull);
  void prepare(ReceivedMessage& message) const;
  void count_thresholds(std::size_t queues);

  const PushConsumerConfig config_;
  const std::string retry_topic_;
  const std::shared_ptr<Executor> consume_threads_;
  const SendBack send_back_;
  QueueLocks locks_;
  ConsumeStatistics statistics_;
  std::unique_ptr<Consumption> consumption_;
  PopConsumption popping_{*this};
  std::atomic<bool> paused_{false};
  std::atomic<std::int64_t> threshold_count_, threshold_bytes_;
};

}  // namespace apogee::client
