#include "broker/scheduled_messages.h"

#include <charconv>
#include <future>

#include "broker/put_record.h"
#include "broker/reading_again.h"
#include "protocol/names.h"
#include "protocol/properties.h"
#include "protocol/table_file.h"

namespace apogee::broker {
namespace {

constexpr auto kPoll = 100ms;  // how late a message may be: Java's idle wait
// Of one level before the next one has its turn.
constexpr std::int64_t kRoundMessages = 256;
constexpr std::size_t kRoundBytes = 4 << 20;
// What a crash may repeat at most, beside what was not on disk yet. Writing the file more often
// would cost deliveries more than they cost themselves.
constexpr std::int64_t kUnsavedDeliveries = 1'000;

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

ScheduledMessages::ScheduledMessages(Env& env, store::MessageStore& store, Stats& stats,
                                     const DelayLevels& levels, std::string path,
                                     std::int64_t version_step, std::int32_t flush_interval_ms)
    : env_{env},
      store_{store},
      stats_{stats},
      levels_{levels},
      path_{std::move(path)},
      version_step_{version_step},
      flush_interval_ms_{flush_interval_ms} {}
ScheduledMessages::~ScheduledMessages() {
  stop();
}

Result<Ok> ScheduledMessages::load() {
  auto table = protocol::load_table<protocol::DelayOffsetTable>(env_, path_);
  if (!table) return table.error();
  if (*table) table_ = **table;
  return Ok{};
}

void ScheduledMessages::start() {
  delivery_ = std::make_unique<Periodic>(env_.clock, env_.workers, kPoll, kPoll, [this] {
    while (!stopping_ && deliver_due() > 0) {
    }
  });
  const std::chrono::milliseconds interval{flush_interval_ms_};
  flush_ = std::make_unique<Periodic>(env_.clock, env_.workers, interval, interval,
                                      [this] { persist(); });
}

void ScheduledMessages::stop() {
  if (!delivery_) return;
  stopping_ = true;
  delivery_.reset();
  flush_.reset();
  {
    std::unique_lock lock{mutex_};
    saving_ended_.wait(lock, [this] { return !saving_; });
  }
  persist();
  in_flight_.wait();
}

protocol::DelayOffsetTable ScheduledMessages::offsets() const {
  std::lock_guard lock{mutex_};
  return table_;
}

/// Writes the offsets of now once the messages they call delivered are on disk; without that a
/// power cut could forget a delivered message and remember that it was delivered.
void ScheduledMessages::persist() {
  protocol::DelayOffsetTable table;
  std::int64_t end, deliveries;
  {
    std::lock_guard lock{mutex_};
    if (unsaved_ == 0 || std::exchange(saving_, true)) return;
    table = table_;
    end = delivered_end_;
    deliveries = unsaved_;
  }
  store_.when_durable(end, [this, table = std::move(table), deliveries,
                            token = in_flight_.enter()](store::PutStatus status) {
    if (status != store::PutStatus::kOk) return saved(0);
    env_.workers.post([this, table, deliveries, token] { saved(save(table) ? deliveries : 0); });
  });
}

/// The write of the file has ended; it knows of so many deliveries more.
void ScheduledMessages::saved(std::int64_t deliveries) {
  std::lock_guard lock{mutex_};
  unsaved_ -= deliveries;
  saving_ = false;
  saving_ended_.notify_all();
}

bool ScheduledMessages::save(const protocol::DelayOffsetTable& table) {
  auto written = protocol::save_table(env_, path_, table);
  if (!written) env_.log.error("delayOffset.json was not written: {}", written.error().detail);
  return written.has_value();
}

/// A message on its way to its real topic.
struct ScheduledMessages::Delivery {
  std::int64_t offset = 0;  // in the queue of its level
  std::string topic;
  Buffer record;
  store::Append append;
};

std::size_t ScheduledMessages::deliver_due() {
  std::lock_guard one_at_a_time{deliver_mutex_};
  std::size_t delivered = 0;
  for (std::int32_t level = 1; level <= levels_.highest() && !stopping_; ++level)
    delivered += deliver_level(level);
  return delivered;
}

/// One round of one level. Returns how far it got.
std::size_t ScheduledMessages::deliver_level(std::int32_t level) {
  const std::int32_t queue = level - 1;
  const std::int64_t begin = store_.min_offset(protocol::kScheduleTopic, queue),
                     end = store_.max_offset(protocol::kScheduleTopic, queue);
  if (begin < 0 || begin >= end) return 0;
  std::int64_t first;
  {
    std::lock_guard lock{mutex_};
    first = std::clamp(table_.offset_table[level], begin, end);
  }
  Deliveries due;
  const std::int64_t next = append(level, due, collect(level, first, end, due));
  std::erase_if(ahead_[level], [&](std::int64_t offset) { return offset < next; });
  if (next == first && due.empty()) return 0;
  settle(level, next, next - first, due);
  return static_cast<std::size_t>(next - first);
}

/// Everything of the level before `next` is settled, `settled` messages of it now.
void ScheduledMessages::settle(std::int32_t level, std::int64_t next, std::int64_t settled,
                               const Deliveries& due) {
  std::unique_lock lock{mutex_};
  table_.offset_table[level] = next;
  for (const Delivery& each : due) {
    if (each.append.status != store::PutStatus::kOk) continue;
    const auto size = static_cast<std::int64_t>(each.record.size());
    delivered_end_ = std::max(delivered_end_, each.append.physical_offset + size);
    stats_.count_delivered(each.topic, level - 1, size);
  }
  deliveries_ += settled;
  if (deliveries_ >= version_step_) {
    deliveries_ = 0;
    table_.data_version.next(env_.clock.wall_ms());
  }
  unsaved_ += settled;
  if (unsaved_ < kUnsavedDeliveries) return;
  lock.unlock();
  persist();
}

/// Fills `due` with the level's messages from `offset` on that are due, as many as one round takes.
/// Returns the first offset that is not settled.
std::int64_t ScheduledMessages::collect(std::int32_t level, std::int64_t offset, std::int64_t end,
                                        Deliveries& due) {
  const std::int64_t now = env_.clock.wall_ms();
  end = std::min(end, offset + kRoundMessages);
  std::size_t bytes = 0;
  for (; offset < end && bytes < kRoundBytes; ++offset) {
    if (ahead_[level].contains(offset)) continue;
    const store::RecordBytes record = read_patiently(
        [&] { return store_.record_at(protocol::kScheduleTopic, level - 1, offset); });
    if (record.unreadable) break;  // the next round tries again
    const auto message = protocol::decode_message(record.bytes);
    if (!message) {
      env_.log.error("a delayed message is gone from the log: level={} offset={}", level, offset);
      continue;
    }
    // A clock that went back must not hold messages for longer than their delay
    // (ScheduleMessageService.correctDeliverTimestamp). The times of those stored since are not the
    // clock's until it has caught up; their queue entries know it.
    const std::int64_t latest = now + levels_.delay_ms(level);
    std::int64_t when = levels_.deliver_time(level, message->store_timestamp);
    if (when > latest) when = record.tags_code;
    if (when > now && when <= latest) break;
    auto delivery = delivery_of(*message);
    if (!delivery) continue;
    delivery->offset = offset;
    bytes += delivery->record.size();
    due.push_back(*std::move(delivery));
  }
  return offset;
}

/// The message as it goes into its real topic; its properties stay as they are, DELAY, REAL_TOPIC
/// and REAL_QID too. nullopt: it cannot be delivered.
std::optional<ScheduledMessages::Delivery> ScheduledMessages::delivery_of(
    const protocol::Message& message) {
  const auto topic = message.property(protocol::property::kRealTopic);
  const auto queue = message.property(protocol::property::kRealQueueId);
  std::int32_t queue_id = 0;
  if (!topic || !queue || !protocol::from_text(*queue, queue_id) || queue_id < 0 ||
      *topic == protocol::kHalfTopic) {
    env_.log.error("a delayed message without a real topic is dropped: physical_offset={}",
                   message.physical_offset);
    return std::nullopt;
  }
  Delivery delivery;
  delivery.topic = *topic;
  protocol::Message real = message;
  real.topic = *topic;
  real.queue_id = queue_id;
  if (auto encoded = protocol::encode_message(delivery.record, real); !encoded) {
    env_.log.error("a delayed message cannot be stored and is dropped: physical_offset={} why={}",
                   message.physical_offset, encoded.error().detail);
    return std::nullopt;
  }
  delivery.append.queue_id = queue_id;
  return delivery;
}

/// Stores what is due. Returns `next`, or the first offset that has to be tried again; what was
/// stored behind that one must not be stored once more.
std::int64_t ScheduledMessages::append(std::int32_t level, Deliveries& due, std::int64_t next) {
  if (due.empty()) return next;
  std::vector<store::Append*> batch;
  for (Delivery& each : due) {
    each.append = append_of(each.topic, each.append.queue_id, each.record);
    batch.push_back(&each.append);
  }
  store_.append(batch);
  const Delivery* refused = nullptr;
  for (const Delivery& each : due) {
    const bool illegal = each.append.status == store::PutStatus::kMessageIllegal;
    if (illegal)
      env_.log.error("a delayed message is illegal and is dropped: topic={} offset={}", each.topic,
                     each.offset);
    if (illegal || each.append.status == store::PutStatus::kOk) {
      if (refused) ahead_[level].insert(each.offset);
    } else if (!refused) {
      refused = &each;
    }
  }
  if (refused && !std::exchange(failing_, true))
    env_.log.warn("delayed messages wait, the store refuses them: status={}",
                  name_of(refused->append.status));
  if (!refused && std::exchange(failing_, false))
    env_.log.info("delayed messages are delivered again");
  return refused ? refused->offset : next;
}

}  // namespace apogee::broker
