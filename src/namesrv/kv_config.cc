#include "namesrv/kv_config.h"

#include "protocol/table_file.h"

namespace apogee::namesrv {

Result<Ok> KvConfig::load() {
  auto table = protocol::load_table<protocol::KvConfigTable>(env_, path_);
  if (!table && table.error().code == Errc::kMalformed)
    return Error{Errc::kMalformed, table.error().detail + "; mend or remove the file"};
  if (!table) return table.error();
  if (*table) table_ = **std::move(table);
  return Ok{};
}

Result<Ok> KvConfig::set(const std::string& config_namespace, const std::string& key,
                         const std::string& value) {
  {
    std::unique_lock lock{mutex_};
    table_.config_table[config_namespace][key] = value;
  }
  return persist();
}

Result<Ok> KvConfig::remove(const std::string& config_namespace, const std::string& key) {
  {
    std::unique_lock lock{mutex_};
    const auto found = table_.config_table.find(config_namespace);
    if (found == table_.config_table.end() || found->second.erase(key) == 0) return Ok{};
  }
  return persist();
}

std::optional<std::string> KvConfig::find(const std::string& config_namespace,
                                          const std::string& key) const {
  std::shared_lock lock{mutex_};
  const auto found = table_.config_table.find(config_namespace);
  if (found == table_.config_table.end()) return std::nullopt;
  const auto value = found->second.find(key);
  return value == found->second.end() ? std::nullopt : std::optional{value->second};
}

std::optional<std::map<std::string, std::string>> KvConfig::list(
    const std::string& config_namespace) const {
  std::shared_lock lock{mutex_};
  const auto found = table_.config_table.find(config_namespace);
  return found == table_.config_table.end() ? std::nullopt : std::optional{found->second};
}

Result<Ok> KvConfig::persist() {
  std::lock_guard one{persist_mutex_};
  Buffer text;
  {
    std::shared_lock lock{mutex_};
    text = protocol::encode_body(table_, protocol::JsonStyle::kPretty);
  }
  if (const auto slash = path_.rfind('/'); slash != std::string::npos) {
    if (auto made = env_.files.create_directories(path_.substr(0, slash)); !made) return made;
  }
  return replace_file(env_.files, path_, text);
}

}  // namespace apogee::namesrv
