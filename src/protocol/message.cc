#include "protocol/message.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>

#include <arpa/inet.h>

#include "base/crc.h"

namespace apogee::protocol {
namespace {

/// Bytes of a record that do not depend on host sizes, topic, body and properties, V1.
constexpr std::size_t kFixedBytes = 4 + 4 + 4 + 4 + 4 + 8 + 8 + 4 + 8 + 8 + 4 + 8 + 4 + 1 + 2;

class Reader {
 public:
  explicit Reader(Bytes in) : in_{in} {}
  template <class Int>
  Int number() {
    if (in_.size() - at_ < sizeof(Int)) {
      failed_ = true;
      return 0;
    }
    const Int value = read_big<Int>(in_, at_);
    at_ += sizeof(Int);
    return value;
  }
  Bytes bytes(std::int64_t length) {
    if (length < 0 || static_cast<std::uint64_t>(length) > in_.size() - at_) {
      failed_ = true;
      return {};
    }
    const Bytes value = in_.subspan(at_, static_cast<std::size_t>(length));
    at_ += static_cast<std::size_t>(length);
    return value;
  }
  bool failed() const { return failed_; }
  std::size_t at() const { return at_; }

 private:
  Bytes in_;
  std::size_t at_ = 0;
  bool failed_ = false;
};

/// Everything behind size and magic, which the caller has read. The bytes it takes; 0: the record
/// is too short for what it says. What stands ahead of the body is checked once for all of it.
std::size_t read_fields(Bytes record, Message& message) {
  if (record.size() < record_at::kBornHost) return 0;
  message.sys_flag = read_big<std::int32_t>(record, record_at::kSysFlag);
  const std::size_t born = (message.sys_flag & sys_flag::kBornHostV6) != 0 ? 16 : 4;
  const std::size_t store = (message.sys_flag & sys_flag::kStoreHostV6) != 0 ? 16 : 4;
  if (record.size() < kFixedBytes + born + 4 + store + 4) return 0;
  message.body_crc = read_big<std::int32_t>(record, record_at::kBodyCrc);
  message.queue_id = read_big<std::int32_t>(record, record_at::kQueueId);
  message.flag = read_big<std::int32_t>(record, record_at::kFlag);
  message.queue_offset = read_big<std::int64_t>(record, record_at::kQueueOffset);
  message.physical_offset = read_big<std::int64_t>(record, record_at::kPhysicalOffset);
  message.born_timestamp = read_big<std::int64_t>(record, record_at::kBornTimestamp);
  std::size_t at = record_at::kBornHost;
  const auto take = [&]<class Int>(Int& number) {
    number = read_big<Int>(record, at);
    at += sizeof number;
  };
  const auto take_bytes = [&](std::size_t length) {
    at += length;
    return record.subspan(at - length, length);
  };
  message.born_host = take_bytes(born);
  take(message.born_port);
  take(message.store_timestamp);
  message.store_host = take_bytes(store);
  take(message.store_port);
  take(message.reconsume_times);
  take(message.prepared_transaction_offset);
  Reader in{record.subspan(at)};
  message.body = in.bytes(in.number<std::int32_t>());
  message.topic = as_text(
      in.bytes(message.magic == kMagicV2 ? in.number<std::int16_t>() : in.number<std::int8_t>()));
  message.properties = as_text(in.bytes(in.number<std::int16_t>()));
  return in.failed() ? 0 : at + in.at();
}

char hex_digit(unsigned value) {
  return "0123456789ABCDEF"[value & 15];
}
int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}
char* write_hex(char* at, Bytes bytes) {
  for (const std::byte byte : bytes) {
    *at++ = hex_digit(std::to_integer<unsigned>(byte) >> 4);
    *at++ = hex_digit(std::to_integer<unsigned>(byte));
  }
  return at;
}

}  // namespace

Host host_from(std::string_view numeric_address, std::int32_t port) {
  const std::string text{numeric_address};
  char raw[16];
  if (::inet_pton(AF_INET, text.c_str(), raw) == 1) return {std::string(raw, 4), port};
  if (::inet_pton(AF_INET6, text.c_str(), raw) == 1) {
    // A v4 address that came over a v6 socket is a v4 address.
    static constexpr char kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '\xff', '\xff'};
    if (std::memcmp(raw, kMapped, sizeof kMapped) == 0) return {std::string(raw + 12, 4), port};
    return {std::string(raw, 16), port};
  }
  return {std::string(4, '\0'), port};
}

std::string to_string(const Host& host) {
  char text[INET6_ADDRSTRLEN] = "";
  ::inet_ntop(host.is_v6() ? AF_INET6 : AF_INET, host.address.data(), text, sizeof text);
  return (host.is_v6() ? "[" + std::string{text} + "]" : std::string{text}) + ":" +
         std::to_string(host.port);
}

std::optional<std::string_view> Message::property(std::string_view name) const {
  return find_property(properties, name);
}

