#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apogee/pull_consumer.h"
#include "client/gate.h"
#include "client/instance.h"
#include "client/offset_store.h"
#include "client/puller.h"
#include "client/send_back.h"

/// What stands behind a PullConsumer (Java's DefaultMQPullConsumerImpl): a member of its group that
/// does nothing by itself. Topics and groups are named as on the wire.
///
/// Threads: members any; what waits for a broker says so.
namespace apogee::client {

class PullCore final : public ConsumerRole, public std::enable_shared_from_this<PullCore> {
 public:
  static Result<std::shared_ptr<PullCore>> start(std::shared_ptr<Instance> instance,
                                                 PullConsumerConfig config);
  void shutdown();  ///< By its owner: leaves the instance too.

  enum class Suspend { kNo, kYes };
  void pull(const MessageQueue& queue, const Filter& filter, std::int64_t offset, std::int32_t max,
            Suspend suspend, PullConsumer::Done done);
  Instance& instance() { return *instance_; }
  const SendBack& send_back() const { return send_back_; }
  void fetch_offset(const MessageQueue& queue, bool from_store, OffsetStore::Found found);
  void update_offset(const MessageQueue& queue, std::int64_t offset);

  // ConsumerRole
  const std::string& group() const override { return group_; }
  protocol::ConsumerData heartbeat() const override;
  std::vector<std::string> topics() const override { return {}; }
  void queues_changed(const std::string&, const std::vector<MessageQueue>&) override {}
  void members_changed() override {}
  void persist_offsets() override;
  void reset_offsets(const std::string&, const std::map<MessageQueue, std::int64_t>&) override {}
  std::map<MessageQueue, std::int64_t> offsets(const std::string& topic) const override;
  protocol::Json running_info() const override;
  protocol::Json consume_directly(ReceivedMessage message, const std::string& broker_name) override;
  void stop() override;

 private:
  PullCore(std::shared_ptr<Instance> instance, PullConsumerConfig config);

  const std::shared_ptr<Instance> instance_;
  const PullConsumerConfig config_;
  const std::string group_;
  const std::int64_t started_ms_;
  const std::unique_ptr<OffsetStore> store_;
  const SendBack send_back_;
  Puller puller_;
  std::atomic<bool> stopped_{false};
};

/// The readable queues of a topic, as its reader names it.
void readable_queues_of(Instance& instance, const std::string& topic,
                        std::function<void(Result<std::vector<MessageQueue>>)> found);
std::int64_t unix_ms(std::chrono::system_clock::time_point time);
/// What a consumer that pulls says of itself when consoles ask.
std::map<std::string, std::string> running_properties(Instance& instance, const std::string& group,
                                                      std::int64_t started_ms);

}  // namespace apogee::client
