#pragma once

// For tests only: a broker's parts around a store in memory, without sockets, on one thread.

#include <gtest/gtest.h>

#include "broker/clients.h"
#include "broker/context.h"
#include "broker/offsets.h"
#include "broker/pulling.h"
#include "broker/queries.h"
#include "broker/send_back.h"
#include "broker/sending.h"
#include "broker/statistics.h"
#include "protocol/headers.h"
#include "testing/disk_env.h"
#include "testing/fake_peer.h"
#include "testing/memory_store.h"

namespace apogee::broker {

class BrokerFixture : public ::testing::Test, public store::StoreEvents {
 protected:
  explicit BrokerFixture(BrokerConfig config = {}) : config_{named(std::move(config))} {
    EXPECT_TRUE(env_.files.create_directories("/store/config"));
    for (const char* made : {"/", "/store"}) EXPECT_TRUE(env_.files.sync_directory(made));
    store_.set_events(this);
    add_sending(processors_, context_, send_settings_);
    add_send_back(processors_, context_, send_settings_);
    add_pulling(processors_, context_);
    add_clients(processors_, context_);
    add_cold_reads(processors_, context_);
    add_offsets(processors_, context_);
    add_queries(processors_, context_);
    add_statistics(processors_, context_, {});
    make_topic("t", 2);
  }
  ~BrokerFixture() override {
    // As when a server closes its connections: calls without an answer are over.
    for (const auto& each : peers_)
      if (const auto peer = each.lock()) peer->calls.clear();
  }

  void on_arrivals(std::span<const store::Arrival> arrivals) override {
    long_polling_.on_arrivals(arrivals);
  }

  void make_topic(const std::string& name, std::int32_t queues, std::int32_t perm = 6) {
    protocol::TopicConfig topic;
    topic.topic_name = name;
    topic.read_queue_nums = topic.write_queue_nums = queues;
    topic.perm = perm;
    topics_.update(std::move(topic));
  }
  void configure(const std::function<void(BrokerConfig&)>& edit) {
    BrokerConfig next = config_.now();
    edit(next);
    config_.change(std::move(next));
  }
  std::shared_ptr<testing::FakePeer> connect() {
    auto peer = std::make_shared<testing::FakePeer>(loop_, peers_.size() + 1);
    peers_.push_back(peer);
    return peer;
  }
  void disconnect(const std::shared_ptr<testing::FakePeer>& peer) {
    peer->close("test");
    forget_peer(context_, *peer);
  }

  /// Sends a request; what comes back by itself is in peer->sent.
  template <class Header = protocol::NoFields>
  std::int32_t send(const std::shared_ptr<testing::FakePeer>& peer, std::int32_t code,
                    const Header& header = {}, Bytes body = {},
                    protocol::Language language = protocol::Language::kJava) {
    Buffer bytes;
    const std::int32_t opaque = ++opaque_;
    protocol::encode_command(bytes,
                             {.code = code, .opaque = opaque, .language = language, .version = 493},
                             header, body);
    const auto frame = protocol::decode_frame(as_bytes(bytes));
    protocol::CommandDecoder decoder;
    const auto command = decoder.decode(**frame);
    const remoting::Request request{*command, remoting::Responder{peer, *command}};
    processors_.on_requests({&request, 1});
    return opaque;
  }
  /// Sends a request and gives its answer; a failure when there is none.
  template <class Header = protocol::NoFields>
  testing::FakePeer::Sent ask(const std::shared_ptr<testing::FakePeer>& peer, std::int32_t code,
                              const Header& header = {}, Bytes body = {}) {
    const std::int32_t opaque = send(peer, code, header, body);
    if (auto answer = answer_to(peer, opaque)) return *std::move(answer);
    ADD_FAILURE() << "no answer to request " << code;
    return {};
  }
  /// Takes the answer out of what the peer was sent.
  static std::optional<testing::FakePeer::Sent> answer_to(
      const std::shared_ptr<testing::FakePeer>& peer, std::int32_t opaque) {
    for (auto at = peer->sent.begin(); at != peer->sent.end(); ++at) {
      if ((at->flag & protocol::kResponseFlag) == 0 || at->opaque != opaque) continue;
      auto answer = std::move(*at);
      peer->sent.erase(at);
      return answer;
    }
    return std::nullopt;
  }
  /// Requests of this code the peer got since the last call.
  static std::vector<testing::FakePeer::Sent> taken(const std::shared_ptr<testing::FakePeer>& peer,
                                                    std::int32_t code) {
    std::vector<testing::FakePeer::Sent> found;
    std::erase_if(peer->sent, [&](auto& each) {
      if ((each.flag & protocol::kResponseFlag) != 0 || each.code != code) return false;
      found.push_back(each);
      return true;
    });
    return found;
  }
  void join(const std::shared_ptr<testing::FakePeer>& peer, const std::string& group = "g",
            const std::string& topic = "t", const std::string& expression = "*",
            const std::string& type = "TAG", std::int64_t version = 1) {
    protocol::HeartbeatData heartbeat;
    heartbeat.client_id = "client-" + std::to_string(peer->id());
    protocol::ConsumerData data;
    data.group_name = group;
    data.subscription_data_set.push_back(
        *protocol::subscription_from(topic, expression, type, version));
    heartbeat.consumer_data_set.push_back(std::move(data));
    const auto answer = ask(peer, protocol::request_code::kHeartBeat, protocol::NoFields{},
                            as_bytes(encode_body(heartbeat)));
    EXPECT_EQ(answer.code, 0) << answer.remark;
  }

  testing::DiskEnv disk_;
  Env& env_ = *disk_.env;
  testing::ManualLoop loop_;
  LiveConfig config_;
  testing::MemoryStore store_{disk_.clock};
  Topics topics_{env_, config_, "/store/config/topics.json"};
  SubscriptionGroups groups_{env_, config_, "/store/config/subscriptionGroup.json"};
  ConsumerOffsets offsets_{env_, "/store/config/consumerOffset.json"};
  Stats stats_{disk_.clock, "Cluster"};
  Consumers consumers_{disk_.clock, notify_members(config_)};
  Producers producers_{disk_.clock};
  QueueLocks queue_locks_{disk_.clock};
  LongPolling long_polling_{disk_.clock, [this](std::string_view topic, std::int32_t queue_id) {
                              return store_.max_offset(topic, queue_id);
                            }};
  InFlight in_flight_;
  ColdReads cold_reads_{env_, config_};
  Readers readers_{disk_.clock, env_.workers, in_flight_, stats_.stages};
  Context context_{env_,       config_,  store_,       topics_,       groups_, consumers_,
                   producers_, offsets_, queue_locks_, long_polling_, stats_,  "10.0.0.1:10911",
                   in_flight_, readers_, nullptr,      &cold_reads_};
  SendSettings send_settings_{protocol::host_from("10.0.0.1", 10'911),
                              *DelayLevels::parse(store::StoreConfig{}.delay_levels)};
  remoting::Processors processors_{env_};

 private:
  static BrokerConfig named(BrokerConfig config) {
    config.broker_name = "broker-a";
    config.cluster_name = "Cluster";
    config.broker_ip1 = "10.0.0.1";
    return config;
  }
  std::vector<std::weak_ptr<testing::FakePeer>> peers_;
  std::int32_t opaque_ = 0;
};

}  // namespace apogee::broker
