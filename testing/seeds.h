#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>

namespace apogee::testing {

/// Which seeds a test tries: 1 up to `last`, up to APOGEE_SEEDS when a night is long, or the one in
/// APOGEE_SEED, which repeats it.
struct Seeds {
  std::uint64_t first = 1, last;

  explicit Seeds(std::uint64_t usual_last) : last{usual_last} {
    if (const char* const count = std::getenv("APOGEE_SEEDS")) last = std::stoull(count);
    if (const char* const only = std::getenv("APOGEE_SEED")) first = last = std::stoull(only);
  }
};

}  // namespace apogee::testing
