#include "client/producer_core.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "client/accumulator.h"
#include "client/namespaces.h"
#include "client/recall_handle.h"
#include "client/send_operation.h"
#include "client/thrown.h"
#include "client/timeouts.h"
#include "client/validation.h"
#include "protocol/codes.h"
#include "protocol/message.h"
#include "protocol/names.h"

namespace apogee::client {
namespace {

namespace request_code = protocol::request_code;

constexpr auto kChecksEnd = 30s;  // as consumers wait for what they have handed over

Error stopped_error() {
  return Error{Errc::kStopped, "The producer service state not OK, SHUTDOWN_ALREADY"};
}

std::int32_t wire_outcome(Outcome outcome) {
  switch (outcome) {
    case Outcome::kCommit:
      return protocol::sys_flag::kCommit;
    case Outcome::kRollback:
      return protocol::sys_flag::kRollback;
    case Outcome::kUnknown:
      return 0;
  }
  return 0;
}

/// Java's LocalTransactionState.
const char* name_of_outcome(Outcome outcome) {
  switch (outcome) {
    case Outcome::kCommit:
      return "COMMIT_MESSAGE";
    case Outcome::kRollback:
      return "ROLLBACK_MESSAGE";
    case Outcome::kUnknown:
      break;
  }
  return "UNKNOW";
}

/// A random version 4 UUID, as Java's correlation ids are.
std::string uuid(Random& random) {
  const std::uint64_t a = random.next(), b = random.next();
  return fmt::format("{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}", a >> 32, (a >> 16) & 0xFFFF, a & 0xFFF,
                     0x8000 | ((b >> 48) & 0x3FFF), b & 0xFFFF'FFFF'FFFF);
}

Result<Ok> check_target(const Target& target, const std::string& topic) {
  if (!target.queue || target.queue->topic == topic) return Ok{};
  return Error{Errc::kInvalidArgument, "message's topic not equal mq's topic"};
}

}  // namespace

Result<std::shared_ptr<ProducerCore>> ProducerCore::start(
    std::shared_ptr<Instance> instance, TransactionalProducerConfig transactional) {
  const ProducerConfig& config = transactional.producer;
  if (auto checked = check_group(config.group); !checked) return checked.error();
  if (config.max_message_bytes == 0 || config.default_topic_queues <= 0 || config.retries < 0 ||
      config.retries_async < 0 || config.send_timeout <= 0ms)
    return Error{Errc::kInvalidArgument,
                 "max_message_bytes, default_topic_queues and send_timeout must be above zero, "
                 "retries not below it"};
  if (!std::ranges::is_sorted(config.avoid_steps, {}, &AvoidStep::latency) ||
      config.detect_interval <= 0ms || config.detect_timeout <= 0ms)
    return Error{Errc::kInvalidArgument,
                 "the latencies of avoid_steps must ascend, detect_interval and detect_timeout be "
                 "above zero"};
  for (const std::string& topic : config.topics)
    if (auto checked = check_send_topic(topic); !checked) return checked.error();
  if (config.batch_delay != 0ms) {
    if (auto checked = Accumulator::check({config.batch_delay, config.batch_bytes}); !checked)
      return checked.error();
  }
  std::shared_ptr<ProducerCore> core{
      new ProducerCore{std::move(instance), std::move(transactional)}};
  if (auto added = core->instance_->add(core); !added) return added.error();
  if (core->config_.avoid_slow_brokers && core->config_.detect_slow_brokers) {
    Env& env = core->instance_->env();
    core->probes_ =
        std::make_unique<Periodic>(env.clock, env.workers, 3s, 3s, [weak = core->weak_from_this()] {
          if (const auto self = weak.lock()) self->probe_slow_brokers();
        });
  }
  core->learn_routes();
  return core;
}

ProducerCore::ProducerCore(std::shared_ptr<Instance> instance, TransactionalProducerConfig config)
    : instance_{std::move(instance)},
      config_{std::move(config.producer)},
      group_{wrapped(config_.group, instance_->config().name_space)},
      on_check_{std::move(config.on_check)},
      before_end_{std::move(config.before_end)},
      faults_{instance_->env().clock,
              {.avoid_slow_brokers = config_.avoid_slow_brokers,
               .detect = config_.detect_slow_brokers,
               .steps = config_.avoid_steps}} {
  if (config_.trace)
    trace_ = std::make_unique<TraceSender>(
        instance_, wrapped(config_.trace_topic, instance_->config().name_space));
  if (config_.batch_delay > 0ms)
    accumulator_ = std::make_unique<Accumulator>(
        instance_->env().clock, Accumulator::Settings{.delay = config_.batch_delay,
                                                      .batch_bytes = config_.batch_bytes,
                                                      .encoded_bytes = config_.max_message_bytes});
}

ProducerCore::~ProducerCore() = default;

void ProducerCore::shutdown() {
  if (!stopped_.exchange(true)) {
    if (accumulator_)
      for (auto& batch : accumulator_->take_all()) send_gathered(std::move(batch));
    last_words();
    stop();
    instance_->remove_producer(group_);
  }
  // Its client may have ended first, while a check was running.
  checks_.close([] {});
  if (!CallbackScope::inside()) checks_.wait(kChecksEnd);
}

void ProducerCore::last_words() {
  if (trace_) trace_->flush().wait();
}

/// What is kept to be used again holds on to this producer. What is still gathered here has nowhere
/// to go: its client ends.
void ProducerCore::stop() {
  stopped_ = true;
  if (accumulator_)
    for (auto& batch : accumulator_->take_all()) {
      const Result<SendReceipt> result = refused(stopped_error());
      for (auto& each : batch.members) Instance::run_callback(each.done, result);
    }
  std::vector<SendOperationPtr> spare, ended;  // end without the locks
  std::lock_guard started{started_.mutex};
  std::lock_guard lock{ended_.mutex};
  spare.swap(started_.spare);
  ended.swap(ended_.spare);
}

std::vector<std::string> ProducerCore::topics() const {
  std::lock_guard lock{started_.mutex};
  return {started_.topics.begin(), started_.topics.end()};
}

// ---- Sending
// -------------------------------------------------------------------------------------

void ProducerCore::send(Message&& message, Target&& target, Mode mode,
                        std::chrono::milliseconds timeout, Done&& done) {
  const auto refuse = [&](Error error) { Instance::run_callback(done, refused(std::move(error))); };
  if (stopped_ || instance_->ending()) return refuse(stopped_error());
  if (auto checked = check_message(message, config_.max_message_bytes); !checked)
    return refuse(checked.error());
  if (auto checked = check_target(target, message.topic); !checked) return refuse(checked.error());
  if (accumulator_ && mode != Mode::kOneway && !target.select && Accumulator::fits(message)) {
    const std::size_t bytes = bytes_in_batch(message, instance_->config().name_space);
    Accumulator::Member member{std::move(message), std::move(done),
                               instance_->env().clock.now() + countable(timeout), bytes};
    if (gather(member, target.queue)) return;
    message = std::move(member.message);  // it goes alone
    done = std::move(member.done);
  }
  launch(std::move(message), {std::move(target), mode, timeout, std::move(done)});
}

void ProducerCore::send_batch(std::span<const Message> batch, Target target, Mode mode,
                              std::chrono::milliseconds timeout, Done done) {
  Result<Ok> checked = check_batch(batch, config_.max_message_bytes);
  if (checked) checked = check_target(target, batch.front().topic);
  if (stopped_ || instance_->ending()) checked = stopped_error();
  if (!checked) return Instance::run_callback(done, refused(std::move(checked.error())));
  launch(batch.front().topic, {std::move(target), mode, timeout, std::move(done)},
         [&](Outgoing& out, std::int64_t now) { set_batch(out, *instance_, batch, now); });
}

void ProducerCore::send_as_is(Message message, std::chrono::milliseconds timeout, Done done) {
  if (stopped_ || instance_->stopped())
    return Instance::run_callback(done, Result<SendReceipt>{stopped_error()});
  launch(std::move(message), {.timeout = timeout, .done = std::move(done)});
}

void ProducerCore::launch(Message&& message, SendRequest&& request,
                          const std::string& transaction_group) {
  launch(message.topic, std::move(request), [&](Outgoing& out, std::int64_t now) {
    set_message(out, *instance_, config_, std::move(message), transaction_group, now);
  });
}

template <class Set>
void ProducerCore::launch(const std::string& topic, SendRequest&& request, const Set& set) {
  const std::string& name_space = instance_->config().name_space;
  if (request.target.queue)
    request.target.queue->topic = wrapped(request.target.queue->topic, name_space);
  // The clock is read here, once for all that needs to know what time it is.
  const Clock::Instant now = instance_->env().clock.now();
  std::int64_t wall_ms = 0;
  std::string wire_topic = wrapped(topic, name_space);
  SendOperationPtr operation = operation_for(wire_topic, now, wall_ms);
  Outgoing& out = operation->prepare(std::move(wire_topic), std::move(request), now, wall_ms);
  set(out, wall_ms);
  if (out.batch) {
    if (auto checked = check_size(out.made.size(), config_.max_message_bytes); !checked) {
      SendOperation& refused = *operation;
      return refused.fail(std::move(operation), std::move(checked.error()));
    }
  }
  admit(std::move(operation), now);
}

/// To read a clock is the dearest step of a send: one is enough, and tells what the other shows
/// until it may have been set.
std::int64_t ProducerCore::Started::wall_ms_at(Clock::Instant now, const Clock& clock) {
  constexpr auto kBelieved = 10ms;
  if (asked_wall_ms == 0 || now - asked >= kBelieved) {
    asked = now;
    asked_wall_ms = clock.wall_ms();
  }
  return asked_wall_ms + std::chrono::duration_cast<std::chrono::milliseconds>(now - asked).count();
}

SendOperationPtr ProducerCore::operation_for(const std::string& topic, Clock::Instant now,
                                             std::int64_t& wall_ms) {
  SendOperationPtr operation;
  {
    std::lock_guard lock{started_.mutex};
    wall_ms = started_.wall_ms_at(now, instance_->env().clock);
    auto& spare = started_.spare;
    if (spare.empty()) {
      std::lock_guard ended{ended_.mutex};
      spare.swap(ended_.spare);
    }
    if (!spare.empty()) {
      operation = std::move(spare.back());
      spare.pop_back();
      if (!spare.empty()) spare.back()->fetch();
    }
    // Where a topic leads is kept fresh for as long as the producer lives.
    if (!operation || operation->topic() != topic) started_.topics.insert(topic);
  }
  if (!operation) operation = std::make_unique<SendOperation>(shared_from_this());
  return operation;
}

void ProducerCore::admit(SendOperationPtr operation, Clock::Instant now) {
  SendOperation& admitted = *operation;
  if (!bounded()) {
    take_room(admitted.bytes());
    return admitted.start(std::move(operation), now);
  }
  const Clock::Instant deadline = admitted.deadline();
  std::uint64_t number = 0;
  {
    std::lock_guard lock{started_.mutex};
    if (!started_.waiting.empty() || !take_room(admitted.bytes())) {  // each in its turn
      number = ++started_.last_number;
      started_.waiting.push_back({number, std::move(operation)});
    }
  }
  if (operation) return admitted.start(std::move(operation), now);
  instance_->env().clock.run_at(deadline, [weak = weak_from_this(), number] {
    const auto self = weak.lock();
    if (!self) return;
    SendOperationPtr late;
    {
      std::lock_guard lock{self->started_.mutex};
      auto& waiting = self->started_.waiting;
      const auto found = std::ranges::find(waiting, number, &Waiting::number);
      if (found == waiting.end()) return;  // it began
      late = std::move(found->operation);
      waiting.erase(found);
    }
    SendOperation& refused = *late;
    refused.fail(std::move(late), {Errc::kBusy,
                                   "send message tryAcquire semaphoreAsyncNum timeout: too much is "
                                   "in flight (max_in_flight, max_in_flight_bytes)"});
  });
}

ProducerCore::InFlight ProducerCore::in_flight() const {
  std::lock_guard lock{ended_.mutex};
  return {started_.count - ended_.count, started_.bytes - ended_.bytes};
}

bool ProducerCore::take_room(std::size_t bytes) {
  if (bounded()) {
    const InFlight now = in_flight();
    const bool too_many = config_.max_in_flight > 0 && now.count >= config_.max_in_flight;
    // A message larger than the bound goes out alone.
    const bool too_large = config_.max_in_flight_bytes > 0 && now.count > 0 &&
                           now.bytes + bytes > config_.max_in_flight_bytes;
    if (too_many || too_large) return false;
  }
  started_.count.fetch_add(1, std::memory_order_relaxed);
  started_.bytes.fetch_add(bytes, std::memory_order_relaxed);
  return true;
}

void ProducerCore::ended(End end, SendOperationPtr& operation) {
  constexpr std::size_t kSpare = 256;
  // What is kept is let go of by stop(), and may be all that holds this.
  const auto self = bounded() ? shared_from_this() : nullptr;
  {
    std::lock_guard lock{ended_.mutex};
    ++(end.stored ? ended_.sent : ended_.failed);
    if (end.admitted) {
      ++ended_.count;
      ended_.bytes += end.bytes;
      if (operation && !stopped_ && ended_.spare.size() < kSpare)
        ended_.spare.push_back(std::move(operation));
    }
  }
  if (self) begin_waiting();
}

Result<SendReceipt> ProducerCore::refused(Error error) {
  std::lock_guard lock{ended_.mutex};
  ++ended_.failed;
  return error;
}

namespace {
/// Sends that waited and are begun by this thread, perhaps inside others. What ends inside leaves
/// its room to them: were it to begin the next itself, each would stand on the stack of the last.
class Beginning {
 public:
  explicit Beginning(const ProducerCore* producer) : producer_{producer} { innermost = this; }
  ~Beginning() { innermost = outer_; }
  Beginning(const Beginning&) = delete;
  static Beginning* of(const ProducerCore* producer) {
    Beginning* at = innermost;
    while (at != nullptr && at->producer_ != producer) at = at->outer_;
    return at;
  }
  bool more_room = false;

