#include "store/segment.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "base/cache_line.h"

namespace apogee::store {

std::string segment_name(std::int64_t base_offset) {
  return fmt::format("{:020}", base_offset);
}

std::int64_t base_of_segment_name(std::string_view name) {
  std::int64_t base = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), base);
  return name.size() == 20 && error == std::errc{} && end == name.data() + name.size() && base >= 0
             ? base
             : -1;
}

Result<std::vector<std::int32_t>> list_queues(FileSystem& files,
                                              const std::string& topic_directory) {
  auto entries = files.list(topic_directory);
  if (!entries) return entries.error();
  std::vector<std::int32_t> ids;
  for (const DirectoryEntry& each : *entries) {
    std::int32_t id = -1;
    const auto read = std::from_chars(each.name.data(), each.name.data() + each.name.size(), id);
    // Only the name a queue of that id would get: no "+1", no "01".
    if (each.is_directory && read.ec == std::errc{} && id >= 0 && std::to_string(id) == each.name)
      ids.push_back(id);
  }
  std::ranges::sort(ids);
  return ids;
}

Result<Ok> sync_names_above(FileSystem& files, std::string directory) {
  while (!directory.empty() && directory != "." && directory != "/") {
    const auto slash = directory.rfind('/');
    directory =
        slash == std::string::npos ? "." : directory.substr(0, std::max<std::size_t>(slash, 1));
    if (auto synced = files.sync_directory(directory); !synced && files.list(directory))
      return synced;
  }
  return Ok{};
}

Result<std::shared_ptr<Segment>> Segment::open(FileSystem& files, const std::string& path,
                                               std::int64_t base_offset, std::size_t size) {
  auto file = files.open(path, FileSystem::Open::kCreate);
  if (!file) return file.error();
  auto present = (*file)->size();
  if (!present) return present.error();
  if (*present != size) {
    if (auto done = (*file)->resize(size); !done) return done.error();
  }
  auto mapping = (*file)->map(0, size, Access::kRead);
  if (!mapping) return mapping.error();
  return std::shared_ptr<Segment>{
      new Segment{path, base_offset, size, *std::move(file), *std::move(mapping)}};
}

Result<Ok> Segment::append(std::span<const Bytes> pieces, std::size_t bytes) {
  const std::size_t at = written_.load(std::memory_order_relaxed);  // only the appender moves it
  if (auto done = file_->write_at(at, pieces); !done) return done;
  written_.store(at + bytes, std::memory_order_release);
  return Ok{};
}

Result<Ok> Segment::write_again(std::size_t from, std::size_t to) {
  std::vector<std::byte> some;  // not from the mapping of the very pages that are written
  while (from < to) {
    const Bytes next = whole().subspan(from, std::min<std::size_t>(to - from, 1 << 20));
    some.assign(next.begin(), next.end());
    const Bytes pieces[] = {some};
    if (auto done = file_->write_at(from, pieces); !done) return done;
    from += some.size();
  }
  return Ok{};
}

Bytes Segment::read(std::size_t position, std::size_t length) const {
  const std::size_t end = written();
  if (position >= end) return {};
  return whole().subspan(position, std::min(length, end - position));
}

void Segment::fetch_ahead(std::size_t position, std::size_t length) const {
  constexpr std::size_t kMost = 512;  // bytes
  const Bytes ahead = read(position, std::min(length, kMost));
  for (std::size_t at = 0; at < ahead.size(); at += kCacheLine)
    __builtin_prefetch(ahead.data() + at);
}

bool Segment::resident(std::size_t position, std::size_t length, Clock::Instant now) const {
  // Never 0, which stands for "never seen".
  const auto second = static_cast<std::int32_t>(
      std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count() | 1 << 30);
  const std::size_t last = (position + std::max<std::size_t>(length, 1) - 1) / kResidentBytes;
  for (std::size_t part = position / kResidentBytes; part <= last; ++part) {
    std::atomic<std::int32_t>& seen = seen_resident_[part];
    if (seen.load(std::memory_order_relaxed) == second) continue;
    const std::size_t begin = part * kResidentBytes;
    if (!mapping_->resident(begin, std::min(kResidentBytes, size_ - begin)))
      return mapping_->resident(position, length);
    seen.store(second, std::memory_order_relaxed);
  }
  return true;
}

Result<Ok> Segment::truncate(std::size_t position) {
  set_written(position);
  // Cut and extend: what follows reads as zeros and takes no space. A crash in between leaves a
  // short last file, which opening extends again.
  if (auto done = file_->resize(position); !done) return done;
  if (auto done = file_->resize(size_); !done) return done;
  return file_->sync();
}

}  // namespace apogee::store
