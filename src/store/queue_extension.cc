#include "store/queue_extension.h"

namespace apogee::store {
namespace {

constexpr std::size_t kHeaderBytes = 20;  // size, tags' code, store time, size of the bit map
constexpr std::size_t kUnitBytesMax = 32'767, kUsualUnitBytes = 64;
constexpr std::size_t kEndBytes = 4;  // of a file, kept free for the mark that it is full

}  // namespace

Result<Ok> QueueExtension::load(bool clean) {
  if (clean) synced_ = std::numeric_limits<std::int64_t>::max();  // all of it
  const auto lost = files_.load(clean);
  if (lost || lost.error().code == Errc::kNotFound) return Ok{};
  return lost.error();
}

Result<bool> QueueExtension::end_behind(std::optional<std::int64_t> address) {
  std::int64_t end = 0;
  written_ = std::numeric_limits<std::int64_t>::max();  // find() looks no farther than this
  const auto last = address ? find(*address) : std::nullopt;
  const bool lost = address && !last;
  if (last) {
    end = *address - kFirstAddress + static_cast<std::int64_t>(kHeaderBytes + last->bit_map.size());
  } else if (lost) {
    // The files are not those the entries lead to: no new unit may stand where an old entry looks.
    if (auto removed = files_.remove_all(); !removed) return removed.error();
    end = ((*address - kFirstAddress) / files_.file_bytes() + 1) * files_.file_bytes();
  }
  pending_.clear();
  pending_position_ = end;
  written_ = end;
  synced_ = std::min(synced_.load(), end);
  if (auto cut = files_.cut_to(end); !cut) return cut.error();
  return !lost;
}

std::optional<std::int64_t> QueueExtension::put(const Unit& unit) {
  const std::size_t size = kHeaderBytes + unit.bit_map.size();
  const auto file_bytes = static_cast<std::size_t>(files_.file_bytes());
  if (size > kUnitBytesMax || size + kEndBytes > file_bytes) return std::nullopt;
  auto end = static_cast<std::size_t>(pending_position_) + pending_.size();
  if (const std::size_t room = file_bytes - end % file_bytes; size + kEndBytes > room) {
    append_big<std::int16_t>(pending_, -1);
    pending_.append(room - sizeof(std::int16_t), '\0');
    end += room;
  }
  append_big<std::int16_t>(pending_, static_cast<std::int16_t>(size));
  append_big<std::int64_t>(pending_, unit.tags_code);
  append_big<std::int64_t>(pending_, unit.store_timestamp);
  append_big<std::int16_t>(pending_, static_cast<std::int16_t>(unit.bit_map.size()));
  pending_ += unit.bit_map;
  return static_cast<std::int64_t>(end) + kFirstAddress;
}

Result<Ok> QueueExtension::write_pending() {
  if (auto written = files_.write(pending_position_, pending_); !written) return written;
  pending_position_ += static_cast<std::int64_t>(pending_.size());
  pending_.clear();
  written_.store(pending_position_, std::memory_order_release);
  return Ok{};
}

std::optional<QueueExtension::Found> QueueExtension::find(std::int64_t address) const {
  const std::int64_t position = address - kFirstAddress;
  if (position < 0 || position >= written_.load(std::memory_order_acquire)) return std::nullopt;
  auto bytes = files_.read(position, kUsualUnitBytes);
  if (!bytes || bytes->size() < kHeaderBytes) return std::nullopt;
  const auto size =
      static_cast<std::size_t>(std::max<std::int16_t>(read_big<std::int16_t>(as_bytes(*bytes)), 0));
  const auto bit_map = static_cast<std::size_t>(
      std::max<std::int16_t>(read_big<std::int16_t>(as_bytes(*bytes), kHeaderBytes - 2), 0));
  if (size != kHeaderBytes + bit_map) return std::nullopt;
  if (size > bytes->size()) bytes = files_.read(position, size);
  if (!bytes || bytes->size() < size) return std::nullopt;
  return Found{.tags_code = read_big<std::int64_t>(as_bytes(*bytes), 2),
               .store_timestamp = read_big<std::int64_t>(as_bytes(*bytes), 10),
               .bit_map = bytes->substr(kHeaderBytes, bit_map)};
}

Result<Ok> QueueExtension::remove_before(std::int64_t address) {
  const std::int64_t position = address - kFirstAddress;
  for (auto bases = files_.bases();
       bases.size() > 1 && bases.front() + files_.file_bytes() <= position;
       bases.erase(bases.begin()))
    if (auto removed = files_.remove_first(); !removed) return removed;
  return Ok{};
}

Result<Ok> QueueExtension::remove_all() {
  pending_.clear();
  pending_position_ = 0;
  written_ = synced_ = 0;
  return files_.remove_all();
}

Result<Ok> QueueExtension::sync(bool all) {
  const std::int64_t end = written_.load(std::memory_order_acquire);
  if (end <= synced_.load() && !all) return Ok{};
  if (auto done = all ? files_.sync_all() : files_.sync(synced_.load(), end); !done) return done;
  synced_ = end;
  return Ok{};
}

void QueueExtension::sync_begins() {
  syncing_to_ = written_.load(std::memory_order_acquire);
  files_.sync_begins();
}

void QueueExtension::sync_ended(bool good) {
  if (!good) return files_.sync_failed();
  synced_ = syncing_to_;
}

}  // namespace apogee::store
