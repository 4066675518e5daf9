#include "testing/forgetful_content.h"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdlib>

#include <sys/mman.h>
#include <unistd.h>

namespace apogee::testing {
namespace {

constexpr std::size_t kPage = ForgetfulContent::kPage;
constexpr std::array<std::byte, kPage> kZeros{};

int open_memory() {
  const int fd = memfd_create("forgetful", MFD_CLOEXEC);
  if (fd < 0) {
    std::perror("ForgetfulDisk: memfd_create");  // out of descriptors: the test cannot go on
    std::abort();
  }
  return fd;
}

std::uint64_t pages_of(std::uint64_t bytes) {
  return (bytes + kPage - 1) / kPage;
}

}  // namespace

void ForgetfulContent::PageSet::insert(std::uint64_t page) {
  if (page >= has.size()) has.resize(page + 1);
  if (!has[page]) ++count;
  has[page] = true;
}

void ForgetfulContent::PageSet::cut(std::uint64_t pages) {
  if (has.size() > pages) has.resize(pages);
  count = static_cast<std::uint64_t>(std::ranges::count(has, true));
}

ForgetfulContent::ForgetfulContent() : fd_{open_memory()} {}
ForgetfulContent::~ForgetfulContent() {
  ::close(fd_);
}

std::size_t ForgetfulContent::read_at(std::uint64_t offset, MutableBytes out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t n =
        ::pread(fd_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

void ForgetfulContent::write_at(std::uint64_t offset, Bytes bytes) {
  if (bytes.empty()) return;
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t n =
        ::pwrite(fd_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      std::perror("ForgetfulDisk: pwrite");
      std::abort();
    }
    done += static_cast<std::size_t>(n);
  }
  const std::uint64_t end = offset + bytes.size();
  for (std::uint64_t page = offset / kPage; page < pages_of(end); ++page) {
    dirty_.insert(page);
    lost_.erase(page);
  }
  reserve(offset, bytes.size());
  if (end > size()) size_.store(end, std::memory_order_release);
}

void ForgetfulContent::resize(std::uint64_t new_size) {
  const std::uint64_t old_size = size();
  if (::ftruncate(fd_, static_cast<off_t>(new_size)) != 0) std::abort();
  size_.store(new_size, std::memory_order_release);
  if (new_size >= old_size) return;
  const std::uint64_t first = new_size / kPage;
  for (auto it = durable_.lower_bound(first); it != durable_.end(); ++it) dirty_.insert(it->first);
  for (auto it = dirty_.lower_bound(first); it != dirty_.end(); ++it) lost_.erase(*it);
  reserved_.cut(pages_of(new_size));
}

std::uint64_t ForgetfulContent::unreserved_pages(std::uint64_t offset, std::uint64_t length) const {
  std::uint64_t count = 0;
  for (std::uint64_t page = offset / kPage; page < pages_of(offset + length); ++page)
    if (!reserved_.contains(page)) ++count;
  return count;
}

void ForgetfulContent::reserve(std::uint64_t offset, std::uint64_t length) {
  for (std::uint64_t page = offset / kPage; page < pages_of(offset + length); ++page)
    reserved_.insert(page);
}

bool ForgetfulContent::written_without_reservation() const {
  bool found = false;
  for_each_data_page(0, pages_of(size()), [&](std::uint64_t page) {
    if (!found && !reserved_.contains(page)) found = page_at(page) != kZeros;
  });
  return found;
}

std::byte* ForgetfulContent::map(std::uint64_t offset, std::size_t length, bool writable) {
  if (writable) was_mapped_for_writing_ = true;
  void* at = ::mmap(nullptr, length, writable ? PROT_READ | PROT_WRITE : PROT_READ,
                    MAP_SHARED | MAP_NORESERVE, fd_, static_cast<off_t>(offset));
  return at == MAP_FAILED ? nullptr : static_cast<std::byte*>(at);
}

ForgetfulContent::Page ForgetfulContent::page_at(std::uint64_t page) const {
  Page content{};
  read_at(page * kPage, content);
  return content;
}

const ForgetfulContent::Page& ForgetfulContent::durable_at(std::uint64_t page) const {
  const auto found = durable_.find(page);
  return found == durable_.end() ? kZeros : *found->second;
}

template <class Visit>
void ForgetfulContent::for_each_data_page(std::uint64_t from, std::uint64_t to,
                                          Visit&& visit) const {
  std::uint64_t page = from;
  while (page < to) {
    const off_t data = ::lseek(fd_, static_cast<off_t>(page * kPage), SEEK_DATA);
    if (data < 0) return;
    const off_t hole = ::lseek(fd_, data, SEEK_HOLE);
    page = static_cast<std::uint64_t>(data) / kPage;
    const std::uint64_t end = std::min(to, pages_of(static_cast<std::uint64_t>(hole)));
    for (; page < end; ++page) visit(page);
  }
}

std::set<std::uint64_t> ForgetfulContent::unsynced_pages() const {
  std::set<std::uint64_t> pages = dirty_;
  for (const auto& [page, content] : lost_) pages.insert(page);
  if (was_mapped_for_writing_) {
    for_each_data_page(0, pages_of(size()), [&](std::uint64_t page) {
      if (page_at(page) != durable_at(page)) pages.insert(page);
    });
  }
  return pages;
}

void ForgetfulContent::save(std::uint64_t page) {
  const Page content = page_at(page);
  if (const auto lost = lost_.find(page); lost != lost_.end()) {
    if (lost->second == content) return;  // counts as clean since the failed sync
    lost_.erase(lost);
  }
  if (content == kZeros)
    durable_.erase(page);
  else if (content != durable_at(page))
    durable_[page] = std::make_shared<const Page>(content);
}

void ForgetfulContent::sync() {
  std::set<std::uint64_t> pages = std::exchange(dirty_, {});
  if (was_mapped_for_writing_) {
    for_each_data_page(0, pages_of(size()), [&](std::uint64_t page) { pages.insert(page); });
  }
  for (const std::uint64_t page : pages) save(page);
  durable_size_ = size();
}

void ForgetfulContent::sync(std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t from = offset / kPage, to = pages_of(offset + length);
  for (auto it = dirty_.lower_bound(from); it != dirty_.end() && *it < to;) {
    save(*it);
    it = dirty_.erase(it);
  }
  for_each_data_page(from, to, [&](std::uint64_t page) { save(page); });
  durable_size_ = size();
}

void ForgetfulContent::fail_sync() {
  for (const std::uint64_t page : unsynced_pages()) lost_[page] = page_at(page);
  dirty_.clear();
}

void ForgetfulContent::flip(std::uint64_t bit, bool on_disk) {
  const std::uint64_t at = bit / 8, page = at / kPage;
  const std::byte mask{static_cast<unsigned char>(1u << (bit % 8))};
  std::byte value{};
  read_at(at, {&value, 1});
  value ^= mask;
  if (::pwrite(fd_, &value, 1, static_cast<off_t>(at)) != 1) std::abort();
  if (!on_disk) return;
  Page durable = durable_at(page);
  durable[at % kPage] ^= mask;
  durable_[page] = std::make_shared<const Page>(durable);
}

Buffer ForgetfulContent::durable() const {
  Buffer all(durable_size_, '\0');
  for (const auto& [page, content] : durable_) {
    const std::uint64_t at = page * kPage;
    if (at >= all.size()) break;
    std::memcpy(all.data() + at, content->data(), std::min<std::uint64_t>(kPage, all.size() - at));
  }
  return all;
}

std::unique_ptr<ForgetfulContent> ForgetfulContent::after_kill() const {
  auto copy = std::make_unique<ForgetfulContent>();
  copy->resize(size());
  for_each_data_page(0, pages_of(size()), [&](std::uint64_t page) {
    const Page content = page_at(page);
    const std::uint64_t at = page * kPage;
    if (content == kZeros || at >= copy->size()) return;
    copy->write_at(at, Bytes{content}.first(std::min<std::uint64_t>(kPage, copy->size() - at)));
  });
  copy->dirty_ = unsynced_pages();
  for (const auto& [page, content] : lost_)
    if (page_at(page) == content) copy->dirty_.erase(page);
  copy->lost_ = lost_;
  copy->reserved_ = reserved_;
  copy->durable_size_ = durable_size_;
  copy->durable_ = durable_;
  return copy;
}

std::unique_ptr<ForgetfulContent> ForgetfulContent::after_crash(std::mt19937_64* random) const {
  auto left = std::make_unique<ForgetfulContent>();
  std::map<std::uint64_t, Page> pages;
  for (const auto& [page, content] : durable_) pages.emplace(page, *content);
  std::uint64_t left_size = durable_size_;
  if (random) {
    // How much of what was not synced got to the disk: of whole pages and of sectors, in eighths.
    const std::uint64_t keep = (*random)() % 9;
    const bool torn = (*random)() % 2 == 0;
    for (const std::uint64_t page : unsynced_pages()) {
      const Page now = page_at(page);
      Page& then = pages.try_emplace(page, Page{}).first->second;
      for (std::size_t at = 0; at < kPage; at += torn ? kSector : kPage) {
        if ((*random)() % 8 >= keep) continue;
        std::copy_n(now.begin() + at, torn ? kSector : kPage, then.begin() + at);
      }
    }
    // A size that was not synced: the old one, the new one, or one the write-back had reached.
    switch ((*random)() % 3) {
      case 0:
        break;
      case 1:
        left_size = size();
        break;
      default: {
        const std::uint64_t now = size();
        const std::uint64_t least = std::min(durable_size_, now),
                            most = std::max(durable_size_, now);
        left_size = std::max(least, (least + (*random)() % (most - least + 1)) / kSector * kSector);
      }
    }
  }
  left->resize(left_size);
  for (const auto& [page, content] : pages) {
    const std::uint64_t at = page * kPage;
    if (at >= left_size) break;
    left->write_at(at, Bytes{content}.first(std::min<std::uint64_t>(kPage, left_size - at)));
  }
  for (std::uint64_t page = 0; page < pages_of(left_size); ++page)
    if (reserved_.contains(page)) left->reserved_.insert(page);
  left->sync();
  return left;
}

}  // namespace apogee::testing
