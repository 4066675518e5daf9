#include "namesrv/name_server.h"

#include "base/crc.h"
#include "base/properties_file.h"
#include "protocol/names.h"

namespace apogee::namesrv {
namespace {

namespace code = protocol::response_code;
namespace request = protocol::request_code;
using remoting::Answer;
using remoting::Request;

constexpr std::int32_t kVersionBodyWrapped =
    37;  // V3_0_11: RegisterBrokerBody; before it the topic table alone
constexpr std::int32_t kVersionStandardJson = 401;  // V4_9_4: reads quoted broker ids
constexpr std::size_t kCachedRoutesMax = 100'000;

Answer topics_answer(std::set<std::string> topics) {
  return Answer::with_body(
      protocol::encode_body(protocol::TopicList{.topic_list = std::move(topics)}));
}

/// ZoneRouteRPCHook: brokers of other zones go, unless their group has no master.
void keep_zone(protocol::TopicRouteData& route, const std::string& zone) {
  const auto equal = [](std::string_view a, std::string_view b) {
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
             return std::tolower(static_cast<unsigned char>(x)) ==
                    std::tolower(static_cast<unsigned char>(y));
           });
  };
  std::set<std::string> dropped;
  std::erase_if(route.broker_datas, [&](const protocol::BrokerData& data) {
    if (!data.broker_addresses.contains(0) || equal(data.zone_name.value_or(""), zone))
      return false;
    dropped.insert(data.broker_name);
    return true;
  });
  std::erase_if(route.queue_datas, [&](const protocol::QueueData& queue) {
    return dropped.contains(queue.broker_name);
  });
}

}  // namespace

/// The processors, plus what a connection's end means here.
class NameServer::Requests final : public remoting::Processors {
 public:
  explicit Requests(NameServer& server) : Processors{server.env_}, server_{server} {}
  void on_disconnected(const remoting::PeerPtr& peer, const Error&) override {
    server_.tell(server_.routes_.drop_peer(*peer));
  }

 private:
  NameServer& server_;
};

std::vector<OptionView> Config::options() {
  auto all = option_views(name_server);
  for (auto& view : option_views(server)) all.push_back(std::move(view));
  return all;
}

NameServer::NameServer(Env& env, Config config)
    : env_{env},
      config_{std::move(config)},
      routes_{env.clock,
              {.delete_topic_with_registration = config_.name_server.delete_topic_with_registration,
               .notify_min_broker_id_changed = config_.name_server.notify_min_broker_id_changed,
               .support_acting_master = config_.name_server.support_acting_master}},
      kv_{env, config_.name_server.kv_config_path},
      started_{env.clock.now()},
      client_{remoting::make_client(env, {})},
      requests_{std::make_unique<Requests>(*this)} {}

NameServer::~NameServer() {
  scan_.reset();
  server_.reset();
  requests_->finish_workers();  // they use all that ends from here on
}

Result<std::unique_ptr<NameServer>> NameServer::start(Env& env, Config config) {
  std::unique_ptr<NameServer> server{new NameServer{env, std::move(config)}};
  if (auto loaded = server->kv_.load(); !loaded) return loaded.error();
  server->add_processors();
  auto listening = remoting::start_server(env, server->config_.server, *server->requests_);
  if (!listening) return listening.error();
  server->server_ = *std::move(listening);
  const std::chrono::milliseconds interval{server->config_.name_server.scan_interval_ms};
  server->scan_ =
      std::make_unique<Periodic>(env.clock, env.workers, interval, interval, [self = server.get()] {
        const Routes::Silent silent = self->routes_.drop_silent();
        for (const auto& peer : silent.peers) peer->close("the broker was silent for too long");
        self->tell(silent.notices);
      });
  return server;
}

std::map<std::int32_t, std::string> NameServer::codes() const {
  return requests_->codes();
}

/// To the addresses brokers serve: the connections they register over take no requests.
void NameServer::tell(const std::vector<Notice>& notices) {
  for (const Notice& notice : notices) {
    env_.log.info("smallest broker id changed: broker={} id={} told={}",
                  notice.request.broker_name.value_or(""), notice.request.min_broker_id.value_or(0),
                  notice.addresses.size());
    for (const std::string& address : notice.addresses)
      client_->oneway(address, protocol::NotifyMinBrokerIdChangeRequest::kCode, notice.request, {});
  }
}

