#include "c/convert.h"
#include "c/settings.h"

using namespace apogee;

namespace {
std::int64_t milliseconds_of(std::chrono::system_clock::time_point when) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(when.time_since_epoch()).count();
}
}  // namespace

extern "C" {

const char* apogee_code_name(std::int32_t code) {
  constexpr const char* kNames[] = {
      "ok",   "timeout", "disconnected", "malformed", "invalid argument", "not found", "exists",
      "busy", "stopped", "unsupported",  "refused",   "i/o error",        "no memory"};
  return code >= 0 && code < static_cast<std::int32_t>(std::size(kNames)) ? kNames[code] : "?";
}

const char* apogee_version(void) {
  return APOGEE_VERSION;
}

// ---- Client
// --------------------------------------------------------------------------------------

std::int32_t apogee_client_start(const apogee_setting* settings, std::size_t count,
                                 apogee_log_function log, void* log_context, apogee_client** client,
                                 apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    if (!client) return c::fail_null("client", error);
    ClientConfig config;
    if (auto applied = c::apply({settings, count}, c::settings_of(config)); !applied)
      return c::fail(applied.error(), error);
    if (log)
      config.log = [log, log_context](Severity severity, std::string_view line) {
        log(log_context, static_cast<std::int32_t>(severity), line.data(), line.size());
      };
    auto started = Client::start(std::move(config));
    if (!started) return c::fail(started.error(), error);
    *client = new apogee_client{*std::move(started)};
    return APOGEE_OK;
  });
}

const char* apogee_client_id(const apogee_client* client) {
  return client->client.id().c_str();
}
void apogee_client_shutdown(apogee_client* client) {
  client->client.shutdown();
}
void apogee_client_free(apogee_client* client) {
  delete client;
}

// ---- Receipts
// ------------------------------------------------------------------------------------

std::int32_t apogee_receipt_status(const apogee_receipt* r) {
  return static_cast<std::int32_t>(r->receipt.status);
}
const char* apogee_receipt_message_id(const apogee_receipt* r) {
  return r->receipt.message_id.c_str();
}
const char* apogee_receipt_offset_message_id(const apogee_receipt* r) {
  return r->receipt.offset_message_id.c_str();
}
const char* apogee_receipt_broker(const apogee_receipt* r) {
  return r->receipt.queue.broker.c_str();
}
std::int32_t apogee_receipt_queue_id(const apogee_receipt* r) {
  return r->receipt.queue.queue_id;
}
std::int64_t apogee_receipt_queue_offset(const apogee_receipt* r) {
  return r->receipt.queue_offset;
}
const char* apogee_receipt_recall_handle(const apogee_receipt* r) {
  return r->receipt.recall_handle.c_str();
}
const char* apogee_receipt_transaction_id(const apogee_receipt* r) {
  return r->receipt.transaction_id.c_str();
}
void apogee_receipt_free(apogee_receipt* receipt) {
  delete receipt;
}

// ---- Received messages
// ---------------------------------------------------------------------------

const char* apogee_received_topic(const apogee_received* m) {
  return m->message.topic.c_str();
}
const void* apogee_received_body(const apogee_received* m, std::size_t* length) {
  if (length) *length = m->message.body.size();
  return m->message.body.data();
}
const char* apogee_received_tag(const apogee_received* m) {
  return m->message.tag.c_str();
}
std::size_t apogee_received_key_count(const apogee_received* m) {
  return m->message.keys.size();
}
const char* apogee_received_key(const apogee_received* m, std::size_t index) {
  return index < m->message.keys.size() ? m->message.keys[index].c_str() : nullptr;
}
const char* apogee_received_property(const apogee_received* m, const char* name) {
  if (!name) return nullptr;
  const auto found = m->message.properties.find(name);
  return found == m->message.properties.end() ? nullptr : found->second.c_str();
}
const char* apogee_received_message_id(const apogee_received* m) {
  return m->message.message_id.c_str();
}
const char* apogee_received_offset_message_id(const apogee_received* m) {
  return m->message.offset_message_id.c_str();
}
const char* apogee_received_broker(const apogee_received* m) {
  return m->message.queue.broker.c_str();
}
std::int32_t apogee_received_queue_id(const apogee_received* m) {
  return m->message.queue.queue_id;
}
std::int64_t apogee_received_queue_offset(const apogee_received* m) {
  return m->message.queue_offset;
}
std::int32_t apogee_received_reconsume_times(const apogee_received* m) {
  return m->message.reconsume_times;
}
std::int64_t apogee_received_born_ms(const apogee_received* m) {
  return milliseconds_of(m->message.born);
}
std::int64_t apogee_received_stored_ms(const apogee_received* m) {
  return milliseconds_of(m->message.stored);
}
apogee_received* apogee_received_copy(const apogee_received* m) {
  apogee_received* copy = nullptr;
  c::guarded(nullptr, [&]() -> std::int32_t {
    copy = new apogee_received{std::make_unique<const ReceivedMessage>(m->message)};
    return APOGEE_OK;
  });
  return copy;
}
void apogee_received_free(apogee_received* m) {
  delete m;
}

}  // extern "C"
