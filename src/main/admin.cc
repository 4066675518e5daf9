#include "main/admin.h"

#include <cstdio>
#include <cstdlib>
#include <ctime>

#include <CLI/CLI.hpp>
#include <unistd.h>

#include "admin/admin.h"
#include "main/process.h"
#include "protocol/json.h"
#include "protocol/names.h"

namespace apogee {
namespace {

using protocol::Json;

Json text(std::string value) {
  return Json{Json::Value{std::move(value)}};
}
Json number(std::int64_t value) {
  return Json{Json::Value{value}};
}

std::string local_time(std::int64_t ms) {
  if (ms <= 0) return "";
  const std::time_t seconds = ms / 1000;
  std::tm parts{};
  ::localtime_r(&seconds, &parts);
  char out[32];
  std::strftime(out, sizeof out, "%Y-%m-%d %H:%M:%S", &parts);
  return out;
}

/// Rows under a header, columns as wide as their widest cell; numbers to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : rows_{std::move(header)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.size() == 1; }
  void print() const {
    std::vector<std::size_t> widths(rows_.front().size());
    for (const auto& row : rows_) {
      for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    const bool bold = ::isatty(STDOUT_FILENO) != 0;
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      std::string line;
      for (std::size_t i = 0; i < rows_[r].size(); ++i) {
        const std::string& cell = rows_[r][i];
        const std::string pad(widths[i] - cell.size(), ' ');
        line += r > 0 && is_number(cell) ? pad + cell : cell + pad;
        line += "  ";
      }
      while (!line.empty() && line.back() == ' ') line.pop_back();
      std::printf(bold && r == 0 ? "\033[1m%s\033[0m\n" : "%s\n", line.c_str());
    }
  }

