#include "client/unique_id.h"

#include <array>
#include <cstring>
#include <ctime>

#include <unistd.h>

#include "base/bytes.h"
#include "protocol/message.h"

namespace apogee::client {
namespace {

using Digits = std::array<char, 2>;
constexpr auto kHex = [] {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::array<Digits, 256> of_byte{};
  for (std::size_t byte = 0; byte < of_byte.size(); ++byte)
    of_byte[byte] = {kDigits[byte >> 4], kDigits[byte & 0xF]};
  return of_byte;
}();

/// The last so many bytes of `value`. The end of what is written.
char* write_hex(char* at, std::uint64_t value, std::size_t bytes) {
  for (std::size_t left = bytes; left-- > 0; at += sizeof(Digits))
    std::memcpy(at, kHex[(value >> left * 8) & 0xFF].data(), sizeof(Digits));
  return at;
}
void append_hex(std::string& out, std::uint64_t value, std::size_t bytes) {
  const std::size_t begin = out.size();
  out.resize(begin + 2 * bytes);
  write_hex(out.data() + begin, value, bytes);
}

}  // namespace

Month month_of(std::int64_t wall_ms) {
  const std::time_t seconds = wall_ms / 1'000;
  std::tm local{};
  ::localtime_r(&seconds, &local);
  const auto first_of = [&](int month) {
    std::tm day{};
    day.tm_year = local.tm_year;
    day.tm_mon = month;
    day.tm_mday = 1;
    day.tm_isdst = -1;
    return static_cast<std::int64_t>(std::mktime(&day)) * 1'000;
  };
  return {first_of(local.tm_mon), first_of(local.tm_mon + 1)};
}

UniqueIds::UniqueIds(Env& env, const std::string& address) : clock_{env.clock} {
  const protocol::Host host = protocol::host_from(address, 0);
  for (const char each : host.address) append_hex(prefix_, static_cast<unsigned char>(each), 1);
  append_hex(prefix_, static_cast<std::uint64_t>(::getpid()) & 0xFFFF, 2);
  append_hex(prefix_, env.random.next() & 0xFFFF'FFFF, 4);
  enter_month(clock_.wall_ms());  // here, not by all who send first at the same time
}

void UniqueIds::enter_month(std::int64_t now) {
  const Month month = month_of(now);
  month_begins_ms_.store(month.begins_ms, std::memory_order_relaxed);
  month_ends_ms_.store(month.ends_ms, std::memory_order_relaxed);
}

std::string UniqueIds::next() {
  std::string id;
  next(id, clock_.wall_ms());
  return id;
}

void UniqueIds::next(std::string& id, std::int64_t now) {
  if (now >= month_ends_ms_.load(std::memory_order_relaxed)) enter_month(now);
  // A clock set back over the turn of a month gives no negative time.
  const auto since =
      std::max<std::int64_t>(0, now - month_begins_ms_.load(std::memory_order_relaxed));
  constexpr std::size_t kTimeBytes = 4, kCounterBytes = 2;
  id.resize(prefix_.size() + 2 * (kTimeBytes + kCounterBytes));
  char* at = copy_text(id.data(), prefix_);
  at = write_hex(at, static_cast<std::uint64_t>(since), kTimeBytes);
  write_hex(at, counter_.fetch_add(1, std::memory_order_relaxed), kCounterBytes);
}

}  // namespace apogee::client
