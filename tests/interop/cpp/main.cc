#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "suite.h"

/// suite NAME_SERVER BROKER CLUSTER VERSION ONLY [SEED]: prints
/// CASE<tab>name<tab>PASS|FAIL<tab>ms<tab>detail.
namespace suite {

Client Context::client(ClientConfig config) const {
  if (config.name_servers.empty()) config.name_servers = {name_server};
  return need(Client::start(std::move(config)), "a client");
}

void Context::make_topic(Producer& producer, const std::string& topic) {
  need(producer.send({.topic = topic, .body = "makes the topic", .tag = "makes"}, 10s),
       "first send to " + topic);
  // The broker tells the name server a moment later.
  need(eventually(10s, [&] { return producer.queues(topic, 3s).has_value(); }),
       "the route of " + topic);
}

bool eventually(std::chrono::milliseconds limit, const std::function<bool()>& good) {
  const auto until = std::chrono::steady_clock::now() + limit;
  while (!good()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(20ms);
  }
  return true;
}

Inbox::Inbox(Client& client, PushConsumerConfig config) {
  start(client, std::move(config));
}
Inbox::Inbox(Client& client, const std::string& group, const std::string& topic, Filter filter) {
  start(client,
        {.group = group, .subscriptions = {{topic, std::move(filter)}}, .from = StartFrom::kFirst});
}

void Inbox::start(Client& client, PushConsumerConfig config) {
  if (!config.on_messages_orderly && !config.on_messages)
    config.on_messages = [this](std::span<const ReceivedMessage> batch) {
      const std::lock_guard lock{mutex_};
      Consumed outcome = Consumed::kDone;
      for (const ReceivedMessage& each : batch) {
        messages_.push_back(each);
        if (answer_ && answer_(each) == Consumed::kRetryLater) outcome = Consumed::kRetryLater;
      }
      changed_.notify_all();
      return outcome;
    };
  consumer_ =
      std::make_unique<PushConsumer>(need(client.push_consumer(std::move(config)), "a consumer"));
}

std::vector<ReceivedMessage> Inbox::take(std::size_t count, std::chrono::milliseconds limit) {
  std::unique_lock lock{mutex_};
  if (!changed_.wait_for(lock, limit, [&] { return messages_.size() >= count; }))
    throw Failed{std::to_string(messages_.size()) + " of " + std::to_string(count) +
                 " messages came"};
  return messages_;
}

std::size_t Inbox::count() const {
  const std::lock_guard lock{mutex_};
  return messages_.size();
}

void Inbox::answer(std::function<Consumed(const ReceivedMessage&)> with) {
  const std::lock_guard lock{mutex_};
  answer_ = std::move(with);
}

namespace {

std::mutex output;

void run(const Case& each, const Context& context) {
  const auto began = std::chrono::steady_clock::now();
  std::string failure;
  try {
    each.run(context);
  } catch (const std::exception& failed) {
    failure = failed.what();
    for (char& c : failure)
      if (c == '\n' || c == '\t') c = ' ';
  }
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - began);
  const std::lock_guard lock{output};
  std::printf("CASE\t%s\t%s\t%lld\t%s\n", each.name, failure.empty() ? "PASS" : "FAIL",
              static_cast<long long>(took.count()), failure.c_str());
  std::fflush(stdout);
}

/// First and alone, as it changes the environment. A broker that has just started takes its time to
/// tell the name server: the other cases need not wait for it any more.
void the_environment_names_the_name_servers(const Context& context) {
  // No other case runs yet, and a client's threads do not look at the environment.
  setenv("NAMESRV_ADDR", context.name_server.c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
  Client client = need(Client::start({}), "a client");
  unsetenv("NAMESRV_ADDR");  // NOLINT(concurrency-mt-unsafe)
  Producer producer = need(client.producer({.group = context.group()}), "a producer");
  need(eventually(
           60s,
           [&] {
             return producer.send({.topic = context.topic(), .body = "first"}, 3s).has_value();
           }),
       "the broker takes no messages");
}

}  // namespace
}  // namespace suite

int main(int argc, char** argv) {
  using namespace suite;
  if (argc < 5)
    return std::fprintf(stderr, "usage: %s NAME_SERVER BROKER CLUSTER VERSION [ONLY]\n", argv[0]),
           2;
  const std::string only = argc > 5 ? argv[5] : "";
  std::vector<Case> cases;
  for (const auto& list :
       {producing_cases(), consuming_cases(), pulling_cases(), administering_cases()})
    for (const Case& each : list)
      if (std::string_view{each.name}.find(only) != std::string_view::npos) cases.push_back(each);
  const auto run_id =
      std::chrono::system_clock::now().time_since_epoch().count() / 1'000'000 % 1'000'000;
  run({"the environment names the name servers", the_environment_names_the_name_servers},
      {argv[1], argv[2], argv[3], argv[4], "cpp" + std::to_string(run_id)});
  std::atomic<std::size_t> next{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i)
    threads.emplace_back([&] {
      for (std::size_t at = next++; at < cases.size(); at = next++)
        run(cases[at], {argv[1], argv[2], argv[3], argv[4],
                        "cpp" + std::to_string(run_id) + "-" + std::to_string(at)});
    });
  for (std::thread& each : threads) each.join();
  return 0;
}
