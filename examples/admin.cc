// What operators ask: topics, groups, offsets, messages.
#include <apogee/admin.h>
#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  auto admin = client.admin();
  for (const auto& broker : must(admin.brokers(3s)))
    must(admin.create_topic(broker.address,
                            {.name = "invoices", .read_queues = 16, .write_queues = 16}, 3s));

  auto producer = must(client.producer({.group = "checkout"}));
  auto sent = must(producer.send({.topic = "orders", .body = "hello", .keys = {"o-17"}}, 3s));
  auto stored = must(admin.message_by_offset_id(sent.offset_message_id, 3s));
  std::printf("%s holds '%s', offsets %lld..%lld\n", to_string(sent.queue).c_str(),
              stored.body.c_str(), static_cast<long long>(must(admin.min_offset(sent.queue, 3s))),
              static_cast<long long>(must(admin.max_offset(sent.queue, 3s))));
}
