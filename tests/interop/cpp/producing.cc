#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <future>
#include <latch>
#include <mutex>
#include <set>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "suite.h"
#include "testing/detached.h"

/// What a program sees of the producer, whoever wrote the broker.
namespace suite {
namespace {

/// A client, a producer and a topic that exists.
struct Sending {
  explicit Sending(const Context& context, ProducerConfig config = {},
                   ClientConfig client_config = {})
      : client{context.client(std::move(client_config))},
        topic{context.topic()},
        producer{made(context, client, std::move(config))} {
    Context::make_topic(producer, topic);
  }
  static Producer made(const Context& context, Client& client, ProducerConfig config) {
    if (config.group.empty()) config.group = context.group("producer");
    return need(client.producer(std::move(config)), "a producer");
  }
  Message message(std::string body, std::string tag = "t") const {
    return {.topic = topic, .body = std::move(body), .tag = std::move(tag)};
  }
  Client client;
  std::string topic;
  Producer producer;
};

std::set<std::string> bodies_of(const std::vector<ReceivedMessage>& messages) {
  std::set<std::string> bodies;
  for (const auto& each : messages) bodies.insert(each.body);
  return bodies;
}

/// What `inbox` was given of all that lies in the topic by now: each queue gets one more message,
/// and when those are there, so is what was before them.
std::multiset<std::string> all_so_far(Inbox& inbox, Producer& producer, const std::string& topic,
                                      const std::string& tag) {
  const std::string last = "the last of its queue";
  const auto queues = need(producer.queues(topic, 3s), "queues");
  for (const auto& each : queues)
    need(producer.send({.topic = topic, .body = last, .tag = tag}, each, 3s), "the last");
  std::multiset<std::string> bodies;
  need(eventually(30s,
                  [&] {
                    bodies.clear();
                    for (const auto& each : inbox.take(0)) bodies.insert(each.body);
                    return bodies.count(last) >= queues.size();
                  }),
       "the last of each queue did not come");
  bodies.erase(last);
  return bodies;
}

// ---- Life cycle

void a_client_id_is_address_and_instance(const Context& c) {
  Client client =
      c.client({.instance_name = "billing", .client_ip = "10.1.2.3", .unit_name = "eu"});
  same(client.id(), "10.1.2.3@billing@eu", "id");
  Client other = c.client();
  Client third = c.client();
  need(other.id() != third.id(), "two clients share an id");
  need(other.id().find('@') != std::string::npos && other.id().find('#') != std::string::npos,
       "id " + other.id());
}

void groups_are_checked(const Context& c) {
  Client client = c.client();
  refused(client.producer({.group = ""}), Errc::kInvalidArgument, "the specified group is blank",
          "no group");
  refused(client.producer({.group = std::string(121, 'g')}), Errc::kInvalidArgument,
          "longer than group max length", "a long group");
  refused(client.producer({.group = "a b"}), Errc::kInvalidArgument, "contains illegal characters",
          "a blank in a group");
  refused(client.producer({.group = "DEFAULT_PRODUCER"}), Errc::kInvalidArgument,
          "can not equal DEFAULT_PRODUCER", "the default group");
}

void a_group_exists_once_in_a_client(const Context& c) {
  Client client = c.client();
  Producer first = need(client.producer({.group = c.group()}), "the first");
  refused(client.producer({.group = c.group()}), Errc::kExists,
          "has been created before, specify another name please", "the second");
  first.shutdown();
  need(client.producer({.group = c.group()}), "after the first ended");
}

void a_stopped_producer_refuses(const Context& c) {
  Sending s{c};
  s.producer.shutdown();
  s.producer.shutdown();
  refused(s.producer.send(s.message("late"), 3s), Errc::kStopped, "", "a send after shutdown()");
  Producer second = need(s.client.producer({.group = c.group("second")}), "a producer");
  s.client.shutdown();
  refused(second.send(s.message("late"), 3s), Errc::kStopped, "",
          "a send after the client's shutdown()");
}

// ---- Name servers and routes

void no_name_server_is_an_error(const Context& c) {
  Client client = c.client({.name_servers = {"127.0.0.1:1"}, .api_timeout = 300ms});
  Producer producer = need(client.producer({.group = c.group()}), "a producer");
  const auto began = std::chrono::steady_clock::now();
  const auto sent = producer.send({.topic = c.topic(), .body = "x"}, 2s);
  need(!sent, "sent without a name server");
  need(std::chrono::steady_clock::now() - began < 3s, "the deadline was not kept");
}

void one_name_server_of_several_suffices(const Context& c) {
  Sending s{c, {}, {.name_servers = {"127.0.0.1:1", c.name_server, "127.0.0.1:2"}}};
  need(s.producer.send(s.message("x"), 5s), "send");
}

/// Answers every HTTP request on a port of loopback with one line, until it is destroyed.
class AddressServer {
 public:
  explicit AddressServer(std::string line) : line_{std::move(line)} {
    socklen_t size = sizeof address_;
    address_.sin_family = AF_INET;
    address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    need(bind(listener_, reinterpret_cast<sockaddr*>(&address_), size) == 0 &&
             listen(listener_, 8) == 0 &&
             getsockname(listener_, reinterpret_cast<sockaddr*>(&address_), &size) == 0,
         "a port");
    thread_ = std::thread{[this] { run(); }};
  }
  ~AddressServer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(ntohs(address_.sin_port)); }

