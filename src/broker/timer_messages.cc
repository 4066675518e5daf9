#include "broker/timer_messages.h"

#include <algorithm>
#include <array>
#include <future>
#include <limits>

#include "broker/put_record.h"
#include "broker/reading_again.h"
#include "broker/timing.h"
#include "protocol/names.h"
#include "protocol/table_file.h"
#include "store/timer_sync.h"

namespace apogee::broker {
namespace {

namespace property = protocol::property;
using store::TimerLog;
using store::TimerSlot;
using store::TimerUnit;
using store::TimerWheel;

constexpr auto kPoll = 100ms;  // how long a message waits to be taken in
constexpr std::size_t kRoundMessages = 256, kRoundBytes = 4 << 20;
constexpr int kEnqueueRounds = 1'024;  // before what is due has its turn
constexpr std::int64_t kBlankSlots = 60;
/// Without anything to say the check point is written so rarely; a start passes over empty slots.
constexpr std::int64_t kIdleFlushMs = 60'000;
constexpr std::array kBoundsSeconds{5, 60, 300, 900, 3'600, 14'400, 28'800, 86'400};

std::int64_t window_slots(const store::StoreConfig& config) {
  constexpr std::int64_t kMost = TimerWheel::kSlots / 2 - kBlankSlots;
  const std::int64_t wanted = config.timer_roll_window_slots;
  return wanted < 2 || wanted > kMost ? kMost : wanted;
}

std::int64_t end_of(const protocol::Message& message) {
  return message.physical_offset + message.size;
}

std::optional<std::int64_t> number_of(const protocol::Message& message, std::string_view name) {
  std::int64_t number = 0;
  const auto text = message.property(name);
  return text && protocol::from_text(*text, number) ? std::optional{number} : std::nullopt;
}

}  // namespace

TimerMessages::TimerMessages(Env& env, store::MessageStore& store, const std::string& root)
    : env_{env},
      store_{store},
      root_{root},
      precision_ms_{timer_precision_ms(store.config())},
      window_slots_{window_slots(store.config())},
      log_{env.files, root + "/timerlog", store.config().timer_log_file_bytes},
      checkpoint_file_{env.files, root + "/config/timercheck"} {}
TimerMessages::~TimerMessages() {
  stop();
}

// ---- Recovery ----------------------------------------------------------------------------------

Result<Ok> TimerMessages::load() {
  std::lock_guard lock{mutex_};
  auto wheel = TimerWheel::open(env_.files, root_ + "/timerwheel", precision_ms_);
  if (!wheel) return wheel.error();
  wheel_ = *std::move(wheel);
  if (auto loaded = log_.load(); !loaded) return loaded;
  auto checkpoint = checkpoint_file_.read();
  if (!checkpoint) return checkpoint.error();
  checkpoint_ = *checkpoint;
  auto counts = protocol::load_table<protocol::TimerMetrics>(env_, root_ + "/config/timermetrics");
  if (counts && *counts) counts_ = **counts;
  if (auto recovered = recover(); !recovered) return recovered;
  const bool counted = counts && *counts && log_.end() == checkpoint_.log_position;
  if (!counted) count_again();
  return Ok{};
}

/// Brings log and wheel back to what the check point speaks of. Apache's own check point may lag
/// behind its log; what it has taken in is kept (recoverAndRevise).
Result<Ok> TimerMessages::recover() {
  const std::int64_t now = floor_now();
  const std::int64_t earliest = now - (TimerWheel::kSlots / 2 - kBlankSlots) * precision_ms_;
  const std::int64_t said = checkpoint_.read_time_ms - checkpoint_.read_time_ms % precision_ms_;
  // A clock that has gone back must not hold messages; some come twice.
  // What is due before it goes out at once, and asks for no recall: without files, too, only a
  // timer without messages begins now.
  const bool is_new =
      said == 0 && log_.end() == 0 && store_.max_offset(protocol::kTimerTopic, 0) == 0;
  read_time_ms_ = is_new ? now : std::clamp(said, earliest, now);
  queue_offset_ = checkpoint_.queue_offset;
  if (log_.end() < checkpoint_.log_position) {
    env_.log.warn("the timer log is gone and made again from the timer topic");
    known_ = {queue_offset_, said};
    queue_offset_ = 0;
  }
  const std::int64_t position =
      std::clamp(checkpoint_.log_position, log_.begin(), std::max(log_.begin(), log_.end()));
  const bool fits = log_.end() == 0 || (wheel_->has_file() && wheel_fits(position));
  const std::int64_t end = read_tail(position, queue_offset_);
  Result<Ok> done = fits ? cut_slots(end) : Error{Errc::kMalformed, "it does not fit its log"};
  if (!done) {
    env_.log.warn("the timer wheel is made again from the timer log: {}", done.error().detail);
    rebuild_wheel(end);
    if (done = cut_slots(end); !done) return done;
  }
  changed_ = end != checkpoint_.log_position || !fits;
  return log_.set_end(end);
}

/// Does the wheel know the unit before `position`?
bool TimerMessages::wheel_fits(std::int64_t position) const {
  const std::int64_t before = position - static_cast<std::int64_t>(TimerLog::kUnitBytes);
  const auto unit = log_.at(before);
  if (!unit || unit->time_ms() < read_time_ms_) return true;
  const auto slot = wheel_->slot(unit->time_ms());
  return slot && slot->last >= before;
}

/// Takes over units behind the check point whose messages it says are taken in. Returns where the
/// log ends: the rest is made again from the timer topic.
std::int64_t TimerMessages::read_tail(std::int64_t position, std::int64_t resume) {
  for (;;) {
    const std::int64_t at = log_.place_at(position);
    const auto unit = log_.at(at);
    if (!unit) return position;
    store::RecordBytes record;
    const auto message = message_of(*unit, record);
    if (!message || message->queue_offset >= resume) return position;
    insert(*unit, at);
    position = at + static_cast<std::int64_t>(TimerLog::kUnitBytes);
  }
}

void TimerMessages::insert(const TimerUnit& unit, std::int64_t position) {
  auto found = wheel_->slot(unit.time_ms());
  if (!found || unit.time_ms() < read_time_ms_ || found->last >= position) return;
  TimerSlot slot = *found;
  slot.time_ms = unit.time_ms();
  if (slot.last < 0) slot.first = position;
  slot.last = position;
  slot.count += unit.weight();
  wheel_->put(slot);
}

std::int64_t TimerMessages::last_slot() const {
  return std::max(floor_now(), read_time_ms_) + TimerWheel::kSlots / 2 * precision_ms_;
}

/// Slots end before `end` of the log. kMalformed: one leads to no unit of its own. Counts what
/// waits. What a slot says of the log behind `end` may be of an earlier life, whose units were made
/// again in other places; one that was written in part may have its time and not its place.
Result<Ok> TimerMessages::cut_slots(std::int64_t end) {
  waiting_ = 0;
  if (log_.end() == 0 && !wheel_->has_file()) return Ok{};
  std::vector<TimerSlot> cut;
  bool lost = false;
  auto read = wheel_->each(read_time_ms_, last_slot(), [&](const TimerSlot& found) {
    TimerSlot slot = found;
    while (slot.last >= log_.begin()) {
      const auto unit = log_.at(slot.last);
      if (!unit || unit->time_ms() / precision_ms_ != slot.time_ms / precision_ms_) {
        lost = true;
        return false;
      }
      if (slot.last < end) break;
      slot.last = unit->previous;
      slot.count -= unit->weight();
    }
    if (slot.last < 0) slot.first = slot.last = -1;
    if (slot.last != found.last) cut.push_back(slot);
    waiting_ += slot.count;
    return true;
  });
  if (!read) return read;
  if (lost) return Error{Errc::kMalformed, "a slot leads to no unit of its time"};
  for (const TimerSlot& slot : cut) wheel_->put(slot);
  return Ok{};
}

void TimerMessages::rebuild_wheel(std::int64_t end) {
  wheel_->clear();
  for (std::int64_t at = log_.place_at(log_.begin()); at < end; at = log_.behind(at)) {
    const auto unit = log_.at(at);
    if (!unit) return;
    insert(*unit, at);
  }
}

/// The counts from what waits, a topic's name read once (checkAndReviseMetrics).
void TimerMessages::count_again() {
  struct OfTopic {
    std::string name;
    std::int64_t count = 0;
  };
  std::map<std::int32_t, OfTopic> by_hash;
  if (waiting_ != 0) {
    (void)wheel_->each(read_time_ms_, last_slot(), [&](const TimerSlot& slot) {
      for (std::int64_t at = slot.last; at >= 0;) {
        const auto unit = log_.at(at);
        if (!unit) break;
        OfTopic& topic = by_hash[unit->topic_hash];
        store::RecordBytes record;
        if (topic.name.empty())
          if (const auto message = message_of(*unit, record))
            topic.name = message->property(property::kRealTopic).value_or("");
        topic.count += unit->weight();
        at = unit->previous;
      }
      return true;
    });
  }
  counts_.timing_count.clear();
  for (const auto& [hash, topic] : by_hash)
    if (!topic.name.empty()) counts_.timing_count[topic.name] = {topic.count, env_.clock.wall_ms()};
}

// ---- The way in --------------------------------------------------------------------------------

void TimerMessages::start() {
  running_ =
      std::make_unique<Periodic>(env_.clock, env_.workers, kPoll, [this]() -> Clock::Duration {
        run();
        // On the dot: a slot's messages are delivered when it is over.
        const std::int64_t into = env_.clock.wall_ms() % precision_ms_;
        return std::min<Clock::Duration>(kPoll, std::chrono::milliseconds{precision_ms_ - into});
      });
  const std::chrono::milliseconds interval{store_.config().timer_flush_interval_ms};
  flush_ = std::make_unique<Periodic>(env_.clock, env_.workers, interval, interval,
                                      [this] { flush([] {}); });
}

std::int64_t TimerMessages::floor_now() const {
  const std::int64_t now = env_.clock.wall_ms();
  return now - now % precision_ms_;
}

std::size_t TimerMessages::run() {
  std::size_t moved = 0;
  while (!stopping_) {
    const std::size_t in = take_in_new(), out = give_out();
    moved += in + out;
    if (in + out == 0) break;
    std::lock_guard lock{mutex_};
    if (!refused_.empty()) break;
  }
  return moved;
}

/// What is new in the timer topic, and before it what the store has refused.
std::size_t TimerMessages::take_in_new() {
  std::size_t moved = 0;
  for (int rounds = 0; rounds < kEnqueueRounds && !stopping_; ++rounds) {
    std::lock_guard lock{mutex_};
    if (!refused_.empty()) moved += append(std::exchange(refused_, {}));
    if (!refused_.empty()) break;
    look_ahead();
    const std::size_t some = enqueue_some();
    look_ahead();
    if (some == 0) break;
    moved += some;
  }
  return moved;
}

/// Of one slot: before the next one is opened, what has come meanwhile is taken in.
std::size_t TimerMessages::give_out() {
  std::size_t moved = 0;
  while (!stopping_) {
    std::lock_guard lock{mutex_};
    if (!refused_.empty() || recalls_may_wait()) break;
    const std::size_t some = dequeue_some();
    moved += some;
    if (some == 0 || !due_) break;
  }
  return moved;
}

/// A slot is opened once all is taken in that was in the log when it was over: a recall that was
/// answered by then holds.
void TimerMessages::look_ahead() {
  if (!horizon_) {
    // With SYNC_FLUSH nothing behind what is synced is answered, and nobody may sync it for long.
    const bool synced = store_.config().flush_disk_type == store::FlushDiskType::kSyncFlush;
    const store::StoreStatus status = store_.status();
    horizon_ = {floor_now(), synced ? status.flushed_offset : status.commit_log_max_offset,
                std::nullopt};
  }
  if (!horizon_->queue_end && store_.status().dispatched_offset >= horizon_->log_end)
    horizon_->queue_end = store_.max_offset(protocol::kTimerTopic, 0);
  const bool taken_in = horizon_->queue_end && queue_offset_ >= *horizon_->queue_end;
  if (!taken_in && !store_.config().timer_stop_enqueue) return;
  open_until_ms_ = horizon_->over_ms;
  horizon_.reset();
}

/// Does the timer topic hold what cannot be taken in now? It may take back what is due.
bool TimerMessages::recalls_may_wait() const {
  return log_failing_ || (unreadable_ && !store_.config().timer_stop_enqueue);
}

/// One round. Returns how many messages were taken in.
std::size_t TimerMessages::enqueue_some() {
  if (store_.config().timer_stop_enqueue) return 0;
  const store::GetResult result =
      store_.get({.topic = protocol::kTimerTopic,
                  .queue_id = 0,
                  .offset = queue_offset_,
                  .max_messages = static_cast<std::int32_t>(kRoundMessages),
                  .max_bytes = static_cast<std::int32_t>(kRoundBytes)});
  unreadable_ = result.status == store::GetStatus::kUnreadable;
  if (result.status == store::GetStatus::kOffsetTooSmall ||
      result.status == store::GetStatus::kOffsetOverflowBadly) {
    env_.log.warn("the timer topic does not hold its offset: offset={} min={} max={}",
                  queue_offset_, result.min_offset, result.max_offset);
    queue_offset_ = std::clamp(queue_offset_, result.min_offset, result.max_offset);
    changed_ = true;
    return 0;
  }
  Deliveries direct;
  std::size_t taken = 0;
  for (const Bytes each : result.records) {
    for (Bytes rest = each; !rest.empty();) {
      const auto message = protocol::decode_message(rest);
      if (!message) break;
      rest = rest.subspan(static_cast<std::size_t>(message->size));
      if (!take_in(*message, direct)) {
        append(std::move(direct));
        return 0;
      }
      queue_offset_ = message->queue_offset + 1;
      changed_ = true;
      ++taken;
    }
  }
  if (taken == 0 && result.next_offset > queue_offset_) queue_offset_ = result.next_offset;
  append(std::move(direct));
  enqueue_rate_.add(env_.clock.wall_ms(), static_cast<std::int64_t>(taken));
  return taken;
}

/// False: the timer log cannot be written; the message is tried again.
bool TimerMessages::take_in(const protocol::Message& message, Deliveries& direct) {
  const auto out = number_of(message, property::kTimerOutMs);
  const auto real_topic = message.property(property::kRealTopic);
  if (out && message.queue_offset < known_.queue_offset && *out < known_.read_time_ms) return true;
  needed_end_ = std::max(needed_end_, end_of(message));
  if (out && real_topic && (*out >= floor_now() || *out >= first_open_slot())) {
    if (!add_unit(message, *out, *real_topic)) return false;
  } else if (real_topic && message.property(property::kTimerDeleteKey)) {
    // A recall that comes too late.
  } else if (auto delivery =
                 delivery_of(message, std::numeric_limits<std::int64_t>::max(), false)) {
    direct.push_back(*std::move(delivery));
  } else {
    return true;
  }
  const std::string topic{real_topic.value_or("")};
  ++enqueued_[topic];
  if (out) delays_[topic].add((*out - message.born_timestamp) / 1'000, TimerSnapshot::kDelayBounds);
  return true;
}

bool TimerMessages::add_unit(const protocol::Message& message, std::int64_t out_ms,
                             std::string_view real_topic) {
  const std::int64_t now = floor_now(), window = window_slots_ * precision_ms_;
  TimerUnit unit{.written_ms = now,
                 .physical_offset = message.physical_offset,
                 .size = message.size,
                 .topic_hash = protocol::java_hash(real_topic)};
  std::int64_t time = std::max(out_ms - out_ms % precision_ms_, first_open_slot());
  if (time - now >= window) {
    unit.magic |= TimerUnit::kRoll;
    // Enough time for the next round.
    const bool short_rest = time - now - window < window_slots_ / 3 * precision_ms_;
    time = now + (short_rest ? window_slots_ / 2 * precision_ms_ : window);
  }
  if (message.property(property::kTimerDeleteKey)) unit.magic |= TimerUnit::kDelete;
  unit.delay_ms = static_cast<std::int32_t>(time - now);
  auto found = wheel_->slot(time);
  if (!found) {
    if (!std::exchange(log_failing_, true))
      env_.log.error("timer messages wait, the timer wheel cannot be read: {}",
                     found.error().detail);
    return false;
  }
  TimerSlot slot = *found;
  unit.previous = slot.last;
  const auto position = log_.append(unit);
  if (!position) {
    if (!std::exchange(log_failing_, true))
      env_.log.error("timer messages wait, the timer log cannot be written: {}",
                     position.error().detail);
    return false;
  }
  log_failing_ = false;
  slot.time_ms = time;
  if (slot.last < 0) slot.first = *position;
  slot.last = *position;
  slot.count += unit.weight();
  wheel_->put(slot);
  waiting_ += unit.weight();
  count(real_topic, unit.weight());
  return true;
}

void TimerMessages::count(std::string_view topic, std::int32_t difference) {
  protocol::TimingCount& entry = counts_.timing_count[std::string{topic}];
  entry.count += difference;
  entry.timestamp = env_.clock.wall_ms();
  counts_.data_version.next(entry.timestamp);
}

// ---- The way out -------------------------------------------------------------------------------

/// One round of the slot that is due. Returns how many messages left the timer.
std::size_t TimerMessages::dequeue_some() {
  if (store_.config().timer_stop_dequeue || (!due_ && !open_slot())) return 0;
  Deliveries deliveries;
  const std::size_t before = due_->next;
  collect_deliveries(deliveries);
  const std::size_t passed = due_->next - before;
  append(std::move(deliveries));
  if (due_->next == due_->units.size()) {
    due_.reset();
    read_time_ms_ += precision_ms_;
  }
  changed_ = true;
  return std::max<std::size_t>(passed, 1);
}

/// Finds the next slot that is over. False: there is none.
bool TimerMessages::open_slot() {
  const std::int64_t end = std::min(floor_now(), open_until_ms_);
  std::optional<TimerSlot> found;
  auto read = wheel_->each(read_time_ms_, end, [&](const TimerSlot& slot) {
    found = slot;
    return false;
  });
  if (!read) {
    env_.log.error("the timer wheel cannot be read: {}", read.error().detail);
    return false;
  }
  read_time_ms_ = found ? found->time_ms : std::max(read_time_ms_, end);
  return found && collect(*found);
}

/// The slot's units, from the first to the last; recalls are read at once.
bool TimerMessages::collect(const TimerSlot& slot) {
  due_.emplace(Due{});
  for (std::int64_t at = slot.last; at >= 0;) {
    const auto unit = log_.at(at);
    if (!unit) {
      if (at >= log_.begin())
        env_.log.error("a slot of the timer leads to nothing: time={} position={}", slot.time_ms,
                       at);
      break;
    }
    if (unit->deletes()) {
      store::RecordBytes record;
      if (const auto message = message_of(*unit, record)) {
        due_->recalled.emplace(message->property(property::kTimerDeleteKey).value_or(""));
        count(message->property(property::kRealTopic).value_or(""), -unit->weight());
      }
      waiting_ -= unit->weight();
    } else {
      due_->units.push_back(at);
    }
    at = unit->previous;
  }
  std::ranges::reverse(due_->units);
  return true;
}

std::optional<protocol::Message> TimerMessages::message_of(const TimerUnit& unit,
                                                           store::RecordBytes& record) const {
  record = read_patiently([&] { return store_.record_at(unit.physical_offset); });
  auto message = protocol::decode_message(record.bytes);
  if (!message || message->size != unit.size || message->topic != protocol::kTimerTopic)
    return std::nullopt;
  return *message;
}

void TimerMessages::collect_deliveries(Deliveries& deliveries) {
  std::size_t bytes = 0;
  while (due_->next < due_->units.size() && deliveries.size() < kRoundMessages &&
         bytes < kRoundBytes) {
    const auto unit = log_.at(due_->units[due_->next++]);
    store::RecordBytes record;
    const auto message = unit ? message_of(*unit, record) : std::nullopt;
    waiting_ -= unit ? unit->weight() : 1;
    if (!message) {
      env_.log.error("a timer message is gone from the log: physical_offset={}",
                     unit ? unit->physical_offset : -1);
      continue;
    }
    const std::string_view real_topic = message->property(property::kRealTopic).value_or("");
    count(real_topic, -unit->weight());
    const std::int64_t out = number_of(*message, property::kTimerOutMs).value_or(0);
    const bool early = out >= read_time_ms_ + precision_ms_;
    // In again: its time came while the timer stood still, and its recall waits there too; or it is
    // here by a damaged slot or unit only.
    if (early && (!unit->rolls() || out < floor_now()) && add_unit(*message, out, real_topic))
      continue;
    if (!unit->rolls() && is_recalled(*message, real_topic)) continue;
    auto delivery = delivery_of(*message, unit->written_ms, unit->rolls());
    if (!delivery) continue;
    bytes += delivery->record.size();
    deliveries.push_back(*std::move(delivery));
  }
}

/// A recall names its message by the unique key or, as older brokers write it, by topic and key.
bool TimerMessages::is_recalled(const protocol::Message& message,
                                std::string_view real_topic) const {
  if (due_->recalled.empty()) return false;
  const auto key = message.property(property::kUniqueKey);
  return key && (due_->recalled.contains(*key) ||
                 due_->recalled.contains(fmt::format("{}+{}", real_topic, *key)));
}

/// The message as it leaves; its properties stay as they are, and say when it came and went
/// (TimerMessageStore.convert). nullopt: it cannot be delivered.
std::optional<TimerMessages::Delivery> TimerMessages::delivery_of(const protocol::Message& message,
                                                                  std::int64_t enqueue_ms,
                                                                  bool rolls) const {
  const auto topic = message.property(property::kRealTopic);
  const auto queue = message.property(property::kRealQueueId);
  std::int32_t queue_id = 0;
  if (!topic || !queue || !protocol::from_text(*queue, queue_id) || queue_id < 0 ||
      *topic == protocol::kTimerTopic || *topic == protocol::kHalfTopic) {
    env_.log.error("a timer message without a real topic is dropped: physical_offset={}",
                   message.physical_offset);
    return std::nullopt;
  }
  Delivery delivery;
  delivery.topic = rolls ? protocol::kTimerTopic : *topic;
  delivery.real_topic = *topic;
  delivery.rolls = rolls;
  delivery.out_ms = number_of(message, property::kTimerOutMs).value_or(0);
  Buffer properties;
  protocol::for_each_property(message.properties, [&](auto name, auto value) {
    if (name != property::kTimerEnqueueMs && name != property::kTimerDequeueMs &&
        (!rolls || name != property::kTimerRollTimes))
      protocol::append_property(properties, name, value);
  });
  protocol::append_property(properties, property::kTimerEnqueueMs, std::to_string(enqueue_ms));
  protocol::append_property(properties, property::kTimerDequeueMs,
                            std::to_string(env_.clock.wall_ms()));
  if (rolls)
    protocol::append_property(
        properties, property::kTimerRollTimes,
        std::to_string(number_of(message, property::kTimerRollTimes).value_or(0) + 1));
  protocol::Message real = message;
  real.topic = delivery.topic;
  real.queue_id = delivery.append.queue_id = rolls ? 0 : queue_id;
  // Better without a note on its way than not at all.
  if (properties.size() <= protocol::kPropertiesBytesMax) real.properties = properties;
  if (auto encoded = protocol::encode_message(delivery.record, real); !encoded) {
    env_.log.error("a timer message cannot be stored and is dropped: physical_offset={} why={}",
                   message.physical_offset, encoded.error().detail);
    return std::nullopt;
  }
  return delivery;
}

/// Stores what is due; what the store refuses waits in refused_. Returns how many went.
std::size_t TimerMessages::append(Deliveries deliveries) {
  if (deliveries.empty()) return 0;
  std::vector<store::Append*> batch;
  for (Delivery& each : deliveries) {
    each.append = append_of(each.topic, each.append.queue_id, each.record);
    batch.push_back(&each.append);
  }
  store_.append(batch);
  std::size_t went = 0;
  for (Delivery& each : deliveries) {
    switch (each.append.status) {
      case store::PutStatus::kOk:
        delivered(each);
        ++went;
        break;
      case store::PutStatus::kMessageIllegal:
        env_.log.error("a timer message is illegal and is dropped: topic={}", each.topic);
        break;
      default:
        if (!std::exchange(failing_, true))
          env_.log.warn("timer messages wait, the store refuses them: status={}",
                        name_of(each.append.status));
        refused_.push_back(std::move(each));
    }
  }
  if (refused_.empty() && std::exchange(failing_, false))
    env_.log.info("timer messages are delivered again");
  dequeue_rate_.add(env_.clock.wall_ms(), static_cast<std::int64_t>(went));
  return went;
}

void TimerMessages::delivered(const Delivery& delivery) {
  needed_end_ = std::max(needed_end_, delivery.append.physical_offset +
                                          static_cast<std::int64_t>(delivery.record.size()));
  changed_ = true;
  ++dequeued_[delivery.real_topic];
  if (delivery.rolls) return;
  const std::int64_t late = env_.clock.wall_ms() - (delivery.out_ms + precision_ms_);
  lateness_ms_.record(static_cast<std::uint64_t>(std::max<std::int64_t>(late, 0)));
}

// ---- The files ---------------------------------------------------------------------------------

/// What one flush writes; taken while nothing is half done.
struct TimerMessages::Flush {
  store::TimerCheckpoint checkpoint;
  std::vector<std::shared_ptr<store::Segment>> log_files;
  protocol::TimerMetrics counts;
  std::int64_t needed_end = 0;
};

/// nullopt: there is nothing to write, or it would not be true.
std::optional<TimerMessages::Flush> TimerMessages::begin_flush() {
  std::lock_guard lock{mutex_};
  if (!refused_.empty() || broken_) return std::nullopt;
  if (!changed_ && !counts_behind_ && read_time_ms_ - checkpoint_.read_time_ms < kIdleFlushMs)
    return std::nullopt;
  changed_ = false;
  Flush flush;
  flush.checkpoint = {.read_time_ms = read_time_ms_,
                      .log_position = log_.end(),
                      .queue_offset = queue_offset_,
                      .master_queue_offset = queue_offset_,
                      .state_version = checkpoint_.state_version,
                      .timestamp = env_.clock.wall_ms(),
                      .counter = checkpoint_.counter + 1};
  flush.log_files = log_.unsynced();
  flush.counts = counts_;
  flush.needed_end = needed_end_;
  wheel_->begin_flush();
  return flush;
}

Result<Ok> TimerMessages::write(const Flush& flush) {
  for (const auto& file : flush.log_files)
    if (auto synced = store::synced_or_broken(file->sync()); !synced) return synced;
  if (auto written = wheel_->write_flush(); !written) return written;
  if (auto written = checkpoint_file_.write(flush.checkpoint); !written) return written;
  // Numbers for operators: what has become of the messages does not hang on them.
  auto counted =
      replace_file(env_.files, root_ + "/config/timermetrics", encode_body(flush.counts));
  if (!counted) env_.log.warn("the timer's counts were not written: {}", counted.error().detail);
  counts_behind_ = !counted;
  return Ok{};
}

void TimerMessages::end_flush(const Flush& flush, const Result<Ok>& written) {
  std::lock_guard lock{mutex_};
  wheel_->end_flush(written.has_value());
  if (written) {
    checkpoint_ = flush.checkpoint;
    log_.synced(flush.checkpoint.log_position);
    if (const std::int64_t begin = store_.status().commit_log_min_offset; begin > 0)
      log_.remove_expired(begin);
    return;
  }
  changed_ = true;
  // After a failed sync, and most failed writes, nobody knows what is on disk: the next start goes
  // on from the check point that is there. A write without room or a descriptor is tried again.
  broken_ = written.error().code == Errc::kIo;
  env_.log.warn("the timer's files were not written{}: {}",
                broken_ ? " and stay as they are until the next start" : "",
                written.error().detail);
}

void TimerMessages::flush(std::function<void()> done) {
  if (flushing_.exchange(true)) return done();
  auto flush = begin_flush();
  auto token = flush ? in_flight_.enter() : nullptr;
  if (!token) {
    if (flush) end_flush(*flush, Error{Errc::kStopped, "the broker stops"});
    flushing_ = false;
    return done();
  }
  const std::int64_t needed = flush->needed_end;
  store_.when_durable(
      needed, [this, token, done = std::move(done),
               flush = std::make_shared<const Flush>(*std::move(flush))](store::PutStatus status) {
        env_.workers.post([this, token, done, flush, status] {
          end_flush(*flush, status == store::PutStatus::kOk
                                ? write(*flush)
                                : Error{Errc::kTimeout, "the commit log is not on disk yet"});
          flushing_ = false;
          done();
        });
      });
}

void TimerMessages::stop() {
  if (!running_) return;
  stopping_ = true;
  running_.reset();
  flush_.reset();
  in_flight_.wait();
  auto flush = begin_flush();
  if (!flush) return;
  std::promise<store::PutStatus> durable;
  store_.when_durable(flush->needed_end,
                      [&](store::PutStatus status) { durable.set_value(status); });
  end_flush(*flush, durable.get_future().get() == store::PutStatus::kOk
                        ? write(*flush)
                        : Error{Errc::kTimeout, "the commit log is not on disk"});
}

// ---- What others ask ---------------------------------------------------------------------------

std::int64_t TimerMessages::waiting_at(std::int64_t out_ms) const {
  std::lock_guard lock{mutex_};
  const auto slot = wheel_->slot(out_ms);
  return slot ? slot->count : 0;
}

store::TimerCheckpoint TimerMessages::checkpoint() const {
  std::lock_guard lock{mutex_};
  store::TimerCheckpoint now = checkpoint_;
  now.read_time_ms = read_time_ms_;
  now.queue_offset = now.master_queue_offset = queue_offset_;
  return now;
}

protocol::TimerMetrics TimerMessages::metrics() const {
  std::lock_guard lock{mutex_};
  return counts_;
}

void TimerMessages::Rate::add(std::int64_t now_ms, std::int64_t more) {
  if (now_ms / 1'000 != second) {
    last = now_ms / 1'000 == second + 1 ? static_cast<double>(count) : 0;
    second = now_ms / 1'000;
    count = 0;
  }
  count += more;
}

TimerSnapshot TimerMessages::snapshot() const {
  std::lock_guard lock{mutex_};
  const std::int64_t now = env_.clock.wall_ms();
  TimerSnapshot snapshot;
  snapshot.enqueue_lag =
      std::max<std::int64_t>(store_.max_offset(protocol::kTimerTopic, 0) - queue_offset_, 0);
  if (snapshot.enqueue_lag > 0)
    if (const auto stored = store_.store_time(protocol::kTimerTopic, 0, queue_offset_); stored > 0)
      snapshot.enqueue_latency_ms = std::max<std::int64_t>(now - stored, 0);
  snapshot.dequeue_lag = std::max<std::int64_t>(waiting_, 0);
  snapshot.dequeue_latency_ms = std::max<std::int64_t>(now - read_time_ms_, 0);
  const auto rate = [&](Rate of) {
    of.add(now, 0);
    return of.last;
  };
  snapshot.enqueued_per_second = rate(enqueue_rate_);
  snapshot.dequeued_per_second = rate(dequeue_rate_);
  for (const auto& [topic, entry] : counts_.timing_count) snapshot.timing[topic] = entry.count;
  snapshot.enqueued = {enqueued_.begin(), enqueued_.end()};
  snapshot.dequeued = {dequeued_.begin(), dequeued_.end()};
  snapshot.delays = {delays_.begin(), delays_.end()};
  for (const int bound : kBoundsSeconds) snapshot.by_bound.emplace_back(bound, 0);
  const std::int64_t from = floor_now();
  if (waiting_ != 0) {
    (void)wheel_->each(from, from + std::int64_t{kBoundsSeconds.back()} * 1'000,
                       [&](const TimerSlot& slot) {
                         for (auto& [bound, count] : snapshot.by_bound) {
                           if (slot.time_ms - from >= std::int64_t{bound} * 1'000) continue;
                           count += slot.count;
                           break;
                         }
                         return true;
                       });
  }
  snapshot.lateness_ms = lateness_ms_;
  return snapshot;
}

void add_timer_info(const TimerSnapshot& snapshot, std::map<std::string, std::string>& table) {
  table["timerReadBehind"] = std::to_string(snapshot.dequeue_latency_ms / 1'000);
  table["timerOffsetBehind"] = std::to_string(snapshot.enqueue_lag);
  table["timerCongestNum"] = std::to_string(snapshot.dequeue_lag);
  table["timerEnqueueTps"] = fmt::format("{:.1f}", snapshot.enqueued_per_second);
  table["timerDequeueTps"] = fmt::format("{:.1f}", snapshot.dequeued_per_second);
}

}  // namespace apogee::broker
