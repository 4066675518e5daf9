// A question and its answer, each a message.
#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  auto producer = must(client.producer({.group = "prices"}));
  auto consumer = must(
      client.push_consumer({.group = "price-desk",
                            .subscriptions = {{"orders", apogee::tags("ask")}},
                            .from = apogee::StartFrom::kFirst,
                            .on_messages = [&](std::span<const apogee::ReceivedMessage> batch) {
                              for (const auto& question : batch)
                                must(producer.reply(question, "42", 3s));
                              return apogee::Consumed::kDone;
                            }}));

  auto asking = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));
  auto asker = must(asking.producer({.group = "asking"}));
  auto answer = asker.request({.topic = "orders", .body = "how much?", .tag = "ask"}, 20s);
  if (!answer) fail(answer.error());
  std::printf("%s\n", answer->body.c_str());
}
