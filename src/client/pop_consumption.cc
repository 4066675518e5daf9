#include "client/pop_consumption.h"

#include <array>
#include <exception>

#include <fmt/format.h>

#include "client/push_consumer.h"
#include "client/received.h"
#include "protocol/codes.h"
#include "protocol/message.h"

namespace apogee::client {
namespace {

namespace request = protocol::request_code;
namespace response = protocol::response_code;

constexpr auto kPollTime = 15'000ms;
constexpr auto kPollGrace = 10'000ms;  // the call's timeout beyond the broker's
constexpr auto kAckTimeout = 3'000ms;
constexpr std::int32_t kMostReconsumeTimes = 16;

/// popDelayLevel of Java's consumer, in seconds.
constexpr std::array<int, 16> kHiddenSeconds{10,  30,  60,  120, 180,  240,  300,  360,
                                             420, 480, 540, 600, 1200, 1800, 3600, 7200};

bool wanted(const protocol::SubscriptionData& subscription, const ReceivedMessage& message) {
  return subscription.expression_type != "TAG" || subscription.tags_set.empty() ||
         subscription.tags_set.contains(message.tag);
}

std::vector<std::string_view> split(std::string_view text, char by) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const std::size_t at = text.find(by);
    parts.push_back(text.substr(0, at));
    text = at == std::string_view::npos ? std::string_view{} : text.substr(at + 1);
  }
  return parts;
}

}  // namespace

PopAnswer pop_answer(const protocol::PopMessageResponse& header) {
  PopAnswer answer{header.pop_time, header.invisible_ms, header.revive_queue, {}};
  const std::string text = header.start_offset_info.value_or("");
  for (const std::string_view entry : split(text, ';')) {  // "kind queue offset"
    const auto parts = split(entry, ' ');
    std::int32_t queue = 0;
    std::int64_t offset = 0;
    if (parts.size() != 3 || parts[0].size() != 1 || !protocol::from_text(parts[1], queue) ||
        !protocol::from_text(parts[2], offset))
      continue;
    answer.first_offsets[{parts[0].front(), queue}] = offset;
  }
  return answer;
}

Result<protocol::ReceiptHandle> handle_of(const ReceivedMessage& message, const PopAnswer& answer) {
  if (const auto text = message.property(protocol::property::kPopCheckpoint))
    return protocol::parse_handle(*text);
  const char kind = protocol::retry_kind(message.topic);
  const auto first = answer.first_offsets.find({kind, message.queue.queue_id});
  return protocol::ReceiptHandle{
      .start_offset = first == answer.first_offsets.end() ? message.queue_offset : first->second,
      .pop_time = answer.pop_time,
      .invisible_ms = answer.invisible_ms,
      .revive_queue = answer.revive_queue,
      .kind = kind,
      .broker_name = message.queue.broker,
      .queue_id = message.queue.queue_id,
      .queue_offset = message.queue_offset};
}

std::chrono::seconds hidden_after_failure(std::int32_t failures, std::int32_t delay_level) {
  const std::int32_t level = delay_level == 0 ? failures : delay_level;
  const auto last = static_cast<std::int32_t>(kHiddenSeconds.size()) - 1;
  return std::chrono::seconds{kHiddenSeconds[static_cast<std::size_t>(std::clamp(level, 0, last))]};
}

std::chrono::seconds hidden_when_exhausted(std::chrono::milliseconds age) {
  if (age > std::chrono::seconds{2 * kHiddenSeconds.back()}) return std::chrono::seconds{0};
  std::size_t level = kHiddenSeconds.size() - 1;
  while (level > 0 && age < std::chrono::seconds{kHiddenSeconds[level]}) --level;
  return std::chrono::seconds{kHiddenSeconds[level]};
}

// ---- Which queues
// --------------------------------------------------------------------------------

