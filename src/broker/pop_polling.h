#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "broker/config.h"
#include "remoting/peer.h"
#include "store/message_store.h"

/// Pops and notifications that found nothing and wait (PopLongPollingService). Unlike held pulls,
/// which each read for themselves, those of one group share its messages: of each group one is
/// woken for a round of arrivals, and wakes the next when it leaves messages behind.
///
/// Messages that come again arrive in the group's retry topics; who waits for the topic is woken by
/// those too (Java's v1 retry topics wake nobody, a message waits there for the next pop).
///
/// Threads: every member from any thread; one mutex, held for map operations only. A waiting pop is
/// resumed exactly once, on its connection's loop, whether it was woken or its time is over. One
/// timer for all deadlines, armed for the earliest.
namespace apogee::broker {

struct HeldPop {
  std::string topic, group;
  std::int32_t queue_id = -1;                          ///< -1: any queue.
  std::shared_ptr<const store::MessageFilter> filter;  ///< Null: all.
  Clock::Instant deadline;
  remoting::PeerPtr peer;
  std::function<void()> resume;
};

class PopPolling {
 public:
  static constexpr Clock::Duration kDeadlineGrain = 20ms;
  enum class Order { kOldestFirst, kNewestFirst };  ///< Who of a group is woken.

  PopPolling(Clock& clock, const LiveConfig& config, Order order);
  ~PopPolling();  ///< Forgets who waits.
  PopPolling(const PopPolling&) = delete;

  /// False: too many wait already (popPollingSize, maxPopPollingSize).
  bool hold(HeldPop pop);
  void on_arrivals(std::span<const store::Arrival> arrivals);
  /// Wakes one that waits for this queue, or (-1) for any.
  void wake(std::string_view topic, std::string_view group, std::int32_t queue_id);
  std::size_t count(std::string_view topic, std::string_view group, std::int32_t queue_id) const;
  std::size_t size() const { return size_.load(std::memory_order_relaxed); }

 private:
  struct Key {
    std::string topic, group;
    std::int32_t queue_id;
    auto operator<=>(const Key&) const = default;
  };
  struct Held;
  using HeldList = std::list<Held>;
  using Waiting = std::map<Key, HeldList>;
  struct Place {
    Waiting::iterator of;
    HeldList::iterator at;
  };
  using Deadlines = std::multimap<Clock::Instant, Place>;
  struct Held {
    HeldPop pop;
    Deadlines::iterator deadline;
  };
  using Woken = std::vector<HeldPop>;

  void take(Place place, Woken& woken);
  void take_one(const Key& key, std::span<const store::Arrival> arrivals, Woken& woken);
  void listen(const Key& key);
  void stop_listening(const Key& key);
  void arrived(std::span<const store::Arrival> run, Woken& woken);
  bool anyone(std::string_view topic, std::string_view group) const;
  void arm();
  void sweep();
  static void resume(Woken woken);

  Clock& clock_;
  const LiveConfig& config_;
  const Order order_;
  std::atomic<std::size_t> size_{0};
  mutable std::mutex mutex_;  // guards all below
  Waiting waiting_;
  Deadlines deadlines_;
  /// Names of topics, and of their groups' retry topics, to who waits for them: (topic, group).
  std::map<std::string, std::set<std::pair<std::string, std::string>>, std::less<>> listeners_;
  std::map<Clock::Instant, Clock::TimerId> timers_;  // armed; usually one
  bool stopped_ = false;
};

}  // namespace apogee::broker
