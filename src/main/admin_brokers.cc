#include <optional>

#include <fmt/format.h>

#include "main/admin_command.h"
#include "protocol/names.h"

namespace apogee {
namespace {

using Kind = AdminOption::Kind;
using protocol::Json;

/// Masters and replicas of -c, or the broker of -b.
Result<std::vector<std::string>> all_named(AdminCall& call) {
  if (call.has("brokerAddr") || !call.has("clusterName")) return brokers_named(call);
  const std::string cluster = call.text("clusterName");
  auto all = call.admin.brokers(call.timeout);
  if (!all) return all.error();
  std::vector<std::string> addresses;
  for (const admin::Broker& each : *all)
    if (each.cluster == cluster) addresses.push_back(each.address);
  if (addresses.empty())
    return Error{Errc::kNotFound, "no broker of a cluster named " + cluster + " is registered"};
  return addresses;
}

using Reading = Result<std::map<std::string, std::string>> (Admin::*)(const std::string&,
                                                                      Admin::Milliseconds);

/// A table of each broker, under its address. JSON: brokers: {address: {...}}.
Result<Ok> show_tables(AdminCall& call, Reading read) {
  auto brokers = all_named(call);
  if (!brokers) return brokers.error();
  Json all = Json::object();
  Result<Ok> result = Ok{};
  for (const std::string& each : *brokers) {
    auto table = (call.admin.*read)(each, call.timeout);
    if (!table) {
      result = table.error();
      continue;
    }
    call.report.line("============" + each + "============");
    call.report.properties(*table);
    all.set(each, protocol::to_json(*table));
  }
  call.report.member("brokers", std::move(all));
  return result;
}

Result<Ok> broker_status(AdminCall& call) {
  return show_tables(call, &Admin::broker_status);
}
Result<Ok> get_broker_config(AdminCall& call) {
  return show_tables(call, &Admin::broker_config);
}

Result<Ok> update_broker_config(AdminCall& call) {
  auto brokers = call.has("updateAllBroker") ? all_named(call) : brokers_named(call);
  if (!brokers) return brokers.error();
  const std::string key = call.text("key"), value = call.text("value");
  return at_each(call, *brokers, "update broker config of", [&](const std::string& broker) {
    return call.admin.update_broker_config(broker, key, value, call.timeout);
  });
}

Result<Ok> broker_consume_stats(AdminCall& call) {
  auto broker = broker_address(call, call.text("brokerAddr"));
  if (!broker) return broker.error();
  const std::chrono::milliseconds timeout{call.number("timeoutMillis", 50'000)};
  auto progress = call.admin.broker_progress(*broker, call.boolean("order", false), timeout);
  if (!progress) return progress.error();
  const std::int64_t least = call.number("level", 0);
  Report::Table& table = call.report.table("queues", {{"#Topic", "topic"},
                                                      {"#Group", "group"},
                                                      {"#Broker Name", "broker"},
                                                      {"#QID", "queueId"},
                                                      {"#Broker Offset", "brokerOffset"},
                                                      {"#Consumer Offset", "consumerOffset"},
                                                      {"#Diff", "diff"},
                                                      {"#LastTime", "lastTime"}});
  for (const auto& group : progress->groups) {
    for (const auto& each : group.queues) {
      // As mqadmin: nothing was ever consumed of a queue without a time.
      if (each.lag() < least || each.last_consumed == admin::Time{}) continue;
      table.add({each.queue.topic, group.group, each.queue.broker, each.queue.queue_id,
                 each.broker_offset, each.consumer_offset, each.lag(), Cell{each.last_consumed}});
    }
  }
  call.report.line("");
  call.report.fact("Diff Total", "diffTotal", progress->lag);
  return Ok{};
}

Result<Ok> at_all(AdminCall& call, const char* what,
                  Result<Ok> (Admin::*change)(const std::string&, Admin::Milliseconds)) {
  auto brokers = brokers_meant(call);
  if (!brokers) return brokers.error();
  return at_each(call, *brokers, what, [&](const std::string& broker) {
    return (call.admin.*change)(broker, call.timeout);
  });
}

Result<Ok> clean_expired_cq(AdminCall& call) {
  return at_all(call, "clean expired consume queues of", &Admin::clean_expired_queues);
}
Result<Ok> delete_expired_log(AdminCall& call) {
  return at_all(call, "delete expired commit log of", &Admin::delete_expired_log);
}
Result<Ok> clean_unused_topic(AdminCall& call) {
  return at_all(call, "clean unused topics of", &Admin::clean_unused_topics);
}

void show_ha(Report& report, const std::string& broker, const admin::HaStatus& status) {
  report.line("");
  if (!status.master) {
    report.fact("#MasterAddr", "", status.master_address);
    report.fact("#CommitLogMaxOffset", "", status.max_offset);
    report.fact("#TransferSpeed(KB/s)", "",
                Cell{static_cast<double>(status.bytes_per_second) / 1'024, 2});
    report.fact("#LastReadTime", "", Cell{status.last_read});
    report.fact("#LastWriteTime", "", Cell{status.last_written});
    report.fact("#MasterFlushOffset", "", status.master_flush_offset);
    return;
  }
  report.fact("#MasterAddr", "", broker);
  report.fact("#MasterCommitLogMaxOffset", "", status.max_offset);
  report.fact("#SlaveNum", "", static_cast<std::int64_t>(status.replicas.size()));
  report.fact("#InSyncSlaveNum", "", status.replicas_in_sync);
  Report::Table& table = report.table("", {{"#SlaveAddr", ""},
                                           {"#SlaveAckOffset", ""},
                                           {"#Diff", ""},
                                           {"#TransferSpeed(KB/s)", ""},
                                           {"#Status", ""},
                                           {"#TransferFromWhere", ""}});
  for (const auto& each : status.replicas)
    table.add({each.address, each.ack_offset, each.behind,
               Cell{static_cast<double>(each.bytes_per_second) / 1'024, 2},
               each.in_sync ? "OK" : "Fall Behind", each.from_offset});
}

Json ha_json(const std::string& broker, const admin::HaStatus& status) {
  Json json = Json::object();
  json.set("broker", protocol::to_json(broker));
  json.set("master", protocol::to_json(status.master));
  json.set("maxOffset", protocol::to_json(status.max_offset));
  json.set("replicasInSync", protocol::to_json(status.replicas_in_sync));
  Json::Array replicas;
  for (const auto& each : status.replicas) {
    Json replica = Json::object();
    replica.set("address", protocol::to_json(each.address));
    replica.set("ackOffset", protocol::to_json(each.ack_offset));
    replica.set("behind", protocol::to_json(each.behind));
    replica.set("bytesPerSecond", protocol::to_json(each.bytes_per_second));
    replica.set("inSync", protocol::to_json(each.in_sync));
    replicas.push_back(std::move(replica));
  }
  json.set("replicas", Json{Json::Value{std::move(replicas)}});
  if (!status.master) {
    json.set("masterAddress", protocol::to_json(status.master_address));
    json.set("bytesPerSecond", protocol::to_json(status.bytes_per_second));
    json.set("masterFlushOffset", protocol::to_json(status.master_flush_offset));
  }
  return json;
}

Result<Ok> ha_status(AdminCall& call) {
  return every_interval(call, [&]() -> Result<Ok> {
    auto brokers = brokers_meant(call);
    if (!brokers) return brokers.error();
    Json::Array all;
    for (const std::string& each : *brokers) {
      auto status = call.admin.ha_status(each, call.timeout);
      if (!status) return status.error();
      show_ha(call.report, each, *status);
      all.push_back(ha_json(each, *status));
    }
    call.report.member("brokers", Json{Json::Value{std::move(all)}});
    return Ok{};
  });
}

// ---- Statistics of all topics

struct Sum {
  double per_second = 0;
  std::int64_t day = 0;
};

/// A broker that has counted nothing yet says so with an error: that is a zero.
std::optional<Sum> sum_of(AdminCall& call, const admin::TopicRoute& route, const char* name,
                          const std::string& key, Unanswered& unanswered) {
  Sum sum;
  for (const auto& each : route.brokers) {
    const auto master = each.addresses.find(0);
    if (master == each.addresses.end()) continue;
    const auto data = call.admin.statistics(master->second, name, key, call.timeout);
    if (!unanswered.has(data)) return std::nullopt;
    if (!data) continue;
    sum.per_second += data->minute.per_second;
    sum.day += data->sum();
  }
  return sum;
}
Cell rate(const std::optional<Sum>& sum) {
  return sum ? Cell{sum->per_second, 2} : Unanswered::cell();
}
Cell day(const std::optional<Sum>& sum) {
  return sum ? Cell{sum->day} : Unanswered::cell();
}
bool idle(const std::optional<Sum>& sum) {
  return sum && sum->day == 0;
}

void add_topic(AdminCall& call, const std::string& topic, bool active_only, Report::Table& table,
               Unanswered& unanswered) {
  const auto route = call.admin.topic_route(topic, call.timeout);
  unanswered.has(route);
  if (!route) return;  // gone meanwhile, or nobody knows
  const auto in = sum_of(call, *route, "TOPIC_PUT_NUMS", topic, unanswered);
  const auto groups = call.admin.groups_of_topic(topic, call.timeout);
  if (!unanswered.has(groups)) {
    const Cell unknown = Unanswered::cell();
    table.add({topic, unknown, unknown, rate(in), unknown, day(in), unknown});
    return;
  }
  if (!groups || groups->empty()) {
    if (!active_only || !idle(in))
      table.add({topic, Cell{"", Json{}}, 0, rate(in), Cell{"", Json{}}, day(in),
                 Cell{"NO_CONSUMER", Json{}}});
    return;
  }
  for (const std::string& group : *groups) {
    const auto out = sum_of(call, *route, "GROUP_GET_NUMS", topic + "@" + group, unanswered);
    if (active_only && idle(in) && idle(out)) continue;
    const auto progress = call.admin.progress(group, topic, call.timeout);
    const Cell lag = !unanswered.has(progress) ? Unanswered::cell()
                     : progress                ? Cell{std::max<std::int64_t>(progress->lag(), 0)}
                                               : Cell{0};
    table.add({topic, group, lag, rate(in), rate(out), day(in), day(out)});
  }
}

Result<Ok> stats_all(AdminCall& call) {
  auto topics = call.admin.topics(call.timeout);
  if (!topics) return topics.error();
  const std::string only = call.text("topic");
  if (!only.empty() && !topics->contains(only))
    return Error{Errc::kNotFound, "there is no topic " + only};
  Report::Table& table = call.report.table("topics", {{"#Topic", "topic"},
                                                      {"#Consumer Group", "group"},
                                                      {"#Accumulation", "accumulation"},
                                                      {"#InTPS", "inTps"},
                                                      {"#OutTPS", "outTps"},
                                                      {"#InMsg24Hour", "inDay"},
                                                      {"#OutMsg24Hour", "outDay"}});
  Unanswered unanswered;
  std::size_t done = 0;
  for (const std::string& topic : *topics) {
    call.working(done++, topics->size(), "topics");
    if (protocol::is_retry_topic(topic) || protocol::is_dlq_topic(topic)) continue;
    if (only.empty() || topic == only)
      add_topic(call, topic, call.has("activeTopic"), table, unanswered);
  }
  return unanswered.end();
}

}  // namespace

AdminArea broker_commands() {
  const AdminOption cluster{"-c,--clusterName", "CLUSTER", "All brokers of this cluster"};
  const AdminOption cleaned{"-c,--cluster", "CLUSTER", "All masters of this cluster"};
  return {"Brokers",
          {{"brokerStatus",
            "broker status",
            "What a broker says of its load and its store",
            "One of -b and -c.",
            {kBrokerOption, cluster},
            {"brokerStatus -n 127.0.0.1:9876 -b 127.0.0.1:10911"},
            broker_status},
           {"brokerConsumeStats",
            "broker progress",
            "Where all groups stand on a broker",
            "",
            {{"-b,--brokerAddr", "ADDRESS", "Broker, host:port or its name", Kind::kText, true},
             {"-t,--timeoutMillis", "MS", "Longest wait (50000)", Kind::kNumber},
             {"-l,--level", "N", "Only queues this far behind (0)", Kind::kNumber},
             {"-o,--order", "BOOL", "Only ordered topics", Kind::kBoolean}},
            {"brokerConsumeStats -n 127.0.0.1:9876 -b broker-a -l 1000"},
            broker_consume_stats},
           {"getBrokerConfig",
            "broker config",
            "Configuration of a broker",
            "One of -b and -c.",
            {kBrokerOption, cluster},
            {"getBrokerConfig -n 127.0.0.1:9876 -b broker-a --json"},
            get_broker_config},
           {"updateBrokerConfig",
            "broker set",
            "Change a key of a broker's configuration",
            "One of -b and -c. Keys that may change while it runs; the others are refused.",
            {kBrokerOption,
             {"-c,--clusterName", "CLUSTER", "All masters of this cluster"},
             {"-a,--updateAllBroker", "BOOL", "With -c: replicas, too"},
             {"-k,--key", "KEY", "Configuration key", Kind::kText, true},
             {"-v,--value", "VALUE", "Its new value", Kind::kText, true}},
            {"updateBrokerConfig -n 127.0.0.1:9876 -b broker-a -k fileReservedTime -v 48"},
            update_broker_config},
           {"cleanExpiredCQ",
            "broker clean-queues",
            "Delete consume queue files of messages that are gone",
            "",
            {kBrokerOption, cleaned},
            {"cleanExpiredCQ -n 127.0.0.1:9876 -c DefaultCluster"},
            clean_expired_cq},
           {"deleteExpiredCommitLog",
            "broker clean-log",
            "Delete commit log files past their time, now",
            "",
            {kBrokerOption, cleaned},
            {"deleteExpiredCommitLog -n 127.0.0.1:9876 -b broker-a"},
            delete_expired_log},
           {"cleanUnusedTopic",
            "broker clean-topics",
            "Delete queues of topics nobody has configured any more",
            "",
            {kBrokerOption, cleaned},
            {"cleanUnusedTopic -n 127.0.0.1:9876 -c DefaultCluster"},
            clean_unused_topic},
           {"haStatus",
            "broker ha",
            "How far replicas are",
            "",
            {kBrokerOption,
             kClusterOption,
             {"-i,--interval", "SECONDS", "Again and again", Kind::kNumber}},
            {"haStatus -n 127.0.0.1:9876 -b broker-a"},
            ha_status},
           {"statsAll",
            "broker traffic",
            "Messages a second and a day of every topic and group",
            "",
            {{"-a,--activeTopic", "", "Only those with traffic", Kind::kSwitch},
             {"-t,--topic", "TOPIC", "Only this topic"}},
            {"statsAll -n 127.0.0.1:9876 -a"},
            stats_all}}};
}

}  // namespace apogee
