#include "broker/timing.h"

#include <algorithm>
#include <array>

#include "broker/timer_messages.h"
#include "protocol/names.h"

namespace apogee::broker {

namespace property = protocol::property;

void TimerWish::note(std::string_view name, std::string_view value) {
  if (name == property::kTimerDelaySec)
    delay_sec = value;
  else if (name == property::kTimerDelayMs)
    delay_ms = value;
  else if (name == property::kTimerDeliverMs)
    deliver_ms = value;
  else if (name == property::kTimerOutMs)
    timed_already = true;
  else if (name == property::kTimerDeleteKey)
    recalls = true;
}

namespace {

/// The first of seconds, milliseconds and absolute time decides. nullopt: not a number.
std::optional<std::int64_t> deliver_time(const TimerWish& wish, std::int64_t now_ms) {
  std::int64_t number = 0, time = 0;
  const std::string_view text = wish.delay_sec  ? *wish.delay_sec
                                : wish.delay_ms ? *wish.delay_ms
                                                : *wish.deliver_ms;
  if (!protocol::from_text(text, number)) return std::nullopt;
  if (!wish.delay_sec && !wish.delay_ms) return number;
  if (__builtin_mul_overflow(number, wish.delay_sec ? 1'000 : 1, &time) ||
      __builtin_add_overflow(time, now_ms, &time))
    return std::nullopt;
  return time;
}

/// TimerMessageStore.isReject: between the limit and twice the limit ever more are refused.
bool is_congested(std::int64_t out_ms, const Context& context, const SendSettings& settings) {
  const std::int64_t most = context.store.config().timer_slot_messages_max;
  if (most == 2'147'483'647) return false;
  const std::int64_t waiting = settings.timer->waiting_at(out_ms);
  if (waiting <= most) return false;
  return waiting >= 2 * most ||
         static_cast<std::int64_t>(context.env.random.below(static_cast<std::uint64_t>(most))) <
             waiting - most;
}

}  // namespace

std::int64_t timer_precision_ms(const store::StoreConfig& config) {
  static constexpr std::array<std::int64_t, 4> kWidths{1'000, 500, 200, 100};
  for (const std::int64_t width : kWidths)
    if (config.timer_precision_ms >= width) return width;
  return kWidths.back();
}

TimerTime timer_time(const TimerWish& wish, const Context& context, const SendSettings& settings) {
  if (!settings.timer) return {TimerVerdict::kOff};
  const store::StoreConfig& config = context.store.config();
  const std::int64_t now = context.env.clock.wall_ms();
  const auto deliver = deliver_time(wish, now);
  if (!deliver) return {TimerVerdict::kIllegal};
  if (*deliver <= now) return {wish.recalls ? TimerVerdict::kIllegal : TimerVerdict::kAtOnce};
  if (*deliver - now > std::int64_t{config.timer_delay_sec_max} * 1'000)
    return {TimerVerdict::kIllegal};
  const std::int64_t precision = timer_precision_ms(config);
  const std::int64_t out = (*deliver - 1) / precision * precision;
  if (is_congested(out, context, settings)) return {TimerVerdict::kCongested};
  return {TimerVerdict::kLater, out};
}

PutAnswer timer_refusal(TimerVerdict verdict, const Context& context) {
  namespace code = protocol::response_code;
  const store::StoreConfig& config = context.store.config();
  const std::int64_t most = config.timer_slot_messages_max;
  switch (verdict) {
    case TimerVerdict::kIllegal:
      return {code::kMessageIllegal,
              fmt::format("timer message illegal, the delay time should not be bigger than the max "
                          "delay {}ms; or if set del msg, the delay time should be bigger than the "
                          "current time",
                          std::int64_t{config.timer_delay_sec_max} * 1'000)};
    case TimerVerdict::kCongested:
      return {code::kSystemError,
              fmt::format("timer message is under flow control, max num limit is {} or the current "
                          "value is greater than {} and less than {}, trigger random flow control",
                          2 * most, most, 2 * most)};
    case TimerVerdict::kOff:
      return {code::kSystemError,
              "accurate timer message is not enabled, timerWheelEnable is false"};
    case TimerVerdict::kAtOnce:
    case TimerVerdict::kLater:
      break;
  }
  return {code::kSystemError, "UNKNOWN_ERROR"};
}

void wait_in(std::string_view place, std::int32_t place_queue, std::string& topic,
             std::int32_t& queue_id, Buffer& properties) {
  protocol::append_property(properties, property::kRealTopic, topic);
  protocol::append_property(properties, property::kRealQueueId, std::to_string(queue_id));
  topic = place;
  queue_id = place_queue;
}

std::optional<PutAnswer> put_off(std::string& topic, std::int32_t& queue_id, Buffer& properties,
                                 const Context& context, const SendSettings& settings) {
  TimerWish wish;
  std::int32_t level = 0;
  Buffer without_wishes;
  protocol::for_each_property(properties, [&](std::string_view name, std::string_view value) {
    wish.note(name, value);
    if (name == property::kDelay)
      (void)protocol::from_text(value, level);
    else if (!TimerWish::is_wish(name))
      protocol::append_property(without_wishes, name, value);
  });
  if (level > 0) {
    level = settings.levels.cut(level);
    properties = std::move(without_wishes);
    protocol::append_property(properties, property::kDelay, std::to_string(level));
    wait_in(protocol::kScheduleTopic, level - 1, topic, queue_id, properties);
    return std::nullopt;
  }
  if (!wish.any()) return std::nullopt;
  const TimerTime time = timer_time(wish, context, settings);
  if (time.verdict == TimerVerdict::kAtOnce) return std::nullopt;
  if (time.verdict != TimerVerdict::kLater) return timer_refusal(time.verdict, context);
  protocol::append_property(properties, property::kTimerOutMs, std::to_string(time.out_ms));
  wait_in(protocol::kTimerTopic, 0, topic, queue_id, properties);
  return std::nullopt;
}

}  // namespace apogee::broker
