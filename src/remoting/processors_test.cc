#include "remoting/processors.h"

#include <gtest/gtest.h>

#include "testing/disk_env.h"
#include "testing/fake_peer.h"

namespace apogee::remoting {
namespace {

struct Slow {
  static constexpr std::int32_t kCode = 7'001;
  static constexpr auto kFields = MemberList{};
};

/// Processors whose workers do nothing until told to.
class BusyWorkers : public ::testing::Test {
 protected:
  BusyWorkers() {
    processors_.on_worker<Slow>(
        [](const Slow&, const OwnedCommand&, const PeerPtr&) { return Answer::with_body("done"); });
  }
  void ask(const Buffer& body = {}) {
    Buffer bytes;
    protocol::encode_command(bytes, {.code = Slow::kCode, .opaque = ++opaque_}, Slow{},
                             as_bytes(body));
    const auto frame = protocol::decode_frame(as_bytes(bytes));
    protocol::CommandDecoder decoder;
    const auto command = decoder.decode(**frame);
    const Request request{*command, Responder{peer_, *command}};
    processors_.on_requests({&request, 1});
  }

  testing::DiskEnv disk_;
  testing::ManualLoop workers_, loop_;
  Env env_{disk_.clock, disk_.env->files, disk_.network, workers_, disk_.random, disk_.log};
  Processors processors_{env_};
  std::shared_ptr<testing::FakePeer> peer_ = std::make_shared<testing::FakePeer>(loop_);
  std::int32_t opaque_ = 0;
};

TEST_F(BusyWorkers, AnswerWhenTheirTurnComes) {
  ask();
  EXPECT_TRUE(peer_->sent.empty());
  EXPECT_EQ(processors_.waiting(), 1);
  workers_.run();
  ASSERT_EQ(peer_->sent.size(), 1U);
  EXPECT_EQ(peer_->sent[0].body, "done");
  EXPECT_EQ(processors_.waiting(), 0);
}

TEST_F(BusyWorkers, RefuseWhatHasWaitedTooLongAndNameTheSlowStage) {
  ask();
  ask();
  disk_.clock.advance(Processors::kWaitMax + 7ms);
  workers_.run();
  ASSERT_EQ(peer_->sent.size(), 2U);
  EXPECT_EQ(peer_->sent[0].code, protocol::response_code::kSystemBusy);
  EXPECT_EQ(peer_->sent[0].remark,
            "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: "
            "5007ms, size of queue: 1; the slow stage is the wait for a worker (workerThreads)");
}

TEST_F(BusyWorkers, RefuseAtOnceWhatWouldWaitBehindTooMany) {
  for (std::int32_t i = 0; i < Processors::kWaitingMax; ++i) ask();
  EXPECT_TRUE(peer_->sent.empty());
  ask();
  ASSERT_EQ(peer_->sent.size(), 1U);
  EXPECT_EQ(peer_->sent[0].code, protocol::response_code::kSystemBusy);
  EXPECT_TRUE(peer_->sent[0].remark.starts_with("[OVERLOAD]system busy"));
  workers_.run();
  EXPECT_EQ(processors_.waiting(), 0);
}

TEST_F(BusyWorkers, RefuseAtOnceWhatWouldWaitBesideTooManyBytes) {
  const Buffer large(15 << 20, 'x');
  for (std::size_t bytes = large.size(); bytes < Processors::kWaitingBytesMax;
       bytes += large.size())
    ask(large);
  EXPECT_TRUE(peer_->sent.empty());
  ask(large);
  ASSERT_EQ(peer_->sent.size(), 1U);
  EXPECT_EQ(peer_->sent[0].code, protocol::response_code::kSystemBusy);
  EXPECT_EQ(peer_->sent[0].remark,
            "[OVERLOAD]system busy, start flow control for a while: 134217728 bytes of requests "
            "wait for a worker (workerThreads)");
  ask();
  EXPECT_EQ(peer_->sent.size(), 1U) << "a small one has room";
  workers_.run();
  peer_->sent.clear();
  ask(large);
  EXPECT_TRUE(peer_->sent.empty()) << "there is room again";
  workers_.run();
  EXPECT_EQ(processors_.waiting(), 0);
}

TEST_F(BusyWorkers, AskTheGateOnceForEachRequest) {
  constexpr std::int32_t kCode = 7'002;
  std::vector<std::int32_t> asked, served;
  processors_.on_batch({kCode}, [&](std::span<const Request> requests) {
    for (const Request& each : requests) served.push_back(each.command.opaque);
  });
  processors_.set_gate([&](const Request& request) {
    asked.push_back(request.command.opaque);
    return request.command.opaque != 2;
  });
  std::vector<protocol::CommandView> commands(4);
  std::vector<Request> requests;
  for (std::size_t i = 0; i < commands.size(); ++i) {
    commands[i].code = kCode;
    commands[i].opaque = static_cast<std::int32_t>(i);
    requests.push_back({commands[i], Responder{peer_, commands[i]}});
  }
  processors_.on_requests(requests);
  EXPECT_EQ(asked, (std::vector<std::int32_t>{0, 1, 2, 3})) << "it answers what it holds back";
  EXPECT_EQ(served, (std::vector<std::int32_t>{0, 1, 3}));
}

}  // namespace
}  // namespace apogee::remoting
