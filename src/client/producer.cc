#include "apogee/producer.h"

#include <future>
#include <random>

#include "client/producer_core.h"
#include "client/waiting.h"
#include "protocol/message.h"

namespace apogee {

using client::Mode;
using client::ProducerCore;
using client::Target;
using client::wait_for;

namespace {

Target to(const MessageQueue& queue) {
  return {.select = {}, .queue = queue};
}
Target to(QueueSelector select) {
  return {.select = std::move(select), .queue = {}};
}

/// What is known when the call returns.
Result<Ok> oneway(ProducerCore& core, const Message& message, Target target) {
  const auto promise = std::make_shared<std::promise<Result<SendReceipt>>>();
  auto known = promise->get_future();
  core.send(Message{message}, std::move(target), Mode::kOneway, core.config().send_timeout,
            [promise](Result<SendReceipt> sent) { promise->set_value(std::move(sent)); });
  if (known.wait_for(std::chrono::seconds{0}) != std::future_status::ready) return Ok{};
  const auto sent = known.get();
  if (!sent) return sent.error();
  return Ok{};
}

using Answered = std::function<void(Result<ReceivedMessage>)>;

Result<ReceivedMessage> asked(ProducerCore& core, const Message& question, Target target,
                              std::chrono::milliseconds timeout) {
  return wait_for<ReceivedMessage>(
      [&](auto done) { core.request(question, std::move(target), timeout, std::move(done)); });
}
Awaitable<ReceivedMessage> asking(std::shared_ptr<ProducerCore> core, Message question,
                                  Target target, std::chrono::milliseconds timeout) {
  return Awaitable<ReceivedMessage>{[core = std::move(core), question = std::move(question),
                                     target = std::move(target), timeout](Answered done) mutable {
    core->request(std::move(question), std::move(target), timeout, std::move(done));
  }};
}

TransactionalProducer::Local local_of(std::function<Outcome()> local) {
  return [local = std::move(local)](const Message&, const SendReceipt&) { return local(); };
}

}  // namespace

const char* name_of(SendStatus status) {
  switch (status) {
    case SendStatus::kOk:
      return "ok";
    case SendStatus::kFlushDiskTimeout:
      return "flush disk timeout";
    case SendStatus::kFlushReplicaTimeout:
      return "flush replica timeout";
    case SendStatus::kReplicaNotAvailable:
      return "replica not available";
  }
  return "?";
}

std::string to_string(const MessageQueue& queue) {
  return queue.topic + "/" + queue.broker + "/" + std::to_string(queue.queue_id);
}

QueueSelector by_key(std::string key) {
  // SelectMessageQueueByHash: the absolute remainder.
  return [hash = static_cast<std::int64_t>(protocol::java_hash(key))](
             std::span<const MessageQueue> queues, const Message&) {
    const auto remainder = hash % static_cast<std::int64_t>(queues.size());
    return static_cast<std::size_t>(remainder < 0 ? -remainder : remainder);
  };
}

QueueSelector by_random() {
  return [](std::span<const MessageQueue> queues, const Message&) {
    static thread_local std::minstd_rand random{std::random_device{}()};
    return random() % queues.size();
  };
}

Producer::Producer(std::shared_ptr<ProducerCore> core) : core_{std::move(core)} {}
Producer::Producer(Producer&&) noexcept = default;
Producer& Producer::operator=(Producer&& other) noexcept {
  if (this != &other) {
    shutdown();
    core_ = std::move(other.core_);
  }
  return *this;
}
Producer::~Producer() {
  shutdown();
}
void Producer::shutdown() {
  if (core_) core_->shutdown();
}
void Producer::shutdown(std::function<void(Result<Ok>)> done) {
  client::shut_down(core_, std::move(done));
}
Awaitable<Ok> Producer::shutdown_async() {
  return client::shut_down(core_);
}

Result<SendReceipt> Producer::send(const Message& message) {
  return send(message, core_->config().send_timeout);
}
Result<SendReceipt> Producer::send(const Message& message, Milliseconds timeout) {
  return wait_for<SendReceipt>(
      [&](auto done) { core_->send(Message{message}, {}, Mode::kSync, timeout, std::move(done)); });
}
void Producer::send(Message message, Milliseconds timeout, Callback done) {
  core_->send(std::move(message), {}, Mode::kAsync, timeout, std::move(done));
}
Awaitable<SendReceipt> Producer::send_async(Message message, Milliseconds timeout) {
  return Awaitable<SendReceipt>{
      [core = core_, message = std::move(message), timeout](Callback done) mutable {
        core->send(std::move(message), {}, Mode::kAsync, timeout, std::move(done));
      }};
}
Result<Ok> Producer::send_oneway(const Message& message) {
  return oneway(*core_, message, {});
}

Result<SendReceipt> Producer::send(const Message& message, const QueueSelector& select,
                                   Milliseconds timeout) {
  return wait_for<SendReceipt>([&](auto done) {
    core_->send(Message{message}, to(select), Mode::kSync, timeout, std::move(done));
  });
}
void Producer::send(Message message, QueueSelector select, Milliseconds timeout, Callback done) {
  core_->send(std::move(message), to(std::move(select)), Mode::kAsync, timeout, std::move(done));
}
Awaitable<SendReceipt> Producer::send_async(Message message, QueueSelector select,
                                            Milliseconds timeout) {
  return Awaitable<SendReceipt>{[core = core_, message = std::move(message),
                                 select = std::move(select), timeout](Callback done) mutable {
    core->send(std::move(message), to(std::move(select)), Mode::kAsync, timeout, std::move(done));
  }};
}
Result<Ok> Producer::send_oneway(const Message& message, const QueueSelector& select) {
  return oneway(*core_, message, to(select));
}

Result<SendReceipt> Producer::send(const Message& message, const MessageQueue& queue,
                                   Milliseconds timeout) {
  return wait_for<SendReceipt>([&](auto done) {
    core_->send(Message{message}, to(queue), Mode::kSync, timeout, std::move(done));
  });
}
void Producer::send(Message message, const MessageQueue& queue, Milliseconds timeout,
                    Callback done) {
  core_->send(std::move(message), to(queue), Mode::kAsync, timeout, std::move(done));
}
Awaitable<SendReceipt> Producer::send_async(Message message, const MessageQueue& queue,
                                            Milliseconds timeout) {
  return Awaitable<SendReceipt>{
      [core = core_, message = std::move(message), queue, timeout](Callback done) mutable {
        core->send(std::move(message), to(queue), Mode::kAsync, timeout, std::move(done));
      }};
}
Result<Ok> Producer::send_oneway(const Message& message, const MessageQueue& queue) {
  return oneway(*core_, message, to(queue));
}

Result<SendReceipt> Producer::send(std::span<const Message> batch, Milliseconds timeout) {
  return wait_for<SendReceipt>(
      [&](auto done) { core_->send_batch(batch, {}, Mode::kSync, timeout, std::move(done)); });
}
void Producer::send(std::span<const Message> batch, Milliseconds timeout, Callback done) {
  core_->send_batch(batch, {}, Mode::kAsync, timeout, std::move(done));
}
Awaitable<SendReceipt> Producer::send_async(std::vector<Message> batch, Milliseconds timeout) {
  return Awaitable<SendReceipt>{
      [core = core_, batch = std::move(batch), timeout](Callback done) mutable {
        core->send_batch(batch, {}, Mode::kAsync, timeout, std::move(done));
      }};
}

Result<SendReceipt> Producer::send(std::span<const Message> batch, const MessageQueue& queue,
                                   Milliseconds timeout) {
  return wait_for<SendReceipt>([&](auto done) {
    core_->send_batch(batch, to(queue), Mode::kSync, timeout, std::move(done));
  });
}
void Producer::send(std::span<const Message> batch, const MessageQueue& queue, Milliseconds timeout,
                    Callback done) {
  core_->send_batch(batch, to(queue), Mode::kAsync, timeout, std::move(done));
}
Awaitable<SendReceipt> Producer::send_async(std::vector<Message> batch, const MessageQueue& queue,
                                            Milliseconds timeout) {
  return Awaitable<SendReceipt>{
      [core = core_, batch = std::move(batch), queue, timeout](Callback done) mutable {
        core->send_batch(batch, to(queue), Mode::kAsync, timeout, std::move(done));
      }};
}

Result<ReceivedMessage> Producer::request(const Message& question, Milliseconds timeout) {
  return asked(*core_, question, {}, timeout);
}
void Producer::request(Message question, Milliseconds timeout, Answered done) {
  core_->request(std::move(question), {}, timeout, std::move(done));
}
Awaitable<ReceivedMessage> Producer::request_async(Message question, Milliseconds timeout) {
  return asking(core_, std::move(question), {}, timeout);
}
Result<ReceivedMessage> Producer::request(const Message& question, const QueueSelector& select,
                                          Milliseconds timeout) {
  return asked(*core_, question, to(select), timeout);
}
void Producer::request(Message question, QueueSelector select, Milliseconds timeout,
                       Answered done) {
  core_->request(std::move(question), to(std::move(select)), timeout, std::move(done));
}
Awaitable<ReceivedMessage> Producer::request_async(Message question, QueueSelector select,
                                                   Milliseconds timeout) {
  return asking(core_, std::move(question), to(std::move(select)), timeout);
}
Result<ReceivedMessage> Producer::request(const Message& question, const MessageQueue& queue,
                                          Milliseconds timeout) {
  return asked(*core_, question, to(queue), timeout);
}
void Producer::request(Message question, const MessageQueue& queue, Milliseconds timeout,
                       Answered done) {
  core_->request(std::move(question), to(queue), timeout, std::move(done));
}
Awaitable<ReceivedMessage> Producer::request_async(Message question, const MessageQueue& queue,
                                                   Milliseconds timeout) {
  return asking(core_, std::move(question), to(queue), timeout);
}
Result<SendReceipt> Producer::reply(const ReceivedMessage& question, std::string body,
                                    Milliseconds timeout) {
  return wait_for<SendReceipt>(
      [&](auto done) { core_->reply(question, std::move(body), timeout, std::move(done)); });
}

void Producer::reply(const ReceivedMessage& question, std::string body, Milliseconds timeout,
                     Callback done) {
  core_->reply(question, std::move(body), timeout, std::move(done));
}
Awaitable<SendReceipt> Producer::reply_async(ReceivedMessage question, std::string body,
                                             Milliseconds timeout) {
  return Awaitable<SendReceipt>{[core = core_, question = std::move(question),
                                 body = std::move(body), timeout](Callback done) mutable {
    core->reply(question, std::move(body), timeout, std::move(done));
  }};
}

Result<std::string> Producer::recall(const std::string& topic, const std::string& recall_handle,
                                     Milliseconds timeout) {
  return wait_for<std::string>(
      [&](auto done) { core_->recall(topic, recall_handle, timeout, std::move(done)); });
}

void Producer::recall(const std::string& topic, const std::string& recall_handle,
                      Milliseconds timeout, std::function<void(Result<std::string>)> done) {
  core_->recall(topic, recall_handle, timeout, std::move(done));
}
Awaitable<std::string> Producer::recall_async(std::string topic, std::string recall_handle,
                                              Milliseconds timeout) {
  return Awaitable<std::string>{
      [core = core_, topic = std::move(topic), handle = std::move(recall_handle),
       timeout](auto done) { core->recall(topic, handle, timeout, std::move(done)); }};
}

Result<std::vector<MessageQueue>> Producer::queues(const std::string& topic, Milliseconds timeout) {
  return wait_for<std::vector<MessageQueue>>(
      [&](auto done) { core_->queues(topic, timeout, std::move(done)); });
}

void Producer::queues(const std::string& topic, Milliseconds timeout,
                      std::function<void(Result<std::vector<MessageQueue>>)> done) {
  core_->queues(topic, timeout, std::move(done));
}
Awaitable<std::vector<MessageQueue>> Producer::queues_async(std::string topic,
                                                            Milliseconds timeout) {
  return Awaitable<std::vector<MessageQueue>>{
      [core = core_, topic = std::move(topic), timeout](auto done) {
        core->queues(topic, timeout, std::move(done));
      }};
}

ProducerStatistics Producer::statistics() const {
  return core_->statistics();
}

Result<TransactionReceipt> TransactionalProducer::send(const Message& message, const Local& local,
                                                       Milliseconds timeout) {
  const auto core = producer_.core();  // `local` may destroy this
  auto sent =
      wait_for<SendReceipt>([&](auto done) { core->send_half(message, timeout, std::move(done)); });
  if (!sent) return sent.error();
  return core->settle(message, *std::move(sent), local);
}

Result<TransactionReceipt> TransactionalProducer::send(const Message& message,
                                                       const std::function<Outcome()>& local,
                                                       Milliseconds timeout) {
  return send(message, local_of(local), timeout);
}

void TransactionalProducer::send(Message message, Local local, Milliseconds timeout,
                                 Callback done) {
  producer_.core()->send_in_transaction(std::move(message), std::move(local), timeout,
                                        std::move(done));
}
void TransactionalProducer::send(Message message, std::function<Outcome()> local,
                                 Milliseconds timeout, Callback done) {
  send(std::move(message), local_of(std::move(local)), timeout, std::move(done));
}
Awaitable<TransactionReceipt> TransactionalProducer::send_async(Message message, Local local,
                                                                Milliseconds timeout) {
  return Awaitable<TransactionReceipt>{[core = producer_.core(), message = std::move(message),
                                        local = std::move(local), timeout](auto done) mutable {
    core->send_in_transaction(std::move(message), std::move(local), timeout, std::move(done));
  }};
}
Awaitable<TransactionReceipt> TransactionalProducer::send_async(Message message,
                                                                std::function<Outcome()> local,
                                                                Milliseconds timeout) {
  return send_async(std::move(message), local_of(std::move(local)), timeout);
}

}  // namespace apogee
