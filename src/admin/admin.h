#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/env.h"
#include "protocol/bodies.h"
#include "protocol/headers.h"
#include "protocol/message.h"
#include "remoting/client.h"

/// The operators' requests, as a library: what `apogee admin` prints.
/// Threads: any, but not on a loop: every call blocks until the answer or the deadline.
namespace apogee::admin {

/// A message that owns its bytes.
struct StoredMessage {
  Buffer record;
  protocol::Message view() const { return *protocol::decode_message(as_bytes(record)); }
};

struct SentMessage {
  std::string broker_name, message_id, unique_key;
  std::int32_t queue_id = 0;
  std::int64_t queue_offset = 0;
};

struct NewMessage {
  std::string topic, body, tags, keys, broker_name;
  std::int32_t queue_id = -1;  ///< -1: the broker chooses.
};

struct QueueProgress {
  protocol::MessageQueue queue;
  protocol::OffsetWrapper offsets;
};

class Admin {
 public:
  Admin(Env& env, std::vector<std::string> name_servers, std::chrono::milliseconds timeout);

  Result<protocol::ClusterInfo> clusters();
  Result<std::map<std::string, std::string>> runtime_info(const std::string& broker);
  Result<protocol::TopicRouteData> route(
      const std::string& topic);  ///< kRefused with 17: no such topic.
  Result<std::set<std::string>> topics();
  Result<protocol::TopicStatsTable> topic_stats(const std::string& topic);
  Result<Ok> create_topic(const std::string& broker, const protocol::TopicConfig& topic);
  Result<Ok> delete_topic(const std::string& cluster, const std::string& topic);
  Result<std::vector<QueueProgress>> progress(const std::string& group);
  Result<StoredMessage> message_by_offset_id(const std::string& id);
  Result<StoredMessage> message_by_offset(const std::string& topic, const std::string& broker_name,
                                          std::int32_t queue_id, std::int64_t offset);
  Result<std::vector<StoredMessage>> messages_by_key(const std::string& topic,
                                                     const std::string& key, bool unique,
                                                     std::int32_t max);
  Result<SentMessage> send(const NewMessage& message);
  /// Messages of one queue from `offset`, at most `count`; moves `offset` on. Empty: there is
  /// nothing (yet).
  Result<std::vector<StoredMessage>> pull(const std::string& group, const std::string& topic,
                                          const protocol::MessageQueue& queue, std::int64_t& offset,
                                          std::int32_t count);
  Result<std::int64_t> queue_offset(const protocol::MessageQueue& queue, bool max);
  /// Readable queues of a topic.
  Result<std::vector<protocol::MessageQueue>> queues(const std::string& topic);
  /// Addresses of masters: of a cluster, or of one broker when `cluster` is empty.
  Result<std::vector<std::string>> masters(const std::string& cluster);
  Result<std::string> master_of(const std::string& broker_name);

 private:
  template <class Header>
  Result<remoting::OwnedCommand> call(const std::string& address, std::int32_t code,
                                      const Header& header, Buffer body = {});
  template <class Header>
  Result<remoting::OwnedCommand> ask_name_server(std::int32_t code, const Header& header);
  static Result<std::vector<StoredMessage>> split(Buffer body);

  Env& env_;
  const std::vector<std::string> name_servers_;
  const std::chrono::milliseconds timeout_;
  std::unique_ptr<remoting::Client> client_;
};

}  // namespace apogee::admin
