#pragma once

#include <string>

#include "apogee/result.h"
#include "base/bytes.h"

/// The PROXY protocol of load balancers, versions 1 (text) and 2 (binary): who is really there,
/// ahead of everything else on a connection.
namespace apogee::remoting {

struct ProxyHeader {
  bool wait = false;     ///< More bytes are needed to tell.
  std::size_t size = 0;  ///< Bytes to skip; 0: there is no header.
  std::string source;    ///< "ip:port" of the client; empty: not said (LOCAL, UNKNOWN).
};

/// kMalformed: it begins like a header and is none.
Result<ProxyHeader> read_proxy_header(Bytes begin);

}  // namespace apogee::remoting
