#include <fmt/format.h>

#include "main/admin_command.h"

namespace apogee {
namespace {

using Kind = AdminOption::Kind;
using Status = std::map<std::string, std::string>;

std::string value(const Status& status, const char* key, const char* otherwise = "") {
  const auto found = status.find(key);
  return found == status.end() ? otherwise : found->second;
}
std::int64_t count(const Status& status, const char* key) {
  return std::strtoll(value(status, key).c_str(), nullptr, 10);
}
double real(const Status& status, const char* key) {
  return std::strtod(value(status, key).c_str(), nullptr);
}

void add_traffic(Report::Table& table, const admin::Broker& broker, const Status& status) {
  const auto moved = [&](const char* to, const char* from) {
    return count(status, to) - count(status, from);
  };
  table.add({broker.cluster, broker.name, broker.id,
             moved("msgPutTotalTodayMorning", "msgPutTotalYesterdayMorning"),
             moved("msgGetTotalTodayMorning", "msgGetTotalYesterdayMorning"),
             moved("msgPutTotalTodayNow", "msgPutTotalTodayMorning"),
             moved("msgGetTotalTodayNow", "msgGetTotalTodayMorning")});
}

/// The first figure of a triple is the last ten seconds'; then what waits in the broker's pools.
void add_state(Report::Table& table, const admin::Broker& broker, const Status& status,
               std::int64_t now_ms) {
  const double in = real(status, "putTps"), out = real(status, "getTransferredTps");
  const auto pool = [&](const char* name) {
    return fmt::format("{},{}ms", value(status, (std::string{name} + "Size").c_str(), "N"),
                       value(status, (std::string{name} + "HeadWaitTimeMills").c_str(), "N"));
  };
  const std::int64_t earliest = count(status, "earliestMessageTimeStamp");
  const double hours = earliest > 0 ? static_cast<double>(now_ms - earliest) / 3'600'000.0 : 0.0;
  const auto json = [](double number) { return protocol::to_json(number); };
  table.add({broker.cluster, broker.name, broker.id, broker.address,
             value(status, "brokerVersionDesc", "?"),
             Cell{fmt::format("{:.2f}({})", in, pool("sendThreadPoolQueue")), json(in)},
             Cell{fmt::format("{:.2f}({}|{})", out, pool("pullThreadPoolQueue"),
                              pool("ackThreadPoolQueue")),
                  json(out)},
             fmt::format("{}-{}({:.1f}w, {:.1f}, {:.1f})", count(status, "timerReadBehind"),
                         count(status, "timerOffsetBehind"),
                         static_cast<double>(count(status, "timerCongestNum")) / 10'000.0,
                         real(status, "timerEnqueueTps"), real(status, "timerDequeueTps")),
             count(status, "pageCacheLockTimeMills"), Cell{hours, 2},
             Cell{real(status, "commitLogDiskRatio"), 4}, value(status, "brokerActive") == "true"});
}

Result<Ok> list_once(AdminCall& call) {
  auto brokers = call.admin.brokers(call.timeout);
  if (!brokers) return brokers.error();
  const std::string cluster = call.text("clusterName");
  const bool more = call.has("moreStats");
  Report::Table& table = more ? call.report.table("brokers", {{"#Cluster Name", "cluster"},
                                                              {"#Broker Name", "broker"},
                                                              {"#BID", "id"},
                                                              {"#InTotalYest", "inYesterday"},
                                                              {"#OutTotalYest", "outYesterday"},
                                                              {"#InTotalToday", "inToday"},
                                                              {"#OutTotalToday", "outToday"}})
                              : call.report.table("brokers", {{"#Cluster Name", "cluster"},
                                                              {"#Broker Name", "broker"},
                                                              {"#BID", "id"},
                                                              {"#Addr", "address"},
                                                              {"#Version", "version"},
                                                              {"#InTPS(LOAD)", "inTps"},
                                                              {"#OutTPS(LOAD)", "outTps"},
                                                              {"#Timer(Progress)", "timer"},
                                                              {"#PCWait(ms)", "pageCacheWaitMs"},
                                                              {"#Hour", "hours"},
                                                              {"#SPACE", "diskRatio"},
                                                              {"#ACTIVATED", "active"}});
  std::string silent;
  for (const admin::Broker& each : *brokers) {
    if (!cluster.empty() && each.cluster != cluster) continue;
    auto status = call.admin.broker_status(each.address, call.timeout);
    if (!status) silent += "\n  " + each.address + ": " + status.error().detail;
    const Status known = status ? *std::move(status) : Status{};
    if (more)
      add_traffic(table, each, known);
    else
      add_state(table, each, known, call.now_ms());
  }
  if (!cluster.empty() && table.empty())
    return Error{Errc::kNotFound, "no broker of a cluster named " + cluster + " is registered"};
  if (!silent.empty())
    return Error{Errc::kDisconnected, "registered, but does not answer:" + silent};
  return Ok{};
}

Result<Ok> cluster_list(AdminCall& call) {
  return every_interval(call, [&] { return list_once(call); });
}

/// At each name server: they share nothing.
Result<Ok> change_write_perm(AdminCall& call, const char* what,
                             Result<std::int32_t> (Admin::*change)(const std::string&,
                                                                   const std::string&,
                                                                   Admin::Milliseconds)) {
  const std::string broker = call.text("brokerName");
  Report::Table& table = call.report.table(
      "nameServers",
      {{"#Name Server", "nameServer"}, {"#Broker Name", "broker"}, {"#Topics", "topics"}});
  Result<Ok> result = Ok{};
  for (const std::string& each : call.admin.name_servers()) {
    auto topics = (call.admin.*change)(each, broker, call.timeout);
    if (topics)
      table.add({each, broker, *topics});
    else
      result = Error{topics.error().code,
                     fmt::format("{} write perm of broker[{}] in name server[{}] Failed: {}", what,
                                 broker, each, topics.error().detail),
                     topics.error().response_code};
  }
  return result;
}

Result<Ok> wipe_write_perm(AdminCall& call) {
  return change_write_perm(call, "wipe", &Admin::wipe_write_perm);
}
Result<Ok> add_write_perm(AdminCall& call) {
  return change_write_perm(call, "add", &Admin::add_write_perm);
}

Result<Ok> get_namesrv_config(AdminCall& call) {
  protocol::Json all = protocol::Json::object();
  for (const std::string& each : call.admin.name_servers()) {
    auto config = call.admin.name_server_config(each, call.timeout);
    if (!config) return config.error();
    call.report.line("============" + each + "============");
    call.report.properties(*config);
    all.set(each, protocol::to_json(*config));
  }
  call.report.member("nameServers", std::move(all));
  return Ok{};
}

Result<Ok> update_namesrv_config(AdminCall& call) {
  const std::string key = call.text("key"), value = call.text("value");
  return at_each(call, call.admin.name_servers(), "update name server config of",
                 [&](const std::string& server) {
                   return call.admin.update_name_server_config(server, key, value, call.timeout);
                 });
}

}  // namespace

AdminArea cluster_commands() {
  const AdminOption broker_name{"-b,--brokerName", "BROKER", "Broker name", Kind::kText, true};
  const AdminOption key{"-k,--key", "KEY", "Configuration key", Kind::kText, true};
  const AdminOption value{"-v,--value", "VALUE", "Its new value", Kind::kText, true};
  return {
      "Clusters and name servers",
      {{"clusterList",
        "cluster list",
        "Brokers of all clusters",
        "In and out are messages a second; in brackets what waits in the broker's thread pools, "
        "for how long.",
        {{"-c,--clusterName", "CLUSTER", "Only this cluster"},
         {"-m,--moreStats", "", "Messages of today and yesterday", Kind::kSwitch},
         {"-i,--interval", "SECONDS", "Again and again", Kind::kNumber}},
        {"clusterList -n 127.0.0.1:9876", "clusterList -n 127.0.0.1:9876 -m -i 10"},
        cluster_list},
       {"wipeWritePerm",
        "cluster wipe",
        "Take a broker out of service for senders",
        "At all name servers given with -n; until addWritePerm.",
        {broker_name},
        {"wipeWritePerm -n 127.0.0.1:9876 -b broker-a"},
        wipe_write_perm},
       {"addWritePerm",
        "cluster unwipe",
        "Let senders use a broker again",
        "",
        {broker_name},
        {"addWritePerm -n 127.0.0.1:9876 -b broker-a"},
        add_write_perm},
       {"getNamesrvConfig",
        "namesrv config",
        "Configuration of the name servers",
        "",
        {},
        {"getNamesrvConfig -n 127.0.0.1:9876"},
        get_namesrv_config},
       {"updateNamesrvConfig",
        "namesrv set",
        "Change a key of the name servers' configuration",
        "Keys that may change while it runs; the others are refused.",
        {key, value},
        {"updateNamesrvConfig -n 127.0.0.1:9876 -k orderMessageEnable -v true"},
        update_namesrv_config}}};
}

}  // namespace apogee
