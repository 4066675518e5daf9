#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "apogee/awaitable.h"
#include "apogee/export.h"
#include "apogee/message.h"
#include "apogee/result.h"

/// What operators ask of name servers and brokers: the operations behind mqadmin's commands.
namespace apogee {

namespace client {
class Instance;
}

/// The values they work with. Names of topics and groups are those on the wire, with a namespace if
/// there is one. A time that is 1970 is not known.
namespace admin {

using Time = std::chrono::system_clock::time_point;

/// One broker process, as the name servers know it.
struct Broker {
  std::string cluster, name;
  std::int64_t id = 0;  ///< 0 is the master.
  std::string address;  ///< What every call below means by `broker`.
};

// ---- Topics

struct TopicConfig {
  std::string name;
  std::int32_t read_queues = 8, write_queues = 8;
  std::int32_t perm = 6;  ///< 2 write, 4 read, 6 both.
  bool ordered = false;
  bool unit = false, has_unit_subscription = false;
  /// Changes: "+message.type" -> "DELAY" sets, "-message.type" -> "" takes away.
  std::map<std::string, std::string> attributes;
};
struct TopicRoute {
  struct Queues {
    std::string cluster, broker;
    std::map<std::int64_t, std::string> addresses;  ///< By broker id.
    std::int32_t read_queues = 0, write_queues = 0, perm = 0, sys_flag = 0;
  };
  std::vector<Queues> brokers;  ///< By broker name.
  std::string order;            ///< "broker-a:4;broker-b:4"; empty: none.
};
struct QueueStatus {
  MessageQueue queue;
  std::int64_t min_offset = 0, max_offset = 0;
  Time last_stored{};
};
struct TopicStatus {
  std::vector<QueueStatus> queues;
  double put_per_second = 0;
};

// ---- Groups

struct GroupConfig {
  std::string name;
  bool consume_enable = true, consume_from_min_enable = true, consume_broadcast_enable = true,
       consume_message_orderly = false, notify_consumer_ids_changed = true;
  std::int32_t retry_queues = 1, retry_max_times = 16;
  std::int32_t consume_timeout_minutes = 15;
  std::int64_t broker_id = 0, which_broker_when_slow = 1;
  std::int32_t sys_flag = 0;
  /// JSON, as brokers keep it: {"type":"EXPONENTIAL","exponentialRetryPolicy":{...}}. Empty: the
  /// delay levels.
  std::string retry_policy;
  std::map<std::string, std::string> attributes;  ///< As TopicConfig's when set; names when read.
};
struct Connection {
  std::string client_id, address, language;
  std::int32_t version = 0;
  std::string version_name;  ///< "V5_5_0".
};
struct ConsumerConnections {
  std::vector<Connection> members;
  struct Subscription {
    std::string topic, type, expression;
  };
  std::vector<Subscription> subscriptions;
  std::string consume_type, message_model, consume_from;  ///< Java's names.
};
struct QueueProgress {
  MessageQueue queue;
  std::int64_t broker_offset = 0, consumer_offset = 0, pull_offset = 0;
  Time last_consumed{};  ///< When the last message consumed was stored.
  std::int64_t lag() const { return broker_offset - consumer_offset; }
  std::int64_t in_flight() const { return pull_offset - consumer_offset; }
};
struct APOGEE_API Progress {
  std::vector<QueueProgress> queues;
  double consumed_per_second = 0;
  std::int64_t lag() const;
  std::int64_t in_flight() const;
};
struct GroupProgress : Progress {
  std::string group;
};
/// What a consumer says of itself.
struct RunningInfo {
  std::map<std::string, std::string> properties;
  std::vector<ConsumerConnections::Subscription> subscriptions;
  struct Queue {
    MessageQueue queue;
    std::int64_t commit_offset = 0, cached_min_offset = 0, cached_max_offset = 0;
    std::int64_t cached_messages = 0, cached_mebibytes = 0, try_unlock_times = 0;
    bool locked = false, dropped = false;
    Time last_locked{}, last_pulled{}, last_consumed{};
  };
  std::vector<Queue> queues;
  struct Rates {
    double pull_ms = 0, pulled_per_second = 0, consume_ms = 0, consumed_per_second = 0,
           failed_per_second = 0;
    std::int64_t failed_in_hour = 0;
  };
  std::map<std::string, Rates> topics;
  std::string stacks;  ///< Of its threads, if asked for.
  std::string json;    ///< All it said.
  bool pushes() const;
};

// ---- Offsets

struct OffsetReset {
  std::string topic, group;
  /// Unix milliseconds; -1: behind the last message.
  std::int64_t timestamp = -1;
  bool force = true;  ///< Also forward; false: back only.
};
struct QueueReset {
  MessageQueue queue;
  std::int64_t offset = 0;  ///< Where the group stands now.
  /// Known only if the broker reset nothing itself, because no member of the group was online.
  std::int64_t broker_offset = -1, consumer_offset = -1, offset_of_time = -1;
};
struct ResetResult {
  bool online = false;  ///< The brokers told the members, or did it themselves.
  std::vector<QueueReset> queues;
};

// ---- Brokers

struct BrokerProgress {
  std::vector<GroupProgress> groups;
  std::int64_t lag = 0, in_flight = 0;
};
struct StatisticsWindow {
  std::int64_t sum = 0;
  double per_second = 0, average_per_time = 0;
};
struct Statistics {
  StatisticsWindow minute, hour, day;
  /// Of the longest window that has something.
  std::int64_t sum() const { return day.sum ? day.sum : hour.sum ? hour.sum : minute.sum; }
};
struct HaStatus {
  bool master = true;
  std::int64_t max_offset = 0;
  std::int32_t replicas_in_sync = 0;
  struct Replica {
    std::string address;
    std::int64_t ack_offset = 0, behind = 0, bytes_per_second = 0, from_offset = 0;
    bool in_sync = false;
  };
  std::vector<Replica> replicas;
  // Of a replica:
  std::string master_address;
  std::int64_t bytes_per_second = 0, master_flush_offset = 0;
  Time last_read{}, last_written{};
};

// ---- Messages

struct Pulled {
  std::vector<ReceivedMessage> messages;
  std::int64_t next_offset = 0, min_offset = 0, max_offset = 0;
};
/// How a group stands to one message (Java's MessageTrack).
struct Track {
  std::string group;
  std::string state;  ///< CONSUMED, NOT_CONSUME_YET, PULL, NOT_ONLINE, ...
  std::string reason;
};
struct DirectResult {
  std::string outcome;  ///< CR_SUCCESS, CR_LATER, CR_THROW_EXCEPTION, ...
  bool ordered = false, auto_commit = true;
  std::string remark;
  std::int64_t took_ms = 0;
};
struct TraceEvent {
  enum class Kind { kPublished, kConsumed, kEndTransaction, kRecalled } kind = Kind::kPublished;
  std::string group, topic, client_host;
  Time time{};
  std::int64_t cost_ms = 0;
  bool success = false;
  std::string detail;  ///< Of a transaction: COMMIT_MESSAGE, ROLLBACK_MESSAGE, ...
};

/// The T of a Result<T>.
template <class R>
using ValueOf = std::remove_cvref_t<decltype(*std::declval<R&>())>;

}  // namespace admin

/// Asks name servers and brokers. Cheap to make and to copy.
///
/// Threads:  every member from any thread; all but call() and call_async() block, so not from
///           inside a callback on an io thread of this client (kInvalidArgument).
/// Errors:   kNotFound: the thing asked for is not there. kRefused: a server said no;
///           Error::response_code has its code. kTimeout, kDisconnected: nobody answered within
///           `timeout`, which covers all requests of a call. kStopped: the client is shut down.
class APOGEE_API Admin {
 public:
  using Milliseconds = std::chrono::milliseconds;