void PopConsumption::pop_from(const std::string& topic, const std::set<MessageQueue>& queues) {
  std::vector<QueuePtr> begun;
  {
    std::lock_guard lock{mutex_};
    std::erase_if(queues_, [&](const auto& entry) {
      const auto& [name, queue] = entry;
      if (name.topic != topic || queues.contains(name)) return false;
      queue->dropped = true;
      return true;
    });
    for (const MessageQueue& each : queues) {
      auto& queue = queues_[each];
      if (queue) continue;
      queue = std::make_shared<Queue>();
      queue->name = each;
      begun.push_back(queue);
    }
  }
  for (const QueuePtr& each : begun) pop(each);
}

std::set<MessageQueue> PopConsumption::queues() const {
  std::lock_guard lock{mutex_};
  std::set<MessageQueue> names;
  for (const auto& [name, queue] : queues_) names.insert(name);
  return names;
}

std::map<protocol::MessageQueue, protocol::PopProcessQueueInfo> PopConsumption::running_info()
    const {
  std::lock_guard lock{mutex_};
  std::map<protocol::MessageQueue, protocol::PopProcessQueueInfo> infos;
  for (const auto& [name, queue] : queues_)
    infos[{name.broker, name.queue_id, name.topic}] = {.dropped = queue->dropped,
                                                       .last_pop_timestamp = queue->last_pop_ms,
                                                       .wait_ack_count = queue->waiting};
  return infos;
}

// ---- The pop
// -------------------------------------------------------------------------------------

void PopConsumption::pop_after(Clock::Duration delay, const QueuePtr& queue) {
  consumer_.after(delay, [this, queue] { pop(queue); });
}

void PopConsumption::pop(const QueuePtr& queue) {
  const auto pass = consumer_.gate().enter();
  if (!pass || queue->dropped) return;
  queue->last_pop_ms = consumer_.instance().env().clock.wall_ms();
  const PushConsumerConfig& config = consumer_.config();
  if (consumer_.paused()) return pop_after(kPausedDelay, queue);
  if (queue->waiting > config.pop_threshold_for_queue) return pop_after(kFlowControlDelay, queue);
  const auto subscription = consumer_.subscription(queue->name.topic);
  const std::string address = consumer_.instance().routes().master(queue->name);
  if (!subscription || address.empty()) return pop_after(config.pull_delay_when_exception, queue);
  protocol::PopMessageRequest header;
  header.consumer_group = consumer_.group();
  header.topic = queue->name.topic;
  header.queue_id = queue->name.queue_id;
  header.max_messages = config.pop_batch_nums;
  header.invisible_ms = config.pop_invisible_time.count();
  header.poll_ms = kPollTime.count();
  header.born_time = consumer_.instance().env().clock.wall_ms();
  header.init_mode = config.from == StartFrom::kFirst ? 0 : 1;
  header.expression_type = subscription->expression_type;
  header.expression = subscription->sub_string;
  header.order = false;
  consumer_.instance().call(
      address, request::kPopMessage, header, {}, kPollTime + kPollGrace,
      [weak = consumer_.weak_from_this(), this, queue](Result<remoting::OwnedCommand> answer) {
        const auto self = weak.lock();
        if (self) answered(queue, std::move(answer));
      });
}

void PopConsumption::answered(const QueuePtr& queue, Result<remoting::OwnedCommand> answer) {
  const auto pass = consumer_.gate().enter();
  if (!pass || queue->dropped) return;
  const auto later = consumer_.config().pull_delay_when_exception;
  if (!answer) {
    consumer_.instance().env().log.warn("pop failed: queue={} reason=\"{}\"",
                                        to_string(queue->name), answer.error().detail);
    return pop_after(later, queue);
  }
  switch (answer->code) {
    case response::kSuccess:
      break;
    case response::kPullNotFound:
    case response::kPollingTimeout:
      return pop(queue);
    case response::kPollingFull:
      return pop_after(later, queue);
    default:
      consumer_.instance().env().log.warn("pop refused: queue={} code={} remark=\"{}\"",
                                          to_string(queue->name), answer->code, answer->remark);
      return pop_after(later, queue);
  }
  auto popped = decode(queue, *answer);
  if (!popped) {
    consumer_.instance().env().log.warn("pop not understood: queue={} reason=\"{}\"",
                                        to_string(queue->name), popped.error().detail);
    return pop_after(later, queue);
  }
  submit(*popped);
  pop(queue);
}

