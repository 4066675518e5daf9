#include "apogee/pull_consumer.h"

#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apogee/admin.h"
#include "apogee/client.h"
#include "apogee/testing/broker.h"
#include "client/instance.h"
#include "testing/eventually.h"

namespace apogee {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using testing::eventually;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr auto kLong = 10s;

/// A whole broker in this process, a client of it, and messages in queue 0 of "orders".
class Pulling : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = testing::Broker::start({.topics = {{"orders", 2}}});
    ASSERT_TRUE(started) << started.error().detail;
    broker_.emplace(*std::move(started));
    client_.emplace(client());
    producer_.emplace(*client_->producer({.group = "checkout"}));
  }
  Client client(std::chrono::milliseconds poll_name_servers = 30s) {
    auto made = Client::start(
        {.name_servers = {broker_->name_server()}, .poll_name_server_interval = poll_name_servers});
    EXPECT_TRUE(made) << made.error().detail;
    return *std::move(made);
  }
  LitePullConsumer lite(LitePullConsumerConfig config = {}) { return lite_of(*client_, config); }
  static LitePullConsumer lite_of(Client& of, LitePullConsumerConfig config = {}) {
    if (config.group.empty()) config.group = "replay";
    config.from = StartFrom::kFirst;
    auto made = of.lite_pull_consumer(std::move(config));
    EXPECT_TRUE(made) << made.error().detail;
    return *std::move(made);
  }
  PullConsumer puller() {
    auto made = client_->pull_consumer({.group = "puller"});
    EXPECT_TRUE(made) << made.error().detail;
    return *std::move(made);
  }
  void send(int first, int count, const MessageQueue& to = kQueue, const std::string& tag = "") {
    std::int64_t last = -1;
    for (int i = first; i < first + count; ++i) {
      const auto sent =
          producer_->send({.topic = "orders", .body = std::to_string(i), .tag = tag}, to, 5s);
      ASSERT_TRUE(sent) << sent.error().detail;
      last = sent->queue_offset;
    }
    // Queues are written a moment after the messages.
    ASSERT_TRUE(eventually([&] { return *client_->admin().max_offset(to, 3s) > last; }));
  }
  /// Bodies of so many messages, in the order they came.
  static std::vector<std::string> take(LitePullConsumer& from, std::size_t count) {
    std::vector<std::string> bodies;
    const auto end = std::chrono::steady_clock::now() + kLong;
    while (bodies.size() < count && std::chrono::steady_clock::now() < end)
      for (const ReceivedMessage& each : from.poll(1s)) bodies.push_back(each.body);
    return bodies;
  }

  inline static const MessageQueue kQueue{"orders", "broker-a", 0}, kOther{"orders", "broker-a", 1};
  std::optional<testing::Broker> broker_;
  std::optional<Client> client_;
  std::optional<Producer> producer_;
};

// ---- Lite pull

TEST_F(Pulling, PollsWhatIsAssigned) {
  send(0, 3);
  send(100, 2, kOther);
  LitePullConsumer consumer = lite();
  ASSERT_TRUE(consumer.assign({kQueue}));
  EXPECT_THAT(consumer.assignment(), ElementsAre(kQueue));
  EXPECT_THAT(take(consumer, 3), ElementsAre("0", "1", "2"));
  send(3, 1);
  const auto more = consumer.poll(5s);
  ASSERT_THAT(more, SizeIs(1));
  EXPECT_EQ(more.front().queue, kQueue);
  EXPECT_EQ(more.front().queue_offset, 3);
}

TEST_F(Pulling, AssignsAnewInsteadOfTheOldQueues) {
  send(0, 1);
  send(100, 1, kOther);
  LitePullConsumer consumer = lite();
  ASSERT_TRUE(consumer.assign({kQueue}));
  EXPECT_THAT(take(consumer, 1), ElementsAre("0"));
  ASSERT_TRUE(consumer.assign({kOther}));
  EXPECT_THAT(consumer.assignment(), ElementsAre(kOther));
  EXPECT_THAT(take(consumer, 1), ElementsAre("100"));
}

