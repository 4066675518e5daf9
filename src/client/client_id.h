#pragma once

#include <cstdint>
#include <string>

#include "apogee/client.h"

namespace apogee::client {

/// What brokers know a client by: ip@instance, as Java composes it. They take two with one id for
/// one: queues are divided as for one, and what one unregisters is gone for the other. So an id is
/// held by one client of this process at a time (Java's would silently be one instance, with the
/// settings of the first).
///
/// Threads: any; give_back() not beside another call on the same object.
class ClientId {
 public:
  /// `now_ns` makes the name of a client that is given none. kExists: another client holds the id.
  static Result<ClientId> take(const ClientConfig& config, const std::string& ip,
                               std::int64_t now_ns);
  ClientId(ClientId&& other) noexcept;
  ~ClientId() { give_back(); }
  void give_back();  ///< From here on another client may have it.
  const std::string& text() const { return text_; }

 private:
  explicit ClientId(std::string text) : text_{std::move(text)}, held_{true} {}
  std::string text_;
  bool held_ = false;
};

}  // namespace apogee::client
