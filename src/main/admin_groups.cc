#include <algorithm>

#include <fmt/format.h>

#include "main/admin_command.h"
#include "protocol/names.h"

namespace apogee {
namespace {

using Kind = AdminOption::Kind;
using protocol::Json;

const AdminOption kGroup{"-g,--groupName", "GROUP", "Consumer group", Kind::kText, true};
const AdminOption kConsumerGroup{"-g,--consumerGroup", "GROUP", "Consumer group", Kind::kText,
                                 true};

// ---- Configuration

Result<Ok> update_sub_group(AdminCall& call) {
  admin::GroupConfig group;
  group.name = call.text("groupName");
  group.consume_enable = call.boolean("consumeEnable", true);
  group.consume_from_min_enable = call.boolean("consumeFromMinEnable", false);
  group.consume_broadcast_enable = call.boolean("consumeBroadcastEnable", false);
  group.consume_message_orderly = call.boolean("consumeMessageOrderly", false);
  group.notify_consumer_ids_changed = call.boolean("notifyConsumerIdsChanged", true);
  group.retry_queues = static_cast<std::int32_t>(call.number("retryQueueNums", 1));
  group.retry_max_times = static_cast<std::int32_t>(call.number("retryMaxTimes", 16));
  group.broker_id = call.number("brokerId", 0);
  group.which_broker_when_slow = call.number("whichBrokerWhenConsumeSlowly", 1);
  group.retry_policy = call.text("groupRetryPolicy");
  auto attributes = attributes_from(call.text("attributes"));
  if (!attributes) return attributes.error();
  group.attributes = *std::move(attributes);
  auto brokers = brokers_meant(call);
  if (!brokers) return brokers.error();
  if (group.retry_queues <= 0)
    call.report.line("WARN: without retry queues, messages that are to come again are dropped");
  auto done = at_each(call, *brokers, "create subscription group to", [&](const auto& broker) {
    return call.admin.create_group(broker, group, call.timeout);
  });
  call.report.fact("Group", "group", group.name);
  call.report.fact("Consume enable", "consumeEnable", group.consume_enable);
  call.report.fact("Retry queues", "retryQueues", group.retry_queues);
  call.report.fact("Retry max times", "retryMaxTimes", group.retry_max_times);
  return done;
}

Result<Ok> delete_sub_group(AdminCall& call) {
  const std::string group = call.text("groupName");
  auto brokers = brokers_named(call);
  if (!brokers) return brokers.error();
  auto done = at_each(call, *brokers, "delete subscription group from", [&](const auto& broker) {
    return call.admin.delete_group(broker, group, call.boolean("removeOffset", false),
                                   call.timeout);
  });
  call.report.member("group", protocol::to_json(group));
  if (!done || !call.has("clusterName")) return done;
  // The topics that came with the group go with it.
  const std::string cluster = call.text("clusterName");
  for (const std::string& topic : {protocol::retry_topic(group), protocol::dlq_topic(group)})
    if (auto gone = call.admin.delete_topic(topic, cluster, call.timeout);
        !gone && gone.error().code != Errc::kNotFound)
      return gone;
  return Ok{};
}

Result<Ok> set_consume_mode(AdminCall& call) {
  const std::string topic = call.text("topicName"), group = call.text("groupName"),
                    mode = call.text("mode");
  if (mode != "PULL" && mode != "POP")
    return Error{Errc::kInvalidArgument, "-m is PULL or POP, not " + mode};
  const auto shared = static_cast<std::int32_t>(call.number("popShareQueueNum", 0));
  auto brokers = brokers_meant(call);
  if (!brokers) return brokers.error();
  auto done = at_each(call, *brokers, "set consume mode to", [&](const std::string& broker) {
    return call.admin.set_consume_mode(broker, topic, group, mode, shared, call.timeout);
  });
  call.report.fact("Topic", "topic", topic);
  call.report.fact("Group", "group", group);
  call.report.fact("Consume mode", "mode", mode);
  call.report.fact("Pop share queues", "popShareQueues", shared);
  return done;
}

std::map<std::string, std::string> fields_of(const admin::GroupConfig& config) {
  const auto text = [](auto value) { return Cell{value}.text; };
  std::string attributes;
  for (const auto& [name, value] : config.attributes)
    attributes += fmt::format("{}{}={}", attributes.empty() ? "" : ", ", name, value);
  return {{"groupName", config.name},
          {"consumeEnable", text(config.consume_enable)},
          {"consumeFromMinEnable", text(config.consume_from_min_enable)},
          {"consumeBroadcastEnable", text(config.consume_broadcast_enable)},
          {"consumeMessageOrderly", text(config.consume_message_orderly)},
          {"retryQueueNums", text(config.retry_queues)},
          {"retryMaxTimes", text(config.retry_max_times)},
          {"groupRetryPolicy", config.retry_policy},
          {"brokerId", text(config.broker_id)},
          {"whichBrokerWhenConsumeSlowly", text(config.which_broker_when_slow)},
          {"notifyConsumerIdsChangedEnable", text(config.notify_consumer_ids_changed)},
          {"groupSysFlag", text(config.sys_flag)},
          {"consumeTimeoutMinute", text(config.consume_timeout_minutes)},
          {"attributes", "{" + attributes + "}"}};
}

Result<Ok> get_consumer_config(AdminCall& call) {
  const std::string group = call.text("groupName");
  auto brokers = call.admin.brokers(call.timeout);
  if (!brokers) return brokers.error();
  Json all = Json::object();
  for (const admin::Broker& each : *brokers) {
    if (each.id != 0) continue;
    auto config = call.admin.group_config(each.address, group, call.timeout);
    if (!config && config.error().code == Errc::kNotFound) continue;
    if (!config) return config.error();
    const auto fields = fields_of(*config);
    call.report.line(fmt::format("============{}:{}============", each.cluster, each.name));
    call.report.properties(fields);
    all.set(each.name, protocol::to_json(fields));
  }
  if (all.members()->empty())
    return Error{Errc::kNotFound, "no broker has a consumer group " + group};
  call.report.member("brokers", std::move(all));
  return Ok{};
}

// ---- Progress

Cell last_time(const admin::QueueProgress& queue) {
  return Cell{queue.last_consumed, "N/A"};
}

/// Queue to the address of the client that has it.
std::map<MessageQueue, std::string> owners(AdminCall& call, const std::string& group) {
  std::map<MessageQueue, std::string> owners;
  const auto connections = call.admin.consumer_connections(group, call.timeout);
  if (!connections) return owners;
  for (const auto& each : connections->members) {
    const auto info = call.admin.running_info(group, each.client_id, false, call.timeout);
    if (!info) continue;
    for (const auto& queue : info->queues)
      owners[queue.queue] = each.client_id.substr(0, each.client_id.find('@'));
  }
  return owners;
}

Result<Ok> progress_of_group(AdminCall& call) {
  const std::string group = call.text("groupName");
  auto progress = call.admin.progress(group, call.text("topicName"), call.timeout);
  if (!progress) return progress.error();
  if (progress->queues.empty())
    return Error{Errc::kNotFound, "group " + group + " has consumed nothing yet"};
  const bool with_clients = call.boolean("showClientIP", false);
  const auto owner = with_clients ? owners(call, group) : std::map<MessageQueue, std::string>{};
  std::vector<Report::Column> columns{{"#Topic", "topic"},
                                      {"#Broker Name", "broker"},
                                      {"#QID", "queueId"},
                                      {"#Broker Offset", "brokerOffset"},
                                      {"#Consumer Offset", "consumerOffset"}};
  if (with_clients) columns.push_back({"#Client IP", "clientIp"});
  columns.insert(columns.end(),
                 {{"#Diff", "diff"}, {"#Inflight", "inflight"}, {"#LastTime", "lastTime"}});
  Report::Table& table = call.report.table("queues", columns);
  for (const auto& each : progress->queues) {
    std::vector<Cell> row{each.queue.topic, each.queue.broker, each.queue.queue_id,
                          each.broker_offset, each.consumer_offset};
    if (with_clients) {
      const auto found = owner.find(each.queue);
      row.push_back(found == owner.end() ? Cell{"N/A", Json{}} : Cell{found->second});
    }
    row.insert(row.end(), {Cell{each.lag()}, Cell{each.in_flight()}, last_time(each)});
    table.add(std::move(row));
  }
  call.report.line("");
  call.report.fact("Consume TPS", "consumeTps", Cell{progress->consumed_per_second, 2});
  call.report.fact("Consume Diff Total", "diffTotal", progress->lag());
  call.report.fact("Consume Inflight Total", "inflightTotal", progress->in_flight());
  return Ok{};
}

void add_group(AdminCall& call, const std::string& group, Report::Table& table,
               Unanswered& unanswered) {
  const auto progress = call.admin.progress(group, {}, call.timeout);
  const auto connections = call.admin.consumer_connections(group, call.timeout);
  const bool knows_progress = unanswered.has(progress), knows_members = unanswered.has(connections);
  if (!progress && !connections && knows_progress && knows_members) return;
  std::vector<Cell> row{group};
  if (connections) {
    const auto oldest =
        std::ranges::min_element(connections->members, {}, &admin::Connection::version);
    const bool pulls = connections->consume_type == "CONSUME_ACTIVELY";
    row.insert(row.end(),
               {static_cast<std::int64_t>(connections->members.size()), oldest->version_name,
                pulls ? "PULL" : "PUSH", pulls ? "" : Cell{connections->message_model}});
  } else if (knows_members) {
    row.insert(row.end(), {0, "OFFLINE", "", ""});
  } else {
    row.insert(row.end(), 4, Unanswered::cell());
  }
  if (knows_progress)
    row.insert(row.end(), {Cell{progress ? progress->consumed_per_second : 0.0, 0},
                           progress ? progress->lag() : 0});
  else
    row.insert(row.end(), 2, Unanswered::cell());
  table.add(std::move(row));
}

Result<Ok> consumer_progress(AdminCall& call) {
  if (call.has("groupName")) return progress_of_group(call);
  auto topics = call.admin.topics(call.timeout);
  if (!topics) return topics.error();
  Report::Table& table = call.report.table("groups", {{"#Group", "group"},
                                                      {"#Count", "members"},
                                                      {"#Version", "version"},
                                                      {"#Type", "type"},
                                                      {"#Model", "model"},
                                                      {"#TPS", "consumeTps"},
                                                      {"#Diff Total", "diffTotal"}});
  Unanswered unanswered;
  std::size_t done = 0;
  for (const std::string& topic : *topics) {
    call.working(done++, topics->size(), "topics");
    // Every group that ever had a member has a retry topic; those of POP are named otherwise.
    if (protocol::is_retry_topic(topic))
      add_group(call, topic.substr(protocol::kRetryPrefix.size()), table, unanswered);
  }
  return unanswered.end();
}

// ---- Who is there

void add_connections(Report& report, const std::vector<admin::Connection>& connections) {
  Report::Table& table = report.table("connections", {{"#ClientId", "clientId"},
                                                      {"#ClientAddr", "address"},
                                                      {"#Language", "language"},
                                                      {"#Version", "version"}});
  for (const auto& each : connections)
    table.add({each.client_id, each.address, each.language, each.version_name});
}

Result<admin::ConsumerConnections> connections_asked(AdminCall& call, const std::string& group) {
  if (!call.has("brokerAddr")) return call.admin.consumer_connections(group, call.timeout);
  auto broker = broker_address(call, call.text("brokerAddr"));
  if (!broker) return broker.error();
  return call.admin.consumer_connections(group, *broker, call.timeout);
}

Result<Ok> consumer_connection(AdminCall& call) {
  auto connections = connections_asked(call, call.text("consumerGroup"));
  if (!connections) return connections.error();
  add_connections(call.report, connections->members);
  call.report.line("\nBelow is subscription:");
  Report::Table& table = call.report.table(
      "subscriptions", {{"#Topic", "topic"}, {"#SubExpression", "expression"}, {"#Type", "type"}});
  for (const auto& each : connections->subscriptions)
    table.add({each.topic, each.expression, each.type});
  call.report.line("");
  call.report.fact("ConsumeType", "consumeType", connections->consume_type);
  call.report.fact("MessageModel", "messageModel", connections->message_model);
  call.report.fact("ConsumeFromWhere", "consumeFromWhere", connections->consume_from);
  return Ok{};
}

Result<Ok> producer_connection(AdminCall& call) {
  auto connections =
      call.admin.producer_connections(call.text("producerGroup"), call.text("topic"), call.timeout);
  if (!connections) return connections.error();
  add_connections(call.report, *connections);
  return Ok{};
}

// ---- What consumers say of themselves

void show_running_info(Report& report, const admin::RunningInfo& info) {
  report.line("#Consumer Properties#");
  report.properties(info.properties);
  report.line("\n#Consumer Subscription#");
  Report::Table& subscriptions =
      report.table("", {{"#Topic", ""}, {"#Type", ""}, {"#SubExpression", ""}});
  for (const auto& each : info.subscriptions)
    subscriptions.add({each.topic, each.type, each.expression});
  report.line("\n#Consumer MQ Detail#");
  Report::Table& queues = report.table("", {{"#Topic", ""},
                                            {"#Broker Name", ""},
                                            {"#QID", ""},
                                            {"#Consumer Offset", ""},
                                            {"#Cached", ""},
                                            {"#MiB", ""},
                                            {"#Locked", ""},
                                            {"#Dropped", ""},
                                            {"#Last Pull", ""},
                                            {"#Last Consume", ""}});
  for (const auto& each : info.queues)
    queues.add({each.queue.topic, each.queue.broker, each.queue.queue_id, each.commit_offset,
                each.cached_messages, each.cached_mebibytes, each.locked, each.dropped,
                Cell{each.last_pulled}, Cell{each.last_consumed}});
  report.line("\n#Consumer RT&TPS#");
  Report::Table& rates = report.table("", {{"#Topic", ""},
                                           {"#Pull RT", ""},
                                           {"#Pull TPS", ""},
                                           {"#Consume RT", ""},
                                           {"#ConsumeOK TPS", ""},
                                           {"#ConsumeFailed TPS", ""},
                                           {"#ConsumeFailedMsgsInHour", ""}});
  for (const auto& [topic, each] : info.topics)
    rates.add({topic, Cell{each.pull_ms, 2}, Cell{each.pulled_per_second, 2},
               Cell{each.consume_ms, 2}, Cell{each.consumed_per_second, 2},
               Cell{each.failed_per_second, 2}, each.failed_in_hour});
  if (!info.stacks.empty()) report.line("\n#Consumer jstack#\n" + printable(info.stacks));
}

/// Queues nobody gets on with, in mqadmin's words (ConsumerRunningInfo.analyzeProcessQueue).
std::vector<std::string> stuck(const std::string& client, const admin::RunningInfo& info,
                               admin::Time now) {
  constexpr std::chrono::minutes kLong{1};
  const auto since = [&](admin::Time then) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(now - then);
  };
  const auto orderly = info.properties.find("PROP_CONSUMEORDERLY");
  const bool ordered = orderly != info.properties.end() && orderly->second == "true";
  std::vector<std::string> found;
  if (!info.pushes()) return found;
  for (const auto& each : info.queues) {
    const std::string who = client + " " + to_string(each.queue);
    if (ordered && !each.locked)
      found.push_back(
          fmt::format("{} can't lock for a while, {}ms", who, since(each.last_locked).count()));
    else if (ordered && each.dropped && each.try_unlock_times > 0)
      found.push_back(fmt::format("{} unlock {} times, still failed", who, each.try_unlock_times));
    else if (!ordered && since(each.last_consumed) > kLong && each.cached_messages > 0)
      found.push_back(fmt::format("{} can't consume for a while, maybe blocked, {}ms", who,
                                  since(each.last_consumed).count()));
  }
  return found;
}

bool same_subscriptions(const std::map<std::string, admin::RunningInfo>& infos) {
  std::set<std::set<std::string>> kinds;
  for (const auto& [client, info] : infos) {
    std::set<std::string> kind;
    for (const auto& each : info.subscriptions)
      kind.insert(each.topic + "\n" + each.type + "\n" + each.expression);
    kinds.insert(std::move(kind));
  }
  return kinds.size() <= 1;
}

Json raw(const admin::RunningInfo& info) {
  auto parsed = protocol::parse_json(info.json);
  return parsed ? *std::move(parsed) : Json{};
}

Result<Ok> consumer_status(AdminCall& call) {
  const std::string group = call.text("consumerGroup");
  const bool with_stacks = call.has("jstack");
  if (call.has("clientId")) {
    auto info = call.admin.running_info(group, call.text("clientId"), with_stacks, call.timeout);
    if (!info) return info.error();
    show_running_info(call.report, *info);
    call.report.member("runningInfo", raw(*info));
    return Ok{};
  }
  auto connections = connections_asked(call, group);
  if (!connections) return connections.error();
  Report::Table& table = call.report.table("clients", {{"#Index", "index"},
                                                       {"#ClientId", "clientId"},
                                                       {"#Version", "version"},
                                                       {"#Queues", "queues"},
                                                       {"#Cached", "cachedMessages"}});
  std::map<std::string, admin::RunningInfo> infos;
  Json all = Json::object();
  Result<Ok> result = Ok{};
  for (const auto& each : connections->members) {
    auto info = call.admin.running_info(group, each.client_id, with_stacks, call.timeout);
    if (!info) {
      result = info.error();
      continue;
    }
    std::int64_t cached = 0;
    for (const auto& queue : info->queues) cached += queue.cached_messages;
    table.add({static_cast<std::int64_t>(infos.size() + 1), each.client_id, each.version_name,
               static_cast<std::int64_t>(info->queues.size()), cached});
    all.set(each.client_id, raw(*info));
    infos.emplace(each.client_id, *std::move(info));
  }
  const bool same = same_subscriptions(infos);
  call.report.line(same ? "\nSame subscription in the same group of consumer"
                        : "\nWARN: Different subscription in the same group of consumer!!!");
  call.report.member("sameSubscription", protocol::to_json(same));
  std::vector<std::string> problems;
  for (const auto& [client, info] : infos)
    std::ranges::move(stuck(client, info, admin::Time{std::chrono::milliseconds{call.now_ms()}}),
                      std::back_inserter(problems));
  for (const std::string& each : problems) call.report.line(printable(each));
  call.report.member("problems", protocol::to_json(problems));
  if (with_stacks)
    for (const auto& [client, info] : infos)
      call.report.line("\n" + client + "\n" + printable(info.stacks));
  call.report.member("runningInfo", std::move(all));
  return result;
}

}  // namespace

