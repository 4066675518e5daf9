#include "broker/registration.h"

#include "base/crc.h"
#include "broker/broker_fixture.h"
#include "protocol/table_file.h"

namespace apogee::broker {
namespace {

namespace request_code = protocol::request_code;

/// Connections to name servers that answer when the test says so.
class ScriptedClient final : public remoting::Client {
 public:
  struct Call {
    std::string address;
    remoting::OwnedCommand command;
    mutable remoting::AnsweredInPlace done;  // whoever has the call may answer it
    protocol::RegisterBrokerBody body() const {
      auto body =
          protocol::decode_body<protocol::RegisterBrokerBody>(std::string_view{command.body});
      EXPECT_TRUE(body) << body.error().detail;
      return *std::move(body);
    }
    std::size_t topics() const { return body().topics.topic_config_table.size(); }
  };

  ScriptedClient(Clock& clock, std::deque<Call>& calls) : Client{clock}, calls_{calls} {}
  void call_in_place(const std::string& address,
                     std::function<void(Buffer&, std::int32_t)>&& encode, Clock::Instant,
                     remoting::AnsweredInPlace&& done) override {
    Buffer bytes;
    encode(bytes, 1);
    protocol::CommandDecoder decoder;
    const auto view = decoder.decode(**protocol::decode_frame(as_bytes(bytes)));
    if (view->code == request_code::kUnregisterBroker)  // stop() waits for it
      done(protocol::CommandView{});
    calls_.push_back({address, remoting::OwnedCommand{*view}, std::move(done)});
  }
  void oneway_frame(const std::string&, std::function<void(Buffer&, std::int32_t)>) override {}
  void close(const std::string&) override {}

 private:
  std::deque<Call>& calls_;
};

class RegistrationTest : public BrokerFixture {
 protected:
  RegistrationTest() {
    topics_.on_change([this](const auto& topics, const auto& version) {
      if (registration_) registration_->topics_changed(topics, version);
    });
  }
  ~RegistrationTest() override {
    if (registration_) registration_->stop();
    workers_.run();
    calls_.clear();
  }

  void start(std::string_view name_servers) {
    registration_ =
        std::make_unique<Registration>(here_, name_servers, "10.0.0.1:10912",
                                       std::make_unique<ScriptedClient>(disk_.clock, calls_));
    registration_->start(0ms);
    workers_.run();
  }
  void advance(Clock::Duration by) {
    // The tick runs on the workers, which are run by hand: step by step.
    for (Clock::Duration done{}; done < by; done += 500ms) {
      disk_.clock.advance(500ms);
      workers_.run();
    }
  }
  ScriptedClient::Call take(std::string_view address = {}) {
    workers_.run();
    for (auto at = calls_.begin(); at != calls_.end(); ++at) {
      if (!address.empty() && at->address != address) continue;
      auto call = std::move(*at);
      calls_.erase(at);
      return call;
    }
    ADD_FAILURE() << "nothing was sent to " << address;
    return {"", remoting::OwnedCommand{protocol::CommandView{}}, [](auto) {}};
  }
  void answer(const ScriptedClient::Call& call, std::int32_t code = 0,
              const std::string& body = {}) {
    protocol::CommandView view{.code = code};
    view.body = as_bytes(body);
    call.done(view);
    workers_.run();
  }
  void fail(const ScriptedClient::Call& call) {
    call.done(Error{Errc::kDisconnected, "refused"});
    workers_.run();
  }

