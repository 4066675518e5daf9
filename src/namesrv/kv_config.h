#pragma once

#include <map>
#include <optional>
#include <shared_mutex>
#include <string>

#include "base/env.h"
#include "protocol/bodies.h"

namespace apogee::namesrv {

/// Namespaces of keys and values, kept in kvConfig.json (KVConfigManager).
/// Threads: find() and list() from any thread; set() and remove() write the file and so block.
class KvConfig {
 public:
  KvConfig(Env& env, std::string path) : env_{env}, path_{std::move(path)} {}
  Result<Ok> load();
  Result<Ok> set(const std::string& config_namespace, const std::string& key,
                 const std::string& value);
  Result<Ok> remove(const std::string& config_namespace, const std::string& key);
  std::optional<std::string> find(const std::string& config_namespace,
                                  const std::string& key) const;
  std::optional<std::map<std::string, std::string>> list(const std::string& config_namespace) const;

 private:
  Result<Ok> persist();
  Env& env_;
  const std::string path_;
  std::mutex persist_mutex_;
  mutable std::shared_mutex mutex_;
  protocol::KvConfigTable table_;  // guarded by mutex_
};

}  // namespace apogee::namesrv
