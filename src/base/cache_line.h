#pragma once

#include <cstddef>

namespace apogee {

/// Of x86-64 and most ARM64 processors, in bytes. A constant of ours, since GCC's
/// hardware_destructive_interference_size may be another one in another file of a program.
inline constexpr std::size_t kCacheLine = 64;

}  // namespace apogee
