#include "base/options.h"

#include <algorithm>
#include <charconv>
#include <numeric>

namespace apogee {
namespace {

/// A request may bring a text of megabytes: what is told of it is how it begins.
std::string in_short(std::string_view text) {
  constexpr std::size_t kShown = 100;
  return std::string{text.substr(0, kShown)} + (text.size() > kShown ? "..." : "");
}

Error refused(std::string_view name, std::string_view text, const std::string& why) {
  return Error{Errc::kInvalidArgument, std::string{name} + "=" + in_short(text) + " is " + why};
}

}  // namespace

namespace options_detail {

Result<std::int64_t> parse_integer(std::string_view name, std::string_view text, std::int64_t least,
                                   std::int64_t most) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size())
    return refused(name, text, "not a whole number");
  if (value < least || value > most)
    return refused(name, text,
                   "out of range: " + std::to_string(least) + ".." + std::to_string(most));
  return value;
}

Result<bool> parse_bool(std::string_view name, std::string_view text) {
  if (text == "true" || text == "TRUE" || text == "True") return true;
  if (text == "false" || text == "FALSE" || text == "False") return false;
  return refused(name, text, "neither true nor false");
}

Result<double> parse_double(std::string_view name, std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size())
    return refused(name, text, "not a number");
  return value;
}

Error bad_choice(std::string_view name, std::string_view text, const std::string& choices) {
  return refused(name, text, "none of " + choices);
}

}  // namespace options_detail

namespace {

/// Reads logical lines: comments and blank lines dropped, continuation lines joined.
class PropertyLines {
 public:
  explicit PropertyLines(std::string_view text) : rest_{text} {}
  /// nullopt at the end. The line's number is that of its first physical line.
  std::optional<std::pair<std::string, int>> next() {
    std::string logical;
    int first = 0;
    while (!rest_.empty()) {
      std::string_view line = physical();
      const auto start = line.find_first_not_of(" \t\f");
      line = start == std::string_view::npos ? std::string_view{} : line.substr(start);
      if (logical.empty() && (line.empty() || line.front() == '#' || line.front() == '!')) continue;
      if (first == 0) first = number_;
      std::size_t slashes = 0;
      while (slashes < line.size() && line[line.size() - 1 - slashes] == '\\') ++slashes;
      if (slashes % 2 == 1) {
        logical += line.substr(0, line.size() - 1);
        continue;
      }
      logical += line;
      return std::pair{std::move(logical), first};
    }
    if (logical.empty()) return std::nullopt;
    return std::pair{std::move(logical), first};
  }

 private:
  std::string_view physical() {
    const auto end = rest_.find_first_of("\r\n");
    const std::string_view line = rest_.substr(0, end);
    if (end == std::string_view::npos)
      rest_ = {};
    else
      rest_.remove_prefix(rest_.substr(end, 2) == "\r\n" ? end + 2 : end + 1);
    ++number_;
    return line;
  }
  std::string_view rest_;
  int number_ = 0;
};

void append_utf8(std::string& out, unsigned code) {
  if (code < 0x80)
    out += static_cast<char>(code);
  else if (code < 0x800)
    out += {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
  else
    out += {static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3F)),
            static_cast<char>(0x80 | (code & 0x3F))};
}

