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
  same(need(admin.max_offset(sent.queue, 5s), "max offset"), sent.queue_offset + 1, "max offset");
  refused(admin.message_by_offset_id("nonsense", 3s), Errc::kInvalidArgument, "", "a malformed id");
}

}  // namespace

std::vector<Case> administering_cases() {
  return {
      {"a topic is made and deleted", a_topic_is_made_and_deleted},
      {"what a group has consumed is told", what_a_group_has_consumed_is_told},
      {"a message is found", a_message_is_found},
  };
}

}  // namespace suite
