#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "broker/context.h"
#include "broker/sending.h"
#include "protocol/message.h"

/// Messages that ask to be delivered later, and where they wait: in the queue of their delay level
/// or in the timer (HookUtils.handleScheduleMessage).
///
/// Threads: any.
namespace apogee::broker {

/// What the properties of a message say about its time. A delay level above 0 overrules them all.
struct TimerWish {
  std::optional<std::string_view> delay_sec, delay_ms, deliver_ms;
  bool timed_already = false;  ///< It comes from the timer.
  bool recalls = false;        ///< It says that another one is not to be delivered.

  static bool is_wish(std::string_view name) {
    return name == protocol::property::kTimerDelaySec ||
           name == protocol::property::kTimerDelayMs || name == protocol::property::kTimerDeliverMs;
  }
  void note(std::string_view name, std::string_view value);
  bool any() const { return !timed_already && (delay_sec || delay_ms || deliver_ms); }
};

enum class TimerVerdict {
  kAtOnce,     ///< Its time is over.
  kLater,      ///< To the timer, with TIMER_OUT_MS.
  kIllegal,    ///< Not a number, or beyond timerMaxDelaySec.
  kCongested,  ///< timerCongestNumEachSlot
  kOff         ///< timerWheelEnable=false
};
struct TimerTime {
  TimerVerdict verdict = TimerVerdict::kAtOnce;
  std::int64_t out_ms = 0;  ///< kLater: the slot, one precision before delivery at the latest.
};
/// For a wish that is any().
TimerTime timer_time(const TimerWish& wish, const Context& context, const SendSettings& settings);
/// What the sender is told; not for kAtOnce and kLater.
PutAnswer timer_refusal(TimerVerdict verdict, const Context& context);

/// Width of a slot: timerPrecisionMs, brought to what Apache's broker takes.
std::int64_t timer_precision_ms(const store::StoreConfig& config);

/// The message waits in `place` instead, and says where it goes from there.
void wait_in(std::string_view place, std::int32_t place_queue, std::string& topic,
             std::int32_t& queue_id, Buffer& properties);

/// A message that the broker itself is about to put, as by the commit of a transaction: `topic`,
/// `queue_id` and `properties` become those of the place where it waits, if it asks for a time.
/// An answer: it cannot be put, and that is why.
std::optional<PutAnswer> put_off(std::string& topic, std::int32_t& queue_id, Buffer& properties,
                                 const Context& context, const SendSettings& settings);

}  // namespace apogee::broker
