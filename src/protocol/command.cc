#include "protocol/command.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>

namespace apogee::protocol {
namespace {

constexpr std::array<std::string_view, 14> kLanguages{
    "JAVA",  "CPP",  "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY",
    "OTHER", "HTTP", "GO",     "PHP",    "OMS",    "RUST",   "NODE_JS"};

/// Codes above 32767 reach us truncated to int16 in the binary header; no real code uses these
/// numbers.
std::int32_t widen_code(std::int16_t code) {
  if (code >= 3442 && code <= 3448) return 200050 + (code - 3442);
  if (code == 3543) return 200151;
  return code;
}

char* write_utf8(char* to, std::uint32_t code) {
  const auto put = [&](std::uint32_t byte) { *to++ = static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else {
    if (code < 0x10000) {
      put(0xE0 | code >> 12);
    } else {
      put(0xF0 | code >> 18);
      put(0x80 | (code >> 12 & 0x3F));
    }
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
  return to;
}

constexpr std::uint8_t kNoDigit = 16;
constexpr auto kHexValues = [] {
  std::array<std::uint8_t, 256> values{};
  values.fill(kNoDigit);
  for (unsigned char c = '0'; c <= '9'; ++c) values[c] = static_cast<std::uint8_t>(c - '0');
  for (unsigned char c = 0; c < 6; ++c)
    values[c + 'a'] = values[c + 'A'] = static_cast<std::uint8_t>(c + 10);
  return values;
}();
std::uint32_t hex_value(char c) {  // kNoDigit: not a digit
  return kHexValues[static_cast<unsigned char>(c)];
}

/// Eight characters at once; the high bit of each that is sought is set. A byte that is sought
/// becomes 0 or borrows, and only below it is there no borrow: right for the first one found.
constexpr std::uint64_t kOnes = 0x0101'0101'0101'0101, kHighs = kOnes << 7;
constexpr std::uint64_t below(std::uint64_t eight, unsigned char bound) {  // at most 0x80
  return (eight - kOnes * bound) & ~eight & kHighs;
}
constexpr std::uint64_t quotes_and_backslashes(std::uint64_t eight) {
  return below(eight ^ kOnes * '"', 1) | below(eight ^ kOnes * '\\', 1);
}
constexpr std::ptrdiff_t kEight = sizeof(std::uint64_t);
std::uint64_t eight_at(const char* from) {
  std::uint64_t eight;
  std::memcpy(&eight, from, sizeof eight);
  return eight;
}
std::ptrdiff_t first_of(std::uint64_t high_bits) {
  return std::countr_zero(high_bits) / 8;
}

/// Walks the JSON text of one header. Texts without escapes alias the input, the others
/// `unescaped`.
class HeaderReader {
 public:
  HeaderReader(std::string_view text, std::string& unescaped)
      : at_{text.data()}, end_{at_ + text.size()}, size_{text.size()}, unescaped_{unescaped} {}

  bool failed() const { return failed_; }
  bool at_end() {
    skip_blank();
    return at_ == end_;
  }
  char peek() {
    if (at_ != end_ && *at_ > ' ') return *at_;
    skip_blank();
    return at_ != end_ ? *at_ : '\0';
  }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  bool expect(char c) {
    if (!take(c)) failed_ = true;
    return !failed_;
  }

  std::string_view string() {
    if (peek() == '"') return quoted();
    failed_ = true;
    return {};
  }
  /// peek() has found its quote.
  std::string_view quoted() {
    const char* const start = ++at_;
    at_ = plain_end(start);
    if (at_ != end_ && *at_ == '"') return {start, at_++};
    return escaped_string(start);
  }

  /// A scalar as text; null gives nullopt.
  std::optional<std::string_view> scalar() {
    if (peek() == '"') return quoted();
    const char* const start = at_;
    while (at_ != end_ && !ends_word(*at_)) ++at_;
    const std::string_view word{start, at_};
    if (word.empty() || word.front() == '{' || word.front() == '[') failed_ = true;
    if (word == "null") return std::nullopt;
    return word;
  }

  void skip_value(int depth = 0) {
    if (depth > kDepthMax) failed_ = true;
    if (failed_) return;
    const char open = peek();
    if (open != '{' && open != '[') {
      scalar();
      return;
    }
    const char close = open == '{' ? '}' : ']';
    ++at_;
    if (take(close)) return;
    do {
      if (open == '{') {
        string();
        if (!expect(':')) return;
      }
      skip_value(depth + 1);
    } while (!failed_ && take(','));
    expect(close);
  }

 private:
  static constexpr int kDepthMax = 32;

  static bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
  static bool ends_word(char c) { return c == ',' || c == '}' || c == ']' || blank(c); }
  void skip_blank() {
    while (at_ != end_ && blank(*at_)) ++at_;
  }

  /// Where the next quote or backslash is, or the end.
  const char* plain_end(const char* from) const {
    for (; end_ - from >= kEight; from += kEight)
      if (const auto found = quotes_and_backslashes(eight_at(from))) return from + first_of(found);
    while (from != end_ && *from != '"' && *from != '\\') ++from;
    return from;
  }

  /// Copies up to the next quote or backslash, or the end. What stands behind the copy is
  /// overwritten, by up to kEight characters.
  char* copy_plain(char* to) {
    while (end_ - at_ >= kEight) {
      const std::uint64_t eight = eight_at(at_);
      std::memcpy(to, &eight, sizeof eight);
      const auto found = quotes_and_backslashes(eight);
      const std::ptrdiff_t plain = found != 0 ? first_of(found) : kEight;
      at_ += plain;
      to += plain;
      if (found != 0) return to;
    }
    while (at_ != end_ && *at_ != '"' && *at_ != '\\') *to++ = *at_++;
    return to;
  }

  /// Begins at the first escape. Written into a space as long as the whole header, made once: no
  /// text becomes longer, so what was given out before stays where it is.
  std::string_view escaped_string(const char* start) {
    if (unescaped_.empty()) unescaped_.resize(size_ + kEight);
    char* const begin = unescaped_.data() + used_;
    char* to = std::copy(start, at_, begin);
    for (;; to = copy_plain(to)) {
      while (end_ - at_ >= kControlSize && *at_ == '\\' && control(to)) at_ += kControlSize;
      if (at_ == end_) break;
      const char c = *at_++;
      if (c == '"') {
        used_ += static_cast<std::size_t>(to - begin);
        return {begin, to};
      }
      if (c != '\\')
        *to++ = c;
      else if (at_ != end_)
        to = unescape(to, *at_++);
    }
    failed_ = true;
    return {};
  }
  /// `\u0001` and its like, what separates the properties of each message: by far the most common.
  bool control(char*& to) const {
    const std::uint32_t high = hex_value(at_[4]), low = hex_value(at_[5]);
    if (at_[1] != 'u' || at_[2] != '0' || at_[3] != '0' || high > 7 || low == kNoDigit)
      return false;
    *to++ = static_cast<char>(high << 4 | low);
    return true;
  }
  /// The character an escape stands for; `e` is behind its backslash.
  char* unescape(char* to, char e) {
    switch (e) {
      case 'u':
        return unicode(to);
      case 'x':
        return write_utf8(to, hex(2));
      case 'n':
        *to++ = '\n';
        break;
      case 't':
        *to++ = '\t';
        break;
      case 'r':
        *to++ = '\r';
        break;
      case 'b':
        *to++ = '\b';
        break;
      case 'f':
        *to++ = '\f';
        break;
      case 'v':
        *to++ = '\v';
        break;
      default:
        *to++ = e >= '0' && e <= '7' ? static_cast<char>(e - '0') : e;  // fastjson's \0 .. \7
    }
    return to;
  }
  std::uint32_t hex(std::ptrdiff_t digits) {
    std::uint32_t code = 0;
    if (end_ - at_ < digits) failed_ = true;
    for (; digits > 0 && at_ != end_; --digits) {
      const std::uint32_t value = hex_value(*at_++);
      if (value == kNoDigit) failed_ = true;
      code = code << 4 | (value & 15);
    }
    return code;
  }
  char* unicode(char* to) {
    std::uint32_t code = hex(4);
    if (code >= 0xD800 && code < 0xDC00 && end_ - at_ >= 2 && at_[0] == '\\' && at_[1] == 'u') {
      at_ += 2;
      const std::uint32_t low = hex(4);
      if (low >= 0xDC00 && low < 0xE000) code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    return write_utf8(to, code);
  }

  static constexpr std::ptrdiff_t kControlSize = 6;
  const char* at_;
  const char* const end_;
  const std::size_t size_;
  bool failed_ = false;
  std::string& unescaped_;
  std::size_t used_ = 0;  // of unescaped_
};

template <class Int>
bool to_number(std::optional<std::string_view> text, Int& value) {
  if (!text) return true;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  return error == std::errc{} && end == text->data() + text->size();
}

Error malformed(const char* what) {
  return Error{Errc::kMalformed, what};
}

bool read_ext(HeaderReader& in, std::vector<ExtField>& ext) {
  if (in.peek() != '{') {
    in.skip_value();  // null
    return !in.failed();
  }
  in.take('{');
  if (in.take('}')) return true;
  do {
    const std::string_view name = in.string();
    if (!in.expect(':')) return false;
    const char first = in.peek();
    if (first == '"')
      ext.push_back({name, in.quoted()});
    else if (first == '{' || first == '[')
      in.skip_value();
    else if (const auto value = in.scalar())
      ext.push_back({name, *value});
  } while (!in.failed() && in.take(','));
  return in.expect('}');
}

Result<Ok> decode_json(std::string_view text, CommandView& command, std::vector<ExtField>& ext,
                       std::string& unescaped) {
  HeaderReader in{text, unescaped};
  if (!in.expect('{')) return malformed("the header is not a JSON object");
  bool good = true;
  if (!in.take('}')) {
    do {
      const std::string_view key = in.string();
      if (!in.expect(':')) break;
      if (key == "code")
        good = good && to_number(in.scalar(), command.code);
      else if (key == "flag")
        good = good && to_number(in.scalar(), command.flag);
      else if (key == "opaque")
        good = good && to_number(in.scalar(), command.opaque);
      else if (key == "version")
        good = good && to_number(in.scalar(), command.version);
      else if (key == "remark")
        command.remark = in.scalar();
      else if (key == "language") {
        const auto name = in.scalar();
        std::uint8_t number = 0;
        if (name && !name->empty() && name->front() >= '0' && name->front() <= '9')
          command.language = to_number(name, number) && number < kLanguages.size()
                                 ? Language{number}
                                 : Language::kOther;
        else if (name)
          command.language = language_from(*name).value_or(Language::kOther);
      } else if (key == "extFields")
        good = read_ext(in, ext) && good;
      else
        in.skip_value();
    } while (!in.failed() && in.take(','));
    in.expect('}');
  }
  if (in.failed() || !in.at_end()) return malformed("the header is not valid JSON");
  if (!good) return malformed("a number of the header is not one");
  return Ok{};
}

/// Cuts big-endian lengths and texts; every step is checked against what is left.
class BinaryReader {
 public:
  explicit BinaryReader(Bytes in) : in_{in} {}
  template <class Int>
  Int number() {
    if (in_.size() < sizeof(Int)) {
      failed_ = true;
      return 0;
    }
    const Int value = read_big<Int>(in_);
    in_ = in_.subspan(sizeof(Int));
    return value;
  }
  std::string_view text(std::int64_t length) {
    if (length < 0 || static_cast<std::uint64_t>(length) > in_.size()) {
      failed_ = true;
      return {};
    }
    const std::string_view value = as_text(in_.first(static_cast<std::size_t>(length)));
    in_ = in_.subspan(static_cast<std::size_t>(length));
    return value;
  }
  bool failed() const { return failed_; }
  bool empty() const { return in_.empty(); }

 private:
  Bytes in_;
  bool failed_ = false;
};

/// All in one: its parts are called some forty times for a header.
[[gnu::flatten]] Result<Ok> decode_binary(Bytes header, CommandView& command,
                                          std::vector<ExtField>& ext) {
  BinaryReader in{header};
  command.code = widen_code(in.number<std::int16_t>());
  const auto language = in.number<std::uint8_t>();
  command.language = language < kLanguages.size() ? Language{language} : Language::kOther;
  command.version = in.number<std::int16_t>();
  command.opaque = in.number<std::int32_t>();
  command.flag = in.number<std::int32_t>();
  if (const auto length = in.number<std::int32_t>(); length != 0) command.remark = in.text(length);
  const std::string_view fields = in.text(in.number<std::int32_t>());
  if (in.failed()) return malformed("a length of the binary header is out of range");
  BinaryReader entries{as_bytes(fields)};
  while (!entries.empty()) {
    const std::string_view name = entries.text(entries.number<std::int16_t>());
    const std::string_view value = entries.text(entries.number<std::int32_t>());
    if (entries.failed())
      return malformed("a length of the binary header's fields is out of range");
    if (!name.empty() && !value.empty()) ext.push_back({name, value});  // empty stands for null
  }
  return Ok{};
}

/// Must `c` be escaped in JSON?
bool is_special(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\';
}

/// Writes the escape of `c` at `at`, at most kEscapeBytes. Its end.
constexpr std::size_t kEscapeBytes = 6;
char* write_escape(char* at, char c) {
  *at++ = '\\';
  switch (c) {
    case '"':
    case '\\':
      *at++ = c;
      break;
    case '\n':
      *at++ = 'n';
      break;
    case '\r':
      *at++ = 'r';
      break;
    case '\t':
      *at++ = 't';
      break;
    case '\b':
      *at++ = 'b';
      break;
    case '\f':
      *at++ = 'f';
      break;
    default:
      constexpr char kDigits[] = "0123456789abcdef";
      for (const char each : {'u', '0', '0', kDigits[c >> 4], kDigits[c & 15]}) *at++ = each;
  }
  return at;
}

template <class Int>
void patch_big(Buffer& out, std::size_t at, Int value) {
  write_big<Int>(std::as_writable_bytes(std::span{out.data(), out.size()}), at, value);
}

}  // namespace

std::string_view name_of(Language language) {
  const auto index = static_cast<std::size_t>(language);
  return index < kLanguages.size() ? kLanguages[index] : "OTHER";
}
std::optional<Language> language_from(std::string_view name) {
  for (std::size_t i = 0; i < kLanguages.size(); ++i) {
    if (kLanguages[i] == name) return Language{static_cast<std::uint8_t>(i)};
  }
  return std::nullopt;
}

Result<std::optional<Frame>> decode_frame(Bytes in, std::uint32_t max_frame_bytes) {
  constexpr std::size_t kWord = 4;
  if (in.size() < kWord) return std::optional<Frame>{};
  const std::size_t length = read_big<std::uint32_t>(in);
  if (length < kWord || length + kWord > max_frame_bytes)
    return Error{Errc::kMalformed, "frame length " + std::to_string(length) + " (at most " +
                                       std::to_string(max_frame_bytes) + ")"};
  if (in.size() >= 2 * kWord) {
    const std::size_t header = read_big<std::uint32_t>(in, kWord) & 0x00FF'FFFF;
    if (header > length - kWord)
      return Error{Errc::kMalformed, "header length " + std::to_string(header) + " in a frame of " +
                                         std::to_string(length)};
  }
  if (in.size() - kWord < length) return std::optional<Frame>{};
  const std::uint32_t word = read_big<std::uint32_t>(in, kWord);
  const std::size_t header = word & 0x00FF'FFFF;
  const Bytes rest = in.subspan(2 * kWord, length - kWord);
  return std::optional<Frame>{Frame{.serialization = static_cast<std::uint8_t>(word >> 24),
                                    .header = rest.first(header),
                                    .body = rest.subspan(header),
                                    .size = kWord + length}};
}

Result<CommandView> CommandDecoder::decode(const Frame& frame) {
  constexpr std::size_t kKeptText = 2'048;
  ext_.clear();
  unescaped_.clear();
  if (unescaped_.capacity() > kKeptText) unescaped_.shrink_to_fit();
  CommandView command;
  command.body = frame.body;
  Result<Ok> decoded = Ok{};
  if (frame.serialization == static_cast<std::uint8_t>(Serialization::kJson)) {
    decoded = decode_json(as_text(frame.header), command, ext_, unescaped_);
  } else if (frame.serialization == static_cast<std::uint8_t>(Serialization::kBinary)) {
    command.serialization = Serialization::kBinary;
    decoded = decode_binary(frame.header, command, ext_);
  } else {
    return Error{Errc::kMalformed, "unknown serialization " + std::to_string(frame.serialization)};
  }
  if (!decoded) return decoded.error();
  command.ext = ext_;
  return command;
}

// The header is written into room made ahead, which finish() gives back: growing a string for each
// of its small parts costs more than the parts.

CommandWriter::CommandWriter(Buffer& out, const CommandHead& head)
    : out_{out}, head_{head}, start_{out.size()}, end_{out.size()} {
  if (head_.version == 0) head_.version = kProtocolVersion;
  if (head_.serialization == Serialization::kBinary) {
    constexpr std::size_t kFixed = 21;  // all but the remark
    const std::string_view remark = head_.remark.value_or(std::string_view{});
    char* at = room(kLengthBytes + kFixed + remark.size()) + kLengthBytes;
    at = number(at, static_cast<std::int16_t>(head_.code));
    at = number(at, static_cast<std::uint8_t>(head_.language));
    at = number(at, static_cast<std::int16_t>(head_.version));
    at = number(at, head_.opaque);
    at = number(at, head_.flag);
    at = number(at, static_cast<std::int32_t>(remark.size()));
    at += remark.copy(at, remark.size());
    ext_length_at_ = static_cast<std::size_t>(at - out_.data());
    at = number(at, std::int32_t{0});
    end_ = static_cast<std::size_t>(at - out_.data());
    return;
  }
  room(kLengthBytes);
  end_ += kLengthBytes;
  text("{\"code\":");
  decimal(head_.code);
  text(",\"extFields\":{");
}

/// The end of what is written, and at least so many bytes behind it.
char* CommandWriter::room(std::size_t bytes) {
  constexpr std::size_t kAhead = 512;  // most headers
  if (out_.size() - end_ < bytes) out_.resize(end_ + bytes + kAhead);
  return out_.data() + end_;
}
void CommandWriter::text(std::string_view text) {
  end_ += text.copy(room(text.size()), text.size());
}
void CommandWriter::decimal(std::int32_t value) {
  constexpr std::size_t kDigits = 12;
  char* const at = room(kDigits);
  end_ += static_cast<std::size_t>(std::to_chars(at, at + kDigits, value).ptr - at);
}
void CommandWriter::json_string(std::string_view text) {
  const char* from = text.data();
  const char* const end = from + text.size();
  char* at = room(text.size() + 2 + kEight);
  *at++ = '"';
  for (std::uint64_t special = 0; special == 0 && end - from >= kEight;) {
    const std::uint64_t eight = eight_at(from);
    std::memcpy(at, &eight, sizeof eight);
    special = below(eight, 0x20) | quotes_and_backslashes(eight);
    const std::ptrdiff_t plain = special != 0 ? first_of(special) : kEight;
    from += plain;
    at += plain;
  }
  while (from != end && !is_special(*from)) *at++ = *from++;
  if (from != end) {
    end_ = static_cast<std::size_t>(at - out_.data());
    at = room(kEscapeBytes * static_cast<std::size_t>(end - from) + 1);
    for (; from != end; ++from) {
      if (is_special(*from))
        at = write_escape(at, *from);
      else
        *at++ = *from;
    }
  }
  *at++ = '"';
  end_ = static_cast<std::size_t>(at - out_.data());
}

void CommandWriter::field(std::string_view name, std::string_view value) {
  if (head_.serialization == Serialization::kBinary) {
    char* const at = room(kNameLength + name.size() + kValueLength + value.size());
    end_ += static_cast<std::size_t>(binary_field(at, name, value) - at);
    return;
  }
  if (any_field_) text(",");
  any_field_ = true;
  json_string(name);
  text(":");
  json_string(value);
}

void CommandWriter::finish(std::size_t body_size) {
  if (head_.serialization == Serialization::kBinary) {
    patch_big<std::int32_t>(out_, ext_length_at_,
                            static_cast<std::int32_t>(end_ - ext_length_at_ - 4));
  } else {
    text("},\"flag\":");
    decimal(head_.flag);
    text(",\"language\":\"");
    text(name_of(head_.language));
    text("\",\"opaque\":");
    decimal(head_.opaque);
    if (head_.remark) {
      text(",\"remark\":");
      json_string(*head_.remark);
    }
    text(",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    decimal(head_.version);
    text("}");
  }
  const std::size_t header = end_ - start_ - kLengthBytes;
  patch_big<std::uint32_t>(out_, start_, static_cast<std::uint32_t>(4 + header + body_size));
  patch_big<std::uint32_t>(
      out_, start_ + 4,
      static_cast<std::uint32_t>(static_cast<std::uint32_t>(head_.serialization) << 24 | header));
  out_.resize(end_);
}

}  // namespace apogee::protocol
