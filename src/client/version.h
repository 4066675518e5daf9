#pragma once

namespace apogee::client {

/// The release of the Java client whose rules this one keeps; said where Java's says its own.
inline constexpr const char* kVersion = "V5_5_0";

}  // namespace apogee::client
