#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "client/instance.h"
#include "client/process_queue.h"

/// One pull: which broker, the request, the answer made into messages (Java's PullAPIWrapper).
///
/// Threads: any; nothing blocks. Completions run on an io thread.
namespace apogee::client {

// Before a consumer that asks for no messages now looks again whether it should.
inline constexpr Clock::Duration kPausedDelay = 1'000ms;
inline constexpr Clock::Duration kFlowControlDelay = 50ms;  // its own: it holds enough

enum class PullStatus { kFound, kNoNewMessage, kNoMatchedMessage, kOffsetIllegal };

struct PullRequest {
  MessageQueue queue;  ///< As on the wire.
  std::string group;   ///< As on the wire.
  std::int64_t offset = 0;
  std::int32_t max_messages = 32;
  std::int32_t max_bytes = 256 << 10;
  /// What is wanted; not null. Its tags are looked at here once more: the broker compares hashes.
  std::shared_ptr<const protocol::SubscriptionData> subscription;
  bool send_subscription = true;  ///< false: the broker knows it from the heartbeat.
  std::int64_t sub_version = 0;
  std::int64_t commit_offset = 0;  ///< Above 0: committed by the way.
  bool lite = false;               ///< LITE_PULL_MESSAGE, which brokers of version 4 do not know.
  std::chrono::milliseconds suspend{0};  ///< Above 0: the broker may hold the pull for so long.
  std::chrono::milliseconds timeout{30'000};
};

struct PullAnswer {
  PullStatus status = PullStatus::kNoNewMessage;
  std::int64_t next_offset = 0, min_offset = 0, max_offset = 0;
  Pulled messages;        ///< Not null. Those the subscription wants.
  std::size_t bytes = 0;  ///< Of the answer.
};

class Puller {
 public:
  using Done = std::function<void(Result<PullAnswer>)>;
  explicit Puller(std::shared_ptr<Instance> instance) : instance_{std::move(instance)} {}

  /// `done` runs once, inside this call or on an io thread.
  void pull(PullRequest request, Done done);
  void forget(const MessageQueue& queue);
  /// Before the pull after one that failed: `otherwise`, and said in the log, unless the broker
  /// only asked for patience.
  Clock::Duration delay_after(const MessageQueue& queue, const Error& error,
                              Clock::Duration otherwise) const;

 private:
  void answered(const PullRequest& request, const std::string& address,
                Result<remoting::OwnedCommand> answer, const Done& done);

  /// What brokers have said.
  struct Learned {
    std::mutex mutex;
    std::map<MessageQueue, std::int64_t> broker_ids;  // whom to ask next
    /// Addresses of those that do not know lite pulls, until their connection ends: another version
    /// may come back.
    std::set<std::string> plain_only;
  };
  const std::shared_ptr<Instance> instance_;
  const std::shared_ptr<Learned> learned_ = std::make_shared<Learned>();
};

}  // namespace apogee::client
