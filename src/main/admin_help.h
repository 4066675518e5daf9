#pragma once

#include <string>

#include "main/admin_command.h"

/// Texts made from the declarations of the commands. Pure.
namespace apogee {

std::string admin_help();
std::string admin_help(const AdminCommand& command);

}  // namespace apogee
