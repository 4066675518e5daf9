#include "client/unique_id.h"

#include <ctime>

#include <unistd.h>

#include "protocol/message.h"

namespace apogee::client {
namespace {

constexpr char kHex[] = "0123456789ABCDEF";

void append_hex(std::string& out, std::uint64_t value, int bytes) {
  for (int shift = bytes * 8 - 4; shift >= 0; shift -= 4) out += kHex[(value >> shift) & 0xF];
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
  const std::int64_t now = clock_.wall_ms();
  if (now >= month_ends_ms_.load(std::memory_order_relaxed)) enter_month(now);
  // A clock set back over the turn of a month gives no negative time.
  const auto since =
      std::max<std::int64_t>(0, now - month_begins_ms_.load(std::memory_order_relaxed));
  std::string id;
  id.reserve(prefix_.size() + 12);
  id = prefix_;
  append_hex(id, static_cast<std::uint64_t>(since), 4);
  append_hex(id, counter_.fetch_add(1, std::memory_order_relaxed), 2);
  return id;
}

}  // namespace apogee::client
