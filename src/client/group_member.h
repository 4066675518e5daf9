#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "apogee/consumer.h"
#include "client/gate.h"
#include "client/instance.h"
#include "client/offset_store.h"
#include "client/puller.h"
#include "client/rebalance.h"
#include "client/subscriptions.h"
#include "client/trace_sender.h"

/// What a push and a lite pull consumer have in common: they are members of a group, and share the
/// queues of their topics with its other members. Topics and queues are named as on the wire.
///
/// Threads: one of its own for what waits for brokers (dividing queues, first offsets, locks).
/// Members: any. Everything that is begun holds a pass of `gate_`; nothing is begun once that is
/// closed.
namespace apogee::client {

class GroupMember : public ConsumerRole,
                    public QueueOwner,
                    public std::enable_shared_from_this<GroupMember> {
 public:
  /// By its owner: leaves the instance too, inside a callback once calls under way have ended.
  void shutdown();
  void unsubscribe(const std::string& topic);
  Instance& instance() { return *instance_; }
  bool clustering() const { return settings_.division.model == MessageModel::kClustering; }
  /// On the thread for waiting.
  void on_waiting_thread(std::function<void()> work) { waiting_thread_->post(std::move(work)); }
  /// On the clock's thread, if there is still something to do then. Must not block.
  void after(Clock::Duration delay, std::function<void()> work);

  // ConsumerRole
  const std::string& group() const override { return settings_.division.group; }
  void members_changed() override { rebalance_soon(); }
  std::map<MessageQueue, std::int64_t> offsets(const std::string& topic) const override {
    return store_->of_topic(topic);
  }

  // QueueOwner, on the thread for waiting
  bool ended() const override { return gate_.closed() || instance_->ending(); }
  Result<std::int64_t> first_offset_of(const MessageQueue& queue) override;

  /// Does the program's own filter let it pass?
  bool accepts(const ReceivedMessage& message) const;

 protected:
  struct Settings {
    Rebalance::Settings division;
    Clock::Duration divide_again;  // after a round that could not do all it should
    Clock::Duration end_wait;      // of the end for what is under way, at most
    StartFrom from = StartFrom::kLast;
    std::optional<std::chrono::system_clock::time_point> from_time;
    std::string offset_directory;
    std::string trace_topic;  // of what is consumed; empty: nothing is traced
    std::function<bool(const ReceivedMessage&)> accept;
  };
  using QueuesDivided =
      std::function<void(const std::string& topic, std::span<const MessageQueue> all,
                         std::span<const MessageQueue> mine)>;

  GroupMember(std::shared_ptr<Instance> instance, Settings settings);

  /// Closes the gate; waits for what is under way, unless that is what calls.
  void end();
  /// Nothing is under way any more. More than once, on whatever thread gave back the last pass: an
  /// io thread, too, so that it must not block.
  virtual void finish() = 0;
  /// Waits until the last words are heard; more than once. Never on an io thread or the clock's.
  virtual void settle();
  /// Stores the offsets, with the last word, and gives back the locks.
  virtual void hand_over() = 0;
  /// hand_over(), once: the queues are others' afterwards, who are further on.
  void leave_queues();

  /// A topic that was just subscribed to: its queues are divided once brokers know of it.
  void introduce(const std::string& topic);
  void rebalance_soon();
  virtual bool divides() const { return true; }  ///< It shares queues at all.
  void run_hook(const char* name, const std::function<void(const ConsumeEvent&)>& hook,
                const ConsumeEvent& event) const;
  void tell(const QueuesDivided& program, const std::string& topic, Division division);
  /// Where the group stands, or where a new one begins. Blocks.
  Result<std::int64_t> beginning_in(const MessageQueue& queue);

  const std::shared_ptr<Instance> instance_;
  const Settings settings_;
  const std::string& group_ = settings_.division.group;  // with the namespace
  const std::int64_t started_ms_;
  const std::shared_ptr<Executor> waiting_thread_;
  Subscriptions subscriptions_;
  const std::unique_ptr<OffsetStore> store_;
  Rebalance rebalance_;
  Puller puller_;
  Gate gate_;
  const std::unique_ptr<TraceSender> trace_;  // null: nothing is traced

 private:
  void leave_soon();
  void rebalance_round();

  std::once_flag left_;
  std::atomic<std::uint64_t> round_{0};  // of dividing queues: what was planned before is void
  std::atomic<bool> round_planned_{false};
};

}  // namespace apogee::client