 private:
  static inline thread_local Beginning* innermost = nullptr;
  const ProducerCore* const producer_;
  Beginning* const outer_ = innermost;
};
}  // namespace

void ProducerCore::begin_waiting() {
  if (Beginning* const outer = Beginning::of(this)) {
    outer->more_room = true;
    return;
  }
  Beginning here{this};
  do {
    here.more_room = false;
    for (SendOperationPtr& each : waiting_with_room()) {
      SendOperation& operation = *each;
      operation.start(std::move(each), instance_->env().clock.now());
    }
  } while (here.more_room);
}

std::vector<SendOperationPtr> ProducerCore::waiting_with_room() {
  std::vector<SendOperationPtr> next;  // a large one makes room for many small ones
  std::lock_guard lock{started_.mutex};
  auto& waiting = started_.waiting;
  while (!waiting.empty() && take_room(waiting.front().operation->bytes())) {
    next.push_back(std::move(waiting.front().operation));
    waiting.pop_front();
  }
  return next;
}

// ---- Batches by time
// -----------------------------------------------------------------------------

bool ProducerCore::gather(Accumulator::Member& member, const std::optional<MessageQueue>& queue) {
  auto added = accumulator_->add(std::move(member), queue);
  if (!added) return false;
  for (auto& batch : added->full) send_gathered(std::move(batch));
  if (added->due)
    instance_->env().clock.run_at(*added->due, [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (!self) return;
      for (auto& batch : self->accumulator_->due()) self->send_gathered(std::move(batch));
    });
  return true;
}

/// Retried as a blocking send is: some of its members may be.
void ProducerCore::send_gathered(Accumulator::Batch batch) {
  auto members = std::make_shared<std::vector<Accumulator::Member>>(std::move(batch.members));
  auto deadline = members->front().deadline;
  std::vector<Message> messages;
  for (auto& each : *members) {
    deadline = std::min(deadline, each.deadline);
    messages.push_back(std::move(each.message));
  }
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      deadline - instance_->env().clock.now());
  SendRequest request{.target = {.select = {}, .queue = std::move(batch.queue)},
                      .timeout = std::max(left, std::chrono::milliseconds{1}),
                      .done = [members](const Result<SendReceipt>& result) {
                        if (!result) {
                          for (auto& each : *members) each.done(result);
                          return;
                        }
                        auto receipts = split_receipt(*result, members->size());
                        for (std::size_t i = 0; i < members->size(); ++i)
                          (*members)[i].done(std::move(receipts[i]));
                      }};
  if (messages.size() == 1) return launch(std::move(messages.front()), std::move(request));
  launch(messages.front().topic, std::move(request),
         [&](Outgoing& out, std::int64_t now) { set_batch(out, *instance_, messages, now); });
}

