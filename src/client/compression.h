#pragma once

#include <cstdint>

#include "apogee/producer.h"
#include "apogee/result.h"
#include "base/bytes.h"

/// Bodies, compressed as Java's clients do it. Pure.
namespace apogee::client {

/// Largest body decompressed() makes: a few hostile bytes must not cost all memory.
inline constexpr std::size_t kDecompressedBytesMax = 256 << 20;

/// `level`: as the method understands it (zlib 0..9, zstd 1..22; LZ4 has none).
Result<Buffer> compressed(Bytes body, Compression method, int level);

/// The bits of a message's system flag that say "compressed" and how.
std::int32_t sys_flag_of(Compression method);

/// Undoes what the message's system flag says was done. No type bits mean zlib, as before 4.9.4.
/// kMalformed: not such data, or more than kDecompressedBytesMax. kUnsupported: an unknown type.
Result<Buffer> decompressed(Bytes body, std::int32_t sys_flag);

}  // namespace apogee::client
