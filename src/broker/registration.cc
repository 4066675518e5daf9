#include "broker/registration.h"

#include <set>

#include "base/crc.h"
#include "protocol/bodies.h"
#include "protocol/names.h"

namespace apogee::broker {
namespace {

constexpr auto kTick = 1s;
constexpr auto kRetry = 3s;  // after a failure; a name server that starts late is found soon

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

Registration::Registration(Context& context, std::string_view name_servers, std::string ha_address,
                           std::unique_ptr<remoting::Client> client)
    : context_{context}, ha_address_{std::move(ha_address)}, client_{std::move(client)} {
  for (std::string& address : split_addresses(name_servers))
    servers_.emplace_back().address = std::move(address);
}

Registration::~Registration() {
  stop();
}

void Registration::start(std::chrono::milliseconds limit) {
  if (servers_.empty()) {
    context_.env.log.warn(
        "no name server is configured (namesrvAddr, -n, NAMESRV_ADDR): clients find this broker "
        "only by its address");
    return;
  }
  tick();
  tick_ = std::make_unique<Periodic>(context_.env.clock, context_.env.workers, kTick, kTick,
                                     [this] { tick(); });
  std::unique_lock lock{mutex_};
  settled_.wait_for(lock, limit, [&] {
    return std::ranges::any_of(servers_, [](const auto& each) { return each.reachable == true; }) ||
           std::ranges::all_of(servers_, [](const auto& each) { return each.settled; });
  });
}

void Registration::stop() {
  tick_.reset();
  std::vector<std::string> registered_with;
  {
    std::lock_guard lock{mutex_};
    if (std::exchange(stopped_, true)) return;
    for (const NameServer& server : servers_)
      if (server.reachable == true) registered_with.push_back(server.address);
  }
  const BrokerConfig& config = context_.settings();
  const protocol::BrokerIdentityRequest self{.broker_name = config.broker_name,
                                             .broker_address = context_.address,
                                             .cluster_name = config.cluster_name,
                                             .broker_id = config.broker_id};
  for (const std::string& address : registered_with) {
    auto answer =
        client_->call_and_wait(address, protocol::request_code::kUnregisterBroker, self, {}, 1s);
    if (!answer)
      context_.env.log.warn("not unregistered: name_server={} reason={}", address,
                            answer.error().detail);
  }
  std::unique_ptr<remoting::Client> closing;
  {
    std::lock_guard lock{calls_mutex_};
    closing = std::move(client_);
  }
}  // calls under way end here, without the mutex: their answers may come back to us

void Registration::tick() {
  const auto now = context_.env.clock.now();
  std::lock_guard lock{mutex_};
  for (NameServer& server : servers_) {
    if (now < server.due) continue;
    server.due = now + std::chrono::milliseconds{context_.settings().register_period_ms};
    server.whole_wanted = true;
    advance(server);
  }
}

void Registration::register_soon() {
  std::lock_guard lock{mutex_};
  for (NameServer& server : servers_) {
    server.whole_wanted = true;
    advance(server);
  }
}

void Registration::topics_changed(const std::vector<TopicPtr>& topics,
                                  const protocol::DataVersion& version) {
  if (topics.empty()) return register_soon();  // something was removed
  std::lock_guard lock{mutex_};
  for (NameServer& server : servers_) {
    for (const TopicPtr& topic : topics) server.changes.push_back({topic->topic_name, version});
    if (server.changes.size() > kChangesMax) server.whole_wanted = true;
    advance(server);
  }
}

void Registration::advance(NameServer& server) {
  if (stopped_ || server.under_way) return;
  if (!server.whole_wanted && !server.rest && server.changes.empty()) return;
  server.under_way = true;
  context_.on_worker([this, &server] { send_next(server); });
}

/// What the server is to hear next: the whole table, the next part of it, or one topic. nullopt:
/// nothing.
std::optional<protocol::TopicConfigTable> Registration::next_topics(NameServer& server) {
  server.sending_change = false;
  server.completing.reset();
  if (server.whole_wanted) {
    server.whole_wanted = false;
    server.changes.clear();  // they are in the table
    server.rest = context_.topics.table();
  }
  if (server.rest) {
    protocol::TopicConfigTable part;
    part.data_version = server.rest->data_version;
    auto& rest = server.rest->topic_config_table;
    while (!rest.empty() && part.topic_config_table.size() < kTopicsMax)
      part.topic_config_table.insert(rest.extract(rest.begin()));
    // A name server ignores topics that come with the version it has: each part needs its own, and
    // the last one the true one. Of a table that it has, the true one: what it was told of these
    // topics since, such as that nobody may write, stays.
    if (server.has_whole != part.data_version)
      part.data_version.timestamp -=
          static_cast<std::int64_t>((rest.size() + kTopicsMax - 1) / kTopicsMax);
    if (rest.empty()) {
      server.rest.reset();
      server.completing = part.data_version;
    }
    return part;
  }
  for (; !server.changes.empty(); server.changes.pop_front()) {
    const TopicPtr topic = context_.topics.find(server.changes.front().topic);
    if (!topic) continue;
    protocol::TopicConfigTable one;
    one.data_version = server.changes.front().version;
    one.topic_config_table.emplace(topic->topic_name, *topic);
    server.sending_change = true;
    return one;
  }
  return std::nullopt;
}

void Registration::send_next(NameServer& server) {
  protocol::RegisterBrokerBody body;
  {
    std::lock_guard lock{mutex_};
    auto topics = stopped_ ? std::nullopt : next_topics(server);
    if (!topics) {
      server.under_way = false;
      return;
    }
    body.topics = *std::move(topics);
  }
  const BrokerConfig& config = context_.settings();
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
  client_->call(server.address, protocol::RegisterBrokerRequest::kCode, header, text,
                std::chrono::milliseconds{config.register_timeout_ms},
                [this, &server, token = context_.in_flight.enter()](
                    Result<remoting::OwnedCommand> answer) { finished(server, answer); });
}

void Registration::finished(NameServer& server, const Result<remoting::OwnedCommand>& answer) {
  const bool good = answer && answer->code == protocol::response_code::kSuccess;
  bool order_counts = false;
  {
    std::lock_guard lock{mutex_};
    say(server, good, answer);
    server.under_way = false;
    server.settled = true;
    if (good || !server.sending_change) server.reachable = good;
    order_counts = good && is_first_reachable(server);
    if (good) {
      if (server.sending_change) {
        if (server.has_whole) server.has_whole = server.changes.front().version;
        server.changes.pop_front();
      }
      if (server.completing) server.has_whole = server.completing;
      advance(server);
    } else {
      // A name server that has restarted refuses a single topic: it hears of all of them at once.
      // One that refuses that as well, or is not there, is asked again a little later.
      server.whole_wanted = true;
      server.rest.reset();
      server.has_whole.reset();
      if (server.sending_change)
        advance(server);
      else
        server.due = context_.env.clock.now() + kRetry;
    }
  }
  settled_.notify_all();
  if (order_counts && !answer->body.empty()) adopt_order(*answer);
}

/// Said once for each time it changes.
void Registration::say(NameServer& server, bool good,
                       const Result<remoting::OwnedCommand>& answer) {
  if (stopped_ || server.reachable == good) return;
  if (good) {
    context_.env.log.info("registered: name_server={} as={}", server.address, context_.address);
  } else if (!server.sending_change) {
    context_.env.log.warn("not registered, trying on: name_server={} reason=\"{}\"", server.address,
                          answer ? answer->remark : answer.error().detail);
  }
}

bool Registration::is_first_reachable(const NameServer& server) const {
  for (const NameServer& each : servers_) {
    if (&each == &server) return true;
    if (each.reachable == true) return false;
  }
  return false;
}

/// Which topics are ordered is configured at the name servers, but not only there: a topic they do
/// not name stays as it is, such as the retry topic of a group that consumes in order
/// (TopicConfigManager.updateOrderTopicConfig). One name server is listened to.
void Registration::adopt_order(const remoting::OwnedCommand& answer) {
  const auto order = protocol::decode_body<protocol::KvTable>(std::string_view{answer.body});
  if (!order) return;
  std::set<std::string> ordered;
  for (const auto& [topic, brokers] : order->table) ordered.insert(topic);
  context_.on_worker([&topics = context_.topics, ordered = std::move(ordered)] {
    for (const TopicPtr& topic : topics.all()) {
      if (topic->order || !ordered.contains(topic->topic_name)) continue;
      protocol::TopicConfig changed = *topic;
      changed.order = true;
      topics.update(std::move(changed));
    }
  });
}

}  // namespace apogee::broker
