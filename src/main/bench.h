#pragma once

#include <span>
#include <string>

namespace apogee {

/// `apogee bench send|pull|...`: load for a broker. Exit code 0 fine, 1 errors were answered or the
/// broker is not there, 2 usage.
int run_bench(std::span<const std::string> args);
/// What can be measured, in one line.
std::string bench_names();

}  // namespace apogee
