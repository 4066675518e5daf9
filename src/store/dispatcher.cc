#include "store/dispatcher.h"

#include <algorithm>
#include <charconv>

#include "base/thread_name.h"
#include "protocol/field.h"
#include "protocol/message.h"
#include "protocol/names.h"
#include "store/offset_texts.h"

namespace apogee::store {
namespace {
constexpr std::size_t kRoundBytes =
    4 << 20;  // of log per round: the most that arrives before readers are told
constexpr std::size_t kRoundRecords = 8'192;
}  // namespace

Dispatcher::Dispatcher(Env& env, const StoreConfig& config, CommitLog& log, ConsumeQueues& queues,
                       const DeletedTopics& deleted, Compaction& compaction, Index& index,
                       StoreEvents& events)
    : env_{env},
      config_{config},
      log_{log},
      queues_{queues},
      deleted_{deleted},
      compaction_{compaction},
      index_{index},
      events_{events} {}
Dispatcher::~Dispatcher() {
  stop();
}

void Dispatcher::start(std::int64_t position, std::function<std::int64_t()> limit) {
  position_ = position;
  limit_ = std::move(limit);
  thread_ = std::thread{[this] {
    name_this_thread("dispatch");
    run();
  }};
}

void Dispatcher::stop() {
  if (!thread_.joinable()) return;
  const auto deadline = env_.clock.now() + 5s;
  while (position() < limit_() && !stuck_ && env_.clock.now() < deadline) {
    wake();
    std::this_thread::yield();
  }
  {
    std::lock_guard lock{retry_mutex_};
    stopping_ = true;
  }
  retry_.notify_all();
  wake();
  thread_.join();
}

void Dispatcher::run() {
  for (;;) {
    // Before stopping_: stop() sets that first and then signals, so one of the two is seen.
    const std::uint32_t seen = signal_.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_acquire)) return;
    if (!round()) signal_.wait(seen, std::memory_order_acquire);
  }
}

/// What queues and index want of a record's properties, found in one pass over them.
struct Dispatcher::Wanted {
  std::string_view unique_key, keys;
  std::optional<std::string_view> tags, delay;

  explicit Wanted(std::string_view properties) {
    namespace property = protocol::property;
    protocol::for_each_property(properties, [&](std::string_view name, std::string_view value) {
      if (name == property::kUniqueKey)
        unique_key = value;
      else if (name == property::kTags)
        tags = value;
      else if (name == property::kKeys)
        keys = value;
      else if (name == property::kDelay)
        delay = value;
    });
  }
};

std::int64_t Dispatcher::tags_code(const protocol::Message& message, const Wanted& wanted) const {
  if (wanted.delay && message.topic == protocol::kScheduleTopic) {
    // The queue entry of a delayed message holds its delivery time
    // (CommitLog.checkMessageAndReturnSize).
    std::int32_t level = 0;
    std::from_chars(wanted.delay->data(), wanted.delay->data() + wanted.delay->size(), level);
    // Times of a store never go back. If its clock did, the message waits from now on.
    if (level > 0)
      return events_.deliver_time(level, std::min(message.store_timestamp, env_.clock.wall_ms()));
  }
  return protocol::tags_code(wanted.tags);
}