Result<Ok> encode_message(Buffer& out, const Message& message) {
  if (message.properties.size() > kPropertiesBytesMax) {
    return Error{Errc::kInvalidArgument,
                 "the properties take " + std::to_string(message.properties.size()) +
                     " bytes, more than " + std::to_string(kPropertiesBytesMax)};
  }
  const bool v2 = message.topic.size() > kTopicBytesMaxV1;
  if (message.topic.size() > 255)
    return Error{Errc::kInvalidArgument, "the topic takes " + std::to_string(message.topic.size()) +
                                             " bytes, more than 255"};
  std::int32_t flags = message.sys_flag & ~(sys_flag::kBornHostV6 | sys_flag::kStoreHostV6);
  if (message.born_host.size() == 16) flags |= sys_flag::kBornHostV6;
  if (message.store_host.size() == 16) flags |= sys_flag::kStoreHostV6;
  const std::size_t size = kFixedBytes + (v2 ? 1 : 0) + message.born_host.size() + 4 +
                           message.store_host.size() + 4 + message.body.size() +
                           message.topic.size() + message.properties.size();
  // All ahead of the body, whose length is known: appended at once.
  std::array<std::byte, kFixedBytes + std::size_t{2} * (16 + 4)> head;
  std::size_t at = 0;
  const auto put = [&](auto number) {
    write_big(head, at, number);
    at += sizeof number;
  };
  const auto put_host = [&](Bytes address, std::int32_t port) {
    assert(address.size() <= 16);
    std::ranges::copy(address, head.data() + at);
    at += address.size();
    put(port);
  };
  put(static_cast<std::int32_t>(size));
  put(v2 ? kMagicV2 : kMagicV1);
  put(message.body.empty() ? 0 : crc32_positive(message.body));
  put(message.queue_id);
  put(message.flag);
  put(message.queue_offset);
  put(message.physical_offset);
  put(flags);
  put(message.born_timestamp);
  put_host(message.born_host, message.born_port);
  put(message.store_timestamp);
  put_host(message.store_host, message.store_port);
  put(message.reconsume_times);
  put(message.prepared_transaction_offset);
  put(static_cast<std::int32_t>(message.body.size()));
  out.reserve(out.size() + size);
  append(out, Bytes{head}.first(at));
  append(out, message.body);
  if (v2)
    append_big<std::int16_t>(out, static_cast<std::int16_t>(message.topic.size()));
  else
    append_big<std::int8_t>(out, static_cast<std::int8_t>(message.topic.size()));
  out += message.topic;
  append_big<std::int16_t>(out, static_cast<std::int16_t>(message.properties.size()));
  out += message.properties;
  return Ok{};
}

Result<Message> decode_message(Bytes in) {
  RecordCheck check = check_record(in, false);
  if (check.kind != RecordKind::kRecord) return Error{Errc::kMalformed, "not a message record"};
  return check.message;
}

bool body_crc_matches(const Message& message) {
  return message.body.empty() || crc32_positive(message.body) == message.body_crc;
}

RecordCheck check_record(Bytes in, bool check_crc) {
  RecordCheck check;
  if (in.size() < kBlankRecordBytes) return check;
  const auto size = read_big<std::int32_t>(in, record_at::kSize);
  const auto magic = read_big<std::int32_t>(in, record_at::kMagic);
  if (magic == kMagicBlank) {
    check.kind = RecordKind::kBlank;
    check.size = size;
    return check;
  }
  if ((magic != kMagicV1 && magic != kMagicV2) || size <= 0 ||
      static_cast<std::size_t>(size) > in.size())
    return check;
  check.message.size = size;
  check.message.magic = magic;
  const std::size_t read = read_fields(in.first(static_cast<std::size_t>(size)), check.message);
  if (read == 0) return check;
  if (check_crc && !body_crc_matches(check.message)) return check;
  check.size = size;
  if (read != static_cast<std::size_t>(size)) return check;
  check.kind = RecordKind::kRecord;
  return check;
}

bool has_key(const Message& message, std::string_view key) {
  bool found = message.property(property::kUniqueKey) == key;
  for_each_key(message.property(property::kKeys).value_or(""),
               [&](std::string_view each) { found = found || each == key; });
  return found;
}

std::optional<std::string_view> find_property(std::string_view text, std::string_view name) {
  std::optional<std::string_view> found;
  for_each_property(text, [&](std::string_view key, std::string_view value) {
    if (key == name) found = value;
  });
  return found;
}

void append_properties(
    Buffer& out, std::initializer_list<std::pair<std::string_view, std::string_view>> properties) {
  const std::size_t begin = out.size();
  std::size_t size = 0;
  for (const auto& [name, value] : properties) size += name.size() + value.size() + 2;
  out.resize(begin + size);
  char* at = out.data() + begin;
  for (const auto& [name, value] : properties) {
    at = copy_text(at, name);
    *at++ = '\x01';
    at = copy_text(at, value);
    *at++ = '\x02';
  }
}