  // Without waiting.

  /// Any of the calls below, or several: `work` is given this and returns a Result<T>. It and then
  /// `done` run on a thread of the client's own, where they may block; one call after the other.
  ///   admin.call([](Admin& a) { return a.topics(3s); }, [](Result<std::set<std::string>> topics)
  ///              { ... });
  template <class Work, class T = admin::ValueOf<std::invoke_result_t<Work&, Admin&>>>
  void call(Work work, std::type_identity_t<std::function<void(Result<T>)>> done) const {
    post([admin = *this, work = std::move(work), done = std::move(done)]() mutable {
      done(work(admin));
    });
  }
  ///   auto topics = co_await admin.call_async([](Admin& a) { return a.topics(3s); });
  template <class Work, class T = admin::ValueOf<std::invoke_result_t<Work&, Admin&>>>
  Awaitable<T> call_async(Work work) const {
    return Awaitable<T>{
        [admin = *this, work = std::move(work)](std::function<void(Result<T>)> done) {
          admin.call(work, std::move(done));
        }};
  }

  // Clusters and name servers.

  Result<std::vector<admin::Broker>> brokers(Milliseconds timeout);
  /// Addresses of the masters of a cluster; of all clusters if `cluster` is empty.
  Result<std::vector<std::string>> masters(const std::string& cluster, Milliseconds timeout);
  Result<std::string> master_of(const std::string& broker_name, Milliseconds timeout);
  std::vector<std::string> name_servers() const;

