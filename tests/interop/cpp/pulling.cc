#include <algorithm>
#include <future>
#include <set>

#include <apogee/admin.h>

#include "suite.h"

/// What a program sees of the consumers that pull, whoever wrote the broker.
namespace suite {
namespace {

/// Twelve messages in one queue, "0" to "11", there to be read.
struct Stored {
  explicit Stored(const Context& context)
      : client{context.client()},
        producer{need(client.producer({.group = context.group("producer")}), "a producer")},
        queue{context.topic(), "broker-a", 0} {
    Context::make_topic(producer, queue.topic);
    first = send(0);
    for (int i = 1; i < 12; ++i) send(i);
    need(eventually(10s,
                    [&] {
                      const auto end = client.admin().max_offset(queue, 3s);
                      return end && *end == first + 12;
                    }),
         "the end of the queue");
  }
  std::int64_t send(int number) {
    return need(producer.send({.topic = queue.topic,
                               .body = std::to_string(number),
                               .tag = number % 2 == 0 ? "even" : "odd"},
                              queue, 5s),
                "send")
        .queue_offset;
  }
  Client client;
  Producer producer;
  MessageQueue queue;
  std::int64_t first = 0;  // the message that made the topic may lie before
};

void a_pull_consumer_reads_a_queue(const Context& c) {
  Stored s{c};
  PullConsumer consumer = need(s.client.pull_consumer({.group = c.group()}), "a consumer");
  const PullResult found = need(consumer.pull(s.queue, all(), s.first, 5), "pull");
  need(found.status == PullResult::Status::kFound, "status");
  same(found.messages.size(), 5u, "messages");
  same(found.messages.front().body, "0", "body");
  same(found.next_offset, s.first + 5, "next offset");
  const PullResult odd = need(consumer.pull(s.queue, tags("odd"), s.first, 32), "pull by tag");
  same(odd.messages.size(), 6u, "odd messages");
  need(need(consumer.pull(s.queue, all(), s.first + 12, 32), "at the end").status ==
           PullResult::Status::kNoNewMessage,
       "status at the end");
  const PullResult beyond = need(consumer.pull(s.queue, all(), s.first + 500, 32), "beyond");
  need(beyond.status == PullResult::Status::kOffsetIllegal, "status beyond the end");
  same(beyond.next_offset, s.first + 12, "where to go on");
  same(need(consumer.offset_for_time(s.queue, std::chrono::system_clock::now() + 1h), "by time"),
       s.first + (c.old_broker() ? 11 : 12), "offset of a time to come");  // 4: the last message's
}

void a_held_pull_is_answered_when_a_message_comes(const Context& c) {
  Stored s{c};
  PullConsumer consumer = need(s.client.pull_consumer({.group = c.group()}), "a consumer");
  std::promise<Result<PullResult>> found;
  const auto began = std::chrono::steady_clock::now();
  consumer.pull_block_if_not_found(
      s.queue, all(), s.first + 12, 32,
      [&](Result<PullResult> result) { found.set_value(std::move(result)); });
  s.send(12);  // behind the pull
  same(need(found.get_future().get(), "pull").messages.size(), 1u, "messages");
  need(std::chrono::steady_clock::now() - began < 10s, "it was answered late");
}

void a_group_keeps_its_offset(const Context& c) {
  Stored s{c};
  {
    PullConsumer consumer = need(s.client.pull_consumer({.group = c.group()}), "a consumer");
    need(consumer.pull(s.queue, all(), s.first, 1), "pull");
    consumer.update_offset(s.queue, s.first + 7);
  }
  PullConsumer consumer = need(s.client.pull_consumer({.group = c.group()}), "a consumer");
  need(eventually(10s,
                  [&] {
                    const auto kept = consumer.fetch_offset(s.queue, true);
                    return kept && *kept == s.first + 7;
                  }),
       "the offset was not kept");
}

void what_a_pull_consumer_sends_back_comes_again(const Context& c) {
  Stored s{c};
  PullConsumer consumer = need(s.client.pull_consumer({.group = c.group()}), "a consumer");
  const PullResult found = need(consumer.pull(s.queue, all(), s.first + 3, 1), "pull");
  need(consumer.send_back(found.messages.front(), 1), "send back");
  consumer.shutdown();
  Inbox inbox{s.client, c.group(), c.topic("other")};
  const auto again = inbox.one(60s);
  same(again.body, "3", "body");
  same(again.reconsume_times, 1, "reconsume times");
}

/// Brokers before 5.0 do not know the request that lite pull sends (code 3): it falls back.
void a_lite_pull_consumer_subscribes_and_goes_on_where_it_was(const Context& c) {
  Stored s{c};
  const auto bodies_of_next = [&](std::size_t count) {
    LitePullConsumer consumer = need(
        s.client.lite_pull_consumer({.group = c.group(), .from = StartFrom::kFirst}), "a consumer");
    need(consumer.subscribe(s.queue.topic, tags("even || odd")), "subscribe");
    std::set<std::string> bodies;
    need(eventually(40s,
                    [&] {
                      for (const auto& each : consumer.poll(200ms)) bodies.insert(each.body);
                      return bodies.size() >= count;
                    }),
         std::to_string(bodies.size()) + " of " + std::to_string(count) + " messages came");
    consumer.commit();
    return bodies;
  };
  same(bodies_of_next(12).size(), 12u, "messages");
  s.send(12);
  same(bodies_of_next(1), std::set<std::string>{"12"}, "what came after it began again");
}

void a_lite_pull_consumer_is_assigned_seeks_and_pauses(const Context& c) {
  Stored s{c};
  LitePullConsumer consumer =
      need(s.client.lite_pull_consumer({.group = c.group(), .auto_commit = false}), "a consumer");
  need(consumer.assign({s.queue}), "assign");
  need(eventually(10s, [&] { return consumer.seek(s.queue, s.first + 4).has_value(); }), "seek");
  LitePullConsumer::Messages got;
  need(eventually(20s, [&] { return !(got = consumer.poll(200ms)).empty(); }), "no message");
  same(got.front().queue_offset, s.first + 4, "offset after seek");
  consumer.pause({s.queue});
  need(consumer.is_paused(s.queue), "not paused");
  consumer.resume({s.queue});
  consumer.commit({{s.queue, s.first + 9}}, true);
  need(eventually(10s,
                  [&] {
                    const auto kept = consumer.committed(s.queue);
                    return kept && *kept == s.first + 9;
                  }),
       "not committed");
}

}  // namespace

std::vector<Case> pulling_cases() {
  return {
      {"a pull consumer reads a queue", a_pull_consumer_reads_a_queue},
      {"a held pull is answered when a message comes",
       a_held_pull_is_answered_when_a_message_comes},
      {"a group keeps its offset", a_group_keeps_its_offset},
      {"what a pull consumer sends back comes again", what_a_pull_consumer_sends_back_comes_again},
      {"a lite pull consumer subscribes and goes on where it was",
       a_lite_pull_consumer_subscribes_and_goes_on_where_it_was},
      {"a lite pull consumer is assigned, seeks and pauses",
       a_lite_pull_consumer_is_assigned_seeks_and_pauses},
  };
}

}  // namespace suite
