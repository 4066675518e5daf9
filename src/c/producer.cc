#include <optional>

#include "c/convert.h"
#include "c/settings.h"

using namespace apogee;
using std::chrono::milliseconds;

/// Either kind; a transactional one is a producer too.
struct apogee_producer {
  std::optional<Producer> plain;
  std::optional<TransactionalProducer> transactional;
  Producer& any() { return plain ? *plain : transactional->producer(); }
};

namespace {

Outcome outcome_of(std::int32_t given) {
  switch (given) {
    case APOGEE_COMMIT:
      return Outcome::kCommit;
    case APOGEE_ROLLBACK:
      return Outcome::kRollback;
    default:
      return Outcome::kUnknown;
  }
}

Result<ProducerConfig> config_of(const apogee_setting* settings, std::size_t count,
                                 apogee_producer** producer) {
  if (!producer) return Error{Errc::kInvalidArgument, "producer is NULL"};
  ProducerConfig config;
  if (auto applied = c::apply({settings, count}, c::settings_of(config)); !applied)
    return applied.error();
  return config;
}

/// Reads the message, sends it as `send` does, gives the receipt.
template <class Send>
std::int32_t send_as(const apogee_message* given, apogee_receipt** receipt, apogee_error* error,
                     Send send) {
  auto message = c::message_of(given);
  if (!message) return c::fail(message.error(), error);
  return c::give(send(*message), receipt, error);
}

}  // namespace

extern "C" {

std::int32_t apogee_producer_start(apogee_client* client, const apogee_setting* settings,
                                   std::size_t count, apogee_producer** producer,
                                   apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    auto config = config_of(settings, count, producer);
    if (!config) return c::fail(config.error(), error);
    if (!client) return c::fail_null("client", error);
    auto started = client->client.producer(*std::move(config));
    if (!started) return c::fail(started.error(), error);
    *producer = new apogee_producer{.plain = *std::move(started), .transactional = {}};
    return APOGEE_OK;
  });
}

std::int32_t apogee_transactional_producer_start(apogee_client* client,
                                                 const apogee_setting* settings, std::size_t count,
                                                 apogee_check_function check, void* context,
                                                 apogee_producer** producer, apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    if (!client) return c::fail_null("client", error);
    if (!check) return c::fail_null("check", error);
    auto config = config_of(settings, count, producer);
    if (!config) return c::fail(config.error(), error);
    auto started = client->client.transactional_producer(
        {.producer = *std::move(config),
         .on_check = [check, context](const ReceivedMessage& message) {
           const apogee_received received{message};
           return outcome_of(check(context, &received));
         }});
    if (!started) return c::fail(started.error(), error);
    *producer = new apogee_producer{.plain = {}, .transactional = *std::move(started)};
    return APOGEE_OK;
  });
}

void apogee_producer_free(apogee_producer* producer) {
  delete producer;
}

std::int32_t apogee_producer_send(apogee_producer* producer, const apogee_message* message,
                                  std::int64_t timeout_ms, apogee_receipt** receipt,
                                  apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    return send_as(message, receipt, error, [&](const Message& m) {
      return producer->any().send(m, milliseconds{timeout_ms});
    });
  });
}

std::int32_t apogee_producer_send_by_key(apogee_producer* producer, const apogee_message* message,
                                         const char* key, std::int64_t timeout_ms,
                                         apogee_receipt** receipt, apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    if (!key) return c::fail_null("key", error);
    return send_as(message, receipt, error, [&](const Message& m) {
      return producer->any().send(m, by_key(key), milliseconds{timeout_ms});
    });
  });
}

std::int32_t apogee_producer_send_to(apogee_producer* producer, const apogee_message* message,
                                     const char* broker, std::int32_t queue_id,
                                     std::int64_t timeout_ms, apogee_receipt** receipt,
                                     apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    if (!broker) return c::fail_null("broker", error);
    return send_as(message, receipt, error, [&](const Message& m) {
      return producer->any().send(m, MessageQueue{m.topic, broker, queue_id},
                                  milliseconds{timeout_ms});
    });
  });
}

