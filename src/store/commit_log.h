#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <shared_mutex>
#include <thread>

#include "base/env.h"
#include "base/patient_mutex.h"
#include "store/consume_queue.h"
#include "store/message_store.h"
#include "store/offset_texts.h"
#include "store/refusals.h"
#include "store/segment.h"

namespace apogee::store {

/// The log: segments one after the other, records that never span two of them.
///
/// Threads. append(): any, under the append lock, which is held for giving out offsets and one
/// write a segment. The prepare thread makes the next segment before it is needed. Reads: any
/// thread. load(), set_end(), start(), stop(): the store's owner, one after the other.
class CommitLog {
 public:
  CommitLog(Env& env, const StoreConfig& config, std::string directory, StoreEvents& events);
  ~CommitLog();

  /// Opens the segments; one that is short or missing reads as zeros. kMalformed: a file that
  /// cannot be a segment of this configuration, or too many are missing.
  Result<Ok> load();
  /// After recovery: the log ends here. What is behind becomes zeros; later segments are removed.
  Result<Ok> set_end(std::int64_t offset);
  void start();
  void
  stop();  ///< Ends the prepare thread and removes prepared segments that were never written to.

  struct Slot {
    Append* append = nullptr;
    ConsumeQueue* queue = nullptr;  ///< Whose next offset is given out.
    std::vector<OffsetText> texts;  ///< Numbers in the only record.
  };
  /// Waits `patience` for the append lock; then all of the batch is kPageCacheBusy.
  void append(std::span<Slot> batch, Clock::Duration patience);

  /// Does `act` while nothing is appended. False: others held the append lock for all of
  /// `patience`.
  bool between_appends(Clock::Duration patience, const std::function<void()>& act);

  std::int64_t min_offset() const;  ///< -1: no segment.
  std::int64_t end_offset() const { return end_.load(std::memory_order_acquire); }
  std::int64_t last_store_timestamp() const {
    return last_timestamp_.load(std::memory_order_relaxed);
  }
  /// Recovery: the time of the last record; no later one gets an earlier time.
  void set_last_store_timestamp(std::int64_t timestamp) { last_timestamp_.store(timestamp); }
  std::int64_t lock_held_ms() const;

  std::shared_ptr<Segment> segment_of(std::int64_t offset) const;  ///< nullptr: not in the log.
  std::vector<std::shared_ptr<Segment>> segments()
      const;                    ///< Written or loaded; not one that is only prepared.
  void read_ahead(bool ahead);  ///< dataReadAheadEnable has changed.
  Result<Ok> remove_first(std::int64_t base_offset);
  /// Frees up to kReleaseBytes of the removed segments' space. False: none is left that nobody
  /// reads. Like remove_first(), by one thread at a time.
  bool release_some();
  static constexpr std::size_t kReleaseBytes = 64 << 20;

 private:
  void append_locked(std::span<Slot> batch, Clock::Duration& write);
  static bool is_closed(const Slot& slot);
  void tell(const Result<Ok>& done);
  Result<std::shared_ptr<Segment>> open_segment(std::int64_t base);
  Result<Ok> open_last(std::int64_t base);
  Result<Ok> fill_gap(std::int64_t base);
  Result<Ok> remove_last(const std::string& path);
  Result<Ok> roll(std::shared_ptr<Segment>& current);
  void place(const Slot& slot, std::int64_t at);
  static void take_back(const Slot& slot);
  std::string path_of(std::int64_t base) const { return directory_ + "/" + segment_name(base); }
  void prepare();

  Env& env_;
  const StoreConfig& config_;
  const std::string directory_;
  const std::size_t segment_bytes_;
  StoreEvents& events_;

  PatientMutex append_mutex_;
  std::vector<Bytes> pieces_;  // append lock
  std::string blank_;          // append lock: the mark at the end of a segment being left
  Refusals refusals_;          // writes
  /// Append lock: a write to the last segment failed. What has reached its file, the mark of its
  /// end above all, may be what a power cut leaves there, in place of what was written over it:
  /// nothing is, and the next message goes to the next segment.
  bool spoiled_ = false;

  mutable std::shared_mutex segments_mutex_;
  std::deque<std::shared_ptr<Segment>> segments_;

  struct Removed {
    std::shared_ptr<Segment> segment;
    std::size_t bytes;  // still taken
  };
  std::deque<Removed> removed_;  // whoever removes

  std::atomic<std::int64_t> end_{0}, last_timestamp_{0};
  std::atomic<std::int64_t> lock_since_ms_{0};
  std::atomic<bool> read_ahead_;

  std::mutex prepare_mutex_;
  std::condition_variable prepare_wanted_;
  std::shared_ptr<Segment> prepared_;  // prepare lock
  std::int64_t prepare_base_ = -1;     // prepare lock: wanted and not there yet
  bool stopping_ = false;
  std::thread prepare_thread_;
};

}  // namespace apogee::store
