#include "protocol/pop.h"

#include <algorithm>
#include <array>
#include <limits>

#include <fmt/core.h>

#include "protocol/names.h"

namespace apogee::protocol {
namespace {

constexpr char kSeparatorV1 = '_', kSeparatorV2 = '+';
/// Beyond any queue and any time; sums of two are in bounds.
constexpr std::int64_t kOffsetMax = std::numeric_limits<std::int64_t>::max() / 4;

std::string retry_prefix(std::string_view group, char separator) {
  return retry_topic(group) + separator;
}

void begin_entry(std::string& text, std::string_view topic) {
  if (!text.empty()) text += ';';
  text += retry_kind(topic);
  text += ' ';
}

/// Names of RocketMQ before 5.1.1.
struct LongAck : Ack {
  using Self = Ack;
  static constexpr auto kFields =
      MemberList{Field{"ackOffset", &Self::offset},         Field{"ackOffsetList", &Self::offsets},
                 Field{"brokerName", &Self::broker_name},   Field{"consumerGroup", &Self::group},
                 Field{"popTime", &Self::pop_time},         Field{"queueId", &Self::queue_id},
                 Field{"startOffset", &Self::start_offset}, Field{"topic", &Self::topic}};
};

struct EntryOnWire {
  Json bits;
  std::string group, kind = "0", topic;
  std::int64_t invisible_ms = 0, pop_time = 0, start_offset = 0;
  std::int32_t queue_id = 0, revive_queue = 0;
  using Self = EntryOnWire;
  static constexpr auto kFields =
      MemberList{Field{"b", &Self::bits},          Field{"bitSet", &Self::bits},
                 Field{"c", &Self::group},         Field{"consumerGroup", &Self::group},
                 Field{"it", &Self::invisible_ms}, Field{"invisibleTime", &Self::invisible_ms},
                 Field{"pt", &Self::pop_time},     Field{"popTime", &Self::pop_time},
                 Field{"q", &Self::queue_id},      Field{"queueId", &Self::queue_id},
                 Field{"r", &Self::kind},          Field{"retry", &Self::kind},
                 Field{"rq", &Self::revive_queue}, Field{"reviveQueueId", &Self::revive_queue},
                 Field{"so", &Self::start_offset}, Field{"startOffset", &Self::start_offset},
                 Field{"t", &Self::topic},         Field{"topic", &Self::topic}};
};
struct BodyOnWire {
  std::vector<EntryOnWire> acks;
  std::string broker_name;
  using Self = BodyOnWire;
  static constexpr auto kFields =
      MemberList{Field{"acks", &Self::acks}, Field{"brokerName", &Self::broker_name}};
};

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+' || c == '-') return 62;
  if (c == '/' || c == '_') return 63;
  return -1;
}

/// The bytes of java.util.BitSet.toByteArray(): base64 text (fastjson), or a list of numbers
/// (fastjson2 and other clients).
std::vector<std::uint8_t> bytes_of(const Json& bits) {
  std::vector<std::uint8_t> bytes;
  if (const Json::Array* numbers = bits.array()) {
    for (const Json& each : *numbers) {
      const auto* number = std::get_if<std::int64_t>(&each.value());
      bytes.push_back(number ? static_cast<std::uint8_t>(*number) : 0);
    }
  } else if (const std::string* text = bits.text()) {
    std::uint32_t held = 0;
    int count = 0;
    for (const char c : *text) {
      const int digit = base64_digit(c);
      if (digit < 0) break;
      held = held << 6 | static_cast<std::uint32_t>(digit);
      count += 6;
      if (count < 8) continue;
      count -= 8;
      bytes.push_back(static_cast<std::uint8_t>(held >> count));
    }
  }
  return bytes;
}

std::vector<std::int64_t> offsets_of(const EntryOnWire& entry) {
  std::vector<std::int64_t> offsets;
  if (entry.start_offset < 0 || entry.start_offset > kOffsetMax) return offsets;
  const auto bytes = bytes_of(entry.bits);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (std::size_t bit = 0; bit < 8; ++bit) {
      if ((bytes[i] >> bit & 1) == 0) continue;
      if (offsets.size() == static_cast<std::size_t>(kPopMessagesMax)) return offsets;
      offsets.push_back(entry.start_offset + static_cast<std::int64_t>(i * 8 + bit));
    }
  }
  return offsets;
}

