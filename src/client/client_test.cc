#include "apogee/client.h"

#include "testing/consumer_fixture.h"

namespace apogee {
namespace {

Result<Client> started(ClientConfig config) {
  config.name_servers = {"127.0.0.1:9"};
  return Client::start(std::move(config));
}

// ---- The client id

TEST(ClientTimes, OfNothingOrLessAreRefused) {
  for (const auto member :
       {&ClientConfig::poll_name_server_interval, &ClientConfig::heartbeat_broker_interval,
        &ClientConfig::persist_consumer_offset_interval, &ClientConfig::api_timeout})
    for (const auto wrong : {0ms, -1ms, std::chrono::milliseconds::max()}) {
      ClientConfig config{.name_servers = {"127.0.0.1:9876"}};
      config.*member = wrong;
      const auto started = Client::start(config);
      ASSERT_FALSE(started);
      EXPECT_EQ(started.error().code, Errc::kInvalidArgument);
      EXPECT_NE(started.error().detail.find("ms; give 1 up to"), std::string::npos);
    }
}

TEST(ClientIds, AreHeldByOneClientAtATime) {
  auto first = started({.instance_name = "billing", .client_ip = "10.1.2.3"});
  ASSERT_TRUE(first) << first.error().detail;
  EXPECT_EQ(first->id(), "10.1.2.3@billing");
  const auto second = started({.instance_name = "billing", .client_ip = "10.1.2.3"});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kExists);
  EXPECT_THAT(second.error().detail, ::testing::HasSubstr("10.1.2.3@billing"));
  EXPECT_THAT(second.error().detail, ::testing::HasSubstr("another instance_name"));

  EXPECT_TRUE(started({.instance_name = "billing", .client_ip = "10.1.2.4"}));
  EXPECT_TRUE(started({.instance_name = "billing", .client_ip = "10.1.2.3", .unit_name = "eu"}));
  EXPECT_TRUE(
      started({.instance_name = "billing", .client_ip = "10.1.2.3", .stream_requests = true}));
}

TEST(ClientIds, AreFreeOnceTheirClientWasShutDownOrDestroyed) {
  auto first = started({.instance_name = "billing"});
  ASSERT_TRUE(first);
  first->shutdown();
  {
    const auto second = started({.instance_name = "billing"});
    ASSERT_TRUE(second) << second.error().detail;
    EXPECT_EQ(second->id(), first->id());
  }
  EXPECT_TRUE(started({.instance_name = "billing"}));
}

TEST(ClientIds, AreTheirOwnForClientsWithoutAName) {
  const auto at = client::ClientId::take({}, "10.1.2.3", 7),
             same = client::ClientId::take({}, "10.1.2.3", 7);
  EXPECT_TRUE(at->text().ends_with("#7")) << at->text();
  EXPECT_TRUE(same->text().ends_with("#8")) << same->text();
}

TEST(ClientIds, AreNotTakenByAClientThatDoesNotStart) {
  EXPECT_FALSE(started({.instance_name = "billing", .tls = {.enable = true, .trust = "/nowhere"}}));
  EXPECT_TRUE(started({.instance_name = "billing"}));
}

// ---- The log function

TEST(ClientLog, SaysNothingAboutWhatItsFunctionDoesItself) {
  std::vector<std::string> lines;
  std::optional<Client> client;
  const auto say = [&](std::string_view what) { client->instance()->env().log.warn("{}", what); };
  client.emplace(*started({.log = [&](Severity, std::string_view line) {
    lines.emplace_back(line);
    say("and again");
  }}));
  say("one");
  say("two");
  EXPECT_THAT(lines, ::testing::ElementsAre("one", "two"));
}

class LogThatSends : public ConsumerFixture {};

TEST_F(LogThatSends, WithItsOwnProducerIsNotCalledFromWithinItself) {
  static thread_local int depth = 0;
  std::atomic<int> calls{0};
  std::atomic<bool> nested{false}, sends{false};
  std::optional<Producer> producer;
  Client client =
      *Client::start({.name_servers = {broker_->name_server()},
                      .api_timeout = 200ms,
                      .log = [&](Severity, std::string_view) {
                        if (!sends) return;
                        if (depth++ > 0) nested = true;
                        const std::string topic = "none-" + std::to_string(++calls);
                        producer->send({.topic = topic}, 200ms, [](const Result<SendReceipt>&) {});
                        (void)producer->send({.topic = topic}, 200ms);  // refused: it would wait
                        --depth;
                      }});
  producer.emplace(*client.producer({.group = "logging"}));
  sends = true;
  broker_->refuse_connections(true);
  broker_->cut_connections();
  EXPECT_FALSE(producer->send({.topic = "none", .body = "x"}, 1s));
  sends = false;
  client.shutdown();
  EXPECT_GT(calls, 0);
  EXPECT_FALSE(nested);
}

}  // namespace
}  // namespace apogee
