#include "client/trace_sender.h"

#include "client/producer_core.h"
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

}  // namespace

TraceSender::TraceSender(std::shared_ptr<Instance> instance, std::string topic)
    : instance_{std::move(instance)},
      topic_{std::move(topic)},
      producer_{inner_producer(instance_)} {
  Env& env = instance_->env();
  flushes_ = std::make_unique<Periodic>(env.clock, env.workers, kFlushInterval, kFlushInterval,
                                        [this] { flush(); });
}

TraceSender::~TraceSender() = default;

void TraceSender::add(TraceRecord record) {
  if (!buffer_.add(std::move(record)))
    instance_->env().log.debug("trace record dropped, too many wait: topic={}", topic_);
}

Farewells TraceSender::flush() {
  Farewells farewells;
  if (buffer_.size() == 0 || !producer_) return farewells;
  const auto& producer = *producer_;
  for (Message& each : buffer_.take(topic_)) {
    producer->send_as_is(
        std::move(each), kSendTimeout,
        [instance = instance_, heard = farewells.expect()](const Result<SendReceipt>& sent) {
          heard();
          if (!sent) instance->env().log.warn("trace not sent: reason=\"{}\"", sent.error().detail);
        });
  }
  return farewells;
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
