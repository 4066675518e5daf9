#pragma once

#include <string>
#include <string_view>

/// Bytes a stranger has sent, for people and for readers of JSON.
namespace apogee {

/// Valid UTF-8.
bool is_text(std::string_view bytes);
std::string hex(std::string_view bytes);
/// As much of a text as fits, and no part of a character.
std::string_view beginning(std::string_view text, std::size_t bytes_max);

}  // namespace apogee
