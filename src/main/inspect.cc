#include "main/inspect.h"

#include <algorithm>
#include <ctime>
#include <limits>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "main/text.h"
#include "protocol/json.h"
#include "store/inspect.h"
#include "store/repair.h"

namespace apogee {
namespace {

using protocol::Json;
using protocol::Message;
using store::Inspection;

constexpr int kFine = 0, kDamaged = 1, kFailed = 2;

/// What was asked for on the command line.
struct Request {
  store::InspectOptions store;
  store::RecordFilter filter;
  std::int32_t queue_id = 0;
  std::int64_t from = 0, to = std::numeric_limits<std::int64_t>::max();
  std::uint64_t limit = 20;
  std::size_t body_bytes = 64;
  bool json = false, apply = false;
};

int fail(const Error& error) {
  fmt::print(stderr, "apogee inspect: {}\n", error.detail);
  return kFailed;
}

// ---- text ----

std::string time_text(std::int64_t ms) {
  if (ms <= 0) return "-";
  const std::time_t seconds = ms / 1'000;
  std::tm local{};
  if (!::localtime_r(&seconds, &local)) return std::to_string(ms);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local);
  return fmt::format("{}.{:03}", text, ms % 1'000);
}

std::string bytes_text(std::uint64_t bytes) {
  constexpr std::array kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1'024 && unit + 1 < kUnits.size(); ++unit) value /= 1'024;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

/// Printable as it is; anything else as \n, \t or \x1f. Bytes of UTF-8 stay.
std::string visible(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (c == '\\')
      out += "\\\\";
    else if (byte < 0x20 || byte == 0x7F)
      out += fmt::format("\\x{:02x}", byte);
    else
      out += c;
  }
  return out;
}

/// For terminals and JSON alike, whatever was sent: text, or 0x and its bytes.
std::string readable(std::string_view bytes) {
  return is_text(bytes) ? visible(bytes) : "0x" + hex(bytes);
}

/// Lines of cells under headings, as wide as they need to be; numbers to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> headings, std::size_t left_columns = 1)
      : left_columns_{left_columns} {
    rows_.push_back(std::move(headings));
  }
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  void print() const {
    std::vector<std::size_t> widths(rows_[0].size());
    for (const auto& row : rows_)
      for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    for (const auto& row : rows_) {
      std::string line = " ";
      for (std::size_t i = 0; i < row.size(); ++i)
        line += i < left_columns_ ? fmt::format(" {:<{}} ", row[i], widths[i])
                                  : fmt::format(" {:>{}} ", row[i], widths[i]);
      line.erase(line.find_last_not_of(' ') + 1);
      fmt::print("{}\n", line);
    }
  }

