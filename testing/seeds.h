#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>

namespace apogee::testing {

/// Which seeds a test tries: 1 up to `last`, up to APOGEE_SEEDS when a night is long, or the one in
/// APOGEE_SEED, which repeats it; of a range such as 1000-9999, all.
struct Seeds {
  std::uint64_t first = 1, last;

  explicit Seeds(std::uint64_t usual_last) : last{usual_last} {
    if (const char* const count = std::getenv("APOGEE_SEEDS")) last = std::stoull(count);
    if (const char* const only = std::getenv("APOGEE_SEED")) {
      const std::string range{only};
      first = std::stoull(range);
      last = std::stoull(range.substr(range.find('-') + 1));  // all of it where there is no '-'
    }
  }
};

}  // namespace apogee::testing