namespace {

/// How many queue offsets a record stands for (CommitLog.setBatchSizeIfNeeded).
std::int32_t messages_of(const protocol::Message& message) {
  std::int32_t number = 1;
  if ((message.sys_flag & protocol::sys_flag::kInnerBatch) != 0)
    if (const auto text = message.property(protocol::property::kInnerNum))
      if (!protocol::from_text(*text, number) || number < 1 || number > 32'767) number = 1;
  return number;
}

}  // namespace

void Dispatcher::take(const protocol::Message& message) {
  const Wanted wanted{message.properties};
  const std::int32_t type = message.sys_flag & protocol::sys_flag::kTransactionMask;
  if (type == 0 || type == protocol::sys_flag::kCommit) {
    const std::int64_t tags = tags_code(message, wanted);
    if (config_.queue_extension)
      bit_map_ = events_.filter_bit_map(message.topic, message.properties);
    if (!deleted_.covers(message.topic, message.physical_offset)) take_into_own(tags, message);
    if (config_.lmq && config_.multi_dispatch && may_name_lmqs(message.topic))
      take_into_lmqs(tags, message);
  }
  if (config_.index_enable) {
    index_.put({.topic = message.topic,
                .unique_key = wanted.unique_key,
                .keys = wanted.keys,
                .tags = wanted.tags.value_or(""),
                .physical_offset = message.physical_offset,
                .store_timestamp = message.store_timestamp,
                .sys_flag = message.sys_flag});
  }
  taken_timestamp_ = message.store_timestamp;
}

void Dispatcher::take_into_own(std::int64_t tags_code, const protocol::Message& message) {
  if (!last_queue_ || last_queue_->is_removed || last_queue_->queue_id() != message.queue_id ||
      last_queue_->topic() != message.topic)
    last_queue_ = queues_.find_or_create(message.topic, message.queue_id);
  if (!last_queue_->has_pending()) touched_.push_back(last_queue_);
  take_into(*last_queue_, message.queue_offset,
            last_queue_->kind() == QueueKind::kBatch ? messages_of(message) : 1, tags_code,
            message);
}

void Dispatcher::take_into(ConsumeQueue& queue, std::int64_t queue_offset, std::int32_t messages,
                           std::int64_t tags_code, const protocol::Message& message) {
  queue.put(queue_offset, {.physical_offset = message.physical_offset,
                           .size = message.size,
                           .tags_code = tags_code,
                           .queue_offset = queue_offset,
                           .messages = messages,
                           .store_timestamp = message.store_timestamp,
                           .bit_map = bit_map_});
  arrivals_.push_back({.topic = queue.topic(),
                       .queue_id = queue.queue_id(),
                       .queue_offset = queue_offset + messages - 1,
                       .tags_code = tags_code,
                       .store_timestamp = message.store_timestamp,
                       .physical_offset = message.physical_offset,
                       .size = message.size,
                       .record = {}});
}

/// The record goes into each LMQ at the offset it was given when it was stored, so that a log that
/// is read again makes the same queues again.
void Dispatcher::take_into_lmqs(std::int64_t tags_code, const protocol::Message& message) {
  for (const LmqPlace& place : lmq_places(message)) {
    if (deleted_.covers(place.name, message.physical_offset)) continue;
    const auto queue = queues_.find_or_create(place.name, 0);
    if (!queue->has_pending()) touched_.push_back(queue);
    take_into(*queue, place.offset, 1, tags_code, message);
  }
}

void Dispatcher::redispatch(const protocol::Message& message) {
  take(message);
  arrivals_.clear();
}

bool Dispatcher::has_pending() const {
  return std::ranges::any_of(touched_, [](const auto& queue) { return queue->has_pending(); });
}

Result<Ok> Dispatcher::write_pending() {
  auto written = write_touched();
  if (written) touched_.clear();
  return written;
}

Result<Ok> Dispatcher::write_touched() {
  for (const auto& queue : touched_) {
    if (queue->is_removed) continue;  // its files may be another's by now
    if (auto written = queue->write_pending(); !written) return written;
  }
  queues_.note_unsynced(touched_);
  last_timestamp_.store(taken_timestamp_, std::memory_order_release);
  return Ok{};
}

/// Without queue entries the messages cannot be read: waits for room on the disk, nothing is
/// skipped.
void Dispatcher::write_patiently(std::unique_lock<std::mutex>& still) {
  while (!stopping_) {
    auto written = write_touched();
    if (written) break;
    env_.log.error("consume queues cannot be written, trying again: {}", written.error().detail);
    stuck_ = true;
    still.unlock();  // a topic that is deleted makes room
    {
      std::unique_lock lock{retry_mutex_};
      retry_.wait_for(lock, 1s, [&] { return stopping_.load(); });
    }
    still.lock();
  }
  stuck_ = false;
}

/// One look at the log. False: nothing to do.
bool Dispatcher::round() {
  std::int64_t position = position_.load(std::memory_order_relaxed);
  const std::int64_t limit = limit_();
  if (position >= limit) return false;
  position = std::max(position, log_.min_offset());
  const auto segment = log_.segment_of(position);
  if (!segment) return false;
  const Bytes bytes = segment->read(static_cast<std::size_t>(position - segment->base()),
                                    static_cast<std::size_t>(limit - position));
  arrivals_.clear();
  auto still = queues_.hold_still();
  std::size_t at = 0;
  while (at < bytes.size() && at < kRoundBytes && arrivals_.size() < kRoundRecords) {
    const protocol::RecordCheck check = protocol::check_record(bytes.subspan(at), false);
    if (check.kind == protocol::RecordKind::kBlank) {
      at = segment->size() - static_cast<std::size_t>(position - segment->base());
      break;
    }
    if (check.kind == protocol::RecordKind::kBad) {
      // Never written like this: skip what it claims to be, or the rest of the segment
      // (DefaultMessageStore.ReputMessageService).
      env_.log.error("a damaged record in the log: file={} offset={} skipped={}", segment->path(),
                     position + static_cast<std::int64_t>(at),
                     check.size > 0 ? "the record" : "the rest of the file");
      at = check.size > 0 ? at + static_cast<std::size_t>(check.size) : bytes.size();
      continue;
    }
    const std::size_t before = arrivals_.size();
    take(check.message);
    for (std::size_t i = before; i < arrivals_.size(); ++i)
      arrivals_[i].record = bytes.subspan(at, static_cast<std::size_t>(check.size));
    at += static_cast<std::size_t>(check.size);
  }
  write_patiently(still);
  for (const auto& queue : touched_)
    if (queue->is_compacted && !queue->is_removed) compaction_.follow(*queue);
  still.unlock();
  position_.store(position + static_cast<std::int64_t>(at), std::memory_order_release);
  if (!arrivals_.empty()) events_.on_arrivals(arrivals_);
  touched_.clear();  // now: arrivals name the topics of queues that may be deleted meanwhile
  return true;
}

}  // namespace apogee::store
