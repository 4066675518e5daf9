#include "remoting/proxy_protocol.h"

#include <vector>

#include <arpa/inet.h>

#include "base/transport.h"

namespace apogee::remoting {
namespace {

constexpr std::string_view kTextMark = "PROXY ";
constexpr std::size_t kTextBytesMax = 107;  // of a whole line, by the specification
constexpr std::string_view kBinaryMark{"\r\n\r\n\0\r\nQUIT\n", 12};
constexpr std::size_t kBinaryHead = 16;
constexpr std::size_t kBinaryBytesMax = 4'096;  // addresses and whatever a balancer adds

Error malformed(const char* what) {
  return Error{Errc::kMalformed, std::string{"a PROXY header "} + what};
}

/// "PROXY TCP4 source destination sourceport destinationport\r\n", "PROXY UNKNOWN ...\r\n".
Result<ProxyHeader> read_text(std::string_view text) {
  const std::size_t end = text.substr(0, kTextBytesMax).find("\r\n");
  if (end == std::string_view::npos) {
    if (text.size() >= kTextBytesMax) return malformed("without end");
    return ProxyHeader{.wait = true};
  }
  std::vector<std::string_view> words;
  for (std::string_view rest = text.substr(0, end); !rest.empty();) {
    const std::size_t blank = std::min(rest.find(' '), rest.size());
    words.push_back(rest.substr(0, blank));
    rest.remove_prefix(std::min(blank + 1, rest.size()));
  }
  ProxyHeader header{.size = end + 2};
  if (words.size() >= 2 && words[1] == "UNKNOWN") return header;
  if (words.size() != 6 || (words[1] != "TCP4" && words[1] != "TCP6"))
    return malformed("of an unknown form");
  in6_addr address{};
  const int family = words[1] == "TCP4" ? AF_INET : AF_INET6;
  if (inet_pton(family, std::string{words[2]}.c_str(), &address) != 1)
    return malformed("with no address for its source");
  auto source = parse_endpoint(
      (family == AF_INET6 ? "[" + std::string{words[2]} + "]" : std::string{words[2]}) + ":" +
      std::string{words[4]});
  if (!source) return malformed("with no port for its source");
  header.source = to_string(*source);
  return header;
}

Result<ProxyHeader> read_binary(Bytes begin) {
  if (begin.size() < kBinaryHead) return ProxyHeader{.wait = true};
  const auto version_and_command = std::to_integer<unsigned>(begin[12]);
  const auto family = std::to_integer<unsigned>(begin[13]);
  const std::size_t length = read_big<std::uint16_t>(begin, 14);
  if (version_and_command != 0x20 && version_and_command != 0x21)
    return malformed("of an unknown version or command");
  if (length > kBinaryBytesMax) return malformed("that is too long");
  if (begin.size() < kBinaryHead + length) return ProxyHeader{.wait = true};
  ProxyHeader header{.size = kBinaryHead + length};
  if (version_and_command == 0x20) return header;  // the balancer itself, e.g. a health check
  const bool v4 = family >> 4 == 1, v6 = family >> 4 == 2;
  if (!v4 && !v6) return header;
  const std::size_t address = v4 ? 4 : 16;
  if (length < 2 * address + 4) return malformed("with too few bytes for its addresses");
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(v4 ? AF_INET : AF_INET6, begin.data() + kBinaryHead, text, sizeof text);
  header.source =
      to_string(Endpoint{text, read_big<std::uint16_t>(begin, kBinaryHead + 2 * address)});
  return header;
}

/// Could `text` still become `mark`, or is it already?
bool begins_like(std::string_view text, std::string_view mark) {
  return text.starts_with(mark.substr(0, std::min(mark.size(), text.size())));
}

}  // namespace

Result<ProxyHeader> read_proxy_header(Bytes begin) {
  const std::string_view text = as_text(begin);
  if (begins_like(text, kTextMark)) return read_text(text);
  if (begins_like(text, kBinaryMark)) return read_binary(begin);
  return ProxyHeader{};
}

}  // namespace apogee::remoting
