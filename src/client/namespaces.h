#pragma once

#include <string>
#include <string_view>

#include "protocol/names.h"

/// Namespaces of the first kind: topics and groups travel as "<namespace>%<name>", with %RETRY% and
/// %DLQ% in front of it. Java's NamespaceUtil. Pure.
namespace apogee::client {

namespace namespaces_detail {
/// "%RETRY%" or "%DLQ%" at the start of a name, or nothing.
inline std::string_view special_prefix(std::string_view name) {
  if (protocol::is_retry_topic(name)) return protocol::kRetryPrefix;
  if (protocol::is_dlq_topic(name)) return protocol::kDlqPrefix;
  return {};
}
inline bool is_wrapped(std::string_view name, std::string_view name_space) {
  return name.size() > name_space.size() && name.starts_with(name_space) &&
         name[name_space.size()] == '%';
}
}  // namespace namespaces_detail

/// As it is sent. System topics and groups, and names wrapped already, stay as they are.
inline std::string wrapped(std::string_view name, std::string_view name_space) {
  const std::string_view prefix = namespaces_detail::special_prefix(name);
  const std::string_view plain = name.substr(prefix.size());
  if (name_space.empty() || name.empty() || protocol::is_system_topic(name) ||
      protocol::is_system_group(name) || namespaces_detail::is_wrapped(plain, name_space))
    return std::string{name};
  return std::string{prefix}.append(name_space).append("%").append(plain);
}

/// As the application knows it. Names of other namespaces stay as they are.
inline std::string unwrapped(std::string_view name, std::string_view name_space) {
  const std::string_view prefix = namespaces_detail::special_prefix(name);
  const std::string_view plain = name.substr(prefix.size());
  if (name_space.empty() || !namespaces_detail::is_wrapped(plain, name_space))
    return std::string{name};
  return std::string{prefix}.append(plain.substr(name_space.size() + 1));
}

}  // namespace apogee::client
