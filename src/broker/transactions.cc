#include "broker/transactions.h"

#include <algorithm>

#include "broker/put_record.h"
#include "broker/reading_again.h"
#include "broker/timing.h"
#include "protocol/codes.h"
#include "protocol/names.h"
#include "protocol/properties.h"
#include "protocol/table_file.h"

namespace apogee::broker {
namespace {

namespace code = protocol::response_code;
namespace property = protocol::property;
using protocol::EndTransactionRequest;
using protocol::Message;
using remoting::Answer;

constexpr auto kFollow = 1s;       // between two looks at the topics
constexpr auto kPersist = 10s;     // between two writes of the counts, if they changed
constexpr auto kQuestionMax = 3s;  // an end waits so long for a question to be stored
/// Asked about by one append.
constexpr std::size_t kRoundHalves = 256;
constexpr std::size_t kGivenUpMax = 10'000;  // of a queue, whose late commits are waited for
constexpr std::int64_t kHourMs = 3'600'000;

struct RecordsRead {
  std::int64_t next;  // behind the last one
  bool complete;      // false: the queue cannot be read now
};
/// Calls `visit` with each record from `from` on.
template <class Visit>
RecordsRead for_each_record(store::MessageStore& store, std::string_view topic, std::int32_t id,
                            std::int64_t from, const std::atomic<bool>& stopping, Visit visit) {
  while (!stopping) {
    const store::GetResult result =
        store.get({.topic = topic, .queue_id = id, .offset = from, .max_messages = 256});
    if (result.status == store::GetStatus::kOffsetTooSmall) {
      from = result.min_offset;  // retention took the records before
      continue;
    }
    if (result.next_offset <= from) return {from, result.status != store::GetStatus::kUnreadable};
    for (const Bytes each : result.records) {
      for (Bytes rest = each; !rest.empty();) {
        const auto record = protocol::decode_message(rest);
        if (!record) break;
        rest = rest.subspan(static_cast<std::size_t>(record->size));
        visit(*record);
      }
    }
    from = result.next_offset;
  }
  return {from, false};
}

std::optional<std::int64_t> number_of(std::optional<std::string_view> text) {
  std::int64_t number = 0;
  if (!text || !protocol::from_text(*text, number)) return std::nullopt;
  return number;
}

/// How a commit's append is answered (EndTransactionProcessor.sendFinalMessage).
Answer commit_answer(store::PutStatus status, Context& context) {
  if (is_stored(status)) return {};
  if (status == store::PutStatus::kPageCacheBusy)
    return Answer::error(code::kSystemError, "OS page cache busy, please try another machine");
  PutAnswer answer = put_answer(status, context);
  return Answer::error(answer.code, std::move(answer.remark));
}

}  // namespace

Transactions::Transactions(Context& context, const SendSettings& sending, std::string counts_path)
    : context_{context}, sending_{sending}, counts_path_{std::move(counts_path)} {}

/// Of the file only the names, times and version: the counts themselves are made anew.
Result<Ok> Transactions::load() {
  auto table = protocol::load_table<TransactionCounts>(context_.env, counts_path_);
  if (!table) return table.error();
  if (!*table) return Ok{};
  std::lock_guard lock{mutex_};
  for (const auto& [topic, count] : (*table)->transaction_count)
    topics_[topic].changed_ms = count.timestamp;
  version_ = (*table)->data_version;
  written_version_ = version_.counter;
  return Ok{};
}

void Transactions::start() {
  next_check_ = context_.env.clock.now() +
                std::chrono::milliseconds{context_.settings().transaction_check_interval_ms};
  periodic_ = std::make_unique<Periodic>(
      context_.env.clock, context_.env.workers, kFollow, kFollow, [this] {
        const Clock::Instant now = context_.env.clock.now();
        if (now < next_check_) {
          follow();
        } else {
          next_check_ =
              now + std::chrono::milliseconds{context_.settings().transaction_check_interval_ms};
          check();
        }
        if (now < next_persist_) return;
        next_persist_ = now + kPersist;
        persist();
      });
}

void Transactions::stop() {
  stopping_ = true;
  periodic_.reset();
  persist();
}

void Transactions::persist() {
  TransactionCounts counts;
  {
    std::lock_guard lock{mutex_};
    if (version_.counter == written_version_) return;
    counts.data_version = version_;
    for (const auto& [name, topic] : topics_)
      counts.transaction_count[name] = {topic.open, topic.changed_ms};
  }
  const auto written =
      replace_file(context_.env.files, counts_path_, protocol::encode_body(counts));
  if (written)
    written_version_ = counts.data_version.counter;
  else
    context_.env.log.warn("transactionMetrics is not written: {}", written.error().detail);
}

std::size_t Transactions::open() const {
  std::lock_guard lock{mutex_};
  std::size_t count = 0;
  for (const auto& [id, queue] : queues_) count += queue.open.size();
  return count;
}

Transactions::Topics Transactions::topics() const {
  std::lock_guard lock{mutex_};
  return topics_;
}

// ---- The fold ----------------------------------------------------------------------------------

void Transactions::begin(std::int32_t id, Queue& queue) {
  const auto from = [&](std::string_view topic) {
    const std::int64_t committed =
        context_.offsets.find(protocol::kTransactionGroup, topic, id).value_or(0);
    // An offset beyond the end (the log lost its tail) would hide what comes next.
    return std::min(committed, context_.store.max_offset(topic, id));
  };
  queue.next_half = from(protocol::kHalfTopic);
  queue.next_op = from(protocol::kOpHalfTopic);
}

void Transactions::follow() {
  std::lock_guard one_at_a_time{run_mutex_};
  bool complete = true;
  for (const store::QueueInfo& each : context_.store.queues(protocol::kHalfTopic)) {
    const std::int32_t id = each.queue_id;
    std::int64_t next_half, next_op;
    {
      std::lock_guard lock{mutex_};
      Queue& queue = queues_[id];
      if (queue.next_half < 0) begin(id, queue);
      next_half = queue.next_half;
      next_op = queue.next_op;
    }
    // Halves first: an end always lies behind its half, so its half is known when it is read.
    const RecordsRead halves = for_each_record(context_.store, protocol::kHalfTopic, id, next_half,
                                               stopping_, [&](const Message& half) {
                                                 std::lock_guard lock{mutex_};
                                                 add(queues_[id], half);
                                               });
    // An end that is read before its half would be forgotten.
    RecordsRead ops{next_op, false};
    if (halves.complete)
      ops = for_each_record(context_.store, protocol::kOpHalfTopic, id, next_op, stopping_,
                            [&](const Message& op) {
                              std::lock_guard lock{mutex_};
                              apply_op(queues_[id], op);
                            });
    complete = complete && halves.complete && ops.complete;
    std::lock_guard lock{mutex_};
    Queue& queue = queues_[id];
    queue.next_half = std::max(queue.next_half, halves.next);
    queue.next_op = ops.next;
    commit_offsets(id, queue);
  }
  if (complete) caught_up_.store(true, std::memory_order_release);
}

/// Unix ms from which on a half may be asked about: transactionTimeOut, or the immunity it brings
/// along in seconds, after it was born. A producer whose clock is ahead is asked at once.
std::int64_t Transactions::due_of(const Message& half) const {
  std::int64_t immunity_ms = context_.settings().transaction_timeout_ms;
  if (const auto seconds = number_of(half.property(property::kCheckImmunity));
      seconds && *seconds >= 0)
    immunity_ms = std::min<std::int64_t>(*seconds, 1'000'000'000) * 1'000;
  const std::int64_t now = context_.env.clock.wall_ms();
  return half.born_timestamp > now ? now : half.born_timestamp + immunity_ms;
}

void Transactions::count(OfTopic& topic, std::int64_t difference) {
  topic.open += difference;
  topic.changed_ms = context_.env.clock.wall_ms();
  version_.next(topic.changed_ms);
}

void Transactions::add(Queue& queue, const Message& half) {
  const std::int64_t offset = half.queue_offset;
  if (offset < queue.next_half) return;
  queue.next_half = offset + 1;
  OfTopic& topic = topics_[std::string{half.property(property::kRealTopic).value_or("")}];
  queue.open[offset] = {.due = due_of(half),
                        .topic = &topic,
                        .claimed = queue.ending_unread.erase(offset) > 0 ? By::kEnd : By::kNobody};
  count(topic, 1);
  if (const auto earlier = number_of(half.property(property::kPreparedQueueOffset));
      earlier && *earlier < offset) {
    queue.moved[*earlier] = {offset, /*by_itself=*/true};
    queue.before[offset] = {*earlier, *earlier};
  }
}

void Transactions::remove(Queue& queue, std::int64_t offset) {
  if (const auto half = queue.open.find(offset); half != queue.open.end()) {
    count(*half->second.topic, -1);
    queue.open.erase(half);
  }
  if (const auto earlier = queue.before.find(offset); earlier != queue.before.end()) {
    queue.moved.erase(earlier->second.first);
    queue.moved.erase(earlier->second.last);
    queue.before.erase(earlier);
  }
}

void Transactions::apply_op(Queue& queue, const Message& op) {
  std::int64_t highest = -1;
  if (op.property(property::kTags) == "d") {
    for (std::string_view rest = as_text(op.body); !rest.empty();) {
      const std::size_t comma = std::min(rest.find(','), rest.size());
      std::int64_t offset = 0;
      if (protocol::from_text(rest.substr(0, comma), offset)) {
        highest = std::max(highest, offset);
        const auto moved = queue.moved.find(offset);
        if (moved != queue.moved.end() && moved->second.by_itself)
          remove(queue, moved->second.offset);
        remove(queue, offset);
      }
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
  }
  queue.ops.emplace_back(op.queue_offset, highest);
}

/// Everything before the first open half is settled, and so are the leading ends of nothing but
/// that.
void Transactions::commit_offsets(std::int32_t id, Queue& queue) {
  const std::int64_t half = queue.open.empty() ? queue.next_half : queue.open.begin()->first;
  while (!queue.ops.empty() && queue.ops.front().second < half) queue.ops.pop_front();
  const std::int64_t op = queue.ops.empty() ? queue.next_op : queue.ops.front().first;
  const auto commit = [&](std::string_view topic, std::int64_t offset) {
    if (context_.offsets.find(protocol::kTransactionGroup, topic, id) != offset)
      context_.offsets.commit(protocol::kTransactionGroup, topic, id, offset);
  };
  commit(protocol::kHalfTopic, half);
  commit(protocol::kOpHalfTopic, op);
}

// ---- Ends --------------------------------------------------------------------------------------

/// nullopt: it has ended, or somebody else is about to end it. An end that comes in the middle of a
/// question waits until the half stands at its new place; kBusy: the store takes its time over
/// that.
Result<std::optional<Transactions::Claim>> Transactions::claim(std::int32_t id, std::int64_t offset,
                                                               By by) {
  // What has ended before this start must be known: what is not read from here on is new.
  if (!caught_up_.load(std::memory_order_acquire)) follow();
  if (!caught_up_.load(std::memory_order_acquire))
    return Error{Errc::kBusy,
                 "the topics of transactions cannot be read now: end it again, or when asked"};
  std::unique_lock lock{mutex_};
  Queue& queue = queues_[id];
  if (queue.next_half < 0) begin(id, queue);
  const auto present = [&] {
    const auto moved = queue.moved.find(offset);
    return moved == queue.moved.end() ? offset : moved->second.offset;
  };
  const auto in_question = [&] {
    const auto half = queue.open.find(present());
    return half != queue.open.end() && half->second.claimed == By::kQuestion;
  };
  if (by == By::kEnd && !settled_.wait_for(lock, kQuestionMax, [&] { return !in_question(); }))
    return Error{Errc::kBusy,
                 "the store is slow to take a question about this transaction: end it again, or "
                 "when asked"};
  const std::int64_t at = present();
  const auto half = queue.open.find(at);
  if (half == queue.open.end()) {
    const bool is_new = at >= queue.next_half && queue.ending_unread.insert(at).second;
    return is_new ? std::optional{Claim{id, at}} : std::nullopt;
  }
  if (half->second.claimed != By::kNobody) return std::optional<Claim>{};
  half->second.claimed = by;
  return std::optional{Claim{id, at}};
}

/// The end of a claimed half is in the log, or could not be stored.
void Transactions::settle(const Claim& claim, bool ended) {
  std::lock_guard lock{mutex_};
  settle_locked(queues_[claim.queue_id], claim.offset, ended);
}

void Transactions::settle_locked(Queue& queue, std::int64_t offset, bool ended) {
  if (const auto half = queue.open.find(offset); half != queue.open.end()) {
    if (ended)
      remove(queue, offset);
    else
      half->second.claimed = By::kNobody;
  } else if (!ended) {
    queue.ending_unread.erase(offset);
  }  // else: read as one that is ending, and then its end
  settled_.notify_all();
}

/// A claimed half ends at its place because its copy is at `to`.
void Transactions::move(const Claim& claim, std::int64_t to) {
  std::lock_guard lock{mutex_};
  Queue& queue = queues_[claim.queue_id];
  const auto before = queue.before.find(claim.offset);
  const std::int64_t first = before == queue.before.end() ? claim.offset : before->second.first;
  settle_locked(queue, claim.offset, true);
  queue.moved[first] = queue.moved[claim.offset] = {to, /*by_itself=*/false};
  queue.before[to] = {first, claim.offset};
}

Buffer Transactions::op_record(const Claim& claim) const {
  const std::string body = std::to_string(claim.offset) + ",";
  Buffer properties, record;
  protocol::append_property(properties, property::kTags, "d");
  protocol::append_property(
      properties, property::kUniqueKey,
      fmt::format("{:016X}{:016X}", context_.env.random.next(), context_.env.random.next()));
  const Bytes host = as_bytes(sending_.store_host.address);
  (void)protocol::encode_message(record, {.queue_id = claim.queue_id,
                                          .born_timestamp = context_.env.clock.wall_ms(),
                                          .born_host = host,
                                          .born_port = sending_.store_host.port,
                                          .store_host = host,
                                          .store_port = sending_.store_host.port,
                                          .body = as_bytes(body),
                                          .topic = protocol::kOpHalfTopic,
                                          .properties = properties});
  return record;
}

/// After a power cut another half may stand at the place of one that was lost. Which of an end's
/// two ids is the message's unique key depends on the client; some tell neither, or an offset id,
/// which says no more than the place does.
static bool names_another(const EndTransactionRequest& request, const Message& half) {
  constexpr std::size_t kOffsetDigits = 16;
  const auto key = half.property(property::kUniqueKey);
  if (!key || request.message_id == *key || request.transaction_id == *key) return false;
  const std::string place =
      protocol::offset_message_id(half.store_host, half.store_port, request.commit_log_offset);
  const std::string_view store = std::string_view{place}.substr(0, place.size() - kOffsetDigits);
  const auto is_unique_key = [&](const std::optional<std::string>& id) {
    return id && !id->empty() && !(id->size() == place.size() && id->starts_with(store));
  };
  return is_unique_key(request.message_id) || is_unique_key(request.transaction_id);
}

/// EndTransactionProcessor.rejectCommitOrRollback and checkPrepareMessage.
std::optional<Answer> Transactions::refuse_end(const EndTransactionRequest& request,
                                               const Message& half) const {
  if (!request.from_transaction_check.value_or(false) && half.property(property::kCheckImmunity) &&
      half.born_timestamp <= context_.env.clock.wall_ms() &&
      context_.env.clock.wall_ms() > due_of(half))
    return Answer::error(code::kIllegalOperation,
                         "the transaction is over CHECK_IMMUNITY_TIME_IN_SECONDS old, wait until "
                         "it is asked about");
  if (half.property(property::kProducerGroup) != request.producer_group)
    return Answer::error(code::kSystemError, "The producer group wrong");
  if (half.queue_offset != request.tran_state_table_offset)
    return Answer::error(code::kSystemError, "The transaction state table offset wrong");
  if (names_another(request, half))
    return Answer::error(code::kSystemError,
                         "the half message at this place is another transaction's");
  return std::nullopt;
}

Answer Transactions::end(const EndTransactionRequest& request) {
  namespace flag = protocol::sys_flag;
  if (request.commit_or_rollback != flag::kCommit && request.commit_or_rollback != flag::kRollback)
    return {};  // not known yet: the half stays and is asked about
  const store::RecordBytes bytes = context_.store.record_at(request.commit_log_offset);
  const auto half = protocol::decode_message(bytes.bytes);
  if (!half || half->topic != protocol::kHalfTopic)
    return Answer::error(code::kSystemError, "Find prepared transaction message failed");
  if (auto refused = refuse_end(request, *half)) return *std::move(refused);

  const std::string_view real_topic = half->property(property::kRealTopic).value_or("");
  std::string topic{real_topic};
  std::int32_t queue_id = 0;
  if (topic.empty() ||
      !protocol::from_text(half->property(property::kRealQueueId).value_or("0"), queue_id))
    return Answer::error(code::kSystemError, "the half message has no real topic or queue");
  const bool commit = request.commit_or_rollback == flag::kCommit;
  Buffer properties;
  protocol::for_each_property(half->properties, [&](std::string_view name, std::string_view value) {
    if (name != property::kRealTopic && name != property::kRealQueueId)
      protocol::append_property(properties, name, value);
  });
  if (commit)  // one that is to be delivered later begins to wait now
    if (auto refused = put_off(topic, queue_id, properties, context_, sending_))
      return Answer::error(refused->code, std::move(refused->remark));
  const auto claim_made = claim(half->queue_id, request.tran_state_table_offset, By::kEnd);
  if (!claim_made) return Answer::error(code::kSystemBusy, claim_made.error().detail);
  const auto& claimed = *claim_made;
  const auto deliver = [&] {
    Message final = *half;
    final.topic = topic;
    final.queue_id = queue_id;
    final.sys_flag = (half->sys_flag & ~flag::kTransactionMask) | flag::kCommit;
    final.prepared_transaction_offset = request.commit_log_offset;
    final.properties = properties;
    const RecordPut put = put_record(context_.store, final);
    if (put) context_.stats.count_put(final.topic, 1, put.size);
    return put.status;
  };
  if (!claimed) {
    auto given_up = take_given_up(half->queue_id, request.tran_state_table_offset);
    // Else it has ended before: an end may come twice, its effect must not.
    if (!given_up || !commit) return {};
    const store::PutStatus status = deliver();
    if (!is_stored(status)) keep_given_up(half->queue_id, *given_up);
    return commit_answer(status, context_);
  }

  store::PutStatus status = commit ? deliver() : store::PutStatus::kOk;
  // Only what is stored has an end; without this record the half is open again after a restart, and
  // asked about.
  if (is_stored(status)) {
    Buffer op = op_record(*claimed);
    status = put_record(context_.store, protocol::kOpHalfTopic, claimed->queue_id, op).status;
  }
  settle(*claimed, is_stored(status));
  if (is_stored(status)) {
    std::lock_guard lock{mutex_};
    OfTopic& of_topic = topics_[std::string{real_topic}];
    ++(commit ? of_topic.commits : of_topic.rollbacks);
    if (commit)
      of_topic.commit_after.add((context_.env.clock.wall_ms() - half->born_timestamp) / 1'000,
                                kLatencyBounds);
  }
  return commit_answer(status, context_);
}

Transactions::GivenUp Transactions::given_up(const Claim& claim) {
  std::lock_guard lock{mutex_};
  const Queue& queue = queues_[claim.queue_id];
  const auto before = queue.before.find(claim.offset);
  const Earlier itself{claim.offset, claim.offset};
  return {claim.offset, before == queue.before.end() ? itself : before->second};
}

void Transactions::keep_given_up(std::int32_t id, const GivenUp& half) {
  std::lock_guard lock{mutex_};
  std::deque<GivenUp>& all = queues_[id].given_up;
  if (all.size() == kGivenUpMax) all.pop_front();
  all.push_back(half);
}

std::optional<Transactions::GivenUp> Transactions::take_given_up(std::int32_t id,
                                                                 std::int64_t offset) {
  std::lock_guard lock{mutex_};
  std::deque<GivenUp>& all = queues_[id].given_up;
  const auto found = std::ranges::find_if(all, [&](const GivenUp& each) {
    return offset == each.present || offset == each.known.first || offset == each.known.last;
  });
  if (found == all.end()) return std::nullopt;
  const GivenUp half = *found;
  all.erase(found);
  return half;
}

// ---- Questions ---------------------------------------------------------------------------------

/// A half on its way to being asked about (its renewed copy), or given up.
struct Transactions::Question {
  Claim claim;
  bool give_up = false;
  std::string topic;  // where `record` goes
  Buffer record, op;
  store::Append copy, ended;
};

std::size_t Transactions::check() {
  follow();
  if (!caught_up_.load(std::memory_order_acquire)) return 0;  // what is open is not known yet
  std::lock_guard one_at_a_time{run_mutex_};
  std::vector<std::int32_t> ids;
  {
    std::lock_guard lock{mutex_};
    for (const auto& [id, queue] : queues_) ids.push_back(id);
  }
  std::size_t asked = 0;
  for (const std::int32_t id : ids) asked += ask_about_old(id);
  return asked;
}

std::size_t Transactions::ask_about_old(std::int32_t id) {
  const std::int64_t now = context_.env.clock.wall_ms();
  std::vector<std::int64_t> due;
  {
    std::lock_guard lock{mutex_};
    for (const auto& [offset, half] : queues_[id].open)
      if (half.due <= now && half.claimed == By::kNobody) due.push_back(offset);
  }
  std::size_t asked = 0;
  for (std::span<const std::int64_t> rest = due; !rest.empty() && !stopping_;) {
    const std::size_t count = std::min(rest.size(), kRoundHalves);
    const std::size_t done = ask_round(id, rest.first(count));
    if (done == 0) break;  // the store refuses: the next time
    asked += done;
    rest = rest.subspan(count);
  }
  return asked;
}

/// The renewed copy of a half, or the one that is given up. nullopt: it is gone, or ending.
std::optional<Transactions::Question> Transactions::question_of(std::int32_t id,
                                                                std::int64_t offset) {
  const auto claimed = *claim(id, offset, By::kQuestion);  // waits for nobody
  if (!claimed) return std::nullopt;
  const store::RecordBytes bytes =
      read_patiently([&] { return context_.store.record_at(protocol::kHalfTopic, id, offset); });
  if (bytes.unreadable) {
    settle(*claimed, false);  // the next round tries again
    return std::nullopt;
  }
  const auto half = protocol::decode_message(bytes.bytes);
  if (!half) {
    context_.env.log.warn("a half message is gone from the log: queue={} offset={}", id, offset);
    settle(*claimed, true);
    return std::nullopt;
  }
  const std::int64_t age_ms = context_.env.clock.wall_ms() - half->born_timestamp;
  const std::int64_t times = number_of(half->property(property::kCheckTimes)).value_or(0);
  Question question{.claim = *claimed,
                    .give_up = times >= context_.settings().transaction_check_max ||
                               age_ms > context_.store.config().reserved_hours * kHourMs,
                    .topic = std::string{protocol::kHalfTopic},
                    .record = {},
                    .op = op_record(*claimed),
                    .copy = {},
                    .ended = {}};
  protocol::Properties properties{half->properties};
  if (question.give_up)
    question.topic = protocol::kTransCheckMaxTopic;
  else
    properties.set(property::kCheckTimes, std::to_string(times + 1));
  const Buffer text = properties.encode();
  Message copy = *half;
  copy.topic = question.topic;
  copy.queue_id = question.give_up ? 0 : id;
  copy.properties = text;
  if (!protocol::encode_message(question.record, copy)) {
    // One more number does not fit into its properties: it is given up as it is.
    question.give_up = true;
    question.record.clear();
    question.topic = copy.topic = protocol::kTransCheckMaxTopic;
    copy.queue_id = 0;
    copy.properties = half->properties;
    (void)protocol::encode_message(question.record, copy);
  }
  if (question.give_up)
    context_.env.log.error(
        "a half message is given up, it is in {} now: topic={} group={} asked={} age_ms={}",
        protocol::kTransCheckMaxTopic, half->property(property::kRealTopic).value_or(""),
        half->property(property::kProducerGroup).value_or(""), times, age_ms);
  return question;
}

/// How many were asked about or given up; 0: the store refused all.
std::size_t Transactions::ask_round(std::int32_t id, std::span<const std::int64_t> due) {
  std::deque<Question> questions;  // entries are pointed at
  std::vector<store::Append*> copies, ends;
  for (const std::int64_t offset : due) {
    auto made = question_of(id, offset);
    if (!made) continue;
    if (made->give_up && !context_.topics.need(protocol::kTransCheckMaxTopic, 1)) {
      settle(made->claim, false);
      continue;
    }
    Question& question = questions.emplace_back(*std::move(made));
    question.copy = append_of(question.topic, question.give_up ? 0 : id, question.record);
    copies.push_back(&question.copy);
  }
  if (copies.empty()) return due.size();
  context_.store.append(copies);
  for (Question& question : questions) {
    if (!is_stored(question.copy.status)) continue;
    question.ended = append_of(protocol::kOpHalfTopic, id, question.op);
    ends.push_back(&question.ended);
  }
  if (!ends.empty()) context_.store.append(ends);
  std::size_t done = 0;
  for (const Question& question : questions) {
    const bool stored = is_stored(question.copy.status);
    done += stored;
    if (!stored || question.give_up) {
      if (stored) keep_given_up(id, given_up(question.claim));
      settle(question.claim, stored);
      continue;
    }
    move(question.claim, question.copy.queue_offset);
    ask_producer(question);
  }
  const bool all = done == questions.size();
  if (!all && !std::exchange(refused_, true))
    context_.env.log.warn("half messages are not asked about, the store refuses them: status={}",
                          name_of(questions.back().copy.status));
  if (all) refused_ = false;
  return done;
}

/// To any producer of the group; nobody there: it is asked about again at the next check. With
/// SYNC_FLUSH not before the half's new place is on disk: after a power cut it could be another's,
/// and the answer names it by its place.
void Transactions::ask_producer(const Question& question) {
  const auto half = protocol::decode_message(as_bytes(question.record));
  const auto peer =
      context_.producers.any_of(half->property(property::kProducerGroup).value_or(""));
  if (!peer) return;
  const std::string id = protocol::offset_message_id(half->store_host, half->store_port,
                                                     question.copy.physical_offset);
  const std::string unique{half->property(property::kUniqueKey).value_or("")};
  Message real = *half;
  real.topic = half->property(property::kRealTopic).value_or("");
  protocol::from_text(half->property(property::kRealQueueId).value_or("0"), real.queue_id);
  real.queue_offset = question.copy.queue_offset;
  real.physical_offset = question.copy.physical_offset;
  real.store_timestamp = question.copy.store_timestamp;
  Buffer body;
  if (!protocol::encode_message(body, real)) return;
  protocol::CheckTransactionStateRequest header{
      .topic = std::string{protocol::kHalfTopic},
      .tran_state_table_offset = question.copy.queue_offset,
      .commit_log_offset = question.copy.physical_offset,
      .message_id = unique,
      .transaction_id = unique,
      .offset_message_id = id,
      .broker_name = context_.settings().broker_name};
  const auto ask = [peer, header = std::move(header), body = std::move(body)] {
    peer->send_oneway(header.kCode, header, as_bytes(body));
  };
  if (context_.store.config().flush_disk_type != store::FlushDiskType::kSyncFlush) return ask();
  context_.store.when_durable(
      question.copy.physical_offset + static_cast<std::int64_t>(question.record.size()),
      [ask](store::PutStatus status) {
        if (status == store::PutStatus::kOk) ask();
      });
}

/// AdminBrokerProcessor.resumeCheckHalfMessage.
Answer Transactions::resume(const protocol::ResumeCheckHalfMessageRequest& request) {
  Answer failed =
      Answer::error(code::kSystemError, "Putting message back to RMQ_SYS_TRANS_HALF_TOPIC failed.");
  const auto id = protocol::parse_offset_message_id(request.message_id);
  if (!id) return Answer::error(code::kSystemError, id.error().detail);
  const store::RecordBytes bytes = context_.store.record_at(id->physical_offset);
  const auto given_up = protocol::decode_message(bytes.bytes);
  if (!given_up || !given_up->property(property::kTransactionPrepared)) return failed;
  protocol::Properties properties{given_up->properties};
  properties.set(property::kCheckTimes, "0");
  const Buffer text = properties.encode();
  Message half = *given_up;
  half.topic = protocol::kHalfTopic;
  half.queue_id = 0;
  half.properties = text;
  return put_record(context_.store, half) ? Answer{} : failed;
}

void add_transactions(remoting::Processors& processors, Transactions& transactions) {
  processors.on_worker<EndTransactionRequest>(
      [&](const EndTransactionRequest& request, const remoting::OwnedCommand&,
          const remoting::PeerPtr&) { return transactions.end(request); });
  processors.on_worker<protocol::ResumeCheckHalfMessageRequest>(
      [&](const protocol::ResumeCheckHalfMessageRequest& request, const remoting::OwnedCommand&,
          const remoting::PeerPtr&) { return transactions.resume(request); });
}

}  // namespace apogee::broker