/// What cannot be read, or has no handle, comes again.
Result<PopConsumption::PoppedPtr> PopConsumption::decode(
    const QueuePtr& queue, const remoting::OwnedCommand& answer) const {
  const auto header = remoting::read_header<protocol::PopMessageResponse>(answer);
  if (!header) return header.error();
  auto popped = std::make_shared<Popped>();
  popped->queue = queue;
  popped->pop_time = header->pop_time;
  popped->invisible_ms = header->invisible_ms;
  popped->all = std::make_shared<std::vector<ReceivedMessage>>();
  std::vector<ReceivedMessage> messages;
  auto decoded = append_received(as_bytes(answer.body), consumer_.instance().config().name_space,
                                 queue->name.broker, messages);
  if (!decoded && messages.empty()) return decoded.error();
  const PopAnswer told = pop_answer(*header);
  for (ReceivedMessage& each : messages) {
    auto handle = handle_of(each, told);
    if (!handle) continue;
    each.properties[std::string{protocol::property::kPopCheckpoint}] = to_text(*handle);
    each.properties.try_emplace("1ST_POP_TIME", std::to_string(header->pop_time));
    each.topic =
        consumer_.instance().visible(queue->name).topic;  // not the retry topic it may lie in
    popped->handles.push_back(*std::move(handle));
    popped->all->push_back(std::move(each));
  }
  return popped;
}

std::int32_t PopConsumption::most_reconsume_times() const {
  const std::int32_t configured = consumer_.config().max_reconsume_times;
  return configured < 0 ? kMostReconsumeTimes : configured;
}

/// In batches; what nobody wants, or has failed too often, is acked at once.
void PopConsumption::submit(const PoppedPtr& popped) {
  const auto subscription = consumer_.subscription(popped->queue->name.topic);
  const std::int32_t most = most_reconsume_times();
  const auto batch_most =
      static_cast<std::size_t>(consumer_.config().consume_message_batch_max_size);
  const std::vector<ReceivedMessage>& all = *popped->all;
  popped->queue->waiting += static_cast<std::int64_t>(all.size());
  const auto take = [&](const ReceivedMessage& each) {
    return (!subscription || wanted(*subscription, each)) && each.reconsume_times <= most &&
           consumer_.accepts(each);
  };
  std::size_t taken = 0;
  Batch batch{popped, 0, 0};
  const auto post = [&] {
    if (batch.count == 0) return;
    consumer_.on_consume_thread([self = consumer_.shared_from_this(), this, batch] { run(batch); });
    batch.count = 0;
  };
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!take(all[i])) {
      post();
      ack(*popped, i);
      continue;
    }
    ++taken;
    if (batch.count == 0) batch.first = i;
    if (++batch.count == batch_most) post();
  }
  post();
  consumer_.consume_statistics().pulled(popped->queue->name.topic, taken, 0ms);
}

// ---- Consumption
// ---------------------------------------------------------------------------------

