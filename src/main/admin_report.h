#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/json.h"

/// What a command has to say, once: printed as aligned text for people or as one JSON object for
/// scripts. Pure; one thread.
namespace apogee {

/// One value in both its forms.
struct Cell {
  std::string text;
  protocol::Json json;

  Cell(std::string value);  // NOLINT(google-explicit-constructor): rows are lists of values
  Cell(const char* value) : Cell{std::string{value}} {}    // NOLINT
  Cell(std::int64_t value);                                // NOLINT
  Cell(std::int32_t value) : Cell{std::int64_t{value}} {}  // NOLINT
  Cell(bool value);                                        // NOLINT
  /// Local time with milliseconds; JSON: Unix milliseconds. Not known: `unknown`, and null.
  explicit Cell(std::chrono::system_clock::time_point value, const char* unknown = "");
  Cell(double value, int decimals);
  /// For people something else than for scripts.
  Cell(std::string shown, protocol::Json said) : text{std::move(shown)}, json{std::move(said)} {}
};

/// "2026-01-31 12:00:00,123" in local time, as mqadmin writes it; `unknown` for 1970.
std::string local_time(std::chrono::system_clock::time_point time, const char* unknown = "");
/// What a terminal may show of bytes a stranger has sent: no control characters but line breaks and
/// tabs.
std::string printable(std::string_view text);

class Report {
 public:
  struct Column {
    const char* title;  ///< mqadmin's, with its '#'.
    const char* key;    ///< The member of each row's object. Empty: for people only.
  };
  class Table {
   public:
    void add(std::vector<Cell> row) { rows_.push_back(std::move(row)); }
    bool empty() const { return rows_.empty(); }

   private:
    friend class Report;
    std::string key_;
    std::vector<Column> columns_;
    std::vector<std::vector<Cell>> rows_;
  };

  /// JSON: `key`: [{...}, ...], also when there are no rows.
  Table& table(std::string key, std::vector<Column> columns);
  /// "Title:   value". Facts that follow each other are aligned.
  void fact(std::string title, std::string key, Cell value);
  /// For people only.
  void line(std::string text);
  /// "name   =  value", aligned.
  void properties(const std::map<std::string, std::string>& values);
  /// For scripts only.
  void member(std::string key, protocol::Json value);

  bool empty() const { return blocks_.empty() && json_.members()->empty(); }
  std::string text(bool colour) const;
  std::string json() const;

 private:
  struct Block {
    std::string title, text;  // a fact, or (without title) a line
    const Table* table = nullptr;
  };
  static void append_table(std::string& out, const Table& table, bool colour);

  std::deque<Table> tables_;
  std::vector<Block> blocks_;
  protocol::Json json_ = protocol::Json::object();
};

}  // namespace apogee
