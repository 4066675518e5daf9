#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "apogee/result.h"
#include "base/member_list.h"

/// Configuration keys, declared once: a struct lists its members in kOptions, and parsing, range
/// checks, printing and the reference page are loops over that list. Defaults stand at the members.
///
///   struct StoreConfig {
///     std::int64_t flush_interval_ms = 500;
///     using Self = StoreConfig;
///     static constexpr auto kOptions = MemberList{
///         Option{"flushIntervalCommitLog", &Self::flush_interval_ms, 1, 60'000, "Longest wait ...,
///         in ms."}};
///   };
namespace apogee {

/// May the key be changed while the process runs (UPDATE_BROKER_CONFIG)?
enum class Change { kAtStart, kAtRunTime };

/// The wire names of an enum that is a configuration value; specialise with `static constexpr
/// std::array<std::pair<std::string_view, E>, N> kNames`.
template <class E>
struct OptionNames;

template <class Config, class T>
struct Option {
  std::string_view name;
  T Config::* member;
  T least{};  ///< Inclusive bounds; meaningful for numbers.
  T most{};
  std::string_view doc;
  Change change = Change::kAtStart;

  constexpr Option(std::string_view name_, T Config::* member_, std::type_identity_t<T> least_,
                   std::type_identity_t<T> most_, std::string_view doc_,
                   Change change_ = Change::kAtStart)
      : name{name_}, member{member_}, least{least_}, most{most_}, doc{doc_}, change{change_} {}
};

/// An option without a range: text, switches, enums.
template <class Config, class T>
struct PlainOption {
  std::string_view name;
  T Config::* member;
  std::string_view doc;
  Change change = Change::kAtStart;