 private:
  static bool is_number(const std::string& cell) {
    return !cell.empty() && cell.find_first_not_of("0123456789.-+") == std::string::npos;
  }
  struct Rows : std::vector<std::vector<std::string>> {
    explicit Rows(std::vector<std::string> header) { push_back(std::move(header)); }
  } rows_;
};

/// What all commands share; each command reads the options it has.
struct Arguments {
  std::string name_servers, cluster, broker, topic, group, body, tags, keys, id, key;
  std::int32_t read_queues = 8, write_queues = 8, perm = 6, queue = -1, count = 32;
  std::int64_t offset = -1;
  std::int32_t timeout_ms = 5'000;
  bool json = false, order = false;
};

using Run = Result<Ok> (*)(admin::Admin& admin, const Arguments& arguments);

void print_json(const Json& json) {
  std::printf("%s\n", write_json(json, protocol::JsonStyle::kStandard).c_str());
}

Json message_json(const protocol::Message& message) {
  Json json = Json::object();
  json.set("topic", text(std::string{message.topic}));
  json.set("queueId", number(message.queue_id));
  json.set("queueOffset", number(message.queue_offset));
  json.set("physicalOffset", number(message.physical_offset));
  json.set("bornTimestamp", number(message.born_timestamp));
  json.set("storeTimestamp", number(message.store_timestamp));
  json.set("reconsumeTimes", number(message.reconsume_times));
  Json properties = Json::object();
  protocol::for_each_property(message.properties,
                              [&](std::string_view name, std::string_view value) {
                                properties.set(std::string{name}, text(std::string{value}));
                              });
  json.set("properties", std::move(properties));
  json.set("body", text(std::string{as_text(message.body)}));
  return json;
}

void print_message(const protocol::Message& message) {
  std::printf(
      "Topic:           %s\nQueue:           %d\nQueue offset:    %lld\nLog offset:      "
      "%lld\nReconsumed:      %d\nBorn:            %s from %s\nStored:          %s on %s\n",
      std::string{message.topic}.c_str(), message.queue_id,
      static_cast<long long>(message.queue_offset), static_cast<long long>(message.physical_offset),
      message.reconsume_times, local_time(message.born_timestamp).c_str(),
      protocol::to_string({std::string{as_text(message.born_host)}, message.born_port}).c_str(),
      local_time(message.store_timestamp).c_str(),
      protocol::to_string({std::string{as_text(message.store_host)}, message.store_port}).c_str());
  protocol::for_each_property(
      message.properties, [](std::string_view name, std::string_view value) {
        std::printf("  %s = %s\n", std::string{name}.c_str(), std::string{value}.c_str());
      });
  constexpr std::size_t kShown = 4'096;
  std::printf("Body (%zu bytes):\n%s%s\n", message.body.size(),
              std::string{as_text(message.body).substr(0, kShown)}.c_str(),
              message.body.size() > kShown ? " ..." : "");
}

Result<Ok> cluster_list(admin::Admin& admin, const Arguments& arguments) {
  auto info = admin.clusters();
  if (!info) return info.error();
  Table table{{"Cluster", "Broker", "Id", "Address", "Version", "In TPS", "Out TPS"}};
  Json list{Json::Value{Json::Array{}}};
  for (const auto& [name, data] : info->broker_address_table) {
    if (!arguments.cluster.empty() && data.cluster != arguments.cluster) continue;
    for (const auto& [id, address] : data.broker_addresses) {
      auto runtime = admin.runtime_info(address);
      const auto value = [&](const char* key) {
        return runtime && runtime->contains(key) ? runtime->at(key) : std::string{"?"};
      };
      const auto first = [](std::string words) { return words.substr(0, words.find(' ')); };
      table.add({data.cluster, name, std::to_string(id), address, value("brokerVersionDesc"),
                 first(value("putTps")), first(value("getTransferredTps"))});
      Json each = Json::object();
      each.set("cluster", text(data.cluster));
      each.set("broker", text(name));
      each.set("id", number(id));
      each.set("address", text(address));
      each.set("version", text(value("brokerVersionDesc")));
      list.push(std::move(each));
    }
  }
  if (arguments.json)
    print_json(list);
  else
    table.print();
  return Ok{};
}

Result<Ok> topic_list(admin::Admin& admin, const Arguments& arguments) {
  auto topics = admin.topics();
  if (!topics) return topics.error();
  if (arguments.json)
    print_json(protocol::to_json(*topics));
  else {
    for (const std::string& topic : *topics) std::printf("%s\n", topic.c_str());
  }
  return Ok{};
}

Result<Ok> topic_update(admin::Admin& admin, const Arguments& arguments) {
  std::vector<std::string> brokers;
  if (!arguments.broker.empty())
    brokers = {arguments.broker};
  else {
    auto masters = admin.masters(arguments.cluster);
    if (!masters) return masters.error();
    brokers = *std::move(masters);
  }
  protocol::TopicConfig topic;
  topic.topic_name = arguments.topic;
  topic.read_queue_nums = arguments.read_queues;
  topic.write_queue_nums = arguments.write_queues;
  topic.perm = arguments.perm;
  topic.order = arguments.order;
  for (const std::string& broker : brokers) {
    if (auto created = admin.create_topic(broker, topic); !created) return created;
    if (!arguments.json)
      std::printf("topic %s: %d read and %d write queues, perm %d on %s\n", arguments.topic.c_str(),
                  topic.read_queue_nums, topic.write_queue_nums, topic.perm, broker.c_str());
  }
  if (arguments.json) print_json(protocol::to_json(topic));
  return Ok{};
}

Result<Ok> topic_delete(admin::Admin& admin, const Arguments& arguments) {
  if (auto deleted = admin.delete_topic(arguments.cluster, arguments.topic); !deleted)
    return deleted;
  if (!arguments.json)
    std::printf("topic %s is deleted\n", arguments.topic.c_str());
  else
    print_json(text(arguments.topic));
  return Ok{};
}

Result<Ok> topic_route(admin::Admin& admin, const Arguments& arguments) {
  auto route = admin.route(arguments.topic);
  if (!route) return route.error();
  if (arguments.json) {
    print_json(protocol::to_json(*route));
    return Ok{};
  }
  Table table{{"Broker", "Read queues", "Write queues", "Perm", "Address"}};
  for (const auto& queue : route->queue_datas) {
    std::string address;
    for (const auto& broker : route->broker_datas) {
      if (broker.broker_name == queue.broker_name && !broker.broker_addresses.empty())
        address = broker.broker_addresses.begin()->second;
    }
    table.add({queue.broker_name, std::to_string(queue.read_queue_nums),
               std::to_string(queue.write_queue_nums), std::to_string(queue.perm), address});
  }
  table.print();
  return Ok{};
}

Result<Ok> topic_status(admin::Admin& admin, const Arguments& arguments) {
  auto stats = admin.topic_stats(arguments.topic);
  if (!stats) return stats.error();
  if (arguments.json) {
    print_json(protocol::to_json(*stats));
    return Ok{};
  }
  Table table{{"Broker", "Queue", "Min offset", "Max offset", "Last updated"}};
  for (const auto& [queue, offset] : stats->offset_table) {
    table.add({queue.broker_name, std::to_string(queue.queue_id), std::to_string(offset.min_offset),
               std::to_string(offset.max_offset), local_time(offset.last_update_timestamp)});
  }
  table.print();
  return Ok{};
}

Result<Ok> consumer_progress(admin::Admin& admin, const Arguments& arguments) {
  auto progress = admin.progress(arguments.group);
  if (!progress) return progress.error();
  Table table{{"Topic", "Broker", "Queue", "Broker offset", "Consumer offset", "Lag", "Last time"}};
  Json list{Json::Value{Json::Array{}}};
  std::int64_t lag = 0;
  for (const auto& each : *progress) {
    const std::int64_t behind = each.offsets.broker_offset - each.offsets.consumer_offset;
    lag += behind;
    table.add({each.queue.topic, each.queue.broker_name, std::to_string(each.queue.queue_id),
               std::to_string(each.offsets.broker_offset),
               std::to_string(each.offsets.consumer_offset), std::to_string(behind),
               local_time(each.offsets.last_timestamp)});
    Json json = protocol::to_json(each.queue);
    json.set("brokerOffset", number(each.offsets.broker_offset));
    json.set("consumerOffset", number(each.offsets.consumer_offset));
    json.set("lag", number(behind));
    list.push(std::move(json));
  }
  if (arguments.json) {
    print_json(list);
    return Ok{};
  }
  if (table.empty())
    return Error{Errc::kNotFound, "group " + arguments.group + " has no offsets yet"};
  table.print();
  std::printf("\nLag of all queues: %lld\n", static_cast<long long>(lag));
  return Ok{};
}

Result<Ok> print_messages(std::vector<admin::StoredMessage> messages, const Arguments& arguments,
                          const std::string& nothing) {
  if (messages.empty()) return Error{Errc::kNotFound, nothing};
  Json list{Json::Value{Json::Array{}}};
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (arguments.json)
      list.push(message_json(messages[i].view()));
    else {
      if (i > 0) std::printf("\n");
      print_message(messages[i].view());
    }
  }
  if (arguments.json) print_json(list);
  return Ok{};
}

