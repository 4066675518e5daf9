#include "broker/long_polling.h"

#include <deque>
#include <random>

#include <gtest/gtest.h>

#include "testing/fake_peer.h"
#include "testing/manual_clock.h"

namespace apogee::broker {
namespace {

class OnlyTag final : public store::MessageFilter {
 public:
  explicit OnlyTag(std::int64_t code) : code_{code} {}
  bool matches_tags_code(std::int64_t code) const override { return code == code_; }

 private:
  std::int64_t code_;
};

class Holds : public ::testing::Test {
 protected:
  void hold(std::int64_t offset, Clock::Duration wait = 15s,
            std::shared_ptr<const store::MessageFilter> filter = nullptr) {
    holds_.hold({.topic = "t",
                 .queue_id = 0,
                 .offset = offset,
                 .filter = std::move(filter),
                 .deadline = clock_.now() + wait,
                 .peer = peer_,
                 .resume = [this, offset] { resumed_.push_back(offset); }});
  }
  void arrive(std::int64_t offset, std::int64_t tags_code = 0, std::string_view topic = "t") {
    max_offset_ = std::max(max_offset_, offset + 1);
    const store::Arrival arrival{topic, 0, offset, tags_code, 0, 0, 100, {}};
    holds_.on_arrivals({&arrival, 1});
  }
  std::vector<std::int64_t> resumed() {
    loop_.run();
    return std::exchange(resumed_, {});
  }

