#pragma once

#include <atomic>
#include <map>
#include <shared_mutex>
#include <string>
#include <string_view>

#include "base/env.h"

namespace apogee::store {

/// The log keeps the records of a topic that is deleted: up to where they are the deleted one's,
/// and not those of a topic of that name that was made later. On disk, so that whoever reads the
/// log again knows as well; Java's broker does not look at the file.
///
/// Threads: covers() any; the others one at a time.
class DeletedTopics {
 public:
  using Marks = std::map<std::string, std::int64_t, std::less<>>;

  static constexpr std::string_view kFile = "deletedTopics.json";  ///< Below config/.
  /// What a store's file says. kMalformed: it is damaged. Its .bak, which may have marks that are
  /// too high, counts only where a replacement was cut off.
  static Result<Marks> read(FileSystem& files, const std::string& root);

  DeletedTopics(Env& env, std::string root);

  /// A file that cannot be understood is told and counts as empty.
  Result<Ok> load();
  /// Recovery: the log ends here. What is stored next gets offsets that deleted topics had.
  Result<Ok> log_ends_at(std::int64_t end);
  /// The topic's records before `offset` are of a deleted one. On disk after return; after an error
  /// nothing is marked. Marks before `log_begin` are forgotten.
  Result<Ok> mark(std::string_view topic, std::int64_t offset, std::int64_t log_begin);

  bool covers(std::string_view topic, std::int64_t physical_offset) const {
    // What is stored now lies behind all marks.
    return physical_offset < last_.load(std::memory_order_acquire) &&
           physical_offset < mark_of(topic);
  }
  std::int64_t mark_of(std::string_view topic) const;                          ///< 0: none.
  std::int64_t last() const { return last_.load(std::memory_order_acquire); }  ///< The last mark.

 private:
  Result<Ok> save(const Marks& marks);
  void publish(Marks marks);

  Env& env_;
  const std::string root_, path_;
  mutable std::shared_mutex mutex_;
  Marks marks_;  // guarded by mutex_
  std::atomic<std::int64_t> last_{0};
};

}  // namespace apogee::store