void NameServer::add_processors() {
  add_registration();
  add_routes();
  add_lists();
  add_kv();
  add_configuration();
  for (const std::int32_t controller :
       {1001, 1002, 1003, 1004, 1005, 1006, 1009, 1010, 1011, 1012, 1013})
    requests_->refuse(controller, "there is no controller in this name server");
}

void NameServer::add_registration() {
  requests_->on<protocol::RegisterBrokerRequest>(
      [this](const protocol::RegisterBrokerRequest& header, const Request& received) -> Answer {
        const Bytes bytes = received.command.body;
        if (header.body_crc32.value_or(0) != 0 && crc32_positive(bytes) != *header.body_crc32)
          return Answer::error(code::kSystemError, "crc32 not match");
        Result<protocol::RegisterBrokerBody> body = protocol::RegisterBrokerBody{};
        if (!bytes.empty()) {
          if (header.compressed.value_or(false)) {
            body = protocol::decode_compressed_registration(bytes, received.command.version);
          } else if (received.command.version >= kVersionBodyWrapped) {
            body = protocol::decode_body<protocol::RegisterBrokerBody>(bytes);
          } else {
            auto table = protocol::decode_body<protocol::TopicConfigTable>(bytes);
            if (!table)
              body = table.error();
            else
              body->topics = *std::move(table);
          }
        }
        if (!body)
          return Answer::error(code::kSystemError,
                               "register broker failed: " + body.error().detail);
        auto registered = routes_.register_broker(header, *body, received.peer());
        if (!registered) return Answer::error(code::kSystemError, "register broker failed");
        tell(registered->notices);
        Buffer order;
        {
          std::shared_lock lock{config_mutex_};
          if (config_.name_server.return_order_topic_config) {
            if (auto table = kv_.list(std::string{protocol::kOrderTopicNamespace}))
              order = protocol::encode_body(protocol::KvTable{*std::move(table)});
          }
        }
        return Answer::with(
            protocol::RegisterBrokerResponse{.ha_server_address = registered->ha_server_address,
                                             .master_address = registered->master_address},
            std::move(order));
      });
  requests_->on_code<protocol::BrokerIdentityRequest>(
      request::kUnregisterBroker,
      [this](const protocol::BrokerIdentityRequest& header, const Request&) {
        tell(routes_.unregister({header}));
        return Answer{};
      });
  requests_->on_code<protocol::BrokerIdentityRequest>(
      request::kQueryDataVersion,
      [this](const protocol::BrokerIdentityRequest& header, const Request& received) -> Answer {
        auto version = protocol::decode_body<protocol::DataVersion>(received.command.body);
        if (!version)
          return Answer::error(code::kSystemError, "data version: " + version.error().detail);
        const auto answer =
            routes_.compare_version({header.cluster_name, header.broker_address}, *version);
        return Answer::with(protocol::QueryDataVersionResponse{answer.changed},
                            answer.known ? protocol::encode_body(*answer.known) : Buffer{});
      });
  requests_->on<protocol::BrokerHeartbeatRequest>(
      [this](const protocol::BrokerHeartbeatRequest& header, const Request&) {
        routes_.heartbeat({header.cluster_name, header.broker_address});
        return Answer{};
      });
}

Answer NameServer::route(const protocol::RouteRequest& header, const Request& received) {
  bool order;
  {
    std::shared_lock lock{config_mutex_};
    const NameServerConfig& config = config_.name_server;
    if (config.need_wait_for_service &&
        env_.clock.now() - started_ < std::chrono::seconds{config.wait_seconds_for_service})
      return Answer::error(code::kSystemError, "name server not ready");
    order = config.order_message_enable;
  }
  const bool standard = received.command.version >= kVersionStandardJson ||
                        header.accept_standard_json_only.value_or(false);
  const bool zone = header.zone_mode == "true" && header.zone_name && !header.zone_name->empty();
  // Read before the route: a cached answer is never newer than its version. 0 names none: of every
  // time without the topic, and so of a route that came between these two lines and is gone.
  const std::uint64_t version = routes_.version(header.topic);
  if (!zone && !order && version != 0) {
    std::shared_lock lock{cache_mutex_};
    if (const auto found = cache_.find(header.topic);
        found != cache_.end() && found->second->version == version)
      return Answer::with_body(standard ? found->second->quoted : found->second->bare);
  }
  auto route = routes_.route(header.topic);
  if (!route)
    return Answer::error(
        code::kTopicNotExist,
        "No topic route info in name server for the topic: " + header.topic +
            "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.");
  if (order)
    route->order_topic_conf = kv_.find(std::string{protocol::kOrderTopicNamespace}, header.topic);
  if (zone) {
    keep_zone(*route, *header.zone_name);
    return Answer::with_body(protocol::encode_body(*route));
  }
  auto cached = std::make_shared<CachedRoute>();
  cached->version = version;
  cached->quoted = protocol::encode_body(*route, protocol::JsonStyle::kStandard);
  cached->bare = protocol::encode_body(*route);
  Answer answer = Answer::with_body(standard ? cached->quoted : cached->bare);
  if (!order && version != 0) {
    std::unique_lock lock{cache_mutex_};
    if (cache_.size() >= kCachedRoutesMax) cache_.clear();
    cache_[header.topic] = std::move(cached);
  }
  return answer;
}

