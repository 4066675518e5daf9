#include "testing/forgetful_disk.h"

#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <set>

#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "testing/forgetful_content.h"

namespace apogee::testing {
namespace {

using Operation = ForgetfulDisk::Operation;
constexpr std::uint64_t kPage = ForgetfulContent::kPage;
constexpr std::uint64_t kUnlimited = std::uint64_t{1} << 50;

struct Node;
using NodePtr = std::shared_ptr<Node>;

/// A file or a directory. Guarded by the disk's lock.
struct Node {
  std::unique_ptr<ForgetfulContent> content;  ///< Null: a directory.
  std::map<std::string, NodePtr> entries, durable_entries;
  std::int64_t modified_ms = 0;
  bool locked = false;

  bool is_directory() const { return !content; }
};

/// One side of a creation, removal or rename: `name` in `directory` now is `target` (null: gone).
struct Link {
  NodePtr directory;
  std::string name;
  NodePtr target;

  void apply_durably() const {
    if (target)
      directory->durable_entries[name] = target;
    else
      directory->durable_entries.erase(name);
  }
};
using Change = std::vector<Link>;  ///< Happens as a whole: a rename has two links.

std::vector<std::string> split(std::string_view path) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at < path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, end - at);
    if (!part.empty() && part != ".") parts.emplace_back(part);
    at = end + 1;
  }
  return parts;
}

/// Copies a tree of nodes, each node once.
class TreeCopy {
 public:
  enum class Names { kAll, kDurable };  ///< kDurable: only those, which become the current ones.
  /// Makes the copy of one file's content.
  using CopyContent = std::function<std::unique_ptr<ForgetfulContent>(const ForgetfulContent&)>;
  TreeCopy(Names names, CopyContent content) : names_{names}, content_{std::move(content)} {}

  NodePtr operator()(const NodePtr& node) {
    if (!node) return nullptr;
    if (const auto known = copies_.find(node.get()); known != copies_.end()) return known->second;
    const NodePtr copy = copies_[node.get()] = std::make_shared<Node>();
    copy->modified_ms = node->modified_ms;
    if (node->content) copy->content = content_(*node->content);
    for (const auto& [name, child] : node->durable_entries)
      copy->durable_entries[name] = (*this)(child);
    if (names_ == Names::kDurable)
      copy->entries = copy->durable_entries;
    else
      for (const auto& [name, child] : node->entries) copy->entries[name] = (*this)(child);
    return copy;
  }
  std::vector<Change> operator()(const std::vector<Change>& changes) {
    std::vector<Change> copies;
    for (const Change& change : changes) {
      Change& copy = copies.emplace_back();
      for (const Link& link : change)
        copy.push_back({(*this)(link.directory), link.name, (*this)(link.target)});
    }
    return copies;
  }

 private:
  const Names names_;
  CopyContent content_;
  std::map<const Node*, NodePtr> copies_;
};

class Mount;

}  // namespace

struct ForgetfulDisk::State {
  mutable std::mutex mutex;
  std::function<std::int64_t()> wall_ms;
  NodePtr root = std::make_shared<Node>();
  std::vector<Change> pending;  ///< Not yet durable, oldest first.
  std::vector<Fault> faults;
  std::array<std::atomic<std::uint64_t>, static_cast<std::size_t>(Operation::kCount)> counts{};
  std::atomic<bool> any_fault{false}, resident{true};
  std::uint64_t space_limit = kUnlimited;
  std::vector<std::shared_ptr<Mount>> mounts;  ///< The last one is connected.
  std::optional<std::uint64_t> power_left;     ///< Changes until lose_power_after() takes effect.

  std::int64_t now_ms() const { return wall_ms ? wall_ms() : 0; }
  NodePtr find(const std::string& path) const;
  std::uint64_t used() const;
  /// Under the lock. Does power last for this operation?
  bool has_power(Operation operation);
  /// The error to give instead of doing the operation. Any thread, with or without the lock.
  std::optional<Fault> fault_for(Operation operation, const std::string& path);
  void change(Change links);
  void make_names_durable(const std::set<NodePtr>& directories);
  std::vector<Change> survivors(std::mt19937_64* random) const;
  void replace_tree(NodePtr new_root, std::vector<Change> new_pending);
  void crash(std::mt19937_64* random);

 private:
  std::mutex fault_mutex_;
  friend class ForgetfulDisk;
};