std::int32_t java_hash(std::string_view utf8, std::int32_t of_what_is_ahead) {
  auto hash = static_cast<std::uint32_t>(of_what_is_ahead);
  std::size_t i = 0;
  const auto byte = [&](std::size_t at) {
    return std::uint32_t{static_cast<unsigned char>(utf8[at])};
  };
  while (i < utf8.size()) {
    // Topics, tags and keys are nearly always ASCII: eight at a time, all eight in one word, first
    // as four sums of two characters, then as two of four. No sum leaves its part of the word.
    for (std::uint64_t word; i + sizeof word <= utf8.size(); i += sizeof word) {
      std::memcpy(&word, utf8.data() + i, sizeof word);
      if ((word & 0x8080'8080'8080'8080) != 0) break;
      constexpr std::uint64_t kBytes = 0x00FF'00FF'00FF'00FF, kPairs = 0x0000'FFFF'0000'FFFF;
      const std::uint64_t twos = (word & kBytes) * 31 + (word >> 8 & kBytes);
      constexpr std::uint64_t kTwo = std::uint64_t{31} * 31;
      const std::uint64_t fours = (twos & kPairs) * kTwo + (twos >> 16 & kPairs);
      constexpr std::uint32_t kFour = 31U * 31 * 31 * 31;
      hash = (hash * kFour + static_cast<std::uint32_t>(fours)) * kFour +
             static_cast<std::uint32_t>(fours >> 32);
    }
    while (i < utf8.size() && byte(i) < 0x80) hash = hash * 31 + byte(i++);
    if (i == utf8.size()) break;
    const std::uint32_t lead = byte(i);
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    std::uint32_t code = length == 1 ? lead : lead & (0xFFU >> (length + 1));
    for (std::size_t k = 1; k < length && i + k < utf8.size(); ++k)
      code = code << 6 | (byte(i + k) & 0x3F);
    i += length;
    if (code < 0x10000) {
      hash = 31 * hash + code;
    } else {
      hash = 31 * hash + (0xD800 + ((code - 0x10000) >> 10));
      hash = 31 * hash + (0xDC00 + ((code - 0x10000) & 0x3FF));
    }
  }
  return static_cast<std::int32_t>(hash);
}

std::int64_t tags_code(std::optional<std::string_view> tags) {
  return tags && !tags->empty() ? java_hash(*tags) : 0;
}

Result<std::vector<BatchMember>> split_batch(Bytes body) {
  std::vector<BatchMember> members;
  while (!body.empty()) {
    Reader in{body};
    const auto size = in.number<std::int32_t>();
    in.number<std::int32_t>();  // magic and CRC: the client writes 0
    in.number<std::int32_t>();
    BatchMember member;
    member.flag = in.number<std::int32_t>();
    member.body = in.bytes(in.number<std::int32_t>());
    member.properties = as_text(in.bytes(in.number<std::int16_t>()));
    if (in.failed() || size <= 0 || in.at() != static_cast<std::size_t>(size))
      return Error{Errc::kMalformed,
                   "member " + std::to_string(members.size()) + " of the batch is malformed"};
    members.push_back(member);
    body = body.subspan(in.at());
  }
  if (members.empty()) return Error{Errc::kMalformed, "the batch is empty"};
  return members;
}

void append_batch_member(Buffer& out, const BatchMember& member) {
  append_big<std::int32_t>(
      out, static_cast<std::int32_t>(22 + member.body.size() + member.properties.size()));
  append_big<std::int32_t>(out, 0);
  append_big<std::int32_t>(out, 0);
  append_big<std::int32_t>(out, member.flag);
  append_big<std::int32_t>(out, static_cast<std::int32_t>(member.body.size()));
  append(out, member.body);
  append_big<std::int16_t>(out, static_cast<std::int16_t>(member.properties.size()));
  out += member.properties;
}

void append_offset_message_id(std::string& out, Bytes host, std::int32_t port,
                              std::int64_t physical_offset) {
  std::array<std::byte, 12> rest;
  write_big(rest, 0, port);
  write_big(rest, 4, physical_offset);
  const std::size_t begin = out.size();
  out.resize(begin + 2 * (host.size() + rest.size()));
  write_hex(write_hex(out.data() + begin, host), rest);
}

std::string offset_message_id(Bytes host, std::int32_t port, std::int64_t physical_offset) {
  std::string id;
  append_offset_message_id(id, host, port, physical_offset);
  return id;
}

Result<OffsetMessageId> parse_offset_message_id(std::string_view id) {
  if (id.size() != 32 && id.size() != 56)
    return Error{
        Errc::kMalformed,
        "'" + std::string{id} + "' is not an offset message id: 32 or 56 hexadecimal digits"};
  std::string raw;
  for (std::size_t i = 0; i < id.size(); i += 2) {
    const int high = hex_value(id[i]), low = hex_value(id[i + 1]);
    if (high < 0 || low < 0)
      return Error{Errc::kMalformed,
                   "'" + std::string{id} + "' is not an offset message id: not hexadecimal"};
    raw += static_cast<char>(high << 4 | low);
  }
  const std::size_t address = raw.size() - 12;
  return OffsetMessageId{{raw.substr(0, address), read_big<std::int32_t>(as_bytes(raw), address)},
                         read_big<std::int64_t>(as_bytes(raw), address + 4)};
}

}  // namespace apogee::protocol
