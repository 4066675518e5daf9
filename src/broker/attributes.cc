#include "broker/attributes.h"

#include <algorithm>
#include <limits>

#include "protocol/field.h"

namespace apogee::broker {
namespace {

constexpr std::int64_t kNumberMax = std::numeric_limits<std::int64_t>::max();

Error refused(std::string why) {
  return Error{Errc::kInvalidArgument, std::move(why)};
}

bool allowed(const Attribute& attribute, const std::string& value) {
  if (!attribute.values.empty())
    return std::ranges::find(attribute.values, value) != attribute.values.end();
  std::int64_t number = 0;
  return protocol::from_text(value, number) && number >= attribute.least &&
         number <= attribute.most;
}

}  // namespace

const std::vector<Attribute>& topic_attributes() {
  static const std::vector<Attribute> known{
      {"queue.type", false, {"SimpleCQ"}},
      {"cleanup.policy", false, {"DELETE"}},
      {"message.type", true, {"UNSPECIFIED", "NORMAL", "FIFO", "DELAY", "TRANSACTION", "MIXED"}},
      {"reserve.time", true, {}, -1, kNumberMax}};
  return known;
}

/// Those of lite topics (lite.*) are unknown here, as lite topics are.
const std::vector<Attribute>& group_attributes() {
  static const std::vector<Attribute> known{{"priority.factor", true, {}, 0, 100}};
  return known;
}

Result<Attributes> parse_attribute_changes(std::string_view text) {
  Attributes changes;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    const std::string_view piece = text.substr(0, comma);
    text.remove_prefix(std::min(comma + 1, text.size()));
    if (piece.empty()) continue;
    const std::size_t equals = piece.find('=');
    if (equals == std::string_view::npos && piece.front() != '-')
      return refused("add/alter attribute format is wrong: " + std::string{piece});
    const bool fresh =
        changes
            .emplace(piece.substr(0, equals),
                     equals == std::string_view::npos ? "" : piece.substr(equals + 1))
            .second;
    if (!fresh) return refused("key duplication: " + std::string{piece.substr(0, equals)});
  }
  return changes;
}

Result<Attributes> alter_attributes(const std::vector<Attribute>& known, const Attributes* present,
                                    const Attributes& changes) {
  Attributes now = present ? *present : Attributes{};
  for (const auto& [signed_key, value] : changes) {
    const std::string key = signed_key.substr(std::min<std::size_t>(signed_key.size(), 1));
    if (key.empty() || key.find_first_of("+-") != std::string::npos)
      return refused("kv string format wrong: " + signed_key);
    const bool adds = signed_key.front() == '+';
    if (!adds && !present)
      return refused("only add attribute is supported while creating. key: " + key);
    if (!adds && signed_key.front() != '-') return refused("wrong format key: " + signed_key);
    if (adds && changes.contains('-' + key)) return refused("alter duplication key. key: " + key);
    if (!adds && !now.contains(key)) return refused("attempt to delete a nonexistent key: " + key);
    const auto attribute = std::ranges::find(known, key, &Attribute::name);
    if (attribute == known.end()) return refused("unsupported key: " + key);
    if (present && !attribute->changeable)
      return refused("attempt to update an unchangeable attribute. key: " + key);
    if (!adds) {
      now.erase(key);
      continue;
    }
    if (!allowed(*attribute, value))
      return refused(key + "=" + value + " is not supported by this broker");
    now[key] = value;
  }
  return now;
}

}  // namespace apogee::broker
