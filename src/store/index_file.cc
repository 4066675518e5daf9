#include "store/index_file.h"

#include <algorithm>
#include <limits>

#include "protocol/message.h"

namespace apogee::store {
namespace {

// Positions in the header.
constexpr std::size_t kBeginTimestampAt = 0, kEndTimestampAt = 8, kBeginOffsetAt = 16,
                      kEndOffsetAt = 24, kUsedSlotsAt = 32, kNextUnitAt = 36;
// Positions in a unit.
constexpr std::size_t kHashAt = 0, kOffsetAt = 4, kSecondsAt = 12, kPreviousAt = 16;

/// Blocks are reserved this far ahead of the units: rare calls, and little lost at a full disk.
constexpr std::uint64_t kReserveBytes = 4 << 20;

/// Seconds from `begin` to `timestamp` as they stand in a unit: 0..2^31-1.
std::int32_t seconds_between(std::int64_t begin, std::int64_t timestamp) {
  std::int64_t difference = 0;
  if (begin <= 0 || timestamp <= begin || __builtin_sub_overflow(timestamp, begin, &difference))
    return 0;
  return static_cast<std::int32_t>(
      std::min<std::int64_t>(difference / 1'000, std::numeric_limits<std::int32_t>::max()));
}

std::int32_t positive(std::int32_t hash) {
  if (hash == std::numeric_limits<std::int32_t>::min()) return 0;  // Math.abs leaves it negative
  return hash < 0 ? -hash : hash;
}

}  // namespace

std::int32_t index_hash(std::string_view topic, std::string_view key) {
  return positive(protocol::java_hash(key, protocol::java_hash("#", protocol::java_hash(topic))));
}
std::int32_t tag_index_hash(std::string_view topic, std::string_view tag) {
  return positive(protocol::java_hash(tag, protocol::java_hash("#T#", protocol::java_hash(topic))));
}

namespace {
IndexFileHeader decode_header(Bytes bytes) {
  return {.begin_timestamp = read_big<std::int64_t>(bytes, kBeginTimestampAt),
          .end_timestamp = read_big<std::int64_t>(bytes, kEndTimestampAt),
          .begin_physical_offset = read_big<std::int64_t>(bytes, kBeginOffsetAt),
          .end_physical_offset = read_big<std::int64_t>(bytes, kEndOffsetAt),
          .used_slots = read_big<std::int32_t>(bytes, kUsedSlotsAt),
          .next_unit = read_big<std::int32_t>(bytes, kNextUnitAt)};
}
}  // namespace

Result<IndexFileHeader> read_index_header(const File& file) {
  std::array<std::byte, IndexFormat::kHeaderBytes> bytes{};
  auto read = file.read_at(0, bytes);
  if (!read) return read.error();
  if (*read < bytes.size()) return Error{Errc::kEndOfFile, "no whole header"};
  return decode_header(bytes);
}

IndexFile::IndexFile(std::string path, IndexFormat format, std::unique_ptr<File> file,
                     std::unique_ptr<Mapping> mapping)
    : path_{std::move(path)},
      format_{format},
      file_{std::move(file)},
      mapping_{std::move(mapping)},
      bytes_{mapping_->bytes()} {}

Result<std::unique_ptr<IndexFile>> IndexFile::create(FileSystem& files, const std::string& path,
                                                     IndexFormat format,
                                                     const IndexFileHeader& previous) {
  const auto make = [&]() -> Result<std::unique_ptr<IndexFile>> {
    auto file = files.open(path, FileSystem::Open::kCreate);
    if (!file) return file.error();
    if (auto done = (*file)->resize(format.file_bytes()); !done) return done.error();
    const std::uint64_t first = std::min(format.file_bytes(), format.units_at() + kReserveBytes);
    if (auto done = (*file)->allocate(0, first); !done) return done.error();
    auto mapping = (*file)->map(0, format.file_bytes(), Access::kWrite);
    if (!mapping) return mapping.error();
    std::unique_ptr<IndexFile> index{
        new IndexFile{path, format, *std::move(file), *std::move(mapping)}};
    index->reserved_bytes_ = first;
    return index;
  };
  auto index = make();
  if (!index) {
    (void)files.remove(path);  // half a file would be in the way of Java's load
    return index;
  }
  const std::int64_t time = std::max<std::int64_t>(previous.end_timestamp, 0);
  const std::int64_t offset = std::max<std::int64_t>(previous.end_physical_offset, 0);
  (*index)->begin_timestamp_ = (*index)->end_timestamp_ = time;
  (*index)->begin_physical_offset_ = (*index)->end_physical_offset_ = offset;
  (*index)->store_header(kBeginTimestampAt, time);
  (*index)->store_header(kEndTimestampAt, time);
  (*index)->store_header(kBeginOffsetAt, offset);
  (*index)->store_header(kEndOffsetAt, offset);
  write_big<std::int32_t>((*index)->bytes_, kNextUnitAt, 1);
  return index;
}

Result<std::unique_ptr<IndexFile>> IndexFile::open(FileSystem& files, const std::string& path,
                                                   IndexFormat format, Access access) {
  auto file = files.open(
      path, access == Access::kRead ? FileSystem::Open::kReadOnly : FileSystem::Open::kExisting);
  if (!file) return file.error();
  auto size = (*file)->size();
  if (!size) return size.error();
  if (*size != format.file_bytes())
    return Error{Errc::kMalformed, path + " has " + std::to_string(*size) + " bytes instead of " +
                                       std::to_string(format.file_bytes()) +
                                       " (maxHashSlotNum, maxIndexNum)"};
  if (access == Access::kWrite) {
    const auto header = read_index_header(**file);
    if (!header) return header.error();
    if (header->next_unit >= format.unit_count) access = Access::kRead;
  }
  auto mapping = (*file)->map(0, format.file_bytes(), access);
  if (!mapping) return mapping.error();
  std::unique_ptr<IndexFile> index{
      new IndexFile{path, format, *std::move(file), *std::move(mapping)}};
  index->load_header();
  return index;
}

void IndexFile::load_header() {
  const IndexFileHeader header = decode_header(bytes_);
  begin_timestamp_ = header.begin_timestamp;
  end_timestamp_ = header.end_timestamp;
  begin_physical_offset_ = header.begin_physical_offset;
  end_physical_offset_ = header.end_physical_offset;
  used_slots_ = std::clamp(header.used_slots, 0, format_.slot_count);
  next_unit_ = std::clamp(header.next_unit, 1, std::max(format_.unit_count, 1));
}

IndexFileHeader IndexFile::header() const {
  return {.begin_timestamp = begin_timestamp_.load(std::memory_order_relaxed),
          .end_timestamp = end_timestamp_.load(std::memory_order_relaxed),
          .begin_physical_offset = begin_physical_offset_.load(std::memory_order_relaxed),
          .end_physical_offset = end_physical_offset_.load(std::memory_order_relaxed),
          .used_slots = used_slots_.load(std::memory_order_relaxed),
          .next_unit = next_unit_.load(std::memory_order_acquire)};
}

void IndexFile::store_header(std::size_t at, std::int64_t value) {
  write_big(bytes_, at, value);
}

std::atomic_ref<std::int32_t> IndexFile::slot_ref(std::int32_t slot) const {
  // The mapping begins at a page and the slots at a multiple of 4: always aligned.
  std::byte* const at = bytes_.data() + IndexFormat::kHeaderBytes +
                        static_cast<std::size_t>(slot) * IndexFormat::kSlotBytes;
  return std::atomic_ref<std::int32_t>{*reinterpret_cast<std::int32_t*>(at)};
}

std::int32_t IndexFile::slot(std::int32_t slot) const {
  return swap_to_big(slot_ref(slot).load(std::memory_order_acquire));
}

IndexUnit IndexFile::unit(std::int32_t unit) const {
  const Bytes at = Bytes{bytes_}.subspan(
      format_.units_at() + static_cast<std::size_t>(unit) * IndexFormat::kUnitBytes,
      IndexFormat::kUnitBytes);
  return {.hash = read_big<std::int32_t>(at, kHashAt),
          .physical_offset = read_big<std::int64_t>(at, kOffsetAt),
          .seconds = read_big<std::int32_t>(at, kSecondsAt),
          .previous = read_big<std::int32_t>(at, kPreviousAt)};
}

/// Blocks for the slots and for `unit`, so that no store into the mapping can fail.
Result<Ok> IndexFile::reserve_for(std::int32_t unit) {
  const std::uint64_t needed =
      format_.units_at() + (static_cast<std::uint64_t>(unit) + 1) * IndexFormat::kUnitBytes;
  if (needed <= reserved_bytes_) return Ok{};
  const std::uint64_t end = std::min(format_.file_bytes(), needed + kReserveBytes);
  if (auto done = file_->allocate(reserved_bytes_, end - reserved_bytes_); !done) return done;
  reserved_bytes_ = end;
  return Ok{};
}

Result<Ok> IndexFile::put(std::int32_t hash, std::int64_t physical_offset, std::int64_t timestamp) {
  const std::int32_t unit = next_unit_.load(std::memory_order_relaxed);
  assert(unit < format_.unit_count);
  if (auto done = reserve_for(unit); !done) return done;

  // Java measures a file's first unit from the seeded begin time, which it then replaces; that
  // makes the unit look too young. Ours is 0 seconds from the begin it shares.
  const bool first = unit <= 1;
  const std::int32_t slot_number = hash % format_.slot_count;
  const std::int32_t newest = slot(slot_number);
  const bool slot_was_used = newest > 0 && newest < unit;
  const MutableBytes at =
      bytes_.subspan(format_.units_at() + static_cast<std::size_t>(unit) * IndexFormat::kUnitBytes,
                     IndexFormat::kUnitBytes);
  write_big<std::int32_t>(at, kHashAt, hash);
  write_big<std::int64_t>(at, kOffsetAt, physical_offset);
  write_big<std::int32_t>(
      at, kSecondsAt,
      first ? 0 : seconds_between(begin_timestamp_.load(std::memory_order_relaxed), timestamp));
  write_big<std::int32_t>(at, kPreviousAt, slot_was_used ? newest : 0);

  if (first) {
    begin_physical_offset_.store(physical_offset, std::memory_order_relaxed);
    begin_timestamp_.store(timestamp, std::memory_order_relaxed);
    store_header(kBeginOffsetAt, physical_offset);
    store_header(kBeginTimestampAt, timestamp);
  }
  end_physical_offset_.store(physical_offset, std::memory_order_relaxed);
  end_timestamp_.store(timestamp, std::memory_order_relaxed);
  store_header(kEndOffsetAt, physical_offset);
  store_header(kEndTimestampAt, timestamp);
  if (!slot_was_used) {
    const std::int32_t used = used_slots_.load(std::memory_order_relaxed) + 1;
    used_slots_.store(used, std::memory_order_relaxed);
    write_big<std::int32_t>(bytes_, kUsedSlotsAt, used);
  }
  write_big<std::int32_t>(bytes_, kNextUnitAt, unit + 1);
  next_unit_.store(unit + 1, std::memory_order_release);
  slot_ref(slot_number).store(swap_to_big(unit), std::memory_order_release);
  return Ok{};
}

void IndexFile::find(std::int32_t hash, std::size_t max, std::int64_t begin_ms, std::int64_t end_ms,
                     std::vector<std::int64_t>& offsets) const {
  std::int32_t at = slot(hash % format_.slot_count);
  const std::int32_t next_unit = next_unit_.load(std::memory_order_acquire);
  const std::int64_t begin = begin_timestamp_.load(std::memory_order_relaxed);
  // A chain leads to ever smaller numbers; one that does not is damaged and ends here. So the loop
  // ends whatever the file says.
  for (std::int32_t bound = next_unit; at > 0 && at < bound && offsets.size() < max;) {
    const IndexUnit found = unit(at);
    std::int64_t time = 0;
    if (found.seconds < 0 ||
        __builtin_add_overflow(begin, std::int64_t{found.seconds} * 1'000, &time))
      return;
    if (found.hash == hash && time >= begin_ms && time <= end_ms)
      offsets.push_back(found.physical_offset);
    if (time < begin_ms) return;
    bound = at;
    at = found.previous;
  }
}

Result<Ok> IndexFile::sync() {
  return mapping_->sync(0, bytes_.size());
}

}  // namespace apogee::store
