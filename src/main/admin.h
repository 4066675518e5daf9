#pragma once

#include <cstdio>
#include <span>
#include <string>

namespace apogee {

/// `apogee admin COMMAND`: mqadmin's commands by its names and flags, or by two words (`topic
/// list`).
namespace exit_code {
inline constexpr int kDone = 0;
inline constexpr int kRefused = 1;      ///< A server said no, or some of several brokers did.
inline constexpr int kUsage = 2;        ///< Nothing was asked of anybody.
inline constexpr int kNotThere = 3;     ///< The topic, group, message, ... does not exist.
inline constexpr int kUnreachable = 4;  ///< Nobody answered in time.
}  // namespace exit_code

int run_admin(std::span<const std::string> args);
/// With its output elsewhere. `terminal`: colour, and progress on `err`.
int run_admin(std::span<const std::string> args, std::FILE* out, std::FILE* err, bool terminal);
/// `apogee completion bash|zsh`.
int run_completion(std::span<const std::string> args);

}  // namespace apogee
