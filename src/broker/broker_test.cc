#include "broker/broker.h"

#include <filesystem>
#include <future>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "protocol/bodies.h"
#include "protocol/headers.h"
#include "protocol/message.h"
#include "protocol/request_names.h"
#include "remoting/client.h"

namespace apogee::broker {
namespace {

namespace request_code = protocol::request_code;
using protocol::NoFields;
using remoting::OwnedCommand;

/// A whole broker in a directory of its own, on real sockets, and clients that talk to it.
class RunningBroker : public ::testing::Test {
 protected:
  RunningBroker()
      : root_{(std::filesystem::path{::testing::TempDir()} /
               ("apogee-broker-" + std::to_string(::getpid()) + "-" +
                ::testing::UnitTest::GetInstance()->current_test_info()->name()))
                  .string()} {
    std::filesystem::remove_all(root_);
    start();
    client_ = remoting::make_client(env_, {}, &notices_);
  }
  ~RunningBroker() override {
    client_.reset();
    broker_.reset();
    std::filesystem::remove_all(root_);
  }

  void start() {
    BrokerSetup setup;
    setup.broker.broker_name = "broker-a";
    setup.broker.broker_ip1 = "127.0.0.1";
    setup.broker.broker_id = broker_id_;
    setup.store.root = root_;
    setup.store.commit_log_file_bytes = 1 << 20;
    setup.server.listen_port = -1;
    setup.server.bind_address = "127.0.0.1";
    setup.path = config_file_;
    auto started = Broker::start(env_, setup);
    ASSERT_TRUE(started) << started.error().detail;
    broker_ = *std::move(started);
    address_ = to_string(broker_->local());
  }

