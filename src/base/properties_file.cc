#include "base/properties_file.h"

#include <map>

namespace apogee {
namespace {

constexpr std::uint64_t kFileBytesMax = 1 << 20;

/// Backslashes and line breaks, and what else ends a key or is skipped ahead of a value.
void append_escaped(std::string& line, std::string_view text, std::string_view special) {
  for (const char each : text) {
    if (each == '\n')
      line += "\\n";
    else if (each == '\r')
      line += "\\r";
    else if (each == '\\' || special.find(each) != std::string_view::npos)
      line += {'\\', each};
    else
      line += each;
  }
}

}  // namespace

Result<std::vector<Property>> read_properties(FileSystem& files, const std::string& path) {
  auto text = read_file(files, path, kFileBytesMax);
  if (!text) return text.error();
  auto properties = parse_properties(*text);
  if (!properties) return Error{Errc::kMalformed, path + ": " + properties.error().detail};
  return properties;
}

std::string property_line(std::string_view key, std::string_view value) {
  constexpr std::string_view kBlanks = " \t\f";
  std::string line;
  append_escaped(line, key, "=: \t\f#!");
  line += '=';
  const std::size_t leading = std::min(value.find_first_not_of(kBlanks), value.size());
  // One is enough: what follows it is the value.
  append_escaped(line, value.substr(0, std::min<std::size_t>(leading, 1)), kBlanks);
  append_escaped(line, value.substr(std::min<std::size_t>(leading, 1)), {});
  return line += '\n';
}

Result<Ok> write_options(FileSystem& files, const std::string& path,
                         const std::vector<OptionView>& options) {
  std::map<std::string_view, std::string_view> values;
  for (const OptionView& each : options)
    if (!each.ignored) values.emplace(each.name, each.value);
  std::string text;
  for (const auto& [name, value] : values) text += property_line(name, value);
  const auto before = read_properties(files, path);
  if (!before && before.error().code != Errc::kNotFound) return before.error();
  if (before) {
    for (const Property& each : *before)
      if (!values.contains(each.key)) text += property_line(each.key, each.value);
  } else {
    // The text may hold a key's password. replace_file() takes what it finds at this name, and so
    // its mode, which nobody but the owner can read.
    if (auto made = files.open_successor(path + ".tmp", path); !made) return made.error();
  }
  return replace_file(files, path, text);
}

}  // namespace apogee
