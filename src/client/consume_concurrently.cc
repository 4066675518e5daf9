#include <exception>

#include "client/consumption.h"
#include "client/push_consumer.h"
#include "client/thrown.h"

namespace apogee::client {
namespace {

constexpr auto kSubmitAgain = 5s;     // after a message could not be sent back
constexpr int kExpiredInARound = 16;  // of one queue
constexpr std::int32_t kExpiredDelayLevel = 3;

std::chrono::milliseconds since(Clock& clock, Clock::Instant began) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(clock.now() - began);
}

/// Some messages that were pulled together. `pulled` owns them.
struct Batch {
  MessageQueue queue;
  ProcessQueuePtr messages;
  std::shared_ptr<void> pulled;
  std::span<ReceivedMessage> span;
};

/// Many calls at once, whatever queue their messages come from (ConsumeMessageConcurrentlyService).
class Concurrent final : public Consumption {
 public:
  explicit Concurrent(PushConsumerCore& consumer) : consumer_{consumer} {}

  void begin() override { clean_later(); }
  void submit(const MessageQueue& queue, const ProcessQueuePtr& messages, const Pulled& pulled,
              bool) override;
  bool let_go(const MessageQueue&, ProcessQueue&) override { return true; }
  protocol::Json consume_directly(const ReceivedMessage& message) override;

 private:
  Clock& clock() { return consumer_.instance().env().clock; }
  void post(Batch batch);
  void run(const Batch& batch);
  void settle(const Batch& batch, const ConsumeContext& context, Consumed result);
  void send_back(const Batch& batch, std::size_t index, std::int32_t delay_level);
  void done(const Batch& batch, std::span<const ReceivedMessage> messages);
  void clean_later();
  void clean();
  void clean_queue(const MessageQueue& queue, const ProcessQueuePtr& messages, int rounds);

