#include "broker/transactions.h"

#include <future>
#include <random>

#include <gmock/gmock.h>
#include <malloc.h>

#include "broker/broker_fixture.h"
#include "broker/request_reply.h"
#include "protocol/names.h"
#include "protocol/table_file.h"

namespace apogee::broker {
namespace {

using protocol::EndTransactionRequest;
using protocol::request_code::kCheckTransactionState;
using testing::FakePeer;

constexpr std::int32_t kCommit = protocol::sys_flag::kCommit,
                       kRollback = protocol::sys_flag::kRollback, kUnknown = 0;

/// A half message as its producer knows it.
struct Known {
  std::int64_t queue_offset = 0, physical_offset = 0;
  std::string offset_id;
};

class TransactionsTest : public BrokerFixture {
 protected:
  TransactionsTest() {
    restart();
    processors_.on_worker<EndTransactionRequest>(
        [this](const EndTransactionRequest& request, const auto&, const auto&) {
          return transactions_->end(request);
        });
    processors_.on_worker<protocol::ResumeCheckHalfMessageRequest>(
        [this](const auto& request, const auto&, const auto&) {
          return transactions_->resume(request);
        });
    // Where a first half message will be looked for.
    make_topic(std::string{protocol::kHalfTopic}, 1);
    make_topic(std::string{protocol::kOpHalfTopic}, 1);
    produce(producer_);
  }

  /// What a start after a kill finds: the store, and the offsets committed so far.
  void restart() {
    transactions_ = std::make_unique<Transactions>(context_, send_settings_,
                                                   "/store/config/transactionMetrics");
    EXPECT_TRUE(transactions_->load());
  }

  void produce(const std::shared_ptr<FakePeer>& peer, const std::string& group = "p") {
    protocol::HeartbeatData heartbeat;
    heartbeat.client_id = "client-" + std::to_string(peer->id());
    heartbeat.producer_data_set.push_back({.group_name = group});
    ask(peer, protocol::request_code::kHeartBeat, protocol::NoFields{},
        as_bytes(encode_body(heartbeat)));
  }

  Known send_half(const std::string& body, const std::string& more_properties = {}) {
    Buffer properties;
    protocol::append_property(properties, "TRAN_MSG", "true");
    protocol::append_property(properties, "PGROUP", "p");
    protocol::append_property(properties, "UNIQ_KEY", "key-" + body);
    properties += more_properties;
    protocol::SendMessageV1 header{};
    header.producer_group = "p";
    header.topic = "t";
    header.default_topic = "TBW102";
    header.queue_id = 1;
    header.born_timestamp = disk_.clock.wall_ms();
    header.properties = properties;
    const auto answer =
        ask(producer_, protocol::request_code::kSendMessage, header, as_bytes(body));
    EXPECT_EQ(answer.code, 0) << answer.remark;
    EXPECT_EQ(answer.field("queueId"), "1");
    EXPECT_EQ(answer.field("transactionId"), "key-" + body);
    Known known;
    protocol::from_text(answer.field("queueOffset"), known.queue_offset);
    known.offset_id = answer.field("msgId");
    known.physical_offset = protocol::parse_offset_message_id(known.offset_id)->physical_offset;
    return known;
  }

  FakePeer::Sent end(const Known& half, std::int32_t how, bool from_check = false,
                     const std::string& group = "p") {
    return ask(producer_, EndTransactionRequest::kCode,
               EndTransactionRequest{.producer_group = group,
                                     .tran_state_table_offset = half.queue_offset,
                                     .commit_log_offset = half.physical_offset,
                                     .commit_or_rollback = how,
                                     .from_transaction_check = from_check});
  }

  /// What the producer was asked about since the last call: body -> the half's new place.
  std::map<std::string, Known> asked() {
    std::map<std::string, Known> questions;
    for (const auto& each : taken(producer_, kCheckTransactionState)) {
      const auto message = protocol::decode_message(as_bytes(each.body));
      EXPECT_TRUE(message);
      EXPECT_EQ(message->topic, "t");
      EXPECT_EQ(message->queue_id, 1);
      Known& known = questions[std::string{as_text(message->body)}];
      protocol::from_text(each.field("tranStateTableOffset"), known.queue_offset);
      protocol::from_text(each.field("commitLogOffset"), known.physical_offset);
    }
    return questions;
  }

