#include "broker/registration.h"

#include "base/crc.h"
#include "protocol/bodies.h"
#include "protocol/names.h"

namespace apogee::broker {
namespace {

std::vector<std::string> split_addresses(std::string_view text) {
  std::vector<std::string> addresses;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of(";,"), text.size());
    std::string_view address = text.substr(0, end);
    while (!address.empty() && address.front() == ' ') address.remove_prefix(1);
    while (!address.empty() && address.back() == ' ') address.remove_suffix(1);
    if (!address.empty()) addresses.emplace_back(address);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return addresses;
}

}  // namespace

Registration::Registration(Context& context, std::string name_servers, std::string ha_address)
    : context_{context},
      name_servers_{split_addresses(name_servers)},
      ha_address_{std::move(ha_address)},
      client_{remoting::make_client(context.env, {})} {}

Registration::~Registration() {
  stop();
}

void Registration::start(std::chrono::milliseconds limit) {
  if (name_servers_.empty()) {
    context_.env.log.warn(
        "no name server is configured (namesrvAddr, -n, NAMESRV_ADDR): clients find this broker "
        "only by its address");
    return;
  }
  const std::chrono::milliseconds period{context_.settings().register_period_ms};
  register_soon();
  std::unique_lock lock{mutex_};
  idle_.wait_for(lock, limit, [&] { return any_round_ended_; });
  period_ = std::make_unique<Periodic>(context_.env.clock, context_.env.workers, period, period,
                                       [this] { register_soon(); });
}

void Registration::stop() {
  period_.reset();
  {
    std::lock_guard lock{mutex_};
    if (stopped_) return;
    stopped_ = true;
  }
  const BrokerConfig& config = context_.settings();
  const protocol::BrokerIdentityRequest self{.broker_name = config.broker_name,
                                             .broker_address = context_.address,
                                             .cluster_name = config.cluster_name,
                                             .broker_id = config.broker_id};
  for (const std::string& server : name_servers_) {
    bool reached;
    {
      std::lock_guard lock{mutex_};
      reached = reachable_[server];
    }
    if (!reached) continue;  // it does not know us, or will forget us by itself
    auto answer =
        client_->call_and_wait(server, protocol::request_code::kUnregisterBroker, self, {}, 1s);
    if (!answer)
      context_.env.log.warn("not unregistered: name_server={} reason={}", server,
                            answer.error().detail);
  }
  std::unique_ptr<remoting::Client> closing;
  {
    std::lock_guard lock{calls_mutex_};
    closing = std::move(client_);
  }
}  // calls under way end here, without the mutex: their answers may come back to us

void Registration::register_soon() {
  if (name_servers_.empty()) return;
  {
    std::lock_guard lock{mutex_};
    if (stopped_) return;
    if (under_way_ > 0) {
      again_ = true;
      return;
    }
    under_way_ = name_servers_.size();
  }
  context_.env.workers.post([this, token = context_.in_flight.enter()] {
    if (token) run();
  });
}

void Registration::run() {
  const BrokerConfig& config = context_.settings();
  protocol::RegisterBrokerBody body;
  body.topics = context_.topics.table();
  body.topics.mapping_data_version = protocol::DataVersion{};
  for (auto& [name, topic] : body.topics.topic_config_table)
    topic.perm &= config.permission | protocol::perm::kInherit | protocol::perm::kPriority;
  const Buffer text = protocol::encode_body(body);
  const protocol::RegisterBrokerRequest header{.broker_name = config.broker_name,
                                               .broker_address = context_.address,
                                               .cluster_name = config.cluster_name,
                                               .ha_server_address = ha_address_,
                                               .broker_id = config.broker_id,
                                               .enable_acting_master = false,
                                               .compressed = false,
                                               .body_crc32 = crc32_positive(as_bytes(text))};
  std::lock_guard lock{calls_mutex_};
  if (!client_) return;
  for (const std::string& server : name_servers_) {
    client_->call(server, protocol::RegisterBrokerRequest::kCode, header, text,
                  std::chrono::milliseconds{config.register_timeout_ms},
                  [this, server, token = context_.in_flight.enter()](
                      Result<remoting::OwnedCommand> answer) { finished_one(server, answer); });
  }
}

void Registration::finished_one(const std::string& server,
                                const Result<remoting::OwnedCommand>& answer) {
  const bool good = answer && answer->code == protocol::response_code::kSuccess;
  bool again = false;
  {
    std::lock_guard lock{mutex_};
    const auto known = reachable_.find(server);
    const bool said = known != reachable_.end();
    if (good && (!said || !known->second))
      context_.env.log.info("registered: name_server={} as={}", server, context_.address);
    // Said once; it is tried again every period.
    if (!good && (!said || known->second) && !stopped_) {
      context_.env.log.warn("not registered, trying on: name_server={} reason=\"{}\"", server,
                            answer ? answer->remark : answer.error().detail);
    }
    reachable_[server] = good;
    if (--under_way_ == 0) {
      any_round_ended_ = true;
      again = std::exchange(again_, false);
    }
  }
  idle_.notify_all();
  if (good && !answer->body.empty()) {
    if (auto order = protocol::decode_body<protocol::KvTable>(std::string_view{answer->body})) {
      std::set<std::string> topics;
      for (const auto& [topic, brokers] : order->table) topics.insert(topic);
      context_.env.workers.post(
          [&context = context_, topics = std::move(topics), token = context_.in_flight.enter()] {
            if (!token) return;
            for (const TopicPtr& topic : context.topics.all()) {
              if (topic->order == topics.contains(topic->topic_name)) continue;
              protocol::TopicConfig changed = *topic;
              changed.order = !changed.order;
              context.topics.update(std::move(changed));
            }
          });
    }
  }
  if (again) register_soon();
}

}  // namespace apogee::broker
