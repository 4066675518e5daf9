#include <fmt/format.h>

#include "main/admin_command.h"

namespace apogee {
namespace {

using Kind = AdminOption::Kind;

void show_reset(AdminCall& call, const admin::ResetResult& result) {
  call.report.member("online", protocol::to_json(result.online));
  if (result.online) {
    Report::Table& table = call.report.table(
        "queues", {{"#brokerName", "broker"}, {"#queueId", "queueId"}, {"#offset", "offset"}});
    for (const auto& each : result.queues)
      table.add({each.queue.broker, each.queue.queue_id, each.offset});
    return;
  }
  call.report.line("no member of the group is online: its offsets were written");
  Report::Table& table = call.report.table("queues", {{"#brokerName", "broker"},
                                                      {"#queueId", "queueId"},
                                                      {"#brokerOffset", "brokerOffset"},
                                                      {"#consumerOffset", "consumerOffset"},
                                                      {"#timestampOffset", "timestampOffset"},
                                                      {"#resetOffset", "offset"}});
  for (const auto& each : result.queues)
    table.add({each.queue.broker, each.queue.queue_id, each.broker_offset, each.consumer_offset,
               each.offset_of_time, each.offset});
}

Result<Ok> reset(AdminCall& call, std::int64_t timestamp) {
  const admin::OffsetReset wanted{.topic = call.text("topic"),
                                  .group = call.text("group"),
                                  .timestamp = timestamp,
                                  .force = call.boolean("force", true)};
  auto result = call.admin.reset_offsets(wanted, call.timeout);
  if (!result) return result.error();
  show_reset(call, *result);
  return Ok{};
}

Result<Ok> reset_offset_by_time(AdminCall& call) {
  auto timestamp = timestamp_from(call.text("timestamp"), call.now_ms());
  if (!timestamp) return timestamp.error();
  const std::string topic = call.text("topic"), group = call.text("group");
  call.report.line(fmt::format("reset consumer offset, group[{}], topic[{}], timestamp[{}] {}",
                               printable(group), printable(topic), *timestamp,
                               local_time(admin::Time{std::chrono::milliseconds{*timestamp}})));
  call.report.member("timestamp", protocol::to_json(*timestamp));
  if (!call.has("queue") && !call.has("broker")) return reset(call, *timestamp);
  if (!call.has("queue") || !call.has("broker"))
    return Error{Errc::kInvalidArgument, "for one queue both -b and -q are needed"};
  auto broker = broker_address(call, call.text("broker"));
  if (!broker) return broker.error();
  auto offset = call.admin.reset_queue_offset(
      {.topic = topic, .group = group, .timestamp = *timestamp}, *broker,
      static_cast<std::int32_t>(call.number("queue", 0)), call.number("offset", -1), call.timeout);
  if (!offset) return offset.error();
  call.report.fact("reset consumer offset to", "offset", *offset);
  return Ok{};
}

Result<Ok> skip_accumulated(AdminCall& call) {
  return reset(call, -1);
}

Result<Ok> clone_group_offset(AdminCall& call) {
  const std::string from = call.text("srcGroup"), to = call.text("destGroup"),
                    topic = call.text("topic");
  auto progress = call.admin.progress(from, topic, call.timeout);
  if (!progress) return progress.error();
  auto route = call.admin.topic_route(topic, call.timeout);
  if (!route) return route.error();
  std::map<std::string, std::string> addresses;
  for (const auto& each : route->brokers)
    if (!each.addresses.empty()) addresses[each.broker] = each.addresses.begin()->second;
  Report::Table& table = call.report.table("queues", {{"#Topic", "topic"},
                                                      {"#Broker Name", "broker"},
                                                      {"#QID", "queueId"},
                                                      {"#Offset", "offset"}});
  for (const auto& each : progress->queues) {
    const auto address = addresses.find(each.queue.broker);
    if (each.queue.topic != topic || address == addresses.end()) continue;
    if (auto written = call.admin.update_offset(address->second, to, each.queue,
                                                each.consumer_offset, call.timeout);
        !written)
      return written;
    table.add({each.queue.topic, each.queue.broker, each.queue.queue_id, each.consumer_offset});
  }
  if (table.empty())
    return Error{Errc::kNotFound, "group " + from + " has no offsets in topic " + topic};
  call.report.line(
      fmt::format("clone group offset success. srcGroup[{}], destGroup=[{}], topic[{}]",
                  printable(from), printable(to), printable(topic)));
  return Ok{};
}

}  // namespace

AdminArea offset_commands() {
  const AdminOption group{"-g,--group", "GROUP", "Consumer group", Kind::kText, true};
  const AdminOption topic{"-t,--topic", "TOPIC", "Topic", Kind::kText, true};
  const AdminOption force{"-f,--force", "BOOL", "Also forward, not only back (true)",
                          Kind::kBoolean};
  const AdminOption cluster{"-c,--cluster", "CLUSTER", "Taken for mqadmin's sake"};
  return {"Offsets",
          {{"resetOffsetByTime",
            "offset reset",
            "Let a group go on from a point in time",
            "Members that are online are told; without any the offsets are written for them. With "
            "-b and "
            "-q one queue alone.",
            {group,
             topic,
             {"-s,--timestamp", "TIME", "now, Unix milliseconds, or yyyy-MM-dd#HH:mm:ss:SSS",
              Kind::kText, true},
             force,
             {"-b,--broker", "ADDRESS", "With -q: the queue's broker, host:port or its name"},
             {"-q,--queue", "ID", "With -b: this queue alone", Kind::kNumber},
             {"-o,--offset", "OFFSET", "With -q: this offset, whatever the time", Kind::kNumber},
             cluster},
            {"resetOffsetByTime -n 127.0.0.1:9876 -g billing -t orders -s now",
             "resetOffsetByTime -n 127.0.0.1:9876 -g billing -t orders -s 2026-01-31#00:00:00:000"},
            reset_offset_by_time},
           {"skipAccumulatedMessage",
            "offset skip",
            "Let a group go on behind the last message",
            "",
            {group, topic, force, cluster},
            {"skipAccumulatedMessage -n 127.0.0.1:9876 -g billing -t orders"},
            skip_accumulated},
           {"cloneGroupOffset",
            "offset clone",
            "Let a group stand where another one stands",
            "",
            {{"-s,--srcGroup", "GROUP", "Group to copy from", Kind::kText, true},
             {"-d,--destGroup", "GROUP", "Group to copy to", Kind::kText, true},
             topic,
             {"-o,--offline", "BOOL", "Taken for mqadmin's sake", Kind::kBoolean}},
            {"cloneGroupOffset -n 127.0.0.1:9876 -s billing -d billing2 -t orders"},
            clone_group_offset}}};
}

}  // namespace apogee
