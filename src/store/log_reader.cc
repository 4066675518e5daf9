#include "store/log_reader.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "protocol/record_crc.h"
#include "store/segment.h"

namespace apogee::store {
namespace {

using protocol::check_record;
using protocol::RecordCheck;
using protocol::RecordKind;

constexpr std::size_t kWindow = 1 << 20;
constexpr std::size_t kPage = FileWindow::kPage;
constexpr std::array<std::byte, kPage> kZeros{};  // most of a log file that is not full
/// Larger claims are damage: 64 MiB is the largest body there can be configured.
constexpr std::int32_t kRecordBytesMax = (64 << 20) + (1 << 20);

bool any_bad(const BadPages& bad_pages, std::uint64_t position, std::size_t length) {
  const auto page = bad_pages.lower_bound(position / kPage);
  return page != bad_pages.end() && *page * kPage < position + length;
}

/// As File::read_at(), page by page once one cannot be read: that one is zeros, and is added to
/// `bad_pages`. A disk takes its time to find a page bad, so it is asked once.
Result<std::size_t> read_around(const File& file, std::uint64_t position, MutableBytes out,
                                BadPages& bad_pages) {
  if (!any_bad(bad_pages, position, out.size())) {
    auto read = file.read_at(position, out);
    if (read || read.error().code != Errc::kIo) return read;
  }
  for (std::size_t done = 0; done < out.size();) {
    const std::uint64_t at = position + done;
    const MutableBytes page = out.subspan(done, std::min(out.size() - done, kPage - at % kPage));
    auto read = any_bad(bad_pages, at, page.size()) ? Result<std::size_t>{Error{Errc::kIo, {}}}
                                                    : file.read_at(at, page);
    if (read && *read < page.size()) return done + *read;
    if (!read && read.error().code != Errc::kIo) return read;
    if (!read) {
      std::ranges::fill(page, std::byte{0});
      bad_pages.insert(at / kPage);
    }
    done += page.size();
  }
  return out.size();
}

/// Neighbours as one.
void add_unreadable(const BadPages& pages, const SegmentFile& segment,
                    std::vector<Unreadable>& out) {
  for (const std::uint64_t page : pages) {
    const std::uint64_t begin = page * kPage, end = std::min(begin + kPage, segment.bytes);
    if (out.empty() || out.back().path != segment.path ||
        out.back().position + out.back().bytes != begin)
      out.push_back({.path = segment.path, .position = begin});
    out.back().bytes = end - out.back().position;
  }
}

Result<FileWindow> open_window(FileSystem& files, const SegmentFile& segment) {
  auto file = files.open(segment.path, FileSystem::Open::kReadOnly);
  if (!file) return file.error();
  return FileWindow{*std::move(file), segment.bytes};
}

/// The next position from `position` on at which a record that knows its place, or the closing
/// blank, stands; nullopt: none. `last_byte` becomes the end of what is not zero before it.
Result<std::optional<std::uint64_t>> find_record(FileWindow& window, const SegmentFile& segment,
                                                 std::uint64_t position, std::uint64_t& last_byte) {
  std::uint32_t word = 0;
  for (std::uint64_t at = position; at < window.size();) {
    auto chunk = window.at(at, kWindow);
    if (!chunk) return chunk.error();
    if (chunk->empty()) break;
    const std::uint64_t chunk_at = at;
    std::vector<std::uint64_t> candidates;
    for (std::size_t i = 0; i < chunk->size(); ++i) {
      if (word == 0 && i % kPage == 0) {
        const Bytes page = chunk->subspan(i, std::min(kPage, chunk->size() - i));
        if (std::memcmp(page.data(), kZeros.data(), page.size()) == 0) {
          i += page.size() - 1;
          continue;
        }
      }
      const auto byte = static_cast<std::uint8_t>((*chunk)[i]);
      if (byte != 0) last_byte = chunk_at + i + 1;
      word = word << 8 | byte;
      const auto magic = static_cast<std::int32_t>(word);
      const std::uint64_t end = chunk_at + i + 1;
      if ((magic == protocol::kMagicV1 || magic == protocol::kMagicV2 ||
           magic == protocol::kMagicBlank) &&
          end >= position + 8)
        candidates.push_back(end - 8);
    }
    at += chunk->size();
    for (const std::uint64_t candidate : candidates) {  // looking at one moves the window
      constexpr std::size_t kHead = protocol::record_at::kPhysicalOffset + 8;
      auto head = window.at(candidate, kHead);
      if (!head) return head.error();
      const auto size = read_big<std::int32_t>(*head);
      const std::uint64_t rest = window.size() - candidate;
      if (read_big<std::int32_t>(*head, 4) == protocol::kMagicBlank) {
        if (static_cast<std::uint64_t>(size) == rest) return std::optional{candidate};
        continue;
      }
      if (head->size() < kHead || size <= 0 || size > kRecordBytesMax ||
          static_cast<std::uint64_t>(size) > rest ||
          read_big<std::int64_t>(*head, protocol::record_at::kPhysicalOffset) !=
              segment.base + static_cast<std::int64_t>(candidate))
        continue;
      auto whole = window.at(candidate, static_cast<std::size_t>(size));
      if (!whole) return whole.error();
      if (check_record(*whole, true).kind == RecordKind::kRecord) return std::optional{candidate};
    }
  }
  return std::optional<std::uint64_t>{};
}

}  // namespace

CheckCrc checked_with_bodies(const StoreConfig& config) {
  return config.force_verify_record_crc ? CheckCrc::kRecord : CheckCrc::kBody;
}

bool crc_matches(Bytes record, const protocol::Message& message, CheckCrc check_crc) {
  return check_crc == CheckCrc::kNone ||
         (protocol::body_crc_matches(message) &&
          (check_crc == CheckCrc::kBody || protocol::record_crc_matches(record).value_or(true)));
}

Result<std::vector<SegmentFile>> list_segments(FileSystem& files, const std::string& directory) {
  auto entries = files.list(directory);
  if (!entries) return entries.error();
  std::vector<SegmentFile> segments;
  for (const DirectoryEntry& entry : *entries) {
    const std::int64_t base = entry.is_directory ? -1 : base_of_segment_name(entry.name);
    if (base >= 0) segments.push_back({directory + "/" + entry.name, base, entry.size});
  }
  return segments;
}

Result<Bytes> FileWindow::at(std::uint64_t position, std::size_t length) {
  if (position >= size_) return Bytes{};
  length = static_cast<std::size_t>(std::min<std::uint64_t>(length, size_ - position));
  if (position < start_ || position + length > start_ + buffer_.size()) {
    buffer_.resize(static_cast<std::size_t>(
        std::min<std::uint64_t>(std::max(length, kWindow), size_ - position)));
    auto read =
        read_around(*file_, position, std::as_writable_bytes(std::span{buffer_}), bad_pages_);
    if (!read) return read.error();
    buffer_.resize(*read);
    start_ = position;
  }
  const Bytes all = as_bytes(buffer_);
  const std::size_t from = std::min<std::size_t>(position - start_, all.size());
  return all.subspan(from, std::min(length, all.size() - from));
}

/// The state of one walk through one segment.
struct LogReader::Walk {
  const SegmentFile& segment;
  FileWindow window;
  bool last;
  CheckCrc check_crc;
  const std::function<bool(const LogItem&)>& visit;
  std::uint64_t position = 0;
  bool stopped = false;

