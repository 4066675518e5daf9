#pragma once

#include <cstdint>
#include <optional>

#include "apogee/result.h"
#include "base/bytes.h"

/// The CRC of a whole record, in the property __CRC32# that it then ends with: all that stands
/// before it counts, the fields no other check covers, too (CommitLog.doAppend with
/// enabledAppendPropCRC). Pure functions over bytes.
namespace apogee::protocol {

/// Appends `record` to `out`, with room for the property behind its own; one that came with it is
/// left out. kMalformed: no record. kInvalidArgument: the properties become too long.
Result<Ok> append_with_crc_room(Buffer& out, Bytes record);

/// Writes the CRC of a record with room for it, once nothing before it changes any more.
void fill_in_record_crc(MutableBytes record);

/// nullopt: the record has none.
std::optional<bool> record_crc_matches(Bytes record);

}  // namespace apogee::protocol
