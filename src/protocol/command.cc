#include "protocol/command.h"

#include <array>
#include <charconv>

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

/// Walks the JSON text of one header. Texts without escapes alias the input.
class HeaderReader {
 public:
  HeaderReader(std::string_view text, std::deque<std::string>& unescaped)
      : text_{text}, unescaped_{unescaped} {}

  bool failed() const { return failed_; }
  bool at_end() {
    skip_blank();
    return at_ == text_.size();
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
  bool expect(char c) {
    if (!take(c)) failed_ = true;
    return !failed_;
  }

  std::string_view string() {
    if (!expect('"')) return {};
    const std::size_t start = at_;
    const std::size_t end = std::min(text_.find('"', start), text_.size());
    const std::size_t escape = text_.substr(start, end - start).find('\\');
    if (escape == std::string_view::npos && end < text_.size()) {
      at_ = end + 1;
      return text_.substr(start, end - start);
    }
    at_ = std::min(end, start + std::min(escape, end - start));
    return escaped_string(start);
  }

  /// A scalar as text; null gives nullopt.
  std::optional<std::string_view> scalar() {
    if (peek() == '"') return string();
    const std::size_t start = at_;
    while (at_ < text_.size() &&
           std::string_view{",}] \t\r\n"}.find(text_[at_]) == std::string_view::npos)
      ++at_;
    const std::string_view word = text_.substr(start, at_ - start);
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

  void skip_blank() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r'))
      ++at_;
  }

  std::string_view escaped_string(std::size_t start) {
    std::string& out = unescaped_.emplace_back(text_.substr(start, at_ - start));
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c == '"') return out;
      if (c != '\\') {
        out += c;
        continue;
      }
      if (at_ == text_.size()) break;
      switch (const char e = text_[at_++]) {
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
        case 'v':
          out += '\v';
          break;
        case 'u':
          unicode(out);
          break;
        case 'x':
          hexadecimal(out);
          break;
        default:
          if (e >= '0' && e <= '7')
            out += static_cast<char>(e - '0');  // fastjson's \0 .. \7
          else
            out += e;
      }
    }
    failed_ = true;
    return {};
  }
  std::uint32_t hex(std::size_t digits) {
    std::uint32_t code = 0;
    const std::string_view text = text_.substr(std::min(at_, text_.size()), digits);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), code, 16);
    if (text.size() != digits || error != std::errc{} || end != text.data() + digits)
      failed_ = true;
    at_ = std::min(at_ + digits, text_.size());
    return code;
  }
  void hexadecimal(std::string& out) { append_utf8(out, hex(2)); }
  void unicode(std::string& out) {
    std::uint32_t code = hex(4);
    if (code >= 0xD800 && code < 0xDC00 && text_.substr(at_, 2) == "\\u") {
      at_ += 2;
      const std::uint32_t low = hex(4);
      if (low >= 0xDC00 && low < 0xE000) code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    append_utf8(out, code);
  }

  std::string_view text_;
  std::size_t at_ = 0;
  bool failed_ = false;
  std::deque<std::string>& unescaped_;
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
    if (in.peek() == '{' || in.peek() == '[') {
      in.skip_value();
      continue;
    }
    const auto value = in.scalar();
    if (in.failed()) return false;
    if (value) ext.push_back({name, *value});
  } while (in.take(','));
  return in.expect('}');
}

Result<Ok> decode_json(std::string_view text, CommandView& command, std::vector<ExtField>& ext,
                       std::deque<std::string>& unescaped) {
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

Result<Ok> decode_binary(Bytes header, CommandView& command, std::vector<ExtField>& ext) {
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

void append_json_string(Buffer& out, std::string_view text) {
  out += '"';
  std::size_t plain = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text, plain, i - plain);
    plain = i + 1;
    out += '\\';
    switch (c) {
      case '"':
      case '\\':
        out += static_cast<char>(c);
        break;
      case '\n':
        out += 'n';
        break;
      case '\r':
        out += 'r';
        break;
      case '\t':
        out += 't';
        break;
      case '\b':
        out += 'b';
        break;
      case '\f':
        out += 'f';
        break;
      default: {
        constexpr char kDigits[] = "0123456789abcdef";
        out += {'u', '0', '0', kDigits[c >> 4], kDigits[c & 15]};
      }
    }
  }
  out.append(text, plain, text.size() - plain);
  out += '"';
}

template <class Int>
void append_number(Buffer& out, Int value) {
  char text[24];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  out.append(text, static_cast<std::size_t>(end - text));
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
  ext_.clear();
  unescaped_.clear();
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

CommandWriter::CommandWriter(Buffer& out, const CommandHead& head)
    : out_{out}, head_{head}, start_{out.size()} {
  if (head_.version == 0) head_.version = kProtocolVersion;
  out_.append(8, '\0');  // both length words
  if (head_.serialization == Serialization::kBinary) {
    append_big<std::int16_t>(out_, static_cast<std::int16_t>(head_.code));
    append_big<std::uint8_t>(out_, static_cast<std::uint8_t>(head_.language));
    append_big<std::int16_t>(out_, static_cast<std::int16_t>(head_.version));
    append_big<std::int32_t>(out_, head_.opaque);
    append_big<std::int32_t>(out_, head_.flag);
    const std::string_view remark = head_.remark.value_or(std::string_view{});
    append_big<std::int32_t>(out_, static_cast<std::int32_t>(remark.size()));
    out_ += remark;
    ext_length_at_ = out_.size();
    append_big<std::int32_t>(out_, 0);
    return;
  }
  out_ += "{\"code\":";
  append_number(out_, head_.code);
  out_ += ",\"extFields\":{";
}

void CommandWriter::field(std::string_view name, std::string_view text) {
  if (head_.serialization == Serialization::kBinary) {
    append_big<std::int16_t>(out_, static_cast<std::int16_t>(name.size()));
    out_ += name;
    append_big<std::int32_t>(out_, static_cast<std::int32_t>(text.size()));
    out_ += text;
    return;
  }
  if (any_field_) out_ += ',';
  any_field_ = true;
  append_json_string(out_, name);
  out_ += ':';
  append_json_string(out_, text);
}

void CommandWriter::finish(std::size_t body_size) {
  if (head_.serialization == Serialization::kBinary) {
    patch_big<std::int32_t>(out_, ext_length_at_,
                            static_cast<std::int32_t>(out_.size() - ext_length_at_ - 4));
  } else {
    out_ += "},\"flag\":";
    append_number(out_, head_.flag);
    out_ += ",\"language\":\"";
    out_ += name_of(head_.language);
    out_ += "\",\"opaque\":";
    append_number(out_, head_.opaque);
    if (head_.remark) {
      out_ += ",\"remark\":";
      append_json_string(out_, *head_.remark);
    }
    out_ += ",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":";
    append_number(out_, head_.version);
    out_ += '}';
  }
  const std::size_t header = out_.size() - start_ - 8;
  patch_big<std::uint32_t>(out_, start_, static_cast<std::uint32_t>(4 + header + body_size));
  patch_big<std::uint32_t>(
      out_, start_ + 4,
      static_cast<std::uint32_t>(static_cast<std::uint32_t>(head_.serialization) << 24 | header));
}

}  // namespace apogee::protocol
