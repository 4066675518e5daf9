#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "apogee/result.h"

/// Attributes of topics and consumer groups, and how a request changes them (AttributeUtil,
/// TopicAttributes, SubscriptionGroupAttributes). Pure functions.
namespace apogee::broker {

using Attributes = std::map<std::string, std::string>;

struct Attribute {
  std::string_view name;
  bool changeable;
  std::vector<std::string_view> values;  ///< Empty: a whole number within the bounds.
  std::int64_t least = 0, most = 0;
};

const std::vector<Attribute>& topic_attributes();
const std::vector<Attribute>& group_attributes();

/// "+key=value,-key" of a topic request: signed key to value. kInvalidArgument: neither.
Result<Attributes> parse_attribute_changes(std::string_view text);

/// `present` after `changes`, whose keys carry a sign. nullptr: the thing is being created, so all
/// are additions. kInvalidArgument says which key is unknown, unchangeable, absent or has a bad
/// value.
Result<Attributes> alter_attributes(const std::vector<Attribute>& known, const Attributes* present,
                                    const Attributes& changes);

}  // namespace apogee::broker
