#include "broker/filter_data.h"

#include <gtest/gtest.h>

#include "protocol/message.h"
#include "testing/disk_env.h"

namespace apogee::broker {
namespace {

constexpr const char* kPath = "/store/config/consumerFilter.json";
constexpr std::int64_t kDayMs = 24 * 3'600 * 1'000;

protocol::SubscriptionData sql(std::string topic, std::string expression, std::int64_t version) {
  return {.expression_type = "SQL92",
          .sub_string = std::move(expression),
          .sub_version = version,
          .topic = std::move(topic)};
}

class Filters : public ::testing::Test {
 protected:
  Filters() { EXPECT_TRUE(disk_.env->files.create_directories("/store/config")); }
  const protocol::ConsumerFilterData* find(const std::string& topic, const std::string& group) {
    table_ = filters_.table();
    const auto of_topic = table_.filter_data_by_topic.find(topic);
    if (of_topic == table_.filter_data_by_topic.end()) return nullptr;
    const auto found = of_topic->second.group_filter_data.find(group);
    return found == of_topic->second.group_filter_data.end() ? nullptr : &found->second;
  }
  std::int64_t now() { return disk_.clock.wall_ms(); }
  Result<Ok> persist(bool online) {
    return filters_.persist([online](const std::string&) { return online; });
  }

