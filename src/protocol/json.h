#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "apogee/result.h"
#include "base/bytes.h"
#include "protocol/field.h"

/// fastjson's dialect, which general JSON libraries refuse: map keys may be bare integers ({0:"a"})
/// or whole objects
/// ({{"brokerName":"b","queueId":0,"topic":"t"}:5}). Bodies are structs with a kFields table, as
/// headers are.
namespace apogee::protocol {

/// A parsed value. Depth is bounded by parse_json, and for what peers send the number of values,
/// too.
class Json {
 public:
  struct Member {
    std::string key;          ///< Text, or the JSON of a bare key.
    bool bare = false;        ///< Written without quotes: an integer or an object.
    std::vector<Json> value;  ///< Exactly one; a vector because Json is incomplete here.
  };
  using Array = std::vector<Json>;
  using Object = std::vector<Member>;
  using Value =
      std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object>;

  Json() = default;
  explicit Json(Value value) : value_{std::move(value)} {}
  static Json object() { return Json{Object{}}; }

  const Value& value() const { return value_; }
  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  const Array* array() const { return std::get_if<Array>(&value_); }
  const Object* members() const { return std::get_if<Object>(&value_); }
  const std::string* text() const { return std::get_if<std::string>(&value_); }
  const Json* find(std::string_view key) const;
  /// As fastjson looks for a bean's member: failing its exact name, one that differs in case, '_'
  /// and '-' only. Clients that are not Java's write "GroupName".
  const Json* find_alike(std::string_view key) const;
  void set(std::string key, Json value) { add({std::move(key), false, {}}, std::move(value)); }
  void set_bare(std::string key, Json value) { add({std::move(key), true, {}}, std::move(value)); }
  void push(Json value);

 private:
  void add(Member member, Json value);
  Value value_;
};

inline constexpr int kJsonDepthMax = 64;

/// How many values (members, elements) may still be parsed. A value of two bytes of text takes 40
/// to 180 bytes of memory: what a peer sends must not become a hundred times as large.
struct JsonBudget {
  std::size_t values = std::numeric_limits<std::size_t>::max();
};

/// The budget of text that a peer has sent. Real bodies have a value for every 9 bytes or more: a
/// topic of a registration 9 to 12 in 150, an ack of a batch 10 in 90. The first 65 536 are free,
/// for small bodies that are denser; the most is what 100 000 topics need.
inline constexpr std::size_t kReceivedValuesFree = 65'536, kReceivedBytesPerValue = 8,
                             kReceivedValuesMax = 1'250'000;
constexpr JsonBudget received_budget(std::size_t text_bytes) {
  return {std::min(kReceivedValuesFree + text_bytes / kReceivedBytesPerValue, kReceivedValuesMax)};
}

/// Lenient as fastjson: single quotes, unquoted names, trailing commas, bare keys. kMalformed names
/// the position, or the budget that was used up. `budget` loses what was parsed.
Result<Json> parse_json(std::string_view text, JsonBudget& budget);
/// Without a budget: files, which are ours and as large as they are.
Result<Json> parse_json(std::string_view text);

enum class JsonStyle {
  kFastjson,  ///< Compact, bare keys bare.
  kStandard,  ///< Compact, every key quoted.
  kPretty,    ///< Tabs and line ends, as in the config files; bare keys bare.
};
Buffer write_json(const Json& json, JsonStyle style = JsonStyle::kFastjson);

// ---- Structs <-> Json --------------------------------------------------------------------------

template <class T>
concept HasFields = requires { T::kFields; };
/// Enums name their values: template <> struct JsonNames<E> { static constexpr
/// std::array<std::pair<std::string_view, E>, N> kNames; };
template <class E>
struct JsonNames;

template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};
template <class T>
struct IsSet : std::false_type {};
template <class T>
struct IsSet<std::set<T>> : std::true_type {};
template <class T>
struct IsMap : std::false_type {};
template <class K, class V, class C>
struct IsMap<std::map<K, V, C>> : std::true_type {};

template <class T>
Json to_json(const T& value) {
  if constexpr (std::is_same_v<T, Json>)
    return value;
  else if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, std::string>)
    return Json{Json::Value{value}};
  else if constexpr (std::is_enum_v<T>) {
    for (const auto& [name, each] : JsonNames<T>::kNames) {
      if (each == value) return Json{Json::Value{std::string{name}}};
    }
    return Json{};
  } else if constexpr (std::is_integral_v<T>)
    return Json{Json::Value{static_cast<std::int64_t>(value)}};
  else if constexpr (std::is_floating_point_v<T>)
    return Json{Json::Value{static_cast<double>(value)}};
  else if constexpr (IsOptional<T>::value)
    return value ? to_json(*value) : Json{};
  else if constexpr (IsVector<T>::value || IsSet<T>::value) {
    Json::Array array;
    for (const auto& each : value) array.push_back(to_json(each));
    return Json{Json::Value{std::move(array)}};
  } else if constexpr (IsMap<T>::value) {
    Json object = Json::object();
    for (const auto& [key, each] : value) {
      if constexpr (std::is_same_v<std::remove_cvref_t<decltype(key)>, std::string>)
        object.set(key, to_json(each));
      else if constexpr (std::is_integral_v<std::remove_cvref_t<decltype(key)>>)
        object.set_bare(std::to_string(key), to_json(each));
      else
        object.set_bare(write_json(to_json(key)), to_json(each));
    }
    return object;
  } else {
    static_assert(HasFields<T>, "a body is a struct with a kFields table");
    Json object = Json::object();
    const auto add = [&](const auto& field) {
      Json member = to_json(value.*field.member);
      if (!member.is_null()) object.set(std::string{field.wire_name}, std::move(member));
    };
    T::kFields.for_each(add);
    return object;
  }
}

