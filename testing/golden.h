#pragma once

#include <fstream>
#include <map>
#include <string>

#include "base/bytes.h"

namespace apogee::testing {

inline Buffer from_hex(std::string_view hex) {
  Buffer bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(std::string{hex.substr(i, 2)}, nullptr, 16));
  return bytes;
}

/// A file of recorded bytes, of tests/golden: a name, a tab and hexadecimal digits a line.
inline std::map<std::string, Buffer> read_golden(const std::string& path) {
  std::map<std::string, Buffer> lines;
  std::ifstream file{path};
  for (std::string line; std::getline(file, line);) {
    const std::size_t tab = line.find('\t');
    lines[line.substr(0, tab)] = from_hex(std::string_view{line}.substr(tab + 1));
  }
  return lines;
}

}  // namespace apogee::testing
