#include "store/timer_wheel.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "store/timer_sync.h"

namespace apogee::store {
namespace {

constexpr std::uint64_t kFileBytes = TimerWheel::kSlots * TimerWheel::kSlotBytes;
constexpr std::int64_t kReadSlots = 2'048;  // of one read

}  // namespace

Result<std::unique_ptr<TimerWheel>> TimerWheel::open(FileSystem& files, std::string path,
                                                     std::int64_t precision_ms) {
  std::unique_ptr<TimerWheel> wheel{new TimerWheel{files, std::move(path), precision_ms}};
  auto file = files.open(wheel->path_, FileSystem::Open::kExisting);
  if (!file && file.error().code == Errc::kNotFound) return wheel;
  if (!file) return file.error();
  auto size = (*file)->size();
  if (!size) return size.error();
  if (*size < kFileBytes) {  // torn: other brokers make and clear it in place
    wheel->stale_ = true;
    return wheel;
  }
  if (*size > kFileBytes)
    return Error{Errc::kMalformed,
                 fmt::format("{} has {} bytes and should have {}; remove it, it is made again from "
                             "the timer log",
                             wheel->path_, *size, kFileBytes)};
  wheel->file_ = *std::move(file);
  return wheel;
}

/// A time that cannot be one is read as none.
TimerSlot TimerWheel::decode(Bytes bytes) const {
  const auto steps = read_big<std::int64_t>(bytes);
  const bool possible =
      steps >= 0 && steps <= std::numeric_limits<std::int64_t>::max() / precision_ms_;
  return {.time_ms = possible ? steps * precision_ms_ : -1,
          .first = read_big<std::int64_t>(bytes, 8),
          .last = read_big<std::int64_t>(bytes, 16),
          .count = read_big<std::int32_t>(bytes, 24),
          .magic = read_big<std::int32_t>(bytes, 28)};
}

void TimerWheel::encode(Buffer& out, const TimerSlot& slot) const {
  append_big<std::int64_t>(out, slot.time_ms / precision_ms_);
  append_big<std::int64_t>(out, slot.first);
  append_big<std::int64_t>(out, slot.last);
  append_big<std::int32_t>(out, slot.count);
  append_big<std::int32_t>(out, slot.magic);
}

const TimerSlot* TimerWheel::unwritten(std::int64_t index) const {
  for (const Slots* slots : {&changed_, &flushing_})
    if (const auto found = slots->find(index); found != slots->end()) return &found->second;
  return nullptr;
}

Result<TimerSlot> TimerWheel::slot(std::int64_t time_ms) const {
  TimerSlot found;
  auto read =
      each(time_ms, time_ms - time_ms % precision_ms_ + precision_ms_, [&](const TimerSlot& slot) {
        found = slot;
        return false;
      });
  if (!read) return read.error();
  return found;
}

void TimerWheel::put(const TimerSlot& slot) {
  TimerSlot aligned = slot;
  aligned.time_ms -= aligned.time_ms % precision_ms_;
  changed_[index_of(slot.time_ms)] = aligned;
}

Result<Ok> TimerWheel::each(std::int64_t from_ms, std::int64_t end_ms,
                            const std::function<bool(const TimerSlot&)>& visit) const {
  Buffer bytes;
  std::int64_t time = from_ms - from_ms % precision_ms_;
  while (time < end_ms) {
    const std::int64_t index = index_of(time);
    const std::int64_t wanted = (end_ms - time + precision_ms_ - 1) / precision_ms_;
    const std::int64_t count = std::min({wanted, kReadSlots, kSlots - index});
    bytes.assign(static_cast<std::size_t>(count) * kSlotBytes, '\0');
    if (file_) {
      auto read = file_->read_at(static_cast<std::uint64_t>(index) * kSlotBytes,
                                 std::as_writable_bytes(std::span{bytes}));
      if (!read) return read.error();
    }
    for (std::int64_t i = 0; i < count; ++i, time += precision_ms_) {
      const TimerSlot* const newer = unwritten(index + i);
      const TimerSlot slot =
          newer ? *newer
                : decode(as_bytes(bytes).subspan(static_cast<std::size_t>(i) * kSlotBytes));
      if (slot.time_ms == time && slot.last >= 0 && !visit(slot)) return Ok{};
    }
  }
  return Ok{};
}

void TimerWheel::clear() {
  changed_.clear();
  flushing_.clear();
  stale_ = stale_ || file_;
  file_.reset();
}

void TimerWheel::begin_flush() {
  for (auto& [index, slot] : changed_) flushing_[index] = slot;  // beside what failed before
  changed_.clear();
}

Result<Ok> TimerWheel::write_flush() {
  if (!file_) return flushing_.empty() && !stale_ ? Result<Ok>{Ok{}} : write_fresh();
  if (flushing_.empty()) return Ok{};
  if (auto written = write_slots(*file_); !written) return written;
  return synced_or_broken(file_->sync());
}

/// As a whole: an empty wheel in its place would be taken for one whose messages have all been
/// delivered.
Result<Ok> TimerWheel::write_fresh() {
  auto written = replace_timer_file(files_, path_, [&](File& file) {
    auto sized = file.resize(kFileBytes);
    return sized ? write_slots(file) : sized;
  });
  if (!written) return written.error();
  fresh_ = *std::move(written);
  return Ok{};
}

/// Neighbours go in one write.
Result<Ok> TimerWheel::write_slots(File& file) const {
  Buffer run;
  for (auto each = flushing_.begin(); each != flushing_.end();) {
    const std::int64_t first = each->first;
    std::int64_t index = first;
    run.clear();
    for (; each != flushing_.end() && each->first == index; ++each, ++index)
      encode(run, each->second);
    if (auto written = file.write_at(static_cast<std::uint64_t>(first) * kSlotBytes, as_bytes(run));
        !written)
      return written;
  }
  return Ok{};
}

void TimerWheel::end_flush(bool written) {
  auto fresh = std::move(fresh_);
  if (!written) return;
  flushing_.clear();
  if (!fresh) return;
  file_ = std::move(fresh);
  stale_ = false;
}

}  // namespace apogee::store
