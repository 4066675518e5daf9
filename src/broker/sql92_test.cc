#include "broker/sql92.h"

#include <map>
#include <random>

#include <gtest/gtest.h>

namespace apogee::broker {
namespace {

class Properties : public PropertyLookup {
 public:
  Properties(std::initializer_list<std::pair<const std::string, std::string>> values)
      : values_{values} {}
  std::optional<std::string_view> find(std::string_view name) const override {
    const auto found = values_.find(std::string{name});
    if (found == values_.end()) return std::nullopt;
    return found->second;
  }

 private:
  std::map<std::string, std::string> values_;
};

bool matches(std::string_view expression, const Properties& properties) {
  auto compiled = Sql92::compile(expression);
  EXPECT_TRUE(compiled) << expression << ": " << compiled.error().detail;
  return compiled && compiled->matches(properties);
}

TEST(Sql92, ReadsAPropertyAsTheTypeOfTheConstantItMeets) {
  EXPECT_TRUE(matches("a > 5", {{"a", "6"}}));
  EXPECT_FALSE(matches("a > 5", {{"a", "5"}}));
  EXPECT_FALSE(matches("b < 0", {{"b", "-2.5"}})) << "an Integer constant does not read a fraction";
  EXPECT_TRUE(matches("b < 0.5", {{"b", "-2.5"}}));
  EXPECT_FALSE(matches("a > 1", {{"a", "2147483648"}}))
      << "an Integer constant does not read a Long";
  EXPECT_TRUE(matches("a > 2147483648", {{"a", "2147483649"}}));
  EXPECT_TRUE(matches("c = FALSE", {{"c", "anything"}}));
  EXPECT_TRUE(matches("c = TRUE", {{"c", "tRuE"}}));
  EXPECT_TRUE(matches("a = 'x'", {{"a", "x"}}));
  EXPECT_TRUE(matches("a <> 'x'", {{"a", "y"}}));
}

TEST(Sql92, FailsTheWholeExpressionWhenATextIsNotANumber) {
  EXPECT_FALSE(matches("a > 1 OR b = 2", {{"a", "x"}, {"b", "2"}}));
  EXPECT_TRUE(matches("b = 2 OR a > 1", {{"a", "x"}, {"b", "2"}}))
      << "the left side decides before the right is looked at";
  EXPECT_FALSE(matches("NOT (a > 1)", {{"a", "x"}}));
}

TEST(Sql92, KnowsThreeTruthValues) {
  EXPECT_FALSE(matches("a > 1", {}));
  EXPECT_FALSE(matches("NOT (a > 1)", {}));
  EXPECT_TRUE(matches("a > 1 OR b = 'y'", {{"b", "y"}}));
  EXPECT_TRUE(matches("a IS NULL", {}));
  EXPECT_FALSE(matches("a IS NULL", {{"a", "1"}}));
  EXPECT_TRUE(matches("a IS NOT NULL", {{"a", "1"}}));
  EXPECT_FALSE(matches("a <> 'x'", {})) << "unknown is not different";
  EXPECT_FALSE(matches("a", {{"a", "true"}})) << "a bare property is text, never true";
}

TEST(Sql92, ComparesRangesListsAndParts) {
  EXPECT_TRUE(matches("a BETWEEN 1 AND 3", {{"a", "3"}}));
  EXPECT_FALSE(matches("a NOT BETWEEN 1 AND 3", {{"a", "3"}}));
  EXPECT_TRUE(matches("a NOT BETWEEN 1 AND 3", {{"a", "4"}}));
  EXPECT_TRUE(matches("a in ('x', 'y''z')", {{"a", "y'z"}}));
  EXPECT_FALSE(matches("a NOT IN ('x')", {})) << "no property: unknown";
  EXPECT_TRUE(matches("a NOT IN ('x')", {{"a", "y"}}));
  EXPECT_TRUE(
      matches("a CONTAINS 'ell' AND a STARTSWITH 'he' AND a ENDSWITH 'lo'", {{"a", "hello"}}));
  EXPECT_FALSE(matches("a NOT CONTAINS 'x'", {})) << "no property never matches, negated or not";
  EXPECT_TRUE(matches("a NOT CONTAINS 'x'", {{"a", "hello"}}));
  EXPECT_FALSE(matches("a CONTAINS ''", {{"a", "hello"}}));
}

TEST(Sql92, BindsNotCloserThanComparison) {
  // NOT belongs to the property alone; a truth value never equals a number.
  EXPECT_FALSE(matches("NOT a = 1", {{"a", "2"}}));
  EXPECT_TRUE(matches("NOT (a = 1)", {{"a", "2"}}));
  EXPECT_TRUE(matches("a = -1 AND b = +2", {{"a", "-1"}, {"b", "2"}}));
  EXPECT_TRUE(matches("a = 1 OR b = 1 AND c = 1", {{"a", "1"}, {"b", "0"}, {"c", "0"}}));
}

TEST(Sql92, IgnoresWhatFollowsACompleteExpression) {
  EXPECT_FALSE(matches("a LIKE 'x%'", {{"a", "x1"}})) << "only the bare property a is left";
  EXPECT_FALSE(matches("a + 1 = 2", {{"a", "1"}}));
  EXPECT_FALSE(matches("a = 1 = 2", {{"a", "1"}}));
  EXPECT_TRUE(matches("a = 1 whatever comes here %%", {{"a", "1"}}));
}

TEST(Sql92, SkipsComments) {
  EXPECT_TRUE(matches("a /* the first */ = -- and\n 1", {{"a", "1"}}));
  EXPECT_FALSE(Sql92::compile("a = 1 -- no line end"));
}

TEST(Sql92, RefusesWhatJavaRefuses) {
  for (const char* bad : {"",
                          "a >",
                          "a = NULL",
                          "NULL = a",
                          "a > 'x'",
                          "a > TRUE",
                          "1",
                          "'x'",
                          "a BETWEEN 3 AND 1",
                          "a IN (1)",
                          "1 IN ('x')",
                          "(a = 1",
                          "a = 0.0",
                          "a = 99999999999999999999",
                          "a % 2",
                          "a = 'x",
                          "a NOT 5",
                          "TRUE = 5",
                          "a IS 5",
                          "a = 1.8E400"}) {
    auto compiled = Sql92::compile(bad);
    ASSERT_FALSE(compiled) << bad;
    EXPECT_TRUE(compiled.error().detail.starts_with("Invalid MessageSelector. "))
        << compiled.error().detail;
  }
}

TEST(Sql92, BoundsDepthAndLength) {
  EXPECT_FALSE(Sql92::compile(std::string(100'000, '(')));
  EXPECT_FALSE(Sql92::compile(std::string(1'000, '-') + "1 = a"));
  EXPECT_FALSE(Sql92::compile("a = '" + std::string(Sql92::kLengthMax, 'x') + "'"));
  std::string deep = "a = 1";
  for (int i = 0; i < Sql92::kDepthMax - 2; ++i) deep = "(" + deep + ")";
  EXPECT_TRUE(Sql92::compile(deep));
}

/// Random expressions over integers against a direct evaluation with three truth values.
TEST(Sql92, AgreesWithADirectEvaluationOfRandomExpressions) {
  using Truth = std::optional<bool>;
  for (std::uint64_t seed = 0; seed < 2'000; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random{seed};
    const std::map<std::string, std::optional<int>> values{{"a", 1}, {"b", 7}, {"c", std::nullopt}};
    std::function<std::pair<std::string, Truth>(int)> expression =
        [&](int depth) -> std::pair<std::string, Truth> {
      if (depth == 0 || random() % 3 == 0) {
        const auto& [name, value] =
            *std::next(values.begin(), static_cast<long>(random() % values.size()));
        const int constant = static_cast<int>(random() % 9);
        const char* const symbols[] = {"=", "<>", "<", ">", "<=", ">="};
        const auto which = random() % 6;
        Truth truth;
        if (value) {
          const int v = *value;
          const bool results[] = {v == constant, v != constant, v<constant, v> constant,
                                  v <= constant, v >= constant};
          truth = results[which];
        }
        return {name + " " + symbols[which] + " " + std::to_string(constant), truth};
      }
      const auto [left, x] = expression(depth - 1);
      if (random() % 4 == 0) return {"NOT (" + left + ")", x ? Truth{!*x} : Truth{}};
      const auto [right, y] = expression(depth - 1);
      if (random() % 2 == 0) {
        const Truth both =
            (x && !*x) || (y && !*y) ? Truth{false} : (x && y ? Truth{true} : Truth{});
        return {"(" + left + ") AND (" + right + ")", both};
      }
      const Truth either = (x && *x) || (y && *y) ? Truth{true} : (x && y ? Truth{false} : Truth{});
      return {"(" + left + ") OR (" + right + ")", either};
    };
    const auto [text, truth] = expression(4);
    EXPECT_EQ(matches(text, {{"a", "1"}, {"b", "7"}}), truth.value_or(false)) << text;
  }
}

}  // namespace
}  // namespace apogee::broker
