#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>

namespace apogee::testing {

/// Every `of`th: a test in parts runs on as many cores as there are, each part with its own time
/// limit.
struct PartOfSeeds {
  std::uint64_t index = 0, of = 1;
};

/// Which seeds a test tries: 1 up to `last`, up to APOGEE_SEEDS when a night is long, or the one in
/// APOGEE_SEED, which repeats it; of a range such as 1000-9999, all.
struct Seeds {
  std::uint64_t first = 1, last, step;

  explicit Seeds(std::uint64_t usual_last, PartOfSeeds part = {})
      : last{usual_last}, step{part.of} {
    if (const char* const count = std::getenv("APOGEE_SEEDS")) last = std::stoull(count);
    if (const char* const only = std::getenv("APOGEE_SEED")) {
      const std::string range{only};
      first = std::stoull(range);
      last = std::stoull(range.substr(range.find('-') + 1));  // all of it where there is no '-'
    }
    first += part.index;
  }
};

}  // namespace apogee::testing
