#include <deque>
#include <vector>

#include "c/convert.h"
#include "c/settings.h"

using namespace apogee;

struct apogee_push_consumer {
  PushConsumer consumer;
};

namespace {

bool consumed(apogee_consume_function consume, void* context,
              std::span<const ReceivedMessage> batch) {
  std::deque<apogee_received> lent;  // stay where they are
  std::vector<const apogee_received*> messages;
  for (const ReceivedMessage& each : batch) messages.push_back(&lent.emplace_back(each));
  return consume(context, messages.data(), messages.size()) == APOGEE_CONSUMED;
}

Result<std::vector<Subscription>> subscriptions_of(const apogee_subscription* given,
                                                   std::size_t count) {
  std::vector<Subscription> subscriptions;
  for (std::size_t i = 0; i < count; ++i) {
    auto each = c::subscription_of(given ? &given[i] : nullptr);
    if (!each) return each.error();
    subscriptions.push_back(*std::move(each));
  }
  return subscriptions;
}

}  // namespace

extern "C" {

std::int32_t apogee_push_consumer_start(apogee_client* client, const apogee_setting* settings,
                                        std::size_t count, const apogee_subscription* subscriptions,
                                        std::size_t subscription_count,
                                        apogee_consume_function consume, void* context,
                                        apogee_push_consumer** consumer, apogee_error* error) {
  return c::guarded(error, [&]() -> std::int32_t {
    if (!client || !consumer || !consume) return c::fail_null("client, consumer or consume", error);
    PushConsumerConfig config;
    bool orderly = false;
    auto known = c::settings_of(config);
    known.push_back(c::orderly_setting(orderly));
    if (auto applied = c::apply({settings, count}, std::move(known)); !applied)
      return c::fail(applied.error(), error);
    auto topics = subscriptions_of(subscriptions, subscription_count);
    if (!topics) return c::fail(topics.error(), error);
    config.subscriptions = *std::move(topics);
    if (orderly)
      config.on_messages_orderly = [consume, context](std::span<const ReceivedMessage> batch) {
        return consumed(consume, context, batch) ? ConsumedOrderly::kDone
                                                 : ConsumedOrderly::kSuspend;
      };
    else
      config.on_messages = [consume, context](std::span<const ReceivedMessage> batch) {
        return consumed(consume, context, batch) ? Consumed::kDone : Consumed::kRetryLater;
      };
    auto started = client->client.push_consumer(std::move(config));
    if (!started) return c::fail(started.error(), error);
    *consumer = new apogee_push_consumer{*std::move(started)};
    return APOGEE_OK;
  });
}

void apogee_push_consumer_suspend(apogee_push_consumer* consumer) {
  consumer->consumer.suspend();
}
void apogee_push_consumer_resume(apogee_push_consumer* consumer) {
  consumer->consumer.resume();
}
std::size_t apogee_push_consumer_queue_count(const apogee_push_consumer* consumer) {
  return consumer->consumer.queues().size();
}
void apogee_push_consumer_free(apogee_push_consumer* consumer) {
  delete consumer;
}

}  // extern "C"
