#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/file.h"

/// What tests of damaged stores share: which bytes there are to damage, and which damage of a
/// record nobody can see.
namespace apogee::crash {

/// Every file that is not empty, and its length.
std::map<std::string, std::uint64_t> files_below(FileSystem& files, const std::string& directory);

/// How far the places that are tried are apart: APOGEE_DAMAGE=full tries them all.
std::uint64_t step();

/// Fails where a record is given out that differs from what was sent elsewhere than in the parts
/// that Apache's format has no checksum for and no second place tells: flipped there, a message is
/// given out as it stands (docs/durability.md), unless it ends with __CRC32#
/// (enabledAppendPropCRC). Everything else is checked.
void expect_unseen_damage_only(std::string_view is, std::string_view was);

}  // namespace apogee::crash
