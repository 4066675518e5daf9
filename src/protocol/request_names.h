#pragma once

#include <cstdint>
#include <span>
#include <string_view>

/// What Apache RocketMQ 5.5 calls its request codes (RequestCode): for people, logs and the labels
/// of metrics. Pure.
namespace apogee::protocol {

struct RequestName {
  std::int32_t code;
  std::string_view name;  ///< "SEND_MESSAGE_V2"
};

std::span<const RequestName> request_names();      ///< In order of their codes.
std::string_view request_name(std::int32_t code);  ///< Empty: no such code.

}  // namespace apogee::protocol
