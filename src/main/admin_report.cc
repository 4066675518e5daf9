#include "main/admin_report.h"

#include <algorithm>
#include <ctime>

#include <fmt/format.h>

namespace apogee {

using protocol::Json;

Cell::Cell(std::string value) : text{printable(value)}, json{Json::Value{std::move(value)}} {
  std::ranges::replace(text, '\n', ' ');
}
Cell::Cell(std::int64_t value) : text{std::to_string(value)}, json{Json::Value{value}} {}
Cell::Cell(bool value) : text{value ? "true" : "false"}, json{Json::Value{value}} {}
Cell::Cell(double value, int decimals)
    : text{fmt::format("{:.{}f}", value, decimals)}, json{Json::Value{value}} {}
Cell::Cell(std::chrono::system_clock::time_point value, const char* unknown)
    : text{local_time(value, unknown)} {
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(value.time_since_epoch()).count();
  if (ms > 0) json = Json{Json::Value{std::int64_t{ms}}};
}

std::string local_time(std::chrono::system_clock::time_point time, const char* unknown) {
  const auto ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
  if (ms <= 0) return unknown;
  const auto seconds = static_cast<std::time_t>(ms / 1'000);
  std::tm parts{};
  ::localtime_r(&seconds, &parts);
  char out[32];
  std::strftime(out, sizeof out, "%Y-%m-%d %H:%M:%S", &parts);
  return fmt::format("{},{:03}", out, ms % 1'000);
}

std::string printable(std::string_view text) {
  std::string out;
  for (const char each : text) {
    const auto byte = static_cast<unsigned char>(each);
    if ((byte < 0x20 && each != '\n' && each != '\t') || byte == 0x7F)
      out += fmt::format("\\x{:02x}", byte);
    else
      out += each;
  }
  return out;
}

Report::Table& Report::table(std::string key, std::vector<Column> columns) {
  Table& table = tables_.emplace_back();
  table.key_ = std::move(key);
  table.columns_ = std::move(columns);
  blocks_.push_back({.title = {}, .text = {}, .table = &table});
  return table;
}

void Report::fact(std::string title, std::string key, Cell value) {
  blocks_.push_back({.title = std::move(title), .text = std::move(value.text), .table = nullptr});
  if (!key.empty()) member(std::move(key), std::move(value.json));
}

void Report::line(std::string text) {
  blocks_.push_back({.title = {}, .text = std::move(text), .table = nullptr});
}

void Report::properties(const std::map<std::string, std::string>& values) {
  std::size_t width = 0;
  for (const auto& [name, value] : values) width = std::max(width, name.size());
  for (const auto& [name, value] : values)
    line(fmt::format("{:<{}} =  {}", printable(name), width, printable(value)));
}

void Report::member(std::string key, Json value) {
  json_.set(std::move(key), std::move(value));
}

namespace {

/// What a terminal takes it to be wide: characters of several bytes count once.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char each) { return (each & 0xC0) != 0x80; }));
}

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789.-+") == std::string_view::npos;
}

}  // namespace

/// Columns as wide as their widest cell; numbers to the right.
void Report::append_table(std::string& out, const Table& table, bool colour) {
  std::vector<std::size_t> widths;
  for (const Column& each : table.columns_) widths.push_back(width_of(each.title));
  for (const auto& row : table.rows_)
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], width_of(row[i].text));
  const auto append_row = [&](auto&& text_at, bool right) {
    std::string line;
    for (std::size_t i = 0; i < widths.size(); ++i) {
      const std::string text = text_at(i);
      const std::string pad(widths[i] - width_of(text), ' ');
      if (i > 0) line += "  ";
      line += right && is_number(text) ? pad + text : text + pad;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    return line;
  };
  const std::string head =
      append_row([&](std::size_t i) { return std::string{table.columns_[i].title}; }, false);
  out += colour ? "\033[1m" + head + "\033[0m\n" : head + "\n";
  for (const auto& row : table.rows_)
    out += append_row([&](std::size_t i) { return row[i].text; }, true) + "\n";
}

std::string Report::text(bool colour) const {
  std::string out;
  for (std::size_t i = 0; i < blocks_.size();) {
    if (blocks_[i].table) {
      append_table(out, *blocks_[i++].table, colour);
      continue;
    }
    if (blocks_[i].title.empty()) {
      out += blocks_[i++].text + "\n";
      continue;
    }
    std::size_t end = i, width = 0;
    for (; end < blocks_.size() && !blocks_[end].title.empty(); ++end)
      width = std::max(width, blocks_[end].title.size());
    for (; i < end; ++i) {
      std::string line =
          fmt::format("{:<{}} {}", blocks_[i].title + ":", width + 1, blocks_[i].text);
      line.erase(line.find_last_not_of(' ') + 1);
      out += line + "\n";
    }
  }
  return out;
}

std::string Report::json() const {
  Json all = json_;
  for (const Table& table : tables_) {
    Json::Array rows;
    for (const auto& row : table.rows_) {
      Json object = Json::object();
      for (std::size_t i = 0; i < row.size(); ++i)
        if (*table.columns_[i].key != '\0') object.set(table.columns_[i].key, row[i].json);
      rows.push_back(std::move(object));
    }
    if (!table.key_.empty()) all.set(table.key_, Json{Json::Value{std::move(rows)}});
  }
  return write_json(all, protocol::JsonStyle::kStandard) + "\n";
}

}  // namespace apogee
