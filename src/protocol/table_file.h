#pragma once

#include <atomic>
#include <string>

#include "base/env.h"
#include "protocol/json.h"

namespace apogee::protocol {

/// Ends what a crash has cut short: the next replacement would begin by emptying the .tmp.
inline Result<Ok> finish_replacing(FileSystem& files, const std::string& path) {
  if (auto renamed = files.rename(path + ".tmp", path); !renamed) return renamed;
  const auto slash = path.rfind('/');
  return files.sync_directory(slash == std::string::npos ? "." : path.substr(0, slash + 1));
}

/// Reads the JSON table at `path`, or its .bak when it is missing, empty or damaged
/// (ConfigManager.load), or else the .tmp that replace_file() was about to put there, which is
/// newer than both. nullopt: none is there. kMalformed: what is there cannot be read; going on
/// would throw away what it holds. Blocks on the disk.
template <class Table>
Result<std::optional<Table>> load_table(Env& env, const std::string& path) {
  std::optional<Error> damaged;
  const std::string next = path + ".tmp";
  for (const std::string& each : {path, path + ".bak", next}) {
    auto content = read_file(env.files, each);
    if (!content && content.error().code == Errc::kNotFound) continue;
    if (!content) return content.error();
    if (content->empty()) continue;  // a crash between creating and writing
    auto table = decode_body<Table>(*content);
    if (table) {
      if (each != path) env.log.warn("table read from its backup: path={}", each);
      if (each == next)
        if (auto finished = finish_replacing(env.files, path); !finished) return finished.error();
      return std::optional<Table>{*std::move(table)};
    }
    if (each == next) continue;  // a crash while it was written, before it was to be relied on
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