 private:
  std::size_t left_columns_;
  std::vector<std::vector<std::string>> rows_;
};

std::string last_part(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

// ---- summary ----

void print_state(const Request& request, const store::StoreSummary& summary) {
  fmt::print("store       {}\n", request.store.root);
  fmt::print("state       {}\n", summary.locked          ? "in use by a process"
                                 : summary.abort_present ? "not shut down cleanly (abort is there)"
                                                         : "shut down cleanly");
  if (const auto& at = summary.checkpoint) {
    fmt::print("checkpoint  commit log {}, consume queues {}, index {}\n",
               time_text(at->commit_log_timestamp), time_text(at->consume_queue_timestamp),
               time_text(at->index_timestamp));
  } else {
    fmt::print("checkpoint  none\n");
  }
  fmt::print("commit log  offsets {} to {} ({})\n", summary.log_begin, summary.log_end,
             bytes_text(static_cast<std::uint64_t>(summary.log_end - summary.log_begin)));
}

std::string offset_text(std::int64_t offset) {
  return offset < 0 ? "-" : std::to_string(offset);
}

void print_summary(const Request& request, const store::StoreSummary& summary) {
  print_state(request, summary);
  if (!summary.segments.empty()) {
    fmt::print("\nCommit log segments\n");
    Table table{{"base offset", "used", "of", "first stored", "last stored"}, 0};
    for (const auto& one : summary.segments)
      table.add({std::to_string(one.base_offset), bytes_text(one.used_bytes), bytes_text(one.bytes),
                 time_text(one.first_store_timestamp), time_text(one.last_store_timestamp)});
    table.print();
  }
  if (!summary.queues.empty()) {
    fmt::print("\nConsume queues\n");
    Table table{{"topic", "queue", "min", "max", "messages", "files"}};
    for (const auto& one : summary.queues)
      table.add({one.topic, std::to_string(one.queue_id), std::to_string(one.min_offset),
                 std::to_string(one.max_offset), std::to_string(one.max_offset - one.min_offset),
                 std::to_string(one.files)});
    table.print();
  }
  if (!summary.compacted.empty()) {
    fmt::print("\nCompaction logs\n");
    Table table{{"topic", "queue", "first", "last", "messages", "compacted to", "of", "files"}};
    for (const auto& one : summary.compacted)
      table.add({one.topic, std::to_string(one.queue_id), offset_text(one.first_offset),
                 offset_text(one.last_offset), std::to_string(one.messages),
                 offset_text(one.compacted_until), bytes_text(one.bytes),
                 std::to_string(one.files)});
    table.print();
  }
  if (!summary.index_files.empty()) {
    fmt::print("\nIndex files\n");
    Table table{{"name", "keys", "slots", "first offset", "last offset", "first", "last"}};
    for (const auto& one : summary.index_files) {
      if (one.readable)
        table.add({last_part(one.path), std::to_string(one.header.next_unit - 1),
                   std::to_string(one.header.used_slots),
                   std::to_string(one.header.begin_physical_offset),
                   std::to_string(one.header.end_physical_offset),
                   time_text(one.header.begin_timestamp), time_text(one.header.end_timestamp)});
      else
        table.add({last_part(one.path), "?", "?", "", "", "",
                   bytes_text(one.bytes) + ": another format"});
    }
    table.print();
  }
  if (!summary.config_files.empty()) {
    fmt::print("\nConfiguration\n");
    Table table{{"file", "bytes", "changed"}};
    for (const auto& one : summary.config_files)
      if (!one.is_directory)
        table.add({one.name, std::to_string(one.size), time_text(one.modified_ms)});
    table.print();
  }
  if (!summary.others.empty()) {
    std::string names;
    for (const auto& name : summary.others) names += (names.empty() ? "" : ", ") + name;
    fmt::print("\nNot looked into: {}\n", names);
  }
}

Json number(std::int64_t value) {
  return Json{Json::Value{value}};
}
Json number(std::uint64_t value) {
  return number(static_cast<std::int64_t>(value));
}
Json text(std::string_view value) {
  return Json{Json::Value{std::string{value}}};
}
Json flag(bool value) {
  return Json{Json::Value{value}};
}
Json list() {
  return Json{Json::Value{Json::Array{}}};
}
void print_json(const Json& json) {
  fmt::print("{}\n", protocol::write_json(json, protocol::JsonStyle::kStandard));
}

void print_summary_json(const store::StoreSummary& summary) {
  Json json = Json::object();
  json.set("locked", flag(summary.locked));
  json.set("abort", flag(summary.abort_present));
  json.set("logBegin", number(summary.log_begin));
  json.set("logEnd", number(summary.log_end));
  if (const auto& at = summary.checkpoint) {
    Json one = Json::object();
    one.set("commitLogTimestamp", number(at->commit_log_timestamp));
    one.set("consumeQueueTimestamp", number(at->consume_queue_timestamp));
    one.set("indexTimestamp", number(at->index_timestamp));
    json.set("checkpoint", std::move(one));
  }
  Json segments = list(), queues = list(), compacted = list(), index_files = list();
  for (const auto& each : summary.segments) {
    Json one = Json::object();
    one.set("baseOffset", number(each.base_offset));
    one.set("bytes", number(each.bytes));
    one.set("usedBytes", number(each.used_bytes));
    one.set("firstStoreTimestamp", number(each.first_store_timestamp));
    one.set("lastStoreTimestamp", number(each.last_store_timestamp));
    segments.push(std::move(one));
  }
  for (const auto& each : summary.queues) {
    Json one = Json::object();
    one.set("topic", text(each.topic));
    one.set("queueId", number(std::int64_t{each.queue_id}));
    one.set("minOffset", number(each.min_offset));
    one.set("maxOffset", number(each.max_offset));
    queues.push(std::move(one));
  }
  for (const auto& each : summary.compacted) {
    Json one = Json::object();
    one.set("topic", text(each.topic));
    one.set("queueId", number(std::int64_t{each.queue_id}));
    one.set("firstOffset", number(each.first_offset));
    one.set("lastOffset", number(each.last_offset));
    one.set("messages", number(each.messages));
    one.set("compactedUntil", number(each.compacted_until));
    one.set("bytes", number(each.bytes));
    compacted.push(std::move(one));
  }
  for (const auto& each : summary.index_files) {
    Json one = Json::object();
    one.set("name", text(last_part(each.path)));
    one.set("readable", flag(each.readable));
    one.set("keys", number(std::int64_t{each.header.next_unit} - 1));
    one.set("beginPhysicalOffset", number(each.header.begin_physical_offset));
    one.set("endPhysicalOffset", number(each.header.end_physical_offset));
    index_files.push(std::move(one));
  }
  json.set("segments", std::move(segments));
  json.set("queues", std::move(queues));
  json.set("compactionLogs", std::move(compacted));
  json.set("indexFiles", std::move(index_files));
  print_json(json);
}

int summarize(Inspection& inspection, const Request& request) {
  auto summary = inspection.summary();
  if (!summary) return fail(summary.error());
  if (request.json)
    print_summary_json(*summary);
  else
    print_summary(request, *summary);
  return kFine;
}

// ---- records ----

void print_record(const store::InspectedRecord& record, std::size_t body_bytes) {
  const Message& message = record.message;
  fmt::print("{}  topic {}  queue {}  offset {}  {}  {} bytes{}{}\n", record.physical_offset,
             readable(message.topic), message.queue_id, message.queue_offset,
             time_text(message.store_timestamp), message.size,
             message.reconsume_times > 0 ? fmt::format("  retry {}", message.reconsume_times) : "",
             record.crc_ok ? "" : "  WRONG CRC");
  std::string properties;
  protocol::for_each_property(
      message.properties, [&](std::string_view name, std::string_view value) {
        properties +=
            fmt::format("{}{}={}", properties.empty() ? "" : ", ", readable(name), readable(value));
      });
  if (!properties.empty()) fmt::print("    properties  {}\n", properties);
  const std::string_view body = as_text(message.body);
  if (body_bytes > 0)
    fmt::print("    body        {}{}\n",
               is_text(body) ? visible(beginning(body, body_bytes))
                             : "0x" + hex(body.substr(0, body_bytes)),
               body.size() > body_bytes ? fmt::format(" ... ({} bytes)", body.size()) : "");
}

void print_record_json(const store::InspectedRecord& record, std::size_t body_bytes) {
  const Message& message = record.message;
  Json json = Json::object();
  json.set("physicalOffset", number(record.physical_offset));
  json.set("size", number(std::int64_t{message.size}));
  json.set("topic", text(readable(message.topic)));
  json.set("queueId", number(std::int64_t{message.queue_id}));
  json.set("queueOffset", number(message.queue_offset));
  json.set("sysFlag", number(std::int64_t{message.sys_flag}));
  json.set("flag", number(std::int64_t{message.flag}));
  json.set("bornTimestamp", number(message.born_timestamp));
  json.set("storeTimestamp", number(message.store_timestamp));
  json.set("reconsumeTimes", number(std::int64_t{message.reconsume_times}));
  json.set("preparedTransactionOffset", number(message.prepared_transaction_offset));
  json.set("crcOk", flag(record.crc_ok));
  Json properties = Json::object();
  protocol::for_each_property(message.properties,
                              [&](std::string_view name, std::string_view value) {
                                properties.set(readable(name), text(readable(value)));
                              });
  json.set("properties", std::move(properties));
  json.set("bodyBytes", number(std::uint64_t{message.body.size()}));
  const std::string_view body = as_text(message.body);
  if (is_text(body))
    json.set("body", text(visible(beginning(body, body_bytes))));
  else
    json.set("bodyHex", text(hex(body.substr(0, body_bytes))));
  print_json(json);
}

int list_records(Inspection& inspection, const Request& request) {
  std::uint64_t shown = 0;
  bool more = false;
  auto done = inspection.for_each_record(request.filter, [&](const store::InspectedRecord& record) {
    if (shown == request.limit) {
      more = true;
      return false;
    }
    ++shown;
    if (request.json)
      print_record_json(record, request.body_bytes);
    else
      print_record(record, request.body_bytes);
    return true;
  });
  if (!done) return fail(done.error());
  if (!request.json && shown == 0) fmt::print("no such records\n");
  if (!request.json && more)
    fmt::print("there are more; --limit {} shows them\n", request.limit * 10);
  return kFine;
}

// ---- queue ----

int list_queue(Inspection& inspection, const Request& request) {
  Table table{{"offset", "messages", "physical offset", "size", "tags code", "record"}, 0};
  std::uint64_t shown = 0;
  bool more = false;
  auto done = inspection.for_each_entry(
      request.filter.topic, request.queue_id, request.from, request.to,
      [&](const store::InspectedEntry& entry) {
        if (shown == request.limit) {
          more = true;
          return false;
        }
        ++shown;
        if (request.json) {
          Json json = Json::object();
          json.set("queueOffset", number(entry.queue_offset));
          json.set("physicalOffset", number(entry.physical_offset));
          json.set("size", number(std::int64_t{entry.size}));
          json.set("tagsCode", number(entry.tags_code));
          json.set("messages", number(std::int64_t{entry.messages}));
          print_json(json);
          return true;
        }
        std::string what = "blank";
        if (!entry.blank()) {
          auto record = inspection.record_at(entry.physical_offset);
          what = record ? time_text(record->message.store_timestamp) : "none in the log";
        }
        table.add({std::to_string(entry.queue_offset), std::to_string(entry.messages),
                   std::to_string(entry.physical_offset), std::to_string(entry.size),
                   std::to_string(entry.tags_code), what});
        return true;
      });
  if (!done) return fail(done.error());
  if (request.json) return kFine;
  if (shown == 0)
    fmt::print("no entries there\n");
  else
    table.print();
  if (more) fmt::print("there are more; --limit {} shows them\n", request.limit * 10);
  return kFine;
}

// ---- check ----

void print_finding(const store::Finding& finding, bool json_wanted) {
  const bool damage = finding.weight == store::Finding::Weight::kDamage;
  if (!json_wanted) {
    fmt::print("{}  {} at {}\n        {}\n        {}\n", damage ? "DAMAGE" : "note  ", finding.file,
               finding.position, finding.what, finding.meaning);
    return;
  }
  Json json = Json::object();
  json.set("weight", text(damage ? "damage" : "note"));
  json.set("file", text(finding.file));
  json.set("position", number(finding.position));
  json.set("what", text(finding.what));
  json.set("meaning", text(finding.meaning));
  print_json(json);
}

int check(Inspection& inspection, const Request& request) {
  auto report = inspection.check(
      [&](const store::Finding& finding) { print_finding(finding, request.json); });
  if (!report) return fail(report.error());
  if (request.json) {
    Json json = Json::object();
    json.set("records", number(report->records));
    json.set("queues", number(report->queues));
    json.set("entries", number(report->entries));
    json.set("indexUnits", number(report->index_units));
    json.set("compacted", number(report->compacted));
    json.set("damages", number(report->damages));
    json.set("notes", number(report->notes));
    print_json(json);
  } else {
    fmt::print(
        "{} records, {} entries of {} queues, {} index units{}: {}{}\n", report->records,
        report->entries, report->queues, report->index_units,
        report->compacted == 0 ? "" : fmt::format(", {} compacted messages", report->compacted),
        report->damages == 0 ? "no damage" : fmt::format("{} damages", report->damages),
        report->notes == 0 ? "" : fmt::format(", {} notes", report->notes));
  }
  return report->damages == 0 ? kFine : kDamaged;
}

// ---- repair ----

void print_remedy(const store::Remedy& remedy, bool json_wanted) {
  if (json_wanted) {
    Json json = Json::object();
    json.set("file", text(remedy.file));
    json.set("position", number(remedy.position));
    json.set("damage", text(remedy.damage));
    json.set("action", text(remedy.action));
    json.set("loses", text(remedy.loses));
    json.set("otherwise", text(remedy.otherwise));
    return print_json(json);
  }
  fmt::print("{} at {}\n  damage     {}\n  remedy     {}\n  loses      {}\n  left alone {}\n",
             remedy.file, remedy.position, remedy.damage,
             remedy.action.empty() ? "none" : remedy.action, remedy.loses, remedy.otherwise);
}

/// Says what could be done, and does it only when asked to.
int repair(FileSystem& files, const Request& request) {
  auto remedies = store::plan_repair(files, request.store);
  if (!remedies) return fail(remedies.error());
  std::size_t left = 0;
  for (const store::Remedy& remedy : *remedies) {
    print_remedy(remedy, request.json);
    if (!request.apply || !remedy.apply) {
      ++left;
      continue;
    }
    if (auto done = remedy.apply(); !done) return fail(done.error());
    if (!request.json) fmt::print("  done\n");
  }
  if (!request.json && remedies->empty()) fmt::print("nothing to repair\n");
  if (!request.json && left > 0 && !request.apply)
    fmt::print("nothing was changed; --apply does what is said above. Make a copy first.\n");
  return left == 0 ? kFine : kDamaged;
}

// ---- the command line ----

constexpr const char* kExamples =
    "Examples:\n"
    "  apogee inspect /var/lib/apogee/store\n"
    "  apogee inspect records /var/lib/apogee/store --topic Orders --key 4711\n"
    "  apogee inspect records /var/lib/apogee/store --from-offset 1073741824 --limit 5 --json\n"
    "  apogee inspect records /var/lib/apogee/store --compacted --topic Prices --key 4711\n"
    "  apogee inspect queue /var/lib/apogee/store Orders 0 --from 1200\n"
    "  apogee inspect check /var/lib/apogee/store && echo sound\n"
    "  apogee inspect repair /var/lib/apogee/store\n"
    "\n"
    "The store is only read: Apache RocketMQ's and Apogee's alike, best while no broker runs.\n"
    "Only repair --apply changes it, and only while no broker runs.\n"
    "Exit codes: 0 fine, 1 the check found damage, 2 wrong usage or unreadable.";

void add_store_options(CLI::App& app, Request& request) {
  app.add_option("STORE", request.store.root, "The broker's storePathRootDir")->required();
  app.add_option("--commitlog", request.store.commit_log_path,
                 "storePathCommitLog, if it is not STORE/commitlog");
  app.add_option("--index-slots", request.store.index_format.slot_count, "maxHashSlotNum")
      ->check(CLI::Range(1, 500'000'000))
      ->capture_default_str();
  app.add_option("--index-units", request.store.index_format.unit_count, "maxIndexNum")
      ->check(CLI::Range(2, 500'000'000))
      ->capture_default_str();
  app.add_flag("--json", request.json, "One JSON object a line");
}

void add_record_options(CLI::App& app, Request& request) {
  auto& filter = request.filter;
  app.add_option("--topic", filter.topic, "Only this topic");
  app.add_option("--queue", filter.queue_id, "Only this queue");
  app.add_option("--key", filter.key, "Only with this unique key or key");
  app.add_flag("--compacted", filter.compacted,
               "What compaction topics keep, queue by queue, instead of the commit log");
  app.add_option("--from-offset", filter.from_offset, "First physical offset");
  app.add_option("--to-offset", filter.to_offset, "Physical offset to end before");
  app.add_option("--from", filter.from_queue_offset, "First queue offset");
  app.add_option("--to", filter.to_queue_offset, "Queue offset to end before");
  app.add_option("--from-time", filter.from_ms, "First store time, Unix ms");
  app.add_option("--to-time", filter.to_ms, "Store time to end before, Unix ms");
  app.add_option("--limit", request.limit, "Records shown at most")->capture_default_str();
  app.add_option("--body", request.body_bytes, "Bytes of the body shown at most")
      ->capture_default_str();
}

}  // namespace

int run_inspect(std::span<const std::string> args) {
  Request request;
  CLI::App app{"Looks into a store directory without changing it.", "apogee inspect"};
  app.footer(kExamples);
  app.require_subcommand(1);
  auto* const summary_command =
      app.add_subcommand("summary", "What is in the store (also without this word)");
  auto* const records_command =
      app.add_subcommand("records", "Records of the commit log, or of compaction logs");
  auto* const queue_command = app.add_subcommand("queue", "Entries of one consume queue");
  auto* const check_command =
      app.add_subcommand("check", "Reads everything and says what is damaged");
  auto* const repair_command = app.add_subcommand(
      "repair", "What could be done about damage and what that would lose; does it with --apply");
  for (auto* command :
       {summary_command, records_command, queue_command, check_command, repair_command})
    add_store_options(*command, request);
  repair_command->add_flag("--apply", request.apply, "Change the store");
  add_record_options(*records_command, request);
  queue_command->add_option("TOPIC", request.filter.topic, "Topic")->required();
  queue_command->add_option("QUEUE", request.queue_id, "Queue id")->required();
  queue_command->add_option("--from", request.from, "First queue offset");
  queue_command->add_option("--to", request.to, "Queue offset to end before");
  queue_command->add_option("--limit", request.limit, "Entries shown at most")
      ->capture_default_str();

  std::vector<std::string> words{args.begin(), args.end()};
  const auto is_command = [&](const std::string& word) {
    return std::ranges::any_of(
        std::array{summary_command, records_command, queue_command, check_command, repair_command},
        [&](const CLI::App* command) { return command->get_name() == word; });
  };
  if (!words.empty() && words[0] == "--repair") words[0] = "repair";
  if (!words.empty() && !words[0].starts_with('-') && !is_command(words[0]))
    words.insert(words.begin(), "summary");
  std::ranges::reverse(words);  // CLI11 takes them from the back
  try {
    app.parse(words);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kFine : kFailed;
  }

  const auto files = make_posix_files();
  if (repair_command->parsed()) return repair(*files, request);
  auto inspection = Inspection::open(*files, request.store);
  if (!inspection) return fail(inspection.error());
  if (records_command->parsed()) return list_records(*inspection, request);
  if (queue_command->parsed()) return list_queue(*inspection, request);
  if (check_command->parsed()) return check(*inspection, request);
  return summarize(*inspection, request);
}

}  // namespace apogee