// ---- Transactions
// --------------------------------------------------------------------------------

void ProducerCore::send_half(Message message, std::chrono::milliseconds timeout, Done done) {
  // A half message has no time of its own.
  message.deliver = {};
  if (auto checked = check_message(message, config_.max_message_bytes); !checked)
    return Instance::run_callback(done, Result<SendReceipt>{checked.error()});
  if (stopped_ || instance_->ending())
    return Instance::run_callback(done, Result<SendReceipt>{stopped_error()});
  launch(std::move(message), {.timeout = timeout, .done = std::move(done)}, group_);
}

TransactionReceipt ProducerCore::settle(const Message& message, SendReceipt sent,
                                        const Local& local) {
  TransactionReceipt receipt{.sent = std::move(sent)};
  std::string remark;
  if (receipt.sent.status != SendStatus::kOk) {
    // Not stored as safely as asked: nobody may rely on it, and the local part does not run.
    receipt.outcome = Outcome::kRollback;
  } else if (const auto thrown =
                 thrown_by([&] { receipt.outcome = local(message, receipt.sent); })) {
    remark = "executeLocalTransactionBranch exception: " + *thrown;
    instance_->env().log.warn("the local part of a transaction threw: message={} what=\"{}\"",
                              receipt.sent.message_id, *thrown);
  }
  end_transaction(message, receipt, std::move(remark));
  return receipt;
}