Result<Ok> message_by_id(admin::Admin& admin, const Arguments& arguments) {
  // An offset id names its broker; anything else is a unique key and needs the topic.
  auto found = admin.message_by_offset_id(arguments.id);
  std::vector<admin::StoredMessage> messages;
  if (found)
    messages.push_back(*std::move(found));
  else {
    if (arguments.topic.empty()) return found.error();
    auto by_key = admin.messages_by_key(arguments.topic, arguments.id, true, 1);
    if (!by_key) return by_key.error();
    messages = *std::move(by_key);
  }
  return print_messages(std::move(messages), arguments, "there is no message " + arguments.id);
}

Result<Ok> message_by_key(admin::Admin& admin, const Arguments& arguments) {
  auto messages = admin.messages_by_key(arguments.topic, arguments.key, false, arguments.count);
  if (!messages) return messages.error();
  return print_messages(*std::move(messages), arguments,
                        "no message of " + arguments.topic + " has the key " + arguments.key);
}

Result<Ok> message_by_unique_key(admin::Admin& admin, const Arguments& arguments) {
  auto messages = admin.messages_by_key(arguments.topic, arguments.id, true, arguments.count);
  if (!messages) return messages.error();
  return print_messages(*std::move(messages), arguments,
                        "no message of " + arguments.topic + " has the unique key " + arguments.id);
}

Result<Ok> message_by_offset(admin::Admin& admin, const Arguments& arguments) {
  auto message =
      admin.message_by_offset(arguments.topic, arguments.broker, arguments.queue, arguments.offset);
  if (!message) return message.error();
  std::vector<admin::StoredMessage> messages;
  messages.push_back(*std::move(message));
  return print_messages(std::move(messages), arguments, "");
}