  Result<std::map<std::string, std::string>> name_server_config(const std::string& name_server,
                                                                Milliseconds timeout);
  Result<Ok> update_name_server_config(const std::string& name_server, const std::string& key,
                                       const std::string& value, Milliseconds timeout);
  /// No new messages go to that broker; the number of its topics.
  Result<std::int32_t> wipe_write_perm(const std::string& name_server,
                                       const std::string& broker_name, Milliseconds timeout);
  Result<std::int32_t> add_write_perm(const std::string& name_server,
                                      const std::string& broker_name, Milliseconds timeout);

  // Topics.

  Result<std::set<std::string>> topics(Milliseconds timeout);
  Result<admin::TopicRoute> topic_route(const std::string& topic, Milliseconds timeout);
  Result<std::set<std::string>> clusters_of_topic(const std::string& topic, Milliseconds timeout);
  /// Of all its brokers; `broker`: of that one alone.
  Result<admin::TopicStatus> topic_status(const std::string& topic, Milliseconds timeout);
  Result<admin::TopicStatus> topic_status(const std::string& topic, const std::string& broker,
                                          Milliseconds timeout);
  Result<Ok> create_topic(const std::string& broker, const admin::TopicConfig& topic,
                          Milliseconds timeout);
  /// On all masters of a cluster and at the name servers, as mqadmin's deleteTopic.
  Result<Ok> delete_topic(const std::string& topic, const std::string& cluster,
                          Milliseconds timeout);
  /// Which queues in which order, for all clients: "broker-a:4;broker-b:4".
  Result<std::string> order_of_topic(const std::string& topic, Milliseconds timeout);
  Result<Ok> set_order_of_topic(const std::string& topic, const std::string& order,
                                Milliseconds timeout);
  Result<Ok> remove_order_of_topic(const std::string& topic, Milliseconds timeout);
  /// Groups that consume a topic, or did.
  Result<std::set<std::string>> groups_of_topic(const std::string& topic, Milliseconds timeout);

  // Groups.

  Result<Ok> create_group(const std::string& broker, const admin::GroupConfig& group,
                          Milliseconds timeout);
  Result<Ok> delete_group(const std::string& broker, const std::string& group, bool clean_offsets,
                          Milliseconds timeout);
  Result<admin::GroupConfig> group_config(const std::string& broker, const std::string& group,
                                          Milliseconds timeout);
  /// `mode`: PULL or POP.
  Result<Ok> set_consume_mode(const std::string& broker, const std::string& topic,
                              const std::string& group, const std::string& mode,
                              std::int32_t pop_share_queues, Milliseconds timeout);
  /// As the brokers of its retry topic see it; `broker`: as that one does.
  Result<admin::ConsumerConnections> consumer_connections(const std::string& group,
                                                          Milliseconds timeout);
  Result<admin::ConsumerConnections> consumer_connections(const std::string& group,
                                                          const std::string& broker,
                                                          Milliseconds timeout);
  Result<std::vector<admin::Connection>> producer_connections(const std::string& group,
                                                              const std::string& topic,
                                                              Milliseconds timeout);
  /// In one topic, or in all if `topic` is empty.
  Result<admin::GroupProgress> progress(const std::string& group, const std::string& topic,
                                        Milliseconds timeout);
  Result<admin::RunningInfo> running_info(const std::string& group, const std::string& client_id,
                                          bool with_stacks, Milliseconds timeout);

