#include <cstdio>
#include <filesystem>

#include <unistd.h>

#include "broker/broker.h"
#include "broker/config_file.h"
#include "main/admin_command.h"
#include "main/commands.h"
#include "main/process.h"
#include "namesrv/name_server.h"
#include "protocol/request_names.h"

namespace apogee {
namespace {

int print_configuration() {
  broker::BrokerSetup setup;
  namesrv::Config names;
  std::printf(
      "# Configuration reference\n\nMade from the declarations by `apogee reference`. Keys are "
      "Apache RocketMQ's; those it does not have are marked by nothing but their meaning.\n"
      "A key marked \"at run time\" may be changed while the process runs (`mqadmin "
      "updateBrokerConfig`, `updateNamesrvConfig`).\n\n"
      "## Broker (`broker.conf`)\n\n%s\n## Name server (`namesrv.conf`)\n\n%s",
      options_reference(broker::options_of(setup)).c_str(),
      options_reference(names.options()).c_str());
  return 0;
}

using Codes = std::map<std::int32_t, std::string>;

/// Requests that servers send themselves.
const Codes& sent() {
  static const Codes codes{{39, "the broker asks producers"},
                           {40, "the broker tells consumers"},
                           {103, "the broker sends it"},
                           {104, "the broker sends it"},
                           {220, "the broker tells consumers"},
                           {221, "the broker asks consumers"},
                           {307, "passed on to the consumer"},
                           {309, "passed on to the consumer"},
                           {326, "the broker pushes it to the requester"},
                           {905, "the name server tells brokers"}};
  return codes;
}

std::string state(const Codes& codes, std::int32_t code) {
  const auto found = codes.find(code);
  if (found == codes.end()) return "";
  return found->second.empty() ? "served" : "refused: " + found->second;
}

void print_codes_table(const Codes& broker, const Codes& name_server) {
  std::printf(
      "# Request codes\n\n"
      "What Apogee does with each request code of Apache RocketMQ 5.5, asked of a running broker "
      "and "
      "name server by `apogee reference codes`.\n"
      "A refused request is answered with response code 3 and a remark that names it and says why; "
      "one without an entry with code 3 and Apache's ` request type N not supported`.\n\n"
      "The codes of access control (3001 to 3010), 1007 and 5001 are refused with the codes of an "
      "Apache broker that has these things switched off.\n\n"
      "| Code | Request | Broker | Name server | |\n|---|---|---|---|---|\n");
  for (const protocol::RequestName& each : protocol::request_names()) {
    const auto said = sent().find(each.code);
    std::printf("| %d | %s | %s | %s | %s |\n", each.code, std::string{each.name}.c_str(),
                state(broker, each.code).c_str(), state(name_server, each.code).c_str(),
                said == sent().end() ? "" : said->second.c_str());
  }
}

/// Starts both servers on loopback ports the system chooses, with a store that is thrown away.
int print_codes() {
  char directory[] = "/tmp/apogee-reference-XXXXXX";
  if (::mkdtemp(directory) == nullptr) {
    std::fprintf(stderr, "apogee: no temporary directory\n");
    return 1;
  }
  int result = 1;
  {
    Process process{{.io_threads = 1, .workers = 1, .log_level = LogLevel::kError}};
    namesrv::Config names;
    names.server.listen_port = 0;
    names.server.bind_address = "127.0.0.1";
    names.name_server.kv_config_path = std::string{directory} + "/kvConfig.json";
    broker::BrokerSetup setup;
    setup.store.root = std::string{directory} + "/store";
    setup.store.commit_log_file_bytes = 1 << 20;
    setup.broker.broker_ip1 = setup.server.bind_address = "127.0.0.1";
    setup.server.listen_port = -1;
    auto name_server = namesrv::NameServer::start(process.env(), names);
    auto broker = broker::Broker::start(process.env(), setup);
    if (name_server && broker) {
      print_codes_table((*broker)->codes(), (*name_server)->codes());
      result = 0;
    } else {
      std::fprintf(stderr, "apogee: %s\n",
                   (name_server ? broker.error().detail : name_server.error().detail).c_str());
    }
  }
  std::error_code ignored;
  std::filesystem::remove_all(directory, ignored);
  return result;
}

}  // namespace

int run_reference(std::span<const std::string> args) {
  if (args.empty() || args.front() == "configuration") return print_configuration();
  if (args.front() == "codes") return print_codes();
  if (args.front() == "commands") {
    std::fputs(admin_reference().c_str(), stdout);
    return 0;
  }
  std::fprintf(stderr, "Usage: apogee reference [configuration|codes|commands]\n");
  return args.front() == "--help" || args.front() == "-h" ? 0 : 2;
}

}  // namespace apogee
