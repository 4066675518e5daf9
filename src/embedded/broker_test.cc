#include "apogee/testing/broker.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "base/env.h"
#include "protocol/headers.h"
#include "remoting/client.h"

namespace apogee::testing {
namespace {

/// Somebody who asks over real sockets.
struct Caller {
  std::unique_ptr<Clock> clock = make_system_clock();
  std::unique_ptr<FileSystem> files = make_posix_files();
  std::unique_ptr<Executor> workers = make_thread_pool(1, "caller");
  std::unique_ptr<Transport> network = remoting::make_transport(1);
  Random random{1};
  std::unique_ptr<Logger> log = make_silent_logger();
  Env env{*clock, *files, *network, *workers, random, *log};
  std::unique_ptr<remoting::Client> client = remoting::make_client(env, {});

  Result<remoting::OwnedCommand> ask(const std::string& address,
                                     std::chrono::milliseconds limit = 5s) {
    return client->call_and_wait(address, protocol::request_code::kGetBrokerClusterInfo,
                                 protocol::NoFields{}, {}, limit);
  }
  Result<remoting::OwnedCommand> send(const Broker& broker, const std::string& body,
                                      const std::string& properties = "") {
    protocol::SendMessageV1 request;
    request.producer_group = "g";
    request.topic = "orders";
    request.default_topic = "TBW102";
    request.default_topic_queue_nums = 4;
    request.queue_id = 0;
    request.properties = properties;
    return client->call_and_wait(broker.address(), protocol::request_code::kSendMessage, request,
                                 body, 5s);
  }
  std::int64_t max_offset(const Broker& broker) {
    protocol::QueueRequest request;
    request.topic = "orders";
    request.queue_id = 0;
    auto answer = client->call_and_wait(broker.address(), protocol::request_code::kGetMaxOffset,
                                        request, {}, 5s);
    if (!answer) return -1;
    auto header = remoting::read_header<protocol::OffsetResponse>(*answer);
    return header ? header->offset : -1;
  }
  /// A queue follows its log a moment later.
  bool sees_max_offset(const Broker& broker, std::int64_t wanted) {
    const auto end = clock->now() + 10s;
    while (clock->now() < end)
      if (max_offset(broker) == wanted) return true;
    return false;
  }
};

Broker started(BrokerOptions options = {.topics = {{"orders", 2}}}) {
  auto broker = Broker::start(std::move(options));
  if (!broker) ADD_FAILURE() << broker.error().detail;
  return *std::move(broker);
}

TEST(EmbeddedBroker, StoresWhatIsSentToATopicMadeAtStart) {
  Broker broker = started();
  Caller caller;
  auto sent = caller.send(broker, "hello");
  ASSERT_TRUE(sent) << sent.error().detail;
  EXPECT_EQ(sent->code, 0) << sent->remark;
  EXPECT_TRUE(caller.sees_max_offset(broker, 1));
}

TEST(EmbeddedBroker, KeepsItsMessagesAndItsPortOverARestart) {
  Broker broker = started();
  Caller caller;
  ASSERT_TRUE(caller.send(broker, "hello"));
  const std::string address = broker.address();
  auto again = broker.restart();
  ASSERT_TRUE(again) << again.error().detail;
  EXPECT_EQ(broker.address(), address);
  EXPECT_TRUE(caller.sees_max_offset(broker, 1));
}

TEST(EmbeddedBroker, IsGoneWhileStopped) {
  Broker broker = started();
  broker.stop();
  EXPECT_FALSE(broker.running());
  Caller caller;
  EXPECT_FALSE(caller.ask(broker.address(), 500ms));
  EXPECT_TRUE(caller.ask(broker.name_server()));
  EXPECT_EQ(broker.create_topic({"more"}).error().code, Errc::kStopped);
}

TEST(EmbeddedBroker, RemovesItsTemporaryDirectoryAndLeavesTheCallers) {
  std::string temporary;
  {
    Broker broker = started();
    temporary = broker.directory();
    EXPECT_TRUE(std::filesystem::exists(temporary));
  }
  EXPECT_FALSE(std::filesystem::exists(temporary));
  const std::string kept = temporary + "-kept";
  {
    Broker broker = started({.directory = kept, .topics = {{"orders", 1}}});
    Caller caller;
    ASSERT_TRUE(caller.send(broker, "hello"));
  }
  {
    Broker broker = started({.directory = kept});
    Caller caller;
    EXPECT_TRUE(caller.sees_max_offset(broker, 1));
  }
  std::filesystem::remove_all(kept);
}

TEST(EmbeddedBroker, NamesASettingItDoesNotKnow) {
  auto broker = Broker::start({.settings = {{"brokerNmae", "b"}}});
  ASSERT_FALSE(broker);
  EXPECT_EQ(broker.error().code, Errc::kInvalidArgument);
  EXPECT_NE(broker.error().detail.find("brokerName"), std::string::npos) << broker.error().detail;
}

TEST(EmbeddedBroker, DoesNotAnswerWhileFrozen) {
  Broker broker = started();
  Caller caller;
  ASSERT_TRUE(caller.ask(broker.name_server()));
  broker.freeze(true);
  auto silence = caller.ask(broker.name_server(), 200ms);
  ASSERT_FALSE(silence);
  EXPECT_EQ(silence.error().code, Errc::kTimeout);
  broker.freeze(false);
  EXPECT_TRUE(caller.ask(broker.name_server()));
}

TEST(EmbeddedBroker, TakesNewConnectionsAfterItCutTheOldOnes) {
  Broker broker = started();
  Caller caller;
  ASSERT_TRUE(caller.ask(broker.name_server()));
  broker.freeze(true);
  std::promise<Result<remoting::OwnedCommand>> pending;
  caller.client->call(broker.name_server(), protocol::request_code::kGetBrokerClusterInfo,
                      protocol::NoFields{}, {}, 30s,
                      [&](auto answer) { pending.set_value(std::move(answer)); });
  broker.cut_connections();
  auto cut = pending.get_future().get();
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().code, Errc::kDisconnected);
  broker.freeze(false);
  EXPECT_TRUE(caller.ask(broker.name_server()));
}

TEST(EmbeddedBroker, RefusesConnectionsUntilToldOtherwise) {
  Broker broker = started();
  broker.refuse_connections(true);
  Caller caller;
  EXPECT_FALSE(caller.ask(broker.name_server(), 300ms));
  broker.refuse_connections(false);
  EXPECT_TRUE(caller.ask(broker.name_server()));
}

TEST(EmbeddedBroker, DeliversADelayedMessageWhenItsClockIsMoved) {
  Broker broker = started();
  Caller caller;
  auto sent = caller.send(broker, "later", std::string{"DELAY\x01"} + "18\x02");  // two hours
  ASSERT_TRUE(sent);
  ASSERT_EQ(sent->code, 0) << sent->remark;
  EXPECT_EQ(caller.max_offset(broker), 0);
  broker.advance(3h);
  EXPECT_TRUE(caller.sees_max_offset(broker, 1));
}

}  // namespace
}  // namespace apogee::testing
