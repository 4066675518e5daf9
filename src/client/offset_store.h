#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "apogee/consumer.h"
#include "client/instance.h"

/// How far a group has consumed each queue, and where it is kept: by the brokers (clustering) or in
/// a file here (broadcasting). Queues are named as on the wire.
///
/// Threads: any; one mutex for what is in memory. What blocks says so. Answers come inside the call
/// or on an io thread.
namespace apogee::client {

class OffsetStore {
 public:
  using Found = std::function<void(Result<std::optional<std::int64_t>>)>;
  virtual ~OffsetStore() = default;

  virtual Result<Ok> load() = 0;  ///< Blocks on the disk.
  void update(const MessageQueue& queue, std::int64_t offset, bool increase_only);
  /// Set, and deaf to further updates until forgotten: what is under way with the queue's old
  /// messages must not move it (Java's ControllableOffset).
  void freeze_at(const MessageQueue& queue, std::int64_t offset);
  std::optional<std::int64_t> in_memory(const MessageQueue& queue) const;
  std::map<MessageQueue, std::int64_t> of_topic(const std::string& topic) const;
  std::set<MessageQueue> queues() const;
  void forget(const MessageQueue& queue);

  /// Where it is kept. nullopt: there is none yet; an error: it could not be learned, which must
  /// never be taken for none. A file is read inside the call.
  virtual void stored(const MessageQueue& queue, Found found) = 0;
  /// Writes the offsets of these queues and forgets all others. Blocks on the disk at most.
  virtual void persist(const std::set<MessageQueue>& queues) = 0;
  virtual void persist(const MessageQueue& queue) = 0;
  /// The last word of a member that stops: as `persist`, and `settle` waits until it is heard. The
  /// next member asks as soon as this one has left, and a broker may serve it first.
  virtual void persist_finally(const std::set<MessageQueue>& queues) { persist(queues); }
  virtual void settle() {}  ///< Blocks for Farewells::kWait at most.

 protected:
  std::map<MessageQueue, std::int64_t> snapshot(const std::set<MessageQueue>& queues);

 private:
  struct Offset {
    std::int64_t value = 0;
    bool frozen = false;
  };
  mutable std::mutex mutex_;
  std::map<MessageQueue, Offset> offsets_;
};

/// With the brokers, or in a file below `directory` (empty: ".rocketmq_offsets" in the home
/// directory). `group` as on the wire.
std::unique_ptr<OffsetStore> make_offsets(const std::shared_ptr<Instance>& instance,
                                          MessageModel model, const std::string& directory,
                                          const std::string& group);
/// RemoteBrokerOffsetStore. `group` as on the wire.
std::unique_ptr<OffsetStore> make_remote_offsets(std::shared_ptr<Instance> instance,
                                                 std::string group);
/// LocalFileOffsetStore: <directory>/<client id>/<group>/offsets.json, in Java's format.
std::unique_ptr<OffsetStore> make_local_offsets(Env& env, std::string directory,
                                                const std::string& client_id,
                                                const std::string& group);

// ---- Offsets of queues, asked of their brokers: the master preferred, its route learned if need
// be
// ---------------------------------------

using OffsetFound = std::function<void(Result<std::int64_t>)>;
void max_offset(Instance& instance, const MessageQueue& queue, OffsetFound found);
void min_offset(Instance& instance, const MessageQueue& queue, OffsetFound found);
void offset_at(Instance& instance, const MessageQueue& queue, std::int64_t timestamp_ms,
               OffsetFound found);

/// Where to begin with a queue (Java's computePullFromWhere). An error: not now.
struct Beginning {
  StartFrom from = StartFrom::kLast;
  std::int64_t timestamp_ms = 0;
};
/// As a program sets it; by default half an hour before the consumer's start.
Beginning beginning_of(StartFrom from,
                       const std::optional<std::chrono::system_clock::time_point>& time,
                       std::int64_t started_ms);
/// Blocks.
Result<std::int64_t> first_offset(Instance& instance, OffsetStore& store,
                                  const Beginning& beginning, const MessageQueue& queue);

}  // namespace apogee::client
