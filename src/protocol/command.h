#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apogee/result.h"
#include "base/bytes.h"
#include "protocol/field.h"

/// RemotingCommand: frame and header, both encodings (JSON as fastjson writes it, ROCKETMQ binary).
/// Pure functions over bytes: no socket, no state but scratch memory.
namespace apogee::protocol {

/// Decoder maximum of Java's clients and servers, length word included
/// (com.rocketmq.remoting.frameMaxLength).
inline constexpr std::uint32_t kMaxFrameBytes = 16'777'216;

enum class Serialization : std::uint8_t { kJson = 0, kBinary = 1 };

/// LanguageCode; values are on the wire.
enum class Language : std::uint8_t {
  kJava = 0,
  kCpp = 1,
  kDotnet = 2,
  kPython = 3,
  kDelphi = 4,
  kErlang = 5,
  kRuby = 6,
  kOther = 7,
  kHttp = 8,
  kGo = 9,
  kPhp = 10,
  kOms = 11,
  kRust = 12,
  kNodeJs = 13
};
std::string_view name_of(Language language);
std::optional<Language> language_from(std::string_view name);

inline constexpr std::int32_t kResponseFlag = 1;
inline constexpr std::int32_t kOnewayFlag = 2;

/// u32 length | u8 serialization, u24 header length | header | body. Big-endian; length excludes
/// itself.
struct Frame {
  std::uint8_t serialization;
  Bytes header, body;  ///< Alias the decoder's input.
  std::size_t size;    ///< Bytes to drop from the input once the frame is handled.
};
/// nullopt: more bytes needed. kMalformed: not RocketMQ, hang up. Checks limits before the rest of
/// a frame is buffered.
Result<std::optional<Frame>> decode_frame(Bytes in, std::uint32_t max_frame_bytes = kMaxFrameBytes);

struct ExtField {
  std::string_view name, value;
};

/// A decoded command; every view aliases the frame or the decoder's scratch and dies with the next
/// decode.
struct CommandView {
  std::int32_t code = 0;
  Language language = Language::kJava;
  std::int32_t version = 0;
  std::int32_t opaque = 0;
  std::int32_t flag = 0;
  Serialization serialization = Serialization::kJson;
  std::optional<std::string_view> remark;
  std::span<const ExtField> ext;
  Bytes body;

  bool is_response() const { return (flag & kResponseFlag) != 0; }
  bool is_oneway() const { return (flag & kOnewayFlag) != 0; }
  std::optional<std::string_view> find(std::string_view name) const {
    for (const ExtField& field : ext)
      if (field.name == name) return field.value;
    return std::nullopt;
  }
};

/// The typed header of a command. kMalformed names the missing or bad field.
template <class Header>
Result<Header> read_header(const CommandView& command) {
  // Fields mostly come in the order they are declared in: the search for each begins behind the one
  // found last, and usually ends there.
  std::size_t next = 0;
  return read_fields<Header>([&](std::string_view name) -> std::optional<std::string_view> {
    const std::size_t count = command.ext.size();
    for (std::size_t tried = 0, at = next; tried < count; ++tried, ++at) {
      if (at >= count) at = 0;
      const std::string_view given = command.ext[at].name;
      if (given.size() != name.size() || given.front() != name.front()) continue;
      // The hot headers' names have one letter: no call to compare them.
      if (name.size() > 1 && given != name) continue;
      next = at + 1;
      return command.ext[at].value;
    }
    return std::nullopt;
  });
}

/// Decodes headers. Keeps its scratch memory between calls, so that a steady connection does not
/// allocate. Lenient as the Java decoder: extFields values that are numbers or booleans become
/// text, unknown keys are ignored, `language` may be a number. Truncated int16 codes of the binary
/// header (3442..3448, 3543) come back as their real codes (200050.., 200151).
class CommandDecoder {
 public:
  Result<CommandView> decode(const Frame& frame);

 private:
  std::vector<ExtField> ext_;
  std::string unescaped_;  ///< Texts that could not alias the frame, one behind the other.
};

/// What every command carries besides its typed header.
struct CommandHead {
  std::int32_t code = 0;
  std::int32_t opaque = 0;
  std::int32_t flag = 0;
  std::optional<std::string_view> remark;
  Serialization serialization = Serialization::kJson;
  Language language = Language::kCpp;
  std::int32_t version = 0;  ///< 0: this build's protocol version (kProtocolVersion).
};

/// MQVersion ordinal we answer with: V5_5_0. Clients keep it as the broker's version.
inline constexpr std::int32_t kProtocolVersion = 513;

/// Writes one frame field by field: constructor .. field()* or fields() .. finish(). Appends to
/// `out`, which is the writer's until finish(); nothing is written before `out`'s end.
class CommandWriter {
 public:
  CommandWriter(Buffer& out, const CommandHead& head);
  void field(std::string_view name, std::string_view value);
  /// All of a header's.
  template <class Header>
  void fields(const Header& header) {
    if (head_.serialization == Serialization::kBinary) return binary_fields(header);
    write_fields(header, [&](std::string_view name, std::string_view text) { field(name, text); });
  }
  /// Completes header and lengths for a body of `body_size` bytes, which the caller appends (or
  /// sends) next.
  void finish(std::size_t body_size);

 private:
  static constexpr std::size_t kLengthBytes = 8;                   // both length words
  static constexpr std::size_t kNameLength = 2, kValueLength = 4;  // of a binary field
  char* room(std::size_t bytes);
  /// The hottest of all: one look for room, and names the compiler knows.
  template <class Header>
  void binary_fields(const Header& header) {
    std::size_t bound = 0;
    visit_fields(header, [&](std::string_view name, const auto& value) {
      bound += kNameLength + name.size() + kValueLength + text_bound(value);
    });
    char* at = room(bound);
    write_fields(header, [&](std::string_view name, std::string_view text) {
      at = binary_field(at, name, text);
    });
    end_ = static_cast<std::size_t>(at - out_.data());
  }
  // `at` has room; its end.
  template <class Int>
  static char* number(char* at, Int value) {
    value = swap_to_big(value);
    std::memcpy(at, &value, sizeof value);
    return at + sizeof value;
  }
  static char* binary_field(char* at, std::string_view name, std::string_view value) {
    at = number(at, static_cast<std::int16_t>(name.size()));
    at = copy_text(at, name);
    at = number(at, static_cast<std::int32_t>(value.size()));
    return copy_text(at, value);
  }
  void text(std::string_view text);
  void decimal(std::int32_t value);
  void json_string(std::string_view text);

  Buffer& out_;
  CommandHead head_;
  std::size_t start_, end_;
  std::size_t ext_length_at_ = 0;
  bool any_field_ = false;
};

/// Appends a whole frame without its body; send `body_size` bytes after it.
template <class Header>
void encode_head(Buffer& out, const CommandHead& head, const Header& header,
                 std::size_t body_size) {
  CommandWriter writer{out, head};
  writer.fields(header);
  writer.finish(body_size);
}
/// Appends a whole frame.
template <class Header>
void encode_command(Buffer& out, const CommandHead& head, const Header& header, Bytes body = {}) {
  encode_head(out, head, header, body.size());
  append(out, body);
}

}  // namespace apogee::protocol