  enum class Next { kGoOn, kEndOfSegment };
  Result<Next> step();
  Result<Next> skip_garbage();
  void show(LogItem::Kind kind, std::uint64_t bytes, const protocol::Message& message = {}) {
    stopped = !visit({kind, &segment, position, bytes, message});
    position += bytes;
  }
};

Result<LogReader::Walk::Next> LogReader::Walk::step() {
  auto head = window.at(position, protocol::kBlankRecordBytes);
  if (!head) return head.error();
  if (head->size() < protocol::kBlankRecordBytes) return skip_garbage();
  const auto size = read_big<std::int32_t>(*head);
  const std::uint64_t rest = window.size() - position;
  if (read_big<std::int32_t>(*head, 4) == protocol::kMagicBlank) {
    if (static_cast<std::uint64_t>(size) != rest) return skip_garbage();
    show(LogItem::Kind::kBlank, rest);
    return Next::kEndOfSegment;
  }
  if (size <= 0 || size > kRecordBytesMax || static_cast<std::uint64_t>(size) > rest)
    return skip_garbage();
  auto whole = window.at(position, static_cast<std::size_t>(size));
  if (!whole) return whole.error();
  const RecordCheck plain = check_record(*whole, false);
  // Part of a stretch that cannot be read, and mended with it: as a whole, for a page of which only
  // a part is written has to be read first.
  if (plain.kind != RecordKind::kRecord ||
      any_bad(window.bad_pages(), position, static_cast<std::size_t>(size)))
    return skip_garbage();
  show(crc_matches(*whole, plain.message, check_crc) ? LogItem::Kind::kRecord
                                                     : LogItem::Kind::kWrongCrc,
       static_cast<std::uint64_t>(size), plain.message);
  return position < window.size() ? Next::kGoOn : Next::kEndOfSegment;
}

Result<LogReader::Walk::Next> LogReader::Walk::skip_garbage() {
  std::uint64_t last_byte = position;
  auto next =
      find_record(window, segment, position + (position < window.size() ? 1 : 0), last_byte);
  if (!next) return next.error();
  if (*next) {
    show(LogItem::Kind::kGarbage, **next - position);
    return Next::kGoOn;
  }
  auto first = window.at(position, 1);  // the search began behind it
  if (!first) return first.error();
  if (!first->empty() && first->front() != std::byte{0})
    last_byte = std::max(last_byte, position + 1);
  if (last)
    show(LogItem::Kind::kTail, last_byte - position);
  else
    show(LogItem::Kind::kGarbage, window.size() - position);
  return Next::kEndOfSegment;
}

Result<Ok> LogReader::walk(std::int64_t from, CheckCrc check_crc,
                           const std::function<bool(const LogItem&)>& visit) {
  for (const SegmentFile& segment : segments_)
    if (from >= segment.base && from < segment.end()) from = segment.base;
  return walk_on(from, check_crc, visit);
}

Result<Ok> LogReader::walk_on(std::int64_t from, CheckCrc check_crc,
                              const std::function<bool(const LogItem&)>& visit) {
  unreadable_.clear();
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    if (segments_[i].end() <= from && i + 1 < segments_.size()) continue;
    auto window = open_window(files_, segments_[i]);
    if (!window) return window.error();
    Walk walk{segments_[i], *std::move(window), i + 1 == segments_.size(), check_crc, visit};
    walk.position = static_cast<std::uint64_t>(std::clamp<std::int64_t>(
        from - segments_[i].base, 0, segments_[i].end() - segments_[i].base));
    auto next = walk.step();
    while (next && !walk.stopped && *next == Walk::Next::kGoOn) next = walk.step();
    add_unreadable(walk.window.bad_pages(), segments_[i], unreadable_);
    if (!next) return next.error();
    if (walk.stopped) return Ok{};
  }
  return Ok{};
}

