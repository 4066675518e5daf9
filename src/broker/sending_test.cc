#include "broker/sending.h"

#include <future>

#include "broker/broker_fixture.h"

namespace apogee::broker {
namespace {

namespace property = protocol::property;
namespace request_code = protocol::request_code;
using protocol::SendMessageV1;
using protocol::SendMessageV2;
using testing::FakePeer;

using PropertyList = std::vector<std::pair<std::string_view, std::string_view>>;

Buffer text_of(const PropertyList& properties) {
  Buffer text;
  for (const auto& [name, value] : properties) protocol::append_property(text, name, value);
  return text;
}

class SendingTest : public BrokerFixture {
 protected:
  explicit SendingTest(BrokerConfig config = {}) : BrokerFixture{std::move(config)} {}

  static SendMessageV2 to(std::string_view topic, std::int32_t queue_id = 0) {
    SendMessageV2 header;
    header.producer_group = "p";
    header.topic = topic;
    header.default_topic = protocol::kDefaultTopic;
    header.queue_id = queue_id;
    header.born_timestamp = 1'234;
    return header;
  }
  FakePeer::Sent put(const SendMessageV2& header, std::string_view body = "hello") {
    return ask(peer_, request_code::kSendMessageV2, header, as_bytes(body));
  }
  FakePeer::Sent put(std::string_view topic, const PropertyList& properties,
                     std::string_view body = "hello") {
    const Buffer text = text_of(properties);
    SendMessageV2 header = to(topic);
    header.properties = text;
    return put(header, body);
  }
  /// The message at a queue's offset, as stored; a failure when there is none.
  protocol::Message stored(std::string_view topic, std::int32_t queue_id = 0,
                           std::int64_t offset = 0) {
    kept_.push_back(store_.record_at(topic, queue_id, offset));
    const auto message = protocol::decode_message(kept_.back().bytes);
    if (message) return *message;
    ADD_FAILURE() << "no message in " << topic << " queue " << queue_id << " at " << offset;
    return {};
  }
  std::int64_t stored_count(std::string_view topic) {
    std::int64_t count = 0;
    for (const auto& queue : store_.queues(topic)) count += queue.max_offset;
    return count;
  }

  std::shared_ptr<FakePeer> peer_ = connect();

