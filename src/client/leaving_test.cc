#include <algorithm>
#include <atomic>
#include <future>
#include <thread>

#include "client/group_member.h"
#include "protocol/codes.h"
#include "testing/consumer_fixture.h"

/// What the next member of a group gets from one that leaves.
namespace apogee {
namespace {

using ::testing::ElementsAre;
namespace request = protocol::request_code;

/// Somebody waits here until it is opened.
class Door {
 public:
  void pass() {
    if (!reached_.exchange(true)) arrival_.set_value();
    open_.wait_for(30s);
  }
  bool wait_for_somebody() {
    return arrival_.get_future().wait_for(15s) == std::future_status::ready;
  }
  void open() { opened_.set_value(); }

 private:
  std::atomic<bool> reached_{false};
  std::promise<void> arrival_, opened_;
  std::shared_future<void> open_ = opened_.get_future().share();
};

class Leaving : public ConsumerFixture {
 protected:
  bool has_ended(Client& of) {
    const auto role = of.instance()->consumer("billing");
    const auto* const member = dynamic_cast<const client::GroupMember*>(role.get());
    return member == nullptr || member->ended();
  }
  /// The group is another client's from now on.
  PushConsumer follow() {
    next_client_.emplace(client());
    return consumer_of(*next_client_, {.from = StartFrom::kFirst, .on_messages = next_.keep()});
  }
  /// Of the queues of "orders" and of the retry topic.
  std::size_t locks_another_gets() {
    protocol::LockBatchBody body;
    body.client_id = "another";
    body.consumer_group = "billing";
    body.mq_set.insert({"broker-a", 0, "%RETRY%billing"});
    for (std::int32_t queue = 0; queue < 4; ++queue)
      body.mq_set.insert({"broker-a", queue, "orders"});
    const auto answer =
        ask_broker(request::kLockBatchMq, protocol::NoFields{}, protocol::encode_body(body));
    if (!answer) return 0;
    const auto locked =
        protocol::decode_body<protocol::LockBatchAnswer>(std::string_view{answer->body});
    return locked ? locked->lock_ok_mq_set.size() : 0;
  }

