#pragma once

#include <span>
#include <string>

/// `apogee inspect`: look into a store directory while no broker runs on it.
namespace apogee {

/// `args` are the words behind `inspect`. Prints to standard output and standard error; returns the
/// exit code: 0 fine, 1 the check found damage, 2 wrong usage or a store that cannot be read.
int run_inspect(std::span<const std::string> args);

}  // namespace apogee
