#include "broker/revive.h"

#include "broker/broker_fixture.h"
#include "protocol/properties.h"

namespace apogee::broker {
namespace {

class Reviving : public BrokerFixture {
 protected:
  /// A check point of two messages that was popped a second ago, by whatever broker was here then.
  protocol::CheckPoint point() const {
    protocol::CheckPoint point;
    point.broker_name = "broker-a";
    point.group = "g";
    point.topic = "t";
    point.count = 2;
    point.differences = {0, 1};
    point.start_offset = 5;
    point.pop_time = disk_.clock.wall_ms() - 1'000;
    point.invisible_ms = 60'000;
    return point;
  }
  protocol::Ack ack_of(const protocol::CheckPoint& point, std::int64_t offset) const {
    protocol::Ack ack;
    ack.offset = offset;
    ack.broker_name = point.broker_name;
    ack.group = point.group;
    ack.topic = point.topic;
    ack.pop_time = point.pop_time;
    ack.start_offset = point.start_offset;
    return ack;
  }
  /// As the timer delivers it.
  void deliver(const protocol::CheckPoint& point) {
    Buffer properties, record, body = encode_body(point);
    protocol::append_property(properties, protocol::property::kTags, protocol::kCheckPointTag);
    protocol::append_property(properties, protocol::property::kTimerDequeueMs, "1");
    protocol::Message message;
    message.topic = log_.topic();
    message.properties = properties;
    message.body = as_bytes(body);
    const Bytes host = as_bytes(send_settings_.store_host.address);
    message.born_host = message.store_host = host;
    ASSERT_TRUE(protocol::encode_message(record, message));
    store::Append append{
        .topic = log_.topic(),
        .queue_id = 0,
        .records = std::as_writable_bytes(std::span{record.data(), record.size()})};
    store::Append* batch[] = {&append};
    context_.store.append(batch);
    ASSERT_TRUE(is_stored(append.status));
  }

  /// A check point of an hour, so many acks of another group before the queue's end that the next
  /// run carries it over.
  protocol::CheckPoint put_far_back() {
    for (const char* body : {"a", "b", "c", "d", "e", "f", "g"}) store_.put({.body = body});
    protocol::CheckPoint what = point(), other;
    what.invisible_ms = 3'600'000;
    EXPECT_TRUE(log_.put(0, what));
    other = what;
    other.group = "h";
    const protocol::Ack ack = ack_of(other, 5);
    for (int i = 0; i < 66'000; ++i) EXPECT_TRUE(log_.put(0, ack, other.due()));
    return what;
  }

  ReviveLog log_{context_, send_settings_};
  Revive revive_{context_, send_settings_, log_};
};

TEST_F(Reviving, AnAckMayComeBeforeTheCheckPointThatIsStillInTheTimer) {
  const protocol::CheckPoint what = point();
  ASSERT_TRUE(log_.put(0, ack_of(what, 5), what.due()));
  revive_.run();
  deliver(what);
  revive_.run();
  EXPECT_EQ(revive_.outstanding(), 1u) << "one of the two is open";
  ASSERT_TRUE(log_.put(0, ack_of(what, 6), what.due()));
  revive_.run();
  EXPECT_EQ(revive_.outstanding(), 0u);
  deliver(what);
  revive_.run();
  EXPECT_EQ(revive_.outstanding(), 1u) << "the second ack was not early, and is not kept";
}

TEST_F(Reviving, AnEarlyAckIsOfItsOwnCheckPointAlone) {
  protocol::CheckPoint what = point();
  ASSERT_TRUE(log_.put(0, ack_of(what, 5), what.due()));
  ASSERT_TRUE(log_.put(0, ack_of(what, 6), what.due()));
  revive_.run();
  protocol::CheckPoint other = what;
  ++other.pop_time;
  deliver(other);
  revive_.run();
  EXPECT_EQ(revive_.outstanding(), 1u);
  deliver(what);
  revive_.run();
  EXPECT_EQ(revive_.outstanding(), 1u) << "both of its messages were acked";
}

TEST_F(Reviving, BringsNothingBackWhileItCannotReadTheAcks) {
  for (const char* body : {"a", "b", "c", "d", "e", "f", "g"}) store_.put({.body = body});
  const protocol::CheckPoint what = point();
  ASSERT_TRUE(log_.put(0, what));
  revive_.run();
  ASSERT_EQ(revive_.outstanding(), 1u);
  for (const std::int64_t offset : {5, 6})
    ASSERT_TRUE(log_.put(0, ack_of(what, offset), what.due()));
  disk_.clock.advance(120s);
  store_.unreadable = true;
  EXPECT_EQ(revive_.run(), 0u);
  EXPECT_EQ(revive_.outstanding(), 1u);
  store_.unreadable = false;
  EXPECT_EQ(revive_.run(), 0u);
  EXPECT_EQ(revive_.outstanding(), 0u);
}

TEST_F(Reviving, WhatIsGoneIsSettled) {
  for (const char* body : {"a", "b", "c", "d", "e", "f", "g"}) store_.put({.body = body});
  store_.gone = {"t", 0, 5};
  const protocol::CheckPoint what = point();
  ASSERT_TRUE(log_.put(0, what));
  disk_.clock.advance(120s);
  EXPECT_EQ(revive_.run(), 1u) << "the other one comes again";
  revive_.run();
  EXPECT_EQ(revive_.outstanding(), 0u);
}

/// As while the dispatcher is behind, so that a copy cannot be read for some runs.
TEST_F(Reviving, ACheckPointIsCarriedOverOnceAndStaysOpen) {
  put_far_back();
  revive_.run();  // writes a copy
  const std::int64_t end = store_.max_offset(log_.topic(), 0);
  EXPECT_EQ(end, 66'002);
  store_.hidden_from = {log_.topic(), 0, end - 1};
  revive_.run();
  EXPECT_EQ(store_.max_offset(log_.topic(), 0), end) << "one is enough";
  store_.hidden_from = {};
  revive_.run();
  EXPECT_EQ(revive_.outstanding(), 1u);
}

TEST_F(Reviving, ACopyOfWhatWasAckedMeanwhileIsSettled) {
  const protocol::CheckPoint what = put_far_back();
  bool acked = false;
  store_.before_append = [&](const store::Append& append) {
    // The acks come right before the copy, which still says that both are open.
    if (append.topic != log_.topic() || std::exchange(acked, true)) return;
    for (const std::int64_t offset : {5, 6})
      ASSERT_TRUE(log_.put(0, ack_of(what, offset), what.due()));
  };
  revive_.run();
  EXPECT_TRUE(acked);
  store_.before_append = nullptr;
  revive_.run();
  EXPECT_EQ(revive_.outstanding(), 0u);
}

}  // namespace
}  // namespace apogee::broker