Result<Ok> send_message(admin::Admin& admin, const Arguments& arguments) {
  auto sent = admin.send({.topic = arguments.topic,
                          .body = arguments.body,
                          .tags = arguments.tags,
                          .keys = arguments.keys,
                          .broker_name = arguments.broker,
                          .queue_id = arguments.queue});
  if (!sent) return sent.error();
  if (arguments.json) {
    Json json = Json::object();
    json.set("broker", text(sent->broker_name));
    json.set("queueId", number(sent->queue_id));
    json.set("queueOffset", number(sent->queue_offset));
    json.set("offsetMsgId", text(sent->message_id));
    json.set("msgId", text(sent->unique_key));
    print_json(json);
  } else {
    Table table{{"Broker", "Queue", "Queue offset", "Message id", "Offset id"}};
    table.add({sent->broker_name, std::to_string(sent->queue_id),
               std::to_string(sent->queue_offset), sent->unique_key, sent->message_id});
    table.print();
  }
  return Ok{};
}

Result<Ok> consume_message(admin::Admin& admin, const Arguments& arguments) {
  auto queues = admin.queues(arguments.topic);
  if (!queues) return queues.error();
  std::vector<admin::StoredMessage> messages;
  const std::string group =
      arguments.group.empty() ? std::string{protocol::kToolsGroup} : arguments.group;
  for (const auto& queue : *queues) {
    if ((arguments.queue >= 0 && queue.queue_id != arguments.queue) ||
        (!arguments.broker.empty() && queue.broker_name != arguments.broker))
      continue;
    auto begin = arguments.offset >= 0 ? Result<std::int64_t>{arguments.offset}
                                       : admin.queue_offset(queue, false);
    if (!begin) return begin.error();
    std::int64_t offset = std::max<std::int64_t>(*begin, 0);
    while (static_cast<std::int32_t>(messages.size()) < arguments.count) {
      auto more = admin.pull(group, arguments.topic, queue, offset,
                             arguments.count - static_cast<std::int32_t>(messages.size()));
      if (!more) return more.error();
      if (more->empty()) break;
      for (auto& each : *more) messages.push_back(std::move(each));
    }
  }
  if (messages.empty() && !arguments.json)
    std::printf("topic %s holds no messages\n", arguments.topic.c_str());
  if (messages.empty()) return Ok{};
  if (arguments.json) return print_messages(std::move(messages), arguments, "");
  Table table{{"Queue", "Offset", "Stored", "Tags", "Body"}};
  for (const auto& each : messages) {
    const auto message = each.view();
    table.add({std::to_string(message.queue_id), std::to_string(message.queue_offset),
               local_time(message.store_timestamp),
               std::string{message.property("TAGS").value_or("")},
               std::string{as_text(message.body).substr(0, 200)}});
  }
  table.print();
  return Ok{};
}

// ---- The command tree
// ----------------------------------------------------------------------------

struct Flag {
  const char* names;
  std::string Arguments::* text = nullptr;
  std::int32_t Arguments::* number = nullptr;
  std::int64_t Arguments::* offset = nullptr;
  const char* help = "";
  bool required = false;
};

struct Command {
  const char* name;   // mqadmin's
  const char* words;  // ours
  const char* help;
  Run run;
  std::vector<Flag> flags;
};

Flag text_flag(const char* names, std::string Arguments::* member, const char* help,
               bool required = false) {
  return {.names = names, .text = member, .help = help, .required = required};
}
Flag number_flag(const char* names, std::int32_t Arguments::* member, const char* help) {
  return {.names = names, .number = member, .help = help};
}

