#include "client/name_servers.h"

namespace apogee::client {

std::vector<std::string> parse_name_servers(std::string_view text) {
  std::vector<std::string> all;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find_first_of(";,"), text.size());
    std::string_view each = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (each.starts_with("http://")) each.remove_prefix(each.rfind('/') + 1);
    while (!each.empty() && each.front() == ' ') each.remove_prefix(1);
    while (!each.empty() && each.back() == ' ') each.remove_suffix(1);
    if (!each.empty()) all.emplace_back(each);
  }
  return all;
}

}  // namespace apogee::client
