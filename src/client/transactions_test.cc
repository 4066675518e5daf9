#include <algorithm>
#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "protocol/message.h"
#include "testing/sending_fixture.h"

/// What a broker is told of transactions, what becomes of functions that throw, and what is traced.
namespace apogee::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Where a half message lies, as its broker says.
constexpr const char* kPlace = "0A00000200002A9F0000000000001000";

class Transactions : public SendingRules {
 protected:
  Transactions() {
    start_brokers();
    a_->answer = b_->answer = [this](const Request& request) {
      broker_ = request.peer();
      if (request.command.code == request::kEndTransaction) return keep_end(request);
      if (request.command.code != request::kSendMessageV2) return request.responder.reply(0);
      if (request.command.find("b") == "RMQ_SYS_TRACE_TOPIC") keep_traces(request.command.body);
      request.responder.reply(
          0, {},
          protocol::SendMessageResponse{
              .message_id = kPlace, .region = "DefaultRegion", .trace_on = trace_on_});
    };
  }
  ~Transactions() override {
    broker_.reset();  // before its server
    a_->answer = b_->answer = store;
  }

  struct End {
    std::int32_t outcome = 0;
    bool from_check = false;
    std::string remark;
    bool operator==(const End&) const = default;
  };
  void keep_end(const Request& request) {
    const auto header = protocol::read_header<protocol::EndTransactionRequest>(request.command);
    ends_.push_back({header->commit_or_rollback, header->from_transaction_check.value_or(false),
                     std::string{request.command.remark.value_or("")}});
  }

  /// One line for each record, its fields apart.
  void keep_traces(Bytes records) {
    traces_ += as_text(records);
    std::ranges::replace(traces_, '\x01', '|');
    std::ranges::replace(traces_, '\x02', '\n');
  }

