#pragma once

#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "apogee/pull_consumer.h"
#include "client/group_member.h"

/// What stands behind a LitePullConsumer (Java's DefaultLitePullConsumerImpl): one pull after the
/// other for each of its queues, and what they brought, for poll() to take. Topics and queues are
/// named as on the wire.
///
/// Threads: those of each member of a group; pulls continue on io threads and the clock's. Members:
/// any; `mutex_` guards the queues and what is ready, and is held while nothing waits.
namespace apogee::client {

class LitePullCore final : public GroupMember {
 public:
  static Result<std::shared_ptr<LitePullCore>> start(std::shared_ptr<Instance> instance,
                                                     LitePullConsumerConfig config);
  ~LitePullCore() override;

  Result<Ok> subscribe(const std::string& topic, const Filter& filter);
  Result<Ok> assign(const std::vector<MessageQueue>& queues, const Filter& filter);
  std::vector<MessageQueue> assignment() const;
  using Polled = std::function<void(Result<std::vector<ReceivedMessage>>)>;
  /// `done` runs inside the call, on an io thread or on the clock's: it must not block.
  void poll(std::chrono::milliseconds timeout, Polled done);
  /// The same callback, on a worker and with a pass.
  Polled on_worker(Polled done);
  using Sought = std::function<void(Result<Ok>)>;
  void seek(const MessageQueue& queue, std::int64_t offset, Sought done);
  enum class End { kBegin, kEnd };
  void seek_to(const MessageQueue& queue, End end, Sought done);
  void set_paused(const std::vector<MessageQueue>& queues, bool paused);
  bool is_paused(const MessageQueue& queue) const;
  void commit(const std::map<MessageQueue, std::int64_t>& offsets, bool persist);
  void commit(const std::set<MessageQueue>& queues, bool persist);
  void commit();
  void committed(const MessageQueue& queue, OffsetStore::Found found);
  void on_queues_changed(const std::string& topic,
                         std::function<void(const std::set<MessageQueue>&)> listener);
  const LitePullConsumerConfig& config() const { return config_; }

  // ConsumerRole
  protocol::ConsumerData heartbeat() const override;
  std::vector<std::string> topics() const override;
  void queues_changed(const std::string& topic, const std::vector<MessageQueue>& queues) override;
  void persist_offsets() override;
  void reset_offsets(const std::string& topic,
                     const std::map<MessageQueue, std::int64_t>& offsets) override;
  protocol::Json running_info() const override;
  protocol::Json consume_directly(ReceivedMessage message, const std::string& broker_name) override;
  void stop() override;

  // QueueOwner, on the thread for waiting
  void begin(const MessageQueue& queue, const ProcessQueuePtr& messages,
             std::int64_t offset) override;
  bool let_go(const MessageQueue& queue, ProcessQueue& messages) override;
  void divided(const std::string& topic, const Division& division, bool changed) override;

 private:
  static constexpr std::int64_t kUnknown = -1;

  /// One queue. Guarded by mutex_.
  struct QueuePull {
    MessageQueue queue;
    ProcessQueuePtr messages;
    std::int64_t next_offset = kUnknown;     // of the next pull
    std::int64_t consume_offset = kUnknown;  // behind what was polled
    std::int64_t done_offset = kUnknown;     // behind what the program is through with
    bool paused = false;
    std::uint64_t round = 0;  // of pulls; those of a former one are nobody's: somebody sought
  };
  using QueuePullPtr = std::shared_ptr<QueuePull>;
  struct Ready {
    QueuePullPtr from;
    Pulled messages;
  };

  LitePullCore(std::shared_ptr<Instance> instance, LitePullConsumerConfig config);
  static Settings member_of(const Instance& instance, const LitePullConsumerConfig& config);
  Result<QueuePullPtr> find(const MessageQueue& queue) const;
  void remove(const MessageQueue& queue);
  void drop_ready(const QueuePull& of);  // under mutex_

  void learn_first_offset(const QueuePullPtr& pull, std::uint64_t round);
  void restart(const QueuePullPtr& pull, std::int64_t offset);
  void pull(const QueuePullPtr& pull, std::uint64_t round);
  void pull_after(Clock::Duration delay, const QueuePullPtr& pull, std::uint64_t round);
  void pulled(const QueuePullPtr& pull, std::uint64_t round, Result<PullAnswer> answer);
  bool too_much_is_here(const QueuePull& pull) const;  // under mutex_

  /// A poll that waits. Guarded by mutex_.
  struct Waiting {
    Clock::Instant until;
    Polled done;
  };
  std::vector<ReceivedMessage> take_ready();  // under mutex_; there is something
  void answer_waiting();
  void tell_given_out(std::span<const ReceivedMessage> messages);
  bool plan_expiry(Clock::Instant at);  // under mutex_
  void expire_waiting(Clock::Instant at);

  bool divides() const override;
  void commit_if_due();
  void finish() override;
  void hand_over() override;

  const LitePullConsumerConfig config_;

  mutable std::mutex mutex_;
  enum class Kind { kNone, kSubscribed, kAssigned } kind_ = Kind::kNone;
  Filter assign_filter_;
  std::map<MessageQueue, QueuePullPtr> pulls_;
  std::deque<Ready> ready_;
  std::int64_t cached_ = 0;           // messages in ready_
  bool over_ = false;                 // nobody waits any more
  std::list<Waiting> waiting_;        // none while something is ready
  std::set<Clock::Instant> planned_;  // when the clock will call expire_waiting()
  Clock::Instant next_commit_;
  struct Watch {
    std::function<void(const std::set<MessageQueue>&)> listener;
    std::set<MessageQueue> seen;
  };
  std::map<std::string, Watch> watches_;
};

}  // namespace apogee::client