  testing::ManualLoop workers_;
  Env env_here_{disk_.clock, env_.files, disk_.network, workers_, disk_.random, disk_.log};
  InFlight in_flight_here_;
  Readers readers_here_{disk_.clock, workers_, in_flight_here_, stats_.stages};
  Context here_{env_here_,  config_,          store_,          topics_,      groups_,
                consumers_, producers_,       offsets_,        queue_locks_, long_polling_,
                stats_,     "10.0.0.1:10911", in_flight_here_, readers_here_};
  std::deque<ScriptedClient::Call> calls_;
  std::unique_ptr<Registration> registration_;
};

TEST_F(RegistrationTest, TellsEveryNameServerEverything) {
  start("ns1:9876; ns2:9876");
  for (const char* address : {"ns1:9876", "ns2:9876"}) {
    const auto call = take(address);
    EXPECT_EQ(call.command.code, request_code::kRegisterBroker);
    const auto header = remoting::read_header<protocol::RegisterBrokerRequest>(call.command);
    ASSERT_TRUE(header);
    EXPECT_EQ(header->broker_name, "broker-a");
    EXPECT_EQ(header->broker_address, "10.0.0.1:10911");
    EXPECT_EQ(header->cluster_name, "Cluster");
    EXPECT_EQ(header->ha_server_address, "10.0.0.1:10912");
    EXPECT_EQ(header->body_crc32, crc32_positive(as_bytes(call.command.body)));
    EXPECT_EQ(call.topics(), topics_.all().size());
    EXPECT_EQ(call.body().topics.data_version, topics_.version());
    EXPECT_GE(call.command.version, 37) << "older ones are read in another way";
  }
}

TEST_F(RegistrationTest, RepeatsEverythingEachPeriod) {
  start("ns");
  answer(take());
  advance(29s);
  EXPECT_TRUE(calls_.empty());
  advance(2s);
  EXPECT_EQ(take().topics(), topics_.all().size());
}

TEST_F(RegistrationTest, TellsAChangedTopicAloneWithItsVersion) {
  start("ns");
  answer(take());
  make_topic("a", 1);
  const auto version_of_a = topics_.version();
  disk_.clock.advance(1ms);
  make_topic("b", 1);
  const auto first = take();
  EXPECT_TRUE(calls_.empty()) << "one at a time";
  EXPECT_EQ(first.topics(), 1U);
  EXPECT_TRUE(first.body().topics.topic_config_table.contains("a"));
  EXPECT_EQ(first.body().topics.data_version, version_of_a);
  answer(first);
  const auto second = take();
  EXPECT_TRUE(second.body().topics.topic_config_table.contains("b"));
  EXPECT_EQ(second.body().topics.data_version, topics_.version());
}

TEST_F(RegistrationTest, LeavesNothingBehindWhileOneIsUnderWay) {
  start("ns");
  make_topic("during", 1);  // the first registration may or may not have it
  answer(take());
  EXPECT_TRUE(take().body().topics.topic_config_table.contains("during"));
}

TEST_F(RegistrationTest, DoesNotLetASlowNameServerHoldUpTheOthers) {
  start("slow, fast");
  const auto slow = take("slow");
  answer(take("fast"));
  make_topic("a", 1);
  answer(take("fast"));
  make_topic("b", 1);
  EXPECT_TRUE(take("fast").body().topics.topic_config_table.contains("b"));
  EXPECT_TRUE(calls_.empty());
  answer(slow);
  EXPECT_TRUE(take("slow").body().topics.topic_config_table.contains("a"));
}

TEST_F(RegistrationTest, TellsEverythingAfterAFailureBeforeAnythingElse) {
  start("ns");
  answer(take());
  make_topic("lost", 1);
  make_topic("next", 1);
  answer(take(), /*code=*/1);  // a name server that has restarted refuses a single topic
  const auto whole = take();
  EXPECT_EQ(whole.topics(), topics_.all().size());
  answer(whole);
  EXPECT_TRUE(calls_.empty()) << "what had changed was in it";
}

TEST_F(RegistrationTest, TriesForEverAndSaysItOnce) {
  start("ns");
  fail(take());
  for (int i = 0; i < 5; ++i) {
    advance(4s);
    fail(take());
  }
  EXPECT_EQ(disk_.log.lines(LogLevel::kWarn).size(), 1U);
  advance(4s);
  answer(take());
  EXPECT_EQ(disk_.log.lines(LogLevel::kWarn).size(), 1U);
  make_topic("a", 1);
  fail(take());
  fail(take());
  EXPECT_EQ(disk_.log.lines(LogLevel::kWarn).size(), 2U) << "it was there in between";
}

TEST_F(RegistrationTest, TellsEverythingWhenTooMuchHasChanged) {
  start("ns");
  const auto first = take();
  for (std::size_t i = 0; i <= Registration::kChangesMax; ++i)
    make_topic("topic-" + std::to_string(i), 1);
  answer(first);
  const auto whole = take();
  EXPECT_EQ(whole.topics(), topics_.all().size());
  answer(whole);
  EXPECT_TRUE(calls_.empty());
}

TEST_F(RegistrationTest, TellsEverythingWhenATopicIsRemoved) {
  start("ns");
  answer(take());
  topics_.remove("t");
  const auto whole = take();
  EXPECT_EQ(whole.topics(), topics_.all().size());
  EXPECT_FALSE(whole.body().topics.topic_config_table.contains("t"));
}

TEST_F(RegistrationTest, SplitsATableTooLargeForOneFrame) {
  protocol::TopicConfigTable many = topics_.table();
  for (std::size_t i = 0; i < Registration::kTopicsMax; ++i)
    many.topic_config_table["topic-" + std::to_string(i)].perm = 6;
  ASSERT_TRUE(protocol::save_table(env_, "/store/config/topics.json", many));
  ASSERT_TRUE(topics_.load());
  start("ns");
  const auto first = take();
  EXPECT_TRUE(calls_.empty());
  answer(first);
  const auto second = take();
  answer(second);
  EXPECT_TRUE(calls_.empty());
  EXPECT_EQ(first.topics(), Registration::kTopicsMax);
  EXPECT_EQ(first.topics() + second.topics(), topics_.all().size());
  EXPECT_NE(first.body().topics.data_version, topics_.version());
  EXPECT_EQ(second.body().topics.data_version, topics_.version());

  make_topic("late", 1);
  answer(take());  // the change alone
  advance(31s);
  const auto again = take();
  EXPECT_EQ(again.topics(), Registration::kTopicsMax);
  EXPECT_EQ(again.body().topics.data_version, topics_.version()) << "it has all of them";
}

TEST_F(RegistrationTest, LimitsPermissionsToTheBrokers) {
  configure([](BrokerConfig& config) { config.permission = protocol::perm::kRead; });
  start("ns");
  EXPECT_EQ(take().body().topics.topic_config_table.at("t").perm, protocol::perm::kRead);
}

TEST_F(RegistrationTest, TakesTheOrderOfTopicsFromOneNameServer) {
  start("ns1,ns2");
  const auto from_first = take("ns1"), from_second = take("ns2");
  answer(from_first, 0, R"({"table":{"t":"broker-a:2"}})");
  EXPECT_TRUE(topics_.find("t")->order);
  answer(from_second, 0, R"({"table":{"other":"broker-a:2"}})");
  EXPECT_TRUE(topics_.find("t")->order) << "two that differ would never come to rest";
}

TEST_F(RegistrationTest, ATopicThatNameServersDoNotCallOrderedStaysAsItIs) {
  protocol::TopicConfig retry;
  retry.topic_name = "%RETRY%g";
  retry.read_queue_nums = retry.write_queue_nums = 1;
  retry.order = true;  // as a group that consumes in order makes it
  topics_.update(std::move(retry));
  start("ns");
  const auto version = topics_.version();
  answer(take("ns"), 0, R"({"table":{"other":"broker-a:2"}})");
  EXPECT_TRUE(topics_.find("%RETRY%g")->order);
  EXPECT_EQ(topics_.version(), version) << "or each heartbeat would turn it back";
}

TEST_F(RegistrationTest, UnregistersWhereItIsKnown) {
  start("there,gone");
  answer(take("there"));
  fail(take("gone"));
  registration_->stop();
  EXPECT_EQ(take("there").command.code, request_code::kUnregisterBroker);
  make_topic("late", 1);
  registration_->register_soon();
  workers_.run();
  EXPECT_TRUE(calls_.empty());
}

TEST_F(RegistrationTest, WarnsWhenThereIsNoNameServer) {
  start(" ; ");
  EXPECT_TRUE(calls_.empty());
  EXPECT_EQ(disk_.log.lines(LogLevel::kWarn).size(), 1U);
}

}  // namespace
}  // namespace apogee::broker
