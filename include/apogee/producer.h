#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "apogee/awaitable.h"
#include "apogee/export.h"
#include "apogee/message.h"
#include "apogee/result.h"

namespace apogee {

namespace client {
class ProducerCore;
}

/// Picks the queue for a message: an index below queues.size(). Must not block. If it throws, the
/// send fails with kInvalidArgument.
using QueueSelector =
    std::function<std::size_t(std::span<const MessageQueue> queues, const Message& message)>;
/// The same key, the same queue, as long as the topic's queues stay: order within the key. The hash
/// is that of Java's String, so both languages agree.
APOGEE_API QueueSelector by_key(std::string key);
APOGEE_API QueueSelector by_random();  ///< Any queue, each as likely.

/// Consumers of 4.9.4 on read all three; older ones, and rocketmq-client-cpp, zlib alone.
enum class Compression { kZlib, kLz4, kZstd };

/// What a hook sees of one send; valid during the call.
struct SendEvent {
  const Message& message;
  const std::string& group;
  const std::string& broker_address;
  const MessageQueue& queue;
  const SendReceipt* receipt = nullptr;  ///< After a success.
  const Error* error = nullptr;          ///< After a failure.
};

/// After a send of at least `latency` its broker is avoided for `pause`.
struct AvoidStep {
  std::chrono::milliseconds latency, pause;
  APOGEE_API static std::vector<AvoidStep> defaults();  ///< MQFaultStrategy's, from 5.1.4 on.
};

/// Defaults are the Java client's. Times in milliseconds, sizes in bytes.
struct ProducerConfig {
  std::string group;  ///< 1..120 characters of letters, digits, %, |, _ and -.
  std::chrono::milliseconds send_timeout{3'000};  ///< For calls that give none. Covers everything:
                                                  ///< route, queueing, all attempts.
  /// Longest wait of one attempt while others are left. 0: all that is left.
  std::chrono::milliseconds attempt_timeout{0};
  std::int32_t retries = 2;               ///< Of a blocking send, after the first attempt.
  std::int32_t retries_async = 2;         ///< Of the others; after failures of the transport only.
  bool retry_when_not_stored_ok = false;  ///< Blocking sends try another broker when the status is
                                          ///< not kOk.
  /// Response codes after which a blocking send is tried again.
  std::vector<std::int32_t> retry_response_codes{17, 14, 1, 2, 16, 204, 205, 1500};
  std::int32_t default_topic_queues = 4;  ///< Of a topic the broker makes on the first send.
  std::string create_topic_key = "TBW102";
  std::size_t max_message_bytes = 4 << 20;
  std::size_t compress_over_bytes = 4'096;  ///< Bodies this large or larger are compressed.
  Compression compression = Compression::kZlib;
  std::int32_t compression_level = 5;
  bool avoid_slow_brokers = false;   ///< Latency fault tolerance (sendLatencyFaultEnable).
  bool detect_slow_brokers = false;  ///< Probe the brokers avoided (startDetectorEnable).
  /// How long a broker is avoided after a send that took so long, or longer; one that failed counts
  /// as 10 s. Latencies ascend (latencyMax, notAvailableDuration).
  std::vector<AvoidStep> avoid_steps = AvoidStep::defaults();
  std::chrono::milliseconds detect_interval{2'000};  ///< Between two probes of one broker.
  std::chrono::milliseconds detect_timeout{200};     ///< Of a probe.
  /// Their routes are looked up at the start, so that the first send need not wait for them.
  std::vector<std::string> topics;
  /// Bounds on what is in flight; a call beyond them waits until its deadline, then kBusy. 0: none.
  std::size_t max_in_flight = 0;
  std::size_t max_in_flight_bytes = 0;
  /// Messages sent one by one are gathered for up to this long and sent as a batch. 0: off.
  std::chrono::milliseconds batch_delay{0};
  std::size_t batch_bytes = 32 << 10;  ///< Bodies of one batch; a larger message goes alone.
  bool trace = false;                  ///< Write each send to the trace topic.
  std::string trace_topic = "RMQ_SYS_TRACE_TOPIC";
  /// Asked before each attempt; an error refuses the send, and so does what it throws (kRefused).
  std::function<Result<Ok>(const SendEvent&)> check_forbidden;
  /// Around each attempt. Hooks run on the thread that sends or on an io thread: no blocking there.
  /// What these throw is written to the log, and the send goes on.
  std::function<void(const SendEvent&)> before_send, after_send;
};

struct ProducerStatistics {
  std::uint64_t sent = 0, failed = 0;                ///< Sends that have ended; a batch is one.
  std::uint64_t retried = 0;                         ///< Attempts beyond the first.
  std::uint64_t in_flight = 0, in_flight_bytes = 0;  ///< Sends under way, and their bodies.
};

/// Sends messages. Movable; ends its work when destroyed: sends in flight get their answer or
/// kStopped. Threads: every member from any thread. Blocking calls not from inside this client's
/// send callbacks, which run on io threads.
///
/// Errors of a send: kInvalidArgument (the message itself), kNotFound (no route to the topic),
/// kTimeout, kDisconnected, kRefused (with the broker's code), kBusy, kStopped.
/// Error::perhaps_done: the message may have been stored all the same.
class APOGEE_API Producer {
 public:
  using Milliseconds = std::chrono::milliseconds;
  using Callback = std::function<void(Result<SendReceipt>)>;

  Producer(Producer&&) noexcept;
  Producer& operator=(Producer&&) noexcept;
  ~Producer();
  /// Waits for the brokers to hear of it, a second at most, and for a check of a transaction that
  /// runs, half a minute at most. After that on_check is not called any more. Idempotent, from
  /// anywhere; inside one of the program's functions it does not wait.
  void shutdown();
  /// The same without waiting, as Client's.
  void shutdown(std::function<void(Result<Ok>)> done);
  Awaitable<Ok> shutdown_async();

  /// To a queue of the client's choice; tried again as configured.
  Result<SendReceipt> send(const Message& message);
  Result<SendReceipt> send(const Message& message, Milliseconds timeout);
  void send(Message message, Milliseconds timeout, Callback done);
  Awaitable<SendReceipt> send_async(Message message, Milliseconds timeout);
  /// Writes and forgets: no answer, no retry. An error says it will not even be written; Ok
  /// promises nothing, as a route may have to be learned first.
  Result<Ok> send_oneway(const Message& message);

  /// To the queue the selector picks; not tried again elsewhere.
  Result<SendReceipt> send(const Message& message, const QueueSelector& select,
                           Milliseconds timeout);
  void send(Message message, QueueSelector select, Milliseconds timeout, Callback done);
  Awaitable<SendReceipt> send_async(Message message, QueueSelector select, Milliseconds timeout);
  Result<Ok> send_oneway(const Message& message, const QueueSelector& select);

  /// To this queue.
  Result<SendReceipt> send(const Message& message, const MessageQueue& queue, Milliseconds timeout);
  void send(Message message, const MessageQueue& queue, Milliseconds timeout, Callback done);
  Awaitable<SendReceipt> send_async(Message message, const MessageQueue& queue,
                                    Milliseconds timeout);
  Result<Ok> send_oneway(const Message& message, const MessageQueue& queue);

  /// All or none, in one request. One topic, one wait_store, no delays; encoded (each with its
  /// properties and id) at most max_message_bytes. Encoded inside the call: the span need not
  /// outlive it.
  Result<SendReceipt> send(std::span<const Message> batch, Milliseconds timeout);
  void send(std::span<const Message> batch, Milliseconds timeout, Callback done);
  Awaitable<SendReceipt> send_async(std::vector<Message> batch, Milliseconds timeout);
  /// The same to this queue.
  Result<SendReceipt> send(std::span<const Message> batch, const MessageQueue& queue,
                           Milliseconds timeout);
  void send(std::span<const Message> batch, const MessageQueue& queue, Milliseconds timeout,
            Callback done);
  Awaitable<SendReceipt> send_async(std::vector<Message> batch, const MessageQueue& queue,
                                    Milliseconds timeout);

  /// Sends a question and waits for the answer another program sends with reply(). kTimeout with
  /// RocketMQ's code 10006: the question was stored, but no answer came in time. The answer's
  /// property ARRIVE_TIME: when it came, Unix time in milliseconds.
  Result<ReceivedMessage> request(const Message& question, Milliseconds timeout);
  void request(Message question, Milliseconds timeout,
               std::function<void(Result<ReceivedMessage>)> done);
  Awaitable<ReceivedMessage> request_async(Message question, Milliseconds timeout);
  /// The question to the queue the selector picks, or to this queue.
  Result<ReceivedMessage> request(const Message& question, const QueueSelector& select,
                                  Milliseconds timeout);
  void request(Message question, QueueSelector select, Milliseconds timeout,
               std::function<void(Result<ReceivedMessage>)> done);
  Awaitable<ReceivedMessage> request_async(Message question, QueueSelector select,
                                           Milliseconds timeout);
  Result<ReceivedMessage> request(const Message& question, const MessageQueue& queue,
                                  Milliseconds timeout);
  void request(Message question, const MessageQueue& queue, Milliseconds timeout,
               std::function<void(Result<ReceivedMessage>)> done);
  Awaitable<ReceivedMessage> request_async(Message question, const MessageQueue& queue,
                                           Milliseconds timeout);
  /// Answers a message that was sent with request().
  Result<SendReceipt> reply(const ReceivedMessage& question, std::string body,
                            Milliseconds timeout);
  void reply(const ReceivedMessage& question, std::string body, Milliseconds timeout,
             Callback done);
  Awaitable<SendReceipt> reply_async(ReceivedMessage question, std::string body,
                                     Milliseconds timeout);

  /// Takes a timer message back before it is delivered; returns its id. Brokers of 5.3.2 on.
  Result<std::string> recall(const std::string& topic, const std::string& recall_handle,
                             Milliseconds timeout);
  void recall(const std::string& topic, const std::string& recall_handle, Milliseconds timeout,
              std::function<void(Result<std::string>)> done);
  Awaitable<std::string> recall_async(std::string topic, std::string recall_handle,
                                      Milliseconds timeout);

  /// The queues of a topic that can be written, in order.
  Result<std::vector<MessageQueue>> queues(const std::string& topic, Milliseconds timeout);
  void queues(const std::string& topic, Milliseconds timeout,
              std::function<void(Result<std::vector<MessageQueue>>)> done);
  Awaitable<std::vector<MessageQueue>> queues_async(std::string topic, Milliseconds timeout);

  ProducerStatistics statistics() const;

  /// For this library's own parts.
  explicit Producer(std::shared_ptr<client::ProducerCore> core);
  const std::shared_ptr<client::ProducerCore>& core() const { return core_; }

 private:
  std::shared_ptr<client::ProducerCore> core_;
};

/// What became of the local part of a transaction. kUnknown: the broker asks again later.
enum class Outcome { kCommit, kRollback, kUnknown };

/// What a hook sees of the end of a transaction; valid during the call.
struct EndTransactionEvent {
  const std::string& group;
  const std::string& broker_address;
  const std::string& message_id;
  Outcome outcome;
  bool broker_asked;  ///< By on_check; otherwise the local part has just ended.
};

struct TransactionalProducerConfig {
  ProducerConfig producer;
  /// Asked by the broker about messages whose outcome it has not heard. On a worker thread. If it
  /// throws, the broker hears kUnknown and the exception's text, and asks again later.
  std::function<Outcome(const ReceivedMessage&)> on_check;
  /// Before a broker is told an outcome. On the thread that found it. What it throws is written to
  /// the log.
  std::function<void(const EndTransactionEvent&)> before_end;
};

struct TransactionReceipt {
  SendReceipt sent;
  Outcome outcome = Outcome::kUnknown;
};

/// Sends messages that consumers see once a local transaction has committed.
class APOGEE_API TransactionalProducer {
 public:
  using Milliseconds = std::chrono::milliseconds;
  /// If it throws, the outcome is kUnknown: the broker hears that with the exception's text, and
  /// asks later.
  using Local = std::function<Outcome(const Message&, const SendReceipt&)>;
  using Callback = std::function<void(Result<TransactionReceipt>)>;

  /// Stores the message invisibly, runs `local`, tells the broker the outcome. An error: nothing
  /// was stored (or perhaps_done), and `local` did not run.
  Result<TransactionReceipt> send(const Message& message, const Local& local, Milliseconds timeout);
  Result<TransactionReceipt> send(const Message& message, const std::function<Outcome()>& local,
                                  Milliseconds timeout);
  /// The same without waiting: `local` and then `done` run on a worker thread (worker_threads),
  /// where they may block; `done` on an io thread if the message was not stored.
  void send(Message message, Local local, Milliseconds timeout, Callback done);
  void send(Message message, std::function<Outcome()> local, Milliseconds timeout, Callback done);
  Awaitable<TransactionReceipt> send_async(Message message, Local local, Milliseconds timeout);
  Awaitable<TransactionReceipt> send_async(Message message, std::function<Outcome()> local,
                                           Milliseconds timeout);
  Producer& producer() { return producer_; }  ///< For everything else.
  void shutdown() { producer_.shutdown(); }
  void shutdown(std::function<void(Result<Ok>)> done) { producer_.shutdown(std::move(done)); }
  Awaitable<Ok> shutdown_async() { return producer_.shutdown_async(); }

  explicit TransactionalProducer(Producer producer) : producer_{std::move(producer)} {}

 private:
  Producer producer_;
};

}  // namespace apogee
