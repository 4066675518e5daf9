// peer NAME_SERVER MODE GROUP TOPIC: one member of a group whose other member is a Java program
// (java/src/Peer.java does the same). consume, orderly: prints GOT<tab>queue<tab>body; fail-once
// (here alone): fails each, prints AGAIN<tab>queue<tab>body when it comes again; answer: replies to
// questions; ask: asks each line of its input, prints ANSWER<tab>body; send: sends `BODY COUNT` as
// BODY0, BODY1, ... to the queues in turn, prints SENT; transact: sends each line as a half message
// whose outcome is unknown, prints SENT, and CHECKED<tab>body when a broker asks. READY says it has
// begun; the end of its input ends it.
#include <cstdio>
#include <iostream>
#include <mutex>
#include <optional>
#include <string>

#include <apogee/client.h>

using namespace apogee;
using namespace std::chrono_literals;

namespace {

std::mutex output;
void say(const std::string& line) {
  const std::lock_guard lock{output};
  std::puts(line.c_str());
  std::fflush(stdout);
}

template <class T>
T must(Result<T> result) {
  if (result) return *std::move(result);
  std::fprintf(stderr, "%s\n", result.error().detail.c_str());
  std::_Exit(1);
}

void tell(const std::string& kind, std::span<const ReceivedMessage> batch) {
  for (const auto& each : batch)
    say(kind + "\t" + std::to_string(each.queue.queue_id) + "\t" + each.body);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return std::fprintf(stderr, "usage: %s NAME_SERVER MODE GROUP TOPIC\n", argv[0]), 2;
  const std::string mode = argv[2], group = argv[3], topic = argv[4];
  Client client = must(Client::start({.name_servers = {argv[1]}}));
  std::optional<Producer> producer;
  std::optional<PushConsumer> consumer;
  std::optional<TransactionalProducer> transactional;
  PushConsumerConfig config{.group = group, .subscriptions = {{topic}}, .from = StartFrom::kFirst};
  if (mode == "consume") {
    config.on_messages = [](std::span<const ReceivedMessage> batch) {
      tell("GOT", batch);
      return Consumed::kDone;
    };
  } else if (mode == "fail-once") {
    config.on_messages = [](std::span<const ReceivedMessage> batch) {
      if (batch.front().reconsume_times == 0) return Consumed::kRetryLater;
      tell("AGAIN", batch);
      return Consumed::kDone;
    };
  } else if (mode == "orderly") {
    config.on_messages_orderly = [](std::span<const ReceivedMessage> batch) {
      tell("GOT", batch);
      return ConsumedOrderly::kDone;
    };
  } else if (mode == "answer") {
    producer.emplace(must(client.producer({.group = group + "-replies"})));
    config.on_messages = [&](std::span<const ReceivedMessage> batch) {
      for (const auto& each : batch)
        if (each.property("REPLY_TO_CLIENT"))
          must(producer->reply(each, "re " + each.body + " from cpp", 3s));
      return Consumed::kDone;
    };
  } else if (mode == "ask" || mode == "send") {
    producer.emplace(must(client.producer({.group = group, .default_topic_queues = 8})));
  } else if (mode == "transact") {
    transactional.emplace(must(client.transactional_producer(
        {.producer = {.group = group}, .on_check = [](const ReceivedMessage& message) {
           say("CHECKED\t" + message.body);
           return Outcome::kCommit;
         }})));
  }
  if (config.on_messages || config.on_messages_orderly)
    consumer.emplace(must(client.push_consumer(std::move(config))));
  say("READY");
  for (std::string line; std::getline(std::cin, line);) {
    if (mode == "ask") {
      auto answer = producer->request({.topic = topic, .body = line}, 30s);
      say(answer ? "ANSWER\t" + answer->body : "ERROR\t" + answer.error().detail);
    } else if (mode == "send") {
      const auto blank = line.find(' ');
      for (int i = 0; i < std::stoi(line.substr(blank + 1)); ++i)
        must(producer->send({.topic = topic, .body = line.substr(0, blank) + std::to_string(i)},
                            10s));
      say("SENT\t" + line);
    } else if (mode == "transact") {
      must(transactional->send(
          {.topic = topic, .body = line}, [] { return Outcome::kUnknown; }, 5s));
      say("SENT\t" + line);
    }
  }
}
