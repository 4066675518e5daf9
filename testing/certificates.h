#pragma once

#include <string>

namespace apogee::testing {

/// A certificate and its private key, PEM.
struct Identity {
  std::string certificate, key;
};

/// An authority that signs itself, good for a day.
Identity make_authority(const std::string& name);
/// A certificate for `host` (a name or an address), signed by `authority`. `password`: encrypts the
/// key.
Identity issue(const Identity& authority, const std::string& host,
               const std::string& password = {});

}  // namespace apogee::testing
