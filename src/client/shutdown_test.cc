#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apogee/admin.h"
#include "apogee/client.h"
#include "apogee/testing/broker.h"
#include "testing/eventually.h"

/// Clients that end at bad moments: under load, with the broker gone, from anywhere. Few rounds by
/// default; APOGEE_SHUTDOWN_ROUNDS and APOGEE_SOAK_SECONDS make it as long as wanted, under the
/// sanitizers for instance.
namespace apogee {
namespace {

using namespace std::chrono_literals;
using testing::eventually;

int from_environment(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text ? std::atoi(text) : otherwise;
}

/// Something that goes on until it is told to end.
class Ender {
 public:
  void end() {
    const std::lock_guard lock{mutex_};
    ended_ = true;
    changed_.notify_all();
  }
  /// False: it is to end.
  bool goes_on_after(std::chrono::milliseconds time) {
    std::unique_lock lock{mutex_};
    return !changed_.wait_for(lock, time, [&] { return ended_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;  // guarded by mutex_
};

class Ending : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = testing::Broker::start({.topics = {{"orders", 4}}});
    ASSERT_TRUE(started) << started.error().detail;
    broker_.emplace(*std::move(started));
  }
  std::optional<testing::Broker> broker_;
};

/// One program: a client, a producer under load, a consumer.
struct Program {
  explicit Program(const testing::Broker& broker, int round) {
    client = std::make_unique<Client>(
        *Client::start({.name_servers = {broker.name_server()}, .api_timeout = 500ms}));
    producer = std::make_unique<Producer>(*client->producer({.group = "loaded"}));
    auto made = client->push_consumer({.group = "round-" + std::to_string(round % 8),
                                       .subscriptions = {{"orders"}},
                                       .on_messages =
                                           [this](std::span<const ReceivedMessage>) {
                                             const std::lock_guard lock{acting};
                                             if (inside_consumer.exchange(false))
                                               consumer->shutdown();
                                             return Consumed::kDone;
                                           },
                                       .shutdown_wait = 2'000ms});
    // Without a broker there is nothing to consume from, and a consumer may say so.
    if (made) consumer = std::make_unique<PushConsumer>(*std::move(made));
  }

  void send(int count) {
    for (int i = 0; i < count; ++i) {
      ++begun;
      producer->send({.topic = "orders", .body = std::to_string(i)}, 1'000ms,
                     [this](Result<SendReceipt>) {
                       if (inside_callback.exchange(false)) producer->shutdown();
                       ++answered;
                     });
    }
  }

  std::atomic<int> begun{0}, answered{0};
  std::atomic<bool> inside_callback{false}, inside_consumer{false};
  std::mutex acting;  // the consuming function uses `consumer`
  std::unique_ptr<Client> client;
  std::unique_ptr<Producer> producer;
  std::unique_ptr<PushConsumer> consumer;
};

void harm(testing::Broker& broker, std::mt19937& random) {
  switch (random() % 6) {
    case 0:
      return broker.stop();
    case 1:
      return broker.cut_connections();
    case 2:
      return broker.freeze(true);
    case 3:
      return broker.refuse_connections(true);
    default:
      return;  // a broker that is well
  }
}

void heal(testing::Broker& broker) {
  broker.freeze(false);
  broker.refuse_connections(false);
  const bool well = broker.running() || broker.restart();
  ASSERT_TRUE(well);
}

TEST_F(Ending, EndsFromAnywhereUnderLoadWhateverTheBrokerDoes) {
  const int rounds = from_environment("APOGEE_SHUTDOWN_ROUNDS", 24);
  for (int round = 0; round < rounds; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    std::mt19937 random{static_cast<unsigned>(round)};
    Program program{*broker_, round};
    std::thread sender{[&] { program.send(100); }};
    if (random() % 2) sender.join();
    harm(*broker_, random);
    switch (random() % 6) {
      case 0:
        program.client->shutdown();
        break;
      case 1:
        program.producer->shutdown();
        break;
      case 2:
        program.inside_callback = true;
        break;
      case 3:
        program.inside_consumer = true;
        break;
      case 4:
        std::thread{[&] { program.client->shutdown(); }}.join();
        break;
      default:
        break;  // the destructors do it
    }
    if (sender.joinable()) sender.join();
    {
      const std::lock_guard lock{program.acting};
      program.inside_consumer = false;
    }
    if (random() % 2) program.consumer.reset();
    if (random() % 2) program.client.reset();  // before what was made from it
    program.producer->shutdown();
    EXPECT_TRUE(eventually([&] { return program.answered == program.begun; }))
        << program.answered << " of " << program.begun << " sends were answered";
    program.consumer.reset();
    heal(*broker_);
  }
}

TEST_F(Ending, DestroysItselfInsideItsCallback) {
  const int rounds = from_environment("APOGEE_SHUTDOWN_ROUNDS", 24);
  for (int round = 0; round < rounds; ++round) {
    auto client = std::make_unique<Client>(
        *Client::start({.name_servers = {broker_->name_server()}, .api_timeout = 500ms}));
    auto producer = std::make_unique<Producer>(*client->producer({.group = "inside"}));
    std::promise<void> done;
    Producer* const sender = producer.get();
    if (round % 3 == 0) broker_->cut_connections();
    sender->send({.topic = "orders", .body = "last"}, 2s, [&](Result<SendReceipt>) {
      if (round % 2) producer.reset();
      client.reset();
      producer.reset();
      done.set_value();
    });
    ASSERT_EQ(done.get_future().wait_for(10s), std::future_status::ready);
  }
}

// ---- From inside each of the program's functions
// -------------------------------------------------

/// A client that ends the first time one of the program's functions says so.
class EndingProgram {
 public:
  explicit EndingProgram(const testing::Broker& broker, ClientConfig config = {})
      : broker_address_{broker.address()} {
    config.name_servers = {broker.name_server()};
    config.api_timeout = 500ms;
    client_.emplace(*Client::start(std::move(config)));
  }
  Client& client() { return *client_; }
  const std::string& broker_address() const { return broker_address_; }
  Producer& producer(ProducerConfig config = {}) {
    config.group = "ending";
    return producer_.emplace(*client_->producer(std::move(config)));
  }
  PushConsumer& push(PushConsumerConfig config) {
    return push_.emplace(*client_->push_consumer(consuming(std::move(config))));
  }
  PushConsumerConfig consuming(PushConsumerConfig config) const {
    config.group = "ending";
    config.subscriptions = {{"orders"}};
    config.from = StartFrom::kFirst;
    config.shutdown_wait = 2s;
    if (!config.on_messages && !config.on_messages_orderly)
      config.on_messages = [](std::span<const ReceivedMessage>) { return Consumed::kDone; };
    return config;
  }
  LitePullConsumer& lite(LitePullConsumerConfig config = {}) {
    config.group = "ending";
    config.from = StartFrom::kFirst;
    return lite_.emplace(*client_->lite_pull_consumer(std::move(config)));
  }
  PullConsumer& pull() { return pull_.emplace(*client_->pull_consumer({.group = "ending"})); }
  TransactionalProducer& transactional(TransactionalProducerConfig config) {
    config.producer.group = "transfers";
    if (!config.on_check)
      config.on_check = [](const ReceivedMessage&) { return Outcome::kUnknown; };
    return transactional_.emplace(*client_->transactional_producer(std::move(config)));
  }
  /// What a function of the program does.
  void end() {
    if (ending_.exchange(true)) return;
    const auto ended = ended_;  // the test goes on when it is told
    client_->shutdown();
    ended->set_value();
  }
  bool has_ended() { return ended_->get_future().wait_for(20s) == std::future_status::ready; }

 private:
  const std::string broker_address_;
  std::atomic<bool> ending_{false};
  const std::shared_ptr<std::promise<void>> ended_ = std::make_shared<std::promise<void>>();
  std::optional<Client> client_;
  std::optional<Producer> producer_;
  std::optional<TransactionalProducer> transactional_;
  std::optional<PushConsumer> push_;
  std::optional<LitePullConsumer> lite_;
  std::optional<PullConsumer> pull_;
};

const Message kMessage{.topic = "orders", .body = "x"};
const MessageQueue kQueue{"orders", "broker-a", 0};

using From = void (*)(EndingProgram& program);
const std::map<std::string, From> kFunctions{
    {"SendCallback",
     [](EndingProgram& p) {
       p.producer().send(kMessage, 2s, [&p](const Result<SendReceipt>&) { p.end(); });
     }},
    {"CheckForbidden",
     [](EndingProgram& p) {
       (void)
           p.producer({.check_forbidden = [&p](const SendEvent&) -> Result<Ok> {
              p.end();
              return Ok{};
            }}).send(kMessage, 2s);
     }},
    {"BeforeSend",
     [](EndingProgram& p) {
       (void)p.producer({.before_send = [&p](const SendEvent&) { p.end(); }}).send(kMessage, 2s);
     }},
    {"AfterSend",
     [](EndingProgram& p) {
       (void)p.producer({.after_send = [&p](const SendEvent&) { p.end(); }}).send(kMessage, 2s);
     }},
    {"GatheredSendCallback",
     [](EndingProgram& p) {
       p.producer({.batch_delay = 10ms}).send(kMessage, 2s, [&p](const Result<SendReceipt>&) {
         p.end();
       });
     }},
    {"RequestCallback",
     [](EndingProgram& p) {
       p.producer().request(kMessage, 50ms, [&p](const Result<ReceivedMessage>&) { p.end(); });
     }},
    {"RequestCallbackOfAnotherEnd",
     [](EndingProgram& p) {
       Producer& producer = p.producer();
       producer.request(kMessage, 1h, [&p, &producer](const Result<ReceivedMessage>& reply) {
         EXPECT_EQ(reply.error().code, Errc::kStopped);
         EXPECT_EQ(producer.send_oneway(kMessage).error().code, Errc::kStopped);
         p.end();
       });
       p.client().shutdown();
     }},
    {"LocalTransaction",
     [](EndingProgram& p) {
       p.transactional({}).send(
           kMessage,
           [&p] {
             p.end();
             return Outcome::kCommit;
           },
           2s, [](const Result<TransactionReceipt>&) {});
     }},
    {"BlockingLocalTransaction",
     [](EndingProgram& p) {
       (void)p.transactional({}).send(
           kMessage,
           [&p] {
             p.end();
             return Outcome::kCommit;
           },
           2s);
     }},
    {"TransactionCallback",
     [](EndingProgram& p) {
       p.transactional({}).send(
           kMessage, [] { return Outcome::kCommit; }, 2s,
           [&p](const Result<TransactionReceipt>&) { p.end(); });
     }},
    {"BeforeEndOfTransaction",
     [](EndingProgram& p) {
       (void)p.transactional({.before_end = [&p](const EndTransactionEvent&) { p.end(); }})
           .send(kMessage, [] { return Outcome::kCommit; }, 2s);
     }},
    {"ConsumingFunction",
     [](EndingProgram& p) {
       p.push({.on_messages = [&p](std::span<const ReceivedMessage>) {
         p.end();
         return Consumed::kDone;
       }});
     }},
    {"OrderlyConsumingFunction",
     [](EndingProgram& p) {
       p.push({.on_messages_orderly = [&p](std::span<const ReceivedMessage>) {
         p.end();
         return ConsumedOrderly::kDone;
       }});
     }},
    {"BeforeConsume",
     [](EndingProgram& p) { p.push({.before_consume = [&p](const ConsumeEvent&) { p.end(); }}); }},
    {"AfterConsume",
     [](EndingProgram& p) { p.push({.after_consume = [&p](const ConsumeEvent&) { p.end(); }}); }},
    {"Accept",
     [](EndingProgram& p) {
       p.push({.accept = [&p](const ReceivedMessage&) {
         p.end();
         return true;
       }});
     }},
    {"QueuesChanged",
     [](EndingProgram& p) {
       p.push({.queues_changed = [&p](const std::string&, std::span<const MessageQueue>,
                                      std::span<const MessageQueue>) { p.end(); }});
     }},
    {"StartCallback",
     [](EndingProgram& p) {
       p.client().push_consumer(p.consuming({}), [&p](const Result<PushConsumer>&) { p.end(); });
     }},
    {"EndCallback",
     [](EndingProgram& p) { p.producer().shutdown([&p](const Result<Ok>&) { p.end(); }); }},
    {"PollCallback",
     [](EndingProgram& p) {
       LitePullConsumer& consumer = p.lite();
       EXPECT_TRUE(consumer.assign({kQueue}));
       consumer.poll(2s, [&p](const Result<LitePullConsumer::Messages>&) { p.end(); });
     }},
    {"QueuesDivided",
     [](EndingProgram& p) {
       EXPECT_TRUE(p.lite({.queues_divided = [&p](const std::string&, std::span<const MessageQueue>,
                                                  std::span<const MessageQueue>) {
                      p.end();
                    }}).subscribe("orders"));
     }},
    {"QueuesListener",
     [](EndingProgram& p) {
       p.lite().on_queues_changed("orders", [&p](const std::set<MessageQueue>&) { p.end(); });
     }},
    {"SeekCallback",
     [](EndingProgram& p) {
       LitePullConsumer& consumer = p.lite();
       EXPECT_TRUE(consumer.assign({kQueue}));
       consumer.seek_to_begin(kQueue, [&p](const Result<Ok>&) { p.end(); });
     }},
    {"PullCallback",
     [](EndingProgram& p) {
       p.pull().pull(kQueue, all(), 0, 1, [&p](const Result<PullResult>&) { p.end(); });
     }},
    {"OffsetCallback",
     [](EndingProgram& p) {
       p.pull().max_offset(kQueue, [&p](const Result<std::int64_t>&) { p.end(); });
     }},
    {"Administration",
     [](EndingProgram& p) {
       p.client().admin().call(
           [&p](Admin& ask) {
             p.end();
             return ask.topics(1s);
           },
           [](const Result<std::set<std::string>>&) {});
     }},
    {"AdministrationCallback",
     [](EndingProgram& p) {
       p.client().admin().call([](Admin& ask) { return ask.topics(1s); },
                               [&p](const Result<std::set<std::string>>&) { p.end(); });
     }},
};

template <class Table>
std::vector<std::string> names_in(const Table& table) {
  std::vector<std::string> names;
  for (const auto& [name, what] : table) names.push_back(name);
  return names;
}

class EndingFrom : public Ending, public ::testing::WithParamInterface<std::string> {};

TEST_P(EndingFrom, Inside) {
  const int rounds = std::max(1, from_environment("APOGEE_SHUTDOWN_ROUNDS", 24) / 24);
  auto client = *Client::start({.name_servers = {broker_->name_server()}});
  auto producer = *client.producer({.group = "first"});
  for (int round = 0; round < rounds; ++round) {
    // A member of the group has consumed the one before.
    ASSERT_TRUE(producer.send(kMessage, 5s));
    EndingProgram program{*broker_};
    kFunctions.at(GetParam())(program);
    ASSERT_TRUE(program.has_ended()) << "round " << round;
  }
}

INSTANTIATE_TEST_SUITE_P(Each, EndingFrom, ::testing::ValuesIn(names_in(kFunctions)),
                         [](const auto& each) { return each.param; });

TEST_F(Ending, EndsInsideTheHooksOfItsRequests) {
  for (const bool before : {true, false}) {
    std::atomic<EndingProgram*> program{nullptr};
    const auto end = [&] {
      if (EndingProgram* const whole = program.exchange(nullptr)) whole->end();
    };
    ClientConfig config;
    if (before)
      config.before_request = [&](const RpcEvent&) {
        end();
        return ExtFields{};
      };
    else
      config.after_response = [&](const RpcEvent&) { end(); };
    EndingProgram whole{*broker_, std::move(config)};
    program = &whole;
    (void)whole.producer().send(kMessage, 2s);
    EXPECT_TRUE(whole.has_ended()) << (before ? "before a request" : "after an answer");
  }
}

// ---- From inside the log function
// ----------------------------------------------------------------------------------

/// Client and handles that destroy themselves inside the log function, at the first line that has
/// `at` in it.
struct LoggingProgram {
  LoggingProgram(const testing::Broker& broker, std::string at) : line_wanted{std::move(at)} {
    client.emplace(*Client::start({.name_servers = {broker.name_server()},
                                   .persist_consumer_offset_interval = 10ms,
                                   .api_timeout = 500ms,
                                   .log = [this, over = over](Severity, std::string_view line) {
                                     if (!*over) heard(line);
                                   }}));
  }
  ~LoggingProgram() { *over = true; }
  void heard(std::string_view line) {
    if (line.find(line_wanted) == std::string_view::npos || over->exchange(true)) return;
    const auto told = ended;  // the test goes on, and this is gone, when it is told
    {
      const std::lock_guard lock{acting};
      client->shutdown();
      producer.reset();
      push.reset();
      lite.reset();
      client.reset();
    }
    told->set_value();
  }
  bool has_ended() { return ended->get_future().wait_for(20s) == std::future_status::ready; }

  const std::string line_wanted;
  // Lines may come for a moment after the client has gone.
  const std::shared_ptr<std::atomic<bool>> over = std::make_shared<std::atomic<bool>>(false);
  const std::shared_ptr<std::promise<void>> ended = std::make_shared<std::promise<void>>();
  std::recursive_mutex acting;  // what the test does with the handles is over before they go
  std::optional<Client> client;
  std::optional<Producer> producer;
  std::optional<PushConsumer> push;
  std::optional<LitePullConsumer> lite;
};

struct Line {
  const char* words;
  void (*provoke)(LoggingProgram& program, testing::Broker& broker);
};
/// From an io thread, a program's own, the clock's, a worker, and those for rebalancing and for
/// consuming; some where a lock was held once.
const std::map<std::string, Line> kLines{
    {"NewRoute",
     {"route changed",
      [](LoggingProgram& p, testing::Broker&) {
        p.producer.emplace(*p.client->producer({.group = "logging"}));
        p.producer->send(kMessage, 2s, [](const Result<SendReceipt>&) {});
      }}},
    {"SilentNameServer",
     {"name server does not answer",
      [](LoggingProgram& p, testing::Broker& broker) {
        p.producer.emplace(*p.client->producer({.group = "logging"}));
        broker.refuse_connections(true);
        broker.cut_connections();
        p.producer->send({.topic = "unknown", .body = "x"}, 2s, [](const Result<SendReceipt>&) {});
      }}},
    {"QueueBegun",
     {"queue begun",
      [](LoggingProgram& p, testing::Broker&) {
        p.push.emplace(*p.client->push_consumer(
            {.group = "logging", .subscriptions = {{"orders"}}, .on_messages = [](auto) {
               return Consumed::kDone;
             }}));
      }}},
    {"ConsumingFunctionThrew",
     {"the consuming function threw",
      [](LoggingProgram& p, testing::Broker&) {
        p.push.emplace(*p.client->push_consumer(
            {.group = "logging",
             .subscriptions = {{"orders"}},
             .from = StartFrom::kFirst,
             .on_messages = [](std::span<const ReceivedMessage>) -> Consumed {
               throw std::runtime_error{"thrown"};
             }}));
      }}},
    {"OffsetOutOfRange",
     {"offset out of range",
      [](LoggingProgram& p, testing::Broker& broker) {
        EXPECT_TRUE(p.client->admin().create_group(broker.address(), {.name = "logging"}, 3s));
        {
          PullConsumer before = *p.client->pull_consumer({.group = "logging"});
          EXPECT_TRUE(before.queues("orders"));
          before.update_offset(kQueue, 1'000'000);
        }  // stores it
        p.lite.emplace(*p.client->lite_pull_consumer({.group = "logging"}));
        EXPECT_TRUE(p.lite->assign({kQueue}));
      }}},
    {"OffsetsNotStored",
     {"offsets not stored",
      [](LoggingProgram& p, testing::Broker& broker) {
        const std::string file = broker.directory() + "/" + p.client->id();
        PushConsumerConfig config{.group = "logging",
                                  .subscriptions = {{"orders"}},
                                  .model = MessageModel::kBroadcasting,
                                  .from = StartFrom::kFirst,
                                  .on_messages = [](auto) { return Consumed::kDone; }};
        config.offset_directory = file;
        p.push.emplace(*p.client->push_consumer(std::move(config)));
        EXPECT_TRUE(eventually([&] { return p.push->statistics().consumed == 4; }));
        std::ofstream{file} << "in the way";
        // Queues that are let go store their offsets, outside any callback.
        p.push->unsubscribe("orders");
      }}},
};

class EndingInLog : public Ending, public ::testing::WithParamInterface<std::string> {};

TEST_P(EndingInLog, AtTheLine) {
  const int rounds = std::max(1, from_environment("APOGEE_SHUTDOWN_ROUNDS", 24) / 24);
  {
    auto client = *Client::start({.name_servers = {broker_->name_server()}});
    auto producer = *client.producer({.group = "first"});
    for (std::int32_t queue = 0; queue < 4; ++queue)
      ASSERT_TRUE(producer.send(kMessage, MessageQueue{"orders", "broker-a", queue}, 5s));
  }
  const Line& line = kLines.at(GetParam());
  for (int round = 0; round < rounds; ++round) {
    LoggingProgram program{*broker_, line.words};
    {
      const std::lock_guard lock{program.acting};
      line.provoke(program, *broker_);
    }
    ASSERT_TRUE(program.has_ended()) << "round " << round;
    heal(*broker_);
  }
}

INSTANTIATE_TEST_SUITE_P(Each, EndingInLog, ::testing::ValuesIn(names_in(kLines)),
                         [](const auto& each) { return each.param; });

TEST_F(Ending, AnswersEverySendThatIsUnderWayWhenAnotherThreadEndsTheClient) {
  const int rounds = from_environment("APOGEE_SHUTDOWN_ROUNDS", 24);
  for (int round = 0; round < rounds; ++round) {
    Client client = *Client::start({.name_servers = {broker_->name_server()}});
    Producer producer = *client.producer({.group = "loaded"});
    std::atomic<int> begun{0}, answered{0};
    std::atomic<bool> go_on{true};
    std::vector<std::thread> senders;
    for (int i = 0; i < 4; ++i)
      senders.emplace_back([&, i] {
        while (go_on) {
          ++begun;
          if (i % 2) {
            producer.send(kMessage, 1s, [&](const Result<SendReceipt>&) { ++answered; });
          } else {
            (void)producer.send(kMessage, 1s);
            ++answered;
          }
        }
      });
    EXPECT_TRUE(eventually([&] { return begun > 40 + round; }));
    if (round % 4 == 1) broker_->cut_connections();
    std::thread{[&] { client.shutdown(); }}.join();
    go_on = false;
    for (auto& each : senders) each.join();
    EXPECT_TRUE(eventually([&] { return answered == begun; })) << answered << " of " << begun;
  }
}

TEST_F(Ending, LosesNothingAcknowledgedOnANetworkThatFlaps) {
  const auto until = std::chrono::steady_clock::now() +
                     std::chrono::seconds{from_environment("APOGEE_SOAK_SECONDS", 4)};
  auto client = Client::start({.name_servers = {broker_->name_server()}, .api_timeout = 500ms});
  ASSERT_TRUE(client);
  auto producer = client->producer({.group = "soak"});
  ASSERT_TRUE(producer);
  std::mutex mutex;
  std::set<std::string> stored, seen;
  auto consumer =
      client->push_consumer({.group = "soak",
                             .subscriptions = {{"orders"}},
                             .from = StartFrom::kFirst,
                             .on_messages = [&](std::span<const ReceivedMessage> batch) {
                               const std::lock_guard lock{mutex};
                               for (const auto& each : batch) seen.insert(each.body);
                               return Consumed::kDone;
                             }});
  ASSERT_TRUE(consumer) << consumer.error().detail;
  std::atomic<int> begun{0}, answered{0};
  Ender flapping;
  std::thread faults{[&] {
    std::mt19937 random{7};
    do {
      switch (random() % 3) {
        case 0:
          broker_->cut_connections();
          break;
        case 1:
          broker_->freeze(true);
          (void)flapping.goes_on_after(100ms);
          broker_->freeze(false);
          break;
        default:
          broker_->refuse_connections(true);
          broker_->cut_connections();
          (void)flapping.goes_on_after(50ms);
          broker_->refuse_connections(false);
      }
    } while (flapping.goes_on_after(150ms));
  }};
  constexpr std::size_t kAhead = 20'000;  // of the consumer, which a flapping network slows down
  const auto count = [&](const std::set<std::string>& of) {
    const std::lock_guard lock{mutex};
    return of.size();
  };
  for (std::size_t i = 0; std::chrono::steady_clock::now() < until; ++i) {
    while (i > count(seen) + kAhead && std::chrono::steady_clock::now() < until)
      (void)flapping.goes_on_after(10ms);
    ++begun;
    std::string body = std::to_string(i);
    producer->send({.topic = "orders", .body = body}, 2s, [&, body](Result<SendReceipt> sent) {
      const std::lock_guard lock{mutex};
      if (sent) stored.insert(body);
      ++answered;
    });
    if (i % 50 == 0) (void)flapping.goes_on_after(10ms);
  }
  EXPECT_TRUE(eventually([&] { return answered == begun; })) << answered << " of " << begun;
  flapping.end();
  faults.join();
  EXPECT_TRUE(eventually(
      [&] {
        const std::lock_guard lock{mutex};
        return std::ranges::includes(seen, stored);
      },
      60s))
      << "stored " << count(stored) << ", seen " << count(seen);
  EXPECT_GT(count(stored), 0u);
  std::printf("%zu stored, %zu seen\n", count(stored), count(seen));
}

}  // namespace
}  // namespace apogee
