#include <algorithm>

#include <apogee/admin.h>

#include "suite.h"

/// What operators' programs see, whoever wrote the broker.
namespace suite {
namespace {

void a_topic_is_made_and_deleted(const Context& c) {
  Client client = c.client();
  Admin admin = client.admin();
  need(admin.create_topic(c.broker_address,
                          {.name = c.topic(), .read_queues = 3, .write_queues = 3}, 5s),
       "create");
  need(eventually(20s,
                  [&] {
                    const auto queues = admin.queues(c.topic(), 3s);
                    return queues && queues->size() == 3;
                  }),
       "three queues");
  need(need(admin.topics(5s), "topics").contains(c.topic()), "not among the topics");
  need(admin.delete_topic(c.topic(), c.cluster, 5s), "delete");
  need(eventually(20s, [&] { return !admin.topic_route(c.topic(), 3s); }),
       "the route is still there");
}

void what_a_group_has_consumed_is_told(const Context& c) {
  Client client = c.client();
  Admin admin = client.admin();
  Producer producer = need(client.producer({.group = c.group("producer")}), "a producer");
  Context::make_topic(producer, c.topic());
  Inbox inbox{client, c.group(), c.topic()};
  for (int i = 0; i < 12; ++i) need(producer.send({.topic = c.topic(), .body = "x"}, 5s), "send");
  inbox.take(13);
  need(eventually(30s,
                  [&] {
                    const auto progress = admin.progress(c.group(), c.topic(), 3s);
                    return progress && progress->lag() == 0;
                  }),
       "something is left");
  const auto connections = need(admin.consumer_connections(c.group(), 5s), "connections");
  need(!connections.members.empty(), "no connection");
  inbox.shutdown();
  for (int i = 0; i < 5; ++i) need(producer.send({.topic = c.topic(), .body = "x"}, 5s), "send");
  need(eventually(30s,
                  [&] {
                    const auto progress = admin.progress(c.group(), c.topic(), 3s);
                    return progress && progress->lag() == 5;
                  }),
       "not five are left");
}

void a_message_is_found(const Context& c) {
  Client client = c.client();
  Admin admin = client.admin();
  Producer producer = need(client.producer({.group = c.group("producer")}), "a producer");
  Context::make_topic(producer, c.topic());
  const auto sent =
      need(producer.send({.topic = c.topic(), .body = "found", .keys = {"o-17"}}, 5s), "send");
  same(need(admin.message_by_offset_id(sent.offset_message_id, 5s), "by offset id").body, "found",
       "body");
  need(eventually(10s,
                  [&] {
                    const auto end = admin.max_offset(sent.queue, 5s);
                    return end && *end == sent.queue_offset + 1;
                  }),
       "max offset");  // a send is answered before its queue knows of it
  refused(admin.message_by_offset_id("nonsense", 3s), Errc::kInvalidArgument, "", "a malformed id");
}

void a_client_is_known_to_its_brokers_while_it_runs(const Context& c) {
  Client client = c.client(), other = c.client();
  Admin admin = other.admin();
  Producer producer = need(client.producer({.group = c.group("producer")}), "a producer");
  Context::make_topic(producer, c.topic());
  Inbox inbox{client, c.group(), c.topic()};
  const auto knows = [&](const auto& connections) {
    return std::ranges::any_of(connections,
                               [&](const auto& each) { return each.client_id == client.id(); });
  };
  need(eventually(35s,
                  [&] {
                    const auto producers =
                        admin.producer_connections(c.group("producer"), c.topic(), 3s);
                    const auto consumers = admin.consumer_connections(c.group(), 3s);
                    return producers && knows(*producers) && consumers && knows(consumers->members);
                  }),
       "both under one id");
  producer.shutdown();
  inbox.shutdown();
  need(eventually(
           10s,
           [&] {
             const auto producers = admin.producer_connections(c.group("producer"), c.topic(), 3s);
             const auto consumers = admin.consumer_connections(c.group(), 3s);
             return !(producers && knows(*producers)) && !(consumers && knows(consumers->members));
           }),
       "still known after the end");
}

void a_topics_queues_are_those_its_brokers_take_and_give(const Context& c) {
  Client client = c.client({.poll_name_server_interval = 500ms});
  Admin admin = client.admin();
  const auto make = [&](std::int32_t read, std::int32_t write) {
    need(admin.create_topic(c.broker_address,
                            {.name = c.topic(), .read_queues = read, .write_queues = write}, 5s),
         "create");
  };
  make(4, 2);
  Producer producer = need(client.producer({.group = c.group("producer")}), "a producer");
  const auto has = [&](std::size_t to_send, std::size_t to_read) {
    return eventually(20s, [&] {
      const auto sent = producer.queues(c.topic(), 3s);
      const auto read = admin.queues(c.topic(), 3s);
      return sent && sent->size() == to_send && read && read->size() == to_read;
    });
  };
  need(has(2, 4), "two queues to send to, four to read");
  make(6, 5);
  need(has(5, 6), "five queues to send to, six to read");
}

void an_order_topic_has_the_queues_of_its_configuration(const Context& c) {
  Client client = c.client();
  Admin admin = client.admin();
  need(admin.create_topic(c.broker_address,
                          {.name = c.topic(), .read_queues = 8, .write_queues = 8, .ordered = true},
                          5s),
       "create");
  need(admin.update_name_server_config(c.name_server, "orderMessageEnable", "true", 5s),
       "orderMessageEnable");
  need(admin.set_order_of_topic(c.topic(), "broker-a:3", 5s), "order");
  Producer producer = need(client.producer({.group = c.group("producer")}), "a producer");
  need(eventually(20s,
                  [&] {
                    const auto queues = producer.queues(c.topic(), 3s);
                    return queues && queues->size() == 3;
                  }),
       "three queues to send to");
}

void a_member_tells_of_itself_and_consumes_one_message(const Context& c) {
  Client client = c.client();
  Admin admin = client.admin();
  Producer producer = need(client.producer({.group = c.group("producer")}), "a producer");
  Context::make_topic(producer, c.topic());
  Inbox inbox{client, c.group(), c.topic()};
  need(producer.send({.topic = c.topic(), .body = "once more"}, 5s), "send");
  const auto got = inbox.take(2);
  need(eventually(10s,
                  [&] {
                    const auto told = admin.running_info(c.group(), client.id(), false, 3s);
                    return told && told->pushes() && !told->queues.empty();
                  }),
       "running info");
  const auto done =
      need(admin.consume_directly(c.group(), client.id(), got.back(), 10s), "directly");
  same(done.outcome, "CR_SUCCESS", "outcome");
  same(inbox.take(3).back().body, got.back().body, "body");
}

void offsets_are_reset_by_time(const Context& c) {
  Client client = c.client();
  Admin admin = client.admin();
  Producer producer = need(client.producer({.group = c.group("producer")}), "a producer");
  Context::make_topic(producer, c.topic());
  Inbox inbox{client, c.group(), c.topic()};
  for (int i = 0; i < 5; ++i) need(producer.send({.topic = c.topic(), .body = "x"}, 5s), "send");
  inbox.take(6);
  need(eventually(30s,
                  [&] {
                    const auto progress = admin.progress(c.group(), c.topic(), 3s);
                    return progress && progress->lag() == 0;
                  }),
       "something is left");
  need(admin.reset_offsets({.topic = c.topic(), .group = c.group(), .timestamp = 0}, 10s), "reset");
  inbox.take(12, 60s);
}

}  // namespace

std::vector<Case> administering_cases() {
  return {
      {"a client is known to its brokers while it runs",
       a_client_is_known_to_its_brokers_while_it_runs},
      {"a topic's queues are those its brokers take and give",
       a_topics_queues_are_those_its_brokers_take_and_give},
      {"an order topic has the queues of its configuration",
       an_order_topic_has_the_queues_of_its_configuration},
      {"a member tells of itself and consumes one message",
       a_member_tells_of_itself_and_consumes_one_message},
      {"offsets are reset by time", offsets_are_reset_by_time},
      {"a topic is made and deleted", a_topic_is_made_and_deleted},
      {"what a group has consumed is told", what_a_group_has_consumed_is_told},
      {"a message is found", a_message_is_found},
  };
}

}  // namespace suite
