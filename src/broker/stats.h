#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/text_map.h"
#include "broker/stage_times.h"
#include "protocol/bodies.h"

/// What the tools show of a broker's traffic: Java's named statistics with their minute, hour and
/// day windows (BrokerStatsManager, StatsItem), the totals and rates of the runtime info
/// (StoreStatsService) and the counts since midnight (BrokerStats).
///
/// Threads: every member from any thread. Counting is one look-up under a shared lock and a few
/// relaxed additions; nobody waits for a sample, which is taken once a second on a worker by
/// whoever owns the broker (sample()).
namespace apogee::broker {

/// A counter that remembers what it stood at: every 10 s for a minute, every 10 min for an hour,
/// every hour for a day.
class StatsItem {
 public:
  void add(std::int64_t value, std::int64_t times = 1) {
    value_.fetch_add(value, std::memory_order_relaxed);
    times_.fetch_add(times, std::memory_order_relaxed);
  }
  std::int64_t value() const { return value_.load(std::memory_order_relaxed); }

  protocol::StatsWindow minute() const { return window(minute_); }
  protocol::StatsWindow hour() const { return window(hour_); }
  protocol::StatsWindow day() const { return window(day_); }

  void sample_minute(std::int64_t now_ms) { sample(minute_, now_ms, 10'000, 7); }
  void sample_hour(std::int64_t now_ms) { sample(hour_, now_ms, 600'000, 7); }
  void sample_day(std::int64_t now_ms) { sample(day_, now_ms, 3'600'000, 25); }

 private:
  struct Mark {
    std::int64_t at_ms, value, times;
  };
  using Marks = std::vector<Mark>;  // oldest first; an item may be one of very many
  protocol::StatsWindow window(const Marks& marks) const;
  void sample(Marks& marks, std::int64_t now_ms, std::int64_t period_ms, std::size_t limit);

  std::atomic<std::int64_t> value_{0}, times_{0};
  mutable std::mutex mutex_;
  Marks minute_, hour_, day_;  // guarded by mutex_
};

/// What a message is to whoever counts it (BrokerMetricsManager.getMessageType).
enum class MessageType { kNormal, kFifo, kDelay, kTransaction };
inline constexpr std::array<std::string_view, 4> kMessageTypeNames{"normal", "fifo", "delay",
                                                                   "transaction"};
/// Upper bounds of the classes of message sizes; one more is open.
inline constexpr std::array<std::int64_t, 6> kMessageSizeBounds{1'024,   4'096,   512 << 10,
                                                                1 << 20, 2 << 20, 4 << 20};

/// Totals for the runtime info at one moment.
struct TrafficTotals {
  std::int64_t put_times = 0, put_bytes = 0, put_failed = 0, get_found = 0, get_miss = 0,
               get_messages = 0;
};

class Stats {
 public:
  /// Statistics of one name are at most this many; further ones are not counted.
  static constexpr std::size_t kItemsMax = 200'000;

  Stats(const Clock& clock, std::string cluster);
  Stats(const Stats&) = delete;

  // ---- Counting ----
  /// Messages stored, in the topic where they are: TOPIC_PUT_NUMS, TOPIC_PUT_SIZE, BROKER_PUT_NUMS
  /// and the totals.
  void count_put(std::string_view topic, std::int64_t messages, std::int64_t bytes,
                 MessageType type = MessageType::kNormal);
  void count_put_failed() { put_failed_.fetch_add(1, std::memory_order_relaxed); }
  /// From the request's arrival to its answer, by the queue that was asked for: TOPIC_PUT_LATENCY,
  /// putMessageDistributeTime.
  void count_put_latency(std::string_view topic, std::int32_t queue_id, std::int64_t ms,
                         std::int64_t times = 1);
  /// A pull that found messages: GROUP_GET_NUMS, GROUP_GET_SIZE, GROUP_GET_LATENCY,
  /// BROKER_GET_NUMS.
  void count_get(std::string_view topic, std::string_view group, std::int32_t queue_id,
                 std::int64_t messages, std::int64_t bytes, std::int64_t latency_ms);
  void count_get_miss() { get_miss_.fetch_add(1, std::memory_order_relaxed); }
  void count_send_back(std::string_view topic, std::string_view group);  ///< SNDBCK_PUT_NUMS
  void count_dead_letter(std::string_view topic, std::string_view group);
  /// SNDBCK2DLQ_TIMES; `owner`: the request's "Owner", "null" without.
  void count_sent_back_dead(std::string_view topic, std::string_view group, std::string_view owner);
  /// A message begins to wait in the queue of its delay level: QUEUE_PUT_NUMS, QUEUE_PUT_SIZE.
  void count_delayed(std::int32_t queue_id, std::int64_t messages, std::int64_t bytes);
  /// It leaves it for its topic: QUEUE_GET_NUMS, QUEUE_GET_SIZE, and as count_get() and
  /// count_put() what goes through SCHEDULE_TOPIC_XXXX.
  void count_delivered(std::string_view topic, std::int32_t queue_id, std::int64_t bytes);
  void count_acks(std::string_view topic, std::string_view group, std::int64_t acks);
  void count_check_point(std::string_view topic, std::string_view group);
  /// Heartbeats that made or renewed a member: CONSUMER_REGISTER_TIME, PRODUCER_REGISTER_TIME.
  void count_consumer_register(std::int64_t ms) { consumer_register_.add(ms); }
  void count_producer_register(std::int64_t ms) { producer_register_.add(ms); }
  enum class Channel { kConnect, kClose, kException };
  void count_channel(Channel what) { channels_[static_cast<std::size_t>(what)].add(1); }

  // ---- Reading ----
  /// VIEW_BROKER_STATS_DATA: a statistic by Java's name and key. nullopt: none such.
  std::optional<protocol::BrokerStatsData> view(std::string_view name, std::string_view key) const;
  double topic_put_per_second(std::string_view topic) const;  ///< Last minute.
  double group_get_per_second(std::string_view topic, std::string_view group) const;

  TrafficTotals totals() const;
  /// "a b c": a rate over the last 10, 60 and 600 s. An empty part: not running for that long.
  enum class Rate { kPut, kGetFound, kGetMiss, kGetTotal, kGetTransferred };
  std::string rates(Rate rate) const;
  std::string put_distribution() const;  ///< "[<=0ms]:3 [0~10ms]:1 ..." of the last minute.
  double put_latency(double quantile) const;
  std::int64_t put_latency_max() const { return put_max_ms_.load(std::memory_order_relaxed); }
  std::int64_t get_latency_max() const { return get_max_ms_.load(std::memory_order_relaxed); }
  std::int64_t started_ms() const { return started_ms_; }

  /// Counts at midnights, for msgPutTotalTodayMorning and its relatives.
  struct Days {
    std::int64_t put_yesterday_morning = 0, put_today_morning = 0, put_now = 0;
    std::int64_t get_yesterday_morning = 0, get_today_morning = 0, get_now = 0;
  };
  Days days() const;

  /// Counts since the start, for the metrics: of a topic by type, of a group by topic.
  struct In {
    std::array<std::int64_t, kMessageTypeNames.size()> messages{}, bytes{};
    std::array<std::array<std::int64_t, kMessageSizeBounds.size() + 1>, kMessageTypeNames.size()>
        sizes{};
  };
  struct Out {
    std::int64_t messages = 0, bytes = 0, dead_letters = 0;
  };
  void for_each_topic(const std::function<void(std::string_view topic, const In&)>& visit) const;
  void for_each_group(const std::function<void(std::string_view topic, std::string_view group,
                                               const Out&)>& visit) const;

  StageTimes stages;
  RequestTimes requests;

  // ---- Upkeep ----
  /// Once a second. Slow statistics are sampled when their time has come.
  void sample();
  void remove_topic(std::string_view topic);
  void remove_group(std::string_view group);

 private:
  struct ByType {
    std::atomic<std::int64_t> messages{0}, bytes{0};
    std::array<std::atomic<std::int64_t>, kMessageSizeBounds.size() + 1> sizes{};
  };
  struct TopicItems {
    StatsItem put_messages, put_bytes;
    std::array<ByType, kMessageTypeNames.size()> by_type;
  };
  struct GroupItems {
    StatsItem get_messages, get_bytes, send_back, dead_letters;
  };
  /// Items by key, in shards. `use` runs under the shard's shared lock.
  template <class Items>
  class Table {
   public:
    void use(std::string_view key, auto&& use_items);
    bool read(std::string_view key, auto&& read_items) const;
    void for_each(auto&& visit) const;  // visit(key, items)
    void erase_if(auto&& matches);

   private:
    static constexpr std::size_t kShards = 16;
    struct Shard {
      mutable std::shared_mutex mutex;
      TextMap<std::unique_ptr<Items>> items;
    };
    std::array<Shard, kShards> shards_;
    std::atomic<std::size_t> size_{0};
  };
  struct Second {
    std::int64_t at_ms = 0;
    TrafficTotals totals;
  };

  /// Statistics with keys of their own. Which part of a key, counted from 0 between the '@', is
  /// the topic and which the group; -1: none.
  struct Keyed {
    std::string_view name;
    int topic_part, group_part;
    Table<StatsItem> items;
  };
  enum KeyedName {
    kPutLatency,
    kGetLatency,
    kQueuePutMessages,
    kQueuePutBytes,
    kQueueGetMessages,
    kQueueGetBytes,
    kAcks,
    kCheckPoints,
    kSentBackDead
  };
  void add(KeyedName name, std::string_view key, std::int64_t value, std::int64_t times = 1);

  const StatsItem* find(std::string_view name, const TopicItems& items) const;
  const StatsItem* find(std::string_view name, const GroupItems& items) const;
  void sample_items(void (StatsItem::*take)(std::int64_t), std::int64_t now_ms);
  void sample_midnight(std::int64_t now_ms);

  const Clock& clock_;
  const std::string cluster_;
  const Clock::Instant started_;
  const std::int64_t started_ms_;
  Table<TopicItems> topics_;
  Table<GroupItems> groups_;  // topic@group
  std::array<Keyed, 9> keyed_{{{"TOPIC_PUT_LATENCY", 1, -1, {}},
                               {"GROUP_GET_LATENCY", 1, 2, {}},
                               {"QUEUE_PUT_NUMS", 0, -1, {}},
                               {"QUEUE_PUT_SIZE", 0, -1, {}},
                               {"QUEUE_GET_NUMS", 0, 2, {}},
                               {"QUEUE_GET_SIZE", 0, 2, {}},
                               {"GROUP_ACK_NUMS", 0, 1, {}},
                               {"GROUP_CK_NUMS", 0, 1, {}},
                               {"SNDBCK2DLQ_TIMES", 1, 2, {}}}};
  StatsItem broker_put_, broker_get_, broker_put_user_, broker_get_user_, broker_acks_,
      broker_check_points_, consumer_register_, producer_register_;
  std::array<StatsItem, 3> channels_;  // by Channel
  /// The broker's own, by name and key.
  struct Single {
    std::string_view name, key;
    StatsItem* item;
  };
  const std::vector<Single> singles_;
  std::atomic<std::int64_t> put_bytes_{0}, put_times_{0}, put_failed_{0}, get_found_{0},
      get_miss_{0}, get_messages_{0}, put_max_ms_{0}, get_max_ms_{0};
  static constexpr std::size_t kLatencyBounds = 13;
  static constexpr std::size_t kFineBuckets = 76;
  std::array<std::atomic<std::int64_t>, kLatencyBounds> put_latency_now_{};
  std::array<std::atomic<std::int64_t>, kFineBuckets> put_fine_now_{};

  mutable std::mutex sample_mutex_;  // guards what follows
  std::deque<Second> seconds_;
  std::array<std::int64_t, kLatencyBounds> put_latency_last_{};
  std::array<std::int64_t, kFineBuckets> put_fine_last_{};
  std::int64_t next_ten_seconds_ms_ = 0, next_ten_minutes_ms_ = 0, next_hour_ms_ = 0,
               next_minute_ms_ = 0, next_midnight_ms_ = 0;
  Days mornings_;  // the _now members are unused
};

}  // namespace apogee::broker