Result<std::optional<protocol::Message>> LogReader::record_at(std::int64_t offset) {
  const auto none = std::optional<protocol::Message>{};
  const auto behind = std::ranges::find_if(
      segments_, [&](const SegmentFile& segment) { return offset < segment.end(); });
  if (behind == segments_.end() || offset < behind->base) return none;
  const auto index = static_cast<std::size_t>(behind - segments_.begin());
  if (open_segment_ != index) {
    auto file = files_.open(behind->path, FileSystem::Open::kReadOnly);
    if (!file) return file.error();
    open_file_ = *std::move(file);
    open_segment_ = index;
  }
  const auto position = static_cast<std::uint64_t>(offset - behind->base);
  // Most records fit in the first read.
  std::size_t length = 2'048;
  for (int tries = 0; tries < 2; ++tries) {
    record_.resize(
        static_cast<std::size_t>(std::min<std::uint64_t>(length, behind->bytes - position)));
    BadPages bad_pages;
    auto read =
        read_around(*open_file_, position, std::as_writable_bytes(std::span{record_}), bad_pages);
    if (!read) return read.error();
    record_.resize(*read);
    if (record_.size() < protocol::kBlankRecordBytes) return none;
    const auto size = read_big<std::int32_t>(as_bytes(record_));
    if (size <= 0 || size > kRecordBytesMax) return none;
    length = static_cast<std::size_t>(size);
    if (length <= record_.size()) break;
  }
  const RecordCheck check = check_record(as_bytes(record_), false);
  if (check.kind != RecordKind::kRecord) return none;
  return std::optional{check.message};
}

}  // namespace apogee::store