Result<std::string> unescape(std::string_view text, int line) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    switch (const char c = text[++i]) {
      case 't':
        out += '\t';
        break;
      case 'n':
        out += '\n';
        break;
      case 'r':
        out += '\r';
        break;
      case 'f':
        out += '\f';
        break;
      case 'u': {
        unsigned code = 0;
        const auto digits = text.substr(i + 1, 4);
        const auto [end, error] =
            std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
        if (digits.size() != 4 || error != std::errc{} || end != digits.data() + 4)
          return Error{Errc::kMalformed,
                       "line " + std::to_string(line) + ": \\u wants four hexadecimal digits"};
        append_utf8(out, code);
        i += 4;
        break;
      }
      default:
        out += c;
    }
  }
  return out;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + ((a[i - 1] | 0x20) == (b[j - 1] | 0x20) ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

Result<std::vector<Property>> parse_properties(std::string_view text) {
  std::vector<Property> properties;
  PropertyLines lines{text};
  while (auto line = lines.next()) {
    const std::string& logical = line->first;
    std::size_t end = 0;
    while (end < logical.size() &&
           std::string_view{"=: \t\f"}.find(logical[end]) == std::string_view::npos)
      end += logical[end] == '\\' ? 2 : 1;
    end = std::min(end, logical.size());
    std::size_t value = std::min(logical.find_first_not_of(" \t\f", end), logical.size());
    if (value < logical.size() && (logical[value] == '=' || logical[value] == ':'))
      value = std::min(logical.find_first_not_of(" \t\f", value + 1), logical.size());
    auto key = unescape(std::string_view{logical}.substr(0, end), line->second);
    if (!key) return key.error();
    auto content = unescape(std::string_view{logical}.substr(value), line->second);
    if (!content) return content.error();
    // Java's setters get the text as it is; a blank behind a number is an operator's slip, not a
    // value.
    while (!content->empty() && (content->back() == ' ' || content->back() == '\t'))
      content->pop_back();
    properties.push_back({*std::move(key), *std::move(content), line->second});
  }
  return properties;
}

std::string unknown_key(std::string_view key, const std::vector<OptionView>& options) {
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(2, key.size() / 3) + 1;
  for (const OptionView& option : options) {
    const auto [shorter, longer] = std::minmax({key.size(), option.name.size()});
    if (longer - shorter >= best_distance) continue;  // it is no less than that
    const std::size_t distance = edit_distance(key, option.name);
    if (distance < best_distance) {
      best_distance = distance;
      best = option.name;
    }
  }
  std::string text = "unknown key " + in_short(key);
  if (!best.empty()) text += "; did you mean " + std::string{best} + "?";
  return text;
}

Result<Ok> apply_properties(const std::vector<Property>& properties,
                            std::vector<OptionView>& options, std::string_view file, bool lenient,
                            std::vector<std::string>& warnings) {
  std::vector<std::string> problems, unsupported;
  for (const Property& property : properties) {
    const std::string where = std::string{file} + ":" + std::to_string(property.line) + ": ";
    // One key may be declared by several structs (listenPort of the broker and of its server): all
    // get it.
    bool known = false;
    for (OptionView& option : options) {
      if (option.name != property.key) continue;
      known = true;
      if (auto set = option.set(property.value); !set)
        (set.error().code == Errc::kUnsupported ? unsupported : problems)
            .push_back(where + set.error().detail);
    }
    if (!known) problems.push_back(where + unknown_key(property.key, options));
  }
  if (lenient) {
    warnings.insert(warnings.end(), problems.begin(), problems.end());
    problems.clear();
  }
  problems.insert(problems.end(), unsupported.begin(), unsupported.end());
  if (problems.empty()) return Ok{};
  std::string all;
  for (const std::string& problem : problems) all += (all.empty() ? "" : "\n") + problem;
  return Error{Errc::kInvalidArgument, all};
}

std::string options_reference(const std::vector<OptionView>& options) {
  std::string page =
      "| Key | Type | Default | Range | At run time | Meaning |\n|---|---|---|---|---|---|\n";
  const auto cell = [](std::string_view text) {
    std::string escaped;
    for (const char c : text) escaped += c == '|' ? std::string{"\\|"} : std::string{c};
    return escaped;
  };
  for (const OptionView& option : options) {
    if (option.ignored) continue;
    page += "| `" + std::string{option.name} + "` | " + cell(option.type) + " | " +
            (option.value.empty() ? "" : "`" + cell(option.value) + "`") + " | " + option.range +
            " | " + (option.at_run_time ? "yes" : "") + " | " + cell(option.doc) + " |\n";
  }
  std::string ignored, refused;
  for (const OptionView& option : options) {
    if (!option.ignored) continue;
    const std::string key = "| `" + std::string{option.name} + "` | ";
    if (!option.refused())
      ignored += key + cell(option.doc) + " |\n";
    else
      refused += key + option.range + " |\n";
  }
  if (!refused.empty())
    page +=
        "\nRefused at start with any other value than this one:\n\n| Key | Value |\n|---|---|\n" +
        refused;
  if (!ignored.empty())
    page +=
        "\nAccepted, because existing configuration files have them, and without effect:\n\n| Key "
        "| Why |\n|---|---|\n" +
        ignored;
  return page;
}

}  // namespace apogee
