#include "store/offset_texts.h"

#include <set>

#include "protocol/field.h"
#include "protocol/names.h"

namespace apogee::store {
namespace {

namespace property = protocol::property;

constexpr char kSeparator = ',';
constexpr std::size_t kNameBytesMax = 255;  // a directory's name
constexpr std::int32_t kBatchMax = 32'767;  // i16 in the queue's entry

template <class Each>
void for_each_piece(std::string_view text, Each each) {
  for (;;) {
    const std::size_t end = std::min(text.find(kSeparator), text.size());
    each(text.substr(0, end));
    if (end == text.size()) return;
    text.remove_prefix(end + 1);
  }
}

bool is_lmq(std::string_view name) {
  return name.starts_with(protocol::kLmqPrefix) && name.size() > protocol::kLmqPrefix.size() &&
         name.size() <= kNameBytesMax && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

std::string zeros(std::size_t numbers) {
  std::string text;
  for (std::size_t i = 0; i < numbers; ++i) {
    if (i > 0) text += kSeparator;
    text.append(OffsetText::kDigits, '0');
  }
  return text;
}

Result<std::vector<std::string>> lmq_names(std::string_view text) {
  std::vector<std::string> names;
  std::set<std::string_view> different;
  bool good = true;
  for_each_piece(text, [&](std::string_view name) {
    good = good && is_lmq(name) && different.insert(name).second;
    names.emplace_back(name);
  });
  if (!good)
    return Error{Errc::kInvalidArgument,
                 "INNER_MULTI_DISPATCH may name different queues that begin with %LMQ%"};
  return names;
}

}  // namespace

Result<Ok> check_lmqs(std::string_view properties) {
  const auto text = protocol::find_property(properties, property::kInnerMultiDispatch);
  if (!text) return Ok{};
  const auto names = lmq_names(*text);
  if (!names) return names.error();
  Buffer offsets;
  protocol::append_property(offsets, property::kInnerMultiQueueOffset, zeros(names->size()));
  if (properties.size() + offsets.size() > protocol::kPropertiesBytesMax)
    return Error{Errc::kInvalidArgument, "the properties leave no room for the offsets in LMQs"};
  return Ok{};
}

void fill_in(const OffsetText& text, MutableBytes record, std::int64_t own_offset) {
  std::int64_t number = text.lmq ? text.lmq->next_offset++ : own_offset;
  for (std::size_t i = OffsetText::kDigits; i-- > 0; number /= 10)
    record[text.at + i] = static_cast<std::byte>('0' + number % 10);
}

bool may_name_lmqs(std::string_view topic) {
  return !protocol::is_retry_topic(topic) && !topic.starts_with(protocol::kSystemTopicPrefix) &&
         topic != protocol::kScheduleTopic && topic != protocol::kHalfTopic &&
         topic != protocol::kOpHalfTopic;
}

std::vector<LmqPlace> lmq_places(const protocol::Message& message) {
  std::vector<LmqPlace> places;
  const auto names = message.property(property::kInnerMultiDispatch);
  const auto offsets = message.property(property::kInnerMultiQueueOffset);
  if (!names || !offsets) return places;
  for_each_piece(*names, [&](std::string_view name) { places.push_back({name, -1}); });
  std::size_t i = 0;
  bool good = true;
  for_each_piece(*offsets, [&](std::string_view text) {
    good = good && i < places.size() && protocol::from_text(text, places[i].offset) &&
           places[i].offset >= 0;
    ++i;
  });
  if (!good || i != places.size()) return {};
  std::erase_if(places, [](const LmqPlace& each) { return !is_lmq(each.name); });
  return places;
}

Result<OffsetRoom> make_room(Bytes original, bool lmq, Buffer& record) {
  OffsetRoom room;
  const bool inner_batch = (read_big<std::int32_t>(original, protocol::record_at::kSysFlag) &
                            protocol::sys_flag::kInnerBatch) != 0;
  if (!inner_batch && !lmq) return room;
  auto decoded = protocol::decode_message(original);
  if (!decoded) return decoded.error();
  protocol::Message& message = *decoded;
  if (inner_batch) {
    const auto number = message.property(property::kInnerNum);
    if (!number || !protocol::from_text(*number, room.messages) || room.messages < 1 ||
        room.messages > kBatchMax)
      return Error{Errc::kInvalidArgument, "INNER_NUM is not the number of a batch's messages"};
  }
  const bool names_lmqs = lmq && may_name_lmqs(message.topic);
  const auto names = names_lmqs ? message.property(property::kInnerMultiDispatch) : std::nullopt;
  if (names) {
    auto known = lmq_names(*names);
    if (!known) return known.error();
    room.lmq_names = *std::move(known);
  }
  if (!inner_batch && !names) return room;

  Buffer properties;
  protocol::for_each_property(
      message.properties, [&](std::string_view name, std::string_view value) {
        const bool ours = (inner_batch && name == property::kInnerBase) ||
                          (names && name == property::kInnerMultiQueueOffset);
        if (!ours) protocol::append_property(properties, name, value);
      });
  // Behind the value stands one byte, the end of the property.
  const auto add = [&](std::string_view name, std::size_t numbers, std::vector<std::size_t>& at) {
    const std::string text = zeros(numbers);
    protocol::append_property(properties, name, text);
    const std::size_t first = properties.size() - 1 - text.size();
    for (std::size_t i = 0; i < numbers; ++i) at.push_back(first + i * (OffsetText::kDigits + 1));
  };
  if (inner_batch) add(property::kInnerBase, 1, room.own);
  if (names) add(property::kInnerMultiQueueOffset, room.lmq_names.size(), room.lmq);
  message.properties = properties;
  if (auto encoded = protocol::encode_message(record, message); !encoded) return encoded.error();
  // Properties are what a record ends with.
  for (auto* const positions : {&room.own, &room.lmq})
    for (std::size_t& at : *positions) at += record.size() - properties.size();
  return room;
}

}  // namespace apogee::store