TEST_F(Pulling, SeeksAnywhereInAQueueItHas) {
  send(0, 10);
  LitePullConsumer consumer = lite();
  ASSERT_TRUE(consumer.assign({kQueue}));
  ASSERT_TRUE(consumer.seek(kQueue, 7));
  EXPECT_THAT(take(consumer, 3), ElementsAre("7", "8", "9"));
  ASSERT_TRUE(consumer.seek_to_begin(kQueue));
  EXPECT_THAT(take(consumer, 10), SizeIs(10)) << "while a pull waited at the broker for the end";
  ASSERT_TRUE(consumer.seek(kQueue, 2));
  ASSERT_TRUE(consumer.seek_to_end(kQueue));
  send(10, 1);
  EXPECT_THAT(take(consumer, 1), ElementsAre("10")) << "what was here before the seek is gone";

  const auto far = consumer.seek(kQueue, 99);
  ASSERT_FALSE(far);
  EXPECT_EQ(far.error().detail,
            "Seek offset illegal, seek offset = 99, min offset = 0, max offset = 11");
  const auto foreign = consumer.seek(kOther, 0);
  ASSERT_FALSE(foreign);
  EXPECT_THAT(foreign.error().detail, HasSubstr("The message queue is not in assigned list"));
}

TEST_F(Pulling, PausesAndResumes) {
  LitePullConsumer consumer = lite();
  EXPECT_TRUE(consumer.is_paused(kQueue)) << "not one of ours";
  ASSERT_TRUE(consumer.assign({kQueue, kOther}));
  EXPECT_FALSE(consumer.is_paused(kQueue));
  consumer.pause({kQueue});
  EXPECT_TRUE(consumer.is_paused(kQueue));
  consumer.resume({kQueue});
  send(0, 1);
  EXPECT_THAT(take(consumer, 1), ElementsAre("0"));
}

TEST_F(Pulling, GoesOnWhereItHasCommitted) {
  send(0, 4);
  {
    LitePullConsumer consumer = lite({.auto_commit = false, .pull_batch_size = 2});
    ASSERT_TRUE(consumer.assign({kQueue}));
    ASSERT_THAT(take(consumer, 2), ElementsAre("0", "1"));
    consumer.commit(std::set{kQueue}, true);
    EXPECT_EQ(*consumer.committed(kQueue), 2);
    ASSERT_THAT(take(consumer, 2), ElementsAre("2", "3"));
  }
  LitePullConsumer next = lite();
  ASSERT_TRUE(eventually([&] { return *next.committed(kQueue) == 2; }));
  ASSERT_TRUE(next.assign({kQueue}));
  EXPECT_THAT(take(next, 2), ElementsAre("2", "3")) << "the second batch was not committed";
}

TEST_F(Pulling, CommitsByItselfWhatWasPolledWhenItEnds) {
  send(0, 3);
  {
    LitePullConsumer consumer = lite();
    ASSERT_TRUE(consumer.assign({kQueue}));
    ASSERT_THAT(take(consumer, 3), SizeIs(3));
  }
  LitePullConsumer next = lite();
  EXPECT_TRUE(eventually([&] { return *next.committed(kQueue) == 3; }));
}

TEST_F(Pulling, CommitsOffsetsOfTheProgramsOwn) {
  send(0, 3);
  LitePullConsumer consumer = lite({.auto_commit = false});
  ASSERT_TRUE(consumer.assign({kQueue}));
  consumer.commit(std::map<MessageQueue, std::int64_t>{{kQueue, 1}, {kOther, 1}}, true);
  EXPECT_EQ(*consumer.committed(kQueue), 1);
  EXPECT_NE(*consumer.committed(kOther), 1) << "not one of ours";
}

TEST_F(Pulling, ForgetsNoOffsetCommittedBeforeItsQueueBegins) {
  send(0, 3);
  LitePullConsumer consumer = lite({.auto_commit = false});
  ASSERT_TRUE(consumer.assign({kQueue}));
  consumer.commit(std::map<MessageQueue, std::int64_t>{{kQueue, 1}}, false);
  ASSERT_THAT(take(consumer, 3), SizeIs(3));
  EXPECT_EQ(*consumer.committed(kQueue), 1);
}

TEST_F(Pulling, SharesATopicWithinAGroup) {
  send(0, 5);
  send(100, 5, kOther);
  Client second = client();
  LitePullConsumer one = lite();
  ASSERT_TRUE(one.subscribe("orders"));
  ASSERT_TRUE(eventually([&] { return one.assignment().size() == 2; }));
  LitePullConsumer two = lite_of(second);
  ASSERT_TRUE(two.subscribe("orders"));
  ASSERT_TRUE(
      eventually([&] { return one.assignment().size() == 1 && two.assignment().size() == 1; }));
  EXPECT_NE(one.assignment(), two.assignment());
  two.shutdown();
  EXPECT_TRUE(eventually([&] { return one.assignment().size() == 2; }));
}