void ProducerCore::send_in_transaction(Message message, Local local,
                                       std::chrono::milliseconds timeout,
                                       std::function<void(Result<TransactionReceipt>)> done) {
  Message half = message;
  send_half(std::move(half), timeout,
            [self = shared_from_this(), message = std::move(message), local = std::move(local),
             done = std::move(done)](Result<SendReceipt> sent) mutable {
              if (!sent) return done(sent.error());
              Executor& workers = self->instance_->env().workers;
              workers.post([self, message = std::move(message), local = std::move(local),
                            done = std::move(done), sent = *std::move(sent)]() mutable {
                const CallbackScope scope{CallbackScope::Where::kOwnThread};
                done(self->settle(message, std::move(sent), local));
              });
            });
}

void ProducerCore::end_transaction(const Message& message, const TransactionReceipt& receipt,
                                   std::string remark) {
  const SendReceipt& sent = receipt.sent;
  MessageQueue queue = sent.queue;
  queue.topic = wrapped(queue.topic, instance_->config().name_space);
  const std::string address = instance_->routes().master(queue);
  const auto where = protocol::parse_offset_message_id(sent.offset_message_id);
  if (address.empty() || !where)
    return instance_->env().log.warn(
        "outcome of a transaction not told, the broker will ask: message={}", sent.message_id);
  protocol::EndTransactionRequest header;
  header.topic = std::move(queue.topic);
  header.tran_state_table_offset = sent.queue_offset;
  header.commit_log_offset = where->physical_offset;
  header.from_transaction_check = false;
  header.message_id = sent.message_id;
  header.transaction_id = sent.transaction_id;
  tell({.broker = address,
        .header = std::move(header),
        .outcome = receipt.outcome,
        .remark = std::move(remark),
        .message = {.topic = message.topic, .tag = message.tag, .keys = message.keys},
        .region = sent.region,
        .traced = sent.trace_on});
}

