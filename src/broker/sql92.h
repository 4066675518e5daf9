#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "apogee/result.h"

/// RocketMQ's SQL92 filter: `a > 5 AND region IN ('eu', 'us')` over a message's properties.
///
/// Threads: compiling and matching are pure; a compiled expression is immutable and may be shared.
///
/// The grammar and the type rules are Apache's (filter/parser/SelectorParser.jj,
/// filter/expression): properties are text and are read as the type of the constant they meet;
/// three-valued logic; a text that cannot be converted makes the whole evaluation fail, which means
/// "no match". What follows a complete expression is ignored, as it is there.
namespace apogee::broker {

/// Looks a message's property up; nullopt when it has none of that name.
class PropertyLookup {
 public:
  virtual ~PropertyLookup() = default;
  virtual std::optional<std::string_view> find(std::string_view name) const = 0;
};

class Sql92 {
 public:
  /// kInvalidArgument: "Invalid MessageSelector. " and what was wrong. At most kLengthMax bytes and
  /// kDepthMax levels.
  static Result<Sql92> compile(std::string_view expression);

  bool matches(const PropertyLookup& properties) const;

  static constexpr std::size_t kLengthMax = 64 << 10;
  static constexpr int kDepthMax = 200;

  using Value = std::variant<std::monostate, bool, std::int32_t, std::int64_t, double, std::string>;
  struct Node;

 private:
  explicit Sql92(std::shared_ptr<const Node> root) : root_{std::move(root)} {}
  std::shared_ptr<const Node> root_;  // shared: copies of a subscription share one compiled tree
};

}  // namespace apogee::broker