TEST_F(Pulling, LeavesWhatWasPolledLastToTheNextOwnerOfItsQueue) {
  send(0, 5);
  Client second = client();
  std::atomic<bool> taken_on{false};
  Allocation to_the_second = average();
  to_the_second.divide = [&, heir = second.id()](const auto&, const auto& me, const auto& all,
                                                 const auto& members) {
    const bool mine = members.size() == 1 || (me == heir && taken_on);
    std::vector<MessageQueue> queues;
    if (mine) queues.assign(all.begin(), all.end());
    return Result<std::vector<MessageQueue>>{std::move(queues)};
  };
  LitePullConsumer one = lite({.allocation = to_the_second});
  ASSERT_TRUE(one.subscribe("orders"));
  ASSERT_THAT(take(one, 5), SizeIs(5));
  LitePullConsumer two = lite_of(second, {.allocation = to_the_second});
  ASSERT_TRUE(two.subscribe("orders"));
  ASSERT_TRUE(eventually([&] { return one.assignment().empty(); }));
  taken_on = true;
  two.unsubscribe("nothing");  // divides anew
  EXPECT_THAT(take(two, 5), SizeIs(5)) << "nobody knows whether the first is through with them";
  EXPECT_THAT(two.poll(0ms), IsEmpty());
  two.shutdown();
  ASSERT_TRUE(eventually([&] { return one.assignment().size() == 2; }));
  EXPECT_THAT(one.poll(1s), IsEmpty()) << "the second is through with them";
}

TEST_F(Pulling, GivesEverythingToEveryMemberWhenBroadcasting) {
  send(0, 2);
  send(100, 2, kOther);
  const std::string offsets = broker_->directory() + "/offsets";
  const LitePullConsumerConfig config{
      .group = "caches", .model = MessageModel::kBroadcasting, .offset_directory = offsets};
  Client other_client = client();
  {
    LitePullConsumer one = lite(config), other = lite_of(other_client, config);
    ASSERT_TRUE(one.subscribe("orders"));
    ASSERT_TRUE(other.subscribe("orders"));
    EXPECT_THAT(take(one, 4), SizeIs(4));
    EXPECT_THAT(take(other, 4), SizeIs(4));
    EXPECT_THAT(one.assignment(), ElementsAre(kQueue, kOther));
  }
  send(4, 1);
  LitePullConsumer again = lite(config);
  ASSERT_TRUE(again.subscribe("orders"));
  EXPECT_THAT(take(again, 1), ElementsAre("4")) << "it goes on where its file says";
}

TEST_F(Pulling, TakesOnlyWhatItsFilterWants) {
  send(0, 2, kQueue, "paid");
  send(2, 2, kQueue, "refunded");
  LitePullConsumer consumer = lite();
  ASSERT_TRUE(consumer.assign({kQueue}, tags("refunded")));
  EXPECT_THAT(take(consumer, 2), ElementsAre("2", "3"));
}

TEST_F(Pulling, SubscribingAndAssigningExcludeEachOther) {
  LitePullConsumer consumer = lite();
  EXPECT_EQ(consumer.assign({}).error().detail, "Message queues can not be null or empty.");
  ASSERT_TRUE(consumer.assign({kQueue}));
  EXPECT_EQ(consumer.subscribe("orders").error().detail,
            "Subscribe and assign are mutually exclusive.");
  EXPECT_EQ(consumer.subscribe("").error().code, Errc::kInvalidArgument);
}

TEST_F(Pulling, TellsOfTheQueuesOfATopic) {
  LitePullConsumer consumer = lite();
  EXPECT_THAT(*consumer.queues("orders"), SizeIs(2));
  EXPECT_FALSE(consumer.queues("none"));
  std::promise<std::size_t> first;
  consumer.on_queues_changed(
      "orders", [&](const std::set<MessageQueue>& queues) { first.set_value(queues.size()); });
  auto told = first.get_future();
  ASSERT_EQ(told.wait_for(kLong), std::future_status::ready);
  EXPECT_EQ(told.get(), 2u);
  send(0, 1);
  EXPECT_EQ(*consumer.offset_for_time(kQueue, std::chrono::system_clock::time_point{}), 0);
}

TEST_F(Pulling, TellsOfTheQueuesOfATopicItDoesNotSubscribeTo) {
  ASSERT_TRUE(broker_->create_topic({"watched", 1}));
  Client curious = client(50ms);
  LitePullConsumer consumer = lite_of(curious);
  ASSERT_TRUE(consumer.subscribe("orders"));
  std::atomic<std::size_t> seen{0};
  consumer.on_queues_changed("watched",
                             [&](const std::set<MessageQueue>& queues) { seen = queues.size(); });
  ASSERT_TRUE(eventually([&] { return seen == 1; }));
  ASSERT_TRUE(broker_->create_topic({"watched", 3}));
  EXPECT_TRUE(eventually([&] { return seen == 3; }));
  EXPECT_TRUE(eventually([&] { return consumer.assignment().size() == 2; })) << "of orders alone";
}