  // Offsets.

  /// Members of the group that are online are told; without any the offsets are written for them.
  Result<admin::ResetResult> reset_offsets(const admin::OffsetReset& reset, Milliseconds timeout);
  /// Of one queue, on the broker itself (5.x). `offset` -1: that of reset.timestamp.
  Result<std::int64_t> reset_queue_offset(const admin::OffsetReset& reset,
                                          const std::string& broker, std::int32_t queue_id,
                                          std::int64_t offset, Milliseconds timeout);
  Result<Ok> update_offset(const std::string& broker, const std::string& group,
                           const MessageQueue& queue, std::int64_t offset, Milliseconds timeout);
  Result<std::int64_t> min_offset(const MessageQueue& queue, Milliseconds timeout);
  Result<std::int64_t> max_offset(const MessageQueue& queue, Milliseconds timeout);
  Result<std::int64_t> offset_of_time(const MessageQueue& queue, std::int64_t timestamp,
                                      Milliseconds timeout);

  // Brokers.

  Result<std::map<std::string, std::string>> broker_status(const std::string& broker,
                                                           Milliseconds timeout);
  Result<std::map<std::string, std::string>> broker_config(const std::string& broker,
                                                           Milliseconds timeout);
  Result<Ok> update_broker_config(const std::string& broker, const std::string& key,
                                  const std::string& value, Milliseconds timeout);
  Result<admin::BrokerProgress> broker_progress(const std::string& broker, bool ordered_only,
                                                Milliseconds timeout);
  /// kRefused: the broker counts nothing under that name and key (yet).
  Result<admin::Statistics> statistics(const std::string& broker, const std::string& name,
                                       const std::string& key, Milliseconds timeout);
  Result<Ok> clean_expired_queues(const std::string& broker, Milliseconds timeout);
  Result<Ok> delete_expired_log(const std::string& broker, Milliseconds timeout);
  Result<Ok> clean_unused_topics(const std::string& broker, Milliseconds timeout);
  Result<admin::HaStatus> ha_status(const std::string& broker, Milliseconds timeout);

  // Messages.

  /// Readable queues of a topic.
  Result<std::vector<MessageQueue>> queues(const std::string& topic, Milliseconds timeout);
  /// By its offset id; kInvalidArgument: that is none.
  Result<ReceivedMessage> message_by_offset_id(const std::string& id, Milliseconds timeout);
  /// Messages whose unique id or one of whose keys is `key`, stored between the two times (Unix
  /// milliseconds); at most `max`. All brokers of the topic are asked at once, and one that fails
  /// takes nothing from what the others have: an error if none answers.
  struct KeyQuery {
    std::string topic, key;
    bool unique = false;
    std::int32_t max = 64;
    std::int64_t begin = 0, end = INT64_MAX;
  };
  Result<std::vector<ReceivedMessage>> messages_by_key(const KeyQuery& query, Milliseconds timeout);
  Result<ReceivedMessage> message_by_offset(const MessageQueue& queue, std::int64_t offset,
                                            Milliseconds timeout);
  /// From `offset` on, at most `max`, without waiting for new ones and without committing.
  Result<admin::Pulled> pull(const MessageQueue& queue, const std::string& group,
                             std::int64_t offset, std::int32_t max, Milliseconds timeout);
  /// What became of a message at each group that consumes its topic.
  Result<std::vector<admin::Track>> track(const ReceivedMessage& message, Milliseconds timeout);
  /// A consumer that is online consumes this message now.
  Result<admin::DirectResult> consume_directly(const std::string& group,
                                               const std::string& client_id,
                                               const ReceivedMessage& message,
                                               Milliseconds timeout);
  /// The message's life as producers and consumers that trace have written it, in order.
  Result<std::vector<admin::TraceEvent>> trace(const KeyQuery& query, Milliseconds timeout);

  /// For this library's own parts.
  explicit Admin(std::shared_ptr<client::Instance> instance);

 private:
  void post(std::function<void()> work) const;

  std::shared_ptr<client::Instance> instance_;
};

}  // namespace apogee
