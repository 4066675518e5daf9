#include "protocol/json.h"

#include <charconv>
#include <cmath>

namespace apogee::protocol {
namespace {

void append_utf8(std::string& out, std::uint32_t code) {
  if (code < 0x80)
    out += static_cast<char>(code);
  else if (code < 0x800)
    out += {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
  else if (code < 0x10000)
    out += {static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3F)),
            static_cast<char>(0x80 | (code & 0x3F))};
  else
    out += {static_cast<char>(0xF0 | code >> 18), static_cast<char>(0x80 | (code >> 12 & 0x3F)),
            static_cast<char>(0x80 | (code >> 6 & 0x3F)), static_cast<char>(0x80 | (code & 0x3F))};
}

class Parser {
 public:
  Parser(std::string_view text, JsonBudget& budget) : text_{text}, budget_{budget} {}

  Result<Json> parse() {
    const std::size_t most = budget_.values;
    Json json = value(0);
    skip_blank();
    if (!failed_ && at_ != text_.size()) fail();
    if (used_up_)
      return Error{Errc::kMalformed, "JSON of " + std::to_string(text_.size()) +
                                         " bytes with more than " + std::to_string(most) +
                                         " values, the most taken from a peer"};
    if (failed_)
      return Error{Errc::kMalformed, "malformed JSON at byte " + std::to_string(failed_at_)};
    return json;
  }

 private:
  void fail() {
    if (!failed_) failed_at_ = at_;
    failed_ = true;
    at_ = text_.size();
  }
  void skip_blank() {
    while (at_ < text_.size() && static_cast<unsigned char>(text_[at_]) <= ' ') ++at_;
  }
  char peek() {
    skip_blank();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }

  Json value(int depth) {
    if (depth > kJsonDepthMax) fail();
    if (failed_) return {};
    if (budget_.values == 0) {
      used_up_ = true;
      fail();
      return {};
    }
    --budget_.values;
    switch (peek()) {
      case '{':
        return object(depth);
      case '[':
        return array(depth);
      case '"':
      case '\'':
        return Json{Json::Value{string()}};
      default:
        return scalar();
    }
  }

  Json object(int depth) {
    Json json = Json::object();
    take('{');
    while (!failed_ && !take('}')) {
      const char first = peek();
      if (first == '{') {
        const Json key = value(depth + 1);
        if (!take(':')) fail();
        json.set_bare(write_json(key), value(depth + 1));
      } else if (first == '"' || first == '\'') {
        std::string key = string();
        if (!take(':')) fail();
        json.set(std::move(key), value(depth + 1));
      } else {
        const std::string_view key = word();
        if (key.empty() || !take(':')) fail();
        const bool number =
            !key.empty() && (key.front() == '-' || (key.front() >= '0' && key.front() <= '9'));
        if (number)
          json.set_bare(std::string{key}, value(depth + 1));
        else
          json.set(std::string{key}, value(depth + 1));
      }
      if (!take(',') && peek() != '}') fail();
    }
    return json;
  }

  Json array(int depth) {
    Json::Array array;
    take('[');
    while (!failed_ && !take(']')) {
      array.push_back(value(depth + 1));
      if (!take(',') && peek() != ']') fail();
    }
    return Json{Json::Value{std::move(array)}};
  }

  std::string_view word() {
    skip_blank();
    const std::size_t start = at_;
    while (at_ < text_.size() && static_cast<unsigned char>(text_[at_]) > ' ' &&
           std::string_view{",:{}[]\"'"}.find(text_[at_]) == std::string_view::npos)
      ++at_;
    return text_.substr(start, at_ - start);
  }

  Json scalar() {
    const std::string_view text = word();
    if (text == "null") return {};
    if (text == "true") return Json{Json::Value{true}};
    if (text == "false") return Json{Json::Value{false}};
    std::int64_t integer = 0;
    const auto whole = std::from_chars(text.data(), text.data() + text.size(), integer);
    if (!text.empty() && whole.ec == std::errc{} && whole.ptr == text.data() + text.size())
      return Json{Json::Value{integer}};
    double real = 0;
    const auto part = std::from_chars(text.data(), text.data() + text.size(), real);
    if (!text.empty() && part.ec == std::errc{} && part.ptr == text.data() + text.size())
      return Json{Json::Value{real}};
    fail();
    return {};
  }

  std::string string() {
    const char quote = text_[at_++];
    std::string out;
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c == quote) return out;
      if (c != '\\')
        out += c;
      else if (at_ < text_.size())
        escape(out);
    }
    fail();
    return out;
  }
  void escape(std::string& out) {
    switch (const char c = text_[at_++]) {
      case 'n':
        out += '\n';
        break;
      case 't':
        out += '\t';
        break;
      case 'r':
        out += '\r';
        break;
      case 'b':
        out += '\b';
        break;
      case 'f':
        out += '\f';
        break;
      case 'u': {
        std::uint32_t code = hex();
        if (code >= 0xD800 && code < 0xDC00 && text_.substr(at_, 2) == "\\u") {
          at_ += 2;
          const std::uint32_t low = hex();
          if (low >= 0xDC00 && low < 0xE000)
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
        append_utf8(out, code);
        break;
      }
      default:
        out += c;
    }
  }
  std::uint32_t hex() {
    std::uint32_t code = 0;
    const std::string_view digits = text_.substr(std::min(at_, text_.size()), 4);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (digits.size() != 4 || error != std::errc{} || end != digits.data() + 4)
      fail();
    else
      at_ += 4;
    return code;
  }

  std::string_view text_;
  JsonBudget& budget_;
  std::size_t at_ = 0, failed_at_ = 0;
  bool failed_ = false, used_up_ = false;
};