  constexpr PlainOption(std::string_view name_, T Config::* member_, std::string_view doc_,
                        Change change_ = Change::kAtStart)
      : name{name_}, member{member_}, doc{doc_}, change{change_} {}
};

/// A known key of Apache RocketMQ that is accepted and has no effect here; the doc says why.
struct IgnoredOption {
  std::string_view name;
  std::string_view doc;
};

/// One key, seen without its type.
struct OptionView {
  std::string_view name;
  std::string type;   ///< "int", "boolean", "string", "ASYNC_FLUSH | SYNC_FLUSH", ...
  std::string value;  ///< The default as text in a table made from a default-constructed struct.
  std::string range;  ///< "1..60000" or empty.
  std::string_view doc;
  bool at_run_time = false;
  bool ignored = false;
  /// Written to the process's own files, never told to anybody who asks.
  bool secret() const { return name.ends_with("Password"); }
  /// Ignored, but only with the value that `range` is: any other asks for what does not exist here.
  bool refused() const { return ignored && !range.empty(); }
  std::function<Result<Ok>(std::string_view text)>
      set;  ///< Parses, checks, assigns. kInvalidArgument names key, value, what is allowed.
};

namespace options_detail {
Result<std::int64_t> parse_integer(std::string_view name, std::string_view text, std::int64_t least,
                                   std::int64_t most);
Result<bool> parse_bool(std::string_view name, std::string_view text);
Result<double> parse_double(std::string_view name, std::string_view text);
Error bad_choice(std::string_view name, std::string_view text, const std::string& choices);

template <class T>
std::string to_text(const T& value) {
  if constexpr (std::is_same_v<T, bool>)
    return value ? "true" : "false";
  else if constexpr (std::is_same_v<T, std::string>)
    return value;
  else if constexpr (std::is_enum_v<T>) {
    for (const auto& [name, each] : OptionNames<T>::kNames)
      if (each == value) return std::string{name};
    return "?";
  } else
    return std::to_string(value);
}

template <class T>
std::string type_name() {
  if constexpr (std::is_same_v<T, bool>)
    return "boolean";
  else if constexpr (std::is_same_v<T, std::string>)
    return "string";
  else if constexpr (std::is_floating_point_v<T>)
    return "double";
  else if constexpr (std::is_enum_v<T>) {
    std::string all;
    for (const auto& [name, each] : OptionNames<T>::kNames)
      all += (all.empty() ? "" : " | ") + std::string{name};
    return all;
  } else
    return sizeof(T) == 8 ? "long" : "int";
}

template <class T>
Result<Ok> assign(T& to, std::string_view name, std::string_view text, const T& least,
                  const T& most) {
  if constexpr (std::is_same_v<T, bool>) {
    auto value = parse_bool(name, text);
    if (!value) return value.error();
    to = *value;
  } else if constexpr (std::is_same_v<T, std::string>) {
    to = text;
  } else if constexpr (std::is_enum_v<T>) {
    for (const auto& [each_name, each] : OptionNames<T>::kNames) {
      if (each_name == text) {
        to = each;
        return Ok{};
      }
    }
    return bad_choice(name, text, type_name<T>());
  } else if constexpr (std::is_floating_point_v<T>) {
    auto value = parse_double(name, text);
    if (!value) return value.error();
    to = static_cast<T>(*value);
  } else {
    auto value = parse_integer(name, text, static_cast<std::int64_t>(least),
                               static_cast<std::int64_t>(most));
    if (!value) return value.error();
    to = static_cast<T>(*value);
  }
  return Ok{};
}

template <class Config, class T>
OptionView view(Config& config, const Option<Config, T>& option) {
  return {.name = option.name,
          .type = type_name<T>(),
          .value = to_text(config.*option.member),
          .range = to_text(option.least) + ".." + to_text(option.most),
          .doc = option.doc,
          .at_run_time = option.change == Change::kAtRunTime,
          .set = [&config, option](std::string_view text) {
            return assign(config.*option.member, option.name, text, option.least, option.most);
          }};
}
template <class Config, class T>
OptionView view(Config& config, const PlainOption<Config, T>& option) {
  return {.name = option.name,
          .type = type_name<T>(),
          .value = to_text(config.*option.member),
          .range = {},
          .doc = option.doc,
          .at_run_time = option.change == Change::kAtRunTime,
          .set = [&config, option](std::string_view text) {
            return assign(config.*option.member, option.name, text, T{}, T{});
          }};
}
template <class Config>
OptionView view(Config&, const IgnoredOption& option) {
  return {.name = option.name,
          .type = {},
          .value = {},
          .range = {},
          .doc = option.doc,
          .ignored = true,
          .set = [](std::string_view) -> Result<Ok> { return Ok{}; }};
}
}  // namespace options_detail

/// The keys of a configuration struct, bound to `config`, which must outlive the views.
template <class Config>
std::vector<OptionView> option_views(Config& config) {
  std::vector<OptionView> views;
  Config::kOptions.for_each(
      [&](const auto& option) { views.push_back(options_detail::view(config, option)); });
  return views;
}

/// One `key=value` of a configuration file.
struct Property {
  std::string key, value;
  int line = 0;
};

/// java.util.Properties text: '=' or ':' or blank separated, '#' and '!' comments, backslash
/// escapes and continuation lines.
Result<std::vector<Property>> parse_properties(std::string_view text);

/// What is said of a key that none of `options` has: with the nearest by edit distance, if one is
/// near enough to be meant. A long key, which a request may bring, is told by how it begins.
std::string unknown_key(std::string_view key, const std::vector<OptionView>& options);

/// Applies `properties`. Unknown keys, bad values: one error that lists all of them with file, line
/// and the nearest known key; with `lenient` they become texts in `warnings` and everything else is
/// applied.
Result<Ok> apply_properties(const std::vector<Property>& properties,
                            std::vector<OptionView>& options, std::string_view file, bool lenient,
                            std::vector<std::string>& warnings);

/// Markdown table of the options, for the generated reference.
std::string options_reference(const std::vector<OptionView>& options);

}  // namespace apogee
