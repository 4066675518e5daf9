#include "broker/sql92.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <set>
#include <vector>

namespace apogee::broker {

using Value = Sql92::Value;

namespace {

// ---- Lexer -------------------------------------------------------------------------------------

enum class Token {
  kEnd,
  kIdentifier,
  kString,
  kInteger,
  kFloat,
  kNot,
  kAnd,
  kOr,
  kBetween,
  kIn,
  kTrue,
  kFalse,
  kNull,
  kIs,
  kContains,
  kStartsWith,
  kEndsWith,
  kEqual,
  kNotEqual,
  kGreater,
  kGreaterEqual,
  kLess,
  kLessEqual,
  kOpen,
  kClose,
  kComma,
  kPlus,
  kMinus,
};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool starts_identifier(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$';
}

bool equals_ignoring_case(std::string_view text, std::string_view upper) {
  if (text.size() != upper.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i] >= 'a' && text[i] <= 'z' ? static_cast<char>(text[i] - 32) : text[i];
    if (c != upper[i]) return false;
  }
  return true;
}

/// Cuts one token at a time, and only when asked: text behind a complete expression is never looked
/// at.
class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_{text} {}

  struct Lexeme {
    Token token = Token::kEnd;
    std::string_view text;
  };

  Result<Lexeme> next() {
    if (auto skipped = skip_blank(); !skipped) return skipped.error();
    if (at_ == text_.size()) return Lexeme{};
    const char c = text_[at_];
    if (starts_identifier(c)) return word();
    if (is_digit(c) || (c == '.' && at_ + 1 < text_.size() && is_digit(text_[at_ + 1])))
      return number();
    if (c == '\'') return string();
    return symbol();
  }

 private:
  Result<Ok> skip_blank() {
    for (;;) {
      while (at_ < text_.size() &&
             std::string_view{" \t\n\r\f"}.find(text_[at_]) != std::string_view::npos)
        ++at_;
      if (text_.substr(at_, 2) == "--") {
        // The grammar wants a line end behind a line comment.
        const auto end = text_.find_first_of("\r\n", at_);
        if (end == std::string_view::npos)
          return Error{Errc::kInvalidArgument, "a line comment without end"};
        at_ = end + 1;
      } else if (text_.substr(at_, 2) == "/*") {
        const auto end = text_.find("*/", at_ + 2);
        if (end == std::string_view::npos)
          return Error{Errc::kInvalidArgument, "a block comment without end"};
        at_ = end + 2;
      } else {
        return Ok{};
      }
    }
  }

  Result<Lexeme> word() {
    const std::size_t start = at_;
    while (at_ < text_.size() && (starts_identifier(text_[at_]) || is_digit(text_[at_]))) ++at_;
    const std::string_view text = text_.substr(start, at_ - start);
    static constexpr std::pair<std::string_view, Token> kWords[] = {
        {"NOT", Token::kNot},
        {"AND", Token::kAnd},
        {"OR", Token::kOr},
        {"BETWEEN", Token::kBetween},
        {"IN", Token::kIn},
        {"TRUE", Token::kTrue},
        {"FALSE", Token::kFalse},
        {"NULL", Token::kNull},
        {"IS", Token::kIs},
        {"CONTAINS", Token::kContains},
        {"STARTSWITH", Token::kStartsWith},
        {"ENDSWITH", Token::kEndsWith}};
    for (const auto& [name, token] : kWords) {
      if (equals_ignoring_case(text, name)) return Lexeme{token, text};
    }
    return Lexeme{Token::kIdentifier, text};
  }

