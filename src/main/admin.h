#pragma once

#include <span>
#include <string>

namespace apogee {

/// `apogee admin COMMAND`: mqadmin's commands by its names and flags, or by two words (`topic
/// list`). Exit code 0 fine, 1 failed, 2 usage.
int run_admin(std::span<const std::string> args);
/// `apogee completion bash|zsh`.
int run_completion(std::span<const std::string> args);

}  // namespace apogee
