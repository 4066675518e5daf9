#include "broker/consumers.h"

#include <random>

#include <gtest/gtest.h>

#include "broker/producers.h"
#include "testing/fake_peer.h"
#include "testing/manual_clock.h"

namespace apogee::broker {
namespace {

using testing::FakePeer;

class Members : public ::testing::Test {
 protected:
  std::shared_ptr<FakePeer> peer(std::uint64_t id) { return std::make_shared<FakePeer>(loop_, id); }
  static protocol::SubscriptionData subscribe(std::string topic, std::int64_t version = 1) {
    return *protocol::subscription_from(topic, "*", "TAG", version);
  }
  Consumers::Registered join(const remoting::PeerPtr& peer, std::vector<std::string> topics = {"t"},
                             std::int64_t version = 1) {
    ConsumerRegistration registration{.group = "g", .mode = mode_, .subscriptions = {}};
    for (const std::string& topic : topics)
      registration.subscriptions.push_back(subscribe(topic, version));
    return consumers_.register_consumer(peer, {"client-" + std::to_string(peer->id())},
                                        std::move(registration));
  }
  Consumers::Registered heartbeat_v2(const remoting::PeerPtr& peer, std::int32_t fingerprint,
                                     bool without_subscriptions) {
    ConsumerRegistration registration{.group = "g", .mode = mode_, .subscriptions = {}};
    registration.fingerprint = fingerprint;
    registration.without_subscriptions = without_subscriptions;
    if (!without_subscriptions) registration.subscriptions.push_back(subscribe("t"));
    return consumers_.register_consumer(peer, {"client-" + std::to_string(peer->id())},
                                        std::move(registration));
  }
  /// Group and number of members told, of each notice since the last call.
  std::vector<std::pair<std::string, std::size_t>> notices() { return std::exchange(notices_, {}); }
  using Notices = std::vector<std::pair<std::string, std::size_t>>;

  testing::ManualClock clock_;
  testing::ManualLoop loop_;
  Notices notices_;
  ConsumeMode mode_;
  Consumers consumers_{clock_,
                       [this](const std::string& group, const std::vector<Member>& members) {
                         notices_.emplace_back(group, members.size());
                       }};
};

TEST_F(Members, AreToldWhenSomebodyJoinsOrLeaves) {
  const auto a = peer(1), b = peer(2);
  EXPECT_TRUE(join(a).changed);
  EXPECT_EQ(notices(), (Notices{{"g", 1}}));
  EXPECT_FALSE(join(a).changed);
  EXPECT_EQ(notices(), Notices{});
  EXPECT_TRUE(join(b).changed);
  EXPECT_EQ(notices(), (Notices{{"g", 2}}));
  EXPECT_EQ(consumers_.client_ids("g"), (std::vector<std::string>{"client-1", "client-2"}));
  consumers_.unregister_consumer(a, "g", true);
  EXPECT_EQ(notices(), (Notices{{"g", 1}}));
  consumers_.drop_peer(*b);
  EXPECT_EQ(notices(), Notices{}) << "nobody is left to be told";
  EXPECT_FALSE(consumers_.online("g"));
}

TEST_F(Members, AreNotToldInBroadcastingGroupsOrWhereItIsSwitchedOff) {
  mode_.model = protocol::MessageModel::kBroadcasting;
  EXPECT_TRUE(join(peer(1)).changed);
  EXPECT_EQ(notices(), Notices{});
  consumers_.register_consumer(
      peer(2), {"c"}, {.group = "quiet", .mode = {}, .subscriptions = {}, .notify = false});
  EXPECT_EQ(notices(), Notices{});
}

TEST_F(Members, ChangeTheGroupWhenTheTopicsChange) {
  const auto a = peer(1);
  join(a, {"t"});
  notices();
  EXPECT_TRUE(join(a, {"t", "u"}).changed);
  EXPECT_EQ(consumers_.topics_of("g"), (std::set<std::string>{"t", "u"}));
  EXPECT_TRUE(join(a, {"u"}).changed);
  EXPECT_EQ(consumers_.groups_of("u"), std::set<std::string>{"g"});
  EXPECT_TRUE(consumers_.groups_of("t").empty());
  EXPECT_EQ(notices().size(), 2u);
}

TEST_F(Members, ReplaceASubscriptionOnlyByANewerOne) {
  const auto a = peer(1);
  join(a, {"t"}, 5);
  EXPECT_FALSE(join(a, {"t"}, 4).changed);
  EXPECT_EQ(consumers_.subscription("g", "t")->data.sub_version, 5);
  EXPECT_FALSE(join(a, {"t"}, 6).changed);
  EXPECT_EQ(consumers_.subscription("g", "t")->data.sub_version, 6);
}

TEST_F(Members, LeaveAfterTwoMinutesOfSilence) {
  const auto a = peer(1), b = peer(2);
  join(a);
  clock_.advance(60s);
  join(b);
  notices();
  clock_.advance(60s);
  EXPECT_TRUE(consumers_.drop_silent().empty());
  clock_.advance(1ms);
  const auto silent = consumers_.drop_silent();
  ASSERT_EQ(silent.size(), 1u);
  EXPECT_EQ(silent.front(), a);
  EXPECT_EQ(notices(), (Notices{{"g", 1}}));
  EXPECT_EQ(consumers_.client_ids("g"), std::vector<std::string>{"client-2"});
}

TEST_F(Members, KeepTheirSubscriptionsThroughShortHeartbeats) {
  const auto a = peer(1);
  EXPECT_FALSE(heartbeat_v2(a, 77, false).subscription_changed);
  EXPECT_FALSE(heartbeat_v2(a, 77, true).subscription_changed);
  EXPECT_TRUE(consumers_.subscription("g", "t"));
  EXPECT_TRUE(heartbeat_v2(a, 78, true).subscription_changed) << "another fingerprint";
  EXPECT_FALSE(heartbeat_v2(a, 78, true).subscription_changed);
}

TEST_F(Members, AreAskedForTheirSubscriptionsByABrokerThatDoesNotKnowThem) {
  EXPECT_TRUE(heartbeat_v2(peer(1), 77, true).subscription_changed);
}

TEST_F(Members, CannotJoinOverAConnectionThatHasEnded) {
  const auto a = peer(1);
  a->close("test");
  EXPECT_FALSE(join(a).changed);
  EXPECT_FALSE(consumers_.online("g"));
}

TEST_F(Members, TellAPullAllItNeedsAtOnce) {
  EXPECT_FALSE(consumers_.find_for_pull("g", "t").group_online);
  join(peer(1), {"t"});
  const auto view = consumers_.find_for_pull("g", "t");
  EXPECT_TRUE(view.group_online);
  ASSERT_TRUE(view.subscription);
  EXPECT_EQ(view.subscription->data.sub_string, "*");
  EXPECT_FALSE(consumers_.find_for_pull("g", "u").subscription);
}

/// Whatever happens, the table equals a plain model of it, and each change of a group's members is
/// told to exactly those who remain.
TEST_F(Members, FollowAModelThroughAnyHistory) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937_64 random{seed};
    std::map<std::string, std::set<std::uint64_t>> model;
    std::map<std::string, std::set<std::uint64_t>> told;
    Consumers consumers{clock_, [&](const std::string& group, const std::vector<Member>& members) {
                          told[group].clear();
                          for (const Member& member : members)
                            told[group].insert(member.peer->id());
                        }};
    std::map<std::uint64_t, std::shared_ptr<FakePeer>> peers;
    std::uint64_t next = 1;
    for (int step = 0; step < 300; ++step) {
      if (peers.size() < 4) {
        peers.emplace(next, peer(next));
        ++next;
      }
      const auto picked =
          std::next(peers.begin(), static_cast<std::ptrdiff_t>(random() % peers.size()));
      const auto one = picked->second;
      const std::string group = "g" + std::to_string(random() % 3);
      switch (random() % 4) {
        case 0:
          consumers.unregister_consumer(one, group, true);
          model[group].erase(one->id());
          break;
        case 1:
          one->close("test");
          consumers.drop_peer(*one);
          for (auto& [name, members] : model) members.erase(one->id());
          peers.erase(picked);
          break;
        default:
          consumers.register_consumer(one, {std::to_string(one->id())},
                                      {.group = group, .mode = {}, .subscriptions = {}});
          model[group].insert(one->id());
      }
      for (const auto& [name, members] : model) {
        std::set<std::uint64_t> now;
        for (const std::string& id : consumers.client_ids(name)) now.insert(std::stoull(id));
        ASSERT_EQ(now, members);
        ASSERT_EQ(consumers.online(name), !members.empty());
        if (!members.empty()) {
          ASSERT_EQ(told[name], members);
        }
      }
    }
  }
}

