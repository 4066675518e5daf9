#pragma once

#include <cstddef>
#include <span>

#include "store/message_store.h"

/// What both kinds of long polling ask of a round of arrivals. Pure.
namespace apogee::broker {

/// The first of them that came to one queue.
inline std::span<const store::Arrival> of_one_queue(std::span<const store::Arrival> arrivals) {
  const store::Arrival& first = arrivals.front();
  std::size_t run = 1;
  while (run < arrivals.size() && arrivals[run].queue_id == first.queue_id &&
         arrivals[run].topic == first.topic)
    ++run;
  return arrivals.first(run);
}

/// Null: every message.
inline bool takes(const store::MessageFilter* filter, const store::Arrival& arrival) {
  if (!filter) return true;
  if (!filter->matches_tags_code(arrival.tags_code)) return false;
  return !filter->needs_record() || filter->matches_record(arrival.record);
}

}  // namespace apogee::broker