void NameServer::add_routes() {
  requests_->on<protocol::RouteRequest>(
      [this](const protocol::RouteRequest& header, const Request& received) {
        return route(header, received);
      });
  requests_->on_code<protocol::NoFields>(
      request::kGetBrokerClusterInfo, [this](const protocol::NoFields&, const Request&) {
        return Answer::with_body(protocol::encode_body(routes_.clusters()));
      });
  requests_->on<protocol::MemberGroupRequest>(
      [this](const protocol::MemberGroupRequest& header, const Request&) {
        return Answer::with_body(
            protocol::encode_body(routes_.members(header.cluster_name, header.broker_name)));
      });
  requests_->on_code<protocol::BrokerNameRequest>(
      request::kWipeWritePermOfBroker,
      [this](const protocol::BrokerNameRequest& header, const Request& received) {
        const std::int32_t count = routes_.set_write_permission(header.broker_name, false);
        env_.log.info("write permission wiped: broker={} topics={} by={}", header.broker_name,
                      count, received.peer()->remote_text());
        return Answer::with(protocol::WipeWritePermResponse{count});
      });
  requests_->on_code<protocol::BrokerNameRequest>(
      request::kAddWritePermOfBroker,
      [this](const protocol::BrokerNameRequest& header, const Request& received) {
        const std::int32_t count = routes_.set_write_permission(header.broker_name, true);
        env_.log.info("write permission added: broker={} topics={} by={}", header.broker_name,
                      count, received.peer()->remote_text());
        return Answer::with(protocol::AddWritePermResponse{count});
      });
  requests_->on<protocol::DeleteTopicInNameServerRequest>(
      [this](const protocol::DeleteTopicInNameServerRequest& header, const Request&) {
        routes_.delete_topic(header.topic, header.cluster_name);
        return Answer{};
      });
  requests_->on_code<protocol::TopicRequest>(
      request::kRegisterTopicInNameServer,
      [this](const protocol::TopicRequest& header, const Request& received) -> Answer {
        auto route = protocol::decode_body<protocol::TopicRouteData>(received.command.body);
        if (!route) return Answer::error(code::kSystemError, "route: " + route.error().detail);
        routes_.register_topic(header.topic, route->queue_datas);
        return {};
      });
}

void NameServer::add_lists() {
  const auto list = [this](std::int32_t list_code, bool NameServerConfig::* enabled, auto make) {
    requests_->on_code<protocol::NoFields>(
        list_code, [this, enabled, make](const protocol::NoFields&, const Request&) -> Answer {
          std::shared_lock lock{config_mutex_};
          if (!(config_.name_server.*enabled)) return Answer::error(code::kSystemError, "disable");
          return make();
        });
  };
  list(request::kGetAllTopicListFromNameServer, &NameServerConfig::enable_all_topic_list,
       [this] { return topics_answer(routes_.topics()); });
  list(request::kGetUnitTopicList, &NameServerConfig::enable_topic_list,
       [this] { return topics_answer(routes_.unit_topics(Routes::Units::kUnit)); });
  list(request::kGetHasUnitSubTopicList, &NameServerConfig::enable_topic_list,
       [this] { return topics_answer(routes_.unit_topics(Routes::Units::kHasUnitSub)); });
  list(request::kGetHasUnitSubUnunitTopicList, &NameServerConfig::enable_topic_list,
       [this] { return topics_answer(routes_.unit_topics(Routes::Units::kHasUnitSubNotUnit)); });
  requests_->on_code<protocol::NoFields>(
      request::kGetSystemTopicListFromNameServer,
      [this](const protocol::NoFields&, const Request&) {
        return Answer::with_body(protocol::encode_body(routes_.system_topics()));
      });
  requests_->on<protocol::ClusterRequest>(
      [this](const protocol::ClusterRequest& header, const Request&) -> Answer {
        std::shared_lock lock{config_mutex_};
        if (!config_.name_server.enable_topic_list)
          return Answer::error(code::kSystemError, "disable");
        return topics_answer(routes_.topics_of_cluster(header.cluster));
      });
}