std::int32_t apogee_producer_send_batch(apogee_producer* producer, const apogee_message* messages,
                                        std::size_t count, std::int64_t timeout_ms,
                                        apogee_receipt** receipt, apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    auto batch = c::messages_of(messages, count);
    if (!batch) return c::fail(batch.error(), error);
    return c::give(producer->any().send(std::span<const Message>{*batch}, milliseconds{timeout_ms}),
                   receipt, error);
  });
}

std::int32_t apogee_producer_send_oneway(apogee_producer* producer, const apogee_message* given,
                                         apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    auto message = c::message_of(given);
    if (!message) return c::fail(message.error(), error);
    return c::give(producer->any().send_oneway(*message), error);
  });
}

std::int32_t apogee_producer_send_async(apogee_producer* producer, const apogee_message* given,
                                        std::int64_t timeout_ms, apogee_send_callback done,
                                        void* context, apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    if (!done) return c::fail_null("done", error);
    auto message = c::message_of(given);
    if (!message) return c::fail(message.error(), error);
    producer->any().send(*std::move(message), milliseconds{timeout_ms},
                         [done, context](Result<SendReceipt> result) {
                           if (result) {
                             const apogee_receipt receipt{*std::move(result)};
                             done(context, &receipt, nullptr);
                           } else {
                             apogee_error failure;
                             c::fail(result.error(), &failure);
                             done(context, nullptr, &failure);
                           }
                         });
    return APOGEE_OK;
  });
}

std::int32_t apogee_producer_send_in_transaction(apogee_producer* producer,
                                                 const apogee_message* given,
                                                 apogee_local_function local, void* context,
                                                 std::int64_t timeout_ms, apogee_receipt** receipt,
                                                 std::int32_t* outcome, apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    if (!producer->transactional || !local)
      return c::fail(
          {Errc::kInvalidArgument,
           "transactions need apogee_transactional_producer_start() and a local function"},
          error);
    return send_as(given, receipt, error, [&](const Message& m) -> Result<SendReceipt> {
      auto sent = producer->transactional->send(
          m,
          [&](const Message&, const SendReceipt& stored) {
            const apogee_receipt lent{stored};
            return outcome_of(local(context, &lent));
          },
          milliseconds{timeout_ms});
      if (!sent) return sent.error();
      if (outcome) *outcome = static_cast<std::int32_t>(sent->outcome);
      return std::move(sent->sent);
    });
  });
}

std::int32_t apogee_producer_request(apogee_producer* producer, const apogee_message* question,
                                     std::int64_t timeout_ms, apogee_received** answer,
                                     apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    auto message = c::message_of(question);
    if (!message) return c::fail(message.error(), error);
    auto answered = producer->any().request(*message, milliseconds{timeout_ms});
    if (!answered) return c::fail(answered.error(), error);
    if (answer)
      *answer = new apogee_received{std::make_unique<const ReceivedMessage>(*std::move(answered))};
    return APOGEE_OK;
  });
}

std::int32_t apogee_producer_reply(apogee_producer* producer, const apogee_received* question,
                                   const void* body, std::size_t body_length,
                                   std::int64_t timeout_ms, apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    if (!question) return c::fail_null("question", error);
    if (!body && body_length > 0) return c::fail_null("body", error);
    std::string text;
    if (body_length > 0) text.assign(static_cast<const char*>(body), body_length);
    return c::give(
        producer->any().reply(question->message, std::move(text), milliseconds{timeout_ms}),
        nullptr, error);
  });
}

std::int32_t apogee_producer_recall(apogee_producer* producer, const char* topic,
                                    const char* recall_handle, std::int64_t timeout_ms,
                                    apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    if (!topic || !recall_handle) return c::fail_null("topic or recall_handle", error);
    const auto recalled = producer->any().recall(topic, recall_handle, milliseconds{timeout_ms});
    return recalled ? static_cast<std::int32_t>(APOGEE_OK) : c::fail(recalled.error(), error);
  });
}

std::int32_t apogee_producer_queue_count(apogee_producer* producer, const char* topic,
                                         std::int64_t timeout_ms, std::size_t* count,
                                         apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    if (!topic) return c::fail_null("topic", error);
    const auto queues = producer->any().queues(topic, milliseconds{timeout_ms});
    if (!queues) return c::fail(queues.error(), error);
    if (count) *count = queues->size();
    return APOGEE_OK;
  });
}

}  // extern "C"
