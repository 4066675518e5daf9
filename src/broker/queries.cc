#include "broker/queries.h"

#include "protocol/codes.h"
#include "protocol/headers.h"
#include "protocol/message.h"

namespace apogee::broker {
namespace {

namespace code = protocol::response_code;
using remoting::Answer;
using remoting::OwnedCommand;
using remoting::PeerPtr;

constexpr std::size_t kAnswerBytesMax = 15 << 20;  // clients refuse frames above 16 MiB
constexpr std::int32_t kQueueEntriesMax = 10'000;  // of one answer

Answer query_message(Context& context, const protocol::QueryMessageRequest& header) {
  const bool by_unique_key = header.unique_key_query == "true";
  const store::StoreConfig& limits = context.store.config();
  const std::int32_t wanted = by_unique_key ? limits.default_query_messages : header.max_num;
  const std::int32_t most = std::clamp(wanted, 0, limits.query_messages_max);
  const bool by_tag = !by_unique_key && header.index_type == "T";
  const auto records =
      by_tag ? context.store.query_by_tag(header.topic, header.key, most, header.begin_timestamp,
                                          header.end_timestamp)
             : context.store.query_by_key(header.topic, header.key, most, header.begin_timestamp,
                                          header.end_timestamp);
  const store::StoreStatus status = context.store.status();
  Answer answer = Answer::with(protocol::QueryMessageResponse{
      .index_last_update_timestamp = status.index_last_timestamp,
      .index_last_update_physical_offset = status.index_last_physical_offset});
  for (const store::RecordBytes& each : records) {
    if (!answer.body.empty() && answer.body.size() + each.bytes.size() > kAnswerBytesMax) break;
    append(answer.body, each.bytes);
  }
  if (answer.body.empty()) {
    answer.code = code::kQueryNotFound;
    answer.remark = "can not find message, maybe time range not correct";
  }
  return answer;
}

Answer view_message(Context& context, const protocol::ViewMessageRequest& header) {
  const store::RecordBytes record = context.store.record_at(header.offset);
  if (!record)
    return Answer::error(code::kSystemError,
                         fmt::format("can not find message by the offset, {}", header.offset));
  return Answer::with_body(Buffer{as_text(record.bytes)});
}

/// ConsumeQueueExt.CqExtUnit as fastjson writes it.
struct ExtendedUnitBody {
  static constexpr std::int32_t kBytes = 20;  // without the bit map
  std::optional<std::vector<std::int32_t>> bit_map;
  std::int64_t store_timestamp = 0;
  std::int32_t size = kBytes;
  std::int64_t tags_code = 0;
  using Self = ExtendedUnitBody;
  static constexpr auto kFields = MemberList{
      protocol::Field{"filterBitMap", &Self::bit_map},
      protocol::Field{"msgStoreTime", &Self::store_timestamp}, protocol::Field{"size", &Self::size},
      protocol::Field{"tagsCode", &Self::tags_code}};
};

/// The highest bit first (BitsArray.toString).
std::string bits_of(std::string_view bit_map) {
  std::string text;
  for (auto byte = bit_map.rbegin(); byte != bit_map.rend(); ++byte)
    for (int bit = 7; bit >= 0; --bit) text += (*byte >> bit & 1) != 0 ? '1' : '0';
  return text;
}

/// `filter`: of the group that is asked about.
protocol::ConsumeQueueEntryBody entry_of(const store::QueueUnit& unit,
                                         const SubscriptionFilter* filter) {
  protocol::ConsumeQueueEntryBody entry;
  entry.physical_offset = unit.physical_offset;
  entry.physical_size = unit.size;
  entry.tags_code = unit.tags_code;
  if (!unit.tags_known) entry.message = fmt::format("Cq extend not exist!addr: {}", unit.tags_code);
  if (!unit.extended) return entry;
  const std::string& bits = unit.extended->bit_map;
  ExtendedUnitBody extended{.store_timestamp = unit.extended->store_timestamp,
                            .tags_code = unit.tags_code};
  if (!bits.empty()) {
    extended.bit_map.emplace();
    for (const char each : bits) extended.bit_map->push_back(static_cast<signed char>(each));
    extended.size += static_cast<std::int32_t>(bits.size());
    entry.bit_map = bits_of(bits);
  }
  entry.extend_data_json = protocol::encode_body(extended);
  entry.eval = filter && filter->matches_tags_code(unit.tags_code) &&
               filter->matches_bit_map(bits, unit.extended->store_timestamp);
  return entry;
}

/// What is kept of the group's SQL92 subscription, as Java shows it: with isDead() for a member.
std::string filter_data_of(const Context& context, const std::string& group,
                           const std::string& topic) {
  if (!context.filter_data) return "null";
  const auto data = context.filter_data->find(group, topic);
  if (!data) return "null";
  const protocol::Json kept = protocol::to_json(*data);
  protocol::Json shown = protocol::Json::object();
  for (const protocol::Json::Member& each : *kept.members()) {
    if (each.key == "deadTime")
      shown.set("dead", protocol::to_json(data->dead_time >= data->born_time));
    shown.set(each.key, each.value.front());
  }
  return write_json(shown, protocol::JsonStyle::kPretty);
}

std::vector<protocol::ConsumeQueueEntryBody> entries_of(
    Context& context, const protocol::QueryConsumeQueueRequest& header, std::int64_t end,
    const SubscriptionFilter* filter) {
  std::vector<protocol::ConsumeQueueEntryBody> entries;
  for (std::int64_t at = header.index; at < end;) {
    const auto units = context.store.queue_units(header.topic, header.queue_id, at,
                                                 static_cast<std::int32_t>(end - at));
    if (units.empty()) break;
    for (const store::QueueUnit& unit : units)
      if (unit.queue_offset < end) entries.push_back(entry_of(unit, filter));
    at = units.back().queue_offset + units.back().messages;
  }
  return entries;
}

Answer query_consume_queue(Context& context, const protocol::QueryConsumeQueueRequest& header) {
  const std::int64_t least = context.store.min_offset(header.topic, header.queue_id);
  if (least < 0)
    return Answer::error(code::kSystemError,
                         fmt::format("{}@{} is not exist!", header.queue_id, header.topic));
  protocol::QueryConsumeQueueBody body;
  body.min_queue_index = least;
  body.max_queue_index = context.store.max_offset(header.topic, header.queue_id);
  std::optional<SubscriptionFilter> filter;
  if (header.consumer_group) {
    const std::string& group = *header.consumer_group;
    if (const auto subscription = context.consumers.subscription(group, header.topic)) {
      body.subscription_data = subscription->data;
      body.filter_data = filter_data_of(context, group, header.topic);
      filter.emplace(subscription, context.filter_data
                                       ? context.filter_data->bits_of(group, header.topic,
                                                                      subscription->data.sub_string)
                                       : std::nullopt);
    } else {
      body.filter_data = fmt::format("{}@{} is not online!", group, header.topic);
    }
  }
  const std::int64_t count = std::clamp(header.count, 0, kQueueEntriesMax);
  Answer answer;
  if (header.index < least || header.index >= body.max_queue_index) {
    answer.remark =
        fmt::format("Index {} of {}@{} is not exist!", header.index, header.queue_id, header.topic);
    return answer;
  }
  const std::int64_t end = std::min(header.index + count, body.max_queue_index);
  body.queue_data = entries_of(context, header, end, filter ? &*filter : nullptr);
  answer.body = encode_body(body);
  return answer;
}

}  // namespace

void add_queries(remoting::Processors& processors, Context& context) {
  processors.on_worker<protocol::QueryMessageRequest>(
      [&](const protocol::QueryMessageRequest& header, const OwnedCommand&, const PeerPtr&) {
        return query_message(context, header);
      });
  processors.on_worker<protocol::ViewMessageRequest>(
      [&](const protocol::ViewMessageRequest& header, const OwnedCommand&, const PeerPtr&) {
        return view_message(context, header);
      });
  processors.on_worker<protocol::QueryConsumeQueueRequest>(
      [&](const protocol::QueryConsumeQueueRequest& header, const OwnedCommand&, const PeerPtr&) {
        return query_consume_queue(context, header);
      });
}

}  // namespace apogee::broker