void ProducerCore::check_transaction(const std::string& broker, ReceivedMessage message,
                                     std::int64_t tran_state_table_offset,
                                     std::int64_t commit_log_offset) {
  const auto pass = checks_.enter();
  if (!pass) return;
  if (!on_check_) {
    instance_->env().log.warn("transaction check for a producer without on_check: group={}",
                              group_);
    return;
  }
  Outcome outcome = Outcome::kUnknown;
  std::string remark;
  {
    const CallbackScope scope{CallbackScope::Where::kOwnThread};
    if (const auto thrown = thrown_by([&] { outcome = on_check_(message); })) {
      remark = "checkLocalTransactionState Exception: " + *thrown;
      instance_->env().log.warn("on_check threw: group={} message={} what=\"{}\"", group_,
                                message.message_id, *thrown);
    }
  }
  protocol::EndTransactionRequest header;
  header.topic = wrapped(message.topic, instance_->config().name_space);
  header.tran_state_table_offset = tran_state_table_offset;
  header.commit_log_offset = commit_log_offset;
  header.from_transaction_check = true;
  header.message_id = message.message_id;
  header.transaction_id =
      std::string{message.property("__transactionId__").value_or(message.message_id)};
  namespace property = protocol::property;
  tell({.broker = broker,
        .header = std::move(header),
        .outcome = outcome,
        .remark = std::move(remark),
        .message = {.topic = message.topic, .tag = message.tag, .keys = message.keys},
        .region = std::string{message.property(property::kRegion).value_or("DefaultRegion")},
        .traced = message.property(property::kTraceOn) != "false"});
}