  std::optional<Client> next_client_;
  Received next_;
};

TEST_F(Leaving, CommitsWhatIsConsumedWhileQueuesAreStillDivided) {
  Door dividing, consuming;
  std::atomic<bool> slow{false};
  Allocation allocation = average();
  allocation.divide = [&, divide = allocation.divide](const auto&... given) {
    if (slow) dividing.pass();
    return divide(given...);
  };
  PushConsumer c = consumer({.from = StartFrom::kFirst,
                             .on_messages =
                                 [&](auto batch) {
                                   received_.add(batch.front());
                                   consuming.pass();
                                   return Consumed::kDone;
                                 },
                             .allocation = allocation});
  send_to(0, "done");
  ASSERT_TRUE(received_.wait_for(1));
  slow = true;
  c.resume();  // divides anew
  ASSERT_TRUE(dividing.wait_for_somebody());
  const auto end = std::async(std::launch::async, [&] { c.shutdown(); });
  ASSERT_TRUE(eventually([&] { return has_ended(*client_); }));
  dividing.open();
  EXPECT_FALSE(eventually([&] { return c.queues().empty(); }, 300ms)) << "one is consumed from";
  consuming.open();
  end.wait();
  const PushConsumer after = follow();
  send_to(0, "next");
  ASSERT_TRUE(next_.wait_for(1));
  EXPECT_THAT(next_.bodies(), ElementsAre("next"));
}

TEST_F(Leaving, LeavesFromInsideItsFunctionBehindTheCommit) {
  Door asleep;
  std::optional<PushConsumer> c;
  std::atomic<int> calls{0};
  c.emplace(consumer({.from = StartFrom::kFirst, .on_messages = [&](auto batch) {
                        if (batch.front().body == "last") {
                          c->shutdown();
                          asleep.pass();
                        }
                        ++calls;
                        return Consumed::kDone;
                      }}));
  for (int i = 0; i < 20; ++i) send_to(1, "done");
  ASSERT_TRUE(eventually([&] { return calls == 20; }));
  send_to(0, "last");
  ASSERT_TRUE(asleep.wait_for_somebody());
  const PushConsumer after = follow();
  EXPECT_FALSE(next_.wait_for(2, 1500ms)) << "the one whose call still runs, at most";
  asleep.open();
  ASSERT_TRUE(eventually([&] { return after.queues().size() == 5; }));
  send_to(1, "next");
  ASSERT_TRUE(eventually([&] { return std::ranges::count(next_.bodies(), "next") == 1; }));
  EXPECT_EQ(std::ranges::count(next_.bodies(), "done"), 0);
}

TEST_F(Leaving, LeavesFromInsideItsFunctionHoweverLongThatTakes) {
  Door asleep;
  std::optional<PushConsumer> c;
  c.emplace(consumer({.from = StartFrom::kFirst,
                      .on_messages =
                          [&](auto) {
                            c->shutdown();
                            asleep.pass();
                            return Consumed::kDone;
                          },
                      .shutdown_wait = 100ms}));
  send_to(0, "held");
  ASSERT_TRUE(asleep.wait_for_somebody());
  const PushConsumer after = follow();
  EXPECT_TRUE(next_.wait_for(1));
  asleep.open();
}

/// What is under way last is ended by an io thread. What that sends cannot be waited for: only that
/// thread can read the answer.
TEST_F(Leaving, SendsItsLastTracesFromAThreadThatMayWaitForTheirAnswers) {
  ASSERT_TRUE(broker_->create_topic({"traces", 1}));
  Door answering;
  std::atomic<std::thread::id> io_thread, tracing_thread;
  ClientConfig config{.io_threads = 1};
  config.after_response = [&](const RpcEvent& event) {
    if (event.code != request::kConsumerSendMessageBack) return;
    io_thread = std::this_thread::get_id();
    answering.pass();
  };
  config.before_request = [&](const RpcEvent& event) {
    if (event.code == request::kSendMessageV2) tracing_thread = std::this_thread::get_id();
    return ExtFields{};
  };
  Client failing = client(config);
  PushConsumer c =
      consumer_of(failing, {.subscriptions = {{"orders"}, {"traces"}},  // whose route is known then
                            .from = StartFrom::kFirst,
                            .on_messages = [](auto) { return Consumed::kRetryLater; },
                            .trace = true,
                            .trace_topic = "traces"});
  send_to(0, "comes again");
  ASSERT_TRUE(answering.wait_for_somebody());
  const auto end = std::async(std::launch::async, [&] { c.shutdown(); });
  ASSERT_TRUE(eventually([&] { return has_ended(failing); }));
  answering.open();
  end.wait();
  EXPECT_NE(tracing_thread.load(), std::thread::id{}) << "sent when the end has returned";
  EXPECT_NE(tracing_thread.load(), io_thread.load());
  PullConsumer auditor = *client_->pull_consumer({.group = "auditor"});
  EXPECT_TRUE(eventually([&] { return *auditor.max_offset({"traces", "broker-a", 0}) == 1; }));
}

OnMessagesOrderly in_order(Received& to) {
  return [&to](std::span<const ReceivedMessage> batch) {
    for (const auto& each : batch) to.add(each);
    return ConsumedOrderly::kDone;
  };
}

TEST_F(Leaving, GivesBackLocksThatItIsGivenAfterItsEnd) {
  Door locking;
  std::atomic<bool> locked{false};
  ClientConfig config;
  config.before_request = [&](const RpcEvent& event) {
    if (event.code == request::kLockBatchMq) locking.pass();
    return ExtFields{};
  };
  config.after_response = [&](const RpcEvent& event) {
    if (event.code == request::kLockBatchMq) locked = true;
  };
  Client first = client(config);
  PushConsumer c =
      consumer_of(first, {.from = StartFrom::kFirst, .on_messages_orderly = in_order(received_)});
  ASSERT_TRUE(locking.wait_for_somebody());
  c.shutdown();
  locking.open();
  ASSERT_TRUE(eventually([&] { return locked.load(); }));
  EXPECT_TRUE(eventually([&] { return locks_another_gets() == 5; }))
      << "what nobody gives back is locked for a minute";
}

TEST_F(Leaving, TakesNoLockFromAConsumerOfItsClientThatFollows) {
  Door consuming;
  PushConsumer c = consumer({.from = StartFrom::kFirst,
                             .on_messages_orderly =
                                 [&](auto batch) {
                                   received_.add(batch.front());
                                   consuming.pass();
                                   return ConsumedOrderly::kDone;
                                 },
                             .shutdown_wait = 100ms});
  send_to(0, "held");
  ASSERT_TRUE(received_.wait_for(1));
  const std::weak_ptr<client::ConsumerRole> ended = client_->instance()->consumer("billing");
  c.shutdown();
  const PushConsumer after =
      consumer({.from = StartFrom::kFirst, .on_messages_orderly = in_order(next_)});
  ASSERT_TRUE(next_.wait_for(1));
  ASSERT_TRUE(eventually([&] { return after.queues().size() == 5; }));
  consuming.open();
  {
    const PushConsumer destroyed = std::move(c);
  }
  ASSERT_TRUE(eventually([&] { return ended.expired(); }));
  EXPECT_EQ(locks_another_gets(), 0u);
}

}  // namespace
}  // namespace apogee
