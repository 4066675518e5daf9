#include "broker/assignment.h"

#include <algorithm>
#include <set>

#include "protocol/codes.h"
#include "protocol/headers.h"
#include "protocol/names.h"
#include "protocol/table_file.h"

namespace apogee::broker {
namespace {

namespace code = protocol::response_code;
using protocol::MessageRequestModeBody;
using protocol::QueryAssignmentAnswer;
using protocol::QueryAssignmentBody;
using remoting::Answer;

constexpr auto kRouteTimeout = 3s;
constexpr std::string_view kPull = "PULL", kPop = "POP";

std::vector<std::string> split_addresses(std::string_view text) {
  std::vector<std::string> addresses;
  std::string address;
  for (const char c : std::string{text} + ";") {
    if (c != ';' && c != ',' && c != ' ') {
      address += c;
    } else if (!address.empty()) {
      addresses.push_back(std::exchange(address, {}));
    }
  }
  return addresses;
}

/// What an operator has set, or the broker's defaults. Retry topics are pulled unless set.
MessageRequestModeBody mode_of(const Context& context, const MessageRequestModes& modes,
                               const QueryAssignmentBody& query) {
  if (auto set = modes.find(query.topic, query.consumer_group)) return *std::move(set);
  const BrokerConfig& settings = context.settings();
  MessageRequestModeBody mode;
  mode.mode = kPull;
  if (!protocol::is_retry_topic(query.topic) &&
      settings.default_request_mode == MessageRequestMode::kPop) {
    mode.mode = kPop;
    mode.pop_share_queues = settings.default_pop_share_queues;
  }
  return mode;
}

std::optional<TopicRoutes::Queues> divide(Context& context, const QueryAssignmentBody& query,
                                          const MessageRequestModeBody& mode,
                                          TopicRoutes::Queues queues) {
  if (query.message_model == protocol::MessageModel::kBroadcasting ||
      !context.settings().server_load_balancer)
    return queues;
  if (!context.consumers.online(query.consumer_group)) return std::nullopt;
  std::vector<std::string> clients = context.consumers.client_ids(query.consumer_group);
  std::ranges::sort(clients);
  clients.erase(std::ranges::unique(clients).begin(), clients.end());
  if (mode.mode == kPop)
    return allocate_to_pop(query.strategy_name, query.client_id, queues, clients,
                           mode.pop_share_queues);
  return allocate(query.strategy_name, query.client_id, queues, clients);
}

void query_assignment(Context& context, const MessageRequestModes& modes, TopicRoutes& routes,
                      const remoting::Request& request) {
  auto query = protocol::decode_body<QueryAssignmentBody>(request.command.body);
  if (!query) return request.responder.reply(code::kSystemError, query.error().detail);
  auto token = context.in_flight.enter();
  if (!token) return;
  const std::string topic = query->topic;
  routes.find(topic, [&context, &modes, token, query = *std::move(query),
                      responder = request.responder](std::optional<TopicRoutes::Queues> queues) {
    const MessageRequestModeBody mode = mode_of(context, modes, query);
    if (queues) queues = divide(context, query, mode, *std::move(queues));
    QueryAssignmentAnswer answer;
    if (queues) {
      // A set: clients that pop share brokers, not queues.
      answer.assignments.emplace();
      for (const protocol::MessageQueue& each :
           std::set<protocol::MessageQueue>{queues->begin(), queues->end()})
        answer.assignments->push_back({each, mode.mode});
    }
    responder.reply(code::kSuccess, {}, protocol::NoFields{}, as_bytes(encode_body(answer)));
  });
}

Answer set_mode(Context& context, MessageRequestModes& modes, std::string_view body) {
  auto mode = protocol::decode_body<MessageRequestModeBody>(as_bytes(body));
  if (!mode) return Answer::error(code::kSystemError, mode.error().detail);
  if (mode->mode != kPull && mode->mode != kPop)
    return Answer::error(code::kSystemError, "the mode is neither PULL nor POP");
  if (protocol::is_retry_topic(mode->topic))
    return Answer::error(code::kNoPermission, "retry topic is not allowed to set mode");
  if (!context.topics.contains(mode->topic))
    return Answer::error(code::kTopicNotExist, "topic[" + mode->topic + "] not exist");
  if (!context.groups.find_or_create(mode->consumer_group))
    return Answer::error(code::kSubscriptionGroupNotExist, "subscription group does not exist");
  if (auto written = modes.set(*std::move(mode)); !written)
    return Answer::error(code::kSystemError, written.error().detail);
  return {};
}

}  // namespace

// ---- Modes -------------------------------------------------------------------------------------

Result<Ok> MessageRequestModes::load() {
  auto table = protocol::load_table<protocol::MessageRequestModeTable>(env_, path_);
  if (!table) return table.error();
  std::lock_guard lock{mutex_};
  if (*table) table_ = std::move(**table);
  return Ok{};
}

Result<Ok> MessageRequestModes::set(MessageRequestModeBody mode) {
  std::lock_guard one_writer{file_mutex_};
  protocol::MessageRequestModeTable next = table();
  next.modes[mode.topic][mode.consumer_group] = mode;
  if (auto saved = protocol::save_table(env_, path_, next); !saved) return saved;
  std::lock_guard lock{mutex_};
  table_ = std::move(next);
  return Ok{};
}

std::optional<MessageRequestModeBody> MessageRequestModes::find(const std::string& topic,
                                                                const std::string& group) const {
  std::lock_guard lock{mutex_};
  const auto groups = table_.modes.find(topic);
  if (groups == table_.modes.end()) return std::nullopt;
  const auto mode = groups->second.find(group);
  if (mode == groups->second.end()) return std::nullopt;
  return mode->second;
}

protocol::MessageRequestModeTable MessageRequestModes::table() const {
  std::lock_guard lock{mutex_};
  return table_;
}

// ---- Routes ------------------------------------------------------------------------------------

TopicRoutes::TopicRoutes(Context& context, std::string_view name_servers,
                         std::unique_ptr<remoting::Client> client)
    : context_{context}, name_servers_{split_addresses(name_servers)}, client_{std::move(client)} {}

void TopicRoutes::stop() {
  std::unique_ptr<remoting::Client> closing;
  std::lock_guard lock{calls_mutex_};
  closing.swap(client_);
}

std::optional<TopicRoutes::Queues> TopicRoutes::with_own(const std::string& topic,
                                                         std::optional<Queues> others) const {
  const TopicPtr own = context_.topics.find(topic);
  if (!own || (own->perm & protocol::perm::kRead) == 0) return others;
  Queues queues = others ? *std::move(others) : Queues{};
  for (std::int32_t id = 0; id < own->read_queue_nums; ++id)
    queues.push_back({context_.settings().broker_name, id, topic});
  std::ranges::sort(queues);
  return queues;
}

void TopicRoutes::find(const std::string& topic, std::function<void(std::optional<Queues>)> done) {
  std::optional<Queues> fresh;
  std::string address;
  {
    std::lock_guard lock{mutex_};
    const auto known = known_.find(topic);
    const bool is_fresh = known != known_.end() &&
                          context_.env.clock.now() - known->second.asked < kFreshFor &&
                          known->second.queues;
    if (is_fresh) fresh = known->second.queues;
    if (!is_fresh && !name_servers_.empty()) address = name_servers_[turn_ % name_servers_.size()];
  }
  if (address.empty()) return done(with_own(topic, std::move(fresh)));
  std::unique_lock lock{calls_mutex_};
  if (!client_) return;
  client_->call(
      address, protocol::RouteRequest::kCode,
      protocol::RouteRequest{
          .topic = topic, .accept_standard_json_only = {}, .zone_mode = {}, .zone_name = {}},
      {}, kRouteTimeout,
      [this, topic, done = std::move(done)](Result<remoting::OwnedCommand> answer) {
        answered(topic, std::move(answer), done);
      });
}

void TopicRoutes::answered(const std::string& topic, Result<remoting::OwnedCommand> answer,
                           const std::function<void(std::optional<Queues>)>& done) {
  std::optional<protocol::TopicRouteData> route;
  if (answer && answer->code == code::kSuccess) {
    auto decoded = protocol::decode_body<protocol::TopicRouteData>(answer->body);
    if (decoded) route = *std::move(decoded);
  }
  std::optional<Queues> others;
  {
    std::lock_guard lock{mutex_};
    Known& known = known_[topic];
    if (route) {
      known = {context_.env.clock.now(), Queues{}};
      for (const protocol::QueueData& each : route->queue_datas) {
        if (each.broker_name == context_.settings().broker_name ||
            (each.perm & protocol::perm::kRead) == 0)
          continue;
        for (std::int32_t id = 0; id < std::min(each.read_queue_nums, 65'536); ++id)
          known.queues->push_back({each.broker_name, id, topic});
      }
      std::ranges::sort(*known.queues);
    } else if (answer && answer->code == code::kTopicNotExist) {
      known.queues.reset();
    } else {
      ++turn_;  // the next name server; what was known stays
    }
    others = known.queues;
    if (!known.queues || known_.size() > kTopicsMax) known_.erase(topic);
  }
  done(with_own(topic, std::move(others)));
}

// ---- Strategies --------------------------------------------------------------------------------

namespace {

/// Contiguous ranges, the first clients one more (AllocateMessageQueueAveragely).
TopicRoutes::Queues averagely(const TopicRoutes::Queues& queues, std::size_t index,
                              std::size_t clients) {
  const std::size_t rest = queues.size() % clients;
  const std::size_t size = queues.size() / clients + (index < rest ? 1 : 0);
  const std::size_t begin = index * (queues.size() / clients) + std::min(index, rest);
  TopicRoutes::Queues part;
  for (std::size_t i = begin; i < begin + size; ++i) part.push_back(queues[i]);
  return part;
}

/// Dealt out one by one (AllocateMessageQueueAveragelyByCircle).
TopicRoutes::Queues by_circle(const TopicRoutes::Queues& queues, std::size_t index,
                              std::size_t clients) {
  TopicRoutes::Queues part;
  for (std::size_t i = index; i < queues.size(); i += clients) part.push_back(queues[i]);
  return part;
}

}  // namespace

std::optional<TopicRoutes::Queues> allocate(const std::string& strategy, const std::string& client,
                                            const TopicRoutes::Queues& queues,
                                            const std::vector<std::string>& clients) {
  if (strategy != "AVG" && strategy != "AVG_BY_CIRCLE") return std::nullopt;
  if (client.empty() || queues.empty() || clients.empty()) return std::nullopt;
  const auto own = std::ranges::find(clients, client);
  if (own == clients.end()) return TopicRoutes::Queues{};
  const auto index = static_cast<std::size_t>(own - clients.begin());
  return strategy == "AVG" ? averagely(queues, index, clients.size())
                           : by_circle(queues, index, clients.size());
}

std::optional<TopicRoutes::Queues> allocate_to_pop(const std::string& strategy,
                                                   const std::string& client,
                                                   const TopicRoutes::Queues& queues,
                                                   const std::vector<std::string>& clients,
                                                   std::int32_t share) {
  if (strategy != "AVG" && strategy != "AVG_BY_CIRCLE") return std::nullopt;
  const auto count = static_cast<std::int64_t>(clients.size());
  if (share <= 0 || share >= count - 1) {
    TopicRoutes::Queues all = queues;
    for (protocol::MessageQueue& each : all) each.queue_id = -1;
    return all;
  }
  if (client.empty() || queues.empty()) return std::nullopt;
  const auto own = std::ranges::find(clients, client);
  if (own == clients.end()) return TopicRoutes::Queues{};
  auto index = static_cast<std::size_t>(own - clients.begin());
  if (clients.size() > queues.size())  // so that each has one
    return TopicRoutes::Queues{queues[index % queues.size()]};
  auto shared = allocate(strategy, client, queues, clients);
  for (std::int32_t i = 0; shared && i < share; ++i) {
    index = (index + 1) % clients.size();
    const auto more = allocate(strategy, clients[index], queues, clients);
    if (more) shared->insert(shared->end(), more->begin(), more->end());
  }
  return shared;
}

void add_assignment(remoting::Processors& processors, Context& context, MessageRequestModes& modes,
                    TopicRoutes& routes) {
  processors.on_async_code<protocol::NoFields>(
      protocol::request_code::kQueryAssignment,
      [&](const protocol::NoFields&, const remoting::Request& request) {
        query_assignment(context, modes, routes, request);
      });
  processors.on_worker_code<protocol::NoFields>(
      protocol::request_code::kSetMessageRequestMode,
      [&](const protocol::NoFields&, const remoting::OwnedCommand& request,
          const remoting::PeerPtr&) { return set_mode(context, modes, request.body); });
  processors.on_worker_code<protocol::NoFields>(
      protocol::request_code::kGetAllMessageRequestMode,
      [&](const protocol::NoFields&, const remoting::OwnedCommand&, const remoting::PeerPtr&) {
        return Answer::with_body(encode_body(modes.table()));
      });
}

}  // namespace apogee::broker
