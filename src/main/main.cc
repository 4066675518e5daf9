#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "main/admin.h"
#include "main/bench.h"
#include "main/commands.h"
#include "main/inspect.h"

namespace {

struct Command {
  std::string_view name;
  std::string_view what;
  int (*run)(std::span<const std::string> args);
};

constexpr Command kCommands[] = {
    {"server", "name server and broker in one process", apogee::run_server},
    {"namesrv", "the name server alone", apogee::run_namesrv},
    {"broker", "a broker alone", apogee::run_broker},
    {"admin", "operators' commands: clusters, topics, consumers, messages", apogee::run_admin},
    {"bench", "load for a broker: throughput and latencies", apogee::run_bench},
    {"inspect", "look into a store directory while no broker runs on it", apogee::run_inspect},
    {"completion", "print a completion script for bash or zsh", apogee::run_completion},
    {"reference", "print the reference of configuration keys, request codes or admin commands",
     apogee::run_reference},
};

void print_help(std::FILE* to) {
  std::fprintf(to,
               "apogee: RocketMQ's name server, broker and tools in one program.\n\nUsage: apogee "
               "COMMAND [OPTIONS]\n\nCommands:\n");
  for (const Command& command : kCommands)
    std::fprintf(to, "  %-11s %s\n", std::string{command.name}.c_str(),
                 std::string{command.what}.c_str());
  std::fprintf(to,
               "\n`apogee COMMAND --help` tells more. `apogee --version` prints the version.\n");
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words{argv + 1, argv + argc};
  if (words.empty() || words.front() == "--help" || words.front() == "-h" ||
      words.front() == "help") {
    print_help(words.empty() ? stderr : stdout);
    return words.empty() ? 2 : 0;
  }
  if (words.front() == "--version") {
    std::printf("apogee %s\n", APOGEE_VERSION);
    return 0;
  }
  for (const Command& command : kCommands) {
    if (command.name == words.front()) return command.run(std::span{words}.subspan(1));
  }
  std::fprintf(stderr, "apogee: there is no command '%s'; `apogee --help` lists them\n",
               words.front().c_str());
  return 2;
}