/// Reads what is there into `value`; absent and null members keep their defaults, unknown ones are
/// ignored. False: a value of the wrong kind.
template <class T>
bool from_json(const Json& json, T& value) {
  if constexpr (std::is_same_v<T, Json>) {
    value = json;
    return true;
  } else if constexpr (IsOptional<T>::value) {
    if (json.is_null()) return true;
    return from_json(json, value.emplace());
  } else if constexpr (std::is_enum_v<T>) {
    // By name, or by number as the old C++ client does; an unknown name leaves the default, as
    // fastjson's null does.
    if (const std::string* name = json.text()) {
      for (const auto& [each_name, each] : JsonNames<T>::kNames)
        if (each_name == *name) value = each;
    } else if (const auto* number = std::get_if<std::int64_t>(&json.value())) {
      value = static_cast<T>(*number);
    }
    return true;
  } else {
    if (json.is_null()) return true;
    if constexpr (std::is_same_v<T, bool>) {
      if (const bool* flag = std::get_if<bool>(&json.value()))
        value = *flag;
      else if (const auto* number = std::get_if<std::int64_t>(&json.value()))
        value = *number != 0;
      else if (const std::string* text = json.text())
        from_text(*text, value);
      else
        return false;
      return true;
    } else if constexpr (std::is_same_v<T, std::string>) {
      if (const std::string* text = json.text())
        value = *text;
      else if (json.array() || json.members())
        return false;
      else
        value = write_json(json);
      return true;
    } else if constexpr (std::is_integral_v<T>) {
      if (const auto* number = std::get_if<std::int64_t>(&json.value()))
        value = static_cast<T>(*number);
      else if (const auto* real = std::get_if<double>(&json.value())) {
        constexpr std::uint64_t kHalf = std::uint64_t{1} << (std::numeric_limits<T>::digits - 1);
        constexpr double kEnd = static_cast<double>(kHalf) * 2;
        if (!(*real >= (std::is_signed_v<T> ? -kEnd : 0.0) && *real < kEnd)) return false;
        value = static_cast<T>(*real);
      } else if (const std::string* text = json.text())
        return text->empty() || from_text(*text, value);
      else
        return false;
      return true;
    } else if constexpr (std::is_floating_point_v<T>) {
      if (const auto* number = std::get_if<std::int64_t>(&json.value()))
        value = static_cast<T>(*number);
      else if (const auto* real = std::get_if<double>(&json.value()))
        value = static_cast<T>(*real);
      else
        return false;
      return true;
    } else if constexpr (IsVector<T>::value || IsSet<T>::value) {
      const Json::Array* array = json.array();
      if (!array) return false;
      if constexpr (IsVector<T>::value) value.reserve(value.size() + array->size());
      for (const Json& each : *array) {
        typename T::value_type element{};
        if (!from_json(each, element)) return false;
        value.insert(value.end(), std::move(element));
      }
      return true;
    } else if constexpr (IsMap<T>::value) {
      const Json::Object* members = json.members();
      if (!members) return false;
      for (const Json::Member& member : *members) {
        typename T::key_type key{};
        if constexpr (std::is_same_v<typename T::key_type, std::string>)
          key = member.key;
        else if constexpr (std::is_integral_v<typename T::key_type>) {
          if (!from_text(member.key, key)) return false;
        } else {
          JsonBudget budget = received_budget(member.key.size());  // a quoted key was not counted
          auto parsed = parse_json(member.key, budget);
          if (!parsed || !from_json(*parsed, key)) return false;
        }
        typename T::mapped_type mapped{};
        if (!from_json(member.value.front(), mapped)) return false;
        value.insert_or_assign(std::move(key), std::move(mapped));
      }
      return true;
    } else {
      static_assert(HasFields<T>, "a body is a struct with a kFields table");
      if (!json.members()) return false;
      bool good = true;
      const auto read = [&](const auto& field) {
        if (const Json* member = json.find_alike(field.wire_name))
          good = from_json(*member, value.*field.member) && good;
      };
      T::kFields.for_each(read);
      return good;
    }
  }
}

template <class T>
Buffer encode_body(const T& body, JsonStyle style = JsonStyle::kFastjson) {
  return write_json(to_json(body), style);
}

template <class T>
Result<T> body_of(const Result<Json>& json) {
  if (!json) return json.error();
  T body{};
  if (!from_json(*json, body))
    return Error{Errc::kMalformed, "a member of the JSON body has the wrong kind"};
  return body;
}
template <class T>
Result<T> decode_body(std::string_view text, JsonBudget& budget) {
  return body_of<T>(parse_json(text, budget));
}
/// Of a file, or of somebody trusted: no budget.
template <class T>
Result<T> decode_body(std::string_view text) {
  return body_of<T>(parse_json(text));
}
/// Of a frame.
template <class T>
Result<T> decode_body(Bytes bytes) {
  JsonBudget budget = received_budget(bytes.size());
  return decode_body<T>(as_text(bytes), budget);
}

}  // namespace apogee::protocol
