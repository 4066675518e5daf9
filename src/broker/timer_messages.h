#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/histogram.h"
#include "base/in_flight.h"
#include "protocol/bodies.h"
#include "protocol/message.h"
#include "store/message_store.h"
#include "store/timer_checkpoint.h"
#include "store/timer_log.h"
#include "store/timer_wheel.h"

namespace apogee::broker {

/// What the timer does, for the tools and the metrics.
struct TimerSnapshot {
  /// Upper bounds of the classes of `delays`, in s.
  static constexpr std::array<std::int64_t, 6> kDelayBounds{60,     600,    3'600,
                                                            43'200, 86'400, 259'200};
  using Delays = ClassCounts<kDelayBounds.size()>;
  std::int64_t enqueue_lag = 0;         ///< Messages of the timer topic not taken in yet.
  std::int64_t enqueue_latency_ms = 0;  ///< How long the oldest of them has waited.
  std::int64_t dequeue_lag = 0;         ///< Messages that wait for their time.
  std::int64_t dequeue_latency_ms = 0;  ///< How far the slot to be delivered next lies back.
  double enqueued_per_second = 0, dequeued_per_second = 0;  ///< Of the last whole second.
  std::map<std::string, std::int64_t> timing;               ///< Waiting, by topic.
  std::map<std::string, std::int64_t> enqueued, dequeued;   ///< Since the start, by topic.
  /// Waiting messages due within the bound and not within the one before, by bound in s.
  std::vector<std::pair<std::int32_t, std::int64_t>> by_bound;
  /// From being born to the time asked for, of what was taken in, by topic.
  std::map<std::string, Delays> delays;
  Histogram lateness_ms;  ///< Of what was delivered, against the end of its slot.
};

/// Adds the timer's entries to the runtime info.
void add_timer_info(const TimerSnapshot& snapshot, std::map<std::string, std::string>& table);

/// Messages that wait in rmq_sys_wheel_timer for their time and then go to their real topic
/// (TimerMessageStore). A message is taken in from the timer topic: a unit in the timer log,
/// chained to the slot of its time. When the slot is over, its units are delivered, less those that
/// a recall in the same slot names. What is due in more than timerRollWindowSlot slots goes to an
/// earlier one and back through the timer topic from there.
///
/// What is acknowledged is delivered, at least once, never before its slot is over. The check point
/// says up to where the timer topic is taken in and which slot is next, and is written when all it
/// speaks of is on disk: delivered messages, units, slots, in this order. What lies behind it is
/// made again from the timer topic, so after a crash a second's worth may be delivered twice.
///
/// Threads: run() and flush() on the workers, each one at a time; the rest any. start() and stop()
/// by the owner, who is not on a loop or a worker; stop() waits for the disk.
class TimerMessages {
 public:
  /// `root` is the store's directory; `store` is open and outlives this.
  TimerMessages(Env& env, store::MessageStore& store, const std::string& root);
  ~TimerMessages();
  TimerMessages(const TimerMessages&) = delete;

  /// Recovers. kMalformed: files that are not a timer's of this configuration.
  Result<Ok> load();
  void start();
  void stop();  ///< After return nothing is delivered; the timer's files are on disk.

  /// Takes in what is new and delivers what is due; returns how many messages that were.
  std::size_t run();
  /// Writes the timer's files; `done` runs once that is over, however it ends.
  void flush(std::function<void()> done);

  std::int64_t waiting_at(std::int64_t out_ms) const;  ///< Messages in the slot of that time.
  store::TimerCheckpoint checkpoint() const;
  protocol::TimerMetrics metrics() const;
  TimerSnapshot snapshot() const;

 private:
  /// A message on its way to its real topic, or around once more.
  struct Delivery {
    std::string topic, real_topic;
    Buffer record;
    store::Append append;
    std::int64_t out_ms = 0;
    bool rolls = false;
  };
  using Deliveries = std::deque<Delivery>;  // entries are pointed at
  /// The slot being delivered.
  struct Due {
    std::vector<std::int64_t> units;  // positions in the timer log, oldest first
    std::size_t next = 0;
    std::set<std::string, std::less<>> recalled;
  };
  struct Rate {
    std::int64_t second = 0, count = 0;
    double last = 0;
    void add(std::int64_t now_ms, std::int64_t more);
  };
  struct Flush;

