#include "main/admin.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "client/instance.h"
#include "client/name_servers.h"
#include "main/admin_command.h"
#include "main/admin_help.h"

namespace apogee {
namespace {

using Kind = AdminOption::Kind;

// ---- Reading the command line

std::string long_name(const AdminOption& option) {
  const std::string_view names{option.names};
  return std::string{names.substr(names.rfind("--") + 2)};
}

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char each) { return std::tolower(each); });
  return text;
}

/// As mqadmin, whatever the case; or our two words, which are then taken off `words`.
const AdminCommand* find_command(std::vector<std::string>& words) {
  const std::string name = lower(words.front());
  const std::string both = words.size() < 2 ? "" : name + " " + lower(words[1]);
  for (const AdminArea& area : admin_areas()) {
    for (const AdminCommand& command : area.commands) {
      if (lower(command.name) == name) {
        words.erase(words.begin());
        return &command;
      }
      if (command.words == both) {
        words.erase(words.begin(), words.begin() + 2);
        return &command;
      }
    }
  }
  return nullptr;
}

/// Names of commands that have something of `word` in them.
std::string similar_to(const std::string& word) {
  std::string names;
  for (const AdminArea& area : admin_areas())
    for (const AdminCommand& command : area.commands)
      if (lower(command.name).find(lower(word)) != std::string::npos ||
          std::string_view{command.words}.starts_with(lower(word) + " "))
        names += fmt::format("\n  {:<24} {}", command.name, command.summary);
  return names;
}

std::string checked(const AdminOption& option, const std::string& text) {
  std::int64_t number = 0;
  if (option.kind == Kind::kNumber && !protocol::from_text(text, number))
    return "is a whole number, not '" + text + "'";
  if (option.kind == Kind::kBoolean && lower(text) != "true" && lower(text) != "false")
    return "is true or false, not '" + text + "'";
  return {};
}

using Given = std::map<std::string, std::string>;

enum class Parsed { kRun, kHelp, kWrong };
struct Parsing {
  Parsed what = Parsed::kRun;
  std::string wrong;
};

Parsing parse(const AdminCommand& command, std::vector<std::string> words, Given& given) {
  CLI::App app;
  app.set_help_flag("-h,--help");
  std::map<std::string, std::string> texts;
  std::map<std::string, bool> switches;
  std::vector<std::pair<std::string, CLI::Option*>> options;
  const auto add = [&](const AdminOption& each) {
    const std::string name = long_name(each);
    CLI::Option* const option = each.kind == Kind::kSwitch
                                    ? app.add_flag(each.names, switches[name])
                                    : app.add_option(each.names, texts[name]);
    if (each.required) option->required();
    if (each.kind != Kind::kSwitch)
      option->check([&each](const std::string& text) { return checked(each, text); });
    options.emplace_back(name, option);
  };
  for (const AdminOption& each : command.options) add(each);
  for (const AdminOption& each : common_admin_options()) add(each);
  try {
    std::ranges::reverse(words);  // CLI11 takes them from the back
    app.parse(std::move(words));
  } catch (const CLI::CallForHelp&) {
    return {Parsed::kHelp, {}};
  } catch (const CLI::ParseError& error) {
    return {Parsed::kWrong, error.what()};
  }
  for (const auto& [name, option] : options)
    if (option->count() > 0) given[name] = texts.contains(name) ? texts[name] : "true";
  return {};
}

// ---- The client that asks

/// tools.yml of mqadmin: accessKey and secretKey, a line each.
Result<Credentials> credentials_from(const std::string& path) {
  std::ifstream file{path};
  if (!file) return Error{Errc::kInvalidArgument, "--credentials: " + path + " cannot be read"};
  Credentials credentials;
  const auto value_of = [](std::string line) {
    line = line.substr(line.find(':') + 1);
    std::erase_if(line, [](char each) { return each == ' ' || each == '"' || each == '\r'; });
    return line;
  };
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("accessKey:")) credentials.access_key = value_of(line);
    if (line.starts_with("secretKey:")) credentials.secret_key = value_of(line);
    if (line.starts_with("securityToken:")) credentials.security_token = value_of(line);
  }
  if (credentials.access_key.empty() || credentials.secret_key.empty())
    return Error{Errc::kInvalidArgument,
                 "--credentials: " + path + " needs the lines accessKey: ... and secretKey: ..."};
  return credentials;
}

Result<Client> client_for(const Given& given) {
  const auto value = [&](const char* name) {
    const auto found = given.find(name);
    return found == given.end() ? std::string{} : found->second;
  };
  ClientConfig config;
  const char* const environment = std::getenv("NAMESRV_ADDR");
  std::string servers = value("namesrvAddr");
  if (servers.empty() && environment) servers = environment;
  config.name_servers = client::parse_name_servers(servers);
  if (config.name_servers.empty())
    return Error{Errc::kInvalidArgument,
                 "say which name server to ask: -n HOST:PORT, or NAMESRV_ADDR in the environment"};
  config.worker_threads = 1;
  config.tls.enable = given.contains("tls") || given.contains("tlsTrust");
  config.tls.check_server = !given.contains("tlsInsecure");
  config.tls.trust = value("tlsTrust");
  if (given.contains("credentials")) {
    auto credentials = credentials_from(value("credentials"));
    if (!credentials) return credentials.error();
    config.credentials = *std::move(credentials);
  }
  auto client = Client::start(std::move(config));
  if (!client) return Error{Errc::kInvalidArgument, client.error().detail};
  return client;
}

