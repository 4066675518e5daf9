#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/message.h"

namespace apogee::protocol {

/// A message's properties, to be changed. Order is kept; names are unique (the last of the text
/// wins, as in Java's map).
class Properties {
 public:
  Properties() = default;
  explicit Properties(std::string_view text) {
    for_each_property(text,
                      [&](std::string_view name, std::string_view value) { set(name, value); });
  }
  std::optional<std::string_view> find(std::string_view name) const {
    for (const auto& [key, value] : entries_)
      if (key == name) return value;
    return std::nullopt;
  }
  void set(std::string_view name, std::string_view value) {
    for (auto& [key, old] : entries_) {
      if (key == name) {
        old = value;
        return;
      }
    }
    entries_.emplace_back(name, value);
  }
  void remove(std::string_view name) {
    std::erase_if(entries_, [&](const auto& entry) { return entry.first == name; });
  }
  Buffer encode() const {
    Buffer out;
    for (const auto& [name, value] : entries_) append_property(out, name, value);
    return out;
  }
  const std::vector<std::pair<std::string, std::string>>& entries() const { return entries_; }

 private:
  std::vector<std::pair<std::string, std::string>> entries_;
};

}  // namespace apogee::protocol
