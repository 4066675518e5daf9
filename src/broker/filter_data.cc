#include "broker/filter_data.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/bytes.h"
#include "broker/sql92.h"
#include "protocol/table_file.h"

namespace apogee::broker {
namespace {

using protocol::ConsumerFilterData;

constexpr std::size_t kEntriesMax = 100'000;  // a hostile client may not fill memory

bool is_dead(const ConsumerFilterData& data) {
  return data.dead_time >= data.born_time;
}

bool by_tag(const protocol::SubscriptionData& subscription) {
  return subscription.expression_type.empty() || subscription.expression_type == "TAG";
}

std::uint64_t little_endian(Bytes in, std::size_t length) {
  std::uint64_t value = 0;
  for (std::size_t i = length; i-- > 0;) value = value << 8 | std::to_integer<std::uint64_t>(in[i]);
  return value;
}

std::uint64_t mix(std::uint64_t k) {
  k = (k ^ k >> 33) * 0xFF51AFD7ED558CCDULL;
  k = (k ^ k >> 33) * 0xC4CEB9FE1A85EC53ULL;
  return k ^ k >> 33;
}

/// The first half of MurmurHash3 x64 128 with seed 0.
std::uint64_t murmur3(Bytes in) {
  constexpr std::uint64_t kC1 = 0x87C37B91114253D5ULL, kC2 = 0x4CF5AD432745937FULL;
  const auto first = [&](std::uint64_t k) { return std::rotl(k * kC1, 31) * kC2; };
  const auto second = [&](std::uint64_t k) { return std::rotl(k * kC2, 33) * kC1; };
  const std::size_t length = in.size();
  std::uint64_t h1 = 0, h2 = 0;
  for (; in.size() >= 16; in = in.subspan(16)) {
    h1 ^= first(little_endian(in, 8));
    h1 = (std::rotl(h1, 27) + h2) * 5 + 0x52DCE729;
    h2 ^= second(little_endian(in.subspan(8), 8));
    h2 = (std::rotl(h2, 31) + h1) * 5 + 0x38495AB5;
  }
  if (in.size() > 8) h2 ^= second(little_endian(in.subspan(8), in.size() - 8));
  if (!in.empty()) h1 ^= first(little_endian(in, std::min<std::size_t>(in.size(), 8)));
  h1 ^= length;
  h2 ^= length;
  h1 += h2;
  h2 += h1;
  h1 = mix(h1);
  return h1 + mix(h2);
}

}  // namespace

/// BloomFilter.createByFn.
BloomShape::BloomShape(std::int32_t error_percent, std::int32_t consumers) {
  const double error = error_percent / 100.0;
  const auto log_of = [](double base, double number) { return std::log(number) / std::log(base); };
  hashes_ = static_cast<std::int32_t>(std::ceil(log_of(0.5, error)));
  const double bits = std::ceil(consumers * log_of(2, 1 / error) * log_of(2, std::exp(1.0)));
  bits_ = 8 * static_cast<std::int32_t>(std::ceil(bits / 8));
}

protocol::BloomPattern BloomShape::pattern(const std::string& group,
                                           const std::string& topic) const {
  const std::uint64_t hash = murmur3(as_bytes(group + "#" + topic));
  const auto low = static_cast<std::uint32_t>(hash), high = static_cast<std::uint32_t>(hash >> 32);
  protocol::BloomPattern pattern{.bit_num = bits_, .bit_pos = {}};
  for (std::uint32_t i = 1; i <= static_cast<std::uint32_t>(hashes_); ++i) {
    auto combined = static_cast<std::int32_t>(low + i * high);
    if (combined < 0) combined = ~combined;
    pattern.bit_pos.push_back(combined % bits_);
  }
  return pattern;
}

bool BloomShape::fits(const protocol::BloomPattern& pattern) const {
  return pattern.bit_num == bits_ && pattern.bit_pos.size() == static_cast<std::size_t>(hashes_) &&
         std::ranges::all_of(pattern.bit_pos,
                             [&](std::int32_t bit) { return bit >= 0 && bit < bits_; });
}

FilterData::FilterData(Env& env, const LiveConfig& config, std::string path)
    : env_{env},
      config_{config},
      path_{std::move(path)},
      bloom_{config.now().bloom_error_percent, config.now().bloom_consumers} {}

Result<Ok> FilterData::load() {
  auto table = protocol::load_table<protocol::ConsumerFilterTable>(env_, path_);
  if (!table) return table.error();
  if (!*table) return Ok{};
  constexpr std::int64_t kLeftAgo = 30'000;
  const std::int64_t left = env_.clock.wall_ms() - kLeftAgo;
  for (auto& [topic, groups] : (*table)->filter_data_by_topic) {
    for (auto& [group, data] : groups.group_filter_data) {
      if (!bloom_.fits(data.bloom_filter_data)) {
        env_.log.warn(
            "consumerFilter.json is of another maxErrorRateOfBloomFilter or "
            "expectConsumerNumUseFilter and is dropped: topic={} group={} bits={}",
            topic, group, data.bloom_filter_data.bit_num);
        return Ok{};
      }
      if (data.dead_time == 0) data.dead_time = std::max(left, data.born_time);
    }
  }
  std::lock_guard lock{mutex_};
  table_ = **std::move(table);
  return Ok{};
}

Result<Ok> FilterData::persist(const std::function<bool(const std::string& group)>& online) {
  std::lock_guard one_writer{persist_mutex_};
  std::set<std::string> groups, gone;
  for (const auto& [topic, of_topic] : table().filter_data_by_topic)
    for (const auto& [group, data] : of_topic.group_filter_data) groups.insert(group);
  for (const std::string& group : groups)
    if (!online(group)) gone.insert(group);
  forget(gone);
  return protocol::save_if_dirty(env_, path_, dirty_, [&] {
    std::lock_guard lock{mutex_};
    compiled_.clear();  // of what is gone; the rest is compiled again when it is needed
    return table_;
  });
}

void FilterData::forget(const std::set<std::string>& gone) {
  std::lock_guard lock{mutex_};
  const std::int64_t now = env_.clock.wall_ms();
  for (auto& [topic, of_topic] : table_.filter_data_by_topic) {
    auto& groups = of_topic.group_filter_data;
    for (auto& [group, data] : groups)
      if (gone.contains(group)) mark_dead(data);
    const std::size_t forgotten = std::erase_if(groups, [&](const auto& each) {
      return is_dead(each.second) &&
             now - each.second.dead_time >= config_.now().filter_data_kept_ms;
    });
    if (forgotten > 0) dirty_ = true;
  }
  std::erase_if(table_.filter_data_by_topic,
                [](const auto& each) { return each.second.group_filter_data.empty(); });
}

void FilterData::mark_dead(ConsumerFilterData& data) {
  if (is_dead(data)) return;
  data.dead_time = std::max(env_.clock.wall_ms(), data.born_time);
  dirty_ = true;
}

void FilterData::registered(const std::string& group,
                            const std::vector<protocol::SubscriptionData>& all) {
  std::lock_guard lock{mutex_};
  for (const auto& each : all)
    if (!by_tag(each) && !each.sub_string.empty() && take(group, each)) dirty_ = true;
  // What the group does not subscribe to any more is dead.
  for (auto& [topic, of_topic] : table_.filter_data_by_topic) {
    const auto found = of_topic.group_filter_data.find(group);
    if (found == of_topic.group_filter_data.end()) continue;
    const bool wanted = std::ranges::any_of(
        all, [&](const auto& each) { return each.topic == found->second.topic; });
    if (!wanted) mark_dead(found->second);
  }
}

/// FilterDataMapByTopic.register. True: the table is another one now.
bool FilterData::take(const std::string& group, const protocol::SubscriptionData& subscription) {
  const auto topic = table_.filter_data_by_topic.find(subscription.topic);
  if (topic != table_.filter_data_by_topic.end()) {
    auto& groups = topic->second.group_filter_data;
    if (const auto old = groups.find(group); old != groups.end()) {
      ConsumerFilterData& data = old->second;
      if (subscription.sub_version < data.client_version) return false;
      const bool same = subscription.sub_string == data.expression &&
                        subscription.expression_type == data.expression_type;
      if (same || subscription.sub_version == data.client_version) {
        const ConsumerFilterData before = data;
        data.client_version = subscription.sub_version;
        if (is_dead(data)) data.dead_time = 0;
        return !(before == data);
      }
      groups.erase(old);  // what follows has to compile first
    }
  }
  if (!Sql92::compile(subscription.sub_string)) return true;
  auto& of_topic = table_.filter_data_by_topic[subscription.topic];
  if (of_topic.group_filter_data.size() >= kEntriesMax) return false;
  of_topic.topic = subscription.topic;
  of_topic.group_filter_data[group] = {
      .bloom_filter_data = bloom_.pattern(group, subscription.topic),
      .born_time = env_.clock.wall_ms(),
      .client_version = subscription.sub_version,
      .consumer_group = group,
      .dead_time = 0,
      .expression = subscription.sub_string,
      .expression_type = subscription.expression_type,
      .topic = subscription.topic};
  return true;
}

/// nullptr: it does not compile.
const Sql92* FilterData::compiled(const std::string& expression) {
  auto [at, is_new] = compiled_.try_emplace(expression);
  if (is_new)
    if (auto made = Sql92::compile(expression)) at->second = *std::move(made);
  return at->second ? &*at->second : nullptr;
}

std::string FilterData::bit_map(std::string_view topic, std::string_view properties) {
  std::lock_guard lock{mutex_};
  const auto of_topic = table_.filter_data_by_topic.find(std::string{topic});
  if (of_topic == table_.filter_data_by_topic.end()) return {};
  std::string bits = bloom_.no_bits();
  for (const auto& [group, data] : of_topic->second.group_filter_data) {
    const Sql92* const sql = compiled(data.expression);
    if (!sql || !sql->matches(RecordProperties{properties})) continue;
    for (const std::int32_t bit : data.bloom_filter_data.bit_pos) set_bit(bits, bit);
  }
  return bits;
}

std::optional<ConsumerFilterData> FilterData::find(const std::string& group,
                                                   const std::string& topic) const {
  std::lock_guard lock{mutex_};
  const auto of_topic = table_.filter_data_by_topic.find(topic);
  if (of_topic == table_.filter_data_by_topic.end()) return std::nullopt;
  const auto& groups = of_topic->second.group_filter_data;
  const auto data = groups.find(group);
  if (data == groups.end()) return std::nullopt;
  return data->second;
}

std::optional<FilterBits> FilterData::bits_of(std::string_view group, std::string_view topic,
                                              std::string_view expression) const {
  const auto data = find(std::string{group}, std::string{topic});
  if (!data || data->expression != expression) return std::nullopt;
  return FilterBits{data->bloom_filter_data, data->born_time};
}

protocol::ConsumerFilterTable FilterData::table() const {
  std::lock_guard lock{mutex_};
  return table_;
}

}  // namespace apogee::broker
