#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "apogee/producer.h"
#include "base/brief_mutex.h"
#include "base/cache_line.h"
#include "client/accumulator.h"
#include "client/fault_tolerance.h"
#include "client/gate.h"
#include "client/instance.h"
#include "client/trace_sender.h"

/// What stands behind a Producer. Threads: every member from any thread; nothing blocks but stop().
namespace apogee::client {

/// How an attempt that failed is judged (Java's CommunicationMode).
enum class Mode { kSync, kAsync, kOneway };

/// Where a message goes: anywhere, where a selector says, or to one queue.
struct Target {
  QueueSelector select;
  std::optional<MessageQueue> queue;
};

/// One send as a program asks for it, but for the message.
struct SendRequest {
  Target target;
  Mode mode = Mode::kSync;
  std::chrono::milliseconds timeout{0};
  std::function<void(Result<SendReceipt>)> done;
};
struct Outgoing;
using SendOperationPtr = std::unique_ptr<class SendOperation>;

class ProducerCore final : public ProducerRole, public std::enable_shared_from_this<ProducerCore> {
 public:
  using Done = std::function<void(Result<SendReceipt>)>;

  /// Registers with the instance. kExists: the group is there already.
  static Result<std::shared_ptr<ProducerCore>> start(std::shared_ptr<Instance> instance,
                                                     TransactionalProducerConfig config);
  ~ProducerCore() override;

  /// The message is checked, encoded and sent inside this call if nothing has to be waited for.
  /// `done` runs once: inside this call, or on an io thread.
  void send(Message&& message, Target&& target, Mode mode, std::chrono::milliseconds timeout,
            Done&& done);
  void send_batch(std::span<const Message> batch, Target target, Mode mode,
                  std::chrono::milliseconds timeout, Done done);
  /// A message of the client's own making: its properties may be RocketMQ's, nothing is checked.
  void send_as_is(Message message, std::chrono::milliseconds timeout, Done done);
  /// A half message: invisible until end_transaction().
  void send_half(Message message, std::chrono::milliseconds timeout, Done done);
  using Local = std::function<Outcome(const Message&, const SendReceipt&)>;
  /// After a half message was stored: runs `local` here and tells the broker the outcome.
  TransactionReceipt settle(const Message& message, SendReceipt sent, const Local& local);
  /// Both; `local` runs on a worker.
  void send_in_transaction(Message message, Local local, std::chrono::milliseconds timeout,
                           std::function<void(Result<TransactionReceipt>)> done);
  void request(Message question, Target target, std::chrono::milliseconds timeout,
               std::function<void(Result<ReceivedMessage>)> done);
  void reply(const ReceivedMessage& question, std::string body, std::chrono::milliseconds timeout,
             Done done);
  void recall(const std::string& topic, const std::string& handle,
              std::chrono::milliseconds timeout, std::function<void(Result<std::string>)> done);
  void queues(const std::string& topic, std::chrono::milliseconds timeout,
              std::function<void(Result<std::vector<MessageQueue>>)> done);

  const ProducerConfig& config() const { return config_; }
  ProducerStatistics statistics() const;
  void shutdown();  ///< By its owner: leaves the instance too.

  // ProducerRole
  const std::string& group() const override { return group_; }
  std::vector<std::string> topics() const override;
  void check_transaction(const std::string& broker, ReceivedMessage message,
                         std::int64_t tran_state_table_offset,
                         std::int64_t commit_log_offset) override;
  void last_words() override;
  void stop() override;

 private:
  friend class SendOperation;

  ProducerCore(std::shared_ptr<Instance> instance, TransactionalProducerConfig config);
  /// The end of a transaction, as a broker is told it.
  struct TransactionEnd {
    std::string broker;  // its address
    protocol::EndTransactionRequest header;
    Outcome outcome;
    std::string remark;  // for people: a function threw
    TracedMessage message;
    std::string region;
    bool traced;
  };
  void end_transaction(const Message& message, const TransactionReceipt& receipt,
                       std::string remark);
  void tell(TransactionEnd end);
  void trace(const TransactionEnd& end);
  /// `set(Outgoing&, wall_ms)` says what is sent. `topic`: as the program knows it.
  template <class Set>
  void launch(const std::string& topic, SendRequest&& request, const Set& set);
  void launch(Message&& message, SendRequest&& request, const std::string& transaction_group = {});
  /// False: `member` is untouched and goes alone.
  bool gather(Accumulator::Member& member, const std::optional<MessageQueue>& queue);
  void send_gathered(Accumulator::Batch batch);
  /// One that ended before, or a new one; the topic is one of this producer's from now on.
  SendOperationPtr operation_for(const std::string& topic, Clock::Instant now,
                                 std::int64_t& wall_ms);
  /// A send has ended, of an operation that is taken if it will be used again. Nothing of either
  /// may be touched from here on.
  struct End {
    std::size_t bytes;
    bool admitted, stored;
  };
  void ended(End end, SendOperationPtr& operation);
  Result<SendReceipt> refused(Error error);
  /// Back-pressure: begins `operation` now or when there is room.
  void admit(SendOperationPtr operation, Clock::Instant now);
  bool bounded() const { return config_.max_in_flight > 0 || config_.max_in_flight_bytes > 0; }
  bool take_room(std::size_t bytes);  // the lock of started_ is held if there are bounds
  void begin_waiting();               // as many as there is room for
  std::vector<SendOperationPtr> waiting_with_room();
  struct InFlight {
    std::uint64_t count, bytes;
  };
  InFlight in_flight() const;
  void probe_slow_brokers();
  void learn_routes();

  const std::shared_ptr<Instance> instance_;
  const ProducerConfig config_;
  const std::string group_;  // with the namespace
  const std::function<Outcome(const ReceivedMessage&)> on_check_;
  Gate checks_;  // what a broker asks is answered inside
  const std::function<void(const EndTransactionEvent&)> before_end_;
  FaultTolerance faults_;
  std::atomic<bool> stopped_{false};
  std::atomic<std::uint64_t> retried_{0};

  // What threads that send touch, and what io threads do, apart: each is spared the other's waits.
  struct Waiting {
    std::uint64_t number;
    SendOperationPtr operation;
  };
  struct Started {
    mutable BriefMutex mutex;
    std::set<std::string, std::less<>> topics;
    std::deque<Waiting> waiting;          // for room
    std::uint64_t last_number = 0;        // of waiting
    std::vector<SendOperationPtr> spare;  // ended before, to be used again
    Clock::Instant asked;                 // the wall time, and what it was
    std::int64_t asked_wall_ms = 0;
    std::int64_t wall_ms_at(Clock::Instant now, const Clock& clock);
    std::atomic<std::uint64_t> count{0}, bytes{0};  // without the lock
  };
  struct Ended {
    mutable BriefMutex mutex;
    std::uint64_t sent = 0, failed = 0, count = 0, bytes = 0;
    std::vector<SendOperationPtr> spare;  // for Started, once that has none
  };
  alignas(kCacheLine) Started started_;
  alignas(kCacheLine) Ended ended_;  // its lock may be taken under that of started_

  std::unique_ptr<Accumulator> accumulator_;  // null: messages go one by one
  std::unique_ptr<Periodic> probes_;
  std::unique_ptr<TraceSender> trace_;  // null: nothing is traced
};

/// The producer of the client itself, one for each instance (CLIENT_INNER_PRODUCER).
Result<std::shared_ptr<ProducerCore>> inner_producer(const std::shared_ptr<Instance>& instance);

}  // namespace apogee::client
