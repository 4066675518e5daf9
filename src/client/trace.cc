#include "client/trace.h"

#include <algorithm>
#include <initializer_list>
#include <set>
#include <utility>

namespace apogee::client {
namespace {

constexpr char kField = '\x01', kRecord = '\x02';

/// Java writes what it has without escaping; a separator inside would shift all fields after it.
void append_field(std::string& out, std::string_view text) {
  if (text.empty()) {
    out += "null";
    return;
  }
  for (const char each : text)
    if (each != kField && each != kRecord) out += each;
}

void append_fields(std::string& out, std::initializer_list<std::string_view> fields) {
  bool first = true;
  for (const std::string_view field : fields) {
    if (!std::exchange(first, false)) out += kField;
    append_field(out, field);
  }
  out += kRecord;
}

std::string joined(const std::vector<std::string>& keys) {
  std::string out;
  for (const std::string& key : keys) out.append(out.empty() ? "" : " ").append(key);
  return out;
}

const char* text_of(bool value) {
  return value ? "true" : "false";
}

void add_keys(TraceRecord& record, const TracedMessage& message) {
  record.keys.push_back(message.message_id);
  record.keys.insert(record.keys.end(), message.keys.begin(), message.keys.end());
}

}  // namespace

TraceRecord publish_record(const TraceContext& context, const TracedMessage& message,
                           std::int64_t cost_ms, bool success) {
  TraceRecord record;
  append_fields(record.text,
                {"Pub", std::to_string(context.time_ms), context.region, context.group,
                 message.topic, message.message_id, message.tag, joined(message.keys),
                 message.store_host, std::to_string(message.body_bytes), std::to_string(cost_ms),
                 std::to_string(static_cast<int>(message.type)), message.offset_message_id,
                 text_of(success)});
  add_keys(record, message);
  return record;
}

TraceRecord before_consume_record(const TraceContext& context, const std::string& request_id,
                                  std::span<const TracedMessage> messages) {
  TraceRecord record;
  for (const TracedMessage& message : messages) {
    append_fields(record.text, {"SubBefore", std::to_string(context.time_ms), context.region,
                                context.group, request_id, message.message_id,
                                std::to_string(message.retry_times), joined(message.keys)});
    add_keys(record, message);
  }
  return record;
}

TraceRecord after_consume_record(const TraceContext& context, const std::string& request_id,
                                 std::span<const TracedMessage> messages, std::int64_t cost_ms,
                                 ConsumeCode code) {
  TraceRecord record;
  for (const TracedMessage& message : messages) {
    append_fields(record.text, {"SubAfter", request_id, message.message_id, std::to_string(cost_ms),
                                text_of(code == ConsumeCode::kSuccess), joined(message.keys),
                                std::to_string(static_cast<int>(code)),
                                std::to_string(context.time_ms), context.group});
    add_keys(record, message);
  }
  return record;
}

TraceRecord end_transaction_record(const TraceContext& context, const TracedMessage& message,
                                   const std::string& transaction_id, const std::string& state,
                                   bool from_check) {
  TraceRecord record;
  append_fields(
      record.text,
      {"EndTransaction", std::to_string(context.time_ms), context.region, context.group,
       message.topic, message.message_id, message.tag, joined(message.keys), message.store_host,
       std::to_string(static_cast<int>(message.type)), transaction_id, state, text_of(from_check)});
  add_keys(record, message);
  return record;
}

TraceRecord recall_record(const TraceContext& context, const std::string& topic,
                          const std::string& message_id, bool success) {
  TraceRecord record;
  append_fields(record.text, {"Recall", std::to_string(context.time_ms), context.region,
                              context.group, topic, message_id, text_of(success)});
  record.keys.push_back(message_id);
  return record;
}

bool TraceBuffer::add(TraceRecord record) {
  std::lock_guard lock{mutex_};
  if (records_.size() >= kRecordsMax) return false;
  records_.push_back(std::move(record));
  return true;
}

std::size_t TraceBuffer::size() const {
  std::lock_guard lock{mutex_};
  return records_.size();
}

std::vector<Message> TraceBuffer::take(const std::string& topic) {
  std::deque<TraceRecord> records;
  {
    std::lock_guard lock{mutex_};
    records.swap(records_);
  }
  std::vector<Message> messages;
  std::set<std::string> keys;
  std::size_t in_message = 0;
  for (TraceRecord& record : records) {
    if (in_message == 0 || in_message == kRecordsInMessage ||
        messages.back().body.size() + record.text.size() > kMessageBytesMax) {
      messages.push_back({.topic = topic});
      keys.clear();
      in_message = 0;
    }
    Message& message = messages.back();
    message.body += record.text;
    for (std::string& key : record.keys)
      if (!key.empty() && keys.insert(key).second) message.keys.push_back(std::move(key));
    ++in_message;
  }
  return messages;
}

}  // namespace apogee::client
