#include "store/timer_log.h"

#include <algorithm>
#include <array>
#include <ranges>

#include <fmt/format.h>

#include "protocol/message.h"

namespace apogee::store {
namespace {

constexpr std::int64_t kWrittenMsMax = std::int64_t{1} << 53;  // beyond it lies damage

std::string parent_of(const std::string& path) {
  return path.substr(0, path.find_last_of('/'));
}

}  // namespace

TimerLog::TimerLog(FileSystem& files, std::string directory, std::int32_t file_bytes)
    : file_system_{files},
      directory_{std::move(directory)},
      file_bytes_{static_cast<std::size_t>(file_bytes)} {}

Result<Ok> TimerLog::load() {
  auto entries = file_system_.list(directory_);
  if (!entries && entries.error().code == Errc::kNotFound) return Ok{};
  if (!entries) return entries.error();
  std::vector<Found> found;
  for (const DirectoryEntry& each : *entries)
    if (const std::int64_t base = base_of_segment_name(each.name); base >= 0)
      found.emplace_back(base, each.size);
  const auto length = static_cast<std::int64_t>(file_bytes_);
  const auto foreign = std::ranges::find_if(found, [&](const auto& each) {
    return each.first % length != 0 || each.second > file_bytes_;
  });
  if (foreign != found.end())
    return Error{
        Errc::kMalformed,
        fmt::format("{}/{} has {} bytes and is not in line with mappedFileSizeTimerLog="
                    "{}: set it to the size the files were made with",
                    directory_, segment_name(foreign->first), foreign->second, file_bytes_)};
  // A short one was made or cut by a crash's last act. Filled up it is as good as another, but
  // nothing behind it was ever vouched for.
  const auto torn =
      std::ranges::find_if(found, [&](const auto& each) { return each.second < file_bytes_; });
  const std::span kept{found.begin(), torn == found.end() ? torn : torn + 1};
  // With a file that is missing between others its units are. All is made again from the timer
  // topic.
  const bool has_gap = std::ranges::adjacent_find(kept, [&](const auto& a, const auto& b) {
                         return b.first != a.first + length;
                       }) != kept.end();
  if (has_gap) return remove(found);
  for (const auto& [base, size] : kept) {
    auto segment =
        Segment::open(file_system_, directory_ + "/" + segment_name(base), base, file_bytes_);
    if (!segment) return segment.error();
    (*segment)->set_written(file_bytes_);
    files_.push_back(*std::move(segment));
  }
  return remove(std::span{found}.subspan(kept.size()));
}

/// From the end on and in order, so that at no time what is left says the log is longer than it is.
Result<Ok> TimerLog::remove(std::span<const Found> files) {
  for (const auto& [base, size] : std::views::reverse(files)) {
    if (auto gone = file_system_.remove(directory_ + "/" + segment_name(base)); !gone) return gone;
    if (auto synced = file_system_.sync_directory(directory_); !synced) return synced;
  }
  return Ok{};
}

std::int64_t TimerLog::end() const {
  if (files_.empty()) return 0;
  return files_.back()->base() + static_cast<std::int64_t>(files_.back()->written());
}

Result<Ok> TimerLog::set_end(std::int64_t position) {
  while (!files_.empty() && files_.back()->base() > position) {
    const std::string path = files_.back()->path();
    files_.pop_back();
    if (auto removed = file_system_.remove(path); !removed) return removed;
    if (auto gone = file_system_.sync_directory(directory_); !gone) return gone;
  }
  if (files_.empty()) return Ok{};
  Segment& last = *files_.back();
  const auto at = static_cast<std::size_t>(
      std::clamp<std::int64_t>(position - last.base(), 0, last.end() - last.base()));
  synced_ = last.base() + static_cast<std::int64_t>(at);
  // Zeros at the end say nothing of what is behind them: a power cut keeps sectors in any order,
  // and a unit of an earlier life would be taken for one of this. The file's length, too, is on
  // disk before another file is made behind it.
  return last.truncate(at);
}

Result<Ok> TimerLog::roll() {
  if (!files_.empty()) {  // the mark that the rest of the file is empty
    Segment& last = *files_.back();
    const std::size_t rest = last.size() - last.written();
    Buffer blank;
    append_big<std::int32_t>(blank, static_cast<std::int32_t>(rest));
    append_big<std::int64_t>(blank, 0);
    append_big<std::int32_t>(blank, protocol::kMagicBlank);
    const Bytes pieces[] = {as_bytes(blank)};
    if (rest >= kBlankBytes)
      if (auto marked = last.append(pieces, rest); !marked) return marked;
  } else if (auto made = file_system_.create_directories(directory_); !made) {
    return made;
  } else if (auto named = file_system_.sync_directory(parent_of(directory_)); !named) {
    return named;
  }
  const std::int64_t base = files_.empty() ? 0 : files_.back()->end();
  auto next = Segment::open(file_system_, directory_ + "/" + segment_name(base), base, file_bytes_);
  if (!next) return next.error();
  if (auto sized = (*next)->sync(); !sized) {
    (void)file_system_.remove((*next)->path());  // made anew the next time: no sync is tried again
    return sized;
  }
  if (auto named = file_system_.sync_directory(directory_); !named) return named;
  files_.push_back(*std::move(next));
  return Ok{};
}

Result<std::int64_t> TimerLog::append(const TimerUnit& unit) {
  if (files_.empty() || files_.back()->written() + kUnitBytes + kBlankBytes > files_.back()->size())
    if (auto rolled = roll(); !rolled) return rolled.error();
  std::array<std::byte, kUnitBytes> bytes{};
  write_big<std::int32_t>(bytes, 0, kUnitBytes);
  write_big(bytes, 4, unit.previous);
  write_big(bytes, 12, unit.magic);
  write_big(bytes, 16, unit.written_ms);
  write_big(bytes, 24, unit.delay_ms);
  write_big(bytes, 28, unit.physical_offset);
  write_big(bytes, 36, unit.size);
  write_big(bytes, 40, unit.topic_hash);
  const std::int64_t position = end();
  const Bytes pieces[] = {bytes};
  if (auto written = files_.back()->append(pieces, kUnitBytes); !written) return written.error();
  return position;
}

Segment* TimerLog::segment_of(std::int64_t position) const {
  if (files_.empty() || position < begin() || position >= files_.back()->end()) return nullptr;
  return files_[static_cast<std::size_t>(position - begin()) / file_bytes_].get();
}

std::optional<TimerUnit> TimerLog::at(std::int64_t position) const {
  const Segment* const segment = segment_of(position);
  if (!segment) return std::nullopt;
  const Bytes bytes =
      segment->read(static_cast<std::size_t>(position - segment->base()), kUnitBytes);
  if (bytes.size() < kUnitBytes) return std::nullopt;
  TimerUnit unit{.previous = read_big<std::int64_t>(bytes, 4),
                 .magic = read_big<std::int32_t>(bytes, 12),
                 .written_ms = read_big<std::int64_t>(bytes, 16),
                 .delay_ms = read_big<std::int32_t>(bytes, 24),
                 .physical_offset = read_big<std::int64_t>(bytes, 28),
                 .size = read_big<std::int32_t>(bytes, 36),
                 .topic_hash = read_big<std::int32_t>(bytes, 40)};
  const bool legal = read_big<std::int32_t>(bytes) == kUnitBytes && (unit.magic | 0xF) == 0xF &&
                     unit.previous < position && unit.written_ms >= 0 &&
                     unit.written_ms <= kWrittenMsMax;
  return legal ? std::optional{unit} : std::nullopt;
}

std::int64_t TimerLog::place_at(std::int64_t position) const {
  const Segment* const segment = segment_of(position);
  if (!segment) return position;
  const auto inside = static_cast<std::size_t>(position - segment->base());
  return inside + kUnitBytes + kBlankBytes > file_bytes_ ? segment->end() : position;
}

std::int64_t TimerLog::behind(std::int64_t position) const {
  return place_at(position + static_cast<std::int64_t>(kUnitBytes));
}

std::vector<std::shared_ptr<Segment>> TimerLog::unsynced() const {
  std::vector<std::shared_ptr<Segment>> all;
  for (const auto& each : files_)
    if (each->base() + static_cast<std::int64_t>(each->written()) > synced_) all.push_back(each);
  return all;
}

std::size_t TimerLog::remove_expired(std::int64_t commit_log_begin) {
  const std::size_t last_unit = (file_bytes_ - kBlankBytes) / kUnitBytes * kUnitBytes - kUnitBytes;
  std::size_t removed = 0;
  while (files_.size() > 1) {
    const auto unit = at(begin() + static_cast<std::int64_t>(last_unit));
    if (!unit || unit->physical_offset >= commit_log_begin) break;
    if (!file_system_.remove(files_.front()->path())) break;
    files_.pop_front();
    ++removed;
  }
  return removed;
}

}  // namespace apogee::store
