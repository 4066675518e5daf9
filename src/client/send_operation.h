#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/cache_line.h"
#include "client/producer_core.h"

/// One send from its first attempt to its answer (Java's sendDefaultImpl, sendKernelImpl and
/// onExceptionImpl).
///
/// Threads: one attempt at a time; the next step begins where the last ended: inside start() or on
/// an io thread. Owned by whatever it waits for: who goes on with it is handed it. Once ended it
/// goes back to its producer and is used again, with the memory of its texts: what the thread that
/// sends has allocated is freed there, too, and not beneath the io thread's hands.
namespace apogee::client {

/// A message or batch as it goes out, the same in all attempts. First what a receipt is made of.
struct Outgoing {
  std::int32_t sys_flag = 0;
  bool batch = false;
  std::string message_id;
  Message message;    ///< What hooks and selectors see; of a batch the first.
  std::string topic;  ///< As on the wire.
  std::string made;   ///< The body, where it is not the message's: compressed, or a batch.
  std::string transaction_group;  ///< Of a half message; else empty.
  std::int32_t code = 0;
  std::int32_t reconsume_times = 0;
  std::optional<std::int32_t> max_reconsume_times;

  const std::string& body() const { return made.empty() ? message.body : made; }
};

/// Where nothing but the topic is set yet. Unique id, compression. `transaction_group`: a half
/// message of this group. `now`: wall time in milliseconds.
void set_message(Outgoing& out, Instance& instance, const ProducerConfig& config, Message&& message,
                 std::string_view transaction_group, std::int64_t now);
void set_batch(Outgoing& out, Instance& instance, std::span<const Message> batch, std::int64_t now);
/// What a message will take in a batch, at most.
std::size_t bytes_in_batch(const Message& message, const std::string& name_space);

class alignas(kCacheLine) SendOperation final {
 public:
  using Ptr = SendOperationPtr;

  explicit SendOperation(std::shared_ptr<ProducerCore> producer) : producer_{std::move(producer)} {}
  /// Will soon be used again: has its memory brought from the core of the io thread meanwhile.
  void fetch() const;
  /// First of all. `topic`: as on the wire. What is sent is set in what it returns.
  Outgoing& prepare(std::string&& topic, SendRequest&& request, Clock::Instant now,
                    std::int64_t wall_ms);
  /// Admitted: it counts as in flight until it ends.
  void start(Ptr self, Clock::Instant now);
  /// Ends without an attempt.
  void fail(Ptr self, Error error) { finish(std::move(self), std::move(error)); }
  Clock::Instant deadline() const { return deadline_; }
  std::size_t bytes() const { return out_.body().size(); }
  /// As on the wire; of one that ended the last.
  const std::string& topic() const { return out_.topic; }

 private:
  /// Once ended: lets go of what the program owns, and of much memory. The rest is seen to by the
  /// next prepare(), where it is at hand.
  void let_go();
  void attempt(Ptr self, Clock::Instant now);
  void pass_over_brokers_without_a_master();
  void find_broker_again(Ptr self);
  void transmit(Ptr self, Clock::Instant now);
  void put_out(Ptr self, Clock::Instant now);
  Result<Ok> ask_whether_forbidden(const SendEvent& event) const;
  void tell(const std::function<void(const SendEvent&)>& hook, const SendEvent& event) const;
  void write(Buffer& out, std::int32_t opaque) const;
  void answered(Ptr self, const Result<protocol::CommandView>& answer);
  void read(const protocol::CommandView& answer, Result<SendReceipt>& result);
  void trace(std::chrono::milliseconds took, const SendReceipt& receipt);
  bool may_retry(const Error& error) const;
  void retry_or_finish(Ptr self, Error error);
  void give_up(Ptr self, Error error);
  void finish(Ptr self, Result<SendReceipt>&& result);
  template <class Make>
  void finish_with(Ptr self, const Make& make);
  void finish_oneway();
  bool follow_route();  ///< As it is by now; false: it leads nowhere.
  const MessageQueue* choose(const PublishInfo& info, Error& why);
  /// The program says which queue, and no other will do.
  bool named_by_the_program() const { return request_.target.queue || request_.target.select; }
  const std::string& address_of(const MessageQueue& queue);
  std::chrono::milliseconds left(Clock::Instant now) const;
  Error out_of_time() const;

  // An answer is mostly read on another core than the one that wrote this. What it takes lies side
  // by side in four lines of the cache: the end of the request, and all up to the message's topic.
  SendRequest request_;
  const std::shared_ptr<ProducerCore> producer_;
  const MessageQueue* queue_ = nullptr;  // of the attempt under way: of the route, or the target
  bool admitted_ = false;
  bool light_ = false;     // let_go() would find nothing
  std::size_t bytes_ = 0;  // of the body, once admitted
  Outgoing out_;

  Clock::Instant began_, deadline_;
  std::int32_t attempts_ = 0;
  bool refreshed_ = false;
  bool sent_away_ = false;                                       // by GO_AWAY, in this attempt
  bool perhaps_stored_ = false, perhaps_stored_before_ = false;  // the attempt under way
  PublishInfoPtr route_;                  // of the topic, once it was looked up
  const std::string* address_ = nullptr;  // its broker's: of the route, or the next
  std::string own_address_;
  Clock::Instant attempt_began_;
  std::int64_t born_ms_ = 0;           // of the attempt
  std::string last_broker_;            // of the last attempt that failed
  std::string brokers_sent_;           // of all of them, for people
  std::optional<SendReceipt> unsafe_;  // stored, but not as safely as asked
};

}  // namespace apogee::client
