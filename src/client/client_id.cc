#include "client/client_id.h"

#include <mutex>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <unistd.h>

namespace apogee::client {
namespace {

/// Of the process, as an id is: whoever made its clients, and whatever else they share.
struct HeldIds {
  std::mutex mutex;
  std::set<std::string> ids;  // guarded by mutex
};
HeldIds& held_ids() {
  static HeldIds& held = *new HeldIds;  // there as long as the process: clients may end with it
  return held;
}

}  // namespace

Result<ClientId> ClientId::take(const ClientConfig& config, const std::string& ip,
                                std::int64_t now_ns) {
  const auto composed = [&](const std::string& name) {
    return ip + "@" + name + (config.unit_name.empty() ? "" : "@" + config.unit_name) +
           (config.stream_requests ? "@STREAM" : "");
  };
  HeldIds& held = held_ids();
  std::lock_guard lock{held.mutex};
  if (config.instance_name.empty() || config.instance_name == "DEFAULT") {
    // As Java: "<pid>#<nanoTime>", so that two clients of one machine are two.
    for (;; ++now_ns)
      if (std::string id = composed(fmt::format("{}#{}", ::getpid(), now_ns));
          held.ids.insert(id).second)
        return ClientId{std::move(id)};
  }
  std::string id = composed(config.instance_name);
  if (!held.ids.insert(id).second)
    return Error{Errc::kExists,
                 "this process has a client with the id " + id +
                     " already: make producers and consumers from that one, end it first, or give "
                     "this one another instance_name"};
  return ClientId{std::move(id)};
}

ClientId::ClientId(ClientId&& other) noexcept
    : text_{std::move(other.text_)}, held_{std::exchange(other.held_, false)} {}

void ClientId::give_back() {
  if (!std::exchange(held_, false)) return;
  HeldIds& held = held_ids();
  std::lock_guard lock{held.mutex};
  held.ids.erase(text_);
}

}  // namespace apogee::client
