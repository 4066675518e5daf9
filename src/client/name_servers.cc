#include "client/name_servers.h"

#include <algorithm>
#include <cctype>

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

std::string instance_of_endpoint(std::string_view text) {
  constexpr std::string_view kPrefix = "MQ_INST_";
  text.remove_prefix(text.rfind('/') + 1);  // npos + 1 is 0
  const std::size_t dot = text.find('.');
  if (dot == std::string_view::npos || !text.starts_with(kPrefix)) return {};
  const std::string_view label = text.substr(0, dot), rest = label.substr(kPrefix.size());
  const auto is_word = [](char each) {
    return std::isalnum(static_cast<unsigned char>(each)) != 0 || each == '_';
  };
  const std::size_t parted = rest.find('_', 1);
  if (!std::ranges::all_of(rest, is_word) || parted == std::string_view::npos ||
      parted + 1 == rest.size())
    return {};
  return std::string{label};
}

}  // namespace apogee::client
