#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"

namespace apogee::testing {

/// One file's bytes on a ForgetfulDisk: what processes see, in a memory file of the kernel so that
/// it can be mapped, apart from what is on disk, as a map of pages.
///
/// Threads: under the disk's lock, except size(), read_at() and what happens through mappings.
class ForgetfulContent {
 public:
  static constexpr std::size_t kPage = 4096, kSector = 512;

  ForgetfulContent();
  ~ForgetfulContent();
  ForgetfulContent(const ForgetfulContent&) = delete;

  std::uint64_t size() const { return size_.load(std::memory_order_acquire); }
  std::size_t read_at(std::uint64_t offset, MutableBytes out) const;
  void write_at(std::uint64_t offset, Bytes bytes);
  void resize(std::uint64_t size);

  /// Pages of the range that neither a write nor reserve() has taken yet.
  std::uint64_t unreserved_pages(std::uint64_t offset, std::uint64_t length) const;
  void reserve(std::uint64_t offset, std::uint64_t length);
  std::uint64_t reserved_pages() const { return reserved_.count; }
  /// Has a page been written through a mapping that was not reserved?
  bool written_without_reservation() const;

  /// Null: the kernel refused. Unmapped by the caller.
  std::byte* map(std::uint64_t offset, std::size_t length, bool writable);

  void sync();
  void sync(std::uint64_t offset, std::uint64_t length);
  /// A sync failed: what it was to save now counts as clean.
  void fail_sync();
  void flip(std::uint64_t bit, bool on_disk);

  Buffer durable() const;
  std::unique_ptr<ForgetfulContent> after_kill() const;
  /// `random` null: only what is durable.
  std::unique_ptr<ForgetfulContent> after_crash(std::mt19937_64* random) const;

 private:
  using Page = std::array<std::byte, kPage>;
  struct PageSet {
    std::vector<bool> has;
    std::uint64_t count = 0;
    bool contains(std::uint64_t page) const { return page < has.size() && has[page]; }
    void insert(std::uint64_t page);
    void cut(std::uint64_t pages);
  };

  Page page_at(std::uint64_t page) const;
  const Page& durable_at(std::uint64_t page) const;
  void save(std::uint64_t page);
  /// Calls `visit` with every page of the range that holds data.
  template <class Visit>
  void for_each_data_page(std::uint64_t from, std::uint64_t to, Visit&& visit) const;
  std::set<std::uint64_t> unsynced_pages() const;

  const int fd_;
  std::atomic<std::uint64_t> size_{0};
  std::set<std::uint64_t> dirty_;  ///< By write_at() and resize(); mappings are found by comparing.
  bool was_mapped_for_writing_ = false;
  PageSet reserved_;
  std::unordered_map<std::uint64_t, Page> lost_;  ///< What a failed sync was to save.

  std::uint64_t durable_size_ = 0;
  std::map<std::uint64_t, std::shared_ptr<const Page>> durable_;  ///< Absent: zeros.
};

}  // namespace apogee::testing