/// Parts between single spaces; at most as many as `Parts` holds.
template <std::size_t N>
std::size_t split(std::string_view text, std::array<std::string_view, N>& parts) {
  std::size_t count = 0;
  while (count < N) {
    const std::size_t end = text.find(' ');
    parts[count++] = text.substr(0, end);
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return count;
}

}  // namespace

std::string pop_retry_topic_v1(std::string_view group, std::string_view topic) {
  return retry_prefix(group, kSeparatorV1).append(topic);
}
std::string pop_retry_topic_v2(std::string_view group, std::string_view topic) {
  return retry_prefix(group, kSeparatorV2).append(topic);
}

std::string_view normal_topic(std::string_view topic, std::string_view group) {
  for (const char separator : {kSeparatorV2, kSeparatorV1}) {
    const std::string prefix = retry_prefix(group, separator);
    if (topic.starts_with(prefix)) return topic.substr(prefix.size());
  }
  return topic;
}

char retry_kind(std::string_view topic) {
  if (!is_retry_topic(topic)) return '0';
  return topic.find(kSeparatorV2) == std::string_view::npos ? '1' : '2';
}

std::optional<std::string> topic_of_kind(std::string_view topic, std::string_view group,
                                         std::string_view kind) {
  if (kind == "0") return std::string{topic};
  if (kind == "1") return pop_retry_topic_v1(group, topic);
  if (kind == "2") return pop_retry_topic_v2(group, topic);
  return std::nullopt;
}

std::string to_text(const ReceiptHandle& handle) {
  std::string text;
  const auto add = [&](const auto& part) {
    with_text(part, [&](std::string_view piece) { text += piece; });
    text += ' ';
  };
  add(handle.start_offset), add(handle.pop_time), add(handle.invisible_ms);
  add(handle.revive_queue), add(std::string_view{&handle.kind, 1}), add(handle.broker_name);
  add(handle.queue_id), add(handle.queue_offset);
  text.pop_back();
  return text;
}

Result<ReceiptHandle> parse_handle(std::string_view text) {
  std::array<std::string_view, 8> parts;
  const std::size_t count = split(text, parts);
  ReceiptHandle handle;
  const bool good = count >= 6 && from_text(parts[0], handle.start_offset) &&
                    from_text(parts[1], handle.pop_time) &&
                    from_text(parts[2], handle.invisible_ms) &&
                    from_text(parts[3], handle.revive_queue) && parts[4].size() == 1 &&
                    (count < 7 || from_text(parts[6], handle.queue_id)) &&
                    (count < 8 || from_text(parts[7], handle.queue_offset));
  if (!good)
    return Error{Errc::kMalformed,
                 "not a receipt handle: '" + std::string{text.substr(0, 100)} + "'"};
  handle.kind = parts[4].front();
  const auto plausible = [](std::int64_t number) { return number >= 0 && number <= kOffsetMax; };
  if (!plausible(handle.start_offset) || !plausible(handle.pop_time))
    return Error{Errc::kMalformed, "a receipt handle out of bounds"};
  handle.invisible_ms = std::clamp(handle.invisible_ms, -kOffsetMax, kOffsetMax);
  handle.broker_name = parts[5];
  return handle;
}

void add_start_offset(std::string& text, std::string_view topic, std::int32_t queue_id,
                      std::int64_t offset) {
  begin_entry(text, topic);
  text += std::to_string(queue_id) + ' ' + std::to_string(offset);
}

void add_message_offsets(std::string& text, std::string_view topic, std::int32_t queue_id,
                         const std::vector<std::int64_t>& offsets) {
  begin_entry(text, topic);
  text += std::to_string(queue_id) + ' ';
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    if (i > 0) text += ',';
    text += std::to_string(offsets[i]);
  }
}

void add_queue_order_count(std::string& text, std::string_view topic, std::int32_t queue_id,
                           std::int32_t count) {
  begin_entry(text, topic);
  text += std::to_string(queue_id) + ' ' + std::to_string(count);
}

