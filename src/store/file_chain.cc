#include "store/file_chain.h"

#include <algorithm>

#include <fmt/format.h>

#include "store/segment.h"

namespace apogee::store {
namespace {

constexpr std::int64_t kOverwrittenMax = 64 << 10;

/// Of a queue's entries those for six pulls of 32: a call of the system costs as much as copying
/// them.
constexpr std::size_t kReadAhead = 4 << 10;

}  // namespace

// ---- FileCache ---------------------------------------------------------------------------------

Result<std::shared_ptr<OpenFile>> FileCache::open(const std::string& path, FileSystem::Open mode) {
  std::lock_guard lock{mutex_};
  if (const auto found = by_path_.find(path); found != by_path_.end()) {
    recent_.splice(recent_.begin(), recent_, found->second);
    return found->second->second;
  }
  auto file = files_.open(path, mode);
  if (!file) return file.error();
  recent_.emplace_front(path, std::make_shared<OpenFile>(*std::move(file)));
  by_path_[path] = recent_.begin();
  if (recent_.size() > most_) {
    by_path_.erase(recent_.back().first);
    recent_.pop_back();
  }
  return recent_.front().second;
}

void FileCache::forget(const std::string& path_prefix) {
  std::lock_guard lock{mutex_};
  for (auto at = recent_.begin(); at != recent_.end();) {
    if (at->first.starts_with(path_prefix)) {
      by_path_.erase(at->first);
      at = recent_.erase(at);
    } else {
      ++at;
    }
  }
}

// ---- FileChain ---------------------------------------------------------------------------------

std::string FileChain::path_of(std::int64_t base) const {
  return place_.directory + "/" + segment_name(base);
}

std::vector<std::int64_t> FileChain::bases() const {
  std::lock_guard lock{mutex_};
  return bases_;
}

bool FileChain::has(std::int64_t base) const {
  std::lock_guard lock{mutex_};
  return std::binary_search(bases_.begin(), bases_.end(), base);
}

Result<std::shared_ptr<OpenFile>> FileChain::open(std::int64_t base) const {
  std::uint32_t removals = 0;
  {
    std::lock_guard lock{mutex_};
    if (base == last_base_)
      if (auto file = last_.lock()) return file;
    if (!std::binary_search(bases_.begin(), bases_.end(), base))
      return Error{Errc::kNotFound, path_of(base)};
    removals = removals_;
  }
  auto file = cache_.open(path_of(base), FileSystem::Open::kExisting);
  if (!file) return file;
  std::lock_guard lock{mutex_};
  if (removals == removals_) {
    last_ = *file;
    last_base_ = base;
  }
  return file;
}

/// With the mutex, together with what is taken out of bases_.
void FileChain::forget_last() {
  ++removals_;
  last_base_ = -1;
}

Result<bool> FileChain::load(bool clean) {
  names_synced_ = clean;
  auto entries = env_.files.list(place_.directory);
  if (!entries) return entries.error();
  // Files of another configuration stand at other offsets.
  const bool of_this_length = std::ranges::all_of(*entries, [&](const DirectoryEntry& entry) {
    const std::int64_t base = entry.is_directory ? -1 : base_of_segment_name(entry.name);
    return base < 0 || base % place_.file_bytes == 0;
  });
  bool lost = false;  // from here on the files were not on disk when the power went; the log has
                      // what they pointed to
  for (const DirectoryEntry& entry : *entries) {
    const std::int64_t base = entry.is_directory ? -1 : base_of_segment_name(entry.name);
    if (base < 0) continue;
    lost =
        lost || entry.size == 0 || (!bases_.empty() && base != bases_.back() + place_.file_bytes);
    if (lost) {
      env_.log.warn("consume queue file dropped, made again from the log: file={} bytes={}",
                    path_of(base), entry.size);
      if (auto removed = env_.files.remove(path_of(base)); !removed) return removed.error();
      continue;
    }
    if (entry.size != static_cast<std::uint64_t>(place_.file_bytes)) {
      // A short file: a power cut, and what follows was not on disk either.
      const bool torn =
          entry.size < static_cast<std::uint64_t>(place_.file_bytes) && of_this_length;
      if (!torn) {
        return Error{Errc::kMalformed,
                     fmt::format("{} has {} bytes, {} says {}; set {} to the size this store was "
                                 "made with",
                                 path_of(base), entry.size, place_.size_key, place_.file_bytes,
                                 place_.size_key)};
      }
      lost = true;
      auto file = cache_.open(path_of(base), FileSystem::Open::kExisting);
      if (!file) return file.error();
      if (auto resized = (*file)->file->resize(static_cast<std::uint64_t>(place_.file_bytes));
          !resized)
        return resized.error();
    }
    bases_.push_back(base);
  }
  return lost;
}

Result<std::shared_ptr<OpenFile>> FileChain::make_file(std::int64_t base) {
  if (auto made = env_.files.create_directories(place_.directory); !made) return made.error();
  auto file = cache_.open(path_of(base), FileSystem::Open::kCreate);
  if (!file) return file;
  // A file of another length stops a Java broker at load.
  if (auto sized = (*file)->file->resize(static_cast<std::uint64_t>(place_.file_bytes)); !sized)
    return sized.error();
  names_synced_.store(false, std::memory_order_relaxed);
  std::lock_guard lock{mutex_};
  bases_.push_back(base);
  return file;
}

Result<Ok> FileChain::write(std::int64_t position, std::string_view bytes) {
  while (!bytes.empty()) {
    const std::int64_t inside = position % place_.file_bytes, base = position - inside;
    auto file = has(base) ? open(base) : make_file(base);
    if (!file) return file.error();
    const std::string_view part =
        bytes.substr(0, static_cast<std::size_t>(place_.file_bytes - inside));
    if (auto written = (*file)->file->write_at(static_cast<std::uint64_t>(inside), as_bytes(part));
        !written)
      return written;
    position += static_cast<std::int64_t>(part.size());
    bytes.remove_prefix(part.size());
  }
  return Ok{};
}

Result<std::string> FileChain::read(std::int64_t position, std::size_t bytes) const {
  const std::int64_t inside = position % place_.file_bytes, base = position - inside;
  auto file = open(base);
  if (!file) return file.error();
  return read(*(*file)->file, position, bytes);
}

Result<std::string> FileChain::read(const File& file, std::int64_t position,
                                    std::size_t bytes) const {
  const std::int64_t inside = position % place_.file_bytes;
  std::string read(std::min(bytes, static_cast<std::size_t>(place_.file_bytes - inside)), '\0');
  auto got = file.read_at(static_cast<std::uint64_t>(inside),
                          std::as_writable_bytes(std::span{read.data(), read.size()}));
  if (!got) return got.error();
  read.resize(*got);
  return read;
}

Result<std::string> FileChain::read_on(std::int64_t position, std::size_t bytes,
                                       std::int64_t end) const {
  const std::int64_t inside = position % place_.file_bytes, base = position - inside;
  const auto there = static_cast<std::size_t>(
      std::max<std::int64_t>(std::min(end - base, place_.file_bytes) - inside, 0));
  bytes = std::min(bytes, there);
  auto open_file = open(base);
  if (!open_file) return open_file.error();
  OpenFile& file = **open_file;
  {
    std::lock_guard lock{file.mutex};
    const std::int64_t skip = inside - file.ahead_from;
    if (skip >= 0 && static_cast<std::size_t>(skip) + bytes <= file.ahead.size())
      return file.ahead.substr(static_cast<std::size_t>(skip), bytes);
  }
  auto more = read(*file.file, position, std::min(std::max(bytes, kReadAhead), there));
  if (!more || more->size() <= bytes) return more;
  std::string wanted = more->substr(0, bytes);
  std::lock_guard lock{file.mutex};
  file.ahead_from = inside;
  file.ahead = *std::move(more);
  return wanted;
}

/// A little is written over, as what follows will be: giving its block back can cost a disk
/// milliseconds, and a store may have a million queues.
Result<Ok> FileChain::cut_to(std::int64_t end, std::optional<std::int64_t> old_end) {
  std::vector<std::int64_t> removed;
  bool last_is_partial = false;
  std::int64_t base = 0;
  {
    std::lock_guard lock{mutex_};
    forget_last();
    while (!bases_.empty() && bases_.back() >= end && (bases_.back() > end || bases_.size() > 1)) {
      removed.push_back(bases_.back());
      bases_.pop_back();
    }
    last_is_partial = !bases_.empty() && end < bases_.back() + place_.file_bytes;
    if (last_is_partial) base = bases_.back();
  }
  if (!removed.empty()) names_synced_.store(false, std::memory_order_relaxed);
  for (const std::int64_t each : removed)
    if (auto done = remove_file(each); !done) return done;
  if (!last_is_partial) return Ok{};
  auto file = open(base);
  if (!file) return file.error();
  {
    std::lock_guard lock{(*file)->mutex};
    (*file)->ahead.clear();
  }
  if (old_end && *old_end <= base + place_.file_bytes && *old_end - end <= kOverwrittenMax) {
    const std::string zeros(static_cast<std::size_t>(*old_end - end), '\0');
    return (*file)->file->write_at(static_cast<std::uint64_t>(end - base), as_bytes(zeros));
  }
  if (auto done = (*file)->file->resize(static_cast<std::uint64_t>(end - base)); !done) return done;
  return (*file)->file->resize(static_cast<std::uint64_t>(place_.file_bytes));
}

Result<Ok> FileChain::remove_first() {
  std::int64_t base = 0;
  {
    std::lock_guard lock{mutex_};
    forget_last();
    base = bases_.front();
    bases_.erase(bases_.begin());
  }
  return remove_file(base);
}

/// In this order: a reader that opens the file in between has it forgotten, too.
Result<Ok> FileChain::remove_file(std::int64_t base) {
  auto done = env_.files.remove(path_of(base));
  cache_.forget(path_of(base));
  return done;
}

Result<Ok> FileChain::remove_all() {
  {
    std::lock_guard lock{mutex_};
    forget_last();
    bases_.clear();
  }
  names_synced_.store(false, std::memory_order_relaxed);
  auto done = remove_tree(env_.files, place_.directory);
  cache_.forget(place_.directory + "/");
  return done;
}

Result<Ok> FileChain::sync_all() {
  const auto all = bases();
  return all.empty() ? sync(0, 0) : sync(all.front(), all.back() + place_.file_bytes);
}

Result<Ok> FileChain::sync(std::int64_t from, std::int64_t end) {
  for (std::int64_t base = from / place_.file_bytes * place_.file_bytes; base < end;
       base += place_.file_bytes) {
    auto file = open(base);
    if (!file) {
      if (file.error().code == Errc::kNotFound) continue;  // removed meanwhile
      return file.error();
    }
    if (auto done = (*file)->file->sync(); !done) return done;
  }
  if (!names_synced_.exchange(true, std::memory_order_relaxed)) {
    // The file, the queue's directory, the topic's and that of all topics, each in its parent.
    std::string directory = place_.directory;
    for (int level = 0; level < 4; ++level) {
      if (level > 0) directory.resize(directory.rfind('/'));
      auto done = env_.files.sync_directory(directory);
      if (!done && done.error().code != Errc::kNotFound) {  // else it was removed, or not made yet
        names_synced_.store(false, std::memory_order_relaxed);
        return done;
      }
    }
  }
  return Ok{};
}

}  // namespace apogee::store
