#include "broker/readers.h"

#include <gtest/gtest.h>

#include "protocol/codes.h"
#include "testing/fake_peer.h"
#include "testing/manual_clock.h"

namespace apogee::broker {
namespace {

class ReadersTest : public ::testing::Test {
 protected:
  void post() {
    readers_.post([this] { ++read_; },
                  [this](const std::string& why) { refusals_.push_back(why); });
  }

  testing::ManualClock clock_;
  InFlight in_flight_;
  testing::ManualLoop threads_;
  StageTimes times_;
  Readers readers_{clock_, threads_, in_flight_, times_};
  int read_ = 0;
  std::vector<std::string> refusals_;
};

TEST_F(ReadersTest, ReadWhenTheirTurnComes) {
  post();
  EXPECT_EQ(readers_.waiting(), 1);
  clock_.advance(Readers::kWaitMax - 1ms);
  threads_.run();
  EXPECT_EQ(read_, 1);
  EXPECT_TRUE(refusals_.empty());
  EXPECT_EQ(readers_.waiting(), 0);
}

TEST_F(ReadersTest, RefuseWhatHasWaitedTooLongAndNameTheSlowStage) {
  post();
  post();
  clock_.advance(Readers::kWaitMax + 7ms);
  threads_.run();
  EXPECT_EQ(read_, 0);
  ASSERT_EQ(refusals_.size(), 2U);
  EXPECT_EQ(refusals_[0],
            "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: "
            "5007ms, size of queue: 1; the slow stage is the wait to read what is not in memory "
            "(workerThreads)");
}

TEST_F(ReadersTest, RefuseAtOnceWhatWouldWaitBehindTooMany) {
  for (std::int32_t i = 0; i < Readers::kWaitingMax; ++i) post();
  EXPECT_TRUE(refusals_.empty());
  post();
  ASSERT_EQ(refusals_.size(), 1U);
  EXPECT_TRUE(refusals_[0].starts_with("[OVERLOAD]system busy")) << refusals_[0];
  threads_.run();
  EXPECT_EQ(read_, Readers::kWaitingMax);
  EXPECT_EQ(readers_.waiting(), 0);
}

TEST_F(ReadersTest, AnswerARefusedRequestWithSystemBusy) {
  testing::ManualLoop loop;
  const auto peer = std::make_shared<testing::FakePeer>(loop);
  readers_.post(remoting::Responder{peer, protocol::CommandView{.opaque = 5}}, [this] { ++read_; });
  clock_.advance(Readers::kWaitMax);
  threads_.run();
  ASSERT_EQ(peer->sent.size(), 1U);
  EXPECT_EQ(peer->sent[0].opaque, 5);
  EXPECT_EQ(peer->sent[0].code, protocol::response_code::kSystemBusy);
  EXPECT_EQ(read_, 0);
}

TEST_F(ReadersTest, DoNothingOnceTheBrokerStops) {
  in_flight_.wait();
  post();
  threads_.run();
  EXPECT_EQ(read_, 0);
  EXPECT_TRUE(refusals_.empty());
}

}  // namespace
}  // namespace apogee::broker