  using Offsets = std::vector<std::int64_t>;
  testing::ManualClock clock_;
  testing::ManualLoop loop_;
  std::shared_ptr<testing::FakePeer> peer_ = std::make_shared<testing::FakePeer>(loop_);
  std::int64_t max_offset_ = 0;
  Offsets resumed_;
  LongPolling holds_{clock_, [this](std::string_view, std::int32_t) { return max_offset_; }};
};

TEST_F(Holds, WakeWhenTheirMessageArrives) {
  hold(0);
  EXPECT_EQ(holds_.size(), 1u);
  EXPECT_EQ(resumed(), Offsets{});
  arrive(0, 0, "another topic");
  EXPECT_EQ(resumed(), Offsets{});
  arrive(0);
  EXPECT_EQ(resumed(), Offsets{0});
  EXPECT_EQ(holds_.size(), 0u);
}

TEST_F(Holds, LeaveAMessageBeforeTheirOffsetAlone) {
  hold(5);
  arrive(4);
  EXPECT_EQ(resumed(), Offsets{});
  arrive(5);
  EXPECT_EQ(resumed(), Offsets{5});
}

TEST_F(Holds, WakeOnlyForTheirTag) {
  hold(0, 15s, std::make_shared<OnlyTag>(7));
  arrive(0, 8);
  EXPECT_EQ(resumed(), Offsets{});
  arrive(1, 7);
  EXPECT_EQ(resumed(), Offsets{0});
}

TEST_F(Holds, SeeEveryArrivalOfARound) {
  hold(1, 15s, std::make_shared<OnlyTag>(7));
  max_offset_ = 3;
  const std::array<store::Arrival, 4> round{
      store::Arrival{"t", 0, 0, 7, 0, 0, 1, {}}, store::Arrival{"u", 0, 0, 7, 0, 0, 1, {}},
      store::Arrival{"t", 0, 1, 6, 0, 0, 1, {}}, store::Arrival{"t", 0, 2, 7, 0, 0, 1, {}}};
  holds_.on_arrivals(std::span{round}.first(3));
  EXPECT_EQ(resumed(), Offsets{});
  holds_.on_arrivals(round);
  EXPECT_EQ(resumed(), Offsets{1});
}

TEST_F(Holds, WakeAtTheirDeadline) {
  hold(0, 15s);
  hold(1, 5s);
  hold(2, 30s);
  clock_.advance(4'999ms);
  EXPECT_EQ(resumed(), Offsets{});
  clock_.advance(1ms + LongPolling::kDeadlineGrain);
  EXPECT_EQ(resumed(), Offsets{1});
  clock_.advance(10s);
  EXPECT_EQ(resumed(), Offsets{0});
  clock_.advance(15s);
  EXPECT_EQ(resumed(), Offsets{2});
  EXPECT_EQ(clock_.pending(), 0u) << "a timer outlived what it was for";
}

TEST_F(Holds, NeedOneTimerForTenThousand) {
  for (int i = 0; i < 10'000; ++i) {
    hold(i);
    if (i % 100 == 0) clock_.advance(1ms);
  }
  EXPECT_EQ(clock_.pending(), 1u);
  clock_.advance(16s);
  EXPECT_EQ(resumed().size(), 10'000u);
  EXPECT_EQ(clock_.pending(), 0u);
}

TEST_F(Holds, WakeAtOnceWhenTheMessageCameBeforeTheyWereIn) {
  max_offset_ = 1;  // dispatched after the pull had looked, before hold()
  hold(0);
  EXPECT_EQ(resumed(), Offsets{0});
  EXPECT_EQ(holds_.size(), 0u);
}

TEST_F(Holds, AreFoundByTheCheckWhenANoticeWasLost) {
  hold(0);
  hold(1);
  max_offset_ = 1;
  holds_.check();
  EXPECT_EQ(resumed(), Offsets{0});
  EXPECT_EQ(holds_.size(), 1u);
}

TEST_F(Holds, EndWithTheirConnection) {
  auto other = std::make_shared<testing::FakePeer>(loop_, 2);
  hold(0);
  std::swap(other, peer_);
  hold(1);
  std::swap(other, peer_);
  peer_->close("test");
  holds_.drop_peer(*peer_);
  EXPECT_EQ(holds_.size(), 1u);
  arrive(5);
  EXPECT_EQ(resumed(), Offsets{1});
  EXPECT_EQ(peer_.use_count(), 1) << "somebody still holds on to a closed connection";
}

TEST_F(Holds, DoNotKeepAConnectionThatEndedBeforeTheyWereIn) {
  peer_->close("test");
  hold(0);
  EXPECT_EQ(holds_.size(), 0u);
  EXPECT_EQ(peer_.use_count(), 1);
}

TEST_F(Holds, WakeTogetherInOneTaskOfTheirLoop) {
  for (int i = 0; i < 100; ++i) hold(0);
  arrive(0);
  EXPECT_EQ(loop_.pending(), 1u);
  EXPECT_EQ(resumed().size(), 100u);
}

TEST_F(Holds, AreAllWokenOnDemand) {
  hold(0);
  hold(9);
  holds_.wake_all();
  EXPECT_EQ(resumed().size(), 2u);
  clock_.advance(60s);
  EXPECT_EQ(resumed(), Offsets{});
}

/// Every pull is resumed exactly once, not before there is a reason and not after its deadline.
TEST_F(Holds, ResumeEveryPullExactlyOnce) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937_64 random{seed};
    testing::ManualClock clock;
    std::int64_t end = 0;
    LongPolling holds{clock, [&](std::string_view, std::int32_t) { return end; }};
    struct Pull {
      std::int64_t offset;
      Clock::Instant deadline;
      int resumed = 0;
    };
    std::deque<Pull> pulls;
    for (int step = 0; step < 500; ++step) {
      switch (random() % 3) {
        case 0: {
          Pull& pull =
              pulls.emplace_back(Pull{end + static_cast<std::int64_t>(random() % 3),
                                      clock.now() + std::chrono::milliseconds{random() % 3'000}});
          holds.hold({.topic = "t",
                      .queue_id = 0,
                      .offset = pull.offset,
                      .filter = nullptr,
                      .deadline = pull.deadline,
                      .peer = peer_,
                      .resume = [&pull] { ++pull.resumed; }});
          break;
        }
        case 1: {
          const store::Arrival arrival{"t", 0, end++, 0, 0, 0, 1, {}};
          holds.on_arrivals({&arrival, 1});
          break;
        }
        default:
          clock.advance(std::chrono::milliseconds{random() % 300});
      }
      loop_.run();
      for (const Pull& pull : pulls) {
        const bool must =
            end > pull.offset || clock.now() >= pull.deadline + LongPolling::kDeadlineGrain;
        const bool may = must || clock.now() >= pull.deadline;
        ASSERT_LE(pull.resumed, may ? 1 : 0);
        if (must) {
          ASSERT_EQ(pull.resumed, 1);
        }
      }
    }
  }
}

}  // namespace
}  // namespace apogee::broker