void ProducerCore::tell(TransactionEnd end) {
  end.header.producer_group = group_;
  end.header.commit_or_rollback = wire_outcome(end.outcome);
  if (before_end_) {
    const CallbackScope scope{CallbackScope::Where::kOwnThread};
    guarded(instance_->env().log, "before_end", group_, [&] {
      before_end_({.group = config_.group,
                   .broker_address = end.broker,
                   .message_id = *end.header.message_id,
                   .outcome = end.outcome,
                   .broker_asked = *end.header.from_transaction_check});
    });
  }
  instance_->oneway(end.broker, request_code::kEndTransaction, end.header, {}, end.remark);
  trace(end);
}

/// As EndTransactionTraceHookImpl, but for what the broker wants no trace of.
void ProducerCore::trace(const TransactionEnd& end) {
  if (!trace_ || !end.traced || end.message.topic == config_.trace_topic) return;
  TracedMessage message = end.message;
  message.message_id = *end.header.message_id;
  message.store_host = end.broker;
  message.type = TraceType::kCommit;
  trace_->add(end_transaction_record({instance_->env().clock.wall_ms(), end.region, config_.group},
                                     message, *end.header.transaction_id,
                                     name_of_outcome(end.outcome),
                                     *end.header.from_transaction_check));
}

// ---- Request and reply
// ---------------------------------------------------------------------------

