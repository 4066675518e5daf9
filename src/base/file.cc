#include "base/file.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <set>
#include <system_error>

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

namespace apogee {
namespace {

Error error_of(int number, const std::string& what) {
  const Errc code = number == ENOENT                       ? Errc::kNotFound
                    : number == ENOSPC || number == EDQUOT ? Errc::kNoSpace
                    : number == EEXIST                     ? Errc::kExists
                    : number == EMFILE || number == ENFILE ? Errc::kBusy
                                                           : Errc::kIo;
  return Error{code, what + ": " + std::generic_category().message(number)};
}

// ---- What systems have by different names
// ----------------------------------------

/// The content and what finds it again are on the disk.
int sync_content(int descriptor) {
#if defined(__APPLE__)
  return ::fcntl(descriptor, F_FULLFSYNC);  // fsync() there stops at the drive's cache
#else
  return ::fdatasync(descriptor);
#endif
}

/// Everything of the file system the directory is on. Linux tells of writes that failed, too.
int sync_file_system([[maybe_unused]] int descriptor) {
#if defined(__linux__)
  return ::syncfs(descriptor);
#else
  errno = ENOSYS;
  return -1;
#endif
}

/// `each(name, is_directory)` for every entry of an open directory; false where the system does not
/// say what it is. 0, or errno says why not all were read.
template <class Each>
int for_each_name(int directory, Each each) {
#if defined(__linux__)
  // As readdir() does it, without the memory opendir() takes and the look at the directory: a start
  // lists as many as there are queues.
  alignas(dirent64) char buffer[32 << 10];
  for (;;) {
    const ssize_t bytes = ::getdents64(directory, buffer, sizeof buffer);
    if (bytes <= 0) return static_cast<int>(bytes);
    for (ssize_t at = 0; at < bytes;) {
      const auto* const entry = reinterpret_cast<const dirent64*>(buffer + at);
      each(entry->d_name, entry->d_type == DT_DIR);
      at += entry->d_reclen;
    }
  }
#else
  DIR* const entries = ::fdopendir(::dup(directory));
  if (entries == nullptr) return -1;
  errno = 0;
  while (const dirent* entry = ::readdir(entries)) {
    each(entry->d_name, entry->d_type == DT_DIR);
    errno = 0;
  }
  const int number = errno;
  ::closedir(entries);
  errno = number;
  return number == 0 ? 0 : -1;
#endif
}

/// A hint; without one the system writes back when it likes.
void begin_writeback([[maybe_unused]] int descriptor, [[maybe_unused]] std::uint64_t offset,
                     [[maybe_unused]] std::uint64_t length) {
#if defined(__linux__)
  ::sync_file_range(descriptor, static_cast<off64_t>(offset), static_cast<off64_t>(length),
                    SYNC_FILE_RANGE_WRITE);
#endif
}

/// Room for what will be written there; the size stays. Without it, and where a file system cannot,
/// a full disk is reported at the write.
int reserve([[maybe_unused]] int descriptor, [[maybe_unused]] std::uint64_t offset,
            [[maybe_unused]] std::uint64_t length) {
#if defined(__linux__)
  const int result = ::fallocate(descriptor, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                                 static_cast<off_t>(length));
  return result != 0 && errno == EOPNOTSUPP ? 0 : result;
#else
  return 0;
#endif
}

timespec modified(const struct stat& status) {
#if defined(__APPLE__)
  return status.st_mtimespec;
#else
  return status.st_mtim;
#endif
}

#if defined(__linux__)
using Residency = unsigned char;  // as mincore() wants it
#else
using Residency = char;
#endif

// ---- Files
// ------------------------------------------------------------------------------

std::size_t page_size() {
  static const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

/// Where a page that cannot be read may be replaced: a signal handler looks through these, so there
/// is a fixed number of places and no lock. A mapping that finds none is not looked after.
struct ReadMapping {
  std::atomic<std::uintptr_t> begin{0};  // 0: free; 1: being taken
  std::atomic<std::size_t> length{0};
};
constexpr std::size_t kReadMappings = 4'096;
std::array<ReadMapping, kReadMappings> read_mappings;

ReadMapping* look_after(const std::byte* address, std::size_t length) {
  for (ReadMapping& each : read_mappings) {
    std::uintptr_t free = 0;
    if (each.begin.load(std::memory_order_relaxed) != 0 ||
        !each.begin.compare_exchange_strong(free, 1))
      continue;
    each.length.store(length);
    each.begin.store(reinterpret_cast<std::uintptr_t>(address));
    return &each;
  }
  return nullptr;
}

void replace_bad_page(int, siginfo_t* info, void*) {
  const int kept = errno;
  const auto at = reinterpret_cast<std::uintptr_t>(info->si_addr);
  for (const ReadMapping& each : read_mappings) {
    const std::uintptr_t begin = each.begin.load();
    if (begin <= 1 || at < begin || at - begin >= each.length.load()) continue;
    void* const page = static_cast<std::byte*>(info->si_addr) - at % page_size();
    const void* const zeros =
        ::mmap(page, page_size(), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    errno = kept;
    if (zeros != MAP_FAILED) return;
  }
  std::signal(SIGBUS, SIG_DFL);  // somebody else's: the instruction comes again, and ends it
}

class PosixMapping final : public Mapping {
 public:
  PosixMapping(std::byte* address, std::size_t length, Access access, std::string path)
      : address_{address},
        length_{length},
        path_{std::move(path)},
        looked_after_{access == Access::kRead ? look_after(address, length) : nullptr} {}
  ~PosixMapping() override {
    if (looked_after_) looked_after_->begin.store(0);
    ::munmap(address_, length_);
  }

  MutableBytes bytes() override { return {address_, length_}; }
  Result<Ok> sync(std::size_t offset, std::size_t length) override {
    const auto [from, size] = pages(offset, length);
    if (size != 0 && ::msync(address_ + from, size, MS_SYNC) != 0)
      return error_of(errno, "msync " + path_);
    return Ok{};
  }
  bool resident(std::size_t offset, std::size_t length) const override {
    const auto [from, size] = pages(offset, length);
    const std::size_t count = (size + page_size() - 1) / page_size();
    std::vector<Residency> present(count);
    if (count == 0 || ::mincore(address_ + from, size, present.data()) != 0) return true;
    for (const Residency page : present) {
      if ((page & 1) == 0) return false;
    }
    return true;
  }
  void read_ahead(bool ahead) override {
    ::madvise(address_, length_, ahead ? MADV_NORMAL : MADV_RANDOM);
  }
  void forget(std::size_t offset, std::size_t length) override {
    const auto [from, size] = pages(offset, length);
    if (size != 0) ::madvise(address_ + from, size, MADV_DONTNEED);
  }

 private:
  std::pair<std::size_t, std::size_t> pages(std::size_t offset, std::size_t length) const {
    const std::size_t from = offset - offset % page_size();
    const std::size_t to = std::min(offset + length, length_);
    return {from, to > from ? to - from : 0};
  }

  std::byte* const address_;
  const std::size_t length_;
  const std::string path_;
  ReadMapping* const looked_after_;
};

class PosixFile final : public File {
 public:
  PosixFile(int descriptor, std::string path) : descriptor_{descriptor}, path_{std::move(path)} {}
  ~PosixFile() override { ::close(descriptor_); }

  Result<std::uint64_t> size() const override {
    struct stat status{};
    if (::fstat(descriptor_, &status) != 0) return error_of(errno, "stat " + path_);
    return static_cast<std::uint64_t>(status.st_size);
  }

  Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) const override {
    std::size_t done = 0;
    while (done < out.size()) {
      const ssize_t n = ::pread(descriptor_, out.data() + done, out.size() - done,
                                static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return error_of(errno, "read " + path_);
      if (n == 0) break;
      done += static_cast<std::size_t>(n);
    }
    return done;
  }

  Result<Ok> write_at(std::uint64_t offset, std::span<const Bytes> pieces) override {
    constexpr std::size_t kPiecesMax = 64;  // of one call; far below IOV_MAX
    iovec vectors[kPiecesMax];
    std::size_t next = 0, skip = 0;  // skip: bytes of pieces[next] that are written already
    while (next < pieces.size()) {
      std::size_t count = 0;
      for (std::size_t i = next; i < pieces.size() && count < kPiecesMax; ++i, ++count) {
        const std::size_t first = i == next ? skip : 0;
        vectors[count] = {const_cast<std::byte*>(pieces[i].data()) + first,
                          pieces[i].size() - first};
      }
      const ssize_t n =
          ::pwritev(descriptor_, vectors, static_cast<int>(count), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return error_of(errno, "write " + path_);
      offset += static_cast<std::uint64_t>(n);
      skip += static_cast<std::size_t>(n);
      while (next < pieces.size() && skip >= pieces[next].size()) skip -= pieces[next++].size();
    }
    return Ok{};
  }

  Result<Ok> sync() override {
    if (sync_content(descriptor_) != 0) return error_of(errno, "sync " + path_);
    return Ok{};
  }
  void start_writeback(std::uint64_t offset, std::uint64_t length) override {
    begin_writeback(descriptor_, offset, length);
  }
  Result<Ok> resize(std::uint64_t size) override {
    if (::ftruncate(descriptor_, static_cast<off_t>(size)) != 0)
      return error_of(errno, "resize " + path_);
    return Ok{};
  }
  Result<Ok> allocate(std::uint64_t offset, std::uint64_t length) override {
    if (reserve(descriptor_, offset, length) != 0) return error_of(errno, "allocate " + path_);
    return Ok{};
  }
  Result<std::unique_ptr<Mapping>> map(std::uint64_t offset, std::size_t length,
                                       Access access) override {
    const int protection = access == Access::kWrite ? PROT_READ | PROT_WRITE : PROT_READ;
    void* const address =
        ::mmap(nullptr, length, protection, MAP_SHARED, descriptor_, static_cast<off_t>(offset));
    if (address == MAP_FAILED) return error_of(errno, "map " + path_);
    return std::unique_ptr<Mapping>{
        std::make_unique<PosixMapping>(static_cast<std::byte*>(address), length, access, path_)};
  }

 private:
  const int descriptor_;
  const std::string path_;
};

/// Locks held by this process: fcntl's are per process and would be granted to it twice.
class HeldLocks {
 public:
  bool insert(const std::string& path) {
    std::lock_guard lock{mutex_};
    return paths_.insert(path).second;
  }
  void erase(const std::string& path) {
    std::lock_guard lock{mutex_};
    paths_.erase(path);
  }
  bool contains(const std::string& path) const {
    std::lock_guard lock{mutex_};
    return paths_.contains(path);
  }

 private:
  mutable std::mutex mutex_;
  std::set<std::string> paths_;
};

class PosixLock final : public FileLock {
 public:
  PosixLock(int descriptor, std::string path, std::shared_ptr<HeldLocks> held)
      : descriptor_{descriptor}, path_{std::move(path)}, held_{std::move(held)} {}
  ~PosixLock() override {
    ::close(descriptor_);
    held_->erase(path_);
  }

 private:
  const int descriptor_;
  const std::string path_;
  const std::shared_ptr<HeldLocks> held_;
};

DirectoryEntry describe(std::string name, const struct stat& status) {
  return {.name = std::move(name),
          .is_directory = S_ISDIR(status.st_mode),
          .size = static_cast<std::uint64_t>(status.st_size),
          .modified_ms = modified(status).tv_sec * 1000 + modified(status).tv_nsec / 1'000'000};
}

/// What went wrong, 0 if nothing did. `act(descriptor)` is 0, or has set errno.
template <class Act>
int with_directory(const std::string& path, Act act) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return errno;
  const int number = act(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  return number;
}

class PosixFiles final : public FileSystem {
 public:
  Result<std::unique_ptr<File>> open(const std::string& path, Open mode) override {
    const int flags = (mode == Open::kReadOnly ? O_RDONLY : O_RDWR) |
                      (mode == Open::kCreate ? O_CREAT : 0) | O_CLOEXEC;
    const int descriptor = ::open(path.c_str(), flags, 0644);
    if (descriptor < 0) return error_of(errno, "open " + path);
    return std::unique_ptr<File>{std::make_unique<PosixFile>(descriptor, path)};
  }
  Result<std::unique_ptr<File>> open_successor(const std::string& path,
                                               const std::string& old) override {
    struct stat status{};
    const bool replaces = ::stat(old.c_str(), &status) == 0;
    ::unlink(path.c_str());  // what a crash left may be open to others, or closed to us
    const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (descriptor < 0) return error_of(errno, "open " + path);
    auto file = std::make_unique<PosixFile>(descriptor, path);
    if (!replaces) return std::unique_ptr<File>{std::move(file)};
    // Who may not give files away keeps it; its own group gets nothing instead of the other.
    const bool same_group = ::fchown(descriptor, status.st_uid, status.st_gid) == 0 ||
                            ::fchown(descriptor, static_cast<uid_t>(-1), status.st_gid) == 0;
    if (::fchmod(descriptor, status.st_mode & (same_group ? 0777 : 0707)) != 0)
      return error_of(errno, "change the mode of " + path);
    return std::unique_ptr<File>{std::move(file)};
  }
  Result<Ok> remove(const std::string& path) override {
    if (::remove(path.c_str()) != 0) return error_of(errno, "remove " + path);
    return Ok{};
  }
  Result<Ok> rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0)
      return error_of(errno, "rename " + from + " to " + to);
    return Ok{};
  }
  Result<Ok> create_directories(const std::string& path) override {
    if (::mkdir(path.c_str(), 0755) == 0) return Ok{};
    const auto slash = path.rfind('/');
    if (errno == ENOENT && slash != std::string::npos && slash > 0) {
      if (auto parent = create_directories(path.substr(0, slash)); !parent) return parent;
      if (::mkdir(path.c_str(), 0755) == 0) return Ok{};
    }
    if (errno != EEXIST) return error_of(errno, "create directory " + path);
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode))
      return error_of(ENOTDIR, "create directory " + path);
    return Ok{};
  }
  Result<Ok> sync_directory(const std::string& path) override {
    const int number = with_directory(path, ::fsync);
    if (number != 0 && number != EINVAL) return error_of(number, "sync directory " + path);
    return Ok{};
  }
  Result<Ok> sync_tree(const std::string& path) override {
    const int number = with_directory(path, sync_file_system);
    if (number == ENOSYS) return Error{Errc::kUnsupported, "sync all below " + path};
    if (number != 0) return error_of(number, "sync all below " + path);
    return Ok{};
  }
  Result<std::vector<DirectoryEntry>> list(const std::string& path) override {
    std::vector<DirectoryEntry> entries;
    const int number = with_directory(path, [&](int directory) {
      return for_each_name(directory, [&](const char* name, bool is_directory) {
        if (name == std::string_view{"."} || name == std::string_view{".."}) return;
        struct stat status{};
        if (is_directory)
          entries.push_back({.name = name, .is_directory = true});
        else if (::fstatat(directory, name, &status, 0) == 0)
          entries.push_back(describe(name, status));
        // Else it has vanished between the two calls and is not there any more.
      });
    });
    if (number != 0) return error_of(number, "list " + path);
    std::sort(entries.begin(), entries.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
    return entries;
  }
  Result<DirectoryEntry> stat(const std::string& path) override {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) return error_of(errno, "stat " + path);
    return describe(path.substr(path.rfind('/') + 1), status);
  }
  Result<DiskSpace> space(const std::string& path) override {
    struct statvfs status{};
    if (::statvfs(path.c_str(), &status) != 0) return error_of(errno, "disk space of " + path);
    return DiskSpace{.total = status.f_blocks * status.f_frsize,
                     .available = status.f_bavail * status.f_frsize};
  }
  Result<std::unique_ptr<FileLock>> lock(const std::string& path) override {
    if (!held_->insert(path))
      return Error{Errc::kExists, path + " is held by this process already"};
    const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor < 0) {
      held_->erase(path);
      return error_of(errno, "open " + path);
    }
    auto lock = std::make_unique<PosixLock>(descriptor, path, held_);
    struct flock range{};
    range.l_type = F_WRLCK;
    range.l_whence = SEEK_SET;
    range.l_len = 1;
    if (::fcntl(descriptor, F_SETLK, &range) != 0) {
      if (errno == EACCES || errno == EAGAIN)
        return Error{Errc::kExists, path + " is held by another process"};
      return error_of(errno, "lock " + path);
    }
    // Through the descriptor that holds the lock: the first close of any other would drop it.
    // The word is for people: a full disk does not keep a broker from starting.
    [[maybe_unused]] const auto written = ::pwrite(descriptor, "lock", 4, 0);
    return std::unique_ptr<FileLock>{std::move(lock)};
  }
  Result<bool> is_locked(const std::string& path) override {
    // Not by opening, for the reason given in lock().
    if (held_->contains(path)) return true;
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
      if (errno == ENOENT) return false;
      return error_of(errno, "open " + path);
    }
    struct flock range{};
    range.l_type = F_WRLCK;
    range.l_whence = SEEK_SET;
    range.l_len = 1;
    const int result = ::fcntl(descriptor, F_GETLK, &range);
    const int number = errno;
    ::close(descriptor);
    if (result != 0) return error_of(number, "look at the lock " + path);
    return range.l_type != F_UNLCK;
  }

 private:
  std::shared_ptr<HeldLocks> held_ = std::make_shared<HeldLocks>();
};

