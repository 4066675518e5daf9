#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <string_view>

#include "base/cache_line.h"
#include "base/clock.h"
#include "protocol/request_names.h"

/// How long each stage of a request takes, and each kind of request: always on.
///
/// Threads: recording from any thread, without a lock: a thread adds to its own shard. Reading adds
/// the shards up; what is being recorded meanwhile may be missing.
namespace apogee::broker {

/// Counts of durations in buckets that double: below 256 ns, 512 ns, ... and one without a bound.
class LatencyHistogram {
 public:
  static constexpr std::size_t kBuckets = 27;  ///< The last bound is 8.6 s.
  static constexpr unsigned kFirstBits = 8;

  void record(Clock::Duration took) {
    const auto ns = static_cast<std::uint64_t>(std::max<Clock::Duration::rep>(took.count(), 0));
    const auto bits = static_cast<std::size_t>(std::bit_width(ns));
    const std::size_t bucket =
        bits <= kFirstBits ? 0 : std::min<std::size_t>(bits - kFirstBits, kBuckets - 1);
    Shard& shard = shards_[shard_of_thread()];
    shard.counts[bucket].fetch_add(1, std::memory_order_relaxed);
    shard.sum_ns.fetch_add(ns, std::memory_order_relaxed);
  }

  struct Total {
    std::array<std::uint64_t, kBuckets> counts{};
    std::uint64_t sum_ns = 0;
  };
  Total total() const {
    Total total;
    for (const Shard& shard : shards_) {
      for (std::size_t i = 0; i < kBuckets; ++i)
        total.counts[i] += shard.counts[i].load(std::memory_order_relaxed);
      total.sum_ns += shard.sum_ns.load(std::memory_order_relaxed);
    }
    return total;
  }
  /// Upper bound of a bucket but the last, in ns.
  static constexpr std::uint64_t bound_ns(std::size_t bucket) {
    return std::uint64_t{1} << (bucket + kFirstBits);
  }

 private:
  static constexpr std::size_t kShards = 8;
  struct alignas(kCacheLine) Shard {
    std::array<std::atomic<std::uint64_t>, kBuckets> counts{};
    std::atomic<std::uint64_t> sum_ns{0};
  };
  static std::size_t shard_of_thread() {
    static std::atomic<std::size_t> next{0};
    static thread_local const std::size_t shard =
        next.fetch_add(1, std::memory_order_relaxed) % kShards;
    return shard;
  }
  std::array<Shard, kShards> shards_{};
};

enum class Stage {
  kDecode,    ///< Frames cut and heads decoded: one batch of one read.
  kQueue,     ///< A request's wait for a worker or a reader.
  kCopy,      ///< Sends of a batch checked, their records built.
  kLockWait,  ///< A batch's wait for the append lock.
  kLockHeld,  ///< The append lock, held.
  kWrite,     ///< The writes to the log among it.
  kFlush,     ///< One sync of the log.
  kEncode,    ///< The answers of a batch of sends.
  kSend,      ///< One write to a connection, until the system has taken all of it.
};
inline constexpr std::array<std::string_view, 9> kStageNames{
    "decode", "queue",  "copy", "append_lock_wait", "append_lock_held", "write",
    "flush",  "encode", "send"};

class StageTimes {
 public:
  void record(Stage stage, Clock::Duration took) {
    stages_[static_cast<std::size_t>(stage)].record(took);
  }
  const LatencyHistogram& of(std::size_t stage) const { return stages_[stage]; }

 private:
  std::array<LatencyHistogram, kStageNames.size()> stages_;
};

/// Answers by request and response code, in the classes of Apache's rocketmq_rpc_latency.
class RequestTimes {
 public:
  static constexpr std::array<std::int64_t, 9> kBoundsMs{1, 3, 5, 7, 10, 100, 1'000, 2'000, 3'000};
  static constexpr std::size_t kKindsMax = 1'000;

  struct Kind {
    std::int32_t request = 0, response = 0;  ///< -1: all that have no place of their own.
    bool oneway = false, long_polling = false;
    auto operator<=>(const Kind&) const = default;
  };
  struct Times {
    std::array<std::atomic<std::uint64_t>, kBoundsMs.size() + 1> counts{};
    std::atomic<std::uint64_t> sum_ms{0};
  };

  void record(Kind kind, Clock::Duration took, std::uint64_t times) {
    const std::int64_t ms = std::chrono::duration_cast<std::chrono::milliseconds>(took).count();
    const auto at = std::ranges::lower_bound(kBoundsMs, ms) - kBoundsMs.begin();
    const auto add = [&](Times& of) {
      of.counts[static_cast<std::size_t>(at)].fetch_add(times, std::memory_order_relaxed);
      of.sum_ms.fetch_add(times * static_cast<std::uint64_t>(std::max<std::int64_t>(ms, 0)),
                          std::memory_order_relaxed);
    };
    {
      std::shared_lock lock{mutex_};
      if (const auto found = kinds_.find(kind); found != kinds_.end()) return add(found->second);
    }
    // Two series of one name would spoil the page: what has no name shares one.
    std::unique_lock lock{mutex_};
    const bool nameless = protocol::request_name(kind.request).empty();
    if (nameless || (kinds_.size() >= kKindsMax && !kinds_.contains(kind)))
      kind = {.request = -1, .response = -1};
    add(kinds_[kind]);
  }
  void for_each(auto&& visit) const {
    std::shared_lock lock{mutex_};
    for (const auto& [kind, times] : kinds_) visit(kind, times);
  }

 private:
  mutable std::shared_mutex mutex_;
  std::map<Kind, Times> kinds_;  // guarded by mutex_
};

}  // namespace apogee::broker
