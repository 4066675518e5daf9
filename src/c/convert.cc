#include "c/convert.h"

namespace apogee::c {

apogee_code code_of(Errc code) {
  switch (code) {
    case Errc::kTimeout:
      return APOGEE_TIMEOUT;
    case Errc::kDisconnected:
      return APOGEE_DISCONNECTED;
    case Errc::kMalformed:
      return APOGEE_MALFORMED;
    case Errc::kInvalidArgument:
      return APOGEE_INVALID_ARGUMENT;
    case Errc::kNotFound:
    case Errc::kEndOfFile:
      return APOGEE_NOT_FOUND;
    case Errc::kExists:
      return APOGEE_EXISTS;
    case Errc::kBusy:
      return APOGEE_BUSY;
    case Errc::kStopped:
      return APOGEE_STOPPED;
    case Errc::kUnsupported:
      return APOGEE_UNSUPPORTED;
    case Errc::kRefused:
      return APOGEE_REFUSED;
    case Errc::kNoSpace:
    case Errc::kIo:
      return APOGEE_IO;
  }
  return APOGEE_IO;
}

std::int32_t fail(const Error& failure, apogee_error* error) {
  return fail(code_of(failure.code), failure, error);
}

std::int32_t fail_null(const char* name, apogee_error* error) {
  return fail({Errc::kInvalidArgument, std::string{name} + " is NULL"}, error);
}

std::int32_t fail(apogee_code code, const Error& failure, apogee_error* error) {
  if (!error) return code;
  error->code = code;
  error->response_code = failure.response_code;
  error->perhaps_done = failure.perhaps_done ? 1 : 0;
  const std::size_t length = std::min<std::size_t>(failure.detail.size(), APOGEE_DETAIL_BYTES - 1);
  std::memcpy(error->detail, failure.detail.data(), length);
  error->detail[length] = '\0';
  return code;
}

Result<Message> message_of(const apogee_message* given) {
  const auto known = whole(given);
  if (!known) return known.error();
  const apogee_message& m = *known;
  if (!m.topic) return Error{Errc::kInvalidArgument, "a message without a topic"};
  if ((!m.body && m.body_length > 0) || (!m.keys && m.key_count > 0) ||
      (!m.properties && m.property_count > 0))
    return Error{Errc::kInvalidArgument,
                 "a message with a length and no pointer to what it counts"};
  if (m.delivery < APOGEE_DELIVER_NOW || m.delivery > APOGEE_DELIVER_AT)
    return Error{Errc::kInvalidArgument, "delivery is none of APOGEE_DELIVER_..."};
  Message message{.topic = m.topic};
  if (m.body_length > 0) message.body.assign(static_cast<const char*>(m.body), m.body_length);
  if (m.tag) message.tag = m.tag;
  for (std::size_t i = 0; i < m.key_count; ++i) {
    if (!m.keys[i]) return Error{Errc::kInvalidArgument, "a key is NULL"};
    message.keys.emplace_back(m.keys[i]);
  }
  for (std::size_t i = 0; i < m.property_count; ++i) {
    if (!m.properties[i].name || !m.properties[i].value)
      return Error{Errc::kInvalidArgument, "a property's name or value is NULL"};
    message.properties.emplace(m.properties[i].name, m.properties[i].value);
  }
  message.deliver = {static_cast<Delivery::Kind>(m.delivery), m.delivery_value};
  message.flag = m.flag;
  message.wait_store = m.no_wait_store == 0;
  return message;
}

Result<Subscription> subscription_of(const apogee_subscription* given) {
  if (!given || !given->topic)
    return Error{Errc::kInvalidArgument, "a subscription without a topic"};
  Subscription subscription{.topic = given->topic};
  if (given->type) subscription.filter.type = given->type;
  if (given->expression) subscription.filter.expression = given->expression;
  return subscription;
}

Result<std::vector<Message>> messages_of(const apogee_message* given, std::size_t count) {
  if (!given || count == 0) return Error{Errc::kInvalidArgument, "a batch without messages"};
  // The program's array has the stride of the program's header.
  const std::size_t stride = given->struct_size;
  const auto* at = reinterpret_cast<const char*>(given);
  std::vector<Message> messages;
  messages.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    auto message = message_of(reinterpret_cast<const apogee_message*>(at + i * stride));
    if (!message) return message.error();
    messages.push_back(*std::move(message));
  }
  return messages;
}

std::int32_t give(Result<SendReceipt> result, apogee_receipt** out, apogee_error* error) {
  if (!result) return fail(result.error(), error);
  if (out) *out = new apogee_receipt{*std::move(result)};
  return APOGEE_OK;
}

std::int32_t give(const Result<Ok>& result, apogee_error* error) {
  return result ? static_cast<std::int32_t>(APOGEE_OK) : fail(result.error(), error);
}

}  // namespace apogee::c
