#include <algorithm>

#include "fuzz/input.h"
#include "fuzz/law.h"
#include "namesrv/name_server.h"
#include "testing/disk_env.h"
#include "testing/network.h"

/// A name server and a peer that registers, unregisters, asks and configures with any bytes for
/// bodies. Laws: every request is answered; an honest broker registers and its topic is found,
/// whatever was said before, and a route that is given out can be read.
namespace {

using apogee::fuzz::Input;
using apogee::fuzz::require;

using namespace apogee;
using protocol::Language;
namespace request = protocol::request_code;

constexpr const char* kServer = "10.0.0.1";
constexpr const char* kClient = "10.0.0.2";

struct World {
  testing::DiskEnv disk;
  testing::Network network{disk.clock};
  Env server_env{disk.clock,   disk.env->files, network.machine(kServer),
                 disk.workers, disk.random,     disk.log};
  Env client_env{disk.clock,   disk.env->files, network.machine(kClient),
                 disk.workers, disk.random,     disk.log};
  std::unique_ptr<namesrv::NameServer> server;
  std::unique_ptr<remoting::Client> client = remoting::make_client(client_env, {});

  World() {
    require(disk.env->files.create_directories("/ns").has_value());
    namesrv::Config config;
    config.server.listen_port = 9'876;
    config.name_server.kv_config_path = "/ns/kvConfig.json";
    config.name_server.config_store_path = "/ns/namesrv.conf";
    config.name_server.support_acting_master = config.name_server.notify_min_broker_id_changed =
        true;
    auto started = namesrv::NameServer::start(server_env, std::move(config));
    require(started.has_value());
    server = *std::move(started);
  }
  ~World() {
    network.cut(kServer, kClient);  // nothing runs while a destructor waits
    network.run();
  }

  template <class Header>
  remoting::OwnedCommand ask(std::int32_t code, std::int32_t version, const Header& header,
                             Bytes body) {
    std::optional<Result<remoting::OwnedCommand>> answer;
    client->call_frame(
        std::string{kServer} + ":9876",
        [&](Buffer& out, std::int32_t opaque) {
          protocol::encode_command(
              out,
              {.code = code, .opaque = opaque, .language = Language::kJava, .version = version},
              header, body);
        },
        3s, [&](Result<remoting::OwnedCommand> got) { answer = std::move(got); });
    network.run();
    require(answer && *answer);
    return **std::move(answer);
  }
};

std::string name(Input& input) {
  static constexpr std::array kNames{"a", "b", "TBW102", "%RETRY%g", "", "10.0.0.3:10911"};
  const std::uint32_t choice = input.next(kNames.size() + 1);
  return choice < kNames.size() ? kNames[choice] : std::string{as_text(input.take(input.next(9)))};
}

void say_something(World& world, Input& input) {
  static constexpr std::array<std::int32_t, 4> kVersions{0, 401, 493, 513};
  const std::int32_t version = kVersions[input.next(kVersions.size())];
  const std::uint32_t what = input.next(8);
  const protocol::BrokerIdentityRequest broker{
      .broker_name = name(input),
      .broker_address = name(input),
      .cluster_name = name(input),
      .broker_id = input.next(3) == 0 ? input.number() : 0};
  const std::uint32_t flags = input.next(16);
  const Bytes body = input.take(what < 5 ? input.next(2'048) : 0);
  switch (what) {
    case 0:
    case 1:
    case 2: {
      protocol::RegisterBrokerRequest header;
      header.broker_name = broker.broker_name;
      header.broker_address = broker.broker_address;
      header.cluster_name = broker.cluster_name;
      header.broker_id = broker.broker_id;
      header.compressed = what == 2;
      if ((flags & 1) != 0) header.enable_acting_master = true;
      if ((flags & 2) != 0) header.heartbeat_timeout_ms = input.number();
      (void)world.ask(request::kRegisterBroker, version, header, body);
      break;
    }
    case 3:
      (void)world.ask(request::kQueryDataVersion, version, broker, body);
      break;
    case 4:
      (void)world.ask(request::kRegisterTopicInNameServer, version,
                      protocol::TopicRequest{.topic = broker.broker_name}, body);
      break;
    case 5:
      (void)world.ask(request::kUnregisterBroker, version, broker, {});
      break;
    case 6:
      (void)world.ask(request::kUpdateNameServerConfig, version, protocol::NoFields{},
                      input.take(input.next(64)));
      break;
    default:
      (void)world.ask(request::kPutKvConfig, version,
                      protocol::KvRequest{.config_namespace = broker.broker_name,
                                          .key = broker.broker_address,
                                          .value = broker.cluster_name},
                      {});
  }
  for (const auto& topic : {broker.broker_name, std::string{"a"}}) {
    const auto route = world.ask(request::kGetRouteInfoByTopic, version,
                                 protocol::RouteRequest{.topic = topic}, {});
    if (route.code == 0)
      require(protocol::decode_body<protocol::TopicRouteData>(route.body).has_value());
  }
  world.disk.clock.advance(std::chrono::seconds{input.next(200)});
  world.network.run();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input{std::as_bytes(std::span{data, size})};
  World world;
  for (int words = 0; words < 8 && !input.rest.empty(); ++words) say_something(world, input);
  protocol::RegisterBrokerRequest header;
  header.broker_name = "honest";
  header.broker_address = "10.0.0.2:10911";
  header.cluster_name = "honest";
  protocol::RegisterBrokerBody body;
  body.topics.data_version.counter = 7;
  // One topic alone is no first registration.
  for (const char* topic : {"honest", "other"})
    body.topics.topic_config_table[topic].topic_name = topic;
  require(world.ask(request::kRegisterBroker, 493, header, as_bytes(protocol::encode_body(body)))
              .code == 0);
  const auto route =
      world.ask(request::kGetRouteInfoByTopic, 493, protocol::RouteRequest{.topic = "honest"}, {});
  require(route.code == 0);
  const auto read = protocol::decode_body<protocol::TopicRouteData>(route.body);
  require(read && std::ranges::any_of(read->broker_datas, [](const protocol::BrokerData& each) {
            return each.broker_name == "honest";
          }));
  (void)world.ask(request::kGetBrokerClusterInfo, 493, protocol::NoFields{}, {});
  (void)world.ask(request::kGetAllTopicListFromNameServer, 493, protocol::NoFields{}, {});
  return 0;
}
