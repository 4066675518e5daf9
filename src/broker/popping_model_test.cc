#include <algorithm>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "broker/clients.h"
#include "broker/popping.h"
#include "protocol/names.h"
#include "protocol/properties.h"
#include "testing/disk_env.h"
#include "testing/fake_peer.h"
#include "testing/memory_store.h"
#include "testing/seeds.h"

/// Tries to break the invariant of popping.h: random sends, pops, acks, batch acks, changes of the
/// invisible time, waits, restarts and kills, told by a seed. The commit log is one that loses
/// nothing, as with SYNC_FLUSH; a kill loses the offsets that are not in their file.
///
/// What must hold of each message: while nobody was killed it is not given out before its time is
/// over, and not again once it was acked in time; and in the end, kills or not, each one can be
/// popped until it is acked.
namespace apogee::broker {
namespace {

namespace code = protocol::response_code;
using protocol::ReceiptHandle;
using testing::FakePeer;

constexpr const char *kGroup = "g", *kTopic = "t";

/// A broker's parts around a store and a disk that outlive it.
struct Process : store::StoreEvents {
  Process(testing::DiskEnv& disk, testing::MemoryStore& kept)
      : env{*disk.env}, store{kept}, stats{disk.clock, "Cluster"}, queue_locks{disk.clock} {
    EXPECT_TRUE(topics.load());
    EXPECT_TRUE(groups.load());
    EXPECT_TRUE(offsets.load());
    EXPECT_TRUE(popping.load());
    protocol::TopicConfig topic;
    topic.topic_name = kTopic;
    topic.read_queue_nums = topic.write_queue_nums = 2;
    topics.update(std::move(topic));
    store.set_events(this);
    add_popping(processors, popping);
    add_pop_acks(processors, popping);
  }
  void on_arrivals(std::span<const store::Arrival> arrivals) override {
    popping.on_arrivals(arrivals);
  }
  void persist() {
    EXPECT_TRUE(offsets.persist());
    EXPECT_TRUE(topics.persist());
    EXPECT_TRUE(popping.persist());
  }
  static BrokerConfig named() {
    BrokerConfig config;
    config.broker_name = "broker-a";
    config.cluster_name = "Cluster";
    config.broker_ip1 = "10.0.0.1";
    config.revive_queue_num = 2;
    return config;
  }

  Env& env;
  testing::MemoryStore& store;
  LiveConfig config{named()};
  Topics topics{env, config, "/store/config/topics.json"};
  SubscriptionGroups groups{env, config, "/store/config/subscriptionGroup.json"};
  ConsumerOffsets offsets{env, "/store/config/consumerOffset.json"};
  Stats stats;
  Consumers consumers{env.clock, notify_members(config)};
  Producers producers{env.clock};
  QueueLocks queue_locks;
  LongPolling long_polling{env.clock, [](std::string_view, std::int32_t) { return 0; }};
  InFlight in_flight;
  Readers readers{env.clock, env.workers, in_flight, stats.stages};
  Context context{env,       config,           store,     topics,      groups,
                  consumers, producers,        offsets,   queue_locks, long_polling,
                  stats,     "10.0.0.1:10911", in_flight, readers};
  SendSettings sending{protocol::host_from("10.0.0.1", 10'911),
                       *DelayLevels::parse(store::StoreConfig{}.delay_levels)};
  remoting::Processors processors{env};
  Popping popping{context, sending, "/store/config/consumerOrderInfo.json"};
};

class PopModel {
 public:
  explicit PopModel(std::uint64_t seed) : random_{seed} {
    EXPECT_TRUE(disk_.env->files.create_directories("/store/config"));
    for (const char* made : {"/", "/store"}) EXPECT_TRUE(disk_.env->files.sync_directory(made));
    process_ = std::make_unique<Process>(disk_, store_);
  }
  ~PopModel() {
    if (::testing::Test::HasFailure()) ADD_FAILURE() << "it went" << history_;
  }

