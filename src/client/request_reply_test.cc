#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "protocol/properties.h"
#include "testing/sending_fixture.h"

/// Questions, and what they end with.
namespace apogee::client {
namespace {

class RequestReply : public SendingRules {
 protected:
  RequestReply() {
    start_brokers();
    a_->answer = b_->answer = [this](const Request& request) {
      broker_ = request.peer();
      if (request.command.code == request::kSendMessageV2) {
        question_ = request.command.find("i").value_or("");
        queue_id_ = request.command.find("e").value_or("");
      }
      store(request);
    };
  }
  ~RequestReply() override {
    broker_.reset();  // before its server
    a_->answer = b_->answer = store;
  }

  using Answered = std::shared_ptr<std::optional<Result<ReceivedMessage>>>;
  Answered ask(ProducerCore& by, std::chrono::milliseconds timeout, Target target = {}) {
    auto answered = std::make_shared<std::optional<Result<ReceivedMessage>>>();
    by.request(
        {.topic = "orders", .body = "how much?"}, std::move(target), timeout,
        [answered](Result<ReceivedMessage> result) { answered->emplace(std::move(result)); });
    network_.run();
    return answered;
  }
  Result<SendReceipt> reply(ProducerCore& by, const ReceivedMessage& question, std::string body) {
    std::optional<Result<SendReceipt>> sent;
    by.reply(question, std::move(body), 3s,
             [&](Result<SendReceipt> result) { sent.emplace(std::move(result)); });
    network_.run();
    EXPECT_TRUE(sent);
    return *std::move(sent);
  }
  static ReceivedMessage question() {
    ReceivedMessage question;
    question.properties = {{"CLUSTER", "c"}, {"CORRELATION_ID", "1"}, {"REPLY_TO_CLIENT", "them"}};
    return question;
  }

  remoting::PeerPtr broker_;
  std::string question_;  // the properties of the last message sent
  std::string queue_id_;  // where it was sent
};

TEST_F(RequestReply, AQuestionGoesToTheQueueThatWasChosen) {
  ProducerCore& by = producer();
  ask(by, 100ms, {.select = {}, .queue = MessageQueue{"orders", "a", 1}});
  EXPECT_EQ(queue_id_, "1");
  ask(by, 100ms, {.select = [](auto, const Message&) { return 0; }, .queue = {}});
  EXPECT_EQ(queue_id_, "0");
  const Answered wrong = ask(by, 100ms, {.select = {}, .queue = MessageQueue{"bills", "a", 1}});
  ASSERT_TRUE(*wrong);
  EXPECT_EQ((**wrong).error().code, Errc::kInvalidArgument);
}

TEST_F(RequestReply, AQuestionEndsAtItsOwnDeadline) {
  ProducerCore& by = producer();
  const Answered quick = ask(by, 100ms), patient = ask(by, 250ms);
  network_.advance(99ms);
  EXPECT_FALSE(*quick);
  network_.advance(1ms);
  ASSERT_TRUE(*quick);
  EXPECT_EQ((**quick).error().code, Errc::kTimeout);
  EXPECT_EQ((**quick).error().response_code, 10'006);
  EXPECT_EQ((**quick).error().detail,
            "send request message to <orders> OK, but wait reply message timeout, 100 ms.");
  EXPECT_TRUE((**quick).error().perhaps_done);
  network_.advance(149ms);
  EXPECT_FALSE(*patient);
  network_.advance(1ms);
  EXPECT_TRUE(*patient);
}

TEST_F(RequestReply, AQuestionThatWasNotSentSaysSo) {
  ProducerCore& by = producer();
  send(by, Mode::kAsync);
  a_->answer = b_->answer = refuse(response::kMessageIllegal);
  const Answered refused = ask(by, 3s);
  ASSERT_TRUE(*refused);
  EXPECT_EQ((**refused).error().code, Errc::kRefused);
  EXPECT_EQ((**refused).error().response_code, response::kMessageIllegal);
  EXPECT_THAT((**refused).error().detail,
              ::testing::StartsWith("send request message to <orders> fail: "));

  a_->answer = b_->answer = hang;
  const Answered unheard = ask(by, 100ms);
  network_.advance(100ms);
  ASSERT_TRUE(*unheard);
  EXPECT_EQ((**unheard).error().code, Errc::kTimeout);
  EXPECT_EQ((**unheard).error().response_code, 0);
  EXPECT_THAT((**unheard).error().detail,
              ::testing::StartsWith("send request message to <orders> fail"));
  EXPECT_TRUE((**unheard).error().perhaps_done);
}

TEST_F(RequestReply, AnAnswerSaysWhenItArrived) {
  ProducerCore& by = producer();
  const Answered answered = ask(by, 3s);
  network_.advance(40ms);
  const protocol::Properties asked{question_};
  protocol::Properties properties;
  properties.set("CORRELATION_ID", *asked.find("CORRELATION_ID"));
  protocol::PushReplyMessageRequest header;
  header.topic = "c_REPLY_TOPIC";
  header.properties = properties.encode();
  const auto push = [&] {
    broker_->call(request::kPushReplyMessageToClient, header, as_bytes("42"), 3s,
                  [](const Result<remoting::OwnedCommand>&) {});
    network_.run();
  };
  push();
  ASSERT_TRUE(*answered && **answered);
  EXPECT_EQ((**answered)->body, "42");
  EXPECT_EQ((**answered)->property("ARRIVE_TIME"), std::to_string(clock_.wall_ms()));
  push();  // again, to nobody
  network_.advance(3s);
  EXPECT_TRUE(**answered) << "its deadline is nobody's any more";
}

TEST_F(RequestReply, AProducerThatWasShutDownNeitherAsksNorAnswers) {
  ProducerCore& by = producer();
  send(by, Mode::kAsync);
  {
    const CallbackScope scope{CallbackScope::Where::kOwnThread};
    by.shutdown();
  }
  network_.run();
  const int before = a_->sends() + b_->sends();
  const Answered answered = ask(by, 3s);
  ASSERT_TRUE(*answered);
  EXPECT_EQ((**answered).error().code, Errc::kStopped);
  EXPECT_EQ(reply(by, question(), "42").error().code, Errc::kStopped);
  EXPECT_EQ(a_->sends() + b_->sends(), before);
}

TEST_F(RequestReply, AReplysBodyIsCheckedAsAnyOther) {
  name_server_->answer = [this](const Request& request) { tell_route(request.responder); };
  int replies = 0;
  a_->answer = b_->answer = [&](const Request& request) {
    replies += request.command.code == request::kSendReplyMessageV2;
    request.responder.reply(0, {}, protocol::SendMessageResponse{.message_id = "0A000002"});
  };
  ProducerCore& by = producer({.max_message_bytes = 10});
  const auto empty = reply(by, question(), "");
  ASSERT_FALSE(empty);
  EXPECT_EQ(empty.error().detail, "the message body length is zero");
  EXPECT_EQ(empty.error().response_code, response::kMessageIllegal);
  const auto large = reply(by, question(), "11 of bytes");
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().detail, "the message body size over max value, MAX: 10");
  EXPECT_EQ(reply(by, {}, "42").error().response_code, 10'007);
  EXPECT_EQ(replies, 0);
  EXPECT_TRUE(reply(by, question(), "10 of them"));
  EXPECT_EQ(replies, 1);
}

}  // namespace
}  // namespace apogee::client