class Writer {
 public:
  Writer(Buffer& out, JsonStyle style) : out_{out}, style_{style} {}

  void value(const Json& json, int indent = 0) {
    const auto& value = json.value();
    if (json.is_null())
      out_ += "null";
    else if (const bool* flag = std::get_if<bool>(&value))
      out_ += *flag ? "true" : "false";
    else if (const auto* number = std::get_if<std::int64_t>(&value))
      out_ += std::to_string(*number);
    else if (const auto* real = std::get_if<double>(&value))
      number_of(*real);
    else if (const auto* text = std::get_if<std::string>(&value))
      string(*text);
    else if (const auto* array = json.array()) {
      sequence('[', ']', *array, indent, [&](const Json& each) { this->value(each, indent + 1); });
    } else {
      sequence('{', '}', *json.members(), indent, [&](const Json::Member& member) {
        if (member.bare && (style_ != JsonStyle::kStandard))
          out_ += member.key;
        else
          string(member.key);
        out_ += ':';
        this->value(member.value.front(), indent + 1);
      });
    }
  }

 private:
  void sequence(char open, char close, const auto& elements, int indent, auto&& write) {
    out_ += open;
    bool first = true;
    for (const auto& element : elements) {
      if (!first) out_ += ',';
      first = false;
      new_line(indent + 1);
      write(element);
    }
    if (!first) new_line(indent);
    out_ += close;
  }
  void new_line(int indent) {
    if (style_ != JsonStyle::kPretty) return;
    out_ += '\n';
    out_.append(static_cast<std::size_t>(indent), '\t');
  }
  /// As Java prints a double: always with a fraction; NaN and infinities become null.
  void number_of(double real) {
    if (!std::isfinite(real)) {
      out_ += "null";
      return;
    }
    char text[32];
    const auto end = std::to_chars(text, text + sizeof text, real).ptr;
    const std::string_view digits{text, static_cast<std::size_t>(end - text)};
    out_ += digits;
    if (digits.find_first_of(".e") == std::string_view::npos) out_ += ".0";
  }
  void string(std::string_view text) {
    out_ += '"';
    for (const char c : text) {
      const auto u = static_cast<unsigned char>(c);
      if (c == '"' || c == '\\')
        out_ += {'\\', c};
      else if (c == '\n')
        out_ += "\\n";
      else if (c == '\r')
        out_ += "\\r";
      else if (c == '\t')
        out_ += "\\t";
      else if (u < 0x20) {
        constexpr char kDigits[] = "0123456789abcdef";
        out_ += {'\\', 'u', '0', '0', kDigits[u >> 4], kDigits[u & 15]};
      } else
        out_ += c;
    }
    out_ += '"';
  }

  Buffer& out_;
  const JsonStyle style_;
};

/// Mostly told by the first letter.
bool are_alike(std::string_view a, std::string_view b) {
  const auto next = [](std::string_view& text) {
    while (!text.empty() && (text.front() == '_' || text.front() == '-')) text.remove_prefix(1);
    if (text.empty()) return '\0';
    const char c = text.front();
    text.remove_prefix(1);
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  for (;;) {
    const char one = next(a), other = next(b);
    if (one != other) return false;
    if (one == '\0') return true;
  }
}

}  // namespace

const Json* Json::find(std::string_view key) const {
  const Object* object = members();
  if (!object) return nullptr;
  for (const Member& member : *object) {
    if (member.key == key) return &member.value.front();
  }
  return nullptr;
}
const Json* Json::find_alike(std::string_view key) const {
  if (const Json* exact = find(key)) return exact;
  const Object* object = members();
  if (!object) return nullptr;
  for (const Member& member : *object)
    if (are_alike(member.key, key)) return &member.value.front();
  return nullptr;
}
void Json::add(Member member, Json value) {
  member.value.push_back(std::move(value));
  std::get<Object>(value_).push_back(std::move(member));
}
void Json::push(Json value) {
  if (!array()) value_ = Array{};
  std::get<Array>(value_).push_back(std::move(value));
}

Result<Json> parse_json(std::string_view text, JsonBudget& budget) {
  return Parser{text, budget}.parse();
}
Result<Json> parse_json(std::string_view text) {
  JsonBudget unlimited;
  return parse_json(text, unlimited);
}

Buffer write_json(const Json& json, JsonStyle style) {
  Buffer out;
  Writer{out, style}.value(json);
  return out;
}

}  // namespace apogee::protocol