namespace {

Error injected(const ForgetfulDisk::Fault& fault, const std::string& path) {
  return {fault.error, path + ": injected " + name_of(fault.error)};
}

/// One process's view of the disk: cut off when that process is killed or power fails.
class Mount final : public FileSystem, public std::enable_shared_from_this<Mount> {
 public:
  explicit Mount(ForgetfulDisk::State& disk) : disk_{disk} {}

  Result<std::unique_ptr<File>> open(const std::string& path, Open mode) override;
  Result<Ok> remove(const std::string& path) override;
  Result<Ok> rename(const std::string& from, const std::string& to) override;
  Result<Ok> create_directories(const std::string& path) override;
  Result<Ok> sync_directory(const std::string& path) override;
  Result<Ok> sync_tree(const std::string& path) override;
  Result<std::vector<DirectoryEntry>> list(const std::string& path) override;
  Result<DirectoryEntry> stat(const std::string& path) override;
  Result<DiskSpace> space(const std::string& path) override;
  Result<std::unique_ptr<FileLock>> lock(const std::string& path) override;
  Result<bool> is_locked(const std::string& path) override;

  /// Locks the disk for one operation on `path` and looks for reasons not to do it. The lock is
  /// held afterwards unless the process is gone.
  std::optional<Error> begin(std::unique_lock<std::mutex>& lock, std::optional<Operation> operation,
                             const std::string& path);
  void cut_off() { connected_.store(false, std::memory_order_release); }
  bool connected() const { return connected_.load(std::memory_order_acquire); }
  static Error gone(const std::string& path) {
    return {Errc::kIo, path + ": the process that opened this disk is gone"};
  }
  ForgetfulDisk::State& disk() { return disk_; }

 private:
  Result<NodePtr> parent_of(const std::string& path, std::string& name);

  ForgetfulDisk::State& disk_;
  std::atomic<bool> connected_{true};
};

class ForgetfulMapping final : public Mapping {
 public:
  ForgetfulMapping(std::shared_ptr<Mount> mount, NodePtr node, std::string path, MutableBytes bytes,
                   std::uint64_t offset)
      : mount_{std::move(mount)},
        node_{std::move(node)},
        path_{std::move(path)},
        bytes_{bytes},
        offset_{offset} {}
  ~ForgetfulMapping() override { ::munmap(bytes_.data(), bytes_.size()); }

  MutableBytes bytes() override { return bytes_; }
  Result<Ok> sync(std::size_t offset, std::size_t length) override {
    std::unique_lock<std::mutex> lock;
    if (offset > bytes_.size() || length > bytes_.size() - offset)
      return Error{Errc::kInvalidArgument, path_ + ": sync beyond the mapping"};
    if (auto error = mount_->begin(lock, Operation::kMappingSync, path_)) {
      if (lock) node_->content->fail_sync();
      return *std::move(error);
    }
    node_->content->sync(offset_ + offset, length);
    node_->modified_ms = mount_->disk().now_ms();
    return Ok{};
  }
  bool resident(std::size_t, std::size_t) const override { return mount_->disk().resident; }
  void read_ahead(bool) override {}
  void forget(std::size_t, std::size_t) override {}

 private:
  const std::shared_ptr<Mount> mount_;
  const NodePtr node_;
  const std::string path_;
  const MutableBytes bytes_;
  const std::uint64_t offset_;
};

class ForgetfulFile final : public File {
 public:
  ForgetfulFile(std::shared_ptr<Mount> mount, NodePtr node, std::string path, bool writable)
      : mount_{std::move(mount)},
        node_{std::move(node)},
        path_{std::move(path)},
        writable_{writable} {}

