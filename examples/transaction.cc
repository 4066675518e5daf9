// A message that consumers see only once a local transaction has committed.
#include <atomic>

#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

struct Ledger {
  std::atomic<bool> booked{false};
  bool book() { return booked = true; }
  bool knows(const apogee::ReceivedMessage&) const { return booked; }
};

int main(int argc, char** argv) {
  Ledger ledger;
  auto client = must(apogee::Client::start({.name_servers = {name_server(argc, argv)}}));

  auto producer = must(client.transactional_producer(
      {.producer = {.group = "transfers"},
       // The broker asks when it has not heard of an outcome, perhaps another process of this
       // group.
       .on_check = [&](const apogee::ReceivedMessage& message) {
         return ledger.knows(message) ? apogee::Outcome::kCommit : apogee::Outcome::kRollback;
       }}));

  auto sent = producer.send(
      {.topic = "orders", .body = "100 from a to b"},
      [&] { return ledger.book() ? apogee::Outcome::kCommit : apogee::Outcome::kRollback; }, 3s);
  if (!sent) fail(sent.error());  // nothing was stored, and nothing was booked
  std::printf("%s\n", sent->outcome == apogee::Outcome::kCommit ? "committed" : "not committed");
}
