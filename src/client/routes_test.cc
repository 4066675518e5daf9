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

}  // namespace
}  // namespace apogee::client