  Result<std::uint64_t> size() const override {
    if (!mount_->connected()) return Mount::gone(path_);
    return node_->content->size();
  }
  Result<std::size_t> read_at(std::uint64_t offset, MutableBytes out) const override {
    // Without the lock, so that readers run beside each other as on a real disk.
    if (!mount_->connected()) return Mount::gone(path_);
    const auto fault = mount_->disk().fault_for(Operation::kRead, path_);
    if (fault && !fault->flips) return injected(*fault, path_);
    const std::size_t got = node_->content->read_at(offset, out);
    if (fault && got > 0)
      out[offset % got] ^= std::byte{static_cast<unsigned char>(1u << offset % 8)};
    return got;
  }
  Result<Ok> write_at(std::uint64_t offset, std::span<const Bytes> pieces) override;
  Result<Ok> sync() override {
    std::unique_lock<std::mutex> lock;
    if (auto error = mount_->begin(lock, Operation::kSync, path_)) {
      if (lock) node_->content->fail_sync();
      return *std::move(error);
    }
    node_->content->sync();
    return Ok{};
  }
  void start_writeback(std::uint64_t, std::uint64_t) override {}
  Result<Ok> resize(std::uint64_t size) override {
    std::unique_lock<std::mutex> lock;
    if (auto error = begin_change(lock, Operation::kResize)) return *std::move(error);
    node_->content->resize(size);
    return Ok{};
  }
  Result<Ok> allocate(std::uint64_t offset, std::uint64_t length) override;
  Result<std::unique_ptr<Mapping>> map(std::uint64_t offset, std::size_t length,
                                       Access access) override;

 private:
  std::optional<Error> begin_change(std::unique_lock<std::mutex>& lock, Operation operation) {
    if (auto error = mount_->begin(lock, operation, path_)) return error;
    if (!writable_) return Error{Errc::kIo, path_ + ": opened for reading only"};
    return std::nullopt;
  }
  bool has_room(std::uint64_t pages) const {
    const ForgetfulDisk::State& disk = mount_->disk();
    return pages == 0 || disk.space_limit == kUnlimited ||
           disk.used() + pages * kPage <= disk.space_limit;
  }

  const std::shared_ptr<Mount> mount_;
  const NodePtr node_;
  const std::string path_;
  const bool writable_;
};

/// Frees the lock unless its process is gone: then the disk did so already.
class ForgetfulLock final : public FileLock {
 public:
  ForgetfulLock(std::shared_ptr<Mount> mount, NodePtr node)
      : mount_{std::move(mount)}, node_{std::move(node)} {}
  ~ForgetfulLock() override {
    std::lock_guard lock{mount_->disk().mutex};
    node_->locked = false;
  }

 private:
  const std::shared_ptr<Mount> mount_;
  const NodePtr node_;
};

}  // namespace

NodePtr ForgetfulDisk::State::find(const std::string& path) const {
  NodePtr node = root;
  for (const std::string& part : split(path)) {
    const auto child = node->entries.find(part);
    if (child == node->entries.end()) return nullptr;
    node = child->second;
  }
  return node;
}

std::uint64_t ForgetfulDisk::State::used() const {
  std::uint64_t pages = 0;
  const std::function<void(const Node&)> add = [&](const Node& node) {
    if (node.content) pages += node.content->reserved_pages();
    for (const auto& [name, child] : node.entries) add(*child);
  };
  add(*root);
  return pages * kPage;
}

std::optional<ForgetfulDisk::Fault> ForgetfulDisk::State::fault_for(Operation operation,
                                                                    const std::string& path) {
  counts[static_cast<std::size_t>(operation)].fetch_add(1, std::memory_order_relaxed);
  if (!any_fault.load(std::memory_order_acquire)) return std::nullopt;
  std::lock_guard lock{fault_mutex_};
  for (Fault& fault : faults) {
    if (fault.operation != operation || path.find(fault.path_part) == std::string::npos) continue;
    if (fault.after > 0) {
      --fault.after;
    } else if (fault.times > 0) {
      if (fault.times != kForever) --fault.times;
      return fault;
    }
  }
  return std::nullopt;
}

bool ForgetfulDisk::State::has_power(Operation operation) {
  const bool only_looks = operation == Operation::kOpen || operation == Operation::kRead ||
                          operation == Operation::kMap || operation == Operation::kList ||
                          operation == Operation::kSpace;
  if (!power_left || only_looks) return true;
  if (*power_left > 0) {
    --*power_left;
    return true;
  }
  mounts.back()->cut_off();
  return false;
}

void ForgetfulDisk::State::change(Change links) {
  for (const Link& link : links) {
    if (link.target)
      link.directory->entries[link.name] = link.target;
    else
      link.directory->entries.erase(link.name);
    link.directory->modified_ms = now_ms();
  }
  pending.push_back(std::move(links));
}

void ForgetfulDisk::State::make_names_durable(const std::set<NodePtr>& directories) {
  std::erase_if(pending, [&](const Change& change) {
    const bool touched = std::ranges::any_of(
        change, [&](const Link& link) { return directories.contains(link.directory); });
    if (touched)
      for (const Link& link : change) link.apply_durably();
    return touched;
  });
}

