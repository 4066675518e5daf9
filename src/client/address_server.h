#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/env.h"

namespace apogee::client {

/// GET http://<domain>[:8080]<path>: the name servers' addresses, separated by ';', up to the first
/// line end (Java's TopAddressing). At most 3 s. `done` runs once, on an io thread.
void fetch_from_address_server(Env& env, const std::string& domain, const std::string& path,
                               std::function<void(Result<std::vector<std::string>>)> done);

}  // namespace apogee::client
