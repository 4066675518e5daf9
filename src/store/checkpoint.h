#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "base/env.h"

namespace apogee::store {

/// How far log, queues and index are known to be on disk: store times, in a file of 4096 bytes.
/// Recovery after a crash starts reading the log where these say, so they may lag behind the truth
/// but never run ahead of it. Threads: any; write() by one at a time.
class Checkpoint {
 public:
  static Result<std::unique_ptr<Checkpoint>> open(FileSystem& files, const std::string& path);

  std::atomic<std::int64_t> physical_timestamp{0}, queue_timestamp{0}, index_timestamp{0},
      master_flushed_offset{0}, confirm_offset{0};

  Result<Ok> write();
  /// StoreCheckpoint.getMinTimestamp: three seconds of margin.
  std::int64_t min_timestamp() const;

 private:
  explicit Checkpoint(std::unique_ptr<File> file) : file_{std::move(file)} {}
  const std::unique_ptr<File> file_;
};

}  // namespace apogee::store
