#include "protocol/recall_handle.h"

#include <vector>

#include <fmt/format.h>

namespace apogee::protocol {
namespace {

constexpr std::string_view kDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

std::string base64url(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); at += 3) {
    const std::string_view some = text.substr(at, 3);
    unsigned bits = 0;
    for (std::size_t i = 0; i < 3; ++i)
      bits = bits << 8 | (i < some.size() ? static_cast<unsigned char>(some[i]) : 0U);
    for (std::size_t i = 0; i < 4; ++i)
      out += i <= some.size() ? kDigits[bits >> (18 - 6 * i) & 63U] : '=';
  }
  return out;
}

std::optional<std::string> from_base64url(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string out;
  unsigned bits = 0;
  int count = 0;
  for (const char each : text) {
    const std::size_t value = kDigits.find(each);
    if (value == std::string_view::npos) return std::nullopt;
    bits = bits << 6 | static_cast<unsigned>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>(bits >> count & 0xFFU);
    bits &= (1U << count) - 1;
  }
  return out;
}

}  // namespace

std::string encode_recall_handle(const RecallHandle& handle) {
  return base64url(fmt::format("v1 {} {} {} {}", handle.topic, handle.broker_name, handle.timestamp,
                               handle.message_id));
}

std::optional<RecallHandle> parse_recall_handle(std::string_view text) {
  const auto plain = from_base64url(text);
  if (!plain) return std::nullopt;
  std::vector<std::string> words;
  for (std::string_view rest = *plain; !rest.empty();) {
    const std::size_t blank = std::min(rest.find(' '), rest.size());
    words.emplace_back(rest.substr(0, blank));
    rest.remove_prefix(std::min(blank + 1, rest.size()));
  }
  if (words.size() < 5 || words[0] != "v1") return std::nullopt;
  return RecallHandle{words[1], words[2], words[3], words[4]};
}

}  // namespace apogee::protocol
