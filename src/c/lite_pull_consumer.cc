#include <deque>
#include <vector>

#include "c/convert.h"
#include "c/settings.h"
#include "client/waiting.h"

using namespace apogee;

struct apogee_lite_pull_consumer {
  LitePullConsumer consumer;
};

struct apogee_batch {
  const std::vector<ReceivedMessage> messages;
  std::deque<apogee_received> lent;  // stay where they are
};

namespace {

Result<MessageQueue> queue_of(const apogee_queue* given) {
  if (!given || !given->topic || !given->broker)
    return Error{Errc::kInvalidArgument, "a queue without topic or broker"};
  return MessageQueue{given->topic, given->broker, given->queue_id};
}

}  // namespace

extern "C" {

std::size_t apogee_batch_size(const apogee_batch* batch) {
  return batch->lent.size();
}
const apogee_received* apogee_batch_message(const apogee_batch* batch, std::size_t index) {
  return index < batch->lent.size() ? &batch->lent[index] : nullptr;
}
void apogee_batch_free(apogee_batch* batch) {
  delete batch;
}

std::int32_t apogee_lite_pull_consumer_start(apogee_client* client, const apogee_setting* settings,
                                             std::size_t count,
                                             apogee_lite_pull_consumer** consumer,
                                             apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    if (!client || !consumer) return c::fail_null("client or consumer", error);
    LitePullConsumerConfig config;
    if (auto applied = c::apply({settings, count}, c::settings_of(config)); !applied)
      return c::fail(applied.error(), error);
    auto started = client->client.lite_pull_consumer(std::move(config));
    if (!started) return c::fail(started.error(), error);
    *consumer = new apogee_lite_pull_consumer{*std::move(started)};
    return APOGEE_OK;
  });
}

std::int32_t apogee_lite_pull_consumer_subscribe(apogee_lite_pull_consumer* consumer,
                                                 const apogee_subscription* subscription,
                                                 apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    const auto given = c::subscription_of(subscription);
    if (!given) return c::fail(given.error(), error);
    return c::give(consumer->consumer.subscribe(given->topic, given->filter), error);
  });
}
void apogee_lite_pull_consumer_unsubscribe(apogee_lite_pull_consumer* consumer, const char* topic) {
  if (topic) consumer->consumer.unsubscribe(topic);
}
std::int32_t apogee_lite_pull_consumer_assign(apogee_lite_pull_consumer* consumer,
                                              const apogee_queue* queues, std::size_t count,
                                              apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    if (!queues && count > 0) return c::fail_null("queues", error);
    std::vector<MessageQueue> wanted;
    for (std::size_t i = 0; i < count; ++i) {
      auto queue = queue_of(&queues[i]);
      if (!queue) return c::fail(queue.error(), error);
      wanted.push_back(*std::move(queue));
    }
    return c::give(consumer->consumer.assign(wanted), error);
  });
}

std::int32_t apogee_lite_pull_consumer_poll(apogee_lite_pull_consumer* consumer,
                                            std::int64_t timeout_ms, apogee_batch** batch,
                                            apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    if (!batch) return c::fail_null("batch", error);
    auto messages = client::wait_for<LitePullConsumer::Messages>([&](auto done) {
      consumer->consumer.poll(std::chrono::milliseconds{timeout_ms}, std::move(done));
    });
    if (!messages) return c::fail(messages.error(), error);
    auto polled = std::make_unique<apogee_batch>(apogee_batch{*std::move(messages), {}});
    for (const ReceivedMessage& each : polled->messages) polled->lent.emplace_back(each);
    *batch = polled.release();
    return APOGEE_OK;
  });
}

std::int32_t apogee_lite_pull_consumer_seek(apogee_lite_pull_consumer* consumer,
                                            const apogee_queue* queue, std::int64_t offset,
                                            apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    const auto where = queue_of(queue);
    if (!where) return c::fail(where.error(), error);
    LitePullConsumer& puller = consumer->consumer;
    if (offset == APOGEE_SEEK_BEGIN) return c::give(puller.seek_to_begin(*where), error);
    if (offset == APOGEE_SEEK_END) return c::give(puller.seek_to_end(*where), error);
    return c::give(puller.seek(*where, offset), error);
  });
}

void apogee_lite_pull_consumer_commit(apogee_lite_pull_consumer* consumer) {
  consumer->consumer.commit();
}
std::int32_t apogee_lite_pull_consumer_committed(apogee_lite_pull_consumer* consumer,
                                                 const apogee_queue* queue, std::int64_t* offset,
                                                 apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    if (!offset) return c::fail_null("offset", error);
    const auto where = queue_of(queue);
    if (!where) return c::fail(where.error(), error);
    const auto committed = consumer->consumer.committed(*where);
    if (!committed) return c::fail(committed.error(), error);
    *offset = committed->value_or(-1);
    return APOGEE_OK;
  });
}
std::size_t apogee_lite_pull_consumer_queue_count(const apogee_lite_pull_consumer* consumer) {
  return consumer->consumer.assignment().size();
}
void apogee_lite_pull_consumer_free(apogee_lite_pull_consumer* consumer) {
  delete consumer;
}

}  // extern "C"
