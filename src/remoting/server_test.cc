#include "remoting/server.h"

#include <future>

#include <gtest/gtest.h>

#include "remoting/client.h"
#include "remoting/processors.h"
#include "testing/echo.h"

namespace apogee::remoting {
namespace {

using testing::EchoRequest;

struct Silent {
  static constexpr std::int32_t kCode = 7'002;
  static constexpr auto kFields = MemberList{};
};
struct Back {
  static constexpr std::int32_t kCode = 7'003;
  static constexpr auto kFields = MemberList{};
};

/// A server with an echo processor and a client, on real loopback sockets. The parameter: how long
/// io threads look for more before they sleep.
class Loopback : public ::testing::TestWithParam<std::chrono::microseconds> {
 protected:
  Loopback() {
    testing::serve_echo(processors_);
    server_ = *start_server(
        env_, {.listen_port = 0, .bind_address = "127.0.0.1", .max_frame_bytes = 1 << 20},
        processors_);
    address_ = to_string(server_->local());
    client_ = make_client(env_, {});
  }

  std::unique_ptr<Clock> clock_ = make_system_clock();
  std::unique_ptr<FileSystem> files_ = make_posix_files();
  std::unique_ptr<Transport> network_ = make_transport(2, GetParam());
  std::unique_ptr<Executor> workers_ = make_thread_pool(2, "work");
  Random random_{1};
  std::unique_ptr<Logger> log_ = make_silent_logger();
  Env env_{*clock_, *files_, *network_, *workers_, random_, *log_};
  Processors processors_{env_};
  std::unique_ptr<Server> server_;
  std::string address_;
  std::unique_ptr<Client> client_;
};

TEST_P(Loopback, AnswersARequestWithItsHeaderAndBody) {
  auto answer = client_->call_and_wait(address_, EchoRequest::kCode, EchoRequest{"hello \"world\""},
                                       "body", 3s);
  ASSERT_TRUE(answer) << answer.error().detail;
  EXPECT_EQ(answer->code, 0);
  EXPECT_EQ(answer->body, "body");
  EXPECT_EQ(read_header<EchoRequest>(*answer)->text, "hello \"world\"");
}

TEST_P(Loopback, CarriesBodiesLargerThanAnyBuffer) {
  const std::string body(900'000, 'x');
  auto answer =
      client_->call_and_wait(address_, EchoRequest::kCode, EchoRequest{"large"}, body, 5s);
  ASSERT_TRUE(answer) << answer.error().detail;
  EXPECT_EQ(answer->body, body);
}

TEST_P(Loopback, MatchesManyAnswersInFlight) {
  constexpr int kCalls = 5'000;
  std::atomic<int> good{0}, done{0};
  std::promise<void> all;
  for (int i = 0; i < kCalls; ++i) {
    client_->call(address_, EchoRequest::kCode, EchoRequest{std::to_string(i)}, {}, 5s,
                  [&, i](Result<OwnedCommand> answer) {
                    if (answer && read_header<EchoRequest>(*answer)->text == std::to_string(i))
                      ++good;
                    if (++done == kCalls) all.set_value();
                  });
  }
  all.get_future().wait();
  EXPECT_EQ(good, kCalls);
}

TEST_P(Loopback, AnswersAnUnknownCodeWithJavasRemark) {
  auto answer = client_->call_and_wait(address_, 4'242, protocol::NoFields{}, {}, 3s);
  ASSERT_TRUE(answer) << answer.error().detail;
  EXPECT_EQ(answer->code, 3);
  EXPECT_EQ(answer->remark, " request type 4242 not supported");
}

TEST_P(Loopback, NamesAMissingField) {
  auto answer = client_->call_and_wait(address_, EchoRequest::kCode, protocol::NoFields{}, {}, 3s);
  ASSERT_TRUE(answer) << answer.error().detail;
  EXPECT_EQ(answer->code, 1);
  EXPECT_EQ(answer->remark, "the field text is missing");
}

TEST_P(Loopback, RefusesAFrameAboveTheLimitAndServesOthers) {
  auto answer = client_->call_and_wait(address_, EchoRequest::kCode, EchoRequest{"large"},
                                       std::string(2 << 20, 'x'), 3s);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::kDisconnected);
  EXPECT_TRUE(client_->call_and_wait(address_, EchoRequest::kCode, EchoRequest{"again"}, {}, 3s));
}

TEST_P(Loopback, NamesAPortInUse) {
  auto second = start_server(
      env_, {.listen_port = server_->local().port, .bind_address = "127.0.0.1"}, processors_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kExists);
  EXPECT_NE(second.error().detail.find(std::to_string(server_->local().port)), std::string::npos);
}

TEST_P(Loopback, EndsCallsInFlightWhenTheServerStops) {
  std::promise<void> arrived;
  Processors silent{env_};
  silent.on_async<Silent>([&](const Silent&, const Request&) { arrived.set_value(); });
  auto server = *start_server(env_, {.listen_port = 0, .bind_address = "127.0.0.1"}, silent);
  std::promise<Result<OwnedCommand>> answer;
  client_->call(to_string(server->local()), Silent::kCode, Silent{}, {}, 30s,
                [&](Result<OwnedCommand> result) { answer.set_value(std::move(result)); });
  arrived.get_future().wait();
  server.reset();
  auto result = answer.get_future().get();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::kDisconnected);
}

TEST_P(Loopback, EndsEveryCallOnceWhenItsClientGoesWhileConnecting) {
  std::atomic<int> ended{0};
  constexpr int kRounds = 300;
  for (int i = 0; i < kRounds; ++i) {
    auto hasty = make_client(env_, {});
    for (const char* text : {"one", "two"})
      hasty->call(address_, EchoRequest::kCode, EchoRequest{text}, {}, 30s,
                  [&](const Result<OwnedCommand>&) { ++ended; });
    // No condition to wait for: the moment of the connection's making is what the rounds vary.
    std::this_thread::sleep_for(std::chrono::microseconds{i % 30 * 10});
    hasty.reset();
    ASSERT_EQ(ended, 2 * (i + 1)) << "round " << i;
  }
}

TEST_P(Loopback, EndsACallAtItsDeadline) {
  Processors silent{env_};
  silent.on_async<Silent>([&](const Silent&, const Request&) {});
  auto server = *start_server(env_, {.listen_port = 0, .bind_address = "127.0.0.1"}, silent);
  auto result =
      client_->call_and_wait(to_string(server->local()), Silent::kCode, Silent{}, {}, 50ms);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::kTimeout);
}

TEST_P(Loopback, CallsBackOverTheConnectionOfARequest) {
  Processors calls_back{env_};
  calls_back.on_async<Back>([&](const Back&, const Request& request) {
    request.peer()->call(
        EchoRequest::kCode, EchoRequest{"from the server"}, {}, 3s,
        [responder = request.responder](Result<OwnedCommand> answer) {
          responder.reply(0, answer ? std::optional<std::string_view>{answer->ext.front().second}
                                    : std::nullopt);
        });
  });
  auto server = *start_server(env_, {.listen_port = 0, .bind_address = "127.0.0.1"}, calls_back);
  auto client = make_client(env_, {}, &processors_);
  auto answer = client->call_and_wait(to_string(server->local()), Back::kCode, Back{}, {}, 3s);
  ASSERT_TRUE(answer) << answer.error().detail;
  EXPECT_EQ(answer->remark, "from the server");
  client.reset();
}

INSTANTIATE_TEST_SUITE_P(Threads, Loopback, ::testing::Values(0us, 50us, 2ms),
                         [](const auto& tested) {
                           return "LookFor" + std::to_string(tested.param.count()) + "us";
                         });

}  // namespace
}  // namespace apogee::remoting