  /// The longest of: 0 | [1-9][0-9]*[lL]? | digits '.' digits* exponent? | '.' digits exponent? |
  /// digits exponent
  Result<Lexeme> number() {
    const std::size_t start = at_;
    std::size_t end = digits(start);
    bool is_float = false;
    if (end < text_.size() && text_[end] == '.') {
      end = digits(end + 1);
      is_float = true;
    }
    if (const std::size_t exponent = exponent_end(end); exponent != end) {
      end = exponent;
      is_float = true;
    }
    if (!is_float) {
      if (text_[start] == '0')
        end = start + 1;
      else if (end < text_.size() && (text_[end] == 'l' || text_[end] == 'L'))
        ++end;
    }
    at_ = end;
    return Lexeme{is_float ? Token::kFloat : Token::kInteger, text_.substr(start, end - start)};
  }
  std::size_t digits(std::size_t at) const {
    while (at < text_.size() && is_digit(text_[at])) ++at;
    return at;
  }
  std::size_t exponent_end(std::size_t at) const {
    if (at >= text_.size() || (text_[at] != 'e' && text_[at] != 'E')) return at;
    std::size_t first = at + 1;
    if (first < text_.size() && (text_[first] == '+' || text_[first] == '-')) ++first;
    const std::size_t end = digits(first);
    return end == first ? at : end;
  }

  Result<Lexeme> string() {
    for (std::size_t i = at_ + 1; i < text_.size(); ++i) {
      if (text_[i] != '\'') continue;
      if (i + 1 < text_.size() && text_[i + 1] == '\'') {
        ++i;
        continue;
      }
      const Lexeme lexeme{Token::kString, text_.substr(at_ + 1, i - at_ - 1)};
      at_ = i + 1;
      return lexeme;
    }
    return Error{Errc::kInvalidArgument, "a string without closing quote"};
  }

