#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "base/clock.h"
#include "protocol/json.h"

/// How fast a consumer pulls and consumes, by topic, over the last minute (Java's
/// ConsumerStatsManager). Threads: any; one mutex.
namespace apogee::client {

class ConsumeStatistics {
 public:
  explicit ConsumeStatistics(Clock& clock) : clock_{clock} {}

  void pulled(const std::string& topic, std::size_t messages, std::chrono::milliseconds took);
  void consumed(const std::string& topic, std::size_t good, std::size_t failed,
                std::chrono::milliseconds took);

  struct Status {
    double pull_rt = 0, pull_tps = 0, consume_rt = 0, consume_ok_tps = 0, consume_failed_tps = 0;
    std::int64_t consume_failed_messages = 0;  ///< In the last hour.
    using Self = Status;
    static constexpr auto kFields =
        MemberList{protocol::Field{"consumeFailedMsgs", &Self::consume_failed_messages},
                   protocol::Field{"consumeFailedTPS", &Self::consume_failed_tps},
                   protocol::Field{"consumeOKTPS", &Self::consume_ok_tps},
                   protocol::Field{"consumeRT", &Self::consume_rt},
                   protocol::Field{"pullRT", &Self::pull_rt},
                   protocol::Field{"pullTPS", &Self::pull_tps}};
  };
  Status of(const std::string& topic) const;

  struct Totals {
    std::uint64_t pulled = 0, consumed = 0, failed = 0;
  };
  Totals totals() const;

 private:
  /// Sums over windows of equal length; the oldest is overwritten.
  template <std::size_t kWindows, std::int64_t kSeconds>
  struct Series {
    struct Window {
      std::int64_t number = -1, sum = 0, times = 0;
    };
    std::array<Window, kWindows> windows{};
    void add(std::int64_t second, std::int64_t value, std::int64_t times);
    Window over_all(std::int64_t second) const;
  };
  using Minute = Series<6, 10>;
  using Hour = Series<6, 600>;
  struct Topic {
    Minute pull_tps, pull_rt, ok_tps, failed_tps, consume_rt;
    Hour failed;
  };
  std::int64_t second() const {
    return std::chrono::duration_cast<std::chrono::seconds>(clock_.now().time_since_epoch())
        .count();
  }

  Clock& clock_;
  mutable std::mutex mutex_;
  std::map<std::string, Topic> topics_;
  Totals totals_;
};

}  // namespace apogee::client