const std::vector<Command>& commands() {
  using A = Arguments;
  static const std::vector<Command> all{
      {"clusterList",
       "cluster list",
       "Brokers of all clusters",
       cluster_list,
       {text_flag("-c,--clusterName", &A::cluster, "Only this cluster")}},
      {"topicList", "topic list", "All topics", topic_list, {}},
      {"updateTopic",
       "topic create",
       "Create or change a topic",
       topic_update,
       {text_flag("-t,--topic", &A::topic, "Topic", true),
        text_flag("-b,--brokerAddr", &A::broker, "Only on this broker, host:port"),
        text_flag("-c,--clusterName", &A::cluster, "On all masters of this cluster"),
        number_flag("-r,--readQueueNums", &A::read_queues, "Queues to read"),
        number_flag("-w,--writeQueueNums", &A::write_queues, "Queues to write"),
        number_flag("-p,--perm", &A::perm, "2 write, 4 read, 6 both")}},
      {"deleteTopic",
       "topic delete",
       "Delete a topic and its messages",
       topic_delete,
       {text_flag("-t,--topic", &A::topic, "Topic", true),
        text_flag("-c,--clusterName", &A::cluster, "Only in this cluster")}},
      {"topicRoute",
       "topic route",
       "Which brokers serve a topic",
       topic_route,
       {text_flag("-t,--topic", &A::topic, "Topic", true)}},
      {"topicStatus",
       "topic status",
       "Offsets of a topic's queues",
       topic_status,
       {text_flag("-t,--topic", &A::topic, "Topic", true)}},
      {"consumerProgress",
       "consumer progress",
       "Where a consumer group stands",
       consumer_progress,
       {text_flag("-g,--groupName", &A::group, "Consumer group", true)}},
      {"queryMsgById",
       "message by-id",
       "A message by its offset id, or by its unique key and topic",
       message_by_id,
       {text_flag("-i,--msgId", &A::id, "Message id", true),
        text_flag("-t,--topic", &A::topic, "Topic, for a unique key")}},
      {"queryMsgByKey",
       "message by-key",
       "Messages with a key",
       message_by_key,
       {text_flag("-t,--topic", &A::topic, "Topic", true),
        text_flag("-k,--msgKey", &A::key, "Key", true),
        number_flag("-m,--maxNum", &A::count, "Most messages")}},
      {"queryMsgByUniqueKey",
       "message by-unique-key",
       "A message by its unique key",
       message_by_unique_key,
       {text_flag("-t,--topic", &A::topic, "Topic", true),
        text_flag("-i,--msgId", &A::id, "Unique key", true)}},
      {"queryMsgByOffset",
       "message by-offset",
       "The message at an offset of a queue",
       message_by_offset,
       {text_flag("-t,--topic", &A::topic, "Topic", true),
        text_flag("-b,--brokerName", &A::broker, "Broker name", true),
        number_flag("-i,--queueId", &A::queue, "Queue"),
        {.names = "-o,--offset", .offset = &A::offset, .help = "Offset", .required = true}}},
      {"sendMessage",
       "message send",
       "Send a message",
       send_message,
       {text_flag("-t,--topic", &A::topic, "Topic", true),
        text_flag("-p,--body", &A::body, "Body", true),
        text_flag("-k,--keys", &A::keys, "Keys, separated by blanks"),
        text_flag("-c,--tags", &A::tags, "Tag"),
        text_flag("-b,--broker", &A::broker, "Broker name"),
        number_flag("-i,--qid", &A::queue, "Queue")}},
      {"consumeMessage",
       "message consume",
       "Show messages of a topic from its beginning, without committing anything",
       consume_message,
       {text_flag("-t,--topic", &A::topic, "Topic", true),
        text_flag("-g,--consumerGroup", &A::group, "Consumer group to ask as"),
        text_flag("-b,--brokerName", &A::broker, "Broker name"),
        number_flag("-i,--queueId", &A::queue, "Queue"),
        {.names = "-o,--offset", .offset = &A::offset, .help = "Offset to begin at"},
        number_flag("-m,--messageCount", &A::count, "Most messages")}}};
  return all;
}

