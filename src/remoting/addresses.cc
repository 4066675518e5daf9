#include "remoting/addresses.h"

#include <algorithm>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <unistd.h>

namespace apogee::remoting {
namespace {

std::string numeric(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address->sa_family == AF_INET)
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text,
                sizeof text);
  else if (address->sa_family == AF_INET6)
    ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, text,
                sizeof text);
  return text;
}

/// Lower is better.
int rank(const std::string& address) {
  if (is_loopback(address)) return 3;
  if (address.starts_with("169.254.") || address.starts_with("fe80:")) return 2;
  return address.find(':') == std::string::npos ? 0 : 1;
}

}  // namespace

bool is_loopback(const std::string& numeric_address) {
  return numeric_address.starts_with("127.") || numeric_address == "::1";
}

std::vector<std::string> local_addresses() {
  std::vector<std::string> addresses;
  ifaddrs* interfaces = nullptr;
  if (::getifaddrs(&interfaces) != 0) return {"127.0.0.1"};
  for (const ifaddrs* each = interfaces; each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr == nullptr || (each->ifa_flags & IFF_UP) == 0) continue;
    if (std::string text = numeric(each->ifa_addr); !text.empty())
      addresses.push_back(std::move(text));
  }
  ::freeifaddrs(interfaces);
  std::stable_sort(addresses.begin(), addresses.end(),
                   [](const auto& a, const auto& b) { return rank(a) < rank(b); });
  return addresses;
}

std::string advertised_address() {
  const auto addresses = local_addresses();
  return addresses.empty() ? "127.0.0.1" : addresses.front();
}

Result<std::string> resolve(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &found); error != 0)
    return Error{Errc::kNotFound,
                 "the host name '" + host + "' does not resolve: " + ::gai_strerror(error)};
  std::string best;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    const std::string text = numeric(each->ai_addr);
    if (best.empty() || (each->ai_family == AF_INET && best.find(':') != std::string::npos))
      best = text;
  }
  ::freeaddrinfo(found);
  if (best.empty()) return Error{Errc::kNotFound, "the host name '" + host + "' has no address"};
  return best;
}

std::string host_name() {
  char name[256] = "";
  ::gethostname(name, sizeof name - 1);
  return name[0] == '\0' ? "localhost" : name;
}

}  // namespace apogee::remoting
