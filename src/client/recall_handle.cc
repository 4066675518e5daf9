#include "client/recall_handle.h"

#include <vector>

namespace apogee::client {
namespace {

int value_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '-' || c == '+') return 62;
  if (c == '_' || c == '/') return 63;
  return -1;
}

std::optional<std::string> decoded(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string out;
  unsigned bits = 0;
  int count = 0;
  for (const char each : text) {
    const int value = value_of(each);
    if (value < 0) return std::nullopt;
    bits = bits << 6 | static_cast<unsigned>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += static_cast<char>(bits >> count);
      bits &= (1u << count) - 1;
    }
  }
  return out;
}

}  // namespace

std::optional<std::string> broker_of_recall_handle(std::string_view handle) {
  const auto text = decoded(handle);
  if (!text) return std::nullopt;
  std::vector<std::string_view> words;
  for (std::string_view rest = *text; !rest.empty();) {
    const std::size_t blank = std::min(rest.find(' '), rest.size());
    words.push_back(rest.substr(0, blank));
    rest.remove_prefix(std::min(blank + 1, rest.size()));
  }
  if (words.size() != 5 || words[0] != "v1" || words[2].empty()) return std::nullopt;
  return std::string{words[2]};
}

}  // namespace apogee::client
