#include "store/timer_checkpoint.h"

#include <array>

#include "store/timer_sync.h"

namespace apogee::store {
namespace {

constexpr std::size_t kFileBytes = 4'096, kUsedBytes = 56;

}  // namespace

Buffer TimerCheckpoint::encode() const {
  Buffer out;
  for (const std::int64_t field : {read_time_ms, log_position, queue_offset, master_queue_offset,
                                   state_version, timestamp, counter})
    append_big(out, field);
  return out;
}

Result<TimerCheckpoint> TimerCheckpointFile::read() const {
  TimerCheckpoint checkpoint;
  auto file = files_.open(path_, FileSystem::Open::kReadOnly);
  if (!file && file.error().code == Errc::kNotFound) return checkpoint;
  if (!file) return file.error();
  std::array<std::byte, kUsedBytes> bytes{};
  if (auto got = (*file)->read_at(0, bytes); !got) return got.error();
  std::size_t at = 0;
  for (std::int64_t* field :
       {&checkpoint.read_time_ms, &checkpoint.log_position, &checkpoint.queue_offset,
        &checkpoint.master_queue_offset, &checkpoint.state_version, &checkpoint.timestamp,
        &checkpoint.counter}) {
    *field = read_big<std::int64_t>(bytes, at);
    at += sizeof *field;
  }
  return checkpoint;
}

/// As a whole: of a write that failed midway fields of two check points would be left.
Result<Ok> TimerCheckpointFile::write(const TimerCheckpoint& checkpoint) const {
  Buffer page = checkpoint.encode();
  page.resize(kFileBytes);
  auto replaced = replace_timer_file(files_, path_,
                                     [&](File& file) { return file.write_at(0, as_bytes(page)); });
  return replaced ? Result<Ok>{Ok{}} : replaced.error();
}

}  // namespace apogee::store
