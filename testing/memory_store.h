#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/message.h"
#include "store/message_store.h"

namespace apogee::testing {

/// A store without threads and files, for tests of what is built on one: put() makes a message
/// readable and tells StoreEvents before it returns. Threads: any; events on the putting thread,
/// without the mutex.
class MemoryStore final : public store::MessageStore {
 public:
  explicit MemoryStore(Clock& clock, store::StoreEvents* events = nullptr)
      : clock_{clock}, events_{events} {}
  void set_events(store::StoreEvents* events) { events_ = events; }

  struct Put {
    std::string_view topic = "t";
    std::int32_t queue_id = 0;
    std::string_view body = "hello";
    std::string_view tags = {}, unique_key = {}, keys = {};
    std::vector<std::pair<std::string, std::string>> properties = {};
  };
  /// Its queue offset.
  std::int64_t put(const Put& message) {
    Buffer properties;
    if (!message.tags.empty()) protocol::append_property(properties, "TAGS", message.tags);
    if (!message.keys.empty()) protocol::append_property(properties, "KEYS", message.keys);
    if (!message.unique_key.empty())
      protocol::append_property(properties, "UNIQ_KEY", message.unique_key);
    for (const auto& [name, value] : message.properties)
      protocol::append_property(properties, name, value);
    static constexpr std::array<std::byte, 4> kHost{};
    Buffer record;
    (void)protocol::encode_message(record, {.queue_id = message.queue_id,
                                            .born_timestamp = clock_.wall_ms(),
                                            .born_host = kHost,
                                            .store_host = kHost,
                                            .body = as_bytes(message.body),
                                            .topic = message.topic,
                                            .properties = properties});
    store::Append append{
        .topic = message.topic,
        .queue_id = message.queue_id,
        .records = std::as_writable_bytes(std::span{record.data(), record.size()})};
    store::Append* batch[] = {&append};
    this->append(batch);
    return append.queue_offset;
  }
  /// The queue's messages below `offset` are gone, as after retention.
  void cut(std::string_view topic, std::int32_t queue_id, std::int64_t offset) {
    std::lock_guard lock{mutex_};
    queue(topic, queue_id).least = offset;
  }
  struct Place {
    std::string topic;
    std::int32_t queue_id = 0;
    std::int64_t offset = 0;
    bool is_in(std::string_view of, std::int32_t id) const { return topic == of && queue_id == id; }
  };
  bool unreadable = false;       ///< Its disk refuses to read.
  std::string unreadable_topic;  ///< Only this one; empty: all.
  Place gone;                    ///< record_at() does not find it.
  int misreads = 0;              ///< So many record_at() find nothing from now on.
  Place hidden_from;             ///< What get() does not see yet: it is not dispatched.
  std::function<void(const store::Append&)> before_append;
  std::function<void(store::QueueUnit&)> on_unit;        ///< Changes what queue_units() says.
  bool deletes = true;                                   ///< Topics; or its disk refuses.
  bool resident = true;                                  ///< What get() says about its records.
  store::PutStatus next_status = store::PutStatus::kOk;  ///< What append() answers.
  std::string refused_topic;                             ///< Only for this topic; empty: for all.

  void start() override {}
  void stop() override {}

  void append(std::span<store::Append* const> batch) override {
    for (store::Append* each : batch) {
      if (before_append) before_append(*each);
      append_one(*each);
    }
  }
  /// Keeps who waits for the disk until sync() when hold_durable is set.
  void when_durable(std::int64_t, std::function<void(store::PutStatus)> done) override {
    if (hold_durable)
      waiting_.push_back(std::move(done));
    else
      done(store::PutStatus::kOk);
  }
  bool hold_durable = false;
  std::size_t waiting() const { return waiting_.size(); }
  void sync(store::PutStatus status) {
    for (auto& done : std::exchange(waiting_, {})) done(status);
  }