TEST_F(Pulling, GoesOnWhateverItsListenersThrow) {
  std::atomic<int> calls{0};
  const auto fail = [&](const auto&...) {
    ++calls;
    throw std::runtime_error{"a listener"};
  };
  LitePullConsumer c = lite({.queues_divided = fail});
  c.on_queues_changed("orders", fail);
  ASSERT_TRUE(c.subscribe("orders"));
  EXPECT_TRUE(eventually([&] { return calls >= 2 && c.assignment().size() == 2; }));
}

TEST_F(Pulling, TellsItsHooksWhatItGivesOutAndPassesOverWhatItsProgramDoesNotWant) {
  send(0, 6);
  std::atomic<std::size_t> before{0}, after{0};
  LitePullConsumer c =
      lite({.before_consume = [&](const ConsumeEvent& event) { before += event.messages.size(); },
            .after_consume =
                [&](const ConsumeEvent& event) {
                  if (event.outcome == ConsumeOutcome::kSuccess) after += event.messages.size();
                },
            .accept = [](const ReceivedMessage& each) { return each.queue_offset % 2 == 0; }});
  ASSERT_TRUE(c.assign({kQueue}));
  std::vector<std::int64_t> got;
  EXPECT_TRUE(eventually([&] {
    for (const auto& each : c.poll(100ms)) got.push_back(each.queue_offset);
    return got.size() == 3;
  }));
  EXPECT_THAT(got, ::testing::ElementsAre(0, 2, 4));
  EXPECT_EQ(before, 3u);
  EXPECT_EQ(after, 3u);
}

TEST_F(Pulling, EndsAPollThatWaits) {
  LitePullConsumer consumer = lite();
  ASSERT_TRUE(consumer.assign({kQueue}));
  EXPECT_TRUE(consumer.is_running());
  auto polled = std::async(std::launch::async, [&] { return consumer.poll(5min); });
  consumer.shutdown();
  EXPECT_FALSE(consumer.is_running());
  ASSERT_EQ(polled.wait_for(kLong), std::future_status::ready);
  EXPECT_TRUE(polled.get().empty());
  EXPECT_EQ(consumer.assign({kQueue}).error().code, Errc::kStopped);
}

/// Its callbacks have one thread.
class PullingOnOneWorker : public Pulling {
 protected:
  void SetUp() override {
    Pulling::SetUp();
    narrow_.emplace(
        *Client::start({.name_servers = {broker_->name_server()}, .worker_threads = 1}));
    sender_.emplace(*narrow_->producer({.group = "narrow"}));
    ASSERT_TRUE(sender_->send({.topic = "orders", .body = "first"}, kOther, 5s));
    consumer_.emplace(lite_of(*narrow_));
    ASSERT_TRUE(consumer_->assign({kQueue}));
    send(0, 1);
  }
  /// A poll's callback that waits for this is told kTimeout, in good time.
  template <class Wait>
  bool times_out(const Wait& wait) {
    auto promise = std::make_shared<std::promise<bool>>();
    auto timed_out = promise->get_future();
    consumer_->poll(5s, [promise, wait](const auto&) {
      const auto result = wait();
      promise->set_value(!result && result.error().code == Errc::kTimeout);
    });
    return timed_out.wait_for(4s) == std::future_status::ready && timed_out.get();
  }
  std::optional<Client> narrow_;
  std::optional<Producer> sender_;
  std::optional<LitePullConsumer> consumer_;
};

TEST_F(PullingOnOneWorker, ASendInACallbackEndsAtItsDeadline) {
  EXPECT_TRUE(times_out([this] {
    broker_->freeze(true);
    return sender_->send({.topic = "orders", .body = "second"}, kOther, 300ms);
  }));
  broker_->freeze(false);
}

TEST_F(PullingOnOneWorker, AQuestionInACallbackEndsAtItsDeadline) {
  EXPECT_TRUE(times_out(
      [this] { return sender_->request({.topic = "orders", .body = "who is there?"}, 300ms); }));
}

TEST_F(Pulling, RefusesAGroupTwiceAndSettingsThatMakeNoSense) {
  LitePullConsumer consumer = lite();
  EXPECT_EQ(client_->lite_pull_consumer({.group = "replay"}).error().code, Errc::kExists);
  EXPECT_EQ(client_->lite_pull_consumer({.group = ""}).error().code, Errc::kInvalidArgument);
  EXPECT_THAT(client_->lite_pull_consumer({.group = "x", .consumer_timeout_when_suspend = 1s})
                  .error()
                  .detail,
              HasSubstr("consumerTimeoutMillisWhenSuspend"));
}

