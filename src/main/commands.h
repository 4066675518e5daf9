#pragma once

#include <span>
#include <string>

/// The subcommands of `apogee`. Each gets the words behind its name, prints to standard output and
/// standard error, and returns the exit code: 0 fine, 1 failed, 2 wrong usage.
namespace apogee {

int run_server(std::span<const std::string> args);
int run_namesrv(std::span<const std::string> args);
int run_broker(std::span<const std::string> args);
int run_reference(std::span<const std::string> args);

}  // namespace apogee
