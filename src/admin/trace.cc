#include "admin/trace.h"

#include "admin/asking.h"
#include "protocol/field.h"

namespace apogee::admin {
namespace {

constexpr char kField = '\x01', kRecord = '\x02';

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
  }
  return parts;
}

std::int64_t number(std::string_view text) {
  std::int64_t value = 0;
  return protocol::from_text(text, value) ? value : 0;
}

/// Nothing: not about `id`, or not a record we know.
std::optional<TraceEvent> event_of(const std::vector<std::string_view>& field,
                                   const std::string& id) {
  const std::string_view kind = field.empty() ? std::string_view{} : field[0];
  TraceEvent event;
  if (kind == "Pub" && field.size() >= 13 && field[5] == id) {
    event.time = time_of(number(field[1]));
    event.group = field[3];
    event.topic = field[4];
    event.cost_ms = number(field[10]);
    event.success = field[field.size() == 13 ? 12 : 13] == "true";
  } else if (kind == "SubAfter" && field.size() >= 5 && field[2] == id) {
    event.kind = TraceEvent::Kind::kConsumed;
    event.cost_ms = number(field[3]);
    event.success = field[4] == "true";
    if (field.size() >= 9) {
      event.time = time_of(number(field[7]));
      event.group = field[8];
    }
  } else if (kind == "EndTransaction" && field.size() >= 12 && field[5] == id) {
    event.kind = TraceEvent::Kind::kEndTransaction;
    event.time = time_of(number(field[1]));
    event.group = field[3];
    event.topic = field[4];
    event.detail = field[11];
    event.success = true;
  } else if (kind == "Recall" && field.size() >= 7 && field[5] == id) {
    event.kind = TraceEvent::Kind::kRecalled;
    event.time = time_of(number(field[1]));
    event.group = field[3];
    event.topic = field[4];
    event.success = field[6] == "true";
  } else {
    return std::nullopt;
  }
  return event;
}

}  // namespace

void append_trace(const ReceivedMessage& message, const std::string& id,
                  std::vector<TraceEvent>& events) {
  for (const std::string_view record : split(message.body, kRecord)) {
    auto event = event_of(split(record, kField), id);
    if (!event) continue;
    event->client_host = message.born_host.substr(0, message.born_host.rfind(':'));
    events.push_back(*std::move(event));
  }
}

}  // namespace apogee::admin