TEST_F(Pulling, GoesOnAfterTheBrokerWasAway) {
  send(0, 1);
  LitePullConsumer consumer = lite();
  ASSERT_TRUE(consumer.assign({kQueue}));
  EXPECT_THAT(take(consumer, 1), ElementsAre("0"));
  ASSERT_TRUE(broker_->restart());
  ASSERT_TRUE(eventually([&] {
    return static_cast<bool>(producer_->send({.topic = "orders", .body = "1"}, kQueue, 3s));
  }));
  EXPECT_THAT(take(consumer, 1), ElementsAre("1"));
}

// ---- Pull

TEST_F(Pulling, PullsFromAnOffset) {
  send(0, 3, kQueue, "paid");
  PullConsumer consumer = puller();
  const auto found = consumer.pull(kQueue, all(), 1, 32);
  ASSERT_TRUE(found) << found.error().detail;
  EXPECT_EQ(found->status, PullResult::Status::kFound);
  ASSERT_THAT(found->messages, SizeIs(2));
  EXPECT_EQ(found->messages.front().body, "1");
  EXPECT_EQ(found->next_offset, 3);
  EXPECT_EQ(consumer.pull(kQueue, all(), 3, 32)->status, PullResult::Status::kNoNewMessage);
  EXPECT_EQ(consumer.pull(kQueue, tags("other"), 0, 32)->status,
            PullResult::Status::kNoMatchedMessage);
  EXPECT_EQ(consumer.pull(kQueue, all(), 99, 32)->status, PullResult::Status::kOffsetIllegal);
  EXPECT_EQ(consumer.pull(kQueue, all(), -1, 32).error().detail, "offset < 0");
  EXPECT_EQ(consumer.pull(kQueue, all(), 0, 0).error().detail, "maxNums <= 0");
  EXPECT_EQ(*consumer.min_offset(kQueue), 0);
  EXPECT_EQ(*consumer.max_offset(kQueue), 3);
  EXPECT_THAT(*consumer.queues("orders"), SizeIs(2));
}

TEST_F(Pulling, WaitsAtTheBrokerForNewMessages) {
  PullConsumer consumer = puller();
  std::promise<Result<PullResult>> pulled;
  consumer.pull_block_if_not_found(kQueue, all(), 0, 32, [&](Result<PullResult> result) {
    pulled.set_value(std::move(result));
  });
  send(0, 1);
  auto answer = pulled.get_future();
  ASSERT_EQ(answer.wait_for(kLong), std::future_status::ready);
  const auto found = answer.get();
  ASSERT_TRUE(found) << found.error().detail;
  EXPECT_EQ(found->messages.front().body, "0");
}

TEST_F(Pulling, KeepsItsOffsetsHereAndAtTheBroker) {
  send(0, 3);
  {
    PullConsumer consumer = puller();
    ASSERT_TRUE(consumer.pull(kQueue, all(), 0, 2));
    consumer.update_offset(kQueue, 2);
    EXPECT_EQ(*consumer.fetch_offset(kQueue, false), 2);
  }
  PullConsumer consumer = puller();
  EXPECT_TRUE(eventually([&] { return *consumer.fetch_offset(kQueue, true) == 2; }));
}

TEST_F(Pulling, KeepsAnOffsetThatComesWhileOthersAreStored) {
  PullConsumer consumer = puller();
  const auto role = client_->instance()->consumer("puller");
  const auto queue = [](std::int32_t id) { return MessageQueue{"orders", "nobody", id}; };
  std::atomic<bool> over{false};
  std::thread storing{[&] {
    while (!over) role->persist_offsets();
  }};
  constexpr std::int32_t kQueues = 1'000;
  for (std::int32_t id = 0; id < kQueues; ++id) consumer.update_offset(queue(id), id);
  over = true;
  storing.join();
  EXPECT_THAT(role->offsets("orders"), SizeIs(kQueues));
}

TEST_F(Pulling, SendsBackWhatItCouldNotConsume) {
  send(0, 1);
  PullConsumer consumer = puller();
  const auto found = consumer.pull(kQueue, all(), 0, 1);
  ASSERT_TRUE(client_->admin().create_group(broker_->address(), {.name = "puller"}, 3s));
  const auto sent = consumer.send_back(found->messages.front(), 3);
  EXPECT_TRUE(sent) << sent.error().detail;
}

}  // namespace
}  // namespace apogee