std::vector<std::string> split_list(const std::string& list) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= list.size();) {
    const std::size_t end = std::min(list.find(';', at), list.size());
    if (end > at) parts.push_back(list.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

}  // namespace

int run_admin(std::span<const std::string> args) {
  std::vector<std::string> words{args.begin(), args.end()};
  if (words.size() >= 2) {
    for (const Command& command : commands()) {
      if (words[0] + " " + words[1] == command.words) {
        words.erase(words.begin());
        words.front() = command.name;
        break;
      }
    }
  }
  CLI::App app{"Operators' commands; names and flags are mqadmin's.", "apogee admin"};
  app.require_subcommand(1);
  Arguments arguments;
  Run chosen = nullptr;
  for (const Command& command : commands()) {
    CLI::App* const sub =
        app.add_subcommand(command.name, std::string{command.help} + "  (" + command.words + ")");
    sub->add_option("-n,--namesrvAddr", arguments.name_servers,
                    "Name servers, host:port separated by ';' (NAMESRV_ADDR)")
        ->envname("NAMESRV_ADDR");
    sub->add_option("--timeout", arguments.timeout_ms, "Longest wait for an answer, ms")
        ->capture_default_str();
    sub->add_flag("--json", arguments.json, "JSON instead of text");
    for (const Flag& flag : command.flags) {
      CLI::Option* const option =
          flag.text     ? sub->add_option(flag.names, arguments.*flag.text, flag.help)
          : flag.number ? sub->add_option(flag.names, arguments.*flag.number, flag.help)
                        : sub->add_option(flag.names, arguments.*flag.offset, flag.help);
      if (flag.required) option->required();
    }
    sub->callback([&chosen, run = command.run] { chosen = run; });
  }
  app.footer(
      "Examples:\n  apogee admin clusterList -n 127.0.0.1:9876\n  apogee admin topic create -n "
      "127.0.0.1:9876 -t orders -r 16 -w 16\n"
      "  apogee admin consumerProgress -n 127.0.0.1:9876 -g billing --json\n  apogee admin "
      "sendMessage -n 127.0.0.1:9876 -t orders -p hello -k o-17");
  try {
    app.parse(std::vector<std::string>{words.rbegin(), words.rend()});
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (arguments.name_servers.empty()) {
    std::fprintf(stderr,
                 "apogee admin: say which name server to ask: -n HOST:PORT, or NAMESRV_ADDR in the "
                 "environment\n");
    return 2;
  }
  Process process{{.io_threads = 1, .workers = 1, .log_level = LogLevel::kError}};
  admin::Admin admin{process.env(), split_list(arguments.name_servers),
                     std::chrono::milliseconds{arguments.timeout_ms}};
  auto done = chosen(admin, arguments);
  if (done) return 0;
  std::fprintf(stderr, "apogee admin: %s\n", done.error().detail.c_str());
  return 1;
}

int run_completion(std::span<const std::string> args) {
  const std::string shell = args.empty() ? "" : args.front();
  std::string names;
  for (const Command& command : commands())
    names += std::string{names.empty() ? "" : " "} + command.name;
  const std::string top = "server namesrv broker admin bench inspect reference completion";
  if (shell == "bash") {
    std::printf(
        "_apogee() {\n  local current=${COMP_WORDS[COMP_CWORD]}\n  case $COMP_CWORD in\n    1) "
        "COMPREPLY=($(compgen -W \"%s\" -- \"$current\")) ;;\n"
        "    2) case ${COMP_WORDS[1]} in\n      admin) COMPREPLY=($(compgen -W \"%s\" -- "
        "\"$current\")) ;;\n      bench) COMPREPLY=($(compgen -W \"send pull\" -- \"$current\")) "
        ";;\n"
        "      completion) COMPREPLY=($(compgen -W \"bash zsh\" -- \"$current\")) ;;\n      *) "
        "COMPREPLY=($(compgen -f -- \"$current\")) ;;\n    esac ;;\n"
        "    *) COMPREPLY=($(compgen -f -- \"$current\")) ;;\n  esac\n}\ncomplete -F _apogee "
        "apogee\n",
        top.c_str(), names.c_str());
    return 0;
  }
  if (shell == "zsh") {
    std::printf(
        "#compdef apogee\n_apogee() {\n  case $CURRENT in\n    2) compadd %s ;;\n    3) case "
        "$words[2] in\n      admin) compadd %s ;;\n      bench) compadd send pull ;;\n"
        "      completion) compadd bash zsh ;;\n      *) _files ;;\n    esac ;;\n    *) _files "
        ";;\n  esac\n}\ncompdef _apogee apogee\n",
        top.c_str(), names.c_str());
    return 0;
  }
  std::fprintf(stderr, "Usage: apogee completion bash|zsh\n\n  source <(apogee completion bash)\n");
  return 2;
}

}  // namespace apogee
