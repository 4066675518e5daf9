#include "main/admin_help.h"

#include <fmt/format.h>

#include "main/admin.h"

namespace apogee {
namespace {

constexpr const char* kExitCodes =
    "Exit codes: 0 done; 1 a server refused, or some of several brokers did; 2 wrong usage, "
    "nothing "
    "was asked;\n3 what was asked for is not there; 4 nobody answered in time. Results go to "
    "standard output, errors to\nstandard error.\n";

std::string spaced(const char* names) {
  std::string text = names;
  if (const std::size_t comma = text.find(','); comma != std::string::npos)
    text.insert(comma + 1, " ");
  else
    text.insert(0, "    ");
  return text;
}

std::string usage(const AdminCommand& command) {
  std::string text = fmt::format("apogee admin {}", command.name);
  for (const AdminOption& each : command.options)
    if (each.required) {
      const std::string_view names{each.names};
      text += fmt::format(" {} {}", names.substr(0, names.find(',')), each.value);
    }
  return text + " [OPTIONS]";
}

std::string option_lines(const std::vector<AdminOption>& options) {
  std::size_t width = 0;
  const auto left = [](const AdminOption& each) {
    return fmt::format("{} {}", spaced(each.names), each.value);
  };
  for (const AdminOption& each : options) width = std::max(width, left(each).size());
  std::string out;
  for (const AdminOption& each : options)
    out += fmt::format("  {:<{}}  {}{}\n", left(each), width, each.help,
                       each.required ? " (required)" : "");
  return out;
}

/// In a cell of a Markdown table.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char each : text) out += each == '|' ? "\\|" : std::string(1, each);
  return out;
}

std::string option_rows(const std::vector<AdminOption>& options) {
  std::string out = "| Option | | |\n|---|---|---|\n";
  for (const AdminOption& each : options)
    out += fmt::format("| `{}` | {} | {}{} |\n",
                       spaced(each.names).substr(each.names[1] == '-' ? 4 : 0), each.value,
                       escaped(each.help), each.required ? " (required)" : "");
  return out;
}

}  // namespace

std::string admin_help() {
  std::string out =
      "Operators' commands: names and flags are mqadmin's, in any case of letters; each also goes "
      "by two words.\n\nUsage: apogee admin COMMAND -n NAME_SERVER [OPTIONS]\n";
  for (const AdminArea& area : admin_areas()) {
    out += fmt::format("\n{}:\n", area.title);
    for (const AdminCommand& each : area.commands)
      out += fmt::format("  {:<24} {:<22} {}\n", each.name, each.words, each.summary);
  }
  out += fmt::format("\nEvery command:\n{}\n{}", option_lines(common_admin_options()), kExitCodes);
  return out +
         "\nExamples:\n  apogee admin clusterList -n 127.0.0.1:9876\n  apogee admin topic create "
         "-n "
         "127.0.0.1:9876 -t orders -r 16 -w 16\n  apogee admin consumerProgress -n 127.0.0.1:9876 "
         "-g billing --json\n\n`apogee admin COMMAND --help` tells more about each.\n";
}

std::string admin_help(const AdminCommand& command) {
  std::string out = fmt::format("{}. Also: apogee admin {}\n", command.summary, command.words);
  if (*command.details) out += fmt::format("{}\n", command.details);
  out += fmt::format("\nUsage: {}\n", usage(command));
  if (!command.options.empty()) out += "\n" + option_lines(command.options);
  out += "\nEvery command:\n" + option_lines(common_admin_options());
  out += "\nExamples:\n";
  for (const char* each : command.examples) out += fmt::format("  apogee admin {}\n", each);
  return out + "\n" + kExitCodes;
}

std::string admin_reference() {
  std::string out = fmt::format(
      "# apogee admin\n\nMade from the declarations by `apogee reference commands`. Names and "
      "flags "
      "are those of Apache's `mqadmin`; each command also goes by two words of its own. Text is "
      "for "
      "people: aligned, bold only on a terminal. With `--json` every command prints one object, "
      "whose members keep their names.\n\n{}\n## Every command\n\n{}",
      kExitCodes, option_rows(common_admin_options()));
  for (const AdminArea& area : admin_areas()) {
    out += fmt::format("\n## {}\n", area.title);
    for (const AdminCommand& each : area.commands) {
      out += fmt::format("\n### {}\n\n{}. Also `apogee admin {}`.{}{}\n", each.name, each.summary,
                         each.words, *each.details ? " " : "", each.details);
      if (!each.options.empty()) out += "\n" + option_rows(each.options);
      out += "\n";
      for (const char* example : each.examples)
        out += fmt::format("    apogee admin {}\n", example);
    }
  }
  return out;
}

}  // namespace apogee
