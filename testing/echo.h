#pragma once

#include <cstdint>
#include <string>

#include "remoting/processors.h"

namespace apogee::testing {

/// A request that is answered with what it brings.
struct EchoRequest {
  static constexpr std::int32_t kCode = 7'001;
  std::string text;
  using Self = EchoRequest;
  static constexpr auto kFields = MemberList{protocol::Field{"text", &Self::text}};
};

inline void serve_echo(remoting::Processors& processors) {
  processors.on<EchoRequest>([](const EchoRequest& header, const remoting::Request& request) {
    return remoting::Answer::with(header, Buffer{as_text(request.command.body)});
  });
}

}  // namespace apogee::testing
