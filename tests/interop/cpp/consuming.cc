#include <algorithm>
#include <atomic>
#include <set>

#include <apogee/admin.h>

#include "suite.h"

/// What a program sees of the push consumer, whoever wrote the broker.
namespace suite {
namespace {

struct Receiving {
  explicit Receiving(const Context& context)
      : client{context.client()},
        topic{context.topic()},
        producer{need(client.producer({.group = context.group("producer")}), "a producer")} {
    Context::make_topic(producer, topic);
  }
  void send(const std::string& body, const std::string& tag = "t",
            std::map<std::string, std::string> properties = {}) {
    need(producer.send(
             {.topic = topic, .body = body, .tag = tag, .properties = std::move(properties)}, 5s),
         "send");
  }
  /// How many of the topic's queues a consumer has; it has one of its group's retries, too.
  std::size_t held(Inbox& inbox) const {
    const auto all = inbox.consumer().queues();
    return static_cast<std::size_t>(std::ranges::count(all, topic, &MessageQueue::topic));
  }
  /// A last message into each queue, until all of them are there: what was wanted before them came
  /// before them. How many there are.
  std::size_t send_last(Inbox& inbox, const std::string& tag = "t",
                        const std::map<std::string, std::string>& properties = {}) {
    const auto queues = need(producer.queues(topic, 3s), "queues");
    for (const MessageQueue& each : queues)
      need(producer.send({.topic = topic, .body = "last", .tag = tag, .properties = properties},
                         each, 5s),
           "send");
    need(eventually(30s,
                    [&] {
                      const auto seen = inbox.take(0);
                      return std::ranges::count(seen, "last", &ReceivedMessage::body) ==
                             static_cast<std::ptrdiff_t>(queues.size());
                    }),
         "the last messages did not come");
    return queues.size();
  }
  PushConsumerConfig config(const Context& context, Filter filter = tags("t")) const {
    return {.group = context.group(),
            .subscriptions = {{topic, std::move(filter)}},
            .from = StartFrom::kFirst};
  }
  Client client;
  std::string topic;
  Producer producer;
};

std::multiset<std::string> bodies_of(const std::vector<ReceivedMessage>& messages) {
  std::multiset<std::string> bodies;
  for (const auto& each : messages) bodies.insert(each.body);
  return bodies;
}

void tags_choose(const Context& c) {
  Receiving r{c};
  for (const char* tag : {"paid", "refunded", "lost", "paid"}) r.send(tag, tag);
  Inbox inbox{r.client, c.group(), r.topic, tags("paid || refunded")};
  same(bodies_of(inbox.take(3)), std::multiset<std::string>{"paid", "paid", "refunded"}, "bodies");
  const auto last = r.send_last(inbox, "paid");
  same(inbox.count(), 3 + last, "messages");
}

void sql_chooses(const Context& c) {
  Receiving r{c};
  r.send("a", "t", {{"amount", "50"}, {"region", "eu"}});
  r.send("b", "t", {{"amount", "150"}, {"region", "eu"}});
  r.send("c", "t", {{"amount", "150"}, {"region", "us"}});
  Inbox inbox{r.client, c.group(), r.topic, sql("amount > 100 AND region = 'eu'")};
  same(inbox.one().body, "b", "body");
  const auto last = r.send_last(inbox, "t", {{"amount", "150"}, {"region", "eu"}});
  same(inbox.count(), 1 + last, "messages");
}

void a_new_group_may_begin_with_what_comes_now(const Context& c) {
  Receiving r{c};
  r.send("before");
  PushConsumerConfig config = r.config(c);
  config.from = StartFrom::kLast;
  Inbox inbox{r.client, std::move(config)};
  // A queue that is young and whole in memory is read from its beginning by either: then both come.
  const auto queues = need(r.producer.queues(r.topic, 3s), "queues").size();
  need(eventually(30s, [&] { return r.held(inbox) == queues; }), "it did not get all queues");
  r.send("after");
  need(eventually(20s,
                  [&] {
                    const auto seen = inbox.take(0);
                    return std::ranges::any_of(
                        seen, [](const auto& each) { return each.body == "after"; });
                  }),
       "the later one did not come");
}

void a_stopped_consumer_goes_on_where_it_was(const Context& c) {
  Receiving r{c};
  for (int i = 0; i < 20; ++i) r.send("first " + std::to_string(i));
  {
    Inbox inbox{r.client, r.config(c)};
    inbox.take(20);
  }
  for (int i = 0; i < 5; ++i) r.send("then " + std::to_string(i));
  Inbox inbox{r.client, r.config(c)};
  for (const auto& each : inbox.take(5)) need(each.body.starts_with("then"), "again: " + each.body);
  const auto last = r.send_last(inbox);
  same(inbox.count(), 5 + last, "messages");
}

void what_failed_comes_again(const Context& c) {
  Receiving r{c};
  std::atomic<int> calls{0};
  std::atomic<int> again{-1};
  PushConsumerConfig config = r.config(c);
  config.on_messages = [&](std::span<const ReceivedMessage> batch) {
    if (calls++ == 0) return Consumed::kRetryLater;
    again = batch.front().reconsume_times;
    return Consumed::kDone;
  };
  Inbox inbox{r.client, std::move(config)};
  r.send("hard");
  need(eventually(60s, [&] { return again >= 0; }), "it did not come again");
  same(again.load(), 1, "reconsume times");
}

void what_fails_too_often_is_a_dead_letter(const Context& c) {
  Receiving r{c};
  PushConsumerConfig config = r.config(c);
  config.max_reconsume_times = 1;
  std::atomic<int> calls{0};
  config.on_messages = [&](std::span<const ReceivedMessage>) {
    ++calls;
    return Consumed::kRetryLater;
  };
  Inbox inbox{r.client, std::move(config)};
  r.send("hopeless");
  Client other = c.client();
  need(eventually(60s, [&] { return calls >= 2; }), std::to_string(calls) + " calls");
  Inbox dead{other, c.group("morgue"), "%DLQ%" + c.group()};
  same(dead.one(60s).body, "hopeless", "dead letter");
  same(calls.load(), 2, "calls");
}

void two_members_share_the_queues(const Context& c) {
  Receiving r{c};
  Client second = c.client();
  Inbox one{r.client, r.config(c)};
  Inbox two{second, r.config(c)};
  const auto queues = need(r.producer.queues(r.topic, 3s), "queues").size();
  need(eventually(60s,
                  [&] {
                    const auto first = r.held(one), other = r.held(two);
                    return first > 0 && other > 0 && first + other == queues;
                  }),
       "not divided");
  std::set<std::string> sent;
  for (int i = 0; i < 200; ++i) {
    r.send(std::to_string(i));
    sent.insert(std::to_string(i));
  }
  need(eventually(30s, [&] { return one.count() + two.count() >= 200; }),
       std::to_string(one.count() + two.count()) + " of 200 came");
  need(one.count() > 0 && two.count() > 0, "one got all");
  auto all_bodies = bodies_of(one.take(0));
  all_bodies.merge(bodies_of(two.take(0)));
  same(std::set<std::string>(all_bodies.begin(), all_bodies.end()), sent, "bodies");
}

void every_member_gets_a_broadcast(const Context& c) {
  Receiving r{c};
  Client second = c.client();
  PushConsumerConfig config = r.config(c);
  config.model = MessageModel::kBroadcasting;
  const char* const home = std::getenv("HOME");
  config.offset_directory = std::string{home ? home : "."} + "/" + c.unique;
  Inbox one{r.client, config}, two{second, config};
  for (int i = 0; i < 10; ++i) r.send(std::to_string(i));
  same(bodies_of(one.take(10)), bodies_of(two.take(10)), "bodies");
}

void orderly_consumption_takes_a_queue_at_a_time(const Context& c) {
  Receiving r{c};
  for (int i = 0; i < 40; ++i)
    need(r.producer.send({.topic = r.topic, .body = std::to_string(i), .tag = "t"},
                         MessageQueue{r.topic, "broker-a", 0}, 5s),
         "send");
  std::mutex mutex;
  std::vector<int> seen;
  std::atomic<int> inside{0}, suspended{0};
  bool overlap = false;
  PushConsumerConfig config = r.config(c);
  config.on_messages_orderly = [&](std::span<const ReceivedMessage> batch) {
    if (++inside > 1) overlap = true;
    const int number = std::stoi(batch.front().body);
    ConsumedOrderly outcome = ConsumedOrderly::kDone;
    {
      const std::lock_guard lock{mutex};
      if (number == 20 && suspended++ == 0)
        outcome = ConsumedOrderly::kSuspend;
      else
        seen.push_back(number);
    }
    --inside;
    return outcome;
  };
  PushConsumer consumer = need(r.client.push_consumer(std::move(config)), "a consumer");
  need(eventually(60s,
                  [&] {
                    const std::lock_guard lock{mutex};
                    return seen.size() >= 40;
                  }),
       "not all came");
  consumer.shutdown();
  need(std::ranges::is_sorted(seen) && seen.size() == 40, "out of order");
  need(suspended >= 1 && !overlap, "not suspended, or two at once");
}

void a_suspended_consumer_takes_nothing_new(const Context& c) {
  Receiving r{c};
  Inbox inbox{r.client, r.config(c)};
  r.send("before");
  inbox.one();
  inbox.consumer().suspend();
  Inbox other{r.client,
              {.group = c.group("other"),
               .subscriptions = {{r.topic, tags("t")}},
               .from = StartFrom::kFirst}};
  // What a pull under way brings may still come: one held pull a queue.
  const auto queues = need(r.producer.queues(r.topic, 3s), "queues").size();
  for (std::size_t i = 0; i < queues * 40; ++i) r.send(std::to_string(i));
  other.take(1 + queues * 40, 60s);
  need(inbox.count() < 1 + queues * 40, "all came");
  inbox.consumer().resume();
  inbox.take(1 + queues * 40, 60s);
}

void a_subscription_may_be_added_and_ended(const Context& c) {
  Receiving r{c};
  const std::string other = c.topic("other");
  Context::make_topic(r.producer, other);
  Inbox inbox{r.client, r.config(c)};
  need(inbox.consumer().subscribe(other, tags("t")), "subscribe");
  need(r.producer.send({.topic = other, .body = "other", .tag = "t"}, 3s), "send");
  same(inbox.one(60s).body, "other", "body");
}

void batches_are_as_large_as_asked(const Context& c) {
  Receiving r{c};
  std::vector<Message> batch;
  for (int i = 0; i < 64; ++i)
    batch.push_back({.topic = r.topic, .body = std::to_string(i), .tag = "t"});
  need(r.producer.send(std::span<const Message>{batch}, 5s), "batch");
  std::atomic<std::size_t> most{0}, count{0};
  PushConsumerConfig config = r.config(c);
  config.consume_message_batch_max_size = 16;
  config.on_messages = [&](std::span<const ReceivedMessage> got) {
    most = std::max(most.load(), got.size());
    count += got.size();
    return Consumed::kDone;
  };
  PushConsumer consumer = need(r.client.push_consumer(std::move(config)), "a consumer");
  need(eventually(30s, [&] { return count >= 64; }), "not all came");
  need(most > 1 && most <= 16, std::to_string(most) + " at once");
}

void settings_are_checked(const Context& c) {
  Receiving r{c};
  const auto bad = [&](PushConsumerConfig config, std::string_view what) {
    refused(r.client.push_consumer(std::move(config)), Errc::kInvalidArgument, "", what);
  };
  PushConsumerConfig good = r.config(c);
  bad(good, "no function");
  good.on_messages = [](std::span<const ReceivedMessage>) { return Consumed::kDone; };
  auto other = good;
  other.group = "DEFAULT_CONSUMER";
  bad(other, "the default group");
  other = good;
  other.consume_thread_min = 0;
  bad(other, "no threads");
  other = good;
  other.pull_batch_size = 2'000;
  bad(other, "a large pull");
  PushConsumer first = need(r.client.push_consumer(good), "a consumer");
  const auto second = r.client.push_consumer(good);
  refused(second, Errc::kExists, "has been created before, specify another name please",
          "the group again");
}

void shutdown_from_inside_the_function_ends(const Context& c) {
  Receiving r{c};
  auto holder = std::make_shared<std::optional<PushConsumer>>();
  std::atomic<bool> ended{false};
  std::mutex mutex;
  PushConsumerConfig config = r.config(c);
  config.on_messages = [&](std::span<const ReceivedMessage>) {
    const std::lock_guard lock{mutex};
    if (*holder) (*holder)->shutdown();
    ended = true;
    return Consumed::kDone;
  };
  {
    const std::lock_guard lock{mutex};
    holder->emplace(need(r.client.push_consumer(std::move(config)), "a consumer"));
  }
  r.send("stop");
  need(eventually(30s, [&] { return ended.load(); }), "not called");
}

void an_offset_beyond_the_end_is_put_right(const Context& c) {
  Receiving r{c};
  const auto queues = need(r.producer.queues(r.topic, 3s), "queues");
  {
    PullConsumer before = need(r.client.pull_consumer({.group = c.group()}), "a pull consumer");
    for (const MessageQueue& each : queues) {
      need(before.pull(each, all(), 0, 1), "pull");
      before.update_offset(each, 1'000);
    }
  }
  Inbox inbox{r.client, r.config(c)};
  // The broker says that there is no such offset; the client gives the queue up, notes the one that
  // is, and has the queue again some 10 s later.
  int sent = 0;
  need(eventually(60s,
                  [&] {
                    r.send(std::to_string(sent++));
                    return eventually(500ms, [&] { return inbox.count() > 0; });
                  }),
       "nothing came");
}

/// Brokers before 5.0 do not know the question (code 3): the client divides the queues itself.
void brokers_may_divide_the_queues(const Context& c) {
  Receiving r{c};
  PushConsumerConfig config = r.config(c);
  config.client_rebalance = false;
  Inbox inbox{r.client, std::move(config)};
  for (int i = 0; i < 20; ++i) r.send(std::to_string(i));
  const auto bodies = bodies_of(inbox.take(20, 60s));
  same(std::set<std::string>(bodies.begin(), bodies.end()).size(), 20u, "bodies");
}

void popped_messages_arrive_and_come_again(const Context& c) {
  Receiving r{c};
  if (!c.old_broker())
    need(r.client.admin().set_consume_mode(c.broker_address, r.topic, c.group(), "POP", 0, 5s),
         "POP for the group");
  std::atomic<int> failures{0}, again{0};
  PushConsumerConfig config = r.config(c);
  config.client_rebalance = false;
  Inbox inbox{r.client, std::move(config)};
  inbox.answer([&](const ReceivedMessage& message) {
    if (message.body != "hard") return Consumed::kDone;
    if (message.reconsume_times > 0) ++again;
    return failures++ == 0 ? Consumed::kRetryLater : Consumed::kDone;
  });
  for (int i = 0; i < 20; ++i) r.send(std::to_string(i));
  r.send("hard");
  const auto got = inbox.take(22, 90s);
  same(again.load(), 1, "times it came again");
  if (!c.old_broker())
    need(got.front().property("POP_CK").has_value(), "messages were pulled, not popped");
}

void hooks_see_each_consumption(const Context& c) {
  Receiving r{c};
  std::atomic<int> before{0}, good{0};
  PushConsumerConfig config = r.config(c);
  config.before_consume = [&](const ConsumeEvent& event) {
    before += static_cast<int>(event.messages.size());
  };
  config.after_consume = [&](const ConsumeEvent& event) {
    if (event.outcome == ConsumeOutcome::kSuccess) good += static_cast<int>(event.messages.size());
  };
  config.accept = [](const ReceivedMessage& message) { return message.body != "unwanted"; };
  Inbox inbox{r.client, std::move(config)};
  for (const char* body : {"a", "unwanted", "b"}) r.send(body);
  same(bodies_of(inbox.take(2)), std::multiset<std::string>{"a", "b"}, "bodies");
  need(eventually(5s, [&] { return good == 2; }), "after");
  same(before.load(), 2, "before");
}

void a_group_may_begin_at_a_time(const Context& c) {
  Receiving r{c};
  r.send("before");
  PushConsumerConfig config = r.config(c);
  config.from = StartFrom::kTimestamp;
  config.from_time = std::chrono::system_clock::now() - 1h;
  Inbox inbox{r.client, std::move(config)};
  same(inbox.one(30s).body, "before", "body");
}

void a_consumer_may_send_fingerprints(const Context& c) {
  Receiving r{c};
  constexpr int kHeartBeat = 34;
  std::atomic<int> heartbeats{0};
  Client client = c.client({.heartbeat_broker_interval = 1s,
                            .heartbeat_v2 = true,
                            .after_response = [&](const RpcEvent& event) {
                              if (event.code == kHeartBeat && event.response) ++heartbeats;
                            }});
  Inbox inbox{client, r.config(c)};
  for (int i = 0; i < 3; ++i) {
    r.send(std::to_string(i));
    inbox.take(static_cast<std::size_t>(i) + 1);
    const int before = heartbeats;
    need(eventually(30s, [&] { return heartbeats > before + 1; }), "the next heartbeats");
  }
  const auto known = need(client.admin().consumer_connections(c.group(), 5s), "connections");
  need(std::ranges::any_of(known.subscriptions,
                           [&](const auto& each) { return each.topic == r.topic; }),
       "the broker forgot the subscription");
}

}  // namespace

std::vector<Case> consuming_cases() {
  return {
      {"tags choose", tags_choose},
      {"sql chooses", sql_chooses},
      {"a new group may begin with what comes now", a_new_group_may_begin_with_what_comes_now},
      {"a stopped consumer goes on where it was", a_stopped_consumer_goes_on_where_it_was},
      {"what failed comes again", what_failed_comes_again},
      {"what fails too often is a dead letter", what_fails_too_often_is_a_dead_letter},
      {"two members share the queues", two_members_share_the_queues},
      {"every member gets a broadcast", every_member_gets_a_broadcast},
      {"orderly consumption takes a queue at a time", orderly_consumption_takes_a_queue_at_a_time},
      {"a suspended consumer takes nothing new", a_suspended_consumer_takes_nothing_new},
      {"a subscription may be added", a_subscription_may_be_added_and_ended},
      {"batches are as large as asked", batches_are_as_large_as_asked},
      {"an offset beyond the queue's end is put right", an_offset_beyond_the_end_is_put_right},
      {"brokers may divide the queues", brokers_may_divide_the_queues},
      {"popped messages arrive and come again", popped_messages_arrive_and_come_again},
      {"hooks see each consumption", hooks_see_each_consumption},
      {"a group may begin at a time", a_group_may_begin_at_a_time},
      {"a consumer may send fingerprints", a_consumer_may_send_fingerprints},
      {"settings are checked", settings_are_checked},
      {"shutdown from inside the function ends", shutdown_from_inside_the_function_ends},
  };
}

}  // namespace suite