void add_message_order_count(std::string& text, std::string_view topic, std::int32_t queue_id,
                             std::int64_t offset, std::int32_t count) {
  begin_entry(text, topic);
  text +=
      "qo" + std::to_string(queue_id) + '%' + std::to_string(offset) + ' ' + std::to_string(count);
}

std::int64_t visible_again(std::int64_t pop_time, std::int64_t invisible_ms) {
  return std::clamp(pop_time, -kOffsetMax, kOffsetMax) +
         std::clamp(invisible_ms, -kOffsetMax, kOffsetMax);
}

std::int64_t CheckPoint::due() const {
  return visible_again(pop_time, invisible_ms);
}

std::int64_t CheckPoint::offset_of(std::int32_t index) const {
  const std::int64_t difference =
      differences.empty() ? index : differences[static_cast<std::size_t>(index)];
  return start_offset + difference;
}

std::optional<std::int32_t> CheckPoint::index_of(std::int64_t offset) const {
  for (std::int32_t i = 0; i < count; ++i)
    if (offset_of(i) == offset) return i;
  return std::nullopt;
}

Result<CheckPoint> parse_check_point(std::string_view json) {
  auto point = decode_body<CheckPoint>(as_bytes(json));
  if (!point) return point;
  const bool good = !point->topic.empty() && !point->group.empty() && point->count >= 0 &&
                    point->count <= kPopMessagesMax && point->start_offset >= 0 &&
                    point->queue_id >= 0 && point->start_offset <= kOffsetMax &&
                    (point->differences.empty() ||
                     point->differences.size() == static_cast<std::size_t>(point->count));
  if (!good) return Error{Errc::kMalformed, "a check point that fits no messages"};
  return point;
}

Result<Ack> parse_ack(std::string_view json) {
  auto ack = decode_body<Ack>(as_bytes(json));
  if (!ack || !ack->topic.empty()) return ack;
  auto older = decode_body<LongAck>(as_bytes(json));
  if (!older) return older.error();
  return Ack{*std::move(older)};
}

std::string merge_key(const CheckPoint& point) {
  return fmt::format("{}@{}@{}@{}@{}@{}", point.topic, point.group, point.queue_id,
                     point.start_offset, point.pop_time, point.broker_name);
}
std::string merge_key(const Ack& ack) {
  return fmt::format("{}@{}@{}@{}@{}@{}", ack.topic, ack.group, ack.queue_id, ack.start_offset,
                     ack.pop_time, ack.broker_name);
}
std::string unique_key(const CheckPoint& point) {
  return fmt::format("{}@{}@{}@{}@{}@{}@ck", point.topic, point.queue_id, point.start_offset,
                     point.group, point.pop_time, point.broker_name);
}
std::string unique_key(const Ack& ack) {
  return fmt::format("{}@{}@{}@{}@{}@{}@ack", ack.topic, ack.queue_id, ack.offset, ack.group,
                     ack.pop_time, ack.broker_name);
}

Result<BatchAckBody> parse_batch_ack(std::string_view json) {
  JsonBudget budget = received_budget(json.size());
  auto parsed = parse_json(json, budget);
  if (!parsed) return parsed.error();
  if (const Json* acks = parsed->find_alike("acks");
      acks && acks->array() && acks->array()->size() > kBatchAckEntriesMax)
    return Error{Errc::kMalformed, fmt::format("a batch of {} acks, the most taken is {}",
                                               acks->array()->size(), kBatchAckEntriesMax)};
  auto wire = body_of<BodyOnWire>(parsed);
  if (!wire) return wire.error();
  parsed = Json{};  // its memory, before as much again is taken
  BatchAckBody body{.broker_name = std::move(wire->broker_name), .entries = {}};
  body.entries.reserve(wire->acks.size());
  for (EntryOnWire& each : wire->acks) {
    body.entries.push_back({.offsets = offsets_of(each),
                            .group = std::move(each.group),
                            .kind = std::move(each.kind),
                            .topic = std::move(each.topic),
                            .invisible_ms = each.invisible_ms,
                            .pop_time = each.pop_time,
                            .start_offset = each.start_offset,
                            .queue_id = each.queue_id,
                            .revive_queue = each.revive_queue});
  }
  return body;
}

}  // namespace apogee::protocol
