#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <random>

#include <gtest/gtest.h>

#include "broker/sql92.h"

/// Random expressions of all types against a second evaluation that shares nothing with the first:
/// each part is written as text and, beside it, as a function that says what the published rules
/// make of it. What a property's text is worth as a number stands in a table and is not parsed.
namespace apogee::broker {
namespace {

/// A property's text and what Integer.valueOf, Long.valueOf, Double.valueOf and Boolean.valueOf
/// make of it; nullopt: they throw.
struct Text {
  std::string text;
  std::optional<std::int32_t> as_int;
  std::optional<std::int64_t> as_long;
  std::optional<double> as_double;
  bool as_bool = false;
};
const std::vector<Text> kTexts{
    {"0", 0, 0, 0.0},
    {"5", 5, 5, 5.0},
    {"-5", -5, -5, -5.0},
    {"+7", 7, 7, 7.0},
    {"007", 7, 7, 7.0},
    {"2147483647", 2'147'483'647, 2'147'483'647, 2'147'483'647.0},
    {"2147483648", {}, 2'147'483'648, 2'147'483'648.0},
    {"-9223372036854775808", {}, std::numeric_limits<std::int64_t>::min(), -0x1p63},
    {"9223372036854775808", {}, {}, 0x1p63},
    {"1.5", {}, {}, 1.5},
    {"1e3", {}, {}, 1'000.0},
    {" 5", {}, {}, 5.0},  // only Double.valueOf trims
    {"NaN", {}, {}, std::numeric_limits<double>::quiet_NaN()},
    {"-Infinity", {}, {}, -std::numeric_limits<double>::infinity()},
    {"true", {}, {}, {}, true},
    {"TRUE", {}, {}, {}, true},
    {"false"},
    {"abc"},
    {"it's"},
    {"5 and more"},
};

using Set = std::map<std::string, const Text*>;  // absent: the message has no such property

class Lookup : public PropertyLookup {
 public:
  explicit Lookup(const Set& set) : set_{set} {}
  std::optional<std::string_view> find(std::string_view name) const override {
    const auto found = set_.find(std::string{name});
    if (found == set_.end()) return std::nullopt;
    return found->second->text;
  }

 private:
  const Set& set_;
};

/// What an expression comes to: an exception, or one of three truth values.
enum class Truth { kThrows, kUnknown, kFalse, kTrue };
Truth truth_of(bool value) {
  return value ? Truth::kTrue : Truth::kFalse;
}
Truth negation(Truth truth) {
  if (truth == Truth::kTrue) return Truth::kFalse;
  return truth == Truth::kFalse ? Truth::kTrue : truth;
}

enum class Level { kOr, kAnd, kAtom };  // how tightly the text holds together

struct Expression {
  std::string text;
  Level level = Level::kAtom;
  std::function<Truth(const Set&)> value;
  bool is_property = false;  // nothing else: a text until it is used as a truth value
};

/// Double.compare: NaN is the greatest, -0.0 less than 0.0.
int compare_doubles(double left, double right) {
  if (left < right) return -1;
  if (left > right) return 1;
  const auto rank = [](double value) {
    return std::isnan(value) ? 2 : value == 0 && std::signbit(value) ? 0 : 1;
  };
  return rank(left) - rank(right);
}

/// A constant number: its text, and how a property's text compares with it; nullopt: it throws.
struct Number {
  std::string text;
  std::function<std::optional<int>(const Text&)> compare;
};
template <class Value>
Number number(std::string text, std::optional<Value> Text::* as, Value constant) {
  return {std::move(text), [=](const Text& property) -> std::optional<int> {
            const auto& value = property.*as;
            if (!value) return std::nullopt;
            if constexpr (std::is_same_v<Value, double>)
              return compare_doubles(*value, constant);
            else
              return *value < constant ? -1 : *value > constant ? 1 : 0;
          }};
}
/// In the order of their values, so that any two make a range.
const std::vector<Number> kIntegers{
    number<std::int32_t>("-5", &Text::as_int, -5), number<std::int32_t>("0", &Text::as_int, 0),
    number<std::int32_t>("5", &Text::as_int, 5), number<std::int32_t>("+7", &Text::as_int, 7),
    number<std::int32_t>("2147483647", &Text::as_int, 2'147'483'647)};
const std::vector<Number> kLongs{number<std::int64_t>("2147483648", &Text::as_long, 2'147'483'648),
                                 number<std::int64_t>("2147483649L", &Text::as_long, 2'147'483'649),
                                 number<std::int64_t>("9223372036854775807", &Text::as_long,
                                                      std::numeric_limits<std::int64_t>::max())};
const std::vector<Number> kDoubles{
    number<double>("-1.5", &Text::as_double, -1.5), number<double>("0.5", &Text::as_double, 0.5),
    number<double>("1.5", &Text::as_double, 1.5), number<double>("1E3", &Text::as_double, 1'000.0)};

class Maker {
 public:
  explicit Maker(std::uint64_t seed) : random_{seed} {}

  Set set() {
    Set made;
    for (const std::string& name : kNames)
      if (below(4) != 0) made[name] = &any(kTexts);
    return made;
  }

  Expression expression(int depth) {
    if (depth == 0) return leaf();
    switch (below(5)) {
      case 0:
        return leaf();
      case 1:
        return both(expression(depth - 1), expression(depth - 1));
      case 2:
        return either(expression(depth - 1), expression(depth - 1));
      case 3: {
        Expression inner = expression(depth - 1);
        return {word("NOT") + " (" + inner.text + ")", Level::kAtom,
                [value = inner.value](const Set& set) { return negation(value(set)); }};
      }
      default: {
        const bool constant = below(2) == 0;
        Expression inner = expression(depth - 1);
        if (inner.is_property) return inner;
        return {"(" + inner.text + ") = " + word(constant ? "TRUE" : "FALSE"), Level::kAtom,
                [=](const Set& set) {
                  const Truth truth = inner.value(set);
                  return constant ? truth : negation(truth);
                }};
      }
    }
  }

 private:
  inline static const std::vector<std::string> kNames{"a", "b", "c", "d_1"};

  std::size_t below(std::size_t limit) { return random_() % limit; }
  template <class Item>
  const Item& any(const std::vector<Item>& items) {
    return items[below(items.size())];
  }
  std::string word(std::string text) {  // keywords in any case
    if (below(3) == 0)
      for (char& each : text) each = static_cast<char>(std::tolower(each));
    return text;
  }
  static const Text* find(const Set& set, const std::string& name) {
    const auto found = set.find(name);
    return found == set.end() ? nullptr : found->second;
  }
  /// In brackets where the text would bind otherwise, and now and then for nothing.
  std::string inside(const Expression& part, Level level) {
    return part.level < level || below(6) == 0 ? "(" + part.text + ")" : part.text;
  }

  Expression both(Expression left, Expression right) {
    const std::string text =
        inside(left, Level::kAnd) + " " + word("AND") + " " + inside(right, Level::kAtom);
    return {text, Level::kAnd, [x = left.value, y = right.value](const Set& set) {
              const Truth a = x(set);
              if (a == Truth::kThrows || a == Truth::kFalse) return a;
              const Truth b = y(set);
              return b == Truth::kTrue ? a : b;
            }};
  }
  Expression either(Expression left, Expression right) {
    const std::string text =
        inside(left, Level::kOr) + " " + word("OR") + " " + inside(right, Level::kAnd);
    return {text, Level::kOr, [x = left.value, y = right.value](const Set& set) {
              const Truth a = x(set);
              if (a == Truth::kThrows || a == Truth::kTrue) return a;
              const Truth b = y(set);
              return b == Truth::kFalse ? a : b;
            }};
  }

  Expression leaf() {
    const std::string name = any(kNames);
    switch (below(10)) {
      case 0:
        return null_test(name);
      case 1:
        return in_list(name);
      case 2:
        return part_of(name);
      case 3:
        return range(name);
      case 4:
        return text_equality(name);
      case 5:
        return truth_value(name);
      case 6:
        return two_properties(name);
      default:
        return ordered(name);
    }
  }

  Expression null_test(const std::string& name) {
    const bool negated = below(2) == 0;
    return {name + " " + word("IS") + (negated ? " NOT " : " ") + word("NULL"), Level::kAtom,
            [=](const Set& set) { return truth_of((find(set, name) == nullptr) != negated); }};
  }

  static std::string quoted(const std::string& text) {
    std::string out = "'";
    for (const char each : text) out += each == '\'' ? "''" : std::string(1, each);
    return out + "'";
  }

  Expression in_list(const std::string& name) {
    const bool negated = below(3) == 0;
    std::vector<std::string> members;
    std::string text;
    for (std::size_t i = below(7) + 1; i-- > 0;) {
      members.push_back(any(kTexts).text);
      text += (text.empty() ? "" : ", ") + quoted(members.back());
    }
    return {name + (negated ? " NOT " : " ") + word("IN") + " (" + text + ")", Level::kAtom,
            [=](const Set& set) {
              const Text* property = find(set, name);
              if (!property) return Truth::kUnknown;
              const bool there = std::ranges::count(members, property->text) > 0;
              return truth_of(there != negated);
            }};
  }

  Expression part_of(const std::string& name) {
    static const std::vector<std::string> kParts{"5", "a", "bc", "'", "", "and", "-", "0"};
    const bool negated = below(3) == 0;
    const std::string part = any(kParts);
    const std::size_t where = below(3);
    const char* const words[] = {"CONTAINS", "STARTSWITH", "ENDSWITH"};
    return {name + (negated ? " NOT " : " ") + word(words[where]) + " " + quoted(part),
            Level::kAtom, [=](const Set& set) {
              const Text* property = find(set, name);
              if (!property || part.empty()) return Truth::kFalse;
              const std::string& text = property->text;
              const bool there = where == 0   ? text.find(part) != std::string::npos
                                 : where == 1 ? text.starts_with(part)
                                              : text.ends_with(part);
              return truth_of(there != negated);
            }};
  }

  const std::vector<Number>& numbers() {
    const std::vector<Number>* const kinds[] = {&kIntegers, &kLongs, &kDoubles};
    return *kinds[below(3)];
  }

  Expression range(const std::string& name) {
    const bool negated = below(3) == 0;
    const auto& all = numbers();
    const std::size_t low = below(all.size()), high = low + below(all.size() - low);
    const Number least = all[low], most = all[high];
    return {name + (negated ? " NOT " : " ") + word("BETWEEN") + " " + least.text + " " +
                word("AND") + " " + most.text,
            Level::kAtom, [=](const Set& set) {
              const Text* property = find(set, name);
              if (!property) return Truth::kUnknown;
              const auto low_side = least.compare(*property), high_side = most.compare(*property);
              if (!low_side || !high_side) return Truth::kThrows;
              return truth_of((*low_side >= 0 && *high_side <= 0) != negated);
            }};
  }

  Expression text_equality(const std::string& name) {
    const bool negated = below(2) == 0, constant_first = below(3) == 0;
    const std::string constant = any(kTexts).text;
    const std::string sign = negated ? " <> " : " = ";
    return {constant_first ? quoted(constant) + sign + name : name + sign + quoted(constant),
            Level::kAtom, [=](const Set& set) {
              const Text* property = find(set, name);
              // Nothing equals no value when the value is asked about, not the property.
              if (!property) return constant_first ? truth_of(negated) : Truth::kUnknown;
              return truth_of((property->text == constant) != negated);
            }};
  }

  Expression truth_value(const std::string& name) {
    switch (below(3)) {
      case 0: {
        const bool value = below(2) == 0;
        return {word(value ? "TRUE" : "FALSE"), Level::kAtom,
                [=](const Set&) { return truth_of(value); }};
      }
      case 1:  // a text, so it is there and not true
        return {name, Level::kAtom,
                [=](const Set& set) { return find(set, name) ? Truth::kFalse : Truth::kUnknown; },
                /*is_property=*/true};
      default: {
        const bool constant = below(2) == 0, negated = below(2) == 0;
        return {name + (negated ? " <> " : " = ") + word(constant ? "TRUE" : "FALSE"), Level::kAtom,
                [=](const Set& set) {
                  const Text* property = find(set, name);
                  if (!property) return Truth::kUnknown;
                  return truth_of((property->as_bool == constant) != negated);
                }};
      }
    }
  }

  struct Operator {
    const char* sign;
    const char* turned;  // with its sides exchanged
    bool (*holds)(int);
  };
  const Operator& any_operator() {
    static const Operator kOperators[] = {{"=", "=", [](int order) { return order == 0; }},
                                          {"<>", "<>", [](int order) { return order != 0; }},
                                          {"<", ">", [](int order) { return order < 0; }},
                                          {"<=", ">=", [](int order) { return order <= 0; }},
                                          {">", "<", [](int order) { return order > 0; }},
                                          {">=", "<=", [](int order) { return order >= 0; }}};
    return kOperators[below(6)];
  }

  Expression ordered(const std::string& name) {
    const bool constant_first = below(3) == 0;
    const Number constant = any(numbers());
    const Operator& how = any_operator();
    const bool equality = std::string_view{how.sign} == how.turned;
    return {constant_first ? constant.text + " " + how.turned + " " + name
                           : name + " " + how.sign + " " + constant.text,
            Level::kAtom, [=, &how](const Set& set) {
              const Text* property = find(set, name);
              if (!property && constant_first && equality) return truth_of(how.holds(1));
              if (!property) return Truth::kUnknown;
              const auto order = constant.compare(*property);
              return order ? truth_of(how.holds(*order)) : Truth::kThrows;
            }};
  }

  /// Texts are equal or not; they are ordered as the Doubles they must be.
  Expression two_properties(const std::string& name) {
    const std::string other = any(kNames);
    const Operator& how = any_operator();
    const bool equality = std::string_view{how.sign} == "=" || std::string_view{how.sign} == "<>";
    return {name + " " + how.sign + " " + other, Level::kAtom, [=, &how](const Set& set) {
              const Text* left = find(set, name);
              const Text* right = find(set, other);
              if (equality) {
                if (!left && !right) return truth_of(how.holds(0));
                if (!left) return Truth::kUnknown;
                return truth_of(how.holds(right && left->text == right->text ? 0 : 1));
              }
              if (!left || !right) return Truth::kUnknown;
              if (!left->as_double || !right->as_double) return Truth::kThrows;
              return truth_of(how.holds(compare_doubles(*left->as_double, *right->as_double)));
            }};
  }

  std::mt19937_64 random_;
};

TEST(Sql92Model, AgreesWithASecondEvaluationOverAllTypes) {
  for (std::uint64_t seed = 0; seed < 10'000 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Maker maker{seed};
    const Expression made = maker.expression(static_cast<int>(seed % 5));
    const auto compiled = Sql92::compile(made.text);
    ASSERT_TRUE(compiled) << made.text << ": " << compiled.error().detail;
    for (int i = 0; i < 10; ++i) {
      const Set set = maker.set();
      std::string properties;
      for (const auto& [name, text] : set) properties += " " + name + "='" + text->text + "'";
      EXPECT_EQ(compiled->matches(Lookup{set}), made.value(set) == Truth::kTrue)
          << made.text << "\n with" << properties;
    }
  }
}

}  // namespace
}  // namespace apogee::broker
