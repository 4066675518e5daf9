#include "broker/stats.h"

#include <gtest/gtest.h>

#include "testing/manual_clock.h"

namespace apogee::broker {
namespace {

class Traffic : public ::testing::Test {
 protected:
  void run(std::chrono::seconds seconds) {
    for (; seconds.count() > 0; --seconds) {
      stats_.sample();
      clock_.advance(1s);
    }
    stats_.sample();
  }
  testing::ManualClock clock_;
  Stats stats_{clock_, "Cluster"};
};

TEST_F(Traffic, IsShownByNameAndKey) {
  stats_.count_put("t", 3, 300);
  stats_.count_get("t", "g", 0, 2, 200, 1);
  stats_.count_send_back("t", "g");
  run(10s);
  EXPECT_EQ(stats_.view("TOPIC_PUT_NUMS", "t")->minute.sum, 3);
  EXPECT_EQ(stats_.view("TOPIC_PUT_SIZE", "t")->minute.sum, 300);
  EXPECT_EQ(stats_.view("GROUP_GET_NUMS", "t@g")->minute.sum, 2);
  EXPECT_EQ(stats_.view("GROUP_GET_SIZE", "t@g")->minute.sum, 200);
  EXPECT_EQ(stats_.view("SNDBCK_PUT_NUMS", "t@g")->minute.sum, 1);
  EXPECT_EQ(stats_.view("BROKER_PUT_NUMS", "Cluster")->minute.sum, 3);
  EXPECT_EQ(stats_.view("BROKER_GET_NUMS", "Cluster")->hour.sum, 2);
  EXPECT_FALSE(stats_.view("TOPIC_PUT_NUMS", "u"));
  EXPECT_FALSE(stats_.view("NO_SUCH_NAME", "t"));
}

TEST_F(Traffic, HasTheKeysOfThePublishedBroker) {
  stats_.count_put_latency("t", 3, 7);
  stats_.count_get("t", "g", 2, 1, 10, 9);
  stats_.count_delayed(4, 1, 100);
  stats_.count_delivered("t", 4, 90);
  stats_.count_acks("t", "g", 5);
  stats_.count_check_point("t", "g");
  stats_.count_sent_back_dead("t", "g", "null");
  stats_.count_consumer_register(0);
  stats_.count_channel(Stats::Channel::kConnect);
  run(10s);
  const auto average = [&](const char* name, const char* key) {
    const auto data = stats_.view(name, key);
    return data ? data->minute.average_per_time : -1;
  };
  const auto sum = [&](const char* name, const char* key) {
    const auto data = stats_.view(name, key);
    return data ? data->minute.sum : -1;
  };
  EXPECT_EQ(average("TOPIC_PUT_LATENCY", "3@t"), 7);
  EXPECT_EQ(average("GROUP_GET_LATENCY", "2@t@g"), 9);
  EXPECT_EQ(sum("QUEUE_PUT_NUMS", "SCHEDULE_TOPIC_XXXX@4"), 1);
  EXPECT_EQ(sum("QUEUE_PUT_SIZE", "SCHEDULE_TOPIC_XXXX@4"), 100);
  EXPECT_EQ(sum("QUEUE_GET_SIZE", "SCHEDULE_TOPIC_XXXX@4@SCHEDULE_CONSUMER"), 90);
  EXPECT_EQ(sum("GROUP_ACK_NUMS", "t@g"), 5);
  EXPECT_EQ(sum("GROUP_CK_NUMS", "t@g"), 1);
  EXPECT_EQ(sum("BROKER_ACK_NUMS", "Cluster"), 5);
  EXPECT_EQ(sum("BROKER_CK_NUMS", "Cluster"), 1);
  EXPECT_EQ(sum("SNDBCK2DLQ_TIMES", "null@t@g@SEND_BACK_TO_DLQ"), 1);
  EXPECT_EQ(sum("CONSUMER_REGISTER_TIME", "Cluster"), 0);
  EXPECT_EQ(sum("CHANNEL_ACTIVITY", "CONNECT"), 1);
  for (const char* name : {"GROUP_GET_FALL_SIZE", "GROUP_GET_FALL_TIME", "COMMERCIAL_SEND_TIMES",
                           "GROUP_GET_FROM_DISK_NUMS"})
    EXPECT_FALSE(stats_.view(name, "2@t@g")) << "never counted there either: " << name;
}

TEST_F(Traffic, OfTheLastMinuteForgetsOlderOnes) {
  stats_.count_put("t", 60, 0);
  run(30s);
  EXPECT_EQ(stats_.view("TOPIC_PUT_NUMS", "t")->minute.sum, 60);
  run(60s);
  EXPECT_EQ(stats_.view("TOPIC_PUT_NUMS", "t")->minute.sum, 0);
  EXPECT_EQ(stats_.view("TOPIC_PUT_NUMS", "t")->hour.sum, 60);
}

TEST_F(Traffic, HasRatesOverTheirWindow) {
  for (int second = 0; second < 61; ++second) {
    stats_.count_put("t", 50, 0);
    run(1s);
  }
  EXPECT_NEAR(stats_.topic_put_per_second("t"), 50, 5);
  const std::string rates = stats_.rates(Stats::Rate::kPut);
  double ten = 0, sixty = 0;
  ASSERT_EQ(std::sscanf(rates.c_str(), "%lf %lf", &ten, &sixty), 2) << rates;
  EXPECT_NEAR(ten, 50, 10);
}

TEST_F(Traffic, IsSampledOnWhileTheWallClockIsPutRight) {
  run(20s);
  clock_.set_wall_ms(clock_.wall_ms() - 3'600'000);
  for (int i = 0; i < 20; ++i) {
    stats_.count_put("t", 1, 100);
    run(1s);
  }
  EXPECT_GT(stats_.view("TOPIC_PUT_NUMS", "t")->minute.sum, 5);
  EXPECT_LT(std::stod(stats_.rates(Stats::Rate::kPut)), 2.1) << "messages a second";
}

TEST_F(Traffic, HasNoRateBeforeItsWindowHasPassed) {
  run(1s);
  EXPECT_EQ(stats_.rates(Stats::Rate::kPut), "  ");
  run(10s);
  EXPECT_EQ(stats_.rates(Stats::Rate::kPut), "0.0  ");
}

TEST_F(Traffic, ClassifiesPutTimes) {
  stats_.count_put_latency("t", 0, 0, 2);
  for (const std::int64_t ms : {5, 30, 12'000}) stats_.count_put_latency("t", 0, ms);
  run(61s);
  const std::string text = stats_.put_distribution();
  EXPECT_TRUE(text.starts_with("[<=0ms]:2 [0~10ms]:1 [10~50ms]:1 [50~100ms]:0 ")) << text;
  EXPECT_NE(text.find("[10s~]:1"), std::string::npos) << text;
  EXPECT_EQ(stats_.put_latency_max(), 12'000);
}

TEST_F(Traffic, ForgetsDeletedTopicsAndGroups) {
  stats_.count_put("t", 1, 1);
  stats_.count_get("t", "g", 0, 1, 1, 0);
  stats_.count_get("u", "g", 0, 1, 1, 0);
  stats_.remove_topic("t");
  EXPECT_FALSE(stats_.view("TOPIC_PUT_NUMS", "t"));
  EXPECT_FALSE(stats_.view("GROUP_GET_NUMS", "t@g"));
  EXPECT_FALSE(stats_.view("GROUP_GET_LATENCY", "0@t@g"));
  EXPECT_TRUE(stats_.view("GROUP_GET_NUMS", "u@g"));
  stats_.remove_group("g");
  EXPECT_FALSE(stats_.view("GROUP_GET_NUMS", "u@g"));
  EXPECT_FALSE(stats_.view("GROUP_GET_LATENCY", "0@u@g"));
}

TEST_F(Traffic, SinceMidnightStartsAnewEachDay) {
  stats_.count_put("t", 10, 0);
  stats_.sample();
  clock_.advance(24h);
  stats_.sample();
  stats_.count_put("t", 5, 0);
  EXPECT_EQ(stats_.days().put_today_morning, 10);
  EXPECT_EQ(stats_.days().put_now, 15);
  clock_.advance(24h);
  stats_.sample();
  EXPECT_EQ(stats_.days().put_yesterday_morning, 10);
  EXPECT_EQ(stats_.days().put_today_morning, 15);
}

}  // namespace
}  // namespace apogee::broker
