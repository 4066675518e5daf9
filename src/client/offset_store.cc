#include "client/offset_store.h"

#include <algorithm>
#include <cstdlib>

#include <fmt/format.h>

#include "client/waiting.h"
#include "protocol/codes.h"
#include "protocol/table_file.h"

namespace apogee::client {
namespace {

namespace request = protocol::request_code;
namespace response = protocol::response_code;
using remoting::OwnedCommand;

constexpr auto kOffsetTimeout = 5'000ms;  // MQClientAPIImpl's for 14 and 15
constexpr std::uint64_t kFileBytesMax = 64 << 20;

Error refused(const char* what, const MessageQueue& queue, const OwnedCommand& answer) {
  return Error{Errc::kRefused,
               fmt::format("{} of {}: CODE: {}  DESC: {}", what, to_string(queue), answer.code,
                           answer.remark),
               answer.code};
}

/// The queue's broker, or why it cannot be asked; one look at a name server if it is not known.
void with_reader(Instance& instance, const MessageQueue& queue,
                 std::function<void(Result<std::string>)> then) {
  if (const auto broker = instance.routes().reader(queue, 0, false)) return then(broker->address);
  instance.refresh_route(
      queue.topic, instance.config().api_timeout,
      [self = instance.shared_from_this(), queue,
       then = std::move(then)](const Result<PublishInfoPtr>&) {
        if (const auto broker = self->routes().reader(queue, 0, false))
          return then(broker->address);
        then(Error{Errc::kNotFound, fmt::format("The broker[{}] not exist", queue.broker)});
      });
}

/// Requests that answer with one offset.
template <class Header>
void ask_offset(Instance& instance, const char* what, const MessageQueue& queue, std::int32_t code,
                Header header, std::chrono::milliseconds timeout, OffsetFound found) {
  with_reader(instance, queue,
              [self = instance.shared_from_this(), what, queue, code, header = std::move(header),
               timeout, found = std::move(found)](Result<std::string> address) {
                if (!address) return found(address.error());
                self->call(*address, code, header, {}, timeout,
                           [what, queue, found](const Result<OwnedCommand>& answer) {
                             if (!answer) return found(answer.error());
                             if (answer->code != response::kSuccess)
                               return found(refused(what, queue, *answer));
                             const auto offset =
                                 remoting::read_header<protocol::OffsetResponse>(*answer);
                             if (!offset) return found(offset.error());
                             found(offset->offset);
                           });
              });
}

class RemoteOffsets final : public OffsetStore {
 public:
  RemoteOffsets(std::shared_ptr<Instance> instance, std::string group)
      : instance_{std::move(instance)}, group_{std::move(group)} {}

  Result<Ok> load() override { return Ok{}; }

  void stored(const MessageQueue& queue, Found found) override {
    protocol::QueryConsumerOffsetRequest header;
    header.consumer_group = group_;
    header.topic = queue.topic;
    header.queue_id = queue.queue_id;
    ask_offset(*instance_, "offset", queue, request::kQueryConsumerOffset, std::move(header),
               kOffsetTimeout, [found = std::move(found)](const Result<std::int64_t>& offset) {
                 if (offset) return found(std::optional{*offset});
                 if (offset.error().response_code == response::kQueryNotFound)
                   return found(std::optional<std::int64_t>{});
                 found(offset.error());
               });
  }

  void persist(const std::set<MessageQueue>& queues) override {
    for (const auto& [queue, offset] : snapshot(queues)) tell(queue, offset);
  }
  void persist(const MessageQueue& queue) override {
    if (const auto offset = in_memory(queue)) tell(queue, *offset);
  }
  void persist_finally(const std::set<MessageQueue>& queues) override {
    for (const auto& [queue, offset] : snapshot(queues))
      if (const auto address = broker_of(queue))
        instance_->call(*address, request::kUpdateConsumerOffset, commit_of(queue, offset), {},
                        Farewells::kWait,
                        [heard = farewells_.expect()](const Result<OwnedCommand>&) { heard(); });
  }
  void settle() override { farewells_.wait(); }

 private:
  void tell(const MessageQueue& queue, std::int64_t offset) {
    if (const auto address = broker_of(queue))
      instance_->oneway(*address, request::kUpdateConsumerOffset, commit_of(queue, offset));
  }
  std::optional<std::string> broker_of(const MessageQueue& queue) {
    if (const auto broker = instance_->routes().reader(queue, 0, false)) return broker->address;
    instance_->env().log.warn("offset not stored, its broker is unknown: group={} queue={}", group_,
                              to_string(queue));
    return std::nullopt;
  }
  protocol::UpdateConsumerOffsetRequest commit_of(const MessageQueue& queue,
                                                  std::int64_t offset) const {
    protocol::UpdateConsumerOffsetRequest header;
    header.consumer_group = group_;
    header.topic = queue.topic;
    header.queue_id = queue.queue_id;
    header.commit_offset = offset;
    return header;
  }

