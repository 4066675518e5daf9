#include <cstdio>

#include <fmt/format.h>

#include "main/admin.h"
#include "main/admin_command.h"
#include "main/bench.h"

namespace apogee {
namespace {

constexpr const char* kTop = "server namesrv broker admin bench inspect reference completion";
constexpr const char* kReference = "configuration codes commands";

std::string words_of(const std::vector<AdminOption>& options) {
  std::string words;
  for (const AdminOption& each : options) {
    std::string names = each.names;
    if (const std::size_t comma = names.find(','); comma != std::string::npos) names[comma] = ' ';
    words += (words.empty() ? "" : " ") + names;
  }
  return words;
}

std::string command_names() {
  std::string names;
  for (const AdminArea& area : admin_areas())
    for (const AdminCommand& each : area.commands)
      names += (names.empty() ? "" : " ") + std::string{each.name};
  return names;
}

/// `case` branches: a command's options.
std::string branches(const char* pattern) {
  std::string out;
  for (const AdminArea& area : admin_areas())
    for (const AdminCommand& each : area.commands)
      out += fmt::format(fmt::runtime(pattern), each.name, words_of(each.options));
  return out;
}

std::string bash() {
  return fmt::format(
      "_apogee_admin_options() {{\n  case $1 in\n{}  esac\n}}\n"
      "_apogee() {{\n  local current=${{COMP_WORDS[COMP_CWORD]}}\n"
      "  case $COMP_CWORD in\n"
      "    1) COMPREPLY=($(compgen -W \"{}\" -- \"$current\")) ;;\n"
      "    2) case ${{COMP_WORDS[1]}} in\n"
      "      admin) COMPREPLY=($(compgen -W \"{}\" -- \"$current\")) ;;\n"
      "      bench) COMPREPLY=($(compgen -W \"{}\" -- \"$current\")) ;;\n"
      "      reference) COMPREPLY=($(compgen -W \"{}\" -- \"$current\")) ;;\n"
      "      completion) COMPREPLY=($(compgen -W \"bash zsh\" -- \"$current\")) ;;\n"
      "      *) COMPREPLY=($(compgen -f -- \"$current\")) ;;\n    esac ;;\n"
      "    *) if [ \"${{COMP_WORDS[1]}}\" = admin ]; then\n"
      "        COMPREPLY=($(compgen -W \"$(_apogee_admin_options ${{COMP_WORDS[2]}}) {}\" -- "
      "\"$current\"))\n"
      "      else COMPREPLY=($(compgen -f -- \"$current\")); fi ;;\n"
      "  esac\n}}\ncomplete -F _apogee apogee\n",
      branches("    {}) echo \"{}\" ;;\n"), kTop, command_names(), bench_names(), kReference,
      words_of(common_admin_options()));
}

std::string zsh() {
  return fmt::format(
      "#compdef apogee\n_apogee_admin_options() {{\n  case $1 in\n{}  esac\n}}\n"
      "_apogee() {{\n  case $CURRENT in\n    2) compadd {} ;;\n"
      "    3) case $words[2] in\n      admin) compadd {} ;;\n      bench) compadd {} ;;\n"
      "      reference) compadd {} ;;\n      completion) compadd bash zsh ;;\n"
      "      *) _files ;;\n    esac ;;\n"
      "    *) if [[ $words[2] == admin ]]; then\n"
      "        compadd -- ${{=$(_apogee_admin_options $words[3])}} {}\n"
      "      else _files; fi ;;\n  esac\n}}\ncompdef _apogee apogee\n",
      branches("    {}) echo \"{}\" ;;\n"), kTop, command_names(), bench_names(), kReference,
      words_of(common_admin_options()));
}

}  // namespace

int run_completion(std::span<const std::string> args) {
  const std::string shell = args.empty() ? "" : args.front();
  if (shell == "bash" || shell == "zsh") {
    std::fputs((shell == "bash" ? bash() : zsh()).c_str(), stdout);
    return 0;
  }
  std::fprintf(stderr, "Usage: apogee completion bash|zsh\n\n  source <(apogee completion bash)\n");
  return 2;
}

}  // namespace apogee
