#include "broker/attributes.h"

#include <algorithm>
#include <limits>
#include <optional>

#include <fmt/ranges.h>

#include "protocol/field.h"

namespace apogee::broker {
namespace {

constexpr std::int64_t kNumberMax = std::numeric_limits<std::int64_t>::max();

Error refused(std::string why) {
  return Error{Errc::kInvalidArgument, std::move(why)};
}

/// nullopt: the attribute may have this value.
std::optional<Error> check_value(const Attribute& attribute, const std::string& value) {
  if (!attribute.values.empty()) {
    if (std::ranges::find(attribute.values, value) == attribute.values.end())
      return refused(fmt::format("value is not in set: [{}]", fmt::join(attribute.values, ", ")));
    return std::nullopt;
  }
  std::int64_t number = 0;
  if (!protocol::from_text(value, number))
    return refused(fmt::format("For input string: \"{}\"", value));
  if (number < attribute.least || number > attribute.most)
    return refused(fmt::format("value is not in range({}, {})", attribute.least, attribute.most));
  return std::nullopt;
}

}  // namespace

const std::vector<Attribute>& topic_attributes() {
  static const std::vector<Attribute> known{
      {"queue.type", false, {"BatchCQ", "SimpleCQ"}},
      {"cleanup.policy", false, {"DELETE", "COMPACTION"}},
      {"message.type", true, {"UNSPECIFIED", "MIXED", "TRANSACTION", "FIFO", "DELAY", "NORMAL"}},
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
    const auto equals = std::ranges::find(piece, '=');
    const bool adds = equals != piece.end();
    const std::string key{piece.begin(), equals};
    if (key.find(adds ? '+' : '-') == std::string::npos)
      return refused(
          (adds ? "add/alter attribute format is wrong: " : "delete attribute format is wrong: ") +
          key);
    const bool fresh =
        changes.emplace(key, adds ? std::string{equals + 1, piece.end()} : std::string{}).second;
    if (!fresh) return refused("key duplication: " + key);
  }
  return changes;
}

Result<Attributes> alter_attributes(const std::vector<Attribute>& known, const Attributes* present,
                                    const Attributes& changes) {
  Attributes now = present ? *present : Attributes{};
  for (const auto& [signed_key, value] : changes) {
    const std::string key = signed_key.substr(std::min<std::size_t>(signed_key.size(), 1));
    if (key.empty() || key.find_first_of("+-") != std::string::npos)
      return refused("kv string format wrong.");
    const bool adds = signed_key.front() == '+';
    if (!adds && !present)
      return refused("only add attribute is supported while creating topic. key: " + key);
    if (!adds && signed_key.front() != '-') return refused("wrong format key: " + key);
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
    if (auto bad = check_value(*attribute, value)) return *bad;
    now[key] = value;
  }
  return now;
}

}  // namespace apogee::broker