/// The unsynced changes of names that reached the disk before the crash: none, all up to some
/// moment, or, as POSIX allows, any of them.
std::vector<Change> ForgetfulDisk::State::survivors(std::mt19937_64* random) const {
  std::vector<Change> left;
  if (!random) return left;
  const std::uint64_t kind = (*random)() % 4;
  const std::size_t first_lost = (*random)() % (pending.size() + 1);
  for (std::size_t i = 0; i < pending.size(); ++i) {
    const bool coin = (*random)() % 2 == 0;
    if (kind == 1 || (kind == 2 && i < first_lost) || (kind == 3 && coin))
      left.push_back(pending[i]);
  }
  return left;
}

void ForgetfulDisk::State::replace_tree(NodePtr new_root, std::vector<Change> new_pending) {
  root = std::move(new_root);
  pending = std::move(new_pending);
  power_left.reset();
  mounts.back()->cut_off();
  mounts.push_back(std::make_shared<Mount>(*this));
}

void ForgetfulDisk::State::crash(std::mt19937_64* random) {
  std::lock_guard lock{mutex};
  for (const Change& change : survivors(random))
    for (const Link& link : change) link.apply_durably();
  // The old nodes stay with the processes that are cut off.
  TreeCopy copy{TreeCopy::Names::kDurable,
                [&](const ForgetfulContent& content) { return content.after_crash(random); }};
  replace_tree(copy(root), {});
}

// ---- Mount ----

