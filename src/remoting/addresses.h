#pragma once

#include <string>
#include <vector>

#include "apogee/result.h"

/// This machine's addresses and names. May block on the resolver: for start-up only.
namespace apogee::remoting {

/// Numeric addresses of the interfaces that are up, IPv4 before IPv6, loopback last.
std::vector<std::string> local_addresses();
/// What clients elsewhere may reach this machine at: the first that is neither loopback nor
/// link-local; loopback if there is nothing else.
std::string advertised_address();
bool is_loopback(const std::string& numeric_address);
/// A numeric address for a host name or an address; IPv4 preferred.
Result<std::string> resolve(const std::string& host);
std::string host_name();

}  // namespace apogee::remoting