// ---- Running

int exit_code_of(const Error& error) {
  switch (error.code) {
    case Errc::kInvalidArgument:
      return exit_code::kUsage;
    case Errc::kNotFound:
      return exit_code::kNotThere;
    case Errc::kTimeout:
    case Errc::kDisconnected:
      return exit_code::kUnreachable;
    default:
      return exit_code::kRefused;
  }
}

int run(const AdminCommand& command, Given given, std::FILE* out, std::FILE* err, bool terminal) {
  auto client = client_for(given);
  if (!client) {
    std::fprintf(err, "apogee admin: %s\n", client.error().detail.c_str());
    return exit_code::kUsage;
  }
  const bool json = given.contains("json");
  const bool colour = terminal && !json && std::getenv("NO_COLOR") == nullptr;
  AdminCall call{.client = *client,
                 .admin = client->admin(),
                 .timeout = std::chrono::milliseconds{5'000},
                 .given = std::move(given),
                 .report = {},
                 .show =
                     [&](AdminCall& shown) {
                       if (shown.progress) std::fprintf(shown.progress, "\r\033[K");
                       const std::string text =
                           json ? shown.report.json() : shown.report.text(colour);
                       std::fwrite(text.data(), 1, text.size(), out);
                       std::fflush(out);
                       shown.report = {};
                     },
                 .progress = terminal ? err : nullptr};
  call.timeout =
      std::chrono::milliseconds{std::max<std::int64_t>(call.number("timeout", 5'000), 1)};
  const Result<Ok> done = command.run(call);
  // What was done before it failed has happened.
  if (done || !call.report.empty()) call.show(call);
  if (done) return exit_code::kDone;
  std::fprintf(err, "apogee admin: %s\n", printable(done.error().detail).c_str());
  return exit_code_of(done.error());
}

}  // namespace

// ---- What commands share

std::string AdminCall::text(const char* name, std::string_view otherwise) const {
  const auto found = given.find(name);
  return std::string{found == given.end() ? otherwise : std::string_view{found->second}};
}
std::int64_t AdminCall::number(const char* name, std::int64_t otherwise) const {
  const auto found = given.find(name);
  std::int64_t value = otherwise;
  if (found != given.end()) protocol::from_text(found->second, value);
  return value;
}
bool AdminCall::boolean(const char* name, bool otherwise) const {
  const auto found = given.find(name);
  return found == given.end() ? otherwise : lower(found->second) == "true";
}
std::int64_t AdminCall::now_ms() const {
  return client.instance()->env().clock.wall_ms();
}
void AdminCall::working(std::size_t done, std::size_t all, const char* what) const {
  if (progress) std::fprintf(progress, "\r%zu of %zu %s\033[K", done, all, what);
}

Result<std::string> broker_address(AdminCall& call, const std::string& broker) {
  if (broker.find(':') != std::string::npos) return broker;
  return call.admin.master_of(broker, call.timeout);
}

Result<std::vector<std::string>> brokers_meant(AdminCall& call) {
  if (call.has("brokerAddr")) {
    auto broker = broker_address(call, call.text("brokerAddr"));
    if (!broker) return broker.error();
    return std::vector<std::string>{*std::move(broker)};
  }
  return call.admin.masters(call.text("clusterName", call.text("cluster")), call.timeout);
}

Result<std::vector<std::string>> brokers_named(AdminCall& call) {
  if (!call.has("brokerAddr") && !call.has("clusterName"))
    return Error{Errc::kInvalidArgument, "say which brokers are meant: -b HOST:PORT or -c CLUSTER"};
  return brokers_meant(call);
}

Result<Ok> at_each(AdminCall& call, const std::vector<std::string>& brokers, const char* what,
                   const std::function<Result<Ok>(const std::string&)>& change) {
  std::vector<std::string> done;
  protocol::Json failed = protocol::Json::object();
  Result<Ok> result = Ok{};
  for (const std::string& each : brokers) {
    call.working(done.size(), brokers.size(), "brokers");
    if (auto changed = change(each); changed) {
      done.push_back(each);
      call.report.line(fmt::format("{} {} success.", what, each));
      continue;
    } else {
      failed.set(each, protocol::to_json(changed.error().detail));
      Error error = changed.error();
      error.detail = fmt::format("{} {} failed: {}", what, each, error.detail);
      if (!result) error.detail = result.error().detail + "\n" + error.detail;
      result = std::move(error);
    }
  }
  if (!result && !done.empty()) result.error().code = Errc::kRefused;  // partly done
  call.report.member("done", protocol::to_json(done));
  call.report.member("failed", std::move(failed));
  return result;
}

Result<Ok> Unanswered::end() const {
  if (causes_.empty()) return Ok{};
  std::string all;
  for (const std::string& each : causes_) all += "\n  " + each;
  return Error{Errc::kDisconnected, "shown as -, because a server did not answer:" + all};
}

Result<std::int64_t> timestamp_from(const std::string& text, std::int64_t now_ms) {
  if (text == "now") return now_ms;
  std::int64_t ms = 0;
  if (protocol::from_text(text, ms)) return ms;
  std::tm parts{};
  int milliseconds = 0;
  const int read =
      std::sscanf(text.c_str(), "%d-%d-%d#%d:%d:%d:%d", &parts.tm_year, &parts.tm_mon,
                  &parts.tm_mday, &parts.tm_hour, &parts.tm_min, &parts.tm_sec, &milliseconds);
  if (read < 6)
    return Error{
        Errc::kInvalidArgument,
        "a time is now, Unix milliseconds, or yyyy-MM-dd#HH:mm:ss:SSS, not '" + text + "'"};
  parts.tm_year -= 1'900;
  parts.tm_mon -= 1;
  parts.tm_isdst = -1;
  return std::int64_t{std::mktime(&parts)} * 1'000 + milliseconds;
}

Result<std::map<std::string, std::string>> attributes_from(const std::string& text) {
  std::map<std::string, std::string> changes;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    const std::string each = text.substr(at, end - at);
    at = end + 1;
    const std::size_t equals = each.find('=');
    const bool sets = each.starts_with('+') && equals != std::string::npos && equals > 1;
    const bool removes = each.starts_with('-') && each.size() > 1;
    if (!sets && !removes)
      return Error{Errc::kInvalidArgument,
                   "a change of attributes is +name=value or -name, not '" + each + "'"};
    changes[sets ? each.substr(0, equals) : each] = sets ? each.substr(equals + 1) : "";
  }
  return changes;
}

Result<Ok> every_interval(AdminCall& call, const std::function<Result<Ok>()>& round) {
  const std::int64_t seconds = call.number("interval", 0);
  for (;;) {
    auto done = round();
    if (!done || seconds <= 0) return done;
    call.show(call);
    std::this_thread::sleep_for(std::chrono::seconds{seconds});
  }
}

const std::vector<AdminArea>& admin_areas() {
  static const std::vector<AdminArea> all{cluster_commands(), broker_commands(),
                                          topic_commands(),   group_commands(),
                                          offset_commands(),  message_commands()};
  return all;
}

const std::vector<AdminOption>& common_admin_options() {
  static const std::vector<AdminOption> all{
      {"-n,--namesrvAddr", "SERVERS", "Name servers, host:port with ';' between; or NAMESRV_ADDR"},
      {"--json", "", "One JSON object instead of text; times in Unix milliseconds", Kind::kSwitch},
      {"--timeout", "MS", "Longest wait for each answer (5000)", Kind::kNumber},
      {"--credentials", "FILE", "Sign requests: lines accessKey: and secretKey:"},
      {"--tls", "", "TLS to name servers and brokers", Kind::kSwitch},
      {"--tlsTrust", "FILE", "PEM file of the authorities to trust; with it goes --tls"},
      {"--tlsInsecure", "", "Do not check whose certificate it is", Kind::kSwitch}};
  return all;
}

int run_admin(std::span<const std::string> args, std::FILE* out, std::FILE* err, bool terminal) {
  std::vector<std::string> words{args.begin(), args.end()};
  if (words.empty() || words[0] == "-h" || words[0] == "--help" ||
      (words[0] == "help" && words.size() == 1)) {
    std::fputs(admin_help().c_str(), words.empty() ? err : out);
    return words.empty() ? exit_code::kUsage : exit_code::kDone;
  }
  if (words[0] == "help") {
    words.erase(words.begin());
    words.push_back("--help");
  }
  const std::string word = words.front();
  const AdminCommand* const command = find_command(words);
  if (!command) {
    const std::string similar = similar_to(word);
    std::fprintf(err, "apogee admin: there is no command '%s'%s\n", printable(word).c_str(),
                 similar.empty() ? "; `apogee admin --help` lists them"
                                 : ("; perhaps one of" + similar).c_str());
    return exit_code::kUsage;
  }
  Given given;
  const Parsing parsing = parse(*command, std::move(words), given);
  if (parsing.what == Parsed::kHelp) {
    std::fputs(admin_help(*command).c_str(), out);
    return exit_code::kDone;
  }
  if (parsing.what == Parsed::kWrong) {
    std::fprintf(err, "apogee admin %s: %s\n`apogee admin %s --help` tells more.\n", command->name,
                 printable(parsing.wrong).c_str(), command->name);
    return exit_code::kUsage;
  }
  return run(*command, std::move(given), out, err, terminal);
}

int run_admin(std::span<const std::string> args) {
  return run_admin(args, stdout, stderr,
                   ::isatty(STDOUT_FILENO) != 0 && ::isatty(STDERR_FILENO) != 0);
}

}  // namespace apogee