namespace {

std::optional<Error> Mount::begin(std::unique_lock<std::mutex>& lock,
                                  std::optional<Operation> operation, const std::string& path) {
  lock = std::unique_lock{disk_.mutex};
  if (!connected()) {
    lock.unlock();
    return gone(path);
  }
  if (!operation) return std::nullopt;  // one that cannot be made to fail
  if (!disk_.has_power(*operation)) {
    lock.unlock();
    return gone(path);
  }
  if (auto fault = disk_.fault_for(*operation, path)) return injected(*fault, path);
  return std::nullopt;
}

Result<NodePtr> Mount::parent_of(const std::string& path, std::string& name) {
  std::vector<std::string> parts = split(path);
  if (parts.empty()) return Error{Errc::kInvalidArgument, path + ": not a file's path"};
  name = std::move(parts.back());
  parts.pop_back();
  NodePtr node = disk_.root;
  for (const std::string& part : parts) {
    const auto child = node->entries.find(part);
    if (child == node->entries.end() || !child->second->is_directory())
      return Error{Errc::kNotFound, path + ": no such directory"};
    node = child->second;
  }
  return node;
}

Result<std::unique_ptr<File>> Mount::open(const std::string& path, Open mode) {
  std::unique_lock<std::mutex> lock;
  if (auto error = begin(lock, Operation::kOpen, path)) return *std::move(error);
  std::string name;
  auto parent = parent_of(path, name);
  if (!parent) return parent.error();
  NodePtr node;
  if (const auto found = (*parent)->entries.find(name); found != (*parent)->entries.end()) {
    node = found->second;
  } else if (mode == Open::kCreate) {
    node = std::make_shared<Node>();
    node->content = std::make_unique<ForgetfulContent>();
    node->modified_ms = disk_.now_ms();
    disk_.change({{*parent, name, node}});
  } else {
    return Error{Errc::kNotFound, path + ": no such file"};
  }
  if (node->is_directory()) return Error{Errc::kIo, path + ": is a directory"};
  return std::unique_ptr<File>{
      std::make_unique<ForgetfulFile>(shared_from_this(), node, path, mode != Open::kReadOnly)};
}

Result<Ok> Mount::remove(const std::string& path) {
  std::unique_lock<std::mutex> lock;
  if (auto error = begin(lock, Operation::kRemove, path)) return *std::move(error);
  std::string name;
  auto parent = parent_of(path, name);
  if (!parent) return parent.error();
  const auto found = (*parent)->entries.find(name);
  if (found == (*parent)->entries.end()) return Error{Errc::kNotFound, path + ": no such file"};
  if (found->second->is_directory() && !found->second->entries.empty())
    return Error{Errc::kIo, path + ": directory not empty"};
  disk_.change({{*parent, name, nullptr}});
  return Ok{};
}

Result<Ok> Mount::rename(const std::string& from, const std::string& to) {
  std::unique_lock<std::mutex> lock;
  if (auto error = begin(lock, Operation::kRename, from)) return *std::move(error);
  std::string from_name, to_name;
  auto from_parent = parent_of(from, from_name);
  if (!from_parent) return from_parent.error();
  auto to_parent = parent_of(to, to_name);
  if (!to_parent) return to_parent.error();
  const auto found = (*from_parent)->entries.find(from_name);
  if (found == (*from_parent)->entries.end())
    return Error{Errc::kNotFound, from + ": no such file"};
  const NodePtr node = found->second;
  disk_.change({{*from_parent, from_name, nullptr}, {*to_parent, to_name, node}});
  return Ok{};
}

Result<Ok> Mount::create_directories(const std::string& path) {
  std::unique_lock<std::mutex> lock;
  if (auto error = begin(lock, Operation::kCreateDirectories, path)) return *std::move(error);
  NodePtr node = disk_.root;
  for (const std::string& part : split(path)) {
    const auto child = node->entries.find(part);
    NodePtr next = child == node->entries.end() ? nullptr : child->second;
    if (!next) {
      next = std::make_shared<Node>();
      next->modified_ms = disk_.now_ms();
      disk_.change({{node, part, next}});
    }
    if (!next->is_directory()) return Error{Errc::kExists, path + ": a file is in the way"};
    node = next;
  }
  return Ok{};
}

Result<Ok> Mount::sync_directory(const std::string& path) {
  std::unique_lock<std::mutex> lock;
  if (auto error = begin(lock, Operation::kSyncDirectory, path)) return *std::move(error);
  const NodePtr node = disk_.find(path);
  if (!node || !node->is_directory()) return Error{Errc::kNotFound, path + ": no such directory"};
  disk_.make_names_durable({node});
  return Ok{};
}

Result<Ok> Mount::sync_tree(const std::string& path) {
  std::unique_lock<std::mutex> lock;
  auto error = begin(lock, Operation::kSyncTree, path);
  if (!lock) return *std::move(error);
  const NodePtr top = disk_.find(path);
  if (!top || !top->is_directory()) return Error{Errc::kNotFound, path + ": no such directory"};
  std::set<NodePtr> directories;
  const std::function<void(const NodePtr&)> visit = [&](const NodePtr& node) {
    if (node->is_directory()) directories.insert(node);
    if (node->content) error ? node->content->fail_sync() : node->content->sync();
    for (const auto& [name, child] : node->entries) visit(child);
  };
  visit(top);
  if (error) return *std::move(error);
  disk_.make_names_durable(directories);
  return Ok{};
}

DirectoryEntry describe(const std::string& name, const Node& node) {
  return {.name = name,
          .is_directory = node.is_directory(),
          .size = node.content ? node.content->size() : 0,
          .modified_ms = node.modified_ms};
}

Result<std::vector<DirectoryEntry>> Mount::list(const std::string& path) {
  std::unique_lock<std::mutex> lock;
  if (auto error = begin(lock, Operation::kList, path)) return *std::move(error);
  const NodePtr node = disk_.find(path);
  if (!node || !node->is_directory()) return Error{Errc::kNotFound, path + ": no such directory"};
  std::vector<DirectoryEntry> entries;
  for (const auto& [name, child] : node->entries) entries.push_back(describe(name, *child));
  return entries;
}

Result<DirectoryEntry> Mount::stat(const std::string& path) {
  std::unique_lock<std::mutex> lock;
  if (auto error = begin(lock, std::nullopt, path)) return *std::move(error);
  const NodePtr node = disk_.find(path);
  if (!node) return Error{Errc::kNotFound, path + ": no such file or directory"};
  const auto parts = split(path);
  return describe(parts.empty() ? "/" : parts.back(), *node);
}

Result<DiskSpace> Mount::space(const std::string& path) {
  std::unique_lock<std::mutex> lock;
  if (auto error = begin(lock, Operation::kSpace, path)) return *std::move(error);
  if (!disk_.find(path)) return Error{Errc::kNotFound, path + ": no such file or directory"};
  const std::uint64_t used = disk_.used(), total = disk_.space_limit;
  return DiskSpace{.total = total, .available = used < total ? total - used : 0};
}

Result<std::unique_ptr<FileLock>> Mount::lock(const std::string& path) {
  if (auto file = open(path, Open::kCreate); !file) return file.error();
  std::unique_lock<std::mutex> lock;
  if (auto error = begin(lock, std::nullopt, path)) return *std::move(error);
  const NodePtr node = disk_.find(path);
  if (!node || node->locked) return Error{Errc::kExists, path + ": locked by another process"};
  node->locked = true;
  return std::unique_ptr<FileLock>{std::make_unique<ForgetfulLock>(shared_from_this(), node)};
}

Result<bool> Mount::is_locked(const std::string& path) {
  std::unique_lock<std::mutex> lock;
  if (auto error = begin(lock, std::nullopt, path)) return *std::move(error);
  const NodePtr node = disk_.find(path);
  return node && node->locked;
}

// ---- File ----

Result<Ok> ForgetfulFile::write_at(std::uint64_t offset, std::span<const Bytes> pieces) {
  Buffer all;
  for (const Bytes piece : pieces) append(all, piece);
  std::unique_lock<std::mutex> lock{mount_->disk().mutex};
  if (!mount_->connected() || !mount_->disk().has_power(Operation::kWrite))
    return Mount::gone(path_);
  if (!writable_) return Error{Errc::kIo, path_ + ": opened for reading only"};
  ForgetfulContent& content = *node_->content;
  if (auto fault = mount_->disk().fault_for(Operation::kWrite, path_)) {
    content.write_at(offset, as_bytes(all).first(std::min(fault->written, all.size())));
    return injected(*fault, path_);
  }
  if (!has_room(content.unreserved_pages(offset, all.size()))) {
    // As write(2) does: what fits is written, then comes the error.
    std::size_t fits = 0;
    while (fits < all.size()) {
      const std::size_t next =
          std::min<std::size_t>(all.size(), fits + kPage - (offset + fits) % kPage);
      if (!has_room(content.unreserved_pages(offset, next))) break;
      fits = next;
    }
    content.write_at(offset, as_bytes(all).first(fits));
    return Error{Errc::kNoSpace, path_ + ": no space left on device"};
  }
  content.write_at(offset, as_bytes(all));
  node_->modified_ms = mount_->disk().now_ms();
  return Ok{};
}

Result<Ok> ForgetfulFile::allocate(std::uint64_t offset, std::uint64_t length) {
  std::unique_lock<std::mutex> lock;
  if (auto error = begin_change(lock, Operation::kAllocate)) return *std::move(error);
  ForgetfulContent& content = *node_->content;
  if (!has_room(content.unreserved_pages(offset, length)))
    return Error{Errc::kNoSpace, path_ + ": no space left on device"};
  content.reserve(offset, length);  // the size stays as it is
  return Ok{};
}

Result<std::unique_ptr<Mapping>> ForgetfulFile::map(std::uint64_t offset, std::size_t length,
                                                    Access access) {
  std::unique_lock<std::mutex> lock;
  const bool writable = access == Access::kWrite;
  if (auto error = mount_->begin(lock, Operation::kMap, path_)) return *std::move(error);
  if (writable && !writable_) return Error{Errc::kIo, path_ + ": opened for reading only"};
  const std::uint64_t size = node_->content->size();
  if (length == 0 || offset % kPage != 0 || offset > size || length > size - offset)
    return Error{Errc::kInvalidArgument,
                 fmt::format("{}: cannot map {} bytes at {} of {}", path_, length, offset, size)};
  std::byte* at = node_->content->map(offset, length, writable);
  if (!at) return Error{Errc::kIo, path_ + ": mmap refused"};
  return std::unique_ptr<Mapping>{
      std::make_unique<ForgetfulMapping>(mount_, node_, path_, MutableBytes{at, length}, offset)};
}

/// Every file is a descriptor of this process: take as many as allowed.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

// ---- ForgetfulDisk ----

ForgetfulDisk::ForgetfulDisk(std::function<std::int64_t()> wall_ms)
    : ForgetfulDisk{std::make_shared<State>()} {
  state_->wall_ms = std::move(wall_ms);
}

ForgetfulDisk::ForgetfulDisk(std::shared_ptr<State> state) : state_{std::move(state)} {
  static const bool raised = (raise_descriptor_limit(), true);
  (void)raised;
  state_->mounts.push_back(std::make_shared<Mount>(*state_));
}

ForgetfulDisk::~ForgetfulDisk() {
  std::lock_guard lock{state_->mutex};
  state_->mounts.back()->cut_off();
}

FileSystem& ForgetfulDisk::files() {
  std::lock_guard lock{state_->mutex};
  return *state_->mounts.back();
}

void ForgetfulDisk::kill_process() {
  std::lock_guard lock{state_->mutex};
  TreeCopy copy{TreeCopy::Names::kAll,
                [](const ForgetfulContent& content) { return content.after_kill(); }};
  NodePtr root = copy(state_->root);
  state_->replace_tree(std::move(root), copy(state_->pending));
}

void ForgetfulDisk::lose_power_after(std::uint64_t operations) {
  std::lock_guard lock{state_->mutex};
  state_->power_left = operations;
}

void ForgetfulDisk::crash() {
  state_->crash(nullptr);
}

void ForgetfulDisk::crash(std::uint64_t seed) {
  std::mt19937_64 random{seed};
  state_->crash(&random);
}

std::unique_ptr<ForgetfulDisk> ForgetfulDisk::clone() const {
  std::lock_guard lock{state_->mutex};
  auto same = std::make_shared<State>();
  TreeCopy copy{TreeCopy::Names::kAll,
                [](const ForgetfulContent& content) { return content.after_kill(); }};
  same->root = copy(state_->root);
  same->pending = copy(state_->pending);
  same->wall_ms = state_->wall_ms;
  same->space_limit = state_->space_limit;
  return std::unique_ptr<ForgetfulDisk>{new ForgetfulDisk{std::move(same)}};
}

void ForgetfulDisk::inject(Fault fault) {
  std::lock_guard lock{state_->fault_mutex_};
  state_->faults.push_back(std::move(fault));
  state_->any_fault.store(true, std::memory_order_release);
}

void ForgetfulDisk::clear_faults() {
  std::lock_guard lock{state_->fault_mutex_};
  state_->faults.clear();
  state_->any_fault.store(false, std::memory_order_release);
}

std::uint64_t ForgetfulDisk::count(Operation operation) const {
  return state_->counts[static_cast<std::size_t>(operation)].load(std::memory_order_relaxed);
}

Result<Ok> ForgetfulDisk::flip_bit(const std::string& path, std::uint64_t bit) {
  return flip(path, bit, true);
}
Result<Ok> ForgetfulDisk::misread_bit(const std::string& path, std::uint64_t bit) {
  return flip(path, bit, false);
}

Result<Ok> ForgetfulDisk::flip(const std::string& path, std::uint64_t bit, bool on_disk) {
  std::lock_guard lock{state_->mutex};
  const NodePtr node = state_->find(path);
  if (!node || node->is_directory()) return Error{Errc::kNotFound, path + ": no such file"};
  if (bit / 8 >= node->content->size())
    return Error{Errc::kInvalidArgument, path + ": the bit is behind the end"};
  node->content->flip(bit, on_disk);
  return Ok{};
}

void ForgetfulDisk::set_modified_ms(const std::string& path, std::int64_t modified_ms) {
  std::lock_guard lock{state_->mutex};
  if (const NodePtr node = state_->find(path)) node->modified_ms = modified_ms;
}

void ForgetfulDisk::limit_space(std::uint64_t bytes) {
  std::lock_guard lock{state_->mutex};
  state_->space_limit = bytes;
}

std::uint64_t ForgetfulDisk::used_space() const {
  std::lock_guard lock{state_->mutex};
  return state_->used();
}

std::vector<std::string> ForgetfulDisk::written_without_reservation() const {
  std::lock_guard lock{state_->mutex};
  std::vector<std::string> found;
  const std::function<void(const Node&, const std::string&)> look = [&](const Node& node,
                                                                        const std::string& path) {
    if (node.content && node.content->written_without_reservation()) found.push_back(path);
    for (const auto& [name, child] : node.entries) look(*child, path + "/" + name);
  };
  look(*state_->root, "");
  return found;
}

void ForgetfulDisk::pretend_resident(bool resident) {
  state_->resident.store(resident);
}

Result<Buffer> ForgetfulDisk::durable_content(const std::string& path) const {
  std::lock_guard lock{state_->mutex};
  NodePtr node = state_->root;
  for (const std::string& part : split(path)) {
    const auto child = node->durable_entries.find(part);
    if (child == node->durable_entries.end())
      return Error{Errc::kNotFound, path + ": would not survive"};
    node = child->second;
  }
  if (node->is_directory()) return Error{Errc::kInvalidArgument, path + ": is a directory"};
  return node->content->durable();
}

}  // namespace apogee::testing