void ProducerCore::request(Message question, Target target, std::chrono::milliseconds timeout,
                           std::function<void(Result<ReceivedMessage>)> done) {
  Result<Ok> checked = check_message(question, config_.max_message_bytes);
  if (checked) checked = check_target(target, question.topic);
  if (stopped_ || instance_->ending()) checked = stopped_error();
  if (!checked) return Instance::run_callback(done, Result<ReceivedMessage>{checked.error()});
  const std::string id = uuid(instance_->env().random);
  question.properties["CORRELATION_ID"] = id;
  question.properties["REPLY_TO_CLIENT"] = instance_->id();
  timeout = countable(timeout);
  question.properties["TTL"] = std::to_string(timeout.count());
  const auto deadline = instance_->env().clock.now() + timeout;
  instance_->expect_reply(id, question.topic, timeout, std::move(done));
  const std::string topic = wrapped(question.topic, instance_->config().name_space);
  const bool first = instance_->routes().publish(topic) == nullptr;
  auto send = [self = shared_from_this(), id, deadline, question = std::move(question),
               target = std::move(target)]() mutable {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - self->instance_->env().clock.now());
    self->launch(std::move(question), {.target = std::move(target),
                                       .mode = Mode::kAsync,
                                       .timeout = left,
                                       .done = [self, id](const Result<SendReceipt>& sent) {
                                         if (sent)
                                           self->instance_->question_sent(id);
                                         else
                                           self->instance_->question_failed(id, sent.error());
                                       }});
  };
  if (!first) return send();
  // The reply comes back over a connection the broker knows this client by: introduce it first.
  instance_->find_route(
      topic, config_.default_topic_queues, deadline,
      [self = shared_from_this(), send = std::move(send)](const Result<PublishInfoPtr>&) mutable {
        self->instance_->heartbeat_to_all();
        send();
      });
}

