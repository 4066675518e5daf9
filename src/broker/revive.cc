#include "broker/revive.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "protocol/names.h"
#include "protocol/properties.h"

namespace apogee::broker {
namespace {

constexpr std::string_view kFirstPopTime = "1ST_POP_TIME", kOriginGroup = "ORIGIN_GROUP";
/// One round of one queue brings back so much at once, and then goes on.
constexpr std::size_t kRoundMessages = 512, kRoundBytes = 8 << 20;
/// Records read from one queue before the others have their turn.
constexpr std::int32_t kReadMax = 100'000;
/// The store refuses: when to ask it again.
constexpr std::int64_t kRefusedMs = 1'000;
/// How long a message that cannot be read waits for its next attempt
/// (PopReviveService.ckRewriteIntervalsInSeconds).
constexpr std::array kPutAgainSeconds{10,  20,  30,  60,  120,  180,  240,  300, 360,
                                      420, 480, 540, 600, 1200, 1800, 3600, 7200};

std::uint32_t all_of(std::int32_t count) {
  return count >= 32 ? ~std::uint32_t{0} : (std::uint32_t{1} << count) - 1;
}

std::uint32_t bit(std::int32_t index) {
  return std::uint32_t{1} << index;
}

protocol::Ack ack_of(const protocol::CheckPoint& what, std::uint32_t bits) {
  protocol::Ack ack;
  ack.offset = -1;
  ack.offsets.emplace();
  for (std::int32_t i = 0; i < what.count; ++i)
    if ((bits & bit(i)) != 0) ack.offsets->push_back(what.offset_of(i));
  ack.broker_name = what.broker_name;
  ack.group = what.group;
  ack.pop_time = what.pop_time;
  ack.queue_id = what.queue_id;
  ack.start_offset = what.start_offset;
  ack.topic = what.topic;
  return ack;
}

}  // namespace

Revive::Revive(Context& context, const SendSettings& sending, ReviveLog& log)
    : context_{context}, sending_{sending}, log_{log}, began_ms_{context.env.clock.wall_ms()} {}

void Revive::start() {
  const std::chrono::milliseconds interval{context_.settings().revive_interval_ms};
  periodic_ = std::make_unique<Periodic>(context_.env.clock, context_.env.workers, interval,
                                         interval, [this] { run(); });
}

void Revive::stop() {
  stopping_ = true;
  periodic_.reset();
}

std::size_t Revive::run() {
  std::lock_guard one_at_a_time{run_mutex_};
  std::size_t came_back = 0, points = 0;
  const std::int32_t queues = log_.queues();
  for (std::int32_t id = 0; id < queues && !stopping_; ++id) {
    Queue& queue = queues_[id];
    // The time first: an ack that was given before it is read below, or within the grace.
    const std::int64_t now_ms = context_.env.clock.wall_ms();
    if (queue.next < 0) begin(id, queue);
    // What is not read yet may be acks.
    if (read(id, queue)) {
      while (const std::size_t some = bring_back(id, queue, now_ms)) {
        came_back += some;
        if (stopping_) break;
      }
      carry_over(id, queue);
    }
    commit(id, queue);
    points += queue.points.size();
    std::lock_guard lock{oldest_mutex_};
    oldest_due_[id] = queue.points.empty() ? 0 : queue.points.begin()->second.what.due();
  }
  outstanding_ = points;
  return came_back;
}

/// As Java counts them: from the committed offset on, in time since the oldest check point is due.
std::map<std::int32_t, Revive::Lag> Revive::lag() const {
  const std::int64_t now_ms = context_.env.clock.wall_ms();
  std::lock_guard lock{oldest_mutex_};
  std::map<std::int32_t, Lag> lags;
  for (const auto& [id, due] : oldest_due_) {
    const auto settled = context_.offsets.find(protocol::kReviveGroup, log_.topic(), id);
    const std::int64_t next = settled.value_or(-1) + 1;
    lags[id] = {
        .records = std::max<std::int64_t>(context_.store.max_offset(log_.topic(), id) - next, 0),
        .ms = due == 0 ? 0 : std::max<std::int64_t>(now_ms - due, 0)};
  }
  return lags;
}

/// Goes on behind what is settled. An offset beyond the queue's end (the log lost its tail) would
/// make everything below it invisible for good: it is taken back.
void Revive::begin(std::int32_t id, Queue& queue) {
  const auto committed = context_.offsets.find(protocol::kReviveGroup, log_.topic(), id);
  const std::int64_t end = context_.store.max_offset(log_.topic(), id);
  queue.next = std::max<std::int64_t>(committed.value_or(-1) + 1, 0);
  if (queue.next <= end) return;
  context_.env.log.warn("revive queue is shorter than its offset: queue={} offset={} end={}", id,
                        queue.next, end);
  queue.next = end;
  context_.offsets.commit(protocol::kReviveGroup, log_.topic(), id, end - 1);
}

/// To the queue's end, as far as one run goes. False: there is more, or it cannot be read now.
bool Revive::read(std::int32_t id, Queue& queue) {
  for (std::int32_t count = 0; count < kReadMax && !stopping_;) {
    const store::GetResult result = context_.store.get(
        {.topic = log_.topic(), .queue_id = id, .offset = queue.next, .max_messages = 256});
    if (result.status == store::GetStatus::kOffsetTooSmall) {
      queue.next = result.min_offset;  // retention took records, and the messages before them
      continue;
    }
    if (result.next_offset <= queue.next) return result.status != store::GetStatus::kUnreadable;
    for (const Bytes each : result.records) {
      for (Bytes rest = each; !rest.empty();) {
        const auto record = protocol::decode_message(rest);
        if (!record) break;
        rest = rest.subspan(static_cast<std::size_t>(record->size));
        apply(id, queue, *record);
        ++count;
      }
    }
    queue.next = result.next_offset;
  }
  return false;
}

void Revive::apply(std::int32_t id, Queue& queue, const protocol::Message& record) {
  const auto tag = record.property(protocol::property::kTags);
  if (tag == protocol::kCheckPointTag) {
    auto what = protocol::parse_check_point(as_text(record.body));
    if (!what)
      return context_.env.log.warn("not a check point: offset={} why={}", record.queue_offset,
                                   what.error().detail);
    log_.counts.count_out(what->group, what->topic, ReviveCounts::kCheckPoint, id);
    const auto copy = queue.copies.extract(record.queue_offset);
    if (!copy.empty() && !queue.points.contains(copy.mapped())) {
      // Acked while it was copied. The next start may read the copy alone.
      (void)log_.put(id, ack_of(*what, all_of(what->count)), what->due());
      return;
    }
    const bool by_timer = record.property(protocol::property::kTimerDequeueMs).has_value();
    if (by_timer)
      for (const protocol::Ack& ack : queue.early)
        what->acked_bits |= static_cast<std::int32_t>(bits_of(*what, ack));
    add(queue, record.queue_offset, *std::move(what), by_timer ? kTimerGraceMs : kGraceMs);
  } else if (tag == protocol::kAckTag || tag == protocol::kBatchAckTag) {
    auto ack = protocol::parse_ack(as_text(record.body));
    if (!ack)
      return context_.env.log.warn("not an ack: offset={} why={}", record.queue_offset,
                                   ack.error().detail);
    log_.counts.count_out(ack->group, ack->topic, ReviveCounts::kAck, id);
    if (ack->broker_name.empty()) ack->broker_name = context_.settings().broker_name;
    acked(queue, *std::move(ack), record.queue_offset);
  }
}

void Revive::add(Queue& queue, std::int64_t offset, protocol::CheckPoint what,
                 std::int64_t grace_ms) {
  const std::string key = merge_key(what);
  std::uint32_t open = all_of(what.count) & ~static_cast<std::uint32_t>(what.acked_bits);
  const auto [first, last] = queue.by_key.equal_range(key);
  for (auto same = first; same != last; ++same) {
    const auto before = queue.points.find(same->second);
    if (before->second.what.differences != what.differences ||
        before->second.what.count != what.count)
      continue;
    open &= before->second.open;  // carried over
    erase(queue, before);
    break;
  }
  if (open == 0) return;
  const std::int64_t due = what.due() + grace_ms;
  what.revive_offset = offset;
  queue.points.emplace(offset, Point{std::move(what), open, due});
  queue.by_key.emplace(key, offset);
  queue.by_due.emplace(due, offset);
}

/// Which of the check point's messages the ack is of.
std::uint32_t Revive::bits_of(const protocol::CheckPoint& what, const protocol::Ack& ack) {
  if (what.pop_time != ack.pop_time || merge_key(what) != merge_key(ack)) return 0;
  std::uint32_t bits = 0;
  const auto mark = [&](std::int64_t message) {
    if (const auto index = what.index_of(message)) bits |= bit(*index);
  };
  if (ack.offsets)
    std::ranges::for_each(*ack.offsets, mark);
  else
    mark(ack.offset);
  return bits;
}

/// Acks of what is not there are of messages that have come back, or of nothing; or of what
/// Apache's broker gave out before this one began, whose check point is in the timer until it is
/// due.
void Revive::acked(Queue& queue, protocol::Ack ack, std::int64_t offset) {
  std::vector<std::int64_t> points;
  const auto [first, last] = queue.by_key.equal_range(merge_key(ack));
  for (auto each = first; each != last; ++each)
    if (each->second < offset) points.push_back(each->second);
  for (const std::int64_t each : points) {
    const auto point = queue.points.find(each);
    settle(queue, point, bits_of(point->second.what, ack));
  }
  if (!points.empty() || ack.pop_time >= began_ms_) return;
  if (queue.early.size() == kEarlyMax) queue.early.pop_front();
  queue.early.push_back(std::move(ack));
}

void Revive::settle(Queue& queue, Points::iterator point, std::uint32_t bits) {
  point->second.open &= ~bits;
  if (point->second.open == 0) erase(queue, point);
}

void Revive::erase(Queue& queue, Points::iterator point) {
  const auto [first, last] = queue.by_key.equal_range(merge_key(point->second.what));
  for (auto each = first; each != last; ++each) {
    if (each->second != point->first) continue;
    queue.by_key.erase(each);
    break;
  }
  queue.by_due.erase({point->second.due, point->first});
  queue.points.erase(point);
}

/// One round: as much of what is due as is stored at once. Returns how many messages came back.
std::size_t Revive::bring_back(std::int32_t id, Queue& queue, std::int64_t now_ms) {
  Round round;
  for (auto due = queue.by_due.begin();
       due != queue.by_due.end() && due->first <= now_ms && round.returns.size() < kRoundMessages &&
       round.bytes < kRoundBytes;
       ++due)
    collect(queue.points.at(due->second), due->second, round);
  if (round.returns.empty() && round.settled.empty() && round.unreadable.empty()) return 0;
  const bool stored = store_returns(round);
  put_again(id, queue, round);
  record_settled(id, queue, round);
  std::size_t came_back = 0;
  for (const Return& each : round.returns) {
    const protocol::CheckPoint& what = queue.points.at(each.point).what;
    log_.counts.count_again(what.group, what.topic, each.append.status);
    came_back += is_stored(each.append.status) ? 1 : 0;
  }
  for (const auto& [offset, bits] : round.settled) settle(queue, queue.points.find(offset), bits);
  if (stored && !round.settled.empty()) return std::max<std::size_t>(came_back, 1);
  // What is left comes later; the round must end now.
  while (!queue.by_due.empty() && queue.by_due.begin()->first <= now_ms) {
    const std::int64_t offset = queue.by_due.begin()->second;
    queue.by_due.erase(queue.by_due.begin());
    Point& point = queue.points.at(offset);
    point.due = now_ms + kRefusedMs;
    queue.by_due.emplace(point.due, offset);
  }
  return 0;
}

/// Nobody takes messages of a topic or for a group that is gone. One that was made by its first pop
/// may have been lost with the process, its messages must not be.
bool Revive::is_wanted(const protocol::CheckPoint& what) const {
  return context_.topics.contains(protocol::normal_topic(what.topic, what.group)) &&
         context_.groups.find_or_create(what.group) != nullptr;
}

void Revive::collect(Point& point, std::int64_t offset, Round& round) {
  const protocol::CheckPoint& what = point.what;
  const bool wanted = is_wanted(what);
  const std::int64_t least = context_.store.min_offset(what.topic, what.queue_id),
                     end = context_.store.max_offset(what.topic, what.queue_id);
  for (std::int32_t i = 0; i < what.count; ++i) {
    if ((point.open & bit(i)) == 0) continue;
    const std::int64_t at = what.offset_of(i);
    if (!wanted || at < least || at >= end) {
      round.settled[offset] |= bit(i);  // retention took it, or it never was
      continue;
    }
    const store::RecordBytes record = context_.store.record_at(what.topic, what.queue_id, at);
    if (!record && !record.unreadable) {
      context_.env.log.error(
          "a message that should come again is gone: topic={} queue={} offset={} group={}",
          what.topic, what.queue_id, at, what.group);
      round.settled[offset] |= bit(i);
      continue;
    }
    const auto original = protocol::decode_message(record.bytes);
    auto back = original ? return_of(what, *original) : std::nullopt;
    if (!back) {
      round.unreadable[offset] |= bit(i);
      continue;
    }
    back->point = offset;
    back->index = i;
    round.bytes += back->record.size();
    round.returns.push_back(*std::move(back));
  }
}

/// The message as it comes again, consumed once more (PopReviveService.reviveRetry).
std::optional<Revive::Return> Revive::return_of(const protocol::CheckPoint& what,
                                                const protocol::Message& original) {
  Return back;
  back.topic = what.topic;
  if (!protocol::is_retry_topic(what.topic))
    back.topic = context_.settings().retry_topic_v2
                     ? protocol::pop_retry_topic_v2(what.group, what.topic)
                     : protocol::pop_retry_topic_v1(what.group, what.topic);
  protocol::Properties properties{original.properties};
  if (original.reconsume_times == 0 || !properties.find(kFirstPopTime))
    properties.set(kFirstPopTime, std::to_string(what.pop_time));
  properties.set(kOriginGroup, what.group);
  const Buffer text = properties.encode();
  protocol::Message message = original;
  message.topic = back.topic;
  message.queue_id = 0;
  message.properties = text;
  if (!what.suspend && message.reconsume_times < std::numeric_limits<std::int32_t>::max())
    ++message.reconsume_times;
  message.prepared_transaction_offset = 0;
  message.born_host = message.store_host = as_bytes(sending_.store_host.address);
  message.born_port = message.store_port = sending_.store_host.port;
  auto encoded = protocol::encode_message(back.record, message);
  if (!encoded) {
    back.record.clear();
    message.properties = original.properties;  // too long with ours
    encoded = protocol::encode_message(back.record, message);
  }
  if (!encoded) return std::nullopt;
  return back;
}

/// False: the store took less than all.
bool Revive::store_returns(Round& round) {
  std::vector<store::Append*> batch;
  for (Return& each : round.returns) {
    if (!context_.topics.need(each.topic, 1)) continue;
    each.append = append_of(each.topic, 0, each.record);
    batch.push_back(&each.append);
  }
  if (!batch.empty()) context_.store.append(batch);
  bool all = true;
  for (Return& each : round.returns) {
    if (is_stored(each.append.status)) {
      round.settled[each.point] |= bit(each.index);
      context_.stats.count_put(each.topic, 1, static_cast<std::int64_t>(each.record.size()));
    } else if (each.append.status == store::PutStatus::kMessageIllegal) {
      round.unreadable[each.point] |= bit(each.index);
    } else {
      all = false;
      if (!std::exchange(refused_, true))
        context_.env.log.warn("messages to come again wait, the store refuses them: status={}",
                              name_of(each.append.status));
    }
  }
  if (all && !round.returns.empty() && std::exchange(refused_, false))
    context_.env.log.info("messages come again again");
  return all;
}

/// Messages that cannot be read get a check point of their own, due later each time, so that they
/// hold up nothing else (PopReviveService.rePutCK).
void Revive::put_again(std::int32_t id, Queue& queue, Round& round) {
  for (const auto& [offset, bits] : round.unreadable) {
    const protocol::CheckPoint& old = queue.points.at(offset).what;
    std::int32_t times = 0;
    if (old.times_put_again) protocol::from_text(*old.times_put_again, times);
    const auto step = std::min<std::size_t>(static_cast<std::size_t>(std::max(times, 0)),
                                            kPutAgainSeconds.size() - 1);
    for (std::int32_t i = 0; i < old.count; ++i) {
      if ((bits & bit(i)) == 0) continue;
      protocol::CheckPoint next = old;
      next.acked_bits = 0;
      next.count = 1;
      next.differences = {0};
      next.start_offset = old.offset_of(i);
      // Its own pop time: the ack that settles the old one must not be taken for this one's.
      next.pop_time =
          std::max(context_.env.clock.wall_ms(), protocol::visible_again(old.pop_time, 1));
      next.invisible_ms = std::int64_t{kPutAgainSeconds[step]} * 1'000;
      next.revive_time = next.due();
      next.times_put_again = std::to_string(std::min(times, 1'000'000) + 1);
      context_.env.log.error(
          "a message that should come again cannot be read: topic={} queue={} offset={} group={}",
          old.topic, old.queue_id, next.start_offset, old.group);
      if (log_.put(id, next)) round.settled[offset] |= bit(i);
    }
  }
}

/// Says in the revive topic what is settled, so that a crash before the next commit brings nothing
/// back twice.
void Revive::record_settled(std::int32_t id, Queue& queue, const Round& round) {
  for (const auto& [offset, bits] : round.settled) {
    const Point& point = queue.points.at(offset);
    (void)log_.put(id, ack_of(point.what, bits), point.what.due());
  }
}

/// The oldest check points are written once more, at the end of the queue, when too much lies
/// behind them; reading that record takes the old one away.
void Revive::carry_over(std::int32_t id, Queue& queue) {
  const auto span_max = kSpanMax + 4 * static_cast<std::int64_t>(queue.points.size());
  std::size_t carried = 0;
  for (auto& [offset, point] : queue.points) {
    if (queue.next - offset <= span_max) return;
    if (point.copied) continue;
    if (carried++ == kRoundMessages || stopping_) return;
    protocol::CheckPoint same = point.what;
    same.acked_bits = static_cast<std::int32_t>(~point.open & all_of(same.count));
    const RecordPut copy = log_.put(id, same);
    if (!copy) return;
    point.copied = true;
    queue.copies.emplace(copy.queue_offset, offset);
  }
}

void Revive::commit(std::int32_t id, Queue& queue) {
  const std::int64_t settled =
      (queue.points.empty() ? queue.next : queue.points.begin()->first) - 1;
  const auto committed = context_.offsets.find(protocol::kReviveGroup, log_.topic(), id);
  if (settled > committed.value_or(-1))
    context_.offsets.commit(protocol::kReviveGroup, log_.topic(), id, settled);
}

}  // namespace apogee::broker