std::string parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

std::unique_ptr<FileSystem> make_posix_files() {
  return std::make_unique<PosixFiles>();
}

Result<Buffer> read_file(FileSystem& files, const std::string& path, std::uint64_t limit) {
  auto file = files.open(path, FileSystem::Open::kReadOnly);
  if (!file) return file.error();
  auto size = (*file)->size();
  if (!size) return size.error();
  if (*size > limit)
    return Error{Errc::kMalformed, path + " has " + std::to_string(*size) +
                                       " bytes, more than the " + std::to_string(limit) +
                                       " expected at most"};
  Buffer content(*size, '\0');
  auto read =
      (*file)->read_at(0, std::as_writable_bytes(std::span{content.data(), content.size()}));
  if (!read) return read.error();
  content.resize(*read);
  return content;
}

Result<Ok> replace_file(FileSystem& files, const std::string& path, std::string_view content) {
  const std::string next = path + ".tmp", backup = path + ".bak";
  const bool replaces = files.stat(path).has_value();
  {
    auto file =
        replaces ? files.open_successor(next, path) : files.open(next, FileSystem::Open::kCreate);
    if (!file) return file.error();
    if (auto done = (*file)->resize(0); !done) return done;
    if (auto done = (*file)->write_at(0, as_bytes(content)); !done) return done;
    if (auto done = (*file)->sync(); !done) return done;
  }
  // The new content is durable under another name before the old one moves: no moment without a
  // complete file, even if the old one is damaged and takes the place of a backup that is not.
  if (replaces) {
    if (auto done = files.sync_directory(parent_of(path)); !done) return done;
    if (auto done = files.rename(path, backup); !done) return done;
  }
  if (auto done = files.rename(next, path); !done) return done;
  return files.sync_directory(parent_of(path));
}

void read_bad_pages_as_zeros() {
  (void)page_size();  // asked for before a handler needs it
  struct sigaction action{};
  action.sa_sigaction = replace_bad_page;
  action.sa_flags = SA_SIGINFO;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, nullptr);
}

Result<Ok> remove_tree(FileSystem& files, const std::string& path) {
  auto status = files.stat(path);
  if (!status) return status.error().code == Errc::kNotFound ? Result<Ok>{Ok{}} : status.error();
  if (status->is_directory) {
    auto entries = files.list(path);
    if (!entries) return entries.error();
    for (const DirectoryEntry& entry : *entries) {
      if (auto done = remove_tree(files, path + "/" + entry.name); !done) return done;
    }
  }
  return files.remove(path);
}

}  // namespace apogee
