#include "broker/stats.h"

#include <algorithm>
#include <ctime>

#include <fmt/format.h>

#include "protocol/names.h"

namespace apogee::broker {
namespace {

using std::memory_order_relaxed;

/// Upper bounds in ms of StoreStatsService's put time classes; the last is open.
constexpr std::array<std::string_view, 13> kClassNames{
    "[<=0ms]", "[0~10ms]", "[10~50ms]", "[50~100ms]", "[100~200ms]", "[200~500ms]", "[500ms~1s]",
    "[1~2s]",  "[2~3s]",   "[3~4s]",    "[4~5s]",     "[5~10s]",     "[10s~]"};
constexpr std::array<std::int64_t, 12> kClassBounds{1,     10,    50,    100,   200,   500,
                                                    1'000, 2'000, 3'000, 4'000, 5'000, 10'000};

/// The finer steps its percentiles are taken from: 1 ms to 20, 2 to 50, 5 to 100, 10 to 200, 50 to
/// 500, 100 to 1000, 1000 to 10000, then open.
constexpr auto fine_bounds() {
  std::array<std::int64_t, 75> bounds{};
  std::size_t at = 0;
  std::int64_t bound = 0;
  constexpr std::array<std::array<int, 2>, 7> kSteps{
      {{1, 20}, {2, 15}, {5, 10}, {10, 10}, {50, 6}, {100, 5}, {1'000, 9}}};
  for (const auto& [step, count] : kSteps)
    for (int i = 0; i < count; ++i) bounds[at++] = bound += step;
  return bounds;
}
constexpr auto kFineBounds = fine_bounds();

void raise_to(std::atomic<std::int64_t>& maximum, std::int64_t value) {
  std::int64_t seen = maximum.load(memory_order_relaxed);
  while (value > seen && !maximum.compare_exchange_weak(seen, value, memory_order_relaxed)) {
  }
}

/// As Java's Double.toString writes the everyday ones: always with a decimal point.
std::string java_text(double value) {
  return protocol::write_json(protocol::Json{protocol::Json::Value{value}});
}

/// queueId@topic or queueId@topic@group, on the stack: each request makes one.
class QueueKey {
 public:
  explicit QueueKey(std::int32_t queue_id, std::string_view topic) {
    const fmt::format_int id{queue_id};
    add({id.data(), id.size()});
    begin_ = text_.size() + 1;
    add_behind_at(topic);
  }
  QueueKey(std::int32_t queue_id, std::string_view topic, std::string_view group)
      : QueueKey{queue_id, topic} {
    add_behind_at(group);
  }
  std::string_view text() const { return {text_.data(), text_.size()}; }
  std::string_view without_queue() const { return text().substr(begin_); }

 private:
  void add(std::string_view text) { text_.append(text.data(), text.data() + text.size()); }
  void add_behind_at(std::string_view text) {
    text_.push_back('@');
    add(text);
  }
  fmt::memory_buffer text_;
  std::size_t begin_ = 0;  // of the topic
};

/// What stands between the '@' of a key, counted from 0; empty: it has no such part.
std::string_view part_of(std::string_view key, int part) {
  for (; part > 0; --part) {
    const std::size_t at = key.find('@');
    if (at == std::string_view::npos) return {};
    key.remove_prefix(at + 1);
  }
  return key.substr(0, key.find('@'));
}

/// The next local midnight after `now_ms`.
std::int64_t next_midnight(std::int64_t now_ms) {
  const std::time_t now = now_ms / 1'000;
  std::tm local{};
  localtime_r(&now, &local);
  ++local.tm_mday;
  local.tm_hour = local.tm_min = local.tm_sec = 0;
  local.tm_isdst = -1;
  return static_cast<std::int64_t>(std::mktime(&local)) * 1'000;
}

}  // namespace

// ---- StatsItem ----------------------------------------------------------------------------------

protocol::StatsWindow StatsItem::window(const Marks& marks) const {
  std::lock_guard lock{mutex_};
  protocol::StatsWindow result;
  if (marks.empty()) return result;
  const Mark &first = marks.front(), &last = marks.back();
  result.sum = last.value - first.value;
  if (last.at_ms > first.at_ms)
    result.tps =
        static_cast<double>(result.sum) * 1'000.0 / static_cast<double>(last.at_ms - first.at_ms);
  if (last.times > first.times)
    result.average_per_time =
        static_cast<double>(result.sum) / static_cast<double>(last.times - first.times);
  return result;
}

void StatsItem::sample(Marks& marks, std::int64_t now_ms, std::int64_t period_ms,
                       std::size_t limit) {
  std::lock_guard lock{mutex_};
  // An item that has just come into being started from nothing (StatsItem.samplingInSeconds).
  if (marks.empty()) marks.push_back({now_ms - period_ms, 0, 0});
  marks.push_back({now_ms, value_.load(memory_order_relaxed), times_.load(memory_order_relaxed)});
  if (marks.size() > limit) marks.erase(marks.begin());
}

// ---- Table --------------------------------------------------------------------------------------

template <class Items>
void Stats::Table<Items>::use(std::string_view key, auto&& use_items) {
  Shard& shard = shards_[TextHash{}(key) % kShards];
  {
    std::shared_lock lock{shard.mutex};
    if (const auto found = shard.items.find(key); found != shard.items.end())
      return use_items(*found->second);
  }
  std::unique_lock lock{shard.mutex};
  auto found = shard.items.find(key);
  if (found == shard.items.end()) {
    if (size_.load(memory_order_relaxed) >= kItemsMax) return;
    size_.fetch_add(1, memory_order_relaxed);
    found = shard.items.emplace(std::string{key}, std::make_unique<Items>()).first;
  }
  use_items(*found->second);
}

template <class Items>
bool Stats::Table<Items>::read(std::string_view key, auto&& read_items) const {
  const Shard& shard = shards_[TextHash{}(key) % kShards];
  std::shared_lock lock{shard.mutex};
  const auto found = shard.items.find(key);
  if (found == shard.items.end()) return false;
  read_items(std::as_const(*found->second));
  return true;
}

template <class Items>
void Stats::Table<Items>::for_each(auto&& visit) const {
  for (const Shard& shard : shards_) {
    std::shared_lock lock{shard.mutex};
    for (const auto& [key, items] : shard.items) visit(std::string_view{key}, *items);
  }
}

template <class Items>
void Stats::Table<Items>::erase_if(auto&& matches) {
  for (Shard& shard : shards_) {
    std::unique_lock lock{shard.mutex};
    const auto erased =
        std::erase_if(shard.items, [&](const auto& each) { return matches(each.first); });
    size_.fetch_sub(erased, memory_order_relaxed);
  }
}

// ---- Counting -----------------------------------------------------------------------------------

Stats::Stats(const Clock& clock, std::string cluster)
    : clock_{clock},
      cluster_{std::move(cluster)},
      started_{clock.now()},
      started_ms_{clock.wall_ms()},
      singles_{{"BROKER_PUT_NUMS", cluster_, &broker_put_},
               {"BROKER_GET_NUMS", cluster_, &broker_get_},
               {"BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC", cluster_, &broker_put_user_},
               {"BROKER_GET_NUMS_WITHOUT_SYSTEM_TOPIC", cluster_, &broker_get_user_},
               {"BROKER_ACK_NUMS", cluster_, &broker_acks_},
               {"BROKER_CK_NUMS", cluster_, &broker_check_points_},
               {"CONSUMER_REGISTER_TIME", cluster_, &consumer_register_},
               {"PRODUCER_REGISTER_TIME", cluster_, &producer_register_},
               {"CHANNEL_ACTIVITY", "CONNECT", &channels_[0]},
               {"CHANNEL_ACTIVITY", "CLOSE", &channels_[1]},
               {"CHANNEL_ACTIVITY", "EXCEPTION", &channels_[2]}} {
  next_midnight_ms_ = next_midnight(started_ms_);
  next_minute_ms_ = 60'000;
}

void Stats::count_put(std::string_view topic, std::int64_t messages, std::int64_t bytes,
                      MessageType type) {
  topics_.use(topic, [&](TopicItems& items) {
    items.put_messages.add(messages);
    items.put_bytes.add(bytes);
    ByType& of_type = items.by_type[static_cast<std::size_t>(type)];
    of_type.messages.fetch_add(messages, memory_order_relaxed);
    of_type.bytes.fetch_add(bytes, memory_order_relaxed);
    const auto size =
        std::ranges::lower_bound(kMessageSizeBounds, bytes / std::max<std::int64_t>(messages, 1));
    of_type.sizes[static_cast<std::size_t>(size - kMessageSizeBounds.begin())].fetch_add(
        1, memory_order_relaxed);
  });
  broker_put_.add(messages, 0);  // without times, as there
  if (!protocol::is_system_topic(topic)) broker_put_user_.add(messages, 0);
  put_times_.fetch_add(messages, memory_order_relaxed);
  put_bytes_.fetch_add(bytes, memory_order_relaxed);
}

void Stats::count_put_latency(std::string_view topic, std::int32_t queue_id, std::int64_t ms,
                              std::int64_t times) {
  add(kPutLatency, QueueKey{queue_id, topic}.text(), ms * times, times);
  const auto coarse = std::ranges::upper_bound(kClassBounds, std::max<std::int64_t>(ms, 0));
  put_latency_now_[static_cast<std::size_t>(coarse - kClassBounds.begin())].fetch_add(
      times, memory_order_relaxed);
  const auto fine = std::ranges::lower_bound(kFineBounds, ms);
  put_fine_now_[static_cast<std::size_t>(fine - kFineBounds.begin())].fetch_add(
      times, memory_order_relaxed);
  raise_to(put_max_ms_, ms);
}

void Stats::count_get(std::string_view topic, std::string_view group, std::int32_t queue_id,
                      std::int64_t messages, std::int64_t bytes, std::int64_t latency_ms) {
  const QueueKey key{queue_id, topic, group};
  groups_.use(key.without_queue(), [&](GroupItems& items) {
    items.get_messages.add(messages);
    items.get_bytes.add(bytes);
  });
  add(kGetLatency, key.text(), latency_ms);
  broker_get_.add(messages, 0);
  if (!protocol::is_system_topic(topic)) broker_get_user_.add(messages, 0);
  get_found_.fetch_add(1, memory_order_relaxed);
  get_messages_.fetch_add(messages, memory_order_relaxed);
  raise_to(get_max_ms_, latency_ms);
}

void Stats::count_send_back(std::string_view topic, std::string_view group) {
  groups_.use(protocol::topic_at_group(topic, group),
              [](GroupItems& items) { items.send_back.add(1); });
}

void Stats::count_dead_letter(std::string_view topic, std::string_view group) {
  groups_.use(protocol::topic_at_group(topic, group),
              [](GroupItems& items) { items.dead_letters.add(1); });
}

void Stats::count_sent_back_dead(std::string_view topic, std::string_view group,
                                 std::string_view owner) {
  add(kSentBackDead, fmt::format("{}@{}@{}@SEND_BACK_TO_DLQ", owner, topic, group), 1);
}

void Stats::count_delayed(std::int32_t queue_id, std::int64_t messages, std::int64_t bytes) {
  const std::string key = fmt::format("{}@{}", protocol::kScheduleTopic, queue_id);
  add(kQueuePutMessages, key, messages);
  add(kQueuePutBytes, key, bytes);
}

void Stats::count_delivered(std::string_view topic, std::int32_t queue_id, std::int64_t bytes) {
  constexpr std::string_view kGroup = "SCHEDULE_CONSUMER";
  const std::string key = fmt::format("{}@{}@{}", protocol::kScheduleTopic, queue_id, kGroup);
  add(kQueueGetMessages, key, 1);
  add(kQueueGetBytes, key, bytes);
  groups_.use(protocol::topic_at_group(protocol::kScheduleTopic, kGroup), [&](GroupItems& items) {
    items.get_messages.add(1);
    items.get_bytes.add(bytes);
  });
  count_put(topic, 1, bytes, MessageType::kDelay);
}

void Stats::count_acks(std::string_view topic, std::string_view group, std::int64_t acks) {
  broker_acks_.add(acks, 0);
  add(kAcks, protocol::topic_at_group(topic, group), acks);
}

void Stats::count_check_point(std::string_view topic, std::string_view group) {
  broker_check_points_.add(1, 0);
  add(kCheckPoints, protocol::topic_at_group(topic, group), 1);
}

void Stats::add(KeyedName name, std::string_view key, std::int64_t value, std::int64_t times) {
  keyed_[name].items.use(key, [&](StatsItem& item) { item.add(value, times); });
}

// ---- Reading ------------------------------------------------------------------------------------

const StatsItem* Stats::find(std::string_view name, const TopicItems& items) const {
  if (name == "TOPIC_PUT_NUMS") return &items.put_messages;
  if (name == "TOPIC_PUT_SIZE") return &items.put_bytes;
  return nullptr;
}
const StatsItem* Stats::find(std::string_view name, const GroupItems& items) const {
  if (name == "GROUP_GET_NUMS") return &items.get_messages;
  if (name == "GROUP_GET_SIZE") return &items.get_bytes;
  if (name == "SNDBCK_PUT_NUMS") return &items.send_back;
  if (name == "DLQ_PUT_NUMS") return &items.dead_letters;
  return nullptr;
}

std::optional<protocol::BrokerStatsData> Stats::view(std::string_view name,
                                                     std::string_view key) const {
  std::optional<protocol::BrokerStatsData> result;
  const auto take = [&](const StatsItem* item) {
    if (item) result = protocol::BrokerStatsData{item->day(), item->hour(), item->minute()};
  };
  for (const Single& each : singles_)
    if (each.name == name && each.key == key) take(each.item);
  for (const Keyed& each : keyed_)
    if (each.name == name) each.items.read(key, [&](const StatsItem& item) { take(&item); });
  if (result) return result;
  topics_.read(key, [&](const TopicItems& items) { take(find(name, items)); });
  groups_.read(key, [&](const GroupItems& items) { take(find(name, items)); });
  return result;
}

double Stats::topic_put_per_second(std::string_view topic) const {
  double result = 0;
  topics_.read(topic, [&](const TopicItems& items) { result = items.put_messages.minute().tps; });
  return result;
}

double Stats::group_get_per_second(std::string_view topic, std::string_view group) const {
  double result = 0;
  groups_.read(protocol::topic_at_group(topic, group),
               [&](const GroupItems& items) { result = items.get_messages.minute().tps; });
  return result;
}

TrafficTotals Stats::totals() const {
  return {.put_times = put_times_.load(memory_order_relaxed),
          .put_bytes = put_bytes_.load(memory_order_relaxed),
          .put_failed = put_failed_.load(memory_order_relaxed),
          .get_found = get_found_.load(memory_order_relaxed),
          .get_miss = get_miss_.load(memory_order_relaxed),
          .get_messages = get_messages_.load(memory_order_relaxed)};
}

std::string Stats::rates(Rate rate) const {
  const auto count = [&](const TrafficTotals& totals) {
    switch (rate) {
      case Rate::kPut:
        return totals.put_times;
      case Rate::kGetFound:
        return totals.get_found;
      case Rate::kGetMiss:
        return totals.get_miss;
      case Rate::kGetTotal:
        return totals.get_found + totals.get_miss;
      case Rate::kGetTransferred:
        return totals.get_messages;
    }
    return std::int64_t{0};
  };
  std::lock_guard lock{sample_mutex_};
  std::string result;
  for (const std::size_t back : {10u, 60u, 600u}) {
    if (back != 10u) result += ' ';
    double per_second = 0;
    if (seconds_.size() > back) {
      const Second &last = seconds_.back(), &before = seconds_[seconds_.size() - 1 - back];
      const auto elapsed =
          static_cast<double>(std::max<std::int64_t>(last.at_ms - before.at_ms, 1));
      per_second = static_cast<double>(count(last.totals) - count(before.totals)) * 1'000 / elapsed;
    } else if (rate != Rate::kGetTotal) {
      continue;  // Java leaves the part out; of the total it says 0.0
    }
    result += java_text(per_second);
  }
  return result;
}

std::string Stats::put_distribution() const {
  std::lock_guard lock{sample_mutex_};
  std::string result;
  for (std::size_t i = 0; i < kClassNames.size(); ++i)
    result += fmt::format("{}:{} ", kClassNames[i], put_latency_last_[i]);
  return result;
}

double Stats::put_latency(double quantile) const {
  std::lock_guard lock{sample_mutex_};
  std::int64_t total = 0;
  for (const std::int64_t each : put_fine_last_) total += each;
  if (total == 0) return 0;
  const auto rank = static_cast<std::int64_t>(static_cast<double>(total) * quantile);
  std::int64_t passed = 0;
  for (std::size_t i = 0; i < put_fine_last_.size(); ++i) {
    passed += put_fine_last_[i];
    if (passed >= rank)
      return static_cast<double>(kFineBounds[std::min(i, kFineBounds.size() - 1)]);
  }
  return static_cast<double>(kFineBounds.back());
}

Stats::Days Stats::days() const {
  std::lock_guard lock{sample_mutex_};
  Days result = mornings_;
  result.put_now = broker_put_user_.value();
  result.get_now = broker_get_user_.value();
  return result;
}

void Stats::for_each_topic(
    const std::function<void(std::string_view topic, const In&)>& visit) const {
  topics_.for_each([&](std::string_view topic, const TopicItems& items) {
    In in;
    for (std::size_t type = 0; type < items.by_type.size(); ++type) {
      const ByType& of_type = items.by_type[type];
      in.messages[type] = of_type.messages.load(memory_order_relaxed);
      in.bytes[type] = of_type.bytes.load(memory_order_relaxed);
      for (std::size_t i = 0; i < of_type.sizes.size(); ++i)
        in.sizes[type][i] = of_type.sizes[i].load(memory_order_relaxed);
    }
    visit(topic, in);
  });
}

void Stats::for_each_group(const std::function<void(std::string_view topic, std::string_view group,
                                                    const Out&)>& visit) const {
  groups_.for_each([&](std::string_view key, const GroupItems& items) {
    const std::size_t at = key.find('@');
    if (at == std::string_view::npos) return;
    visit(key.substr(0, at), key.substr(at + 1),
          {items.get_messages.value(), items.get_bytes.value(), items.dead_letters.value()});
  });
}

// ---- Upkeep -------------------------------------------------------------------------------------

void Stats::sample_items(void (StatsItem::*take)(std::int64_t), std::int64_t now_ms) {
  topics_.for_each([&](std::string_view, TopicItems& items) {
    for (StatsItem* item : {&items.put_messages, &items.put_bytes}) (item->*take)(now_ms);
  });
  groups_.for_each([&](std::string_view, GroupItems& items) {
    for (StatsItem* item :
         {&items.get_messages, &items.get_bytes, &items.send_back, &items.dead_letters})
      (item->*take)(now_ms);
  });
  for (Keyed& each : keyed_)
    each.items.for_each([&](std::string_view, StatsItem& item) { (item.*take)(now_ms); });
  for (const Single& each : singles_) (each.item->*take)(now_ms);
}

void Stats::sample_midnight(std::int64_t now_ms) {
  if (now_ms < next_midnight_ms_) return;
  next_midnight_ms_ = next_midnight(now_ms);
  mornings_.put_yesterday_morning = mornings_.put_today_morning;
  mornings_.get_yesterday_morning = mornings_.get_today_morning;
  mornings_.put_today_morning = broker_put_user_.value();
  mornings_.get_today_morning = broker_get_user_.value();
}

void Stats::sample() {
  // Since the start: a wall clock that is put right must not stop the samples, or stretch them.
  const std::int64_t now_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(clock_.now() - started_).count();
  constexpr std::size_t kSecondsMax = 601;
  std::lock_guard lock{sample_mutex_};
  seconds_.push_back({now_ms, totals()});
  while (seconds_.size() > kSecondsMax) seconds_.pop_front();
  if (now_ms >= next_ten_seconds_ms_) {
    next_ten_seconds_ms_ = now_ms + 10'000;
    sample_items(&StatsItem::sample_minute, now_ms);
  }
  if (now_ms >= next_ten_minutes_ms_) {
    next_ten_minutes_ms_ = now_ms + 600'000;
    sample_items(&StatsItem::sample_hour, now_ms);
  }
  if (now_ms >= next_hour_ms_) {
    next_hour_ms_ = now_ms + 3'600'000;
    sample_items(&StatsItem::sample_day, now_ms);
  }
  if (now_ms >= next_minute_ms_) {
    next_minute_ms_ = now_ms + 60'000;
    for (std::size_t i = 0; i < put_latency_now_.size(); ++i)
      put_latency_last_[i] = put_latency_now_[i].exchange(0, memory_order_relaxed);
    for (std::size_t i = 0; i < put_fine_now_.size(); ++i)
      put_fine_last_[i] = put_fine_now_[i].exchange(0, memory_order_relaxed);
  }
  sample_midnight(clock_.wall_ms());
}

void Stats::remove_topic(std::string_view topic) {
  topics_.erase_if([&](const std::string& key) { return key == topic; });
  groups_.erase_if([&](const std::string& key) { return part_of(key, 0) == topic; });
  for (Keyed& each : keyed_)
    each.items.erase_if(
        [&](const std::string& key) { return part_of(key, each.topic_part) == topic; });
}

void Stats::remove_group(std::string_view group) {
  groups_.erase_if([&](const std::string& key) { return part_of(key, 1) == group; });
  for (Keyed& each : keyed_)
    if (each.group_part >= 0)
      each.items.erase_if(
          [&](const std::string& key) { return part_of(key, each.group_part) == group; });
}

}  // namespace apogee::broker
