#pragma once

#include "store/message_store.h"

namespace apogee::broker {

/// Reads a message that the broker is to deliver by itself, and that nobody asks for again once it
/// counts as gone. What was wrong for a moment, on its way from the disk, may be right the next
/// time. What stays empty is gone; `unreadable` is the caller's to wait for.
template <class Read>
store::RecordBytes read_patiently(const Read& read) {
  constexpr int kTimes = 3;
  store::RecordBytes record;
  for (int i = 0; i < kTimes && !record && !record.unreadable; ++i) record = read();
  return record;
}

}  // namespace apogee::broker