  PushConsumerCore& consumer_;
};

void Concurrent::submit(const MessageQueue& queue, const ProcessQueuePtr& messages,
                        const Pulled& pulled, bool) {
  const std::span<ReceivedMessage> all{*pulled};
  const auto most = static_cast<std::size_t>(consumer_.config().consume_message_batch_max_size);
  for (std::size_t at = 0; at < all.size(); at += most)
    post({queue, messages, pulled, all.subspan(at, std::min(most, all.size() - at))});
}

void Concurrent::post(Batch batch) {
  consumer_.on_consume_thread(
      [self = consumer_.shared_from_this(), this, batch = std::move(batch)] { run(batch); });
}

void Concurrent::run(const Batch& batch) {
  if (batch.messages->dropped) return;
  const auto pass = consumer_.gate().enter();
  if (!pass) return;
  const std::string started = std::to_string(clock().wall_ms());
  for (ReceivedMessage& each : batch.span) each.properties["CONSUME_START_TIME"] = started;
  batch.messages->begin_consuming(batch.span);
  ConsumeContext context{.queue = consumer_.instance().visible(batch.queue)};
  const auto began = clock().now();
  const Consumed result = consumer_.call_program(batch.span, context);
  // Given to another member meanwhile: that one gets these messages, too.
  if (batch.messages->dropped) return;
  const bool good = result == Consumed::kDone;
  consumer_.consume_statistics().consumed(batch.queue.topic, good ? batch.span.size() : 0,
                                          good ? 0 : batch.span.size(), since(clock(), began));
  settle(batch, context, result);
}

void Concurrent::settle(const Batch& batch, const ConsumeContext& context, Consumed result) {
  const auto count = static_cast<std::int64_t>(batch.span.size());
  const std::int64_t good =
      result == Consumed::kDone
          ? std::clamp<std::int64_t>(context.ack_index + std::int64_t{1}, 0, count)
          : 0;
  if (!consumer_.clustering()) {  // nobody to send it back to
    if (good < count)
      consumer_.instance().env().log.warn("broadcast messages dropped after a failure: queue={}",
                                          to_string(batch.queue));
    return done(batch, batch.span);
  }
  if (good > 0) done(batch, batch.span.first(static_cast<std::size_t>(good)));
  for (auto i = static_cast<std::size_t>(good); i < batch.span.size(); ++i) {
    if (batch.messages->contains(batch.span[i].queue_offset))
      send_back(batch, i, context.delay_level);
  }
}

void Concurrent::send_back(const Batch& batch, std::size_t index, std::int32_t delay_level) {
  const auto pass = consumer_.gate().enter();
  if (!pass) return;
  const Batch one{batch.queue, batch.messages, batch.pulled, batch.span.subspan(index, 1)};
  consumer_.send_back().send(
      std::shared_ptr<const ReceivedMessage>{batch.pulled, &one.span.front()}, delay_level,
      [self = consumer_.shared_from_this(), this, one, pass](const Result<Ok>& sent) {
        if (one.messages->dropped) return;
        if (sent) return done(one, one.span);
        one.messages->end_consuming(one.span);
        ++one.span.front().reconsume_times;
        consumer_.after(kSubmitAgain, [this, one] { post(one); });
      });
}

void Concurrent::done(const Batch& batch, std::span<const ReceivedMessage> messages) {
  const std::int64_t offset = batch.messages->remove(messages);
  if (offset >= 0 && !batch.messages->dropped)
    consumer_.offset_store().update(batch.queue, offset, true);
}

// ---- Messages whose consumption takes too long
// ---------------------------------------------------

void Concurrent::clean_later() {
  consumer_.after(consumer_.config().consume_timeout, [this] {
    clean();
    clean_later();
  });
}

void Concurrent::clean() {
  if (!consumer_.clustering()) return;
  for (const auto& [queue, messages] : consumer_.table().queues())
    clean_queue(queue, messages, kExpiredInARound);
}

/// The first message holds back the offset of its queue; so it is sent back and counts as done.
void Concurrent::clean_queue(const MessageQueue& queue, const ProcessQueuePtr& messages,
                             int rounds) {
  const auto first = messages->first_older_than(consumer_.config().consume_timeout);
  const auto pass = consumer_.gate().enter();
  if (rounds == 0 || !first || !pass || messages->dropped) return;
  consumer_.instance().env().log.warn("consumption takes too long, message sent back: message={}",
                                      first->message_id);
  consumer_.send_back().send(first, kExpiredDelayLevel,
                             [self = consumer_.shared_from_this(), this, queue, messages, first,
                              rounds, pass](const Result<Ok>& sent) {
                               if (!sent || messages->dropped) return;
                               done({queue, messages, first, {}},
                                    std::span<const ReceivedMessage>{first.get(), 1});
                               clean_queue(queue, messages, rounds - 1);
                             });
}

protocol::Json Concurrent::consume_directly(const ReceivedMessage& message) {
  const CallbackScope scope{CallbackScope::Where::kOwnThread};
  ConsumeContext context{.queue = consumer_.instance().visible(message.queue)};
  const auto began = clock().now();
  std::string result, remark;
  const auto thrown = thrown_by([&] {
    const auto consumed =
        consumer_.config().on_messages(std::span<const ReceivedMessage>{&message, 1}, context);
    result = consumed == Consumed::kDone ? "CR_SUCCESS" : "CR_LATER";
  });
  if (thrown) {
    result = "CR_THROW_EXCEPTION";
    remark = *thrown;
  }
  return direct_result(false, true, result, remark, since(clock(), began));
}

}  // namespace

std::unique_ptr<Consumption> make_concurrent(PushConsumerCore& consumer) {
  return std::make_unique<Concurrent>(consumer);
}

protocol::Json direct_result(bool order, bool auto_commit, const std::string& result,
                             const std::string& remark, std::chrono::milliseconds took) {
  using protocol::Json;
  Json json = Json::object();
  json.set("autoCommit", Json{auto_commit});
  json.set("consumeResult", Json{result});
  json.set("order", Json{order});
  if (!remark.empty()) json.set("remark", Json{remark});
  json.set("spentTimeMills", Json{static_cast<std::int64_t>(took.count())});
  return json;
}

}  // namespace apogee::client
