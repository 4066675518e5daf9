// Every member of the group gets every message; offsets are kept in a file of this machine.
#include <filesystem>
#include <latch>

#include <apogee/client.h>

#include "example.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  auto client = must(apogee::Client::start(
      {.name_servers = {name_server(argc, argv)}, .instance_name = "cache-1"}));
  auto other_client = must(apogee::Client::start(
      {.name_servers = {name_server(argc, argv)}, .instance_name = "cache-2"}));
  std::latch both{2};
  // A program keeps its offsets; this one begins anew each time.
  const auto offsets = std::filesystem::temp_directory_path() / "apogee-example-offsets";
  std::filesystem::remove_all(offsets);

  apogee::PushConsumerConfig config{.group = "caches",
                                    .subscriptions = {{"orders", apogee::tags("invalidate")}},
                                    .model = apogee::MessageModel::kBroadcasting,
                                    .from = apogee::StartFrom::kFirst,
                                    .on_messages =
                                        [&](std::span<const apogee::ReceivedMessage>) {
                                          both.count_down();
                                          return apogee::Consumed::kDone;
                                        },
                                    .offset_directory = offsets.string()};
  auto one = must(client.push_consumer(config));
  auto other = must(other_client.push_consumer(config));

  auto producer = must(client.producer({.group = "checkout"}));
  must(producer.send({.topic = "orders", .body = "o-17", .tag = "invalidate"}, 3s));
  both.wait();
}
