#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <tuple>

#include "store/message_store.h"

namespace apogee::broker {

/// How many records went into the revive topic and came out of it, and how many messages came
/// again, since the start: for the metrics (PopMetricsManager).
///
/// Threads: any; one mutex, held for one look-up.
class ReviveCounts {
 public:
  enum class Way { kIn, kOut, kAgain };
  /// "CK", "ACK"; nothing for kAgain.
  static constexpr std::string_view kCheckPoint = "CK", kAck = "ACK";

  void count_in(std::string_view group, std::string_view topic, std::string_view what,
                store::PutStatus status) {
    add(Way::kIn, group, topic, what, static_cast<std::int32_t>(status));
  }
  void count_out(std::string_view group, std::string_view topic, std::string_view what,
                 std::int32_t revive_queue) {
    add(Way::kOut, group, topic, what, revive_queue);
  }
  void count_again(std::string_view group, std::string_view topic, store::PutStatus status) {
    add(Way::kAgain, group, topic, {}, static_cast<std::int32_t>(status));
  }

  struct Count {
    Way way;
    std::string group, topic;
    std::string_view what;
    std::int32_t detail;  ///< kOut: the revive queue; else the put's status.
    std::int64_t count;
  };
  void for_each(const std::function<void(const Count&)>& visit) const {
    std::lock_guard lock{mutex_};
    for (const auto& [key, count] : counts_) {
      const auto& [way, group, topic, what, detail] = key;
      visit({way, group, topic, what, detail, count});
    }
  }

 private:
  /// Further ones are not counted.
  static constexpr std::size_t kCountsMax = 200'000;
  using Key = std::tuple<Way, std::string, std::string, std::string_view, std::int32_t>;

  void add(Way way, std::string_view group, std::string_view topic, std::string_view what,
           std::int32_t detail) {
    std::lock_guard lock{mutex_};
    auto found = counts_.find(std::tuple{way, group, topic, what, detail});
    if (found == counts_.end()) {
      if (counts_.size() >= kCountsMax) return;
      found = counts_.try_emplace(Key{way, group, topic, what, detail}).first;
    }
    ++found->second;
  }

  mutable std::mutex mutex_;
  std::map<Key, std::int64_t, std::less<>> counts_;  // guarded by mutex_
};

}  // namespace apogee::broker
