#include <fmt/format.h>

#include "main/admin_command.h"
#include "main/text.h"
#include "protocol/message.h"
#include "protocol/names.h"

namespace apogee {
namespace {

using Kind = AdminOption::Kind;
using protocol::Json;

// ---- One message

/// Text as it is; other bytes in hex, so that terminals survive them.
std::string shown(const std::string& body, std::size_t most) {
  std::string text = is_text(body) ? printable(body) : "0x" + hex(body.substr(0, most / 2));
  return text.size() <= most ? text : std::string{beginning(text, most)} + " ...";
}

std::string joined(const std::vector<std::string>& keys) {
  return fmt::format("{}", fmt::join(keys, " "));
}

Json json_of(const ReceivedMessage& message) {
  Json json = Json::object();
  const auto set = [&](const char* key, const auto& value) {
    json.set(key, protocol::to_json(value));
  };
  set("messageId", message.message_id);
  set("offsetMessageId", message.offset_message_id);
  set("topic", message.topic);
  set("tags", message.tag);
  set("keys", message.keys);
  set("broker", message.queue.broker);
  set("queueId", message.queue.queue_id);
  set("queueOffset", message.queue_offset);
  set("commitLogOffset", message.commit_log_offset);
  set("reconsumeTimes", message.reconsume_times);
  json.set("bornTimestamp", Cell{message.born}.json);
  json.set("storeTimestamp", Cell{message.stored}.json);
  set("bornHost", message.born_host);
  set("storeHost", message.store_host);
  set("sysFlag", message.sys_flag);
  set("properties", message.properties);
  if (is_text(message.body))
    set("body", message.body);
  else
    set("bodyHex", hex(message.body));
  return json;
}

void show_message(Report& report, const ReceivedMessage& message) {
  constexpr std::size_t kShown = 4'096;
  std::string properties;
  for (const auto& [name, value] : message.properties)
    properties += fmt::format("{}{}={}", properties.empty() ? "" : ", ", name, value);
  report.fact("OffsetID", "", message.offset_message_id);
  report.fact("Message ID", "", message.message_id);
  report.fact("Topic", "", message.topic);
  report.fact("Tags", "", "[" + message.tag + "]");
  report.fact("Keys", "", "[" + joined(message.keys) + "]");
  report.fact("Queue ID", "", message.queue.queue_id);
  report.fact("Queue Offset", "", message.queue_offset);
  report.fact("CommitLog Offset", "", message.commit_log_offset);
  report.fact("Reconsume Times", "", message.reconsume_times);
  report.fact("Born Timestamp", "", Cell{message.born});
  report.fact("Store Timestamp", "", Cell{message.stored});
  report.fact("Born Host", "", message.born_host);
  report.fact("Store Host", "", message.store_host);
  report.fact("System Flag", "", message.sys_flag);
  report.fact("Properties", "", "{" + properties + "}");
  report.fact("Message Body", "", Cell{shown(message.body, kShown), Json{}});
}

Json show_tracks(AdminCall& call, const ReceivedMessage& message) {
  Json::Array all;
  const auto tracks = call.admin.track(message, call.timeout);
  if (!tracks) {
    call.report.line("\nWARN: who consumed it is not known: " + tracks.error().detail);
    return Json{};
  }
  if (tracks->empty()) {
    call.report.line("\nWARN: No Consumer");
    return Json{Json::Value{std::move(all)}};
  }
  call.report.line("");
  Report::Table& table =
      call.report.table("", {{"#ConsumerGroup", ""}, {"#TrackType", ""}, {"#Description", ""}});
  for (const auto& each : *tracks) {
    table.add({each.group, each.state, each.reason});
    Json track = Json::object();
    track.set("group", protocol::to_json(each.group));
    track.set("state", protocol::to_json(each.state));
    track.set("reason", protocol::to_json(each.reason));
    all.push_back(std::move(track));
  }
  return Json{Json::Value{std::move(all)}};
}

/// With what became of each at the groups that consume its topic. JSON: messages.
void show_messages(AdminCall& call, const std::vector<ReceivedMessage>& messages,
                   bool with_tracks) {
  Json::Array all;
  for (const ReceivedMessage& each : messages) {
    if (!all.empty()) call.report.line("");
    show_message(call.report, each);
    Json json = json_of(each);
    if (with_tracks) json.set("tracks", show_tracks(call, each));
    all.push_back(std::move(json));
  }
  call.report.member("messages", Json{Json::Value{std::move(all)}});
}

// ---- Finding messages

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(separator, at), text.size());
    if (end > at) parts.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

Result<std::vector<ReceivedMessage>> by_unique_key(AdminCall& call, const std::string& topic,
                                                   const std::string& id, std::int32_t max) {
  auto found = call.admin.messages_by_key({.topic = topic, .key = id, .unique = true, .max = max},
                                          call.timeout);
  if (!found) return found.error();
  if (found->empty())
    return Error{Errc::kNotFound, "there is no message " + id + " in topic " + topic};
  return found;
}

/// As MQAdminImpl.queryMessage: an offset id says where it lies, anything else is a unique key.
Result<ReceivedMessage> by_id(AdminCall& call, const std::string& topic, const std::string& id) {
  Error nothing{Errc::kNotFound, "there is no message " + id};
  if (protocol::parse_offset_message_id(id)) {
    auto found = call.admin.message_by_offset_id(id, call.timeout);
    if (found) return found;
    nothing = found.error();
  }
  if (topic.empty())
    return Error{nothing.code, nothing.detail + "; if that is a unique key, name its topic with -t",
                 nothing.response_code};
  auto found = by_unique_key(call, topic, id, 1);
  if (!found) return found.error();
  return std::move(found->front());
}

Result<Ok> push_to(AdminCall& call, const ReceivedMessage& message) {
  auto result = call.admin.consume_directly(call.text("consumerGroup"), call.text("clientId"),
                                            message, call.timeout);
  if (!result) return result.error();
  call.report.fact("Message ID", "messageId", message.message_id);
  call.report.fact("Consume Result", "result", result->outcome);
  call.report.fact("Order", "order", result->ordered);
  call.report.fact("Auto Commit", "autoCommit", result->auto_commit);
  call.report.fact("Remark", "remark", result->remark);
  call.report.fact("Spent Time(ms)", "spentMs", result->took_ms);
  return Ok{};
}

void show_sent(AdminCall& call, const SendReceipt& sent, Report::Table& table) {
  const char* status = sent.status == SendStatus::kOk                    ? "SEND_OK"
                       : sent.status == SendStatus::kFlushDiskTimeout    ? "FLUSH_DISK_TIMEOUT"
                       : sent.status == SendStatus::kReplicaNotAvailable ? "SLAVE_NOT_AVAILABLE"
                                                                         : "FLUSH_SLAVE_TIMEOUT";
  table.add({sent.queue.broker, sent.queue.queue_id, status, sent.message_id,
             sent.offset_message_id, sent.queue_offset});
  (void)call;
}

Report::Table& sent_table(AdminCall& call) {
  return call.report.table("sent", {{"#Broker Name", "broker"},
                                    {"#QID", "queueId"},
                                    {"#Send Result", "result"},
                                    {"#MsgId", "messageId"},
                                    {"#OffsetMsgId", "offsetMessageId"},
                                    {"#Offset", "queueOffset"}});
}

/// What RocketMQ put there is put there anew.
Message copy_of(const ReceivedMessage& message) {
  Message copy{
      .topic = message.topic, .body = message.body, .tag = message.tag, .keys = message.keys};
  copy.flag = message.flag;
  for (const auto& [name, value] : message.properties)
    if (!name.empty() && name.find_first_of("abcdefghijklmnopqrstuvwxyz") != std::string::npos)
      copy.properties[name] = value;
  return copy;
}

Result<Ok> send_again(AdminCall& call, const std::vector<ReceivedMessage>& messages) {
  auto producer = call.client.producer({.group = "ReSendMsgById"});
  if (!producer) return producer.error();
  Report::Table& table = sent_table(call);
  for (const ReceivedMessage& each : messages) {
    auto sent = producer->send(copy_of(each), call.timeout);
    if (!sent) return sent.error();
    show_sent(call, *sent, table);
  }
  return Ok{};
}

Result<Ok> query_by_id(AdminCall& call) {
  const std::string topic = call.text("topic");
  std::vector<ReceivedMessage> messages;
  for (const std::string& id : split(call.text("msgId"), ',')) {
    auto found = by_id(call, topic, id);
    if (!found) return found.error();
    messages.push_back(*std::move(found));
  }
  if (call.has("consumerGroup") && call.has("clientId")) {
    for (const ReceivedMessage& each : messages)
      if (auto pushed = push_to(call, each); !pushed) return pushed;
    return Ok{};
  }
  if (call.boolean("sendMessage", false)) return send_again(call, messages);
  show_messages(call, messages, true);
  return Ok{};
}

Result<Ok> query_by_unique_key(AdminCall& call) {
  const bool all = call.has("showAll");
  auto found = by_unique_key(call, call.text("topic"), call.text("msgId"), 32);
  if (!found) return found.error();
  if (call.has("consumerGroup") && call.has("clientId")) return push_to(call, found->front());
  if (!all) found->resize(1);
  show_messages(call, *found, true);
  return Ok{};
}

Admin::KeyQuery key_query(AdminCall& call, std::string topic, std::string key, const char* max) {
  return {.topic = std::move(topic),
          .key = std::move(key),
          .unique = false,
          .max = static_cast<std::int32_t>(call.number(max, 64)),
          .begin = call.number("beginTimestamp", 0),
          .end = call.number("endTimestamp", INT64_MAX)};
}

Result<Ok> query_by_key(AdminCall& call) {
  auto found = call.admin.messages_by_key(
      key_query(call, call.text("topic"), call.text("msgKey"), "maxNum"), call.timeout);
  if (!found) return found.error();
  Report::Table& table = call.report.table(
      "", {{"#Message ID", ""}, {"#QID", ""}, {"#Offset", ""}, {"#Stored", ""}, {"#Tags", ""}});
  Json::Array all;
  for (const ReceivedMessage& each : *found) {
    table.add(
        {each.message_id, each.queue.queue_id, each.queue_offset, Cell{each.stored}, each.tag});
    all.push_back(json_of(each));
  }
  call.report.member("messages", Json{Json::Value{std::move(all)}});
  if (found->empty())
    return Error{Errc::kNotFound, "no message of topic " + call.text("topic") + " has the key " +
                                      call.text("msgKey")};
  return Ok{};
}

Result<Ok> query_by_offset(AdminCall& call) {
  auto found = call.admin.message_by_offset({call.text("topic"), call.text("brokerName"),
                                             static_cast<std::int32_t>(call.number("queueId", 0))},
                                            call.number("offset", 0), call.timeout);
  if (!found) return found.error();
  show_messages(call, {*std::move(found)}, true);
  return Ok{};
}

Result<Ok> query_trace(AdminCall& call) {
  const std::string id = call.text("msgId");
  auto events = call.admin.trace(
      key_query(call, call.text("traceTopic", protocol::kTraceTopic), id, "maxNum"), call.timeout);
  if (!events) return events.error();
  if (events->empty()) return Error{Errc::kNotFound, "there is no trace of message " + id};
  Report::Table& table = call.report.table("events", {{"#Type", "type"},
                                                      {"#Group", "group"},
                                                      {"#ClientHost", "clientHost"},
                                                      {"#Time", "time"},
                                                      {"#CostTimes", "costMs"},
                                                      {"#Status", "status"}});
  for (const auto& each : *events) {
    using Event = admin::TraceEvent::Kind;
    const char* type = each.kind == Event::kPublished        ? "Pub"
                       : each.kind == Event::kConsumed       ? "Sub"
                       : each.kind == Event::kEndTransaction ? "EndTransaction"
                                                             : "Recall";
    table.add({type, each.group, each.client_host, Cell{each.time},
               Cell{fmt::format("{}ms", each.cost_ms), protocol::to_json(each.cost_ms)},
               !each.detail.empty() ? each.detail
               : each.success       ? "success"
                                    : "failed"});
  }
  return Ok{};
}

// ---- Sending and consuming

Result<Ok> send_message(AdminCall& call) {
  if (call.has("qid") && !call.has("broker"))
    return Error{Errc::kInvalidArgument, "-i needs the queue's broker: -b BROKER"};
  Message message{.topic = call.text("topic"),
                  .body = call.text("body"),
                  .tag = call.text("tags"),
                  .keys = split(call.text("key"), ' ')};
  ProducerConfig config;
  config.group = fmt::format("admin_{}", call.now_ms());
  config.trace = call.boolean("msgTraceEnable", false);
  auto producer = call.client.producer(std::move(config));
  if (!producer) return producer.error();
  const std::string broker = call.text("broker");
  auto sent = call.has("qid")
                  ? producer->send(message,
                                   MessageQueue{message.topic, broker,
                                                static_cast<std::int32_t>(call.number("qid", 0))},
                                   call.timeout)
                  : producer->send(message, call.timeout);
  if (!sent) return sent.error();
  show_sent(call, *sent, sent_table(call));
  return Ok{};
}

struct Range {
  MessageQueue queue;
  std::int64_t begin = 0, end = 0;
};

/// What is to be read of each queue asked for.
Result<std::vector<Range>> ranges(AdminCall& call) {
  const std::string topic = call.text("topic"), broker = call.text("brokerName");
  if (call.has("queueId") && broker.empty())
    return Error{Errc::kInvalidArgument, "-i needs the queue's broker: -b BROKER"};
  if (call.has("offset") && !call.has("queueId"))
    return Error{Errc::kInvalidArgument, "-o needs its queue: -b BROKER -i QUEUE"};
  auto queues = call.admin.queues(topic, call.timeout);
  if (!queues) return queues.error();
  std::vector<Range> all;
  for (const MessageQueue& each : *queues) {
    if ((!broker.empty() && each.broker != broker) ||
        (call.has("queueId") && each.queue_id != call.number("queueId", 0)))
      continue;
    auto begin = call.admin.min_offset(each, call.timeout);
    auto end = call.admin.max_offset(each, call.timeout);
    for (const auto& [name, bound] :
         {std::pair{"beginTimestamp", &begin}, std::pair{"endTimestamp", &end}}) {
      if (!call.has(name)) continue;
      auto time = timestamp_from(call.text(name), call.now_ms());
      if (!time) return time.error();
      *bound = call.admin.offset_of_time(each, *time, call.timeout);
    }
    if (!begin) return begin.error();
    if (!end) return end.error();
    all.push_back({each, std::max(*begin, call.number("offset", 0)), *end});
  }
  if (all.empty())
    return Error{Errc::kNotFound, "topic " + topic + " has no such queue; see `topicRoute`"};
  return all;
}

Result<Ok> consume_message(AdminCall& call) {
  constexpr std::int64_t kMost = 32;
  auto all = ranges(call);
  if (!all) return all.error();
  const std::string group = call.text("consumerGroup", protocol::kToolsGroup);
  std::int64_t left = call.number("MessageNumber", 128);
  if (left <= 0) return Error{Errc::kInvalidArgument, "-c is a positive number of messages"};
  Report::Table& table = call.report.table("", {{"#Broker Name", ""},
                                                {"#QID", ""},
                                                {"#Offset", ""},
                                                {"#Stored", ""},
                                                {"#MsgId", ""},
                                                {"#Tags", ""},
                                                {"#Body", ""}});
  Json::Array messages;
  for (Range& each : *all) {
    while (each.begin < each.end && left > 0) {
      call.working(messages.size(), messages.size() + static_cast<std::size_t>(left), "messages");
      auto pulled = call.admin.pull(
          each.queue, group, each.begin,
          static_cast<std::int32_t>(std::min({left, kMost, each.end - each.begin})), call.timeout);
      if (!pulled) return pulled.error();
      for (const ReceivedMessage& message : pulled->messages) {
        table.add({message.queue.broker, message.queue.queue_id, message.queue_offset,
                   Cell{message.stored}, message.message_id, message.tag,
                   Cell{shown(message.body, 200), Json{}}});
        messages.push_back(json_of(message));
        --left;
      }
      if (pulled->next_offset <= each.begin) break;
      each.begin = pulled->next_offset;
    }
  }
  call.report.member("messages", Json{Json::Value{std::move(messages)}});
  return Ok{};
}

}  // namespace

