#include "client/trace_sender.h"

#include "client/producer_core.h"
#include "client/waiting.h"
#include "protocol/message.h"

namespace apogee::client {
namespace {
constexpr auto kFlushInterval = 5s;
constexpr auto kSendTimeout = 5'000ms;

std::vector<TracedMessage> traced(std::span<const ReceivedMessage> messages) {
  std::vector<TracedMessage> all;
  for (const ReceivedMessage& each : messages) {
    if (each.property(protocol::property::kTraceOn) == "false") continue;
    all.push_back({.topic = each.topic,
                   .message_id = each.message_id,
                   .offset_message_id = each.offset_message_id,
                   .tag = each.tag,
                   .keys = each.keys,
                   .store_host = each.store_host,
                   .body_bytes = each.body.size(),
                   .type = TraceType::kNormal,
                   .retry_times = each.reconsume_times});
  }
  return all;
}

std::string region(std::span<const ReceivedMessage> messages) {
  return std::string{messages.front().property(protocol::property::kRegion).value_or("")};
}

ConsumeCode code_of(ConsumeOutcome outcome) {
  switch (outcome) {
    case ConsumeOutcome::kSuccess:
      return ConsumeCode::kSuccess;
    case ConsumeOutcome::kTimeOut:
      return ConsumeCode::kTimeOut;
    case ConsumeOutcome::kException:
      return ConsumeCode::kException;
    case ConsumeOutcome::kFailed:
      return ConsumeCode::kFailed;
  }
  return ConsumeCode::kFailed;
}

/// Asked for at once: a client that ends makes no new ones. Null: it ends already.
std::shared_ptr<ProducerCore> producer_of(const std::shared_ptr<Instance>& instance) {
  auto producer = inner_producer(instance);
  return producer ? *std::move(producer) : nullptr;
}

}  // namespace

TraceSender::TraceSender(std::shared_ptr<Instance> instance, std::string topic)
    : instance_{std::move(instance)}, topic_{std::move(topic)}, producer_{producer_of(instance_)} {
  Env& env = instance_->env();
  flushes_ = std::make_unique<Periodic>(env.clock, env.workers, kFlushInterval, kFlushInterval,
                                        [this] { flush(); });
}

TraceSender::~TraceSender() = default;

void TraceSender::add(TraceRecord record) {
  if (!buffer_.add(std::move(record)))
    instance_->env().log.debug("trace record dropped, too many wait: topic={}", topic_);
}

void TraceSender::flush() {
  send_all([] { return [] {}; });
}

void TraceSender::finish() {
  Farewells farewells;
  send_all([&] { return farewells.expect(); });
  farewells.wait();
}

void TraceSender::send_all(const std::function<std::function<void()>()>& expect) {
  if (buffer_.size() == 0 || !producer_) return;
  for (Message& each : buffer_.take(topic_)) {
    producer_->send_as_is(
        std::move(each), kSendTimeout,
        [instance = instance_, heard = expect()](const Result<SendReceipt>& sent) {
          heard();
          if (!sent) instance->env().log.warn("trace not sent: reason=\"{}\"", sent.error().detail);
        });
  }
}

std::string TraceSender::before(const std::string& group,
                                std::span<const ReceivedMessage> messages) {
  const std::string id = instance_->unique_ids().next();
  const auto all = traced(messages);
  if (!all.empty())
    add(before_consume_record({instance_->env().clock.wall_ms(), region(messages), group}, id,
                              all));
  return id;
}

void TraceSender::after(const std::string& group, const std::string& request_id,
                        std::span<const ReceivedMessage> messages, std::chrono::milliseconds took,
                        ConsumeOutcome outcome) {
  const auto all = traced(messages);
  if (all.empty()) return;
  const auto count = static_cast<std::int64_t>(messages.size());
  add(after_consume_record({instance_->env().clock.wall_ms(), region(messages), group}, request_id,
                           all, took.count() / count, code_of(outcome)));
}

}  // namespace apogee::client