  testing::DiskEnv disk_;
  LiveConfig config_{BrokerConfig{}};
  FilterData filters_{*disk_.env, config_, kPath};
  protocol::ConsumerFilterTable table_;
};

TEST(BloomShapes, PutTheBitsWhereApacheDoes) {
  const auto bits = [](std::int32_t error, std::int32_t consumers, const std::string& group,
                       const std::string& topic) {
    return BloomShape{error, consumers}.pattern(group, topic).bit_pos;
  };
  using Bits = std::vector<std::int32_t>;
  EXPECT_EQ((BloomShape{20, 32}.pattern("G", "T").bit_num), 112);
  EXPECT_EQ(bits(20, 32, "G", "T"), (Bits{24, 26, 83}));
  EXPECT_EQ(bits(20, 32, "a_longer_group_name", "SomeTopicName"), (Bits{37, 54, 71}));
  EXPECT_EQ(bits(20, 32, "0123456789abcde", "f"), (Bits{33, 96, 29}));
  EXPECT_EQ(bits(20, 32, "gr\u00fcppe", "t\u00f6pic"), (Bits{93, 25, 111}));
  EXPECT_EQ(bits(10, 128, "G", "T"), (Bits{192, 82, 27, 174}));
  EXPECT_EQ(bits(1, 1'000, "G", "T"), (Bits{632, 7738, 4339, 8182, 3895, 8626, 6140}));
}

/// Properties of a message with this value of `a`.
std::string with_a(int value) {
  Buffer properties;
  protocol::append_property(properties, "a", std::to_string(value));
  return properties;
}

TEST_F(Filters, SetTheBitsOfTheGroupsThatWantTheMessage) {
  filters_.registered("G", {sql("T", "a > 1", 7)});
  filters_.registered("other", {sql("T", "a > 5", 7), sql("U", "a > 1", 7)});
  std::string wanted(14, '\0');
  for (const std::int32_t bit : {24, 26, 83}) wanted[bit / 8] |= static_cast<char>(1 << bit % 8);
  EXPECT_EQ(filters_.bit_map("T", with_a(3)), wanted);
  EXPECT_EQ(filters_.bit_map("T", with_a(0)), std::string(14, '\0'));
  EXPECT_NE(filters_.bit_map("T", with_a(6)), wanted);
  EXPECT_EQ(filters_.bit_map("nobody's", with_a(6)), "");
  filters_.registered("G", {sql("T", "a < 0", 8)});
  EXPECT_EQ(filters_.bit_map("T", with_a(3)), std::string(14, '\0'));
}

TEST_F(Filters, PassOverWhatDidNotMatchSinceTheGroupCameWithItsExpression) {
  filters_.registered("G", {sql("T", "a > 1", 7)});
  const auto bits = filters_.bits_of("G", "T", "a > 1");
  ASSERT_TRUE(bits);
  EXPECT_EQ(bits->since, now());
  EXPECT_FALSE(filters_.bits_of("G", "T", "a > 2"));
  EXPECT_FALSE(filters_.bits_of("other", "T", "a > 1"));
  const SubscriptionFilter filter{make_subscription(sql("T", "a > 1", 7)), bits};
  const std::string no = filters_.bit_map("T", with_a(0)), yes = filters_.bit_map("T", with_a(2));
  EXPECT_FALSE(filter.matches_bit_map(no, now() + 1));
  EXPECT_TRUE(filter.matches_bit_map(yes, now() + 1));
  EXPECT_TRUE(filter.matches_bit_map(no, now())) << "it may have been there before the group";
  EXPECT_TRUE(filter.matches_bit_map("", now() + 1)) << "none were kept";
  EXPECT_TRUE(filter.matches_bit_map(no + no, now() + 1)) << "of another shape";
}

TEST_F(Filters, AreKeptForSubscriptionsByExpressionAlone) {
  const std::int64_t born = now();
  protocol::SubscriptionData tag;
  tag.topic = "tagged";
  filters_.registered("G", {sql("T", "a > 1", 7), tag, sql("bad", "a >", 7), sql("empty", "", 7)});
  ASSERT_TRUE(find("T", "G"));
  EXPECT_EQ(*find("T", "G"), (protocol::ConsumerFilterData{.bloom_filter_data = {112, {24, 26, 83}},
                                                           .born_time = born,
                                                           .client_version = 7,
                                                           .consumer_group = "G",
                                                           .dead_time = 0,
                                                           .expression = "a > 1",
                                                           .expression_type = "SQL92",
                                                           .topic = "T"}));
  for (const char* topic : {"tagged", "bad", "empty"}) EXPECT_FALSE(find(topic, "G")) << topic;
}

TEST_F(Filters, TakeANewerExpressionAndNoOlderOne) {
  filters_.registered("G", {sql("T", "a > 1", 7)});
  disk_.clock.advance(1s);
  filters_.registered("G", {sql("T", "a > 2", 6)});
  filters_.registered("G", {sql("T", "a > 2", 7)});
  EXPECT_EQ(find("T", "G")->expression, "a > 1");
  filters_.registered("G", {sql("T", "a > 2", 8)});
  EXPECT_EQ(find("T", "G")->expression, "a > 2");
  EXPECT_EQ(find("T", "G")->born_time, now());
  filters_.registered("G", {sql("T", "a >", 9)});
  EXPECT_FALSE(find("T", "G")) << "an expression that does not compile leaves none";
}

TEST_F(Filters, DieWithTheirGroupAndComeBackWithIt) {
  filters_.registered("G", {sql("T", "a > 1", 7), sql("U", "b = 2", 7)});
  ASSERT_TRUE(persist(true));
  disk_.clock.advance(5s);
  filters_.registered("G", {sql("T", "a > 1", 7)});
  EXPECT_EQ(find("U", "G")->dead_time, now()) << "no longer subscribed";
  EXPECT_EQ(find("T", "G")->dead_time, 0);
  ASSERT_TRUE(persist(false));
  EXPECT_EQ(find("T", "G")->dead_time, now());
  disk_.clock.advance(5s);
  filters_.registered("G", {sql("T", "a > 1", 7)});
  EXPECT_EQ(find("T", "G")->dead_time, 0);
  disk_.clock.advance(std::chrono::milliseconds{kDayMs});
  ASSERT_TRUE(persist(true));
  EXPECT_TRUE(find("T", "G"));
  EXPECT_FALSE(find("U", "G")) << "dead for a day";
}

TEST_F(Filters, SurviveARestartAsDead) {
  filters_.registered("G", {sql("T", "a > 1", 7)});
  const std::int64_t born = now();
  ASSERT_TRUE(persist(true));
  disk_.clock.advance(60s);
  FilterData again{*disk_.env, config_, kPath};
  ASSERT_TRUE(again.load());
  const auto table = again.table();
  const auto& data = table.filter_data_by_topic.at("T").group_filter_data.at("G");
  EXPECT_EQ(data.born_time, born);
  EXPECT_EQ(data.dead_time, now() - 30'000);
  EXPECT_EQ(data.expression, "a > 1");
}

TEST_F(Filters, OfAnotherShapeAreDropped) {
  filters_.registered("G", {sql("T", "a > 1", 7)});
  ASSERT_TRUE(persist(true));
  BrokerConfig other;
  other.bloom_consumers = 64;
  LiveConfig config{other};
  FilterData again{*disk_.env, config, kPath};
  ASSERT_TRUE(again.load());
  EXPECT_TRUE(again.table().filter_data_by_topic.empty());
}

TEST_F(Filters, ReadWhatApacheWrote) {
  ASSERT_TRUE(replace_file(
      disk_.env->files, kPath,
      R"({"filterDataByTopic":{"T":{"groupFilterData":{"G":{"bloomFilterData":{"bitNum":112,)"
      R"("bitPos":[24,26,83]},"bornTime":1700000000000,"clientVersion":3,"consumerGroup":"G",)"
      R"("dead":false,"deadTime":0,"expression":"a > 1","expressionType":"SQL92","topic":"T"}},)"
      R"("topic":"T"}}})"));
  ASSERT_TRUE(filters_.load());
  ASSERT_TRUE(find("T", "G"));
  EXPECT_EQ(find("T", "G")->client_version, 3);
}

}  // namespace
}  // namespace apogee::broker