  using Transacted = std::shared_ptr<std::optional<Result<TransactionReceipt>>>;
  Transacted send_transaction(ProducerCore& by, const ProducerCore::Local& local) {
    auto sent = std::make_shared<std::optional<Result<TransactionReceipt>>>();
    by.send_in_transaction(
        {.topic = "orders", .body = "x", .tag = "paid", .keys = {"o-17"}}, local, 3s,
        [sent](Result<TransactionReceipt> result) { sent->emplace(std::move(result)); });
    network_.run();
    return sent;
  }
  /// The broker that was asked last asks about a message of this producer's.
  void ask_about(const ProducerCore& of, const std::string& more_properties = {}) {
    const protocol::Host host = protocol::host_from("10.0.0.2", 10'911);
    const std::string properties =
        "UNIQ_KEY\x01"
        "0A01\x02TAGS\x01paid\x02KEYS\x01o-17\x02PGROUP\x01" +
        of.group() + "\x02" + more_properties;
    Buffer half;
    ASSERT_TRUE(protocol::encode_message(half, {.born_host = as_bytes(host.address),
                                                .born_port = host.port,
                                                .store_host = as_bytes(host.address),
                                                .store_port = host.port,
                                                .body = as_bytes("x"),
                                                .topic = "orders",
                                                .properties = properties}));
    protocol::CheckTransactionStateRequest header;
    broker_->send_oneway(request::kCheckTransactionState, header, as_bytes(half));
    network_.run();
  }
  bool logged(const std::string& text) const {
    return std::ranges::any_of(log_.lines(), [&](const std::string& line) {
      return line.find(text) != std::string::npos;
    });
  }

  remoting::PeerPtr broker_;
  std::vector<End> ends_;
  std::string_view trace_on_ = "true";
  std::string traces_;
};

TEST_F(Transactions, ALocalPartThatThrowsLeavesTheOutcomeToTheBrokersQuestion) {
  ProducerCore& by = transactional({});
  const std::string why = "executeLocalTransactionBranch exception: the ledger is shut";
  const auto throws = [](const Message&, const SendReceipt&) -> Outcome {
    throw std::runtime_error{"the ledger is shut"};
  };
  const Transacted sent = send_transaction(by, throws);
  ASSERT_TRUE(*sent && **sent);
  EXPECT_EQ((**sent)->outcome, Outcome::kUnknown);
  EXPECT_THAT(ends_, ElementsAre(End{0, false, why}));
  EXPECT_TRUE(logged("the ledger is shut"));

  // As behind the call that waits.
  const auto receipt = by.settle({.topic = "orders", .body = "x"}, (**sent)->sent, throws);
  network_.run();
  EXPECT_EQ(receipt.outcome, Outcome::kUnknown);
  EXPECT_THAT(ends_, ElementsAre(End{0, false, why}, End{0, false, why}));
}

TEST_F(Transactions, ACheckThatThrowsIsAskedAgain) {
  int asked = 0;
  ProducerCore& by = transactional({.on_check = [&](const ReceivedMessage&) -> Outcome {
    if (++asked == 1) throw std::runtime_error{"the ledger is shut"};
    if (asked == 2) throw 42;
    return Outcome::kCommit;
  }});
  ASSERT_TRUE(*send(by, Mode::kSync));
  for (int i = 0; i < 3; ++i) ask_about(by);
  const std::string what = "checkLocalTransactionState Exception: ";
  EXPECT_THAT(ends_, ElementsAre(End{0, true, what + "the ledger is shut"},
                                 End{0, true, what + "not a std::exception"}, End{8, true, ""}));
  EXPECT_TRUE(logged("the ledger is shut"));
}

TEST_F(Transactions, AHookThatThrowsIsNoReasonNotToTellTheOutcome) {
  ProducerCore& by = transactional(
      {.before_end = [](const EndTransactionEvent&) { throw std::runtime_error{"bad hook"}; }});
  const Transacted sent =
      send_transaction(by, [](const Message&, const SendReceipt&) { return Outcome::kCommit; });
  ASSERT_TRUE(*sent && **sent);
  EXPECT_THAT(ends_, ElementsAre(End{8, false, ""}));
  EXPECT_TRUE(logged("bad hook"));
}

TEST_F(Transactions, HooksOfASendThatThrowAreLoggedAndTheSendGoesOn) {
  const auto throws = [](const char* what) {
    return [what](const SendEvent&) { throw std::runtime_error{what}; };
  };
  ProducerCore& by =
      producer({.before_send = throws("bad before"), .after_send = throws("bad after")});
  const Sent sent = send(by, Mode::kAsync);
  ASSERT_TRUE(*sent);
  EXPECT_TRUE(**sent);
  EXPECT_TRUE(logged("bad before"));
  EXPECT_TRUE(logged("bad after"));
}

TEST_F(Transactions, AForbiddingHookAndASelectorThatThrowRefuseTheSend) {
  ProducerCore& by = producer({.check_forbidden = [](const SendEvent&) -> Result<Ok> {
    throw std::runtime_error{"no secrets on this topic"};
  }});
  const Sent sent = send(by, Mode::kAsync);
  ASSERT_TRUE(*sent);
  ASSERT_FALSE(**sent);
  EXPECT_EQ((**sent).error().code, Errc::kRefused);
  EXPECT_EQ((**sent).error().detail, "no secrets on this topic");

  std::optional<Result<SendReceipt>> chosen;
  producer().send({.topic = "orders", .body = "x"},
                  {.select = [](std::span<const MessageQueue>, const Message&) -> std::size_t {
                     throw std::runtime_error{"no queue is good enough"};
                   },
                   .queue = {}},
                  Mode::kAsync, 3s,
                  [&](Result<SendReceipt> result) { chosen.emplace(std::move(result)); });
  network_.run();
  ASSERT_TRUE(chosen);
  ASSERT_FALSE(*chosen);
  EXPECT_EQ(chosen->error().code, Errc::kInvalidArgument);
  EXPECT_THAT(chosen->error().detail, HasSubstr("select message queue threw exception."));
  EXPECT_THAT(chosen->error().detail, HasSubstr("no queue is good enough"));
  EXPECT_EQ(a_->sends() + b_->sends(), 0);
}

// ---- Traces
// -------------------------------------------------------------------------------------

TEST_F(Transactions, TracesOfTheirEndsNameTagsAndKeysAlsoAfterAQuestion) {
  ProducerCore& by =
      transactional({.producer = {.trace = true},
                     .on_check = [](const ReceivedMessage&) { return Outcome::kCommit; }});
  const Transacted sent =
      send_transaction(by, [](const Message&, const SendReceipt&) { return Outcome::kUnknown; });
  ASSERT_TRUE(*sent && **sent);
  ask_about(by, "MSG_REGION\x01north\x02");
  const std::string now = std::to_string(clock_.wall_ms());
  network_.advance(5s);
  const std::string broker = brokers_.at((**sent)->sent.queue.broker);
  EXPECT_THAT(traces_, HasSubstr("EndTransaction|" + now + "|DefaultRegion|g0|orders|" +
                                 (**sent)->sent.message_id + "|paid|o-17|" + broker +
                                 "|2|null|UNKNOW|false\n"));
  EXPECT_THAT(traces_, HasSubstr("EndTransaction|" + now + "|north|g0|orders|0A01|paid|o-17|" +
                                 broker + "|2|0A01|COMMIT_MESSAGE|true\n"));
}

TEST_F(Transactions, NothingIsTracedThatTheBrokerWantsNoTraceOf) {
  ProducerCore& by =
      transactional({.producer = {.trace = true},
                     .on_check = [](const ReceivedMessage&) { return Outcome::kCommit; }});
  const auto commits = [](const Message&, const SendReceipt&) { return Outcome::kCommit; };
  const auto all_three = [&](const std::string& more_properties) {
    EXPECT_TRUE(*send(by, Mode::kAsync));
    EXPECT_TRUE(*send_transaction(by, commits));
    ask_about(by, more_properties);
    network_.advance(5s);
    return std::ranges::count(std::exchange(traces_, {}), '\n');
  };
  trace_on_ = "false";
  EXPECT_EQ(all_three("TRACE_ON\x01"
                      "false\x02"),
            0);
  trace_on_ = "true";
  EXPECT_EQ(all_three("TRACE_ON\x01true\x02"), 4) << "two messages, two ends";
}

}  // namespace
}  // namespace apogee::client