  store::GetResult get(const store::GetRequest& request) override {
    std::lock_guard lock{mutex_};
    store::GetResult result;
    result.resident = resident;
    const auto found = queues_.find({std::string{request.topic}, request.queue_id});
    if (found == queues_.end()) return result;
    const Queue& from = found->second;
    result.min_offset = from.least;
    const std::int64_t end = hidden_from.is_in(request.topic, request.queue_id)
                                 ? std::min(from.end(), hidden_from.offset)
                                 : from.end();
    result.max_offset = end;
    result.next_offset = request.offset;
    if (unreadable && (unreadable_topic.empty() || request.topic == unreadable_topic)) {
      result.status = store::GetStatus::kUnreadable;
      return result;
    }
    const auto say = [&](store::GetStatus status, std::int64_t next) {
      result.status = status;
      result.next_offset = next;
      return result;
    };
    if (end == 0) return say(store::GetStatus::kNoMessageInQueue, 0);
    if (request.offset < from.least) return say(store::GetStatus::kOffsetTooSmall, from.least);
    if (request.offset == end) return say(store::GetStatus::kOffsetOverflowOne, request.offset);
    if (request.offset > end) return say(store::GetStatus::kOffsetOverflowBadly, end);
    std::int64_t at = request.offset;
    while (at < end && result.message_count < request.max_messages) {
      const Stored& each = *from.messages[static_cast<std::size_t>(at++)];
      if (request.filter && (!request.filter->matches_tags_code(each.tags_code) ||
                             (request.filter->needs_record() &&
                              !request.filter->matches_record(as_bytes(each.record)))))
        continue;
      result.add(as_bytes(each.record), from.messages[static_cast<std::size_t>(at - 1)], 1);
    }
    return say(
        result.message_count > 0 ? store::GetStatus::kFound : store::GetStatus::kNoMatchedMessage,
        at);
  }
  store::RecordBytes record_at(std::int64_t physical_offset) override {
    std::lock_guard lock{mutex_};
    if (misreads > 0 && misreads-- > 0) return {};
    const auto found = by_physical_offset_.find(physical_offset);
    if (found == by_physical_offset_.end()) return {};
    return {as_bytes(found->second->record), found->second};
  }
  store::RecordBytes record_at(std::string_view topic, std::int32_t queue_id,
                               std::int64_t queue_offset) override {
    std::lock_guard lock{mutex_};
    if (unreadable && (unreadable_topic.empty() || topic == unreadable_topic))
      return {.bytes = {}, .owner = {}, .unreadable = true};
    if (misreads > 0 && misreads-- > 0) return {};
    if (gone.is_in(topic, queue_id) && gone.offset == queue_offset) return {};
    const auto stored = at(topic, queue_id, queue_offset);
    if (!stored) return {};
    return {as_bytes(stored->record), stored};
  }
  std::vector<store::QueueUnit> queue_units(std::string_view topic, std::int32_t queue_id,
                                            std::int64_t queue_offset,
                                            std::int32_t count) override {
    std::lock_guard lock{mutex_};
    std::vector<store::QueueUnit> units;
    if (unreadable && (unreadable_topic.empty() || topic == unreadable_topic)) return units;
    for (std::int64_t each = queue_offset; each < queue_offset + count; ++each) {
      const auto stored = at(topic, queue_id, each);
      if (!stored) break;
      namespace in = protocol::record_at;
      units.push_back(
          {.queue_offset = each,
           .physical_offset = read_big<std::int64_t>(as_bytes(stored->record), in::kPhysicalOffset),
           .size = static_cast<std::int32_t>(stored->record.size()),
           .tags_code = stored->tags_code,
           .tags_known = true,
           .extended = std::nullopt});
      if (on_unit) on_unit(units.back());
    }
    return units;
  }
  std::vector<store::RecordBytes> query_by_key(std::string_view topic, std::string_view key,
                                               std::int32_t max, std::int64_t begin_ms,
                                               std::int64_t end_ms) override {
    return query(topic, max, begin_ms, end_ms, [&](const protocol::Message& message) {
      return message.property("UNIQ_KEY") == key || message.property("KEYS") == key;
    });
  }
  std::vector<store::RecordBytes> query_by_tag(std::string_view topic, std::string_view tag,
                                               std::int32_t max, std::int64_t begin_ms,
                                               std::int64_t end_ms) override {
    return query(topic, max, begin_ms, end_ms,
                 [&](const protocol::Message& message) { return message.property("TAGS") == tag; });
  }
  std::vector<store::RecordBytes> query(
      std::string_view topic, std::int32_t max, std::int64_t begin_ms, std::int64_t end_ms,
      const std::function<bool(const protocol::Message&)>& wanted) {
    std::lock_guard lock{mutex_};
    std::vector<store::RecordBytes> found;
    for (auto each = by_physical_offset_.rbegin(); each != by_physical_offset_.rend(); ++each) {
      const auto message = protocol::decode_message(as_bytes(each->second->record));
      if (!message || message->topic != topic || message->store_timestamp < begin_ms ||
          message->store_timestamp > end_ms || static_cast<std::int32_t>(found.size()) >= max)
        continue;
      if (wanted(*message)) found.push_back({as_bytes(each->second->record), each->second});
    }
    return found;
  }