AdminArea message_commands() {
  const AdminOption topic{"-t,--topic", "TOPIC", "Topic", Kind::kText, true};
  const AdminOption group{"-g,--consumerGroup", "GROUP",
                          "With -d: let a member of this group consume it now"};
  const AdminOption client{"-d,--clientId", "ID", "With -g: that member"};
  const AdminOption cluster{"-c,--cluster", "CLUSTER", "Taken for mqadmin's sake"};
  const AdminOption begin{"-b,--beginTimestamp", "MS", "Stored from then on, Unix milliseconds",
                          Kind::kNumber};
  const AdminOption end{"-e,--endTimestamp", "MS", "Stored until then", Kind::kNumber};
  return {
      "Messages",
      {{"queryMsgById",
        "message by-id",
        "Messages by their offset ids or unique keys",
        "",
        {{"-i,--msgId", "IDS", "Ids, separated by commas", Kind::kText, true},
         {"-t,--topic", "TOPIC", "Their topic; offset ids do without"},
         group,
         client,
         {"-s,--sendMessage", "BOOL", "Send them once more", Kind::kBoolean},
         {"-u,--unitName", "UNIT", "Taken for mqadmin's sake"},
         {"-f,--bodyFormat", "CHARSET", "Taken for mqadmin's sake: bodies are shown as UTF-8"},
         cluster},
        {"queryMsgById -n 127.0.0.1:9876 -t orders -i 7F00000100002A9F0000000000000000"},
        query_by_id},
       {"queryMsgByKey",
        "message by-key",
        "Messages with a key",
        "",
        {topic,
         {"-k,--msgKey", "KEY", "Key", Kind::kText, true},
         begin,
         end,
         {"-m,--maxNum", "N", "Most messages (64)", Kind::kNumber},
         cluster},
        {"queryMsgByKey -n 127.0.0.1:9876 -t orders -k o-17"},
        query_by_key},
       {"queryMsgByUniqueKey",
        "message by-unique-key",
        "A message by its unique key",
        "",
        {{"-i,--msgId", "ID", "Unique key", Kind::kText, true},
         topic,
         group,
         client,
         {"-a,--showAll", "", "All with that key, not only the first", Kind::kSwitch},
         cluster},
        {"queryMsgByUniqueKey -n 127.0.0.1:9876 -t orders -i 7F0000010001000000000001"},
        query_by_unique_key},
       {"queryMsgByOffset",
        "message by-offset",
        "The message at an offset of a queue",
        "",
        {topic,
         {"-b,--brokerName", "BROKER", "Broker name", Kind::kText, true},
         {"-i,--queueId", "ID", "Queue", Kind::kNumber, true},
         {"-o,--offset", "OFFSET", "Offset in the queue", Kind::kNumber, true},
         {"-f,--bodyFormat", "CHARSET", "Taken for mqadmin's sake: bodies are shown as UTF-8"}},
        {"queryMsgByOffset -n 127.0.0.1:9876 -t orders -b broker-a -i 0 -o 100"},
        query_by_offset},
       {"queryMsgTraceById",
        "message trace",
        "The life of a message, as traced by producers and consumers",
        "",
        {{"-i,--msgId", "ID", "Unique key", Kind::kText, true},
         {"-t,--traceTopic", "TOPIC", "Trace topic (RMQ_SYS_TRACE_TOPIC)"},
         begin,
         end,
         {"-c,--maxNum", "N", "Most messages of the trace topic (64)", Kind::kNumber}},
        {"queryMsgTraceById -n 127.0.0.1:9876 -i 7F0000010001000000000001"},
        query_trace},
       {"sendMessage",
        "message send",
        "Send a message",
        "",
        {topic,
         {"-p,--body", "TEXT", "Body", Kind::kText, true},
         {"-k,--key", "KEYS", "Keys, separated by blanks"},
         {"-c,--tags", "TAG", "Tag"},
         {"-b,--broker", "BROKER", "With -i: to this broker, by name"},
         {"-i,--qid", "ID", "With -b: to this queue", Kind::kNumber},
         {"-m,--msgTraceEnable", "BOOL", "With a trace (false)", Kind::kBoolean}},
        {"sendMessage -n 127.0.0.1:9876 -t orders -p hello -c paid -k o-17"},
        send_message},
       {"consumeMessage",
        "message consume",
        "Show messages of a topic, without committing anything",
        "The oldest first, queue by queue.",
        {topic,
         {"-b,--brokerName", "BROKER", "Broker name"},
         {"-i,--queueId", "ID", "With -b: this queue alone", Kind::kNumber},
         {"-o,--offset", "OFFSET", "With -i: from this offset on", Kind::kNumber},
         {"-g,--consumerGroup", "GROUP", "Consumer group to ask as"},
         {"-s,--beginTimestamp", "TIME", "Stored from then on: Unix ms or yyyy-MM-dd#HH:mm:ss:SSS"},
         {"-e,--endTimestamp", "TIME", "Stored until then"},
         {"-c,--MessageNumber", "N", "Most messages (128)", Kind::kNumber}},
        {"consumeMessage -n 127.0.0.1:9876 -t orders",
         "consumeMessage -n 127.0.0.1:9876 -t orders -s 2026-01-31#12:00:00:000 -c 10"},
        consume_message}}};
}

}  // namespace apogee
