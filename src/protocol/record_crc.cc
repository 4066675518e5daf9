#include "protocol/record_crc.h"

#include <algorithm>

#include "base/crc.h"
#include "protocol/message.h"

namespace apogee::protocol {
namespace {

constexpr std::size_t kDigits = 10;
constexpr std::size_t kPropertyBytes = property::kCrc32.size() + 1 + kDigits + 1;

bool is_digit_of_crc(std::size_t at) {
  return at > property::kCrc32.size() && at + 1 < kPropertyBytes;
}

/// The property of a record: its lowest digit stands first (MessageDecoder.createCrc32).
Buffer crc_property(std::int32_t crc) {
  Buffer digits;
  for (std::size_t i = 0; i < kDigits; ++i, crc /= 10) digits += static_cast<char>('0' + crc % 10);
  Buffer text;
  append_property(text, property::kCrc32, digits);
  return text;
}

}  // namespace

Result<Ok> append_with_crc_room(Buffer& out, Bytes record) {
  auto message = decode_message(record);
  if (!message) return message.error();
  Buffer properties{message->properties};
  if (message->property(property::kCrc32)) {
    properties.clear();
    for_each_property(message->properties, [&](std::string_view name, std::string_view value) {
      if (name != property::kCrc32) append_property(properties, name, value);
    });
  }
  if (!properties.empty() && properties.back() != '\x02') properties += '\x02';
  properties += crc_property(0);
  message->properties = properties;
  return encode_message(out, *message);
}

void fill_in_record_crc(MutableBytes record) {
  const std::size_t end = record.size() - kPropertyBytes;
  const Buffer text = crc_property(crc32_positive(record.first(end)));
  std::ranges::copy(as_bytes(text), record.subspan(end).begin());
}

std::optional<bool> record_crc_matches(Bytes record) {
  if (record.size() < kPropertyBytes) return std::nullopt;
  const std::size_t end = record.size() - kPropertyBytes;
  const std::string_view text = as_text(record.subspan(end));
  const Buffer right = crc_property(crc32_positive(record.first(end)));
  // One flipped bit in the property's name must not hide it.
  std::size_t alike = 0;
  for (std::size_t i = 0; i < kPropertyBytes; ++i)
    alike += is_digit_of_crc(i) ? 0 : text[i] == right[i];
  if (alike + 1 < kPropertyBytes - kDigits) return std::nullopt;
  return text == right;
}

}  // namespace apogee::protocol
