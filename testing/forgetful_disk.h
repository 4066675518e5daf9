#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"

/// A disk in memory that forgets, at a crash, what was not synced: bytes that no File::sync() or
/// Mapping::sync() covered, and names that no sync_directory() of their directory covered. Stricter
/// than most real file systems: syncing a file does not save its name, syncing a directory does not
/// save the directory's own name in its parent, and after a failed sync the bytes it was to save
/// count as clean (they may be lost however often sync is called again, as on Linux).
///
/// Sparse files cost what was touched; mappings are real shared mappings, so that views follow
/// later writes and writing to a read-only view faults.
///
/// Threads: everything from any thread. crash() and kill_process() may come while a store is
/// running: from then on all that it holds (the FileSystem, files, mappings, locks) is cut off,
/// sees errors and cannot touch the disk any more. The disk outlives everything opened on it.
namespace apogee::testing {

class ForgetfulDisk {
 public:
  struct State;
  /// `wall_ms` stamps modification times; absent: 0.
  explicit ForgetfulDisk(std::function<std::int64_t()> wall_ms = {});
  ~ForgetfulDisk();
  ForgetfulDisk(const ForgetfulDisk&) = delete;

  /// The file system as a process started now sees it. The reference stays valid, but is cut off at
  /// the next crash() or kill_process(): ask again then.
  FileSystem& files();

  // What may happen.
  void kill_process();             ///< kill -9: what was written is there, locks are free.
  void crash();                    ///< Power fails: nothing survives that was not synced.
  void crash(std::uint64_t seed);  ///< Power fails: anything unsynced may survive or not, in any
                                   ///< order, in whole pages or torn ones. Same seed, same loss.
  /// Power fails in the middle of things: after that many operations that change something, whoever
  /// uses the disk is cut off. crash() then says what is left.
  void lose_power_after(std::uint64_t operations);
  std::unique_ptr<ForgetfulDisk> clone() const;  ///< A disk with the same content, as after a kill.

  // What goes wrong.
  enum class Operation {
    kOpen,
    kRead,
    kWrite,
    kSync,
    kResize,
    kAllocate,
    kMap,
    kMappingSync,
    kRename,
    kRemove,
    kCreateDirectories,
    kSyncDirectory,
    kSyncTree,
    kList,
    kSpace,
    kCount
  };
  static constexpr std::uint64_t kForever = ~std::uint64_t{0};
  struct Fault {
    Operation operation;
    std::uint64_t after = 0;  ///< That many matching operations succeed first...
    std::uint64_t times = 1;  ///< ... and that many then fail.
    Errc error = Errc::kIo;
    std::string path_part = {};  ///< Only operations on paths that contain this.
    std::size_t written = 0;     ///< kWrite: bytes that reach the file before the failure.
    bool flips = false;          ///< kRead: it succeeds, with one bit of what was read flipped.
  };
  void inject(Fault fault);
  void clear_faults();
  std::uint64_t count(Operation operation) const;  ///< Operations asked for so far.

  /// Flips bits of a file, in memory and on disk: bit `bit` of the file, counted from its start.
  Result<Ok> flip_bit(const std::string& path, std::uint64_t bit);
  /// The page was read wrongly into memory: readers and mappings see the bit flipped until power
  /// fails or it is written; the disk has it right.
  Result<Ok> misread_bit(const std::string& path, std::uint64_t bit);
  void set_modified_ms(const std::string& path, std::int64_t modified_ms);

  // Space. Pages count once written with write_at() or reserved with allocate().
  void limit_space(std::uint64_t bytes);
  std::uint64_t used_space() const;
  /// Files with pages that were written through a mapping without having been reserved: on a full
  /// real disk each is a SIGBUS.
  std::vector<std::string> written_without_reservation() const;

  /// Makes Mapping::resident() answer no: reads that would wait for the disk.
  void pretend_resident(bool resident);

  /// What a crash() right now would leave of the file; kNotFound when not even its name.
  Result<Buffer> durable_content(const std::string& path) const;

 private:
  std::shared_ptr<State> state_;
  explicit ForgetfulDisk(std::shared_ptr<State> state);
  Result<Ok> flip(const std::string& path, std::uint64_t bit, bool on_disk);
};

}  // namespace apogee::testing