void ProducerCore::reply(const ReceivedMessage& question, std::string body,
                         std::chrono::milliseconds timeout, Done done) {
  const auto refuse = [&](Error error) { Instance::run_callback(done, refused(std::move(error))); };
  if (stopped_ || instance_->ending()) return refuse(stopped_error());
  const auto cluster = question.property("CLUSTER");
  if (!cluster)
    return refuse({Errc::kInvalidArgument,
                   "create reply message fail, requestMessage error, property[CLUSTER] is null.",
                   10'007});
  Message answer;
  answer.topic = protocol::reply_topic(*cluster);
  answer.body = std::move(body);
  if (auto checked = check_message(answer, config_.max_message_bytes); !checked)
    return refuse(checked.error());
  answer.properties["MSG_TYPE"] = "reply";
  for (const char* name : {"CORRELATION_ID", "REPLY_TO_CLIENT", "TTL"})
    if (const auto value = question.property(name)) answer.properties[name] = *value;
  launch(std::move(answer), {.mode = Mode::kAsync, .timeout = timeout, .done = std::move(done)});
}

// ---- The rest
// ------------------------------------------------------------------------------------

void ProducerCore::queues(const std::string& topic, std::chrono::milliseconds timeout,
                          std::function<void(Result<std::vector<MessageQueue>>)> done) {
  if (stopped_) return done(stopped_error());
  instance_->refresh_route(wrapped(topic, instance_->config().name_space), countable(timeout),
                           [topic, done = std::move(done)](const Result<PublishInfoPtr>& route) {
                             if (!route) return done(route.error());
                             std::vector<MessageQueue> queues = (*route)->queues;
                             for (MessageQueue& each : queues) each.topic = topic;
                             done(std::move(queues));
                           });
}

/// As Java's initTopicRoute: what is not found now is looked up with the first send.
void ProducerCore::learn_routes() {
  for (const std::string& topic : config_.topics)
    instance_->refresh_route(
        wrapped(topic, instance_->config().name_space), instance_->config().api_timeout,
        [weak = weak_from_this(), topic](const Result<PublishInfoPtr>& route) {
          const auto self = weak.lock();
          if (self && !route)
            self->instance_->env().log.warn("no route at the start: group={} topic={} reason={}",
                                            self->group_, topic, route.error().detail);
        });
}

/// One cheap question to each broker that is being avoided; one that answers is preferred to those
/// that do not.
void ProducerCore::probe_slow_brokers() {
  const auto all = topics();
  for (const std::string& broker : faults_.due_for_probe(config_.detect_interval)) {
    const std::string address = instance_->routes().master(broker);
    if (address.empty()) {
      faults_.forget(broker);
      continue;
    }
    if (all.empty()) return;
    instance_->call(
        address, request_code::kGetMaxOffset,
        protocol::QueueRequest{.topic = all.front(), .queue_id = 0}, {}, config_.detect_timeout,
        [weak = weak_from_this(), broker](const Result<remoting::OwnedCommand>& answer) {
          const auto self = weak.lock();
          if (self && answer) self->faults_.answered_a_probe(broker);
        });
  }
}

void ProducerCore::recall(const std::string& topic, const std::string& handle,
                          std::chrono::milliseconds timeout,
                          std::function<void(Result<std::string>)> done) {
  if (stopped_) return done(stopped_error());
  if (protocol::is_retry_topic(topic) || protocol::is_dlq_topic(topic))
    return done(Error{Errc::kInvalidArgument, "topic is not supported"});
  const auto broker = broker_of_recall_handle(handle);
  if (!broker) return done(Error{Errc::kInvalidArgument, "recall handle is invalid"});
  const std::string wire_topic = wrapped(topic, instance_->config().name_space);
  const auto deadline = instance_->env().clock.now() + countable(timeout);
  instance_->find_route(
      wire_topic, config_.default_topic_queues, deadline,
      [self = shared_from_this(), broker = *broker, wire_topic, handle, deadline,
       done = std::move(done)](const Result<PublishInfoPtr>& route) {
        if (!route) return done(route.error());
        Instance& instance = *self->instance_;
        std::string address = instance.routes().master(broker);
        if (address.empty())
          address = instance.routes().any_broker(wire_topic, instance.env().random.next());
        if (address.empty())
          return done(Error{Errc::kNotFound, "The broker service address not found"});
        protocol::RecallMessageRequest header;
        header.producer_group = self->group_;
        header.topic = wire_topic;
        header.recall_handle = handle;
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            deadline - instance.env().clock.now());
        instance.call(address, protocol::RecallMessageRequest::kCode, header, {}, left,
                      [done, address](const Result<remoting::OwnedCommand>& answer) {
                        if (!answer) return done(answer.error());
                        if (answer->code != 0)
                          return done(Error{Errc::kRefused,
                                            fmt::format("CODE: {}  DESC: {} BROKER: {}",
                                                        answer->code, answer->remark, address),
                                            answer->code});
                        for (const auto& [name, value] : answer->ext)
                          if (name == "msgId") return done(value);
                        done(Error{Errc::kMalformed, "an answer without the message's id"});
                      });
      });
}

Result<std::shared_ptr<ProducerCore>> inner_producer(const std::shared_ptr<Instance>& instance) {
  static constexpr auto kGroup = "CLIENT_INNER_PRODUCER";
  const std::string group = wrapped(kGroup, instance->config().name_space);
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (auto known = std::dynamic_pointer_cast<ProducerCore>(instance->producer(group)))
      return known;
    auto started = ProducerCore::start(instance, {.producer = {.group = kGroup}});
    if (started || started.error().code != Errc::kExists) return started;
  }
  return Error{Errc::kStopped, "the client is shut down"};
}

ProducerStatistics ProducerCore::statistics() const {
  const InFlight now = in_flight();
  std::lock_guard lock{ended_.mutex};
  return {.sent = ended_.sent,
          .failed = ended_.failed,
          .retried = retried_,
          .in_flight = now.count,
          .in_flight_bytes = now.bytes};
}

}  // namespace apogee::client