  void run() {
    for (int step = 0; step < 150 && !::testing::Test::HasFailure(); ++step) {
      switch (below(14)) {
        case 0:
          history_ += " restart";
          process_->persist();
          popped_since_file_.clear();
          begin();
          break;
        case 1:
          kill();
          break;
        case 2:
          history_ += " file";
          process_->persist();
          popped_since_file_.clear();
          break;
        case 3:
        case 4:
          wait(below(12'000));
          break;
        case 5:
          process_->popping.revive.run();
          break;
        case 6:
          ack_several();
          break;
        case 7:
          change_time();
          break;
        case 8:
        case 9:
          ack_one();
          break;
        case 10:
        case 11:
          for (std::uint64_t i = below(6) + 1; i-- > 0;) send();
          break;
        default:
          pop(static_cast<std::int32_t>(below(8)) + 1,
              static_cast<std::int64_t>(below(20) + 1) * 1'000);
      }
    }
    drain();
  }

 private:
  struct Message {
    std::int64_t invisible_until = 0;
    std::optional<ReceiptHandle> held;  // the newest
    bool acked = false;
    bool twice = false;  // a kill may have made it come again
  };

  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  std::int64_t now() const { return disk_.clock.wall_ms(); }

  template <class Header>
  FakePeer::Sent ask(std::int32_t request_code, const Header& header, Bytes body = {}) {
    Buffer bytes;
    protocol::encode_command(bytes, {.code = request_code, .opaque = ++opaque_, .version = 493},
                             header, body);
    const auto frame = protocol::decode_frame(as_bytes(bytes));
    protocol::CommandDecoder decoder;
    const auto command = decoder.decode(**frame);
    const remoting::Request request{*command, remoting::Responder{peer_, *command}};
    process_->processors.on_requests({&request, 1});
    EXPECT_EQ(peer_->sent.size(), 1U);
    if (peer_->sent.empty()) return {};
    FakePeer::Sent answer = std::move(peer_->sent.back());
    peer_->sent.clear();
    return answer;
  }

  void begin() {
    process_.reset();
    disk_.restart();
    process_ = std::make_unique<Process>(disk_, store_);
  }
  void kill() {
    history_ += " kill";
    disk_.disk.kill_process();
    for (const std::string& each : popped_since_file_) messages_[each].twice = true;
    popped_since_file_.clear();
    begin();
  }
  void wait(std::uint64_t ms) {
    history_ += fmt::format(" {}ms", ms);
    disk_.clock.advance(std::chrono::milliseconds{ms});
    if (below(2) == 0) process_->popping.revive.run();
  }

  void send() {
    const std::string body = "m" + std::to_string(messages_.size());
    store_.put({.topic = kTopic, .queue_id = static_cast<std::int32_t>(below(2)), .body = body});
    messages_[body];
  }

  /// Returns how many came.
  std::size_t pop(std::int32_t most, std::int64_t invisible_ms) {
    const auto answer = ask(protocol::PopMessageRequest::kCode,
                            protocol::PopMessageRequest{.consumer_group = kGroup,
                                                        .topic = kTopic,
                                                        .queue_id = -1,
                                                        .max_messages = most,
                                                        .invisible_ms = invisible_ms,
                                                        .born_time = now(),
                                                        .expression_type = "TAG",
                                                        .expression = "*"});
    if (answer.code == code::kPollingTimeout) return 0;
    EXPECT_EQ(answer.code, code::kSuccess) << answer.remark;
    history_ += " pop(";
    std::size_t count = 0;
    for (Bytes rest = as_bytes(answer.body); !rest.empty(); ++count) {
      const auto message = protocol::decode_message(rest);
      EXPECT_TRUE(message);
      if (!message) break;
      rest = rest.subspan(static_cast<std::size_t>(message->size));
      take(*message, answer);
    }
    EXPECT_LE(count, static_cast<std::size_t>(most));
    history_ += ")";
    return count;
  }

  void take(const protocol::Message& message, const FakePeer::Sent& answer) {
    const std::string body{as_text(message.body)};
    history_ += body + " ";
    Message& known = messages_[body];
    if (!known.twice) {
      EXPECT_FALSE(known.acked) << body << " was acked";
      EXPECT_GE(now(), known.invisible_until) << body << " is somebody's";
    }
    known.held = handle_of(message, answer);
    known.invisible_until = known.held->pop_time + known.held->invisible_ms;
    popped_since_file_.insert(body);
  }

  /// As a client makes it: of a message that comes again it is in its properties.
  static ReceiptHandle handle_of(const protocol::Message& message, const FakePeer::Sent& answer) {
    if (const auto text = message.property(protocol::property::kPopCheckpoint)) {
      const auto handle = protocol::parse_handle(*text);
      EXPECT_TRUE(handle);
      return handle ? *handle : ReceiptHandle{};
    }
    ReceiptHandle handle{.broker_name = "broker-a",
                         .queue_id = message.queue_id,
                         .queue_offset = message.queue_offset};
    protocol::from_text(answer.field("popTime"), handle.pop_time);
    protocol::from_text(answer.field("invisibleTime"), handle.invisible_ms);
    protocol::from_text(answer.field("reviveQid"), handle.revive_queue);
    const std::string starts = ";" + answer.field("startOffsetInfo") + ";";
    const std::string entry = fmt::format(";0 {} ", message.queue_id);
    const std::size_t at = starts.find(entry);
    EXPECT_NE(at, std::string::npos) << starts;
    const std::string text = starts.substr(at + entry.size());
    protocol::from_text(text.substr(0, text.find(';')), handle.start_offset);
    return handle;
  }
  static std::string topic_of(const ReceiptHandle& handle) {
    return *protocol::topic_of_kind(kTopic, kGroup, std::string(1, handle.kind));
  }

  /// Some message that is held and whose time is not over.
  Message* any_held() {
    std::vector<Message*> held;
    for (auto& [body, message] : messages_)
      if (message.held && now() < message.invisible_until) held.push_back(&message);
    return held.empty() ? nullptr : held[below(held.size())];
  }

  void ack(Message& message) {
    const ReceiptHandle& handle = *message.held;
    const auto answer = ask(protocol::AckMessageRequest::kCode,
                            protocol::AckMessageRequest{.consumer_group = kGroup,
                                                        .topic = topic_of(handle),
                                                        .queue_id = handle.queue_id,
                                                        .extra_info = to_text(handle),
                                                        .offset = handle.queue_offset});
    EXPECT_EQ(answer.code, code::kSuccess) << answer.remark;
    done(message);
  }
  static void done(Message& message) {
    message.acked = true;
    message.held.reset();
  }
  void ack_one() {
    Message* message = any_held();
    if (!message) return;
    history_ += " ack";
    ack(*message);
  }

  void ack_several() {
    std::vector<Message*> several;
    std::string entries;
    for (std::uint64_t i = below(4) + 1; i-- > 0;) {
      Message* message = any_held();
      if (!message || std::ranges::count(several, message) > 0) continue;
      several.push_back(message);
      entries += (entries.empty() ? "" : ",") + entry_of(*message->held);
    }
    if (several.empty()) return;
    history_ += " acks";
    const std::string body = R"({"acks":[)" + entries + R"(],"brokerName":"broker-a"})";
    const auto answer =
        ask(protocol::request_code::kBatchAckMessage, protocol::NoFields{}, as_bytes(body));
    EXPECT_EQ(answer.code, code::kSuccess) << answer.remark;
    for (Message* each : several) done(*each);
  }
  /// BatchAck: bit i of `b` is the message at start offset + i.
  static std::string entry_of(const ReceiptHandle& handle) {
    const auto bit = static_cast<std::size_t>(handle.queue_offset - handle.start_offset);
    std::string bytes;  // of a BitSet, as a list
    for (std::size_t i = 0; i < bit / 8; ++i) bytes += "0,";
    bytes += std::to_string(1 << bit % 8);
    return fmt::format(
        R"({{"b":[{}],"c":"{}","it":{},"pt":{},"q":{},"r":"{}","rq":{},"so":{},"t":"{}"}})", bytes,
        kGroup, handle.invisible_ms, handle.pop_time, handle.queue_id, handle.kind,
        handle.revive_queue, handle.start_offset, kTopic);
  }

  void change_time() {
    Message* message = any_held();
    if (!message) return;
    ReceiptHandle& handle = *message->held;
    const std::int64_t ms = static_cast<std::int64_t>(below(30'000));
    history_ += fmt::format(" to{}ms", ms);
    const auto answer = ask(protocol::ChangeInvisibleTimeRequest::kCode,
                            protocol::ChangeInvisibleTimeRequest{.consumer_group = kGroup,
                                                                 .topic = topic_of(handle),
                                                                 .queue_id = handle.queue_id,
                                                                 .extra_info = to_text(handle),
                                                                 .offset = handle.queue_offset,
                                                                 .invisible_ms = ms});
    EXPECT_EQ(answer.code, code::kSuccess) << answer.remark;
    protocol::from_text(answer.field("popTime"), handle.pop_time);
    protocol::from_text(answer.field("invisibleTime"), handle.invisible_ms);
    protocol::from_text(answer.field("reviveQid"), handle.revive_queue);
    handle.start_offset = handle.queue_offset;
    message->invisible_until = handle.pop_time + handle.invisible_ms;
  }

  /// Everything that is not acked comes, sooner or later, and then no more.
  void drain() {
    history_ += " drain";
    for (int round = 0; round < 8; ++round) {
      disk_.clock.advance(30s);
      process_->popping.revive.run();
      while (pop(32, 60'000) > 0 && !::testing::Test::HasFailure()) {
        for (auto& [body, message] : messages_)
          if (message.held && now() < message.invisible_until) ack(message);
      }
    }
    for (const auto& [body, message] : messages_) EXPECT_TRUE(message.acked) << body << " is lost";
    disk_.clock.advance(120s);
    process_->popping.revive.run();
    EXPECT_EQ(process_->popping.revive.outstanding(), 0U);
  }

  std::mt19937_64 random_;
  testing::DiskEnv disk_;
  testing::MemoryStore store_{disk_.clock};
  testing::ManualLoop loop_;
  std::shared_ptr<FakePeer> peer_ = std::make_shared<FakePeer>(loop_, 1);
  std::unique_ptr<Process> process_;
  std::map<std::string, Message> messages_;
  std::set<std::string> popped_since_file_;
  std::int32_t opaque_ = 0;
  std::string history_;
};

class PoppingModel : public ::testing::TestWithParam<std::uint64_t> {
 public:
  static constexpr std::uint64_t kParts = 4;
};

TEST_P(PoppingModel, LosesNoMessageAndGivesNoneOutTwiceAtATime) {
  const testing::Seeds seeds{300, {GetParam(), kParts}};
  for (std::uint64_t seed = seeds.first; seed <= seeds.last; seed += seeds.step) {
    SCOPED_TRACE(::testing::Message() << "APOGEE_SEED=" << seed << " repeats it");
    PopModel{seed}.run();
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(, PoppingModel, ::testing::Range<std::uint64_t>(0, PoppingModel::kParts));

}  // namespace
}  // namespace apogee::broker