void NameServer::add_kv() {
  requests_->on_worker_code<protocol::KvRequest>(
      request::kPutKvConfig,
      [this](const protocol::KvRequest& header, const remoting::OwnedCommand&,
             const remoting::PeerPtr&) -> Answer {
        if (auto set = kv_.set(header.config_namespace, header.key, header.value.value_or(""));
            !set)
          return Answer::error(code::kSystemError, set.error().detail);
        return {};
      });
  requests_->on_worker_code<protocol::KvRequest>(
      request::kDeleteKvConfig,
      [this](const protocol::KvRequest& header, const remoting::OwnedCommand&,
             const remoting::PeerPtr&) -> Answer {
        if (auto removed = kv_.remove(header.config_namespace, header.key); !removed)
          return Answer::error(code::kSystemError, removed.error().detail);
        return {};
      });
  requests_->on_code<protocol::KvRequest>(
      request::kGetKvConfig, [this](const protocol::KvRequest& header, const Request&) -> Answer {
        auto value = kv_.find(header.config_namespace, header.key);
        if (!value)
          return Answer::error(
              code::kQueryNotFound,
              "No config item, Namespace: " + header.config_namespace + " Key: " + header.key);
        return Answer::with(protocol::KvValueResponse{std::move(value)});
      });
  requests_->on<protocol::NamespaceRequest>(
      [this](const protocol::NamespaceRequest& header, const Request&) -> Answer {
        auto table = kv_.list(header.config_namespace);
        if (!table)
          return Answer::error(code::kQueryNotFound,
                               "No config item, Namespace: " + header.config_namespace);
        return Answer::with_body(protocol::encode_body(protocol::KvTable{*std::move(table)}));
      });
}

void NameServer::add_configuration() {
  requests_->on_code<protocol::NoFields>(
      request::kGetNameServerConfig, [this](const protocol::NoFields&, const Request&) {
        std::shared_lock lock{config_mutex_};
        std::string text;
        for (const OptionView& option : config_.options()) {
          if (!option.ignored && !option.secret())
            text += std::string{option.name} + "=" + option.value + "\n";
        }
        return Answer::with_body(std::move(text));
      });
  requests_->on_worker_code<protocol::NoFields>(
      request::kUpdateNameServerConfig,
      [this](const protocol::NoFields&, const remoting::OwnedCommand& command,
             const remoting::PeerPtr& peer) {
        env_.log.info("configuration update asked for: by={}", peer->remote_text());
        return update_configuration(command.body);
      });
}

/// Typed, and only keys that may change while running: no update reaches a path (CVE-2023-37582).
Answer NameServer::update_configuration(std::string_view text) {
  auto properties = parse_properties(text);
  if (!properties)
    return Answer::error(code::kSystemError,
                         "string2Properties error: " + properties.error().detail);
  std::lock_guard one{update_mutex_};
  Config next = config_;  // only updates write it
  auto options = next.options();
  for (const Property& property : *properties) {
    const auto option = std::find_if(options.begin(), options.end(), [&](const OptionView& each) {
      return each.name == property.key;
    });
    if (option == options.end())
      return Answer::error(code::kSystemError, "unknown key " + property.key);
    if (!option->at_run_time)
      return Answer::error(code::kNoPermission, "Can not update config in black list. " +
                                                    property.key +
                                                    " cannot change while the name server runs");
    if (auto set = option->set(property.value); !set)
      return Answer::error(code::kSystemError, set.error().detail);
  }
  {
    std::unique_lock lock{config_mutex_};
    config_.name_server = next.name_server;
  }
  // Written without config_mutex_: route queries on io threads take it.
  const std::string& path =
      next.name_server.config_store_path.empty() ? next.path : next.name_server.config_store_path;
  if (path.empty()) return {};
  if (auto written = write_options(env_.files, path, next.options()); !written)
    return Answer::error(code::kSystemError,
                         "in force, but not written: " + written.error().detail +
                             "; it is lost at the next restart");
  return {};
}

}  // namespace apogee::namesrv
