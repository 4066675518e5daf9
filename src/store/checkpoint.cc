#include "store/checkpoint.h"

#include <algorithm>
#include <array>

namespace apogee::store {
namespace {
constexpr std::size_t kFileBytes = 4'096;
constexpr std::int64_t kMarginMs = 3'000;
}  // namespace

Result<std::unique_ptr<Checkpoint>> Checkpoint::open(FileSystem& files, const std::string& path) {
  auto file = files.open(path, FileSystem::Open::kCreate);
  if (!file) return file.error();
  auto size = (*file)->size();
  if (!size) return size.error();
  if (*size != kFileBytes) {
    if (auto done = (*file)->resize(kFileBytes); !done) return done.error();
  }
  std::array<std::byte, 40> bytes{};
  if (auto read = (*file)->read_at(0, bytes); !read) return read.error();
  std::unique_ptr<Checkpoint> checkpoint{new Checkpoint{*std::move(file)}};
  std::size_t at = 0;
  for (auto* field :
       {&checkpoint->physical_timestamp, &checkpoint->queue_timestamp, &checkpoint->index_timestamp,
        &checkpoint->master_flushed_offset, &checkpoint->confirm_offset}) {
    field->store(read_big<std::int64_t>(bytes, at));
    at += 8;
  }
  return checkpoint;
}

Result<Ok> Checkpoint::write() {
  Buffer bytes;
  for (const auto* field : {&physical_timestamp, &queue_timestamp, &index_timestamp,
                            &master_flushed_offset, &confirm_offset})
    append_big<std::int64_t>(bytes, field->load());
  if (auto done = file_->write_at(0, as_bytes(bytes)); !done) return done;
  return file_->sync();
}

std::int64_t Checkpoint::min_timestamp() const {
  return std::max<std::int64_t>(
      0, std::min(physical_timestamp.load(), queue_timestamp.load()) - kMarginMs);
}

}  // namespace apogee::store
