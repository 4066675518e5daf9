#include "protocol/headers.h"
#include "protocol/message.h"
#include "protocol/names.h"
#include "tests/crash/crash_run.h"

namespace apogee::crash {
namespace {

constexpr auto kAnswerLimit = 20s;

/// Asks and waits, without a word about what could go wrong: whoever checks sees it.
template <class Header>
std::optional<remoting::OwnedCommand> ask_for(testing::Network& network, remoting::Client& client,
                                              const std::string& address, std::int32_t code,
                                              const Header& header) {
  auto answer = std::make_shared<std::optional<Result<remoting::OwnedCommand>>>();
  client.call(address, code, header, {}, 3'600s,
              [answer](Result<remoting::OwnedCommand> result) { *answer = std::move(result); });
  if (!network.run_until([&] { return answer->has_value(); }, kAnswerLimit) || !**answer)
    return std::nullopt;
  return ***answer;
}
}  // namespace

void CrashRun::check() {
  check_queues("plain", 3, ledger_.plain);
  check_queues("popped", 2, ledger_.popped);
  check_queues("together", 1, ledger_.together);
  if (deletion_in_doubt_) delete_passing();
  if (!deletion_in_doubt_) check_queues("passing", 1, ledger_.passing);
  check_kept();
  check_late("delayed", ledger_.delayed, false);
  check_late("timed", ledger_.timed, false);
  check_transactions(false);
  check_returned(false);
  check_committed();
  check_topics();
  for (const std::string& path : disk_.written_without_reservation())
    ledger_.violation("written through a mapping without room for it: " + path);
}

std::int64_t CrashRun::max_offset(const std::string& topic, std::int32_t queue_id) {
  protocol::QueueRequest request;
  request.topic = topic;
  request.queue_id = queue_id;
  const auto answer =
      ask_for(network_, *client_, address_, protocol::request_code::kGetMaxOffset, request);
  if (!answer || answer->code != 0) return 0;
  const auto header = remoting::read_header<protocol::OffsetResponse>(*answer);
  return header ? header->offset : 0;
}

std::vector<CrashRun::Found> CrashRun::read_all(const std::string& topic, std::int32_t queue_id,
                                                Offsets offsets) {
  std::vector<Found> found;
  const std::string queue = topic + " " + std::to_string(queue_id);
  const std::int64_t end = max_offset(topic, queue_id);
  for (std::int64_t offset = 0; offset < end;) {
    protocol::PullMessageRequest pull;
    pull.consumer_group = "checkers";
    pull.topic = topic;
    pull.queue_id = queue_id;
    pull.queue_offset = offset;
    pull.sys_flag = protocol::pull_flag::kSubscription;
    pull.subscription = "*";
    pull.suspend_timeout_ms = 0;
    const auto answer =
        ask_for(network_, *client_, address_, protocol::request_code::kPullMessage, pull);
    if (offsets == Offsets::kWithGaps && answer && answer->body.empty()) {
      const auto header = remoting::read_header<protocol::PullMessageResponse>(*answer);
      if (header && header->next_begin_offset > offset) {
        offset = header->next_begin_offset;
        continue;
      }
    }
    if (!answer || answer->code != 0) {
      ledger_.violation(fmt::format("queue {}: nothing at {} of {}: {}", queue, offset, end,
                                    answer ? answer->remark : "no answer"));
      return found;
    }
    for (Bytes rest = as_bytes(answer->body); !rest.empty();) {
      const auto check = protocol::check_record(rest, true);
      if (check.kind != protocol::RecordKind::kRecord) {
        ledger_.violation(fmt::format("queue {}: a damaged message at {}", queue, offset));
        return found;
      }
      if (offsets == Offsets::kDense ? check.message.queue_offset != offset
                                     : check.message.queue_offset < offset)
        ledger_.violation(fmt::format("queue {}: {} where {} should be", queue,
                                      check.message.queue_offset, offset));
      found.push_back(
          {.body = std::string{as_text(check.message.body)},
           .key = std::string{check.message.property(protocol::property::kKeys).value_or("")},
           .queue_offset = check.message.queue_offset,
           .store_timestamp = check.message.store_timestamp});
      offset = check.message.queue_offset + 1;
      if ((check.message.sys_flag & protocol::sys_flag::kInnerBatch) != 0) {
        const auto members = protocol::split_batch(check.message.body);
        found.back().body.clear();
        for (const auto& member : members ? *members : std::vector<protocol::BatchMember>{})
          found.back().body += as_text(member.body);
        offset += members ? std::ssize(*members) - 1 : 0;
      }
      rest = rest.subspan(static_cast<std::size_t>(check.size));
    }
  }
  return found;
}

/// Once, in its queue, at its offset; all that is certain; nothing unknown; of what was
/// acknowledged without a promise, only the newest is missing.
void CrashRun::check_queues(const std::string& topic, std::int32_t queues,
                            std::map<std::string, Sent>& known) {
  std::set<std::string> there;
  for (std::int32_t queue = 0; queue < queues; ++queue) {
    for (const Found& each : read_all(topic, queue)) {
      const std::string name = name_of(each.body);
      if (!there.insert(each.body).second) ledger_.violation("there twice: " + name);
      const auto sent = known.find(each.body);
      if (ledger_.gone.contains(each.body))
        ledger_.violation("came back from the dead: " + name);
      else if (sent == known.end())
        ledger_.violation("nobody sent " + name);
      else if (sent->second.queue_id != queue)
        ledger_.violation("in another queue than it was sent to: " + name);
      else if (sent->second.queue_offset >= 0 && sent->second.queue_offset != each.queue_offset)
        ledger_.violation(fmt::format("acknowledged at {} and found at {}: {}",
                                      sent->second.queue_offset, each.queue_offset, name));
    }
  }
  std::int64_t first_lost = std::numeric_limits<std::int64_t>::max();
  for (const auto& [body, sent] : known) {
    if (there.contains(body)) continue;
    if (sent.certain) ledger_.violation("lost: " + name_of(body));
    if (sent.acknowledged) first_lost = std::min(first_lost, sent.physical_offset);
  }
  for (const auto& [body, sent] : known)
    if (there.contains(body) && sent.acknowledged && sent.physical_offset > first_lost)
      ledger_.violation("there, though an earlier one is lost: " + name_of(body));
  for (auto each = known.begin(); each != known.end();) {
    if (there.contains(each->first)) {
      each->second.certain = true;  // readers know of it now
      each->second.acknowledged = false;
      ++each;
    } else {
      ledger_.gone.insert(each->first);
      each = known.erase(each);
    }
  }
}

/// In order; as they were sent; and for each key the newest one that is certain, or one behind it.
void CrashRun::check_kept() {
  std::map<std::string, std::int64_t> newest;
  for (const Found& each : read_all("kept", 0, Offsets::kWithGaps)) {
    const auto sent = ledger_.kept.find(each.body);
    if (sent == ledger_.kept.end()) {
      ledger_.violation("nobody sent, to be kept, " + name_of(each.body));
      continue;
    }
    Sent& known = sent->second;
    if (known.key != each.key) ledger_.violation("of another key: " + name_of(each.body));
    if (known.queue_offset >= 0 && known.queue_offset != each.queue_offset)
      ledger_.violation(fmt::format("acknowledged at {} and kept at {}: {}", known.queue_offset,
                                    each.queue_offset, name_of(each.body)));
    known.queue_offset = each.queue_offset;
    known.certain = true;  // readers know of it now
    newest[each.key] = each.queue_offset;
  }
  for (const auto& [body, sent] : ledger_.kept)
    if (const auto found = newest.find(sent.key);
        sent.certain && (found == newest.end() || found->second < sent.queue_offset))
      ledger_.violation("lost, and nothing newer of its key is there: " + name_of(body));
}

/// Never before their time; all that is certain once that is over, unless it was taken back.
void CrashRun::check_late(const std::string& topic, std::map<std::string, Sent>& known,
                          bool all_due) {
  std::set<std::string> there;
  for (std::int32_t queue = 0; queue < 2; ++queue) {
    for (const Found& each : read_all(topic, queue)) {
      there.insert(each.body);
      const auto sent = known.find(each.body);
      if (sent == known.end())
        ledger_.violation("nobody sent " + name_of(each.body) + " to be " + topic);
      else if (sent->second.queue_id != queue)
        ledger_.violation(topic + " into another queue: " + name_of(each.body));
      else if (each.store_timestamp < sent->second.not_before_ms)
        ledger_.violation("delivered before its time: " + name_of(each.body));
      if (const auto back = ledger_.recalled.find(each.body);
          back != ledger_.recalled.end() && back->second.certain)
        ledger_.violation(fmt::format("delivered at {} though it was recalled for {}: {}",
                                      each.store_timestamp, known[each.body].not_before_ms,
                                      name_of(each.body)));
    }
  }
  for (auto& [body, sent] : known) {
    if (there.contains(body))
      sent.certain = true;
    else if (sent.certain && all_due && !ledger_.recalled.contains(body))
      ledger_.violation(topic + " and lost: " + name_of(body));
  }
}

/// What was rolled back never comes, what was committed does, and what is open is asked about.
void CrashRun::check_transactions(bool all_ended) {
  std::map<std::string, std::int64_t> there;
  for (std::int32_t queue = 0; queue < 2; ++queue) {
    for (const Found& each : read_all("ended", queue)) {
      const std::string name = name_of(each.body);
      const std::int64_t times = ++there[each.body];
      const auto half = ledger_.halves.find(each.body);
      if (half == ledger_.halves.end()) {
        ledger_.violation("nobody sent " + name + " in a transaction");
        continue;
      }
      if (half->second.outcome != Half::Outcome::kCommitted)
        ledger_.violation("delivered and not committed: " + name);
      if (half->second.queue_id != queue) ledger_.violation("into another queue: " + name);
      if (times > half->second.ends)
        ledger_.violation("delivered more often than it was committed: " + name);
    }
  }
  for (auto& [body, half] : ledger_.halves) {
    if (!all_ended || !half.certain) continue;
    if (half.outcome == Half::Outcome::kOpen)
      ledger_.violation("never asked about: " + name_of(body));
    if (half.outcome == Half::Outcome::kCommitted && !there.contains(body))
      ledger_.violation("never delivered, its commit was lost: " + name_of(body));
  }
}

void CrashRun::check_returned(bool all_due) {
  std::set<std::string> there;
  for (const Found& each : read_all(protocol::retry_topic("consumers"), 0)) {
    there.insert(each.body);
    if (!ledger_.returned.contains(each.body))
      ledger_.violation("nobody sent back " + name_of(each.body));
  }
  for (auto& [body, sent] : ledger_.returned)
    if (all_due && sent.certain && !there.contains(body))
      ledger_.violation("sent back and lost: " + name_of(body));
}

std::int64_t CrashRun::stands_at(const std::string& group, const std::string& topic,
                                 std::int32_t queue) {
  protocol::QueryConsumerOffsetRequest question;
  question.consumer_group = group;
  question.topic = topic;
  question.queue_id = queue;
  question.set_zero_if_not_found = false;
  const auto answer = ask_for(network_, *client_, address_, question.kCode, question);
  if (!answer || answer->code != 0) return -1;
  const auto header = remoting::read_header<protocol::OffsetResponse>(*answer);
  return header ? header->offset : -1;
}

/// Offsets of groups never point past what is there, nor past what was ever committed. A message
/// that was sent back is there for its group: as it was, or as it will come again.
void CrashRun::check_committed() {
  const auto check_end_of = [&](const std::string& topic, std::int32_t queue, std::int64_t at) {
    if (const std::int64_t end = max_offset(topic, queue); at > end)
      ledger_.violation(
          fmt::format("a group stands at {} of {} {}, which ends at {}", at, topic, queue, end));
  };
  for (std::int32_t queue = 0; queue < 3; ++queue) {
    const std::int64_t at = stands_at("consumers", "plain", queue);
    check_end_of("plain", queue, at);
    if (at > ledger_.committed[{"plain", queue}])
      ledger_.violation(fmt::format("consumers never came to {} of plain {}", at, queue));
    for (auto& [body, sent] : ledger_.returned) {
      if (sent.queue_id != queue || !std::exchange(sent.acknowledged, false)) continue;
      if (at > sent.queue_offset) sent.certain = true;
    }
  }
  check_end_of("passing", 0, stands_at("passers", "passing", 0));
  for (std::int32_t queue = 0; queue < 2; ++queue)
    check_end_of("popped", queue, stands_at("poppers", "popped", queue));
}

void CrashRun::check_topics() {
  for (const auto& [topic, certain] : ledger_.topics) {
    protocol::TopicRequest request;
    request.topic = topic;
    const auto answer =
        ask_for(network_, *client_, address_, protocol::request_code::kGetTopicConfig, request);
    if (certain && (!answer || answer->code != 0))
      ledger_.violation("a topic that was made is gone: " + topic);
  }
}

}  // namespace apogee::crash
