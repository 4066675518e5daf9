#include "namesrv/routes.h"

#include <random>

#include <gtest/gtest.h>

#include "testing/fake_peer.h"
#include "testing/manual_clock.h"

namespace apogee::namesrv {
namespace {

using namespace std::chrono_literals;

class RouteTable : public ::testing::Test {
 protected:
  static protocol::RegisterBrokerRequest header(const std::string& name, std::int64_t id,
                                                const std::string& address) {
    protocol::RegisterBrokerRequest header;
    header.broker_name = name;
    header.broker_address = address;
    header.cluster_name = "c";
    header.broker_id = id;
    header.ha_server_address = address + "-ha";
    return header;
  }
  static protocol::RegisterBrokerBody topics(std::initializer_list<std::string> names,
                                             std::int64_t counter = 1, std::int64_t state = 0) {
    protocol::RegisterBrokerBody body;
    body.topics.data_version.counter = counter;
    body.topics.data_version.state_version = state;
    for (const std::string& name : names) {
      protocol::TopicConfig topic;
      topic.topic_name = name;
      body.topics.topic_config_table[name] = topic;
    }
    return body;
  }
  remoting::PeerPtr peer() { return std::make_shared<testing::FakePeer>(loop_, ++last_peer_); }
  bool has(const std::string& topic) const { return routes_.route(topic).has_value(); }