  const std::shared_ptr<Instance> instance_;
  const std::string group_;
  Farewells farewells_;
};

class LocalOffsets final : public OffsetStore {
 public:
  LocalOffsets(Env& env, std::string directory)
      : env_{env}, directory_{std::move(directory)}, path_{directory_ + "/offsets.json"} {}

  Result<Ok> load() override {
    auto table = read();
    if (!table) return table.error();
    for (const auto& [queue, offset] : *table) update(queue, offset, false);
    return Ok{};
  }

  void stored(const MessageQueue& queue, Found found) override {
    auto table = read();
    if (!table) return found(table.error());
    const auto at = table->find(queue);
    found(at == table->end() ? std::nullopt : std::optional{at->second});
  }

  /// Merged into what is there: other queues of the group may have been another process's.
  void persist(const std::set<MessageQueue>& queues) override { write(snapshot(queues)); }
  void persist(const MessageQueue& queue) override {
    if (const auto offset = in_memory(queue)) write({{queue, *offset}});
  }

 private:
  using Table = std::map<MessageQueue, std::int64_t>;

  Result<Table> parse(const std::string& path) const {
    auto text = read_file(env_.files, path, kFileBytesMax);
    if (!text) return text.error();
    auto body = protocol::decode_body<protocol::ResetOffsetBody>(std::string_view{*text});
    if (!body) return body.error();
    Table table;
    for (const auto& [queue, offset] : body->offset_table)
      table[{queue.topic, queue.broker_name, queue.queue_id}] = offset;
    return table;
  }

  Result<Table> read() const {
    auto table = parse(path_);
    if (table) return table;
    auto before = parse(path_ + ".bak");
    if (before) return before;
    // Power failed between the two renames that were to replace a damaged file.
    if (auto next = parse(path_ + ".tmp")) {
      if (auto done = protocol::finish_replacing(env_.files, path_); !done) return done.error();
      return next;
    }
    if (table.error().code == Errc::kNotFound && before.error().code == Errc::kNotFound)
      return Table{};
    return Error{
        Errc::kMalformed,
        fmt::format("readLocalOffset Exception: {} and its .bak cannot be read ({}); remove "
                    "or repair them",
                    path_, table.error().detail)};
  }

  void write(const Table& offsets) {
    if (offsets.empty()) return;
    if (auto merged = merge(offsets); !merged)
      env_.log.error("offsets not stored: reason=\"{}\"", merged.error().detail);
  }

  Result<Ok> merge(const Table& offsets) {
    std::lock_guard lock{file_mutex_};
    auto table = read();
    if (!table) return table.error();
    if (std::ranges::includes(*table, offsets)) return Ok{};  // nothing new
    for (const auto& [queue, offset] : offsets) (*table)[queue] = offset;
    protocol::ResetOffsetBody body;
    for (const auto& [queue, offset] : *table)
      body.offset_table[{queue.broker, queue.queue_id, queue.topic}] = offset;
    if (auto made = env_.files.create_directories(directory_); !made) return made;
    return replace_file(env_.files, path_,
                        protocol::encode_body(body, protocol::JsonStyle::kPretty));
  }