 private:
  void run() {
    for (int peer; (peer = accept(listener_, nullptr, nullptr)) >= 0; close(peer)) {
      char request[4'096];
      if (recv(peer, request, sizeof request, 0) <= 0) continue;
      const std::string answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " +
                                 std::to_string(line_.size() + 1) + "\r\n\r\n" + line_ + "\n";
      (void)!::send(peer, answer.data(), answer.size(), MSG_NOSIGNAL);
    }
  }
  const std::string line_;
  const int listener_ = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address_{};
  std::thread thread_;
};

void an_address_server_names_the_name_servers(const Context& c) {
  AddressServer server{c.name_server};
  Client client = need(Client::start({.name_server_domain = server.address()}), "a client");
  Producer producer = need(client.producer({.group = c.group()}), "a producer");
  need(eventually(20s,
                  [&] { return producer.send({.topic = c.topic(), .body = "x"}, 3s).has_value(); }),
       "send");
}

void a_new_topic_gets_the_producers_number_of_queues(const Context& c) {
  Client client = c.client();
  Producer producer =
      need(client.producer({.group = c.group(), .default_topic_queues = 3}), "a producer");
  Context::make_topic(producer, c.topic());
  need(eventually(35s,
                  [&] {
                    const auto queues = producer.queues(c.topic(), 3s);
                    return queues && queues->size() == 3;
                  }),
       "three queues");
}

void queues_take_turns(const Context& c) {
  Sending s{c};
  std::map<std::int32_t, int> by_queue;
  const auto queues = need(s.producer.queues(s.topic, 3s), "queues").size();
  for (std::size_t i = 0; i < queues * 5; ++i)
    ++by_queue[need(s.producer.send(s.message("x"), 3s), "send").queue.queue_id];
  for (const auto& [queue, count] : by_queue)
    same(count, 5, "messages in queue " + std::to_string(queue));
}

void an_unknown_broker_is_named(const Context& c) {
  Sending s{c};
  refused(s.producer.send(s.message("x"), MessageQueue{s.topic, "nobody", 0}, 3s), Errc::kNotFound,
          "The broker[nobody] not exist", "an unknown broker");
}

void a_send_tells_where_the_message_lies(const Context& c) {
  Sending s{c};
  const MessageQueue queue{s.topic, "broker-a", 1};
  const auto first = need(s.producer.send(s.message("x"), queue, 5s), "send");
  const auto second = need(
      s.producer.send({.topic = s.topic, .body = "y", .wait_store = false}, queue, 5s), "no wait");
  need(first.status == SendStatus::kOk && second.status == SendStatus::kOk, "status");
  same(second.queue.broker, "broker-a", "broker");
  same(second.queue.queue_id, 1, "queue");
  same(second.queue_offset, first.queue_offset + 1, "queue offset");
  same(second.offset_message_id.size(), 32u, "length of the offset id");
  same(second.region, "DefaultRegion", "region");
}

void the_fast_port_takes_messages(const Context& c) {
  Sending s{c, {}, {.vip_channel = true}};
  need(s.producer.send(s.message("x"), 5s), "send");
}

void a_producer_that_avoids_slow_brokers_sends_on(const Context& c) {
  Sending s{c, {.avoid_slow_brokers = true, .detect_slow_brokers = true}};
  (void)s.producer.send(s.message("x"), MessageQueue{s.topic, "broker-a", 77}, 3s);
  for (int i = 0; i < 10; ++i) need(s.producer.send(s.message("x"), 3s), "send");
}

void what_the_broker_refuses_has_its_code(const Context& c) {
  Sending s{c};
  const auto sent = s.producer.send(s.message("x"), MessageQueue{s.topic, "broker-a", 77}, 3s);
  need(!sent, "queue 77 was taken");
  same(static_cast<int>(sent.error().code), static_cast<int>(Errc::kRefused), "code");
  same(sent.error().response_code, c.old_broker() ? 1 : 29, "response code");
  need(sent.error().detail.find("queueId 77 is illegal") != std::string::npos ||
           sent.error().detail.find("queueId") != std::string::npos,
       sent.error().detail);
}

void a_body_larger_than_the_brokers_limit_is_refused(const Context& c) {
  Sending s{c, {.max_message_bytes = 16 << 20, .compress_over_bytes = 64 << 20}};
  const auto sent = s.producer.send(s.message(std::string(9 << 20, 'x')), 10s);
  need(!sent, "9 MiB were taken");
  same(sent.error().response_code, 13, "response code");
}

// ---- Validation

void messages_are_checked(const Context& c) {
  Sending s{c};
  const auto bad = [&](Message message, std::string_view words) {
    refused(s.producer.send(message, 3s), Errc::kInvalidArgument, words, words);
  };
  bad({.topic = "", .body = "x"}, "The specified topic is blank");
  bad({.topic = std::string(128, 't'), .body = "x"},
      "The specified topic is longer than topic max length 127.");
  bad({.topic = "a b", .body = "x"},
      "contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$");
  bad({.topic = "SCHEDULE_TOPIC_XXXX", .body = "x"}, "is forbidden.");
  bad({.topic = s.topic, .body = ""}, "the message body length is zero");
  bad({.topic = s.topic, .body = std::string((4 << 20) + 1, 'x')},
      "the message body size over max value, MAX: 4194304");
  bad({.topic = s.topic, .body = "x", .properties = {{"UNIQ_KEY", "mine"}}},
      "is used by system, input another please");
  bad({.topic = s.topic, .body = "x", .properties = {{"a", ""}}},
      "can not be null or blank string");
}

// ---- Three ways to call, each with and without queue and selector

void blocking_sends_arrive(const Context& c) {
  Sending s{c};
  need(s.producer.send(s.message("plain"), 3s), "plain");
  need(s.producer.send(s.message("default time")), "with the default time");
  const auto queue = need(s.producer.queues(s.topic, 3s), "queues").back();
  same(need(s.producer.send(s.message("queue"), queue, 3s), "to a queue").queue.queue_id,
       queue.queue_id, "queue");
  const auto last = [](std::span<const MessageQueue> queues, const Message&) {
    return queues.size() - 1;
  };
  same(need(s.producer.send(s.message("selector"), last, 3s), "with a selector").queue.queue_id,
       queue.queue_id, "the selector's queue");
  Inbox inbox{s.client, c.group(), s.topic, tags("t")};
  same(bodies_of(inbox.take(4)),
       std::set<std::string>{"plain", "default time", "queue", "selector"}, "bodies");
}

void sends_with_a_callback_arrive(const Context& c) {
  Sending s{c};
  std::latch all{3};
  std::mutex mutex;
  std::vector<std::string> errors;
  const auto done = [&](Result<SendReceipt> sent) {
    const std::lock_guard lock{mutex};
    if (!sent) errors.push_back(sent.error().detail);
    all.count_down();
  };
  s.producer.send(s.message("plain"), 5s, done);
  s.producer.send(s.message("queue"), MessageQueue{s.topic, "broker-a", 0}, 5s, done);
  s.producer.send(s.message("selector"), by_random(), 5s, done);
  all.wait();
  need(errors.empty(), errors.empty() ? "" : errors.front());
  Inbox inbox{s.client, c.group(), s.topic, tags("t")};
  same(bodies_of(inbox.take(3)), std::set<std::string>{"plain", "queue", "selector"}, "bodies");
}

void awaited_sends_arrive(const Context& c) {
  Sending s{c};
  std::promise<std::string> done;
  const auto coroutine = [](Sending& with,
                            std::promise<std::string>& out) -> apogee::testing::Detached {
    Message one = with.message("plain"), two = with.message("selector"),
            three = with.message("queue");
    QueueSelector select = by_key("k");
    const MessageQueue queue{with.topic, "broker-a", 0};
    auto plain = co_await with.producer.send_async(std::move(one), 5s);
    auto keyed = co_await with.producer.send_async(std::move(two), std::move(select), 5s);
    auto queued = co_await with.producer.send_async(std::move(three), queue, 5s);
    out.set_value(!plain    ? plain.error().detail
                  : !keyed  ? keyed.error().detail
                  : !queued ? queued.error().detail
                            : "");
  };
  coroutine(s, done);
  const std::string error = done.get_future().get();
  need(error.empty(), error);
  Inbox inbox{s.client, c.group(), s.topic, tags("t")};
  same(bodies_of(inbox.take(3)), std::set<std::string>{"plain", "selector", "queue"}, "bodies");
}

void oneway_sends_arrive(const Context& c) {
  Sending s{c};
  need(s.producer.send_oneway(s.message("plain")), "plain");
  need(s.producer.send_oneway(s.message("queue"), MessageQueue{s.topic, "broker-a", 0}),
       "to a queue");
  need(s.producer.send_oneway(s.message("selector"), by_key("k")), "with a selector");
  Inbox inbox{s.client, c.group(), s.topic, tags("t")};
  same(bodies_of(inbox.take(3)), std::set<std::string>{"plain", "queue", "selector"}, "bodies");
}

void ten_thousand_sends_are_each_answered_once(const Context& c) {
  Sending s{c, {.max_in_flight = 200}};  // more at once, and Apache's brokers turn many away
  constexpr int kMessages = 10'000;
  constexpr int kSystemBusy = 2;
  // On a slow machine Apache's brokers turn some away all the same, after 200 ms in their queue: an
  // answer, too, and not one that a send with a callback is tried again for.
  std::atomic<int> good{0}, busy{0}, calls{0};
  std::mutex mutex;
  std::string other;
  std::latch all{kMessages};
  for (int i = 0; i < kMessages; ++i)
    s.producer.send(s.message(std::to_string(i)), 60s, [&](Result<SendReceipt> sent) {
      ++calls;
      if (sent) {
        ++good;
      } else if (sent.error().response_code == kSystemBusy) {
        ++busy;
      } else {
        const std::lock_guard lock{mutex};
        other = sent.error().detail;
      }
      all.count_down();
    });
  all.wait();
  same(good + busy, kMessages, "answers of a broker; another was \"" + other + "\", answers");
  need(good > kMessages / 2, "only " + std::to_string(good) + " were stored");
  same(calls.load(), kMessages, "calls");
}

// ---- What a message carries

void a_message_arrives_as_it_was_sent(const Context& c) {
  Sending s{c};
  const std::string bytes{"\0\1\2\xff body", 9};
  const auto sent = need(s.producer.send({.topic = s.topic,
                                          .body = bytes,
                                          .tag = "paid",
                                          .keys = {"o-17", "c-42"},
                                          .properties = {{"region", "eu"}, {"name", "Grüße 你好"}},
                                          .flag = 7},
                                         3s),
                         "send");
  Inbox inbox{s.client, c.group(), s.topic, tags("paid")};
  const auto got = inbox.one();
  same(got.topic, s.topic, "topic");
  same(got.body, bytes, "body");
  same(got.tag, "paid", "tag");
  same(got.keys, std::vector<std::string>{"o-17", "c-42"}, "keys");
  same(std::string{got.property("region").value_or("")}, "eu", "property");
  same(std::string{got.property("name").value_or("")}, "Grüße 你好", "property");
  same(got.flag, 7, "flag");
  same(got.message_id, sent.message_id, "message id");
  same(got.offset_message_id, sent.offset_message_id, "offset message id");
  same(got.queue.queue_id, sent.queue.queue_id, "queue");
  same(got.queue_offset, sent.queue_offset, "queue offset");
  same(got.reconsume_times, 0, "reconsume times");
  need(got.stored - got.born < 60s && got.born - got.stored < 60s,
       "born and stored far from each other");
}

void an_id_is_made_for_each_message(const Context& c) {
  Sending s{c};
  std::set<std::string> ids;
  for (int i = 0; i < 100; ++i) {
    const auto id = need(s.producer.send(s.message("x"), 3s), "send").message_id;
    same(id.size(), 32u, "length");
    ids.insert(id);
  }
  same(ids.size(), 100u, "ids");
}

template <Compression kHow>
void compressed_bodies_arrive_whole(const Context& c) {
  Sending s{c, {.compress_over_bytes = 1'000, .compression = kHow}};
  std::string body;
  for (int i = 0; i < 5'000; ++i) body += "line " + std::to_string(i % 100) + "\n";
  need(s.producer.send(s.message(body, "large"), 5s), "send");
  need(s.producer.send(s.message("small", "small"), 5s), "send");
  Inbox inbox{s.client, c.group(), s.topic, tags("large || small")};
  for (const auto& got : inbox.take(2)) {
    same(got.body, got.tag == "large" ? body : "small", "body");
    if (got.tag == "large")
      need(got.stored_bytes < static_cast<std::int32_t>(body.size() / 2), "it was not compressed");
  }
}

void a_namespace_stays_outside(const Context& c) {
  Sending s{c, {}, {.name_space = "ns-" + c.unique}};
  need(s.producer.send(s.message("inside"), 3s), "send");
  same(need(s.producer.queues(s.topic, 3s), "queues").front().topic, s.topic, "topic of a queue");
  Inbox inbox{s.client, c.group(), s.topic, tags("t")};
  same(inbox.one().topic, s.topic, "topic seen");
  Client outside = c.client();
  Inbox other{outside, c.group("outside"), "ns-" + c.unique + "%" + s.topic, tags("t")};
  same(other.one().body, "inside", "body under the name on the wire");
}

// ---- Batches

void a_batch_arrives_message_by_message(const Context& c) {
  Sending s{c};
  std::vector<Message> batch;
  for (int i = 0; i < 20; ++i) batch.push_back(s.message(std::to_string(i)));
  const auto sent = need(s.producer.send(std::span<const Message>{batch}, 5s), "batch");
  same(std::ranges::count(sent.message_id, ','), 19, "commas between ids");
  Inbox inbox{s.client, c.group(), s.topic, tags("t")};
  const auto got = inbox.take(20);
  std::set<std::int32_t> queues;
  for (const auto& each : got) queues.insert(each.queue.queue_id);
  same(queues.size(), 1u, "queues of one batch");
  same(bodies_of(got).size(), 20u, "bodies");
}

void batches_are_checked(const Context& c) {
  Sending s{c};
  const auto bad = [&](std::vector<Message> batch, std::string_view words) {
    refused(s.producer.send(std::span<const Message>{batch}, 3s), Errc::kInvalidArgument, words,
            words);
  };
  bad({s.message("a"), {.topic = s.topic + "-other", .body = "b"}},
      "The topic of the messages in one batch should be the same");
  bad({{.topic = s.topic, .body = "a", .deliver = level(3)}},
      "TimeDelayLevel is not supported for batching");
  bad({{.topic = "%RETRY%" + c.group(), .body = "a"}}, "Retry Group is not supported for batching");
  bad({s.message("a"), {.topic = s.topic, .body = "b", .wait_store = false}},
      "The waitStoreMsgOK of the messages in one batch should the same");
}

void messages_gathered_for_a_moment_travel_together(const Context& c) {
  Sending s{c, {.batch_delay = 20ms}};
  constexpr int kMessages = 200;
  std::latch all{kMessages};
  std::mutex mutex;
  std::set<std::string> ids;
  for (int i = 0; i < kMessages; ++i)
    s.producer.send(s.message(std::to_string(i)), 10s, [&](Result<SendReceipt> sent) {
      const std::lock_guard lock{mutex};
      if (sent) ids.insert(sent->message_id);
      all.count_down();
    });
  all.wait();
  same(ids.size(), static_cast<std::size_t>(kMessages), "ids");
  need(s.producer.statistics().sent < 50, "they went one by one");
  Inbox inbox{s.client, c.group(), s.topic, tags("t")};
  same(bodies_of(inbox.take(kMessages)).size(), static_cast<std::size_t>(kMessages), "bodies");
}

// ---- Order

void a_key_keeps_its_order(const Context& c) {
  Sending s{c};
  for (int i = 0; i < 90; ++i)
    need(s.producer.send(s.message(std::to_string(i), "k" + std::to_string(i % 3)),
                         by_key("key-" + std::to_string(i % 3)), 5s),
         "send");
  std::mutex mutex;
  std::map<std::string, std::vector<int>> by_tag;
  std::atomic<int> count{0};
  PushConsumerConfig config{.group = c.group(),
                            .subscriptions = {{s.topic, tags("k0 || k1 || k2")}},
                            .from = StartFrom::kFirst};
  config.on_messages_orderly = [&](std::span<const ReceivedMessage> batch) {
    const std::lock_guard lock{mutex};
    for (const auto& each : batch) by_tag[each.tag].push_back(std::stoi(each.body)), ++count;
    return ConsumedOrderly::kDone;
  };
  PushConsumer consumer = need(s.client.push_consumer(std::move(config)), "a consumer");
  need(eventually(45s, [&] { return count >= 90; }), std::to_string(count) + " of 90 came");
  consumer.shutdown();
  for (const auto& [tag, numbers] : by_tag)
    need(std::ranges::is_sorted(numbers) && numbers.size() == 30, "order of " + tag);
}

// ---- Time

void a_delay_level_delays(const Context& c) {
  Sending s{c};
  Inbox inbox{s.client, c.group(), s.topic, tags("later")};
  need(
      s.producer.send({.topic = s.topic, .body = "later", .tag = "later", .deliver = level(5)}, 3s),
      "send");  // 3 s here
  const auto got = inbox.one(40s);
  const auto took = got.stored - got.born;
  need(took > 2'500ms,
       "it came after " +
           std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()) +
           " ms");
  same(got.topic, s.topic, "topic");
}

void a_timer_message_comes_in_time(const Context& c) {
  Sending s{c};
  Inbox inbox{s.client, c.group(), s.topic, tags("later || at")};
  const auto began = std::chrono::system_clock::now();
  const auto sent = s.producer.send(
      {.topic = s.topic, .body = "later", .tag = "later", .deliver = after(4s)}, 3s);
  if (c.old_broker()) {  // version 4 does not know the property and delivers at once
    need(sent, "send");
    same(inbox.one().body, "later", "body");
    return;
  }
  need(sent, "after");
  need(
      s.producer.send({.topic = s.topic, .body = "at", .tag = "at", .deliver = at(began + 4s)}, 3s),
      "at");
  for (const auto& got : inbox.take(2, 40s))
    need(got.stored - began > 3s, got.tag + " came too early");
}

void a_timer_message_can_be_recalled(const Context& c) {
  Sending s{c};
  if (c.old_broker()) {
    const auto recalled = s.producer.recall(s.topic, "djEgYSBiIGMgZA", 3s);
    need(!recalled, "version 4 recalls nothing");
    return;
  }
  const auto sent =
      need(s.producer.send(
               {.topic = s.topic, .body = "never", .tag = "later", .deliver = after(5s)}, 3s),
           "send");
  need(!sent.recall_handle.empty(), "no recall handle");
  const auto kept = need(
      s.producer.send({.topic = s.topic, .body = "kept", .tag = "later", .deliver = after(5s)}, 3s),
      "send");
  const auto recalled = s.producer.recall(s.topic, sent.recall_handle, 3s);
  refused(s.producer.recall(s.topic, "not a handle", 3s), Errc::kInvalidArgument, "",
          "a malformed handle");
  if (!recalled && recalled.error().response_code == 16)
    return;  // brokers forbid it unless recallMessageEnable is set
  same(need(recalled, "recall"), sent.message_id, "recalled id");
  Inbox inbox{s.client, c.group(), s.topic, tags("later")};
  same(inbox.one(40s).body, "kept", "what came");
  same(all_so_far(inbox, s.producer, s.topic, "later"), std::multiset<std::string>{"kept"},
       "messages");
}

// ---- Request and reply

void a_question_gets_its_answer(const Context& c) {
  Sending s{c};
  PushConsumerConfig config{
      .group = c.group(), .subscriptions = {{s.topic, tags("ask")}}, .from = StartFrom::kFirst};
  config.on_messages = [&](std::span<const ReceivedMessage> batch) {
    for (const auto& each : batch) (void)s.producer.reply(each, "re: " + each.body, 3s);
    return Consumed::kDone;
  };
  PushConsumer answering = need(s.client.push_consumer(std::move(config)), "a consumer");
  Client asking = c.client();
  Producer asker = need(asking.producer({.group = c.group("asker")}), "a producer");
  const auto answer =
      need(asker.request({.topic = s.topic, .body = "how much?", .tag = "ask"}, 30s), "request");
  same(answer.body, "re: how much?", "answer");
  std::promise<Result<ReceivedMessage>> second;
  asker.request({.topic = s.topic, .body = "and now?", .tag = "ask"}, 30s,
                [&](Result<ReceivedMessage> got) { second.set_value(std::move(got)); });
  same(need(second.get_future().get(), "with a callback").body, "re: and now?", "answer");
}

void a_question_without_answer_ends_in_time(const Context& c) {
  Sending s{c};
  const auto began = std::chrono::steady_clock::now();
  const auto answer = s.producer.request(s.message("anybody?"), 1s);
  need(!answer, "answered by nobody");
  same(static_cast<int>(answer.error().code), static_cast<int>(Errc::kTimeout), "code");
  need(std::chrono::steady_clock::now() - began < 4s, "the deadline was not kept");
}

// ---- Transactions

struct Transfers {
  explicit Transfers(const Context& context, std::function<Outcome(const ReceivedMessage&)> check)
      : client{context.client()},
        topic{context.topic()},
        producer{
            need(client.transactional_producer({.producer = {.group = context.group("transfers")},
                                                .on_check = std::move(check)}),
                 "a producer")} {
    Context::make_topic(producer.producer(), topic);
  }
  TransactionReceipt send(std::string body, Outcome outcome) {
    return need(
        producer.send(
            {.topic = topic, .body = std::move(body), .tag = "t"}, [=] { return outcome; }, 5s),
        "send");
  }
  Client client;
  std::string topic;
  TransactionalProducer producer;
};

void a_committed_message_is_seen_and_one_rolled_back_is_not(const Context& c) {
  Transfers t{c, [](const ReceivedMessage&) { return Outcome::kUnknown; }};
  Inbox inbox{t.client, c.group(), t.topic, tags("t")};
  t.send("rolled back", Outcome::kRollback);
  const auto sent = t.send("committed", Outcome::kCommit);
  same(static_cast<int>(sent.outcome), static_cast<int>(Outcome::kCommit), "outcome");
  const auto got = inbox.one();
  same(got.body, "committed", "body");
  same(got.message_id, sent.sent.message_id, "message id");
  same(all_so_far(inbox, t.producer.producer(), t.topic, "t"),
       std::multiset<std::string>{"committed"}, "messages");
}

void a_broker_asks_for_an_outcome_it_has_not_heard(const Context& c) {
  std::atomic<int> asked{0};
  Transfers t{c, [&](const ReceivedMessage& message) {
                ++asked;
                return message.body == "good" ? Outcome::kCommit : Outcome::kRollback;
              }};
  Inbox inbox{t.client, c.group(), t.topic, tags("t")};
  t.send("bad", Outcome::kUnknown);
  t.send("good", Outcome::kUnknown);
  same(inbox.one(90s).body, "good", "body");
  need(asked >= 1, "nobody asked");
  same(all_so_far(inbox, t.producer.producer(), t.topic, "t"), std::multiset<std::string>{"good"},
       "messages");
}

// ---- Hooks, statistics, bounds

void hooks_see_each_send(const Context& c) {
  std::atomic<int> before{0}, after{0}, good{0};
  ProducerConfig config;
  config.before_send = [&](const SendEvent& event) {
    before += event.message.tag == "t" && !event.broker_address.empty();
  };
  config.after_send = [&](const SendEvent& event) {
    after += event.message.tag == "t", good += event.message.tag == "t" && event.receipt != nullptr;
  };
  config.check_forbidden = [](const SendEvent& event) -> Result<Ok> {
    if (event.message.body == "secret") return Error{Errc::kRefused, "forbidden by the house"};
    return Ok{};
  };
  Sending s{c, std::move(config)};
  for (int i = 0; i < 3; ++i) need(s.producer.send(s.message("x"), 3s), "send");
  refused(s.producer.send(s.message("secret"), 3s), Errc::kRefused, "forbidden by the house",
          "the forbidden one");
  same(before.load() >= 3, true, "before");
  same(good.load(), 3, "after, good");
}

void statistics_count(const Context& c) {
  Sending s{c};
  for (int i = 0; i < 9; ++i) need(s.producer.send(s.message("x"), 3s), "send");
  (void)s.producer.send(s.message("x"), MessageQueue{s.topic, "broker-a", 77}, 3s);
  const auto now = s.producer.statistics();
  same(now.sent, 10u, "sent");
  same(now.failed, 1u, "failed");
  same(now.in_flight, 0u, "in flight");
}

void what_is_in_flight_has_a_bound(const Context& c) {
  Sending s{c, {.max_in_flight = 8, .max_in_flight_bytes = 1 << 20}};
  std::latch all{2'000};
  std::atomic<int> good{0};
  std::atomic<std::uint64_t> most{0};
  for (int i = 0; i < 2'000; ++i) {
    s.producer.send(s.message("x"), 30s, [&](Result<SendReceipt> sent) {
      if (sent) ++good;
      all.count_down();
    });
    most = std::max(most.load(), s.producer.statistics().in_flight);
  }
  all.wait();
  same(good.load(), 2'000, "good");
  need(most <= 8, std::to_string(most) + " were in flight");
}

void sends_are_traced(const Context& c) {
  Client client = c.client();
  const std::string trace_topic = c.topic("trace");
  Producer producer = need(
      client.producer({.group = c.group("producer"), .trace = true, .trace_topic = trace_topic}),
      "a producer");
  Producer maker = need(client.producer({.group = c.group("maker")}), "a producer");
  Context::make_topic(maker, trace_topic);
  Context::make_topic(maker, c.topic());
  const auto sent =
      need(producer.send({.topic = c.topic(), .body = "traced", .keys = {"o-17"}}, 3s), "send");
  Inbox inbox{client, c.group(), trace_topic};
  need(eventually(40s, [&] { return inbox.count() >= 2; }), "no trace came");
  bool told = false;
  for (const auto& each : inbox.take(2))
    told |=
        each.body.starts_with("Pub\x01") && each.body.find(sent.message_id) != std::string::npos;
  need(told, "the trace does not tell of the message");
}

}  // namespace

std::vector<Case> producing_cases() {
  return {
      {"a client id is address and instance", a_client_id_is_address_and_instance},
      {"groups are checked", groups_are_checked},
      {"a group exists once in a client", a_group_exists_once_in_a_client},
      {"a stopped producer refuses", a_stopped_producer_refuses},
      {"no name server is an error within the deadline", no_name_server_is_an_error},
      {"one name server of several suffices", one_name_server_of_several_suffices},
      {"an address server names the name servers", an_address_server_names_the_name_servers},
      {"a send tells where the message lies", a_send_tells_where_the_message_lies},
      {"the fast port takes messages", the_fast_port_takes_messages},
      {"a producer that avoids slow brokers sends on",
       a_producer_that_avoids_slow_brokers_sends_on},
      {"a new topic gets the producer's number of queues",
       a_new_topic_gets_the_producers_number_of_queues},
      {"queues take turns", queues_take_turns},
      {"an unknown broker is named", an_unknown_broker_is_named},
      {"what the broker refuses has its code", what_the_broker_refuses_has_its_code},
      {"a body larger than the broker's limit is refused",
       a_body_larger_than_the_brokers_limit_is_refused},
      {"messages are checked", messages_are_checked},
      {"blocking sends arrive", blocking_sends_arrive},
      {"sends with a callback arrive", sends_with_a_callback_arrive},
      {"awaited sends arrive", awaited_sends_arrive},
      {"oneway sends arrive", oneway_sends_arrive},
      {"ten thousand sends are each answered once", ten_thousand_sends_are_each_answered_once},
      {"a message arrives as it was sent", a_message_arrives_as_it_was_sent},
      {"an id is made for each message", an_id_is_made_for_each_message},
      {"bodies compressed with zlib arrive whole",
       compressed_bodies_arrive_whole<Compression::kZlib>},
      {"bodies compressed with lz4 arrive whole",
       compressed_bodies_arrive_whole<Compression::kLz4>},
      {"bodies compressed with zstd arrive whole",
       compressed_bodies_arrive_whole<Compression::kZstd>},
      {"a namespace stays outside", a_namespace_stays_outside},
      {"a batch arrives message by message", a_batch_arrives_message_by_message},
      {"batches are checked", batches_are_checked},
      {"messages gathered for a moment travel together",
       messages_gathered_for_a_moment_travel_together},
      {"a key keeps its order", a_key_keeps_its_order},
      {"a delay level delays", a_delay_level_delays},
      {"a timer message comes in time", a_timer_message_comes_in_time},
      {"a timer message can be recalled", a_timer_message_can_be_recalled},
      {"a question gets its answer", a_question_gets_its_answer},
      {"a question without answer ends in time", a_question_without_answer_ends_in_time},
      {"a committed message is seen and one rolled back is not",
       a_committed_message_is_seen_and_one_rolled_back_is_not},
      {"a broker asks for an outcome it has not heard",
       a_broker_asks_for_an_outcome_it_has_not_heard},
      {"hooks see each send", hooks_see_each_send},
      {"statistics count", statistics_count},
      {"what is in flight has a bound", what_is_in_flight_has_a_bound},
      {"sends are traced", sends_are_traced},
  };
}

}  // namespace suite
