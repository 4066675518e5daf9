#include <charconv>
#include <thread>

#include "protocol/bodies.h"
#include "protocol/codes.h"
#include "protocol/headers.h"
#include "protocol/message.h"
#include "protocol/names.h"
#include "protocol/pop.h"
#include "tests/crash/crash_run.h"

namespace apogee::crash {
namespace {

namespace property = protocol::property;
namespace request_code = protocol::request_code;

constexpr auto kAnswerLimit = 20s;  // of real time; nobody who asks is left without an answer
constexpr std::int64_t kInvisibleMs = 4'000;

std::vector<protocol::Message> messages_in(const Buffer& body) {
  std::vector<protocol::Message> messages;
  for (Bytes rest = as_bytes(body); !rest.empty();) {
    auto message = protocol::decode_message(rest);
    if (!message) break;
    rest = rest.subspan(static_cast<std::size_t>(message->size));
    messages.push_back(*std::move(message));
  }
  return messages;
}

/// Where the pop of a queue began, from "0 <queue> <offset>;..."; -1: not in it.
std::int64_t start_offset_of(std::string_view info, std::int32_t queue_id) {
  const std::string wanted = "0 " + std::to_string(queue_id) + " ";
  while (!info.empty()) {
    const std::string_view entry = info.substr(0, info.find(';'));
    info.remove_prefix(std::min(entry.size() + 1, info.size()));
    if (!entry.starts_with(wanted)) continue;
    std::int64_t offset = -1;
    std::from_chars(entry.data() + wanted.size(), entry.data() + entry.size(), offset);
    return offset;
  }
  return -1;
}

/// The physical offsets in a comma-separated list of message ids.
std::vector<std::int64_t> physical_offsets(std::string_view ids) {
  std::vector<std::int64_t> offsets;
  while (!ids.empty()) {
    const std::string_view id = ids.substr(0, ids.find(','));
    ids.remove_prefix(std::min(id.size() + 1, ids.size()));
    const auto parsed = protocol::parse_offset_message_id(id);
    offsets.push_back(parsed ? parsed->physical_offset : -1);
  }
  return offsets;
}

}  // namespace

/// One request to send, and the ledger's lines it is about.
struct CrashRun::Outgoing {
  std::string topic;
  std::int32_t queue_id = 0;
  Buffer properties, body;
  bool batch = false;
  std::int64_t born_ms = 0;
  std::vector<Sent*> about;
  Half* half = nullptr;  ///< Instead of `about`.
};

template <class Header>
std::optional<remoting::OwnedCommand> CrashRun::ask(std::int32_t code, const Header& header,
                                                    Buffer body) {
  auto answer = std::make_shared<std::optional<Result<remoting::OwnedCommand>>>();
  client_->call(address_, code, header, std::move(body), 3'600s,
                [answer](Result<remoting::OwnedCommand> result) { *answer = std::move(result); });
  if (!network_.run_until([&] { return answer->has_value(); }, kAnswerLimit)) {
    ledger_.violation("no answer to request " + std::to_string(code));
    return std::nullopt;
  }
  if (!**answer) return std::nullopt;
  return ***answer;
}

void CrashRun::await_all() {
  if (!network_.run_until([&] { return waiting_ == 0; }, kAnswerLimit))
    ledger_.violation(std::to_string(waiting_) + " sends without an answer");
}

void CrashRun::act() {
  switch (random_() % 20) {
    case 0:
    case 1:
    case 2:
      return send();
    case 3:
      return send_batch();
    case 4:
      return send_delayed();
    case 5:
    case 6:
      return consume();
    case 7:
      return pop();
    case 8:
      return let_time_pass();
    case 9:
    case 10:
      return send_timed();
    case 11:
      return recall();
    case 12:
    case 13:
      return send_half();
    case 14:
      return end_one();
    case 15:
      return send_together();
    case 16:
    case 17:
      return send_kept();
    case 18:
      return use_passing();
    default:
      return await_all();
  }
}

void CrashRun::make_topics() {
  struct Topic {
    const char* name;
    std::int32_t queues;
    const char* attributes = "";
  };
  topics_made_ = true;
  for (const Topic& each :
       {Topic{"plain", 3}, Topic{"delayed", 2}, Topic{"timed", 2}, Topic{"ended", 2},
        Topic{"popped", 2}, Topic{"together", 1, "+queue.type=BatchCQ"},
        Topic{"kept", 1, "+cleanup.policy=COMPACTION"}}) {
    const bool made = make_topic(each.name, each.queues, each.attributes);
    topics_made_ = topics_made_ && made;
    if (made) ledger_.topics[each.name] = true;
  }
}

bool CrashRun::make_topic(const std::string& name, std::int32_t queues,
                          const std::string& attributes) {
  protocol::CreateTopicRequest request;
  request.topic = name;
  request.default_topic = "TBW102";
  request.read_queue_nums = request.write_queue_nums = queues;
  request.topic_filter_type = "SINGLE_TAG";
  if (!attributes.empty()) request.attributes = attributes;
  const auto answer = ask(request.kCode, request);
  return answer && answer->code == 0;
}

std::string CrashRun::new_body() {
  // Many of one size: then a new record ends where an older one did.
  const std::size_t padding = random_() % 2 == 0 ? 100 : random_() % 500;
  return fmt::format("m{:06}:", next_body_++) + std::string(padding, 'b');
}

void CrashRun::submit(Outgoing message) {
  message.born_ms = clock_.wall_ms();
  auto kept = std::make_shared<Outgoing>(std::move(message));
  ++waiting_;
  client_->call_frame(
      address_,
      [kept](Buffer& out, std::int32_t opaque) {
        protocol::SendMessageV2 header;
        header.producer_group = "producers";
        header.topic = kept->topic;
        header.default_topic = "TBW102";
        header.queue_id = kept->queue_id;
        header.born_timestamp = kept->born_ms;
        header.properties = kept->properties;
        header.batch = kept->batch;
        protocol::encode_command(
            out,
            {.code = kept->batch ? request_code::kSendBatchMessage : request_code::kSendMessageV2,
             .opaque = opaque},
            header, as_bytes(kept->body));
      },
      3'600s,
      [this, kept](Result<remoting::OwnedCommand> answer) {
        if (waiting_ > 0) --waiting_;
        if (!answer || answer->code != 0) return;
        const auto header = remoting::read_header<protocol::SendMessageResponse>(*answer);
        if (!header) return ledger_.violation("an acknowledgement without its header");
        const auto offsets = physical_offsets(header->message_id);
        if (offsets.size() != (kept->half ? 1 : kept->about.size()))
          return ledger_.violation("an acknowledgement of another number of messages");
        for (std::size_t i = 0; i < offsets.size(); ++i) {
          if (kept->half) {
            kept->half->acknowledged = true;
            kept->half->queue_offset = header->queue_offset;
            kept->half->physical_offset = offsets[i];
            continue;
          }
          if (header->recall_handle)
            recall_handles_[kept->body] = std::string{*header->recall_handle};
          if (kept->topic == "timed") timer_offset_ = std::max(timer_offset_, header->queue_offset);
          Sent& sent = *kept->about[i];
          sent.acknowledged = true;
          sent.physical_offset = offsets[i];
          if (sent.not_before_ms == 0)
            sent.queue_offset = header->queue_offset + static_cast<std::int64_t>(i);
        }
      });
  if (random_() % 4 == 0) network_.run();
}

void CrashRun::send() {
  for (std::uint64_t count = 1 + random_() % 8; count-- > 0;) {
    const bool popped = random_() % 3 == 0;
    send_to(popped ? "popped" : "plain", static_cast<std::int32_t>(random_() % (popped ? 2 : 3)));
  }
}

void CrashRun::send_to(const std::string& topic, std::int32_t queue_id) {
  Outgoing message;
  message.topic = topic;
  message.queue_id = queue_id;
  message.body = new_body();
  protocol::append_property(message.properties, property::kUniqueKey, name_of(message.body));
  auto& sent_there = topic == "popped"    ? ledger_.popped
                     : topic == "passing" ? ledger_.passing
                                          : ledger_.plain;
  Sent& sent = sent_there[message.body];
  sent = {.topic = topic, .queue_id = queue_id};
  message.about = {&sent};
  submit(std::move(message));
}

void CrashRun::send_batch() {
  Outgoing batch;
  batch.topic = "plain";
  batch.batch = true;
  batch.queue_id = static_cast<std::int32_t>(random_() % 3);
  for (std::uint64_t count = 1 + random_() % 5; count-- > 0;) {
    const std::string body = new_body();
    Buffer properties;
    protocol::append_property(properties, property::kUniqueKey, name_of(body));
    protocol::append_batch_member(batch.body, {.body = as_bytes(body), .properties = properties});
    Sent& sent = ledger_.plain[body];
    sent = {.topic = batch.topic, .queue_id = batch.queue_id};
    batch.about.push_back(&sent);
  }
  submit(std::move(batch));
}

/// A batch to a topic of batch queues stays one record, with as many queue offsets as messages.
void CrashRun::send_together() {
  Outgoing batch;
  batch.topic = "together";
  batch.batch = true;
  protocol::append_property(batch.properties, property::kUniqueKey,
                            fmt::format("m{:06}", next_body_));
  std::string bodies;
  for (std::uint64_t count = 1 + random_() % 5; count-- > 0;) {
    const std::string body = new_body();
    protocol::append_batch_member(batch.body, {.body = as_bytes(body), .properties = {}});
    bodies += body;
  }
  Sent& sent = ledger_.together[bodies];
  sent = {.topic = batch.topic};
  batch.about = {&sent};
  submit(std::move(batch));
}

void CrashRun::send_kept() {
  for (std::uint64_t count = 1 + random_() % 8; count-- > 0;) {
    Outgoing message;
    message.topic = "kept";
    message.body = new_body();
    protocol::append_property(message.properties, property::kKeys, std::to_string(random_() % 6));
    protocol::append_property(message.properties, property::kUniqueKey, name_of(message.body));
    Sent& sent = ledger_.kept[message.body];
    sent = {.topic = message.topic,
            .key = std::string{*protocol::find_property(message.properties, property::kKeys)}};
    message.about = {&sent};
    submit(std::move(message));
  }
}

/// Makes the topic that comes and goes, sends to it, lets its group commit, or deletes it.
void CrashRun::use_passing() {
  if (deletion_in_doubt_) return delete_passing();
  if (!passing_made_) passing_made_ = make_topic("passing", 1);
  if (!passing_made_) return;
  for (std::uint64_t count = 1 + random_() % 4; count-- > 0;) send_to("passing", 0);
  if (random_() % 2 == 0) return;
  await_all();
  commit("passers", "passing", 0, max_offset("passing", 0));
  if (random_() % 2 == 0) delete_passing();
}

/// Once that is answered none of its messages is ever seen again, in a new topic of that name
/// either. Until then it is asked for again.
void CrashRun::delete_passing() {
  passing_made_ = false;
  const auto answer = ask(request_code::kDeleteTopicInBroker, protocol::TopicRequest{"passing"});
  deletion_in_doubt_ = !answer || answer->code != 0;
  if (deletion_in_doubt_) return;
  for (const auto& [body, sent] : ledger_.passing) ledger_.gone.insert(body);
  ledger_.passing.clear();
}

void CrashRun::send_delayed() {
  Outgoing message;
  message.topic = "delayed";
  message.queue_id = static_cast<std::int32_t>(random_() % 2);
  message.body = new_body();
  const std::uint64_t level = 1 + random_() % 3;
  protocol::append_property(message.properties, property::kUniqueKey, name_of(message.body));
  protocol::append_property(message.properties, property::kDelay, std::to_string(level));
  Sent& sent = ledger_.delayed[message.body];
  sent = {.topic = message.topic,
          .queue_id = message.queue_id,
          .not_before_ms = clock_.wall_ms() + static_cast<std::int64_t>(level) * 1'000};
  message.about = {&sent};
  submit(std::move(message));
}

void CrashRun::send_timed() {
  for (std::uint64_t count = 1 + random_() % 3; count-- > 0;) {
    Outgoing message;
    message.topic = "timed";
    message.queue_id = static_cast<std::int32_t>(random_() % 2);
    message.body = new_body();
    const auto delay_ms = static_cast<std::int64_t>(1'000 + random_() % 14'000);
    protocol::append_property(message.properties, property::kUniqueKey, name_of(message.body));
    if (random_() % 2 == 0)
      protocol::append_property(message.properties, property::kTimerDelayMs,
                                std::to_string(delay_ms));
    else
      protocol::append_property(message.properties, property::kTimerDeliverMs,
                                std::to_string(clock_.wall_ms() + delay_ms));
    Sent& sent = ledger_.timed[message.body];
    sent = {.topic = message.topic,
            .queue_id = message.queue_id,
            .not_before_ms = clock_.wall_ms() + delay_ms};
    message.about = {&sent};
    submit(std::move(message));
  }
}

/// Takes back a timed message whose time is far from over.
void CrashRun::recall() {
  for (const auto& [body, handle] : recall_handles_) {
    Sent& sent = ledger_.timed[body];
    if (sent.not_before_ms < clock_.wall_ms() + 3'000 || ledger_.recalled.contains(body)) continue;
    protocol::RecallMessageRequest request;
    request.producer_group = "producers";
    request.topic = "timed";
    request.recall_handle = handle;
    Sent& recalled = ledger_.recalled[body];
    const auto answer = ask(request.kCode, request);
    recalled.acknowledged = answer && answer->code == 0 && timer_topic_is_seen();
    return;
  }
}

/// Time flies here, and the store's threads do not: the recall has to be seen by the timer before
/// its message is due. It stands before a message sent now.
bool CrashRun::timer_topic_is_seen() {
  const std::int64_t before = timer_offset_;
  send_timed();
  await_all();
  if (timer_offset_ == before) return false;
  for (int tries = 0; tries < 2'000; ++tries)  // a queue that cannot be written shows nothing
    if (max_offset(std::string{protocol::kTimerTopic}, 0) > timer_offset_) return true;
  return false;
}

/// Producers are asked about their transactions as long as they say that they are there.
void CrashRun::beat() {
  protocol::HeartbeatData heartbeat;
  heartbeat.client_id = "client";
  heartbeat.producer_data_set.push_back({.group_name = "producers"});
  (void)ask(request_code::kHeartBeat, protocol::NoFields{}, encode_body(heartbeat));
}

void CrashRun::send_half() {
  beat();
  for (std::uint64_t count = 1 + random_() % 3; count-- > 0;) {
    Outgoing message;
    message.topic = "ended";
    message.queue_id = static_cast<std::int32_t>(random_() % 2);
    message.body = new_body();
    protocol::append_property(message.properties, property::kUniqueKey, name_of(message.body));
    protocol::append_property(message.properties, property::kTransactionPrepared, "true");
    protocol::append_property(message.properties, property::kProducerGroup, "producers");
    Half& half = ledger_.halves[message.body];
    half.queue_id = message.queue_id;
    message.half = &half;
    submit(std::move(message));
  }
}

/// Commits or rolls back, or does not know yet, some transaction; now and then one that has ended.
void CrashRun::end_one() {
  if (ledger_.halves.empty()) return;
  auto picked = ledger_.halves.begin();
  std::advance(picked, random_() % ledger_.halves.size());
  if (picked->second.queue_offset >= 0) end(picked->first, picked->second, false);
}

void CrashRun::end(const std::string& body, Half& half, bool asked) {
  using Outcome = Half::Outcome;
  if (half.outcome == Outcome::kOpen && (decides_ || random_() % 3 > 0))
    half.outcome = random_() % 2 == 0 ? Outcome::kCommitted : Outcome::kRolledBack;
  protocol::EndTransactionRequest request;
  request.producer_group = "producers";
  request.tran_state_table_offset = half.queue_offset;
  request.commit_log_offset = half.physical_offset;
  request.from_transaction_check = asked;
  request.message_id = name_of(body);
  if (half.outcome == Outcome::kCommitted) {
    request.commit_or_rollback = protocol::sys_flag::kCommit;
    ++half.ends;
  } else if (half.outcome == Outcome::kRolledBack) {
    request.commit_or_rollback = protocol::sys_flag::kRollback;
  }
  client_->call(address_, request.kCode, request, {}, 3'600s, [](auto) {});
  if (!asked) network_.run();
}

void CrashRun::on_question(const protocol::CommandView& command) {
  if (command.code != request_code::kCheckTransactionState) return;
  const auto header = protocol::read_header<protocol::CheckTransactionStateRequest>(command);
  const auto message = protocol::decode_message(command.body);
  if (!header || !message) return ledger_.violation("a question that cannot be read");
  const std::string body{as_text(message->body)};
  const auto found = ledger_.halves.find(body);
  if (found == ledger_.halves.end())
    return ledger_.violation("asked about what nobody sent: " + name_of(body));
  Half& half = found->second;
  half.queue_offset = header->tran_state_table_offset;
  half.physical_offset = header->commit_log_offset;
  end(body, half, true);
}

/// The records a reader is given. With SYNC_FLUSH they are on disk: somebody knows of them.
Buffer CrashRun::read_plain(std::int32_t queue_id, std::int64_t offset) {
  protocol::PullMessageRequest pull;
  pull.consumer_group = "consumers";
  pull.topic = "plain";
  pull.queue_id = queue_id;
  pull.queue_offset = offset;
  pull.sys_flag = protocol::pull_flag::kSubscription;
  pull.subscription = "*";
  pull.suspend_timeout_ms = 0;
  auto answer = ask(request_code::kPullMessage, pull);
  if (!answer || answer->code != 0) return {};
  for (const protocol::Message& each : messages_in(answer->body)) {
    const std::string body{as_text(each.body)};
    const auto known = ledger_.plain.find(body);
    if (known == ledger_.plain.end())
      ledger_.violation("a reader was given what nobody sent: " + name_of(body));
    else if (sync_flush_)
      known->second.certain = true;
  }
  return std::move(answer->body);
}

/// Reads the end of a queue while a message is on its way there.
void CrashRun::read_what_is_new() {
  const auto queue = static_cast<std::int32_t>(random_() % 3);
  const std::int64_t end = max_offset("plain", queue);
  send_to("plain", queue);
  for (int tries = 0; tries < 1'000 && waiting_ > 0; ++tries)
    if (!read_plain(queue, end).empty()) return;
}

/// Pulls from where the group stands, commits, and sends one message back now and then.
void CrashRun::consume() {
  const auto queue = static_cast<std::int32_t>(random_() % 3);
  protocol::QueryConsumerOffsetRequest question;
  question.consumer_group = "consumers";
  question.topic = "plain";
  question.queue_id = queue;
  const auto stands = ask(question.kCode, question);
  if (!stands) return;
  const auto offset = remoting::read_header<protocol::OffsetResponse>(*stands);
  const std::int64_t from = stands->code == 0 && offset ? offset->offset : 0;
  const Buffer read = read_plain(queue, from);
  const auto messages = messages_in(read);
  if (messages.empty()) return;
  const std::int64_t next = messages.back().queue_offset + 1;
  if (random_() % 3 == 0) {
    const auto& picked = messages[random_() % messages.size()];
    send_back(queue, picked.queue_offset, picked.physical_offset,
              std::string{as_text(picked.body)});
  }
  auto& told = ledger_.committed[{"plain", queue}];
  told = std::max(told, next);
  commit("consumers", "plain", queue, next);
}

void CrashRun::commit(const std::string& group, const std::string& topic, std::int32_t queue_id,
                      std::int64_t offset) {
  protocol::UpdateConsumerOffsetRequest request;
  request.consumer_group = group;
  request.topic = topic;
  request.queue_id = queue_id;
  request.commit_offset = offset;
  (void)ask(request.kCode, request);
}

void CrashRun::send_back(std::int32_t queue_id, std::int64_t queue_offset,
                         std::int64_t physical_offset, const std::string& body) {
  protocol::ConsumerSendMessageBackRequest request;
  request.offset = physical_offset;
  request.group = "consumers";
  request.delay_level = 1 + static_cast<std::int32_t>(random_() % 2);
  request.origin_topic = "plain";
  Sent& sent = ledger_.returned[body];
  sent.queue_id = queue_id;
  sent.queue_offset = queue_offset;
  const auto answer = ask(request.kCode, request);
  if (answer && answer->code == 0) sent.acknowledged = true;
}

void CrashRun::pop() {
  pop_from(random_() % 2 == 0 ? -1 : static_cast<std::int32_t>(random_() % 2), false);
}

/// One POP; of what it gives, most is acknowledged, some made visible at another time, some
/// forgotten. Returns how many messages came.
std::size_t CrashRun::pop_from(std::int32_t queue_id, bool ack_all) {
  protocol::PopMessageRequest request;
  request.consumer_group = "poppers";
  request.topic = "popped";
  request.queue_id = queue_id;
  request.max_messages = 1 + static_cast<std::int32_t>(random_() % 8);
  request.invisible_ms = kInvisibleMs;
  request.born_time = clock_.wall_ms();
  const auto answer = ask(request.kCode, request);
  if (!answer || answer->code != 0) return 0;
  const auto header = remoting::read_header<protocol::PopMessageResponse>(*answer);
  if (!header) {
    ledger_.violation("a pop's answer without its header");
    return 0;
  }
  const auto messages = messages_in(answer->body);
  for (const protocol::Message& each : messages) {
    const std::string body{as_text(each.body)};
    if (!ledger_.popped.contains(body))
      ledger_.violation("a pop gave what nobody sent: " + name_of(body));
    const auto given = each.property(property::kPopCheckpoint);
    const protocol::ReceiptHandle made{
        .start_offset = start_offset_of(header->start_offset_info.value_or(""), each.queue_id),
        .pop_time = header->pop_time,
        .invisible_ms = header->invisible_ms,
        .revive_queue = header->revive_queue,
        .broker_name = "broker-a",
        .queue_id = each.queue_id,
        .queue_offset = each.queue_offset};
    const std::string handle = given ? std::string{*given} : to_text(made);
    const auto parsed = protocol::parse_handle(handle);
    if (!parsed) {
      ledger_.violation("a receipt handle that cannot be read: " + handle);
      continue;
    }
    const std::string topic =
        protocol::topic_of_kind("popped", "poppers", std::string_view{&parsed->kind, 1})
            .value_or("popped");
    const std::uint64_t choice = ack_all ? 0 : random_() % 6;
    if (choice < 4)
      acknowledge(handle, topic, parsed->queue_id, parsed->queue_offset, body);
    else if (choice == 4)
      change_invisible(handle, topic, parsed->queue_id, parsed->queue_offset);
  }
  return messages.size();
}

void CrashRun::acknowledge(const std::string& handle, const std::string& topic,
                           std::int32_t queue_id, std::int64_t offset, const std::string& body) {
  protocol::AckMessageRequest ack;
  ack.consumer_group = "poppers";
  ack.topic = topic;
  ack.queue_id = queue_id;
  ack.extra_info = handle;
  ack.offset = offset;
  ledger_.pop_acked.insert(body);  // whether or not the answer comes
  (void)ask(ack.kCode, ack);
}

void CrashRun::change_invisible(const std::string& handle, const std::string& topic,
                                std::int32_t queue_id, std::int64_t offset) {
  protocol::ChangeInvisibleTimeRequest change;
  change.consumer_group = "poppers";
  change.topic = topic;
  change.queue_id = queue_id;
  change.extra_info = handle;
  change.offset = offset;
  change.invisible_ms = 1'000 + static_cast<std::int64_t>(random_() % 3'000);
  (void)ask(change.kCode, change);
}

void CrashRun::let_time_pass() {
  network_.advance(std::chrono::milliseconds{random_() % 3'000});
}

/// Everything that was promised comes, in the end. The clock is ours and the broker's threads are
/// not: on a busy machine a minute passes before they had their turn. So what is missing is looked
/// for until it is no less for a second of the real clock, in which a minute of ours passed, too:
/// this thread may be the one that had no turn.
void CrashRun::check_end() {
  decides_ = true;
  for (int seconds = 0; seconds < 60; ++seconds) pass_a_second(seconds);
  std::size_t missing = 0;
  auto last_change = std::chrono::steady_clock::now();
  int changed_at = 60;
  for (int seconds = 60; ledger_.violations.empty(); ++seconds) {
    check_all_came();
    if (ledger_.violations.empty()) return;
    const auto now = std::chrono::steady_clock::now();
    if (std::exchange(missing, ledger_.violations.size()) != missing) {
      last_change = now;
      changed_at = seconds;
    }
    if (now - last_change > 1s && seconds - changed_at >= 60) return;
    ledger_.violations.clear();
    std::this_thread::sleep_for(5ms);
    pass_a_second(seconds);
  }
}

void CrashRun::pass_a_second(int number) {
  if (number % 10 == 0) beat();
  network_.advance(1s);
  while (pop_from(-1, true) > 0 && ledger_.violations.empty()) {
  }
}

void CrashRun::check_all_came() {
  for (const auto& [body, sent] : ledger_.popped)
    if (sent.certain && !ledger_.pop_acked.contains(body))
      ledger_.violation("never popped, never acknowledged by its consumer: " + name_of(body));
  check_late("delayed", ledger_.delayed, true);
  check_late("timed", ledger_.timed, true);
  check_transactions(true);
  check_returned(true);
}

}  // namespace apogee::crash
