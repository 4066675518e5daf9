#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/env.h"

namespace apogee::client {

/// Message ids (UNIQ_KEY) as Java's MessageClientIDSetter makes them, so that tools can read
/// address and time out of them: upper-case hex of the address (4 or 16 bytes), the low 2 bytes of
/// the process id, 4 bytes of this maker's own, 4 bytes of milliseconds since the month began
/// (local time) and a counter of 2 bytes.
///
/// Threads: any.
class UniqueIds {
 public:
  /// `address`: this machine's, numeric.
  UniqueIds(Env& env, const std::string& address);
  std::string next();
  /// Into `id`'s memory; `now` is the clock's wall time in milliseconds.
  void next(std::string& id, std::int64_t now);

 private:
  void enter_month(std::int64_t now);

  Clock& clock_;
  std::string prefix_;  // hex of address, process and this maker
  std::atomic<std::uint32_t> counter_{0};
  std::atomic<std::int64_t> month_begins_ms_{0}, month_ends_ms_{0};
};

/// The first instant of the month `wall_ms` lies in, and of the next, in local time.
struct Month {
  std::int64_t begins_ms = 0, ends_ms = 0;
};
Month month_of(std::int64_t wall_ms);

}  // namespace apogee::client
