#include "client/allocation.h"

#include <fstream>
#include <random>
#include <sstream>

#include <gtest/gtest.h>

namespace apogee::client {
namespace {

std::vector<MessageQueue> queues_of(int each) {
  std::vector<MessageQueue> all;
  for (const char* broker : {"room1@a", "room1@b", "room2@c", "room3@d@x", "plain",
                             "\xEE\x80\x80"
                             "b",
                             "\xF0\x9F\x98\x80"
                             "b"})
    for (int i = 0; i < each; ++i) all.push_back({"orders", broker, i});
  sort_as_java(all);
  return all;
}

std::vector<std::string> clients_of(int count) {
  std::vector<std::string> all;
  for (int i = 0; i < count; ++i)
    all.push_back("10.0.0." + std::to_string(i) + "@" + (i % 2 == 0 ? "room1" : "\xEE\x80\x80") +
                  "#" + std::to_string(i));
  if (count > 2) all[2] = "\xF0\x9F\x98\x80@room2#2";
  sort_as_java(all);
  return all;
}

std::string room(std::string_view name) {
  for (const char* each : {"room1", "room2"})
    if (name.find(each) != std::string_view::npos) return each;
  return "elsewhere";
}

std::vector<Allocation> strategies() {
  const Rooms rooms{.of_queue = [](const MessageQueue& queue) { return room(queue.broker); },
                    .of_client = [](const std::string& id) { return room(id); }};
  return {average(), average_by_circle(), by_machine_room({"room1", "room2", "room3"}),
          consistent_hash(), by_nearby_room(average(), rooms)};
}

std::vector<MessageQueue> mine_of(const Allocation& strategy, const std::string& id,
                                  std::span<const MessageQueue> queues,
                                  std::span<const std::string> clients) {
  auto mine = strategy.divide("g", id, queues, clients);
  EXPECT_TRUE(mine);
  return *std::move(mine);
}

/// tests/golden/Allocation.java has the same queues and clients.
TEST(Allocation, DividesAsJavaDoes) {
  std::ifstream golden{std::string{APOGEE_SOURCE_DIR} + "/tests/golden/allocation-java-5.5.0.txt"};
  ASSERT_TRUE(golden);
  std::map<std::string, Allocation> by_name;
  for (Allocation& each : strategies()) by_name[each.name] = std::move(each);
  int lines = 0;
  for (std::string line; std::getline(golden, line); ++lines) {
    std::vector<std::string> fields;
    std::istringstream split{line};
    for (std::string field; std::getline(split, field, '\t');) fields.push_back(field);
    fields.resize(5);
    const auto queues = queues_of(std::stoi(fields[1]));
    const auto clients = clients_of(std::stoi(fields[2]));
    const auto mine = by_name.at(fields[0]).divide("g", fields[3], queues, clients);
    ASSERT_TRUE(mine) << line;
    std::string text;
    for (const MessageQueue& each : *mine)
      text += (text.empty() ? "" : " ") + each.broker + "/" + std::to_string(each.queue_id);
    EXPECT_EQ(text, fields[4]) << line;
  }
  EXPECT_EQ(lines, 1'140);
}

TEST(Allocation, GivesEachQueueToOneMember) {
  std::mt19937_64 random{17};
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE(round);
    std::vector<MessageQueue> queues;
    for (std::size_t i = 0, count = 1 + random() % 40; i < count; ++i)
      queues.push_back({"t", "room" + std::to_string(random() % 3) + "@b", static_cast<int>(i)});
    sort_as_java(queues);
    std::vector<std::string> clients;
    for (std::size_t i = 0, count = 1 + random() % 20; i < count; ++i)
      clients.push_back("room" + std::to_string(random() % 4) + "-" + std::to_string(i));
    sort_as_java(clients);
    for (const Allocation& strategy : strategies()) {
      if (strategy.name == "MACHINE_ROOM") continue;  // queues of other rooms are nobody's
      std::map<MessageQueue, int> owners;
      for (const std::string& each : clients)
        for (const MessageQueue& queue : mine_of(strategy, each, queues, clients)) ++owners[queue];
      EXPECT_EQ(owners.size(), queues.size()) << strategy.name;
      for (const auto& [queue, count] : owners) EXPECT_EQ(count, 1) << strategy.name;
    }
  }
}

TEST(Allocation, MovesFewQueuesWhenAMemberGoes) {
  std::vector<MessageQueue> queues;
  for (int i = 0; i < 100; ++i) queues.push_back({"t", "b", i});
  std::vector<std::string> clients{"a", "b", "c", "d", "e"};
  const Allocation hash = consistent_hash();
  std::map<MessageQueue, std::string> before;
  for (const std::string& each : clients)
    for (const MessageQueue& queue : mine_of(hash, each, queues, clients)) before[queue] = each;
  clients.pop_back();
  for (const std::string& each : clients)
    for (const MessageQueue& queue : mine_of(hash, each, queues, clients))
      EXPECT_TRUE(before[queue] == each || before[queue] == "e") << to_string(queue);
}

TEST(Allocation, SaysWhatIsMissing) {
  const std::vector<MessageQueue> queues{{"t", "b", 0}};
  const std::vector<std::string> clients{"a"};
  const auto why = [&](const std::string& id, std::span<const MessageQueue> of,
                       std::span<const std::string> among) {
    return average().divide("g", id, of, among).error().detail;
  };
  EXPECT_EQ(why("", queues, clients), "currentCID is empty");
  EXPECT_EQ(why("a", {}, clients), "mqAll is null or mqAll empty");
  EXPECT_EQ(why("a", queues, {}), "cidAll is null or cidAll empty");
  EXPECT_TRUE(average().divide("g", "stranger", queues, clients)->empty());
  EXPECT_FALSE(consistent_hash(0).divide("g", "a", queues, clients));
  const Rooms nowhere{.of_queue = [](const MessageQueue&) { return std::string{}; },
                      .of_client = [](const std::string&) { return std::string{"r"}; }};
  EXPECT_EQ(by_nearby_room(average(), nowhere).divide("g", "a", queues, clients).error().detail,
            "Machine room is null for mq MessageQueue [topic=t, brokerName=b, queueId=0]");
}

TEST(Allocation, TakesTheConfiguredQueuesThatExist) {
  const std::vector<MessageQueue> queues{{"t", "b", 0}, {"t", "b", 1}};
  const auto mine = by_config({{"t", "b", 1}, {"t", "b", 9}}).divide("g", "a", queues, {});
  ASSERT_TRUE(mine);
  EXPECT_EQ(*mine, (std::vector<MessageQueue>{{"t", "b", 1}}));
}

TEST(JavaLess, OrdersByCodeUnits) {
  EXPECT_TRUE(java_less("a", "b"));
  EXPECT_TRUE(java_less("a", "ab"));
  EXPECT_FALSE(java_less("ab", "a"));
  EXPECT_FALSE(java_less("a", "a"));
  EXPECT_TRUE(java_less("\xF0\x9F\x98\x80", "\xEE\x80\x80")) << "a surrogate stands before U+E000";
  EXPECT_TRUE(java_less("\xED\x9F\xBF", "\xF0\x9F\x98\x80")) << "and behind U+D7FF";
}

}  // namespace
}  // namespace apogee::client
