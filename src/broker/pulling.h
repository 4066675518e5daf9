#pragma once

#include "broker/context.h"
#include "remoting/processors.h"

/// PULL_MESSAGE and LITE_PULL_MESSAGE (PullMessageProcessor).
///
/// Threads: a pull is checked, read and answered on its connection's loop. What the disk would have
/// to be waited for goes to a reader with a copy of the request: records that are not in memory,
/// and filters that look into records. A pull that finds nothing and may wait is kept by
/// LongPolling and runs once more on its loop.
namespace apogee::broker {

/// Answers up to this size, and those of pieces that are smaller than the other on average, are
/// copied into the connection's outbox; larger ones are sent from the mapped log. The kernel's work
/// for one more buffer costs as much as a copy of a few KiB (measured: 32 records of 330 B cost
/// 0.4 us each copied and 1.3 us each sent from where they are).
inline constexpr std::size_t kCopiedBytesMax = 16 << 10, kCopiedPieceBytesMax = 4 << 10;

void add_pulling(remoting::Processors& processors, Context& context);

/// What a store's answer means on the wire (PullMessageProcessor.composeResponseHeader).
std::int32_t pull_code(store::GetStatus status, std::int64_t requested_offset);

}  // namespace apogee::broker
