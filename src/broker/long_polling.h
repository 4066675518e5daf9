#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "remoting/peer.h"
#include "store/message_store.h"

/// Long polling: pulls that found nothing and wait for a message, their deadline or the end of
/// their connection (PullRequestHoldService). Notification and pop may hold here as well.
///
/// Threads: hold() and drop_peer() on io threads, on_arrivals() on the dispatch thread, sweep() on
/// the clock's thread, check() on a worker: any, side by side. The table is cut into shards by
/// queue; a shard's mutex is held for map operations only. A held pull is resumed exactly once, on
/// its connection's loop, all that wake together on one loop in one task. Nothing blocks.
///
/// While nothing arrives, a held pull costs its memory: one timer for all of a shard's deadlines,
/// armed for the earliest.
namespace apogee::broker {

struct HeldPull {
  std::string topic;
  std::int32_t queue_id = 0;
  std::int64_t offset = 0;  ///< Wakes when the queue's maximum exceeds this...
  std::shared_ptr<const store::MessageFilter> filter;  ///< ... and the filter takes it. Null: all.
  Clock::Instant deadline;
  remoting::PeerPtr peer;
  std::function<void()> resume;  ///< Runs on the peer's loop.
};

class LongPolling {
 public:
  /// How often every held pull is compared with its queue, whatever the dispatcher said
  /// (PullRequestHoldService.run).
  static constexpr Clock::Duration kCheckPeriod = 5s;
  /// Deadlines are met this much late at most: one sweep takes all that fall into it.
  static constexpr Clock::Duration kDeadlineGrain = 50ms;
  /// Held pulls of one connection; beyond it a pull is resumed at once.
  static constexpr std::size_t kPerPeerMax = 65'536;

  /// `max_offset(topic, queue_id)`: the store's; any thread.
  using MaxOffset = std::function<std::int64_t(std::string_view topic, std::int32_t queue_id)>;
  LongPolling(Clock& clock, MaxOffset max_offset);
  ~LongPolling();  ///< Forgets what is held without resuming it.
  LongPolling(const LongPolling&) = delete;

  /// Takes the pull. Compares the queue's end once more after that, so that a message that arrived
  /// between the caller's look and this call wakes it.
  void hold(HeldPull pull);

  void on_arrivals(std::span<const store::Arrival> arrivals);
  /// Wakes the pulls whose queue has grown beyond them; the safety net behind on_arrivals().
  void check();
  void drop_peer(const remoting::Peer& peer);
  void wake_all();  ///< A slave's new master, or draining: everybody asks again.
  std::size_t size() const { return size_.load(std::memory_order_relaxed); }

 private:
  struct QueueRef {
    std::string_view topic;
    std::int32_t queue_id;
  };
  struct Queue {
    std::string topic;
    std::int32_t queue_id;
  };
  struct QueueHash {
    using is_transparent = void;
    std::size_t operator()(const auto& queue) const {
      return std::hash<std::string_view>{}(queue.topic) * 31 +
             static_cast<std::size_t>(queue.queue_id);
    }
  };
  struct QueueEqual {
    using is_transparent = void;
    bool operator()(const auto& a, const auto& b) const {
      return a.queue_id == b.queue_id && std::string_view{a.topic} == std::string_view{b.topic};
    }
  };

  struct Held;
  using HeldList = std::list<Held>;
  struct Place {  // where a held pull is: list nodes and map nodes stay where they are
    HeldList* queue;
    HeldList::iterator at;
  };
  using Deadlines = std::multimap<Clock::Instant, Place>;
  using PeerPlaces = std::list<Place>;
  struct Held {
    HeldPull pull;
    std::uint64_t id;
    Deadlines::iterator deadline;
    PeerPlaces* of_peer;
    PeerPlaces::iterator in_peer;
  };
  struct Shard {
    std::mutex mutex;  // guards all below
    std::unordered_map<Queue, HeldList, QueueHash, QueueEqual> queues;
    Deadlines deadlines;
    std::unordered_map<std::uint64_t, PeerPlaces> peers;  // by peer id
    std::map<Clock::Instant, Clock::TimerId> timers;      // armed; usually one
    bool stopped = false;
  };
  static constexpr std::size_t kShards = 16;
  using Woken = std::vector<HeldPull>;

  Shard& shard_of(std::string_view topic, std::int32_t queue_id) {
    return shards_[(QueueHash{}(QueueRef{topic, queue_id}) >> 4) % kShards];
  }
  void take(Shard& shard, Place place, Woken& woken);
  void arm(Shard& shard);
  void sweep(Shard& shard);
  void wake_beyond(std::string_view topic, std::int32_t queue_id, std::int64_t max_offset);
  static bool wakes(const HeldPull& pull, std::span<const store::Arrival> arrivals);
  static void resume(Woken woken);

  Clock& clock_;
  const MaxOffset max_offset_;
  std::array<Shard, kShards> shards_;
  std::atomic<std::uint64_t> next_id_{1};
  std::atomic<std::size_t> size_{0};
};

}  // namespace apogee::broker
