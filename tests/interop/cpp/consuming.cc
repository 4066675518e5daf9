#include <algorithm>
#include <atomic>
#include <set>

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
  std::this_thread::sleep_for(500ms);
  same(inbox.count(), 3u, "messages");
}

void sql_chooses(const Context& c) {
  Receiving r{c};
  r.send("a", "t", {{"amount", "50"}, {"region", "eu"}});
  r.send("b", "t", {{"amount", "150"}, {"region", "eu"}});
  r.send("c", "t", {{"amount", "150"}, {"region", "us"}});
  Inbox inbox{r.client, c.group(), r.topic, sql("amount > 100 AND region = 'eu'")};
  same(inbox.one().body, "b", "body");
  std::this_thread::sleep_for(500ms);
  same(inbox.count(), 1u, "messages");
}

void a_new_group_may_begin_with_what_comes_now(const Context& c) {
  Receiving r{c};
  r.send("before");
  PushConsumerConfig config = r.config(c);
  config.from = StartFrom::kLast;
  Inbox inbox{r.client, std::move(config)};
  // A queue that is young and whole in memory is read from its beginning by either: then both come.
  std::this_thread::sleep_for(2s);
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
  std::this_thread::sleep_for(500ms);
  same(inbox.count(), 5u, "messages");
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
  need(eventually(60s,
                  [&] {
                    return one.consumer().queues().size() > 0 && two.consumer().queues().size() > 0;
                  }),
       "not divided");
  std::this_thread::sleep_for(1s);
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
  config.offset_directory =
      std::string{std::getenv("HOME") ? std::getenv("HOME") : "."} + "/" + c.unique;
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
  std::this_thread::sleep_for(1s);
  // What a pull under way brings may still come: one held pull a queue.
  const auto queues = need(r.producer.queues(r.topic, 3s), "queues").size();
  for (std::size_t i = 0; i < queues * 40; ++i) r.send(std::to_string(i));
  std::this_thread::sleep_for(2s);
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
      {"settings are checked", settings_are_checked},
      {"shutdown from inside the function ends", shutdown_from_inside_the_function_ends},
  };
}

}  // namespace suite