  testing::ManualClock clock_;
  testing::ManualLoop loop_;
  Routes routes_{clock_,
                 {.delete_topic_with_registration = false,
                  .notify_min_broker_id_changed = true,
                  .support_acting_master = true}};
  std::uint64_t last_peer_ = 0;
};

TEST_F(RouteTable, ShowsARegisteredTopicWithItsBroker) {
  routes_.register_broker(header("a", 0, "h:1"), topics({"t", "u"}), peer());
  const auto route = routes_.route("t");
  ASSERT_TRUE(route);
  EXPECT_EQ(route->broker_datas.at(0).broker_addresses.at(0), "h:1");
  EXPECT_EQ(route->queue_datas.at(0).write_queue_nums, 16);
  EXPECT_FALSE(has("x"));
}

TEST_F(RouteTable, RefusesOneTopicFromABrokerItDoesNotKnow) {
  EXPECT_FALSE(routes_.register_broker(header("a", 0, "h:1"), topics({"t"}), peer()));
  EXPECT_TRUE(routes_.register_broker(header("a", 0, "h:1"), topics({"t", "u"}), peer()));
  EXPECT_TRUE(routes_.register_broker(header("a", 0, "h:1"), topics({"v"}, 2), peer()))
      << "known by now";
  EXPECT_TRUE(has("t"));
  EXPECT_TRUE(has("v"));
}

TEST_F(RouteTable, DeletesWhatANewTableLacksButNotForAChangeOfOneTopic) {
  Routes routes{clock_, {.delete_topic_with_registration = true}};
  routes.register_broker(header("a", 0, "h:1"), topics({"t", "u"}), peer());
  routes.register_broker(header("a", 0, "h:1"), topics({"v"}, 2), peer());
  EXPECT_TRUE(routes.route("t") && routes.route("u") && routes.route("v"));
  routes.register_broker(header("a", 0, "h:1"), topics({"t", "v"}, 3), peer());
  EXPECT_TRUE(routes.route("t") && routes.route("v"));
  EXPECT_FALSE(routes.route("u"));
}

TEST_F(RouteTable, ForgetsABrokerSilentForTwoMinutes) {
  routes_.register_broker(header("a", 0, "h:1"), topics({"t", "u"}), peer());
  clock_.advance(120s);
  EXPECT_TRUE(routes_.drop_silent().peers.empty());
  EXPECT_TRUE(has("t"));
  clock_.advance(1ms);
  EXPECT_EQ(routes_.drop_silent().peers.size(), 1U);
  EXPECT_FALSE(has("t"));
}

TEST_F(RouteTable, KeepsABrokerThatSendsHeartbeats) {
  routes_.register_broker(header("a", 0, "h:1"), topics({"t", "u"}), peer());
  for (int i = 0; i < 5; ++i) {
    clock_.advance(100s);
    routes_.heartbeat({"c", "h:1"});
    EXPECT_TRUE(routes_.drop_silent().peers.empty());
  }
  EXPECT_TRUE(has("t"));
}

TEST_F(RouteTable, TakesTheTimeoutARegistrationAsksFor) {
  auto quick = header("a", 0, "h:1");
  quick.heartbeat_timeout_ms = 10'000;
  routes_.register_broker(quick, topics({"t", "u"}), peer());
  clock_.advance(10'001ms);
  EXPECT_EQ(routes_.drop_silent().peers.size(), 1U);
}

TEST_F(RouteTable, ForgetsTheZoneOfABrokerThatNamesNoneAnyMore) {
  auto zoned = header("a", 0, "h:1");
  zoned.zone_name = "z1";
  routes_.register_broker(zoned, topics({"t", "u"}), peer());
  EXPECT_EQ(routes_.route("t")->broker_datas.at(0).zone_name, "z1");
  routes_.register_broker(header("a", 0, "h:1"), topics({"t", "u"}), peer());
  EXPECT_EQ(routes_.route("t")->broker_datas.at(0).zone_name, std::nullopt);
}

TEST_F(RouteTable, ForgetsABrokerWhoseConnectionEnds) {
  const auto connection = peer();
  routes_.register_broker(header("a", 0, "h:1"), topics({"t", "u"}), connection);
  routes_.drop_peer(*connection);
  EXPECT_FALSE(has("t"));
}

TEST_F(RouteTable, IsNotWipedByTheEndOfAnOlderConnection) {
  const auto first = peer();
  routes_.register_broker(header("a", 0, "h:1"), topics({"t", "u"}), first);
  routes_.register_broker(header("a", 0, "h:1"), topics({"t", "u"}), peer());
  routes_.drop_peer(*first);
  EXPECT_TRUE(has("t"));
}

TEST_F(RouteTable, IgnoresALateUnregistrationOfAnAddressThatWasReplaced) {
  routes_.register_broker(header("a", 0, "h:1"), topics({"t", "u"}), peer());
  routes_.register_broker(header("a", 0, "h:2"), topics({"t", "u"}, 2, 1), peer());
  routes_.unregister(
      {{.broker_name = "a", .broker_address = "h:1", .cluster_name = "c", .broker_id = 0}});
  ASSERT_TRUE(has("t"));
  EXPECT_EQ(routes_.route("t")->broker_datas.at(0).broker_addresses.at(0), "h:2");
}

TEST_F(RouteTable, ForgetsABrokerThatLeavesUnderAStaleId) {
  ASSERT_TRUE(
      routes_.register_broker(header("broker-a", 0, "1.1.1.1:10911"), topics({"t", "u"}), peer()));
  routes_.unregister({{.broker_name = "broker-a",
                       .broker_address = "1.1.1.1:10911",
                       .cluster_name = "c",
                       .broker_id = 7}});
  EXPECT_FALSE(has("t"));
  EXPECT_TRUE(routes_.clusters().broker_address_table.empty());
}

TEST_F(RouteTable, SurvivesATimeoutLongerThanTheClock) {
  auto forever = header("broker-a", 0, "1.1.1.1:10911");
  forever.heartbeat_timeout_ms = std::numeric_limits<std::int64_t>::max();
  ASSERT_TRUE(routes_.register_broker(forever, topics({"t", "u"}), peer()));
  clock_.advance(1h);
  EXPECT_TRUE(routes_.drop_silent().peers.empty());
  EXPECT_TRUE(has("t"));
}

TEST_F(RouteTable, KeepsTheAddressWithTheNewerState) {
  routes_.register_broker(header("a", 0, "h:1"), topics({"t", "u"}, 1, 5), peer());
  routes_.register_broker(header("a", 0, "h:2"), topics({"t", "u"}, 1, 4), peer());
  EXPECT_EQ(routes_.route("t")->broker_datas.at(0).broker_addresses.at(0), "h:1");
}

TEST_F(RouteTable, LetsASlaveBecomeMaster) {
  routes_.register_broker(header("a", 1, "h:1"), topics({"t", "u"}), peer());
  routes_.register_broker(header("a", 0, "h:1"), topics({"t", "u"}), peer());
  const auto addresses = routes_.route("t")->broker_datas.at(0).broker_addresses;
  EXPECT_EQ(addresses.size(), 1U);
  EXPECT_EQ(addresses.at(0), "h:1");
}

TEST_F(RouteTable, TellsASlaveItsMaster) {
  routes_.register_broker(header("a", 0, "h:1"), topics({"t", "u"}), peer());
  const auto registered =
      routes_.register_broker(header("a", 1, "h:2"), topics({"t", "u"}), peer());
  ASSERT_TRUE(registered);
  EXPECT_EQ(registered->master_address, "h:1");
  EXPECT_EQ(registered->ha_server_address, "h:1-ha");
}

TEST_F(RouteTable, PresentsAnActingMasterReadOnly) {
  auto master = header("a", 0, "h:1");
  auto slave = header("a", 1, "h:2");
  master.enable_acting_master = slave.enable_acting_master = true;
  routes_.register_broker(master, topics({"t", "u"}), peer());
  routes_.register_broker(slave, topics({"t", "u"}), peer());
  routes_.unregister(
      {{.broker_name = "a", .broker_address = "h:1", .cluster_name = "c", .broker_id = 0}});
  const auto route = routes_.route("t");
  ASSERT_TRUE(route);
  EXPECT_EQ(route->broker_datas.at(0).broker_addresses.at(0), "h:2");
  EXPECT_EQ(route->queue_datas.at(0).perm, protocol::perm::kRead);
}

TEST_F(RouteTable, WipesAndGivesBackWritePermission) {
  routes_.register_broker(header("a", 0, "h:1"), topics({"t", "u"}), peer());
  EXPECT_EQ(routes_.set_write_permission("a", false), 2);
  EXPECT_EQ(routes_.route("t")->queue_datas.at(0).perm, 4);
  EXPECT_EQ(routes_.set_write_permission("a", true), 2);
  EXPECT_EQ(routes_.route("t")->queue_datas.at(0).perm, 6);
  EXPECT_EQ(routes_.set_write_permission("b", true), 0);
}

TEST_F(RouteTable, AnswersWhetherATableChanged) {
  routes_.register_broker(header("a", 0, "h:1"), topics({"t", "u"}, 7), peer());
  EXPECT_FALSE(routes_.compare_version({"c", "h:1"}, {.counter = 7}).changed);
  EXPECT_TRUE(routes_.compare_version({"c", "h:1"}, {.counter = 8}).changed);
  EXPECT_TRUE(routes_.compare_version({"c", "h:9"}, {.counter = 7}).changed);
}

/// Random registrations, departures and silence against a model that only knows: who is alive.
TEST_F(RouteTable, AgreesWithAModelOfWhoIsAlive) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937_64 random{seed};
    Routes routes{clock_, {}};
    struct Broker {
      remoting::PeerPtr peer;
      Clock::Instant seen;
    };
    std::map<std::string, Broker> alive;
    for (int step = 0; step < 60; ++step) {
      const std::string name = "b" + std::to_string(random() % 4);
      switch (random() % 5) {
        case 0:
        case 1:
          alive[name] = {peer(), clock_.now()};
          routes.register_broker(header(name, 0, name + ":1"),
                                 topics({"t", "of_" + name}, static_cast<std::int64_t>(step)),
                                 alive[name].peer);
          break;
        case 2:
          routes.unregister({{.broker_name = name,
                              .broker_address = name + ":1",
                              .cluster_name = "c",
                              .broker_id = 0}});
          alive.erase(name);
          break;
        case 3:
          if (alive.contains(name)) {
            routes.drop_peer(*alive[name].peer);
            alive.erase(name);
          }
          break;
        default:
          clock_.advance(std::chrono::seconds{random() % 90});
          routes.drop_silent();
          std::erase_if(alive,
                        [&](const auto& entry) { return entry.second.seen + 120s < clock_.now(); });
      }
      const auto route = routes.route("t");
      ASSERT_EQ(route.has_value(), !alive.empty());
      ASSERT_EQ(route ? route->broker_datas.size() : 0, alive.size());
      for (int i = 0; i < 4; ++i)
        ASSERT_EQ(routes.route("of_b" + std::to_string(i)).has_value(),
                  alive.contains("b" + std::to_string(i)));
      ASSERT_EQ(routes.clusters().broker_address_table.size(), alive.size());
    }
  }
}

TEST_F(RouteTable, MovesATopicsVersionOnlyWithWhatItsRouteShows) {
  const auto registering = peer();
  routes_.register_broker(header("a", 0, "h:1"), topics({"t", "u"}), registering);
  EXPECT_EQ(routes_.version("unknown"), 0U);
  const auto t = routes_.version("t"), u = routes_.version("u");

  routes_.register_broker(header("a", 0, "h:1"), topics({"t", "u"}), registering);
  routes_.register_broker(header("b", 0, "h:2"), topics({"v", "w"}), peer());
  EXPECT_EQ(routes_.version("t"), t) << "said again, and another broker's matters";
  auto wider = topics({"t", "u"}, 2);
  wider.topics.topic_config_table["t"].write_queue_nums = 32;
  routes_.register_broker(header("a", 0, "h:1"), wider, registering);
  EXPECT_GT(routes_.version("t"), t);
  EXPECT_EQ(routes_.version("u"), u);

  routes_.register_broker(header("a", 1, "h:3"), topics({"t", "u"}), peer());
  EXPECT_GT(routes_.version("u"), u) << "its broker has a slave now";
  const auto with_slave = routes_.version("t");
  routes_.set_write_permission("a", false);
  EXPECT_GT(routes_.version("t"), with_slave);
  const auto wiped = routes_.version("t");
  routes_.delete_topic("t", std::nullopt);
  EXPECT_EQ(routes_.version("t"), 0U);
  routes_.register_topic("t", {{.broker_name = "a"}});
  EXPECT_GT(routes_.version("t"), wiped) << "a route of the old one is never taken for the new";
}

TEST_F(RouteTable, TellsWhoStaysWhenTheSmallestIdLeaves) {
  const auto acting = [&](std::int64_t id, const std::string& address) {
    auto request = header("a", id, address);
    request.enable_acting_master = true;
    return request;
  };
  const auto master = peer();
  routes_.register_broker(acting(0, "h:1"), topics({"t", "u"}), master);
  routes_.register_broker(acting(1, "h:2"), topics({"t", "u"}), peer());
  routes_.register_broker(acting(2, "h:3"), topics({"t", "u"}), peer());

  auto notices = routes_.drop_peer(*master);
  ASSERT_EQ(notices.size(), 1U);
  EXPECT_EQ(notices[0].addresses, (std::vector<std::string>{"h:2", "h:3"}));
  EXPECT_EQ(notices[0].request.min_broker_id, 1);
  EXPECT_EQ(notices[0].request.min_broker_address, "h:2");
  EXPECT_EQ(notices[0].request.offline_broker_address, "h:1");

  EXPECT_TRUE(
      routes_
          .unregister(
              {{.broker_name = "a", .broker_address = "h:3", .cluster_name = "c", .broker_id = 2}})
          .empty())
      << "the smallest id stays";
  const auto back = routes_.register_broker(acting(0, "h:1"), topics({"t", "u"}), peer());
  ASSERT_EQ(back->notices.size(), 1U);
  EXPECT_EQ(back->notices[0].addresses, std::vector<std::string>{"h:2"});
  EXPECT_EQ(back->notices[0].request.min_broker_id, 0);
}

}  // namespace
}  // namespace apogee::namesrv