  // All under mutex_, but write().
  Result<Ok> recover();
  bool wheel_fits(std::int64_t position) const;
  std::int64_t read_tail(std::int64_t position, std::int64_t resume);
  Result<Ok> cut_slots(std::int64_t end);
  void rebuild_wheel(std::int64_t end);
  void insert(const store::TimerUnit& unit, std::int64_t position);
  void count_again();
  std::int64_t floor_now() const;
  std::int64_t first_open_slot() const {
    return due_ ? read_time_ms_ + precision_ms_ : read_time_ms_;
  }
  std::int64_t last_slot() const;
  std::size_t take_in_new();
  std::size_t give_out();
  void look_ahead();
  std::size_t enqueue_some();
  bool recalls_may_wait() const;
  bool take_in(const protocol::Message& message, Deliveries& direct);
  bool add_unit(const protocol::Message& message, std::int64_t out_ms, std::string_view real_topic);
  std::size_t dequeue_some();
  bool open_slot();
  bool collect(const store::TimerSlot& slot);
  void collect_deliveries(Deliveries& deliveries);
  bool is_recalled(const protocol::Message& message, std::string_view real_topic) const;
  std::optional<Delivery> delivery_of(const protocol::Message& message, std::int64_t enqueue_ms,
                                      bool rolls) const;
  std::optional<protocol::Message> message_of(const store::TimerUnit& unit,
                                              store::RecordBytes& record) const;
  std::size_t append(Deliveries deliveries);
  void delivered(const Delivery& delivery);
  void count(std::string_view topic, std::int32_t difference);
  std::optional<Flush> begin_flush();
  Result<Ok> write(const Flush& flush);
  void end_flush(const Flush& flush, const Result<Ok>& written);

  Env& env_;
  store::MessageStore& store_;
  const std::string root_;
  const std::int64_t precision_ms_, window_slots_;
  std::atomic<bool> stopping_{false}, flushing_{false};
  std::unique_ptr<Periodic> running_, flush_;
  InFlight in_flight_;  // flushes

  mutable std::mutex mutex_;
  // guarded by mutex_ from here on
  std::unique_ptr<store::TimerWheel> wheel_;  // write_flush() beside the mutex
  store::TimerLog log_;
  store::TimerCheckpointFile checkpoint_file_;  // one flush at a time
  store::TimerCheckpoint checkpoint_;           // as it was written last
  std::int64_t read_time_ms_ = 0;               // the slot to be delivered next
  std::int64_t queue_offset_ = 0;               // of the timer topic
  std::int64_t open_until_ms_ = 0;              // slots before it may be opened
  /// What has to be taken in before later ones may. The end of the timer topic is known once the
  /// dispatcher has got to the log's.
  struct Horizon {
    std::int64_t over_ms, log_end;
    std::optional<std::int64_t> queue_end;
  };
  std::optional<Horizon> horizon_;
  bool unreadable_ = false;  // the timer topic, when it was last looked at
  /// After the log was lost: messages below this offset and due before this time are delivered.
  struct {
    std::int64_t queue_offset = 0, read_time_ms = 0;
  } known_;
  std::optional<Due> due_;
  Deliveries refused_;                      // by the store: tried again before all else
  bool failing_ = false;                    // so that it is said once
  bool changed_ = false;                    // since the last flush began
  std::atomic<bool> counts_behind_{false};  // timermetrics could not be written
  bool log_failing_ = false;
  bool broken_ = false;          // a sync failed: what is on disk stays as it is
  std::int64_t needed_end_ = 0;  // of the commit log: what units and deliveries stand for
  std::int64_t waiting_ = 0;     // messages in the wheel, less recalls
  protocol::TimerMetrics counts_;
  std::map<std::string, std::int64_t, std::less<>> enqueued_, dequeued_;
  std::map<std::string, TimerSnapshot::Delays, std::less<>> delays_;
  Rate enqueue_rate_, dequeue_rate_;
  Histogram lateness_ms_;
};

}  // namespace apogee::broker
