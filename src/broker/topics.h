#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"
#include "base/in_flight.h"
#include "base/text_map.h"
#include "broker/config.h"
#include "protocol/bodies.h"

/// The broker's topics: config/topics.json and the built-in ones (TopicConfigManager).
///
/// Threads: every member from any thread; one shared mutex for the table, held for map operations
/// only. A topic is immutable once in the table, so a reader may keep its pointer. persist() and
/// load() block on the disk; automatic creation on an io thread does not: it posts persist() to
/// the workers.
namespace apogee::broker {

using TopicPtr = std::shared_ptr<const protocol::TopicConfig>;

/// queue.type=BatchCQ: its queues hold batches.
bool is_batch_topic(const protocol::TopicConfig& topic);
/// cleanup.policy=COMPACTION: the newest message of each key is kept.
bool is_compaction_topic(const protocol::TopicConfig& topic);

class Topics {
 public:
  /// `changed(topics, version)`: topics came into being or changed, which made the table's version
  /// this, and name servers should hear of it. Any thread, without the mutex. An empty list:
  /// something was removed.
  using Changed = std::function<void(const std::vector<TopicPtr>& topics,
                                     const protocol::DataVersion& version)>;
  /// `lmq` (enableLmq): any name that begins with %LMQ% is a topic of one queue, in no list.
  Topics(Env& env, const LiveConfig& config, std::string path, bool lmq = false);
  Topics(const Topics&) = delete;
  void on_change(Changed changed) { changed_ = std::move(changed); }  ///< Before anything else.

  Result<Ok> load();
  Result<Ok> persist();  ///< Writes the file if anything changed since the last time.
  /// Is the topic on disk as it is here? Nothing is to be acknowledged for one that is not: a crash
  /// would leave messages nobody can ask for.
  bool is_on_disk(std::string_view name) const;
  Result<Ok> ensure_on_disk(std::string_view name);

  TopicPtr find(std::string_view name) const;
  bool contains(std::string_view name) const { return find(name) != nullptr; }
  /// Built in here, or named like a system topic.
  bool is_system(std::string_view name) const;
  std::set<std::string> system_topics() const;

  /// Automatic creation by a send (createTopicInSendMessageMethod): like the template topic, if it
  /// lets itself be inherited. The topic, new or already there; nullptr: not to be created.
  TopicPtr create_on_send(std::string_view name, std::string_view default_topic,
                          std::int32_t queue_nums, std::int32_t topic_sys_flag);
  /// Retry and dead-letter topics (createTopicInSendMessageBackMethod). `order` is taken over by an
  /// existing topic.
  TopicPtr create_if_absent(std::string_view name, std::int32_t queue_nums, std::int32_t perm,
                            std::int32_t topic_sys_flag, bool order = false);
  /// What the broker itself stores messages for: there, made to be read and written if it was not,
  /// and on disk.
  Result<TopicPtr> need(std::string_view name, std::int32_t queue_nums,
                        std::int32_t topic_sys_flag = 0);
  /// By an operator, told and written once. Attributes are taken as given.
  void update(std::vector<protocol::TopicConfig> configs);
  void update(protocol::TopicConfig config);
  void remove(std::string_view name);
  /// What the broker allows has changed, and so what each topic does.
  void renew_version();

  std::vector<TopicPtr> all() const;  ///< Sorted by name.
  protocol::TopicConfigTable table() const;
  protocol::DataVersion version() const;

 private:
  void add_built_in(const std::string& name, std::int32_t queues, std::int32_t perm);
  TopicPtr put(protocol::TopicConfig config);  // mutex_ is held exclusively
  void after_change(const std::vector<TopicPtr>& topics, const protocol::DataVersion& version);

  Env& env_;
  const LiveConfig& config_;
  const std::string path_;
  const bool lmq_;
  Changed changed_;
  mutable std::shared_mutex mutex_;
  TextMap<TopicPtr> topics_;                     // guarded by mutex_
  std::set<std::string, std::less<>> built_in_;  // after the constructor read only
  protocol::DataVersion version_;                // guarded by mutex_
  std::uint64_t changes_ = 0, saved_ = 0;        // guarded by mutex_: changes, and those on disk
  std::map<std::string, std::uint64_t, std::less<>> unsaved_;  // guarded by mutex_: the last change
  std::atomic<bool> some_unsaved_{false};                      // of each topic that is not
  std::mutex persist_mutex_;                                   // one writer of the file
  std::atomic<bool> write_posted_{false};  // one write waits for a worker, never more
  InFlight in_flight_;                     // posted writes; waited for first of all
};

}  // namespace apogee::broker