  template <class Header = NoFields>
  OwnedCommand ask(std::int32_t code, const Header& header = {}, Buffer body = {}) {
    auto answer = client_->call_and_wait(address_, code, header, std::move(body), 5s);
    if (answer) return *std::move(answer);
    ADD_FAILURE() << answer.error().detail;
    return OwnedCommand{protocol::CommandView{.code = -1}};
  }
  void send(std::string_view body, std::string_view tag = "A") {
    Buffer properties;
    protocol::append_property(properties, "TAGS", tag);
    protocol::SendMessageV2 header;
    header.producer_group = "p";
    header.topic = "t";
    header.default_topic = "TBW102";
    header.default_topic_queue_nums = 1;
    header.properties = properties;
    // Views do not survive the call's own thread: encode here.
    std::promise<Result<OwnedCommand>> done;
    client_->call_frame(
        address_,
        [&](Buffer& out, std::int32_t opaque) {
          protocol::encode_command(out, {.code = request_code::kSendMessageV2, .opaque = opaque},
                                   header, as_bytes(body));
        },
        5s, [&](Result<OwnedCommand> answer) { done.set_value(std::move(answer)); });
    auto answer = done.get_future().get();
    ASSERT_TRUE(answer) << answer.error().detail;
    ASSERT_EQ(answer->code, 0) << answer->remark;
  }
  void join(const std::string& expression = "*") {
    protocol::HeartbeatData heartbeat;
    heartbeat.client_id = "client";
    protocol::ConsumerData data;
    data.group_name = "g";
    data.subscription_data_set.push_back(*protocol::subscription_from("t", expression, "TAG", 1));
    heartbeat.consumer_data_set.push_back(std::move(data));
    EXPECT_EQ(ask(request_code::kHeartBeat, NoFields{}, encode_body(heartbeat)).code, 0);
  }
  std::future<Result<OwnedCommand>> pull(std::int64_t offset, bool wait) {
    auto done = std::make_shared<std::promise<Result<OwnedCommand>>>();
    auto answer = done->get_future();
    client_->call_frame(
        address_,
        [offset, wait](Buffer& out, std::int32_t opaque) {
          const protocol::PullMessageRequest header{
              .consumer_group = "g",
              .topic = "t",
              .queue_id = 0,
              .queue_offset = offset,
              .max_messages = 32,
              .sys_flag = wait ? protocol::pull_flag::kSuspend : 0,
              .suspend_timeout_ms = 10'000};
          protocol::encode_command(out, {.code = request_code::kPullMessage, .opaque = opaque},
                                   header);
        },
        20s, [done](Result<OwnedCommand> result) { done->set_value(std::move(result)); });
    return answer;
  }
  static std::vector<std::string> bodies(const OwnedCommand& answer) {
    std::vector<std::string> result;
    for (Bytes rest = as_bytes(answer.body); !rest.empty();) {
      const auto message = protocol::decode_message(rest);
      if (!message) break;
      result.emplace_back(as_text(message->body));
      rest = rest.subspan(static_cast<std::size_t>(message->size));
    }
    return result;
  }
  /// Pulls until `count` messages were seen, waiting at the broker for each.
  std::vector<std::string> consume(std::size_t count) {
    std::vector<std::string> seen;
    std::int64_t next = 0;
    while (seen.size() < count) {
      auto answer = pull(next, /*wait=*/true).get();
      if (!answer || (answer->code != 0 && answer->code != 19 && answer->code != 20)) {
        ADD_FAILURE() << (answer ? answer->remark : answer.error().detail);
        break;
      }
      for (std::string& each : bodies(*answer)) seen.push_back(std::move(each));
      for (const auto& [name, value] : answer->ext)
        if (name == "nextBeginOffset") next = std::stoll(value);
    }
    return seen;
  }

  struct Notices final : remoting::RequestHandler {
    void on_requests(std::span<const remoting::Request> requests) override {
      count += static_cast<int>(requests.size());
    }
    std::atomic<int> count{0};
  };

  const std::string root_;
  std::int64_t broker_id_ = 0;  ///< As in the file.
  std::string config_file_;     ///< Empty: none.
  std::unique_ptr<Clock> clock_ = make_system_clock();
  std::unique_ptr<FileSystem> files_ = make_posix_files();
  std::unique_ptr<Transport> network_ = remoting::make_transport(2);
  std::unique_ptr<Executor> workers_ = make_thread_pool(2, "work");
  Random random_{1};
  std::unique_ptr<Logger> log_ = make_silent_logger();
  Env env_{*clock_, *files_, *network_, *workers_, random_, *log_};
  Notices notices_;
  std::unique_ptr<Broker> broker_;
  std::string address_;
  std::unique_ptr<remoting::Client> client_;
};

TEST_F(RunningBroker, IsNumberZeroAsAMasterWhateverTheFileSays) {
  broker_id_ = 7;
  broker_.reset();
  start();
  const auto answer = ask(request_code::kGetBrokerConfig);
  EXPECT_NE(answer.body.find("brokerId=0\n"), std::string::npos) << answer.body;
}

TEST_F(RunningBroker, KeepsTheLinesOfItsFileThatMeanNothingToIt) {
  config_file_ = root_ + "/broker.conf";
  ASSERT_TRUE(
      replace_file(*files_, config_file_, "useEpollNativeSelector=true\nbrokerPermission=6\n"));
  broker_.reset();
  start();
  const auto update = [&](Buffer text) {
    return ask(request_code::kUpdateBrokerConfig, NoFields{}, std::move(text)).code;
  };
  EXPECT_EQ(update("brokerPermission=4\nuseEpollNativeSelector=true"), 0);
  EXPECT_EQ(update("useEpollNativeSelector=false"), 16);
  const auto text = read_file(*files_, config_file_);
  ASSERT_TRUE(text);
  EXPECT_NE(text->find("useEpollNativeSelector=true\n"), std::string::npos);
  EXPECT_NE(text->find("brokerPermission=4\n"), std::string::npos);
}

TEST_F(RunningBroker, KeepsItsFileFromWhoeverCouldNotReadIt) {
  config_file_ = root_ + "/broker.conf";
  ASSERT_TRUE(replace_file(*files_, config_file_, "tls.server.keyPassword=hush\n"));
  using std::filesystem::perms;
  constexpr perms kOwners = perms::owner_read | perms::owner_write;
  std::filesystem::permissions(config_file_, kOwners);
  broker_.reset();
  start();
  EXPECT_EQ(ask(request_code::kUpdateBrokerConfig, NoFields{}, "brokerPermission=4").code, 0);
  EXPECT_NE(read_file(*files_, config_file_)->find("brokerPermission=4\n"), std::string::npos);
  for (const char* each : {"", ".bak"})
    EXPECT_EQ(std::filesystem::status(config_file_ + each).permissions(), kOwners) << each;
}

TEST_F(RunningBroker, SaysThatAChangeIsInForceWhenItsFileCannotBeWritten) {
  config_file_ = root_ + "/broker.conf";
  ASSERT_TRUE(replace_file(*files_, config_file_, "brokerPermission=6\n"));
  std::filesystem::create_directories(config_file_ + ".bak/in the way");
  broker_.reset();
  start();
  const auto answer = ask(request_code::kUpdateBrokerConfig, NoFields{}, "brokerPermission=4");
  EXPECT_EQ(answer.code, 1);
  EXPECT_NE(answer.remark.find("in force, but not written"), std::string::npos) << answer.remark;
  EXPECT_NE(ask(request_code::kGetBrokerConfig).body.find("brokerPermission=4\n"),
            std::string::npos);
}

TEST_F(RunningBroker, KeepsItsStoreFromEveryOtherProcess) {
  send("the store has been used");
  const pid_t child = ::fork();
  if (child == 0) {
    const auto lock = make_posix_files()->lock(root_ + "/lock");
    ::_exit(!lock && lock.error().code == Errc::kExists ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 0) << "a second process got the lock of a store in use";
}

TEST_F(RunningBroker, DeliversToAPullThatWaits) {
  send("first");
  join();
  EXPECT_EQ(consume(1), std::vector<std::string>{"first"});
  auto waiting = pull(1, /*wait=*/true);
  send("second");
  auto answer = waiting.get();
  ASSERT_TRUE(answer) << answer.error().detail;
  EXPECT_EQ(answer->code, 0) << answer->remark;
  EXPECT_EQ(bodies(*answer), std::vector<std::string>{"second"});
}

TEST_F(RunningBroker, DeliversEverythingWhileItIsBeingSent) {
  send("0");
  join();
  constexpr std::size_t kMessages = 300;
  auto consumed = std::async(std::launch::async, [&] { return consume(kMessages); });
  std::vector<std::string> sent{"0"};
  for (std::size_t i = 1; i < kMessages; ++i) {
    sent.push_back(std::to_string(i));
    send(sent.back());
  }
  EXPECT_EQ(consumed.get(), sent);
}

TEST_F(RunningBroker, SendsLargeMessagesFromTheLogItself) {
  const std::string large(200'000, 'x');
  send(large);
  join();
  EXPECT_TRUE(consume(1) == std::vector<std::string>{large});
}

TEST_F(RunningBroker, WakesOnlyForTheSubscribedTag) {
  send("b", "B");
  join("B");
  consume(1);  // the queue exists: messages are readable a moment after they are acknowledged
  auto waiting = pull(1, /*wait=*/true);
  send("a again", "A");
  send("b again", "B");
  auto answer = waiting.get();
  ASSERT_TRUE(answer) << answer.error().detail;
  EXPECT_EQ(bodies(*answer), std::vector<std::string>{"b again"});
}

TEST_F(RunningBroker, RemembersMessagesAndOffsetsThroughARestart) {
  send("kept");
  join();
  EXPECT_EQ(ask(request_code::kUpdateConsumerOffset,
                protocol::UpdateConsumerOffsetRequest{"g", "t", 0, 1})
                .code,
            0);
  broker_.reset();
  start();
  const auto offset = ask(request_code::kQueryConsumerOffset,
                          protocol::QueryConsumerOffsetRequest{"g", "t", 0, {}});
  EXPECT_EQ(remoting::read_header<protocol::OffsetResponse>(offset)->offset, 1);
  join();
  EXPECT_EQ(consume(1), std::vector<std::string>{"kept"});
}

TEST_F(RunningBroker, StopsWithPullsWaiting) {
  send("first");
  join();
  consume(1);
  std::vector<std::future<Result<OwnedCommand>>> waiting;
  for (int i = 0; i < 100; ++i) waiting.push_back(pull(1, /*wait=*/true));
  ask(request_code::kGetMaxOffset, protocol::QueueRequest{"t", 0});  // they are in by now
  broker_.reset();
  for (auto& each : waiting) EXPECT_FALSE(each.get());
}

TEST_F(RunningBroker, RefusesAPortInUse) {
  BrokerSetup setup;
  setup.broker.broker_ip1 = "127.0.0.1";
  setup.store.root = root_ + "-other";
  setup.store.commit_log_file_bytes = 1 << 20;
  setup.server.listen_port = broker_->local().port;
  setup.server.bind_address = "127.0.0.1";
  auto second = Broker::start(env_, setup);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kExists) << second.error().detail;
  std::filesystem::remove_all(setup.store.root);
}

TEST_F(RunningBroker, NamesWhatItRefuses) {
  for (const std::int32_t code : {354, 355, 513, 902, 903, 906, 200'074}) {
    const OwnedCommand answer = ask(code);
    EXPECT_EQ(answer.code, 3) << code;
    EXPECT_NE(answer.remark.find(std::string{protocol::request_name(code)} + " (" +
                                 std::to_string(code) + ") is not supported: "),
              std::string::npos)
        << answer.remark;
  }
  EXPECT_EQ(ask(50).remark, " request type 50 not supported") << "unknown to RocketMQ 5.5 as well";
  for (std::int32_t code = 3001; code <= 3010; ++code)
    EXPECT_EQ(ask(code).code, 1) << "as a broker without authentication: " << code;
}

TEST_F(RunningBroker, KnowsEveryRequestOfItsTools) {
  // What mqadmin 5.5.0 sends to brokers (AdminBrokerProcessor's list among them).
  const auto codes = broker_->codes();
  for (const std::int32_t code :
       {10,   11,   12,   14,   15,   17,   18,   21,      25,     26,  28,  29,  30,   31,
        32,   33,   34,   35,   36,   38,   41,   42,      43,     45,  46,  200, 201,  202,
        203,  204,  207,  208,  215,  222,  223,  225,     300,    303, 305, 306, 307,  308,
        309,  310,  314,  315,  316,  317,  320,  321,     328,    329, 343, 345, 351,  352,
        353,  354,  355,  361,  402,  513,  902,  903,     905,    906, 907, 908, 1007, 2001,
        2002, 2003, 2004, 3001, 3005, 3010, 5001, 200'056, 200'074})
    EXPECT_TRUE(codes.contains(code)) << code << " " << protocol::request_name(code);
}

}  // namespace
}  // namespace apogee::broker