  std::int64_t min_offset(std::string_view topic, std::int32_t queue_id) override {
    std::lock_guard lock{mutex_};
    const auto found = queues_.find({std::string{topic}, queue_id});
    return found == queues_.end() ? -1 : found->second.least;
  }
  std::int64_t max_offset(std::string_view topic, std::int32_t queue_id) override {
    std::lock_guard lock{mutex_};
    const auto found = queues_.find({std::string{topic}, queue_id});
    return found == queues_.end() ? 0 : found->second.end();
  }
  std::int64_t offset_by_time(std::string_view topic, std::int32_t queue_id, std::int64_t timestamp,
                              store::Boundary boundary) override {
    std::lock_guard lock{mutex_};
    const auto found = queues_.find({std::string{topic}, queue_id});
    if (found == queues_.end()) return 0;
    std::int64_t lower = found->second.least, upper = 0;
    for (std::int64_t at = found->second.least; at < found->second.end(); ++at) {
      const std::int64_t time = found->second.messages[static_cast<std::size_t>(at)]->stored_ms;
      if (time < timestamp) lower = at + 1;
      if (time <= timestamp) upper = at;
    }
    return boundary == store::Boundary::kLower ? lower : upper;
  }
  std::int64_t store_time(std::string_view topic, std::int32_t queue_id,
                          std::int64_t queue_offset) override {
    std::lock_guard lock{mutex_};
    const auto stored = at(topic, queue_id, queue_offset);
    return stored ? stored->stored_ms : -1;
  }
  std::int64_t earliest_store_time(std::string_view topic, std::int32_t queue_id) override {
    return store_time(topic, queue_id, std::max<std::int64_t>(min_offset(topic, queue_id), 0));
  }
  std::int64_t earliest_store_time() override {
    std::lock_guard lock{mutex_};
    return by_physical_offset_.empty() ? -1 : by_physical_offset_.begin()->second->stored_ms;
  }
  bool in_memory(std::string_view topic, std::int32_t queue_id,
                 std::int64_t queue_offset) override {
    std::lock_guard lock{mutex_};
    return resident && at(topic, queue_id, queue_offset);
  }
  std::vector<store::QueueInfo> queues() override {
    std::lock_guard lock{mutex_};
    std::vector<store::QueueInfo> all;
    for (const auto& [key, each] : queues_)
      all.push_back({key.first, key.second, each.least, each.end()});
    return all;
  }
  std::vector<store::QueueInfo> queues(std::string_view topic) override {
    auto all = queues();
    std::erase_if(all, [&](const store::QueueInfo& each) { return each.topic != topic; });
    return all;
  }