  Result<Lexeme> symbol() {
    static constexpr std::pair<std::string_view, Token> kSymbols[] = {
        {"<>", Token::kNotEqual}, {">=", Token::kGreaterEqual}, {"<=", Token::kLessEqual},
        {">", Token::kGreater},   {"<", Token::kLess},          {"=", Token::kEqual},
        {"(", Token::kOpen},      {")", Token::kClose},         {",", Token::kComma},
        {"+", Token::kPlus},      {"-", Token::kMinus}};
    for (const auto& [text, token] : kSymbols) {
      if (text_.substr(at_, text.size()) == text) {
        at_ += text.size();
        return Lexeme{token, text};
      }
    }
    return Error{Errc::kInvalidArgument, "unexpected character '" +
                                             std::string{text_.substr(at_, 1)} + "' at column " +
                                             std::to_string(at_ + 1)};
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

// ---- Tree --------------------------------------------------------------------------------------

namespace {
enum class Kind {
  kConstant,
  kProperty,
  kNegate,
  kNot,
  kBooleanCast,
  kAnd,
  kOr,
  kEqual,
  kGreater,
  kGreaterEqual,
  kLess,
  kLessEqual,
  kIn,
  kContains,
  kStartsWith,
  kEndsWith,
};
}  // namespace

struct Sql92::Node {
  Kind kind;
  Value constant;        // kConstant
  std::string name;      // kProperty: its name; kContains and its like: the text searched for
  bool negated = false;  // NOT IN, NOT CONTAINS, ...
  std::set<std::string, std::less<>> members;  // kIn
  std::unique_ptr<Node> left, right;

  bool is_boolean() const {
    return kind == Kind::kConstant ? std::holds_alternative<bool>(constant) ||
                                         std::holds_alternative<std::monostate>(constant)
                                   : kind != Kind::kProperty && kind != Kind::kNegate;
  }
};

namespace {

using Node = Sql92::Node;
using NodePtr = std::unique_ptr<Node>;

NodePtr make(Kind kind, NodePtr left = nullptr, NodePtr right = nullptr) {
  auto node = std::make_unique<Node>();
  node->kind = kind;
  node->left = std::move(left);
  node->right = std::move(right);
  return node;
}
NodePtr make_constant(Value value) {
  auto node = make(Kind::kConstant);
  node->constant = std::move(value);
  return node;
}

// ---- Values ------------------------------------------------------------------------------------

/// An evaluation that failed: Java's exception out of evaluate(). The message does not match.
struct Failed {};
template <class T>
using Outcome = std::variant<T, Failed>;

/// Integer.valueOf / Long.valueOf: optional sign, decimal digits, nothing else.
template <class Int>
std::optional<Int> parse_integer(std::string_view text) {
  if (!text.empty() && text.front() == '+') {
    text.remove_prefix(1);
    if (!text.empty() && text.front() == '-') return std::nullopt;
  }
  Int value;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Double.valueOf: blanks around, sign, NaN, Infinity, decimal or hexadecimal with 'p', an optional
/// suffix f F d D.
std::optional<double> parse_double(std::string_view text) {
  const auto blank = [](char c) { return static_cast<unsigned char>(c) <= ' '; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  std::string_view digits = text;
  if (!digits.empty() && (digits.front() == '+' || digits.front() == '-')) digits.remove_prefix(1);
  const double sign = text.starts_with('-') ? -1.0 : 1.0;
  if (digits == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (digits == "Infinity") return sign * std::numeric_limits<double>::infinity();
  const bool hexadecimal = digits.starts_with("0x") || digits.starts_with("0X");
  if (hexadecimal && digits.find_first_of("pP") == std::string_view::npos) return std::nullopt;
  if (!digits.empty() && std::string_view{"fFdD"}.find(digits.back()) != std::string_view::npos)
    digits.remove_suffix(1);
  if (digits.empty() || !(is_digit(digits.front()) || digits.front() == '.')) return std::nullopt;
  const std::string copy{digits};
  char* end = nullptr;
  const double value = std::strtod(copy.c_str(), &end);
  if (end != copy.c_str() + copy.size()) return std::nullopt;
  return sign * value;
}

/// Double.compareTo: NaN is above everything and equal to itself, -0.0 is below 0.0.
int compare_doubles(double left, double right) {
  if (left < right) return -1;
  if (left > right) return 1;
  if (std::isnan(left) || std::isnan(right))
    return static_cast<int>(std::isnan(left)) - static_cast<int>(std::isnan(right));
  return static_cast<int>(std::signbit(right)) - static_cast<int>(std::signbit(left));
}
template <class T>
int compare_plain(const T& left, const T& right) {
  return left < right ? -1 : (right < left ? 1 : 0);
}

/// The text of a property as the type of the value it meets.
std::optional<Value> convert(const std::string& text, const Value& like) {
  if (std::holds_alternative<bool>(like)) return Value{equals_ignoring_case(text, "TRUE")};
  if (std::holds_alternative<std::int32_t>(like)) {
    if (auto value = parse_integer<std::int32_t>(text)) return Value{*value};
    return std::nullopt;
  }
  if (std::holds_alternative<std::int64_t>(like)) {
    if (auto value = parse_integer<std::int64_t>(text)) return Value{*value};
    return std::nullopt;
  }
  if (auto value = parse_double(text)) return Value{*value};
  return std::nullopt;
}

double as_double(const Value& value) {
  if (auto integer = std::get_if<std::int32_t>(&value)) return *integer;
  if (auto integer = std::get_if<std::int64_t>(&value)) return static_cast<double>(*integer);
  return std::get<double>(value);
}
std::int64_t as_long(const Value& value) {
  if (auto integer = std::get_if<std::int32_t>(&value)) return *integer;
  return std::get<std::int64_t>(value);
}

/// ComparisonExpression.__compare with convertStringExpressions: -1, 0, 1 for values that are not
/// null.
Outcome<int> compare(Value left, Value right) {
  if (left.index() != right.index()) {
    if (std::holds_alternative<bool>(left)) {
      // Java casts the Boolean to String here, and fails.
      if (std::holds_alternative<std::string>(right)) return Failed{};
      return -1;
    }
    if (std::holds_alternative<std::string>(left)) {
      auto converted = convert(std::get<std::string>(left), right);
      if (!converted) return Failed{};
      left = *std::move(converted);
    } else if (std::holds_alternative<std::string>(right)) {
      auto converted = convert(std::get<std::string>(right), left);
      if (!converted) return Failed{};
      right = *std::move(converted);
    } else if (std::holds_alternative<bool>(right)) {
      return -1;
    } else if (std::holds_alternative<double>(left) || std::holds_alternative<double>(right)) {
      return compare_doubles(as_double(left), as_double(right));
    } else {
      return compare_plain(as_long(left), as_long(right));
    }
  }
  if (auto boolean = std::get_if<bool>(&left))
    return compare_plain(*boolean, std::get<bool>(right));
  if (auto text = std::get_if<std::string>(&left))
    return compare_plain(*text, std::get<std::string>(right));
  if (auto number = std::get_if<double>(&left))
    return compare_doubles(*number, std::get<double>(right));
  return compare_plain(as_long(left), as_long(right));
}

bool is_null(const Value& value) {
  return std::holds_alternative<std::monostate>(value);
}

// ---- Evaluation --------------------------------------------------------------------------------

class Evaluation {
 public:
  explicit Evaluation(const PropertyLookup& properties) : properties_{properties} {}

  Outcome<Value> operator()(const Node& node) const {
    switch (node.kind) {
      case Kind::kConstant:
        return node.constant;
      case Kind::kProperty: {
        const auto text = properties_.find(node.name);
        return text ? Value{std::string{*text}} : Value{};
      }
      case Kind::kNegate:
        return negate(node);
      case Kind::kNot:
        return invert(node);
      case Kind::kBooleanCast:
        return cast(node);
      case Kind::kAnd:
        return logic(node, false);
      case Kind::kOr:
        return logic(node, true);
      case Kind::kEqual:
        return equal(node);
      case Kind::kGreater:
      case Kind::kGreaterEqual:
      case Kind::kLess:
      case Kind::kLessEqual:
        return order(node);
      case Kind::kIn:
        return member(node);
      case Kind::kContains:
      case Kind::kStartsWith:
      case Kind::kEndsWith:
        return search(node);
    }
    return Failed{};
  }

 private:
  Outcome<Value> negate(const Node& node) const {
    auto value = (*this)(*node.left);
    if (std::holds_alternative<Failed>(value)) return value;
    const Value& number = std::get<Value>(value);
    // Integers wrap as Java's do.
    if (auto integer = std::get_if<std::int32_t>(&number))
      return Value{static_cast<std::int32_t>(0U - static_cast<std::uint32_t>(*integer))};
    if (auto integer = std::get_if<std::int64_t>(&number))
      return Value{static_cast<std::int64_t>(0U - static_cast<std::uint64_t>(*integer))};
    if (auto real = std::get_if<double>(&number)) return Value{-*real};
    return Value{};
  }

  Outcome<Value> invert(const Node& node) const {
    auto value = (*this)(*node.left);
    if (std::holds_alternative<Failed>(value)) return value;
    const Value& truth = std::get<Value>(value);
    if (is_null(truth)) return Value{};
    if (!std::holds_alternative<bool>(truth)) return Failed{};
    return Value{!std::get<bool>(truth)};
  }

  Outcome<Value> cast(const Node& node) const {
    auto value = (*this)(*node.left);
    if (std::holds_alternative<Failed>(value)) return value;
    const Value& truth = std::get<Value>(value);
    if (is_null(truth)) return Value{};
    return Value{std::holds_alternative<bool>(truth) && std::get<bool>(truth)};
  }

  /// Three-valued AND (decisive: false) and OR (decisive: true); the right side is not looked at
  /// when the left decides.
  Outcome<Value> logic(const Node& node, bool decisive) const {
    bool unknown = false;
    for (const Node* side : {node.left.get(), node.right.get()}) {
      auto value = (*this)(*side);
      if (std::holds_alternative<Failed>(value)) return value;
      const Value& truth = std::get<Value>(value);
      if (is_null(truth))
        unknown = true;
      else if (!std::holds_alternative<bool>(truth))
        return Failed{};
      else if (std::get<bool>(truth) == decisive)
        return Value{decisive};
    }
    return unknown ? Value{} : Value{!decisive};
  }

  Outcome<Value> equal(const Node& node) const {
    auto left = (*this)(*node.left);
    if (std::holds_alternative<Failed>(left)) return left;
    auto right = (*this)(*node.right);
    if (std::holds_alternative<Failed>(right)) return right;
    const Value& a = std::get<Value>(left);
    const Value& b = std::get<Value>(right);
    if (is_null(a)) return is_null(b) ? Value{true} : Value{};
    if (is_null(b)) return Value{false};
    const auto compared = compare(a, b);
    if (std::holds_alternative<Failed>(compared)) return Failed{};
    return Value{std::get<int>(compared) == 0};
  }

  Outcome<Value> order(const Node& node) const {
    auto left = (*this)(*node.left);
    if (std::holds_alternative<Failed>(left)) return left;
    if (is_null(std::get<Value>(left))) return Value{};
    auto right = (*this)(*node.right);
    if (std::holds_alternative<Failed>(right)) return right;
    Value a = std::get<Value>(std::move(left));
    Value b = std::get<Value>(std::move(right));
    if (is_null(b)) return Value{};
    if (std::holds_alternative<std::string>(a) && std::holds_alternative<std::string>(b)) {
      // Texts have no order; both must be numbers.
      const auto x = parse_double(std::get<std::string>(a)),
                 y = parse_double(std::get<std::string>(b));
      if (!x || !y) return Failed{};
      a = *x;
      b = *y;
    }
    const auto compared = compare(std::move(a), std::move(b));
    if (std::holds_alternative<Failed>(compared)) return Failed{};
    const int answer = std::get<int>(compared);
    switch (node.kind) {
      case Kind::kGreater:
        return Value{answer > 0};
      case Kind::kGreaterEqual:
        return Value{answer >= 0};
      case Kind::kLess:
        return Value{answer < 0};
      default:
        return Value{answer <= 0};
    }
  }

  Outcome<Value> member(const Node& node) const {
    const auto text = properties_.find(node.left->name);
    if (!text) return Value{};
    return Value{node.members.contains(*text) != node.negated};
  }

  Outcome<Value> search(const Node& node) const {
    auto value = (*this)(*node.left);
    if (std::holds_alternative<Failed>(value)) return value;
    const auto text = std::get_if<std::string>(&std::get<Value>(value));
    // An empty search text, no property or a number never matches, negated or not.
    if (!text || node.name.empty()) return Value{false};
    const bool found = node.kind == Kind::kContains     ? text->find(node.name) != std::string::npos
                       : node.kind == Kind::kStartsWith ? text->starts_with(node.name)
                                                        : text->ends_with(node.name);
    return Value{found != node.negated};
  }

  const PropertyLookup& properties_;
};

// ---- Parser ------------------------------------------------------------------------------------

Error invalid(std::string why) {
  return Error{Errc::kInvalidArgument, "Invalid MessageSelector. " + std::move(why)};
}

/// Recursive descent over the grammar: or < and < equality < comparison < unary < primary.
class Parser {
 public:
  explicit Parser(std::string_view text) : lexer_{text} {}

  Result<NodePtr> parse() {
    auto expression = or_expression();
    if (!expression) return expression;
    return boolean(*std::move(expression));
  }

 private:
  using Parsed = Result<NodePtr>;

  Result<Token> peek() {
    if (!ahead_) {
      auto next = lexer_.next();
      if (!next) return invalid(next.error().detail);
      ahead_ = *next;
    }
    return ahead_->token;
  }
  std::string_view take() {
    const std::string_view text = ahead_->text;
    ahead_.reset();
    return text;
  }
  Result<Ok> expect(Token token, std::string_view name) {
    auto next = peek();
    if (!next) return next.error();
    if (*next != token)
      return invalid("expected " + std::string{name} + " before '" + std::string{ahead_->text} +
                     "'");
    take();
    return Ok{};
  }

  static Parsed boolean(NodePtr node) {
    if (node->is_boolean()) return node;
    if (node->kind == Kind::kProperty) return make(Kind::kBooleanCast, std::move(node));
    return invalid("Expression will not result in a boolean value");
  }

  Parsed chain(Token separator, Kind kind, Parsed (Parser::*operand)()) {
    Parsed left = (this->*operand)();
    while (left) {
      auto next = peek();
      if (!next) return next.error();
      if (*next != separator) break;
      take();
      Parsed right = (this->*operand)();
      if (!right) return right;
      Parsed a = boolean(*std::move(left));
      if (!a) return a;
      Parsed b = boolean(*std::move(right));
      if (!b) return b;
      left = make(kind, *std::move(a), *std::move(b));
    }
    return left;
  }
  Parsed or_expression() { return chain(Token::kOr, Kind::kOr, &Parser::and_expression); }
  Parsed and_expression() { return chain(Token::kAnd, Kind::kAnd, &Parser::equality); }

  Parsed equality() {
    Parsed left = comparison();
    while (left) {
      auto next = peek();
      if (!next) return next.error();
      if (*next == Token::kEqual || *next == Token::kNotEqual) {
        take();
        Parsed right = comparison();
        if (!right) return right;
        left = equal(*std::move(left), *std::move(right), *next == Token::kNotEqual);
      } else if (*next == Token::kIs) {
        take();
        auto negated = accept(Token::kNot);
        if (!negated) return negated.error();
        if (auto null = expect(Token::kNull, "NULL"); !null) return null.error();
        left = make(Kind::kEqual, *std::move(left), make_constant({}));
        if (*negated) left = make(Kind::kNot, *std::move(left));
      } else {
        break;
      }
    }
    return left;
  }

  static Parsed equal(NodePtr left, NodePtr right, bool negated) {
    for (const Node* side : {left.get(), right.get()}) {
      if (side->kind == Kind::kConstant && is_null(side->constant))
        return invalid("'NULL' cannot be compared.");
    }
    if (left->kind == Kind::kConstant && right->kind == Kind::kConstant && left->is_boolean() &&
        !right->is_boolean()) {
      return invalid("a truth value cannot be compared with a value of another kind");
    }
    NodePtr node = make(Kind::kEqual, std::move(left), std::move(right));
    return negated ? make(Kind::kNot, std::move(node)) : std::move(node);
  }

  Parsed comparison() {
    Parsed left = unary();
    while (left) {
      auto next = peek();
      if (!next) return next.error();
      switch (*next) {
        case Token::kGreater:
          left = order(Kind::kGreater, *std::move(left));
          break;
        case Token::kGreaterEqual:
          left = order(Kind::kGreaterEqual, *std::move(left));
          break;
        case Token::kLess:
          left = order(Kind::kLess, *std::move(left));
          break;
        case Token::kLessEqual:
          left = order(Kind::kLessEqual, *std::move(left));
          break;
        case Token::kNot:
          take();
          left = predicate(*std::move(left), true);
          break;
        case Token::kBetween:
        case Token::kIn:
        case Token::kContains:
        case Token::kStartsWith:
        case Token::kEndsWith:
          left = predicate(*std::move(left), false);
          break;
        default:
          return left;
      }
    }
    return left;
  }

  static Result<Ok> check_ordered(const Node& side) {
    const bool number =
        side.kind == Kind::kConstant && side.constant.index() >= 2 && side.constant.index() <= 4;
    if (side.kind == Kind::kConstant ? !number : side.is_boolean())
      return invalid("a value that is not a number cannot be compared.");
    return Ok{};
  }
  static Parsed ordered(Kind kind, NodePtr left, NodePtr right) {
    for (const Node* side : {left.get(), right.get()}) {
      if (auto good = check_ordered(*side); !good) return good.error();
    }
    return make(kind, std::move(left), std::move(right));
  }
  Parsed order(Kind kind, NodePtr left) {
    take();
    Parsed right = unary();
    if (!right) return right;
    return ordered(kind, std::move(left), *std::move(right));
  }

  /// [NOT] BETWEEN low AND high | IN (...) | CONTAINS text | STARTSWITH text | ENDSWITH text; NOT
  /// is taken already.
  Parsed predicate(NodePtr left, bool negated) {
    auto next = peek();
    if (!next) return next.error();
    switch (*next) {
      case Token::kBetween:
        return between(std::move(left), negated);
      case Token::kIn:
        return in(std::move(left), negated);
      case Token::kContains:
        return search(Kind::kContains, std::move(left), negated);
      case Token::kStartsWith:
        return search(Kind::kStartsWith, std::move(left), negated);
      case Token::kEndsWith:
        return search(Kind::kEndsWith, std::move(left), negated);
      default:
        return invalid("expected BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH behind NOT");
    }
  }

  Parsed between(NodePtr value, bool negated) {
    take();
    Parsed low = unary();
    if (!low) return low;
    if (auto and_word = expect(Token::kAnd, "AND"); !and_word) return and_word.error();
    Parsed high = unary();
    if (!high) return high;
    if ((*low)->kind == Kind::kConstant && (*high)->kind == Kind::kConstant && !negated) {
      if (is_null((*low)->constant) || is_null((*high)->constant))
        return invalid("Illegal values of between, values can not be null!");
      const auto compared = compare((*high)->constant, (*low)->constant);
      if (std::holds_alternative<Failed>(compared) || std::get<int>(compared) < 0) {
        return invalid(
            "Illegal values of between, left value must less than or equal to right value");
      }
    }
    NodePtr copy = clone(*value);
    Parsed first =
        ordered(negated ? Kind::kLess : Kind::kGreaterEqual, std::move(value), *std::move(low));
    if (!first) return first;
    Parsed second =
        ordered(negated ? Kind::kGreater : Kind::kLessEqual, std::move(copy), *std::move(high));
    if (!second) return second;
    return make(negated ? Kind::kOr : Kind::kAnd, *std::move(first), *std::move(second));
  }

  static NodePtr clone(const Node& node) {
    NodePtr copy = make(node.kind, node.left ? clone(*node.left) : nullptr,
                        node.right ? clone(*node.right) : nullptr);
    copy->constant = node.constant;
    copy->name = node.name;
    copy->negated = node.negated;
    copy->members = node.members;
    return copy;
  }

  Parsed in(NodePtr left, bool negated) {
    take();
    if (left->kind != Kind::kProperty) return invalid("Expected a property for In expression");
    if (auto open = expect(Token::kOpen, "'('"); !open) return open.error();
    NodePtr node = make(Kind::kIn, std::move(left));
    node->negated = negated;
    for (;;) {
      auto text = string();
      if (!text) return text.error();
      node->members.insert(*std::move(text));
      auto more = accept(Token::kComma);
      if (!more) return more.error();
      if (!*more) break;
    }
    if (auto close = expect(Token::kClose, "')'"); !close) return close.error();
    return node;
  }

  Parsed search(Kind kind, NodePtr left, bool negated) {
    take();
    auto text = string();
    if (!text) return text.error();
    NodePtr node = make(kind, std::move(left));
    node->name = *std::move(text);
    node->negated = negated;
    return node;
  }

  Result<bool> accept(Token token) {
    auto next = peek();
    if (!next) return next.error();
    if (*next != token) return false;
    take();
    return true;
  }

  Result<std::string> string() {
    auto next = peek();
    if (!next) return next.error();
    if (*next != Token::kString)
      return invalid("expected a string before '" + std::string{ahead_->text} + "'");
    return unquote(take());
  }
  static std::string unquote(std::string_view quoted) {
    std::string text;
    for (std::size_t i = 0; i < quoted.size(); ++i) {
      if (quoted[i] == '\'') ++i;  // a doubled quote stands for one
      text += quoted[i];
    }
    return text;
  }

  Parsed unary() {
    if (depth_ == Sql92::kDepthMax)
      return invalid("nested deeper than " + std::to_string(Sql92::kDepthMax) + " levels");
    ++depth_;
    Parsed node = unary_inside();
    --depth_;
    return node;
  }
  Parsed unary_inside() {
    auto next = peek();
    if (!next) return next.error();
    switch (*next) {
      case Token::kPlus:
        take();
        return unary();
      case Token::kMinus: {
        take();
        Parsed inner = unary();
        if (!inner) return inner;
        return make(Kind::kNegate, *std::move(inner));
      }
      case Token::kNot: {
        take();
        Parsed inner = unary();
        if (!inner) return inner;
        Parsed truth = boolean(*std::move(inner));
        if (!truth) return truth;
        return make(Kind::kNot, *std::move(truth));
      }
      default:
        return primary(*next);
    }
  }

  Parsed primary(Token token) {
    switch (token) {
      case Token::kString:
        return make_constant(unquote(take()));
      case Token::kInteger:
        return integer(take());
      case Token::kFloat:
        return real(take());
      case Token::kTrue:
        take();
        return make_constant(true);
      case Token::kFalse:
        take();
        return make_constant(false);
      case Token::kNull:
        take();
        return make_constant({});
      case Token::kIdentifier: {
        NodePtr node = make(Kind::kProperty);
        node->name = take();
        return node;
      }
      case Token::kOpen: {
        take();
        Parsed inner = or_expression();
        if (!inner) return inner;
        if (auto close = expect(Token::kClose, "')'"); !close) return close.error();
        return inner;
      }
      case Token::kEnd:
        return invalid("the expression ends too early");
      default:
        return invalid("unexpected '" + std::string{ahead_->text} + "'");
    }
  }

  static Parsed integer(std::string_view text) {
    if (text.ends_with('l') || text.ends_with('L')) text.remove_suffix(1);
    const auto value = parse_integer<std::int64_t>(text);
    if (!value) return invalid("For input string: \"" + std::string{text} + "\"");
    // A constant is an Integer when it fits, else a Long; properties it meets are read as that
    // type.
    if (*value <= std::numeric_limits<std::int32_t>::max())
      return make_constant(static_cast<std::int32_t>(*value));
    return make_constant(*value);
  }

  static Parsed real(std::string_view text) {
    const double value = parse_double(text).value_or(0);
    if (value > std::numeric_limits<double>::max())
      return invalid(std::string{text} + " is greater than " + "1.7976931348623157E308");
    // Java compares with the smallest positive double, so that 0.0 is refused as well.
    if (value < std::numeric_limits<double>::denorm_min())
      return invalid(std::string{text} + " is less than " + "4.9E-324");
    return make_constant(value);
  }

  Lexer lexer_;
  std::optional<Lexer::Lexeme> ahead_;
  int depth_ = 0;
};

}  // namespace

Result<Sql92> Sql92::compile(std::string_view expression) {
  if (expression.size() > kLengthMax)
    return invalid("longer than " + std::to_string(kLengthMax) + " bytes");
  auto root = Parser{expression}.parse();
  if (!root) return root.error();
  return Sql92{std::shared_ptr<const Node>{*std::move(root)}};
}

bool Sql92::matches(const PropertyLookup& properties) const {
  const auto outcome = Evaluation{properties}(*root_);
  const auto value = std::get_if<Value>(&outcome);
  const auto truth = value ? std::get_if<bool>(value) : nullptr;
  return truth && *truth;
}

}  // namespace apogee::broker
