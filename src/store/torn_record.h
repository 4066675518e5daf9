#pragma once

#include "protocol/message.h"

namespace apogee::store {

/// Did a power cut leave part of the record unwritten? The CRC covers the body alone; sectors of
/// topic and properties that never came are zeros, which no name and no property is.
bool is_torn(Bytes file, std::size_t record_at, const protocol::Message& message);

}  // namespace apogee::store
