#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "base/file.h"

namespace apogee::testing {

/// Writes a store directory by the specification and without the store's own code, so that readers
/// are tested against something else than their writer. Keeps all in memory until write().
class StoreBuilder {
 public:
  /// Small files, so that a few messages fill several.
  explicit StoreBuilder(std::string root = "store", std::int64_t segment_bytes = 4'096,
                        std::int64_t queue_file_bytes = 200)
      : root_{std::move(root)},
        segment_bytes_{segment_bytes},
        queue_file_bytes_{queue_file_bytes} {}

  struct Put {
    std::string_view topic = "T";
    std::int32_t queue_id = 0;
    std::string_view body = "hello";
    std::string_view tags = {}, unique_key = {}, keys = {};
    std::int64_t store_timestamp = 1'700'000'000'000;
    std::int32_t sys_flag = 0;
  };
  /// Appends a record and its queue entry; returns the record's physical offset.
  std::int64_t put(const Put& message);
  /// The log as it stands, to be damaged.
  std::string& log() { return log_; }
  /// The units of a queue.
  std::string& queue(std::string_view topic, std::int32_t queue_id) {
    return queues_[{std::string{topic}, queue_id}];
  }
  std::int64_t log_end() const { return static_cast<std::int64_t>(log_.size()); }

  /// Writes commit log, consume queues, checkpoint and lock file; synced if `durable`.
  void write(FileSystem& files, bool durable = true);

  std::string segment_path(std::int64_t base) const;
  std::string queue_path(std::string_view topic, std::int32_t queue_id, std::int64_t base) const;

 private:
  void write_files(FileSystem& files, const std::string& directory, const std::string& content,
                   std::int64_t file_bytes, bool durable);

  const std::string root_;
  const std::int64_t segment_bytes_, queue_file_bytes_;
  std::string log_;
  std::map<std::pair<std::string, std::int32_t>, std::string> queues_;
  std::int64_t last_store_timestamp_ = 0;
};

}  // namespace apogee::testing
