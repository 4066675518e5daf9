// with_broker PROGRAM [ARGUMENT...]: runs the program with the name server of a broker in this
// process as its first argument.
#include <cstdio>

#include <apogee/testing/broker.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char** argv) {
  if (argc < 2) return std::fprintf(stderr, "usage: %s PROGRAM [ARGUMENT...]\n", argv[0]), 2;
  auto broker = apogee::testing::Broker::start({.settings = {{"messageDelayLevel", "1s 1s 1s 2s"},
                                                             {"recallMessageEnable", "true"},
                                                             {"transactionCheckInterval", "1000"},
                                                             {"transactionTimeOut", "1000"}},
                                                .topics = {{"orders", 4}}});
  if (!broker) return std::fprintf(stderr, "%s\n", broker.error().detail.c_str()), 1;
  std::string name_server = broker->name_server();
  std::vector<char*> arguments{argv[1], name_server.data()};
  arguments.insert(arguments.end(), argv + 2, argv + argc);
  arguments.push_back(nullptr);
  pid_t child = 0;
  if (posix_spawn(&child, argv[1], nullptr, nullptr, arguments.data(), environ) != 0)
    return std::perror(argv[1]), 1;
  int status = 0;
  if (waitpid(child, &status, 0) < 0) return std::perror("waitpid"), 1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
