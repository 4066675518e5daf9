#include "client/consume_statistics.h"

namespace apogee::client {

template <std::size_t kWindows, std::int64_t kSeconds>
void ConsumeStatistics::Series<kWindows, kSeconds>::add(std::int64_t second, std::int64_t value,
                                                        std::int64_t times) {
  const std::int64_t number = second / kSeconds;
  Window& window = windows[static_cast<std::size_t>(number) % kWindows];
  if (window.number != number) window = {number, 0, 0};
  window.sum += value;
  window.times += times;
}

template <std::size_t kWindows, std::int64_t kSeconds>
typename ConsumeStatistics::Series<kWindows, kSeconds>::Window
ConsumeStatistics::Series<kWindows, kSeconds>::over_all(std::int64_t second) const {
  const std::int64_t number = second / kSeconds;
  Window all{number, 0, 0};
  for (const Window& each : windows) {
    if (each.number <= number - static_cast<std::int64_t>(kWindows) || each.number > number)
      continue;
    all.sum += each.sum;
    all.times += each.times;
  }
  return all;
}

namespace {
constexpr double kMinute = 60.0;

template <class Window>
double average(const Window& window) {
  return window.times == 0 ? 0.0
                           : static_cast<double>(window.sum) / static_cast<double>(window.times);
}
template <class Window>
double per_second(const Window& window) {
  return static_cast<double>(window.sum) / kMinute;
}
}  // namespace

void ConsumeStatistics::pulled(const std::string& topic, std::size_t messages,
                               std::chrono::milliseconds took) {
  std::lock_guard lock{mutex_};
  Topic& of = topics_[topic];
  of.pull_tps.add(second(), static_cast<std::int64_t>(messages), 1);
  of.pull_rt.add(second(), took.count(), 1);
  totals_.pulled += messages;
}

void ConsumeStatistics::consumed(const std::string& topic, std::size_t good, std::size_t failed,
                                 std::chrono::milliseconds took) {
  std::lock_guard lock{mutex_};
  Topic& of = topics_[topic];
  of.consume_rt.add(second(), took.count(), 1);
  of.ok_tps.add(second(), static_cast<std::int64_t>(good), 1);
  of.failed_tps.add(second(), static_cast<std::int64_t>(failed), 1);
  of.failed.add(second(), static_cast<std::int64_t>(failed), 1);
  totals_.consumed += good;
  totals_.failed += failed;
}

ConsumeStatistics::Status ConsumeStatistics::of(const std::string& topic) const {
  std::lock_guard lock{mutex_};
  const auto found = topics_.find(topic);
  if (found == topics_.end()) return {};
  const Topic& of = found->second;
  const std::int64_t now = second();
  return {.pull_rt = average(of.pull_rt.over_all(now)),
          .pull_tps = per_second(of.pull_tps.over_all(now)),
          .consume_rt = average(of.consume_rt.over_all(now)),
          .consume_ok_tps = per_second(of.ok_tps.over_all(now)),
          .consume_failed_tps = per_second(of.failed_tps.over_all(now)),
          .consume_failed_messages = of.failed.over_all(now).sum};
}

ConsumeStatistics::Totals ConsumeStatistics::totals() const {
  std::lock_guard lock{mutex_};
  return totals_;
}

}  // namespace apogee::client
