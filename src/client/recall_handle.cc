#include "client/recall_handle.h"

#include "protocol/recall_handle.h"

namespace apogee::client {

std::optional<std::string> broker_of_recall_handle(std::string_view handle) {
  const auto parsed = protocol::parse_recall_handle(handle);
  if (!parsed || parsed->broker_name.empty()) return std::nullopt;
  return parsed->broker_name;
}

}  // namespace apogee::client