 private:
  std::vector<store::RecordBytes> kept_;
};

TEST_F(SendingTest, StoresAMessageAndSaysWhere) {
  const Buffer text = text_of({{"TAGS", "a"}, {"KEYS", "k1 k2"}, {"UNIQ_KEY", "unique"}});
  SendMessageV2 header = to("t", 1);
  header.flag = 7;
  header.properties = text;
  header.sys_flag = protocol::sys_flag::kCompressed;
  const auto answer = put(header);
  EXPECT_EQ(answer.code, 0) << answer.remark;
  EXPECT_EQ(answer.field("queueId"), "1");
  EXPECT_EQ(answer.field("queueOffset"), "0");
  EXPECT_EQ(answer.field("transactionId"), "unique");
  EXPECT_EQ(answer.field("MSG_REGION"), "DefaultRegion");
  EXPECT_EQ(answer.field("TRACE_ON"), "true");
  const protocol::Message message = stored("t", 1);
  EXPECT_EQ(answer.field("msgId"),
            protocol::offset_message_id(message.store_host, 10'911, message.physical_offset));
  EXPECT_EQ(as_text(message.body), "hello");
  EXPECT_EQ(message.flag, 7);
  EXPECT_EQ(message.sys_flag, protocol::sys_flag::kCompressed);
  EXPECT_EQ(message.born_timestamp, 1'234);
  EXPECT_EQ(as_text(message.born_host), std::string({10, 0, 0, 9}));
  EXPECT_EQ(message.born_port, peer_->remote().port);
  EXPECT_EQ(as_text(message.store_host), std::string({10, 0, 0, 1}));
  EXPECT_EQ(message.store_port, 10'911);
  EXPECT_EQ(message.property("TAGS"), "a");
  EXPECT_EQ(message.property("KEYS"), "k1 k2");
  EXPECT_EQ(message.property("CLUSTER"), "Cluster");
}

TEST_F(SendingTest, UnderstandsTheLongNamesOfTheFirstHeader) {
  SendMessageV1 header;
  static_cast<protocol::SendMessageRequest&>(header) = to("t", 1);
  const auto answer = ask(peer_, request_code::kSendMessage, header, as_bytes("go"));
  EXPECT_EQ(answer.code, 0) << answer.remark;
  EXPECT_EQ(as_text(stored("t", 1).body), "go");
}

TEST_F(SendingTest, PutsItsOwnPropertiesInPlaceOfTheClients) {
  put("t",
      {{"MSG_REGION", "elsewhere"}, {"TRACE_ON", "maybe"}, {"CLUSTER", "other"}, {"POP_CK", "x"}});
  const protocol::Message message = stored("t");
  EXPECT_EQ(message.property("MSG_REGION"), "DefaultRegion");
  EXPECT_EQ(message.property("TRACE_ON"), "true");
  EXPECT_EQ(message.property("CLUSTER"), "Cluster");
  EXPECT_FALSE(message.property("POP_CK"));
  EXPECT_EQ(message.property("UNIQ_KEY")->size(), 32U);
}

TEST_F(SendingTest, ChoosesAQueueWhenTheClientDoesNot) {
  std::set<std::string> queues;
  for (int i = 0; i < 50; ++i) queues.insert(put(to("t", -1)).field("queueId"));
  EXPECT_EQ(queues, (std::set<std::string>{"0", "1"}));
}

struct Refused {
  const char* why;
  std::string topic;
  std::int32_t queue_id;
  PropertyList properties;
  std::int32_t code;
};

TEST_F(SendingTest, RefusesWithTheCodesOfThePublishedBroker) {
  const Refused cases[] = {
      {"name with a character nobody allows", "no good", 0, {}, 29},
      {"empty name", "", 0, {}, 29},
      {"name too long", std::string(128, 'x'), 0, {}, 29},
      {"delayed messages are put there by the broker alone", "SCHEDULE_TOPIC_XXXX", 0, {}, 16},
      {"half messages too", "RMQ_SYS_TRANS_HALF_TOPIC", 0, {}, 16},
      {"no such queue", "t", 2, {}, 29},
      {"unknown topic and no template for it", "unknown", 0, {}, 17},
      {"timed without a timer", "t", 0, {{"TIMER_DELAY_SEC", "10"}}, 1},
      {"delay that is no number", "t", 0, {{"DELAY", "soon"}}, 13}};
  for (const Refused& each : cases) {
    SCOPED_TRACE(each.why);
    const Buffer text = text_of(each.properties);
    SendMessageV2 header = to(each.topic, each.queue_id);
    header.default_topic = "no-template";
    header.properties = text;
    const auto answer = put(header);
    EXPECT_EQ(answer.code, each.code) << answer.remark;
    EXPECT_FALSE(answer.remark.empty());
    EXPECT_EQ(answer.field("MSG_REGION"), "DefaultRegion");
    EXPECT_EQ(answer.field("TRACE_ON"), "true");
  }
  EXPECT_EQ(stored_count("t"), 0);
}

TEST_F(SendingTest, RefusesBodiesThatAreMissingOrTooLarge) {
  EXPECT_EQ(put(to("t"), "").code, 1);
  const auto most = static_cast<std::size_t>(store_.config().max_message_bytes);
  EXPECT_EQ(put(to("t"), std::string(most + 1, 'x')).code, 13);
  EXPECT_EQ(put(to("t"), std::string(most, 'x')).code, 0);
}

TEST_F(SendingTest, RefusesPropertiesThatDoNotFitARecord) {
  const std::string value(protocol::kPropertiesBytesMax, 'x');
  EXPECT_EQ(put("t", {{"k", value}}).code, 13);
  EXPECT_EQ(stored_count("t"), 0);
}

TEST_F(SendingTest, RefusesWrongNamesOfLmqsThoughTheMessageWaitsElsewhereFirst) {
  store_.mutable_config().lmq = store_.mutable_config().multi_dispatch = true;
  for (const auto& [waits, value] : {std::pair{"DELAY", "3"}, std::pair{"TRAN_MSG", "true"}}) {
    EXPECT_EQ(put("t", {{waits, value}, {"INNER_MULTI_DISPATCH", "%LMQ%a,other"}}).code, 13);
    EXPECT_EQ(put("t", {{waits, value}, {"INNER_MULTI_DISPATCH", "%LMQ%a"}}).code, 0);
  }
}

TEST_F(SendingTest, RefusesInnerBatchesInTopicsThatHaveNone) {
  SendMessageV2 header = to("t");
  header.sys_flag = protocol::sys_flag::kInnerBatch | protocol::sys_flag::kNeedUnwrap;
  EXPECT_EQ(put(header).code, 13);
}

TEST_F(SendingTest, KeepsATransactionFlagFromMakingAHalfMessage) {
  SendMessageV2 header = to("t");
  header.sys_flag = protocol::sys_flag::kPrepared;
  EXPECT_EQ(put(header).code, 0);
  EXPECT_EQ(stored("t").sys_flag, 0);
}

TEST_F(SendingTest, RefusesTransactionsWhenToldTo) {
  configure([](BrokerConfig& config) { config.reject_transaction_message = true; });
  EXPECT_EQ(put("t", {{"TRAN_MSG", "true"}}).code, 16);
}

struct OnlyTopic {
  std::string_view topic = "t";
  static constexpr auto kFields = MemberList{protocol::Field{"b", &OnlyTopic::topic}};
};

TEST_F(SendingTest, RefusesAMissingHeaderFieldByName) {
  const auto answer = ask(peer_, request_code::kSendMessageV2, OnlyTopic{}, as_bytes("x"));
  EXPECT_EQ(answer.code, 1);
  EXPECT_EQ(answer.remark, "the field a is missing");
  EXPECT_EQ(answer.field("TRACE_ON"), "true");
}

TEST_F(SendingTest, DoesNotOpenBeforeItsTime) {
  configure([&](BrokerConfig& config) { config.start_accept_send_ms = disk_.clock.wall_ms() + 1; });
  EXPECT_EQ(put(to("t")).code, 1);
  disk_.clock.advance(1ms);
  EXPECT_EQ(put(to("t")).code, 0);
}

TEST_F(SendingTest, IsForbiddenForOrderedTopicsOfAReadOnlyBrokerOnly) {
  protocol::TopicConfig ordered = *topics_.find("t");
  ordered.topic_name = "ordered";
  ordered.order = true;
  topics_.update(ordered);
  configure([](BrokerConfig& config) { config.permission = protocol::perm::kRead; });
  EXPECT_EQ(put(to("ordered")).code, 16);
  EXPECT_EQ(put(to("t")).code, 0);
}

TEST_F(SendingTest, TellsWhatTheStoreSays) {
  const std::pair<store::PutStatus, std::int32_t> cases[] = {
      {store::PutStatus::kServiceNotAvailable, 14}, {store::PutStatus::kMessageIllegal, 13},
      {store::PutStatus::kPageCacheBusy, 2},        {store::PutStatus::kCreateFileFailed, 1},
      {store::PutStatus::kLmqNumberExceeded, 1},    {store::PutStatus::kUnknownError, 1}};
  for (const auto& [status, code] : cases) {
    store_.next_status = status;
    EXPECT_EQ(put(to("t")).code, code) << name_of(status);
  }
}

// ---- Automatic topics --------------------------------------------------------------------------

TEST_F(SendingTest, CreatesAnUnknownTopicLikeItsTemplate) {
  SendMessageV2 header = to("fresh", 3);
  header.default_topic_queue_nums = 4;
  EXPECT_EQ(put(header).code, 0);
  const TopicPtr topic = topics_.find("fresh");
  ASSERT_TRUE(topic);
  EXPECT_EQ(topic->write_queue_nums, 4);
  EXPECT_EQ(topic->read_queue_nums, 4);
  EXPECT_EQ(topic->perm, 6);
  EXPECT_EQ(as_text(stored("fresh", 3).body), "hello");
}

TEST_F(SendingTest, HasTheTopicOnDiskBeforeItAnswers) {
  EXPECT_EQ(put(to("fresh")).code, 0);
  disk_.disk.crash();
  Topics again{disk_.restart(), config_, "/store/config/topics.json"};
  ASSERT_TRUE(again.load());
  EXPECT_TRUE(again.contains("fresh"));
}

TEST_F(SendingTest, RefusesWhenTheTopicCannotBeWritten) {
  disk_.disk.inject({.operation = testing::ForgetfulDisk::Operation::kWrite,
                     .times = testing::ForgetfulDisk::kForever,
                     .path_part = "topics.json"});
  EXPECT_EQ(put(to("fresh")).code, 1);
  EXPECT_EQ(put(to("fresh")).code, 1) << "it is in memory now, and still not on disk";
  EXPECT_EQ(stored_count("fresh"), 0);
}

TEST_F(SendingTest, CreatesRetryTopicsWithoutATemplate) {
  SendMessageV2 header = to("%RETRY%g");
  header.default_topic = "no-template";
  EXPECT_EQ(put(header).code, 0);
  EXPECT_EQ(topics_.find("%RETRY%g")->write_queue_nums, 1);
}

// ---- Delay, retry, dead letters ----------------------------------------------------------------

TEST_F(SendingTest, PutsADelayedMessageIntoTheQueueOfItsLevel) {
  const Buffer text = text_of({{"DELAY", "3"}, {"TAGS", "a"}});
  SendMessageV2 header = to("t", 1);
  header.properties = text;
  const auto answer = put(header);
  EXPECT_EQ(answer.code, 0);
  EXPECT_EQ(answer.field("queueId"), "1") << "the queue the client has asked for";
  const protocol::Message message = stored("SCHEDULE_TOPIC_XXXX", 2);
  EXPECT_EQ(message.property("REAL_TOPIC"), "t");
  EXPECT_EQ(message.property("REAL_QID"), "1");
  EXPECT_EQ(message.property("DELAY"), "3");
  EXPECT_EQ(stored_count("t"), 0);
}

TEST_F(SendingTest, CutsADelayBeyondTheLastLevel) {
  EXPECT_EQ(put("t", {{"DELAY", "99"}}).code, 0);
  const protocol::Message message = stored("SCHEDULE_TOPIC_XXXX", 17);
  EXPECT_EQ(message.property("REAL_TOPIC"), "t");
  EXPECT_EQ(message.property("DELAY"), "18") << "which its queue's entry is made of";
}

TEST_F(SendingTest, PrefersADelayLevelToATimer) {
  EXPECT_EQ(put("t", {{"TIMER_DELAY_MS", "10"}, {"DELAY", "1"}}).code, 0);
  EXPECT_FALSE(stored("SCHEDULE_TOPIC_XXXX", 0).property("TIMER_DELAY_MS"));
}

class SendingRetries : public SendingTest {
 protected:
  FakePeer::Sent retry(std::int32_t times, protocol::OptInt most, std::int32_t version = 493) {
    const Buffer text = text_of({{"DELAY", "4"}, {"RETRY_TOPIC", "t"}});
    SendMessageV2 header = to("%RETRY%g");
    header.properties = text;
    header.reconsume_times = times;
    header.max_reconsume_times = most;
    return ask_as(version, header);
  }
  FakePeer::Sent ask_as(std::int32_t version, const SendMessageV2& header) {
    Buffer bytes;
    protocol::encode_command(
        bytes, {.code = request_code::kSendMessageV2, .opaque = 77, .version = version}, header,
        as_bytes("again"));
    const auto frame = protocol::decode_frame(as_bytes(bytes));
    protocol::CommandDecoder decoder;
    const auto command = decoder.decode(**frame);
    const remoting::Request request{*command, remoting::Responder{peer_, *command}};
    processors_.on_requests({&request, 1});
    return *answer_to(peer_, 77);
  }
};

TEST_F(SendingRetries, WaitUntilTheirNumberIsExhausted) {
  EXPECT_EQ(retry(16, {}).code, 0);
  EXPECT_EQ(stored("SCHEDULE_TOPIC_XXXX", 3).reconsume_times, 16);
  EXPECT_FALSE(topics_.contains("%DLQ%g"));
  EXPECT_EQ(retry(17, {}).code, 0);
  const protocol::Message dead = stored("%DLQ%g");
  EXPECT_EQ(dead.property("DELAY"), "-1");
  EXPECT_EQ(dead.property("RETRY_TOPIC"), "t");
  EXPECT_EQ(topics_.find("%DLQ%g")->perm, 6);
  EXPECT_EQ(topics_.find("%DLQ%g")->write_queue_nums, 1);
}

TEST_F(SendingRetries, CountAsTheClientSaysIfItIsYoungEnough) {
  retry(3, 2);
  EXPECT_EQ(stored_count("%DLQ%g"), 1);
  retry(3, 2, /*version=*/120);
  EXPECT_EQ(stored_count("%DLQ%g"), 1) << "the group's 16 count for old clients";
}

TEST_F(SendingRetries, OfOrderlyGroupsAreDeadAtOnce) {
  queue_locks_.try_lock("g", "client", "t", "broker-a", 0);
  retry(0, {});
  EXPECT_EQ(stored_count("%DLQ%g"), 1);
}

TEST_F(SendingRetries, OfUnknownGroupsAreRefusedWhenGroupsAreNotCreated) {
  configure([](BrokerConfig& config) { config.auto_create_group = false; });
  EXPECT_EQ(retry(0, {}).code, 26);
}

// ---- Batches -----------------------------------------------------------------------------------

Buffer batch_of(std::initializer_list<std::pair<std::string_view, std::string_view>> members) {
  Buffer body;
  for (const auto& [text, properties] : members)
    protocol::append_batch_member(body, {.body = as_bytes(text), .properties = properties});
  return body;
}

TEST_F(SendingTest, StoresEachMemberOfABatchAsItWasSent) {
  const Buffer first = text_of({{"UNIQ_KEY", "one"}, {"TAGS", "a"}}),
               second = text_of({{"UNIQ_KEY", "two"}});
  SendMessageV2 header = to("t", 1);
  header.batch = true;
  const auto answer = ask(peer_, request_code::kSendBatchMessage, header,
                          as_bytes(batch_of({{"1", first}, {"22", second}, {"333", ""}})));
  EXPECT_EQ(answer.code, 0) << answer.remark;
  EXPECT_EQ(answer.field("queueOffset"), "0");
  std::string ids;
  for (std::int64_t i = 0; i < 3; ++i) {
    const protocol::Message message = stored("t", 1, i);
    ids += (i > 0 ? "," : "") +
           protocol::offset_message_id(message.store_host, 10'911, message.physical_offset);
    EXPECT_EQ(message.body.size(), static_cast<std::size_t>(i) + 1);
  }
  EXPECT_EQ(answer.field("msgId"), ids);
  EXPECT_EQ(stored("t", 1, 0).properties, first);
  EXPECT_EQ(stored("t", 1, 2).properties, "");
}

TEST_F(SendingTest, TakesTheBatchFlagForWhatTheBodyIsAndNotTheCode) {
  const Buffer body = batch_of({{"1", ""}, {"2", ""}});
  EXPECT_EQ(ask(peer_, request_code::kSendBatchMessage, to("t"), as_bytes(body)).code, 0);
  EXPECT_EQ(as_text(stored("t").body), body);
  SendMessageV2 header = to("t", 1);
  header.batch = true;
  EXPECT_EQ(put(header, body).code, 0);
  EXPECT_EQ(store_.max_offset("t", 1), 2);
}

TEST_F(SendingTest, RefusesBatchesThatCannotBeWhole) {
  SendMessageV2 header = to("t");
  header.batch = true;
  EXPECT_EQ(put(header, "garbage").code, 13);
  Buffer cut = batch_of({{"1", ""}, {"2", ""}});
  cut.pop_back();
  EXPECT_EQ(put(header, cut).code, 13);
  for (const auto& [name, value] :
       {std::pair{"DELAY", "1"}, {"TRAN_MSG", "true"}, {"TIMER_DELIVER_MS", "1"}}) {
    const Buffer special = text_of({{name, value}});
    EXPECT_EQ(put(header, batch_of({{"1", ""}, {"2", special}})).code, 13) << name;
    SendMessageV2 whole = header;
    whole.properties = special;
    EXPECT_EQ(put(whole, batch_of({{"1", ""}})).code, 13) << name;
  }
  header.topic = "%RETRY%g";
  EXPECT_EQ(put(header, batch_of({{"1", ""}})).code, 13);
  EXPECT_EQ(stored_count("t"), 0);
}

TEST_F(SendingTest, ATopicThatIsCompactedWantsKeys) {
  protocol::TopicConfig config = *topics_.find("t");
  config.topic_name = "table";
  config.attributes["cleanup.policy"] = "COMPACTION";
  topics_.update(config);
  EXPECT_EQ(put("table", {{"KEYS", "key"}}).code, 0);
  for (const PropertyList& properties :
       {PropertyList{}, PropertyList{{"KEYS", " "}}, PropertyList{{"TAGS", "tag"}}}) {
    const auto refused = put("table", properties);
    EXPECT_EQ(refused.code, 13);
    EXPECT_EQ(refused.remark, "Required message key is missing");
  }
  SendMessageV2 batch = to("table");
  batch.batch = true;
  EXPECT_EQ(put(batch, batch_of({{"1", ""}})).code, 0) << "the keys of a batch are its members'";
}

TEST_F(SendingTest, KeepsABatchWholeInTopicsOfBatchQueues) {
  protocol::TopicConfig config = *topics_.find("t");
  config.topic_name = "b";
  config.attributes["queue.type"] = "BatchCQ";
  topics_.update(config);
  const Buffer text = text_of({{"UNIQ_KEY", "whole"}, {"TAGS", "a"}, {"INNER_NUM", "7"}});
  SendMessageV2 header = to("b");
  header.batch = true;
  header.properties = text;
  const Buffer body = batch_of({{"1", ""}, {"2", ""}, {"3", ""}});
  const auto answer = put(header, body);
  ASSERT_EQ(answer.code, 0) << answer.remark;
  EXPECT_EQ(answer.field("batchUniqId"), "whole");
  EXPECT_EQ(answer.field("transactionId"), "whole");
  const auto message = stored("b");
  EXPECT_EQ(as_text(message.body), body);
  EXPECT_EQ(message.sys_flag & 0xC0, 0xC0);
  EXPECT_EQ(message.property("INNER_NUM"), "3");
  EXPECT_EQ(message.property("TAGS"), "a");

  header.properties = std::nullopt;  // from a client that does not name its batches
  const auto old = put(header, batch_of({{"4", ""}, {"5", ""}}));
  ASSERT_EQ(old.code, 0) << old.remark;
  EXPECT_TRUE(old.field("batchUniqId").empty());
  EXPECT_EQ(as_text(stored("b", 0, 1).body), "4");
  EXPECT_EQ(stored("b", 0, 1).sys_flag & 0xC0, 0);

  EXPECT_EQ(put("b", {{"INNER_NUM", "2"}}).code, 13) << "a batch by its property alone";
  SendMessageV2 elsewhere = to("t");
  elsewhere.sys_flag = 0x80;
  EXPECT_EQ(put(elsewhere).code, 13);
}

// ---- Several sends in one read -----------------------------------------------------------------

class SendingTogether : public SendingTest {
 protected:
  /// All of them in one read; the answers in the order of their opaque, 1 for the first.
  void put_all(const std::vector<SendMessageV2>& headers) {
    Buffer bytes;
    std::vector<protocol::CommandView> commands;
    std::vector<std::unique_ptr<protocol::CommandDecoder>> decoders;
    std::vector<remoting::Request> requests;
    std::deque<Buffer> frames;
    commands.reserve(headers.size());
    for (std::size_t i = 0; i < headers.size(); ++i) {
      Buffer& frame = frames.emplace_back();
      protocol::encode_command(
          frame, {.code = request_code::kSendMessageV2, .opaque = static_cast<std::int32_t>(i + 1)},
          headers[i], as_bytes("body"));
      decoders.push_back(std::make_unique<protocol::CommandDecoder>());
      commands.push_back(*decoders.back()->decode(**protocol::decode_frame(as_bytes(frame))));
    }
    for (const protocol::CommandView& command : commands)
      requests.push_back({command, remoting::Responder{peer_, command}});
    processors_.on_requests(requests);
  }
  std::vector<std::int32_t> codes(std::size_t count) {
    std::vector<std::int32_t> all;
    for (std::size_t i = 1; i <= count; ++i) {
      const auto answer = answer_to(peer_, static_cast<std::int32_t>(i));
      all.push_back(answer ? answer->code : -1);
    }
    return all;
  }
};

TEST_F(SendingTogether, GetsEachItsOwnAnswer) {
  put_all({to("t"), to("t", 9), to("fresh"), to("t", 1), to("SELF_TEST_TOPIC"), to("t")});
  EXPECT_EQ(codes(6), (std::vector<std::int32_t>{0, 29, 0, 0, 16, 0}));
  EXPECT_EQ(store_.max_offset("t", 0), 2);
  EXPECT_EQ(store_.max_offset("t", 1), 1);
  EXPECT_EQ(stored_count("fresh"), 1);
}

TEST_F(SendingTogether, WaitsForTheDiskOnceWhenFlushingSynchronously) {
  store_.mutable_config().flush_disk_type = store::FlushDiskType::kSyncFlush;
  store_.hold_durable = true;
  const Buffer no_wait = text_of({{"WAIT", "false"}});
  std::vector<SendMessageV2> sends(4, to("t"));
  sends[2].properties = no_wait;
  put_all(sends);
  EXPECT_EQ(store_.waiting(), 1U);
  EXPECT_EQ(codes(4), (std::vector<std::int32_t>{-1, -1, 0, -1}));
  store_.sync(store::PutStatus::kOk);
  EXPECT_EQ(codes(4), (std::vector<std::int32_t>{0, 0, -1, 0}));
}

TEST_F(SendingTogether, LetsItselfBeWaitedForUntilAllAreAnswered) {
  store_.mutable_config().flush_disk_type = store::FlushDiskType::kSyncFlush;
  store_.hold_durable = true;
  put_all({to("t")});
  auto drained = std::async(std::launch::async, [&] { send_settings_.waiting_answers.wait(); });
  EXPECT_EQ(drained.wait_for(20ms), std::future_status::timeout);
  store_.sync(store::PutStatus::kOk);
  drained.get();
  EXPECT_EQ(codes(1), std::vector<std::int32_t>{0});
}

TEST_F(SendingTogether, SaysWhatBecameOfTheFlush) {
  store_.mutable_config().flush_disk_type = store::FlushDiskType::kSyncFlush;
  store_.hold_durable = true;
  const auto answer_after = [&](store::PutStatus status) {
    put_all({to("t")});
    store_.sync(status);
    return *answer_to(peer_, 1);
  };
  const auto late = answer_after(store::PutStatus::kFlushDiskTimeout);
  EXPECT_EQ(late.code, 10);
  EXPECT_FALSE(late.field("msgId").empty()) << "it is stored";
  const auto broken = answer_after(store::PutStatus::kServiceNotAvailable);
  EXPECT_EQ(broken.code, 14);
  EXPECT_TRUE(broken.field("msgId").empty());
  EXPECT_EQ(broken.field("TRACE_ON"), "true");
}

TEST_F(SendingTogether, DoesNotMixWhatOneSendHadWithTheNext) {
  const Buffer text = text_of({{"UNIQ_KEY", "mine"}, {"WAIT", "false"}, {"DELAY", "1"}});
  SendMessageV2 first = to("t");
  first.properties = text;
  put_all({first});
  put_all({to("t")});
  const protocol::Message plain = stored("t");
  EXPECT_NE(plain.property("UNIQ_KEY"), "mine");
  EXPECT_FALSE(plain.property("WAIT"));
  EXPECT_FALSE(plain.property("DELAY"));
}

}  // namespace
}  // namespace apogee::broker
