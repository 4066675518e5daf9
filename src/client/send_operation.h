#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/producer_core.h"

/// One send from its first attempt to its answer (Java's sendDefaultImpl, sendKernelImpl and
/// onExceptionImpl).
///
/// Threads: one attempt at a time; the next step begins where the last ended: inside start() or on
/// an io thread. Owned by whatever it waits for.
namespace apogee::client {

/// A message or batch as it goes out, the same in all attempts.
struct Outgoing {
  std::int32_t code = 0;
  Message message;  ///< What hooks and selectors see; of a batch the first.
  std::string topic, body;
  std::string message_id;
  std::string transaction_group;  ///< Of a half message; else empty.
  std::int32_t sys_flag = 0;
  std::int32_t reconsume_times = 0;
  std::optional<std::int32_t> max_reconsume_times;
  bool batch = false;
};

/// Namespace, unique id, compression. `transaction_group`: a half message of this group.
Outgoing outgoing(Instance& instance, const ProducerConfig& config, Message message,
                  const std::string& transaction_group);
Outgoing outgoing_batch(Instance& instance, std::span<const Message> batch);

class SendOperation final : public std::enable_shared_from_this<SendOperation> {
 public:
  SendOperation(std::shared_ptr<ProducerCore> producer, Outgoing outgoing, Target target, Mode mode,
                std::chrono::milliseconds timeout, ProducerCore::Done done);

  void start();  ///< Admitted: it counts as in flight until it ends.
  /// Ends without an attempt.
  void fail(Error error) { finish(std::move(error)); }
  const std::string& topic() const { return out_.topic; }  ///< As on the wire.
  Clock::Instant deadline() const { return deadline_; }
  std::size_t bytes() const { return bytes_; }

 private:
  void attempt(const PublishInfo& info);
  void find_broker_again();
  void transmit(const std::string& master);
  void write(Buffer& out, std::int32_t opaque) const;
  void answered(const Result<protocol::CommandView>& answer);
  Result<SendReceipt> receipt_of(const protocol::CommandView& answer);
  void trace(std::chrono::milliseconds took, const SendReceipt& receipt);
  bool may_retry(const Error& error) const;
  void retry_or_finish(Error error);
  void finish(Result<SendReceipt> result);
  const MessageQueue* choose(const PublishInfo& info, Error& why);
  std::chrono::milliseconds left() const;
  Error out_of_time() const;

  const std::shared_ptr<ProducerCore> producer_;
  Outgoing out_;
  const Target target_;
  const Mode mode_;
  const std::chrono::milliseconds timeout_;
  const std::size_t bytes_;
  const Clock::Instant began_, deadline_;
  ProducerCore::Done done_;

  std::int32_t attempts_ = 0;
  bool admitted_ = false, refreshed_ = false, perhaps_stored_ = false;
  MessageQueue queue_;   // of the attempt under way, or of the last one
  std::string address_;  // its broker's
  Clock::Instant attempt_began_;
  std::string brokers_sent_;           // of all attempts, for people
  std::optional<SendReceipt> unsafe_;  // stored, but not as safely as asked
};

}  // namespace apogee::client
