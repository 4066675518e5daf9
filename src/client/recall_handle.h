#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace apogee::client {

/// The broker named in a recall handle: base64url of "v1 <topic> <broker> <time stamp> <message
/// id>". Empty: it is no handle.
std::optional<std::string> broker_of_recall_handle(std::string_view handle);

}  // namespace apogee::client
