#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "apogee/message.h"
#include "apogee/result.h"
#include "base/clock.h"

/// Messages sent one by one, gathered to be sent as batches. What Java's ProduceAccumulator
/// decides; who sends, and when the clock is asked, is the producer's affair.
///
/// Threads: any; one mutex, nothing blocks and nothing is called under it.
namespace apogee::client {

class Accumulator {
 public:
  using Done = std::function<void(Result<SendReceipt>)>;
  struct Settings {
    Clock::Duration delay{10ms};  ///< Oldest message of a batch; 1 ms .. 30 s.
    std::size_t batch_bytes =
        32 << 10;  ///< Bodies of a batch; a larger one goes alone; 1 B .. 2 MiB.
    std::size_t encoded_bytes = 4 << 20;  ///< Of a batch, as it is sent.
    std::size_t total_bytes = 32 << 20;   ///< Of all that waits; beyond it messages go alone.
  };
  /// Java's texts.
  static Result<Ok> check(const Settings& settings);

  struct Member {
    Message message;
    Done done;
    Clock::Instant deadline;
    std::size_t encoded_bytes = 0;  ///< In a batch, at most.
  };
  struct Batch {
    std::optional<MessageQueue> queue;  ///< Where all of them were sent to; empty: anywhere.
    std::vector<Member> members;        ///< In the order they came; never empty.
  };
  struct Added {
    std::vector<Batch> full;  ///< To be sent now, in this order.
    /// When due() will have something, if that is sooner than was said before.
    std::optional<Clock::Instant> due;
  };

  Accumulator(Clock& clock, Settings settings) : clock_{clock}, settings_{settings} {}

  /// Delayed messages and retries go alone.
  static bool fits(const Message& message);
  /// What is gathered goes first where the two together would be too much: no message is refused
  /// for its neighbours. kBusy: too much waits, kStopped: all was taken. Send it alone; `member` is
  /// untouched then.
  Result<Added> add(Member&& member, const std::optional<MessageQueue>& queue = {});
  /// Batches whose oldest message has waited for `delay`, or that hold one whose deadline is near.
  std::vector<Batch> due();
  std::vector<Batch> take_all();  ///< The producer stops: nothing is gathered from here on.
  std::size_t waiting_bytes() const;

 private:
  using Key = std::tuple<std::string, std::optional<MessageQueue>, bool, std::string>;
  struct Open {
    Batch batch;
    std::size_t bytes = 0, encoded_bytes = 0;
    Clock::Instant due;
  };
  bool holds(const Open& open, std::size_t bytes, std::size_t encoded_bytes) const;
  Batch empty(Open& open);                       // mutex_ is held
  Batch take(std::map<Key, Open>::iterator at);  // mutex_ is held

  Clock& clock_;
  const Settings settings_;
  mutable std::mutex mutex_;
  std::map<Key, Open> open_;  // guarded by mutex_: by topic, queue, wait_store, tag
  std::size_t bytes_ = 0;     // guarded by mutex_
  bool stopped_ = false;      // guarded by mutex_
};

/// The receipt of each member of a batch from that of the whole: consecutive offsets, its own id.
std::vector<SendReceipt> split_receipt(const SendReceipt& whole, std::size_t members);

}  // namespace apogee::client
