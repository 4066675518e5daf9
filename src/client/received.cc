#include "client/received.h"

#include "client/compression.h"
#include "client/namespaces.h"

namespace apogee::client {
namespace {

std::chrono::system_clock::time_point time_of(std::int64_t unix_ms) {
  return std::chrono::system_clock::time_point{std::chrono::milliseconds{unix_ms}};
}

std::vector<std::string> split_keys(std::string_view keys) {
  std::vector<std::string> out;
  while (!keys.empty()) {
    const std::size_t blank = keys.find(' ');
    if (blank != 0) out.emplace_back(keys.substr(0, blank));
    keys = blank == std::string_view::npos ? std::string_view{} : keys.substr(blank + 1);
  }
  return out;
}

/// What stands in the properties and is a member as well.
void take_properties(ReceivedMessage& message, std::string_view text) {
  message.properties = properties_of(text);
  const auto text_of = [&](std::string_view name) {
    return std::string{message.property(name).value_or("")};
  };
  message.tag = text_of(protocol::property::kTags);
  message.keys = split_keys(text_of(protocol::property::kKeys));
  message.message_id = text_of(protocol::property::kUniqueKey);
  if (message.message_id.empty()) message.message_id = message.offset_message_id;
}

void take_body(ReceivedMessage& message, Bytes body) {
  if ((message.sys_flag & protocol::sys_flag::kCompressed) != 0) {
    if (auto plain = decompressed(body, message.sys_flag)) {
      message.body = *std::move(plain);
      message.sys_flag &= ~protocol::sys_flag::kCompressed;
      return;
    }
  }
  message.body = as_text(body);
}

/// A batch that is one record of one queue entry: its members share everything but flag, body and
/// properties, and stand at consecutive offsets (MessageDecoder.decodeMessage).
Result<Ok> append_members(const ReceivedMessage& batch, std::vector<ReceivedMessage>& messages) {
  auto members = protocol::split_batch(as_bytes(batch.body));
  if (!members) return members.error();
  std::int64_t offset = batch.queue_offset;
  for (const protocol::BatchMember& member : *members) {
    ReceivedMessage message = batch;
    message.queue_offset = offset++;
    message.flag = member.flag;
    message.body = as_text(member.body);
    take_properties(message, member.properties);
    messages.push_back(std::move(message));
  }
  return Ok{};
}

}  // namespace

std::map<std::string, std::string> properties_of(std::string_view text) {
  std::map<std::string, std::string> properties;
  protocol::for_each_property(text, [&](std::string_view name, std::string_view value) {
    properties.insert_or_assign(std::string{name}, std::string{value});
  });
  return properties;
}

ReceivedMessage received(const protocol::Message& record, const std::string& name_space,
                         const std::string& broker) {
  ReceivedMessage message;
  message.topic = unwrapped(record.topic, name_space);
  message.queue = {message.topic, broker, record.queue_id};
  message.queue_offset = record.queue_offset;
  message.commit_log_offset = record.physical_offset;
  message.reconsume_times = record.reconsume_times;
  message.flag = record.flag;
  message.sys_flag = record.sys_flag;
  message.stored_bytes = record.size;
  message.born = time_of(record.born_timestamp);
  message.stored = time_of(record.store_timestamp);
  message.born_host =
      to_string(protocol::Host{std::string{as_text(record.born_host)}, record.born_port});
  message.store_host =
      to_string(protocol::Host{std::string{as_text(record.store_host)}, record.store_port});
  message.offset_message_id =
      protocol::offset_message_id(record.store_host, record.store_port, record.physical_offset);
  take_properties(message, record.properties);
  take_body(message, record.body);
  return message;
}

ReceivedMessage received(const protocol::PushReplyMessageRequest& header, Bytes body,
                         const std::string& name_space) {
  ReceivedMessage message;
  message.topic = unwrapped(header.topic, name_space);
  message.queue = {message.topic, {}, header.queue_id};
  message.reconsume_times = header.reconsume_times.value_or(0);
  message.flag = header.flag;
  message.sys_flag = header.sys_flag;
  message.born = time_of(header.born_timestamp);
  message.stored = time_of(header.store_timestamp);
  message.born_host = header.born_host;
  message.store_host = header.store_host;
  take_properties(message, header.properties.value_or(""));
  take_body(message, body);
  return message;
}

Result<Ok> append_received(Bytes records, const std::string& name_space, const std::string& broker,
                           std::vector<ReceivedMessage>& messages) {
  constexpr std::int32_t kInner = protocol::sys_flag::kInnerBatch | protocol::sys_flag::kNeedUnwrap;
  while (!records.empty()) {
    auto record = protocol::decode_message(records);
    if (!record) return record.error();
    records = records.subspan(static_cast<std::size_t>(record->size));
    ReceivedMessage message = received(*record, name_space, broker);
    if ((message.sys_flag & kInner) != kInner) {
      messages.push_back(std::move(message));
      continue;
    }
    if (auto appended = append_members(message, messages); !appended) return appended;
  }
  return Ok{};
}

}  // namespace apogee::client