void PopConsumption::run(const Batch& batch) {
  const Popped& popped = *batch.popped;
  const auto pass = consumer_.gate().enter();
  Clock& clock = consumer_.instance().env().clock;
  const auto too_late = [&] { return clock.wall_ms() - popped.pop_time >= popped.invisible_ms; };
  if (!pass || popped.queue->dropped || too_late()) {  // somebody else gets them
    popped.queue->waiting -= static_cast<std::int64_t>(batch.count);
    return;
  }
  const std::span<const ReceivedMessage> messages =
      std::span{*popped.all}.subspan(batch.first, batch.count);
  ConsumeContext context{.queue = consumer_.instance().visible(popped.queue->name)};
  const auto began = clock.now();
  const Consumed result = consumer_.call_program(messages, context);
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(clock.now() - began);
  const bool good = result == Consumed::kDone;
  consumer_.consume_statistics().consumed(popped.queue->name.topic, good ? batch.count : 0,
                                          good ? 0 : batch.count, took);
  // They may have waited for a thread before: an old handle that is hidden anew revives once more.
  if (popped.queue->dropped || too_late()) {
    popped.queue->waiting -= static_cast<std::int64_t>(batch.count);
    return;
  }
  for (std::size_t i = 0; i < batch.count; ++i) {
    if (good && static_cast<std::int64_t>(i) <= context.ack_index)
      ack(popped, batch.first + i);
    else
      fail(popped, batch.first + i, context.delay_level);
  }
}

std::pair<std::string, std::string> PopConsumption::place_of(const Popped& popped,
                                                             std::size_t index) const {
  const protocol::ReceiptHandle& handle = popped.handles[index];
  const auto topic =
      protocol::topic_of_kind(popped.queue->name.topic, consumer_.group(), {&handle.kind, 1});
  return {topic.value_or(popped.queue->name.topic),
          consumer_.instance().routes().master(
              {popped.queue->name.topic, handle.broker_name, handle.queue_id})};
}

/// Both requests name the message alike.
template <class Header>
void PopConsumption::settle(const Popped& popped, std::size_t index, Header header,
                            const char* what_if_not) {
  --popped.queue->waiting;
  const auto [topic, address] = place_of(popped, index);
  const protocol::ReceiptHandle& handle = popped.handles[index];
  header.consumer_group = consumer_.group();
  header.topic = topic;
  header.queue_id = handle.queue_id;
  header.extra_info = to_text(handle);
  header.offset = handle.queue_offset;
  consumer_.instance().call(
      address, Header::kCode, header, {}, kAckTimeout,
      [self = consumer_.shared_from_this(), pass = consumer_.gate().enter(), what_if_not,
       id = (*popped.all)[index].message_id](const Result<remoting::OwnedCommand>& answer) {
        if (answer && answer->code == response::kSuccess) return;
        self->instance().env().log.warn("{}: message={} reason=\"{}\"", what_if_not, id,
                                        answer ? answer->remark : answer.error().detail);
      });
}

void PopConsumption::ack(const Popped& popped, std::size_t index) {
  settle(popped, index, protocol::AckMessageRequest{}, "ack failed, the message comes again");
}

void PopConsumption::fail(const Popped& popped, std::size_t index, std::int32_t delay_level) {
  const ReceivedMessage& message = (*popped.all)[index];
  const std::int32_t most = most_reconsume_times();
  if (message.reconsume_times < most)
    return change_invisible(popped, index,
                            hidden_after_failure(message.reconsume_times, delay_level));
  const auto born =
      std::chrono::duration_cast<std::chrono::milliseconds>(message.born.time_since_epoch());
  const std::chrono::milliseconds age{consumer_.instance().env().clock.wall_ms() - born.count()};
  const auto hidden = hidden_when_exhausted(age);
  if (hidden == std::chrono::seconds{0}) {
    consumer_.instance().env().log.warn("given up after too many failures: message={}",
                                        message.message_id);
    return ack(popped, index);
  }
  change_invisible(popped, index, hidden);
}

void PopConsumption::change_invisible(const Popped& popped, std::size_t index,
                                      std::chrono::seconds hidden) {
  protocol::ChangeInvisibleTimeRequest header;
  header.invisible_ms = std::chrono::milliseconds{hidden}.count();
  settle(popped, index, std::move(header),
         "invisible time not changed, the message comes again when it is over");
}

}  // namespace apogee::client