AdminArea group_commands() {
  const AdminOption topic{"-t,--topicName", "TOPIC", "Topic"};
  return {
      "Groups and clients",
      {{"updateSubGroup",
        "group create",
        "Create or change a consumer group",
        "Without -b and -c: on the masters of all clusters. What is not given gets its default, "
        "also "
        "in a group that exists.",
        {kGroup,
         kBrokerOption,
         kClusterOption,
         {"-s,--consumeEnable", "BOOL", "It may consume (true)", Kind::kBoolean},
         {"-m,--consumeFromMinEnable", "BOOL", "New queues from their first message (false)",
          Kind::kBoolean},
         {"-d,--consumeBroadcastEnable", "BOOL", "It may broadcast (false)", Kind::kBoolean},
         {"-o,--consumeMessageOrderly", "BOOL", "POP: one message of a queue at a time (false)",
          Kind::kBoolean},
         {"-q,--retryQueueNums", "N", "Queues of its retry topic (1)", Kind::kNumber},
         {"-r,--retryMaxTimes", "N", "Retries before the dead letters (16)", Kind::kNumber},
         {"-p,--groupRetryPolicy", "JSON",
          "{\"type\":\"EXPONENTIAL\",\"exponentialRetryPolicy\":{\"initial\":5000,\"max\":7200000,"
          "\"multiplier\":2}}"},
         {"-i,--brokerId", "ID", "Consume from the broker with this id (0)", Kind::kNumber},
         {"-w,--whichBrokerWhenConsumeSlowly", "ID", "When far behind, from this one (1)",
          Kind::kNumber},
         {"-a,--notifyConsumerIdsChanged", "BOOL", "Tell members of each other (true)",
          Kind::kBoolean},
         {"--attributes", "CHANGES", "Attributes: +a=b,-c"}},
        {"updateSubGroup -n 127.0.0.1:9876 -c DefaultCluster -g billing -r 5"},
        update_sub_group},
       {"deleteSubGroup",
        "group delete",
        "Delete a consumer group",
        "One of -b and -c; with -c its retry and dead letter topics go, too.",
        {kGroup,
         kBrokerOption,
         kClusterOption,
         {"-r,--removeOffset", "BOOL", "Its offsets, too (false)", Kind::kBoolean}},
        {"deleteSubGroup -n 127.0.0.1:9876 -c DefaultCluster -g billing -r true"},
        delete_sub_group},
       {"getConsumerConfig",
        "group config",
        "Configuration of a consumer group on every broker",
        "",
        {kGroup},
        {"getConsumerConfig -n 127.0.0.1:9876 -g billing"},
        get_consumer_config},
       {"setConsumeMode",
        "group mode",
        "Let a group pull or pop a topic",
        "",
        {{"-t,--topicName", "TOPIC", "Topic", Kind::kText, true},
         kGroup,
         {"-m,--mode", "MODE", "PULL or POP", Kind::kText, true},
         {"-q,--popShareQueueNum", "N", "POP: queues a member shares with the next (0: all)",
          Kind::kNumber},
         kBrokerOption,
         kClusterOption},
        {"setConsumeMode -n 127.0.0.1:9876 -c DefaultCluster -t orders -g billing -m POP"},
        set_consume_mode},
       {"consumerProgress",
        "consumer progress",
        "Where consumer groups stand",
        "Without -g: all groups, one line each.",
        {{"-g,--groupName", "GROUP", "Consumer group"},
         topic,
         {"-s,--showClientIP", "BOOL", "Whose each queue is", Kind::kBoolean},
         {"-c,--cluster", "CLUSTER", "Taken for mqadmin's sake"}},
        {"consumerProgress -n 127.0.0.1:9876",
         "consumerProgress -n 127.0.0.1:9876 -g billing --json"},
        consumer_progress},
       {"consumerStatus",
        "consumer status",
        "What the members of a group say of themselves",
        "With -i everything one member says.",
        {kConsumerGroup,
         {"-i,--clientId", "ID", "Only this member"},
         {"-b,--brokerAddr", "ADDRESS", "Members as this broker knows them"},
         {"-s,--jstack", "", "With the stacks of their threads", Kind::kSwitch}},
        {"consumerStatus -n 127.0.0.1:9876 -g billing"},
        consumer_status},
       {"consumerConnection",
        "consumer connections",
        "Members of a consumer group and what they subscribe to",
        "",
        {kConsumerGroup, {"-b,--brokerAddr", "ADDRESS", "As this broker knows them"}},
        {"consumerConnection -n 127.0.0.1:9876 -g billing"},
        consumer_connection},
       {"producerConnection",
        "producer connections",
        "Producers of a group",
        "",
        {{"-g,--producerGroup", "GROUP", "Producer group", Kind::kText, true},
         {"-t,--topic", "TOPIC", "Topic they send to", Kind::kText, true}},
        {"producerConnection -n 127.0.0.1:9876 -g checkout -t orders"},
        producer_connection}}};
}

}  // namespace apogee
