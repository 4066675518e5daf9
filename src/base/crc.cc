#include "base/crc.h"

#include <libdeflate.h>

namespace apogee {

std::int32_t crc32_positive(Bytes bytes) {
  return static_cast<std::int32_t>(libdeflate_crc32(0, bytes.data(), bytes.size()) & 0x7FFF'FFFF);
}

}  // namespace apogee