  Env& env_;
  const std::string directory_, path_;
  std::mutex file_mutex_;
};

std::string home_directory() {
  const char* home = std::getenv("HOME");
  return home != nullptr ? home : ".";
}

}  // namespace

void OffsetStore::update(const MessageQueue& queue, std::int64_t offset, bool increase_only) {
  std::lock_guard lock{mutex_};
  const auto [at, added] = offsets_.try_emplace(queue, Offset{offset, false});
  if (added || at->second.frozen) return;
  if (!increase_only || offset > at->second.value) at->second.value = offset;
}

void OffsetStore::freeze_at(const MessageQueue& queue, std::int64_t offset) {
  std::lock_guard lock{mutex_};
  offsets_[queue] = {offset, true};
}

std::optional<std::int64_t> OffsetStore::in_memory(const MessageQueue& queue) const {
  std::lock_guard lock{mutex_};
  const auto found = offsets_.find(queue);
  if (found == offsets_.end()) return std::nullopt;
  return found->second.value;
}

std::map<MessageQueue, std::int64_t> OffsetStore::of_topic(const std::string& topic) const {
  std::lock_guard lock{mutex_};
  std::map<MessageQueue, std::int64_t> all;
  for (const auto& [queue, offset] : offsets_)
    if (topic.empty() || queue.topic == topic) all[queue] = offset.value;
  return all;
}

std::set<MessageQueue> OffsetStore::queues() const {
  std::lock_guard lock{mutex_};
  std::set<MessageQueue> all;
  for (const auto& [queue, offset] : offsets_) all.insert(queue);
  return all;
}

void OffsetStore::forget(const MessageQueue& queue) {
  std::lock_guard lock{mutex_};
  offsets_.erase(queue);
}

std::map<MessageQueue, std::int64_t> OffsetStore::snapshot(const std::set<MessageQueue>& queues) {
  std::lock_guard lock{mutex_};
  std::erase_if(offsets_, [&](const auto& entry) { return !queues.contains(entry.first); });
  std::map<MessageQueue, std::int64_t> all;
  for (const auto& [queue, offset] : offsets_) all[queue] = offset.value;
  return all;
}

/// Java keeps the instance name DEFAULT for broadcasting, so that the file is found again.
std::unique_ptr<OffsetStore> make_offsets(const std::shared_ptr<Instance>& instance,
                                          MessageModel model, const std::string& directory,
                                          const std::string& group) {
  if (model == MessageModel::kClustering) return make_remote_offsets(instance, group);
  std::string id = instance->id();
  const std::string& name = instance->config().instance_name;
  if (name.empty() || name == "DEFAULT") {
    const std::size_t begin = id.find('@') + 1;
    id.replace(begin, std::min(id.find('@', begin), id.size()) - begin, "DEFAULT");
  }
  const std::string in = directory.empty() ? home_directory() + "/.rocketmq_offsets" : directory;
  return make_local_offsets(instance->env(), in, id, group);
}

std::unique_ptr<OffsetStore> make_remote_offsets(std::shared_ptr<Instance> instance,
                                                 std::string group) {
  return std::make_unique<RemoteOffsets>(std::move(instance), std::move(group));
}

std::unique_ptr<OffsetStore> make_local_offsets(Env& env, std::string directory,
                                                const std::string& client_id,
                                                const std::string& group) {
  return std::make_unique<LocalOffsets>(env, directory + "/" + client_id + "/" + group);
}

void max_offset(Instance& instance, const MessageQueue& queue, OffsetFound found) {
  ask_offset(instance, "max offset", queue, request::kGetMaxOffset,
             protocol::QueueRequest{.topic = queue.topic, .queue_id = queue.queue_id},
             instance.config().api_timeout, std::move(found));
}

void min_offset(Instance& instance, const MessageQueue& queue, OffsetFound found) {
  ask_offset(instance, "min offset", queue, request::kGetMinOffset,
             protocol::QueueRequest{.topic = queue.topic, .queue_id = queue.queue_id},
             instance.config().api_timeout, std::move(found));
}

void offset_at(Instance& instance, const MessageQueue& queue, std::int64_t timestamp_ms,
               OffsetFound found) {
  protocol::SearchOffsetRequest header;
  header.topic = queue.topic;
  header.queue_id = queue.queue_id;
  header.timestamp = timestamp_ms;
  ask_offset(instance, "offset by time", queue, request::kSearchOffsetByTimestamp,
             std::move(header), instance.config().api_timeout, std::move(found));
}

Beginning beginning_of(StartFrom from,
                       const std::optional<std::chrono::system_clock::time_point>& time,
                       std::int64_t started_ms) {
  using std::chrono::milliseconds;
  constexpr std::int64_t kHalfAnHourMs = std::int64_t{30} * 60 * 1'000;
  if (!time) return {from, started_ms - kHalfAnHourMs};
  return {from, std::chrono::duration_cast<milliseconds>(time->time_since_epoch()).count()};
}

Result<std::int64_t> first_offset(Instance& instance, OffsetStore& store,
                                  const Beginning& beginning, const MessageQueue& queue) {
  const auto stored = wait_for<std::optional<std::int64_t>>(
      [&](auto done) { store.stored(queue, std::move(done)); });
  if (!stored)
    return Error{stored.error().code,
                 "Failed to query consume offset from offset store: " + stored.error().detail,
                 response::kQueryNotFound};
  if (*stored && **stored >= 0) return **stored;
  const auto end = [&] {
    return wait_for<std::int64_t>([&](auto done) { max_offset(instance, queue, std::move(done)); });
  };
  const bool retry = protocol::is_retry_topic(queue.topic);
  switch (beginning.from) {
    case StartFrom::kLast:
      if (retry) return std::int64_t{0};
      return end();
    case StartFrom::kFirst:
      return std::int64_t{0};
    case StartFrom::kTimestamp:
      if (retry) return end();
      return wait_for<std::int64_t>(
          [&](auto done) { offset_at(instance, queue, beginning.timestamp_ms, std::move(done)); });
  }
  return std::int64_t{0};
}

}  // namespace apogee::client
