#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace apogee::fuzz {

/// Takes numbers and pieces from the fuzzer's bytes; zeros once they have ended.
struct Input {
  Bytes rest;

  std::uint32_t next(std::uint32_t bound) {
    std::uint32_t value = 0;
    for (std::uint32_t left = bound - 1; left > 0 && !rest.empty(); left >>= 8) {
      value = value << 8 | static_cast<std::uint32_t>(rest.front());
      rest = rest.subspan(1);
    }
    return value % bound;
  }
  /// A number as somebody hostile would write it.
  std::int64_t number() {
    std::int64_t value = 0;
    for (int i = 0; i < 8 && !rest.empty(); ++i, rest = rest.subspan(1))
      value = static_cast<std::int64_t>(static_cast<std::uint64_t>(value) << 8 |
                                        static_cast<std::uint64_t>(rest.front()));
    return value;
  }
  Bytes take(std::size_t bytes) {
    const Bytes piece = rest.first(std::min(bytes, rest.size()));
    rest = rest.subspan(piece.size());
    return piece;
  }
};

}  // namespace apogee::fuzz
