#include "remoting/proxy_protocol.h"

#include <random>

#include <gtest/gtest.h>

namespace apogee::remoting {
namespace {

using namespace std::literals;

std::string v2(char command, char family, std::string_view addresses) {
  std::string bytes = "\r\n\r\n\0\r\nQUIT\n"s;
  bytes += command;
  bytes += family;
  bytes += static_cast<char>(addresses.size() >> 8);
  bytes += static_cast<char>(addresses.size());
  return bytes + std::string{addresses};
}
const auto kV4Addresses = "\x0a\x01\x02\x03\x7f\x00\x00\x01\x1f\x90\x27\x74"sv;  // 10.1.2.3:8080

TEST(ProxyHeader, IsNotThereOnAnOrdinaryConnection) {
  const auto header = read_proxy_header(as_bytes("\0\0\1\2\0\0\0\7{}"sv));
  ASSERT_TRUE(header);
  EXPECT_FALSE(header->wait);
  EXPECT_EQ(header->size, 0u);
}

TEST(ProxyHeader, NamesItsSourceInEveryForm) {
  struct Case {
    std::string bytes;
    const char* source;
  };
  const std::vector<Case> cases{
      {"PROXY TCP4 10.1.2.3 10.9.9.9 8080 10911\r\n", "10.1.2.3:8080"},
      {"PROXY TCP6 2001:db8::7 ::1 8080 10911\r\n", "[2001:db8::7]:8080"},
      {"PROXY UNKNOWN\r\n", ""},
      {"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", ""},
      {v2(0x21, 0x11, kV4Addresses), "10.1.2.3:8080"},
      {v2(0x21, 0x11, std::string{kV4Addresses} + "\x04\x00\x01x"s), "10.1.2.3:8080"},  // and a TLV
      {v2(0x21, 0x21,
          "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07"
          "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x1f\x90\x27\x74"sv),
       "[2001:db8::7]:8080"},
      {v2(0x20, 0x00, ""), ""},
      {v2(0x21, 0x31, std::string(216, 'u')), ""},  // a UNIX socket
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(each.bytes);
    const auto header = read_proxy_header(as_bytes(each.bytes + "rest"));
    ASSERT_TRUE(header) << header.error().detail;
    EXPECT_EQ(header->size, each.bytes.size());
    EXPECT_EQ(header->source, each.source);
    for (std::size_t n = 1; n < each.bytes.size(); ++n) {
      const auto begun = read_proxy_header(as_bytes(std::string_view{each.bytes}.substr(0, n)));
      ASSERT_TRUE(begun) << n;
      EXPECT_TRUE(begun->wait) << n;
    }
  }
}

TEST(ProxyHeader, IsRefusedWhenItOnlyBeginsLikeOne) {
  for (const std::string& bytes :
       {"PROXY TCP4 10.1.2.3 10.9.9.9 8080\r\n"s, "PROXY TCP4 here there 1 2\r\n"s,
        "PROXY TCP4 10.1.2.3 10.9.9.9 99999 1\r\n"s, "PROXY TCP5 1 2 3 4\r\n"s,
        "PROXY "s + std::string(200, 'x'), v2(0x31, 0x11, kV4Addresses),
        v2(0x22, 0x11, kV4Addresses), v2(0x21, 0x11, "\x0a\x01"sv),
        v2(0x21, 0x11, std::string(5'000, 'x'))}) {
    SCOPED_TRACE(bytes);
    EXPECT_FALSE(read_proxy_header(as_bytes(bytes)));
  }
}

TEST(ProxyHeader, NeverReadsBeyondWhatIsThere) {
  std::mt19937_64 random{1};
  const std::string good = v2(0x21, 0x11, kV4Addresses);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = good.substr(0, random() % (good.size() + 1));
    for (int flips = static_cast<int>(random() % 3); flips > 0 && !bytes.empty(); --flips)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    const std::vector<char> exact(bytes.begin(), bytes.end());  // the sanitizer sees its end
    const auto header = read_proxy_header(as_bytes(std::string_view{exact.data(), exact.size()}));
    if (header) {
      EXPECT_LE(header->size, exact.size());
    }
  }
}

}  // namespace
}  // namespace apogee::remoting