  Result<Ok> delete_topic(std::string_view topic) override {
    if (!deletes) return Error{Errc::kIo, "the disk refuses"};
    std::lock_guard lock{mutex_};
    std::erase_if(queues_, [&](const auto& each) { return each.first.first == topic; });
    return Ok{};
  }
  std::int32_t clean_expired_queues() override { return 0; }
  void delete_expired_segments() override {}
  store::StoreStatus status() override {
    std::lock_guard lock{mutex_};
    store::StoreStatus status;
    status.commit_log_max_offset = status.flushed_offset = status.dispatched_offset = end_;
    status.writable = true;
    return status;
  }
  const store::StoreConfig& config() const override { return config_; }
  void change_config(store::StoreConfig next) override { config_ = std::move(next); }
  store::StoreConfig& mutable_config() { return config_; }  ///< While nobody reads.

 private:
  struct Stored {
    Buffer record;
    std::int64_t tags_code = 0, stored_ms = 0;
  };
  using StoredPtr = std::shared_ptr<const Stored>;
  struct Queue {
    std::vector<StoredPtr> messages;
    std::int64_t least = 0;
    std::int64_t end() const { return static_cast<std::int64_t>(messages.size()); }
  };

  Queue& queue(std::string_view topic, std::int32_t queue_id) {
    return queues_[{std::string{topic}, queue_id}];
  }
  StoredPtr at(std::string_view topic, std::int32_t queue_id, std::int64_t offset) {
    const auto found = queues_.find({std::string{topic}, queue_id});
    if (found == queues_.end() || offset < found->second.least || offset >= found->second.end())
      return nullptr;
    return found->second.messages[static_cast<std::size_t>(offset)];
  }

  void append_one(store::Append& append) {
    append.status = refused_topic.empty() || append.topic == refused_topic ? next_status
                                                                           : store::PutStatus::kOk;
    if (append.status != store::PutStatus::kOk &&
        append.status != store::PutStatus::kFlushDiskTimeout)
      return;
    std::vector<std::pair<StoredPtr, std::int64_t>> stored;
    {
      std::lock_guard lock{mutex_};
      append.physical_offset = end_;
      append.queue_offset = queue(append.topic, append.queue_id).end();
      append.store_timestamp = clock_.wall_ms();
      MutableBytes rest = append.records;
      for (std::int32_t i = 0; i < append.count; ++i) {
        const auto size = static_cast<std::size_t>(read_big<std::int32_t>(rest));
        stored.emplace_back(store_record(append, rest.first(size)), end_);
        if (append.count > 1) append.physical_offsets.push_back(end_);
        end_ += static_cast<std::int64_t>(size);
        rest = rest.subspan(size);
      }
    }
    if (!events_) return;
    std::vector<store::Arrival> arrivals;
    for (std::size_t i = 0; i < stored.size(); ++i)
      arrivals.push_back({append.topic, append.queue_id,
                          append.queue_offset + static_cast<std::int64_t>(i),
                          stored[i].first->tags_code, append.store_timestamp, stored[i].second,
                          static_cast<std::int32_t>(stored[i].first->record.size()),
                          as_bytes(stored[i].first->record)});
    events_->on_arrivals(arrivals);
  }
  StoredPtr store_record(const store::Append& append, MutableBytes record) {
    namespace at = protocol::record_at;
    Queue& to = queue(append.topic, append.queue_id);
    write_big(record, at::kQueueOffset, to.end());
    write_big(record, at::kPhysicalOffset, end_);
    write_big(record, at::store_timestamp(read_big<std::int32_t>(record, at::kSysFlag)),
              append.store_timestamp);
    auto stored = std::make_shared<Stored>();
    stored->record = as_text(record);
    stored->stored_ms = append.store_timestamp;
    if (const auto message = protocol::decode_message(record))
      stored->tags_code = protocol::tags_code(message->property(protocol::property::kTags));
    by_physical_offset_.emplace(end_, stored);
    to.messages.push_back(stored);
    return stored;
  }

  Clock& clock_;
  store::StoreEvents* events_;
  store::StoreConfig config_;
  std::vector<std::function<void(store::PutStatus)>> waiting_;
  std::mutex mutex_;  // guards what follows
  std::map<std::pair<std::string, std::int32_t>, Queue> queues_;
  std::map<std::int64_t, StoredPtr> by_physical_offset_;
  std::int64_t end_ = 0;
};

}  // namespace apogee::testing
