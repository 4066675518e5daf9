#include "client/routes.h"

#include <gtest/gtest.h>

namespace apogee::client {
namespace {

protocol::TopicRouteData route(std::map<std::int64_t, std::string> addresses) {
  return {.broker_datas = {{.broker_addresses = std::move(addresses), .broker_name = "a"}},
          .queue_datas = {{.broker_name = "a",
                           .perm = protocol::perm::kRead | protocol::perm::kWrite,
                           .read_queue_nums = 2,
                           .write_queue_nums = 2}}};
}

TEST(Routes, ATopicIsWrittenWhereItsBrokerWasLastSeenWhicheverTopicToldOfIt) {
  Routes routes;
  routes.update("orders", route({{0, "10.0.0.1:10911"}}), 5);
  const auto before = routes.publish("orders");
  before->next.store(9);
  EXPECT_EQ(before->masters, (std::vector<std::string>{"10.0.0.1:10911", "10.0.0.1:10911"}));

  routes.update("payments", route({{0, "10.0.0.2:10911"}}), 5);
  const auto after = routes.publish("orders");
  EXPECT_EQ(after->masters, (std::vector<std::string>{"10.0.0.2:10911", "10.0.0.2:10911"}));
  EXPECT_TRUE(before->replaced && !after->replaced);
  EXPECT_EQ(after->queues, before->queues);
  EXPECT_EQ(after->next.load(), 9U) << "senders go on where they were";

  routes.update("payments", route({{1, "10.0.0.2:10912"}}), 5);
  EXPECT_EQ(routes.publish("orders")->masters, (std::vector<std::string>{"", ""}));
  EXPECT_EQ(routes.master("a"), "");
}

/// What two brokers say of a static topic: `of_a` and `of_b` are members of a route's mapping.
protocol::TopicRouteData static_route(const std::string& of_a, const std::string& of_b) {
  protocol::TopicRouteData both{
      .broker_datas = {{.broker_addresses = {{0, "10.0.0.1:10911"}}, .broker_name = "a"},
                       {.broker_addresses = {{0, "10.0.0.2:10911"}}, .broker_name = "b"}}};
  both.topic_queue_mapping_by_broker =
      *protocol::parse_json("{\"a\":" + of_a + ",\"b\":" + of_b + "}");
  return both;
}

TEST(Routes, AQueueOfAStaticTopicIsWhereTheBrokerWithTheHigherEpochSaysItHasIt) {
  Routes routes;
  const auto queue = [](std::int32_t id) {
    return MessageQueue{"orders", "__syslo__global__", id};
  };
  const std::string a =
      R"({"bname":"a","currIdMap":{0:0,1:1},"epoch":1,"scope":"__global__","totalQueues":3})";
  routes.update("orders",
                static_route(a, R"({"bname":"b","currIdMap":{2:0},"epoch":1,"totalQueues":3})"), 0);
  const auto before = routes.publish("orders");
  EXPECT_EQ(before->queues, (std::vector{queue(0), queue(1), queue(2)}));
  EXPECT_EQ(routes.subscribe("orders"), before->queues);
  EXPECT_EQ(before->masters,
            (std::vector<std::string>{"10.0.0.1:10911", "10.0.0.1:10911", "10.0.0.2:10911"}));
  EXPECT_EQ(routes.host(queue(2)), "b");

  // It moves: the broker that had it may still say so.
  const auto moved = static_route(
      a, R"({"bname":"b","currIdMap":{1:7,2:0},"epoch":2,"scope":"__global__","totalQueues":3})");
  EXPECT_TRUE(routes.update("orders", moved, 0).route);
  EXPECT_FALSE(routes.update("orders", moved, 0).route) << "nothing has changed";
  EXPECT_TRUE(before->replaced);
  EXPECT_EQ(routes.publish("orders")->queues, before->queues);
  EXPECT_EQ(routes.publish("orders")->masters,
            (std::vector<std::string>{"10.0.0.1:10911", "10.0.0.2:10911", "10.0.0.2:10911"}));
  EXPECT_EQ(routes.master(queue(1)), "10.0.0.2:10911");
  EXPECT_EQ(routes.reader(queue(1), 0, false)->name, "b");
}

TEST(Routes, AQueueOfAStaticTopicThatNobodyKeepsIsThereAndLeadsNowhere) {
  Routes routes;
  routes.update("orders",
                static_route(R"({"bname":"a","currIdMap":{0:0,5:1},"epoch":1,"totalQueues":2})",
                             R"({"bname":"b","currIdMap":{},"epoch":1,"totalQueues":2})"),
                0);
  const auto info = routes.publish("orders");
  ASSERT_EQ(info->queues.size(), 2U) << "queue 5 of 2 is none";
  EXPECT_EQ(info->masters, (std::vector<std::string>{"10.0.0.1:10911", ""}));
  EXPECT_FALSE(routes.reader(info->queues[1], 0, false));
}

TEST(Routes, AMappingThatSaysNothingLeavesTheTopicWhatItIs) {
  for (const char* nothing : {"{}", "[]", "7", R"({"scope":"__global__","totalQueues":-1})",
                              R"({"scope":{},"totalQueues":2})"}) {
    auto odd = route({{0, "10.0.0.1:10911"}});
    odd.topic_queue_mapping_by_broker =
        *protocol::parse_json(std::string{"{\"a\":"} + nothing + "}");
    Routes routes;
    routes.update("orders", odd, 0);
    EXPECT_EQ(routes.publish("orders")->queues,
              (std::vector<MessageQueue>{{"orders", "a", 0}, {"orders", "a", 1}}))
        << nothing;
  }
}

}  // namespace
}  // namespace apogee::client