  std::vector<std::string> bodies(std::string_view topic, std::int32_t queue_id) {
    std::vector<std::string> found;
    for (std::int64_t at = std::max<std::int64_t>(store_.min_offset(topic, queue_id), 0);
         at < store_.max_offset(topic, queue_id); ++at) {
      const auto record = store_.record_at(topic, queue_id, at);
      found.emplace_back(as_text(protocol::decode_message(record.bytes)->body));
    }
    return found;
  }
  std::vector<std::string> delivered() { return bodies("t", 1); }

  std::int64_t committed(std::string_view topic) {
    return offsets_.find(protocol::kTransactionGroup, topic, 0).value_or(-1);
  }

  void on_arrivals(std::span<const store::Arrival> arrivals) override {
    BrokerFixture::on_arrivals(arrivals);
    if (const auto hook = std::exchange(on_next_arrival_, nullptr)) hook();
  }

  std::shared_ptr<FakePeer> producer_ = connect();
  std::unique_ptr<Transactions> transactions_;
  std::function<void()> on_next_arrival_;
};

using Bodies = std::vector<std::string>;

TEST_F(TransactionsTest, KeepsAHalfMessageFromConsumersUntilItIsCommitted) {
  const Known half = send_half("pay");
  EXPECT_EQ(delivered(), Bodies{});
  EXPECT_EQ(end(half, kCommit).code, 0);
  ASSERT_EQ(delivered(), Bodies{"pay"});
  const auto record = store_.record_at("t", 1, 0);
  const auto message = protocol::decode_message(record.bytes);
  EXPECT_EQ(message->sys_flag & protocol::sys_flag::kTransactionMask, kCommit);
  EXPECT_EQ(message->prepared_transaction_offset, half.physical_offset);
  EXPECT_EQ(message->property("__transactionId__"), "key-pay");
  EXPECT_EQ(message->property("TRAN_MSG"), "true");
  EXPECT_EQ(message->property("REAL_TOPIC"), std::nullopt);
  EXPECT_EQ(bodies(protocol::kOpHalfTopic, 0), Bodies{"0,"});
}

TEST_F(TransactionsTest, DeliversNothingOfARollback) {
  EXPECT_EQ(end(send_half("pay"), kRollback).code, 0);
  EXPECT_EQ(delivered(), Bodies{});
  transactions_->follow();
  EXPECT_EQ(transactions_->open(), 0);
  EXPECT_EQ(bodies(protocol::kOpHalfTopic, 0), Bodies{"0,"});
}

TEST_F(TransactionsTest, KeepsAHalfOpenWhoseProducerDoesNotKnowYet) {
  const Known half = send_half("pay");
  EXPECT_EQ(end(half, kUnknown).code, 0);
  transactions_->follow();
  EXPECT_EQ(transactions_->open(), 1);
  EXPECT_EQ(transactions_->topics().at("t").open, 1);
  EXPECT_EQ(end(half, kCommit).code, 0);
  EXPECT_EQ(delivered(), Bodies{"pay"});
}

TEST_F(TransactionsTest, AreCountedWhereTheyAreStored) {
  end(send_half("pay"), kCommit);
  stats_.sample();
  EXPECT_EQ(stats_.view("TOPIC_PUT_NUMS", "RMQ_SYS_TRANS_HALF_TOPIC")->minute.sum, 1);
  EXPECT_EQ(stats_.view("TOPIC_PUT_NUMS", "t")->minute.sum, 1) << "the commit's, not the half's";
}

TEST_F(TransactionsTest, KeepTheirCountsInAFileAcrossARestart) {
  end(send_half("a"), kCommit);
  end(send_half("b"), kRollback);
  send_half("c");
  transactions_->follow();
  transactions_->stop();
  const auto counts =
      protocol::load_table<TransactionCounts>(env_, "/store/config/transactionMetrics");
  ASSERT_TRUE(counts && *counts);
  EXPECT_EQ((**counts).transaction_count.at("t").count, 1);
  const auto before = transactions_->topics().at("t");
  EXPECT_EQ(before.commits, 1);
  EXPECT_EQ(before.rollbacks, 1);
  EXPECT_EQ(before.commit_after.counts[0], 1) << "within 5 s";
  restart();
  EXPECT_EQ(transactions_->topics().at("t").changed_ms, before.changed_ms);
  transactions_->follow();
  EXPECT_EQ(transactions_->topics().at("t").open, 1) << "counted anew, not added to the file's";
}

TEST_F(TransactionsTest, EndsATransactionOnceHoweverOftenItIsTold) {
  const Known half = send_half("pay");
  end(half, kCommit);
  end(half, kCommit);
  transactions_->follow();
  end(half, kRollback);
  EXPECT_EQ(end(half, kCommit).code, 0);
  EXPECT_EQ(delivered(), Bodies{"pay"});
  restart();
  transactions_->follow();
  end(half, kCommit);
  EXPECT_EQ(delivered(), Bodies{"pay"});
}

TEST_F(TransactionsTest, RefusesTheEndOfWhatIsNotThatTransaction) {
  const Known half = send_half("pay");
  EXPECT_EQ(end(half, kCommit, false, "others").remark, "The producer group wrong");
  EXPECT_EQ(end({half.queue_offset + 1, half.physical_offset}, kCommit).remark,
            "The transaction state table offset wrong");
  EXPECT_EQ(end({half.queue_offset, half.physical_offset + 1}, kCommit).remark,
            "Find prepared transaction message failed");
  // Nor can a message that is no half be sent to another topic by such a request.
  store_.put({.topic = "t", .body = "plain", .properties = {{"PGROUP", "p"}}});
  const auto plain = store_.record_at("t", 0, 0);
  EXPECT_EQ(
      end({0, read_big<std::int64_t>(plain.bytes, protocol::record_at::kPhysicalOffset)}, kCommit)
          .code,
      protocol::response_code::kSystemError);
  EXPECT_EQ(delivered(), Bodies{});
}

TEST_F(TransactionsTest, AreEndedByTheirPlaceAndIfItIsToldByTheirId) {
  const auto end_of = [&](const Known& half, const std::string& message_id,
                          const std::string& transaction_id) {
    return ask(producer_, EndTransactionRequest::kCode,
               EndTransactionRequest{.producer_group = "p",
                                     .tran_state_table_offset = half.queue_offset,
                                     .commit_log_offset = half.physical_offset,
                                     .commit_or_rollback = kCommit,
                                     .message_id = message_id,
                                     .transaction_id = transaction_id});
  };
  const Known one = send_half("one");
  EXPECT_THAT(end_of(one, "key-lost", "key-lost").remark,
              ::testing::HasSubstr("another transaction's"));
  EXPECT_THAT(end_of(one, "key-lost", "").remark, ::testing::HasSubstr("another transaction's"));
  EXPECT_EQ(delivered(), Bodies{});
  EXPECT_EQ(end_of(one, "key-one", "").code, 0);
  const Known two = send_half("two");
  EXPECT_EQ(end_of(two, two.offset_id, "key-two").code, 0);
  const Known three = send_half("three");
  EXPECT_EQ(end_of(three, "", "").code, 0) << "it need not be told";
  const Known four = send_half("four");
  EXPECT_THAT(end_of(four, four.offset_id, "key-lost").remark,
              ::testing::HasSubstr("another transaction's"));
  EXPECT_EQ(end_of(four, one.offset_id, "").code, 0) << "a place is told already";
  EXPECT_EQ(delivered(), (Bodies{"one", "two", "three", "four"}));
}

TEST_F(TransactionsTest, AsksAProducerOfTheGroupOnceAHalfIsOld) {
  send_half("old");
  disk_.clock.advance(5s);
  send_half("young");
  EXPECT_EQ(transactions_->check(), 0);
  disk_.clock.advance(1s);
  EXPECT_EQ(transactions_->check(), 1);
  const auto questions = asked();
  ASSERT_EQ(questions.size(), 1);
  const Known renewed = questions.at("old");
  const auto record = store_.record_at(renewed.physical_offset);
  const auto half = protocol::decode_message(record.bytes);
  EXPECT_EQ(half->topic, protocol::kHalfTopic);
  EXPECT_EQ(half->queue_offset, renewed.queue_offset);
  EXPECT_EQ(half->property("TRANSACTION_CHECK_TIMES"), "1");
  EXPECT_EQ(end(renewed, kCommit, /*from_check=*/true).code, 0);
  EXPECT_EQ(delivered(), Bodies{"old"});
  transactions_->follow();
  EXPECT_EQ(transactions_->open(), 1);
}

TEST_F(TransactionsTest, AskAboutWhatCannotBeReadNowOnceItCan) {
  const Known half = send_half("pay");
  disk_.clock.advance(7s);
  store_.unreadable = true;
  EXPECT_EQ(transactions_->check(), 0U);
  EXPECT_TRUE(asked().empty());
  store_.unreadable = false;
  EXPECT_EQ(transactions_->check(), 1U);
  EXPECT_TRUE(asked().contains("pay"));
  EXPECT_EQ(end(half, kCommit).code, 0);
  EXPECT_EQ(delivered(), Bodies{"pay"});
}

TEST_F(TransactionsTest, AskAboutWhatWasReadWrongOnce) {
  const Known half = send_half("pay");
  disk_.clock.advance(7s);
  store_.misreads = 2;
  EXPECT_EQ(transactions_->check(), 1U);
  EXPECT_TRUE(asked().contains("pay"));
  EXPECT_EQ(end(half, kCommit).code, 0);
  EXPECT_EQ(delivered(), Bodies{"pay"});
}

TEST_F(TransactionsTest, AskWithSyncFlushOnlyOnceTheHalfsNewPlaceIsOnDisk) {
  send_half("old");
  disk_.clock.advance(7s);
  store_.mutable_config().flush_disk_type = store::FlushDiskType::kSyncFlush;
  store_.hold_durable = true;
  EXPECT_EQ(transactions_->check(), 1);
  EXPECT_TRUE(asked().empty()) << "after a power cut the place could be another half's";
  store_.sync(store::PutStatus::kOk);
  EXPECT_EQ(asked().size(), 1);
  disk_.clock.advance(7s);
  EXPECT_EQ(transactions_->check(), 1);
  store_.sync(store::PutStatus::kFlushDiskTimeout);
  EXPECT_TRUE(asked().empty()) << "asked about at the next check";
  store_.hold_durable = false;
}

TEST_F(TransactionsTest, TakesTheEndOfAHalfThatWasRenewedMeanwhile) {
  const Known first = send_half("pay");
  disk_.clock.advance(6s);
  transactions_->check();
  EXPECT_EQ(end(first, kCommit).code, 0);  // sent before the question came
  EXPECT_EQ(delivered(), Bodies{"pay"});
  end(asked().at("pay"), kCommit, true);
  EXPECT_EQ(delivered(), Bodies{"pay"});
  transactions_->follow();
  EXPECT_EQ(transactions_->open(), 0);
}

TEST_F(TransactionsTest, TakesTheEndOfAHalfThatWasRenewedSeveralTimes) {
  const Known first = send_half("pay"), other = send_half("ship");
  for (int i = 0; i < 3; ++i) {
    disk_.clock.advance(6s);
    transactions_->check();
  }
  EXPECT_EQ(end(first, kCommit).code, 0);  // by the only place this producer ever heard of
  EXPECT_EQ(delivered(), Bodies{"pay"});
  disk_.clock.advance(6s);
  const Known last = asked().at("ship");
  transactions_->check();
  EXPECT_EQ(end(last, kRollback, true).code, 0);  // answered while it was asked about again
  end(other, kCommit);
  EXPECT_EQ(delivered(), Bodies{"pay"});
  transactions_->follow();
  EXPECT_EQ(transactions_->open(), 0);
}

TEST_F(TransactionsTest, AnEndInTheMiddleOfAQuestionWaitsForTheHalfsNewPlace) {
  const Known first = send_half("pay");
  disk_.clock.advance(6s);
  std::future<remoting::Answer> ended;
  on_next_arrival_ = [&] {  // the copy is stored, the end of the one before is not
    ended = std::async(std::launch::async, [&] {
      return transactions_->end({.producer_group = "p",
                                 .tran_state_table_offset = first.queue_offset,
                                 .commit_log_offset = first.physical_offset,
                                 .commit_or_rollback = kCommit});
    });
    EXPECT_EQ(ended.wait_for(20ms), std::future_status::timeout);
  };
  EXPECT_EQ(transactions_->check(), 1);
  EXPECT_EQ(ended.get().code, 0);
  EXPECT_EQ(delivered(), Bodies{"pay"});
  transactions_->follow();
  EXPECT_EQ(transactions_->open(), 0);
}

TEST_F(TransactionsTest, AnEndDoesNotWaitForeverForAStoreThatTakesNoQuestion) {
  const Known first = send_half("pay");
  disk_.clock.advance(6s);
  on_next_arrival_ = [&] {
    EXPECT_EQ(end(first, kCommit).code, protocol::response_code::kSystemBusy);
  };
  EXPECT_EQ(transactions_->check(), 1);
  EXPECT_TRUE(delivered().empty());
  EXPECT_EQ(end(asked().at("pay"), kCommit, true).code, 0);
  EXPECT_EQ(delivered(), Bodies{"pay"});
}

TEST_F(TransactionsTest, GivesUpAfterTheLastQuestionAndTakesItBackWhenResumed) {
  configure([](BrokerConfig& config) { config.transaction_check_max = 2; });
  send_half("pay");
  for (int i = 0; i < 2; ++i) {
    disk_.clock.advance(30s);
    EXPECT_EQ(transactions_->check(), 1);
    EXPECT_EQ(asked().size(), 1);
  }
  disk_.clock.advance(30s);
  EXPECT_EQ(transactions_->check(), 1);
  EXPECT_TRUE(asked().empty());
  EXPECT_EQ(bodies(protocol::kTransCheckMaxTopic, 0), Bodies{"pay"});
  transactions_->follow();
  EXPECT_EQ(transactions_->open(), 0);

  const auto given_up = store_.record_at(protocol::kTransCheckMaxTopic, 0, 0);
  const auto message = protocol::decode_message(given_up.bytes);
  EXPECT_EQ(ask(producer_, protocol::request_code::kResumeCheckHalfMessage,
                protocol::ResumeCheckHalfMessageRequest{
                    .message_id = protocol::offset_message_id(
                        message->store_host, message->store_port, message->physical_offset)})
                .code,
            0);
  EXPECT_EQ(transactions_->check(), 1);
  end(asked().at("pay"), kCommit, true);
  EXPECT_EQ(delivered(), Bodies{"pay"});
}

TEST_F(TransactionsTest, DeliversWhatIsCommittedAfterItWasGivenUp) {
  configure([](BrokerConfig& config) { config.transaction_check_max = 1; });
  const Known half = send_half("pay"), other = send_half("other");
  disk_.clock.advance(30s);
  EXPECT_EQ(transactions_->check(), 2);
  const Known asked_by = asked().at("pay");
  disk_.clock.advance(30s);
  EXPECT_EQ(transactions_->check(), 2);
  EXPECT_EQ(transactions_->open(), 0);
  EXPECT_EQ(end(half, kCommit).code, 0);
  EXPECT_EQ(end(asked_by, kCommit, true).code, 0) << "once";
  EXPECT_EQ(end(other, kRollback).code, 0);
  EXPECT_EQ(end(other, kCommit).code, 0);
  EXPECT_EQ(delivered(), Bodies{"pay"});
}

TEST_F(TransactionsTest, DecidesNothingWhileItCannotReadWhatHasEnded) {
  const Known half = send_half("pay");
  store_.unreadable = true;
  EXPECT_EQ(end(half, kCommit).code, protocol::response_code::kSystemBusy);
  disk_.clock.advance(30s);
  EXPECT_EQ(transactions_->check(), 0);
  store_.unreadable = false;
  EXPECT_EQ(end(half, kCommit).code, 0);
  EXPECT_EQ(delivered(), Bodies{"pay"});
}

TEST_F(TransactionsTest, ForgetsNoEndWhileItCannotReadTheHalves) {
  end(send_half("pay"), kCommit);
  // Another start, at which the half topic cannot be read for a moment.
  Transactions again{context_, send_settings_, "/store/config/transactionMetrics"};
  store_.unreadable = true;
  store_.unreadable_topic = protocol::kHalfTopic;
  again.follow();
  store_.unreadable = false;
  again.follow();
  EXPECT_EQ(again.open(), 0);
}

TEST_F(TransactionsTest, WaitsForTheImmunityAMessageBringsAlong) {
  Buffer immunity;
  protocol::append_property(immunity, "CHECK_IMMUNITY_TIME_IN_SECONDS", "60");
  const Known half = send_half("pay", immunity);
  disk_.clock.advance(59s);
  EXPECT_EQ(transactions_->check(), 0);
  disk_.clock.advance(1s);
  EXPECT_EQ(transactions_->check(), 1);
  disk_.clock.advance(1s);
  // Late ends by itself are refused; the answer to the question is taken.
  EXPECT_EQ(end(half, kCommit).code, protocol::response_code::kIllegalOperation);
  EXPECT_EQ(end(asked().at("pay"), kCommit, true).code, 0);
  EXPECT_EQ(delivered(), Bodies{"pay"});
}

TEST_F(TransactionsTest, LetsNoHalfThatNobodyEndsHoldUpOthers) {
  configure([](BrokerConfig& config) { config.transaction_check_max = 1'000; });
  Buffer immunity;
  protocol::append_property(immunity, "CHECK_IMMUNITY_TIME_IN_SECONDS", "100000");
  send_half("stuck", immunity);
  for (int i = 0; i < 50; ++i) end(send_half(std::to_string(i)), kCommit);
  disk_.clock.advance(60s);
  EXPECT_EQ(transactions_->check(), 0);
  EXPECT_EQ(delivered().size(), 50);
  EXPECT_EQ(committed(protocol::kHalfTopic), 0);
  restart();
  transactions_->follow();
  EXPECT_EQ(transactions_->open(), 1);
}

TEST_F(TransactionsTest, CommitsOffsetsThatLeaveNothingOpenBehind) {
  const Known first = send_half("a");
  const Known second = send_half("b");
  end(second, kCommit);
  transactions_->follow();
  EXPECT_EQ(committed(protocol::kHalfTopic), 0);
  EXPECT_EQ(committed(protocol::kOpHalfTopic), 0);  // whoever begins here must hear of b's end
  end(first, kRollback);
  transactions_->follow();
  EXPECT_EQ(committed(protocol::kHalfTopic), 2);
  EXPECT_EQ(committed(protocol::kOpHalfTopic), 2);
}

TEST_F(TransactionsTest, ReadsWhatApachesBrokerLeft) {
  for (const char* body : {"a", "b", "c", "d"}) send_half(body);
  // Several ends in one record, as Apache gathers them; one of them for a half that is put back.
  store_.put({.topic = protocol::kHalfTopic,
              .body = "e",
              .properties = {{"REAL_TOPIC", "t"},
                             {"REAL_QID", "1"},
                             {"PGROUP", "p"},
                             {"TRAN_MSG", "true"},
                             {"TRAN_PREPARED_QUEUE_OFFSET", "1"}}});
  store_.put({.topic = protocol::kOpHalfTopic, .body = "0,1,", .tags = "d"});
  store_.put({.topic = protocol::kOpHalfTopic, .body = "nonsense", .tags = "d"});
  restart();
  transactions_->follow();
  EXPECT_EQ(transactions_->open(), 2);  // c and d: the end of 1 is that of its copy too
}

TEST_F(TransactionsTest, KeepsTheHalfWhenTheStoreRefusesItsEnd) {
  const Known half = send_half("pay");
  store_.next_status = store::PutStatus::kServiceNotAvailable;
  EXPECT_EQ(end(half, kCommit).code, protocol::response_code::kServiceNotAvailable);
  disk_.clock.advance(6s);
  EXPECT_EQ(transactions_->check(), 0);
  store_.next_status = store::PutStatus::kOk;
  EXPECT_EQ(transactions_->check(), 1);
  EXPECT_EQ(end(asked().at("pay"), kCommit, true).code, 0);
  EXPECT_EQ(delivered(), Bodies{"pay"});
}

TEST_F(TransactionsTest, RefusesTransactionsWhenToldTo) {
  configure([](BrokerConfig& config) { config.reject_transaction_message = true; });
  protocol::SendMessageV1 header{};
  header.producer_group = "p";
  header.topic = "t";
  header.default_topic = "TBW102";
  header.properties = "TRAN_MSG\x01true\x02";
  EXPECT_EQ(ask(producer_, protocol::request_code::kSendMessage, header, as_bytes("x")).code,
            protocol::response_code::kNoPermission);
}

/// Random sends, ends (also late ones and twice), questions, refusals of the store and restarts,
/// beside a model that knows what each transaction's producer decided: whatever the order, what was
/// committed is delivered exactly once, what was rolled back never, and what is undecided stays
/// open.
TEST_F(TransactionsTest, AgreesWithAModelWhateverHappens) {
  configure([](BrokerConfig& config) { config.transaction_check_max = 1'000'000; });
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random{seed};
    const auto chance = [&](int percent) {
      return random() % 100 < static_cast<unsigned>(percent);
    };
    const auto before = delivered().size();
    struct Model {
      std::vector<Known> known;  // places the producer was told of
      std::int32_t decided = kUnknown;
      bool told = false;  // the broker took the decision
    };
    std::map<std::string, Model> model;
    const auto tell = [&](Model& each, const Known& where, bool from_check) {
      if (each.decided == kUnknown) each.decided = chance(60) ? kCommit : kRollback;
      each.told |= end(where, each.decided, from_check).code == 0;
    };
    for (int step = 0; step < 120; ++step) {
      store_.next_status =
          chance(8) ? store::PutStatus::kServiceNotAvailable : store::PutStatus::kOk;
      const bool refusing = store_.next_status != store::PutStatus::kOk;
      const auto what = random() % 10;
      if (what < 4 && !refusing) {
        const std::string body = std::to_string(seed) + "-" + std::to_string(step);
        model[body].known.push_back(send_half(body));
      } else if (what < 7 && !model.empty()) {
        auto at = std::next(model.begin(), static_cast<std::ptrdiff_t>(random() % model.size()));
        // Java's clients end with the place they know from the send, or from the last question.
        if (!refusing) tell(at->second, at->second.known.back(), at->second.known.size() > 1);
      } else if (what == 7) {
        transactions_->follow();
      } else if (what == 8) {
        disk_.clock.advance(std::chrono::milliseconds{random() % 10'000});
        transactions_->check();
        for (const auto& [body, where] : asked()) {
          Model& each = model.at(body);
          each.known.push_back(where);
          if (!refusing && chance(50)) tell(each, where, true);
        }
      } else if (chance(30)) {
        restart();
      }
    }
    store_.next_status = store::PutStatus::kOk;
    // Every producer answers from now on; nothing may be left.
    for (int round = 0; round < 3; ++round) {
      disk_.clock.advance(60s);
      transactions_->check();
      for (const auto& [body, where] : asked()) tell(model.at(body), where, true);
    }
    transactions_->follow();
    ASSERT_EQ(transactions_->open(), 0);
    std::multiset<std::string> expected, got;
    for (const auto& [body, each] : model)
      if (each.decided == kCommit) expected.insert(body);
    const auto all = delivered();
    got.insert(all.begin() + static_cast<std::ptrdiff_t>(before), all.end());
    ASSERT_EQ(got, expected);
  }
}

TEST_F(TransactionsTest, HoldsAHundredThousandOpenHalvesInFewMegabytes) {
  for (int i = 0; i < 100'000; ++i)
    store_.put({.topic = protocol::kHalfTopic,
                .body = "x",
                .properties = {{"REAL_TOPIC", "t"}, {"REAL_QID", "0"}, {"PGROUP", "p"}}});
  const std::size_t before = ::mallinfo2().uordblks;
  transactions_->follow();
  const std::size_t used = ::mallinfo2().uordblks - before;
  EXPECT_EQ(transactions_->open(), 100'000);
  RecordProperty("bytes_of_100000_open_halves", std::to_string(used));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LE(used, 12'000'000U);
  EXPECT_GT(used, 1'000'000U);
#endif
}

// ---- Request and reply
// -------------------------------------------------------------------------------

class RequestReplyTest : public BrokerFixture {
 protected:
  RequestReplyTest() {
    add_request_reply(processors_, context_, send_settings_);
    make_topic("Cluster_REPLY_TOPIC", 1);
    protocol::HeartbeatData heartbeat;
    heartbeat.client_id = "asker";
    heartbeat.producer_data_set.push_back({.group_name = "p"});
    ask(asker_, protocol::request_code::kHeartBeat, protocol::NoFields{},
        as_bytes(encode_body(heartbeat)));
  }
  std::int32_t reply(const std::string& properties,
                     std::string_view topic = "Cluster_REPLY_TOPIC") {
    properties_ = properties;
    protocol::SendMessageV2 header{};
    header.producer_group = "q";
    header.topic = topic;
    header.default_topic = "TBW102";
    header.properties = properties_;
    return send(answerer_, protocol::request_code::kSendReplyMessageV2, header, as_bytes("42"));
  }
  /// The asker acknowledges the push it got, with this code; -1: its connection ends.
  void acknowledge(std::int32_t code) {
    auto done = std::move(asker_->calls.at(0).done);
    asker_->calls.clear();
    protocol::CommandView view;
    view.code = code;
    if (code < 0)
      done(Error{Errc::kDisconnected, "gone"});
    else
      done(remoting::OwnedCommand{view});
  }

  std::shared_ptr<FakePeer> asker_ = connect(), answerer_ = connect();
  std::string properties_;
};

TEST_F(RequestReplyTest, PushesTheAnswerToWhoAskedAndStoresIt) {
  const auto opaque = reply(
      "REPLY_TO_CLIENT\x01"
      "asker\x02"
      "CORRELATION_ID\x01"
      "c\x02");
  ASSERT_EQ(asker_->calls.size(), 1);
  const auto push = asker_->calls[0].request;
  EXPECT_EQ(push.code, protocol::request_code::kPushReplyMessageToClient);
  EXPECT_EQ(push.body, "42");
  EXPECT_NE(push.field("properties")
                .find("CORRELATION_ID\x01"
                      "c"),
            std::string::npos);
  EXPECT_NE(push.field("properties").find("PUSH_REPLY_TIME"), std::string::npos);
  EXPECT_FALSE(answer_to(answerer_, opaque));  // not before the push is acknowledged
  acknowledge(0);
  const auto answer = answer_to(answerer_, opaque);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->code, 0);
  EXPECT_EQ(answer->field("queueOffset"), "0");
  EXPECT_EQ(store_.max_offset("Cluster_REPLY_TOPIC", 0), 1);
}

TEST_F(RequestReplyTest, SaysThatThePushDidNotArriveAndStoresTheAnswerAllTheSame) {
  const auto opaque = reply(
      "REPLY_TO_CLIENT\x01"
      "asker\x02");
  acknowledge(-1);
  const auto answer = answer_to(answerer_, opaque);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->code, protocol::response_code::kSystemError);
  EXPECT_EQ(answer->remark, "push reply message to askerfail.");
  EXPECT_EQ(store_.max_offset("Cluster_REPLY_TOPIC", 0), 1);
}

TEST_F(RequestReplyTest, NamesAnAskerThatIsNotThere) {
  const auto unknown = answer_to(answerer_, reply("REPLY_TO_CLIENT\x01"
                                                  "nobody\x02"));
  ASSERT_TRUE(unknown);
  EXPECT_EQ(unknown->remark, "push reply message fail, channel of <nobody> not found.");
  const auto missing = answer_to(answerer_, reply(""));
  ASSERT_TRUE(missing);
  EXPECT_EQ(missing->remark, "reply message properties[REPLY_TO_CLIENT] is null");
}

TEST_F(RequestReplyTest, StoresNoAnswersWhenToldSo) {
  configure([](BrokerConfig& config) { config.store_reply_message = false; });
  const auto opaque = reply(
      "REPLY_TO_CLIENT\x01"
      "asker\x02");
  acknowledge(0);
  const auto answer = answer_to(answerer_, opaque);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->field("msgId"), "0");
  EXPECT_EQ(store_.max_offset("Cluster_REPLY_TOPIC", 0), 0);
}

TEST_F(RequestReplyTest, RefusesAnswersToTopicsNoClientMaySendTo) {
  for (const auto topic : {protocol::kOpHalfTopic, protocol::kScheduleTopic}) {
    const auto answer = answer_to(answerer_, reply("REPLY_TO_CLIENT\x01"
                                                   "asker\x02"
                                                   "TAGS\x01"
                                                   "d\x02",
                                                   topic));
    ASSERT_TRUE(answer) << topic;
    EXPECT_EQ(answer->code, protocol::response_code::kNoPermission);
    EXPECT_EQ(answer->remark, fmt::format("Sending message to topic[{}] is forbidden.", topic));
    EXPECT_EQ(store_.max_offset(topic, 0), 0);
  }
  const auto illegal = answer_to(answerer_, reply("REPLY_TO_CLIENT\x01"
                                                  "asker\x02",
                                                  "a b"));
  ASSERT_TRUE(illegal);
  EXPECT_EQ(illegal->code, protocol::response_code::kInvalidParameter);
  EXPECT_TRUE(asker_->calls.empty()) << "what is refused is not pushed";
}

TEST_F(RequestReplyTest, TakesAnswersWhereItTakesOtherMessages) {
  const std::string to_asker =
      "REPLY_TO_CLIENT\x01"
      "asker\x02";
  // A broker that may not be written to refuses what goes to order topics, and nothing else.
  configure([](BrokerConfig& config) { config.permission = protocol::perm::kRead; });
  reply(to_asker);
  ASSERT_EQ(asker_->calls.size(), 1);
  acknowledge(0);
  EXPECT_EQ(store_.max_offset("Cluster_REPLY_TOPIC", 0), 1);
  configure([](BrokerConfig& config) { config.permission = 6; });
  reply(to_asker, "made_by_a_reply");
  ASSERT_EQ(asker_->calls.size(), 1);
  acknowledge(0);
  EXPECT_EQ(store_.max_offset("made_by_a_reply", 0), 1);
  EXPECT_TRUE(topics_.is_on_disk("made_by_a_reply"));
}

}  // namespace
}  // namespace apogee::broker
