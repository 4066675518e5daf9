#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/histogram.h"
#include "broker/context.h"
#include "broker/sending.h"
#include "protocol/headers.h"
#include "remoting/processors.h"

/// Transactional messages (TransactionalMessageServiceImpl, EndTransactionProcessor).
///
/// A half message waits in RMQ_SYS_TRANS_HALF_TOPIC, where no consumer sees it. It ends by a commit
/// (the message goes to its real topic), a rollback, or after too many questions (it goes to
/// TRANS_CHECK_MAX_TIME_TOPIC); each end is a record "<queue offset>," in
/// RMQ_SYS_TRANS_OP_HALF_TOPIC, stored right behind what the end brings about. A half that is still
/// open when it is old is asked about: a copy of it with one more TRANSACTION_CHECK_TIMES is
/// stored, then the end of the one before, and a producer of its group gets
/// CHECK_TRANSACTION_STATE.
///
/// What is open is a fold over the two topics from the committed offsets of CID_RMQ_SYS_TRANS on,
/// so a restart needs nothing else, and each message is open or ended for itself: one that nobody
/// ends holds up no other. The committed offsets are such that Apache's broker goes on from them,
/// and this one from Apache's.
///
/// Invariant: a stored half is, at any time and across any crash, open, or its end is in the log.
/// A message can be committed twice only when a crash falls between an end's two records, or by
/// what Apache's broker left behind when it was killed.
///
/// Threads: end() and resume() on workers; run() on a worker, one at a time; the counts any.
/// start() and stop() by the owner.
namespace apogee::broker {

/// config/transactionMetrics: half messages that are open, by topic.
struct TransactionCounts {
  protocol::DataVersion data_version;
  std::map<std::string, protocol::TimingCount> transaction_count;
  using Self = TransactionCounts;
  static constexpr auto kFields =
      MemberList{protocol::Field{"dataVersion", &Self::data_version},
                 protocol::Field{"transactionCount", &Self::transaction_count}};
};

class Transactions {
 public:
  /// Finish latency: upper bounds of its classes, in s.
  static constexpr std::array<std::int64_t, 6> kLatencyBounds{5, 60, 600, 3'600, 43'200, 86'400};
  /// What became of the halves of one topic.
  struct OfTopic {
    std::int64_t open = 0, changed_ms = 0;
    std::int64_t commits = 0, rollbacks = 0;          // since the start
    ClassCounts<kLatencyBounds.size()> commit_after;  // s from being born to being committed
  };
  using Topics = std::map<std::string, OfTopic, std::less<>>;

  /// `counts_path`: config/transactionMetrics, for whoever reads it; what is open is a fold all the
  /// same.
  Transactions(Context& context, const SendSettings& sending, std::string counts_path);
  Transactions(const Transactions&) = delete;

  Result<Ok> load();
  void start();
  void stop();  ///< After return nobody is asked any more; the counts are on disk.

  /// END_TRANSACTION.
  remoting::Answer end(const protocol::EndTransactionRequest& request);
  /// RESUME_CHECK_HALF_MESSAGE: a message that was given up is a half again, asked about from the
  /// beginning.
  remoting::Answer resume(const protocol::ResumeCheckHalfMessageRequest& request);

  /// Reads what is new in both topics and commits how far it got.
  void follow();
  /// follow(), then asks about what is old enough; how many were asked about or given up.
  std::size_t check();

  std::size_t open() const;
  Topics topics() const;  ///< By real topic; those the file knows too.

 private:
  /// Who is about to store something about a half that nobody else may store meanwhile.
  enum class By : std::uint8_t { kNobody, kEnd, kQuestion };
  struct Half {
    std::int64_t due;  // Unix ms from which on it may be asked about
    OfTopic* topic;    // of the real one, in topics_
    By claimed = By::kNobody;
  };
  /// Where a half is now that the producer knows by an earlier offset. `by_itself`: the half says
  /// so (Apache puts halves back during their immunity), and an end of either offset ends it.
  struct Present {
    std::int64_t offset;
    bool by_itself;
  };
  /// Offsets a producer may know a half by: of its sending, and of the question before the last.
  struct Earlier {
    std::int64_t first, last;
  };
  /// One that was given up. Its producer may still commit it, and is right to think it delivered.
  struct GivenUp {
    std::int64_t present;
    Earlier known;
  };
  struct Queue {
    std::int64_t next_half = -1, next_op = -1;         // of the next record to read; -1: not begun
    std::map<std::int64_t, Half> open;                 // by queue offset
    std::set<std::int64_t> ending_unread;              // ends of halves that are not read yet
    std::unordered_map<std::int64_t, Present> moved;   // by earlier offset
    std::unordered_map<std::int64_t, Earlier> before;  // by present offset
    std::deque<std::pair<std::int64_t, std::int64_t>> ops;  // offset, highest half it ends
    std::deque<GivenUp> given_up;                           // since the start, the last ones
  };
  /// A half that an end may be stored for, by nobody else at the same time.
  struct Claim {
    std::int32_t queue_id;
    std::int64_t offset;  // present one
  };
  struct Question;

  void begin(std::int32_t id, Queue& queue);
  void add(Queue& queue, const protocol::Message& half);
  void count(OfTopic& topic, std::int64_t difference);
  void persist();
  void remove(Queue& queue, std::int64_t offset);
  void apply_op(Queue& queue, const protocol::Message& op);
  void commit_offsets(std::int32_t id, Queue& queue);
  Result<std::optional<Claim>> claim(std::int32_t id, std::int64_t offset, By by);
  void settle(const Claim& claim, bool ended);
  void settle_locked(Queue& queue, std::int64_t offset, bool ended);
  void move(const Claim& claim, std::int64_t to);
  std::size_t ask_about_old(std::int32_t id);
  std::size_t ask_round(std::int32_t id, std::span<const std::int64_t> due);
  GivenUp given_up(const Claim& claim);
  void keep_given_up(std::int32_t id, const GivenUp& half);
  std::optional<GivenUp> take_given_up(std::int32_t id, std::int64_t offset);
  std::optional<Question> question_of(std::int32_t id, std::int64_t offset);
  void ask_producer(const Question& question);
  std::int64_t due_of(const protocol::Message& half) const;
  std::optional<remoting::Answer> refuse_end(const protocol::EndTransactionRequest& request,
                                             const protocol::Message& half) const;
  Buffer op_record(const Claim& claim) const;

  Context& context_;
  const SendSettings& sending_;
  const std::string counts_path_;
  std::mutex run_mutex_;  // one round at a time
  bool refused_ = false;  // guarded by run_mutex_: so that it is said once
  mutable std::mutex mutex_;
  std::condition_variable settled_;       // mutex_: a claim is over
  std::map<std::int32_t, Queue> queues_;  // guarded by mutex_
  Topics topics_;                         // guarded by mutex_; nothing is ever taken out
  protocol::DataVersion version_;         // guarded by mutex_; of topics_
  std::int64_t written_version_ = 0;      // of periodic_, and of stop() after it: its counter
  std::atomic<bool> stopping_{false};
  std::atomic<bool> caught_up_{false};  // with what was there at the start
  Clock::Instant next_check_{};         // of periodic_
  Clock::Instant next_persist_{};       // of periodic_
  std::unique_ptr<Periodic> periodic_;
};

void add_transactions(remoting::Processors& processors, Transactions& transactions);

}  // namespace apogee::broker
