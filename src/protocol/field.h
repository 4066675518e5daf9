#pragma once

#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "apogee/result.h"
#include "base/member_list.h"

/// Request and response headers, declared once. A header is a struct with a kFields list:
///
///   struct QueryConsumerOffsetRequest {
///     static constexpr std::int32_t kCode = 14;
///     std::string consumer_group;
///     std::optional<bool> set_zero_if_not_found;   // optional<T>: may be absent; T: required
///     using Self = QueryConsumerOffsetRequest;
///     static constexpr auto kFields = MemberList{Field{"consumerGroup", &Self::consumer_group},
///     ...};
///   };
///
/// On the wire every field is text in extFields. Member types: std::string, std::string_view
/// (aliases the request: hot headers only), bool, int32, int64, and std::optional of these.
namespace apogee::protocol {

template <class Header, class T>
struct Field {
  std::string_view wire_name;
  T Header::* member;
};
template <class Header, class T>
Field(const char*, T Header::*) -> Field<Header, T>;

template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};

inline constexpr std::size_t kDigitsMax = 20;  ///< Of an integer of any size, with its sign.

namespace field_detail {
inline constexpr auto kPairs = [] {
  std::array<std::array<char, 2>, 100> pairs{};
  for (std::size_t i = 0; i < pairs.size(); ++i)
    pairs[i] = {static_cast<char>('0' + i / 10), static_cast<char>('0' + i % 10)};
  return pairs;
}();
/// In decimal, up to `end`. Its begin.
template <class Int>
char* write_before(char* end, Int value) {
  auto rest = static_cast<std::uint64_t>(value);
  if (value < 0) rest = 0 - rest;
  for (; rest >= 100; rest /= 100) std::memcpy(end -= 2, kPairs[rest % 100].data(), 2);
  if (rest >= 10)
    std::memcpy(end -= 2, kPairs[rest].data(), 2);
  else
    *--end = static_cast<char>('0' + rest);
  if (value < 0) *--end = '-';
  return end;
}
}  // namespace field_detail

/// The most characters with_text() gives.
template <class T>
std::size_t text_bound(const T& value) {
  if constexpr (std::is_same_v<T, bool>)
    return std::string_view{"false"}.size();
  else if constexpr (std::is_integral_v<T>)
    return kDigitsMax;
  else
    return value.size();
}

/// The text of a scalar, without allocation: `sink(std::string_view)`.
template <class T>
void with_text(const T& value, auto&& sink) {
  if constexpr (std::is_same_v<T, bool>)
    sink(value ? std::string_view{"true"} : std::string_view{"false"});
  else if constexpr (std::is_integral_v<T>) {
    char text[kDigitsMax];
    if (value >= 0 && value < 10) {  // most of them
      text[0] = static_cast<char>('0' + value);
      return sink(std::string_view{text, 1});
    }
    char* const end = text + sizeof text;
    const char* const begin = field_detail::write_before(end, value);
    sink(std::string_view{begin, static_cast<std::size_t>(end - begin)});
  } else
    sink(std::string_view{value});
}

/// False: the text is not a T. Booleans as Java reads them: "true" in any case is true, everything
/// else false.
template <class T>
bool from_text(std::string_view text, T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    value = text.size() == 4 && (text[0] | 0x20) == 't' && (text[1] | 0x20) == 'r' &&
            (text[2] | 0x20) == 'u' && (text[3] | 0x20) == 'e';
    return true;
  } else if constexpr (std::is_integral_v<T>) {
    if (!text.empty() && text.front() == '+') text.remove_prefix(1);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size();
  } else {
    value = text;
    return true;
  }
}

/// The only walk over a header's fields for writing: `sink(name, value)` for each field that is
/// present.
template <class Header>
void visit_fields(const Header& header, auto&& sink) {
  const auto visit = [&](const auto& field) {
    const auto& value = header.*field.member;
    if constexpr (IsOptional<std::remove_cvref_t<decltype(value)>>::value) {
      if (value) sink(field.wire_name, *value);
    } else {
      sink(field.wire_name, value);
    }
  };
  Header::kFields.for_each(visit);
}
/// As texts: `sink(name, text)`.
template <class Header>
void write_fields(const Header& header, auto&& sink) {
  visit_fields(header, [&](std::string_view name, const auto& value) {
    with_text(value, [&](std::string_view text) { sink(name, text); });
  });
}

/// The only walk for reading: `find(name)` gives the field's text or nullopt. kMalformed names a
/// missing or bad field.
template <class Header>
Result<Header> read_fields(auto&& find) {
  Result<Header> result{std::in_place};
  Header& header = *result;
  std::optional<Error> error;
  const auto read = [&](const auto& field) {
    if (error) return;
    const std::optional<std::string_view> text = find(field.wire_name);
    auto& value = header.*field.member;
    if constexpr (IsOptional<std::remove_cvref_t<decltype(value)>>::value) {
      if (!text) return;
      if (!from_text(*text, value.emplace()))
        error = Error{Errc::kMalformed, std::string{field.wire_name} + ": '" + std::string{*text} +
                                            "' is not a number"};
    } else {
      if (!text)
        error =
            Error{Errc::kMalformed, "the field " + std::string{field.wire_name} + " is missing"};
      else if (!from_text(*text, value))
        error = Error{Errc::kMalformed, std::string{field.wire_name} + ": '" + std::string{*text} +
                                            "' is not a number"};
    }
  };
  Header::kFields.for_each(read);
  if (error) result = *std::move(error);
  return result;
}

/// A header without fields.
struct NoFields {
  static constexpr auto kFields = MemberList{};
};

}  // namespace apogee::protocol
