#include "broker/scheduled_messages.h"

#include <charconv>

#include "broker/table_file.h"
#include "protocol/names.h"
#include "protocol/properties.h"

namespace apogee::broker {
namespace {

constexpr auto kPoll = 100ms;                 // how late a message may be: Java's idle wait
constexpr std::int32_t kRoundMessages = 256;  // of one level before the next one has its turn

}  // namespace

Result<DelayLevels> DelayLevels::parse(std::string_view text) {
  DelayLevels levels;
  while (!text.empty()) {
    const std::size_t blank = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, blank);
    text.remove_prefix(std::min(blank + 1, text.size()));
    if (word.empty()) continue;
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size() - 1, number);
    const std::int64_t unit = word.back() == 's'   ? 1'000
                              : word.back() == 'm' ? 60'000
                              : word.back() == 'h' ? 3'600'000
                              : word.back() == 'd' ? 86'400'000
                                                   : 0;
    if (error != std::errc{} || end != word.data() + word.size() - 1 || unit == 0 || number < 0) {
      return Error{Errc::kInvalidArgument, "messageDelayLevel: '" + std::string{word} +
                                               "' is not a delay such as 30s, 5m, 1h or 1d"};
    }
    levels.delays_ms_.push_back(number * unit);
  }
  if (levels.delays_ms_.empty())
    return Error{Errc::kInvalidArgument,
                 "messageDelayLevel is empty: at least one delay is needed"};
  return levels;
}

ScheduledMessages::ScheduledMessages(Env& env, store::MessageStore& store,
                                     const DelayLevels& levels, std::string path,
                                     std::int64_t version_step, std::int32_t flush_interval_ms)
    : env_{env},
      store_{store},
      levels_{levels},
      path_{std::move(path)},
      version_step_{version_step},
      flush_interval_ms_{flush_interval_ms} {}
ScheduledMessages::~ScheduledMessages() {
  stop();
}

Result<Ok> ScheduledMessages::load() {
  auto table = load_table<protocol::DelayOffsetTable>(env_, path_);
  if (!table) return table.error();
  if (*table) table_ = **table;
  return Ok{};
}

void ScheduledMessages::start() {
  delivery_ =
      std::make_unique<Periodic>(env_.clock, env_.workers, kPoll, kPoll, [this] { deliver_due(); });
  const std::chrono::milliseconds interval{flush_interval_ms_};
  flush_ = std::make_unique<Periodic>(env_.clock, env_.workers, interval, interval, [this] {
    if (auto written = persist(); !written)
      env_.log.error("delayOffset.json was not written: {}", written.error().detail);
  });
}

void ScheduledMessages::stop() {
  if (!delivery_) return;
  delivery_.reset();
  flush_.reset();
  if (auto written = persist(); !written)
    env_.log.error("delayOffset.json was not written: {}", written.error().detail);
}

protocol::DelayOffsetTable ScheduledMessages::offsets() const {
  std::lock_guard lock{mutex_};
  return table_;
}

Result<Ok> ScheduledMessages::persist() {
  protocol::DelayOffsetTable table;
  {
    std::lock_guard lock{mutex_};
    if (!dirty_) return Ok{};
    dirty_ = false;
    table = table_;
  }
  return save_table(env_, path_, table);
}

std::size_t ScheduledMessages::deliver_due() {
  std::lock_guard one_at_a_time{deliver_mutex_};
  std::size_t delivered = 0;
  for (std::int32_t level = 1; level <= levels_.highest(); ++level)
    delivered += deliver_level(level);
  return delivered;
}

std::size_t ScheduledMessages::deliver_level(std::int32_t level) {
  const std::int32_t queue = level - 1;
  const std::int64_t begin = store_.min_offset(protocol::kScheduleTopic, queue),
                     end = store_.max_offset(protocol::kScheduleTopic, queue);
  if (begin < 0 || begin >= end) return 0;
  std::int64_t offset;
  {
    std::lock_guard lock{mutex_};
    offset = std::clamp(table_.offset_table[level], begin, end);
  }
  const std::int64_t now = env_.clock.wall_ms();
  const std::int64_t first = offset;
  std::size_t delivered = 0;
  for (; offset < end && offset - first < kRoundMessages; ++offset) {
    const store::RecordBytes record = store_.record_at(protocol::kScheduleTopic, queue, offset);
    if (!record) continue;  // it has left the log
    const auto message = protocol::decode_message(record.bytes);
    // A clock that went back must not hold messages for longer than their delay
    // (correctDeliverTimestamp).
    if (message && levels_.deliver_time(level, std::min(message->store_timestamp, now)) > now)
      break;
    if (message && !deliver(record.bytes)) break;
    ++delivered;
  }
  if (offset == first) return 0;
  std::lock_guard lock{mutex_};
  table_.offset_table[level] = offset;
  dirty_ = true;
  deliveries_ += offset - first;
  if (deliveries_ >= version_step_) {
    deliveries_ = 0;
    table_.data_version.next(env_.clock.wall_ms());
  }
  return delivered;
}

/// Stores the message in its real topic. The property text keeps DELAY, REAL_TOPIC and REAL_QID, as
/// Java's does. False: try again later.
bool ScheduledMessages::deliver(Bytes record) {
  protocol::Message message = *protocol::decode_message(record);
  const auto topic = message.property(protocol::property::kRealTopic);
  const auto queue = message.property(protocol::property::kRealQueueId);
  std::int32_t queue_id = 0;
  if (!topic || !queue || !protocol::from_text(*queue, queue_id) ||
      *topic == protocol::kHalfTopic) {
    env_.log.error("a delayed message without a real topic is dropped: offset={}",
                   message.physical_offset);
    return true;
  }
  message.topic = *topic;
  message.queue_id = queue_id;
  Buffer bytes;
  if (auto encoded = protocol::encode_message(bytes, message); !encoded) {
    env_.log.error("a delayed message cannot be stored and is dropped: offset={} reason={}",
                   message.physical_offset, encoded.error().detail);
    return true;
  }
  store::Append append{.topic = message.topic,
                       .queue_id = queue_id,
                       .records = std::as_writable_bytes(std::span{bytes.data(), bytes.size()})};
  store::Append* batch[] = {&append};
  store_.append(batch);
  if (append.status == store::PutStatus::kOk) return true;
  if (append.status == store::PutStatus::kMessageIllegal) {
    env_.log.error("a delayed message is illegal and is dropped: offset={}",
                   message.physical_offset);
    return true;
  }
  return false;
}

}  // namespace apogee::broker
