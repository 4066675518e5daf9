#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

/// Bytes and big-endian integers. RocketMQ's wire and files are big-endian throughout.
namespace apogee {

using Bytes = std::span<const std::byte>;   ///< Borrowed bytes.
using MutableBytes = std::span<std::byte>;  ///< Borrowed bytes that may be written.
using Buffer = std::string;                 ///< Owned bytes; grows at the end.

inline Bytes as_bytes(std::string_view text) {
  return std::as_bytes(std::span{text.data(), text.size()});
}
inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <class Int>
constexpr Int swap_to_big(Int value) {
  if constexpr (sizeof(Int) == 1)
    return value;
  else if constexpr (sizeof(Int) == 2)
    return static_cast<Int>(__builtin_bswap16(static_cast<std::uint16_t>(value)));
  else if constexpr (sizeof(Int) == 4)
    return static_cast<Int>(__builtin_bswap32(static_cast<std::uint32_t>(value)));
  else
    return static_cast<Int>(__builtin_bswap64(static_cast<std::uint64_t>(value)));
}

/// Reads a big-endian integer at `at`; the caller has checked that it is inside `in`.
template <class Int>
Int read_big(Bytes in, std::size_t at = 0) {
  Int value;
  std::memcpy(&value, in.data() + at, sizeof value);
  return swap_to_big(value);
}

/// Writes a big-endian integer at `at`; the caller has checked that it fits into `out`.
template <class Int>
void write_big(MutableBytes out, std::size_t at, Int value) {
  value = swap_to_big(value);
  std::memcpy(out.data() + at, &value, sizeof value);
}

template <class Int>
void append_big(Buffer& out, Int value) {
  value = swap_to_big(value);
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

namespace bytes_detail {
/// The first and the last Word of what has at least one, which may overlap.
template <class Word>
void copy_ends(char* to, const char* from, std::size_t size) {
  Word first, last;
  std::memcpy(&first, from, sizeof first);
  std::memcpy(&last, from + size - sizeof last, sizeof last);
  std::memcpy(to, &first, sizeof first);
  std::memcpy(to + size - sizeof last, &last, sizeof last);
}
}  // namespace bytes_detail

/// Copies a text to where there is room for it; no call for a short one, as most are. Its end.
inline char* copy_text(char* to, std::string_view text) {
  const char* const from = text.data();
  const std::size_t size = text.size();
  if (size > 2 * sizeof(std::uint64_t))
    std::memcpy(to, from, size);
  else if (size >= sizeof(std::uint64_t))
    bytes_detail::copy_ends<std::uint64_t>(to, from, size);
  else if (size >= sizeof(std::uint32_t))
    bytes_detail::copy_ends<std::uint32_t>(to, from, size);
  else if (size > 0) {
    to[0] = from[0];
    to[size / 2] = from[size / 2];
    to[size - 1] = from[size - 1];
  }
  return to + size;
}

inline void append(Buffer& out, Bytes bytes) {
  out.append(as_text(bytes));
}

}  // namespace apogee
