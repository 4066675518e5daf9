#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace apogee {

/// CRC-32 (IEEE, as zlib's) with the sign bit cleared: RocketMQ's UtilAll.crc32.
std::int32_t crc32_positive(Bytes bytes);

}  // namespace apogee
