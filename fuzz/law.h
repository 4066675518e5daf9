#pragma once

#include <cstdio>
#include <cstdlib>
#include <source_location>

namespace apogee::fuzz {

/// What must hold whatever the input: else the fuzzer stops and the report names the place.
inline void require(bool law, std::source_location where = std::source_location::current()) {
  if (law) return;
  std::fprintf(stderr, "%s:%u: the law does not hold\n", where.file_name(), where.line());
  std::abort();
}

}  // namespace apogee::fuzz