TEST(ProducerMembers, AreAskedInTurn) {
  testing::ManualClock clock;
  testing::ManualLoop loop;
  Producers producers{clock};
  EXPECT_EQ(producers.any_of("p"), nullptr);
  const auto a = std::make_shared<FakePeer>(loop, 1), b = std::make_shared<FakePeer>(loop, 2);
  producers.register_producer(a, {"a"}, "p");
  producers.register_producer(b, {"b"}, "p");
  const auto first = producers.any_of("p"), second = producers.any_of("p");
  EXPECT_NE(first, second);
  EXPECT_EQ(producers.any_of("p"), first);
  a->close("test");
  EXPECT_EQ(producers.any_of("p"), b);
  EXPECT_EQ(producers.any_of("p"), b);
}

TEST(ProducerMembers, AreFoundByClientIdWhileInAnyGroup) {
  testing::ManualClock clock;
  testing::ManualLoop loop;
  Producers producers{clock};
  const auto a = std::make_shared<FakePeer>(loop, 1);
  producers.register_producer(a, {"a"}, "p");
  producers.register_producer(a, {"a"}, "q");
  producers.unregister_producer(*a, "p");
  EXPECT_FALSE(producers.online("p"));
  EXPECT_EQ(producers.find_client("a"), a);
  producers.drop_peer(*a);
  EXPECT_EQ(producers.find_client("a"), nullptr);
  EXPECT_FALSE(producers.online("q"));
}

TEST(ProducerMembers, LeaveAfterTwoMinutesOfSilence) {
  testing::ManualClock clock;
  testing::ManualLoop loop;
  Producers producers{clock};
  const auto a = std::make_shared<FakePeer>(loop, 1);
  producers.register_producer(a, {"a"}, "p");
  clock.advance(120s);
  EXPECT_TRUE(producers.drop_silent().empty());
  clock.advance(1ms);
  EXPECT_EQ(producers.drop_silent().size(), 1u);
  EXPECT_FALSE(producers.online("p"));
  EXPECT_EQ(producers.find_client("a"), nullptr);
}

}  // namespace
}  // namespace apogee::broker
