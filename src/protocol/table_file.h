#pragma once

#include <atomic>
#include <string>

#include "base/env.h"
#include "protocol/json.h"

namespace apogee::protocol {

/// Reads the JSON table at `path`, or its .bak when it is missing, empty or damaged
/// (ConfigManager.load). nullopt: neither is there. kMalformed: what is there cannot be read;
/// going on would throw away what it holds. Blocks on the disk.
template <class Table>
Result<std::optional<Table>> load_table(Env& env, const std::string& path) {
  std::optional<Error> damaged;
  for (const std::string& each : {path, path + ".bak"}) {
    auto content = read_file(env.files, each);
    if (!content && content.error().code == Errc::kNotFound) continue;
    if (!content) return content.error();
    if (content->empty()) continue;  // a crash between creating and writing
    auto table = decode_body<Table>(*content);
    if (table) {
      if (each != path) env.log.warn("table read from its backup: path={}", each);
      return std::optional<Table>{*std::move(table)};
    }
    env.log.error("table is damaged: path={} why={}", each, table.error().detail);
    if (!damaged) damaged = Error{Errc::kMalformed, each + ": " + table.error().detail};
  }
  if (damaged) return *std::move(damaged);
  return std::optional<Table>{};
}

/// Replaces the file, durably, as Java lays it out. Blocks on the disk.
template <class Table>
Result<Ok> save_table(Env& env, const std::string& path, const Table& table) {
  return replace_file(env.files, path, encode_body(table, JsonStyle::kPretty));
}

/// The same if the table was changed since. One caller at a time; who changes the table sets
/// `dirty` before it lets go of the lock that `copy` takes.
template <class Copy>
Result<Ok> save_if_dirty(Env& env, const std::string& path, std::atomic<bool>& dirty, Copy copy) {
  if (!dirty.exchange(false)) return Ok{};
  auto saved = save_table(env, path, copy());
  if (!saved) dirty = true;
  return saved;
}

}  // namespace apogee::protocol
