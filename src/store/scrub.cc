#include "store/scrub.h"

#include <fmt/core.h>

#include "store/log_reader.h"

namespace apogee::store {
namespace {

constexpr std::int64_t kStepBytes = 4 << 20;
constexpr auto kIdle = 10s;  // between rounds, and while switched off
constexpr int kShare = 20;   // of the time that passes, one part in so many is spent on reading

}  // namespace

void Scrub::start() {
  steps_ = std::make_unique<Periodic>(env_.clock, env_.workers, kIdle, [this] { return step(); });
}

/// Says when to go on.
Clock::Duration Scrub::step() {
  const std::int64_t rate = config_.now().scrub_bytes_per_second;
  if (rate == 0) return kIdle;
  const auto began = env_.clock.now();
  const std::int64_t read_bytes = read(std::min(rate, kStepBytes));
  if (read_bytes == 0) return kIdle;
  bytes_.fetch_add(read_bytes, std::memory_order_relaxed);
  const auto took = env_.clock.now() - began;
  return std::max<Clock::Duration>(std::chrono::milliseconds{read_bytes * 1'000 / rate},
                                   took * kShare);
}

/// Checks about `most` bytes from position_ on; 0: a round is over, or the log cannot be read.
std::int64_t Scrub::read(std::int64_t most) {
  const std::int64_t end = log_.end_offset();
  const std::int64_t from = std::max(position_, log_.min_offset());
  const auto segment = from < end ? log_.segment_of(from) : nullptr;
  if (!segment) {
    if (position_ > 0) rounds_.fetch_add(1, std::memory_order_relaxed);
    position_ = 0;
    return 0;
  }
  // Through the file, not the mapping: what the disk cannot read is an error, not a signal.
  LogReader reader{env_.files, {{segment->path(), segment->base(), segment->size()}}};
  const CheckCrc check = checked_with_bodies(config_.now());
  position_ = from;
  auto done = reader.walk_on(from, check, [&](const LogItem& item) {
    const auto position = static_cast<std::int64_t>(item.position);
    if (item.kind == LogItem::Kind::kWrongCrc)
      damages_.tell(segment->path(), position,
                    fmt::format("topic={} queue={} queue_offset={}", item.message.topic,
                                item.message.queue_id, item.message.queue_offset));
    else if (item.kind == LogItem::Kind::kRecord && item.message.physical_offset != item.offset())
      damages_.tell(segment->path(), position, "a record that knows another place");
    else if (item.kind == LogItem::Kind::kGarbage || item.kind == LogItem::Kind::kTail)
      damages_.tell(segment->path(), position,
                    fmt::format("{} bytes are not a record", item.bytes));
    position_ = item.kind == LogItem::Kind::kTail
                    ? segment->end()
                    : item.offset() + static_cast<std::int64_t>(item.bytes);
    return position_ < end && position_ - from < most;
  });
  for (const Unreadable& each : reader.unreadable()) {
    const auto position = static_cast<std::int64_t>(each.position);
    if (segment->base() + position < end)
      damages_.tell(each.path, position, fmt::format("the disk cannot read {} bytes", each.bytes));
  }
  if (!done) {
    if (done.error().code != Errc::kNotFound)  // it has expired
      damages_.tell(segment->path(), position_ - segment->base(), done.error().detail);
    position_ = segment->end();  // the rest is read in the next round
  }
  return position_ - from;
}

}  // namespace apogee::store
